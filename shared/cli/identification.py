"""What the command does to find a model in the catalog: `identify`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from shared.cli.app import LOOK, app, console, emit, networks
from shared.cli.pairs import NAMED

#: Which model is identified.
Model = Annotated[str, typer.Argument(metavar="MODEL", help=f"{NAMED}.", autocompletion=networks)]


class Form(StrEnum):
    """How the answer is shown."""

    terminal = "terminal"
    markdown = "markdown"
    json = "json"


@app.command(rich_help_panel=LOOK)
def identify(
    model: Model,
    input_size: Annotated[
        int | None,
        typer.Option(help="Height and width of the images, in pixels; usual ones are tried.", show_default=False),
    ] = None,
    in_channels: Annotated[int | None, typer.Option(help="Channels of the images.", show_default=False)] = None,
    format: Annotated[Form, typer.Option(help="How to show the answer.")] = Form.terminal,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file.", show_default=False)
    ] = None,
) -> None:
    """Say which network of the catalog any model is, or is nearest to, how to build that, and what differs.

    Only the structure is looked at, not the weights. Your own code runs with your rights.

    Exit code 0: it is a network of the catalog, if need be with other values of its fields. 1: differences are left.
    """
    from shared.base.files import check_writable
    from shared.twins.identification import identify as find

    if output is not None:
        check_writable(output)
    found = find(model, input_size=input_size, in_channels=in_channels)
    if format is Form.terminal and output is None:
        console().print(found.to_rich())
    else:
        render = {Form.terminal: found.to_text, Form.markdown: found.to_markdown, Form.json: found.to_json}
        emit(render[format](), output)
    if not found.exact:
        raise typer.Exit(1)
