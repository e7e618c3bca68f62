"""One process of a run, for `test_processes.py`; alone or the chief, it writes the losses in full precision.

python tests/distributed/run_together.py FRAMEWORK FOLDER LOSSES.json field=value ...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from shared.distributed import start as together
from shared.distributed.place import place_of
from shared.training import start as alone
from shared.training.recipes import get_recipe
from shared.training.settings import Settings

if __name__ == "__main__":
    framework, folder, losses, *changes = sys.argv[1:]
    settings = Settings(device="cpu", threads=1)
    start = alone if place_of(framework) is None else together
    result = start.train(get_recipe("quick", changes), framework=framework, output=folder, settings=settings)
    run = result.runs[framework]
    if run.chief:
        Path(losses).write_text(json.dumps([row["train_loss"] for row in run.rows]))
