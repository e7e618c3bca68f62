"""Trains a Keras model by a recipe: `compile`, `fit` and a callback. The twin is `resnet_torch/train.py`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import keras
import numpy as np

from resnet_tf.factory import create_model
from resnet_tf.layers import dtype_scope, freeze_norms
from resnet_tf.optimizers import make_optimizer
from resnet_tf.probe import available_devices
from resnet_tf.weights import canonical_variables, get_weights, numpy_copy, set_weights
from shared.backends import check_device
from shared.base.errors import InputError
from shared.networks.canonical import from_keras_layout
from shared.training.batches import Batches
from shared.training.recipe import Recipe
from shared.training.run import Run
from shared.training.settings import Settings

#: A recipe's precision -> (dtype of the weights, Keras' dtype policy).
POLICIES = {
    "float64": ("float64", "float64"),
    "float32": ("float32", "float32"),
    "bfloat16": ("float32", "mixed_bfloat16"),
    "float16": ("float32", "mixed_float16"),
}


def train(run: Run) -> keras.Model:
    """Train until the run is complete or stopped, and return the model."""
    recipe = run.recipe
    if prepare_machine(run.settings, recipe.precision) == "cpu":
        run.advise_on_cpu()
    if run.settings.deterministic:
        keras.utils.set_random_seed(recipe.seed)
    dtype, policy = POLICIES[recipe.precision]
    # The loss and the metrics must compute in float64 as well where the weights do.
    with dtype_scope(dtype, policy):
        model = create_model(run.spec, seed=recipe.seed, dtype=dtype, policy=policy)
        compile_model(model, recipe, jit_compile=run.settings.compile)
        if recipe.freeze_norm:
            freeze_norms(model)
        if run.restored is not None:  # the state of a run that goes on, or weights to start from
            set_state(model, run.restored)
        state = partial(get_state, model)
        for epoch, numbers in run.epochs():
            # One call of `fit` for each epoch: only so does a resumed run begin in the middle of one.
            batches = Epoch(run.batches, epoch, numbers)
            model.fit(batches, shuffle=False, verbose=0, callbacks=[Follow(run)])
            if model.stop_training or run.after_epoch(partial(predict, model), state):
                break
    return model


def compile_model(model: keras.Model, recipe: Recipe, *, jit_compile: bool = False) -> None:
    """Give the model the loss, the optimiser and the metric of the recipe."""
    model.compile(
        optimizer=make_optimizer(recipe),
        # The models put out logits; Keras expects probabilities unless it is told.
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=jit_compile,
        # With float16 Keras wraps the optimiser in one that scales the loss, as small gradients would become 0.
        auto_scale_loss=True,
    )


class Epoch(keras.utils.PyDataset):
    """The batches of one epoch, in the order that the recipe's seed gives; labels are one-hot."""

    def __init__(self, batches: Batches, epoch: int, numbers: range) -> None:
        super().__init__()
        self.batches, self.epoch, self.numbers = batches, epoch, numbers
        self.classes = len(batches.data.classes)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        images, labels = self.batches.train_batch(self.epoch, self.numbers[index])  # (N, H, W, C), (N,)
        return images, np.eye(self.classes, dtype=np.float32)[labels]


class Follow(keras.callbacks.Callback):
    """Sets the learning rate before every step and tells the run about it afterwards."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run

    def set_model(self, model: keras.Model) -> None:
        """Keep the model, and what `honest_loss` looks at."""
        super().set_model(model)
        self.statistics = running_statistics(model)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Set the rate, and make the metrics forget: Keras reports running means, but a batch's own are wanted."""
        self.model.optimizer.learning_rate = self.run.learning_rate
        self.model.reset_metrics()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Tell the run, and stop if it says so."""
        correct = round(float(logs["accuracy"]) * self.run.recipe.batch_size)
        loss = honest_loss(float(logs["loss"]), self.statistics)
        self.model.stop_training = self.run.after_step(loss, correct, partial(get_state, self.model))


def running_statistics(model: keras.Model) -> list[Any]:
    """Return the running mean of every BatchNorm, as variables."""
    return [layer.moving_mean for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def honest_loss(loss: float, statistics: list[Any]) -> float:
    """Return the loss, or NaN if a running mean is no longer finite.

    On a CPU, TensorFlow computes BatchNorm and ReLU in one operation, which makes 0 of NaN: images or weights that are
    spoilt would not be seen in the loss. The mean of the batch still shows it.
    """
    return loss if all(np.isfinite(np.asarray(mean)).all() for mean in statistics) else float("nan")


def predict(model: keras.Model, batches: Iterator[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the logits (N, num_classes) of all batches (images (N, H, W, C), labels), in inference mode."""
    return np.concatenate([np.asarray(model.predict_on_batch(images), np.float64) for images, _ in batches])


def prepare_machine(settings: Settings, precision: str) -> str:
    """Set TensorFlow up and return "cpu" or "cuda".

    Raises `InputError` for an absent device, or if TensorFlow cannot be set up any more.
    """
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"the Keras twin trains on TensorFlow, but KERAS_BACKEND is {keras.backend.backend()}; unset it or set it "
            "to tensorflow"
        )
    import tensorflow as tf

    available = available_devices()
    check_device(settings.device, available, "TensorFlow")
    gpus = available["cuda"]
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    try:
        if settings.device == "cpu" and gpus:
            tf.config.set_visible_devices([], "GPU")
        if settings.threads and tf.config.threading.get_intra_op_parallelism_threads() != settings.threads:
            tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
    except RuntimeError as error:  # TensorFlow fixes both with its first operation
        raise InputError(f"--device and --threads cannot be changed once TensorFlow has started ({error})") from error
    return "cuda" if gpus and settings.device != "cpu" else "cpu"


def get_state(model: keras.Model) -> dict[str, np.ndarray]:
    """Return all that a run needs to go on, as arrays with the names and layouts of PyTorch's twin."""
    arrays = {f"weights/{name}": array for name, array in get_weights(model).items()}
    optimizer, scaler = _optimizers(model)
    for name, (variable, axes) in _trainable(model).items():
        for key in optimizer.memory:
            arrays[f"{key}/{name}"] = from_keras_layout(numpy_copy(optimizer.remembered(key, variable)), axes)
    arrays["optimizer_steps"] = np.asarray(numpy_copy(optimizer.iterations), np.int64)
    if scaler is not None:
        arrays["scaler/scale"] = numpy_copy(scaler.dynamic_scale)
        arrays["scaler/_growth_tracker"] = numpy_copy(scaler.step_counter)
    return arrays


def set_state(model: keras.Model, arrays: dict[str, np.ndarray]) -> None:
    """Put the model and the optimiser where they were when `get_state` was called."""
    set_weights(model, {k.removeprefix("weights/"): v for k, v in arrays.items() if k.startswith("weights/")})
    model.optimizer.build(model.trainable_variables)
    optimizer, scaler = _optimizers(model)
    for name, (variable, axes) in _trainable(model).items():
        for key in optimizer.memory:
            if f"{key}/{name}" in arrays:
                optimizer.remembered(key, variable).assign(np.transpose(arrays[f"{key}/{name}"], axes))
    if "optimizer_steps" in arrays:
        optimizer.iterations.assign(int(arrays["optimizer_steps"]))
    if scaler is not None and "scaler/scale" in arrays:
        scaler.dynamic_scale.assign(arrays["scaler/scale"])
        scaler.step_counter.assign(int(arrays["scaler/_growth_tracker"]))


def _optimizers(model: keras.Model) -> tuple[Any, Any]:
    """Return the model's optimiser, and the one that scales the loss around it, or None."""
    inner = getattr(model.optimizer, "inner_optimizer", None)
    return (inner, model.optimizer) if inner is not None else (model.optimizer, None)


def _trainable(model: keras.Model) -> dict[str, tuple[keras.Variable, tuple[int, ...]]]:
    return {name: entry for name, entry in canonical_variables(model).items() if entry[0].trainable}
