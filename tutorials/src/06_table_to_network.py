# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 6. From table to network
#
# *Four numbers and the name of a block: five networks from one function, and the paper's Table 1.*
#
# **After this tutorial you can**
#
# - write ResNet-18, 34, 50, 101 and 152 with one class in PyTorch and one function in Keras, and say
#   the shape after every stage,
# - say what is counted, and what is not, when a network "has 50 layers",
# - compute parameters and multiply-adds, and hold them against Table 1 of the paper,
# - load somebody else's weights into your own network by name, and prove that it is the same one,
# - add a new network by writing one row.
#
# **Time:** about 75 minutes to work through; the cells run in under a minute.
#
# **You need** the residual block and its shortcuts (tutorial 5).

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
from matplotlib.patches import Rectangle
from torch import nn

import resnet_tf  # brings Keras, without TensorFlow's messages at the start
import resnet_torch
import keras
from keras import layers
from shared.networks import get_spec
from shared.twins import compare
from shared.networks import plot_stages
from shared.base import BLUE, GREEN, GREY, ORANGE
from shared.networks import ResNetSpec, count_macs, count_parameters, layer_table

# %% [markdown]
# ## The plan of every ResNet
#
# All five networks of the paper have the same plan:
#
# - a **stem**: one 7×7 convolution with stride 2, then a 3×3 max-pool with stride 2. The picture
#   becomes four times smaller before the first block sees it;
# - four **stages**, called `layer1` to `layer4`. A stage is a row of equal blocks. The first block of
#   `layer2`, `layer3` and `layer4` halves height and width, and doubles the channels;
# - a **head**: the mean over all pixels, then one fully connected layer, which gives the logits.
#
# What differs is the kind of block, and how many of them each stage has: the **depths**. So a whole
# network fits into one line:

# %%
NETWORKS = {
    18: ("BasicBlock", (2, 2, 2, 2)),
    34: ("BasicBlock", (3, 4, 6, 3)),
    50: ("Bottleneck", (3, 4, 6, 3)),
    101: ("Bottleneck", (3, 4, 23, 3)),
    152: ("Bottleneck", (3, 8, 36, 3)),
}
for number, (block, depths) in NETWORKS.items():
    spec = get_spec(f"resnet{number}")
    print(f"ResNet-{number:<3}  {block:10}  {depths}")
    assert (spec.block, spec.depths) == (block, depths)

# %% [markdown]
# This is ResNet-18, part by part, drawn from that line. Look at the bars for pixels and for channels:
# from stage to stage one halves, the other doubles.

# %%
plot_stages("resnet18")

# %% [markdown]
# ## Write it in PyTorch
#
# First the parts that both blocks share. Two rules hold everywhere. A convolution pads by half its
# kernel, and has no bias, because a BatchNorm follows (tutorial 4). And a shortcut is a projection
# only where the shape changes (option B of tutorial 5).


# %%
def conv(in_channels: int, channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, kernel, stride, padding=kernel // 2, bias=False)


def shortcut(in_channels: int, channels: int, stride: int) -> nn.Module:
    if stride == 1 and in_channels == channels:
        return nn.Identity()
    return nn.Sequential(conv(in_channels, channels, 1, stride), nn.BatchNorm2d(channels))


class BasicBlock(nn.Module):
    expansion = 1  # it outputs 1 * width channels

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut(in_channels, width, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (N, C, H, W)
        out = torch.relu(self.bn1(self.conv1(x)))  # (N, width, H/s, W/s)
        out = self.bn2(self.conv2(out))  # (N, width, H/s, W/s)
        return torch.relu(out + self.downsample(x))


class Bottleneck(nn.Module):
    expansion = 4  # it outputs 4 * width channels

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv(width, 4 * width, 1)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = shortcut(in_channels, 4 * width, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (N, C, H, W)
        out = torch.relu(self.bn1(self.conv1(x)))  # (N, width, H, W)
        out = torch.relu(self.bn2(self.conv2(out)))  # (N, width, H/s, W/s)
        out = self.bn3(self.conv3(out))  # (N, 4 * width, H/s, W/s)
        return torch.relu(out + self.downsample(x))


# %% [markdown]
# A bottleneck goes down to few channels, works there, and goes up again. Tutorial 8 is about its
# price, and about the place of its stride.
#
# Now the network. The only loop is the one over the stages, and the only bookkeeping is
# `in_channels`: how many channels the next block will get.


# %%
class ResNet(nn.Module):
    def __init__(self, block: type, depths: tuple[int, ...], classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = conv(3, 64, 7, stride=2)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu1 = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        in_channels = 64
        for stage, (depth, width) in enumerate(zip(depths, (64, 128, 256, 512)), start=1):
            blocks = []
            for index in range(depth):
                stride = 2 if stage > 1 and index == 0 else 1
                blocks.append(block(in_channels, width, stride))
                in_channels = width * block.expansion
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(in_channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (N, 3, H, W)
        x = self.relu1(self.bn1(self.conv1(x)))  # (N, 64, H/2, W/2)
        x = self.maxpool(x)  # (N, 64, H/4, W/4)
        x = self.layer1(x)
        x = self.layer2(x)  # H/8
        x = self.layer3(x)  # H/16
        x = self.layer4(x)  # (N, 512 * expansion, H/32, W/32)
        x = self.flatten(self.avgpool(x))  # (N, 512 * expansion)
        return self.fc(x)  # (N, classes)


# %% [markdown]
# Send one picture through, part by part. PyTorch needs no numbers for this: on the device `meta`
# tensors have a shape and nothing else, which is fast and takes no memory.

# %%
BLOCKS_TORCH = {"BasicBlock": BasicBlock, "Bottleneck": Bottleneck}


def build_torch(number: int, classes: int = 1000) -> ResNet:
    block, depths = NETWORKS[number]
    return ResNet(BLOCKS_TORCH[block], depths, classes)


def shapes_torch(model: ResNet, size: int = 224) -> dict[str, tuple[int, ...]]:
    """The shape after each part of the network, as (C, H, W)."""
    shapes, x = {}, torch.zeros(1, 3, size, size, device=model.fc.weight.device)
    for name, part in model.named_children():
        x = part(x)
        shapes[name] = tuple(x.shape[1:])
    return shapes


with torch.device("meta"):
    skeletons = {number: build_torch(number) for number in NETWORKS}
shapes = {number: shapes_torch(skeleton) for number, skeleton in skeletons.items()}
print("part       ResNet-18 and 34   ResNet-50, 101 and 152   (C, H, W)")
for name in shapes[18]:
    print(f"{name:9}  {shapes[18][name]!s:17}  {shapes[50][name]!s}")

assert shapes[18] == shapes[34] and shapes[50] == shapes[101] == shapes[152]
assert shapes[18]["maxpool"] == shapes[50]["maxpool"] == (64, 56, 56)
assert [shapes[18][f"layer{i}"] for i in (1, 2, 3, 4)] == [
    (64, 56, 56),
    (128, 28, 28),
    (256, 14, 14),
    (512, 7, 7),
]
assert [shapes[50][f"layer{i}"] for i in (1, 2, 3, 4)] == [
    (256, 56, 56),
    (512, 28, 28),
    (1024, 14, 14),
    (2048, 7, 7),
]

# %% [markdown]
# Here are the same shapes, drawn to scale. A box is as wide as there are channels, and as high as
# there are pixels. It begins as a tall thin picture, and ends as a flat long list of features.


# %% tags=["cover"]
figure, axes_of_both = plt.subplots(2, 1, figsize=(9, 5.6), layout="constrained")
PARTS = ("image", "conv1", "maxpool", "layer1", "layer2", "layer3", "layer4")
for axes, number in zip(axes_of_both, (18, 50)):
    left, least = 0, 640 if number == 50 else 175  # room for the labels
    for part, hatch in zip(PARTS, ("", "//", "\\\\", "..", "..", "..", "..")):
        channels, height, _ = {"image": (3, 224, 224), **shapes[number]}[part]
        colour = GREY if part == "image" else ORANGE if part in ("conv1", "maxpool") else BLUE
        room = max(channels, least)
        middle = left + room / 2
        place = (middle - channels / 2, -height / 2)
        look = {"facecolor": colour, "hatch": hatch, "edgecolor": "white"}
        axes.add_patch(Rectangle(place, channels, height, **look))
        axes.add_patch(Rectangle(place, channels, height, fill=False, edgecolor=colour))
        label = f"{part}\n{channels}×{height}×{height}"
        axes.text(middle, -122, label, ha="center", va="top", fontsize=8)
        numbers = f"{channels * height**2 / 1e3:,.0f} k"
        axes.text(middle, height / 2 + 5, numbers, ha="center", fontsize=8.5)
        left += room + least / 10
    axes.set(xlim=(-least / 10, left), ylim=(-190, 150), yticks=(-112, 0, 112))
    axes.set_yticklabels(("", "pixels\nof height", ""))
    axes.set_xticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.set_title(
        f"ResNet-{number}: channels to the right, pixels upwards; on top the numbers in all"
    )
plt.show()
assert 3 * 224**2 == 150_528 and 64 * 112**2 == 802_816 and 2048 * 7**2 == 100_352

# %% [markdown]
# The stem first makes *more* numbers out of the picture: 150,528 become 802,816. From then on the
# amount goes down or stays, except once: `layer1` of ResNet-50 outputs 256 channels where 64 came
# in.
#
# ## Write it in Keras
#
# In Keras we lay out a graph, as in tutorial 5. Each layer gets the name that the same layer has in
# PyTorch, with the block's name in front: `layer2.0.conv1`. That will pay off soon.


# %%
def step_keras(
    x: keras.KerasTensor, channels: int, kernel: int, stride: int, conv_name: str, norm_name: str
) -> keras.KerasTensor:  # convolution and BatchNorm
    if kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2)(x)  # on all four sides (tutorial 3)
    x = layers.Conv2D(channels, kernel, stride, "valid", use_bias=False, name=conv_name)(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=norm_name)(x)


def end_keras(
    out: keras.KerasTensor, x: keras.KerasTensor, stride: int, name: str
) -> keras.KerasTensor:  # shortcut, addition, last ReLU
    channels = out.shape[-1]
    if stride != 1 or x.shape[-1] != channels:
        x = step_keras(x, channels, 1, stride, f"{name}.downsample.0", f"{name}.downsample.1")
    return layers.ReLU(name=f"{name}.relu")(layers.Add(name=f"{name}.add")([out, x]))


def basic_block(x: keras.KerasTensor, width: int, stride: int, name: str) -> keras.KerasTensor:
    out = step_keras(x, width, 3, stride, f"{name}.conv1", f"{name}.bn1")  # (N, H/s, W/s, width)
    out = step_keras(layers.ReLU()(out), width, 3, 1, f"{name}.conv2", f"{name}.bn2")
    return end_keras(out, x, stride, name)  # (N, H/s, W/s, width)


def bottleneck(x: keras.KerasTensor, width: int, stride: int, name: str) -> keras.KerasTensor:
    out = step_keras(x, width, 1, 1, f"{name}.conv1", f"{name}.bn1")  # (N, H, W, width)
    out = step_keras(layers.ReLU()(out), width, 3, stride, f"{name}.conv2", f"{name}.bn2")
    out = step_keras(layers.ReLU()(out), 4 * width, 1, 1, f"{name}.conv3", f"{name}.bn3")
    return end_keras(out, x, stride, name)  # (N, H/s, W/s, 4 * width)


def resnet_keras(block, depths: tuple[int, ...], classes: int = 1000, size: int = 224):
    inputs = keras.Input((size, size, 3))
    x = layers.ReLU(name="relu1")(step_keras(inputs, 64, 7, 2, "conv1", "bn1"))  # (N, H/2, W/2, 64)
    x = layers.ZeroPadding2D(1)(x)  # zeros are safe here: after a ReLU nothing is smaller
    x = layers.MaxPooling2D(3, 2, "valid", name="maxpool")(x)  # (N, H/4, W/4, 64)
    for stage, (depth, width) in enumerate(zip(depths, (64, 128, 256, 512)), start=1):
        for index in range(depth):
            stride = 2 if stage > 1 and index == 0 else 1
            x = block(x, width, stride, f"layer{stage}.{index}")
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)  # (N, C)
    return keras.Model(inputs, layers.Dense(classes, name="fc")(x))  # (N, classes)


# %% [markdown]
# A Keras graph knows its shapes as soon as it is laid out. We ask the last layer of each stage.

# %%
BLOCKS_KERAS = {"BasicBlock": basic_block, "Bottleneck": bottleneck}


def build_keras(number: int, classes: int = 1000, size: int = 224) -> keras.Model:
    block, depths = NETWORKS[number]
    return resnet_keras(BLOCKS_KERAS[block], depths, classes, size)


graph = build_keras(18)
print("part       PyTorch (C, H, W)  Keras (H, W, C)")
for name in ("conv1", "maxpool", "layer1", "layer2", "layer3", "layer4", "fc"):
    last = f"{name}.1.relu" if name.startswith("layer") else name
    shape = tuple(graph.get_layer(last).output.shape[1:])
    print(f"{name:9}  {shapes[18][name]!s:17}  {shape}")
    assert shape == (*shapes[18][name][1:], shapes[18][name][0]) or name == "fc"
assert graph.output.shape == (None, 1000)

# %% [markdown]
# ## How depth is counted
#
# "ResNet-18" says that 18 layers lie on the way from the picture to the logits. Only layers with a
# kernel or a weight matrix count: convolutions and the fully connected layer. BatchNorm, ReLU and
# pooling do not. And the projections of the shortcuts do not count either, because they lie *beside*
# the way. So the number is
#
#     2 * (sum of the depths) + 2    with basic blocks    (two convolutions each)
#     3 * (sum of the depths) + 2    with bottlenecks     (three convolutions each)
#
# The 2 at the end are the stem's convolution and the fully connected layer.

# %%
for number, (block, depths) in NETWORKS.items():
    per_block = 2 if block == "BasicBlock" else 3
    rows = [
        row for row in layer_table(get_spec(f"resnet{number}")) if row.kind in ("conv", "linear")
    ]
    on_the_way = [row for row in rows if ".downsample" not in row.name]
    print(
        f"ResNet-{number:<3}: {per_block} * {sum(depths):2} + 2 = {per_block * sum(depths) + 2:3};"
        f" with the {len(rows) - len(on_the_way)} projections it would be {len(rows)}"
    )
    assert number == per_block * sum(depths) + 2 == len(on_the_way)

# %% [markdown]
# ## Table 1 of the paper
#
# Now we print the table of He et al. 2015 that shows all five networks. Each entry is worked out from
# the line with block and depths. `×3` after a block means that the block is repeated three times. The
# paper counts the stem as `conv1`, so its `conv2_x` is our `layer1`.


# %%
def entry(number: int, stage: int) -> list[str]:
    """The lines of one entry of the table: kernel size and channels of each convolution."""
    rows = layer_table(get_spec(f"resnet{number}"))
    first = [r for r in rows if r.block == f"layer{stage}.1" and r.kind == "conv"]
    lines = [f"{r.kernel_size}×{r.kernel_size}, {r.output_shape[0]:4}" for r in first]
    lines[-1] += f" ×{NETWORKS[number][1][stage - 1]}"
    return lines + [""] * (3 - len(lines))


heading = "name     output   " + "".join(f"{f'{number} layers':16}" for number in NETWORKS)
print(heading.rstrip())
print("conv1    112×112  7×7, 64, stride 2")
print("                  3×3 max-pool, stride 2")
for stage in (1, 2, 3, 4):
    size = shapes[18][f"layer{stage}"][1]
    columns = [entry(number, stage) for number in NETWORKS]
    for line in range(3):
        start = f"conv{stage + 1}_x  {size}×{size}" if line == 0 else ""
        print(f"{start:18}" + "".join(f"{column[line]:16}" for column in columns).rstrip())
print("         1×1      mean, 1000-d fully connected, softmax")

FLOPS = {18: 1.8, 34: 3.6, 50: 3.8, 101: 7.6, 152: 11.3}  # the last row of the paper's Table 1
print(f"{'FLOPs, billion':18}" + "".join(f"{flops:<16}" for flops in FLOPS.values()).rstrip())
assert entry(18, 1) == ["3×3,   64", "3×3,   64 ×2", ""]
assert entry(101, 3) == ["1×1,  256", "3×3,  256", "1×1, 1024 ×23"]

# %% [markdown]
# The last line is printed in the paper. The paper calls it FLOPs, and means **multiply-adds** (MACs):
# one multiplication and one addition together count as one. (Other authors count two. Always ask.)
# For a convolution the rule is
#
#     multiply-adds = kernel height * kernel width * channels in * channels out * pixels out
#
# We count them with hooks in our own PyTorch network, and hold the sum against the package's table.


# %%
def count_macs_by_hand(model: nn.Module, size: int = 224) -> int:
    macs = []

    def note(layer: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        pixels = output.shape[2] * output.shape[3] if output.ndim == 4 else 1
        macs.append(layer.weight.numel() * pixels)

    handles = [
        layer.register_forward_hook(note)
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    model(torch.zeros(1, 3, size, size, device=model.fc.weight.device))
    for handle in handles:
        handle.remove()
    return sum(macs)


print("            computed by us   in the paper   difference")
for number, skeleton in skeletons.items():
    macs = count_macs_by_hand(skeleton)
    excess = macs / (FLOPS[number] * 1e9) - 1
    print(f"ResNet-{number:<3}  {macs:14,}   {FLOPS[number]:5} * 10^9   {excess:+9.1%}")
    assert macs == count_macs(get_spec(f"resnet{number}"))
    assert abs(excess) < 0.08

# %% [markdown]
# ResNet-50 costs 7.6% more than the paper says, which is too much for rounding. It is no error. Our
# bottleneck has its stride in the 3×3 convolution, as torchvision's has. In the paper the first 1×1
# convolution has it, and then this 1×1 works on a quarter of the pixels. Tutorial 8 looks into it. The
# table of this package has both; the paper's own are called `resnet50_v1` and so on:

# %%
for number, flops in FLOPS.items():
    spec = get_spec(f"resnet{number}_v1" if number >= 50 else f"resnet{number}")
    macs = count_macs(spec) / 1e9
    print(f"{spec.name:12} computed {macs:6.3f}   paper {flops:4}   {macs / flops - 1:+.1%}")
    assert abs(macs / flops - 1) < 0.02

option_a = {n: count_macs(get_spec(f"resnet{n}", shortcut="A")) / 1e9 for n in (18, 34)}
print(f"option A:  ResNet-18 {option_a[18]:.3f}, ResNet-34 {option_a[34]:.3f}")
assert round(option_a[18], 1) == 1.8 and round(option_a[34], 1) == 3.6
assert round(count_macs(get_spec("resnet50_v1")) / 1e9, 1) == 3.9

# %% [markdown]
# Now all five agree within 2%. The rest is rounding, and shortcuts: the ResNet-34 of the paper's
# Table 2 uses option A, which is free, and then 3.6 is exactly what comes out. For ResNet-50 we find
# 3.858, which would be rounded to 3.9; the paper prints 3.8. It does not say how it was counted, so
# we leave it at "within 2%".
#
# ## Parameters
#
# Three ways to count, which must agree: your PyTorch class, your Keras function, and the twins of the
# package. `compare` builds both twins and looks at every layer. Keras' own total also holds
# BatchNorm's moving statistics, so we count what is *trainable* (tutorial 7 has the whole story).

# %%
PARAMETERS = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160, 152: 60_192_808}
print("             your PyTorch   your Keras     package (both)")
for number, expected in PARAMETERS.items():
    mine_torch = sum(p.numel() for p in skeletons[number].parameters())
    mine_keras = sum(int(np.prod(v.shape)) for v in build_keras(number).trainable_variables)
    twins = compare(f"resnet{number}")
    both = twins.totals.parameters["torch"]
    print(f"ResNet-{number:<3}   {mine_torch:12,}   {mine_keras:12,}   {both:12,}")
    assert twins.equal and both == twins.totals.parameters["tf"]
    assert mine_torch == mine_keras == both == expected

# %%
figure, axes = plt.subplots(figsize=(7.5, 4.2))
macs = {number: count_macs(get_spec(f"resnet{number}")) / 1e9 for number in NETWORKS}
for kind, colour, style in (("BasicBlock", ORANGE, "s--"), ("Bottleneck", BLUE, "o-")):
    chosen = [number for number, (block, _) in NETWORKS.items() if block == kind]
    millions = [PARAMETERS[number] / 1e6 for number in chosen]
    axes.plot(millions, [macs[n] for n in chosen], style, color=colour, label=f"{kind} networks")
    for number, x in zip(chosen, millions):
        above = number == 34  # its label would lie on that of ResNet-50
        axes.annotate(
            f"ResNet-{number}\n{x:.1f} M, {macs[number]:.1f} G",
            (x, macs[number]),
            xytext=(-8, 6) if above else (8, -4),
            textcoords="offset points",
            ha="right" if above else "left",
            va="bottom" if above else "top",
            fontsize=9,
        )
axes.set(
    xlabel="parameters (millions)",
    ylabel="multiply-adds for one image of 224×224\n(billions)",
    title="What the five networks cost",
    xlim=(0, 75),
    ylim=(0, 13),
)
axes.grid(alpha=0.3)
axes.legend(frameon=False, loc="upper left")
plt.show()
print(f"multiply-adds, ResNet-50 against ResNet-34: {macs[50] / macs[34] - 1:+.0%}")
assert macs[50] / macs[34] < 1.13

# %% [markdown]
# ResNet-34 and ResNet-50 have the same depths, (3, 4, 6, 3). A bottleneck has one convolution more,
# and four times the channels after each block. Still ResNet-50 costs only 12% more
# multiply-adds. That is what bottlenecks are for.
#
# **Predict before you run the next cell** (exercise 1): in ResNet-50, `layer3` has six blocks, and
# `layer4` has three. Which of the two has more parameters? Which costs more multiply-adds?

# %%
stages = ("stem", "layer1", "layer2", "layer3", "layer4", "head")
share = {}
for what in ("parameters", "macs"):
    rows = layer_table(get_spec("resnet50"))
    sums = [sum(getattr(row, what) for row in rows if row.stage == stage) for stage in stages]
    share[what] = [100 * part / sum(sums) for part in sums]
    for stage, part, percent in zip(stages, sums, share[what]):
        print(f"{stage:7} {part:15,} {what:10} {percent:5.1f}%")

figure, axes = plt.subplots(figsize=(7.5, 3.2))
places = np.arange(len(stages))
for offset, what, colour, hatch, label in (
    (-0.2, "parameters", BLUE, "", "parameters"),
    (0.2, "macs", GREEN, "..", "multiply-adds"),
):
    look = {"color": colour, "hatch": hatch, "edgecolor": "white", "label": label}
    axes.bar(places + offset, share[what], 0.4, **look)
axes.set_xticks(places, stages)
axes.set(ylabel="share of the whole (%)", title="ResNet-50: where the cost is")
axes.legend(frameon=False, loc="upper left")
plt.show()
assert share["parameters"][4] > 2 * share["parameters"][3]
assert share["macs"][3] > 1.5 * share["macs"][4]

block_macs = [
    sum(row.macs for row in layer_table(get_spec("resnet50")) if row.block == f"layer{stage}.1")
    for stage in (1, 2, 3, 4)
]
print("multiply-adds of the second block of each stage:")
print(", ".join(f"{number:,}" for number in block_macs))
assert len(set(block_macs)) == 1

# %% [markdown]
# When the channels double, a kernel has four times the numbers: twice the channels in, twice the
# channels out. But the picture then has a quarter of the pixels. So a block with an identity
# shortcut costs the same number of multiply-adds in each stage, and the six blocks of `layer3` cost
# more than the three of `layer4`. The parameters do not care about pixels: they are where the
# channels are, at the end.
#
# ## Is it really the same network?
#
# Equal counts are not yet an equal network. A stronger test: load the weights of the package's
# ResNet-50 into yours **by name**, and compare the logits. `load_state_dict` is strict: each name must
# be there, with the same shape, and no other name.

# %%
package = resnet_torch.create_model("resnet50", seed=0, num_classes=10).eval()
mine_torch = build_torch(50, classes=10).eval()
print(mine_torch.load_state_dict(package.state_dict()))
assert list(mine_torch.state_dict()) == list(package.state_dict())

images = np.random.default_rng(0).standard_normal((2, 64, 64, 3)).astype("float32")  # (N, H, W, C)
images_torch = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())  # (N, C, H, W)
with torch.no_grad():
    expected = package(images_torch).numpy()
    logits_torch = mine_torch(images_torch).numpy()
print("logits", logits_torch.shape, "equal to the package's:", np.allclose(logits_torch, expected))
assert logits_torch.shape == (2, 10)
assert np.allclose(logits_torch, expected, rtol=1e-5)

# %% [markdown]
# The names are made by you: an attribute `conv1` in a block that is the first entry of `layer2` is
# called `layer2.0.conv1`. If you had called it `conv_1`, the network would compute the same, but no
# published weights would fit. So choose the names that everybody has.
#
# Keras has no such rule. A layer is called what you say, and a layer without a name gets one that
# counts up (`conv2d_17`), and depends on what else was built before. That is why we gave names.
# Here are a few of them beside PyTorch's:

# %%
mine_keras = build_keras(50, classes=10, size=64)
keras_names = [f"{layer.name} / {v.name}" for layer in mine_keras.layers for v in layer.weights]
torch_names = [n for n in mine_torch.state_dict() if not n.endswith("num_batches_tracked")]
for name in ("conv1.weight", "bn1.weight", "bn1.running_var", "layer2.0.downsample.0.weight"):
    layer = name.rsplit(".", 1)[0]
    print(f"{name:29}", ", ".join(n for n in keras_names if n.startswith(f"{layer} /")))
assert len(keras_names) == len(torch_names) == 267

# %% [markdown]
# The package's `set_weights` knows this translation, turns each kernel around (tutorial 9), and
# refuses if anything is missing or left over. So your Keras network can have the same weights:

# %%
report = resnet_tf.set_weights(mine_keras, resnet_torch.get_weights(package))
logits_keras = np.asarray(mine_keras(images, training=False))
scale = np.abs(expected).max()
agree = np.abs(logits_keras - expected).max() < 5e-4 * scale
print("logits", logits_keras.shape, "equal to 5e-4 of the largest:", agree)
assert logits_keras.shape == (2, 10)
assert agree
assert set(resnet_tf.get_weights(mine_keras)) == set(torch_names)

# %% [markdown]
# ## A new network is a new row
#
# The package works like your two functions: a row goes in, a network comes out. The row is a
# `ResNetSpec`. It says more than block and depths (widths, stem, kind of shortcut, size of the
# images), but what you leave out is as in ResNet-18. Here is a network that the paper does not have:
# two bottlenecks a stage. Both twins come from the same row, and from the same seed.

# %%
row = ResNetSpec(
    name="resnet26", block="Bottleneck", depths=(2, 2, 2, 2), num_classes=10, input_size=64
)
new_torch = resnet_torch.create_model(row, seed=0).eval()
new_keras = resnet_tf.create_model(row, seed=0)
with torch.no_grad():
    logits_torch = new_torch(images_torch).numpy()
logits_keras = np.asarray(new_keras(images, training=False))
agree = np.abs(logits_torch - logits_keras).max() < 5e-4 * np.abs(logits_torch).max()
print(f"{row.name}: {3 * sum(row.depths) + 2} layers, {count_parameters(row):,} parameters")
print("logits", logits_torch.shape, "equal in both frameworks:", agree)
assert 3 * sum(row.depths) + 2 == 26
assert logits_torch.shape == logits_keras.shape == (2, 10)
assert agree

# your class and your function can do it too
NETWORKS[26] = ("Bottleneck", (2, 2, 2, 2))
mine = build_torch(26, classes=10).eval()
mine.load_state_dict(new_torch.state_dict())
with torch.no_grad():
    assert np.allclose(mine(images_torch).numpy(), logits_torch, rtol=1e-5)
assert build_keras(26, classes=10, size=64).count_params() == new_keras.count_params()

# %% [markdown]
# ## What a wrong row says
#
# A wrong row should not give a wrong network. These mistakes are all easy to make. Read each message:
# it names the field, the value, and what is allowed.

# %%
WRONG = (
    lambda: get_spec("resnet5O"),  # the letter O
    lambda: get_spec("resnet50", dephts=(3, 4, 6, 3)),
    lambda: ResNetSpec(name="mine", block="Bottelneck", depths=(3, 4, 6, 3)),
    lambda: ResNetSpec(name="mine", block="Bottleneck", depths=(3, 4, 6)),
    lambda: ResNetSpec(name="mine", block="BasicBlock", depths=(2, 2, 0, 2)),
    lambda: ResNetSpec(name="mine", block="BasicBlock", depths=(2, 2, 2, 2), input_size=16),
    lambda: ResNetSpec(name="mine", block="BasicBlock", depths=(2, 2, 2, 2), stride_in_1x1=True),
)
messages = []
for wrong in WRONG:
    try:
        wrong()
    except ValueError as error:
        messages.append(str(error))
        print("-", messages[-1].replace("; ", ";\n    ").replace(", but ", ",\n    but "))
assert len(messages) == len(WRONG)
assert "did you mean 'Bottleneck'" in messages[2]

# %% [markdown]
# ## Three sentences to remember
#
# 1. A ResNet is a stem, four stages of equal blocks and a head; the name of the block and four depths
#    say the rest.
# 2. From stage to stage the pixels halve in height and width and the channels double, so each block
#    costs about the same, while the parameters pile up at the end.
# 3. The number in the name counts convolutions and the fully connected layer on the way from the
#    picture to the logits: 2 or 3 for each block, and 2 more.
#
# ## Exercises
#
# Worked solutions: [solutions/06_table_to_network.ipynb](solutions/06_table_to_network.ipynb).
#
# 1. **Predict.** Before you run the cell with the shares: which of `layer3` (six blocks) and `layer4`
#    (three blocks) of ResNet-50 has more parameters, and which costs more multiply-adds? Then work
#    out by hand the two numbers for one block with an identity shortcut, `layer3.1` and `layer4.1`.
# 2. **Layers.** How many convolutions has ResNet-50 in all? Why is it not called ResNet-54?
# 3. **Another size.** You send pictures of 160×160 pixels through ResNet-50 in place of 224×224. What
#    happens to the shapes, to the parameters and to the multiply-adds? Do you have to build the network
#    again, in PyTorch and in Keras?
# 4. **A bug.** Somebody writes `stride = 2 if stage > 1 else 1`. Does ResNet-18 still run? Which of
#    your checks notices it: the logits' shape, the shape after each stage, the number of parameters?
# 5. **Half as wide.** Write a row for a ResNet-50 whose widths are (32, 64, 128, 256), with a stem of
#    32 channels. Guess first: is the number of parameters a half, or a quarter? Build both twins.
