"""Who is measured against whom, and on what: plain data, sent to the processes that do the work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from shared.backends import BACKENDS
from shared.networks.catalog import get_spec
from shared.networks.table import count_macs

OURS, USUAL, TORCHVISION, APPLICATIONS = "ours", "usual", "torchvision", "applications"
#: The side of the square matrices whose product says what the machine can do at most.
MATRIX = 4096


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one contender does again and again.

    what: "train" and "predict" work on one batch that is ready; "epoch" is a training loop with all that belongs to
    it, reading and augmenting the images included; "data" is that alone; "matmul" multiplies square matrices.
    who: "ours", or a peer: "usual" (as most people write it), "torchvision", "applications" (Keras' own networks).
    variant: a setting of Keras that is tried, by its name in `resnet_tf/bench/ours.py`.
    images: a file of `save_images`.
    """

    what: str
    backend: str = "torch"
    model: str = ""
    batch_size: int = 1
    image_size: int = 0
    in_channels: int = 3
    num_classes: int = 10
    who: str = OURS
    precision: str = "float32"
    channels_last: bool = True
    keep_memory: bool = True
    compile: bool = False
    fused: bool = False
    variant: str = ""
    recipe: str = ""
    images: str = ""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A job and what people call it."""

    label: str
    job: Job


@dataclass(frozen=True, kw_only=True)
class Race:
    """Contenders that do the same work. Each is compared with the first one that could be started."""

    name: str
    title: str
    contenders: tuple[Contender, ...]


def macs(job: Job) -> int:
    """Return the multiply-adds of one image in the network of a job, forward."""
    options = {"num_classes": job.num_classes, "in_channels": job.in_channels, "input_size": job.image_size}
    return count_macs(get_spec(job.model, **options))


#: Label -> (backend, who).
PEERS = {
    USUAL: ("usual PyTorch", "torch"),
    TORCHVISION: ("torchvision", "torch"),
    APPLICATIONS: ("keras.applications", "tf"),
}
BFLOAT16: dict[str, Any] = {"precision": "bfloat16"}
#: Work -> the settings in which our twins do it.
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "train": {"": {}, "bfloat16": BFLOAT16},
    "predict": {"": {}, "fused": {"fused": True}, "fused, bfloat16": {"fused": True, **BFLOAT16}},
    "epoch": {"": {}, "bfloat16": BFLOAT16},
}
COMPILED: dict[str, dict[str, Any]] = {
    "compiled": {"compile": True},
    "bfloat16, compiled": {"compile": True, **BFLOAT16},
}
NCHW: dict[str, dict[str, Any]] = {"channels first": {"channels_last": False}}
#: Without `shared.base.machine.keeping_memory`, which `train` uses.
GIVEN_BACK: dict[str, dict[str, Any]] = {"freed memory given back": {"keep_memory": False}}
#: What Keras can be told, and what each of it is worth.
KERAS_VARIANTS = {
    "fit": "`fit`, as `train` does",
    "steps-per-execution": "`fit`, 8 steps in one call",
    "dataset": "`fit` from a `tf.data.Dataset`",
    "train-on-batch": "`train_on_batch`",
    "own-loop": "a loop of one's own in a `tf.function`",
    "eager": "`fit`, without a graph",
    "keras-batch-norm": "`fit`, with Keras' own BatchNorm",
    "xla": "`fit`, compiled by XLA",
}


def _race(
    name: str, title: str, job: Job, peers: tuple[str, ...], more: dict[str, dict[str, Any]] | None = None
) -> Race:
    """Return the race of `job` between the peers and our twins, in the usual settings and in `more` of them."""
    entries = []
    for who in peers:
        label, backend = PEERS[who]
        entries.append(Contender(label=label, job=replace(job, backend=backend, who=who, channels_last=False)))
    for backend, framework in BACKENDS.items():
        for setting, options in (SETTINGS[job.what] | (more or {})).items():
            if backend == "tf" and "channels_last" in options:
                continue  # TensorFlow has no other layout on a CPU
            label = f"{framework.title} twin" + (f", {setting}" if setting else "")
            entries.append(Contender(label=label, job=replace(job, backend=backend, **options)))
    return Race(name=name, title=title, contenders=tuple(entries))


def _data_race() -> Race:
    job = Job(what="data", model="resnet20_cifar", batch_size=128, image_size=32, recipe="fast-cifar")
    return Race(
        name="data",
        title="CIFAR-10: cropping, mirroring and normalising, 128 images at a time",
        contenders=(
            Contender(label="usual PyTorch, 2 workers", job=replace(job, who=USUAL)),
            Contender(label="both twins, no worker", job=job),
        ),
    )


def _keras_race() -> Race:
    job = Job(what="train", model="resnet20_cifar", batch_size=128, image_size=32)
    entries = [Contender(label="PyTorch twin", job=job)]
    for variant, label in KERAS_VARIANTS.items():
        entries.append(Contender(label=f"Keras twin: {label}", job=replace(job, backend="tf", variant=variant)))
    title = "what each setting of Keras is worth: training ResNet-20, 128 images of 32x32"
    return Race(name="keras", title=title, contenders=tuple(entries))


def races(*, quick: bool = False) -> list[Race]:
    """Return all races; with `quick` four small ones, for a first impression."""
    resnet20 = Job(what="train", model="resnet20_cifar", batch_size=32 if quick else 128, image_size=32)
    from_pixels = f"CIFAR-10 and ResNet-20, from pixels to metrics, {resnet20.batch_size} images at a time"
    epoch = _race("epoch-cifar", from_pixels, replace(resnet20, what="epoch", recipe="fast-cifar"), (USUAL,))
    if quick:
        logits = replace(resnet20, what="predict")
        return [
            _race("train-resnet20", "training ResNet-20, 32 images of 32x32", resnet20, (USUAL,)),
            _race("predict-resnet20", "logits of ResNet-20, 32 images of 32x32", logits, (USUAL,)),
            epoch,
            _data_race(),
        ]
    grey = Job(what="train", model="resnet18_d2l", batch_size=32, image_size=96, in_channels=1)
    large: dict[str, Any] = {"batch_size": 16, "image_size": 224, "num_classes": 1000}
    resnet18, resnet50, keras50 = (
        Job(what="train", model=name, **large) for name in ("resnet18", "resnet50", "resnet50_keras")
    )
    like_theirs = "ResNet-50 as keras.applications has it, 16 images of 224x224"
    from_fashion = "Fashion-MNIST at 96x96 and D2L's ResNet-18, from pixels to metrics, 64 images at a time"
    fashion = replace(grey, what="epoch", batch_size=64, recipe="d2l-fashion")
    return [
        _race("train-resnet20", "training ResNet-20, 128 images of 32x32", resnet20, (USUAL,), NCHW | COMPILED),
        _race("train-resnet18", "training ResNet-18, 32 grey images of 96x96", grey, (USUAL,), NCHW | GIVEN_BACK),
        _race("train-resnet50", "training ResNet-50, 16 images of 224x224", resnet50, (TORCHVISION,)),
        _race("train-resnet50-keras", f"training {like_theirs}", keras50, (APPLICATIONS,)),
        _race(
            "predict-resnet18",
            "logits of ResNet-18, 16 images of 224x224",
            replace(resnet18, what="predict"),
            (TORCHVISION,),
        ),
        _race(
            "predict-resnet50",
            "logits of ResNet-50, 16 images of 224x224",
            replace(resnet50, what="predict"),
            (TORCHVISION,),
        ),
        _race("predict-resnet50-keras", f"logits of {like_theirs}", replace(keras50, what="predict"), (APPLICATIONS,)),
        epoch,
        _race("epoch-fashion", from_fashion, fashion, (USUAL,)),
        _data_race(),
        _keras_race(),
    ]


def ceilings() -> Race:
    """Return the race that measures the most that the machine does: products of large square matrices."""
    entries = [
        Contender(
            label=f"{framework.title}, {precision}",
            job=Job(backend=backend, what="matmul", image_size=MATRIX, precision=precision),
        )
        for backend, framework in BACKENDS.items()
        for precision in ("float32", "bfloat16")
    ]
    return Race(name="ceiling", title=f"products of {MATRIX} x {MATRIX} matrices", contenders=tuple(entries))
