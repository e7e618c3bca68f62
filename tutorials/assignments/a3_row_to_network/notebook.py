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
### BEGIN HIDDEN TESTS
import numpy as np

from shared.classroom.exam import exam
from shared.networks.spec import ResNetSpec, StemSpec


@exam.question
def rows_of(student, block, depths, widths, stem):
    stages = student.block_rows(block, depths, widths, stem)
    return {
        "rows": [[list(row) for row in rows] for rows in stages],
        "inputs": [depths, widths],
    }


@exam.question
def usual_rows_of(student, block, depths):
    return [[list(row) for row in rows] for rows in student.block_rows(block, depths)]


FIELDS = ("name", "block", "in_channels", "out_channels", "stride", "projection")


def make_spec(block, depths, widths, stem, **options):
    """The network as our package describes it."""
    return ResNetSpec(
        name="asked",
        block=block,
        depths=tuple(depths),
        widths=tuple(widths),
        stem=StemSpec(out_channels=stem),
        **options,
    )


def plain_rows(spec):
    """The rows that the package makes, as plain lists."""
    return [
        [
            [
                row.name,
                row.block,
                row.in_channels,
                row.out_channels,
                max(row.stride1, row.stride2),
                row.shortcut.kind == "conv_norm",
            ]
            for row in rows
        ]
        for rows in spec.stages()
    ]


def draw_plan(block, stages, most=4, stem=None):
    """Random depths, widths and channels of the stem. Neighbours among the widths may be equal."""
    depths = [*exam.rng.integers(1, most, size=stages - 1).tolist(), int(exam.rng.integers(2, 4))]
    widths = (2 * exam.rng.integers(1, 9, size=stages)).tolist()
    return block, depths, widths, widths[0] if stem is None else stem


def check_rows(plans, *columns):
    """Compares some columns of the rows."""
    for plan in plans:
        answer = rows_of(block=plan[0], depths=plan[1], widths=plan[2], stem=plan[3])
        wanted = plain_rows(make_spec(*plan))
        exam.require(isinstance(answer["rows"], list), f"block_rows{plan}: no list")
        exam.equal([len(rows) for rows in answer["rows"]], plan[1], f"depths of block_rows{plan}")
        exam.equal(answer["inputs"], [plan[1], plan[2]], "depths and widths after the call")
        for column in columns:
            at = FIELDS.index(column)
            exam.equal(
                [[row[at] for row in rows] for rows in answer["rows"]],
                [[row[at] for row in rows] for rows in wanted],
                f"{column} of block_rows{plan}",
            )


BOTH = ("BasicBlock", "Bottleneck")
with exam.part(1, "names and kinds, for all numbers of stages and blocks"):
    check_rows([draw_plan(block, n) for block in BOTH for n in range(1, 7)], "name", "block")
with exam.part(1, "strides"):
    check_rows([draw_plan(block, n) for block in BOTH for n in range(1, 7)], "stride")
with exam.part(1, "channels of BasicBlocks, whatever the stem puts out"):
    plans = [draw_plan("BasicBlock", n, stem=stem) for n, stem in ((2, 3), (3, None), (5, 20))]
    check_rows([*plans, draw_plan("BasicBlock", 4)], "in_channels", "out_channels")
with exam.part(1, "channels of Bottlenecks, whatever the stem puts out"):
    plans = [draw_plan("Bottleneck", n, stem=stem) for n, stem in ((2, 3), (3, None), (5, 20))]
    check_rows([*plans, draw_plan("Bottleneck", 4)], "in_channels", "out_channels")
with exam.part(1, "projections of networks with the usual widths"):
    for block in BOTH:
        for _ in range(3):
            depths = exam.rng.integers(1, 9, size=4).tolist()
            usual = make_spec(block, depths, (64, 128, 256, 512), 64)
            answer = usual_rows_of(block=block, depths=depths)
            exam.equal(answer, plain_rows(usual), f"block_rows({block}, {depths})")
with exam.part(1, "projections where the stem or equal widths make the difference"):
    for block, times in (("BasicBlock", 1), ("Bottleneck", 4)):
        width, other = exam.rng.choice(np.arange(2, 9), size=2, replace=False).tolist()
        check_rows(
            [
                (block, [2, 3, 1], [width, width, other], times * width),
                (block, [2, 1, 2], [width, other, other], width + 1),
                (block, [1, 2], [other, other], 4 * other + 1),
            ],
            "projection",
        )
exam.score()
### END HIDDEN TESTS

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
### BEGIN HIDDEN TESTS
import torch

import resnet_torch
from shared.networks.table import layer_table


@exam.question
def torch_arrays(student, stages, options):
    import torch

    stages = [[student.Row(*row) for row in rows] for rows in stages]
    with torch.device("meta"):
        state = student.ResNet(stages, **options).state_dict()
    return {
        name: list(value.shape)
        for name, value in state.items()
        if "num_batches_tracked" not in name
    }


@exam.question
def torch_shapes(student, stages, options, parts, sizes):
    import torch

    stages = [[student.Row(*row) for row in rows] for rows in stages]
    model = student.ResNet(stages, **options).eval()
    shapes = []
    for part in parts:
        model.get_submodule(part).register_forward_hook(
            lambda module, inputs, out: shapes.append(list(out.shape))
        )
    with torch.no_grad():
        for height, width in sizes:
            shapes.append(list(model(torch.ones(2, options["in_channels"], height, width)).shape))
    return shapes


@exam.question
def torch_logits(student, stages, options, arrays, pictures):
    import torch

    stages = [[student.Row(*row) for row in rows] for rows in stages]
    model = student.ResNet(stages, **options)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    model.eval()
    with torch.no_grad():
        return [model(torch.from_numpy(x)) for x in pictures]


def twin_of(spec):
    """Our own network."""
    return resnet_torch.create_model(spec, dtype="float64").eval()


def shapes_of(spec):
    """Names and shapes of all arrays of our own network."""
    with torch.device("meta"):
        state = resnet_torch.create_model(spec).state_dict()
    return {n: list(value.shape) for n, value in state.items() if "num_batches_tracked" not in n}


def true_shapes(spec, parts, sizes):
    """The shapes after these parts of our own network, and of the logits, for these sizes."""
    twin, shapes = resnet_torch.create_model(spec).eval(), []
    for part in parts:
        twin.get_submodule(part).register_forward_hook(
            lambda module, inputs, out: shapes.append(list(out.shape))
        )
    with torch.no_grad():
        for size in sizes:
            shapes.append(list(twin(torch.ones(2, spec.in_channels, *size)).shape))
    return shapes


def lively(spec):
    """Random weights: no BatchNorm is near a new one, and the variances are small."""
    arrays = {}
    for name, shape in shapes_of(spec).items():
        if len(shape) > 1:
            array = exam.rng.normal(size=shape) * np.sqrt(1.5 / np.prod(shape[1:]))
        elif name.endswith("running_var"):
            array = exam.rng.uniform(0.05, 0.5, size=shape)
        elif name.endswith("weight"):
            array = exam.rng.uniform(0.4, 0.9, size=shape)
        else:
            array = exam.rng.normal(size=shape) * 0.3
        arrays[name] = array.astype("float32")
    return arrays


def random_pictures(channels, sizes):
    """One batch of pictures (N, C, H, W) for each size."""
    return [
        exam.rng.normal(size=(2, channels, height, width)).astype("float32")
        for height, width in sizes
    ]


def true_logits(spec, arrays, pictures):
    """What our own network says, in float64."""
    twin = twin_of(spec)
    state = {name: torch.from_numpy(array).double() for name, array in arrays.items()}
    twin.load_state_dict(state)
    with torch.no_grad():
        return [twin(torch.from_numpy(x).double()).numpy() for x in pictures]


def same_logits(answer, expected, what):
    """Logits may be off by 1e-4 of the largest one."""
    exam.require(isinstance(answer, list) and len(answer) == len(expected), f"{what}: no logits")
    for one, other in zip(answer, expected, strict=True):
        limit = 1e-4 * float(np.abs(other).max())
        exam.close(one, other, what, rtol=0.0, atol=limit)


def draw_options(low=2):
    """Random numbers of classes and of channels of the pictures."""
    return {
        "num_classes": int(exam.rng.integers(2, 30)),
        "in_channels": int(exam.rng.integers(1, 6)),
    }


with exam.part(1, "names and shapes of the arrays, with the usual widths and 1000 classes"):
    for block in BOTH:
        spec = make_spec(block, [2, 1, 3, 1], (64, 128, 256, 512), 64)
        answer = torch_arrays(stages=plain_rows(spec), options={})
        exam.equal(answer, shapes_of(spec), f"{block}, arrays")
with exam.part(1, "names and shapes with other depths and widths"):
    for block in BOTH:
        for number in (1, 2, 3, 5):
            spec = make_spec(*draw_plan(block, number, stem=int(exam.rng.integers(3, 20))))
            answer = torch_arrays(stages=plain_rows(spec), options={})
            exam.equal(answer, shapes_of(spec), f"{block}, {spec.depths}, {spec.widths}, arrays")
with exam.part(1, "names and shapes with other classes and pictures"):
    for block in BOTH:
        options = {"num_classes": int(exam.rng.integers(2, 900)), "in_channels": 4}
        spec = make_spec(block, [1, 2, 1, 1], (64, 128, 256, 512), 64, **options)
        answer = torch_arrays(stages=plain_rows(spec), options=options)
        exam.equal(answer, shapes_of(spec), f"{block}, {options}, arrays")
with exam.part(1, "shapes after the stem, after each stage and of the logits, for several sizes"):
    for block in BOTH:
        options, sizes = draw_options(), [(64, 64), (49, 49), (70, 98), (224, 128)]
        spec = make_spec(*draw_plan(block, 4), **options)
        parts = ["conv1", "maxpool", "layer1", "layer2", "layer3", "layer4"]
        answer = torch_shapes(stages=plain_rows(spec), options=options, parts=parts, sizes=sizes)
        wanted = true_shapes(spec, parts, sizes)
        exam.equal(answer, wanted, f"shapes in a network of {block}")
for block in BOTH:
    with exam.part(1, f"logits of a network of {block}s"):
        for depths in ([1, 2, 1, 1], [2, 1, 2]):
            options, sizes = draw_options(), [(64, 64), (50, 34), (47, 47)]
            _, _, widths, stem = draw_plan(block, len(depths))
            spec = make_spec(block, depths, widths, stem, **options)
            arrays, pictures = lively(spec), random_pictures(options["in_channels"], sizes)
            answer = torch_logits(
                stages=plain_rows(spec), options=options, arrays=arrays, pictures=pictures
            )
            same_logits(answer, true_logits(spec, arrays, pictures), f"{block}, {depths}, logits")
exam.score()
### END HIDDEN TESTS

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
### BEGIN HIDDEN TESTS
from shared.networks.table import count_parameters


@exam.question
def keras_facts(student, stages, options):
    stages = [[student.Row(*row) for row in rows] for rows in stages]
    model = student.resnet_keras(stages, **options)
    return {
        "arrays": {f"{x.name}/{v.name}": list(v.shape) for x in model.layers for v in x.weights},
        "names": [layer.name for layer in model.layers],
        "trainable": sum(v.numpy().size for v in model.trainable_variables),
        "all": sum(v.numpy().size for v in model.variables),
    }


@exam.question
def keras_shapes(student, stages, options, names):
    stages = [[student.Row(*row) for row in rows] for rows in stages]
    model = student.resnet_keras(stages, **options)
    return [list(model.get_layer(name).output.shape) for name in names] + [list(model.output.shape)]


@exam.question
def keras_logits(student, stages, options, arrays, pictures):
    import numpy as np

    stages = [[student.Row(*row) for row in rows] for rows in stages]
    model = student.resnet_keras(stages, **options)
    for layer in model.layers:
        for variable in layer.weights:
            variable.assign(arrays[f"{layer.name}/{variable.name}"])
    logits = np.asarray(model(pictures, training=False))
    return {"logits": logits, "momentum": float(model.get_layer("bn1").momentum)}


def in_keras(arrays):
    """The same arrays with Keras' names and layouts."""
    kinds = {"running_mean": "moving_mean", "running_var": "moving_variance"}
    made = {}
    for name, array in arrays.items():
        layer, kind = name.rsplit(".", 1)
        if array.ndim > 1:
            axes = (2, 3, 1, 0) if array.ndim == 4 else (1, 0)
            made[f"{layer}/kernel"] = array.transpose(axes).copy()
        elif layer == "fc":
            made["fc/bias"] = array
        else:
            made[f"{layer}/{kinds.get(kind, {'weight': 'gamma', 'bias': 'beta'}.get(kind))}"] = (
                array
            )
    return made


def check_facts(facts, spec, what):
    """Arrays, their numbers, and names of the layers without arrays."""
    empty = {name: np.empty(shape, "float32") for name, shape in shapes_of(spec).items()}
    wanted = {name: list(array.shape) for name, array in in_keras(empty).items()}
    exam.equal(facts["arrays"], wanted, f"arrays of {what}")
    exam.equal(facts["trainable"], count_parameters(spec), f"trainable numbers of {what}")
    exam.equal(facts["all"], sum(a.size for a in empty.values()), f"numbers in {what}")
    exam.require(isinstance(facts["names"], list), "names")
    for name in ("relu1", "maxpool", "avgpool"):
        exam.require(name in facts["names"], f"{what} has no layer {name}")


def check_keras_logits(plans, size):
    for block, depths in plans:
        options = draw_options()
        _, _, widths, stem = draw_plan(block, len(depths))
        spec = make_spec(block, depths, widths, stem, **options)
        arrays, pictures = lively(spec), random_pictures(options["in_channels"], [(size, size)])
        answer = keras_logits(
            stages=plain_rows(spec),
            options={**options, "size": size},
            arrays=in_keras(arrays),
            pictures=pictures[0].transpose(0, 2, 3, 1).copy(),
        )
        what = f"{block}, {depths}, {size} pixels, logits"
        same_logits([answer["logits"]], true_logits(spec, arrays, pictures), what)
        yield answer


with exam.part(
    1, "names, shapes and numbers of the arrays, with the usual widths and 1000 classes"
):
    for block in BOTH:
        spec = make_spec(block, [1, 1, 2, 1], (64, 128, 256, 512), 64)
        check_facts(keras_facts(stages=plain_rows(spec), options={}), spec, f"a network of {block}")
with exam.part(1, "names, shapes and numbers with other widths, classes and pictures"):
    for block, number in (("BasicBlock", 3), ("Bottleneck", 5)):
        options = {"num_classes": int(exam.rng.integers(2, 90)), "in_channels": 4}
        stem = int(exam.rng.integers(3, 20))
        spec = make_spec(*draw_plan(block, number, 3, stem), **options, input_size=96)
        facts = keras_facts(stages=plain_rows(spec), options={**options, "size": 96})
        check_facts(facts, spec, f"a network of {block}")
with exam.part(1, "shapes after the stem, after each stage and of the logits, for several sizes"):
    for block, size in (("BasicBlock", 49), ("BasicBlock", 128), ("Bottleneck", 70)):
        options = draw_options()
        spec = make_spec(*draw_plan(block, 4, 3), **options, input_size=size)
        rows = {row.name: row.output_shape for row in layer_table(spec, size)}
        relu = "relu2" if block == "BasicBlock" else "relu3"
        names = ["conv1", "maxpool", *(f"{stage[-1].name}.{relu}" for stage in spec.stages())]
        answer = keras_shapes(
            stages=plain_rows(spec), options={**options, "size": size}, names=names
        )
        wanted = [[None, *rows[name][1:], rows[name][0]] for name in names]
        exam.equal(
            answer, [*wanted, [None, options["num_classes"]]], f"shapes, {block}, {size} pixels"
        )
with exam.part(1, "logits where all sizes are odd; momentum of the stem"):
    for answer in check_keras_logits([("BasicBlock", [1, 2, 1]), ("Bottleneck", [1, 1, 1])], 33):
        exam.close(answer["momentum"], 0.9, "momentum of bn1", rtol=0.0, atol=1e-6)
with exam.part(2, "logits where sizes are even, too"):
    list(check_keras_logits([("BasicBlock", [1, 2, 1, 1]), ("Bottleneck", [1, 2, 1])], 64))
exam.score()
### END HIDDEN TESTS

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
### BEGIN HIDDEN TESTS
from shared.networks.catalog import get_spec


@exam.question
def torch_counts(student, numbers, options):
    import torch

    counts = []
    for number in numbers:
        with torch.device("meta"):
            model = student.make_torch(number, **options)
        counts.append(sum(p.numel() for p in model.parameters()))
    return counts


@exam.question
def torch_names(student, number, options):
    import torch

    with torch.device("meta"):
        state = student.make_torch(number, **options).state_dict()
    return {
        name: list(value.shape)
        for name, value in state.items()
        if "num_batches_tracked" not in name
    }


@exam.question
def keras_network_facts(student, number, options):
    model = student.make_keras(number, **options)
    return {
        "arrays": {f"{x.name}/{v.name}": list(v.shape) for x in model.layers for v in x.weights},
        "names": [layer.name for layer in model.layers],
        "trainable": sum(v.numpy().size for v in model.trainable_variables),
        "all": sum(v.numpy().size for v in model.variables),
    }


ALL_FIVE = [18, 34, 50, 101, 152]
with exam.part(1, "parameters of the five networks, as torchvision has them"):
    exam.equal(
        torch_counts(numbers=ALL_FIVE, options={}),
        [11_689_512, 21_797_672, 25_557_032, 44_549_160, 60_192_808],
        "parameters",
    )
with exam.part(1, "parameters of the five with other classes and pictures"):
    options = draw_options()
    specs = [get_spec(f"resnet{number}", **options) for number in ALL_FIVE]
    exam.equal(
        torch_counts(numbers=ALL_FIVE, options=options),
        [count_parameters(spec) for spec in specs],
        f"parameters with {options}",
    )
with exam.part(1, "names and shapes of all arrays in ResNet-18, 50 and 101"):
    for number in (18, 50, 101):
        options = draw_options()
        answer = torch_names(number=number, options=options)
        exam.equal(answer, shapes_of(get_spec(f"resnet{number}", **options)), f"ResNet-{number}")
with exam.part(1, "ResNet-34 and 50 in Keras: names, shapes and numbers"):
    for number in (34, 50):
        options = {**draw_options(), "size": 64}
        answer = keras_network_facts(number=number, options=options)
        spec = get_spec(
            f"resnet{number}",
            num_classes=options["num_classes"],
            in_channels=options["in_channels"],
        )
        check_facts(answer, spec, f"ResNet-{number}")
exam.score()
### END HIDDEN TESTS

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
### BEGIN HIDDEN TESTS


@exam.question
def table_of(student, stages, size):
    stages = [[student.Row(*row) for row in rows] for rows in stages]
    return [list(line) for line in student.stage_table(stages, size)]


def true_table(spec, size):
    """The same table from the package's list of layers."""
    layers = layer_table(spec, size)
    table = []
    for rows in spec.stages():
        stage = rows[0].name.split(".")[0]
        inside = [layer for layer in layers if layer.name.startswith(f"{stage}.")]
        channels, height, _ = inside[-1].output_shape
        table.append([stage, channels, height, sum(layer.parameters for layer in inside)])
    return table


def check_tables(block, *columns):
    """Compares some columns of the table, for random rows and sizes."""
    for number in (1, 3, 4, 5):
        size = int(exam.rng.integers(65, 300))
        spec = make_spec(*draw_plan(block, number, stem=int(exam.rng.integers(3, 20))))
        answer = table_of(stages=plain_rows(spec), size=size)
        exam.require(isinstance(answer, list), "no list")
        for at in columns:
            exam.equal(
                [line[at] for line in answer],
                [line[at] for line in true_table(spec, size)],
                f"column {at} for {spec.block}, {spec.depths}, {spec.widths}, {size} pixels",
            )


with exam.part(1, "names, channels and heights"):
    for block in BOTH:
        check_tables(block, 0, 1, 2)
with exam.part(1, "parameters of stages of BasicBlocks"):
    check_tables("BasicBlock", 3)
with exam.part(1, "parameters of stages of Bottlenecks"):
    check_tables("Bottleneck", 3)
exam.score()
### END HIDDEN TESTS
