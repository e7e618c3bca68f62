"""Pairs in which nothing is wrong: nothing may be reported of them, they compare as equal, and a port is proven."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras
import numpy as np
import torch

from shared.backends import load_backend
from shared.base.errors import InputError
from shared.networks.catalog import get_spec
from shared.twins import compare, find_parting, port
from tests.campaigns.pairs.rights import enliven, remembering
from tests.campaigns.pairs.zoo import ZOO
from tests.campaigns.pairs.zoo.styles import STYLES

Models = tuple[Any, Any, int]


def zoo_pair(name: str, seed: int, sides: str) -> Models:
    """Return two models of the zoo: of PyTorch ("t") or Keras ("k"), the first one with lively weights."""
    pair = ZOO[name]
    torch.manual_seed(seed)
    keras.utils.set_random_seed(seed)
    made = [
        enliven(pair.build_torch(), seed + n) if side == "t" else pair.build_keras() for n, side in enumerate(sides)
    ]
    if sides[0] == "k":
        port(enliven(pair.build_torch(), seed), made[0], input_size=pair.size)
    return made[0], made[1], pair.size


def catalog_pair(name: str, size: int, swapped: bool = False, **overrides: Any) -> Models:
    """Return the twins of a network of the catalog."""
    spec = get_spec(name, input_size=size, **overrides)
    made = [load_backend(framework).create_model(spec, seed=0) for framework in ("torch", "tf")]
    enliven(made[0], 1)
    if swapped:
        port(*made, input_size=size)
        made = made[::-1]
    return made[0], made[1], size


def style_pair(name: str, sides: str) -> Models:
    """Return one network in two styles."""
    build_torch, build_keras, size = STYLES[name]
    torch.manual_seed(0)
    made = [enliven(build_torch(), 3), build_keras()]
    if sides == "kt":
        port(*made, input_size=size)
        made = made[::-1]
    return made[0], made[1], size


def _pairs() -> dict[str, Callable[[], Models]]:
    found: dict[str, Callable[[], Models]] = {}
    for name in ZOO:
        for sides in ("tk", "kt"):
            found[f"{name}:{sides}"] = partial(zoo_pair, name, 0, sides)
    for name in ("resnet", "densenet", "unet"):
        found[f"{name}:tt"] = partial(zoo_pair, name, 1, "tt")
        found[f"{name}:kk"] = partial(zoo_pair, name, 2, "kk")
    for name, size in {"resnet18": 64, "preact_resnet18": 32, "resnet20_cifar": 32, "resnet110_cifar": 32}.items():
        found[f"catalog:{name}"] = partial(catalog_pair, name, size)
    found["catalog:resnet50"] = partial(catalog_pair, "resnet50", 64, True)
    for name in STYLES:
        for sides in ("tk", "kt"):
            found[f"style:{name}:{sides}"] = partial(style_pair, name, sides)
    return found


RIGHT_PAIRS = _pairs()
#: What `compare` may say of a pair that computes the same with other parameters.
HARMLESS = {"bias-before-norm": "conv: no bias in the "}


def faults_of(name: str) -> str:
    """Return what is reported of a right pair, which should be nothing."""
    first, second, size = RIGHT_PAIRS[name]()
    try:
        with remembering({}, first, second):
            harmless = next((text for part, text in HARMLESS.items() if part in name), "nothing")
            return "; ".join(_faults(first, second, size, harmless))
    except InputError as error:
        return f"refused: {error}"


def _faults(first: Any, second: Any, size: int, harmless: str) -> Iterator[str]:
    images = np.random.default_rng(5).normal(size=(2, size, size, 3)).astype(np.float32)
    compared = compare(first, second, input_size=size)
    if not compared.equal and not all(text.startswith(harmless) for text in compared.reasons):
        yield f"compare: {'; '.join(compared.reasons)}"
    seen = find_parting(first, second, images)
    if not seen.equal:
        yield f"microscope: {seen.verdict}"
    carried = port(first, second, images)
    if not carried.equal:
        yield f"port: {carried.verdict}"
    seen = find_parting(first, second, images, as_they_are=True)
    if not seen.equal:
        yield f"microscope of what was carried: {seen.verdict}"
