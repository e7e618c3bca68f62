"""Tests of the two packages of models."""
