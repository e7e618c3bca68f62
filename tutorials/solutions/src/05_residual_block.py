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
from shared.catalog import get_spec
from shared.diagrams import plot_block
from shared.plots import BLUE, ORANGE
from shared.table import layer_table

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
# `layer3` works at 14×14 pixels, `layer2` at 28×28, so `layer3.0` gets (512, 28, 28). The first 1×1
# convolution goes down to 256 channels and keeps the pixels. The 3×3 convolution has the stride.
# The last 1×1 convolution goes up to 4 · 256 = 1024 channels.

# %%
plot_block("resnet50", "layer3.0")

# %%
shapes = {row.name: row.output_shape for row in layer_table(get_spec("resnet50"))}
assert shapes["layer2.3.relu3"] == (512, 28, 28)
assert shapes["layer3.0.conv1"] == (256, 28, 28)
assert shapes["layer3.0.conv2"] == (256, 14, 14)
assert shapes["layer3.0.conv3"] == shapes["layer3.0.downsample.0"] == (1024, 14, 14)

# %% [markdown]
# ## Exercise 3: a bug
#
# With the ReLU before the addition, a block can only **add** numbers that are zero or more. So
# nothing ever gets smaller: the output of a block is at least its input, and after ten blocks the
# activations have grown. They can never be below the input of the first block.


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

figure, axes = plt.subplots(figsize=(7, 3.4))
for wrong, colour, style in ((False, BLUE, "-"), (True, ORANGE, "--")):
    label = "ReLU before the addition" if wrong else "ReLU behind the addition (right)"
    values = results[wrong].flatten().numpy()
    axes.hist(values, 80, histtype="step", color=colour, linestyle=style, linewidth=2, label=label)
axes.set(xlabel="activation behind ten blocks", ylabel="how many numbers")
axes.set_yscale("log")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Exercise 4: option C
#
# Every block gets a projection, also where the shapes are equal. A stage of two blocks with 64
# channels then has two 1×1 kernels of 64 · 64 numbers more, each with the gamma and the beta of its
# BatchNorm.


# %%
def block_c_keras(x: keras.KerasTensor, channels: int, name: str) -> keras.KerasTensor:
    def norm() -> layers.Layer:
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)

    out = layers.Conv2D(channels, 3, padding="same", use_bias=False)(x)
    out = layers.ReLU()(norm()(out))
    out = layers.Conv2D(channels, 3, padding="same", use_bias=False)(out)
    out = norm()(out)
    short = norm()(layers.Conv2D(channels, 1, use_bias=False, name=f"{name}.downsample")(x))
    return layers.ReLU()(layers.Add()([out, short]))


class BlockCTorch(Block):
    def __init__(self, channels: int) -> None:
        super().__init__(channels, wrong=False)
        self.downsample = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return torch.relu(out + self.downsample(x))


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


identity = nn.Sequential(Block(64, wrong=False), Block(64, wrong=False))
option_c = nn.Sequential(BlockCTorch(64), BlockCTorch(64))
inputs = keras.Input((56, 56, 64))
keras_c = keras.Model(inputs, block_c_keras(block_c_keras(inputs, 64, "0"), 64, "1"))
keras_count = sum(int(v.numpy().size) for v in keras_c.trainable_variables)
print(f"identity: {count(identity):,}  option C: {count(option_c):,}  in Keras: {keras_count:,}")
assert option_c(torch.zeros(1, 64, 8, 8)).shape == (1, 64, 8, 8)
assert count(option_c) - count(identity) == 2 * (64 * 64 + 2 * 64)
assert keras_count == count(option_c)

# %% [markdown]
# ## Exercise 5: another bug
#
# It runs without complaint, because the shapes fit. But the block then computes `relu(out +
# downsample(out))`: `x` reaches the end only through the two convolutions. There is no shortcut any
# more. It is a plain network with a few more parameters, and it gets all the trouble of deep plain
# networks. The quickest test is to switch `f` off: a real shortcut still lets `x` through.


# %%
class NoShortcut(BlockCTorch):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return torch.relu(out + self.downsample(out))


torch.manual_seed(0)
x = torch.randn(4, 16, 8, 8)
passed = {}
for kind in (BlockCTorch, NoShortcut):
    block = kind(16).eval()
    nn.init.zeros_(block.bn2.weight)  # switches f off
    with torch.no_grad():
        passed[kind.__name__] = bool(block(x).any())
print("does x get through?", passed)
assert passed == {"BlockCTorch": True, "NoShortcut": False}
