"""`python -m _resnet_twins` is the command `resnet-twins`."""

from _resnet_twins import main

main()
