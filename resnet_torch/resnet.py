"""Residual networks in PyTorch. The twin is `resnet_tf/resnet.py`: read the two side by side.

In the comments N is the number of images, C the channels that come in, M a block's own channels (`mid_channels`), s its
stride, s1 the part of it that the first convolution takes, and F the channels that the last stage puts out. The numbers
are those of the ImageNet networks.
"""

from __future__ import annotations

from torch import Tensor, nn

from resnet_torch.layers import (
    batch_norm,
    conv,
    conv1x1,
    conv3x3,
    flatten,
    global_avg_pool,
    linear,
    max_pool,
    relu,
    shortcut,
)
from shared.networks.spec import BlockSpec, ResNetSpec


class PlainBlock(nn.Module):
    """Two 3x3 convolutions and no shortcut: what a residual block is compared with (section 3.3)."""

    def __init__(self, row: BlockSpec) -> None:
        super().__init__()
        self.conv1 = conv3x3(row.in_channels, row.mid_channels, row.stride1, row.bias)
        self.bn1 = batch_norm(row.mid_channels, row.norm)
        self.relu1 = relu()
        self.conv2 = conv3x3(row.mid_channels, row.out_channels, row.stride2, row.bias)
        self.bn2 = batch_norm(row.out_channels, row.last_norm)
        self.relu2 = relu()

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        out = self.conv1(x)  # (N, M, H/s, W/s)
        out = self.bn1(out)
        out = self.relu1(out)
        out = self.conv2(out)  # (N, M, H/s, W/s)
        out = self.bn2(out)
        return self.relu2(out)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut around them (figure 5, left)."""

    def __init__(self, row: BlockSpec) -> None:
        super().__init__()
        self.conv1 = conv3x3(row.in_channels, row.mid_channels, row.stride1, row.bias)
        self.bn1 = batch_norm(row.mid_channels, row.norm)
        self.relu1 = relu()
        self.conv2 = conv3x3(row.mid_channels, row.out_channels, row.stride2, row.bias)
        self.bn2 = batch_norm(row.out_channels, row.last_norm)
        self.downsample = shortcut(row.shortcut)
        self.relu2 = relu()

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        out = self.conv1(x)  # (N, M, H/s, W/s)
        out = self.bn1(out)
        out = self.relu1(out)
        out = self.conv2(out)  # (N, M, H/s, W/s)
        out = self.bn2(out)
        identity = self.downsample(x)  # (N, M, H/s, W/s)
        out = out + identity
        return self.relu2(out)


class Bottleneck(nn.Module):
    """1x1 to fewer channels, 3x3, 1x1 to four times as many, and a shortcut (figure 5, right)."""

    def __init__(self, row: BlockSpec) -> None:
        super().__init__()
        self.conv1 = conv1x1(row.in_channels, row.mid_channels, row.stride1, row.bias)
        self.bn1 = batch_norm(row.mid_channels, row.norm)
        self.relu1 = relu()
        self.conv2 = conv3x3(row.mid_channels, row.mid_channels, row.stride2, row.bias)
        self.bn2 = batch_norm(row.mid_channels, row.norm)
        self.relu2 = relu()
        self.conv3 = conv1x1(row.mid_channels, row.out_channels, 1, row.bias)
        self.bn3 = batch_norm(row.out_channels, row.last_norm)
        self.downsample = shortcut(row.shortcut)
        self.relu3 = relu()

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        out = self.conv1(x)  # (N, M, H/s1, W/s1)
        out = self.bn1(out)
        out = self.relu1(out)
        out = self.conv2(out)  # (N, M, H/s, W/s)
        out = self.bn2(out)
        out = self.relu2(out)
        out = self.conv3(out)  # (N, 4M, H/s, W/s)
        out = self.bn3(out)
        identity = self.downsample(x)  # (N, 4M, H/s, W/s)
        out = out + identity
        return self.relu3(out)


BLOCKS = {"PlainBlock": PlainBlock, "BasicBlock": BasicBlock, "Bottleneck": Bottleneck}


class ResNet(nn.Module):
    """Stem, stages of blocks, head: He et al. 2015, Table 1 (ImageNet) and section 4.2 (CIFAR)."""

    def __init__(self, spec: ResNetSpec) -> None:
        super().__init__()
        self.spec = spec
        stem, stages = spec.stem, spec.stages()
        last = stages[-1][-1]
        self.conv1 = conv(spec.in_channels, stem.out_channels, stem.kernel_size, stem.stride, stem.bias)
        self.bn1 = batch_norm(stem.out_channels, stages[0][0].norm)
        self.relu1 = relu()
        self.maxpool = max_pool(stem.max_pool)
        self.stage_names = [f"layer{number}" for number in range(1, len(stages) + 1)]
        for name, rows in zip(self.stage_names, stages, strict=True):
            setattr(self, name, nn.Sequential(*[BLOCKS[row.block](row) for row in rows]))
        self.avgpool = global_avg_pool()
        self.flatten = flatten()
        self.fc = linear(last.out_channels, spec.num_classes)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        x = self.conv1(x)  # (N, 64, H/2, W/2)
        x = self.bn1(x)
        x = self.relu1(x)
        x = self.maxpool(x)  # (N, 64, H/4, W/4)
        for name in self.stage_names:
            x = getattr(self, name)(x)  # in the end (N, F, H/32, W/32)
        x = self.avgpool(x)  # (N, F, 1, 1)
        x = self.flatten(x)  # (N, F)
        return self.fc(x)  # (N, num_classes)
