"""What is wrong with the weights of a layer: another layout, exchanged, missing, rounded, or just others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shared.base.printable import printable
from shared.twins.difference import error_of
from shared.twins.weights_of import read_weights

if TYPE_CHECKING:
    from shared.twins.causes import Case

Array = NDArray[Any]
Arrays = Mapping[str, Array]
#: Two arrays that differ by less, relative to their size, are the same but for rounding.
SAME = 1e-6
#: What somebody did who laid a kernel (out, in, height, width) out wrongly.
KERNELS: dict[str, Callable[[Array], Array]] = {
    "height and width of the kernel are swapped": lambda w: w.transpose(0, 1, 3, 2),
    "the kernel is upside down and mirrored (a true convolution; frameworks cross-correlate)": lambda w: w[
        :, :, ::-1, ::-1
    ],
    "the kernel is upside down": lambda w: w[:, :, ::-1],
    "the kernel is mirrored": lambda w: w[:, :, :, ::-1],
    "input and output channels of the kernel are swapped": lambda w: w.transpose(1, 0, 2, 3),
    "all axes of the kernel are reversed": lambda w: w.transpose(1, 0, 3, 2),
    "its input channels are in reverse order: BGR for RGB": lambda w: w[:, ::-1],
    "the kernel was reshaped to the other layout, not transposed": lambda w: w.reshape(
        *w.shape[2:], w.shape[1], w.shape[0]
    ).transpose(3, 2, 0, 1),
    "the kernel was reshaped from the other layout, not transposed": lambda w: w.transpose(2, 3, 1, 0).reshape(w.shape),
}
MATRICES: dict[str, Callable[[Array], Array]] = {
    "the matrix is transposed": lambda w: w.T,
    "the matrix was reshaped to the other layout, not transposed": lambda w: w.reshape(w.shape[::-1]).T,
    "the matrix was reshaped from the other layout, not transposed": lambda w: w.T.reshape(w.shape),
}
#: What carrying would have changed, and somebody took over as it was.
AS_IT_WAS = {
    ("weight", "dense"): (
        "the columns of the matrix are in the order of the other framework's flatten, (C, H, W) for (H, W, C): "
        "they were not permuted"
    ),
    ("running_mean", "batch_norm"): (
        "the bias of the layer in front is missing in the second: it was not taken off the running mean"
    ),
}
NAMES = {"weight": {"conv": "the kernel", "dense": "the matrix", "batch_norm": "gamma"}, "bias": {"batch_norm": "beta"}}


def explain_weights(case: Case, left: int, right: int) -> Iterator[str]:
    """Yield what differs between the weights that the second model's layer has and those that it should have."""
    alignment = case.alignment
    simple = alignment.second.nodes[right]
    wanted: Arrays = case.plan.arrays.get(right, {})
    if not wanted:
        return
    found = read_weights(case.pair.second, simple)
    bad = [role for role in wanted if role in found and not _same(found[role], wanted[role])]
    if not bad:
        return
    if elsewhere := _elsewhere(case, right, found):
        yield elsewhere
        return
    yield from _exchanged_roles(simple.node.kind, bad, found, wanted)
    exchanged = {role for pair in _pairs_exchanged(bad, found, wanted) for role in pair}
    for role in bad:
        if role not in exchanged:
            yield _explain(case, left, role, simple.node.kind, found[role], wanted[role])


def _same(first: Array, second: Array) -> bool:
    return first.shape == second.shape and error_of(first, second) <= SAME


def _name(kind: str, role: str) -> str:
    return NAMES.get(role, {}).get(kind, role.replace("_", " "))


def _pairs_exchanged(bad: list[str], found: Arrays, wanted: Arrays) -> Iterator[tuple[str, str]]:
    for place, role in enumerate(bad):
        for other in bad[place + 1 :]:
            if _same(found[role], wanted[other]) and _same(found[other], wanted[role]):
                yield role, other


def _exchanged_roles(kind: str, bad: list[str], found: Arrays, wanted: Arrays) -> Iterator[str]:
    for role, other in _pairs_exchanged(bad, found, wanted):
        yield f"{_name(kind, role)} and {_name(kind, other)} are exchanged in the second"


def _elsewhere(case: Case, right: int, found: Arrays) -> str:
    """Return in words that a layer has the weights of another one; else ""."""
    mine = case.alignment.second.nodes[right].node
    for other, arrays in case.plan.arrays.items():
        if other == right or set(arrays) != set(found):
            continue
        if all(_same(found[role], arrays[role]) for role in found):
            theirs = case.alignment.second.nodes[other]
            there = read_weights(case.pair.second, theirs)
            wanted = case.plan.arrays[right]
            back = all(role in there and _same(there[role], wanted[role]) for role in wanted)
            both = ", which has those of this one: the two have their weights exchanged" if back else ""
            return f"{printable(mine.name)} has the weights of {printable(theirs.node.name)}{both}"
    return ""


def _explain(case: Case, left: int, role: str, kind: str, found: Array, wanted: Array) -> str:
    name = _name(kind, role)
    if not found.any():
        return f"{name} is all zeros in the second: it is missing"
    if role == "weight":
        for words, change in {"conv": KERNELS, "dense": MATRICES}.get(kind, {}).items():
            if _gives(change, wanted, found):
                return f"{words} in the second"
    raw = read_weights(case.pair.first, case.alignment.first.nodes[left]).get(role)
    if raw is not None and _same(found, raw) and (role, kind) in AS_IT_WAS:
        return AS_IT_WAS[role, kind]
    if _same_numbers(found, wanted):
        return f"{name} holds the same numbers in another order in the second: a wrong layout"
    if _same(found, wanted.astype(np.float16).astype(np.float32)):
        return f"{name} was rounded to half precision (float16) in the second"
    ratio = float(np.vdot(found, wanted) / (np.vdot(wanted, wanted) or 1.0))
    if ratio and _same(found, ratio * wanted):
        return f"{name} is {ratio:.4g} times what it is in the first"
    return f"{name} has other values in the second, by {error_of(found, wanted):.1e} of their size"


def _gives(change: Callable[[Array], Array], wanted: Array, found: Array) -> bool:
    try:
        changed = change(wanted)
    except (ValueError, IndexError):  # a kernel of a signal has fewer axes
        return False
    return changed.shape == found.shape and not np.array_equal(changed, wanted) and _same(found, changed)


def _same_numbers(first: Array, second: Array) -> bool:
    return _same(np.sort(first, axis=None), np.sort(second, axis=None))
