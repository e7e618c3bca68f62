"""Networks as plain data: specs, the catalog, the layer table, canonical weights. Knows no framework."""

from shared.networks.canonical import Arrays, recognise
from shared.networks.catalog import SPECS, get_spec
from shared.networks.diagrams import plot_block, plot_stages
from shared.networks.initial import initial_weights, lively_weights
from shared.networks.spec import ResNetSpec, StemSpec
from shared.networks.table import LayerRow, count_buffers, count_macs, count_parameters, layer_table, weight_shapes

__all__ = [
    "SPECS",
    "Arrays",
    "LayerRow",
    "ResNetSpec",
    "StemSpec",
    "count_buffers",
    "count_macs",
    "count_parameters",
    "get_spec",
    "initial_weights",
    "layer_table",
    "lively_weights",
    "plot_block",
    "plot_stages",
    "recognise",
    "weight_shapes",
]
