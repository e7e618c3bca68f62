"""How far two results lie apart, and the inputs on which twins are tried."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.networks.canonical import Arrays
from shared.networks.spec import ResNetSpec
from shared.networks.table import layer_table


def random_images(spec: ResNetSpec, input_size: int, batch: int, seed: int) -> NDArray[np.float64]:
    """Return a batch (N, H, W, C) of smooth random images with mean 0 and standard deviation 1, for probing."""
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((batch, input_size, input_size, spec.in_channels))
    smooth = (images + np.roll(images, 1, 1) + np.roll(images, 1, 2)) / np.sqrt(3.0)
    return np.asarray(smooth)


def random_labels(spec: ResNetSpec, batch: int, seed: int) -> NDArray[np.int64]:
    """Return `batch` class numbers."""
    return np.random.default_rng([seed, 2]).integers(0, spec.num_classes, batch)


#: Pixels and images of a probing batch. Fewer leave BatchNorm too few values for a gradient worth the name.
PROBE_SIZE, PROBE_BATCH = 64, 4


def relative(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return max|a - b| / max|b|."""
    scale = float(np.max(np.abs(b)))
    difference = float(np.max(np.abs(a.astype(np.float64) - b.astype(np.float64))))
    return difference / scale if scale > 0 else difference


def silent_biases(spec: ResNetSpec) -> set[str]:
    """Return the biases in front of a BatchNorm. It takes them out again: their gradient is zero but for rounding."""
    pairs = pairwise(layer_table(spec))
    return {f"{row.name}.bias" for row, after in pairs if row.kind == "conv" and after.kind == "batch_norm"}


def gradient_errors(a: Arrays, b: Arrays, skip: Collection[str] = ()) -> NDArray[np.float64]:
    """Return ||a - b|| / ||b|| for each parameter but those in `skip`; ||b|| counts as 1e-4 of the largest at least."""
    norms = {name: float(np.linalg.norm(value)) for name, value in b.items() if name not in skip}
    floor = 1e-4 * max(norms.values())
    return np.array([np.linalg.norm(a[name] - b[name]) / max(norm, floor) for name, norm in norms.items()])


def weighted_layers(spec: ResNetSpec) -> int:
    """Return the number of layers that give a ResNet its name: convolutions of the main path, and the last layer."""
    return sum(row.kind in ("conv", "linear") and ".downsample." not in row.name for row in layer_table(spec))


def probe_spec(spec: ResNetSpec) -> ResNetSpec:
    """Return the same network for images of at most 64 pixels, on which it is verified."""
    return replace(spec, input_size=min(spec.input_size, PROBE_SIZE))


def error_of(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the largest difference, relative to the root mean square of what is expected; inf if one is no number."""
    if found.shape != expected.shape:
        return float("inf")
    size = float(np.sqrt(np.mean(np.square(expected, dtype=np.float64)))) or 1.0
    error = float(np.abs(found.astype(np.float64) - expected).max(initial=0.0)) / size
    return float("inf") if np.isnan(error) else error
