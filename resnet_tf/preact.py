"""Pre-activation residual networks in Keras. The twin is `resnet_torch/preact.py`: read the two side by side.

In the comments N is the number of images, C the channels that come in, M a block's own channels (`mid_channels`), s its
stride, s1 the part of it that the first convolution takes, and F the channels that the last stage puts out. The numbers
are those of the ImageNet networks.

The classes here lay out a graph; `factory.py` makes a `keras.Model` of it.
"""

from __future__ import annotations

from keras import KerasTensor

from resnet_tf.layers import (
    Sequential,
    add,
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


class PreActBasicBlock:
    """BatchNorm and ReLU in front of each of two 3x3 convolutions (figure 4e); nothing follows the addition."""

    def __init__(self, row: BlockSpec) -> None:
        self.bn1 = batch_norm(row.in_channels, row.norm, name=f"{row.name}.bn1")
        self.relu1 = relu(name=f"{row.name}.relu1")
        self.conv1 = conv3x3(row.in_channels, row.mid_channels, row.stride1, row.bias, name=f"{row.name}.conv1")
        self.bn2 = batch_norm(row.mid_channels, row.norm, name=f"{row.name}.bn2")
        self.relu2 = relu(name=f"{row.name}.relu2")
        self.conv2 = conv3x3(row.mid_channels, row.out_channels, row.stride2, row.bias, name=f"{row.name}.conv2")
        self.downsample = shortcut(row.shortcut, name=f"{row.name}.downsample")
        self.add = add(name=f"{row.name}.add")
        self.shared_preact = row.shared_preact

    def __call__(self, x: KerasTensor) -> KerasTensor:  # (N, H, W, C)
        out = self.bn1(x)
        preact = self.relu1(out)
        out = self.conv1(preact)  # (N, H/s, W/s, M)
        out = self.bn2(out)
        out = self.relu2(out)
        out = self.conv2(out)  # (N, H/s, W/s, M)
        # A projection, and the first block of all, starts behind the activation (section 3.2, appendix).
        identity = self.downsample(preact if self.shared_preact else x)  # (N, H/s, W/s, M)
        return self.add([out, identity])


class PreActBottleneck:
    """BatchNorm and ReLU in front of each of 1x1, 3x3 and 1x1 (appendix); nothing follows the addition."""

    def __init__(self, row: BlockSpec) -> None:
        self.bn1 = batch_norm(row.in_channels, row.norm, name=f"{row.name}.bn1")
        self.relu1 = relu(name=f"{row.name}.relu1")
        self.conv1 = conv1x1(row.in_channels, row.mid_channels, row.stride1, row.bias, name=f"{row.name}.conv1")
        self.bn2 = batch_norm(row.mid_channels, row.norm, name=f"{row.name}.bn2")
        self.relu2 = relu(name=f"{row.name}.relu2")
        self.conv2 = conv3x3(row.mid_channels, row.mid_channels, row.stride2, row.bias, name=f"{row.name}.conv2")
        self.bn3 = batch_norm(row.mid_channels, row.norm, name=f"{row.name}.bn3")
        self.relu3 = relu(name=f"{row.name}.relu3")
        self.conv3 = conv1x1(row.mid_channels, row.out_channels, 1, row.bias, name=f"{row.name}.conv3")
        self.downsample = shortcut(row.shortcut, name=f"{row.name}.downsample")
        self.add = add(name=f"{row.name}.add")
        self.shared_preact = row.shared_preact

    def __call__(self, x: KerasTensor) -> KerasTensor:  # (N, H, W, C)
        out = self.bn1(x)
        preact = self.relu1(out)
        out = self.conv1(preact)  # (N, H/s1, W/s1, M)
        out = self.bn2(out)
        out = self.relu2(out)
        out = self.conv2(out)  # (N, H/s, W/s, M)
        out = self.bn3(out)
        out = self.relu3(out)
        out = self.conv3(out)  # (N, H/s, W/s, 4M)
        # A projection, and the first block of all, starts behind the activation (section 3.2, appendix).
        identity = self.downsample(preact if self.shared_preact else x)  # (N, H/s, W/s, 4M)
        return self.add([out, identity])


BLOCKS = {"PreActBasicBlock": PreActBasicBlock, "PreActBottleneck": PreActBottleneck}


class PreActResNet:
    """Stem, stages of pre-activation blocks, one last BatchNorm and ReLU, head: He et al. 2016."""

    def __init__(self, spec: ResNetSpec) -> None:
        self.spec = spec
        stem, stages = spec.stem, spec.stages()
        last = stages[-1][-1]
        self.conv1 = conv(spec.in_channels, stem.out_channels, stem.kernel_size, stem.stride, stem.bias, name="conv1")
        self.maxpool = max_pool(stem.max_pool, name="maxpool")
        self.stage_names = [f"layer{number}" for number in range(1, len(stages) + 1)]
        for name, rows in zip(self.stage_names, stages, strict=True):
            setattr(self, name, Sequential(*[BLOCKS[row.block](row) for row in rows]))
        self.bn_last = batch_norm(last.out_channels, last.norm, name="bn_last")
        self.relu_last = relu(name="relu_last")
        self.avgpool = global_avg_pool(name="avgpool")
        self.flatten = flatten(name="flatten")
        self.fc = linear(last.out_channels, spec.num_classes, name="fc")

    def __call__(self, x: KerasTensor) -> KerasTensor:  # (N, H, W, C)
        x = self.conv1(x)  # (N, H/2, W/2, 64)
        x = self.maxpool(x)  # (N, H/4, W/4, 64)
        for name in self.stage_names:
            x = getattr(self, name)(x)  # in the end (N, H/32, W/32, F)
        x = self.bn_last(x)
        x = self.relu_last(x)
        x = self.avgpool(x)  # (N, 1, 1, F)
        x = self.flatten(x)  # (N, F)
        return self.fc(x)  # (N, num_classes)
