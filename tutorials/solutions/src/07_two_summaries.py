# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Solutions to 7. Reading two summaries
#
# Try each exercise of [the tutorial](../07_two_summaries.ipynb) yourself before you look.

# %%
# Set-up: installs the package where it is missing (as on Colab); in a clone, from the clone.
import importlib.util
from pathlib import Path

if importlib.util.find_spec("resnet_torch") is None:
    home = next((p for p in Path.cwd().parents if (p / "resnet_torch").is_dir()), "resnet-twins")
    get_ipython().run_line_magic("pip", f'install -q "{home}[all,notebooks]"')

# %%
# %matplotlib inline
import numpy as np
import torch
from torch import nn

import resnet_tf  # brings Keras, without TensorFlow's messages at the start
import resnet_torch
import keras
from keras import layers
from shared.networks import get_spec, layer_table

# %% [markdown]
# ## Exercise 1: predict
#
# No. A printout shows what `__init__` made, and both networks are made in the same way. The part that
# is never used is printed and counted like all others. To find it, let the network run, and ask which
# layers with weights never came by.


# %%
def never_called(model: nn.Module, x: torch.Tensor) -> list[str]:
    called, handles = set(), []
    for name, module in model.named_modules():

        def note(module, inputs, output, name=name):
            called.add(name)

        handles.append(module.register_forward_hook(note))
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    own = {name for name, module in model.named_modules() if list(module.parameters(recurse=False))}
    return sorted(own - called)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 10)
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.never_used = nn.Linear(100, 100)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.conv1(x) + x)
        return self.fc(x.mean((2, 3)))


torch.manual_seed(0)
small = Small()
found = never_called(small, torch.randn(2, 8, 4, 4))
print("never called:", found)
assert found == ["never_used"] and "never_used" in str(small)
resnet = resnet_torch.create_model("resnet8_digits", seed=0).eval()
assert never_called(resnet, torch.zeros(1, 1, 8, 8)) == []

# %% [markdown]
# ## Exercise 2: ResNet-101
#
# One bias for each channel that a convolution outputs, and two moving numbers for each channel that a
# BatchNorm sees. After each convolution stands one BatchNorm. So again the second is twice the first.

# %%
rows = layer_table(get_spec("resnet101"))
parameters = sum(row.parameters for row in rows)
biases = sum(row.output_shape[0] for row in rows if row.kind == "conv")
moving = sum(2 * row.output_shape[0] for row in rows if row.kind == "batch_norm")
print(f"parameters                      {parameters:,}")
print(f"with biases                     {parameters + biases:,}")
print(f"with moving statistics          {parameters + moving:,}")
print(f"with both                       {parameters + biases + moving:,}")
stock = keras.applications.ResNet101(weights=None)
print(f"keras.applications.ResNet101    {stock.count_params():,}")
assert (parameters, moving, biases) == (44_549_160, 105_344, 52_672)
assert stock.count_params() == parameters + biases + moving == 44_707_176
assert sum(int(np.prod(v.shape)) for v in stock.trainable_weights) == parameters + biases

# %% [markdown]
# ## Exercise 3: an addition that can be seen
#
# Make it a module of its own, without weights, and call it in `forward`. Then it is printed, and a hook
# can be put on it. (Keras always does this: its addition is a layer.)


# %%
class Add(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a + b


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.add = Add()
        self.relu1 = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu1(self.add(self.bn1(self.conv1(x)), x))


block, seen = Block(8).eval(), []
for name, module in block.named_children():
    module.register_forward_hook(lambda m, i, out, name=name: seen.append((name, tuple(out.shape))))
block(torch.zeros(2, 8, 4, 4))
print(block)
print(seen)
assert "(add): Add()" in str(block)
assert [name for name, _ in seen] == ["conv1", "bn1", "add", "relu1"]
assert ("add", (2, 8, 4, 4)) in seen

# %% [markdown]
# ## Exercise 4: a bug in a summary
#
# It runs. The picture has one channel, `out` has eight, and the addition repeats the one channel eight
# times (this is called broadcasting). All shapes and all numbers of parameters stay the same. The only
# trace is in "Connected to": the addition has `input` where `conv1` should be.


# %%
def build(*, wrong: bool) -> keras.Model:
    inputs = keras.Input((8, 8, 1), name="input")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv1")(inputs)
    out = layers.Conv2D(8, 3, padding="same", use_bias=False, name="block.conv1")(x)
    out = layers.BatchNormalization(name="block.bn1")(out)
    out = layers.Add(name="block.add")([out, inputs if wrong else x])
    out = layers.GlobalAveragePooling2D(name="avgpool")(layers.ReLU(name="block.relu1")(out))
    return keras.Model(inputs, layers.Dense(10, name="fc")(out), name="small")


def rows_of(model: keras.Model) -> list[str]:
    parts: list[str] = []
    model.summary(line_length=76, print_fn=lambda text, **_: parts.append(text))
    lines = "\n".join(parts).splitlines()
    return [line.rstrip() for line in lines if line.startswith(("│", "┃"))]


right, bug = rows_of(build(wrong=False)), rows_of(build(wrong=True))
different = [(a, b) for a, b in zip(right, bug) if a != b]
for a, b in different:
    print("right:", a)
    print("wrong:", b)
assert len(different) == 1
assert "conv1[0][0]" in different[0][0] and "input[0][0]" in different[0][1]
assert build(wrong=True).count_params() == build(wrong=False).count_params()
assert build(wrong=True).get_layer("block.add").output.shape == (None, 8, 8, 8)

# %% [markdown]
# ## Exercise 5: frozen
#
# In Keras, "Total params" stays, "Trainable params" falls to those of the last layer, and
# "Non-trainable params" gets all the others. In PyTorch the number of parameters stays, and the
# printout does not change by a letter. You have to count those with `requires_grad` yourself. And the
# buffers are not frozen at all: in training mode PyTorch's BatchNorm still updates them (tutorial 4).

# %%
torch_model = resnet_torch.create_model("resnet8_digits", seed=0)
printed = str(torch_model)
for name, parameter in torch_model.named_parameters():
    parameter.requires_grad = name.startswith("fc.")
counted = sum(p.numel() for p in torch_model.parameters())
with_gradient = sum(p.numel() for p in torch_model.parameters() if p.requires_grad)
print(f"PyTorch: {counted:,} parameters, {with_gradient:,} of them with a gradient")
assert (counted, with_gradient) == (77_754, 650) and str(torch_model) == printed

keras_model = resnet_tf.create_model("resnet8_digits", seed=0)
total = keras_model.count_params()
for layer in keras_model.layers[:-1]:
    layer.trainable = False
trainable = sum(int(np.prod(v.shape)) for v in keras_model.trainable_weights)
frozen = sum(int(np.prod(v.shape)) for v in keras_model.non_trainable_weights)
print(f"Keras:   total {keras_model.count_params():,}, trainable {trainable:,}, not {frozen:,}")
assert keras_model.count_params() == total == 78_426
assert trainable == 650 and frozen == 78_426 - 650

mean = torch_model.bn1.running_mean.clone()
torch_model.train()(torch.randn(4, 1, 8, 8))
print(
    "PyTorch: running mean of the frozen network changed:",
    not torch.equal(mean, torch_model.bn1.running_mean),
)
assert not torch.equal(mean, torch_model.bn1.running_mean)
