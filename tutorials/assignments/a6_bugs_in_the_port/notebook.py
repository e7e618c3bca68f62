# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %%
import contextlib
import importlib
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # fewer of TensorFlow's messages
with contextlib.suppress(ImportError):
    importlib.import_module("triton")  # a part of PyTorch on Linux; after TensorFlow it would crash

import keras
import numpy as np
import torch
from keras import layers
from torch import nn

# %% [markdown]
# ## The original
#
# This is the network as it is in PyTorch. It is right: do not change it. It takes small pictures,
# 24 pixels high and 16 wide, and gives ten logits. Read it with care. Two things are not the usual
# ones: the BatchNorms have a momentum of their own, and at the end there is no average. The small
# feature map is flattened as it is.

# %%
MOMENTUM = 0.2  # of all BatchNorms, as PyTorch counts it
MEAN = np.array([0.485, 0.456, 0.406], "float32")  # of red, green and blue
STD = np.array([0.229, 0.224, 0.225], "float32")
LAYERS = [  # from the images to the logits
    "conv1",
    "bn1",
    "relu1",
    "maxpool",
    "layer1.0.conv1",
    "layer1.0.bn1",
    "layer1.0.relu1",
    "layer1.0.conv2",
    "layer1.0.bn2",
    "layer1.0.downsample.0",
    "layer1.0.downsample.1",
    "layer1.0.relu2",
    "fc",
]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; the shortcut is a projection."""

    def __init__(self, in_channels, out_channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels, momentum=MOMENTUM)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels, momentum=MOMENTUM)
        self.downsample = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
            nn.BatchNorm2d(out_channels, momentum=MOMENTUM),
        )
        self.relu2 = nn.ReLU(inplace=True)

    def forward(self, x):  # (N, C, H, W)
        out = self.conv1(x)  # (N, C', H/s, W/s)
        out = self.bn1(out)
        out = self.relu1(out)
        out = self.conv2(out)  # (N, C', H/s, W/s)
        out = self.bn2(out)
        shortcut = self.downsample(x)  # (N, C', H/s, W/s)
        return self.relu2(out + shortcut)


class Original(nn.Module):
    """The network that was carried over."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 5, stride=2, padding=2, bias=False)
        self.bn1 = nn.BatchNorm2d(8, momentum=MOMENTUM)
        self.relu1 = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = nn.Sequential(BasicBlock(8, 16, stride=2))
        self.fc = nn.Linear(16 * 3 * 2, 10)

    def forward(self, x):  # (N, 3, 24, 16)
        x = self.conv1(x)  # (N, 8, 12, 8)
        x = self.bn1(x)
        x = self.relu1(x)
        x = self.maxpool(x)  # (N, 8, 6, 4)
        x = self.layer1(x)  # (N, 16, 3, 2)
        x = torch.flatten(x, 1)  # (N, 96)
        return self.fc(x)  # (N, 10)


def preprocess_torch(pixels):
    """Pixels (N, H, W, 3), whole numbers, red first -> the input of the original, (N, 3, H, W)."""
    scaled = (pixels.astype("float32") / 255 - MEAN) / STD
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


# %% [markdown]
# Weights, statistics and pictures are made from a seed. They are *lively*: no gamma is 1, no beta
# and no mean is 0, no variance is 1. With numbers like 0 and 1 many mistakes would not show. The
# arrays have PyTorch's names and layouts.


# %%
def lively_arrays(seed):
    """Random arrays for the original: PyTorch's name -> array."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, tensor in Original().state_dict().items():
        shape = tuple(tensor.shape)
        if name.endswith("num_batches_tracked"):
            continue
        if name.endswith("running_var"):
            array = rng.uniform(0.1, 2, shape)
        elif len(shape) > 1:  # a kernel, or the matrix of fc
            array = rng.normal(0, np.prod(shape[1:]) ** -0.5, shape)
        elif name.endswith("weight"):  # gamma
            array = rng.uniform(0.5, 1.5, shape)
        else:
            array = rng.normal(0, 0.3, shape)
        arrays[name] = array.astype("float32")
    return arrays


def original_with(arrays):
    """A new original with these arrays, in evaluation mode."""
    model = Original()
    tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    model.load_state_dict(model.state_dict() | tensors)
    return model.eval()


arrays = lively_arrays(0)
pixels = np.random.default_rng(1).integers(0, 256, (8, 24, 16, 3), dtype=np.uint8)
with torch.no_grad():
    logits = original_with(arrays)(torch.from_numpy(preprocess_torch(pixels))).numpy()
print("pixels", pixels.shape, " input", preprocess_torch(pixels).shape, " logits", logits.shape)
assert preprocess_torch(pixels).shape == (8, 3, 24, 16)
assert logits.shape == (8, 10)
assert not any(np.isin(array, (0, 1)).any() for array in arrays.values())  # lively

# %% [markdown]
# ## The port
#
# Somebody wrote the next three cells: the preparation of the pictures, the network in Keras, and
# the loading of the arrays. Everything runs, all shapes fit, every array finds its place. And the
# logits are wrong. There are **six mistakes** in the three cells. Tasks 3 to 7 have points for them.
#
# Do not search by eye yet. First write the microscope (tasks 1 and 2), then let it lead you. You
# come back to these three cells again and again. After each change, run the changed cell **and all
# cells below it**. Nearly every test builds your port: if that stops with an error, they all fail.
#
# Rules for your repair:
#
# - Keep the names and the arguments of the three functions, and the names of the layers: all of
#   `LAYERS` must be in the Keras model. Layers with other names may be added.
# - The model takes (N, 24, 16, 3) and gives (N, 10).
# - A line that looks strange is not always a mistake. If neither the microscope nor, later, the step of
#   training in task 7 finds a difference, leave it.


# %% answer="preprocess_keras"
def preprocess_keras(pixels):
    """Pixels (N, H, W, 3), whole numbers, red first -> the input of the port, (N, H, W, 3)."""
    return (pixels.astype("float32") / 255 - MEAN) / STD


# %% starts="preprocess_keras"
def preprocess_keras(pixels):
    """Pixels (N, H, W, 3), whole numbers, red first -> the input of the port, (N, H, W, 3)."""
    return (pixels[..., ::-1].astype("float32") / 255 - MEAN) / STD


# %% answer="build_keras"
def build_keras():
    """The network in Keras; its layers are called as in PyTorch."""

    def conv(x, out_channels, kernel_size, stride, name):
        x = layers.ZeroPadding2D(kernel_size // 2)(x)
        return layers.Conv2D(
            out_channels, kernel_size, stride, padding="valid", use_bias=False, name=name
        )(x)

    def norm(x, name):
        return layers.BatchNormalization(momentum=1 - MOMENTUM, epsilon=1e-5, name=name)(x)

    inputs = keras.Input((24, 16, 3))  # (N, 24, 16, 3)
    x = conv(inputs, 8, 5, 2, "conv1")  # (N, 12, 8, 8)
    x = norm(x, "bn1")
    x = layers.ReLU(name="relu1")(x)
    x = layers.ZeroPadding2D(1)(x)  # (N, 14, 10, 8)
    x = layers.MaxPooling2D(3, 2, name="maxpool")(x)  # (N, 6, 4, 8)

    out = conv(x, 16, 3, 2, "layer1.0.conv1")  # (N, 3, 2, 16)
    out = norm(out, "layer1.0.bn1")
    out = layers.ReLU(name="layer1.0.relu1")(out)
    out = conv(out, 16, 3, 1, "layer1.0.conv2")  # (N, 3, 2, 16)
    out = norm(out, "layer1.0.bn2")
    shortcut = conv(x, 16, 1, 2, "layer1.0.downsample.0")  # (N, 3, 2, 16)
    shortcut = norm(shortcut, "layer1.0.downsample.1")
    x = layers.Add(name="layer1.0.add")([out, shortcut])
    x = layers.ReLU(name="layer1.0.relu2")(x)

    x = layers.Permute((3, 1, 2))(x)  # (N, 16, 3, 2): flattened as PyTorch does
    x = layers.Flatten(name="flatten")(x)  # (N, 96)
    return keras.Model(inputs, layers.Dense(10, name="fc")(x))  # (N, 10)


# %% starts="build_keras"
def build_keras():
    """The network in Keras; its layers are called as in PyTorch."""

    def conv(x, out_channels, kernel_size, stride, name):
        return layers.Conv2D(
            out_channels, kernel_size, stride, padding="same", use_bias=False, name=name
        )(x)

    def norm(x, name):
        return layers.BatchNormalization(momentum=MOMENTUM, name=name)(x)

    inputs = keras.Input((24, 16, 3))  # (N, 24, 16, 3)
    x = conv(inputs, 8, 5, 2, "conv1")  # (N, 12, 8, 8)
    x = norm(x, "bn1")
    x = layers.ReLU(name="relu1")(x)
    x = layers.ZeroPadding2D(1)(x)  # (N, 14, 10, 8)
    x = layers.MaxPooling2D(3, 2, name="maxpool")(x)  # (N, 6, 4, 8)

    out = conv(x, 16, 3, 2, "layer1.0.conv1")  # (N, 3, 2, 16)
    out = norm(out, "layer1.0.bn1")
    out = layers.ReLU(name="layer1.0.relu1")(out)
    out = conv(out, 16, 3, 1, "layer1.0.conv2")  # (N, 3, 2, 16)
    out = norm(out, "layer1.0.bn2")
    shortcut = conv(x, 16, 1, 2, "layer1.0.downsample.0")  # (N, 3, 2, 16)
    shortcut = norm(shortcut, "layer1.0.downsample.1")
    x = layers.Add(name="layer1.0.add")([out, shortcut])
    x = layers.ReLU(name="layer1.0.relu2")(x)

    x = layers.Flatten(name="flatten")(x)  # (N, 96)
    return keras.Model(inputs, layers.Dense(10, name="fc")(x))  # (N, 10)


# %% answer="load_keras"
def load_keras(model, arrays):
    """Put arrays with PyTorch's names and layouts into the model of build_keras."""
    for layer in model.layers:
        name = layer.name
        if isinstance(layer, layers.Conv2D):
            layer.kernel.assign(arrays[f"{name}.weight"].transpose(2, 3, 1, 0))
        elif isinstance(layer, layers.BatchNormalization):
            layer.gamma.assign(arrays[f"{name}.weight"])
            layer.beta.assign(arrays[f"{name}.bias"])
            layer.moving_mean.assign(arrays[f"{name}.running_mean"])
            layer.moving_variance.assign(arrays[f"{name}.running_var"])
        elif isinstance(layer, layers.Dense):
            layer.kernel.assign(arrays[f"{name}.weight"].T)
            layer.bias.assign(arrays[f"{name}.bias"])


# %% starts="load_keras"
def load_keras(model, arrays):
    """Put arrays with PyTorch's names and layouts into the model of build_keras."""
    for layer in model.layers:
        name = layer.name
        if isinstance(layer, layers.Conv2D):
            layer.kernel.assign(arrays[f"{name}.weight"].T)
        elif isinstance(layer, layers.BatchNormalization):
            layer.gamma.assign(arrays[f"{name}.weight"])
            layer.beta.assign(arrays[f"{name}.bias"])
            layer.moving_mean.assign(arrays[f"{name}.running_mean"])
            layer.moving_variance.assign(arrays[f"{name}.running_var"])
        elif isinstance(layer, layers.Dense):
            layer.kernel.assign(arrays[f"{name}.weight"].T)
            layer.bias.assign(arrays[f"{name}.bias"])


# %% [markdown]
# Now the port runs on the same pictures.

# %%
port = build_keras()
load_keras(port, arrays)
logits_keras = np.asarray(port(preprocess_keras(pixels), training=False))
print("logits", logits_keras.shape, "off by up to", f"{np.abs(logits_keras - logits).max():.0e}")
print("the same class:", int((logits_keras.argmax(1) == logits.argmax(1)).sum()), "of 8 pictures")

# %% [markdown]
# ## Task 1: `activations`
#
# Write two functions that look into a network. Both return a dict with the same keys in the same
# order: `"input"`, which is the images themselves, then every name of `LAYERS` with what that layer
# puts out. The values are NumPy arrays in **one common layout**: (N, C, H, W) for whatever has four
# axes. What has two axes stays as it is.
#
# `activations_torch(model, images)`: `model` is an `Original`, `images` an array (N, 3, H, W). A hook
# helps: after `handle = module.register_forward_hook(function)`, PyTorch calls `function(module,
# inputs, output)` each time the module has run, until `handle.remove()`. Two demands:
#
# - Look at the model in evaluation mode, in whatever mode it comes. Leave it as it was: in the mode in
#   which it came, with its statistics, and without hooks.
# - `nn.ReLU(inplace=True)` writes its output over its input. What `bn1` put out is soon gone.
#
# `activations_keras(model, images)`: `model` is a Keras model with these layer names, `images` an array
# (N, H, W, C). `keras.Model(inputs, outputs)` can be made of any tensors of the graph, and
# `model.get_layer(name).output` is one. `outputs` may be a list. Call the new model like a function,
# with `training=False`; its method `predict` gives the same numbers, and prints a bar each time.


# %% answer="activations_torch"
def activations_torch(model, images):
    """Name -> what the layer of the PyTorch model puts out, in evaluation mode."""
    ### BEGIN SOLUTION
    seen = {"input": images.copy()}
    modules = dict(model.named_modules())

    def watch(name):
        def keep(module, inputs, output):
            seen[name] = output.detach().numpy().copy()

        return modules[name].register_forward_hook(keep)

    handles = [watch(name) for name in LAYERS]
    was_training = model.training
    model.eval()
    with torch.no_grad():
        model(torch.from_numpy(images))
    model.train(was_training)
    for handle in handles:
        handle.remove()
    return {name: seen[name] for name in ["input", *LAYERS]}
    ### END SOLUTION


# %% answer="activations_keras"
def activations_keras(model, images):
    """Name -> what the layer of the Keras model puts out, in evaluation mode, as (N, C, H, W)."""
    ### BEGIN SOLUTION
    inside = keras.Model(model.input, [model.get_layer(name).output for name in LAYERS])
    outputs = [images, *inside(images, training=False)]
    seen = {}
    for name, output in zip(["input", *LAYERS], outputs, strict=True):
        array = np.asarray(output)
        seen[name] = array.transpose(0, 3, 1, 2) if array.ndim == 4 else array
    return seen
    ### END SOLUTION


# %% test="activations" points=4
images = preprocess_torch(pixels)
original = original_with(arrays)
seen = activations_torch(original, images)
assert list(seen) == ["input", *LAYERS], (
    f"the keys are {list(seen)}. First comes 'input', then the names of LAYERS in their order. If "
    "names are missing: does your hook keep the name it was made with, or look it up when it runs?"
)
assert not original.training, "the model came in evaluation mode and must leave in evaluation mode."
assert all(isinstance(array, np.ndarray) for array in seen.values()), (
    "the values must be NumPy arrays: detach a tensor, then turn it into an array."
)
assert seen["maxpool"].shape == (8, 8, 6, 4) and seen["fc"].shape == (8, 10), (
    f"maxpool has the shape {seen['maxpool'].shape}, fc {seen['fc'].shape}."
)
assert np.allclose(seen["fc"], logits, atol=1e-5), (
    "what you see at fc is not what the original puts out in evaluation mode."
)
assert (seen["bn1"] < 0).any(), (
    "bn1 has no negative numbers. Its output was overwritten after your hook had looked at it: does "
    "your array have memory of its own?"
)
original.train()
again = activations_torch(original, images)
assert original.training, "the model came in training mode and must leave in training mode."
assert np.allclose(again["fc"], logits, atol=1e-5), (
    "a model that comes in training mode must be looked at in evaluation mode."
)
assert not any(module._forward_hooks for module in original.modules()), (
    "there are still hooks in the model. What did register_forward_hook return?"
)

port, images_keras = build_keras(), preprocess_keras(pixels)
load_keras(port, arrays)
logits_keras = np.asarray(port(images_keras, training=False))
seen = activations_keras(port, images_keras)
assert list(seen) == ["input", *LAYERS], (
    f"the keys are {list(seen)}. First comes 'input', then the names of LAYERS in their order."
)
assert all(isinstance(array, np.ndarray) for array in seen.values()), (
    "the values must be NumPy arrays: np.asarray turns a tensor into one."
)
assert seen["input"].shape == (8, 3, 24, 16) and seen["maxpool"].shape == (8, 8, 6, 4), (
    f"input has the shape {seen['input'].shape}, maxpool {seen['maxpool'].shape}. The common layout "
    "is (N, C, H, W)."
)
assert seen["input"][3, 1, 20, 5] == images_keras[3, 20, 5, 1], (
    "picture 3, channel 1, row 20, column 5: another number than before. The shape is right, but the "
    "numbers are not at their places (tutorial 2)."
)
means = layers.GlobalAveragePooling2D()(port.get_layer("relu1").output)
means = np.asarray(keras.Model(port.input, means)(images_keras))
assert np.allclose(seen["relu1"].mean(axis=(2, 3)), means, atol=1e-5), (
    "the means of the channels of relu1 are not those of the model."
)
assert np.allclose(seen["fc"], logits_keras, atol=1e-5), (
    "what you see at fc is not what the port puts out in evaluation mode."
)

# %% [markdown]
# ## Task 2: `first_difference`
#
# `a` and `b` are dicts from names to arrays, as task 1 returns them. Return the name of the **first**
# layer of `a`, in the order of `a`, at which the two part, or `None` if there is none. They part at a
# layer if one of these is true:
#
# - `b` has no array of that name (names that only `b` has do not count);
# - the shapes are not the same, even if NumPy would find a way to subtract the two;
# - in either of them a number is not finite (NaN or infinite). A NaN in both places is a difference,
#   too: it says that both are broken, not that they are equal;
# - the largest |a - b| is larger than `tolerance` times the largest |a| of that layer. So a layer of
#   large numbers may have larger rounding errors than a layer of small ones.


# %% answer="first_difference"
def first_difference(a, b, tolerance):
    """The name of the first layer at which a and b part, or None."""
    ### BEGIN SOLUTION
    for name, left in a.items():
        if name not in b or b[name].shape != left.shape:
            return name
        right = b[name]
        if not (np.isfinite(left).all() and np.isfinite(right).all()):
            return name
        if np.abs(left - right).max() > tolerance * np.abs(left).max():
            return name
    return None
    ### END SOLUTION


# %% test="first_difference" points=4
one = {"x": np.array([1.0, -4.0]), "y": np.array([[2.0, 3.0]]), "z": np.array([5.0])}
other = {name: array.copy() for name, array in one.items()}
assert first_difference(one, other, 1e-5) is None, "two equal dicts: nothing parts."
other["y"][0, 1] = 3.1
other["z"][0] = 6.0
found = first_difference(one, other, 1e-5)
assert found == "y", f"y and z differ; the first is y, you say {found!r}."
found = first_difference(one, other, 0.1)
assert found == "z", (
    f"with a tolerance of 0.1 you say {found!r}. The largest number of y is 3, so 0.3 is allowed there."
)
for wrong in (np.array([[2.0], [3.0]]), np.array([2.0, 3.0])):
    found = first_difference(one, {**one, "y": wrong}, 0.5)
    assert found == "y", (
        f"shapes {one['y'].shape} and {wrong.shape}: you say {found!r}. NumPy stretches arrays of "
        "different shapes before it subtracts. Look at the shapes first."
    )
for left, right in ((np.nan, 1.0), (1.0, np.nan), (np.nan, np.nan), (np.inf, 1.0)):
    found = first_difference({"x": np.array([left])}, {"x": np.array([right])}, 1e-5)
    assert found == "x", (
        f"{left} and {right}: you say {found!r}. What does Python say about nan > 0, and about inf > "
        "inf?"
    )
assert first_difference(one, {"x": one["x"]}, 1e-5) == "y", (
    "y is missing in b: that is a difference."
)


# %% [markdown]
# ## The hunt
#
# Here is your microscope. Run this cell after every repair. It names the first layer that parts.
#
# Three pieces of advice. One layer can have **two** mistakes: if the microscope names it again, look
# again. The first layer that parts is the only one that says something about its own mistake: the
# layers after it had another input already. And `resnet-twins assignment check` runs the tests of all
# tasks at once: let it give you its hints for one task after the other, from the top.


# %%
def microscope():
    """The first layer at which the port parts from the original, on the pictures of this notebook."""
    model = build_keras()
    load_keras(model, arrays)
    ours = activations_torch(original_with(arrays), preprocess_torch(pixels))
    return first_difference(ours, activations_keras(model, preprocess_keras(pixels)), 1e-5)


print("the first layer that parts:", microscope())

# %% [markdown]
# The tests below judge each layer by itself: they give the Keras layer **the input which that layer
# has in PyTorch**. So a mistake further up spoils nothing. This is how they do it; you may use it,
# too. "Equal" means: the largest difference is at most 1e-5 times the largest number.

# %%
BEFORE = {  # a layer -> the layer before it
    "conv1": "input",
    "bn1": "conv1",
    "layer1.0.conv1": "maxpool",
    "layer1.0.bn1": "layer1.0.conv1",
    "layer1.0.conv2": "layer1.0.relu1",
    "fc": "layer1.0.relu2",
}


def piece_of_port(model, name, true, training=False):
    """What the Keras layer `name` makes of its input in PyTorch; both in Keras' layout."""
    before = BEFORE[name]
    start = model.input if before == "input" else model.get_layer(before).output
    piece = keras.Model(start, model.get_layer(name).output)
    yours = np.asarray(piece(np.moveaxis(true[before], 1, -1), training=training))
    return yours, np.moveaxis(true[name], 1, -1)


def gap(yours, wanted):
    """The largest difference, relative to the largest number."""
    return float(np.abs(yours - wanted).max() / np.abs(wanted).max())


def true_activations(arrays, pixels):
    """What the original puts out, layer by layer, seen through your `activations_torch`."""
    try:
        seen = activations_torch(original_with(arrays), preprocess_torch(pixels))
    except Exception as error:
        raise AssertionError(
            f"this test needs task 1: activations_torch stops ({error})"
        ) from error
    assert list(seen) == ["input", *LAYERS] and (seen["bn1"] < 0).any(), (
        "this test needs your activations_torch, which is not right yet. Finish task 1 first."
    )
    return seen


# %% [markdown]
# ## Task 3: `input`
#
# Are the two networks shown the same pictures? Mend what the microscope finds at `"input"`.

# %% test="input" points=2
prepared = preprocess_keras(pixels)
assert prepared.shape == (8, 24, 16, 3), f"the shape is {prepared.shape}, not (N, H, W, 3)."
poster = np.zeros((1, 24, 16, 3), np.uint8)
poster[..., 0] = 255  # red everywhere, no green, no blue
channel = int(np.asarray(preprocess_keras(poster))[0, 0, 0].argmax())
assert channel == 0, (
    f"a red picture: the largest number is in channel {channel}. Channel 0 is red in `pixels`, and the "
    "original was trained that way."
)
assert gap(np.moveaxis(prepared, -1, 1), preprocess_torch(pixels)) <= 1e-5, (
    "the pictures are not prepared with the same numbers as in PyTorch. Which mean belongs to which "
    "colour?"
)


# %% [markdown]
# ## Task 4: `convolutions`
#
# Now the convolutions. Two mistakes meet here. The first assertions load kernels in which all numbers
# of a window are equal. For them it does not matter where in its window a number stands, so they
# cannot see the second mistake. `check` gives the points of this task together, for both.

# %% test="convolutions" points=4
even = {
    name: np.broadcast_to(array.mean((2, 3), keepdims=True), array.shape).copy()
    if array.ndim == 4
    else array
    for name, array in arrays.items()
}
model = build_keras()
load_keras(model, even)
true = true_activations(even, pixels)
for name in ("conv1", "layer1.0.conv1", "layer1.0.conv2"):
    yours, wanted = piece_of_port(model, name, true)
    assert yours.shape == wanted.shape, (
        f"{name} puts out {yours.shape}, in PyTorch it is {wanted.shape} (N, H, W, C)."
    )
    assert gap(yours, wanted) <= 1e-5, (
        f"{name}: all numbers in a window of the kernel are equal, and still the outputs differ by "
        f"{gap(yours, wanted):.2f} of the largest number. Which pixels are in the first window, in "
        "PyTorch and here (tutorial 3)?"
    )
model = build_keras()
load_keras(model, arrays)
true = true_activations(arrays, pixels)
for name in ("conv1", "layer1.0.conv1", "layer1.0.conv2"):
    yours, wanted = piece_of_port(model, name, true)
    assert gap(yours, wanted) <= 1e-5, (
        f"{name}: the windows stand where they should, and the kernel has the right shape. Is each "
        "number at its place? Load a kernel that holds a single 1, and look where it comes out."
    )


# %% [markdown]
# ## Task 5: `norms`
#
# The next layer that parts is off by very little. It is no rounding error all the same: in a right
# port no layer is off by more than 1e-5, as the test of task 9 shows. Mend it.

# %% test="norms" points=2
model = build_keras()
load_keras(model, arrays)
true = true_activations(arrays, pixels)
for name in ("bn1", "layer1.0.bn1"):
    yours, wanted = piece_of_port(model, name, true)
    assert gap(yours, wanted) <= 1e-5, (
        f"{name}: gamma, beta, mean and variance are right, and the output is off by "
        f"{gap(yours, wanted):.0e}. Which other numbers does a BatchNorm have? Print the PyTorch "
        f"layer, and model.get_layer({name!r}).get_config()."
    )

# %% [markdown]
# ## Task 6: `logits`
#
# The feature maps are right up to the last ReLU, and the logits are not. There is more than one good
# place for this repair.

# %% test="logits" points=2
model = build_keras()
load_keras(model, arrays)
true = true_activations(arrays, pixels)
yours, wanted = piece_of_port(model, "fc", true)
assert yours.shape == wanted.shape, f"the logits have the shape {yours.shape}, not {wanted.shape}."
assert gap(yours, wanted) <= 1e-5, (
    f"fc gets the right feature map, and the logits are off by {gap(yours, wanted):.1f} of the "
    "largest. fc has 96 numbers for each class. Which channel, row and column does number 1 of them "
    "belong to (number 0 is the first), in PyTorch and here?"
)


# %% [markdown]
# ## Task 7: `training`
#
# Now the microscope should say `None`. Five mistakes are mended, and one is left. It shows as soon as
# the port is trained. In training mode each BatchNorm moves its running mean towards the mean of the
# batch. After one forward pass in training mode (`training=True`) the moving means of the port must be
# those of PyTorch.
#
# The running *variances* differ even then. When it passes, the test prints by how much (in the
# notebook; `check` does not show what is printed). That is the subject of task 8; here you are not
# judged by it.


# %% test="training" points=2
def one_step(name):
    """A BatchNorm of the original and one of the port after one step with the same input, and that."""
    model, trained = build_keras(), original_with(arrays).train()
    load_keras(model, arrays)
    true = true_activations(arrays, pixels)
    trained.get_submodule(name)(torch.from_numpy(true[BEFORE[name]]))
    piece_of_port(model, name, true, training=True)
    return trained.get_submodule(name), model.get_layer(name), true[BEFORE[name]]


for name in ("bn1", "layer1.0.bn1"):
    norm_torch, norm_keras, batch = one_step(name)
    before = arrays[f"{name}.running_mean"]
    wanted, yours = norm_torch.running_mean.numpy(), np.asarray(norm_keras.moving_mean)
    assert gap(yours, wanted) <= 1e-5, (
        f"{name}, channel 0: the running mean was {before[0]:.4f}, the mean of the batch is "
        f"{batch[:, 0].mean():.4f}; after one step the running mean is {wanted[0]:.4f} in PyTorch and "
        f"{yours[0]:.4f} here. Which share of the old number did each of them keep?"
    )
    variances = norm_torch.running_var.numpy(), np.asarray(norm_keras.moving_variance)
    print(f"{name}: running means equal; running variances off by {gap(*variances):.2%}")

# %% [markdown]
# ## Task 8: `variance_for_keras`
#
# To remember the variance of a batch, PyTorch divides a sum of squares by n - 1 (the *unbiased*
# variance), Keras by n (the *biased* one). Here n is how many numbers of one channel the batch has:
# N · H · W. This is no mistake of the port. But it stands in the way of a fair comparison: what should
# Keras' moving variance be, if the port is right?
#
# Work it out from PyTorch's running variance `before` and `after` one step. `count` is n, and
# `momentum` is meant as in PyTorch. `before` and `after` are numbers or arrays. An example with a
# batch of 0 and 2 and `momentum=0.5`: the mean is 1, the sum of the squares of what is left is 2, so
# PyTorch sees a variance of 2 and Keras of 1. From 1.0, PyTorch goes to 1.5, and Keras stays at 1.0.


# %% answer="variance_for_keras"
def variance_for_keras(before, after, count, momentum):
    """Keras' moving variance after the step that took PyTorch's running variance to `after`."""
    ### BEGIN SOLUTION
    unbiased = (after - (1 - momentum) * before) / momentum
    biased = unbiased * (count - 1) / count
    return (1 - momentum) * before + momentum * biased
    ### END SOLUTION


# %% test="variance_for_keras" points=2
value = variance_for_keras(1.0, 1.5, 2, 0.5)
assert abs(value - 1.0) < 1e-6, (
    f"the example of the text gives {value}, not 1.0. What did PyTorch see in the batch? Solve its "
    "rule for that first."
)
layer_torch = nn.BatchNorm2d(3, momentum=0.2).double().train()
layer_keras = layers.BatchNormalization(momentum=0.8, dtype="float64")  # the same, as Keras counts
batch = np.random.default_rng(2).normal(size=(2, 3, 3, 1)) * 3  # (N, C, H, W)
layer_torch(torch.from_numpy(batch))
layer_keras(np.moveaxis(batch, 1, -1), training=True)
after, real = layer_torch.running_var.numpy(), np.asarray(layer_keras.moving_variance)
assert np.abs(after - real).max() > 0.1, (
    "the two layers were meant to differ here; tell your teacher"
)
value = variance_for_keras(np.ones(3), after, 6, 0.2)
assert np.allclose(value, real, atol=1e-6), (
    f"a batch with 6 numbers for each channel, momentum 0.2: the real Keras layer has {real}, you say "
    f"{value}. Only what the batch added is remembered differently, the old variance is not. And "
    "`momentum` is PyTorch's: the share of the new."
)

# %% [markdown]
# ## Task 9: `whole`
#
# The proof: from pixels to logits, every layer equal to 1e-5, with other weights and other pictures,
# in evaluation mode. And after one step of the whole network in training mode, all running means are
# equal as well. There is nothing to write here. A mistake that is still in the port costs points here,
# too.

# %% test="whole" points=2
for seed in (3, 4):
    other_arrays = lively_arrays(seed)
    other_pixels = np.random.default_rng(seed).integers(0, 256, (8, 24, 16, 3), dtype=np.uint8)
    model, network = build_keras(), original_with(other_arrays)
    load_keras(model, other_arrays)
    found = first_difference(
        true_activations(other_arrays, other_pixels),
        activations_keras(model, preprocess_keras(other_pixels)),
        1e-5,
    )
    assert found is None, f"with weights of seed {seed} the networks part at {found}."
    with torch.no_grad():
        wanted = network(torch.from_numpy(preprocess_torch(other_pixels))).numpy()
    yours = np.asarray(model(preprocess_keras(other_pixels), training=False))
    assert gap(yours, wanted) <= 1e-5, (
        f"first_difference finds nothing, but the logits are off by {gap(yours, wanted):.1e} of the "
        "largest. Which of tasks 1 to 6 is not done?"
    )
    network.train()(torch.from_numpy(preprocess_torch(other_pixels)))
    model(preprocess_keras(other_pixels), training=True)
    for name in ("bn1", "layer1.0.bn1", "layer1.0.bn2", "layer1.0.downsample.1"):
        wanted = network.get_submodule(name).running_mean.numpy()
        assert gap(np.asarray(model.get_layer(name).moving_mean), wanted) <= 1e-5, (
            f"after one step in training mode the running means of {name} part. Which of tasks 3 to 7 "
            "is not done?"
        )


# %% [markdown]
# ## Task 10: `explain`
#
# In your own words, about five sentences: why can a microscope in evaluation mode not find the wrong
# momentum, even with a tolerance of zero? How did you find it? And what would have happened to
# somebody who used the port only to predict, and to somebody who went on training with it?
#
# (For networks of your own, later: `resnet-twins microscope mine.py:Net theirs.py:build_model` is a
# microscope for any two models. Now that you have written one, you know what it does, and what it
# cannot see.)

# %% [markdown] written="explain" points=2
# In evaluation mode a BatchNorm computes (x - running mean) / sqrt(running variance + eps), times
# gamma, plus beta. Momentum is not in this formula. It says only how far the running statistics move
# in training mode. So the outputs are the same numbers whatever the momentum is, and no
# tolerance helps.
#
# I found it by one step in training mode: I noted the running mean before and after it, in both
# frameworks. PyTorch keeps 1 - 0.2 = 0.8 of the old mean, the port kept 0.2. The name is the same, but
# Keras' momentum is the share that is kept, PyTorch's the share that is new.
#
# Who only predicts never notices, because the statistics were loaded and do not move. Who trains gets
# statistics that follow the last few batches and jump; the training loss looks right, because training
# uses the statistics of the batch, and the results in evaluation mode are noisy.
