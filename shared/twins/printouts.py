"""What the frameworks themselves print of a network, `print(model)` and `model.summary()`, in two columns."""

from __future__ import annotations

import re
from collections.abc import Iterator

from shared.backends import load_backend
from shared.networks.spec import ResNetSpec
from shared.networks.table import layer_table


def torch_lines(text: str) -> Iterator[tuple[str, str]]:
    """Yield (layer's full name or "", line) for each line of PyTorch's printout."""
    path: list[tuple[int, str]] = []
    for line in text.splitlines():
        match = re.match(r"( *)\((\w+)\): ", line)
        if not match:
            yield "", line
            continue
        indent = len(match[1])
        path = [(depth, name) for depth, name in path if depth < indent] + [(indent, match[2])]
        yield ".".join(name for _, name in path), line


def keras_groups(text: str) -> tuple[list[str], dict[str, list[str]], list[str]]:
    """Cut Keras' summary into its head, the lines of each layer by name, and the totals at its end."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("┡")) + 1
    end = next(i for i, line in enumerate(lines) if line.startswith("└"))
    groups: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines[start:end]:
        if line.startswith("├"):
            current = []
            continue
        if not current:
            name = line.strip("│ ").split()[0]
            current = groups.setdefault(name, [])
        current.append(line)
    return lines[:start], groups, lines[end:]


def raw_columns(spec: ResNetSpec) -> str:
    """Build `spec` in both frameworks and return their own printouts beside each other, rows aligned by name.

    Nothing is changed within a row. Keras sorts its rows by depth in the graph, which puts a shortcut's layers
    between those of the main path; here they stand in PyTorch's order.
    """
    torch, keras = load_backend("torch", device="cpu"), load_backend("tf", device="cpu")
    left = list(torch_lines(torch.printout(torch.create_skeleton(spec))))
    head, groups, tail = keras_groups(keras.printout(keras.create_skeleton(spec)))
    ordered = ["input"]
    for row in layer_table(spec):
        ordered += [f"{row.name}.pad", row.name]
    waiting = [name for name in ordered if name in groups] + [name for name in groups if name not in ordered]
    both = {name for name, _ in left if name in groups}

    pairs: list[tuple[str, str]] = [("", line) for line in head[:-1]]
    pairs.append((left[0][1], head[-1]))
    for name, line in left[1:]:
        if name not in both:
            pairs.append((line, ""))
            continue
        while waiting and waiting[0] != name:
            pairs += [("", text) for text in groups[waiting.pop(0)]]
        waiting.pop(0)
        first, *rest = groups[name]
        pairs += [(line, first), *(("", text) for text in rest)]
    for name in waiting:
        pairs += [("", text) for text in groups[name]]
    pairs += [("", line) for line in tail]

    width = max(len(line) for _, line in left)
    titles = [(f"{'PyTorch: print(model)':<{width}}", "Keras: model.summary()")]
    return "\n".join(f"{a:<{width}}  {b}".rstrip() for a, b in titles + pairs) + "\n"
