"""Malformed inputs for the functions: of a twin, of `shared`, and of both twins."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared.backends import BACKENDS, load_backend
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
from shared.twins.identification import identify
from shared.twins.microscopy import examine, microscope
from shared.twins.porting import port
from shared.twins.prediction import predict
from shared.twins.summaries import summary
from shared.twins.verification import verify
from tests.cli.malformed import TINY
from tests.conftest import backend

ABSENT_DEVICE = "cuda" if sys.platform == "darwin" else "mps"


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
    ("summary", "no model", lambda g: summary([1]), "no PyTorch or Keras model"),
    ("identify", "no model", lambda g: identify([1]), "no PyTorch or Keras model"),
    ("identify", "no name", lambda g: identify("resnet"), "unknown network 'resnet'"),
    ("identify", "size", lambda g: identify("resnet18", input_size=0), "input_size is 0"),
    ("port", "no model", lambda g: port([1], [2]), "no PyTorch or Keras model"),
    ("microscope", "no model", lambda g: microscope([1], [2]), "no PyTorch or Keras model"),
    ("compare", "size", lambda g: compare([1], [2], input_size=0), "input_size is 0"),
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
