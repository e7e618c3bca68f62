"""What was counted, in words: as a table on the screen, and as it stands in docs/faults.md."""

from __future__ import annotations

from typing import Any

from shared.backends import BACKENDS
from shared.training.folder import BEST, CURVES, LAST, STATE
from shared.training.metrics import METRICS

BOTH_STATES = "both states"
SAME_BITS = "the run went on and ended with the same bits"
#: What the table says of each figure, in its order: (fault, figure) -> (what was done, what came of it).
WORDS = {
    ("SIGKILL", "training"): ("SIGKILL at a random moment of the training", "RESUMED"),
    ("SIGKILL", "writing"): ("SIGKILL as soon as a file was being written", "RESUMED"),
    ("SIGKILL", "anywhere"): ("SIGKILL at a random moment after the start", "RESUMED"),
    ("SIGKILL", "kills"): ("all kills: the sum of the three rows above", "every file in the folder was whole"),
    ("SIGKILL", "in_a_write"): ("of these, kills in the middle of a write", "the file or state before it was whole"),
    ("SIGKILL", "runs_complete_and_equal"): (
        "runs that were killed and resumed until their end",
        "they ended with the same bits",
    ),
    ("SIGKILL", "steps_lost_beyond_the_last_save"): ("saved steps that these kills cost", "steps, not kills"),
    ("file-size limit", "refused_at_the_start"): ("file-size limit: no file fits at the start", "START"),
    ("file-size limit", LAST): (f"file-size limit: {LAST} does not fit", "LINE"),
    ("file-size limit", STATE): (f"file-size limit: {STATE} does not fit", "LINE"),
    ("file-size limit", METRICS): (f"file-size limit: {METRICS} does not fit", "LINE"),
    ("file-size limit", "runs_complete_and_equal"): ("after these: the limit is taken away", SAME_BITS),
    ("small disk", "refused_at_the_start"): ("small disk: full at the start", "START"),
    ("small disk", "whatever_came_next"): ("small disk: full while the run trains", "LINE"),
    ("small disk", STATE): (f"small disk: no room for {STATE}", "LINE"),
    ("small disk", CURVES): (f"small disk: no room for {CURVES}", "LINE"),
    ("small disk", "runs_complete_and_equal"): ("after these: there is room again", SAME_BITS),
    ("unwritable folder", "refused_at_the_start"): ("unwritable folder: at the start", "START"),
    ("unwritable folder", "while_training"): ("unwritable folder: closed while the run trains", "LINE"),
    ("unwritable folder", "runs_complete_and_equal"): ("after this: the folder is opened again", SAME_BITS),
    ("vanished folder", "renamed"): ("vanished folder: renamed while the run trains", "GONE"),
    ("vanished folder", "runs_complete_and_equal"): ("after this: resumed under the new name", SAME_BITS),
    ("vanished folder", "deleted"): ("vanished folder: deleted while the run trains", "GONE"),
    ("two in one folder", "refused"): (
        "two in one folder: the first one lives",
        "the second one is refused in one line",
    ),
    ("two in one folder", "went_on_after_a_kill"): ("two in one folder: the first one was killed", SAME_BITS),
    ("two in one folder", "started_at_once"): (
        "two in one folder: both are started at once",
        "one trains, the other one is refused in one line",
    ),
    ("two in one folder", "runs_complete_and_equal"): (
        "runs of the last two rows, until their end",
        "they ended with the same bits",
    ),
}
#: What stands in `WORDS` more than once.
OFTEN = {
    "RESUMED": "the run went on when it was resumed",
    "GONE": "the run ends in one line; the folder is not made anew",
    "START": "refused in one line; nothing is left behind",
    "LINE": "the run ends in one line that says how to go on; nothing half-written is left",
}
#: The same for files that were damaged or deleted.
RESULTS = {
    "said, and ended with the same bits": f"{SAME_BITS}; it said what was wrong",
    "no harm: the same bits": SAME_BITS,
    "refused in one line": "the run does not go on; one line says what can be done",
    "said, and lost its first rows": f"{SAME_BITS}; it said at which step the curve begins now",
}


def words(fault: str, figure: str) -> tuple[str, str]:
    """Return what was done and what came of it, for people; what nobody foresaw stands there as it is."""
    how, colon, file = fault.partition(": ")
    if colon:
        others = " (but for this file, which begins anew)" if file == BEST else ""
        return f"{file} {how}", RESULTS.get(figure, figure) + others
    done, result = WORDS.get((fault, figure), (fault, figure))
    return done, OFTEN.get(result, result)


def table_rows(figures: dict[str, dict[str, dict[str, Any]]]) -> list[tuple[str, ...]]:
    """Return the rows of the table: what was done, how often with each framework, what came of it."""
    found = dict.fromkeys(
        (what, key) for faults in figures.values() for what, counts in faults.items() for key in counts
    )
    places = {entry: number for number, entry in enumerate(WORDS)}
    rows = []
    for what, key in sorted(found, key=lambda entry: places.get(entry, len(places))):  # the others stay behind them
        done, result = words(what, key)
        rows.append((done, *(str(faults.get(what, {}).get(key, "")) for faults in figures.values()), result))
    return rows


def headings(figures: dict[str, Any]) -> tuple[str, ...]:
    """Return the headings of the table."""
    return ("what was done", *(f"times, {BACKENDS[name].title}" for name in figures), "what came of it")


def markdown(figures: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Return the table as it stands in docs/faults.md."""
    names = headings(figures)
    lines = [names, ("---", *["---:"] * len(figures), "---"), *table_rows(figures)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
