"""What only `resnet-twins bench` needs of Keras."""
