"""What a reader must know before believing the figures. A doubt is an entry: when it arises, what it says, the remedy.

The remedy knows the settings that were in use: it asks for nothing that was given already.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import mean

from loadtests.results.battle import Doubt, Results
from loadtests.results.cell import Cell

# Beyond these the machine is too noisy to trust small differences.
_A_A = 0.10
_STEAL = 0.01
_OTHERS = 0.05
_CLOCK_SPREAD = 0.10
# What the bench itself may use, in cores, so that it does not measure itself.
_BENCH_CORES = 0.03
_LOAD_NEARLY_FULL = 0.8
# Below this index, or with a gap of this length, some clients are served far worse than others.
_JAIN = 0.8
_LONGEST_GAP_MS = 1000
# Little's law has no exceptions; the interval that a rate is taken over is known to a little less.
_OVER_CEILING = 1.05

_QUIET = "Stop what else runs on this machine, or take a machine of your own; then measure again."


@dataclass(frozen=True)
class Kind:
    """One kind of doubt. ``arises`` yields its sentences; ``remedy`` returns what helps, None where nothing does."""

    about: str
    arises: Callable[[Results], Iterable[str]]
    remedy: Callable[[Results], str | None]


def doubts(results: Results) -> list[Doubt]:
    """Return every doubt that arises, in the order of ``KINDS``."""
    return [
        Doubt(about=kind.about, text=text, remedy=kind.remedy(results))
        for kind in KINDS
        for text in kind.arises(results)
    ]


def always(text: str) -> Callable[[Results], str | None]:
    return lambda _: text


def nothing_helps(_: Results) -> None:
    return None


def more(*variables: str) -> Callable[[Results], str]:
    """Return a remedy that types the same battle with more of the first variable that it did not set by hand."""

    def typed(results: Results) -> str:
        used = {"ROUNDS": results.plan.rounds, "DURATION": results.plan.measure_s}
        for variable in variables:
            if f" {variable}=" not in results.command:
                value = f"{2 * used[variable]}{'s' if variable == 'DURATION' else ''}"
                return f"Type {with_setting(results.command, variable, value)}"
        return "Take a machine with more to spare, or ask for fewer CONNECTIONS."

    return typed


def with_setting(command: str, variable: str, value: str) -> str:
    """Return a make command with one variable set, in the place of the value that it has there."""
    # Blanks inside of quotes do not end a word.
    words = re.findall(r'(?:[^ "]|"[^"]*")+', command)
    return " ".join([*(word for word in words if not word.startswith(f"{variable}=")), f"{variable}={value}"])


def _noise(results: Results) -> Iterable[str]:
    for entry in results.summary.noise:
        if entry.difference > _A_A:
            yield (
                f"Too noisy: two runs of {entry.entrant} differed by {entry.difference:.0%} on {entry.column}; "
                "smaller differences between stacks mean nothing there."
            )


def _steal(results: Results) -> Iterable[str]:
    steal = mean([cell.figures.machine.steal for cell in results.cells] or [0])
    if steal > _STEAL:
        yield f"The hypervisor took {steal:.1%} of the CPU time away (steal), and not from all cells alike."


def _others(results: Results) -> Iterable[str]:
    others = mean([cell.figures.machine.others for cell in results.cells] or [0])
    if others > _OTHERS:
        yield f"Other programs used {others:.0%} of the machine while it was measured."


def _clock(results: Results) -> Iterable[str]:
    clocks = [cell.figures.machine.mhz for cell in results.cells if cell.figures.machine.mhz]
    if clocks and max(clocks) - min(clocks) > _CLOCK_SPREAD * max(clocks):
        yield f"The CPU clock went from {min(clocks):,.0f} to {max(clocks):,.0f} MHz between cells."


def _governor(results: Results) -> Iterable[str]:
    if results.environment.governor not in (None, "performance"):
        yield f"The CPU governor is {results.environment.governor}, not performance: the clock follows the load."


def _shared(results: Results) -> Iterable[str]:
    placement = results.plan.placement
    if not results.machines and not placement.pinned:
        yield (
            "Server, database and load generator were not all pinned and share "
            f"{results.environment.cpus_usable} CPUs: each takes time from the "
            "others, so the figures rank stacks on this machine and are below what a server alone would reach."
        )


def _pin(results: Results) -> str:
    if results.environment.cpus_usable < 4:
        return "Take a machine with 4 CPUs or more: there each part gets its own. Or take three machines (SERVER=)."
    return "Leave CPUS_SERVER, CPUS_DB and CPUS_LOAD out: then each part gets its own CPUs. Or take machines (SERVER=)."


def _two_checkouts(results: Results) -> Iterable[str]:
    if results.machines and results.machines.client.git != results.environment.git:
        yield "The repository on the server's machine is not the same as here: its stacks may differ."


def _uncommitted(results: Results) -> Iterable[str]:
    git = results.environment.git
    if git and git.uncommitted_changes:
        yield f"Measured with uncommitted changes on top of {git.commit[:10]}: the commit alone does not repeat it."


def _single(results: Results) -> Iterable[str]:
    if min((group.repeats for group in results.summary.groups), default=0) == 1:
        yield "Some figures come from a single repeat: they have no interval, and the order is a first look."


def _more_rounds(results: Results) -> str | None:
    if results.state != "complete":
        return f"Go on with make battle RESUME={results.id}"
    command = results.command.replace("make battle-quick", "make battle")
    return f"Type {with_setting(command, 'ROUNDS', str(max(3, results.plan.rounds)))}"


def _bench(results: Results) -> Iterable[str]:
    most = max((cell.figures.cost.bench_cores for cell in results.cells), default=0)
    if most > _BENCH_CORES:
        yield (
            f"The bench itself used up to {most:.1%} of a core while wrk ran; it should stay below {_BENCH_CORES:.0%}."
        )


def _generator(results: Results) -> Iterable[str]:
    for cell in results.cells:
        cores = cell.figures.cost.load.cores
        if cores > _LOAD_NEARLY_FULL and cell.verdict.bottleneck != "load generator CPU":
            yield f"wrk used {cores:.2f} cores with {cell}: little was left."


def _more_threads(results: Results) -> str:
    used = results.plan.threads_wrk
    if used < results.environment.cpus_usable:
        return f"Type {with_setting(results.command, 'THREADS_WRK', str(used + 1))}"
    return "Let wrk run on a machine of its own (SERVER=)."


def _failed(results: Results) -> Iterable[str]:
    for cell, worst in _worst(results.cells, lambda cell: cell.figures.outcomes.failed_fraction):
        if worst > 0:
            yield f"{_percent(worst)} of the requests of {cell} failed."


def _finds(results: Results) -> Iterable[str]:
    for cell in results.cells:
        seen = cell.figures.finds
        if seen.verdict in ("less", "more"):
            yield (
                f"{cell} answered {seen.replies:,} requests with {seen.counted:,} finds: "
                f"{seen.verdict} work than the others do."
            )


def _ceilings(results: Results) -> Iterable[str]:
    for cell, over in _worst([each for each in results.cells if each.figures.ceiling], _over_its_ceiling):
        if over > _OVER_CEILING and cell.figures.ceiling:
            yield f"{cell} answered {cell.figures.rate.ok_per_s:,.0f} a second, and {cell.figures.ceiling.text}."


def _over_its_ceiling(cell: Cell) -> float:
    return cell.figures.rate.ok_per_s / cell.figures.ceiling.per_s if cell.figures.ceiling else 0.0


def _unfair(results: Results) -> Iterable[str]:
    for cell, uneven in _worst(results.cells, _unevenness):
        seen = cell.figures.fairness
        if seen and (1 - uneven < _JAIN or seen.unanswered):
            yield (
                f"{cell} served its connections unevenly in {seen.duration_s - seen.ramp_s:.1f} s: "
                f"least {seen.replies.least:.0f}, median {seen.replies.median:.0f}, most {seen.replies.most:.0f} "
                f"replies; {seen.unanswered} had none."
            )
        elif seen and seen.longest_gap_ms > _LONGEST_GAP_MS:
            yield f"A connection of {cell} waited {seen.longest_gap_ms / 1000:.1f} s between two replies."


def _unevenness(cell: Cell) -> float:
    return 1 - cell.figures.fairness.jain if cell.figures.fairness else 0.0


def _cold(results: Results) -> Iterable[str]:
    unstable = list(dict.fromkeys(cell.entrant for cell in results.cells if not cell.counts.warm_up.stable))
    if unstable:
        yield f"Still getting faster when the warm-up's bound was met: {', '.join(unstable)}."


def _ramp(results: Results) -> Iterable[str]:
    for cell, unanswered in _worst(results.cells, _unanswered_in_ramp):
        seconds, everyone_ms = cell.counts.wrk.asked_s, cell.figures.ramp.all_answered_ms
        if unanswered:
            yield (
                f"{unanswered:.0f} connections of {cell} had no first reply within {seconds} s of load: "
                "the ramp was not over, and its figures are those of the others."
            )
        elif everyone_ms and everyone_ms > seconds * 1000 / 2:
            yield f"The ramp of {cell} took {everyone_ms / 1000:.1f} of {seconds} s, and the rate has a part of it."


def _unanswered_in_ramp(cell: Cell) -> float:
    return cell.column.connections - cell.figures.ramp.answered


def _worst(cells: list[Cell], badness: Callable[[Cell], float]) -> Iterable[tuple[Cell, float]]:
    """Yield the worst cell of each entrant and column, so that one trouble is told once and not in every round."""
    worst: dict[object, tuple[Cell, float]] = {}
    for cell in cells:
        key, bad = (cell.entrant, cell.column), badness(cell)
        if key not in worst or bad > worst[key][1]:
            worst[key] = (cell, bad)
    return worst.values()


def _percent(fraction: float) -> str:
    return f"{fraction:.1%}" if fraction >= 0.001 else "Less than 0.1 %"


KINDS = (
    Kind("a/a", _noise, more("ROUNDS", "DURATION")),
    Kind("steal", _steal, always("Take a machine whose processors are not shared.")),
    Kind("load by others", _others, always(_QUIET)),
    Kind("frequency", _clock, always("Fix the clock: as root, cpupower frequency-set --governor performance")),
    Kind("placement", _shared, _pin),
    Kind("environment", _two_checkouts, always("Check the same commit out there, without changes.")),
    Kind("repeats", _single, _more_rounds),
    Kind("bench", _bench, always(_QUIET)),
    Kind("load generator", _generator, _more_threads),
    Kind("failures", _failed, always("Read the verdict of that cell, and the server's log beside the results.")),
    Kind("finds", _finds, always("Let nobody else use this MongoDB, then measure again.")),
    Kind("ceiling", _ceilings, always("Correct finds_each of that stack in stacks.toml.")),
    Kind("fairness", _unfair, nothing_helps),
    Kind("warm-up", _cold, more("DURATION", "ROUNDS")),
    Kind("ramp", _ramp, more("DURATION")),
    Kind("frequency", _governor, always("As root, type cpupower frequency-set --governor performance")),
    Kind("environment", _uncommitted, always("Commit, then measure again.")),
)
"""Every kind of doubt that the bench has."""
