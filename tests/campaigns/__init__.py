"""Tests of the campaigns of faults and of spoilt files."""
