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
### BEGIN HIDDEN TESTS
import numpy as np
import torch
from torch.nn import functional as F

from shared.classroom.exam import exam

#: Kernel sizes of a block, and which convolution has the stride.
PLANS = {"basic": ([3, 3], 0), "bottleneck": ([1, 3, 1], 1)}


def array_shapes(kind, in_channels, channels, stride):
    """Names and shapes of all arrays, as PyTorch has them."""
    kernels, _ = PLANS[kind]
    wide = channels if kind == "basic" else 4 * channels
    ends = [channels] * (len(kernels) - 1) + [wide]
    convs, inside = {}, in_channels
    for number, (kernel, end) in enumerate(zip(kernels, ends, strict=True), start=1):
        convs[f"conv{number}", f"bn{number}"] = (end, inside, kernel, kernel)
        inside = end
    if stride != 1 or in_channels != wide:
        convs["downsample.0", "downsample.1"] = (wide, in_channels, 1, 1)
    shapes = {}
    for (conv, norm), shape in convs.items():
        shapes[f"{conv}.weight"] = shape
        for array in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{norm}.{array}"] = shape[:1]
    return shapes


def lively(shapes):
    """Random arrays: no BatchNorm is near the one that a new layer has, and variances are small."""
    arrays = {}
    for name, shape in shapes.items():
        draw = exam.rng.normal(size=shape)
        if len(shape) == 4:
            draw *= 0.3 / np.sqrt(np.prod(shape[1:]))
        elif name.endswith(".weight"):
            draw = exam.rng.uniform(0.5, 1.5, size=shape)
        elif name.endswith(".running_var"):
            draw = exam.rng.uniform(0.02, 0.2, size=shape)
        else:
            draw *= 0.3
        arrays[name] = draw.astype("float32")
    return arrays


def reference(kind, stride, arrays, x, weights, training):
    """The block in float64: output, gradients of sum(output * weights), state; how near 0 a ReLU is."""
    kernels, strided = PLANS[kind]
    state = {name: torch.tensor(array, dtype=torch.float64) for name, array in arrays.items()}
    learned = {n: t.requires_grad_() for n, t in state.items() if ".running_" not in n}
    x = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    near = []

    def norm(y, name):
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        gamma, beta = state[f"{name}.weight"], state[f"{name}.bias"]
        return F.batch_norm(y, mean, var, gamma, beta, training, 0.1, 1e-5)

    def relu(y):
        near.append(float(y.detach().abs().min()))
        return torch.relu(y)

    y = x
    for index, kernel in enumerate(kernels):
        y = relu(y) if index else y
        step = stride if index == strided else 1
        y = F.conv2d(y, state[f"conv{index + 1}.weight"], stride=step, padding=kernel // 2)
        y = norm(y, f"bn{index + 1}")
    short = x
    if "downsample.0.weight" in state:
        short = norm(F.conv2d(x, state["downsample.0.weight"], stride=stride), "downsample.1")
    out = relu(y + short)
    (out * torch.tensor(weights, dtype=torch.float64)).sum().backward()
    return {
        "out": out.detach().numpy(),
        "dx": x.grad.numpy(),
        "gradients": {name: tensor.grad.numpy() for name, tensor in learned.items()},
        "state": {name: tensor.detach().numpy() for name, tensor in state.items()},
        "near": min(near),
    }


def draw_case(kind, case, size):
    """Random weights and pictures for which no ReLU sits so near 0 that rounding would turn it."""
    in_channels, channels, stride = case
    wide, outside = channels * (1 if kind == "basic" else 4), -(-size // stride)
    while True:
        arrays = lively(array_shapes(kind, *case))
        x = exam.rng.normal(size=(3, in_channels, size, size)).astype("float32")
        weights = exam.rng.normal(size=(3, wide, outside, outside)).astype("float32")
        modes = {
            training: reference(kind, stride, arrays, x, weights, training)
            for training in (False, True)
        }
        if min(mode["near"] for mode in modes.values()) > 2e-5:
            return arrays, x, weights, modes


def same_gradients(answer, expected, what):
    """Gradients may be off by little, measured by the largest one of the same array."""
    exam.require(isinstance(answer, dict) and answer.keys() == expected.keys(), f"{what}: names")
    for name, array in expected.items():
        limit = 2e-4 * float(np.abs(array).max()) + 1e-6
        exam.close(answer[name], array, f"{what}, {name}", rtol=1e-3, atol=limit)


def channels_of(low=3, high=7):
    """Two numbers of channels that differ."""
    one, other = exam.rng.choice(np.arange(low, high), size=2, replace=False).tolist()
    return one, other


@exam.question
def torch_arrays(student, block, case):
    state = getattr(student, block)(*case).state_dict()
    return {
        name: list(value.shape)
        for name, value in state.items()
        if "num_batches_tracked" not in name
    }


@exam.question
def torch_shape(student, block, case, x):
    import torch

    with torch.no_grad():
        return list(getattr(student, block)(*case)(torch.from_numpy(x)).shape)


@exam.question
def torch_forward(student, block, case, arrays, x, training):
    import torch

    made = getattr(student, block)(*case)
    made.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    x = torch.from_numpy(x)
    with torch.no_grad():
        out = made.train(training)(x)
    state = {n: v for n, v in made.state_dict().items() if "num_batches_tracked" not in n}
    return {"out": out, "x": x, "state": state}


@exam.question
def torch_gradients(student, block, case, arrays, x, weights, training):
    import torch

    made = getattr(student, block)(*case)
    made.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    x = torch.from_numpy(x).requires_grad_()
    out = made.train(training)(x)
    (out * torch.from_numpy(weights)).sum().backward()
    return {"dx": x.grad, "gradients": {name: p.grad for name, p in made.named_parameters()}}


def check_torch(block, kind, cases, sizes):
    """Compares outputs in evaluation mode."""
    for case in cases:
        for size in sizes:
            arrays, x, _, modes = draw_case(kind, case, size)
            answer = torch_forward(block=block, case=case, arrays=arrays, x=x, training=False)
            what = f"{block}{tuple(case)} on {size} pixels"
            exam.close(answer["out"], modes[False]["out"], what, rtol=1e-4, atol=1e-4)


with exam.part(1, "the shape of the output"):
    one, other = channels_of()
    for case in [(one, one, 1), (one, other, 1), (one, other, 2), (one, one, 2)]:
        for size in (8, 9):
            x = exam.rng.normal(size=(2, one, size, size)).astype("float32")
            shape = torch_shape(block="BasicBlockTorch", case=case, x=x)
            wanted = [2, case[1], -(-size // case[2]), -(-size // case[2])]
            exam.equal(shape, wanted, f"shape of BasicBlockTorch{case} on {size} pixels")
with exam.part(1, "names and shapes of the arrays"):
    one, other = channels_of()
    for case in [(one, one, 1), (one, other, 1), (one, other, 2), (one, one, 2)]:
        wanted = {name: list(shape) for name, shape in array_shapes("basic", *case).items()}
        answer = torch_arrays(block="BasicBlockTorch", case=case)
        exam.equal(answer, wanted, f"arrays of BasicBlockTorch{case}")
with exam.part(1, "output in evaluation mode where the shortcut is the input"):
    one, other = channels_of()
    check_torch("BasicBlockTorch", "basic", [(one, one, 1), (other, other, 1)], [7, 8])
with exam.part(1, "output in evaluation mode with a projection"):
    one, other = channels_of()
    check_torch(
        "BasicBlockTorch", "basic", [(one, other, 1), (one, other, 2), (one, one, 2)], [7, 8]
    )
with exam.part(1, "training mode: output, running statistics, the input is left as it was"):
    one, other = channels_of()
    for case in [(one, one, 1), (one, other, 2)]:
        arrays, x, _, modes = draw_case("basic", case, 7)
        answer = torch_forward(
            block="BasicBlockTorch", case=case, arrays=arrays, x=x, training=True
        )
        what = f"BasicBlockTorch{case} in training mode"
        exam.equal(answer["x"], x, f"{what}: the input afterwards")
        exam.close(answer["out"], modes[True]["out"], what, rtol=1e-4, atol=1e-4)
        exam.close(answer["state"], modes[True]["state"], what, rtol=1e-4, atol=1e-5)
with exam.part(1, "gradients of the input and of all parameters, in both modes"):
    one, other = channels_of()
    for case in [(one, one, 1), (one, other, 2)]:
        arrays, x, weights, modes = draw_case("basic", case, 7)
        for training, wanted in modes.items():
            answer = torch_gradients(
                block="BasicBlockTorch",
                case=case,
                arrays=arrays,
                x=x,
                weights=weights,
                training=training,
            )
            what = f"gradients of BasicBlockTorch{case}, training={training}"
            same_gradients({"x": answer["dx"]}, {"x": wanted["dx"]}, what)
            same_gradients(answer["gradients"], wanted["gradients"], what)
exam.score()
### END HIDDEN TESTS

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


### BEGIN HIDDEN TESTS
def keras_name(name):
    """What Keras calls an array of PyTorch's."""
    layer, kind = name.rsplit(".", 1)
    if layer.rsplit(".", 1)[-1].startswith("conv") or layer.endswith("downsample.0"):
        return f"{layer}/kernel"
    names = {
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
    }
    return f"{layer}/{names[kind]}"


def in_keras(arrays, prefix):
    """The same arrays with the names and the axes that they have in Keras."""
    return {
        keras_name(f"{prefix}.{name}"): array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
        for name, array in arrays.items()
    }


def last(x):
    """(N, C, H, W) -> (N, H, W, C)"""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


@exam.question
def keras_arrays(student, block, cases, size):
    import keras

    inputs = x = keras.Input((size, size, cases[0][1][0]))
    for name, case in cases:
        x = getattr(student, block)(*case, name=name)(x)
    model = keras.Model(inputs, x)
    return {variable.path: list(variable.shape) for variable in model.variables}


@exam.question
def keras_shape(student, block, case, size):
    import keras

    inputs = keras.Input((size, size, case[0]))
    out = getattr(student, block)(*case, name="layer1.0")(inputs)
    return list(keras.Model(inputs, out).output.shape)


@exam.question
def keras_run(student, block, case, name, arrays, x, weights, training):
    import keras
    import tensorflow as tf

    inputs = keras.Input(x.shape[1:])
    model = keras.Model(inputs, getattr(student, block)(*case, name=name)(inputs))
    for variable in model.variables:
        variable.assign(arrays[variable.path])
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        out = model(x, training=training)
        total = tf.reduce_sum(out * weights)
    dx, *gradients = tape.gradient(total, [x, *model.trainable_variables])
    return {
        "out": out,
        "dx": dx,
        "gradients": {v.path: g for v, g in zip(model.trainable_variables, gradients, strict=True)},
        "state": {v.path: v.numpy() for v in model.variables},
    }


def check_keras(block, kind, cases, sizes, prefix):
    """Compares outputs in evaluation mode."""
    for case in cases:
        for size in sizes:
            arrays, x, weights, modes = draw_case(kind, case, size)
            answer = keras_run(
                block=block,
                case=case,
                name=prefix,
                arrays=in_keras(arrays, prefix),
                x=last(x),
                weights=last(weights),
                training=False,
            )
            what = f"{block}{tuple(case)} on {size} pixels"
            exam.close(answer["out"], last(modes[False]["out"]), what, rtol=1e-4, atol=1e-4)


with exam.part(1, "the shape of the output"):
    one, other = channels_of()
    for case in [(one, one, 1), (one, other, 1), (one, other, 2), (one, one, 2)]:
        for size in (8, 9):
            shape = keras_shape(block="BasicBlockKeras", case=case, size=size)
            wanted = [None, -(-size // case[2]), -(-size // case[2]), case[1]]
            exam.equal(shape, wanted, f"shape of BasicBlockKeras{case} on {size} pixels")
with exam.part(1, "names and shapes of the arrays, with several blocks in one model"):
    one, other = channels_of()
    cases = [
        ("layer1.0", (one, one, 1)),
        ("layer2.0", (one, other, 2)),
        ("layer2.1", (other, other, 2)),
        ("layer3.0", (other, one, 1)),
    ]
    wanted = {}
    for name, case in cases:
        arrays = {n: np.zeros(shape) for n, shape in array_shapes("basic", *case).items()}
        wanted |= {n: list(array.shape) for n, array in in_keras(arrays, name).items()}
    answer = keras_arrays(block="BasicBlockKeras", cases=cases, size=16)
    exam.equal(answer, wanted, "arrays of four blocks in one model")
with exam.part(1, "output in evaluation mode where the shortcut is the input"):
    one, other = channels_of()
    check_keras("BasicBlockKeras", "basic", [(one, one, 1), (other, other, 1)], [7, 8], "layer1.1")
with exam.part(1, "output in evaluation mode with a projection, on even and on odd sizes"):
    one, other = channels_of()
    check_keras(
        "BasicBlockKeras",
        "basic",
        [(one, other, 1), (one, other, 2), (one, one, 2)],
        [7, 8],
        "layer3.0",
    )


def train_keras(case, training):
    """Answer and expected values on an odd number of pixels."""
    arrays, x, weights, modes = draw_case("basic", case, 7)
    answer = keras_run(
        block="BasicBlockKeras",
        case=case,
        name="layer2.0",
        arrays=in_keras(arrays, "layer2.0"),
        x=last(x),
        weights=last(weights),
        training=training,
    )
    return answer, modes[training]


with exam.part(1, "training mode: output and moving means"):
    one, other = channels_of()
    for case in [(one, one, 1), (one, other, 2)]:
        answer, wanted = train_keras(case, True)
        what = f"BasicBlockKeras{case} in training mode"
        exam.close(answer["out"], last(wanted["out"]), what, rtol=1e-4, atol=1e-4)
        for name, array in in_keras(wanted["state"], "layer2.0").items():
            if name.endswith("moving_mean"):
                mean = answer["state"].get(name)
                exam.close(mean, array, f"{what}, {name}", rtol=1e-4, atol=1e-5)
with exam.part(1, "gradients of the input and of all parameters, in both modes"):
    one, other = channels_of()
    for case in [(one, one, 1), (one, other, 2)]:
        for training in (False, True):
            answer, wanted = train_keras(case, training)
            what = f"gradients of BasicBlockKeras{case}, training={training}"
            same_gradients({"x": answer["dx"]}, {"x": last(wanted["dx"])}, what)
            gradients = in_keras(wanted["gradients"], "layer2.0")
            same_gradients(answer["gradients"], gradients, what)
exam.score()
### END HIDDEN TESTS

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


### BEGIN HIDDEN TESTS
@exam.question
def copied(student, blocks, name, arrays):
    """Layers with weights in a row, with the names of blocks; what the variables hold afterwards."""
    import keras
    import numpy as np

    inputs = keras.Input((6, 6, 3))
    outs = []
    for prefix, convs in blocks:
        x = inputs
        for conv, norm, kernel, channels in convs:
            conv = keras.layers.Conv2D(channels, kernel, use_bias=False, name=f"{prefix}.{conv}")
            norm = keras.layers.BatchNormalization(name=f"{prefix}.{norm}")
            x = keras.layers.ReLU()(norm(conv(x)))
        outs.append(x)
    model = keras.Model(inputs, outs)
    for variable in model.variables:
        variable.assign(np.full(variable.shape, 7.0))
    try:
        student.copy_weights(arrays, model, name)
        error = "none"
    except ValueError:
        error = "ValueError"
    return {"error": error, "arrays": {v.path: v.numpy() for v in model.variables}}


def some_layers():
    """Names, kernels and channels of layers in a row, and random arrays with PyTorch's names."""
    convs, shapes, inside = [], {}, 3
    for conv, norm, kernel in [
        ("conv1", "bn1", 3),
        ("conv2", "bn2", 3),
        ("downsample.0", "downsample.1", 1),
    ]:
        channels = int(exam.rng.integers(2, 6))
        convs.append((conv, norm, kernel, channels))
        shapes[f"{conv}.weight"] = (channels, inside, kernel, kernel)
        for array in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{norm}.{array}"] = (channels,)
        inside = channels
    return convs, lively(shapes)


def counters():
    """What else a state_dict holds."""
    return {f"{norm}.num_batches_tracked": np.array(3) for norm in ("bn1", "bn2", "downsample.1")}


def check_copy(ends, what):
    """Whether the variables whose names end so hold what they should."""
    for name in ("layer1.0", "layer4.2"):
        convs, arrays = some_layers()
        answer = copied(blocks=[(name, convs)], name=name, arrays=arrays | counters())
        exam.equal(answer["error"], "none", what)
        for path, array in in_keras(arrays, name).items():
            if path.endswith(ends):
                exam.close(answer["arrays"].get(path), array, path, rtol=0, atol=1e-7)


with exam.part(1, "the kernels"):
    check_copy(("/kernel",), "copying one block")
with exam.part(1, "the four arrays of each BatchNorm"):
    check_copy(("/gamma", "/beta", "/moving_mean", "/moving_variance"), "copying one block")
with exam.part(1, "only the block that is named"):
    for name, other in [("layer3.1", "layer3.12"), ("layer3.12", "layer3.1")]:
        convs, arrays = some_layers()
        answer = copied(blocks=[(name, convs), (other, convs)], name=name, arrays=arrays)
        exam.equal(answer["error"], "none", f"copying to {name} beside {other}")
        wanted = in_keras(arrays, name)
        for path, array in answer["arrays"].items():
            if path.startswith(f"{other}."):
                exam.require(bool((array == 7.0).all()), f"{path} was changed")
            elif path.endswith(("/gamma", "/beta")):
                exam.close(array, wanted[path], path, rtol=0, atol=1e-7)
with exam.part(1, "a ValueError for an array too much and for one that is missing, else none"):
    convs, arrays = some_layers()
    missing = str(exam.rng.choice(sorted(arrays)))
    for chosen, wanted in [
        (arrays, "none"),
        (arrays | counters(), "none"),
        ({n: a for n, a in arrays.items() if n != missing}, "ValueError"),
        (arrays | {"conv3.weight": arrays["conv2.weight"]}, "ValueError"),
        (arrays | {"bn3.running_var": arrays["bn2.running_var"]}, "ValueError"),
    ]:
        answer = copied(blocks=[("layer2.0", convs)], name="layer2.0", arrays=chosen)
        exam.equal(answer["error"], wanted, f"copying {sorted(chosen)}")


@exam.question
def both(student, torch_block, keras_block, case, name, arrays, x):
    """Outputs of the two blocks; the Keras one gets its weights from the PyTorch one."""
    import keras
    import numpy as np
    import torch

    block = getattr(student, torch_block)(*case)
    block.load_state_dict({key: torch.from_numpy(array) for key, array in arrays.items()})
    inputs = keras.Input((*x.shape[2:], x.shape[1]))
    model = keras.Model(inputs, getattr(student, keras_block)(*case, name=name)(inputs))
    state = {key: value.numpy().copy() for key, value in block.state_dict().items()}
    student.copy_weights(state, model, name)
    with torch.no_grad():
        one = block.eval()(torch.from_numpy(x.copy())).numpy()
    other = np.asarray(model(x.transpose(0, 2, 3, 1).copy(), training=False))
    return {"torch": one, "keras": other.transpose(0, 3, 1, 2)}


def check_both(torch_block, keras_block, kind, cases):
    """Both must be equal, and equal to what they should be."""
    for case in cases:
        arrays, x, _, modes = draw_case(kind, case, 7)
        answer = both(
            torch_block=torch_block,
            keras_block=keras_block,
            case=case,
            name="layer2.3",
            arrays=arrays,
            x=x,
        )
        what = f"{torch_block} and {keras_block}{tuple(case)}"
        exam.close(answer["torch"], modes[False]["out"], what, rtol=1e-4, atol=1e-4)
        exam.close(answer["keras"], answer["torch"], what, rtol=1e-5, atol=1e-5)


with exam.part(1, "your two basic blocks give equal outputs"):
    one, other = channels_of()
    check_both("BasicBlockTorch", "BasicBlockKeras", "basic", [(one, one, 1), (one, other, 2)])
exam.score()
### END HIDDEN TESTS

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
### BEGIN HIDDEN TESTS
with exam.part(1, "names and shapes of the arrays"):
    for _ in range(2):
        one, other = channels_of(2, 6)
        for case in [(4 * one, one, 1), (4 * one, one, 2), (other, one, 1), (4 * one, other, 2)]:
            wanted = {n: list(shape) for n, shape in array_shapes("bottleneck", *case).items()}
            answer = torch_arrays(block="BottleneckTorch", case=case)
            exam.equal(answer, wanted, f"arrays of BottleneckTorch{case}")
with exam.part(1, "output with stride 1, with and without projection"):
    one, other = channels_of(2, 5)
    cases = [(4 * one, one, 1), (other, one, 1), (one, one, 1)]
    check_torch("BottleneckTorch", "bottleneck", cases, [7, 8])
with exam.part(1, "output with stride 2"):
    one, other = channels_of(2, 5)
    check_torch("BottleneckTorch", "bottleneck", [(4 * one, one, 2), (one, other, 2)], [7, 8])
exam.score()
### END HIDDEN TESTS

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
### BEGIN HIDDEN TESTS
with exam.part(1, "names and shapes of the arrays, with several blocks in one model"):
    one, other = channels_of(2, 5)
    cases = [
        ("layer1.0", (other, one, 1)),
        ("layer1.1", (4 * one, one, 1)),
        ("layer2.0", (4 * one, other, 2)),
        ("layer2.1", (4 * other, other, 2)),
    ]
    wanted = {}
    for name, case in cases:
        arrays = {n: np.zeros(shape) for n, shape in array_shapes("bottleneck", *case).items()}
        wanted |= {n: list(array.shape) for n, array in in_keras(arrays, name).items()}
    answer = keras_arrays(block="BottleneckKeras", cases=cases, size=16)
    exam.equal(answer, wanted, "arrays of four blocks in one model")
with exam.part(1, "output with stride 1, with and without projection"):
    one, other = channels_of(2, 5)
    cases = [(4 * one, one, 1), (other, one, 1)]
    check_keras("BottleneckKeras", "bottleneck", cases, [7, 8], "layer1.1")
with exam.part(1, "output with stride 2, on even and on odd sizes"):
    one, other = channels_of(2, 5)
    cases = [(4 * one, one, 2), (one, other, 2)]
    check_keras("BottleneckKeras", "bottleneck", cases, [7, 8], "layer2.0")
with exam.part(1, "your two bottlenecks give equal outputs"):
    one, other = channels_of(2, 5)
    check_both(
        "BottleneckTorch", "BottleneckKeras", "bottleneck", [(4 * one, one, 1), (other, one, 1)]
    )
exam.score()
### END HIDDEN TESTS
