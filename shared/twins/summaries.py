"""A model as the other framework shows one: Keras' table of a PyTorch model, PyTorch's printout of a Keras model.

>>> from shared.twins import summary
>>> summary(my_torch_model)    # as model.summary() shows one
>>> summary(my_keras_model)    # as print(module) shows one
"""

from __future__ import annotations

import html
from typing import Any

from shared.backends import load_part
from shared.base.checks import check_choice, check_whole
from shared.base.errors import InputError
from shared.base.printable import printable, quoted
from shared.networks.spec import ResNetSpec
from shared.twins.inputs import usual_inputs
from shared.twins.keras_form import keras_form
from shared.twins.own_code import framework_of_any
from shared.twins.pair import see
from shared.twins.torch_form import torch_form

#: Form -> the backend whose own it is.
FORMS = {"keras": "tf", "torch": "torch"}
#: Characters of a line.
WIDTH, LEAST_WIDTH = 120, 40
#: Of one line of what a framework itself prints, in which a user's class may say anything.
MOST_LINE = 2000


class Summary(str):
    """A text that shows itself, in Python's console and in a notebook, as it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        style = (
            "white-space: pre; overflow-x: auto; line-height: 1.2; font-family: Menlo, 'DejaVu Sans Mono', monospace"
        )
        return f'<pre style="{style}">{html.escape(self)}</pre>'


def summary(
    model: Any,
    *,
    form: str | None = None,
    input_size: int | None = None,
    in_channels: int | None = None,
    width: int = WIDTH,
) -> Summary:
    """Return what `model.summary()` would show of a PyTorch model, and `print(module)` of a Keras model.

    Arguments
    ---------
    model: a live model of PyTorch or Keras, whoever wrote it, or an exported program; it is as it was afterwards.
    form: "keras" or "torch"; by default that of the other framework than the model's own. In its own framework's form
        the summary is what the framework itself prints.
    input_size, in_channels: height and width in pixels, and channels, of the image that it is shown; by default what
        the model says of itself, else 224 and 3.
    width: characters of a line.

    Shapes are in the model's own order of axes. Raises `InputError`, in one line, for what is no model and for a model
    that cannot be seen.
    """
    framework = framework_of_any(model)
    if framework is None:
        raise InputError(f"this is no PyTorch or Keras model but {quoted(type(model).__name__)}")
    if form is not None:
        check_choice("form", form, FORMS)
    check_whole("width", width, LEAST_WIDTH)
    spec = getattr(model, "spec", None)
    size = spec.input_size if input_size is None and isinstance(spec, ResNetSpec) else input_size
    shown = usual_inputs([model], input_size=size, in_channels=in_channels)
    part = load_part(framework, "summary")
    if FORMS.get(form or "") == framework:
        if not getattr(model, "built", True):  # Keras shows little of a model that has seen nothing
            see(model, *shown)
        return Summary("\n".join(printable(line, MOST_LINE) for line in part.printout(model).splitlines()))
    graph = see(model, *shown)
    if framework == "torch":
        return Summary(keras_form(graph, part.standings(model, graph), part.held(model), width))
    return Summary(torch_form(graph, part.outline(model, graph), width))
