"""Data sets as arrays: where they lie, how they are read, what a network gets of them."""
