"""Functions of one or two tensors are the same operation in both frameworks, whoever calls them."""

from __future__ import annotations

import pytest

from shared.twins import compare, find_parting

ONE = ("abs", "exp", "log", "sqrt", "square", "sin", "cos")
TWO = ("maximum", "minimum")


@pytest.mark.parametrize("name", [*ONE, *TWO])
def test_a_function_of_pytorch_is_that_of_keras(torch_twin, keras_twin, name):
    import keras
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            x = torch.sigmoid(self.inner(x))
            return self.last(getattr(torch, name)(*([x] if name in ONE else [x, 1 - x])))

    entry = keras.Input((4,))
    x = keras.activations.sigmoid(keras.layers.Dense(4)(entry))
    x = getattr(keras.ops, name)(*([x] if name in ONE else [x, 1 - x]))
    other = keras.Model(entry, keras.layers.Dense(2)(x))
    found = compare(Net(), other)
    assert found.equal, found.reasons
    for pair in ((Net(), other), (other, Net())):
        seen = find_parting(*pair)
        assert seen.equal, seen.verdict
