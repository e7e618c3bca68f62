"""The course for nbgrader, whose own command line and pages in Jupyter read this file too."""

from pathlib import Path

from nbgrader.preprocessors import (
    AssignLatePenalties,
    CheckCellMetadata,
    ClearHiddenTests,
    ClearMarkScheme,
    ClearOutput,
    ComputeChecksums,
    GetGrades,
    IgnorePattern,
    LimitOutput,
    LockCells,
    SaveCells,
)
from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor
from nbconvert.preprocessors.sanitize import SanitizeHTML

from shared.classroom.nbgrader_parts import Judged, SaveMarks, StudentVersion

c = get_config()  # nbgrader gives it

c.CourseDirectory.course_id = "resnet-twins"
c.CourseDirectory.root = str(Path(__file__).parent.resolve())
c.CourseDirectory.ignore = [".ipynb_checkpoints", "*.pyc", "__pycache__", ".*"]

# The student version: solutions give way to a stub, or to the program that is to be mended.
c.GenerateAssignment.preprocessors = [
    LockCells,
    StudentVersion,
    ClearOutput,
    CheckCellMetadata,
    ComputeChecksums,
    SaveCells,
    ClearHiddenTests,
    ClearMarkScheme,
    ComputeChecksums,
    CheckCellMetadata,
]
c.ClearSolutions.code_stub = {"python": "raise NotImplementedError  # your code here"}
c.ClearSolutions.text_stub = "*Your answer here.*"

# Grading: the notebook runs in a sandbox, hidden tests outside of it; only an explicit score counts.
c.Judged.course = c.CourseDirectory.root
c.Autograde.autograde_preprocessors = [
    Judged,
    IgnorePattern,
    LimitOutput,
    SaveMarks,
    AssignLatePenalties,
    CheckCellMetadata,
    SanitizeHTML,
]

# Students' texts are shown in your browser.
c.SanitizeHTML.enabled = True

# nbgrader gives no points to a test cell that prints to standard error, as TensorFlow does.
c.IgnorePattern.enabled = True
c.IgnorePattern.pattern = r"[\s\S]*"

# Pages for students must not show what the hidden tests ask.
c.GenerateFeedback.preprocessors = [ClearHiddenTests, GetGrades, CSSHTMLHeaderPreprocessor]
