"""Folders of runs that somebody else has filled."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

from shared.base.errors import InputError
from shared.base.lock import HOLDER, LOCK, only_one
from shared.training.degradation import CURVES_CSV, FIGURE, GRADIENTS_CSV, degradation
from shared.training.folder import ABOUT, OWN_FILES, STATE, TENSORBOARD, remove_leftovers
from shared.training.recipes import get_recipe
from shared.training.record import read_about
from shared.training.start import resume, train
from tests.training.foreign import picture

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows lets few people make links")

# -- what may stand where a file belongs


def link(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "victim.txt")


def link_to_folder(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def link_to_nothing(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "new.txt")


def link_loop(path: Path, outside: Path) -> None:
    path.symlink_to(path.name)


def link_to_device(path: Path, outside: Path) -> None:
    path.symlink_to("/dev/zero")


def link_to_its_own_file(path: Path, outside: Path) -> None:
    (outside / "copy").write_bytes(b"")
    path.symlink_to(outside / "copy")


def pipe(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def listener(path: Path, outside: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as each:
        try:
            os.chdir(path.parent)  # the path of a socket must be short
            each.bind(path.name)
        finally:
            os.fchdir(here)
            os.close(here)


def folder(path: Path, outside: Path) -> None:
    path.mkdir()


def full_folder(path: Path, outside: Path) -> None:
    path.mkdir()
    (path / "mine.txt").write_text("mine")


KINDS = (
    link,
    link_to_folder,
    link_to_nothing,
    link_loop,
    link_to_device,
    link_to_its_own_file,
    pipe,
    listener,
    folder,
    full_folder,
)
names_of_kinds = pytest.mark.parametrize("put", KINDS, ids=[kind.__name__ for kind in KINDS])


def take_away(path: Path) -> None:
    path.unlink(missing_ok=True)


# -- a folder that is gone on with


@names_of_kinds
@pytest.mark.parametrize("name", [*OWN_FILES])
def test_a_run_with_anything_but_a_file_of_its_own_is_refused_and_nothing_happens(copy, call, name, put):
    take_away(copy.run / name)
    put(copy.run / name, copy.outside)
    before = picture(copy.root)
    result = call("train", "--resume", copy.run)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Error: {copy.run / name} is ")
    assert "belongs there; take it away" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert picture(copy.root) == before


@names_of_kinds
def test_events_go_into_no_folder_but_the_run_s_own(copy, call, put):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    put(copy.run / TENSORBOARD, copy.outside)
    before = picture(copy.root)
    result = call("train", "--resume", copy.run, "--tensorboard")
    if put in (folder, full_folder):
        assert result.returncode == 0, result.stderr
        events = [path.name for path in (copy.run / TENSORBOARD).iterdir() if path.name.startswith("events")]
        assert len({name.rpartition(".")[2] for name in events}) == len(events) == 1, "nobody can guess its name"
    else:
        assert (result.returncode, "a folder belongs there" in result.stderr) == (2, True)
        assert picture(copy.root) == before


@names_of_kinds
@pytest.mark.parametrize("inside", ["", STATE, HOLDER])
def test_a_run_of_both_twins_does_not_leave_its_folder(copy, call, inside, put):
    """Its twins lie in folders of their own, each with all files of a run."""
    about = json.loads((copy.run / ABOUT).read_text())
    about.pop("sha256")
    both = copy.root / "both"
    both.mkdir()
    (both / ABOUT).write_text(json.dumps({**about, "framework": "both"}))
    if inside:
        shutil.copytree(copy.run, both / "torch")
        take_away(both / "torch" / inside)
        put(both / "torch" / inside, copy.outside)
    else:
        put(both / "torch", copy.run if put is link_to_folder else copy.outside)
    before = picture(copy.root)
    if not inside and put in (folder, full_folder):
        read_about(both)
        return
    result = call("train", "--resume", both)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Error: {both / 'torch' / inside} is ")
    assert picture(copy.root) == before


@names_of_kinds
def test_leftovers_are_deleted_only_if_they_are_files(copy, put):
    put(copy.run / "tmp-mine", copy.outside)
    (copy.run / "tmp-ours").write_text("x")
    (copy.run / ".tmp123").write_text("x")
    before = picture(copy.root)
    remove_leftovers(copy.run)
    left = set(before) - set(picture(copy.root))
    assert left == {"run/tmp-ours", "run/.tmp123"}


def test_a_file_with_a_second_name_elsewhere_is_replaced_and_not_written_into(copy):
    """A hard link: the same file under two names."""
    victims = {}
    for number, name in enumerate(entry for entry in OWN_FILES if entry != LOCK):
        other = copy.outside / f"{number}.txt"
        if (copy.run / name).exists():
            os.link(copy.run / name, other)
        else:
            other.write_text("precious")
            os.link(other, copy.run / name)
        victims[other] = other.read_bytes()
    assert resume(copy.run).complete
    assert {path: path.read_bytes() for path in victims} == victims


def test_a_lock_with_a_second_name_is_not_even_opened(copy, call):
    os.link(copy.outside / "victim.txt", copy.run / LOCK)
    before = picture(copy.root)
    result = call("train", "--resume", copy.run)
    assert (result.returncode, "is the same file as another one (a hard link)" in result.stderr) == (2, True)
    assert picture(copy.root) == before


def test_the_folder_itself_may_be_a_link(copy):
    (copy.root / "mine").symlink_to(copy.run)
    assert resume(copy.root / "mine").complete
    assert (copy.root / "mine").is_symlink()


def test_who_holds_a_folder_is_told_without_following_a_link(copy):
    with only_one(copy.run):
        (copy.run / HOLDER).unlink()
        (copy.run / HOLDER).write_text("process 1\x1b]0;x\x07\r on \u202e" + "y" * 500)
        with pytest.raises(InputError, match="is in use by") as told, only_one(copy.run):
            pass
        assert str(told.value).isprintable()
        assert len(str(told.value)) < 600
        (copy.run / HOLDER).write_text("y" * 10_000)
        with pytest.raises(InputError, match="is in use by another process"), only_one(copy.run):
            pass


# -- a folder for a new run


@names_of_kinds
@pytest.mark.parametrize("name", [STATE, ABOUT, LOCK, HOLDER, TENSORBOARD, "tmp-probe", "tmp-x-run.json", "torch"])
def test_a_new_run_takes_no_folder_in_which_something_stands(call, torch_twin, tmp_path, name, put):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "victim.txt").write_text("precious")
    (tmp_path / "new").mkdir()
    put(tmp_path / "new" / name, tmp_path / "outside")
    before = picture(tmp_path)
    result = call("train", "--output", "new", "--set", "steps=2")
    assert (result.returncode, "something is there already" in result.stderr) == (2, True)
    assert len(result.stderr.splitlines()) == 1
    assert picture(tmp_path) == before


@pytest.mark.parametrize("name", [LOCK, HOLDER, "tmp-probe", "tmp-x-run.json"])
def test_a_new_run_changes_nothing_that_has_a_second_name(torch_twin, tmp_path, name):
    (tmp_path / "victim.txt").write_text("precious")
    (tmp_path / "new").mkdir()
    os.link(tmp_path / "victim.txt", tmp_path / "new" / name)
    if name == LOCK:
        with pytest.raises(InputError, match="hard link"):
            train(get_recipe("quick", ["steps=2"]), output=tmp_path / "new")
    else:
        assert train(get_recipe("quick", ["steps=2"]), output=tmp_path / "new").complete
    assert (tmp_path / "victim.txt").read_text() == "precious"


def test_a_name_that_leads_nowhere_is_no_free_name(torch_twin, call, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "quick-torch-1").symlink_to(tmp_path / "elsewhere")
    result = call("train", "--set", "steps=2")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "runs" / "quick-torch-2" / ABOUT).exists()
    assert not (tmp_path / "elsewhere").exists()


# -- an experiment, a benchmark


@names_of_kinds
@pytest.mark.parametrize("name", [CURVES_CSV, GRADIENTS_CSV, FIGURE, HOLDER, "resnet32_cifar"])
def test_an_experiment_writes_into_its_own_folder_only(torch_twin, tmp_path, name, put):
    place, outside = tmp_path / "place", tmp_path / "outside"
    for each in (place, outside):
        each.mkdir()
    (outside / "victim.txt").write_text("precious")
    put(place / name, outside)
    before = picture(tmp_path)
    if name.endswith("_cifar") and put in (folder, full_folder):
        return  # a folder is what belongs there
    with pytest.raises(InputError, match="belongs there; take it away"):
        list(degradation(get_recipe("degradation-digits", ["steps=2"]), [20, 32], place))
    assert picture(tmp_path) == before


@names_of_kinds
@pytest.mark.parametrize("name", ["bench.json", "bench.md", "speed.png", "growth.png"])
def test_a_benchmark_writes_into_its_own_folder_only(call, tmp_path, name, put):
    (tmp_path / "place").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "victim.txt").write_text("precious")
    put(tmp_path / "place" / name, tmp_path / "outside")
    before = picture(tmp_path)
    result = call("bench", "--quick", "--only", "imports", "--output", "place")
    assert (result.returncode, "belongs there; take it away" in result.stderr) == (2, True)
    assert len(result.stderr.splitlines()) == 1
    assert picture(tmp_path) == before
