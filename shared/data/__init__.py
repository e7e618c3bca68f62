"""Data sets as arrays: where they lie, how they are read, what a network gets of them."""

from shared.data.dataset import Dataset, Split
from shared.data.inputs import Inputs, resize
from shared.data.load import find_local, load_data
from shared.data.pictures import to_square
from shared.data.places import data_folders, folder_path
from shared.data.score import Score, score

__all__ = [
    "Dataset",
    "Inputs",
    "Score",
    "Split",
    "data_folders",
    "find_local",
    "folder_path",
    "load_data",
    "resize",
    "score",
    "to_square",
]
