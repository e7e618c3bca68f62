"""The comparison: right, readable in every format, and able to say no."""

from __future__ import annotations

import csv
import io
import json
import re
from xml.etree import ElementTree

import pytest

from shared.backends import BACKENDS
from shared.base.errors import InputError
from shared.base.words import short_number
from shared.networks.catalog import PAPER_DEPTHS, SPECS, get_spec
from shared.twins.comparison import compare, compare_models
from shared.twins.comparison_views import headings, narrow_cells
from shared.twins.printouts import keras_printout, raw_columns, torch_lines
from shared.twins.totals import count_reasons


@pytest.mark.parametrize("name", PAPER_DEPTHS)
def test_the_five_depths_have_equal_shapes_and_parameters_layer_by_layer(torch_twin, keras_twin, name):
    found = compare(name)
    assert found.equal, found.verdict
    assert found.totals.parameters["torch"] == found.totals.parameters["tf"]


FAMILIES = [
    *("resnet50_v1", "resnet50_keras", "resnet20_cifar", "plain18", "preact_resnet50", "preact_resnet110_cifar"),
    *("resnet18_d2l", "resnet18_biased", "resnet14_cifar_conv3x3", "resnet8_digits"),
]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_of_the_catalog_is_equal(torch_twin, keras_twin, name):
    assert compare(name).equal, compare(name).verdict


@pytest.mark.parametrize("size", [33, 50, 97])
def test_odd_input_sizes_are_equal(torch_twin, keras_twin, size):
    assert compare("resnet18", input_size=size, num_classes=3, in_channels=1).equal


@pytest.fixture(scope="module")
def small():
    from tests.conftest import backend

    backend("torch"), backend("tf")
    return compare("resnet14_cifar_conv3x3")


@pytest.mark.parametrize("by", ["layer", "block", "stage"])
def test_the_text_is_as_expected(small, golden, by):
    golden(f"compare_resnet14_{by}.txt", small.grouped(by).to_text() + "\n")


def test_the_other_formats_are_as_expected(small, golden):
    golden("compare_resnet14.md", small.grouped("block").to_markdown())
    golden("compare_resnet14.html", small.grouped("block").to_html())
    golden("compare_resnet14.csv", small.to_csv())
    golden("compare_resnet14.json", small.grouped("stage").to_json())


def test_printouts_are_as_expected(torch_twin, keras_twin, golden):
    spec = SPECS["resnet14_cifar_conv3x3"]
    golden("torch_resnet14.txt", torch_twin.printout(torch_twin.create_skeleton(spec)) + "\n")
    golden("keras_resnet14.txt", keras_twin.printout(keras_twin.create_skeleton(spec)) + "\n")
    golden("raw_resnet14.txt", raw_columns(spec))


def test_repr_and_notebook_show_the_same_table(small):
    assert repr(small) == small.to_text()
    assert small._repr_html_() == small.to_html()


def test_html_is_plain_table_markup_that_github_keeps(small):
    page = small.to_html()
    assert not re.search(r"style=|class=|<script|<div", page)
    assert page.count("<tr>") == page.count("</tr>") == 2 + len(small.lines())
    assert 'align="right"' in page
    assert "✓" in page


def test_json_and_csv_hold_plain_numbers(small):
    content = json.loads(small.to_json())
    assert content["equal"] is True
    assert content["totals"]["torch_parameters"] == 195_738
    assert len(content["reasons"]) >= 4
    rows = list(csv.DictReader(io.StringIO(small.to_csv())))
    assert sum(int(row["torch_parameters"]) for row in rows) == 195_738
    assert sum(int(row["keras_parameters"]) for row in rows) == 195_738


def test_markdown_has_as_many_cells_in_every_line(small):
    table = [line for line in small.to_markdown().splitlines() if line.startswith("|")]
    assert {line.count("|") for line in table} == {len(headings(BACKENDS)) + 1}


@pytest.mark.parametrize("width", [80, 100, 125, 200])
def test_the_table_fits_the_terminal(small, width):
    from rich.console import Console

    for found in (small, small.grouped("stage")):
        file = io.StringIO()
        Console(file=file, width=width, color_system=None).print(found.to_rich(width))
        assert "…" not in file.getvalue()
        assert max(map(len, file.getvalue().splitlines())) <= width


def test_the_widest_table_of_all_fits_80_characters(torch_twin, keras_twin):
    from rich.console import Console

    file = io.StringIO()
    Console(file=file, width=80, color_system=None).print(compare("resnet50").to_rich(80))
    assert "…" not in file.getvalue()


def test_subtotals_add_up(small):
    assert sum(row.parameters["torch"] for row in small.subtotals) == small.totals.parameters["torch"]
    assert [row.name for row in small.subtotals] == ["stem", "layer1", "layer2", "layer3", "head"]


def test_reasons_name_the_totals_that_people_see_for_resnet50():
    text = " ".join(count_reasons(SPECS["resnet50"]))
    for number in ("25,557,032", "25,610,152", "25,583,592", "25,636,712", "23,508,032"):
        assert number in text
    assert "4.09 x 10^9" in text
    assert "3.86 x 10^9" in text


@pytest.mark.parametrize("name", SPECS)
def test_every_network_has_reasons(name):
    assert len(count_reasons(SPECS[name])) >= 4


def test_a_difference_is_found_and_named(torch_twin, keras_twin):
    spec = SPECS["resnet20_cifar"]
    wider = get_spec("resnet20_cifar", widths=(16, 32, 72))
    found = compare_models(spec, torch_twin.create_model(spec), keras_twin.create_model(wider), 32)
    assert not found.equal
    assert "✗ resnet20_cifar at 32x32" in found.verdict
    assert "the first is layer3.0.conv1" in found.verdict
    assert "≠" in narrow_cells(found.totals)[3]
    suite = ElementTree.fromstring(found.to_junit().encode())[0]
    failed = [case for case in suite if case.find("failure") is not None]
    assert len(failed) == int(suite.get("failures")) == sum(not row.equal for row in found.rows)
    assert (failed[0].get("classname"), failed[0].get("name")) == ("layer3.0", "layer3.0.conv1")
    assert "PyTorch: shape 64,8,8, 18,432 parameters" in failed[0].find("failure").text
    assert len(suite.findall("testcase")) == len(found.rows)


def test_layers_that_only_one_model_has_are_listed(torch_twin, keras_twin):
    spec = SPECS["resnet20_cifar"]
    deeper = get_spec("resnet20_cifar", depths=(3, 3, 4))
    found = compare_models(spec, torch_twin.create_model(deeper), keras_twin.create_model(spec), 32)
    assert not found.equal
    strays = [row for row in found.rows if row.kind == "only in PyTorch"]
    assert {row.name.rsplit(".", 1)[0] for row in strays} == {"layer3.3"}
    assert str(found)


def test_bad_input_is_refused(small):
    with pytest.raises(InputError, match="by is 'depth'; allowed is one of layer, block, stage"):
        small.grouped("depth")
    with pytest.raises(InputError, match="nearest are resnet18"):
        compare("resnet19")


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "preact_resnet18", "resnet20_cifar"])
def test_raw_columns_keep_every_line_of_both_printouts(torch_twin, keras_twin, name):
    spec = SPECS[name]
    torch_text = torch_twin.printout(torch_twin.create_skeleton(spec))
    keras_text = keras_twin.printout(keras_twin.create_skeleton(spec))
    lines = raw_columns(spec).splitlines()
    for line in torch_text.splitlines():
        assert any(out.startswith(line) for out in lines), line
    table = keras_printout(keras_text, "")
    groups = dict(table.rows)
    for line in [line for group in groups.values() for line in group] + [*table.tail]:
        assert any(out.endswith(line) for out in lines), line
    for full, line in torch_lines(torch_text):
        if full in groups:  # the same layer stands in the same line
            assert any(out.startswith(line) and f"{full} " in out[len(line) :] for out in lines), full


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (999, "999"), (1234, "1.23 k"), (11_689_512, "11.7 M"), (4_089_184_256, "4.09 G")]
)
def test_short_numbers_have_three_digits(value, text):
    assert short_number(value) == text


def test_the_text_is_a_text_in_a_notebook_too(torch_twin, keras_twin, monkeypatch, capsys):
    """In Jupyter rich prints a table straight into the page, and an empty text is left over."""
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    text = repr(compare("resnet8_digits", by="stage"))
    assert "layer1" in text
    assert "✓ resnet8_digits" in text
    assert capsys.readouterr().out == ""
