"""Read a program of `torch.export` (`.pt2`) as data: what in it could run code is left out, or refused.

What PyTorch 2.13 does in `torch.export.load`: it unpickles without limits (weights and constants that are marked so,
its form before 2.9, example inputs that `weights_only` refuses, objects of other classes), loads libraries that are
packed under `aotinductor`, hands open sizes to `sympy.sympify`, which is `eval`, imports modules that a tree of
arguments names, looks operations up as attributes of `torch`, and makes Python text of names. Files with such example
inputs, weights and sizes were seen to run code while they were loaded. So the archive is written anew: raw numbers, and
a description whose texts have forms that can do none of this. Only the new one goes to PyTorch.
"""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shared.base.budget import Budget
from shared.base.damage import said_as_damage
from shared.base.errors import WeightsError
from shared.base.files import open_plain
from shared.base.printable import printable, quoted
from shared.checkpoints.zips import Archive

MODEL = "models/model.json"
CONFIGS = {"data/weights/": "model_weights_config.json", "data/constants/": "model_constants_config.json"}
SAMPLES = "data/sample_inputs/model.pt"
#: Small texts that PyTorch asks for before it reads on.
MARKS = ("archive_format", "archive_version", "byteorder", ".data/version")
#: Of the description, in bytes.
MOST_DESCRIPTION = 100_000_000

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
DOTTED = re.compile(r"[A-Za-z0-9_.+-]*")
#: An argument that is a text, like "reflect"; PyTorch writes it into its Python text with `repr`.
ARGUMENT = re.compile(r"[A-Za-z0-9_ .,:;+*/<>()\[\]-]*")
#: `from_file` opens files, and makes new ones.
OPERATION = re.compile(r"torch\.ops\.aten\.(?!from_file)[a-z_][a-z0-9_]*\.[A-Za-z0-9_]+")
OTHER_OPERATIONS = {f"_operator.{name}" for name in ("add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "pow")}
OTHER_OPERATIONS |= {f"_operator.{name}" for name in ("eq", "ne", "lt", "le", "gt", "ge", "getitem")}
OTHER_OPERATIONS |= {f"torch.sym_{name}" for name in ("float", "int", "ite", "max", "min", "not", "sqrt")}
OTHER_OPERATIONS |= {f"math.{name}" for name in ("ceil", "floor", "trunc")}
OTHER_OPERATIONS |= {"torch.ops.higher_order.wrap_with_set_grad_enabled"}
TREES = {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}


class _RefusedError(ValueError):
    """What a program may not hold."""


def read_program(path: Path) -> io.BytesIO:
    """Return the archive at `path` written anew, without anything that could run code when PyTorch loads it.

    The example inputs are left out: they are a pickle. Raises `WeightsError` for what is damaged or refused.
    """
    budget = Budget.for_file(path)
    with open_plain(path) as stream, said_as_damage(path, "program of torch.export"):
        archive = Archive(stream, budget)
        root = next(iter(archive.members), "").split("/")[0]
        try:
            return _written_anew(archive, root)
        except _RefusedError as refused:
            raise WeightsError(
                f"{printable(path)} is refused: {refused}; a .pt2 file can run code, and only what is plainly a "
                "network is loaded: name the Python code instead, as FILE.py:NAME"
            ) from refused


def _written_anew(archive: Archive, root: str) -> io.BytesIO:
    names = {name.removeprefix(f"{root}/") for name in archive.members}
    if "serialized_exported_program.json" in names | set(archive.members):
        raise _RefusedError(
            "it is of PyTorch 2.7 or earlier, whose programs hold pickles; export it again with a newer one"
        )
    if any(name.startswith("data/aotinductor/") for name in names):
        raise _RefusedError("it holds compiled code")
    models = sorted(name for name in names if name.startswith("models/"))
    if models != [MODEL]:
        raise _RefusedError(f"it holds {len(models)} programs under other names than torch.export.save gives")

    def read(name: str) -> bytes:
        return archive.array(f"{root}/{name}").tobytes()

    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as target:
        for name in MARKS:
            if name in names:
                target.writestr(f"{root}/{name}", read(name))
        target.writestr(f"{root}/{MODEL}", _description(read(MODEL)))
        target.writestr(f"{root}/{SAMPLES}", b"")
        for folder, config in CONFIGS.items():
            if f"{folder}{config}" not in names:
                raise _RefusedError(
                    "its weights are one pickle, as PyTorch 2.8 wrote them; export it again with a newer one"
                )
            table = json.loads(read(f"{folder}{config}"))
            sizes = {name: archive.members[f"{root}/{folder}{name}"].file_size for name in _payloads(table)}
            _check_sizes(table, sizes)
            target.writestr(f"{root}/{folder}{config}", json.dumps(table))
            for name in sizes:
                target.writestr(f"{root}/{folder}{name}", read(f"{folder}{name}"))
    written.seek(0)
    return written


def _payloads(table: Any) -> list[str]:
    """Return the members with raw numbers that a table of weights or constants names."""
    names = []
    for key, entry in table["config"].items():
        if not DOTTED.fullmatch(key):
            raise _RefusedError(f"it has a weight called {quoted(key)}")
        if entry["use_pickle"] is not False or not re.fullmatch(r"(weight|tensor)_\d+", entry["path_name"]):
            raise _RefusedError(f"{key} is kept as a pickle")
        _walk(entry, "")
        names.append(entry["path_name"])
    return list(dict.fromkeys(names))


def _check_sizes(table: Any, sizes: dict[str, int]) -> None:
    """Refuse a tensor without numbers that is not empty: PyTorch would make one of zeros, however large."""
    for key, entry in table["config"].items():
        shape = [size["as_int"] for size in entry["tensor_meta"]["sizes"]]
        if sizes[entry["path_name"]] == 0 and math.prod(shape) != 0:
            raise _RefusedError(f"{key} has the shape {shape}, and no numbers")


def _description(content: bytes) -> bytes:
    if len(content) > MOST_DESCRIPTION:
        raise _RefusedError(f"its description has {len(content):,} bytes")
    description = json.loads(content)
    description["guards_code"] = []  # Python text that PyTorch runs
    return json.dumps(_walk(description, "")).encode()


def _walk(value: Any, key: str) -> Any:
    """Return a part of the description after a look at each text in it; `key` is what it is called there."""
    if isinstance(value, dict):
        if key == "metadata":  # notes on each operation; where in the source it stands becomes a part of Python text
            stack = value.get("nn_module_stack")
            value = {"nn_module_stack": stack} if isinstance(stack, str) and ARGUMENT.fullmatch(stack) else {}
        for name in value:
            if not DOTTED.fullmatch(name):
                raise _RefusedError(f"it has an entry called {quoted(name)}")
        return {name: _walk(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [_walk(each, key) for each in value]
    if isinstance(value, str):
        CHECKS.get(key, _check_text)(value)
    return value


def _check_text(text: str, form: re.Pattern[str] = DOTTED, what: str = "a text") -> None:
    if not form.fullmatch(text):
        raise _RefusedError(f"it has {what} {quoted(text, 80)}")


def _check_name(text: str) -> None:
    _check_text(text, IDENTIFIER, "the name")


def _check_argument(text: str) -> None:
    _check_text(text, ARGUMENT, "the argument")


def _check_operation(text: str) -> None:
    if not OPERATION.fullmatch(text) and text not in OTHER_OPERATIONS:
        raise _RefusedError(f"it uses the operation {quoted(text, 80)}, which is none of PyTorch's own (aten)")


def _check_tree(text: str) -> None:
    """Refuse a tree of arguments that is not made of tuples, lists and dicts: others import modules by name."""
    version, root = json.loads(text)
    rows = [root]
    while rows:
        row = rows.pop()
        keys = json.loads(row["context"] or "null")
        plain = keys is None or (isinstance(keys, list) and all(isinstance(key, str) for key in keys))
        if version != 1 or row["type"] not in TREES or not plain:
            raise _RefusedError(f"its arguments are a {quoted(row['type'], 80)}")
        for key in keys or ():
            _check_name(key)
        rows += row["children_spec"]


def _check_size(text: str) -> None:
    raise _RefusedError(f"a size of it was left open ({printable(text, 40)}); export it for inputs of one size")


#: Key in the description -> what is asked of the text there; all others are dotted names.
CHECKS: dict[str, Callable[[str], None]] = {
    "name": _check_name,
    "as_name": _check_name,
    "forward_arg_names": _check_name,
    "target": _check_operation,
    "as_string": _check_argument,
    "as_strings": _check_argument,
    "nn_module_stack": _check_argument,
    "in_spec": _check_tree,
    "out_spec": _check_tree,
    "expr_str": _check_size,
}
