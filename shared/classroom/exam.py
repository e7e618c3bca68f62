"""What hidden tests are written with: questions to the student's code, and answers judged as plain numbers.

    ### BEGIN HIDDEN TESTS
    from shared.classroom.exam import exam

    @exam.question
    def padded(student, image):                # runs beside the student's code
        return student.pad(image)              # comes back as plain data

    with exam.part(2, "padding of one pixel"):  # judged here, out of the student's reach
        image = exam.rng.normal(size=(3, 5)).astype("float32")
        exam.close(padded(image=image), np.pad(image, 1), "the padded image")
    exam.score()
    ### END HIDDEN TESTS

A question is a function whose source text is sent to the process in which the notebook ran. It sees its first
argument, `student`, through which it reaches what the notebook defines, and the plain data it is called with;
nothing else, so its imports stand inside it. What it returns is turned into numbers, text and NumPy arrays there
and only then comes back: an object that claims to equal everything never gets here. Inputs are the question's own, but
tensors made with `torch.from_numpy` share their memory: copy what the student's code might change in place.

Outside a grading run (a teacher runs the source notebook in Jupyter) questions go to the notebook itself.
"""

from __future__ import annotations

import inspect
import textwrap
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shared.classroom.sandbox import runner, wire

Respond = Callable[[str, str, dict[str, Any]], Any]


class StudentError(Exception):
    """The student's code failed where it was asked something; the message says how."""


class WrongAnswerError(AssertionError):
    """An answer that is not the expected one; the message is for the teacher."""


@dataclass
class Part:
    """A part of a task with points of its own."""

    title: str
    points: float
    earned: float = 0.0
    reason: str = ""  # why points were lost: for the teacher, it may quote hidden inputs
    unsure: bool = False  # the test itself failed: a person must look


@dataclass
class Exam:
    """The exam of one task: its questions, its parts and their points."""

    parts: list[Part] = field(default_factory=list)
    finished: bool = False
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    _respond: Respond | None = None

    def begin(self, respond: Respond | None, task: str, seed: Sequence[int]) -> None:
        """Starts the exam of a task. `respond` asks the student's process; None asks this very notebook."""
        self.parts, self.finished, self._respond = [], False, respond
        self.rng = np.random.default_rng([*seed, zlib.crc32(task.encode())])

    def question(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Turns a function `f(student, **inputs)` into a question; calling it returns the answer as plain data.

        Raises (when called):
            StudentError: the student's code raised an error, returned no plain data, ran too long or died.
        """
        text = textwrap.dedent(inspect.getsource(function))
        text = text[text.index("def ") :]  # without the decorator
        name = function.__name__

        def ask(**inputs: Any) -> Any:
            return (self._respond or _ask_here)(text, name, inputs)

        return ask

    def call(self, function: str, *arguments: Any, **keywords: Any) -> Any:
        """Calls a function of the notebook with plain data; what it returns, as plain data.

        `exam.call("output_size", 32, kernel_size=3)`. Raises StudentError as questions do.
        """
        return _call(self._respond or _ask_here, function, arguments, keywords)

    @contextmanager
    def part(self, points: float, title: str) -> Iterator[None]:
        """A part of the task: the points are earned if nothing inside goes wrong. `title` is shown to the student."""
        part = Part(title, points)
        self.parts.append(part)
        try:
            yield
            part.earned = points
        except (StudentError, WrongAnswerError) as error:
            part.reason = str(error)
        except Exception as error:
            # Either the test is broken or a forged answer had an unexpected form: no points, and a person looks.
            part.reason = f"could not be judged: {type(error).__name__}: {error}"
            part.unsure = True

    def score(self) -> float:
        """The points earned in all parts so far. The last line of every hidden test."""
        self.finished = True
        earned = sum(part.earned for part in self.parts)
        if self._respond is None:
            self.begin(None, "notebook", [0])
        return float(earned)

    def require(self, condition: bool, what: str) -> None:
        """Fails the part unless the condition, computed from plain data, holds."""
        if not condition:
            raise WrongAnswerError(what)

    def equal(self, answer: Any, expected: Any, what: str) -> None:
        """Fails the part unless the answer is exactly the expected value: same type, same shape, same numbers."""
        _compare(answer, expected, what, 0.0, 0.0)

    def close(self, answer: Any, expected: Any, what: str, *, rtol: float = 1e-5, atol: float = 1e-6) -> None:
        """Like `equal`, with a tolerance for numbers: |answer - expected| <= atol + rtol * |expected|.

        Floating-point arrays may have either precision; a whole number may stand for a float, not the reverse.
        """
        _compare(answer, expected, what, rtol, atol)


def _call(respond: Respond, function: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    source = "def call(student, function, arguments, keywords):\n"
    source += "    return getattr(student, function)(*arguments, **keywords)\n"
    return respond(source, "call", {"function": function, "arguments": arguments, "keywords": keywords})


def _ask_here(source: str, function: str, inputs: dict[str, Any]) -> Any:
    """Asks the notebook in which this code runs; goes through bytes as in a grading run."""
    import __main__

    try:
        plain = wire.from_bytes(wire.to_bytes(inputs))
        value = runner.answer(vars(__main__), source, function, plain)
        return wire.from_bytes(wire.to_bytes(value))
    except Exception as error:
        raise StudentError(runner.describe(error)) from error


def _compare(answer: Any, expected: Any, what: str, rtol: float, atol: float) -> None:
    if isinstance(expected, np.ndarray):
        if not isinstance(answer, np.ndarray):
            raise WrongAnswerError(f"{what}: an array was expected, not {_short(answer)}")
        if answer.shape != expected.shape:
            raise WrongAnswerError(f"{what}: shape {answer.shape} instead of {expected.shape}")
        if answer.dtype.kind != expected.dtype.kind or (not rtol and not atol and answer.dtype != expected.dtype):
            raise WrongAnswerError(f"{what}: dtype {answer.dtype} instead of {expected.dtype}")
        wide = np.float64 if expected.dtype.kind == "f" else expected.dtype
        gap = np.abs(answer.astype(wide) - expected.astype(wide)) if wide == np.float64 else answer != expected
        limit = atol + rtol * np.abs(expected.astype(wide)) if wide == np.float64 else 0
        if not np.all(gap <= limit):  # written so that NaN fails
            raise WrongAnswerError(f"{what}: differs by up to {np.max(gap):.3g}")
    elif isinstance(expected, dict):
        if not isinstance(answer, dict) or answer.keys() != expected.keys():
            raise WrongAnswerError(f"{what}: {_short(answer)} where the names {_short(list(expected))} were expected")
        for key, value in expected.items():
            _compare(answer[key], value, f"{what}, {key}", rtol, atol)
    elif isinstance(expected, (list, tuple)):
        if not isinstance(answer, list) or len(answer) != len(expected):
            raise WrongAnswerError(f"{what}: {_short(answer)} instead of {_short(list(expected))}")
        for index, (one, other) in enumerate(zip(answer, expected, strict=True)):
            _compare(one, other, f"{what}, number {index}", rtol, atol)
    elif isinstance(expected, float):
        if type(answer) not in ((int, float) if rtol or atol else (float,)):
            raise WrongAnswerError(f"{what}: {_short(answer)} instead of a number")
        if not (abs(answer - expected) <= atol + rtol * abs(expected) or answer == expected):
            raise WrongAnswerError(f"{what}: {answer} instead of {expected}")
    elif type(answer) is not type(expected) or answer != expected:
        raise WrongAnswerError(f"{what}: {_short(answer)} instead of {_short(expected)}")


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


exam = Exam()
