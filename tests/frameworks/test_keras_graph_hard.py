"""Layers whose inside cannot be seen, models as they were, weights that go in and out, and known networks."""

from __future__ import annotations

import json

import numpy as np
import pytest

from shared.base.errors import InputError, WeightsError
from tests.frameworks.keras_graphs import (
    assert_same_state,
    check,
    functional,
    kinds,
    layers,
    named,
    number_of,
    random,
    replay,
    state,
)


def test_a_layer_whose_inside_cannot_be_seen_is_one_node_with_its_weights(reader):
    import keras
    import tensorflow as tf

    L = layers()  # noqa: N806

    class Dark(L.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.dense = L.Dense(4, name="dense")

        def build(self, shape):
            self.dense.build(shape)

        def call(self, x):
            return tf.raw_ops.Relu(features=self.dense(tf.identity(x).numpy()))

    class Net(keras.Model):
        def __init__(self):
            super().__init__(name="net")
            self.dark, self.head = Dark(name="dark"), L.Dense(2, name="head")

        def call(self, x):
            return self.head(self.dark(x))

    graph = check(reader, Net(), random(2, 3), formulas=False)
    assert [(node.name, node.kind, node.source) for node in graph.nodes[1:]] == [
        ("dark", "other", "Dark"),
        ("head", "dense", "Dense"),
    ]
    assert set(graph.nodes[1].weights) == {"dense/kernel", "dense/bias"}
    (note,) = graph.notes
    assert note.startswith("dark (Dark) is one node, its inside is not seen: ")
    assert "\n" not in note


def test_a_compiled_call_is_seen_and_a_compiled_function_in_it_too(reader):
    import keras
    import tensorflow as tf

    L = layers()  # noqa: N806

    @tf.function
    def double(x):
        return tf.add(x, x)

    class Compiled(L.Layer):
        @tf.function
        def call(self, x):
            return double(tf.nn.relu(x))

    class Net(keras.Model):
        def __init__(self):
            super().__init__(name="net")
            self.conv, self.head = L.Conv2D(4, 3, groups=2, name="conv"), L.Dense(2, name="head")
            self.inside = Compiled(name="inside")

        def call(self, x):
            return self.head(self.inside(self.conv(x)))

    graph = check(reader, Net(), random(2, 5, 5, 2), tolerance=1e-6)
    assert [node.name for node in graph.nodes[1:]] == ["conv", "inside/relu", "inside/add", "head"]
    assert not tf.config.functions_run_eagerly()


def test_a_weight_that_is_changed_before_it_meets_an_input_stays_live_in_one_node(reader):
    import keras

    L, ops = layers(), keras.ops  # noqa: N806

    class Standardized(L.Conv2D):
        def call(self, x):
            kernel = self.kernel - ops.mean(self.kernel, axis=(0, 1, 2), keepdims=True)
            return ops.conv(x, kernel) + self.bias

    model = keras.Sequential([Standardized(4, 3, name="conv"), L.RandomFlip(name="flip"), L.ReLU()])
    graph = check(reader, model, random(2, 5, 5, 3), formulas=False)
    assert [(node.name, node.kind) for node in graph.nodes[1:3]] == [("conv", "other"), ("flip", "identity")]
    assert set(graph.nodes[1].weights) == {"kernel", "bias"}
    (note,) = graph.notes
    assert note.startswith("conv (Standardized) is one node")
    assert note.endswith("it computes with its kernel before an input takes part")
    reader.set_arrays(graph, 1, {"kernel": random(3, 3, 3, 4, seed=9)})
    x = random(2, 5, 5, 3)
    assert np.array_equal(replay(reader, graph, x)[""], np.array(model(x, training=False)))


def test_a_branch_that_depends_on_a_value_is_that_of_the_inputs_and_a_note_says_so(reader):
    import keras

    class Branch(keras.Model):
        def call(self, x):
            if keras.ops.mean(x) > 0:
                return keras.ops.relu(x)
            return keras.ops.tanh(x)

    model = Branch(name="branch")
    up = reader.read_graph(model, np.ones((1, 2), "float32"))
    down = reader.read_graph(model, -np.ones((1, 2), "float32"))
    assert [node.kind for node in up.nodes] == ["input", "relu"]
    assert [node.kind for node in down.nodes] == ["input", "tanh"]
    assert up.notes == ("branch decides by a value: the graph is that of these inputs",)


def test_a_model_that_cannot_be_seen_says_which_part_and_why(reader):
    import keras

    class Numbers(keras.Model):
        def __init__(self):
            super().__init__(name="numbers\x1b[31m")
            self.dense = layers().Dense(2)

        def call(self, x):
            return self.dense(np.array(x).astype("float32"))

    model = Numbers()
    model(random(1, 3))
    before = state(model)
    with pytest.raises(
        InputError, match=r"^numbers\\x1b\[31m \(Numbers\) cannot be seen: in its call\(\): .+"
    ) as caught:
        reader.read_graph(model, random(1, 3))
    assert "\n" not in str(caught.value)
    assert_same_state(before, state(model))


@pytest.mark.parametrize("stop", [KeyboardInterrupt, MemoryError])
def test_a_model_is_as_it_was_if_reading_stops_in_the_middle(reader, stop):
    import keras

    L = layers()  # noqa: N806
    calls = []

    class Stopping(L.Layer):
        def call(self, x):
            calls.append(x)
            if len(calls) > limit:
                raise stop
            return x

    entry = keras.Input((4,))
    limit = 10
    model = keras.Model(entry, L.Dense(2)(Stopping()(L.Dense(3, "relu")(entry) + 1.0)))
    before = state(model)
    limit = len(calls) + 1  # the first of the two calls goes well
    with pytest.raises(InputError if stop is MemoryError else stop):
        reader.read_graph(model, random(2, 4))
    assert_same_state(before, state(model))
    limit = 1000
    assert len(reader.read_graph(model, random(2, 4)).nodes) == 5


def test_a_model_that_was_read_is_still_trained_and_saved(reader, tmp_path):
    import keras

    model = functional()
    model.compile("sgd", "sparse_categorical_crossentropy")
    graph = reader.read_graph(model, random(2, 16, 16, 3))
    model.fit(random(8, 16, 16, 3), np.arange(8) % 5, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    x = random(2, 16, 16, 3)
    assert np.array_equal(np.array(again(x, training=False)), replay(reader, graph, x)[""]), "the graph is not live"


def test_a_model_that_draws_numbers_is_refused_or_keeps_its_seeds(reader):
    import keras

    L = layers()  # noqa: N806

    class Restless(keras.Model):
        def __init__(self):
            super().__init__(name="restless")
            self.norm, self.drop = L.BatchNormalization(name="norm"), L.Dropout(0.5, name="drop")

        def call(self, x):
            return self.drop(self.norm(x, training=True), training=True)

    model = Restless()
    model(random(4, 50))
    before = state(model)
    graph = reader.read_graph(model, random(4, 50))
    assert_same_state(before, state(model))
    assert graph.nodes[1].settings["training"]
    assert graph.nodes[2].kind == "other"
    reader.run_node(graph, 1, [random(4, 50)])
    assert_same_state(before, state(model))

    class Noisy(keras.Model):
        def call(self, x):
            return x + keras.random.normal(x.shape)

    with pytest.raises(InputError, match="what its layers compute is not its output"):
        reader.read_graph(Noisy(), random(2, 3))


def test_a_mask_takes_part_in_the_graph(reader):
    import keras

    L = layers()  # noqa: N806
    entry = keras.Input((5,), dtype="int32")
    x = L.Embedding(8, 4, mask_zero=True)(entry)
    x = L.MultiHeadAttention(2, 2)(x, x)
    model = keras.Model(entry, L.LSTM(3, name="lstm")(x))
    tokens = np.array([[1, 2, 3, 0, 0], [4, 0, 0, 0, 0]], "int32")
    graph = check(reader, model, tokens, tolerance=1e-6, formulas=False)
    assert len(named(graph, "lstm").inputs) == 2
    assert named(graph, "lstm").kind == "other"
    assert named(graph, "lstm").settings["units"] == 3
    json.dumps(dict(named(graph, "lstm").settings))


def test_a_subclass_of_a_layer_is_that_layer_only_if_it_computes_the_same(reader):
    import keras

    L = layers()  # noqa: N806

    class Same(L.Dense):
        def call(self, inputs):
            return super().call(inputs)

    class Doubled(L.Dense):
        def call(self, inputs):
            return 2 * super().call(inputs)

    entry = keras.Input((3,))
    model = keras.Model(entry, Doubled(2, name="doubled")(Same(3, name="same")(entry)))
    graph = check(reader, model, random(2, 3), formulas=False)
    assert [node.name for node in graph.nodes[:2]] == ["input_0", "same"]
    assert graph.nodes[1].kind == "dense"
    assert [(node.name, node.kind) for node in graph.nodes[2:] if node.kind != "parameter"] == [
        ("doubled/matmul", "dense"),
        ("doubled/add", "add"),
        ("doubled/multiply", "multiply"),
    ]


def test_several_outputs_of_one_layer_are_nodes_of_their_own(reader):
    import keras

    entry = keras.Input((6, 4))
    one, _, three = keras.ops.split(entry, 3, axis=1)
    found, hidden, _ = layers().LSTM(4, return_state=True, name="lstm")(three)
    graph = check(reader, keras.Model(entry, [one, found + hidden]), random(2, 6, 4), formulas=False)
    assert [node.settings["start"] for node in graph.nodes if node.kind == "part"] == [0, 4]
    assert sum(bool(node.weights) for node in graph.nodes) == 1


def test_weights_go_in_and_out_in_the_layout_of_the_table(reader):
    import keras

    L = layers()  # noqa: N806
    entry = keras.Input((8, 8, 4))
    x = L.Conv2D(6, (3, 2), groups=2, name="conv")(entry)
    x = L.DepthwiseConv2D(3, depth_multiplier=2, name="deep")(x)
    x = L.Conv2DTranspose(5, (2, 3), name="up")(x)
    x = L.MultiHeadAttention(2, 3, name="attend")(*[L.Reshape((-1, 5))(x)] * 2)
    model = keras.Model(entry, L.PReLU(name="prelu")(x))
    graph = check(reader, model, random(1, 8, 8, 4), tolerance=1e-5)
    before = [np.array(each) for each in model.get_weights()]
    for number in range(len(graph.nodes)):
        arrays = reader.get_arrays(graph, number)
        reader.set_arrays(graph, number, {role: array + 1 for role, array in arrays.items()})
        assert all(np.array_equal(reader.get_arrays(graph, number)[role], arrays[role] + 1) for role in arrays)
        reader.set_arrays(graph, number, arrays)
    assert all(np.array_equal(one, other) for one, other in zip(before, model.get_weights(), strict=True))
    copies = reader.get_arrays(graph, 1)
    copies["weight"][:] = 0
    assert reader.get_arrays(graph, 1)["weight"].any()


def test_operations_with_a_variable_are_layers_and_limits_are_rectifiers(reader):
    import keras

    class Bare(keras.Model):
        def __init__(self):
            super().__init__(name="bare")
            self.kernel = self.add_weight(shape=(3, 3, 2, 4), name="kernel")
            self.deep = self.add_weight(shape=(3, 3, 4, 1), name="deep")
            self.matrix = self.add_weight(shape=(4, 5), name="matrix")

        def call(self, x):
            x = keras.ops.maximum(keras.ops.conv(x, self.kernel, padding="same", strides=2), 0)
            x = keras.ops.clip(keras.ops.depthwise_conv(x, self.deep), 0, 6)
            return keras.ops.mean(x, (1, 2)) @ self.matrix

    model = Bare()
    graph = check(reader, model, random(2, 8, 8, 2), tolerance=1e-6)
    assert [node.kind for node in graph.nodes[1:]] == ["conv", "relu", "conv", "relu6", "global_avg_pool", "dense"]
    assert graph.nodes[1].settings["padding"] == ((0, 1), (0, 1))
    assert [node.settings["groups"] for node in graph.nodes if node.kind == "conv"] == [1, 4]
    assert sum(node.parameters for node in graph.nodes) == model.count_params()


def test_weights_that_misfit_change_nothing(reader):
    graph = reader.read_graph(functional(), random(1, 16, 16, 3))
    number = number_of(graph, "conv2")
    before = reader.get_arrays(graph, number)
    for wrong, text in [
        ({"weight": np.zeros((8, 8, 3, 3)), "bias": np.zeros(9)}, "bias of conv2 has the shape"),
        ({"weight": np.zeros((8, 8, 3, 3)), "scale": np.zeros(8)}, "conv2 has no scale; it has weight, bias"),
        ({"weight": np.zeros((8, 8, 3, 3)), "bias": np.array(["a"] * 8)}, "must be numbers"),
    ]:
        with pytest.raises(WeightsError, match=text):
            reader.set_arrays(graph, number, wrong)
        assert all(np.array_equal(each, before[role]) for role, each in reader.get_arrays(graph, number).items())


def test_bad_questions_are_answered_in_one_line(reader):
    model = functional()
    with pytest.raises(InputError, match="a Keras model is needed"):
        reader.read_graph("model", random(1, 2))
    with pytest.raises(InputError, match="inputs are arrays of numbers, not 'image'"):
        reader.read_graph(model, "image")
    with pytest.raises(InputError, match="at least one array"):
        reader.read_graph(model)
    with pytest.raises(InputError, match=r"net \(Functional\) does not take inputs of the shape \(1, 7\)"):
        reader.read_graph(model, random(1, 7))
    graph = reader.read_graph(model, random(1, 16, 16, 3))
    with pytest.raises(InputError, match="none with the number 99"):
        reader.get_arrays(graph, 99)
    with pytest.raises(InputError, match="join takes 2 inputs, not 1"):
        reader.run_node(graph, number_of(graph, "join"), [random(1, 8, 8, 8)])
    with pytest.raises(InputError, match="allowed are float32 and float64"):
        reader.run_node(graph, 1, [random(1, 16, 16, 3)], "int8")
    with pytest.raises(InputError, match="conv1 cannot be computed on"):
        reader.run_node(graph, 1, [random(1, 16, 16, 5)])


@pytest.mark.parametrize("name", ["resnet8_digits", "preact_resnet18"])
def test_networks_of_the_catalog(reader, keras_twin, name):
    from shared.networks.catalog import get_spec

    spec = get_spec(name)
    model = keras_twin.create_model(get_spec(name, input_size=spec.min_input_size), seed=0)
    graph = check(reader, model, random(2, *model.inputs[0].shape[1:]), tolerance=1e-6)
    assert kinds(graph)["other"] == 0
    assert sum(node.parameters + node.buffers for node in graph.nodes) == model.count_params()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "MobileNetV2" else pytest.mark.slow)
        for name in ("MobileNetV2", "ResNet50", "DenseNet121", "VGG16", "EfficientNetB0", "ConvNeXtTiny", "InceptionV3")
    ],
)
def test_networks_that_come_with_keras(reader, name):
    import keras

    size = 96 if name == "InceptionV3" else 64
    model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), classes=10)
    graph = check(reader, model, random(1, size, size, 3), tolerance=1e-5)
    assert kinds(graph)["other"] == 0
    assert not graph.notes
    assert sum(node.parameters + node.buffers for node in graph.nodes) == model.count_params() - (
        7 if "Eff" in name else 0
    )
