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

from typing import NamedTuple

import keras
import numpy as np
import torch
from keras import layers
from torch import nn

# %% [markdown]
# In tutorial 6 the loop over the stages stood inside the network, so it was written twice: once in
# PyTorch, once in Keras. Here it is written **once**. A function of yours turns the description of a
# network into rows, one for each block. In a row nothing is left to decide. Then both networks are
# built from the same rows, and they hold no rule about strides or channels any more.
#
# This is a row:


# %%
class Row(NamedTuple):
    name: str  # "layer2.0" is the first block of the second stage
    block: str  # "BasicBlock" or "Bottleneck"
    in_channels: int  # that come into the block
    out_channels: int  # that the block puts out
    stride: int  # 1 or 2
    projection: bool  # whether the shortcut is a projection


# The rows of a small network: two stages, with two blocks and one block.
SMALL = [
    [
        Row("layer1.0", "BasicBlock", 8, 8, 1, False),
        Row("layer1.1", "BasicBlock", 8, 8, 1, False),
    ],
    [
        Row("layer2.0", "BasicBlock", 8, 12, 2, True),
    ],
]

# %% [markdown]
# The blocks are given. They do what their row says, and do not ask whether it makes sense. Here they
# are in PyTorch. A bottleneck works inside with a quarter of the channels that it puts out.


# %%
def shortcut_torch(row):
    if not row.projection:
        return nn.Identity()
    conv = nn.Conv2d(row.in_channels, row.out_channels, 1, row.stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(row.out_channels))


class BasicBlock(nn.Module):
    def __init__(self, row):
        super().__init__()
        channels = row.out_channels
        self.conv1 = nn.Conv2d(row.in_channels, channels, 3, row.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = shortcut_torch(row)
        self.relu2 = nn.ReLU()

    def forward(self, x):  # (N, C, H, W)
        out = self.relu1(self.bn1(self.conv1(x)))  # (N, C', H/s, W/s)
        out = self.bn2(self.conv2(out))  # (N, C', H/s, W/s)
        return self.relu2(out + self.downsample(x))  # (N, C', H/s, W/s)


class Bottleneck(nn.Module):
    def __init__(self, row):
        super().__init__()
        inside = row.out_channels // 4
        self.conv1 = nn.Conv2d(row.in_channels, inside, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inside)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(inside, inside, 3, row.stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inside)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(inside, row.out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(row.out_channels)
        self.downsample = shortcut_torch(row)
        self.relu3 = nn.ReLU()

    def forward(self, x):  # (N, C, H, W)
        out = self.relu1(self.bn1(self.conv1(x)))  # (N, M, H, W)
        out = self.relu2(self.bn2(self.conv2(out)))  # (N, M, H/s, W/s)
        out = self.bn3(self.conv3(out))  # (N, 4M, H/s, W/s)
        return self.relu3(out + self.downsample(x))  # (N, 4M, H/s, W/s)


BLOCKS = {"BasicBlock": BasicBlock, "Bottleneck": Bottleneck}

# %% [markdown]
# And here they are in Keras. Each layer is called as the same layer in PyTorch, with the name of the
# block in front. `block = BasicBlockKeras(row)` makes the layers, `x = block(x)` puts them into the
# graph.


# %%
class Step:
    """A convolution and its BatchNorm."""

    def __init__(self, channels, kernel_size, stride, conv_name, norm_name):
        self.layers = [
            layers.Conv2D(
                channels, kernel_size, stride, padding="valid", use_bias=False, name=conv_name
            ),
            layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=norm_name),
        ]
        if kernel_size > 1:  # zeros on all four sides, as in PyTorch
            self.layers.insert(0, layers.ZeroPadding2D(kernel_size // 2, name=f"{conv_name}.pad"))

    def __call__(self, x):  # (N, H, W, C)
        for layer in self.layers:
            x = layer(x)
        return x  # (N, H/s, W/s, C')


def shortcut_keras(row):
    if not row.projection:
        return lambda x: x
    names = f"{row.name}.downsample.0", f"{row.name}.downsample.1"
    return Step(row.out_channels, 1, row.stride, *names)


class BasicBlockKeras:
    def __init__(self, row):
        name, channels = row.name, row.out_channels
        self.step1 = Step(channels, 3, row.stride, f"{name}.conv1", f"{name}.bn1")
        self.relu1 = layers.ReLU(name=f"{name}.relu1")
        self.step2 = Step(channels, 3, 1, f"{name}.conv2", f"{name}.bn2")
        self.downsample = shortcut_keras(row)
        self.add = layers.Add(name=f"{name}.add")
        self.relu2 = layers.ReLU(name=f"{name}.relu2")

    def __call__(self, x):  # (N, H, W, C)
        out = self.step2(self.relu1(self.step1(x)))  # (N, H/s, W/s, C')
        return self.relu2(self.add([out, self.downsample(x)]))  # (N, H/s, W/s, C')


class BottleneckKeras:
    def __init__(self, row):
        name, inside = row.name, row.out_channels // 4
        self.step1 = Step(inside, 1, 1, f"{name}.conv1", f"{name}.bn1")
        self.relu1 = layers.ReLU(name=f"{name}.relu1")
        self.step2 = Step(inside, 3, row.stride, f"{name}.conv2", f"{name}.bn2")
        self.relu2 = layers.ReLU(name=f"{name}.relu2")
        self.step3 = Step(row.out_channels, 1, 1, f"{name}.conv3", f"{name}.bn3")
        self.downsample = shortcut_keras(row)
        self.add = layers.Add(name=f"{name}.add")
        self.relu3 = layers.ReLU(name=f"{name}.relu3")

    def __call__(self, x):  # (N, H, W, C)
        out = self.step2(self.relu1(self.step1(x)))  # (N, H/s, W/s, M)
        out = self.step3(self.relu2(out))  # (N, H/s, W/s, 4M)
        return self.relu3(self.add([out, self.downsample(x)]))  # (N, H/s, W/s, 4M)


BLOCKS_KERAS = {"BasicBlock": BasicBlockKeras, "Bottleneck": BottleneckKeras}

# %% [markdown]
# The last cell that is given has helpers for the tests. Pictures are (N, H, W, C) for both
# frameworks here.


# %%
def arrays_of(model):
    """Names and shapes of all arrays of a PyTorch network, without the counters of batches."""
    return {
        name: tuple(value.shape)
        for name, value in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def draw_weights(model, seed):
    """Random arrays for a PyTorch network, by name. No BatchNorm is as when it is new."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, shape in sorted(arrays_of(model).items()):
        array = 0.3 * rng.normal(size=shape)
        if len(shape) > 1:  # a kernel or a matrix
            array *= 3 / np.sqrt(np.prod(shape[1:]))
        elif name.endswith("running_var"):
            array = np.abs(array) + 0.2
        elif name.endswith("weight"):  # gamma
            array += 0.6
        arrays[name] = array.astype("float32")
    return arrays


def load_torch(model, arrays):
    """Puts arrays into a PyTorch network, by name."""
    model.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})


def load_keras(model, arrays):
    """Puts arrays with PyTorch's names and layouts into a Keras network, by name."""
    kinds = {"gamma": "weight", "beta": "bias", "bias": "bias"}
    kinds |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
    for layer in model.layers:
        for variable in layer.weights:
            array = arrays[f"{layer.name}.{kinds.get(variable.name, 'weight')}"]
            axes = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[array.ndim]
            variable.assign(array.transpose(axes))


def run_torch(model, pictures):
    """The logits of pictures (N, H, W, C), in evaluation mode."""
    x = torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy())  # (N, C, H, W)
    with torch.no_grad():
        return model.eval()(x).numpy()


def run_keras(model, pictures):
    """The logits of pictures (N, H, W, C), in evaluation mode."""
    return np.asarray(model(pictures, training=False))


def flat(stages):
    """All rows, in one list."""
    return [row for rows in stages for row in rows]


def draw_pictures(size, channels=3):
    return np.random.default_rng(0).normal(size=(2, size, size, channels)).astype("float32")


# %% [markdown]
# ## Task 1: `block_rows`
#
# Write the function that makes the rows. `depths` says how many blocks each stage has, `widths` how
# many channels its blocks have before they are multiplied, and `stem_channels` how many channels the
# stem puts out. There are as many stages as `depths` has numbers, not always four.
#
# The rules of all five networks:
#
# - The stages are called `layer1`, `layer2` and so on; the blocks of a stage are counted from 0.
# - A BasicBlock puts out `width` channels, a Bottleneck four times as many.
# - A block gets what the block before it puts out. The first one gets what the stem puts out.
# - The first block of every stage has stride 2, but not in the first stage. All others have stride 1.
# - The shortcut is a projection where the shape changes, by the channels or by the stride, and
#   nowhere else. (This is option B of the paper.)
#
# Return a list with one list of `Row`s for each stage, as in `SMALL`, which is
# `block_rows("BasicBlock", (2, 1), (8, 12), 8)`.


# %% answer="block_rows"
def block_rows(block, depths, widths=(64, 128, 256, 512), stem_channels=64):
    """The rows of a network, one list for each stage."""
    ### BEGIN SOLUTION
    expansion = {"BasicBlock": 1, "Bottleneck": 4}[block]
    in_channels = stem_channels
    stages = []
    for stage, (depth, width) in enumerate(zip(depths, widths), start=1):
        rows = []
        for index in range(depth):
            out_channels = expansion * width
            stride = 2 if stage > 1 and index == 0 else 1
            projection = stride != 1 or in_channels != out_channels
            name = f"layer{stage}.{index}"
            rows.append(Row(name, block, in_channels, out_channels, stride, projection))
            in_channels = out_channels
        stages.append(rows)
    return stages
    ### END SOLUTION


# %% test="block_rows" points=6
stages = block_rows("BasicBlock", (2, 1), (8, 12), 8)
assert isinstance(stages, list) and all(isinstance(rows, list) for rows in stages), (
    "return a list that holds a list for each stage."
)
assert all(isinstance(row, Row) for rows in stages for row in rows), (
    "the lists of the stages must hold Rows: Row(name, block, in_channels, ...)."
)
names = [[row.name for row in rows] for rows in stages]
assert names == [["layer1.0", "layer1.1"], ["layer2.0"]], (
    f"the names are {names}. Stages are counted from 1, blocks from 0. How many blocks has each stage?"
)
for yours, given in zip(flat(stages), flat(SMALL)):
    assert yours == given, f"you made {yours}, but SMALL has {given}."

for number, depths in [(18, (2, 2, 2, 2)), (34, (3, 4, 6, 3))]:
    rows = flat(block_rows("BasicBlock", depths))
    assert len(rows) == sum(depths), (
        f"ResNet-{number} has {sum(depths)} blocks, you made {len(rows)}."
    )
    halved = [row.name for row in rows if row.stride == 2]
    assert halved == ["layer2.0", "layer3.0", "layer4.0"], (
        f"in ResNet-{number} these blocks of yours have stride 2: {halved}. How often do the stages of "
        "a network halve the picture?"
    )
rows = flat(block_rows("Bottleneck", (3, 4, 6, 3)))
for row, before in zip(rows[1:], rows):
    assert row.in_channels == before.out_channels, (
        f"{row.name} gets {row.in_channels} channels, but {before.name} puts out {before.out_channels}."
    )
ends = [rows[0].in_channels, rows[0].out_channels, rows[-1].out_channels]
assert ends == [64, 256, 2048], (
    f"ResNet-50 starts with 64 channels, has 256 after one block and ends with 2048; yours: {ends}."
)
found = [row.name for row in rows if row.projection]
assert len(found) == 4, (
    f"ResNet-50 has 4 projections, yours are in {found}. Compare in_channels and out_channels of the "
    "first rows."
)
assert [block_rows("Bottleneck", (2,), (4,), stem)[0][0].projection for stem in (16, 4)] == [
    False,
    True,
], (
    "with 16 channels from the stem, the first bottleneck of width 4 gets 16 channels and puts out 16; "
    "with 4 channels from the stem it does not. Ask about shapes, not about the place of the block."
)
assert all(type(row.projection) is bool for row in rows), "projection is True or False."

# %% [markdown]
# ## Task 2: `torch_network`
#
# From here on the tests use the rows of `SMALL` and of another small network, so that you can go on
# even if something is missing in your `block_rows`.

# %%
BOTTLENECKS = [
    [Row("layer1.0", "Bottleneck", 6, 16, 1, True)],
    [
        Row("layer2.0", "Bottleneck", 16, 24, 2, True),
        Row("layer2.1", "Bottleneck", 24, 24, 1, False),
    ],
    [Row("layer3.0", "Bottleneck", 24, 16, 2, True)],
]

# %% [markdown]
# Now the network in PyTorch. It gets the rows and holds these parts, with these names:
#
# | part | what it is |
# | --- | --- |
# | `conv1` | 7×7 convolution, stride 2, three zeros on every side, no bias |
# | `bn1`, `relu1` | BatchNorm, ReLU |
# | `maxpool` | 3×3 max-pool with stride 2, padded by one on every side |
# | `layer1`, `layer2`, ... | the stages: the blocks of each one in an `nn.Sequential` |
# | `avgpool` | the mean over **all** pixels, however many there are |
# | `fc` | fully connected layer with bias, from what the last block puts out to `num_classes` |
#
# `conv1` gets `in_channels` channels and puts out as many as the first block gets.
# `BLOCKS[row.block](row)` makes a block. The number of stages is `len(stages)`; a module whose name
# is made by a program can be added with `self.add_module(name, module)`.


# %% answer="torch_network"
class ResNet(nn.Module):
    def __init__(self, stages, num_classes=1000, in_channels=3):
        super().__init__()
        ### BEGIN SOLUTION
        first, last = stages[0][0], stages[-1][-1]
        self.conv1 = nn.Conv2d(in_channels, first.in_channels, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(first.in_channels)
        self.relu1 = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.stage_names = [f"layer{number}" for number in range(1, len(stages) + 1)]
        for name, rows in zip(self.stage_names, stages):
            self.add_module(name, nn.Sequential(*[BLOCKS[row.block](row) for row in rows]))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(last.out_channels, num_classes)
        ### END SOLUTION

    def forward(self, x):  # (N, in_channels, H, W)
        ### BEGIN SOLUTION
        x = self.conv1(x)  # (N, C, H/2, W/2)
        x = self.relu1(self.bn1(x))
        x = self.maxpool(x)  # (N, C, H/4, W/4)
        for name in self.stage_names:
            x = self.get_submodule(name)(x)
        x = self.flatten(self.avgpool(x))  # (N, F)
        return self.fc(x)  # (N, num_classes)
        ### END SOLUTION


# %% test="torch_network" points=6
model = ResNet(SMALL, num_classes=5)
parts = [name for name, _ in model.named_children()]
lacking = {"conv1", "bn1", "relu1", "maxpool", "layer1", "layer2", "avgpool", "fc"} - set(parts)
assert not lacking, f"the network has the parts {parts}, and lacks {sorted(lacking)}."
shapes = arrays_of(model)
places = {name.split(".")[0] for name in shapes}
assert places == {"conv1", "bn1", "layer1", "layer2", "fc"}, (
    f"the arrays of the network belong to {sorted(places)}. Which part holds arrays and should not, or "
    "is kept under two names?"
)
assert shapes["conv1.weight"] == (8, 3, 7, 7), (
    f"conv1.weight is {shapes['conv1.weight']}. Which row knows how many channels the stem puts out?"
)
assert "conv1.bias" not in shapes, "conv1 has a bias: what would the BatchNorm make of it?"
assert shapes["fc.weight"] == (5, 12), f"fc.weight is {shapes['fc.weight']}. Which row is the last?"
assert "layer1.1.conv2.weight" in shapes and "layer2.0.downsample.0.weight" in shapes, (
    f"the arrays of the stages have other names: {[name for name in shapes if 'layer' in name]}"
)
model = ResNet(BOTTLENECKS, num_classes=7, in_channels=1)
shapes = arrays_of(model)
assert shapes["conv1.weight"] == (6, 1, 7, 7), f"in_channels is 1, conv1: {shapes['conv1.weight']}"
assert any(name.startswith("layer3.") for name in shapes), "this network has three stages."
count = sum(p.numel() for p in model.parameters())
assert count == 3353, f"this network of bottlenecks has 3353 parameters, yours has {count}."

seen = []
model.layer3.register_forward_hook(lambda part, x, out: seen.append(tuple(out.shape)))
for size, height in [(64, 4), (48, 3), (65, 5)]:
    logits = run_torch(model, draw_pictures(size, channels=1))
    assert logits.shape == (2, 7), f"the logits have the shape {logits.shape}, not (2, 7)."
    assert seen[-1] == (2, 16, height, height), (
        f"pictures of {size} pixels are {seen[-1]} after layer3, not (2, 16, {height}, {height}). "
        "Halve the size step by step: conv1, maxpool, layer2, layer3."
    )
for rows, channels, wanted in [
    (SMALL, 3, [0.928, 0.012, -0.191]),
    (BOTTLENECKS, 1, [-1.828, 0.456, -1.402]),
]:
    model = ResNet(rows, num_classes=3, in_channels=channels)
    load_torch(model, draw_weights(model, seed=1))
    logits = run_torch(model, draw_pictures(64, channels))[0].astype(float).round(3).tolist()
    assert np.allclose(logits, wanted, atol=2e-3), (
        f"with drawn weights the logits of one picture are {logits}, not {wanted}. Names and shapes "
        "fit: compare the order of the steps in forward, and the kind of pooling, with the table."
    )

# %% [markdown]
# ## Task 3: `keras_network`
#
# The same network in Keras, as a functional model: `keras.Input((size, size, in_channels))`, then
# layer after layer, then `keras.Model(inputs, outputs)`. The layers of stem and head are called
# `conv1`, `bn1`, `relu1`, `maxpool`, `avgpool` and `fc`, as in PyTorch; the blocks name their layers
# themselves. The same weights must give the same logits, so think of what Keras does in another way:
#
# - how it pads when you say `padding="same"` and a stride is 2 (tutorial 3);
# - momentum and epsilon of its BatchNorm (tutorial 4; look how the blocks above do it);
# - `fc` gives logits, so it has no activation.
#
# PyTorch pads a max-pool with minus infinity. Keras' `ZeroPadding2D` pads with zeros. In this place
# it makes no difference. Why? (Look at the layer before it.)


# %% answer="keras_network"
def resnet_keras(stages, num_classes=1000, in_channels=3, size=224):
    """A functional Keras model for pictures of size x size pixels."""
    ### BEGIN SOLUTION
    inputs = keras.Input((size, size, in_channels))
    x = layers.ZeroPadding2D(3)(inputs)
    x = layers.Conv2D(stages[0][0].in_channels, 7, 2, use_bias=False, name="conv1")(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="bn1")(x)  # (N, H/2, W/2, C)
    x = layers.ReLU(name="relu1")(x)
    x = layers.ZeroPadding2D(1)(x)  # after a ReLU no pixel is smaller than these zeros
    x = layers.MaxPooling2D(3, 2, name="maxpool")(x)  # (N, H/4, W/4, C)
    for rows in stages:
        for row in rows:
            x = BLOCKS_KERAS[row.block](row)(x)
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)  # (N, F)
    return keras.Model(inputs, layers.Dense(num_classes, name="fc")(x))  # (N, num_classes)
    ### END SOLUTION


# %% test="keras_network" points=6
model = resnet_keras(SMALL, num_classes=5, size=64)
assert isinstance(model, keras.Model), "return a keras.Model."
names = [layer.name for layer in model.layers]
lacking = {"conv1", "bn1", "relu1", "maxpool", "layer2.0.relu2", "avgpool", "fc"} - set(names)
assert not lacking, f"there is no layer called {sorted(lacking)}. You have {names}."
assert model.output.shape == (None, 5), f"the model puts out {model.output.shape}, not (None, 5)."
kernel = model.get_layer("conv1").kernel.shape
assert kernel == (7, 7, 3, 8), f"the kernel of conv1 is {tuple(kernel)}, not (7, 7, 3, 8)."
count = model.count_params()
assert count == 6105, (
    f"Keras counts {count} numbers, moving statistics included; there should be 6105. Is there a bias "
    "that should not be, or one missing?"
)
for size, height in [(64, 8), (48, 6), (65, 9)]:
    model = resnet_keras(SMALL, num_classes=5, size=size)
    shape = model.get_layer("layer2.0.relu2").output.shape
    assert shape == (None, height, height, 12), (
        f"pictures of {size} pixels are {shape} after layer2, not (None, {height}, {height}, 12)."
    )
assert abs(model.get_layer("bn1").momentum - 0.9) < 1e-9, (
    f"bn1 has momentum {model.get_layer('bn1').momentum}. PyTorch's 0.1 is the share of the new value."
)

NETWORKS = {"SMALL": (SMALL, 3), "BOTTLENECKS": (BOTTLENECKS, 1)}
for name, (rows, channels) in NETWORKS.items():
    for size in (33, 64):
        twin = ResNet(rows, num_classes=4, in_channels=channels)
        arrays = draw_weights(twin, seed=2)
        load_torch(twin, arrays)
        model = resnet_keras(rows, num_classes=4, in_channels=channels, size=size)
        load_keras(model, arrays)
        pictures = draw_pictures(size, channels)
        wanted = run_torch(twin, pictures)
        difference = np.abs(run_keras(model, pictures) - wanted).max() / np.abs(wanted).max()
        assert difference < 1e-4, (
            f"on {size} pixels your networks of {name} differ by {difference:.2g} of the largest "
            "logit. If both sizes differ: compare BatchNorm and the last layer. If only 64 does: "
            "where do the zeros go, on each of the four sides?"
        )

# %% [markdown]
# ## Task 4: `five_networks`
#
# Put the pieces together. `row_of(50)` gives the kind of block and the depths of ResNet-50,
# `make_torch(50)` and `make_keras(50)` build it, and the same holds for the other four. The table says
# what they are made of; the widths are 64, 128, 256 and 512, and the stem puts out 64 channels. The
# last column is what torchvision's networks have.
#
# | network | block | depths | parameters |
# | --- | --- | --- | ---: |
# | ResNet-18 | BasicBlock | 2, 2, 2, 2 | 11,689,512 |
# | ResNet-34 | BasicBlock | 3, 4, 6, 3 | 21,797,672 |
# | ResNet-50 | Bottleneck | 3, 4, 6, 3 | 25,557,032 |
# | ResNet-101 | Bottleneck | 3, 4, 23, 3 | 44,549,160 |
# | ResNet-152 | Bottleneck | 3, 8, 36, 3 | 60,192,808 |
#
# The test builds the deep ones on PyTorch's device `meta` (tutorial 6): there an array has a shape
# and no numbers. That is enough to count, and it takes no memory and little time.


# %% answer="five_networks"
def row_of(number):
    """(block, depths) of ResNet-18, 34, 50, 101 or 152."""
    ### BEGIN SOLUTION
    return {
        18: ("BasicBlock", (2, 2, 2, 2)),
        34: ("BasicBlock", (3, 4, 6, 3)),
        50: ("Bottleneck", (3, 4, 6, 3)),
        101: ("Bottleneck", (3, 4, 23, 3)),
        152: ("Bottleneck", (3, 8, 36, 3)),
    }[number]
    ### END SOLUTION


def make_torch(number, num_classes=1000, in_channels=3):
    """ResNet-18, 34, 50, 101 or 152 in PyTorch."""
    ### BEGIN SOLUTION
    return ResNet(block_rows(*row_of(number)), num_classes, in_channels)
    ### END SOLUTION


def make_keras(number, num_classes=1000, in_channels=3, size=224):
    """ResNet-18, 34, 50, 101 or 152 in Keras."""
    ### BEGIN SOLUTION
    return resnet_keras(block_rows(*row_of(number)), num_classes, in_channels, size)
    ### END SOLUTION


# %% test="five_networks" points=4
published = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160, 152: 60_192_808}
for number, wanted in published.items():
    with torch.device("meta"):
        model = make_torch(number)
    count = sum(p.numel() for p in model.parameters())
    assert count == wanted, (
        f"your ResNet-{number} has {count:,} parameters, torchvision's {wanted:,}. The difference is "
        f"{count - wanted:,}. Is it the size of a bias, of a projection, or of a whole block?"
    )
with torch.device("meta"):
    shapes = arrays_of(make_torch(50, num_classes=10))
assert len(shapes) == 267 and shapes["fc.weight"] == (10, 2048), (
    f"ResNet-50 with 10 classes has 267 arrays, yours {len(shapes)}; fc.weight: {shapes['fc.weight']}."
)
with torch.device("meta"):
    shape = arrays_of(make_torch(18, in_channels=1))["conv1.weight"]
assert shape == (64, 1, 7, 7), f"with in_channels=1 conv1.weight is {shape}, not (64, 1, 7, 7)."
model = make_keras(18, num_classes=10, in_channels=1, size=33)
ends = model.input.shape, model.output.shape
assert ends == ((None, 33, 33, 1), (None, 10)), (
    f"make_keras(18, num_classes=10, in_channels=1, size=33) goes from {ends[0]} to {ends[1]}."
)
model = make_keras(18, size=64)
learned = sum(variable.numpy().size for variable in model.trainable_variables)
assert (learned, model.count_params()) == (11_689_512, 11_699_112), (
    f"your ResNet-18 in Keras learns {learned:,} numbers and has {model.count_params():,}. It should "
    "learn as many as PyTorch's, and have 11,699,112 with the moving statistics."
)

# %% [markdown]
# ## Task 5: `stage_table`
#
# A summary of a network with one line for each stage, made from its rows: the name of the stage
# (`"layer1"`), the channels that it puts out, the height of what it puts out for pictures of `size`
# x `size` pixels, and its learned parameters. Return a list of tuples, for example `("layer1", 64,
# 56, 147968)`, which is the first stage of ResNet-18 for pictures of 224 pixels.
#
# You may use formulas, or let PyTorch count the blocks for you. Think of odd sizes: a 3×3 kernel with
# stride 2 and one pixel of padding makes 4 of 7 pixels, and 4 of 8 as well.


# %% answer="stage_table"
def stage_table(stages, size):
    """(name, channels, height, parameters) of each stage."""
    ### BEGIN SOLUTION
    table = []
    height = (size + 3) // 4  # conv1 and maxpool, each rounded up
    for rows in stages:
        parameters = 0
        for row in rows:
            with torch.device("meta"):
                block = BLOCKS[row.block](row)
            parameters += sum(p.numel() for p in block.parameters())
            height = (height + row.stride - 1) // row.stride
        table.append((rows[0].name.split(".")[0], rows[-1].out_channels, height, parameters))
    return table
    ### END SOLUTION


# %% test="stage_table" points=3
table = stage_table(SMALL, 64)
assert [line[0] for line in table] == ["layer1", "layer2"], "one line for each stage, by name."
assert [line[1] for line in table] == [8, 12], f"the channels are {[line[1] for line in table]}."
for size, wanted in [(64, [16, 8]), (224, [56, 28]), (65, [17, 9]), (33, [9, 5])]:
    heights = [line[2] for line in stage_table(SMALL, size)]
    assert heights == wanted, (
        f"for {size} pixels the heights are {heights}, not {wanted}. Which way does a stride of 2 "
        "round, and how many such steps come before layer1?"
    )
counts = [line[3] for line in table]
assert counts == [2368, 2328], (
    f"the stages of SMALL have {counts} parameters, not [2368, 2328]. Only learned numbers count, and "
    "a projection has some, too."
)
counts = [line[3] for line in stage_table(BOTTLENECKS, 64)]
assert counts == [408, 1752, 768], (
    f"the stages of BOTTLENECKS have {counts} parameters, not [408, 1752, 768]. A bottleneck has three "
    "convolutions and three BatchNorms. How many channels has it inside?"
)
first = [Row(f"layer1.{index}", "BasicBlock", 64, 64, 1, False) for index in (0, 1)]
line = stage_table([first], 224)[0]
assert line == ("layer1", 64, 56, 147_968), (
    f"the example from the text is {line} with your function."
)
assert table == [("layer1", 8, 16, 2368), ("layer2", 12, 8, 2328)], f"a list of tuples, not {table}"
