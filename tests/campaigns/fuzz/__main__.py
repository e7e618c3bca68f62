"""`python -m tests.campaigns.fuzz`: sets the environment before NumPy is imported, and runs the command."""

import os

from tests.campaigns.fuzz import ENVIRONMENT

os.environ |= ENVIRONMENT

from tests.campaigns.fuzz.command import main

if __name__ == "__main__":
    raise SystemExit(main())
