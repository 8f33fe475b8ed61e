"""``make compare``: which cells of two battles got better, worse, or neither."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import mean

from loadtests.judge.estimates import difference, ratio
from loadtests.results.battle import Estimate, Group, Results
from loadtests.results.cell import Column

_FEWEST_REPEATS = 3
MOST_BY_OTHERS = 0.2
VERDICTS = ("better", "worse", "neither", "too noisy")


@dataclass(frozen=True)
class Metric:
    """A figure of a group. Two battles of one commit differ by more than their repeats do: by ``floor`` at least."""

    name: str
    label: str
    more_is_better: bool
    floor: float

    def of(self, group: Group) -> Estimate | None:
        found: Estimate | None = getattr(group, self.name)
        return found


METRICS = (
    Metric("ok_per_s", "right replies/s", True, 0.05),
    # Its fastest tenth: a request alone that another program has interrupted says nothing of the stack.
    Metric("alone_p10_ms", "ms alone (p10)", False, 0.20),
    Metric("cpu_ms_per_request", "server CPU ms/request", False, 0.10),
)


@dataclass(frozen=True)
class Change:
    """One metric of one group in both battles. ``ratio`` is B / A; ``verdict`` is one of ``VERDICTS``."""

    entrant: str
    column: Column
    metric: Metric
    before: float
    after: float
    ratio: Estimate
    verdict: str


def compare(first: Results, second: Results) -> list[Change]:
    """Return the changes from ``first`` to ``second`` in the groups that both have."""
    found = {(group.entrant, group.column): group for group in second.summary.groups}
    changes = []
    contestants = {entrant.label for entrant in first.plan.contestants}
    for group in first.summary.groups:
        if group.entrant not in contestants:
            continue
        other = found.get((group.entrant, group.column))
        for metric in METRICS:
            before, after = metric.of(group), metric.of(other) if other else None
            if before and after and min(*before.values, *after.values) > 0:
                change = _change(group, metric, before.values, after.values, floor(metric, first, second))
                noisy = _busy_with_others(first, group) or _busy_with_others(second, group)
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


def floor(metric: Metric, *battles: Results) -> float:
    """Return the larger of the metric's own floor and what an A/A pair of either battle differed by."""
    return max([metric.floor, *(value for battle in battles for value in _a_a(metric, battle))])


def _busy_with_others(results: Results, group: Group) -> bool:
    """Return whether other programs used so much of the machine that the group's figures are theirs as well."""
    cells = [cell for cell in results.cells if (cell.entrant, cell.column) == (group.entrant, group.column)]
    return mean(cell.figures.machine.others for cell in cells) > MOST_BY_OTHERS


def _change(group: Group, metric: Metric, before: list[float], after: list[float], floor: float) -> Change:
    found = ratio(before, after)
    if min(len(before), len(after)) < _FEWEST_REPEATS:
        found = Estimate(median=found.median, low=None, high=None)
    return Change(
        entrant=group.entrant,
        column=group.column,
        metric=metric,
        before=sorted(before)[len(before) // 2],
        after=sorted(after)[len(after) // 2],
        ratio=found,
        verdict=judge(found, floor, metric),
    )


def _a_a(metric: Metric, results: Results) -> Iterable[float]:
    groups = {(group.entrant, group.column): group for group in results.summary.groups}
    for entrant in results.plan.entrants:
        for column in results.plan.columns:
            again, original = groups.get((entrant.label, column)), groups.get((entrant.repeats or "", column))
            if again and original and (one := metric.of(again)) and (other := metric.of(original)):
                yield difference(one.median, other.median)
