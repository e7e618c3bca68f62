"""Text that is not ours, made fit to be shown: nothing in it moves the cursor, hides or turns what stands around it."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from typing import Any

#: Characters of a name that are shown, and of a whole message.
MOST_NAME, MOST_MESSAGE = 200, 8000
#: How many entries of a list are named; the others are counted.
MOST_ENTRIES = 20
#: They join and part letters in Persian, in Indian scripts and in emoji, and show nothing themselves.
JOINERS = "\u200c\u200d"


def printable(text: Any, most: int = MOST_NAME) -> str:
    """Return `text` (a path or any other object, too) in at most about `most` characters that only print.

    Control, escape and bidirectional characters, half characters and bytes that are no UTF-8 are shown as Python
    writes them (`\\x1b`, `\\u202e`); what is left out is counted.
    """
    whole = os.fsdecode(text) if isinstance(text, bytes | os.PathLike) else str(text)
    shown = "".join(sign if _prints(sign) else _escaped(sign) for sign in whole[:most])
    return shown if len(whole) <= most else f"{shown}… [{len(whole) - most:,} more characters]"


def quoted(value: Any, most: int = MOST_NAME) -> str:
    """Return a value as Python writes it, `printable`; whatever cannot be written is named by its type."""
    try:
        return printable(repr(value), most)
    except Exception:  # numbers of thousands of digits, nested lists, foreign objects
        return f"<a {type(value).__name__} that cannot be shown>"


def printable_list(entries: Iterable[Any], most: int = MOST_ENTRIES) -> str:
    """Return the entries with commas between them, each `printable`; beyond `most` of them the others are counted."""
    entries = list(entries)
    shown = ", ".join(map(printable, entries[:most]))
    return shown if len(entries) <= most else f"{shown} and {len(entries) - most:,} more"


def one_line(text: Any) -> str:
    """Return a message as one `printable` line: line ends and runs of spaces become one space."""
    return printable(" ".join(str(text)[: 2 * MOST_MESSAGE].split()), MOST_MESSAGE)


def _prints(sign: str) -> bool:
    return sign.isprintable() or sign in JOINERS or unicodedata.category(sign) == "Zs"


def _escaped(sign: str) -> str:
    code = ord(sign)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte of a file's name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return sign.encode("unicode_escape").decode("ascii")
