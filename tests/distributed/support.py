"""What tests of several processes share."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

import numpy as np

from shared.distributed.place import OUTCOME
from tests.conftest import ROOT

#: A step of training that does not blow up without BatchNorm's own statistics.
TAME = ["learning_rate=0.02", "precision=float64", "steps=24"]
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name not in ("TF_CONFIG", "RANK", "WORLD_SIZE", OUTCOME)},
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
}
LONG = 300  # seconds: for a machine that has much else to do
WORKER = {"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 1}}


def worst(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> float:
    return max(
        float(np.abs(first[name] - second[name]).max() / max(1e-30, np.abs(second[name]).max())) for name in second
    )


#: Enough that a process can be killed in between.
STEPS = {"torch": 200, "tf": 40}


def command_line(framework: str, folder: Path, *more: str) -> list[str]:
    options = ["--framework", framework, "--set", f"steps={STEPS[framework]}", "--save-every", "4"]
    options += ["--threads", "1", "--device", "cpu"]
    return [sys.executable, "-m", "shared", "train", *options, "--processes", "2", "--output", str(folder), *more]


# -- the documentation

DOCUMENT = (ROOT / "docs" / "distributed.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


def commands(start: str) -> list[list[str]]:
    """Return the words of every shell command of the document from `start` on; a backslash joins lines."""
    lines = "\n".join((*blocks("sh"), *blocks("bash"))).replace("\\\n", " ").splitlines()
    return [
        shlex.split(start + line.partition(start)[2].removesuffix("'"), comments=True)
        for line in lines
        if start in line
    ]
