"""Reading any Keras model: every style of writing one, what its nodes say, and that the model stays as it was."""

from __future__ import annotations

import numpy as np

from tests.frameworks.keras_graphs import check, functional, kinds, layers, named, number_of, random, replay


def test_a_functional_model_is_read_node_by_node(reader):
    graph = check(reader, functional(), random(2, 16, 16, 3))
    assert [node.name for node in graph.nodes] == [
        *("input_0", "conv1", "bn1", "relu1", "conv2", "conv2/relu", "join", "multiply", "add", "relu", "pool"),
        *("gap", "fc", "fc/softmax"),
    ]
    assert named(graph, "conv1").settings == {
        "kernel_size": (3, 3),
        "stride": (2, 2),
        "padding": ((0, 1), (0, 1)),  # Keras' "same" puts the odd one behind
        "dilation": (1, 1),
        "groups": 1,
    }
    assert named(graph, "pool").settings["padding"] == ((0, 1), (0, 1))
    assert named(graph, "multiply").settings == {"constant": 0.5}
    assert named(graph, "bn1").settings == {"eps": 1e-3, "momentum": 0.01, "training": False}
    assert named(graph, "conv1").weights["weight"].key == "conv1/kernel"
    assert named(graph, "conv1").weights["weight"].shape == (8, 3, 3, 3)
    assert named(graph, "fc").weights["weight"].shape == (5, 8)
    assert not named(graph, "bn1").weights["running_mean"].trained
    assert (graph.framework, graph.layout, graph.title, graph.notes) == ("tf", "channels_last", "net", ())


def test_a_nested_sequential_in_a_subclassed_model_with_signs_and_operations(reader):
    import keras

    L = layers()  # noqa: N806

    class Block(L.Layer):
        def __init__(self, channels, **options):
            super().__init__(**options)
            self.path_a = keras.Sequential([L.Conv2D(channels, 3, padding="same"), L.BatchNormalization()], name="a")
            self.act = L.ReLU(name="act")

        def call(self, x, training=True):  # a default that would let the norm train
            return self.act(self.path_a(x, training=training) + x)

    class Net(keras.Model):
        def __init__(self):
            super().__init__(name="net")
            self.blocks = [Block(4, name=f"block{place}") for place in (1, 2)]
            self.head = L.Dense(3, name="head")

        def call(self, x):
            for block in self.blocks:
                x = block(x)
            x = keras.ops.mean(x, axis=(1, 2))
            return self.head(keras.activations.silu(x))

    graph = check(reader, Net(), random(2, 8, 8, 4))
    names = [node.name for node in graph.nodes]
    assert names[3:5] == ["block1/add", "block1/act"]
    assert names[7:] == ["block2/add", "block2/act", "mean", "silu", "head"]
    assert kinds(graph)["global_avg_pool"] == 1
    assert not any(node.settings["training"] for node in graph.nodes if node.kind == "batch_norm")


def test_a_subclassed_model_that_was_never_called_is_built_and_then_as_keras_builds_it(reader):
    import keras

    L = layers()  # noqa: N806

    class Net(keras.Model):
        def __init__(self):
            super().__init__(name="net")
            self.one, self.two = L.Dense(4, "gelu", name="one"), L.Dense(2, name="two")

        def call(self, x):
            return self.two(self.one(x))

    model = Net()
    graph = reader.read_graph(model, random(3, 5))
    assert model.built
    assert [node.kind for node in graph.nodes] == ["input", "dense", "gelu", "dense"]
    assert graph.nodes[2].settings == {"approximate": "none"}
    assert not any(layer._inbound_nodes or layer._outbound_nodes for layer in model._flatten_layers())


def test_a_layer_that_is_called_twice_is_two_nodes_with_the_same_weights(reader):
    import keras

    L = layers()  # noqa: N806
    shared = L.Dense(6, name="shared")
    entry = keras.Input((6,))
    graph = check(reader, keras.Model(entry, shared(L.ReLU()(shared(entry)))), random(2, 6))
    assert [node.name for node in graph.nodes if node.kind == "dense"] == ["shared", "shared_1"]
    one, other = (node for node in graph.nodes if node.kind == "dense")
    assert one.weights == other.weights
    number = number_of(graph, "shared")
    reader.set_arrays(graph, number, {"bias": np.ones(6)})
    assert (reader.get_arrays(graph, number_of(graph, "shared_1"))["bias"] == 1).all()


def test_two_inputs_and_a_dictionary_of_outputs(reader):
    import keras

    L = layers()  # noqa: N806
    image, tokens = keras.Input((8, 8, 3)), keras.Input((4,), dtype="int32")
    pixels = L.GlobalMaxPooling2D()(image)
    words = L.Flatten()(L.Embedding(10, 5, name="words")(tokens))
    joined = L.Concatenate(name="join")([pixels, words])
    model = keras.Model([image, tokens], {"score": L.Dense(1, "sigmoid")(joined), "joined": joined})
    graph = check(reader, model, random(2, 8, 8, 3), np.array([[1, 2, 3, 9], [0, 0, 5, 1]], "int32"))
    assert set(graph.outputs) == {"score", "joined"}
    assert graph.nodes[graph.outputs["joined"]].name == "join"
    assert named(graph, "join").settings == {"axis": 1}
    assert named(graph, "words").weights["weight"].shape == (10, 5)


def test_a_subclassed_model_with_two_arguments_and_a_list_of_outputs(reader):
    import keras

    class Both(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers().Dense(3, name="dense")

        def call(self, one, other):
            return [self.dense(one) - other, 1.0 - one, None]

    model, inputs = Both(), (random(2, 3), random(2, 3, seed=1))
    graph = reader.read_graph(model, *inputs)
    assert set(graph.outputs) == {"0", "1"}
    wanted = model(*inputs)
    for name, array in replay(reader, graph, *inputs).items():
        assert np.array_equal(array, wanted[int(name)])
    assert graph.nodes[graph.outputs["1"]].settings == {"factor": -1.0, "offset": 1.0}


def test_squeeze_and_excitation(reader):
    import keras

    L = layers()  # noqa: N806
    entry = keras.Input((8, 8, 8))
    gate = L.GlobalAveragePooling2D(keepdims=True)(entry)
    gate = L.Conv2D(8, 1, activation="hard_sigmoid")(L.Conv2D(2, 1, activation="swish")(gate))
    graph = check(reader, keras.Model(entry, entry * gate), random(2, 8, 8, 8))
    assert [node.kind for node in graph.nodes[2:]] == ["conv", "silu", "conv", "hard_sigmoid", "multiply"]
    assert graph.nodes[-1].inputs == (0, len(graph.nodes) - 2)


def test_a_unet(reader):
    import keras

    L = layers()  # noqa: N806
    entry = keras.Input((16, 16, 2))
    high = L.Conv2D(4, 3, padding="same", activation="relu")(entry)
    low = L.Conv2D(8, 3, padding="same", activation=L.LeakyReLU(0.1))(L.MaxPooling2D()(high))
    ways = [
        L.Conv2DTranspose(4, 2, 2, name="valid2")(low),
        L.Conv2DTranspose(4, 3, 2, "same", name="same3")(low),
        L.Conv2DTranspose(4, 1, 2, name="valid1")(low),
        L.UpSampling2D(2, interpolation="bilinear")(low),
        L.UpSampling2D(2)(low),
        keras.ops.image.resize(low, (16, 16)),
    ]
    joined = keras.ops.concatenate([high, *ways], axis=-1)
    graph = check(
        reader, keras.Model(entry, L.Cropping2D(((1, 0), (2, 1)))(joined)), random(1, 16, 16, 2), tolerance=1e-6
    )
    assert named(graph, "same3").settings["padding"] == ((0, 1), (0, 1))
    assert named(graph, "valid1").settings["output_padding"] == (1, 1)
    assert kinds(graph)["upsample"] == 3
    assert kinds(graph)["leaky_relu"] == 1


def test_a_vision_transformer_with_a_token_and_positions(reader):
    import keras

    L = layers()  # noqa: N806

    class Transformer(keras.Model):
        def __init__(self):
            super().__init__(name="vit")
            self.patches = L.Conv2D(16, 4, 4, name="patches")
            self.token = self.add_weight(shape=(1, 1, 16), name="token")
            self.scale = self.add_weight(shape=(16,), name="scale")
            self.positions = L.Embedding(5, 16, name="positions")
            self.norms = [L.LayerNormalization(epsilon=1e-6, name=f"norm{place}") for place in range(2)]
            self.attend = L.MultiHeadAttention(4, 4, name="attend")
            self.mlp = keras.Sequential([L.Dense(32, "gelu"), L.Dropout(0.1), L.Dense(16)], name="mlp")
            self.head = L.Dense(3, name="head")

        def call(self, x):
            x = keras.ops.reshape(self.patches(x), (len(x.shape) and x.shape[0], -1, 16))
            x = keras.ops.concatenate([keras.ops.broadcast_to(self.token, (x.shape[0], 1, 16)), x], axis=1)
            x = x + self.positions(keras.ops.arange(5))
            y = self.norms[0](x)
            x = x + self.scale * self.attend(y, y)
            x = x + self.mlp(self.norms[1](x))
            return self.head(x[:, 0])

    model = Transformer()
    graph = check(reader, model, random(2, 8, 8, 3), tolerance=1e-6)
    assert graph.notes == ()
    assert {"parameter", "broadcast", "attention", "layer_norm", "gelu", "dropout"} <= set(kinds(graph))
    assert [named(graph, name).shape for name in ("token", "token/broadcast")] == [(1, 1, 16), (2, 1, 16)]
    assert named(graph, "positions").kind == "parameter", "all rows of a table in their order"
    assert named(graph, "norm0").settings == {"eps": 1e-6, "axes": (2,)}
    assert named(graph, "attend").settings == {"heads": 4, "causal": False}
    assert sum(node.parameters for node in graph.nodes) == model.count_params()


def test_attention_takes_its_arguments_in_the_order_of_its_call_however_they_are_named(reader):
    import keras

    L = layers()  # noqa: N806
    entry = keras.Input((5, 4))
    ways = [{"value": entry * 2, "key": entry * 3}, {"key": entry * 3, "value": entry * 2}, {"value": entry * 2}]
    model = keras.Model(entry, [L.MultiHeadAttention(2, 3, value_dim=2)(entry, **way) for way in ways])
    graph = check(reader, model, random(2, 5, 4), tolerance=1e-6)
    factors = [
        [graph.nodes[place].settings.get("constant") for place in node.inputs]
        for node in graph.nodes
        if node.kind == "attention"
    ]
    assert sorted(map(str, factors)) == [str([None, 2.0, 3.0])] * 2 + [str([None, 2.0])]


def test_separable_convolutions_are_two_and_depthwise_ones_have_groups(reader):
    import keras

    L = layers()  # noqa: N806
    entry = keras.Input((9, 9, 3))
    x = L.SeparableConv2D(6, 3, 2, "same", depth_multiplier=2, activation="relu6", name="sep")(entry)
    x = L.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="deep")(x)
    x = L.Conv2D(8, 3, groups=4, dilation_rate=2, padding="same", name="grouped")(x)
    graph = check(reader, keras.Model(entry, x), random(2, 9, 9, 3), tolerance=1e-5)
    assert [node.name for node in graph.nodes[1:]] == ["sep/depthwise", "sep/pointwise", "sep/relu6", "deep", "grouped"]
    assert named(graph, "sep/depthwise").settings["groups"] == 3
    assert named(graph, "sep/depthwise").weights["weight"].shape == (6, 1, 3, 3)
    assert named(graph, "sep/pointwise").weights["weight"].shape == (6, 6, 1, 1)
    assert named(graph, "deep").weights["weight"].shape == (12, 1, 3, 3)
    assert named(graph, "grouped").weights["weight"].shape == (8, 3, 3, 3)


def test_every_activation_is_the_same_word_however_it_is_written(reader):
    import keras

    L, A, ops = layers(), keras.activations, keras.ops  # noqa: N806
    ways = {
        "relu": [L.ReLU(), L.Activation("relu"), A.relu, ops.relu],
        "relu6": [L.ReLU(max_value=6), L.Activation("relu6"), A.relu6, ops.relu6, lambda x: A.relu(x, max_value=6)],
        "leaky_relu": [L.LeakyReLU(0.2), L.ReLU(negative_slope=0.2), A.leaky_relu, ops.leaky_relu],
        "elu": [L.ELU(), L.Activation("elu"), A.elu, ops.elu],
        "selu": [L.Activation("selu"), A.selu, ops.selu],
        "gelu": [L.Activation("gelu"), A.gelu, lambda x: ops.gelu(x, approximate=False)],
        "silu": [L.Activation("swish"), A.silu, ops.silu],
        "mish": [L.Activation("mish")],
        "sigmoid": [L.Activation("sigmoid"), A.sigmoid, ops.sigmoid],
        "hard_sigmoid": [L.Activation("hard_sigmoid"), ops.hard_sigmoid],
        "hard_swish": [L.Activation("hard_silu"), ops.hard_silu, ops.hard_swish],
        "tanh": [L.Activation("tanh"), A.tanh, ops.tanh],
        "softplus": [L.Activation("softplus"), A.softplus, ops.softplus],
        "softmax": [L.Softmax(), L.Activation("softmax"), A.softmax, ops.softmax],
        "log_softmax": [L.Activation("log_softmax"), A.log_softmax, ops.log_softmax],
        "prelu": [L.PReLU(shared_axes=[1, 2])],
    }
    entry = keras.Input((4, 4, 3))
    order = [(kind, way) for kind, several in ways.items() for way in several]
    model = keras.Model(entry, [way(entry) for _, way in order])
    graph = check(reader, model, 4 * random(2, 4, 4, 3), tolerance=1e-6)
    found = [graph.nodes[graph.outputs[str(place)]] for place in range(len(order))]
    assert [node.kind for node in found] == [kind for kind, _ in order]
    for kind in ways:
        assert len({str(node.settings) for node in found if node.kind == kind}) == 1, kind
    tanh = keras.Model(entry, ops.gelu(entry))
    assert reader.read_graph(tanh, random(1, 4, 4, 3)).nodes[1].settings == {"approximate": "tanh"}


def test_norms_pools_and_layouts(reader):
    import keras

    L, ops = layers(), keras.ops  # noqa: N806
    entry = keras.Input((9, 9, 4))
    x = L.GroupNormalization(2, name="group")(entry)
    x = L.RMSNormalization(name="rms")(x)
    x = L.BatchNormalization(scale=False, name="bare")(x)
    x = L.LayerNormalization(center=False, axis=(1, -1), name="layer")(x)
    x = L.AveragePooling2D(3, 2, "same", name="average")(x)
    x = L.AveragePooling2D(2, 1, name="mean2")(L.ZeroPadding2D(((0, 1), (2, 0)), name="zero")(x))
    x = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-1.5)
    x = L.Permute((3, 1, 2), name="permute")(x)
    x = ops.transpose(L.Reshape((4, -1), name="rows")(x), (0, 2, 1))
    x = ops.squeeze(ops.expand_dims(ops.swapaxes(x, 1, 2), 1)[:, :, 1:-1], 1)
    x = ops.matmul(x, ops.transpose(x, (0, 2, 1))) + ops.mean(x, axis=-1, keepdims=True)
    model = keras.Model(entry, L.Identity()(x / 2 - ops.exp(x * 0.01)))
    graph = check(reader, model, random(2, 9, 9, 4), tolerance=1e-6)
    assert set(named(graph, "bare").weights) == {"bias", "running_mean", "running_var"}
    assert set(named(graph, "layer").weights) == {"weight"}
    assert named(graph, "layer").settings["axes"] == (1, 3)
    assert named(graph, "average").settings["count_include_pad"] is False
    assert named(graph, "pad").settings == {"padding": ((1, 1), (1, 1)), "value": -1.5}
    assert named(graph, "permute").settings == {"axes": (0, 3, 1, 2)}
    assert named(graph, "get_item").settings == {"padding": ((0, 0), (1, 1))}
    assert kinds(graph)["other"] == 0
    assert (named(graph, "exp").kind, named(graph, "exp").source) == ("exp", "ops.Exp")


def test_layers_for_signals_and_images_before_the_network(reader):
    import keras

    L = layers()  # noqa: N806
    entry = keras.Input((12, 3))
    x = L.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 4.0, 9.0], name="norm")(L.Rescaling(0.5, 1.0)(entry))
    x = L.Conv1D(4, 3, padding="causal", name="causal")(x)
    x = L.Conv1D(4, 3, 2, padding="same", name="same")(L.ZeroPadding1D(1)(x))
    x = L.Conv1DTranspose(4, 4, 2, padding="same", name="up")(L.MaxPooling1D(2)(x))
    x = L.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d", name="einsum")(L.UpSampling1D(2)(x))
    graph = check(reader, keras.Model(entry, L.Flatten()(x)), random(2, 12, 3), tolerance=1e-5)
    assert named(graph, "norm").settings == {"factor": (1.0, 0.5, 1 / 3), "offset": (-1.0, -1.0, -1.0)}
    assert named(graph, "causal").settings["padding"] == ((2, 0),)
    assert named(graph, "up").settings["padding"] == ((1, 1),)
    assert named(graph, "einsum").kind == "dense"
    assert kinds(graph)["scale"] == 2


def test_raw_tensorflow_is_recorded_function_by_function(reader):
    import keras
    import tensorflow as tf

    class Raw(layers().Layer):
        def call(self, x):
            x = tf.nn.relu(x) + tf.constant(1.0)
            x = tf.concat([x, tf.reduce_mean(x, axis=[1, 2], keepdims=True) * tf.ones_like(x)], -1)
            return tf.transpose(tf.reshape(x, (2, -1, 6)), (0, 2, 1))

    entry = keras.Input((4, 4, 3), batch_size=2)
    graph = check(reader, keras.Model(entry, Raw(name="raw")(entry)), random(2, 4, 4, 3), formulas=False)
    found = kinds(graph)
    assert found["relu"] == found["concat"] == found["global_avg_pool"] == found["permute"] == found["reshape"] == 1
    assert graph.nodes[1].name == "raw/relu"
    assert graph.nodes[1].source == "tf.relu"
