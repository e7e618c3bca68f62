"""The command `resnet-twins`: reads options, calls one function of the package, prints."""
