"""Mistakes in settings: padding, strides, eps, slopes, the kind of a pool or of an activation, precision."""

from __future__ import annotations

import copy
from random import Random
from typing import Any

import keras
from keras import layers, ops
from torch import nn

from tests.campaigns.pairs.kinds import both, number, on_keras, on_torch
from tests.campaigns.pairs.kinds_structure import ACTIVATIONS, NORMS, WORD_OF, word
from tests.campaigns.pairs.plant import CONVS, KerasNet, Plan, activate, activation, modules, pick, put

POOLS = (layers.MaxPooling2D, layers.AveragePooling2D)


def strided(op: Any) -> bool:
    """Whether a convolution steps over pixels."""
    return isinstance(op, CONVS) and max(op.strides) > 1


# -- activations


@on_keras("other-activation", "another activation", "relu|silu|gelu")
def other_activation(net: KerasNet, rng: Random) -> Plan:
    op = pick(rng, net.where(lambda op: activation(op) in ("relu", "relu6", "silu", "gelu", "leaky_relu", "tanh")))
    old = activation(op)
    new = rng.choice([name for name in ("relu", "relu6", "gelu", "silu", "leaky_relu", "elu", "tanh") if name != old])
    return Plan({op.name: lambda spot: activate(spot, new)}, cause=both(word(old), word(new)))


@on_torch("other-activation")
def other_activation_there(model: Any, rng: Random) -> Plan:
    path = pick(rng, modules(model, *ACTIVATIONS))
    old = type(model.get_submodule(path))
    new = rng.choice([each for each in ACTIVATIONS if each is not old])
    put(model, path, new())
    return Plan(paths=(path,), cause=both(word(WORD_OF[old]), word(WORD_OF[new])))


@on_keras("gelu-approximation", "GELU by tanh or by erf", both("gelu|approximate", "tanh|approximat"))
def gelu_approximation(net: KerasNet, rng: Random) -> Plan:
    op = pick(rng, net.where(lambda op: activation(op) == "gelu"))
    return Plan({op.name: lambda spot: keras.activations.gelu(spot.x, approximate=True)})


@on_torch("gelu-approximation")
def gelu_approximation_there(model: Any, rng: Random) -> Plan:
    path = pick(rng, modules(model, nn.GELU))
    put(model, path, nn.GELU("tanh"))
    return Plan(paths=(path,))


@on_keras("hard-sigmoid", "a hard sigmoid for a sigmoid", both("sigmoid", "hard"))
def hard_sigmoid(net: KerasNet, rng: Random) -> Plan:
    op = pick(rng, net.where(lambda op: activation(op) == "sigmoid"))
    return Plan({op.name: lambda spot: activate(spot, "hard_sigmoid")})


@on_torch("hard-sigmoid")
def hard_sigmoid_there(model: Any, rng: Random) -> Plan:
    path = pick(rng, modules(model, nn.Sigmoid))
    put(model, path, nn.Hardsigmoid())
    return Plan(paths=(path,))


@on_keras("leaky-slope", "another slope of a leaky ReLU", both("slope", number(0.1), number(0.3)))
def leaky_slope(net: KerasNet, rng: Random) -> Plan:
    op = pick(rng, net.where(lambda op: isinstance(op, layers.LeakyReLU)))
    return Plan({op.name: lambda spot: spot.same(negative_slope=0.3)})


@on_torch("leaky-slope")
def leaky_slope_there(model: Any, rng: Random) -> Plan:
    path = pick(rng, modules(model, nn.LeakyReLU))
    model.get_submodule(path).negative_slope = 0.01
    return Plan(paths=(path,), cause=both("slope", number(0.1), number(0.01)))


# -- norms


@on_keras("eps", "another eps", "eps")
def eps(net: KerasNet, rng: Random) -> Plan:
    op = pick(rng, net.where(lambda op: isinstance(op, NORMS)))
    old = op.epsilon
    new = rng.choice([value for value in (1e-3, 1e-2, 1e-5) if value != old])
    return Plan({op.name: lambda spot: spot.same(epsilon=new)}, cause=both("eps", number(old), number(new)))


@on_torch("eps")
def eps_there(model: Any, rng: Random) -> Plan:
    path = pick(rng, modules(model, nn.BatchNorm2d, nn.BatchNorm1d, nn.LayerNorm))
    norm = model.get_submodule(path)
    old, norm.eps = norm.eps, 1e-3 if norm.eps != 1e-3 else 1e-5
    return Plan(paths=(path,), cause=both("eps", number(old), number(norm.eps)))


@on_keras("momentum", "momentum as the other framework counts it", "momentum", silent=True)
def momentum(net: KerasNet, rng: Random) -> Plan:
    op = pick(rng, net.where(lambda op: isinstance(op, layers.BatchNormalization)))
    return Plan({op.name: lambda spot: spot.same(momentum=round(1 - op.momentum, 5))})


@on_torch("momentum")
def momentum_there(model: Any, rng: Random) -> Plan:
    path = pick(rng, modules(model, nn.BatchNorm2d, nn.BatchNorm1d))
    norm = model.get_submodule(path)
    norm.momentum = round(1 - norm.momentum, 5)
    return Plan(paths=(path,))


@on_keras("norm-over-other-axes", "LayerNorm over other axes", r"(axes|axis|over)")
def norm_over_other_axes(net: KerasNet, rng: Random) -> Plan:
    def fits(op: Any) -> bool:
        shape = net.shape(op)
        return isinstance(op, layers.LayerNormalization) and len(shape) == 3 and shape[0] == shape[2]

    op, axis = pick(rng, net.where(fits)), rng.choice([1, 2])
    return Plan({op.name: lambda spot: spot.same(axis=axis)})


@on_torch("norm-over-other-axes")
def norm_over_other_axes_there(model: Any, rng: Random) -> Plan:
    """Channels are forgotten to be put last: it goes along the rows."""
    fits = [each for each in modules(model, nn.LayerNorm) if type(model.get_submodule(each)) is not nn.LayerNorm]
    path = pick(rng, fits)
    norm = model.get_submodule(path)
    new = nn.LayerNorm(norm.normalized_shape, eps=norm.eps)
    new.load_state_dict(norm.state_dict())
    put(model, path, new)
    return Plan(paths=(path,))


# -- padding


@on_keras("same-for-symmetric", 'padding "same" with a stride, for symmetric padding', "pad", follows=True)
def same_for_symmetric(net: KerasNet, rng: Random) -> Plan:
    def fits(op: Any) -> bool:
        return (strided(op) or isinstance(op, layers.MaxPooling2D)) and isinstance(
            net.before(op)[0], layers.ZeroPadding2D
        )

    op = pick(rng, net.where(fits))
    pad = net.before(op)[0]
    return Plan({pad.name: lambda spot: spot.x, op.name: lambda spot: spot.same(padding="same")})


@on_torch("same-for-symmetric")
def same_for_symmetric_there(model: Any, rng: Random) -> Plan:
    def fits(path: str) -> bool:
        conv = model.get_submodule(path)
        return conv.stride == (2, 2) and conv.padding == (1, 1)

    path = pick(rng, [each for each in modules(model, nn.Conv2d) if fits(each)])
    conv = model.get_submodule(path)
    conv.padding = (0, 0)
    put(model, path, nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), conv))
    return Plan(paths=(path,))


@on_keras("padding-elsewhere", "a convolution is not padded, its output is", "pad", follows=True)
def padding_elsewhere(net: KerasNet, rng: Random) -> Plan:
    def fits(op: Any) -> bool:
        return isinstance(op, CONVS) and op.padding == "same" and op.kernel_size == (3, 3) and max(op.strides) == 1

    op = pick(rng, net.where(fits))
    return Plan({op.name: lambda spot: layers.ZeroPadding2D(1, name="pad_behind")(spot.same(padding="valid"))})


@on_keras(
    "padding-reflects", "padded with what is reflected, for zeros", both("pad", "reflect|zero|value"), follows=True
)
def padding_reflects(net: KerasNet, rng: Random) -> Plan:
    op = pick(rng, net.where(lambda op: isinstance(op, layers.ZeroPadding2D) and strided(net.only_after(op))))
    pads = ((0, 0), *op.padding, (0, 0))
    return Plan({op.name: lambda spot: ops.pad(spot.x, pads, mode="reflect")}, also=(net.only_after(op).name,))


@on_torch("padding-reflects")
def padding_reflects_there(model: Any, rng: Random) -> Plan:
    def fits(path: str) -> bool:
        return model.get_submodule(path).padding == (1, 1)

    path = pick(rng, [each for each in modules(model, nn.Conv2d) if fits(each)])
    conv = model.get_submodule(path)
    conv.padding = (0, 0)
    put(model, path, nn.Sequential(nn.ReflectionPad2d(1), conv))
    return Plan(paths=(path,))


@on_keras("pool-padded-with-zeros", "a maximum is padded with zeros", both("pad", "zero|0|inf|value"), follows=True)
def pool_padded_with_zeros(net: KerasNet, rng: Random) -> Plan:
    op = pick(
        rng, net.where(lambda op: type(op).__name__ == "Pad" and getattr(op, "constant_values", None) == float("-inf"))
    )
    return Plan({op.name: lambda spot: layers.ZeroPadding2D(1)(spot.x)})


@on_torch("pool-padded-with-zeros")
def pool_padded_with_zeros_there(model: Any, rng: Random) -> Plan:
    path = pick(rng, [each for each in modules(model, nn.MaxPool2d) if each == "shrink"])
    put(model, path, nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3, 2)))
    return Plan(paths=(path,))


@on_keras("transposed-same", 'a transposed convolution with padding "same"', "pad|crop", follows=True)
def transposed_same(net: KerasNet, rng: Random) -> Plan:
    def fits(op: Any) -> bool:
        return isinstance(op, layers.Conv2DTranspose) and isinstance(net.only_after(op), layers.Cropping2D)

    op = pick(rng, net.where(fits))
    crop = net.only_after(op)
    return Plan({op.name: lambda spot: spot.same(padding="same"), crop.name: lambda spot: spot.x})


# -- convolutions


@on_keras("stride-in-the-1x1", "the stride is in the 1x1, for the 3x3", "stride", follows=True)
def stride_in_the_1x1(net: KerasNet, rng: Random) -> Plan:
    choices = []
    for wide in net.where(lambda op: strided(op) and op.kernel_size == (3, 3)):
        pad = net.before(wide)[0]
        act = net.before(pad)[0] if isinstance(pad, layers.ZeroPadding2D) else None
        norm = net.before(act)[0] if act is not None and activation(act) else None
        narrow = net.before(norm)[0] if isinstance(norm, layers.BatchNormalization) else None
        if isinstance(narrow, layers.Conv2D) and narrow.kernel_size == (1, 1):
            choices.append((narrow, pad, wide))
    narrow, pad, wide = pick(rng, choices)
    return Plan(
        {
            narrow.name: lambda spot: spot.same(strides=2, padding="valid"),
            pad.name: lambda spot: spot.x,
            wide.name: lambda spot: spot.same(strides=1, padding="same"),
        }
    )


@on_torch("stride-in-the-1x1")
def stride_in_the_1x1_there(model: Any, rng: Random) -> Plan:
    block = pick(
        rng, [name for name, each in model.named_modules() if getattr(each, "mid", None) and each.mid.stride == (2, 2)]
    )
    made = model.get_submodule(block)
    made.reduce.stride, made.mid.stride = (2, 2), (1, 1)
    return Plan(paths=(f"{block}.reduce", f"{block}.mid"))


@on_keras("dilation", "another dilation", "dilation")
def dilation(net: KerasNet, rng: Random) -> Plan:
    def fits(op: Any) -> bool:
        plain = isinstance(op, CONVS) and op.padding == "same" and op.kernel_size == (3, 3) and max(op.strides) == 1
        return plain and min(net.shape(op)[:2]) > 3

    op = pick(rng, net.where(fits))
    return Plan({op.name: lambda spot: spot.same(dilation_rate=2)})


@on_torch("dilation")
def dilation_there(model: Any, rng: Random) -> Plan:
    def fits(path: str) -> bool:
        conv = model.get_submodule(path)
        return (conv.kernel_size, conv.stride, conv.padding) == ((3, 3), (1, 1), (1, 1))

    path = pick(rng, [each for each in modules(model, nn.Conv2d) if fits(each)])
    conv = model.get_submodule(path)
    conv.dilation = conv.padding = (2, 2)
    return Plan(paths=(path,))


@on_keras("groups", "a convolution in groups", r"(group|weight.*\d+.*and|shape)", as_they_are=True)
def groups(net: KerasNet, rng: Random) -> Plan:
    def fits(op: Any) -> bool:
        return (
            type(op) is layers.Conv2D and op.groups == 1 and op.kernel_size == (3, 3) and net.shape_in(op)[-1] % 2 == 0
        )

    op = pick(rng, net.where(fits))
    return Plan({op.name: lambda spot: spot.same(groups=2)})


# -- pools and enlargements


@on_keras("ceil-mode", "a pool that does not count the last pixels", "(pad|ceil)", follows=True)
def ceil_mode(net: KerasNet, rng: Random) -> Plan:
    op = pick(rng, net.where(lambda op: isinstance(op, layers.MaxPooling2D) and op.padding == "same"))
    return Plan({op.name: lambda spot: spot.same(padding="valid")})


@on_torch("ceil-mode")
def ceil_mode_there(model: Any, rng: Random) -> Plan:
    path = pick(rng, [each for each in modules(model, nn.MaxPool2d) if model.get_submodule(each).ceil_mode])
    model.get_submodule(path).ceil_mode = False
    return Plan(paths=(path,))


@on_keras("count-include-pad", "an average counts the pixels of the padding", "(count_include_pad|count)", follows=True)
def count_include_pad(net: KerasNet, rng: Random) -> Plan:
    op = pick(rng, net.where(lambda op: isinstance(op, layers.AveragePooling2D) and op.padding == "same"))
    return Plan({op.name: lambda spot: spot.same(layers.ZeroPadding2D(1)(spot.x), padding="valid")})


@on_keras("average-for-maximum", "an average for a maximum, or the other way", both("max", "avg|average"))
def average_for_maximum(net: KerasNet, rng: Random) -> Plan:
    op = pick(rng, net.where(lambda op: isinstance(op, POOLS)))
    other = POOLS[0] if isinstance(op, POOLS[1]) else POOLS[1]
    return Plan({op.name: lambda spot: other.from_config(op.get_config())(spot.x)})


@on_torch("average-for-maximum")
def average_for_maximum_there(model: Any, rng: Random) -> Plan:
    path = pick(rng, modules(model, nn.MaxPool2d, nn.AvgPool2d))
    pool = model.get_submodule(path)
    other = nn.AvgPool2d if isinstance(pool, nn.MaxPool2d) else nn.MaxPool2d
    put(model, path, other(pool.kernel_size, pool.stride, pool.padding, ceil_mode=pool.ceil_mode))
    return Plan(paths=(path,))


@on_keras("global-maximum", "a global maximum for the global average", both("global", "max"))
def global_maximum(net: KerasNet, rng: Random) -> Plan:
    op = pick(rng, net.where(lambda op: isinstance(op, layers.GlobalAveragePooling2D)))
    return Plan({op.name: lambda spot: layers.GlobalMaxPooling2D(name=op.name)(spot.x)})


@on_torch("global-maximum")
def global_maximum_there(model: Any, rng: Random) -> Plan:
    path = pick(rng, modules(model, nn.AdaptiveAvgPool2d))
    put(model, path, nn.AdaptiveMaxPool2d(1))
    return Plan(paths=(path,))


@on_keras("nearest-for-bilinear", "the nearest pixel for a line between pixels", both("nearest", "bilinear"))
def nearest_for_bilinear(net: KerasNet, rng: Random) -> Plan:
    op = pick(rng, net.where(lambda op: isinstance(op, layers.UpSampling2D)))
    return Plan({op.name: lambda spot: spot.same(interpolation="nearest")})


@on_torch("nearest-for-bilinear")
def nearest_for_bilinear_there(model: Any, rng: Random) -> Plan:
    path = pick(rng, modules(model, nn.Upsample))
    put(model, path, nn.Upsample(scale_factor=2, mode="nearest"))
    return Plan(paths=(path,))


@on_torch("align-corners", "an enlargement between the corners of pixels", "(align_corners|corner)")
def align_corners(model: Any, rng: Random) -> Plan:
    path = pick(rng, modules(model, nn.Upsample))
    model.get_submodule(path).align_corners = True
    return Plan(paths=(path,))


# -- precision


@on_keras("half-precision", "a layer computes in half precision", r"(float16|half|precision|mixed)")
def half_precision(net: KerasNet, rng: Random) -> Plan:
    op = pick(rng, net.where(lambda op: isinstance(op, (*CONVS, *NORMS, layers.Dense))))
    policy = rng.choice(["float16", "bfloat16", "mixed_float16", "mixed_bfloat16"])
    return Plan({op.name: lambda spot: spot.same(dtype=policy)})


@on_torch("half-precision")
def half_precision_there(model: Any, rng: Random) -> Plan:
    path = pick(rng, modules(model, nn.Conv2d, nn.Linear, nn.BatchNorm2d))
    inner = copy.deepcopy(model.get_submodule(path)).bfloat16()

    class Rounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Any) -> Any:
            return self.inner(x.bfloat16()).float()

    put(model, path, Rounded())
    return Plan(paths=(path,))


@on_keras("half-precision-model", "the whole model computes in half precision", r"(float16|half|precision|mixed)")
def half_precision_model(net: KerasNet, rng: Random) -> Plan:
    policy = rng.choice(["mixed_float16", "mixed_bfloat16"])
    inside = [op for op in net.ops if isinstance(op, keras.Layer) and type(op).__module__.startswith("keras.")]
    return Plan({op.name: lambda spot: spot.same(dtype=policy) for op in inside})
