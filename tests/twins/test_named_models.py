"""A model is opened by the name that a user writes; whatever is wrong with it is said in one line."""

from __future__ import annotations

import io
import json
import pickle
import sys
import zipfile

import numpy as np
import pytest

from shared.base.errors import InputError, WeightsError
from shared.checkpoints.ours import save_arrays
from shared.twins.named import open_model
from shared.twins.own_code import GUARD

TORCH = (
    "from torch import nn\n\nclass Net(nn.Linear):\n    def __init__(self, classes=3):\n"
    "        super().__init__(4, classes)\n"
)
KERAS = (
    "import keras\n\ndef build(classes=3):\n    inputs = keras.Input((4,))\n"
    "    return keras.Model(inputs, keras.layers.Dense(classes, name='fc')(inputs))\n"
)


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a file into an empty folder, which is the current one; what `sys` knows is the same afterwards."""
    monkeypatch.chdir(tmp_path)
    path, argv = sys.path[:], sys.argv[:]

    def run(text, name="mine.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return name

    yield run
    assert (sys.path, sys.argv) == (path, argv)
    here = [name for name, module in sys.modules.items() if str(tmp_path) in str(getattr(module, "__file__", ""))]
    assert [name for name in here if not name.startswith("_own_code_")] == []


def refused(name, *parts, **options):
    """Return what is said of a name: one line with all these parts in it."""
    with pytest.raises(InputError) as caught:
        open_model(name, **options)
    text = str(caught.value)
    assert "\n" not in text
    for part in parts:
        assert part in text, text
    return text


# A name


def test_a_class_a_function_and_an_object_of_a_file_are_models(torch_twin, write):
    write(TORCH + "\ndef build(*, classes): return Net(classes)\n\nready = Net(7)\n\nclass Models:\n    Inner = Net\n")
    write("import sys\n" + TORCH + "print('hello')", "wörk space/my net.py")
    assert open_model("mine.py:Net").out_features == 3
    assert open_model("./mine.py:Net(classes=10)").out_features == 10
    assert open_model("mine.py:Net(5)").out_features == 5
    assert open_model("mine.py:build(classes=2)").out_features == 2
    assert open_model("mine.py:ready").out_features == 7
    assert open_model("mine.py:Models.Inner(classes=6)").out_features == 6
    assert open_model("wörk space/my net.py:Net").out_features == 3


def test_a_keras_model_is_one_too_and_a_pair_may_be_of_one_framework(keras_twin, write):
    write(KERAS)
    models = [open_model("mine.py:build", framework="tf"), open_model("mine.py:build(classes=2)")]
    assert [model.output_shape for model in models] == [(None, 3), (None, 2)]
    refused("mine.py:build", "mine.py:build is a Keras model, and PyTorch was asked for", framework="torch")


def test_a_module_is_named_by_its_dotted_name_and_the_current_folder_comes_first(torch_twin, write):
    write(TORCH, "nets/small.py")
    write("from .small import Net\n", "nets/__init__.py")
    assert open_model("nets.small:Net(9)").out_features == 9
    assert open_model("nets:Net").out_features == 3
    assert open_model("torch.nn:Linear(4, out_features=2)").out_features == 2
    refused("netz.small:Net", "there is no module netz", "nets")
    refused("nets.smal:Net", "there is no module nets.smal")


def test_the_catalog_gives_pytorch_models_if_nothing_is_said(torch_twin, keras_twin):
    assert type(open_model("resnet20_cifar")).__module__ == "resnet_torch.resnet"
    assert open_model("resnet20_cifar", framework="tf").name == "resnet20_cifar"
    refused("resnet19", "nearest are", "FILE.py:NAME")
    refused("resnet18", "framework is 'jax'", framework="jax")


def test_names_of_other_forms_are_answered_with_the_forms_that_there_are(write):
    for name in ("weights.pth", "net.onnx", "C:\\nets\\model.h5", "folder/mine:Net", "", "a/b", ":Net"):
        refused(name, "FILE.py:NAME, package.module:NAME, a .pt2 or .keras file, or a name of the catalog")
    refused("C:\\nets\\mine.py:Net", "there is no file C:\\nets\\mine.py")
    write(TORCH)
    refused("mien.py:Net", "there is no file mien.py; near it are mine.py")
    refused("~/no such folder/mine.py:Net", "there is no file")
    refused("no.py:Net(1):2", "there is no file no.py")


def test_without_a_name_in_the_file_nothing_is_run_and_one_is_proposed(torch_twin, write):
    write(TORCH + "\ndef helper(): ...\n\nraise RuntimeError")
    refused("mine.py", "write mine.py:Net")
    write(TORCH.replace("nn.Linear", "nn.Module") + "\nclass Other(Exception): ...\nraise RuntimeError")
    refused("mine.py", "write mine.py:Net")
    refused("mine.py:", "write mine.py:Net")
    write("def one(): ...\ndef two(): ...\nraise RuntimeError")
    refused("mine.py", "write mine.py:NAME, where NAME is one of one, two")
    write("def one(: syntax")
    refused("mine.py", "write mine.py:NAME")


@pytest.mark.parametrize(
    "what",
    [
        *("Net(act=print)", "Net(open('x'))", "Net(*[1])", "Net(**{})", "Net(classes=__import__('os'))", "Net(" * 3000),
        *("Net()()", "Net[0]", "Net + 1", "lambda: 1", "Net(", "1", "Net; 1", "[Net for x in y]", "(" * 300, "f(1).y"),
    ],
)
def test_only_literals_are_arguments(torch_twin, write, what):
    write(TORCH)
    refused(f"mine.py:{what}", "wanted is NAME")


def test_texts_with_colons_and_nested_literals_are_arguments(torch_twin, write):
    write(TORCH + "\ndef build(name, sizes): return Net(sizes['a:b'][-1])")
    assert open_model("mine.py:build('x.py:y', sizes={'a:b': [1, 2], 'c': (None, True)})").out_features == 2


# What goes wrong in the user's code


def test_an_unknown_name_is_answered_with_those_that_could_be_meant(torch_twin, write):
    write("import os\nfrom torch import nn\n" + TORCH + "\ndef build(): ...\n")
    assert "nn" not in refused("mine.py:Nett", "mine.py has no 'Nett'; it has Net").split(";")[1].replace("Net", "")
    refused("mine.py:Net.Inner", "mine.py:Net has no 'Inner'")
    write("x = 1")
    refused("mine.py:Net", "it has neither classes nor functions")


def test_a_class_that_wants_arguments_is_told_how_they_are_written(torch_twin, keras_twin, write):
    write(TORCH.replace("classes=3", "num_classes, width, depth=3") + "\ndef build(first, /): ...")
    refused("mine.py:Net", "wants the arguments num_classes, width", ":Net(num_classes=10, width=10)")
    refused("mine.py:Net(7)", "wants the argument width", ":Net(7, width=10)")
    refused("mine.py:Net(1, 2, clases=3)", "unexpected keyword argument 'clases'", "it takes num_classes, width, depth")
    refused("mine.py:build", "missing a required argument: 'first'")
    write("import keras\n\nclass Net(keras.Model):\n    def __init__(self, classes):\n        super().__init__()\n")
    refused("mine.py:Net", "wants the argument classes", ":Net(classes=10)")


def test_what_makes_no_model_is_said(torch_twin, write):
    write(
        TORCH + "\nsize = 3\ndef nothing(): Net()\ndef kind(): return Net\ndef pair(): return Net(), 1\n"
        "class Plain:\n    def __call__(self): return Net()\nplain = Plain()\nasync def later(): return Net()\n"
        "ready = Net()\n"
    )
    refused("mine.py:size", "is an object of the kind builtins.int")
    refused("mine.py:nothing", "gives None (is `return` missing?)")
    refused("mine.py:kind", "gives the class Net (write NAME() there, which makes one)")
    refused("mine.py:pair", "builtins.tuple", "wanted is a model of PyTorch or Keras")
    refused("mine.py:later", "builtins.coroutine")
    refused("mine.py:Plain", "Plain")
    refused("mine.py:ready(1)", "is a model already")
    assert open_model("mine.py:plain").out_features == 3


def test_errors_name_the_users_own_lines_and_no_others(write):
    write("def check(x):\n    raise ValueError(f'bad\\n{x}\\x1b[2J')\n", "side.py")
    write("import json\nfrom side import check\n\ncheck(json.loads('1'))\n")
    text = refused("mine.py:Net", "mine.py does not import: ValueError: bad 1\\x1b[2J")
    assert text.endswith(
        "(in mine.py line 4 `check(json.loads('1'))`, side.py line 2 `raise ValueError(f'bad\\n{x}\\x1b[2J')`)"
    )
    write("import json\njson.loads('')\n")
    assert refused("mine.py:Net", "JSONDecodeError").endswith("(in mine.py line 2 `json.loads('')`)")
    write("x = 1\ndef f(:\n")
    refused("mine.py:Net", "SyntaxError: ", "(in mine.py line 2 `def f(:`)")
    write("def f(n): return f(n + 1)\nf(0)\n")
    assert refused("mine.py:Net", "RecursionError").count("line 1") == 5
    write("def f():\n    1 / 0\n")
    refused("mine.py:f", "mine.py:f does not work: ZeroDivisionError: division by zero (in mine.py line 2 `1 / 0`)")
    write("class E(Exception):\n    def __str__(self): raise ValueError\nraise E\n")
    refused("mine.py:f", "mine.py does not import: E (in mine.py line 3 `raise E`)")
    write("class E(BaseException): ...\nraise E('x')\n")
    refused("mine.py:f", "mine.py does not import: E: x")


def test_files_that_are_no_python_are_said(write, tmp_path):
    (tmp_path / "mine.py").write_bytes(b"\xff\xfe\x00")
    refused("mine.py:Net", "mine.py does not import: SyntaxError")
    (tmp_path / "other.py").mkdir()
    refused("other.py:Net", "is a folder")


def test_a_missing_package_is_named(write):
    write("import no_such_package_here\n")
    refused("mine.py:Net", "No module named 'no_such_package_here'", "mine.py line 1")
    write("from .side import Net\n", "nets/mine.py")
    refused("nets/mine.py:Net", "relative import", "write nets.mine:NAME")


def test_what_stops_python_is_answered_and_an_interruption_is_passed_on(write):
    write("import sys\nsys.exit('done')\n")
    refused("mine.py:Net", "mine.py does not import: SystemExit: done", GUARD)
    write("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        open_model("mine.py:Net")


def test_what_is_printed_goes_to_standard_error_with_advice(torch_twin, write, capsys, monkeypatch):
    write("print('training...')\n" + TORCH + "        print('building')\n")
    open_model("mine.py:Net")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "training...\n" in shown.err
    assert f"note: mine.py printed something while it was imported; {GUARD}" in shown.err
    monkeypatch.setattr("shared.twins.own_code.SLOW", -1)
    write(TORCH)
    open_model("mine.py:Net")
    assert "note: mine.py took 0 seconds while it was imported" in capsys.readouterr().err


# What a file sees


def test_files_of_two_folders_have_their_own_neighbours(torch_twin, write):
    for folder, size in (("a", 1), ("b", 2)):
        write(f"SIZE = {size}\n", f"{folder}/layer_sizes.py")
        write("", f"{folder}/parts/__init__.py")
        write(f"SIZE = {size}\n", f"{folder}/parts/inner.py")
        write(
            "from layer_sizes import SIZE\n" + TORCH + "\ndef build():\n    from parts.inner import SIZE as also\n"
            "    return Net(SIZE + also)\n",
            f"{folder}/mine.py",
        )
    assert [open_model(f"{folder}/mine.py:build").out_features for folder in "ab"] == [2, 4]


def test_a_file_may_be_called_like_a_module_of_python(torch_twin, write):
    import random

    for name in ("random.py", "test.py", "code.py", "torch.py", "shared.py"):
        write("import random, code\n" + TORCH + "\nassert random.random() < 1 and code.InteractiveConsole\n", name)
    for name in ("random.py", "test.py", "code.py", "torch.py", "shared.py"):
        assert open_model(f"{name}:Net").out_features == 3
    assert sys.modules["random"] is random
    refused("random:Net", "random is another module here than your file; write random.py:Net")


def test_dataclasses_pickles_and_top_level_argument_parsers_work(torch_twin, write):
    write(
        "from __future__ import annotations\nimport argparse\nfrom dataclasses import dataclass\n"
        "args = argparse.ArgumentParser().parse_args()\n\n@dataclass\nclass Sizes:\n    out: int = 3\n\n"
        + TORCH.replace("(4, classes)", "(4, Sizes().out)")
    )
    model = open_model("mine.py:Net")
    assert type(pickle.loads(pickle.dumps(model))) is type(model)


# Weights


def test_pytorch_weights_are_loaded_by_name(torch_twin, write, tmp_path):
    import torch

    write(TORCH)
    state = {"weight": torch.full((3, 4), 2.0), "bias": torch.ones(3)}
    torch.save(state, tmp_path / "net.pth")
    save_arrays(tmp_path / "net.safetensors", {name: value.numpy() for name, value in state.items()}, {})
    for name in ("net.pth", "net.safetensors"):
        assert open_model("mine.py:Net", weights=tmp_path / name).weight.sum() == 24
    torch.save({"weight": state["weight"], "head.bias": state["bias"]}, tmp_path / "other.pth")
    refused("mine.py:Net", "missing bias (3,)", "unexpected head.bias", weights=tmp_path / "other.pth")
    refused("mine.py:Net(5)", "the model wants (5, 4)", weights=tmp_path / "net.pth")
    torch.save(torch.nn.Linear(4, 3), tmp_path / "whole.pth")
    refused("mine.py:Net", "is refused", weights=tmp_path / "whole.pth")
    refused("mine.py:Net", "there is no file", weights=tmp_path / "none.pth")
    refused("mine.py:Net", "weights of a PyTorch model end in", weights=tmp_path / "x.weights.h5")


def test_keras_weights_are_loaded_by_keras(keras_twin, write, tmp_path):
    write(KERAS)
    model = open_model("mine.py:build")
    model.save_weights(tmp_path / "net.weights.h5")
    model.save(tmp_path / "net.keras")
    kernel = np.asarray(model.get_weights()[0])
    save_arrays(tmp_path / "net.safetensors", {"fc.weight": kernel.T, "fc.bias": np.zeros(3)}, {})
    for name in ("net.weights.h5", "net.keras", "net.safetensors"):
        assert (np.asarray(open_model("mine.py:build", weights=tmp_path / name).get_weights()[0]) == kernel).all()
    refused("mine.py:build(classes=5)", "does not fit the model", weights=tmp_path / "net.weights.h5")
    save_arrays(tmp_path / "net.safetensors", {"linear.weight": kernel.T}, {})
    refused("mine.py:build", "has no names that fit", weights=tmp_path / "net.safetensors")
    (tmp_path / "net.weights.h5").write_bytes(b"no")
    refused("mine.py:build", "net.weights.h5 is no readable Keras file", weights=tmp_path / "net.weights.h5")


# Saved models


def test_a_keras_file_is_opened_and_code_in_it_is_refused(keras_twin, tmp_path):
    import keras

    inputs = keras.Input((4,))
    dense = keras.layers.Dense(2)(inputs)
    keras.Model(inputs, dense).save(tmp_path / "net.keras")
    assert open_model(str(tmp_path / "net.keras")).output_shape == (None, 2)
    refused(str(tmp_path / "net.keras"), "is a Keras model, and PyTorch was asked for", framework="torch")
    keras.Model(inputs, keras.layers.Lambda(lambda x: x * 2)(dense)).save(tmp_path / "code.keras")
    refused(str(tmp_path / "code.keras"), "has a Lambda, which is code in a file")

    class Own(keras.layers.Layer):
        def call(self, x):
            return x

    keras.Model(inputs, Own()(dense)).save(tmp_path / "own.keras")
    text = refused(str(tmp_path / "own.keras"), "Keras does not load", "Could not locate class 'Own'")
    assert "config" not in text
    whole = (tmp_path / "net.keras").read_bytes()
    for content in (b"", b"PK\3\4", whole[:900], b"text"):
        (tmp_path / "broken.keras").write_bytes(content)
        refused(str(tmp_path / "broken.keras"), "broken.keras is no readable Keras file")
    refused(str(tmp_path / "none.keras"), "there is no file")


@pytest.fixture
def program(torch_twin, tmp_path):
    """Write a small program of `torch.export` after `change(members)`; return its name."""
    import torch
    from torch import nn

    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)).eval()
    held = io.BytesIO()
    torch.export.save(torch.export.export(model, (torch.ones(1, 3, 4, 4),)), held)

    def run(change=lambda members: None):
        with zipfile.ZipFile(held) as archive:
            members = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
        change(members)
        with zipfile.ZipFile(tmp_path / "net.pt2", "w") as archive:
            for name, content in members.items():
                archive.writestr(f"net/{name}", content)
        return str(tmp_path / "net.pt2")

    run.model = model
    return run


def test_an_exported_program_is_opened_and_computes_the_same(program):
    import torch

    inputs = torch.randn(1, 3, 4, 4)
    opened = open_model(program())
    assert torch.equal(opened.module()(inputs), program.model(inputs))
    refused(program(), "has weights of its own", weights="net.pth")


class Bomb:
    """What a pickle runs when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def described(change):
    """Change the description of a program by `change(text)`."""

    def run(members):
        members["models/model.json"] = change(members["models/model.json"].decode()).encode()

    return run


def test_no_code_of_an_exported_program_is_run(program, tmp_path):
    def pickled(members):
        held = io.BytesIO()
        import torch

        torch.save({"x": Bomb(tmp_path / "mark")}, held)
        members["data/sample_inputs/model.pt"] = held.getvalue()

    open_model(program(pickled))  # the inputs are not read
    code = f"__import__('pathlib').Path({str(tmp_path / 'mark')!r}).touch()"
    quoted = json.dumps(f"input=[{code}]")
    config = "data/weights/model_weights_config.json"
    for change, said in (
        (described(lambda text: text.replace('"input"', quoted)), "the name"),
        (described(lambda text: text.replace("torch.ops.aten.relu.default", "torch.os.system")), "the operation"),
        (
            described(lambda text: text.replace("torch.ops.aten.relu.default", "torch.ops.aten.from_file.default")),
            "from_file",
        ),
        (
            described(lambda text: text.replace('{"as_int": 16}', json.dumps({"as_expr": {"expr_str": code}}))),
            "left open",
        ),
        (described(lambda text: text.replace("builtins.tuple", "collections.defaultdict")), "arguments are a"),
        (described(lambda text: text.replace("4.weight", '4.weight\\"')), "a text"),
        (lambda members: members.update({"data/aotinductor/model/x.so": b""}), "compiled code"),
        (lambda members: members.update({config: members[config].replace(b"false", b"true")}), "pickle"),
        (lambda members: members.update({config: members[config].replace(b"weight_0", b"opaque_obj_0")}), "pickle"),
        (lambda members: members.update({"data/weights/weight_0": b""}), "no numbers"),
        (lambda members: members.pop(config), "one pickle"),
        (lambda members: members.update({"serialized_exported_program.json": b""}), "PyTorch 2.7"),
        (lambda members: members.pop("models/model.json"), "0 programs"),
    ):
        refused(program(change), "net.pt2 is refused", said)
    assert not (tmp_path / "mark").exists()


def test_a_damaged_program_is_said(program, tmp_path):
    name = program()
    whole = (tmp_path / "net.pt2").read_bytes()
    for content in (b"", b"PK\3\4", whole[: len(whole) // 2], b"text"):
        (tmp_path / "net.pt2").write_bytes(content)
        refused(name, "net.pt2 is no readable program of torch.export")
    for change in (described(lambda text: "{}"), described(lambda text: "[" * 100_000), described(lambda text: "1")):
        with pytest.raises(WeightsError):
            open_model(program(change))
    refused(program(described(lambda text: text.replace('"schema_version"', '"other"'))), "net.pt2")
