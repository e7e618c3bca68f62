"""The subcommand `summary`: one model as the other framework would show it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from shared.cli.app import LOOK, app, console, emit, networks
from shared.cli.pairs import NAMED


class Form(StrEnum):
    """How a model is shown."""

    keras = "keras"
    torch = "torch"


@app.command(rich_help_panel=LOOK)
def summary(
    model: Annotated[str, typer.Argument(help=f"{NAMED}.", autocompletion=networks)],
    form: Annotated[
        Form | None,
        typer.Option(help="Keras' table or PyTorch's printout; by default the other framework's.", show_default=False),
    ] = None,
    input_size: Annotated[int | None, typer.Option(help="Height and width of the images.", show_default=False)] = None,
    in_channels: Annotated[int | None, typer.Option(help="Channels of the images.", show_default=False)] = None,
    weights: Annotated[Path | None, typer.Option(help="A file of weights for it.", show_default=False)] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file.", show_default=False)
    ] = None,
) -> None:
    """Show a PyTorch model as model.summary() would, and a Keras model as print(model) would.

    Code of yours that is named here runs with your rights.
    """
    from shared.base.files import check_writable
    from shared.twins.named import open_model
    from shared.twins.summaries import LEAST_WIDTH, WIDTH
    from shared.twins.summaries import summary as summarize

    if output is not None:
        check_writable(output)
    width = WIDTH if output is not None else max(LEAST_WIDTH, console().width)
    found = open_model(model, weights=weights)
    shown = summarize(found, form=form and form.value, input_size=input_size, in_channels=in_channels, width=width)
    emit(shown, output)
