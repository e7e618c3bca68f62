"""Imports a file or module of the user's, and takes a model out of it. It runs with the user's rights, as Python does.

What goes wrong there is said in one line, with the user's own lines; what is printed goes to standard error.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import io
import itertools
import os
import re
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from _resnet_twins import hiding
from shared.backends import BACKENDS, framework_of, load_backend, load_part, missing_modules
from shared.base.checks import nearest
from shared.base.errors import InputError
from shared.base.files import check_readable
from shared.base.printable import printable, printable_list, quoted
from shared.base.versions import how_to_install

#: Under which names files of the user's are imported, so that `random.py` hides nothing of Python's.
PREFIX = "_own_code_"
#: In seconds: an import that takes longer does more than to define a model.
SLOW = 20.0
MOST_LINES, MOST_LINE, MOST_CALL = 5, 100, 10_000
GUARD = 'what a file does beyond defining things belongs under if __name__ == "__main__":'
#: How the classes are called from which models are derived.
MODELS = ("Module", "Model", "Sequential")
#: Modules of Python that do something when they are imported.
JOKES = {"antigravity", "this"}
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Call:
    """What stands behind the ":" of a name: a dotted name, and arguments if there are parentheses."""

    name: str
    arguments: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    called: bool = False


def framework_of_any(value: Any) -> str | None:
    """Return the name of the backend whose model or program this is, of those that are loaded, or None."""
    loaded = [name for name, known in BACKENDS.items() if all(module in sys.modules for module in known.modules)]
    found = framework_of(value)
    return found or next((name for name in loaded if load_part(name, "saved").is_model(value)), None)


def is_model(value: Any) -> bool:
    """Return whether this is a model of a framework that is loaded, or a program of it."""
    return framework_of_any(value) is not None


def parse_call(text: str) -> Call:
    """Return what `Net`, `Models.Net` or `Net(classes=10)` says; raise `InputError` for anything but literals."""
    wanted = "wanted is NAME or NAME(classes=10), with numbers, texts, True, False, None, and lists of them"
    if len(text) > MOST_CALL:
        raise InputError(f"{quoted(text, 40)} is no name of a model; {wanted}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about "\\d" in a text, say
            node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(f"{quoted(text)} is no name of a model; {wanted}") from None
    call = node if isinstance(node, ast.Call) else None
    name = ast.unparse(call.func if call else node)
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", name):
        raise InputError(f"{quoted(text)} is no name of a model; {wanted}")
    if call is None:
        return Call(name)
    problem = f"{quoted(text)} has an argument that is no plain value; {wanted}; for others write a function"
    if any(option.arg is None for option in call.keywords):
        raise InputError(problem)
    try:
        arguments = tuple(ast.literal_eval(each) for each in call.args)
        options = {str(option.arg): ast.literal_eval(option.value) for option in call.keywords}
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise InputError(problem) from None
    return Call(name, arguments, options, called=True)


def model_of_file(place: str, what: str) -> Any:
    """Return the model `what` of the Python file `place`, which is run."""
    path = _file(place)
    shown = printable(place)
    if not what.strip():
        raise InputError(f"{shown} is named without a model in it; write {_suggested(path, shown)}")
    call = parse_call(what)
    name = f"{PREFIX}{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}_{next(_numbers)}"
    _load_frameworks(path)

    with _visit(path.parent, path):
        with _answers(f"{shown} does not import", path.parent, path.stem), _noting(shown):
            module = _run(name, path)
        return _build(module, call, shown, path.parent)


def _run(name: str, path: Path) -> ModuleType:
    """Run a file as the module `name`; it is known under it from the start, as dataclasses and pickles ask for it."""
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None  # there is a loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def model_of_module(name: str, what: str) -> Any:
    """Return the model `what` of the module `name`, which is imported; the current folder comes first."""
    shown, folder = printable(name), Path.cwd().resolve()
    call = parse_call(what)
    with _visit(folder):
        try:
            with _answers(f"{shown} does not import", folder), _noting(shown):
                module = importlib.import_module(name)
        except InputError as error:
            cause = error.__cause__
            if not isinstance(cause, ModuleNotFoundError) or not f"{name}.".startswith(f"{cause.name}."):
                raise
            here = {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}
            close = [word for word in nearest(name, here) if word[:1].isidentifier()]
            hint = f"; in this folder are {printable_list(close)}" if close else ""
            raise InputError(f"there is no module {printable(cause.name)}{hint}") from error
        own = folder.joinpath(*name.split(".")).with_suffix(".py")
        if own.exists() and own != Path(getattr(module, "__file__", None) or own).resolve():
            raise InputError(f"{shown} is another module here than your file; write {shown}.py:{printable(what)}")
        return _build(module, call, shown, folder)


def _file(place: str) -> Path:
    """Return the whole path of a file, or say which ones are there."""
    try:
        path = Path(place).expanduser()
        if not path.exists() and path.parent.is_dir():
            close = nearest(path.name, [each.name for each in path.parent.glob("*.py")])
            hint = f"; near it are {printable_list(close)}" if close else "; its folder has no Python files"
            raise InputError(f"there is no file {printable(place)}{hint}")
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{printable(place)} cannot be read ({error})") from error
    return check_readable(path).resolve()


def _tree(path: Path) -> ast.Module:
    """Return the text of a file as Python reads it; an empty one if it cannot, which is said when it is run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module([], [])


def _suggested(path: Path, shown: str) -> str:
    """Return what to write for a file without a name, from its text: it is not run for this."""
    nodes = [node for node in _tree(path).body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    names = [node.name for node in nodes if not node.name.startswith("_")]
    bases = {node.name: [*map(ast.unparse, node.bases)] for node in nodes if isinstance(node, ast.ClassDef)}
    models = [name for name in names if any(base.endswith(MODELS) for base in bases.get(name, ()))]
    derived = [name for name in names if bases.get(name)]
    for each in (models, derived, names):
        if len(each) == 1:
            return f"{shown}:{each[0]}"
    return f"{shown}:NAME" + (f", where NAME is one of {printable_list(models or names)}" if names else "")


def _load_frameworks(path: Path) -> None:
    """Load the frameworks that the file imports in this package's way: without chatter, and in a safe order."""
    nodes = list(ast.walk(_tree(path)))
    modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    modules += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    imported = {module.partition(".")[0] for module in modules}
    for name, framework in BACKENDS.items():
        if imported & {framework.package, *framework.modules} and not missing_modules(name):
            load_backend(name)


class _Aside(io.TextIOBase):
    """Standard error in the place of standard output, which remembers whether something was printed."""

    heard = False

    def write(self, text: str) -> int:
        """Pass a text on."""
        self.heard = self.heard or bool(text.strip())
        return sys.stderr.write(text) if sys.stderr is not None else len(text)

    def flush(self) -> None:
        """Let it be seen now."""
        if sys.stderr is not None:
            sys.stderr.flush()

    def fileno(self) -> int:
        """Return the number of standard error, for processes that the user's code starts."""
        return sys.stderr.fileno()


@contextlib.contextmanager
def _visit(folder: Path, script: Path | None = None) -> Iterator[None]:
    """Run the inside as if Python had been started in `folder`; what it leaves in `sys` is taken away again."""
    path, argv, before = sys.path[:], sys.argv[:], {name.partition(".")[0] for name in sys.modules}
    known = any(Path(entry or ".").resolve() == folder for entry in path)
    _load_hidden(folder)
    sys.path.insert(0, str(folder))
    sys.argv[:] = [str(script)] if script else argv[:1]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:], sys.argv[:] = path, argv
        if not known:  # another folder may have files of the same names
            _forget(folder, before)


def _load_hidden(folder: Path) -> None:
    """Import those modules of Python's that files in `folder` would hide, so that they do not."""
    for name in {path.stem for path in folder.glob("*.py")} & sys.stdlib_module_names - JOKES:
        with contextlib.suppress(Exception):  # one for another system
            importlib.import_module(name)


def _forget(folder: Path, before: set[str]) -> None:
    """Take the modules that lie in `folder` itself, and what is in them, out of `sys.modules`."""
    for top in {name.partition(".")[0] for name in sys.modules} - before:
        module = sys.modules.get(top)
        places = [*getattr(module, "__path__", ()), getattr(module, "__file__", None)]
        if top.startswith(PREFIX) or not places or not places[0] or Path(places[0]).resolve().parent != folder:
            continue
        for name in [name for name in sys.modules if name.partition(".")[0] == top]:
            del sys.modules[name]


@contextlib.contextmanager
def _answers(what: str, folder: Path, stem: str = "") -> Iterator[None]:
    """Say in one line what goes wrong in the user's code; what it prints goes to standard error."""
    try:
        with contextlib.redirect_stdout(_Aside()):
            yield
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:  # SystemExit, too
        hint = _hint(error, folder, stem)
        raise InputError(f"{what}: {_words(error)}{_lines(error, folder)}{f'; {hint}' if hint else ''}") from error


@contextlib.contextmanager
def _noting(shown: str) -> Iterator[None]:
    """Recommend a guard if a file does more than to define things while it is imported."""
    aside, start = _Aside(), time.monotonic()
    with contextlib.redirect_stdout(aside):
        yield
    seconds = time.monotonic() - start
    if (aside.heard or seconds > SLOW) and sys.stderr is not None:
        did = "printed something" if aside.heard else f"took {seconds:.0f} seconds"
        print(f"note: {shown} {did} while it was imported; {GUARD}", file=sys.stderr)


def _words(error: BaseException) -> str:
    """Return what an error says, whatever it is."""
    kind = type(error).__name__
    try:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
    except Exception:  # its own __str__ is wrong
        text = ""
    return f"{kind}: {printable(' '.join(str(text).split()), 400)}" if text else kind


def _lines(error: BaseException, folder: Path) -> str:
    """Return the user's own lines on the way to the error, the last of them."""
    found = [(frame.filename, frame.lineno, frame.line) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        found.append((error.filename, error.lineno, error.text))
    shown = []
    for name, number, line in found:
        try:
            own = Path(name).resolve().relative_to(folder)
        except (ValueError, OSError):
            continue
        if "site-packages" not in own.parts and not name.startswith("<"):  # nor Python's own, like <frozen importlib>
            text = printable(" ".join((line or "").split()), MOST_LINE)
            shown.append(f"{printable(own)} line {number}" + (f" `{text}`" if text else ""))
    return f" (in {', '.join(shown[-MOST_LINES:])})" if shown else ""


def _hint(error: BaseException, folder: Path, stem: str) -> str:
    """Return what helps, where that is known."""
    for name, framework in BACKENDS.items():
        for module in framework.modules:
            if (other := hiding(module)) is not None:
                return f"{printable(other)} is in the way: it hides the installed {module}; rename it"
            if isinstance(error, ModuleNotFoundError) and error.name == module:
                return how_to_install(name)
    if isinstance(error, ImportError) and "relative import" in str(error) and stem:
        return f"a relative import needs a package: in {printable(folder.parent)} write {folder.name}.{stem}:NAME"
    return GUARD if isinstance(error, SystemExit) else ""


def _build(module: ModuleType, call: Call, shown: str, folder: Path) -> Any:
    """Return the model: the object itself, or what the class or function gives."""
    where = f"{shown}:{printable(call.name)}"
    found = _find(module, call, shown, folder)
    if is_model(found):
        if call.called:
            raise InputError(f"{where} is a model already, and is not called; leave the parentheses away")
        return found
    if not callable(found):
        raise InputError(f"{where} is {_kind(found)}; wanted is a model, or a class or function that makes one")
    _check_arguments(found, call, where)
    with _answers(f"{where} does not work", folder):
        model = found(*call.arguments, **call.options)
    if is_model(model):
        return model
    if inspect.iscoroutine(model):
        model.close()
    forgotten = " (is `return` missing?)" if model is None else ""
    called = " (write NAME() there, which makes one)" if inspect.isclass(model) else ""
    titles = " or ".join(framework.title for framework in BACKENDS.values())
    raise InputError(f"{where} gives {_kind(model)}{forgotten}{called}; wanted is a model of {titles}")


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    if inspect.isclass(value):
        return f"the class {printable(value.__name__)}"
    return f"an object of the kind {printable(type(value).__module__)}.{printable(type(value).__qualname__)}"


def _find(module: ModuleType, call: Call, shown: str, folder: Path) -> Any:
    """Return what the dotted name stands for, or say which names there are."""
    found: Any = module
    for part in call.name.split("."):
        try:
            with _answers(f"{shown}:{printable(call.name)} does not work", folder):
                found = getattr(found, part)
        except InputError as error:
            if not isinstance(error.__cause__, AttributeError):
                raise
            close = nearest(part, _possible(found))
            inside = shown if found is module else f"{shown}:{printable(call.name.rpartition(f'.{part}')[0])}"
            hint = f"it has {printable_list(close)}" if close else "it has neither classes nor functions"
            raise InputError(f"{inside} has no {quoted(part)}; {hint}") from error
    return found


def _possible(owner: Any) -> list[str]:
    """Return the names of what could make a model: those that are at home in the module or class, if there are any."""
    fit = {name: value for name, value in getattr(owner, "__dict__", {}).items() if callable(value)}
    fit = {name: value for name, value in fit.items() if not name.startswith("_")}
    home = getattr(owner, "__name__", None) if inspect.ismodule(owner) else None
    own = [name for name, value in fit.items() if is_model(value) or getattr(value, "__module__", None) == home]
    return own or list(fit)


def _check_arguments(found: Any, call: Call, where: str) -> None:
    """Raise `InputError` if a class or function wants other arguments, and show how they are written."""
    try:  # of a class its `__init__`: Keras' classes have a `__new__` that takes anything
        signature = inspect.signature(found.__init__ if inspect.isclass(found) else found)
    except (ValueError, TypeError):  # one that does not say what it takes
        return
    entries = list(signature.parameters.values())[1 if inspect.isclass(found) else 0 :]
    try:
        signature.replace(parameters=entries).bind(*call.arguments, **call.options)
    except TypeError as error:
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        needed = [each.name for each in entries if each.default is each.empty and each.kind in named]
        missing = [name for name in needed[len(call.arguments) :] if name not in call.options]
        if not missing:
            takes = printable_list(each.name for each in entries) or "nothing"
            raise InputError(f"{where} does not take these arguments: {error}; it takes {takes}") from error
        given = [*map(repr, call.arguments), *(f"{name}={value!r}" for name, value in call.options.items())]
        example = ", ".join([*given, *(f"{name}=10" for name in missing)])
        raise InputError(
            f"{where} wants the argument{'s' * (len(missing) > 1)} {printable_list(missing)}; write "
            f"{'them' if len(missing) > 1 else 'it'} behind the name, like :{call.name}({printable(example)})"
        ) from error
