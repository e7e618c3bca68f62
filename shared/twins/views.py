"""What every comparison can be shown as: text, Markdown, HTML, JSON, CSV and JUnit, from the same few pieces."""

from __future__ import annotations

import csv
import html
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from shared.base.checks import check_choice
from shared.base.words import text_of
from shared.twins.junit import Case, suite

if TYPE_CHECKING:
    from rich.table import Table

#: What `Views.shown_as` takes.
FORMS = ("terminal", "markdown", "html", "json", "csv", "junit")
#: How a cell begins that a spreadsheet would compute.
FORMULAS = ("=", "+", "-", "@")


def markdown_text(text: str) -> str:
    """Return a text as Markdown shows it, also inside of a table."""
    return html.escape(text, quote=False).replace("|", "\\|")


def spreadsheet_text(value: Any) -> Any:
    """Return a value for a cell: a list with spaces between its numbers, a text never as a formula."""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULAS) else value


class Views(ABC):
    """What a comparison looks like. Who derives from it adds what there is to show."""

    #: Columns of `to_text`.
    TEXT_WIDTH: ClassVar[int]

    @property
    @abstractmethod
    def equal(self) -> bool:
        """Whether nothing differs."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What is compared."""

    @property
    @abstractmethod
    def verdict(self) -> str:
        """One line on the whole."""

    @property
    @abstractmethod
    def reasons(self) -> list[str]:
        """What explains the differences, a line each."""

    @property
    def notes(self) -> list[str]:
        """What else the reader should know, a line each."""
        return []

    @abstractmethod
    def to_rich(self, width: int) -> Table:
        """Return a table for rich's console."""

    @abstractmethod
    def to_html(self) -> str:
        """Return HTML."""

    @abstractmethod
    def table(self) -> tuple[Sequence[str], Sequence[bool], Sequence[Sequence[str]]]:
        """Return the names of the columns, which of them are aligned to the left, and the cells of every line."""

    @abstractmethod
    def records(self) -> list[dict[str, Any]]:
        """Return a line for each row, by the names of its columns, with plain numbers."""

    @abstractmethod
    def content(self) -> Mapping[str, Any]:
        """Return everything as plain values."""

    @abstractmethod
    def cases(self) -> list[Case]:
        """Return a test for each row."""

    def to_text(self) -> str:
        """Return the comparison as aligned plain text."""
        table = text_of(self.to_rich(self.TEXT_WIDTH), self.TEXT_WIDTH)
        return "\n".join([table, "", self.verdict, *(f"  - {line}" for line in (*self.reasons, *self.notes))])

    def __repr__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        return self.to_html()

    def to_markdown(self) -> str:
        """Return the comparison as a GitHub table."""
        headings, left, lines = self.table()
        rule = ["---" if each else "---:" for each in left]
        cells = [list(headings), rule, *([markdown_text(text) for text in line] for line in lines)]
        table = ["| " + " | ".join(line) + " |" for line in cells]
        below = [f"- {line}" for line in (*self.reasons, *self.notes)]
        return "\n".join([*table, "", *(html.escape(line, quote=False) for line in (self.verdict, "", *below))]) + "\n"

    def to_json(self) -> str:
        """Return the comparison as JSON, with all that is known."""
        return json.dumps(self.content(), indent=2, ensure_ascii=False) + "\n"

    def to_csv(self) -> str:
        """Return one line for each row, with plain numbers, without subtotals, for a spreadsheet."""
        records = self.records()
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(records[0])
        for record in records:
            writer.writerow([spreadsheet_text(value) for value in record.values()])
        return file.getvalue()

    def to_junit(self) -> str:
        """Return JUnit XML, as continuous integration reads it: a test for each row, which fails where it differs."""
        return suite(self.title, self.cases(), "\n".join([self.verdict, *self.reasons, *self.notes]))

    def shown_as(self, form: str) -> str:
        """Return the text of one of `FORMS`; raise `InputError` for another one."""
        check_choice("format", form, FORMS)
        shown: str = getattr(self, "to_text" if form == "terminal" else f"to_{form}")()
        return shown
