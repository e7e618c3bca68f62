"""Files of weights: ours, other people's, those that ship, and how one becomes another."""

from shared.checkpoints.conversion import convert
from shared.checkpoints.foreign import read_weights
from shared.checkpoints.ours import read_metadata, read_safetensors, write_safetensors
from shared.checkpoints.shipped import ASSETS, Trained, read_trained

__all__ = [
    "ASSETS",
    "Trained",
    "convert",
    "read_metadata",
    "read_safetensors",
    "read_trained",
    "read_weights",
    "write_safetensors",
]
