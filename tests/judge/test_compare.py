"""What changed between two battles."""

import copy
import io
from typing import Any

from rich.console import Console

from loadtests.battle.tables import show_comparison
from loadtests.judge.compare import compare
from loadtests.results.battle import Results


def slowed(sample: dict[str, Any], by: float, entrant: str, spread: float = 0.01) -> Results:
    """Return ``sample`` with three repeats everywhere; ``entrant`` runs at ``by`` of its speed."""
    changed = copy.deepcopy(sample)
    for group in changed["summary"]["groups"]:
        factor = by if group["entrant"] == entrant else 1.0
        for name, power in (("ok_per_s", 1), ("alone_p10_ms", -1), ("cpu_ms_per_request", -1)):
            middle = group[name]["median"] * factor**power
            values = [middle * (1 - spread), middle, middle * (1 + spread)]
            group[name] = {"median": middle, "low": values[0], "high": values[2], "values": values}
    return Results.model_validate(changed)


def test_compare_finds_no_winner_where_nothing_changed(sample: dict[str, Any]) -> None:
    changes = compare(slowed(sample, 1.0, ""), slowed(sample, 1.0, "", spread=0.02))
    assert changes
    assert {change.verdict for change in changes} == {"neither"}


def test_the_comparison_is_told_with_its_counts(sample: dict[str, Any]) -> None:
    changes = compare(slowed(sample, 1.0, ""), slowed(sample, 0.6, "gunicorn-sync"))
    said = io.StringIO()
    both = Results.model_validate(sample)
    show_comparison(Console(file=said, width=200), both, both, changes)
    worse = sum(change.verdict == "worse" for change in changes)
    assert worse
    assert f"0 better, {worse} worse, {len(changes) - worse} neither, 0 too noisy" in " ".join(said.getvalue().split())


def test_compare_finds_what_was_slowed_and_only_that(sample: dict[str, Any]) -> None:
    changes = compare(slowed(sample, 1.0, ""), slowed(sample, 0.6, "gunicorn-sync"))
    assert {change.entrant for change in changes if change.verdict == "worse"} == {"gunicorn-sync"}
    assert {change.verdict for change in changes if change.entrant != "gunicorn-sync"} == {"neither"}
    back = compare(slowed(sample, 0.6, "gunicorn-sync"), slowed(sample, 1.0, ""))
    assert {change.entrant for change in back if change.verdict == "better"} == {"gunicorn-sync"}


def test_compare_does_not_judge_what_others_disturbed(sample: dict[str, Any]) -> None:
    quiet = slowed(sample, 1.0, "")
    for cell in sample["cells"]:
        cell["figures"]["machine"]["others"] = 0.6
    assert {change.verdict for change in compare(quiet, slowed(sample, 0.5, "node"))} == {"too noisy"}


def test_compare_does_not_call_an_interval_that_touches_the_floor(sample: dict[str, Any]) -> None:
    changes = compare(slowed(sample, 1.0, "", spread=0.1), slowed(sample, 0.85, "node", spread=0.1))
    assert {change.verdict for change in changes} == {"neither"}


def test_compare_does_not_judge_single_repeats(sample: dict[str, Any]) -> None:
    faster = slowed(sample, 2.0, "node").model_dump(by_alias=True)
    for group in faster["summary"]["groups"]:
        group["ok_per_s"]["values"] = group["ok_per_s"]["values"][:1]
    found = compare(Results.model_validate(sample), Results.model_validate(faster))
    changes = [change for change in found if change.metric.name == "ok_per_s"]
    assert {change.verdict for change in changes} == {"neither"}
