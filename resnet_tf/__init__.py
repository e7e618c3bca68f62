"""Residual networks in Keras, built from the table in `shared`. The twin package is `resnet_torch`.

PYTEST_DONT_REWRITE: without this word pytest, started where the package is imported already, warns of it.
"""

from _resnet_twins import check_names

check_names("shared")

from resnet_tf.quiet import import_keras
from shared import __version__

import_keras()

from resnet_tf.factory import create_model, resnet18, resnet34, resnet50, resnet101, resnet152
from resnet_tf.fuse import fuse
from resnet_tf.preact import PreActBasicBlock, PreActBottleneck, PreActResNet
from resnet_tf.probe import devices, forward, from_nhwc, on_device, trace, train_step
from resnet_tf.resnet import BasicBlock, Bottleneck, PlainBlock, ResNet
from resnet_tf.summary import create_skeleton, layer_rows, printout
from resnet_tf.weights import get_weights, load_weights, save_weights, set_weights, write_native

TITLE = "Keras"

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
