"""Why the totals that people see for a network differ from one another, worked out in numbers."""

from __future__ import annotations

from dataclasses import replace

from shared.networks.spec import ResNetSpec
from shared.networks.table import count_buffers, count_macs, count_parameters, layer_table


def count_reasons(spec: ResNetSpec) -> list[str]:
    """Explain, in numbers, why totals that people see elsewhere for this network differ from one another."""
    parameters, buffers = count_parameters(spec), count_buffers(spec)
    table = layer_table(spec)
    norms = sum(row.kind == "batch_norm" for row in table)
    head = next(row for row in table if row.kind == "linear")
    reasons = [
        f"{parameters:,} is what training changes: PyTorch's parameters, Keras' \"Trainable params\".",
        f'{parameters + buffers:,} is Keras\' "Total params": it adds the moving mean and variance of every '
        f"BatchNorm, {buffers:,} numbers that it calls non-trainable and PyTorch calls buffers.",
        f"{parameters + buffers + norms:,} numbers lie in PyTorch's state_dict: it also holds a counter, "
        f"num_batches_tracked, for each of the {norms} BatchNorms.",
    ]
    if spec.conv_bias:
        plain = count_parameters(replace(spec, conv_bias=False, stem=replace(spec.stem, bias=False)))
        reasons.append(
            f"{plain:,} without biases in the convolutions: the {parameters - plain:,} biases do nothing that the "
            "BatchNorm behind them does not undo."
        )
    else:
        biased = replace(spec, conv_bias=True, stem=replace(spec.stem, bias=True))
        plain = count_parameters(biased)
        where = ", as keras.applications and many blog posts have it" if spec.block == "Bottleneck" else ""
        reasons.append(
            f"{plain:,} with a bias in every convolution{where} ({plain - parameters:,} more; Keras' total is then "
            f"{plain + buffers:,})."
        )
    reasons.append(
        f"{parameters - head.parameters:,} without the last layer (include_top=False): it has {head.parameters:,} for "
        f"{spec.num_classes:,} classes, and " + _other_classes(spec)
    )
    if spec.block == "Bottleneck":
        other = replace(spec, stride_in_1x1=not spec.stride_in_1x1)
        here, there = ("the first 1x1", "the 3x3") if spec.stride_in_1x1 else ("the 3x3", "the first 1x1")
        reasons.append(
            f"{count_macs(spec) / 1e9:.2f} x 10^9 multiply-adds at {spec.input_size} pixels with the stride in {here}, "
            f"{count_macs(other) / 1e9:.2f} x 10^9 with the stride in {there} (paper: first 1x1, torchvision: 3x3); "
            "the parameters are the same."
        )
    return reasons


def _other_classes(spec: ResNetSpec) -> str:
    classes = 10 if spec.num_classes != 10 else 100
    return f"with {classes} classes the network has {count_parameters(replace(spec, num_classes=classes)):,}."
