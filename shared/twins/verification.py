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

from shared.backends import BACKENDS, Trace, load_backend
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
MEDIAN = "gradients, median"
LAYERS, WILD, WILD_GRADIENTS = "layers that differ", "logits, wild gamma", "gradients, wild gamma"
#: Without shortcuts and with half of the ReLUs closed, a rounding error grows about 1.2 times in each layer: beyond
#: this many layers the wild gradients of plain networks are chaotic even in float64.
CHAOTIC_PLAIN_DEPTH = 60


def wild_tolerance(depth: int, dtype: str) -> float:
    """Return the tolerance of the logits where every gamma is about 1 and activations grow with depth."""
    if dtype == "float64":
        return 1e-10
    return 5e-4 if depth <= 50 else 1e-2


def gradient_tolerance(depth: int) -> float:
    """Return the tolerance of the median of the float32 gradients.

    Beyond 101 layers some ReLU flips in nearly every batch, as often as the processor's rounding has it: on an Intel
    Xeon the best of three batches of ResNet-152 with its stride in the 1x1 has 1.8e-4, on an AMD EPYC less than 1e-4.
    """
    return TOLERANCES["gradients, median", "float32"] if depth <= 101 else 1e-3


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


class Twins:
    """Both models of one network, with what they are tried on. Differences are of the second from the first."""

    def __init__(self, spec: ResNetSpec, dtype: str, device: str) -> None:
        self.spec = spec
        self.backends = [load_backend(name, device=device) for name in BACKENDS]
        self.models = [backend.create_model(spec, dtype=dtype) for backend in self.backends]
        self.images = random_images(spec, spec.input_size, PROBE_BATCH, seed=0)
        self.labels = random_labels(spec, PROBE_BATCH, seed=0)
        self.silent = silent_biases(spec)

    def set_weights(self, *, tame: bool) -> None:
        """Give both the same weights."""
        weights = lively_weights(self.spec, seed=0, tame=tame)
        for backend, model in zip(self.backends, self.models, strict=True):
            backend.set_weights(model, weights)

    def layers_that_differ(self) -> int:
        """Return how many lines of the comparison are not equal."""
        comparison = compare_models(self.spec, self.models[0], self.models[1], self.spec.input_size)
        return sum(not row.equal for row in comparison.rows)

    def eval_logits(self) -> float:
        """Return how much the logits differ."""
        torch, keras = (
            backend.forward(model, backend.from_nhwc(self.images, model))
            for backend, model in zip(self.backends, self.models, strict=True)
        )
        return relative(keras, torch)

    def step(self, images: NDArray[Any] | None = None) -> tuple[Trace, Trace]:
        """Train both one step, on the usual images or others, and return what it left behind."""
        batch = self.images if images is None else images
        torch, keras = (
            backend.train_step(model, backend.from_nhwc(batch, model), self.labels, LEARNING_RATE)
            for backend, model in zip(self.backends, self.models, strict=True)
        )
        return torch, keras

    def gradients(self, torch: Trace, keras: Trace) -> NDArray[np.float64]:
        """Return how much the gradients differ, for each parameter."""
        return gradient_errors(keras.parameter_gradients, torch.parameter_gradients, self.silent)

    def statistics(self) -> float:
        """Return how much the running means and variances differ at most."""
        torch, keras = (backend.get_weights(model) for backend, model in zip(self.backends, self.models, strict=True))
        return max(relative(keras[name], torch[name]) for name in torch if ".running_" in name)


def verify(spec: ResNetSpec, dtype: str, *, device: str = "cpu") -> Iterator[Check]:
    """Yield the checks of one network in one dtype, as they are measured.

    Both twins are built anew, get the same weights, in which nothing is zero or one by default, and the same
    images and labels. On another `device` than the CPU, "cuda" for example, the tolerances may be missed: GPUs
    multiply float32 numbers more coarsely. Raises `InputError` if a framework is not installed.
    """
    check_dtype(dtype)
    twins = Twins(probe_spec(get_spec(spec)), dtype, device)
    for what, measured in _measured(twins, dtype):
        yield Check(spec.name, dtype, what, measured, _tolerance(what, dtype, weighted_layers(twins.spec)))


def _tolerance(what: str, dtype: str, depth: int) -> float:
    if what == LAYERS:
        return 0
    if what == MEDIAN:
        return gradient_tolerance(depth)
    return wild_tolerance(depth, dtype) if what == WILD else TOLERANCES[what, dtype]


def _measured(twins: Twins, dtype: str) -> Iterator[tuple[str, float]]:
    """Yield (check, measured difference)."""
    yield LAYERS, twins.layers_that_differ()
    depth = weighted_layers(twins.spec)
    if depth > TRAINABLE_DEPTH:
        twins.set_weights(tame=True)
        yield "logits, eval mode", twins.eval_logits()
        return
    twins.set_weights(tame=False)
    yield WILD, twins.eval_logits()
    if dtype == "float64" and (twins.spec.block != "PlainBlock" or depth <= CHAOTIC_PLAIN_DEPTH):
        yield WILD_GRADIENTS, float(twins.gradients(*twins.step()).max())
    twins.set_weights(tame=True)
    yield "logits, eval mode", twins.eval_logits()
    yield from _training(twins, dtype)
    if dtype == "float32":
        yield MEDIAN, _median_gradients(twins)


def _training(twins: Twins, dtype: str) -> Iterator[tuple[str, float]]:
    """Yield what some training steps show."""
    for step in range(1, STEPS + 1):
        torch, keras = twins.step()
        if step == 1:
            yield "logits, training mode", relative(keras.logits, torch.logits)
            if dtype == "float64":
                yield "gradients, worst", float(twins.gradients(torch, keras).max())
            yield "BatchNorm statistics", twins.statistics()
        if (f"loss, step {step}", dtype) in TOLERANCES:
            yield f"loss, step {step}", relative(np.array(keras.loss), np.array(torch.loss))


def _median_gradients(twins: Twins) -> float:
    """Return the median difference of the gradients, on the batch of a few on which no ReLU flips."""
    best = float("inf")
    for attempt in range(FLIP_ATTEMPTS):
        twins.set_weights(tame=True)
        images = random_images(twins.spec, twins.spec.input_size, PROBE_BATCH, seed=attempt)
        best = min(best, float(np.median(twins.gradients(*twins.step(images)))))
        if best <= TOLERANCES["gradients, median", "float32"]:
            break
    return best
