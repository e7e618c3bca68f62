# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 4. BatchNorm in two dialects
#
# *One layer, four disagreements: axes, epsilon, momentum, and which variance is kept.*
#
# **After this tutorial you can**
#
# - write BatchNorm in NumPy, for training and for prediction, and match both frameworks with it,
# - translate epsilon and momentum between PyTorch and Keras,
# - explain why the running variances differ, and by how much,
# - recognise a forgotten `eval()`, and say what "frozen" means in each framework.
#
# **Time:** about 90 minutes to work through; the cells run in under a minute.
#
# **You need** mean, variance, and the layouts NCHW and NHWC (tutorial 2).

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
import keras
import tensorflow as tf
from keras import layers
from resnet_tf.layers import BatchNormalization
from shared.networks import get_spec
from shared.data import load_data
from shared.base import BLUE, GREEN, GREY, ORANGE
from shared.checkpoints import read_trained
from shared.networks import layer_table

torch.manual_seed(0)
keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)

# %% [markdown]
# ## What it computes
#
# BatchNorm looks at one channel at a time, and at all pixels of all images of the batch together. It
# subtracts the mean of these numbers and divides by their standard deviation. Then it multiplies by a
# learned number `gamma` and adds a learned number `beta`, one of each per channel.
#
# Here is a batch of 16 feature maps with three channels, which differ in mean and width.

# %%
scales, shifts = np.array([0.5, 2.0, 5.0]), np.array([-3.0, 0.0, 8.0])
x_keras = rng.standard_normal((16, 6, 6, 3)) * scales + shifts  # (N, H, W, C), float64
x_torch = x_keras.transpose(0, 3, 1, 2).copy()  # (N, C, H, W)
print("Keras", x_keras.shape, " PyTorch", x_torch.shape)
assert x_keras.shape == (16, 6, 6, 3)
assert x_torch.shape == (16, 3, 6, 6)


def normalize(x: np.ndarray, axes: tuple[int, ...], eps: float = 1e-5) -> np.ndarray:
    mean = x.mean(axis=axes, keepdims=True)  # (1, C, 1, 1) or (1, 1, 1, C)
    variance = x.var(axis=axes, keepdims=True)  # divided by n: the biased variance
    return (x - mean) / np.sqrt(variance + eps)  # eps: so that nothing is divided by zero


out_torch = normalize(x_torch, axes=(0, 2, 3))  # all axes but C, which is axis 1
out_keras = normalize(x_keras, axes=(0, 1, 2))  # all axes but C, which is axis 3
assert out_torch.shape == x_torch.shape
assert out_keras.shape == x_keras.shape
print("the same numbers:", np.allclose(out_torch.transpose(0, 2, 3, 1), out_keras))
assert np.allclose(out_torch.transpose(0, 2, 3, 1), out_keras)
assert np.allclose(out_keras.mean(axis=(0, 1, 2)), 0)
assert np.allclose(out_keras.std(axis=(0, 1, 2)), 1, atol=1e-3)

# %%
figure, (before, after) = plt.subplots(1, 2, figsize=(10, 3), layout="constrained", sharey=True)
for channel, (colour, line) in enumerate(((BLUE, "-"), (ORANGE, "--"), (GREEN, ":"))):
    look = {"color": colour, "linestyle": line, "linewidth": 2, "histtype": "step"}
    label = f"channel {channel}"
    before.hist(x_keras[..., channel].ravel(), np.linspace(-15, 25, 81), label=label, **look)
    after.hist(out_keras[..., channel].ravel(), np.linspace(-4, 4, 41), label=label, **look)
before.set(xlabel="value", ylabel="how many", title="before BatchNorm")
after.set(xlabel="value", title="after BatchNorm (gamma 1, beta 0)")
before.legend(frameon=False)
plt.show()

# %% [markdown]
# Take the wrong axes, and nothing stops you. With (0, 2, 3) on Keras' layout, each *row* of the
# picture gets a mean of its own, over all channels mixed:

# %%
wrong = normalize(x_keras, axes=(0, 2, 3))
print("shape", wrong.shape, " means of the channels:", wrong.mean(axis=(0, 1, 2)).round(1).tolist())
assert wrong.shape == x_keras.shape
assert np.abs(wrong.mean(axis=(0, 1, 2))).min() > 0.2

# %% [markdown]
# Now the real layers, in training mode and in float64, where rounding is tiny. With the epsilon given,
# both compute what we did.


# %%
def batch_norm_torch(channels: int, **options: float) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, **options).double()


def batch_norm_keras(channels: int, kind: type = layers.BatchNormalization, **options: float):
    layer = kind(dtype="float64", **options)
    layer.build((None, None, None, channels))
    return layer


real_torch = batch_norm_torch(3, eps=1e-5).train()(torch.from_numpy(x_torch)).detach().numpy()
real_keras = np.asarray(batch_norm_keras(3, epsilon=1e-5)(x_keras, training=True))
print("PyTorch", real_torch.shape, "equal to 1e-6:", np.abs(real_torch - out_torch).max() < 1e-6)
print("Keras  ", real_keras.shape, "equal to 1e-6:", np.abs(real_keras - out_keras).max() < 1e-6)
assert real_torch.shape == (16, 3, 6, 6)
assert real_keras.shape == (16, 6, 6, 3)
assert np.abs(real_torch - out_torch).max() < 1e-6
assert np.abs(real_keras - out_keras).max() < 1e-6

# %% [markdown]
# ## Disagreement 1: epsilon
#
# What if you do not give the epsilon?

# %%
print("PyTorch: eps =", nn.BatchNorm2d(3).eps)
print("Keras:   epsilon =", layers.BatchNormalization().epsilon)
assert nn.BatchNorm2d(3).eps == 1e-5
assert layers.BatchNormalization().epsilon == 1e-3

# %% [markdown]
# Keras adds a number that is a hundred times larger. For a channel with variance 1 it hardly matters.
# But the standard deviation of the output is the root of `variance / (variance + eps)`, and for small
# variances that is not 1 any more. We give both layers channels of smaller and smaller variance:

# %%
variances = 10.0 ** np.arange(-8, 2)
noise = rng.standard_normal((64, 8, 8, len(variances)))
noise = (noise - noise.mean(axis=(0, 1, 2))) / noise.std(axis=(0, 1, 2))  # exactly 0 and 1
small_keras = noise * np.sqrt(variances)  # (N, H, W, C)
small_torch = torch.from_numpy(small_keras.transpose(0, 3, 1, 2).copy())  # (N, C, H, W)

deviations = {
    "PyTorch": batch_norm_torch(10)(small_torch).detach().numpy().std(axis=(0, 2, 3)),
    "Keras": np.asarray(batch_norm_keras(10)(small_keras, training=True)).std(axis=(0, 1, 2)),
}
for (name, seen), eps in zip(deviations.items(), (1e-5, 1e-3)):
    print(f"{name:<8} variance 1: {seen[8]:.3f}   variance 0.0001: {seen[4]:.3f}")
    assert seen.shape == (10,)
    assert np.allclose(seen, np.sqrt(variances / (variances + eps)))
assert deviations["PyTorch"][4].round(2) == 0.95 and deviations["Keras"][4].round(2) == 0.30

figure, ax = plt.subplots(figsize=(7.5, 3.4), layout="constrained")
ax.semilogx(variances, deviations["PyTorch"], "o-", color=BLUE, label="PyTorch, eps 1e-5")
ax.semilogx(variances, deviations["Keras"], "s--", color=ORANGE, label="Keras, epsilon 1e-3")
ax.axhline(1, color=GREY, linewidth=1)
for eps, colour in ((1e-5, BLUE), (1e-3, ORANGE)):
    ax.axvline(eps, color=colour, linestyle=":")
ax.set(xlabel="variance of the channel", ylabel="standard deviation of the output")
ax.set_title("Dotted: where the variance is equal to epsilon")
ax.grid(alpha=0.3)
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# Does it matter in practice? It depends on the variances that the network has. Here is the small
# network that ships with the package, trained with 1e-5, once with each epsilon:

# %%
trained = read_trained("resnet8_digits")
test = load_data("digits").test
images, labels = trained.inputs.prepare(test.images), test.labels  # (N, H, W, C), (N,)
assert images.shape == (360, 8, 8, 1)

twin_torch = resnet_torch.create_model(trained.spec)
resnet_torch.set_weights(twin_torch, trained.arrays)
images_torch = resnet_torch.from_nhwc(images, twin_torch)  # (N, C, H, W)
logits = resnet_torch.forward(twin_torch, images_torch)  # (N, 10)

other_eps = resnet_torch.create_model(get_spec(trained.spec, norm_eps=1e-3))
resnet_torch.set_weights(other_eps, trained.arrays)
other_logits = resnet_torch.forward(other_eps, images_torch)

kept = [v for name, v in trained.arrays.items() if name.endswith("running_var")]
print(f"smallest variance in the network: {np.concatenate(kept).min():.2f}")
print(f"largest change of a logit: {np.abs(logits - other_logits).max():.2f}", end=", ")
print(f"largest logit: {np.abs(logits).max():.0f}")
print("predictions that change:", (logits.argmax(1) != other_logits.argmax(1)).sum(), "of 360")
assert logits.shape == other_logits.shape == (360, 10)
assert np.concatenate(kept).min() > 0.1
assert 1e-2 < np.abs(logits - other_logits).max() < 0.2
assert (logits.argmax(1) == other_logits.argmax(1)).all()

# %% [markdown]
# Here no variance is small, and no prediction changes. But the logits change far more than rounding
# would change them, and a check to 1e-5 fails. The rule costs nothing: **always write the epsilon**.
#
# ## Prediction is another function
#
# In training, the output for one image depends on the other images of its batch. For predictions that
# is not wanted. So the layer keeps a **running mean** and a **running variance**, updates them with
# each batch, and uses them in place of the batch's own in **evaluation mode**.
#
# | | in training | in evaluation |
# | --- | --- | --- |
# | normalises by | mean and variance of this batch | running mean and running variance |
# | running statistics | updated | left alone |
# | gamma and beta | used | used |
#
# Here is all of it in NumPy. Two lines are marked: there the frameworks go different ways.


# %%
class BatchNormNumpy:
    def __init__(self, shape: tuple[int, ...], *, eps: float, keep: float, unbiased: bool) -> None:
        self.axes = tuple(axis for axis, size in enumerate(shape) if size == 1)  # all but C
        self.gamma, self.beta = np.ones(shape), np.zeros(shape)
        self.running_mean, self.running_var = np.zeros(shape), np.ones(shape)
        self.eps, self.keep, self.unbiased = eps, keep, unbiased

    def __call__(self, x: np.ndarray, training: bool) -> np.ndarray:
        mean, variance = self.running_mean, self.running_var
        if training:
            mean = x.mean(axis=self.axes, keepdims=True)
            variance = x.var(axis=self.axes, keepdims=True)  # biased, in both frameworks
            n = x.size // mean.size  # numbers in each channel
            remembered = variance * n / (n - 1) if self.unbiased else variance  # they differ here
            self.running_mean = self.keep * self.running_mean + (1 - self.keep) * mean  # and here
            self.running_var = self.keep * self.running_var + (1 - self.keep) * remembered
        return self.gamma * (x - mean) / np.sqrt(variance + self.eps) + self.beta


ours = BatchNormNumpy((1, 1, 1, 3), eps=1e-5, keep=0.9, unbiased=True)
for _ in range(100):
    ours(x_keras, training=True)
evaluated = ours(x_keras[:1], training=False)  # one image alone
print("one image:", evaluated.shape, " running mean:", ours.running_mean.ravel().round(1).tolist())
assert evaluated.shape == (1, 6, 6, 3)
assert np.allclose(evaluated, out_keras[:1], atol=1e-2)

# %% [markdown]
# ## Disagreement 2: momentum
#
# Both frameworks mix the old running mean with the mean of the batch. Both call the share `momentum`.
# But PyTorch means the share of the **new** one, and Keras that of the **old** one:
#
# | | formula | default |
# | --- | --- | --- |
# | PyTorch | `running = (1 - momentum) * running + momentum * batch` | 0.1 |
# | Keras | `moving = momentum * moving + (1 - momentum) * batch` | 0.99 |
#
# So PyTorch's 0.1 is Keras' 0.9, and the defaults are *not* translations of each other. What does this
# mean in steps? The running mean starts at 0. We feed batches whose mean is about 1, and watch it. The
# thin grey curve belongs to somebody who copied the number 0.1 from PyTorch to Keras.

# %%
steps = 500
batches = 1 + 0.2 * rng.standard_normal((steps, 4, 1, 1, 1))  # (step, N, H, W, C): 4 numbers each
mean_torch = batch_norm_torch(1)  # momentum 0.1
means_keras = {m: batch_norm_keras(1, momentum=m) for m in (0.9, 0.99, 0.1)}
history = {"PyTorch, default 0.1": []} | {f"Keras, momentum={m}": [] for m in means_keras}
for batch in batches:
    mean_torch(torch.from_numpy(batch.transpose(0, 3, 1, 2)))
    history["PyTorch, default 0.1"].append(mean_torch.running_mean.item())
    for m, layer in means_keras.items():
        layer(batch, training=True)
        history[f"Keras, momentum={m}"].append(float(layer.moving_mean.numpy()[0]))

same = np.abs(np.subtract(history["PyTorch, default 0.1"], history["Keras, momentum=0.9"])).max()
print("PyTorch's 0.1 is Keras' 0.9, to 1e-6:", same < 1e-6)
assert same < 1e-6

looks = {
    "PyTorch, default 0.1": (BLUE, "-", 3),
    "Keras, momentum=0.9": ("black", ":", 1.5),
    "Keras, momentum=0.99": (ORANGE, "--", 2),
    "Keras, momentum=0.1": (GREY, "-", 0.7),
}
notes = {"Keras, momentum=0.99": " (default)", "Keras, momentum=0.1": " (copied)"}
figure, ax = plt.subplots(figsize=(9, 3.4), layout="constrained")
for name, values in reversed(history.items()):
    colour, line, width = looks[name]
    label = name + notes.get(name, "")
    order = {"zorder": 3} if line == ":" else {}
    look = {"color": colour, "linewidth": width, "label": label}
    ax.plot(range(1, steps + 1), values, line, **look, **order)
ax.axhline(0.99, color=GREEN, linestyle="-.", linewidth=1, label="99% of the way")
ax.set(
    xlabel="step", ylabel="running mean", title="How fast the running mean learns (batch means ≈ 1)"
)
ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# PyTorch is there after some dozens of steps. Keras' default takes hundreds. And the copied 0.1
# remembers nearly nothing: it jumps with every batch. For a constant batch mean of 1 the running mean
# after k steps is `1 - keep ** k`, so we can count:


# %%
def steps_to_99_percent(keep: float) -> int:
    running, count = 0.0, 0
    while running < 0.99:
        running, count = keep * running + (1 - keep) * 1.0, count + 1
    return count


for name, keep in (("PyTorch's default", 0.9), ("Keras' default", 0.99), ("copied 0.1", 0.1)):
    print(f"{name:<18} keeps {keep:<5} {steps_to_99_percent(keep):>4} steps to 99%")
assert [steps_to_99_percent(keep) for keep in (0.9, 0.99, 0.1)] == [44, 459, 2]

# %% [markdown]
# Does it matter? Only for a network that was trained for a short time. We train the digits network in
# Keras, with both momenta, for one epoch (23 steps) and for eight. The training is the same in both;
# only what is remembered differs. Beside the usual test we show one in training mode, with all test
# images as one batch, which does not need the running statistics.

# %% tags=["machine"]
digits = load_data("digits")
train_images = trained.inputs.prepare(digits.train.images)  # (N, H, W, C)
steps_per_epoch = -(-len(train_images) // 64)
assert steps_per_epoch == 23
scores = {}
for epochs in (1, 8):
    for momentum in (0.9, 0.99):
        spec = get_spec(trained.spec, norm_momentum=1 - momentum)  # the package counts as PyTorch
        model = resnet_tf.create_model(spec, seed=0)
        keras.utils.set_random_seed(0)
        model.compile(
            keras.optimizers.SGD(0.05, momentum=0.9),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        model.fit(train_images, digits.train.labels, batch_size=64, epochs=epochs, verbose=0)
        found = []
        for training in (False, True):
            logits = resnet_tf.forward(model, images, training=training)  # (N, 10)
            assert logits.shape == (360, 10)
            found.append(int((logits.argmax(axis=1) == labels).sum()))
        scores[epochs, momentum] = found
        print(f"epochs: {epochs}, momentum {momentum:<5}", end=" ")
        print(f"evaluation mode: {found[0]} right, training mode: {found[1]} right, of 360")
assert scores[1, 0.99][0] < scores[1, 0.99][1] - 20  # the running statistics are not there yet
assert scores[1, 0.9][0] > scores[1, 0.99][0] + 20
assert scores[8, 0.99][0] > 330

# %% [markdown]
# With 0.99, the network after one epoch is better than its test says: the running statistics are still
# on their way. After eight epochs it has healed. So a validation that is bad in the first epochs and
# then recovers may have this cause.
#
# ## Disagreement 3: the running variance
#
# The variance of n numbers can be divided by n (**biased**) or by n - 1 (**unbiased**). Both frameworks
# *normalise* with the biased one. But PyTorch *remembers* the unbiased one, and Keras the biased one.
# Their ratio is n / (n - 1), where n is the number of values in a channel: N · H · W. We ask the layers
# with batches of three sizes:

# %%
print("      n   n / (n - 1)   seen in the layers")
for shape in ((4, 1, 1), (4, 4, 4), (10, 100, 100)):
    n = int(np.prod(shape))
    x = rng.standard_normal((*shape, 1))  # (N, H, W, 1)
    layer_torch = batch_norm_torch(1, momentum=1.0)  # the new one only
    layer_torch(torch.from_numpy(x.transpose(0, 3, 1, 2)))
    layer_keras = batch_norm_keras(1, momentum=0.0)  # the new one only
    layer_keras(x, training=True)
    kept_torch, kept_keras = layer_torch.running_var.item(), float(layer_keras.moving_variance[0])
    print(f"{n:>7,}   {n / (n - 1):.6f}      {kept_torch / kept_keras:.6f}")
    assert np.isclose(kept_torch, x.var(ddof=1))
    assert np.isclose(kept_keras, x.var(ddof=0))
    assert np.isclose(kept_torch / kept_keras, n / (n - 1))
assert n == 100_000

# %% [markdown]
# With 4 numbers the difference is a third, with 64 it is 1.6%, with 100,000 nothing that you would
# notice. The last stage of a ResNet on small images has few numbers, so there it shows. It never
# changes the training loss, because running statistics are not used in training. It changes what
# comes out in evaluation mode.

# %%
for n in (4, 64, 100_000):
    print(f"{n:>7,} numbers: PyTorch's running variance is {100 / (n - 1):.3f}% larger")
assert round(100 / 63, 1) == 1.6

# %% [markdown]
# ## Match them
#
# Now we know enough to predict all running statistics. Five steps with random batches, in float64. Our
# NumPy layer speaks PyTorch's dialect with `unbiased=True`, and Keras' with `unbiased=False`. The
# package has a third layer: `resnet_tf.layers.BatchNormalization`, which is Keras' layer with
# PyTorch's running variance.

# %%
torch_layer = batch_norm_torch(3, eps=1e-5, momentum=0.1)
keras_layer = batch_norm_keras(3, epsilon=1e-5, momentum=0.9)
package_layer = batch_norm_keras(3, BatchNormalization, epsilon=1e-5, momentum=0.9)
like_torch = BatchNormNumpy((1, 3, 1, 1), eps=1e-5, keep=0.9, unbiased=True)
like_keras = BatchNormNumpy((1, 1, 1, 3), eps=1e-5, keep=0.9, unbiased=False)
for _ in range(5):
    x = rng.standard_normal((8, 2, 2, 3)) * scales + shifts  # (N, H, W, C), n = 32
    x_first = x.transpose(0, 3, 1, 2).copy()  # (N, C, H, W)
    torch_layer(torch.from_numpy(x_first))
    keras_layer(x, training=True)
    package_layer(x, training=True)
    like_torch(x_first, training=True)
    like_keras(x, training=True)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape == (3,)
    return float(np.abs(a - b).max())


mean_torch, var_torch = torch_layer.running_mean.numpy(), torch_layer.running_var.numpy()
mean_keras, var_keras = keras_layer.moving_mean.numpy(), keras_layer.moving_variance.numpy()
pairs = {
    "running mean,     NumPy and PyTorch": (like_torch.running_mean.ravel(), mean_torch),
    "running mean,     NumPy and Keras": (like_keras.running_mean.ravel(), mean_keras),
    "running mean,     PyTorch and Keras": (mean_torch, mean_keras),
    "running variance, NumPy and PyTorch": (like_torch.running_var.ravel(), var_torch),
    "running variance, NumPy and Keras": (like_keras.running_var.ravel(), var_keras),
    "running variance, PyTorch and Keras": (var_torch, var_keras),
    "running variance, PyTorch and the package's Keras layer": (
        var_torch,
        package_layer.moving_variance.numpy(),
    ),
}
equal = {name: distance(*pair) < 1e-6 for name, pair in pairs.items()}
for name, answer in equal.items():
    print(f"{name:<56} equal to 1e-6: {answer}")
assert [name for name, answer in equal.items() if not answer] == [
    "running variance, PyTorch and Keras"
]
assert distance(var_torch, var_keras) > 1e-2

# %% [markdown]
# How does the package do it? It does not write BatchNorm anew. It lets Keras' layer run, and looks at
# what this added to the running variance: that is `(1 - momentum) * biased`. Then it adds the missing
# part. Since `n / (n - 1) = 1 + 1 / (n - 1)`, the missing part is what was added, divided by `n - 1`:

# %%
start, momentum, n = 1.0, 0.9, 32
biased = 25.0
by_keras = momentum * start + (1 - momentum) * biased
added = by_keras - momentum * start  # (1 - momentum) * biased
corrected = by_keras + added / (n - 1)
by_torch = momentum * start + (1 - momentum) * biased * n / (n - 1)
print(f"Keras {by_keras:.4f}, corrected {corrected:.4f}, PyTorch {by_torch:.4f}")
assert np.isclose(corrected, by_torch)

# %% [markdown]
# ## Which mode am I in?
#
# In PyTorch the mode is a property of the *module*: `model.train()`, `model.eval()`. A new module is in
# training mode. In Keras it is an argument of the *call*: `model(x, training=True)`. Without the
# argument a call from your own code is in evaluation mode, and `fit` sets it to `True`.

# %%
fresh_torch, fresh_keras = batch_norm_torch(3), batch_norm_keras(3)
fresh_torch(torch.from_numpy(x_torch))
fresh_keras(x_keras)
print("PyTorch, new module: running mean moved?", bool(fresh_torch.running_mean.any()))
print("Keras, plain call:   running mean moved?", bool(fresh_keras.moving_mean.numpy().any()))
assert fresh_torch.running_mean.any()
assert not fresh_keras.moving_mean.numpy().any()

# %% [markdown]
# ### Frozen
#
# For fine-tuning one freezes layers. In PyTorch `requires_grad_(False)` stops the gradients, and
# *nothing else*: the running statistics still move, and the batch is still used. In Keras
# `layer.trainable = False` does more for a BatchNorm: it also **puts it into evaluation mode**, even
# when called with `training=True`.

# %%
frozen_torch, frozen_keras = batch_norm_torch(3).requires_grad_(False), batch_norm_keras(3)
frozen_keras.trainable = False
out_torch = frozen_torch.train()(torch.from_numpy(x_torch)).numpy()  # (N, C, H, W)
out_keras = np.asarray(frozen_keras(x_keras, training=True))  # (N, H, W, C)
print("PyTorch: running mean moved?", bool(frozen_torch.running_mean.any()), end="   ")
print("mean of the output 0?", np.allclose(out_torch.mean(axis=(0, 2, 3)), 0))
print("Keras:   running mean moved?", bool(frozen_keras.moving_mean.numpy().any()), end="  ")
print("mean of the output 0?", np.allclose(out_keras.mean(axis=(0, 1, 2)), 0))
assert out_torch.shape == (16, 3, 6, 6) and out_keras.shape == (16, 6, 6, 3)
assert frozen_torch.running_mean.any()
assert not frozen_keras.moving_mean.numpy().any()
assert np.allclose(out_keras, x_keras / np.sqrt(1 + 1e-3))  # the start values: mean 0, variance 1

# %% [markdown]
# ## Why the convolution in front has no bias
#
# Everywhere in a ResNet you read `bias=False` and `use_bias=False`. A bias adds the same number to a
# whole channel. The BatchNorm after it subtracts the mean of the channel, and the bias with it. So in
# training mode a bias changes nothing, and its gradient is zero:

# %%
conv = nn.Conv2d(3, 4, 3, padding=1).double()
norm = batch_norm_torch(4)
targets = torch.from_numpy(rng.standard_normal((16, 4, 6, 6)))
plain = norm(nn.functional.conv2d(torch.from_numpy(x_torch), conv.weight, padding=1))
nn.init.constant_(conv.bias, 100.0)
biased_out = norm(conv(torch.from_numpy(x_torch)))  # (N, 4, H, W)
((biased_out - targets) ** 2).mean().backward()
print("PyTorch: equal to 1e-6 with a bias of 100:", (biased_out - plain).abs().max().item() < 1e-6)
print("         gradient of the bias below 1e-6:", conv.bias.grad.abs().max().item() < 1e-6)
print("         gradient of the kernel above 1e-3:", conv.weight.grad.abs().max().item() > 1e-3)
assert biased_out.shape == (16, 4, 6, 6)
assert (biased_out - plain).abs().max() < 1e-6
assert conv.bias.grad.abs().max() < 1e-6 < 1e-3 < conv.weight.grad.abs().max()

conv_keras = layers.Conv2D(4, 3, padding="same", dtype="float64")
conv_keras.build((None, None, None, 3))
norm_keras = batch_norm_keras(4)
plain_keras = norm_keras(conv_keras(x_keras), training=True)
conv_keras.bias.assign(np.full(4, 100.0))
with tf.GradientTape() as tape:
    biased_keras = norm_keras(conv_keras(x_keras), training=True)  # (N, H, W, 4)
    loss = tf.reduce_mean((biased_keras - targets.numpy().transpose(0, 2, 3, 1)) ** 2)
gradient = np.asarray(tape.gradient(loss, conv_keras.bias.value))
print(
    "Keras:   equal to 1e-6 with a bias of 100:", np.allclose(biased_keras, plain_keras, atol=1e-6)
)
print("         gradient of the bias below 1e-6:", np.abs(gradient).max() < 1e-6)
assert biased_keras.shape == (16, 6, 6, 4)
assert np.allclose(biased_keras, plain_keras, atol=1e-6)
assert np.abs(gradient).max() < 1e-6

# %% [markdown]
# And in evaluation mode? There the *running* mean is subtracted, and it has seen the bias too. We let a
# layer remember the last batch only, and look:

# %%
outputs = []
for bias in (0.0, 100.0):
    norm = batch_norm_torch(4, momentum=1.0)
    nn.init.constant_(conv.bias, bias)
    with torch.no_grad():
        features = conv(torch.from_numpy(x_torch))  # (N, 4, H, W)
        norm.train()(features)
        outputs.append(norm.eval()(features))
    print(f"bias {bias:>5}: running mean of channel 0 is {norm.running_mean[0].item():>6.2f}")
    assert outputs[-1].shape == (16, 4, 6, 6)
print("equal to 1e-6 in evaluation mode:", torch.allclose(*outputs, atol=1e-6))
assert torch.allclose(*outputs, atol=1e-6)

# %% [markdown]
# A bias costs memory and time for nothing. `beta` has taken its place.
#
# ## One value per channel
#
# A single image of 1×1 pixels has one number in each channel. Its mean is the number itself, its
# variance 0. What can a BatchNorm do with it in training?

# %%
single = np.array([[[[5.0, -2.0, 7.0]]]])  # (N, H, W, C) = (1, 1, 1, 3)
refused = False
try:
    batch_norm_torch(3)(torch.from_numpy(single.transpose(0, 3, 1, 2)))
except ValueError as error:
    refused = True
    print("PyTorch: ValueError:", str(error).split(",")[0])
seen_keras = np.asarray(batch_norm_keras(3)(single, training=True))
print("Keras:  ", seen_keras.ravel().tolist())
assert refused
assert seen_keras.shape == (1, 1, 1, 3)
assert not seen_keras.any()

stage = [row for row in layer_table(get_spec("resnet18"), input_size=32) if row.stage == "layer4"]
print("the last stage of ResNet-18 for 32×32 pixels:", stage[-1].output_shape)
assert stage[-1].output_shape == (512, 1, 1)

# %% [markdown]
# PyTorch refuses. Keras returns zeros: (x - x) / sqrt(0 + eps). The image is gone, and nobody is told.
# It happens in earnest: in the last stage of a ResNet-18, an image of 32×32 pixels has one pixel left,
# and the last batch of an epoch may hold one image.
#
# ## The forgotten `eval()`
#
# This is a classic mistake with BatchNorm, so let us see what it looks like. The network
# `resnet8_digits` gets 359 of 360 digits right. Now we leave it in training mode.
#
# **Predict before you run the next cell** (exercise 1): a test with batches of 32 digits, in training
# mode. How many of 360 are right if the digits come in random order? And how many if they are sorted,
# first all zeros, then all ones, and so on? The weights and the images are the same.


# %%
def count_right(order: np.ndarray, size: int, training: bool, package, model) -> int:
    right = 0
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        batch = package.from_nhwc(images[chosen], model)
        logits = package.forward(model, batch, training=training)  # (N, 10)
        assert logits.shape == (len(chosen), 10)
        right += int((logits.argmax(axis=1) == labels[chosen]).sum())
    package.set_weights(model, trained.arrays)  # training mode has moved the running statistics
    return right


twin_keras = resnet_tf.create_model(trained.spec)
resnet_tf.set_weights(twin_keras, trained.arrays)
shuffled = np.random.default_rng(0).permutation(360)
by_class = np.argsort(labels, kind="stable")
counts = {}
for name, package, model in (
    ("PyTorch", resnet_torch, twin_torch),
    ("Keras", resnet_tf, twin_keras),
):
    counts[name] = [
        count_right(shuffled, 32, False, package, model),
        count_right(by_class, 32, False, package, model),
        count_right(shuffled, 32, True, package, model),
        count_right(by_class, 32, True, package, model),
    ]
    print(
        f"{name:<8} evaluation mode: {counts[name][0]} shuffled, {counts[name][1]} sorted;", end=" "
    )
    print(f"training mode: {counts[name][2]} shuffled, {counts[name][3]} sorted")
assert counts["PyTorch"] == counts["Keras"] == [359, 359, 357, 143]

# %% [markdown]
# In random order nearly nothing is lost, which is why the mistake can live for a long time. In sorted
# order, as when one reads one folder after the other, more than half is lost. Why? In a batch of zeros,
# what all zeros have in common *is* the mean, and BatchNorm subtracts it. What is left is how each zero
# differs from the others. The network does not see a zero any more.
#
# So the answer for **one** digit depends on its neighbours. Here is one zero. Each time it stands in a
# batch with 15 other digits, all of one class:

# %%
number = 11  # this digit of the test set
print("its class:", labels[number])
answers = []
for neighbours in range(10):
    others = [i for i in np.flatnonzero(labels == neighbours) if i != number][:15]
    batch = resnet_torch.from_nhwc(images[[number, *others]], twin_torch)
    found = resnet_torch.forward(twin_torch, batch, training=True)  # (16, 10)
    assert found.shape == (16, 10)
    answers.append(int(found[0].argmax()))
resnet_torch.set_weights(twin_torch, trained.arrays)
alone = resnet_torch.forward(twin_torch, resnet_torch.from_nhwc(images[[number]], twin_torch))
print("evaluation mode:", alone.argmax())
print("training mode, with neighbours of the classes 0 to 9:", answers)
assert alone.argmax() == labels[number] == 0
assert len(set(answers)) >= 4 and answers[0] != 0

figure, axes = plt.subplots(1, 11, figsize=(11, 1.9), layout="constrained")
shown = [number] + [
    np.flatnonzero((labels == c) & (np.arange(360) != number))[0] for c in range(10)
]
for ax, index, answer in zip(axes, shown, [alone.argmax(), *answers]):
    ax.imshow(test.images[index, :, :, 0], cmap="gray")
    ax.set(xticks=[], yticks=[])
    ax.set_title(f"“{answer}”", color=BLUE if answer == 0 else ORANGE)
    ax.set_xlabel("alone" if ax is axes[0] else "+ 15 of these", fontsize=8)
figure.suptitle("The zero on the left: what the network says of it, alone and among neighbours")
plt.show()

# %% [markdown]
# The same for a hundred digits, ten of each class, and the accuracy for all batch sizes:

# %% tags=["cover", "machine"]
sizes = (2, 4, 8, 16, 32, 64, 128, 360)
curves = {
    name: [100 / 360 * count_right(order, s, True, resnet_torch, twin_torch) for s in sizes]
    for name, order in (("shuffled", shuffled), ("sorted", by_class))
}
table = np.zeros((10, 10))
for digit in range(10):
    for neighbours in range(10):
        others = np.flatnonzero(labels == neighbours)
        for i in np.flatnonzero(labels == digit)[:10]:
            batch = images[[i, *others[others != i][-15:]]]
            batch = resnet_torch.from_nhwc(batch, twin_torch)
            found = resnet_torch.forward(twin_torch, batch, training=True)[0]
            table[digit, neighbours] += 10 * (found.argmax() == digit)  # percent: 10 digits
resnet_torch.set_weights(twin_torch, trained.arrays)

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.3), layout="constrained")
left.axhline(100 * 359 / 360, color=GREEN, linestyle=":", linewidth=2, label="evaluation mode")
left.plot(sizes, curves["shuffled"], "o-", color=BLUE, label="training mode, shuffled")
left.plot(sizes, curves["sorted"], "s--", color=ORANGE, label="training mode, sorted by class")
left.set_xscale("log", base=2)
left.set_xticks(sizes, sizes)
left.minorticks_off()
left.set(xlabel="batch size (images)", ylabel="right (%)", title="360 digits", ylim=(0, 104))
left.grid(alpha=0.3)
left.legend(frameon=False, loc="lower right")
image = right.imshow(table, cmap="cividis", vmin=0, vmax=100)
right.set_xticks(range(10))
right.set_yticks(range(10))
right.set(xlabel="class of its 15 neighbours", ylabel="class of the digit")
right.set_title("training mode: is the digit recognised?")
figure.colorbar(image, ax=right, label="right (%), of 10 digits")
plt.show()

own, others = table.diagonal().mean(), table[~np.eye(10, dtype=bool)].mean()
print(f"among its own class: {own:.0f}% right; among another class: {others:.0f}% right")
assert own + 20 < others
assert curves["sorted"][0] < 25 and curves["shuffled"][0] > 70

# %% [markdown]
# The dark diagonal says it: a digit is hardest to recognise **among its own kind**. Larger batches
# help, because they mix more classes; the largest holds all digits, and there the order makes no
# difference.
#
# ## Three sentences to remember
#
# 1. BatchNorm normalises each channel over N, H and W, by the batch in training and by running
#    statistics in evaluation: two functions in one layer.
# 2. Write epsilon and momentum always: PyTorch's (1e-5, 0.1) is Keras' (1e-5, 0.9), Keras' defaults are
#    (1e-3, 0.99), and PyTorch remembers the variance times n / (n - 1).
# 3. If results depend on the order of the test images, look for a forgotten `eval()` or a
#    `training=True`.
#
# ## Exercises
#
# Worked solutions: [solutions/04_batchnorm.ipynb](solutions/04_batchnorm.ipynb).
#
# 1. **Predict.** Before you run the cell under "The forgotten `eval()`": how many of 360 digits are
#    right in training mode, shuffled and sorted? Write down two numbers and a reason. Then: what
#    happens if you *evaluate* correctly, but after somebody ran 50 batches of ones through the network
#    in training mode?
# 2. **Epsilon.** At which variance does the output have half of the standard deviation that it should
#    have? Find it for both defaults, first with a pencil, then with a layer.
# 3. **The copied momentum.** Give a Keras layer `momentum=0.1`, as in PyTorch. How strongly does its
#    running mean jump from batch to batch, compared with the batch means themselves? And with 0.9 and
#    0.99?
# 4. **Folding.** In evaluation mode a BatchNorm is a multiplication and an addition, so it can be
#    folded into the convolution in front of it: one kernel and one bias do the work of both layers.
#    Do it for `conv1` and `bn1` of `resnet8_digits`, in PyTorch and in Keras, and check to 1e-5.
# 5. **Frozen in both.** Write a function that makes the BatchNorms of a PyTorch model behave like
#    Keras' with `trainable=False`. Somebody calls `model.train()` afterwards. What happens?
