"""Attention is one node however it is written: transformers beside each other, carried and parted."""

from __future__ import annotations

import functools
from itertools import permutations

import numpy as np
import pytest

from shared.base.errors import WeightsError
from shared.twins.carrying import Saved, carry
from shared.twins.difference import error_of
from shared.twins.inputs import in_layout
from shared.twins.pair import compare_graphs, see
from shared.twins.parting import find_parting
from shared.twins.porting import SAME_OUTPUT, port, run_graph
from shared.twins.sight import compare_pair
from shared.twins.simplify import Simplified, simplify
from shared.twins.weights_of import read_weights, write_weights
from tests.twins.vision_transformers import DIM, SIZE, keras_vit, torch_vit

IMAGE = np.random.default_rng(0).normal(size=(1, SIZE, SIZE, 3)).astype(np.float32)
TOKENS = np.random.default_rng(0).normal(size=(2, 6, DIM)).astype(np.float32)
TORCH = ("builtin", "encoder", "sdpa", "softmax", "separate")
KERAS = ("functional", "dense", "dot", "subclassed")
PAIRS = [pair for pair in permutations((*TORCH, *KERAS), 2) if set(pair) - set(KERAS)]


@functools.cache
def seen(style: str):
    """The graph of a transformer; the tests that change its weights change them back."""
    return see((keras_vit if style in KERAS else torch_vit)(style, seed=(*TORCH, *KERAS).index(style)), IMAGE)


def attentions(graph: Simplified):
    return [simple for simple in graph.nodes if simple.node.kind == "attention"]


def carried(first, second, *inputs) -> float:
    """Carry weights from graph to graph; return how far the outputs then differ, and put the weights back."""
    saved = Saved(second)
    try:
        carry(compare_graphs(first, second))
        (mine,), (theirs,) = (
            run_graph(graph, *(in_layout(each, graph.framework) for each in inputs)).values()
            for graph in (first, second)
        )
        return error_of(theirs, mine)
    finally:
        saved.restore()


# -- transformers as pairs


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_two_transformers_are_the_same_however_their_attention_is_written(torch_twin, keras_twin, one, other):
    pair = compare_graphs(seen(one), seen(other))
    assert pair.equal, pair.reasons
    assert [row.left.node.kind for row in pair.rows].count("attention") == 2
    assert not any(row.left.node.kind in ("reshape", "permute", "other") for row in pair.rows)
    assert error_of(*(run_graph(seen(each), in_layout(IMAGE, seen(each).framework))[""] for each in (one, other))) > 0.1
    assert carried(seen(one), seen(other), IMAGE) < SAME_OUTPUT


@pytest.mark.parametrize(("style", "pool"), [("functional", "mean"), ("subclassed", "token")])
def test_transformers_are_ported_both_ways_with_a_proof(torch_twin, keras_twin, style, pool):
    models = torch_vit("sdpa", pool=pool), keras_vit(style, pool=pool)
    there = port(*models, input_size=SIZE)
    assert there.equal, there.verdict
    assert there.pair.equal, there.pair.reasons
    again = torch_vit("softmax", pool=pool, seed=5)
    assert port(models[1], again, input_size=SIZE).equal
    for name, value in again.state_dict().items():
        assert np.allclose(value, models[0].state_dict()[name], atol=1e-7), name


def test_patches_are_the_same_as_a_convolution_and_as_a_dense_layer_of_their_pixels(torch_twin, keras_twin):
    graphs = [
        see(make(dense_patches=dense, seed=place), IMAGE)
        for place, (make, dense) in enumerate(
            [(torch_vit, False), (torch_vit, True), (keras_vit, False), (keras_vit, True)]
        )
    ]
    for first, second in permutations(graphs, 2):
        pair = compare_graphs(first, second)
        assert pair.equal, pair.reasons
        assert pair.rows[1].left.node.kind == "patches"
        assert carried(first, second, IMAGE) < SAME_OUTPUT


def test_tokens_become_an_image_again(net, keras_twin):
    import keras

    def image_of(self, x):
        y = self.conv(x).flatten(2).transpose(1, 2)
        return self.conv(self.norm(y).transpose(1, 2).reshape(x.shape))

    torch = pytest.importorskip("torch")
    model = net(image_of)
    model.conv, model.norm = torch.nn.Conv2d(3, 3, 3, padding=1), torch.nn.LayerNorm(3)
    entry = keras.Input(IMAGE.shape[1:])
    conv, image = keras.layers.Conv2D(3, 3, padding="same"), keras.layers.Reshape(IMAGE.shape[1:])
    tokens = keras.layers.Reshape((SIZE * SIZE, 3))(conv(entry))
    norm = keras.layers.LayerNormalization(epsilon=1e-5)
    first, second = see(model.eval(), IMAGE), see(keras.Model(entry, conv(image(norm(tokens)))), IMAGE)
    pair = compare_graphs(first, second)
    assert pair.equal, pair.reasons
    assert [row.left.node.kind for row in pair.rows] == ["input", "patches", "layer_norm", "pixels", "conv"]


def test_the_microscope_looks_at_attention_as_a_whole(torch_twin, keras_twin):
    for models in ((torch_vit("sdpa"), keras_vit("functional")), (keras_vit("subclassed"), torch_vit("builtin"))):
        found = find_parting(*models, input_size=SIZE)
        assert found.equal, found.verdict
        assert [layer.kind for layer in found.layers].count("attention") == 2


def test_attention_without_biases_goes_where_there_are_some_and_not_back(torch_twin, keras_twin):
    models = torch_vit("chunked"), keras_vit("functional")
    assert port(*models, input_size=SIZE).equal
    assert "attention: no query_bias in the first (2 times" in compare_pair(*models, input_size=SIZE).reasons[0]
    assert port(*models[::-1], input_size=SIZE).equal, "biases that are zero may be left out"
    for weight in models[1].weights:
        if weight.path.endswith("query/bias"):
            weight.assign(weight + 1)
    with pytest.raises(WeightsError, match="has no query_bias"):
        port(*models[::-1], input_size=SIZE)


# -- what differs


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (
            ("softmax", {"scaled": False}),
            ("functional", {}),
            "attention: scale 1 and 1 / sqrt(size of a head) (2 times",
        ),
        (("sdpa", {"scaled": False}), ("functional", {}), "attention: scale 1 and 1 / sqrt(size of a head) (2 times"),
        (("sdpa", {}), ("dense", {"scaled": False}), "attention: scale 1 / sqrt(size of a head) and 1 (2 times"),
        (("sdpa", {"heads": 4}), ("functional", {}), "attention: heads 4 and 2 (2 times, first in blocks.0.attn)"),
        (("sdpa", {}), ("dot", {"heads": 4}), "attention: heads 2 and 4 (2 times, first in blocks.0.attn)"),
    ],
    ids=["scale", "scale of the function", "scale in Keras", "heads", "heads in Keras"],
)
def test_another_scale_and_other_heads_are_differences(torch_twin, keras_twin, first, second, reason):
    models = torch_vit(first[0], **first[1]), keras_vit(second[0], **second[1])
    found = port(*models, input_size=SIZE)
    assert not found.equal
    assert [each[: len(reason)] for each in found.parting.pair.reasons] == [reason]


def test_a_norm_behind_instead_of_before_is_a_difference(torch_twin, keras_twin):
    assert compare_pair(torch_vit(pre_norm=False), keras_vit(pre_norm=False), input_size=SIZE).equal
    pair = compare_pair(torch_vit(pre_norm=False), keras_vit(), input_size=SIZE)
    assert not pair.equal
    assert any(each.startswith("layer_norm: only in the second") for each in pair.reasons)


def test_thirds_in_another_order_are_another_layout_of_the_same_and_other_numbers_as_they_are(torch_twin, keras_twin):
    turned = torch_vit("sdpa", order="kqv")
    assert port(turned, keras_vit(), input_size=SIZE).equal
    assert port(torch_vit("softmax"), turned, input_size=SIZE).equal
    turned.load_state_dict(torch_vit("sdpa").state_dict())
    assert find_parting(torch_vit("sdpa"), turned, input_size=SIZE, as_they_are=True).first.name == "blocks.0.attn"


def test_query_and_key_exchanged_are_found_in_the_weights_as_they_are(torch_twin):
    other = torch_vit("separate")
    for block in other.blocks:
        block.attn.query, block.attn.key = block.attn.key, block.attn.query
    assert find_parting(torch_vit("separate"), other, input_size=SIZE).equal, "lent the same weights, they are the same"
    found = find_parting(torch_vit("separate"), other, input_size=SIZE, as_they_are=True)
    assert found.first.name == "blocks.0.attn"


# -- forms of attention


@pytest.fixture
def net(torch_twin):
    """A PyTorch module of a function of (itself, tokens); it has linear maps, a norm, and PyTorch's attention."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self, function, **options):
            super().__init__()
            torch.manual_seed(0)
            self.function = function
            self.q, self.k, self.v, self.o = (nn.Linear(DIM, DIM) for _ in range(4))
            self.norm, self.memory, self.other = nn.LayerNorm(DIM // 2), nn.Linear(DIM, DIM), nn.Linear(DIM, 10)
            self.fused = nn.Linear(DIM, 3 * DIM)
            self.attn = nn.MultiheadAttention(DIM, 2, batch_first=True, **options)

        def forward(self, x):
            return self.function(self, x)

    return Net


def split(x):
    """(N, T, E) -> (N, heads, T, size)"""
    return x.view(x.shape[0], x.shape[1], 2, -1).transpose(1, 2)


def merge(x):
    return x.transpose(1, 2).flatten(2)


def sdpa(*tensors, **options):
    import torch

    return torch.nn.functional.scaled_dot_product_attention(*tensors, **options)


def einsum(*arguments):
    import torch

    return torch.einsum(*arguments)


def by_einsum(self, x):
    q, k, v = (layer(x).view(*x.shape[:2], 2, -1) for layer in (self.q, self.k, self.v))
    scores = einsum("bihd,bjhd->bhij", q * 8**-0.25, k * 8**-0.25)
    return self.o(einsum("bhij,bjhd->bihd", scores.softmax(-1), v).reshape(x.shape))


def heads_outside(self, x):
    """Each head's query, key and value lie together in one map's rows, as some large models have them."""
    q, k, v = self.fused(x).view(*x.shape[:2], 2, 3, -1).permute(3, 0, 2, 1, 4)
    return self.o(merge(sdpa(q, k, v)))


FORMS = {
    "weights asked for": lambda self, x: self.attn(x, x, x)[0],
    "one head": lambda self, x: self.o((self.q(x) @ self.k(x).transpose(1, 2) / 4).softmax(-1) @ self.v(x)),
    "einsum": by_einsum,
    "einsum, the key first": lambda self, x: self.o(
        merge((einsum("nhtd,nhsd->nhst", split(self.k(x)), split(self.q(x))) * 8**-0.5).softmax(-1) @ split(self.v(x)))
    ),
    "heads outside": heads_outside,
    "causal": lambda self, x: self.o(
        merge(sdpa(*(split(each(x)) for each in (self.q, self.k, self.v)), is_causal=True))
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_attention_in_other_words_is_carried_into_a_layer_of_keras(net, keras_twin, form):
    import keras

    first = see(net(FORMS[form]).eval(), TOKENS)
    (mine,) = attentions(simplify(first))
    entry = keras.Input(TOKENS.shape[1:])
    layer = keras.layers.MultiHeadAttention(mine.node.settings["heads"], DIM // mine.node.settings["heads"])
    second = see(keras.Model(entry, layer(entry, entry, use_causal_mask=form == "causal")), TOKENS)
    pair = compare_graphs(first, second)
    assert pair.equal, pair.reasons
    assert carried(first, second, TOKENS) < SAME_OUTPUT
    assert carried(second, first, TOKENS) < SAME_OUTPUT


def test_query_and_memory_of_other_sizes_and_in_another_order(net, keras_twin):
    import keras

    def build(turned):
        entry = keras.Input(TOKENS.shape[1:])
        key, value = keras.layers.Dense(DIM)(entry), keras.layers.Dense(10)(entry)
        if turned:
            return keras.Model(entry, keras.layers.MultiHeadAttention(2, 8)(key, value, entry))
        return keras.Model(entry, keras.layers.MultiHeadAttention(2, 8)(entry, value, key))

    def cross(self, x):
        return self.attn(x, self.memory(x), self.other(x), need_weights=False)[0]

    first = see(net(cross, kdim=DIM, vdim=10).eval(), TOKENS)
    second = see(build(False), TOKENS)
    assert compare_graphs(first, second).equal
    assert carried(first, second, TOKENS) < SAME_OUTPUT
    assert carried(second, first, TOKENS) < SAME_OUTPUT
    reasons = compare_graphs(first, see(build(True), TOKENS)).reasons
    assert [each[:34] for each in reasons] == ["attention: inputs in another order"]


NO_ATTENTION = {
    "heads by rows instead of columns": lambda self, x: self.o(
        sdpa(*(each(x).view(len(x), 2, 6, 8) for each in (self.q, self.k, self.v))).reshape(x.shape)
    ),
    "not turned back": lambda self, x: self.o(
        sdpa(*(split(each(x)) for each in (self.q, self.k, self.v))).reshape(x.shape)
    ),
    "softmax over the queries": lambda self, x: self.o(
        merge((split(self.q(x)) @ split(self.k(x)).mT * 8**-0.5).softmax(-2) @ split(self.v(x)))
    ),
    "over the batch": lambda self, x: self.o(
        merge(sdpa(*(split(each(x).transpose(0, 1)) for each in (self.q, self.k, self.v)))).transpose(0, 1)
    ),
    "a mask": lambda self, x: self.o(
        merge(sdpa(*(split(each(x)) for each in (self.q, self.k, self.v)), attn_mask=x[0, :, :6] > 0))
    ),
    "norms of query and key": lambda self, x: self.o(
        merge(sdpa(self.norm(split(self.q(x))), self.norm(split(self.k(x))), split(self.v(x))))
    ),
    "one map for key and value": lambda self, x: self.o(
        merge(sdpa(split(self.q(x)), split(self.k(x)), split(self.k(x))))
    ),
    "key and value of other tokens": lambda self, x: self.o(
        merge(sdpa(split(self.q(x)), split(self.k(x)), split(self.v(x).flip(1))))
    ),
    "its weights are an output": lambda self, x: self.attn(x, x, x),
    "a softmax that is used twice": lambda self, x: twice(self, x),
}


def twice(self, x):
    weights = (split(self.q(x)) @ split(self.k(x)).mT * 8**-0.5).softmax(-1)
    return self.o(merge(weights @ split(self.v(x)))) + weights.sum((1, 2, 3))[:, None, None]


@pytest.mark.parametrize("form", NO_ATTENTION)
def test_what_is_no_attention_or_more_than_that_stays_as_it_is_written(net, form):
    assert attentions(simplify(see(net(NO_ATTENTION[form]).eval(), TOKENS))) == []


# -- weights


def test_each_weight_is_read_and_written_where_it_lies(torch_twin):
    model = torch_vit("sdpa", order="vqk")
    graph = see(model, IMAGE)
    first, _ = attentions(simplify(graph))
    arrays = read_weights(graph, first)
    fused = model.blocks[0].attn.qkv.weight.detach().numpy().copy()
    assert np.array_equal(arrays["query_weight"], fused[DIM : 2 * DIM])
    assert np.array_equal(arrays["value_weight"], fused[:DIM])
    write_weights(graph, first, {"key_weight": arrays["key_weight"] + 1})
    now = model.blocks[0].attn.qkv.weight.detach().numpy()
    assert np.array_equal(now[: 2 * DIM], fused[: 2 * DIM])
    assert np.array_equal(now[2 * DIM :], fused[2 * DIM :] + 1)
    assert first.node.parameters == sum(each.numel() for each in model.blocks[0].attn.parameters())


def test_a_parameter_is_the_same_with_and_without_axes_of_length_one(torch_twin, keras_twin):
    graphs = seen("sdpa"), seen("functional")
    parameters = [[each for each in simplify(graph).nodes if each.node.kind == "parameter"] for graph in graphs]
    for mine, theirs in zip(*parameters, strict=True):
        shapes = [read_weights(graph, each)["value"].shape for graph, each in zip(graphs, (mine, theirs), strict=True)]
        assert shapes[0] == shapes[1] == mine.shape == theirs.shape
        assert len(mine.node.weights["value"].shape) == len(mine.shape)


def test_a_factor_for_each_channel_is_the_same_in_both_layouts(net, keras_twin):
    import keras
    import torch

    class Factor(keras.layers.Layer):
        def build(self, shape):
            self.factor = self.add_weight(shape=shape[-1:], initializer="ones")

        def call(self, x):
            return x * self.factor

    model = net(lambda self, x: x * self.factor)
    model.factor = torch.nn.Parameter(torch.randn(1, 3, 1, 1))
    entry = keras.Input(IMAGE.shape[1:])
    first, second = see(model.eval(), IMAGE), see(keras.Model(entry, Factor()(entry)), IMAGE)
    assert compare_graphs(first, second).equal
    saved = Saved(second)
    carry(compare_graphs(first, second))
    assert np.allclose(run_graph(second, IMAGE)[""], IMAGE * model.factor.detach().numpy().reshape(-1))
    saved.restore()


def test_positions_that_are_looked_up_in_their_order_are_a_parameter(net, keras_twin):
    import torch

    def look_up(self, x):
        return x + self.table(torch.arange(6))

    for rows, kind in ((6, "parameter"), (7, "embedding")):
        model = net(look_up)
        model.table = torch.nn.Embedding(rows, DIM)
        kinds = [simple.node.kind for simple in simplify(see(model.eval(), TOKENS)).nodes]
        assert kind in kinds
