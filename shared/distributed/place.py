"""Which of several processes this one is, as torchrun or `TF_CONFIG` say."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.base.errors import InputError

#: Names the file in which a started process says how it ended.
OUTCOME = "RESNET_TWINS_OUTCOME"
MOST_PROCESSES = 4096
START_AGAIN = "what was saved is whole. Start the same commands again to go on"

# -- who this process is


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which of how many processes this one is. Number 0 is the chief."""

    rank: int
    size: int
    chief: str = ""  # the chief's address, as TF_CONFIG names it
    restarts: int = 0  # how often torchrun has started all processes anew, because one of them died


def place_of(framework: str, environment: Mapping[str, str] = os.environ) -> Place | None:
    """Return the place that torchrun (`RANK`, ...) or `TF_CONFIG` gives this process; None if it was started alone.

    Raises `InputError` if what they say cannot be right.
    """
    return {"torch": _torchrun_place, "tf": _tf_config_place}[framework](environment)


def _torchrun_place(environment: Mapping[str, str]) -> Place | None:
    if "RANK" not in environment and "WORLD_SIZE" not in environment:
        return None
    numbers = {}
    for name, usual in {"RANK": "", "WORLD_SIZE": "", "LOCAL_RANK": "", "TORCHELASTIC_RESTART_COUNT": "0"}.items():
        text = environment.get(name, usual)
        if not text.isdecimal():
            raise InputError(
                f"the environment variable {name} is {text!r}; torchrun sets RANK, WORLD_SIZE and LOCAL_RANK to whole "
                "numbers: start the command with torchrun, or unset them"
            )
        numbers[name] = int(text)
    if numbers["RANK"] >= numbers["WORLD_SIZE"]:
        raise InputError(f"RANK is {numbers['RANK']}; it must be less than WORLD_SIZE, {numbers['WORLD_SIZE']}")
    return Place(rank=numbers["RANK"], size=numbers["WORLD_SIZE"], restarts=numbers["TORCHELASTIC_RESTART_COUNT"])


def _tf_config_place(environment: Mapping[str, str]) -> Place | None:
    if "TF_CONFIG" not in environment:
        return None
    text = environment["TF_CONFIG"]
    example = 'like {"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}'
    try:
        config = json.loads(text)
    except ValueError as error:
        raise InputError(f"TF_CONFIG is no JSON ({error}); wanted is a text {example}") from error
    cluster = config.get("cluster") if isinstance(config, dict) else None
    task = config.get("task") if isinstance(config, dict) else None
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        raise InputError(f"TF_CONFIG needs a cluster and a task, {example}; it is {text}")
    foreign = sorted(set(cluster) - {"chief", "worker"})
    if foreign or not cluster:
        raise InputError(
            f"TF_CONFIG has a cluster of {', '.join(map(str, foreign)) or 'nobody'}; here all processes are workers, "
            "one of which may be called chief"
        )
    for kind, addresses in cluster.items():
        if not isinstance(addresses, list) or not addresses or not all(map(_is_address, addresses)):
            raise InputError(f'TF_CONFIG: {kind} is {addresses}; wanted is a list of addresses like "10.0.0.1:2222"')
    if len(cluster.get("chief", [])) > 1:
        raise InputError(f"TF_CONFIG names {len(cluster['chief'])} chiefs; there is one, the others are workers")
    kind, index = task.get("type"), task.get("index")
    if kind not in cluster:
        raise InputError(f"TF_CONFIG: the task's type is {kind!r}; the cluster has {' and '.join(cluster)}")
    if type(index) is not int or not 0 <= index < len(cluster[kind]):
        raise InputError(f"TF_CONFIG: the task's index is {index!r}; allowed is 0 to {len(cluster[kind]) - 1}")
    chiefs = len(cluster.get("chief", []))
    rank = index + (chiefs if kind == "worker" else 0)
    chief = (cluster.get("chief") or cluster["worker"])[0]
    return Place(rank=rank, size=chiefs + len(cluster.get("worker", [])), chief=chief)


def _is_address(text: Any) -> bool:
    host, colon, port = text.rpartition(":") if isinstance(text, str) else ("", "", "")
    return bool(host and colon and port.isdecimal() and 0 < int(port) < 65536)
