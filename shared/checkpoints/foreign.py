"""Weights from elsewhere: reads what other programs saved, gives it canonical names, and says which network it is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from shared.base.budget import Budget
from shared.base.damage import said_as_damage
from shared.base.errors import InputError, WeightsError
from shared.base.files import open_plain
from shared.base.printable import printable
from shared.checkpoints.hdf5 import Hdf5, open_hdf5
from shared.checkpoints.ours import read_arrays, spec_in
from shared.checkpoints.torch_files import read_torch
from shared.checkpoints.zips import Archive
from shared.networks.canonical import KERAS_LAYOUTS, Arrays, fit, from_keras_layout, is_fused, recognise
from shared.networks.catalog import get_spec
from shared.networks.spec import ResNetSpec
from shared.networks.table import weight_shapes

TORCH_SUFFIXES = (".pth", ".pt", ".th", ".tar", ".bin")
READABLE = (*TORCH_SUFFIXES, ".safetensors", ".keras", ".h5")
#: Of a pickle: a tensor takes about forty, and the deepest networks have tens of thousands of those.
MOST_INSTRUCTIONS = 5_000_000

#: What files of Keras call the kinds of layers that have weights.
KERAS_KINDS = {"conv2d": "Conv2D", "dense": "Dense", "batch_normalization": "BatchNormalization"}
#: The arrays of a layer as Keras 2 calls them, in the order in which Keras 3 stores them.
KERAS2_ORDER = ("kernel", "gamma", "bias", "beta", "moving_mean", "moving_variance")
#: Names that other people give to the layers: pattern -> canonical name.
RENAMES = (
    (r"^module\.", ""),  # nn.DataParallel
    (r"^(linear|classifier)\.", "fc."),
    (r"\.shortcut\.", ".downsample."),
    (r"^conv1_conv\.", "conv1."),  # keras.applications
    (r"^conv1_bn\.", "bn1."),
    (r"^predictions\.", "fc."),
)


@dataclass(frozen=True)
class ForeignWeights:
    """What a file holds: canonical arrays, the specs that fit them, most likely first, and texts beside the weights."""

    arrays: Arrays
    specs: tuple[ResNetSpec, ...]
    texts: Mapping[str, str]


def canonical_name(name: str) -> str:
    """Return the canonical name for an array that somebody else called `name`."""
    for pattern, better in RENAMES:
        name = re.sub(pattern, better, name)
    match = re.match(r"^conv(\d)_block(\d{1,4})_(\d)_(conv|bn)\.(\w+)$", name)
    if not match:
        return name
    stage, block, number, kind, suffix = match.groups()
    layer = f"{kind}{number}" if number != "0" else f"downsample.{0 if kind == 'conv' else 1}"
    return f"layer{int(stage) - 1}.{int(block) - 1}.{layer}.{suffix}"


def _rename(arrays: Mapping[str, Any], path: Path) -> Arrays:
    renamed: Arrays = {}
    for name, array in arrays.items():
        better = canonical_name(name)
        if better in renamed:
            raise WeightsError(f"{printable(path)} holds {printable(better)} twice, once as {printable(name)}")
        renamed[better] = array
    return renamed


def _read_keras_layers(path: Path, budget: Budget) -> tuple[str, dict[str, tuple[str, list[Any]]]]:
    """Return the model's name, and layer name -> (kind of layer, its arrays).

    Reads `.keras`, `.weights.h5` and Keras 2's `.h5` as what they are, HDF5 tables: no model is built and no
    code that the file might name is run.
    """
    with said_as_damage(path, "Keras file"), ExitStack() as stack:
        stream = stack.enter_context(open_plain(path))
        if path.suffix == ".keras":
            stream = stack.enter_context(Archive(stream, budget).unpacked("model.weights.h5"))
        file = open_hdf5(stream, budget)
        if file.keras2:
            return "", _keras2_layers(file)
        return file.names.get("vars", ""), _keras3_layers(file)


def _keras3_layers(file: Hdf5) -> dict[str, tuple[str, list[Any]]]:
    groups = Counter(match[1] for match in map(re.compile(r"layers/([^/]+)/vars/\d+").fullmatch, file.arrays) if match)
    found: dict[str, tuple[str, list[Any]]] = {}
    for group, count in groups.items():
        place = f"layers/{group}/vars"
        name = file.names.get(place)
        if name is None:
            raise WeightsError(
                f"{printable(file.budget.path)} does not name its layers: saved by an old Keras; save it again with "
                "Keras 3.12 or later"
            )
        if name in found:
            raise WeightsError(f"{printable(file.budget.path)} has two layers of the name {printable(name)}")
        found[name] = (re.sub(r"_\d+$", "", group), [file.array(f"{place}/{number}") for number in range(count)])
    return found


def _keras2_layers(file: Hdf5) -> dict[str, tuple[str, list[Any]]]:
    """The official ImageNet weights of `keras.applications` still come in this form."""
    layers: dict[str, dict[str, str]] = {}
    for place in file.arrays:
        variable = place.rpartition("/")[2].removesuffix(":0")
        known = layers.setdefault(place.partition("/")[0], {})
        if variable not in KERAS2_ORDER or variable in known:
            raise WeightsError(
                f"{printable(file.budget.path)} has an array {printable(place)}; no ResNet of ours has such a one"
            )
        known[variable] = place
    found: dict[str, tuple[str, list[Any]]] = {}
    for layer, places in layers.items():
        arrays = [file.array(places[variable]) for variable in KERAS2_ORDER if variable in places]
        found[layer] = ({4: "conv2d", 2: "dense"}.get(arrays[0].ndim, "batch_normalization"), arrays)
    return found


def _read_keras(path: Path, budget: Budget) -> tuple[str, Arrays]:
    arrays = {}
    model, layers = _read_keras_layers(path, budget)
    for layer, (kind, values) in layers.items():
        layout = list(KERAS_LAYOUTS[KERAS_KINDS[kind]].values()) if kind in KERAS_KINDS else []
        if len(values) > len(layout):
            raise WeightsError(
                f"{printable(path)} has a layer {printable(layer)} of kind {printable(kind)} with {len(values)} "
                "arrays: no ResNet of ours"
            )
        for value, (suffix, axes) in zip(values, layout, strict=False):
            if value.ndim != len(axes):
                raise WeightsError(
                    f"{printable(path)}: {printable(layer)}.{suffix} has {value.ndim} axes, {len(axes)} are expected"
                )
            arrays[f"{layer}.{suffix}"] = np.ascontiguousarray(from_keras_layout(value, axes))
    if not arrays:
        raise WeightsError(f"{printable(path)} holds no layers with weights")
    return model, _rename(arrays, path)


def _check_ending(path: str | Path) -> None:
    """Raise `WeightsError` if a file plainly is of another kind than its ending says."""
    with open_plain(path) as stream, said_as_damage(path, "file of weights"):
        head = stream.read(512)
    suffix = Path(path).suffix
    kinds = [
        ("an HDF5 file", (".h5",), head.startswith(b"\x89HDF\r\n\x1a\n")),
        ("a ZIP archive, as PyTorch's .pth and .keras are", (*TORCH_SUFFIXES, ".keras"), head.startswith(b"PK\3\4")),
        ("a .safetensors file", (".safetensors",), head[6:10] in (b'\0\0{"', b"\0\0{}")),
        ("a tar archive, to be unpacked first", (), head[257:262] == b"ustar"),
        ("packed with gzip, to be unpacked first", (), head.startswith(b"\x1f\x8b")),
    ]
    for what, endings, found in kinds:
        if found and suffix in READABLE and suffix not in endings:
            raise WeightsError(f"{printable(path)} is {what}, whatever its ending {suffix} says")


def read_weights(path: str | Path) -> ForeignWeights:
    """Read a file of weights in any format that this package knows, and recognise the network.

    Formats: `.safetensors`; PyTorch's `.pth`, `.pt`, `.th`, `.tar`, `.bin` (never unpickled beyond tensors);
    Keras' `.keras`, `.weights.h5` and `.h5`. Raises `WeightsError` if the file cannot be read.
    """
    _check_ending(path)
    path = Path(path)
    spec, model, texts = None, "", dict[str, str]()
    if path.suffix == ".safetensors":
        arrays, texts = read_arrays(path)
        spec = spec_in(texts, path)
        if spec is None:
            arrays = _rename(arrays, path)
    elif path.suffix in TORCH_SUFFIXES:
        arrays = _rename(read_torch(path, Budget.for_file(path, members=MOST_INSTRUCTIONS)), path)
    elif path.suffix in (".keras", ".h5"):
        model, arrays = _read_keras(path, Budget.for_file(path))
    else:
        raise InputError(f"{printable(path)} ends in {path.suffix or 'nothing'!r}; readable are {', '.join(READABLE)}")
    arrays = {name: array for name, array in arrays.items() if not name.endswith("num_batches_tracked")}
    specs = [spec] if spec else recognise(arrays)
    named = [candidate for candidate in specs if candidate.name == model]
    return ForeignWeights(arrays, tuple(named or specs), texts)


def read_named(path: str | Path) -> Arrays:
    """Return the arrays of a PyTorch checkpoint or a `.safetensors` file under the names that they have there.

    Raises `WeightsError` if the file cannot be read.
    """
    _check_ending(path)
    path = Path(path)
    if path.suffix == ".safetensors":
        return read_arrays(path)[0]
    return read_torch(path, Budget.for_file(path, members=MOST_INSTRUCTIONS))


def spec_of(model: Any, arrays: Arrays) -> ResNetSpec:
    """Return the spec a model was built from, or the one that its weights fit (for a model loaded from a file)."""
    spec = getattr(model, "spec", None)
    if isinstance(spec, ResNetSpec):
        return spec
    if is_fused(arrays):
        raise WeightsError(
            "a fused network (convolutions with a bias, no BatchNorm) is not saved: save the original, and fuse it "
            "again after loading"
        )
    found = recognise(arrays)
    if not found:
        raise WeightsError("the model has no `spec` and its weights fit no network of the catalog")
    named = [spec for spec in found if spec.name == getattr(model, "name", None)]
    return (named or found)[0]


def choose_spec(found: ForeignWeights, path: str | Path, model: str | None) -> ResNetSpec:
    """Return the spec for weights that were read from `path`: the named `model`, or the recognised one."""
    if model is not None:
        base = get_spec(model)
        first, head = found.arrays.get("conv1.weight"), found.arrays.get("fc.weight")
        if first is not None and first.ndim == 4 and head is not None and head.ndim == 2:
            base = replace(base, in_channels=first.shape[1], num_classes=head.shape[0])
        fit(weight_shapes(base), found.arrays)
        return base
    if found.specs:
        fit(weight_shapes(found.specs[0]), found.arrays)  # a file's own metadata may lie
    if is_fused(found.arrays):
        raise WeightsError(
            f"{path} holds a fused network (convolutions with a bias, no BatchNorm), which fits none of the catalog: "
            "take the weights of the original"
        )
    if not found.specs:
        raise WeightsError(
            f"{path}: the {len(found.arrays)} arrays fit no network of the catalog; name one with --model to see "
            "what differs"
        )
    return found.specs[0]
