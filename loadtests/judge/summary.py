"""From the cells of a battle to its summary: estimates, what two runs of one stack differed by, and the ranking."""

from collections.abc import Iterable

from loadtests.judge.estimates import ASSUMED_NOISE, STATISTICS, estimate, noise, ranking
from loadtests.results.battle import Estimate, Group, Noise, Planned, Ranked, Summary
from loadtests.results.cell import Cell, Column


def summarise(plan: Planned, cells: list[Cell]) -> Summary:
    groups = [_group(label, column, found) for label, column, found in _grouped(plan, cells)]
    noises = list(_noises(plan, cells))
    return Summary(
        statistics=STATISTICS,
        noise=noises,
        groups=groups,
        ranking=[_ranked(plan, column, groups, noises) for column in plan.columns],
    )


def _grouped(plan: Planned, cells: list[Cell]) -> Iterable[tuple[str, Column, list[Cell]]]:
    for column in plan.columns:
        for entrant in plan.entrants:
            found = [cell for cell in cells if (cell.entrant, cell.column) == (entrant.label, column)]
            if found:
                yield entrant.label, column, found


def _group(label: str, column: Column, cells: list[Cell]) -> Group:
    def over(values: Iterable[float | None]) -> Estimate | None:
        known = [value for value in values if value is not None]
        return estimate(known) if known else None

    figures = [cell.figures for cell in cells]
    alone = [each.alone_ms for each in figures if each.alone_ms]
    return Group(
        entrant=label,
        column=column,
        repeats=len(cells),
        ok_per_s=estimate([each.rate.ok_per_s for each in figures]),
        p50_ms=over(each.latency_ms.p50 for each in figures),
        p99_ms=over(each.latency_ms.p99 for each in figures),
        alone_ms=over(seen.median for seen in alone),
        alone_p10_ms=over(seen.p10 for seen in alone),
        cpu_ms_per_request=over(each.cost.server.cpu_ms_per_request for each in figures),
        pss_peak_bytes=over(each.cost.server.pss_peak_bytes for each in figures),
        failed_fraction=round(max(each.outcomes.failed_fraction for each in figures), 6),
        lower_bound=any(cell.verdict.lower_bound for cell in cells),
        bottlenecks=list(dict.fromkeys(cell.verdict.bottleneck for cell in cells)),
    )


def _ranked(plan: Planned, column: Column, groups: list[Group], noises: list[Noise]) -> Ranked:
    found = [entry.difference for entry in noises if entry.column == column]
    fraction = max(found, default=ASSUMED_NOISE)
    labels = {entrant.label for entrant in plan.contestants}
    rates = {each.entrant: each.ok_per_s for each in groups if each.column == column and each.entrant in labels}
    return Ranked(
        column=column,
        noise=fraction,
        noise_by="a/a" if found else "assumed",
        rows=ranking(rates, fraction),
    )


def _noises(plan: Planned, cells: list[Cell]) -> Iterable[Noise]:
    rates = {(cell.entrant, cell.round, cell.column): cell.figures.rate.ok_per_s for cell in cells}
    for entrant in plan.entrants:
        if entrant.repeats is None:
            continue
        for column in plan.columns:
            pairs = [
                (rates[first], rates[second])
                for number in range(1, plan.rounds + 1)
                if (first := (entrant.repeats, number, column)) in rates
                and (second := (entrant.label, number, column)) in rates
            ]
            if pairs:
                yield Noise(entrant=entrant.repeats, column=column, difference=round(noise(pairs), 4))
