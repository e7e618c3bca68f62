"""Checkpoints of PyTorch from anybody: nothing in them runs."""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.checkpoints.conversion import convert
from shared.checkpoints.foreign import read_weights
from shared.networks.table import weight_shapes
from tests.checkpoints.foreign import TINY, WEIGHT, call, checkpoint, name, number, refused, row, table, tensor, text


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
