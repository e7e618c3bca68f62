# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 12. CIFAR ResNets and identity mappings
#
# *The small networks of the paper, a better order inside the block, and what trained weights see.*
#
# **After this tutorial you can**
#
# - build ResNet-20, 56 and 110 for CIFAR-10, in both frameworks, and check their size against the
#   paper,
# - explain what pre-activation changes: a path from the first block to the last that nothing cuts,
# - ask a trained network about real pictures, and read its confusion matrix,
# - draw a class-activation map, and prove that it adds up to the logit,
# - say what a probability of 99% is worth, and what a network answers when no answer is right.
#
# **Time:** about 90 minutes to work through; the cells run in under two minutes.
#
# **You need** the residual block (tutorial 5), BatchNorm (tutorial 4), and the training loop
# (tutorial 10).

# %%
# Set-up: installs the package where it is missing (as on Colab); in a clone, from the clone.
import importlib.util
from pathlib import Path

if importlib.util.find_spec("resnet_torch") is None:
    home = next((p for p in Path.cwd().parents if (p / "resnet_torch").is_dir()), "resnet-twins")
    get_ipython().run_line_magic("pip", f'install -q "{home}[all,notebooks]"')

# %%
# %matplotlib inline
import textwrap
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import nn

import resnet_tf  # brings Keras, without TensorFlow's messages at the start
import resnet_torch
import keras
from keras import layers
from shared.twins import random_images
from shared.data import resize
from shared.training import Batches
from shared.networks import get_spec
from shared.data import Split, find_local, folder_path, load_data
from shared.networks import plot_block
from shared.twins import ask, evaluate, inputs_of
from shared.data import to_square
from shared.base import BLUE, GREEN, GREY, ORANGE
from shared.training import get_recipe, plot_confusion
from shared.checkpoints import ASSETS, read_trained
from shared.networks import ResNetSpec, count_parameters, layer_table

# %% [markdown]
# ## The networks for small pictures
#
# CIFAR-10 has photographs of 32×32 pixels in ten classes. A ResNet-50 would shrink such a picture to
# a single pixel. So the paper (He et al. 2015, section 4.2) uses other networks:
#
# - the stem is one 3×3 convolution with 16 channels, without max-pool,
# - three stages follow, of 16, 32 and 64 channels, at 32, 16 and 8 pixels,
# - each stage has `n` basic blocks of two convolutions, and all shortcuts are option A.
#
# One convolution in the stem, 2n in each of three stages, and one fully connected layer: `6n + 2`.
# Is that right, and do the parameters agree with the paper's Table 6?

# %%
PAPER = {20: (0.27, 8.75), 32: (0.46, 7.51), 44: (0.66, 7.17), 56: (0.85, 6.97)}
PAPER |= {110: (1.7, 6.43), 1202: (19.4, 7.93)}
print("  n  layers  parameters  in Table 6  test error in Table 6")
for depth, (millions, error) in PAPER.items():
    spec = get_spec(f"resnet{depth}_cifar")
    rows = layer_table(spec)
    n = spec.depths[0]
    with_weights = sum(row.kind in ("conv", "linear") for row in rows)
    parameters = count_parameters(spec)
    print(f"{n:3}  {depth:6}  {parameters:10,}  {millions:8} M  {error:18} %")
    assert with_weights == depth == 6 * n + 2
    assert abs(parameters / 1e6 - millions) < 0.04  # 1.73 million is 1.7 M in the table

assert layer_table(get_spec("resnet50"), 32)[-4].output_shape == (2048, 1, 1)  # one pixel
shapes = {row.name: row.output_shape for row in layer_table(get_spec("resnet20_cifar"))}
assert [shapes[f"layer{stage}.2.relu2"] for stage in (1, 2, 3)] == [
    (16, 32, 32),
    (32, 16, 16),
    (64, 8, 8),
]

# %% [markdown]
# More layers help, up to a point: the deepest network is worse again, although it still fits its
# training pictures. In 2016 the same authors ask which **order** of convolution, BatchNorm and ReLU is
# best ("Identity Mappings in Deep Residual Networks"). This is the order that you know, called
# post-activation:

# %%
plot_block("resnet20_cifar", "layer1.1")

# %% [markdown]
# And this is the order that the paper recommends: **pre-activation**. BatchNorm and ReLU stand in
# front of each convolution, and nothing follows the addition.

# %%
PREACT20 = get_spec("preact_resnet110_cifar", depths=(3, 3, 3))  # 20 layers in place of 110
PREACT20 = replace(PREACT20, name="preact_resnet20_cifar")
plot_block(PREACT20, "layer1.1")

# %% [markdown]
# ## Write both, twice
#
# First both blocks in PyTorch. They differ in the order of four lines. The stage's first block makes
# the channels wider: option A (tutorial 5).


# %%
def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)


def shortcut_torch(x: torch.Tensor, channels: int, stride: int) -> torch.Tensor:
    extra = channels - x.shape[1]
    x = x[:, :, ::stride, ::stride]  # (N, C, H/s, W/s)
    return nn.functional.pad(x, (0, 0, 0, 0, extra // 2, extra - extra // 2))


class PostActTorch(nn.Module):
    def __init__(self, in_channels: int, channels: int, stride: int, first: bool) -> None:
        super().__init__()
        self.channels, self.stride, self.first = channels, stride, first
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (N, C, H, W)
        out = torch.relu(self.bn1(self.conv1(x)))  # (N, C', H/s, W/s)
        out = self.bn2(self.conv2(out))
        out = out + shortcut_torch(x, self.channels, self.stride)
        return torch.relu(out)  # a ReLU on the path of the shortcut


class PreActTorch(PostActTorch):
    def __init__(self, in_channels: int, channels: int, stride: int, first: bool) -> None:
        super().__init__(in_channels, channels, stride, first)
        self.bn1 = nn.BatchNorm2d(in_channels)  # it sees what comes in

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (N, C, H, W)
        out = torch.relu(self.bn1(x))
        x = out if self.first else x  # there is no activation in front of the first block
        out = self.conv1(out)  # (N, C', H/s, W/s)
        out = self.conv2(torch.relu(self.bn2(out)))
        return out + shortcut_torch(x, self.channels, self.stride)  # and nothing after it


class CifarTorch(nn.Module):
    def __init__(self, n: int, block: type[PostActTorch]) -> None:
        super().__init__()
        self.preact = block is PreActTorch
        self.conv1 = conv3x3(3, 16)
        self.add_module(
            "bn_last" if self.preact else "bn1", nn.BatchNorm2d(64 if self.preact else 16)
        )
        channels = 16
        for stage, width in enumerate((16, 32, 64), start=1):
            blocks = []
            for index in range(n):
                stride = 2 if stage > 1 and index == 0 else 1
                blocks.append(block(channels, width, stride, first=stage == 1 and index == 0))
                channels = width
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (N, 3, 32, 32)
        x = self.conv1(x)  # (N, 16, 32, 32)
        if not self.preact:
            x = torch.relu(self.bn1(x))
        x = self.layer3(self.layer2(self.layer1(x)))  # (N, 64, 8, 8)
        if self.preact:
            x = torch.relu(self.bn_last(x))
        return self.fc(x.mean((2, 3)))  # (N, 10)


# %% [markdown]
# The same in Keras. Each layer gets the name that it has in PyTorch's `state_dict()`. Then one set of
# weights fits both.


# %%
def norm(name: str) -> layers.Layer:
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)


def conv_keras(x: keras.KerasTensor, channels: int, stride: int, name: str) -> keras.KerasTensor:
    x = layers.ZeroPadding2D(1)(x)  # on all four sides (tutorial 3)
    return layers.Conv2D(channels, 3, stride, "valid", use_bias=False, name=name)(x)


def shortcut_keras(x: keras.KerasTensor, channels: int, stride: int) -> keras.KerasTensor:
    extra = channels - x.shape[-1]
    x = layers.AveragePooling2D(1, stride)(x)  # (N, H/s, W/s, C)
    return keras.ops.pad(x, ((0, 0), (0, 0), (0, 0), (extra // 2, extra - extra // 2)))


def post_act_keras(
    x: keras.KerasTensor, channels: int, stride: int, first: bool, name: str
) -> keras.KerasTensor:  # (N, H, W, C)
    out = conv_keras(x, channels, stride, f"{name}.conv1")  # (N, H/s, W/s, C')
    out = layers.ReLU()(norm(f"{name}.bn1")(out))
    out = norm(f"{name}.bn2")(conv_keras(out, channels, 1, f"{name}.conv2"))
    out = layers.Add()([out, shortcut_keras(x, channels, stride)])
    return layers.ReLU()(out)  # a ReLU on the path of the shortcut


def pre_act_keras(
    x: keras.KerasTensor, channels: int, stride: int, first: bool, name: str
) -> keras.KerasTensor:  # (N, H, W, C)
    out = layers.ReLU()(norm(f"{name}.bn1")(x))
    x = out if first else x  # there is no activation in front of the first block
    out = conv_keras(out, channels, stride, f"{name}.conv1")  # (N, H/s, W/s, C')
    out = conv_keras(layers.ReLU()(norm(f"{name}.bn2")(out)), channels, 1, f"{name}.conv2")
    return layers.Add()([out, shortcut_keras(x, channels, stride)])  # and nothing after it


def cifar_keras(n: int, block) -> keras.Model:
    preact = block is pre_act_keras
    inputs = keras.Input((32, 32, 3))
    x = conv_keras(inputs, 16, 1, "conv1")  # (N, 32, 32, 16)
    if not preact:
        x = layers.ReLU()(norm("bn1")(x))
    for stage, width in enumerate((16, 32, 64), start=1):
        for index in range(n):
            stride = 2 if stage > 1 and index == 0 else 1
            x = block(x, width, stride, stage == 1 and index == 0, f"layer{stage}.{index}")
    if preact:
        x = layers.ReLU()(norm("bn_last")(x))
    x = layers.GlobalAveragePooling2D()(x)  # (N, 64)
    return keras.Model(inputs, layers.Dense(10, name="fc")(x))


# %% [markdown]
# Are these the networks of the table? We give them the weights of this package's own models, which
# have the same names, and compare the logits.

# %%
pictures = random_images(get_spec("resnet20_cifar"), 32, 4, seed=0).astype(
    "float32"
)  # (N, H, W, C)
pictures_torch = torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy())  # (N, C, H, W)

for spec, block_torch, block_keras in (
    (get_spec("resnet20_cifar"), PostActTorch, post_act_keras),
    (PREACT20, PreActTorch, pre_act_keras),
    (get_spec("resnet56_cifar"), PostActTorch, post_act_keras),
):
    reference = resnet_torch.create_model(spec, seed=0).eval()
    weights = resnet_torch.get_weights(reference)
    ours_torch = CifarTorch(spec.depths[0], block_torch).eval()
    ours_keras = cifar_keras(spec.depths[0], block_keras)
    resnet_torch.set_weights(ours_torch, weights)
    resnet_tf.set_weights(ours_keras, weights)

    parameters = sum(p.numel() for p in ours_torch.parameters())
    parameters_keras = sum(v.numpy().size for v in ours_keras.trainable_variables)
    with torch.no_grad():
        expected = reference(pictures_torch).numpy()
        logits_torch = ours_torch(pictures_torch).numpy()
    logits_keras = np.asarray(ours_keras(pictures, training=False))
    scale = np.abs(expected).max()
    equal = all(
        np.abs(logits - expected).max() < 1e-4 * scale for logits in (logits_torch, logits_keras)
    )
    kind = "pre-activation" if spec.preact else "post-activation"
    depth = 6 * spec.depths[0] + 2
    print(f"{depth} layers, {kind:15} {parameters:7,} parameters; both equal the package: {equal}")
    assert parameters == parameters_keras == count_parameters(spec)
    assert logits_torch.shape == logits_keras.shape == (4, 10)
    assert equal

# %% [markdown]
# ## A path that nothing cuts
#
# Follow the shortcuts from the first block to the last one, and look at what happens to `x` on the
# way, beside the additions:


# %%
def on_the_path(spec: ResNetSpec) -> list[str]:
    """The kinds of layers that the shortcuts' path goes through, except the additions."""
    last_relu = "" if spec.preact else ".relu2"  # the ReLU after the addition
    kinds = []
    for row in layer_table(spec):
        in_block = row.name.startswith("layer")
        if in_block and (".downsample" in row.name or (last_relu and row.name.endswith(last_relu))):
            kinds.append(row.kind)
    return kinds


for spec in (
    get_spec("resnet20_cifar"),
    PREACT20,
    get_spec("resnet18"),
    get_spec("preact_resnet18"),
):
    found = on_the_path(spec)
    counts = {kind: found.count(kind) for kind in dict.fromkeys(found)}
    kind = "pre-activation " if spec.preact else "post-activation"
    print(f"{kind}, option {spec.shortcut}, {len(spec.depths)} stages: {counts}")
assert "relu" not in on_the_path(PREACT20)
assert "batch_norm" not in on_the_path(PREACT20)
assert on_the_path(get_spec("resnet20_cifar")).count("relu") == 9

# %% [markdown]
# In the pre-activation network with option A, the path takes every second pixel, adds channels of
# zeros, and that is all. So for **every** picture the last block outputs
#
#     what the first block got  +  the sum of all branches
#
# We check this by replaying the path by hand. `branches` are the outputs of every block's last layer
# before the addition, as both frameworks computed them.


# %%
def option_a(x: np.ndarray, channels: int) -> np.ndarray:  # (N, C, H, W)
    extra = channels - x.shape[1]
    return np.pad(x[:, :, ::2, ::2], ((0, 0), (extra // 2, extra - extra // 2), (0, 0), (0, 0)))


def replay(start: np.ndarray, branches: list[np.ndarray], relu: bool) -> list[np.ndarray]:
    """What is on the path after each block: additions, option A, and a ReLU if there is one."""
    x, path = start, []
    for branch in branches:
        x = x if x.shape == branch.shape else option_a(x, branch.shape[1])
        x = x + branch
        x = np.maximum(x, 0) if relu else x
        path.append(x)
    return path


def inside(spec: ResNetSpec, framework) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Start of the path, all branches, and the end of the path, as (N, C, H, W), in training mode."""
    model = framework.create_model(spec, seed=0)
    inputs = framework.from_nhwc(pictures, model)
    seen = framework.trace(model, inputs, training=True).activations
    blocks = [row.name for rows in spec.stages() for row in rows]
    start = seen["layer1.0.relu1" if spec.preact else "relu1"]
    branches = [seen[f"{name}.{'conv2' if spec.preact else 'bn2'}"] for name in blocks]
    return start, branches, seen[f"{blocks[-1]}.{'add' if spec.preact else 'relu2'}"]


SPECS = {"post-activation": get_spec("resnet20_cifar"), "pre-activation": PREACT20}
for kind, spec in SPECS.items():
    for framework in (resnet_torch, resnet_tf):
        start, branches, end = inside(spec, framework)
        plain_sum = replay(start, branches, relu=False)[-1]
        equal = np.abs(plain_sum - end).max() < 1e-4
        print(f"{kind:15} {framework.TITLE:7}: end = start + sum of the branches, to 1e-4: {equal}")
        assert end.shape == (4, 64, 8, 8)
        assert equal == spec.preact
        assert np.abs(replay(start, branches, relu=not spec.preact)[-1] - end).max() < 1e-4

# %% [markdown]
# The sum is exact only with pre-activation. The ReLUs of the older order cut something off after
# every block. What, exactly? We send a message along the path: we add 1 to every number at the start,
# or subtract 1. The branches stay as they are. How much of the message is still there after each
# block?

# %%
received = {}
for kind, preact in (("post-activation", False), ("pre-activation", True)):
    block = "PreActBasicBlock" if preact else "BasicBlock"
    spec = get_spec("resnet56_cifar", block=block)  # 27 blocks
    start, branches, _ = inside(spec, resnet_torch)
    before = replay(start, branches, relu=not preact)
    for message in (1, -1):
        after = replay(start + message, branches, relu=not preact)
        shares = []
        for old, new in zip(before, after, strict=True):
            carrying = old[:, :16].size  # 16 channels of the start; the others are option A's zeros
            shares.append(float((new - old).sum() / (message * carrying)))
        received[kind, message] = shares

numbers = np.arange(1, 28)
figure, axes = plt.subplots(figsize=(8, 3.8))
looks = {
    ("pre-activation", 1): (BLUE, "o-", 9, "pre-activation, message +1"),
    ("pre-activation", -1): (GREEN, "x:", 5, "pre-activation, message −1"),
    ("post-activation", 1): (GREY, "^-.", 5, "post-activation, message +1"),
    ("post-activation", -1): (ORANGE, "s:", 5, "post-activation, message −1"),
}
for key, (colour, style, mark, label) in looks.items():
    inside_of = {"markerfacecolor": "white"} if mark > 5 else {}
    axes.plot(numbers, received[key], style, c=colour, label=label, ms=mark, **inside_of)
axes.set(
    xlabel="block, from the image on",
    ylabel="share of the message that arrives",
    title="A message on the shortcut path (56 layers, fresh weights)",
    ylim=(0, 1.1),
)
axes.grid(alpha=0.3)
axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
plt.show()
assert np.allclose(received["pre-activation", 1], 1, atol=1e-3)
assert np.allclose(received["pre-activation", -1], 1, atol=1e-3)
assert received["post-activation", 1][-1] < 0.4
assert received["post-activation", -1][-1] < 0.2

# %% [markdown]
# With pre-activation everything arrives, whatever its sign. With post-activation the ReLU after each
# block cuts every negative number. Where the sum is negative, it outputs zero with the message and
# without it, so even a message of +1 gets lost there, block after block. Less than a fifth of −1
# arrives. The same holds on the way back: a gradient passes an addition unchanged, and a ReLU only
# where it was open.
#
# ## The price: one more BatchNorm and ReLU
#
# Nothing on the path brings the numbers back to a fixed size. Each block adds its branch, so they
# grow. And after the last addition nothing has been activated. Therefore a pre-activation network
# ends with one more BatchNorm and ReLU, `bn_last` and `relu_last`, before the mean over all pixels.

# %%
growth, behind = {}, {}
for kind, block in (("post-activation", "BasicBlock"), ("pre-activation", "PreActBasicBlock")):
    spec = get_spec("resnet56_cifar", block=block)
    model = resnet_torch.create_model(spec, seed=0)
    inputs = resnet_torch.from_nhwc(pictures, model)
    seen = resnet_torch.trace(model, inputs, training=True).activations
    growth[kind] = [float(array.std()) for name, array in seen.items() if name.endswith(".add")]
    if "relu_last" in seen:
        behind[kind] = float(seen["bn_last"].std())

figure, axes = plt.subplots(figsize=(8, 3.4))
for (kind, sizes), style, colour in zip(growth.items(), ("s:", "o-"), (ORANGE, BLUE), strict=True):
    axes.plot(
        numbers, sizes, style, color=colour, label=f"{kind}, after the addition", markersize=5
    )
axes.plot([28], list(behind.values()), "*", color=GREEN, markersize=13, label="after bn_last")
for change in (9.5, 18.5):
    axes.axvline(change, color=GREY, linewidth=0.8)
axes.set(xlabel="block (lines: a new stage)", ylabel="standard deviation", ylim=(0, None))
axes.set_title("How large the numbers on the path are (56 layers, fresh weights)")
axes.grid(alpha=0.3)
axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
plt.show()
assert growth["pre-activation"][8] > 2 * growth["pre-activation"][0]
assert abs(behind["pre-activation"] - 1) < 0.01

# %% [markdown]
# They grow in both orders, and more with pre-activation. The extra BatchNorm costs no parameters. Its
# 64 channels are saved elsewhere: 16 in the stem, which has none, and 16 and 32 in the first blocks of
# stages 2 and 3, whose first BatchNorm now sees the narrower input:

# %%
for kind, spec in SPECS.items():
    norms = {row.name: row.parameters for row in layer_table(spec) if row.kind == "batch_norm"}
    outside = [name for name in norms if not name.startswith("layer")]
    print(f"{kind:15} {count_parameters(spec):,} parameters, {sum(norms.values()):,} of them in")
    print(f"{'':15} {len(norms)} BatchNorms; outside the blocks: {outside}")
assert count_parameters(SPECS["post-activation"]) == count_parameters(SPECS["pre-activation"])
assert 64 == 16 + 16 + 32

# %% [markdown]
# ## Does it train better?
#
# This is what the authors publish for CIFAR-10 (He et al. 2016, Table 3; test error in percent). The
# deeper the network, the larger the gain:

# %%
PUBLISHED = {"ResNet-110": (6.61, 6.37), "ResNet-164": (5.93, 5.46), "ResNet-1001": (7.61, 4.92)}
for name, (post, pre) in PUBLISHED.items():
    print(f"{name:12} post-activation {post}   pre-activation {pre}   gain {post - pre:.2f}")
gains = [post - pre for post, pre in PUBLISHED.values()]
assert gains == sorted(gains)

# %% [markdown]
# We cannot train a network of 1001 layers here. But 56 layers for 66 steps on small digits takes a
# few seconds. We use two learning rates, and three seeds each, so that we do not fool ourselves.

# %% tags=["machine"]
digits = load_data("digits")


def losses_of(block: str, rate: float, seed: int) -> list[float]:
    spec = get_spec("resnet56_cifar", block=block, in_channels=1, input_size=8)
    batches = Batches(digits, get_recipe("quick", epochs=3, crop_padding=0, seed=seed))
    model = resnet_torch.create_model(spec, seed=seed)  # in training mode
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9, weight_decay=1e-4)
    losses = []
    for epoch in (1, 2, 3):
        for number in range(batches.steps_per_epoch):
            images, labels = batches.train_batch(epoch, number)  # (N, H, W, C)
            x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())  # (N, C, H, W)
            loss = nn.functional.cross_entropy(model(x), torch.from_numpy(labels))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


RATES = (0.1, 0.02)
BLOCKS = {"BasicBlock": "post-activation", "PreActBasicBlock": "pre-activation"}
trained = {
    (block, rate): np.array([losses_of(block, rate, seed) for seed in range(3)])
    for block in BLOCKS
    for rate in RATES
}
for rate in RATES:
    for block, kind in BLOCKS.items():
        last = trained[block, rate][:, -10:].mean()
        print(f"rate {rate:<4}  {kind:15}  loss, mean of the last 10 steps and 3 seeds: {last:.2f}")
assert trained["BasicBlock", 0.1][:, -10:].mean() > 1
assert trained["PreActBasicBlock", 0.1][:, -10:].mean() < 0.5
assert max(trained[block, 0.02][:, -10:].mean() for block in BLOCKS) < 0.8

# %% tags=["machine"]
figure, panels = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True, layout="constrained")
for axes, rate in zip(panels, RATES, strict=True):
    for (block, kind), style, colour in zip(
        BLOCKS.items(), ("--", "-"), (ORANGE, BLUE), strict=True
    ):
        for seed, losses in enumerate(trained[block, rate]):
            label = f"{kind}, 3 seeds" if seed == 0 else None
            axes.plot(np.arange(1, 67), losses, style, color=colour, linewidth=1.3, label=label)
    axes.axhline(np.log(10), color=GREY, linestyle=":", label="guessing: log(10)")
    axes.set(xlabel="step", title=f"learning rate {rate}", ylim=(0, 6))
    axes.grid(alpha=0.3)
panels[0].set_ylabel("cross-entropy (nats per image)")
panels[1].legend(frameon=False)
figure.suptitle("56 layers on digits: the order in the block decides which rate works")
plt.show()

# %% [markdown]
# At a rate of 0.1 the pre-activation network learns at once, and the other one does not get going in
# these 66 steps. At 0.02 both learn, and post-activation is even *faster* at the start. So
# pre-activation is no magic. It makes a deep network easier to start with a large rate. The first
# paper met the same trouble: its ResNet-110 does not get going at 0.1, so the authors begin with 0.01
# (He et al. 2015, section 4.2).
#
# ## What trained weights see
#
# Now to a trained network. `resnet20_cifar` ships with this package. Its model card says how often it
# is right. Note one word in it: **JPEG**. The pictures are JPEG copies, in training and in testing.
# That is another task than the lossless pictures of the paper, and the two figures must not be put side
# by side without saying so.

# %%
card = (ASSETS / "resnet20_cifar.md").read_text(encoding="utf-8")
accuracy_line = next(part for part in card.split("- **") if part.startswith("Accuracy"))
print(textwrap.fill(" ".join(accuracy_line.replace("**", "").split()), 98))
assert "8,769 of 10,000 JPEG test images (87.69%)" in accuracy_line.replace("\n  ", " ")

# %% [markdown]
# If a copy of CIFAR-10 is on this machine, we take 2,000 of its 10,000 test pictures. If not, the
# same cells run on the digits, with the weights `resnet8_digits`, and show the same ideas on smaller
# pictures. What you read below is about the photographs.

# %% tags=["data", "machine"]
found = find_local("cifar10")
if found is None:
    print("No CIFAR-10 on this machine: the cells below use the digits.")
    name, evaluation = "resnet8_digits", evaluate("resnet8_digits", data="digits")
elif found.startswith("folder:"):
    print("CIFAR-10 as JPEG copies: what follows is not about the lossless pictures.")
    archive = folder_path(found.removeprefix("folder:"))
    name, evaluation = "resnet20_cifar", evaluate("resnet20_cifar", archive, limit=2_000)
else:
    print("CIFAR-10, lossless: but the weights were trained on JPEG copies.")
    name, evaluation = "resnet20_cifar", evaluate("resnet20_cifar", data=found, limit=2_000)

images, labels, classes = evaluation.split.images, evaluation.labels, evaluation.classes
total = len(labels)
print(f"{name}: {total:,} pictures {images.shape[1:]}, logits {evaluation.logits['torch'].shape}")
for framework in ("torch", "tf"):
    print(f"{framework:5} {evaluation.correct(framework):,} right")
print("predictions that differ between the twins:", evaluation.differing)
print("logits equal to 1e-4:", evaluation.largest_difference < 1e-4)
assert evaluation.logits["torch"].shape == evaluation.logits["tf"].shape == (total, 10)
assert evaluation.differing == 0
assert evaluation.largest_difference < 1e-4
assert evaluation.correct("torch") / total > 0.8

# %% [markdown]
# **Both twins give the same answer to every picture.** From here on we look at the answers of one of
# them. The softmax makes probabilities of the logits; the largest is called the **confidence**. For the
# figure we take, of each class, a picture of which the network is not quite sure.


# %%
def softmax(logits: np.ndarray) -> np.ndarray:  # (N, 10) -> (N, 10)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def show(axes, image: np.ndarray) -> None:
    """Draw a picture (H, W, C) of 1 or 3 channels, without ticks."""
    grey = image.shape[-1] == 1
    axes.imshow(image[..., 0] if grey else image, cmap="gray" if grey else None)
    axes.set(xticks=[], yticks=[])


# %% tags=["data", "machine", "cover"]
probabilities = softmax(evaluation.logits["torch"].astype(np.float64))
confidence, answers = probabilities.max(1), probabilities.argmax(1)
right = answers == labels
assert np.allclose(probabilities.sum(1), 1)

chosen = []
for number in range(10):
    members = np.flatnonzero(labels == number)
    members = members[np.argsort(confidence[members])]  # least sure first
    chosen.append(int(members[len(members) // 8]))
looks = {"height_ratios": (1.7, 1, 1.7, 1), "layout": "constrained"}
figure, panels = plt.subplots(4, 5, figsize=(10, 7.6), **looks)
for place, index in enumerate(chosen):
    picture, bars = panels[2 * (place // 5), place % 5], panels[2 * (place // 5) + 1, place % 5]
    show(picture, images[index])
    picture.set_title(f"true: {classes[labels[index]]}", fontsize=10)
    best = probabilities[index].argsort()[::-1][:3]
    for row, number in enumerate(best):
        colour, hatch = (BLUE, "") if number == labels[index] else (ORANGE, "//")
        share = probabilities[index, number]
        bars.barh(row, share, 0.4, color=colour, hatch=hatch, edgecolor="white")
        text = f"{classes[number]} {100 * share:.0f}%"
        bars.text(0, row - 0.45, text, va="center", fontsize=8.5)
    bars.set(xlim=(0, 1), ylim=(2.4, -0.8), xticks=[0, 0.5, 1], yticks=[])
    bars.tick_params(labelsize=7)
    bars.spines[["top", "right", "left"]].set_visible(False)
figure.suptitle(f"{name}, where it hesitates: the three best answers (blue: true)", fontsize=12)
figure.supxlabel("probability", fontsize=10)
plt.show()

# %% [markdown]
# ### What it takes for what
#
# The **confusion matrix** counts, for each true class (row), which class was predicted (column).

# %% tags=["data", "machine"]
confusion = evaluation.score("torch").confusion
assert confusion.sum() == total
assert np.trace(confusion) == right.sum()
if name == "resnet20_cifar":
    mixed = np.triu(confusion + confusion.T, 1)  # both directions together
    first, second = (int(number) for number in np.unravel_index(mixed.argmax(), mixed.shape))
    assert (classes[first], classes[second]) == ("cat", "dog")
    animal = np.isin(classes, ["bird", "cat", "deer", "dog", "frog", "horse"])
    among_its_own = animal[labels[~right]] == animal[answers[~right]]
    print(f"mistakes within animals or within vehicles: {among_its_own.mean():.0%}")
    assert among_its_own.mean() > 0.7
plot_confusion(confusion, classes, name)

# %% [markdown]
# Cats and dogs are confused most. Most of the other mistakes stay among the animals, or among the
# vehicles. The network is wrong in ways that we can understand.
#
# ### The most confident mistakes
#
# These are wrong answers of which the network was most sure. Some of them are hard for people too.

# %% tags=["data", "machine"]
wrong = np.flatnonzero(~right)
worst = wrong[np.argsort(-confidence[wrong])][:10]
figure, panels = plt.subplots(2, 5, figsize=(11, 5.2), layout="constrained")
for axes in panels.flat:
    axes.axis("off")
for axes, index in zip(panels.flat, worst, strict=False):
    axes.axis("on")
    show(axes, images[index])
    said = f"says {classes[answers[index]]}, {100 * confidence[index]:.1f}%"
    axes.set_title(f"{said}\ntrue: {classes[labels[index]]}", fontsize=9)
figure.suptitle(f"{name}: the most confident of {len(wrong):,} mistakes")
plt.show()
assert not right[worst].any()
assert (np.diff(confidence[worst]) <= 0).all()

# %% [markdown]
# ### Is it right as often as it says?
#
# Take 100 answers with a confidence of 0.8 each. If 80 of them are right, and so on for every other
# confidence, the network is **calibrated**. We sort the answers by confidence into ten bins, and count
# in each how many are right.

# %% tags=["data", "machine"]
bins = np.minimum((confidence * 10).astype(int), 9)
table = []
print("confidence   pictures   said   right")
for number in range(10):
    members = bins == number
    if members.any():
        said, got = confidence[members].mean(), right[members].mean()
        table.append((number, said, got, members.sum()))
        span = f"{number / 10:.1f} to {(number + 1) / 10:.1f}"
        print(f"{span:10} {members.sum():10,}   {said:.0%}   {got:5.0%}")
print(f"all: mean confidence {confidence.mean():.1%}, right {right.mean():.1%}")
gap = sum(count * abs(said - got) for _, said, got, count in table) / total
print(f"expected calibration error (the mean gap, weighted by pictures): {gap:.1%}")
assert sum(count for *_, count in table) == total
if name == "resnet20_cifar":
    assert confidence.mean() > right.mean()  # it promises more than it keeps

# %% tags=["data", "machine"]
figure, axes = plt.subplots(figsize=(5.6, 4.4))
places = [number / 10 + 0.05 for number, *_ in table]
axes.bar(places, [got for _, _, got, _ in table], 0.09, color=BLUE, label="right")
axes.plot(
    [said for _, said, _, _ in table],
    [said for _, said, _, _ in table],
    "s--",
    color=ORANGE,
    label="said (calibrated: as high as the bar)",
)
for place, (*_, count) in zip(places, table, strict=True):
    axes.text(place, 1.07, f"{count:,}", ha="center", fontsize=8)
axes.set(
    xlabel="confidence",
    ylabel="share of right answers",
    xlim=(0, 1),
    ylim=(0, 1.38),
    yticks=np.arange(0, 1.1, 0.2),
    title=f"{name}: confidence and truth\n(numbers: how many pictures)",
)
axes.legend(frameon=False, loc="upper left")
plt.show()

# %% [markdown]
# The bars end below the squares: on the photographs this network is **over-confident**. Guo et al.
# (2017) find the same in many modern networks. A 99% on the screen is a number that the network was
# trained to make large. It is no measured frequency, unless somebody measured it, as we did here.
#
# ### A picture of none of the classes
#
# The network has ten outputs, and none of them says "I do not know". Here are two photographs that
# scikit-learn brings along, of a palace and of a flower, then a black square, and 200 pictures of
# pure noise, in which every pixel is drawn at random.
#
# **Predict before you run the next cell** (exercise 1): what is the median confidence for the
# noise? About 0.1, because all classes are equally wrong? About 0.5? Above 0.9?

# %% tags=["data", "machine"]
weights = read_trained(name)
inputs = inputs_of(weights)  # how pixels from 0 to 255 are prepared for these weights
size, channels = inputs.image_size, weights.spec.in_channels
mode = "RGB" if channels == 3 else "L"


def small(picture: Image.Image) -> np.ndarray:  # (size, size, channels)
    return np.asarray(to_square(picture.convert(mode), size)).reshape(size, size, channels)


strangers = {
    file: small(Image.fromarray(load_sample_image(file))) for file in ("china.jpg", "flower.jpg")
}
strangers["black"] = np.zeros((size, size, channels), np.uint8)
noise = np.random.default_rng(0).integers(0, 256, (200, size, size, channels), dtype=np.uint8)
strange = np.concatenate([np.stack(list(strangers.values())), noise])  # (203, H, W, C)
assert strange.shape == (203, size, size, channels)

split = Split(images=strange, labels=np.zeros(203, np.int64))
strange_logits = ask(weights, split, inputs, ("torch", "tf"))
assert (strange_logits["torch"].argmax(1) == strange_logits["tf"].argmax(1)).all()
said = softmax(strange_logits["torch"].astype(np.float64))
for row, what in enumerate(strangers):
    print(f"{what:10} {classes[said[row].argmax()]:10} {said[row].max():.1%}")
of_noise = said[3:]
favourite = np.bincount(of_noise.argmax(1), minlength=10)
print(f"noise: median confidence {np.median(of_noise.max(1)):.1%}")
print({classes[number]: int(favourite[number]) for number in favourite.argsort()[::-1][:3]})
assert np.median(of_noise.max(1)) > 0.5
if name == "resnet20_cifar":
    assert np.median(of_noise.max(1)) > 0.9
    assert favourite.max() > 150

# %% tags=["data", "machine"]
figure, panels = plt.subplots(1, 5, figsize=(11, 2.9), layout="constrained")
for axes, row in zip(panels, (0, 1, 2, 3, 4), strict=True):
    show(axes, strange[row])
    axes.set_title(f"{classes[said[row].argmax()]}, {said[row].max():.0%}", fontsize=10)
figure.suptitle(f"{name} on pictures of none of its classes: what it says, and how sure it is")
plt.show()

# %% [markdown]
# It answers, and it is sure. Noise is far from everything that the network was trained on, and there
# its logits mean nothing: somewhere one class wins, and the softmax turns a lead of a few units into
# "99%". **A high confidence does not say that the picture belongs to any of the classes.**
#
# ## Looking inside: activation maps
#
# Let us follow one picture through the network. `trace` returns every layer's output, as
# (N, C, H, W), in both frameworks. Of each stage we show the six channels that respond most.

# %% tags=["data", "machine"]
spec = weights.spec
# A picture that the network knows well: the class in the middle, the surest right answer.
candidates = np.flatnonzero(right & (labels == 7))
looked_at = int(candidates[confidence[candidates].argmax()])
scaling = inputs if name == "resnet20_cifar" else replace(inputs, highest=digits.highest)
one = scaling.prepare(images[looked_at : looked_at + 1])  # (1, H, W, C)

twins, traces = {}, {}
for framework in (resnet_torch, resnet_tf):
    model = framework.create_model(spec)
    framework.set_weights(model, weights.arrays)
    twins[framework.TITLE] = model
    traces[framework.TITLE] = framework.trace(model, framework.from_nhwc(one, model))

stages = ["relu1"] + [f"layer{s}.{depth - 1}.relu2" for s, depth in enumerate(spec.depths, start=1)]
for stage in stages:
    a, b = (trace.activations[stage] for trace in traces.values())
    print(f"{stage:14} {a.shape}  equal to 1e-4: {np.abs(a - b).max() < 1e-4}")
    assert a.shape == b.shape
    assert np.abs(a - b).max() < 1e-4
assert np.allclose(traces["PyTorch"].logits[0], evaluation.logits["torch"][looked_at], atol=1e-4)

# %% tags=["data", "machine"]
figure, panels = plt.subplots(len(stages), 7, figsize=(11, 6.4), layout="constrained")
for row, stage in enumerate(stages):
    maps = traces["PyTorch"].activations[stage][0]  # (C, H, W)
    panels[row, 0].axis("off")
    if row == 0:
        panels[row, 0].axis("on")
        show(panels[row, 0], images[looked_at])
        panels[row, 0].set_title(f"a {classes[labels[looked_at]]}", fontsize=10)
    for axes, channel in zip(panels[row, 1:], maps.mean((1, 2)).argsort()[::-1], strict=False):
        axes.imshow(maps[channel], cmap="cividis")
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"channel {channel}", fontsize=8)
    height, width = maps.shape[1:]
    panels[row, 1].set_ylabel(f"{stage}\n{height}×{width}", fontsize=9)
figure.suptitle("The six strongest channels after the stem and after each stage (bright: large)")
plt.show()

# %% [markdown]
# After the stem the maps look like the picture: edges, dark and light parts. Deeper in, they become
# coarse, and say *where* something is rather than what it looks like.
#
# ## Class-activation maps
#
# Which part of the picture made the network say its class? The head of a ResNet gives an answer for
# free (Zhou et al. 2016). It takes the mean over all pixels, and then a weighted sum over channels:
#
#     logit[k] = sum over c of  W[k, c] · mean over y, x of  map[c, y, x]   + b[k]
#
# Both steps are sums, so their order can be changed: **first** weigh the channels, and take the mean
# over the pixels **afterwards**. What stands there in between is a picture for each class:
#
#     cam[k, y, x] = sum over c of  W[k, c] · map[c, y, x]
#     logit[k]     = mean over y, x of  cam[k, y, x]  + b[k]
#
# This is no approximation. We check it to 1e-5, in both frameworks, for all ten classes.

# %% tags=["data", "machine"]
cams = {}
for title, trace in traces.items():
    last_map = trace.activations[stages[-1]][0]  # (C, H, W), what goes into the mean
    if title == "PyTorch":
        fc = twins[title].fc
        kernel, bias = fc.weight.detach().numpy(), fc.bias.detach().numpy()  # (10, C), (10,)
    else:
        fc = twins[title].get_layer("fc")
        kernel, bias = fc.kernel.numpy().T, fc.bias.numpy()  # Keras has (C, 10): turned
    cam = np.einsum("kc,chw->khw", kernel, last_map)  # (10, H, W)
    rebuilt = cam.mean((1, 2)) + bias  # (10,)
    error = np.abs(rebuilt - trace.logits[0]).max() / np.abs(trace.logits[0]).max()
    print(f"{title:7} cam {cam.shape}; mean + bias equals the logits to 1e-5: {error < 1e-5}")
    assert cam.shape == (10, *last_map.shape[1:])
    assert error < 1e-5
    cams[title] = cam
assert np.abs(cams["PyTorch"] - cams["Keras"]).max() < 1e-3


# %% tags=["data", "machine"]
def class_maps(index: int) -> np.ndarray:  # (10, H, W)
    model = twins["PyTorch"]
    x = resnet_torch.from_nhwc(scaling.prepare(images[index : index + 1]), model)
    last_map = resnet_torch.trace(model, x).activations[stages[-1]][0]
    return np.einsum("kc,chw->khw", weights.arrays["fc.weight"], last_map)


surest = []
for number in range(10):
    candidates = np.flatnonzero(right & (labels == number))
    surest.append(int(candidates[confidence[candidates].argmax()]))
figure, panels = plt.subplots(3, 10, figsize=(12, 4.4), layout="constrained")
for column, index in enumerate(surest):
    cam = class_maps(index)[labels[index]]  # (H, W)
    stretched = resize(cam[None, ..., None], size)[0]  # (size, size, 1), bilinear
    evidence = np.clip(stretched / stretched.max(), 0.1, 1)
    show(panels[0, column], images[index])
    panels[0, column].set_title(classes[labels[index]], fontsize=10)
    panels[1, column].imshow(cam, cmap="cividis", vmin=-np.abs(cam).max(), vmax=np.abs(cam).max())
    panels[1, column].set(xticks=[], yticks=[])
    lit = images[index] / images[index].max() * evidence
    panels[2, column].imshow(np.broadcast_to(lit, (size, size, 3)), vmin=0, vmax=1)
    panels[2, column].set(xticks=[], yticks=[])
for row, text in enumerate(("picture", "class map", "lit by the map")):
    panels[row, 0].set_ylabel(text, fontsize=10)
figure.suptitle(f"{name}: where the evidence for the true class lies (bright: for it)")
plt.show()

# %% [markdown]
# For the photographs a map is 8×8 numbers, so it is coarse. It shows where the evidence lies: mostly
# on the object. But read it with care. It says which places **added** to the logit, and not why. And
# each of its numbers has seen more of the picture than its own place.
#
# ## Three sentences to remember
#
# 1. In a pre-activation network the last block outputs exactly what the first block got, plus the
#    sum of all branches: no ReLU and no BatchNorm stands on the path of the shortcuts.
# 2. The class-activation map is the head of the network with its two sums swapped, and its mean plus
#    the bias is the logit.
# 3. A network without an answer "none of these" gives one of its answers to everything, often with
#    great confidence.
#
# ## Exercises
#
# Worked solutions:
# [solutions/12_cifar_and_preactivation.ipynb](solutions/12_cifar_and_preactivation.ipynb).
#
# 1. **Predict.** Before you run the cell under "A picture of none of the classes": how sure is the
#    network of pure noise? Write down a number, and say which class you expect.
# 2. **By hand.** Work out the parameters of ResNet-20 for CIFAR with pencil and paper: stem, three
#    stages, head. Then find a formula in `n`, and check it for 1202 layers (Table 6: 19.4 million).
# 3. **A bug.** Somebody forgets `bn_last` and `relu_last` in a pre-activation network. Does it run?
#    What happens to the size of the logits of a fresh network as it gets deeper?
# 4. **Wrong preparation.** Feed the trained network with pictures that were prepared wrongly: colours
#    in the order BGR, pixels from 0 to 1 without mean and standard deviation, pixels from −1 to 1, raw
#    pixels from 0 to 255. How often is it right in each case? Which mistake would you not notice?
# 5. **Two maps.** Take the most confident mistake, and draw the class-activation maps of the
#    predicted and of the true class, and their difference. What is the mean of the difference?
