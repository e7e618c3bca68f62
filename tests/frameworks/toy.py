"""A third framework, in NumPy: just what comparing and evaluating need. One folder and one line are enough."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from shared.backends import ModelRow
from shared.networks.canonical import fit
from shared.networks.catalog import get_spec
from shared.networks.initial import initial_weights
from shared.networks.table import layer_table, weight_shapes
from shared.twins.diagnosis import batch_norm, conv

TITLE = "Toy"


class ToyResNet:
    """The layers of the table, one after the other; the weights are canonical arrays."""

    def __init__(self, spec, seed, dtype):
        self.spec, self.dtype = spec, dtype
        self.weights = initial_weights(spec, seed or 0)
        self.rows = {row.name: row for row in layer_table(spec)}

    def layer(self, name, x):
        row, w = self.rows[name], {k.rpartition(".")[2]: v for k, v in self.weights.items() if k.startswith(f"{name}.")}
        if row.kind == "conv":
            return conv(x, w["weight"], w.get("bias"), row.stride, row.padding, row.padding)
        return batch_norm(x, w["weight"], w["bias"], w["running_mean"], w["running_var"], self.spec.norm_eps)

    def block(self, name, x):
        """A BasicBlock with its shortcut."""
        out = np.maximum(self.layer(f"{name}.bn1", self.layer(f"{name}.conv1", x)), 0)
        out = self.layer(f"{name}.bn2", self.layer(f"{name}.conv2", out))
        for part in ("0", "1"):
            if f"{name}.downsample.{part}" in self.rows:
                x = self.layer(f"{name}.downsample.{part}", x)
        return np.maximum(out + x, 0)

    def __call__(self, x):
        x = np.maximum(self.layer("bn1", self.layer("conv1", x)), 0)
        for stage in self.spec.stages():
            for row in stage:
                x = self.block(row.name, x)
        return x.mean((2, 3)) @ self.weights["fc.weight"].T + self.weights["fc.bias"]


def create_model(name, *, seed=None, dtype="float32"):
    return ToyResNet(get_spec(name), seed, dtype)


def create_skeleton(spec):
    return create_model(spec)


def get_weights(model):
    return dict(model.weights)


def set_weights(model, arrays, *, strict=True, new_head=False):
    good, report = fit(weight_shapes(model.spec), arrays, strict=strict, new_head=new_head)
    model.weights |= good
    return report


def layer_rows(model, input_size):
    return [
        ModelRow(
            name=row.name,
            kind=row.kind,
            output_shape=row.output_shape,
            parameters=sum(v.size for k, v in _arrays(model, row.name) if ".running_" not in k),
            buffers=sum(v.size for k, v in _arrays(model, row.name) if ".running_" in k),
        )
        for row in layer_table(model.spec, input_size)
    ]


def _arrays(model, layer):
    return [(name, array) for name, array in model.weights.items() if name.rpartition(".")[0] == layer]


def from_nhwc(images, model):
    return np.transpose(images, (0, 3, 1, 2)).astype(model.dtype)


def forward(model, inputs, *, training=False):
    return model(inputs)


def devices():
    return ["CPU"]


@contextmanager
def on_device(device: str) -> Iterator[None]:
    yield
