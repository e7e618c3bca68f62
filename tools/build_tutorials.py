"""Builds the tutorials: executes each source, and keeps its outputs in the notebook beside it.

    python tools/build_tutorials.py              # all of them
    python tools/build_tutorials.py 05 09        # those whose name starts so, with their solutions
    python tools/build_tutorials.py --check      # executes all, writes nothing, fails if a text output changed

`tutorials/src/NN_name.py` becomes `tutorials/NN_name.ipynb`, and `tutorials/solutions/src/NN_name.py` becomes
`tutorials/solutions/NN_name.ipynb`. Built twice in a row on one machine, a notebook is the same to the last byte. A
cell's tags say what may differ elsewhere:

- `machine`: its numbers depend on the machine (rounding, trained weights); the check compares the words only.
- `times`: it measures times; its output is kept as long as its source stays, and the check does not compare it.
- `data`: it uses a real data set, which may not be there; without it the output is kept and not compared.
- `cover`: its first figure is the notebook's picture in `tutorials/README.md`.
"""

from __future__ import annotations

import argparse
import base64
import difflib
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import nbstripout
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

from shared.base.files import replacing, write_text
from shared.data.load import find_local

ROOT = Path(__file__).parents[1]
TUTORIALS = ROOT / "tutorials"
SOLUTIONS = TUTORIALS / "solutions"
PICTURES = TUTORIALS / "pictures"
README = TUTORIALS / "README.md"
START, END = "<!-- built: table -->", "<!-- built: end -->"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python", "pygments_lexer": "ipython3"}
DATA_SETS = ("fashion-mnist", "cifar10")
DURATION = r"^\*\*Time:\*\* about (\d+ minutes) to work through; the cells run in (under \w+ minutes?)\."
ASSERT = r"^\s*(?:assert |np\.testing\.)"
TIMEOUT = 600  # seconds for one cell
Notebook = nbformat.NotebookNode


def sources(prefixes: list[str]) -> list[Path]:
    """Return the sources whose name starts with one of `prefixes` (none: all), tutorials before solutions."""
    found = [*sorted((TUTORIALS / "src").glob("*.py")), *sorted((SOLUTIONS / "src").glob("*.py"))]
    chosen = [path for path in found if not prefixes or path.name.startswith(tuple(prefixes))]
    if not chosen:
        raise SystemExit(f"no source in {TUTORIALS / 'src'} starts with {' or '.join(prefixes)}")
    return chosen


def notebook_of(source: Path) -> Path:
    """Return where the notebook of a source lies."""
    return source.parents[1] / f"{source.stem}.ipynb"


def convert(source: Path) -> Notebook:
    """Return the notebook of `source`; outputs of cells that did not change are those of the last build."""
    target = notebook_of(source)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / target.name
        if target.exists():
            draft.write_bytes(target.read_bytes())
        command = [sys.executable, "-m", "jupytext", "--quiet", "--update", "--to", "ipynb", "--output", draft, source]
        subprocess.run(command, check=True)
        return nbformat.read(draft, as_version=4)


def execute(notebook: Notebook, folder: Path) -> Notebook:
    """Return the notebook with new outputs, run in `folder`; raises `CellExecutionError` if a cell fails."""
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # else Python 3.11 warns about its own frozen modules
    fresh = nbformat.from_dict(notebook)
    before = set(folder.iterdir())
    client = NotebookClient(
        fresh,
        timeout=TIMEOUT,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    new = {path.name for path in set(folder.iterdir()) - before}
    left = {name for name in new if not name.endswith(".ipynb") and name not in (".ipynb_checkpoints", "__pycache__")}
    if left:
        raise SystemExit(f"the notebook leaves files behind in {folder}: {', '.join(sorted(left))}")
    return fresh


def tidy(notebook: Notebook) -> Notebook:
    """Take out what differs from build to build: identifiers, times and versions."""
    notebook = nbstripout.strip_output(notebook, keep_output=True, keep_count=True, keep_id=True)
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": LANGUAGE})
    for number, cell in enumerate(notebook.cells, start=1):
        cell["id"] = f"cell-{number:02d}"
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        for output in cell.get("outputs", []):
            output.pop("transient", None)
            if "metadata" in output:
                output["metadata"] = nbformat.from_dict({})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    return notebook


def tags(cell: Notebook) -> set[str]:
    """Return the tags of a cell."""
    return set(cell.metadata.get("tags", ()))


def is_kept(cell: Notebook, *, have_data: bool) -> bool:
    """Return whether the output of the last build stays: of times, and of data that is not here."""
    return "times" in tags(cell) or ("data" in tags(cell) and not have_data)


def keep_outputs(fresh: Notebook, old: Notebook, *, have_data: bool) -> None:
    """Put back the last build's output of each cell that `is_kept`, if its source is still the same."""
    last = {cell.source: cell.outputs for cell in old.cells if cell.cell_type == "code" and cell.outputs}
    for cell in fresh.cells:
        if cell.cell_type == "code" and is_kept(cell, have_data=have_data):
            cell.outputs = last.get(cell.source, cell.outputs)


def texts(cell: Notebook) -> str:
    """Return what a cell shows as text."""
    parts = []
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            parts.append(output.text)
        elif output.output_type in ("execute_result", "display_data"):
            parts.append(output.data.get("text/plain", ""))
    return "".join(parts)


def words(text: str) -> str:
    """Return a text with every number, and the blanks that line columns up, made equal."""
    text = re.sub(r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?%?", "#", text)
    return re.sub(r"[ \t]+", " ", text)


def complaints(source: Path, notebook: Notebook) -> list[str]:
    """Return what is wrong with fresh outputs by themselves."""
    found = []
    for number, cell in enumerate(notebook.cells, start=1):
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stderr":
                found.append(f"{source.name}, cell {number} writes to standard error: {output.text[:300]!r}")
        if re.search(r" at 0x[0-9a-f]{6,}", texts(cell)):
            found.append(f"{source.name}, cell {number} shows a memory address")
    return found


def changes(source: Path, fresh: Notebook, old: Notebook, *, have_data: bool) -> list[str]:
    """Return how the text outputs differ from those of the last build."""
    if [cell.source for cell in fresh.cells] != [cell.source for cell in old.cells]:
        return [f"{source.name}: the notebook was built from another source; run tools/build_tutorials.py"]
    found = []
    for number, (cell, last) in enumerate(zip(fresh.cells, old.cells, strict=True), start=1):
        if is_kept(cell, have_data=have_data):
            continue
        now, then = texts(cell), texts(last)
        if "machine" in tags(cell):
            now, then = words(now), words(then)
        if now != then:
            difference = difflib.unified_diff(then.splitlines(), now.splitlines(), "committed", "now", lineterm="", n=0)
            found.append(f"{source.name}, cell {number} shows another text:\n  " + "\n  ".join(list(difference)[:20]))
        if len(figures(cell)) != len(figures(last)):
            found.append(f"{source.name}, cell {number} shows {len(figures(cell))} figures, not {len(figures(last))}")
    return found


def figures(cell: Notebook) -> list[str]:
    """Return the pictures that a cell shows, as base64."""
    return [output.data["image/png"] for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]


def write(notebook: Notebook, target: Path) -> None:
    """Write the notebook, and its cover into the folder of pictures."""
    with replacing(target) as temporary:
        temporary.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    for cell in notebook.cells:
        if "cover" in tags(cell):
            PICTURES.mkdir(exist_ok=True)
            with replacing(PICTURES / f"{target.stem}.png") as temporary:
                temporary.write_bytes(base64.b64decode(figures(cell)[0]))


def heading(notebook: Notebook) -> dict[str, str]:
    """Return title, subject, and both times of a tutorial, from its first cells."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    title = re.search(r"^# \d+\. (.+)$", text, re.MULTILINE)
    subject = re.search(r"^\*(?!\*)(.+?)\*$", text, re.MULTILINE | re.DOTALL)
    duration = re.search(DURATION, text, re.MULTILINE)
    if not (title and subject and duration):
        raise SystemExit("a tutorial opens with '# N. Title', '*subject*' and '**Time:** about N minutes to work ...'")
    return {"title": title[1], "subject": " ".join(subject[1].split()), "work": duration[1], "run": duration[2]}


def table() -> str:
    """Return the table of `tutorials/README.md`."""
    lines = ["| | tutorial | to work through | cells run in |", "| --- | --- | --- | --- |"]
    for source in sorted((TUTORIALS / "src").glob("*.py")):
        if not notebook_of(source).exists():
            continue  # while one of them is being written
        found = heading(nbformat.read(notebook_of(source), as_version=4))
        name = source.stem
        lines.append(
            f'| <img src="pictures/{name}.png" width="220" alt="{found["title"].replace("`", "")}"> '
            f"| **[{int(name[:2])}. {found['title']}]({name}.ipynb)**<br>{found['subject']}<br>"
            f"[solutions](solutions/{name}.ipynb) | {found['work']} | {found['run']} |"
        )
    return "\n".join(lines)


def readme_with_table() -> str:
    """Return `tutorials/README.md` with a new table."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(START)
    return f"{before}{START}\n\n{table()}\n\n{END}{rest.split(END)[1]}"


def main(arguments: list[str] | None = None) -> int:
    """Build or check, print a line for each notebook, and return the exit code."""
    parser = argparse.ArgumentParser(description="Builds the tutorials, or checks that they still say the same.")
    parser.add_argument("prefixes", nargs="*", help="beginnings of names, like 05; none: all of them")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a text output changed")
    options = parser.parse_args(arguments)
    have_data = all(find_local(name) for name in DATA_SETS)
    if not have_data:
        print(f"Not all of {', '.join(DATA_SETS)} is here: outputs of the cells that need it are kept, not compared.")
    problems: list[str] = []
    total = time.perf_counter()
    for source in sources(options.prefixes):
        target, start = notebook_of(source), time.perf_counter()
        draft = convert(source)
        try:
            fresh = tidy(execute(draft, target.parent))
        except (CellExecutionError, CellTimeoutError) as error:
            problems.append(f"{source.relative_to(ROOT)}: {error}")
            print(f"✗ {source.relative_to(ROOT)}: a cell fails", flush=True)
            continue
        mine = complaints(source, fresh)
        old = nbformat.read(target, as_version=4) if target.exists() else nbformat.v4.new_notebook()
        keep_outputs(fresh, old, have_data=have_data)
        if options.check:
            mine += changes(source, fresh, old, have_data=have_data)
        elif not mine:
            write(fresh, target)
        problems += mine
        drawn = sum(len(figures(cell)) for cell in fresh.cells)
        asserts = sum(len(re.findall(ASSERT, cell.source, re.MULTILINE)) for cell in fresh.cells)
        mark = "✗" if mine else "✓"
        seconds = time.perf_counter() - start
        print(f"{mark} {target.relative_to(ROOT)}: {seconds:.0f} s, {drawn} figures, {asserts} asserts", flush=True)
    print(f"{time.perf_counter() - total:.0f} s in all")
    if not problems and not options.check and README.exists():
        write_text(README, readme_with_table())
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
