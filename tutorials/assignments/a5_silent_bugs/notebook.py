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
### BEGIN HIDDEN TESTS
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from shared.classroom.exam import exam


@exam.question
def ask_network(student, function, weights, images, labels, size, mode):
    """A small network with these weights goes through a function of the student."""
    import torch
    from torch import nn

    width, classes = weights["1.weight"].shape[0], weights["5.weight"].shape[0]
    model = nn.Sequential(
        nn.Conv2d(2, width, 3),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Dropout(0.5 if function == "evaluate" else 0.0),
        nn.Flatten(),
        nn.Linear(16 * width, classes),
    )
    model.load_state_dict({n: torch.tensor(v) for n, v in weights.items()})
    model.train(mode)
    if function == "evaluate":
        value = student.evaluate(model, torch.tensor(images), torch.tensor(labels), batch_size=size)
    else:
        value = student.mode_gap(model, torch.tensor(images))
    modes = [bool(m.training) for m in model.modules()]
    return {"value": value, "modes": modes, "state": dict(model.state_dict())}


def small_network():
    """Random weights, with lively running statistics, by name."""
    width, classes = int(exam.rng.integers(3, 7)), int(exam.rng.integers(3, 8))
    weights = {
        "0.weight": exam.rng.normal(size=(width, 2, 3, 3)) * 0.4,
        "0.bias": exam.rng.normal(size=width),
        "1.weight": exam.rng.uniform(0.5, 1.5, size=width),
        "1.bias": exam.rng.normal(size=width) * 0.5,
        "1.running_mean": exam.rng.normal(size=width),
        "1.running_var": exam.rng.uniform(0.3, 3.0, size=width),
        "5.weight": exam.rng.normal(size=(classes, 16 * width)) * 0.3,
        "5.bias": exam.rng.normal(size=classes) * 0.3,
    }
    weights = {n: v.astype("float32") for n, v in weights.items()}
    return weights | {"1.num_batches_tracked": np.array(int(exam.rng.integers(3, 90)))}


def logits_of(weights, images, training):
    """What that network answers, without dropout."""
    w = {n: torch.tensor(v) for n, v in weights.items()}
    x = F.conv2d(torch.tensor(images), w["0.weight"], w["0.bias"])
    statistics = (w["1.running_mean"].clone(), w["1.running_var"].clone())
    x = F.batch_norm(x, *statistics, w["1.weight"], w["1.bias"], training)
    return F.linear(x.relu().flatten(1), w["5.weight"], w["5.bias"]).numpy()


def evaluated(mode):
    """One evaluation: what came back, and what should have."""
    weights = small_network()
    images = exam.rng.normal(size=(90, 2, 6, 6)).astype("float32")
    best = np.sort(logits_of(weights, images, False), axis=1)
    images = images[best[:, -1] - best[:, -2] > 1e-3]  # rounding decides nothing
    answers = logits_of(weights, images, False).argmax(1)
    labels = np.where(exam.rng.random(len(answers)) < 0.7, answers, 0)
    size = int(exam.rng.integers(3, 20))
    got = ask_network(
        function="evaluate", weights=weights, images=images, labels=labels, size=size, mode=mode
    )
    exam.close(got["value"], float((answers == labels).mean()), f"accuracy, training={mode}")
    exam.equal(got["state"], weights, f"the model after evaluate, training={mode}")
    return got


def gap_asked(mode):
    weights = small_network()
    images = exam.rng.normal(size=(12, 2, 6, 6)).astype("float32")
    got = ask_network(
        function="mode_gap", weights=weights, images=images, labels=[], size=0, mode=mode
    )
    gap = np.abs(logits_of(weights, images, True) - logits_of(weights, images, False)).max()
    exam.close(got["value"], float(gap), f"mode_gap, training={mode}", rtol=1e-3, atol=1e-4)
    return weights, got


with exam.part(1, "evaluate: the accuracy in evaluation mode; no running statistic changes"):
    for _ in range(4):
        evaluated(True)
with exam.part(1, "evaluate: the mode of the model is as before"):
    for mode in (True, False, True):
        exam.equal(evaluated(mode)["modes"], [mode] * 7, f"modes, training={mode}")
with exam.part(1, "mode_gap: the number"):
    for mode in (True, False, True):
        gap_asked(mode)
with exam.part(1, "mode_gap: the model is left as it was"):
    for mode in (True, False):
        weights, got = gap_asked(mode)
        exam.equal(got["modes"], [mode] * 7, f"modes, training={mode}")
        exam.equal(got["state"], weights, f"the model after mode_gap, training={mode}")
exam.score()
### END HIDDEN TESTS

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
### BEGIN HIDDEN TESTS


@exam.question
def ask_training(student, weights, images, labels, rate, drops, factor):
    """Trains a small network in float64; its weights afterwards."""
    import torch
    from torch import nn

    inputs, hidden, classes = images.shape[2], weights["0.weight"].shape[0], len(weights["2.bias"])
    model = nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, classes)).double()
    model.load_state_dict({n: torch.tensor(v) for n, v in weights.items()})
    batches = list(zip(torch.tensor(images), torch.tensor(labels), strict=True))
    losses = student.train_with_drops(model, batches, rate, tuple(drops), factor)
    return {"losses": losses, "weights": dict(model.state_dict())}


def trained_by_formula(weights, images, labels, rate, drops, factor):
    """SGD with momentum, written out."""
    w = {n: torch.tensor(v, requires_grad=True) for n, v in weights.items()}
    velocity, losses = dict.fromkeys(w, 0.0), []
    for step, (x, y) in enumerate(zip(torch.tensor(images), torch.tensor(labels), strict=True)):
        rate = rate * factor if step in drops else rate
        x = F.linear(x, w["0.weight"], w["0.bias"]).tanh()
        loss = F.cross_entropy(F.linear(x, w["2.weight"], w["2.bias"]), y)
        gradients = torch.autograd.grad(loss, list(w.values()))
        losses.append(loss.item())
        with torch.no_grad():
            for (name, value), gradient in zip(w.items(), gradients, strict=True):
                velocity[name] = 0.9 * velocity[name] + gradient
                value -= rate * velocity[name]
    return {"losses": losses, "weights": {n: v.detach().numpy() for n, v in w.items()}}


def compare_training(drops, factor):
    inputs, hidden, classes = (int(n) for n in exam.rng.integers(3, 7, size=3))
    weights = {
        "0.weight": exam.rng.normal(size=(hidden, inputs)),
        "0.bias": exam.rng.normal(size=hidden),
        "2.weight": exam.rng.normal(size=(classes, hidden)),
        "2.bias": exam.rng.normal(size=classes),
    }
    case = {
        "weights": weights,
        "images": exam.rng.normal(size=(14, 6, inputs)),
        "labels": exam.rng.integers(0, classes, size=(14, 6)),
        "rate": float(exam.rng.uniform(0.1, 0.4)),
        "drops": drops,
        "factor": factor,
    }
    expected = trained_by_formula(**case)
    exam.close(ask_training(**case), expected, f"drops {drops} by {factor}", rtol=1e-7, atol=1e-9)


with exam.part(1, "one drop: losses and weights"):
    for _ in range(3):
        compare_training([int(exam.rng.integers(2, 11))], 0.1)
with exam.part(1, "several drops, other factors"):
    for factor in (0.5, 0.2, 0.1):
        compare_training(sorted(int(n) for n in exam.rng.permutation(np.arange(1, 12))[:3]), factor)


@exam.question
def ask_length(student, gradients):
    """Three parameters; the last one never gets a gradient."""
    import torch
    from torch import nn

    values = [
        nn.Parameter(torch.zeros(3, 4)),
        nn.Parameter(torch.zeros(5)),
        nn.Parameter(torch.zeros(2)),
    ]
    sgd = torch.optim.SGD(
        [{"params": values[:1]}, {"params": values[1:], "lr": 0.5}], lr=0.1, momentum=0.9
    )
    lengths = [student.momentum_length(sgd)]
    for first, second in gradients:
        values[0].grad, values[1].grad = torch.tensor(first), torch.tensor(second)
        sgd.step()
        lengths.append(student.momentum_length(sgd))
    return lengths


with exam.part(1, "momentum_length"):
    gradients, velocity, expected = [], np.zeros(17), [0.0]
    for _ in range(4):
        both = exam.rng.normal(size=17).astype("float32")
        gradients.append([both[:12].reshape(3, 4), both[12:]])
        velocity = 0.9 * velocity + both
        expected.append(float(np.sqrt((velocity**2).sum())))
    exam.close(ask_length(gradients=gradients), expected, "lengths", rtol=1e-4, atol=1e-9)
exam.score()
### END HIDDEN TESTS

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
### BEGIN HIDDEN TESTS


@exam.question
def ask_block(student, case, weights, images, training):
    """Builds the block, gives it weights by name and runs it."""
    import torch

    block = student.BasicBlock(*case)
    own = block.state_dict()
    shapes = {n: list(t.shape) for n, t in own.items() if not n.endswith("num_batches_tracked")}
    answer = {"shapes": shapes}
    if shapes == {n: list(v.shape) for n, v in weights.items()}:
        block.load_state_dict({n: torch.tensor(v) for n, v in weights.items()}, strict=False)
        block.train(training)
        with torch.no_grad():
            answer["out"] = block(torch.tensor(images))
        answer["state"] = {n: block.state_dict()[n] for n in weights}
    return answer


def block_weights(case):
    channels, wide, stride = case
    convs = {"conv1": (wide, channels, 3, 3), "conv2": (wide, wide, 3, 3)}
    norms = ["bn1", "bn2"]
    if stride != 1 or channels != wide:
        convs["downsample.0"] = (wide, channels, 1, 1)
        norms.append("downsample.1")
    weights = {
        f"{n}.weight": exam.rng.normal(size=s) * np.prod(s[1:]) ** -0.5 for n, s in convs.items()
    }
    for name in norms:
        weights[f"{name}.weight"] = exam.rng.uniform(0.5, 1.5, size=wide)
        weights[f"{name}.bias"] = exam.rng.normal(size=wide) * 0.5
        weights[f"{name}.running_mean"] = exam.rng.normal(size=wide) * 0.5
        weights[f"{name}.running_var"] = exam.rng.uniform(0.4, 2.0, size=wide)
    return {n: v.astype("float32") for n, v in weights.items()}


def block_output(weights, images, stride, training):
    """The block from its numbers alone, and these numbers afterwards."""
    w = {n: torch.tensor(v) for n, v in weights.items()}

    def layer(x, conv, norm, stride):
        kernel = w[f"{conv}.weight"]
        x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(w[f"{norm}.{n}"] for n in names), training)

    x = torch.tensor(images)
    out = layer(layer(x, "conv1", "bn1", stride).relu(), "conv2", "bn2", 1)
    if "downsample.0.weight" in w:
        x = layer(x, "downsample.0", "downsample.1", stride)
    return (out + x).relu().numpy(), {n: v.numpy() for n, v in w.items()}


def compare_block(case, training):
    weights = block_weights(case)
    images = (2 * exam.rng.normal(size=(4, case[0], 8, 6)) + 0.3).astype("float32")
    got = ask_block(case=case, weights=weights, images=images, training=training)
    shapes = {n: list(v.shape) for n, v in weights.items()}
    exam.equal(got["shapes"], shapes, f"BasicBlock{case}: names and shapes")
    out, state = block_output(weights, images, case[2], training)
    exam.close(got["out"], out, f"BasicBlock{case}: output", rtol=1e-3, atol=1e-4)
    exam.close(got["state"], state, f"BasicBlock{case}: weights after", rtol=1e-3, atol=1e-4)


def projections():
    c, more = (int(n) for n in exam.rng.integers(2, 7, size=2))
    return [(c, c + more, 2), (c, c + more, 1), (c, c, 2)]


with exam.part(1, "names and shapes, with and without a projection"):
    c = int(exam.rng.integers(2, 9))
    for case in [*projections(), (c, c, 1)]:
        got = ask_block(case=case, weights={}, images=np.zeros(1), training=False)
        shapes = {n: list(v.shape) for n, v in block_weights(case).items()}
        exam.equal(got["shapes"], shapes, f"BasicBlock{case}: names and shapes")
with exam.part(1, "output of a block with a projection, evaluation mode"):
    for case in projections():
        compare_block(case, training=False)
with exam.part(1, "output and running statistics of a block with a projection, training mode"):
    for case in projections():
        compare_block(case, training=True)
exam.score()
### END HIDDEN TESTS

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
### BEGIN HIDDEN TESTS


@exam.question
def ask_names(student, width, classes):
    """The names and shapes of the weights of a new network, and which are trained."""
    model = student.build_network(width, classes)
    rows = {}
    for layer in model.layers:
        for weight in layer.weights:
            rows[f"{layer.name}/{weight.name}"] = [list(weight.shape), bool(weight.trainable)]
    return rows


@exam.question
def ask_output(student, width, classes, size, weights, images, training):
    """The network of build_network with these weights, given by the name of the layer."""
    import numpy as np

    model = student.build_network(width, classes, size)
    for name, values in weights.items():
        model.get_layer(name).set_weights(values)
    return np.asarray(model(images, training=training))


@exam.question
def ask_moved(student, width, classes, weights, images):
    """Moves the weights of a network with biases."""
    import numpy as np
    from keras import Input, Model, layers

    def conv(x, channels, kernel_size, name):
        return layers.Conv2D(channels, kernel_size, padding="same", name=name)(x)

    def norm(x, name):
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)

    inputs = Input((8, 8, 1), name="images")
    x = layers.ReLU(name="relu1")(norm(conv(inputs, width, 3, "conv1"), "bn1"))
    out = norm(conv(x, width, 3, "layer1.0.conv1"), "layer1.0.bn1")
    out = layers.ReLU(name="layer1.0.relu1")(out)
    out = norm(conv(out, width, 3, "layer1.0.conv2"), "layer1.0.bn2")
    x = layers.ReLU(name="layer1.0.relu2")(layers.Add(name="layer1.0.add")([out, x]))
    maps = conv(x, classes, 1, "maps")
    old = Model(inputs, layers.GlobalAveragePooling2D(name="avgpool")(maps))
    for name, values in weights.items():
        old.get_layer(name).set_weights(values)
    new = student.build_network(width, classes)
    student.move_weights(old, new)
    kept = {name: old.get_layer(name).get_weights() for name in weights}
    extra = [layer.name for layer in new.layers if getattr(layer, "use_bias", False)]
    return {"out": np.asarray(new(images, training=False)), "old": kept, "biases": extra}


PAIRS = {"conv1": "bn1", "layer1.0.conv1": "layer1.0.bn1", "layer1.0.conv2": "layer1.0.bn2"}


def keras_weights(width, classes, biases):
    """By the name of the layer, in the order of Keras."""
    weights = {}
    for conv, norm in PAIRS.items():
        channels = 1 if conv == "conv1" else width
        kernel = exam.rng.normal(size=(3, 3, channels, width)) * (9 * channels) ** -0.5
        bias = exam.rng.normal(size=width)
        weights[conv] = [kernel, bias] if biases else [kernel]
        scales = exam.rng.uniform(0.5, 1.5, size=(2, width))
        shifts = exam.rng.normal(size=(2, width)) * 0.5
        weights[norm] = [scales[0], shifts[0], shifts[1], scales[1]]
    kernel = exam.rng.normal(size=(1, 1, width, classes))
    weights["maps"] = [kernel, exam.rng.normal(size=classes)]
    return {n: [v.astype("float32") for v in values] for n, values in weights.items()}


def keras_output(weights, images, training=False):
    """The same network from its numbers alone, computed with PyTorch."""

    def layer(x, conv, norm):
        kernel, *bias = (torch.tensor(v) for v in weights[conv])
        x = F.conv2d(x, kernel.permute(3, 2, 0, 1), *bias, padding=kernel.shape[0] // 2)
        if norm:
            gamma, beta, mean, variance = (torch.tensor(v) for v in weights[norm])
            x = F.batch_norm(x, mean, variance, gamma, beta, training)
        return x

    x = layer(torch.tensor(images.transpose(0, 3, 1, 2).copy()), "conv1", "bn1").relu()
    out = layer(x, "layer1.0.conv1", "layer1.0.bn1").relu()
    out = layer(out, "layer1.0.conv2", "layer1.0.bn2")
    return layer((out + x).relu(), "maps", None).mean((2, 3)).numpy()


def network_names(width, classes):
    rows = {}
    for conv, norm in PAIRS.items():
        rows[f"{conv}/kernel"] = [[3, 3, 1 if conv == "conv1" else width, width], True]
        for name in ("gamma", "beta", "moving_mean", "moving_variance"):
            rows[f"{norm}/{name}"] = [[width], not name.startswith("moving")]
    return rows | {"maps/kernel": [[1, 1, width, classes], True], "maps/bias": [[classes], True]}


def sizes():
    return (int(n) for n in exam.rng.integers(3, 8, size=2))


with exam.part(1, "build_network: names and shapes, a bias in maps only"):
    for _ in range(2):
        width, classes = sizes()
        answer = ask_names(width=width, classes=classes)
        exam.equal(answer, network_names(width, classes), "the weights of build_network")
with exam.part(1, "build_network: the logits with given weights"):
    for size, training in ((8, False), (6, True)):
        width, classes = sizes()
        answer = ask_names(width=width, classes=classes)
        exam.equal(answer, network_names(width, classes), "the weights of build_network")
        weights = keras_weights(width, classes, biases=False)
        images = exam.rng.normal(size=(4, size, size, 1)).astype("float32")
        case = {"width": width, "classes": classes, "size": size, "weights": weights}
        answer = ask_output(**case, images=images, training=training)
        expected = keras_output(weights, images, training)
        exam.close(answer, expected, "the logits of build_network", rtol=1e-3, atol=1e-4)
with exam.part(2, "move_weights: the logits of a trained network with biases"):
    for _ in range(2):
        width, classes = sizes()
        weights = keras_weights(width, classes, biases=True)
        images = exam.rng.normal(size=(4, 8, 8, 1)).astype("float32")
        answer = ask_moved(width=width, classes=classes, weights=weights, images=images)
        exam.equal(answer["biases"], ["maps"], "layers with a bias")
        exam.equal(answer["old"], weights, "the old network after move_weights")
        expected = keras_output(weights, images)
        exam.close(answer["out"], expected, "the logits after move_weights", rtol=1e-3, atol=1e-4)
exam.score()
### END HIDDEN TESTS

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
### BEGIN HIDDEN TESTS


@exam.question
def ask_crops(student, images, padding, seeds):
    """Crops with a new generator for each seed, and once more with the last one."""
    import numpy as np

    before, found = images.copy(), []
    for seed in seeds:
        generator = np.random.default_rng(seed)
        np.random.seed(len(found))  # the global generator is of no use
        found.append(student.random_crop(images, padding, generator))
    found.append(student.random_crop(images, padding, generator))
    return {"crops": found, "unchanged": bool(np.array_equal(images, before))}


def offsets(crops, images, padding):
    """Where each crop was cut out of its padded picture."""
    exam.require(isinstance(crops, np.ndarray), "the crops are no array")
    exam.require(crops.shape == images.shape, f"shape {crops.shape} instead of {images.shape}")
    exam.require(crops.dtype == images.dtype, f"dtype {crops.dtype} instead of {images.dtype}")
    padded = np.pad(images, ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)))
    height, width = images.shape[1:3]
    found = np.full((len(images), 2), -1)
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            pieces = padded[:, top : top + height, left : left + width]
            found[(pieces == crops).all(axis=(1, 2, 3))] = top, left
    exam.require((found >= 0).all(), "a crop is no piece of its padded picture")
    return found


def crop_case(count, padding, seeds):
    height, width, channels = (int(n) for n in exam.rng.integers(5, 9, size=3))
    shape = (count, height, width, channels % 3 + 1)
    images = exam.rng.integers(1, 256, size=shape)
    images = images.astype(exam.rng.choice(["uint8", "float32"]))
    answer = ask_crops(images=images, padding=padding, seeds=seeds)
    exam.equal(answer["unchanged"], True, "the pictures are unchanged")
    return [offsets(crops, images, padding) for crops in answer["crops"]]


with exam.part(1, "pieces of the padded pictures, at more than one place"):
    for padding in (1, 2, 3):
        first, _ = crop_case(60, padding, [int(exam.rng.integers(10**6))])
        exam.require(len(np.unique(first, axis=0)) > 1, "all crops are from one place")
with exam.part(1, "every place occurs, for each picture anew, rows and columns independent"):
    for padding in (1, 2):
        first, _ = crop_case(1500, padding, [int(exam.rng.integers(10**6))])
        _, counts = np.unique(first, axis=0, return_counts=True)
        places = (2 * padding + 1) ** 2
        exam.equal(len(counts), places, f"places with a padding of {padding}")
        share = counts * places / 1500
        exam.require(share.min() > 0.3 and share.max() < 2, "some places are far too rare")
with exam.part(1, "the generator decides, and it goes on"):
    seed = int(exam.rng.integers(10**6))
    one, same, other, further = crop_case(80, 2, [seed, seed, seed + 1])
    exam.require(len(np.unique(one, axis=0)) > 1, "all crops are from one place")
    exam.equal(same, one, "places with the same seed")
    exam.require(not np.array_equal(other, one), "another seed gives the same places")
    exam.require(not np.array_equal(further, other), "the second batch has the places of the first")
exam.score()
### END HIDDEN TESTS

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
### BEGIN HIDDEN TESTS


@exam.question
def ask_loss(student, kernel, bias, images, labels):
    """Loss and gradients of a dense layer that outputs logits."""
    import numpy as np
    from keras import Input, Sequential, layers

    model = Sequential([Input((kernel.shape[0],)), layers.Dense(kernel.shape[1])])
    model.set_weights([kernel, bias])
    loss, gradients = student.loss_and_gradients(model, images, labels)
    return {"loss": float(loss), "gradients": [np.asarray(g) for g in gradients]}


def loss_case(scale):
    """What came back, and the same in NumPy, in float64."""
    inputs, classes = (int(n) for n in exam.rng.integers(3, 8, size=2))
    count = int(exam.rng.integers(6, 15))
    kernel = (scale * exam.rng.normal(size=(inputs, classes))).astype("float32")
    bias = (0.5 * exam.rng.normal(size=classes)).astype("float32")
    images = exam.rng.normal(size=(count, inputs)).astype("float32")
    logits = images.astype("float64") @ kernel + bias  # (N, classes)
    labels = exam.rng.integers(0, classes, size=count)
    if scale > 1:
        labels[: count // 2] = logits[: count // 2].argmin(axis=1)  # sure and wrong
    logits -= logits.max(axis=1, keepdims=True)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    right = np.eye(classes)[labels]
    log_shares = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    slopes = (shares - right) / count
    expected = {
        "loss": float(-(log_shares * right).sum() / count),
        "gradients": [images.astype("float64").T @ slopes, slopes.sum(axis=0)],
    }
    return ask_loss(kernel=kernel, bias=bias, images=images, labels=labels), expected


assert round(float(np.log(np.e + 9)) - 1, 2) == 1.46  # the loss that the text speaks of
with exam.part(1, "the loss"):
    for _ in range(4):
        got, expected = loss_case(0.7)
        exam.close(got["loss"], expected["loss"], "loss", rtol=1e-4)
with exam.part(1, "the gradients"):
    for _ in range(4):
        got, expected = loss_case(0.7)
        exam.close(got["gradients"], expected["gradients"], "gradients", rtol=1e-3, atol=1e-5)
with exam.part(1, "loss and gradients where the network is sure and wrong"):
    for _ in range(4):
        got, expected = loss_case(25.0)
        exam.close(got, expected, "sure and wrong", rtol=1e-3, atol=1e-3)
exam.score()
### END HIDDEN TESTS

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
### BEGIN HIDDEN TESTS


@exam.question
def ask_accuracy(student, function, epochs):
    """Makes tensors of the batches of one or of several epochs."""
    import torch

    epochs = [[(torch.tensor(z), torch.tensor(y)) for z, y in batches] for batches in epochs]
    value = (
        student.epoch_accuracy(epochs[0]) if function == "accuracy" else student.best_epoch(epochs)
    )
    return [value, type(value).__name__]


def epoch_with(counts, sizes):
    """Batches of these sizes with this many right answers, in a random order."""
    batches = []
    for right, size in zip(counts, sizes, strict=True):
        labels = exam.rng.integers(0, 5, size=size)
        answers = (labels + (exam.rng.permutation(size) >= right)) % 5
        logits = exam.rng.normal(size=(size, 5)) + 20 * np.eye(5)[answers]
        batches.append([logits.astype("float32"), labels])
    return batches


def check_accuracy(counts, sizes):
    got = ask_accuracy(function="accuracy", epochs=[epoch_with(counts, sizes)])
    exam.equal(got[1], "float", "type of the accuracy")
    percent = 100 * sum(counts) / sum(sizes)
    exam.close(got[0], float(percent), f"{counts} right of {sizes}", rtol=1e-5)


with exam.part(1, "batches of equal size: a float that is not rounded"):
    for _ in range(5):
        size = int(exam.rng.integers(7, 40))
        check_accuracy(exam.rng.integers(1, size, size=4).tolist(), [size] * 4)
with exam.part(1, "a smaller last batch: every image counts the same"):
    for _ in range(5):
        size, last = int(exam.rng.integers(20, 40)), int(exam.rng.integers(2, 6))
        counts = [*exam.rng.integers(size // 2, size, size=3).tolist(), 1]
        check_accuracy(counts, [size] * 3 + [last])
with exam.part(1, "best_epoch, where the epochs are close"):
    for _ in range(6):
        counts = 490 + exam.rng.permutation(4)  # of 500: 98.0 to 98.6 per cent
        if counts[0] == 493:
            counts = counts[::-1]  # the best is not the first
        epochs = [epoch_with([int(n) - 300, 300], [200, 300]) for n in [*counts, 493]]
        got = ask_accuracy(function="best", epochs=epochs)
        exam.equal(got[0], int(counts.argmax()) + 1, f"the best of {counts.tolist()} of 500")
exam.score()
### END HIDDEN TESTS

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
### BEGIN HIDDEN TESTS


@exam.question
def ask_loader(student, labels, size, seed, between, epochs):
    """The numbers of the images and their labels, epoch for epoch; and the sizes of the batches."""
    import torch

    torch.manual_seed(between)
    count = len(labels)
    images = torch.arange(count, dtype=torch.float32).reshape(count, 1, 1, 1).repeat(1, 1, 2, 2)
    loader = student.make_loader(images, torch.tensor(labels), size, seed)
    numbers, classes, sizes = [], [], []
    for epoch in range(epochs):
        torch.manual_seed(between + epoch)
        batches = [(x[:, 0, 0, 0].long(), y) for x, y in loader]
        numbers.append(torch.cat([x for x, _ in batches]))
        classes.append(torch.cat([y for _, y in batches]))
        sizes.append([len(y) for _, y in batches])
    return {"numbers": numbers, "classes": classes, "sizes": sizes}


def shown(labels, size, seed, between=0, epochs=3):
    """The orders of some epochs, after all images were found once, with their labels."""
    answer = ask_loader(labels=labels, size=size, seed=seed, between=between, epochs=epochs)
    sizes = [min(size, len(labels) - start) for start in range(0, len(labels), size)]
    exam.equal(answer["sizes"], [sizes] * epochs, "sizes of the batches")
    for numbers, classes in zip(answer["numbers"], answer["classes"], strict=True):
        exam.equal(np.sort(numbers), np.arange(len(labels)), "every image once")
        exam.equal(classes, labels[numbers], "the labels of the images")
        exam.require(not np.array_equal(numbers, np.arange(len(labels))), "the order of the files")
    orders = [numbers.tolist() for numbers in answer["numbers"]]
    exam.require(len({str(order) for order in orders}) == epochs, "two epochs have one order")
    return orders


def sorted_labels():
    return np.sort(exam.rng.integers(0, 6, size=int(exam.rng.integers(40, 70))))


with exam.part(1, "every epoch: all images once, with their labels, in a new order"):
    for _ in range(3):
        shown(sorted_labels(), int(exam.rng.integers(5, 12)), int(exam.rng.integers(10**6)))
with exam.part(1, "the seed decides about the orders, and nothing else does"):
    labels, seed = sorted_labels(), int(exam.rng.integers(10**6))
    first = shown(labels, 8, seed)
    exam.equal(shown(labels, 8, seed, between=77), first, "the orders with the same seed")
    exam.require(shown(labels, 8, seed + 1) != first, "another seed, the same orders")


@exam.question
def ask_classes(student, batches):
    import torch

    return student.classes_per_batch([(torch.zeros(len(y), 1), torch.tensor(y)) for y in batches])


with exam.part(1, "classes_per_batch"):
    for _ in range(4):
        sizes = exam.rng.integers(1, 12, size=int(exam.rng.integers(3, 8)))
        batches = [exam.rng.integers(0, 7, size=int(n)) for n in sizes]
        mean = float(np.mean([len(set(y.tolist())) for y in batches]))
        exam.close(ask_classes(batches=batches), mean, "classes per batch")
exam.score()
### END HIDDEN TESTS

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
