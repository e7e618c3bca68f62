"""Checkpoints that were made to do harm: each is answered with one line, at once, and nothing else is read or run."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import struct
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import shared.checkpoints.hdf5
from shared.base.errors import InputError
from shared.checkpoints.conversion import convert
from shared.checkpoints.foreign import read_weights
from shared.checkpoints.ours import read_arrays, read_metadata, write_safetensors
from shared.checkpoints.shipped import ASSETS, read_trained, weights_path
from shared.data.inputs import Inputs
from shared.networks.canonical import LoadReport
from shared.networks.catalog import SPECS
from shared.networks.initial import initial_weights, lively_weights
from shared.networks.spec import ResNetSpec
from shared.networks.table import weight_shapes

TINY = SPECS["resnet8_digits"]
SECRET = "root:x:0:0"


def refused(read: Callable[[], Any], words: str, seconds: float = 20) -> str:
    """Call it: it ends soon in an `InputError` of one printable line with these words."""
    started = time.monotonic()
    with pytest.raises(InputError, match=words) as caught:
        read()
    text = str(caught.value)
    assert text.isprintable()
    assert SECRET not in text
    assert time.monotonic() - started < seconds
    return text


# -- PyTorch: pickles by hand


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    packed = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(packed)]) + packed


def row(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def name(whole: str) -> bytes:
    return b"c" + "\n".join(whole.rsplit(".", 1)).encode() + b"\n"


def call(whole: str, *arguments: bytes) -> bytes:
    return name(whole) + row(*arguments) + b"R"


def table(entries: dict[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"


def tensor(
    shape: tuple[Any, ...], strides: tuple[int, ...], key: str = "0", offset: int = 0, kind: str = "FloatStorage"
) -> bytes:
    storage = row(text("storage"), name(f"torch.{kind}"), text(key), text("cpu"), number(100)) + b"Q"
    sizes = [each if isinstance(each, bytes) else number(each) for each in shape]
    hooks = call("collections.OrderedDict")
    parts = (storage, number(offset), row(*sizes), row(*map(number, strides)), b"\x89", hooks)
    return call("torch._utils._rebuild_tensor_v2", *parts)


def checkpoint(path: Path, body: bytes, members: dict[str, bytes] | None = None, method: int = 0) -> Path:
    """A ZIP archive as PyTorch writes it, with this pickle and 100 floats."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("x/data.pkl", b"\x80\x02" + body + b".")
        for each, content in {"data/0": np.arange(100, dtype=np.float32).tobytes(), **(members or {})}.items():
            archive.writestr(f"x/{each}", content)
    return path


WEIGHT = tensor((10, 10), (10, 1))


def test_a_pickle_written_by_hand_is_read(tmp_path):
    arrays = read_weights(checkpoint(tmp_path / "x.pth", table({"fc.weight": WEIGHT}))).arrays
    assert np.array_equal(arrays["fc.weight"], np.arange(100, dtype=np.float32).reshape(10, 10))


def test_numbers_of_a_computer_with_the_other_byte_order_are_read(tmp_path):
    members = {"byteorder": b"big", "data/0": np.arange(100, dtype=">f4").tobytes()}
    array = read_weights(checkpoint(tmp_path / "x.pth", table({"a": WEIGHT}), members)).arrays["a"]
    assert np.array_equal(array.ravel(), np.arange(100))
    assert array.dtype == np.float32
    assert array.dtype.isnative


DOUBLED = b"\x85q\x00" + b"h\x00h\x00\x86q\x00" * 60
PICKLES = {
    "calls os.system": (call("os.system", text("touch pwned")), "it names os.system"),
    "calls getattr": (call("builtins.getattr", name("builtins.dict"), text("get")), "it names builtins.getattr"),
    "names a class": (name("torchvision.models.resnet.ResNet") + b")\x81", "it names torchvision.models.resnet.ResNet"),
    "names with escape codes": (name("os.\x1b[2Jsystem"), r"it names os\.\\x1b\[2Jsystem"),
    "calls through INST": (b"(" + text("touch pwned") + b"ios\nsystem\n", "the instruction INST"),
    "calls through OBJ": (b"(" + name("torch.Size") + b"o", "the instruction OBJ"),
    "calls through NEWOBJ": (name("torch.nn.parameter.Parameter") + b")\x81", "the instruction NEWOBJ"),
    "calls an extension": (b"\x82\x01", "the instruction EXT1"),
    "calls what has no name": (text("x") + b")R", "calls something that has no name"),
    "calls a class": (call("torch.nn.parameter.Parameter", WEIGHT), "it calls torch.nn.parameter.Parameter"),
    "builds a module": (name("torch.FloatStorage") + table({"x": b"N"}) + b"b", "sets attributes"),
    "builds a tensor": (WEIGHT + table({"x": b"N"}) + b"b", "sets attributes"),
    "copies the stack's top": (b"]2", "the instruction DUP"),
    "refers outside": (b"P0\n", "the instruction PERSID"),
    "appends to a dict": (b"}" + text("a") + b"a", "adds to something that is no list"),
    "sets items of a list": (b"]" + text("a") + b"Ns", "changes something that is no dict"),
    "a huge bytearray": (call("builtins.bytearray", number(10**10)), "holds a tuple, not a state_dict"),
    "a huge bytearray as weights": (table({"a": call("builtins.bytearray", number(10**10))}), "holds no state_dict: a"),
    "a bytearray that says it is huge": (b"\x96" + struct.pack("<Q", 10**10) + b"xx", "no readable PyTorch"),
    "bytes that say they are huge": (b"\x8e" + struct.pack("<Q", 10**10) + b"xx", "no readable PyTorch"),
    "a text that says it is huge": (b"X" + struct.pack("<I", 2**32 - 1) + b"xx", "no readable PyTorch"),
    "a number that says it is huge": (b"\x8b" + struct.pack("<i", 2**31 - 1), "no readable PyTorch"),
    "a number of 300,000 bytes": (b"\x8b" + struct.pack("<i", 300_000) + b"\x7f" * 300_000, "holds a int"),
    "a number of a million digits": (b"L" + b"9" * 10**6 + b"L\n", "no readable PyTorch"),
    "a memo beyond all memory": (b"]r\xff\xff\xff\x7f", "holds a list"),
    "a frame beyond the end": (b"\x95" + struct.pack("<Q", 2**62) + b"N", "holds a nonetype|no readable"),
    "a key that takes for ever to hash": (b"N" + DOUBLED + b"}h\x00Ns", "a key that is a tuple"),
    "a set that takes for ever to hash": (b"N" + DOUBLED + call("builtins.set", b"]h\x00a"), "holds a tuple"),
    "a list that holds itself": (b"]q\x00h\x00a", "holds a list, not a state_dict"),
    "a dict that holds itself": (b"}q\x00" + text("model") + b"h\x00s", "holds no state_dict: model"),
    "nothing": (b"", "no readable PyTorch"),
    "an unknown instruction": (b"\xff", "no readable PyTorch"),
    "a mark that is not there": (b"t", "no readable PyTorch"),
    "an empty dict": (b"}", "holds no state_dict: it is empty"),
    "a bare storage": (
        row(text("storage"), name("torch.FloatStorage"), text("0"), text("cpu"), number(9)) + b"Q",
        "a stor",
    ),
    "a storage of nothing": (row(text("storage"), text("x"), text("0"), text("cpu"), number(9)) + b"Q", "no readable"),
    "a storage that is part of another": (
        row(text("storage"), name("torch.FloatStorage"), text("0"), b"NN", row(text("0"), number(0))) + b"Q",
        "a storage that is a part of another one",
    ),
    "one array under 400 names": (
        table({f"a{index}": WEIGHT for index in range(400)}),
        "a1 asks for .* that another array has already",
    ),
    "a stride of 0": (
        table({"a": tensor((10**6, 10**4), (0, 0))}),
        r"a is expanded: its 10,000,000,000 numbers are 1 ",
    ),
    "strides that lie over each other": (table({"a": tensor((50, 50), (1, 1))}), "a is expanded: its 2,500 numbers"),
    "more numbers than are stored": (table({"a": tensor((101,), (1,))}), "a asks for more numbers than are stored"),
    "numbers behind the storage": (table({"a": tensor((10,), (1,), offset=95)}), "no readable PyTorch"),
    "steps beyond the storage": (table({"a": tensor((10,), (20,))}), "no readable PyTorch"),
    "a negative axis": (table({"a": tensor((-1,), (1,))}), "a shape that cannot be"),
    "a negative stride": (table({"a": tensor((3,), (-1,), offset=9)}), "a shape that cannot be"),
    "an axis beyond all memory": (table({"a": tensor((2**62,), (0,))}), "a shape that cannot be"),
    "an axis that is True": (table({"a": tensor((b"\x88",), (1,))}), "a shape that cannot be"),
    "an axis that is a text": (table({"a": tensor((text("3"),), (1,))}), "a shape that cannot be"),
    "too few strides": (table({"a": tensor((3, 3), (1,))}), "2 axes and 1 strides"),
    "70 axes": (table({"a": tensor((1,) * 70, (1,) * 70)}), "70 axes"),
    "no such storage": (table({"a": tensor((3,), (1,), key="7")}), "it holds no x/data/7"),
    "a storage that climbs": (table({"a": tensor((3,), (1,), key="../../../etc/passwd")}), "it holds no x/data/../"),
    "numbers that NumPy has not": (table({"a": tensor((3,), (1,), kind="QInt8Storage")}), "a is a tensor of qint8"),
    "a storage of an unknown kind": (table({"a": tensor((3,), (1,), kind="EvilStorage")}), "names torch.EvilStorage"),
    "a key that is a number": (b"}" + number(3) + WEIGHT + b"s", "a key that is a int"),
    "a text among the tensors": (table({"fc.weight": WEIGHT, "best\x1b[2J": b"N"}), r"holds no state_dict: best\\x1b"),
    "names of a block beyond all": (
        table({f"conv2_block{'9' * 5000}_1_conv.weight": WEIGHT}),
        "fit no network of the catalog",
    ),
}


@pytest.mark.parametrize("case", PICKLES)
def test_a_pickle_does_nothing_but_describe_tensors(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    body, words = PICKLES[case]
    path = checkpoint(tmp_path / "x.pth", body)
    refused(lambda: convert(path, "out.safetensors"), words)
    (tmp_path / "old.pth").write_bytes(old_form(body))
    refused(lambda: convert("old.pth", "out.safetensors"), f"{words}|no readable PyTorch")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.pth", "x.pth"]


def old_form(body: bytes) -> bytes:
    """The same content as PyTorch wrote it before 1.6."""
    start = [
        number(0x1950A86A20F9469CFC6C),
        number(1001),
        table({"little_endian": b"\x88"}),
        body,
        b"](" + text("0") + b"e",
    ]
    stored = struct.pack("<q", 100) + np.arange(100, dtype=np.float32).tobytes()
    return b"".join(b"\x80\x02" + part + b"." for part in start) + stored


def test_the_form_before_pytorch_1_6_is_read_and_what_is_cut_off_said(tmp_path):
    whole = old_form(table({"fc.weight": WEIGHT}))
    (tmp_path / "x.pth").write_bytes(whole)
    assert read_weights(tmp_path / "x.pth").arrays["fc.weight"].shape == (10, 10)
    for size in range(0, len(whole), 17):
        (tmp_path / "x.pth").write_bytes(whole[:size])
        refused(lambda: read_weights(tmp_path / "x.pth"), "no readable PyTorch|is refused")
    lying = whole.replace(struct.pack("<q", 100) + bytes(4), struct.pack("<q", 2**40) + bytes(4))
    (tmp_path / "x.pth").write_bytes(lying)
    refused(lambda: read_weights(tmp_path / "x.pth"), "unpacks to")


def test_a_pickle_that_is_no_checkpoint_is_called_that(tmp_path):
    (tmp_path / "x.pth").write_bytes(pickle.dumps({"a": 1}))
    refused(lambda: read_weights(tmp_path / "x.pth"), "is a pickle, but no PyTorch checkpoint")


def test_counters_of_batches_may_be_one_tensor_under_many_names(tmp_path):
    names = {f"bn{index}.num_batches_tracked": tensor((), ()) for index in range(150)}
    found = read_weights(checkpoint(tmp_path / "x.pth", table({"fc.weight": WEIGHT, **names})))
    assert list(found.arrays) == ["fc.weight"]


# -- PyTorch: archives


def patched(path: Path, old: bytes, new: bytes) -> Path:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    return path


def archives(folder: Path) -> dict[str, tuple[Path, str]]:
    body = table({"fc.weight": WEIGHT})
    cases = {
        "LZMA": (checkpoint(folder / "lzma.pth", body, method=zipfile.ZIP_LZMA), "packed by the method lzma"),
        "BZIP2": (checkpoint(folder / "bzip2.pth", body, method=zipfile.ZIP_BZIP2), "packed by the method bzip2"),
        "TorchScript": (checkpoint(folder / "ts.pth", body, {"constants.pkl": b"", "code/x.py": b""}), "TorchScript"),
        "byte order": (checkpoint(folder / "order.pth", body, {"byteorder": b"middle"}), "no readable PyTorch"),
    }
    with zipfile.ZipFile(folder / "other.pth", "w") as archive:
        archive.writestr("word/document.xml", "<x/>")
    cases["another archive"] = (folder / "other.pth", "is a ZIP archive, but no PyTorch checkpoint")
    with zipfile.ZipFile(folder / "empty.pth", "w"):
        pass
    (folder / "none.pth").write_bytes(b"PK\3\4")
    cases["no archive"] = (folder / "none.pth", "no readable PyTorch")
    path = checkpoint(folder / "twice.pth", body, {"data/1": b"x"})
    cases["the same name twice"] = (patched(path, b"x/data/1", b"x/data/0"), "it holds x/data/0 twice")
    path = checkpoint(folder / "secret.pth", body)
    content = bytearray(path.read_bytes())
    for start in (content.find(b"PK\1\2"), content.rfind(b"PK\1\2")):
        content[start + 8] |= 1
    path.write_bytes(content)
    cases["encrypted"] = (path, "is encrypted")
    path = checkpoint(folder / "over.pth", body)
    content = bytearray(path.read_bytes())
    content[content.rfind(b"PK\1\2") + 42 :][:4] = struct.pack("<I", 0)
    start = content.rfind(b"PK\1\2") + 42
    content[start : start + 4] = struct.pack("<I", 0)
    path.write_bytes(content)
    cases["members over each other"] = (path, "lie over each other")
    path = checkpoint(folder / "huge.pth", body)
    cases["a size that lies"] = (
        patched(path, struct.pack("<II", 400, 400), struct.pack("<II", 400, 4 * 10**9)),
        "unpacks to 4,000",
    )
    path = checkpoint(folder / "short.pth", body)
    cases["a size beyond the end"] = (
        patched(path, struct.pack("<II", 400, 400), struct.pack("<II", 10**7, 10**7)),
        ".",
    )
    with zipfile.ZipFile(folder / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(200_000_000))
    cases["a pickle of 200 MB of zeros"] = (folder / "bomb.pth", "unpacks to")
    path = checkpoint(folder / "says_less.pth", body, {"data/0": bytes(200_000_000)}, zipfile.ZIP_DEFLATED)
    cases["more than it says"] = (patched(path, struct.pack("<I", 200_000_000), struct.pack("<I", 400)), ".")
    return cases


def test_archives_that_lie_are_told(tmp_path):
    for case, (path, words) in archives(tmp_path).items():
        print(case)
        refused(lambda path=path: read_weights(path), words)


def test_an_archive_that_somebody_packed_again_is_read(tmp_path):
    path = checkpoint(tmp_path / "x.pth", table({"fc.weight": WEIGHT}), method=zipfile.ZIP_DEFLATED)
    assert np.array_equal(read_weights(path).arrays["fc.weight"].ravel(), np.arange(100))


# -- PyTorch: its own files


def odd_tensors(torch: Any) -> dict[str, tuple[Any, str]]:
    complex_ = torch.ones(3, dtype=torch.complex64)
    with_attribute = torch.ones(3)
    with_attribute.tag = "x"
    return {
        "sparse": (torch.eye(3).to_sparse(), r"a is a sparse tensor; save it as tensor\.to_dense\(\)"),
        "sparse rows": (torch.eye(3).to_sparse_csr(), r"a is a sparse tensor; save it as tensor\.to_dense\(\)"),
        "quantised": (torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), r"tensor\.dequantize\(\)"),
        "quantised by channel": (
            torch.quantize_per_channel(torch.ones(3, 3), torch.ones(3), torch.zeros(3), 0, torch.quint8),
            r"tensor\.dequantize\(\)",
        ),
        "meta": (torch.ones(10**6, 10**6, device="meta"), "a is a tensor on the device 'meta'"),
        "float8": (torch.ones(3).to(torch.float8_e4m3fn), r"a is a tensor of float8_e4m3fn.*tensor\.float\(\)"),
        "complex": (complex_, "a holds complex64 values"),
        "conjugate": (complex_.conj(), r"a is conjugated by a mark only; save it as tensor\.resolve_conj\(\)"),
        "negative": (complex_.conj().imag, r"a is negated by a mark only; save it as tensor\.resolve_neg\(\)"),
        "nested": (torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "a is a nested tensor"),
        "ragged": (
            torch.nested.nested_tensor([torch.ones(2)], layout=torch.jagged),
            r"it names torch\.nested\._internal",
        ),
        "bool": (torch.ones(3, dtype=torch.bool), "a holds bool values"),
        "expanded": (torch.ones(1).expand(10**6), r"a is expanded: .* save it as tensor\.clone\(\)"),
        "a storage": (torch.ones(3).untyped_storage(), "holds no state_dict: a"),
        "a text": ("x", "holds no state_dict: a"),
    }


ODD = ["sparse", "sparse rows", "quantised", "quantised by channel", "meta", "float8", "complex", "conjugate"]
ODD += ["negative", "nested", "ragged", "bool", "expanded", "a storage", "a text"]


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("new", [True, False], ids=["new form", "old form"])
@pytest.mark.filterwarnings("ignore")  # PyTorch's own, about prototypes
def test_a_tensor_that_has_no_plain_numbers_is_named_and_what_to_do(torch_twin, tmp_path, kind, new):
    import torch

    value, words = odd_tensors(torch)[kind]
    try:
        torch.save({"a": value}, tmp_path / "x.pth", _use_new_zipfile_serialization=new)
    except (RuntimeError, NotImplementedError, pickle.PicklingError) as error:
        pytest.skip(f"PyTorch itself cannot save it so: {error}")
    refused(lambda: convert(tmp_path / "x.pth", tmp_path / "out.safetensors", TINY.name), words)


def test_what_people_save_beside_their_weights_does_no_harm(torch_twin, tmp_path):
    import torch

    model = torch_twin.create_model(TINY, seed=0)
    optimizer = torch.optim.Adam(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    extra = {
        "epoch": 3,
        "best": 91.7,
        "args": {"lr": 0.1, "steps": (1, 2)},
        "rng": torch.get_rng_state(),
        "tags": {"a"},
    }
    extra |= {"dtype": torch.float16, "size": torch.Size([1, 2]), "raw": b"abc", "big": 10**30, "none": None}
    extra |= {"device": torch.device("cpu"), "optimizer": optimizer.state_dict(), "mask": torch.eye(2).to_sparse()}
    for protocol in (2, 3, 4, 5):
        for new in (True, False):
            whole = {**extra, "state_dict": model.state_dict()}
            torch.save(whole, tmp_path / "x.tar", pickle_protocol=protocol, _use_new_zipfile_serialization=new)
            arrays = read_weights(tmp_path / "x.tar").arrays
            expected = torch_twin.get_weights(model)
            assert all(np.array_equal(arrays[each], expected[each]) for each in expected)


@pytest.mark.parametrize("form", ["float64", "float16", "bfloat16", "channels last", "parameters", "parts", "strides"])
def test_pytorchs_own_reader_finds_the_same_numbers(torch_twin, tmp_path, form):
    import torch

    state = dict(torch_twin.create_model(TINY, seed=0).state_dict(keep_vars=form == "parameters"))
    if form in ("float64", "float16", "bfloat16"):
        state = {key: value.to(getattr(torch, form)) for key, value in state.items()}
    if form == "channels last":
        state = {
            key: value.to(memory_format=torch.channels_last) if value.ndim == 4 else value
            for key, value in state.items()
        }
    if form == "parts":  # of one long row, as some optimizers keep them
        whole = torch.cat([value.detach().flatten().float() for value in state.values()])
        parts = whole.split([value.numel() for value in state.values()])
        state = {key: part.view(value.shape) for (key, value), part in zip(state.items(), parts, strict=True)}
    if form == "strides":
        state = {key: torch.stack([value, value])[0] if value.ndim else value for key, value in state.items()}
    torch.save(state, tmp_path / "x.pth")
    expected = torch.load(tmp_path / "x.pth", weights_only=True)
    arrays = read_weights(tmp_path / "x.pth").arrays
    assert arrays.keys() == weight_shapes(TINY).keys()
    for key, array in arrays.items():
        wanted = expected[key].detach()
        wanted = wanted.float() if form.endswith("float16") else wanted
        assert np.array_equal(array, wanted.numpy())
        assert array.dtype == wanted.numpy().dtype
        assert array.flags.writeable


# -- Keras


@pytest.fixture
def weights_h5(tmp_path: Path) -> Callable[..., Any]:
    """Makes an HDF5 file like those of Keras 3, with one layer that a function fills."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")

    def make(fill: Callable[[Any, Any], None], **options: Any) -> Path:
        with h5py.File(tmp_path / "x.weights.h5", "w", **options) as file:
            file.create_group("vars").attrs["name"] = "net"
            values = file.create_group("layers/conv2d/vars")
            values.attrs["name"] = "conv1"
            fill(file, values)
        return tmp_path / "x.weights.h5"

    return make


def external(file: Any, values: Any) -> None:
    place = Path(file.filename).with_name("secret.txt")
    values.create_dataset("0", (3, 3, 3, 3), "u1", external=[(str(place), 0, 81)])


def external_link(file: Any, values: Any) -> None:
    import h5py

    with h5py.File(Path(file.filename).with_name("other.h5"), "w") as other:
        other["x"] = np.zeros((3, 3, 3, 3))
    values["0"] = h5py.ExternalLink("other.h5", "/x")


def soft_link(file: Any, values: Any) -> None:
    import h5py

    values["other"] = np.zeros((3, 3, 3, 3), np.float32)
    values["0"] = h5py.SoftLink("/layers/conv2d/vars/other")


def group_link(file: Any, values: Any) -> None:
    import h5py

    file["layers/dense"] = h5py.SoftLink("/layers/conv2d")


def virtual(file: Any, values: Any) -> None:
    import h5py

    source = h5py.VirtualSource(str(Path(file.filename).with_name("secret.txt")), "x", (3, 3, 3, 3))
    layout = h5py.VirtualLayout((3, 3, 3, 3), "f4")
    layout[:] = source
    values.create_virtual_dataset("0", layout)


def hard_link(file: Any, values: Any) -> None:
    values["0"] = np.zeros((3, 3, 3, 3), np.float32)
    values["1"] = values["0"]


def cycle(file: Any, values: Any) -> None:
    values["again"] = file["layers"]


def many_names(file: Any, values: Any) -> None:
    values["0"] = np.zeros((500, 500), np.float32)
    for number_ in range(1, 400):
        values[str(number_)] = values["0"]


def type_(file: Any, values: Any) -> None:
    values["0"] = np.dtype("f4")


def long_place(file: Any, values: Any) -> None:
    values.create_group("x" * 20_000)


def long_name(file: Any, values: Any) -> None:
    values.attrs["name"] = "x" * 60_000


def list_name(file: Any, values: Any) -> None:
    values.attrs["name"] = ["x"] * 1000


def odd_name(file: Any, values: Any) -> None:
    values.attrs["name"] = np.zeros((), [("a", "f4")])


def no_name(file: Any, values: Any) -> None:
    del values.attrs["name"]
    values["0"] = np.zeros((3, 3, 3, 3), np.float32)


def dataset(**options: Any) -> Callable[[Any, Any], None]:
    def fill(file: Any, values: Any) -> None:
        import h5py

        kind = options.get("dtype", "f4")
        named = {"reference": h5py.ref_dtype, "region": h5py.regionref_dtype, "lists": h5py.vlen_dtype(np.float32)}
        named |= {"texts": h5py.string_dtype(), "pairs": np.dtype([("a", "f4")]), "enum": h5py.enum_dtype({"a": 1})}
        values.create_dataset("0", **{"shape": (3, 3, 3, 3), **options, "dtype": named.get(kind, kind)})

    return fill


HDF5_CASES = {
    "external storage": (external, "vars/0 lies in another file"),
    "an external link": (external_link, "vars/0 is a link"),
    "a soft link": (soft_link, "vars/0 is a link"),
    "a soft link to a group": (group_link, "layers/dense is a link"),
    "a virtual array": (virtual, "vars/0 lies in another file"),
    "a hard link": (hard_link, "vars/1 is layers/conv2d/vars/0 under another name"),
    "an array under 400 names": (many_names, "under another name"),
    "groups in a circle": (cycle, "vars/again is layers under another name"),
    "a type": (type_, "vars/0 is a type"),
    "a place of 20,000 characters": (long_place, "has 20,0.. characters"),
    "a name of 60,000 characters": (long_name, "the name of layers/conv2d/vars has 60,000 characters"),
    "a name that is a list": (list_name, "the name of layers/conv2d/vars is no text"),
    "a name that is a number": (odd_name, "the name of layers/conv2d/vars is no text"),
    "no name": (no_name, "does not name its layers"),
    "terabytes in pieces": (dataset(shape=(10**6, 10**6), chunks=(1000, 1000)), "unpacks to 4,000,000 MB"),
    "terabytes of nothing": (dataset(shape=(10**6, 10**6)), "says that it has 4,000,000,000,000 bytes, and has 0"),
    "nothing but a fill value": (dataset(fillvalue=7), "says that it has 324 bytes, and has 0"),
    "pieces larger than all": (dataset(shape=(3,), maxshape=(None,), chunks=(10**8,)), "stored in pieces"),
    "gzip": (dataset(compression="gzip"), "stored in pieces or compressed"),
    "lzf": (dataset(compression="lzf"), "stored in pieces or compressed"),
    "shuffled": (dataset(shuffle=True), "stored in pieces or compressed"),
    "checked": (dataset(fletcher32=True), "stored in pieces or compressed"),
    "scaled": (dataset(scaleoffset=3), "stored in pieces or compressed"),
    "references": (dataset(dtype="reference"), "holds object values"),
    "regions": (dataset(dtype="region"), "holds object values"),
    "lists": (dataset(dtype="lists"), "holds object values"),
    "texts": (dataset(dtype="texts"), "holds object values"),
    "pairs": (dataset(dtype="pairs"), "values; weights are real numbers"),
    "an enumeration": (dataset(dtype="enum"), "values; weights are real numbers"),
    "complex": (dataset(dtype="c8"), "holds complex64 values"),
    "bool": (dataset(dtype="?"), "holds bool values"),
    "no array at all": (lambda file, values: None, "holds no layers with weights"),
}


@pytest.mark.parametrize("case", HDF5_CASES)
@pytest.mark.parametrize("suffix", [".weights.h5", pytest.param(".keras", marks=pytest.mark.slow)])
def test_hdf5_gives_only_what_lies_in_the_file_itself(tmp_path, weights_h5, case, suffix):
    (tmp_path / "secret.txt").write_text(SECRET * 100)
    fill, words = HDF5_CASES[case]
    path = weights_h5(fill)
    if suffix == ".keras":
        with zipfile.ZipFile(tmp_path / "x.keras", "w") as archive:
            archive.write(path, "model.weights.h5")
    refused(lambda: convert(tmp_path / f"x{suffix}", tmp_path / "out.safetensors"), words)
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no FIFO")
def test_a_pipe_that_an_hdf5_file_names_is_not_waited_for(tmp_path, weights_h5):
    os.mkfifo(tmp_path / "secret.txt")
    for fill in (external, virtual):
        path = weights_h5(fill)
        refused(lambda path=path: read_weights(path), "lies in another file")


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_the_forms_of_hdf5_that_keras_may_write_are_read(tmp_path, weights_h5, version):
    kernel = np.arange(81, dtype=np.float32).reshape(3, 3, 3, 3)

    def fill(file: Any, values: Any) -> None:
        values["0"] = kernel
        values["1"] = kernel[0, 0, 0].astype(">f8")

    arrays = read_weights(weights_h5(fill, libver=version)).arrays
    assert np.array_equal(arrays["conv1.weight"], kernel.transpose(3, 2, 0, 1))
    assert np.array_equal(arrays["conv1.bias"], kernel[0, 0, 0])
    assert arrays["conv1.bias"].dtype.isnative


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows other signals")
@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("import os; os.kill(os.getpid(), 11)", "the HDF5 library was killed by SIGSEGV"),
        ("import time; time.sleep(60)", "did not come to an end"),
        ("print('no json')", "no readable Keras file"),
        ("raise MemoryError", "the HDF5 library died"),
    ],
    ids=["it crashes", "it hangs", "it talks nonsense", "it is out of memory"],
)
def test_a_file_that_breaks_the_hdf5_library_costs_one_process_and_one_line(
    tmp_path, weights_h5, monkeypatch, what, words
):
    """A few changed bytes in a real file make HDF5 1.14 hang, or take all memory."""
    path = weights_h5(hard_link)
    (tmp_path / "broken.py").write_text(what)
    monkeypatch.setattr(shared.checkpoints.hdf5, "LISTS", tmp_path / "broken.py")
    monkeypatch.setattr(shared.checkpoints.hdf5, "MOST_SECONDS", 3)
    refused(lambda: read_weights(path), words)


def test_changed_bytes_of_a_real_file_are_one_line_or_no_matter(tmp_path, weights_h5):
    def fill(file: Any, values: Any) -> None:
        values["0"] = np.zeros((3, 3, 3, 3), np.float32)

    good = weights_h5(fill).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(8):
        changed = bytearray(good)
        for place in rng.integers(0, len(good), 20):
            changed[place] = rng.integers(256)
        (tmp_path / "y.h5").write_bytes(changed)
        with contextlib.suppress(InputError):
            read_weights(tmp_path / "y.h5")


def keras_archives(folder: Path, inside: bytes) -> dict[str, tuple[Path, str]]:
    def pack(name_: str, method: int = 0, content: bytes = inside, member: str = "model.weights.h5") -> Path:
        with zipfile.ZipFile(folder / name_, "w", method) as archive:
            archive.writestr("config.json", "[" * 100_000)
            archive.writestr(member, content)
        return folder / name_

    cases = {
        "LZMA": (pack("lzma.keras", zipfile.ZIP_LZMA), "packed by the method lzma"),
        "BZIP2": (pack("bzip2.keras", zipfile.ZIP_BZIP2), "packed by the method bzip2"),
        "no weights": (pack("none.keras", member="weights.h5"), "it holds no model.weights.h5"),
        "a bomb": (pack("bomb.keras", zipfile.ZIP_DEFLATED, bytes(300_000_000)), "unpacks to 300 MB"),
        "no HDF5": (pack("text.keras", content=b"text"), "no readable Keras file"),
    }
    path = pack("crc.keras")
    content = bytearray(path.read_bytes())
    content[content.find(b"model.weights.h5") + len(inside) // 2] ^= 1
    path.write_bytes(content)
    cases["a wrong CRC"] = (path, "no readable Keras file.*CRC")
    path = pack("secret.keras")
    content = bytearray(path.read_bytes())
    content[content.rfind(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    cases["encrypted"] = (path, "is encrypted")
    path = pack("method.keras")
    content = bytearray(path.read_bytes())
    content[content.rfind(b"PK\1\2") + 10] = 77
    path.write_bytes(content)
    cases["an unknown method"] = (path, "packed by the method 77|no readable")
    path = pack("cut.lzma.keras", zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    start = content.find(b"model.weights.h5") + 30
    content[start : start + 50] = bytes(50)
    path.write_bytes(content)
    cases["spoilt inside"] = (path, "no readable Keras file")
    return cases


def test_keras_archives_that_lie_are_told(tmp_path, weights_h5):
    def fill(file: Any, values: Any) -> None:
        values["0"] = np.random.default_rng(0).random((3, 3, 3, 30)).astype(np.float32)

    inside = weights_h5(fill).read_bytes()
    for case, (path, words) in keras_archives(tmp_path, inside).items():
        print(case)
        refused(lambda path=path: read_weights(path), words)


def test_keras_2_files_need_none_of_their_lists_of_names(tmp_path):
    """All entries of such a list can be one long text: a few bytes would make gigabytes."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.attrs["layer_names"] = ["x" * 1000] * 10
        file["conv1_conv/conv1_conv/kernel:0"] = np.zeros((3, 3, 3, 3), np.float32)
        file["conv1_bn/conv1_bn/gamma:0"] = np.ones(3, np.float32)
    assert sorted(read_weights(tmp_path / "old.h5").arrays) == ["bn1.weight", "conv1.weight"]
    with h5py.File(tmp_path / "old.h5", "a") as file:
        file["lstm/recurrent_kernel:0"] = np.zeros((3, 3), np.float32)
    refused(lambda: read_weights(tmp_path / "old.h5"), "has an array lstm/recurrent_kernel:0")


# -- safetensors, specs and inputs


def safetensors(path: Path, header: Any, data: bytes = b"") -> Path:
    packed = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(packed)) + packed + data)
    return path


EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}


@pytest.mark.parametrize("read", [read_weights, read_arrays, read_metadata, read_trained])
@pytest.mark.parametrize(
    ("header", "words"),
    [
        (lambda: {str(index): EMPTY for index in range(200_000)}, "its header has .* arrays or more"),
        (lambda: {"__metadata__": {"x": "y" * 33_000_000}}, "its header has 33,"),
        (lambda: b"{" * 100_000, "is no readable"),
        (lambda: {"a": {**EMPTY, "shape": [2**63, 2**63]}}, "is no readable"),
        (lambda: {"a": {**EMPTY, "dtype": "F9"}}, "is no readable"),
        (lambda: b"", "is no readable"),
    ],
    ids=["many arrays", "a long text", "brackets", "a shape beyond all", "an unknown dtype", "nothing"],
)
def test_a_header_is_looked_at_before_it_is_believed(tmp_path, read, header, words):
    path = safetensors(tmp_path / "x.safetensors", header())
    refused(lambda: read(path), words)


@pytest.mark.parametrize(
    ("entry", "size", "words"),
    [
        ({"dtype": "BF16", "shape": [2]}, 4, "a holds numbers of type BF16, which NumPy does not know"),
        ({"dtype": "F8_E4M3", "shape": [2]}, 2, "a holds numbers of type F8_E4M3"),
        ({"dtype": "F8_E5M2", "shape": [2]}, 2, "a holds numbers of type F8_E5M2"),
        ({"dtype": "C64", "shape": [2]}, 16, "a holds complex64 values"),
        ({"dtype": "BOOL", "shape": [2]}, 2, "a holds bool values"),
        ({"dtype": "F32", "shape": [1] * 100}, 4, "is no readable"),
        ({"dtype": "F32", "shape": [0, 10**15]}, 0, "unexpected a"),
        ({"dtype": "U64", "shape": [2]}, 16, "unexpected a"),
    ],
    ids=lambda value: str(value.get("dtype")) if isinstance(value, dict) else "",
)
def test_numbers_that_numpy_has_not_are_named(tmp_path, entry, size, words):
    header = {"a": {**entry, "data_offsets": [0, size]}}
    path = safetensors(tmp_path / "x.safetensors", header, bytes(size))
    refused(lambda: convert(path, tmp_path / "out.safetensors", TINY.name), words)


GOOD_SPEC = TINY.to_dict()
SPEC_TEXTS = {
    "brackets": "[" * 200_000,
    "fewer brackets": "[" * 50_000,
    "nested as deep as can be read": '{"name": ' + "[" * 980 + "]" * 980 + "}",
    "a name nested as deep": json.dumps(GOOD_SPEC).replace('"resnet8_digits"', "[" * 970 + "]" * 970, 1),
    "a long number": json.dumps(GOOD_SPEC).replace('"num_classes": 10', '"num_classes": ' + "9" * 4000),
    "a longer number": json.dumps(GOOD_SPEC).replace('"num_classes": 10', '"num_classes": ' + "9" * 9000),
    "a long number for a real one": json.dumps({**GOOD_SPEC, "norm_eps": 0}).replace('eps": 0', 'eps": ' + "9" * 4000),
    "infinity": json.dumps({**GOOD_SPEC, "norm_eps": float("inf")}),
    "many classes": json.dumps({**GOOD_SPEC, "num_classes": 10**9}),
    "a deep network": json.dumps({**GOOD_SPEC, "depths": [10**5] * 3}),
    "many stages": json.dumps({**GOOD_SPEC, "depths": [1] * 5000, "widths": [1] * 5000}),
    "an unknown field": json.dumps({**GOOD_SPEC, "x" * 50_000: 1}),
    "escape codes": json.dumps({**GOOD_SPEC, "\x1b[2J": 1}),
    "a long text": json.dumps({**GOOD_SPEC, "source": "x" * 10**6}),
    "a list": "[1]",
    "nothing": "",
    "null": "null",
}


@pytest.mark.parametrize("case", SPEC_TEXTS)
def test_a_spec_in_a_file_is_read_or_named(tmp_path, case):
    path = safetensors(tmp_path / "x.safetensors", {"__metadata__": {"spec": SPEC_TEXTS[case]}})
    refused(lambda: read_weights(path), "carries a spec that cannot be read")


@pytest.mark.parametrize("value", [10**400, -(10**400), [[]], {}, float("nan"), 1j, "x" * 10**6])
@pytest.mark.parametrize("field", ["norm_eps", "num_classes", "depths", "stem", "name", "source", "shortcut"])
def test_any_value_in_a_spec_is_an_input_error(field, value):
    if (field, type(value)) in (("name", str), ("source", str)):
        pytest.skip("a text is right there")
    with pytest.raises(InputError):
        ResNetSpec.from_dict({**GOOD_SPEC, field: value})


GOOD_INPUTS = {"data": "x", "classes": list("abcdefghij"), "image_size": 8, "mean": [0.0], "std": [1.0], "highest": 16}
INPUTS = {
    "brackets": "[" * 200_000,
    "nested": '{"classes": ' + "[" * 980 + "]" * 980 + "}",
    "a long text": json.dumps({**GOOD_INPUTS, "data": "x" * 5_000_000}),
    **{
        f"{key} {str(value)[:20]}": json.dumps({**GOOD_INPUTS, key: value})
        for key, value in [
            *(("image_size", value) for value in (10**9, 4097, 0, -1, 8.5, True, "8", None, [8], 10**400)),
            *(("mean", value) for value in ([1e300], [10**400], [True], ["0"], "0", [None], [[0]], [], [float("nan")])),
            *(("std", value) for value in ([0], [-1], [1e-300], [float("inf")], [], "1")),
            *(("classes", value) for value in ([1], "abcdefghij", [[]], {}, None)),
            *(("highest", value) for value in (0, 256, 1.5, "255", True)),
            *(("data", value) for value in (1, None, [])),
            ("unknown", 1),
        ]
    },
}


@pytest.mark.parametrize("case", INPUTS)
def test_inputs_in_a_file_are_right_or_named(case):
    refused(lambda: Inputs.from_json(INPUTS[case]), "the inputs stored with the weights")


def test_images_too_small_for_the_network_are_said_when_the_weights_are_read(tmp_path):
    inputs = json.dumps({**GOOD_INPUTS, "image_size": 1})
    write_safetensors(tmp_path / "x.safetensors", initial_weights(TINY, 0), TINY, {"inputs": inputs})
    refused(lambda: read_trained(tmp_path / "x.safetensors"), "input_size is 1, too small")


@pytest.mark.parametrize(
    "training",
    [
        "[" * 200_000,
        "{}",
        "3",
        json.dumps({"recipe": 5}),
        json.dumps({"recipe": "seed = inf"}),
        json.dumps({"recipe": "seed = -1"}),
        json.dumps({"recipe": "seed = " + "9" * 4000}),
        json.dumps({"recipe": "seed = " + "[" * 5000}),
        json.dumps({"recipe": "seed = true"}),
        json.dumps({"recipe": "seed = '1'"}),
        json.dumps({"recipe": "a." * 40_000 + "a = 1"}),
    ],
    ids=lambda text: text[:24],
)
def test_what_a_file_says_of_its_training_may_be_anything(tmp_path, training):
    write_safetensors(tmp_path / "x.safetensors", initial_weights(TINY, 0), TINY, {"training": training})
    assert read_trained(tmp_path / "x.safetensors").seed == 0


# -- names and places


@pytest.mark.parametrize(
    ("content", "ending", "words"),
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(100), ".pth", "is an HDF5 file, whatever its ending .pth says"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), ".keras", "is an HDF5 file"),
        (b"PK\3\4" + bytes(100), ".safetensors", "is a ZIP archive"),
        (b"PK\3\4" + bytes(100), ".h5", "is a ZIP archive"),
        (struct.pack("<Q", 16) + b'{"a": {}}       ', ".pth", "is a .safetensors file"),
        (bytes(257) + b"ustar" + bytes(300), ".pth.tar", "is a tar archive"),
        (b"\x1f\x8b" + bytes(100), ".bin", "is packed with gzip"),
    ],
)
def test_a_file_with_the_ending_of_another_kind_is_told_what_it_is(tmp_path, content, ending, words):
    (tmp_path / f"x{ending}").write_bytes(content)
    refused(lambda: read_weights(tmp_path / f"x{ending}"), words)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".keras", ".h5", ".weights.h5"])
@pytest.mark.parametrize("read", [read_weights, read_trained, read_arrays, read_metadata])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_what_is_no_plain_file_is_refused_at_once(tmp_path, suffix, read):
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    (tmp_path / f"device{suffix}").symlink_to("/dev/zero")
    (tmp_path / f"nowhere{suffix}").symlink_to("nothing")
    (tmp_path / f"circle{suffix}").symlink_to(f"circle{suffix}")
    for kind in ("pipe", "folder", "device", "nowhere", "circle"):
        refused(lambda kind=kind: read(tmp_path / f"{kind}{suffix}"), "no plain file|is a folder|no file|leads back", 5)


def test_weights_that_a_link_leads_to_are_read(tmp_path):
    """The caches of Hugging Face consist of links."""
    (tmp_path / "x.safetensors").symlink_to(ASSETS / "resnet8_digits.safetensors")
    assert read_trained(tmp_path / "x.safetensors").spec.name == "resnet8_digits"


@pytest.mark.parametrize(
    "place", ["x" * 5000, "x" * 5000 + ".pth", "a\0b", "a\0b.pth", "\x1b[2J", "\udcff", "/dev/zero", "."]
)
def test_any_name_for_weights_is_answered(place):
    refused(lambda: read_weights(weights_path(place)), ".")
    refused(lambda: read_trained(place), ".")


def test_a_report_of_loading_shows_names_that_only_print():
    report = str(LoadReport(("a",), (), ("\x1b[2J", *map(str, range(1000))), ()))
    assert report.isprintable()
    assert len(report) < 500


def test_foreign_weights_are_read_where_pytorch_is_not_loaded(run_python, tmp_path):
    checkpoint(tmp_path / "x.pth", table({"fc.weight": WEIGHT}))
    code = (
        "import sys; from shared.checkpoints.foreign import read_weights\n"
        f"read_weights({str(tmp_path / 'x.pth')!r}); print('torch' in sys.modules)"
    )
    assert run_python(code).stdout.strip() == "False"


def test_our_own_files_stay_as_they_are(tmp_path):
    weights = lively_weights(TINY, 0)
    write_safetensors(tmp_path / "x.safetensors", weights, TINY)
    found = read_weights(tmp_path / "x.safetensors")
    assert all(np.array_equal(found.arrays[each], weights[each]) for each in weights)


# -- memory

#: In bytes: what reading a file of a few megabytes may cost.
MOST_MEMORY = 700_000_000
GROWTH = (
    "import resource, sys, numpy, safetensors.numpy; from shared.checkpoints.conversion import convert\n"
    "def memory(): return int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) * 1024\n"
    "before = memory()\n"
    "try: convert({path!r}, {path!r} + '.safetensors')\n"
    "except ValueError as error: print(type(error).__name__, file=sys.stderr)\n"
    "print(memory() - before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)"
)


def many_members(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(60_000):
            archive.writestr(f"x/{index}", b"")
    return path


def long_text_in_every_entry(path: Path) -> Path:
    import h5py

    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["layer_names"] = ["x"]
        values = file.create_group("layers/conv2d/vars")
        values.attrs["name"] = ["x" * 4_000_000] + ["y"] * 3000
    return path


def many_groups(path: Path) -> Path:
    import h5py

    with h5py.File(path, "w", libver="latest") as file:
        for index in range(20_000):
            file.create_group(f"layers/{index}")
    return path


def one_array_under_many_names(path: Path) -> Path:
    entries = {f"a{index}": tensor((2000, 2000), (2000, 1)) for index in range(400)}
    return checkpoint(path, table(entries), {"data/1": b""}, zipfile.ZIP_DEFLATED)


def packed_arrays(path: Path) -> Path:
    entries = {f"a{index}": tensor((2500, 2500), (2500, 1), key=str(index)) for index in range(100)}
    zeros = {f"data/{index}": bytes(25_000_000) for index in range(1, 100)}
    return checkpoint(path, table(entries), zeros, zipfile.ZIP_DEFLATED)


FILES: dict[str, Callable[[Path], Path]] = {
    "dicts.pth": lambda path: checkpoint(path, b"}" * 5_000_000),
    "lists.pth": lambda path: checkpoint(path, b"(" * 2_000_000 + b"l" * 2_000_000),
    "tuples.pth": lambda path: checkpoint(path, b")" + b"\x85" * 4_000_000),
    "memo.pth": lambda path: checkpoint(path, b"]" + b"\x94" * 5_000_000),
    "copies.pth": lambda path: checkpoint(
        path, b"](" + b"]" * 10**5 + b"eq\x00" + call("collections.OrderedDict", b"h\x00") * 10**4
    ),
    "numbers.pth": lambda path: checkpoint(path, b"](" + b"K\x01" * 2_500_000 + b"e"),
    "members.pth": many_members,
    "names.pth": one_array_under_many_names,
    "packed.pth": packed_arrays,
    "texts.h5": long_text_in_every_entry,
    "groups.h5": many_groups,
    "empty.safetensors": lambda path: safetensors(path, {str(index): EMPTY for index in range(70_000)}),
    "texts.safetensors": lambda path: safetensors(path, {"__metadata__": {str(index): "" for index in range(400_000)}}),
    "spec.safetensors": lambda path: safetensors(path, {"__metadata__": {"spec": "[" + "[]," * 10**6 + "1]"}}),
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process took at most since it started")
@pytest.mark.parametrize("file", FILES)
def test_a_small_file_takes_little_memory_and_time(run_python, tmp_path, file):
    if file.endswith(".h5"):
        pytest.importorskip("h5py", reason="h5py is not installed")
    path = FILES[file](tmp_path / file)
    assert path.stat().st_size < 12_000_000
    started = time.monotonic()
    result = run_python(GROWTH.format(path=str(path)))
    assert result.stderr.split() in (["WeightsError"], ["InputError"]), result.stderr
    assert max(map(int, result.stdout.split())) < MOST_MEMORY
    assert time.monotonic() - started < 60
