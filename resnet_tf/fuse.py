"""Folds the BatchNorms of a Keras model into its convolutions, for inference. The twin is `resnet_torch/fuse.py`."""

from __future__ import annotations

from typing import Any

import keras

from resnet_tf.layers import deep_graphs, layer_name
from resnet_tf.weights import check_model, get_weights, set_weights
from shared.networks.folding import fold, folded_norms, spec_to_fold


def fuse(model: keras.Model) -> keras.Model:
    """Return a copy of a network of ours for inference, with the same logits from fewer operations.

    Its convolutions have a bias, and the BatchNorms behind them are gone: its name ends in `_fused`. It is frozen: no
    variable is trainable, so it cannot be trained without BatchNorm by mistake. In place of `spec` it has `fused_from`.
    Raises `InputError` for a fused network, and any other model.
    """
    check_model(model)
    spec = spec_to_fold(model)
    pairs = {layer_name(conv): layer_name(norm) for conv, norm in folded_norms(spec).items()}
    norms = set(pairs.values())

    def clone(layer: keras.Layer) -> keras.Layer:
        bias = {"use_bias": True} if layer.name in pairs else {}
        return type(layer).from_config(layer.get_config() | bias)

    def call(layer: Any, *inputs: Any, **options: Any) -> Any:
        return inputs[0] if layer.name in norms else layer(*inputs, **options)

    with deep_graphs():
        copy = keras.models.clone_model(model, clone_function=clone, call_function=call)
        fused = keras.Model(copy.inputs[0], copy.outputs[0], name=f"{model.name}_fused")
    fused.fused_from = spec
    set_weights(fused, fold(spec, get_weights(model)))
    fused.trainable = False
    return fused
