"""VGG, a multilayer perceptron, Inception and DenseNet, each written twice."""

from __future__ import annotations

import keras
import torch
from keras import layers
from torch import nn
from torch.nn import functional as F

# -- VGG: a list that says the layers, beside a Sequential with fused activations

VGG_PLAN = (8, "M", 16, "M", 16, 16, "M")


class VGG(nn.Module):
    def __init__(self, plan=VGG_PLAN, size=32, classes=10):
        super().__init__()
        made, channels = [], 3
        for each in plan:
            if each == "M":
                made.append(nn.MaxPool2d(2, 2))
            else:
                made += [nn.Conv2d(channels, each, 3, padding=1), nn.ReLU(True)]
                channels = each
        self.features = nn.Sequential(*made)
        wide = channels * (size // 2 ** plan.count("M")) ** 2
        self.classifier = nn.Sequential(
            *(nn.Linear(wide, 32), nn.ReLU(True), nn.Dropout()),
            *(nn.Linear(32, 32), nn.ReLU(True), nn.Dropout()),
            nn.Linear(32, classes),
        )

    def forward(self, x):
        x = self.features(x)
        x = x.view(x.size(0), -1)
        return self.classifier(x)


def vgg(size=32, classes=10):
    model = keras.Sequential([keras.Input((size, size, 3))])
    for each in VGG_PLAN:
        if each == "M":
            model.add(layers.MaxPooling2D())
        else:
            model.add(layers.Conv2D(each, (3, 3), padding="same", activation="relu"))
    model.add(layers.Flatten())
    for _ in range(2):
        model.add(layers.Dense(32, activation="relu"))
        model.add(layers.Dropout(0.5))
    model.add(layers.Dense(classes))
    return model


# -- a multilayer perceptron


def perceptron(size=12, classes=4):
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(3 * size * size, 48), nn.BatchNorm1d(48), nn.LeakyReLU(0.1)),
        *(nn.Linear(48, 48), nn.LeakyReLU(0.1), nn.Dropout(0.2)),
        *(nn.Linear(48, 48), nn.Tanh(), nn.Linear(48, classes)),
    )


def mlp(size=12, classes=4):
    return keras.Sequential(
        [
            keras.Input((size, size, 3)),
            layers.Flatten(),
            *(layers.Dense(48), layers.BatchNormalization(-1, 0.9, 1e-5), layers.LeakyReLU(negative_slope=0.1)),
            *(layers.Dense(48), layers.LeakyReLU(negative_slope=0.1), layers.Dropout(0.2)),
            *(layers.Dense(48, activation="tanh"), layers.Dense(classes)),
        ]
    )


# -- Inception: functions in `forward` beside a functional model


class ConvBN(nn.Module):
    def __init__(self, cin, cout, kernel, **kwargs):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, bias=False, **kwargs)
        self.bn = nn.BatchNorm2d(cout, eps=0.001, momentum=0.01)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Mixed(nn.Module):
    def __init__(self, cin):
        super().__init__()
        self.branch1x1 = ConvBN(cin, 8, 1)
        self.branch3x3_1 = ConvBN(cin, 8, 1)
        self.branch3x3_2 = ConvBN(8, 8, 3, padding=1)
        self.branch7_1 = ConvBN(cin, 8, 1)
        self.branch7_2 = ConvBN(8, 8, (1, 5), padding=(0, 2))
        self.branch7_3 = ConvBN(8, 8, (5, 1), padding=(2, 0))
        self.branch_pool = ConvBN(cin, 8, 1)

    def forward(self, x):
        one = self.branch1x1(x)
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7_3(self.branch7_2(self.branch7_1(x)))
        pool = F.avg_pool2d(x, kernel_size=3, stride=1, padding=1, count_include_pad=False)
        return torch.cat([one, three, seven, self.branch_pool(pool)], 1)


class Reduction(nn.Module):
    def __init__(self, cin):
        super().__init__()
        self.narrow = ConvBN(cin, 16, 3, stride=2)

    def forward(self, x):
        return torch.cat((self.narrow(x), F.max_pool2d(x, 3, 2)), dim=1)


class Inception(nn.Module):
    def __init__(self):
        super().__init__()
        self.Conv2d_1a = ConvBN(3, 8, 3, stride=2)
        self.Conv2d_2a = ConvBN(8, 8, 3, padding=1)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.Mixed_5b = Mixed(8)
        self.Mixed_6a = Reduction(32)
        self.Mixed_6b = Mixed(48)
        self.fc = nn.Linear(32, 6)

    def forward(self, x):
        x = self.pool(self.Conv2d_2a(self.Conv2d_1a(x)))
        x = self.Mixed_6b(self.Mixed_6a(self.Mixed_5b(x)))
        x = F.adaptive_avg_pool2d(x, (1, 1))
        return self.fc(torch.flatten(x, 1))


def conv2d_bn(x, filters, rows, cols, padding="same", strides=(1, 1)):
    x = layers.Conv2D(filters, (rows, cols), strides=strides, padding=padding, use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    return layers.Activation("relu")(x)


def mixed(x):
    branch_pool = layers.AveragePooling2D((3, 3), strides=(1, 1), padding="same")(x)
    branch_pool = conv2d_bn(branch_pool, 8, 1, 1)
    branch5 = conv2d_bn(x, 8, 1, 1)
    branch5 = conv2d_bn(branch5, 8, 1, 5)
    branch5 = conv2d_bn(branch5, 8, 5, 1)
    branch3 = conv2d_bn(conv2d_bn(x, 8, 1, 1), 8, 3, 3)
    branch1 = conv2d_bn(x, 8, 1, 1)
    return layers.concatenate([branch1, branch3, branch5, branch_pool])


def inception(size=46):
    image = keras.Input((size, size, 3))
    x = conv2d_bn(image, 8, 3, 3, padding="valid", strides=(2, 2))
    x = conv2d_bn(x, 8, 3, 3)
    x = layers.MaxPooling2D(3, 2, padding="same")(x)
    x = mixed(x)
    x = layers.concatenate(
        [conv2d_bn(x, 16, 3, 3, padding="valid", strides=2), layers.MaxPooling2D((3, 3), strides=2)(x)], axis=3
    )
    x = mixed(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(6)(x))


# -- DenseNet: a list that is concatenated anew in each layer, beside pairwise concatenation


class DenseLayer(nn.Module):
    def __init__(self, cin, growth):
        super().__init__()
        self.norm1, self.relu1, self.conv1 = nn.BatchNorm2d(cin), nn.ReLU(), nn.Conv2d(cin, 16, 1, bias=False)
        self.norm2, self.relu2, self.conv2 = nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, growth, 3, 1, 1, bias=False)

    def forward(self, features):
        x = self.conv1(self.relu1(self.norm1(torch.cat(features, 1))))
        return self.conv2(self.relu2(self.norm2(x)))


class DenseBlock(nn.ModuleDict):
    def __init__(self, cin, growth, count):
        super().__init__({f"denselayer{n}": DenseLayer(cin + n * growth, growth) for n in range(count)})

    def forward(self, x):
        features = [x]
        for layer in self.values():
            features.append(layer(features))
        return torch.cat(features, 1)


class DenseNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv0, self.norm0 = nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8)
        self.pool0 = nn.MaxPool2d(3, 2, 1)
        self.denseblock1 = DenseBlock(8, 8, 3)
        self.transition1 = nn.Sequential(
            nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 16, 1, bias=False), nn.AvgPool2d(2)
        )
        self.denseblock2 = DenseBlock(16, 8, 3)
        self.norm5 = nn.BatchNorm2d(40)
        self.classifier = nn.Linear(40, 9)

    def forward(self, x):
        x = self.pool0(F.relu(self.norm0(self.conv0(x))))
        x = self.denseblock2(self.transition1(self.denseblock1(x)))
        x = F.relu(self.norm5(x))
        return self.classifier(F.adaptive_avg_pool2d(x, 1).flatten(1))


def conv_block(x, growth_rate):
    y = layers.BatchNormalization(axis=3, epsilon=1e-5, momentum=0.9)(x)
    y = layers.Activation("relu")(y)
    y = layers.Conv2D(16, 1, use_bias=False)(y)
    y = layers.BatchNormalization(axis=3, epsilon=1e-5, momentum=0.9)(y)
    y = layers.Activation("relu")(y)
    y = layers.Conv2D(growth_rate, 3, padding="same", use_bias=False)(y)
    return layers.Concatenate(axis=3)([x, y])


def densenet(size=32):
    image = keras.Input((size, size, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(image)
    x = layers.Activation("relu")(layers.BatchNormalization(axis=3, epsilon=1e-5, momentum=0.9)(x))
    x = layers.ZeroPadding2D(((1, 1), (1, 1)))(x)
    x = layers.MaxPooling2D(3, strides=2)(x)
    for _ in range(3):
        x = conv_block(x, 8)
    x = layers.Activation("relu")(layers.BatchNormalization(axis=3, epsilon=1e-5, momentum=0.9)(x))
    x = layers.AveragePooling2D(2, strides=2)(layers.Conv2D(16, 1, use_bias=False)(x))
    for _ in range(3):
        x = conv_block(x, 8)
    x = layers.Activation("relu")(layers.BatchNormalization(axis=3, epsilon=1e-5, momentum=0.9)(x))
    return keras.Model(image, layers.Dense(9)(layers.GlobalAveragePooling2D()(x)))
