"""What `resnet-twins bench` runs in PyTorch: our network, and a peer. The twin is `resnet_tf/bench/ours.py`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_torch.bench import peers
from resnet_torch.factory import create_model
from resnet_torch.fuse import fuse
from resnet_torch.train import autocast
from shared.bench.races import OURS, PEERS, TORCHVISION, USUAL, Job

CPU = torch.device("cpu")
RATE, MOMENTUM = 0.01, 0.9


def work(job: Job) -> Iterator[int]:
    """Yield the number of images after each piece of work."""
    return {"train": train, "predict": predict, "matmul": matmul}.get(job.what, peers.usual_loop)(job)


def label() -> str:
    """What torchvision's contender really is: where it cannot be imported, the usual network takes its place."""
    return PEERS[USUAL if peers.torchvision("models") is None else TORCHVISION][0]


def build(job: Job) -> nn.Module:
    """Return the network of a job."""
    if job.who != OURS:
        return peers.build(job)
    options = {"num_classes": job.num_classes, "in_channels": job.in_channels, "input_size": job.image_size}
    return create_model(job.model, seed=0, **options)


def batch(job: Job) -> tuple[Tensor, Tensor, torch.memory_format]:
    """Return a batch that is ready: images (N, C, H, W), labels (N,), and their memory format."""
    layout = torch.channels_last if job.channels_last else torch.contiguous_format
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(job.batch_size, job.in_channels, job.image_size, job.image_size, generator=generator)
    labels = torch.randint(0, job.num_classes, (job.batch_size,), generator=generator)
    return images.to(memory_format=layout), labels, layout


def train(job: Job) -> Iterator[int]:
    """Training steps on one batch: forward, backward, SGD with momentum."""
    images, labels, layout = batch(job)
    model = build(job).to(memory_format=layout).train()  # type: ignore[call-overload]
    forward = torch.compile(model) if job.compile else model
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=MOMENTUM)
    while True:
        with autocast(CPU, job.precision):
            loss = F.cross_entropy(forward(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        yield job.batch_size


def predict(job: Job) -> Iterator[int]:
    """The logits of one batch, in eval mode."""
    images, _, layout = batch(job)
    model = build(job).eval()
    model = (fuse(model) if job.fused else model).to(memory_format=layout)  # type: ignore[call-overload]
    forward = torch.compile(model) if job.compile else partial(model)
    with torch.inference_mode():
        while True:
            with autocast(CPU, job.precision):
                forward(images)
            yield job.batch_size


def profile(pieces: Iterator[int], steps: int) -> dict[str, float]:
    """Return the milliseconds of each kind of operation in so many pieces of work."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        for _ in range(steps):
            next(pieces)
    return {event.key: event.self_cpu_time_total / 1000 for event in seen.key_averages()}


def matmul(job: Job) -> Iterator[int]:
    """Products of two large square matrices, one at a time."""
    dtype = torch.bfloat16 if job.precision == "bfloat16" else torch.float32
    matrix = torch.randn(job.image_size, job.image_size, generator=torch.Generator().manual_seed(0)).to(dtype)
    while True:
        torch.mm(matrix, matrix)
        yield 1
