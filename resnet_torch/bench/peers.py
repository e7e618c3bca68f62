"""What people use instead of our PyTorch twin, to measure against: networks and loops as most tutorials write them.

Nothing here is part of the course. The networks are the usual NCHW ones with ReLU in place and blocks that decide for
themselves; the loop has a `DataLoader`, two worker processes and transforms for one image at a time.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from shared.base.errors import MissingPackageError
from shared.base.versions import install_command
from shared.bench.images import read_images
from shared.bench.races import TORCHVISION, Job

WORKERS = 2
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


class PadShortcut(nn.Module):
    """Option A of the paper: every second pixel, and zeros for the new channels."""

    def __init__(self, extra: int) -> None:
        super().__init__()
        self.extra = extra

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C + extra, H/2, W/2)."""
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra // 2, self.extra // 2))


class UsualBlock(nn.Module):
    """The basic block as it stands in most tutorials; that for CIFAR has option A."""

    pads = False

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != channels:
            if self.pads:
                self.shortcut = nn.Sequential(PadShortcut(channels - in_channels))
            else:
                projection = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
                self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H/s, W/s)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out)


class CifarBlock(UsualBlock):
    """The basic block of the networks for CIFAR."""

    pads = True


class D2LBlock(nn.Module):
    """The residual block of Dive into Deep Learning 8.6: convolutions with a bias, a bare 1x1 one beside them."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(in_channels, channels, 1, stride) if stride != 1 or in_channels != channels else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H/s, W/s)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.conv3 is not None:
            x = self.conv3(x)
        out += x
        return F.relu(out)


class UsualBottleneck(nn.Module):
    """The bottleneck as it stands in most tutorials, the stride in the 3x3 convolution."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != 4 * channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, 4 * channels, 1, stride, bias=False), nn.BatchNorm2d(4 * channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, 4 C', H/s, W/s)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += self.shortcut(x)
        return F.relu(out)


Block = type[UsualBlock | D2LBlock | UsualBottleneck]


class UsualResNet(nn.Module):
    """A ResNet in the usual form; one for CIFAR begins with a 3x3 convolution."""

    def __init__(
        self,
        block: Block,
        depths: tuple[int, ...],
        widths: tuple[int, ...],
        *,
        in_channels: int,
        num_classes: int,
    ) -> None:
        super().__init__()
        first, expansion = widths[0], 4 if block is UsualBottleneck else 1
        small = block is CifarBlock
        kernel_size, stride = (3, 1) if small else (7, 2)
        conv = nn.Conv2d(in_channels, first, kernel_size, stride, kernel_size // 2, bias=block is D2LBlock)
        stem = [conv, nn.BatchNorm2d(first), nn.ReLU(inplace=True)]
        if not small:
            stem.append(nn.MaxPool2d(3, 2, 1))
        layers: list[nn.Module] = []
        channels = first
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            for index in range(depth):
                layers.append(block(channels, width, 2 if stage and not index else 1))
                channels = width * expansion
        self.features = nn.Sequential(*stem, *layers)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, num_classes)."""
        out = self.features(x)
        out = F.adaptive_avg_pool2d(out, 1)
        return self.fc(torch.flatten(out, 1))


#: Our network -> (block, depths, widths) of its usual form.
USUAL: dict[str, tuple[Block, tuple[int, ...], tuple[int, ...]]] = {
    "resnet20_cifar": (CifarBlock, (3, 3, 3), (16, 32, 64)),
    "resnet18_d2l": (D2LBlock, (2, 2, 2, 2), (64, 128, 256, 512)),
    "resnet18": (UsualBlock, (2, 2, 2, 2), (64, 128, 256, 512)),
    "resnet50": (UsualBottleneck, (3, 4, 6, 3), (64, 128, 256, 512)),
}


def build(job: Job) -> nn.Module:
    """Return the peer's network: torchvision's where that is asked for and can be imported, else the usual one."""
    if job.who == TORCHVISION and (models := torchvision("models")) is not None:
        model: nn.Module = getattr(models, job.model)(num_classes=job.num_classes)
        return model
    block, depths, widths = USUAL[job.model]
    return UsualResNet(block, depths, widths, in_channels=job.in_channels, num_classes=job.num_classes)


#: Two compiled operators that PyPI's torchvision misses beside a CPU build of PyTorch; named, it can be imported.
MISSING = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
LIBRARIES: list[torch.library.Library] = []  # what an object of this kind defines is gone with it


def torchvision(part: str) -> Any:
    """Return a part of torchvision, or None where it is missing or does not fit this PyTorch."""
    try:
        return importlib.import_module(f"torchvision.{part}")
    except ImportError:
        return None
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            return None
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
    LIBRARIES.append(torch.library.Library("torchvision", "DEF"))
    for signature in MISSING:
        LIBRARIES[-1].define(signature)
    try:
        return importlib.import_module(f"torchvision.{part}")
    except Exception:  # it is a guest: whatever is wrong with it, the race goes on without it
        return None


class Pictures(Dataset[tuple[Tensor, int]]):
    """A data set of Pillow images with a transform for each, as torchvision's are."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Any) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index].squeeze())), int(self.labels[index])


def usual_loop(job: Job) -> Iterator[int]:
    """The usual training loop, one batch at a time; with "data" only its reading of the images."""
    transforms = torchvision("transforms")
    if transforms is None:
        raise MissingPackageError(
            "the usual loop needs torchvision, which cannot be imported here; install it with: "
            f"{install_command('bench')}"
        )
    if job.model == "resnet20_cifar":
        steps = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
        steps.append(transforms.Normalize(CIFAR_MEAN, CIFAR_STD))
    else:
        steps = [transforms.Resize(job.image_size), transforms.ToTensor()]
    data = read_images(job.images).train
    pictures = Pictures(data.images, data.labels, transforms.Compose(steps))
    loader = DataLoader(pictures, job.batch_size, shuffle=True, num_workers=WORKERS, drop_last=True)
    model = build(job).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
    while True:
        for images, labels in loader:
            if job.what == "epoch":
                optimizer.zero_grad()
                loss = F.cross_entropy(model(images), labels)
                loss.backward()
                optimizer.step()
                loss.item()
            yield job.batch_size
