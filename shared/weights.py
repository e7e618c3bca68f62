"""Weights in one canonical form: a dict of NumPy arrays with torchvision's names and layouts.

`layer1.0.conv1.weight` is (out, in, height, width), `fc.weight` is (out, in), a BatchNorm has `weight`, `bias`,
`running_mean` and `running_var`. PyTorch's `num_batches_tracked` is a counter, not a weight, and is left out.
On disk the arrays are a `.safetensors` file with the spec in its metadata.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.budget import Budget
from shared.catalog import SPECS
from shared.damage import said_as_damage
from shared.errors import InputError, WeightsError
from shared.files import check_readable, open_plain, replacing
from shared.printable import printable, printable_list
from shared.spec import ResNetSpec
from shared.table import Shape, check_buildable, layer_table, weight_shapes

Arrays = dict[str, NDArray[Any]]

DTYPES = ("float32", "float64")
#: Version 1 had no hash; there are such files, also among the weights that ship.
FORMAT = "resnet-twins weights, version 2"
HASH = "resnet_twins_sha256"
HEAD = ("fc.weight", "fc.bias")
#: What a header may hold: the deepest network that can be built has 32,000 arrays, with an optimizer's 100,000.
MOST_HEADER, MOST_ARRAYS, MOST_SPEC = 32_000_000, 150_000, 100_000
#: The dtypes of safetensors that NumPy has.
NUMPY_DTYPES = {"F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL", "C64"}


def check_dtype(dtype: str) -> None:
    """Raise `InputError` unless `dtype` is the name of a dtype that both twins compute in."""
    if dtype not in DTYPES:
        raise InputError(f"dtype is {dtype!r}; allowed is one of {', '.join(DTYPES)}")


def check_seed(seed: int | None) -> None:
    """Raise `InputError` unless `seed` is None or a whole number from 0 to 2**32 - 1."""
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32):
        raise InputError(f"seed is {seed!r}; allowed is a whole number, 0 to {2**32 - 1}, or None")


def initial_weights(spec: ResNetSpec, seed: int) -> Arrays:
    """Return fresh weights for `spec`, the same for the same seed, as torchvision initialises them.

    Convolutions: normal with variance 2 / (out_channels * kernel_size**2) (He et al. 2015, "Delving Deep",
    fan-out). Biases and the last layer: uniform within 1 / sqrt(fan_in), PyTorch's default. BatchNorm: gamma
    1, or 0 where `zero_init_residual` says so, beta 0, mean 0, variance 1.
    """
    check_seed(seed)
    check_buildable(spec)
    rng = np.random.default_rng(seed)
    zero_gamma = set()
    if spec.zero_init_residual:
        last = "bn3" if spec.block == "Bottleneck" else "bn2"
        zero_gamma = {f"{row.name}.{last}.weight" for rows in spec.stages() for row in rows}
    arrays: Arrays = {}
    for row in layer_table(spec):
        for key, shape in row.weights.items():
            name = f"{row.name}.{key}"
            if row.kind == "batch_norm":
                ones = key in ("weight", "running_var") and name not in zero_gamma
                arrays[name] = np.full(shape, float(ones), np.float32)
            elif row.kind == "conv" and key == "weight":
                std = np.float32(np.sqrt(2.0 / (shape[0] * shape[2] * shape[3])))
                arrays[name] = rng.standard_normal(shape, np.float32) * std
            else:
                fan_in = int(np.prod(row.weights["weight"][1:]))
                bound = np.float32(fan_in**-0.5)
                arrays[name] = (2 * rng.random(shape, np.float32) - 1) * bound
    return arrays


#: What makes a network tame, see `lively_weights`.
TAME_GAMMA, TAME_PLAIN_GAMMA, TAME_BETA = 0.2, 0.9, 2.0


def lively_weights(spec: ResNetSpec, seed: int, *, tame: bool = False) -> Arrays:
    """Return weights in which nothing is 0 or 1 by default, so that no mistake can hide. For tests and `verify`.

    Every gamma, beta, running mean, running variance and bias is drawn at random. `tame=True` keeps rounding
    errors from growing with depth: the last gamma of every residual block is multiplied by 0.2 (without shortcuts
    every gamma by 0.9), so that activations do not grow from block to block, and 2 is added to every other beta,
    so that most ReLUs are open and rounding seldom puts an activation on the other side of zero.
    """
    arrays = initial_weights(replace(spec, zero_init_residual=False), seed)
    rng = np.random.default_rng([seed, 1])
    residual = spec.block != "PlainBlock"
    last_norm = ".bn3" if "Bottleneck" in spec.block else ".bn2"
    for row in layer_table(spec):
        if row.kind != "batch_norm":
            continue
        ends_branch = residual and row.name.endswith(last_norm)
        for key, shape in row.weights.items():
            low, high = {"weight": (0.7, 1.3), "running_var": (0.5, 1.5)}.get(key, (-0.3, 0.3))
            array = rng.uniform(low, high, shape).astype(np.float32)
            if tame and key == "weight" and (ends_branch or not residual):
                array *= np.float32(TAME_GAMMA if residual else TAME_PLAIN_GAMMA)
            if tame and key == "bias" and not ends_branch:
                array += np.float32(TAME_BETA)
            arrays[f"{row.name}.{key}"] = array
    return arrays


@dataclass(frozen=True)
class LoadReport:
    """What loading did: the names of the arrays that were set, and of those that did not fit."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]

    def __str__(self) -> str:
        """Return the report as one line."""
        parts = [f"{len(self.loaded)} arrays loaded"]
        for label, names in (
            ("not in the file", self.missing),
            ("not in the model", self.unexpected),
            ("of another shape", self.misshapen),
        ):
            if names:
                parts.append(f"{len(names)} {label} ({printable_list(names)})")
        return "; ".join(parts)


def _array(name: str, values: Any) -> NDArray[Any]:
    try:
        return np.asarray(values.detach() if hasattr(values, "detach") else values)  # also PyTorch's parameters
    except ValueError as error:
        raise WeightsError(f"{name} is no array ({error})") from error


def is_fused(names: Container[str]) -> bool:
    """Say whether these are the names of the weights of a network that went through `fuse`.

    In each of ours the first block has a BatchNorm bn2, and in each fused one the convolution before it has its bias.
    """
    return "layer1.0.conv1.bias" in names and "layer1.0.bn2.weight" not in names


def fit(
    expected: Mapping[str, Shape],
    arrays: Mapping[str, NDArray[Any]],
    *,
    strict: bool = True,
    new_head: bool = False,
) -> tuple[Arrays, LoadReport]:
    """Hold `arrays` against the names and shapes that a model expects.

    Returns the arrays to set and a report. `strict=False` takes what fits and reports the rest;
    `new_head=True` lets only the last layer differ, as with a changed `num_classes`. Otherwise one
    `WeightsError` lists everything that is missing, unexpected or misshapen. Nothing is set here.
    """
    if not isinstance(arrays, Mapping):
        raise InputError(
            f"the weights are a {type(arrays).__name__}; wanted is a dict of arrays, as get_weights returns"
        )
    arrays = {name: _array(name, each) for name, each in arrays.items() if not name.endswith("num_batches_tracked")}
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu" and array.dtype.name != "bfloat16":
            raise WeightsError(f"{name} holds {array.dtype.name} values; allowed are real numbers")
    missing = [name for name in expected if name not in arrays]
    unexpected = [name for name in arrays if name not in expected]
    misshapen = [name for name in expected if name in arrays and arrays[name].shape != tuple(expected[name])]
    good = {name: arrays[name] for name in expected if name in arrays and name not in misshapen}
    report = LoadReport(tuple(good), tuple(missing), tuple(unexpected), tuple(misshapen))
    forgiven = set(HEAD) if new_head else set()
    problems = [f"missing {name} {tuple(expected[name])}" for name in missing if name not in forgiven]
    problems += [f"unexpected {name} {arrays[name].shape}" for name in unexpected if name not in forgiven]
    problems += [
        f"{name} has shape {arrays[name].shape}, the model wants {tuple(expected[name])}"
        for name in misshapen
        if name not in forgiven
    ]
    if strict and problems:
        head = all(name in HEAD for name in (*missing, *unexpected, *misshapen))
        hint = " (only the last layer differs: new_head=True keeps the model's own)" if head else ""
        if is_fused(arrays) != is_fused(expected):
            hint = f" (of the two, only {'the model is' if is_fused(expected) else 'the weights are'} fused)"
        raise WeightsError(f"the weights do not fit the model{hint}: " + "; ".join(problems))
    if not good:
        raise WeightsError(f"none of the {len(arrays)} arrays fits the model")
    return good, report


def write_safetensors(
    path: str | Path,
    arrays: Mapping[str, NDArray[Any]],
    spec: ResNetSpec,
    extra: Mapping[str, str] | None = None,
) -> None:
    """Write `arrays` and `spec` to `path`, which must end in `.safetensors`, whole or not at all.

    `extra` are further texts for the file's metadata, like the names of the classes.
    """
    if not isinstance(spec, ResNetSpec):
        raise InputError(f"a ResNetSpec is wanted, not {spec!r}")
    if Path(path).suffix != ".safetensors":
        raise InputError(f"{path} does not end in .safetensors; `resnet-twins convert` writes other formats")
    metadata = {"format": FORMAT, "spec": json.dumps(spec.to_dict()), **(extra or {})}
    save_arrays(path, arrays, metadata)


def fingerprint(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> str:
    """Return the SHA-256 of everything that counts in a file: names, dtypes, shapes and values, and the texts."""
    texts = {key: text for key, text in metadata.items() if key != HASH}
    digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def save_arrays(
    path: str | Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str], keep: Path | None = None
) -> None:
    """Write arrays, texts and the hash of both to a `.safetensors` file, whole or not at all.

    What stood there is moved to `keep`, if that is given. Raises `OSError` if there is no room.
    """
    from safetensors import SafetensorError
    from safetensors import numpy as safetensors

    plain = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    texts = {**metadata, HASH: fingerprint(plain, metadata)}
    try:
        with replacing(path, keep) as temporary:
            safetensors.save_file(plain, str(temporary), texts)
    except SafetensorError as error:  # which is no OSError, also where the disk is full
        raise OSError(errno.EIO, str(error), str(path)) from error


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    """Open a `.safetensors` file whose header is no longer than that of a network."""
    from safetensors import SafetensorError, safe_open

    path = check_readable(path)
    with said_as_damage(path, ".safetensors file"), open_plain(path) as file:
        length = int.from_bytes(file.read(8), "little")
        arrays = file.read(min(length, MOST_HEADER)).count(b'"dtype"')
        # A length beyond the end of the file is damage, which the library finds.
        if MOST_HEADER < length < path.stat().st_size or arrays > MOST_ARRAYS:
            raise WeightsError(
                f"{printable(path)} is refused: its header has {length:,} bytes, {arrays:,} arrays or more; no network "
                f"needs more than {MOST_HEADER:,} and {MOST_ARRAYS:,}"
            )
        try:
            with safe_open(str(path), "numpy") as opened:
                yield opened
        except SafetensorError as error:
            raise ValueError(str(error)) from error


def read_arrays(path: str | Path) -> tuple[Arrays, dict[str, str]]:
    """Read a `.safetensors` file: its arrays and its texts. Raises `WeightsError` if it is damaged.

    Files of other programs carry no hash; one of ours without it has lost it.
    """
    with _opened(path) as file:
        metadata = dict(file.metadata() or {})
        budget = Budget.for_file(path, members=MOST_ARRAYS)
        arrays = {}
        for name in file.keys():  # noqa: SIM118
            budget.take_member()
            dtype = file.get_slice(name).get_dtype()
            if dtype not in NUMPY_DTYPES:
                raise WeightsError(
                    f"{printable(path)}: {printable(name)} holds numbers of type {printable(dtype)}, which NumPy does "
                    "not know; save it as float32"
                )
            arrays[name] = file.get_tensor(name)
            budget.take(arrays[name].nbytes)
    ours = metadata.get("format", "").startswith("resnet-twins") and not metadata["format"].endswith("version 1")
    if (ours or HASH in metadata) and metadata.get(HASH) != fingerprint(arrays, metadata):
        raise WeightsError(f"{printable(path)} is damaged: its content has another SHA-256 than when it was written")
    return arrays, metadata


def read_safetensors(path: str | Path) -> tuple[Arrays, ResNetSpec | None]:
    """Read a `.safetensors` file: its arrays, and the spec if the file was written by this package."""
    arrays, metadata = read_arrays(path)
    if "spec" not in metadata:
        return arrays, None
    try:
        if len(metadata["spec"]) > MOST_SPEC:
            raise ValueError(f"it has {len(metadata['spec']):,} characters")
        return arrays, ResNetSpec.from_dict(json.loads(metadata["spec"]))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{printable(path)} carries a spec that cannot be read ({error})") from error


def read_metadata(path: str | Path) -> dict[str, str]:
    """Return the texts in the metadata of a `.safetensors` file: "spec", "inputs", "training", ..."""
    with _opened(path) as file:
        return dict(file.metadata() or {})


def recognise(arrays: Mapping[str, NDArray[Any]]) -> list[ResNetSpec]:
    """Return the specs of the catalog that these arrays fit, most likely first, with their own head and input.

    Some networks have equal shapes and differ only in where a stride or a shortcut without parameters lies;
    then there are several, in the order of the catalog. The number of classes and of input channels is
    taken from the arrays.
    """
    shapes = {name: array.shape for name, array in arrays.items() if not name.endswith("num_batches_tracked")}
    first, head = shapes.get("conv1.weight", ()), shapes.get("fc.weight", ())
    if len(first) != 4 or len(head) != 2:
        return []
    found = []
    for spec in SPECS.values():
        adapted = replace(spec, in_channels=first[1], num_classes=head[0])
        if weight_shapes(adapted) == shapes:
            found.append(adapted)
    return found
