"""The framework-free table: totals that the world knows, and shapes worked out by hand."""

from __future__ import annotations

import pytest

from shared.networks.catalog import SPECS, get_spec
from shared.networks.table import count_buffers, count_macs, count_parameters, layer_table, weight_shapes

TORCHVISION = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
}
KERAS_APPLICATIONS = {"resnet50_keras": 25_636_712, "resnet101_keras": 44_707_176, "resnet152_keras": 60_419_944}
TUTORIALS = {"resnet18_d2l": 11_178_378, "resnet18_biased": 11_694_248, "resnet14_cifar_conv3x3": 195_738}
PAPER_CIFAR_MILLIONS = {20: "0.27", 32: "0.46", 44: "0.66", 56: "0.85", 110: "1.7", 1202: "19.4"}
# Table 1 of the paper, in 10^9 multiply-adds. For 50 layers and more it is the stride in the first 1x1, and the
# 34-layer figure is that of section 3.3, without projections (option A).
PAPER_MACS = {"resnet18": 1.8, "resnet34": 3.6, "resnet50_v1": 3.8, "resnet101_v1": 7.6, "resnet152_v1": 11.3}


@pytest.mark.parametrize(("name", "total"), [*TORCHVISION.items(), *TUTORIALS.items()])
def test_parameters_are_those_that_torchvision_and_the_tutorials_have(name, total):
    assert count_parameters(SPECS[name]) == total


@pytest.mark.parametrize(("name", "total"), KERAS_APPLICATIONS.items())
def test_parameters_and_statistics_together_are_those_of_keras_applications(name, total):
    assert count_parameters(SPECS[name]) + count_buffers(SPECS[name]) == total


@pytest.mark.parametrize("kind", ["resnet", "plain"])
@pytest.mark.parametrize(("depth", "millions"), PAPER_CIFAR_MILLIONS.items())
def test_the_cifar_family_has_the_papers_size(kind, depth, millions):
    digits = len(millions.split(".")[1])
    assert f"{count_parameters(SPECS[f'{kind}{depth}_cifar']) / 1e6:.{digits}f}" == millions


@pytest.mark.parametrize(("name", "billions"), PAPER_MACS.items())
def test_multiply_adds_are_those_of_the_papers_table_1(name, billions):
    spec = get_spec(name, shortcut="A") if name == "resnet34" else SPECS[name]
    assert count_macs(spec) / 1e9 == pytest.approx(billions, abs=0.06)


def test_the_stride_in_the_3x3_costs_more_than_the_papers_figure():
    assert count_macs(SPECS["resnet50"]) - count_macs(SPECS["resnet50_v1"]) == 231_211_008
    assert count_parameters(SPECS["resnet50"]) == count_parameters(SPECS["resnet50_v1"])


def test_resnet18_stage_by_stage_as_in_table_1():
    end = {row.stage: row.output_shape for row in layer_table(SPECS["resnet18"])}
    assert end == {
        "stem": (64, 56, 56),
        "layer1": (64, 56, 56),
        "layer2": (128, 28, 28),
        "layer3": (256, 14, 14),
        "layer4": (512, 7, 7),
        "head": (1000,),
    }


def test_one_row_worked_out_by_hand():
    row = {row.name: row for row in layer_table(SPECS["resnet50"])}["layer2.0.conv2"]
    assert (row.kind, row.kernel_size, row.stride, row.padding) == ("conv", 3, 2, 1)
    assert (row.input_shape, row.output_shape) == ((128, 56, 56), (128, 28, 28))
    assert row.parameters == 128 * 128 * 9
    assert row.macs == row.parameters * 28 * 28
    assert row.block == "layer2.0"


@pytest.mark.parametrize("name", SPECS)
def test_every_layer_starts_where_an_earlier_one_ended(name):
    table = layer_table(SPECS[name])
    seen = {(SPECS[name].in_channels, SPECS[name].input_size, SPECS[name].input_size)}
    for row in table:
        assert row.input_shape in seen, row.name
        seen.add(row.output_shape)
    assert len({row.name for row in table}) == len(table)
    assert table[-1].output_shape == (SPECS[name].num_classes,)


@pytest.mark.parametrize("size", [17, 33, 97, 224])
def test_odd_and_even_inputs_are_rounded_up_at_each_stride(size):
    rows = {row.name: row for row in layer_table(SPECS["resnet18"], size)}
    expected = size
    for name in ("conv1", "maxpool", "layer2.0.conv1", "layer3.0.conv1", "layer4.0.conv1"):
        expected = (expected + 1) // 2
        assert rows[name].output_shape[1:] == (expected, expected)


def test_weight_shapes_come_in_torchvisions_order():
    names = list(weight_shapes(SPECS["resnet18"]))
    assert names[:6] == [
        "conv1.weight",
        "bn1.weight",
        "bn1.bias",
        "bn1.running_mean",
        "bn1.running_var",
        "layer1.0.conv1.weight",
    ]
    first = names.index("layer2.0.downsample.0.weight")
    assert names[first - 1] == "layer2.0.bn2.running_var"
    assert names[-2:] == ["fc.weight", "fc.bias"]
