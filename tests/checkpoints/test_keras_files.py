"""Files of Keras from anybody."""

from __future__ import annotations

import contextlib
import os
import sys
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
from tests.checkpoints.foreign import SECRET, refused

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
