"""Tests of the assertions that users write into their own tests."""
