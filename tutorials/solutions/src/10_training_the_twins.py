# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Solutions to 10. Training the twins
#
# Try each exercise of [the tutorial](../10_training_the_twins.ipynb) yourself before you look.

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
from keras import ops
from resnet_tf.layers import dtype_scope
from shared.training import Batches
from shared.networks import get_spec
from shared.data import load_data
from shared.base import BLUE, ORANGE
from shared.training import get_recipe
from shared.networks import lively_weights

# %% [markdown]
# The batches and the bench of the tutorial, a little shorter:

# %%
digits = load_data("digits")
batches = Batches(digits, get_recipe("quick", epochs=3, crop_padding=0))
SPEC = get_spec("resnet8_digits")
TAME = lively_weights(SPEC, 0, tame=True)
TWENTY = [batches.train_batch(1, number) for number in range(20)]
CONSTANT, DROPS = [0.05] * 20, [0.05] * 8 + [0.005] * 12


def bench_torch(make_optimizer, rates, zero_grad: bool = True) -> np.ndarray:
    model = resnet_torch.create_model(SPEC, dtype="float64")
    resnet_torch.set_weights(model, TAME)
    optimizer = make_optimizer(model.parameters())
    losses = []
    for rate, (images, labels) in zip(rates, TWENTY, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).double()  # (N, C, H, W)
        loss = nn.functional.cross_entropy(model(x), torch.from_numpy(labels))
        if zero_grad:
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert len(losses) == 20
    return np.array(losses)


def bench_keras(make_optimizer, rates) -> np.ndarray:
    with dtype_scope("float64"):
        model = resnet_tf.create_model(SPEC, dtype="float64")
        resnet_tf.set_weights(model, TAME)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer=make_optimizer(), loss=loss)
        losses = []
        for rate, (images, labels) in zip(rates, TWENTY, strict=True):
            model.optimizer.learning_rate = rate
            model.reset_metrics()
            losses.append(float(model.train_on_batch(images.astype("float64"), labels)))
    assert len(losses) == 20
    return np.array(losses)


def equal(name: str, a: np.ndarray, b: np.ndarray, bound: float = 1e-9) -> bool:
    same = bool(np.abs(a - b).max() < bound)
    print(f"{name:62} equal to {bound:.0e}: {same}")
    return same


# %% [markdown]
# ## Exercise 1: predict
#
# Most people expect an error, or a loss that does not fall. The loss falls, and the accuracy is no
# better than guessing. The formula explains it. Without `from_logits=True`, Keras takes the outputs for
# probabilities: it clips them to the range from almost 0 to 1, divides by their sum, and takes minus
# the logarithm. We do the same by hand, for logits of which one is large, and look at the gradient:

# %%
logits = keras.Variable([[3.0, 0.4, -1.0, 0.2]])
label = np.array([1])


def by_hand(values: np.ndarray) -> float:
    clipped = np.clip(values, 1e-7, 1 - 1e-7)
    return float(-np.log(clipped[0, 1] / clipped.sum()))


wrong_loss = keras.losses.SparseCategoricalCrossentropy()  # from_logits=False
right_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
assert abs(float(wrong_loss(label, logits)) - by_hand(logits.numpy())) < 1e-5


def slope(loss, place: int) -> float:
    """How the loss changes when one logit grows a little."""
    step = np.zeros((1, 4), "float32")
    step[0, place] = 1e-2
    return (float(loss(label, logits + step)) - float(loss(label, logits - step))) / 2e-2


for place, value in enumerate(logits.numpy()[0]):
    true = "  (true class)" if place == 1 else ""
    a, b = slope(wrong_loss, place), slope(right_loss, place)
    print(f"logit {value:5.1f}: slope without from_logits {a:5.2f}, with it {b:5.2f}{true}")
assert slope(wrong_loss, 0) == 0 < slope(right_loss, 0)
assert slope(wrong_loss, 2) == 0

# %% [markdown]
# The wrong class with the logit 3.0 is the answer, and nothing pushes it down: its slope is zero. The
# same holds below 0. Only logits between 0 and 1 learn.
#
# ## Exercise 2: a bug
#
# Without `zero_grad()`, the gradient in step 3 is `g1 + g2 + g3`: every old gradient stays, at full
# size. That is `v = 1.0 v + g`: plain SGD with a **momentum of 1**. Nothing ever slows it down.

# %%
forgotten = bench_torch(lambda p: torch.optim.SGD(p, 0.05), CONSTANT, zero_grad=False)
momentum_one = bench_torch(lambda p: torch.optim.SGD(p, 0.05, momentum=1.0), CONSTANT)
assert equal("zero_grad() forgotten, and momentum=1.0", forgotten, momentum_one)

right = bench_torch(lambda p: torch.optim.SGD(p, 0.05), CONSTANT)
figure, axes = plt.subplots(figsize=(7.5, 3.4))
axes.plot(range(1, 21), right, "o-", color=BLUE, markersize=4, label="right")
axes.plot(range(1, 21), forgotten, "s--", color=ORANGE, markersize=4, label="zero_grad() forgotten")
axes.set(xlabel="step", ylabel="cross-entropy (nats per image)", xticks=range(1, 21, 2))
axes.set_title("Gradients that are never forgotten")
axes.grid(alpha=0.3)
axes.legend(frameon=False)
plt.show()
assert forgotten.max() > right.max()

# %% [markdown]
# In Keras this bug cannot happen: `fit` makes new gradients in every step.
#
# ## Exercise 3: decay without momentum
#
# On paper, for one step:
#
#     coupled:    p - rate (g + decay p)  =  p - rate g - rate decay p
#     decoupled:  (p - rate decay p) - rate g
#
# That is the same. Only the momentum tells them apart, because coupled decay goes through it.

# %%
for momentum in (0.0, 0.9):
    settings = {"momentum": momentum, "weight_decay": 5e-3}
    a = bench_torch(lambda p: torch.optim.SGD(p, 0.05, **settings), CONSTANT)  # noqa: B023
    b = bench_keras(lambda: keras.optimizers.SGD(0.05, **settings), CONSTANT)  # noqa: B023
    same = equal(f"decay, momentum {momentum}: PyTorch and Keras' own SGD", a, b, 1e-6)
    assert same == (momentum == 0)

# %% [markdown]
# ## Exercise 4: Nesterov
#
#     PyTorch:  v = m v + g               Keras:  v = m v - rate g
#               p = p - rate (g + m v)            p = p + m v - rate g
#
# Again they agree while the rate is constant (to float32, because of the factor 0.9), and part when it
# changes.


# %%
class TorchSGD(keras.optimizers.Optimizer):
    def __init__(self, learning_rate: float, momentum: float, nesterov: bool = False) -> None:
        super().__init__(learning_rate)
        self.mu, self.nesterov, self.velocity = momentum, nesterov, {}

    def build(self, variables) -> None:
        if not self.built:
            super().build(variables)
            for variable in variables:
                key = variable.value.ref()  # TensorFlow's own variable, which update_step gets
                self.velocity[key] = self.add_variable_from_reference(variable, name="v")

    def update_step(self, gradient, variable, learning_rate) -> None:
        v = self.velocity[variable.ref()]
        rate = ops.cast(learning_rate, variable.dtype)
        new = self.mu * v + gradient
        self.assign(v, new)
        self.assign_sub(variable, rate * (gradient + self.mu * new if self.nesterov else new))


nesterov = {"momentum": 0.9, "nesterov": True}
for name, rates in (("constant rate", CONSTANT), ("the rate drops", DROPS)):
    a = bench_torch(lambda p: torch.optim.SGD(p, 0.05, **nesterov), rates)
    stock = bench_keras(lambda: keras.optimizers.SGD(0.05, **nesterov), rates)
    mended = bench_keras(lambda: TorchSGD(0.05, **nesterov), rates)
    assert equal(f"Nesterov, {name}: Keras' own SGD", a, stock, 1e-4) == (rates == CONSTANT)
    assert equal(f"Nesterov, {name}: TorchSGD", a, mended)

# %% [markdown]
# ## Exercise 5: the last batch
#
# No. Keras' metric counts **images**: the loss of the last batch has a weight of 29, the others of 64
# each. The mean of the 23 batch losses gives those 29 images more than twice the weight of the others.
# To see it we keep the weights as they are, with a learning rate of 0.

# %% tags=["machine"]
model = resnet_tf.create_model("resnet8_digits", seed=0)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(optimizer=keras.optimizers.SGD(0.0), loss=loss)
images, labels = batches.inputs.prepare(digits.train.images), digits.train.labels
order = np.argsort(
    labels, kind="stable"
)  # sorted by class, so that the last batch is a special one
reported = model.fit(images[order], labels[order], 64, shuffle=False, verbose=0).history["loss"][0]

torch_model = resnet_torch.create_model("resnet8_digits", seed=0)  # in training mode, as in fit
losses, sizes = [], []
with torch.no_grad():
    for start in range(0, len(order), 64):
        chosen = order[start : start + 64]
        x = torch.from_numpy(images[chosen].transpose(0, 3, 1, 2).copy())
        value = nn.functional.cross_entropy(torch_model(x), torch.from_numpy(labels[chosen]))
        losses.append(value.item())
        sizes.append(len(chosen))
by_image = np.average(losses, weights=sizes)
print(f"{len(sizes)} batches, the last of {sizes[-1]} images")
print("what fit reports = mean over images: ", abs(reported - by_image) < 1e-4)
print("what fit reports = mean over batches:", abs(reported - np.mean(losses)) < 1e-4)
assert (len(sizes), sizes[-1]) == (23, 29)
assert abs(reported - by_image) < 1e-4
assert abs(reported - np.mean(losses)) > 1e-4
