# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Solutions to 8. Bottlenecks and where the stride goes
#
# Try each exercise of [the tutorial](../08_bottlenecks_and_stride.ipynb) yourself before you look.

# %%
# Set-up: installs the package where it is missing (as on Colab); in a clone, from the clone.
import importlib.util
from pathlib import Path

if importlib.util.find_spec("resnet_torch") is None:
    home = next((p for p in Path.cwd().parents if (p / "resnet_torch").is_dir()), "resnet-twins")
    get_ipython().run_line_magic("pip", f'install -q "{home}[all,notebooks]"')

# %%
# %matplotlib inline
import numpy as np
import torch
from torch import nn

import resnet_tf  # brings Keras, without TensorFlow's messages at the start
import keras
import tensorflow as tf
from keras import layers
from shared.networks import ResNetSpec, count_macs, count_parameters, get_spec, layer_table

# %% [markdown]
# ## Exercise 1: predict
#
# ResNet-34, by far: 899 pixels against 427. In `layer4` the stride of the first block makes the
# jump 32.
#
# - A basic block has two 3×3 convolutions. The first block of `layer4` adds 2 · 16 (in front of the
#   stride) and 2 · 32 (after it). The other two add 4 · 32 each.
# - A bottleneck has one 3×3. In the first block it has the stride, and so adds 2 · 16. The other two
#   add 2 · 32 each. The 1×1 convolutions add (1 - 1) · 32, which is nothing.


# %%
def growth(name: str, block: str, jump: int) -> tuple[int, int]:
    """How much the layers of a block's main path add to the field, and the jump after them."""
    added = 0
    for row in layer_table(get_spec(name)):
        if row.block == block and row.kernel_size and ".downsample" not in row.name:
            added += (row.kernel_size - 1) * jump
            jump *= row.stride
    return added, jump


totals = {}
for name in ("resnet34", "resnet50"):
    jump, totals[name] = 16, []  # in front of layer4
    for index in range(3):
        added, jump = growth(name, f"layer4.{index}", jump)
        totals[name].append(added)
    print(f"{name}: the blocks of layer4 add {totals[name]} pixels")
assert totals["resnet34"] == [2 * 16 + 2 * 32, 4 * 32, 4 * 32]
assert totals["resnet50"] == [2 * 16, 2 * 32, 2 * 32]
assert 547 + sum(totals["resnet34"]) == 899 and 267 + sum(totals["resnet50"]) == 427

# %% [markdown]
# ## Exercise 2: without bottlenecks
#
# A row is enough; nothing has to be built. The network has thirteen times the parameters of
# ResNet-50, and costs fourteen times the multiply-adds. Nobody trains it.

# %%
wide = ResNetSpec(
    name="wide34", block="BasicBlock", depths=(3, 4, 6, 3), widths=(256, 512, 1024, 2048)
)
usual = get_spec("resnet50")
parameters = count_parameters(wide) / count_parameters(usual)
macs = count_macs(wide) / count_macs(usual)
print(f"{count_parameters(wide):,} parameters: {parameters:.1f} times ResNet-50")
print(f"{count_macs(wide):,} multiply-adds: {macs:.1f} times ResNet-50")
last = {row.name: row.output_shape for row in layer_table(wide)}
assert last["layer4.2.relu2"] == (2048, 7, 7)
assert 13 < parameters < 14 and 13 < macs < 15

# %% [markdown]
# ## Exercise 3: a third place for the stride
#
# The first two convolutions now work on 56×56 pixels, the last one reads a quarter of them. So the
# 3×3 convolution computes four numbers, and three of them are never read. The block costs more than
# twice as much as in v1.5, and throws most of its work away. (Its kernels still have the same
# shapes: the weights would load here as well.)

# %%
price = {}
for place, strides in (("v1", (2, 1, 1)), ("v1.5", (1, 2, 1)), ("last 1×1", (1, 1, 2))):
    pixels, total = 56, 0
    plan = ((1, 256, 128), (3, 128, 128), (1, 128, 512))
    for (kernel, inside, out), stride in zip(plan, strides):
        pixels //= stride
        total += kernel * kernel * inside * out * pixels * pixels
    price[place] = total + 256 * 512 * 28 * 28  # the projection of the shortcut
    print(f"{place:8} {price[place]:13,} multiply-adds")
for place, name in (("v1", "resnet50_v1"), ("v1.5", "resnet50")):
    rows = [row for row in layer_table(get_spec(name)) if row.block == "layer2.0"]
    assert price[place] == sum(row.macs for row in rows)
assert 1.8 < price["last 1×1"] / price["v1.5"] < 2

middle = torch.ones(1, 128, 56, 56, requires_grad=True)  # what the 3×3 outputs
out = nn.functional.conv2d(middle, torch.ones(512, 128, 1, 1), stride=2)
out.sum().backward()
unread = float((middle.grad == 0).float().mean())
print(f"{tuple(middle.shape)} -> {tuple(out.shape)}: never read {unread:.0%}")
assert out.shape == (1, 512, 28, 28) and unread == 0.75

# %% [markdown]
# ## Exercise 4: three small or one large
#
# Each 3×3 with stride 1 adds 2 pixels: 3, 5, 7. So three of them see as far as one 7×7, with 27 ·
# 64 · 64 weights in place of 49 · 64 · 64. And there is room for a ReLU between them. (The stem of
# ResNet has a 7×7 all the same: with 3 channels in, it is cheap.)

# %%
field, jump = 1, 1
for kernel, stride in ((3, 1), (3, 1), (3, 1)):
    field += (kernel - 1) * jump
    jump *= stride
small, large = 3 * 9 * 64 * 64, 49 * 64 * 64
print(f"field {field}; weights {small:,} against {large:,}: {small / large:.0%}")
assert field == 7 and (small, large) == (110_592, 200_704)

x = torch.ones(1, 1, 15, 15, requires_grad=True)
out = x
for _ in range(3):
    out = nn.functional.conv2d(out, torch.ones(1, 1, 3, 3), padding=1)
out[0, 0, 7, 7].backward()
seen_torch = (x.grad[0, 0] != 0).numpy()

pixels = tf.Variable(tf.ones((1, 15, 15, 1)))
with tf.GradientTape() as tape:
    y = tf.convert_to_tensor(pixels)
    for _ in range(3):
        y = keras.ops.conv(y, keras.ops.ones((3, 3, 1, 1)), padding="same")
    total = y[0, 7, 7, 0]
seen_keras = tape.gradient(total, pixels).numpy()[0, :, :, 0] != 0
for seen in (seen_torch, seen_keras):
    assert seen.shape == (15, 15) and seen.sum() == 7 * 7
    assert seen[4:11, 4:11].all()
