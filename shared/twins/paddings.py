"""Steps of simplifying: padding and cropping that stand beside a layer move into its settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from shared.twins.work import Work

#: What takes padding into itself, and the value that such padding has there.
TAKES_PADDING = {"conv": 0.0, "patches": 0.0, "max_pool": float("-inf"), "avg_pool": 0.0}
#: Never negative: padding a maximum of such numbers with zeros is what padding with minus infinity is.
NOT_NEGATIVE = ("relu", "relu6", "sigmoid", "hard_sigmoid", "softmax")
Pairs = tuple[tuple[int, int], tuple[int, int]]


def plus(first: Any, second: Any) -> Pairs:
    """Return the sum of two paddings."""
    (top, bottom), (left, right) = first
    (more_top, more_bottom), (more_left, more_right) = second
    return (top + more_top, bottom + more_bottom), (left + more_left, right + more_right)


def take_padding_in(work: Work) -> None:
    """Move a padding into the only convolution or pool that it feeds."""
    for number in sorted(work.nodes):
        node = work.nodes[number]
        if node.kind != "pad" or (follower := work.feeds_only(number)) is None:
            continue
        taker = work.nodes[follower]
        value = TAKES_PADDING.get(taker.kind)
        if value is None or len(node.settings.get("padding", ())) != 2:
            continue
        settings = {**taker.settings, "padding": plus(taker.settings["padding"], node.settings["padding"])}
        given = node.settings.get("value", 0.0)
        harmless = taker.kind == "max_pool" and given == 0 and work.nodes[work.inputs[number][0]].kind in NOT_NEGATIVE
        if given != value and not harmless:
            settings["padding_value"] = given
        if taker.kind == "avg_pool":
            settings["count_include_pad"] = True
        work.nodes[follower] = replace(taker, settings=settings)
        work.members[follower] = [*work.members[number], *work.members[follower]]
        work.skip(number)


def take_cropping_in(work: Work) -> None:
    """Move a cropping into the transposed convolution in front of it, where it is what padding is."""
    for number in sorted(work.nodes):
        node = work.nodes[number]
        if node.kind != "crop":
            continue
        source = work.inputs[number][0]
        maker = work.nodes[source]
        if maker.kind != "conv_transpose" or work.feeds_only(source) != number:
            continue
        settings = {**maker.settings, "padding": plus(maker.settings["padding"], node.settings["padding"])}
        work.nodes[source] = replace(maker, settings=settings, shape=node.shape)
        work.members[source] = [*work.members[source], *work.members[number]]
        work.skip(number)


def settle_output_padding(work: Work) -> None:
    """Write the output padding of a transposed convolution as less padding at the bottom and the right."""
    for number, node in list(work.nodes.items()):
        if node.kind != "conv_transpose" or "output_padding" not in node.settings:
            continue
        settings = dict(node.settings)
        low, right = settings.pop("output_padding") or (0, 0)
        settings["padding"] = plus(settings["padding"], ((0, -low), (0, -right)))
        work.nodes[number] = replace(node, settings=settings)
