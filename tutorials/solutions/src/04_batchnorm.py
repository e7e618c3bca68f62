# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Solutions to 4. BatchNorm in two dialects
#
# Try each exercise of [the tutorial](../04_batchnorm.ipynb) yourself before you look.

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
from keras import layers
from shared.data import load_data
from shared.base import BLUE, GREY, ORANGE
from shared.checkpoints import read_trained

torch.manual_seed(0)
keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)

trained = read_trained("resnet8_digits")
test = load_data("digits").test
images, labels = trained.inputs.prepare(test.images), test.labels  # (N, H, W, C), (N,)
assert images.shape == (360, 8, 8, 1)


def new_twins() -> tuple[nn.Module, keras.Model]:
    twins = resnet_torch.create_model(trained.spec), resnet_tf.create_model(trained.spec)
    resnet_torch.set_weights(twins[0], trained.arrays)
    resnet_tf.set_weights(twins[1], trained.arrays)
    return twins


def right(logits: np.ndarray, chosen: np.ndarray) -> int:
    return int((logits.argmax(axis=1) == labels[chosen]).sum())


# %% [markdown]
# ## Exercise 1: predict
#
# 357 shuffled, 143 sorted. Most people expect the same number twice, because "each image is classified
# on its own". In training mode it is not: BatchNorm subtracts what the images of a batch have in
# common. In a mixed batch that is what all digits have in common, as in training. In a batch of zeros
# it is the zero itself.

# %%
model_torch, model_keras = new_twins()
inputs = resnet_torch.from_nhwc(images, model_torch)  # (N, C, H, W)
counts = []
for order in (np.random.default_rng(0).permutation(360), np.argsort(labels, kind="stable")):
    found = 0
    for start in range(0, 360, 32):
        chosen = order[start : start + 32]
        found += right(resnet_torch.forward(model_torch, inputs[chosen], training=True), chosen)
    counts.append(found)
print("training mode: shuffled", counts[0], " sorted", counts[1])
assert counts == [357, 143]

# %% [markdown]
# The second question: training mode also *changes* the network, because the running statistics move.
# After 50 batches of ones they describe ones, not digits. The evaluation is done correctly, and still:

# %%
everyone = np.arange(360)
ones = labels == 1
for name, package, model in (
    ("PyTorch", resnet_torch, new_twins()[0]),
    ("Keras", resnet_tf, new_twins()[1]),
):
    fed = package.from_nhwc(images, model)
    for _ in range(50):
        package.forward(model, fed[ones], training=True)
    logits = package.forward(model, fed)  # evaluation mode
    assert logits.shape == (360, 10)
    hits = right(logits, everyone)
    ones_hit = right(logits[ones], everyone[ones])
    print(f"{name:<8} {hits} of 360 right; of the ones, {ones_hit} of {ones.sum()}")
    assert (hits, ones_hit, int(ones.sum())) == (307, 2, 28)

# %% [markdown]
# No weight was trained, and the network got worse. It is worst at the digit that it has just seen 50
# times, for the reason above: the running mean now *is* a one, and it is subtracted.
#
# ## Exercise 2: epsilon
#
# The deviation of the output is `sqrt(v / (v + eps))`. Half of 1 means `v / (v + eps) = 1 / 4`, so
# `4 v = v + eps` and `v = eps / 3`: 3.3e-6 in PyTorch, 3.3e-4 in Keras. In deviations that is 0.0018
# and 0.0183.

# %%
noise = rng.standard_normal((64, 8, 8, 1))
noise = (noise - noise.mean()) / noise.std()  # exactly 0 and 1
norm_torch = nn.BatchNorm2d(1).double()
norm_keras = layers.BatchNormalization(dtype="float64")
x = noise * np.sqrt(1e-5 / 3)
out_torch = norm_torch(torch.from_numpy(x.transpose(0, 3, 1, 2))).detach().numpy()
out_keras = np.asarray(norm_keras(noise * np.sqrt(1e-3 / 3), training=True))
print(f"PyTorch, deviation {np.sqrt(1e-5 / 3):.4f}: the output's is {out_torch.std():.3f}")
print(f"Keras,   deviation {np.sqrt(1e-3 / 3):.4f}: the output's is {out_keras.std():.3f}")
assert out_torch.shape == (64, 1, 8, 8) and out_keras.shape == (64, 8, 8, 1)
assert np.isclose(out_torch.std(), 0.5) and np.isclose(out_keras.std(), 0.5)
assert np.allclose([1e-5 / 3, 1e-3 / 3], [3.3e-6, 3.3e-4], rtol=0.02)

# %% [markdown]
# ## Exercise 3: the copied momentum
#
# A running mean is an average over the last batches. With `keep = 0.9` it averages over about ten of
# them, with 0.99 over about a hundred, and with 0.1 over hardly more than one. To measure how strongly
# it jumps, we give one layer 4,000 channels that all draw batches from the same distribution, and
# look at how much the channels differ in the end.

# %%
channels, steps = 4_000, 700
jumps, batch_means = {}, []
norms = {m: layers.BatchNormalization(momentum=m) for m in (0.1, 0.9, 0.99)}
for _ in range(steps):
    batch = rng.standard_normal((4, 1, 1, channels), dtype="float32")  # (N, H, W, C)
    batch_means.append(batch.mean(axis=(0, 1, 2)))
    for norm in norms.values():
        norm(batch, training=True)
scale = np.std(batch_means)
for m, norm in norms.items():
    moving = norm.moving_mean.numpy()
    assert moving.shape == (channels,)
    jumps[m] = moving.std() / scale
    theory = np.sqrt((1 - m) / (1 + m))
    print(f"momentum {m:<5} jumps by {jumps[m]:.2f} of a batch mean; theory says {theory:.2f}")
    assert np.isclose(jumps[m], theory, rtol=0.1)

figure, ax = plt.subplots(figsize=(7, 2.4), layout="constrained")
look = {"edgecolor": "white", "hatch": "//"}
ax.barh([f"momentum={m}" for m in jumps], list(jumps.values()), color=[ORANGE, BLUE, BLUE], **look)
ax.axvline(1, color=GREY, linestyle=":", label="a batch mean itself")
ax.set(xlabel="deviation of the running mean / deviation of a batch mean", xlim=(0, 1.1))
ax.invert_yaxis()
ax.legend(frameon=False, loc="lower right")
plt.show()

# %% [markdown]
# With the copied 0.1, the running mean is nearly as noisy as a single batch. Predictions then depend on
# which batch came last in the training.
#
# ## Exercise 4: folding
#
# In evaluation mode, with `scale = gamma / sqrt(variance + eps)`, a BatchNorm computes
# `scale * (conv(x) - mean) + beta`. A convolution is linear: multiplying its output channel by a
# number is the same as multiplying the kernel of that channel. So
#
# - the new kernel is `scale * kernel`, for each output channel,
# - the new bias is `beta - scale * mean`.

# %%
arrays = {
    name: trained.arrays[name] for name in trained.arrays if name.startswith(("conv1", "bn1"))
}
scale = arrays["bn1.weight"] / np.sqrt(arrays["bn1.running_var"] + trained.spec.norm_eps)  # (C',)
kernel = scale[:, None, None, None] * arrays["conv1.weight"]  # (C', C, k, k)
bias = arrays["bn1.bias"] - scale * arrays["bn1.running_mean"]  # (C',)
print("kernel", kernel.shape, " bias", bias.shape)
assert kernel.shape == (16, 1, 3, 3)
assert bias.shape == (16,)

model_torch, model_keras = new_twins()
seen_torch = resnet_torch.trace(model_torch, inputs).activations["bn1"]  # (N, C', H, W)
seen_keras = resnet_tf.trace(model_keras, images).activations["bn1"]  # (N, C', H, W) as well

folded_torch = nn.Conv2d(1, 16, 3, padding=1)
with torch.no_grad():
    folded_torch.weight.copy_(torch.from_numpy(kernel))
    folded_torch.bias.copy_(torch.from_numpy(bias))
    out_torch = folded_torch(torch.from_numpy(inputs)).numpy()

folded_keras = layers.Conv2D(16, 3, padding="same")
folded_keras.build((None, 8, 8, 1))
folded_keras.kernel.assign(kernel.transpose(2, 3, 1, 0))
folded_keras.bias.assign(bias)
out_keras = np.asarray(folded_keras(images)).transpose(0, 3, 1, 2)  # (N, C', H, W)

for name, out, seen in (("PyTorch", out_torch, seen_torch), ("Keras", out_keras, seen_keras)):
    error = np.abs(out - seen).max() / np.abs(seen).max()
    print(f"{name:<8} {out.shape} equal to 1e-5: {error < 1e-5}")
    assert out.shape == seen.shape == (360, 16, 8, 8)
    assert error < 1e-5

# %% [markdown]
# Programs that make networks faster for prediction do this wherever a BatchNorm follows a convolution:
# the BatchNorms are gone, and the output is the same up to rounding. It works in evaluation mode only.
# In training the mean and the variance are not known before the convolution has run.
#
# ## Exercise 5: frozen in both
#
# In PyTorch two things have to be done for each BatchNorm: stop the gradients, and put *that module*
# into evaluation mode.


# %%
def freeze_norms(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False)
            module.eval()


model_torch, model_keras = new_twins()
for layer in model_keras.layers:
    if isinstance(layer, layers.BatchNormalization):
        layer.trainable = False
with torch.no_grad():
    wanted = model_torch.eval()(torch.from_numpy(inputs)).numpy()  # (N, 10)
    model_torch.train()
    freeze_norms(model_torch)  # after train()
    frozen_torch = model_torch(torch.from_numpy(inputs)).numpy()
frozen_keras = np.asarray(model_keras(images, training=True))
size = np.abs(wanted).max()
print(
    "PyTorch, frozen: as in evaluation to 1e-5:", np.abs(frozen_torch - wanted).max() < 1e-5 * size
)
print(
    "Keras, frozen:   as in evaluation to 1e-5:", np.abs(frozen_keras - wanted).max() < 1e-5 * size
)
assert frozen_torch.shape == frozen_keras.shape == (360, 10)
assert np.abs(frozen_torch - wanted).max() < 1e-5 * size
assert np.abs(frozen_keras - wanted).max() < 1e-5 * size

# %% [markdown]
# Then somebody calls `model.train()`, as most training loops do at the start of each epoch. It goes
# through all modules, and puts the BatchNorms back into training mode. The gradients stay off; the
# running statistics move again.

# %%
before = model_torch.bn1.running_mean.clone()
with torch.no_grad():
    model_torch.train()(torch.from_numpy(inputs[:32]))
moved = not torch.equal(before, model_torch.bn1.running_mean)
print("running mean moved after train():", moved)
print("gamma still frozen:", not model_torch.bn1.weight.requires_grad)
assert moved and not model_torch.bn1.weight.requires_grad

# %% [markdown]
# The remedy is to call `freeze_norms` after every `train()`, or to write it into the model's own
# `train` method. In Keras there is nothing to undo: `trainable=False` stays, whatever `training` says.
