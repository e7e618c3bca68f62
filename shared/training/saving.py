"""Writes the files of a run, each whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.base.files import write_text
from shared.checkpoints.ours import save_arrays, write_safetensors
from shared.data.inputs import Inputs
from shared.networks.canonical import Arrays
from shared.networks.spec import ResNetSpec
from shared.training.folder import PREVIOUS, STATE, STATE_FORMAT, sha256
from shared.training.metrics import METRICS, Row, metrics_text
from shared.training.recipe import Recipe


@dataclass(frozen=True)
class RunFiles:
    """The files of one run, and what is noted in them of it."""

    folder: Path
    framework: str
    recipe: Recipe
    spec: ResNetSpec
    inputs: Inputs

    def write_weights(self, name: str, weights: Arrays, row: Row) -> None:
        """Write the weights of an epoch, whose metrics are `row`, with all that is needed to use them."""
        about = {
            "framework": self.framework,
            "epoch": int(row["epoch"]),
            "step": int(row["step"]),
            "test_accuracy": row["test_accuracy"],
            "recipe": self.recipe.to_toml(),
        }
        metadata = {"inputs": self.inputs.to_json(), "training": json.dumps(about)}
        write_safetensors(self.folder / name, weights, self.spec, metadata)

    def write_metrics(self, rows: Sequence[Row]) -> None:
        """Write the table of all steps."""
        write_text(self.folder / METRICS, metrics_text(rows))

    def write_state(self, arrays: Arrays, rows: Sequence[Row], seconds: float, best: float, *, keep: bool) -> None:
        """Write all that is needed to go on behind the last of `rows`.

        keep: the state that was the last one becomes the previous one.
        """
        metadata = {
            "format": STATE_FORMAT,
            "step": f"{rows[-1]['step']:.0f}",
            "seconds": f"{seconds:.3f}",
            "best": repr(best),
            "metrics_sha256": sha256(metrics_text(rows)),
        }
        save_arrays(self.folder / STATE, arrays, metadata, self.folder / PREVIOUS if keep else None)
