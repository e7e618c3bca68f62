"""Opens a model by the name that a user writes: own code, a saved file, or a network of the catalog."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from shared.backends import BACKENDS, framework_of, load_backend, load_part
from shared.base.checks import check_choice
from shared.base.errors import InputError, WeightsError
from shared.base.printable import printable, quoted
from shared.networks.catalog import SPECS, get_spec
from shared.twins.own_code import model_of_file, model_of_module

#: How the file of a saved model ends -> the backend that opens it.
SAVED = {".pt2": "torch", ".keras": "tf"}
#: Characters of what a model is called in a verdict.
MOST_TITLE = 40
#: Which one builds a network of the catalog if nothing is said.
USUAL = "torch"
FORMS = f"a model is named by FILE.py:NAME, package.module:NAME, a {' or '.join(SAVED)} file, or a name of the catalog"
#: What people try: these have no model in them that could be opened.
OTHER_ENDINGS = (".pth", ".pt", ".th", ".ckpt", ".bin", ".safetensors", ".h5", ".hdf5", ".pb", ".onnx", ".tflite")


def open_model(name: str, *, framework: str | None = None, weights: Path | None = None) -> Any:
    """Return the live model that `name` names: of PyTorch, of Keras, or an exported program of PyTorch.

    Arguments
    ---------
    name: `FILE.py:NAME` or `package.module:NAME`, where NAME is a class, a function without arguments, or a model, or
        a call with literals like `Net(classes=10)`; a `.keras` or `.pt2` file; or a name of the catalog.
    framework: "torch" or "tf", which the model must be of; it builds a network of the catalog, "torch" by default.
    weights: a file whose arrays the model gets, all of them and by their names.

    Own code runs with the user's rights; of a saved file no code is run. What the code prints goes to standard error.
    Modules beside the user's file are there while it is imported and the model is made, and not afterwards.
    Raises `InputError` in one line for whatever goes wrong, `WeightsError` for weights that do not fit.
    """
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{quoted(name)} names no model; {FORMS}")
    if framework is not None:
        check_choice("framework", framework, BACKENDS)
    model = _named(name.strip(), framework or USUAL)
    found = framework_of(model) or SAVED[".pt2"]
    if framework not in (None, found):
        raise InputError(
            f"{printable(name)} is a {BACKENDS[found].title} model, and {BACKENDS[str(framework)].title} was asked for"
        )
    if weights is not None:
        try:
            load_part(found, "saved").give_weights(model, weights)
        except WeightsError as error:
            if printable(weights) in str(error):
                raise
            raise WeightsError(f"{printable(weights)} for {printable(name)}: {error}") from error
    return model


def _named(name: str, framework: str) -> Any:
    for ending, backend in SAVED.items():
        if name.lower().endswith(ending):
            return load_part(backend, "saved").open_model(Path(name).expanduser())
    if match := re.match(r"(.+?\.pyw?):(.*)", name, re.DOTALL | re.IGNORECASE):
        return model_of_file(*match.groups())
    if name.lower().endswith(".py"):
        return model_of_file(name, "")
    module, colon, what = name.partition(":")
    if colon and re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", module) and not re.match(r"[\\/]", what):
        return model_of_module(module, what)
    if name in SPECS:
        return load_backend(framework).create_model(name)
    if name.lower().endswith(OTHER_ENDINGS):
        raise InputError(f"{printable(name)} holds no model that can be opened, weights at most; {FORMS}")
    if colon or "/" in name or "\\" in name or Path(name).suffix:
        raise InputError(f"{printable(name)} names no model; {FORMS}")
    try:
        get_spec(name)
    except InputError as error:
        raise InputError(f"{error}; {FORMS}") from error
    raise AssertionError(name)


def open_two(first: Any, second: Any, *, weights: tuple[Path | None, Path | None] = (None, None)) -> tuple[Any, Any]:
    """Return two live models, each given as one or by its name; a network of the catalog is built as the other one is.

    Raises what `open_model` raises.
    """
    given = [first, second]
    for place in sorted((0, 1), key=lambda place: _is_of_catalog(given[place])):
        if isinstance(given[place], str):
            other = given[1 - place]
            framework = framework_of(other) if _is_of_catalog(given[place]) and not isinstance(other, str) else None
            given[place] = open_model(given[place], framework=framework, weights=weights[place])
    return given[0], given[1]


def titles_of(first: Any, second: Any) -> tuple[str | None, str | None]:
    """Return what two models are to be called: each as it was typed, a long name by its end; None for a live one."""
    shown = [" ".join(each.split()) if isinstance(each, str) else None for each in (first, second)]
    short = [each if each is None or len(each) <= MOST_TITLE else f"…{each[1 - MOST_TITLE :]}" for each in shown]
    titles = [each if each is None else printable(each) for each in short]
    return titles[0], titles[1]


def _is_of_catalog(name: Any) -> bool:
    return isinstance(name, str) and name in SPECS
