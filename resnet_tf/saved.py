"""Opens models that were saved whole, and gives any Keras model weights by the names in a file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from resnet_tf.weights import set_weights
from shared.base.budget import Budget
from shared.base.damage import said_as_damage
from shared.base.errors import InputError, WeightsError
from shared.base.files import check_readable, open_plain, replacing
from shared.base.printable import printable
from shared.checkpoints.foreign import read_named
from shared.checkpoints.hdf5 import Hdf5, open_hdf5
from shared.checkpoints.zips import Archive

#: How a file ends that holds a whole model, and those that hold weights.
ENDING = ".keras"
WEIGHTS = (".weights.h5", ".keras", ".safetensors")
#: And those under which a model is saved.
SAVES = (".keras", ".weights.h5")
#: Layers that keep code in the file, or name it elsewhere. Keras' safe mode refuses them, too, at more length.
CODE = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "__lambda__"}
STORE = "model.weights.h5"
#: Of the description, in bytes.
MOST_CONFIG = 50_000_000


def is_model(value: Any) -> bool:
    """Return whether this is something that the instruments can look at."""
    return isinstance(value, keras.Model)


def open_model(path: str | Path) -> keras.Model:
    """Return the model that `model.save` wrote, read in Keras' safe mode; no code of the file is run.

    Raises `InputError` for a file that is missing, damaged, or could run code.
    """
    path = check_readable(path)
    with open_plain(path) as stream, said_as_damage(path, "Keras file"):
        budget = Budget.for_file(path)
        archive = Archive(stream, budget)
        info = archive.members.get("config.json")
        if info is None or info.file_size > MOST_CONFIG:
            raise ValueError("it has no config.json of a usual size")
        config = json.loads(archive.array("config.json").tobytes())
        refused = sorted(set(_kinds(config)) & CODE)
        if refused:
            raise WeightsError(
                f"{printable(path)} is refused: it has a {refused[0]}, which is code in a file, and no code of a file "
                "is run; name the Python code that builds the model instead, as FILE.py:NAME"
            )
        if STORE in archive.members:
            with archive.unpacked(STORE) as store:
                open_hdf5(store, budget)  # which looks whether it holds more than arrays
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # of many kinds
        raise WeightsError(f"Keras does not load {printable(path)}: {_reason(error)}") from error


def give_weights(model: keras.Model, path: str | Path) -> None:
    """Set the model's weights from a file of Keras'; from a `.safetensors` file if its names are those of the layers.

    Raises `InputError` for another file, `WeightsError` if what is in it does not fit.
    """
    path = check_readable(path)
    if not path.name.endswith(WEIGHTS):
        raise InputError(f"{printable(path)}: weights of a Keras model end in one of {', '.join(WEIGHTS)}")
    if path.suffix == ".safetensors":
        try:
            set_weights(model, read_named(path))
        except WeightsError as error:
            raise WeightsError(
                f"{printable(path)} has no names that fit this Keras model, and nothing else says what is what; "
                f"take a .weights.h5 file, written by model.save_weights ({error})"
            ) from error
        return
    _check_counts(model, path)
    try:
        model.load_weights(path)
    except Exception as error:
        raise WeightsError(f"{printable(path)} does not fit the model: {_reason(error)}") from error


def _check_counts(model: keras.Model, path: Path) -> None:
    """Raise `WeightsError` if the file holds more arrays than the model: Keras would take some, and say nothing."""
    budget = Budget.for_file(path)
    with open_plain(path) as stream, said_as_damage(path, "Keras file"):
        if path.suffix == ENDING:
            with Archive(stream, budget).unpacked(STORE) as store:
                found = _count(open_hdf5(store, budget))
        else:
            found = _count(open_hdf5(stream, budget))
    if not model.built:
        raise InputError("the model makes its weights when it is first called; build it in your code, with model.build")
    if found > len(model.variables):
        raise WeightsError(
            f"{printable(path)} does not fit the model: it has {found} arrays, and the model {len(model.variables)}"
        )


def _count(file: Hdf5) -> int:
    return sum(not re.match(r"optimizer/|.*(seed_generator|metric)", place) for place in file.arrays)


def _kinds(config: Any) -> Iterator[str]:
    """Yield the names of all classes in the description of a model."""
    rows = [config]
    while rows:
        row = rows.pop()
        if isinstance(row, dict):
            yield str(row.get("class_name"))
            rows += row.values()
        elif isinstance(row, list):
            rows += row


def _reason(error: Exception) -> str:
    """Return what is wrong in Keras' words, without the description of the whole layer that often follows."""
    text = " ".join(str(error).split()).rpartition("Exception encountered: ")[-1] or type(error).__name__
    return re.split(r" ?(Full object config|Received: config|config=\{)", text)[0][:400]


def check_ending(path: str | Path) -> None:
    """Raise `InputError` unless a model can be saved under this name."""
    if not str(path).endswith(SAVES):
        raise InputError(f"{printable(path)}: a Keras model is saved as one of {', '.join(SAVES)}")


def save_model(model: keras.Model, path: str | Path) -> None:
    """Write the whole model (.keras) or its weights (.weights.h5), whole or not at all."""
    check_ending(path)
    with replacing(path) as temporary:
        if str(path).endswith(ENDING):
            model.save(temporary)
        else:
            model.save_weights(temporary, overwrite=True)
