"""The classroom: assignments handed out, and graded by machine without trusting what was handed in.

Who does what: `form` knows the form of an assignment, `exam` is what hidden tests are written with,
`runner` and `wire` run in the sandbox beside the student's code, `sandbox` starts and watches it,
`bubblewrap` shuts it off, `grading` marks one submission, `course` a whole class through nbgrader, `report` shows the
result.
"""
