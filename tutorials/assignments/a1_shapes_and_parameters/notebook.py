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
import torch
from torch import nn

# %% [markdown]
# The functions that you write here compute with whole numbers only: no framework is needed inside
# them. The tests build the real layer and look whether you were right. These two helpers do that;
# read them.


# %%
def torch_size(size, kernel_size, stride, padding):
    """Height of what a PyTorch convolution makes of a picture with `size` rows."""
    layer = nn.Conv2d(1, 1, kernel_size, stride, padding)
    return layer(torch.zeros(1, 1, size, size)).shape[2]


def keras_size(size, kernel_size, stride):
    """Height of what a Keras convolution with padding="same" makes of a picture with `size` rows."""
    layer = keras.layers.Conv2D(1, kernel_size, strides=stride, padding="same")
    return layer.compute_output_shape((1, size, size, 1))[1]


# %% [markdown]
# ## Task 1: `output_size`
#
# A convolution with `padding` zeros on **both** sides of a row of `size` pixels: how many numbers
# come out? The kernel starts at the left end of the padded row and moves by `stride`. A position at
# which it would reach over the right end does not count.


# %% answer="output_size"
def output_size(size, kernel_size, stride, padding):
    """How many positions the kernel has."""
    ### BEGIN SOLUTION
    return (size + 2 * padding - kernel_size) // stride + 1
    ### END SOLUTION


# %% test="output_size" points=3
for case in [(32, 3, 1, 1), (32, 1, 1, 0), (10, 5, 1, 2), (28, 5, 1, 0)]:
    yours, real = output_size(*case), torch_size(*case)
    assert yours == real, (
        f"output_size{case} is {yours}, but the real layer gives {real}. Draw a row of five pixels "
        "and the positions of a kernel of three."
    )
for case in [(224, 7, 2, 3), (7, 3, 2, 1), (8, 3, 2, 1), (9, 2, 3, 0)]:
    yours, real = output_size(*case), torch_size(*case)
    assert yours == real, (
        f"output_size{case} is {yours}, but the real layer gives {real}. With a stride the last step "
        "may not fit: which way do you round, and do you add the first position before or after?"
    )
assert type(output_size(32, 3, 1, 1)) is int, (
    "A number of pixels is an int; / makes a float, // does not."
)

# %% [markdown]
# ## Task 2: `same_padding`
#
# Keras with `padding="same"` chooses the zeros itself. It first decides how many numbers come out:
# `size / stride`, rounded **up**. Then it adds as few zeros as are needed for that many positions of
# the kernel. If the number of zeros is odd, the extra zero goes to the **right**. Return the tuple
# `(left, right)`. (The same holds from top to bottom.)
#
# Try your rule on paper with a kernel of one pixel and a stride of two, too.


# %% answer="same_padding"
def same_padding(size, kernel_size, stride):
    """The zeros that padding="same" puts to the left and to the right."""
    ### BEGIN SOLUTION
    outputs = -(-size // stride)
    zeros = max(0, (outputs - 1) * stride + kernel_size - size)
    return zeros // 2, zeros - zeros // 2
    ### END SOLUTION


# %% test="same_padding" points=3
zeros = same_padding(32, 3, 1)
assert isinstance(zeros, tuple) and len(zeros) == 2, (
    f"same_padding(32, 3, 1) is {zeros!r}; return a tuple of two numbers, (left, right)."
)
for case in [(32, 3, 1), (32, 5, 1), (7, 3, 2), (224, 7, 2), (9, 2, 2), (10, 5, 3), (11, 7, 4)]:
    left, right = same_padding(*case)
    size, kernel_size, stride = case
    assert (size + left + right - kernel_size) // stride + 1 == keras_size(*case), (
        f"with the {left} + {right} zeros of same_padding{case} the size is not the "
        f"{keras_size(*case)} of the real layer."
    )
assert same_padding(8, 3, 2) == (0, 1), (
    f"same_padding(8, 3, 2) is {same_padding(8, 3, 2)}. Four numbers must come out: the last kernel "
    "starts at pixel 6 and reaches one pixel over the end. Where does the single zero go?"
)
assert same_padding(8, 1, 2) == (0, 0), (
    f"same_padding(8, 1, 2) is {same_padding(8, 1, 2)}. Does a kernel of one pixel ever reach over "
    "the end? Can there be fewer than no zeros?"
)


# %% [markdown]
# ## Task 3: `conv_parameters`
#
# How many numbers does a square convolution learn? `bias` is `True` or `False`. With `groups` above
# 1 the input channels are split into that many groups of equal size, and so are the output channels;
# each output channel sees the input channels of its own group only. From 4 to 6 channels with 2
# groups, for example, there are still 6 output channels, and each sees 2 input channels.


# %% answer="conv_parameters"
def conv_parameters(in_channels, out_channels, kernel_size, bias, groups=1):
    """The learned numbers of a convolution."""
    ### BEGIN SOLUTION
    weights = out_channels * (in_channels // groups) * kernel_size**2
    return weights + (out_channels if bias else 0)
    ### END SOLUTION


# %% test="conv_parameters" points=3
for case in [(3, 64, 7, False), (64, 64, 3, False), (64, 256, 1, False), (3, 8, 3, True)]:
    layer = nn.Conv2d(*case[:3], bias=case[3])
    yours, real = conv_parameters(*case), sum(p.numel() for p in layer.parameters())
    assert yours == real, (
        f"conv_parameters{case} is {yours}, the real layer has {real}. Print layer.weight.shape and "
        "layer.bias of such a layer."
    )
for case in [(4, 6, 3, True, 2), (32, 64, 3, True, 8)]:
    layer = nn.Conv2d(*case[:3], bias=case[3], groups=case[4])
    yours, real = conv_parameters(*case), sum(p.numel() for p in layer.parameters())
    assert yours == real, (
        f"with {case[4]} groups conv_parameters{case} is {yours}, the real layer has {real}. How many "
        "output channels are there, and how many input channels does each of them see?"
    )
assert type(conv_parameters(4, 6, 3, True, 2)) is int, "A number of parameters is an int."

# %% [markdown]
# ## Task 4: `batchnorm_parameters`
#
# A BatchNorm keeps several numbers for each channel. Return two counts: how many are **learned** by
# gradients, and how many are **tracked**, that is, followed as running averages. (PyTorch also
# counts the batches it has seen, one number for the whole layer. Leave that one out.)


# %% answer="batchnorm_parameters"
def batchnorm_parameters(channels):
    """(learned, tracked) numbers of a BatchNorm."""
    ### BEGIN SOLUTION
    return 2 * channels, 2 * channels
    ### END SOLUTION


# %% test="batchnorm_parameters" points=1
counts = batchnorm_parameters(64)
assert isinstance(counts, tuple) and len(counts) == 2, (
    f"batchnorm_parameters(64) is {counts!r}; return two numbers, learned and tracked."
)
for channels in (3, 64):
    layer = keras.layers.BatchNormalization()
    layer.build((None, 8, 8, channels))
    learned, tracked = batchnorm_parameters(channels)
    assert learned == sum(v.numpy().size for v in layer.trainable_variables), (
        f"for {channels} channels you say that {learned} numbers are learned. Which numbers of a "
        "BatchNorm get a gradient?"
    )
    assert tracked == sum(v.numpy().size for v in layer.non_trainable_variables), (
        f"for {channels} channels you say that {tracked} numbers are tracked. What does a BatchNorm "
        "need at test time that it cannot take from one picture?"
    )

# %% [markdown]
# ## Task 5: `conv_macs`
#
# A **multiply-add** (MAC) is one multiplication and one addition. Count those of a convolution
# without bias and without groups, on a square picture of `size` pixels a side. Every output number is
# a sum of products: how many outputs, and how many products in each? You may use your own functions
# from above.


# %% answer="conv_macs"
def conv_macs(size, in_channels, out_channels, kernel_size, stride, padding):
    """The multiply-adds of a convolution without bias, for one picture of size x size pixels."""
    ### BEGIN SOLUTION
    positions = output_size(size, kernel_size, stride, padding) ** 2
    return positions * conv_parameters(in_channels, out_channels, kernel_size, bias=False)
    ### END SOLUTION


# %% test="conv_macs" points=3
for case, real in [
    ((32, 3, 16, 3, 1, 1), 442_368),
    ((56, 64, 64, 1, 1, 0), 12_845_056),
    ((12, 4, 8, 5, 1, 0), 51_200),
]:
    assert conv_macs(*case) == real, (
        f"conv_macs{case} is {conv_macs(*case)}, it should be {real}. Count the numbers that come "
        "out, all channels of them, and the products in one of them."
    )
count = conv_macs(224, 3, 64, 7, 2, 3)
assert count == 118_013_952, (
    f"conv_macs(224, 3, 64, 7, 2, 3) is {count}, it should be 118013952. A stride of 2 leaves fewer "
    "positions in both directions."
)

# %% [markdown]
# ## Task 6: `basic_block_parameters`
#
# The basic block: a 3x3 convolution with the block's stride, BatchNorm, ReLU, another 3x3
# convolution, BatchNorm, then the addition. No convolution has a bias. The shortcut is a projection
# (a 1x1 convolution with BatchNorm) **where the shape changes**, in the number of channels or by
# the stride, and costs nothing elsewhere. Count what is learned.


# %% answer="basic_block_parameters"
def basic_block_parameters(in_channels, out_channels, stride):
    """The learned numbers of a basic block."""
    ### BEGIN SOLUTION
    norm, _ = batchnorm_parameters(out_channels)
    total = conv_parameters(in_channels, out_channels, 3, bias=False) + norm
    total += conv_parameters(out_channels, out_channels, 3, bias=False) + norm
    if stride != 1 or in_channels != out_channels:
        total += conv_parameters(in_channels, out_channels, 1, bias=False) + norm
    return total
    ### END SOLUTION


# %% test="basic_block_parameters" points=3
count = basic_block_parameters(64, 64, 1)
assert count == 73_984, (
    f"basic_block_parameters(64, 64, 1) is {count}, it should be 73984. Nothing changes its shape "
    "here: which layers are there, and what does each cost?"
)
count = basic_block_parameters(64, 128, 2)
assert count == 230_144, (
    f"basic_block_parameters(64, 128, 2) is {count}, it should be 230144. How many channels go into "
    "the second convolution? And what does the projection cost, with its BatchNorm?"
)
count = basic_block_parameters(64, 128, 1)
assert count == 230_144, (
    f"basic_block_parameters(64, 128, 1) is {count}, it should be 230144, as with stride 2."
)
count = basic_block_parameters(64, 64, 2)
assert count == 78_208, (
    f"basic_block_parameters(64, 64, 2) is {count}, it should be 78208. Compare the shapes of what "
    "goes in and what comes out."
)


# %% [markdown]
# ## Task 7: `network_parameters`
#
# A whole network of basic blocks for ImageNet. The stem: a 7x7 convolution from 3 to 64 channels
# without bias, BatchNorm, and a max-pooling that learns nothing. Then four stages with 64, 128, 256
# and 512 channels, of `depths[0]` to `depths[3]` blocks. The first block of every stage but the first
# has stride 2, all other blocks have stride 1. Then the average of each channel is taken, and one
# linear layer, with bias, makes `num_classes` numbers of these 512 averages. With `depths = [2, 2, 2,
# 2]` this is ResNet-18.


# %% answer="network_parameters"
def network_parameters(depths, num_classes):
    """The learned numbers of a network of basic blocks."""
    ### BEGIN SOLUTION
    total = conv_parameters(3, 64, 7, bias=False) + batchnorm_parameters(64)[0]
    channels = 64
    for stage, depth in enumerate(depths):
        for block in range(depth):
            stride = 2 if stage > 0 and block == 0 else 1
            total += basic_block_parameters(channels, 64 * 2**stage, stride)
            channels = 64 * 2**stage
    return total + channels * num_classes + num_classes
    ### END SOLUTION


# %% test="network_parameters" points=4
count = network_parameters([2, 2, 2, 2], 1000)
assert count == 11_689_512, (
    f"for ResNet-18 you count {count}, everybody else 11689512. If task 6 passes: is every layer "
    "counted, the linear one and its bias too, and which block gets which number of channels?"
)
count = network_parameters([3, 4, 6, 3], 1000)
assert count == 21_797_672, (
    f"for ResNet-34 you count {count}, everybody else 21797672. ResNet-18 was right: look at the "
    "blocks after the first of each stage."
)
count = network_parameters([2, 2, 2, 2], 10)
assert count == 11_181_642, (
    f"with 10 classes you count {count}, it should be 11181642. Which layer knows of the classes?"
)
