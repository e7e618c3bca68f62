# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 2. One convolution, two layouts
#
# *The same numbers in another order: where the axes are, and how a kernel moves house.*
#
# **After this tutorial you can**
#
# - turn images and kernels from PyTorch's order of axes into Keras', and back,
# - write a convolution by hand, and say why it is really a cross-correlation,
# - work out the size, the parameters and the multiply-adds of a convolution without running it,
# - carry a convolution and a fully connected layer from PyTorch to Keras, and know which mistakes
#   give no error.
#
# **Time:** about 75 minutes to work through; the cells run in under a minute.
#
# **You need** Python with NumPy. You have seen a convolution before, in either framework.

# %%
# Set-up: installs the package where it is missing (as on Colab); in a clone, from the clone.
import importlib.util
from pathlib import Path

if importlib.util.find_spec("resnet_torch") is None:
    home = next((p for p in Path.cwd().parents if (p / "resnet_torch").is_dir()), "resnet-twins")
    get_ipython().run_line_magic("pip", f'install -q "{home}[all,notebooks]"')

# %%
# %matplotlib inline
from itertools import permutations, product

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_sample_image
from torch import nn

import resnet_tf  # brings Keras, without TensorFlow's messages at the start
import keras
from keras import layers
from shared.networks import get_spec
from shared.base import BLUE, GREEN, GREY, ORANGE
from shared.networks import layer_table
from shared.twins import relative  # max|a - b| / max|b|

torch.manual_seed(0)
keras.utils.set_random_seed(0)

# %% [markdown]
# ## One picture, two orders
#
# Here is a photograph that comes with scikit-learn. We make it smaller: each new pixel is the mean
# of a square of 3×3 old ones. It is wider than it is high, so we can tell the two apart.

# %%
photo = load_sample_image("china.jpg")  # (H, W, C), whole numbers from 0 to 255
print("photo  ", photo.shape, photo.dtype)
picture = photo[:426, :639].reshape(142, 3, 213, 3, 3).mean(axis=(1, 3)).astype("float32") / 255
print("picture", picture.shape, picture.dtype)
assert photo.shape == (427, 640, 3)
assert picture.shape == (142, 213, 3)

# %% [markdown]
# A batch of pictures has four axes. The letters are N (which picture), C (which channel: red,
# green, blue), H (row) and W (column).
#
# | | order of the axes | name |
# | --- | --- | --- |
# | PyTorch | (N, C, H, W) | channels first, NCHW |
# | Keras (on TensorFlow) | (N, H, W, C) | channels last, NHWC |
#
# `transpose` takes the *old* places of the axes, in their new order. From NHWC to NCHW that is
# (0, 3, 1, 2), and back it is (0, 2, 3, 1).

# %%
x_keras = picture[None]  # (N, H, W, C), with N = 1
x_torch = torch.from_numpy(x_keras.transpose(0, 3, 1, 2).copy())  # (N, C, H, W)
print("Keras  ", x_keras.shape)
print("PyTorch", tuple(x_torch.shape))
assert x_keras.shape == (1, 142, 213, 3)
assert x_torch.shape == (1, 3, 142, 213)
assert np.array_equal(x_torch.numpy().transpose(0, 2, 3, 1), x_keras)  # and back

# %% [markdown]
# A common mistake is `reshape`. It gives the right *shape*, so no layer complains. But it leaves
# the numbers in their old order, and cuts that row of numbers in other places.

# %%
reshaped = x_keras.reshape(1, 3, 142, 213)  # wrong: the same shape, other numbers in each place
print(
    "shape of the transposed picture", tuple(x_torch.shape), " of the reshaped one", reshaped.shape
)
assert reshaped.shape == tuple(x_torch.shape)
assert not np.array_equal(reshaped, x_torch.numpy())

figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for ax, channel, title in (
    (axes[0], x_torch.numpy()[0, 0], "transpose(0, 3, 1, 2): the red channel"),
    (axes[1], reshaped[0, 0], "reshape(1, 3, 142, 213): “channel 0”"),
):
    ax.imshow(channel, cmap="gray", vmin=0, vmax=1)
    ax.set(title=title, xlabel="column (pixels)", ylabel="row (pixels)")
plt.show()

# %% [markdown]
# On the right, neighbours in a row are red, green and blue of *one* pixel, and an old row fills three
# new ones. So "channel 0" is not red: it is the upper third of the picture, in slices. No layer
# complains about it.
#
# ## A convolution by hand
#
# Take one channel first: a grey picture and a kernel of 3×3 numbers. Lay the kernel on the picture,
# multiply each number with the pixel below it, and add up the nine products. Then move on by one
# pixel.


# %%
def correlate(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:  # (H, W), (k, k)
    k = len(kernel)
    out = np.zeros((image.shape[0] - k + 1, image.shape[1] - k + 1))  # (H - k + 1, W - k + 1)
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            window = image[row : row + k, column : column + k]  # (k, k)
            out[row, column] = (window * kernel).sum()
    return out


grey = picture.mean(axis=2)  # (H, W)
sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], "float32")  # right minus left
edges = correlate(grey, sobel)
print(grey.shape, "->", edges.shape)
assert edges.shape == (140, 211)

# %% [markdown]
# Is this what the frameworks compute? Both layers want four axes, and both want a kernel with the
# number of channels that come in and that go out:
#
# | | order of the kernel's axes | name |
# | --- | --- | --- |
# | PyTorch | (out, in, height, width) | OIHW |
# | Keras | (height, width, in, out) | HWIO |

# %%
conv_torch = nn.Conv2d(1, 1, 3, bias=False)
conv_torch.weight.data = torch.from_numpy(sobel)[None, None]  # (1, 1, 3, 3): out, in, height, width
edges_torch = conv_torch(torch.from_numpy(grey)[None, None]).detach().numpy()  # (N, C, H, W)

conv_keras = layers.Conv2D(1, 3, use_bias=False)
conv_keras.build((None, None, None, 1))
conv_keras.kernel.assign(sobel[:, :, None, None])  # (3, 3, 1, 1): height, width, in, out
edges_keras = np.asarray(conv_keras(grey[None, :, :, None]))  # (N, H, W, C)

print("PyTorch", edges_torch.shape, " Keras", edges_keras.shape)
assert edges_torch.shape == (1, 1, 140, 211)
assert edges_keras.shape == (1, 140, 211, 1)
print("PyTorch equal to our loops:", np.abs(edges_torch[0, 0] - edges).max() < 1e-5)
print("Keras equal to our loops:  ", np.abs(edges_keras[0, :, :, 0] - edges).max() < 1e-5)
assert np.abs(edges_torch[0, 0] - edges).max() < 1e-5
assert np.abs(edges_keras[0, :, :, 0] - edges).max() < 1e-5

# %% [markdown]
# ## It is not a convolution
#
# In mathematics a convolution first **turns the kernel around**: upside down, and left to right.
# Without that step the operation is called a **cross-correlation**. What both frameworks call
# `Conv2d` and `Conv2D` is a cross-correlation. Here are both, on our picture. The kernel is Sobel's:
# it subtracts what lies on the left of a pixel from what lies on its right.

# %% tags=["cover"]
turned = sobel[::-1, ::-1]
convolved = correlate(grey, turned)  # a true convolution: the kernel is turned around first

figure, axes = plt.subplots(1, 3, figsize=(13, 3.4), layout="constrained")
axes[0].imshow(grey, cmap="gray", vmin=0, vmax=1)
axes[0].set_title("the picture")
for ax, values, title in (
    (axes[1], edges, "cross-correlation: Conv2d and Conv2D"),
    (axes[2], convolved, "true convolution: the kernel is turned"),
):
    image = ax.imshow(values, cmap="gray", vmin=-2, vmax=2)
    ax.set_title(title)
for ax in axes:
    ax.set(xlabel="column (pixels)", ylabel="row (pixels)")
figure.colorbar(image, ax=axes, label="right minus left (pixels from 0 to 1)", shrink=0.9)
plt.show()

assert np.allclose(convolved, -edges, atol=1e-5)  # for this kernel, turning is a change of sign

# %% [markdown]
# Where it gets brighter from left to right, the cross-correlation is positive (white), and the true
# convolution negative (black). For Sobel's kernel, turning it around changes all signs.
#
# For a network this does not matter. The kernel is learned, and if the operation turned it around,
# the network would learn the turned kernel. It matters when kernels come from elsewhere: from a
# signal-processing library, or from your pen.
#
# **Predict before you run the next cell** (exercise 1): the image is black, with one white pixel in
# the middle. The kernel holds the numbers 1 to 9, row by row. What does `Conv2d` output?

# %%
kernel = np.arange(1, 10, dtype="float32").reshape(3, 3)
point = np.zeros((5, 5), "float32")
point[2, 2] = 1

with torch.no_grad():
    conv_torch.weight.data = torch.from_numpy(kernel)[None, None]
    seen_torch = conv_torch(torch.from_numpy(point)[None, None])[0, 0].numpy()
conv_keras.kernel.assign(kernel[:, :, None, None])
seen_keras = np.asarray(conv_keras(point[None, :, :, None]))[0, :, :, 0]
print(seen_torch.astype(int))
assert seen_torch.shape == seen_keras.shape == (3, 3)
assert np.array_equal(seen_torch, kernel[::-1, ::-1])
assert np.array_equal(seen_keras, seen_torch)

# %% [markdown]
# ## How large is the output?
#
# Four numbers decide: the size `n` of the input, the size `k` of the kernel, the **stride** `s` (by
# how many pixels the kernel moves on), and the **padding** `p` (how many zeros are put around the
# picture, on each side). A **dilated** kernel has holes: with `d = 2` it takes every second pixel,
# and covers `d · (k - 1) + 1` of them.


# %%
def output_size(n: int, k: int, s: int = 1, p: int = 0, d: int = 1) -> int:
    covered = d * (k - 1) + 1  # pixels from the first to the last that one window reads
    return (n + 2 * p - covered) // s + 1  # // rounds down


for n, k, s, p in ((142, 3, 1, 0), (224, 7, 2, 3), (112, 3, 2, 1), (56, 3, 1, 1), (56, 1, 2, 0)):
    print(f"n = {n}, k = {k}, s = {s}, p = {p}: {output_size(n, k, s, p)}")
assert output_size(224, 7, 2, 3) == 112
assert output_size(112, 3, 2, 1) == 56
assert output_size(56, 1, 2) == 28

# %% [markdown]
# In words: `n + 2p - covered` is how far the window can travel, `// s` is how many steps that is,
# and `+ 1` counts the place where it starts. Check it against real layers, for all combinations of
# some sizes. (Keras has no layer with a stride and a dilation at once, so those are left out there.)

# %%
checked = 0
for n, k, s, p, d in product((7, 8, 9, 14), (1, 2, 3, 5), (1, 2, 3), (0, 1, 2), (1, 2)):
    expected = output_size(n, k, s, p, d)
    if expected < 1:
        continue  # the kernel is larger than the picture
    layer = nn.Conv2d(1, 1, k, stride=s, padding=p, dilation=d)
    assert layer(torch.zeros(1, 1, n, n)).shape == (1, 1, expected, expected)
    if s == 1 or d == 1:
        padded = layers.ZeroPadding2D(p)(np.zeros((1, n, n, 1), "float32"))
        layer = layers.Conv2D(1, k, strides=s, dilation_rate=d)
        assert tuple(layer(padded).shape) == (1, expected, expected, 1)
        checked += 1
print(checked, "combinations checked in both frameworks, and the formula was right each time")
assert checked > 150

# %% [markdown]
# ### The pixels that nobody reads
#
# The division rounds down. So two inputs of different sizes can have outputs of one size, and then
# the last pixels of the larger one are not read at all. To see it, ask for the gradient of the sum
# of all outputs, with a kernel of ones. In each pixel it tells *how many windows read it*.

# %%
read = {}
for n in (7, 8):
    ones = nn.Conv2d(1, 1, 3, stride=2, bias=False)
    nn.init.ones_(ones.weight)
    x = torch.zeros(1, 1, n, n, requires_grad=True)
    out = ones(x)
    out.sum().backward()
    read[n] = x.grad[0, 0].int().numpy()
    print(f"{n}×{n} pixels, kernel 3, stride 2:", tuple(out.shape))
    assert out.shape == (1, 1, 3, 3)

figure, axes = plt.subplots(1, 2, figsize=(8, 3.9), layout="constrained")
for ax, (n, counts) in zip(axes, read.items()):
    image = ax.imshow(counts, cmap="cividis", vmin=0, vmax=4)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if count < 3 else "black"
        ax.text(column, row, count, ha="center", va="center", color=colour)
    ax.set(title=f"{n}×{n} pixels", xlabel="column", ylabel="row", xticks=range(n), yticks=range(n))
figure.colorbar(image, ax=axes, label="windows that read the pixel", ticks=range(5))
plt.show()
assert (read[7] > 0).all()
assert (read[8][7] == 0).all() and (read[8][:, 7] == 0).all()

# %% [markdown]
# With 8×8 pixels the last row and the last column are lost. Keras does the same: change the lost
# pixels, and its output stays as it was.

# %%
valid = layers.Conv2D(1, 3, strides=2, padding="valid")
image = np.random.default_rng(0).random((1, 8, 8, 1), dtype="float32")
changed = image.copy()
changed[:, 7], changed[:, :, 7] = 100, 100
print("Keras: the same output for both pictures?", np.array_equal(valid(image), valid(changed)))
assert valid(image).shape == (1, 3, 3, 1)
assert np.array_equal(valid(image), valid(changed))

# %% [markdown]
# ## Many channels
#
# A real convolution reads *all* channels of a window, and has a kernel of its own for each channel
# that it outputs. `sliding_window_view` cuts all windows at once, and `einsum` multiplies and adds:
# letters that are missing after the arrow are summed over.


# %%
def convolve(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:  # (N, H, W, C), (k, k, C, C')
    size = kernel.shape[:2]
    windows = np.lib.stride_tricks.sliding_window_view(x, size, axis=(1, 2))  # (N, H', W', C, k, k)
    return np.einsum("nhwcij,ijco->nhwo", windows, kernel, optimize=True)  # (N, H', W', C')


original = nn.Conv2d(3, 8, kernel_size=3, bias=False)
out_torch = original(x_torch).detach().numpy()
weight = original.weight.detach().numpy()  # (out, in, height, width)
out_numpy = convolve(x_keras, weight.transpose(2, 3, 1, 0))
print("kernel", weight.shape, "in PyTorch,", weight.transpose(2, 3, 1, 0).shape, "in Keras")
print("output", out_torch.shape, "in PyTorch,", out_numpy.shape, "in NumPy (as in Keras)")
assert weight.shape == (8, 3, 3, 3)
assert out_torch.shape == (1, 8, 140, 211)
assert out_numpy.shape == (1, 140, 211, 8)
print("equal to 1e-5:", relative(out_numpy.transpose(0, 3, 1, 2), out_torch) < 1e-5)
assert relative(out_numpy.transpose(0, 3, 1, 2), out_torch) < 1e-5

# %% [markdown]
# ## A kernel moves house
#
# To carry a convolution from PyTorch to Keras, the kernel's axes must come into another order: from
# (out, in, height, width), which are axes 0, 1, 2 and 3, to (height, width, in, out). So it is
# `transpose(2, 3, 1, 0)`. What if somebody forgets it, or writes another order?

# %%
torch_layer = nn.Conv2d(4, 8, kernel_size=(3, 5), bias=False)  # four different numbers
weight = torch_layer.weight.detach().numpy()
keras_layer = layers.Conv2D(8, (3, 5), use_bias=False)
keras_layer.build((None, None, None, 4))
print("PyTorch", weight.shape, " Keras", tuple(keras_layer.kernel.shape))
assert weight.shape == (8, 4, 3, 5)
assert tuple(keras_layer.kernel.shape) == (3, 5, 4, 8)

for axes in ((0, 1, 2, 3), (2, 3, 0, 1), (3, 2, 1, 0), (2, 3, 1, 0)):
    try:
        keras_layer.kernel.assign(weight.transpose(axes))
        print(axes, "fits")
    except ValueError:
        print(axes, "raises ValueError: the value has shape", weight.transpose(axes).shape)

# %% [markdown]
# A kernel with four different numbers is safe: there are 24 orders of four axes, only one fits, and
# it is the right one. But the kernels of a ResNet are 3×3 or 1×1, and most have as many channels
# coming in as going out. Let us try all 24 orders, and look whether the layer raises an error, gives
# the right output, or gives a wrong output *without an error*.

# %%
rng = np.random.default_rng(0)
kernels = {
    "3×5, 4 to 8 channels": (8, 4, 3, 5),
    "3×3, 4 to 8 channels": (8, 4, 3, 3),
    "3×3, 8 to 8 channels": (8, 8, 3, 3),
    "1×1, 8 to 8 channels": (8, 8, 1, 1),
    "3×3, 3 to 3 channels": (3, 3, 3, 3),
}
outcomes, wrong_errors = {}, []
for label, (c_out, c_in, height, width) in kernels.items():
    torch_layer = nn.Conv2d(c_in, c_out, (height, width), bias=False)
    keras_layer = layers.Conv2D(c_out, (height, width), use_bias=False)
    keras_layer.build((None, None, None, c_in))
    weight = torch_layer.weight.detach().numpy()
    x = rng.standard_normal((2, 12, 12, c_in)).astype("float32")  # (N, H, W, C)
    with torch.no_grad():
        wanted = torch_layer(torch.from_numpy(x.transpose(0, 3, 1, 2))).numpy()
    counts = {"raises an error": 0, "wrong, and silent": 0, "right": 0}
    for axes in permutations(range(4)):
        try:
            keras_layer.kernel.assign(weight.transpose(axes))
        except ValueError:
            counts["raises an error"] += 1
            continue
        found = np.asarray(keras_layer(x)).transpose(0, 3, 1, 2)
        assert found.shape == wanted.shape
        error = relative(found, wanted)
        counts["right" if error < 1e-5 else "wrong, and silent"] += 1
        if error >= 1e-5:
            wrong_errors.append(error)
    outcomes[label] = counts
    print(f"{label}: {counts}")
print("The silent ones are wrong by half of the largest output or more:", min(wrong_errors) > 0.5)
assert outcomes["3×3, 8 to 8 channels"] == {
    "raises an error": 20,
    "wrong, and silent": 3,
    "right": 1,
}
assert outcomes["3×3, 3 to 3 channels"]["wrong, and silent"] == 23
assert min(wrong_errors) > 0.5

# %%
figure, ax = plt.subplots(figsize=(9, 3.2), layout="constrained")
left = np.zeros(len(outcomes))
looks = {
    "raises an error": (GREY, ""),
    "wrong, and silent": (ORANGE, "//"),
    "right": (BLUE, ".."),
}
for what, (colour, hatch) in looks.items():
    values = [counts[what] for counts in outcomes.values()]
    bars = ax.barh(
        list(outcomes), values, left=left, color=colour, hatch=hatch, edgecolor="white", label=what
    )
    for bar, value in zip(bars, values):
        if value:
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
            middle = bar.get_x() + bar.get_width() / 2, bar.get_y() + bar.get_height() / 2
            ax.text(*middle, value, ha="center", va="center", fontsize=8, bbox=box)
    left += values
ax.invert_yaxis()
ax.set(xlabel="of the 24 orders of the axes", title="What happens when a kernel is transposed")
ax.set_xlim(0, 24)
ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# The three silent mistakes of a square kernel with equal channels are: height and width swapped, in
# and out swapped, and both. With 1×1 kernels two orders are right, because an axis of length 1 can
# stand anywhere. Do such kernels occur? In ResNet-18 they are the majority:

# %%
convolutions = [row for row in layer_table(get_spec("resnet18")) if row.kind == "conv"]
square = [row for row in convolutions if row.weights["weight"][0] == row.weights["weight"][1]]
print(f"{len(square)} of the {len(convolutions)} convolutions have as many channels in as out")
assert (len(square), len(convolutions)) == (13, 20)

# %% [markdown]
# So shapes alone prove nothing: **compare outputs, on random numbers**. Here is the port done right,
# with a bias, a stride and a padding. (For strides, do not use Keras' `padding="same"`; tutorial 3
# says why.)

# %%
torch_layer = nn.Conv2d(3, 16, kernel_size=3, stride=2, padding=1)
pad = layers.ZeroPadding2D(1)
keras_layer = layers.Conv2D(16, 3, strides=2, padding="valid")
keras_layer.build((None, None, None, 3))
keras_layer.kernel.assign(torch_layer.weight.detach().numpy().transpose(2, 3, 1, 0))
keras_layer.bias.assign(torch_layer.bias.detach().numpy())  # one axis: nothing to turn

with torch.no_grad():
    out_torch = torch_layer(x_torch).numpy()  # (N, C, H, W)
out_keras = np.asarray(keras_layer(pad(x_keras)))  # (N, H, W, C)
print("PyTorch", out_torch.shape, " Keras", out_keras.shape)
assert out_torch.shape == (1, 16, output_size(142, 3, 2, 1), output_size(213, 3, 2, 1))
assert out_keras.shape == (1, 71, 107, 16)
error = np.abs(out_keras.transpose(0, 3, 1, 2) - out_torch).max()
print("equal to 1e-5:", error < 1e-5)
assert error < 1e-5

# %% [markdown]
# ## Shape and memory are two things
#
# Memory is one long row of numbers. An array's **strides** say how far to walk in that row to get to
# the next number along each axis. (This word has nothing to do with the stride of a convolution.)
# Take a picture of 2×2 pixels with three channels:

# %%
tiny_nhwc = np.arange(12, dtype="float32").reshape(1, 2, 2, 3)  # (N, H, W, C)
tiny_nchw = tiny_nhwc.transpose(0, 3, 1, 2)  # (N, C, H, W): nothing moves, only the strides change
steps = {name: np.array(a.strides) // 4 for name, a in (("NHWC", tiny_nhwc), ("NCHW", tiny_nchw))}
print("NHWC", tiny_nhwc.shape, "strides in numbers:", steps["NHWC"].tolist())
print("NCHW", tiny_nchw.shape, "strides in numbers:", steps["NCHW"].tolist())
print("the same memory?", np.shares_memory(tiny_nhwc, tiny_nchw))
assert steps["NHWC"].tolist() == [12, 6, 3, 1]
assert steps["NCHW"].tolist() == [12, 1, 6, 3]
assert np.shares_memory(tiny_nhwc, tiny_nchw)

# %%
figure, axes = plt.subplots(2, 1, figsize=(9, 2.6), layout="constrained")
colours = {"R": ORANGE, "G": GREEN, "B": BLUE}
orders = {
    "NHWC in memory: the channels of a pixel are neighbours": [
        f"{channel}{pixel}" for pixel in range(4) for channel in "RGB"
    ],
    "NCHW in memory: the pixels of a channel are neighbours": [
        f"{channel}{pixel}" for channel in "RGB" for pixel in range(4)
    ],
}
for ax, (title, names) in zip(axes, orders.items()):
    for place, name in enumerate(names):
        look = {"facecolor": colours[name[0]], "edgecolor": "white", "alpha": 0.85}
        ax.add_patch(plt.Rectangle((place, 0), 1, 1, **look))
        ax.text(place + 0.5, 0.5, name, ha="center", va="center", color="white", weight="bold")
    ax.set(xlim=(0, 12), ylim=(0, 1), yticks=[], title=title)
    ax.set_xticks(np.arange(12) + 0.5, range(12))
axes[1].set_xlabel("place in memory (numbers)")
plt.show()

# %% [markdown]
# PyTorch can keep NHWC memory behind an NCHW shape. This is called `channels_last`, and on some
# machines convolutions run faster with it. The shape, the values and the meaning of the axes stay
# the same. Only the strides differ, and rounding may.

# %%
x = torch.randn(2, 3, 4, 5)  # (N, C, H, W)
x_last = x.to(memory_format=torch.channels_last)
print("shape  ", tuple(x.shape), "and", tuple(x_last.shape))
print("strides", x.stride(), "and", x_last.stride())
assert x.shape == x_last.shape == (2, 3, 4, 5)
assert x.stride() == (60, 20, 5, 1)
assert x_last.stride() == (60, 1, 15, 3)
assert torch.equal(x, x_last)

layer = nn.Conv2d(3, 4, 3)
print("same output to 1e-5:", torch.allclose(layer(x), layer(x_last), atol=1e-5))
assert torch.allclose(layer(x), layer(x_last), atol=1e-5)

# %% [markdown]
# So `channels_last` in PyTorch is not Keras' NHWC. A tensor in `channels_last` still has the shape
# (N, C, H, W), and its kernels are still transposed by (2, 3, 1, 0).
#
# ## What a convolution costs
#
# **Parameters**: each of the C' output channels has a kernel of k · k · C numbers, and perhaps one
# bias. **Multiply-adds**: at each of the H' · W' places of the output the whole kernel is used once.
# The size of the picture changes the second number and not the first. Here is the first convolution
# of every ImageNet ResNet: 7×7, stride 2, from 3 to 64 channels, at 224×224 pixels.


# %%
def parameters(k: int, c_in: int, c_out: int, bias: bool = False) -> int:
    return k * k * c_in * c_out + (c_out if bias else 0)


def multiply_adds(k: int, c_in: int, c_out: int, height: int, width: int) -> int:
    return k * k * c_in * c_out * height * width  # height and width of the output


side = output_size(224, 7, 2, 3)
print(f"{parameters(7, 3, 64):,} parameters, {multiply_adds(7, 3, 64, side, side):,} multiply-adds")
stem = layer_table(get_spec("resnet18"))[0]
assert stem.output_shape == (64, side, side) == (64, 112, 112)
assert parameters(7, 3, 64) == stem.parameters == 9_408
assert multiply_adds(7, 3, 64, side, side) == stem.macs == 118_013_952

for bias in (False, True):
    torch_layer = nn.Conv2d(3, 64, 7, bias=bias)
    keras_layer = layers.Conv2D(64, 7, use_bias=bias)
    keras_layer.build((None, None, None, 3))
    counted = sum(p.numel() for p in torch_layer.parameters())
    print(f"bias {bias!s:<5}: {counted:,} in PyTorch, {keras_layer.count_params():,} in Keras")
    assert counted == keras_layer.count_params() == parameters(7, 3, 64, bias)

# %% [markdown]
# Both numbers depend on the product of the channels. So a late convolution, with many channels and
# few pixels, has many parameters; an early one has few, and still a lot of work to do:

# %%
for name in ("conv1", "layer1.0.conv1", "layer4.1.conv2"):
    row = next(row for row in convolutions if row.name == name)
    shape = str(row.output_shape)
    print(f"{name:<15}{shape:<15}{row.parameters:>10,} parameters {row.macs:>12,} multiply-adds")
    c_out, c_in, k, _ = row.weights["weight"]
    assert row.parameters == parameters(k, c_in, c_out)
    assert row.macs == multiply_adds(k, c_in, c_out, *row.output_shape[1:])
assert row.parameters == 64 * 36_864 and row.macs == 115_605_504

# %% [markdown]
# `layer1.0.conv1` and `layer4.1.conv2` need exactly the same work. In ResNets each stage has twice
# the channels (4 times the products) and half of the height and of the width (a quarter of the
# places).
#
# ## Fully connected: (out, in) and (in, out)
#
# The last layer of a network is `Linear` in PyTorch and `Dense` in Keras. Its weights are a matrix,
# and again the order differs: (out, in) in PyTorch, (in, out) in Keras. With a vector as input, a
# transposition is all:

# %%
linear = nn.Linear(12, 5)
dense = layers.Dense(5)
dense.build((None, 12))
print("PyTorch", tuple(linear.weight.shape), " Keras", tuple(dense.kernel.shape))
assert linear.weight.shape == (5, 12)
assert tuple(dense.kernel.shape) == (12, 5)

dense.kernel.assign(linear.weight.detach().numpy().T)
dense.bias.assign(linear.bias.detach().numpy())
vectors = rng.standard_normal((4, 12)).astype("float32")
wanted = linear(torch.from_numpy(vectors)).detach().numpy()
print("equal to 1e-5:", relative(np.asarray(dense(vectors)), wanted) < 1e-5)
assert relative(np.asarray(dense(vectors)), wanted) < 1e-5

# %% [markdown]
# But where does the vector come from? Before a fully connected layer, a feature map is often
# **flattened**: all its numbers in one row, in the order of the axes. In PyTorch that is all pixels
# of channel 0, then of channel 1. In Keras it is all channels of pixel 0, then of pixel 1. The same
# numbers, in another order: weight 7 now meets another number.

# %%
maps = rng.standard_normal((4, 2, 3, 2)).astype("float32")  # (N, H, W, C): 2 · 3 · 2 = 12 numbers
maps_torch = torch.from_numpy(maps.transpose(0, 3, 1, 2).copy())  # (N, C, H, W)
flat_torch = nn.Flatten()(maps_torch)  # (N, C·H·W)
flat_keras = layers.Flatten()(maps)  # (N, H·W·C)
print("PyTorch", tuple(flat_torch.shape), " Keras", tuple(flat_keras.shape))
assert flat_torch.shape == (4, 12)
assert tuple(flat_keras.shape) == (4, 12)

wanted = linear(flat_torch).detach().numpy()
naive = relative(np.asarray(dense(flat_keras)), wanted)
print("transposed only: error is a third of the largest output, or more:", naive > 1 / 3)
assert naive > 1 / 3

# %% [markdown]
# The remedy is to look at a row of `Linear`'s weights as what it is: a picture of the shape
# (C, H, W). Put its axes into the order (H, W, C), as for a kernel, and flatten it again.

# %%
as_pictures = linear.weight.detach().numpy().reshape(5, 2, 2, 3)  # (out, C, H, W)
as_keras = as_pictures.transpose(2, 3, 1, 0)  # (H, W, C, out)
dense.kernel.assign(as_keras.reshape(12, 5))  # (H·W·C, out)
print("reordered: equal to 1e-5:", relative(np.asarray(dense(flat_keras)), wanted) < 1e-5)
assert as_keras.shape == (2, 3, 2, 5)
assert relative(np.asarray(dense(flat_keras)), wanted) < 1e-5

# %% [markdown]
# ResNets do not have this problem. In front of their last layer stands a **global average pooling**:
# each channel becomes one number, its mean over all pixels. There is no height and no width left
# that could be in the wrong order, only C numbers.

# %%
head_torch = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 5))
pooled_torch = head_torch[1](head_torch[0](maps_torch))  # (N, C)
pooled_keras = layers.GlobalAveragePooling2D()(maps)  # (N, C)
print("PyTorch", tuple(pooled_torch.shape), " Keras", tuple(pooled_keras.shape))
assert pooled_torch.shape == (4, 2)
assert tuple(pooled_keras.shape) == (4, 2)

dense = layers.Dense(5)
dense.build((None, 2))
dense.kernel.assign(head_torch[2].weight.detach().numpy().T)
dense.bias.assign(head_torch[2].bias.detach().numpy())
wanted = head_torch(maps_torch).detach().numpy()
print("transposed only: equal to 1e-5:", relative(np.asarray(dense(pooled_keras)), wanted) < 1e-5)
assert relative(np.asarray(dense(pooled_keras)), wanted) < 1e-5

# %% [markdown]
# ## Three sentences to remember
#
# 1. Images are (N, C, H, W) in PyTorch and (N, H, W, C) in Keras, and kernels go from PyTorch to
#    Keras by `transpose(2, 3, 1, 0)`, never by `reshape`.
# 2. What the frameworks call a convolution does not turn its kernel around; its output has
#    `(n + 2p - k) // s + 1` pixels, and what the division drops is never read.
# 3. A square kernel with equal channels fits in the wrong order too, so compare outputs on random
#    numbers, and not shapes.
#
# ## Exercises
#
# Worked solutions: [solutions/02_one_convolution.ipynb](solutions/02_one_convolution.ipynb).
#
# 1. **Predict.** Before you run the cell at the end of "It is not a convolution": what comes out for
#    one white pixel and the kernel 1 to 9? Write down the nine numbers, then run it.
# 2. **The way back.** Which transposition carries a kernel from Keras to PyTorch? Try
#    `(2, 3, 1, 0)` first, on a kernel of shape (3, 5, 4, 8), and look at the shape.
# 3. **Sizes.** How large is a picture of 64×64 pixels after each part of ResNet-18 (`conv1`,
#    `maxpool`, the four stages)? Use `output_size` only, then ask `layer_table`. What is the smallest
#    picture for which `layer4` outputs more than one pixel?
# 4. **Loops.** Write a convolution of many channels with loops only, without `einsum`, and count the
#    multiplications while it runs. Compare the count with `multiply_adds`.
# 5. **A silent mistake.** Give a Keras layer the kernel of a PyTorch layer with height and width
#    swapped, and the picture "china" with height and width swapped as well. What do you get, and
#    why?
