"""Holds the spelling of terms: the field has one word for each, and this project uses that one.

python tools/check_names.py [FILE ...]    # without names, all texts and programs that git knows
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: What is not written -> what is.
WORDS = {
    "see-through": "transparent",
    "conv_shortcut": "shortcut",
    "ResidualBlock": "BasicBlock",
    "stack size": "depth",
    "learnrate": "learning rate",
    "learning-rate": "learning rate",
    "hyper-parameter": "hyperparameter",
    "check-point": "checkpoint",
    "note-book": "notebook",
    "skip-connection": "shortcut",
    "batch-norm": "BatchNorm",
    "Batchnorm": "BatchNorm",
    "Pytorch": "PyTorch",
    "Tensorflow": "TensorFlow",
    "Numpy": "NumPy",
    "Resnet": "ResNet",
}
#: Where others chose the word: their names, files that show what is wrong, and this one.
EXCEPT = ("tools/check_names.py", "tutorials/", "tests/", "CHANGELOG.md")


def problems(path: Path) -> list[str]:
    """Return a line for each word in the file that is spelt otherwise."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        for wrong, right in WORDS.items():
            if re.search(rf"(?<![\w-]){re.escape(wrong)}(?![\w-])", line):
                found.append(f"{path}:{number}: {wrong!r} is written {right!r} here")
    return found


def main(names: list[str]) -> int:
    """Print all problems; return the exit code."""
    if not names:
        command = ["git", "ls-files", "*.py", "*.md"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        names = listed.stdout.split("\n")[:-1]
    chosen = [name for name in names if not name.startswith(EXCEPT)]
    found = [problem for name in chosen for problem in problems(ROOT / name)]
    print("\n".join(found) if found else f"{len(chosen)} files use the field's words")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
