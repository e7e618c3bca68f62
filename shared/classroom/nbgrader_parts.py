"""What nbgrader is given of ours: the student version, the judged notebook, and marks that must be explicit.

`tutorials/assignments/nbgrader_config.py` puts these in place of nbgrader's own, so that its command line and its
pages in Jupyter grade in the same way as `resnet-twins classroom grade`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nbformat import from_dict
from nbgrader.preprocessors import ClearSolutions, NbGraderPreprocessor, SaveAutoGrades
from nbgrader.utils import is_grade, is_solution
from traitlets import Bool, List, Unicode

from shared.classroom.course import open_course
from shared.classroom.grade_class import cells_for_nbgrader, verdict_on


class StudentVersion(ClearSolutions):
    """Takes the solutions out; an answer that starts as something, a program to mend say, starts as that."""

    def preprocess_cell(self, cell: Any, resources: Any, cell_index: int) -> tuple[Any, Any]:
        """One cell."""
        starts = cell.metadata.pop("starts", None)
        if starts is None:
            return super().preprocess_cell(cell, resources, cell_index)
        cell.source = starts
        return cell, resources


class Judged(NbGraderPreprocessor):
    """Stands where nbgrader would execute: takes the notebook that ran in the sandbox, with the judge's scores."""

    course = Unicode(help="The folder of the course.").tag(config=True)
    ready = Bool(False, help="Take the last verdict as it is, without looking whether anything changed.").tag(
        config=True
    )

    def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        """The whole notebook."""
        found = resources["nbgrader"]
        course, pair = open_course(Path(self.course)), (found["assignment"], found["student"])
        verdict = (course.read_verdict(*pair) if self.ready else None) or verdict_on(course, *pair)
        nb.cells = [from_dict(cell) for cell in cells_for_nbgrader(verdict)]
        return nb, resources


class SaveMarks(SaveAutoGrades):
    """Saves the scores. Where nbgrader would give full marks to a silent cell, a person is asked instead.

    And where nbgrader asks anew for every mark that a person gave, this asks only if the answer has changed.
    """

    unchanged = List(Unicode(), help="Written answers that are as they were when they were graded last.").tag(
        config=True
    )

    def _add_score(self, cell: Any, resources: Any) -> None:
        assert is_grade(cell)
        name = cell.metadata["nbgrader"]["grade_id"]
        grade = self.gradebook.find_grade(name, self.notebook_id, self.assignment_id, self.student_id)
        stands = name in self.unchanged and grade.manual_score is not None and not grade.needs_manual_grade
        super()._add_score(cell, resources)
        if stands:
            grade.needs_manual_grade = False
        elif not is_solution(cell) and not any(o.output_type == "execute_result" for o in cell.get("outputs", [])):
            grade.auto_score = None
            grade.needs_manual_grade = True
        self.gradebook.db.commit()
