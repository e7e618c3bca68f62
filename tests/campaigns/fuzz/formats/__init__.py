"""The formats that are spoilt: good files of each, small and made by itself, and the ways to spoil what only it has.

The good files are the same in every call, so that a spoilt one is a function of its kind and of a `random.Random`.
Nothing is downloaded.

Most checks of a format are sums over its parts, which catch whatever is merely flipped: so besides blind damage there
are ways that take a format apart, spoil one piece, and put it together again with the right sums.

No library does this here: Hypothesis makes values and looks for the smallest one that fails, which is not the same as a
damaged file of a megabyte; fuzzers that follow coverage (atheris, AFL) want every extension module built anew.
"""
