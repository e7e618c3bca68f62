"""Converts weights between the formats of PyTorch, Keras and this package."""

from __future__ import annotations

from pathlib import Path

from shared.backends import load_backend
from shared.base.errors import InputError
from shared.base.files import check_writable
from shared.checkpoints.foreign import choose_spec, read_weights
from shared.checkpoints.ours import write_safetensors
from shared.networks.spec import ResNetSpec
from shared.networks.table import weight_shapes

WRITABLE = (".safetensors", ".pth", ".keras", ".weights.h5")


def convert(source: str | Path, target: str | Path, model: str | None = None) -> tuple[ResNetSpec, list[str]]:
    """Convert a file of weights to the format that the ending of `target` names.

    Returns the spec of the network, and the names of other networks that would fit the same arrays.
    Raises `WeightsError` or `InputError`; then nothing is written.
    """
    suffix = next((ending for ending in WRITABLE if str(target).endswith(ending)), None)
    if suffix is None:
        raise InputError(f"{target}: the ending says the format; allowed are {', '.join(WRITABLE)}")
    check_writable(target)
    found = read_weights(source)
    spec = choose_spec(found, source, model)
    arrays = {name: found.arrays[name] for name in weight_shapes(spec)}
    if suffix == ".safetensors":
        # What a training run wrote beside the weights stays with them: the classes, the scaling of the pixels.
        kept = {key: text for key, text in found.texts.items() if key in ("inputs", "training")}
        write_safetensors(target, arrays, spec, kept)
    else:
        backend = load_backend("torch" if suffix == ".pth" else "tf")
        built = backend.create_model(spec)
        backend.set_weights(built, arrays)
        backend.write_native(built, target)
    others = [] if model else [other.name for other in found.specs[1:]]
    return spec, others
