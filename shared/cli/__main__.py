"""Runs the command: `python -m shared.cli` does what `resnet-twins` does."""

from shared.cli.main import main

main()
