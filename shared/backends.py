"""The two frameworks behind one small interface, loaded by name and only when asked for."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from numpy.typing import NDArray

from _resnet_twins import check_names, hiding
from shared.base.errors import InputError, MissingPackageError
from shared.base.side_by_side import make_safe
from shared.base.versions import how_to_install, install_command, is_installed
from shared.networks.spec import ResNetSpec

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from shared.networks.canonical import Arrays, LoadReport


#: What stands for all backends where the name of one is expected.
BOTH = "both"


def names_of(framework: str) -> tuple[str, ...]:
    """Return the backends that `framework` stands for: itself, or all for "both"."""
    return tuple(BACKENDS) if framework == BOTH else (framework,)


make_safe(load=False)


class Framework(NamedTuple):
    """What is known of a framework before it is loaded."""

    package: str  # of ours
    modules: tuple[str, ...]  # that it needs; the last one is what people import
    title: str  # what people call it
    model: tuple[str, str]  # module and name of the class of its models
    layout: str  # of an image


#: Backend name -> framework. Another one is a folder and a line here.
BACKENDS = {
    "torch": Framework("resnet_torch", ("torch",), "PyTorch", ("torch.nn", "Module"), "C,H,W"),
    "tf": Framework("resnet_tf", ("tensorflow", "keras"), "Keras", ("keras", "Model"), "H,W,C"),
}
#: Where one may ask for a computation to be done.
DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True, kw_only=True)
class ModelRow:
    """One layer of a real model: its name, its class, its output shape for one image in the framework's own order."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    buffers: int


class Printed(NamedTuple):
    """What a framework itself prints of a model."""

    how: str  # that a user writes for it
    text: str
    names: tuple[str, ...] = ()  # the layers of its rows, as its graph calls them, where the rows do not say so
    note: str = ""  # what a reader should know


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What one pass through a model left behind, as NumPy arrays.

    Activations, and the gradients of the loss by them, are (N, C, H, W) in both frameworks, keyed by layer
    name. Gradients of parameters have canonical names and layouts. Without labels there is no loss.
    """

    logits: NDArray[Any]
    loss: float | None = None
    activations: dict[str, NDArray[Any]] = field(default_factory=dict)
    activation_gradients: dict[str, NDArray[Any]] = field(default_factory=dict)
    parameter_gradients: dict[str, NDArray[Any]] = field(default_factory=dict)


class Backend(Protocol):
    """What `resnet_torch` and `resnet_tf` have in common. Inputs of models are in the framework's own layout."""

    TITLE: str

    def create_model(self, name: str | ResNetSpec, *, seed: int | None = None, dtype: str = "float32") -> Any:
        """Build a network."""

    def create_skeleton(self, spec: ResNetSpec) -> Any:
        """Build a network for looking at its layers only, as cheaply as the framework can."""

    def get_weights(self, model: Any) -> Arrays:
        """Return the model's weights as canonical arrays."""

    def set_weights(
        self, model: Any, arrays: Mapping[str, NDArray[Any]], *, strict: bool = True, new_head: bool = False
    ) -> LoadReport:
        """Set the model's weights from canonical arrays."""

    def write_native(self, model: Any, path: str | Path) -> None:
        """Write the framework's own checkpoint format."""

    def layer_rows(self, model: Any, input_size: int) -> list[ModelRow]:
        """Return a row for every layer, with shapes for images of `input_size` pixels."""

    def printout(self, model: Any) -> str:
        """Return what the framework itself prints of a model."""

    def from_nhwc(self, images: NDArray[Any], model: Any) -> NDArray[Any]:
        """Return images (N, H, W, C) in the model's own layout and dtype."""

    def forward(self, model: Any, inputs: NDArray[Any], *, training: bool = False) -> NDArray[Any]:
        """Return the logits (N, num_classes)."""

    def trace(
        self,
        model: Any,
        inputs: NDArray[Any],
        labels: NDArray[Any] | None = None,
        *,
        training: bool | None = False,
        activations: bool = True,
    ) -> Trace:
        """Run one pass, with gradients if there are labels."""

    def train_step(self, model: Any, inputs: NDArray[Any], labels: NDArray[Any], learning_rate: float) -> Trace:
        """Run one step of plain gradient descent in training mode."""

    def fuse(self, model: Any) -> Any:
        """Return a copy for inference, with the BatchNorms folded into the convolutions."""

    def devices(self) -> list[str]:
        """Describe the devices that the framework sees."""

    def on_device(self, device: str) -> AbstractContextManager[None]:
        """Build and compute inside on "cpu", "cuda" or "mps"; "auto" takes a GPU if there is one."""


def load_part(name: str, part: str) -> Any:
    """Import and return a module of a backend's package, like "train"; raises what `load_backend` raises."""
    load_backend(name)  # which says what is wrong if it does not import
    return importlib.import_module(f"{BACKENDS[name].package}.{part}")


class OnDevice:
    """A backend that builds and computes on one device, whichever one the framework would take by itself."""

    def __init__(self, backend: Backend, device: str) -> None:
        self._backend, self._device = backend, device

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._backend, name)
        if not callable(found):
            return found

        @functools.wraps(found)
        def placed(*arguments: Any, **options: Any) -> Any:
            with self._backend.on_device(self._device):
                return found(*arguments, **options)

        return placed


def framework_of(model: Any) -> str | None:
    """Return the name of the backend whose model this is, or None.

    Loads no framework: a model of it cannot exist before it is loaded.
    """
    found = None
    for name, framework in BACKENDS.items():
        module, base = framework.model
        kind = getattr(sys.modules.get(module), base, None)
        if kind is not None and isinstance(model, kind):
            found = name  # the last one: Keras' models are PyTorch's, too, where Keras runs on PyTorch
    return found


def check_framework(model: Any, name: str) -> None:
    """Raise `InputError` unless this is a model of backend `name`."""
    found = framework_of(model)
    if found == name:
        return
    package, title = BACKENDS[name].package, BACKENDS[name].title
    kind = f"{type(model).__module__}.{type(model).__name__}"
    if found is None:
        raise InputError(f"this is no {title} model but a {kind}; {package}.create_model makes one")
    other, other_title = BACKENDS[found].package, BACKENDS[found].title
    raise InputError(
        f"this is a {other_title} model ({kind}), and {package} takes {title} models: use {other} for this one"
    )


def missing_modules(name: str) -> list[str]:
    """Return the modules that backend `name` needs and that are not installed."""
    return [module for module in BACKENDS[name].modules if not is_installed(module)]


def check_installed(*names: str) -> None:
    """Raise `InputError` for an unknown backend, `MissingPackageError` for one whose framework is not installed."""
    if not names:
        raise InputError(f"no framework is named; allowed are {', '.join(BACKENDS)}")
    for name in names:
        if name not in BACKENDS:
            raise InputError(f"unknown framework {name!r}; allowed is one of {', '.join(BACKENDS)}")
        missing = missing_modules(name)
        if missing:
            title = BACKENDS[name].title
            raise MissingPackageError(
                f"{title} is not installed ({', '.join(missing)} missing); {how_to_install(name)}"
            )


def load_backend(name: str, *, device: str | None = None) -> Backend:
    """Import and return a backend: "torch" or "tf"; with `device`, one that does all its work there.

    Raises `InputError` for another name or a device that is not there, and `MissingPackageError` with the command that
    installs the framework if it is absent or broken.
    """
    check_installed(name)
    package, title = BACKENDS[name].package, BACKENDS[name].title
    try:
        check_names(package)
    except ImportError as error:
        raise InputError(str(error)) from error
    try:
        backend = cast(Backend, importlib.import_module(package))
    except InputError:
        raise
    except Exception as error:  # a framework may break in any way while it starts
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        mend = f"install it anew with: {install_command(name, anew=True)}"
        for module in BACKENDS[name].modules:
            if (other := hiding(module)) is not None:
                mend = f"{other} is in the way: it hides the installed {module}; rename it"
        raise MissingPackageError(f"{title} is installed but does not import ({reason}); {mend}") from error
    if device is None:
        return backend
    with backend.on_device(device):  # which says so if it is not there
        return cast(Backend, OnDevice(backend, device))


def check_device(device: str, available: Mapping[str, bool], title: str) -> None:
    """Raise `InputError` unless `device` is one that the framework called `title` has here."""
    if device not in DEVICES:
        raise InputError(f"--device is {device!r}; allowed is one of {', '.join(DEVICES)}")
    if not available.get(device, device == "auto"):
        raise InputError(f"--device is {device!r}, but {title} finds no such device here; use --device auto")
