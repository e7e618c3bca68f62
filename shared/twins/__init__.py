"""Both twins beside each other: compared, verified, examined, asked about pictures."""

from shared.twins.answers import ask, inputs_of
from shared.twins.comparison import compare, compare_models
from shared.twins.difference import random_images, random_labels, relative
from shared.twins.evaluation import evaluate
from shared.twins.faults import plant_fault
from shared.twins.microscopy import examine, microscope, plot_microscope
from shared.twins.prediction import predict
from shared.twins.verification import verify

__all__ = [
    "ask",
    "compare",
    "compare_models",
    "evaluate",
    "examine",
    "inputs_of",
    "microscope",
    "plant_fault",
    "plot_microscope",
    "predict",
    "random_images",
    "random_labels",
    "relative",
    "verify",
]
