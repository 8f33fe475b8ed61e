"""A cell: one entrant, one column, one round. What was known before, what was counted, and what follows from both."""

from typing import Literal

from loadtests.results.counts import Counts
from loadtests.results.record import Amount, Count, Fraction, Positive, Record

Endpoint = Literal["mongo", "mongo_big", "sleep"]
Bottleneck = Literal[
    "server CPU",
    "database CPU",
    "load generator CPU",
    "waiting",
    "pool too small",
    "one worker of many busy",
    "failing",
    "not clear",
]


class Column(Record):
    """One question that is put to every entrant."""

    endpoint: Endpoint
    connections: Positive
    db_latency_ms: Count = 0
    """Added to each find inside mongod."""

    def __str__(self) -> str:
        latency = f" with {self.db_latency_ms} ms added to each find" if self.db_latency_ms else ""
        return f"/{self.endpoint} at {self.connections:,} connections{latency}"


class Known(Record):
    """What was known of the cell before it was measured; a number of CPUs is how many that part may use."""

    slots: Positive | None
    """Most finds that the entrant can have in the database at once, where its stack says so."""
    slots_are: str
    """What these are, in words."""
    workers: Positive
    server_cpus: Positive
    database_cpus: Positive
    load_cpus: Positive
    load_threads: Positive
    machine_cpus: Positive
    pinned: bool
    """Whether no two parts share a CPU."""
    apart: bool
    """Whether the server has a machine of its own."""


class Rate(Record):
    """How much was answered."""

    ok_per_s: Amount
    """The figure to compare: complete right replies a second after the ramp, in whole windows of 0.1 s."""
    steady_s: Amount
    """How long it was counted."""


class Latency(Record):
    """The distribution of all replies but each connection's first, in milliseconds.

    Two things in wrk's own figures are undone: the first replies, which wait for the accept loop, and wrk's
    "correction", which invents a sample for each mean interval that a slow reply took. Replies later than the plan's
    timeout are counted as such and are not in it.
    """

    mean: Amount
    p50: Amount
    p90: Amount
    p99: Amount
    p999: Amount
    max: Amount


class Outcomes(Record):
    """Each request of the measurement once, but for each connection's first, which is the ramp's."""

    ok: Count
    wrong_body: Count
    status_4xx: dict[str, Count]
    status_5xx: dict[str, Count]
    refused: Count
    reset: Count
    timeout: Count
    closed_after_reply: Count
    """Closes that no `Connection: close` announced. Not a failure."""
    in_flight: Count
    """Sent, and unanswered when the time was up. Not a failure."""
    told_by: Literal["wrk", "wrk and observer", "wrk, shared out as the observer saw it"]
    """Who told them apart: wrk alone, or wrk's read errors shared out as the observer saw such ends."""

    @property
    def failures(self) -> dict[str, int]:
        """The failed requests by class, those above zero; a status code's class is its number."""
        by_class = {name: getattr(self, name) for name in ("wrong_body", "refused", "reset", "timeout")}
        return {name: count for name, count in (by_class | self.status_4xx | self.status_5xx).items() if count}

    @property
    def failed_fraction(self) -> float:
        failed = sum(self.failures.values())
        return failed / (failed + self.ok) if failed else 0.0


class Ramp(Record):
    """All connections open at once and each asks `/sleep?ms=0` first."""

    answered: Count
    all_answered_ms: Amount | None
    """None: some had no first reply to the end."""
    median_ms: Amount | None


class Spread(Record):
    """Of one number among many."""

    least: Amount
    p10: Amount
    median: Amount
    p90: Amount
    most: Amount


class Fairness(Record):
    """A short run of its own, an observer on each connection. It is slower than wrk: compare connections only."""

    duration_s: Amount
    ramp_s: Amount
    """Until every connection had a reply, at most half of the run; replies are counted after it."""
    replies: Spread
    """Of a connection."""
    jain: Fraction
    """Jain's index: 1 is perfectly even, 1/connections is one served alone."""
    longest_gap_ms: Amount
    unanswered: Count
    """Connections without any reply."""


class Finds(Record):
    """Whether the stack did one find for each request."""

    counted: Count | None
    replies: Count
    sent: Count
    verdict: Literal["equal", "less", "more", "not counted"]
    """Equal: one at least for each right reply, no more than requests sent and those left in flight by the warm-up."""


class Cost(Record):
    """Of a process tree during wrk's run; a request is a complete reply."""

    cores: Amount
    """CPU seconds for each second."""
    cpu_ms_per_request: Amount | None
    user_ms_per_request: Amount | None
    system_ms_per_request: Amount | None
    pss_peak_bytes: Count | None
    """Shared pages are counted once."""
    pss_mean_bytes: Count | None
    cores_by_process: list[Amount]
    """Busiest first."""


class Costs(Record):
    """Of each part, apart from the others."""

    server: Cost
    database: Cost | None
    load: Cost
    bench_cores: Amount
    """What the bench itself used."""


class MachineUse(Record):
    """The whole machine of the server during wrk's run, of all its cores."""

    busy: Fraction
    steal: Fraction
    others: Fraction
    """By processes that are no part of the battle."""
    mhz: Amount | None


class Ceiling(Record):
    """Little's law, slots / latency, where latency was injected."""

    per_s: Amount
    slots: Positive
    """What the entrant's settings allow in the database at once, and never more than the connections."""
    text: str


class Verdict(Record):
    """What limited the figure."""

    bottleneck: Bottleneck
    text: str
    lower_bound: bool
    """The load generator or the database was the limit, so the stack may be faster than its figure."""
    evidence: list[str]


class Figures(Record):
    """What follows from the counts."""

    rate: Rate
    latency_ms: Latency
    outcomes: Outcomes
    ramp: Ramp
    alone_ms: Spread | None
    """One connection, one request at a time, before the load: what a request costs when nobody queues. None: too few
    replies to speak of."""
    fairness: Fairness | None
    """None where the plan leaves it out."""
    finds: Finds
    cost: Costs
    machine: MachineUse
    ceiling: Ceiling | None


class Cell(Record):
    """One entrant, one column, one round: these three identify it."""

    entrant: str
    round: Positive
    column: Column
    started: str
    took_s: Amount
    known: Known
    counts: Counts
    figures: Figures
    verdict: Verdict

    def __str__(self) -> str:
        return f"{self.entrant} on {self.column}"
