"""Builds what is handed out of all assignments, and the table in `tutorials/assignments/README.md`.

python tools/build_assignments.py
"""

from __future__ import annotations

from shared.base.files import write_text
from shared.classroom.course import OUR_COURSE, Course, release
from shared.classroom.form import read_assignment
from shared.classroom.submission import find_tasks, read_notebook

README = OUR_COURSE / "README.md"
START, END = "<!-- built: table -->", "<!-- built: end -->"


def table() -> str:
    """The assignments: what they are, time, points, tutorials."""
    lines = ["| | assignment | minutes | points | tutorials |", "| ---: | --- | ---: | ---: | --- |"]
    for path in sorted(OUR_COURSE.glob("*/assignment.toml")):
        if path.parents[1] != OUR_COURSE or path.parent.name in ("source", "release"):
            continue
        name = path.parent.name
        found = read_assignment(path.parent)
        notebook = f"release/{name}/{name}.ipynb"
        points = sum(task.points for task in find_tasks(read_notebook(OUR_COURSE / notebook)))
        title = found.title.split(". ", 1)[-1]
        tutorials = ", ".join(map(str, found.builds_on))
        notes = f"[notes]({name}/teacher.md)"
        words = f"**[{title}]({notebook})**<br>{found.about} {notes}"
        lines.append(f"| {name[1]} | {words} | {found.minutes} | {points:g} | {tutorials} |")
    return "\n".join(lines)


def readme_with_table() -> str:
    """The text of the README with the table as it should be."""
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    for made in release(Course(OUR_COURSE)):
        print(f"built {made.name}")
    write_text(README, readme_with_table())
