"""Any PyTorch model is seen whole, in whatever style it is written, and stays as it was."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
nn, F = torch.nn, torch.nn.functional

from tests.frameworks.torch_graphs import (  # noqa: E402
    Functional,
    SqueezeExcite,
    UNet,
    VisionTransformer,
    Words,
    by_name,
    images,
    kinds,
    seen,
)


def test_functions_and_modules_are_seen_alike():
    graph = seen(Functional(), images())
    block = ["conv", "batch_norm", "relu", "conv", "add", "relu"]
    assert kinds(graph) == [
        "input",
        "conv",
        "relu",
        "max_pool",
        *block,
        *block,
        "global_avg_pool",
        "flatten",
        "dense",
        "softmax",
    ]
    names = [node.name for node in graph.nodes]
    first = [f"blocks.0.{name}" for name in ("conv1", "bn1", "relu", "conv2", "add", "relu_1")]
    assert names[:10] == ["x", "stem", "relu", "max_pool", *first]
    assert [by_name(graph)[name].source for name in ("stem", "blocks.0.relu", "blocks.0.add")] == [
        "Conv2d",
        "ReLU",
        "aten.add.Tensor",
    ]
    assert graph.notes == ()
    assert (graph.title, graph.framework, graph.layout) == ("Functional", "torch", "channels_first")


def test_settings_are_those_of_the_table():
    nodes = by_name(seen(Functional(), images()))
    assert nodes["stem"].settings == {
        "kernel_size": (3, 3),
        "stride": (2, 2),
        "padding": ((1, 1), (1, 1)),
        "dilation": (1, 1),
        "groups": 1,
    }
    assert nodes["stem"].weights["weight"].shape == (4, 3, 3, 3)
    assert nodes["blocks.1.conv2"].settings["groups"] == 2
    assert nodes["blocks.0.bn1"].settings == {"eps": 1e-5, "momentum": 0.1, "training": False}
    assert nodes["blocks.0.bn1"].weights["running_var"].trained is False
    assert nodes["softmax"].settings == {"axis": 1}
    assert nodes["blocks.0.add"].inputs == (7, 3)


def test_a_sequential_with_all_sorts_of_layers():
    layers = [nn.Conv2d(3, 6, 3, padding="same"), nn.GroupNorm(3, 6), nn.PReLU(6), nn.Dropout(0.3), nn.ReLU6()]
    layers += [nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1), nn.GELU("tanh"), nn.Hardswish()]
    layers += [nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.Upsample(scale_factor=2), nn.ZeroPad2d((1, 2, 3, 4))]
    layers += [nn.Hardtanh(0, 6), nn.SiLU(), nn.Mish(), nn.ELU(), nn.SELU(), nn.LeakyReLU(0.2), nn.Identity()]
    layers += [nn.Hardsigmoid(), nn.Softplus(), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.LogSoftmax(1)]
    graph = seen(nn.Sequential(*layers), images())
    words = (
        "input conv group_norm prelu dropout relu6 conv_transpose gelu hard_swish avg_pool upsample pad relu6 silu mish"
    )
    words += " elu selu leaky_relu hard_sigmoid softplus global_avg_pool flatten log_softmax"
    assert kinds(graph) == words.split()
    nodes = by_name(graph)
    assert nodes["0"].settings["padding"] == ((1, 1), (1, 1))
    assert nodes["3"].settings == {"rate": 0.3}
    assert nodes["5"].settings["output_padding"] == (1, 1)
    assert nodes["5"].weights["weight"].shape == (6, 4, 3, 3)
    assert nodes["8"].settings["count_include_pad"] is False
    assert nodes["9"].settings == {"scale": (2, 2), "mode": "nearest", "align_corners": False}
    assert nodes["10"].settings == {"padding": ((3, 4), (1, 2)), "value": 0}


@pytest.mark.parametrize("size", [7, 8, 9])
def test_ceil_mode_is_told_as_padding_at_the_bottom_and_the_right(size):
    graph = seen(nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True)), images(1, 2, size, size))
    assert graph.nodes[1].settings["padding"] == {7: ((0, 0),) * 2, 8: ((0, 1),) * 2, 9: ((0, 0),) * 2}[size]
    graph = seen(nn.Sequential(nn.AvgPool2d(3, 2, ceil_mode=True)), images(1, 2, size, size))
    assert graph.nodes[1].settings["count_include_pad"] is False


def test_an_adaptive_pool_is_what_it_does():
    def pool(size):
        return seen(nn.Sequential(nn.AdaptiveAvgPool2d(size)), images()).nodes[1]

    assert [pool(1).kind, pool(8).kind] == ["global_avg_pool", "identity"]
    assert (pool(3).kind, pool(3).settings) == ("other", {"output_size": (3, 3)})


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, left, right):
        left = self.conv(left)
        return {"left": left, "sum": left - self.conv(right), "twice": 2 * left}


def test_a_layer_that_is_called_twice_is_two_nodes_with_the_same_weights():
    graph = seen(Shared(), images(), images() + 1)
    nodes = by_name(graph)
    assert nodes["conv"].weights == nodes["conv_1"].weights
    assert nodes["conv"].weights["weight"].key == "conv.weight"
    assert [node.name for node in graph.nodes if node.kind == "input"] == ["left", "right"]
    assert {name: graph.nodes[number].name for name, number in graph.outputs.items()} == {
        "left": "conv",
        "sum": "subtract",
        "twice": "multiply",
    }
    assert nodes["multiply"].settings == {"constant": 2.0}


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(9, 4), nn.Linear(4, 9)
        self.head.weight = self.words.weight

    def forward(self, tokens):
        return self.head(self.words(tokens))


def test_layers_that_share_a_weight_name_it_alike():
    nodes = by_name(seen(Tied(), np.array([[1, 2, 3]])))
    assert [nodes[name].weights["weight"].key for name in ("words", "head")] == ["words.weight"] * 2


def test_a_squeeze_and_excite_block_and_a_tuple_as_output():
    graph = seen(SqueezeExcite(), images())
    words = "input conv global_avg_pool conv silu conv sigmoid multiply mean global_max_pool"
    assert sorted(kinds(graph)) == sorted(words.split())
    assert list(graph.outputs) == ["0", "1", "2"]
    assert by_name(graph)["mean"].settings == {"axes": (1,)}


def test_a_unet_with_python_padding_concat_and_crop():
    graph = seen(UNet(), images(2, 3, 9, 9))
    nodes = by_name(graph)
    assert nodes["pad"].settings == {"padding": ((0, 1), (0, 1)), "value": 0}
    assert nodes["concat"].settings == {"axis": 1}
    assert [graph.nodes[number].name for number in nodes["concat"].inputs] == ["relu", "pad"]
    crops = [node.settings["padding"] for node in graph.nodes if node.kind == "crop"]
    assert crops == [((1, 1), (0, 0)), ((0, 0), (2, 0))]


def test_a_vision_transformer_is_seen_through_its_attention():
    graph = seen(VisionTransformer(), images())
    count = Counter(kinds(graph))
    assert [count[kind] for kind in ("attend", "layer_norm", "dense", "parameter", "gelu")] == [1, 2, 5, 2, 1]
    nodes = by_name(graph)
    assert nodes["norm1"].settings == {"eps": 1e-5, "axes": (2,)}
    assert nodes["attention.out_proj"].weights["weight"].key == "attention.out_proj.weight"
    assert nodes["places"].weights["value"].shape == (1, 5, 8)
    assert nodes["add"].inputs[1] == graph.nodes.index(nodes["places"])


def test_words_and_a_product_with_a_parameter_and_a_layer_without_a_word():
    graph = seen(Words(), np.array([[1, 2, 3], [4, 5, 6]]))
    nodes = by_name(graph)
    assert nodes["words"].weights["weight"].shape == (11, 6)
    assert nodes["dense"].weights["weight"].shape == (4, 6), "as (out, in)"
    assert nodes["dense_1"].weights["weight"].shape == (6, 4)
    assert nodes["scale"].settings == {"factor": -1.0, "offset": 1.0}
    assert (nodes["memory"].kind, nodes["memory"].source, len(nodes["memory"].weights)) == ("other", "LSTM", 4)
    assert nodes["memory"].settings["num_layers"] == 1
