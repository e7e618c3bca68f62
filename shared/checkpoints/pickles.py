"""Read a pickle without running it: only the instructions that plain data and tensors need, and nothing of Python's.

A pickle is a program for a small stack machine, and its instruction REDUCE may call anything. This machine knows no
function at all: the reader says what the few names that it allows stand for, and any other one ends the reading.
Nothing that the file chose is hashed, compared or printed on the way, as a few bytes can make that take for ever.
"""

from __future__ import annotations

import io
import pickletools
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from shared.base.budget import PIECE, Budget
from shared.base.errors import WeightsError
from shared.base.printable import printable

#: What an object of Python costs at least, in bytes: lists, texts, entries of the stack.
OBJECT = 100

CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
ARGUMENTS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
ARGUMENTS |= {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
ARGUMENTS |= {"STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
NOTHING = {"PROTO", "FRAME", "STOP"}


@dataclass(frozen=True, slots=True)
class Name:
    """A name that the pickle uses: "torch.FloatStorage". It stands for nothing yet."""

    text: str


class Bounded:
    """A stream of which no more is asked for than it has: room for all that is asked for is made before it is read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.readline, self.tell = stream, stream.readline, stream.tell
        start = stream.tell()
        self._end = stream.seek(0, io.SEEK_END)
        stream.seek(start)

    def read(self, size: int) -> bytes:
        """Return `size` bytes, or those that are left."""
        return self._stream.read(min(size, self._end - self.tell()) if size > PIECE else size)


class Pairs(list[tuple[Any, Any]]):
    """A dict of the pickle as pairs of key and value, since a dict would have to hash the keys."""

    def named(self) -> dict[str, Any]:
        """Return what has a text for a key; of two with the same one the later counts, as in a dict."""
        return {key: value for key, value in self if isinstance(key, str)}


class PickleRefusedError(WeightsError):
    """A pickle that holds more than plain data and tensors, or could run code."""


class PickleMachine:
    """Runs one pickle. Subclasses say which names are allowed, and what calling one of them gives."""

    allowed: frozenset[str] = frozenset()

    def __init__(self, budget: Budget) -> None:
        self.budget = budget

    def call(self, name: str, arguments: tuple[Any, ...]) -> Any:
        """Return what one of the allowed names makes of its arguments."""
        raise self.refused(f"it calls {name}")

    def load(self, key: Any) -> Any:
        """Return what the pickle says lies outside of it, under `key`."""
        raise self.refused("it refers to something outside of itself")

    def refused(self, why: str) -> PickleRefusedError:
        """Return the error for a pickle that is not wanted."""
        return PickleRefusedError(
            f"{printable(self.budget.path)} is refused: {why}, more than tensors and plain data need; a pickle can run "
            "code, so what is wanted is torch.save(model.state_dict(), ...) or a .safetensors file"
        )

    def run(self, stream: BinaryIO) -> Any:
        """Return what the pickle builds; `stream` then stands behind it. A damaged one raises all kinds of errors."""
        stack: list[Any] = []
        marks: list[int] = []
        memo: dict[int, Any] = {}

        def since_mark() -> list[Any]:
            start = marks.pop()
            items = stack[start:]
            del stack[start:]
            return items

        def collect(items: list[Any]) -> None:
            if type(stack[-1]) is not list:
                raise self.refused("it adds to something that is no list")
            stack[-1].extend(items)

        def set_items(items: list[Any]) -> None:
            if not isinstance(stack[-1], Pairs):
                raise self.refused("it changes something that is no dict")
            stack[-1].extend(zip(items[::2], items[1::2], strict=True))

        argument: Any
        for opcode, argument, _ in pickletools.genops(cast(BinaryIO, Bounded(stream))):
            self.budget.take_member(OBJECT)
            match opcode.name:
                case name if name in NOTHING:
                    pass
                case name if name in ARGUMENTS:
                    stack.append(argument)
                case name if name in CONSTANTS:
                    stack.append(CONSTANTS[name])
                case "MARK":
                    marks.append(len(stack))
                case "EMPTY_LIST" | "EMPTY_SET":
                    stack.append([])
                case "EMPTY_DICT":
                    stack.append(Pairs())
                case "LIST":
                    stack.append(since_mark())
                case "TUPLE":
                    stack.append(tuple(since_mark()))
                case "DICT":
                    items = since_mark()
                    stack.append(Pairs())
                    set_items(items)
                case name if name in TUPLES:
                    items = [stack.pop() for _ in range(TUPLES[name])]
                    stack.append(tuple(reversed(items)))
                case "APPEND":
                    item = stack.pop()
                    collect([item])
                case "APPENDS" | "ADDITEMS":
                    collect(since_mark())
                case "SETITEM":
                    value, key = stack.pop(), stack.pop()
                    set_items([key, value])
                case "SETITEMS":
                    set_items(since_mark())
                case "PUT" | "BINPUT" | "LONG_BINPUT":
                    memo[argument] = stack[-1]
                case "MEMOIZE":
                    memo[len(memo)] = stack[-1]
                case "GET" | "BINGET" | "LONG_BINGET":
                    stack.append(memo[argument])
                case "GLOBAL":
                    stack.append(self._name(*argument.split(" ", 1)))
                case "STACK_GLOBAL":
                    attribute, module = stack.pop(), stack.pop()
                    stack.append(self._name(module, attribute))
                case "BINPERSID":
                    stack.append(self.load(stack.pop()))
                case "REDUCE":
                    arguments, called = stack.pop(), stack.pop()
                    if not isinstance(called, Name) or type(arguments) is not tuple:
                        raise self.refused("it calls something that has no name")
                    stack.append(self.call(called.text, arguments))
                case "BUILD":
                    # The attributes of an OrderedDict, like `_metadata` of a state_dict: nobody here asks for them.
                    stack.pop()
                    if not isinstance(stack[-1], Pairs):
                        raise self.refused("it sets attributes of something that is no dict")
                case name:
                    raise self.refused(f"it has the instruction {name}")
        return stack.pop()

    def _name(self, module: Any, attribute: Any) -> Name:
        if type(module) is not str or type(attribute) is not str:
            raise self.refused("it uses a name that is no text")
        text = f"{module}.{attribute}"
        if text not in self.allowed:
            raise self.refused(f"it names {printable(text)}")
        return Name(text)
