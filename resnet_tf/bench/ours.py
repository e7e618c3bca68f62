"""What `resnet-twins bench` runs in Keras: our network, and a peer. The twin is `resnet_torch/bench/ours.py`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from resnet_tf.bench import peers
from resnet_tf.factory import create_model
from resnet_tf.fuse import fuse
from resnet_tf.layers import BatchNormalization
from resnet_tf.train import POLICIES
from shared.bench.races import OURS, Job

RATE, MOMENTUM = 0.01, 0.9


def work(job: Job) -> Iterator[int]:
    """Yield the number of images after each piece of work."""
    return {"train": train, "predict": predict, "matmul": matmul}[job.what](job)


def build(job: Job) -> keras.Model:
    """Return the network of a job."""
    if job.who != OURS:
        return peers.build(job)
    options = {"num_classes": job.num_classes, "in_channels": job.in_channels, "input_size": job.image_size}
    dtype, policy = POLICIES[job.precision]
    model = create_model(job.model, seed=0, dtype=dtype, policy=policy, **options)
    return fuse(model) if job.fused else model


def batch(job: Job) -> tuple[tf.Tensor, tf.Tensor]:
    """Return a batch that is ready: images (N, H, W, C), labels one-hot (N, num_classes)."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((job.batch_size, job.image_size, job.image_size, job.in_channels), np.float32)
    labels = np.eye(job.num_classes, dtype=np.float32)[rng.integers(0, job.num_classes, job.batch_size)]
    return tf.constant(images), tf.constant(labels)


def train(job: Job) -> Iterator[int]:
    """Training steps on one batch: forward, backward, SGD with momentum."""
    if job.variant == "keras-batch-norm":
        BatchNormalization.call = keras.layers.BatchNormalization.call  # type: ignore[method-assign]
    images, labels = batch(job)
    model = build(job)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(
        keras.optimizers.SGD(RATE, momentum=MOMENTUM),
        loss,
        jit_compile=job.compile or job.variant == "xla",
        run_eagerly=job.variant == "eager",
        steps_per_execution=STEPS if job.variant == "steps-per-execution" else 1,
    )
    return LOOPS.get(job.variant, fit if job.variant else train_on_batch)(job, model, images, labels)


#: Steps in one call of `fit`, in the variants that call it.
STEPS = 8


class Repeat(keras.utils.PyDataset):
    """The same batch again and again, in the form in which `train` feeds `fit`."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        super().__init__()
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.images, self.labels


def train_on_batch(job: Job, model: keras.Model, images: tf.Tensor, labels: tf.Tensor) -> Iterator[int]:
    """One step for each call."""
    while True:
        model.train_on_batch(images, labels)
        yield job.batch_size


def fit(job: Job, model: keras.Model, images: tf.Tensor, labels: tf.Tensor) -> Iterator[int]:
    """Keras' own loop, fed by NumPy arrays."""
    data = Repeat(images.numpy(), labels.numpy())
    while True:
        model.fit(data, shuffle=False, verbose=0)
        yield STEPS * job.batch_size


def fit_dataset(job: Job, model: keras.Model, images: tf.Tensor, labels: tf.Tensor) -> Iterator[int]:
    """Keras' own loop, fed by TensorFlow."""
    data = tf.data.Dataset.from_tensors((images, labels)).repeat(STEPS).prefetch(2)
    while True:
        model.fit(data, verbose=0)
        yield STEPS * job.batch_size


def own_loop(job: Job, model: keras.Model, images: tf.Tensor, labels: tf.Tensor) -> Iterator[int]:
    """A training step written by hand: what Keras adds to TensorFlow is the difference to `fit`."""

    @tf.function  # type: ignore[untyped-decorator]
    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = model.loss(y, model(x, training=True))
        model.optimizer.apply(tape.gradient(loss, model.trainable_weights), model.trainable_weights)
        return loss

    while True:
        step(images, labels).numpy()
        yield job.batch_size


LOOPS = {"own-loop": own_loop, "train-on-batch": train_on_batch, "dataset": fit_dataset}


def predict(job: Job) -> Iterator[int]:
    """The logits of one batch, in inference mode."""
    images, _ = batch(job)
    model = build(job)
    forward = tf.function(lambda x: model(x, training=False), jit_compile=job.compile)
    while True:
        forward(images).numpy()
        yield job.batch_size


def profile(pieces: Iterator[int], steps: int) -> dict[str, float]:
    """Return the milliseconds of each kind of operation in so many pieces of work."""
    from tensorflow.tsl.profiler.protobuf.xplane_pb2 import XSpace

    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(steps):
                next(pieces)
        for path in Path(folder).rglob("*.xplane.pb"):
            for plane in XSpace.FromString(path.read_bytes()).planes:
                names = {key: entry.name for key, entry in plane.event_metadata.items()}
                for event in (event for line in plane.lines for event in line.events):
                    name = names[event.metadata_id]
                    _, colon, operation = name.rpartition(":")  # name of the node:operation
                    if colon and "::" not in name and operation.isidentifier():
                        found[operation] = found.get(operation, 0.0) + event.duration_ps / 1e9
    return found


def matmul(job: Job) -> Iterator[int]:
    """Products of two large square matrices, one at a time."""
    rng = np.random.default_rng(0)
    matrix = tf.cast(tf.constant(rng.standard_normal((job.image_size, job.image_size), np.float32)), job.precision)
    while True:
        tf.linalg.matmul(matrix, matrix)
        yield 1
