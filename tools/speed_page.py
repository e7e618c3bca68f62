"""Puts the tables of a benchmark into docs/speed.md and README.md, between `<!-- bench NAME -->` and `<!-- end -->`.

resnet-twins bench --output docs/results/bench     # measures, half an hour on two cores
python tools/speed_page.py                         # writes the pages; --check only says whether they are up to date
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from shared.base.files import write_text
from shared.bench.report import describe, summary_table, tables
from shared.bench.results import FILE, read_results

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results" / "bench"
PAGES = (ROOT / "docs" / "speed.md", ROOT / "README.md")
BLOCK = re.compile(r"(<!-- bench ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def blocks() -> dict[str, str]:
    """Return what can be put in: every table with its title, the machine, and the summary."""
    results = read_results(RESULTS / FILE)
    found = {
        name: f"{table.title[0].upper()}{table.title[1:]}:\n\n{table.to_markdown()}" for name, table in tables(results)
    }
    return found | {"machine": describe(results), "summary": summary_table(results).to_markdown()}


def filled(text: str) -> str:
    """Return the text of a page with the tables of today. Raises `KeyError` for a table that was not measured."""
    known = blocks()
    return BLOCK.sub(lambda found: f"{found[1]}\n{known[found[2]]}\n\n{found[3]}", text)


def main() -> int:
    """Write the pages, or check them."""
    stale = [page for page in PAGES if filled(page.read_text(encoding="utf-8")) != page.read_text(encoding="utf-8")]
    for page in stale:
        if "--check" in sys.argv:
            print(f"{page.relative_to(ROOT)} is not what was measured; run python tools/speed_page.py")
        else:
            write_text(page, filled(page.read_text(encoding="utf-8")))
            print(f"wrote {page.relative_to(ROOT)}")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
