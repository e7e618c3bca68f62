"""Records one run of a PyTorch model that `torch.export` refuses, call by call, as a graph of ATen operations."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from resnet_torch.graph_capture import Captured, check_plain, named_leaves, places_of
from resnet_torch.graph_parts import Place
from shared.base.errors import InputError
from shared.base.printable import printable_list

#: By these a model takes numbers out of a tensor.
TAKES_OUT = {"item", "tolist", "numpy", "__array__", "__bool__", "__float__", "__int__", "__index__"}


def record(model: nn.Module, inputs: Sequence[Tensor]) -> Captured:
    """Return what the model did with these inputs in one run."""
    given = [each.clone() for each in inputs]  # the model may write into them
    recorder = Recorder(model, given)
    with torch.random.fork_rng(devices=[]), recorder.watching(), recorder:
        result = model(*given)
    outputs = named_leaves(result, lambda leaf: isinstance(leaf, Tensor))
    captured = recorder.finish(outputs)
    recorder.check(captured, inputs, outputs)
    return captured


class Recorder(TorchFunctionMode):
    """Writes down each call of a function of PyTorch, which tensors went in, and which came out.

    All tensors are held until the end, because Python gives the identity of one that is gone to another.
    """

    def __init__(self, model: nn.Module, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.model, self.inputs = model, inputs
        self.graph = fx.Graph()
        self.paths = {id(module): path for path, module in model.named_modules()}
        self.stack: list[tuple[str, tuple[str, str]]] = []  # (call, (path, class)), as export writes them
        self.calls: dict[str, int] = {}
        self.seen: dict[int, tuple[Tensor, fx.Node]] = {}
        self.places: dict[str, Place] = {}
        self.fed: set[fx.Node] = set()
        self.taken: list[str] = []
        for name, tensor in zip(_input_names(model, len(inputs)), inputs, strict=True):
            node = self._placeholder(name, tensor)
            self.fed.add(node)
        self.names = tuple(node.name for node in self.graph.nodes)
        self.weights = {id(place.tensor): place for place in places_of(model).values()}

    # What PyTorch tells

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the function, and write it down if tensors came out."""
        kwargs = dict(kwargs or {})
        result = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name in TAKES_OUT:
            if self._fed(args):
                self.taken.append(f"{self.stack[-1][1][0]}.{name}".lstrip("."))
        elif name == "__setitem__":
            self._write(_assigned, args, {}, args[0])
        elif _tensors(result):
            self._write(func, args, kwargs, result)
        return result

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Know, inside, in which module the run is."""
        call = nn.Module.__call__

        def watched(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            return self._enter(call, module, args, kwargs)

        nn.Module.__call__ = watched  # type: ignore[method-assign]
        try:
            yield
        finally:
            nn.Module.__call__ = call  # type: ignore[method-assign]

    def _enter(self, call: Callable[..., Any], module: nn.Module, args: Any, kwargs: Any) -> Any:
        path = self.paths.get(id(module))
        if path is None:
            return call(module, *args, **kwargs)
        times = self.calls[path] = self.calls.get(path, -1) + 1
        kind = f"{type(module).__module__}.{type(module).__qualname__}"
        self.stack.append((f"{path}@{times}", (path, kind)))
        taken = len(self.taken)
        try:
            result = call(module, *args, **kwargs)
        finally:
            own = self.stack.pop()
        if path and self._fed((args, kwargs)) and not self._fed(result) and self._is_cut(result, taken):
            del self.taken[taken:]
            self.stack.append(own)
            with torch._C.DisableTorchFunction():
                self._node(module, args, kwargs, result)
            self.stack.pop()
        return result

    def _is_cut(self, result: Any, taken: int) -> bool:
        """Whether a module's result, which no call ties to its inputs, comes from them behind PyTorch's back."""
        known = {*self.seen, *self.weights}
        return len(self.taken) > taken or any(id(each) not in known for each in _tensors(result))

    # Writing down

    def _write(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Put the ATen operations of one call into the graph; if they cannot be told, the call itself."""
        leaves, spec = pytree.tree_flatten((args, kwargs))
        given = {id(leaf): leaf for leaf in leaves if isinstance(leaf, Tensor)}  # `q is k` stays so
        nodes = [self._of(tensor) for tensor in given.values()]

        def run(*tensors: Tensor) -> list[Tensor]:
            now = dict(zip(given, tensors, strict=True))
            again, more = pytree.tree_unflatten([now.get(id(leaf), leaf) for leaf in leaves], spec)
            return _tensors(func(*again, **more))

        try:
            part = _operations(run, [tensor.detach() for tensor in given.values()])
            made = self._copied(part, nodes)
        except Exception:  # sizes that depend on values, functions of other packages
            self._node(func, args, kwargs, result)
            return
        for tensor, node in zip(_tensors(result), made, strict=True):
            self._remember(tensor, node)

    def _copied(self, part: fx.GraphModule, nodes: list[fx.Node]) -> list[fx.Node]:
        """Copy the operations of one call to the end of the graph; return what comes out."""
        given = iter(nodes)
        known: dict[fx.Node, Any] = {}
        for node in part.graph.nodes:
            if node.op == "placeholder":
                known[node] = next(given)
            elif node.op == "get_attr":
                known[node] = self._constant(getattr(part, str(node.target)))
            elif node.op == "call_function":
                known[node] = self.graph.node_copy(node, known.__getitem__)
                self._mark(known[node])
        (last,) = [node for node in part.graph.nodes if node.op == "output"]
        return [known[each] for each in last.args[0]]

    def _node(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Write a call down as it is, one node for each tensor that comes out."""
        if not isinstance(result, Tensor | tuple | list):
            return
        args, kwargs = pytree.tree_map_only(Tensor, self._of, (args, kwargs))
        node = self.graph.create_node("call_function", func, tuple(args), dict(kwargs), name=_name(func))
        node.meta["val"] = result
        self._mark(node)
        if isinstance(result, Tensor):
            self._remember(result, node)
            return
        for place, each in enumerate(result):
            if isinstance(each, Tensor):
                item = self.graph.call_function(operator.getitem, (node, place))
                item.meta["val"] = each
                self._mark(item)
                self._remember(each, item)

    def _mark(self, node: fx.Node) -> None:
        node.meta["nn_module_stack"] = dict(self.stack)
        if any(each in self.fed for each in node.all_input_nodes):
            self.fed.add(node)

    def _remember(self, tensor: Tensor, node: fx.Node) -> None:
        self.seen[id(tensor)] = (tensor, node)

    def _of(self, tensor: Tensor) -> fx.Node:
        """Return the node that put a tensor out; a weight or a constant gets one where it is first used."""
        if id(tensor) in self.seen:
            return self.seen[id(tensor)][1]
        place = self.weights.get(id(tensor))
        return self._constant(tensor) if place is None else self._stored(place, tensor)

    def _constant(self, tensor: Tensor) -> fx.Node:
        return self._stored(Place({"constant": tensor.detach().clone()}, "constant", ""), tensor)

    def _stored(self, place: Place, tensor: Tensor) -> fx.Node:
        node = self._placeholder(place.key.replace(".", "_") or "constant", tensor)
        self.places[node.name] = place
        return node

    def _placeholder(self, name: str, tensor: Tensor) -> fx.Node:
        node = self.graph.placeholder(name)
        node.meta["val"] = tensor
        self._remember(tensor, node)
        return node

    def _fed(self, values: Any) -> bool:
        """Whether a tensor among these depends on an input."""
        return any(id(each) in self.seen and self.seen[id(each)][1] in self.fed for each in _tensors(values))

    # The end

    def finish(self, outputs: Mapping[str, Tensor]) -> Captured:
        """Return the graph; raise `InputError` if nothing ties the outputs to the inputs."""
        if self.inputs and not self._fed(list(outputs.values())):
            where = f": {self.taken[0]} takes numbers out of PyTorch" if self.taken else ""
            raise InputError(f"{type(self.model).__name__} cannot be seen, no output comes from an input{where}")
        return Captured(
            graph=self.graph,
            places=self.places,
            inputs=self.names,
            outputs={name: self._of(tensor) for name, tensor in outputs.items()},
            modules=dict(self.model.named_modules()),
            notes=self._notes(),
        )

    def _notes(self) -> tuple[str, ...]:
        numbers = sorted({each for each in self.taken if not each.endswith("__bool__")})
        return (f"{printable_list(numbers)}: what is made of these numbers is held as it was",) if numbers else ()

    def check(self, captured: Captured, inputs: Sequence[Tensor], outputs: Mapping[str, Tensor]) -> None:
        """Raise `InputError` unless the graph gives what the run gave."""
        values: dict[fx.Node, Any] = {}
        for node in self.graph.nodes:
            if node.op == "placeholder":
                place = self.places.get(node.name)
                values[node] = inputs[self.names.index(node.name)] if place is None else place.tensor
            else:
                args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
                values[node] = node.target(*args, **kwargs)
        for name, node in captured.outputs.items():
            if not torch.allclose(values[node], outputs[name], rtol=1e-3, atol=1e-4, equal_nan=True):
                raise InputError(
                    f"{type(self.model).__name__} cannot be seen: torch.export refuses it, and a recorded run does not "
                    "repeat its output (it writes into parts of tensors, or takes random numbers)"
                )


def _operations(run: Callable[..., list[Tensor]], tensors: list[Tensor]) -> fx.GraphModule:
    """Return the ATen operations of a call, none of which writes into what it is given."""
    part = make_fx(run, pre_dispatch=True, tracing_mode="fake")(*tensors)
    for node in part.graph.nodes:
        if node.op == "call_function":
            node.target = _functional(node.target)
    check_plain(part.graph)
    return part


def _functional(target: Any) -> Any:
    """Return `aten.relu.default` for `aten.relu_.default`."""
    if not isinstance(target, torch._ops.OpOverload) or not target._schema.is_mutable:
        return target
    packet = getattr(torch.ops.aten, target._schema.name.partition("::")[2].removesuffix("_"))
    return getattr(packet, target._overloadname)


def _assigned(tensor: Tensor, where: Any, value: Any) -> Tensor:
    """Return what `tensor[where] = value` leaves in the tensor."""
    whole = torch.arange(tensor.numel(), device=tensor.device).reshape(tensor.shape)
    places = whole[where]
    value = torch.as_tensor(value, dtype=tensor.dtype, device=tensor.device)
    return (
        tensor.reshape(-1)
        .index_put((places.reshape(-1),), value.expand(places.shape).reshape(-1))
        .reshape(tensor.shape)
    )


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, Tensor)]


def _input_names(model: nn.Module, count: int) -> list[str]:
    names = [
        name
        for name, each in inspect.signature(model.forward).parameters.items()
        if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    return [names[place] if place < len(names) else f"input_{place}" for place in range(count)]


def _name(func: Any) -> str:
    return str(getattr(func, "__name__", type(func).__name__)).strip("_")
