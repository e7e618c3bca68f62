"""Where two models part: the first layer of the second that is another function than the first one's, and why.

>>> find_parting(my_torch_model, my_keras_model)    # or microscope(my_torch_model, my_keras_model)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.base.errors import InputError
from shared.base.printable import printable
from shared.base.words import CROSS, TICK
from shared.twins.belonging import same_outputs
from shared.twins.carrying import Saved, lend, plan
from shared.twins.causes import Case, explain
from shared.twins.lockstep import Judged, walk
from shared.twins.pair import FOLLOWS, QUIET, ROLE_WORDS, Pair, PairRow
from shared.twins.pair_views import difference_text
from shared.twins.parting_views import PartingViews
from shared.twins.sight import Sight, look_at
from shared.twins.simplify import NOTHING

Array = NDArray[Any]
IMAGES = 2
#: Layers that part after the first and are explained, too.
MOST_EXPLAINED = 40
#: How a difference begins that the carried weights make good, or that another one explains.
WITHOUT_EFFECT = (*ROLE_WORDS, FOLLOWS)
#: How one begins that no layer can show.
BELONGING = ("output ", "it has the weights of")


@dataclass(frozen=True, kw_only=True, repr=False)
class Parting(PartingViews):
    """What was seen: each pair of layers in the order of dataflow, and what explains the first that parts.

    `others` are further faults, each said once: layers that part as well, and settings that hardly show in numbers.
    """

    pair: Pair
    layers: tuple[Judged, ...]
    cause: str
    others: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether no layer parts, and none with a function of its own is missing on one side."""
        return self.first is None and not self.cause

    @property
    def verdict(self) -> str:
        """One line on the whole."""
        both = " and ".join(self.pair.names)
        if self.equal:
            worst = max((layer.error for layer in self.layers), default=0.0)
            return f"{TICK} {both} agree in all {len(self.layers)} layers and operations, to {worst:.0e} of their size"
        return f"{CROSS} {both} {self.place}"

    @property
    def place(self) -> str:
        """Where they part, and why, in words."""
        if self.first is None:
            return f"part: {self.cause}" if self.cause else "part in no layer"
        return f"part at {printable(self.first.name)}: {self.cause or 'no setting explains it'}"


def find_parting(
    first: Any,
    second: Any,
    images: Any = None,
    *,
    second_images: Any = None,
    input_size: int | None = None,
    in_channels: int | None = None,
    as_they_are: bool = False,
    titles: tuple[str | None, str | None] = (None, None),
) -> Parting:
    """Look for the first layer in which two models part, and for the reason.

    The second model is lent the first one's weights meanwhile, so that what is left is structure and settings;
    `as_they_are` compares the two with the weights that they have. `images` are (N, H, W, C), a list of arrays for a
    model of several inputs; `second_images` are those of the second model where its own way of preparing them is to be
    looked at, too. `titles` are what the two are called. Both models are afterwards as they were. Raises `InputError`
    for two models that are not the same network.
    """
    sizes = {"input_size": input_size, "in_channels": in_channels}
    sight = look_at(first, second, images, second_images=second_images, count=IMAGES, titles=titles, **sizes)
    pair = sight.pair
    if pair.refused:
        raise InputError(f"{' and '.join(pair.names)} are not the same network: {pair.refused}")
    saved, planned = Saved(pair.second), plan(pair)
    try:
        if not as_they_are:
            lend(pair, planned)
        return _look(Case(pair=pair, plan=planned, lent=not as_they_are), sight)
    finally:
        saved.restore()


def _look(case: Case, sight: Sight) -> Parting:
    """Judge each pair of layers by the rows that show it worst."""
    worst: dict[int, Judged] = {}
    causes: dict[int, str] = {}
    for turn, (inputs, inputs_there) in enumerate(sight.chunks()):
        for seen in walk(case.pair, inputs, inputs_there, case.plan.folded, thorough=turn == 0):
            known = worst.get(seen.left, seen.judged)
            worst[seen.left] = _worse(known, seen.judged)
            if seen.judged.parts and seen.left not in causes and len(causes) < MOST_EXPLAINED:
                causes[seen.left] = explain(case, seen)
    layers = [worst[left] for left in sorted(worst)]
    explained = [(worst[left], causes[left]) for left in sorted(causes)]
    at_the_end = _ends(case.pair)
    if at_the_end and not causes:
        layers.append(at_the_end)
    cause = explained[0][1] if explained else _missing(case.pair) or _hardly_seen(case.pair)
    return Parting(pair=case.pair, layers=tuple(layers), cause=cause, others=tuple(_others(case.pair, explained)))


def _worse(one: Judged, other: Judged) -> Judged:
    """Return how a pair was judged by the rows that show it worst, with the gradient and what arrives of the first."""
    error, noise = max((one.error, one.noise), (other.error, other.noise), key=lambda each: each[0])
    return replace(one, error=error, noise=noise)


def _others(pair: Pair, causes: Sequence[tuple[Judged, str]]) -> list[str]:
    """Return each further fault once, with the first layer in which it is seen and how often."""
    groups: dict[str, list[str]] = {}
    for layer, cause in causes[1:]:
        groups.setdefault(cause or "no setting explains it", []).append(printable(layer.name))
    found = [
        f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {cause}"
        for cause, names in groups.items()
    ]
    if causes:
        known = {layer.name for layer, _ in causes}
        silent = [row for row in pair.rows if row.left and row.right and row.name not in known and _settings(row)]
        found += [f"{printable(row.name)}: {_settings(row)[0]}, which these images hardly show" for row in silent[:1]]
    return found


# -- what no pair of layers shows


def _ends(pair: Pair) -> Judged | None:
    """Return what only one model does behind the last pair, as a layer that parts; None if the outputs are partners."""
    first, second = pair.alignment.first, pair.alignment.second
    if len(first.outputs) != len(second.outputs):
        return None
    for name, other in same_outputs(first.outputs, second.outputs).items():
        left, right = first.outputs[name], second.outputs[other]
        if pair.alignment.partner.get(left) == right:
            continue
        alone = left if left not in pair.alignment.partner else None
        node = first.nodes[left].node if alone is not None else second.nodes[right].node
        names = (first.nodes[left].node.name, second.nodes[right].node.name)
        return Judged(
            name=names[0] if alone is not None else node.name, other=names[1], kind=node.kind, error=np.inf, noise=0.0
        )
    return None


def _missing(pair: Pair) -> str:
    """Return in words what only one model does, or an empty text."""
    first, second = pair.alignment.first.outputs, pair.alignment.second.outputs
    if len(first) != len(second):
        return f"the first model has {len(first)} outputs, the second {len(second)}"
    alone = [row for row in pair.rows if (row.left is None or row.right is None) and _computes(row)]
    return f"{printable(alone[0].name)} ({_kind(alone[0])}) is {difference_text(alone[0])}" if alone else ""


def _kind(row: PairRow) -> str:
    found = row.left or row.right
    assert found is not None
    return found.node.kind


def _hardly_seen(pair: Pair) -> str:
    """Return in words a setting that differs, though these images and weights do not show it."""
    for row in pair.rows:
        if _computes(row) and (settings := _settings(row)):
            hidden = "" if settings[0].startswith(BELONGING) else ", which these images hardly show"
            return f"{printable(row.name)}: {settings[0]}{hidden}"
    return ""


def _settings(row: PairRow) -> list[str]:
    return [text for text in row.differences if not text.startswith(WITHOUT_EFFECT)]


def _computes(row: PairRow) -> bool:
    return _kind(row) not in (*QUIET, *NOTHING)
