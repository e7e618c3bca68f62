# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Solutions to 2. One convolution, two layouts
#
# Try each exercise of [the tutorial](../02_one_convolution.ipynb) yourself before you look.

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
from sklearn.datasets import load_sample_image
from torch import nn

import resnet_tf  # brings Keras, without TensorFlow's messages at the start
import keras
from keras import layers
from shared.networks import get_spec, layer_table
from shared.twins import relative  # max|a - b| / max|b|

torch.manual_seed(0)
keras.utils.set_random_seed(0)

# %% [markdown]
# ## Exercise 1: predict
#
# Most people expect the kernel, 1 to 9. What comes out is 9 to 1: the kernel **turned around**. Follow
# the upper left number of the output. Its window has the white pixel in its *lower right* corner, and
# there the kernel holds a 9. As the window moves to the right and down, the white pixel moves to the
# left and up in it.
#
# A true convolution turns the kernel around first, and a kernel that is turned twice is itself again:
# 1 to 9. NumPy's `convolve` is a true convolution, and `correlate` is what the frameworks do:

# %%
kernel, point = np.array([1, 2, 3]), np.array([0, 0, 1, 0, 0])
print("np.convolve ", np.convolve(point, kernel, mode="valid").tolist())
print("np.correlate", np.correlate(point, kernel, mode="valid").tolist())
assert np.convolve(point, kernel, mode="valid").tolist() == [1, 2, 3]
assert np.correlate(point, kernel, mode="valid").tolist() == [3, 2, 1]

# %% [markdown]
# ## Exercise 2: the way back
#
# `(2, 3, 1, 0)` gives (4, 8, 5, 3), where (8, 4, 3, 5) is wanted. To go back one needs the *inverse*
# of the order: `(3, 2, 0, 1)`. Read it as a list of questions. PyTorch wants "out" first, and in Keras
# that is axis 3; then "in", which is axis 2; then height and width, 0 and 1. `argsort` finds the
# inverse of any order.

# %%
forward, back = (2, 3, 1, 0), (3, 2, 0, 1)
kernel_keras = np.zeros((3, 5, 4, 8))  # (height, width, in, out)
print("(2, 3, 1, 0):", kernel_keras.transpose(forward).shape)
print("(3, 2, 0, 1):", kernel_keras.transpose(back).shape)
assert kernel_keras.transpose(forward).shape == (4, 8, 5, 3)
assert kernel_keras.transpose(back).shape == (8, 4, 3, 5)
assert tuple(np.argsort(forward)) == back

# %% [markdown]
# With a 3×3 kernel and equal channels the wrong way back fits too. It swaps height and width, and in
# and out as well: one of the silent mistakes.

# %%
weight = np.random.default_rng(0).standard_normal((4, 4, 3, 3))
there_and_back = weight.transpose(forward).transpose(forward)
assert there_and_back.shape == weight.shape
assert not np.array_equal(there_and_back, weight)
assert np.array_equal(there_and_back, weight.transpose(1, 0, 3, 2))
print("(2, 3, 1, 0) twice swaps in and out, and height and width")

# %% [markdown]
# ## Exercise 3: sizes
#
# Each part of ResNet-18 that makes the picture smaller has a stride of 2. Kernel 7 has padding 3,
# kernel 3 has padding 1.


# %%
def output_size(n: int, k: int, s: int = 1, p: int = 0, d: int = 1) -> int:
    return (n + 2 * p - d * (k - 1) - 1) // s + 1


def sizes(n: int) -> dict[str, int]:
    found = {"conv1": output_size(n, 7, 2, 3)}
    found["maxpool"] = found["layer1"] = output_size(found["conv1"], 3, 2, 1)
    for stage in (2, 3, 4):
        found[f"layer{stage}"] = output_size(found[f"layer{stage - 1}"], 3, 2, 1)
    return found


print(sizes(64))
rows = layer_table(get_spec("resnet18"), input_size=64)
last = {row.stage: row.output_shape[1] for row in rows if row.stage.startswith("layer")}
assert {name: size for name, size in sizes(64).items() if name in last} == last
assert sizes(64) == {
    "conv1": 32,
    "maxpool": 16,
    "layer1": 16,
    "layer2": 8,
    "layer3": 4,
    "layer4": 2,
}

smallest = next(n for n in range(1, 65) if sizes(n)["layer4"] > 1)
print("32 pixels:", sizes(32))
print(f"{smallest} pixels:", sizes(smallest))
assert smallest == 33 and sizes(32)["layer4"] == 1

# %% [markdown]
# With a padding of `k // 2`, a stride of 2 halves and rounds *up*: 33 pixels become 17, then 9, 5, 3
# and 2. One pixel less, and all of `layer4` works at a single pixel.
#
# ## Exercise 4: loops


# %%
def convolve_by_loops(x: np.ndarray, kernel: np.ndarray) -> tuple[np.ndarray, int]:
    """x is (H, W, C), kernel is (k, k, C, C'); returns (H', W', C') and the multiplications."""
    k, _, c_in, c_out = kernel.shape
    height, width = x.shape[0] - k + 1, x.shape[1] - k + 1
    out, count = np.zeros((height, width, c_out)), 0
    for row in range(height):
        for column in range(width):
            for o in range(c_out):
                for i in range(k):
                    for j in range(k):
                        for c in range(c_in):
                            out[row, column, o] += x[row + i, column + j, c] * kernel[i, j, c, o]
                            count += 1
    return out, count


layer = nn.Conv2d(3, 4, 3, bias=False)
x = np.random.default_rng(0).standard_normal((10, 12, 3)).astype("float32")
kernel_keras = layer.weight.detach().numpy().transpose(2, 3, 1, 0)  # (k, k, C, C')
out, count = convolve_by_loops(x, kernel_keras)
wanted = layer(torch.from_numpy(x.transpose(2, 0, 1))[None])[0].detach().numpy()  # (C', H', W')
print(x.shape, "->", out.shape, f"with {count:,} multiplications")
assert out.shape == (8, 10, 4)
assert relative(out.transpose(2, 0, 1), wanted) < 1e-5
assert count == 3 * 3 * 3 * 4 * 8 * 10

# %% [markdown]
# The count is `k · k · C · C' · H' · W'`, the numbers of steps of the six loops multiplied. (With a
# padding, the multiplications with its zeros are counted as well.)
#
# ## Exercise 5: a silent mistake
#
# You get the right output, with height and width swapped. Two mistakes hide each other: if picture
# and kernel are both mirrored along the diagonal, so is the output, and nothing else changes. With a
# global average pooling after it, not even that can be seen. Only when somebody feeds a picture that
# is the right way round does the network become wrong.

# %%
photo = load_sample_image("china.jpg")[::4, ::4].astype("float32") / 255  # (H, W, C)
original = nn.Conv2d(3, 8, 3, bias=False)
wrong = layers.Conv2D(8, 3, use_bias=False)
wrong.build((None, None, None, 3))
wrong.kernel.assign(original.weight.detach().numpy().transpose(3, 2, 1, 0))  # (width, height, ...)

with torch.no_grad():
    wanted = original(torch.from_numpy(photo.transpose(2, 0, 1).copy())[None]).numpy()
wanted = wanted.transpose(0, 2, 3, 1)  # (N, H, W, C)
upright = np.asarray(wrong(photo[None]))  # (N, H, W, C)
swapped = np.asarray(wrong(photo.transpose(1, 0, 2)[None]))  # (N, W, H, C)
print("right", wanted.shape, " upright picture", upright.shape, " swapped picture", swapped.shape)
assert wanted.shape == upright.shape == (1, 105, 158, 8)
assert swapped.shape == (1, 158, 105, 8)
assert relative(swapped.transpose(0, 2, 1, 3), wanted) < 1e-5
assert relative(swapped.mean(axis=(1, 2)), wanted.mean(axis=(1, 2))) < 1e-4
assert relative(upright, wanted) > 0.1

figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
for ax, values, title in (
    (axes[0], wanted, "PyTorch"),
    (axes[1], swapped, "Keras, kernel and picture swapped"),
    (axes[2], upright, "Keras, only the kernel swapped"),
):
    ax.imshow(values[0, :, :, 0], cmap="gray", vmin=wanted[..., 0].min(), vmax=wanted[..., 0].max())
    ax.set(title=title, xlabel="second axis (pixels)", ylabel="first axis (pixels)")
plt.show()
