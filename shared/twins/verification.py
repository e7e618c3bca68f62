"""Holds both twins of a network against each other with the same weights: shapes, logits, gradients, training.

The tolerances are those that a twin pair can keep on a CPU. In float64 the twins are one function to rounding.
In float32 the forward pass agrees to rounding too, but one activation that rounding puts on the other side of zero
moves the gradients of all layers in front of it by 1e-3. So the weights are "tame" (see `lively_weights`), which makes
that rare; the median over the parameters is asserted, not the worst; and since such a flip is an accident of one batch
while a real difference shows in all, up to three batches are tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.backends import Backend, Trace, load_backend
from shared.base.checks import check_dtype
from shared.networks.catalog import get_spec
from shared.networks.initial import lively_weights
from shared.networks.spec import ResNetSpec
from shared.twins.comparison import compare_models
from shared.twins.difference import (
    PROBE_BATCH,
    gradient_errors,
    probe_spec,
    random_images,
    random_labels,
    relative,
    silent_biases,
    weighted_layers,
)

STEPS, LEARNING_RATE = 3, 1e-3
#: Above this many layers with weights only the eval mode is verified: training 1202 layers takes too long.
TRAINABLE_DEPTH = 400
#: Batches on which the float32 gradients may be tried.
FLIP_ATTEMPTS = 3

#: (check, dtype) -> tolerance. Logits with a wild gamma are looked up by `wild_tolerance`.
TOLERANCES = {
    ("gradients, wild gamma", "float64"): 1e-9,
    ("logits, eval mode", "float64"): 1e-12,
    ("logits, training mode", "float64"): 1e-12,
    ("gradients, worst", "float64"): 1e-11,
    ("BatchNorm statistics", "float64"): 1e-11,
    ("loss, step 1", "float64"): 1e-12,
    ("loss, step 2", "float64"): 1e-12,
    ("loss, step 3", "float64"): 1e-9,
    ("logits, eval mode", "float32"): 1e-4,
    ("logits, training mode", "float32"): 1e-4,
    ("gradients, median", "float32"): 1e-4,
    ("BatchNorm statistics", "float32"): 1e-5,
    ("loss, step 1", "float32"): 1e-5,
    ("loss, step 2", "float32"): 1e-4,
}
WILD, WILD_GRADIENTS = "logits, wild gamma", "gradients, wild gamma"
#: Without shortcuts and with half of the ReLUs closed, a rounding error grows about 1.2 times in each layer: beyond
#: this many layers the wild gradients of plain networks are chaotic even in float64.
CHAOTIC_PLAIN_DEPTH = 60


def wild_tolerance(depth: int, dtype: str) -> float:
    """Return the tolerance of the logits where every gamma is about 1 and activations grow with depth."""
    if dtype == "float64":
        return 1e-10
    return 5e-4 if depth <= 50 else 1e-2


@dataclass(frozen=True)
class Check:
    """One measured difference between the twins, and what is allowed."""

    network: str
    dtype: str
    what: str
    measured: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the difference is within the tolerance (a NaN is not)."""
        return self.measured <= self.tolerance


def verify(spec: ResNetSpec, dtype: str, *, device: str = "cpu") -> Iterator[Check]:
    """Yield the checks of one network in one dtype, as they are measured.

    Both twins are built anew, get the same weights, in which nothing is zero or one by default, and the same
    images and labels. On another `device` than the CPU, "cuda" for example, the tolerances may be missed: GPUs
    multiply float32 numbers more coarsely. Raises `InputError` if a framework is not installed.
    """
    check_dtype(dtype)
    small = probe_spec(get_spec(spec))
    backends = (load_backend("torch", device=device), load_backend("tf", device=device))
    models = [backend.create_model(small, dtype=dtype) for backend in backends]
    pairs = list(zip(backends, models, strict=True))
    images = random_images(small, small.input_size, PROBE_BATCH, seed=0)
    labels = random_labels(small, PROBE_BATCH, seed=0)
    depth = weighted_layers(small)

    def check(what: str, measured: float, tolerance: float | None = None) -> Check:
        return Check(spec.name, dtype, what, measured, TOLERANCES[what, dtype] if tolerance is None else tolerance)

    def set_all(tame: bool) -> None:
        weights = lively_weights(small, seed=0, tame=tame)
        for backend, model in pairs:
            backend.set_weights(model, weights)

    def eval_logits() -> list[NDArray[Any]]:
        return [backend.forward(model, backend.from_nhwc(images, model)) for backend, model in pairs]

    def compare_gradients(torch_trace: Trace, keras_trace: Trace) -> NDArray[np.float64]:
        silent = silent_biases(small)
        return gradient_errors(keras_trace.parameter_gradients, torch_trace.parameter_gradients, silent)

    comparison = compare_models(small, models[0], models[1], small.input_size)
    yield check("layers that differ", sum(not row.equal for row in comparison.rows), 0)

    if depth <= TRAINABLE_DEPTH:
        set_all(tame=False)
        yield check(WILD, relative(*reversed(eval_logits())), wild_tolerance(depth, dtype))
        if dtype == "float64" and (small.block != "PlainBlock" or depth <= CHAOTIC_PLAIN_DEPTH):
            torch_trace, keras_trace = (_step(backend, model, images, labels) for backend, model in pairs)
            yield check(WILD_GRADIENTS, float(compare_gradients(torch_trace, keras_trace).max()))
    set_all(tame=True)
    yield check("logits, eval mode", relative(*reversed(eval_logits())))
    if depth > TRAINABLE_DEPTH:
        return

    for step in range(1, STEPS + 1):
        torch_trace, keras_trace = (_step(backend, model, images, labels) for backend, model in pairs)
        if step == 1:
            yield check("logits, training mode", relative(keras_trace.logits, torch_trace.logits))
            if dtype == "float64":
                yield check("gradients, worst", float(compare_gradients(torch_trace, keras_trace).max()))
            torch_weights, keras_weights = (backend.get_weights(model) for backend, model in pairs)
            running = [name for name in torch_weights if ".running_" in name]
            yield check(
                "BatchNorm statistics", max(relative(keras_weights[name], torch_weights[name]) for name in running)
            )
        if (f"loss, step {step}", dtype) in TOLERANCES:
            yield check(f"loss, step {step}", relative(np.array(keras_trace.loss), np.array(torch_trace.loss)))

    if dtype == "float32":
        best = float("inf")
        for attempt in range(FLIP_ATTEMPTS):
            set_all(tame=True)
            batch = random_images(small, small.input_size, PROBE_BATCH, seed=attempt)
            torch_trace, keras_trace = (_step(backend, model, batch, labels) for backend, model in pairs)
            best = min(best, float(np.median(compare_gradients(torch_trace, keras_trace))))
            if best <= TOLERANCES["gradients, median", dtype]:
                break
        yield check("gradients, median", best)


def _step(backend: Backend, model: Any, images: NDArray[Any], labels: NDArray[Any]) -> Trace:
    return backend.train_step(model, backend.from_nhwc(images, model), labels, LEARNING_RATE)
