"""What only `resnet-twins bench` needs of PyTorch."""
