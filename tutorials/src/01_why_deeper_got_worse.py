# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 1. Why deeper got worse
#
# *A deeper network that cannot even learn its training images, and the one line that mends it.*
#
# **After this tutorial you can**
#
# - train networks of 20 and of 56 layers yourself, in PyTorch and in Keras, and show that the
#   deeper plain network is worse,
# - explain why this is not overfitting, and why vanishing gradients alone do not explain it,
# - build a 56-layer plain network that is exactly as good as one with 20 layers, and say what that
#   proves,
# - say what a residual network changes, in one line of code.
#
# **Time:** about 120 minutes to work through; the cells run in under two minutes.
#
# **You need** Python, a little PyTorch or Keras, and an idea of what a convolution is: a small
# window of weights (the kernel) that moves over an image. Of residual networks you need to know
# nothing.

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
from shared.networks import get_spec
from shared.data import load_data
from shared.base import BLUE, GREY, ORANGE
from shared.networks import count_parameters, layer_table

# %% [markdown]
# ## A question from 2015
#
# In 2014 the best networks for images had about 20 layers. Each layer looks at what the layer
# before it found: edges first, then corners, then parts of things. More layers had always helped.
# So why not 50, or 100?
#
# People tried, and it went wrong in a strange way. In this tutorial you see it happen, on your own
# computer, within two minutes.
#
# ## The task: read a digit
#
# The package ships 1,797 small pictures of handwritten digits. We keep every fifth for the test.
# The network only learns from the others, the **training images**.

# %%
digits = load_data("digits")
print("training images", digits.train.images.shape, " test images", digits.test.images.shape)
assert digits.train.images.shape == (1437, 8, 8, 1)
assert digits.test.images.shape == (360, 8, 8, 1)
assert len(digits.train) + len(digits.test) == 1_797

figure, panels = plt.subplots(2, 10, figsize=(9, 2.2))
for column in range(10):
    examples = digits.train.images[digits.train.labels == column][:2]
    for row in range(2):
        panels[row, column].imshow(examples[row, ..., 0], cmap="gray_r")
        panels[row, column].set_axis_off()
    panels[0, column].set_title(f"label {column}", fontsize=9)
figure.suptitle("Two training images of each digit, 8×8 pixels", y=1.05)
plt.show()

# %% [markdown]
# A picture is a table of 8 × 8 numbers from 0 (white) to 16 (black). We bring them to the range
# from -1 to 1. A **label** is the right answer.
#
# PyTorch wants an array of N pictures as (N, C, H, W): channels, height, width. Keras wants (N, H,
# W, C). Our pictures are grey, so C is 1.


# %%
def prepare(images: np.ndarray) -> np.ndarray:
    return images.astype("float32") / 8 - 1  # (N, H, W, C), from -1 to 1


x_keras, x_test_keras = prepare(digits.train.images), prepare(digits.test.images)
x_torch = torch.from_numpy(x_keras.transpose(0, 3, 1, 2))  # (N, C, H, W)
x_test_torch = torch.from_numpy(x_test_keras.transpose(0, 3, 1, 2))
y, y_test = torch.from_numpy(digits.train.labels), torch.from_numpy(digits.test.labels)
print("PyTorch", tuple(x_torch.shape), " Keras", x_keras.shape, " labels", tuple(y.shape))
assert x_torch.shape == (1437, 1, 8, 8)
assert x_keras.shape == (1437, 8, 8, 1)
assert x_keras.min() == -1 and x_keras.max() == 1

# %% [markdown]
# ## Two networks, 20 and 56 layers
#
# A **plain** network is a chain: convolution, BatchNorm, ReLU, and again, and again. BatchNorm
# brings each channel to mean 0 and variance 1, then multiplies it by `gamma` and adds `beta`, two
# numbers that are learnt (tutorial 4). The ReLU replaces every negative number by zero. At the end
# an average over all pixels and one last layer give ten numbers, the **logits**: one for each
# digit. The largest is the answer.
#
# Two convolutions form a **block**, several blocks a **stage**, and there are three stages. In each
# stage the pictures get smaller and the channels more.
#
# The package has the networks of the paper that this tutorial is about (He et al. 2015, "Deep
# Residual Learning for Image Recognition", arXiv:1512.03385, section 4.2). They are called
# `_cifar`, after the photographs in CIFAR-10 that the paper trains them on. We only change the size
# of the input. `spec` is the plan of a network.


# %%
def digit_spec(name: str):
    return get_spec(name, in_channels=1, input_size=8)


for name in ("plain20_cifar", "plain56_cifar"):
    spec = digit_spec(name)
    layers = [row for row in layer_table(spec) if row.kind in ("conv", "linear")]
    print(f"{name}: {len(layers)} layers with weights, {count_parameters(spec):,} parameters")
    model_torch = resnet_torch.create_model(spec, seed=0)
    model_keras = resnet_tf.create_model(spec, seed=0)  # the same seed: the same weights
    logits_torch = model_torch(x_torch[:4])
    logits_keras = model_keras(x_keras[:4])
    print(f"    4 images -> {tuple(logits_torch.shape)} in PyTorch, {logits_keras.shape} in Keras")
    assert len(layers) == int(name[5:7])
    assert logits_torch.shape == logits_keras.shape == (4, 10)

# %% [markdown]
# Every array of weights has a name. `layer2.0.conv1.weight` is the kernel of the first convolution,
# in block 0 of stage 2. The `weight` of a BatchNorm is its gamma, the `bias` its beta;
# `running_mean` and `running_var` are the averages that it uses after training. These are all
# arrays of one block:

# %%
for name, array in resnet_torch.get_weights(model_torch).items():
    if name.startswith("layer2.0."):
        print(f"{name:<28}{array.shape}")
shapes = {name: array.shape for name, array in resnet_torch.get_weights(model_torch).items()}
assert shapes["layer2.0.conv1.weight"] == (32, 16, 3, 3)  # (out, in, height, width)

# %% [markdown]
# ## Training, written out
#
# To **train** is to change the weights a little, many times, so that the answers get better. One
# step takes a **batch** of 64 images, measures how wrong the logits are (the *loss*), asks in which
# direction every weight should move (the *gradient*), and moves it. The *learning rate* says how
# far, *momentum* keeps a part of the steps before, and *weight decay* pulls all weights a little
# towards zero. The loss is the *cross-entropy*: it is large where the right digit gets a small
# probability. One **epoch** is one tour through all training images, in random order.
#
# The **training error** is the share of training images that the network gets wrong. We count it in
# every epoch, while the network learns. `model.train()` tells BatchNorm to use the mean and
# variance of the batch, `model.eval()` to use the averages that it has stored. So an error counted
# during an epoch and one measured after training are not quite the same number.


# %%
EPOCHS, BATCH, RATE = 6, 64, 0.02


def train_torch(
    name: str, images: torch.Tensor, labels: torch.Tensor, epochs: int = EPOCHS, rate: float = RATE
) -> tuple[nn.Module, list[float]]:
    """Return the trained network, and its training error in each epoch."""
    model = resnet_torch.create_model(digit_spec(name), seed=0)
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9, weight_decay=1e-4)
    shuffle = torch.Generator().manual_seed(0)
    size, errors = min(BATCH, len(labels)), []
    model.train()
    for _ in range(epochs):
        wrong, seen = 0, 0
        order = torch.randperm(len(labels), generator=shuffle)
        for batch in order.split(size):
            if len(batch) < size:
                continue  # the rest that fills no batch is left out
            logits = model(images[batch])  # (64, 10)
            loss = nn.functional.cross_entropy(logits, labels[batch])
            optimizer.zero_grad()
            loss.backward()  # the gradients
            optimizer.step()  # moves the weights
            wrong += int((logits.argmax(1) != labels[batch]).sum())
            seen += len(batch)
        errors.append(wrong / seen)
    return model.eval(), errors


# %% [markdown]
# **Predict before you run the next cell** (exercise 1): the 56-layer network has more than three
# times as many parameters. Is its training error in the last epoch lower than that of 20 layers,
# equal, or higher?

# %% tags=["machine"]
trained, curves = {}, {}
for name in ("plain20_cifar", "plain56_cifar"):
    trained[name], curves[name] = train_torch(name, x_torch, y)
    print(name, " ".join(f"{error:4.0%}" for error in curves[name]))
assert all(len(curve) == EPOCHS for curve in curves.values())
assert curves["plain56_cifar"][-1] > curves["plain20_cifar"][-1] + 0.1

# %% [markdown]
# The deeper network is **worse**, and by a lot. Same images, same steps, same rate. This is the
# **degradation problem**: with depth, accuracy gets worse.
#
# Your numbers for plain-56 may be 20 points away from these. Its training is chaotic: a rounding
# error, from another number of processor cores for example, is enough to send it another way. That
# it is far worse than plain-20 stays.
#
# Is it a bug in our loop? Let us ask the other framework. In Keras, `compile` chooses the loss and
# the optimiser, and `fit` holds the loop. Keras' weight decay means something else (tutorial 10),
# so we leave it out. The order of the images is different too. `from_logits=True` says that our
# networks give logits and not probabilities.


# %% tags=["machine"]
def train_keras(name: str, epochs: int) -> tuple[keras.Model, list[float]]:
    keras.utils.set_random_seed(0)
    model = resnet_tf.create_model(digit_spec(name), seed=0)
    model.compile(
        optimizer=keras.optimizers.SGD(RATE, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,  # for so few steps, compiling takes longer than it saves
    )
    history = model.fit(x_keras, digits.train.labels, BATCH, epochs=epochs, verbose=0)
    return model, [1 - accuracy for accuracy in history.history["accuracy"]]


KERAS_EPOCHS = 3
keras_models, keras_curves = {}, {}
for name in ("plain20_cifar", "plain56_cifar"):
    keras_models[name], keras_curves[name] = train_keras(name, KERAS_EPOCHS)
    print(name, " ".join(f"{error:4.0%}" for error in keras_curves[name]))
assert keras_curves["plain56_cifar"][-1] > keras_curves["plain20_cifar"][-1] + 0.1

# %% [markdown]
# The same in Keras, after fewer epochs. So it is no mistake of our loop.
#
# ## Is it overfitting?
#
# That is the first idea of most people. **Overfitting** means: the network learns the training
# images by heart, and fails on new ones. Its sign is a *low* training error beside a *high* test
# error. So compare both errors, after training and for the same weights:


# %% tags=["machine"]
def error_of(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    with torch.no_grad():
        return float((model(images).argmax(1) != labels).float().mean())


print("                 training error   test error")
for name, model in trained.items():
    training, test = error_of(model, x_torch, y), error_of(model, x_test_torch, y_test)
    print(f"{name}        {training:6.1%}         {test:6.1%}")
shallow_error = error_of(trained["plain20_cifar"], x_torch, y)
deep_error = error_of(trained["plain56_cifar"], x_torch, y)
assert deep_error > shallow_error + 0.1

# %% [markdown]
# The deep network fails on the images that it was trained on. Its problem is not that it learnt
# them by heart: it did not learn them. The cures for overfitting (more training images, a simpler
# model) are for another problem. That is why the paper shows the *training* error first, and why
# you should always look at it.
#
# ## Do the gradients vanish?
#
# The second idea: the loss is measured at the end of the network, and the gradient has to travel
# back through 56 layers. If each layer makes it smaller, nothing arrives at the first one, and it
# cannot learn. In old networks this was a real problem. Two inventions mend it: a good size of the
# first random weights (He initialisation) and BatchNorm. Our networks have both.
#
# So measure it. `trace` runs one batch and gives the gradient of every parameter; `from_nhwc`
# brings the images into the order that the framework wants. Kernels are the arrays with four axes.
# For each we take the length (norm) of its gradient, before any training, in both frameworks.


# %%
def gradient_norms(package, name: str, seed: int = 0) -> np.ndarray:
    """Return the norm of the gradient of each 3×3 kernel, from the image on."""
    model = package.create_model(digit_spec(name), seed=seed)
    inputs = package.from_nhwc(x_keras[:128], model)
    seen = package.trace(model, inputs, digits.train.labels[:128], training=True, activations=False)
    kernels = [value for value in seen.parameter_gradients.values() if value.ndim == 4]
    return np.array([np.linalg.norm(value) for value in kernels])


norms = {name: gradient_norms(resnet_torch, name) for name in trained}
norms_keras = {name: gradient_norms(resnet_tf, name) for name in trained}

figure, axes = plt.subplots(figsize=(7.5, 3.8))
for name, colour, style in (("plain20_cifar", BLUE, "o-"), ("plain56_cifar", ORANGE, "s--")):
    depth = name[5:7]
    axes.semilogy(
        np.arange(1, len(norms[name]) + 1),
        norms[name],
        style,
        color=colour,
        markersize=4,
        label=f"plain-{depth}, PyTorch",
    )
    axes.semilogy(
        np.arange(1, len(norms[name]) + 1, 4),
        norms_keras[name][::4],
        "x",
        color=GREY,
        markersize=9,
        label="the same in Keras, every fourth" if depth == "56" else None,
    )
axes.set(
    xlabel="convolution, from the image (1) to the end",
    ylabel="norm of the gradient",
    title="Before training: the gradient at each convolution",
)
axes.grid(alpha=0.3)
axes.legend(frameon=False, fontsize=8)
plt.show()

for name, count in (("plain20_cifar", 19), ("plain56_cifar", 55)):
    assert norms[name].shape == norms_keras[name].shape == (count,)
    assert np.allclose(norms[name], norms_keras[name], rtol=0.05)
growth = norms["plain56_cifar"][0] / norms["plain56_cifar"][-1]
print("plain-56: is the first gradient more than 100 times as long as the last?", growth > 100)
assert growth > 100

# %% [markdown]
# Read the figure from right to left, the way a gradient travels. In plain-56 it does not vanish. At
# the image it is more than 100 times as **long** as at the end! The authors of the paper looked at
# their gradients too. They write that they have healthy norms, and that vanishing gradients are
# unlikely to be the reason.
#
# So "the gradients vanish" is not the answer. But gradients can be bad in other ways: they may be
# too long, or change with every small step. Tutorial 11 looks at both.
#
# ## A good deep network exists
#
# Perhaps 56 plain layers cannot express what 20 can? They can, and we prove it by building one.
# Take the *trained* plain-20. Put new layers between the old ones, and let each of them **copy**
# its input:
#
# - a 3×3 kernel with a 1 in the middle and zeros around it copies a channel,
# - a BatchNorm with mean 0, variance 1, gamma 1 and beta 0 changes nothing,
# - the ReLU changes nothing either: its input comes from another ReLU, and has no negative numbers.
#
# Each stage of plain-20 has three blocks of two convolutions, each stage of plain-56 has nine. So
# six blocks in each stage are new. In `deepen` below, an array whose name the shallow network also
# has is taken from there; the others, like `layer1.3.conv1.weight`, get the numbers that copy.

# %%
kernel = np.zeros((16, 16, 3, 3), "float32")  # (out, in, height, width)
for channel in range(16):
    kernel[channel, channel, 1, 1] = 1
picture = torch.relu(torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0)))
copied = nn.functional.conv2d(picture, torch.from_numpy(kernel), padding=1)
print("the kernel copies its input:", torch.equal(copied, picture), tuple(copied.shape))
assert torch.equal(copied, picture)


# %%
def deepen(shallow: dict[str, np.ndarray], empty: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return weights for the deeper network: the shallow one's, and layers that copy."""
    deep = {}
    for key, array in empty.items():
        if key in shallow:
            deep[key] = shallow[key]
        elif array.ndim == 4:  # a convolution
            deep[key] = np.zeros_like(array)
            for channel in range(len(array)):
                deep[key][channel, channel, 1, 1] = 1
        elif key.endswith("running_var"):
            deep[key] = np.full_like(array, 1 - 1e-5)  # BatchNorm adds epsilon, 1e-5, to it
        else:
            deep[key] = np.full_like(array, float(key.endswith("weight")))  # gamma 1, others 0
    return deep


deep_torch = resnet_torch.create_model(digit_spec("plain56_cifar"), seed=0).eval()
copying = deepen(
    resnet_torch.get_weights(trained["plain20_cifar"]), resnet_torch.get_weights(deep_torch)
)
resnet_torch.set_weights(deep_torch, copying)
deep_keras = resnet_tf.create_model(digit_spec("plain56_cifar"), seed=0)
resnet_tf.set_weights(deep_keras, copying)  # the same arrays: the package turns them around

with torch.no_grad():
    logits_20, logits_56 = trained["plain20_cifar"](x_torch), deep_torch(x_torch)
keras_answers = resnet_tf.forward(deep_keras, x_keras).argmax(1)
print("plain-20 and the deepened plain-56 give the same logits to 1e-3:", end=" ")
print(torch.allclose(logits_20, logits_56, atol=1e-3))
assert logits_20.shape == logits_56.shape == (1437, 10)
assert torch.allclose(logits_20, logits_56, atol=1e-3)
assert (logits_20.argmax(1) == logits_56.argmax(1)).float().mean() > 0.99
assert (keras_answers == logits_20.argmax(1).numpy()).mean() > 0.99

# %% tags=["machine"]
built_error = error_of(deep_torch, x_torch, y)
print(f"plain-20, trained:              training error {shallow_error:5.1%}")
print(f"plain-56, trained:              training error {deep_error:5.1%}")
print(f"plain-56, built from plain-20:  training error {built_error:5.1%}")
assert abs(built_error - shallow_error) < 0.01

logits = resnet_torch.forward(deep_torch, x_torch[:512].numpy(), training=True)
batch_error = float((logits.argmax(1) != digits.train.labels[:512]).mean())
print(f"the same, with BatchNorm in training mode:     {batch_error:5.1%}")

# %% [markdown]
# So weights with a low training error **exist** for plain-56. We have built them. Training does not
# find anything as good. The problem is not what the network can express, and not the data. It is
# **optimisation**: the search for the weights.
#
# One limit, in the last line: our copies are exact in evaluation mode, where BatchNorm uses stored
# numbers. In training mode it uses those of the batch, and a copy would have to adapt gamma and
# beta to them. So to copy is possible, and delicate.
#
# ## The remedy in one line
#
# To copy is hard for a plain layer: many weights have to be exactly right. What if copying were the
# *starting point*, and the layers only had to learn what to change? That is the idea of the paper.
# Call what a block does before its last ReLU `f`: convolution, BatchNorm, ReLU, convolution,
# BatchNorm. `f` stays as it is; around it goes a **shortcut**:
#
#     plain:      out = relu(f(x))
#     residual:   out = relu(f(x) + x)
#
# Now a block copies as soon as `f(x)` is zero, and zero is easy: gamma and beta of its last
# BatchNorm. (`x` comes from a ReLU, so the last ReLU changes nothing.) That is all. A sum has no
# parameters, so nothing else changes. (Where the number of channels doubles, zeros are added to
# `x`: "option A", tutorial 5.)

# %%
for depth in (20, 56):
    plain, residual = digit_spec(f"plain{depth}_cifar"), digit_spec(f"resnet{depth}_cifar")
    print(
        f"{depth} layers: plain {count_parameters(plain):,} parameters,"
        f" residual {count_parameters(residual):,}"
    )
    assert count_parameters(plain) == count_parameters(residual)

# %% [markdown]
# The same recipe: the same images in the same order, the same rate, the same first weights.

# %% tags=["machine"]
for name in ("resnet20_cifar", "resnet56_cifar"):
    trained[name], curves[name] = train_torch(name, x_torch, y)
    print(name, " ".join(f"{error:4.0%}" for error in curves[name]))
name = "resnet56_cifar"
keras_models[name], keras_curves[name] = train_keras(name, KERAS_EPOCHS)
print(name, " ".join(f"{error:4.0%}" for error in keras_curves[name]), " (Keras)")
assert curves["plain56_cifar"][-1] > curves["resnet56_cifar"][-1] + 0.1
assert keras_curves["plain56_cifar"][-1] > keras_curves["resnet56_cifar"][-1] + 0.1

# %% tags=["machine", "cover"]
figure, panels = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True)
for axes, kind, title in ((panels[0], "plain", "Plain"), (panels[1], "resnet", "Residual")):
    for depth, colour, style in ((20, BLUE, "o-"), (56, ORANGE, "s--")):
        curve = curves[f"{kind}{depth}_cifar"]
        axes.plot(
            range(1, EPOCHS + 1),
            [100 * error for error in curve],
            style,
            color=colour,
            label=f"{depth} layers",
        )
    axes.plot(
        range(1, KERAS_EPOCHS + 1),
        [100 * error for error in keras_curves[f"{kind}56_cifar"]],
        "^:",
        color=GREY,
        label="56 layers, in Keras",
    )
    axes.set(xlabel="epoch", title=f"{title} networks", ylim=(-3, 100))
    axes.set_xticks(range(1, EPOCHS + 1))
    axes.grid(alpha=0.3)
panels[0].set_ylabel("training error (%)")
panels[1].legend(frameon=False)
plt.show()

# %% [markdown]
# With shortcuts, 56 layers learn: one addition for each two layers, and not one more parameter.
#
# And their gradients, before training?

# %%
ratio = {}
for name in ("plain56_cifar", "resnet56_cifar"):
    values = gradient_norms(resnet_torch, name)
    ratio[name] = values[0] / values[-1]
    many = "more than 100" if ratio[name] > 100 else "less than 50"
    print(f"{name}: first convolution / last convolution: {many}")
assert ratio["resnet56_cifar"] < 50 < 100 < ratio["plain56_cifar"]

# %% [markdown]
# The gradients of the residual network stay much nearer to one size than those of the plain one.
# Whether this is the reason is another question: tutorial 11 takes it up.
#
# Do they also do well on images that they never saw?

# %% tags=["machine"]
names = list(trained)
errors_train = [100 * error_of(trained[name], x_torch, y) for name in names]
errors_test = [100 * error_of(trained[name], x_test_torch, y_test) for name in names]
figure, axes = plt.subplots(figsize=(7.5, 3.2))
places = np.arange(len(names))
axes.bar(places - 0.2, errors_train, 0.38, color=BLUE, label="training images")
axes.bar(
    places + 0.2,
    errors_test,
    0.38,
    color=ORANGE,
    hatch="//",
    edgecolor="white",
    label="test images",
)
axes.set_xticks(places, [name.replace("_cifar", "") for name in names])
axes.set(ylabel="error (%)", title="After training")
axes.legend(frameon=False)
plt.show()
for name, training, test in zip(names, errors_train, errors_test):
    print(f"{name:<16}training {training:5.1f}%   test {test:5.1f}%")
assert errors_test[names.index("plain56_cifar")] > errors_test[names.index("resnet56_cifar")] + 10
assert max(abs(a - b) for a, b in zip(errors_train, errors_test)) < 20

# %% [markdown]
# In each network the two bars are close together. A network that learns the training images here
# can also read new ones; what goes wrong in plain-56 goes wrong in training.
#
# ## What this shows, and what the paper showed
#
# Be honest about toys. Our images are tiny, nobody needs 56 layers for them, and we stop after a
# few epochs. Trained for longer, plain-56 gets better: `resnet-twins experiment degradation` trains
# for 30 epochs, and draws the same figure. So we do not see that plain-56 *cannot* learn. We see
# that plain depth makes **training** much harder, and that shortcuts take that away. Nor does our
# residual network gain from its depth here: with 20 layers it learns as well as with 56.
#
# The paper showed it at full size, on two collections of photographs, CIFAR-10 and ImageNet:
#
# - Figure 1 and figure 6, left: on CIFAR-10, plain-56 ends with a higher training *and* test error
#   than plain-20, after a long training with a learning rate that falls. The gap is much smaller
#   than ours. Residual networks get better from 20 to 110 layers (figure 6, middle).
# - Figure 4 and Table 2: on ImageNet, a plain network of 34 layers is worse than one of 18. With
#   shortcuts, 34 layers are better than 18.
#
# And the reason? The authors do not claim to know it. They *guess* that deep plain networks improve
# exponentially slowly. Tutorial 11 looks at gradients and at the shape of the loss for more of an
# answer. Tutorial 5 writes the residual block line by line.
#
# ## Three sentences to remember
#
# 1. Degradation: from some depth on, a plain network has a higher **training** error than a
#    shallower one, so it is not overfitting.
# 2. Weights that are as good exist (let the new layers copy), and the gradients of the fresh
#    network do not vanish, they grow: the search fails, not the network.
# 3. A residual block computes `relu(f(x) + x)`, so that it copies where `f(x)` is zero, and 56
#    layers learn, without one more parameter.
#
# ## Exercises
#
# Worked solutions:
# [solutions/01_why_deeper_got_worse.ipynb](solutions/01_why_deeper_got_worse.ipynb).
#
# 1. **Predict.** Before you run the first training: which of plain-20 and plain-56 has the lower
#    training error after six epochs? Write down why you think so. How many times as many parameters
#    has plain-56?
# 2. **Real overfitting.** Train `resnet20_cifar` on the first 60 training images, for 60 epochs.
#    What are its training and its test error, measured with `error_of`? And what did the epochs
#    say? How do you tell this from degradation?
# 3. **Copy with shortcuts.** Turn a trained `resnet20_cifar` into a `resnet56_cifar` with the same
#    answers, in PyTorch and in Keras. (Print the names of the arrays that are new.) Which weights
#    of the new blocks matter now, and which may be anything?
# 4. **Another rate.** Somebody says: "plain-56 only needs another learning rate." Train it with a
#    quarter of our rate, and with five times our rate, for the same number of epochs. What do you
#    find, and what does it prove? If you have ten minutes more, try a fifteenth of our rate for 30
#    epochs.
