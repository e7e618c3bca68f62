# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Solutions to 6. From table to network
#
# Try each exercise of [the tutorial](../06_table_to_network.ipynb) yourself before you look.

# %%
# Set-up: installs the package where it is missing (as on Colab); in a clone, from the clone.
import importlib.util
from pathlib import Path

if importlib.util.find_spec("resnet_torch") is None:
    home = next((p for p in Path.cwd().parents if (p / "resnet_torch").is_dir()), "resnet-twins")
    get_ipython().run_line_magic("pip", f'install -q "{home}[all,notebooks]"')

# %%
# %matplotlib inline
import numpy as np
import torch
from torch import nn

import resnet_tf  # brings Keras, without TensorFlow's messages at the start
import resnet_torch
import keras
from shared.networks import (
    ResNetSpec,
    StemSpec,
    count_macs,
    count_parameters,
    get_spec,
    layer_table,
    plot_stages,
)

# %% [markdown]
# ## Exercise 1: predict
#
# `layer4` has twice the parameters of `layer3`, with half as many blocks. But `layer3` costs almost
# twice the multiply-adds of `layer4`. For one block with an identity shortcut:
#
# - `layer3.1` goes 1024 → 256 → 256 → 1024 channels, at 14×14 pixels,
# - `layer4.1` goes 2048 → 512 → 512 → 2048 channels, at 7×7 pixels.
#
# The kernels have four times as many numbers, and each works on a quarter of the pixels. So the
# multiply-adds are equal, to the last one.

# %%
kernels, macs = {}, {}
for name, wide, narrow, pixels in (("layer3.1", 1024, 256, 14), ("layer4.1", 2048, 512, 7)):
    kernels[name] = wide * narrow + 9 * narrow * narrow + narrow * wide
    macs[name] = kernels[name] * pixels * pixels
    norms = 2 * (narrow + narrow + wide)  # gamma and beta
    rows = [row for row in layer_table(get_spec("resnet50")) if row.block == name]
    print(f"{name}: {kernels[name] + norms:,} parameters, {macs[name]:,} multiply-adds")
    assert sum(row.parameters for row in rows) == kernels[name] + norms
    assert sum(row.macs for row in rows) == macs[name]
assert kernels["layer4.1"] == 4 * kernels["layer3.1"]
assert macs["layer4.1"] == macs["layer3.1"]

# %% [markdown]
# ## Exercise 2: layers
#
# Sixteen blocks of three convolutions, one in the stem, and four projections: 53. With the fully
# connected layer there are 54 layers with a kernel. But the projections lie beside the way from the
# picture to the logits. On the longest way there are 50.

# %%
kinds = [row for row in layer_table(get_spec("resnet50")) if row.kind in ("conv", "linear")]
projections = [row for row in kinds if ".downsample" in row.name]
print(len(kinds), "layers,", len(projections), "of them are projections")
assert len(kinds) == 54 and len(projections) == 4
model = resnet_tf.create_model("resnet50", input_size=64)
convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
assert len(convolutions) == 53

# %% [markdown]
# ## Exercise 3: another size
#
# Every shape keeps its channels, and has 5/7 of the pixels in each direction. No parameter changes:
# a kernel does not know how large the picture is, and the mean at the end takes any number of pixels.
# The multiply-adds of the convolutions fall to 25/49, about a half.
#
# PyTorch's network takes the pictures as they are. A Keras graph is laid out for one size: if it was
# built with `Input((224, 224, 3))`, it must be built again, with the same weights. (Or it is built with
# `Input((None, None, 3))`, and takes all sizes. Then the summary cannot show any pixels.)

# %%
spec = get_spec("resnet50", num_classes=10)
small = get_spec(spec, input_size=160)
for large_row, small_row in zip(layer_table(spec), layer_table(small)):
    if len(large_row.output_shape) == 3 and large_row.output_shape[1] > 1:
        assert small_row.output_shape[0] == large_row.output_shape[0]
        assert small_row.output_shape[1] * 7 == large_row.output_shape[1] * 5
assert count_parameters(spec) == count_parameters(small)
ratio = count_macs(small) / count_macs(spec)
print(f"multiply-adds at 160 pixels: {ratio:.3f} of those at 224")
assert abs(ratio - 25 / 49) < 0.001

network = resnet_torch.create_model(spec, seed=0).eval()
images = np.random.default_rng(0).standard_normal((1, 160, 160, 3)).astype("float32")
with torch.no_grad():
    logits = network(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
print("PyTorch takes it:", logits.shape)
assert logits.shape == (1, 10)

graph = resnet_tf.create_model(spec, seed=0)  # for 224 pixels
try:
    graph(images)
    refused = False
except ValueError as error:
    refused = True
    print("Keras refuses:", str(error).splitlines()[0][:84])
assert refused
again = resnet_tf.create_model(small, seed=0)
again_logits = np.asarray(again(images, training=False))
assert again_logits.shape == (1, 10)
assert np.abs(again_logits - logits).max() < 5e-4 * np.abs(logits).max()

# %% [markdown]
# ## Exercise 4: a bug
#
# Now **every** block of `layer2` to `layer4` halves the picture, not only the first. ResNet-18 still
# runs: each such block gets a projection, because its stride is 2, and the picture is 1×1 in the end.
# The mean over all pixels takes that too. So the logits' shape notices nothing. The shape after each
# stage does, and so does the number of parameters, because of the three new projections. (In training
# mode and with a single picture, PyTorch would complain too: BatchNorm needs more than one value per
# channel, and finds one pixel of one picture.)


# %%
def conv(in_channels: int, channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, kernel, stride, padding=kernel // 2, bias=False)


class BasicBlock(nn.Module):
    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = nn.Identity()
        if stride != 1 or in_channels != width:
            self.downsample = nn.Sequential(
                conv(in_channels, width, 1, stride), nn.BatchNorm2d(width)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(out)) + self.downsample(x))


def stages(*, wrong: bool) -> nn.Sequential:
    network, in_channels = nn.Sequential(), 64
    for stage, width in enumerate((64, 128, 256, 512), start=1):
        blocks = nn.Sequential()
        for index in range(2):
            halve = stage > 1 if wrong else stage > 1 and index == 0
            blocks.append(BasicBlock(in_channels, width, 2 if halve else 1))
            in_channels = width
        network.add_module(f"layer{stage}", blocks)
    return network


seen, parameters = {}, {}
for wrong in (False, True):
    with torch.device("meta"):
        network = stages(wrong=wrong)
        x, seen[wrong] = torch.zeros(2, 64, 56, 56), []
    for part in network:
        x = part(x)
        seen[wrong].append(tuple(x.shape[1:]))
    parameters[wrong] = sum(p.numel() for p in network.parameters())
    print("wrong" if wrong else "right", seen[wrong], f"{parameters[wrong]:,} parameters")
assert seen[False] == [(64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7)]
assert seen[True] == [(64, 56, 56), (128, 14, 14), (256, 4, 4), (512, 1, 1)]
assert parameters[True] - parameters[False] == sum(w * w + 2 * w for w in (128, 256, 512))

# %% [markdown]
# ## Exercise 5: half as wide
#
# A quarter, about: half of the channels come in, and half go out. Only the fully connected layer has a
# half, because its 1,000 outputs stay.

# %%
thin = ResNetSpec(
    name="resnet50_thin",
    block="Bottleneck",
    depths=(3, 4, 6, 3),
    widths=(32, 64, 128, 256),
    stem=StemSpec(out_channels=32),
)
whole = get_spec("resnet50")
print(f"{count_parameters(whole):,} -> {count_parameters(thin):,}")
head = {spec.name: layer_table(spec)[-1].parameters for spec in (whole, thin)}
body = {spec.name: count_parameters(spec) - head[spec.name] for spec in (whole, thin)}
print(f"without the head {body['resnet50_thin'] / body['resnet50']:.3f} of the parameters")
print(f"the head         {head['resnet50_thin'] / head['resnet50']:.3f}")
assert abs(body["resnet50_thin"] / body["resnet50"] - 0.25) < 0.01
assert abs(head["resnet50_thin"] / head["resnet50"] - 0.5) < 0.01

small = get_spec(thin, input_size=64)
images = np.random.default_rng(0).standard_normal((2, 64, 64, 3)).astype("float32")
torch_model = resnet_torch.create_model(small, seed=0)
torch_logits = resnet_torch.forward(torch_model, resnet_torch.from_nhwc(images, torch_model))
keras_logits = np.asarray(resnet_tf.create_model(small, seed=0)(images, training=False))
assert torch_logits.shape == keras_logits.shape == (2, 1000)
assert np.abs(torch_logits - keras_logits).max() < 5e-4 * np.abs(torch_logits).max()

# %%
plot_stages(thin)
