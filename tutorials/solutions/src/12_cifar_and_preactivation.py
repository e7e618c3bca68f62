# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Solutions to 12. CIFAR ResNets and identity mappings
#
# Try each exercise of [the tutorial](../12_cifar_and_preactivation.ipynb) yourself before you look.

# %%
# Set-up: installs the package where it is missing (as on Colab); in a clone, from the clone.
import importlib.util
from pathlib import Path

if importlib.util.find_spec("resnet_torch") is None:
    home = next((p for p in Path.cwd().parents if (p / "resnet_torch").is_dir()), "resnet-twins")
    get_ipython().run_line_magic("pip", f'install -q "{home}[all,notebooks]"')

# %%
# %matplotlib inline
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np

import resnet_tf  # brings Keras, without TensorFlow's messages at the start
import resnet_torch
import keras
from shared.twins import random_images
from shared.data import Inputs
from shared.networks import get_spec
from shared.data import Split, find_local, folder_path, load_data
from shared.twins import ask, evaluate, inputs_of
from shared.base import BLUE, ORANGE
from shared.checkpoints import read_trained
from shared.networks import count_parameters

# %% [markdown]
# ## Exercise 1: predict
#
# Most people expect something near 10%: noise looks like none of the ten classes, so the network
# should not know. But `resnet20_cifar` says "frog" to nearly all of it, with a median confidence above
# 0.9. It never learned what *no class* looks like. It learned features and how to weigh them, and some
# class always has the largest sum. Is that so for every kind of noise? We try four.


# %%
def softmax(logits: np.ndarray) -> np.ndarray:  # (N, 10) -> (N, 10)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


# %% tags=["machine"]
photo_weights = read_trained("resnet20_cifar")
inputs = inputs_of(photo_weights)
rng = np.random.default_rng(0)
grey = rng.integers(0, 256, (200, 32, 32, 1), dtype=np.uint8)
blocks = rng.integers(0, 256, (200, 4, 4, 3), dtype=np.uint8)
kinds = {
    "every pixel and colour at random": rng.integers(0, 256, (200, 32, 32, 3), dtype=np.uint8),
    "random grey pixels": np.repeat(grey, 3, axis=3),
    "weak noise around grey": rng.integers(118, 139, (200, 32, 32, 3), dtype=np.uint8),
    "random squares of 8 pixels": blocks.repeat(8, axis=1).repeat(8, axis=2),
}
medians = {}
for kind, pictures in kinds.items():
    assert pictures.shape == (200, 32, 32, 3)
    split = Split(images=pictures, labels=np.zeros(200, np.int64))
    logits = ask(photo_weights, split, inputs, ("torch", "tf"))
    assert (logits["torch"].argmax(1) == logits["tf"].argmax(1)).mean() > 0.99
    said = softmax(logits["torch"].astype(np.float64))
    favourite = inputs.classes[np.bincount(said.argmax(1)).argmax()]
    medians[kind] = np.median(said.max(1))
    print(f"{kind:33} median confidence {medians[kind]:.0%}, most often: {favourite}")
assert medians["every pixel and colour at random"] > 0.9
assert min(medians.values()) > 0.3

# %% [markdown]
# Weaker or coarser noise makes the network less sure. But for none of the four kinds the median comes
# near 10%.

# %% [markdown]
# ## Exercise 2: by hand
#
# A 3×3 convolution from `a` to `b` channels has 9ab numbers. A BatchNorm of `b` channels has 2b.
#
# - stem: 9 · 3 · 16 + 2 · 16 = 464
# - stage 1: 2n convolutions from 16 to 16, each with its BatchNorm: 2n · (2304 + 32) = 4672n
# - stage 2: 2n of 32 to 32, but the very first one has only 16 channels in: 2n · (9216 + 64) − 4608
# - stage 3: 2n of 64 to 64, the first one with 32 in: 2n · (36864 + 128) − 18432
# - head: 64 · 10 + 10 = 650. Option A costs nothing.
#
# Together: `97216 n − 21926`.


# %%
def by_hand(n: int) -> int:
    stem = 9 * 3 * 16 + 2 * 16
    stage1 = 2 * n * (9 * 16 * 16 + 2 * 16)
    stage2 = 2 * n * (9 * 32 * 32 + 2 * 32) - 9 * 16 * 32
    stage3 = 2 * n * (9 * 64 * 64 + 2 * 64) - 9 * 32 * 64
    return stem + stage1 + stage2 + stage3 + 64 * 10 + 10


assert (9 * 3 * 16 + 2 * 16, 2 * 2336, 9 * 16 * 32, 9 * 32 * 64) == (464, 4672, 4608, 18432)
assert (9 * 16 * 16, 9 * 32 * 32, 9 * 64 * 64) == (2304, 9216, 36864)
assert (2 * 64, 64 * 10 + 10) == (128, 650)
for depth in (20, 32, 44, 56, 110, 1202):
    n = (depth - 2) // 6
    print(f"{depth:5} layers, n = {n:3}: {by_hand(n):10,}")
    assert by_hand(n) == 97216 * n - 21926 == count_parameters(get_spec(f"resnet{depth}_cifar"))
assert round(by_hand(200) / 1e6, 1) == 19.4

# %% [markdown]
# ## Exercise 3: a bug
#
# It runs: no shape depends on the two layers. But now nothing brings the numbers on the path back to
# a fixed size, and nothing is activated before the mean. The deeper the network, the larger what
# arrives at the head. We look at the numbers before and after `bn_last`, in both frameworks.
# The logits without the two layers are the head, applied to the mean of what is in front of them.

# %%
depths, front, behind = (3, 9, 18), [], []
for n in depths:
    spec = get_spec("preact_resnet110_cifar", depths=(n, n, n))
    pictures = random_images(spec, 32, 8, seed=0).astype("float32")  # (N, H, W, C)
    spreads = []
    for framework in (resnet_torch, resnet_tf):
        model = framework.create_model(spec, seed=0)
        images = framework.from_nhwc(pictures, model)
        seen = framework.trace(model, images, training=True).activations
        path = seen[f"layer3.{n - 1}.add"]
        assert path.shape == seen["relu_last"].shape == (8, 64, 8, 8)
        spreads.append((path.std(), seen["bn_last"].std()))
    assert np.allclose(spreads[0], spreads[1], rtol=1e-3)
    front.append(spreads[0][0])
    behind.append(spreads[0][1])
    print(f"{6 * n + 2:3} layers: before bn_last {front[-1]:.1f}, after it {behind[-1]:.1f}")
assert front == sorted(front)
assert np.allclose(behind, 1, atol=0.01)

figure, axes = plt.subplots(figsize=(6.5, 3.2))
layers = [6 * n + 2 for n in depths]
axes.plot(layers, front, "s--", color=ORANGE, label="without bn_last: grows with depth")
axes.plot(layers, behind, "o-", color=BLUE, label="after bn_last")
axes.set(xlabel="layers", ylabel="standard deviation", xticks=layers, ylim=(0, None))
axes.set_title("What reaches the head of a fresh pre-activation network")
axes.grid(alpha=0.3)
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Exercise 4: wrong preparation
#
# Every way below runs without an error, and every answer looks like an answer. On the photographs, BGR
# is the most dangerous: the network loses several points, and is still right most of the time, so you
# may think that it is a bad network. Raw pixels are so large that hardly more than guessing is left.
# Digits have one channel, so BGR changes nothing there; we turn them from white on black to black on
# white instead.

# %% tags=["data", "machine"]
found = find_local("cifar10")
if found is None:
    name = "resnet8_digits"
    evaluation = evaluate(name, data="digits")
    white = load_data("digits").highest  # 16
elif found.startswith("folder:"):
    print("CIFAR-10 as JPEG copies: these are not figures of the lossless pictures.")
    name, white = "resnet20_cifar", 255
    archive = folder_path(found.removeprefix("folder:"))
    evaluation = evaluate(name, archive, limit=1_000)
else:
    name, white = "resnet20_cifar", 255
    evaluation = evaluate(name, data=found, limit=1_000)
trained = read_trained(name)
images, labels, classes = evaluation.split.images, evaluation.labels, evaluation.classes
good = replace(inputs_of(trained), highest=white)
other = white - images if white == 16 else images[..., ::-1]  # inverted, or BGR
ways: dict[str, tuple[np.ndarray, Inputs]] = {
    "right": (images, good),
    "inverted" if white == 16 else "BGR": (other, good),
    "pixels from −1 to 1": (images, replace(good, mean=(0.5,), std=(0.5,))),
    "pixels from 0 to 1": (images, replace(good, mean=(0.0,), std=(1.0,))),
    f"raw pixels, 0 to {white}": (images, replace(good, mean=(0.0,), std=(1.0,), highest=1)),
}
shares, sure = {}, {}
for way, (pictures, how) in ways.items():
    split = Split(images=np.ascontiguousarray(pictures), labels=labels)
    logits = ask(trained, split, how, ("torch", "tf"))
    counts = {
        framework: int((each.argmax(1) == labels).sum()) for framework, each in logits.items()
    }
    shares[way] = counts["torch"] / len(labels)
    sure[way] = softmax(logits["torch"].astype(np.float64)).max(1).mean()
    print(f"{way:22} right: {counts} of {len(labels):,}; mean confidence {sure[way]:.0%}")
    assert abs(counts["torch"] - counts["tf"]) <= 2
assert shares["right"] == max(shares.values())
if name == "resnet20_cifar":
    assert shares["BGR"] > 0.5
    assert shares["raw pixels, 0 to 255"] < 0.25
    assert sure["raw pixels, 0 to 255"] == max(sure.values())

figure, axes = plt.subplots(figsize=(7.5, 3.2))
places = np.arange(len(ways))
axes.barh(places - 0.2, [100 * share for share in shares.values()], 0.4, color=BLUE, label="right")
confident = [100 * share for share in sure.values()]
axes.barh(places + 0.2, confident, 0.4, color=ORANGE, hatch="//", edgecolor="white", label="says")
axes.set_yticks(places, list(ways))
axes.invert_yaxis()
axes.set(xlabel="right answers, and mean confidence (%)", xlim=(0, 100), title=name)
axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# And look at the confidence. With raw photographs nearly every answer is wrong, and the network is
# surer than ever: large inputs make large logits. It cannot tell you that something is wrong.
#
# ## Exercise 5: two maps
#
# The mean of a class map, plus the bias of that class, is the logit. So the mean of the difference of
# two maps, plus the difference of the two biases, is the **lead** of one class over the other.

# %% tags=["data", "machine"]
logits = evaluation.logits["torch"]
confidence, answers = softmax(logits.astype(np.float64)).max(1), logits.argmax(1)
wrong = np.flatnonzero(answers != labels)
index = int(wrong[confidence[wrong].argmax()])
said, true = int(answers[index]), int(labels[index])

last = f"layer{len(trained.spec.depths)}.{trained.spec.depths[-1] - 1}.relu2"
kernel, bias = trained.arrays["fc.weight"], trained.arrays["fc.bias"]  # (10, C), (10,)
maps = {}
for framework in (resnet_torch, resnet_tf):
    model = framework.create_model(trained.spec)
    framework.set_weights(model, trained.arrays)
    x = framework.from_nhwc(good.prepare(images[index : index + 1]), model)
    seen = framework.trace(model, x)
    cam = np.einsum("kc,chw->khw", kernel, seen.activations[last][0])  # (10, H, W)
    lead = (cam[said] - cam[true]).mean() + bias[said] - bias[true]
    equal = abs(lead - (seen.logits[0, said] - seen.logits[0, true])) < 1e-4
    print(f"{framework.TITLE:7} mean of the difference + biases = lead of the logits: {equal}")
    assert equal
    assert lead > 0
    maps[framework.TITLE] = cam

cam = maps["PyTorch"]
figure, panels = plt.subplots(1, 4, figsize=(11, 3.2), layout="constrained")
panels[0].imshow(images[index] if images.shape[-1] == 3 else images[index, ..., 0], cmap="gray")
panels[0].set_title(f"a {classes[true]}")
limit = np.abs(cam[[said, true]]).max()
titles = (f"for {classes[said]} (its answer)", f"for {classes[true]} (true)", "difference")
for axes, title, values in zip(
    panels[1:], titles, (cam[said], cam[true], cam[said] - cam[true]), strict=True
):
    drawn = axes.imshow(values, cmap="cividis", vmin=-limit, vmax=limit)
    axes.set_title(title)
for axes in panels:
    axes.set(xticks=[], yticks=[])
figure.colorbar(drawn, ax=panels, label="share of the logit", shrink=0.8)
plt.show()
