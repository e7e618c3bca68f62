"""How time and memory grow with the work: depth, image size and batch, each point in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace

from shared.backends import BACKENDS
from shared.bench.contest import Say, Timing, run_race
from shared.bench.races import Contender, Job, Race, macs


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A network of which one property grows. points: its value, and a job in which all else stays."""

    name: str
    title: str
    axis: str
    points: tuple[tuple[int, Job], ...]


@dataclass(kw_only=True)
class Grown:
    """What was measured at one point of a sweep, by backend."""

    sweep: str
    value: int
    macs: int
    timings: dict[str, Timing]


def sweeps(*, quick: bool = False) -> list[Sweep]:
    """Return the three sweeps; with `quick` two points of each."""

    def job(model: str, batch_size: int, image_size: int) -> Job:
        return Job(what="train", model=model, batch_size=batch_size, image_size=image_size)

    depths, sizes, batches = (20, 32, 44, 56, 110), (64, 96, 128, 192, 256), (8, 32, 128, 256, 512)
    if quick:
        depths, sizes, batches = depths[:2], sizes[:2], batches[:2]  # type: ignore[assignment]
    return [
        Sweep(
            name="depth",
            title="ResNets for CIFAR, 64 images of 32x32",
            axis="depth in layers",
            points=tuple((depth, job(f"resnet{depth}_cifar", 64, 32)) for depth in depths),
        ),
        Sweep(
            name="size",
            title="ResNet-18, 8 images",
            axis="image size in pixels",
            points=tuple((size, job("resnet18", 8, size)) for size in sizes),
        ),
        Sweep(
            name="batch",
            title="ResNet-20, images of 32x32",
            axis="images in a batch",
            points=tuple((size, job("resnet20_cifar", size, 32)) for size in batches),
        ),
    ]


def measure_growth(sweep: Sweep, *, rounds: int, seconds: float, say: Say) -> list[Grown]:
    """Measure every point of a sweep in every framework that is installed."""
    grown = []
    for value, job in sweep.points:
        entries = tuple(
            Contender(label=framework.title, job=replace(job, backend=backend))
            for backend, framework in BACKENDS.items()
        )
        race = Race(name=sweep.name, title=f"{sweep.title}, {sweep.axis}: {value}", contenders=entries)
        outcome = run_race(race, rounds=rounds, seconds=seconds, say=say)
        timings = {timing.job.backend: timing for timing in outcome.timings}
        grown.append(Grown(sweep=sweep.name, value=value, macs=macs(job), timings=timings))
    return grown
