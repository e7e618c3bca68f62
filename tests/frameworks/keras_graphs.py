"""What the tests of Keras' graphs share."""

from __future__ import annotations

from collections import Counter
from types import ModuleType

import numpy as np

from shared.networks.graph import KINDS, ROLES, Graph


def layers():
    import keras

    return keras.layers


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def enliven(model, seed: int = 0) -> None:
    """Give every weight numbers that are all different, so that nothing agrees by chance."""
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        if variable.dtype == "float32":
            scale = max(np.prod(variable.shape[:-1]), 9) ** -0.5
            drawn = generator.normal(size=variable.shape, scale=scale).astype("float32")
            variable.assign(np.abs(drawn) + 0.5 if "variance" in variable.name or variable.name == "gamma" else drawn)


def state(model) -> tuple:
    """All of a model that reading could change: weights, lists of nodes, activations, methods."""
    import keras

    operations = [*model._flatten_layers(), *getattr(model, "operations", [])]
    nodes = [(each.name, list(each._inbound_nodes), list(each._outbound_nodes)) for each in operations]
    activations = [getattr(each, "activation", None) for each in operations]
    methods = [
        vars(keras.Layer)["__call__"],
        vars(keras.Layer)["symbolic_call"],
        vars(keras.Operation)["symbolic_call"],
    ]
    methods += [vars(keras.Variable).get("__mul__"), keras.Variable.__add__]
    return [np.array(each) for each in model.get_weights()], nodes, activations, methods


def assert_same_state(before: tuple, after: tuple) -> None:
    assert all(np.array_equal(one, other) for one, other in zip(before[0], after[0], strict=True)), "a weight changed"
    assert before[1:] == after[1:]


def replay(reader: ModuleType, graph: Graph, *inputs: np.ndarray, dtype: str = "float32") -> dict[str, np.ndarray]:
    """Run all nodes one after the other."""
    given, values = iter(inputs), []
    for number, node in enumerate(graph.nodes):
        feed = [next(given)] if node.kind == "input" else [values[place] for place in node.inputs]
        values.append(reader.run_node(graph, number, feed, dtype))
        assert values[-1].shape == node.shape, node
    return {name: values[number] for name, number in graph.outputs.items()}


def outputs_of(model, *inputs: np.ndarray) -> dict[str, np.ndarray]:
    import keras

    found = model(*inputs, training=False) if len(inputs) == 1 else model(list(inputs), training=False)
    paths = keras.tree.flatten_with_path(found)
    return {"/".join(map(str, path)): np.array(each) for path, each in paths}


def check(reader: ModuleType, model, *inputs: np.ndarray, tolerance: float = 0.0, formulas: bool = True) -> Graph:
    """Read a model; hold the invariants of every graph; return it."""
    model(inputs[0] if len(inputs) == 1 else list(inputs))
    enliven(model)
    before = state(model)
    graph = reader.read_graph(model, *inputs)
    assert_same_state(before, state(model))
    for number, node in enumerate(graph.nodes):
        assert node.kind in KINDS
        assert node.kind == "other" or set(KINDS[node.kind]) <= set(node.settings), node
        assert all(place < number for place in node.inputs)
        if node.kind in ROLES:
            assert set(node.weights) <= set(ROLES[node.kind])
        arrays = reader.get_arrays(graph, number)
        assert {role: each.shape for role, each in node.weights.items()} == {k: v.shape for k, v in arrays.items()}
    assert len({node.name for node in graph.nodes}) == len(graph.nodes)
    wanted = outputs_of(model, *inputs)
    found = replay(reader, graph, *inputs)
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        assert np.isfinite(array).all()
        assert np.abs(found[name] - array).max() <= tolerance * (1 + np.abs(array).max())
    if formulas:
        exact = replay(reader, graph, *inputs, dtype="float64")
        for name, array in wanted.items():
            assert exact[name].dtype == np.float64
            assert np.abs(exact[name] - array).max() < 1e-4 * (1 + np.abs(array).max())
    assert_same_state(before, state(model))
    return graph


def kinds(graph: Graph) -> Counter[str]:
    return Counter(node.kind for node in graph.nodes)


def named(graph: Graph, name: str):
    return next(node for node in graph.nodes if node.name == name)


def number_of(graph: Graph, name: str) -> int:
    return next(number for number, node in enumerate(graph.nodes) if node.name == name)


def functional():
    import keras

    L = layers()  # noqa: N806
    x = entry = keras.Input((16, 16, 3))
    x = L.Conv2D(8, 3, 2, padding="same", use_bias=False, name="conv1")(x)
    x = L.BatchNormalization(name="bn1")(x)
    shortcut = x = L.ReLU(name="relu1")(x)
    x = L.Conv2D(8, 3, padding="same", activation="relu", name="conv2")(x)
    x = keras.ops.relu(L.Add(name="join")([x, shortcut]) * 0.5 + 1.0)
    x = L.MaxPooling2D(3, 2, padding="same", name="pool")(x)
    x = L.GlobalAveragePooling2D(name="gap")(x)
    return keras.Model(entry, L.Dense(5, "softmax", name="fc")(x), name="net")
