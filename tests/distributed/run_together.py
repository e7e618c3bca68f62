"""One process of a run, for `test_processes.py`; alone or the chief, it writes the losses in full precision.

python tests/distributed/run_together.py FRAMEWORK FOLDER LOSSES.json field=value ...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from shared.distributed.place import place_of
from shared.training.recipes import get_recipe
from shared.training.settings import Settings
from shared.training.start import train

if __name__ == "__main__":
    framework, folder, losses, *changes = sys.argv[1:]
    settings = Settings(device="cpu", threads=1)
    result = train(
        get_recipe("quick", changes),
        framework=framework,
        output=folder,
        settings=settings,
        distributed=place_of(framework) is not None,
    )
    run = result.runs[framework]
    if run.chief:
        Path(losses).write_text(json.dumps([row["train_loss"] for row in run.rows]))
