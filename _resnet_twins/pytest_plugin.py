"""A plugin for pytest: the assertions of `shared.testing` as fixtures, their verdicts in a JUnit report.

An installed package registers it under the name `resnet-twins`; `pytest -p no:resnet-twins` leaves it out. pytest loads
it before it knows a project's own folders, so it stands outside of `shared` and imports nothing of it until a fixture
is used: a project's own package of that name must not be hidden by ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

#: Under which name a verdict stands in the report, as <property name="resnet-twins" value="..."/>.
PROPERTY = "resnet-twins"


@pytest.fixture(name="assert_same_layers")
def same_layers(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Fail unless two models, PyTorch's or Keras', have the same layers: assert_same_layers(first, second)."""
    return _noting(request.node, "assert_same_layers")


@pytest.fixture(name="assert_same_function")
def same_function(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Fail unless two models, PyTorch's or Keras', compute the same: assert_same_function(first, second)."""
    return _noting(request.node, "assert_same_function")


def _noting(node: pytest.Item, name: str) -> Callable[..., Any]:
    """Return an assertion of `shared.testing` whose verdict is noted as a property of the test."""

    def check(*models: Any, **options: Any) -> Any:
        __tracebackhide__ = True
        from _resnet_twins import check_names

        check_names("shared")
        from shared import testing

        # Not by `record_property`, which warns of a rule of JUnit's that its readers do not hold.
        try:
            found = getattr(testing, name)(*models, **options)
        except AssertionError as error:
            node.user_properties.append((PROPERTY, str(error).partition("\n")[0]))
            raise
        node.user_properties.append((PROPERTY, found.verdict))
        return found

    return check
