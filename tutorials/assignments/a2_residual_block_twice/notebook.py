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
# You write two kinds of blocks, each one twice. In tutorial 5 there was one class for blocks that
# keep the shape and another one for blocks that change it. Here **one** class does both: it finds
# out for itself whether the shortcut needs a projection.
#
# Read the helpers in the next cell; the tests use them. They take and give pictures as (N, H, W, C),
# also for PyTorch, so that you can compare numbers without turning axes around.


# %%
def draw(shapes, seed):
    """Random arrays with these names and shapes. No BatchNorm is left as it is when it is new."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for name in sorted(shapes):
        array = 0.5 * rng.normal(size=shapes[name])
        if array.ndim == 4:  # a kernel
            array = 0.3 * array
        if name.endswith(("running_var", "moving_variance")):
            array = 0.5 * np.abs(array) + 0.05
        arrays[name] = array.astype("float32")
    return arrays


def shapes_torch(block):
    """Names and shapes of all arrays in a PyTorch block, without the counters of batches."""
    return {
        name: tuple(value.shape)
        for name, value in block.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def load_torch(block, arrays):
    """Puts arrays into a PyTorch block, by name."""
    block.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})


def run_torch(block, pictures):
    """What a PyTorch block makes of pictures (N, H, W, C) in evaluation mode, as (N, H, W, C)."""
    x = torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy())  # (N, C, H, W)
    with torch.no_grad():
        return block.eval()(x).numpy().transpose(0, 2, 3, 1)


def make_model(block, size, channels):
    """A Keras model of one block, for pictures of size x size pixels."""
    inputs = keras.Input((size, size, channels))
    return keras.Model(inputs, block(inputs))


def shapes_keras(model):
    """Names and shapes of all arrays in a Keras model."""
    return {variable.path: tuple(variable.shape) for variable in model.variables}


def load_keras(model, arrays):
    """Puts arrays into a Keras model, by name."""
    for variable in model.variables:
        variable.assign(arrays[variable.path])


def run_keras(model, pictures):
    """What a Keras model makes of pictures (N, H, W, C) in evaluation mode."""
    return np.asarray(model(pictures, training=False))


pictures = np.random.default_rng(0).normal(size=(2, 8, 8, 4)).astype("float32")  # (N, H, W, C)

# %% [markdown]
# ## Task 1: `torch_block`
#
# The basic block: a 3×3 convolution with the block's stride, BatchNorm, ReLU, a 3×3 convolution,
# BatchNorm, the addition of the shortcut, ReLU. Convolutions pad one zero on every side where the
# kernel is 3×3, and have no bias.
#
# - The shortcut is `x` itself where input and output have the same shape.
# - Where the shape changes, **by the channels, by the stride or by both**, it is a projection: a
#   1×1 convolution with the block's stride, without bias, and then a BatchNorm.
# - The names are those of torchvision's block. A block from 4 to 6 channels has these arrays
#   (and a counter `num_batches_tracked` in each BatchNorm, which comes by itself):
#
# | name | shape |
# | --- | --- |
# | `conv1.weight` | (6, 4, 3, 3) |
# | `bn1.weight`, `bn1.bias`, `bn1.running_mean`, `bn1.running_var` | (6,) |
# | `conv2.weight` | (6, 6, 3, 3) |
# | `bn2.weight`, `bn2.bias`, `bn2.running_mean`, `bn2.running_var` | (6,) |
# | `downsample.0.weight` | (6, 4, 1, 1) |
# | `downsample.1.weight`, `downsample.1.bias`, `downsample.1.running_mean`, ... | (6,) |
#
# A block without projection has no array whose name begins with `downsample`.
#
# The block must not change its input, and gradients must get through it. (Tutorial 5 says which way
# of adding goes wrong.)


# %% answer="torch_block"
class BasicBlockTorch(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        ### BEGIN SOLUTION
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu2 = nn.ReLU()
        self.downsample = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )
        ### END SOLUTION

    def forward(self, x):  # (N, C, H, W)
        ### BEGIN SOLUTION
        out = self.conv1(x)  # (N, C', H/s, W/s)
        out = self.bn1(out)
        out = self.relu1(out)
        out = self.conv2(out)  # (N, C', H/s, W/s)
        out = self.bn2(out)
        out = out + self.downsample(x)  # (N, C', H/s, W/s)
        return self.relu2(out)
        ### END SOLUTION


# %% test="torch_block" points=6
for case, wanted in [
    ((4, 4, 1), (2, 8, 8, 4)),
    ((4, 6, 1), (2, 8, 8, 6)),
    ((4, 6, 2), (2, 4, 4, 6)),
    ((4, 4, 2), (2, 4, 4, 4)),
]:
    try:
        shape = run_torch(BasicBlockTorch(*case), pictures).shape
    except RuntimeError as error:
        raise AssertionError(
            f"BasicBlockTorch{case} stops: {error}. If it is the addition: "
            "write down the shapes of both sides. When does the shortcut need a projection?"
        ) from None
    assert shape == wanted, (
        f"BasicBlockTorch{case} makes {shape} of {pictures.shape}, not {wanted} (all are N, H, W, C). "
        "Which of the two 3x3 convolutions has the stride, and how many zeros do they pad?"
    )

KINDS = ("weight", "bias", "running_mean", "running_var")
BASIC = {f"{norm}.{kind}" for norm in ("bn1", "bn2") for kind in KINDS}
BASIC |= {"conv1.weight", "conv2.weight"}
PROJECTION = {"downsample.0.weight", *(f"downsample.1.{kind}" for kind in KINDS)}
names = set(shapes_torch(BasicBlockTorch(4, 4)))
assert names == BASIC, (
    f"BasicBlockTorch(4, 4) lacks {sorted(BASIC - names)} and has too much: {sorted(names - BASIC)}. "
    "An array is called as the attribute of its layer. Are there biases, or a projection that is not "
    "needed?"
)
for case in [(4, 6, 1), (4, 6, 2), (4, 4, 2)]:
    extra = set(shapes_torch(BasicBlockTorch(*case))) - BASIC
    assert extra == PROJECTION, (
        f"BasicBlockTorch{case} has these arrays for its projection: {sorted(extra)}. Compare them "
        "with the table. nn.Sequential numbers its layers."
    )
shapes = shapes_torch(BasicBlockTorch(4, 6, 2))
assert shapes["conv2.weight"] == (6, 6, 3, 3), (
    f"conv2.weight is {shapes['conv2.weight']}: how many channels come out of conv1?"
)
assert shapes["downsample.0.weight"] == (6, 4, 1, 1), (
    f"downsample.0.weight is {shapes['downsample.0.weight']}: it gets the input of the block."
)

block = BasicBlockTorch(4, 4)
nn.init.zeros_(block.bn2.weight)  # gamma 0, and beta is 0: nothing comes from the branch
assert np.array_equal(run_torch(block, pictures), np.maximum(pictures, 0)), (
    "with the last gamma at zero only the shortcut is left, and the output must be relu(x). "
    "Is the addition before the last ReLU? Is the shortcut x?"
)
for case, wanted in [
    ((4, 4, 1), [0.627, 0.0, 0.0, 1.857]),
    ((4, 6, 2), [0.0, 0.0, 2.825, 0.478, 0.318, 2.197]),
]:
    block = BasicBlockTorch(*case)
    load_torch(block, draw(shapes_torch(block), seed=1))
    pixel = run_torch(block, pictures)[0, 2, 1].astype(float).round(3).tolist()
    assert np.allclose(pixel, wanted, atol=2e-3), (
        f"BasicBlockTorch{case} with drawn weights gives {pixel} at one pixel, not {wanted}. All "
        "shapes fit, so compare the order of the steps with the text, line by line."
    )

block = BasicBlockTorch(4, 4).train()
x = torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy())
before = x.clone()
block(x)
assert torch.equal(x, before), "the block has changed its own input. Make a new tensor for the sum."
x.requires_grad_()
block(x).square().sum().backward()
assert x.grad is not None and all(p.grad is not None for p in block.parameters()), (
    "some parameters, or the input, got no gradient: is every layer used, and nothing detached?"
)

# %% [markdown]
# ## Task 2: `keras_block`
#
# The same block as a plain class: `__init__` makes the layers, `__call__` calls them on tensors. It
# does not inherit from anything. You use it like this: `BasicBlockKeras(4, 6, 2,
# name="layer2.0")(inputs)`.
#
# - A layer with weights is called as in PyTorch, with the name of the block before it:
#   `layer2.0.conv1`, `layer2.0.bn1`, ..., `layer2.0.downsample.0`, `layer2.0.downsample.1`.
# - Several blocks must fit into one model. So a name that you give to a ReLU or an addition needs
#   the name of the block, too (or give none, and Keras finds one).
# - The zeros stand where PyTorch puts them, also with stride 2: one on every side.
# - The BatchNorms must compute and remember as PyTorch's do by default. Tutorial 4 says in which two
#   numbers the defaults differ. (There is a third difference, which variance is remembered. Leave
#   that one as it is in Keras.)


# %% answer="keras_block"
class BasicBlockKeras:
    def __init__(self, in_channels, out_channels, stride=1, *, name):
        ### BEGIN SOLUTION
        norm = {"momentum": 0.9, "epsilon": 1e-5}
        self.pad1 = layers.ZeroPadding2D(1, name=f"{name}.pad1")
        self.conv1 = layers.Conv2D(
            out_channels, 3, stride, padding="valid", use_bias=False, name=f"{name}.conv1"
        )
        self.bn1 = layers.BatchNormalization(**norm, name=f"{name}.bn1")
        self.relu1 = layers.ReLU(name=f"{name}.relu1")
        self.pad2 = layers.ZeroPadding2D(1, name=f"{name}.pad2")
        self.conv2 = layers.Conv2D(
            out_channels, 3, padding="valid", use_bias=False, name=f"{name}.conv2"
        )
        self.bn2 = layers.BatchNormalization(**norm, name=f"{name}.bn2")
        self.downsample = []
        if stride != 1 or in_channels != out_channels:
            self.downsample = [
                layers.Conv2D(out_channels, 1, stride, use_bias=False, name=f"{name}.downsample.0"),
                layers.BatchNormalization(**norm, name=f"{name}.downsample.1"),
            ]
        self.add = layers.Add(name=f"{name}.add")
        self.relu2 = layers.ReLU(name=f"{name}.relu2")
        ### END SOLUTION

    def __call__(self, x):  # (N, H, W, C)
        ### BEGIN SOLUTION
        out = self.conv1(self.pad1(x))  # (N, H/s, W/s, C')
        out = self.bn1(out)
        out = self.relu1(out)
        out = self.conv2(self.pad2(out))  # (N, H/s, W/s, C')
        out = self.bn2(out)
        for layer in self.downsample:
            x = layer(x)  # (N, H/s, W/s, C')
        out = self.add([out, x])
        return self.relu2(out)
        ### END SOLUTION


# %% test="keras_block" points=6
for case, wanted in [
    ((4, 4, 1), (None, 8, 8, 4)),
    ((4, 6, 1), (None, 8, 8, 6)),
    ((4, 6, 2), (None, 4, 4, 6)),
    ((4, 4, 2), (None, 4, 4, 4)),
]:
    try:
        shape = make_model(BasicBlockKeras(*case, name="layer2.0"), 8, 4).output.shape
    except ValueError as error:
        raise AssertionError(
            f"BasicBlockKeras{case} stops: {error}. If it is the addition: "
            "write down the shapes of both sides."
        ) from None
    assert shape == wanted, (
        f"BasicBlockKeras{case} makes {shape}, not {wanted}. How many zeros does each kernel need?"
    )

KINDS = ("gamma", "beta", "moving_mean", "moving_variance")
ARRAYS = {f"layer2.0.{norm}/{kind}" for norm in ("bn1", "bn2") for kind in KINDS}
ARRAYS |= {"layer2.0.conv1/kernel", "layer2.0.conv2/kernel"}
PROJECTION_KERAS = {f"layer2.0.downsample.1/{kind}" for kind in KINDS}
PROJECTION_KERAS |= {"layer2.0.downsample.0/kernel"}
names = set(shapes_keras(make_model(BasicBlockKeras(4, 4, name="layer2.0"), 8, 4)))
assert names == ARRAYS, (
    f"the block lacks {sorted(ARRAYS - names)} and has too much: {sorted(names - ARRAYS)}. Look at "
    "the names that you give to the layers, and at the biases."
)
model = make_model(BasicBlockKeras(4, 6, 2, name="layer2.0"), 8, 4)
shapes = shapes_keras(model)
extra = set(shapes) - ARRAYS
assert extra == PROJECTION_KERAS, (
    f"BasicBlockKeras(4, 6, 2) has these arrays for its projection: {sorted(extra)}. There should be "
    "five: one of layer2.0.downsample.0, four of layer2.0.downsample.1."
)
inputs = keras.Input((8, 8, 4))
try:
    keras.Model(inputs, BasicBlockKeras(6, 6, name="b")(BasicBlockKeras(4, 6, name="a")(inputs)))
except ValueError as error:
    raise AssertionError(f"two blocks do not fit into one model. Keras says: {error}") from None

for layer in model.layers:
    if isinstance(layer, layers.BatchNormalization):
        assert np.isclose(layer.epsilon, nn.BatchNorm2d(1).eps), (
            f"{layer.name} has epsilon {layer.epsilon}. What does nn.BatchNorm2d(1) print?"
        )
load_keras(model, {name: np.ones(shape) for name, shape in shapes.items()})
model(np.zeros((2, 8, 8, 4), "float32"), training=True)
mean = float(model.get_layer("layer2.0.bn1").moving_mean.numpy()[0])
assert np.isclose(mean, 0.9), (
    f"the moving mean was 1, then came a batch with mean 0, and now it is {mean:.3g}. PyTorch's "
    "BatchNorm has momentum 0.1, which is the share of the new mean. Which share does Keras want?"
)
for case, wanted in [
    ((4, 4, 1), [0.676, 0.0, 0.0, 0.827]),
    ((4, 6, 2), [0.0, 0.0, 0.0, 2.262, 1.411, 1.653]),
]:
    model = make_model(BasicBlockKeras(*case, name="layer2.0"), 8, 4)
    load_keras(model, draw(shapes_keras(model), seed=1))
    pixel = run_keras(model, pictures)[0, 2, 1].astype(float).round(3).tolist()
    assert np.allclose(pixel, wanted, atol=2e-3), (
        f"BasicBlockKeras{case} with drawn weights gives {pixel} at one pixel, not {wanted}. If only "
        "the block with stride 2 is wrong: on which sides of the map are its zeros (tutorial 3)?"
    )


# %% [markdown]
# ## Task 3: `copy_weights`
#
# Two blocks are the same function when equal weights give equal outputs. So carry the weights over.
# `arrays` is a dict of NumPy arrays with PyTorch's names, as in the table of task 1
# (`conv1.weight`, ...). `model` is a Keras model with one or more blocks, and `name` says which block
# gets the arrays. Your function fills the variables of that block, and returns nothing.
#
# - Go by name, never by position. Do not write down the names of the layers one by one: in task 5 the
#   same function fills a bottleneck, with `conv3` and `bn3`.
# - A kernel has other axes in Keras (tutorial 5), and the four arrays of a BatchNorm have other names
#   (print `shapes_torch` and `shapes_keras` side by side).
# - A model may hold both `layer3.1` and `layer3.12`. All blocks but the one that is named stay as
#   they are.
# - `arrays` may hold counters, whose names end with `num_batches_tracked`. Keras has none: skip them.
# - The copy must be complete. If an array finds no variable in the block, or a variable of the block
#   gets no array, raise a `ValueError` that names it.


# %% answer="copy_weights"
def copy_weights(arrays, model, name):
    """Fills the block called `name` of a Keras model with the arrays of a PyTorch block."""
    ### BEGIN SOLUTION
    ends = {
        "kernel": "weight",
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }
    left = {key for key in arrays if not key.endswith("num_batches_tracked")}
    for variable in model.variables:
        layer, kind = variable.path.rsplit("/", 1)
        if not layer.startswith(f"{name}."):
            continue
        key = f"{layer.removeprefix(f'{name}.')}.{ends.get(kind, kind)}"
        if key not in left:
            raise ValueError(f"no array for {variable.path}")
        array = arrays[key]
        variable.assign(array.transpose(2, 3, 1, 0) if kind == "kernel" else array)
        left.remove(key)
    if left:
        raise ValueError(f"no variable for {sorted(left)}")
    ### END SOLUTION


# %% test="copy_weights" points=5
block = BasicBlockTorch(4, 6, 2)
arrays = draw(shapes_torch(block), seed=2)
state = {name: value.numpy().copy() for name, value in block.state_dict().items()}
fresh = {name: arrays[name] if state[name].ndim == 4 else state[name] for name in state}
for text, chosen in [
    (
        "although all BatchNorms are new: look at the axes of the kernels, the means and variances",
        fresh,
    ),
    ("now that no BatchNorm is new: look where each of its four arrays goes", arrays),
]:
    model = make_model(BasicBlockKeras(4, 6, 2, name="layer2.0"), 8, 4)
    load_torch(block, chosen)
    assert copy_weights(chosen, model, "layer2.0") is None, "the function returns nothing."
    difference = np.abs(run_keras(model, pictures) - run_torch(block, pictures)).max()
    assert difference < 1e-5, (
        f"the two blocks differ by {difference:.2g}, {text}. (Do tasks 1 and 2 pass their tests?)"
    )

inputs = keras.Input((8, 8, 4))
two = BasicBlockKeras(4, 4, name="layer3.12")(BasicBlockKeras(4, 4, name="layer3.1")(inputs))
two = keras.Model(inputs, two)
arrays = draw(shapes_torch(BasicBlockTorch(4, 4)), seed=3)
other = [v.numpy() for v in two.variables if v.path.startswith("layer3.12.")]
copy_weights(arrays, two, "layer3.1")
now = [v.numpy() for v in two.variables if v.path.startswith("layer3.12.")]
assert all(np.array_equal(a, b) for a, b in zip(other, now)), (
    "copying to layer3.1 has changed layer3.12. Where does the name of a block end?"
)
for text, wrong in [
    ("an array too much, conv3.weight", arrays | {"conv3.weight": arrays["conv2.weight"]}),
    ("no bn2.bias", {n: a for n, a in arrays.items() if n != "bn2.bias"}),
]:
    try:
        copy_weights(wrong, two, "layer3.1")
    except ValueError:
        continue
    raise AssertionError(f"there was {text}, and no ValueError came.")


# %% [markdown]
# ## Task 4: `torch_bottleneck`
#
# The bottleneck: a 1×1 convolution to `mid_channels`, a 3×3 convolution that keeps them, a 1×1
# convolution to four times as many. After each one comes a BatchNorm, after the first two of these a
# ReLU, and at the end the addition and the last ReLU, as in the basic block. The names go on:
# `conv1`, `bn1`, `conv2`, `bn2`, `conv3`, `bn3`, `downsample`.
#
# The stride is in the 3×3, as in torchvision ("v1.5" in tutorial 8). The shortcut needs a projection
# where the shape changes. Think of how many channels come **out**: for `mid_channels=2` there are 8.


# %% answer="torch_bottleneck"
class BottleneckTorch(nn.Module):
    def __init__(self, in_channels, mid_channels, stride=1):
        super().__init__()
        ### BEGIN SOLUTION
        out_channels = 4 * mid_channels
        self.conv1 = nn.Conv2d(in_channels, mid_channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(mid_channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(mid_channels, mid_channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(mid_channels)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(mid_channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu3 = nn.ReLU()
        self.downsample = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )
        ### END SOLUTION

    def forward(self, x):  # (N, C, H, W)
        ### BEGIN SOLUTION
        out = self.conv1(x)  # (N, M, H, W)
        out = self.bn1(out)
        out = self.relu1(out)
        out = self.conv2(out)  # (N, M, H/s, W/s)
        out = self.bn2(out)
        out = self.relu2(out)
        out = self.conv3(out)  # (N, 4M, H/s, W/s)
        out = self.bn3(out)
        out = out + self.downsample(x)  # (N, 4M, H/s, W/s)
        return self.relu3(out)
        ### END SOLUTION


# %% test="torch_bottleneck" points=3
for case, wanted in [
    ((4, 1, 1), (2, 8, 8, 4)),
    ((4, 2, 1), (2, 8, 8, 8)),
    ((4, 2, 2), (2, 4, 4, 8)),
    ((4, 1, 2), (2, 4, 4, 4)),
]:
    try:
        shape = run_torch(BottleneckTorch(*case), pictures).shape
    except RuntimeError as error:
        raise AssertionError(
            f"BottleneckTorch{case} stops: {error}. If it is the addition: "
            "write down the shapes of both sides."
        ) from None
    assert shape == wanted, (
        f"BottleneckTorch{case} makes {shape} of {pictures.shape}, not {wanted} (all are N, H, W, C)."
    )
KINDS = ("weight", "bias", "running_mean", "running_var")
THREE = {f"{norm}.{kind}" for norm in ("bn1", "bn2", "bn3") for kind in KINDS}
THREE |= {"conv1.weight", "conv2.weight", "conv3.weight"}
EXTRA = {"downsample.0.weight", *(f"downsample.1.{kind}" for kind in KINDS)}
for case, projection in [
    ((4, 1, 1), False),
    ((4, 2, 1), True),
    ((4, 2, 2), True),
    ((4, 1, 2), True),
]:
    wanted = THREE | EXTRA if projection else THREE
    names = set(shapes_torch(BottleneckTorch(*case)))
    assert names == wanted, (
        f"BottleneckTorch{case} lacks {sorted(wanted - names)} and has too much: "
        f"{sorted(names - wanted)}. How many channels come in, how many come out?"
    )
for case, wanted in [
    ((4, 1, 1), [0.819, 0.0, 0.397, 0.309]),
    ((4, 2, 2), [0.0, 0.893, 0.0, 0.304, 0.0, 0.0, 0.468, 0.045]),
]:
    block = BottleneckTorch(*case)
    load_torch(block, draw(shapes_torch(block), seed=1))
    pixel = run_torch(block, pictures)[0, 2, 1].astype(float).round(3).tolist()
    assert np.allclose(pixel, wanted, atol=2e-3), (
        f"BottleneckTorch{case} with drawn weights gives {pixel} at one pixel, not {wanted}. If only "
        "the block with stride 2 is wrong: which convolution has the stride? If both: count the ReLUs."
    )

# %% [markdown]
# ## Task 5: `keras_bottleneck`
#
# And once more in Keras, with the same rules as in task 2. At the end your `copy_weights` fills it
# from your PyTorch bottleneck, and both must give the same.


# %% answer="keras_bottleneck"
class BottleneckKeras:
    def __init__(self, in_channels, mid_channels, stride=1, *, name):
        ### BEGIN SOLUTION
        out_channels = 4 * mid_channels
        norm = {"momentum": 0.9, "epsilon": 1e-5}
        self.conv1 = layers.Conv2D(mid_channels, 1, use_bias=False, name=f"{name}.conv1")
        self.bn1 = layers.BatchNormalization(**norm, name=f"{name}.bn1")
        self.relu1 = layers.ReLU(name=f"{name}.relu1")
        self.pad2 = layers.ZeroPadding2D(1, name=f"{name}.pad2")
        self.conv2 = layers.Conv2D(
            mid_channels, 3, stride, padding="valid", use_bias=False, name=f"{name}.conv2"
        )
        self.bn2 = layers.BatchNormalization(**norm, name=f"{name}.bn2")
        self.relu2 = layers.ReLU(name=f"{name}.relu2")
        self.conv3 = layers.Conv2D(out_channels, 1, use_bias=False, name=f"{name}.conv3")
        self.bn3 = layers.BatchNormalization(**norm, name=f"{name}.bn3")
        self.downsample = []
        if stride != 1 or in_channels != out_channels:
            self.downsample = [
                layers.Conv2D(out_channels, 1, stride, use_bias=False, name=f"{name}.downsample.0"),
                layers.BatchNormalization(**norm, name=f"{name}.downsample.1"),
            ]
        self.add = layers.Add(name=f"{name}.add")
        self.relu3 = layers.ReLU(name=f"{name}.relu3")
        ### END SOLUTION

    def __call__(self, x):  # (N, H, W, C)
        ### BEGIN SOLUTION
        out = self.conv1(x)  # (N, H, W, M)
        out = self.bn1(out)
        out = self.relu1(out)
        out = self.conv2(self.pad2(out))  # (N, H/s, W/s, M)
        out = self.bn2(out)
        out = self.relu2(out)
        out = self.conv3(out)  # (N, H/s, W/s, 4M)
        out = self.bn3(out)
        for layer in self.downsample:
            x = layer(x)  # (N, H/s, W/s, 4M)
        out = self.add([out, x])
        return self.relu3(out)
        ### END SOLUTION


# %% test="keras_bottleneck" points=4
for case, count, wanted in [
    ((4, 1, 1), 15, (None, 8, 8, 4)),
    ((4, 2, 1), 20, (None, 8, 8, 8)),
    ((4, 2, 2), 20, (None, 4, 4, 8)),
    ((4, 1, 2), 20, (None, 4, 4, 4)),
]:
    model = make_model(BottleneckKeras(*case, name="layer2.0"), 8, 4)
    assert model.output.shape == wanted, (
        f"BottleneckKeras{case} makes {model.output.shape}, not {wanted}."
    )
    names = sorted(shapes_keras(model))
    assert len(names) == count and all(name.startswith("layer2.0.") for name in names), (
        f"BottleneckKeras{case} has {len(names)} arrays, not {count} that begin with layer2.0: {names}"
    )
    block = BottleneckTorch(*case)
    arrays = draw(shapes_torch(block), seed=2)
    load_torch(block, arrays)
    copy_weights(arrays, model, "layer2.0")
    difference = np.abs(run_keras(model, pictures) - run_torch(block, pictures)).max()
    assert difference < 1e-5, (
        f"BottleneckKeras{case} and BottleneckTorch{case} differ by {difference:.2g}. If all do: "
        "compare epsilon and the ReLUs. If only those with stride 2: compare zeros and strides."
    )
