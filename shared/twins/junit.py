"""JUnit XML, the form in which continuous integration takes results: one suite, a test for each row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, indent, tostring

#: Characters that XML does not have, not even written as a number.
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Case(NamedTuple):
    """A test: the group that it belongs to, its name, and what is wrong; passed if nothing is."""

    group: str
    name: str
    failure: str = ""
    detail: str = ""


def xml_text(text: str) -> str:
    """Return a text with a question mark for every character that XML forbids."""
    return FORBIDDEN.sub("?", text)


def suite(title: str, cases: Sequence[Case], output: str) -> str:
    """Return a file of one suite of tests, with `output` as what it printed."""
    failed = sum(bool(case.failure) for case in cases)
    counts = {"tests": str(len(cases)), "failures": str(failed), "errors": "0", "skipped": "0", "time": "0"}
    root = Element("testsuites", counts)
    inside = SubElement(root, "testsuite", {"name": xml_text(title), **counts})
    for case in cases:
        about = {"classname": xml_text(case.group), "name": xml_text(case.name), "time": "0"}
        test = SubElement(inside, "testcase", about)
        if case.failure:
            failure = SubElement(test, "failure", {"message": xml_text(case.failure), "type": "difference"})
            failure.text = xml_text(case.detail or case.failure)
    SubElement(inside, "system-out").text = xml_text(output)
    indent(root)
    return tostring(root, encoding="unicode", xml_declaration=False).join(
        ('<?xml version="1.0" encoding="utf-8"?>\n', "\n")
    )
