"""Which process this is, and what the processes agree on."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable

import numpy as np
import pytest

from shared.base.errors import InputError, OtherProcessError
from shared.data.load import load_data
from shared.distributed.place import Place, place_of
from shared.distributed.team import Team, check_parts
from shared.training.batches import Batches
from shared.training.recipes import get_recipe
from tests.conftest import ROOT
from tests.distributed.support import ENVIRONMENT, LONG, WORKER, command_line

# -- who a process is


def test_the_place_is_read_from_what_torchrun_sets():
    assert place_of("torch", {}) is None
    assert place_of("torch", {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "0"}) == Place(rank=1, size=4)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "1"}, "WORLD_SIZE is ''; torchrun sets"),
        ({"RANK": "x", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, "RANK is 'x'"),
        (
            {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "TORCHELASTIC_RESTART_COUNT": "x"},
            "TORCHELASTIC_RESTART_COUNT is 'x'",
        ),
        ({"RANK": "2", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, "RANK is 2; it must be less than WORLD_SIZE, 2"),
    ],
)
def test_what_torchrun_cannot_have_set_is_refused(environment, message):
    with pytest.raises(InputError, match=re.escape(message)):
        place_of("torch", environment)


def test_the_place_is_read_from_tf_config():
    assert place_of("tf", {}) is None
    assert place_of("tf", {"TF_CONFIG": json.dumps(WORKER)}) == Place(rank=1, size=2, chief="10.0.0.1:2222")
    with_chief = {"cluster": {"chief": ["a:1"], "worker": ["b:1", "c:1"]}, "task": {"type": "worker", "index": 1}}
    assert place_of("tf", {"TF_CONFIG": json.dumps(with_chief)}) == Place(rank=2, size=3, chief="a:1")
    first = {**with_chief, "task": {"type": "chief", "index": 0}, "environment": "cloud"}
    assert place_of("tf", {"TF_CONFIG": json.dumps(first)}) == Place(rank=0, size=3, chief="a:1")


def changed(**parts: object) -> str:
    return json.dumps({**WORKER, **parts})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "TF_CONFIG is no JSON"),
        ("", "TF_CONFIG is no JSON"),
        ("[1]", "TF_CONFIG needs a cluster and a task, like"),
        ('{"cluster": {"worker": ["a:1"]}}', "TF_CONFIG needs a cluster and a task"),
        (changed(cluster={}), "a cluster of nobody"),
        (changed(cluster={"ps": ["a:1"], "worker": ["b:1"]}), "a cluster of ps; here all processes are workers"),
        (changed(cluster={"worker": "a:1"}), "wanted is a list of addresses"),
        (changed(cluster={"worker": ["a"]}), "worker is ['a']; wanted is a list of addresses"),
        (changed(cluster={"worker": ["a:99999"]}), "wanted is a list of addresses"),
        (changed(cluster={"chief": ["a:1", "b:1"]}), "names 2 chiefs"),
        (changed(task={"index": 0}), "the task's type is None; the cluster has worker"),
        (changed(task={"type": "chief", "index": 0}), "the task's type is 'chief'"),
        (changed(task={"type": "worker"}), "the task's index is None; allowed is 0 to 1"),
        (changed(task={"type": "worker", "index": "0"}), "the task's index is '0'"),
        (changed(task={"type": "worker", "index": 2}), "the task's index is 2; allowed is 0 to 1"),
    ],
)
def test_a_wrong_tf_config_is_explained(text, message):
    with pytest.raises(InputError, match=re.escape(message)):
        place_of("tf", {"TF_CONFIG": text})


def test_a_batch_must_be_cut_into_equal_parts():
    check_parts(64, 4)
    with pytest.raises(
        InputError, match=r"batch_size is 64, which 3 .*; try --set batch_size=63 or --set batch_size=66"
    ):
        check_parts(64, 3)
    with pytest.raises(InputError, match=r"try --set batch_size=4$"):
        check_parts(3, 4)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_the_parts_of_a_batch_are_the_batch(parts):
    batches = Batches(load_data("digits"), get_recipe("quick", ["flip=yes"]))
    teams = [Team(Place(rank=rank, size=parts), "") for rank in range(parts)]
    pieces = [batches.train_batch(2, 3, team.part(team.rank, 64)) for team in teams]
    for whole, each in zip(batches.train_batch(2, 3), zip(*pieces, strict=True), strict=True):
        np.testing.assert_array_equal(whole, np.concatenate(each))


@pytest.mark.slow
def test_a_part_of_one_image_of_which_one_pixel_is_left_is_refused_in_one_line(torch_twin, tmp_path):
    one_pixel = ["--model", "resnet18", "--set", "image_size=32", "--set", "batch_size=2"]
    command = command_line("torch", tmp_path / "run", *one_pixel)
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=LONG)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("Error: batch_size is 2, so that each process has 1 image, and from images of 32x32")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


# -- what they agree on


class Two(Team):
    """One of two processes; what the other one says is written down beforehand."""

    def __init__(self, rank: int, other: Callable[[np.ndarray], object] = np.zeros_like) -> None:
        super().__init__(Place(rank=rank, size=2), "test")
        self.other, self.said = other, []

    def sum(self, values):
        self.said.append(values.tolist())
        return values + np.asarray(self.other(values), np.float64)


def nothing(*_: object) -> object:
    raise AssertionError("only the chief does that")


def test_others_than_the_chief_write_nothing_and_do_not_test(run):
    follower = Two(1)
    with run:
        for _ in range(run.batches.steps_per_epoch):
            assert follower.after_step(run, 1.0, 1, nothing) is False
        assert follower.after_epoch(run, nothing, nothing) is False
    assert run.step == run.batches.steps_per_epoch
    assert not run.folder.exists()


def test_a_wish_of_one_to_stop_is_everybodys(run):
    """The chief is told after the step, so it stops after the next one; a follower does what the chief says."""
    assert Two(1, lambda _: [0, 0, 1]).after_step(run, 1.0, 1, nothing) is False
    assert run.stop_requested
    assert Two(1, lambda _: [0, 1, 0]).after_step(run, 1.0, 1, nothing) is True


def test_an_error_is_told_to_the_others_before_it_is_raised():
    team = Two(0)
    with pytest.raises(ZeroDivisionError):
        team.agree(lambda: 1 / 0)
    assert team.said == [[1, 0, 0]]
    with pytest.raises(OtherProcessError, match="another process failed"):
        Two(1, lambda _: [1, 0, 0]).agree(lambda: 5)
    assert Two(1).agree(lambda: 5) == 5


def test_what_differs_between_processes_is_refused():
    Two(0).check_same("a", "images")
    answers = iter([np.array([123.0]), np.zeros(1)])  # the chief's text has another number
    with pytest.raises(InputError, match="1 of 2 processes have other images than the chief"):
        Two(1, lambda _: next(answers)).check_same("a", "images")


def test_numbers_texts_and_arrays_come_from_the_chief():
    assert Two(0).text_from_chief("größer\n") == "größer\n"
    letters = np.frombuffer("größer".encode(), np.uint8)
    answers = iter([[len(letters)], letters])
    assert Two(1, lambda _: next(answers)).text_from_chief("") == "größer"
    array = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(Two(1, lambda _: array.ravel()).array_from_chief(array + 1), array)


WATCH = """
import socket, sys, time
from shared.distributed.team import ChiefWatch
server = socket.create_server(("127.0.0.1", 0))
ChiefWatch("127.0.0.1:%d" % server.getsockname()[1], 0.05).start()
server.listen()
for _ in range(4):
    server.accept()  # the watch knocks
print("alive", flush=True)
server.close()
time.sleep(60)
print("still alive")
"""


def test_who_waits_for_a_chief_that_is_gone_ends(run_python):
    result = run_python(WATCH)
    assert (result.returncode, result.stdout) == (1, "alive\n")
    assert re.search(r"^Error: the chief at 127.0.0.1:\d+ is gone; what was saved is whole", result.stderr)
