"""Builds Keras models by name from the layer-spec table."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras

from resnet_tf.layers import deep_graphs, dtype_scope, layer_name
from resnet_tf.preact import PreActResNet
from resnet_tf.resnet import ResNet
from resnet_tf.weights import set_weights
from shared.base.checks import check_dtype, check_seed
from shared.networks.catalog import PAPER_DEPTHS, get_spec
from shared.networks.initial import initial_weights
from shared.networks.spec import ResNetSpec
from shared.networks.table import check_buildable


def create_model(
    name: str | ResNetSpec,
    *,
    seed: int | None = None,
    dtype: str = "float32",
    policy: str | None = None,
    **overrides: Any,
) -> keras.Model:
    """Build a network in Keras.

    Arguments
    ---------
    name: a name of `shared.networks.catalog.SPECS`, or a `ResNetSpec`.
    seed: a whole number gives the same initial weights every time, and the same in both frameworks. Without
        it they are drawn by Keras (`keras.utils.set_random_seed`), from the same distributions: Kaiming
        normal, fan-out, for convolutions, PyTorch's default for the last layer and for biases.
    dtype: "float32" or "float64".
    policy: None, or one of Keras' mixed dtype policies, "mixed_bfloat16" or "mixed_float16". PyTorch decides that
        when a model is called, with `torch.autocast`; Keras when it is built.
    overrides: fields of the spec to replace, for example `num_classes=10, in_channels=1, input_size=32`.

    Returns a functional `keras.Model` that maps images (N, H, W, C) of `input_size` pixels to logits
    (N, num_classes). Raises `InputError` (a `ValueError`) for an unknown name or a value that is not allowed.
    """
    spec = get_spec(name, **overrides)
    check_dtype(dtype)
    check_seed(seed)
    check_buildable(spec)
    with dtype_scope(dtype, policy), deep_graphs():
        inputs = keras.Input((spec.input_size, spec.input_size, spec.in_channels), name="input")
        network = (PreActResNet if spec.preact else ResNet)(spec)
        model = keras.Model(inputs, network(inputs), name=layer_name(spec.name))
    model.spec = spec
    if seed is not None:
        set_weights(model, initial_weights(spec, seed))
    return model


#: The networks of the paper's Table 1, as torchvision builds them; options as for `create_model`.
resnet18, resnet34, resnet50, resnet101, resnet152 = (partial(create_model, name) for name in PAPER_DEPTHS)
