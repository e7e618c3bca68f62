"""What came of an input, judged: by the error that a reader raised, or by what a command printed."""

from __future__ import annotations

import os
import re
import stat
import traceback
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared.base.errors import InputError, TrainingError
from shared.base.printable import JOINERS
from tests.campaigns.fuzz import ROOT
from tests.campaigns.fuzz.readers import Broken, Refusal
from tests.campaigns.fuzz.seeds import CANARY

READER, COMMAND, PROCESS = "reader", "command", "process"
MOST_TEXT = 9000
ACCEPTED, REFUSED, BROKE = "accepted", "refused", "broke"
#: How libraries say that there is no memory left.
RUN_OUT = re.compile(r"(cannot|can't|unable to|could not|failed to) allocate|out of memory|bad_alloc", re.IGNORECASE)


@dataclass
class Outcome:
    """What came of one input."""

    kind: str
    number: int
    route: str
    result: str
    text: str = ""
    detail: str = ""
    seconds: float = 0.0
    memory: int = 0


def snapshot(*folders: Path) -> dict[str, tuple[int, ...]]:
    """Return what tells whether a file was written: its kind, size, time of change and identity."""
    found = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            facts = path.lstat()
            file = () if stat.S_ISDIR(facts.st_mode) else (facts.st_size, facts.st_mtime_ns, facts.st_ino)
            found[os.fsdecode(path)] = (facts.st_mode, *file)
    return found


def plain(text: str) -> bool:
    """Whether a text is one line of bounded length that only prints."""
    signs = {sign for sign in text if sign not in JOINERS and unicodedata.category(sign) != "Zs"}
    return 0 < len(text) <= MOST_TEXT and all(sign.isprintable() for sign in signs)


def has_run_out(error: BaseException | None) -> bool:
    """Whether memory had run out, whatever was made of it later."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError) or RUN_OUT.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def where(error: BaseException) -> str:
    """Return the last place in our code that an error came through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if str(ROOT) in frame.filename]
    ours = [frame for frame in frames if f"{os.sep}tests{os.sep}" not in frame.filename] or frames
    if not ours:
        return ""
    return f" at {Path(ours[-1].filename).relative_to(ROOT)}:{ours[-1].lineno} ({ours[-1].name})"


def kind_and_place(error: BaseException) -> str:
    """Return an error as a text in which nothing but its kind and place counts, so that equal ones are found."""
    return f"{type(error).__name__}{where(error)}"


def judge(read: Callable[[Path], list[np.ndarray]], path: Path) -> tuple[str, str, str]:
    """Read an input in this process; return the result, what is wrong in words, and details for who mends it."""
    try:
        arrays = read(path)
    except (InputError, Refusal, TrainingError) as error:
        text = str(error)
        detail = "".join(traceback.format_exception(error))
        if has_run_out(error):
            return BROKE, f"the memory ran out{where(error)}", detail
        return (
            (REFUSED, text, "") if plain(text) else (BROKE, f"the line does not only print{where(error)}", repr(text))
        )
    except Broken as error:
        return BROKE, str(error), ""
    except BaseException as error:
        what = "the memory ran out" + where(error) if has_run_out(error) else kind_and_place(error)
        return BROKE, what, "".join(traceback.format_exception(error))
    for array in arrays:
        if CANARY[:24] in np.ascontiguousarray(array).tobytes():
            return BROKE, "another file was read", ""
    return ACCEPTED, "", ""


def judge_command(code: int, printed: bytes, *, folder: bool) -> tuple[str, str]:
    """Judge a command by its exit code and by what it printed; return the result, and what is wrong in words."""
    text = printed.decode("utf-8", "replace")
    errors = [line for line in text.splitlines() if line.startswith("Error: ")]
    if "Traceback (most recent call last)" in text:
        return BROKE, f"the command ends with a traceback: {last_error(text)}"
    if code not in (0, 1, 2) or (code != 0 and len(errors) != 1):
        return BROKE, f"the command ends with exit code {code} and {len(errors)} lines"
    if code == 1 and "memory" in text:
        return BROKE, "the memory ran out in the command"
    if code == 1 and not folder:
        return BROKE, "the command ends with exit code 1"
    if not all(plain(line) for line in text.split("\n") if line) or len(text) > 10 * MOST_TEXT:
        return BROKE, "the command prints what does not only print, or too much"
    if "Warning" in text:
        return BROKE, "the command prints a warning"
    return (ACCEPTED if code == 0 else REFUSED), ""


def last_error(text: str) -> str:
    """Return the last error of a printed traceback, and the last place in our code that it came through."""
    errors = re.findall(r"^(\w[\w.]*(?:Error|Exception|Exit|Interrupt))\b", text, re.MULTILINE)
    places = re.findall(rf'File "{re.escape(str(ROOT))}/((?!tests)[^"]+)", line (\d+)', text)
    return f"{errors[-1:]}" + (f" at {places[-1][0]}:{places[-1][1]}" if places else "")
