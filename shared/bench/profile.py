"""What the time of a training step goes into: the frameworks' own profilers, sorted by kind of operation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from shared.backends import missing_modules
from shared.bench.contest import Contestant, Say
from shared.bench.races import Contender, Job

STEPS = 5  # pieces of work that are looked at; with `fit` a piece is several steps
#: Kind -> parts of the names that operations of this kind have, in PyTorch or TensorFlow; the first that fits counts.
KINDS = {
    "BatchNorm": ("batch_norm", "batchnorm"),
    "convolutions": ("conv",),
    "copies and casts": ("copy", "cast", "contiguous", "reorder", "todense", "transpose", "toformat", "aten::to"),
    "ReLU and sums": ("relu", "clamp_min", "threshold", "aten::add", "addv2", "_addn", "addn"),
    "other arithmetic": (
        "mul",
        "sub",
        "div",
        "mean",
        "rsqrt",
        "square",
        "sum",
        "matmul",
        "mm",
        "bias",
        "pool",
        "pad",
        "softmax",
    ),
    "optimiser": ("optimizer", "assign", "resource", "foreach", "_sgd", "zero_"),
}
OTHER = "everything else"


@dataclass(kw_only=True)
class Profile:
    """Milliseconds of a training step by kind of operation."""

    title: str
    label: str
    job: Job
    milliseconds: dict[str, float] = field(default_factory=dict)
    failed: str = ""


def kind_of(operation: str) -> str:
    """Return the kind of an operation by its name in a profile."""
    name = operation.lower()
    return next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), OTHER)


def by_kind(operations: Mapping[str, float]) -> dict[str, float]:
    """Return the sums of the operations' times, by kind."""
    sums = dict.fromkeys([*KINDS, OTHER], 0.0)
    for name, milliseconds in operations.items():
        sums[kind_of(name)] += milliseconds
    return sums


def profiles() -> list[tuple[str, Contender]]:
    """Return what is looked into: the networks of the training races, as a peer and as both twins train them."""

    def entry(label: str, job: Job, **changes: Any) -> Contender:
        return Contender(label=label, job=replace(job, **changes))

    small = Job(what="train", model="resnet20_cifar", batch_size=128, image_size=32)
    large = Job(what="train", model="resnet18_d2l", batch_size=32, image_size=96, in_channels=1)
    found = []
    for title, job in (("ResNet-20, 128 images of 32x32", small), ("ResNet-18, 32 grey images of 96x96", large)):
        entries = (
            entry("usual PyTorch", job, who="usual", channels_last=False),
            entry("PyTorch twin", job),
            entry("PyTorch twin, bfloat16", job, precision="bfloat16"),
            entry("Keras twin, Keras' own BatchNorm", job, backend="tf", variant="keras-batch-norm"),
            entry("Keras twin", job, backend="tf"),
            entry("Keras twin, bfloat16", job, backend="tf", precision="bfloat16"),
        )
        found += [(title, contender) for contender in entries]
    return found


def measure_profiles(*, say: Say) -> list[Profile]:
    """Profile each of `profiles` in a process of its own."""
    found = []
    for title, contender in profiles():
        profile = Profile(title=title, label=contender.label, job=contender.job)
        found.append(profile)
        if missing := missing_modules(contender.job.backend):
            profile.failed = f"{', '.join(missing)} not installed"
            continue
        say(f"profile: {title}, {contender.label}")
        contestant = Contestant(contender.job)
        try:
            contestant.ask("warm")
            answer = contestant.ask(f"profile {STEPS}")
            steps = answer["images"] / contender.job.batch_size
            profile.milliseconds = {kind: each / steps for kind, each in by_kind(answer["operations"]).items()}
        except RuntimeError as error:
            profile.failed = str(error)
        finally:
            contestant.end()
    return found
