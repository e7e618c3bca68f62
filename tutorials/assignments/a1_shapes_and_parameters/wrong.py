# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# Wrong answers that `selftest` plants, one at a time: the answer that each replaces, and the points that it must cost.


# %% wrong="rounds up" answer="output_size" loses={"output_size": 2, "conv_macs": 1}
def output_size(size, kernel_size, stride, padding):
    return -(-(size + 2 * padding - kernel_size) // stride) + 1


# %% wrong="is a float" answer="output_size" loses={"output_size": 3, "conv_macs": 3}
def output_size(size, kernel_size, stride, padding):
    return float((size + 2 * padding - kernel_size) // stride + 1)


# %% wrong="zeros to the left" answer="same_padding" loses={"same_padding": 3}
def same_padding(size, kernel_size, stride):
    zeros = max(0, (-(-size // stride) - 1) * stride + kernel_size - size)
    return zeros - zeros // 2, zeros // 2


# %% wrong="no groups" answer="conv_parameters" loses={"conv_parameters": 1}
def conv_parameters(in_channels, out_channels, kernel_size, bias, groups=1):
    return out_channels * in_channels * kernel_size**2 + (out_channels if bias else 0)


# %% wrong="four learned" answer="batchnorm_parameters" loses={"batchnorm_parameters": 1, "basic_block_parameters": 3, "network_parameters": 4}
def batchnorm_parameters(channels):
    return 4 * channels, 0


# %% wrong="projection only where channels change" answer="basic_block_parameters" loses={"basic_block_parameters": 1}
def basic_block_parameters(in_channels, out_channels, stride):
    total = 9 * in_channels * out_channels + 9 * out_channels**2 + 4 * out_channels
    return total + (
        in_channels * out_channels + 2 * out_channels if in_channels != out_channels else 0
    )


# %% wrong="1000 classes written in" answer="network_parameters" loses={"network_parameters": 2}
def network_parameters(depths, num_classes):
    total, channels = 9408 + 128, 64
    for stage, depth in enumerate(depths):
        for block in range(depth):
            total += basic_block_parameters(
                channels, 64 * 2**stage, 2 if stage > 0 and block == 0 else 1
            )
            channels = 64 * 2**stage
    return total + 513_000
