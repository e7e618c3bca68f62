"""Training runs: recipes, batches, a run's folder, its state, its curves."""

from shared.training.batches import Batches
from shared.training.curves import plot_confusion, plot_curves
from shared.training.metrics import COLUMNS, read_metrics
from shared.training.prepare import Result
from shared.training.recipe import Recipe, read_recipe
from shared.training.recipes import RECIPES, get_recipe
from shared.training.run import Reporter, Run
from shared.training.settings import Settings
from shared.training.start import open_runs, resume, train

__all__ = [
    "COLUMNS",
    "RECIPES",
    "Batches",
    "Recipe",
    "Reporter",
    "Result",
    "Run",
    "Settings",
    "get_recipe",
    "open_runs",
    "plot_confusion",
    "plot_curves",
    "read_metrics",
    "read_recipe",
    "resume",
    "train",
]
