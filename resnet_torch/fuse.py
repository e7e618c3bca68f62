"""Folds the BatchNorms of a PyTorch model into its convolutions, for inference. The twin is `resnet_tf/fuse.py`."""

from __future__ import annotations

import copy

from torch import nn

from resnet_torch.weights import check_model, get_weights, set_weights
from shared.networks.folding import fold, folded_norms, spec_to_fold


class Folded(nn.Identity):
    """Stands where a BatchNorm was that is folded into the convolution in front of it."""


def fuse(model: nn.Module) -> nn.Module:
    """Return a copy of a network of ours for inference, with the same logits from fewer operations.

    Its convolutions have a bias, and the BatchNorms behind them are gone: `print` shows `Folded()`. It is in eval mode
    and frozen: no parameter asks for a gradient, so it cannot be trained without BatchNorm by mistake. In
    place of `spec` it has `fused_from`. Raises `InputError` for a fused network, and any other model.
    """
    check_model(model)
    spec = spec_to_fold(model)
    fused = copy.deepcopy(model).eval()
    for conv_name, norm_name in folded_norms(spec).items():
        conv = fused.get_submodule(conv_name)
        fused.set_submodule(conv_name, _with_bias(conv))
        fused.set_submodule(norm_name, Folded())
    set_weights(fused, fold(spec, get_weights(model)))
    del fused.spec
    fused.fused_from = spec  # type: ignore[assignment]
    return fused.requires_grad_(False)


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
