"""Weights of Keras models as canonical NumPy arrays, in and out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from shared.backends import check_framework
from shared.base.errors import InputError, UnwritableError, WeightsError
from shared.base.files import replacing
from shared.checkpoints.foreign import read_weights, spec_of
from shared.checkpoints.ours import write_safetensors
from shared.networks.canonical import KERAS_LAYOUTS, Arrays, LoadReport, fit, from_keras_layout
from shared.networks.table import layer_table


def torch_name(model: keras.Model, name: str) -> str:
    """Return the PyTorch name of the layer `name`, also where Keras' PyTorch backend made dots into "_"."""
    spec = getattr(model, "spec", None) or getattr(model, "fused_from", None)
    if keras.backend.backend() != "torch" or spec is None:
        return name
    back = {row.name.replace(".", "_"): row.name for row in layer_table(spec)}
    return back.get(name, name)


def check_model(model: keras.Model) -> None:
    """Raise `InputError` for what is no Keras model."""
    check_framework(model, "tf")


def canonical_variables(model: keras.Model) -> dict[str, tuple[keras.Variable, tuple[int, ...]]]:
    """Return canonical name -> (the model's variable, axes from the canonical to Keras' layout)."""
    check_model(model)
    found = {}
    for layer in model.layers:
        for variable in layer.weights:
            layouts = (KERAS_LAYOUTS.get(parent.__name__, {}) for parent in type(layer).__mro__)
            known = [layout[variable.name] for layout in layouts if variable.name in layout]
            if not known:
                raise WeightsError(
                    f"layer {layer.name} is a {type(layer).__name__} with a {variable.name}: no ResNet of ours has one"
                )
            suffix, axes = known[0]
            found[f"{torch_name(model, layer.name)}.{suffix}"] = (variable, axes)
    return found


def numpy_copy(variable: keras.Variable) -> np.ndarray:
    """Return a copy of a variable. It is copied as a tensor first: NumPy warns when it copies a TensorFlow variable."""
    return np.array(keras.ops.convert_to_numpy(keras.ops.copy(variable)))


def get_weights(model: keras.Model) -> Arrays:
    """Return copies of the model's weights, named and laid out as in PyTorch's `state_dict()`."""
    return {
        name: np.array(from_keras_layout(numpy_copy(variable), axes))
        for name, (variable, axes) in canonical_variables(model).items()
    }


def set_weights(
    model: keras.Model, arrays: Mapping[str, np.ndarray], *, strict: bool = True, new_head: bool = False
) -> LoadReport:
    """Set the model's weights from canonical arrays, whatever framework they come from.

    Every array must be there and fit, unless `strict=False` (take what fits) or `new_head=True` (the last
    layer may differ and then stays as it is). Otherwise raises one `WeightsError` that lists all that is
    wrong, and changes nothing. Returns a report.
    """
    variables = canonical_variables(model)
    expected = {
        name: tuple(np.array(variable.shape)[np.argsort(axes)].tolist()) for name, (variable, axes) in variables.items()
    }
    good, report = fit(expected, arrays, strict=strict, new_head=new_head)
    for name, array in good.items():
        variable, axes = variables[name]
        variable.assign(np.transpose(array, axes).astype(variable.dtype))
    return report


def save_weights(model: keras.Model, path: str | Path) -> None:
    """Write the model's weights and its spec to a `.safetensors` file, whole or not at all."""
    arrays = get_weights(model)
    write_safetensors(path, arrays, spec_of(model, arrays))


def load_weights(model: keras.Model, path: str | Path, *, strict: bool = True, new_head: bool = False) -> LoadReport:
    """Load weights from any file that `resnet-twins convert` reads; `strict` and `new_head` as in `set_weights`."""
    return set_weights(model, read_weights(path).arrays, strict=strict, new_head=new_head)


def write_native(model: keras.Model, path: str | Path) -> None:
    """Write the whole model to a `.keras` file or its weights to a `.weights.h5` file, whole or not at all."""
    check_model(model)
    if not str(path).endswith((".keras", ".weights.h5")):
        raise InputError(f"{path} ends in neither .keras nor .weights.h5")
    year = time.localtime().tm_year
    if str(path).endswith(".keras") and not 1980 <= year <= 2107:
        raise UnwritableError(
            f"{path} cannot be written: the clock of this computer says {year}, and a .keras file is a ZIP archive, "
            "which knows the years 1980 to 2107; set the clock, or write .weights.h5"
        )
    with replacing(path) as temporary:
        if temporary.suffix == ".keras":
            model.save(temporary)
        else:
            model.save_weights(temporary, overwrite=True)
