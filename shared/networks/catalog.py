"""The layer-spec table: every network that this package knows, one row each. To add a network, add a row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from shared.base.checks import nearest
from shared.base.errors import InputError
from shared.base.printable import quoted
from shared.networks.spec import ResNetSpec, StemSpec, check_fields

#: The five networks of the paper's Table 1.
PAPER_DEPTHS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")

#: Deep Residual Learning for Image Recognition, and Identity Mappings in Deep Residual Networks.
HE2015 = "He et al. 2015, arXiv:1512.03385"
HE2016 = "He et al. 2016, arXiv:1603.05027"

#: The rows of the paper's Table 1: number -> (block, blocks in each stage).
IMAGENET = {
    18: ("BasicBlock", (2, 2, 2, 2)),
    34: ("BasicBlock", (3, 4, 6, 3)),
    50: ("Bottleneck", (3, 4, 6, 3)),
    101: ("Bottleneck", (3, 4, 23, 3)),
    152: ("Bottleneck", (3, 8, 36, 3)),
}
#: The paper's section 4.2: depth = 6n + 2.
CIFAR = {20: 3, 32: 5, 44: 7, 56: 9, 110: 18, 1202: 200}

CIFAR_STEM = StemSpec(out_channels=16, kernel_size=3, stride=1, max_pool=False)
CIFAR_LIKE: dict[str, Any] = {
    "widths": (16, 32, 64),
    "stem": CIFAR_STEM,
    "num_classes": 10,
    "input_size": 32,
}


def _rows() -> list[ResNetSpec]:
    rows = []

    for number, (block, depths) in IMAGENET.items():
        where = "the stride in the 3x3" if block == "Bottleneck" else "option B"
        rows.append(
            ResNetSpec(
                name=f"resnet{number}",
                block=block,
                depths=depths,
                source=f"{HE2015}, Table 1; as torchvision builds it, {where}",
            )
        )
    for number in (50, 101, 152):
        block, depths = IMAGENET[number]
        rows.append(
            ResNetSpec(
                name=f"resnet{number}_v1",
                block=block,
                depths=depths,
                stride_in_1x1=True,
                source=f"{HE2015}, Table 1; the stride in the first 1x1, as in the authors' own models",
            )
        )
    for number in (50, 101, 152):
        block, depths = IMAGENET[number]
        rows.append(
            ResNetSpec(
                name=f"resnet{number}_keras",
                block=block,
                depths=depths,
                stem=StemSpec(bias=True),
                stride_in_1x1=True,
                conv_bias=True,
                norm_eps=1.001e-5,
                norm_momentum=0.01,
                source=f"keras.applications ResNet{number}: biased convolutions, stride in the first 1x1",
            )
        )
    for number, depth in CIFAR.items():
        rows.append(
            ResNetSpec(
                name=f"resnet{number}_cifar",
                block="BasicBlock",
                depths=(depth,) * 3,
                shortcut="A",
                source=f"{HE2015}, section 4.2, option A",
                **CIFAR_LIKE,
            )
        )
    for number in (18, 34):
        rows.append(
            ResNetSpec(
                name=f"plain{number}",
                block="PlainBlock",
                depths=IMAGENET[number][1],
                source=f"{HE2015}, section 3.3: ResNet-{number} without shortcuts",
            )
        )
    for number, depth in CIFAR.items():
        rows.append(
            ResNetSpec(
                name=f"plain{number}_cifar",
                block="PlainBlock",
                depths=(depth,) * 3,
                source=f"{HE2015}, section 4.2: ResNet-{number} without shortcuts"
                + (" (not trained in the paper)" if number == 1202 else ""),
                **CIFAR_LIKE,
            )
        )
    for number, (block, depths) in IMAGENET.items():
        rows.append(
            ResNetSpec(
                name=f"preact_resnet{number}",
                block=f"PreAct{block}",
                depths=depths,
                shortcut_norm=False,
                source=f"{HE2016}, section 3 and appendix, on the depths of ResNet-{number}",
            )
        )
    rows.append(
        ResNetSpec(
            name="preact_resnet110_cifar",
            block="PreActBasicBlock",
            depths=(18, 18, 18),
            shortcut="A",
            shortcut_norm=False,
            source=f"{HE2016}, Table 2 (full pre-activation), option A",
            **CIFAR_LIKE,
        )
    )
    rows.append(
        ResNetSpec(
            name="preact_resnet164_cifar",
            block="PreActBottleneck",
            depths=(18, 18, 18),
            shortcut_norm=False,
            source=f"{HE2016}, Table 2 and appendix, bottleneck",
            **CIFAR_LIKE,
        )
    )
    rows.append(
        ResNetSpec(
            name="resnet18_d2l",
            block="BasicBlock",
            depths=(2, 2, 2, 2),
            stem=StemSpec(bias=True),
            in_channels=1,
            num_classes=10,
            input_size=96,
            shortcut_norm=False,
            conv_bias=True,
            source="Dive into Deep Learning, section 8.6, on Fashion-MNIST at 96x96",
        )
    )
    rows.append(
        ResNetSpec(
            name="resnet18_biased",
            block="BasicBlock",
            depths=(2, 2, 2, 2),
            conv_bias=True,
            source="blog posts that leave the convolutions' default bias=True in blocks and shortcuts",
        )
    )
    rows.append(
        ResNetSpec(
            name="resnet14_cifar_conv3x3",
            block="BasicBlock",
            depths=(2, 2, 2),
            shortcut_kernel_size=3,
            source="a widespread CIFAR-10 tutorial: 3x3 projections with BatchNorm",
            **CIFAR_LIKE,
        )
    )
    rows.append(
        ResNetSpec(
            name="resnet8_digits",
            block="BasicBlock",
            depths=(1, 1, 1),
            widths=(16, 32, 64),
            stem=CIFAR_STEM,
            in_channels=1,
            num_classes=10,
            input_size=8,
            source="this package: the paper's section 4.2 with n = 1, for scikit-learn's 8x8 digits",
        )
    )
    return rows


#: Name -> spec, in the order in which `resnet-twins models` lists them.
SPECS: dict[str, ResNetSpec] = {row.name: row for row in _rows()}


def get_spec(name: str | ResNetSpec, **overrides: Any) -> ResNetSpec:
    """Return the spec called `name`, or the given spec, with `overrides` put in place of its fields.

    Example: `get_spec("resnet18", num_classes=10, input_size=64)`.

    Raises `InputError` (a `ValueError`) for an unknown name or field, with the nearest ones, and for a
    value that is not allowed.
    """
    if isinstance(name, ResNetSpec):
        spec = name
    elif isinstance(name, str) and name in SPECS:
        spec = SPECS[name]
    elif not isinstance(name, str):
        raise InputError(f"a network is given by its name or a ResNetSpec, not by a {type(name).__name__}")
    else:
        close = ", ".join(nearest(name, SPECS))
        raise InputError(f"unknown network {quoted(name)}; nearest are {close} (`resnet-twins models` lists all)")
    check_fields(overrides)
    return replace(spec, **overrides)
