"""How a pair of models is shown: blocks, the page, JUnit and the other formats, both printouts, what it is called."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from shared.base.errors import InputError
from shared.cli.twins import Format
from shared.networks.graph import Graph, Node, Weight
from shared.twins.named import titles_of
from shared.twins.pair import Pair, compare_graphs
from shared.twins.pair_blocks import blocks_of
from shared.twins.printouts import keras_printout, raw_pair, side_by_side, torch_printout
from shared.twins.sight import compare_pair
from shared.twins.simplify import Simple
from shared.twins.views import FORMS

# -- pairs made by hand


def chain(*layers: str, title: str = "Net", framework: str = "torch", **changes: object) -> Graph:
    """A network of one line: the layers are named, their kind is the word in which the name ends ("a.conv")."""
    nodes = [Node(name="x", kind="input", source="input", shape=(1, 3, 8, 8))]
    for place, name in enumerate(layers):
        kind = re.findall("conv|norm|relu|dense", name)[-1].replace("norm", "batch_norm")
        settings = {"conv": {"stride": (1, 1)}, "batch_norm": {"eps": 1e-5, "momentum": 0.1}}.get(kind, {})
        weights = {"weight": Weight(key=name, shape=(4, 4, 3, 3) if kind == "conv" else (4,))}
        nodes.append(
            Node(
                name=name,
                kind=kind,
                source=kind.title(),
                inputs=(place,),
                shape=(1, 4, 8, 8),
                settings={**settings, **(changes if kind == "batch_norm" else {})},
                weights={} if kind == "relu" else weights,
            )
        )
    return Graph(
        title=title,
        framework=framework,
        layout="channels_first",
        nodes=tuple(nodes),
        outputs={"": len(layers)},
    )


PARTS = ("conv", "norm", "relu", "2.conv", "2.norm")
DOTTED = ["conv", "norm", *(f"layer1.{block}.{part}" for block in range(3) for part in PARTS), "dense"]
WORDS = [
    "conv_1",
    "norm_1",
    *(f"stage_block{n}_{part.replace('.', '_')}" for n in range(3) for part in PARTS),
    "dense_1",
]


@pytest.fixture
def pair() -> Pair:
    """Two networks of three blocks; the norms of the second have another eps and another momentum."""
    second = chain(*WORDS, title="other", framework="tf", eps=1e-3, momentum=0.01)
    return compare_graphs(chain(*DOTTED), second)


def with_name(pair: Pair, place: int, name: str) -> Pair:
    nodes = list(pair.first.nodes)
    nodes[place] = replace(nodes[place], name=name)
    return compare_graphs(replace(pair.first, nodes=tuple(nodes)), pair.second)


def simples(*names: str, kind: str = "conv", source: str = "Conv2D") -> list[Simple]:
    nodes = [Node(name=name, kind=kind, source=source) for name in names]
    return [Simple(node=node, inputs=(), members=(0,), core=0, shape=()) for node in nodes]


# -- blocks

SIX = [f"part{number}" for number in "abcdef"]


@pytest.mark.parametrize(
    ("names", "blocks"),
    [
        (["conv1", *(f"layer1.{n}.{p}" for n in "01" for p in (*SIX, "short.0"))], ["layer1.0", "layer1.1"]),
        ([f"blocks.{n}.{part}" for n in "01" for part in ("norm1", "attn.qkv", "attn.proj")], ["blocks.0", "blocks.1"]),
        (["features.0.0", "features.0.1", "features.1.conv.0.0", "features.1.conv.0.1"], ["features.0", "features.1"]),
        (["features.0", "features.1", "features.2", "classifier.0", "classifier.1"], ["features", "classifier"]),
        ([f"encoder.layers.{n}.{p}" for n in "01" for p in SIX], ["encoder.layers.0", "encoder.layers.1"]),
        ([f"stages.{s}.blocks.{b}.{p}" for s in "01" for b in "01" for p in SIX],
         ["stages.0.blocks.0", "stages.0.blocks.1", "stages.1.blocks.0", "stages.1.blocks.1"]),
        ([f"stage1/block{n}/{p}" for n in "12" for p in SIX], ["stage1/block1", "stage1/block2"]),
        ([f"conv2_block{n}_{k}_{p}" for n in "12" for k in "12" for p in ("conv", "bn", "relu")],
         ["conv2_block1", "conv2_block2"]),
        ([f"block_{n}_{p}" for n in "12" for p in ("expand", "expand_BN", "project")], ["block_1", "block_2"]),
        (["expanded_conv_depthwise", "expanded_conv_project", "top"], ["expanded_conv"]),
        (["conv2d", "conv2d_1", "conv2d_2"], []),
        (["conv", "norm", "fc"], []),
        (["a.b", "c.d", "e"], []),
    ],
    ids=lambda value: "",
)  # fmt: skip
def test_blocks_are_read_from_the_styles_in_which_people_name_layers(names, blocks):
    found = blocks_of(simples(*names))
    assert [name for name in dict.fromkeys(found) if name] == blocks


def test_names_that_a_framework_gave_make_no_blocks():
    names = ["batch_normalization", "batch_normalization_1", "batch_normalization_2", "other"]
    assert not any(blocks_of(simples(*names, kind="batch_norm", source="BatchNormalization")))


def test_what_is_done_inside_of_a_layer_belongs_to_the_block_of_the_layer():
    names = ["block1_conv1", "block1_conv1/relu", "block1_pool", "fc1", "fc1/relu"]
    assert blocks_of(simples(*names)) == ["block1", "block1", "block1", "", ""]


def test_the_blocks_of_both_models_stand_beside_each_other(pair):
    assert [(block.first, block.second) for block in pair.named()] == [
        ("layer1.0", "stage_block0"),
        ("layer1.1", "stage_block1"),
        ("layer1.2", "stage_block2"),
    ]


def test_the_second_model_names_the_blocks_where_the_first_has_automatic_names(pair):
    flat = chain(*(f"{re.findall('conv|norm|relu|dense', name)[-1]}_{n}" for n, name in enumerate(DOTTED)))
    found = compare_graphs(flat, pair.first)
    assert [(block.first, block.second) for block in found.named()] == [
        ("", "layer1.0"),
        ("", "layer1.1"),
        ("", "layer1.2"),
    ]


def test_a_block_that_only_the_second_has_is_a_block_of_its_own(pair):
    shorter = chain(*(name for name in DOTTED if "layer1.1" not in name))
    found = compare_graphs(shorter, pair.first)
    alone = [block for block in found.named() if not block.first]
    assert sum(len(block.rows) for block in alone) == len(PARTS)
    assert sum(block.parameters[1] for block in found.blocks) == found.totals[1]["parameters"]


def test_subtotals_add_up_in_both_models(pair):
    for side in (0, 1):
        assert sum(block.parameters[side] for block in pair.blocks) == pair.totals[side]["parameters"] > 0
    assert sum(block.differing for block in pair.blocks) == pair.differing
    rows = list(csv.DictReader(io.StringIO(pair.grouped("block").to_csv())))
    assert [row["first"] for row in rows][3:6] == ["layer1.0", "layer1.1", "layer1.2"]
    assert sum(int(row["second_parameters"]) for row in rows) == pair.totals[1]["parameters"]


def test_without_a_hierarchy_there_are_no_blocks_to_show():
    found = compare_graphs(chain("conv", "norm"), chain("conv", "norm"))
    with pytest.raises(InputError, match="has blocks in the names of its layers"):
        found.grouped("block")
    with pytest.raises(InputError, match="by is 'stage'; allowed is one of layer, block"):
        found.grouped("stage")


def test_a_weight_that_layers_share_is_counted_once_in_the_total_and_said():
    graph = chain("a.conv", "b.conv")
    nodes = [replace(node, weights={"weight": Weight(key="same", shape=(2, 3))}) for node in graph.nodes[1:]]
    found = compare_graphs(replace(graph, nodes=(graph.nodes[0], *nodes)), graph)
    assert found.totals[0]["parameters"] == 6
    assert "6 parameters are shared by several layers" in found.notes[0]
    assert found.notes[0] in found.to_text()


# -- formats


class Checked(HTMLParser):
    """Notes what is open, and every tag and attribute that was seen."""

    VOID = ("meta", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: dict[str, list[str | None]] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_needs_neither_network_nor_script(pair):
    text = pair.to_html()
    page = Checked(text)
    assert page.open == []
    assert text.startswith("<!DOCTYPE html>")
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert not re.search(r"https?:|url\(|@import|\son\w+=", text)
    assert pair._repr_html_() in text
    assert page.tags.count("details") == len(pair.rows) + len(pair.named())


def test_on_the_page_blocks_without_a_difference_are_closed_and_words_mark_the_others(pair):
    one = with_settings(pair, "layer1.1.norm")
    blocks = re.findall(r'<details class="block (\w+)"( open)?><summary.*?</summary>', one.to_html(), re.DOTALL)
    assert blocks == [("same", ""), ("differs", " open"), ("same", "")]
    assert 'aria-label="differs"' in one.to_html()
    assert 'eps <b class="bad">✗ differs</b>' in one.to_html()
    assert "1 of 5 layers and operations differ" in one.to_html()


def with_settings(pair: Pair, name: str) -> Pair:
    """The first model beside itself, with another eps in one layer."""
    nodes = [replace(node, settings={"eps": 0.5}) if node.name == name else node for node in pair.first.nodes]
    nodes = [replace(node, settings={**node.settings, "momentum": 0.1} if node.name == name else node.settings)
             for node in nodes]  # fmt: skip
    return compare_graphs(pair.first, replace(pair.first, nodes=tuple(nodes)))


def test_a_setting_that_is_not_compared_is_shown_and_said(pair):
    assert "momentum: not compared" in pair.to_html()


NASTY = "a.<script>alert(1)</script>|`=\x1b[31m\u202e&.conv"


@pytest.mark.parametrize("form", FORMS)
def test_names_of_others_are_cleaned_and_escaped_in_every_format(pair, form):
    found = with_name(pair, 1, NASTY)
    text = replace(found, first=replace(found.first, title="<script>\x07")).shown_as(form)
    assert not any(sign in text for sign in "\x1b\u202e\x07")
    if form in ("html", "markdown", "junit"):
        assert "<script" not in text
        assert "&lt;script&gt;" in text
    if form == "markdown":
        assert len({re.sub(r"\\\|", "", line).count("|") for line in text.splitlines() if line.startswith("|")}) == 1


def test_a_long_name_is_shown_whole_enough_and_bounded(pair):
    found = with_name(pair, 1, "layer." + "n" * 5000 + ".conv")
    for form in FORMS:
        assert "n" * 1000 not in found.shown_as(form), form


def test_a_name_is_no_formula_for_a_spreadsheet(pair):
    assert "'=cmd.conv" in with_name(pair, 1, "=cmd.conv").to_csv()


def test_json_has_totals_blocks_notes_and_both_sides_of_every_row(pair):
    content = json.loads(pair.to_json())
    assert content["equal"] is False
    assert content["totals"]["first"]["parameters"] == pair.totals[0]["parameters"]
    assert [block["second"] for block in content["blocks"]] == ["stage_block0", "stage_block1", "stage_block2"]
    (norm,) = [row for row in content["rows"] if row["first"]["name"] == "layer1.0.norm"]
    assert (norm["first"]["settings"]["eps"], norm["second"]["settings"]["eps"]) == (1e-5, 1e-3)
    assert content["rows"].index(norm) in content["blocks"][0]["rows"]


def test_junit_has_a_case_for_each_row_that_fails_with_its_differences(pair):
    root = ElementTree.fromstring(pair.to_junit().encode())
    (suite,) = root
    cases = suite.findall("testcase")
    assert (root.tag, suite.tag, suite.get("name")) == ("testsuites", "testsuite", pair.title)
    assert len(cases) == int(suite.get("tests", 0)) == len(pair.rows)
    failures = [case for case in cases if case.find("failure") is not None]
    assert len(failures) == int(suite.get("failures", 0)) == pair.differing > 0
    assert all(case.get("classname") and case.get("name") for case in cases)
    assert len({(case.get("classname"), case.get("name")) for case in cases}) == len(cases)
    case = next(case for case in failures if case.get("name") == "layer1.0.norm")
    assert case.get("classname") == "layer1.0"
    assert case.find("failure").get("message") == "eps 1e-05 and 0.001"
    assert {child.tag for child in suite} == {"testcase", "system-out"}


def test_the_command_has_the_formats_that_views_have():
    assert tuple(Format) == FORMS


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize("by", ["layer", "block"])
def test_the_table_of_a_pair_fits_the_terminal(pair, width, by):
    from rich.console import Console

    file = io.StringIO()
    found = with_name(pair, 3, f"layer1.0.{'long_' * 20}conv").grouped(by)
    Console(file=file, width=width, color_system=None).print(found.to_rich(width))
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in file.getvalue()
    assert any("total" in line and "✗" in line for line in lines)


# -- what a pair is called


def test_a_pair_is_called_as_it_was_typed():
    assert titles_of("mine.py:Net", "their.module:build(classes=3)") == ("mine.py:Net", "their.module:build(classes=3)")
    long = titles_of(f"{'folder/' * 30}mine.py:Net", object())
    assert (long[0][0], long[0][-11:], len(long[0]), long[1]) == ("…", "mine.py:Net", 40, None)
    assert "\x1b" not in titles_of("a\x1b[31m.py:Net", "b")[0]


def test_two_of_one_name_are_told_apart_by_their_place():
    found = compare_graphs(chain("conv", "norm"), chain("conv", "norm"))
    assert found.names == ("Net (first)", "Net (second)")


# -- printouts

TABLE = """Model: "m"
┏━━━┓
┃ h ┃
┡━━━┩
│ a │
├───┤
│ b │
│ . │
├───┤
│ s │
├───┤
│ c │
└───┘
 Total"""


def test_rows_of_partners_stand_in_one_line_and_free_rows_take_the_order_of_the_other_side():
    left = torch_printout("Net(\n  (one): A()\n  (two): B(\n    (x): C()\n  )\n  (none): D()\n)", "left")
    right = keras_printout(TABLE, "right")
    partners = {"one": "c", "two.x": "a"}
    text = side_by_side(left, right, partners, [["a"], ["b"], ["s", "c"]])
    assert re.search(r"^  \(one\): A\(\) +│ c │$", text, re.MULTILINE)
    assert re.search(r"^    \(x\): C\(\) +│ a │$", text, re.MULTILINE)
    order = re.findall(r"│ (\S) │", text)
    assert order == ["s", "c", "a", "b", "."], "what belongs to c in front of it, what follows a behind it"
    swapped = side_by_side(right, left, {theirs: mine for mine, theirs in partners.items()}, [["a"], ["b"], ["s", "c"]])
    assert re.search(r"│ c │ +\(one\): A\(\)", swapped)
    for line in TABLE.splitlines():
        assert line.startswith("├") or line.strip() in swapped


def test_two_printouts_of_pytorch_keep_their_order(torch_twin):
    from torch import nn

    inside = [nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()), nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())]
    first, second = nn.Sequential(*inside), nn.Sequential(nn.Sequential(*inside), nn.Flatten())
    text = raw_pair(compare_pair(first, second, input_size=4), first, second)
    assert len(re.findall(r"\(0\): Conv2d.*\(0\): Conv2d", text)) == 2
    assert re.search(r"^    \(0\): Conv2d\(3, 3.* {2,}\(0\): Conv2d\(3, 3", text, re.MULTILINE)
    assert re.search(r"^  \(1\): Sequential\( +\(1\): Sequential\($", text, re.MULTILINE)
    assert "(1): Flatten" in text


def test_what_others_print_is_cleaned_bounded_and_may_fail(torch_twin):
    import torch

    class Loud(torch.nn.Linear):
        def extra_repr(self):
            return "\x1b[31m\u202e" + "x" * 1000

    class Broken(torch.nn.Linear):
        def __repr__(self):
            raise ValueError("no\nrepr")

    loud, broken = torch.nn.Sequential(Loud(4, 2)), torch.nn.Sequential(Broken(4, 2))
    found = compare_pair(loud, broken, input_size=4)
    text = raw_pair(found, loud, loud)
    assert "\x1b" not in text
    assert "x" * 500 not in text
    with pytest.raises(InputError, match="does not work: no repr"):
        raw_pair(found, loud, broken)


@pytest.fixture
def keras_nets(keras_twin):
    """A functional model, one with the same layers in a model of its own, and a subclassed one around that."""
    import keras
    from keras import layers

    def body(x):
        return layers.ReLU(name="body_relu")(layers.Conv2D(4, 3, name=f"body_{'very_' * 12}long_conv")(x))

    def functional():
        image = keras.Input((8, 8, 3))
        return keras.Model(image, layers.Dense(2, name="head")(layers.Flatten(name="flat")(body(image))))

    def nested():
        image, inside = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
        x = keras.Model(inside, body(inside), name="body")(image)
        return keras.Model(image, layers.Dense(2, name="head")(layers.Flatten(name="flat")(x)))

    class Around(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = nested()

        def call(self, x):
            return self.inner(x)

    return functional, nested, Around


@pytest.mark.parametrize("other", [1, 2])
def test_two_summaries_of_keras_are_aligned_also_within_models(keras_nets, other):
    first, second = keras_nets[0](), keras_nets[other]()
    text = raw_pair(compare_pair(first, second), first, second)
    assert re.search(r"│ body_relu \(ReLU\).*└ body_relu \(ReLU\)", text)
    assert re.search(r"│ head \(Dense\).*head \(Dense\)", text)
    assert len(re.findall(r"long_conv .*long_conv ", text)) == 1, "no name is broken over two lines"
    assert ("does not look into a subclassed model" in text) == (other == 2)


def test_printouts_of_both_frameworks_stand_beside_each_other_by_their_layers(keras_nets, torch_twin):
    from torch import nn

    named = {"conv": nn.Conv2d(3, 4, 3), "act": nn.ReLU(), "flat": nn.Flatten(), "fc": nn.Linear(4 * 6 * 6, 2)}
    first = nn.Sequential()
    for name, module in named.items():
        first.add_module(name, module)
    second = keras_nets[0]()
    found = compare_pair(first, second, titles=("mine.py:Net", "theirs.py:build"))
    text = raw_pair(found, first, second)
    for mine, theirs in (("conv", "long_conv"), ("act", "body_relu"), ("fc", "head")):
        assert re.search(rf"^  \({mine}\): .*│ .*{theirs} ", text, re.MULTILINE), text
    assert text.startswith("mine.py:Net (PyTorch): print(model)")


# -- the command

MINE = """
from torch import nn
class Net(nn.Sequential):
    def __init__(self, eps=1e-5):
        blocks = [nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, eps=eps), nn.ReLU()) for _ in range(2)]
        super().__init__(*blocks)
"""


def test_the_command_shows_pairs_as_typed_in_every_form(call, tmp_path, torch_twin):
    (tmp_path / "mine.py").write_text(MINE)
    names = ["mine.py:Net", "mine.py:Net(eps=0.1)"]
    shown = call("compare", *names, "--input-size", "8", "--by", "block")
    assert shown.returncode == 1, shown.stderr
    assert "✗ mine.py:Net and mine.py:Net(eps=0.1): 2 of 7 rows differ" in shown.stdout
    assert re.search(r"^ ?0 +block of 3 ", shown.stdout, re.MULTILINE)
    assert "\x1b" not in shown.stdout
    junit = call("compare", *names, "--format", "junit", "-o", "out.xml", "--input-size", "8")
    assert junit.returncode == 1
    assert ElementTree.parse(tmp_path / "out.xml").getroot().get("failures") == "2"
    raw = call("compare", *names, "--raw", "--input-size", "8")
    assert re.search(r"\(1\): BatchNorm2d\(3, eps=1e-05.*\(1\): BatchNorm2d\(3, eps=0.1", raw.stdout)
    assert "✗ mine.py:Net and mine.py:Net(eps=0.1)" in raw.stdout


def test_the_command_says_which_file_of_weights_does_not_fit(call, tmp_path, torch_twin):
    import torch

    (tmp_path / "mine.py").write_text(MINE)
    torch.save({"wrong": torch.zeros(2)}, tmp_path / "w.pth")
    for option in ("--weights", "--second-weights"):
        shown = call("compare", "mine.py:Net", "mine.py:Net", option, "w.pth", "--input-size", "8")
        assert shown.returncode == 2
        assert "Error: w.pth for mine.py:Net: the weights do not fit" in shown.stderr
