"""The layer-spec table: what a spec accepts, what it refuses and how it says so, and what it resolves to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.base.errors import InputError
from shared.networks.catalog import SPECS, get_spec
from shared.networks.spec import ResNetSpec, StemSpec

REQUIRED = [
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnet50_v1", "resnet101_v1", "resnet152_v1"),
    *("resnet50_keras", "resnet101_keras", "resnet152_keras"),
    *(f"{kind}{depth}_cifar" for kind in ("resnet", "plain") for depth in (20, 32, 44, 56, 110, 1202)),
    *("plain18", "plain34"),
    *(f"preact_resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    *("preact_resnet110_cifar", "preact_resnet164_cifar"),
    *("resnet18_d2l", "resnet18_biased", "resnet14_cifar_conv3x3"),
]


def test_the_catalog_holds_the_promised_networks_and_each_says_where_it_comes_from():
    assert set(REQUIRED) <= set(SPECS)
    for name, spec in SPECS.items():
        assert spec.name == name
        assert spec.source


@pytest.mark.parametrize(
    ("overrides", "field", "value"),
    [
        ({"depths": (2, 0, 2, 2)}, "depths[1]", "0"),
        ({"num_classes": 10**12}, "num_classes", "1000000000000"),
        ({"input_size": 10**9}, "input_size", "1000000000"),
        ({"depths": (2, -1, 2, 2)}, "depths[1]", "-1"),
        ({"depths": (True, 2, 2, 2)}, "depths[0]", "True"),
        ({"depths": (2.0, 2, 2, 2)}, "depths[0]", "2.0"),
        ({"depths": ()}, "depths", "empty"),
        ({"depths": 2}, "depths", "2"),
        ({"depths": "2222"}, "depths", "'2222'"),
        ({"depths": (2, 2)}, "widths", "(64, 128, 256, 512)"),
        ({"widths": (64, 128, 256, 0)}, "widths[3]", "0"),
        ({"block": "Basicblock"}, "block", "'Basicblock'"),
        ({"block": None}, "block", "None"),
        ({"block": ["BasicBlock"]}, "block", "BasicBlock"),
        ({"in_channels": 0}, "in_channels", "0"),
        ({"in_channels": True}, "in_channels", "True"),
        ({"num_classes": 0}, "num_classes", "0"),
        ({"num_classes": 10.0}, "num_classes", "10.0"),
        ({"input_size": 16}, "input_size", "16"),
        ({"input_size": "224"}, "input_size", "'224'"),
        ({"shortcut": "D"}, "shortcut", "'D'"),
        ({"shortcut_kernel_size": 2}, "shortcut_kernel_size", "2"),
        ({"shortcut_norm": 1}, "shortcut_norm", "1"),
        ({"stride_in_1x1": "yes"}, "stride_in_1x1", "'yes'"),
        ({"stride_in_1x1": True}, "stride_in_1x1", "True"),
        ({"conv_bias": None}, "conv_bias", "None"),
        ({"norm_eps": 0}, "norm_eps", "0"),
        ({"norm_eps": float("nan")}, "norm_eps", "nan"),
        ({"norm_momentum": 1.5}, "norm_momentum", "1.5"),
        ({"norm_momentum": True}, "norm_momentum", "True"),
        ({"zero_init_residual": 0}, "zero_init_residual", "0"),
        ({"block": "PlainBlock", "zero_init_residual": True}, "zero_init_residual", "True"),
        ({"stem": 64}, "stem", "64"),
        ({"source": 1}, "source", "1"),
        ({"shortcut": "A", "widths": (64, 32, 16, 8)}, "shortcut", "'A'"),
    ],
)
def test_a_bad_value_is_refused_with_the_field_the_value_and_what_is_allowed(overrides, field, value):
    with pytest.raises(ValueError, match="allowed is") as caught:
        get_spec("resnet18", **overrides)
    assert isinstance(caught.value, InputError)
    assert field in str(caught.value)
    assert value in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "stem", [{"out_channels": 0}, {"kernel_size": 4}, {"stride": 0}, {"max_pool": 1}, {"bias": "no"}]
)
def test_a_bad_stem_is_refused(stem):
    (field, value), *_ = stem.items()
    with pytest.raises(InputError, match=rf"stem\.{field} is {value!r}; allowed is"):
        StemSpec(**stem)


def test_unknown_names_and_fields_list_the_nearest_ones():
    with pytest.raises(InputError, match=r"unknown network 'resnet51'; nearest are resnet50"):
        get_spec("resnet51")
    with pytest.raises(InputError, match="by its name or a ResNetSpec, not by a int"):
        get_spec(18)
    with pytest.raises(InputError, match="no field 'xyzzy'; the fields are name, block, depths"):
        get_spec("resnet18", xyzzy=1)
    with pytest.raises(InputError, match=r"no field 'num_clases'; nearest are num_classes"):
        get_spec("resnet18", num_clases=10)


def test_a_spec_is_frozen_and_keyword_only():
    with pytest.raises(AttributeError):
        SPECS["resnet18"].depths = (1, 1, 1, 1)
    with pytest.raises(TypeError):
        ResNetSpec("mine", "BasicBlock", (1, 1))


def test_overrides_leave_the_catalog_alone():
    assert get_spec("resnet18", num_classes=10, depths=[1, 1, 1, 1]).depths == (1, 1, 1, 1)
    assert SPECS["resnet18"].num_classes == 1000
    assert get_spec(SPECS["resnet18"]) is not None


@pytest.mark.parametrize("name", SPECS)
def test_every_spec_survives_the_way_through_plain_data(name):
    assert ResNetSpec.from_dict(SPECS[name].to_dict()) == SPECS[name]


def test_plain_data_with_wrong_fields_is_refused():
    with pytest.raises(InputError, match="no field 'depth'"):
        ResNetSpec.from_dict({**SPECS["resnet18"].to_dict(), "depth": 3})
    with pytest.raises(InputError, match="without name, depths"):
        ResNetSpec.from_dict({"block": "BasicBlock"})
    with pytest.raises(InputError, match="stem has no field 'pool'"):
        ResNetSpec.from_dict({**SPECS["resnet18"].to_dict(), "stem": {"pool": True}})


def test_the_smallest_input_is_the_one_for_which_every_stride_has_two_pixels_to_step_over():
    assert SPECS["resnet18"].min_input_size == 17
    assert SPECS["resnet20_cifar"].min_input_size == 3
    get_spec("resnet18", input_size=17)
    with pytest.raises(InputError, match=r"input_size is 16, too small for the strides of resnet18 .* 17 or more"):
        get_spec("resnet18", input_size=16)


def test_the_first_block_of_each_stage_but_the_first_halves_the_image():
    for name in ("resnet18", "resnet50", "resnet50_v1", "preact_resnet50"):
        for stage, rows in enumerate(SPECS[name].stages(), start=1):
            strides = [row.stride1 * row.stride2 for row in rows]
            assert strides == [2 if stage > 1 else 1] + [1] * (len(rows) - 1), name


def test_the_stride_of_a_bottleneck_lies_where_the_spec_says():
    v1, v15 = (SPECS[name].stages()[1][0] for name in ("resnet50_v1", "resnet50"))
    assert (v1.stride1, v1.stride2) == (2, 1)
    assert (v15.stride1, v15.stride2) == (1, 2)


@pytest.mark.parametrize(
    ("name", "shortcut", "kinds"),
    [
        ("resnet18", "A", ["identity", "identity", "pad", "identity"]),
        ("resnet18", "B", ["identity", "identity", "conv_norm", "identity"]),
        ("resnet18", "C", ["conv_norm"] * 4),
        ("resnet50", "B", ["conv_norm", "identity", "identity", "conv_norm"]),
        ("resnet50", "A", ["pad", "identity", "identity", "pad"]),
        ("preact_resnet18", "B", ["identity", "identity", "conv", "identity"]),
        ("plain18", "B", ["none"] * 4),
    ],
)
def test_shortcuts_follow_the_papers_options(name, shortcut, kinds):
    rows = [row for rows in get_spec(name, shortcut=shortcut).stages() for row in rows]
    assert [row.shortcut.kind for row in rows[:4]] == kinds


def test_zero_init_reaches_the_last_norm_of_each_block_only():
    for row in [row for rows in get_spec("resnet50", zero_init_residual=True).stages() for row in rows]:
        assert row.last_norm.gamma == 0
        assert row.norm.gamma == 1
        assert row.shortcut.norm.gamma == 1


@pytest.mark.parametrize("name", ["", "a/b", None, 18])
def test_a_network_needs_a_name_that_can_be_a_file_name(name):
    with pytest.raises(InputError, match=f"name is {name!r}; allowed is"):
        ResNetSpec(name=name, block="BasicBlock", depths=(2, 2, 2, 2))


def test_a_new_network_is_one_row():
    mine = ResNetSpec(name="resnet26", block="Bottleneck", depths=(2, 2, 2, 2), source="mine")
    assert replace(mine, num_classes=5).num_classes == 5
    assert sum(len(rows) for rows in mine.stages()) == 8


@pytest.mark.parametrize("field", ["norm_eps", "num_classes", "depths", "block", "conv_bias", "source", "stem", "name"])
def test_numbers_too_long_to_be_written_are_refused_in_one_line(field):
    fields = {"name": "x", "block": "BasicBlock", "depths": (1,), "widths": (8,), field: 10**5000}
    with pytest.raises(InputError, match=f"{field} is <a int that cannot be shown>"):
        ResNetSpec(**fields)


def test_a_name_of_a_million_letters_is_answered_like_any_other():
    with pytest.raises(InputError, match=r"unknown network .*more characters\]'?; nearest are") as caught:
        get_spec("x" * 1_000_000)
    assert len(str(caught.value)) < 1000
