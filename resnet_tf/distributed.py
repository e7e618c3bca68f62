"""Trains a Keras model in several processes or on several GPUs: a loop of our own over a `tf.distribute.Strategy`.

The twin is `resnet_torch/distributed.py`. Keras 3's `fit` fails under TensorFlow's strategy for several machines, so
this is what `fit` does in `train.py`, written out. What is new here:

1. A replica (a process, or each GPU of one) takes its part of every batch. The optimiser adds up the gradients of all
   replicas before it uses them, so that all take the same step and keep the same weights.
2. BatchNorm must see the whole batch, not a part of it: `synchronized=True` adds up over all replicas.
3. All processes must agree, after every step, whether to go on: who stopped alone would let the others wait for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from resnet_tf.factory import create_model
from resnet_tf.layers import dtype_scope, freeze_norms, synchronize_norms
from resnet_tf.quiet import quiet_stderr
from resnet_tf.train import POLICIES, compile_model, get_state, prepare_machine, set_state
from shared.base.errors import InputError
from shared.distributed.place import Place, place_of
from shared.distributed.team import ChiefWatch, Team
from shared.training.run import Run
from shared.training.settings import Settings

SUM = tf.distribute.ReduceOp.SUM


class Processes(Team):
    """The processes that `TF_CONFIG` names, each with one replica, or with one for each of its GPUs."""

    def __init__(self, place: Place | None, strategy: tf.distribute.Strategy) -> None:
        name = "MirroredStrategy" if strategy.num_replicas_in_sync > 1 else "one device"
        if place is not None:
            name = "MultiWorkerMirroredStrategy"
        place = place or Place(rank=0, size=1)
        super().__init__(place, name, strategy.num_replicas_in_sync)
        self.strategy = strategy
        self.first = self.parts // self.size * self.rank  # the first of this process's replicas
        self.watch = ChiefWatch(place.chief) if place.chief and not self.chief else None
        if self.watch is not None:
            self.watch.start()
        self._add_up = tf.function(lambda values: strategy.run(add_up, (values,)), reduce_retracing=True)

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of the values (n,) of all processes."""
        # Every process has a say once, also if it has several replicas.
        each = self.for_replicas(lambda replica: values if replica == self.first else np.zeros_like(values))
        return self.results(self._add_up(each))[0]

    def for_replicas(self, make: Any) -> Any:
        """Return `make(number)` for each replica of this process, in the form that `strategy.run` wants."""
        return self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(make(context.replica_id_in_sync_group))
        )

    def results(self, values: Any) -> list[np.ndarray]:
        """Return what `strategy.run` returned in each replica of this process."""
        return [value.numpy() for value in self.strategy.experimental_local_results(values)]

    def close(self) -> None:
        """Leave the team."""
        if self.watch is not None:
            self.watch.enough.set()


def add_up(values: Any) -> Any:
    """Return, within a replica, the sum of a tensor over all replicas."""
    # The identity has a device, which an argument has not, and which the sum wants to know.
    return tf.distribute.get_replica_context().all_reduce(SUM, tf.identity(values))


def is_lost(error: BaseException) -> bool:
    """Return whether the error means that another process is gone."""
    lost = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError)
    return isinstance(error, lost) or (isinstance(error, tf.errors.OpError) and "ollective" in str(error))


def join(settings: Settings) -> Processes:
    """Choose a strategy and find the others. Raises `InputError` for an absent device."""
    place = place_of("tf")
    prepare_machine(settings, "float32")
    with quiet_stderr():
        strategy = choose_strategy(place, settings.device)
    if settings.compile and strategy.num_replicas_in_sync > 1:
        raise InputError("--compile: XLA cannot add up over several replicas here; leave it out")
    return Processes(place, strategy)


def count_gpus(device: str = "auto") -> int:
    """Return how many GPUs of this machine can be used if `--device` is `device`."""
    return len(tf.config.list_logical_devices("GPU")) if device in ("auto", "cuda") else 0


def choose_strategy(place: Place | None, device: str = "auto") -> tf.distribute.Strategy:
    """Return the strategy for several machines if there is a `TF_CONFIG`, for several GPUs, or for one device."""
    if place is not None:
        return tf.distribute.MultiWorkerMirroredStrategy()
    if count_gpus(device) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def train(run: Run, team: Processes) -> keras.Model:
    """Train until the run is complete or stopped, and return the model."""
    recipe = run.recipe
    if run.settings.deterministic:
        keras.utils.set_random_seed(recipe.seed)
    dtype, policy = POLICIES[recipe.precision]
    with dtype_scope(dtype, policy), team.strategy.scope():
        model = create_model(run.spec, seed=recipe.seed, dtype=dtype, policy=policy)
        compile_model(model, recipe)
        if recipe.freeze_norm:
            freeze_norms(model)
        else:
            synchronize_norms(model, team.parts)
        model.optimizer.build(model.trainable_variables)
        if run.restored is not None:
            set_state(model, run.restored)
        for variable in [*model.variables, *model.optimizer.variables]:
            variable.assign(team.array_from_chief(variable.numpy()))  # only the chief has read the folder
        step = make_step(run, team, model)
        state, test = partial(get_state, model), partial(predict, tf.function(partial(model, training=False)))
        for epoch, numbers in run.epochs():
            for number in numbers:
                model.optimizer.learning_rate = run.learning_rate
                loss, correct = step(epoch, number)
                if team.after_step(run, float(loss), round(float(correct)), state):
                    return model
            if team.after_epoch(run, test, state):
                return model
    return model


def make_step(run: Run, team: Processes, model: keras.Model) -> Any:
    """Return the function that trains on one batch and returns its mean loss and how many images were right."""
    recipe, batches, classes = run.recipe, run.batches, len(run.batches.data.classes)
    losses = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=recipe.label_smoothing, reduction="sum"
    )

    def replica(images: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            logits = model(images, training=True)  # (N / replicas, num_classes)
            # The sum divided by the whole batch: the sum over all replicas is the mean of the batch.
            loss = losses(labels, logits) / recipe.batch_size
            scaled = model.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, [variable.value for variable in model.trainable_variables])
        if recipe.precision == "float16":
            gradients = all_finite_or_none(gradients)
        model.optimizer.apply(gradients, model.trainable_variables)  # which adds up the gradients of all replicas
        right = ops.equal(ops.argmax(logits, -1), ops.argmax(labels, -1))
        return add_up(tf.stack([tf.cast(loss, tf.float64), tf.reduce_sum(tf.cast(right, tf.float64))]))

    together = tf.function(
        lambda images, labels: team.strategy.run(replica, (images, labels)), jit_compile=run.settings.compile
    )

    def step(epoch: int, number: int) -> np.ndarray:
        parts = [
            batches.train_batch(epoch, number, team.part(team.first + part, recipe.batch_size))
            for part in range(team.parts // team.size)
        ]
        images = team.for_replicas(lambda replica: parts[replica - team.first][0])
        labels = team.for_replicas(lambda replica: np.eye(classes, dtype=np.float32)[parts[replica - team.first][1]])
        return team.results(together(images, labels))[0]

    return step


def all_finite_or_none(gradients: list[Any]) -> list[Any]:
    """Return the gradients, or NaN in all replicas if one has a number that is not finite.

    Keras' loss scaling looks at a replica's own gradients before it decides about the step, and a replica that took
    it alone would wait for ever.
    """
    bad = tf.add_n([tf.reduce_sum(tf.cast(~tf.math.is_finite(each), tf.float32)) for each in gradients])
    spoilt = add_up(bad) > 0
    return [tf.where(spoilt, tf.fill(tf.shape(each), tf.cast(np.nan, each.dtype)), each) for each in gradients]


def predict(forward: Any, batches: Iterator[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the logits (N, num_classes) of all batches (images (N, H, W, C), labels), in this process alone.

    `model.predict` would ask the other processes, which do not listen now.
    """
    return np.concatenate([forward(tf.constant(images)).numpy().astype(np.float64) for images, _ in batches])
