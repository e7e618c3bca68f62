"""Turns a captured graph of ATen operations into the nodes of `shared.networks.graph`."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from resnet_torch.graph_capture import Captured, places_of
from resnet_torch.graph_kinds import find_kind, is_passed_on
from resnet_torch.graph_parts import (
    Call,
    Data,
    Found,
    Place,
    Slot,
    Step,
    argument_name,
    bound,
    operation_name,
    val,
)
from shared.base.errors import InputError
from shared.networks.graph import Graph, Node

#: Arguments that say where and how a tensor lies, not what it is.
NOT_SETTINGS = (torch.device, torch.layout, torch.memory_format)
#: Operations that look at the size of a tensor only, and fill a new one.
FILLERS = ("zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty")
#: Operations that only check something.
CHECKS = ("_assert_tensor_metadata", "_assert_async", "_assert_scalar", "sym_constrain_range_for_size")


@dataclass(frozen=True)
class Standing:
    """In whose code an operation stands: which call of a module, the module's path and class."""

    call: str = ""
    path: str = ""
    module: str = ""

    @property
    def in_library(self) -> bool:
        """Whether the module is PyTorch's own."""
        return self.module.startswith("torch.nn.")


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A node without its final name."""

    node: Node
    step: Step
    standing: Standing


NOWHERE = Standing()


@dataclass(frozen=True)
class Several:
    """An operation that puts out several tensors: each that is used becomes a node of its own."""

    node: fx.Node


@dataclass
class Builder:
    """Walks a captured graph once and collects the nodes."""

    captured: Captured
    device: torch.device
    drafts: list[Draft] = field(default_factory=list)
    values: dict[fx.Node, Any] = field(default_factory=dict)
    stored: dict[Any, int] = field(default_factory=dict)

    def build(self, title: str) -> Graph:
        """Return the graph, in which every node but an input leads to an output."""
        for node in self.captured.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = self._placeholder(node)
            elif node.op == "call_function" and operation_name(node.target) not in CHECKS:
                self.values[node] = self._call(node)
        found = {name: self._number(self.values[node]) for name, node in self.captured.outputs.items()}
        if not found:
            raise InputError(f"{title} cannot be seen: it returns no tensor")
        kept = self._kept(found.values())
        places = {number: place for place, number in enumerate(kept)}
        drafts = [self.drafts[number] for number in kept]
        nodes = tuple(
            replace(each.node, name=name, source=source, inputs=tuple(places[number] for number in each.node.inputs))
            for each, (name, source) in zip(drafts, _names(drafts), strict=True)
        )
        return Graph(
            title=title,
            framework="torch",
            layout="channels_first",
            nodes=nodes,
            outputs={name: places[number] for name, number in found.items()},
            live=tuple(each.step for each in drafts),
            notes=self.captured.notes,
        )

    def _kept(self, outputs: Any) -> list[int]:
        wanted = {number for number, each in enumerate(self.drafts) if each.node.kind == "input"} | set(outputs)
        for number in reversed(range(len(self.drafts))):  # inputs come before what they feed
            if number in wanted:
                wanted.update(self.drafts[number].node.inputs)
        return sorted(wanted)

    # Values

    def _placeholder(self, node: fx.Node) -> Any:
        if node.name in self.captured.inputs:
            return self._add(Node(name=str(node.target), kind="input", source="input"), Step(), val(node))
        place = self.captured.places.get(node.name)
        if place is None:
            raise InputError(f"{node.target} is neither a tensor nor a weight, and cannot be seen")
        return place if place.key else place.tensor.detach()

    def _add(self, node: Node, step: Step, tensor: Tensor, standing: Standing = NOWHERE) -> Data:
        node = replace(node, shape=tuple(map(int, tensor.shape)), dtype=str(tensor.dtype).removeprefix("torch."))
        step = replace(step, path=standing.path, call=standing.call)
        self.drafts.append(Draft(node=node, step=step, standing=standing))
        return Data(len(self.drafts) - 1, node.shape, tensor.dtype)

    def _number(self, value: Any) -> int:
        """Return the node of a value; a weight or a constant that feeds an operation becomes a "parameter"."""
        if isinstance(value, Data):
            return value.number
        key = (value.key, value.transposed) if isinstance(value, Place) else id(value)
        if key not in self.stored:
            if isinstance(value, Place):
                weights = {"value": value}
                node = Node(name=value.key, kind="parameter", source=type(value.tensor).__name__)
                node = replace(node, weights={"value": value.weight()})
                tensor = value.tensor
            else:
                weights, tensor = {}, value
                node = Node(name="constant", kind="parameter", source="constant")
            step = Step(args=(value,), weights=weights, device=self.device)
            self.stored[key] = self._add(node, step, tensor).number
        return self.stored[key]

    # Calls

    def _call(self, node: fx.Node) -> Any:
        """Return what a call puts out: the data of a new node, or its first argument, or a constant."""
        pick = None
        source = node
        if node.target is operator.getitem:
            (several,) = (self.values[each] for each in node.all_input_nodes)
            if not isinstance(several, Several):
                return several[node.args[1]]  # of a constant that is several
            source, pick = several.node, node.args[1]
        elif isinstance(val(node), tuple | list) and not self._is_constant(node):
            return Several(node)
        args, kwargs = fx.node.map_arg((source.args, source.kwargs), self.values.__getitem__)
        if self._is_constant(source):
            return self._run(source.target, args, kwargs)
        call = self._described(node, source, args, kwargs, pick)
        if is_passed_on(call):
            return call.first
        if call.op == "copy" and (tuple(call["src"].shape), call["src"].dtype) == (call.shape, call.dtype):
            return call["src"]
        if _turns(call):
            return call.first.turned
        return self._node(node, source, args, kwargs, call)

    def _is_constant(self, node: fx.Node) -> bool:
        """Whether a call hangs on no input and no weight, so that it gives the same each time."""
        random = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
        values = [self.values.get(each) for each in node.all_input_nodes]
        fills = operation_name(node.target) in FILLERS
        return fills or (not random and all(isinstance(each, Tensor | tuple | list) for each in values))

    def _run(self, target: Any, args: Any, kwargs: Any) -> Any:
        def stand_in(value: Any) -> Any:
            """Return something of the same size where a filler is told a tensor."""
            return torch.empty(value.shape, dtype=value.dtype, device=self.device) if _is_data(value) else value

        return target(*map(stand_in, args), **kwargs)

    def _described(self, node: fx.Node, source: fx.Node, args: Any, kwargs: Any, pick: int | None) -> Call:
        tensor = val(node)
        return Call(
            op=operation_name(source.target),
            arguments=bound(source.target, args, kwargs),
            shape=tuple(map(int, tensor.shape)),
            dtype=tensor.dtype,
            pick=pick,
            module=self.captured.modules.get(_standing(source).path),
        )

    def _node(self, node: fx.Node, source: fx.Node, args: Any, kwargs: Any, call: Call) -> Data:
        standing = _standing(source)
        if isinstance(source.target, nn.Module):
            found = Found("other", weights=_own_places(source.target, standing.path))
        else:
            found = find_kind(call) or self._unknown(call, standing)
        inputs: list[int] = []
        dtypes: list[torch.dtype] = []

        def filled(name: str, value: Any) -> Any:
            """Put a slot where a node feeds the call; what the settings or weights tell stays."""
            if isinstance(value, list | tuple):
                return type(value)(filled(name, each) for each in value)
            if isinstance(value, Data) or (isinstance(value, Place | Tensor) and name not in found.claimed):
                inputs.append(self._number(value))
                dtypes.append(value.dtype)
                return Slot(len(inputs) - 1)
            return value

        step = Step(
            target=source.target,
            args=tuple(filled(argument_name(source.target, place), each) for place, each in enumerate(args)),
            kwargs={name: filled(name, each) for name, each in kwargs.items()},
            pick=call.pick,
            dtypes=tuple(dtypes),
            weights=found.weights,
            device=self.device,
        )
        drafted = Node(
            name=call.op if found.kind == "other" else found.kind,
            kind=found.kind,
            source=str(source.target) if isinstance(source.target, torch._ops.OpOverload) else call.op,
            inputs=tuple(inputs),
            settings=found.settings,
            weights={role: place.weight() for role, place in found.weights.items()},
        )
        return self._add(drafted, step, val(node), standing)

    def _unknown(self, call: Call, standing: Standing) -> Found:
        """Return an operation for which there is no word, with all that it is told.

        A layer of PyTorch's own keeps its weights (an LSTM has four); elsewhere they feed it like other tensors.
        """
        settings = {name: _setting(each) for name, each in call.arguments.items() if _is_literal(each)}
        if call.pick is not None:
            settings["output"] = call.pick
        own: dict[str, Place] = {}
        claimed = set()
        fed = any(isinstance(each, Data) for each in pytree.tree_leaves(dict(call.arguments)))
        for name, value in call.arguments.items():
            places = [each for each in pytree.tree_leaves(value) if isinstance(each, Place)]
            owners = {each.key.rpartition(".")[0] for each in places}
            if fed and standing.in_library and owners == {standing.path}:
                own.update({each.key.rpartition(".")[2]: each for each in places})
                claimed.add(name)
        return Found("other", settings, own, frozenset(claimed))


def _is_data(value: Any) -> bool:
    return isinstance(value, Data | Place)


def _own_places(module: nn.Module, path: str) -> dict[str, Place]:
    return {key: replace(place, key=f"{path}.{key}") for key, place in places_of(module).items()}


def _turns(call: Call) -> bool:
    """Whether this only exchanges the two axes of a weight, which is then the same weight."""
    if not isinstance(call.first, Place) or len(call.first.shape) != 2:
        return False
    found = find_kind(call)
    return found is not None and found.kind == "permute" and found.settings["axes"] == (1, 0)


def _is_literal(value: Any) -> bool:
    leaves = [each for each in pytree.tree_leaves(value) if each is not None]
    return bool(leaves) and not any(isinstance(each, (Data, Place, Tensor, *NOT_SETTINGS)) for each in leaves)


def _setting(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(map(_setting, value))
    return value if isinstance(value, bool | int | float | str) else str(value)


# Names


def _standing(node: fx.Node) -> Standing:
    stack = list((node.meta.get("nn_module_stack") or {}).items())
    if not stack:
        return NOWHERE
    call, (path, module) = stack[-1]
    return Standing(call, path, module if isinstance(module, str) else f"{module.__module__}.{module.__qualname__}")


def _names(drafts: list[Draft]) -> Iterator[tuple[str, str]]:
    """Yield (name, source) for each node; a name that is taken gets "_1", "_2" and so on."""
    operations = Counter(each.standing.call for each in drafts)
    taken: Counter[str] = Counter()
    used: set[str] = set()
    for each in drafts:
        name, source = _name(each, operations)
        unique = name
        while unique in used:
            taken[name] += 1
            unique = f"{name}_{taken[name]}"
        used.add(unique)
        yield unique, source


def _name(draft: Draft, operations: Mapping[str, int]) -> tuple[str, str]:
    """Return the module's path for what is a whole layer, else the path and what is done there."""
    node, standing = draft.node, draft.standing
    if standing is NOWHERE and node.kind in ("input", "parameter"):
        return node.name, node.source
    kind = standing.module.rpartition(".")[2]
    whole = standing.in_library and operations[standing.call] == 1
    if standing.path and (whole or isinstance(draft.step.target, nn.Module)):
        return standing.path, kind
    owner, _, last = node.weights["weight"].key.rpartition(".") if "weight" in node.weights else ("", "", "")
    if owner and last == "weight":
        return owner, kind if owner == standing.path else node.source
    return f"{standing.path}.{node.name}".lstrip("."), node.source
