"""Builds PyTorch models by name from the layer-spec table."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from resnet_torch.preact import PreActResNet
from resnet_torch.resnet import ResNet
from resnet_torch.weights import set_weights
from shared.base.checks import check_dtype, check_seed
from shared.networks.catalog import PAPER_DEPTHS, get_spec
from shared.networks.initial import initial_weights
from shared.networks.spec import ResNetSpec
from shared.networks.table import check_buildable


def create_model(
    name: str | ResNetSpec, *, seed: int | None = None, dtype: str = "float32", **overrides: Any
) -> nn.Module:
    """Build a network in PyTorch.

    Arguments
    ---------
    name: a name of `shared.networks.catalog.SPECS`, or a `ResNetSpec`.
    seed: a whole number gives the same initial weights every time, and the same in both frameworks. Without
        it they are drawn from PyTorch's own generator (`torch.manual_seed`), from the same distributions:
        Kaiming normal, fan-out, for convolutions, PyTorch's default for the last layer and for biases.
    dtype: "float32" or "float64".
    overrides: fields of the spec to replace, for example `num_classes=10, in_channels=1, input_size=32`.

    Returns an `nn.Module` that maps images (N, C, H, W) to logits (N, num_classes), in training mode as every
    new module is. Raises `InputError` (a `ValueError`) for an unknown name or a value that is not allowed.
    """
    spec = get_spec(name, **overrides)
    check_dtype(dtype)
    check_seed(seed)
    check_buildable(spec)
    model = (PreActResNet if spec.preact else ResNet)(spec)
    model = model.to(getattr(torch, dtype))
    if seed is not None:
        set_weights(model, initial_weights(spec, seed))
    return model


#: The networks of the paper's Table 1, as torchvision builds them; options as for `create_model`.
resnet18, resnet34, resnet50, resnet101, resnet152 = (partial(create_model, name) for name in PAPER_DEPTHS)
