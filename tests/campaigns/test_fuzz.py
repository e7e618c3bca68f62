"""Spoilt files: a hundred inputs of the campaign in `tests/campaigns/fuzz`, and whether it can fail."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path
from random import Random
from typing import Any

import pytest

from shared.base.errors import InputError
from shared.base.versions import is_installed
from shared.checkpoints.foreign import read_weights
from shared.classroom.submission import read_notebook
from shared.classroom.submitted import read_class
from shared.data.fashion_mnist import read_idx
from shared.data.pictures import read_picture
from shared.training.recipe import read_recipe
from tests.conftest import ROOT

pytest.importorskip("resource", reason="the campaign bounds what a process takes, which Windows does otherwise")

from tests.campaigns.fuzz import ENVIRONMENT, child, command
from tests.campaigns.fuzz.campaign import BY_COMMAND, BY_PROCESS
from tests.campaigns.fuzz.figures import markdown, table_rows
from tests.campaigns.fuzz.formats.damage import blind
from tests.campaigns.fuzz.formats.data_sets import idx
from tests.campaigns.fuzz.formats.packed import gz, zeros, zip_of, zlib_zeros
from tests.campaigns.fuzz.formats.tars import summed
from tests.campaigns.fuzz.formats.texts import spoil_json, spoil_text
from tests.campaigns.fuzz.kinds import KINDS
from tests.campaigns.planted import PLANTED

if sys.platform != "linux":
    pytest.skip("the campaign forks, and reads Linux' /proc", allow_module_level=True)

FIGURES = ROOT / "docs" / "results" / "fuzz.json"
#: Of a process that forks a child for each input, which finds the packages wherever it works.
FORKING = {**ENVIRONMENT, "PYTHONPATH": str(ROOT)}


def campaign(*options: str | Path, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "tests.campaigns.fuzz", *map(str, options)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=seconds)


def test_a_hundred_spoilt_files_are_accepted_or_refused_in_one_line(tmp_path):
    done = campaign("--inputs", "100", "--json", tmp_path / "found.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all was accepted, or refused in one line" in done.stdout
    kinds = json.loads((tmp_path / "found.json").read_text())["kinds"]
    assert sum(each["inputs"] for each in kinds.values()) == 100
    assert all(each["inputs"] == each["accepted"] + each["refused"] for each in kinds.values())
    left_out = "left out" in done.stdout  # a framework is not installed
    assert left_out or set(kinds) == set(KINDS)


@pytest.mark.slow
def test_two_thousand_more_of_another_seed(tmp_path):
    done = campaign("--inputs", "2000", "--seed", "1", "--keep", tmp_path, seconds=1500)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--again nope:3", "there is no kind 'nope'; wanted is KIND:NUMBER, and kinds are safetensors, pth, "),
        ("--again :3", "there is no kind ''"),
        ("--again recipe", "'' is no number of an input; wanted is KIND:NUMBER, as in recipe:29"),
        ("--again recipe:-1", "'-1' is no number"),
        ("--again recipe:x", "'x' is no number"),
        ("--again recipe:1:2", "'1:2' is no number"),
        ("--only recipe --again answer:3", "--only leaves answer out; name it there, too"),
        ("--again png:3", "png is left out here; install pillow, or name another kind"),
        ("--only png run", "all are left out here; install pillow, torch, or name others"),
    ],
)
def test_an_input_that_there_is_not_is_answered_in_one_line(monkeypatch, capsys, options, words):
    monkeypatch.setattr(command, "is_installed", lambda module: False)
    monkeypatch.setattr(sys, "argv", ["fuzz", *options.split()])
    assert command.main() == 2
    said = capsys.readouterr()
    assert not said.out
    assert re.fullmatch(r"Error: --\w+ .+\n", said.err)
    assert words in said.err


# -- the campaign can fail: readers that were made for it


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the campaign says of each planted reader."""
    place = tmp_path_factory.mktemp("planted") / "inputs"
    code = f"from tests.campaigns.planted import run_planted; run_planted({str(place)!r})"
    environment = {**os.environ, **FORKING}
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said: dict[str, str] = json.loads(done.stdout.partition("found:")[2])
    return said


@pytest.mark.parametrize("name", list(PLANTED))
def test_a_reader_that_breaks_its_promise_is_found_and_an_honest_one_is_not(planted, name):
    words = PLANTED[name][1]
    assert (name in planted) == bool(words), planted
    assert words in planted.get(name, "")


# -- its inputs

GOOD = """
import sys
from pathlib import Path
from tests.campaigns.fuzz import seeds
from tests.campaigns.fuzz.campaign import Campaign
from tests.campaigns.fuzz.kinds import KINDS
seeds.AS_IT_IS, seeds.ODD_NAME, seeds.HUGE, seeds.NO_FILE = 1000, 0, 0, 0
kinds = {name: KINDS[name] for name in sys.argv[2:]}
made = Campaign(Path(sys.argv[1]), kinds=kinds)
made.warm()
made.run([(name, number, "reader") for name in kinds for number in range(6)], 150, print)
print({name: each.inputs - each.accepted for name, each in made.figures.items()})
"""
#: All inputs of these are refused: formats that nobody decodes, an archive with too few pictures.
NEVER_GOOD = ("stranger", "cifar-archive")


@pytest.mark.slow
def test_the_good_files_that_all_begin_with_are_accepted(tmp_path):
    """Or a campaign would only show that its own files are no good."""
    names = [name for name, kind in KINDS.items() if all(map(is_installed, kind.needs)) and name not in NEVER_GOOD]
    names = [name for name in names if name not in ("idx", "metrics", "run-json", "state", "run")]  # always spoilt
    line = [sys.executable, "-c", GOOD, str(tmp_path / "inputs"), *names]
    environment = {**os.environ, **FORKING}
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)
    assert done.stdout.splitlines()[-1:] == [str(dict.fromkeys(names, 0))], done.stdout + done.stderr


DIGESTS = """
import hashlib, sys
from pathlib import Path
from random import Random
from stat import S_ISREG
from tests.campaigns.fuzz.campaign import Campaign
from tests.campaigns.fuzz.kinds import KINDS
made = Campaign(Path(sys.argv[1]))
for name in sys.argv[2:]:
    for number in range(3 if name == "cifar" else 20):
        place = made.place / f"{name}-{number}"
        place.mkdir()
        KINDS[name].make(made.seeds, Random(f"0 {name} {number}"), place)
        files = [path for path in sorted(place.rglob("*")) if S_ISREG(path.lstat().st_mode)]
        files = [path for path in files if path.stat().st_size < 10**8]
        parts = [str(path.relative_to(place)).encode("utf-8", "surrogateescape") + path.read_bytes() for path in files]
        print(name, number, hashlib.sha256(b"".join(parts)).hexdigest())
"""


def digests(place: Path, names: list[str], hash_seed: str) -> str:
    line = [sys.executable, "-c", DIGESTS, str(place), *names]
    environment = {**os.environ, **FORKING, "PYTHONHASHSEED": hash_seed}
    return subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def check_digests(place: Path, names: list[str]) -> None:
    """The second process makes the kinds in another order, or memory and addresses would be as in the first one."""
    first = digests(place / "1", names, "1").splitlines()
    second = digests(place / "2", names[::-1], "2").splitlines()
    assert len(first) > 19 * (len(names) - 1)
    assert sorted(first) == sorted(second)
    assert len({line.split()[2] for line in first}) > 0.9 * len(first), "inputs are alike"


def test_an_input_is_made_anew_from_its_name_and_the_seed(tmp_path):
    check_digests(tmp_path, [name for name, kind in KINDS.items() if not kind.needs and name != "cifar"])


@pytest.mark.slow
def test_so_is_one_that_a_framework_makes(torch_twin, tmp_path):
    pytest.importorskip("h5py")
    pytest.importorskip("PIL")
    check_digests(tmp_path, list(KINDS))


def test_the_hand_made_keras_file_is_laid_out_as_keras_writes_it(keras_twin, tmp_path):
    h5py = pytest.importorskip("h5py")
    from shared.networks.initial import initial_weights
    from tests.campaigns.fuzz.formats.keras_files import keras_bytes
    from tests.campaigns.fuzz.formats.weights import TINY

    def layout(path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def note(name: str, entry: Any) -> None:
            if isinstance(entry, h5py.Dataset):
                found[name] = (entry.shape, str(entry.dtype), entry[()].tobytes())
            elif "name" in entry.attrs:
                found[name] = str(entry.attrs["name"])

        with h5py.File(path) as file:
            file.visititems(note)
        return {
            name: what for name, what in found.items() if any(kind in name for kind in ("conv2d", "dense", "batch"))
        }

    model = keras_twin.create_model(TINY)
    keras_twin.set_weights(model, initial_weights(TINY, 0))
    keras_twin.write_native(model, tmp_path / "real.weights.h5")
    (tmp_path / "ours.weights.h5").write_bytes(keras_bytes(".weights.h5"))
    real = layout(tmp_path / "real.weights.h5")
    assert len(real) > 60
    assert layout(tmp_path / "ours.weights.h5") == real


@pytest.mark.parametrize("spoil", [blind, spoil_text, spoil_json])
@pytest.mark.parametrize("content", [b"", b"x", b'{"a": [1, 2.5, "b"]}', bytes(range(256)) * 50])
def test_whatever_is_spoilt_stays_of_bounded_size_and_mostly_changes(spoil, content):
    results = [spoil(content, Random(number), b"another file") for number in range(50)]
    assert max(map(len, results)) <= 8_000_000
    assert sum(result != content for result in results) > (25 if content else 5)


def test_what_is_packed_again_has_the_right_sums():
    import io
    import tarfile
    import zipfile
    import zlib

    for number in range(40):
        spoilt = zip_of([("a", 0, b"xyz", zlib.crc32(b"xyz"), 3), ("b", 8, *zeros(2), 2 * 10**6)])
        with zipfile.ZipFile(io.BytesIO(spoilt)) as archive:
            assert archive.testzip() is None
        header = bytearray(tarfile.TarInfo(f"{number}.png").tobuf(tarfile.USTAR_FORMAT))
        header[124:136] = b"%011o\0" % number
        with tarfile.open(fileobj=io.BytesIO(summed(header) + bytes(1024))) as archive:
            assert archive.next().size == number
    assert zlib.decompress(zlib_zeros(2)) == bytes(2 * 10**6)


# -- its figures


#: What broke something in the run of the figures: kind -> how many inputs. Each is tried again below.
MENDED = {"run-json": 1}


def test_a_run_that_asks_for_thousands_of_threads_is_refused(torch_twin):
    done = campaign("--again", "run-json:319", "--seed", "0")
    assert done.returncode == 0, done.stdout + done.stderr


def figures() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FIGURES.read_text(encoding="utf-8"))
    return found


def test_the_figures_in_the_document_are_those_that_were_counted():
    document = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    assert f"\n\n{markdown(figures())}\n" in document, "fill it with: python -m tests.campaigns.fuzz --table FILE"


def test_the_document_states_the_limits_that_the_campaign_has():
    document = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    for words in (
        f"took more than {child.MOST_MEMORY / 1e6:.0f} MB above",
        f"took more than {child.SECONDS} seconds of a processor",
        f"({child.CLOCK} seconds on the clock)",
        f"Every {BY_COMMAND}th input of a kind",
        f"every {BY_PROCESS}th starts a process of its own",
    ):
        assert words in document


def test_every_kind_was_tried_and_what_broke_was_mended():
    found = figures()
    assert {name: each["words"] for name, each in found["kinds"].items()} == {
        n: kind.words for n, kind in KINDS.items()
    }
    for each in found["kinds"].values():
        assert each["inputs"] == each["accepted"] + each["refused"] + each["broke"]
        assert each["refused"] > 0
    assert {name: each["broke"] for name, each in found["kinds"].items() if each["broke"]} == MENDED
    assert sum(each["inputs"] for each in found["kinds"].values()) >= 20_000
    assert sum(each["accepted"] for each in found["kinds"].values()) > 5000
    assert table_rows(found)[-1][0] == "all"


# -- what it found


def sparse(path: Path, start: bytes) -> Path:
    """A file of six gigabytes, of which the disk holds the start."""
    path.write_bytes(start)
    os.truncate(path, 6_000_000_000)
    return path


def test_a_file_that_cannot_be_read_is_said_so_by_every_reader_that_opens_it(tmp_path):
    """Its bytes are those of the process' memory: reading them fails as on a disk that is broken."""
    for name in ("a.safetensors", "a.pth", "a.keras", "a.h5"):
        (tmp_path / name).symlink_to("/proc/self/mem")
        with pytest.raises(InputError, match="Input/output error"):
            read_weights(tmp_path / name)
    for name, read in {"a.ipynb": read_notebook, "a.toml": read_recipe, "class.csv": read_class}.items():
        (tmp_path / name).symlink_to("/proc/self/mem")
        with pytest.raises(InputError, match="cannot be read"):
            read(tmp_path / name)


def test_a_picture_of_gigabytes_is_passed_over_without_room_for_it(tmp_path):
    with pytest.raises(ValueError, match="no picture has"):
        read_picture(sparse(tmp_path / "a.png", b"\x89PNG"))
    (tmp_path / "b.png").write_bytes(b"x" * 10)
    tracemalloc.start()
    try:
        assert read_picture(tmp_path / "b.png") == b"x" * 10
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_zeros_behind_a_packed_data_set_are_not_counted_one_by_one(tmp_path):
    content = idx()
    path = sparse(tmp_path / "a.gz", gz(content))
    with pytest.raises(InputError, match="larger than what it should hold"):
        read_idx(path, hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("start", [b"X", b"T", b"B", b"\x8d", b"\x8e", b"\x8b"])
def test_a_pickle_is_given_no_room_for_what_it_only_says_that_it_holds(tmp_path, start):
    length = b"\xff\xff\xff\x7f" if start in b"XTB\x8b" else b"\xff\xff\xff\x7f\0\0\0\0"
    (tmp_path / "a.pth").write_bytes(b"\x80\x02" + start + length + b"x" * 100)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="no readable PyTorch checkpoint"):
            read_weights(tmp_path / "a.pth")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
