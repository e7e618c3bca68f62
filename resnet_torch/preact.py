"""Pre-activation residual networks in PyTorch. The twin is `resnet_tf/preact.py`: read the two side by side.

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


class PreActBasicBlock(nn.Module):
    """BatchNorm and ReLU in front of each of two 3x3 convolutions (figure 4e); nothing follows the addition."""

    def __init__(self, row: BlockSpec) -> None:
        super().__init__()
        self.bn1 = batch_norm(row.in_channels, row.norm)
        self.relu1 = relu()
        self.conv1 = conv3x3(row.in_channels, row.mid_channels, row.stride1, row.bias)
        self.bn2 = batch_norm(row.mid_channels, row.norm)
        self.relu2 = relu()
        self.conv2 = conv3x3(row.mid_channels, row.out_channels, row.stride2, row.bias)
        self.downsample = shortcut(row.shortcut)
        self.shared_preact = row.shared_preact

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        out = self.bn1(x)
        preact = self.relu1(out)
        out = self.conv1(preact)  # (N, M, H/s, W/s)
        out = self.bn2(out)
        out = self.relu2(out)
        out = self.conv2(out)  # (N, M, H/s, W/s)
        # A projection, and the first block of all, starts behind the activation (section 3.2, appendix).
        identity = self.downsample(preact if self.shared_preact else x)  # (N, M, H/s, W/s)
        return out + identity


class PreActBottleneck(nn.Module):
    """BatchNorm and ReLU in front of each of 1x1, 3x3 and 1x1 (appendix); nothing follows the addition."""

    def __init__(self, row: BlockSpec) -> None:
        super().__init__()
        self.bn1 = batch_norm(row.in_channels, row.norm)
        self.relu1 = relu()
        self.conv1 = conv1x1(row.in_channels, row.mid_channels, row.stride1, row.bias)
        self.bn2 = batch_norm(row.mid_channels, row.norm)
        self.relu2 = relu()
        self.conv2 = conv3x3(row.mid_channels, row.mid_channels, row.stride2, row.bias)
        self.bn3 = batch_norm(row.mid_channels, row.norm)
        self.relu3 = relu()
        self.conv3 = conv1x1(row.mid_channels, row.out_channels, 1, row.bias)
        self.downsample = shortcut(row.shortcut)
        self.shared_preact = row.shared_preact

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        out = self.bn1(x)
        preact = self.relu1(out)
        out = self.conv1(preact)  # (N, M, H/s1, W/s1)
        out = self.bn2(out)
        out = self.relu2(out)
        out = self.conv2(out)  # (N, M, H/s, W/s)
        out = self.bn3(out)
        out = self.relu3(out)
        out = self.conv3(out)  # (N, 4M, H/s, W/s)
        # A projection, and the first block of all, starts behind the activation (section 3.2, appendix).
        identity = self.downsample(preact if self.shared_preact else x)  # (N, 4M, H/s, W/s)
        return out + identity


BLOCKS = {"PreActBasicBlock": PreActBasicBlock, "PreActBottleneck": PreActBottleneck}


class PreActResNet(nn.Module):
    """Stem, stages of pre-activation blocks, one last BatchNorm and ReLU, head: He et al. 2016."""

    def __init__(self, spec: ResNetSpec) -> None:
        super().__init__()
        self.spec = spec
        stem, stages = spec.stem, spec.stages()
        last = stages[-1][-1]
        self.conv1 = conv(spec.in_channels, stem.out_channels, stem.kernel_size, stem.stride, stem.bias)
        self.maxpool = max_pool(stem.max_pool)
        self.stage_names = [f"layer{number}" for number in range(1, len(stages) + 1)]
        for name, rows in zip(self.stage_names, stages, strict=True):
            setattr(self, name, nn.Sequential(*[BLOCKS[row.block](row) for row in rows]))
        self.bn_last = batch_norm(last.out_channels, last.norm)
        self.relu_last = relu()
        self.avgpool = global_avg_pool()
        self.flatten = flatten()
        self.fc = linear(last.out_channels, spec.num_classes)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        x = self.conv1(x)  # (N, 64, H/2, W/2)
        x = self.maxpool(x)  # (N, 64, H/4, W/4)
        for name in self.stage_names:
            x = getattr(self, name)(x)  # in the end (N, F, H/32, W/32)
        x = self.bn_last(x)
        x = self.relu_last(x)
        x = self.avgpool(x)  # (N, F, 1, 1)
        x = self.flatten(x)  # (N, F)
        return self.fc(x)  # (N, num_classes)
