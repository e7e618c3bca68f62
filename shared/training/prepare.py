"""From a recipe to a run that can begin: the data, the network, checks of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.backends import BOTH
from shared.base.errors import InputError
from shared.base.versions import twins_command
from shared.data.dataset import Dataset, Progress
from shared.data.load import load_data
from shared.networks.catalog import get_spec
from shared.networks.table import activation_numbers, layer_table
from shared.training.batches import Batches
from shared.training.recipe import Recipe
from shared.training.run import Reporter, Run
from shared.training.settings import Settings

#: Bytes for the outputs of all layers: no machine that this package is meant for has more.
MOST_MEMORY = 500_000_000_000


@dataclass
class Result:
    """What came out: the folder, and the run of each framework that was trained."""

    folder: Path
    frameworks: tuple[str, ...]
    runs: dict[str, Run] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every run has done all its steps."""
        return set(self.runs) == set(self.frameworks) and all(run.complete for run in self.runs.values())

    def loss_differences(self, steps: int = 2) -> list[float]:
        """Return how much the twins' losses differ in each of the first steps."""
        first, second = ([row["train_loss"] for row in run.rows[:steps]] for run in self.runs.values())
        return [abs(a - b) for a, b in zip(first, second, strict=False)]


def check_same_images(folder: Path, batches: Batches, about: Mapping[str, Any]) -> None:
    """Raise `InputError` if the images are not those that the run in `folder` began with."""
    if batches.data.sha256 != about["data"]["sha256"]:
        raise InputError(
            f"the images of {batches.recipe.data} are no longer those that the run in {folder} began with ("
            f"{len(batches.train):,} for training now, {about['data']['training_images']:,} then); start a new run"
        )


def load(recipe: Recipe, data_dir: str | Path | None, progress: Progress | None) -> Dataset:
    """Return the recipe's data set, at the size that its network wants."""
    return load_data(
        recipe.data,
        data_dir=data_dir,
        image_size=recipe.image_size,
        default_size=get_spec(recipe.model).input_size,
        channels=get_spec(recipe.model).in_channels,
        seed=recipe.seed,
        progress=progress,
    )


def check_size(recipe: Recipe, batches: Batches, together: int | None = None) -> None:
    """Raise `InputError` if the images are too small for the network, or too large for any machine.

    together: how many images a BatchNorm sees at once, if that is not the whole batch.
    """
    size = batches.inputs.image_size
    try:
        get_spec(recipe.model, input_size=size)
    except InputError as error:
        wanted = get_spec(recipe.model).input_size
        raise InputError(
            f"the images have {size}x{size} pixels, too few for {recipe.model} ({error}); --set image_size={wanted} "
            "resizes them"
        ) from error
    needed = 4 * recipe.batch_size * activation_numbers(get_spec(recipe.model), size)
    if needed > MOST_MEMORY:
        raise InputError(
            f"a batch of {recipe.batch_size} images of {size}x{size} pixels needs about {needed / 1e9:,.0f} GB in "
            f"{recipe.model}; make batch_size or image_size smaller"
        )
    _check_norms(recipe, size, recipe.batch_size if together is None else together)


def _check_norms(recipe: Recipe, size: int, images: int) -> None:
    """Raise `InputError` if a BatchNorm would have one number for each channel: such a variance is no number."""
    if images > 1 or recipe.freeze_norm:
        return
    for row in layer_table(get_spec(recipe.model), size):
        if row.kind == "batch_norm" and row.output_shape[1:] == (1, 1):
            whole = recipe.batch_size == 1
            what = (
                "batch_size is 1" if whole else f"batch_size is {recipe.batch_size}, so that each process has 1 image"
            )
            raise InputError(
                f"{what}, and from images of {size}x{size} pixels {row.name} of {recipe.model} gets one pixel: a "
                f"BatchNorm cannot learn from one number; make batch_size or image_size larger, or "
                "--set freeze_norm=true"
            )


def _new_run(
    folder: Path,
    framework: str,
    name: str,
    batches: Batches,
    settings: Settings,
    data_dir: str | Path | None,
    reporter: Reporter,
) -> Run:
    return Run(
        folder=folder / name if framework == BOTH else folder,
        recipe=batches.recipe,
        batches=batches,
        framework=name,
        settings=settings,
        reporter=reporter,
        data_dir=str(Path(data_dir).resolve()) if data_dir is not None else None,
        resume_hint=twins_command("train", "--resume", folder),
    )
