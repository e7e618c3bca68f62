# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 8. Bottlenecks and where the stride goes
#
# *What a block costs, which pixels it reads, how far it sees, and why multiply-adds are not seconds.*
#
# **After this tutorial you can**
#
# - compute parameters and multiply-adds of a block, and say what a bottleneck saves,
# - tell ResNet-50 "v1" from "v1.5", and explain why the wrong one loads your weights silently,
# - derive the receptive field of any layer, and check it with a gradient,
# - say why fewer multiply-adds do not always mean less time, and measure it fairly.
#
# **Time:** about 75 minutes to work through; the cells run in under two minutes.
#
# **You need** the residual block (tutorial 5) and the stages of ResNet-50 (tutorial 6).

# %%
# Set-up: installs the package where it is missing (as on Colab); in a clone, from the clone.
import importlib.util
from pathlib import Path

if importlib.util.find_spec("resnet_torch") is None:
    home = next((p for p in Path.cwd().parents if (p / "resnet_torch").is_dir()), "resnet-twins")
    get_ipython().run_line_magic("pip", f'install -q "{home}[all,notebooks]"')

# %%
# %matplotlib inline
import time
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patches import Rectangle
from torch import nn

import resnet_tf  # brings Keras, without TensorFlow's messages at the start
import resnet_torch
import keras
import tensorflow as tf
from keras import layers
from shared.networks import get_spec, plot_block
from shared.base import BLUE, GREEN, GREY, ORANGE
from shared.networks import ResNetSpec, count_macs, count_parameters, layer_table

# %% [markdown]
# ## The price of two blocks
#
# A block in `layer1` of ResNet-50 gets 256 channels, and outputs 256 channels. There are two ways to
# build it:
#
# - **basic**: 3×3, 256 → 256, and again 3×3, 256 → 256;
# - **bottleneck**: 1×1, 256 → 64, then 3×3, 64 → 64, then 1×1, 64 → 256.
#
# The bottleneck is three layers deep, but its expensive 3×3 kernel works on 64 channels only. Here
# are both, in both frameworks.


# %%
def conv(in_channels: int, channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, kernel, stride, padding=kernel // 2, bias=False)


class BasicTorch(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.f = nn.Sequential(
            conv(channels, channels, 3),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            conv(channels, channels, 3),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (N, C, H, W)
        return torch.relu(self.f(x) + x)  # (N, C, H, W)


class BottleneckTorch(nn.Module):
    def __init__(self, channels: int, narrow: int) -> None:
        super().__init__()
        self.f = nn.Sequential(
            conv(channels, narrow, 1),  # (N, narrow, H, W)
            nn.BatchNorm2d(narrow),
            nn.ReLU(),
            conv(narrow, narrow, 3),  # (N, narrow, H, W)
            nn.BatchNorm2d(narrow),
            nn.ReLU(),
            conv(narrow, channels, 1),  # (N, C, H, W)
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (N, C, H, W)
        return torch.relu(self.f(x) + x)  # (N, C, H, W)


def block_keras(size: int, channels: int, plan: list[tuple[int, int]]) -> keras.Model:
    """`plan` has (channels, kernel size) of each convolution."""
    x = inputs = keras.Input((size, size, channels))  # (N, H, W, C)
    for number, (width, kernel) in enumerate(plan, start=1):
        x = layers.Conv2D(width, kernel, padding="same", use_bias=False, name=f"conv{number}")(x)
        x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"bn{number}")(x)
        if number < len(plan):
            x = layers.ReLU(name=f"relu{number}")(x)
    return keras.Model(inputs, layers.ReLU()(layers.Add(name="add")([x, inputs])))


PIXELS = 56
blocks = {
    "basic": (BasicTorch(256), block_keras(PIXELS, 256, [(256, 3), (256, 3)])),
    "bottleneck": (
        BottleneckTorch(256, 64),
        block_keras(PIXELS, 256, [(64, 1), (64, 3), (256, 1)]),
    ),
}
x = torch.zeros(1, 256, PIXELS, PIXELS)
price = {}
for name, (block_torch, block) in blocks.items():
    with torch.no_grad():
        shape = tuple(block_torch(x).shape)
    parameters = sum(p.numel() for p in block_torch.parameters())
    kernels = sum(p.numel() for p in block_torch.parameters() if p.ndim == 4)
    price[name] = (parameters, kernels * PIXELS * PIXELS)
    print(f"{name:10} {parameters:9,} parameters {price[name][1]:13,} multiply-adds  {shape}")
    assert shape == (1, 256, 56, 56) and block.output.shape == (None, 56, 56, 256)
    assert parameters == sum(int(np.prod(v.shape)) for v in block.trainable_variables)

for number, what in enumerate(("parameters", "multiply-adds")):
    print(f"{what}: {price['basic'][number] / price['bottleneck'][number]:.1f} times as many")
assert price["basic"][1] == (9 * 256 * 256 + 9 * 256 * 256) * 56**2
assert price["bottleneck"][1] == (256 * 64 + 9 * 64 * 64 + 64 * 256) * 56**2
assert 16 < price["basic"][1] / price["bottleneck"][1] < 17
assert price["bottleneck"][1] == sum(
    row.macs for row in layer_table(get_spec("resnet50")) if row.block == "layer1.1"
)

# %% [markdown]
# The same input, the same output, and 17 times the price. So what else could you buy for the price
# of a bottleneck? Two 3×3 convolutions at *64* channels: that is the block of ResNet-34. The paper
# (He et al. 2015, figure 5) sets these two side by side.

# %%
basic_64 = 2 * 9 * 64 * 64
bottleneck_256 = 256 * 64 + 9 * 64 * 64 + 64 * 256
print(f"kernels: two 3×3 at 64 channels {basic_64:,}, bottleneck at 256 {bottleneck_256:,}")
print(
    f"of the bottleneck's, 1×1: {2 * 256 * 64 / bottleneck_256:.0%},"
    f" 3×3: {9 * 64 * 64 / bottleneck_256:.0%}"
)
assert (basic_64, bottleneck_256) == (73_728, 69_632)

# %% [markdown]
# A bottleneck is even a little cheaper, and hands on four times as many channels. Note where its cost
# is: almost half in the two 1×1 convolutions, which look at one pixel at a time.
#
# ## Where the stride goes
#
# The first block of `layer2` halves the picture. One of its convolutions must have stride 2. Which
# one?
#
# - In the paper it is the **first 1×1**. People call this network "v1"; here it is `resnet50_v1`.
# - In torchvision it is the **3×3**. People call it "v1.5"; here it is `resnet50`.

# %%
plot_block("resnet50_v1", "layer2.0")

# %%
plot_block("resnet50", "layer2.0")

# %% [markdown]
# Compare the grey shapes after the first convolution: 28×28 pixels in the first drawing, 56×56 in
# the second. What does each read? A 1×1 convolution with stride 2 steps over every second pixel in
# each row, and over every second row. To see it, we make all kernels 1, and ask for the gradient of
# the sum of the output by the input: it counts on how many ways each pixel gets into the output. A
# pixel with the count 0 is never read.


# %%
def reads_torch(steps: list[tuple[int, int]], size: int = 8) -> np.ndarray:
    """On how many ways each pixel gets into the output of convolutions (kernel size, stride)."""
    pixels = torch.ones(1, 1, size, size, requires_grad=True)
    x = pixels
    for kernel, stride in steps:
        weight = torch.ones(1, 1, kernel, kernel)
        x = nn.functional.conv2d(x, weight, stride=stride, padding=kernel // 2)
    x.sum().backward()
    return pixels.grad[0, 0].numpy()


def reads_keras(steps: list[tuple[int, int]], size: int = 8) -> np.ndarray:
    pixels = tf.Variable(tf.ones((1, size, size, 1)))
    with tf.GradientTape() as tape:
        x = tf.convert_to_tensor(pixels)
        for kernel, stride in steps:
            x = keras.ops.pad(x, ((0, 0), (kernel // 2,) * 2, (kernel // 2,) * 2, (0, 0)))
            x = keras.ops.conv(x, keras.ops.ones((kernel, kernel, 1, 1)), stride, padding="valid")
        total = keras.ops.sum(x)
    return tape.gradient(total, pixels).numpy()[0, :, :, 0]


PLANS = {
    "v1: 1×1 stride 2, then 3×3": [(1, 2), (3, 1)],
    "v1.5: 1×1, then 3×3 stride 2": [(1, 1), (3, 2)],
}
unread = {}
figure, axes_of_both = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
for axes, (name, steps) in zip(axes_of_both, PLANS.items()):
    counts = reads_torch(steps)
    assert counts.shape == (8, 8) and np.array_equal(counts, reads_keras(steps))
    unread[name] = float((counts == 0).mean())
    axes.imshow(counts > 0, cmap="Blues", vmin=0, vmax=2)
    for row in range(8):
        for column in range(8):
            times = int(counts[row, column])
            text = f"{times}" if times else "×"
            axes.text(column, row, text, ha="center", va="center", color="black")
    axes.set_xticks(np.arange(-0.5, 8), [])
    axes.set_yticks(np.arange(-0.5, 8), [])
    axes.grid(color=GREY, linewidth=0.8)
    axes.set(title=f"{name}\nnever read: {unread[name]:.0%}", xlabel="column of pixels")
    axes.set_ylabel("row of pixels")
figure.suptitle("On how many ways each pixel gets into the main path's output (×: on none)")
plt.show()
assert list(unread.values()) == [0.75, 0]

# %% [markdown]
# In v1 three quarters of the pixels are thrown away unread. The shortcut does not save them: its
# projection is a 1×1 convolution with stride 2 as well, and reads the same quarter. In v1.5 the main
# path reads each pixel, at least once.
#
# We check this on the real blocks, with the shortcut, in both frameworks: which pixels of the input
# have any influence on the output of `layer2.0`? A pixel without influence has a gradient of zero.

# %%
inputs_of_block = np.random.default_rng(0).standard_normal((1, 16, 16, 256)).astype("float32")
for name in ("resnet50_v1", "resnet50"):
    spec = get_spec(name, num_classes=10, input_size=64)  # layer2.0 then gets 16×16 pixels
    block = resnet_torch.create_model(spec, seed=0).eval().layer2[0]
    x = torch.from_numpy(inputs_of_block.transpose(0, 3, 1, 2).copy()).requires_grad_()
    out = block(x)
    out.sum().backward()
    dead_torch = (x.grad == 0).all(1)[0].numpy()  # (H, W): zero in all channels

    model = resnet_tf.create_model(spec, seed=0)
    part = keras.Model(
        model.get_layer("layer1.2.relu3").output, model.get_layer("layer2.0.relu3").output
    )
    pixels = tf.Variable(inputs_of_block)
    with tf.GradientTape() as tape:
        out_keras = part(pixels, training=False)
        total = tf.reduce_sum(out_keras)
    dead_keras = (tape.gradient(total, pixels).numpy() == 0).all(-1)[0]
    print(
        f"{name:12} {tuple(x.shape)} -> {tuple(out.shape)}: without influence {dead_torch.mean():.0%}"
    )
    assert out.shape == (1, 512, 8, 8) and out_keras.shape == (1, 8, 8, 512)
    assert np.array_equal(dead_torch, dead_keras)
    assert dead_torch.mean() == (0.75 if name == "resnet50_v1" else 0)

# %% [markdown]
# What does reading everything cost? The first 1×1 convolution of three blocks now works on four
# times as many pixels. The number of parameters is the same: a kernel does not know about strides.

# %%
v1, v15 = get_spec("resnet50_v1"), get_spec("resnet50")
for spec in (v1, v15):
    print(
        f"{spec.name:12} {count_parameters(spec):,} parameters {count_macs(spec):,} multiply-adds"
    )
print(f"more multiply-adds: {count_macs(v15) / count_macs(v1) - 1:.1%}")
different = [
    (a.name, a.macs, b.macs) for a, b in zip(layer_table(v1), layer_table(v15)) if a.macs != b.macs
]
for name, first, second in different:
    print(f"  {name}: {first:,} -> {second:,}")
assert [name for name, _, _ in different] == ["layer2.0.conv1", "layer3.0.conv1", "layer4.0.conv1"]
assert all(second == 4 * first for _, first, second in different)
assert round(count_macs(v1) / 1e9, 2) == 3.86 and round(count_macs(v15) / 1e9, 2) == 4.09
assert count_parameters(v1) == count_parameters(v15) == 25_557_032

# %% [markdown]
# ### The trap
#
# The two networks have the same names, the same shapes, the same number of parameters. So weights
# of one load into the other without complaint, in both frameworks. Do they give the same logits?

# %%
images = np.random.default_rng(0).standard_normal((2, 64, 64, 3)).astype("float32")
weights = resnet_torch.get_weights(
    resnet_torch.create_model("resnet50", seed=0, num_classes=10, input_size=64)
)
logits = {}
for framework in (resnet_torch, resnet_tf):
    for name in ("resnet50", "resnet50_v1"):
        model = framework.create_model(name, num_classes=10, input_size=64)
        framework.set_weights(model, weights)  # strict, and does not complain
        inputs = framework.from_nhwc(images, model)
        logits[framework.TITLE, name] = framework.forward(model, inputs)
        assert logits[framework.TITLE, name].shape == (2, 10)


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


for title in ("PyTorch", "Keras"):
    off = relative(logits[title, "resnet50_v1"], logits[title, "resnet50"])
    print(f"{title:7}: logits of v1 and v1.5 differ by more than 1% of the largest: {off > 0.01}")
    assert off > 0.01
for name in ("resnet50", "resnet50_v1"):
    same = relative(logits["PyTorch", name], logits["Keras", name])
    print(f"{name:11}: the two frameworks agree to 5e-4: {same < 5e-4}")
    assert same < 5e-4

# %% [markdown]
# No error, no warning, other logits. `keras.applications.ResNet50` is of the first kind,
# torchvision's `resnet50` of the second. Whoever moves weights from one to the other must change
# the place of the stride too (tutorial 9). Nothing in the file of weights says where it belongs.
#
# ## How far does a pixel see?
#
# A number after a 3×3 convolution depends on 3×3 pixels. After two of them it depends on 5×5,
# because the outer pixels of the second kernel look one pixel further. The region is called the
# **receptive field**. For a chain of layers with kernel size `k` and stride `s` it is found by
# going through the layers with two numbers:
#
#     field = 1                            one pixel sees itself
#     jump  = 1                            neighbours are one pixel of the image apart
#     for each layer:
#         field = field + (k - 1) * jump   k - 1 further neighbours, each `jump` pixels away
#         jump  = jump * s                 after a stride, neighbours are further apart
#
# Where two ways meet, the longer reach counts. In a ResNet that is the main path, as shortcuts have
# at most a 1×1 kernel.
#
# **Predict before you run the next cell** (exercise 1): ResNet-34 and ResNet-50 have the same depths.
# Which of them has the larger receptive field at the end of `layer4`?


# %%
def receptive_fields(spec: ResNetSpec) -> dict[str, tuple[int, int]]:
    """Name of each layer of the main path -> (field, jump), in pixels of the image."""
    field, jump, found = 1, 1, {}
    for row in layer_table(spec):
        if row.kernel_size and ".downsample" not in row.name:
            field += (row.kernel_size - 1) * jump
            jump *= row.stride
        if ".downsample" not in row.name and row.stage != "head":
            found[row.name] = (field, jump)
    return found


NAMES = ("resnet18", "resnet34", "resnet50", "resnet50_v1")
ends = {}
print("network        stem   layer1  layer2  layer3  layer4   (pixels)")
for name in NAMES:
    by_stage = {
        n.split(".")[0]: field for n, (field, _) in receptive_fields(get_spec(name)).items()
    }
    ends[name] = [by_stage[part] for part in ("maxpool", "layer1", "layer2", "layer3", "layer4")]
    print(f"{name:12}" + "".join(f"{field:8}" for field in ends[name]))
assert ends["resnet18"] == [11, 43, 99, 211, 435]
assert ends["resnet34"] == [11, 59, 179, 547, 899]
assert ends["resnet50"] == [11, 35, 91, 267, 427]
assert ends["resnet50_v1"] == [11, 35, 99, 291, 483]

# %%
figure, axes = plt.subplots(figsize=(8, 4))
looks = ((ORANGE, "s--"), (GREEN, "^-."), (BLUE, "o-"), (GREY, "x:"))
for name, (colour, style) in zip(NAMES, looks):
    axes.plot(range(5), ends[name], style, color=colour, label=name, markersize=7, fillstyle="none")
axes.axhline(224, color="black", linewidth=1)
axes.text(0, 232, "the whole image: 224 pixels", va="bottom", fontsize=9)
axes.set_xticks(range(5), ("stem", "layer1", "layer2", "layer3", "layer4"))
axes.set(ylabel="receptive field (pixels)", title="How far a number after each stage can see")
axes.set(xlabel="after this part", ylim=(0, 950))
axes.grid(alpha=0.3)
axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, 0.9))
plt.show()

# %% [markdown]
# ResNet-50 is deeper, and sees less far: 427 pixels against 899. Only one convolution in each of
# its blocks looks at neighbours; the two 1×1 convolutions add nothing. ResNet-50 does not even
# reach further than ResNet-18. And moving the stride changes it too: in v1 the 3×3 comes after the
# stride, so its neighbours are further apart.
#
# ### Check it with a gradient
#
# Is the recursion right? A pixel is in the receptive field exactly if changing it can change the
# output. So we ask for the gradient of *one* output pixel by the image, and look where it is not
# zero. Three precautions, so that no zero has another reason:
#
# - all kernels and pixels are made positive, so that nothing cancels and no ReLU is closed;
# - BatchNorm is in eval mode, as otherwise every pixel influences every other by the batch's mean;
# - the network has no max-pool, because a max-pool hands its gradient to the largest pixel only. We
#   use ResNet-20 of CIFAR, on images of 129×129 pixels, so that the field fits in.

# %%
spec = get_spec("resnet20_cifar", input_size=129)
fields = receptive_fields(spec)
positive_torch = resnet_torch.create_model(spec, seed=0).eval()
positive_keras = resnet_tf.create_model(spec, seed=0)
weights = {name: np.abs(array) for name, array in resnet_torch.get_weights(positive_torch).items()}
resnet_torch.set_weights(positive_torch, weights)
resnet_tf.set_weights(positive_keras, weights)
bright = np.random.default_rng(0).uniform(0.5, 1, (1, 129, 129, 3)).astype("float32")


def middle_gradient_torch(name: str) -> np.ndarray:
    """Gradient of the middle pixel of a stage's output by the image: absolute values, (H, W)."""
    x = torch.from_numpy(bright.transpose(0, 3, 1, 2).copy()).requires_grad_()
    out = torch.relu(positive_torch.bn1(positive_torch.conv1(x)))  # (1, 16, 129, 129)
    for stage in ("layer1", "layer2", "layer3"):
        out = getattr(positive_torch, stage)(out)
        if stage == name:
            break
    middle = out.shape[2] // 2
    out[0, :, middle, middle].sum().backward()
    return x.grad[0].abs().sum(0).numpy()


def middle_gradient_keras(name: str) -> np.ndarray:
    part = keras.Model(positive_keras.input, positive_keras.get_layer(f"{name}.2.relu2").output)
    pixels = tf.Variable(bright)
    with tf.GradientTape() as tape:
        out = part(pixels, training=False)  # (1, h, w, c)
        middle = out.shape[1] // 2
        total = tf.reduce_sum(out[0, middle, middle])
    return np.abs(tape.gradient(total, pixels).numpy()[0]).sum(-1)


seen = {}
for name in ("layer1", "layer2", "layer3"):
    computed = fields[f"{name}.2.relu2"][0]
    seen[name] = middle_gradient_torch(name)
    measured = {}
    for title, gradient in (("PyTorch", seen[name]), ("Keras", middle_gradient_keras(name))):
        rows, columns = np.nonzero(gradient)
        measured[title] = (int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1)
    print(f"{name}: computed {computed}, measured {measured}")
    assert seen[name].shape == (129, 129)
    assert set(measured.values()) == {(computed, computed)}

# %% [markdown]
# Equal to the pixel, in both frameworks. The next picture shows where the gradient is not zero (the
# blue square with the border), and how large it is.

# %%
figure, axes_of_all = plt.subplots(1, 3, figsize=(9.5, 3.7), layout="constrained")
for axes, (name, gradient) in zip(axes_of_all, seen.items()):
    with np.errstate(divide="ignore"):
        shown = np.log10(gradient / gradient.max())
    shown[gradient == 0] = np.nan
    picture = axes.imshow(shown, cmap="Blues", vmin=-6, vmax=0)
    size = fields[f"{name}.2.relu2"][0]
    corner = 64 - size / 2
    axes.add_patch(
        Rectangle((corner, corner), size, size, fill=False, edgecolor=ORANGE, linestyle="--")
    )
    axes.set(title=f"after {name}: {size}×{size}", xlabel="column (pixels)")
axes_of_all[0].set_ylabel("row (pixels)")
bar = figure.colorbar(picture, ax=axes_of_all, shrink=0.8)
bar.set_label("gradient, largest = 1,\nas a power of ten", labelpad=8)
figure.suptitle("ResNet-20: which pixels move the middle pixel of a stage (dashed: computed)")
plt.show()

# %% [markdown]
# ### Most of the field is hardly used
#
# The colours fade towards the border, by many powers of ten. A pixel in the middle reaches the
# output on very many ways, a pixel in the corner on very few. So the **effective** receptive field
# is much smaller than the computed one (Luo et al. 2016, "Understanding the Effective Receptive
# Field"). Here we take ResNet-18 as it is, with its random first weights and its max-pool, and
# random images. We ask how large a square around the middle holds 95% of the squared gradient.

# %%
network = resnet_torch.create_model("resnet18", seed=0, input_size=257).eval()
generator = torch.Generator().manual_seed(0)
power, computed = np.zeros((257, 257)), 211
assert receptive_fields(get_spec("resnet18"))["layer3.1.relu2"] == (computed, 16)
for _ in range(12):
    x = torch.randn(1, 3, 257, 257, generator=generator, requires_grad=True)
    out = network.layer2(
        network.layer1(network.maxpool(network.relu1(network.bn1(network.conv1(x)))))
    )
    out = network.layer3(out)  # (1, 256, 17, 17)
    assert out.shape == (1, 256, 17, 17)
    (out[0, :, 8, 8] * torch.randn(256, generator=generator)).sum().backward()
    power += (x.grad[0] ** 2).sum(0).numpy()

sizes = np.arange(1, 257, 2)
held = [power[128 - s // 2 : 129 + s // 2, 128 - s // 2 : 129 + s // 2].sum() for s in sizes]
held = np.array(held) / power.sum()
effective = int(sizes[np.argmax(held >= 0.95)])
area = (effective / computed) ** 2
print(
    f"computed: {computed} pixels; 95% of the squared gradient lie within less than 60% of it:",
    effective < 0.6 * computed,
)
print("that is less than 36% of the area:", area < 0.36)
assert effective < 0.6 * computed and area < 0.36

# %% tags=["cover"]
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
picture = left.imshow(np.sqrt(power / power.max()), cmap="Blues", vmin=0, vmax=0.7)
for size, colour, style, label in (
    (computed, ORANGE, "--", "computed receptive field"),
    (effective, GREEN, "-", "95% of the squared gradient"),
):
    place = (128 - size / 2, 128 - size / 2)
    look = {"fill": False, "edgecolor": colour, "linestyle": style, "linewidth": 2, "label": label}
    left.add_patch(Rectangle(place, size, size, **look))
left.set(title="ResNet-18, middle pixel of layer3", xlabel="column (pixels)", ylabel="row (pixels)")
left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False, fontsize=9)
figure.colorbar(picture, ax=left, shrink=0.8, extend="max", label="gradient, largest = 1")
right.plot(sizes, 100 * held, color=BLUE)
right.axvline(computed, color=ORANGE, linestyle="--", label="computed field")
right.axvline(effective, color=GREEN, label="95%")
right.set(xlabel="side of the square (pixels)", ylabel="squared gradient inside (%)", ylim=(0, 103))
right.set_title("How much lies inside a square")
right.grid(alpha=0.3)
right.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
plt.show()

# %% [markdown]
# The network *can* see 211 pixels, but at the start of training it hardly looks beyond the green
# square. (Training widens the field, as the paper of Luo et al. shows.)
#
# ## Multiply-adds are not seconds
#
# Multiply-adds are easy to count, and the same everywhere. Seconds are neither. Two layers with the
# same multiply-adds can take very different times, because a processor also has to **move**
# numbers: read the input and the kernel, write the output. So we count a second quantity:
# multiply-adds for each number that is moved. It needs no clock:


# %%
def traffic(row) -> int:
    """How many numbers a layer reads and writes at least, for one image."""
    inputs = 2 if row.kind == "add" else 1
    return inputs * int(np.prod(row.input_shape)) + int(np.prod(row.output_shape)) + row.parameters


table = {row.name: row for row in layer_table(get_spec("resnet50"))}
CHOSEN = {
    "layer1.1.conv1": "1×1, 256 → 64",
    "layer1.1.conv2": "3×3, 64 → 64",
    "layer1.1.conv3": "1×1, 64 → 256",
    "layer1.1.bn3": "BatchNorm, 256 channels",
    "layer1.1.add": "addition",
    "layer1.1.relu3": "ReLU, 256 channels",
}
intensity = {}
print("                              multiply-adds  numbers moved   ratio")
for name, label in CHOSEN.items():
    row = table[name]
    intensity[name] = row.macs / traffic(row)
    print(f"{label:26} {row.macs:16,} {traffic(row):14,} {intensity[name]:7.1f}")
assert intensity["layer1.1.conv2"] > 5 * intensity["layer1.1.conv1"]
assert table["layer1.1.bn3"].macs == table["layer1.1.add"].macs == table["layer1.1.relu3"].macs == 0
assert traffic(table["layer1.1.add"]) > traffic(table["layer1.1.conv2"])

norm_act_add = [row for row in table.values() if row.kind in ("batch_norm", "relu", "add")]
share = sum(map(traffic, norm_act_add)) / sum(map(traffic, table.values()))
print(f"of all numbers moved in ResNet-50, BatchNorm, ReLU and addition move {share:.0%}")
assert 0.5 < share < 0.6

# %% [markdown]
# A 3×3 convolution does five times as many multiply-adds for each number it moves as the 1×1
# convolutions beside it. BatchNorm, ReLU and addition do none that we count, and still move more
# than half of all numbers: that is time which no list of FLOPs shows.
#
# ### Measure it, fairly
#
# A fair measurement of a layer
#
# - runs a few times before the clock starts (the first runs make plans and ask for memory);
# - measures many times, and takes the **median**, as another program may disturb some runs;
# - switches off what is not measured: gradients, and in Keras the Python code around the layer (with
#   `tf.function`);
# - and is told together with the machine, because it is true for this machine only.


# %%
def median_seconds(run: Callable[[], object], repeats: int = 15) -> float:
    for _ in range(3):
        run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


# name -> kind, channels in, channels out, kernel, stride, pixels, how many in a row
LAYERS = {
    "1×1, 256 → 64": ("conv", 256, 64, 1, 1, 56, 1),
    "1×1, 64 → 256": ("conv", 64, 256, 1, 1, 56, 1),
    "1×1, 64 → 64": ("conv", 64, 64, 1, 1, 56, 1),
    "1×1, 512 → 512": ("conv", 512, 512, 1, 1, 28, 1),
    "1×1 stride 2, 256 → 512": ("conv", 256, 512, 1, 2, 56, 1),
    "3×3, 64 → 64": ("conv", 64, 64, 3, 1, 56, 1),
    "3×3, 32 → 32": ("conv", 32, 32, 3, 1, 56, 1),
    "3×3, 128 → 128": ("conv", 128, 128, 3, 1, 56, 1),
    "3×3 stride 2, 128 → 128": ("conv", 128, 128, 3, 2, 56, 1),
    "3×3, 128 → 128, 28 pixels, once": ("conv", 128, 128, 3, 1, 28, 1),
    "3×3, 64 → 64, 28 pixels, four times": ("conv", 64, 64, 3, 1, 28, 4),
    "7×7 stride 2, 3 → 64": ("conv", 3, 64, 7, 2, 224, 1),
    "BatchNorm, 256 channels": ("norm", 256, 256, 1, 1, 56, 1),
    "ReLU, 256 channels": ("relu", 256, 256, 1, 1, 56, 1),
    "addition, 256 channels": ("add", 256, 256, 1, 1, 56, 1),
}


def runner_torch(kind, inside, out, kernel, stride, pixels, deep) -> Callable[[], object]:
    x = torch.rand(4, inside, pixels, pixels, generator=torch.Generator().manual_seed(0))
    if kind == "add":
        return lambda: x + x
    kinds = {
        "conv": lambda: nn.Sequential(*[conv(inside, out, kernel, stride) for _ in range(deep)]),
        "norm": lambda: nn.BatchNorm2d(inside),
        "relu": lambda: nn.ReLU(),
    }
    layer = kinds[kind]().eval()
    assert layer(x).shape == (4, out, -(-pixels // stride), -(-pixels // stride))

    def run() -> object:
        with torch.inference_mode():
            return layer(x)

    return run


def runner_keras(kind, inside, out, kernel, stride, pixels, deep) -> Callable[[], object]:
    x = tf.random.stateless_uniform((4, pixels, pixels, inside), seed=(0, 0))
    steps = []
    for _ in range(deep if kind == "conv" else 0):
        steps.append(layers.ZeroPadding2D(kernel // 2) if kernel > 1 else lambda y: y)
        steps.append(layers.Conv2D(out, kernel, stride, use_bias=False))
    if kind in ("norm", "relu"):
        steps.append(layers.BatchNormalization() if kind == "norm" else layers.ReLU())

    def call(y):
        for step in steps:
            y = step(y)
        return y + y if kind == "add" else y

    call(x)  # makes the weights
    graph = tf.function(call)  # without the Python code around the layers
    assert graph(x).shape == (4, -(-pixels // stride), -(-pixels // stride), out)
    return lambda: graph(x)  # on a CPU all is done when the call returns


macs = {}
for name, (kind, inside, out, kernel, stride, pixels, deep) in LAYERS.items():
    cost = kernel * kernel * inside * out * (pixels // stride) ** 2 * deep
    macs[name] = 4 * cost if kind == "conv" else 0  # for 4 images
assert macs["3×3, 128 → 128, 28 pixels, once"] == macs["3×3, 64 → 64, 28 pixels, four times"]
assert macs["1×1, 256 → 64"] == macs["1×1, 64 → 256"] == 4 * table["layer1.1.conv1"].macs

# %% tags=["times"]
seconds = {}
for title, runner in (("PyTorch", runner_torch), ("Keras", runner_keras)):
    seconds[title] = {name: median_seconds(runner(*row)) for name, row in LAYERS.items()}
print("4 images; milliseconds                    PyTorch    Keras    multiply-adds (millions)")
for name in LAYERS:
    ms = [1e3 * seconds[title][name] for title in ("PyTorch", "Keras")]
    print(f"{name:37} {ms[0]:10.2f} {ms[1]:8.2f} {macs[name] / 1e6:14,.0f}")

# %% tags=["times"]
figure, axes_of_both = plt.subplots(1, 2, figsize=(10, 4.4), sharey=True, layout="constrained")
LOOKS = {"1×1": (ORANGE, "s"), "3×3": (BLUE, "o"), "7×7": (GREY, "D")}
for axes, (title, measured) in zip(axes_of_both, seconds.items()):
    for start, (colour, mark) in LOOKS.items():
        chosen = [name for name in LAYERS if name.startswith(start)]
        x = [macs[name] / 1e6 for name in chosen]
        y = [1e3 * measured[name] for name in chosen]
        axes.plot(x, y, mark, color=colour, label=f"{start} convolutions", ms=8, fillstyle="none")
    best = min(measured[name] / macs[name] for name in LAYERS if macs[name])
    ends_of_line = np.array([40, 2500])
    axes.plot(ends_of_line, 1e9 * best * ends_of_line, ":", color="black", label="the fastest rate")
    lines = (("BatchNorm", "--"), ("ReLU", "-."), ("addition", "-"))
    for name, style in lines:
        at = next(1e3 * value for key, value in measured.items() if key.startswith(name))
        label = f"{name}, no multiply-adds"
        axes.axhline(at, color=GREEN, linestyle=style, linewidth=1.2, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks([50, 100, 200, 500, 1000, 2000], ["50", "100", "200", "500", "1000", "2000"])
    axes.minorticks_off()
    axes.set(title=title, xlabel="multiply-adds for 4 images (millions)")
    axes.grid(alpha=0.3)
axes_of_both[0].set_yticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
axes_of_both[0].set_ylabel("median time (ms)")
handles, labels = axes_of_both[0].get_legend_handles_labels()
figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
plt.show()

# %% [markdown]
# Your own picture will be another one, as each machine has its own speeds. Read it like this:
#
# - If time depended on multiply-adds alone, all points would lie on the dotted line, which is the
#   rate of the fastest layer. The higher above it, the more time each multiply-add takes. Look
#   where the squares (1×1) are, and where the circles (3×3).
# - The green lines are layers for which we count no multiply-adds at all. Compare them with the
#   convolutions.
# - Depth: in the table, one convolution with 128 channels and four with 64 channels one after the other
#   (28 pixels) have the same multiply-adds. But four layers read and write four times. Which takes
#   longer?
# - Compare the *order* of the layers in the two pictures: it may change. A library has fast code for
#   some shapes and slow code for others. But this is no race between the frameworks: they may use
#   another number of processor cores, and their pictures lie in memory in another order.
#
# So count multiply-adds to understand a network, and measure seconds on the machine that you will
# use.
#
# ## Three sentences to remember
#
# 1. A bottleneck does its 3×3 on a quarter of the channels: for 256 channels it costs 17 times less
#    than two 3×3 convolutions.
# 2. With the stride in the first 1×1 (v1) three quarters of the pixels are never read; with the
#    stride in the 3×3 (v1.5) all are; the weights fit both, and the logits differ.
# 3. The receptive field grows by (k - 1) times the jump, most of it is hardly used, and
#    multiply-adds are not seconds.
#
# ## Exercises
#
# Worked solutions:
# [solutions/08_bottlenecks_and_stride.ipynb](solutions/08_bottlenecks_and_stride.ipynb).
#
# 1. **Predict.** Before you run the cell with the receptive fields: which of ResNet-34 and
#    ResNet-50 sees further at the end of `layer4`? Then compute by hand how much each block of
#    `layer4` adds, in both.
# 2. **Without bottlenecks.** Write a row for a network with the depths (3, 4, 6, 3) and basic
#    blocks, as wide as ResNet-50 is after its stages: `(256, 512, 1024, 2048)`. How many parameters
#    and multiply-adds has it, in multiples of ResNet-50's?
# 3. **A third place for the stride.** Put the stride of `layer2.0` into the *last* 1×1 convolution.
#    What does the block cost then? Which numbers are computed and never read?
# 4. **Three small or one large.** Which single kernel has the receptive field of three 3×3
#    convolutions with stride 1? Compare the numbers of weights for 64 channels, and check the field
#    with a gradient.
