"""The degradation problem (He et al. 2015, figure 6): deeper plain networks train worse, residual ones do not."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared.backends import load_backend
from shared.base.errors import InputError
from shared.base.figures import BLUE, ORANGE, drawable, new_figure, save_figure
from shared.base.files import check_own, check_own_folder, new_folders, write_text
from shared.base.lock import HOLDER, LOCK, only_one
from shared.base.printable import printable
from shared.checkpoints.ours import read_safetensors
from shared.data.dataset import Dataset, Progress
from shared.networks.catalog import get_spec
from shared.networks.initial import initial_weights
from shared.training.folder import LAST, holds_run, prepare_folder
from shared.training.metrics import METRICS, epoch_means
from shared.training.prepare import load
from shared.training.recipe import Recipe
from shared.training.recipes import get_recipe
from shared.training.record import read_about
from shared.training.run import Reporter, Run
from shared.training.settings import Settings
from shared.training.start import open_runs, resume, train


def plot_degradation(curves: Sequence[Curve], title: str, path: str | Path | None = None) -> Any:
    """Draw training and test error of plain and residual networks, and their gradients by depth.

    Plain networks are orange and dashed, residual ones blue; the deeper a network, the thicker its line.
    """
    figure, panels = new_figure(15, 9.6, rows=2, columns=2)
    depths = sorted({curve.depth for curve in curves})
    for column, (axes, kind) in enumerate(zip(panels[0], ("plain", "resnet"), strict=True)):
        for curve in curves:
            if curve.kind != kind:
                continue
            rank = depths.index(curve.depth)
            look = {"color": (ORANGE, BLUE)[column], "linewidth": 1.0 + 1.2 * rank}
            epochs = np.arange(1, len(curve.train_error) + 1)
            axes.plot(epochs, 100 * np.array(curve.train_error), **look, label=f"{curve.name}, training")
            test = {**look, "linewidth": 0.8 + 0.6 * rank, "alpha": 0.6}
            axes.plot(epochs, 100 * np.array(curve.test_error), ":", **test, label=f"{curve.name}, test")
        axes.set(xlabel="epoch", title=("plain networks", "residual networks")[column])
        axes.set(ylabel="error (%)", ylim=(0, 100))
    for axes, when in zip(panels[1], ("initial", "trained"), strict=True):
        for curve in curves:
            rank = depths.index(curve.depth)
            norms = curve.gradients[when]
            plain = curve.kind == "plain"
            look = {"color": ORANGE if plain else BLUE, "linestyle": "--" if plain else "-"}
            axes.semilogy(np.arange(1, len(norms) + 1), norms, **look, linewidth=1.0 + rank, label=curve.name)
        axes.set(xlabel="convolution, from the image on", ylabel="norm of gradient / norm of kernel")
        axes.set_title({"initial": "gradients before training", "trained": "gradients after training"}[when])
    for axes in panels.flat:
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.suptitle(drawable(printable(title)), parse_math=False)
    save_figure(figure, path)
    return figure


KINDS = ("plain", "resnet")
CURVES_CSV, GRADIENTS_CSV, FIGURE = "degradation.csv", "gradients.csv", "degradation.png"
#: Images of the batch by which gradients are measured.
GRADIENT_BATCH = 128


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One network: the error (share that is wrong) of every epoch in training and on the test images.

    `gradients` maps "initial" and "trained" to the gradient's norm for each convolution's kernel, in the order of
    the layers, each divided by the norm of the kernel.
    """

    kind: str
    depth: int
    train_error: list[float]
    test_error: list[float]
    gradients: dict[str, list[float]]

    @property
    def name(self) -> str:
        """The network's name in figures, like "plain-20"."""
        return f"{self.kind}-{self.depth}"


def network(kind: str, depth: int) -> str:
    """Return the catalog's name of the paper's CIFAR network of this kind and depth; `InputError` if it has none."""
    name = f"{kind}{depth}_cifar"
    try:
        get_spec(name)
    except InputError as error:
        raise InputError(
            f"--depths: {depth} is not among the paper's; allowed are 20, 32, 44, 56, 110, 1202"
        ) from error
    return name


def degradation(
    recipe: Recipe,
    depths: Sequence[int],
    folder: str | Path,
    *,
    framework: str = "torch",
    settings: Settings | None = None,
    data_dir: str | Path | None = None,
    reporter: Callable[[], Reporter] = Reporter,
    progress: Progress | None = None,
) -> Iterator[Curve]:
    """Train a plain and a residual network of each depth by the same recipe, and yield a curve for each.

    Every network has a run folder of its own below `folder`; what is there already is not trained again, so that an
    experiment that was stopped goes on when it is called again. In the end the curves, the gradients and the figure
    are written into `folder`. Raises `InputError` if `folder` holds runs of another recipe.
    """
    folder = Path(folder)
    depths = list(dict.fromkeys(depths))
    if len(depths) < 2:
        raise InputError(f"--depths is {','.join(map(str, depths))}; wanted are two depths or more, like 20,56")
    names = {(kind, depth): network(kind, depth) for depth in depths for kind in KINDS}
    _check_folder(folder, names.values(), recipe, framework)
    data = load(recipe, get_spec(recipe.model), data_dir, progress)
    curves = []
    with new_folders(folder):
        prepare_folder(folder, 0)  # each network looks for its own room
        with only_one(folder):
            for (kind, depth), name in names.items():
                if holds_run(folder / name):
                    run = _gone_on(folder / name, framework, reporter, data)
                else:
                    mine = get_recipe(recipe, [f"model={name}"])
                    options: dict[str, Any] = {"settings": settings, "data_dir": data_dir, "data": data}
                    result = train(mine, framework=framework, output=folder / name, reporter=reporter, **options)
                    run = result.runs[framework]
                if not run.complete or run.stop_requested:
                    return
                curves.append(_curve(run, kind, depth))
                yield curves[-1]
            _write(folder, curves, recipe, data)


def _check_folder(folder: Path, names: Iterable[str], recipe: Recipe, framework: str) -> None:
    """Raise `InputError` if something in `folder` is not ours, or is of another experiment."""
    for entry in (CURVES_CSV, GRADIENTS_CSV, FIGURE, LOCK, HOLDER):
        check_own(folder / entry)
    for name in names:
        check_own_folder(folder / name)
        if holds_run(folder / name):
            trained_by, about, _ = read_about(folder / name)
            if trained_by != get_recipe(recipe, [f"model={name}"]) or about["framework"] != framework:
                raise InputError(
                    f"{folder} holds an experiment by another recipe or framework; choose another folder with --output"
                )


def _gone_on(folder: Path, framework: str, reporter: Callable[[], Reporter], data: Dataset) -> Run:
    """Return the run in `folder`; if it is not complete, it is trained on first."""
    run = open_runs(folder, data=data)[framework]
    return run if run.complete else resume(folder, reporter=reporter, data=data).runs[framework]


def _curve(run: Run, kind: str, depth: int) -> Curve:
    if not run.rows or run.rows[0]["step"] != 1:
        raise InputError(
            f"{run.folder / METRICS} is missing or has no first rows, and the curves need every step; delete "
            f"{run.folder}, and that network is trained once more"
        )
    train_error, test_error = (
        [1 - value for value in epoch_means(run.rows, f"{split}_accuracy")[1]] for split in ("train", "test")
    )
    if len(train_error) != len(test_error):
        raise InputError(f"{run.folder / METRICS} has not a test in every epoch, which the curves need")
    trained, _ = read_safetensors(run.folder / LAST)
    fresh = initial_weights(run.spec, run.recipe.seed)
    return Curve(
        kind=kind,
        depth=depth,
        train_error=train_error,
        test_error=test_error,
        gradients={"initial": gradient_norms(run, fresh), "trained": gradient_norms(run, trained)},
    )


def gradient_norms(run: Run, weights: dict[str, Any]) -> list[float]:
    """Return, for each convolution, the norm of the loss's gradient by its kernel, divided by the kernel's norm.

    The loss is that of the first training images, in training mode and float32.
    """
    backend = load_backend(run.framework)
    model = backend.create_model(run.spec)
    backend.set_weights(model, weights)
    part = run.batches.train.take(np.arange(min(GRADIENT_BATCH, len(run.batches.train))))
    inputs = backend.from_nhwc(run.batches.inputs.prepare(part.images), model)
    traced = backend.trace(model, inputs, part.labels, training=True, activations=False)
    kernels = [name for name, array in weights.items() if array.ndim == 4]
    return [float(np.linalg.norm(traced.parameter_gradients[n]) / np.linalg.norm(weights[n])) for n in kernels]


def _write(folder: Path, curves: Sequence[Curve], recipe: Recipe, data: Dataset) -> None:
    from shared.base.versions import is_installed

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["network", "depth", "epoch", "train_error", "test_error"])
    for curve in curves:
        for epoch, (train_error, test_error) in enumerate(zip(curve.train_error, curve.test_error, strict=True), 1):
            writer.writerow([curve.kind, curve.depth, epoch, f"{train_error:.6f}", f"{test_error:.6f}"])
    write_text(folder / CURVES_CSV, text.getvalue())
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["network", "depth", "when", "convolution", "relative_gradient_norm"])
    for curve in curves:
        for when, norms in curve.gradients.items():
            for number, norm in enumerate(norms, 1):
                writer.writerow([curve.kind, curve.depth, when, number, f"{norm:.6e}"])
    write_text(folder / GRADIENTS_CSV, text.getvalue())
    if is_installed("matplotlib"):
        plot_degradation(curves, f"{recipe.name}, {data.name}: {len(data.train):,} training images", folder / FIGURE)
