"""The building blocks in PyTorch: every quirk of the framework is settled here, and no model file knows of it."""

from __future__ import annotations

from torch import nn

from shared.networks.spec import NormSpec, ShortcutSpec


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int, bias: bool) -> nn.Conv2d:
    """Return a convolution (N, C, H, W) -> (N, C', H/s, W/s) that pads kernel_size // 2 on every side."""
    # An integer padding is the same on all four sides, which is what the paper and torchvision mean.
    layer = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=bias)
    # PyTorch's default, kaiming_uniform(a=sqrt(5)), is too small for ReLU networks; torchvision uses this one.
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def conv1x1(in_channels: int, out_channels: int, stride: int, bias: bool) -> nn.Conv2d:
    """Return a 1x1 convolution: the same linear map at every pixel."""
    return conv(in_channels, out_channels, 1, stride, bias)


def conv3x3(in_channels: int, out_channels: int, stride: int, bias: bool) -> nn.Conv2d:
    """Return a 3x3 convolution with one pixel of padding."""
    return conv(in_channels, out_channels, 3, stride, bias)


def batch_norm(channels: int, norm: NormSpec) -> nn.BatchNorm2d:
    """Return a BatchNorm over (N, H, W) for each channel."""
    layer = nn.BatchNorm2d(channels, eps=norm.eps, momentum=norm.momentum)
    nn.init.constant_(layer.weight, norm.gamma)
    return layer


def freeze_norms(model: nn.Module) -> None:
    """Let every BatchNorm use and keep its running statistics; call it after `model.train()`. Gamma and beta learn."""
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):  # the one parent of all kinds
            layer.eval()


def relu() -> nn.ReLU:
    """Return a ReLU. It does not work in place, so that its input can still be looked at."""
    return nn.ReLU()


def max_pool(present: bool) -> nn.Module:
    """Return the stem's 3x3 max-pool of stride 2, or nothing where the stem has none (on small images)."""
    # PyTorch pads a max-pool with minus infinity, so that the padding never wins.
    return nn.MaxPool2d(kernel_size=3, stride=2, padding=1) if present else nn.Identity()


def global_avg_pool() -> nn.AdaptiveAvgPool2d:
    """Return the mean over all pixels: (N, C, H, W) -> (N, C, 1, 1)."""
    return nn.AdaptiveAvgPool2d(1)


def flatten() -> nn.Flatten:
    """Return the step (N, C, 1, 1) -> (N, C)."""
    return nn.Flatten()


def linear(in_features: int, out_features: int) -> nn.Linear:
    """Return a fully connected layer (N, in) -> (N, out), initialised as PyTorch does by default."""
    return nn.Linear(in_features, out_features)


def _identity(row: ShortcutSpec) -> nn.Module:
    return nn.Identity()


def _pad(row: ShortcutSpec) -> nn.Module:
    """Option A: take every second pixel, and fill the new channels with zeros, half before and half behind."""
    extra = row.out_channels - row.in_channels
    # The last three axes of (N, C, H, W) are C, H and W, so a "3d" padding reaches the channels.
    return nn.Sequential(
        nn.AvgPool2d(kernel_size=1, stride=row.stride),
        nn.ConstantPad3d((0, 0, 0, 0, extra // 2, extra - extra // 2), 0.0),
    )


def _conv(row: ShortcutSpec) -> nn.Module:
    return nn.Sequential(conv(row.in_channels, row.out_channels, row.kernel_size, row.stride, row.bias))


def _conv_norm(row: ShortcutSpec) -> nn.Module:
    return nn.Sequential(
        conv(row.in_channels, row.out_channels, row.kernel_size, row.stride, row.bias),
        batch_norm(row.out_channels, row.norm),
    )


SHORTCUTS = {"identity": _identity, "pad": _pad, "conv": _conv, "conv_norm": _conv_norm}


def shortcut(row: ShortcutSpec) -> nn.Module:
    """Return the path around a block: the identity, option A's padding, or a projection."""
    return SHORTCUTS[row.kind](row)
