# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Solutions to 3. `same` is not `padding=1`
#
# Try each exercise of [the tutorial](../03_same_padding.ipynb) yourself before you look.

# %%
# Set-up: installs the package where it is missing (as on Colab); in a clone, from the clone.
import importlib.util
from pathlib import Path

if importlib.util.find_spec("resnet_torch") is None:
    home = next((p for p in Path.cwd().parents if (p / "resnet_torch").is_dir()), "resnet-twins")
    get_ipython().run_line_magic("pip", f'install -q "{home}[all,notebooks]"')

# %%
# %matplotlib inline
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import resnet_tf  # brings Keras, without TensorFlow's messages at the start
import keras
from keras import layers
from shared.data import load_data
from shared.base import BLUE, GREY, ORANGE
from shared.checkpoints import read_trained
from shared.twins import relative  # max|a - b| / max|b|


def same_padding(n: int, k: int, s: int) -> tuple[int, int]:
    """How many zeros padding="same" adds in front of an axis of n pixels, and behind it."""
    outputs = -(-n // s)  # n / s, rounded up
    total = max((outputs - 1) * s + k - n, 0)
    return total // 2, total - total // 2  # the odd one goes behind


# %% [markdown]
# ## Exercise 1: predict
#
# Only 33. Most people say "31 and 33, because they are odd". But each layer has an input of its own,
# and each of them must be odd: 31 becomes 16. The sizes that stay odd through the five strided layers
# of ResNet-18 are those that leave a rest of 1 when divided by 2 · 2 · 2 · 2 · 2 = 32.


# %%
def agrees_everywhere(n: int) -> bool:
    """Whether padding="same" is k // 2 on both sides in every strided layer of ResNet-18."""
    for k in (7, 3, 3, 3, 3):  # conv1, maxpool, and the first convolutions of layer2 to layer4
        if same_padding(n, k, 2) != (k // 2, k // 2):
            return False
        n = -(-n // 2)
    return True


sizes = [n for n in range(1, 301) if agrees_everywhere(n)]
print(sizes)
assert sizes == [n for n in range(1, 301) if n % 32 == 1]
assert 225 in sizes and 224 not in sizes

# %% [markdown]
# 1 is in the list, too: a single pixel stays a single pixel. More useful are 33, 65 or 225. With
# images of 225×225 pixels, a ResNet with `"same"` and one with explicit padding are the same function.
#
# ## Exercise 2: other strides
#
# They agree if `n` leaves a rest of 1 when divided by the stride. Then the last window stands on the
# last pixel, and needs one zero behind it, as the first one needs one in front. "Odd" is this rule for
# stride 2.

# %%
for s in (2, 3, 4):
    agreeing = [n for n in range(8, 30) if same_padding(n, 3, s) == (1, 1)]
    print(f"stride {s}: {agreeing}")
    assert agreeing == [n for n in range(8, 30) if n % s == 1]

# %% [markdown]
# ## Exercise 3: the other way round
#
# The padding depends on the size of the input, so it must be worked out in `forward`. `F.pad` counts
# from the last axis: first W (in front, behind), then H.


# %%
class SameConv2d(nn.Conv2d):
    """A convolution that pads as Keras' padding="same"."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (N, C, H, W)
        along_height = same_padding(x.shape[2], self.kernel_size[0], self.stride[0])
        along_width = same_padding(x.shape[3], self.kernel_size[1], self.stride[1])
        return super().forward(F.pad(x, (*along_width, *along_height)))  # (N, C', H', W')


torch.manual_seed(0)
keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
count = 0
for n, k, s in product((7, 8, 11, 12), (1, 2, 3, 4, 5, 7), (1, 2, 3)):
    layer_keras = layers.Conv2D(4, k, s, padding="same")
    x = rng.standard_normal((1, n, n + 1, 2)).astype("float32")  # (N, H, W, C), not square
    wanted = np.asarray(layer_keras(x)).transpose(0, 3, 1, 2)
    layer_torch = SameConv2d(2, 4, k, s)
    with torch.no_grad():
        kernel = np.asarray(layer_keras.kernel.numpy()).transpose(3, 2, 0, 1)
        layer_torch.weight.copy_(torch.from_numpy(kernel.copy()))
        layer_torch.bias.copy_(torch.from_numpy(layer_keras.bias.numpy()))
        found = layer_torch(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    assert found.shape == wanted.shape == (1, 4, -(-n // s), -(-(n + 1) // s))
    assert relative(found, wanted) < 1e-5
    count += 1
print(f"equal to 1e-5 in all {count} combinations, even kernels too")
assert count == 72

# %% [markdown]
# ## Exercise 4: a guess to test
#
# The guess sounds good, and it is wrong. If the shortcut's input is shifted as well, the two paths fit
# again, but the accuracy gets **worse**, in all three cases. Now the whole block stands on the wrong
# pixels. Before, the shortcut at least still brought the right ones.


# %%
def digits_network(same_in: tuple[int, ...], shift_shortcut: bool) -> keras.Model:
    def norm(name: str) -> layers.Layer:
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)

    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="conv1")(inputs)
    x = layers.ReLU()(norm("bn1")(x))
    for stage, width, stride in ((1, 16, 1), (2, 32, 2), (3, 64, 2)):
        name, out, padding = f"layer{stage}.0", x, "same"
        if stride == 2 and stage not in same_in:
            out, padding = layers.ZeroPadding2D(1)(x), "valid"
        conv1 = layers.Conv2D(width, 3, stride, padding, use_bias=False, name=f"{name}.conv1")
        out = layers.ReLU()(norm(f"{name}.bn1")(conv1(out)))
        conv2 = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"{name}.conv2")
        out = norm(f"{name}.bn2")(conv2(out))
        if stride == 2:
            if stage in same_in and shift_shortcut:  # up and to the left by one pixel
                x = layers.Cropping2D(((1, 0), (1, 0)))(x)
                x = layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
            short = layers.Conv2D(width, 1, stride, use_bias=False, name=f"{name}.downsample.0")
            x = norm(f"{name}.downsample.1")(short(x))
        x = layers.ReLU()(layers.Add()([out, x]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, name="fc")(x))


trained = read_trained("resnet8_digits")
test = load_data("digits").test
images = trained.inputs.prepare(test.images)  # (N, H, W, C)
counts = {}
for shift, same_in in product((False, True), ((), (2,), (3,), (2, 3))):
    model = digits_network(same_in, shift)
    resnet_tf.set_weights(model, trained.arrays)
    logits = resnet_tf.forward(model, images)  # (N, 10)
    assert logits.shape == (360, 10)
    counts[shift, same_in] = int((logits.argmax(axis=1) == test.labels).sum())
as_it_is = [counts[False, same_in] for same_in in ((), (2,), (3,), (2, 3))]
also_shifted = [counts[True, same_in] for same_in in ((), (2,), (3,), (2, 3))]
print("shortcut as it is:", as_it_is)
print("shortcut shifted: ", also_shifted)
assert as_it_is == [359, 352, 274, 201]
assert also_shifted == [359, 349, 237, 177]

figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
places = np.arange(4)
ax.bar(places - 0.2, as_it_is, 0.4, color=BLUE, label="shortcut as it is")
look = {"color": ORANGE, "hatch": "//", "edgecolor": "white"}
ax.bar(places + 0.2, also_shifted, 0.4, label="shortcut shifted too", **look)
ax.axhline(36, color=GREY, linestyle=":", label="guessing")
ax.set_xticks(places, ["nowhere", "layer2", "layer3", "both"])
ax.set(xlabel='"same" in', ylabel="right, of 360 digits")
ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# A guess that explains everything is still a guess. The experiment took one line in the network.
#
# ## Exercise 5: means
#
# At the border, PyTorch divides by 9 even where some of the nine pixels are zeros of the padding: at an
# edge the mean of ones is 6 / 9, in a corner 4 / 9. Keras divides by the number of real pixels. PyTorch
# does the same with `count_include_pad=False`.

# %%
ones = np.ones((1, 11, 11, 1), "float32")  # (N, H, W, C)
ones_torch = torch.from_numpy(ones.transpose(0, 3, 1, 2).copy())  # (N, C, H, W)
out_keras = np.asarray(layers.AveragePooling2D(3, 2, padding="same")(ones))[0, :, :, 0]
out_torch = nn.AvgPool2d(3, 2, padding=1)(ones_torch)[0, 0].numpy()
repaired = nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)(ones_torch)[0, 0].numpy()
print("PyTorch: corner", out_torch[0, 0].round(3), " edge", out_torch[0, 1].round(3))
print("Keras:   corner", out_keras[0, 0].round(3), " edge", out_keras[0, 1].round(3))
assert out_torch.shape == out_keras.shape == (6, 6)
assert np.allclose([out_torch[0, 0], out_torch[0, 1], out_torch[1, 1]], [4 / 9, 6 / 9, 1])
assert np.allclose(out_keras, 1)
assert np.allclose(repaired, out_keras)
