"""Runs a notebook again without the cells that ended it, so that the others are not lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator

MOST_STARTS = 4


class CellDiedError(Exception):
    """A cell ended the process, or had to be ended with it."""

    def __init__(self, number: int, why: str) -> None:
        super().__init__(why)
        self.number, self.why = number, why


def rerun(run: Callable[[], None], deadly: dict[int, str]) -> Iterator[CellDiedError]:
    """Call `run` until it comes to its end, at most `MOST_STARTS` times; yield what ended it before.

    `run` leaves out the cells in `deadly` (number -> why), and raises `CellDiedError` for one more.
    """
    for _ in range(MOST_STARTS):
        try:
            return run()
        except CellDiedError as error:
            deadly[error.number] = error.why
            yield error
