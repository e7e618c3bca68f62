"""Plants a fault into a network's weights, for exercises: who finds the layer, and what was done to it?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.backends import load_backend
from shared.base.checks import check_whole
from shared.networks.canonical import Arrays

Array = NDArray[Any]


def _swap(first: str, second: str) -> Callable[[Arrays, str], None]:
    def change(arrays: Arrays, layer: str) -> None:
        one, two = f"{layer}.{first}", f"{layer}.{second}"
        arrays[one], arrays[two] = arrays[two], arrays[one]

    return change


def _turn(change: Callable[[Array], Array]) -> Callable[[Arrays, str], None]:
    def apply(arrays: Arrays, layer: str) -> None:
        arrays[f"{layer}.weight"] = change(arrays[f"{layer}.weight"])

    return apply


def _forget(arrays: Arrays, layer: str) -> None:
    arrays[f"{layer}.running_mean"] = np.zeros_like(arrays[f"{layer}.running_mean"])


#: (kind of layer, what was done, how): in canonical names and layouts, (out, in, height, width) for kernels.
FAULTS: tuple[tuple[str, str, Callable[[Arrays, str], None]], ...] = (
    ("conv", "height and width of its kernel are exchanged", _turn(lambda kernel: kernel.transpose(0, 1, 3, 2))),
    ("conv", "its kernel is rotated by 180 degrees", _turn(lambda kernel: kernel[..., ::-1, ::-1])),
    ("norm", "its gamma and beta are exchanged", _swap("weight", "bias")),
    ("norm", "its running mean and variance are exchanged", _swap("running_mean", "running_var")),
    ("norm", "its running mean was forgotten, it is zero", _forget),
)


def plant_fault(model: Any, seed: int, *, framework: str = "tf") -> str:
    """Change the weights of one layer of a trained `model`, and return what was done, as "layer: fault".

    The seed decides which layer and which fault; do not print what is returned before you have found it yourself.
    `framework` is that of the model, "torch" or "tf". Raises `InputError` for another one.
    """
    check_whole("seed", seed, 0)
    backend = load_backend(framework)
    arrays = backend.get_weights(model)
    rng = np.random.default_rng([seed, 5])
    kind, text, change = FAULTS[rng.integers(len(FAULTS))]
    norms = [name.removesuffix(".running_mean") for name in arrays if name.endswith(".running_mean")]
    kernels = [name.removesuffix(".weight") for name, a in arrays.items() if a.ndim == 4 and a.shape[-1] > 1]
    layer = str(rng.choice(sorted(norms if kind == "norm" else kernels)))
    change(arrays, layer)
    backend.set_weights(model, arrays)
    return f"{layer}: {text}"
