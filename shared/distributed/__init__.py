"""One training run in several processes."""

from shared.distributed.start import resume, train

__all__ = [
    "resume",
    "train",
]
