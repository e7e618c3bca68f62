"""The trained weights that come with the package; each has a model card beside it, in `shared/assets`."""

from __future__ import annotations

import contextlib
import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared.base.checks import check_seed
from shared.base.errors import InputError, WeightsError
from shared.base.printable import printable
from shared.checkpoints.foreign import choose_spec, read_weights
from shared.data.inputs import Inputs
from shared.networks.canonical import Arrays
from shared.networks.spec import ResNetSpec

ASSETS = Path(__file__).parents[1] / "assets"
#: A recipe and where it ran, in characters, and its dots: reading a key with n dots takes n * n steps.
MOST_TRAINING, MOST_DOTS = 100_000, 6000
#: Name -> what it tells apart.
SHIPPED = {
    "resnet20_cifar": "CIFAR-10: airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck",
    "resnet8_digits": "handwritten digits of 8x8 pixels",
}


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Weights of a trained network; `inputs` says how pictures must be prepared, None if the file does not.

    `seed` is that of the training, by which a folder without a `test` folder is split.
    """

    name: str
    arrays: Arrays
    spec: ResNetSpec
    inputs: Inputs | None
    seed: int = 0


def weights_path(weights: str | Path) -> Path:
    """Return the file of weights that ship with the package, or `weights` itself if it is a path.

    Raises `InputError` for a word that is neither.
    """
    if str(weights) in SHIPPED:
        return ASSETS / f"{weights}.safetensors"
    if not isinstance(weights, str | Path):
        raise InputError(f"weights are a file or a name, not {weights!r}; those that ship are {', '.join(SHIPPED)}")
    path = Path(weights)
    if not os.path.exists(path) and not path.suffix:  # noqa: PTH110 (it is False for a name that is too long)
        raise InputError(
            f"there is no file {printable(path)}, and no weights of that name ship; those are {', '.join(SHIPPED)}"
        )
    return path


def read_trained(weights: str | Path, model: str | None = None) -> Trained:
    """Read weights by the name of those that ship, or from a file in any format that `convert` reads.

    `model` names the network where the shapes fit several. Raises `InputError` or `WeightsError`.
    """
    path = weights_path(weights)
    found = read_weights(path)
    spec = choose_spec(found, path, model)
    spoilt = [name for name, array in found.arrays.items() if not np.isfinite(array).all()]
    if spoilt:
        raise WeightsError(
            f"{printable(path)}: {printable(spoilt[0])} holds values that are not finite (nan or inf); nothing can be "
            "told by it"
        )
    inputs = Inputs.from_json(found.texts["inputs"]) if "inputs" in found.texts else None
    if inputs and (len(inputs.classes) != spec.num_classes or len(inputs.mean) not in (1, spec.in_channels)):
        raise InputError(
            f"{printable(path)}: the stored inputs have {len(inputs.classes)} classes and {len(inputs.mean)} means, "
            f"the network {spec.num_classes} classes and {spec.in_channels} channels"
        )
    if inputs:
        spec.check_input_size(inputs.image_size)
    seed = _seed(found.texts.get("training", ""))
    return Trained(name=str(weights), arrays=found.arrays, spec=spec, inputs=inputs, seed=seed)


def _seed(training: str) -> int:
    """Return the seed in what a training wrote of itself, 0 where there is none: others may write anything there."""
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
        if len(training) <= MOST_TRAINING and training.count(".") <= MOST_DOTS:
            seed = tomllib.loads(json.loads(training)["recipe"])["seed"]
            check_seed(seed)
            return int(seed or 0)
    return 0
