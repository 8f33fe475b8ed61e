"""What ``make faults`` and ``make soak`` have shown, as tables: for docs/faults.md and for the report."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtests.faults.cases import CASES, HOLDS, NOT_APPLICABLE, PROPERTY
from loadtests.faults.soak import Sample, told
from loadtests.results.file import write_whole
from loadtests.results.words import Table
from loadtests.settings import RESULTS, ROOT, BadSetting
from loadtests.stacks.catalogue import stacks

Row = dict[str, Any]
_LATEST = RESULTS / "faults" / "faults.json"
_KEPT = ROOT / "docs" / "faults.json"
_PAGE = ROOT / "docs" / "faults.md"
_ABOUT_SOAKS = (
    "`make soak STACK=NAME MINUTES=10 CONNECTIONS=4`, all stacks at the same time, node alone. Growth is the median "
    "slope of the last four minutes, in an hour. A JVM's heap fills up to its bound (play_app/README.md), and uWSGI's "
    "threads touch their stacks one after the other: both grow at first and have an end. Node's memory went by -256 "
    "and by +30 MB an hour in two soaks: ten minutes are not enough for V8's heap to settle."
)
_SIGNS = {HOLDS: "holds", NOT_APPLICABLE: "–"}


def write_document() -> int:
    """Write docs/faults.md and docs/faults.json from the last ``make faults``, and the soaks there are."""
    try:
        result = json.loads(_LATEST.read_text())
    except (OSError, ValueError):
        raise BadSetting("there are no results of a whole make faults yet: run it without STACKS and CASES") from None
    result["soaks"] = [
        {"stack": name, "told": _soak(path)} for name in stacks() if (path := RESULTS / "soak" / f"{name}.csv").exists()
    ]
    machine = result["environment"]
    before, _, _ = _PAGE.read_text().partition("<!-- tables -->")
    tables = "\n\n".join(
        [
            f"`make faults` on {machine['cpus_usable']} CPUs ({machine['cpu_model']}), mongod "
            f"{machine['versions']['mongod']}, two stacks at a time, in {result['took_s'] / 60:.0f} minutes.",
            matrix(result["rows"]).markdown(),
            numbered(result["rows"]),
            "## What was seen",
            seen(result["rows"]),
            "## Ten minutes of steady load",
            _ABOUT_SOAKS,
            Table(["stack", "seen"], [[f"`{soak['stack']}`", soak["told"]] for soak in result["soaks"]]).markdown(),
        ]
    )
    write_whole(_PAGE, f"{before}<!-- tables -->\n\n{tables}\n")
    write_whole(_KEPT, json.dumps(result, indent=1) + "\n")
    print(_PAGE)
    return 0


def known() -> dict[str, Any] | None:
    """Return what ``make faults`` has shown last here, else what the repository holds."""
    for path in (_LATEST, _KEPT):
        try:
            found: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        return found
    return None


def matrix(rows: Sequence[Row]) -> Table:
    """Return a line for each case and a column for each stack; a number is that of a property."""
    there = list(dict.fromkeys(row["stack"] for row in rows))
    numbers = {text: str(number) for number, text in enumerate(properties(rows), 1)}
    by_place = {(row["case"], row["stack"]): row for row in rows}
    lines = []
    for case in CASES.values():
        found = [by_place.get((case.name, stack)) for stack in there]
        if any(found):
            lines.append([case.title, *(_sign(row, numbers) for row in found)])
    return Table(["what happens", *there], lines)


def properties(rows: Sequence[Row]) -> list[str]:
    """Return what a model cannot hold, each once: the reason and the remedy."""
    return list(dict.fromkeys(row["why"] for row in rows if row["verdict"] == PROPERTY))


def numbered(rows: Sequence[Row]) -> str:
    """Return the properties in Markdown, with the numbers that they have in the matrix."""
    return "\n".join(f"{number}. {text}" for number, text in enumerate(properties(rows), 1))


def seen(rows: Sequence[Row]) -> str:
    """Return, in Markdown, a table for each case with what each stack did."""
    parts = []
    for case in CASES.values():
        lines = [[f"`{row['stack']}`", *_seen(row)] for row in rows if row["case"] == case.name]
        if lines:
            title = f"{case.title[0].upper()}{case.title[1:]}"
            parts.append(f"### {title}\n\n{Table(['stack', 'seen', 'memory'], lines).markdown()}")
    return "\n\n".join(parts)


def _sign(row: Row | None, numbers: dict[str, str]) -> str:
    if row is None:
        return ""
    verdict: str = row["verdict"]
    return numbers[row["why"]] if verdict == PROPERTY else _SIGNS.get(verdict, verdict)


def _seen(row: Row) -> list[str]:
    finding = row["finding"]
    if finding is None:
        return [row["why"] or "", ""]
    grown = finding["memory_growth_bytes"]
    memory = "" if grown is None else f"{grown / 1e6:+.0f} MB"
    return ["; ".join(filter(None, [finding["seen"], *finding["broken"]])), memory]


def _soak(path: Path) -> str:
    with path.open() as file:
        samples = [
            Sample(float(line["seconds"]), *(int(value) for name, value in line.items() if name != "seconds"))
            for line in csv.DictReader(file)
        ]
    return told(samples)
