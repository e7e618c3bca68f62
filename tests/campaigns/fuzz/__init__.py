"""Gives spoilt files to every reader, each in a process of its own, and counts what came of it.

`python -m tests.campaigns.fuzz --inputs 20000`: checkpoints, pictures, archives, data sets, recipes, runs, notebooks,
verdicts, class lists and answers of students are spoilt and read. Each input must be accepted and usable, or refused
in one line, within a limit of memory and of time; nothing may be written, printed, started or asked of the network,
and no other file read. Ends with exit code 1 if an input broke something. What was found: docs/faults.md.

A warm process, which has imported everything and has one thread only, forks a child for each input: that takes a
hundredth of a second. Input KIND:NUMBER is a function of its name and of `--seed`, and `--again` makes it once more.
"""

from pathlib import Path

ROOT = Path(__file__).parents[3]
#: Of the process that forks: one with several threads cannot, and no data set of the user's is to be read.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "COLUMNS": "140"}
ENVIRONMENT |= {"MPLBACKEND": "agg", "TF_CPP_MIN_LOG_LEVEL": "3", "RESNET_TWINS_DATA": ""}
