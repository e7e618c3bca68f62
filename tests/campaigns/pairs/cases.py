"""One case: a mistake of some kind is planted in a pair, the microscope looks at it, and its answer is judged."""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any

import numpy as np

from shared.base.errors import InputError
from shared.twins import find_parting
from tests.campaigns.pairs import kinds_settings, kinds_structure, kinds_values  # noqa: F401 they fill KINDS
from tests.campaigns.pairs.kinds import KINDS, Kind
from tests.campaigns.pairs.plant import INPUT, KerasNet, NotHereError, Plan, copied, rewrite
from tests.campaigns.pairs.rights import Right, behind, names_of_operations, names_on, remembering

SIDES = ("keras", "torch")
#: A kind that has fewer places is tried this often, with other seeds; one that has more, in some of them.
AT_LEAST, AT_MOST = 4, 9


@dataclass(frozen=True)
class Case:
    """Kind, pair, the side in which the mistake is, and a number, of which the place hangs."""

    kind: str
    pair: str
    side: str
    number: int

    @property
    def name(self) -> str:
        """What `--again` takes."""
        return f"{self.kind}:{self.pair}:{self.side}:{self.number}"


@dataclass
class Outcome:
    """What the microscope said of a case, and whether that is right."""

    case: Case
    layer: bool = False
    cause: bool = False
    seen: str = ""
    wanted: str = ""
    crash: str = ""
    refused: bool = False
    seconds: float = 0.0
    places: tuple[str, ...] = field(default=())

    @property
    def right(self) -> bool:
        """Whether layer and cause are right."""
        return self.layer and self.cause


@cache
def right_pair(name: str, seed: int) -> Right:
    """Return a pair of the zoo, which is built once."""
    return Right(name, seed)


def cases(pairs: Sequence[str], kinds: Sequence[str], seed: int) -> Iterator[Case]:
    """Yield the cases, pair by pair: each kind in places that hang on the seed, rare ones several times."""
    chosen: list[Case] = []
    for kind in kinds:
        places = [
            (pair, side)
            for pair in pairs
            for side in SIDES
            if side in (KINDS[kind].plants or {}) and can_be_planted(Case(kind, pair, side, 0), seed)
        ]
        places = Random(f"{seed}:{kind}").sample(places, min(len(places), AT_MOST))
        often = -(-AT_LEAST // max(len(places), 1))
        chosen += [Case(kind, pair, side, number) for pair, side in places for number in range(often)]
    yield from sorted(chosen, key=lambda case: pairs.index(case.pair))


def can_be_planted(case: Case, seed: int) -> bool:
    """Whether a pair has a place for the mistake."""
    try:
        plan(case, right_pair(case.pair, seed), seed)
    except NotHereError:
        return False
    return True


def plan(case: Case, right: Right, seed: int) -> tuple[Plan, Any]:
    """Return what is planted, and the copy of the PyTorch model where it is in that one."""
    rng = Random(f"{seed}:{case.name}")
    plants = KINDS[case.kind].plants or {}
    if case.side == "keras":
        return plants["keras"](right.net, rng), None
    model = copied(right.torch)
    return plants["torch"](model, rng), model


class Planted:
    """A pair with a mistake: both models, the images of both, and the names that are right answers."""

    def __init__(self, case: Case, right: Right, seed: int) -> None:
        self.kind: Kind = KINDS[case.kind]
        self.plan, copy = plan(case, right, seed)
        self.models = {"torch": right.torch, "keras": right.keras}
        places = right.places(case.side, self.plan.touched, self.kind.follows)
        other = "torch" if case.side == "keras" else "keras"
        self.places = places | set().union(*(right.partners[case.side].get(name, set()) for name in places))
        if case.side == "torch":
            self.models["torch"] = copy
            graph = right.see(copy)
            now = set().union(*(names_on(graph, path) for path in self.plan.paths))
            self.places |= now | (behind(graph, now) if self.kind.follows else set())
        elif self.plan.changes:
            made = rewrite(right.net, self.plan.changes)
            if self.plan.weights:
                self.plan.weights(made.model)
            self.models["keras"] = made.model
            self.places |= self._now(right, made)
        self.images = {side: self._images(right, side == case.side) for side in (case.side, other)}

    def _now(self, right: Right, made: Any) -> set[str]:
        """Return the names of the right places in the rewritten model of Keras."""
        net = KerasNet(made.model)
        names = names_of_operations(right.see(made.model), net)
        touched = [op.name for name in self.plan.touched if name != INPUT for op in made.stands[name]]
        if self.kind.follows:
            old = [each for name in self.plan.touched if name != INPUT for each in right.net.behind(name)]
            touched += [each for name in list(touched) for each in net.behind(name)]
            touched += [op.name for name in old for op in made.stands[name]]
        return set().union(*(names.get(name, set()) for name in touched))

    def _images(self, right: Right, planted: bool) -> Any:
        images = right.images
        if self.plan.images is None:
            return images
        images = np.random.default_rng(7).random(images.shape, np.float32)  # as pixels are
        return self.plan.images(images) if planted else images

    @property
    def cause(self) -> str:
        """The regular expression for the cause."""
        return self.plan.cause or self.kind.cause


def try_case(case: Case, seed: int) -> Outcome:
    """Plant the mistake, and judge what the microscope says."""
    found = Outcome(case)
    begun = time.monotonic()
    right = right_pair(case.pair, seed)
    # Which of the two is the first one must make no difference.
    order = SIDES[::-1] if Random(f"{seed}:{case.name}:order").random() < 0.7 else SIDES
    try:
        planted = Planted(case, right, seed)
        found.places, found.wanted = tuple(sorted(planted.places)), planted.cause
        with remembering(right.known, right.torch, right.keras):
            judge(found, planted, order)
    except NotHereError:
        raise
    except InputError as error:
        found.refused, found.seen = True, f"refused: {error}"
    except Exception as error:
        found.crash = "".join(traceback.format_exception(error))
        found.seen = f"crash: {type(error).__name__}: {error}"
    found.seconds = time.monotonic() - begun
    return found


def judge(found: Outcome, planted: Planted, order: Sequence[str]) -> None:
    """Let the microscope look, and compare what it says with what was planted."""
    models = [planted.models[side] for side in order]
    images, others = (planted.images[side] for side in order)
    others = others if planted.plan.images else None
    seen = find_parting(*models, images, second_images=others, as_they_are=planted.kind.as_they_are)
    first = seen.first
    said = seen.cause
    found.seen = f"{first.name if first else None} / {first.other if first else None}: {said}"
    if planted.kind.silent:
        found.layer = first is None
        found.cause = bool(re.search(planted.cause, " ".join([said, seen.verdict, *seen.pair.reasons])))
        return
    if first is None:
        found.layer = any(re.search(rf"(?<![\w.]){re.escape(name)}(?![\w])", said) for name in planted.places)
    else:
        found.layer = bool({first.name, first.other} & planted.places)
    found.cause = bool(re.search(planted.cause, said, re.IGNORECASE))
