"""Which word of `shared.networks.graph` a layer of Keras is, with its settings and weights as the tables there say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import Layer, layers

from resnet_tf.graph_calls import Call
from resnet_tf.graph_kinds import (
    Reading,
    View,
    activation_reading,
    along,
    avg_pool,
    conv_settings,
    depthwise_view,
    enlarged,
    front,
    joined,
    kernel_view,
    lengths,
    max_pool,
    plain,
    present,
    relu_like,
    reshaped,
    spatial,
)


def _conv(call: Call) -> Reading:
    layer = call.target
    settings = conv_settings(
        call, layer.kernel_size, layer.strides, layer.padding, layer.data_format, layer.dilation_rate
    )
    views = present(weight=kernel_view(layer.kernel), bias=layer.bias)
    return Reading("conv", {**settings, "groups": layer.groups}, views)


def _depthwise_conv(call: Call) -> Reading:
    layer = call.target
    settings = conv_settings(
        call, layer.kernel_size, layer.strides, layer.padding, layer.data_format, layer.dilation_rate
    )
    settings["groups"] = layer.kernel.shape[-2]
    return Reading("conv", settings, present(weight=depthwise_view(layer.kernel), bias=layer.bias))


def _separable_conv(call: Call) -> Reading:
    layer = call.target
    if call.part == "pointwise":
        settings = conv_settings(call, 1, 1, "valid", layer.data_format, 1)
        settings["kernel_size"] = settings["stride"]
        views = present(weight=kernel_view(layer.pointwise_kernel), bias=layer.bias)
        return Reading("conv", {**settings, "groups": 1}, views)
    settings = conv_settings(
        call, layer.kernel_size, layer.strides, layer.padding, layer.data_format, layer.dilation_rate
    )
    settings["groups"] = layer.depthwise_kernel.shape[-2]
    return Reading("conv", settings, present(weight=depthwise_view(layer.depthwise_kernel)))


def _conv_transpose(call: Call) -> Reading:
    """Read a transposed convolution: `padding` is what is cut off from the whole result, before and behind."""
    layer = call.target
    sizes, outputs = (spatial(shape, layer.data_format) for shape in (call.shapes[0], call.shape))
    kernel, stride, dilation = layer.kernel_size, layer.strides, layer.dilation_rate
    cut, extra = [], []
    for size, length, step, output in zip(sizes, lengths(kernel, dilation), stride, outputs, strict=True):
        whole = (size - 1) * step + length
        before = max(whole - output, 0) // 2 if layer.padding == "same" else 0
        behind = whole - before - output
        cut.append((before, max(behind, 0)))
        extra.append(max(-behind, 0))
    settings = {"kernel_size": kernel, "stride": stride, "padding": tuple(cut), "output_padding": tuple(extra)}
    views = present(weight=kernel_view(layer.kernel), bias=layer.bias)
    return Reading("conv_transpose", {**settings, "dilation": dilation, "groups": 1}, views)


def _dense(call: Call) -> Reading:
    layer = call.target
    return Reading("dense", {}, present(weight=plain(layer.kernel, (1, 0)), bias=layer.bias))


def _einsum_dense(call: Call) -> Reading | None:
    """Read one that is a dense layer, of the last axis and with one number per output."""
    layer, (inputs, kernel, outputs) = call.target, _einsum_parts(call.target.equation)
    last = len(kernel) == 2 and inputs[-1:] == kernel[0] and outputs == inputs[:-1] + kernel[1]
    if not last or (layer.bias is not None and len(layer.bias.shape) != 1):
        return None
    return _dense(call)


def _einsum_parts(equation: str) -> tuple[str, str, str]:
    left, _, outputs = equation.replace(" ", "").partition("->")
    inputs, _, kernel = left.partition(",")
    return inputs, kernel, outputs


def _batch_norm(call: Call) -> Reading | None:
    layer = call.target
    channels = 1 if getattr(layer, "data_format", None) == "channels_first" else len(call.shape) - 1
    if layer.axis % len(call.shape) != channels or getattr(layer, "renorm", False):
        return None
    training = bool(call.kwargs.get("training")) and layer.trainable
    settings = {"eps": layer.epsilon, "momentum": round(1.0 - layer.momentum, 12), "training": training}
    statistics = {"running_mean": layer.moving_mean, "running_var": layer.moving_variance}
    return Reading("batch_norm", settings, present(weight=layer.gamma, bias=layer.beta, **statistics))


def _layer_norm(call: Call) -> Reading:
    """Read a norm over axes; its weights lie in the order in which the axes follow each other."""
    layer = call.target
    axes = front(layer.axis, call)
    sizes = tuple(call.shape[axis] for axis in axes)
    weights = {"weight": layer.gamma, "bias": None if getattr(layer, "rms_scaling", False) else layer.beta}
    views = {role: plain(each, shape=sizes) for role, each in weights.items() if each is not None}
    kind = "rms_norm" if getattr(layer, "rms_scaling", False) else "layer_norm"
    return Reading(kind, {"eps": layer.epsilon, "axes": axes}, views)


def _rms_norm(call: Call) -> Reading:
    layer = call.target
    axes = front(layer.axis, call)
    return Reading("rms_norm", {"eps": layer.epsilon, "axes": axes}, present(weight=layer.scale))


def _group_norm(call: Call) -> Reading | None:
    layer = call.target
    if layer.axis not in (-1, len(call.shape) - 1):
        return None
    settings = {"eps": layer.epsilon, "groups": layer.groups}
    return Reading("group_norm", settings, present(weight=layer.gamma, bias=layer.beta))


def _prelu(call: Call) -> Reading:
    alpha = call.target.alpha
    per_channel = all(size == 1 for size in alpha.shape[:-1])
    return Reading("prelu", {}, present(weight=plain(alpha, shape=alpha.shape[-1:]) if per_channel else alpha))


def _embedding(call: Call) -> Reading:
    """Read a table; all of its rows in their order are a parameter."""
    layer = call.target
    if not call.inputs:
        places = np.asarray(keras.ops.convert_to_numpy(call.args[0])).ravel()
        if np.array_equal(places, np.arange(layer.embeddings.shape[0])):
            return Reading("parameter", {}, present(value=layer.embeddings))
    return Reading("embedding", {}, present(weight=layer.embeddings))


def _attention(call: Call) -> Reading:
    """Read multi-head attention as one node: (out, in) for its four linear maps."""
    layer = call.target
    views: dict[str, View | keras.Variable | None] = {}
    for role, dense in (("query", layer.query_dense), ("key", layer.key_dense), ("value", layer.value_dense)):
        size, heads, each = dense.kernel.shape
        views[f"{role}_weight"] = plain(dense.kernel, (1, 2, 0), (heads * each, size))
        views[f"{role}_bias"] = None if dense.bias is None else plain(dense.bias, shape=(heads * each,))
    *inner, size = layer.output_dense.kernel.shape
    views["out_weight"] = plain(layer.output_dense.kernel, (2, 0, 1), (size, inner[0] * inner[1]))
    views["out_bias"] = layer.output_dense.bias
    causal = bool(call.kwargs.get("use_causal_mask"))
    return Reading("attention", {"heads": layer.num_heads, "causal": causal}, present(**views))


def _attention_or_other(call: Call) -> Reading | None:
    layer = call.target
    simple = all(len(each.kernel.shape) == 3 for each in (layer.query_dense, layer.key_dense, layer.value_dense))
    known = ("query", "value", "key", "use_causal_mask")
    options = [value for name, value in call.kwargs.items() if name not in known]
    simple = simple and len(call.shape) == 3
    masked = any(value is not None and value is not False for value in options)
    gated = getattr(layer, "_use_gate", False)
    return _attention(call) if simple and not masked and not gated and call.pick is None else None


def _relu(call: Call) -> Reading | None:
    layer = call.target
    return relu_like(layer.negative_slope or 0.0, layer.max_value, layer.threshold or 0.0)


def _softmax(call: Call) -> Reading | None:
    masked = len(call.inputs) > 1
    return None if masked else along("softmax", call.target.axis, call)


def _activation(call: Call) -> Reading | None:
    return activation_reading(call.target.activation, call)


def _pool(read: Callable[..., Reading]) -> Callable[[Call], Reading]:
    def describe(call: Call) -> Reading:
        layer = call.target
        return read(call, layer.pool_size, layer.strides, layer.padding, layer.data_format)

    return describe


def all_axes(padding: Any, call: Call, data_format: str | None) -> Any:
    """Return ((before, behind), ...) for the axes of an image; for all axes if "channels_first" misnames them."""
    found = tuple((int(before), int(behind)) for before, behind in padding)
    if data_format == "channels_first" and keras.config.image_data_format() == "channels_last":
        return ((0, 0), (0, 0), *found)
    return found


def _zero_padding(call: Call) -> Reading:
    layer = call.target
    padding = layer.padding if isinstance(layer.padding[0], (tuple, list)) else (layer.padding,)
    settings = {"padding": all_axes(padding, call, getattr(layer, "data_format", None)), "value": 0.0}
    return Reading("pad", settings)


def _cropping(call: Call) -> Reading:
    layer = call.target
    padding = layer.cropping if isinstance(layer.cropping[0], (tuple, list)) else (layer.cropping,)
    return Reading("crop", {"padding": all_axes(padding, call, getattr(layer, "data_format", None))})


def _upsampling(call: Call) -> Reading:
    return enlarged(call.target.size, call.target.interpolation)


def _upsampling1d(call: Call) -> Reading:
    return enlarged((call.target.size,), "nearest")


def _permute(call: Call) -> Reading:
    return Reading("permute", {"axes": (0, *call.target.dims)})


def _several(kind: str) -> Callable[[Call], Reading | None]:
    """Return what reads a layer that joins its inputs one by one."""
    return lambda call: Reading(kind, {"constant": None})


def numbers(value: Any) -> Any:
    """Return one number as it is, several as an immutable nest of tuples."""
    array = np.asarray(keras.ops.convert_to_numpy(value))
    return array.item() if array.size == 1 else tuple(numbers(each) for each in array)


def _rescaling(call: Call) -> Reading:
    layer = call.target
    return Reading("scale", {"factor": numbers(layer.scale), "offset": numbers(layer.offset)})


def _normalization(call: Call) -> Reading:
    """Read (x - mean) / deviation as x * factor + offset, and the inverse likewise."""
    layer = call.target
    mean = np.asarray(keras.ops.convert_to_numpy(layer.mean), "float64")
    variance = np.asarray(keras.ops.convert_to_numpy(layer.variance), "float64")
    deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
    factor, offset = (deviation, mean) if layer.invert else (1 / deviation, -mean / deviation)
    return Reading("scale", {"factor": numbers(np.squeeze(factor)), "offset": numbers(np.squeeze(offset))})


def _always(kind: str) -> Callable[[Call], Reading]:
    return lambda call: Reading(kind)


def _dropout(call: Call) -> Reading | None:
    return None if call.kwargs.get("training") else Reading("dropout", {"rate": call.target.rate})


def _noise(call: Call) -> Reading | None:
    return None if call.kwargs.get("training") else Reading("identity")


#: Pools over the whole image; a mean may have a mask.
GLOBAL_MEANS = (layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D, layers.GlobalAveragePooling3D)
GLOBAL_MAXIMA = (layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.GlobalMaxPooling3D)
#: Layers that change pictures while training, and pass them on otherwise.
RANDOM = [kind for name, kind in vars(layers).items() if name.startswith("Random") and name != "RandomCrop"]
#: Layer -> what reads it; the first that an object is an instance of counts. What is read as None is "other".
LAYERS: dict[type[Layer], Callable[[Call], Reading | None]] = {
    layers.DepthwiseConv1D: _depthwise_conv,
    layers.DepthwiseConv2D: _depthwise_conv,
    layers.SeparableConv1D: _separable_conv,
    layers.SeparableConv2D: _separable_conv,
    layers.Conv1D: _conv,
    layers.Conv2D: _conv,
    layers.Conv3D: _conv,
    layers.Conv1DTranspose: _conv_transpose,
    layers.Conv2DTranspose: _conv_transpose,
    layers.Conv3DTranspose: _conv_transpose,
    layers.Dense: _dense,
    layers.EinsumDense: _einsum_dense,
    layers.BatchNormalization: _batch_norm,
    layers.LayerNormalization: _layer_norm,
    layers.RMSNormalization: _rms_norm,
    layers.GroupNormalization: _group_norm,
    layers.PReLU: _prelu,
    layers.Embedding: _embedding,
    layers.MultiHeadAttention: _attention_or_other,
    layers.ReLU: _relu,
    layers.LeakyReLU: lambda call: Reading("leaky_relu", {"slope": call.target.negative_slope}),
    layers.ELU: lambda call: Reading("elu", {"alpha": call.target.alpha}),
    layers.Softmax: _softmax,
    layers.Activation: _activation,
    layers.MaxPooling1D: _pool(max_pool),
    layers.MaxPooling2D: _pool(max_pool),
    layers.AveragePooling1D: _pool(avg_pool),
    layers.AveragePooling2D: _pool(avg_pool),
    **dict.fromkeys(GLOBAL_MEANS, lambda call: Reading("global_avg_pool") if len(call.inputs) == 1 else None),
    **dict.fromkeys(GLOBAL_MAXIMA, _always("global_max_pool")),
    layers.ZeroPadding1D: _zero_padding,
    layers.ZeroPadding2D: _zero_padding,
    layers.Cropping1D: _cropping,
    layers.Cropping2D: _cropping,
    layers.UpSampling1D: _upsampling1d,
    layers.UpSampling2D: _upsampling,
    layers.Rescaling: _rescaling,
    layers.Normalization: _normalization,
    layers.Flatten: _always("flatten"),
    layers.Reshape: reshaped,
    layers.Permute: _permute,
    layers.Identity: _always("identity"),
    layers.ActivityRegularization: _always("identity"),
    layers.Dropout: _dropout,
    layers.SpatialDropout1D: _dropout,
    layers.SpatialDropout2D: _dropout,
    layers.AlphaDropout: _dropout,
    layers.GaussianDropout: _dropout,
    layers.GaussianNoise: _noise,
    **dict.fromkeys(RANDOM, _noise),
    layers.Add: _several("add"),
    layers.Subtract: _several("subtract"),
    layers.Multiply: _several("multiply"),
    layers.Concatenate: lambda call: joined(call.target.axis, call),
}
