# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 7. Reading two summaries
#
# *What `print(model)` and `model.summary()` say, what neither says, and why ResNet-50 has five
# sizes.*
#
# **After this tutorial you can**
#
# - read PyTorch's printout and Keras' summary line by line, and name what each of them leaves out,
# - get the shape after every PyTorch layer with a few lines of code,
# - find the shortcut in a Keras summary, and say in which kind of model it can be found at all,
# - explain 25,557,032, 25,583,592, 25,610,152 and 25,636,712, down to the last parameter.
#
# **Time:** about 60 minutes to work through; the cells run in under a minute.
#
# **You need** the residual block (tutorial 5), BatchNorm's moving statistics (tutorial 4), and the
# stages of a ResNet (tutorial 6).

# %%
# Set-up: installs the package where it is missing (as on Colab); in a clone, from the clone.
import importlib.util
from pathlib import Path

if importlib.util.find_spec("resnet_torch") is None:
    home = next((p for p in Path.cwd().parents if (p / "resnet_torch").is_dir()), "resnet-twins")
    get_ipython().run_line_magic("pip", f'install -q "{home}[all,notebooks]"')

# %%
# %matplotlib inline
import os
import subprocess
import sys
import warnings

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import HTML
from torch import nn

import resnet_tf  # brings Keras, without TensorFlow's messages at the start
import resnet_torch
import keras
from keras import layers
from shared.networks import get_spec
from shared.twins import compare
from shared.base import BLUE, GREEN, GREY, ORANGE
from shared.networks import count_parameters

# %% [markdown]
# ## PyTorch: `print(model)`
#
# We look at a small network, `resnet8_digits`: a stem, and three stages of one block each. This is
# the printout of its second stage.

# %%
torch_model = resnet_torch.create_model("resnet8_digits", seed=0).eval()
print(str(torch_model.layer2).replace("  ", " "))  # with half of the indentation

# %% [markdown]
# Line by line:
#
# - `Sequential(` is the class of the stage, and `(0): BasicBlock(` its first entry, a block. The word
#   in round brackets is the **name** of the attribute. Put the names together, with points between
#   them, and you have the names of the weights: `layer2.0.conv1.weight`.
# - `Conv2d(16, 32, kernel_size=(3, 3), stride=(2, 2), ...)`: 16 channels in, 32 out. A stride is
#   always shown, also a stride of 1. A padding is shown only if there is one: the 1×1 convolution
#   in `downsample` has none.
# - `BatchNorm2d(32, eps=1e-05, momentum=0.1, ...)`: 32 channels. `affine` means that it has a gamma
#   and a beta, `track_running_stats` that it keeps a running mean and variance.
# - `downsample` is the shortcut, here a projection.
#
# What is **not** there: shapes, numbers of parameters, the addition, and the order in which things
# happen. A printout shows the objects that `__init__` made. It knows nothing about `forward`.
#
# Here are two networks. They are made of the same parts, and one of them forgets its shortcut. A
# third part is made, and never used.
#
# **Predict before you run the next cell** (exercise 1): can you see the difference between the two
# networks in the printouts? Is the part that is never used printed? Are its weights counted?


# %%
class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 10)  # used last
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.never_used = nn.Linear(100, 100)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (N, 8, H, W)
        x = torch.relu(self.conv1(x) + x)  # (N, 8, H, W)
        return self.fc(x.mean((2, 3)))  # (N, 10)


class Forgetful(Small):
    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (N, 8, H, W)
        x = torch.relu(self.conv1(x))  # no shortcut
        return self.fc(x.mean((2, 3)))  # (N, 10)


torch.manual_seed(0)
small, forgetful = Small(), Forgetful()
forgetful.load_state_dict(small.state_dict())  # the same weights, without complaint
print(small)

x = torch.randn(2, 8, 4, 4)
with torch.no_grad():
    a, b = small(x), forgetful(x)
same_print = str(small) == str(forgetful).replace("Forgetful", "Small")
print("\nsame printout, but for the class name:", same_print)
print("same logits:", torch.allclose(a, b))
print(f"parameters: {sum(p.numel() for p in small.parameters()):,}, 10,100 of them never used")
assert a.shape == b.shape == (2, 10)
assert same_print and not torch.allclose(a, b)
assert sum(p.numel() for p in small.never_used.parameters()) == 10_100

small(x).sum().backward()
print("gradient of the part that is never used:", small.never_used.weight.grad)
assert small.never_used.weight.grad is None and small.conv1.weight.grad is not None

# %% [markdown]
# The printouts are equal. `fc` stands first, because it was made first. The part that is never used
# is printed, its weights are counted and saved, and an optimiser would get them. The only trace of
# the mistake is a gradient that is `None`.
#
# ### Shapes, with a hook
#
# To see what happens in `forward`, a layer must *run*. A **forward hook** is a function of yours,
# which PyTorch calls whenever the layer has run. So send one picture through, and note what comes
# by:


# %%
def shapes_torch(model: nn.Module, x: torch.Tensor) -> list[tuple]:
    """(name, class, shape, parameters) of every layer without parts, in the order of computation."""
    rows, handles = [], []
    for name, module in model.named_modules():
        if list(module.children()):
            continue  # a block or a stage: its parts report themselves

        def note(module: nn.Module, inputs: tuple, output: torch.Tensor, name: str = name) -> None:
            parameters = sum(p.numel() for p in module.parameters())
            rows.append((name, type(module).__name__, tuple(output.shape), parameters))

        handles.append(module.register_forward_hook(note))
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return rows


for name, kind, shape, parameters in shapes_torch(torch_model, torch.zeros(1, 1, 8, 8))[:18]:
    print(f"{name:22} {kind:12} {shape!s:17} {parameters:6,}")

rows = {name: shape for name, _, shape, _ in shapes_torch(torch_model, torch.zeros(1, 1, 8, 8))}
assert rows["conv1"] == (1, 16, 8, 8)
assert rows["layer2.0.conv1"] == rows["layer2.0.downsample.0"] == (1, 32, 4, 4)
assert rows["fc"] == (1, 10)
assert [row[0] for row in shapes_torch(small, x)] == ["conv1", "fc"]  # never_used never came by

# %% [markdown]
# That is the order of computation, and `layer1.0.downsample`, the identity, is a row as well. But the
# addition still is not there. In PyTorch it is a plain `+`, and no hook can be put on a `+`.
#
# ## Keras: `model.summary()`
#
# Keras prints more: shapes, parameters, and for a *functional* model, what each layer is connected
# to. The summary is long, so we keep it as text, leave out the lines between the rows, and show a
# part.


# %%
def summary(model: keras.Model, first: str = "", last: str = "") -> str:
    """The text of `model.summary()`, from the row that has `first` in it to the row that has `last`."""
    columns = {"COLUMNS": "95", "JUPYTER_COLUMNS": "95"}  # rich, which draws it, asks for these
    before = {name: os.environ.get(name) for name in columns}
    os.environ.update(columns)
    parts: list[str] = []
    model.summary(line_length=95, print_fn=lambda text, **_: parts.append(text))
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
    lines = [line.rstrip() for line in "\n".join(parts).splitlines() if not line.startswith("├")]
    if first:
        start = next(i for i, line in enumerate(lines) if f"│ {first} " in line)
        end = next(i for i, line in enumerate(lines) if f"│ {last} " in line)
        lines = [*lines[:4], "  ...", *lines[start : end + 1], "  ...", *lines[-4:]]
    return "\n".join(line for line in lines if line)


keras_model = resnet_tf.create_model("resnet8_digits", seed=0)
text = summary(keras_model, "relu1", "layer2.0.relu2")
print(text)
assert max(len(line) for line in text.splitlines()) <= 100

# %% [markdown]
# Column by column:
#
# - **Layer (type)**: the name that we gave, and the class in brackets. A long one goes over two
#   lines.
# - **Output Shape**: `None` is the number of images, which the graph leaves open. Then height, width,
#   channels.
# - **Param #**: 2,304 = 3 · 3 · 16 · 16 for a 3×3 kernel without bias. A BatchNorm of 16 channels has
#   64: gamma, beta, moving mean and moving variance. PyTorch counts 32 for the same layer!
# - **Connected to**: where the input comes from. `layer1.0.add` has **two** entries: this is the
#   shortcut, in print. One entry is `bn2`, the other is `relu1`, from in front of the block. A name
#   that is too long for its column ends with `…`.
#
# Two rows have no counterpart in PyTorch. `layer2.0.conv1.pad` does what PyTorch's `padding=1` does
# (tutorial 3). And the addition is a layer. Note also the place of `downsample.0`: between `conv2`
# and `bn2`. Keras sorts the rows by their place in the graph, not by the order in which you wrote
# them.
#
# Below the table stand three totals. Let us check all three from the layers themselves:


# %%
def count(variables: list) -> int:
    return sum(int(np.prod(v.shape)) for v in variables)


total = count(keras_model.weights)
trainable = count(keras_model.trainable_weights)
moving = count(keras_model.non_trainable_weights)
parameters = sum(p.numel() for p in torch_model.parameters())
print(f"Keras:   total {total:,} = trainable {trainable:,} + non-trainable {moving:,}")
print(f"PyTorch: parameters {parameters:,}")
assert total == trainable + moving and trainable == parameters == 77_754 and moving == 672
assert keras_model.get_layer("layer1.0.add").output.shape == (None, 8, 8, 16)
names = [layer.name for layer in keras_model.layers]
assert names.index("layer2.0.conv2") + 1 == names.index("layer2.0.downsample.0")
for words in ("Total params: 78,426", "Trainable params: 77,754", "Non-trainable params: 672"):
    assert words in text

# %% [markdown]
# ## Three ways to write a Keras model, three summaries
#
# How much a summary shows depends on how the model was written. Here is one small residual network,
# three times. First as a **subclass**: a layer class for the block, a model class for the network. It
# looks most like PyTorch.


# %%
class BlockLayer(layers.Layer):
    def __init__(self, channels: int, **options) -> None:
        super().__init__(**options)
        self.conv1 = layers.Conv2D(channels, 3, padding="same", use_bias=False)
        self.bn1 = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
        self.conv2 = layers.Conv2D(channels, 3, padding="same", use_bias=False)
        self.bn2 = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)

    def call(self, x, training=None):  # (N, H, W, C)
        out = keras.ops.relu(self.bn1(self.conv1(x), training=training))
        out = self.bn2(self.conv2(out), training=training)
        return keras.ops.relu(out + x)


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__(name="subclassed")
        self.conv1 = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv1")
        self.block = BlockLayer(8, name="block")
        self.never_used = layers.Dense(100, name="never_used")
        self.avgpool = layers.GlobalAveragePooling2D(name="avgpool")
        self.fc = layers.Dense(10, name="fc")

    def call(self, x, training=None):  # (N, H, W, 1)
        x = self.block(self.conv1(x), training=training)  # (N, H, W, 8)
        return self.fc(self.avgpool(x))  # (N, 10)


subclassed = Subclassed()
fresh_text = summary(subclassed)
print(fresh_text)
assert fresh_text.count("?") == 5 and fresh_text.count("(unbuilt)") == 4

# %% [markdown]
# Nothing is known yet: `?` for each shape, `0 (unbuilt)` for each layer that will have weights. A
# Keras layer makes its weights when it first sees an input, because only then it knows the
# channels. Now send one picture through:

# %%
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    logits = subclassed(np.zeros((1, 8, 8, 1), "float32"))
print("Keras warns:", "unbuilt state" in str(caught[0].message))
called_text = summary(subclassed)
print(called_text)
print("\nlogits", tuple(logits.shape))
assert logits.shape == (1, 10)
assert "(1, 8, 8, 8)" in called_text and called_text.count("?") == 3
assert called_text.count("(unbuilt)") == 1

# %% [markdown]
# The weights are there now, and all numbers of parameters but one. The layer that is never used
# stays **unbuilt**, and Keras warns that the model "looks like it has unbuilt state". Here Keras
# does tell you what PyTorch hides. Two layers have a shape, `conv1` and `fc`, and it starts with
# the 1 of our one picture. The shapes of the block and of `avgpool` stay `?`, although they did
# run. There is no column "Connected to", and the block is one row. What happens inside `call` is
# Python code, and a summary does not read code.
#
# The second way is a **Sequential of blocks**, with an `Input` at its start. The third is a
# **functional** graph.

# %%
sequential = keras.Sequential(
    [
        keras.Input((8, 8, 1)),
        layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv1"),
        BlockLayer(8, name="block"),
        layers.GlobalAveragePooling2D(name="avgpool"),
        layers.Dense(10, name="fc"),
    ],
    name="sequential",
)
sequential_text = summary(sequential)
print(sequential_text)
assert "?" not in sequential_text and "Connected to" not in sequential_text
assert sequential.get_layer("block").output.shape == (None, 8, 8, 8)

# %%
inputs = keras.Input((8, 8, 1), name="input")
x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv1")(inputs)
out = layers.Conv2D(8, 3, padding="same", use_bias=False, name="block.conv1")(x)
out = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="block.bn1")(out)
out = layers.ReLU(name="block.relu1")(out)
out = layers.Conv2D(8, 3, padding="same", use_bias=False, name="block.conv2")(out)
out = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="block.bn2")(out)
out = layers.ReLU(name="block.relu2")(layers.Add(name="block.add")([out, x]))
out = layers.GlobalAveragePooling2D(name="avgpool")(out)
functional = keras.Model(inputs, layers.Dense(10, name="fc")(out), name="functional")
functional_text = summary(functional)
print(functional_text)

assert "?" not in functional_text and "Connected to" in functional_text
assert functional.output.shape == (None, 10)
at = functional_text.index("block.add (Add)")
assert "block.bn2[0][0]" in functional_text[at : at + 200]  # one entry
assert "conv1[0][0]" in functional_text[at : at + 200]  # the other one
totals = [count(model.weights) for model in (subclassed, sequential, functional)]
print("\ntotals of the three:", totals)
assert totals == [1_378] * 3

# %% [markdown]
# It is the same network three times, with the same 1,378 numbers:
#
# | | subclass | Sequential of blocks | functional |
# | --- | --- | --- | --- |
# | shapes | some, after the first call | all | all |
# | inside of a block | hidden | hidden | visible |
# | the shortcut | hidden | hidden | two entries in "Connected to" |
# | a layer that is never used | shown as unbuilt | cannot happen | not in the model at all |
#
# That is why the twins of this package are functional. (All this is Keras 3.15. Older versions draw
# other summaries. In older texts you also meet the word `multiple` as a shape.)
#
# One more trap. A layer may be used twice in a graph. It then has *one* row with *one* shape,
# although it worked on two:

# %%
inputs = keras.Input((8, 8, 4), name="input")
relu = layers.ReLU(name="relu")  # one layer, two places
x = relu(inputs)  # (N, 8, 8, 4)
x = layers.Conv2D(16, 3, 2, padding="same", use_bias=False, name="conv")(x)  # (N, 4, 4, 16)
shared_text = summary(keras.Model(inputs, relu(x), name="shared_relu"))
print(shared_text)
assert shared_text.count("relu (ReLU)") == 1 and "conv[0][0]" in shared_text

# %% [markdown]
# In the row of `relu` you see the shape of the second place only. This package makes a ReLU of its
# own for each place, so that each has its row.
#
# ## Why ResNet-50 has five sizes
#
# Ask the internet how many parameters ResNet-50 has, and you find 25,557,032, and 25,583,592, and
# 25,636,712. All of them are right. We count them from real networks: PyTorch's, the Keras twin, and
# the ResNet-50 that comes with Keras (`keras.applications`).

# %%
torch_50 = resnet_torch.create_model(get_spec("resnet50"))
keras_50 = resnet_tf.create_model("resnet50")
stock_50 = keras.applications.ResNet50(weights=None)  # builds it, downloads nothing

norms = [m for m in torch_50.modules() if isinstance(m, nn.BatchNorm2d)]
counted = {
    "PyTorch: parameters": sum(p.numel() for p in torch_50.parameters()),
    "PyTorch: running means and variances": sum(2 * m.num_features for m in norms),
    "PyTorch: numbers in state_dict": sum(t.numel() for t in torch_50.state_dict().values()),
    "Keras twin: trainable": count(keras_50.trainable_weights),
    "Keras twin: total": keras_50.count_params(),
    "keras.applications: trainable": count(stock_50.trainable_weights),
    "keras.applications: non-trainable": count(stock_50.non_trainable_weights),
    "keras.applications: total": stock_50.count_params(),
}
for what, number in counted.items():
    print(f"{what:38} {number:10,}")
assert list(counted.values()) == [
    25_557_032,
    53_120,
    25_610_205,
    25_557_032,
    25_610_152,
    25_583_592,
    53_120,
    25_636_712,
]

# %% [markdown]
# Two things differ, and they are independent of each other.
#
# **1. Who counts the moving statistics?** Each BatchNorm keeps a moving mean and a moving variance,
# one number each for each channel. No gradient changes them. PyTorch calls them *buffers*, and does
# not count them as parameters. Keras puts them into "Total params", and calls them non-trainable.
# In ResNet-50 they are 53,120.
#
# **2. Who has a bias in front of a BatchNorm?** PyTorch's `resnet50` has none. The one in
# `keras.applications` has: one number for each channel that any convolution outputs.

# %%
convolutions = [layer for layer in stock_50.layers if isinstance(layer, layers.Conv2D)]
biases = sum(int(layer.bias.shape[0]) for layer in convolutions)
stock_norms = [layer for layer in stock_50.layers if isinstance(layer, layers.BatchNormalization)]
statistics = sum(count([layer.moving_mean, layer.moving_variance]) for layer in stock_norms)
print(f"{len(convolutions)} convolutions have {biases:,} biases")
print(f"{len(stock_norms)} BatchNorms have {statistics:,} moving numbers, twice as many")
assert all(layer.use_bias for layer in convolutions) and len(convolutions) == len(stock_norms) == 53
assert not any(m.bias is not None for m in torch_50.modules() if isinstance(m, nn.Conv2d))
assert (biases, statistics) == (26_560, 53_120) and statistics == 2 * biases
assert 25_557_032 + 53_120 == 25_610_152
assert 25_557_032 + 26_560 == 25_583_592
assert 25_557_032 + 26_560 + 53_120 == 25_636_712
assert count_parameters(get_spec("resnet50_keras")) == 25_583_592  # it is in the table, too

# %% [markdown]
# It is no accident that one is twice the other: after each convolution stands one BatchNorm, with
# one mean and one variance for each channel, where the convolution has one bias.
#
# The fifth size is that of the `state_dict`: 25,610,205. It has 53 numbers more than Keras' total.
# PyTorch's BatchNorm also counts how many batches it has seen, in `num_batches_tracked`: one number
# for each of the 53 BatchNorms.

# %%
counters = [name for name in torch_50.state_dict() if name.endswith("num_batches_tracked")]
print(len(counters), "counters, the first is", counters[0])
assert len(counters) == 53 and 25_610_152 + 53 == 25_610_205
assert all(torch_50.state_dict()[name].shape == () for name in counters)

# %% tags=["cover"]
figure, axes = plt.subplots(figsize=(9, 4.4))
BASE, BIASES, MOVING = 25_557_032, 26_560, 53_120
WATERFALL = (
    ("PyTorch: parameters\nKeras twin: trainable", [(BASE, BLUE, "")]),
    ("keras.applications:\ntrainable", [(BASE, BLUE, ""), (BIASES, ORANGE, "//")]),
    ("Keras twin: total", [(BASE, BLUE, ""), (MOVING, GREEN, "..")]),
    (
        "PyTorch: state_dict\n(with 53 counters)",
        [(BASE, BLUE, ""), (MOVING, GREEN, ".."), (53, GREY, "")],
    ),
    (
        "keras.applications:\ntotal",
        [(BASE, BLUE, ""), (BIASES, ORANGE, "//"), (MOVING, GREEN, "..")],
    ),
)
for row, (_, parts) in enumerate(WATERFALL):
    left = 0
    for size, colour, hatch in parts:
        axes.barh(row, size, 0.6, left=left, color=colour, hatch=hatch, edgecolor="white")
        if colour in (ORANGE, GREEN):
            look = {"ha": "center", "va": "center", "fontsize": 9}
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
            axes.text(left + size / 2, row, f"+{size:,}", bbox=box, **look)
        left += size
    axes.text(left + 1_500, row, f"{left:,}", va="center", fontweight="bold")
for size, colour, hatch, label in (
    (0, BLUE, "", "kernels, gammas, betas, last layer"),
    (0, ORANGE, "//", "a bias in each convolution"),
    (0, GREEN, "..", "moving means and variances"),
):
    axes.barh(0, size, color=colour, hatch=hatch, edgecolor="white", label=label)
axes.set_yticks(range(len(WATERFALL)), [label for label, _ in WATERFALL])
axes.invert_yaxis()
axes.set(
    xlim=(25_530_000, 25_665_000),
    xlabel="numbers (millions); the axis does not start at zero",
    title="One network, five sizes: ResNet-50",
)
axes.set_xticks([25.54e6, 25.56e6, 25.58e6, 25.6e6, 25.62e6, 25.64e6])
axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:.2f}")
axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, -0.16), ncols=3)
axes.spines[["top", "right"]].set_visible(False)
plt.show()
print(f"the largest against the smallest: {(BASE + BIASES + MOVING) / BASE - 1:+.1%}")

# %% [markdown]
# The axis is cut, so that you can see anything at all: the largest size is only 0.3% above the
# smallest.
#
# ### What do the 26,560 biases do?
#
# In training, nothing. A bias adds a constant to a channel, and the BatchNorm after it takes the
# mean of the channel away again. We give a convolution huge biases, and look after the BatchNorm.
# We also ask for their gradient.

# %%
torch.manual_seed(0)
x = torch.randn(4, 8, 10, 10)
with_bias, norm = nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16)  # in training mode
out = norm(with_bias(x))
(out**2 * torch.randn(16, 1, 1)).sum().backward()
kernel_gradient = with_bias.weight.grad.abs().max()
bias_gradient = with_bias.bias.grad.abs().max()
with torch.no_grad():
    with_bias.bias += torch.randn(16) * 10
    out_again = norm(with_bias(x))
print("PyTorch: output equal to 1e-4 after the change:", torch.allclose(out, out_again, atol=1e-4))
print(
    "PyTorch: gradient of the biases below 1e-3 of the kernel's:",
    bool(bias_gradient < 1e-3 * kernel_gradient),
)
assert out.shape == (4, 16, 10, 10)
assert torch.allclose(out, out_again, atol=1e-4)
assert bias_gradient < 1e-3 * kernel_gradient

keras.utils.set_random_seed(0)
conv_keras, norm_keras = layers.Conv2D(16, 3, padding="same"), layers.BatchNormalization()
x_keras = x.numpy().transpose(0, 2, 3, 1)  # (N, H, W, C)
before = np.asarray(norm_keras(conv_keras(x_keras), training=True))
conv_keras.bias.assign(np.linspace(-10, 10, 16))
after = np.asarray(norm_keras(conv_keras(x_keras), training=True))
print("Keras:   output equal to 1e-4 after the change:", np.allclose(before, after, atol=1e-4))
assert before.shape == (4, 10, 10, 16)
assert np.allclose(before, after, atol=1e-4)

# %% [markdown]
# Here are the means of the 16 channels of the Keras layers, before and after the BatchNorm, with
# biases of zero and with the huge ones:

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
channels = np.arange(16)
for axes, what, zero, huge in (
    (left, "after the convolution", np.asarray(conv_keras(x_keras)) - conv_keras.bias, None),
    (right, "after the BatchNorm", before, after),
):
    huge = np.asarray(conv_keras(x_keras)) if huge is None else huge
    for values, colour, mark, size, label in (
        (zero, BLUE, "o-", 8, "biases of 0"),
        (huge, ORANGE, "x--", 6, "biases from −10 to 10"),
    ):
        means = np.asarray(values).mean((0, 1, 2))
        axes.plot(channels, means, mark, ms=size, color=colour, label=label, fillstyle="none")
    axes.set(title=what, xlabel="channel", ylabel="mean of the channel", ylim=(-11, 11))
    axes.grid(alpha=0.3)
left.legend(frameon=False)
plt.show()
assert (
    abs(after.mean((0, 1, 2))).max()
    < 1e-4
    < 9
    < abs(conv_keras(x_keras).numpy().mean((0, 1, 2))).max()
)

# %% [markdown]
# After a BatchNorm the biases are invisible, and their gradient is zero but for rounding. So they
# are 26,560 numbers that cost memory and learn nothing.
#
# ### And 23.5 million?
#
# One more number that you will meet. With `include_top=False` (Keras), or after
# `model.fc = nn.Identity()` (PyTorch), the last layer is gone. It has 2048 · 1000 weights and 1000
# biases: 2,049,000.

# %%
torch_50.fc = nn.Identity()
without_top = sum(p.numel() for p in torch_50.parameters())
stock_without = keras.applications.ResNet50(weights=None, include_top=False)
print(f"PyTorch without fc:             {without_top:,}, {without_top / 1e6:.1f} million")
print(f"keras.applications without top: {stock_without.count_params():,}")
assert without_top == 25_557_032 - 2_049_000 == 23_508_032
assert stock_without.count_params() == 25_636_712 - 2_049_000 == 23_587_712
with torch.no_grad():
    features = torch_50.eval()(torch.zeros(1, 3, 64, 64))
assert features.shape == (1, 2048)

# %% [markdown]
# ## Both summaries in one table
#
# The package does this bookkeeping for you. `compare` builds a network in both frameworks, asks each
# for every layer's shape and size, and puts a tick where they agree with the table. Below stand the
# reasons why other sources give other totals.

# %%
comparison = compare("resnet18", by="stage")
assert comparison.equal and comparison.totals.parameters["torch"] == 11_689_512
HTML(comparison.to_html())

# %% [markdown]
# The same from a terminal is `resnet-twins compare resnet50 --by stage`. A narrow terminal gets a
# narrow table:

# %%
command = [sys.executable, "-c", "from shared.cli.main import main; main()"]
arguments = ["compare", "resnet50", "--by", "stage"]
environment = {**os.environ, "COLUMNS": "95", "PYTHONIOENCODING": "utf-8"}
for name in ("FORCE_COLOR", "CLICOLOR_FORCE"):  # Jupyter asks for colours; plain text is enough
    environment.pop(name, None)
done = subprocess.run(
    command + arguments,
    capture_output=True,
    text=True,
    encoding="utf-8",
    env=environment,
)
print("\n".join(line.rstrip() for line in done.stdout.splitlines()).strip("\n"))
assert done.returncode == 0 and "25,636,712" in done.stdout

# %% [markdown]
# ## Three sentences to remember
#
# 1. `print(model)` shows what `__init__` made; only a run (a hook) or a functional graph (a Keras
#    summary) shows what is computed.
# 2. In a Keras summary a shortcut is a row with two entries under "Connected to", and only a
#    functional model has that column.
# 3. Before you compare two totals, ask two questions: are BatchNorm's moving statistics counted, and
#    do the convolutions have biases?
#
# ## Exercises
#
# Worked solutions: [solutions/07_two_summaries.ipynb](solutions/07_two_summaries.ipynb).
#
# 1. **Predict.** Before you run the cell with `Small` and `Forgetful`: can you see in the printouts
#    which of the two has a shortcut? Is the part that is never used printed, and counted? Then
#    write a function that finds such parts with hooks.
# 2. **ResNet-101.** Work out the four totals of ResNet-101 (with and without biases, with and without
#    moving statistics) from its layer table. Does `keras.applications.ResNet101` agree?
# 3. **An addition that can be seen.** Write a PyTorch block whose addition appears in `print(model)`,
#    and in the list of the hooks. What do you have to do for it?
# 4. **A bug in a summary.** Somebody builds the small functional network with `Add()([out, inputs])`
#    in place of `Add()([out, x])`. Does it run, with pictures of one channel? Where in the summary do
#    you see it?
# 5. **Frozen.** You freeze all layers but the last one, in both frameworks. Which of the three totals
#    of Keras changes? Which of PyTorch's counts does?
