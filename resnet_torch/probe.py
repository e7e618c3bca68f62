"""Looks into a PyTorch model: logits, activations and gradients as NumPy arrays, and one step of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from resnet_torch.weights import check_model
from shared.backends import Trace, check_device
from shared.base.checks import check_images, check_labels, check_rate, check_trainable


def _check(model: nn.Module, inputs: np.ndarray, axes: str = "N, C, H, W") -> np.ndarray:
    """Return the images; raise `InputError` if this is no model, or if they are none for it."""
    check_model(model)
    first = next(model.parameters())
    return check_images(inputs, axes, first.shape[1] if first.ndim == 4 else None)


def _tensor(model: nn.Module, inputs: np.ndarray) -> Tensor:
    parameter = next(model.parameters())
    return torch.as_tensor(np.ascontiguousarray(inputs), dtype=parameter.dtype, device=parameter.device)


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()


@contextmanager
def _mode(model: nn.Module, training: bool | None) -> Iterator[None]:
    """Put the model into training or eval mode, or leave it (None); afterwards every module has its own mode again."""
    modes = {module: module.training for module in model.modules()}
    if training is not None:
        model.train(training)
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def from_nhwc(images: np.ndarray, model: nn.Module) -> np.ndarray:
    """Return images (N, H, W, C) as PyTorch wants them: (N, C, H, W), in the model's dtype."""
    return _numpy(_tensor(model, np.transpose(_check(model, images, "N, H, W, C"), (0, 3, 1, 2))))


def forward(model: nn.Module, inputs: np.ndarray, *, training: bool = False) -> np.ndarray:
    """Return the logits (N, num_classes) for images (N, C, H, W). The model's own mode stays as it was.

    In training mode BatchNorm uses the batch and moves its running statistics.
    """
    inputs = _check(model, inputs)
    with _mode(model, training), torch.no_grad():
        return _numpy(model(_tensor(model, inputs)))


def watch(model: nn.Module, note: Callable[[str, nn.Module | None, Tensor], None]) -> list[RemovableHandle]:
    """Call `note(name, module, output)` for every layer of every pass, until the returned handles are removed.

    The sum at the end of a block is a plain `+` and no module: it is noted as `<block>.add` with None.
    """

    def after(name: str, layer: nn.Module | None) -> Callable[..., None]:
        return lambda _module, _inputs, output: note(name, layer, output)

    def before(name: str) -> Callable[..., None]:
        return lambda _module, inputs: note(name, None, inputs[0])

    handles = []
    for name, module in model.named_modules():
        children = dict(module.named_children())
        if not children and not isinstance(module, nn.Identity):
            handles.append(module.register_forward_hook(after(name, module)))
        if "downsample" in children:
            last = list(children.values())[-1]
            if isinstance(last, nn.ReLU):
                # Runs ahead of the ReLU's own hook, so the order of computation is kept.
                handles.append(last.register_forward_pre_hook(before(f"{name}.add")))
            else:
                handles.append(module.register_forward_hook(after(f"{name}.add", None)))
    return handles


def trace(
    model: nn.Module,
    inputs: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    training: bool | None = False,
    activations: bool = True,
) -> Trace:
    """Run images (N, C, H, W) through the model and return what happened inside.

    With `labels`, class numbers (N,), also the mean cross-entropy and its gradients. In training mode
    BatchNorm uses the batch and updates its running statistics; with `training=None` every module runs in
    the mode that it has. The modes stay as they were.
    """
    inputs = _check(model, inputs)
    if labels is not None:  # before the pass, which in training mode moves statistics
        labels = check_labels(labels, len(inputs), getattr(getattr(model, "spec", None), "num_classes", None))
        check_trainable(any(parameter.requires_grad for parameter in model.parameters()))
    seen: dict[str, Tensor] = {}
    handles = watch(model, lambda name, _, output: seen.__setitem__(name, output)) if activations else []
    try:
        with _mode(model, training):
            logits = model(_tensor(model, inputs))
    finally:
        for handle in handles:
            handle.remove()
    outputs = {name: _numpy(tensor) for name, tensor in seen.items()}
    if labels is None:
        return Trace(logits=_numpy(logits), activations=outputs)
    loss = F.cross_entropy(logits, torch.as_tensor(labels, device=logits.device))
    parameters = dict(model.named_parameters())
    gradients = torch.autograd.grad(loss, [*seen.values(), *parameters.values()])
    return Trace(
        logits=_numpy(logits),
        loss=loss.item(),
        activations=outputs,
        activation_gradients={name: _numpy(g) for name, g in zip(seen, gradients[: len(seen)], strict=True)},
        parameter_gradients={name: _numpy(g) for name, g in zip(parameters, gradients[len(seen) :], strict=True)},
    )


def train_step(model: nn.Module, inputs: np.ndarray, labels: np.ndarray, learning_rate: float) -> Trace:
    """Run one step of plain gradient descent in training mode: p = p - learning_rate * gradient."""
    check_rate(learning_rate)
    result = trace(model, inputs, labels, training=True, activations=False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.sub_(learning_rate * _tensor(model, result.parameter_gradients[name]))
    return result


def devices() -> list[str]:
    """Return the devices that PyTorch sees."""
    found = [f"CPU ({torch.get_num_threads()} threads)"]
    found += [f"CUDA: {torch.cuda.get_device_name(index)}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("Apple MPS")
    return found


@contextmanager
def on_device(device: str) -> Iterator[None]:
    """Build models inside on "cpu", "cuda" or "mps", and compute there.

    "auto" takes CUDA if it is there, as Keras does. A model that exists stays where it is. Raises `InputError` for a
    device that is not there.
    """
    available = available_devices()
    check_device(device, available, "PyTorch")
    if device == "auto":
        device = "cuda" if available["cuda"] else "cpu"
    with torch.device(device):
        yield


def available_devices() -> dict[str, bool]:
    """Return the devices one may ask for, the fastest first, and whether each is there."""
    return {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
