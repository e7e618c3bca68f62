# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Solutions to 5. The residual block
#
# Try each exercise of [the tutorial](../05_residual_block.ipynb) yourself before you look.

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
import torch
from torch import nn

import resnet_tf  # brings Keras, without TensorFlow's messages at the start
import keras
from keras import layers
from shared.networks import get_spec, plot_block
from shared.base import BLUE, ORANGE
from shared.networks import layer_table

# %% [markdown]
# ## Exercise 1: predict
#
# No. With gamma and beta at zero the block computes `relu(0 + x)`, and a ReLU changes negative
# numbers. It is the identity exactly where no number of `x` is negative. Inside a ResNet that is
# always so, because `x` comes from the last ReLU of the block before.

# %%
x = torch.tensor([-2.0, 0.0, 3.0])
print(torch.relu(0 * x + x).tolist())
assert torch.relu(0 * x + x).tolist() == [0, 0, 3]

# %% [markdown]
# ## Exercise 2: shapes
#
# Each stage halves the pixels and doubles the channels. `layer2` ends with (128, 28, 28), so this
# comes in, and (256, 14, 14) goes out. The first convolution has the stride and the new channels;
# after it nothing changes the shape any more. The projection of the shortcut does both in one step.

# %%
plot_block("resnet18", "layer3.0")

# %%
shapes = {row.name: row.output_shape for row in layer_table(get_spec("resnet18"))}
assert shapes["layer2.1.relu2"] == (128, 28, 28)
for step in (
    "conv1",
    "bn1",
    "relu1",
    "conv2",
    "bn2",
    "downsample.0",
    "downsample.1",
    "add",
    "relu2",
):
    assert shapes[f"layer3.0.{step}"] == (256, 14, 14)

# %% [markdown]
# ## Exercise 3: a bug
#
# With the ReLU before the addition, a block can only **add** numbers that are zero or more. So no
# number of the output is ever **below the same number of the input**: nothing gets smaller. A
# correct block can take away as well. After ten blocks the activations of the wrong network are
# larger on average.


# %%
class Block(nn.Module):
    def __init__(self, channels: int, *, wrong: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.wrong = wrong

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return torch.relu(out) + x if self.wrong else torch.relu(out + x)


torch.manual_seed(0)
x = torch.relu(torch.randn(8, 16, 16, 16))
results = {}
for wrong in (False, True):
    blocks = nn.Sequential(*[Block(16, wrong=wrong) for _ in range(10)])  # in training mode
    with torch.no_grad():
        results[wrong] = blocks(x)
assert (results[True] >= x).all()  # nothing got smaller
assert not (results[False] >= x).all()
print(f"mean after ten blocks: right {results[False].mean():.1f}, wrong {results[True].mean():.1f}")
assert results[True].mean() > 1.5 * results[False].mean()

figure, axes = plt.subplots(figsize=(7, 3.4))
for wrong, colour, style in ((False, BLUE, "-"), (True, ORANGE, "--")):
    label = "ReLU before the addition" if wrong else "ReLU after the addition (right)"
    values = results[wrong].flatten().numpy()
    axes.hist(values, 80, histtype="step", color=colour, linestyle=style, linewidth=2, label=label)
axes.set(xlabel="activation after ten blocks", ylabel="how many numbers")
axes.set_yscale("log")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Exercise 4: option C
#
# Every block gets a projection, also where the shapes are equal. A stage of two blocks with 64
# channels then has two 1×1 kernels of 64 · 64 numbers more, each with the gamma and the beta of its
# BatchNorm. With stride 1 the blocks of the tutorial need no change; in Keras each gets its own
# name.


# %%
class ProjectionBlockTorch(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (N, C, H, W)
        out = torch.relu(self.bn1(self.conv1(x)))  # (N, C', H/s, W/s)
        out = self.bn2(self.conv2(out))  # (N, C', H/s, W/s)
        return torch.relu(out + self.downsample(x))  # (N, C', H/s, W/s)


def projection_block_keras(
    x: keras.KerasTensor, out_channels: int, stride: int, name: str
) -> keras.KerasTensor:  # (N, H, W, C)
    def conv(kernel_size: int, stride: int, padding: str, layer: str) -> layers.Layer:
        options = {"padding": padding, "use_bias": False, "name": f"{name}.{layer}"}
        return layers.Conv2D(out_channels, kernel_size, stride, **options)

    def norm(layer: str) -> layers.Layer:
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}.{layer}")

    out = layers.ZeroPadding2D(1)(x)  # (N, H + 2, W + 2, C)
    out = conv(3, stride, "valid", "conv1")(out)  # (N, H/s, W/s, C')
    out = layers.ReLU()(norm("bn1")(out))
    out = norm("bn2")(conv(3, 1, "same", "conv2")(out))  # (N, H/s, W/s, C')
    short = conv(1, stride, "valid", "downsample.0")(x)  # (N, H/s, W/s, C')
    short = norm("downsample.1")(short)
    return layers.ReLU()(layers.Add()([out, short]))


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


identity = nn.Sequential(Block(64, wrong=False), Block(64, wrong=False))
option_c = nn.Sequential(ProjectionBlockTorch(64, 64, 1), ProjectionBlockTorch(64, 64, 1))
inputs = keras.Input((56, 56, 64))
first = projection_block_keras(inputs, 64, 1, "layer1.0")
keras_c = keras.Model(inputs, projection_block_keras(first, 64, 1, "layer1.1"))
keras_count = sum(int(v.numpy().size) for v in keras_c.trainable_variables)
print(f"identity: {count(identity):,}  option C: {count(option_c):,}  in Keras: {keras_count:,}")
assert option_c(torch.zeros(1, 64, 8, 8)).shape == (1, 64, 8, 8)
assert keras_c.output_shape == (None, 56, 56, 64)
assert count(option_c) - count(identity) == 2 * (64 * 64 + 2 * 64)
assert keras_count == count(option_c)

# %% [markdown]
# (`keras_c.count_params()` gives more: it also counts the moving statistics of BatchNorm, which are
# not trained. That is tutorial 7.)
#
# ## Exercise 5: another bug
#
# With a stride of 2, or with other channels, it stops with an error: `downsample` expects the shape
# of `x`. With stride 1 and equal channels it runs without complaint. But the block then computes
# `relu(out + downsample(out))`: `x` reaches the end only through the two convolutions. There is no
# shortcut any more; it is a plain network with a few more parameters. The quickest test is to
# switch `f` off: a real shortcut still lets `x` through.


# %%
class NoShortcut(ProjectionBlockTorch):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return torch.relu(out + self.downsample(out))


torch.manual_seed(0)
x = torch.randn(4, 16, 8, 8)
passed = {}
for kind in (ProjectionBlockTorch, NoShortcut):
    block = kind(16, 16, 1).eval()
    nn.init.zeros_(block.bn2.weight)  # switches f off
    with torch.no_grad():
        passed[kind.__name__] = bool(block(x).any())
print("does x get through?", passed)
assert passed == {"ProjectionBlockTorch": True, "NoShortcut": False}

try:
    NoShortcut(16, 32, 2)(x)
except RuntimeError as error:
    print("RuntimeError:", str(error)[:60], "...")
    stopped = True
assert stopped
