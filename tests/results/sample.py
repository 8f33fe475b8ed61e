"""tests/results/results-sample.json: as JSON, to be changed, and as results."""

import json
from pathlib import Path
from typing import Any

from loadtests.judge.figures import figures
from loadtests.judge.summary import summarise
from loadtests.judge.verdict import judge
from loadtests.results.battle import Results
from loadtests.results.cell import Cell

PATH = Path(__file__).with_name("results-sample.json")


def raw() -> dict[str, Any]:
    return json.loads(PATH.read_text())  # type: ignore[no-any-return]


def results_of(content: dict[str, Any]) -> Results:
    """Return the results with the summary that their cells have."""
    results = Results.model_validate(content)
    results.summary = summarise(results.plan, results.cells)
    return results


def judged_again(cell: Cell) -> Cell:
    """Return the cell with what follows from its counts."""
    again = figures(cell.known, cell.column, cell.counts, fair=cell.figures.fairness is not None)
    return cell.model_copy(update={"figures": again, "verdict": judge(cell.known, cell.column, again)})
