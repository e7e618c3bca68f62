"""Errors, checks, words, files, locks, versions, the machine, figures: knows nothing of networks."""
