"""What is wrong with the images themselves, where two models are shown different ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.twins.difference import error_of
from shared.twins.lockstep import Seen

Array = NDArray[Any]
SAME = 1e-5
#: What somebody did to images (N, H, W, C) on the way to the second model.
CHANGES: dict[str, Callable[[Array], Array]] = {
    "the colours are in another order: RGB for one, BGR for the other": lambda x: x[..., ::-1],
    "NHWC data was taken as NCHW: it was reshaped where a transpose is meant": lambda x: x.reshape(
        len(x), x.shape[3], *x.shape[1:3]
    ).transpose(0, 2, 3, 1),
    "NCHW data was taken as NHWC: it was reshaped where a transpose is meant": lambda x: x.transpose(
        0, 3, 1, 2
    ).reshape(x.shape),
    "height and width are swapped in one of them": lambda x: x.transpose(0, 2, 1, 3),
    "the images are mirrored in one of them": lambda x: x[:, :, ::-1],
    "the images are upside down in one of them": lambda x: x[:, ::-1],
}


def explain_images(seen: Seen) -> str:
    """Return in words what was done to the images that the second model is shown."""
    wanted, found = seen.expected, seen.found
    if found is None or wanted.shape != found.shape:
        return f"the images have the shape {wanted.shape} for the first and {None if found is None else found.shape}"
    if wanted.ndim == 4 and wanted.shape[1] < wanted.shape[3]:  # (N, C, H, W)
        wanted, found = (each.transpose(0, 2, 3, 1) for each in (wanted, found))
    for words, change in CHANGES.items():
        changed = change(wanted) if wanted.ndim == 4 else wanted
        if changed.shape == found.shape and error_of(changed, found) <= SAME:
            return words
    return next(_scales(wanted, found), "the two are shown different images")


def _scales(wanted: Array, found: Array) -> Iterator[str]:
    """Yield that one is the other times a number plus a number, for all or for each channel."""
    for words, axes in (("", tuple(range(wanted.ndim))), (" for each channel", tuple(range(wanted.ndim - 1)))):
        factor = found.std(axes) / np.maximum(wanted.std(axes), 1e-12)
        offset = found.mean(axes) - factor * wanted.mean(axes)
        if error_of(wanted * factor + offset, found) > SAME:
            continue
        if words:
            yield "the images are normalised by a mean and a standard deviation of each channel in one of them only"
        elif np.isclose(factor, 255, rtol=1e-3) or np.isclose(factor, 1 / 255, rtol=1e-3):
            yield f"the images go from 0 to 1 for one and from 0 to 255 for the other (times {float(factor):.4g})"
        else:
            yield f"the images of the second are those of the first times {float(factor):.4g} plus {float(offset):.4g}"
