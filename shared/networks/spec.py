"""What a residual network is, as plain data: a spec that a person writes, resolved into rows that a model builds.

`ResNetSpec` is short and says what makes a network the network it is. `ResNetSpec.stages()` turns it into
`BlockSpec` rows in which nothing is left to decide. Both frameworks build from the same rows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from shared.base.checks import _close, check_bool, check_choice, check_odd, check_real, check_whole
from shared.base.errors import InputError
from shared.base.printable import quoted

#: Block name -> how many output channels the block has for each base channel.
BLOCK_EXPANSION = {
    "PlainBlock": 1,
    "BasicBlock": 1,
    "Bottleneck": 4,
    "PreActBasicBlock": 1,
    "PreActBottleneck": 4,
}
BOTTLENECKS = ("Bottleneck", "PreActBottleneck")
SHORTCUT_OPTIONS = ("A", "B", "C")
#: The deepest network of the catalog, with 1202 layers, has 600 blocks; a stage halves the image.
MOST_BLOCKS, MOST_STAGES = 2000, 12


def _check_sequence(where: str, value: object) -> tuple[int, ...]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise InputError(f"{where} is {quoted(value)}; allowed is a list of whole numbers, one for each stage")
    entries = tuple(itertools.islice(value, 1000))  # what never ends, too, gets an answer
    if not entries:
        raise InputError(f"{where} is empty; allowed is a list of whole numbers, one for each stage")
    for index, entry in enumerate(entries):
        check_whole(f"{where}[{index}]", entry, 1, 100_000)
    return entries


@dataclass(frozen=True, kw_only=True)
class StemSpec:
    """The layers in front of the first stage: one convolution and, on large images, a 3x3 max-pool of stride 2."""

    out_channels: int = 64
    kernel_size: int = 7
    stride: int = 2
    max_pool: bool = True
    bias: bool = False

    def __post_init__(self) -> None:
        check_whole("stem.out_channels", self.out_channels, 1, 100_000)
        check_odd("stem.kernel_size", self.kernel_size)
        check_whole("stem.stride", self.stride, 1, 8)
        check_bool("stem.max_pool", self.max_pool)
        check_bool("stem.bias", self.bias)


@dataclass(frozen=True, kw_only=True)
class NormSpec:
    """One BatchNorm: `eps` under the root, `momentum` by PyTorch's convention, and the initial gamma."""

    eps: float
    momentum: float
    gamma: float = 1.0


@dataclass(frozen=True, kw_only=True)
class ShortcutSpec:
    """One shortcut, resolved. `kind` is "none", "identity", "pad" (option A), "conv" or "conv_norm"."""

    kind: str
    in_channels: int
    out_channels: int
    stride: int
    kernel_size: int
    bias: bool
    norm: NormSpec


@dataclass(frozen=True, kw_only=True)
class BlockSpec:
    """One block, resolved: all that a block's constructor needs, with nothing left to decide.

    `name` is the block's name in `state_dict()` ("layer2.0"). `stride1` and `stride2` are the strides of
    the first and the second convolution; one of them is always 1. `last_norm` is the BatchNorm that ends
    the residual branch. In a pre-activation block `shared_preact` says that the shortcut, too, starts
    behind the block's first BatchNorm and ReLU.
    """

    name: str
    block: str
    in_channels: int
    mid_channels: int
    out_channels: int
    stride1: int
    stride2: int
    bias: bool
    norm: NormSpec
    last_norm: NormSpec
    shortcut: ShortcutSpec
    shared_preact: bool


@dataclass(frozen=True, kw_only=True)
class ResNetSpec:
    """A residual network in one row: what a person writes down to say which network is meant.

    Fields
    ------
    name: the network's name, used as the Keras model's name.
    block: "PlainBlock", "BasicBlock", "Bottleneck", "PreActBasicBlock" or "PreActBottleneck".
    depths: blocks in each stage, for example (3, 4, 6, 3).
    widths: base channels of each stage; a bottleneck puts out four times as many.
    stem: the layers in front of the first stage.
    in_channels: channels of the image, 3 for colour and 1 for grey.
    num_classes: outputs of the last layer.
    input_size: height and width of the images the network is meant for, in pixels.
    shortcut: the paper's option: "A" zero padding, "B" projection where shapes change, "C" projection everywhere.
    shortcut_kernel_size: kernel of the projection, 1 in the paper.
    shortcut_norm: whether a BatchNorm follows the projection.
    stride_in_1x1: the paper's bottleneck (stride in the first 1x1); torchvision's "v1.5" has it in the 3x3.
    conv_bias: whether the convolutions of blocks and shortcuts carry a bias.
    norm_eps: BatchNorm's epsilon.
    norm_momentum: BatchNorm's momentum by PyTorch's convention (Keras' is 1 minus this).
    zero_init_residual: start the last gamma of every block at 0 (Goyal et al. 2017, section 5.1).
    source: where the network comes from.

    Raises
    ------
    InputError (a `ValueError`) naming the field, the value and what is allowed.
    """

    name: str
    block: str
    depths: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem: StemSpec = field(default_factory=StemSpec)
    in_channels: int = 3
    num_classes: int = 1000
    input_size: int = 224
    shortcut: str = "B"
    shortcut_kernel_size: int = 1
    shortcut_norm: bool = True
    stride_in_1x1: bool = False
    conv_bias: bool = False
    norm_eps: float = 1e-5
    norm_momentum: float = 0.1
    zero_init_residual: bool = False
    source: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or "/" in self.name:
            raise InputError(f"name is {quoted(self.name)}; allowed is a text that is not empty and has no '/'")
        check_choice("block", self.block, BLOCK_EXPANSION)
        object.__setattr__(self, "depths", _check_sequence("depths", self.depths))
        object.__setattr__(self, "widths", _check_sequence("widths", self.widths))
        if len(self.depths) != len(self.widths):
            raise InputError(
                f"widths has {len(self.widths)} entries {self.widths} and depths has {len(self.depths)} "
                f"{self.depths}; allowed is one entry in each for every stage"
            )
        if sum(self.depths) > MOST_BLOCKS or len(self.depths) > MOST_STAGES:
            raise InputError(
                f"depths is {self.depths}: {sum(self.depths):,} blocks in {len(self.depths)} stages; allowed are "
                f"{MOST_BLOCKS:,} blocks in {MOST_STAGES} stages"
            )
        if not isinstance(self.stem, StemSpec):
            raise InputError(f"stem is {quoted(self.stem)}; allowed is a StemSpec")
        check_whole("in_channels", self.in_channels, 1, 10_000)
        check_whole("num_classes", self.num_classes, 1, 1_000_000)
        check_choice("shortcut", self.shortcut, SHORTCUT_OPTIONS)
        check_odd("shortcut_kernel_size", self.shortcut_kernel_size)
        for name in ("shortcut_norm", "stride_in_1x1", "conv_bias", "zero_init_residual"):
            check_bool(name, getattr(self, name))
        check_real("norm_eps", self.norm_eps, 0.0, 1.0)
        check_real("norm_momentum", self.norm_momentum, 0.0, 1.0)
        if not isinstance(self.source, str):
            raise InputError(f"source is {quoted(self.source)}; allowed is a text")
        if self.stride_in_1x1 and self.block not in BOTTLENECKS:
            raise InputError(
                f"stride_in_1x1 is True, but a {self.block} has no 1x1 convolution in its main path; "
                f"allowed is False, or block one of {', '.join(BOTTLENECKS)}"
            )
        if self.zero_init_residual and self.block not in ("BasicBlock", "Bottleneck"):
            raise InputError(
                f"zero_init_residual is True, but the residual branch of a {self.block} does not end with a "
                "BatchNorm before an addition; allowed is False, or block BasicBlock or Bottleneck"
            )
        if self.shortcut == "A" and any(
            b < a for a, b in zip(self._out_channels(), self._out_channels()[1:], strict=False)
        ):
            raise InputError(
                f"shortcut is 'A', which pads channels, but the widths {self.widths} (stem "
                f"{self.stem.out_channels}) get narrower somewhere; allowed is 'B' or 'C'"
            )
        self.check_input_size(self.input_size)

    def _out_channels(self) -> list[int]:
        expansion = BLOCK_EXPANSION[self.block]
        return [self.stem.out_channels, *(width * expansion for width in self.widths)]

    @property
    def preact(self) -> bool:
        """Whether BatchNorm and ReLU come before each convolution (He et al. 2016, "Identity Mappings")."""
        return self.block.startswith("PreAct")

    @property
    def last_norm_name(self) -> str:
        """The name, in each block, of the BatchNorm behind its last convolution, or before it in a pre-activation."""
        return "bn3" if self.block in BOTTLENECKS else "bn2"

    @property
    def strides(self) -> tuple[int, ...]:
        """Every place where the image is made smaller, in order: stem, max-pool, then the stages."""
        stage_strides = (1,) + (2,) * (len(self.depths) - 1)
        return (self.stem.stride, 2 if self.stem.max_pool else 1, *stage_strides)

    @property
    def min_input_size(self) -> int:
        """The smallest input in pixels for which every stride still has at least two pixels to step over."""
        strides = [stride for stride in self.strides if stride > 1]
        return math.prod(strides[:-1]) + 1 if strides else 1

    def check_input_size(self, input_size: int) -> None:
        """Raise `InputError` if images of `input_size` pixels are too small for the network's strides."""
        check_whole("input_size", input_size, 1, 16_384)
        if input_size < self.min_input_size:
            raise InputError(
                f"input_size is {input_size}, too small for the strides of {self.name} "
                f"({' x '.join(map(str, self.strides))}); allowed is {self.min_input_size} or more"
            )

    def stages(self) -> tuple[tuple[BlockSpec, ...], ...]:
        """Resolve the spec into block rows, one tuple for each stage."""
        norm = NormSpec(eps=self.norm_eps, momentum=self.norm_momentum)
        last_norm = replace(norm, gamma=0.0) if self.zero_init_residual else norm
        expansion = BLOCK_EXPANSION[self.block]
        in_channels = self.stem.out_channels
        stages = []
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), start=1):
            rows = []
            for index in range(depth):
                stride = 2 if index == 0 and stage > 1 else 1
                stride_first = self.stride_in_1x1 or self.block not in BOTTLENECKS
                shortcut = self._shortcut(in_channels, width * expansion, stride, norm)
                rows.append(
                    BlockSpec(
                        name=f"layer{stage}.{index}",
                        block=self.block,
                        in_channels=in_channels,
                        mid_channels=width,
                        out_channels=width * expansion,
                        stride1=stride if stride_first else 1,
                        stride2=1 if stride_first else stride,
                        bias=self.conv_bias,
                        norm=norm,
                        last_norm=last_norm,
                        shortcut=shortcut,
                        # Identity Mappings, section 3.2 and appendix: the first unit of the network and the
                        # units with a projection activate before the two paths split.
                        shared_preact=self.preact and ((stage == 1 and index == 0) or shortcut.kind.startswith("conv")),
                    )
                )
                in_channels = width * expansion
            stages.append(tuple(rows))
        return tuple(stages)

    def _shortcut(self, in_channels: int, out_channels: int, stride: int, norm: NormSpec) -> ShortcutSpec:
        changes = stride != 1 or in_channels != out_channels
        if self.block == "PlainBlock":
            kind = "none"
        elif self.shortcut == "C" or (changes and self.shortcut == "B"):
            kind = "conv_norm" if self.shortcut_norm else "conv"
        else:
            kind = "pad" if changes else "identity"
        return ShortcutSpec(
            kind=kind,
            in_channels=in_channels,
            out_channels=out_channels,
            stride=stride,
            kernel_size=self.shortcut_kernel_size,
            bias=self.conv_bias,
            norm=norm,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as plain data that JSON can hold; `from_dict` is the way back."""
        plain = asdict(self)
        plain["depths"], plain["widths"] = list(self.depths), list(self.widths)
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> ResNetSpec:
        """Build a spec from `to_dict`'s output; unknown or missing entries raise `InputError`."""
        if not isinstance(plain, Mapping):
            raise InputError(f"a spec is made from a dict, not from a {type(plain).__name__}")
        try:
            return cls._from_values(dict(plain))
        except InputError:
            raise
        except (ArithmeticError, RecursionError, TypeError, ValueError) as error:
            raise InputError(f"a spec with values that cannot be right ({error})") from error

    @classmethod
    def _from_values(cls, values: dict[str, Any]) -> ResNetSpec:
        check_fields(values)
        missing = [name for name in ("name", "block", "depths") if name not in values]
        if missing:
            raise InputError(f"a spec without {', '.join(missing)}; these fields have no default")
        if isinstance(values.get("stem"), Mapping):
            stem = dict(values["stem"])
            unknown = sorted(set(stem) - {entry.name for entry in fields(StemSpec)})
            if unknown:
                raise InputError(f"stem has no field {', '.join(map(repr, unknown))}")
            values["stem"] = StemSpec(**stem)
        return cls(**values)


def check_fields(overrides: Iterable[str]) -> None:
    """Raise `InputError` for the first name that is no field of `ResNetSpec`, with the nearest ones, or all."""
    known = [entry.name for entry in fields(ResNetSpec)]
    for name in overrides:
        if name not in known:
            close = _close(name, known, 3, 0.5)
            hint = f"nearest are {', '.join(close)}" if close else f"the fields are {', '.join(known)}"
            raise InputError(f"ResNetSpec has no field {quoted(name)}; {hint}")
