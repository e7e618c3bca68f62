"""Trains a PyTorch model in several processes, with DDP. The twin is `resnet_tf/distributed.py`.

Read it beside `train.py`, the loop for one process. What is new here:

1. A process takes its part of every batch. DDP averages the gradients of all processes during the backward pass, so
   that all take the same step and keep the same weights.
2. BatchNorm must see the whole batch, not a part of it: `SyncBatchNorm` adds up over all processes (on GPUs only).
3. All processes must agree, after every step, whether to go on: who stopped alone would let the others wait for ever.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import torch

# DDP would load this module later, and its functions would keep the process group that is there then for ever: its
# threads would outlive `close`, and one that still works while Python ends aborts the process. Now there is none yet.
import torch.distributed.nn
from torch import distributed, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from resnet_torch.factory import create_model
from resnet_torch.layers import freeze_norms
from resnet_torch.train import autocast, get_state, make_optimizer, predict, prepare_machine, set_state, to_tensor
from shared.base.errors import InputError
from shared.distributed.place import Place, place_of
from shared.distributed.team import Team
from shared.training.run import Run
from shared.training.settings import Settings

#: How long the others wait while the chief tests and saves: with NCCL ten minutes, if nothing is said.
LONGEST_WAIT = timedelta(hours=2)


class Processes(Team):
    """The processes that torchrun started."""

    def __init__(self, place: Place, device: torch.device) -> None:
        how = "NCCL" if device.type == "cuda" else "gloo"
        super().__init__(place, f"DistributedDataParallel over {how}")
        self.device = device
        self.norms_by_part = device.type == "cpu"

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of the values (n,) of all processes."""
        tensor = torch.from_numpy(values.copy())  # on the CPU, so gloo adds them up, whatever DDP uses
        distributed.all_reduce(tensor)
        return tensor.numpy()

    def share(self, arrays: Any) -> Any:
        """Return the chief's arrays in every process."""
        box = [arrays if self.chief else None]
        distributed.broadcast_object_list(box)
        return box[0]

    def close(self) -> None:
        """Leave the team."""
        distributed.destroy_process_group()


def is_lost(error: BaseException) -> bool:
    """Return whether the error means that another process is gone."""
    # gloo's errors have no class of their own.
    words = isinstance(error, RuntimeError) and re.search("gloo|NCCL", str(error)) is not None
    return words or isinstance(error, distributed.DistError)


def join(settings: Settings) -> Processes:
    """Choose this process's device and find the others. Raises `InputError` for an absent device."""
    if not distributed.is_available():
        raise InputError("this PyTorch was built without torch.distributed; it trains in one process only")
    place = place_of("torch")
    if place is None:
        raise InputError("this process was not started by torchrun; use resnet-twins train --processes N, or torchrun")
    device = choose_device(settings, int(os.environ["LOCAL_RANK"]))
    # The small sums of `Team` are made on the CPU, by gloo; the gradients on the device that they are on.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=LONGEST_WAIT)
    return Processes(place, device)


def count_gpus(device: str = "auto") -> int:
    """Return how many GPUs of this machine can be used if `--device` is `device`."""
    return torch.cuda.device_count() if device in ("auto", "cuda") else 0


def choose_device(settings: Settings, local_rank: int) -> torch.device:
    """Return the GPU with this process's number on its machine, or the CPU if there is no GPU."""
    if settings.device == "mps":
        raise InputError("--device is 'mps', on which PyTorch trains in one process only; use --device cpu")
    if settings.device == "cpu" or (settings.device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if local_rank >= torch.cuda.device_count():
        raise InputError(
            f"process {local_rank} of this machine has no GPU: there are {torch.cuda.device_count()}; start one "
            "process for each GPU, or use --device cpu"
        )
    torch.cuda.set_device(local_rank)  # from now on, "cuda" means this one
    return torch.device("cuda", local_rank)


def train(run: Run, team: Processes) -> nn.Module:
    """Train until the run is complete or stopped, and return the model."""
    recipe, batches, gpu = run.recipe, run.batches, team.device.type == "cuda"
    _, layout = prepare_machine(replace(run.settings, device=team.device.type), recipe.precision)
    double = recipe.precision == "float64"
    model = create_model(run.spec, seed=recipe.seed, dtype="float64" if double else "float32")
    if gpu:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    elif team.size > 1 and not recipe.freeze_norm:
        run.reporter.note(
            f"PyTorch has no synchronised BatchNorm on a CPU: each of the {team.size} processes normalises by its own "
            f"{recipe.batch_size // team.size} images of a batch, and the running statistics are the chief's, so the "
            "curve is another one than with one process"
        )
    model.to(team.device, memory_format=layout)  # type: ignore[call-overload]
    optimizer = make_optimizer(model, recipe)
    scaler = torch.amp.GradScaler(team.device.type, enabled=recipe.precision == "float16")
    restored = team.share(run.restored)  # only the chief has read the folder
    if restored is not None:
        set_state(model, optimizer, scaler, restored)
    state = partial(get_state, model, optimizer, scaler)
    forward: Any = DistributedDataParallel(model, device_ids=[team.device.index] if gpu else None)
    forward = torch.compile(forward) if run.settings.compile else forward

    for epoch, numbers in run.epochs():
        model.train()
        if recipe.freeze_norm:
            freeze_norms(model)
        for number in numbers:
            images, labels = batches.train_batch(epoch, number, team.part(team.rank, recipe.batch_size))
            x, y = to_tensor(images, model, layout), torch.from_numpy(labels).to(team.device)
            for group in optimizer.param_groups:
                group["lr"] = run.learning_rate
            with autocast(team.device, recipe.precision):
                logits = forward(x)  # (N / processes, num_classes)
                total = F.cross_entropy(logits, y, label_smoothing=recipe.label_smoothing, reduction="sum")
                # The mean of this part. DDP averages the gradients, and the mean of equal parts' means is the whole's.
                loss = total / len(labels)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            correct = (logits.argmax(1) == y).sum()
            whole, right = team.sum(np.array([total.item() / recipe.batch_size, float(correct)]))
            if team.after_step(run, float(whole), int(right), state):
                return model
        if team.after_epoch(run, partial(predict, model, precision=recipe.precision), state):
            return model
    return model
