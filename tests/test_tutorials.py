"""The tutorials keep their form: in step with their sources, every number backed by a cell, every exercise solved."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import pytest

from shared.base.figures import BLUE, GREEN, GREY, ORANGE
from tests.conftest import ROOT

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")

TUTORIALS = ROOT / "tutorials"
SOURCES = sorted((TUTORIALS / "src").glob("*.py"))
SOLUTIONS = sorted((TUTORIALS / "solutions" / "src").glob("*.py"))
NAMES = [source.stem for source in SOURCES]
every_tutorial = pytest.mark.parametrize("name", NAMES)
every_page = pytest.mark.parametrize(
    "source", [*SOURCES, *SOLUTIONS], ids=lambda path: f"{path.parts[-3]}-{path.stem[:2]}"
)
PREDICT = "**Predict before you run the next cell**"


def notebook(name: str, folder: Path = TUTORIALS):
    return nbformat.read(folder / f"{name}.ipynb", as_version=4)


def prose(page) -> str:
    return "\n\n".join(cell.source for cell in page.cells if cell.cell_type == "markdown")


def code(page) -> str:
    return "\n".join(cell.source for cell in page.cells if cell.cell_type == "code")


def outputs(page):
    return [output for cell in page.cells if cell.cell_type == "code" for output in cell.outputs]


def shown(page) -> str:
    """All text that the cells show."""
    texts = [output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in outputs(page)]
    return "\n".join(texts)


def section(text: str, title: str) -> str:
    """What stands under a heading, to the next one of the same level."""
    found = re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"there is no heading '## {title}'"
    return found[1]


def items(text: str) -> list[str]:
    """The points of a numbered list."""
    return re.findall(r"^\d+\. (.+(?:\n {2,}.+)*)", text, re.MULTILINE)


def test_there_are_twelve_tutorials_each_with_solutions():
    assert [int(name[:2]) for name in NAMES] == list(range(1, 13))
    assert [source.stem for source in SOLUTIONS] == NAMES
    for folder in (TUTORIALS, TUTORIALS / "solutions"):
        assert sorted(path.stem for path in folder.glob("*.ipynb")) == NAMES


@every_page
def test_the_notebook_was_built_from_its_source(source):
    jupytext = pytest.importorskip("jupytext", reason="jupytext is not installed")
    fresh, built = jupytext.read(source), notebook(source.stem, source.parents[1])
    assert [cell.source for cell in fresh.cells] == [cell.source for cell in built.cells], (
        f"run python tools/build_tutorials.py {source.stem[:2]}"
    )


@every_page
def test_every_cell_ran_in_order_and_quietly(source):
    page = notebook(source.stem, source.parents[1])
    counts = [cell.execution_count for cell in page.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    for output in outputs(page):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.text
    assert not re.search(r"oneDNN|absl::|cuda_|/tmp/|/home/| at 0x", shown(page))


@every_tutorial
def test_a_tutorial_opens_with_what_when_and_with_what(name):
    page = notebook(name)
    opening, setup = page.cells[0].source, page.cells[1].source
    assert re.match(rf"# {int(name[:2])}\. \S", opening)
    goals = re.search(r"^\*\*After this tutorial you can\*\*\n\n((?:- .+\n(?:  .+\n)*)+)", opening, re.MULTILINE)
    assert goals, "the opening says '**After this tutorial you can**' and a list"
    assert 3 <= len(re.findall(r"^- ", goals[1], re.MULTILINE)) <= 5
    assert re.search(r"^\*\*Time:\*\* about \d+ minutes to work through; the cells run in under", opening, re.MULTILINE)
    assert "**You need** " in opening
    assert setup == notebook(NAMES[0]).cells[1].source, "every tutorial has the same set-up"
    assert 'find_spec("resnet_torch") is None' in setup
    assert '"pip"' in setup


@every_tutorial
def test_a_tutorial_ends_with_three_sentences_and_exercises(name):
    text = prose(notebook(name))
    assert len(items(section(text, "Three sentences to remember"))) == 3
    exercises = items(section(text, "Exercises"))
    assert 3 <= len(exercises) <= 5
    assert any(exercise.startswith("**Predict") for exercise in exercises)
    assert PREDICT in text
    assert f"(solutions/{name}.ipynb)" in text


@every_tutorial
def test_every_exercise_has_a_worked_and_checked_solution(name):
    exercises = items(section(prose(notebook(name)), "Exercises"))
    page = notebook(name, TUTORIALS / "solutions")
    number, asserted = 0, {}
    for cell in page.cells:
        found = re.search(r"^## Exercise (\d+): ", cell.source, re.MULTILINE)
        number = int(found[1]) if cell.cell_type == "markdown" and found else number
        if cell.cell_type == "code" and number:
            asserted[number] = asserted.get(number, 0) + len(re.findall(r"^\s*assert ", cell.source, re.MULTILINE))
    assert sorted(asserted) == list(range(1, len(exercises) + 1))
    assert all(asserted.values()), f"exercises without an assertion: {[n for n, k in asserted.items() if not k]}"


@every_tutorial
def test_both_frameworks_stand_in_the_same_notebook_and_shapes_are_checked(name):
    text = code(notebook(name))
    for word in ("import torch", "import keras", "import resnet_tf"):
        assert word in text
    assert text.index("import resnet_tf") < re.search(r"^import keras|^from keras", text, re.MULTILINE).start()
    assert len(re.findall(r"^\s*assert .*(?:shape|== \()", text, re.MULTILINE)) >= 3, (
        "shapes are checked after each step"
    )


@every_page
def test_cells_use_only_what_is_public(source):
    text = code(notebook(source.stem, source.parents[1]))
    assert not re.search(r"^\s*from (?:shared|resnet_\w+)[\w.]* import .*\b_\w", text, re.MULTILINE)
    assert not re.search(r"\b(?:resnet_torch|resnet_tf|shared)(?:\.\w+)*\._[a-z]", text)
    assert not re.search(r"^\s*(?:from|import) (?:tests|tools)\b", text, re.MULTILINE)


@every_tutorial
def test_figures_are_there_and_not_too_large(name):
    pictures = [output.data["image/png"] for output in outputs(notebook(name)) if "image/png" in output.get("data", {})]
    assert len(pictures) >= 2
    sizes = [len(base64.b64decode(picture)) for picture in pictures]
    assert sum(sizes) < 1_500_000, f"a student with a slow connection loads {sum(sizes):,} bytes"


def numbers(text: str) -> set[str]:
    """The numbers of a text, without separators, signs and zeros behind the point."""
    found = set()
    for number in re.findall(r"\d[\d,_]*(?:\.\d+)?", text):
        plain = re.sub(r"[,_]", "", number.rstrip(",_"))
        found.add(plain.rstrip("0").rstrip(".") if "." in plain else plain)
    return found


def stated(text: str) -> set[str]:
    """The numbers in prose that must be backed: of three digits and more, or with a point, or percentages."""
    text = re.sub(r"https?://\S+|\]\([^)]*\)|arXiv:\S+|`[^`\n]*`|```.*?```", " ", text, flags=re.DOTALL)
    text = re.sub(r"^\*\*Time:\*\*.*$", " ", text, flags=re.MULTILINE)
    text = re.sub(r"\b(?:19|20)\d\d\b", " ", text)  # years
    text = re.sub(r"\b\d+(?:×\d+)+|\b\d+°", " ", text)  # sizes of pictures and kernels, angles
    text = re.sub(r"\b(?:sections?|chapters?|Tables?|figures?|versions?|Keras|PyTorch|Python)\s+\d[\d.]*", " ", text)
    text = re.sub(r"\b(?:ResNet|plain|VGG|CIFAR)-\d+|\b(?:34|50|101|110|152|1202)(?: layers|-layer)", " ", text)
    text = re.sub(r"^\s*\d+\. ", " ", text, flags=re.MULTILINE)  # points of a list
    found = set()
    for number, percent in re.findall(r"(?<![\w.])(\d[\d,_]*(?:\.\d+)?)(\s?%)?", text):
        if len(re.sub(r"\D", "", number)) >= 3 or "." in number or percent:
            found |= numbers(number)
    return found


@every_page
def test_every_number_in_the_text_is_computed_or_asserted(source):
    page = notebook(source.stem, source.parents[1])
    allowed = numbers(code(page)) | numbers(shown(page))
    missing = stated(prose(page)) - allowed - QUOTED.get(source.stem, set())
    assert not missing, f"{source.stem} states {sorted(missing)}, which no cell shows or asserts"


#: Numbers that are quoted from a paper or an author, who is named beside them, and cannot be computed here.
QUOTED: dict[str, set[str]] = {
    "09_moving_weights": {"91.73"},
}


def test_the_readme_of_the_tutorials_shows_what_the_tutorials_say(monkeypatch):
    pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("nbstripout", reason="nbstripout is not installed")
    from tools.build_tutorials import README, readme_with_table

    text = README.read_text(encoding="utf-8")
    assert text == readme_with_table(), "run python tools/build_tutorials.py"
    for target in re.findall(r'\]\(([^)#]+)\)|src="([^"]+)"', text):
        target = target[0] or target[1]
        assert "://" in target or (README.parent / target).exists(), f"tutorials/README.md leads to {target}"
    for path in ("I come from PyTorch", "I come from Keras", "I teach"):
        assert f"## {path}" in text


@every_tutorial
def test_links_of_a_tutorial_lead_somewhere(name):
    for folder in (TUTORIALS, TUTORIALS / "solutions"):
        for target in re.findall(r"\]\(([^)#\s]+)\)", prose(notebook(name, folder))):
            assert "://" in target or (folder / target).exists(), f"{name} leads to {target}"


def test_the_check_sees_a_changed_text_and_forgives_what_it_should():
    pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("nbstripout", reason="nbstripout is not installed")
    from nbformat.v4 import new_code_cell, new_notebook, new_output

    from tools.build_tutorials import changes, complaints

    def page(text: str, *tags: str, stream: str = "stdout"):
        cell = new_code_cell("print(value)", outputs=[new_output("stream", name=stream, text=text)])
        cell.metadata["tags"] = list(tags)
        return new_notebook(cells=[cell])

    def differ(now: str, *tags: str) -> list[str]:
        return changes(Path("x.py"), page(now, *tags), page("loss 0.25 after 3 epochs", *tags), have_data=False)

    assert differ("loss 0.25 after 3 epochs") == []
    assert "loss 0.26" in differ("loss 0.26 after 3 epochs")[0]
    assert differ("loss 0.26 after 3 epochs", "machine") == []
    assert differ("error 0.26 after 3 epochs", "machine")
    assert differ("whatever", "times") == []
    assert differ("whatever", "data") == []
    assert complaints(Path("x.py"), page("a warning", stream="stderr"))
    assert complaints(Path("x.py"), page("<object at 0x7f3d2a10>"))
    other = page("loss 0.25 after 3 epochs")
    other.cells[0].source = "print(another)"
    assert "another source" in changes(Path("x.py"), other, page("loss 0.25 after 3 epochs"), have_data=True)[0]


def luminance(colour: str) -> float:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_palette_is_the_colour_blind_safe_one():
    assert {BLUE, ORANGE, GREEN} == {"#0072B2", "#D55E00", "#009E73"}  # Okabe and Ito
    assert luminance(GREY) > 0.3


@every_page
def test_figures_use_the_palette_and_no_rainbow(source):
    text = code(notebook(source.stem, source.parents[1]))
    assert not re.search(r"""["'](?:jet|rainbow|hsv|RdYlGn|Set1|tab10)["']""", text)
    assert not re.search(r"""color=["'](?:red|green|r|g|b|blue|C\d)["']""", text)


def test_every_diagram_of_the_catalog_can_be_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from shared.base.errors import InputError
    from shared.networks.catalog import SPECS
    from shared.networks.diagrams import plot_block, plot_stages

    for name in ("resnet50", "resnet20_cifar", "preact_resnet164_cifar", "plain18", "resnet8_digits"):
        file = io.BytesIO()
        plot_block(name, "layer2.0").savefig(file)
        plot_stages(name, path=tmp_path / f"{name}.png")
        assert file.getvalue().startswith(b"\x89PNG")
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    drawn = {text.get_text() for text in plot_block("resnet18", "layer2.0").axes[0].texts}
    assert "3×3 convolution, stride 2\n64 → 128 channels" in drawn
    assert "(128, 28, 28)  |  (28, 28, 128)" in drawn
    with pytest.raises(InputError, match=r"no block 'layer9\.0'; its blocks are layer1\.0, layer1\.1"):
        plot_block(SPECS["resnet18"], "layer9.0")
