"""Malformed inputs for commands and functions."""

from __future__ import annotations

import io
import json
import struct
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.backends import BACKENDS, load_backend
from shared.base.versions import is_installed
from shared.checkpoints.conversion import convert
from shared.checkpoints.foreign import read_weights
from shared.checkpoints.ours import read_safetensors, write_safetensors
from shared.checkpoints.shipped import read_trained
from shared.data.cifar10 import read_cifar_batch
from shared.data.dataset import Dataset, Split
from shared.data.fashion_mnist import read_idx
from shared.data.inputs import Inputs
from shared.data.load import find_local, load_data
from shared.data.pictures import decode, find_pictures
from shared.data.places import folder_path
from shared.networks.canonical import fit
from shared.networks.catalog import SPECS, get_spec
from shared.networks.diagrams import plot_block, plot_stages
from shared.networks.initial import initial_weights, lively_weights
from shared.networks.spec import ResNetSpec, StemSpec
from shared.networks.table import count_macs, count_parameters, layer_table, weight_shapes
from shared.training.batches import Batches
from shared.training.degradation import degradation
from shared.training.metrics import read_metrics
from shared.training.recipe import Recipe, read_recipe
from shared.training.recipes import get_recipe
from shared.training.record import read_about
from shared.training.settings import Settings
from shared.training.start import open_runs, resume, train
from shared.twins.answers import inputs_of
from shared.twins.comparison import compare, compare_models
from shared.twins.evaluation import evaluate
from shared.twins.faults import plant_fault
from shared.twins.microscopy import examine, microscope
from shared.twins.prediction import predict
from shared.twins.verification import verify
from tests.conftest import backend

TINY = SPECS["resnet8_digits"]

# -- files that are not what they seem


def png(width: int, height: int, pixels: bytes, depth: int = 1) -> bytes:
    """A grey PNG that says that it has this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def zeros(count: int) -> bytes:
    """So many zeros, deflated piece by piece."""
    packer, parts = zlib.compressobj(9), []
    for _ in range(count // 2**20 + 1):
        parts.append(packer.compress(bytes(2**20)))
    return b"".join([*parts, packer.flush()])


def tar(path: Path, members: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def safetensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


GREY8 = png(8, 8, zlib.compress((b"\0" + bytes(8)) * 8), depth=8)

# -- commands

needs_torch, needs_keras, needs_both = ("torch",), ("tensorflow", "keras"), ("torch", "tensorflow", "keras")
needs_course, needs_notebooks = ("nbgrader",), ("IPython", "psutil")
#: The command, what is wrong, words of the answer, modules without which it says something else.
COMMANDS: list[tuple[str, str, tuple[str, ...]]] = [
    ("", "No such command|Missing command|no command given", ()),
    ("trian", "No such command 'trian'", ()),
    ("--nope", "No such option", ()),
    ("models resnet18", "unexpected extra argument", ()),
    ("models --all", "No such option", ()),
    ("doctor now", "unexpected extra argument", ()),
    ("demo --fast", "No such option", ()),
    ("bench --only train-resnet21", "--only train-resnet21: there is no such part", ()),
    ("bench --rounds 0", "--rounds", ()),
    ("bench --seconds nan", "--seconds", ()),
    ("bench --only data --output {bad}/text.toml", "the folder .*text.toml cannot be made", ()),
    ("bench --only data --output {bad}/text.toml/x", "the folder .*text.toml/x cannot be made", ()),
    ("train --processes 0", "--processes is 0; allowed is 1 to", needs_torch),
    ("train --processes 1000000000", "--processes is 1000000000; allowed is 1 to", needs_torch),
    ("train --processes 3 --framework both", "several processes train one twin", ()),
    ("compare", "Missing argument", ()),
    ("compare resnet51", "unknown network 'resnet51'; nearest are resnet50", ()),
    ("compare ../resnet18", "unknown network '../resnet18'", ()),
    ("compare resnet18 --input-size -5", "input_size is -5", ()),
    ("compare resnet18 --input-size 99999999999999999999", "input_size is 99999999999999999999", ()),
    ("compare resnet18 --num-classes 1e6", "Invalid value for '--num-classes'", ()),
    ("compare resnet18 --num-classes 100000000", "num_classes is 100000000", ()),
    ("compare resnet18 --in-channels 0", "in_channels is 0", ()),
    ("compare resnet18 --format docx", "'docx' is not one of", ()),
    ("compare resnet18 --by pixel", "'pixel' is not one of", ()),
    ("compare resnet18 -o no/folder/x.md", "there is no folder no/folder", ()),
    ("compare resnet18 -o .", "is a folder", ()),
    ("compare resnet18 --raw -o no/folder/x.md", "there is no folder no/folder", ()),
    ("verify resnet", "unknown network 'resnet'", ()),
    ("verify resnet18 --all", "--all and names exclude each other", ()),
    ("verify --dtype int8", "'int8' is not one of", ()),
    ("microscope", "Missing argument", ()),
    ("microscope resnet18 --seed -1", "seed is -1", ()),
    ("microscope resnet18 --seed 4294967296", "seed is 4294967296", ()),
    ("microscope resnet18 --input-size 8", "input_size is 8, too small", ()),
    ("microscope resnet18 --input-size 16384", "needs about .* GB for images of 16384 pixels", ()),
    ("microscope resnet18 --dtype float16", "'float16' is not one of", ()),
    ("microscope resnet18 -o x.docx", "the ending says the format", ()),
    ("microscope resnet18 -o no/folder/x.png", "there is no folder no/folder", ()),
    ("convert", "Missing argument", ()),
    ("convert nope.pth out.safetensors", "there is no file nope.pth", ()),
    ("convert {bad} out.safetensors", "is a folder", ()),
    ("convert {bad}/good.safetensors out.onnx", "the ending says the format", ()),
    ("convert {bad}/good.safetensors no/folder/x.pth", "there is no folder no/folder", ()),
    ("convert {bad}/good.safetensors {bad}", "the ending says the format", ()),
    ("convert {bad}/good.safetensors out.safetensors --model resnet18", "do not fit the model", ()),
    ("convert {bad}/good.safetensors out.safetensors --model resnet9", "unknown network 'resnet9'", ()),
    ("convert {bad}/weights.docx out.safetensors", "ends in '.docx'; readable are", ()),
    ("convert {bad}/text.pth out.safetensors", "text.pth is (refused|no readable)", needs_torch),
    ("convert {bad}/text.keras out.safetensors", "text.keras is no readable Keras file", ("h5py",)),
    ("convert {bad}/text.h5 out.safetensors", "text.h5 is no readable Keras file", ("h5py",)),
    ("convert {bad}/cut.safetensors out.safetensors", "cut.safetensors is no readable", ()),
    ("convert {bad}/empty.safetensors out.safetensors", "empty.safetensors is no readable", ()),
    ("convert {bad}/long.safetensors out.safetensors", "long.safetensors is no readable", ()),
    ("convert {bad}/list.safetensors out.safetensors", "list.safetensors is no readable", ()),
    ("convert {bad}/deep.safetensors out.safetensors", "deep.safetensors is no readable", ()),
    ("convert {bad}/offsets.safetensors out.safetensors", "offsets.safetensors is no readable", ()),
    ("convert {bad}/shape.safetensors out.safetensors", "shape.safetensors is no readable", ()),
    ("convert {bad}/dtype.safetensors out.safetensors", "dtype.safetensors is no readable", ()),
    ("convert {bad}/spec.safetensors out.safetensors", "carries a spec that cannot be read", ()),
    ("convert {bad}/flipped.safetensors out.safetensors", "flipped.safetensors is damaged", ()),
    ("convert {bad}/other_spec.safetensors out.safetensors", "do not fit the model", ()),
    ("convert {bad}/stranger.safetensors out.safetensors", "fit no network of the catalog", ()),
    ("convert /dev/zero out.safetensors", "is no plain file", ()),
    ("recipes nope", "unknown recipe 'nope'", ()),
    ("recipes nope.toml", "there is no file nope.toml", ()),
    ("recipes {bad}/text.toml", "is no readable recipe", ()),
    ("recipes {bad}/binary.toml", "is no readable recipe", ()),
    ("recipes {bad}/deep.toml", "is no readable recipe", ()),
    ("recipes {bad}/unknown.toml", "unknown epoch", ()),
    ("recipes {bad}/dotted.toml", "has more than 100,000 bytes, or 6,000 dots", ()),
    ("recipes {bad}/digits.toml", "is no readable recipe", ()),
    ("recipes {bad}/escape.toml", r"unknown \\x1b\[2J", ()),
    ("recipes /dev/zero.toml", "there is no file", ()),
    ("recipes {bad}/nameless.toml", "it has no name", ()),
    ("recipes {bad}/types.toml", "epochs is 'many'", ()),
    ("train --recipe nope", "unknown recipe 'nope'", ()),
    ("train --recipe {bad}/types.toml", "epochs is 'many'", ()),
    ("train --model resnet19", "unknown network 'resnet19'", ()),
    ("train --data minst", "unknown data set 'minst'", needs_torch),
    ("train --data folder:", "unknown data set 'folder:'", needs_torch),
    ("train --data folder:nowhere", "there is no such folder or archive", needs_torch),
    ("train --data folder:{bad}/hollow", "holds 0 pictures in 0 classes", needs_torch),
    ("train --data folder:{bad}/one", "holds 1 pictures in 1 classes", needs_torch),
    ("train --data folder:{bad}/unequal", "different classes; in one only: b", needs_torch),
    ("train --data folder:{bad}/text.tar", "is no readable folder or tar archive", needs_torch),
    ("train --data folder:{bad}/cut.tar.gz", "is no readable folder or tar archive", needs_torch),
    ("train --data folder:{bad}/lying.tar", "is no readable folder or tar|unpacks to", needs_torch),
    ("train --data folder:{bad}/climbing.tar", "a path that leads out of it", needs_torch),
    ("train --data folder:{bad}/absolute.tar", "a path that leads out of it", needs_torch),
    ("train --data folder:{bad}/bombs", "none of the 4 pictures could be decoded", (*needs_torch, "PIL")),
    ("train --data cifar10 --data-dir {bad}/nowhere", "which is no folder", needs_torch),
    ("train --set epochs", "wanted is field=value", ()),
    ("train --set epoch=3", "a recipe has no epoch", ()),
    ("train --set epochs=three", "wanted is a whole number", ()),
    ("train --set epochs=-1", "epochs is -1", ()),
    ("train --set learning_rate=nan", "learning_rate is nan", ()),
    ("train --set learning_rate=1e999", "learning_rate is inf", ()),
    ("train --set milestones=a,b", "wanted is numbers with commas", ()),
    ("train --set flip=perhaps", "wanted is true or false", ()),
    ("train --set name=../x", "name is '../x'", ()),
    ("train --set batch_size=99999", "fewer than one batch of 99999", needs_torch),
    ("train --set image_size=4096", "needs about .* GB", needs_torch),
    ("train --seed 99999999999", "seed is 99999999999", ()),
    ("train --precision int4", "'int4' is not one of", ()),
    ("train --device tpu", "--device is 'tpu'", ()),
    ("train --threads -2", "--threads is -2", ()),
    ("train --threads 4096", "--threads is 4096; this computer has", needs_torch),
    ("train --save-every -1", "--save-every is -1", ()),
    ("train --framework jax", "'jax' is not one of", ()),
    ("train --output {bad}/text.png/run", "cannot be written to", needs_torch),
    ("train --output {bad}", "something is there already", needs_torch),
    ("train --resume nowhere", "there is no folder nowhere", ()),
    ("train --resume {bad}", "holds no training run", ()),
    ("train --resume {bad}/text.png", "text.png is no folder", ()),
    ("train --resume {bad}/run", "run.json is damaged", ()),
    ("train --resume {bad}/run --epochs 3", "cannot change a run that is resumed", ()),
    ("experiment", "Missing argument", ()),
    ("experiment width", "'width' is not", ()),
    ("experiment degradation --depths 20", "wanted are two depths or more", ()),
    ("experiment degradation --depths 20,21", "21 is not among the paper's", ()),
    ("experiment degradation --depths a,b", "wanted are whole numbers with commas", ()),
    ("experiment degradation --framework both", "in one of torch and tf", ()),
    ("experiment degradation --recipe nope", "unknown recipe 'nope'", ()),
    ("experiment degradation --data minst", "unknown data set 'minst'", ()),
    ("experiment degradation --output {bad}/text.png/x", "cannot be written to", ()),
    ("evaluate", "Missing argument", ()),
    ("evaluate nope pictures", "no weights of that name ship", needs_both),
    ("evaluate nope.pth pictures", "there is no file nope.pth", needs_both),
    ("evaluate resnet8_digits", "wanted are either pictures", needs_both),
    ("evaluate resnet8_digits {bad}/pictures --data digits", "wanted are either pictures", needs_both),
    ("evaluate resnet8_digits nowhere", "there is no folder or archive nowhere", needs_both),
    ("evaluate resnet8_digits --data minst", "unknown data set 'minst'", needs_both),
    ("evaluate resnet8_digits --data digits --limit 0", "limit is 0", needs_both),
    ("evaluate resnet8_digits --data digits --mean a", "--mean is 'a'", needs_both),
    ("evaluate resnet8_digits --data digits --std 0", "std above 0", needs_both),
    ("evaluate resnet8_digits --data digits --mean nan", "mean is", needs_both),
    ("evaluate resnet8_digits --data digits --mean 1,2", "one for each of 1 channels", needs_both),
    ("evaluate resnet8_digits --data digits --model resnet18", "do not fit the model", needs_both),
    ("evaluate resnet8_digits {bad}/pictures", "has 2 classes, but resnet8_digits knows 10", (*needs_both, "PIL")),
    ("evaluate resnet20_cifar --data digits", "has 1 channels, but resnet20_cifar takes 3", needs_both),
    ("evaluate resnet8_digits {bad}/climbing.tar", "a path that leads out of it", needs_both),
    ("evaluate {bad}/nan.safetensors --data digits", "fc.bias holds values that are not finite", needs_both),
    ("evaluate {bad}/std.safetensors --data digits", "the inputs stored with the weights", needs_both),
    ("evaluate {bad}/inputs.safetensors --data digits", "the inputs stored with the weights", needs_both),
    ("evaluate {bad}/flipped.safetensors --data digits", "flipped.safetensors is damaged", needs_both),
    ("predict", "Missing argument", ()),
    ("predict nope.png", "there is no picture nope.png", (*needs_both, "PIL")),
    ("predict {bad}/hollow", "holds no picture", (*needs_both, "PIL")),
    ("predict {bad}/text.png", "none of the 1 pictures can be read", (*needs_both, "PIL")),
    ("predict {bad}/cut.png", "none of the 1 pictures can be read", (*needs_both, "PIL")),
    ("predict {bad}/no_pixels.png", "none of the 1 pictures can be read", (*needs_both, "PIL")),
    ("predict {bad}/postscript.png", "it is a PostScript file, whatever its name says", (*needs_both, "PIL")),
    ("predict {bad}/web.jpg", "it is a web page, whatever its name says", (*needs_both, "PIL")),
    ("predict {bad}/empty.jpg", "none of the 1 pictures can be read", (*needs_both, "PIL")),
    ("predict {bad}/pictures/a/1.png --weights nope", "no weights of that name ship", (*needs_both, "PIL")),
    ("predict {bad}/pictures/a/1.png --top 0", "--top is 0", (*needs_both, "PIL")),
    ("predict {bad}/pictures/a/1.png --framework jax", "'jax' is not one of", ()),
    ("assignment", "no command given|Missing command", ()),
    ("assignment list all", "unexpected extra argument", ()),
    ("assignment start", "Missing argument", ()),
    ("assignment start 99", "there is no assignment '99'", ()),
    ("assignment start ../a1", "there is no assignment '../a1'", ()),
    ("assignment start 1 {bad}/text.png", "is a file; choose another folder", ()),
    ("assignment check", "Missing argument", ()),
    ("assignment check nope.ipynb", "there is no file nope.ipynb", needs_notebooks),
    ("assignment check {bad}", "is a folder; name a file", needs_notebooks),
    ("assignment check {bad}/text.ipynb", "is not a notebook that can be read", needs_notebooks),
    ("assignment check {bad}/list.ipynb", "is not a notebook that can be read", needs_notebooks),
    ("classroom", "no command given|Missing command", ()),
    ("classroom release --course nowhere", "is not a course", needs_course),
    ("classroom release 99", "is no course, nor does it lie in one", needs_course),
    ("classroom grade --course {bad}", "is not a course", needs_course),
    ("classroom grade --jobs 0", "Invalid value for '--jobs'", ()),
    ("classroom report --course {bad}/text.png", "is not a course", needs_course),
    ("classroom selftest 99", "has no assignment '99'", needs_course),
    ("classroom selftest --jobs many", "Invalid value for '--jobs'", ()),
]


def skip_without(modules: tuple[str, ...]) -> None:
    missing = [module for module in modules if not is_installed(module)]
    if missing:
        pytest.skip(f"{', '.join(missing)} missing")


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


# -- functions


@dataclass(frozen=True)
class Given:
    """What a case may use: the folder with bad files, one that is empty, and a twin with a small model."""

    bad: Path
    place: Path
    twin: Any = None
    model: Any = None

    def images(self, *shape: int, dtype: Any = np.float32) -> Any:
        """Images of ones, in the layout of the twin for (N, H, W, C)."""
        return np.ones(shape, dtype)

    def inputs(self, batch: int = 2) -> Any:
        """Good images for the model."""
        return self.twin.from_nhwc(self.images(batch, 8, 8, 1), self.model)

    def weights(self, **changed: Any) -> dict[str, Any]:
        """Good weights, but for those that are changed; None takes one away."""
        arrays = {**initial_weights(TINY, 0), **{name.replace("__", "."): value for name, value in changed.items()}}
        return {name: array for name, array in arrays.items() if array is not None}


def dataset(**changed: Any) -> Dataset:
    """A small data set, good but for what is changed in its training images, or in itself."""
    good: dict[str, Any] = {"images": np.zeros((20, 8, 8, 1), np.uint8), "labels": np.arange(20) % 2}
    split = Split(**{**good, **{key: changed.pop(key) for key in list(changed) if key in good}})
    return Dataset(**{"name": "toy", "train": split, "test": Split(**good), "classes": ("a", "b"), **changed})


def endless() -> Iterator[int]:
    while True:
        yield 1


ABSENT_DEVICE = "cuda" if sys.platform == "darwin" else "mps"

Case = tuple[str, str, Callable[[Given], Any], str]
#: The function, what is wrong, the call, words of the answer. These need a twin: each is run for both.
TWIN_CASES: list[Case] = [
    ("create_model", "unknown name", lambda g: g.twin.create_model("resnet19"), "unknown network 'resnet19'"),
    ("create_model", "no name", lambda g: g.twin.create_model(18), "not by a int"),
    ("create_model", "None", lambda g: g.twin.create_model(None), "not by a NoneType"),
    ("create_model", "unknown field", lambda g: g.twin.create_model(TINY, classes=3), "no field 'classes'"),
    ("create_model", "no classes", lambda g: g.twin.create_model(TINY, num_classes=0), "num_classes is 0"),
    ("create_model", "half a class", lambda g: g.twin.create_model(TINY, num_classes=2.5), "num_classes is 2.5"),
    ("create_model", "classes as text", lambda g: g.twin.create_model(TINY, num_classes="10"), "num_classes is '10'"),
    ("create_model", "True channels", lambda g: g.twin.create_model(TINY, in_channels=True), "in_channels is True"),
    ("create_model", "too small", lambda g: g.twin.create_model(TINY, input_size=1), "input_size is 1, too small"),
    ("create_model", "huge", lambda g: g.twin.create_model(TINY, widths=(1, 1, 99_999)), "allowed are 1,000,000,000"),
    ("create_model", "endless", lambda g: g.twin.create_model(TINY, depths=(9**5, 1, 1)), "allowed are 2,000 blocks"),
    ("create_model", "dtype", lambda g: g.twin.create_model(TINY, dtype="float16"), "dtype is 'float16'"),
    ("create_model", "seed", lambda g: g.twin.create_model(TINY, seed=-1), "seed is -1"),
    ("create_model", "half a seed", lambda g: g.twin.create_model(TINY, seed=0.5), "seed is 0.5"),
    ("create_skeleton", "unknown name", lambda g: g.twin.create_skeleton("resnet19"), "unknown network"),
    ("resnet18", "no classes", lambda g: g.twin.resnet18(num_classes=-1), "num_classes is -1"),
    ("resnet34", "too small", lambda g: g.twin.resnet34(input_size=8), "input_size is 8, too small"),
    ("resnet50", "shortcut", lambda g: g.twin.resnet50(shortcut="D"), "shortcut is 'D'"),
    ("resnet101", "unknown field", lambda g: g.twin.resnet101(pretrained=True), "no field 'pretrained'"),
    ("resnet152", "epsilon", lambda g: g.twin.resnet152(norm_eps=0), "norm_eps is 0"),
    ("get_weights", "no model", lambda g: g.twin.get_weights({}), "this is no .* model but a builtins.dict"),
    ("set_weights", "no model", lambda g: g.twin.set_weights(None, {}), "this is no .* model but"),
    ("set_weights", "no dict", lambda g: g.twin.set_weights(g.model, [1]), "the weights are a list"),
    ("set_weights", "nothing", lambda g: g.twin.set_weights(g.model, {}), "missing conv1.weight"),
    (
        "set_weights",
        "rank",
        lambda g: g.twin.set_weights(g.model, g.weights(fc__bias=np.zeros((10, 1)))),
        r"fc.bias has shape \(10, 1\)",
    ),
    (
        "set_weights",
        "texts",
        lambda g: g.twin.set_weights(g.model, g.weights(fc__bias=np.array(["a"] * 10))),
        "fc.bias holds str",
    ),
    (
        "set_weights",
        "ragged",
        lambda g: g.twin.set_weights(g.model, g.weights(fc__bias=[[1], [1, 2]])),
        "fc.bias",
    ),
    (
        "set_weights",
        "another network's",
        lambda g: g.twin.set_weights(g.model, initial_weights(SPECS["resnet20_cifar"], 0)),
        "do not fit the model",
    ),
    ("load_weights", "no file", lambda g: g.twin.load_weights(g.model, "nope.pth"), "there is no file nope.pth"),
    ("load_weights", "folder", lambda g: g.twin.load_weights(g.model, g.bad), "is a folder"),
    ("load_weights", "None", lambda g: g.twin.load_weights(g.model, None), "not by None"),
    ("load_weights", "long name", lambda g: g.twin.load_weights(g.model, "x" * 5000), "cannot be read|no file"),
    ("load_weights", "flipped", lambda g: g.twin.load_weights(g.model, g.bad / "flipped.safetensors"), "is damaged"),
    ("load_weights", "stranger", lambda g: g.twin.load_weights(g.model, g.bad / "stranger.safetensors"), "do not fit"),
    ("save_weights", "ending", lambda g: g.twin.save_weights(g.model, g.place / "w.pth"), "does not end in"),
    ("save_weights", "no folder", lambda g: g.twin.save_weights(g.model, "no/w.safetensors"), "there is no folder no"),
    ("save_weights", "no model", lambda g: g.twin.save_weights("x", g.place / "w.safetensors"), "this is no"),
    ("write_native", "no folder", lambda g: g.twin.write_native(g.model, "no/w.keras"), "there is no folder no"),
    ("write_native", "no model", lambda g: g.twin.write_native([], g.place / "w.keras"), "this is no .* model"),
    ("from_nhwc", "rank", lambda g: g.twin.from_nhwc(g.images(8, 8, 1), g.model), r"the shape \(8, 8, 1\)"),
    ("from_nhwc", "channels", lambda g: g.twin.from_nhwc(g.images(2, 8, 8, 3), g.model), "3 channels; .* takes 1"),
    ("from_nhwc", "no model", lambda g: g.twin.from_nhwc(g.images(2, 8, 8, 1), None), "this is no"),
    ("from_nhwc", "complex", lambda g: g.twin.from_nhwc(g.images(2, 8, 8, 1, dtype=complex), g.model), "complex128"),
    ("from_nhwc", "texts", lambda g: g.twin.from_nhwc(np.full((2, 8, 8, 1), "a"), g.model), "the images hold str"),
    ("from_nhwc", "none", lambda g: g.twin.from_nhwc(g.images(0, 8, 8, 1), g.model), "none of them empty"),
    ("from_nhwc", "nan", lambda g: g.twin.from_nhwc(g.images(2, 8, 8, 1) * np.nan, g.model), "not finite"),
    ("forward", "rank", lambda g: g.twin.forward(g.model, np.ones(8)), r"the shape \(8,\)"),
    ("forward", "nan", lambda g: g.twin.forward(g.model, g.inputs() * np.nan), "not finite"),
    ("forward", "inf", lambda g: g.twin.forward(g.model, g.inputs() * np.inf), "not finite"),
    ("forward", "objects", lambda g: g.twin.forward(g.model, np.full((2, 8, 8, 1), None)), "hold object"),
    ("forward", "no model", lambda g: g.twin.forward("resnet18", g.images(1, 8, 8, 1)), "this is no"),
    ("trace", "nan", lambda g: g.twin.trace(g.model, g.inputs() * np.nan), "not finite"),
    ("trace", "too few labels", lambda g: g.twin.trace(g.model, g.inputs(), np.zeros(3, int)), "wanted are 2 whole"),
    ("trace", "one-hot", lambda g: g.twin.trace(g.model, g.inputs(), np.zeros((2, 10), int)), "wanted are 2 whole"),
    ("trace", "half a class", lambda g: g.twin.trace(g.model, g.inputs(), np.array([0.5, 1])), "hold float64"),
    (
        "trace",
        "class 10",
        lambda g: g.twin.trace(g.model, g.inputs(), np.array([0, 10])),
        "allowed are numbers from 0 to 9",
    ),
    ("trace", "class -1", lambda g: g.twin.trace(g.model, g.inputs(), np.array([0, -1])), "numbers from 0 to 9"),
    (
        "train_step",
        "rate",
        lambda g: g.twin.train_step(g.model, g.inputs(), np.array([0, 1]), float("nan")),
        "learning_rate is nan",
    ),
    (
        "train_step",
        "labels",
        lambda g: g.twin.train_step(g.model, g.inputs(), np.array([0]), 0.1),
        "wanted are 2 whole numbers",
    ),
    ("on_device", "unknown", lambda g: g.twin.on_device("gpu").__enter__(), "'gpu'; allowed is one of auto, cpu, cuda"),
    ("on_device", "absent", lambda g: g.twin.on_device(ABSENT_DEVICE).__enter__(), "finds no such device here"),
    ("fuse", "no model", lambda g: g.twin.fuse("resnet18"), "this is no .* model but a builtins.str"),
    ("fuse", "twice", lambda g: g.twin.fuse(g.twin.fuse(g.model)), "is fused already"),
    ("layer_rows", "no model", lambda g: g.twin.layer_rows(1), "this is no"),
    ("layer_rows", "size", lambda g: g.twin.layer_rows(g.model, 2), "input_size is 2"),
    ("printout", "no model", lambda g: g.twin.printout("x"), "this is no"),
]

STEM = StemSpec(out_channels=8, kernel_size=3, stride=1, max_pool=False)


def spec(**changed: Any) -> ResNetSpec:
    return ResNetSpec(**{"name": "x", "block": "BasicBlock", "depths": (1,), "widths": (8,), "stem": STEM, **changed})


#: These need no model.
CASES: list[Case] = [
    ("get_spec", "unknown name", lambda g: get_spec("resnet"), "unknown network 'resnet'; nearest are"),
    ("get_spec", "a list", lambda g: get_spec(["resnet18"]), "not by a list"),
    ("get_spec", "unknown field", lambda g: get_spec("resnet18", size=3), "no field 'size'"),
    ("ResNetSpec", "block", lambda g: spec(block="Block"), "block is 'Block'"),
    ("ResNetSpec", "block, a list", lambda g: spec(block=[]), r"block is \[\]"),
    ("ResNetSpec", "no depths", lambda g: spec(depths=()), "depths is empty"),
    ("ResNetSpec", "depths, a number", lambda g: spec(depths=3), "depths is 3"),
    ("ResNetSpec", "depth 0", lambda g: spec(depths=(0,)), r"depths\[0\] is 0"),
    ("ResNetSpec", "endless depths", lambda g: spec(depths=endless()), "depths"),
    ("ResNetSpec", "lengths", lambda g: spec(depths=(1, 1)), "widths has 1 entries"),
    ("ResNetSpec", "stages", lambda g: spec(depths=(1,) * 40, widths=(8,) * 40), "allowed are .* 12 stages"),
    ("ResNetSpec", "name", lambda g: spec(name=""), "name is ''"),
    ("ResNetSpec", "name with a slash", lambda g: spec(name="../x"), "has no '/'"),
    ("ResNetSpec", "stem", lambda g: spec(stem={}), "stem is {}"),
    ("ResNetSpec", "momentum", lambda g: spec(norm_momentum=float("nan")), "norm_momentum is nan"),
    ("ResNetSpec", "flag", lambda g: spec(conv_bias="no"), "conv_bias is 'no'"),
    ("ResNetSpec.from_dict", "a list", lambda g: ResNetSpec.from_dict([1]), "not from a list"),
    ("ResNetSpec.from_dict", "stem", lambda g: ResNetSpec.from_dict({**TINY.to_dict(), "stem": {"x": 1}}), "no field"),
    ("ResNetSpec.from_dict", "missing", lambda g: ResNetSpec.from_dict({"name": "x"}), "without block, depths"),
    ("StemSpec", "even kernel", lambda g: StemSpec(kernel_size=2), "kernel_size is 2"),
    ("StemSpec", "huge", lambda g: StemSpec(out_channels=10**12), "stem.out_channels is 1000000000000"),
    ("layer_table", "a name", lambda g: layer_table("resnet18"), "a ResNetSpec is wanted"),
    ("layer_table", "size", lambda g: layer_table(TINY, 0), "input_size is 0"),
    ("count_parameters", "a name", lambda g: count_parameters("resnet18"), "a ResNetSpec is wanted"),
    ("count_macs", "size", lambda g: count_macs(TINY, 2.5), "input_size is 2.5"),
    ("weight_shapes", "None", lambda g: weight_shapes(None), "a ResNetSpec is wanted"),
    ("initial_weights", "seed", lambda g: initial_weights(TINY, -1), "seed is -1"),
    ("initial_weights", "huge", lambda g: initial_weights(spec(widths=(99_999,)), 0), "allowed are 1,000,000,000"),
    ("lively_weights", "seed", lambda g: lively_weights(TINY, 2**32), "seed is 4294967296"),
    ("fit", "no dict", lambda g: fit(weight_shapes(TINY), None), "the weights are a NoneType"),
    ("fit", "nothing fits", lambda g: fit(weight_shapes(TINY), {"x": np.ones(1)}, strict=False), "none of the 1"),
    ("read_weights", "None", lambda g: read_weights(None), "not by None"),
    ("read_weights", "no ending", lambda g: read_weights(g.bad / "run" / "run.json"), "ends in '.json'"),
    ("read_safetensors", "cut", lambda g: read_safetensors(g.bad / "cut.safetensors"), "is no readable"),
    ("read_safetensors", "flipped", lambda g: read_safetensors(g.bad / "flipped.safetensors"), "is damaged"),
    ("write_safetensors", "ending", lambda g: write_safetensors(g.place / "x.pt", {}, TINY), "does not end in"),
    ("write_safetensors", "no spec", lambda g: write_safetensors(g.place / "x.safetensors", {}, None), "is wanted"),
    ("convert", "ending", lambda g: convert(g.bad / "good.safetensors", g.place / "x"), "the ending says the format"),
    ("read_trained", "a word", lambda g: read_trained("resnet99"), "no weights of that name ship"),
    ("read_trained", "None", lambda g: read_trained(None), "None"),
    ("read_trained", "nan", lambda g: read_trained(g.bad / "nan.safetensors"), "not finite"),
    ("read_trained", "other spec", lambda g: read_trained(g.bad / "other_spec.safetensors"), "do not fit"),
    ("inputs_of", "std", lambda g: inputs_of(read_trained("resnet8_digits"), std=(0.0,)), "std above 0"),
    ("inputs_of", "lengths", lambda g: inputs_of(read_trained("resnet8_digits"), mean=(1, 2)), "mean is"),
    ("Inputs.from_json", "no JSON", lambda g: Inputs.from_json("{"), "cannot be read"),
    ("Inputs.from_json", "a number", lambda g: Inputs.from_json("3"), "cannot be read"),
    ("get_recipe", "unknown name", lambda g: get_recipe("fast"), "unknown recipe 'fast'"),
    ("get_recipe", "a number", lambda g: get_recipe(3), "not by a int"),
    ("get_recipe", "unknown field", lambda g: get_recipe("quick", lr=3), "no lr"),
    ("get_recipe", "type", lambda g: get_recipe("quick", epochs="3"), "epochs is '3'"),
    ("get_recipe", "a text of changes", lambda g: get_recipe("quick", "epochs=3"), "changes are a list of texts"),
    ("Recipe", "both", lambda g: Recipe(name="x", epochs=1, steps=1), "one of them says how long"),
    ("Recipe", "milestones", lambda g: Recipe(name="x", epochs=1, milestones=("a",)), "milestones are"),
    ("Recipe", "optimizer", lambda g: Recipe(name="x", epochs=1, optimizer=None), "optimizer is None"),
    ("Recipe", "data", lambda g: Recipe(name="x", epochs=1, data="a\0b"), "no plain text"),
    ("read_recipe", "no file", lambda g: read_recipe("nope.toml"), "there is no file"),
    ("read_recipe", "binary", lambda g: read_recipe(g.bad / "binary.toml"), "is no readable recipe"),
    ("Settings", "threads", lambda g: Settings(threads="4"), "--threads is '4'"),
    ("Settings", "device", lambda g: Settings(device=0), "--device is 0"),
    ("load_data", "unknown", lambda g: load_data("mnist"), "unknown data set 'mnist'"),
    ("load_data", "None", lambda g: load_data(None), "unknown data set None"),
    ("load_data", "no folder", lambda g: load_data("folder:nowhere"), "no such folder or archive"),
    ("load_data", "data_dir", lambda g: load_data("cifar10", data_dir="nowhere"), "which is no folder"),
    ("load_data", "channels", lambda g: load_data(f"folder:{g.bad}/pictures", channels=7), "pictures have 1 or 3"),
    ("load_data", "size", lambda g: load_data(f"folder:{g.bad}/pictures", image_size=-3), "image_size is -3"),
    ("load_data", "absurd", lambda g: load_data(f"folder:{g.bad}/pictures", image_size=10**6), "image_size is 1000000"),
    ("find_local", "unknown", lambda g: find_local("mnist"), "unknown data set"),
    ("folder_path", "nowhere", lambda g: folder_path("nowhere"), "no such folder"),
    ("find_pictures", "nowhere", lambda g: find_pictures("nowhere"), "there is no folder or archive nowhere"),
    ("find_pictures", "empty", lambda g: find_pictures(g.bad / "hollow"), "0 pictures in 0 classes"),
    ("find_pictures", "climbing", lambda g: find_pictures(g.bad / "climbing.tar"), "leads out of it"),
    ("decode", "nothing", lambda g: decode([], 8, 8, 1), "there are no pictures"),
    ("decode", "channels", lambda g: decode([], 8, 8, 2), "the network takes 2 channels"),
    ("read_idx", "another file", lambda g: read_idx(g.bad / "text.png", "0" * 64), "are not those of"),
    ("read_cifar_batch", "short", lambda g: read_cifar_batch(b"x", "batch 1"), "batch 1 has 1 bytes"),
    ("read_cifar_batch", "label", lambda g: read_cifar_batch(b"\xff" * 30_730_000, "batch 1"), "has a label 255"),
    ("load_data", "cut CIFAR", lambda g: load_data("cifar10", data_dir=g.place), "has no data_batch_1.bin"),
    ("Dataset", "nan images", lambda g: dataset(images=np.full((20, 8, 8, 1), np.nan)), "wanted is uint8"),
    ("Dataset", "floats", lambda g: dataset(images=np.zeros((20, 8, 8, 1))), "are float64"),
    ("Dataset", "a list", lambda g: dataset(images=[1, 2]), "wanted is uint8"),
    ("Dataset", "rank", lambda g: dataset(images=np.zeros((20, 8, 8), np.uint8)), r"uint8 \(20, 8, 8\)"),
    ("Dataset", "no images", lambda g: dataset(images=np.zeros((0, 8, 8, 1), np.uint8)), "wanted is uint8"),
    ("Dataset", "channels", lambda g: dataset(images=np.zeros((20, 8, 8, 2), np.uint8)), "1 or 3 channels"),
    ("Dataset", "too white", lambda g: dataset(images=np.full((20, 8, 8, 1), 99, np.uint8), highest=16), "white is 16"),
    ("Dataset", "labels", lambda g: dataset(labels=np.zeros(3, int)), "one for each image"),
    ("Dataset", "class 7", lambda g: dataset(labels=np.full(20, 7)), "allowed are 0 to 1"),
    ("Dataset", "half a class", lambda g: dataset(labels=np.full(20, 0.5)), "no whole numbers"),
    ("Batches", "too large", lambda g: Batches(dataset(), get_recipe("quick")), "fewer than one batch of 64"),
    ("plot_block", "block", lambda g: plot_block("resnet18", "layer9.0"), "has no block 'layer9.0'"),
    ("plot_block", "network", lambda g: plot_block("resnet", "layer1.0"), "unknown network"),
    ("plot_stages", "size", lambda g: plot_stages("resnet18", 3), "input_size is 3"),
    ("read_about", "nowhere", lambda g: read_about("nowhere"), "there is no folder nowhere"),
    ("read_about", "damaged", lambda g: read_about(g.bad / "run"), "run.json is damaged"),
    ("read_metrics", "damaged", lambda g: read_metrics(g.bad / "rows"), "metrics.csv is damaged"),
    ("open_runs", "nowhere", lambda g: open_runs(g.place), "holds no training run"),
    ("resume", "nowhere", lambda g: resume(g.place), "holds no training run"),
    ("load_backend", "unknown", lambda g: load_backend("jax"), "unknown framework 'jax'"),
    ("plant_fault", "framework", lambda g: plant_fault(None, 0, framework="jax"), "unknown framework 'jax'"),
    ("plant_fault", "seed", lambda g: plant_fault(None, -1), "seed is -1"),
    ("train", "framework", lambda g: train(get_recipe("quick"), framework="jax"), "unknown framework 'jax'"),
    ("train", "no recipe", lambda g: train("quick"), "a Recipe is wanted"),
    ("compare", "level", lambda g: compare("resnet18", by="pixel"), "by is 'pixel'"),
    ("compare", "a list", lambda g: compare([1]), "not by a list"),
    ("verify", "dtype", lambda g: list(verify(TINY, "float16")), "dtype is 'float16'"),
    ("verify", "a number", lambda g: list(verify(3, "float64")), "not by a int"),
    ("microscope", "dtype", lambda g: microscope("resnet18", dtype="int8"), "dtype is 'int8'"),
    ("microscope", "seed", lambda g: microscope("resnet18", seed=-1), "seed is -1"),
    ("microscope", "size", lambda g: microscope("resnet50", input_size=16_384), "make input_size smaller"),
    ("evaluate", "limit", lambda g: evaluate("resnet8_digits", data="digits", limit=0.5), "limit is 0.5"),
    ("evaluate", "both", lambda g: evaluate("resnet8_digits"), "wanted are either pictures"),
    ("evaluate", "framework", lambda g: evaluate("x", data="digits", frameworks=["jax"]), "unknown framework 'jax'"),
    ("predict", "framework", lambda g: predict(["x.png"], frameworks=["jax"]), "unknown framework 'jax'"),
    ("predict", "no framework", lambda g: predict(["x.png"], frameworks=[]), "no framework"),
    ("degradation", "depths", lambda g: list(degradation(get_recipe("quick"), [20], g.place)), "two depths or more"),
    ("degradation", "odd", lambda g: list(degradation(get_recipe("quick"), [20, 33], g.place)), "33 is not among"),
]
#: These need both twins.
BOTH_CASES: list[Case] = [
    ("compare_models", "swapped", lambda g: compare_models(TINY, *models()[::-1], 8), "this is a Keras model"),
    ("compare_models", "size", lambda g: compare_models(TINY, *models(), 9), "was built for 8 pixels"),
    ("examine", "layout", lambda g: examine(TINY, *models(), np.ones((1, 8, 8, 1)), np.ones((1, 8, 8, 1))), "channels"),
    ("examine", "rank", lambda g: examine(TINY, *models(), np.ones(8), np.ones(8)), "the images for PyTorch"),
    (
        "examine",
        "labels",
        lambda g: examine(TINY, *models(), np.ones((1, 1, 8, 8)), np.ones((1, 8, 8, 1)), np.array([77])),
        "labels are",
    ),
    (
        "train",
        "weights",
        lambda g: train(get_recipe("quick"), output=g.place / "run", weights={}),
        "do not fit|missing",
    ),
    ("train", "output", lambda g: train(get_recipe("quick"), output=g.bad / "text.png"), "something is there"),
    ("train", "data", lambda g: train(get_recipe("quick"), output=g.place / "run", data=dataset()), "fewer than one"),
]


def models() -> tuple[Any, Any]:
    return tuple(backend(name).create_model(TINY, seed=0) for name in BACKENDS)  # type: ignore[return-value]


def name_of(case: Case) -> str:
    return f"{case[0]}: {case[1]}"
