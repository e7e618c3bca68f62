"""All that a benchmark found, as one JSON file, and read again from it."""

from __future__ import annotations

import json
import math
import time
import types
import typing
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

from shared.base.errors import InputError
from shared.base.files import check_readable, read_own, write_text
from shared.base.machine import describe_machine
from shared.base.printable import printable
from shared.base.versions import installed_version
from shared.bench.contest import Outcome, Timing
from shared.bench.growth import Grown
from shared.bench.profile import Profile
from shared.bench.races import Contender, Job, Race
from shared.bench.starts import Start

FILE = "bench.json"
#: Bytes that results may have: ours have 300,000.
MOST = 20_000_000
PACKAGES = ("torch", "torchvision", "tensorflow", "keras", "numpy")


@dataclass(kw_only=True)
class Results:
    """What was measured, where, and with which command. ceiling: GFLOP/s by precision."""

    machine: str = field(default_factory=describe_machine)
    versions: dict[str, str | None] = field(
        default_factory=lambda: {name: installed_version(name) for name in PACKAGES}
    )
    quick: bool = False
    command: str = ""
    date: str = field(default_factory=lambda: time.strftime("%Y-%m-%d"))
    ceiling: dict[str, float] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    starts: dict[str, list[Start]] = field(default_factory=dict)
    growth: list[Grown] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)

    def outcome(self, name: str) -> Outcome:
        """Return the race of that name."""
        return next(outcome for outcome in self.outcomes if outcome.race.name == name)

    def save(self, folder: Path) -> Path:
        """Write `bench.json` and return where it is."""
        path = folder / FILE
        write_text(path, json.dumps(asdict(self), indent=1) + "\n")
        return path


def _timing(table: dict[str, Any]) -> Timing:
    return Timing(**{**table, "job": Job(**table["job"])})


def _outcome(table: dict[str, Any]) -> Outcome:
    race = table["race"]
    contenders = tuple(Contender(label=entry["label"], job=Job(**entry["job"])) for entry in race["contenders"])
    return Outcome(
        race=Race(**{**race, "contenders": contenders}),
        timings=[_timing(entry) for entry in table["timings"]],
        images=table["images"],
    )


def check_types(value: Any, kind: Any) -> None:
    """Raise `TypeError` if a value, and what is in it, is not what the fields of our classes say."""
    inner = typing.get_args(kind)
    if isinstance(kind, types.UnionType):
        good = type(value) in inner
    elif is_dataclass(kind):
        for name, each in typing.get_type_hints(kind).items():
            check_types(getattr(value, name), each)
        return
    elif typing.get_origin(kind) is dict:
        good = isinstance(value, dict) and all(isinstance(name, str) for name in value)
        for each in value.values() if good else ():
            check_types(each, inner[1])
    elif typing.get_origin(kind) in (list, tuple):
        good = isinstance(value, list | tuple)
        for each in value if good else ():
            check_types(each, inner[0])
    elif kind is float:
        good = type(value) in (int, float) and 0 <= value < math.inf
    else:
        good = type(value) is kind
    if not good:
        raise TypeError(f"{printable(value, 50)} stands where {kind} belongs")


def read_results(path: str | Path) -> Results:
    """Read what `Results.save` wrote. Raises `InputError` if the file is something else."""
    path = check_readable(path)
    text = read_own(path, MOST)
    try:
        table = json.loads(text.decode("utf-8"))
        results = Results(
            **{
                **table,
                "outcomes": [_outcome(entry) for entry in table["outcomes"]],
                "starts": {name: [Start(**entry) for entry in starts] for name, starts in table["starts"].items()},
                "growth": [
                    Grown(**{**entry, "timings": {key: _timing(value) for key, value in entry["timings"].items()}})
                    for entry in table["growth"]
                ],
                "profiles": [Profile(**{**entry, "job": Job(**entry["job"])}) for entry in table["profiles"]],
            }
        )
        check_types(results, Results)
        return results
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError) as error:
        raise InputError(f"{path} holds no results of `resnet-twins bench` ({error}); choose another folder") from error
