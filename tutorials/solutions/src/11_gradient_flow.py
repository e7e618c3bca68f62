# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Solutions to 11. Gradient flow
#
# Try each exercise of [the tutorial](../11_gradient_flow.ipynb) yourself before you look.

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
import numpy as np
import torch
from torch import nn

import resnet_tf  # brings Keras, without TensorFlow's messages at the start
import resnet_torch
from shared.training import Batches
from shared.networks import get_spec
from shared.data import load_data
from shared.base import BLUE, GREEN, GREY, ORANGE
from shared.training import get_recipe
from shared.networks import ResNetSpec

# %% [markdown]
# What several exercises need, as in the tutorial:


# %%
def network(kind: str, depth: int) -> ResNetSpec:
    n = (depth - 2) // 6
    return get_spec(f"{kind}20_cifar", in_channels=1, input_size=8, depths=(n, n, n))


digits = load_data("digits")
batches = Batches(digits, get_recipe("degradation-digits"))
images, labels = batches.inputs.prepare(digits.train.images), digits.train.labels  # (N, H, W, C)
test_images, test_labels = batches.inputs.prepare(digits.test.images), digits.test.labels


def gradient_norms(framework, spec: ResNetSpec, arrays: dict[str, np.ndarray]) -> np.ndarray:
    model = framework.create_model(spec)
    framework.set_weights(model, arrays)
    inputs = framework.from_nhwc(images[:128], model)
    seen = framework.trace(model, inputs, labels[:128], training=True, activations=False)
    kernels = [name for name, array in arrays.items() if array.ndim == 4]
    return np.array(
        [
            np.linalg.norm(seen.parameter_gradients[name]) / np.linalg.norm(arrays[name])
            for name in kernels
        ]
    )


def fresh(spec: ResNetSpec, seed: int = 0) -> dict[str, np.ndarray]:
    return resnet_torch.get_weights(resnet_torch.create_model(spec, seed=seed))


# %% [markdown]
# ## Exercise 1: predict
#
# It is **larger**, by more than 1,000 times. Many expect that it is smaller, because "gradients
# vanish". That belongs to networks without BatchNorm, and to initial weights that are too small.
# With BatchNorm, the mean of the ReLU's output is thrown away in each layer, the variance that is
# left is 0.68 in place of 1, and the gradient is divided by its root, in each layer again. With a
# gain of 1.21 per layer, 54 layers make a factor of 30,000. Three seeds:

# %% tags=["machine"]
spec = network("plain", 56)
for seed in range(3):
    values = gradient_norms(resnet_torch, spec, fresh(spec, seed))
    print(f"seed {seed}: first / last = {values[0] / values[-1]:,.0f}")
    assert values.shape == (55,)
    assert values[0] / values[-1] > 1_000
left = 1 - 1 / np.pi  # twice the variance of relu(z), for a normal z
assert round(left, 2) == 0.68
assert round(left**-0.5, 2) == 1.21
assert 25_000 < left ** (-54 / 2) < 35_000
assert abs(left ** (-54 / 2) / 30_000 - 1) < 0.1

# %% [markdown]
# ## Exercise 2: another activation
#
# The kernels stand between the activation and the next BatchNorm. Their scale does not matter for
# the forward pass, because BatchNorm divides by whatever comes. So we count both ways: on the way
# back the gradient goes through BatchNorm (divided by the standard deviation), through the kernels,
# and through the activation (times its derivative). With kernels of variance `v` per input:
#
#     factor² = v · mean(derivative²) / (v · variance(activation))
#             = mean(derivative²) / variance(activation)
#
# `v` cancels. For the ReLU that is 1/2 divided by 0.34. For `tanh` it comes closer to 1, because
# its mean is 0. Without an activation it is exactly 1.


# %%
z = np.random.default_rng(0).standard_normal(1_000_000)
factors = {}
for name, value, derivative in (
    ("relu", np.maximum(z, 0), (z > 0).astype(float)),
    ("tanh", np.tanh(z), 1 - np.tanh(z) ** 2),
    ("none", z, np.ones_like(z)),
):
    factors[name] = np.sqrt((derivative**2).mean() / value.var())
    print(
        f"{name}: mean {abs(value.mean()):4.2f}, variance {value.var():.2f},"
        f" mean of derivative² {(derivative**2).mean():.2f}, factor {factors[name]:.2f}"
    )
assert abs(factors["relu"] - np.sqrt(np.pi / (np.pi - 1))) < 0.01
assert 1 < factors["tanh"] < factors["relu"]
assert abs(factors["none"] - 1) < 0.01

# %% [markdown]
# Now the stacks themselves: 50 fully connected layers, each followed by BatchNorm and the
# activation. We predict the growth over 49 layers with the factor, and measure it.

# %% tags=["machine"]
ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh, "none": lambda value: value}
LOOKS = {"relu": (BLUE, "-"), "tanh": (ORANGE, "--"), "none": (GREEN, ":")}
figure, axes = plt.subplots(figsize=(7, 3.6))
for name, activation in ACTIVATIONS.items():
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(512, 256, generator=generator).requires_grad_()
    outputs = []
    for _ in range(50):
        h = h @ (torch.randn(256, 256, generator=generator) / 16)  # (N, units)
        h = activation((h - h.mean(0)) / torch.sqrt(h.var(0, unbiased=False) + 1e-5))
        outputs.append(h)
    towards = torch.randn(512, 256, generator=generator)
    norms = [float(g.norm()) for g in torch.autograd.grad((h * towards).sum(), outputs)]
    measured = (norms[0] / norms[-1]) ** (1 / 49)
    print(f"{name}: factor per layer {measured:.2f}, predicted {factors[name]:.2f}")
    assert h.shape == (512, 256)
    assert abs(measured - factors[name]) < 0.1
    axes.semilogy(range(1, 51), norms, LOOKS[name][1], color=LOOKS[name][0], label=name)
axes.set(xlabel="layer, from the input on", ylabel="|gradient by the layer's output|")
axes.set_title("50 layers with BatchNorm, by activation")
axes.grid(alpha=0.3)
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Exercise 3: quiet branches
#
# With a last gamma of 0.1 each block adds little to what goes by. The network behaves like a
# shallow one: the gradient hardly grows through the blocks, and it stays correlated along the line
# like that of a few layers. That is the idea behind `zero_init_residual` (tutorial 5). Balduzzi et
# al. compare branches multiplied by 1 and by 0.1 as well, with the same result.

# %% tags=["machine"]
spec = network("resnet", 56)
usual = fresh(spec)
quiet = {
    name: np.full_like(array, 0.1) if name.endswith("bn2.weight") else array
    for name, array in usual.items()
}
norms = {
    "gamma 1": gradient_norms(resnet_torch, spec, usual),
    "gamma 0.1": gradient_norms(resnet_torch, spec, quiet),
}
in_keras = gradient_norms(resnet_tf, spec, quiet)
assert in_keras.shape == norms["gamma 0.1"].shape == (55,)
assert np.abs(in_keras / norms["gamma 0.1"] - 1).max() < 0.1

zeros, ones = images[labels == 0], images[labels == 1]
t = np.linspace(0, 0.25, 256, dtype="float32")[:, None, None, None]


def correlation(arrays: dict[str, np.ndarray]) -> np.ndarray:  # (40,)
    model = resnet_torch.create_model(spec)
    resnet_torch.set_weights(model, arrays)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    resnet_torch.forward(model, resnet_torch.from_nhwc(images[:256], model), training=True)
    model.eval()
    found = []
    for number in range(4):
        line = (1 - t) * zeros[number] + t * ones[number]  # (256, H, W, C)
        inputs = torch.from_numpy(resnet_torch.from_nhwc(line, model)).requires_grad_()
        (gradient,) = torch.autograd.grad(model(inputs)[:, 0].sum(), inputs)
        towards = torch.from_numpy((ones[number] - zeros[number]).transpose(2, 0, 1).copy())
        slope = (gradient * towards).sum((1, 2, 3)).numpy()
        slope = slope - slope.mean()
        found.append([(slope[: 256 - k] * slope[k:]).sum() / (slope**2).sum() for k in range(40)])
    return np.mean(found, axis=0)


correlations = {"gamma 1": correlation(usual), "gamma 0.1": correlation(quiet)}
figure, panels = plt.subplots(1, 2, figsize=(10.5, 3.6), layout="constrained")
for name, colour, style in (("gamma 1", ORANGE, "--"), ("gamma 0.1", BLUE, "-")):
    panels[0].semilogy(range(1, 56), norms[name], style, color=colour, label=name)
    panels[1].plot(correlations[name], style, color=colour, label=name)
    print(
        f"{name:9}: second / last gradient {norms[name][1] / norms[name][-1]:5.1f},"
        f" correlation at 15 steps {correlations[name][15]:.2f}"
    )
panels[0].set(xlabel="convolution, from the image on", ylabel="|gradient| / |kernel|")
panels[1].set(xlabel="steps between the two places (of 256)", ylabel="autocorrelation")
for axes in panels:
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
figure.suptitle("ResNet-56, untrained, by its last gammas")
plt.show()
assert norms["gamma 0.1"][1] < 3 * norms["gamma 0.1"][-1]
assert norms["gamma 1"][1] > 4 * norms["gamma 1"][-1]
assert correlations["gamma 0.1"][15] > correlations["gamma 1"][15] + 0.1

# %% [markdown]
# ## Exercise 4: the wrong mode
#
# We train a ResNet-32 as in the tutorial, and go along one direction. With the batch's statistics
# the loss stays in the range of a few nats. With the stored statistics it becomes many times as
# large. Away from the middle the activations have other means and variances than those stored,
# every BatchNorm is a little off, and the layers multiply it.


# %% tags=["machine"]
def train(spec: ResNetSpec, epochs: int = 8) -> nn.Module:
    model = resnet_torch.create_model(spec, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=1e-4)
    steps = epochs * batches.steps_per_epoch
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
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
    return model.eval()


model = train(network("resnet", 32))
trained = resnet_torch.get_weights(model)
rng = np.random.default_rng(1)
direction = {}
for name, array in trained.items():
    if array.ndim > 1:
        noise = rng.standard_normal(array.shape).astype("float32")
        over = tuple(range(1, array.ndim))
        size = np.sqrt((array**2).sum(over, keepdims=True))
        direction[name] = noise / np.sqrt((noise**2).sum(over, keepdims=True)) * size

places = np.linspace(-1, 1, 21)
cuts = {}
inputs = resnet_torch.from_nhwc(images[:256], model)
for training in (True, False):
    losses = []
    for a in places:
        moved = {name: trained[name] + np.float32(a) * direction[name] for name in direction}
        resnet_torch.set_weights(model, trained | moved)
        logits = torch.from_numpy(resnet_torch.forward(model, inputs, training=training))
        losses.append(float(nn.functional.cross_entropy(logits, torch.from_numpy(labels[:256]))))
    cuts[training] = np.array(losses)
resnet_torch.set_weights(model, trained)

figure, axes = plt.subplots(figsize=(7, 3.6))
axes.semilogy(places, cuts[True] + 1e-3, "o-", color=BLUE, label="the batch's statistics")
axes.semilogy(places, cuts[False] + 1e-3, "s--", color=ORANGE, label="the stored statistics")
axes.axhline(np.log(10), color=GREY, linestyle=":", label="guessing")
axes.set(xlabel="step along the direction", ylabel="cross-entropy + 0.001 (nats per image)")
axes.set_title("A cut through the loss surface of ResNet-32")
axes.grid(alpha=0.3)
axes.legend(frameon=False)
plt.show()
print(f"largest loss: {cuts[True].max():.1f} and {cuts[False].max():.0f}")
assert cuts[True].shape == (21,)
assert cuts[True].max() < 20
assert cuts[False].max() > 5 * cuts[True].max()

# %% [markdown]
# ## Exercise 5: more than one block
#
# If the network is a sum over paths, then with `k` of 15 blocks gone `2^(15 - k)` paths are left.
# So the error should grow gradually, and not jump to guessing with the first block, as in a plain
# network.
#
# We draw from all blocks, and from those of the second and third stage only. The difference is
# large. Single early blocks can spoil everything, as in the tutorial. The later stages lose two
# blocks nearly without harm, and then the error grows with each further pair. So "a sum of many
# paths" is half of the truth: the paths are not equal. The same in Keras, for two blocks.


# %% tags=["machine"]
def error_without(framework, model, blocks: list[tuple[int, int]]) -> float:  # in percent
    names = [f"layer{s}.{i}.bn2.{what}" for s, i in blocks for what in ("weight", "bias")]
    framework.set_weights(model, trained | {name: np.zeros_like(trained[name]) for name in names})
    logits = framework.forward(model, framework.from_nhwc(test_images, model))
    assert logits.shape == (360, 10)
    return 100 * float((logits.argmax(1) != test_labels).mean())


BLOCKS = [(stage, number) for stage in (1, 2, 3) for number in range(5)]
CHOICES = {"from all 15 blocks": BLOCKS, "from stages 2 and 3": BLOCKS[5:]}
COUNTS = (2, 4, 6, 8, 10)
whole = error_without(resnet_torch, model, [])
results = {}
for choice, candidates in CHOICES.items():
    rng = np.random.default_rng(0)
    for count in COUNTS:
        draws = [rng.choice(len(candidates), count, replace=False) for _ in range(5)]
        results[choice, count] = [
            error_without(resnet_torch, model, [candidates[i] for i in draw]) for draw in draws
        ]
print(f"whole: error {whole:.1f}%")
for (choice, count), values in results.items():
    print(f"{count:2} blocks gone, {choice}: error {np.mean(values):5.1f}% in the mean")

model_keras = resnet_tf.create_model(network("resnet", 32))
pair = [(2, 1), (3, 1)]
a, b = error_without(resnet_tf, model_keras, pair), error_without(resnet_torch, model, pair)
assert abs(a - b) < 0.3  # one digit of 360 at most

figure, axes = plt.subplots(figsize=(7, 3.6))
for (choice, colour, marker, style), shift in zip(
    (("from all 15 blocks", ORANGE, "s", "--"), ("from stages 2 and 3", BLUE, "o", "-")),
    (-0.1, 0.1),
    strict=True,
):
    for count in COUNTS:
        values = results[choice, count]
        axes.plot([count + shift] * len(values), values, marker, color=colour, alpha=0.5)
    means = [whole] + [np.mean(results[choice, count]) for count in COUNTS]
    axes.plot([0, *COUNTS], means, style, color=colour, label=f"mean of five draws {choice}")
axes.axhline(90, color=GREY, linestyle=":", label="guessing")
axes.set(xlabel="blocks removed", ylabel="error on the test digits (%)", ylim=(-3, 103))
axes.set_title("ResNet-32 without some of its blocks")
axes.grid(alpha=0.3)
axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
plt.show()
late = [np.mean(results["from stages 2 and 3", count]) for count in COUNTS]
everywhere = [np.mean(results["from all 15 blocks", count]) for count in COUNTS]
assert whole < 8
assert late[0] < 20
assert np.mean(everywhere) > np.mean(late) + 5
assert late[-1] > late[0]
