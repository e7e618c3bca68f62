"""Importing is cheap and polite: nobody loads a framework that was not asked for, and nobody chatters."""

from __future__ import annotations

import json

import pytest

SHOW = "\nimport sys; print(*[m for m in ('torch', 'tensorflow', 'keras', 'jax') if m in sys.modules])"


def loaded(run_python, code: str) -> set[str]:
    result = run_python(code + SHOW)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


#: Imports every module of `shared` in turn, and prints which one brought a heavy package first.
WALK = """
import importlib, json, pkgutil, sys, shared
heavy, found = {'torch', 'tensorflow', 'keras', 'jax', 'matplotlib', 'rich', 'PIL', 'h5py', 'nbgrader'}, {}
for info in pkgutil.walk_packages(shared.__path__, 'shared.'):
    if not info.name.endswith(('__main__', 'nbgrader_parts', 'hdf5_contents')):
        importlib.import_module(info.name)
        found |= {name: info.name for name in heavy if name in sys.modules and name not in found}
print(json.dumps(found), len([name for name in sys.modules if name.startswith('shared.')]))
"""


def test_nothing_in_shared_loads_a_framework_or_another_heavy_package(run_python):
    result = run_python(WALK)
    assert result.returncode == 0, result.stderr
    found, _, modules = result.stdout.strip().rpartition(" ")
    assert int(modules) > 100
    found = json.loads(found)
    assert found.pop("rich").startswith("shared.cli"), "only the command line draws"
    assert found == {}


#: Builds a network, looks at it, computes with it, and trains it for two steps.
USE = """
import numpy as np
m = r.create_model("resnet8_digits", seed=0)
r.layer_rows(m), r.get_weights(m), r.forward(m, r.from_nhwc(np.zeros((1, 8, 8, 1)), m))
from shared.training import get_recipe, train
train(get_recipe("quick", ["steps=2"]), framework={framework!r}, output={output!r})
"""


def test_resnet_torch_never_loads_tensorflow(run_python, torch_twin, tmp_path):
    code = "import resnet_torch as r, resnet_torch.train, resnet_torch.distributed"
    code += USE.format(framework="torch", output=str(tmp_path / "run"))
    assert loaded(run_python, code) == {"torch"}


def test_resnet_tf_never_loads_pytorch_and_tensorflow_says_nothing(run_python, keras_twin, tmp_path):
    code = "import resnet_tf as r, resnet_tf.train, resnet_tf.distributed"
    result = run_python(code + USE.format(framework="tf", output=str(tmp_path / "run")) + SHOW)
    assert result.returncode == 0, result.stderr
    # Keras itself looks at JAX where it is installed.
    assert set(result.stdout.split()) - {"jax"} == {"tensorflow", "keras"}
    assert result.stderr == ""


def test_what_is_held_back_is_shown_if_the_import_fails(run_python, tmp_path):
    (tmp_path / "keras.py").write_text("import os\nos.write(2, b'from C++\\n')\nraise ImportError('broken')")
    # `resnet_tf` itself imports Keras, so the helper's file is run alone.
    code = (
        f"import sys, runpy; sys.path.insert(0, {str(tmp_path)!r})\n"
        "runpy.run_path('resnet_tf/quiet.py')['import_keras']()"
    )
    result = run_python(code)
    assert result.returncode == 1
    assert "from C++" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["models"], ["compare", "nope"], ["recipes"], ["train", "--recipe", "nope"]],
)
def test_commands_that_need_no_framework_load_none(run_python, arguments):
    code = (
        f"import sys; sys.argv = ['resnet-twins', *{arguments!r}]\n"
        "from shared.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('\\nloaded', *[m for m in ('torch', 'tensorflow', 'keras') if m in sys.modules])"
    )
    assert run_python(code).stdout.splitlines()[-1] == "loaded"
