"""What the frameworks themselves print of a network, `print(model)` and `model.summary()`, in two columns."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from shared.backends import load_backend, load_part
from shared.base.printable import printable
from shared.networks.graph import Graph
from shared.networks.spec import ResNetSpec
from shared.networks.table import layer_table
from shared.twins.pair import Pair

#: Lines of a printout that are shown, and characters of a line: its author may have written what prints it.
MOST_LINES, MOST_LINE = 5000, 300


@dataclass(frozen=True)
class Printout:
    """A printout, cut up: what is above its rows, the rows with the name of the layer that each is about, and the end.

    A row without a layer has the name "". Rows that are `free` may be shown in another order: those of a table, but
    not those of a text that is indented.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    tail: Sequence[str] = ()
    free: bool = False


def torch_lines(text: str) -> Iterator[tuple[str, str]]:
    """Yield (layer's full name or "", line) for each line of PyTorch's printout.

    The line that closes a module has its name with ")" behind. Modules that PyTorch prints once because they are
    alike, "(0-5): 6 x Block(", have the name of the first.
    """
    path: list[tuple[int, str]] = []
    for line in text.splitlines():
        if match := re.match(r"( *)\((\w+)(-\d+)?\): ", line):
            indent = len(match[1])
            path = [(depth, name) for depth, name in path if depth < indent] + [(indent, match[2])]
            yield ".".join(name for _, name in path), line
        elif (match := re.fullmatch(r"( +)\)", line)) and path:
            path = [(depth, name) for depth, name in path if depth <= len(match[1])]
            yield ".".join(name for _, name in path) + ")", line
        else:
            yield "", line


def torch_printout(text: str, title: str) -> Printout:
    """Cut up what PyTorch prints: a head of one line, and each further line is a row."""
    first, *rows = torch_lines(text or " ")
    return Printout(title, [first[1]], [(name, [line]) for name, line in rows])


def keras_printout(text: str, title: str, names: Sequence[str] = ()) -> Printout:
    """Cut up Keras' summary: the head of its table, the lines of each row by its layer, the totals at its end.

    `names` are those of the rows, if they are not to be read from the rows themselves.
    """
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("┡")), len(lines) - 1) + 1
    end = next((i for i, line in enumerate(lines) if line.startswith("└")), len(lines))
    groups: list[list[str]] = [[]]
    for line in lines[start:end]:
        if line.startswith("├"):
            groups.append([])
        else:
            groups[-1].append(line)
    rows = [group for group in groups if group]
    own = [group[0].strip("│ ").split()[0] for group in rows]
    known = names if len(names) == len(rows) else own
    return Printout(title, lines[:start], list(zip(known, rows, strict=True)), lines[end:], free=True)


def side_by_side(left: Printout, right: Printout, partners: Mapping[str, str], order: Sequence[Sequence[str]]) -> str:
    """Return two printouts in two columns: rows whose layers are partners, left name -> right, stand in one line.

    Rows of one that are free are put into the order of the other's; for those without a partner, `order` has all rows
    in groups that belong together. Nothing is changed within a row.
    """
    if left.free and not right.free:
        swapped = _pairs(right, left, {theirs: mine for mine, theirs in partners.items()}, order)
        return _columns(left.title, right.title, [(theirs, mine) for mine, theirs in swapped])
    return _columns(left.title, right.title, _pairs(left, right, partners, order))


def _columns(left: str, right: str, pairs: Sequence[tuple[str, str]]) -> str:
    from rich.cells import cell_len

    width = max(cell_len(line) for line, _ in [(left, ""), *pairs])
    return "\n".join(f"{a}{' ' * (width - cell_len(a))}  {b}".rstrip() for a, b in [(left, right), *pairs]) + "\n"


def _pairs(
    left: Printout, right: Printout, partners: Mapping[str, str], order: Sequence[Sequence[str]]
) -> list[tuple[str, str]]:
    """Return the lines of both columns, from top to bottom."""
    places = {partners[name]: place for place, (name, _) in reversed([*enumerate(left.rows)]) if name in partners}
    targets = [places.pop(name, None) for name, _ in right.rows]
    sequence = _arranged(right, targets, order) if right.free else _in_step(targets)
    high = max(len(left.head), len(right.head))
    heads = [[*[""] * (high - len(side.head)), *side.head] for side in (left, right)]
    pairs = list(zip(*heads, strict=True))
    at, waiting = 0, list[tuple[str, str]]()
    for place, target in [*sequence, (-1, len(left.rows))]:
        if target is None:
            waiting += [("", line) for line in right.rows[place][1]]
            continue
        pairs += [(line, "") for _, lines in left.rows[at:target] for line in lines] + waiting
        at, waiting = target + 1, []
        if place >= 0:
            pairs += zip_longest(left.rows[target][1], right.rows[place][1], fillvalue="")
    return [*pairs, *zip_longest(left.tail, right.tail, fillvalue="")]


#: The numbers of rows of the right printout in the order in which they are shown, each with its partner's number.
Shown = list[tuple[int, int | None]]


def _arranged(right: Printout, targets: Sequence[int | None], order: Sequence[Sequence[str]]) -> Shown:
    """Put the rows into the order of their partners, and those without one behind the row in front of them in `order`.

    Where a group has a partner, what stands in front of it in the group does so here.
    """
    rank = {name: (place, at) for place, group in enumerate(order) for at, name in enumerate(group)}
    keys: list[tuple[int, int, int]] = []
    for name, _ in right.rows:  # what `order` does not name stays behind the row in front of it
        group, at, behind = keys[-1] if keys else (-1, 0, 0)
        keys.append((*rank[name], 0) if name in rank else (group, at, behind + 1))
    sequence = sorted(range(len(keys)), key=lambda place: keys[place])
    leads = {keys[place][0]: target for place in sequence if (target := targets[place]) is not None}
    anchors, last = dict[int, float](), -1.0
    for place in sequence:
        if (target := targets[place]) is not None:
            last = anchors[place] = target
        else:
            lead = leads.get(keys[place][0])
            anchors[place] = last + 0.5 if lead is None or last == lead else lead - 0.25
    return [(place, targets[place]) for place in sorted(sequence, key=lambda place: anchors[place])]


def _in_step(targets: Sequence[int | None]) -> Shown:
    """Keep the rows in their order; as many partners as possible stand in one line, the others are as without one."""
    tops: list[int] = []
    ends: list[int] = []
    before: dict[int, int | None] = {}
    for place, target in enumerate(targets):
        if target is None:
            continue
        length = bisect_left(tops, target)
        before[place] = ends[length - 1] if length else None
        tops[length : length + 1], ends[length : length + 1] = [target], [place]
    chosen, place_ = set[int](), ends[-1] if ends else None
    while place_ is not None:
        chosen.add(place_)
        place_ = before[place_]
    return [(place, target if place in chosen else None) for place, target in enumerate(targets)]


# -- a network of the catalog


def raw_columns(spec: ResNetSpec) -> str:
    """Build `spec` in both frameworks and return their own printouts beside each other, rows aligned by name.

    Keras sorts its rows by depth in the graph, which puts a shortcut's layers between those of the main path; here they
    stand in PyTorch's order.
    """
    torch, keras = load_backend("torch", device="cpu"), load_backend("tf", device="cpu")
    left = torch_printout(torch.printout(torch.create_skeleton(spec)), "PyTorch: print(model)")
    right = keras_printout(keras.printout(keras.create_skeleton(spec)), "Keras: model.summary()")
    order = [["input"], *([f"{row.name}.pad", row.name] for row in layer_table(spec))]
    return side_by_side(left, right, {name: name for name, _ in left.rows if name}, order)


# -- any pair


def raw_pair(pair: Pair, first: Any, second: Any) -> str:
    """Return what the frameworks print of a pair's two models, rows aligned as the pair is; then what no row shows.

    Raises `InputError` for a model that cannot be printed.
    """
    models = ((pair.first, first, pair.names[0]), (pair.second, second, pair.names[1]))
    found = [_printed(graph, model, name) for graph, model, name in models]
    (left, _), (right, _) = found
    partners = _partners(pair)
    if not (left.free or right.free):
        partners |= _modules(partners)
    graph, side = (pair.second, "right") if right.free else (pair.first, "left")
    simples = [each for row in pair.rows if (each := getattr(row, side))]
    order = [[graph.nodes[member].name for member in simple.members] for simple in simples]
    notes = [note for printout, lines in found for note in lines] + _without_row(pair, left, right)
    return side_by_side(left, right, partners, order) + "".join(f"\n{note}" for note in notes)


def _partners(pair: Pair) -> dict[str, str]:
    """Return the names of the layers that are partners, and of what is part of one on both sides, like its padding."""
    found: dict[str, str] = {}
    for row in pair.rows:
        if row.left and row.right:
            theirs = [pair.second.nodes[member] for member in row.right.members]
            for mine in (pair.first.nodes[member] for member in row.left.members):
                same = next((node for node in theirs if node.kind == mine.kind), None)
                if same:
                    theirs.remove(same)
                    found[mine.name] = same.name
            found[row.left.node.name] = row.right.node.name
    return found


def _printed(graph: Graph, model: Any, name: str) -> tuple[Printout, list[str]]:
    """Return the printout of a model, cleaned and bounded, and what to say of it."""
    found = load_part(graph.framework, "summary").printed(model)
    lines = found.text.splitlines()
    text = "\n".join(printable(line, MOST_LINE) for line in lines[:MOST_LINES])
    title = f"{name}: {found.how}"
    notes = [f"{name}: {found.note}"] if found.note else []
    if len(lines) > MOST_LINES:
        notes.append(f"{name}: {len(lines) - MOST_LINES:,} more lines are left out")
    is_table = any(line.startswith("┡") for line in lines)
    return keras_printout(text, title, found.names) if is_table else torch_printout(text, title), notes


def _modules(partners: Mapping[str, str]) -> dict[str, str]:
    """Return which module of one model stands for which of the other: those whose layers are partners, most of them."""
    votes: Counter[tuple[str, str]] = Counter()
    for mine, theirs in partners.items():
        while "." in mine and "." in theirs:
            mine, theirs = mine.rpartition(".")[0], theirs.rpartition(".")[0]
            votes[mine, theirs] += 1
    found: dict[str, str] = {}
    for (mine, theirs), _ in votes.most_common():
        if mine not in found and theirs not in found.values():
            found |= {mine: theirs, f"{mine})": f"{theirs})"}
    return found


def _without_row(pair: Pair, left: Printout, right: Printout) -> list[str]:
    """Say how many layers and operations of each model have no row of their own."""
    notes = []
    for name, printout, side in zip(pair.names, (left, right), ("left", "right"), strict=True):
        shown = {each for each, _ in printout.rows}
        nodes = [each.node for row in pair.rows if (each := getattr(row, side)) and each.node.kind != "input"]
        missing = [node for node in nodes if node.name not in shown]
        if missing:
            notes.append(
                f"{name}: {len(missing)} of {len(nodes)} layers and operations have no row of their own, the first is "
                f"{printable(missing[0].name)}: what is written as a function, inside of a layer, or alike"
            )
    return notes
