"""Breaks training runs in every way we could think of, and counts what was lost: `python -m tests.campaigns.faults`.

Real `resnet-twins train` processes are killed, run out of disk, lose their folder and meet in one folder; files of runs
are cut, deleted, and bits in them flipped. Each time the run must end with the bits of one that nobody disturbed, or
say in one line why it cannot. Ends with exit code 1 if one does not. What was found: docs/faults.md.
"""
