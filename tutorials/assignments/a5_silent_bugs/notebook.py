# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %%
import contextlib
import copy
import importlib
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # fewer of TensorFlow's messages
with contextlib.suppress(ImportError):
    importlib.import_module("triton")  # a part of PyTorch on Linux; after TensorFlow it would crash

import keras
import numpy as np
import tensorflow as tf
import torch
from keras import layers
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

# %% [markdown]
# ## The hunt
#
# Each of the eight programs below holds **one mistake**. None of them stops with an error. Five are
# written in PyTorch, two in Keras, one in NumPy. For each program you read what it is meant to do,
# and what somebody has noticed. The answer cell **begins as the program with the mistake**: mend it
# there, and change as little as you can. Keep the names of functions, arguments and layers.
#
# In three tasks you also write a small function that **measures**: its number shows that something is
# wrong, before anybody has read a line of the program.
#
# Do not believe that every mistake makes the network much worse. Some cost nearly everything, some
# next to nothing, and some only a wrong decision later on.
#
# ## Task 1: `evaluate`
#
# **Meant to do:** `evaluate(model, images, labels)` returns the share of the images that a PyTorch
# network gets right, as a float from 0 to 1. The answer for an image must not depend on the other
# images. Nobody trains here, so the model is **left as it was found**: its weights, its running
# statistics and its mode. It may come in training mode or in evaluation mode.
#
# **Noticed:** "In batches of 64 mixed images the accuracy is fine. With the same network and the same
# images, but with `batch_size=1`, more than half of the answers are wrong."


# %% answer="evaluate"
### BEGIN SOLUTION
def evaluate(model, images, labels, batch_size=64):
    """The share of images (N, C, H, W) that the model gets right."""
    was_training = model.training
    model.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(labels), batch_size):
            logits = model(images[start : start + batch_size])  # (B, classes)
            right += (logits.argmax(1) == labels[start : start + batch_size]).sum().item()
    model.train(was_training)
    return right / len(labels)


### END SOLUTION


# %% starts="evaluate"
def evaluate(model, images, labels, batch_size=64):
    """The share of images (N, C, H, W) that the model gets right."""
    right = 0
    with torch.no_grad():
        for start in range(0, len(labels), batch_size):
            logits = model(images[start : start + batch_size])  # (B, classes)
            right += (logits.argmax(1) == labels[start : start + batch_size]).sum().item()
    return right / len(labels)


# %% [markdown]
# The measuring function: `mode_gap(model, images)` asks the model about the same batch once in
# evaluation mode and once in training mode. It returns the largest absolute difference between two
# logits, as a float. The model is left as it was found: this time you have to ask it in training mode
# on purpose, so think about what that changes.


# %% answer="mode_gap"
def mode_gap(model, images):
    """The largest difference between a logit in training mode and in evaluation mode."""
    ### BEGIN SOLUTION
    copied = copy.deepcopy(model)
    with torch.no_grad():
        evaluation = copied.eval()(images)  # (N, classes)
        training = copied.train()(images)  # (N, classes)
    return (training - evaluation).abs().max().item()
    ### END SOLUTION


# %% test="evaluate" points=4
torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
)
images, labels = torch.randn(50, 1, 6, 6) + 0.5, torch.arange(50) % 3
before = copy.deepcopy(model.state_dict())
shares = [evaluate(model, images, labels, batch_size=size) for size in (50, 7, 1)]
assert type(shares[0]) is float, f"evaluate returns a {type(shares[0]).__name__}, not a float."
assert shares[0] == shares[1] == shares[2], (
    f"with batches of 50, 7 and 1 images the same model gets {shares}. Which layers look at other "
    "images of the batch, and when?"
)
changed = [n for n, v in model.state_dict().items() if not torch.equal(v, before[n])]
assert not changed, f"evaluating has changed {changed} of the model."
for mode in (True, False):
    model.train(mode)
    evaluate(model, images, labels)
    assert all(m.training == mode for m in model.modules()), (
        f"the model came with training={mode}, and was left with training={model.training}."
    )
plain = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
assert mode_gap(plain, images) == 0.0, (
    f"mode_gap of a network that has no BatchNorm and no dropout is {mode_gap(plain, images)}."
)
for mode in (True, False):
    model.load_state_dict(before)
    model.train(mode)
    gaps = [mode_gap(model, images), mode_gap(model, images)]
    assert type(gaps[0]) is float and gaps[0] > 0.01, (
        f"mode_gap of a network with a fresh BatchNorm is {gaps[0]!r}: is it a float, and were the "
        "two modes different?"
    )
    assert gaps[0] == gaps[1], f"asked twice, mode_gap gives {gaps}. Does asking change the model?"
    assert model.training == mode, f"mode_gap has left the model with training={model.training}."

# %% [markdown]
# ## Task 2: `train_with_drops`
#
# **Meant to do:** `train_with_drops(model, batches, learning_rate, drops)` trains with SGD and a
# momentum of 0.9, one step for each batch. Steps are counted from 0. With each step that is in
# `drops`, **before** this step is made, the learning rate is multiplied by `factor`. Nothing else
# changes there: with a smaller rate the training goes on as it was. It returns the losses.
#
# **Noticed:** "After each drop the network walks as if it had to pick up speed again."


# %% answer="train_with_drops"
### BEGIN SOLUTION
def train_with_drops(model, batches, learning_rate, drops, factor=0.1):
    """Trains the model in place; the loss of every step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=0.9)
    losses = []
    model.train()
    for step, (images, labels) in enumerate(batches):
        if step in drops:
            for group in optimizer.param_groups:
                group["lr"] *= factor
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


### END SOLUTION


# %% starts="train_with_drops"
def train_with_drops(model, batches, learning_rate, drops, factor=0.1):
    """Trains the model in place; the loss of every step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=0.9)
    losses = []
    model.train()
    for step, (images, labels) in enumerate(batches):
        if step in drops:
            learning_rate *= factor
            optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=0.9)
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# %% [markdown]
# The measuring function: `momentum_length(optimizer)` takes a `torch.optim.SGD`. It reads all its
# momentum buffers as one long vector and returns the length of this vector (the root of the sum of
# the squares), as a float. A parameter that has no buffer, or the buffer `None`, adds nothing, so an
# optimiser that has made no step yet has 0.0. Print `optimizer.state` after a step to see where the
# buffers are.


# %% answer="momentum_length"
def momentum_length(optimizer):
    """The length of all momentum buffers together."""
    ### BEGIN SOLUTION
    total = 0.0
    for state in optimizer.state.values():
        buffer = state.get("momentum_buffer")
        if buffer is not None:
            total += (buffer**2).sum().item()
    return total**0.5
    ### END SOLUTION


# %% test="train_with_drops" points=3
# A straight slope: the gradient hardly changes, so the weights walk as the momentum lets them.
slope = nn.Linear(1, 2, bias=False).double()
ones, zeros = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)


def walk(drops, steps=12):
    """How far the first weight goes in each step."""
    nn.init.constant_(slope.weight, 0.0)
    places = []

    def batches():
        for _ in range(steps):
            places.append(slope.weight[0, 0].item())
            yield ones, zeros

    losses = train_with_drops(slope, batches(), 1e-6, drops)
    assert len(losses) == steps, f"{steps} batches gave {len(losses)} losses."
    return np.diff([*places, slope.weight[0, 0].item()])


free, dropped = walk(drops=()), walk(drops=(6,))
assert np.allclose(dropped[:6], free[:6], rtol=1e-3), (
    "the steps before the drop are not those of a training without drops."
)
ratio = dropped[6] / free[6]
assert abs(ratio - 0.1) < 1e-3, (
    f"right at the drop, with a tenth of the rate, a step is {ratio:.3f} times as long as without the "
    "drop. What besides the rate is different from the step before?"
)
ratio = walk(drops=(3, 6))[6:] / free[6:]
assert np.allclose(ratio, 0.01, rtol=1e-2), (
    f"after two drops the steps are {ratio.round(4).tolist()} times as long as without drops."
)
weights = [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))]
sgd = torch.optim.SGD(weights, lr=0.1, momentum=0.9)
assert momentum_length(sgd) == 0.0, f"a new optimiser has a length of {momentum_length(sgd)}."
weights[0].grad, weights[1].grad = torch.tensor([3.0]), torch.tensor([4.0])
sgd.step()
length = momentum_length(sgd)
assert type(length) is float and abs(length - 5) < 1e-5, (
    f"after one step with the gradients 3, 4 and none momentum_length is {length!r}. The first "
    "gradient is the first momentum: how long is the vector (3, 4)?"
)

# %% [markdown]
# ## Task 3: `BasicBlock`
#
# **Meant to be** the basic block of tutorial 5, with option B: the shortcut is a projection where the
# shape changes, in the number of channels or by the stride, and the identity elsewhere.
#
# **Noticed:** "I multiplied what goes into a block by ten, in training mode. In the blocks with an
# identity the shortcut then gives ten times as much, of course. In those with a projection it does so,
# too, but their main path gives what it gave before."


# %% answer="BasicBlock"
### BEGIN SOLUTION
class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, a projection where the shape changes."""

    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x):  # (N, C, H, W)
        out = torch.relu(self.bn1(self.conv1(x)))  # (N, C', H/s, W/s)
        out = self.bn2(self.conv2(out))  # (N, C', H/s, W/s)
        return torch.relu(out + self.downsample(x))  # (N, C', H/s, W/s)


### END SOLUTION


# %% starts="BasicBlock"
class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, a projection where the shape changes."""

    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            )

    def forward(self, x):  # (N, C, H, W)
        out = torch.relu(self.bn1(self.conv1(x)))  # (N, C', H/s, W/s)
        out = self.bn2(self.conv2(out))  # (N, C', H/s, W/s)
        return torch.relu(out + self.downsample(x))  # (N, C', H/s, W/s)


# %% test="BasicBlock" points=3
torch.manual_seed(0)
images = torch.randn(8, 4, 8, 8)  # (N, C, H, W)
for case in [(4, 4, 1), (4, 6, 2), (4, 6, 1), (4, 4, 2)]:
    block = BasicBlock(*case)
    shape = tuple(block(images).shape)
    assert shape == (8, case[1], 8 // case[2], 8 // case[2]), f"BasicBlock{case} gives {shape}."
    with torch.no_grad():
        once, bright = block.downsample(images), block.downsample(10 * images)
    growth = (bright.abs().mean() / once.abs().mean()).item()
    wanted = 10 if case == (4, 4, 1) else 1
    assert abs(growth - wanted) < 0.01 * wanted, (
        f"BasicBlock{case}: with an input ten times as large, in training mode, the shortcut becomes "
        f"{growth:.2f} times as large, not {wanted}. Where the shape stays, the shortcut is the "
        "identity; compare the others with the projection of tutorial 5."
    )
extra = [n for n in BasicBlock(4, 4, 1).state_dict() if n.startswith("downsample")]
assert not extra, f"where the shape stays, the shortcut has weights: {extra}."
assert not any(m.bias is not None for m in block.modules() if isinstance(m, nn.Conv2d)), (
    "a convolution of the block has a bias. None had one before."
)

# %% [markdown]
# ## Task 4: `build_network`
#
# **Meant to be** a small residual network in Keras whose convolutions have a bias only **where it
# does something**. At the end a 1x1 convolution makes one map for each class, and the mean of a map
# is the logit. `build_with_biases` is the program as the team has used it. Leave it as it is.
#
# **Noticed:** "In the trained network I added 100 to a bias. In training mode, nothing happened to
# the logits beyond rounding. With `maps` it was different."


# %%
def build_with_biases(width, classes, size=8):
    """A stem, one residual block, and a map for each class: (N, size, size, 1) -> (N, classes)."""

    def conv(x, channels, kernel_size, name):
        return layers.Conv2D(channels, kernel_size, padding="same", name=name)(x)

    def norm(x, name):
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)

    inputs = keras.Input((size, size, 1), name="images")
    x = layers.ReLU(name="relu1")(norm(conv(inputs, width, 3, "conv1"), "bn1"))  # (N, H, W, C)
    out = norm(conv(x, width, 3, "layer1.0.conv1"), "layer1.0.bn1")
    out = layers.ReLU(name="layer1.0.relu1")(out)
    out = norm(conv(out, width, 3, "layer1.0.conv2"), "layer1.0.bn2")
    x = layers.ReLU(name="layer1.0.relu2")(layers.Add(name="layer1.0.add")([out, x]))
    x = conv(x, classes, 1, "maps")  # (N, H, W, classes)
    return keras.Model(inputs, layers.GlobalAveragePooling2D(name="avgpool")(x))


# %% answer="build_network"
### BEGIN SOLUTION
def build_network(width, classes, size=8):
    """A stem, one residual block, and a map for each class: (N, size, size, 1) -> (N, classes)."""

    def conv(x, channels, kernel_size, name, use_bias=False):
        layer = layers.Conv2D(channels, kernel_size, padding="same", use_bias=use_bias, name=name)
        return layer(x)

    def norm(x, name):
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)

    inputs = keras.Input((size, size, 1), name="images")
    x = layers.ReLU(name="relu1")(norm(conv(inputs, width, 3, "conv1"), "bn1"))  # (N, H, W, C)
    out = norm(conv(x, width, 3, "layer1.0.conv1"), "layer1.0.bn1")
    out = layers.ReLU(name="layer1.0.relu1")(out)
    out = norm(conv(out, width, 3, "layer1.0.conv2"), "layer1.0.bn2")
    x = layers.ReLU(name="layer1.0.relu2")(layers.Add(name="layer1.0.add")([out, x]))
    x = conv(x, classes, 1, "maps", use_bias=True)  # (N, H, W, classes)
    return keras.Model(inputs, layers.GlobalAveragePooling2D(name="avgpool")(x))


### END SOLUTION


# %% starts="build_network"
def build_network(width, classes, size=8):
    """A stem, one residual block, and a map for each class: (N, size, size, 1) -> (N, classes)."""

    def conv(x, channels, kernel_size, name):
        return layers.Conv2D(channels, kernel_size, padding="same", name=name)(x)

    def norm(x, name):
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)

    inputs = keras.Input((size, size, 1), name="images")
    x = layers.ReLU(name="relu1")(norm(conv(inputs, width, 3, "conv1"), "bn1"))  # (N, H, W, C)
    out = norm(conv(x, width, 3, "layer1.0.conv1"), "layer1.0.bn1")
    out = layers.ReLU(name="layer1.0.relu1")(out)
    out = norm(conv(out, width, 3, "layer1.0.conv2"), "layer1.0.bn2")
    x = layers.ReLU(name="layer1.0.relu2")(layers.Add(name="layer1.0.add")([out, x]))
    x = conv(x, classes, 1, "maps")  # (N, H, W, classes)
    return keras.Model(inputs, layers.GlobalAveragePooling2D(name="avgpool")(x))


# %% [markdown]
# The team does not want to train again. `move_weights(old, new)` gets a **trained** network of
# `build_with_biases` and a new one of `build_network`. It sets the weights of `new`, so that both give
# the same logits **in evaluation mode**, for all images. The biases of `old` are not zero, and
# evaluation mode uses them. Where can their effect go? The network `old` is left as it is.
#
# `layer.get_weights()` is a list: kernel and bias of a convolution; gamma, beta, moving mean and
# moving variance of a BatchNorm.


# %% answer="move_weights"
def move_weights(old, new):
    """Gives `new` the weights of `old`; both then give the same logits in evaluation mode."""
    ### BEGIN SOLUTION
    for layer in new.layers:
        values = old.get_layer(layer.name).get_weights()
        if isinstance(layer, layers.BatchNormalization):
            _, bias = old.get_layer(layer.name.replace("bn", "conv")).get_weights()
            values[2] = values[2] - bias
        elif len(values) > len(layer.weights):
            values = values[:1]
        layer.set_weights(values)
    ### END SOLUTION


# %% test="build_network" points=4
keras.utils.set_random_seed(0)
old, new = build_with_biases(4, 3), build_network(4, 3)
images = np.random.default_rng(0).normal(size=(5, 8, 8, 1)).astype("float32")  # (N, H, W, C)
for layer in new.layers:
    if isinstance(layer, layers.Conv2D) and layer.use_bias:
        before = np.asarray(new(images, training=True))
        layer.bias.assign_add(np.ones(layer.bias.shape))
        change = np.abs(np.asarray(new(images, training=True)) - before).max()
        assert change > 0.01, (
            f"1 was added to the bias of {layer.name}, and in training mode no logit has changed by "
            f"more than {change:.1g}. Which layer comes after it, and what does it take away?"
        )
assert new.get_layer("maps").use_bias, "a bias is missing where it has an effect."
assert [n.name for n in new.layers] == [n.name for n in old.layers], (
    f"the layers are {[n.name for n in new.layers]}. Keep their names and their order."
)
rng = np.random.default_rng(0)
for weight in old.weights:  # as if it had been trained
    weight.assign(rng.uniform(0.3, 1.2, weight.shape) * rng.choice([0.5, 1.0], weight.shape))
expected = np.asarray(old(images, training=False))
move_weights(old, new)
assert np.array_equal(expected, np.asarray(old(images, training=False))), "old was changed."
gap = np.abs(np.asarray(new(images, training=False)) - expected).max()
assert gap < 1e-3 * np.abs(expected).max(), (
    f"after move_weights the logits differ by up to {gap:.3g}. Write down what a convolution with a "
    "bias and its BatchNorm compute in evaluation mode, as one formula."
)

# %% [markdown]
# ## Task 5: `waste`
#
# "With these biases our network has learnt worse." Is that likely? Say in one or two sentences what a
# bias in front of a BatchNorm does in training, and what it costs.

# %% [markdown] written="waste" points=1
# No. In training BatchNorm subtracts the mean of the batch, and the bias is a part of this mean, so it
# is gone again: the output is the same and the bias gets no gradient (but rounding). It costs some
# memory and time, and one number for each channel that says nothing.

# %% [markdown]
# ## Task 6: `random_crop`
#
# **Meant to do:** `random_crop(images, padding, generator)` moves the pictures a little, as in the
# training on CIFAR. It puts `padding` pixels of zeros around each picture and cuts out a piece of the
# old size. The place of the piece is drawn by `generator`, a NumPy generator: for each picture of the
# batch anew, with the row and the column independent, and with all places equally likely. The pictures
# that come in are not changed, and type and shape of the array stay.
#
# **Noticed:** "With and without the augmentation my training curves are the same, to the last digit."


# %% answer="random_crop"
### BEGIN SOLUTION
def random_crop(images, padding, generator):
    """Pieces of the padded pictures (N, H, W, C), of the old size and at random places."""
    count, height, width, _ = images.shape
    out = np.empty_like(images)
    images = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    tops = generator.integers(0, images.shape[1] - height + 1, size=count)
    lefts = generator.integers(0, images.shape[2] - width + 1, size=count)
    for index, (top, left) in enumerate(zip(tops, lefts)):
        out[index] = images[index, top : top + height, left : left + width]
    return out


### END SOLUTION


# %% starts="random_crop"
def random_crop(images, padding, generator):
    """Pieces of the padded pictures (N, H, W, C), of the old size and at random places."""
    count, height, width, _ = images.shape
    out = np.empty_like(images)
    np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    tops = generator.integers(0, images.shape[1] - height + 1, size=count)
    lefts = generator.integers(0, images.shape[2] - width + 1, size=count)
    for index, (top, left) in enumerate(zip(tops, lefts)):
        out[index] = images[index, top : top + height, left : left + width]
    return out


# %% test="random_crop" points=3
dots = np.zeros((400, 5, 7, 1), "float32")
dots[:, 2, 3] = 1.0  # one white pixel in the middle
crops = random_crop(dots, 1, np.random.default_rng(0))
assert dots.sum() == 400 and dots.shape == (400, 5, 7, 1), "the pictures that came in were changed."
assert crops.shape == dots.shape and crops.dtype == dots.dtype, (
    f"400 pictures of shape (5, 7, 1) and type float32 became {crops.shape} and {crops.dtype}."
)
places = {(int(row) - 2, int(column) - 3) for _, row, column, _ in np.argwhere(crops)}
assert len(places) > 1, (
    f"400 pictures were all moved by {places}. From how many places can a piece of 5 x 7 be cut?"
)
assert len(places) == 9, (
    f"with a padding of 1 a picture can move in 9 ways (or stay); 400 pictures did {sorted(places)}."
)
again = random_crop(dots, 1, np.random.default_rng(0))
assert np.array_equal(crops, again), "a generator with the same seed gave other crops."
corner = np.ones((200, 3, 3, 1), "uint8")
assert {int(c.sum()) for c in random_crop(corner, 1, np.random.default_rng(1))} == {4, 6, 9}, (
    "white pictures of 3 x 3, moved by at most one pixel, keep 4, 6 or 9 white pixels. Yours keep "
    f"{sorted({int(c.sum()) for c in random_crop(corner, 1, np.random.default_rng(1))})}. What comes "
    "in at the edges?"
)

# %% [markdown]
# ## Task 7: `loss_and_gradients`
#
# **Meant to do:** `loss_and_gradients(model, images, labels)` returns the mean cross-entropy of a
# batch and its gradients, one for each of `model.trainable_weights`. The Keras model outputs
# **logits**. The result must also be right where the network is very sure, and wrong.
#
# **Noticed:** "There are ten classes. The training images are nearly all right, but the loss does not
# fall below 1.46. And when the network is sure and wrong, it hardly learns."


# %% answer="loss_and_gradients"
### BEGIN SOLUTION
def loss_and_gradients(model, images, labels):
    """The mean cross-entropy of a batch, and its gradients for the trainable weights."""
    with tf.GradientTape() as tape:
        logits = model(images, training=True)  # (N, classes)
        losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        loss = keras.ops.mean(losses)
    return loss, tape.gradient(loss, model.trainable_weights)


### END SOLUTION


# %% starts="loss_and_gradients"
def loss_and_gradients(model, images, labels):
    """The mean cross-entropy of a batch, and its gradients for the trainable weights."""
    with tf.GradientTape() as tape:
        outputs = keras.ops.softmax(model(images, training=True))  # (N, classes)
        outputs = keras.ops.clip(outputs, 1e-7, 1.0)  # there is no logarithm of zero
        losses = keras.losses.sparse_categorical_crossentropy(labels, outputs, from_logits=True)
        loss = keras.ops.mean(losses)
    return loss, tape.gradient(loss, model.trainable_weights)


# %% test="loss_and_gradients" points=3
model = keras.Sequential([keras.Input((3,)), layers.Dense(3, use_bias=False)])
labels = np.array([0, 1, 2])
for size, least, most in ((0.0, 1.09, 1.11), (8.0, 0.0, 0.01)):
    model.set_weights([size * np.eye(3, dtype="float32")])  # the logit of the right class is `size`
    loss, gradients = loss_and_gradients(model, np.eye(3, dtype="float32"), labels)
    assert least <= float(loss) <= most, (
        f"three classes, the logit of the right one is {size}, the others are 0: the loss is "
        f"{float(loss):.4f}, it should lie between {least} and {most}. What does the loss function "
        "expect as its second argument?"
    )
assert len(gradients) == 1 and tuple(gradients[0].shape) == (3, 3), (
    f"{len(gradients)} gradients came back: there should be one for each trainable weight."
)
model.set_weights([-30 * np.eye(3, dtype="float32")])
loss, gradients = loss_and_gradients(model, np.eye(3, dtype="float32"), labels)
assert 30 < float(loss) < 31, (
    f"the logit of the right class is 30 below the others, and the loss is {float(loss):.4f}. It "
    "should be a little above 30. Is something cut off on the way?"
)
largest = float(np.abs(gradients[0]).max())
assert 0.3 < largest < 0.34, (
    f"sure and wrong: the largest gradient is {largest:.2g}, and should be a third (three images, "
    "each of them pulls its logit up with all its force)."
)

# %% [markdown]
# ## Task 8: `epoch_accuracy`
#
# **Meant to do:** `epoch_accuracy(batches)` gets a list of pairs `(logits, labels)`, PyTorch tensors,
# and returns how many **per cent** of all the images are right, as a Python float. Every image counts
# the same, also those of a smaller last batch. `best_epoch(epochs)` gets such a list for each epoch,
# and returns the number of the best epoch, counted from 1; of equally good ones the first.
#
# **Noticed:** "We keep the network of the best epoch. From epoch 5 on it never finds a better one, but
# the loss on the test images goes on falling."


# %% answer="epoch_accuracy"
### BEGIN SOLUTION
def epoch_accuracy(batches):
    """How many per cent of the images are right."""
    right = seen = 0
    for logits, labels in batches:
        right += (logits.argmax(1) == labels).sum().item()
        seen += len(labels)
    return 100 * right / seen


def best_epoch(epochs):
    """The number of the epoch with the highest accuracy, counted from 1."""
    accuracies = [epoch_accuracy(batches) for batches in epochs]
    return accuracies.index(max(accuracies)) + 1


### END SOLUTION


# %% starts="epoch_accuracy"
def epoch_accuracy(batches):
    """How many per cent of the images are right."""
    right = seen = 0
    for logits, labels in batches:
        right += (logits.argmax(1) == labels).sum().item()
        seen += len(labels)
    return 100 * right // seen


def best_epoch(epochs):
    """The number of the epoch with the highest accuracy, counted from 1."""
    accuracies = [epoch_accuracy(batches) for batches in epochs]
    return accuracies.index(max(accuracies)) + 1


# %% test="epoch_accuracy" points=3
def answers(right, wrong):
    """A batch with that many right and wrong answers."""
    logits = torch.eye(3)[torch.zeros(right + wrong, dtype=torch.int64)]
    return logits, torch.tensor([0] * right + [1] * wrong)


percent = epoch_accuracy([answers(3, 1), answers(2, 2)])
assert type(percent) is float, (
    f"5 of 8 images are right, and epoch_accuracy gives {percent!r}, a {type(percent).__name__}."
)
assert abs(percent - 62.5) < 1e-4, f"5 of 8 images are right: 62.5 per cent, not {percent}."
percent = epoch_accuracy([answers(8, 0), answers(0, 2)])
assert abs(percent - 80) < 1e-4, (
    f"8 of 8 images and then 0 of 2 are right. Together that is 8 of 10, and not {percent} per cent."
)
best = best_epoch([[answers(196, 4)], [answers(195, 5)], [answers(197, 3)], [answers(197, 3)]])
assert best == 3, f"196, 195, 197 and 197 of 200 images are right, and {best} is the best epoch?"

# %% [markdown]
# ## Task 9: `make_loader`
#
# **Meant to do:** `make_loader(images, labels, batch_size, seed)` returns a `DataLoader` for training.
# In every epoch each image comes once, with its label, and in every epoch the order is a new random
# one. The seed decides about all orders, and nothing else does: not how many random numbers the rest
# of the program has drawn.
#
# **Noticed:** "The images lie in folders, one for each class, and are read one folder after the
# other. The curve of the training loss is a saw: it falls, and jumps up again when the next folder
# begins. And the test accuracy is that of a guess."


# %% answer="make_loader"
### BEGIN SOLUTION
def make_loader(images, labels, batch_size, seed):
    """Batches of images and labels, in a new random order in every epoch."""
    generator = torch.Generator().manual_seed(seed)
    data = TensorDataset(images, labels)
    return DataLoader(data, batch_size=batch_size, shuffle=True, generator=generator)


### END SOLUTION


# %% starts="make_loader"
def make_loader(images, labels, batch_size, seed):
    """Batches of images and labels, in a new random order in every epoch."""
    generator = torch.Generator().manual_seed(seed)
    data = TensorDataset(images, labels)
    return DataLoader(data, batch_size=batch_size, generator=generator)


# %% [markdown]
# The measuring function: `classes_per_batch(batches)` gets anything that gives pairs `(images,
# labels)`, such as a loader. It counts in each batch how many **different** classes it holds, and
# returns the mean of these counts over the batches, as a float.


# %% answer="classes_per_batch"
def classes_per_batch(batches):
    """How many different classes a batch has, on average."""
    ### BEGIN SOLUTION
    counts = [len(labels.unique()) for _, labels in batches]
    return sum(counts) / len(counts)
    ### END SOLUTION


# %% test="make_loader" points=3
labels = torch.arange(8).repeat_interleave(8)  # sorted, as out of eight folders
images = torch.arange(64).float().reshape(64, 1, 1, 1)  # the picture of number n is n


def orders(seed, epochs=3, between=0):
    """The numbers of the images in each epoch."""
    loader, found = make_loader(images, labels, 8, seed), []
    for epoch in range(epochs):
        torch.manual_seed(between + epoch)  # the rest of the program draws, too
        found.append([int(n) for pictures, _ in loader for n in pictures.flatten()])
    return found


first, second, third = orders(seed=5)
assert sorted(first) == list(range(64)), "in one epoch not every image came exactly once."
assert all(
    int(y) == int(x) // 8 for xs, ys in make_loader(images, labels, 8, 5) for x, y in zip(xs, ys)
), "images have come with the labels of others."
assert first != list(range(64)), (
    f"the first images come in the order {first[:10]}: as in the folders."
)
assert first != second and second != third, "two epochs have the same order."
assert orders(seed=5) == [first, second, third], "with the same seed the orders are others."
assert orders(seed=6) != [first, second, third], "with another seed the orders are the same."
assert orders(seed=5, between=100) == [first, second, third], (
    "the orders change when the rest of the program draws other random numbers."
)
count = classes_per_batch([(images[:4], torch.tensor([2, 2, 7, 2])), (images[:2], labels[:2])])
assert type(count) is float and count == 1.5, (
    f"a batch of two classes and one of a single class: {count!r} on average?"
)
assert classes_per_batch(make_loader(images, labels, 8, 5)) > 3, "many batches are of one class."

# %% [markdown]
# ## Task 10: `measurement`
#
# In two of the eight programs the mistake lies in a **measurement**: the learned weights are those of
# a right program. Which two? Say for one of them how somebody can end up with a worse network all the
# same.

# %% [markdown] written="measurement" points=1
# `evaluate` and `epoch_accuracy`. People decide by what they measure: with whole per cents an early
# epoch counts as the best, and a later, better one is not kept. (Or: with a wrong accuracy of
# `evaluate` one picks the wrong network or the wrong learning rate; and asking in training mode moves
# the running statistics, which the network uses later.)
