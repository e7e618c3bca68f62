"""The project's own promises: the README, the wheel, the picture, and the weights that ship."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile

import pytest

import shared
from shared.base.words import short_number
from shared.checkpoints.shipped import SHIPPED
from shared.networks.catalog import SPECS
from shared.networks.table import count_buffers, count_macs, count_parameters
from shared.twins.verification import TOLERANCES, gradient_tolerance, wild_tolerance
from tests.conftest import ROOT
from tools.check_names import main as check_names
from tools.readme_command import command as readme_command

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_two_commands_of_the_readme_are_one_line_each_and_ci_runs_them():
    demo, test = readme_command("demo"), readme_command("test")
    assert demo.startswith("python3 -m venv .venv && ")
    assert demo.endswith("resnet-twins demo")
    assert "pytest" in test
    script = (ROOT / ".ci" / "run").read_text()
    for name in ("demo", "test"):
        assert f"tools/readme_command.py {name}" in script


def test_ci_runs_all_parts_and_verifies_every_network():
    run, part = ((ROOT / ".ci" / name).read_text() for name in ("run", "part"))
    (names,) = re.findall(r"^printf '%s\\n' (.*) \| xargs -n 1 -P 2 bash .ci/part$", run, re.MULTILINE)
    assert set(names.split()) >= {"tutorials", "networks", "torch", "tf"}
    assert "networks) .venv/bin/resnet-twins verify --all ;;" in part
    assert "-m slow" in run


def test_the_readme_opens_with_the_picture_and_the_commands():
    assert README.index("docs/compare-resnet18.svg") < README.index("## Try it") < README.index("## What is in it")


def test_the_table_of_the_readme_is_right():
    rows = re.findall(r"^\| `(resnet\d+)` \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| (.+?) \|$", README, re.MULTILINE)
    assert [row[0] for row in rows] == ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
    for name, depths, parameters, total, macs in rows:
        spec = SPECS[name]
        assert depths == ",".join(map(str, spec.depths))
        assert parameters == f"{count_parameters(spec):,}"
        assert total == f"{count_parameters(spec) + count_buffers(spec):,}"
        assert macs == short_number(count_macs(spec))


def test_other_numbers_of_the_readme_are_right():
    assert f"the table: {len(SPECS)} networks" in README
    assert f"{len(SPECS)} networks" in (ROOT / "CHANGELOG.md").read_text()
    assert f"{count_parameters(SPECS['resnet8_digits']):,} parameters" in README
    keras_total = count_parameters(SPECS["resnet50_keras"]) + count_buffers(SPECS["resnet50_keras"])
    assert f"has {count_parameters(SPECS['resnet50']):,} parameters in one place and {keras_total:,}" in README


def test_the_tolerances_of_the_readme_are_those_of_verify():
    def row(start: str) -> str:
        return next(line for line in README.splitlines() if line.startswith(f"| {start}"))

    def both(what: str, other: str | None = None) -> str:
        texts = (TOLERANCES[what, "float64"], TOLERANCES[other or what, "float32"])
        return " | ".join(f"{value:.0e}".replace("e-0", "e-") for value in texts)

    assert both("logits, eval mode") in row("logits, weights with which")
    assert both("gradients, worst", "gradients, median") in row("gradient of each parameter")
    assert row("gradient of each parameter").endswith("| 1e-11 | 1e-4 up to 101 layers, 1e-3 beyond |")
    assert [gradient_tolerance(depth) for depth in (101, 152)] == [1e-4, 1e-3]
    assert both("BatchNorm statistics") in row("BatchNorm statistics")
    assert row("logits, any weights").endswith("| 1e-10 | 5e-4 up to 50 layers, 1e-2 beyond |")
    assert [wild_tolerance(depth, "float32") for depth in (50, 101)] == [5e-4, 1e-2]
    assert wild_tolerance(152, "float64") == 1e-10
    assert row("loss at step 1 and 2").endswith("| 1e-12 | 1e-5 and 1e-4 |")
    assert TOLERANCES["loss, step 2", "float64"] == 1e-12
    assert [TOLERANCES[f"loss, step {step}", "float32"] for step in (1, 2)] == [1e-5, 1e-4]


def test_the_python_of_the_readme_runs(capsys, torch_twin, keras_twin):
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 3
    exec("\n".join(blocks), {})
    said = capsys.readouterr().out
    assert "✓ resnet18 at 224x224" in said
    (line,) = [line for line in said.splitlines() if line.startswith("largest difference of the logits")]
    assert float(line.split()[-1]) < 1e-4
    (line,) = [line for line in said.splitlines() if line.startswith("largest difference after fuse")]
    assert float(line.split()[-1]) < 1e-4


def test_links_of_the_documents_lead_somewhere():
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "tutorials").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("name", ["compare-resnet18.svg", "parting.svg"])
def test_the_pictures_are_what_the_commands_print(torch_twin, keras_twin, name):
    from tools.make_pictures import DOCS, PICTURES

    def without_errors(svg: str) -> str:
        return re.sub(r"\b\de[+-]\d\d", "error", svg)  # another processor rounds in another way

    drawn, kept = PICTURES[DOCS / name](), (DOCS / name).read_text(encoding="utf-8")
    assert without_errors(kept) == without_errors(drawn), "run python tools/make_pictures.py"
    assert "url(http" not in drawn, "the picture must not fetch anything"


def test_the_wheel_holds_the_packages_and_no_tests(tmp_path):
    pytest.importorskip("hatchling", reason="hatchling is not installed")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(f"resnet_twins-{shared.__version__}.dist-info/METADATA").decode("utf-8")
    assert {name.split("/")[0] for name in names} == {
        "_resnet_twins",
        "resnet_torch",
        "resnet_tf",
        "shared",
        f"resnet_twins-{shared.__version__}.dist-info",
    }
    for package in ("_resnet_twins", "resnet_torch", "resnet_tf", "shared"):
        assert f"{package}/py.typed" in names
    for name in SHIPPED:
        assert {f"shared/assets/{name}.safetensors", f"shared/assets/{name}.md"} <= set(names)
    assert "shared/assets/digits.npy" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "](docs/" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((?!https?://|#)[^)]*\)", metadata) == [], "a link that leads nowhere outside of a clone"


def test_the_terms_are_those_of_the_field():
    assert check_names([]) == 0, "python tools/check_names.py says where"


def test_the_version_stands_in_one_place():
    assert shared.__version__ == "0.1.0"
    assert "version" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dynamic"]
    assert f"## {shared.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_shared_says_why_it_bears_its_name():
    assert "is called `shared` because" in (shared.__doc__ or "")


def test_no_tool_or_path_of_one_machine_is_named_in_the_project():
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    wanted = re.compile("/" + "(work|root|farm)/|" + "TO" + "DO|FIX" + "ME")
    for name in filter(None, tracked.stdout.split("\0")):
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".yml", ".svg"} and path.exists():
            assert not wanted.search(path.read_text(encoding="utf-8")), name


def test_the_versions_of_the_page_on_environments_are_those_of_the_project():
    page = (ROOT / "docs" / "environments.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| 3.")]
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    lowest = dict(re.findall(r"^([\w-]+)>=([\d.]+)", "\n".join(wanted), re.MULTILINE))
    script = (ROOT / ".ci" / "run").read_text()
    for python, versions, torch, _, tensorflow, keras, numpy, _ in rows:
        which = versions.split()[0]
        have = {"torch": torch.split(",")[0], "tensorflow": tensorflow, "keras": keras, "numpy": numpy}
        if which == "tested":
            assert have == {name: pins[name] for name in have}
        elif which == "oldest":
            assert all(version.startswith(lowest[name]) for name, version in have.items())
        assert "CPU build" in torch or f"{python}-{which}" in script
    assert len(rows) == 4
