"""Checks of single values: what was given, what is allowed, in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import InputError
from shared.base.printable import quoted


def check_images(images: Any, axes: str, channels: int | None) -> NDArray[Any]:
    """Return a batch of images as an array; raise `InputError` for another rank, dtype, or a value that is not finite.

    `axes` says how they lie, "N, H, W, C" or "N, C, H, W"; `channels` is what the model takes, None if it is not known.
    """
    array = np.asarray(images.detach().cpu() if hasattr(images, "detach") else images)
    if array.dtype.kind not in "biuf":
        raise InputError(f"the images hold {array.dtype.name} values; allowed are real numbers")
    if array.ndim != 4 or 0 in array.shape:
        raise InputError(f"the images have the shape {array.shape}; wanted are four axes ({axes}), none of them empty")
    found = array.shape[axes.split(", ").index("C")]
    if channels is not None and found != channels:
        raise InputError(
            f"the images have the shape {array.shape}, ({axes}): {found} channels; the model takes {channels}"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError("the images hold values that are not finite (nan or inf)")
    return array


def check_labels(labels: Any, images: int, classes: int | None) -> NDArray[np.int64]:
    """Return class numbers as an array (N,); raise `InputError` if they are none, or do not fit images and classes.

    `classes` is None if it is not known.
    """
    array = np.asarray(labels)
    if array.shape != (images,) or array.dtype.kind not in "iu":
        raise InputError(
            f"the labels have the shape {array.shape} and hold {array.dtype.name}; wanted are {images} whole numbers, "
            "one for each image"
        )
    if array.min() < 0 or (classes is not None and array.max() >= classes):
        most = "" if classes is None else f" to {classes - 1}"
        raise InputError(f"the labels go from {array.min()} to {array.max()}; allowed are numbers from 0{most}")
    return array.astype(np.int64)


def check_rate(learning_rate: Any) -> None:
    """Raise `InputError` unless the learning rate is a finite number."""
    if not isinstance(learning_rate, int | float | np.number) or not np.isfinite(learning_rate):
        raise InputError(f"learning_rate is {learning_rate!r}; allowed is a finite number")


def check_trainable(trainable: bool) -> None:
    """Raise `InputError` for a model of which nothing is trainable."""
    if not trainable:
        raise InputError("no parameter of this model is trainable, so there are no gradients; is it a fused network?")


LONGEST_NAME = 200


def nearest(word: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Return the `count` entries of `known` that look most like `word`, best first."""
    known = list(known)
    return _close(word.lower(), known, count, 0.4) or sorted(known)[:count]


def _close(word: object, known: Sequence[str], count: int, cutoff: float) -> list[str]:
    """Return what looks like `word`; nothing for what is no name: comparing takes the square of its length."""
    if not isinstance(word, str) or len(word) > LONGEST_NAME:
        return []
    return difflib.get_close_matches(word, known, n=count, cutoff=cutoff)


def check_whole(where: str, value: object, least: int, most: int | None = None) -> None:
    """Raise `InputError` unless `value` is a whole number (`True` is not one) from `least` to `most`."""
    allowed = f"a whole number of at least {least}" if most is None else f"a whole number, {least} to {most}"
    good = isinstance(value, int) and not isinstance(value, bool) and value >= least
    if not good or (most is not None and isinstance(value, int) and value > most):
        raise InputError(f"{where} is {quoted(value)}; allowed is {allowed}")


def check_bool(where: str, value: object) -> None:
    """Raise `InputError` unless `value` is True or False."""
    if not isinstance(value, bool):
        raise InputError(f"{where} is {quoted(value)}; allowed is True or False")


def check_real(where: str, value: object, low: float, high: float) -> None:
    """Raise `InputError` unless `value` is a number between `low` and `high`."""
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not low < value < high:  # type: ignore[operator]
        raise InputError(f"{where} is {quoted(value)}; allowed is a number between {low:g} and {high:g}")


def check_choice(where: str, value: object, choices: Iterable[str]) -> None:
    """Raise `InputError` unless `value` is one of `choices`."""
    choices = list(choices)
    if not isinstance(value, str) or value not in choices:
        close = _close(value, choices, 1, 0.6)
        hint = f"; did you mean {quoted(close[0])}?" if close else ""
        raise InputError(f"{where} is {quoted(value)}; allowed is one of {', '.join(choices)}{hint}")


def check_odd(where: str, value: object) -> None:
    """Raise `InputError` unless `value` is an odd number."""
    check_whole(where, value, 1, 99)
    if isinstance(value, int) and value % 2 == 0:
        raise InputError(f"{where} is {quoted(value)}; allowed is an odd number: an even kernel has no middle pixel")


DTYPES = ("float32", "float64")


def check_dtype(dtype: str) -> None:
    """Raise `InputError` unless `dtype` is the name of a dtype that both twins compute in."""
    if dtype not in DTYPES:
        raise InputError(f"dtype is {dtype!r}; allowed is one of {', '.join(DTYPES)}")


def check_seed(seed: int | None) -> None:
    """Raise `InputError` unless `seed` is None or a whole number from 0 to 2**32 - 1."""
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32):
        raise InputError(f"seed is {seed!r}; allowed is a whole number, 0 to {2**32 - 1}, or None")
