"""Folds the BatchNorms of a PyTorch model into its convolutions, for inference. The twin is `resnet_tf/fuse.py`."""

from __future__ import annotations

import copy

from torch import nn

from resnet_torch.weights import check_model, get_weights, set_weights
from shared.errors import InputError
from shared.folding import fold, folded_norms


def fuse(model: nn.Module) -> nn.Module:
    """Return a copy of a network of ours for inference, with the same logits from fewer operations.

    Its convolutions have a bias, and the BatchNorms behind them are gone (`nn.Identity`). It is in eval mode; it cannot
    be trained on as if it were the network, and it has no `spec`. Raises `InputError` for another kind of model.
    """
    check_model(model)
    if not hasattr(model, "spec"):
        raise InputError(f"fuse takes a network of create_model, not a {type(model).__name__}, or one that is fused")
    fused = copy.deepcopy(model).eval()
    for conv_name, norm_name in folded_norms(model.spec).items():
        conv = fused.get_submodule(conv_name)
        fused.set_submodule(conv_name, _with_bias(conv))
        fused.set_submodule(norm_name, nn.Identity())
    set_weights(fused, fold(model.spec, get_weights(model)))
    del fused.spec
    return fused


def _with_bias(conv: nn.Module) -> nn.Conv2d:
    assert isinstance(conv, nn.Conv2d)
    return nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        device=conv.weight.device,
        dtype=conv.weight.dtype,
    )
