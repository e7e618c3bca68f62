"""Runs a function for many inputs, each in a process that is ended when it takes too long: nobody waits for another."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from multiprocessing import get_context
from typing import Any

from shared.base.printable import printable
from shared.classroom.folders import new_place, remove_abandoned, remove_tree


def each_apart(
    function: Callable[..., None], inputs: Sequence[tuple[Any, ...]], seconds: Sequence[float], jobs: int
) -> Iterator[tuple[int, str]]:
    """Calls `function(*inputs[i])` for every i, `jobs` at a time, and yields i and what went wrong, "" if nothing did.

    An input may take `seconds[i]`. Whatever happens to its process, the others go on.
    """
    from pebble import ProcessExpired, ProcessPool

    if not inputs:
        return
    remove_abandoned()
    place = new_place()
    with ProcessPool(
        min(jobs, len(inputs)), context=get_context("spawn"), initializer=_write_to, initargs=[str(place)]
    ) as pool:
        futures: dict[Any, int] = {
            pool.schedule(function, args=list(each), timeout=limit): number
            for number, (each, limit) in enumerate(zip(inputs, seconds, strict=True))
        }
        try:
            while futures:
                for future in wait(futures, return_when=FIRST_COMPLETED).done:
                    number = futures.pop(future)
                    failure = ""
                    try:
                        future.result()
                    except TimeoutError:
                        failure = f"grading took more than {seconds[number]:g} seconds"
                    except ProcessExpired as error:
                        failure = f"the process that graded ended (exit code {error.exitcode})"
                    except Exception as error:
                        failure = f"the grader failed: {type(error).__name__}: {printable(error)}"
                    yield number, failure
            pool.close()
        finally:
            if futures:  # somebody stopped it
                pool.stop()
            pool.join()
            remove_tree(place)


def _write_to(place: str) -> None:
    """Puts the temporary files of this process where they are removed even if it is killed."""
    tempfile.tempdir = place
