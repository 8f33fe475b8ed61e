"""The page put together: sections a to h of what a reader asks, in that order."""

import os
import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from loadtests.faults import document
from loadtests.report import answers, article
from loadtests.report.drawing.svg import NARROW, PALETTE, WIDE, inline
from loadtests.report.reading import cells, columns, delayed_columns, group, in_words, measured_endpoints
from loadtests.report.sections import cost, latency, slow_database, successes
from loadtests.report.sections.exhibit import Figure, megabytes
from loadtests.report.sections.in_2014 import in_2014
from loadtests.results import file as results_file
from loadtests.results.battle import Entrant, Git, Results
from loadtests.results.cell import Column
from loadtests.results.words import Table
from loadtests.settings import ROOT

NAME = "report.html"
_TEMPLATES = Path(__file__).with_name("templates")
_SHORT = {"mongo": "small", "mongo_big": "big", "sleep": "/sleep"}


def write_report(folder: Path) -> Path:
    """Write report.html beside the results.json in ``folder`` and return its path.

    Raises BadSetting where the results cannot be read, CannotWrite where the page cannot be written.
    """
    results = results_file.read(folder)
    path = folder / NAME
    results_file.write_whole(path, page(results, folder))
    return path


def page(results: Results, folder: Path) -> str:
    """Return the page as HTML; ``folder`` is where it will lie, for the links to the apps."""
    loader = jinja2.FileSystemLoader(_TEMPLATES)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"draw": _draw, "NARROW": NARROW, "WIDE": WIDE, "in_words": in_words, "anchor": _anchor}
    return environment.get_template("page.html.jinja").render(
        results=results,
        palette=PALETTE,
        style=Markup((_TEMPLATES / "page.css").read_text()),
        doubts=doubts(results),
        headlines=answers.headlines(results),
        how_sure=answers.how_sure(results),
        choices=answers.choices(results),
        overview=_overview(results),
        figures=figures(results),
        verdict_columns=[_short(column) for column in results.plan.columns],
        verdicts=[
            (entrant, [_verdict(results, entrant, column) for column in results.plan.columns])
            for entrant in results.plan.entrants
        ],
        environment=_environment(results),
        article=article.article(),
        faults=_faults(),
        root=os.path.relpath(ROOT, folder.resolve()),
        joined=answers.joined,
    )


def figures(results: Results) -> dict[str, list[Figure]]:
    """Return the figures of each section that has some."""
    endpoints = measured_endpoints(results)
    if not results.cells:
        endpoints = []
    documents = [endpoint for endpoint in endpoints if endpoint != "sleep"]
    found = {
        "answer": [successes.ranking_of(results, endpoint) for endpoint in endpoints],
        "requests": [
            draw(results, endpoint) for endpoint in endpoints for draw in (successes.successes, successes.failures)
        ],
        "latency": [latency.latency(results, endpoint) for endpoint in endpoints],
        "cost": [cost.processor_time(results, endpoint) for endpoint in documents],
        "slow": [slow_database.slow_database(results)],
        "article": [in_2014(document) for document in ("small", "big")],
    }
    if endpoints:
        found["latency"] += [draw(results) for draw in (latency.curves, latency.ramp, latency.fairness)]
        found["cost"] += [draw(results) for draw in (cost.memory, cost.threads, cost.switches)]
    return found


def doubts(results: Results) -> list[str]:
    """Return everything that a reader must know before any figure, a sentence each."""
    said = [str(doubt) for doubt in results.doubts]
    plan, measured = results.plan, len(results.cells)
    if results.state != "complete":
        said.insert(0, f"Not complete ({results.state}): {measured} of {plan.cells} cells were measured.")
    for skipped in results.skipped:
        said.append(f"{skipped.entrant} was not measured: {skipped.reason}")
    for failed in results.failed:
        where = f" ({in_words(failed.column)})" if failed.column else ""
        whose = "" if failed.fault == "stack" else " This was the bench's trouble, not the stack's."
        said.append(f"{failed.entrant} failed in round {failed.round}{where}: {failed.reason}.{whose}")
    if plan.rounds == 1 and not any(doubt.about == "repeats" for doubt in results.doubts):
        said.append("Each cell was measured once: there are no intervals, and ties are judged by the noise alone.")
    return list(dict.fromkeys(said))


def _draw(figure: Figure, width: int) -> Markup:
    assert figure.chart
    return Markup(inline(figure.chart(width), f"{figure.title}. {figure.note} The figures are in the table below."))


def _anchor(entrant: Entrant) -> str:
    return f"run-{re.sub('[^a-z0-9]+', '-', entrant.label).strip('-')}"


def _overview(results: Results) -> dict[str, Any]:
    """Return the table of stacks: what each reached, what it cost, when to choose it, and where it is."""
    shown = [columns(results, endpoint)[0] for endpoint in measured_endpoints(results)]
    delayed = delayed_columns(results)
    if delayed and delayed[-1] not in shown:
        shown.append(delayed[-1])
    rows = []
    for entrant in sorted(results.plan.contestants, key=lambda entrant: _rank(results, entrant, shown[0])):
        found = [group(results, entrant.label, column) for column in shown]
        cpu_ms, memory = (found[0].cpu_ms_per_request, found[0].pss_peak_bytes) if found[0] else (None, None)
        rows.append(
            {
                "entrant": entrant,
                "rates": [answers.per_s(each) if each else "–" for each in found],
                "cpu": f"{cpu_ms.median:.2f}" if cpu_ms else "–",
                "memory": megabytes(memory.median) if memory else "–",
            }
        )
    return {"columns": [_short(column) for column in shown], "rows": rows}


def _rank(results: Results, entrant: Entrant, column: Column) -> float:
    found = group(results, entrant.label, column)
    return -found.ok_per_s.median if found else 1.0


def _faults() -> dict[str, Any] | None:
    found = document.known()
    return found and {"matrix": document.matrix(found["rows"]), "properties": document.properties(found["rows"])}


def _verdict(results: Results, entrant: Entrant, column: Column) -> dict[str, Any]:
    """Return the rate and the limit of a cell's rounds, or why there are none."""
    measured = group(results, entrant.label, column)
    limits, log_tail = (measured.bottlenecks, []) if measured else _why_missing(results, entrant, column)
    return {
        "column": column,
        "rate": answers.per_s(measured) if measured else "–",
        "bottlenecks": limits,
        "log_tail": log_tail,
        "cells": cells(results, entrant.label, column),
    }


def _why_missing(results: Results, entrant: Entrant, column: Column) -> tuple[list[str], list[str]]:
    for failed in results.failed:
        if failed.entrant == entrant.label and failed.column in (None, column):
            return ["failed"], [failed.reason, *failed.log_tail]
    if any(skipped.entrant in (entrant.label, entrant.stack) for skipped in results.skipped):
        return ["skipped"], []
    return ["not measured"], []


def _environment(results: Results) -> Table:
    known = results.environment
    git = known.git or Git(commit="not a git checkout", uncommitted_changes=False)
    pinned = [f"{part} on {cpus}" for part, cpus in results.plan.placement if cpus]
    rows = [
        ["Processor", known.cpu_model + (", in a virtual machine" if known.virtual else "")],
        ["CPUs usable", f"{known.cpus_usable} of {known.cpus_online}"],
        ["CPUs of each part", "; ".join(pinned) or "not pinned: server, database and load share all"],
        ["Memory", f"{known.memory_bytes / 1e9:.0f} GB"],
        ["Kernel", f"{known.kernel} {known.machine}"],
        ["Frequency governor", known.governor or "not known"],
        *([f"Limit: {name.replace('_', ' ')}", str(value)] for name, value in known.limits.items()),
        ["Commit", git.commit + (", with uncommitted changes" if git.uncommitted_changes else "")],
        *([name, version] for name, version in sorted(known.versions.items())),
        *([f"{path} (SHA-256)", digest] for path, digest in sorted(known.locks.items())),
    ]
    return Table(["what", "value"], rows)


def _short(column: Column) -> str:
    added = f", +{column.db_latency_ms} ms" if column.db_latency_ms else ""
    return f"{_SHORT[column.endpoint]}, {column.connections:,}{added}"
