"""What a training run is, as plain data: the same `Recipe` trains either twin; seed and step decide the rest."""

from __future__ import annotations

import json
import math
import re
import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from shared.base.errors import InputError
from shared.base.files import check_readable, read_start
from shared.base.printable import printable, printable_list

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "step", "cosine", "one-cycle")
PRECISIONS = ("float32", "bfloat16", "float16", "float64")
NORMALIZATIONS = ("mean-std", "zero-one")
#: Bytes of a recipe's file, and its dots: reading a key with n dots takes n * n steps.
MOST_FILE, MOST_DOTS = 100_000, 6000
#: Characters of its texts. `data` may be a path.
LENGTHS = {"name": 200, "model": 200, "about": 1000, "data": 4200}
MOST_MILESTONES = 100
TOO_LARGE = f"it has more than {MOST_FILE:,} bytes, or {MOST_DOTS:,} dots"
#: Whole numbers from here on are none that any field takes; Python does not write out those with thousands of digits.
LARGE = 10**18


def _shown(value: Any) -> str:
    """Return a value from elsewhere as Python writes it, if it can."""
    try:
        return printable(repr(value))
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} that is too large to be shown"


#: The types of fields, as they are written.
KINDS = {"str": str, "int": int, "float": float, "bool": bool, "tuple[float, ...]": tuple}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train a network. Every field can be changed with `--set field=value`.

    Either `epochs` or `steps` says how long; the other one is 0. `warmup` and `milestones` are shares of the
    whole run, so that a schedule keeps its form when the run gets longer or shorter. Raises `InputError` for a
    value that is not allowed.
    """

    name: str
    about: str = ""
    data: str = "digits"
    model: str = "resnet8_digits"

    epochs: int = 0  # passes over the training images
    steps: int = 0  # or: batches in all
    batch_size: int = 64
    validation: float = 0.0  # share of the training images that is held out to choose `best.safetensors` by

    optimizer: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.0  # sgd
    nesterov: bool = False  # sgd
    beta1: float = 0.9  # adam, adamw
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0  # sgd, adam: added to the gradient; adamw: taken from the weight itself
    decay_norm_and_bias: bool = True  # False: only kernels decay, which have more than one axis

    schedule: str = "constant"
    warmup: float = 0.0  # share of the run in which the rate rises from 0 in a straight line
    milestones: tuple[float, ...] = ()  # step: after these shares of the run the rate is multiplied by ...
    gamma: float = 0.1  # ... this

    freeze_norm: bool = False  # BatchNorm uses and keeps its running statistics, as fine-tuning often wants
    label_smoothing: float = 0.0
    image_size: int = 0  # pictures are resized to this many pixels; 0 leaves them as they are
    crop_padding: int = 0  # black pixels put on each side before a random part of the old size is cut out
    flip: bool = False  # mirror pictures left to right, each with probability 1/2
    normalize: str = "mean-std"  # of the training images, by channel; zero-one: pixels from 0 to 1 and no more

    precision: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every field."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "milestones" and isinstance(value, list | tuple):
                object.__setattr__(self, "milestones", tuple(value))
            elif field.type == "float" and isinstance(value, int) and not isinstance(value, bool):
                if abs(value) < LARGE:
                    object.__setattr__(self, field.name, float(value))
            elif type(value) is not KINDS[str(field.type)]:
                raise InputError(f"recipe: {field.name} is {_shown(value)}; allowed is a value of type {field.type}")
        if not re.fullmatch(r"[\w.-]+", self.name, re.ASCII):
            raise InputError(f"recipe: name is {_shown(self.name)}; allowed are letters, digits, and the signs . _ -")
        for name, longest in LENGTHS.items():
            text = getattr(self, name)
            if not text.isprintable() or len(text) > longest:
                raise InputError(
                    f"recipe: {name} is {_shown(text)}, which is no plain text of at most {longest:,} characters"
                )
        for name, least, most in LIMITS:
            value = getattr(self, name)
            if not least <= value <= most:  # which no number is that is none
                raise InputError(f"recipe: {name} is {_shown(value)}; allowed is {least:g} to {most:g}")
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"recipe: {name} is {_shown(getattr(self, name))}; allowed is one of {', '.join(allowed)}"
                )
        if (self.epochs > 0) == (self.steps > 0):
            raise InputError(
                f"recipe: epochs is {self.epochs} and steps is {self.steps}; one of them says how long, the other is 0"
            )
        numbers = all(isinstance(share, int | float) and 0 < share < 1 for share in self.milestones)
        if not numbers or list(self.milestones) != sorted(set(self.milestones)):
            raise InputError(
                f"recipe: milestones are {_shown(list(self.milestones))}; wanted are growing shares of the run between "
                "0 and 1"
            )
        if len(self.milestones) > MOST_MILESTONES:
            raise InputError(f"recipe: there are {len(self.milestones):,} milestones; allowed are {MOST_MILESTONES}")
        if (self.schedule == "step") != bool(self.milestones):
            raise InputError(
                f"recipe: schedule is {self.schedule} with milestones {list(self.milestones)}; "
                "step needs milestones, the others have none"
            )
        if self.nesterov and not self.momentum:
            raise InputError("recipe: nesterov needs a momentum greater than 0")

    def total_steps(self, steps_per_epoch: int) -> int:
        """Return the number of batches in the whole run."""
        return self.steps or self.epochs * steps_per_epoch

    def learning_rate_at(self, step: int, total: int) -> float:
        """Return the learning rate for batch `step` (from 0) of `total`: the same number for both frameworks."""
        warm = round(self.warmup * total)
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        share = (step - warm) / max(1, total - warm)
        if self.schedule == "step":
            return self.learning_rate * self.gamma ** sum(step >= milestone * total for milestone in self.milestones)
        if self.schedule == "cosine":
            return self.learning_rate * (1 + math.cos(math.pi * share)) / 2
        if self.schedule == "one-cycle":
            return self.learning_rate * (1 - share)
        return self.learning_rate

    def to_toml(self) -> str:
        """Return the recipe as a TOML text that `read_recipe` reads."""

        def text(value: Any) -> str:
            return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)

        return "".join(f"{name} = {text(value)}\n" for name, value in asdict(self).items())


#: Field, least, most.
LIMITS = (
    ("epochs", 0, 1_000_000),
    ("steps", 0, 1_000_000_000),
    ("batch_size", 1, 1_000_000),
    ("validation", 0, 0.9),
    ("learning_rate", 0, 1000),
    ("momentum", 0, 0.9999),
    ("beta1", 0, 0.999999),
    ("beta2", 0, 0.999999),
    ("epsilon", 1e-30, 1),
    ("weight_decay", 0, 10),
    ("warmup", 0, 0.95),
    ("gamma", 1e-6, 1),
    ("label_smoothing", 0, 0.9),
    ("image_size", 0, 4096),
    ("crop_padding", 0, 512),
    ("seed", 0, 2**32 - 1),
)
CHOICES = {
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "precision": PRECISIONS,
    "normalize": NORMALIZATIONS,
}


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe from a TOML file, as a training run writes it. Raises `InputError` if it is none."""
    path = check_readable(path)
    content = read_start(path, MOST_FILE)
    if len(content) > MOST_FILE:
        raise InputError(f"{path} is no recipe: {TOO_LARGE}")
    try:
        return parse_recipe(content.decode("utf-8"), path)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no readable recipe: {error}") from error


def parse_recipe(text: str, where: str | Path) -> Recipe:
    """Read a recipe from a TOML text that comes from `where`. Raises `InputError` if it is none."""
    if len(text) > MOST_FILE or text.count(".") > MOST_DOTS:
        raise InputError(f"{where} is no recipe: {TOO_LARGE}")
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number with thousands of digits is no TOMLDecodeError
        raise InputError(f"{where} is no readable recipe: {error}") from error
    known = {field.name for field in fields(Recipe)}
    unknown = [key for key in table if key not in known]
    if unknown or "name" not in table:
        reason = f"unknown {printable_list(unknown)}" if unknown else "it has no name"
        raise InputError(f"{where} is no recipe: {reason}")
    return Recipe(**table)
