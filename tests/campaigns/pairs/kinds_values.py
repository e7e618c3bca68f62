"""Mistakes in weights that were carried by hand, and in the images that one side is given."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import torch
from keras import layers
from torch import nn

from tests.campaigns.pairs.kinds import both, on_keras, on_torch
from tests.campaigns.pairs.plant import CONVS, INPUT, KerasNet, Plan, modules, pick

#: Words for weights in a wrong layout.
LAYOUT = r"(transpos|swap|layout|axes|exchang|turned|revers|flip|mirror|reshap|order|permut)"
WRONG = r"(weight|kernel|matrix)"
EXCHANGED = r"(exchang|swap|place|each other|weights of)"
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def altered(op: Any, change: Callable[[Any], None]) -> Plan:
    """Plan to change the weights of one layer of the copy."""
    return Plan({op.name: lambda spot: spot.same()}, weights=lambda model: change(model.get_layer(op.name)))


def kernels(net: KerasNet, rng: Random, fits: Callable[[Any], bool], turn: Callable[[Any], Any]) -> Plan:
    """Plan to give a layer another kernel."""
    op = pick(rng, net.where(fits))

    def change(layer: Any) -> None:
        layer.kernel.assign(np.ascontiguousarray(turn(np.array(layer.kernel))))

    return altered(op, change)


def weights_there(model: Any, rng: Random, kind: type, fits: Callable[[Any], bool], turn: Callable[[Any], Any]) -> Plan:
    """Give a module of a copied PyTorch model another weight."""
    path = pick(rng, [each for each in modules(model, kind) if fits(model.get_submodule(each))])
    module = model.get_submodule(path)
    with torch.no_grad():
        module.weight.copy_(turn(module.weight.clone()))
    return Plan(paths=(path,))


def is_square(op: Any) -> bool:
    """Whether a convolution has a square kernel of more than one pixel."""
    return isinstance(op, CONVS) and op.kernel_size[0] == op.kernel_size[1] > 1


# -- layouts of kernels


@on_keras("kernel-turned", "rows and columns of a kernel exchanged", both(WRONG, LAYOUT), as_they_are=True)
def kernel_turned(net: KerasNet, rng: Random) -> Plan:
    return kernels(net, rng, is_square, lambda kernel: kernel.swapaxes(0, 1))


@on_torch("kernel-turned")
def kernel_turned_there(model: Any, rng: Random) -> Plan:
    return weights_there(model, rng, nn.Conv2d, lambda conv: conv.kernel_size == (3, 3), lambda w: w.transpose(2, 3))


@on_keras("kernel-in-out", "inputs and outputs of a kernel exchanged", both(WRONG, LAYOUT), as_they_are=True)
def kernel_in_out(net: KerasNet, rng: Random) -> Plan:
    def fits(op: Any) -> bool:
        return type(op) is layers.Conv2D and op.kernel.shape[2] == op.kernel.shape[3]

    return kernels(net, rng, fits, lambda kernel: kernel.swapaxes(2, 3))


@on_torch("kernel-in-out")
def kernel_in_out_there(model: Any, rng: Random) -> Plan:
    def fits(conv: Any) -> bool:
        return conv.in_channels == conv.out_channels and conv.groups == 1

    return weights_there(model, rng, nn.Conv2d, fits, lambda w: w.transpose(0, 1))


@on_keras("kernel-flipped", "a kernel upside down, as for a true convolution", both(WRONG, LAYOUT), as_they_are=True)
def kernel_flipped(net: KerasNet, rng: Random) -> Plan:
    return kernels(net, rng, is_square, lambda kernel: kernel[::-1, ::-1])


@on_torch("kernel-flipped")
def kernel_flipped_there(model: Any, rng: Random) -> Plan:
    return weights_there(model, rng, nn.Conv2d, lambda conv: conv.kernel_size == (3, 3), lambda w: w.flip(2, 3))


@on_keras("kernel-reshaped", "a kernel reshaped, not transposed", both(WRONG, LAYOUT), as_they_are=True)
def kernel_reshaped(net: KerasNet, rng: Random) -> Plan:
    def fits(op: Any) -> bool:
        return type(op) is layers.Conv2D and max(op.kernel_size) > 1

    return kernels(net, rng, fits, lambda kernel: kernel.transpose(3, 2, 0, 1).reshape(kernel.shape))


@on_keras("dense-transposed", "the matrix of a dense layer transposed", both(WRONG, LAYOUT), as_they_are=True)
def dense_transposed(net: KerasNet, rng: Random) -> Plan:
    def fits(op: Any) -> bool:
        return isinstance(op, layers.Dense) and op.kernel.shape[0] == op.kernel.shape[1]

    return kernels(net, rng, fits, lambda kernel: kernel.T)


@on_torch("dense-transposed")
def dense_transposed_there(model: Any, rng: Random) -> Plan:
    return weights_there(model, rng, nn.Linear, lambda each: each.in_features == each.out_features, lambda w: w.T)


@on_keras(
    "flatten-order", "the other framework's order behind a flatten", "(flatten|layout|order|channels)", as_they_are=True
)
def flatten_order(net: KerasNet, rng: Random) -> Plan:
    def shape(op: Any) -> tuple[int, ...]:
        before = net.before(op)[0]
        return net.shape_in(before) if isinstance(before, layers.Flatten) else ()

    op = pick(rng, net.where(lambda op: isinstance(op, layers.Dense) and len(shape(op)) == 3))
    height, width, channels = shape(op)

    def turn(layer: Any) -> None:
        kernel = np.array(layer.kernel)
        layer.kernel.assign(kernel.reshape(height, width, channels, -1).transpose(2, 0, 1, 3).reshape(kernel.shape))

    return altered(op, turn)


# -- weights in wrong places


def exchanged(layer: Any, first: str, second: str) -> None:
    """Exchange two weights of a layer."""
    one, other = getattr(layer, first), getattr(layer, second)
    values = np.array(one), np.array(other)
    one.assign(values[1])
    other.assign(values[0])


def is_norm(op: Any) -> bool:
    """Whether this is a BatchNorm."""
    return isinstance(op, layers.BatchNormalization)


@on_keras("mean-and-variance", "running mean and variance exchanged", both("mean", "var", EXCHANGED), as_they_are=True)
def mean_and_variance(net: KerasNet, rng: Random) -> Plan:
    return altered(pick(rng, net.where(is_norm)), lambda layer: exchanged(layer, "moving_mean", "moving_variance"))


@on_keras(
    "gamma-and-beta", "gamma and beta exchanged", both("(gamma|weight)", "(beta|bias)", EXCHANGED), as_they_are=True
)
def gamma_and_beta(net: KerasNet, rng: Random) -> Plan:
    return altered(pick(rng, net.where(is_norm)), lambda layer: exchanged(layer, "gamma", "beta"))


@on_torch("gamma-and-beta")
def gamma_and_beta_there(model: Any, rng: Random) -> Plan:
    path = pick(rng, modules(model, nn.BatchNorm2d, nn.LayerNorm))
    norm = model.get_submodule(path)
    norm.weight, norm.bias = norm.bias, norm.weight
    return Plan(paths=(path,))


@on_keras("layers-exchanged", "two layers of equal shape with each other's weights", EXCHANGED, as_they_are=True)
def layers_exchanged(net: KerasNet, rng: Random) -> Plan:
    weighted = net.where(lambda op: isinstance(op, (*CONVS, layers.Dense)))

    def shapes(op: Any) -> list[Any]:
        return [each.shape for each in op.weights]

    pairs = [
        (one, other)
        for place, one in enumerate(weighted)
        for other in weighted[place + 1 :]
        if shapes(one) == shapes(other)
    ]
    first, second = pick(rng, pairs)

    def change(model: Any) -> None:
        one, other = model.get_layer(first.name), model.get_layer(second.name)
        values = one.get_weights(), other.get_weights()
        one.set_weights(values[1])
        other.set_weights(values[0])

    return Plan({each.name: lambda spot: spot.same() for each in (first, second)}, weights=change)


@on_torch("layers-exchanged")
def layers_exchanged_there(model: Any, rng: Random) -> Plan:
    found = [(path, model.get_submodule(path)) for path in modules(model, nn.Conv2d, nn.Linear)]
    pairs = [
        (one, other)
        for place, one in enumerate(found)
        for other in found[place + 1 :]
        if one[1].weight.shape == other[1].weight.shape and (one[1].bias is None) == (other[1].bias is None)
    ]
    (path, one), (other_path, other) = pick(rng, pairs)
    values = {key: value.clone() for key, value in one.state_dict().items()}
    one.load_state_dict({key: value.clone() for key, value in other.state_dict().items()})
    other.load_state_dict(values)
    return Plan(paths=(path, other_path))


@on_keras("bias-missing", "a bias is missing", "bias", as_they_are=True, follows=True)
def bias_missing(net: KerasNet, rng: Random) -> Plan:
    op = pick(rng, net.where(lambda op: isinstance(op, (*CONVS, layers.Dense)) and op.use_bias))
    return Plan({op.name: lambda spot: spot.same(use_bias=False)})


@on_torch("bias-missing")
def bias_missing_there(model: Any, rng: Random) -> Plan:
    found = [path for path in modules(model, nn.Conv2d, nn.Linear) if model.get_submodule(path).bias is not None]
    path = pick(rng, found)
    model.get_submodule(path).bias = None
    return Plan(paths=(path,))


# -- images


def images(change: Callable[[Any], Any]) -> Plan:
    """Plan to give the side other images."""
    return Plan(also=(INPUT,), images=change)


def reshaped(each: Any) -> Any:
    """Return images whose rows of numbers were read in the other layout."""
    return np.ascontiguousarray(each.transpose(0, 3, 1, 2)).reshape(each.shape)


def pixels_in_255(each: Any) -> Any:
    """Return images in [0, 1] as they were before a division by 255."""
    return each * np.float32(255)


#: Name -> in words, the cause, what is done to the images.
IMAGES: dict[str, tuple[str, str, Callable[[Any], Any]]] = {
    "images-bgr": (
        "one side is given BGR",
        r"(BGR|revers|order.*channel|channel.*order)",
        lambda each: each[..., ::-1].copy(),
    ),
    "images-255": ("one side is given [0, 255]", r"(255|scal|times|divid)", pixels_in_255),
    "images-normalised": (
        "one side is given normalised images",
        r"(normali|mean|shift|offset|scale)",
        lambda each: (each - MEAN) / STD,
    ),
    "images-reshaped": (
        "one side is given images reshaped to the other layout, not transposed",
        r"(reshape|layout|N, C, H, W|channels)",
        reshaped,
    ),
}
for name, (words, cause, change) in IMAGES.items():
    on_keras(name, words, cause, follows=True)(lambda net, rng, change=change: images(change))
    on_torch(name)(lambda model, rng, change=change: images(change))
