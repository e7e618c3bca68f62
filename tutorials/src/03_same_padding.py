# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3. `same` is not `padding=1`
#
# *Two words for padding, equal shapes, other pixels: the quietest mistake between PyTorch and Keras.*
#
# **After this tutorial you can**
#
# - say which pixels a strided convolution reads in PyTorch and in Keras,
# - work out what `padding="same"` pads, for every size, kernel and stride,
# - repair a convolution and a max-pool that were carried over with the wrong padding,
# - recognise what the mistake does to a trained network.
#
# **Time:** about 60 minutes to work through; the cells run in under a minute.
#
# **You need** tutorial 2: layouts, stride, padding, and how a kernel goes from PyTorch to Keras.

# %%
# Set-up: installs the package where it is missing (as on Colab); in a clone, from the clone.
import importlib.util
from pathlib import Path

if importlib.util.find_spec("resnet_torch") is None:
    home = next((p for p in Path.cwd().parents if (p / "resnet_torch").is_dir()), "resnet-twins")
    get_ipython().run_line_magic("pip", f'install -q "{home}[all,notebooks]"')

# %%
# %matplotlib inline
import textwrap
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_sample_image
from torch import nn

import resnet_tf  # brings Keras, without TensorFlow's messages at the start
import resnet_torch
import keras
from keras import layers
from shared.data import load_data
from shared.twins import examine
from shared.base import BLUE, GREY, ORANGE
from shared.twins import plot_microscope
from shared.checkpoints import read_trained
from shared.twins import relative  # max|a - b| / max|b|

torch.manual_seed(0)
keras.utils.set_random_seed(0)

# %% [markdown]
# ## The shapes agree
#
# A ResNet makes its feature maps smaller with convolutions of kernel 3 and stride 2. In PyTorch one
# writes `padding=1`, a number of pixels. In Keras one finds `padding="same"`, a word. Are they the
# same layer? Let us ask for the shapes, for many sizes, kernels and strides.


# %%
def conv_torch(kernel: np.ndarray, stride: int, padding: int) -> nn.Conv2d:
    """A convolution in PyTorch with this kernel (height, width, in, out)."""
    layer = nn.Conv2d(*kernel.shape[2:], kernel.shape[0], stride, padding, bias=False)
    layer.weight = nn.Parameter(torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()))
    return layer.requires_grad_(False)


def conv_keras(kernel: np.ndarray, stride: int, padding: str) -> layers.Conv2D:
    """A convolution in Keras with this kernel (height, width, in, out)."""
    layer = layers.Conv2D(kernel.shape[3], kernel.shape[0], stride, padding, use_bias=False)
    layer.build((None, None, None, kernel.shape[2]))
    layer.kernel.assign(kernel)
    return layer


def nchw(x: np.ndarray) -> torch.Tensor:  # (N, H, W, C) -> (N, C, H, W)
    return torch.from_numpy(np.asarray(x).transpose(0, 3, 1, 2).copy())


def nhwc(x: torch.Tensor) -> np.ndarray:  # (N, C, H, W) -> (N, H, W, C)
    return x.numpy().transpose(0, 2, 3, 1)


rng = np.random.default_rng(0)
count = 0
for n, k, s in product(range(7, 15), (1, 3, 5, 7), (1, 2, 3)):
    kernel = rng.standard_normal((k, k, 1, 1)).astype("float32")
    x = np.zeros((1, n, n, 1), "float32")  # (N, H, W, C)
    shape_torch = tuple(conv_torch(kernel, s, padding=k // 2)(nchw(x)).shape[2:])
    shape_keras = tuple(conv_keras(kernel, s, padding="same")(x).shape[1:3])
    assert shape_torch == shape_keras == (-(-n // s),) * 2  # n / s, rounded up
    count += 1
print(f"{count} combinations, and the shapes are always equal: n / s, rounded up")

# %% [markdown]
# For odd kernels the shapes always agree. Every check of shapes passes, and every summary looks right.
# That is what makes this mistake so quiet.
#
# ## Ask the layer which pixels it reads
#
# Here is a trick. Take a kernel that is zero but for a 1 in its centre. The layer then copies the
# pixel in the centre of each window. Give it a picture in which every pixel holds its own number, and
# the output is a list of the centres.

# %%
centre = np.zeros((3, 3, 1, 1), "float32")
centre[1, 1] = 1


def centres(n: int, framework: str) -> np.ndarray:
    """The rows (and, equally, the columns) on which the windows of a 3×3 kernel, stride 2, stand."""
    numbers = np.arange(n * n, dtype="float32").reshape(1, n, n, 1)  # (N, H, W, C)
    if framework == "PyTorch":
        out = nhwc(conv_torch(centre, 2, padding=1)(nchw(numbers)))
    else:
        out = np.asarray(conv_keras(centre, 2, padding="same")(numbers))
    found = out[0, :, :, 0].astype(int)  # (H', W'): numbers of pixels
    assert found.shape == (-(-n // 2),) * 2
    assert np.array_equal(found // n, (found % n).T)  # rows and columns follow the same rule
    return found[:, 0] // n


for n in (6, 7):
    for framework in ("PyTorch", "Keras"):
        print(
            f"{n}×{n} pixels, {framework:<8} windows centred on rows",
            centres(n, framework).tolist(),
        )
assert centres(6, "PyTorch").tolist() == [0, 2, 4]
assert centres(6, "Keras").tolist() == [1, 3, 5]
assert centres(7, "PyTorch").tolist() == centres(7, "Keras").tolist() == [0, 2, 4, 6]

# %% [markdown]
# With 7 pixels they agree. With 6 pixels they read on **different pixels**: PyTorch on the even ones,
# Keras on the odd ones. The picture shows why. Hatched squares are the zeros that the windows
# read, the frame is the first window.


# %% tags=["cover"]
def draw_sampling(ax: plt.Axes, n: int, framework: str) -> None:
    rows = centres(n, framework)
    colour, marker = (BLUE, "o") if framework == "PyTorch" else (ORANGE, "X")
    first, last = rows[0] - 1, rows[-1] + 1  # the first and the last row that a window reads
    for row, column in product(range(-1, n + 1), repeat=2):
        inside = 0 <= row < n and 0 <= column < n
        used = first <= row <= last and first <= column <= last
        if inside or used:
            look = {"facecolor": "white"} if inside else {"facecolor": "#dddddd", "hatch": "///"}
            ax.add_patch(plt.Rectangle((column - 0.5, row - 0.5), 1, 1, edgecolor=GREY, **look))
    for row, column in product(rows, rows):
        ax.plot(column, row, marker, color=colour, markersize=11)
    frame = {"fill": False, "edgecolor": colour, "linewidth": 3}
    ax.add_patch(plt.Rectangle((rows[0] - 1.5, rows[0] - 1.5), 3, 3, **frame))
    padding = "padding=1" if framework == "PyTorch" else 'padding="same"'
    ax.set(xlim=(-1.7, n + 0.7), ylim=(n + 0.7, -1.7), aspect="equal")
    ax.set_title(f"{n}×{n}: {framework}, {padding}")
    ax.set(xticks=range(n), yticks=range(n), xlabel="column", ylabel="row")


figure, axes = plt.subplots(2, 2, figsize=(8.2, 8.6), layout="constrained")
for ax, (n, framework) in zip(axes.flat, product((6, 7), ("PyTorch", "Keras"))):
    draw_sampling(ax, n, framework)
figure.suptitle("Centres of the windows of a 3×3 convolution with stride 2")
plt.show()

# %% [markdown]
# The 6×6 picture needs only **one** row of zeros: three windows, two pixels apart, cover seven rows.
# PyTorch adds two rows, one on each side, because `padding=1` says so, and never reads the last one.
# Keras adds as few as possible, and puts the odd one **at the end**: at the bottom and at the right.
#
# How bad can it be? Take stripes one pixel wide: even columns black, odd columns white.

# %%
stripes = np.zeros((1, 12, 12, 1), "float32")
stripes[:, :, 1::2] = 1
seen = {
    "the picture": stripes,
    "PyTorch, padding=1": nhwc(conv_torch(centre, 2, padding=1)(nchw(stripes))),
    'Keras, padding="same"': np.asarray(conv_keras(centre, 2, padding="same")(stripes)),
}
figure, axes = plt.subplots(1, 3, figsize=(9, 3.1), layout="constrained")
for ax, (title, values) in zip(axes, seen.items()):
    print(f"{title:<22}", values.shape, "mean", values.mean())
    ax.imshow(values[0, :, :, 0], cmap="gray", vmin=-0.2, vmax=1.2)
    ax.set(title=title, xlabel="column", ylabel="row")
plt.show()
assert seen["PyTorch, padding=1"].shape == seen['Keras, padding="same"'].shape == (1, 6, 6, 1)
assert seen["PyTorch, padding=1"].max() == 0
assert seen['Keras, padding="same"'].min() == 1

# %% [markdown]
# The same picture, the same kernel, the same shape. One output is black, the other white.
#
# ## The rule behind the word
#
# `"same"` is not a number of pixels. It is an order: "pad so much that there are n / s outputs,
# rounded up". The layer works out the padding anew for each input size:


# %%
def same_padding(n: int, k: int, s: int) -> tuple[int, int]:
    """How many zeros padding="same" adds in front of an axis of n pixels, and behind it."""
    outputs = -(-n // s)  # n / s, rounded up
    needed = (outputs - 1) * s + k  # pixels that so many windows cover
    total = max(needed - n, 0)
    return total // 2, total - total // 2  # the odd one goes behind


print("kernel stride   n   in front  behind   like PyTorch's k // 2 on both sides?")
for k, s in ((3, 1), (3, 2), (7, 2), (1, 2)):
    for n in (224, 225):
        before, after = same_padding(n, k, s)
        answer = "yes" if before == after == k // 2 else "no"
        print(f"{k:>4} {s:>6} {n:>7} {before:>7} {after:>8}     {answer}")
assert same_padding(224, 3, 2) == (0, 1)
assert same_padding(225, 3, 2) == (1, 1)
assert same_padding(224, 7, 2) == (2, 3)

# %% [markdown]
# Do not believe it: check it. We pad by hand as the function says, run a layer that pads nothing, and
# compare it with `"same"`.

# %%
count, like_torch = 0, []
for n, k, s in product(range(7, 15), (1, 2, 3, 5, 7), (1, 2, 3)):
    kernel = rng.standard_normal((k, k, 1, 1)).astype("float32")
    x = rng.standard_normal((1, n, n, 1)).astype("float32")  # (N, H, W, C)
    same = np.asarray(conv_keras(kernel, s, padding="same")(x))
    before, after = same_padding(n, k, s)
    padded = np.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))
    by_hand = np.asarray(conv_keras(kernel, s, padding="valid")(padded))
    assert by_hand.shape == same.shape
    assert relative(by_hand, same) < 1e-5
    if k % 2:
        equal = relative(nhwc(conv_torch(kernel, s, padding=k // 2)(nchw(x))), same) < 1e-5
        assert equal == (before == after == k // 2)
        like_torch.append((n % 2, k, s, equal))
    count += 1
print(f"the function is right in all {count} combinations")
assert count == 120
assert all(equal for odd, k, s, equal in like_torch if s == 1 or k == 1)
assert all(equal == bool(odd) for odd, k, s, equal in like_torch if s == 2 and k > 1)

# %% [markdown]
# The last two lines say when Keras' `"same"` and PyTorch's `k // 2` agree, for odd kernels:
#
# - stride 1: always; 1×1 kernels: always,
# - stride 2: on an odd number of pixels yes, on an even number **no**.
#
# Most networks work on even sizes: 224, 56, 28 and 14 pixels, or 32, 16 and 8.
#
# **Predict before you run the next cell** (exercise 1): a network has three 3×3 convolutions with
# stride 2, one after the other. You carry its kernels over with `padding="same"`. For which input do
# the outputs agree: 31, 32, 33 pixels, or none of them?

# %%
kernels = [rng.standard_normal((3, 3, 2, 2)).astype("float32") for _ in range(3)]
agree = {}
for n in (31, 32, 33):
    x = rng.standard_normal((1, n, n, 2)).astype("float32")
    out_torch, out_keras = nchw(x), x
    sizes = [n]
    for kernel in kernels:
        out_torch = conv_torch(kernel, 2, padding=1)(out_torch)
        out_keras = conv_keras(kernel, 2, padding="same")(out_keras)
        sizes.append(out_keras.shape[1])
    assert nhwc(out_torch).shape == tuple(out_keras.shape)
    agree[n] = bool(relative(np.asarray(out_keras), nhwc(out_torch)) < 1e-5)
    print(" -> ".join(map(str, sizes)), "pixels: equal to 1e-5:", agree[n])
assert agree == {31: False, 32: False, 33: True}

# %% [markdown]
# An odd size is not enough: it must stay odd. 31 becomes 16, and the second layer differs. 33 becomes
# 17, then 9, then 5. Exercise 1 looks for sizes that stay odd through a whole ResNet.
#
# ## Exactly one pixel
#
# On even sizes, the windows of `"same"` stand one pixel further down and to the right. One pixel of
# the input is half a pixel of the output, because the output has a pixel only for every second one.
# So no shift of the *output* can repair it. But a shift of the *input* can: if we push the picture up
# and to the left by one pixel, PyTorch's windows see what Keras' windows saw.

# %%
photo = load_sample_image("china.jpg")[:424, :640].astype("float32") / 255
photo = photo.reshape(212, 2, 320, 2, 3).mean(axis=(1, 3))[None]  # (N, H, W, C)
photo = (photo - photo.mean(axis=(0, 1, 2))) / photo.std(axis=(0, 1, 2))
print("photo", photo.shape)
assert photo.shape == (1, 212, 320, 3)

shifted = np.zeros_like(photo)
shifted[:, :-1, :-1] = photo[:, 1:, 1:]  # up and to the left by one pixel

kernel = rng.standard_normal((3, 3, 3, 8)).astype("float32")
same = np.asarray(conv_keras(kernel, 2, padding="same")(photo))
torch_here = nhwc(conv_torch(kernel, 2, padding=1)(nchw(photo)))
torch_shifted = nhwc(conv_torch(kernel, 2, padding=1)(nchw(shifted)))
print("outputs", same.shape)
assert same.shape == torch_here.shape == torch_shifted.shape == (1, 106, 160, 8)
print("picture as it is:      equal to 1e-5:", relative(torch_here, same) < 1e-5)
print("picture shifted by one: equal to 1e-5:", relative(torch_shifted, same) < 1e-5)
inner = (slice(None), slice(1, None), slice(1, None))  # without the first row and column
print("… without the border:   equal to 1e-5:", relative(torch_shifted[inner], same[inner]) < 1e-5)
assert relative(torch_here, same) > 0.1
assert relative(torch_shifted, same) > 1e-2
assert relative(torch_shifted[inner], same[inner]) < 1e-5

# %% [markdown]
# Equal, but for the first row and the first column: there PyTorch's windows see a row of zeros that
# Keras does not have.
#
# ## How large is the difference?
#
# It depends on the picture. In noise, one pixel says nothing about its neighbour. In a photograph,
# neighbours are alike. We take 64 random kernels of the sizes 3×3 and 7×7 (the stem of a ResNet, for
# which `"same"` adds 5 rows in all: 2 in front, 3 behind), and measure |wrong - right| / |right| for
# each, where |…| is the root of the sum of squares.

# %%
noise = rng.standard_normal(photo.shape).astype("float32")
differences = {}
for k, (name, x) in product((3, 7), (("noise", noise), ("photo", photo))):
    kernel = rng.standard_normal((k, k, 3, 64)).astype("float32")
    right = nhwc(conv_torch(kernel, 2, padding=k // 2)(nchw(x)))
    wrong = np.asarray(conv_keras(kernel, 2, padding="same")(x))
    assert right.shape == wrong.shape == (1, 106, 160, 64)
    error = np.sqrt(((wrong - right) ** 2).sum(axis=(0, 1, 2)) / (right**2).sum(axis=(0, 1, 2)))
    differences[f"{k}×{k}, {name}"] = error
    print(f"{k}×{k}, {name}: from {error.min():.2f} to {error.max():.2f}, mean {error.mean():.2f}")
assert same_padding(212, 7, 2) == (2, 3)
assert all(error.min() > 1.1 and error.max() < 1.7 for error in list(differences.values())[::2])
assert all(error.min() > 0.05 and error.mean() > 0.3 for error in list(differences.values())[1::2])

# %%
figure, ax = plt.subplots(figsize=(8, 3.2), layout="constrained")
for place, (label, error) in enumerate(differences.items()):
    colour, marker = (GREY, "o") if "noise" in label else (BLUE, "^")
    jitter = np.linspace(-0.25, 0.25, len(error))
    ax.plot(error, place + jitter, marker, color=colour, markersize=4, alpha=0.8)
ax.axvline(1, color=ORANGE, linestyle="--", label="as large as the output itself")
ax.set_yticks(range(len(differences)), list(differences))
ax.set(xlabel='|"same" − right| / |right|, each point is one random kernel', xlim=(0, None))
ax.invert_yaxis()
ax.grid(axis="x", alpha=0.3)
ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# For noise the difference is even larger than the output: the two outputs have nothing to do with each
# other (two independent outputs of equal size differ by the square root of 2, which is 1.41). For the
# photograph it depends on the kernel. Two kernels that you know show it: one takes the mean of its
# window, the other, Sobel's, looks for edges.

# %%
assert all(abs(differences[label].mean() - 2**0.5) < 0.05 for label in ("3×3, noise", "7×7, noise"))
print(f"noise: mean {differences['3×3, noise'].mean():.2f}, root of 2: {2**0.5:.2f}")

grey = photo.mean(axis=3, keepdims=True)  # (N, H, W, 1)
mean = np.full((3, 3), 1 / 9, "float32")
sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], "float32")
known = {}
for name, values in (("mean", mean), ("edges", sobel)):
    kernel = values[:, :, None, None]  # (3, 3, 1, 1)
    right = nhwc(conv_torch(kernel, 2, padding=1)(nchw(grey)))
    wrong = np.asarray(conv_keras(kernel, 2, padding="same")(grey))
    assert right.shape == wrong.shape == (1, 106, 160, 1)
    known[name] = np.linalg.norm(wrong - right) / np.linalg.norm(right)
    print(f"photo, kernel for {name}: |wrong - right| / |right| = {known[name]:.2f}")
assert 3 * known["mean"] < known["edges"]

# %% [markdown]
# The kernel for edges notices the pixel much more. And in a network the errors of
# several layers come together, as you see at the end of this tutorial.

# %% [markdown]
# ## The max-pool has a trap of its own
#
# After the stem, ResNets have a 3×3 max-pool with stride 2. Again `"same"` stands on other pixels,
# and again one pads by hand. But with what? A convolution adds, so zeros change nothing. A max-pool
# takes the largest number of the window, and **zero is larger than every negative number**. PyTorch
# pads with minus infinity, which never wins. Keras' `ZeroPadding2D` pads with zeros.

# %%
x = rng.standard_normal((1, 10, 10, 1)).astype("float32") - 3  # nearly all are negative
pool_torch = nn.MaxPool2d(3, stride=2, padding=1)
pool_keras = layers.MaxPooling2D(3, strides=2, padding="valid")


def pad_with_minus_infinity(x: np.ndarray) -> np.ndarray:  # (N, H, W, C) -> (N, H + 2, W + 2, C)
    around = ((0, 0), (1, 1), (1, 1), (0, 0))
    return keras.ops.pad(x, around, constant_values=-float("inf"))


pooled = {
    "PyTorch": nhwc(pool_torch(nchw(x))),
    "Keras: zeros around it": np.asarray(pool_keras(layers.ZeroPadding2D(1)(x))),
    "Keras: same": np.asarray(layers.MaxPooling2D(3, strides=2, padding="same")(x)),
    "Keras: −inf around it": np.asarray(pool_keras(pad_with_minus_infinity(x))),
}
for name, values in pooled.items():
    print(
        f"{name:<23}", values.shape, "equal to PyTorch:", np.array_equal(values, pooled["PyTorch"])
    )
    assert values.shape == (1, 5, 5, 1)
assert not np.array_equal(pooled["Keras: zeros around it"], pooled["PyTorch"])
assert np.array_equal(pooled["Keras: −inf around it"], pooled["PyTorch"])
assert (pooled["Keras: zeros around it"][0, 0] == 0).all()  # the whole first row
assert not np.array_equal(pooled["Keras: same"], pooled["PyTorch"])
assert pooled["Keras: same"].max() < 0  # here no zero won

figure, axes = plt.subplots(1, 4, figsize=(13, 3.4), layout="constrained")
for ax, (title, values) in zip(axes, pooled.items()):
    image = ax.imshow(values[0, :, :, 0], cmap="cividis", vmin=-4, vmax=0)
    for (row, column), value in np.ndenumerate(values[0, :, :, 0]):
        colour = "white" if value < -1.5 else "black"
        ax.text(column, row, f"{value:.1f}", ha="center", va="center", color=colour, fontsize=8)
    ax.set(title=title, xlabel="column", ylabel="row")
figure.colorbar(image, ax=axes, label="largest number of the window", shrink=0.8)
plt.show()

# %% [markdown]
# The zeros won in the whole first row and the whole first column. With `"same"` no zero wins, but the
# windows stand elsewhere. Only minus infinity on all sides gives PyTorch's numbers.
#
# After a ReLU nobody would see that the padding is zero: no number is negative there, and a zero never
# beats a larger one.

# %%
positive = np.maximum(x + 3, 0)  # after a ReLU
after_relu = np.asarray(pool_keras(layers.ZeroPadding2D(1)(positive)))
print(
    "after a ReLU, zeros are right:", np.array_equal(after_relu, nhwc(pool_torch(nchw(positive))))
)
assert after_relu.shape == (1, 5, 5, 1)
assert np.array_equal(after_relu, nhwc(pool_torch(nchw(positive))))

# %% [markdown]
# So a port with zeros is right in a ResNet with the usual order, and wrong in a pre-activation ResNet
# (tutorial 12), where no ReLU stands in front of the max-pool. This package pads with minus infinity
# in both.
#
# ## The repair
#
# One rule for all strided layers in Keras: **pad by hand, `k // 2` on every side, then say
# `"valid"`**.

# %%
for k in (3, 7):
    kernel = rng.standard_normal((k, k, 3, 16)).astype("float32")
    kernel /= np.sqrt(k * k * 3)  # so that outputs are of size 1
    wanted = nhwc(conv_torch(kernel, 2, padding=k // 2)(nchw(photo)))
    padded = layers.ZeroPadding2D(k // 2)(photo)  # (N, H + 2p, W + 2p, C)
    repaired = np.asarray(conv_keras(kernel, 2, padding="valid")(padded))
    print(f"{k}×{k}: {tuple(padded.shape)} -> {repaired.shape}, equal to 1e-5:", end=" ")
    print(relative(repaired, wanted) < 1e-5)
    assert repaired.shape == wanted.shape == (1, 106, 160, 16)
    assert relative(repaired, wanted) < 1e-5

# %% [markdown]
# And the other way round, from Keras to PyTorch? PyTorch knows the word `"same"` as well, but not
# together with a stride:

# %%
refused = False
try:
    nn.Conv2d(3, 16, 3, stride=2, padding="same")
except ValueError as error:
    refused = True
    print("ValueError:", error)
assert refused

unstrided = nn.Conv2d(3, 16, 3, padding="same")
print("stride 1:", tuple(unstrided(nchw(photo)).shape))
assert unstrided(nchw(photo)).shape == (1, 16, 212, 320)

# %% [markdown]
# There is a reason: with a stride the output does not have the *same* size, and the padding
# would depend on the input. Exercise 3 does it by hand.
#
# ## What it does to a trained network
#
# Now a real case. The package ships the trained weights of `resnet8_digits`, which reads digits of
# 8×8 pixels and gets 359 of 360 right. We write this network in Keras by hand, with a switch: in which
# stages is the strided convolution carried over with `"same"`?


# %%
def digits_network(same_in: tuple[int, ...] = ()) -> keras.Model:
    """The network `resnet8_digits`; in the stages of `same_in`, the strided 3×3 has padding="same"."""

    def norm(name: str) -> layers.Layer:
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)

    def conv(x: keras.KerasTensor, width: int, k: int, stride: int, name: str) -> keras.KerasTensor:
        stage = int(name[5]) if name.startswith("layer") else 0
        padding = "same"
        if stride == 2 and k == 3 and stage not in same_in:
            x, padding = layers.ZeroPadding2D(1, name=f"{name}.pad")(x), "valid"
        return layers.Conv2D(width, k, stride, padding, use_bias=False, name=name)(x)

    inputs = keras.Input((8, 8, 1))  # (N, 8, 8, 1)
    x = conv(inputs, 16, 3, 1, "conv1")  # (N, 8, 8, 16)
    x = layers.ReLU(name="relu1")(norm("bn1")(x))
    for stage, width, stride in ((1, 16, 1), (2, 32, 2), (3, 64, 2)):
        name = f"layer{stage}.0"
        out = conv(x, width, 3, stride, f"{name}.conv1")  # (N, H/s, W/s, width)
        out = layers.ReLU(name=f"{name}.relu1")(norm(f"{name}.bn1")(out))
        out = norm(f"{name}.bn2")(conv(out, width, 3, 1, f"{name}.conv2"))
        if stride == 2:
            x = norm(f"{name}.downsample.1")(conv(x, width, 1, stride, f"{name}.downsample.0"))
        x = layers.ReLU(name=f"{name}.relu2")(layers.Add(name=f"{name}.add")([out, x]))
    x = layers.GlobalAveragePooling2D(keepdims=True, name="avgpool")(x)  # (N, 1, 1, 64)
    return keras.Model(inputs, layers.Dense(10, name="fc")(layers.Flatten(name="flatten")(x)))


trained = read_trained("resnet8_digits")
digits = load_data("digits")
images = trained.inputs.prepare(digits.test.images)  # (N, H, W, C)
labels = digits.test.labels
print("images", images.shape)
assert images.shape == (360, 8, 8, 1)

twin_torch = resnet_torch.create_model(trained.spec)
resnet_torch.set_weights(twin_torch, trained.arrays)
right_logits = resnet_torch.forward(
    twin_torch, resnet_torch.from_nhwc(images, twin_torch)
)  # (N, 10)

twins, correct = {}, {}
for same_in in ((), (2,), (3,), (2, 3)):
    twins[same_in] = digits_network(same_in)
    resnet_tf.set_weights(twins[same_in], trained.arrays)
    logits = resnet_tf.forward(twins[same_in], images)  # (N, 10)
    assert logits.shape == right_logits.shape == (360, 10)
    correct[same_in] = int((logits.argmax(axis=1) == labels).sum())
    where = " and ".join(f"layer{stage}" for stage in same_in) or "no stage"
    print(f'"same" in {where:<18}{correct[same_in]} of 360 right', end="")
    print(", error of the logits below 1e-5:", relative(logits, right_logits) < 1e-5)
assert relative(resnet_tf.forward(twins[()], images), right_logits) < 1e-5
assert list(correct.values()) == [359, 352, 274, 201]

# %% [markdown]
# Nothing raised an error. All shapes fit, all weights were loaded, and the network still gets 201
# digits right, much more than the 36 of guessing. Many people would now look for a mistake in the
# data, or in the training.
#
# Why is `layer3` worse than `layer2`? Its input has 4×4 pixels, and each of them stands for 2×2 pixels
# of the image. Being wrong by one pixel there is being wrong by *two* pixels of the digit. To see what
# that means, we move the digits themselves, up and to the left, and show them to the *right* network:


# %%
def moved(images: np.ndarray, by: int) -> np.ndarray:
    """The images moved up and to the left by some pixels; black comes in."""
    out = np.full_like(images, images.min())
    out[:, : 8 - by, : 8 - by] = images[:, by:, by:]
    return out


after_move = []
for by in range(4):
    logits = resnet_tf.forward(twins[()], moved(images, by))
    after_move.append(int((logits.argmax(axis=1) == labels).sum()))
    print(f"the right network, digits moved by {by} pixels: {after_move[-1]} of 360 right")
assert after_move == [359, 358, 91, 35]

figure, (ax, small) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
names = ["right", '"same" in layer2', '"same" in layer3', '"same" in both']
bars = ax.barh(names, list(correct.values()), color=[BLUE, ORANGE, ORANGE, ORANGE])
for bar, hatch in zip(bars, ("", "//", "//", "xx")):
    bar.set(hatch=hatch, edgecolor="white")
ax.bar_label(bars, padding=3)
ax.axvline(36, color=GREY, linestyle=":", label="guessing")
ax.set(xlabel="right, of 360 digits", xlim=(0, 420), title="the trained weights in Keras")
ax.invert_yaxis()
ax.legend(frameon=False, loc="lower right")
small.plot(range(4), after_move, "o-", color=BLUE)
small.axhline(36, color=GREY, linestyle=":")
small.set(xlabel="digits moved by (pixels)", ylabel="right, of 360 digits", xticks=range(4))
small.set(title="the right network, moved digits", ylim=(0, 380))
small.grid(alpha=0.3)
plt.show()

# %% [markdown]
# One pixel hardly matters to this network: it was trained with digits that were moved by up to one
# pixel. Two are too many. On larger pictures one pixel is a smaller part of the whole, and the loss of
# accuracy may be smaller too, which makes the mistake harder to notice, not better.
#
# The package has a tool that finds it. `examine` gives the same images to two models, compares them
# layer by layer, and names the likely cause at the first layer that differs:

# %%
some = images[:16]  # (N, H, W, C)
seen = examine(trained.spec, twin_torch.eval(), twins[2, 3], some.transpose(0, 3, 1, 2), some)
assert seen.first == "layer2.0.conv1"
assert "same" in seen.cause
print("the first layer that differs:", seen.first)
print(textwrap.fill(f"likely cause: {seen.cause}", 90))
errors = {layer.name: layer.activation for layer in seen.layers}  # max|a - b| / max|b|
assert errors["layer2.0.conv1"] > 0.9 > 1e-5 > errors["layer2.0.downsample.0"]
plot_microscope(seen)

# %% [markdown]
# All layers in front of `layer2.0.conv1` agree to rounding, and at that layer the error is as large as
# the output. `layer2.0.downsample.0` agrees as well: it is a 1×1 convolution with stride 2, and those
# agree always.
#
# ## Is `same` the worse padding?
#
# No. It is *another* padding. A network that is trained with it learns kernels that fit it. We train
# the network in Keras from scratch, once with each padding, for a few seconds:

# %% tags=["machine"]
train_images = trained.inputs.prepare(digits.train.images)
scores = {}
for same_in in ((), (2, 3)):
    keras.utils.set_random_seed(0)
    model = digits_network(same_in)
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(train_images, digits.train.labels, batch_size=32, epochs=6, verbose=0)
    scores[same_in] = int((resnet_tf.forward(model, images).argmax(axis=1) == labels).sum())
    print(
        f"trained with {'same' if same_in else 'explicit'} padding: {scores[same_in]} of 360 right"
    )
assert min(scores.values()) > 340

# %% [markdown]
# Both learn the digits. The mistake is not the word `"same"`; it is to train with one padding and to
# predict with the other.
#
# ## Three sentences to remember
#
# 1. For stride 2 on an even size, Keras' `"same"` adds its zeros at the bottom and at the right only,
#    and so reads one pixel further than PyTorch's `padding=k // 2`.
# 2. Shapes are equal and nothing is raised, but the outputs can differ as much as those of two
#    different pictures.
# 3. Pad strided layers by hand, `k // 2` on every side and then `"valid"`, and a max-pool with minus
#    infinity.
#
# ## Exercises
#
# Worked solutions: [solutions/03_same_padding.ipynb](solutions/03_same_padding.ipynb).
#
# 1. **Predict.** Before you run the cell with 31, 32 and 33 pixels: for which do three strided
#    convolutions agree? Then find the sizes for which *every* strided layer of ResNet-18 agrees
#    (`conv1` with kernel 7, the max-pool, and one 3×3 convolution in each of `layer2` to `layer4`).
# 2. **Other strides.** The rule for stride 2 is "odd sizes agree". For 3×3 kernels with stride 3, and
#    with stride 4: which sizes agree? Use `same_padding`.
# 3. **The other way round.** Write a `SameConv2d` in PyTorch that gives Keras' result for every size,
#    kernel and stride.
# 4. **A guess to test.** In the wrong network the 3×3 convolution of a block is shifted, and the 1×1
#    shortcut is not, so the two no longer fit. Perhaps that is the trouble? Shift the shortcut's input
#    by one pixel as well, and count the right digits again.
# 5. **Means.** Compare `nn.AvgPool2d(3, 2, padding=1)` with `AveragePooling2D(3, 2, padding="same")` on
#    11×11 pixels of ones. The pixels agree now; what does not? Which argument repairs it?
