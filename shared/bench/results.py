"""All that a benchmark found, as one JSON file, and read again from it."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from shared.bench.contest import Outcome, Timing
from shared.bench.growth import Grown
from shared.bench.profile import Profile
from shared.bench.races import Contender, Job, Race
from shared.bench.starts import Start
from shared.errors import InputError
from shared.files import check_readable, write_text
from shared.machine import describe_machine
from shared.versions import installed_version

FILE = "bench.json"
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


def read_results(path: str | Path) -> Results:
    """Read what `Results.save` wrote. Raises `InputError` if the file is something else."""
    path = check_readable(path)
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        return Results(
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
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} holds no results of `resnet-twins bench` ({error}); choose another folder") from error
