"""Both twins beside each other: compared, verified, examined, asked about pictures."""

from shared.twins.answers import ask, inputs_of
from shared.twins.comparison import compare, compare_models
from shared.twins.difference import random_images, random_labels, relative
from shared.twins.evaluation import evaluate
from shared.twins.faults import plant_fault
from shared.twins.identification import identify
from shared.twins.microscopy import examine, microscope, plot_microscope
from shared.twins.named import open_model
from shared.twins.pair import see
from shared.twins.parting import find_parting
from shared.twins.porting import port
from shared.twins.prediction import predict
from shared.twins.summaries import summary
from shared.twins.verification import verify

__all__ = [
    "ask",
    "compare",
    "compare_models",
    "evaluate",
    "examine",
    "find_parting",
    "identify",
    "inputs_of",
    "microscope",
    "open_model",
    "plant_fault",
    "plot_microscope",
    "port",
    "predict",
    "random_images",
    "random_labels",
    "relative",
    "see",
    "summary",
    "verify",
]
