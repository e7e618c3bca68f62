"""Fixtures for tests of the framework packages."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.conftest import backend


@pytest.fixture(scope="module")
def reader() -> ModuleType:
    """`resnet_tf.graph`; where Keras runs."""
    backend("tf")
    import resnet_tf.graph

    return resnet_tf.graph
