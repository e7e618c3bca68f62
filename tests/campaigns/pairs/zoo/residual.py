"""Residual networks, each written twice by people who do not know of each other."""

from __future__ import annotations

import keras
import torch
from keras import layers, ops
from torch import nn
from torch.nn import functional as F

# -- ResNet with basic blocks: torchvision's style beside a tutorial's


class Basic(nn.Module):
    def __init__(self, inplanes, planes, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = None
        if stride != 1 or inplanes != planes:
            self.downsample = nn.Sequential(nn.Conv2d(inplanes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))

    def forward(self, x):
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self, blocks=(2, 2, 1), width=8, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.inplanes = width
        for stage, count in enumerate(blocks):
            setattr(self, f"layer{stage + 1}", self.make_layer(width << stage, count, 1 if stage == 0 else 2))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(self.inplanes, classes)

    def make_layer(self, planes, count, stride):
        made = [Basic(self.inplanes, planes, stride)]
        self.inplanes = planes
        made += [Basic(planes, planes) for _ in range(count - 1)]
        return nn.Sequential(*made)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for name in ("layer1", "layer2", "layer3"):
            x = getattr(self, name)(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))


def conv_bn(x, filters, size, stride=1):
    if stride > 1 and size > 1:
        x = layers.ZeroPadding2D(size // 2)(x)
        x = layers.Conv2D(filters, size, stride, padding="valid", use_bias=False)(x)
    else:
        x = layers.Conv2D(filters, size, stride, padding="same", use_bias=False)(x)
    return layers.BatchNormalization(epsilon=1e-5, momentum=0.9)(x)


def residual_block(x, filters, stride):
    shortcut = x
    if stride != 1 or x.shape[-1] != filters:
        shortcut = conv_bn(x, filters, 1, stride)
    y = layers.ReLU()(conv_bn(x, filters, 3, stride))
    y = conv_bn(y, filters, 3)
    return layers.ReLU()(layers.add([shortcut, y]))


def build_resnet(size=32, blocks=(2, 2, 1), width=8, classes=10):
    inputs = keras.Input((size, size, 3))
    x = layers.ReLU()(conv_bn(inputs, width, 3))
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
    for stage, count in enumerate(blocks):
        for block in range(count):
            x = residual_block(x, width * 2**stage, 2 if stage and not block else 1)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(classes)(x))


# -- ResNet with bottlenecks and groups, as ResNeXt: functions and short names beside signs and `Activation`


class Neck(nn.Module):
    def __init__(self, a, b, s, groups):
        super().__init__()
        self.reduce, self.rn = nn.Conv2d(a, b // 2, 1, bias=False), nn.BatchNorm2d(b // 2)
        self.mid, self.mn = nn.Conv2d(b // 2, b // 2, 3, s, 1, groups=groups, bias=False), nn.BatchNorm2d(b // 2)
        self.expand, self.en = nn.Conv2d(b // 2, b, 1, bias=False), nn.BatchNorm2d(b)
        self.match = nn.Sequential(nn.Conv2d(a, b, 1, s, bias=False), nn.BatchNorm2d(b)) if a != b or s > 1 else None

    def forward(self, t):
        short = t if self.match is None else self.match(t)
        t = F.relu(self.rn(self.reduce(t)))
        t = F.relu(self.mn(self.mid(t)))
        return F.relu(short + self.en(self.expand(t)))


class NeckNet(nn.Module):
    def __init__(self, plan=((16, 1), (16, 1), (32, 2), (32, 1)), groups=1):
        super().__init__()
        self.entry, self.norm = nn.Conv2d(3, 16, 7, 2, 3, bias=False), nn.BatchNorm2d(16)
        widths = [16, *(b for b, _ in plan)]
        self.body = nn.ModuleList(Neck(a, b, s, groups) for a, (b, s) in zip(widths, plan, strict=False))
        self.top = nn.Linear(widths[-1], 7)

    def forward(self, t):
        t = F.max_pool2d(F.relu(self.norm(self.entry(t))), 3, 2, 1)
        for block in self.body:
            t = block(t)
        return self.top(t.mean((2, 3)))


def ResNeckNet():  # noqa: N802
    return NeckNet()


def ResNeXtNet():  # noqa: N802
    return NeckNet(((16, 1), (32, 2), (32, 1)), groups=4)


def neck(t, width, stride, groups):
    def normed(t, filters, size=1, stride=1, groups=1, act=True):
        pad = "same" if stride == 1 else "valid"
        t = layers.ZeroPadding2D(size // 2)(t) if stride > 1 and size > 1 else t
        t = layers.Conv2D(filters, size, stride, pad, groups=groups, use_bias=False)(t)
        t = layers.BatchNormalization(epsilon=1e-5, momentum=0.9)(t)
        return layers.Activation("relu")(t) if act else t

    out = normed(normed(t, width // 2), width // 2, 3, stride, groups)
    out = normed(out, width, act=False)
    if stride > 1 or t.shape[-1] != width:
        t = normed(t, width, 1, stride, act=False)
    return layers.Activation("relu")(out + t)


def neck_network(size=32, plan=((16, 1), (16, 1), (32, 2), (32, 1)), groups=1):
    image = keras.Input((size, size, 3))
    t = layers.Conv2D(16, 7, 2, use_bias=False)(layers.ZeroPadding2D(3)(image))
    t = layers.Activation("relu")(layers.BatchNormalization(epsilon=1e-5, momentum=0.9)(t))
    t = layers.MaxPool2D(3, 2)(layers.ZeroPadding2D(1)(t))
    for width, stride in plan:
        t = neck(t, width, stride, groups)
    return keras.Model(image, layers.Dense(7)(layers.GlobalAvgPool2D()(t)))


def next_network(size=32):
    return neck_network(size, ((16, 1), (32, 2), (32, 1)), groups=4)


# -- pre-activation ResNet: modules in sequences beside layers of one's own


class PreBlock(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.pre = nn.Sequential(nn.BatchNorm2d(cin), nn.ReLU())
        self.branch = nn.Sequential(
            nn.Conv2d(cin, cout, 3, stride, 1, bias=False),
            nn.BatchNorm2d(cout),
            nn.ReLU(),
            nn.Conv2d(cout, cout, 3, 1, 1, bias=False),
        )
        self.proj = nn.Conv2d(cin, cout, 1, stride, bias=False) if cin != cout else None

    def forward(self, x):
        h = self.pre(x)
        return self.branch(h) + (x if self.proj is None else self.proj(h))


class PreNet(nn.Module):
    def __init__(self, size=32):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 1, 1, bias=False)
        self.shrink = nn.MaxPool2d(3, 2, 1)
        self.blocks = nn.Sequential(PreBlock(8, 8, 1), PreBlock(8, 8, 1), PreBlock(8, 16, 2), PreBlock(16, 16, 1))
        self.last = nn.Sequential(nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.last(self.blocks(self.shrink(self.stem(x)))))


class Unit(layers.Layer):
    """A block as a layer of its own."""

    def __init__(self, filters, stride=1, project=False, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.stride, self.project = filters, stride, project
        self.bn_a = layers.BatchNormalization(epsilon=1e-5, momentum=0.9)
        self.bn_b = layers.BatchNormalization(epsilon=1e-5, momentum=0.9)
        self.pad = layers.ZeroPadding2D(1)
        self.conv_a = layers.Conv2D(filters, 3, stride, use_bias=False)
        self.conv_b = layers.Conv2D(filters, 3, padding="same", use_bias=False)
        self.side = layers.Conv2D(filters, 1, stride, use_bias=False) if project else None

    def call(self, x):
        y = keras.activations.relu(self.bn_a(x))
        shortcut = x if self.side is None else self.side(y)
        y = self.conv_a(self.pad(y))
        y = keras.activations.relu(self.bn_b(y))
        return self.conv_b(y) + shortcut


def preact_model(size=32):
    image = keras.Input((size, size, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(image)
    # With zeros around it the maximum of negative numbers would be another one.
    x = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=float("-inf"))
    x = layers.MaxPooling2D(3, 2)(x)
    x = Unit(8)(x)
    x = Unit(8)(x)
    x = Unit(16, 2, project=True)(x)
    x = Unit(16)(x)
    x = layers.ReLU()(layers.BatchNormalization(epsilon=1e-5, momentum=0.9)(x))
    return keras.Model(image, layers.Dense(5)(layers.GlobalAveragePooling2D()(x)))
