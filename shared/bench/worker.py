"""One contender of a benchmark, in a process of its own: makes ready, then works whenever it is told to.

    python -m shared.bench.worker JOB     # reads "warm", "go SECONDS" or "profile STEPS", answers in JSON

Only the time between "go" and the answer is measured; the process that waits does nothing.
"""

from __future__ import annotations

import itertools
import json
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TextIO

from shared.backends import load_part
from shared.base.machine import keeping_memory
from shared.bench.images import read_images
from shared.bench.races import OURS, TORCHVISION, Job
from shared.training.batches import Batches
from shared.training.recipe import Recipe
from shared.training.recipes import get_recipe
from shared.training.run import Reporter, Run
from shared.training.settings import Settings

WARM_UP = 3  # pieces of work before anything is measured
ENDLESS = 10**8  # steps


def recipe_of(job: Job) -> Recipe:
    """The recipe of a job, for an endless run of its network at a constant rate."""
    changes = [f"steps={ENDLESS}", "schedule=constant", "warmup=0", f"batch_size={job.batch_size}"]
    return get_recipe(job.recipe, changes, model=job.model, precision=job.precision, image_size=job.image_size)


class Turnstile(Reporter):
    """Stops a training loop after every step until it is let through again."""

    def __init__(self) -> None:
        self.done: queue.Queue[int | BaseException] = queue.Queue()
        self.go = threading.Semaphore(0)

    def step(self, run: Run, row: Mapping[str, float]) -> None:
        """Say that a step is done, and wait."""
        self.done.put(run.recipe.batch_size)
        self.go.acquire()


def our_training(job: Job) -> Iterator[int]:
    """`shared.training.start.train` itself, run folder, metrics and all, one step at a time."""
    from shared.training.start import train

    turnstile = Turnstile()
    settings = Settings(compile=job.compile)

    def run() -> None:
        try:
            with tempfile.TemporaryDirectory() as folder:
                train(
                    recipe_of(job),
                    framework=job.backend,
                    output=Path(folder) / "run",
                    settings=settings,
                    data=read_images(job.images),
                    reporter=lambda: turnstile,
                )
        except BaseException as error:
            turnstile.done.put(error)

    threading.Thread(target=run, daemon=True).start()
    while True:
        found = turnstile.done.get()
        if isinstance(found, BaseException):
            raise found
        yield found
        turnstile.go.release()


def our_batches(job: Job) -> Iterator[int]:
    """What both twins are fed with: order, crops, mirror images, normalisation."""
    batches = Batches(read_images(job.images), recipe_of(job))
    for step in itertools.count():
        images, _ = batches.train_batch(*divmod(step, batches.steps_per_epoch))
        yield len(images)


def work(job: Job) -> Iterator[int]:
    """Yield the number of images after each piece of work."""
    if job.who == OURS and job.what == "epoch":
        return our_training(job)
    if job.who == OURS and job.what == "data":
        return our_batches(job)
    found: Iterator[int] = load_part(job.backend, "bench.ours").work(job)
    return found


def noting(pieces: Iterator[int], counted: list[int]) -> Iterator[int]:
    """Yield the pieces, and note their numbers of images."""
    for images in pieces:
        counted.append(images)
        yield images


def peak_megabytes() -> float:
    """Return the most memory that this process has held, in megabytes; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux, where getrusage begins with what the process held that started this one
        fields = dict(line.split(":", 1) for line in status.read_text(encoding="ascii").splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024 / 1e6
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main(arguments: list[str]) -> None:
    """Serve lines until the other side closes the pipe."""
    job = Job(**json.loads(arguments[0]))
    out = sys.stdout
    sys.stdout = sys.stderr  # what a framework prints must not come between the answers
    # As in `train`, but with a loop of its own; peers do what people would get from them.
    with keeping_memory() if job.who == OURS and job.what == "train" and job.keep_memory else nullcontext():
        serve(job, out)


def serve(job: Job, out: TextIO) -> None:
    """Answer each line of the standard input on `out`."""
    pieces = work(job)
    for line in sys.stdin:
        command, *values = line.split()
        answer: dict[str, Any]
        if command == "warm":
            for _ in range(WARM_UP):
                next(pieces)
            answer = {"label": load_part(job.backend, "bench.ours").label()} if job.who == TORCHVISION else {}
        elif command == "profile":
            counted: list[int] = []
            seen = load_part(job.backend, "bench.ours").profile(noting(pieces, counted), int(values[0]))
            answer = {"operations": seen, "images": sum(counted)}
        else:
            images, started = 0, time.perf_counter()
            while (passed := time.perf_counter() - started) < float(values[0]):
                images += next(pieces)
            answer = {"images": images, "seconds": passed, "megabytes": peak_megabytes()}
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
