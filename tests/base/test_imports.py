"""Importing is cheap and polite: nobody loads a framework that was not asked for, and nobody chatters."""

from __future__ import annotations

import json

import pytest


def loaded(run_python, code: str) -> set[str]:
    result = run_python(
        f"import sys\n{code}\nprint(*[m for m in ('torch', 'tensorflow', 'keras', 'jax') if m in sys.modules])"
    )
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


USE = "m = r.create_model('resnet8_digits', seed=0); r.layer_rows(m); r.get_weights(m)"


def test_resnet_torch_never_loads_tensorflow(run_python, torch_twin):
    code = f"import resnet_torch as r, resnet_torch.train, resnet_torch.distributed; {USE}"
    assert loaded(run_python, code) == {"torch"}


def test_resnet_tf_never_loads_pytorch(run_python, keras_twin):
    code = f"import resnet_tf as r, resnet_tf.train, resnet_tf.distributed; {USE}"
    # Keras itself looks at JAX where it is installed.
    assert loaded(run_python, code) - {"jax"} == {"tensorflow", "keras"}


def test_tensorflow_says_nothing_while_it_starts(run_python, keras_twin):
    code = (
        "import numpy as np, resnet_tf as r; m = r.create_model('resnet8_digits'); r.forward(m, np.zeros((1, 8, 8, 1)))"
    )
    result = run_python(code)
    assert result.returncode == 0
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


def test_training_one_twin_never_loads_the_other(run_python, torch_twin, keras_twin, tmp_path):
    for framework, expected in (("torch", {"torch"}), ("tf", {"tensorflow", "keras"})):
        code = (
            "from shared.training.recipes import get_recipe; from shared.training.settings import Settings\n"
            "from shared.training.start import train\n"
            f"train(get_recipe('quick', ['steps=2']), framework={framework!r}, output={str(tmp_path / framework)!r})"
        )
        assert loaded(run_python, code) - {"jax"} == expected
