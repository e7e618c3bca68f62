"""Tries packages out in a process of its own, since one that is broken may take its whole process with it.

python -m shared.cli.trial modules PIL matplotlib    # that process: imports each, and answers in JSON
python -m shared.cli.trial frameworks tf torch       # loads both, in this order, and does what has crashed before
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.backends import load_backend
from shared.base.errors import InputError
from shared.base.subprocesses import try_out

PATIENCE = 300.0  # seconds, on a slow disk or a busy computer
ANSWER = "resnet-twins answers: "  # between what packages print while they are imported


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How it went: `why` not, if it did not; `killed_by`: the signal that ended the process, or 0.

    results: for modules, name -> why it does not import, or ""; for frameworks, name -> a description of its devices.
    """

    why: str = ""
    remedy: str = ""
    says_what_mends: bool = False  # the reason itself does
    killed_by: int = 0
    results: dict[str, Any] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether all went well."""
        return not self.why


def attempt(what: str, names: Sequence[str]) -> Trial:
    """Try "modules" or "frameworks" in another process."""
    tried = try_out("-m", "shared.cli.trial", what, *names, seconds=PATIENCE)
    if not tried.good:
        return Trial(why=f"its process {tried.why}" if tried.died else tried.why, killed_by=tried.killed_by)
    answers = [line for line in tried.output.splitlines() if line.startswith(ANSWER)]
    return Trial(**json.loads(answers[-1].removeprefix(ANSWER))) if answers else Trial(why="its process gave no answer")


def try_modules(names: Sequence[str]) -> dict[str, str]:
    """Return for each module why it does not import, or an empty text."""
    together = attempt("modules", names)
    if together.good or len(names) == 1:
        return together.results if together.good else {names[0]: together.why}
    return {name: why for each in names for name, why in try_modules([each]).items()}


def import_modules(names: Sequence[str]) -> dict[str, Any]:
    """Import each module, and return the fields of a `Trial`."""
    results = {}
    for name in names:
        results[name] = ""
        try:
            importlib.import_module(name)
        except Exception as error:
            results[name] = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return {"results": results}


def start_frameworks(names: Sequence[str]) -> dict[str, Any]:
    """Load the frameworks in this order, use each, make PyTorch's first optimiser; return the fields of a `Trial`."""
    import numpy as np

    try:
        loaded = {name: load_backend(name) for name in names}
    except InputError as error:
        why, _, remedy = str(error).partition("; install it anew with: ")
        return {"why": why, "remedy": remedy, "says_what_mends": not remedy}
    except Exception as error:
        return {"why": str(error) or type(error).__name__}
    for backend in loaded.values():
        model = backend.create_model("resnet8_digits", seed=0)
        images = np.zeros((1, model.spec.input_size, model.spec.input_size, model.spec.in_channels))
        backend.forward(model, backend.from_nhwc(images, model))
    if "torch" in loaded:  # this is when PyTorch loads triton
        torch = importlib.import_module("torch")
        torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1).step()
    return {"results": {name: backend.devices() for name, backend in loaded.items()}}


if __name__ == "__main__":
    work = {"modules": import_modules, "frameworks": start_frameworks}[sys.argv[1]]
    print(f"\n{ANSWER}{json.dumps(work(sys.argv[2:]))}")
