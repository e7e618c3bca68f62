"""Measures the parts of a benchmark one after the other, shows each table at once, and keeps what was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from shared.base.errors import InputError
from shared.base.files import check_own, write_text
from shared.base.versions import is_installed
from shared.base.words import command_line
from shared.bench.contest import Say, measure_ceiling, run_race
from shared.bench.growth import measure_growth, sweeps
from shared.bench.profile import measure_profiles
from shared.bench.races import races
from shared.bench.report import (
    GROWTH,
    SPEED,
    STARTS,
    Table,
    describe,
    growth_table,
    plot_growth,
    plot_speed,
    profile_tables,
    race_table,
    start_table,
    to_markdown,
)
from shared.bench.results import FILE, Results, read_results
from shared.bench.starts import commands, imports, measure_starts

PAGE = "bench.md"
START_RUNS = {"imports": 7, "commands": 1}


def parts(*, quick: bool = False) -> dict[str, str]:
    """Return the parts of a benchmark: name -> title."""
    return (
        {race.name: race.title for race in races(quick=quick)}
        | STARTS
        | {f"growth-{sweep.name}": f"{sweep.title}: {sweep.axis}" for sweep in sweeps()}
        | {"profile": "what the time of a training step goes into"}
    )


def measure(
    names: Sequence[str],
    *,
    quick: bool,
    rounds: int,
    seconds: float,
    output: Path | None,
    say: Say,
    show: Callable[[Table | str], None],
) -> Results:
    """Measure the parts `names`, and write what is known after each one to `output`, if there is one.

    Raises `InputError` if `output` cannot be written, or holds results of another machine or other versions.
    """
    results, titles = _opened(output, quick), parts(quick=quick)
    names = [name for name in titles if name in names]  # in the order in which they are measured
    results.command = results.command or command_line()
    if set(names) & {race.name for race in races(quick=quick)} - {"data"}:  # networks, whose share of it is told
        say("products of large matrices")
        results.ceiling = measure_ceiling(seconds=seconds, say=say)
    show(describe(results))

    for number, name in enumerate(names, 1):
        show(f"part {number} of {len(names)}: {titles[name]} ...")
        for table in _measure_part(name, results, rounds=rounds, seconds=seconds, say=say):
            show(table)
        _keep(results, output)
    return results


def _measure_part(name: str, results: Results, *, rounds: int, seconds: float, say: Say) -> list[Table]:
    """Measure one part, put what was found into `results`, and return its tables."""
    known_races = {race.name: race for race in races(quick=results.quick)}
    known_sweeps = {f"growth-{sweep.name}": sweep for sweep in sweeps(quick=results.quick)}
    if name in known_races:
        outcome = run_race(known_races[name], rounds=rounds, seconds=seconds, say=say)
        results.outcomes = [*(old for old in results.outcomes if old.race.name != name), outcome]
        return [race_table(outcome, results.ceiling)]
    if name in STARTS:
        starts = imports() if name == "imports" else commands(quick=results.quick)
        results.starts[name] = measure_starts(starts, runs=START_RUNS[name], say=say)
        return [start_table(STARTS[name], starts)]
    if name in known_sweeps:
        sweep = known_sweeps[name]
        grown = measure_growth(sweep, rounds=min(3, rounds), seconds=seconds, say=say)
        results.growth = [*(old for old in results.growth if old.sweep != sweep.name), *grown]
        return [growth_table(results, sweep)]
    results.profiles = measure_profiles(say=say)
    return list(profile_tables(results))


def _opened(output: Path | None, quick: bool) -> Results:
    """Return the results that `output` holds already, or new ones."""
    results = Results(quick=quick)
    if output is None:
        return results
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {output} cannot be made ({error.strerror}); choose another one") from error
    for name in (FILE, PAGE, SPEED, GROWTH):
        check_own(output / name)
    if not (output / FILE).exists():
        results.save(output)  # a folder that cannot be written is found out before anything is measured
        return results
    old = read_results(output / FILE)
    if (old.machine, old.versions, old.quick) != (results.machine, results.versions, quick):
        how = " --quick" if old.quick else ""
        raise InputError(
            f"{output / FILE} is from another machine, other versions, or not from the same command (bench{how}: "
            f"{describe(old)}); choose a new folder"
        )
    known = {race.name for race in races(quick=quick)}
    try:
        if not known >= {outcome.race.name for outcome in old.outcomes}:
            raise ValueError("a race that is not ours")
        to_markdown(old)  # numbers that cannot be shown now cannot be shown when everything is measured
    except (ValueError, LookupError, ArithmeticError) as error:
        raise InputError(f"{output / FILE} holds no results of this command ({error}); choose a new folder") from error
    old.date = results.date
    return old


def _keep(results: Results, output: Path | None) -> None:
    """Write all that is known so far."""
    if output is None:
        return
    order = [race.name for race in races(quick=results.quick)]
    results.outcomes.sort(key=lambda outcome: order.index(outcome.race.name))
    results.save(output)
    write_text(output / PAGE, to_markdown(results))
    if is_installed("matplotlib"):
        if any(outcome.reference for outcome in results.outcomes):
            plot_speed(results, output / SPEED)
        if results.growth:
            plot_growth(results, output / GROWTH)
