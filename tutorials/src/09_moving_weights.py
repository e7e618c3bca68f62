# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 9. Moving weights
#
# *A trained network is a list of named arrays. Carry them over by name, and prove that it worked.*
#
# **After this tutorial you can**
#
# - carry trained weights from PyTorch to Keras by name, and say which axes to exchange,
# - tell the mistakes that stop with an error from the ones that stay silent,
# - load a checkpoint that somebody else made, without letting it run code on your computer,
# - find the first layer at which two networks differ: the microscope.
#
# **Time:** about 100 minutes to work through; the cells run in under a minute.
#
# **You need** tutorials 2 (layouts of kernels), 4 (what a BatchNorm keeps) and 5 (names of the
# layers).

# %%
# Set-up: installs the package where it is missing (as on Colab); in a clone, from the clone.
import importlib.util
from pathlib import Path

if importlib.util.find_spec("resnet_torch") is None:
    home = next((p for p in Path.cwd().parents if (p / "resnet_torch").is_dir()), "resnet-twins")
    get_ipython().run_line_magic("pip", f'install -q "{home}[all,notebooks]"')

# %%
# %matplotlib inline
import pickle
import re
import tempfile

import matplotlib.pyplot as plt
import numpy as np
import torch

import resnet_tf  # brings Keras, without TensorFlow's messages at the start
import resnet_torch
import keras
from shared.data import data_folders, load_data
from shared.twins import evaluate, examine
from shared.base import BLUE, GREEN, GREY, ORANGE
from shared.checkpoints import read_trained
from shared.networks import recognise

folder = Path(tempfile.mkdtemp())  # for the files of this tutorial

# %% [markdown]
# ## Two chests of drawers
#
# The package ships a small network that reads digits, `resnet8_digits`. We put its trained weights
# into the PyTorch twin, and let it read 360 digits that it has never seen.

# %%
trained = read_trained("resnet8_digits")
digits = load_data("digits").test
images = trained.inputs.prepare(digits.images)  # (N, H, W, C), mean 0 and deviation 1
labels = digits.labels
print("images", images.shape, images.dtype)
assert images.shape == (360, 8, 8, 1)

model_torch = resnet_torch.create_model(trained.spec)  # `spec` says which network it is
model_torch.load_state_dict({n: torch.from_numpy(array) for n, array in trained.arrays.items()})
model_torch.eval()
with torch.no_grad():
    logits_torch = model_torch(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
print("logits", logits_torch.shape)
assert logits_torch.shape == (360, 10)


def count_right(logits: np.ndarray) -> int:
    return int((logits.argmax(axis=1) == labels).sum())


print(count_right(logits_torch), "of 360 right")
assert count_right(logits_torch) == 359

# %% [markdown]
# Where are these weights? PyTorch keeps them in its `state_dict()`, Keras in `model.variables`.
# Here are both lists, side by side, for the first layers. Read the names, then the shapes.

# %%
model_keras = resnet_tf.create_model(trained.spec)  # random weights so far

state = {n: v for n, v in model_torch.state_dict().items() if "num_batches_tracked" not in n}
print(f"{'PyTorch':<29}{'shape':<17}{'Keras':<31}shape")
for (name, value), variable in list(zip(state.items(), model_keras.variables))[:12]:
    print(f"{name:<29}{tuple(value.shape)!s:<17}{variable.path:<31}{tuple(variable.shape)}")
print(len(state), "arrays in PyTorch,", len(model_keras.variables), "in Keras")
assert len(state) == len(model_keras.variables) == 47

# %% [markdown]
# Three things to see.
#
# 1. The **layers** have the same names, because this package gives Keras' layers PyTorch's names.
# 2. The **suffixes** differ. Both frameworks have a BatchNorm with four arrays, and call them
#    `weight, bias, running_mean, running_var` and `gamma, beta, moving_mean, moving_variance`.
# 3. The **kernels** have their axes in another order.
#
# PyTorch has one more array in each BatchNorm, the counter `num_batches_tracked`. It is used for
# one thing only: when `momentum=None`, to take a plain mean over all batches. We leave it out.
#
# ## A lookup of six suffixes
#
# All that is needed to move a ResNet is this table. (`kernel` stands there twice, because that of a
# convolution has four axes and that of the last layer two.)

# %%
CONV_AXES = (2, 3, 1, 0)  # (out, in, height, width) -> (height, width, in, out)
DENSE_AXES = (1, 0)  # (out, in) -> (in, out)
RULES = {  # the end of Keras' name -> (the end of PyTorch's name, how to transpose the axes)
    "kernel, 4 axes": ("weight", CONV_AXES),
    "kernel, 2 axes": ("weight", DENSE_AXES),
    "bias": ("bias", (0,)),
    "gamma": ("weight", (0,)),
    "beta": ("bias", (0,)),
    "moving_mean": ("running_mean", (0,)),
    "moving_variance": ("running_var", (0,)),
}


def from_torch(state: dict[str, np.ndarray], model: keras.Model) -> None:
    """Set every variable of a Keras model from the PyTorch array that belongs to it."""
    used = set()
    for variable in model.variables:
        layer, kind = variable.path.rsplit("/", 1)
        kind = f"kernel, {len(variable.shape)} axes" if kind == "kernel" else kind
        suffix, axes = RULES[kind]
        array = np.transpose(state[f"{layer}.{suffix}"], axes)
        assert array.shape == tuple(variable.shape), f"{layer}: {array.shape}, {variable.shape}"
        variable.assign(array)
        used.add(f"{layer}.{suffix}")
    left = set(state) - used
    assert not left, f"never used: {sorted(left)}"


state = {name: value.numpy() for name, value in state.items()}
from_torch(state, model_keras)
logits_keras = np.asarray(model_keras(images, training=False))
print("logits", logits_keras.shape)
print(
    "largest difference of the logits below 1e-4:", np.abs(logits_keras - logits_torch).max() < 1e-4
)
print("predictions that differ:", int((logits_keras.argmax(1) != logits_torch.argmax(1)).sum()))
assert logits_keras.shape == (360, 10)
assert np.abs(logits_keras - logits_torch).max() < 1e-4
assert (logits_keras.argmax(1) == logits_torch.argmax(1)).all()

# %% [markdown]
# Note the two assertions inside `from_torch`. A transfer must be **complete in both directions**:
# every variable gets an array, and every array is used. `load_state_dict(strict=False)`, or a `try`
# around each layer, gives that up. What does not fit then keeps its random numbers, and nobody
# tells you.
#
# ### Why not by position?
#
# Both lists have 47 entries, and the first twelve lines stood side by side so nicely. Why not copy
# the first to the first, the second to the second?


# %%
def layers_of(names: list[str]) -> list[str]:
    """The layers in the order in which they come, each once."""
    return list(dict.fromkeys(names))


order_torch = layers_of([name.rsplit(".", 1)[0] for name in state])
order_keras = layers_of([variable.path.rsplit("/", 1)[0] for variable in model_keras.variables])
print(f"{'PyTorch':<22}Keras")
for ours, theirs in list(zip(order_torch, order_keras))[7:11]:
    print(f"{ours:<22}{theirs:<22}{'' if ours == theirs else '<- differs'}")
assert sorted(order_torch) == sorted(order_keras)
assert order_torch != order_keras

# %% [markdown]
# PyTorch lists layers in the order in which `__init__` made them. Keras lists them in the order of
# the graph, in which the two ways around a block go side by side. Copying by position stops here,
# because the shapes clash:

# %%
for (name, value), variable in zip(state.items(), model_keras.variables):
    turned = value.transpose(CONV_AXES) if value.ndim == 4 else value.T
    if turned.shape != tuple(variable.shape):
        print(f"{name} {turned.shape} does not fit {variable.path} {tuple(variable.shape)}")
        break
assert name == "layer2.0.bn2.weight"

# %% [markdown]
# In a network where the shapes fit by accident, nothing stops it, and you get a wrong network.
#
# ## The mistakes that stay silent
#
# A wrong shape stops with an error, and costs you five minutes. The expensive mistakes are the ones
# after which everything runs. Here are six. Each is a small change to a Keras model that was right.
# (To exchange the axes in and out changes the shape of some kernels, and would stop there. We
# exchange them where the shapes allow it.)


# %%
def change_kernels(model: keras.Model, change) -> None:
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            (kernel,) = layer.get_weights()
            changed = change(kernel)
            if changed.shape == kernel.shape:  # else it would stop with an error
                layer.set_weights([changed])


def change_norms(model: keras.Model, change) -> None:
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights(change(*layer.get_weights()))  # gamma, beta, mean, variance


def eps_of_keras(model: keras.Model) -> None:
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.epsilon = 1e-3  # Keras' default; PyTorch's is 1e-5


MISTAKES = {
    "none": lambda model: None,
    "height and width exchanged": lambda m: change_kernels(m, lambda k: k.transpose(1, 0, 2, 3)),
    "in and out exchanged": lambda m: change_kernels(m, lambda k: k.transpose(0, 1, 3, 2)),
    "kernels rotated by 180°": lambda m: change_kernels(m, lambda k: k[::-1, ::-1]),
    "gamma and beta exchanged": lambda m: change_norms(
        m, lambda g, b, mean, var: [b, g, mean, var]
    ),
    "mean and variance forgotten": lambda m: change_norms(
        m, lambda g, b, mean, var: [g, b, 0 * mean, 0 * var + 1]
    ),
    "eps 1e-3 in place of 1e-5": eps_of_keras,
}

# %% [markdown]
# **Predict before you run the next cell** (exercise 1). Guess for each mistake how many of the 360
# digits the network still reads. Guessing at random gives about 36. Which mistake could you never
# find by looking at the accuracy?

# %% tags=["machine"]
right, error = {}, {}
for name, spoil in MISTAKES.items():
    wrong = resnet_tf.create_model(trained.spec)
    from_torch(state, wrong)
    spoil(wrong)
    logits = resnet_tf.forward(wrong, images)
    right[name] = count_right(logits)
    error[name] = np.abs(logits - logits_torch).max()
    print(f"{name:<29}{right[name]:>4} of 360 right, logits off by up to {error[name]:.0e}")

# %%
assert right["none"] == right["eps 1e-3 in place of 1e-5"] == 359
assert (
    max(count for name, count in right.items() if name not in ("none", "eps 1e-3 in place of 1e-5"))
    < 150
)
assert error["none"] < 1e-4 < 1e-2 < error["eps 1e-3 in place of 1e-5"] < 1
assert error["eps 1e-3 in place of 1e-5"] > 1_000 * error["none"]

# %% tags=["cover"]
figure, (left, right_side) = plt.subplots(
    1, 2, figsize=(10, 3.4), sharey=True, layout="constrained"
)
names = list(MISTAKES)
colours = [GREEN] + [ORANGE] * 5 + [BLUE]
hatches = [""] + ["//"] * 5 + [".."]
left.barh(names, [right[name] for name in names], color=colours, hatch=hatches, edgecolor="white")
left.axvline(36, color="black", linestyle=":")
left.annotate(
    "guessing: 36", (36, 6.62), xytext=(4, 0), textcoords="offset points", fontsize=8, va="center"
)
left.set(xlabel="digits read right, of 360", title="what you notice")
left.set_ylim(6.95, -0.6)
right_side.barh(
    names, [error[name] for name in names], color=colours, hatch=hatches, edgecolor="white"
)
right_side.axvline(1e-4, color="black", linestyle="--")
right_side.annotate(
    "allowed: 1e-4",
    (1e-4, 6.62),
    xytext=(4, 0),
    textcoords="offset points",
    fontsize=8,
    va="center",
)
right_side.set(
    xscale="log", xlabel="largest difference of the logits", title="what you should measure"
)
plt.show()

# %% [markdown]
# With the wrong `eps` the network reads as many digits as before. Only the logits tell: they are
# off by more than 1,000 times what rounding does. Where the best two logits of a picture lie nearer
# together than that, the answer changes. So **never check a port** (a network carried over to
# another framework) **by its accuracy. Compare numbers.**
#
# ## The microscope
#
# The logits say *that* something is wrong. To see *where*, compare every layer. Run both networks
# on the same images, and go from the image to the logits: the first layer that differs is the
# culprit, because everything before it was equal. The activations come from the package as (N, C,
# H, W) for both frameworks, keyed by the layer's name.


# %%
def errors_by_layer(model: keras.Model) -> dict[str, float]:
    """How far each layer of a Keras model is from PyTorch's, relative to its largest value."""
    few = images[:16]
    ours = resnet_torch.trace(model_torch, resnet_torch.from_nhwc(few, model_torch)).activations
    theirs = resnet_tf.trace(model, few).activations
    assert set(ours) == set(theirs)
    return {n: float(np.abs(ours[n] - theirs[n]).max() / np.abs(ours[n]).max()) for n in ours}


def planted(layer_name: str, change) -> keras.Model:
    """A right Keras model with a fault in one layer."""
    model = resnet_tf.create_model(trained.spec)
    from_torch(state, model)
    change(model.get_layer(layer_name))
    return model


def exchange(layer: keras.layers.Layer) -> None:
    layer.set_weights([layer.get_weights()[0].transpose(1, 0, 2, 3)])


def other_eps(layer: keras.layers.Layer) -> None:
    layer.epsilon = 1e-3


FAULTS = {
    "no fault": (model_keras, GREEN, "^:"),
    "layer2.0.conv2: axes exchanged": (planted("layer2.0.conv2", exchange), ORANGE, "s--"),
    "layer1.0.bn2: another eps": (planted("layer1.0.bn2", other_eps), BLUE, "o-"),
}
curves = {name: errors_by_layer(model) for name, (model, _, _) in FAULTS.items()}
for name, curve in curves.items():
    first = next((layer for layer, value in curve.items() if value > 1e-5), "none")
    print(f"{name:<33}first layer that differs: {first}")
assert (
    next(layer for layer, v in curves["layer1.0.bn2: another eps"].items() if v > 1e-5)
    == "layer1.0.bn2"
)
assert max(curves["no fault"].values()) < 1e-5

# %%
figure, axes = plt.subplots(figsize=(10, 4.2), layout="constrained")
layers = list(curves["no fault"])
for name, (_, colour, style) in FAULTS.items():
    values = [max(curves[name][layer], 1e-9) for layer in layers]
    axes.semilogy(layers, values, style, color=colour, markersize=4, label=name)
axes.axhline(1e-5, color=GREY, linewidth=1)
axes.text(len(layers) - 0.5, 1.2e-5, "1e-5", ha="right", fontsize=8, color=GREY)
axes.tick_params(axis="x", rotation=90, labelsize=8)
axes.set(xlabel="layer, from the image to the logits", ylabel="relative error (0 is drawn at 1e-9)")
axes.grid(axis="y", alpha=0.3)
axes.legend(frameon=False, loc="upper left")
plt.show()

# %% [markdown]
# The curves run along the bottom, at the size of rounding errors. Those with a fault jump at the
# faulty layer. After it everything is wrong, and says nothing about the cause. The dashed curve
# falls once more: `downsample` is the shortcut, which goes around the faulty kernel and is equal
# until the addition.
#
# The package has this as a tool. It also tries the usual mistakes at the layer that differs: it works
# out in NumPy what the layer would give with each of them, and names the one that fits, if one
# does.

# %%
for name, (model, _, _) in FAULTS.items():
    few = images[:16]
    seen = examine(trained.spec, model_torch, model, resnet_torch.from_nhwc(few, model_torch), few)
    print(f"{name}: {'no difference' if seen.equal else seen.first}")
    print("   ", seen.cause or "equal to the last layer")
    assert seen.equal == (name == "no fault")

# %% [markdown]
# In a terminal, `resnet-twins microscope resnet18` shows the same for the package's own twins, and
# `resnet-twins microscope mine.py:Net theirs.py:build_model` for any two models: yours, too.
#
# ## A checkpoint that somebody else made
#
# Most weights that you meet come from other people. Three things are then different: the file may
# be **dangerous**, the names are **theirs**, and the pictures must be prepared **their** way.
#
# ### Dangerous files
#
# PyTorch's `.pth`, `.pt`, `.th` and `.bin` files are pickles. A pickle is a small program, and
# opening it runs it. Here is a file that looks like a checkpoint:


# %%
class Trap:
    def __reduce__(self):  # tells pickle which function to call when the file is opened
        return (print, ("This line was printed by the file, when you opened it!",))


torch.save({"state_dict": Trap()}, folder / "checkpoint.pth")
opened = torch.load(folder / "checkpoint.pth", weights_only=False)  # never do this

# %% [markdown]
# It only prints. It could as well have deleted your files. `torch.load` with `weights_only=True`
# (the default since PyTorch 2.6) opens tensors and plain data only, and refuses the rest. Write it
# out all the same: older versions have the other default.

# %%
try:
    torch.load(folder / "checkpoint.pth", weights_only=True)
except pickle.UnpicklingError as error:
    print("UnpicklingError:", str(error).split(".")[0])
    refused = True
assert refused

# %% [markdown]
# A `.safetensors` file holds names, shapes and numbers, and nothing that could run. Prefer it for
# your own weights. `resnet-twins convert THEIRS.pth OURS.safetensors` makes one.
#
# ### Their names
#
# A widespread checkpoint of a CIFAR-10 ResNet-20 was saved from a model on several GPUs, which puts
# `module.` before every name. Its last layer is called `linear`, not `fc`. We make a file of the
# same kind, so that you can follow without network, and look into it as if we did not know it:

# %%
theirs = {
    f"module.{name.replace('fc.', 'linear.')}": torch.from_numpy(a) for name, a in state.items()
}
torch.save({"best_prec1": 99.7, "state_dict": theirs}, folder / "theirs.th")

found = torch.load(folder / "theirs.th", weights_only=True)
print("entries:", list(found))
for name in [*list(found["state_dict"])[:2], *list(found["state_dict"])[-2:]]:
    print("  ", name, tuple(found["state_dict"][name].shape))


def our_name(name: str) -> str:
    name = name.removeprefix("module.")
    return re.sub(r"^linear\.", "fc.", name)


renamed = {our_name(name): tensor.numpy() for name, tensor in found["state_dict"].items()}
assert set(renamed) == set(state)

loaded = resnet_tf.create_model(trained.spec)
from_torch(renamed, loaded)
assert count_right(resnet_tf.forward(loaded, images)) == 359
print("in Keras:", count_right(resnet_tf.forward(loaded, images)), "of 360 right")

# %% [markdown]
# Which network is it? If nobody told you, the shapes do. `recognise` compares them with every row
# of the package's table. And `load_weights` knows the habits above, and others. It takes all or
# nothing, and says what does not fit:

# %%
print("fits:", [spec.name for spec in recognise(renamed)])
print(resnet_torch.load_weights(resnet_torch.create_model(trained.spec), folder / "theirs.th"))
try:
    resnet_torch.load_weights(resnet_torch.create_model("resnet20_cifar"), folder / "theirs.th")
except ValueError as error:
    print("ValueError:", str(error)[:95], "...")

# %% [markdown]
# ### The other way: from Keras' own model zoo to PyTorch
#
# `keras.applications` has a ResNet-50 with names of its own: `conv2_block1_1_conv`. Its
# convolutions have biases, and the stride sits in the first 1×1 convolution (tutorials 7 and 8). In
# the package's table it is the row `resnet50_keras`. Without network we take it with random
# weights; the names and layouts are those of the trained ones.

# %%
keras.utils.set_random_seed(0)
zoo = keras.applications.ResNet50(weights=None, classes=10, classifier_activation=None)
rng = np.random.default_rng(0)
for variable in zoo.variables:  # fresh biases are 0 and gammas 1: a mistake would not show
    if len(variable.shape) == 1:
        variable.assign(rng.uniform(0.5, 1.5, variable.shape))
zoo.save_weights(folder / "zoo.weights.h5")
print([layer.name for layer in zoo.layers if layer.weights][:6])

twin = resnet_torch.create_model("resnet50_keras", num_classes=10)
report = resnet_torch.load_weights(twin, folder / "zoo.weights.h5")
print(report)

pictures = np.random.default_rng(0).standard_normal((2, 224, 224, 3)).astype("float32")
logits_zoo = np.asarray(zoo(pictures, training=False))
logits_twin = resnet_torch.forward(twin, resnet_torch.from_nhwc(pictures, twin))
print("logits", logits_zoo.shape, logits_twin.shape)
relative = np.abs(logits_zoo - logits_twin).max() / np.abs(logits_zoo).max()  # they are large
print("equal to 1e-4:", relative < 1e-4)
assert logits_zoo.shape == logits_twin.shape == (2, 10)
assert relative < 1e-4
assert not report.missing and not report.unexpected

# %% [markdown]
# ### Their pictures
#
# The weights are only half of a trained network. The other half is how the pictures are prepared,
# and a checkpoint of this kind does not say so: look for it in the program or the text that came
# with it. The weights that ship with this package carry it along. Below, three other ways that look
# reasonable. The weights are right each time.

# %%
print(
    f"mean {trained.inputs.mean[0]:.3f}, deviation {trained.inputs.std[0]:.3f} of pixels from 0 to 1"
)
white = digits.images / 16  # the digits go from 0 (black) to 16 (white)
ways = {
    "as in training: mean 0, deviation 1": images,
    "from 0 to 1": white,
    "from -1 to 1": 2 * white - 1,
    "raw, from 0 to 16": digits.images,
}
scores = {}
for name, prepared in ways.items():
    inputs = prepared.astype("float32")
    scores[name] = count_right(resnet_tf.forward(model_keras, inputs))
    same = resnet_torch.forward(model_torch, resnet_torch.from_nhwc(inputs, model_torch))
    assert count_right(same) == scores[name]
    print(f"{name:<38}{scores[name]:>4} of 360 right")
assert scores["as in training: mean 0, deviation 1"] == 359 > max(list(scores.values())[1:])

# %% [markdown]
# From -1 to 1 is close to what the network was trained on: it takes away 0.5 and divides by 0.5, in
# place of the mean and deviation above. So it costs a few digits. From 0 to 1 the pictures are too
# dark and too flat for this network. A wrong preparation can cost a little or nearly everything.
#
# ### A real one
#
# The author of the checkpoint that we imitated above is Yerlan Idelbayev. Where his file and the
# CIFAR-10 pictures lie on your computer, the next cell lets his network read 500 test pictures, in
# both frameworks. Elsewhere it says in one line what is missing; the package's README says where
# such files come from, and the environment variable `RESNET_TWINS_DATA` names the folder they lie
# in. His network expects pixels from 0 to 1, minus the mean of ImageNet and divided by its
# deviation, which is what `evaluate` does where a file does not say otherwise.

# %% tags=["data"]
places = {
    name: next((place / name for place in data_folders() if (place / name).exists()), None)
    for name in ("checkpoints/resnet20-cifar10.th", "cifar-10/cifar-10-jpeg.tar.xz")
}
missing = [name for name, place in places.items() if place is None]
if missing:
    print("not on this computer:", ", ".join(missing))
else:
    result = evaluate(*places.values(), limit=500)
    for framework in ("torch", "tf"):
        print(f"{framework:<6}{result.correct(framework)} of 500 right")
    print("predictions that differ:", result.differing)
    assert result.differing == 0
    assert 370 <= result.correct("torch") <= 440

# %% [markdown]
# These are JPEG copies of the pictures. The author states 91.73% on the lossless originals, which
# are other pictures than ours: this network never saw the small errors of JPEG in training. That,
# too, is preparation of pictures.
#
# ## Three sentences to remember
#
# 1. Carry weights over by name, turn the axes of the kernels, and insist that every array is used
#    and every variable is set.
# 2. Prove a port by its logits on the same images, never by its accuracy, and find a fault with the
#    first layer that differs.
# 3. A checkpoint is a program, names and half a network: open it with `weights_only=True`, rename,
#    and prepare the pictures as its author did.
#
# ## Exercises
#
# Worked solutions: [solutions/09_moving_weights.ipynb](solutions/09_moving_weights.ipynb).
#
# 1. **Predict.** Before you run the cell with the six mistakes: how many digits does each leave?
#    Order them from harmless to fatal, and mark the one that accuracy does not show.
# 2. **The way back.** Write `to_torch(model)`, which makes a PyTorch `state_dict` of a Keras model.
#    Carry weights there and back, and show that not one bit has changed.
# 3. **Names.** Write a function that turns `conv3_block2_1_conv/kernel` (from `keras.applications`)
#    into `layer2.1.conv1.weight`, also for `conv1_bn`, for the shortcut (number 0) and for
#    `predictions`. Check it on all names of the ResNet-50.
# 4. **A hidden fault.** `from shared.twins import plant_fault`, then `secret = plant_fault(model,
#    seed=16)` spoils one layer of a trained Keras model, and `secret` holds the answer: do not
#    print it. Find the layer by your own comparison, and what was done to it by looking at its
#    arrays. Then ask `examine`, and print the secret. Other seeds are other faults.
# 5. **Another head.** You have pictures of 5 classes. Create the digits network with
#    `num_classes=5` and load everything but the last layer, in both frameworks: `set_weights(model,
#    trained.arrays, new_head=True)` of `resnet_torch` and `resnet_tf`. What does it say without
#    `new_head=True`?
