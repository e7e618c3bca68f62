"""The benchmark: that the peers do the same work, that ratios are right, and that what the pages say was measured."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.base.errors import InputError
from shared.base.versions import is_installed
from shared.bench.contest import Contestant, Outcome, Timing, run_race
from shared.bench.images import images_for, read_images, save_images
from shared.bench.measure import measure, parts
from shared.bench.profile import OTHER, by_kind
from shared.bench.races import APPLICATIONS, OURS, USUAL, Contender, Job, Race, ceilings, macs, races
from shared.bench.report import race_table, to_markdown
from shared.bench.results import FILE, Results, read_results
from shared.bench.starts import EMPTY, Start, measure_starts
from shared.bench.worker import peak_megabytes, recipe_of
from shared.networks.catalog import get_spec
from shared.networks.table import count_parameters

ROOT = Path(__file__).parents[2]
TINY = Job(what="train", model="resnet8_digits", batch_size=4, image_size=8, in_channels=1)


def spec_of(job: Job):
    return get_spec(
        job.model, num_classes=job.num_classes, in_channels=job.in_channels, input_size=max(job.image_size, 17)
    )


# -- the peers


@pytest.mark.parametrize("name", ["resnet20_cifar", "resnet18_d2l", "resnet18", "resnet50"])
def test_the_usual_pytorch_network_is_the_same_function_as_ours(torch_twin, name):
    """A race against a network that does less or more work would say nothing."""
    import torch

    from resnet_torch.bench import peers

    spec = get_spec(name)
    job = Job(what="train", model=name, image_size=64, in_channels=spec.in_channels, who=USUAL)
    ours = torch_twin.create_model(name, seed=0, num_classes=job.num_classes).eval()
    theirs = peers.build(job).eval()
    ours_state, theirs_state = ours.state_dict(), theirs.state_dict()
    assert [tuple(a.shape) for a in theirs_state.values()] == [tuple(a.shape) for a in ours_state.values()]
    theirs.load_state_dict(dict(zip(theirs_state, ours_state.values(), strict=True)))
    images = torch.randn(2, spec.in_channels, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(theirs(images), ours(images), rtol=1e-4, atol=1e-4)


def test_keras_applications_resnet50_has_as_many_parameters_as_the_twin_it_runs_against(keras_twin):
    race = next(race for race in races() if race.name == "train-resnet50-keras")
    theirs = next(entry.job for entry in race.contenders if entry.job.who == APPLICATIONS)
    from resnet_tf.bench import peers

    model = peers.build(theirs)
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == count_parameters(spec_of(theirs))


@pytest.mark.parametrize("quick", [True, False], ids=["quick", "all"])
def test_every_race_has_both_twins_and_contenders_that_do_the_same_work(quick):
    for race in races(quick=quick):
        jobs = [entry.job for entry in race.contenders]
        assert len({entry.label for entry in race.contenders}) == len(jobs), f"{race.name}: two of one name"
        assert len({(job.what, job.model, job.batch_size, job.image_size, job.num_classes) for job in jobs}) == 1
        if race.name != "data":  # both twins are fed by the same code
            assert {job.backend for job in jobs if job.who == OURS} == {"torch", "tf"}, race.name
        assert race.name in parts(quick=quick)


# -- what is computed from the times


def outcome(*rates: list[float]) -> Outcome:
    entries = tuple(Contender(label=f"number {n}", job=TINY) for n in range(len(rates)))
    timings = [Timing(label=e.label, job=e.job, rates=r) for e, r in zip(entries, rates, strict=True)]
    return Outcome(race=Race(name="train-resnet20", title="a race", contenders=entries), timings=timings)


def test_a_ratio_is_the_median_of_pairs_and_not_the_ratio_of_medians():
    """The computer was four times as fast in the second round: that must not show."""
    found = outcome([10.0, 40.0, 10.0], [20.0, 80.0, 30.0])
    assert found.ratio(found.timings[1]) == (2.0, 2.0, 3.0)


def test_whoever_failed_has_no_ratio_and_the_next_one_is_the_reference():
    found = outcome([], [20.0, 20.0], [10.0, 20.0])
    assert found.ratio(found.timings[0]) is None
    assert found.ratio(found.timings[2]) == (0.75, 0.5, 1.0)
    found.timings[0].failed = "tensorflow not installed"
    assert race_table(found, {}).notes == ("number 0 is left out: tensorflow not installed",)


def test_the_share_of_the_ceiling_counts_two_operations_and_three_passes():
    timing = Timing(label="", job=TINY, rates=[1000.0])
    flops = macs(TINY) * 2 * 3 * 1000.0
    assert timing.share({"float32": 2 * flops / 1e9}) == pytest.approx(0.5)
    assert timing.share({"bfloat16": 1.0}) is None
    predicting = Timing(label="", job=replace(TINY, what="predict"), rates=[1000.0])
    assert predicting.share({"float32": 2 * flops / 1e9}) == pytest.approx(0.5 / 3)


def test_operations_of_both_frameworks_are_sorted_by_kind():
    names = {
        "aten::convolution_backward": 4.0,
        "_MklNativeConv2DBackpropFilter": 4.0,
        "aten::native_batch_norm": 2.0,
        "_FusedBatchNormEx": 2.0,
        "aten::threshold_backward": 1.0,
        "what nobody knows": 0.5,
    }
    found = {kind: sum_ for kind, sum_ in by_kind(names).items() if sum_}
    assert found == {"BatchNorm": 4.0, "convolutions": 8.0, "ReLU and sums": 1.0, OTHER: 0.5}


# -- real processes


def test_contenders_work_in_turns_in_processes_of_their_own(torch_twin):
    entries = (
        Contender(label="ours", job=TINY),
        Contender(label="channels first", job=replace(TINY, channels_last=False)),
        Contender(label="broken", job=replace(TINY, model="resnet8_digit")),
    )
    said: list[str] = []
    found = run_race(Race(name="x", title="x", contenders=entries), rounds=2, seconds=0.05, say=said.append)
    ours, other, broken = found.timings
    assert len(ours.rates) == len(other.rates) == 2
    assert all(rate > 1 for rate in ours.rates)
    assert "resnet8_digit" in broken.failed
    assert not broken.rates
    order = [line.rpartition(", ")[2] for line in said if "round" in line]
    assert order == ["ours", "channels first", "channels first", "ours"], "each comes first once"


def test_training_from_pixels_is_the_real_training_with_its_folder(torch_twin, tmp_path, monkeypatch):
    """An "epoch" job measures `shared.training.start.train` itself, on the images that it is given."""
    monkeypatch.delenv("RESNET_TWINS_DATA", raising=False)
    job = replace(TINY, what="epoch", recipe="quick")
    assert recipe_of(job).model == "resnet8_digits"
    data, what = images_for(job)
    assert what == "digits"
    save_images(tmp_path / "images.safetensors", data)
    assert np.array_equal(read_images(tmp_path / "images.safetensors").train.images, data.train.images)
    contestant = Contestant(replace(job, images=str(tmp_path / "images.safetensors")))
    try:
        contestant.ask("warm")
        assert contestant.ask("go 0.05")["images"] % 4 == 0
    finally:
        contestant.end()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["train", "predict", "epoch", "matmul"])
def test_every_kind_of_work_runs_in_both_frameworks(twin, what, tmp_path):
    backend = "torch" if twin.__name__ == "resnet_torch" else "tf"
    job = replace(TINY, backend=backend, what=what, recipe="quick" if what == "epoch" else "")
    job = replace(job, image_size=64) if what == "matmul" else job
    save_images(tmp_path / "images.safetensors", images_for(replace(job, recipe="quick"))[0])
    contestant = Contestant(replace(job, images=str(tmp_path / "images.safetensors")))
    try:
        contestant.ask("warm")
        answer = contestant.ask("go 0.1")
        assert answer["images"] > 0
        assert answer["megabytes"] > 50 or sys.platform == "win32"
        if what == "train":
            operations = contestant.ask("profile 2")["operations"]
            assert by_kind(operations)["convolutions"] > 0
            assert by_kind(operations)["BatchNorm"] > 0
    finally:
        contestant.end()


@pytest.mark.slow
def test_every_variant_of_keras_runs(keras_twin):
    from shared.bench.races import KERAS_VARIANTS

    entries = [Contender(label=n, job=replace(TINY, backend="tf", variant=n)) for n in KERAS_VARIANTS]
    for entry in entries:  # one at a time: eight TensorFlows need too much memory
        found = run_race(Race(name="x", title="x", contenders=(entry,)), rounds=1, seconds=0.1)
        assert found.timings[0].rates, f"{entry.label}: {found.timings[0].failed}"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_peak_memory_is_that_of_the_process_and_not_of_the_one_that_started_it():
    held = np.ones(400_000_000 // 8)
    code = "from shared.bench.worker import peak_megabytes; print(peak_megabytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert peak_megabytes() > 400
    assert float(done.stdout) < 200, "the parent's memory was counted"
    assert held.sum() > 0


FAULTS = """
import platform, resource
from shared.base.machine import keeping_memory

def faults(times=10, size=48_000_000):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        b"x" * size
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize() / (times * size)

def held():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) / 1000

with keeping_memory():
    faults(1)
    kept, most = faults(), held()
print(platform.libc_ver()[0], faults(), kept, most - held())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_freed_memory_is_kept_while_training_and_given_back_afterwards(run_python):
    done = run_python(FAULTS)
    assert done.returncode == 0, done.stderr
    library, usual, kept, given_back = done.stdout.split()
    if library != "glibc":
        pytest.skip(f"the C library is {library}")
    assert float(usual) > 0.9, "share of the array's pages that the system had to give again: all of them"
    assert float(kept) < 0.1
    assert float(given_back) > 40, "megabytes"


def test_starts_are_measured_and_failures_said():
    starts = [
        Start(label=EMPTY, arguments=["-c", "pass"], reference=EMPTY),
        Start(label="bad", arguments=["-c", "raise SystemExit('no such thing')"], reference=EMPTY),
    ]
    good, bad = measure_starts(starts, runs=2, say=lambda text: None)
    assert len(good.seconds) == 2
    assert bad.failed == "no such thing"


# -- files and commands


def test_results_are_read_as_they_were_written(tmp_path):
    results = Results(ceiling={"float32": 180.0}, outcomes=[outcome([1.0], [2.0])])
    results.starts["imports"] = [Start(label=EMPTY, arguments=["-c", "pass"], reference=EMPTY, seconds=[0.01])]
    results.save(tmp_path)
    assert to_markdown(read_results(tmp_path / FILE)) == to_markdown(results)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"outcomes": 3}', '{"machine": 1, "outcomes": [], "starts": []}'])
def test_a_file_that_holds_no_results_is_refused_in_words(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(InputError, match="holds no results of `resnet-twins bench`"):
        read_results(tmp_path / FILE)


def test_results_of_another_machine_are_neither_mixed_nor_lost(tmp_path):
    Results(machine="a better one").save(tmp_path)
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(InputError, match="a better one"):
        measure((), quick=False, rounds=1, seconds=0.1, output=tmp_path, say=print, show=print)
    assert (tmp_path / FILE).read_bytes() == before


@pytest.mark.parametrize("quick", [False, True])
def test_races_are_kept_in_a_folder_one_by_one_and_in_their_order(tmp_path, monkeypatch, quick):
    def run(race: Race, **options: object) -> Outcome:
        timings = [Timing(label=each.label, job=each.job, rates=[1.0, 2.0]) for each in race.contenders]
        return Outcome(race=race, timings=timings)

    monkeypatch.setattr("shared.bench.measure.run_race", run)
    monkeypatch.setattr("shared.bench.measure.measure_ceiling", lambda **options: {"float32": 100.0})
    names, said = [race.name for race in races(quick=quick)], []
    for some in (names[1:], names[:1]):
        measure(some, quick=quick, rounds=2, seconds=0.1, output=tmp_path, say=print, show=said.append)
    assert [each.race.name for each in read_results(tmp_path / FILE).outcomes] == names
    assert (tmp_path / "bench.md").read_text().count("\n## ") == len(names)
    assert (tmp_path / "speed.png").exists() == is_installed("matplotlib")
    assert [text for text in said if str(text).startswith("part 1 of")][
        -1
    ] == f"part 1 of 1: {races(quick=quick)[0].title} ..."


def test_a_busy_computer_and_a_missing_package_are_said_below_the_table():
    missing = Timing(label="usual PyTorch", job=TINY, failed="it needs torchvision")
    steady, unsteady = (Timing(label=name, job=TINY, rates=[5.0, high]) for name, high in (("A", 9.0), ("B", 11.0)))
    found = outcome([1.0], [1.0])
    table = race_table(replace(found, timings=[missing, steady, unsteady]), {})
    assert table.columns[2] == "times A", "the first one that has times"
    assert table.notes == (
        "usual PyTorch is left out: it needs torchvision",
        "Something else was at work: the rounds of B differ by more than a factor of 2. Close it, and measure again.",
    )
    assert table.to_markdown().endswith("\n\n".join(table.notes))


def test_quick_runs_its_four_races_and_nothing_else(call, monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr("shared.bench.measure.measure", lambda names, **options: asked.extend(names))
    from shared.cli.bench import bench

    for only in (None, ["imports"]):
        bench(quick=True, only=only, list_=False, rounds=None, seconds=None, output=None)
    assert asked == ["train-resnet20", "predict-resnet20", "epoch-cifar", "data", "imports"]


def test_every_part_can_be_named(call):
    shown = call("bench", "--list")
    assert shown.returncode == 0
    assert [line.split()[0] for line in shown.stdout.splitlines()] == list(parts())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--only", "train-resnet21"],
            "--only train-resnet21: there is no such part; allowed is one of train-resnet20",
        ),
        (["--rounds", "0"], "Invalid value for '--rounds'"),
        (["--seconds", "nan"], "Invalid value for '--seconds'"),
        (["--output", "file/folder"], "the folder file/folder cannot be made"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_bad_usage_is_answered_in_one_line_before_anything_is_measured(call, tmp_path, arguments, said):
    (tmp_path / "file").write_text("")
    shown = call("bench", *arguments)
    assert shown.returncode == 2
    assert said in shown.stderr
    assert len(shown.stderr.strip().splitlines()) == 1


def test_ceilings_are_products_of_matrices_in_both_precisions():
    assert {entry.job.precision for entry in ceilings().contenders} == {"float32", "bfloat16"}
    assert {entry.job.what for entry in ceilings().contenders} == {"matmul"}


# -- what the pages say


@pytest.fixture(scope="module")
def recorded() -> Results:
    return read_results(ROOT / "docs" / "results" / "bench" / FILE)


def test_the_pages_show_the_recorded_benchmark():
    command = [sys.executable, "tools/speed_page.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_part_was_measured_and_nobody_was_left_out(recorded):
    assert {outcome.race.name for outcome in recorded.outcomes} == {race.name for race in races()}
    left_out = [timing for outcome in recorded.outcomes for timing in outcome.timings if timing.failed]
    left_out += [start for starts in recorded.starts.values() for start in starts if start.failed]
    left_out += [profile for profile in recorded.profiles if profile.failed]
    assert not left_out
    assert {grown.sweep for grown in recorded.growth} == {"depth", "size", "batch"}


def test_every_ratio_in_the_text_of_the_page_stands_in_one_of_its_tables():
    """And so does every time: numbers with two decimals are ratios, those in front of "ms" or "of N" are times."""
    text = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    parts = re.split(r"<!-- bench [\w-]+ -->(.*?)<!-- end -->", text, flags=re.DOTALL)
    prose, shown = " ".join(parts[::2]), " ".join(parts[1::2])
    measured = set(re.findall(r"\b\d+(?:\.\d\d)?\b", shown))
    stated = set(re.findall(r"\b\d+\.\d\d\b", prose))
    stated |= {
        number for pair in re.findall(r"\b(\d+) (?:of (\d+) )?(?:ms|in the twin)", prose) for number in pair if number
    }
    assert stated
    assert stated <= measured, f"not measured: {sorted(stated - measured)}"
