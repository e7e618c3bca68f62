"""All faults for one framework."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterable

from rich.console import Console

from shared.backends import BACKENDS
from shared.base.errors import TrainingError, WeightsError
from tests.campaigns.faults.disks import full_disk, small_disk
from tests.campaigns.faults.files import damage, delete
from tests.campaigns.faults.folders import closed_folder, two_in_one, vanished_folder
from tests.campaigns.faults.kills import kill
from tests.campaigns.faults.runs import Failed, Runs

FAULTS: dict[str, Callable[[Runs], None]] = {
    "kill": kill,
    "full_disk": full_disk,
    "small_disk": small_disk,
    "closed_folder": closed_folder,
    "vanished_folder": vanished_folder,
    "two_in_one": two_in_one,
    "damage": damage,
    "delete": delete,
}


def run(runs: Runs, console: Console, only: Iterable[str]) -> bool:
    """Do the faults in `only`; return whether all went as promised."""
    good = True
    for step in (Runs.make_reference, *(FAULTS[name] for name in only)):
        begun = time.monotonic()
        try:
            step(runs)
        except (Failed, TrainingError, WeightsError, OSError, subprocess.SubprocessError) as error:
            good = False
            runs.note(step.__name__, FAILED=str(error))
            if step == Runs.make_reference:
                break
        console.print(f"{BACKENDS[runs.framework].title}: {step.__name__}, {time.monotonic() - begun:.0f} s")
    return good
