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

import re
import tempfile
from pathlib import Path

import keras
import numpy as np
import torch
from keras import layers
from torch import nn

folder = Path(tempfile.mkdtemp())  # for the files that the tests make

# %% [markdown]
# Two files lie beside this notebook. `checkpoint.pth` holds a small residual network, trained in
# PyTorch to read digits. `digits.npz` holds 360 pictures of digits that it has never seen. You carry
# the network to Keras, where it must give the same logits.
#
# The next two cells define the network twice. Read them, you cannot change them. A network is
# described by four things: `depths` (how many blocks each of the three stages has), `widths` (the
# channels of each stage), `in_channels` and `num_classes`. Each Keras layer bears the name that the
# module has in PyTorch.


# %%
class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, with a projection where the shape changes."""

    def __init__(self, in_channels, out_channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x):  # (N, C, H, W)
        out = torch.relu(self.bn1(self.conv1(x)))  # (N, C', H/s, W/s)
        out = self.bn2(self.conv2(out))  # (N, C', H/s, W/s)
        return torch.relu(out + self.downsample(x))


class ResNet(nn.Module):
    """A stem, three stages of basic blocks, and a linear layer on the averages."""

    def __init__(self, depths, widths, in_channels, num_classes):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, 1, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        channels = widths[0]
        for number, (depth, width) in enumerate(zip(depths, widths), start=1):
            stage = nn.Sequential()
            for block in range(depth):
                stride = 2 if number > 1 and block == 0 else 1
                stage.append(BasicBlock(channels, width, stride))
                channels = width
            setattr(self, f"layer{number}", stage)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x):  # (N, C, H, W)
        x = torch.relu(self.bn1(self.conv1(x)))  # (N, C1, H, W)
        x = self.layer1(x)  # (N, C1, H, W)
        x = self.layer2(x)  # (N, C2, H/2, W/2)
        x = self.layer3(x)  # (N, C3, H/4, W/4)
        x = self.avgpool(x).flatten(1)  # (N, C3)
        return self.fc(x)  # (N, classes)


def build_torch(depths, widths, in_channels, num_classes):
    """The network in PyTorch, with random weights."""
    return ResNet(depths, widths, in_channels, num_classes)


# %%
def build_keras(depths, widths, in_channels, num_classes):
    """The same network in Keras, with random weights; it takes (N, H, W, C)."""

    def conv(x, out_channels, kernel_size, stride, name):
        x = layers.ZeroPadding2D(kernel_size // 2)(x)
        return layers.Conv2D(out_channels, kernel_size, stride, use_bias=False, name=name)(x)

    def norm(x, name):
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)

    def basic_block(x, out_channels, stride, name):  # (N, H, W, C)
        out = conv(x, out_channels, 3, stride, f"{name}.conv1")  # (N, H/s, W/s, C')
        out = layers.ReLU()(norm(out, f"{name}.bn1"))
        out = conv(out, out_channels, 3, 1, f"{name}.conv2")  # (N, H/s, W/s, C')
        out = norm(out, f"{name}.bn2")
        if stride != 1 or x.shape[-1] != out_channels:
            x = conv(x, out_channels, 1, stride, f"{name}.downsample.0")  # (N, H/s, W/s, C')
            x = norm(x, f"{name}.downsample.1")
        return layers.ReLU()(layers.Add()([out, x]))

    inputs = keras.Input((None, None, in_channels))  # (N, H, W, C)
    x = conv(inputs, widths[0], 3, 1, "conv1")  # (N, H, W, C1)
    x = layers.ReLU()(norm(x, "bn1"))
    for number, (depth, width) in enumerate(zip(depths, widths), start=1):
        for block in range(depth):
            stride = 2 if number > 1 and block == 0 else 1
            x = basic_block(x, width, stride, f"layer{number}.{block}")
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)  # (N, C3)
    return keras.Model(inputs, layers.Dense(num_classes, name="fc")(x))  # (N, classes)


# %% [markdown]
# The pictures. The people who trained the network subtracted a mean from the pixels and divided by a
# deviation; both numbers came with the checkpoint. `images` has PyTorch's layout, `(N, C, H, W)`.

# %%
stored = np.load("digits.npz")
labels = stored["labels"]
pixels = stored["images"] / 16  # from 0 (black) to 1 (white)
images = ((pixels - 0.3052148573416841) / 0.37632152706588534).astype("float32")
images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
print("images", images.shape, images.dtype, " labels", labels.shape)
assert images.shape == (360, 1, 8, 8)

# %% [markdown]
# For the tests: a small network with *lively* numbers. No gamma is 1, no beta and no mean is 0. With
# fresh weights many mistakes would not show. The pictures are higher than wide, for the same reason.


# %%
def lively_arrays(network, seed):
    """Random arrays for a network: PyTorch's name -> array, in PyTorch's layout."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, tensor in build_torch(**network).state_dict().items():
        shape = tuple(tensor.shape)
        if name.endswith("running_var"):
            made[name] = rng.uniform(0.5, 2, shape).astype("float32")
        elif len(shape) > 1:  # a kernel, or the matrix of fc
            made[name] = rng.normal(0, np.prod(shape[1:]) ** -0.5, shape).astype("float32")
        elif name.endswith("weight"):  # gamma
            made[name] = rng.uniform(0.5, 1.5, shape).astype("float32")
        elif not name.endswith("num_batches_tracked"):
            made[name] = rng.normal(0, 0.3, shape).astype("float32")
    return made


def lively_torch(network, arrays):
    """The network in PyTorch with these arrays, in eval mode."""
    model = build_torch(**network)
    tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    model.load_state_dict(model.state_dict() | tensors)
    return model.eval()


small = {"depths": [1, 2, 1], "widths": [4, 6, 8], "in_channels": 3, "num_classes": 5}
small_arrays = lively_arrays(small, seed=0)
small_torch = lively_torch(small, small_arrays)
small_images = np.random.default_rng(1).normal(size=(4, 3, 12, 8)).astype("float32")
with torch.no_grad():
    small_logits = small_torch(torch.from_numpy(small_images)).numpy()
print(len(small_arrays), "arrays; logits", small_logits.shape)
assert small_logits.shape == (4, 5)

# %% [markdown]
# ## Task 1: `read_checkpoint`
#
# Read a checkpoint file: PyTorch's names, without their wrappings, and NumPy arrays.
#
# - The file was made by a stranger. If it holds anything that could run code, it must be refused
#   with an error, and nothing in it may run. Any kind of error will do.
# - The arrays are in a dict under the key `"state_dict"`, or under `"model"`, or the whole file is
#   that dict. If what you find there is not a dict of tensors, raise a `ValueError`.
# - Names may begin with `module.` (the network was trained on several GPUs) or with `_orig_mod.`
#   (it was compiled), with both in any order, or with neither. Look at each name by itself: some
#   may have a prefix and others not. Remove these prefixes at the **beginning** of a name only.
# - The counters, names that end in `num_batches_tracked`, are left out.
# - All arrays are `float32`, also where the file holds half precision (`torch.float16` or
#   `torch.bfloat16`). A tensor in the file may be an `nn.Parameter`, which tracks gradients.


# %% answer="read_checkpoint"
def read_checkpoint(path):
    """Read the arrays of a checkpoint: name without prefixes -> NumPy array of float32."""
    ### BEGIN SOLUTION
    found = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and key in found:
            found = found[key]
            break
    if not isinstance(found, dict) or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise ValueError(f"{path} holds no dict of tensors")
    arrays = {}
    for name, tensor in found.items():
        while name.startswith(("module.", "_orig_mod.")):
            name = name.removeprefix("module.").removeprefix("_orig_mod.")
        if not name.endswith("num_batches_tracked"):
            arrays[name] = tensor.detach().float().numpy()
    return arrays
    ### END SOLUTION


# %% test="read_checkpoint" points=6
arrays = read_checkpoint("checkpoint.pth")
assert type(arrays) is dict, f"Return a dict of name and array, not a {type(arrays).__name__}."
strange = sorted(name for name in arrays if name.startswith("module."))
assert not strange, f"{strange[:2]} and others still have a prefix."
counters = sorted(name for name in arrays if name.endswith("num_batches_tracked"))
assert not counters, f"{counters[:2]} and others are counters; a Keras network has none."
assert len(arrays) == 47, (
    f"You return {len(arrays)} arrays. Print your names beside those of the PyTorch network."
)
kinds = sorted({type(array).__name__ for array in arrays.values()})
assert kinds == ["ndarray"], f"The values are of type {kinds}, not NumPy arrays."

first = torch.arange(6.0).reshape(2, 3)
cases = {
    "two prefixes": {"state_dict": {"_orig_mod.module.fc.weight": first}},
    "a prefix at one name only": {"model": {"module.conv1.weight": first, "fc.weight": first}},
    "no wrapping at all": {"fc.weight": first},
    "a layer that is called submodule": {"state_dict": {"module.submodule.fc.weight": first}},
    "half precision": {"state_dict": {"fc.weight": first.bfloat16()}},
    "a Parameter": {"state_dict": {"fc.weight": nn.Parameter(first)}},
}
right = {
    "a prefix at one name only": {"conv1.weight", "fc.weight"},
    "a layer that is called submodule": {"submodule.fc.weight"},
}
for title, content in cases.items():
    torch.save(content, folder / "case.pth")
    try:
        found = read_checkpoint(folder / "case.pth")
    except Exception as error:
        raise AssertionError(f"{title}: it stops with {type(error).__name__}: {error}") from None
    assert set(found) == right.get(title, {"fc.weight"}), (
        f"{title}: the names are {sorted(found)}. Which part of {list(content)} is a wrapping?"
    )
    for name, array in found.items():
        assert array.dtype == np.float32, f"{title}: {name} has dtype {array.dtype}."
        assert np.array_equal(array, first.numpy()), f"{title}: {name} has other numbers."

for content in ({"epoch": 3}, [first]):
    torch.save(content, folder / "case.pth")
    try:
        read_checkpoint(folder / "case.pth")
    except ValueError:
        continue
    except Exception as error:
        raise AssertionError(
            f"A file that holds {content} should give a ValueError, yours is a "
            f"{type(error).__name__}. Look at what you found before you use it."
        ) from None
    raise AssertionError(f"A file that holds {content} has no dict of tensors, and you read it.")


class Trap:
    """When it is unpickled without care, it makes a folder. It could as well delete one."""

    def __reduce__(self):
        return os.mkdir, (str(folder / "the-trap-has-run"),)


torch.save({"state_dict": {"fc.weight": first}, "trainer": Trap()}, folder / "trap.pth")
try:
    read_checkpoint(folder / "trap.pth")
    refused = False
except Exception:
    refused = True
ran = (folder / "the-trap-has-run").exists()
if ran:
    (folder / "the-trap-has-run").rmdir()
assert not ran, (
    "A file has just run code on your computer. Which argument of torch.load forbids it?"
)
assert refused, "The file holds more than tensors and plain data: let the error come out."

# %% [markdown]
# ## Task 2: `keras_array`
#
# Bring one array into Keras' layout. `name` is PyTorch's name of it, without prefixes.
#
# - A kernel of a convolution has four axes. Kernels need not be square: 3 high and 5 wide must
#   stay 3 high and 5 wide.
# - The matrix of a linear layer has two axes.
# - An array with one axis stays as it is.
# - No other array belongs into a residual network: raise a `ValueError` that says its name.


# %% answer="keras_array"
def keras_array(name, array):
    """The array in the layout that Keras wants."""
    ### BEGIN SOLUTION
    if array.ndim == 4:  # (out, in, height, width) -> (height, width, in, out)
        return array.transpose(2, 3, 1, 0)
    if array.ndim == 2:  # (out, in) -> (in, out)
        return array.T
    if array.ndim == 1:
        return array
    raise ValueError(f"{name} has {array.ndim} axes, where 1, 2 or 4 were expected")
    ### END SOLUTION


# %% test="keras_array" points=3
conv_torch = nn.Conv2d(2, 4, (3, 5), bias=False)
conv_keras = layers.Conv2D(4, (3, 5), use_bias=False)
conv_keras.build((None, 9, 9, 2))
given = conv_torch.weight.detach().numpy()
turned = keras_array("layer1.0.conv1.weight", given)
assert turned.shape == tuple(conv_keras.kernel.shape), (
    f"A kernel of shape {given.shape} becomes {turned.shape}; the Keras layer with the same sizes "
    f"has {tuple(conv_keras.kernel.shape)}. Which axis is which?"
)
conv_keras.set_weights([turned])
picture = np.random.default_rng(0).normal(size=(1, 2, 9, 9)).astype("float32")
ours = np.asarray(conv_keras(picture.transpose(0, 2, 3, 1))).transpose(0, 3, 1, 2)
theirs = conv_torch(torch.from_numpy(picture)).detach().numpy()
assert np.abs(ours - theirs).max() < 1e-5, (
    f"The shape fits, but the two layers differ by up to {np.abs(ours - theirs).max():.2g}. "
    "Reshaping changes the shape, too, and mixes the numbers."
)
matrix = np.arange(12, dtype="float32").reshape(3, 4)
turned = keras_array("fc.weight", matrix)
assert turned.shape == (4, 3), (
    f"A linear layer from 4 to 3 numbers has a weight of shape {matrix.shape} in PyTorch. Yours "
    f"becomes {turned.shape}. Build a Dense layer from 4 to 3 and look at its kernel."
)
assert turned[1, 2] == matrix[2, 1], (
    f"The weight from input 1 to output 2 is {matrix[2, 1]:g} in PyTorch; yours is {turned[1, 2]:g}."
)
gamma = np.arange(3, dtype="float32")
assert np.array_equal(keras_array("bn1.weight", gamma), gamma), (
    "An array with one axis has nothing to exchange."
)
try:
    keras_array("layer1.0.what", np.zeros((2, 2, 2), "float32"))
    message = None
except ValueError as error:
    message = str(error)
assert message is not None, "An array with three axes should be refused with a ValueError."
assert "layer1.0.what" in message, f"Your message does not say which array: {message}"


# %% [markdown]
# ## Task 3: `torch_name`
#
# A Keras variable has a `path`: the name of its layer, a slash, and what it is. Return PyTorch's
# name of the same thing. `"layer1.0.conv2/kernel"` is `"layer1.0.conv2.weight"`. Print the paths of
# `build_keras(**small).variables` and the names in `small_arrays`, and find out the others. A
# convolution or a linear layer may have a bias.


# %% answer="torch_name"
def torch_name(path):
    """PyTorch's name for the variable that Keras calls `path`."""
    ### BEGIN SOLUTION
    layer, kind = path.rsplit("/", 1)
    kinds = {
        "kernel": "weight",
        "bias": "bias",
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }
    return f"{layer}.{kinds[kind]}"
    ### END SOLUTION


# %% test="torch_name" points=2
paths = [variable.path for variable in build_keras(**small).variables]
yours = [torch_name(path) for path in paths]
unknown = [f"{path} -> {name}" for path, name in zip(paths, yours) if name not in small_arrays]
assert not unknown, f"PyTorch has no such name: {unknown[0]} ({len(unknown)} in all)."
assert len(set(yours)) == len(small_arrays), (
    f"{len(paths)} variables have only {len(set(yours))} names in PyTorch: some share one."
)
norm_torch = nn.BatchNorm2d(2)
norm_torch.load_state_dict(
    {
        "weight": torch.tensor([2.0, 3.0]),
        "bias": torch.tensor([0.5, -0.5]),
        "running_mean": torch.tensor([1.0, -1.0]),
        "running_var": torch.tensor([4.0, 9.0]),
        "num_batches_tracked": torch.tensor(0),
    }
)
norm_keras = layers.BatchNormalization(epsilon=1e-5, name="bn1")
norm_keras.build((None, None, None, 2))
for variable in norm_keras.variables:
    kind = torch_name(f"bn1/{variable.path.rsplit('/', 1)[1]}").rsplit(".", 1)[1]
    variable.assign(norm_torch.state_dict()[kind].numpy())
picture = np.random.default_rng(0).normal(size=(1, 4, 4, 2)).astype("float32")
ours = np.asarray(norm_keras(picture, training=False)).transpose(0, 3, 1, 2)
theirs = norm_torch.eval()(torch.from_numpy(picture.transpose(0, 3, 1, 2))).detach().numpy()
assert np.abs(ours - theirs).max() < 1e-5, (
    "With your names a BatchNorm gives other numbers in Keras than in PyTorch. What multiplies, what "
    "is added, what is subtracted, and what is divided by?"
)

# %% [markdown]
# ## Task 4: `load_into`
#
# Set **all** variables of a Keras network from arrays with PyTorch's names and layouts. Go by name:
# the dict may have any order. It is all or nothing. If anything does not fit, raise a `ValueError`
# and leave the network as it was. The message must contain PyTorch's names
#
# - of all variables for which there is no array,
# - of all arrays that no variable needs,
# - of all arrays whose shape does not fit,
#
# and no other names. If several things are wrong at once, name all of them in the one message.


# %% answer="load_into"
def load_into(model, arrays):
    """Set all variables of a Keras network by name, or raise a ValueError and set none."""
    ### BEGIN SOLUTION
    variables = {torch_name(variable.path): variable for variable in model.variables}
    faults = [f"missing: {name}" for name in variables if name not in arrays]
    faults += [f"left over: {name}" for name in arrays if name not in variables]
    turned = {}
    for name, variable in variables.items():
        if name in arrays:
            turned[name] = keras_array(name, arrays[name])
            if turned[name].shape != tuple(variable.shape):
                shape = tuple(variable.shape)
                faults.append(f"wrong shape: {name}, {turned[name].shape} in place of {shape}")
    if faults:
        raise ValueError("\n".join(faults))
    for name, variable in variables.items():
        variable.assign(turned[name])
    ### END SOLUTION


# %% test="load_into" points=6
def names_in(message):
    """All names of arrays that a message contains."""
    return set(re.findall(r"[a-z][\w.]*\.(?:weight|bias|running_mean|running_var)\b", message))


small_keras = build_keras(**small)
load_into(small_keras, dict(reversed(small_arrays.items())))
ours = np.asarray(small_keras(small_images.transpose(0, 2, 3, 1), training=False))
gap = np.abs(ours - small_logits).max()
assert gap < 1e-5, (
    f"The arrays are in, but the logits are off by up to {gap:.2g}. Have all variables been set? "
    "Compare each with its array, by name."
)

faulty = {
    "nothing for fc.bias": ({"fc.bias": None}, {"fc.bias"}),
    "one array too many": ({"fc2.bias": np.zeros(3, "float32")}, {"fc2.bias"}),
    "a wrong shape": ({"layer3.0.bn2.bias": np.zeros(7, "float32")}, {"layer3.0.bn2.bias"}),
    "two things wrong": (
        {"fc.bias": None, "conv1.weight": np.zeros((4, 1, 3, 3), "float32")},
        {"fc.bias", "conv1.weight"},
    ),
}
before = [variable.numpy() for variable in small_keras.variables]
for title, (changes, wanted) in faulty.items():
    other = {name: array + 1 for name, array in small_arrays.items()} | changes
    other = {name: array for name, array in other.items() if array is not None}
    try:
        load_into(small_keras, other)
    except ValueError as error:
        named = names_in(str(error))
    except Exception as error:
        raise AssertionError(
            f"{title}: raise a ValueError; this is a {type(error).__name__}: {error}"
        ) from None
    else:
        raise AssertionError(f"{title}: no error. Somebody would work with a wrong network.")
    assert named == wanted, f"{title}: the message names {sorted(named)}, not {sorted(wanted)}."
    after = [variable.numpy() for variable in small_keras.variables]
    changed = sum(not np.array_equal(a, b) for a, b in zip(before, after))
    assert changed == 0, (
        f"{title}: there is an error, but {changed} variables have been changed before it came."
    )


# %% [markdown]
# ## Task 5: `logits`
#
# Let a Keras network read pictures that come in **PyTorch's** layout, `(N, C, H, W)`. Return its
# logits as a NumPy array `(N, classes)`. The network predicts, it does not train: the logits of a
# picture must not depend on the pictures beside it, and the network must stay as it was.


# %% answer="logits"
def logits(model, images):
    """The logits of a Keras network, (N, classes), for images (N, C, H, W)."""
    ### BEGIN SOLUTION
    return np.asarray(model(images.transpose(0, 2, 3, 1), training=False))
    ### END SOLUTION


# %% test="logits" points=2
answer = logits(small_keras, small_images)
assert isinstance(answer, np.ndarray), f"Return a NumPy array, not a {type(answer).__name__}."
assert answer.shape == (4, 5), f"4 pictures and 5 classes: your shape is {answer.shape}."
alone = logits(small_keras, small_images[:1])
assert np.abs(alone - answer[:1]).max() < 1e-5, (
    "The first picture has other logits alone than among others. Which layer looks at the whole batch?"
)
assert np.abs(answer - small_logits).max() < 1e-5, (
    f"PyTorch's logits differ by up to {np.abs(answer - small_logits).max():.2g}. If the test of "
    "load_into has passed, the weights are right. What about the axes of the pictures?"
)


# %% [markdown]
# ## Task 6: `largest_difference`
#
# The proof of a port: the largest absolute difference between the logits of a PyTorch network and
# of a Keras network for the same pictures, as one number. Pictures come in PyTorch's layout.
#
# - The PyTorch network may come in training mode. Compare in eval mode, and give it back in the
#   mode in which it came, with all its numbers as they were.
# - A check must not be blind. If any of the logits is NaN ("not a number"), the answer must be NaN.


# %% answer="largest_difference"
def largest_difference(model_torch, model_keras, images):
    """The largest absolute difference of the logits of two networks."""
    ### BEGIN SOLUTION
    was_training = model_torch.training
    model_torch.eval()
    with torch.no_grad():
        theirs = model_torch(torch.from_numpy(images)).numpy()
    model_torch.train(was_training)
    return float(np.abs(theirs - logits(model_keras, images)).max())
    ### END SOLUTION


# %% test="largest_difference" points=3
gap = largest_difference(small_torch, small_keras, small_images)
assert np.ndim(gap) == 0 and gap >= 0, f"Return one number that is not negative, not {gap!r}."
assert gap < 1e-5, f"These two networks are equal, and you say {gap}."

shifted_arrays = {name: array.copy() for name, array in small_arrays.items()}
shifted_arrays["fc.bias"][2] += 0.75
shifted = lively_torch(small, shifted_arrays)
gap = largest_difference(shifted, small_keras, small_images)
assert abs(gap - 0.75) < 1e-4, (
    f"One bias of the PyTorch network is larger by 0.75, so the logits of one class are. You say "
    f"{gap}. Take the largest difference, not the mean."
)
shifted_arrays["fc.bias"][2] -= 1.5
gap = largest_difference(lively_torch(small, shifted_arrays), small_keras, small_images)
assert abs(gap - 0.75) < 1e-4, (
    f"One bias of the PyTorch network is smaller by 0.75, and you say {gap}. Think of the sign."
)
shifted.train()
kept = {name: tensor.clone() for name, tensor in shifted.state_dict().items()}
gap = largest_difference(shifted, small_keras, small_images)
assert abs(gap - 0.75) < 1e-4, (
    f"In training mode you say {gap}: BatchNorm must not look at the batch while you compare."
)
assert shifted.training, "The network came in training mode, and you gave it back in eval mode."
changed = [name for name, tensor in shifted.state_dict().items() if not tensor.equal(kept[name])]
assert not changed, f"You changed {changed[:2]} of the PyTorch network."
shifted_arrays["fc.bias"][2] = np.nan
gap = largest_difference(lively_torch(small, shifted_arrays), small_keras, small_images)
assert np.isnan(gap), (
    f"All logits of one class are NaN in PyTorch, and you say {gap}. How do your functions treat NaN?"
)


# %% [markdown]
# ## Task 7: `port`
#
# Put it together: from a checkpoint file to a Keras network that is ready to predict. The file does
# not say which network it holds. The names and the shapes do: find `depths`, `widths`,
# `in_channels` and `num_classes` from the arrays, and build the network that fits. There are always
# three stages, each with one block or more. A stage may have more than ten blocks.


# %% answer="port"
def port(path):
    """The Keras network that a checkpoint file holds."""
    ### BEGIN SOLUTION
    arrays = read_checkpoint(path)
    depths, widths = [], []
    for stage in ("layer1", "layer2", "layer3"):
        blocks = {name.split(".")[1] for name in arrays if name.startswith(f"{stage}.")}
        depths.append(len(blocks))
        widths.append(arrays[f"{stage}.0.conv1.weight"].shape[0])
    in_channels = arrays["conv1.weight"].shape[1]
    num_classes = arrays["fc.weight"].shape[0]
    model = build_keras(depths, widths, in_channels, num_classes)
    load_into(model, arrays)
    return model
    ### END SOLUTION


# %% test="port" points=3
prefixed = {f"module.{name}": torch.from_numpy(array) for name, array in small_arrays.items()}
torch.save({"epoch": 2, "state_dict": prefixed}, folder / "small.pth")
model_keras = port(folder / "small.pth")
assert isinstance(model_keras, keras.Model), (
    f"Return the Keras network, not a {type(model_keras).__name__}."
)
gap = np.abs(
    np.asarray(model_keras(small_images.transpose(0, 2, 3, 1), training=False)) - small_logits
).max()
assert gap < 1e-5, f"Your port of the small network is off by up to {gap:.2g}."

model_keras = port("checkpoint.pth")
right = int((logits(model_keras, images).argmax(axis=1) == labels).sum())
print(right, "of 360 digits right")
assert right == 359, (
    f"Your port reads {right} of 360 digits; in PyTorch the network reads 359. Do the tests of the "
    "tasks above pass?"
)
digits_network = {
    "depths": [1, 1, 1],
    "widths": [16, 32, 64],
    "in_channels": 1,
    "num_classes": 10,
}
model_torch = lively_torch(digits_network, read_checkpoint("checkpoint.pth"))
gap = largest_difference(model_torch, model_keras, images)
print(f"the logits differ by up to {gap:.0e}")
assert gap < 1e-4, f"The logits for the digits are off by up to {gap:.2g}."


# %% [markdown]
# ## Task 8: `what_gets_through`
#
# `load_into` refuses wrong names and wrong shapes. Name **two** mistakes in a port that it lets
# through all the same. For each, say why names and shapes fit, and which number shows the mistake:
# the largest difference of the logits, the number of digits read right, or both. One of your two
# must be a mistake that only **one** of these numbers can show.

# %% [markdown] written="what_gets_through" points=2
# **Height and width of the kernels exchanged.** A 3x3 kernel has the same shape afterwards, and its
# name is the same. The largest difference shows it at once. The number of digits read right falls,
# too.
#
# **The pictures prepared in another way**, for example pixels from 0 to 16 as they are. The arrays
# are right, so `load_into` has nothing to refuse. Both networks get the same wrong pictures and
# give the same wrong logits: the largest difference stays tiny. Only the number of digits read
# right shows it.
#
# (Also right: gamma and beta exchanged, mean and variance exchanged, input and output channels
# exchanged where both are equal: names and shapes fit, and the largest difference shows it. Or
# another epsilon in Keras' BatchNorm, which is no array at all: the largest difference shows it,
# and the number of digits read right may stay the same.)
