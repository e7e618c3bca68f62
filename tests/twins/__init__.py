"""Tests of both twins beside each other."""
