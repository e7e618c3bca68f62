"""Gives spoilt files to every reader, each in a process of its own, and counts what came of it.

`python tests/fuzz_campaign.py --inputs 20000`: checkpoints, pictures, archives, data sets, recipes, runs, notebooks,
verdicts, class lists and answers of students are spoilt and read. Each input must be accepted and usable, or refused
in one line, within a limit of memory and of time; nothing may be written, printed, started or asked of the network,
and no other file read. Ends with exit code 1 if an input broke something. What was found: docs/faults.md.

A warm process, which has imported everything and has one thread only, forks a child for each input: that takes a
hundredth of a second. Input KIND:NUMBER is a function of its name and of `--seed`, and `--again` makes it once more.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import gzip
import hashlib
import json
import os
import platform
import random
import re
import resource
import select
import shutil
import signal
import stat
import sys
import tempfile
import time
import traceback
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

#: Of the process that forks: one with several threads cannot, and no data set of the user's is to be read.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "COLUMNS": "140"}
ENVIRONMENT |= {"MPLBACKEND": "agg", "TF_CPP_MIN_LOG_LEVEL": "3", "RESNET_TWINS_DATA": ""}
if __name__ == "__main__":  # before NumPy is imported; the tests import this, too, and keep their environment
    os.environ |= ENVIRONMENT

import numpy as np  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from shared.base.errors import InputError, TrainingError  # noqa: E402
from shared.base.printable import JOINERS  # noqa: E402
from shared.base.versions import installed_version, is_installed  # noqa: E402
from shared.checkpoints.shipped import read_trained  # noqa: E402
from shared.classroom.course import Course  # noqa: E402
from shared.classroom.form import release_folders  # noqa: E402
from shared.classroom.sandbox import wire  # noqa: E402
from shared.classroom.submission import merge, read_notebook  # noqa: E402
from shared.classroom.submitted import read_class  # noqa: E402
from shared.data.fashion_mnist import read_idx  # noqa: E402
from shared.data.inputs import Inputs  # noqa: E402
from shared.data.load import load_data  # noqa: E402
from shared.data.pictures import decode, find_pictures  # noqa: E402
from shared.networks.table import weight_shapes  # noqa: E402
from shared.training.folder import ABOUT, BEST, LAST, PREVIOUS, RECIPE, STATE  # noqa: E402
from shared.training.metrics import METRICS, read_metrics  # noqa: E402
from shared.training.recipe import parse_recipe, read_recipe  # noqa: E402
from shared.training.run import Run  # noqa: E402
from shared.training.start import open_runs, resume  # noqa: E402
from shared.twins.answers import inputs_of  # noqa: E402
from tests import fuzz_seeds, fuzz_spoil  # noqa: E402
from tests.fuzz_seeds import CANARY, WAYS, Seeds, Stop  # noqa: E402
from tests.fuzz_spoil import MOST  # noqa: E402

#: What a reader may take above what it began with, in bytes.
MOST_MEMORY = 700_000_000
#: Seconds of a processor, and seconds on the clock, after which an input counts as endless. A process of its own starts
#: first, and the clock also runs while other programs have the processor.
SECONDS, CLOCK = 10, 75
SECONDS_OF_COMMAND, CLOCK_OF_COMMAND = 40, 160
#: One of so many inputs goes through the command `resnet-twins`: its `main()` in the child, or a process of its own.
BY_COMMAND, BY_PROCESS = 100, 200
READER, COMMAND, PROCESS = "reader", "command", "process"
MOST_TEXT = 9000
EVERYBODY = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
ACCEPTED, REFUSED, BROKE = "accepted", "refused", "broke"
#: How libraries say that there is no memory left.
RUN_OUT = re.compile(r"(cannot|can't|unable to|could not|failed to) allocate|out of memory|bad_alloc", re.IGNORECASE)
#: What Python tells before it does something that no reader of a file does.
NEVER = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "socket.connect",
    "socket.getaddrinfo",
)
RECORDED = ("torch", "numpy", "h5py", "pillow", "safetensors", "python")


#: What a run that was killed leaves in its folder, and whoever goes on with it takes away.
LEFT_BY_A_KILL = re.compile(r"/run/(run\.lock(\.txt)?|\.?tmp[^/]*)$")


class Broken(Exception):  # noqa: N818 (it is a result, not a mistake of the script)
    """A reader did not do what it promises; the text says what."""


class Refusal(Exception):  # noqa: N818
    """A reader refused the input by other means than an `InputError`, as it promises."""


# -- the readers: each returns the arrays that it read, after a look at whether they can be used


def check(good: bool, text: str) -> None:
    """Raise `Broken` unless `good`."""
    if not good:
        raise Broken(text)


def checkpoint(path: Path) -> list[np.ndarray]:
    """Weights of any format."""
    trained = read_trained(path)
    for name, shape in weight_shapes(trained.spec).items():
        array = trained.arrays[name]
        check(array.shape == tuple(shape) and bool(np.isfinite(array).all()), f"{name} was accepted and is not usable")
    inputs: Inputs = inputs_of(trained)
    if inputs.image_size < 500:
        images = inputs.prepare(np.zeros((1, 8, 8, trained.spec.in_channels), np.uint8))
        check(images.shape[1] == inputs.image_size and bool(np.isfinite(images).all()), "no pictures for these inputs")
    return list(trained.arrays.values())


def pictures(path: Path) -> list[np.ndarray]:
    """A folder or an archive of pictures; a picture that is passed over counts as refused."""
    found = find_pictures(path)
    decoded = decode(found.pictures, 8, 8, 3)
    check(decoded.images.shape == (len(decoded.pictures), 8, 8, 3), "the pictures have no common shape")
    if decoded.skipped:
        raise Refusal("passed over")
    return [decoded.images]


def folder_of(path: Path) -> list[np.ndarray]:
    """The folder that a picture lies in."""
    return pictures(path.parents[1])


def fashion(path: Path) -> list[np.ndarray]:
    """An IDX file whose hash is its name."""
    return [read_idx(path, path.name.partition(".")[0])]


def cifar(path: Path) -> list[np.ndarray]:
    """CIFAR-10, one file of which is spoilt."""
    data = load_data("cifar10", data_dir=path.parents[1] if path.suffix == ".bin" else path.parent)
    return [data.test.images]


def recipe(path: Path) -> list[np.ndarray]:
    """A recipe, which can be written and read again."""
    found = read_recipe(path)
    check(parse_recipe(found.to_toml(), path) == found, "the recipe is another one when it is written and read again")
    return []


def metrics(path: Path) -> list[np.ndarray]:
    """The curve of a run."""
    rows = read_metrics(path.parent)
    check(all(np.isfinite(row["step"]) for row in rows), "a step is no number")
    return [np.array([[row["step"], row["epoch"]] for row in rows])]


def run(path: Path) -> list[np.ndarray]:
    """A run that is gone on with, if that takes a moment only; else it is only opened."""
    runs = open_runs(path)
    if _short(path):
        with patch.object(Run, "_draw", lambda _: None):  # figures read nothing, and take two seconds
            resume(path, reporter=Stop)
    return [array for each in runs.values() for array in (each.restored or {}).values()]


def _short(path: Path) -> bool:
    """Whether the run in `path` is one of PyTorch with few steps: what is asked of it takes a moment."""
    runs = open_runs(path)
    return all(
        name == "torch"
        and each.total < 10
        and each.recipe.batch_size < 100
        and each.recipe.model == "resnet8_digits"
        and each.batches.inputs.image_size <= 32
        for name, each in runs.items()
    )


def notebook(path: Path) -> list[np.ndarray]:
    """A submission, merged with what was handed out."""
    release = release_folders()[0]
    handed_out = read_notebook(release / f"{release.name}.ipynb")
    merged, findings = merge(handed_out, handed_out, read_notebook(path))
    json.dumps(merged).encode()
    check(all(isinstance(cell["source"], str) for cell in merged["cells"]), "a cell holds no text")
    check(all(isinstance(finding, str) for finding in findings), "a finding is no text")
    "".join(cell["source"] for cell in merged["cells"]).encode()
    return []


def verdict(path: Path) -> list[np.ndarray]:
    """A verdict that lies in a course."""
    found = Course(path.parents[2]).read_verdict("a1", path.stem)
    if found is None:
        raise Refusal("there is no verdict that can be read")
    texts = (found.student, found.assignment, found.digest, *found.tampered, *found.failed, *found.look)
    check(all(isinstance(text, str) for text in texts), "a text of the verdict is none")
    for mark in found.marks:
        check(isinstance(mark.task, str) and isinstance(mark.note, str), "a mark belongs to no task")
        numbers = (mark.points, mark.points if mark.score is None else mark.score)
        sound = all(isinstance(number, int | float) and np.isfinite(float(number)) for number in numbers)
        check(sound and isinstance(mark.parts, list), f"a mark has {mark.score!r} of {mark.points!r} points")
    found.to_json().encode()
    return []


def class_list(path: Path) -> list[np.ndarray]:
    """A table of students."""
    names = read_class(path)
    check(all(isinstance(name, str) and name for name in names), "a student has no name")
    return []


def answer(path: Path) -> list[np.ndarray]:
    """What a student's process says."""
    with path.open("rb") as file:
        content = file.read(MOST)  # what comes through the pipe is counted there
    try:
        wire.from_bytes(content)
    except wire.WireError as error:
        raise Refusal(str(error)) from error
    return []


# -- the kinds


Make = Callable[[Seeds, random.Random, Path], Path]
Argv = Callable[[Path, Seeds], list[str] | None]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of input: how it is made, read and given to the command, and how many of 100 inputs it has."""

    words: str
    make: Make
    read: Callable[[Path], list[np.ndarray]]
    argv: Argv = lambda path, seeds: None
    share: int = 5
    needs: tuple[str, ...] = ()


def one_file(kind: str, name: str, *, fixed: bool = False, beside: bool = False) -> Make:
    """Return what makes a single spoilt file."""

    def make(seeds: Seeds, rng: random.Random, place: Path) -> Path:
        if beside:
            fuzz_seeds.put_canaries(place, fuzz_seeds.canary_h5())
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return seeds.file(path.parent, path.name, kind, rng, WAYS[kind], fixed=fixed)

    return make


def one_picture(kind: str, ending: str) -> Make:
    """Return what makes a folder of pictures, one of which is spoilt."""

    def make(seeds: Seeds, rng: random.Random, place: Path) -> Path:
        good = seeds.of("png")[1]
        for name in ("cat/2", "dog/1", "dog/2"):
            (place / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
            (place / "pictures" / f"{name}.png").write_bytes(good)
        ending_ = rng.choice((ending, ".jpg")) if kind == "other picture" else ending
        return seeds.file(place / "pictures" / "cat", f"1{ending_}", kind, rng, WAYS[kind])

    return make


def an_idx(seeds: Seeds, rng: random.Random, place: Path) -> Path:
    """Make an IDX file with the right hash, or spoil what it is packed by."""
    content = seeds.spoilt("idx", rng, WAYS["idx"])
    whole = fuzz_spoil.gz(content)
    if rng.random() < 0.1:
        whole += fuzz_spoil.gzip_zeros(fuzz_spoil.BOMB)
    elif rng.random() < 0.3:
        whole = fuzz_spoil.blind(whole, rng, whole)
    with contextlib.suppress(OSError, EOFError, zlib.error):
        content = gzip.decompress(whole) if len(whole) < 10_000 else content
    path = place / f"{hashlib.sha256(content).hexdigest()}.gz"
    fuzz_seeds.put(path, whole, rng)
    return path


def a_cifar(seeds: Seeds, rng: random.Random, place: Path) -> Path:
    """Make the folder of CIFAR-10 with one spoilt file."""
    folder = place / "cifar-10-batches-bin"
    folder.mkdir()
    good = seeds.place / "cifar.bin"
    if not good.exists():
        good.write_bytes(fuzz_seeds.cifar())
    spoilt = rng.choice(fuzz_seeds.CIFAR_FILES)
    for name in fuzz_seeds.CIFAR_FILES:
        if name != spoilt:
            os.link(good, folder / name)
    return seeds.file(folder, spoilt, "cifar", rng, WAYS["cifar"], fixed=True)


def a_run(*files: str) -> Make:
    """Return what makes a run of which some of `files` are spoilt."""

    def make(seeds: Seeds, rng: random.Random, place: Path) -> Path:
        folder = place / "run"
        folder.mkdir()
        (place / "victim.txt").write_bytes(CANARY * 10)
        contents = dict(seeds.folder_of_run())
        for name in files if len(files) == 1 else rng.sample(files, rng.choice((1, 1, 2, 3))):
            if name in contents:  # another one that is spoilt may have taken it out
                contents[name] = spoil_file_of_run(name, contents, rng)
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        if rng.random() < 0.2:
            change_folder(folder, rng)
        return folder

    return make


def spoil_file_of_run(name: str, contents: dict[str, bytes], rng: random.Random) -> bytes:
    """Return a spoilt file of a run; what else must be changed for it to be looked at is taken out of `contents`."""
    content = contents[name]
    if name == ABOUT:
        if rng.random() < 0.3:
            contents.pop(RECIPE, None)  # then the one in here counts
        return fuzz_spoil.spoil_with(fuzz_seeds.spoil_about, content, rng, content)
    if name == RECIPE:
        return fuzz_spoil.spoil_with(fuzz_seeds.spoil_recipe, content, rng, content)
    if name == METRICS:
        if rng.random() < 0.7:  # states of version 1 hold no hash of it
            for state in (STATE, PREVIOUS):
                if state in contents:
                    contents[state] = contents[state].replace(b"metrics_sha256", b"metrics_sha25x")
        return fuzz_spoil.spoil_text(content, rng, content)
    if rng.random() < 0.3 and name == STATE:
        contents.pop(PREVIOUS, None)
    return fuzz_spoil.spoil_with(fuzz_seeds.spoil_safetensors, content, rng, contents[rng.choice((STATE, name))])


def change_folder(folder: Path, rng: random.Random) -> None:
    """Put links, pipes, folders and files of odd names into a run."""
    names = [path.name for path in sorted(folder.iterdir())]
    names += ["run.lock", "run.lock.txt", "curves.png", "confusion.png", "tmp-probe", "tmp-x", "torch", "tensorboard"]
    for name in rng.sample(names, rng.choice((1, 1, 2))):
        path = folder / name
        path.unlink(missing_ok=True)
        chance = rng.random()
        if chance < 0.4:
            path.symlink_to(rng.choice(("../victim.txt", "../victim.txt", str(folder.parent / "victim.txt"))))
        elif chance < 0.5:
            os.link(folder.parent / "victim.txt", path)
        elif chance < 0.7:
            fuzz_seeds.no_file(path, rng)
        elif chance < 0.8:
            path.touch()
            os.truncate(path, fuzz_seeds.HUGE_SIZE)
        elif chance < 0.9:
            path.write_bytes(rng.randbytes(100))


def weights_argv(path: Path, seeds: Seeds) -> list[str]:
    """Convert it."""
    return ["convert", str(path), "out.safetensors"]


def picture_argv(path: Path, seeds: Seeds) -> list[str]:
    """Say what is on it."""
    return ["predict", str(path), "--weights", str(seeds.two_classes()), "--framework", "torch"]


def archive_argv(path: Path, seeds: Seeds) -> list[str]:
    """Say how often the network is right."""
    return ["evaluate", str(seeds.two_classes()), str(path), "--framework", "torch"]


def recipe_argv(path: Path, seeds: Seeds) -> list[str]:
    """Show it."""
    return ["recipes", str(path)]


def run_argv(path: Path, seeds: Seeds) -> list[str] | None:
    """Go on with it, if that takes a moment only or is refused."""
    with contextlib.suppress(InputError):
        if not _short(path):
            return None
    return ["train", "--resume", str(path)]


TORCH, H5PY, PILLOW = ("torch",), ("h5py",), ("PIL",)
KINDS: dict[str, Kind] = {
    "safetensors": Kind(
        words="`.safetensors`: ours with spec, inputs and training, and others'",
        make=one_file("safetensors", "a.safetensors"),
        read=checkpoint,
        argv=weights_argv,
        share=8,
    ),
    "pth": Kind(
        words="`.pth`: a zip of a pickle and of numbers",
        make=one_file("pth", "a.pth"),
        read=checkpoint,
        argv=weights_argv,
        share=7,
        needs=TORCH,
    ),
    "old-pth": Kind(
        words="`.pth` from before PyTorch 1.6: pickles only",
        make=one_file("old pth", "a.pth"),
        read=checkpoint,
        argv=weights_argv,
        share=7,
        needs=TORCH,
    ),
    "tar": Kind(
        words="`.tar`: a training's checkpoint, with a `state_dict` in it",
        make=one_file("tar", "a.tar"),
        read=checkpoint,
        argv=weights_argv,
        share=5,
        needs=TORCH,
    ),
    "keras": Kind(
        words="`.keras`: a zip with an HDF5 table",
        make=one_file("keras", "a.keras", beside=True),
        read=checkpoint,
        argv=weights_argv,
        share=3,
        needs=H5PY,
    ),
    "weights-h5": Kind(
        words="`.weights.h5` of Keras 3",
        make=one_file("weights.h5", "a.weights.h5", beside=True),
        read=checkpoint,
        argv=weights_argv,
        share=2,
        needs=H5PY,
    ),
    "h5": Kind(
        words="`.h5` of Keras 2",
        make=one_file("h5", "a.h5", beside=True),
        read=checkpoint,
        argv=weights_argv,
        share=2,
        needs=H5PY,
    ),
    "png": Kind(
        words="`.png`: 1, 8 and 16 bits, palette, transparent, interlaced",
        make=one_picture("png", ".png"),
        read=folder_of,
        argv=picture_argv,
        share=9,
        needs=PILLOW,
    ),
    "jpg": Kind(
        words="`.jpg`: grey, coloured, progressive, CMYK, MPO, turned",
        make=one_picture("jpg", ".jpg"),
        read=folder_of,
        argv=picture_argv,
        share=8,
        needs=PILLOW,
    ),
    "stranger": Kind(
        words="pictures of other formats (EPS, TIFF, GIF, PDF, ...) under these names",
        make=one_picture("other picture", ".png"),
        read=folder_of,
        argv=picture_argv,
        share=5,
        needs=PILLOW,
    ),
    "archive": Kind(
        words="archives of pictures: `.tar`, `.tar.gz`, `.tar.bz2`, `.tar.xz`",
        make=one_file("archive", "a.tar"),
        read=pictures,
        argv=archive_argv,
        share=9,
        needs=PILLOW,
    ),
    "idx": Kind(words="IDX files of Fashion-MNIST, with the right hash", make=an_idx, read=fashion, share=4),
    "cifar": Kind(words="CIFAR-10: one of its files", make=a_cifar, read=cifar, share=1),
    "cifar-archive": Kind(
        words="CIFAR-10: its archive, with few pictures in it",
        make=one_file("cifar archive", "cifar-10-binary.tar.gz", fixed=True),
        read=cifar,
        share=2,
    ),
    "recipe": Kind(
        words="recipes (`.toml`)", make=one_file("recipe", "a.toml"), read=recipe, argv=recipe_argv, share=7
    ),
    "metrics": Kind(
        words="the curve of a run (`metrics.csv`)",
        make=a_run(METRICS),
        read=lambda path: metrics(path / METRICS),
        argv=run_argv,
        share=3,
        needs=TORCH,
    ),
    "run-json": Kind(
        words="`run.json`, mostly with the right hash",
        make=a_run(ABOUT),
        read=run,
        argv=run_argv,
        share=3,
        needs=TORCH,
    ),
    "state": Kind(
        words="states of a run, mostly with the right hash",
        make=a_run(STATE),
        read=run,
        argv=run_argv,
        share=2,
        needs=TORCH,
    ),
    "run": Kind(
        words="folders of runs: several files, links, pipes",
        make=a_run(ABOUT, RECIPE, METRICS, STATE, PREVIOUS, BEST, LAST),
        read=run,
        argv=run_argv,
        share=3,
        needs=TORCH,
    ),
    "notebook": Kind(
        words="submissions (`.ipynb`): read, and merged", make=one_file("notebook", "a1.ipynb"), read=notebook, share=8
    ),
    "verdict": Kind(
        words="verdicts (`.json`)",
        make=one_file("verdict", "verdicts/a1/ann.json"),
        read=verdict,
        share=4,
    ),
    "class-list": Kind(
        words="class lists (`.csv`)", make=one_file("class list", "class.csv"), read=class_list, share=4
    ),
    "answer": Kind(
        words="answers of students' processes", make=one_file("answer", "answer", fixed=True), read=answer, share=6
    ),
}


# -- one input


def snapshot(*folders: Path) -> dict[str, tuple[int, ...]]:
    """Return what tells whether a file was written: its kind, size, time of change and identity."""
    found = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            facts = path.lstat()
            link = stat.S_ISDIR(facts.st_mode)
            found[os.fsdecode(path)] = (
                facts.st_mode,
                *(() if link else (facts.st_size, facts.st_mtime_ns, facts.st_ino)),
            )
    return found


def plain(text: str) -> bool:
    """Whether a text is one line of bounded length that only prints."""
    signs = {sign for sign in text if sign not in JOINERS and unicodedata.category(sign) != "Zs"}
    return 0 < len(text) <= MOST_TEXT and all(sign.isprintable() for sign in signs)


def has_run_out(error: BaseException | None) -> bool:
    """Whether memory had run out, whatever was made of it later."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError) or RUN_OUT.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def where(error: BaseException) -> str:
    """Return the last place in our code that an error came through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if str(ROOT) in frame.filename]
    ours = [frame for frame in frames if f"{os.sep}tests{os.sep}" not in frame.filename] or frames
    if not ours:
        return ""
    return f" at {Path(ours[-1].filename).relative_to(ROOT)}:{ours[-1].lineno} ({ours[-1].name})"


def same_file(error: BaseException) -> str:
    """Return an error as a text in which nothing but its kind and place counts, so that equal ones are found."""
    return f"{type(error).__name__}{where(error)}"


def ours(about: tuple[Any, ...]) -> bool:
    """Whether a process that is started is Python with a file of this package, which is how HDF5 files are read."""
    return any(isinstance(part, list) and f"{ROOT}{os.sep}shared{os.sep}" in " ".join(map(str, part)) for part in about)


@dataclass
class Outcome:
    """What came of one input."""

    kind: str
    number: int
    route: str
    result: str
    text: str = ""
    detail: str = ""
    seconds: float = 0.0
    memory: int = 0


def judge(read: Callable[[Path], list[np.ndarray]], path: Path) -> tuple[str, str, str]:
    """Read an input in this process; return the result, what is wrong in words, and details for who mends it."""
    try:
        arrays = read(path)
    except (InputError, Refusal, TrainingError) as error:
        text = str(error)
        detail = "".join(traceback.format_exception(error))
        if has_run_out(error):
            return BROKE, f"the memory ran out{where(error)}", detail
        return (
            (REFUSED, text, "") if plain(text) else (BROKE, f"the line does not only print{where(error)}", repr(text))
        )
    except Broken as error:
        return BROKE, str(error), ""
    except BaseException as error:
        what = "the memory ran out" + where(error) if has_run_out(error) else same_file(error)
        return BROKE, what, "".join(traceback.format_exception(error))
    for array in arrays:
        if CANARY[:24] in np.ascontiguousarray(array).tobytes():
            return BROKE, "another file was read", ""
    return ACCEPTED, "", ""


def limit(seconds: int, memory: int) -> None:
    """Bound what this process may take: memory, time, the size of a file, and no core."""
    (size,) = re.findall(r"^VmData:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    resource.setrlimit(resource.RLIMIT_DATA, (int(size) * 1024 + memory,) * 2)  # a file that is mapped is no memory
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 2))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000_000,) * 2)


class Child:
    """A process that reads one input, and what becomes of it."""

    def __init__(self, campaign: Campaign, name: str, number: int, route: str) -> None:
        self.campaign, self.name, self.number, self.route = campaign, name, number, route
        self.place = campaign.place / f"{name}-{number}"
        self.work, self.input = self.place / "work", self.place / "in"
        self.work.mkdir(parents=True)
        self.input.mkdir()
        rng = random.Random(f"{campaign.seed} {name} {number}")
        self.path = campaign.kinds[name].make(campaign.seeds, rng, self.input)
        self.before = snapshot(self.input)
        self.printed = self.place / "printed"
        self.begun = time.monotonic()
        self.heard, self.silent = b"", False
        self.ended: tuple[int, resource.struct_rusage] | None = None
        self.pipe, writing = os.pipe()
        self.process = os.fork()
        if self.process == 0:
            try:
                os.close(self.pipe)
                self.read(writing)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(70)
        os.close(writing)

    @property
    def deadline(self) -> float:
        """When the clock says that this takes too long."""
        return self.begun + (CLOCK_OF_COMMAND if self.route == PROCESS else CLOCK)

    def read(self, writing: int) -> None:
        """In the child: read the input, and write down what came of it. Does not return."""
        os.setpgid(0, 0)
        kind = self.campaign.kinds[self.name]
        argv = None
        os.chdir(self.work)
        printed = os.open(self.printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        if self.route != READER:
            argv = kind.argv(self.path, self.campaign.seeds)
        if argv is not None:
            self.command(argv, writing)
        limit(SECONDS, MOST_MEMORY)
        said: list[str] = []
        sys.addaudithook(lambda event, about: said.append(event) if event in NEVER and not ours(about) else None)
        result, text, detail = judge(kind.read, self.path)
        sys.stdout.flush()
        sys.stderr.flush()
        if said:
            result, text = BROKE, f"it does what no reader of a file does: {said[0]}"
        answer_ = {"route": READER, "result": result, "text": text[:2000], "detail": detail[-6000:]}
        os.write(writing, json.dumps(answer_).encode())
        os._exit(0)

    def command(self, argv: list[str], writing: int) -> None:
        """In the child: become the command. Does not return; its exit code and what it printed say how it went."""
        os.write(writing, json.dumps({"route": self.route}).encode())
        limit(SECONDS_OF_COMMAND, MOST_MEMORY + 200_000_000)
        if self.route == PROCESS:
            os.environ["PYTHONPATH"] = str(ROOT)
            os.set_inheritable(writing, True)  # its end tells that the process has ended
            os.execv(sys.executable, [sys.executable, "-m", "shared", *argv])
        from shared.cli.main import main

        sys.argv = ["resnet-twins", *argv]
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def hear(self) -> None:
        """Take what the child says, or that it has said all."""
        part = os.read(self.pipe, 1 << 16)
        self.heard += part
        self.silent = not part

    def has_ended(self) -> bool:
        """Whether the child has said all and is gone, which one does a moment after the other."""
        if self.silent and self.ended is None:
            process, status, usage = os.wait4(self.process, os.WNOHANG)
            self.ended = (status, usage) if process else None
        return self.ended is not None

    def end(self) -> Outcome:
        """When the child is done, or its time is over: return what came of the input."""
        os.close(self.pipe)
        killed = self.ended is None
        if self.ended is None:
            os.killpg(self.process, signal.SIGKILL)
            _, *rest = os.wait4(self.process, 0)
            self.ended = (rest[0], rest[1])
        status, usage = self.ended
        with contextlib.suppress(ProcessLookupError, PermissionError):  # what it may have started
            os.killpg(self.process, signal.SIGKILL)
        said = json.loads(self.heard if self.heard and not killed else b"{}")
        outcome = Outcome(self.name, self.number, said.get("route", self.route), said.get("result", BROKE))
        outcome.text, outcome.detail = said.get("text", ""), said.get("detail", "")
        outcome.seconds = usage.ru_utime + usage.ru_stime
        outcome.memory = usage.ru_maxrss * 1024
        printed = self.printed.read_bytes() if self.printed.exists() else b""
        code = os.waitstatus_to_exitcode(status)
        if killed or code in (-signal.SIGXCPU, -signal.SIGKILL):
            outcome.result, outcome.text = BROKE, f"it takes more than {SECONDS} seconds, or for ever"
        elif code < 0:
            outcome.result, outcome.text = BROKE, f"it crashes: {signal.Signals(-code).name}"
        elif "result" in said:
            if printed:
                outcome.result, outcome.text = BROKE, "a reader prints"
        elif outcome.route == READER or "route" not in said:
            outcome.text = "it ends without a word"
        else:
            self.judge_command(outcome, code, printed)
        self.judge_files(outcome)
        if outcome.result == BROKE:
            outcome.detail += "\n" + printed[-3000:].decode("utf-8", "backslashreplace")
        return outcome

    def judge_command(self, outcome: Outcome, code: int, printed: bytes) -> None:
        """Judge a command by its exit code and by what it printed."""
        text = printed.decode("utf-8", "replace")
        errors = [line for line in text.splitlines() if line.startswith("Error: ")]
        outcome.result = ACCEPTED if code == 0 else REFUSED
        odd = next((line for line in text.split("\n") if line and not plain(line)), None)
        traced = re.findall(r"^(\w[\w.]*(?:Error|Exception|Exit|Interrupt))\b", text, re.MULTILINE)
        if "Traceback (most recent call last)" in text:
            where_ = re.findall(rf'File "{re.escape(str(ROOT))}/((?!tests)[^"]+)", line (\d+)', text)
            place = f" at {where_[-1][0]}:{where_[-1][1]}" if where_ else ""
            outcome.result, outcome.text = BROKE, f"the command ends with a traceback: {traced[-1:]}{place}"
        elif code not in (0, 1, 2) or (code == 2 and len(errors) != 1) or (code == 1 and len(errors) != 1):
            outcome.result, outcome.text = BROKE, f"the command ends with exit code {code} and {len(errors)} lines"
        elif code == 1 and "memory" in text:
            outcome.result, outcome.text = BROKE, "the memory ran out in the command"
        elif code == 1 and not self.path.is_dir():
            outcome.result, outcome.text = BROKE, "the command ends with exit code 1"
        elif odd is not None or len(text) > 10 * MOST_TEXT:
            outcome.result, outcome.text = BROKE, "the command prints what does not only print, or too much"
        elif "Warning" in text:
            outcome.result, outcome.text = BROKE, "the command prints a warning"

    def judge_files(self, outcome: Outcome) -> None:
        """Look for files that were written: none may be, but for what a command is asked for."""
        after = snapshot(self.input, self.work)
        changed = {name for name in {*self.before, *after} if self.before.get(name) != after.get(name)}
        changed -= {name for name in changed if name not in after and LEFT_BY_A_KILL.search(name)}
        if outcome.result == ACCEPTED and outcome.route != READER:
            changed -= {str(self.work / "out.safetensors")}
        if (
            self.path.is_dir()
            and self.path.name == "run"
            and (outcome.result == ACCEPTED or "training stopped" in outcome.text)
        ):
            changed = {name for name in changed if not name.startswith(f"{self.path}{os.sep}")}
        if changed and outcome.result != BROKE:
            outcome.detail = "\n".join(sorted(changed))
            outcome.result, outcome.text = BROKE, f"it writes or removes {len(changed)} files"

    def clean(self) -> None:
        """Take the input away."""
        shutil.rmtree(self.place, ignore_errors=True)


# -- all of them


@dataclass
class Figures:
    """What is counted of one kind."""

    words: str = ""
    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    broke: int = 0
    by_command: int = 0
    most_megabytes: float = 0.0
    slowest_seconds: float = 0.0
    slowest: str = ""


@dataclass
class Campaign:
    """All inputs of one call. `kinds` may be others than ours, which shows that it finds what it looks for."""

    place: Path
    seed: int = 0
    kinds: dict[str, Kind] = field(default_factory=lambda: KINDS)
    jobs: int = 2
    keep: Path | None = None
    figures: dict[str, Figures] = field(default_factory=dict)
    findings: dict[str, list[Outcome]] = field(default_factory=dict)
    idle: int = 0

    def __post_init__(self) -> None:
        """Make what all inputs begin from, and load what the readers need: a child that loads it would be slow."""
        self.place.mkdir(parents=True, exist_ok=True)
        (self.place / "seeds").mkdir()
        self.seeds = Seeds(self.place / "seeds")

    def warm(self) -> None:
        """Read a good file of each kind, in here, so that whatever is loaded late is loaded."""
        from shared.cli.main import main  # noqa: F401

        if any("torch" in kind.needs for kind in self.kinds.values()):
            folder = self.place / "good" / "run"
            folder.mkdir(parents=True)
            for name, content in self.seeds.folder_of_run().items():
                (folder / name).write_bytes(content)
            resume(folder)  # which also draws
        self.seeds.two_classes()
        gc.collect()
        gc.freeze()  # or each child copies whatever the collector looks at
        threads = len(list(Path("/proc/self/task").iterdir()))
        if threads != 1:
            raise RuntimeError(f"this process has {threads} threads, and one that forks may have one only")
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        self.idle = os.wait4(pid, 0)[2].ru_maxrss * 1024

    def order(self) -> Iterator[tuple[str, int]]:
        """Yield kind and number of the inputs without end; each hundred or so has every kind by its share."""
        turns = [(turn / kind.share, name) for name, kind in self.kinds.items() for turn in range(kind.share)]
        counts: Counter[str] = Counter()
        while True:
            for _, name in sorted(turns):
                yield name, counts[name]
                counts[name] += 1

    def route(self, name: str, number: int) -> str:
        """Return how an input is read."""
        if number % BY_PROCESS == BY_PROCESS // 2:
            return PROCESS
        return COMMAND if number % BY_COMMAND == 3 else READER

    def run(self, wanted: Iterable[tuple[str, int, str]], seconds: float, tell: Callable[[str], None]) -> None:
        """Read inputs, `jobs` at a time, until there are no more or the time is over."""
        begun, told, waiting = time.monotonic(), 0.0, iter(wanted)
        children: dict[int, Child] = {}
        while True:
            late = time.monotonic() - begun > seconds
            while len(children) < self.jobs and not late:
                following = next(waiting, None)
                if following is None:
                    late = True
                    break
                child = Child(self, *following)
                children[child.pipe] = child
            if not children:
                return
            soonest = min(child.deadline for child in children.values()) - time.monotonic()
            leaving = any(child.silent for child in children.values())
            speaking = [pipe for pipe, child in children.items() if not child.silent]
            ready, _, _ = select.select(speaking, [], [], 0.001 if leaving else max(0.0, soonest))
            for pipe in ready:
                children[pipe].hear()
            for pipe, child in list(children.items()):
                late_one = pipe not in ready and time.monotonic() > child.deadline
                if child.has_ended() or late_one:
                    self.note(child, child.end())
                    del children[pipe]
                    child.clean()
            if time.monotonic() - told > 30:
                told = time.monotonic()
                done, broke = (
                    sum(getattr(each, what) for each in self.figures.values()) for what in ("inputs", "broke")
                )
                tell(f"{done:,} inputs in {told - begun:,.0f} s, {broke:,} broke something")

    def note(self, child: Child, outcome: Outcome) -> None:
        """Count an outcome, and keep the input if it broke something."""
        figures = self.figures.setdefault(child.name, Figures(self.kinds[child.name].words))
        figures.inputs += 1
        setattr(figures, outcome.result, getattr(figures, outcome.result) + 1)
        figures.by_command += outcome.route != READER
        label = f"{outcome.kind}:{outcome.number}"
        if outcome.route == READER:
            figures.most_megabytes = max(figures.most_megabytes, round((outcome.memory - self.idle) / 1e6, 1))
            if outcome.seconds > figures.slowest_seconds:
                figures.slowest_seconds, figures.slowest = round(outcome.seconds, 2), label
        if outcome.result == BROKE:
            self.findings.setdefault(f"{outcome.kind}: {outcome.text}", []).append(outcome)
            if self.keep is not None:
                kept = self.keep / f"{outcome.kind}-{outcome.number}"
                shutil.rmtree(kept, ignore_errors=True)
                keep_input(child.input, kept)
                (kept / "what-broke.txt").write_text(
                    f"{label}\n{outcome.text}\n{outcome.detail}\n", errors="backslashreplace"
                )


def keep_input(folder: Path, kept: Path) -> None:
    """Copy an input; links stay links, and pipes and huge files are left out."""

    def leave_out(where_: str, names: list[str]) -> list[str]:
        paths = [Path(where_) / name for name in names]
        return [
            path.name
            for path in paths
            if not path.is_symlink() and not path.is_dir() and (not path.is_file() or path.stat().st_size > 10**8)
        ]

    shutil.copytree(folder, kept, symlinks=True, ignore=leave_out)


def headings() -> tuple[str, ...]:
    """Return the headings of the table."""
    return (
        "what was spoilt",
        "inputs",
        "accepted",
        "refused",
        "broke",
        "by the command",
        "MB at most",
        "seconds at most",
    )


def table_rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the rows of the table: one for each kind, and the sum of all."""
    rows = []
    for each in found["kinds"].values():
        counts = (f"{each[name]:,}" for name in ("inputs", "accepted", "refused", "broke", "by_command"))
        rows.append((each["words"], *counts, f"{each['most_megabytes']:.0f}", f"{each['slowest_seconds']:.1f}"))
    kinds = list(found["kinds"].values())
    sums = (
        f"{sum(each[name] for each in kinds):,}" for name in ("inputs", "accepted", "refused", "broke", "by_command")
    )
    most = (max((each[name] for each in kinds), default=0) for name in ("most_megabytes", "slowest_seconds"))
    return [*rows, ("all", *sums, *(f"{value:.{places}f}" for value, places in zip(most, (0, 1), strict=True)))]


def markdown(found: dict[str, Any]) -> str:
    """Return the table as it stands in docs/faults.md, and when and with what it was counted."""
    names = headings()
    lines = [names, ("---", *["---:"] * (len(names) - 1)), *table_rows(found)]
    inputs = sum(each["inputs"] for each in found["kinds"].values())
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    head = f"{found['date']}, seed {found['seed']}: {inputs:,} inputs, for which processors were busy for "
    head += f"{found['processor_seconds'] / 60:.0f} minutes ({versions})."
    if "before" in found:
        before = found["before"]
        head += f" Of the first {before['inputs']:,} ones, {before['broke']} broke something in revision"
        head += f" {before['revision']}, in which the readers were not hardened yet."
    return head + "\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def show(console: Console, found: dict[str, Any], findings: dict[str, list[Outcome]]) -> None:
    """Print the figures, and what broke."""
    table = Table(*headings(), title="Spoilt files")
    for row in table_rows(found):
        table.add_row(*row)
    console.print(table)
    for text, outcomes in sorted(findings.items(), key=lambda entry: -len(entry[1])):
        first = outcomes[0]
        console.print(f"{len(outcomes):5} x {text}", markup=False)
        console.print(f"        --again {first.kind}:{first.number} ({first.route})", markup=False)


def main() -> int:
    """Run the campaign and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000, help="how many, of all kinds together")
    parser.add_argument("--seconds", type=float, default=3600, help="no input is begun after so long")
    parser.add_argument("--seed", type=int, default=0, help="of all that is done to the files")
    parser.add_argument("--only", nargs="+", choices=KINDS, metavar="KIND", help=f"only these: {', '.join(KINDS)}")
    parser.add_argument("--jobs", type=int, default=2, help="inputs that are read at the same time")
    parser.add_argument("--json", type=Path, help="write the figures to this file; others there stay")
    parser.add_argument("--table", type=Path, help="only print the figures in this file, as docs/faults.md shows them")
    parser.add_argument("--keep", type=Path, help="a folder for the inputs that break something")
    parser.add_argument("--again", metavar="KIND:NUMBER", help="only this input; what it breaks is told in full")
    given = parser.parse_args()
    if given.table:
        print(markdown(json.loads(given.table.read_text(encoding="utf-8"))), end="")
        return 0
    console = Console(width=150, highlight=False)
    kinds = {name: kind for name, kind in KINDS.items() if not given.only or name in given.only}
    left_out = [name for name, kind in kinds.items() if not all(is_installed(module) for module in kind.needs)]
    if left_out:
        console.print(f"left out, as packages for them are not installed: {', '.join(left_out)}")
    kinds = {name: kind for name, kind in kinds.items() if name not in left_out}
    with tempfile.TemporaryDirectory(prefix="fuzz-", ignore_cleanup_errors=True) as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        campaign = Campaign(Path(folder) / "inputs", given.seed, kinds, given.jobs, given.keep)
        campaign.warm()
        begun = time.monotonic()
        if given.again:
            name, _, number = given.again.partition(":")
            wanted = [(name, int(number), campaign.route(name, int(number)))]
        else:
            order = campaign.order()
            pairs = (next(order) for _ in range(given.inputs))
            wanted = ((name, number, campaign.route(name, number)) for name, number in pairs)
        campaign.run(wanted, given.seconds, lambda text: console.print(text))
    found = {
        "date": time.strftime("%Y-%m-%d"),
        "versions": {
            name: platform.python_version() if name == "python" else installed_version(name) for name in RECORDED
        },
        "seed": given.seed,
        "jobs": given.jobs,
        "seconds": round(time.monotonic() - begun),
        "processor_seconds": round(sum(sum(resource.getrusage(who)[:2]) for who in EVERYBODY)),
        "kinds": {name: vars(campaign.figures[name]) for name in kinds if name in campaign.figures},
    }
    show(console, found, campaign.findings)
    if given.again:
        for outcome in (each for outcomes in campaign.findings.values() for each in outcomes):
            print(outcome.detail)
    if given.json:
        known = json.loads(given.json.read_text(encoding="utf-8")) if given.json.exists() else {}
        given.json.write_text(json.dumps({**known, **found}, indent=2) + "\n", encoding="utf-8")
    broke = sum(len(outcomes) for outcomes in campaign.findings.values())
    console.print("[bold red]not all was contained[/]" if broke else "all was accepted, or refused in one line")
    return 1 if broke else 0


if __name__ == "__main__":
    raise SystemExit(main())
