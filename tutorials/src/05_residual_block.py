# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 5. The residual block
#
# *One addition, and the bookkeeping of shapes that makes it possible.*
#
# **After this tutorial you can**
#
# - write the basic block of a ResNet in PyTorch and in Keras, and say the shape after every line,
# - name the three kinds of shortcut (options A, B and C), and what each costs,
# - explain what `out += x` does to memory and to gradients,
# - show that a residual block can be the identity, and why that helps.
#
# **Time:** about 90 minutes to work through; the cells run in under a minute.
#
# **You need** to know what a convolution does to a shape (tutorial 2) and what BatchNorm does
# (tutorial 4).

# %%
# Set-up: installs the package where it is missing (as on Colab); in a clone, from the clone.
import importlib.util
from pathlib import Path

if importlib.util.find_spec("resnet_torch") is None:
    home = next((p for p in Path.cwd().parents if (p / "resnet_torch").is_dir()), "resnet-twins")
    get_ipython().run_line_magic("pip", f'install -q "{home}[all,notebooks]"')

# %%
# %matplotlib inline
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import resnet_tf  # brings Keras, without TensorFlow's messages at the start
import resnet_torch
import keras
from keras import layers
from shared.networks import plot_block
from shared.base import BLUE, GREEN, GREY, ORANGE
from shared.networks import ResNetSpec, count_parameters, get_spec, layer_table

# %% [markdown]
# ## The idea in one line
#
# A stack of layers turns `x` into `f(x)`. A **residual block** turns `x` into `f(x) + x`. The way
# around the layers, which `x` takes, is called the **shortcut**. What the layers have to learn is
# now the *difference* between what comes in and what should come out: the **residual**.
#
# This is the first block of ResNet-18. The grey numbers are the shape after each step, in
# PyTorch's order (C, H, W) and in Keras' order (H, W, C). The block is called `layer1.0`: stage 1,
# and in it block 0, because blocks are counted from 0. A convolution in it is then
# `layer1.0.conv1`.

# %%
plot_block("resnet18", "layer1.0")

# %% [markdown]
# Read it from top to bottom: convolution, BatchNorm, ReLU, convolution, BatchNorm, **then** the
# addition, **then** the last ReLU. The order matters. In two of the exercises it is wrong.
#
# ## Write it twice
#
# First the block whose input and output have the same shape. In PyTorch a block is an `nn.Module`:
# layers are made in `__init__`, and used in `forward`. In the comments at the ends of lines, N is the
# number of images, C the channels that come in, C' those that go out, and s the stride.


# %%
class IdentityBlockTorch(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (N, C, H, W)
        out = torch.relu(self.bn1(self.conv1(x)))  # (N, C, H, W)
        out = self.bn2(self.conv2(out))  # (N, C, H, W)
        return torch.relu(out + x)  # (N, C, H, W)


# %% [markdown]
# In Keras we write a function that is called once, and lays out a graph of layers. `x` is not an
# image yet, but a promise of one: a `KerasTensor` that knows its shape. BatchNorm gets two
# settings, so that it does what PyTorch's does by default (tutorial 4).


# %%
def identity_block_keras(x: keras.KerasTensor) -> keras.KerasTensor:  # (N, H, W, C)
    channels = x.shape[-1]
    out = layers.Conv2D(channels, 3, padding="same", use_bias=False, name="conv1")(x)
    out = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="bn1")(out)
    out = layers.ReLU(name="relu1")(out)
    out = layers.Conv2D(channels, 3, padding="same", use_bias=False, name="conv2")(out)
    out = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="bn2")(out)
    out = layers.Add(name="add")([out, x])  # (N, H, W, C)
    return layers.ReLU(name="relu2")(out)


# %% [markdown]
# Now check the shape: what goes in comes out again, in both frameworks. `eval()` and
# `training=False` tell BatchNorm to use what it has learnt, and not the batch (tutorial 4).

# %%
block_torch = IdentityBlockTorch(channels=64).eval()
inputs = keras.Input((56, 56, 64))
block_keras = keras.Model(inputs, identity_block_keras(inputs))

images = np.random.default_rng(0).standard_normal((2, 56, 56, 64)).astype("float32")  # (N, H, W, C)
images_torch = torch.from_numpy(images.transpose(0, 3, 1, 2))  # (N, C, H, W)
with torch.no_grad():
    out_torch = block_torch(images_torch)
out_keras = block_keras(images, training=False)

print("PyTorch", tuple(images_torch.shape), "->", tuple(out_torch.shape))
print("Keras  ", images.shape, "->", tuple(out_keras.shape))
assert out_torch.shape == (2, 64, 56, 56)
assert out_keras.shape == (2, 56, 56, 64)

# %% [markdown]
# The same shape is not yet the same function: each framework drew its own random weights. Give
# Keras PyTorch's kernels, and the outputs agree. (Fresh BatchNorms are equal in both: gamma 1, beta
# 0.) A kernel is (out, in, height, width) in PyTorch and (height, width, in, out) in Keras
# (tutorial 2).

# %%
for name in ("conv1", "conv2"):
    kernel = getattr(block_torch, name).weight.detach().numpy()  # (out, in, height, width)
    block_keras.get_layer(name).kernel.assign(kernel.transpose(2, 3, 1, 0))

out_keras = np.asarray(block_keras(images, training=False)).transpose(0, 3, 1, 2)  # (N, C, H, W)
difference = np.abs(out_keras - out_torch.numpy()).max()
print("equal to 1e-5:", difference < 1e-5)
assert difference < 1e-5

# %% [markdown]
# ## When the shapes differ
#
# Between two stages a ResNet halves the height and the width, and doubles the channels. Then `f(x)`
# and `x` cannot be added any more:

# %%
narrow = torch.zeros(2, 64, 56, 56)
wide = nn.Conv2d(64, 128, 3, stride=2, padding=1)(narrow)
print("x   ", tuple(narrow.shape))
print("f(x)", tuple(wide.shape))
try:
    wide + narrow
except RuntimeError as error:
    print("RuntimeError:", error)
assert wide.shape == (2, 128, 28, 28)

# %% [markdown]
# The paper (He et al. 2015, "Deep Residual Learning for Image Recognition", arXiv:1512.03385,
# section 3.3 and Table 3) tries three remedies:
#
# | option | where shapes change | elsewhere |
# | --- | --- | --- |
# | **A** | take every second pixel, and fill the new channels with zeros | identity |
# | **B** | a 1×1 convolution with stride 2, then BatchNorm: a **projection** | identity |
# | **C** | projection | projection |
#
# Option A has no parameters at all. The paper uses it for its CIFAR networks, and B for the deep
# ImageNet networks. Here are A and B, at the first block of the second stage:

# %%
plot_block("resnet20_cifar", "layer2.0")

# %% tags=["cover"]
plot_block("resnet18", "layer2.0")

# %% [markdown]
# Let us write both shortcuts by hand. Option A is a slice and a padding. In Keras we take every
# second pixel with a pooling layer of size 1: it does what the slice `x[:, ::2, ::2, :]` does, and
# shows in `summary()` as a layer of its own. Half of the zeros go before the old channels and half
# after them, as in the best-known CIFAR checkpoints. Any other place works as well, if it is the
# same in both.


# %%
def option_a_torch(x: torch.Tensor, channels: int) -> torch.Tensor:  # (N, C, H, W)
    x = x[:, :, ::2, ::2]  # (N, C, H/2, W/2)
    extra = channels - x.shape[1]
    # pad counts from the last axis: W, then H, then C
    return nn.functional.pad(x, (0, 0, 0, 0, extra // 2, extra - extra // 2))


def option_a_keras(x: keras.KerasTensor, channels: int) -> keras.KerasTensor:  # (N, H, W, C)
    x = layers.AveragePooling2D(pool_size=1, strides=2)(x)  # (N, H/2, W/2, C)
    extra = channels - x.shape[-1]
    # here pad counts from the first axis: N, H, W, C
    return keras.ops.pad(x, ((0, 0), (0, 0), (0, 0), (extra // 2, extra - extra // 2)))


small = np.arange(2 * 4 * 4 * 2, dtype="float32").reshape(2, 4, 4, 2)  # (N, H, W, C)
a_torch = option_a_torch(torch.from_numpy(small.transpose(0, 3, 1, 2)), 4)
a_keras = option_a_keras(small, 4)
print("PyTorch", tuple(a_torch.shape), " Keras", tuple(a_keras.shape))
assert a_torch.shape == (2, 4, 2, 2)
assert a_keras.shape == (2, 2, 2, 4)
assert np.array_equal(a_torch.numpy(), np.asarray(a_keras).transpose(0, 3, 1, 2))
print("channels that hold only zeros:", [c for c in range(4) if not a_torch[:, c].any()])

# %% [markdown]
# Now a whole block with a projection (option B). It is the block above with two changes. The first
# convolution has a stride and outputs more channels, to which everything after it is fitted. And
# the shortcut is a small network of its own, called `downsample`, as in most code that you will
# meet. `nn.Sequential` numbers its layers, so the names are `downsample.0` (the convolution) and
# `downsample.1` (the BatchNorm).


# %%
class ProjectionBlockTorch(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (N, C, H, W)
        out = torch.relu(self.bn1(self.conv1(x)))  # (N, C', H/s, W/s)
        out = self.bn2(self.conv2(out))  # (N, C', H/s, W/s)
        return torch.relu(out + self.downsample(x))  # (N, C', H/s, W/s)


# %% [markdown]
# In Keras one line is different from what you may expect. `padding="same"` with a stride of 2 pads
# only at the bottom and at the right, and so reads *other pixels* than PyTorch (that is tutorial
# 3). We pad by hand, on all four sides, and then say `"valid"`. Names of layers must differ within
# a Keras model, so each block gets a name of its own, which stands in front.


# %%
def projection_block_keras(
    x: keras.KerasTensor, out_channels: int, stride: int, name: str
) -> keras.KerasTensor:  # (N, H, W, C)
    def conv(kernel_size: int, stride: int, padding: str, layer: str) -> layers.Layer:
        options = {"padding": padding, "use_bias": False, "name": f"{name}.{layer}"}
        return layers.Conv2D(out_channels, kernel_size, stride, **options)

    def norm(layer: str) -> layers.Layer:
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}.{layer}")

    out = layers.ZeroPadding2D(1)(x)  # (N, H + 2, W + 2, C)
    out = conv(3, stride, "valid", "conv1")(out)  # (N, H/s, W/s, C')
    out = layers.ReLU()(norm("bn1")(out))
    out = norm("bn2")(conv(3, 1, "same", "conv2")(out))  # (N, H/s, W/s, C')
    short = conv(1, stride, "valid", "downsample.0")(x)  # (N, H/s, W/s, C')
    short = norm("downsample.1")(short)
    return layers.ReLU()(layers.Add()([out, short]))


# %%
torch.manual_seed(0)
block_torch = ProjectionBlockTorch(64, 128, stride=2).eval()
inputs = keras.Input((56, 56, 64))
block_keras = keras.Model(inputs, projection_block_keras(inputs, 128, 2, name="layer2.0"))

for name, layer in block_torch.named_modules():
    if isinstance(layer, nn.Conv2d):
        kernel = layer.weight.detach().numpy().transpose(2, 3, 1, 0)
        block_keras.get_layer(f"layer2.0.{name}").kernel.assign(kernel)

with torch.no_grad():
    out_torch = block_torch(images_torch).numpy()
out_keras = np.asarray(block_keras(images, training=False)).transpose(0, 3, 1, 2)
print("PyTorch", tuple(images_torch.shape), "->", out_torch.shape)
print("equal to 1e-5:", np.abs(out_keras - out_torch).max() < 1e-5)
assert out_torch.shape == out_keras.shape == (2, 128, 28, 28)
assert np.abs(out_keras - out_torch).max() < 1e-5

# %% [markdown]
# ### What the options cost
#
# A projection from C to C' channels has C · C' weights, and a gamma and a beta for each of the C'
# new channels. At every pixel it multiplies and adds C · C' times. By hand, for the three
# projections of ResNet-18:

# %%
changes = [(64, 128), (128, 256), (256, 512)]
by_hand = sum(c_in * c_out + 2 * c_out for c_in, c_out in changes)
print(f"{by_hand:,} parameters")
assert by_hand == 173_824

# %% [markdown]
# In this package every network is one row of a table (tutorial 6), and the option is one field of
# the row. So the price of each option is one sum, and no network has to be built.

# %%
price = {option: get_spec("resnet18", shortcut=option) for option in "ABC"}
for option, spec in price.items():
    inside = [row for row in layer_table(spec) if ".downsample" in row.name]
    parameters = sum(row.parameters for row in inside)
    macs = sum(row.macs for row in inside)
    print(
        f"option {option}: {count_parameters(spec):,} parameters,"
        f" {parameters:,} of them in shortcuts, {macs / 1e6:.1f} million multiply-adds in shortcuts"
    )
assert count_parameters(price["B"]) == 11_689_512

# %%
figure, axes = plt.subplots(figsize=(6.5, 3))
totals = [count_parameters(spec) / 1e6 for spec in price.values()]
rest = totals[0]
axes.barh(list(price), [rest] * 3, color=GREY, label="all but the shortcuts")
axes.barh(
    list(price),
    [total - rest for total in totals],
    left=rest,
    color=BLUE,
    hatch="//",
    edgecolor="white",
    label="shortcuts",
)
axes.invert_yaxis()
axes.set(xlabel="parameters (millions)", ylabel="option", title="ResNet-18 by kind of shortcut")
axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# In the paper's Table 3, B is slightly better than A, and C slightly better than B. The authors
# find the differences too small to matter, and keep the cheap identity wherever shapes allow it.
#
# ## What `out += x` does
#
# Many programs write the addition in place. It saves memory, because `out` is overwritten instead
# of a new tensor being made. Is it safe? The addition itself is: its gradient is 1 for both sides,
# and needs neither value.

# %%
x = torch.randn(2, 3, requires_grad=True)
out = 2 * x
before = out.data_ptr()  # the place in memory
out += x
assert out.data_ptr() == before  # the same place: nothing new was made
out.sum().backward()
print("gradient of 2x + x:", x.grad[0].tolist())
assert (x.grad == 3).all()

# %% [markdown]
# But it is not safe to overwrite a value that somebody else still needs. A ReLU keeps its *output*
# for the backward pass. If that output is changed in place, PyTorch notices, and refuses:

# %%
x = torch.randn(2, 3, requires_grad=True)
activated = torch.relu(x)
activated += x  # overwrites what the ReLU remembers
try:
    activated.sum().backward()
except RuntimeError as error:
    print("RuntimeError:", str(error).split(":")[0])
    refused = True
assert refused

# %% [markdown]
# And in a residual block? There the addition comes after a BatchNorm, which does not need its
# output again. So `out += x` works. Turn `out` and `x` around, as `x += out`, and the block changes
# **its own input**, which the first convolution still needs for its gradient:


# %%
class InPlace(IdentityBlockTorch):
    def __init__(self, channels: int, *, into_x: bool) -> None:
        super().__init__(channels)
        self.into_x = into_x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.into_x:
            x += out
            return torch.relu(x)
        out += x
        return torch.relu(out)


works = {}
for into_x in (False, True):
    block = InPlace(4, into_x=into_x)
    try:
        block(torch.randn(2, 4, 8, 8)).sum().backward()
        works[into_x] = True
    except RuntimeError:
        works[into_x] = False
print("gradients with out += x:", works[False], "  with x += out:", works[True])
assert works == {False: True, True: False}

# %% [markdown]
# In training the mistake is found at once. Without gradients nobody notices: the caller's image has
# changed.

# %%
picture = torch.randn(1, 4, 8, 8)
copy = picture.clone()
with torch.no_grad():
    InPlace(4, into_x=False).eval()(picture)
    assert torch.equal(picture, copy)
    InPlace(4, into_x=True).eval()(picture)
print("is the picture still the same after x += out?", torch.equal(picture, copy))
assert not torch.equal(picture, copy)

# %% [markdown]
# Keras tensors cannot be changed in place. `out += x` there makes a new tensor, and gives it the
# old name. That is why the twins in this package write `out = out + identity`: it means the same in
# both.

# %%
x = keras.ops.ones((1, 4))
kept = x
x += 0.5
print("kept is still", np.asarray(kept).tolist())
assert (np.asarray(kept) == 1).all()

# %% [markdown]
# ## Why a block can be the identity
#
# Suppose that the best thing a block can do is nothing. A plain block must then learn kernels that
# copy their input, through two BatchNorms and a ReLU. A residual block only has to make `f(x)`
# zero.
#
# The last layer of `f` is a BatchNorm, which multiplies by gamma and adds beta. Set both to zero,
# and `f(x)` is zero, whatever the convolutions do.
#
# **Predict before you run the next cell** (exercise 1): the block ends with a ReLU. Is its output
# then equal to `x` for every `x`?

# %%
torch.manual_seed(0)
block = IdentityBlockTorch(channels=64).eval()
nn.init.zeros_(block.bn2.weight)  # gamma; beta is zero from the start
some_x = torch.randn(2, 64, 8, 8)
other_x = torch.relu(some_x)
with torch.no_grad():
    print("some_x:  equal to the output?", torch.equal(block(some_x), some_x))
    print("other_x: equal to the output?", torch.equal(block(other_x), other_x))

# %%
with torch.no_grad():
    assert not torch.equal(block(some_x), some_x)
    assert torch.equal(block(other_x), other_x)
    assert torch.equal(block(some_x), torch.relu(some_x))

# %% [markdown]
# The last ReLU cuts negative numbers off. Inside a network that does not matter: what a block gets
# comes from the ReLU of the block before it, and is never negative. So **every block with an
# identity shortcut is then exactly the identity**. Only the first block of a stage, with its
# projection, still does something. Here is ResNet-34, in both frameworks, with every last gamma at
# zero. The package does this with `zero_init_residual=True`, a trick of Goyal et al. (2017,
# arXiv:1706.02677), who report that it helps, most of all with large batches. `trace` runs a model
# and returns the output of every layer by its name; `from_nhwc` brings images into the order that
# the model wants, as a NumPy array.

# %%
spec = get_spec("resnet34", zero_init_residual=True, num_classes=10, input_size=64)
zero_torch = resnet_torch.create_model(spec, seed=0)
zero_keras = resnet_tf.create_model(spec, seed=0)  # the same seed: the same weights

pictures = np.random.default_rng(1).standard_normal((2, 64, 64, 3)).astype("float32")
seen_torch = resnet_torch.trace(
    zero_torch, resnet_torch.from_nhwc(pictures, zero_torch)
).activations
seen_keras = resnet_tf.trace(zero_keras, resnet_tf.from_nhwc(pictures, zero_keras)).activations

for seen in (seen_torch, seen_keras):  # activations are (N, C, H, W) in both
    for stage, depth in enumerate(spec.depths, start=1):
        first, last = f"layer{stage}.0.relu2", f"layer{stage}.{depth - 1}.relu2"
        assert np.array_equal(seen[first], seen[last])
print("In each stage the last block outputs what the first block outputs, in both frameworks.")

# %% [markdown]
# So at the start of training a ResNet-34 can be as simple as a network with one block per stage. Is
# it stuck there? The branch ends with gamma 0, so no gradient passes gamma on the way back:

# %%
block = IdentityBlockTorch(channels=4)
nn.init.zeros_(block.bn2.weight)
optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
some_x, wanted = torch.randn(8, 4, 8, 8), torch.randn(8, 4, 8, 8)
for step in (1, 2):
    optimizer.zero_grad()
    (block(some_x) - wanted).square().mean().backward()
    have = {name: bool(p.grad.any()) for name, p in block.named_parameters()}
    print(f"step {step}: gradient for", ", ".join(name for name, any_ in have.items() if any_))
    if step == 1:
        assert {name for name, any_ in have.items() if any_} == {"bn2.weight", "bn2.bias"}
    optimizer.step()
assert all(have.values())

# %% [markdown]
# It is not stuck: the first step moves gamma away from zero, and from the second step on everything
# learns. Now let us see how much each block of a fresh network changes its input. `plain34` is the
# same network without shortcuts.


# %%
def change(spec: ResNetSpec) -> list[float]:
    """How much each block changes its input: |output - input| / |input|, where the shapes are equal."""
    model = resnet_torch.create_model(spec, seed=0)
    seen = resnet_torch.trace(model, resnet_torch.from_nhwc(pictures, model)).activations
    before, changes = seen["maxpool"], []
    for stage, depth in enumerate(spec.depths, start=1):
        for number in range(depth):
            after = seen[f"layer{stage}.{number}.relu2"]
            if after.shape == before.shape:
                changes.append(float(np.linalg.norm(after - before) / np.linalg.norm(before)))
            before = after
    return changes


usual = change(get_spec(spec, zero_init_residual=False))
zeroed = change(spec)
plain = change(get_spec("plain34", num_classes=10, input_size=64))
numbers = np.arange(1, len(usual) + 1)

figure, axes = plt.subplots(figsize=(7, 3.6))
axes.plot(numbers, plain, "s--", color=ORANGE, label="plain block: no shortcut")
axes.plot(numbers, usual, "o-", color=BLUE, label="residual block, gamma 1")
axes.plot(numbers, zeroed, "^:", color=GREEN, label="residual block, last gamma 0")
axes.set_xticks(numbers)
axes.set(
    xlabel="block that keeps the shape, from the image on",
    ylabel="|output − input| / |input|",
    title="How much a fresh block changes its input (34 layers)",
    ylim=(-0.1, None),
)
axes.grid(alpha=0.3)
axes.legend(frameon=False)
plt.show()
assert len(numbers) == 13
assert max(zeroed) == 0 < min(usual)
assert usual[-1] < 0.8 * usual[1]  # the later blocks of a residual network change less ...
assert plain[-1] > 0.8 * plain[1]  # ... those of a plain one do not

# %% [markdown]
# A plain block replaces its input by something new, so the change is as large as the input. In a
# residual network, what has been added stays, `x` grows, and a later block adds only a smaller
# part. At the start of a stage its change is as large as a plain block's: with gamma 1 the branch
# is as large as `x`. With gamma 0 every block begins at nothing.
#
# ## Three sentences to remember
#
# 1. A residual block computes `relu(f(x) + x)`: the addition comes before the last ReLU, and after
#    the last BatchNorm.
# 2. Where height, width or channels change, the shortcut has to change the shape too: by zeros (A,
#    free) or by a 1×1 convolution with BatchNorm (B, and C everywhere).
# 3. To do nothing, a residual block only needs a last gamma of zero, while a plain block would have
#    to learn to copy.
#
# ## Exercises
#
# Worked solutions: [solutions/05_residual_block.ipynb](solutions/05_residual_block.ipynb).
#
# 1. **Predict.** Before you run the cell under "Why a block can be the identity": is the block with
#    a zeroed gamma the identity for every `x`? Write down why, then run it.
# 2. **Shapes.** Write down, without running anything, the shape after every step of the block
#    `layer3.0` of `resnet18`, for images of 224×224 pixels, the shortcut included. You saw
#    `layer2.0` above. Then let `plot_block` tell you.
# 3. **A bug.** Somebody writes `return torch.relu(self.bn2(self.conv2(out))) + x`. What can the
#    output of such a block never be, compared with its input? Show with a histogram, and with the
#    mean, what happens after ten such blocks in a row, beside ten correct blocks.
# 4. **Option C.** Build a stage of two blocks with 64 channels in which *every* block has a
#    projection, in both frameworks. The two projection blocks above can do it with stride 1. How
#    many trainable parameters has it, and how many has the same stage with identity shortcuts?
# 5. **Another bug.** Somebody writes the projection as `self.downsample(out)` instead of
#    `self.downsample(x)`. When does it run, and when not? What is lost?
