"""From a recipe to a run that can begin: the data, the network, checks of both."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.base.errors import InputError
from shared.data.dataset import Dataset, Progress
from shared.data.load import load_data
from shared.networks.catalog import get_spec
from shared.networks.spec import ResNetSpec
from shared.networks.table import activation_numbers, layer_table
from shared.training.batches import Batches
from shared.training.recipe import Recipe
from shared.training.run import Reporter, Run
from shared.training.settings import Settings

#: Bytes for the outputs of all layers: no machine that this package is meant for has more.
MOST_BYTES_OF_A_BATCH = 500_000_000_000


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


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a recipe trains: batches, and its network for the channels, classes and size of the data."""

    batches: Batches
    spec: ResNetSpec
    data_dir: str | None

    def check(self, together: int | None = None) -> None:
        """Raise `InputError` if a batch is too large for any machine, or too small for a BatchNorm.

        together: how many images a BatchNorm sees at once, if that is not the whole batch.
        """
        recipe, size = self.batches.recipe, self.spec.input_size
        needed = 4 * recipe.batch_size * activation_numbers(self.spec)
        if needed > MOST_BYTES_OF_A_BATCH:
            raise InputError(
                f"a batch of {recipe.batch_size} images of {size}x{size} pixels needs about {needed / 1e9:,.0f} GB in "
                f"{recipe.model}; make batch_size or image_size smaller"
            )
        _check_norms(self.spec, recipe, recipe.batch_size if together is None else together)

    def run(self, framework: str, folder: Path, settings: Settings, reporter: Reporter, **team: Any) -> Run:
        """Return a run that has not begun. team: fields of `Run` that say which of several processes this is."""
        return Run(
            folder=folder,
            recipe=self.batches.recipe,
            batches=self.batches,
            spec=self.spec,
            framework=framework,
            settings=settings,
            reporter=reporter,
            data_dir=self.data_dir,
            **team,
        )


def prepare(
    recipe: Recipe,
    network: ResNetSpec,
    *,
    data: Dataset | None = None,
    data_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Read the data, unless it is given, and resolve the recipe's `network` for it.

    Raises `InputError` if the data is not there, too little for a batch, or of too few pixels for the network.
    """
    if data is None:
        data = load(recipe, network, data_dir, progress)
    batches = Batches(data, recipe)
    size = batches.inputs.image_size
    try:
        spec = get_spec(network, in_channels=data.channels, num_classes=len(data.classes), input_size=size)
    except InputError as error:
        raise InputError(
            f"the images have {size}x{size} pixels, too few for {recipe.model} ({error}); "
            f"--set image_size={network.input_size} resizes them"
        ) from error
    place = str(Path(data_dir).resolve()) if data_dir is not None else None
    return Prepared(batches=batches, spec=spec, data_dir=place)


def load(recipe: Recipe, network: ResNetSpec, data_dir: str | Path | None, progress: Progress | None) -> Dataset:
    """Return the recipe's data set, at the size that its network wants."""
    return load_data(
        recipe.data,
        data_dir=data_dir,
        image_size=recipe.image_size,
        default_size=network.input_size,
        channels=network.in_channels,
        seed=recipe.seed,
        progress=progress,
    )


def _check_norms(spec: ResNetSpec, recipe: Recipe, images: int) -> None:
    """Raise `InputError` if a BatchNorm would have one number for each channel: such a variance is no number."""
    if images > 1 or recipe.freeze_norm:
        return
    for row in layer_table(spec):
        if row.kind == "batch_norm" and row.output_shape[1:] == (1, 1):
            whole = recipe.batch_size == 1
            what = (
                "batch_size is 1" if whole else f"batch_size is {recipe.batch_size}, so that each process has 1 image"
            )
            raise InputError(
                f"{what}, and from images of {spec.input_size}x{spec.input_size} pixels {row.name} of {recipe.model} "
                "gets one pixel: a BatchNorm cannot learn from one number; make batch_size or image_size larger, or "
                "--set freeze_norm=true"
            )
