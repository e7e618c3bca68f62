"""The two model files are line-by-line twins: a student who compares them sees only what really differs."""

from __future__ import annotations

import difflib
import re

import pytest

from tests.conftest import ROOT

#: Everything that is merely how the two frameworks spell the same thing: (PyTorch's spelling, Keras').
SUBSTITUTIONS = [
    (r"resnet_torch", "resnet_tf"),
    (r"from torch import Tensor, nn", "from keras import KerasTensor"),
    (r"\(nn\.Module\)", ""),
    (r"nn\.Sequential", "Sequential"),
    (r"\bTensor\b", "KerasTensor"),
    (r"def forward\(", "def __call__("),
    (r"\(N, ([^,()]+), ([^,()]+), ([^,()]+)\)", r"(N, \2, \3, \1)"),  # NCHW -> NHWC in comments
]
#: A Keras layer is told its name, a PyTorch module learns it from the attribute it is assigned to.
KERAS_NAME = r"(, )?name=f?\"[^\"]*\""


def lines(package: str, file: str) -> list[str]:
    text = (ROOT / package / file).read_text()
    return [line for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("file", ["resnet.py", "preact.py"])
def test_at_least_90_of_100_lines_are_identical_after_mechanical_substitutions(file):
    torch_lines = lines("resnet_torch", file)
    for pattern, replacement in SUBSTITUTIONS:
        torch_lines = [re.sub(pattern, replacement, line) for line in torch_lines]
    keras_lines = [re.sub(KERAS_NAME, "", line) for line in lines("resnet_tf", file)]
    same = sum(
        block.size
        for block in difflib.SequenceMatcher(a=torch_lines, b=keras_lines, autojunk=False).get_matching_blocks()
    )
    share = same / max(len(torch_lines), len(keras_lines))
    assert share >= 0.90, f"only {share:.1%} of {file} is the same in both packages"


@pytest.mark.parametrize("package", ["resnet_torch", "resnet_tf"])
@pytest.mark.parametrize("file", ["resnet.py", "preact.py"])
def test_a_model_file_can_be_read_in_one_sitting(package, file):
    assert len((ROOT / package / file).read_text().splitlines()) < 200


@pytest.mark.parametrize("package", ["resnet_torch", "resnet_tf"])
@pytest.mark.parametrize("file", ["resnet.py", "preact.py"])
def test_model_code_decides_nothing_about_variants(package, file):
    """The rows are resolved before a model is built: no `if` statement is left in a model file."""
    assert not [line for line in lines(package, file) if re.match(r"\s*(el)?if ", line)]


def test_both_packages_have_the_same_files_and_public_names(torch_twin, keras_twin):
    files = [{path.name for path in (ROOT / package).glob("*.py")} for package in ("resnet_torch", "resnet_tf")]
    # How a model is read into a graph is each framework's own; `graph.py` has the same public functions.
    files = [{name for name in each if not name.startswith("graph_")} for each in files]
    # Keras chatters when it starts, and its optimisers have formulas of their own.
    assert files[1] - files[0] == {"quiet.py", "optimizers.py"}
    assert files[0] <= files[1]
    # PyTorch checkpoints are read by PyTorch; Keras' are plain HDF5 tables that need no Keras.
    assert set(torch_twin.__all__) == set(keras_twin.__all__)


def test_all_packages_have_the_same_version(torch_twin, keras_twin):
    import shared

    assert torch_twin.__version__ == keras_twin.__version__ == shared.__version__
