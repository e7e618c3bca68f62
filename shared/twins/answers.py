"""What trained twins say of the same pictures, and how pictures are prepared for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.backends import load_backend
from shared.base.budget import machine_memory
from shared.base.errors import InputError
from shared.checkpoints.shipped import Trained
from shared.data.dataset import Split
from shared.data.inputs import TEST_BATCH, Inputs, in_batches
from shared.networks.catalog import get_spec
from shared.networks.spec import ResNetSpec
from shared.networks.table import layer_table

#: In a block: what comes in, what is computed from what, and the shortcut.
LAYERS_AT_ONCE = 4
#: Mean and standard deviation of the ImageNet training images by channel (R, G, B), which most checkpoints expect.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Answers:
    """What both twins say of the same pictures. `logits` are (N, num_classes) for each framework that was asked."""

    logits: dict[str, NDArray[Any]]

    @property
    def differing(self) -> int:
        """How many predictions differ between the twins."""
        first, *others = (values.argmax(1) for values in self.logits.values())
        return int(sum((first != other).sum() for other in others))

    @property
    def largest_difference(self) -> float:
        """The largest difference of two logits, in logit units."""
        first, *others = self.logits.values()
        return max((float(np.abs(first - other).max()) for other in others), default=0.0)

    @property
    def smallest_margin(self) -> float:
        """The smallest distance between the best and the second-best logit of a picture."""
        first = next(iter(self.logits.values()))
        ordered = np.sort(first, axis=1)
        return float((ordered[:, -1] - ordered[:, -2]).min())

    def probabilities(self, framework: str) -> NDArray[np.float64]:
        """Return the softmax of the framework's logits (N, num_classes)."""
        values = self.logits[framework].astype(np.float64)
        powers = np.exp(values - values.max(1, keepdims=True))
        shares: NDArray[np.float64] = powers / powers.sum(1, keepdims=True)
        return shares


def ask(
    trained: Trained,
    split: Split,
    inputs: Inputs,
    frameworks: Iterable[str],
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, NDArray[Any]]:
    """Return the logits (N, num_classes) of each framework's twin for the images of `split`."""
    frameworks = tuple(frameworks)
    total, done, logits = len(split) * len(frameworks), 0, {}
    spec = get_spec(trained.spec, input_size=inputs.image_size)
    at_once = images_at_once(spec)
    for name in frameworks:
        backend = load_backend(name)
        model = backend.create_model(spec)
        backend.set_weights(model, trained.arrays)
        parts = []
        for images, _ in in_batches(split, inputs, at_once):
            parts.append(backend.forward(model, backend.from_nhwc(images, model)))
            done += len(images)
            if progress:
                progress(done, total)
        logits[name] = np.concatenate(parts)
    return logits


def images_at_once(spec: ResNetSpec) -> int:
    """Return how many images fit into the memory together; raise `InputError` if not even one does.

    The size of the images comes from the file of the weights. A few layers are held at a time, at most the largest.
    """
    largest = max(math.prod(row.output_shape) for row in layer_table(spec, spec.input_size))
    one, memory = LAYERS_AT_ONCE * 4 * largest, machine_memory() // 2
    if one > memory:
        raise InputError(
            f"one image of {spec.input_size}x{spec.input_size} pixels takes about {one / 1e9:,.0f} GB in {spec.name}, "
            f"and this computer has {2 * memory / 1e9:,.0f} GB; the size comes from the file of the weights"
        )
    return max(1, min(TEST_BATCH, memory // one))


def inputs_of(
    trained: Trained,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    classes: Sequence[str] | None = None,
) -> Inputs:
    """Return how pictures are prepared: as `mean` and `std` say, else as the weights do, else as for ImageNet."""
    stored, spec = trained.inputs, trained.spec
    named = tuple(classes or (stored.classes if stored else map(str, range(spec.num_classes))))
    grey = spec.in_channels == 1
    fallback = ((sum(IMAGENET_MEAN) / 3,), (sum(IMAGENET_STD) / 3,)) if grey else (IMAGENET_MEAN, IMAGENET_STD)
    inputs = Inputs(
        data=stored.data if stored else "",
        classes=named,
        image_size=stored.image_size if stored else spec.input_size,
        mean=tuple(mean or (stored.mean if stored else fallback[0])),
        std=tuple(std or (stored.std if stored else fallback[1])),
    )
    lengths = (1, spec.in_channels)
    finite = all(math.isfinite(value) for value in (*inputs.mean, *inputs.std))
    if len(inputs.mean) not in lengths or len(inputs.std) not in lengths or not finite or min(inputs.std) <= 0:
        raise InputError(
            f"mean is {inputs.mean} and std {inputs.std}; wanted is one value, or one for each of {spec.in_channels} "
            "channels, std above 0"
        )
    return inputs
