"""``make compare``: which cells of two battles got better, worse, or neither."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadtests.doubts import column as in_words
from loadtests.estimates import Estimate, difference, ratio
from loadtests.results import Results

_FEWEST_REPEATS = 3


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
    """One metric of one group in both battles. ``ratio`` is B / A; ``verdict`` is better, worse or neither."""

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
                changes.append(_change(group, metric, before["values"], after["values"], _floor(metric, first, second)))
    return changes


def judge(change: Estimate, floor: float, metric: Metric) -> str:
    """Return ``better`` or ``worse`` only where the interval of the ratio leaves out 1 and the floor is passed."""
    if (
        change.low is None
        or change.high is None
        or difference(change.median, 1) <= floor
        or change.low <= 1 <= change.high
    ):
        return "neither"
    return "better" if (change.median > 1) == metric.more_is_better else "worse"


def show_comparison(console: Console, first: Results, second: Results, changes: list[Change]) -> None:
    table = Table(title=f"A {first['id']}   B {second['id']}", title_justify="left")
    for name in ("stack", "column", "figure", "A", "B", "B / A", "95 % interval", ""):
        table.add_column(name, justify="left" if name in ("stack", "column", "figure", "") else "right")
    for change in sorted(changes, key=lambda change: change.verdict == "neither"):
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
    counts = {
        verdict: sum(change.verdict == verdict for change in changes) for verdict in ("better", "worse", "neither")
    }
    console.print(
        f"{counts['better']} better, {counts['worse']} worse, {counts['neither']} neither. A change counts when the "
        f"interval of B / A leaves out 1 and it is larger than what two runs of one commit differ by here ({floors}).",
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


def _key(group: dict[str, Any]) -> tuple[Any, ...]:
    return (group["entrant"], *group["column"].values())
