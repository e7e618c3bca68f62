"""Runs the command: `python -m shared` does what `resnet-twins` does."""

from shared.cli.main import main

main()
