"""SGD and Adam in Keras with PyTorch's formulas: in the one place where optimisers are made equal.

Keras' own optimisers are good ones, but other ones:

- Momentum. PyTorch: v = m v + g; p = p - rate v. Keras: v = m v - rate g; p = p + v. They agree only as long as the
  rate does not change, because Keras' velocity remembers the rates of earlier steps.
- Weight decay. PyTorch's SGD and Adam add decay p to the gradient, before momentum or Adam's scaling see it. Keras
  takes rate decay p from the weight itself, as AdamW does, in every optimiser.
- Adam's epsilon. PyTorch adds 1e-8 to the root of the corrected second moment, Keras 1e-7 to that of the uncorrected.

The optimisers below keep what they remember under PyTorch's names, so that both twins write the same files.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from shared.training.recipe import Recipe


class PyTorchOptimizer(keras.optimizers.Optimizer):
    """What SGD, Adam and AdamW have in common. `memory` maps PyTorch's name to one variable for each weight."""

    MEMORY: tuple[str, ...] = ()

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe.learning_rate)
        self.recipe = recipe
        self.memory: dict[str, list[keras.Variable]] = {}

    def build(self, variables: list[keras.Variable]) -> None:
        """Make the variables in which the optimiser remembers earlier gradients, all zero."""
        if self.built:
            return
        super().build(variables)
        for name in self.MEMORY:
            self.memory[name] = [self.add_variable_from_reference(each, name=name) for each in variables]

    def remembered(self, name: str, variable: keras.Variable) -> keras.Variable:
        """Return what is remembered of `variable` under PyTorch's name `name`."""
        return self.memory[name][self._get_variable_index(variable)]

    def decay(self, variable: keras.Variable) -> float:
        """Return the weight decay of `variable`; only kernels have more than one axis."""
        exempt = len(variable.shape) <= 1 and not self.recipe.decay_norm_and_bias
        return 0.0 if exempt else self.recipe.weight_decay

    def get_config(self) -> dict[str, Any]:
        """Return the settings; weights of a run are saved without the optimiser, so nothing is built from this."""
        return {"name": self.name, "recipe": self.recipe.to_toml()}


class SGD(PyTorchOptimizer):
    """`torch.optim.SGD`: g = g + decay p; v = momentum v + g; p = p - rate v (Nesterov: p - rate (g + momentum v))."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.MEMORY = ("momentum_buffer",) if recipe.momentum else ()

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        """Update one weight in place."""
        momentum = self.recipe.momentum
        if self.decay(variable):
            gradient = ops.add(gradient, ops.multiply(variable, self.decay(variable)))
        if momentum:
            buffer = self.remembered("momentum_buffer", variable)
            velocity = ops.add(ops.multiply(buffer, momentum), gradient)
            self.assign(buffer, velocity)
            gradient = ops.add(gradient, ops.multiply(velocity, momentum)) if self.recipe.nesterov else velocity
        self.assign_sub(variable, ops.multiply(gradient, ops.cast(learning_rate, variable.dtype)))


class Adam(PyTorchOptimizer):
    """`torch.optim.Adam`, and `torch.optim.AdamW` if the recipe says so: p = p - rate decay p comes first there."""

    MEMORY = ("exp_avg", "exp_avg_sq")

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        """Update one weight in place."""
        beta1, beta2 = self.recipe.beta1, self.recipe.beta2
        rate, decay = ops.cast(learning_rate, variable.dtype), self.decay(variable)
        weight = ops.convert_to_tensor(variable)
        if decay and self.recipe.optimizer == "adamw":
            weight = ops.subtract(weight, ops.multiply(ops.multiply(weight, decay), rate))
        elif decay:
            gradient = ops.add(gradient, ops.multiply(weight, decay))
        mean, square = self.remembered("exp_avg", variable), self.remembered("exp_avg_sq", variable)
        new_mean = ops.add(mean, ops.multiply(ops.subtract(gradient, mean), 1 - beta1))
        new_square = ops.add(ops.multiply(square, beta2), ops.multiply(ops.square(gradient), 1 - beta2))
        self.assign(mean, new_mean)
        self.assign(square, new_square)
        # In float64: 1 - 0.999 has only four right digits in float32.
        step = ops.cast(ops.add(self.iterations, 1), "float64")
        correction1 = ops.cast(1 - ops.power(ops.convert_to_tensor(beta1, "float64"), step), variable.dtype)
        correction2 = ops.cast(ops.sqrt(1 - ops.power(ops.convert_to_tensor(beta2, "float64"), step)), variable.dtype)
        root = ops.add(ops.divide(ops.sqrt(new_square), correction2), self.recipe.epsilon)
        change = ops.multiply(ops.divide(rate, correction1), ops.divide(new_mean, root))
        self.assign(variable, ops.subtract(weight, change))


def make_optimizer(recipe: Recipe) -> PyTorchOptimizer:
    """Return the optimiser of the recipe."""
    return SGD(recipe) if recipe.optimizer == "sgd" else Adam(recipe)
