"""U-Net, ConvNeXt and a vision transformer, each written twice."""

from __future__ import annotations

import keras
import torch
from keras import layers, ops
from torch import nn

# -- U-Net: transposed convolutions below, an enlargement above


class DoubleConv(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        self.double_conv = nn.Sequential(
            *(nn.Conv2d(cin, cout, 3, padding=1), nn.BatchNorm2d(cout), nn.ReLU(inplace=True)),
            *(nn.Conv2d(cout, cout, 3, padding=1), nn.BatchNorm2d(cout), nn.ReLU(inplace=True)),
        )

    def forward(self, x):
        return self.double_conv(x)


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.inc, self.down1 = DoubleConv(3, 8), nn.Sequential(nn.MaxPool2d(2), DoubleConv(8, 16))
        self.down2 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(16, 24))
        self.down3 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(24, 24))
        self.up1 = nn.ConvTranspose2d(24, 24, 3, stride=2, padding=1, output_padding=1)
        self.conv1 = DoubleConv(48, 16)
        self.up2, self.conv2 = nn.ConvTranspose2d(16, 16, 2, stride=2), DoubleConv(32, 8)
        self.up3, self.conv3 = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False), DoubleConv(16, 8)
        self.outc = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x = self.conv1(torch.cat([x3, self.up1(self.down3(x3))], dim=1))
        x = self.conv2(torch.cat([x2, self.up2(x)], dim=1))
        return self.outc(self.conv3(torch.cat([x1, self.up3(x)], dim=1)))


def two_convs(x, filters):
    for _ in range(2):
        x = layers.Conv2D(filters, 3, padding="same")(x)
        x = layers.ReLU()(layers.BatchNormalization(-1, 0.9, 1e-5)(x))
    return x


def unet(size=32):
    image = keras.Input((size, size, 3))
    skips, x = [], image
    for filters in (8, 16, 24):
        x = two_convs(x, filters)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = two_convs(x, 24)
    # PyTorch's padding 1 and output_padding 1 take a row away at the top and the left only.
    x = layers.Cropping2D(((1, 0), (1, 0)))(layers.Conv2DTranspose(24, 3, strides=2)(x))
    x = two_convs(layers.Concatenate()([skips[2], x]), 16)
    x = layers.Conv2DTranspose(16, 2, strides=2, padding="same")(x)
    x = two_convs(layers.Concatenate()([skips[1], x]), 8)
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    x = two_convs(layers.Concatenate()([skips[0], x]), 8)
    return keras.Model(image, layers.Conv2D(2, 1)(x))


# -- ConvNeXt: images with channels last in between, beside a network in which they are always last


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class CNBlock(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1, self.act, self.pwconv2 = nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(torch.full((dim,), 0.5))

    def forward(self, x):
        shortcut = x
        x = self.dwconv(x).permute(0, 2, 3, 1)
        x = self.pwconv2(self.act(self.pwconv1(self.norm(x))))
        x = (self.gamma * x).permute(0, 3, 1, 2)
        return shortcut + x


class ConvNeXt(nn.Module):
    def __init__(self, dims=(8, 16)):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, dims[0], 4, 4), LayerNorm2d(dims[0], eps=1e-6))
        self.stage1 = nn.Sequential(CNBlock(dims[0]), CNBlock(dims[0]))
        self.down = nn.Sequential(LayerNorm2d(dims[0], eps=1e-6), nn.Conv2d(dims[0], dims[1], 2, 2))
        self.stage2 = nn.Sequential(CNBlock(dims[1]), CNBlock(dims[1]))
        self.norm, self.head = nn.LayerNorm(dims[1], eps=1e-6), nn.Linear(dims[1], 6)

    def forward(self, x):
        x = self.stage2(self.down(self.stage1(self.stem(x))))
        return self.head(self.norm(x.mean([-2, -1])))


class LayerScale(layers.Layer):
    """A factor for each channel."""

    def build(self, shape):
        self.gamma = self.add_weight(shape=(shape[-1],), initializer="ones", name="gamma")

    def call(self, x):
        return x * self.gamma

    def compute_output_shape(self, shape):
        return shape


def next_block(x, dim):
    y = layers.DepthwiseConv2D(7, padding="same")(x)
    y = layers.LayerNormalization(epsilon=1e-6)(y)
    y = layers.Activation("gelu")(layers.Dense(4 * dim)(y))
    return layers.Add()([x, LayerScale()(layers.Dense(dim)(y))])


def convnext(size=32):
    image = keras.Input((size, size, 3))
    x = layers.LayerNormalization(epsilon=1e-6)(layers.Conv2D(8, 4, 4)(image))
    x = next_block(next_block(x, 8), 8)
    x = layers.Conv2D(16, 2, 2)(layers.LayerNormalization(epsilon=1e-6)(x))
    x = next_block(next_block(x, 16), 16)
    x = layers.LayerNormalization(epsilon=1e-6)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Dense(6)(x))


# -- a vision transformer: PyTorch's attention beside Keras'


class EncoderBlock(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x):
        y = self.ln_1(x)
        y, _ = self.self_attention(y, y, y, need_weights=False)
        x = x + y
        return x + self.mlp(self.ln_2(x))


class VisionTransformer(nn.Module):
    def __init__(self, size=32, dim=24, heads=3):
        super().__init__()
        self.conv_proj = nn.Conv2d(3, dim, 8, 8)
        self.pos_embedding = nn.Parameter(torch.randn(1, (size // 8) ** 2, dim) * 0.3)
        self.encoder = nn.Sequential(EncoderBlock(dim, heads), EncoderBlock(dim, heads))
        self.ln, self.head = nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, 5)

    def forward(self, x):
        x = self.conv_proj(x).flatten(2).transpose(1, 2) + self.pos_embedding
        return self.head(self.ln(self.encoder(x)).mean(1))


class Positions(layers.Layer):
    """A number for each place and channel."""

    def build(self, shape):
        self.table = self.add_weight(shape=(1, *shape[1:]), initializer="random_normal", name="table")

    def call(self, x):
        return x + self.table

    def compute_output_shape(self, shape):
        return shape


def encoder(x, dim, heads):
    y = layers.LayerNormalization(epsilon=1e-6)(x)
    x = layers.Add()([layers.MultiHeadAttention(heads, dim // heads)(y, y), x])
    y = layers.LayerNormalization(epsilon=1e-6)(x)
    y = layers.Dense(dim)(layers.Dense(2 * dim, activation="gelu")(y))
    return layers.Add()([x, y])


def vision_transformer(size=32, dim=24, heads=3):
    image = keras.Input((size, size, 3))
    x = layers.Conv2D(dim, 8, 8)(image)
    x = Positions()(layers.Reshape((-1, dim))(x))
    x = encoder(encoder(x, dim, heads), dim, heads)
    x = ops.mean(layers.LayerNormalization(epsilon=1e-6)(x), axis=1)
    return keras.Model(image, layers.Dense(5)(x))
