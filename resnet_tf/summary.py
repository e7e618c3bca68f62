"""What a Keras model looks like: a row for every layer, and Keras' own summary."""

from __future__ import annotations

import math
import os

import keras

from resnet_tf.factory import create_model
from resnet_tf.weights import check_model, torch_name
from shared.backends import ModelRow
from shared.base.errors import InputError
from shared.networks.spec import ResNetSpec

#: Wide enough for the longest layer name, so that no name is broken over two lines.
SUMMARY_WIDTH = 120


def create_skeleton(spec: ResNetSpec) -> keras.Model:
    """Build a network for looking at its layers. Keras needs the real one for that."""
    return create_model(spec)


def layer_rows(model: keras.Model, input_size: int | None = None) -> list[ModelRow]:
    """Return a row for every layer of the model, with the shapes (H, W, C) or (C,) that Keras itself reports.

    Padding is a layer of its own in Keras: the rows that end in `.pad` have no counterpart in PyTorch. A Keras
    model is built for one size, so any other `input_size` raises `InputError`.
    """
    check_model(model)
    built_for = model.inputs[0].shape[1]
    if input_size not in (None, built_for):
        raise InputError(f"input_size is {input_size}, but this Keras model was built for {built_for} pixels")
    rows = []
    for operation in model.operations:
        if isinstance(operation, keras.layers.InputLayer):
            continue
        weights = getattr(operation, "weights", [])
        # Not by `trainable_weights`: a layer that is frozen still has parameters.
        buffers = sum(math.prod(weight.shape) for weight in weights if weight.name.startswith("moving_"))
        rows.append(
            ModelRow(
                name=torch_name(model, operation.name),
                kind=type(operation).__name__,
                output_shape=tuple(operation.output.shape[1:]),
                parameters=sum(math.prod(weight.shape) for weight in weights) - buffers,
                buffers=buffers,
            )
        )
    return rows


def printout(model: keras.Model) -> str:
    """Return what `model.summary()` shows."""
    check_model(model)
    lines: list[str] = []
    # Keras prints through a console that takes its width from the environment and cuts off what is wider.
    columns = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(SUMMARY_WIDTH)
    try:
        model.summary(line_length=SUMMARY_WIDTH, print_fn=lambda text, **_: lines.append(text))
    finally:
        os.environ.pop("COLUMNS")
        if columns is not None:
            os.environ["COLUMNS"] = columns
    return "\n".join(line.rstrip() for text in lines for line in text.splitlines())
