"""What a pair of models is shown: images or other arrays that both take, by what they say of themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.backends import BACKENDS
from shared.base.checks import check_images, check_whole
from shared.base.errors import InputError
from shared.base.printable import quoted

Array = NDArray[Any]
#: Pixels where neither a model nor the user says how large its images are.
USUAL_SIZE = 224
#: An image of more is no question about a network.
MOST_PIXELS, MOST_CHANNELS = 4096, 1024
#: Words of a text, where a model takes texts; their numbers are below what every table of words has.
USUAL_WORDS, LEAST_TABLE = 16, 2


def as_inputs(images: Any) -> list[Array]:
    """Return what a model is shown, an array for each of its inputs; images (N, H, W, C) become float32.

    `images` is one array, or a list of one for each input. Raises `InputError` for what is none, and for arrays of
    different lengths.
    """
    several = isinstance(images, list | tuple) and len(images) > 0 and all(hasattr(each, "shape") for each in images)
    found = [_checked(each) for each in (images if several else [images])]
    if len({len(each) for each in found}) > 1:
        raise InputError(
            f"the inputs have {', '.join(str(len(each)) for each in found)} rows; wanted are as many in each"
        )
    return found


def _checked(images: Any) -> Array:
    if "bfloat16" in str(getattr(images, "dtype", "")):  # which NumPy does not know
        images = images.float()
    array = np.asarray(images.detach().cpu() if hasattr(images, "detach") else images)
    if array.ndim == 4:
        array = check_images(array, "N, H, W, C", None)
    elif array.dtype.kind not in "biuf" or array.ndim == 0 or 0 in array.shape:
        raise InputError(f"{quoted(array.dtype.name)} of the shape {array.shape} is no input of a network")
    elif array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError("the inputs hold values that are not finite (nan or inf)")
    return array.astype(np.float32) if array.dtype.kind == "f" or array.ndim == 4 else array


def in_layout(array: Array, framework: str) -> Array:
    """Return images (N, H, W, C) as a framework takes them; other arrays stay as they are."""
    first = array.ndim == 4 and BACKENDS[framework].layout == "C,H,W"
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2)) if first else array  # a `view` refuses others


def usual_inputs(
    models: Sequence[Any], *, input_size: int | None = None, in_channels: int | None = None, count: int = 1
) -> list[Array]:
    """Return `count` random rows of what all of these models take, an array for each input; images are (N, H, W, C)."""
    check_sizes(input_size, in_channels)
    generator = np.random.default_rng(0)
    shapes = next((found for model in models if (found := _shapes_of(model))), None) or _guessed(models)
    return [_random(generator, shape, whole, count, input_size, in_channels) for shape, whole in shapes]


def check_sizes(input_size: int | None, in_channels: int | None) -> None:
    """Raise `InputError` unless these are sizes of images, or None."""
    for name, value, most in (("input_size", input_size, MOST_PIXELS), ("in_channels", in_channels, MOST_CHANNELS)):
        if value is not None:
            check_whole(name, value, 1, most)


#: The shape of an input without the batch, None where any length fits, and whether it holds whole numbers.
Shape = tuple[tuple[int | None, ...], bool]
IMAGE: Shape = ((None, None, None), False)


def _shapes_of(model: Any) -> list[Shape]:
    """Return what a Keras model says of its inputs; nothing for one that says nothing."""
    tensors = getattr(model, "inputs", None)
    if not isinstance(tensors, list | tuple):
        return []
    found = [(tuple(each.shape[1:]), "int" in str(each.dtype)) for each in tensors]
    return [] if any(len(shape) == 0 for shape, _ in found) else found


def _guessed(models: Sequence[Any]) -> list[Shape]:
    """Return what the first layers with weights tell: images for a convolution, rows for a dense layer, or words."""
    for model in models:
        modules = list(_parts(model))
        channels = next((int(each.in_channels) for each in modules if hasattr(each, "in_channels")), None)
        if channels is not None:
            return [((None, None, channels), False)]
        if any(hasattr(each, "num_embeddings") for each in modules):
            return [((USUAL_WORDS,), True)]
        if (features := next((each.in_features for each in modules if hasattr(each, "in_features")), None)) is not None:
            return [((int(features),), False)]
    return [IMAGE]


def _parts(model: Any) -> Iterator[Any]:
    yield from model.modules() if hasattr(model, "modules") else ()


def _random(
    generator: np.random.Generator,
    shape: tuple[int | None, ...],
    whole: bool,
    count: int,
    input_size: int | None,
    in_channels: int | None,
) -> Array:
    if whole:
        return generator.integers(0, LEAST_TABLE, (count, *(size or USUAL_WORDS for size in shape)))
    if len(shape) == 3:
        height, width, channels = shape
        shape = (input_size or height or USUAL_SIZE, input_size or width or USUAL_SIZE, in_channels or channels or 3)
    return generator.normal(size=(count, *(size or USUAL_WORDS for size in shape))).astype(np.float32)
