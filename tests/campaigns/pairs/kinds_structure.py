"""Mistakes of structure: operations that are missing, extra, elsewhere, or fed by others."""

from __future__ import annotations

from random import Random
from typing import Any

import keras
from keras import layers
from torch import nn

from tests.campaigns.pairs.kinds import ALONE, MOVED, both, on_keras, on_torch
from tests.campaigns.pairs.plant import (
    CONVS,
    FUSED,
    KerasNet,
    NotHereError,
    Plan,
    activate,
    activation,
    is_add,
    modules,
    pick,
    put,
)

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.LeakyReLU)
WORD_OF = {nn.ReLU: "relu", nn.ReLU6: "relu6", nn.SiLU: "silu", nn.GELU: "gelu", nn.LeakyReLU: "leaky_relu"}
NORMS = (layers.BatchNormalization, layers.LayerNormalization)


def word(name: str) -> str:
    """Return a regular expression for an activation, by whatever name."""
    return {"silu": "(silu|swish)", "relu6": "(relu6|relu)"}.get(name, name)


# -- activations


@on_keras("activation-missing", "an activation is missing", both("relu|silu|gelu", ALONE), follows=True)
def activation_missing(net: KerasNet, rng: Random) -> Plan:
    op = pick(rng, net.where(lambda op: activation(op) in ("relu", "relu6", "silu", "gelu", "leaky_relu")))
    return Plan({op.name: lambda spot: activate(spot, None)}, cause=both(word(activation(op)), ALONE))


@on_torch("activation-missing")
def activation_missing_there(model: Any, rng: Random) -> Plan:
    path = pick(rng, modules(model, *ACTIVATIONS))
    name = WORD_OF[type(model.get_submodule(path))]
    put(model, path, nn.Identity())
    return Plan(paths=(path,), cause=both(word(name), ALONE))


@on_keras("activation-extra", "a ReLU too many", both("relu", ALONE), follows=True)
def activation_extra(net: KerasNet, rng: Random) -> Plan:
    def fits(op: Any) -> bool:
        follower = net.only_after(op)
        return (
            isinstance(op, (*CONVS, *NORMS))
            and not activation(op)
            and follower is not None
            and not activation(follower)
        )

    op = pick(rng, net.where(fits))
    return Plan({op.name: lambda spot: layers.ReLU(name="extra_relu")(spot.same())})


@on_torch("activation-extra")
def activation_extra_there(model: Any, rng: Random) -> Plan:
    path = pick(rng, modules(model, nn.Conv2d))
    put(model, path, nn.Sequential(model.get_submodule(path), nn.ReLU()))
    return Plan(paths=(path,))


@on_keras("relu-before-addition", "the ReLU stands before the addition", MOVED, follows=True)
def relu_before_addition(net: KerasNet, rng: Random) -> Plan:
    def fits(op: Any) -> bool:
        follower = net.only_after(op)
        return is_add(op) and follower is not None and activation(follower) == "relu"

    op = pick(rng, net.where(fits))
    behind, turn = net.only_after(op), rng.randrange(2)

    def add(spot: Any) -> Any:
        given = list(spot.inputs)
        given[turn] = layers.ReLU(name="early_relu")(given[turn])
        return spot.same(*given)

    return Plan({op.name: add, behind.name: lambda spot: spot.x})


# -- sums and products


def spare(net: KerasNet, op: Any) -> list[int]:
    """Return the places of the operands of a sum without which no layer would be left out."""
    return [place for place, each in enumerate(net.before(op)) if len(net.after(each)) > 1]


@on_keras("addition-missing", "an addition is missing", both("add", ALONE), follows=True)
def addition_missing(net: KerasNet, rng: Random) -> Plan:
    op = pick(rng, net.where(lambda op: is_add(op) and spare(net, op)))
    left_out = spare(net, op)[0]
    return Plan({op.name: lambda spot: spot.inputs[1 - left_out]})


@on_keras(
    "addition-of-another", "an addition of another tensor", r"(fed by|another|other|instead|wired|reads|operand|input)"
)
def addition_of_another(net: KerasNet, rng: Random) -> Plan:
    choices = []
    for op in net.where(lambda op: is_add(op) and spare(net, op)):
        own = net.before(op)
        earlier = net.ops[: net.ops.index(op)]
        others = [each for each in earlier if net.shape(each) == net.shape(op) and each not in own]
        choices += [(op, spare(net, op)[0], other) for other in others if _before(net, other, op)]
    op, place, other = pick(rng, choices)

    def add(spot: Any) -> Any:
        given = list(spot.inputs)
        given[place] = spot.made[other.name]
        return spot.same(*given)

    return Plan({op.name: add})


def _before(net: KerasNet, one: Any, other: Any) -> bool:
    """Whether one operation is not the shortcut of its own block: it leads to the sum from further away."""
    return one not in [each for own in net.before(other) for each in net.before(own)] or len(net.before(one)) > 0


@on_keras("gate-missing", "squeeze and excitation is not multiplied", both("multiply", ALONE), follows=True)
def gate_missing(net: KerasNet, rng: Random) -> Plan:
    op = pick(rng, net.where(lambda op: isinstance(op, layers.Multiply)))
    return Plan({op.name: lambda spot: spot.x})


@on_keras("scale-extra", "a constant factor on one side only", "(multiply|scale|factor|0\\.5)", follows=True)
def scale_extra(net: KerasNet, rng: Random) -> Plan:
    op = pick(rng, net.where(lambda op: isinstance(op, (*NORMS, layers.Dense)) and net.after(op)))
    return Plan({op.name: lambda spot: spot.same() * 0.5})


@on_torch("scale-extra")
def scale_extra_there(model: Any, rng: Random) -> Plan:
    class Half(nn.Module):
        def forward(self, x: Any) -> Any:
            return x * 0.5

    path = pick(rng, modules(model, nn.BatchNorm2d, nn.LayerNorm))
    put(model, path, nn.Sequential(model.get_submodule(path), Half()))
    return Plan(paths=(path,))


@on_keras("concat-order", "a concatenation in another order", r"(order|operand|concat)")
def concat_order(net: KerasNet, rng: Random) -> Plan:
    op = pick(rng, net.where(lambda op: isinstance(op, layers.Concatenate)))
    return Plan({op.name: lambda spot: spot.same(*spot.inputs[::-1])})


# -- layers


@on_keras("norm-missing", "a normalisation is missing", both("norm", ALONE), follows=True, as_they_are=True)
def norm_missing(net: KerasNet, rng: Random) -> Plan:
    op = pick(rng, net.where(lambda op: isinstance(op, NORMS)))
    return Plan({op.name: lambda spot: spot.x})


@on_torch("norm-missing")
def norm_missing_there(model: Any, rng: Random) -> Plan:
    path = pick(rng, modules(model, nn.BatchNorm2d))
    put(model, path, nn.Identity())
    return Plan(paths=(path,))


@on_keras("norm-before-conv", "the BatchNorm stands before the convolution", MOVED, follows=True)
def norm_before_conv(net: KerasNet, rng: Random) -> Plan:
    def fits(op: Any) -> bool:
        follower = net.only_after(op)
        same = net.shape_in(op)[-1] == net.shape(op)[-1]
        return isinstance(op, CONVS) and same and isinstance(follower, layers.BatchNormalization)

    op = pick(rng, net.where(fits))
    norm = net.only_after(op)
    return Plan({op.name: lambda spot: spot.same(spot.copy(norm)(spot.x)), norm.name: lambda spot: spot.x})


@on_keras("norm-behind-activation", "the BatchNorm stands behind the activation", MOVED, follows=True)
def norm_behind_activation(net: KerasNet, rng: Random) -> Plan:
    def fits(op: Any) -> bool:
        follower = net.only_after(op)
        alone = follower is not None and bool(activation(follower)) and not isinstance(follower, FUSED)
        return isinstance(op, layers.BatchNormalization) and alone

    norm = pick(rng, net.where(fits))
    act = net.only_after(norm)
    return Plan({norm.name: lambda spot: spot.x, act.name: lambda spot: spot.copy(norm)(spot.same())})


@on_torch("norm-behind-activation")
def norm_behind_activation_there(model: Any, rng: Random) -> Plan:
    def is_pair(path: str) -> bool:
        parent, _, name = path.rpartition(".")
        inside = model.get_submodule(parent)
        follower = isinstance(inside, nn.Sequential) and name.isdigit() and list(inside)[int(name) + 1 : int(name) + 2]
        return bool(follower) and isinstance(follower[0], ACTIVATIONS)

    path = pick(rng, [each for each in modules(model, nn.BatchNorm2d, nn.BatchNorm1d) if is_pair(each)])
    parent, _, name = path.rpartition(".")
    inside = model.get_submodule(parent)
    behind = str(int(name) + 1)
    inside[int(name)], inside[int(behind)] = inside[int(behind)], inside[int(name)]
    return Plan(paths=(path, f"{parent}.{behind}".lstrip(".")))


@on_keras("conv-missing", "a convolution is missing", both("conv", ALONE), follows=True, as_they_are=True)
def conv_missing(net: KerasNet, rng: Random) -> Plan:
    op = pick(rng, net.where(lambda op: isinstance(op, CONVS) and net.shape(op) == net.shape_in(op)))
    return Plan({op.name: lambda spot: spot.x if not activation(op) else activate_alone(spot, op)})


def activate_alone(spot: Any, op: Any) -> Any:
    """Return what is left of a layer that ends with an activation."""
    return layers.Activation(activation(op), name=f"{op.name}_left")(spot.x)


@on_keras("layer-scale-missing", "a factor for each channel is missing", both("multiply|scale|parameter", ALONE),
          follows=True, as_they_are=True)  # fmt: skip
def layer_scale_missing(net: KerasNet, rng: Random) -> Plan:
    op = pick(rng, net.where(lambda op: type(op).__name__ == "LayerScale"))
    return Plan({op.name: lambda spot: spot.x})


# -- the two ends


@on_keras("softmax-at-the-end", "a softmax at the end of one side only", "softmax", follows=True)
def softmax_at_the_end(net: KerasNet, rng: Random) -> Plan:
    last = net.ops[-1]
    if rng.random() < 0.5 and isinstance(last, layers.Dense):
        return Plan({last.name: lambda spot: activate(spot, "softmax")})
    return Plan({last.name: lambda spot: layers.Softmax(name="probabilities")(spot.same())})


@on_torch("softmax-at-the-end")
def softmax_at_the_end_there(model: Any, rng: Random) -> Plan:
    path = modules(model, nn.Linear, nn.Conv2d)[-1]
    put(model, path, nn.Sequential(model.get_submodule(path), nn.Softmax(1)))
    return Plan(paths=(path,))


def at_the_start(net: KerasNet, make: Any) -> Plan:
    """Plan to put something between the input and what it feeds."""
    first = net.ops[0]
    if len(net.after(net.before(first)[0])) != 1:
        raise NotHereError
    return Plan({first.name: lambda spot: spot.same(make(spot.x))})


@on_keras("rescaling-layer", "one side divides its images by 255", r"(255|0\.0039|scal|divide)", follows=True)
def rescaling_layer(net: KerasNet, rng: Random) -> Plan:
    return at_the_start(net, layers.Rescaling(1 / 255, name="rescale"))


@on_keras(
    "normalization-layer", "one side normalises its images", r"(normali|mean|subtract|scale|offset)", follows=True
)
def normalization_layer(net: KerasNet, rng: Random) -> Plan:
    made = layers.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.0524, 0.0502, 0.0506], name="normalize")
    return at_the_start(net, made)


@on_keras(
    "bgr-layer", "one side turns its images to BGR", r"(BGR|revers|flip|order|get_item|slice|channel)", follows=True
)
def bgr_layer(net: KerasNet, rng: Random) -> Plan:
    return at_the_start(net, lambda x: x[..., ::-1])


@on_torch("bgr-layer")
def bgr_layer_there(model: Any, rng: Random) -> Plan:
    class Turned(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.flip(1)

    path = pick(rng, modules(model, nn.Conv2d)[:1])
    put(model, path, nn.Sequential(Turned(), model.get_submodule(path)))
    return Plan(paths=(path,))


# -- what is active in training only


class InTraining(layers.Layer):
    """A BatchNorm that takes the statistics of its batch whatever it is told."""

    def __init__(self, inner: Any) -> None:
        super().__init__(name=f"{inner.name}_in_training")
        self.inner = inner

    def call(self, x: Any) -> Any:
        """Return (N, H, W, C)."""
        return self.inner(x, training=True)


@on_keras("norm-in-training-mode", "a BatchNorm is in training mode", r"(batch|training|statistic)")
def norm_in_training_mode(net: KerasNet, rng: Random) -> Plan:
    op = pick(rng, net.where(lambda op: isinstance(op, layers.BatchNormalization) and len(net.shape(op)) == 3))
    return Plan({op.name: lambda spot: InTraining(spot.copy())(spot.x)})


@on_torch("norm-in-training-mode")
def norm_in_training_mode_there(model: Any, rng: Random) -> Plan:
    path = pick(rng, modules(model, nn.BatchNorm2d))
    norm = model.get_submodule(path)

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = norm

        def forward(self, x: Any) -> Any:
            own = self.inner
            return nn.functional.batch_norm(x, None, None, own.weight, own.bias, training=True, eps=own.eps)

    put(model, path, Own())
    return Plan(paths=(path,))


class Always(layers.Layer):
    """A dropout that is always active."""

    def call(self, x: Any) -> Any:
        """Return the shape of x."""
        return keras.random.dropout(x, 0.5, seed=1)


@on_keras("dropout-active", "a dropout is active", r"(dropout|random)", follows=True)
def dropout_active(net: KerasNet, rng: Random) -> Plan:
    op = pick(rng, net.where(lambda op: activation(op) or isinstance(op, layers.Dropout)))
    return Plan({op.name: lambda spot: Always(name="dropout_on")(spot.same())})


@on_torch("dropout-active")
def dropout_active_there(model: Any, rng: Random) -> Plan:
    class Active(nn.Module):
        def forward(self, x: Any) -> Any:
            return nn.functional.dropout(x, 0.5, training=True)

    path = pick(rng, modules(model, nn.Dropout, *ACTIVATIONS))
    put(model, path, nn.Sequential(model.get_submodule(path), Active()))
    return Plan(paths=(path,))
