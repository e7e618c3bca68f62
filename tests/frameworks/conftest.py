"""Fixtures for tests of the framework packages."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.conftest import backend


@pytest.fixture
def reader() -> ModuleType:
    """`resnet_tf.graph`, where Keras runs; Keras counts its names from the start, as in a process of its own."""
    backend("tf")
    import keras

    import resnet_tf.graph

    keras.utils.clear_session()
    return resnet_tf.graph
