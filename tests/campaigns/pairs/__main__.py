"""`python -m tests.campaigns.pairs`: loads both frameworks in their order, and runs the command."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from shared.backends import BACKENDS, load_backend

if __name__ == "__main__":
    for name in BACKENDS:
        load_backend(name)
    from tests.campaigns.pairs.command import main

    raise SystemExit(main())
