"""Malformed input costs no memory, and inputs that nobody thought of are answered, too."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shared.networks.spec import BLOCK_EXPANSION
from tests.cli.commands import endings, one_after_another
from tests.cli.malformed import needs_both, needs_torch, skip_without, tree
from tests.cli.malformed_commands import COMMANDS
from tests.cli.malformed_functions import BOTH_CASES, CASES, TWIN_CASES, name_of
from tests.conftest import ROOT

#: In bytes: what a malformed input may cost above what a good command needs.
MOST_MEMORY = 700_000_000

# -- memory

BOMBS = [
    ("predict {bad}/bomb.png --weights resnet8_digits", "none of the 1 pictures", (*needs_both, "PIL")),
    ("predict /dev/zero --weights resnet8_digits", "none of the 1 pictures", (*needs_both, "PIL")),
    ("evaluate resnet8_digits {bad}/bombs", "none of the 4 pictures", (*needs_both, "PIL")),
    ("evaluate resnet8_digits {bad}/bomb.tar.gz", "unpacks to 12\\d MB or more", needs_both),
    ("evaluate resnet8_digits {bad}/longname.tar.gz", "a name, or what is noted of a member", needs_both),
    ("evaluate resnet8_digits {bad}/table.tar.gz", "a name, or what is noted of a member", needs_both),
    ("evaluate resnet8_digits {bad}/members.tar.gz", "unpacks to", needs_both),
    ("evaluate resnet8_digits {bad}/sixteen", "has 2 classes, but resnet8_digits knows 10", (*needs_both, "PIL")),
    ("convert {bad}/bomb.keras out.safetensors", "unpacks to 3,000 MB", ("h5py",)),
    ("convert {bad}/hollow.h5 out.safetensors", "unpacks to 4,000,000 MB", ("h5py",)),
    ("convert {bad}/bomb.pth out.safetensors", "unpacks to 3,000 MB", needs_torch),
    ("convert {bad}/offsets.safetensors out.safetensors", "is no readable", ()),
    ("convert {bad}/long.safetensors out.safetensors", "is no readable", ()),
    ("train --data fashion-mnist --data-dir {place}", "is damaged|holds", needs_torch),
    ("train --model resnet18 --set image_size=4000", "needs about", needs_torch),
    ("microscope resnet18 --input-size 9000", "make input_size smaller", ()),
]


def without_pillow(modules: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(module for module in modules if module != "PIL")


#: The modules that some of them need, once each.
NEEDED = list(dict.fromkeys(without_pillow(case[2]) for case in BOMBS))


@pytest.fixture(scope="session")
def baseline() -> Callable[[tuple[str, ...]], int]:
    """The memory of a process that only imports what a command needs."""
    seen: dict[tuple[str, ...], int] = {}

    def measure(modules: tuple[str, ...]) -> int:
        if modules not in seen:
            seen[modules] = int(measured(f"import {', '.join(('numpy', *modules))}; "))
        return seen[modules]

    def measured(code: str) -> str:
        code += "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
        return done.stdout

    return measure


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no resource module")
@pytest.mark.parametrize("modules", NEEDED, ids=lambda modules: " ".join(modules) or "nothing")
def test_what_would_fill_the_memory_does_not(run_python, tmp_path, bad, baseline, modules):
    """One process for all that need the same modules: its memory never grows by what an input says that it holds."""
    skip_without((*modules, "PIL") if modules == needs_both else modules)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes((bad / "bomb.gz").read_bytes())
    before = tree(tmp_path)
    cases = [case for case in BOMBS if without_pillow(case[2]) == modules]
    lines = [case[0].format(bad=bad, place=tmp_path).split() for case in cases]
    ended = endings(run_python(one_after_another(lines), cwd=tmp_path, PYTHONPATH=str(ROOT)))
    allowed = MOST_MEMORY + baseline(modules)
    for (line, words, _), (code, errors, memory) in zip(cases, ended, strict=True):
        assert code == 2, f"{line}: {errors}"
        assert re.search(words, errors), f"{line}: {errors}"
        assert "Traceback" not in errors, line
        assert memory < allowed, line
    assert tree(tmp_path) == before


class Evil:
    """What runs code where a pickle is read."""

    def __reduce__(self) -> Any:
        return (open, ("pwned", "w"))


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "in a checkpoint"])
def test_a_pickle_that_would_run_code_does_not(call, torch_twin, tmp_path, wrapped):
    import pickle

    import torch

    if wrapped:
        torch.save({"state_dict": {"fc.bias": Evil()}}, tmp_path / "evil.pth")
    else:
        (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil()))
    result = call("convert", "evil.pth", "out.safetensors")
    assert result.returncode == 2
    assert "is refused" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["evil.pth"]


# -- the table itself


def commands() -> set[str]:
    """Every command of the command line, as it is typed."""
    import typer

    import shared.cli.main  # noqa: F401 (registers them)
    from shared.cli.app import app

    def below(group: Any, prefix: str) -> Iterator[str]:
        for name, each in group.commands.items():
            inner = getattr(each, "commands", None)
            yield from below(each, f"{prefix}{name} ") if inner else [f"{prefix}{name}"]

    return set(below(typer.main.get_command(app), ""))


def test_there_are_more_than_a_hundred_different_ones():
    lines = [line for line, *_ in COMMANDS]
    names = [name_of(case) for case in (*TWIN_CASES, *CASES, *BOTH_CASES)]
    for all_of_them in (lines, names):
        assert len(all_of_them) == len(set(all_of_them))
        assert len(all_of_them) >= 100


def test_every_command_has_a_malformed_input():
    lines = [line for line, *_ in COMMANDS]
    assert (
        commands() - {name for name in commands() if any(f"{line} ".startswith(f"{name} ") for line in lines)} == set()
    )


#: What takes nothing, what `load_weights` calls, and classes that `create_model` builds from what a spec has checked.
NOT_CALLED_SO = {"TITLE", "__version__", "devices", "PreActResNet", "ResNet", *BLOCK_EXPANSION}


def test_every_public_function_of_the_twins_has_a_malformed_input(twin):
    named = {name for name, *_ in TWIN_CASES}
    assert set(twin.__all__) - named - NOT_CALLED_SO == set()
    assert named <= set(twin.__all__)


#: Of `shared`: what takes the output of another function, or nothing that can be wrong, and what only tests use.
FOLLOWS = {"ask", "relative", "random_images", "resize", "recognise", "to_square", "data_folders", "exam"}
FOLLOWS |= {"plot_microscope", "plot_confusion", "dtype_scope"}


def test_every_function_of_shared_that_is_taught_has_a_malformed_input():
    """Those that the README, the documents, the tutorials and the assignments import."""
    places = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "tutorials").glob("**/src/*.py")]
    places += (ROOT / "tutorials").glob("assignments/*/notebook.py")
    taught = set()
    for place in places:
        found = re.findall(
            r"^\s*from shared[.\w]* import (?:\(([^)]*)\)|(.+))$", place.read_text("utf-8"), re.MULTILINE
        )
        taught |= {name.split(" as ")[0].strip(" ;") for pair in found for name in re.split(r"[,;\n]", "".join(pair))}
    taught = {name for name in taught if re.fullmatch(r"[A-Za-z]\w+", name) and not name.isupper()}
    assert {"get_spec", "load_data", "train", "evaluate"} <= taught
    named = {name for name, *_ in (*TWIN_CASES, *CASES, *BOTH_CASES)}
    named |= {name.split(".")[0] for name in named}
    assert taught - named - FOLLOWS - {"Split", "InputError"} == set()
