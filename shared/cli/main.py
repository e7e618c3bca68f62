"""The `resnet-twins` command. Each subcommand reads its options, calls one function of the package and prints."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer

from shared import __version__
from shared.base.errors import InputError, StoppedError, TrainingError
from shared.base.printable import one_line
from shared.cli import assignment, bench, classroom, demo, doctor, identification, pictures, summary, training, twins
from shared.cli.app import PLAIN, Screen, app

#: Each of them registers its subcommands when it is imported.
PARTS = (assignment, bench, classroom, demo, doctor, identification, pictures, summary, training, twins)
INTERRUPTED = 130
MOST_PROBLEMS = 8
TOO_MUCH = "out of memory; try smaller images, a smaller batch or fewer pictures"
#: How PyTorch (on a CPU, on a GPU) and TensorFlow say it.
OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "OOM when allocating")
HELP_HINT = "no command given (see resnet-twins --help)"


def show_version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        typer.echo(f"resnet-twins {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Residual networks twice: PyTorch and Keras models built from one table, with the same numbers."""


def fail(text: str, code: int) -> NoReturn:
    """Print one line to standard error and stop. Of a long list of problems only the first are printed."""
    parts = one_line(text).split("; ")
    if len(parts) > MOST_PROBLEMS:
        parts = [*parts[:MOST_PROBLEMS], f"and {len(parts) - MOST_PROBLEMS} more"]
    print(f"Error: {'; '.join(parts)}", file=sys.stderr)
    raise SystemExit(code)


def main() -> None:
    """Run the command. Bad input is answered with one line and exit code 2, never with a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that knows no "✓" shows "+" instead of failing
            stream.reconfigure(errors=PLAIN)
    try:
        code = app(prog_name="resnet-twins", standalone_mode=False)
    except StoppedError as stop:
        print(stop, file=sys.stderr)
        raise SystemExit(INTERRUPTED) from stop
    except InputError as error:
        fail(str(error), 2)
    except TrainingError as error:
        fail(str(error), 1)
    except BrokenPipeError:
        Screen().on_broken_pipe()
    except MemoryError:
        fail(TOO_MUCH, 1)
    except OSError as error:
        fail(
            f"{error.filename}: {error.strerror or error}" if error.filename else str(error) or type(error).__name__, 2
        )
    except Exception as error:
        # Typer's own complaints about the command line: a line instead of its box.
        text = error.format_message() if hasattr(error, "format_message") else None
        if text is None and any(words in str(error) for words in OUT_OF_MEMORY):
            fail(TOO_MUCH, 1)
        if text is None:
            raise
        fail(f"{text.replace('Value error, ', '').rstrip('.')} (see resnet-twins --help)" if text else HELP_HINT, 2)
    if code == INTERRUPTED:  # what Typer makes of Ctrl-C
        fail("interrupted", INTERRUPTED)
    if code:
        raise SystemExit(code)
