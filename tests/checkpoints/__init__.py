"""Tests of files of weights."""
