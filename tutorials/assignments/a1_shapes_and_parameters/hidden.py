"""The hidden tests: each cell stands behind the visible test of that name."""

# %% test="output_size"
from shared.classroom.exam import exam


def windows(size, kernel_size, stride, padding):
    """Counts the positions one by one."""
    return len(range(0, size + 2 * padding - kernel_size + 1, stride))


with exam.part(1, "stride 1"):
    for _ in range(20):
        kernel = int(exam.rng.integers(1, 8))
        case = (int(exam.rng.integers(kernel, 5000)), kernel, 1, int(exam.rng.integers(0, 5)))
        exam.equal(exam.call("output_size", *case), windows(*case), f"output_size{case}")
with exam.part(2, "other strides, also where the last step does not fit"):
    for _ in range(40):
        kernel = int(exam.rng.integers(1, 8))
        stride = int(exam.rng.integers(2, 5))
        case = (int(exam.rng.integers(kernel, 5000)), kernel, stride, int(exam.rng.integers(0, 5)))
        exam.equal(exam.call("output_size", *case), windows(*case), f"output_size{case}")
exam.score()


# %% test="same_padding"
def zeros_of_same(size, kernel_size, stride):
    """Adds zeros one at a time, to the right first, until enough numbers come out."""
    left = right = 0
    while (
        len(range(0, size + left + right - kernel_size + 1, stride)) < (size + stride - 1) // stride
    ):
        left, right = (left, right + 1) if left == right else (left + 1, right)
    return left, right


with exam.part(1, "stride 1"):
    for _ in range(20):
        case = (int(exam.rng.integers(8, 5000)), int(exam.rng.integers(1, 8)), 1)
        exam.equal(exam.call("same_padding", *case), zeros_of_same(*case), f"same_padding{case}")
with exam.part(2, "other strides, an odd number of zeros to the right, never a negative number"):
    for _ in range(40):
        case = (
            int(exam.rng.integers(8, 5000)),
            int(exam.rng.integers(1, 8)),
            int(exam.rng.integers(2, 5)),
        )
        exam.equal(exam.call("same_padding", *case), zeros_of_same(*case), f"same_padding{case}")
exam.score()


# %% test="conv_parameters"
from torch import nn

with exam.part(2, "with and without bias"):
    for _ in range(20):
        channels, out_channels, kernel = (int(n) for n in exam.rng.integers(1, 200, size=3))
        kernel, bias = kernel % 7 + 1, bool(exam.rng.integers(2))
        real = sum(
            p.numel() for p in nn.Conv2d(channels, out_channels, kernel, bias=bias).parameters()
        )
        case = (channels, out_channels, kernel, bias)
        exam.equal(exam.call("conv_parameters", *case), real, f"conv_parameters{case}")
with exam.part(1, "groups"):
    for _ in range(10):
        groups = int(exam.rng.integers(2, 6))
        channels, out_channels = (groups * int(n) for n in exam.rng.integers(1, 60, size=2))
        real = sum(
            p.numel() for p in nn.Conv2d(channels, out_channels, 3, groups=groups).parameters()
        )
        case = (channels, out_channels, 3, True, groups)
        exam.equal(exam.call("conv_parameters", *case), real, f"conv_parameters{case}")
exam.score()


# %% test="batchnorm_parameters"
with exam.part(1, "learned and tracked"):
    for channels in exam.rng.integers(1, 100_000, size=10).tolist():
        real = nn.BatchNorm2d(channels)
        counts = [
            sum(p.numel() for p in real.parameters()),
            real.running_mean.numel() + real.running_var.numel(),
        ]
        exam.equal(
            exam.call("batchnorm_parameters", channels), counts, f"batchnorm_parameters({channels})"
        )
exam.score()


# %% test="conv_macs"
import torch


def counted_macs(size, in_channels, out_channels, kernel_size, stride, padding):
    """Lets PyTorch cut out all windows, and counts their numbers."""
    unfold = nn.Unfold(kernel_size, padding=padding, stride=stride)
    return unfold(torch.zeros(1, in_channels, size, size)).numel() * out_channels


with exam.part(2, "stride 1"):
    for _ in range(15):
        size, channels, out_channels, kernel = (int(n) for n in exam.rng.integers(7, 30, size=4))
        case = (size, channels, out_channels, kernel % 7 + 1, 1, int(exam.rng.integers(0, 4)))
        exam.equal(exam.call("conv_macs", *case), counted_macs(*case), f"conv_macs{case}")
with exam.part(1, "other strides"):
    for _ in range(15):
        size, channels, out_channels, kernel = (int(n) for n in exam.rng.integers(7, 30, size=4))
        case = (size, channels, out_channels, kernel % 7 + 1, int(exam.rng.integers(2, 4)), 1)
        exam.equal(exam.call("conv_macs", *case), counted_macs(*case), f"conv_macs{case}")
exam.score()


# %% test="basic_block_parameters"
def real_block(in_channels, out_channels, stride):
    """The learned numbers of the layers that PyTorch makes."""
    sizes = [(in_channels, out_channels, 3), (out_channels, out_channels, 3)]
    if stride != 1 or in_channels != out_channels:
        sizes.append((in_channels, out_channels, 1))
    layers = [
        layer for size in sizes for layer in (nn.Conv2d(*size, bias=False), nn.BatchNorm2d(size[1]))
    ]
    return sum(p.numel() for layer in layers for p in layer.parameters())


with exam.part(1, "the shape stays"):
    for channels in exam.rng.integers(2, 300, size=6).tolist():
        case = (channels, channels, 1)
        exam.equal(
            exam.call("basic_block_parameters", *case),
            real_block(*case),
            f"basic_block_parameters{case}",
        )
with exam.part(1, "the number of channels changes"):
    for _ in range(8):
        channels = int(exam.rng.integers(2, 300))
        case = (channels, channels + int(exam.rng.integers(1, 60)), int(exam.rng.integers(1, 3)))
        exam.equal(
            exam.call("basic_block_parameters", *case),
            real_block(*case),
            f"basic_block_parameters{case}",
        )
with exam.part(1, "only the stride changes the shape"):
    for channels in exam.rng.integers(2, 300, size=4).tolist():
        case = (channels, channels, 2)
        exam.equal(
            exam.call("basic_block_parameters", *case),
            real_block(*case),
            f"basic_block_parameters{case}",
        )
exam.score()


# %% test="network_parameters"
from shared.networks import count_parameters, get_spec

with exam.part(2, "other depths"):
    for _ in range(6):
        depths = exam.rng.integers(1, 20, size=4).tolist()
        real = count_parameters(get_spec("resnet18", depths=tuple(depths)))
        exam.equal(
            exam.call("network_parameters", depths, 1000),
            real,
            f"network_parameters({depths}, 1000)",
        )
with exam.part(2, "other numbers of classes"):
    for _ in range(6):
        depths, classes = exam.rng.integers(1, 7, size=4).tolist(), int(exam.rng.integers(2, 400))
        real = count_parameters(get_spec("resnet18", depths=tuple(depths), num_classes=classes))
        exam.equal(
            exam.call("network_parameters", depths, classes),
            real,
            f"network_parameters({depths}, {classes})",
        )
exam.score()
