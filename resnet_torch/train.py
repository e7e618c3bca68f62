"""Trains a PyTorch model by a recipe: a plain loop. The twin, with the same curve, is `resnet_tf/train.py`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_torch.factory import create_model
from resnet_torch.layers import freeze_norms
from resnet_torch.probe import available_devices
from resnet_torch.weights import get_weights, set_weights
from shared.backends import check_device
from shared.base.errors import InputError
from shared.base.machine import most_threads
from shared.training.recipe import Recipe
from shared.training.run import Run
from shared.training.settings import Settings


def train(run: Run) -> nn.Module:
    """Train until the run is complete or stopped, and return the model."""
    recipe, batches = run.recipe, run.batches
    device, layout = prepare_machine(run.settings, recipe.precision)
    if device.type == "cpu":
        run.advise_on_cpu()
    double = recipe.precision == "float64"
    model = create_model(run.spec, seed=recipe.seed, dtype="float64" if double else "float32")
    model.to(device, memory_format=layout)  # type: ignore[call-overload]
    optimizer = make_optimizer(model, recipe)
    # float16 cannot hold small gradients: the loss is multiplied before the backward pass, the gradients divided after.
    scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "float16")
    if run.restored is not None:  # the state of a run that goes on, or weights to start from
        set_state(model, optimizer, scaler, run.restored)
    state = partial(get_state, model, optimizer, scaler)
    forward = torch.compile(model) if run.settings.compile else model

    for epoch, numbers in run.epochs():
        model.train()
        if recipe.freeze_norm:
            freeze_norms(model)
        for number in numbers:
            images, labels = batches.train_batch(epoch, number)
            x, y = to_tensor(images, model, layout), torch.from_numpy(labels).to(device)
            for group in optimizer.param_groups:
                group["lr"] = run.learning_rate
            with autocast(device, recipe.precision):
                logits = forward(x)  # (N, num_classes)
                # The sum divided by the batch: several processes, each with its part of the batch, get the same.
                total = F.cross_entropy(logits, y, label_smoothing=recipe.label_smoothing, reduction="sum")
                loss = total / recipe.batch_size
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            correct = (logits.argmax(1) == y).sum()
            if run.after_step(loss.item(), int(correct), state):
                return model
        if run.after_epoch(partial(predict, model, precision=recipe.precision), state):
            return model
    return model


def predict(
    model: nn.Module, batches: Iterator[tuple[np.ndarray, np.ndarray]], *, precision: str = "float32"
) -> np.ndarray:
    """Return the logits (N, num_classes) of all batches (images (N, H, W, C), labels), in eval mode."""
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    with torch.inference_mode(), autocast(device, precision):
        parts = [model(to_tensor(images, model)).cpu().double().numpy() for images, _ in batches]
    model.train(training)
    return np.concatenate(parts)


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimiser of the recipe. PyTorch's formulas are the ones that the Keras twin follows."""
    kernels = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]  # of BatchNorm, and biases
    groups = [
        {"params": kernels, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": recipe.weight_decay if recipe.decay_norm_and_bias else 0.0},
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.nesterov)
    adam = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    return adam(groups, recipe.learning_rate, betas=(recipe.beta1, recipe.beta2), eps=recipe.epsilon)


def prepare_machine(settings: Settings, precision: str) -> tuple[torch.device, torch.memory_format]:
    """Choose the device and the memory layout, and set PyTorch up. Raises `InputError` for an absent device."""
    available = available_devices()
    check_device(settings.device, available, "PyTorch")
    name = settings.device
    if name == "auto":
        name = next(name for name, there in available.items() if there)
    if name == "mps" and precision == "float64":
        raise InputError("Apple's MPS device has no float64; use --device cpu or another --precision")
    if settings.threads:
        torch.set_num_threads(settings.threads)
    if settings.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS wants for it
    torch.use_deterministic_algorithms(settings.deterministic)
    torch.backends.cudnn.benchmark = not settings.deterministic
    # With the channels last in memory, convolutions are faster on CPUs and on GPUs with tensor cores.
    wanted = settings.channels_last if settings.channels_last is not None else name != "mps"
    return torch.device(name), torch.channels_last if wanted else torch.contiguous_format


def to_tensor(images: np.ndarray, model: nn.Module, layout: torch.memory_format = torch.preserve_format) -> Tensor:
    """Return images (N, H, W, C) as a tensor (N, C, H, W) where the model is; their memory is channels-last already."""
    parameter = next(model.parameters())
    x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
    return x.to(parameter.device, parameter.dtype, memory_format=layout)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which convolutions and the last layer compute in `precision`; weights stay as they are."""
    dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision)
    return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)


#: What an optimiser remembers of each parameter, by PyTorch's names, which the files of a run use for both twins.
MEMORY = ("momentum_buffer", "exp_avg", "exp_avg_sq")


def get_state(
    model: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler
) -> dict[str, np.ndarray]:
    """Return all that a run needs to go on, as arrays with canonical names."""
    arrays = {f"weights/{name}": array for name, array in get_weights(model).items()}
    for name, parameter in model.named_parameters():
        memory = optimizer.state.get(parameter, {})
        for key in MEMORY:
            if memory.get(key) is not None:
                arrays[f"{key}/{name}"] = memory[key].detach().cpu().numpy().copy()
        if "step" in memory:
            arrays["optimizer_steps"] = np.array(int(memory["step"]))
    for key, value in scaler.state_dict().items():
        arrays[f"scaler/{key}"] = np.array(float(value))
    arrays["threads"] = np.array(torch.get_num_threads())
    return arrays


def set_state(
    model: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, arrays: dict[str, np.ndarray]
) -> None:
    """Put the model and the optimiser where they were when `get_state` was called."""
    set_weights(model, {k.removeprefix("weights/"): v for k, v in arrays.items() if k.startswith("weights/")})
    for name, parameter in model.named_parameters():
        for key in MEMORY:
            if f"{key}/{name}" in arrays:
                saved = torch.from_numpy(arrays[f"{key}/{name}"])
                optimizer.state[parameter][key] = torch.empty_like(parameter).copy_(saved)
        if "optimizer_steps" in arrays:
            optimizer.state[parameter]["step"] = torch.tensor(float(arrays["optimizer_steps"]))
    if "threads" in arrays:
        # Another number adds up in another order: 1e-7 is enough to part.
        torch.set_num_threads(min(int(arrays["threads"]), most_threads()))
    scale = {k.removeprefix("scaler/"): float(v) for k, v in arrays.items() if k.startswith("scaler/")}
    if scale:
        scaler.load_state_dict(
            {
                **scale,
                "growth_interval": int(scale["growth_interval"]),
                "_growth_tracker": int(scale["_growth_tracker"]),
            }
        )
