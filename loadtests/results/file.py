"""results.json: made, written so that a crash loses at most the cell in hand, read back, summarised."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from loadtests.battle.plan import Column, Entrant, Plan
from loadtests.judge.estimates import ASSUMED_NOISE, STATISTICS, estimate, noise, ranking
from loadtests.judge.figures import failed_fraction
from loadtests.settings import RESULTS, BadSetting

SCHEMA = 2
FOLDER = RESULTS
_NAME = "results.json"

Results = dict[str, Any]
_Key = tuple[str, int, str, int, int]


class CannotWrite(Exception):
    """The results cannot be kept: disk full, or a folder that may not be written to. The message is one line."""


def new(plan: Plan, environment: dict[str, Any], command: str) -> Results:
    """Return results without a cell."""
    return {
        "schema": SCHEMA,
        "id": "",
        "state": "running",
        "started": now(),
        "updated": now(),
        "command": command,
        "warnings": [],
        "environment": environment,
        "plan": plan.as_result(),
        "starts": [],
        "cells": [],
        "skipped": [],
        "failed": [],
        "summary": {"statistics": STATISTICS, "noise": [], "groups": [], "ranking": []},
    }


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def new_folder(within: Path = FOLDER) -> Path:
    """Make a folder named after the time, and point ``latest`` at it. Raises CannotWrite."""
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    try:
        within.mkdir(parents=True, exist_ok=True)
        # A clock that was set back may come by the same second again.
        folder = next(path for n in range(1000) if not (path := within / (f"{stamp}-{n}" if n else stamp)).exists())
        folder.mkdir()
        pointer = within / ".latest.new"
        pointer.unlink(missing_ok=True)
        pointer.symlink_to(folder.name)
        pointer.replace(within / "latest")
    except OSError as error:
        raise CannotWrite(f"{within} cannot be written to: {error.strerror}") from None
    return folder


def write(results: Results, folder: Path) -> None:
    """Put the whole file beside the old one, on the disk itself, and rename it over. Raises CannotWrite."""
    results["updated"] = now()
    unfinished = folder / f"{_NAME}.new"
    try:
        with unfinished.open("w") as file:
            file.write(_text(results))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(folder / _NAME)
        # The rename is on the disk only when its folder is.
        directory = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise CannotWrite(f"{folder / _NAME} cannot be written: {error.strerror}") from None


def find(name: str, within: Path = FOLDER) -> Path:
    """Return the folder that ``latest``, a folder's name, or a path to it or its file means. Raises BadSetting."""
    for path in (within / name, Path(name)):
        folder = (path.parent if path.name == _NAME else path).resolve()
        if (folder / _NAME).is_file():
            return folder
    raise BadSetting(f"no results are called '{name}': give latest, the name of a folder in {within}, or a path")


def read(folder: Path) -> Results:
    """Return the results in ``folder``. Raises BadSetting when they are not of this schema."""
    path = folder / _NAME
    try:
        results = json.loads(path.read_text())
        validate(results)
    except (OSError, ValueError) as problem:
        raise BadSetting(f"{path} cannot be read: {problem}") from None
    except jsonschema.ValidationError as problem:
        raise BadSetting(f"{path} is not of schema {SCHEMA}: {problem.json_path}: {problem.message[:120]}") from None
    return results  # type: ignore[no-any-return]


def validate(results: Results) -> None:
    """Raise jsonschema.ValidationError where ``results`` are not what docs/results.md says."""
    jsonschema.validate(results, _schema())


def is_missing(results: Results, entrant: Entrant, round_number: int, column: Column) -> bool:
    """Return whether this cell has neither a figure nor a failure of the stack itself."""
    key = (entrant.label, round_number, column.endpoint, column.connections, column.db_latency_ms)
    if any(_key(cell) == key for cell in results["cells"]):
        return False
    return not any(
        failure["fault"] == "stack"
        and failure["entrant"] == entrant.label
        and (failure["column"] is None or (failure["round"] == round_number and failure["column"] == asdict(column)))
        for failure in results["failed"]
    )


def summarise(results: Results) -> None:
    """Compute ``summary`` from the cells."""
    groups = [_group(label, column, cells) for label, column, cells in _grouped(results)]
    noises = list(_noises(results))
    results["summary"] = {
        "statistics": STATISTICS,
        "noise": noises,
        "groups": groups,
        "ranking": [_ranked(column, results, groups, noises) for column in results["plan"]["columns"]],
    }


def _group(label: str, column: dict[str, Any], cells: list[dict[str, Any]]) -> dict[str, Any]:
    def over(values: Iterable[float | None]) -> dict[str, Any] | None:
        known = [value for value in values if value is not None]
        return estimate(known).as_result() if known else None

    alone = [cell["unloaded_ms"] for cell in cells if cell["unloaded_ms"]]
    return {
        "entrant": label,
        "column": column,
        "repeats": len(cells),
        "ok_per_s": over(cell["rate"]["ok_per_s"] for cell in cells),
        "p50_ms": over(cell["latency_ms"]["p50"] for cell in cells),
        "p99_ms": over(cell["latency_ms"]["p99"] for cell in cells),
        "unloaded_ms": over(seen["p50"] for seen in alone),
        "unloaded_p10_ms": over(seen["p10"] for seen in alone),
        "cpu_ms_per_request": over(cell["cost"]["server"]["cpu_ms_per_request"] for cell in cells),
        "pss_peak_bytes": over(cell["cost"]["server"]["pss_peak_bytes"] for cell in cells),
        "failed_fraction": round(max(failed_fraction(cell["outcomes"]) for cell in cells), 6),
        "lower_bound": any(cell["verdict"]["lower_bound"] for cell in cells),
        "bottlenecks": list(dict.fromkeys(cell["verdict"]["bottleneck"] for cell in cells)),
    }


def _ranked(
    column: dict[str, Any], results: Results, groups: list[dict[str, Any]], noises: list[dict[str, Any]]
) -> dict[str, Any]:
    found = [entry["difference"] for entry in noises if entry["column"] == column]
    fraction = max(found, default=ASSUMED_NOISE)
    again = {entrant["label"] for entrant in results["plan"]["entrants"] if entrant["repeats"]}
    contestants = {
        group["entrant"]: estimate(group["ok_per_s"]["values"])
        for group in groups
        if group["column"] == column and group["entrant"] not in again
    }
    return {
        "column": column,
        "noise": {"fraction": fraction, "source": "a/a" if found else "assumed"},
        "rows": ranking(contestants, fraction),
    }


def _noises(results: Results) -> Iterable[dict[str, Any]]:
    rates = {_key(cell): cell["rate"]["ok_per_s"] for cell in results["cells"]}
    for entrant in results["plan"]["entrants"]:
        if entrant["repeats"] is None:
            continue
        for column in results["plan"]["columns"]:
            of_column = tuple(column.values())
            rounds = range(1, results["plan"]["rounds"] + 1)
            pairs = [
                (rates[first], rates[second])
                for number in rounds
                if (first := (entrant["repeats"], number, *of_column)) in rates
                and (second := (entrant["label"], number, *of_column)) in rates
            ]
            if pairs:
                yield {
                    "entrant": entrant["repeats"],
                    "column": column,
                    "pairs": [list(pair) for pair in pairs],
                    "difference": round(noise(pairs), 4),
                }


def _grouped(results: Results) -> Iterable[tuple[str, dict[str, Any], list[dict[str, Any]]]]:
    for column in results["plan"]["columns"]:
        for entrant in results["plan"]["entrants"]:
            cells = [
                cell
                for cell in results["cells"]
                if cell["entrant"] == entrant["label"] and all(cell[name] == value for name, value in column.items())
            ]
            if cells:
                yield entrant["label"], column, cells


def _key(cell: dict[str, Any]) -> _Key:
    return (cell["entrant"], cell["round"], cell["endpoint"], cell["connections"], cell["db_latency_ms"])


def _text(results: Results) -> str:
    # One line for each cell: still JSON, and a person can grep and diff it.
    parts = []
    for name, value in results.items():
        lines = isinstance(value, list) and value
        text = "[\n" + ",\n".join(map(_line, value)) + "\n]" if lines else _line(value)
        parts.append(f'"{name}": {text}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


@cache
def _schema() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("results.schema.json").read_text())  # type: ignore[no-any-return]
