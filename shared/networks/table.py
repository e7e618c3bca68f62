"""Every layer of a network with its shape and cost, worked out from the spec alone, with no framework loaded.

This is the third opinion: both real networks are held against it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from shared.base.errors import InputError
from shared.networks.spec import BlockSpec, ResNetSpec, ShortcutSpec

Shape = tuple[int, ...]
#: As many weights, of 4 bytes each, as a network may have: the largest of the catalog has 68 million.
MOST_PARAMETERS = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One layer.

    `input_shape` and `output_shape` are (C, H, W) for one image, or (C,) behind the flattening. `parameters`
    counts what training changes by gradient, `buffers` what BatchNorm keeps beside it (running mean and variance).
    `macs` are multiply-adds for one image, biases and BatchNorm not counted, as in the paper's Table 1.
    `weights` gives the shape of every array of the layer in PyTorch's layout, parameters and buffers.
    """

    name: str
    kind: str
    kernel_size: int | None
    stride: int | None
    padding: int | None
    input_shape: Shape
    output_shape: Shape
    parameters: int
    buffers: int
    macs: int
    weights: dict[str, Shape]

    @property
    def stage(self) -> str:
        """The stage that the layer belongs to: "stem", "layer1", "layer2", ... or "head"."""
        first = self.name.split(".")[0]
        if first.startswith("layer"):
            return first
        return "stem" if first in ("conv1", "bn1", "relu1", "maxpool") else "head"

    @property
    def block(self) -> str:
        """The block that the layer belongs to, "layer2.0", or the stage where there is no block."""
        parts = self.name.split(".")
        return ".".join(parts[:2]) if parts[0].startswith("layer") else self.stage


class _Walk:
    """Walks through a network layer by layer and notes a row for each."""

    def __init__(self, channels: int, size: int) -> None:
        self.rows: list[LayerRow] = []
        self.shape: Shape = (channels, size, size)

    def _add(
        self,
        name: str,
        kind: str,
        shape: Shape,
        *,
        kernel_size: int | None = None,
        stride: int | None = None,
        padding: int | None = None,
        weights: dict[str, Shape] | None = None,
        macs: int = 0,
    ) -> None:
        weights = weights or {}
        running = {key: math.prod(dims) for key, dims in weights.items() if key.startswith("running_")}
        self.rows.append(
            LayerRow(
                name=name,
                kind=kind,
                kernel_size=kernel_size,
                stride=stride,
                padding=padding,
                input_shape=self.shape,
                output_shape=shape,
                parameters=sum(math.prod(dims) for dims in weights.values()) - sum(running.values()),
                buffers=sum(running.values()),
                macs=macs,
                weights=weights,
            )
        )
        self.shape = shape

    def _window(self, channels: int, kernel_size: int, stride: int) -> Shape:
        """Shape behind a window of `kernel_size` with padding kernel_size // 2: (n + 2p - k) // s + 1."""
        height, width = (
            (n + 2 * (kernel_size // 2) - kernel_size) // stride + 1 for n in (self.shape[1], self.shape[2])
        )
        return channels, height, width

    def conv(self, name: str, channels: int, kernel_size: int, stride: int, bias: bool) -> None:
        shape = self._window(channels, kernel_size, stride)
        kernel = (channels, self.shape[0], kernel_size, kernel_size)
        self._add(
            name,
            "conv",
            shape,
            kernel_size=kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            weights={"weight": kernel, "bias": (channels,)} if bias else {"weight": kernel},
            macs=math.prod(kernel) * shape[1] * shape[2],
        )

    def norm(self, name: str) -> None:
        per_channel = (self.shape[0],)
        entries = ("weight", "bias", "running_mean", "running_var")
        self._add(name, "batch_norm", self.shape, weights=dict.fromkeys(entries, per_channel))

    def relu(self, name: str) -> None:
        self._add(name, "relu", self.shape)

    def add(self, name: str) -> None:
        self._add(name, "add", self.shape)

    def max_pool(self, name: str) -> None:
        shape = self._window(self.shape[0], 3, 2)
        self._add(name, "max_pool", shape, kernel_size=3, stride=2, padding=1)

    def shortcut(self, name: str, row: ShortcutSpec, start: Shape) -> None:
        end, self.shape = self.shape, start
        if row.kind == "pad":
            subsampled = self._window(row.in_channels, 1, row.stride)
            self._add(f"{name}.0", "subsample", subsampled, kernel_size=1, stride=row.stride, padding=0)
            self._add(f"{name}.1", "pad_channels", (row.out_channels, *subsampled[1:]))
        elif row.kind in ("conv", "conv_norm"):
            self.conv(f"{name}.0", row.out_channels, row.kernel_size, row.stride, row.bias)
            if row.kind == "conv_norm":
                self.norm(f"{name}.1")
        self.shape = end

    def head(self, num_classes: int) -> None:
        channels = self.shape[0]
        self._add("avgpool", "avg_pool", (channels, 1, 1))
        self._add("flatten", "flatten", (channels,))
        self._add(
            "fc",
            "linear",
            (num_classes,),
            weights={"weight": (num_classes, channels), "bias": (num_classes,)},
            macs=channels * num_classes,
        )


def _convolutions(row: BlockSpec) -> list[tuple[int, int, int]]:
    """(channels, kernel size, stride) of each convolution in the main path of a block."""
    if row.block.endswith("Bottleneck"):
        return [(row.mid_channels, 1, row.stride1), (row.mid_channels, 3, row.stride2), (row.out_channels, 1, 1)]
    return [(row.mid_channels, 3, row.stride1), (row.out_channels, 3, row.stride2)]


def _post_activation_block(walk: _Walk, row: BlockSpec) -> None:
    start = walk.shape
    convolutions = _convolutions(row)
    for number, (channels, kernel_size, stride) in enumerate(convolutions, start=1):
        walk.conv(f"{row.name}.conv{number}", channels, kernel_size, stride, row.bias)
        walk.norm(f"{row.name}.bn{number}")
        if number < len(convolutions):
            walk.relu(f"{row.name}.relu{number}")
    if row.shortcut.kind != "none":
        walk.shortcut(f"{row.name}.downsample", row.shortcut, start)
        walk.add(f"{row.name}.add")
    walk.relu(f"{row.name}.relu{len(convolutions)}")


def _pre_activation_block(walk: _Walk, row: BlockSpec) -> None:
    start = walk.shape
    for number, (channels, kernel_size, stride) in enumerate(_convolutions(row), start=1):
        walk.norm(f"{row.name}.bn{number}")
        walk.relu(f"{row.name}.relu{number}")
        walk.conv(f"{row.name}.conv{number}", channels, kernel_size, stride, row.bias)
    walk.shortcut(f"{row.name}.downsample", row.shortcut, start)
    walk.add(f"{row.name}.add")


def layer_table(spec: ResNetSpec, input_size: int | None = None) -> tuple[LayerRow, ...]:
    """Return a row for every layer of `spec`, in the order of computation, for one image.

    `input_size` is the image's height and width in pixels, the spec's own by default. Raises `InputError`
    if the image is too small for the network's strides.
    """
    if not isinstance(spec, ResNetSpec):
        raise InputError(f"a ResNetSpec is wanted, as get_spec returns, not {spec!r}")
    size = spec.input_size if input_size is None else input_size
    spec.check_input_size(size)
    return rows_at(spec, size)


def rows_at(spec: ResNetSpec, size: int) -> tuple[LayerRow, ...]:
    """Return the rows of `layer_table` for images of any size, also where they are too small to be of use."""
    walk = _Walk(spec.in_channels, size)
    stem = spec.stem
    walk.conv("conv1", stem.out_channels, stem.kernel_size, stem.stride, stem.bias)
    if not spec.preact:
        walk.norm("bn1")
        walk.relu("relu1")
    if stem.max_pool:
        walk.max_pool("maxpool")
    add_block = _pre_activation_block if spec.preact else _post_activation_block
    for rows in spec.stages():
        for row in rows:
            add_block(walk, row)
    if spec.preact:
        walk.norm("bn_last")
        walk.relu("relu_last")
    walk.head(spec.num_classes)
    return tuple(walk.rows)


def weight_shapes(spec: ResNetSpec) -> dict[str, Shape]:
    """Return name -> shape of every array of the network, in PyTorch's layout and `state_dict()` order."""
    return {f"{row.name}.{key}": shape for row in layer_table(spec) for key, shape in row.weights.items()}


def count_parameters(spec: ResNetSpec) -> int:
    """Return how many numbers training changes by gradient: what PyTorch prints as parameters."""
    return sum(row.parameters for row in layer_table(spec))


def count_buffers(spec: ResNetSpec) -> int:
    """Return how many running means and variances BatchNorm keeps: Keras' "non-trainable params"."""
    return sum(row.buffers for row in layer_table(spec))


def activation_numbers(spec: ResNetSpec, input_size: int | None = None) -> int:
    """Return how many numbers the outputs of all layers are, for one image."""
    return sum(math.prod(row.output_shape) for row in layer_table(spec, input_size))


def check_buildable(spec: ResNetSpec) -> None:
    """Raise `InputError` for a network that is too large to be meant, before memory is asked for."""
    parameters = count_parameters(spec)
    if parameters > MOST_PARAMETERS:
        raise InputError(
            f"{spec.name} would have {parameters:,} parameters, {4 * parameters / 1e9:,.0f} GB; allowed are "
            f"{MOST_PARAMETERS:,}: make widths, depths or num_classes smaller"
        )


def count_macs(spec: ResNetSpec, input_size: int | None = None) -> int:
    """Return the multiply-adds of one forward pass of one image."""
    return sum(row.macs for row in layer_table(spec, input_size))
