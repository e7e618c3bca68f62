"""The blocks of a network, read from the names of its layers: `layer1.0`, `encoder.layers.3`, `conv2_block1`.

Names are paths, in PyTorch with dots, in Keras with slashes, or in words with "_" between them. They make a tree. A
branch that holds numbered branches of some size is a stage, and is looked into; the first that holds none is a block.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.twins.pair import PairRow
    from shared.twins.simplify import Simple

#: Numbered branches with fewer layers than this are parts of a block (convolution, norm, activation), not blocks.
BLOCK_SIZE = 5
#: Blocks that come in more pieces than this each, in the order of dataflow, are none.
MOST_PIECES = 2


@dataclass(frozen=True, kw_only=True)
class PairBlock:
    """Lines that belong together, and what their block is called in each model; "" where a model has no such name."""

    first: str
    second: str
    rows: tuple[PairRow, ...]

    @property
    def name(self) -> str:
        """The name in the first model that has one; "" for lines that are in no block."""
        return self.first or self.second

    @property
    def differing(self) -> int:
        """How many of the lines differ."""
        return sum(not row.equal for row in self.rows)

    @property
    def parameters(self) -> tuple[int, int]:
        """How many parameters the two models have in these lines."""
        first = sum(row.left.node.parameters for row in self.rows if row.left)
        return first, sum(row.right.node.parameters for row in self.rows if row.right)


@dataclass
class _Branch:
    """What a part of a path leads to: nothing more for a layer. A stage holds blocks rather than being one."""

    children: dict[str, _Branch] = field(default_factory=dict)
    size: int = 0
    stage: bool = False


def _word(part: str) -> str:
    """Return a part of a path without its numbers: what only they tell apart is treated alike."""
    return re.sub(r"\d+", "", part)


def _find_stages(branch: _Branch, counted: bool = False) -> None:
    """Mark the stages of a tree from the leaves to the root; `counted`: something above has a number."""
    alike: dict[str, list[_Branch]] = {}
    inner = {part: child for part, child in branch.children.items() if child.children}
    for part, child in inner.items():
        numbered = _word(part) != part
        _find_stages(child, counted or numbered)
        if numbered:
            alike.setdefault(_word(part), []).append(child)
    for word, children in alike.items():
        large = sum(child.size for child in children) >= BLOCK_SIZE * len(children)
        branch.stage |= len(children) > 1 and (large or (word == "" and not counted))
        if any(child.stage for child in children):
            for child in children:
                child.stage = any(each.children for each in child.children.values())
    branch.stage |= any(child.stage for child in inner.values())


def _ends(name: str, words: bool) -> list[int]:
    """Return where the parts of a path end; with `words` also at each "_" of its first part.

    A number belongs to the word in front of it ("block_1"), but not to one that ends in a number itself ("block1_1").
    """
    ends = [match.start() for match in re.finditer(r"[./]", name)] + [len(name)]
    if words:
        first = name[: ends[0]]
        ends += [match.start() for match in re.finditer(r"(?<=[^_])_(?!\d+(_|$)|_)|(?<=\d)_(?=\d)", first)]
    return sorted({*ends} - {0})


def _is_automatic(simple: Simple) -> bool:
    """Return whether a framework chose the name: "conv2d_5" for a Conv2D, "max_pool" for that kind."""
    plain = [re.sub(r"[\W\d_]", "", text).lower() for text in (simple.node.name, simple.node.source, simple.node.kind)]
    return plain[0] in plain[1:]


def _path(simple: Simple, layers: Set[str], words: bool) -> list[int]:
    """Return where the parts of a layer's name end, up to the layer itself: what is done inside of it is no part."""
    name = simple.node.name
    if simple.node.kind == "input":
        return [len(name)]
    ends = _ends(name, words and not _is_automatic(simple))
    layer = next(end for end in ends if name[:end] in layers)
    return [end for end in ends if end <= layer]


def blocks_of(nodes: Sequence[Simple]) -> list[str]:
    """Return for each layer the name of its block; "" for one that is in none, and for all where there are none."""
    words = not any("." in simple.node.name for simple in nodes)
    layers = {simple.node.name for simple in nodes if simple.node.kind != "input"}
    paths = [(simple.node.name, _path(simple, layers, words)) for simple in nodes]
    root = _Branch()
    for name, ends in paths:
        branch = root
        for part in _parts(name, ends):
            branch.size += 1
            branch = branch.children.setdefault(part, _Branch())
    _find_stages(root)
    found = [_block(name, ends, root) for name, ends in paths]
    scattered = {name for name, pieces in _pieces([name for name, _ in found]).items() if pieces > MOST_PIECES}
    for name, branch in found:
        branch.stage |= name in scattered and any(child.children for child in branch.children.values())
    return _without_crumbs([_block(name, ends, root)[0] for name, ends in paths])


def _pieces(names: Sequence[str]) -> Counter[str]:
    """Return in how many pieces each block comes, in the order of dataflow."""
    return Counter(name for name, _ in groupby(names) if name)


def _parts(name: str, ends: Sequence[int]) -> list[str]:
    return [name[start:end].strip("._/") for start, end in zip([0, *ends], ends, strict=False)]


def _block(name: str, ends: Sequence[int], root: _Branch) -> tuple[str, _Branch]:
    """Return the first part of a path that is a block, of a name in words all that its layers have in common."""
    branch, found = root, 0
    for part, end in zip(_parts(name, ends)[:-1], ends, strict=False):
        if found and (name[found] != "_" or len(branch.children) > 1):
            break
        branch = branch.children[part]
        if found or not branch.stage:
            found = end
    return name[:found], branch


def _without_crumbs(found: list[str]) -> list[str]:
    """Leave away blocks of one layer, one of all layers, and all of them if dataflow does not keep them together."""
    counts = Counter(found)
    kept = [name if 1 < counts[name] < len(found) else "" for name in found]
    pieces = _pieces(kept)
    return kept if pieces.total() <= MOST_PIECES * len(pieces) else [""] * len(kept)


def block_rows(rows: Sequence[PairRow]) -> list[PairBlock]:
    """Return the lines by their blocks, as the first model names them, or the second where the first names none.

    A block stands where its first line does, and has all of its lines. Lines in no block stay in runs without a name.
    """
    sides = [_of_side(sides) for sides in ([row.left for row in rows], [row.right for row in rows])]
    lead = 0 if any(sides[0]) else 1
    keys = _keys(sides[lead], sides[1 - lead])
    places: dict[tuple[bool, str], int] = {}
    for place, key in enumerate(keys):
        if key[1]:
            places.setdefault(key, place)
    order = sorted(range(len(rows)), key=lambda place: (places.get(keys[place], place), place))
    found = []
    for (own, name), group in groupby(order, key=lambda place: keys[place]):
        inside = list(group)
        other = 1 - lead if own else lead
        beside = Counter(sides[other][place] or "" for place in inside if name).most_common(1)
        names = {other: next((text for text, count in beside if 2 * count > len(inside)), ""), 1 - other: name}
        found.append(PairBlock(first=names[0], second=names[1], rows=tuple(rows[place] for place in inside)))
    return found


def _of_side(sides: Sequence[Simple | None]) -> list[str | None]:
    """Return the block of each line's layer in one model, None where the model has no such layer."""
    found = iter(blocks_of([side for side in sides if side is not None]))
    return [None if side is None else next(found) for side in sides]


def _keys(own: Sequence[str | None], other: Sequence[str | None]) -> list[tuple[bool, str]]:
    """Return the block of each line, and whether it is one of the model that names the blocks.

    Lines that only the other model has are in the block of the lines that their own block stands beside. If it stands
    beside none, it is a block itself; if they have none, they belong to the lines around them, if these are in one.
    """
    votes: dict[str, Counter[str]] = {}
    for mine, theirs in zip(own, other, strict=True):
        if mine and theirs:
            votes.setdefault(theirs, Counter())[mine] += 1
    found: list[tuple[bool, str]] = []
    for place, (mine, theirs) in enumerate(zip(own, other, strict=True)):
        if mine is not None:
            found.append((True, mine))
        elif theirs:
            found.append((True, votes[theirs].most_common(1)[0][0]) if theirs in votes else (False, theirs))
        else:
            before = found[-1] if found else (True, "")
            behind = next((name for name in own[place:] if name is not None), "")
            found.append(before if before == (True, behind) else (True, ""))
    return found
