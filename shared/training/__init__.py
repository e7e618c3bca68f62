"""Training runs: recipes, batches, a run's folder, its state, its curves."""
