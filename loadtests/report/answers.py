"""What a reader came for, in words: who is fastest, how sure that is, and which stack for which case."""

from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.judge.estimates import difference
from loadtests.report.reading import (
    DOCUMENTS,
    cells,
    columns,
    delayed_columns,
    group,
    group_of,
    in_words,
    measured_endpoints,
    ranking,
    threads_held,
    typical,
)
from loadtests.results.battle import Group, Results
from loadtests.results.cell import Column

_MEGABYTE = 1_000_000
# A stack that fails more than one request in a thousand is not recommended, however fast it is.
_FAILS_TOO_OFTEN = 0.001
# A stack with this many threads for each connection has one thread for each of them.
_THREAD_EACH = 0.5
# Memory figures closer than this are the same: pages are shared and freed as it happens.
_SAME_MEMORY = 0.1


@dataclass(frozen=True)
class Answer:
    """A case, the stacks to choose for it (none: not known), and why."""

    case: str
    stacks: list[str]
    why: str


def headlines(results: Results) -> list[str]:
    """Return a sentence for each document at the fewest connections of the plan."""
    said = [_headline(results, columns(results, endpoint)[0]) for endpoint in measured_endpoints(results)]
    return [sentence for sentence in said if sentence]


def how_sure(results: Results) -> str:
    """Return in words what a difference must be before it means something."""
    rounds = results.plan.rounds
    repeats = [found.repeats for found in results.summary.groups]
    if not repeats:
        return "Nothing was measured yet."
    said = []
    for endpoint in measured_endpoints(results):
        ranked = ranking(results, columns(results, endpoint)[0])
        noise, source = ranked.noise, ranked.noise_by
        how = "a stack run twice differed by that" if source == "a/a" else "assumed: no stack was run twice"
        said.append(f"{100 * noise:.1f} % for the {DOCUMENTS[endpoint]} ({how})")
    if max(repeats) == 1:
        start = "Each figure was measured once, so there is no interval: take this as a first look."
    else:
        start = f"{_count(repeats)} of {rounds} planned; the lines on the bars are 95 % intervals."
    return (
        f"{start} Smaller differences mean nothing here: {joined(said)}. Stacks closer than that, or with overlapping "
        "intervals, are a tie."
    )


def choices(results: Results) -> list[Answer]:
    """Return which stacks to choose for each case."""
    return [_fast_database(results), _slow_database(results), _idle_connections(results), _little_memory(results)]


def leaders(results: Results, column: Column) -> list[str]:
    """Return the entrants of rank 1 that do not fail too often: nobody is faster beyond doubt."""
    ranks = [row for row in ranking(results, column).rows if not _fails(results, row.entrant, column)]
    best = min((row.rank for row in ranks), default=1)
    return [row.entrant for row in ranks if row.rank == best]


def joined(names: Sequence[str]) -> str:
    """Return ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def per_s(found: Group) -> str:
    """Return a group's rate; ``≥`` where the load generator or the database was the limit."""
    return f"{'≥ ' if found.lower_bound else ''}{found.ok_per_s.median:,.0f}"


def interval(found: Group) -> str:
    rate = found.ok_per_s
    return "one repeat" if rate.low is None else f"{rate.low:,.0f} to {rate.high:,.0f}"


def _headline(results: Results, column: Column) -> str:
    rows = ranking(results, column).rows
    best = leaders(results, column)
    if not best:
        return ""
    groups = {row.entrant: group_of(results, row.entrant, column) for row in rows}
    where = in_words(column)
    start = f"{where[0].upper()}{where[1:]}: "
    rates = [groups[name].ok_per_s.median for name in best]
    with_rates = f"with {min(rates):,.0f}{f' to {max(rates):,.0f}' if len(best) > 1 else ''} right replies a second"
    bounds = [name for name in best if groups[name].lower_bound]
    if bounds:
        with_rates += f" (at least, for {joined(bounds)})"
    slowest = rows[-1].entrant
    if len(best) == len(rows) > 1:
        return f"{start}no winner. {joined(best)} tie {with_rates}."
    said = f"{start}{joined(best)} {'tie for first' if len(best) > 1 else 'is fastest'} {with_rates}"
    if slowest in best or not groups[slowest].ok_per_s.median:
        return f"{said}."
    times = max(rates) / groups[slowest].ok_per_s.median
    return f"{said}, {'up to ' if len(best) > 1 else ''}{times:.1f} times as many as {slowest}, the slowest."


def _fast_database(results: Results) -> Answer:
    case = "The database answers at once"
    first = next((columns(results, endpoint)[0] for endpoint in measured_endpoints(results)), None)
    if first is None or first.db_latency_ms or first.endpoint == "sleep":
        return Answer(case, [], "Not measured: no find ran without added latency in this plan.")
    best = leaders(results, first)
    if not best:
        return Answer(case, [], "Not measured yet.")
    costs = {name: found.median for name in best if (found := group_of(results, name, first).cpu_ms_per_request)}
    cheapest = min(costs, key=lambda name: costs[name], default=None)
    why = _why(best, first)
    if cheapest and len(best) > 1:
        why += f" Of these {cheapest} takes the least CPU, {costs[cheapest]:.2f} ms for each request."
    return Answer(case, best, why + _left_out(results, first))


def _slow_database(results: Results) -> Answer:
    case = "The database is slow, at times or always"
    delayed = delayed_columns(results)
    if not delayed:
        return Answer(case, [], "Not measured: no latency was added in this plan. Add DB_LATENCY_MS=20 to the command.")
    slowest = delayed[-1]
    best = leaders(results, slowest)
    if not best:
        return Answer(case, [], "Not measured yet.")
    held = [
        name
        for row in ranking(results, slowest).rows
        if "pool too small" in group_of(results, name := row.entrant, slowest).bottlenecks and name not in best
    ]
    why = _why(best, slowest)
    if held:
        why += f" Held at their ceiling of slots / latency, however little CPU they need: {joined(held)}."
    return Answer(case, best, why + _left_out(results, slowest))


def _idle_connections(results: Results) -> Answer:
    case = "Many connections are open and mostly idle"
    column = _most_connections(results)
    if column is None:
        return Answer(case, [], "Not measured yet.")
    held = {
        entrant.label: threads
        for entrant in results.plan.contestants
        if entrant.keep_alive and (threads := threads_held(results, entrant.label, column)) is not None
    }
    each = [name for name, threads in held.items() if threads >= _THREAD_EACH]
    free = {name: memory for name in held if name not in each and (memory := _memory(results, name, column))}
    if not free:
        return Answer(case, [], "Each of the stacks measured here holds a thread for an open connection, or closes it.")
    busy = f"{column.connections:,} busy connections"
    why = f"An open connection costs them no thread; these take the least memory at {busy}."
    if each:
        why += f" A thread for each connection: {joined(each)}."
    closing = [entrant.label for entrant in results.plan.contestants if not entrant.keep_alive]
    if closing:
        why += f" Closed after each reply: {joined(closing)}."
    return Answer(case, _least(free), f"{why} Judged by these figures: idle connections themselves were not measured.")


def _little_memory(results: Results) -> Answer:
    case = "Memory is short"
    column = _most_connections(results)
    known = {
        entrant.label: memory
        for entrant in results.plan.contestants
        if column and (memory := _memory(results, entrant.label, column))
    }
    if column is None or not known:
        return Answer(case, [], "Not measured.")
    least, most = min(known.values()), max(known.values())
    hungriest = max(known, key=lambda name: known[name])
    why = (
        f"From {least / _MEGABYTE:,.0f} MB ({in_words(column)}); {hungriest} takes the most, "
        f"{most / _MEGABYTE:,.0f} MB. All processes of the server together, shared pages counted once."
    )
    return Answer(case, _least(known), why + _left_out(results, column))


def _why(best: list[str], column: Column) -> str:
    if len(best) == 1:
        return f"Faster than the others beyond doubt ({in_words(column)})."
    return f"A tie: none of them is faster beyond doubt ({in_words(column)})."


def _least(amounts: dict[str, float]) -> list[str]:
    least = min(amounts.values())
    from_least = sorted(amounts, key=lambda name: amounts[name])
    return [name for name in from_least if difference(amounts[name], least) <= _SAME_MEMORY]


def _most_connections(results: Results) -> Column | None:
    found = [column for endpoint in measured_endpoints(results)[:1] for column in columns(results, endpoint)]
    measured = [column for column in found if ranking(results, column).rows]
    return measured[-1] if measured else None


def _memory(results: Results, name: str, column: Column) -> float | None:
    if _fails(results, name, column):
        return None
    return typical(cells(results, name, column), lambda cell: cell.figures.cost.server.pss_peak_bytes)


def _fails(results: Results, name: str, column: Column) -> bool:
    found = group(results, name, column)
    return found is not None and found.failed_fraction > _FAILS_TOO_OFTEN


def _left_out(results: Results, column: Column) -> str:
    failing = [row.entrant for row in ranking(results, column).rows if _fails(results, row.entrant, column)]
    return f" Left out, since they failed more than one request in a thousand: {joined(failing)}." if failing else ""


def _count(repeats: list[int]) -> str:
    least, most = min(repeats), max(repeats)
    return f"{most} repeats" if least == most else f"{least} to {most} repeats"
