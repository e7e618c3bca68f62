"""Small vision transformers, written in the ways in which people write them, for both frameworks; 16 x 16 pixels."""

from __future__ import annotations

import functools
from typing import Any

SIZE, PATCH, DIM, HEADS, DEPTH, CLASSES = 16, 8, 16, 2, 2, 5
TOKENS = (SIZE // PATCH) ** 2
EPS = 1e-6


@functools.cache
def torch_attentions() -> dict[str, Any]:
    """Return the ways in which PyTorch's users write self-attention: name -> a module of (heads, **faults)."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    class Builtin(nn.Module):
        def __init__(self, heads: int = HEADS) -> None:
            super().__init__()
            self.attn = nn.MultiheadAttention(DIM, heads, dropout=0.1, batch_first=True)

        def forward(self, x):
            return self.attn(x, x, x, need_weights=False)[0]

    class Fused(nn.Module):
        """As timm writes it: `how` is "sdpa" or "softmax"; `order` is that of the thirds."""

        def __init__(self, heads: int = HEADS, how: str = "sdpa", order: str = "qkv", scaled: bool = True) -> None:
            super().__init__()
            self.heads, self.how, self.order = heads, how, order
            self.scale = (DIM // heads) ** -0.5 if scaled else 1.0
            self.qkv, self.proj = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)
            self.attn_drop, self.proj_drop = nn.Dropout(0.1), nn.Dropout(0.1)

        def forward(self, x):
            batch, count, size = x.shape
            qkv = self.qkv(x).reshape(batch, count, 3, self.heads, size // self.heads).permute(2, 0, 3, 1, 4)
            parts = dict(zip(self.order, qkv.unbind(0), strict=True))
            q, k, v = (parts[name] for name in "qkv")
            if self.how == "sdpa":
                x = F.scaled_dot_product_attention(q, k, v, scale=None if self.scale != 1.0 else 1.0)
            else:
                weights = (q @ k.transpose(-2, -1)) * self.scale if self.scale != 1.0 else q @ k.transpose(-2, -1)
                x = self.attn_drop(weights.softmax(dim=-1)) @ v
            return self.proj_drop(self.proj(x.transpose(1, 2).reshape(batch, count, size)))

    class Chunked(nn.Module):
        """One map, cut into thirds along the last axis, the query scaled before the product."""

        def __init__(self, heads: int = HEADS) -> None:
            super().__init__()
            self.heads = heads
            self.to_qkv, self.to_out = nn.Linear(DIM, 3 * DIM, bias=False), nn.Linear(DIM, DIM)

        def forward(self, x):
            batch, count, size = x.shape
            q, k, v = (
                each.view(batch, count, self.heads, -1).transpose(1, 2) for each in self.to_qkv(x).chunk(3, dim=-1)
            )
            dots = torch.matmul(q * (size // self.heads) ** -0.5, k.transpose(-1, -2))
            x = torch.matmul(F.softmax(dots, dim=-1), v)
            return self.to_out(x.transpose(1, 2).flatten(2))

    class Separate(nn.Module):
        def __init__(self, heads: int = HEADS, scaled: bool = True) -> None:
            super().__init__()
            self.heads, self.scaled = heads, scaled
            self.query, self.key, self.value, self.dense = (nn.Linear(DIM, DIM) for _ in range(4))

        def forward(self, x):
            batch, count, size = x.shape
            q, k, v = (
                layer(x).view(batch, count, self.heads, size // self.heads).permute(0, 2, 1, 3)
                for layer in (self.query, self.key, self.value)
            )
            scores = torch.matmul(q, k.transpose(-1, -2))
            if self.scaled:
                scores = scores / (size // self.heads) ** 0.5
            x = torch.matmul(torch.softmax(scores, -1), v)
            return self.dense(x.permute(0, 2, 1, 3).contiguous().view(batch, count, size))

    return {
        "builtin": Builtin,
        "sdpa": Fused,
        "softmax": functools.partial(Fused, how="softmax"),
        "chunked": Chunked,
        "separate": Separate,
    }


@functools.cache
def _torch_parts() -> dict[str, Any]:
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, attention, pre_norm: bool = True) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(DIM, EPS), nn.LayerNorm(DIM, EPS)
            self.attn, self.pre_norm = attention, pre_norm
            self.mlp = nn.Sequential(nn.Linear(DIM, 2 * DIM), nn.GELU(), nn.Dropout(0.1), nn.Linear(2 * DIM, DIM))

        def forward(self, x):
            if self.pre_norm:
                x = x + self.attn(self.norm1(x))
                return x + self.mlp(self.norm2(x))
            x = self.norm1(x + self.attn(x))
            return self.norm2(x + self.mlp(x))

    class Cut(nn.Module):
        """Cuts an image into patches, all numbers of each in a row, and maps them."""

        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(3 * PATCH * PATCH, DIM)

        def forward(self, x):
            side = SIZE // PATCH
            x = x.reshape(len(x), 3, side, PATCH, side, PATCH).permute(0, 2, 4, 3, 5, 1)
            return self.embed(x.reshape(len(x), TOKENS, -1))

    class ViT(nn.Module):
        def __init__(self, blocks, pool: str, dense_patches: bool) -> None:
            super().__init__()
            self.patch_embed = Cut() if dense_patches else nn.Conv2d(3, DIM, PATCH, PATCH)
            self.cls_token = nn.Parameter(torch.randn(1, 1, DIM))
            self.pos_embed = nn.Parameter(torch.randn(1, TOKENS + 1, DIM))
            self.pos_drop, self.pool = nn.Dropout(0.1), pool
            self.blocks = nn.Sequential(*blocks)
            self.norm, self.head = nn.LayerNorm(DIM, EPS), nn.Linear(DIM, CLASSES)

        def forward(self, x):
            x = self.patch_embed(x)
            x = x.flatten(2).transpose(1, 2) if x.ndim == 4 else x
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
            x = self.norm(self.blocks(self.pos_drop(x + self.pos_embed)))
            return self.head(x[:, 0] if self.pool == "token" else x.mean(dim=1))

    return {"Block": Block, "ViT": ViT}


def torch_vit(
    style: str = "sdpa",
    *,
    pool: str = "token",
    pre_norm: bool = True,
    dense_patches: bool = False,
    seed: int = 0,
    **faults: Any,
) -> Any:
    """Return a PyTorch transformer whose attention is written in one of the ways, or is PyTorch's own block."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    parts = _torch_parts()
    if style == "encoder":
        blocks = [
            nn.TransformerEncoderLayer(
                DIM, HEADS, 2 * DIM, 0.1, "gelu", layer_norm_eps=EPS, batch_first=True, norm_first=pre_norm
            )
            for _ in range(DEPTH)
        ]
    else:
        blocks = [parts["Block"](torch_attentions()[style](**faults), pre_norm) for _ in range(DEPTH)]
    model = parts["ViT"](blocks, pool, dense_patches)
    with torch.no_grad():
        for each in model.parameters():  # biases and norms as a trained network has them
            if each.ndim == 1:
                each.add_(torch.randn_like(each) * 0.3)
    return model


@functools.cache
def _keras_parts() -> dict[str, Any]:
    import keras
    from keras import layers, ops

    class Heads(layers.Layer):
        """Attention from four dense layers."""

        def __init__(self, heads: int = HEADS, scaled: bool = True, **options: Any) -> None:
            super().__init__(**options)
            self.heads, self.scaled = heads, scaled
            self.q, self.k, self.v, self.out = (layers.Dense(DIM, name=name) for name in "qkvo")

        def call(self, x):
            size = DIM // self.heads
            q, k, v = (
                ops.transpose(ops.reshape(layer(x), (-1, x.shape[1], self.heads, size)), (0, 2, 1, 3))
                for layer in (self.q, self.k, self.v)
            )
            scores = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2)))
            scores = scores / size**0.5 if self.scaled else scores
            y = ops.transpose(ops.matmul(ops.softmax(scores, axis=-1), v), (0, 2, 1, 3))
            return self.out(ops.reshape(y, (-1, x.shape[1], DIM)))

    class Dot(layers.Layer):
        """Attention by `ops.dot_product_attention`, from one fused dense layer."""

        def __init__(self, heads: int = HEADS, **options: Any) -> None:
            super().__init__(**options)
            self.heads = heads
            self.qkv, self.out = layers.Dense(3 * DIM), layers.Dense(DIM)

        def call(self, x):
            shape = (-1, x.shape[1], self.heads, DIM // self.heads)
            q, k, v = (ops.reshape(each, shape) for each in ops.split(self.qkv(x), 3, axis=-1))
            return self.out(ops.reshape(ops.dot_product_attention(q, k, v), (-1, x.shape[1], DIM)))

    class ClassToken(layers.Layer):
        """Puts a token of its own in front of those of the patches, and adds where each stands."""

        def build(self, shape):
            self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer="random_normal", name="token")
            self.places = self.add_weight(
                shape=(1, shape[1] + 1, shape[-1]), initializer="random_normal", name="places"
            )

        def call(self, x):
            token = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, x.shape[-1]))
            return ops.concatenate([token, x], axis=1) + self.places

    class Token(layers.Layer):
        """Puts a token of its own in front, by tiling it."""

        def build(self, shape):
            self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer="random_normal", name="token")

        def call(self, x):
            return ops.concatenate([ops.tile(self.token, (ops.shape(x)[0], 1, 1)), x], axis=1)

    class Places(layers.Layer):
        """Adds an embedding of where each token stands."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.table = layers.Embedding(TOKENS + 1, DIM)

        def call(self, x):
            return x + self.table(ops.arange(TOKENS + 1))

    class Block(layers.Layer):
        def __init__(self, attention: layers.Layer, **options: Any) -> None:
            super().__init__(**options)
            self.attention = attention
            self.norms = [layers.LayerNormalization(epsilon=EPS) for _ in range(2)]
            self.wide, self.narrow, self.drop = layers.Dense(2 * DIM), layers.Dense(DIM), layers.Dropout(0.1)

        def call(self, x):
            y = self.norms[0](x)
            x = x + (
                self.attention(y, y) if isinstance(self.attention, layers.MultiHeadAttention) else self.attention(y)
            )
            return x + self.narrow(self.drop(ops.gelu(self.wide(self.norms[1](x)), approximate=False)))

    class ViT(keras.Model):
        def __init__(self, attention: Any, pool: str) -> None:
            super().__init__()
            self.patches, self.token, self.pool = layers.Conv2D(DIM, PATCH, PATCH), ClassToken(), pool
            self.blocks = [Block(attention()) for _ in range(DEPTH)]
            self.norm, self.head = layers.LayerNormalization(epsilon=EPS), layers.Dense(CLASSES)

        def call(self, x):
            x = self.patches(x)
            x = self.token(ops.reshape(x, (ops.shape(x)[0], -1, DIM)))
            for block in self.blocks:
                x = block(x)
            x = self.norm(x)
            return self.head(x[:, 0] if self.pool == "token" else ops.mean(x, axis=1))

    return {"Heads": Heads, "Dot": Dot, "Token": Token, "Places": Places, "Block": Block, "ViT": ViT}


def keras_vit(
    style: str = "functional",
    *,
    pool: str = "token",
    pre_norm: bool = True,
    dense_patches: bool = False,
    seed: int = 1,
    **faults: Any,
) -> Any:
    """Return a Keras transformer: "functional" (MultiHeadAttention), "dense", "dot" or "subclassed"."""
    import keras
    import numpy as np
    from keras import layers

    keras.utils.set_random_seed(seed)
    parts = _keras_parts()
    attentions = {
        "functional": lambda heads=HEADS: layers.MultiHeadAttention(heads, DIM // heads, dropout=0.1),
        "dense": parts["Heads"],
        "dot": parts["Dot"],
        "subclassed": lambda heads=HEADS: layers.MultiHeadAttention(heads, DIM // heads),
    }
    make = functools.partial(attentions[style], **faults)
    if style == "subclassed":
        model = parts["ViT"](make, pool)
        model(np.zeros((1, SIZE, SIZE, 3), np.float32))
    else:
        model = _functional(parts, make, pool, pre_norm, dense_patches)
    random = np.random.default_rng(seed)
    for each in model.trainable_variables:  # biases and norms as a trained network has them
        if len(each.shape) == 1 or "embedding" in each.path or "bias" in each.path:
            each.assign(each + random.normal(size=each.shape) * 0.3)
    return model


def _functional(parts: dict[str, Any], make: Any, pool: str, pre_norm: bool, dense_patches: bool) -> Any:
    import keras
    from keras import layers, ops

    def norm(x):
        return layers.LayerNormalization(epsilon=EPS)(x)

    def attend(x):
        attention = make()
        y = attention(x, x) if isinstance(attention, layers.MultiHeadAttention) else attention(x)
        return layers.Dropout(0.1)(y)

    def mlp(x):
        return layers.Dense(DIM)(layers.Dropout(0.1)(layers.Dense(2 * DIM, activation="gelu")(x)))

    image = keras.Input((SIZE, SIZE, 3))
    if dense_patches:
        x = layers.Dense(DIM)(layers.Reshape((TOKENS, -1))(ops.image.extract_patches(image, PATCH)))
    else:
        x = layers.Reshape((TOKENS, DIM))(layers.Conv2D(DIM, PATCH, PATCH)(image))
    x = parts["Places"]()(parts["Token"]()(x))
    for _ in range(DEPTH):
        if pre_norm:
            x = layers.Add()([x, attend(norm(x))])
            x = layers.Add()([x, mlp(norm(x))])
        else:
            x = norm(layers.Add()([x, attend(x)]))
            x = norm(layers.Add()([x, mlp(x)]))
    x = norm(x)
    x = x[:, 0] if pool == "token" else layers.GlobalAveragePooling1D()(x)
    return keras.Model(image, layers.Dense(CLASSES)(x))
