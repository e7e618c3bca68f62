"""Read a pickle without running it: only the instructions that plain data and tensors need, and nothing of Python's.

A pickle is a program for a small stack machine, and its instruction REDUCE may call anything. This machine knows no
function at all: the reader says what the few names that it allows stand for, and any other one ends the reading.
Nothing that the file chose is hashed, compared or printed on the way, as a few bytes can make that take for ever.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Iterator
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


class Stack(list[Any]):
    """What the pickle has put down so far, the marks between it, and the memo: what it wants to use once more."""

    def __init__(self) -> None:
        super().__init__()
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def since_mark(self) -> list[Any]:
        """Take off what lies above the last mark, and return it."""
        start = self.marks.pop()
        items = self[start:]
        del self[start:]
        return items


def paired(items: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Return key and value, key and value ... as pairs."""
    return zip(items[::2], items[1::2], strict=True)


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
        stack = Stack()
        argument: Any
        for opcode, argument, _ in pickletools.genops(cast(BinaryIO, Bounded(stream))):
            self.budget.take_member(OBJECT)
            self._follow(opcode.name, argument, stack)
        return stack.pop()

    def _follow(self, instruction: str, argument: Any, stack: Stack) -> None:
        """Do what one instruction says: change what lies on the stack, or put something on it."""
        match instruction:
            case name if name in NOTHING:
                pass
            case "MARK":
                stack.marks.append(len(stack))
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                stack.memo[argument] = stack[-1]
            case "MEMOIZE":
                stack.memo[len(stack.memo)] = stack[-1]
            case "APPEND":
                item = stack.pop()
                self._list_on(stack).append(item)
            case "APPENDS" | "ADDITEMS":
                items = stack.since_mark()
                self._list_on(stack).extend(items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                self._pairs_on(stack, "it changes something that is no dict").append((key, value))
            case "SETITEMS":
                items = stack.since_mark()
                self._pairs_on(stack, "it changes something that is no dict").extend(paired(items))
            case "BUILD":
                # The attributes of an OrderedDict, like `_metadata` of a state_dict: nobody here asks for them.
                stack.pop()
                self._pairs_on(stack, "it sets attributes of something that is no dict")
            case _:
                stack.append(self._made(instruction, argument, stack))

    def _list_on(self, stack: Stack) -> list[Any]:
        found = stack[-1]
        if type(found) is not list:
            raise self.refused("it adds to something that is no list")
        return found

    def _pairs_on(self, stack: Stack, why: str) -> Pairs:
        found = stack[-1]
        if not isinstance(found, Pairs):
            raise self.refused(why)
        return found

    def _made(self, instruction: str, argument: Any, stack: Stack) -> Any:
        """Return what an instruction puts on the stack, made of its argument and of what it takes off."""
        match instruction:
            case name if name in ARGUMENTS:
                return argument
            case name if name in CONSTANTS:
                return CONSTANTS[name]
            case "EMPTY_LIST" | "EMPTY_SET":
                return []
            case "EMPTY_DICT":
                return Pairs()
            case "LIST":
                return stack.since_mark()
            case "TUPLE":
                return tuple(stack.since_mark())
            case "DICT":
                return Pairs(paired(stack.since_mark()))
            case name if name in TUPLES:
                items = [stack.pop() for _ in range(TUPLES[name])]
                return tuple(reversed(items))
            case "GET" | "BINGET" | "LONG_BINGET":
                return stack.memo[argument]
            case "GLOBAL":
                return self._name(*argument.split(" ", 1))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                return self._name(module, attribute)
            case "BINPERSID":
                return self.load(stack.pop())
            case "REDUCE":
                arguments, called = stack.pop(), stack.pop()
                if not isinstance(called, Name) or type(arguments) is not tuple:
                    raise self.refused("it calls something that has no name")
                return self.call(called.text, arguments)
        raise self.refused(f"it has the instruction {instruction}")

    def _name(self, module: Any, attribute: Any) -> Name:
        if type(module) is not str or type(attribute) is not str:
            raise self.refused("it uses a name that is no text")
        text = f"{module}.{attribute}"
        if text not in self.allowed:
            raise self.refused(f"it names {printable(text)}")
        return Name(text)
