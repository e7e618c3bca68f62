"""Measures how long the things take that need no framework, and prints a table for docs/measured.md.

    python tools/measure.py

Each command runs in a process of its own, once to warm up and then several times; the medians are printed beside
that of an empty Python process, the floor that no command can beat.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

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


def main() -> None:
    """Print the table."""
    floor = process_seconds(COMMANDS["an empty Python process"])
    print("| what | median | beside an empty process |")
    print("| --- | ---: | ---: |")
    for what, arguments in COMMANDS.items():
        seconds = process_seconds(arguments)
        print(f"| {what} | {seconds * 1000:.0f} ms | {seconds / floor:.1f} x |")
    for name in ("resnet18", "resnet152", "resnet1202_cifar"):
        print(f"| `layer_table` of `{name}`, inside a process | {table_seconds(name) * 1000:.1f} ms | |")


if __name__ == "__main__":
    main()
