# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 11. Gradient flow
#
# *Why deep plain networks are hard to train: five experiments, and what each of them does not say.*
#
# **After this tutorial you can**
#
# - measure how the gradient changes from layer to layer, in both frameworks, and say why it
#   **grows** in a plain network with BatchNorm,
# - explain with a product of matrices what `+ x` adds, and what it does not mend,
# - show that the gradient of a deep plain network looks like noise,
# - draw the loss surface around a trained network along two directions, with a fair scale,
# - remove single blocks from trained networks, and say which networks survive it.
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
from math import comb

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import BoundaryNorm
from torch import nn

import resnet_tf  # brings Keras, without TensorFlow's messages at the start
import resnet_torch
import keras
import tensorflow as tf
from shared.training import Batches
from shared.networks import get_spec
from shared.data import load_data
from shared.base import BLUE, GREEN, GREY, ORANGE
from shared.training import get_recipe
from shared.networks import ResNetSpec, layer_table

# %% [markdown]
# ## The question
#
# He et al. (2015, figure 6) train plain networks of 20, 32, 44 and 56 layers. The deeper ones are
# worse, **also on the training images**. So it is no overfitting: the deep networks are harder to
# train. The authors write (section 4.1) that vanishing gradients are unlikely to be the reason:
# BatchNorm keeps the signals alive, and they have checked that the gradients have healthy norms.
# What is it then? We look at the gradients ourselves, with the paper's networks on the small digits
# that ship with the package.


# %%
def network(kind: str, depth: int) -> ResNetSpec:
    """The paper's network of this kind and depth, for digits: 6n + 2 layers, n blocks in each stage."""
    n = (depth - 2) // 6
    return get_spec(f"{kind}20_cifar", in_channels=1, input_size=8, depths=(n, n, n))


digits = load_data("digits")
batches = Batches(digits, get_recipe("degradation-digits"))
images, labels = batches.inputs.prepare(digits.train.images), digits.train.labels  # (N, H, W, C)
test_images, test_labels = batches.inputs.prepare(digits.test.images), digits.test.labels
print("training images", images.shape, " test images", test_images.shape)
assert images.shape == (1437, 8, 8, 1)
assert test_images.shape == (360, 8, 8, 1)
for depth in (8, 20, 32, 56, 110):
    rows = layer_table(network("plain", depth))
    convolutions = [row.name for row in rows if row.kind == "conv"]
    assert len(convolutions) == depth - 1  # and the fully connected layer

# %% [markdown]
# ## 1. Gradients by depth
#
# An untrained network, one batch of 128 digits, one backward pass. For each convolution we take the
# norm of the gradient by its kernel, divided by the norm of the kernel: how large is the wish to
# change, compared with what is there? The weights start as He et al. propose: normal, with a
# variance that keeps the size of the gradient in a network of convolutions and ReLUs.
#
# **Predict before you run the next cell** (exercise 1): in the plain network of 56 layers, is the
# gradient of the **first** convolution (at the image) much smaller than that of the **last** one,
# about as large, or much larger?


# %% tags=["machine"]
def gradient_norms(framework, spec: ResNetSpec, arrays=None, seed: int = 0) -> np.ndarray:
    """|gradient| / |kernel| of each convolution, from the image on, in training mode."""
    model = framework.create_model(spec, seed=seed)  # the same seed: the same weights
    if arrays is not None:
        framework.set_weights(model, arrays)
    inputs = framework.from_nhwc(images[:128], model)
    seen = framework.trace(model, inputs, labels[:128], training=True, activations=False)
    weights = framework.get_weights(model)
    kernels = [name for name, array in weights.items() if array.ndim == 4]
    return np.array(
        [
            np.linalg.norm(seen.parameter_gradients[name]) / np.linalg.norm(weights[name])
            for name in kernels
        ]
    )


norms = {
    (kind, depth): gradient_norms(resnet_torch, network(kind, depth))
    for kind in ("plain", "resnet")
    for depth in (20, 56, 110)
}
print("network     first convolution   last convolution   first / last")
for (kind, depth), values in norms.items():
    assert values.shape == (depth - 1,)
    ratio = values[0] / values[-1]
    print(f"{kind:6} {depth:4} {values[0]:20,.2f} {values[-1]:18.2f} {ratio:14,.0f}")

first_by_last = {key: values[0] / values[-1] for key, values in norms.items()}
assert first_by_last["plain", 56] > 1_000 > 500 > first_by_last["resnet", 56]
assert first_by_last["plain", 110] > 100_000

# %% [markdown]
# The gradient does **not** vanish. In the plain networks it **grows** on its way to the image. With
# 56 layers the first convolution gets more than 1,000 times as much as the last one, and with 110
# layers more than 100,000 times. No learning rate is right for both ends. In the residual networks
# it grows as well, but far less: by less than 500 with 56 layers.
#
# Is that a property of PyTorch, or of the network? The twins have the same weights, so Keras must
# draw the same curve.

# %% tags=["machine"]
keras_norms = {kind: gradient_norms(resnet_tf, network(kind, 56)) for kind in ("plain", "resnet")}
for kind, values in keras_norms.items():
    off = np.abs(values / norms[kind, 56] - 1)
    print(f"{kind}-56: Keras agrees with PyTorch within 20%: {off.max() < 0.2}")
    assert values.shape == (55,)
    assert off.max() < 0.2  # float32: single ReLUs open in one framework only (tutorial 9)

figure, panels = plt.subplots(1, 2, figsize=(10.5, 3.9), sharey=True, layout="constrained")
LOOKS = {20: (GREEN, "-.", 1.5), 56: (BLUE, "-", 3.0), 110: (GREY, ":", 2.0)}
for axes, kind in zip(panels, ("plain", "resnet"), strict=True):
    for depth, (colour, line, width) in LOOKS.items():
        values = norms[kind, depth]
        axes.semilogy(
            np.arange(1, depth),
            values,
            line,
            color=colour,
            linewidth=width,
            label=f"{depth} layers",
        )
    axes.semilogy(
        np.arange(1, 56),
        keras_norms[kind],
        "s",
        color=ORANGE,
        markevery=3,
        markersize=4,
        label="56 layers, Keras",
    )
    axes.set(xlabel="convolution, from the image on", title=f"{kind} networks, untrained")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
panels[0].set_ylabel("|gradient| / |kernel|")
plt.show()

# %% [markdown]
# On the logarithmic axis the plain curves are nearly straight lines: every layer multiplies the
# gradient by the same factor. (Only the first convolution stands above its line. Its kernel is
# small: it has one input channel, and the others have 16 and more.) Which factor, and why? Follow
# one number through one layer.
#
# 1. Behind a BatchNorm `z` has mean 0 and variance 1. The ReLU cuts it: `relu(z)` has the mean
#    square 1/2, but **not** the mean 0.
# 2. The convolution doubles the mean square. That is how He's weights are chosen.
# 3. The next BatchNorm subtracts the mean **before** it measures the variance. The mean's part is
#    lost, and the variance that is left is smaller than 1. BatchNorm divides by its root.
# 4. What is divided on the way forward is divided on the way back as well: the gradient grows.

# %%
z = np.random.default_rng(0).standard_normal(1_000_000)
behind_relu = np.maximum(z, 0)
mean_square, variance = (behind_relu**2).mean(), behind_relu.var()
factor = 1 / np.sqrt(2 * variance)
print(f"relu(z): mean square {mean_square:.2f}, variance {variance:.2f}")
print(f"the convolution doubles both: {2 * mean_square:.2f} and {2 * variance:.2f}")
print(f"BatchNorm multiplies the gradient by 1 / {np.sqrt(2 * variance):.2f} = {factor:.2f}")
assert abs(mean_square - 0.5) < 0.01
assert abs(factor - np.sqrt(np.pi / (np.pi - 1))) < 0.01  # the exact number for a normal z

# %% tags=["machine"]
for (kind, depth), values in norms.items():
    stage = values[1 : (depth - 2) // 3 + 1]  # the convolutions of the first stage: all alike
    each = (stage[0] / stage[-1]) ** (1 / (len(stage) - 1))
    print(f"{kind:6} {depth:4}: measured factor for one convolution of the first stage {each:.2f}")
    assert 1.1 < each < 1.35 if kind == "plain" else 1 < each < 1.2

# %% [markdown]
# That fits. The factor `sqrt(pi / (pi - 1))` is what Yang et al. (2019, "A Mean Field Theory of
# Batch Normalization") derive for wide fully connected networks, and conclude that BatchNorm itself
# makes the gradients of a deep network without shortcuts explode. In a residual block only the
# branch goes through BatchNorm, and the shortcut passes the gradient on with factor 1.
#
# ## 2. A product of matrices
#
# Backpropagation multiplies by one matrix per layer, the layer's **Jacobian**. So let us leave all
# else away: no ReLU, no BatchNorm, only 50 random matrices `W` of 100×100, scaled so that they keep
# the length of an **average** vector. The **singular values** of the product say how it stretches:
# the largest is for the best direction, the median for a typical one, the smallest for the worst
# one.
#
# With a shortcut the matrix of a layer is `I + W`. In a third stack we divide `W` in layer `l` by
# `sqrt(l)`. That imitates BatchNorm in the branch: it keeps every branch at size 1, while the sum
# on the shortcut has grown to about `sqrt(l)`.

# %% tags=["machine"]
SIZE, LAYERS = 100, 50
STACKS = {
    "W": lambda w, layer: w,
    "I + W": lambda w, layer: np.eye(SIZE) + w,
    "I + W / sqrt(l)": lambda w, layer: np.eye(SIZE) + w / np.sqrt(layer),
}
singular = {}  # name -> (layers, size)
for name, jacobian in STACKS.items():
    rng = np.random.default_rng(0)  # the same W for all three
    product, values = np.eye(SIZE), []
    for layer in range(1, LAYERS + 1):
        w = rng.standard_normal((SIZE, SIZE)) / np.sqrt(SIZE)
        product = jacobian(w, layer) @ product
        values.append(np.linalg.svd(product, compute_uv=False))
    singular[name] = np.array(values)
    largest, median, smallest = (singular[name][-1][i] for i in (0, SIZE // 2, -1))
    print(
        f"{name:16} after 50: largest {largest:8.2g}, median {median:8.2g},"
        f" ratio {largest / median:8.2g}"
    )
    assert singular[name].shape == (50, 100)

last = {name: values[-1] for name, values in singular.items()}
assert last["W"][0] < 100
assert last["W"][50] < 1e-5
assert last["I + W"][0] > 1e6
assert 0.2 < last["I + W / sqrt(l)"][50] < 5
assert last["I + W / sqrt(l)"][0] < 200

# %% tags=["machine"]
figure, panels = plt.subplots(1, 3, figsize=(11, 3.7), sharey=True, layout="constrained")
steps = np.arange(1, LAYERS + 1)
for axes, (name, values) in zip(panels, singular.items(), strict=True):
    shown = np.maximum(values, 1e-13)
    exact = values[:, -1] > 1e-14 * values[:, 0]  # what is smaller is lost in float64's rounding
    axes.fill_between(steps, shown[:, -1], shown[:, 0], color=BLUE, alpha=0.15)
    axes.semilogy(steps, shown[:, 0], "-", color=BLUE, linewidth=2, label="largest")
    axes.semilogy(steps, shown[:, SIZE // 2], "--", color=ORANGE, linewidth=2, label="median")
    axes.semilogy(
        steps,
        np.where(exact, shown[:, -1], np.nan),
        ":",
        color=GREEN,
        linewidth=2,
        label="smallest",
    )
    axes.axhline(1, color=GREY, linewidth=0.8)
    axes.set(xlabel="number of factors", title=f"product of {name}", ylim=(1e-12, 1e10))
    axes.grid(alpha=0.3)
panels[0].set_ylabel("singular value")
panels[0].legend(frameon=False, loc="upper left")
plt.show()

# %% [markdown]
# - **W**: the best direction keeps its size, the typical direction shrinks below one hundred
#   thousandth. The smallest singular values leave the picture soon; where the green line ends, they
#   are too small for float64. Nearly all of what the
#   gradient wants to say is lost: it can point in a few directions only.
# - **I + W**: now the typical direction survives. But the product explodes. A shortcut alone does
#   **not** keep the size.
# - **I + W / sqrt(l)**: the typical direction keeps its size, and the largest grows slowly. This is
#   what the addition **and** BatchNorm in the branch do together.
#
# ### Without BatchNorm
#
# The same with ReLUs, but still without BatchNorm: 50 fully connected layers of 256 units in
# PyTorch. `scale` multiplies He's initial weights. We look at the gradient by each layer's
# **output**.


# %% tags=["machine"]
def output_gradients(scale: float, shortcut: bool = False) -> list[float]:
    generator = torch.Generator().manual_seed(0)
    h = torch.relu(torch.randn(64, 256, generator=generator))  # (N, units)
    outputs = []
    for _ in range(50):
        kernel = torch.randn(256, 256, generator=generator) * (2 / 256) ** 0.5  # He's variance
        h = h.requires_grad_() if not outputs else h
        branch = torch.relu(h @ kernel * scale)
        h = h + branch if shortcut else branch  # (N, units)
        assert h.shape == (64, 256)
        outputs.append(h)
    direction = torch.randn(64, 256, generator=generator)
    gradients = torch.autograd.grad((h * direction).sum(), outputs)
    return [float(gradient.norm()) for gradient in gradients]


figure, axes = plt.subplots(figsize=(7.5, 3.8))
cases = (
    ("0.8 × He", 0.8, False, (GREEN, "-.")),
    ("He", 1.0, False, (BLUE, "-")),
    ("1.2 × He", 1.2, False, (ORANGE, "--")),
    ("He, with shortcuts", 1.0, True, (GREY, ":")),
)
grown = {}
for name, scale, shortcut, (colour, line) in cases:
    values = np.array(output_gradients(scale, shortcut))
    grown[name] = values[0] / values[-1]
    axes.semilogy(range(1, 51), values, line, color=colour, linewidth=2, label=name)
    print(f"{name:20} gradient at layer 1 / at layer 50: {grown[name]:.1g}")
axes.set(xlabel="layer, from the input on", ylabel="|gradient by the layer's output|")
axes.set_title("50 layers with ReLU, without BatchNorm")
axes.grid(alpha=0.3)
axes.legend(frameon=False, loc="upper right")
plt.show()
assert grown["0.8 × He"] < 1e-3
assert 0.02 < grown["He"] < 50
assert grown["1.2 × He"] > 100
assert grown["He, with shortcuts"] > 1e5

# %% [markdown]
# Here is the textbook's story: **without** BatchNorm the gradient vanishes or explodes by the
# choice of the initial weights, and He's choice is just right. It is right for this stack of layers
# only: with shortcuts the same weights explode. So networks with shortcuts need a small branch at
# the start, or a BatchNorm in it.
#
# ## 3. Shattered gradients
#
# Size is not all. Optimisers can rescale gradients (Adam does). Balduzzi et al. (2017, "The
# Shattered Gradients Problem") ask something else: if the input changes **a little**, does the
# gradient change a little? If not, a step along the gradient leads to a place where the gradient
# points elsewhere.
#
# We start at a zero and walk a quarter of the way to a one, on a straight line with 256 points. At
# each we take the derivative of a logit along the line. BatchNorm is in inference mode, with the
# statistics of 256 digits. The networks are not trained.

# %%
POINTS = 256
t = np.linspace(0, 0.25, POINTS, dtype="float32")[:, None, None, None]
zeros, ones = images[labels == 0], images[labels == 1]


def line(number: int) -> np.ndarray:  # (points, H, W, C)
    return (1 - t) * zeros[number] + t * ones[number]


def settled(spec: ResNetSpec, seed: int = 0) -> nn.Module:
    """A fresh network, whose BatchNorms hold the statistics of 256 digits, in inference mode."""
    model = resnet_torch.create_model(spec, seed=seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # new = 0 · old + 1 · batch
    resnet_torch.forward(model, resnet_torch.from_nhwc(images[:256], model), training=True)
    return model.eval()


def slopes_torch(model: nn.Module, number: int) -> np.ndarray:  # (points,)
    inputs = torch.from_numpy(resnet_torch.from_nhwc(line(number), model)).requires_grad_()
    (gradient,) = torch.autograd.grad(model(inputs)[:, 0].sum(), inputs)  # (points, C, H, W)
    towards = torch.from_numpy((ones[number] - zeros[number]).transpose(2, 0, 1).copy())
    return (gradient * towards).sum((1, 2, 3)).numpy()


def slopes_keras(model: keras.Model, number: int) -> np.ndarray:  # (points,)
    inputs = tf.convert_to_tensor(resnet_tf.from_nhwc(line(number), model))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        logit = model(inputs, training=False)[:, 0]
    gradient = tape.gradient(logit, inputs)  # (points, H, W, C)
    return (gradient.numpy() * (ones[number] - zeros[number])).sum((1, 2, 3))


assert line(0).shape == (256, 8, 8, 1)
for kind, depth in (("plain", 8), ("resnet", 20)):
    model_torch = settled(network(kind, depth))
    model_keras = resnet_tf.create_model(network(kind, depth))
    resnet_tf.set_weights(model_keras, resnet_torch.get_weights(model_torch))
    a, b = slopes_torch(model_torch, 0), slopes_keras(model_keras, 0)
    close = np.abs(a - b) < 1e-3 * np.abs(a).max()
    print(
        f"{kind}-{depth}: {a.shape}, Keras equals PyTorch at 95% of the points: {close.mean() > 0.95}"
    )
    assert a.shape == b.shape == (256,)
    assert close.mean() > 0.95  # elsewhere a ReLU stands on its edge


# %% [markdown]
# The logit is made of straight pieces, because ReLUs are. So its derivative is made of steps. Each
# panel is divided by its largest value.


# %% tags=["machine"]
DEPTHS = (8, 20, 32, 56)
LINES = 4
slopes = {
    (kind, depth): np.array([slopes_torch(model, number) for number in range(LINES)])
    for kind in ("plain", "resnet")
    for depth in DEPTHS
    for model in [settled(network(kind, depth))]
}
figure, panels = plt.subplots(
    2, 3, figsize=(11, 4.6), sharex=True, sharey=True, layout="constrained"
)
for row, (kind, colour) in zip(panels, (("plain", ORANGE), ("resnet", BLUE)), strict=True):
    for axes, depth in zip(row, (8, 20, 56), strict=True):
        values = slopes[kind, depth]
        assert values.shape == (LINES, POINTS)
        axes.plot(t.ravel(), values[0] / np.abs(values[0]).max(), color=colour, linewidth=1)
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.set_title(f"{kind}, {depth} layers")
        axes.set_ylim(-1.1, 1.1)
    row[0].set_ylabel("derivative / largest")
figure.supxlabel("place on the line (0: a zero, 1: a one)", fontsize=10)
plt.show()

# %% [markdown]
# With 8 layers the two look alike: the derivative wanders, and neighbours are similar. With 56
# layers the plain network's derivative jumps up and down at every step, like noise. The residual
# network's still wanders.
#
# Put it in a number: the **autocorrelation**. How much does the derivative here say about the
# derivative `k` steps further on? 1 means all, 0 means nothing. White noise has 0 at once. Brown
# noise (a random walk) falls slowly.


# %% tags=["machine"]
def autocorrelation(values: np.ndarray, most: int = 40) -> np.ndarray:
    """The mean over lines: values (lines, points) -> (most,)."""
    values = values - values.mean(1, keepdims=True)
    kept = [(values[:, : POINTS - k] * values[:, k:]).sum(1) for k in range(most)]
    return np.mean(np.array(kept) / (values**2).sum(1), axis=1)


white = np.random.default_rng(0).standard_normal((LINES, POINTS))
noises = {"white noise": white, "brown noise": white.cumsum(1)}
correlation = {key: autocorrelation(values) for key, values in {**slopes, **noises}.items()}

figure, panels = plt.subplots(1, 2, figsize=(10.5, 3.9), sharey=True, layout="constrained")
STYLES = {8: (GREEN, "-."), 20: (BLUE, "-"), 32: (ORANGE, "--"), 56: ("black", "-")}
for axes, kind in zip(panels, ("plain", "resnet"), strict=True):
    for depth, (colour, style) in STYLES.items():
        axes.plot(
            correlation[kind, depth],
            style,
            color=colour,
            linewidth=3 if depth == 56 else 1.5,
            label=f"{depth} layers",
        )
    axes.plot(correlation["white noise"], ":", color=GREY, label="white noise")
    axes.plot(correlation["brown noise"], ":", color=GREY, linewidth=3, label="brown noise")
    axes.set(
        xlabel="steps between the two places (of 256)", title=f"{kind} networks", ylim=(-0.3, 1.05)
    )
    axes.grid(alpha=0.3)
panels[0].set_ylabel("autocorrelation of the derivative")
panels[1].legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

print("correlation with the next step:")
for depth in DEPTHS:
    plain, residual = (correlation[kind, depth][1] for kind in ("plain", "resnet"))
    print(f"{depth:4} layers: plain {plain:5.2f}, residual {residual:5.2f}")
    assert residual > 0.75
assert correlation["plain", 8][1] > 0.8
assert correlation["plain", 32][1] < 0.75
assert abs(correlation["plain", 56][1]) < 0.25
assert correlation["plain", 56].shape == (40,)

# %% [markdown]
# In the plain networks the correlation goes away as they get deeper. With 56 layers one step is
# enough, and the derivative has forgotten all: it cannot be told from white noise. In the residual
# networks the correlation gets weaker with depth too, but slowly. That agrees with Balduzzi et al.,
# who prove for simple random networks that it falls exponentially with the depth in plain networks,
# and much more slowly in residual ones.
#
# ## Train four networks
#
# The rest needs trained networks: plain and residual ones of 32 and of 44 layers, with the same
# seed and the same batches. Eight epochs of SGD with momentum, in which the rate falls to zero
# along a cosine.


# %% tags=["machine"]
def right_share(logits: np.ndarray) -> float:
    return float((logits.argmax(1) == test_labels).mean())


def train(spec: ResNetSpec, epochs: int = 8) -> tuple[nn.Module, list[float]]:
    model = resnet_torch.create_model(spec, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=1e-4)
    steps = epochs * batches.steps_per_epoch
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses = []
    model.train()
    for step in range(steps):
        epoch, number = divmod(step, batches.steps_per_epoch)
        inputs, targets = batches.train_batch(epoch + 1, number)
        logits = model(torch.from_numpy(inputs.transpose(0, 3, 1, 2).copy()))
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(targets))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return model.eval(), losses


SPECS = {
    f"{kind}-{depth}": network(kind, depth) for depth in (32, 44) for kind in ("plain", "resnet")
}
models, weights, errors = {}, {}, {}
figure, panels = plt.subplots(1, 2, figsize=(10.5, 3.3), sharey=True, layout="constrained")
for name, spec in SPECS.items():
    models[name], losses = train(spec)
    weights[name] = resnet_torch.get_weights(models[name])
    inputs = resnet_torch.from_nhwc(test_images, models[name])
    test_logits = resnet_torch.forward(models[name], inputs)
    assert test_logits.shape == (360, 10)
    errors[name] = 100 * (1 - right_share(test_logits))
    print(f"{name:9}: error on the test digits {errors[name]:4.1f}%")
    look = {"color": ORANGE, "linestyle": "--"} if "plain" in name else {"color": BLUE}
    axes = panels[int(name.endswith("44"))]
    axes.plot(range(1, len(losses) + 1), losses, label=name, **look)
for axes, depth in zip(panels, (32, 44), strict=True):
    axes.set(xlabel="step", title=f"training loss of each batch, {depth} layers", ylim=(0, 4))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
panels[0].set_ylabel("cross-entropy (nats per image)")
plt.show()
assert errors["resnet-32"] < 8
assert errors["resnet-44"] < 10
assert errors["resnet-32"] < errors["plain-32"] < 60
assert errors["plain-44"] > errors["resnet-44"] + 10

# %% [markdown]
# There is the degradation, live: without shortcuts training is slower, and at 44 layers much slower
# than at 32. Keep in mind for what follows that the trained plain networks are no equals of the
# residual ones: their loss is higher.
#
# The paper's authors found healthy gradients, and we found exploding ones. Both can be true: we
# looked **before** training. Here is the same measurement before and after, and how many times
# longer each kernel has become.

# %% tags=["machine"]
figure, panels = plt.subplots(1, 3, figsize=(12, 3.7), layout="constrained")
grown, first_to_last = {}, {}
for kind, marker in (("plain", "s"), ("resnet", "o")):
    name = f"{kind}-44"
    fresh = resnet_torch.get_weights(resnet_torch.create_model(SPECS[name], seed=0))
    kernels = [key for key, array in fresh.items() if array.ndim == 4]
    grown[kind] = np.array(
        [np.linalg.norm(weights[name][key]) / np.linalg.norm(fresh[key]) for key in kernels]
    )
    assert grown[kind].shape == (43,)
    axes = panels[0 if kind == "plain" else 1]
    for when, arrays, line_style in (("before", fresh, "--"), ("after", weights[name], "-")):
        values = gradient_norms(resnet_torch, SPECS[name], arrays)
        first_to_last[kind, when] = values[0] / values[-1]
        print(f"{name:9} {when:6} training: first / last = {values[0] / values[-1]:8,.2f}")
        colour = GREY if when == "before" else BLUE if kind == "resnet" else ORANGE
        axes.semilogy(range(1, 44), values, line_style, color=colour, label=f"{when} training")
    axes.set(title=name, ylim=(1e-4, 1e3), xlabel="convolution, from the image on")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    colour = BLUE if kind == "resnet" else ORANGE
    panels[2].semilogy(
        range(1, 44), grown[kind], marker + "-", color=colour, markersize=4, label=name
    )
panels[0].set_ylabel("|gradient| / |kernel|")
panels[2].set(xlabel="convolution, from the image on", ylabel="|kernel after| / |kernel before|")
panels[2].set_title("growth of the kernels")
panels[2].grid(alpha=0.3)
panels[2].legend(frameon=False)
plt.show()
print(
    f"largest growth of a kernel: plain {grown['plain'].max():.0f}, resnet {grown['resnet'].max():.1f}"
)
assert first_to_last["plain", "before"] > 500
assert first_to_last["plain", "after"] < 0.5
assert 0.3 < first_to_last["resnet", "after"] < first_to_last["resnet", "before"]
assert grown["plain"][0] > 10 > grown["resnet"].max()
assert grown["plain"][0] == grown["plain"].max()
assert np.median(grown["resnet"]) < 1.3

# Behind BatchNorm, a kernel ten times as long computes the same, with a gradient ten times smaller.
spec = network("resnet", 8)
arrays = resnet_torch.get_weights(resnet_torch.create_model(spec, seed=0))
longer = arrays | {"conv1.weight": 10 * arrays["conv1.weight"]}
shrunk = (
    gradient_norms(resnet_torch, spec, longer)[0] / gradient_norms(resnet_torch, spec, arrays)[0]
)
print(f"first kernel times 10: its |gradient| / |kernel| is multiplied by {shrunk:.2g}")
assert abs(shrunk - 0.01) < 0.001

# %% [markdown]
# In the plain network the order is turned round: **before** training the first convolution has by
# far the largest gradient, **after** it a much smaller one than the last convolution. Between the
# two, its kernel has become more than ten times as long. The huge gradient throws the kernel far
# away in the first steps. Behind BatchNorm only the direction of a kernel matters, not its length,
# and a long kernel turns slowly: ten times as long means a hundredth of the relative gradient. So
# the exploding gradient hides itself. Who looks later sees gradients that do not explode, and first
# layers that hardly turn any more. In the residual network most kernels keep their length.
#
# Is this why the plain network learns so slowly? It fits, but one observation is no proof.
#
# ## 4. The loss surface
#
# A loss is a function of hundreds of thousands of weights. We look at a plane through the trained
# weights: `loss(w + a · d1 + b · d2)`, with two random directions. Li et al. (2018, "Visualizing
# the Loss Landscape of Neural Nets") point out a trap. Behind a BatchNorm, kernels ten times as
# large compute the same function. A step of a fixed length is then a tiny one for them, and the
# surface looks flat without being so. The remedy: give each kernel of the direction the same norm
# as the trained kernel has (they say **filter normalisation**). Then a step of 1 means "as far as
# the weights are long", in every network. As in the authors' program, gamma, beta and biases stay
# as they are.


# %%
def direction(trained: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    found = {}
    for name, array in trained.items():
        if array.ndim < 2:
            continue  # gamma, beta, bias, statistics
        noise = rng.standard_normal(array.shape).astype("float32")
        axes = tuple(range(1, array.ndim))  # all but the output channels
        size = np.sqrt((array**2).sum(axes, keepdims=True))
        found[name] = noise / np.sqrt((noise**2).sum(axes, keepdims=True)) * size
    return found


directions = {name: tuple(direction(weights[name], seed) for seed in (1, 2)) for name in SPECS}
for name, pair in directions.items():
    lengths = [
        np.sqrt(sum((array.astype("float64") ** 2).sum() for array in of.values()))
        for of in ({key: weights[name][key] for key in pair[0]}, *pair)
    ]
    inner = sum((pair[0][key].astype("float64") * pair[1][key]).sum() for key in pair[0])
    as_long = np.allclose(lengths, lengths[0], rtol=1e-4)
    orthogonal = abs(inner / lengths[1] / lengths[2]) < 0.2  # the cosine of the angle
    print(
        f"{name:9}: {len(pair[0])} arrays have a direction;"
        f" as long as the weights: {as_long}; nearly orthogonal: {orthogonal}"
    )
    assert as_long
    assert orthogonal
    assert pair[0]["layer1.0.conv1.weight"].shape == (16, 16, 3, 3)

# %% [markdown]
# BatchNorm's stored statistics fit the trained weights only. One step away they are wrong, and the
# loss says more about them than about the weights (exercise 4). So BatchNorm uses the statistics of
# the batch here, that is training mode. PyTorch computes the whole grid, 13×13 times each network,
# on 256 training digits. Keras checks five places.

# %% tags=["machine"]
part, part_labels = images[:256], labels[:256]
SIDE = np.linspace(-1, 1, 13)


def at(name: str, a: float, b: float) -> dict[str, np.ndarray]:
    first, second = directions[name]
    moved = {
        key: weights[name][key] + np.float32(a) * first[key] + np.float32(b) * second[key]
        for key in first
    }
    return weights[name] | moved


def loss_at(framework, model, arrays: dict[str, np.ndarray]) -> float:
    framework.set_weights(model, arrays)
    logits = framework.forward(model, framework.from_nhwc(part, model), training=True)
    logits = logits.astype("float64")  # (256, 10)
    top = logits.max(1)
    log_sum = top + np.log(np.exp(logits - top[:, None]).sum(1))
    return float((log_sum - logits[np.arange(256), part_labels]).mean())


surfaces = {}
for name, spec in SPECS.items():
    model = resnet_torch.create_model(spec)
    surfaces[name] = np.array(
        [[loss_at(resnet_torch, model, at(name, a, b)) for a in SIDE] for b in SIDE]
    )
    assert surfaces[name].shape == (13, 13)
    assert np.isfinite(surfaces[name]).all()

checks = ((0.0, 0.0), (0.5, 0.0), (0.0, -0.5), (-0.5, 0.5), (1.0, 1.0))
for name in ("plain-32", "resnet-32"):
    model = resnet_tf.create_model(SPECS[name])
    of_keras = np.array([loss_at(resnet_tf, model, at(name, a, b)) for a, b in checks])
    of_torch = [surfaces[name][round(6 * b) + 6, round(6 * a) + 6] for a, b in checks]
    equal = np.abs(of_keras - of_torch).max() < 1e-4
    print(f"{name:9}: Keras equals PyTorch at {len(checks)} places, to 1e-4: {equal}")
    assert equal

# %% tags=["machine", "cover"]
TICKS = [-1, -0.5, 0, 0.5, 1]
LEVELS = [0, 0.03, 0.1, 0.3, 0.6, 1, 1.5, 2, 2.5, 3, 4, 8]
figure, panels = plt.subplots(
    2, 2, figsize=(9.5, 8), sharex=True, sharey=True, layout="constrained"
)
for axes, (name, surface) in zip(panels.flat, surfaces.items(), strict=True):
    colours = BoundaryNorm(LEVELS, 256, extend="max")
    filled = axes.contourf(SIDE, SIDE, surface, LEVELS, cmap="cividis", norm=colours, extend="max")
    ink = ["white" if level < 2 else "black" for level in LEVELS[1:]]
    lines = axes.contour(SIDE, SIDE, surface, LEVELS[1:], colors=ink, linewidths=0.7)
    axes.clabel(lines, fontsize=8, fmt="%g")
    axes.plot(0, 0, "o", color="white", markeredgecolor="black")
    how = "without shortcuts" if "plain" in name else "with shortcuts"
    axes.set(title=f"{how} ({name})", aspect="equal", xticks=TICKS, yticks=TICKS)
for axes in panels[:, 0]:
    axes.set_ylabel("step along direction 2")
for axes in panels[1]:
    axes.set_xlabel("step along direction 1")
bar = figure.colorbar(filled, ax=panels, ticks=LEVELS, format="%g", shrink=0.7)
bar.set_label("cross-entropy (nats per image)")
plt.show()

# %% tags=["machine"]
CORNERS = ([0, 0, -1, -1], [0, -1, 0, -1])
print("           middle   corners   part below 1   part at most 0.5 above the middle")
for name, surface in surfaces.items():
    middle, corners = surface[6, 6], surface[CORNERS].mean()
    low, near = (surface < 1).mean(), (surface < middle + 0.5).mean()
    print(f"{name:9} {middle:7.2f} {corners:9.2f} {low:14.0%} {near:37.0%}")
print(f"ten equal probabilities have the loss {np.log(10):.2f}")
for depth in (32, 44):
    plain, residual = surfaces[f"plain-{depth}"], surfaces[f"resnet-{depth}"]
    assert (residual < 1).mean() > (plain < 1).mean()
    assert (residual < residual[6, 6] + 0.5).mean() > (plain < plain[6, 6] + 0.5).mean()
    assert residual[6, 6] < 0.2
    assert residual[CORNERS].mean() > plain[CORNERS].mean()
assert surfaces["plain-32"][6, 6] < surfaces["plain-32"][CORNERS].min()
assert (surfaces["plain-44"] < 1).mean() < 0.1
assert np.median(np.abs(surfaces["plain-44"] - np.log(10))) < 0.7

# %% [markdown]
# Read the four pictures with care.
#
# - With shortcuts the valley is deep and wide, at both depths: a larger part of the plane has a
#   loss below 1, and also a larger part lies at most 0.5 above the middle.
# - Without shortcuts, at 32 layers, the valley is narrower and its floor is higher. Around it lies
#   a plateau near the loss of guessing. Far out the residual network's loss is even **higher**:
#   sure of itself, and wrong.
# - Without shortcuts, at 44 layers, only a small dent is left. The rest is a plateau near the loss
#   of guessing, on which the gradient has little to say.
#
# Li et al. draw plain networks on CIFAR-10: round with 20 layers, chaotic and full of hills with
# 56. We see how the valley shrinks with depth, but our hills are low: this is no chaos. And two
# random directions of so many are a small window: a round picture does not prove that the surface
# is round.
#
# ## 5. Remove a block
#
# Veit et al. (2016, "Residual Networks Behave Like Ensembles of Relatively Shallow Networks")
# delete single blocks from trained networks, and do not train again. In a residual network we set
# the last gamma and beta of the branch to zero. What is left is the shortcut (tutorial 5). In a
# plain network the block is cut out: we build a network with one block fewer and give it the other
# blocks' weights. That works wherever a block's input and output have the same shape.

# %% tags=["machine"]
N = SPECS["plain-32"].depths[0]
BLOCKS = [(stage, number) for stage in (1, 2, 3) for number in range(N)]
assert len(BLOCKS) == 15


def silenced(arrays: dict[str, np.ndarray], blocks: list[tuple[int, int]]) -> dict[str, np.ndarray]:
    """The weights with the branches of these residual blocks set to zero."""
    names = [f"layer{s}.{i}.bn2.{what}" for s, i in blocks for what in ("weight", "bias")]
    return arrays | {name: np.zeros_like(arrays[name]) for name in names}


def cut(
    spec: ResNetSpec, arrays: dict[str, np.ndarray], stage: int, number: int
) -> tuple[ResNetSpec, dict[str, np.ndarray]]:
    """The network with one block fewer, and its weights."""
    depths = [depth - (s == stage) for s, depth in enumerate(spec.depths, start=1)]
    shorter, kept = get_spec(spec, depths=tuple(depths)), {}
    for name, array in arrays.items():
        where = name.split(".")
        if where[0] == f"layer{stage}":
            if int(where[1]) == number:
                continue
            where[1] = str(int(where[1]) - (int(where[1]) > number))
        kept[".".join(where)] = array
    return shorter, kept


def test_error(framework, model, arrays: dict[str, np.ndarray]) -> float:  # in percent
    framework.set_weights(model, arrays)
    logits = framework.forward(model, framework.from_nhwc(test_images, model))
    assert logits.shape == (360, 10)
    return 100 * (1 - right_share(logits))


without = {"plain": {}, "resnet": {}}
for stage, number in BLOCKS:
    arrays = silenced(weights["resnet-32"], [(stage, number)])
    without["resnet"][stage, number] = test_error(resnet_torch, models["resnet-32"], arrays)
    if number > 0 or stage == 1:  # elsewhere the shape changes
        spec, arrays = cut(SPECS["plain-32"], weights["plain-32"], stage, number)
        without["plain"][stage, number] = test_error(
            resnet_torch, resnet_torch.create_model(spec), arrays
        )
assert len(without["resnet"]) == 15
assert len(without["plain"]) == 13

# To silence a branch is to cut the block out: the outputs are equal.
inputs = resnet_torch.from_nhwc(test_images, models["resnet-32"])
resnet_torch.set_weights(models["resnet-32"], silenced(weights["resnet-32"], [(2, 3)]))
spec, arrays = cut(SPECS["resnet-32"], weights["resnet-32"], 2, 3)
shorter = resnet_torch.create_model(spec)
resnet_torch.set_weights(shorter, arrays)
a, b = (resnet_torch.forward(model, inputs) for model in (models["resnet-32"], shorter))
assert spec.depths == (5, 4, 5)
assert a.shape == b.shape == (360, 10)
assert np.abs(a - b).max() < 1e-4 * np.abs(a).max()
print("a silenced branch, and the block cut out: the same logits")

# Keras says the same, for one block of each kind.
keras_model = resnet_tf.create_model(SPECS["resnet-32"])
in_keras = test_error(resnet_tf, keras_model, silenced(weights["resnet-32"], [(2, 3)]))
same = abs(in_keras - without["resnet"][2, 3]) < 0.3  # one digit of 360 is 0.28%
print("resnet-32 without layer2.3: the same error in Keras, or one digit apart:", same)
assert same
spec, arrays = cut(SPECS["plain-32"], weights["plain-32"], 2, 3)
in_keras = test_error(resnet_tf, resnet_tf.create_model(spec), arrays)
same = abs(in_keras - without["plain"][2, 3]) < 0.3
print("plain-32 without layer2.3:  the same error in Keras, or one digit apart:", same)
assert same

# %% tags=["machine"]
figure, axes = plt.subplots(figsize=(9, 3.9))
for kind, colour, marker, line_style in (("plain", ORANGE, "s", "--"), ("resnet", BLUE, "o", "-")):
    places = [BLOCKS.index(block) for block in without[kind]]
    axes.plot(
        places,
        list(without[kind].values()),
        marker,
        color=colour,
        label=f"{kind}-32, one block gone",
    )
    axes.axhline(
        errors[f"{kind}-32"],
        color=colour,
        linestyle=line_style,
        linewidth=1,
        label=f"{kind}-32, whole",
    )
axes.axhline(90, color=GREY, linestyle=":", label="guessing")
axes.set_xticks(range(15), [f"{s}.{i}" for s, i in BLOCKS])
axes.set(
    xlabel="removed block (stage.number)", ylabel="error on the test digits (%)", ylim=(-3, 103)
)
axes.grid(alpha=0.3)
axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
plt.show()
residual, plain = (np.array(list(without[kind].values())) for kind in ("resnet", "plain"))
worst = max(without["resnet"], key=without["resnet"].get)
print(f"plain:    median error {np.median(plain):.0f}%")
print(
    f"residual: median error {np.median(residual):.0f}%,"
    f" worst {residual.max():.0f}% without layer{worst[0]}.{worst[1]}"
)
assert np.median(plain) > 60
assert plain.min() > 45
assert np.median(residual) < 15
assert worst[0] == 1

# %% [markdown]
# Take any block out of the plain network, and it mostly guesses: every layer expects exactly what
# the layer before it used to output. The residual network hardly notices most of the losses. The
# blocks that matter stand at the start of the first stage: they work on what the stem outputs, and
# all others build upon that. In the paper the blocks at which the shape changes hurt somewhat more
# than their neighbours. In a network as short as ours the start hides that.
#
# Veit et al. read this so: multiply the additions out, and a network with 15 blocks is a sum over
# `2^15` paths. At each block a path takes the branch or the shortcut. Remove a block, and half of
# the paths stay. In a plain network there is one path, and it is gone.

# %%
paths = [comb(15, length) for length in range(16)]
print("paths through 0 to 15 branches:", *paths)
print(f"of all paths, {sum(paths[6:10]) / sum(paths):.0%} go through 6 to 9 branches")
print(f"paths in all: {sum(paths):,}; without one block: {sum(paths) // 2:,}")
assert sum(paths) == 2**15 == 32_768
assert sum(comb(14, length) for length in range(15)) == 16_384

# %% [markdown]
# The count is exact only if a branch sees its input as a sum of independent parts, that is, without
# ReLU and BatchNorm. It is a way to think about the network, and no identity.
#
# ## What explains the degradation?
#
# Our observations agree. In a deep plain network the gradient grows with every layer before
# training, and looks like noise. Then the first kernels grow long and stop turning. The valley
# around the trained weights is narrower, and every layer depends on all the others. The shortcut
# mends all of it. Which one is the **cause** is still discussed. None of the experiments above can
# decide that, because the shortcut changes everything at once.
#
# ## Three sentences to remember
#
# 1. With BatchNorm the gradients of a deep plain network do not vanish: untrained, they grow toward
#    the image by a factor of about 1.2 per layer.
# 2. `+ x` puts the identity into each layer's Jacobian, so that typical directions survive, and a
#    normalised branch keeps the whole product from exploding.
# 3. A deep plain network's gradient changes at every small step like white noise, and it needs each
#    of its blocks; a residual network's gradient stays correlated, and it can lose most blocks.
#
# ## Exercises
#
# Worked solutions: [solutions/11_gradient_flow.ipynb](solutions/11_gradient_flow.ipynb).
#
# 1. **Predict.** Before you run the cell under "Gradients by depth": is the gradient at the first
#    convolution of the untrained plain-56 smaller, equal or larger than at the last? Explain it.
# 2. **Another activation.** Replace the ReLU in the calculation of the factor by `tanh`, and by no
#    activation at all. Which factor per layer do you get? Check the second on a stack of linear
#    layers with BatchNorm.
# 3. **Quiet branches.** Set the last gamma of every block of an untrained ResNet-56 to 0.1. What
#    happens to the gradient norms by depth, and to the autocorrelation along the line?
# 4. **The wrong mode.** Draw a cut through the loss surface of a trained network, along one
#    direction, once with the batch's statistics and once with the stored ones. How large does the
#    loss get?
# 5. **More than one block.** Remove 2, 4, 6, 8 or 10 random blocks of the trained residual network,
#    at five draws each: once from all 15 blocks, once from the second and third stage only. How
#    does the error grow? What does a sum over paths lead you to expect?
