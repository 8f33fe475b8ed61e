"""``make compare``: which cells of two battles got better, worse, or neither."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadtests.judge.doubts import column as in_words
from loadtests.judge.estimates import Estimate, difference, ratio
from loadtests.results.file import Results

_FEWEST_REPEATS = 3
_MOST_BY_OTHERS = 0.2
_VERDICTS = ("better", "worse", "neither", "too noisy")


@dataclass(frozen=True)
class Metric:
    """A figure of a group. Two battles of one commit differ by more than their repeats do: by ``floor`` at least."""

    name: str
    label: str
    more_is_better: bool
    floor: float


METRICS = (
    Metric("ok_per_s", "right replies/s", True, 0.05),
    # Its fastest tenth: a request alone that another program has interrupted says nothing of the stack.
    Metric("unloaded_p10_ms", "ms alone (p10)", False, 0.20),
    Metric("cpu_ms_per_request", "server CPU ms/request", False, 0.10),
)


@dataclass(frozen=True)
class Change:
    """One metric of one group in both battles. ``ratio`` is B / A; ``verdict`` is one of ``_VERDICTS``."""

    entrant: str
    column: dict[str, Any]
    metric: Metric
    before: float
    after: float
    ratio: Estimate
    floor: float
    verdict: str


def compare(first: Results, second: Results) -> list[Change]:
    """Return the changes from ``first`` to ``second`` in the groups that both have."""
    found = {_key(group): group for group in second["summary"]["groups"]}
    changes = []
    again = {entrant["label"] for entrant in first["plan"]["entrants"] if entrant["repeats"]}
    for group in first["summary"]["groups"]:
        if group["entrant"] in again:
            continue  # the same stack once more: it is there to show the noise
        other = found.get(_key(group))
        for metric in METRICS:
            before, after = group[metric.name], other[metric.name] if other else None
            if before and after and min(*before["values"], *after["values"]) > 0:
                change = _change(group, metric, before["values"], after["values"], _floor(metric, first, second))
                noisy = busy_with_others(first, group) or busy_with_others(second, group)
                changes.append(replace(change, verdict="too noisy") if noisy else change)
    return changes


def judge(change: Estimate, floor: float, metric: Metric) -> str:
    """Return ``better`` or ``worse`` where the whole interval of the ratio is beyond the floor, else ``neither``."""
    if change.low is None or change.high is None:
        return "neither"
    if change.low > 1 + floor:
        return "better" if metric.more_is_better else "worse"
    if change.high < 1 / (1 + floor):
        return "worse" if metric.more_is_better else "better"
    return "neither"


def busy_with_others(results: Results, group: dict[str, Any]) -> bool:
    """Return whether other programs used so much of the machine that the group's figures are theirs as well."""
    used = [cell["machine"]["others"] for cell in results["cells"] if _is_of(cell, group)]
    return bool(mean(used) > _MOST_BY_OTHERS)


def show_comparison(console: Console, first: Results, second: Results, changes: list[Change]) -> None:
    table = Table(title=f"A {first['id']}   B {second['id']}", title_justify="left")
    for name in ("stack", "column", "figure", "A", "B", "B / A", "95 % interval", ""):
        table.add_column(name, justify="left" if name in ("stack", "column", "figure", "") else "right")
    for change in sorted(changes, key=lambda change: _VERDICTS.index(change.verdict)):
        interval = "too few repeats"
        if change.ratio.low is not None and change.ratio.high is not None:
            interval = f"{change.ratio.low:.2f} to {change.ratio.high:.2f}"
        table.add_row(
            Text(change.entrant),
            in_words(change.column),
            change.metric.label,
            f"{change.before:,.4g}",
            f"{change.after:,.4g}",
            f"{change.ratio.median:.2f}",
            interval,
            change.verdict,
            style={"better": "green", "worse": "red"}.get(change.verdict),
        )
    console.print(table)
    floors = ", ".join(f"{metric.label} {_floor(metric, first, second):.0%}" for metric in METRICS)
    counts = Counter(change.verdict for change in changes)
    console.print(
        f"{counts['better']} better, {counts['worse']} worse, {counts['neither']} neither, "
        f"{counts['too noisy']} too noisy (other programs used over {_MOST_BY_OTHERS:.0%} of the machine). "
        "A change counts when the whole interval of B / A is beyond what two runs of one commit differ by here "
        f"({floors}).",
        highlight=False,
    )


def _change(group: dict[str, Any], metric: Metric, before: list[float], after: list[float], floor: float) -> Change:
    found = ratio(before, after)
    if min(len(before), len(after)) < _FEWEST_REPEATS:
        found = Estimate(found.median, None, None, ())
    return Change(
        entrant=group["entrant"],
        column=group["column"],
        metric=metric,
        before=sorted(before)[len(before) // 2],
        after=sorted(after)[len(after) // 2],
        ratio=found,
        floor=floor,
        verdict=judge(found, floor, metric),
    )


def _floor(metric: Metric, *battles: Results) -> float:
    """Return the larger of the metric's own floor and what an A/A pair of either battle differed by."""
    return max([metric.floor, *(value for battle in battles for value in _a_a(metric, battle))])


def _a_a(metric: Metric, results: Results) -> Iterable[float]:
    groups = {_key(group): group for group in results["summary"]["groups"]}
    again = {entrant["label"]: entrant["repeats"] for entrant in results["plan"]["entrants"] if entrant["repeats"]}
    for group in results["summary"]["groups"]:
        original = groups.get(_key({**group, "entrant": again.get(group["entrant"])}))
        if original and group[metric.name] and original[metric.name]:
            yield difference(group[metric.name]["median"], original[metric.name]["median"])


def _is_of(cell: dict[str, Any], group: dict[str, Any]) -> bool:
    column = group["column"].items()
    return cell["entrant"] == group["entrant"] and all(cell[name] == value for name, value in column)


def _key(group: dict[str, Any]) -> tuple[Any, ...]:
    return (group["entrant"], *group["column"].values())
