"""What limited a figure: a verdict in words, from evidence. Nothing here measures."""

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Evidence:
    """What is known of one cell. CPU use in cores; a group's ``*_cpus`` is how many it may run on."""

    slots_are: str
    connections: int
    ok_per_s: float
    mean_latency_ms: float
    failed_fraction: float
    db_latency_ms: int
    slots: int | None
    workers: int | None
    machine_busy: float
    machine_cpus: int
    pinned: bool
    server_cores: float
    server_cpus: int
    server_by_process: tuple[float, ...]
    load_cores: float
    load_threads: int
    load_cpus: int
    database_cores: float | None
    database_cpus: int

    @property
    def finds_at_once(self) -> float:
        """How many requests were inside the injected latency on average (Little's law)."""
        return self.ok_per_s * self.db_latency_ms / 1000


def judge(seen: Evidence) -> Verdict:
    """Return what limited the figure: the first rule that holds."""
    bottleneck, text = (
        _failing(seen)
        or _load_generator(seen)
        or (_pinned(seen) if seen.pinned else _full_machine(seen))
        or _worker_processes(seen)
        or _slots(seen)
        or _waiting(seen)
        or ("not clear", f"Not clear: the machine was {seen.machine_busy:.0%} busy, and nothing of it was full.")
    )
    lower_bound = bottleneck in ("load generator CPU", "database CPU")
    if lower_bound:
        text += " The figure is a lower bound for the stack."
    return Verdict(bottleneck=bottleneck, text=text, lower_bound=lower_bound, evidence=_facts(seen))


def evidence(known: Known, column: Column, figures: Figures) -> Evidence:
    """Return what the rules look at."""
    cost, machine = figures.cost, figures.machine
    here = (cost.server,) if known.apart else (cost.server, cost.load, cost.database)
    ours = sum(part.cores for part in here if part)
    return Evidence(
        slots_are=known.slots_are,
        connections=column.connections,
        ok_per_s=figures.rate.ok_per_s,
        mean_latency_ms=figures.latency_ms.mean,
        failed_fraction=figures.outcomes.failed_fraction,
        db_latency_ms=column.db_latency_ms if column.endpoint != "sleep" else 0,
        slots=known.slots,
        workers=known.workers,
        # Where only some CPUs may be used, the battle can fill those while the machine is not full.
        machine_busy=max(machine.busy + machine.steal, min(1.0, ours / known.machine_cpus)),
        machine_cpus=known.machine_cpus,
        pinned=known.pinned,
        server_cores=cost.server.cores,
        server_cpus=known.server_cpus,
        server_by_process=tuple(cost.server.cores_by_process),
        load_cores=cost.load.cores,
        load_threads=known.load_threads,
        load_cpus=known.load_cpus,
        database_cores=cost.database.cores if cost.database else None,
        database_cpus=known.database_cpus,
    )


_Verdict = tuple[Bottleneck, str] | None


def _failing(seen: Evidence) -> _Verdict:
    if seen.failed_fraction <= _MOSTLY_FAILING:
        return None
    return (
        "failing",
        f"Failing: {seen.failed_fraction:.0%} of the requests failed, so the rate is not one of work done.",
    )


def _load_generator(seen: Evidence) -> _Verdict:
    most = min(seen.load_threads, seen.load_cpus)
    if seen.load_cores < _FULL * most:
        return None
    return "load generator CPU", f"Load generator CPU: wrk used {seen.load_cores:.2f} of the {most} cores it can use."


def _full_machine(seen: Evidence) -> _Verdict:
    if seen.machine_busy < _FULL:
        return None
    users: dict[Bottleneck, float] = {
        "server CPU": seen.server_cores,
        "database CPU": seen.database_cores or 0.0,
        "load generator CPU": seen.load_cores,
    }
    most = max(users, key=lambda name: users[name])
    shares = (
        f"server {seen.server_cores:.2f}, database {_cores(seen.database_cores)}, load generator {seen.load_cores:.2f}"
    )
    if sum(users.values()) < 0.5 * seen.machine_busy * seen.machine_cpus:
        return "not clear", f"Not clear: the machine was full with work that is no part of the battle ({shares} cores)."
    return most, f"{most[0].upper()}{most[1:]}: all {seen.machine_cpus} cores were busy ({shares})."


def _pinned(seen: Evidence) -> _Verdict:
    if seen.database_cores is not None and seen.database_cores >= _FULL * seen.database_cpus:
        return (
            "database CPU",
            f"Database CPU: mongod filled its {seen.database_cpus} CPUs ({seen.database_cores:.2f} cores).",
        )
    if seen.server_cores >= _FULL * seen.server_cpus:
        return (
            "server CPU",
            f"Server CPU: the server filled its {seen.server_cpus} CPUs ({seen.server_cores:.2f} cores).",
        )
    return None


def _worker_processes(seen: Evidence) -> _Verdict:
    """One thread runs at a time in a CPython or Node process, so a process can be full while the machine is not."""
    busiest, *others = seen.server_by_process or (0.0,)
    workers = seen.workers or max(1, len(others))
    if not _NEARLY_FULL <= busiest <= _ONE_THREAD_AT_A_TIME:
        return None
    full = sum(cores >= _NEARLY_FULL for cores in seen.server_by_process)
    if workers > 1 and full == 1 and sum(others) < 0.6 * busiest * (workers - 1):
        return (
            "one worker of many busy",
            f"One worker of many busy: one process used {busiest:.2f} of a core, "
            f"the others {sum(others):.2f} together.",
        )
    if full >= workers:
        return "server CPU", f"Server CPU: each of its {workers} processes filled a core, and other cores were free."
    return None


def _slots(seen: Evidence) -> _Verdict:
    if not seen.db_latency_ms:
        return None
    at_once = seen.finds_at_once
    if seen.slots is not None and seen.slots < seen.connections and at_once >= _SLOTS_FULL * seen.slots:
        return (
            "pool too small",
            f"Pool too small: its {seen.slots} {seen.slots_are} were all in the database ({at_once:.0f} finds at once) "
            f"while {seen.connections} connections asked.",
        )
    if seen.machine_busy < _ROOM and at_once < 0.6 * seen.connections:
        return (
            "pool too small",
            f"Pool too small: {at_once:.0f} finds at once were in the database while {seen.connections} connections "
            "asked and no processor was full, so its workers, threads or pooled connections end there.",
        )
    return None


def _waiting(seen: Evidence) -> _Verdict:
    if seen.machine_busy >= _ROOM:
        return None
    if seen.db_latency_ms:
        return (
            "waiting",
            f"Waiting: {seen.finds_at_once:.0f} of {seen.connections} connections were inside the database's "
            f"{seen.db_latency_ms} ms, and no processor was full; more connections would be served.",
        )
    return (
        "waiting",
        f"Waiting: no processor was full (machine {seen.machine_busy:.0%} busy) and a reply took "
        f"{seen.mean_latency_ms:.1f} ms, so requests wait for something other than CPU.",
    )


def _facts(seen: Evidence) -> list[str]:
    facts = [
        f"machine {seen.machine_busy:.0%} busy, {seen.machine_cpus} CPUs",
        f"cores used: server {seen.server_cores:.2f}, database {_cores(seen.database_cores)}, "
        f"load generator {seen.load_cores:.2f} ({seen.load_threads} threads)",
        "cores by server process: " + " ".join(f"{cores:.2f}" for cores in seen.server_by_process[:8]),
        f"mean latency {seen.mean_latency_ms:.1f} ms with {seen.connections} connections",
    ]
    if seen.db_latency_ms:
        facts.append(
            f"{seen.finds_at_once:.1f} finds at once in the injected {seen.db_latency_ms} ms; "
            f"slots {seen.slots or 'unknown'}"
        )
    return facts


def _cores(cores: float | None) -> str:
    return "unknown" if cores is None else f"{cores:.2f}"
