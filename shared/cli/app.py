"""What all subcommands of `resnet-twins` share: the app, the console, and options that several of them have."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from typer.core import TyperGroup

from shared.base.files import write_text
from shared.base.printable import printable

START, LOOK, LEARN, TRAIN, TEACH = "Start here", "Look at networks", "Learn", "Train and use", "Teach"
#: The subcommands in the order in which help lists them, those for newcomers first.
ORDER: tuple[str, ...] = (
    "demo",
    "doctor",
    "models",
    "identify",
    "compare",
    "summary",
    "verify",
    "microscope",
    "port",
    "convert",
    "assignment",
)
ORDER += ("experiment", "recipes", "train", "evaluate", "predict", "bench", "classroom")


class Ordered(TyperGroup):
    """Lists the subcommands in our order, not in that of the imports."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Return their names."""
        return list(ORDER)


app = typer.Typer(
    name="resnet-twins",
    cls=Ordered,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Residual networks twice: PyTorch and Keras models built from one table, with the same numbers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

#: What a terminal that knows only ASCII shows of our signs; without it passed and failed would look the same.
PLAIN_SIGNS = {"✓": "+", "✗": "x", "–": "-", "•": "*", "×": "x", "…": "~", "≠": "!", "◀": "<"}
PLAIN_SIGNS |= dict(zip(" ░▒▓█", " .:o#", strict=True))
PLAIN = "resnet-twins-plain"


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Return what is shown of the characters that cannot be."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(PLAIN_SIGNS.get(sign, "?") for sign in signs), error.end


codecs.register_error(PLAIN, _plain)


class Framework(StrEnum):
    """Which twin."""

    torch = "torch"
    tf = "tf"
    both = "both"


def only_prints(text: str) -> str:
    """Return a text of several lines in which nothing but line ends moves the cursor.

    The last line of defence: who prints a text that is not ours calls `printable`, which also limits its length.
    """
    return "\n".join(line if line.isprintable() else printable(line, len(line)) for line in text.split("\n"))


class Screen(Console):
    """A console that shows no control characters but its own.

    It ends without an error if the program that reads its output, like `head`, closes the pipe.
    """

    def __init__(self, **options: Any) -> None:
        """Make one that also leaves numbers and `:names:` as they are, which rich would colour and replace."""
        super().__init__(**{"highlight": False, "emoji": False, **options})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the pieces of what is to be shown, those of other people's texts cleaned."""
        for piece in super().render(renderable, options):
            yield piece if piece.control else Segment(only_prints(piece.text), piece.style)

    def on_broken_pipe(self) -> None:
        """Stop without an error."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0)


def console() -> Console:
    """Return a console as wide as the terminal; 125 characters where there is none, as in a pipe."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 125
    return Screen(width=width)


def overrides(**values: Any) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in values.items() if value is not None}


def say(text: str, *, error: bool = False) -> None:
    """Print lines as they are, to standard output or error, without their control characters."""
    typer.echo(only_prints(text), nl=not text.endswith("\n"), err=error)


def emit(text: str, output: Path | None) -> None:
    """Print `text`, or write it to `output`."""
    if output is None:
        say(text)
    else:
        write_text(output, text if text.endswith("\n") else text + "\n")
        say(f"wrote {printable(output)}", error=True)


def networks(incomplete: str) -> list[str]:
    """Return the networks of the catalog whose names begin so, for the completion of the shell."""
    from shared.networks import SPECS

    return [name for name in SPECS if name.startswith(incomplete)]
