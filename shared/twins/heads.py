"""Which rows of the weights the heads of attention have, from the places of the numbers that each head works on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Places = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Block:
    """Which rows (heads, tokens) and columns (heads, size) of a linear map's output are the tokens of each head.

    The heads of each image of a batch count as different ones.
    """

    tokens: Places
    features: Places


@dataclass(frozen=True, kw_only=True)
class Heads:
    """What each head of attention is.

    `query`, `key`, `value` are the rows of the three maps' weights, head by head, `columns` those of the last one's;
    `rows` says which row of the query's map leads to which row of the last one's input.
    """

    count: int
    size: int
    query: Places
    key: Places
    value: Places
    columns: Places
    rows: Places


def as_block(places: Places, size: int) -> Block | None:
    """Return the rows and columns of a linear map's output that each head gets; None if these are not rectangles.

    `places` (heads of all images, tokens, numbers of a head) are those in the output, whose rows have `size` numbers.
    """
    tokens, features = places // size, places % size
    if (tokens != tokens[:, :, :1]).any() or (features != features[:, :1]).any():
        return None
    return Block(tokens=tokens[:, :, 0], features=features[:, 0])


def _kinds_of_rows(table: Places) -> Places:
    """Return a number for each row, the same for rows that are equal."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(row.tobytes(), len(numbers)) for row in np.ascontiguousarray(table)])


def _follows(table: Places, kinds: Places) -> bool:
    """Whether rows of a table are equal exactly where their kinds are."""
    return np.array_equal(_kinds_of_rows(table), kinds)


def _independent(query: Block, key: Block, value: Block) -> tuple[Places, Places] | None:
    """Return of which image each head is, and which one of its heads; None if this is no attention of several heads."""
    if not len(query.tokens) == len(key.tokens) == len(value.tokens) or key.tokens.shape != value.tokens.shape:
        return None
    images, heads = _kinds_of_rows(query.tokens), _kinds_of_rows(query.features)
    each_once = len(set(zip(images.tolist(), heads.tolist(), strict=True))) == len(images)
    all_there = len(images) == (int(images.max()) + 1) * (int(heads.max()) + 1)
    own_rows = _follows(key.features, heads) and _follows(value.features, heads)
    own_tokens = _follows(key.tokens, images) and np.array_equal(key.tokens, value.tokens)
    return (images, heads) if each_once and all_there and own_rows and own_tokens else None


def find_heads(query: Block, key: Block, value: Block, places: Places) -> Heads | None:
    """Return what each head is; None if this is not attention of several heads, each with numbers of its own.

    `places` (rows, columns) say what feeds the last linear map: places in (heads of all images, tokens, numbers).
    """
    found = _independent(query, key, value)
    if found is None:
        return None
    _, heads = found
    form = (len(heads), query.tokens.shape[1], value.features.shape[1])
    if not np.array_equal(np.sort(places, axis=None), np.arange(int(np.prod(form)))):
        return None
    which, token, number = np.unravel_index(places, form)
    rows, head = query.tokens[which, token], heads[which]
    if (rows != rows[:, :1]).any() or (head != head[:1]).any() or (number != number[:1]).any():
        return None
    order = list(dict.fromkeys(head[0].tolist()))
    columns = np.argsort(np.argsort(order)[head[0]], kind="stable")
    firsts = [int(np.flatnonzero(heads == each)[0]) for each in order]
    inside = number[0][columns].reshape(len(order), -1)
    result = Heads(
        count=len(order),
        size=query.features.shape[1],
        query=query.features[firsts].ravel(),
        key=key.features[firsts].ravel(),
        value=np.take_along_axis(value.features[firsts], inside, axis=1).ravel(),
        columns=columns,
        rows=rows[:, 0],
    )
    distinct = all(len(set(each.tolist())) == len(each) for each in (result.query, result.key, result.value))
    return result if distinct else None
