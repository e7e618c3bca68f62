"""Two models must be the same: an assertion about their layers, and one about what they compute.

>>> from shared.testing import assert_same_function, assert_same_layers
>>> assert_same_layers(mine, theirs, ignore="eps")
>>> assert_same_function("mine.py:Net", "resnet18")

Nothing heavy is imported before one is called: a project's tests are collected often, and most of them need no model.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shared.twins.pair import Pair, PairRow
    from shared.twins.parting import Parting

#: Lines of a message about rows or reasons, and about layers before and behind the first that parts.
MOST_ROWS, MOST_REASONS = 20, 10
BEFORE, BEHIND = 3, 6
MOST_NAME = 60
#: How `find_parting` begins to refuse two models that are no pair.
NO_PAIR = "are not the same network"


def assert_same_layers(
    first: Any,
    second: Any,
    *,
    input_size: int | None = None,
    in_channels: int | None = None,
    ignore: str | Iterable[str] = (),
) -> Pair:
    """Fail unless two models have the same layers and operations, with the same settings, connected alike.

    Arguments
    ---------
    first, second: live models of PyTorch or Keras, or names as `open_model` takes them: "mine.py:Net", "resnet18".
    input_size, in_channels: height and width in pixels, and channels, of the image that they are shown.
    ignore: settings that may differ, such as "eps".

    Returns the comparison. Raises `AssertionError` with the verdict, every kind of difference once, and the rows that
    differ; `InputError` for what is no model, or cannot be opened or seen.
    """
    __tracebackhide__ = True
    from shared.base.errors import InputError

    try:
        found = _compared(first, second, input_size, in_channels, ignore)
    except InputError as error:
        raise error.with_traceback(None) from None  # its text says all, with the lines of the user's
    if not found.equal:
        raise AssertionError(_layers_message(found))
    return found


def assert_same_function(
    first: Any,
    second: Any,
    *,
    images: NDArray[Any] | None = None,
    input_size: int | None = None,
    as_they_are: bool = False,
    tolerance: float | None = None,
) -> Parting:
    """Fail unless two models compute the same, layer by layer; both are as they were afterwards.

    Arguments
    ---------
    first, second: live models of PyTorch or Keras, or names as `open_model` takes them. The second one is lent the
        first one's weights meanwhile.
    images: (N, H, W, C); by default random ones of `input_size` pixels, or of the size that the models say.
    as_they_are: whether each keeps its own weights.
    tolerance: the largest error of a layer, relative to the size of its output, and of nothing but numbers: an
        operation that only one of them has fails at any tolerance. By default what float32 costs in that layer.

    Returns what was measured. Raises `AssertionError` with the first layer that parts and its cause, also for two that
    are not the same network; `InputError` for what is no model, or cannot be opened or seen.
    """
    __tracebackhide__ = True
    from shared.base.errors import InputError, WeightsError

    refused = ""
    try:
        found = _parted(first, second, images, input_size, as_they_are, tolerance)
    except InputError as error:
        refused = str(error)
        if NO_PAIR not in refused and not isinstance(error, WeightsError):
            raise error.with_traceback(None) from None
    if refused:
        raise AssertionError(_refusal(refused))
    if problem := _function_message(found, tolerance):
        raise AssertionError(problem)
    return found


# -- layers


def _compared(
    first: Any, second: Any, input_size: int | None, in_channels: int | None, ignore: str | Iterable[str]
) -> Pair:
    """Return the comparison of two models, without the differences that are ignored."""
    from dataclasses import replace

    from shared.base.checks import check_choice
    from shared.networks.graph import KINDS
    from shared.twins.named import open_two
    from shared.twins.sight import compare_pair

    ignored = {ignore} if isinstance(ignore, str) else set(ignore)
    known = sorted({setting for settings in KINDS.values() for setting in settings})
    for name in ignored:
        check_choice("ignore", name, known)
    found = compare_pair(*open_two(first, second), input_size=input_size, in_channels=in_channels)
    rows = tuple(
        replace(row, differences=tuple(text for text in row.differences if text.partition(" ")[0] not in ignored))
        for row in found.rows
    )
    return replace(found, rows=rows)


def _layers_message(found: Pair) -> str:
    lines = [found.verdict]
    if not found.refused:
        lines += _bounded([f"- {reason}" for reason in found.reasons], MOST_REASONS, "kinds of difference")
    lines += ["", "first | second: difference"]
    lines += _bounded([_row_text(row) for row in found.rows if not row.equal], MOST_ROWS, "rows")
    return "\n".join(lines)


def _row_text(row: PairRow) -> str:
    from shared.base.printable import printable

    names = [printable(side.node.name, MOST_NAME) if side else "(nothing)" for side in (row.left, row.right)]
    kinds = {side.node.kind for side in (row.left, row.right) if side}
    return f"{' | '.join(names)}: {'; '.join(row.differences) or ' and '.join(sorted(kinds))}"


def _bounded(lines: list[str], most: int, what: str) -> list[str]:
    """Return the first lines, and how many more there are."""
    return lines if len(lines) <= most else [*lines[:most], f"... and {len(lines) - most} more {what}"]


# -- function


def _parted(
    first: Any,
    second: Any,
    images: NDArray[Any] | None,
    input_size: int | None,
    as_they_are: bool,
    tolerance: float | None,
) -> Parting:
    from shared.base.checks import check_bool, check_real
    from shared.twins.named import open_two
    from shared.twins.parting import find_parting

    check_bool("as_they_are", as_they_are)
    if tolerance is not None:
        check_real("tolerance", tolerance, 0.0, 1.0)
    return find_parting(*open_two(first, second), images, input_size=input_size, as_they_are=as_they_are)


def _refusal(text: str) -> str:
    from shared.base.words import CROSS

    return f"{CROSS} {text}"


def _function_message(found: Parting, tolerance: float | None) -> str:
    """Return why two models are not the same function; an empty text if they are."""
    from shared.base.printable import printable
    from shared.base.words import CROSS

    if tolerance is None:
        return "" if found.equal else "\n".join([found.verdict, *_around(found, found.first)])
    worse = next((layer for layer in found.layers if not layer.error <= tolerance), None)
    if worse is not None:
        cause = f" {found.cause}" if found.first is worse and found.cause else ""
        error = f"the error is {worse.error:.1e} of the output's size, allowed is {tolerance:g}"
        both = " and ".join(found.pair.names)
        return "\n".join([f"{CROSS} {both} part at {printable(worse.name)}:{cause}", error, *_around(found, worse)])
    alone = next((row for row in found.pair.rows if _is_alone(row)), None)
    return "" if alone is None else f"{CROSS} {' and '.join(found.pair.names)} part: only one has {_row_text(alone)}"


def _is_alone(row: PairRow) -> bool:
    """Whether only one of the models has this operation, and it is more than another way of writing."""
    from shared.twins.pair import QUIET
    from shared.twins.simplify import NOTHING

    return any(
        one is None and other is not None and other.node.kind not in (*QUIET, *NOTHING)
        for one, other in ((row.left, row.right), (row.right, row.left))
    )


def _around(found: Parting, layer: Any) -> list[str]:
    """Return lines about a layer and those before and behind it."""
    from shared.base.printable import printable
    from shared.base.words import CROSS, TICK

    if layer is None:
        return []
    at = found.layers.index(layer)
    shown = found.layers[max(0, at - BEFORE) : at + BEHIND + 1]
    lines = [
        f"{CROSS if each.parts else TICK} {each.error:8.0e} {each.noise:8.0e}  {printable(each.name, MOST_NAME)} "
        f"| {printable(each.other, MOST_NAME)} ({each.kind})" + ("  <- the first that parts" if each is layer else "")
        for each in shown
    ]
    count = f"{len(shown)} of {len(found.layers)} layers and operations"
    return ["", f"{count}; error, what float32 costs there, first | second:", *lines]
