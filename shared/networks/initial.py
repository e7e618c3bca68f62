"""Fresh weights, the same for the same seed, drawn in NumPy for every framework."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from shared.base.checks import check_seed
from shared.networks.canonical import Arrays
from shared.networks.spec import ResNetSpec
from shared.networks.table import check_buildable, layer_table


def initial_weights(spec: ResNetSpec, seed: int) -> Arrays:
    """Return fresh weights for `spec`, the same for the same seed, as torchvision initialises them.

    Convolutions: normal with variance 2 / (out_channels * kernel_size**2) (He et al. 2015, "Delving Deep",
    fan-out). Biases and the last layer: uniform within 1 / sqrt(fan_in), PyTorch's default. BatchNorm: gamma
    1, or 0 where `zero_init_residual` says so, beta 0, mean 0, variance 1.
    """
    check_seed(seed)
    check_buildable(spec)
    rng = np.random.default_rng(seed)
    zero_gamma = set()
    if spec.zero_init_residual:
        zero_gamma = {f"{row.name}.{spec.last_norm_name}.weight" for rows in spec.stages() for row in rows}
    arrays: Arrays = {}
    for row in layer_table(spec):
        for key, shape in row.weights.items():
            name = f"{row.name}.{key}"
            if row.kind == "batch_norm":
                ones = key in ("weight", "running_var") and name not in zero_gamma
                arrays[name] = np.full(shape, float(ones), np.float32)
            elif row.kind == "conv" and key == "weight":
                std = np.float32(np.sqrt(2.0 / (shape[0] * shape[2] * shape[3])))
                arrays[name] = rng.standard_normal(shape, np.float32) * std
            else:
                fan_in = int(np.prod(row.weights["weight"][1:]))
                bound = np.float32(fan_in**-0.5)
                arrays[name] = (2 * rng.random(shape, np.float32) - 1) * bound
    return arrays


#: What makes a network tame, see `lively_weights`.
TAME_GAMMA, TAME_PLAIN_GAMMA, TAME_BETA = 0.2, 0.9, 2.0


def lively_weights(spec: ResNetSpec, seed: int, *, tame: bool = False) -> Arrays:
    """Return weights in which nothing is 0 or 1 by default, so that no mistake can hide. For tests and `verify`.

    Every gamma, beta, running mean, running variance and bias is drawn at random. `tame=True` keeps rounding
    errors from growing with depth: the last gamma of every residual block is multiplied by 0.2 (without shortcuts
    every gamma by 0.9), so that activations do not grow from block to block, and 2 is added to every other beta,
    so that most ReLUs are open and rounding seldom puts an activation on the other side of zero.
    """
    arrays = initial_weights(replace(spec, zero_init_residual=False), seed)
    rng = np.random.default_rng([seed, 1])
    residual = spec.block != "PlainBlock"
    for row in layer_table(spec):
        if row.kind != "batch_norm":
            continue
        ends_branch = residual and row.name.endswith(f".{spec.last_norm_name}")
        for key, shape in row.weights.items():
            low, high = {"weight": (0.7, 1.3), "running_var": (0.5, 1.5)}.get(key, (-0.3, 0.3))
            array = rng.uniform(low, high, shape).astype(np.float32)
            if tame and key == "weight" and (ends_branch or not residual):
                array *= np.float32(TAME_GAMMA if residual else TAME_PLAIN_GAMMA)
            if tame and key == "bias" and not ends_branch:
                array += np.float32(TAME_BETA)
            arrays[f"{row.name}.{key}"] = array
    return arrays
