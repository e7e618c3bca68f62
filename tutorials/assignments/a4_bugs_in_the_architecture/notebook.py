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

import keras
import numpy as np
import torch
from keras import layers
from torch import nn
from torch.nn import functional as F

# %% [markdown]
# ## The hunt
#
# Below are six programs. Each builds a block or a small network, and each holds **exactly one
# mistake** in its architecture. The same kinds of mistakes have been found in public code. Four of
# the programs are written in PyTorch, two in Keras.
#
# Each program has a docstring and comments that say what it is **meant** to do. Somebody has used
# it, and reports what seemed odd. For each program you
#
# 1. find the mistake;
# 2. write a **test**, a function `check_1(build)`. It gets the program as `build`, calls it, and
#    looks at what it has built. It raises an `AssertionError` if the network is wrong, and returns if
#    it is right;
# 3. **mend** the program. `Fixed1` begins as a copy of `Buggy1`: change as little as you can;
# 4. say in **one sentence** what somebody who trains with the program would have seen, in the curve of
#    the loss or in the log, and why. Some mistakes are hardly seen there. If you think so, say that,
#    and why.
#
# A good test looks at **behaviour**. Yours will also get the same programs under other names, as new
# copies without source text, so it helps nothing to look at the name of a class or at its lines.
# And it must hold for every right program, also for one that was written by somebody else. So:
#
# - `build` has the same arguments as the program. You choose their values. Think about which values
#   show the mistake and which hide it;
# - **run the network** at least once, on images that you make yourself. (In Keras, laying out the
#   graph is already such a run.) Random weights are often enough, or set those that help you to see;
# - only an `AssertionError` counts. If a program stops with another error, your test has to notice
#   that, and raise an `AssertionError` itself;
# - keep the names of layers, and the order of arguments. The graders find your layers by their
#   names, which are those of tutorials 5, 6 and 8;
# - with the test, the points are 1 for stopping the bug, and 1 more if your fix passes and is right.
#   A right fix has 2 points of its own.
#
# This cell tries your tests out. Read it.


# %%
def try_out(check, program):
    """The error with which `check` stops a program (None if it passes), and the number of runs."""
    runs = []
    if isinstance(program, type):

        class Renamed(program):
            def forward(self, *images):
                runs.append(1)
                return super().forward(*images)

        build = Renamed
    else:

        def build(*arguments, **keywords):
            runs.append(1)
            return program(*arguments, **keywords)

    try:
        check(build)
    except Exception as error:
        return error, len(runs)
    return None, len(runs)


def try_both(check, buggy, fixed):
    """Whether `check` stops the buggy program, and lets the fixed one pass."""
    name = check.__name__
    error, _ = try_out(check, buggy)
    assert error is not None, (
        f"{name} lets {buggy.__name__} pass. Which arguments, and which images, show the mistake?"
    )
    assert isinstance(error, AssertionError), (
        f"{name} stops {buggy.__name__} with {type(error).__name__} ({error}). It must be an "
        "AssertionError: if it comes from your test, repair the test; if the program itself stops, "
        "catch that and raise an AssertionError."
    )
    error, runs = try_out(check, fixed)
    assert error is None, (
        f"{name} stops {fixed.__name__}, too: {type(error).__name__}: {error}. Is the program not "
        "mended yet, or does the test ask for more than a right program must do?"
    )
    assert runs > 0, f"{name} has looked at {fixed.__name__}, but has never run it."


# %% [markdown]
# ## Task 1: `bug_1`
#
# **Meant to be** the bottleneck with which `layer1` of ResNet-50 begins: `Buggy1(channels)` turns
# `channels` channels into four times as many, with a projection on the shortcut (tutorials 5 and
# 8). In this block the size stays, so it needs no stride.
#
# **Reported:** "I loaded the weights of a published block, with `strict=True`. No name is missing,
# none is left over, and every shape fits. But the output is far from that of the published block."


# %%
class Buggy1(nn.Module):
    """The bottleneck that opens layer1: `channels` come in, 4 * channels go out, the size stays."""

    def __init__(self, channels):
        super().__init__()
        wide = 4 * channels
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, wide, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(wide)
        # The number of channels changes, so the shortcut needs a 1x1 convolution with BatchNorm.
        self.downsample = nn.Sequential(self.conv3, self.bn3)

    def forward(self, x):  # (N, C, H, W)
        out = torch.relu(self.bn1(self.conv1(x)))  # (N, C, H, W)
        out = torch.relu(self.bn2(self.conv2(out)))  # (N, C, H, W)
        out = self.bn3(self.conv3(out))  # (N, 4C, H, W)
        identity = self.downsample(x)  # (N, 4C, H, W)
        return torch.relu(out + identity)  # (N, 4C, H, W)


# %% answer="check_1"
def check_1(build):
    """Raise an AssertionError if the block is wrong.

    `build(channels)` makes a block as `Buggy1(channels)` does: an `nn.Module` for images of shape
    (N, channels, H, W).
    """
    ### BEGIN SOLUTION
    block = build(4).eval()
    norm = block.downsample[1]
    with torch.no_grad():
        norm.weight.zero_()  # now the shortcut gives zero
        norm.bias.zero_()
        out = block(torch.randn(2, 4, 6, 6))
    assert out.any(), "switching the shortcut off has switched off the main path, too"
    ### END SOLUTION


# %% answer="fix_1"
### BEGIN SOLUTION
class Fixed1(nn.Module):
    """The bottleneck that opens layer1: `channels` come in, 4 * channels go out, the size stays."""

    def __init__(self, channels):
        super().__init__()
        wide = 4 * channels
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, wide, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(wide)
        # The number of channels changes, so the shortcut needs a 1x1 convolution with BatchNorm.
        self.downsample = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide)
        )

    def forward(self, x):  # (N, C, H, W)
        out = torch.relu(self.bn1(self.conv1(x)))  # (N, C, H, W)
        out = torch.relu(self.bn2(self.conv2(out)))  # (N, C, H, W)
        out = self.bn3(self.conv3(out))  # (N, 4C, H, W)
        identity = self.downsample(x)  # (N, 4C, H, W)
        return torch.relu(out + identity)  # (N, 4C, H, W)


### END SOLUTION


# %% starts="fix_1"
class Fixed1(nn.Module):
    """The bottleneck that opens layer1: `channels` come in, 4 * channels go out, the size stays."""

    def __init__(self, channels):
        super().__init__()
        wide = 4 * channels
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, wide, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(wide)
        # The number of channels changes, so the shortcut needs a 1x1 convolution with BatchNorm.
        self.downsample = nn.Sequential(self.conv3, self.bn3)

    def forward(self, x):  # (N, C, H, W)
        out = torch.relu(self.bn1(self.conv1(x)))  # (N, C, H, W)
        out = torch.relu(self.bn2(self.conv2(out)))  # (N, C, H, W)
        out = self.bn3(self.conv3(out))  # (N, 4C, H, W)
        identity = self.downsample(x)  # (N, 4C, H, W)
        return torch.relu(out + identity)  # (N, 4C, H, W)


# %% test="bug_1" points=4
try_both(check_1, Buggy1, Fixed1)
assert set(Fixed1(4).state_dict()) == set(Buggy1(4).state_dict()), (
    f"the state_dict of Fixed1 has the names {list(Fixed1(4).state_dict())}. Weights are exchanged by "
    "name: keep those that Buggy1 has."
)

# %% [markdown]
# ## Task 2: `curve_1`
#
# In one sentence: what would somebody have seen who trains a small network with this block, beside
# one with right blocks, and why?

# %% [markdown] written="curve_1" points=1
# Hardly anything: the training loss falls almost as with right blocks, because a kernel and a BatchNorm
# that serve both paths can still be trained; the number of parameters in the log, which is too small,
# is what could make somebody suspicious.

# %% [markdown]
# ## Task 3: `bug_2`
#
# **Meant to be** a basic block (tutorials 5 and 6): `Buggy2(in_channels, out_channels, stride)`. Its
# shortcut is a projection where the shape changes, in the number of channels or by the stride, and
# the identity elsewhere. A network that is built of such blocks asks each block for its
# `out_channels`.
#
# **Reported:** "We have used it for half a year, in a network with three blocks that halves the size
# with each of them. Never a problem. Now we wanted to make the network deeper."


# %%
class Buggy2(nn.Module):
    """A basic block; the shortcut is a projection where the shape changes."""

    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = nn.Identity()
        if stride != 1 or in_channels != self.out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )
        self.stride = stride
        self.out_channels = out_channels  # the next block has to know

    def forward(self, x):  # (N, C, H, W)
        out = torch.relu(self.bn1(self.conv1(x)))  # (N, C', H/s, W/s)
        out = self.bn2(self.conv2(out))  # (N, C', H/s, W/s)
        identity = self.downsample(x)  # (N, C', H/s, W/s)
        return torch.relu(out + identity)  # (N, C', H/s, W/s)


# %% answer="check_2"
def check_2(build):
    """Raise an AssertionError if the block is wrong, also if it cannot be built or run.

    `build(in_channels, out_channels, stride)` makes a block as `Buggy2` does: an `nn.Module` for
    images of shape (N, in_channels, H, W).
    """
    ### BEGIN SOLUTION
    for in_channels, out_channels, stride in [(4, 4, 1), (4, 8, 1), (4, 4, 2), (4, 8, 2)]:
        case = f"{in_channels} to {out_channels} channels, stride {stride}"
        try:
            out = build(in_channels, out_channels, stride)(torch.randn(2, in_channels, 8, 8))
        except Exception as error:
            raise AssertionError(f"{case}: {error}") from error
        size = 8 // stride
        assert out.shape == (2, out_channels, size, size), f"{case}: {tuple(out.shape)}"
    ### END SOLUTION


# %% answer="fix_2"
### BEGIN SOLUTION
class Fixed2(nn.Module):
    """A basic block; the shortcut is a projection where the shape changes."""

    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.stride = stride
        self.out_channels = out_channels  # the next block has to know
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = nn.Identity()
        if stride != 1 or in_channels != self.out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x):  # (N, C, H, W)
        out = torch.relu(self.bn1(self.conv1(x)))  # (N, C', H/s, W/s)
        out = self.bn2(self.conv2(out))  # (N, C', H/s, W/s)
        identity = self.downsample(x)  # (N, C', H/s, W/s)
        return torch.relu(out + identity)  # (N, C', H/s, W/s)


### END SOLUTION


# %% starts="fix_2"
class Fixed2(nn.Module):
    """A basic block; the shortcut is a projection where the shape changes."""

    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = nn.Identity()
        if stride != 1 or in_channels != self.out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )
        self.stride = stride
        self.out_channels = out_channels  # the next block has to know

    def forward(self, x):  # (N, C, H, W)
        out = torch.relu(self.bn1(self.conv1(x)))  # (N, C', H/s, W/s)
        out = self.bn2(self.conv2(out))  # (N, C', H/s, W/s)
        identity = self.downsample(x)  # (N, C', H/s, W/s)
        return torch.relu(out + identity)  # (N, C', H/s, W/s)


# %% test="bug_2" points=4
try_both(check_2, Buggy2, Fixed2)
assert set(Fixed2(4, 8, 2).state_dict()) == set(Buggy2(4, 8, 2).state_dict()), (
    f"the state_dict of Fixed2(4, 8, 2) has the names {list(Fixed2(4, 8, 2).state_dict())}. Where "
    "Buggy2 worked, nothing should change."
)
assert Fixed2(4, 8, 2).out_channels == 8, (
    f"out_channels of Fixed2(4, 8, 2) is {Fixed2(4, 8, 2).out_channels}: the next block asks for it."
)


# %% [markdown]
# ## Task 4: `curve_2`
#
# In one sentence: what would somebody have seen who puts one more block, which changes no shape, into
# a network that worked, and starts a training? Why not earlier?

# %% [markdown] written="curve_2" points=1
# No curve at all: the program stops with an AttributeError while the network is being built, because
# `self.out_channels` is read before it is set; with a stride the left side of `or` is already true, and
# Python does not look at the right side.

# %% [markdown]
# ## Task 5: `bug_3`
#
# **Meant to be** the basic block of tutorial 5, with its layers, its names and its strides:
# `Buggy3(in_channels, out_channels, stride)`. Only the shortcut is another one, on purpose: it learns
# nothing. It takes means over pixels until the size fits, and puts zeros after the old channels
# until their number fits. That is a relative of option A, and it is not the mistake.
#
# **Reported:** "I train on images of 32×32 pixels. My colleague's network has right blocks with such a
# shortcut, the same channels and strides, and the same number of parameters. But an epoch of mine takes
# less time. At first I was glad."


# %%
class Buggy3(nn.Module):
    """A basic block whose shortcut learns nothing: means over pixels, and zeros for new channels."""

    def __init__(self, in_channels, out_channels, stride):
        super().__init__()

        def conv3x3(channels):
            return nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False)

        self.conv1 = conv3x3(in_channels)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = conv3x3(out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.new_channels = out_channels - in_channels

    def forward(self, x):  # (N, C, H, W)
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        identity = F.adaptive_avg_pool2d(x, out.shape[2:])  # as high and as wide as the main path
        identity = F.pad(identity, (0, 0, 0, 0, 0, self.new_channels))  # and with as many channels
        return torch.relu(out + identity)


# %% answer="check_3"
def check_3(build):
    """Raise an AssertionError if the block is wrong.

    `build(in_channels, out_channels, stride)` makes a block as `Buggy3` does: an `nn.Module` for
    images of shape (N, in_channels, H, W), with in_channels <= out_channels.
    """
    ### BEGIN SOLUTION
    for stride in (1, 2):
        out = build(4, 6, stride)(torch.randn(2, 4, 16, 16))
        size = 16 // stride
        assert out.shape == (2, 6, size, size), f"stride {stride}: {tuple(out.shape)}"
    ### END SOLUTION


# %% answer="fix_3"
### BEGIN SOLUTION
class Fixed3(nn.Module):
    """A basic block whose shortcut learns nothing: means over pixels, and zeros for new channels."""

    def __init__(self, in_channels, out_channels, stride):
        super().__init__()

        def conv3x3(channels, stride):
            return nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False)

        self.conv1 = conv3x3(in_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = conv3x3(out_channels, 1)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.new_channels = out_channels - in_channels

    def forward(self, x):  # (N, C, H, W)
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        identity = F.adaptive_avg_pool2d(x, out.shape[2:])  # as high and as wide as the main path
        identity = F.pad(identity, (0, 0, 0, 0, 0, self.new_channels))  # and with as many channels
        return torch.relu(out + identity)


### END SOLUTION


# %% starts="fix_3"
class Fixed3(nn.Module):
    """A basic block whose shortcut learns nothing: means over pixels, and zeros for new channels."""

    def __init__(self, in_channels, out_channels, stride):
        super().__init__()

        def conv3x3(channels):
            return nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False)

        self.conv1 = conv3x3(in_channels)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = conv3x3(out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.new_channels = out_channels - in_channels

    def forward(self, x):  # (N, C, H, W)
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        identity = F.adaptive_avg_pool2d(x, out.shape[2:])  # as high and as wide as the main path
        identity = F.pad(identity, (0, 0, 0, 0, 0, self.new_channels))  # and with as many channels
        return torch.relu(out + identity)


# %% test="bug_3" points=4
try_both(check_3, Buggy3, Fixed3)
assert set(Fixed3(4, 6, 2).state_dict()) == set(Buggy3(4, 6, 2).state_dict()), (
    f"the state_dict of Fixed3(4, 6, 2) has the names {list(Fixed3(4, 6, 2).state_dict())}. The report "
    "says that the parameters are right."
)


# %% [markdown]
# ## Task 6: `curve_3`
#
# In one sentence: what would somebody have seen who trains a network of such blocks on small images,
# say of 8×8 pixels, beside one with right blocks, and why?

# %% [markdown] written="curve_3" points=1
# In the curves hardly a difference (on easy images), only shorter epochs: a block with stride 2 makes
# height and width four times smaller, and because the shortcut fits itself to any size, no error tells
# that 8×8 pixels have become 1×1 after two such blocks.

# %% [markdown]
# ## Task 7: `bug_4`
#
# **Meant to be** a small residual network in Keras, with as many stages as `depths` has entries:
# `build_buggy_4(depths, width, size, classes)`. As in tutorial 6, each stage after the first has twice
# as many channels as the stage before, and half its height and width. There is no max-pool, and the
# stem has stride 1, because the images are small.
#
# **Reported:** "It learns, and no shape is refused. But for images of 32×32 pixels it takes clearly
# more multiply-adds than a network with these depths and widths should."


# %%
def build_buggy_4(depths, width, size=32, classes=10):
    """A residual network for small images: (N, size, size, 3) -> (N, classes)."""

    def conv(x, channels, kernel_size, stride, name):
        if kernel_size > 1:
            x = layers.ZeroPadding2D(kernel_size // 2)(x)  # the same on all sides
        return layers.Conv2D(channels, kernel_size, stride, use_bias=False, name=name)(x)

    def norm(x, name):
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)

    def block(x, channels, stride, name):
        out = norm(conv(x, channels, 3, stride, f"{name}.conv1"), f"{name}.bn1")
        out = layers.ReLU(name=f"{name}.relu1")(out)
        out = norm(conv(out, channels, 3, 1, f"{name}.conv2"), f"{name}.bn2")
        if stride != 1 or x.shape[-1] != channels:
            x = norm(conv(x, channels, 1, stride, f"{name}.downsample.0"), f"{name}.downsample.1")
        return layers.ReLU(name=f"{name}.relu2")(layers.Add(name=f"{name}.add")([out, x]))

    inputs = keras.Input((size, size, 3))
    x = layers.ReLU(name="relu1")(norm(conv(inputs, width, 3, 1, "conv1"), "bn1"))
    for number, depth in enumerate(depths, start=1):
        channels = width * 2 ** (number - 1)
        first_stride = 1 if number > 1 else 2
        for index in range(depth):
            stride = first_stride if index == 0 else 1  # only where a stage begins
            x = block(x, channels, stride, f"layer{number}.{index}")
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)
    return keras.Model(inputs, layers.Dense(classes, name="fc")(x))


# %% answer="check_4"
def check_4(build):
    """Raise an AssertionError if the network is wrong.

    `build(depths, width, size, classes)` makes a `keras.Model` as `build_buggy_4` does.
    """
    ### BEGIN SOLUTION
    model = build((1, 2, 1), 4, 16, 5)
    for name, size in {"layer1.0": 16, "layer2.0": 8, "layer2.1": 8, "layer3.0": 4}.items():
        shape = model.get_layer(f"{name}.add").output.shape
        assert shape[1:3] == (size, size), f"{name}: {shape}"
    ### END SOLUTION


# %% answer="fix_4"
### BEGIN SOLUTION
def build_fixed_4(depths, width, size=32, classes=10):
    """A residual network for small images: (N, size, size, 3) -> (N, classes)."""

    def conv(x, channels, kernel_size, stride, name):
        if kernel_size > 1:
            x = layers.ZeroPadding2D(kernel_size // 2)(x)  # the same on all sides
        return layers.Conv2D(channels, kernel_size, stride, use_bias=False, name=name)(x)

    def norm(x, name):
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)

    def block(x, channels, stride, name):
        out = norm(conv(x, channels, 3, stride, f"{name}.conv1"), f"{name}.bn1")
        out = layers.ReLU(name=f"{name}.relu1")(out)
        out = norm(conv(out, channels, 3, 1, f"{name}.conv2"), f"{name}.bn2")
        if stride != 1 or x.shape[-1] != channels:
            x = norm(conv(x, channels, 1, stride, f"{name}.downsample.0"), f"{name}.downsample.1")
        return layers.ReLU(name=f"{name}.relu2")(layers.Add(name=f"{name}.add")([out, x]))

    inputs = keras.Input((size, size, 3))
    x = layers.ReLU(name="relu1")(norm(conv(inputs, width, 3, 1, "conv1"), "bn1"))
    for number, depth in enumerate(depths, start=1):
        channels = width * 2 ** (number - 1)
        first_stride = 2 if number > 1 else 1
        for index in range(depth):
            stride = first_stride if index == 0 else 1  # only where a stage begins
            x = block(x, channels, stride, f"layer{number}.{index}")
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)
    return keras.Model(inputs, layers.Dense(classes, name="fc")(x))


### END SOLUTION


# %% starts="fix_4"
def build_fixed_4(depths, width, size=32, classes=10):
    """A residual network for small images: (N, size, size, 3) -> (N, classes)."""

    def conv(x, channels, kernel_size, stride, name):
        if kernel_size > 1:
            x = layers.ZeroPadding2D(kernel_size // 2)(x)  # the same on all sides
        return layers.Conv2D(channels, kernel_size, stride, use_bias=False, name=name)(x)

    def norm(x, name):
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)

    def block(x, channels, stride, name):
        out = norm(conv(x, channels, 3, stride, f"{name}.conv1"), f"{name}.bn1")
        out = layers.ReLU(name=f"{name}.relu1")(out)
        out = norm(conv(out, channels, 3, 1, f"{name}.conv2"), f"{name}.bn2")
        if stride != 1 or x.shape[-1] != channels:
            x = norm(conv(x, channels, 1, stride, f"{name}.downsample.0"), f"{name}.downsample.1")
        return layers.ReLU(name=f"{name}.relu2")(layers.Add(name=f"{name}.add")([out, x]))

    inputs = keras.Input((size, size, 3))
    x = layers.ReLU(name="relu1")(norm(conv(inputs, width, 3, 1, "conv1"), "bn1"))
    for number, depth in enumerate(depths, start=1):
        channels = width * 2 ** (number - 1)
        first_stride = 1 if number > 1 else 2
        for index in range(depth):
            stride = first_stride if index == 0 else 1  # only where a stage begins
            x = block(x, channels, stride, f"layer{number}.{index}")
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)
    return keras.Model(inputs, layers.Dense(classes, name="fc")(x))


# %% test="bug_4" points=4
try_both(check_4, build_buggy_4, build_fixed_4)
shape = build_fixed_4((1, 1), 4, 8, 5).output.shape
assert shape == (None, 5), (
    f"build_fixed_4((1, 1), 4, 8, 5) ends with {shape}: 5 logits should come."
)


# %% [markdown]
# ## Task 8: `curve_4`
#
# In one sentence: what would somebody have seen in the curve of the loss and in the log of a training
# on small images, beside a right network, and why?

# %% [markdown] written="curve_4" points=1
# A loss that falls more slowly in the first epochs and then gets about as far, because the first stage
# already throws away half of the height and width; for larger images also a longer time for each
# batch, because the wide later stages work on feature maps that are not halved.

# %% [markdown]
# ## Task 9: `bug_5`
#
# **Meant to be** a small residual network in Keras, with one stage of basic blocks:
# `build_buggy_5(blocks, channels, size, classes)`. No shape changes between the blocks, so every
# shortcut is the identity (tutorial 5).
#
# **Reported:** "I followed single numbers of a feature map through the trained network, from one
# block to the next. Some grow, some stay as they are. I have never seen one that gets smaller."


# %%
def build_buggy_5(blocks, channels, size=8, classes=10):
    """A residual network with a single stage: (N, size, size, 3) -> (N, classes)."""

    def step(x, name, number):  # what a block does twice
        x = layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"{name}conv{number}")(
            x
        )
        x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}bn{number}")(x)
        return layers.ReLU(name=f"{name}relu{number}")(x)

    inputs = keras.Input((size, size, 3))
    x = step(inputs, "", 1)  # the stem
    for index in range(blocks):
        name = f"layer1.{index}."
        out = step(x, name, 1)  # (N, H, W, C)
        out = step(out, name, 2)  # (N, H, W, C)
        x = layers.Add(name=f"{name}add")([out, x])  # (N, H, W, C)
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)
    return keras.Model(inputs, layers.Dense(classes, name="fc")(x))


# %% answer="check_5"
def check_5(build):
    """Raise an AssertionError if the network is wrong.

    `build(blocks, channels, size, classes)` makes a `keras.Model` as `build_buggy_5` does.
    """
    ### BEGIN SOLUTION
    model = build(2, 4, 6, 5)
    for block in (0, 1):
        norm = model.get_layer(f"layer1.{block}.bn2")
        norm.gamma.assign(np.zeros(4))
        norm.beta.assign(np.full(4, -1000.0))  # whatever comes in, the block ends with zeros
    images = np.random.default_rng(0).normal(size=(3, 6, 6, 3)).astype("float32")
    features = keras.Model(model.input, model.get_layer("avgpool").output)(images, training=False)
    assert not np.asarray(features).any(), "a block cannot make its input smaller"
    ### END SOLUTION


# %% answer="fix_5"
### BEGIN SOLUTION
def build_fixed_5(blocks, channels, size=8, classes=10):
    """A residual network with a single stage: (N, size, size, 3) -> (N, classes)."""

    def step(x, name, number):  # what a block does twice
        x = layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"{name}conv{number}")(
            x
        )
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}bn{number}")(x)

    inputs = keras.Input((size, size, 3))
    x = layers.ReLU(name="relu1")(step(inputs, "", 1))  # the stem
    for index in range(blocks):
        name = f"layer1.{index}."
        out = layers.ReLU(name=f"{name}relu1")(step(x, name, 1))  # (N, H, W, C)
        out = step(out, name, 2)  # (N, H, W, C)
        x = layers.Add(name=f"{name}add")([out, x])  # (N, H, W, C)
        x = layers.ReLU(name=f"{name}relu2")(x)
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)
    return keras.Model(inputs, layers.Dense(classes, name="fc")(x))


### END SOLUTION


# %% starts="fix_5"
def build_fixed_5(blocks, channels, size=8, classes=10):
    """A residual network with a single stage: (N, size, size, 3) -> (N, classes)."""

    def step(x, name, number):  # what a block does twice
        x = layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"{name}conv{number}")(
            x
        )
        x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}bn{number}")(x)
        return layers.ReLU(name=f"{name}relu{number}")(x)

    inputs = keras.Input((size, size, 3))
    x = step(inputs, "", 1)  # the stem
    for index in range(blocks):
        name = f"layer1.{index}."
        out = step(x, name, 1)  # (N, H, W, C)
        out = step(out, name, 2)  # (N, H, W, C)
        x = layers.Add(name=f"{name}add")([out, x])  # (N, H, W, C)
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)
    return keras.Model(inputs, layers.Dense(classes, name="fc")(x))


# %% test="bug_5" points=4
try_both(check_5, build_buggy_5, build_fixed_5)
names = {layer.name for layer in build_fixed_5(2, 4).layers if layer.weights}
wanted = {layer.name for layer in build_buggy_5(2, 4).layers if layer.weights}
assert names == wanted, (
    f"the layers with weights are {sorted(names)} in build_fixed_5(2, 4). Keep the names that "
    "build_buggy_5 gives them."
)


# %% [markdown]
# ## Task 10: `curve_5`
#
# In one sentence: what would somebody have seen who trains this network, with few blocks and with many,
# beside a right one, and why?

# %% [markdown] written="curve_5" points=1
# With few blocks a loss that is somewhat higher than that of the right network, with many a start at a
# very large loss or a training that fails, because every block can only add numbers of zero or more, so
# the feature maps grow from block to block.

# %% [markdown]
# ## Task 11: `bug_6`
#
# **Meant to be** a residual network with as many stages as there are entries in `depths`:
# `Buggy6(depths, widths, classes)`. Stage i has `depths[i]` blocks and `widths[i]` channels, and each
# stage after the first halves height and width (tutorial 6). The class `BasicBlock6` has been
# checked: it is right.
#
# **Reported:** "With the depths (2, 2, 2, 2) all is as it should be, down to the last parameter. With
# (3, 4, 6, 3) I get a network with far more parameters than a ResNet-34 of these widths has."


# %%
class BasicBlock6(nn.Module):
    """Two 3x3 convolutions, and a shortcut with a projection where the shape changes."""

    def __init__(self, in_channels, out_channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.downsample.append(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False))
            self.downsample.append(nn.BatchNorm2d(out_channels))

    def forward(self, x):  # (N, C, H, W)
        out = torch.relu(self.bn1(self.conv1(x)))  # (N, C', H/s, W/s)
        out = self.bn2(self.conv2(out))  # (N, C', H/s, W/s)
        return torch.relu(out + self.downsample(x))  # (N, C', H/s, W/s)


class Buggy6(nn.Module):
    """A residual network for small images: (N, 3, H, W) -> (N, classes)."""

    def __init__(self, depths, widths, classes=10):
        super().__init__()
        self.channels = widths[0]  # what the next block will get
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.names = ["layer1"]
        self.layer1 = self.stage(depths[0], widths[0], stride=1)
        for index in range(1, len(depths)):  # the later stages begin with a stride
            self.names.append(f"layer{index + 1}")
            self.add_module(self.names[-1], self.stage(depths[index - 1], widths[index], stride=2))
        self.fc = nn.Linear(widths[-1], classes)

    def stage(self, depth, width, stride):
        blocks = []
        for index in range(depth):
            blocks.append(BasicBlock6(self.channels, width, stride if index == 0 else 1))
            self.channels = width
        return nn.Sequential(*blocks)

    def forward(self, x):  # (N, 3, H, W)
        x = torch.relu(self.bn1(self.conv1(x)))  # (N, C, H, W)
        for name in self.names:
            x = getattr(self, name)(x)
        return self.fc(x.mean((2, 3)))  # (N, classes)


# %% answer="check_6"
def check_6(build):
    """Raise an AssertionError if the network is wrong.

    `build(depths, widths, classes)` makes a network as `Buggy6` does: an `nn.Module` for images of
    shape (N, 3, H, W). Its stages are called `layer1`, `layer2`, and so on.
    """
    ### BEGIN SOLUTION
    depths = (2, 1, 4, 3)
    network = build(depths, (2, 3, 4, 5), 6)
    out = network(torch.randn(2, 3, 16, 16))
    assert out.shape == (2, 6), f"logits of shape {tuple(out.shape)}"
    found = tuple(len(getattr(network, f"layer{number}")) for number in (1, 2, 3, 4))
    assert found == depths, f"{found} blocks instead of {depths}"
    ### END SOLUTION


# %% answer="fix_6"
### BEGIN SOLUTION
class Fixed6(nn.Module):
    """A residual network for small images: (N, 3, H, W) -> (N, classes)."""

    def __init__(self, depths, widths, classes=10):
        super().__init__()
        self.channels = widths[0]  # what the next block will get
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.names = ["layer1"]
        self.layer1 = self.stage(depths[0], widths[0], stride=1)
        for index in range(1, len(depths)):  # the later stages begin with a stride
            self.names.append(f"layer{index + 1}")
            self.add_module(self.names[-1], self.stage(depths[index], widths[index], stride=2))
        self.fc = nn.Linear(widths[-1], classes)

    def stage(self, depth, width, stride):
        blocks = []
        for index in range(depth):
            blocks.append(BasicBlock6(self.channels, width, stride if index == 0 else 1))
            self.channels = width
        return nn.Sequential(*blocks)

    def forward(self, x):  # (N, 3, H, W)
        x = torch.relu(self.bn1(self.conv1(x)))  # (N, C, H, W)
        for name in self.names:
            x = getattr(self, name)(x)
        return self.fc(x.mean((2, 3)))  # (N, classes)


### END SOLUTION


# %% starts="fix_6"
class Fixed6(nn.Module):
    """A residual network for small images: (N, 3, H, W) -> (N, classes)."""

    def __init__(self, depths, widths, classes=10):
        super().__init__()
        self.channels = widths[0]  # what the next block will get
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.names = ["layer1"]
        self.layer1 = self.stage(depths[0], widths[0], stride=1)
        for index in range(1, len(depths)):  # the later stages begin with a stride
            self.names.append(f"layer{index + 1}")
            self.add_module(self.names[-1], self.stage(depths[index - 1], widths[index], stride=2))
        self.fc = nn.Linear(widths[-1], classes)

    def stage(self, depth, width, stride):
        blocks = []
        for index in range(depth):
            blocks.append(BasicBlock6(self.channels, width, stride if index == 0 else 1))
            self.channels = width
        return nn.Sequential(*blocks)

    def forward(self, x):  # (N, 3, H, W)
        x = torch.relu(self.bn1(self.conv1(x)))  # (N, C, H, W)
        for name in self.names:
            x = getattr(self, name)(x)
        return self.fc(x.mean((2, 3)))  # (N, classes)


# %% test="bug_6" points=4
try_both(check_6, Buggy6, Fixed6)
names = list(Fixed6((2, 2), (4, 6)).state_dict())
assert set(names) == set(Buggy6((2, 2), (4, 6)).state_dict()), (
    f"the state_dict of Fixed6((2, 2), (4, 6)) has the names {names}. With equal depths all was as it "
    "should be: nothing should change there."
)


# %% [markdown]
# ## Task 12: `curve_6`
#
# In one sentence: what would somebody have seen in the curves and in the log of a training with
# uneven depths, and why? Think of depths that rise as well as of depths that fall.

# %% [markdown] written="curve_6" points=1
# Nothing unusual in the curves, since another network is trained and it learns well, but a wrong number
# of parameters in the log and a wrong time for an epoch: with depths that rise the last, widest stage
# gets too few blocks, with depths that fall it gets too many.
