"""Measures start-up times, framework-free work and the data path, and prints the tables of docs/measured.md.

    python tools/measure.py

Each command runs in a process of its own, once to warm up and then several times; the medians are printed beside
that of an empty Python process, the floor that no command can beat.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

RUNS = 11
COMMANDS = {
    "an empty Python process": ["-c", "pass"],
    "`import shared`": ["-c", "import shared"],
    "`import shared.catalog, shared.table`": ["-c", "import shared.catalog, shared.table"],
    "`resnet-twins --version`": ["-m", "shared.cli", "--version"],
    "`resnet-twins --help`": ["-m", "shared.cli", "--help"],
    "`resnet-twins models`": ["-m", "shared.cli", "models"],
    "`resnet-twins compare nope` (an error)": ["-m", "shared.cli", "compare", "nope"],
}


#: Recipe -> the data set to feed it with, None for its own.
RECIPES = {"quick": None, "d2l-fashion": None, "fast-cifar": "folder:cifar-10/cifar-10-jpeg.tar.xz"}


def process_seconds(arguments: list[str]) -> float:
    """Return the median wall time of `python ARGUMENTS` in seconds."""
    times = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def table_seconds(name: str) -> float:
    """Return the median time of `layer_table(NAME)` in seconds, in this process."""
    from shared.catalog import get_spec
    from shared.table import layer_table

    times = []
    for _ in range(RUNS * 10):
        start = time.perf_counter()
        layer_table(get_spec(name))
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def feeding(recipe_name: str, data: str | None = None) -> str:
    """Return a row: the median time to make a batch, that of a whole step in PyTorch, and their ratio."""
    from shared.batches import Batches
    from shared.errors import InputError
    from shared.recipe import get_recipe
    from shared.training import load, train

    recipe = get_recipe(recipe_name, ["steps=25", "schedule=constant", "warmup=0"], data=data)
    try:
        found = load(recipe, None, None)
    except InputError:
        return f"| `{recipe_name}` | the data set is not here | | |"
    batches, times = Batches(found, recipe), []
    for number in range(25):
        start = time.perf_counter()
        batches.train_batch(0, number % batches.steps_per_epoch)
        times.append(time.perf_counter() - start)
    batch = statistics.median(times[1:])
    with tempfile.TemporaryDirectory() as folder:
        run = train(recipe, output=Path(folder) / "run", data=replace(found, test=found.test.take(slice(0, 256))))
        rates = [row["images_per_second"] for row in run.runs["torch"].rows]
    step = recipe.batch_size / statistics.median(rates)
    return f"| `{recipe_name}` | {batch * 1000:.1f} ms | {step * 1000:.1f} ms | {batch / step:.1%} |"


def main() -> None:
    """Print the tables."""
    floor = process_seconds(COMMANDS["an empty Python process"])
    print("| what | median | beside an empty process |")
    print("| --- | ---: | ---: |")
    for what, arguments in COMMANDS.items():
        seconds = process_seconds(arguments)
        print(f"| {what} | {seconds * 1000:.0f} ms | {seconds / floor:.1f} x |")
    for name in ("resnet18", "resnet152", "resnet1202_cifar"):
        print(f"| `layer_table` of `{name}`, inside a process | {table_seconds(name) * 1000:.1f} ms | |")
    print("\n| recipe | making a batch | a whole step in PyTorch | share |")
    print("| --- | ---: | ---: | ---: |")
    for recipe, data in RECIPES.items():
        print(feeding(recipe, data))


if __name__ == "__main__":
    main()
