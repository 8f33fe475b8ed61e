"""What limited a figure: a verdict in words, from evidence. Nothing here measures."""

from loadtests.results.cell import Bottleneck, Column, Figures, Known, Verdict

# A core this busy has nothing left to give: the scheduler and the sampling hide the rest.
_FULL = 0.9
# A process that runs one thread at a time is full here, and one that uses more has threads that run side by side.
_NEARLY_FULL = 0.85
_ONE_THREAD_AT_A_TIME = 1.1
# With this much of the machine idle, whoever waits does not wait for a processor.
_ROOM = 0.8
# The share of its slots that a stack must fill before they are called the limit.
_SLOTS_FULL = 0.85
_MOSTLY_FAILING = 0.5


class _Seen:
    """One cell, and what several rules ask of it. CPU use in cores."""

    def __init__(self, known: Known, column: Column, figures: Figures) -> None:
        self.known, self.column, self.figures = known, column, figures
        cost, machine = figures.cost, figures.machine
        self.server, self.load = cost.server.cores, cost.load.cores
        self.database = cost.database.cores if cost.database else None
        ours = self.server if known.apart else self.server + self.load + (self.database or 0.0)
        # Where only some CPUs may be used, the battle can fill those while the machine is not full.
        self.machine_busy = max(machine.busy + machine.steal, min(1.0, ours / known.machine_cpus))
        self.db_latency_ms = column.db_latency_ms if column.endpoint != "sleep" else 0
        # How many requests were inside the injected latency on average (Little's law).
        self.finds_at_once = figures.rate.ok_per_s * self.db_latency_ms / 1000


def judge(known: Known, column: Column, figures: Figures) -> Verdict:
    """Return what limited the figure: the first rule that holds."""
    seen = _Seen(known, column, figures)
    bottleneck, why = (
        _failing(seen)
        or _load_generator(seen)
        or (_pinned(seen) if known.pinned else _full_machine(seen))
        or _worker_processes(seen)
        or _slots(seen)
        or _waiting(seen)
        or ("not clear", f"the machine was {seen.machine_busy:.0%} busy, and nothing of it was full.")
    )
    text = f"{bottleneck[0].upper()}{bottleneck[1:]}: {why}"
    lower_bound = bottleneck in ("load generator CPU", "database CPU")
    if lower_bound:
        text += " The figure is a lower bound for the stack."
    return Verdict(bottleneck=bottleneck, text=text, lower_bound=lower_bound, evidence=_facts(seen))


_Verdict = tuple[Bottleneck, str] | None


def _failing(seen: _Seen) -> _Verdict:
    failed = seen.figures.outcomes.failed_fraction
    if failed <= _MOSTLY_FAILING:
        return None
    return "failing", f"{failed:.0%} of the requests failed, so the rate is not one of work done."


def _load_generator(seen: _Seen) -> _Verdict:
    most = min(seen.known.load_threads, seen.known.load_cpus)
    if seen.load < _FULL * most:
        return None
    return "load generator CPU", f"wrk used {seen.load:.2f} of the {most} cores it can use."


def _full_machine(seen: _Seen) -> _Verdict:
    if seen.machine_busy < _FULL:
        return None
    users: dict[Bottleneck, float] = {
        "server CPU": seen.server,
        "database CPU": seen.database or 0.0,
        "load generator CPU": seen.load,
    }
    cpus = seen.known.machine_cpus
    shares = f"server {seen.server:.2f}, database {_cores(seen.database)}, load generator {seen.load:.2f}"
    if sum(users.values()) < 0.5 * seen.machine_busy * cpus:
        return "not clear", f"the machine was full with work that is no part of the battle ({shares} cores)."
    return max(users, key=lambda name: users[name]), f"all {cpus} cores were busy ({shares})."


def _pinned(seen: _Seen) -> _Verdict:
    known = seen.known
    if seen.database is not None and seen.database >= _FULL * known.database_cpus:
        return "database CPU", f"mongod filled its {known.database_cpus} CPUs ({seen.database:.2f} cores)."
    if seen.server >= _FULL * known.server_cpus:
        return "server CPU", f"the server filled its {known.server_cpus} CPUs ({seen.server:.2f} cores)."
    return None


def _worker_processes(seen: _Seen) -> _Verdict:
    """One thread runs at a time in a CPython or Node process, so a process can be full while the machine is not."""
    by_process, workers = seen.figures.cost.server.cores_by_process, seen.known.workers
    busiest, *others = by_process or [0.0]
    if not _NEARLY_FULL <= busiest <= _ONE_THREAD_AT_A_TIME:
        return None
    full = sum(cores >= _NEARLY_FULL for cores in by_process)
    if workers > 1 and full == 1 and sum(others) < 0.6 * busiest * (workers - 1):
        text = f"one process used {busiest:.2f} of a core, the others {sum(others):.2f} together."
        return "one worker of many busy", text
    if full >= workers:
        return "server CPU", f"each of its {workers} processes filled a core, and other cores were free."
    return None


def _slots(seen: _Seen) -> _Verdict:
    at_once, slots, connections = seen.finds_at_once, seen.known.slots, seen.column.connections
    if not seen.db_latency_ms:
        return None
    if slots is not None and slots < connections and at_once >= _SLOTS_FULL * slots:
        return (
            "pool too small",
            f"its {slots} {seen.known.slots_are} were all in the database ({at_once:.0f} finds at once) "
            f"while {connections} connections asked.",
        )
    if seen.machine_busy < _ROOM and at_once < 0.6 * connections:
        return (
            "pool too small",
            f"{at_once:.0f} finds at once were in the database while {connections} connections "
            "asked and no processor was full, so its workers, threads or pooled connections end there.",
        )
    return None


def _waiting(seen: _Seen) -> _Verdict:
    if seen.machine_busy >= _ROOM:
        return None
    if seen.db_latency_ms:
        return (
            "waiting",
            f"{seen.finds_at_once:.0f} of {seen.column.connections} connections were inside the database's "
            f"{seen.db_latency_ms} ms, and no processor was full; more connections would be served.",
        )
    return (
        "waiting",
        f"no processor was full (machine {seen.machine_busy:.0%} busy) and a reply took "
        f"{seen.figures.latency_ms.mean:.1f} ms, so requests wait for something other than CPU.",
    )


def _facts(seen: _Seen) -> list[str]:
    known, column = seen.known, seen.column
    facts = [
        f"machine {seen.machine_busy:.0%} busy, {known.machine_cpus} CPUs",
        f"cores used: server {seen.server:.2f}, database {_cores(seen.database)}, "
        f"load generator {seen.load:.2f} ({known.load_threads} threads)",
        "cores by server process: " + " ".join(f"{each:.2f}" for each in seen.figures.cost.server.cores_by_process[:8]),
        f"mean latency {seen.figures.latency_ms.mean:.1f} ms with {column.connections} connections",
    ]
    if seen.db_latency_ms:
        facts.append(
            f"{seen.finds_at_once:.1f} finds at once in the injected {seen.db_latency_ms} ms; "
            f"slots {known.slots or 'unknown'}"
        )
    return facts


def _cores(cores: float | None) -> str:
    return "unknown" if cores is None else f"{cores:.2f}"
