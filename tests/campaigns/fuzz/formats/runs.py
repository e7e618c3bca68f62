"""The files of a run that was stopped, and recipes."""

from __future__ import annotations

import contextlib
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

from shared.checkpoints.ours import read_arrays
from shared.training.folder import ABOUT, BEST, LAST, PREVIOUS, STATE, STATE_FORMAT, sha256
from shared.training.metrics import METRICS, metrics_text, read_metrics
from shared.training.recipe import parse_recipe
from shared.training.recipes import RECIPES, get_recipe
from shared.training.run import Reporter
from shared.training.settings import Settings
from shared.training.start import train
from tests.campaigns.fuzz.formats.damage import to_bytes
from tests.campaigns.fuzz.formats.texts import spoil_json, spoil_text, spoil_value
from tests.campaigns.fuzz.formats.weights import packed, texts, weights


class Stop(Reporter):
    """Does what Ctrl-C does, behind the second step or the one after it."""

    def step(self, run: Any, row: Any) -> None:
        """Ask the run to stop."""
        run.stop_requested = run.step >= 2


def run_folder() -> dict[str, bytes]:
    """Return the files of a run that was stopped behind its second step, but for what time and place decide."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        recipe = get_recipe("quick", ["steps=4", "batch_size=16"])
        settings = Settings(device="cpu", save_every=1, threads=1)
        train(recipe, output=folder, framework="torch", settings=settings, reporter=Stop)
        about = json.loads((folder / ABOUT).read_text())
        about |= {"command": "resnet-twins train", "started": "2026-11-27T00:00:00", "machine": "a computer"}
        (folder / ABOUT).write_bytes(hashed(about))
        rows = [{**row, "seconds": float(row["step"]), "images_per_second": 16.0} for row in read_metrics(folder)]
        (folder / METRICS).write_text(metrics_text(rows))
        for step, name in ((1, PREVIOUS), (2, STATE)):
            arrays, _ = read_arrays(folder / name)
            about_state = {"format": STATE_FORMAT, "step": str(step), "seconds": "1.0", "best": "-1.0"}
            about_state["metrics_sha256"] = sha256(metrics_text(rows[:step]))
            (folder / name).write_bytes(packed(arrays, about_state))
        for name in (BEST, LAST):
            (folder / name).write_bytes(packed(weights(), texts()))
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def hashed(about: Any) -> bytes:
    """Return `run.json` with the right hash."""
    if isinstance(about, dict):
        about = {key: value for key, value in about.items() if key != "sha256"}
        about["sha256"] = sha256(json.dumps(about, sort_keys=True))
    return to_bytes(json.dumps(about, indent=2))


def spoil_about(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil `run.json`, mostly with the right hash."""
    if rng.random() < 0.3:
        return spoil_json(content, rng, other)
    about = json.loads(content)
    if rng.random() < 0.5:
        key = rng.choice(("framework", "settings", "data", "data_dir", "recipe", "sha256", "versions", "processes"))
        about[key] = spoil_value(about.get(key), rng)
        if rng.random() < 0.3 and isinstance(about.get("recipe"), str):
            about["recipe"] = spoil_text(to_bytes(about["recipe"]), rng, b"").decode("utf-8", "replace")
    else:
        about = spoil_value(about, rng)
    with contextlib.suppress(UnicodeEncodeError):  # half characters have no hash
        return hashed(about)
    return to_bytes(json.dumps(about))


def recipes() -> list[bytes]:
    """Return the recipes that ship."""
    return [recipe.to_toml().encode() for recipe in RECIPES.values()]


def spoil_recipe(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil a recipe, which often stays TOML."""
    if rng.random() < 0.5:
        return spoil_text(content, rng, other)
    fields = asdict(parse_recipe(content.decode(), "a recipe"))
    fields = spoil_value(fields, rng)
    if not isinstance(fields, dict):
        return spoil_text(content, rng, other)
    return to_bytes("".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in fields.items()))
