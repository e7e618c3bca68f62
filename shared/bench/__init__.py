"""How fast the twins are against what people would use instead: `resnet-twins bench`."""
