"""Same weights, same images, two models: finds the first layer at which they part, and says what is likely wrong.

Every layer's activations (and the gradients by them) in PyTorch are held against those in Keras. At the first
layer that differs, the microscope computes in NumPy what the layer should give for the input that it had, and
what it would give with each of the usual mistakes. The mistake whose output equals what was seen is the cause.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from shared.backends import BACKENDS, Backend, Trace, check_installed, load_backend
from shared.base.checks import check_seed
from shared.base.errors import InputError
from shared.base.figures import BLUE, GREY, ORANGE, drawable, new_figure, save_figure
from shared.base.words import text_of
from shared.networks.canonical import Arrays
from shared.networks.catalog import get_spec
from shared.networks.initial import lively_weights
from shared.networks.spec import ResNetSpec
from shared.networks.table import activation_numbers, layer_table
from shared.twins.diagnosis import TITLES, Array, Case, explain_input, explain_layer
from shared.twins.difference import probe_spec, random_images, random_labels, relative
from shared.twins.named import open_two
from shared.twins.parting import Parting, find_parting

if TYPE_CHECKING:
    from rich.table import Table


def plot_microscope(seen: Microscope, path: str | Path | None = None) -> Any:
    """Draw each layer's relative error on a logarithmic scale, with the threshold and the first layer that parts."""
    layers = seen.layers
    figure, axes = new_figure(11, 4.8)
    positions = np.arange(len(layers))
    floor = 1e-17
    activations = np.array([max(layer.activation, floor) for layer in layers])
    gradients = np.array([np.nan if layer.gradient is None else max(layer.gradient, floor) for layer in layers])
    axes.semilogy(positions, activations, "o-", color=BLUE, markersize=4, linewidth=1, label="activations")
    if not np.isnan(gradients).all():
        axes.semilogy(positions, gradients, "x--", color=ORANGE, markersize=4, linewidth=1, label="gradients")
    axes.axhline(seen.threshold, color=GREY, linestyle=":", label=f"threshold {seen.threshold:.1e}")
    step = max(1, len(layers) // 30)
    shown = set(range(0, len(layers), step))
    if seen.first is not None:
        at = [layer.name for layer in layers].index(seen.first)
        axes.axvline(at, color="black", linewidth=1)
        axes.set_ylim(top=1e3 * axes.get_ylim()[1])  # room for the layer's name
        axes.annotate(
            f"first: {seen.first}",
            (at, 1),
            xycoords=("data", "axes fraction"),
            xytext=(4 if at < len(layers) / 2 else -4, -12),
            textcoords="offset points",
            ha="left" if at < len(layers) / 2 else "right",
            fontweight="bold",
        )
        shown = {tick for tick in shown if abs(tick - at) >= step} | {at}
    ticks = sorted(shown)
    axes.set_xticks(ticks, [layers[tick].name for tick in ticks], rotation=90, fontsize=7)
    axes.set_xlabel("layer, in the order of computation")
    axes.set_ylabel("relative error (0 is drawn at 1e-17)")
    axes.set_title(f"{drawable(seen.network)}: PyTorch and Keras, same weights, same images")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    save_figure(figure, path)
    return figure


#: Relative error above which two activations are not the same any more, whatever came before.
THRESHOLDS = {"float64": 1e-9, "float32": 1e-3}
#: A layer parts at less if its error is above this and JUMP times that of every layer before it. In float32 a wrong
#: eps is far smaller than what rounding may add up to in a deep network, but it comes all at once.
JUMP_THRESHOLDS, JUMP = {"float64": 1e-11, "float32": 1e-5}, 20.0
#: The same for gradients. In float32 they are shown but not judged: where rounding puts one activation on the other
#: side of zero, its gradient is there in one twin and zero in the other, and that is no mistake.
GRADIENT_THRESHOLDS = {"float64": 1e-7, "float32": float("inf")}
GRADIENTS_PART = (
    "all activations agree, but from here backwards the gradients do not: look for a hook, a detached tensor or a "
    "gradient of its own"
)
#: Bytes that a look at every layer may take.
MOST_TRACED = 16_000_000_000


@dataclass(frozen=True, kw_only=True)
class LayerError:
    """How far the twins are apart at one layer, relative to the layer's largest value. NaN: shapes differ."""

    name: str
    kind: str
    activation: float
    gradient: float | None
    shapes: tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Microscope:
    """What was seen: a line for each layer, the first layer at which the twins part, and the likely cause."""

    network: str
    threshold: float
    gradient_threshold: float
    layers: tuple[LayerError, ...]
    first: str | None
    cause: str

    @property
    def equal(self) -> bool:
        """Whether no layer parts."""
        return self.first is None

    @property
    def verdict(self) -> str:
        """One line: equal, or where the twins part and why."""
        if self.equal:
            worst = max(layer.activation for layer in self.layers)
            hint = "" if np.isfinite(self.gradient_threshold) else "; gradients are judged in float64 only"
            agree = f"the twins agree at all {len(self.layers)} layers"
            return f"✓ {self.network}: {agree} (largest difference {worst:.1e}{hint})"
        return f"✗ {self.network}: the twins part at {self.first}. Likely cause: {self.cause}"

    def is_bad(self, layer: LayerError) -> bool:
        """Return whether a layer's activation or gradient is not the same in both, or it is the first that parts."""
        if layer.name == self.first or not layer.activation <= self.threshold:
            return True
        return layer.gradient is not None and not layer.gradient <= self.gradient_threshold

    def to_rich(self, most: int | None = None) -> Table:
        """Return the layers as a table for rich's console, at most `most` of them around the first that parts."""
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for heading, right in (("layer", 0), ("kind", 0), ("activation", 1), ("gradient", 1), ("", 0)):
            table.add_column(heading, justify="right" if right else "left", no_wrap=True)
        names = [layer.name for layer in self.layers]
        at = names.index(self.first) if self.first in names else 0
        start = 0 if most is None else max(0, min(at - most // 2, len(names) - most))
        stop = len(names) if most is None else start + most
        for layer in self.layers[start:stop]:
            bad = self.is_bad(layer)
            error = f"{layer.activation:.1e}"
            if np.isnan(layer.activation):
                error = "×".join(map(str, layer.shapes[0])) + " ≠ " + "×".join(map(str, layer.shapes[1]))
            gradient = "" if layer.gradient is None else f"{layer.gradient:.1e}"
            mark = "◀ the first that parts" if layer.name == self.first else ("✗" if bad else "✓")
            table.add_row(layer.name, layer.kind, error, gradient, mark, style="bold red" if bad else None)
        return table

    def __repr__(self) -> str:
        return f"{text_of(self.to_rich(), 120)}\n\n{self.verdict}"

    def _repr_html_(self) -> str:
        import html

        rows = "".join(
            f'<tr><td align="left">{html.escape(layer.name)}</td><td align="left">{layer.kind}</td>'
            f'<td align="right">{layer.activation:.1e}</td>'
            f'<td align="right">{"" if layer.gradient is None else f"{layer.gradient:.1e}"}</td>'
            f'<td align="left">{"✗" if self.is_bad(layer) else "✓"}</td></tr>'
            for layer in self.layers
        )
        head = "".join(f'<th align="left">{text}</th>' for text in ("layer", "kind", "activation", "gradient", "equal"))
        return (
            f"<p><b>{html.escape(self.verdict)}</b></p>\n"
            f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>\n"
        )

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw the error of every layer on a logarithmic scale, to `path` if one is given (needs matplotlib)."""
        from shared.twins.microscopy import plot_microscope

        return plot_microscope(self, path)


def examine(
    spec: ResNetSpec | str,
    torch_model: Any,
    keras_model: Any,
    torch_inputs: Array,
    keras_inputs: Array,
    labels: Array | None = None,
    *,
    training: bool | None = None,
    device: str = "cpu",
) -> Microscope:
    """Look at two models that you built yourself. Their weights, statistics and modes are left as they were.

    `torch_inputs` are images (N, C, H, W), `keras_inputs` (N, H, W, C); `labels`, class numbers (N,), add the
    gradients. Layers are matched by the names of `spec`'s table. Without `training` the models are looked at
    as they stand: a PyTorch model, or a single BatchNorm, that was left in training mode shows. One pass is
    compared: what a training step writes into the running statistics is not (`verification` does that). Keras
    computes on `device`; a PyTorch model where it is.
    Raises `InputError` if the inputs do not fit the models or a model cannot be run.
    """
    spec = get_spec(spec)
    _check_inputs(spec, torch_inputs, keras_inputs, labels)
    sides = {
        "torch": (load_backend("torch", device=device), torch_model, torch_inputs),
        "tf": (load_backend("tf", device=device), keras_model, keras_inputs),
    }
    weights, traces = _trace(sides, labels, training)
    inputs = {"torch": np.asarray(torch_inputs), "tf": np.transpose(keras_inputs, (0, 3, 1, 2))}
    table = {row.name: row for row in layer_table(spec, keras_inputs.shape[1])}
    dtype = str(traces["torch"].logits.dtype)
    acts = {side: trace.activations for side, trace in traces.items()}
    gradients = {side: trace.activation_gradients for side, trace in traces.items()}
    layers = [_layer_error("input", "images", inputs, {})]
    layers += [_layer_error(name, row.kind, _pick(acts, name), _pick(gradients, name)) for name, row in table.items()]
    case = Case(spec=spec, table=table, inputs=inputs, acts=acts, weights=weights, threshold=THRESHOLDS[dtype])
    first, threshold = _first_part(layers, dtype)
    cause = _explain(case, first) if first is not None else ""
    if first is None:
        first = next((x for x in reversed(layers) if x.gradient and x.gradient > GRADIENT_THRESHOLDS[dtype]), None)
        cause = GRADIENTS_PART if first else ""
    return Microscope(
        network=spec.name,
        threshold=threshold,
        gradient_threshold=GRADIENT_THRESHOLDS[dtype],
        layers=tuple(layers),
        first=first.name if first else None,
        cause=cause,
    )


def _trace(
    sides: dict[str, tuple[Backend, Any, Array]], labels: Array | None, training: bool | None
) -> tuple[dict[str, Arrays], dict[str, Trace]]:
    """Return the weights of both models, and what one pass left behind. The models are afterwards what they were."""
    weights = {side: backend.get_weights(model) for side, (backend, model, _) in sides.items()}
    try:
        traces = {
            side: _run(backend, model, inputs, labels, training) for side, (backend, model, inputs) in sides.items()
        }
    finally:  # a BatchNorm in training mode has moved its running statistics
        for side, (backend, model, _) in sides.items():
            backend.set_weights(model, weights[side])
    return weights, traces


def _explain(case: Case, first: LayerError) -> str:
    """Return the cause of the first difference, as far as it is a known mistake."""
    # A mistake explains what was seen if what it gives is ten times nearer than the other twin is.
    difference = first.activation if np.isfinite(first.activation) else 1.0
    case.threshold = min(case.threshold, difference / 10)
    return explain_input(case) if first.name == "input" else explain_layer(case, case.table[first.name])


def _first_part(layers: list[LayerError], dtype: str) -> tuple[LayerError | None, float]:
    """Return the first layer whose activations part, and the relative error above which they did."""
    worst = 0.0
    for layer in layers:
        threshold = min(THRESHOLDS[dtype], max(JUMP_THRESHOLDS[dtype], JUMP * worst))
        if not layer.activation <= threshold:
            return layer, threshold
        worst = max(worst, layer.activation)
    return None, THRESHOLDS[dtype]


def _check_inputs(spec: ResNetSpec, torch_inputs: Array, keras_inputs: Array, labels: Array | None) -> None:
    for title, inputs, axis in (("PyTorch", torch_inputs, 1), ("Keras", keras_inputs, 3)):
        layout = "N, C, H, W" if axis == 1 else "N, H, W, C"
        if np.ndim(inputs) != 4 or np.shape(inputs)[axis] != spec.in_channels:
            raise InputError(
                f"the images for {title} have shape {np.shape(inputs)}; wanted is ({layout}) with {spec.in_channels} "
                "channels"
            )
    if labels is None:
        return
    values = np.asarray(labels)
    whole = values.dtype.kind in "iu" and values.shape == (len(torch_inputs),)
    if not whole or values.min() < 0 or values.max() >= spec.num_classes:
        raise InputError(
            f"labels are {values.tolist()}; wanted are {len(torch_inputs)} whole numbers, 0 to {spec.num_classes - 1}"
        )


def _run(backend: Backend, model: Any, inputs: Array, labels: Array | None, training: bool | None) -> Trace:
    try:
        return backend.trace(model, inputs, labels, training=training)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"the {backend.TITLE} model cannot be run ({reason}); look at its strides and channels, or compare its "
            "layers with shared.twins.comparison.compare_models"
        ) from error


def _pick(sides: dict[str, dict[str, Array]], name: str) -> dict[str, Array]:
    return {side: values[name] for side, values in sides.items() if name in values}


def _layer_error(name: str, kind: str, values: dict[str, Array], gradients: dict[str, Array]) -> LayerError:
    shapes = tuple(values[side].shape if side in values else () for side in TITLES)
    alike = len(values) == 2 and shapes[0] == shapes[1]
    return LayerError(
        name=name,
        kind=kind,
        activation=_difference(values) if alike else float("nan"),
        gradient=_difference(gradients) if alike and len(gradients) == 2 else None,
        shapes=(shapes[0], shapes[1]),
    )


def _difference(sides: dict[str, Array]) -> float:
    torch, keras = (sides[side] for side in TITLES)
    return relative(keras, torch)


@overload
def microscope(name: str | ResNetSpec, **options: Any) -> Microscope: ...


@overload
def microscope(name: Any, other: Any, **options: Any) -> Parting: ...


def microscope(name: Any, other: Any = None, **options: Any) -> Microscope | Parting:
    """Look at every layer of a network of the catalog in both frameworks, or of any two models.

    With one name the options are those of `examine_twins`; with two models, live or named as `open_model` takes them,
    those of `find_parting`. Raises `InputError` for bad input.
    """
    if other is not None:
        return find_parting(*open_two(name, other), **options)
    return examine_twins(name, **options)


def examine_twins(
    name: str | ResNetSpec,
    *,
    dtype: str = "float64",
    seed: int = 0,
    input_size: int | None = None,
    device: str = "cpu",
    **overrides: Any,
) -> Microscope:
    """Build a network in both frameworks with the same weights and look at every layer.

    `input_size` is 64 pixels at most by default; `device` is where both compute. Raises `InputError` for bad input.
    """
    spec = get_spec(name, **overrides)
    spec = probe_spec(spec) if input_size is None else get_spec(spec, input_size=input_size)
    if dtype not in THRESHOLDS:
        raise InputError(f"dtype is {dtype!r}; allowed is one of {', '.join(THRESHOLDS)}")
    check_seed(seed)
    # Of both twins: the outputs of two images, their gradients, and a copy of each.
    needed = 16 * activation_numbers(spec) * np.dtype(dtype).itemsize
    if needed > MOST_TRACED:
        raise InputError(
            f"looking at every layer of {spec.name} needs about {needed / 1e9:,.0f} GB for images of {spec.input_size} "
            f"pixels; allowed are {MOST_TRACED / 1e9:.0f} GB: make input_size smaller"
        )
    check_installed(*BACKENDS)
    backends = [load_backend(framework, device=device) for framework in BACKENDS]
    weights = lively_weights(spec, seed, tame=True)
    images = random_images(spec, spec.input_size, 2, seed)
    models, inputs = [], []
    for backend in backends:
        model = backend.create_model(spec, dtype=dtype)
        backend.set_weights(model, weights)
        models.append(model)
        inputs.append(backend.from_nhwc(images, model))
    labels = random_labels(spec, 2, seed)
    return examine(spec, models[0], models[1], inputs[0], inputs[1], labels, training=False, device=device)
