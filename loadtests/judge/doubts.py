"""What a reader must know before believing the figures: sentences that stand above them. Nothing here measures."""

from collections.abc import Iterable
from statistics import mean
from typing import Any

from loadtests.judge.figures import failed_fraction

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
# Little's law has no exceptions; the interval that a rate is taken over is known to a little less.
_OVER_CEILING = 1.05
_LONGEST_GAP_MS = 1000

_Doubts = Iterable[tuple[str, str]]


def doubts(results: dict[str, Any]) -> list[dict[str, str]]:
    """Return the ``warnings`` part of results.json."""
    found = [
        *_noise(results),
        *_machine(results["cells"]),
        *_sharing(results),
        *_repeats(results),
        *_bench(results["cells"]),
        *_failed(results["cells"]),
        *_finds(results["cells"]),
        *_ceilings(results["cells"]),
        *_fairness(results["cells"]),
        *_warm_up(results["cells"]),
        *_ramp(results["cells"]),
        *_environment(results["environment"]),
    ]
    return [{"about": about, "text": text} for about, text in found]


def _noise(results: dict[str, Any]) -> _Doubts:
    for entry in results["summary"]["noise"]:
        if entry["difference"] > _A_A:
            yield (
                "a/a",
                f"Too noisy: two runs of {entry['entrant']} differed by {entry['difference']:.0%} on "
                f"{column(entry['column'])}; smaller differences between stacks mean nothing there.",
            )


def _machine(cells: list[dict[str, Any]]) -> _Doubts:
    if not cells:
        return
    steal = mean(cell["machine"]["steal"] for cell in cells)
    others = mean(cell["machine"]["others"] for cell in cells)
    clocks = [cell["machine"]["mhz"] for cell in cells if cell["machine"]["mhz"]]
    if steal > _STEAL:
        yield "steal", f"The hypervisor took {steal:.1%} of the CPU time away (steal), and not from all cells alike."
    if others > _OTHERS:
        yield "load by others", f"Other programs used {others:.0%} of the machine while it was measured."
    if clocks and max(clocks) - min(clocks) > _CLOCK_SPREAD * max(clocks):
        yield "frequency", f"The CPU clock went from {min(clocks):,.0f} to {max(clocks):,.0f} MHz between cells."


def _sharing(results: dict[str, Any]) -> _Doubts:
    machines = results.get("machines")
    if machines:
        if machines["client"]["git"] != machines["server"]["git"]:
            yield (
                "environment",
                "The repository on the server's machine is not the same as here: its stacks may differ.",
            )
    elif None in results["plan"]["placement"].values():
        cpus = results["environment"]["cpus_usable"]
        yield (
            "placement",
            f"Server, database and load generator were not all pinned and share {cpus} CPUs: each takes time from the "
            "others, so the figures rank stacks on this machine and are below what a server alone would reach.",
        )


def _repeats(results: dict[str, Any]) -> _Doubts:
    fewest = min((group["repeats"] for group in results["summary"]["groups"]), default=0)
    if fewest == 1:
        yield "repeats", "Some figures come from a single repeat: they have no interval, and the order is a first look."


def _bench(cells: list[dict[str, Any]]) -> _Doubts:
    most = max((cell["cost"]["bench_cores"] for cell in cells), default=0)
    if most > _BENCH_CORES:
        yield (
            "bench",
            f"The bench itself used up to {most:.1%} of a core while wrk ran; it should stay below {_BENCH_CORES:.0%}.",
        )
    for cell in cells:
        if cell["cost"]["load"]["cores"] > _LOAD_NEARLY_FULL and cell["verdict"]["bottleneck"] != "load generator CPU":
            yield (
                "load generator",
                f"wrk used {cell['cost']['load']['cores']:.2f} cores with {name(cell)}: little was left.",
            )


def _failed(cells: list[dict[str, Any]]) -> _Doubts:
    for cell, worst in _worst(cells, lambda cell: failed_fraction(cell["outcomes"])):
        if worst > 0:
            yield "failures", f"{_percent(worst)} of the requests of {name(cell)} failed."


def _finds(cells: list[dict[str, Any]]) -> _Doubts:
    for cell in cells:
        seen = cell["finds"]
        if seen["verdict"] in ("less", "more"):
            yield (
                "finds",
                f"{name(cell)} answered {seen['replies']:,} requests with {seen['counted']:,} finds: "
                f"{seen['verdict']} work than the others do.",
            )


def _ceilings(cells: list[dict[str, Any]]) -> _Doubts:
    for cell, over in _worst([each for each in cells if each["ceiling"]], _over_its_ceiling):
        if over > _OVER_CEILING:
            yield (
                "ceiling",
                f"{name(cell)} answered {cell['rate']['ok_per_s']:,.0f} a second, and {cell['ceiling']['text']}: "
                "stacks.toml does not say how many finds it can have in the database at once.",
            )


def _over_its_ceiling(cell: dict[str, Any]) -> float:
    return float(cell["rate"]["ok_per_s"] / cell["ceiling"]["per_s"])


def _fairness(cells: list[dict[str, Any]]) -> _Doubts:
    for cell, worst in _worst([cell for cell in cells if cell["fairness"]], lambda cell: 1 - cell["fairness"]["jain"]):
        seen = cell["fairness"]
        replies = seen["replies"]
        if 1 - worst < _JAIN or seen["unanswered"]:
            yield (
                "fairness",
                f"{name(cell)} served its connections unevenly in {seen['duration_s'] - seen['ramp_s']:.1f} s: "
                f"least {replies['least']:.0f}, median {replies['median']:.0f}, most {replies['most']:.0f} replies; "
                f"{seen['unanswered']} had none.",
            )
        elif seen["longest_gap_ms"] > _LONGEST_GAP_MS:
            yield (
                "fairness",
                f"A connection of {name(cell)} waited {seen['longest_gap_ms'] / 1000:.1f} s between two replies.",
            )


def _warm_up(cells: list[dict[str, Any]]) -> _Doubts:
    unstable = list(dict.fromkeys(cell["entrant"] for cell in cells if not cell["warm_up"]["stable"]))
    if unstable:
        yield "warm-up", f"Still getting faster when the warm-up's bound was met: {', '.join(unstable)}."


def _ramp(cells: list[dict[str, Any]]) -> _Doubts:
    for cell, unanswered in _worst(cells, lambda cell: cell["ramp"]["connections"] - cell["ramp"]["answered"]):
        seconds = len(cell["rate"]["windows_ok"]) * cell["rate"]["window_s"]
        if not unanswered and cell["ramp"]["all_answered_ms"] > seconds * 1000 / 2:
            yield (
                "ramp",
                f"The ramp of {name(cell)} took {cell['ramp']['all_answered_ms'] / 1000:.1f} of {seconds:.0f} s, and "
                "the rate has a part of it: measure longer (DURATION=).",
            )
        if unanswered:
            yield (
                "ramp",
                f"{unanswered} connections of {name(cell)} had no first reply within {seconds:.0f} s of load: "
                "the ramp was not over, and its figures are those of the others: measure longer (DURATION=).",
            )


def _environment(environment: dict[str, Any]) -> _Doubts:
    if environment["governor"] not in (None, "performance"):
        yield (
            "frequency",
            f"The CPU governor is {environment['governor']}, not performance: the clock follows the load.",
        )
    if environment["git"] and environment["git"]["uncommitted_changes"]:
        yield "environment", "Measured with uncommitted changes: the commit alone does not repeat it."


def _worst(cells: list[dict[str, Any]], badness: Any) -> Iterable[tuple[dict[str, Any], float]]:
    """Yield the worst cell of each entrant and column, so that one trouble is told once and not in every round."""
    worst: dict[tuple[Any, ...], tuple[dict[str, Any], float]] = {}
    for cell in cells:
        key = (cell["entrant"], cell["endpoint"], cell["connections"], cell["db_latency_ms"])
        bad = badness(cell)
        if key not in worst or bad > worst[key][1]:
            worst[key] = (cell, bad)
    return worst.values()


def name(cell: dict[str, Any]) -> str:
    """Return a cell in words: ``node on /mongo at 200 connections``."""
    return f"{cell['entrant']} on {column(cell)}"


def column(of: dict[str, Any]) -> str:
    """Return a column in words: ``/mongo at 200 connections``."""
    latency = f" with {of['db_latency_ms']} ms added to each find" if of["db_latency_ms"] else ""
    return f"/{of['endpoint']} at {of['connections']:,} connections{latency}"


def _percent(fraction: float) -> str:
    return f"{fraction:.1%}" if fraction >= 0.001 else "Less than 0.1 %"
