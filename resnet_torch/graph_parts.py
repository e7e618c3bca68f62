"""The parts from which a PyTorch model's graph is put together: weights that stay live, and calls of operations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from shared.networks.graph import Weight


@dataclass(frozen=True, eq=False)
class Place:
    """Where a weight lives: the model's own table and its name there, so that what is set later is seen."""

    table: Mapping[str, Any] = field(repr=False)
    name: str
    key: str
    transposed: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """Its dtype."""
        return self.tensor.dtype

    @property
    def tensor(self) -> Tensor:
        """The live tensor, or a view of it that is turned round."""
        tensor = self.table[self.name]
        return tensor.t() if self.transposed else tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, as `tensor` has it."""
        return tuple(self.tensor.shape)

    @property
    def turned(self) -> Place:
        """The same weight with its two axes exchanged."""
        return replace(self, transposed=not self.transposed)

    def weight(self) -> Weight:
        """What a node says of it."""
        return Weight(key=self.key, shape=self.shape, trained=self.tensor.requires_grad)


@dataclass(frozen=True)
class Data:
    """What a node puts out. `shape` and `dtype` are those of the tensor."""

    number: int
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Slot:
    """Stands in a call for the input of that place."""

    place: int


@dataclass(frozen=True, kw_only=True)
class Step:
    """How a node is run: a call in which slots stand for the inputs, of these dtypes, and places for the weights.

    Of an operation that puts out several tensors, `pick` says which. Without a `target` the result is `args[0]`.
    `path` is the module in whose code it stands, `call` which call of that module it was.
    """

    target: Any = None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    pick: int | None = None
    weights: Mapping[str, Place] = field(default_factory=dict)
    dtypes: tuple[torch.dtype, ...] = ()
    device: torch.device | None = None
    path: str = ""
    call: str = ""


@dataclass(frozen=True)
class Found:
    """What a call is: its kind and settings; weights by role; the arguments that are told by these and feed nothing."""

    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, Place] = field(default_factory=dict)
    claimed: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of an operation: its arguments by name, with the defaults filled in, and what it puts out."""

    op: str
    arguments: Mapping[str, Any]
    shape: tuple[int, ...]
    dtype: torch.dtype
    pick: int | None = None
    module: nn.Module | None = None

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def first(self) -> Any:
        """The first argument: for nearly every operation the tensor it works on."""
        return next(iter(self.arguments.values()), None)

    def weighted(self, kind: str, settings: Mapping[str, Any], **roles: str) -> Found:
        """Return what was found, with the weights that stand in the arguments `role=argument`.

        A weight that is computed is no weight of the node: it feeds the node like any other tensor.
        """
        held = {role: self[name] for role, name in roles.items() if isinstance(self[name], Place)}
        return Found(kind, settings, held, frozenset(roles[role] for role in held))


def operation_name(target: Any) -> str:
    """Return "conv2d" for `aten.conv2d.default`, and a function's own name."""
    if isinstance(target, torch._ops.OpOverload):
        return target._schema.name.partition("::")[2]
    return str(getattr(target, "__name__", type(target).__name__)).strip("_")


def argument_name(target: Any, place: int | str) -> str:
    """Return the name of an argument that is given by its place; functions of unknown form number them."""
    if isinstance(place, int) and isinstance(target, torch._ops.OpOverload):
        return str(target._schema.arguments[place].name)
    return str(place)


def bound(target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call by name, in the order of the operation's signature, defaults included."""
    given = {argument_name(target, place): value for place, value in enumerate(args)} | dict(kwargs)
    if not isinstance(target, torch._ops.OpOverload):
        return given
    return {each.name: given.get(each.name, each.default_value) for each in target._schema.arguments}


def val(node: fx.Node) -> Any:
    """Return the (fake) tensor or tensors that a node of an fx graph stands for."""
    return node.meta.get("val")
