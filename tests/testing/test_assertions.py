"""Assertions about two models: what passes, what a failure says, and what pytest and a JUnit report show of it."""

from __future__ import annotations

import ast
import importlib.metadata
import unittest
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from shared.backends import BACKENDS
from shared.base.errors import InputError
from shared.testing import assert_same_function, assert_same_layers

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[2]
NAME = "_resnet_twins.pytest_plugin"
#: An installed package has registered the plugin; a clone that was installed before it had one has not.
PLUGIN = [] if any(each.value == NAME for each in importlib.metadata.entry_points(group="pytest11")) else ["-p", NAME]
SIZE = 8
NETS = '''
import torch
from torch import nn


class Net(nn.Module):
    """A body of several blocks; eps, one activation and what stands at the end can be chosen."""

    def __init__(self, eps=1e-5, act="ReLU", end="Identity", blocks=2, classes=3):
        super().__init__()
        torch.manual_seed(0)
        parts = []
        for place in range(blocks):
            parts += [nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3, eps), nn.ReLU() if place else getattr(nn, act)()]
        self.body, self.pool = nn.Sequential(*parts), nn.AdaptiveAvgPool2d(1)
        self.head, self.end = nn.Linear(3, classes), getattr(nn, end)()
        for each in self.modules():
            if isinstance(each, nn.BatchNorm2d):
                nn.init.constant_(each.running_var, 1e-2)

    def forward(self, x):
        return self.end(self.head(self.pool(self.body(x)).flatten(1)))
'''


@pytest.fixture
def net(torch_twin):
    names = {"__name__": "nets"}
    exec(NETS, names)
    return names["Net"]


def message(check, *models, **options) -> list[str]:
    with pytest.raises(AssertionError) as failure:
        check(*models, **options)
    return str(failure.value).splitlines()


# -- layers


def test_equal_layers_pass_and_give_the_comparison(net):
    found = assert_same_layers(net(), net(), input_size=SIZE)
    assert found.equal
    assert found.verdict.startswith("✓ ")


def test_a_failure_names_the_verdict_each_reason_once_and_the_rows(net):
    lines = message(assert_same_layers, net(), net(eps=1e-3, act="GELU"), input_size=SIZE)
    assert lines[0].startswith("✗ Net (first) and Net (second): 3 of ")
    assert "- batch_norm: eps 1e-05 and 0.001 (2 times, first in body.1)" in lines
    assert "first | second: difference" in lines
    assert "body.1 | body.1: eps 1e-05 and 0.001" in lines
    assert "body.2 | body.2: relu in the first, gelu in the second" in lines
    assert not [line for line in lines if "body.0" in line], "what is equal is not listed"


def test_settings_that_may_differ_are_named(net):
    assert_same_layers(net(), net(eps=1e-3), input_size=SIZE, ignore="eps")
    assert_same_layers(net(), net(eps=1e-3), input_size=SIZE, ignore=["eps", "padding"])
    message(assert_same_layers, net(), net(eps=1e-3), input_size=SIZE, ignore=["padding"])
    lines = message(assert_same_layers, net(), net(eps=1e-3, act="GELU"), input_size=SIZE, ignore="eps")
    assert not [line for line in lines if "eps" in line]
    with pytest.raises(InputError, match="ignore is 'epsilon'"):
        assert_same_layers(net(), net(), ignore="epsilon")


def test_what_only_one_model_has_is_a_row(net):
    lines = message(assert_same_layers, net(), net(end="Sigmoid"), input_size=SIZE)
    assert "(nothing) | end: sigmoid" in lines


def test_a_long_list_of_rows_is_cut_and_counted(net):
    lines = message(assert_same_layers, net(blocks=25), net(eps=1e-3, blocks=25), input_size=SIZE)
    assert lines[-1] == "... and 5 more rows"
    assert len(lines) < 30


# -- function


def test_the_same_function_passes_with_other_weights_and_leaves_both_alone(net):
    first, second = net(), net()
    second.head.weight.data.zero_()
    assert assert_same_function(first, second, input_size=SIZE).equal
    assert not second.head.weight.any()
    lines = message(assert_same_function, first, second, input_size=SIZE, as_they_are=True)
    assert "part at head" in lines[0]


def test_a_failure_names_the_first_layer_that_parts_and_the_layers_around(net):
    lines = message(assert_same_function, net(), net(eps=1e-3), input_size=SIZE)
    assert lines[0] == "✗ Net (first) and Net (second) part at body.1: eps 1e-05 and 0.001"
    (marked,) = [line for line in lines if line.endswith("<- the first that parts")]
    assert "body.1 | body.1 (batch_norm)" in marked


def test_the_images_may_be_the_users_own(net):
    images = np.ones((2, SIZE, SIZE, 3), np.float32)
    assert assert_same_function(net(), net(), images=images).equal
    with pytest.raises(InputError, match="cannot run on inputs of shape"):
        assert_same_function(net(), net(), images=images[0])


def test_a_tolerance_forgives_numbers_but_no_operation(net):
    assert_same_function(net(), net(eps=1e-3), input_size=SIZE, tolerance=0.9)
    lines = message(assert_same_function, net(), net(eps=1e-3), input_size=SIZE, tolerance=1e-3)
    assert "part at body.1: eps 1e-05 and 0.001" in lines[0]
    assert lines[1].endswith("of the output's size, allowed is 0.001")
    lines = message(assert_same_function, net(), net(end="Sigmoid"), input_size=SIZE, tolerance=0.9)
    assert lines[0].endswith("part at end: end (sigmoid) is only in the second")
    with pytest.raises(InputError, match="tolerance is -1"):
        assert_same_function(net(), net(), input_size=SIZE, tolerance=-1)


@pytest.mark.parametrize("check", [assert_same_layers, assert_same_function])
def test_another_network_is_a_failure_and_no_bad_input(net, check):
    from torch import nn

    other = nn.Sequential(nn.Conv2d(3, 7, 5), nn.ReLU(), nn.Conv2d(7, 5, 3), nn.Flatten(), nn.Linear(20, 3))
    assert "are not the same network" in message(check, net(), other, input_size=SIZE)[0]
    assert message(check, net(), net(classes=4), input_size=SIZE)[0].startswith("✗ "), "weights that do not fit"


@pytest.mark.parametrize("check", [assert_same_layers, assert_same_function])
@pytest.mark.parametrize("wrong", ["nowhere.py:Net", "resnet51", [1, 2]], ids=str)
def test_what_is_no_model_is_bad_input_and_no_failure(net, check, wrong):
    with pytest.raises(InputError) as error:
        check(net(), wrong, input_size=SIZE)
    assert not isinstance(error.value, AssertionError)
    assert len(error.traceback) == 2, "this line, and ours, which pytest hides"


def test_models_may_be_named_and_of_two_frameworks(torch_twin, keras_twin, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    assert_same_layers("nets.py:Net", "nets.py:Net(eps=0.00001)", input_size=SIZE)
    assert_same_function(keras_twin.create_model("resnet8_digits", seed=0), "resnet8_digits")


def test_it_works_under_unittest(net):
    class Case(unittest.TestCase):
        def test_same(self):
            assert_same_layers(net(), net(), input_size=SIZE)

        def test_other(self):
            assert_same_layers(net(), net(eps=1e-3), input_size=SIZE)

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Case).run(result)
    assert (result.testsRun, len(result.failures), len(result.errors)) == (2, 1, 0)
    assert "eps 1e-05 and 0.001" in result.failures[0][1]


# -- the plugin

TESTS = """
import sys


def test_the_plugin_has_loaded_nothing(pytestconfig):
    heavy = {"torch", "tensorflow", "keras", "numpy", "rich", "shared", "shared.testing"}
    assert not heavy & set(sys.modules)


def test_same(assert_same_layers, assert_same_function):
    assert_same_layers("nets.py:Net", "nets.py:Net", input_size=8)
    assert_same_function("nets.py:Net", "nets.py:Net", input_size=8)


def test_other(assert_same_function):
    models = "nets.py:Net", "nets.py:Net(eps=0.001)"
    assert_same_function(*models, input_size=8)  # the user's line


def test_no_model(assert_same_layers):
    assert_same_layers("nets.py:Not", "nets.py:Net")
"""


def properties(report) -> dict[str, list[tuple[str | None, str | None]]]:
    """Return the properties of each test in a JUnit report."""
    return {
        str(case.get("name")): [(each.get("name"), each.get("value")) for each in case.iter("property")]
        for case in ElementTree.parse(report).iter("testcase")
    }


def test_the_fixtures_need_no_import_and_their_verdicts_stand_in_the_junit_report(pytester, torch_twin):
    pytester.makepyfile(nets=NETS, test_mine=TESTS)
    ran = pytester.runpytest_subprocess(*PLUGIN, "-W", "error", "--junitxml=report.xml", "-p", "no:cacheprovider")
    ran.assert_outcomes(passed=2, failed=2)
    found = properties(pytester.path / "report.xml")
    assert found["test_the_plugin_has_loaded_nothing"] == []
    assert [name for name, _ in found["test_same"]] == ["resnet-twins"] * 2
    assert all("✓ " in value for _, value in found["test_same"])
    verdict = "✗ Net (first) and Net (second) part at body.1: eps 1e-05 and 0.001"
    assert found["test_other"] == [("resnet-twins", verdict)]
    assert found["test_no_model"] == []
    shown = ran.stdout.str()
    assert f"E       AssertionError: {verdict}" in shown
    assert "nets.py has no 'Not'; it has Net" in shown
    assert ">       assert_same_function(*models, input_size=8)  # the user's line" in shown
    for inside in ("assertions.py", "pytest_plugin.py", "parting.py", "own_code.py"):
        assert inside not in shown, "only the user's own lines are shown"
    assert "Captured" not in shown, "and nothing of what PyTorch says to itself"


def test_a_project_of_its_own_is_not_disturbed(pytester):
    """A package of the user's that is called as ours, and a fixture of the same name as ours."""
    pytester.mkpydir("shared").joinpath("mine.py").write_text("VALUE = 3\n")
    pytester.makeconftest("import pytest\n\n\n@pytest.fixture\ndef assert_same_layers():\n    return 'mine'\n")
    pytester.makepyfile(
        "def test_mine(assert_same_layers):\n"
        "    from _resnet_twins import pytest_plugin\n"
        "    assert assert_same_layers == 'mine'\n"
        "    assert pytest_plugin.__file__\n"
    )
    ran = pytester.runpytest_inprocess(*PLUGIN, "-W", "error")
    ran.assert_outcomes(passed=1)


def test_the_plugin_can_be_left_out_by_its_name(pytester):
    pytester.makepyfile("def test_mine(assert_same_layers):\n    pass\n")
    ran = pytester.runpytest_inprocess("-p", "no:resnet-twins")
    ran.assert_outcomes(errors=1)
    ran.stdout.fnmatch_lines(["*fixture 'assert_same_layers' not found"])


@pytest.mark.parametrize("package", ["_resnet_twins", "shared", *(each.package for each in BACKENDS.values())])
def test_pytest_does_not_warn_where_the_packages_are_imported_before_it_starts(package):
    """It rewrites the modules of each package with a plugin, and says so of those it is too late for."""
    source = (ROOT / package / "__init__.py").read_text("utf-8")
    assert "PYTEST_DONT_REWRITE" in ast.get_docstring(ast.parse(source))


def test_pytest_lists_the_fixtures_with_what_they_are_for(pytester):
    shown = pytester.runpytest_inprocess(*PLUGIN, "--fixtures").stdout
    shown.fnmatch_lines(["assert_same_layers -- *", "    Fail unless two models, *have the same layers*"])
