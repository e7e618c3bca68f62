"""Files of weights from anybody: safetensors, names, places, memory."""

from __future__ import annotations

import json
import os
import struct
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.base.errors import InputError
from shared.checkpoints.conversion import convert
from shared.checkpoints.foreign import read_weights
from shared.checkpoints.ours import read_arrays, read_metadata, write_safetensors
from shared.checkpoints.shipped import ASSETS, read_trained, weights_path
from shared.data.inputs import Inputs
from shared.networks.canonical import LoadReport
from shared.networks.initial import initial_weights, lively_weights
from shared.networks.spec import ResNetSpec
from tests.checkpoints.foreign import TINY, WEIGHT, call, checkpoint, refused, table, tensor

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
