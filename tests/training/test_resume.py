"""A run stops and goes on as if nothing had been, and only one process writes at a time."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from shared.base.errors import InputError, TrainingError
from shared.base.lock import only_one
from shared.checkpoints.ours import read_metadata
from shared.training.degradation import degradation
from shared.training.metrics import read_metrics
from shared.training.recipes import get_recipe
from shared.training.run import Reporter
from shared.training.start import open_runs, resume, train
from tests.training.support import Notes, StopAt, backend_name


@pytest.mark.parametrize("at", [22, 30], ids=["at an epoch's end", "in the second epoch"])
def test_a_run_that_was_stopped_ends_with_the_same_bits(twin, tmp_path, at):
    """Mirrored and cropped images, momentum and a changing rate included."""
    name, recipe = backend_name(twin), get_recipe("quick", ["steps=44", "flip=yes"])
    whole = train(recipe, framework=name, output=tmp_path / "whole").runs[name]
    stopped = train(recipe, framework=name, output=tmp_path / "stopped", reporter=lambda: StopAt(at))
    assert not stopped.complete
    assert stopped.runs[name].step == at, "the step that was begun is finished, and no other is begun"
    resumed = resume(tmp_path / "stopped").runs[name]
    first, second = (load_file(run.folder / "state.safetensors") for run in (whole, resumed))
    assert first.keys() == second.keys()
    assert [key for key in first if not np.array_equal(first[key], second[key])] == []
    assert [row["train_loss"] for row in whole.rows] == pytest.approx([row["train_loss"] for row in resumed.rows])
    assert [row["seconds"] for row in resumed.rows] == sorted(row["seconds"] for row in resumed.rows)


@pytest.mark.parametrize(
    "changes", [["optimizer=adam", "learning_rate=1e-3"], ["precision=float16", "batch_size=8"]], ids=["Adam", "16"]
)
def test_adam_and_a_scaled_loss_go_on_as_well(twin, tmp_path, changes):
    name, recipe = backend_name(twin), get_recipe("quick", ["steps=12", *changes])
    whole = train(recipe, framework=name, output=tmp_path / "whole").runs[name]
    train(recipe, framework=name, output=tmp_path / "stopped", reporter=lambda: StopAt(5))
    resumed = resume(tmp_path / "stopped").runs[name]
    first, second = (load_file(run.folder / "last.safetensors") for run in (whole, resumed))
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_both_twins_write_the_same_state(torch_twin, keras_twin, tmp_path):
    result = train(get_recipe("quick", ["steps=3"]), framework="both", output=tmp_path / "both")
    states = [load_file(run.folder / "state.safetensors") for run in result.runs.values()]
    shapes = [{key: array.shape for key, array in state.items() if "/" in key} for state in states]
    assert shapes[0] == shapes[1]
    assert (tmp_path / "both" / "recipe.toml").exists()
    assert result.loss_differences()[0] < 1e-5


def test_a_run_of_both_that_was_stopped_in_the_first_goes_on_with_the_second(torch_twin, keras_twin, tmp_path):
    recipe = get_recipe("quick", ["steps=12"])
    stopped = train(recipe, framework="both", output=tmp_path / "both", reporter=lambda: StopAt(4))
    assert list(stopped.runs) == ["torch"]
    resumed = resume(tmp_path / "both")
    assert [run.step for run in resumed.runs.values()] == [12, 12]
    assert resumed.complete


def flip(path: Path, offset: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1 << bit
    path.write_bytes(content)


def test_the_previous_state_stands_in_for_one_that_is_damaged_and_this_is_said(stopped):
    folder, whole, notes = stopped
    flip(folder / "state.safetensors", -1000)
    resumed = resume(folder, reporter=lambda: notes)
    (text,) = notes.texts
    assert "state.safetensors is damaged: its content has another SHA-256" in text
    assert text.endswith("going on with state.previous.safetensors, after step 22 (1 more was done, and is done again)")
    assert resumed.complete
    assert [row["step"] for row in read_metrics(folder)] == list(range(1, 31))
    for name in ("state", "last", "best"):
        first, second = (load_file(place / f"{name}.safetensors") for place in (whole, folder))
        assert [key for key in first if not np.array_equal(first[key], second[key])] == []


def test_a_kill_between_the_two_states_costs_nothing(stopped):
    """The last one has become the previous one, the new one has not got its name yet."""
    folder, _, notes = stopped
    (folder / "state.safetensors").replace(folder / "state.previous.safetensors")
    run = open_runs(folder, reporter=lambda: notes)["torch"]
    assert run.step == 23
    assert notes.texts == ["state.safetensors is missing: going on with state.previous.safetensors, after step 23"]


def test_a_damaged_state_never_replaces_the_good_one_before_it(stopped):
    folder, _, _ = stopped
    good = (folder / "state.previous.safetensors").read_bytes()
    flip(folder / "state.safetensors", 2000)
    resume(folder, reporter=lambda: StopAt(24))  # saves once
    assert (folder / "state.previous.safetensors").read_bytes() == good
    assert open_runs(folder)["torch"].step == 24


def test_two_damaged_states_are_explained(stopped):
    folder, _, _ = stopped
    state, previous = folder / "state.safetensors", folder / "state.previous.safetensors"
    state.write_bytes(state.read_bytes()[:-9])
    flip(previous, 3000)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(InputError, match=r"no good state is left in .*; delete .* to begin the run anew"):
        resume(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_state_of_an_earlier_version_has_no_hash_and_one_of_ours_must_have_it(stopped):
    from safetensors.numpy import save_file

    folder, _, notes = stopped
    path = folder / "state.safetensors"
    arrays, metadata = load_file(path), read_metadata(path)
    old = {key: metadata[key] for key in ("step", "seconds", "best")}
    save_file(arrays, path, old)
    assert open_runs(folder, reporter=lambda: notes)["torch"].step == 23
    assert notes.texts == []
    save_file(arrays, path, {**old, "format": metadata["format"]})
    assert open_runs(folder, reporter=lambda: notes)["torch"].step == 22
    assert "another SHA-256" in notes.texts[0]


def test_other_damaged_files_of_a_run_are_explained(stopped):
    folder, _, notes = stopped
    metrics, about, recipe = folder / "metrics.csv", folder / "run.json", folder / "recipe.toml"
    good = {path: path.read_bytes() for path in (metrics, about, recipe)}
    header = good[metrics].splitlines(keepends=True)[0]
    for content in (b"", header, b"step,epoch\n1,x\n", good[metrics].replace(b"1", b"2", 1), b"\0" + good[metrics]):
        metrics.write_bytes(content)
        with pytest.raises(InputError, match=r"metrics.csv is damaged; delete it to go on without the rows before"):
            resume(folder)
    metrics.write_bytes(good[metrics])
    for content in (b"{", good[about].replace(b'"threads": 0', b'"threads": 2'), b"[" * 100_000):
        about.write_bytes(content)
        with pytest.raises(InputError, match=r"run.json is damaged"):
            resume(folder)
    about.write_bytes(good[about])
    recipe.write_bytes(good[recipe].replace(b"momentum = 0.9", b"momentum = 0.8"))
    with pytest.raises(InputError, match=r"recipe.toml is not the recipe that this run began with"):
        resume(folder)
    recipe.unlink()
    flip(folder / "best.safetensors", -1)
    run = resume(folder, reporter=lambda: notes).runs["torch"]
    assert run.recipe == get_recipe("quick", ["steps=30"])
    assert recipe.read_bytes() == good[recipe], "it was written anew"
    assert "best.safetensors is damaged" in notes.texts[0]
    with pytest.raises(InputError, match="holds no training run"):
        resume(folder.parent)


#: What is said when a file of a run is not there any more; None: nothing needs to be said.
DELETED = {
    "state.safetensors": "state.safetensors is missing: going on with state.previous.safetensors, after step 22",
    "state.previous.safetensors": None,
    "best.safetensors": "from here on best.safetensors is the best of the epochs to come",
    "last.safetensors": None,
    "metrics.csv": "metrics.csv is missing: the curve begins at step 24",
    "recipe.toml": None,
}


def test_a_deleted_file_of_a_run_costs_no_bit_of_the_weights_and_is_said(stopped, tmp_path):
    folder, whole, _ = stopped
    assert {path.name for path in folder.iterdir()} >= {*DELETED, "run.json"}
    for name, said in DELETED.items():
        copy, notes = tmp_path / "copy", Notes()
        shutil.copytree(folder, copy)
        (copy / name).unlink()
        assert resume(copy, reporter=lambda notes=notes: notes).complete
        assert len(notes.texts) == (said is not None), f"{name}: {notes.texts}"
        assert said is None or said in notes.texts[0]
        assert {path.name for path in copy.iterdir()} == {path.name for path in whole.iterdir()}, (
            "all are there again, and the figures"
        )
        for each in ("state", "last"):
            first, second = (load_file(place / f"{each}.safetensors") for place in (whole, copy))
            assert [key for key in first if not np.array_equal(first[key], second[key])] == [], name
        first_step = 24 if name == "metrics.csv" else 1
        assert [row["step"] for row in read_metrics(copy)] == list(range(first_step, 31))
        shutil.rmtree(copy)


def test_a_run_without_any_state_begins_anew_and_says_so(stopped):
    folder, whole, notes = stopped
    for name in ("state.safetensors", "state.previous.safetensors"):
        (folder / name).unlink()
    assert open_runs(folder, reporter=lambda: notes)["torch"].step == 0
    assert notes.texts == [
        "state.safetensors and state.previous.safetensors are missing: the run begins anew, at step 1"
    ]
    assert resume(folder).complete
    assert [row["step"] for row in read_metrics(folder)] == list(range(1, 31))
    first, second = (load_file(place / "state.safetensors") for place in (whole, folder))
    assert [key for key in first if not np.array_equal(first[key], second[key])] == []


def test_lost_metrics_are_said_in_every_case_and_only_then(stopped):
    folder, whole, notes = stopped
    rows = (whole / "metrics.csv").read_text().splitlines(keepends=True)
    (folder / "metrics.csv").write_text("".join([rows[0], *rows[24:]]))  # a kill came between these and their state
    assert open_runs(folder, reporter=lambda: notes)["torch"].rows == []
    assert notes.texts.pop() == "metrics.csv has no rows up to there: the curve begins at step 24"
    (whole / "metrics.csv").unlink()
    assert open_runs(whole, reporter=lambda: notes)["torch"].complete
    assert notes.texts.pop() == "metrics.csv is missing: there is no curve"
    for name in ("metrics.csv", "state.safetensors", "state.previous.safetensors"):
        (folder / name).unlink()  # as a kill before the first save leaves it
    assert open_runs(folder, reporter=lambda: notes)["torch"].step == 0
    assert notes.texts == []


def test_the_command_says_that_metrics_are_missing(stopped, call):
    folder, _, _ = stopped
    (folder / "metrics.csv").unlink()
    result = call("train", "--resume", folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert "metrics.csv is missing: the curve begins at step 24\n" in result.stdout


def test_without_run_json_the_message_says_what_can_still_be_done(stopped, call):
    folder, _, _ = stopped
    (folder / "run.json").unlink()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    result = call("train", "--resume", folder)
    advice = (
        f"start a new run. The weights of this one need no run.json: resnet-twins evaluate {folder}/best.safetensors"
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert f"{folder} holds no training run (no run.json in it); {advice} --data NAME\n" in result.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert call("evaluate", folder / "best.safetensors", "--data", "digits", "--framework", "torch").returncode == 0
    (folder / "run.json").write_text("{")
    (folder / "best.safetensors").unlink()
    with pytest.raises(InputError, match=r"run.json is damaged .*; start a new run.*evaluate .*last.safetensors"):
        resume(folder)


def test_a_twin_without_run_json_goes_on_by_that_of_both(torch_twin, keras_twin, tmp_path):
    train(get_recipe("quick", ["steps=12"]), framework="both", output=tmp_path / "both", reporter=lambda: StopAt(4))
    (tmp_path / "both" / "torch" / "run.json").unlink()
    assert open_runs(tmp_path / "both")["torch"].step == 4
    assert resume(tmp_path / "both").complete
    assert (tmp_path / "both" / "torch" / "run.json").exists(), "it was written anew"


def test_the_twins_of_both_go_on_one_by_one_without_the_run_json_around_them(torch_twin, keras_twin, tmp_path):
    train(get_recipe("quick", ["steps=12"]), framework="both", output=tmp_path / "both", reporter=lambda: StopAt(4))
    (tmp_path / "both" / "run.json").unlink()
    with pytest.raises(InputError, match=r"go on one by one: resnet-twins train --resume .*both.torch"):
        resume(tmp_path / "both")
    assert resume(tmp_path / "both" / "torch").complete


def test_an_experiment_without_the_metrics_of_a_network_says_what_to_do(torch_twin, tmp_path):
    recipe = get_recipe("quick", ["steps=2"])
    place = tmp_path / "both" / "plain20_cifar"
    train(get_recipe(recipe, ["model=plain20_cifar"]), output=place)
    (place / "metrics.csv").unlink()
    with pytest.raises(InputError, match=r"metrics.csv is missing or has no first rows.*; delete .*plain20_cifar, and"):
        list(degradation(recipe, [20, 32], tmp_path / "both"))


def test_the_curve_of_a_run_whose_first_rows_are_lost_has_the_right_epochs(trained):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from shared.training.curves import plot_curves

    (whole,), (part,) = (plot_curves({"torch": rows}, "t").axes[2].lines for rows in (trained.rows, trained.rows[20:]))
    assert list(part.get_xdata()) == list(whole.get_xdata())[20:]


# -- one process at a time


def test_a_second_process_in_the_same_folder_is_refused_and_may_read(stopped, call):
    folder, _, _ = stopped
    with only_one(folder):
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        resumed = call("train", "--resume", folder)
        fresh = call("train", "--output", folder)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        assert open_runs(folder)["torch"].step == 23
    assert (resumed.returncode, fresh.returncode) == (2, 2)
    assert f"Error: {folder} is in use by process {os.getpid()} on " in resumed.stderr
    assert {path.name for path in folder.iterdir()} == before.keys() - {"run.lock", "run.lock.txt"}


def test_a_second_start_in_the_same_empty_folder_is_refused(torch_twin, tmp_path):
    (tmp_path / "run").mkdir()
    with only_one(tmp_path / "run"), pytest.raises(InputError, match="is in use by process"):
        train(get_recipe("quick", ["steps=2"]), output=tmp_path / "run")
    assert not list((tmp_path / "run").iterdir()), "the folder counts as empty, and stays"


def test_an_experiment_that_runs_already_is_refused(torch_twin, tmp_path, call):
    (tmp_path / "runs" / "degradation").mkdir(parents=True)
    with only_one(tmp_path / "runs" / "degradation"):
        result = call("experiment", "degradation", "--epochs", "1")
    assert (result.returncode, "is in use by process" in result.stderr) == (2, True)


def test_what_a_killed_start_leaves_behind_is_no_obstacle(torch_twin, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    left = {"run.lock", "run.lock.txt", "tmp-abc-run.json", "tmp-probe", "tmp-abc-tmp-probe"}
    for name in left:
        (folder / name).write_text("x")
    assert train(get_recipe("quick", ["steps=2"]), output=folder).complete
    assert not {path.name for path in folder.iterdir()} & left
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "tmp-thesis.txt").write_text("dear reader")
    with pytest.raises(InputError, match="something is there already"):
        train(get_recipe("quick", ["steps=2"]), output=tmp_path / "mine")


def test_a_folder_that_vanishes_ends_the_run_in_one_line(twin, tmp_path):
    class Vanish(Reporter):
        def step(self, run, row) -> None:
            if run.step == 25:
                shutil.move(run.folder, tmp_path / "elsewhere")

    name = backend_name(twin)
    with pytest.raises(TrainingError, match=r"step \d+: the folder .* is gone .*--resume FOLDER"):
        train(get_recipe("quick", ["epochs=3"]), framework=name, output=tmp_path / "run", reporter=Vanish)
    assert not (tmp_path / "run").exists()
    assert open_runs(tmp_path / "elsewhere")[name].step == 22, "what was saved before is whole"


def test_a_complete_run_is_not_trained_again(torch_twin, tmp_path):
    train(get_recipe("quick", ["steps=3"]), output=tmp_path / "run")
    with pytest.raises(InputError, match="is complete: all steps are done"):
        resume(tmp_path / "run")
    assert open_runs(tmp_path / "run")["torch"].complete
