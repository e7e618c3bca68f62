# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Solutions to 1. Why deeper got worse
#
# Try each exercise of [the tutorial](../01_why_deeper_got_worse.ipynb) yourself before you look.

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
from shared.networks import get_spec
from shared.data import load_data
from shared.base import BLUE, GREEN, ORANGE
from shared.networks import count_parameters

# %% [markdown]
# The data, the training loop and the error of the tutorial, once more.

# %%
digits = load_data("digits")
x = torch.from_numpy((digits.train.images.astype("float32") / 8 - 1).transpose(0, 3, 1, 2))
x_test = torch.from_numpy((digits.test.images.astype("float32") / 8 - 1).transpose(0, 3, 1, 2))
y, y_test = torch.from_numpy(digits.train.labels), torch.from_numpy(digits.test.labels)
assert x.shape == (1437, 1, 8, 8) and x_test.shape == (360, 1, 8, 8)


def digit_spec(name: str):
    return get_spec(name, in_channels=1, input_size=8)


def train(
    name: str, images: torch.Tensor, labels: torch.Tensor, epochs: int, rate: float = 0.02
) -> tuple[nn.Module, list[float]]:
    model = resnet_torch.create_model(digit_spec(name), seed=0)
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9, weight_decay=1e-4)
    shuffle = torch.Generator().manual_seed(0)
    size, errors = min(64, len(labels)), []
    model.train()
    for _ in range(epochs):
        wrong, seen = 0, 0
        for batch in torch.randperm(len(labels), generator=shuffle).split(size):
            if len(batch) < size:
                continue
            logits = model(images[batch])
            loss = nn.functional.cross_entropy(logits, labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            wrong += int((logits.argmax(1) != labels[batch]).sum())
            seen += len(batch)
        errors.append(wrong / seen)
    return model.eval(), errors


def error_of(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    with torch.no_grad():
        return float((model(images).argmax(1) != labels).float().mean())


# %% [markdown]
# ## Exercise 1: predict
#
# Most people say "lower": more parameters can fit more. Plain-56 has 3.2 times as many, and could
# fit everything that plain-20 fits. Yet its training error is far **higher**, as the tutorial's
# cell asserts. What a network *can* express and what training *finds* are two questions.

# %%
ratio = count_parameters(digit_spec("plain56_cifar")) / count_parameters(
    digit_spec("plain20_cifar")
)
print(f"plain-56 has {ratio:.1f} times the parameters of plain-20")
assert round(ratio, 1) == 3.2

# %% [markdown]
# ## Exercise 2: real overfitting
#
# With 60 images the network soon knows all of them. It gets many more of the new images wrong.

# %% tags=["machine"]
few, curve = train("resnet20_cifar", x[:60], y[:60], epochs=60)
print("in epoch 1, 10, 20 and 60:", " ".join(f"{curve[e - 1]:.0%}" for e in (1, 10, 20, 60)))
training, test = error_of(few, x[:60], y[:60]), error_of(few, x_test, y_test)
print(f"60 training images: training error {training:.0%}, test error {test:.0%}")
assert training < 0.05
assert test > training + 0.1

# %% [markdown]
# This is the sign of overfitting: a training error near zero, and a test error far above it. In
# degradation both are high. So look at the training error first: it tells which of the two you
# have, and the cures are different.
#
# The errors of the epochs reach zero early. They are counted in training mode, with the mean and
# variance of this one batch. What BatchNorm has stored needs some more epochs until it fits: always
# measure in evaluation mode.
#
# ## Exercise 3: copy with shortcuts
#
# A residual block copies as soon as its `f(x)` is zero. The last layer of `f` is a BatchNorm, so a
# gamma and a beta of zero there are enough. (And `x` comes from a ReLU, so the last ReLU of the
# block changes nothing.) Everything else in the new blocks may be any finite number: we leave it as
# the seed drew it.

# %%
shallow, curve = train("resnet20_cifar", x, y, epochs=2)
deep = resnet_torch.create_model(digit_spec("resnet56_cifar"), seed=5).eval()
weights = resnet_torch.get_weights(deep)
old = resnet_torch.get_weights(shallow)
new = sorted(set(weights) - set(old))
print(len(new), "arrays are new:", ", ".join(new[:2]), "...")
assert "layer1.3.bn2.weight" in new
for key in weights:
    if key in old:
        weights[key] = old[key]
    elif key.endswith(("bn2.weight", "bn2.bias")):
        weights[key] = np.zeros_like(weights[key])
resnet_torch.set_weights(deep, weights)
with torch.no_grad():
    logits_20, logits_56 = shallow(x), deep(x)
print("the logits are equal to 1e-4:", torch.allclose(logits_20, logits_56, atol=1e-4))
assert logits_56.shape == (1437, 10)
assert torch.allclose(logits_20, logits_56, atol=1e-4)

deep_keras = resnet_tf.create_model(digit_spec("resnet56_cifar"), seed=5)
resnet_tf.set_weights(deep_keras, weights)
logits_keras = resnet_tf.forward(deep_keras, x[:100].numpy().transpose(0, 2, 3, 1))
print("in Keras too:", np.allclose(logits_keras, logits_20[:100].numpy(), atol=1e-3))
assert np.allclose(logits_keras, logits_20[:100].numpy(), atol=1e-3)

# %% [markdown]
# Beside the plain network, where every kernel had to hold exactly one 1 in the right place, this is
# easy. And it also holds while training: zero times anything is zero, whatever the batch is.
#
# ## Exercise 4: another rate
#
# Three rates, six epochs each. In the tutorial, with the middle rate, `resnet56_cifar` has learnt
# nearly all training images by then.

# %% tags=["machine"]
figure, axes = plt.subplots(figsize=(6.5, 3.5))
for rate, colour, style in ((0.005, BLUE, "o-"), (0.02, ORANGE, "s--"), (0.1, GREEN, "^:")):
    _, curve = train("plain56_cifar", x, y, epochs=6, rate=rate)
    axes.plot(range(1, 7), [100 * e for e in curve], style, color=colour, label=f"rate {rate}")
    print(f"rate {rate}:", " ".join(f"{error:4.0%}" for error in curve))
    assert curve[-1] > 0.3
axes.set(xlabel="epoch", ylabel="training error (%)", title="plain-56, three rates", ylim=(0, 100))
axes.set_xticks(range(1, 7))
axes.grid(alpha=0.3)
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# So it is not only the choice of one rate. But be careful: three rates and six epochs prove nothing
# about a fourth rate, another optimiser or a hundred epochs. With a fifteenth of our rate and 30
# epochs, a reader of this tutorial saw most digits learnt. A run that failed never proves that a
# network "cannot be trained". What the runs show is that plain-56 gets less far with the same
# effort.
