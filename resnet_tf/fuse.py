"""Folds the BatchNorms of a Keras model into its convolutions, for inference. The twin is `resnet_torch/fuse.py`."""

from __future__ import annotations

from typing import Any

import keras

from resnet_tf.layers import deep_graphs, layer_name
from resnet_tf.weights import check_model, get_weights, set_weights
from shared.errors import InputError
from shared.folding import fold, folded_norms


def fuse(model: keras.Model) -> keras.Model:
    """Return a copy of a network of ours for inference, with the same logits from fewer operations.

    Its convolutions have a bias, and the BatchNorms behind them are gone. It cannot be trained on as if it were the
    network, and it has no `spec`. Raises `InputError` for another kind of model.
    """
    check_model(model)
    if not hasattr(model, "spec"):
        raise InputError(f"fuse takes a network of create_model, not a {type(model).__name__}, or one that is fused")
    pairs = {layer_name(conv): layer_name(norm) for conv, norm in folded_norms(model.spec).items()}
    norms = set(pairs.values())

    def clone(layer: keras.Layer) -> keras.Layer:
        bias = {"use_bias": True} if layer.name in pairs else {}
        return type(layer).from_config(layer.get_config() | bias)

    def call(layer: Any, *inputs: Any, **options: Any) -> Any:
        return inputs[0] if layer.name in norms else layer(*inputs, **options)

    with deep_graphs():
        fused = keras.models.clone_model(model, clone_function=clone, call_function=call)
    set_weights(fused, fold(model.spec, get_weights(model)))
    return fused
