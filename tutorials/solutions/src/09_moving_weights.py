# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Solutions to 9. Moving weights
#
# Try each exercise of [the tutorial](../09_moving_weights.ipynb) yourself before you look.

# %%
# Set-up: installs the package where it is missing (as on Colab); in a clone, from the clone.
import importlib.util
from pathlib import Path

if importlib.util.find_spec("resnet_torch") is None:
    home = next((p for p in Path.cwd().parents if (p / "resnet_torch").is_dir()), "resnet-twins")
    get_ipython().run_line_magic("pip", f'install -q "{home}[all,notebooks]"')

# %%
# %matplotlib inline
import re

import matplotlib.pyplot as plt
import numpy as np
import torch

import resnet_tf  # brings Keras, without TensorFlow's messages at the start
import resnet_torch
import keras
from shared.networks import get_spec
from shared.data import load_data
from shared.twins import examine, plant_fault
from shared.base import BLUE, GREY
from shared.checkpoints import read_trained
from shared.networks import weight_shapes

trained = read_trained("resnet8_digits")
digits = load_data("digits").test
images, labels = trained.inputs.prepare(digits.images), digits.labels
model_torch = resnet_torch.create_model(trained.spec).eval()
report = resnet_torch.set_weights(model_torch, trained.arrays)

# %% [markdown]
# ## Exercise 1: predict
#
# Harmless for the accuracy is only the wrong `eps`: it changes what BatchNorm divides by a little,
# where the variance is small. The five others spoil most layers, and what one layer spoils, the
# next cannot mend. From harmless to fatal, as the tutorial's cell printed it: `eps` (all are read),
# kernels rotated, mean and variance forgotten, and then three that end near the 36 of pure
# guessing. Nobody can predict the order of the last ones.
#
# Dangerous is the one that looks harmless. The digits are easy, and their logits lie far apart;
# this many units lie between the best and the second-best logit of the digits:

# %% tags=["machine"]
logits = resnet_torch.forward(model_torch, resnet_torch.from_nhwc(images, model_torch))
ordered = np.sort(logits, axis=1)
margins = ordered[:, -1] - ordered[:, -2]
print(f"margin: smallest {margins.min():.2f}, median {np.median(margins):.1f} units")
assert np.median(margins) > 5

# %% [markdown]
# A shift of the logits by a tenth of a unit changes an answer only where the margin is below that.
# On pictures that are less clear, more of the margins are that small.
#
# ## Exercise 2: the way back
#
# The axes (2, 3, 1, 0) turn a kernel from PyTorch's order to Keras'. The way back is the inverse
# permutation, which `np.argsort` gives: (3, 2, 0, 1). (1, 0) is its own inverse.

# %%
BACK = {
    "gamma": "weight",
    "beta": "bias",
    "bias": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "kernel": "weight",
}


def to_torch(model: keras.Model) -> dict[str, torch.Tensor]:
    state = {}
    for variable in model.variables:
        layer, kind = variable.path.rsplit("/", 1)
        array = keras.ops.convert_to_numpy(variable)
        if kind == "kernel":
            axes = (2, 3, 1, 0) if array.ndim == 4 else (1, 0)
            array = array.transpose(np.argsort(axes))
        state[f"{layer}.{BACK[kind]}"] = torch.from_numpy(array.copy())
    return state


assert tuple(np.argsort((2, 3, 1, 0))) == (3, 2, 0, 1)
there = resnet_tf.create_model(trained.spec)
resnet_tf.set_weights(there, trained.arrays)
back = to_torch(there)
print(len(back), "arrays, the kernel of conv1 is", tuple(back["conv1.weight"].shape))
assert back["conv1.weight"].shape == (16, 1, 3, 3)
assert set(back) == set(trained.arrays)
assert all(back[name].numpy().tobytes() == a.tobytes() for name, a in trained.arrays.items())
print("not one bit has changed")

returned = resnet_torch.create_model(trained.spec).eval()
print(returned.load_state_dict(back))
assert np.array_equal(
    resnet_torch.forward(returned, resnet_torch.from_nhwc(images, returned)),
    resnet_torch.forward(model_torch, resnet_torch.from_nhwc(images, model_torch)),
)

# %% [markdown]
# ## Exercise 3: names
#
# The stages of `keras.applications` are `conv2` to `conv5`, ours `layer1` to `layer4`. Their blocks
# count from 1, ours from 0. Number 0 in a block is the shortcut.

# %%
SUFFIXES = {"kernel": "weight", "gamma": "weight", "beta": "bias", "bias": "bias"}
SUFFIXES |= {"moving_mean": "running_mean", "moving_variance": "running_var"}


def our_name(name: str) -> str:
    layer, kind = name.split("/")
    suffix = SUFFIXES[kind]
    if layer == "predictions":
        return f"fc.{suffix}"
    match = re.fullmatch(r"conv(\d)_block(\d+)_(\d)_(conv|bn)", layer)
    if not match:  # conv1_conv, conv1_bn
        return f"{'conv1' if layer == 'conv1_conv' else 'bn1'}.{suffix}"
    stage, block, number, what = match.groups()
    place = f"layer{int(stage) - 1}.{int(block) - 1}"
    if number == "0":
        return f"{place}.downsample.{0 if what == 'conv' else 1}.{suffix}"
    return f"{place}.{what}{number}.{suffix}"


assert our_name("conv3_block2_1_conv/kernel") == "layer2.1.conv1.weight"
assert our_name("conv1_bn/gamma") == "bn1.weight"
assert our_name("conv2_block1_0_bn/beta") == "layer1.0.downsample.1.bias"

zoo = keras.applications.ResNet50(weights=None)
names = [our_name("/".join(variable.path.split("/")[-2:])) for variable in zoo.variables]
print(len(zoo.variables), "variables,", len(set(names)), "different names of ours")

expected = weight_shapes(get_spec("resnet50_keras"))  # name -> shape, in PyTorch's layout
assert set(names) == set(expected)
for name, variable in zip(names, zoo.variables):
    axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[len(variable.shape)]
    assert tuple(variable.shape[axis] for axis in axes) == expected[name]

# %% [markdown]
# ## Exercise 4: a hidden fault
#
# The fault with seed 16. Do not print `secret` yet.

# %%
suspect = resnet_tf.create_model(trained.spec)
report = resnet_tf.set_weights(suspect, trained.arrays)
secret = plant_fault(suspect, seed=16)

# %% [markdown]
# The comparison by hand: run both, and take the first layer whose relative difference is above
# 1e-5.

# %%
few = images[:16]
right = resnet_torch.trace(model_torch, resnet_torch.from_nhwc(few, model_torch)).activations
wrong = resnet_tf.trace(suspect, few).activations
errors = {
    n: np.abs(right[n] - wrong[n]).max() / np.abs(right[n]).max() for n in right if n in wrong
}
first = next(name for name, error in errors.items() if error > 1e-5)
print("the first layer that differs:", first)
assert first == "layer3.0.bn1"

figure, axes = plt.subplots(figsize=(9, 3.6), layout="constrained")
axes.semilogy(list(errors), [max(error, 1e-9) for error in errors.values()], "o-", color=BLUE)
axes.axhline(1e-5, color=GREY, linestyle="--", linewidth=1)
axes.tick_params(axis="x", rotation=90, labelsize=8)
axes.set(xlabel="layer, from the image to the logits", ylabel="relative error (0 is drawn at 1e-9)")
plt.show()

# %% [markdown]
# A BatchNorm with equal statistics and another result: look at gamma and beta of both.

# %%
gamma, beta = suspect.get_layer(first).get_weights()[:2]
assert np.array_equal(gamma, trained.arrays["layer3.0.bn1.bias"])
assert np.array_equal(beta, trained.arrays["layer3.0.bn1.weight"])
print("gamma and beta are exchanged")
seen = examine(trained.spec, model_torch, suspect, resnet_torch.from_nhwc(few, model_torch), few)
print("examine:", seen.first, "|", seen.cause)
print("secret: ", secret)
assert seen.first == first
assert secret.startswith(first)

# %% [markdown]
# ## Exercise 5: another head
#
# Without `new_head=True`, loading stops, changes nothing, and says which arrays do not fit. With
# it, the last layer keeps its fresh random weights, and the report names the two arrays that were
# left out.

# %%
spec = get_spec(trained.spec, num_classes=5)
for twin in (resnet_torch, resnet_tf):
    model = twin.create_model(spec, seed=0)
    try:
        twin.set_weights(model, trained.arrays)
    except ValueError as error:
        print("ValueError:", error)
    report = twin.set_weights(model, trained.arrays, new_head=True)
    print(report, "\n")
    assert set(report.misshapen) == {"fc.weight", "fc.bias"}
    assert twin.forward(model, twin.from_nhwc(images, model)).shape == (360, 5)
