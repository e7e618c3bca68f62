"""Assertions about two models for a user's own tests, under pytest, unittest and plain Python."""

from shared.testing.assertions import assert_same_function, assert_same_layers

__all__ = ["assert_same_function", "assert_same_layers"]
