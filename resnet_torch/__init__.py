"""Residual networks in PyTorch, built from the table in `shared`. The twin package is `resnet_tf`.

PYTEST_DONT_REWRITE: without this word pytest, started where the package is imported already, warns of it.
"""

from _resnet_twins import check_names

check_names("shared")

from shared import __version__
from shared.base.side_by_side import make_safe

make_safe()

from resnet_torch.factory import create_model, resnet18, resnet34, resnet50, resnet101, resnet152
from resnet_torch.fuse import fuse
from resnet_torch.preact import PreActBasicBlock, PreActBottleneck, PreActResNet
from resnet_torch.probe import devices, forward, from_nhwc, on_device, trace, train_step
from resnet_torch.resnet import BasicBlock, Bottleneck, PlainBlock, ResNet
from resnet_torch.summary import create_skeleton, layer_rows, printout
from resnet_torch.weights import get_weights, load_weights, save_weights, set_weights, write_native

TITLE = "PyTorch"

__all__ = [
    "TITLE",
    "BasicBlock",
    "Bottleneck",
    "PlainBlock",
    "PreActBasicBlock",
    "PreActBottleneck",
    "PreActResNet",
    "ResNet",
    "__version__",
    "create_model",
    "create_skeleton",
    "devices",
    "forward",
    "from_nhwc",
    "fuse",
    "get_weights",
    "layer_rows",
    "load_weights",
    "on_device",
    "printout",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "save_weights",
    "set_weights",
    "trace",
    "train_step",
    "write_native",
]
