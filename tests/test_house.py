"""The house: `shared/` is wings in reading order, and a file imports only from its own wing or an earlier one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.backends import BACKENDS

ROOT = Path(__file__).parents[1]
WINGS = (
    "base",
    "networks",
    "data",
    "backends",
    "checkpoints",
    "twins",
    "testing",
    "training",
    "distributed",
    "bench",
    "classroom",
    "cli",
)
#: `bench` and `classroom` stand side by side: neither needs the other.
STRANGERS = {("bench", "classroom"), ("classroom", "bench")}
FRAMEWORKS = {"torch", "tensorflow", "keras", *(package for package, *_ in BACKENDS.values())}
FILES = sorted(path for path in (ROOT / "shared").rglob("*.py") if path.parent != ROOT / "shared" or path.stem in WINGS)


def wing_of(module: str) -> str:
    """Return the wing of `shared.WING...`; the empty text for `shared` itself, which everybody may import."""
    return module.split(".")[1] if "." in module else ""


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, module) for all that a file imports, also lazily, for types, by `import_module` and with `-m`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{path}:{node.lineno}: an import says whole names"
            yield node.lineno, node.module
            if node.module == "shared":
                yield from ((node.lineno, f"shared.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Constant) and re.fullmatch(r"shared(\.\w+)+", str(node.value)):
            yield node.lineno, str(node.value)


def modules_of(path: Path) -> list[tuple[int, str]]:
    return [(line, module) for line, module in imported(path) if module.split(".")[0] == "shared"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT / "shared").as_posix())
def test_a_file_imports_only_from_its_own_wing_or_an_earlier_one(path):
    own = wing_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    for line, module in modules_of(path):
        wing = wing_of(module)
        if wing in ("", "__version__"):
            continue
        where = f"{path.relative_to(ROOT)}:{line} imports {module}"
        assert wing in WINGS, f"{where}, which is in no wing"
        assert WINGS.index(wing) <= WINGS.index(own), f"{where}, from a later wing"
        assert (own, wing) not in STRANGERS, f"{where}; the two wings use none of each other"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT / "shared").as_posix())
def test_only_the_door_names_a_framework(path):
    if path == ROOT / "shared" / "backends.py":
        return
    found = [(line, module) for line, module in imported(path) if module.split(".")[0] in FRAMEWORKS]
    assert not found, f"{path.relative_to(ROOT)} imports {found}; ask shared/backends.py"


MOST_LINES = 500


def test_no_file_of_tests_is_longer_than_a_reader_likes():
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in (ROOT / "tests").rglob("*.py")}
    assert not {str(path): length for path, length in lengths.items() if length > MOST_LINES}
