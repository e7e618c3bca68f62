"""The zoo: networks that two people wrote who know nothing of each other, one in PyTorch and one in Keras."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Pair:
    """Where the two are written, and the number of pixels of their images."""

    file: str
    torch: str
    keras: str
    size: int = 32

    def build_torch(self) -> Any:
        """Return the model in PyTorch, with the weights that it begins with."""
        return self._find(self.torch)()

    def build_keras(self) -> Any:
        """Return the model in Keras, with the weights that it begins with."""
        return self._find(self.keras)()

    def _find(self, name: str) -> Callable[[], Any]:
        found: Callable[[], Any] = getattr(import_module(f"{__name__}.{self.file}"), name)
        return found


ZOO = {
    "resnet": Pair("residual", "ResNet", "build_resnet"),
    "bottleneck": Pair("residual", "ResNeckNet", "neck_network"),
    "resnext": Pair("residual", "ResNeXtNet", "next_network"),
    "preact": Pair("residual", "PreNet", "preact_model"),
    "vgg": Pair("classic", "VGG", "vgg"),
    "mlp": Pair("classic", "perceptron", "mlp", size=12),
    "inception": Pair("classic", "Inception", "inception", size=46),
    "densenet": Pair("classic", "DenseNet", "densenet"),
    "mobilenet": Pair("mobile", "MobileNetV2", "mobilenet"),
    "efficientnet": Pair("mobile", "EfficientNet", "efficientnet"),
    "unet": Pair("modern", "UNet", "unet"),
    "convnext": Pair("modern", "ConvNeXt", "convnext"),
    "vit": Pair("modern", "VisionTransformer", "vision_transformer"),
}
