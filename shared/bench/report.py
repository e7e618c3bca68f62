"""Shows what a benchmark found: tables for the terminal and for Markdown from the same rows, and two figures."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.backends import BACKENDS
from shared.base.figures import BLUE, GREY, ORANGE, new_figure, save_figure
from shared.base.printable import one_line, printable, printable_list
from shared.bench.contest import STEADY, Outcome
from shared.bench.growth import Sweep, sweeps
from shared.bench.profile import KINDS, OTHER
from shared.bench.races import OURS
from shared.bench.results import Results
from shared.bench.starts import Start

SPEED, GROWTH = "speed.png", "growth.png"
#: Backend -> colour, marker and line: different in grey as well.
LOOKS = {"torch": (ORANGE, "o", "-"), "tf": (BLUE, "s", "--")}


@dataclass(frozen=True)
class Table:
    """A title, the names of the columns, and rows of texts; the first column is text, the others are numbers.

    notes: sentences that stand below, like why somebody is missing. All texts are made fit to be shown: they may come
    from a file that somebody else wrote, or from the words of another program.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Clean the texts."""
        for name in ("columns", "notes"):
            object.__setattr__(self, name, tuple(one_line(text) for text in getattr(self, name)))
        object.__setattr__(self, "title", one_line(self.title))
        object.__setattr__(self, "rows", tuple(tuple(printable(cell, 400) for cell in row) for row in self.rows))

    def to_markdown(self) -> str:
        """Return the table as Markdown, without its title."""
        rule = ("---", *["---:"] * (len(self.columns) - 1))
        table = "\n".join(f"| {' | '.join(row)} |" for row in (self.columns, rule, *self.rows))
        return "\n\n".join([table, *self.notes])

    def to_rich(self) -> Any:
        """Return the table for a terminal."""
        from rich import box
        from rich.markup import escape
        from rich.table import Table as Rich

        table = Rich(
            title=escape(self.title),
            title_justify="left",
            caption=escape("\n".join(self.notes)) or None,
            caption_justify="left",
            caption_style="",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
        )
        table.add_column(escape(self.columns[0]))
        for column in self.columns[1:]:
            table.add_column(escape(column), justify="right")
        for row in self.rows:
            table.add_row(*(escape(cell.replace("`", "")) for cell in row))
        return table


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _megabytes(value: float) -> str:
    return f"{value:,.0f} MB" if value else ""


def _busy(unsteady: Iterable[str]) -> list[str]:
    names = ", ".join(dict.fromkeys(unsteady))
    if not names:
        return []
    return [
        f"Something else was at work: the rounds of {names} differ by more than a factor of {STEADY:.0f}. Close it, "
        "and measure again."
    ]


def race_table(outcome: Outcome, ceiling: dict[str, float]) -> Table:
    """Return what each contender of a race reached, and its ratio to the first one."""
    rows, notes = [], []
    for timing in outcome.timings:
        ratio, share = outcome.ratio(timing), timing.share(ceiling)
        if ratio is None:
            rows.append((timing.label, "left out", "", "", ""))
            notes.append(f"{timing.label} is left out: {timing.failed}")
            continue
        spread = "1" if timing is outcome.reference else f"{ratio[0]:.2f} ({ratio[1]:.2f} to {ratio[2]:.2f})"
        used = "" if share is None else f"{share:.0%}"
        rows.append((timing.label, _rate(timing.rate), spread, _megabytes(timing.megabytes), used))
    title = outcome.race.title + (f" (images: {outcome.images})" if outcome.images else "")
    notes += _busy(timing.label for timing in outcome.timings if not timing.steady)
    first = outcome.reference.label if outcome.reference else "the first"
    return Table(
        title, ("who", "images/s", f"times {first}", "peak memory", "of the ceiling"), tuple(rows), tuple(notes)
    )


def summary_table(results: Results) -> Table:
    """Return one line for each race against a peer: how many times as fast the twins are, plain and at their best."""
    rows = []
    for outcome in results.outcomes:
        reference = outcome.reference
        if reference is None or reference.job.who == OURS or reference.job.what == "data":
            continue
        row = [outcome.race.title, reference.label]
        for backend in BACKENDS:
            ours = [timing for timing in outcome.timings if timing.job.who == OURS and timing.job.backend == backend]
            found = [(ratio[0], timing) for timing in ours if (ratio := outcome.ratio(timing)) is not None]
            best = max(found, key=lambda pair: pair[0], default=None)
            row.append(f"{found[0][0]:.2f}" if found else "")
            setting = best[1].label.partition(", ")[2] if best else ""
            row.append(f"{best[0]:.2f} ({setting or 'the same'})" if best else "")
        rows.append(tuple(row))
    columns = ["work", "1 is the speed of"]
    for framework in BACKENDS.values():
        columns += [f"{framework.title} twin", "its best setting"]
    return Table("times as fast", tuple(columns), tuple(rows))


def start_table(title: str, starts: list[Start]) -> Table:
    """Return how long processes take, and their ratio to what they are compared with."""
    medians = {start.label: start.median for start in starts}
    rows = []
    for start in starts:
        if start.failed:
            rows.append((start.label, f"left out: {start.failed}", ""))
            continue
        base = medians.get(start.reference, 0.0)
        unit = f"{start.median:.1f} s" if start.median >= 1 else f"{start.median * 1000:.0f} ms"
        rows.append((start.label, unit, f"{start.median / base:.2f} of {start.reference}" if base else ""))
    return Table(title, ("what", "median", "beside"), tuple(rows))


def growth_table(results: Results, sweep: Sweep) -> Table:
    """Return time and memory at the points of a sweep."""
    columns = [sweep.axis, "million multiply-adds"]
    for framework in BACKENDS.values():
        columns += [f"{framework.title}: step", "peak memory"]
    rows = []
    for grown in results.growth:
        if grown.sweep != sweep.name:
            continue
        row = [f"{grown.value}", f"{grown.macs / 1e6:,.0f}"]
        for backend in BACKENDS:
            timing = grown.timings.get(backend)
            if timing is None or not timing.rates:
                row += ["", ""]
            else:
                row += [f"{timing.job.batch_size / timing.rate * 1000:,.0f} ms", _megabytes(timing.megabytes)]
        rows.append(tuple(row))
    timings = [timing for grown in results.growth if grown.sweep == sweep.name for timing in grown.timings.values()]
    notes = _busy(timing.label for timing in timings if not timing.steady)
    return Table(f"{sweep.title}: a training step", tuple(columns), tuple(rows), tuple(notes))


def profile_tables(results: Results) -> Iterator[Table]:
    """Yield where the time of a training step goes, a table for each network."""
    for title in dict.fromkeys(profile.title for profile in results.profiles):
        shown = [profile for profile in results.profiles if profile.title == title and not profile.failed]
        kinds = [kind for kind in (*KINDS, OTHER) if any(profile.milliseconds[kind] >= 0.5 for profile in shown)]
        rows = [(kind, *(f"{profile.milliseconds[kind]:,.0f}" for profile in shown)) for kind in kinds]
        rows.append(("all", *(f"{sum(profile.milliseconds.values()):,.0f}" for profile in shown)))
        yield Table(f"ms of a training step of {title}", ("kind", *(p.label for p in shown)), tuple(rows))


STARTS = {"imports": "imports and commands", "commands": "`compare` and `verify` for all depths"}


def tables(results: Results) -> Iterator[tuple[str, Table]]:
    """Yield every table with its name: those of the races, of the starts, and of the sweeps."""
    for outcome in results.outcomes:
        yield outcome.race.name, race_table(outcome, results.ceiling)
    for name, starts in results.starts.items():
        yield name, start_table(STARTS[name], starts)
    for sweep in sweeps():
        if any(grown.sweep == sweep.name for grown in results.growth):
            yield f"growth-{sweep.name}", growth_table(results, sweep)
    for number, table in enumerate(profile_tables(results)):
        yield f"profile-{number + 1}", table


def describe(results: Results) -> str:
    """Describe the machine, the versions and the ceiling."""
    versions = printable_list(f"{name} {version}" for name, version in results.versions.items() if version)
    ceiling = ", ".join(f"{speed:,.0f} GFLOP/s in {precision}" for precision, speed in results.ceiling.items())
    most = f" Products of large matrices, the ceiling: {ceiling}." if ceiling else ""
    return f"{printable(results.machine)}; {versions}; {printable(results.date)}.{most}"


def to_markdown(results: Results) -> str:
    """Return all that was found as a page of Markdown."""
    parts = ["# Speed", describe(results), f"```sh\n{one_line(results.command)}\n```"]
    for _, table in tables(results):
        parts += [f"## {table.title[0].upper()}{table.title[1:]}", table.to_markdown()]
    return "\n\n".join(parts) + "\n"


def plot_speed(results: Results, path: Path | None = None) -> Any:
    """Draw each race: how many times as fast as the reference, with the lowest and the highest of the rounds."""
    outcomes = [outcome for outcome in results.outcomes if outcome.reference is not None]
    rows = -(-len(outcomes) // 2)
    most = max(len(outcome.timings) for outcome in outcomes)
    figure, axes = new_figure(13, rows * (1.1 + 0.28 * most), columns=min(2, len(outcomes)), rows=rows)
    flat = list(getattr(axes, "flat", [axes]))
    for part in flat[len(outcomes) :]:
        part.set_visible(False)
    for part, outcome in zip(flat, outcomes, strict=False):
        shown = [timing for timing in outcome.timings if timing.rates]
        for place, timing in enumerate(shown):
            found = outcome.ratio(timing)
            assert found is not None
            middle, low, high = found
            colour, marker, _ = LOOKS[timing.job.backend]
            part.errorbar(
                middle,
                place,
                xerr=[[middle - low], [high - middle]],
                fmt=marker,
                color=colour,
                markersize=7,
                capsize=3,
                markerfacecolor=colour if timing.job.who == "ours" else "white",
            )
            part.annotate(
                f"{middle:.2f}",
                (high, place),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},  # the line at 1 must not cross it
            )
        part.axvline(1, color=GREY, linestyle=":")
        part.set_yticks(range(len(shown)), [timing.label.replace("`", "") for timing in shown])
        part.invert_yaxis()
        part.margins(y=0.12)
        part.set_xlim(0, 1.2 * max(outcome.ratio(timing)[2] for timing in shown))  # type: ignore[index]
        part.set_title("\n".join(textwrap.wrap(outcome.race.title, 48)), fontsize=10)
        part.set_xlabel(f"images/s, times {shown[0].label}")
    figure.suptitle(
        "filled: the twins, empty: others; circles: PyTorch, squares: Keras; lines: lowest to highest round"
    )
    save_figure(figure, path)
    return figure


def plot_growth(results: Results, path: Path | None = None) -> Any:
    """Draw time and memory of a training step against depth, image size and batch."""
    shown = [sweep for sweep in sweeps() if any(grown.sweep == sweep.name for grown in results.growth)]
    figure, axes = new_figure(4.4 * len(shown), 6.5, columns=len(shown), rows=2)
    for column, sweep in enumerate(shown):
        above, below = (axes[0][column], axes[1][column]) if len(shown) > 1 else axes
        for backend, (colour, marker, line) in LOOKS.items():
            points = [
                (grown.value, grown.macs, grown.timings[backend])
                for grown in results.growth
                if grown.sweep == sweep.name and backend in grown.timings and grown.timings[backend].rates
            ]
            if not points:
                continue
            values = [value for value, _, _ in points]
            steps = [timing.job.batch_size / timing.rate * 1000 for _, _, timing in points]
            style: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": line}
            above.plot(values, steps, label=BACKENDS[backend].title, **style)
            below.plot(values, [timing.megabytes for _, _, timing in points], label=BACKENDS[backend].title, **style)
            if backend == "torch":
                work = [count * timing.job.batch_size for _, count, timing in points]
                above.plot(
                    values,
                    [steps[-1] * each / work[-1] for each in work],
                    ":",
                    color=GREY,
                    label="as the multiply-adds",
                )
        for part, unit in ((above, "ms for a training step"), (below, "peak memory in MB")):
            part.set_xlabel(sweep.axis)
            part.set_ylabel(unit)
            part.set_ylim(bottom=0, top=1.15 * part.get_ylim()[1])
            part.legend(loc="upper left")
        above.set_title(sweep.title, fontsize=10)
    save_figure(figure, path)
    return figure
