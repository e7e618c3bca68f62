"""MobileNetV2 and an EfficientNet, each written twice."""

from __future__ import annotations

import keras
from keras import layers
from torch import nn

# -- MobileNetV2: sequences of modules beside functions and named layers


class ConvBNReLU(nn.Sequential):
    def __init__(self, cin, cout, kernel=3, stride=1, groups=1):
        super().__init__(
            nn.Conv2d(cin, cout, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
            nn.BatchNorm2d(cout),
            nn.ReLU6(inplace=True),
        )


class InvertedResidual(nn.Module):
    def __init__(self, cin, cout, stride, expand):
        super().__init__()
        hidden = cin * expand
        self.use_res_connect = stride == 1 and cin == cout
        steps = [ConvBNReLU(cin, hidden, 1)] if expand != 1 else []
        steps += [ConvBNReLU(hidden, hidden, 3, stride, groups=hidden)]
        self.conv = nn.Sequential(*steps, nn.Conv2d(hidden, cout, 1, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        if self.use_res_connect:
            return x + self.conv(x)
        return self.conv(x)


#: (expansion, channels, stride)
MOBILE_PLAN = ((1, 8, 1), (4, 12, 2), (4, 12, 1), (4, 16, 2), (4, 16, 1), (4, 16, 1))


class MobileNetV2(nn.Module):
    def __init__(self):
        super().__init__()
        steps, cin = [ConvBNReLU(3, 8, stride=2)], 8
        for expand, cout, stride in MOBILE_PLAN:
            steps.append(InvertedResidual(cin, cout, stride, expand))
            cin = cout
        self.features = nn.Sequential(*steps, ConvBNReLU(cin, 40, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(40, 11))

    def forward(self, x):
        x = self.features(x)
        x = nn.functional.adaptive_avg_pool2d(x, (1, 1)).reshape(x.shape[0], -1)
        return self.classifier(x)


def inverted(x, filters, stride, expansion, block):
    inputs, prefix = x, f"block_{block}_"
    if expansion > 1:
        x = layers.Conv2D(expansion * x.shape[-1], 1, padding="same", use_bias=False, name=prefix + "expand")(x)
        x = layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=prefix + "expand_BN")(x)
        x = layers.ReLU(6.0, name=prefix + "expand_relu")(x)
    if stride == 2:
        x = layers.ZeroPadding2D(1, name=prefix + "pad")(x)
    x = layers.DepthwiseConv2D(
        3, stride, "same" if stride == 1 else "valid", use_bias=False, name=prefix + "depthwise"
    )(x)
    x = layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=prefix + "depthwise_BN")(x)
    x = layers.ReLU(6.0, name=prefix + "depthwise_relu")(x)
    x = layers.Conv2D(filters, 1, padding="same", use_bias=False, name=prefix + "project")(x)
    x = layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=prefix + "project_BN")(x)
    if stride == 1 and inputs.shape[-1] == filters:
        return layers.Add(name=prefix + "add")([inputs, x])
    return x


def mobilenet(size=32):
    image = keras.Input((size, size, 3), name="image")
    x = layers.Conv2D(8, 3, 2, use_bias=False, name="Conv1")(layers.ZeroPadding2D(1, name="Conv1_pad")(image))
    x = layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name="bn_Conv1")(x)
    x = layers.ReLU(6.0, name="Conv1_relu")(x)
    for block, (expansion, filters, stride) in enumerate(MOBILE_PLAN):
        x = inverted(x, filters, stride, expansion, block)
    x = layers.Conv2D(40, 1, use_bias=False, name="Conv_1")(x)
    x = layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name="Conv_1_bn")(x)
    x = layers.ReLU(6.0, name="out_relu")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(11, name="predictions")(x), name="mobile")


# -- EfficientNet: SiLU, squeeze and excitation by 1x1 convolutions, beside `swish` and a reshape


class SqueezeExcitation(nn.Module):
    def __init__(self, channels, squeezed):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.fc2 = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)
        self.activation, self.scale_activation = nn.SiLU(), nn.Sigmoid()

    def forward(self, x):
        scale = self.fc2(self.activation(self.fc1(self.avgpool(x))))
        return self.scale_activation(scale) * x


class MBConv(nn.Module):
    def __init__(self, cin, cout, stride, expand, kernel):
        super().__init__()
        hidden = cin * expand
        steps = []
        if expand > 1:
            steps += [nn.Conv2d(cin, hidden, 1, bias=False), nn.BatchNorm2d(hidden, eps=1e-3, momentum=0.01), nn.SiLU()]
        steps += [
            nn.Conv2d(hidden, hidden, kernel, stride, kernel // 2, groups=hidden, bias=False),
            *(nn.BatchNorm2d(hidden, eps=1e-3, momentum=0.01), nn.SiLU(), SqueezeExcitation(hidden, max(cin // 4, 2))),
            *(nn.Conv2d(hidden, cout, 1, bias=False), nn.BatchNorm2d(cout, eps=1e-3, momentum=0.01)),
        ]
        self.block, self.skip = nn.Sequential(*steps), stride == 1 and cin == cout

    def forward(self, x):
        y = self.block(x)
        if self.skip:
            y += x
        return y


#: (expansion, channels, stride, kernel)
EFFICIENT_PLAN = ((1, 8, 1, 3), (4, 12, 2, 3), (4, 12, 1, 3), (4, 16, 2, 5), (4, 16, 1, 5))


class EfficientNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8, 1e-3, 0.01), nn.SiLU())
        cin, steps = 8, []
        for expand, cout, stride, kernel in EFFICIENT_PLAN:
            steps.append(MBConv(cin, cout, stride, expand, kernel))
            cin = cout
        self.blocks = nn.Sequential(*steps)
        self.conv_head, self.bn2, self.act2 = (
            nn.Conv2d(16, 32, 1, bias=False),
            nn.BatchNorm2d(32, 1e-3, 0.01),
            nn.SiLU(),
        )
        self.classifier = nn.Linear(32, 8)

    def forward(self, x):
        x = self.blocks(self.stem(x))
        x = self.act2(self.bn2(self.conv_head(x)))
        return self.classifier(x.mean([2, 3]))


def efficient_block(x, filters, stride, expand, kernel):
    inputs = x
    if expand > 1:
        x = layers.Conv2D(x.shape[-1] * expand, 1, padding="same", use_bias=False)(x)
        x = layers.Activation("swish")(layers.BatchNormalization()(x))
    if stride == 2:
        x = layers.ZeroPadding2D(kernel // 2)(x)
    x = layers.DepthwiseConv2D(kernel, stride, padding="valid" if stride == 2 else "same", use_bias=False)(x)
    x = layers.Activation("swish")(layers.BatchNormalization()(x))
    channels = x.shape[-1]
    se = layers.GlobalAveragePooling2D()(x)
    se = layers.Reshape((1, 1, channels))(se)
    se = layers.Conv2D(max(inputs.shape[-1] // 4, 2), 1, padding="same", activation="swish")(se)
    se = layers.Conv2D(channels, 1, padding="same", activation="sigmoid")(se)
    x = layers.multiply([x, se])
    x = layers.BatchNormalization()(layers.Conv2D(filters, 1, padding="same", use_bias=False)(x))
    if stride == 1 and filters == inputs.shape[-1]:
        x = layers.Dropout(0.2, noise_shape=(None, 1, 1, 1))(x)
        x = layers.add([x, inputs])
    return x


def efficientnet(size=32):
    image = keras.Input((size, size, 3))
    x = layers.Conv2D(8, 3, strides=2, use_bias=False)(layers.ZeroPadding2D(1)(image))
    x = layers.Activation("swish")(layers.BatchNormalization()(x))
    for expand, filters, stride, kernel in EFFICIENT_PLAN:
        x = efficient_block(x, filters, stride, expand, kernel)
    x = layers.Activation("swish")(layers.BatchNormalization()(layers.Conv2D(32, 1, use_bias=False)(x)))
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Dense(8)(x))
