"""What the readers say of operations that only move numbers about is where the numbers go."""

from __future__ import annotations

import numpy as np
import pytest

from shared.backends import load_part
from shared.twins.composites import moved, moves
from shared.twins.pair import see

ARRAY = np.random.default_rng(0).normal(size=(2, 6, 8)).astype(np.float32)


def check(model, count, array=ARRAY):
    """Hold every node that moves numbers against what the framework computes."""
    graph = see(model, array)
    run = load_part(graph.framework, "graph").run_node
    values = []
    seen = 0
    for number, node in enumerate(graph.nodes):
        given = [array] if node.kind == "input" else [values[source] for source in node.inputs]
        values.append(run(graph, number, given))
        if moves(node):
            seen += 1
            assert np.array_equal(moved(node, given[0]), values[-1]), node
    assert seen == count, [(node.kind, node.source) for node in graph.nodes]


WAYS = {
    "select": lambda x: x[:, -2],
    "slice": lambda x: x[:, 1:-1].sum() + x[..., 2:8],
    "steps": lambda x: x[:, 1::2] + x[:, ::2],
    "split": lambda x: sum(x.split(2, dim=1)),
    "sizes": lambda x: sum(each.sum() for each in x.split([1, 2, 3], dim=1)[1:]),
    "chunk": lambda x: x.chunk(4, dim=-1)[3],
    "uneven chunk": lambda x: x.chunk(4, dim=1)[2],
    "unbind": lambda x: x.unbind(1)[4],
    "narrow": lambda x: x.narrow(2, 3, 4),
    "turned": lambda x: x.view(2, 3, 2, 8).permute(2, 0, 3, 1).flatten(2).transpose(0, 1),
}


@pytest.mark.parametrize(("way", "count"), [*zip(WAYS, (1, 2, 2, 3, 2, 1, 1, 1, 1, 4), strict=True)])
def test_parts_and_layouts_in_pytorch(torch_twin, way, count):
    import torch

    class Net(torch.nn.Module):
        def forward(self, x):
            return torch.relu(WAYS[way](x))

    check(Net().eval(), count)


def test_parts_and_layouts_in_keras(keras_twin):
    import keras
    from keras import ops

    ways = {
        "select": (lambda x: x[:, -2], 1),
        "ellipsis": (lambda x: x[..., 2:8], 1),
        "steps": (lambda x: x[:, 1::2] + x[:, ::2], 2),
        "split": (lambda x: sum(ops.split(x, 3, axis=1)), 3),
        "places": (lambda x: ops.split(x, [1, 4], axis=-1)[1], 1),
        "unstack": (lambda x: ops.unstack(x, axis=1)[4], 1),
        "turned": (lambda x: ops.swapaxes(ops.transpose(ops.reshape(x, (-1, 3, 2, 8)), (0, 2, 3, 1)), 1, 3), 3),
    }
    for way, count in ways.values():
        entry = keras.Input(ARRAY.shape[1:])
        check(keras.Model(entry, ops.relu(way(entry))), count)
    image = np.random.default_rng(0).normal(size=(1, 4, 6, 3)).astype(np.float32)
    entry = keras.Input(image.shape[1:])
    check(keras.Model(entry, ops.image.extract_patches(entry, (2, 3))), 1, image)


def test_a_part_of_two_axes_at_once_has_no_word(keras_twin):
    import keras

    entry = keras.Input(ARRAY.shape[1:])
    graph = see(keras.Model(entry, entry[:, 1:3, 2:4]), ARRAY)
    assert [node.kind for node in graph.nodes] == ["input", "other"]
