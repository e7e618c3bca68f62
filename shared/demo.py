"""The one-minute tour: the table, five depths in both frameworks, one network side by side, and real predictions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import as_file, files

import numpy as np
from numpy.typing import NDArray

from shared.backends import BACKENDS, load_backend
from shared.compare import Comparison, compare
from shared.foreign import read_weights

DEPTHS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
DEMO_NETWORK = "resnet8_digits"
SHADES = " ░▒▓█"


@dataclass(frozen=True, kw_only=True)
class Digits:
    """Held-out digits with the logits of both twins."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    logits: dict[str, NDArray[np.float32]]

    def correct(self, framework: str) -> int:
        """Return how many digits the framework's twin got right."""
        return int((self.logits[framework].argmax(1) == self.labels).sum())

    @property
    def differing(self) -> int:
        """How many predictions differ between the twins."""
        torch, keras = (self.logits[name].argmax(1) for name in BACKENDS)
        return int((torch != keras).sum())

    @property
    def largest_difference(self) -> float:
        """The largest difference between two logits of the twins."""
        torch, keras = (self.logits[name] for name in BACKENDS)
        return float(np.abs(torch - keras).max())


def compare_depths() -> Iterator[Comparison]:
    """Build each of the five depths in both frameworks and yield the comparison."""
    for name in DEPTHS:
        yield compare(name, by="stage")


def read_digits() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the 360 held-out digits of scikit-learn's data set: images (N, 8, 8) with values 0 to 16, and labels."""
    with as_file(files("shared") / "assets" / "digits_test.npy") as path:
        table = np.load(path, allow_pickle=False)
    return table[:, :64].reshape(-1, 8, 8), table[:, 64]


def prepare_digits(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return images (N, 8, 8) of values 0 to 16 as the network wants them: (N, 8, 8, 1), values -1 to 1."""
    pixels = images.astype(np.float32)[..., None]
    return pixels / np.float32(8) - np.float32(1)


def classify_digits() -> Digits:
    """Load the weights that ship with the package into both twins and classify the held-out digits."""
    images, labels = read_digits()
    with as_file(files("shared") / "assets" / f"{DEMO_NETWORK}.safetensors") as path:
        arrays = read_weights(path).arrays
    logits = {}
    for name in BACKENDS:
        backend = load_backend(name)
        model = backend.create_model(DEMO_NETWORK)
        backend.set_weights(model, arrays)
        logits[name] = backend.forward(model, backend.from_nhwc(prepare_digits(images), model))
    return Digits(images=images, labels=labels, logits=logits)


def draw_digit(image: NDArray[np.uint8]) -> list[str]:
    """Return an image (8, 8) of values 0 to 16 as eight lines of shaded characters."""
    return ["".join(SHADES[round(int(value) / 4)] * 2 for value in row) for row in image]
