"""What is run while working on this project: `nox -s check`, `nox -s test`, `nox -s all`.

The sessions use the environment in which nox itself is installed; only `all` makes environments of its own.
"""

import nox

nox.options.sessions = ["check"]
nox.options.default_venv_backend = "none"


@nox.session
def check(session: nox.Session) -> None:
    """Style, types, and the tests that need no framework."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("python", "-m", "pytest", "-q", "tests/test_house.py", "tests/base", "tests/networks", "tests/data")


@nox.session
def test(session: nox.Session) -> None:
    """The quick tests, on all cores; arguments behind -- are pytest's."""
    session.run("python", "-m", "pytest", "-q", "-n", "auto", *session.posargs)


@nox.session
def all(session: nox.Session) -> None:
    """What the continuous integration does."""
    session.run("bash", ".ci/run", external=True)
