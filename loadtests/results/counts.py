"""What was counted, before anybody makes sense of it: kept, so that the figures can be made again from it alone."""

from enum import StrEnum
from statistics import median

from loadtests.results.record import Amount, Count, Fraction, Positive, Record

WINDOW_S = 0.1


class Outcome(StrEnum):
    """How a request of the observer ended."""

    OK = "ok"
    WRONG_BODY = "wrong_body"
    STATUS_4XX = "status_4xx"
    STATUS_5XX = "status_5xx"
    REFUSED = "refused"
    RESET = "reset"
    TIMEOUT = "timeout"


_COMPLETE = (Outcome.OK, Outcome.WRONG_BODY, Outcome.STATUS_4XX, Outcome.STATUS_5XX)


class WrkCounts(Record):
    """What wrk counted, and what it used of the CPU."""

    command: str
    """As one would type it."""
    output: str
    """What wrk printed."""
    asked_s: Positive
    """How long it was told to load."""
    duration_s: Amount
    """How long it says that it did."""
    replies: Count
    """Complete ones of any status, first replies included."""
    sent: Count
    ok: Count
    """Right replies, late ones included."""
    wrong_body: Count
    statuses: dict[str, Count]
    """Error replies by code."""
    lost: Count
    """Read, write and connect errors: wrk does not tell a close after a reply from a reset in the middle of one."""
    late: Count
    """Complete replies that came after the timeout."""
    windows_ok: list[Count]
    """Right replies in each tenth of a second, so that a stall can be seen."""
    first_replies_s: list[Amount]
    """From the start to each connection's first reply, where there was one."""
    quantiles: list[tuple[Fraction, Amount]]
    """The distribution without first replies: [fraction of replies, at most this many ms], rising."""
    mean_ms: Amount
    first_replies_removed: Count
    user_s: Amount
    system_s: Amount
    voluntary_switches: Count
    involuntary_switches: Count

    @property
    def replies_per_s(self) -> float:
        return self.replies / self.duration_s


class Observation(Record):
    """What the observer's clients saw in one run: one request after another on each connection."""

    duration_s: Amount
    ramp_s: Amount = 0.0
    """Until every connection had a reply, at most half of the run."""
    replies: list[Count]
    """For each connection, after the ramp."""
    unanswered: Count = 0
    """Connections without any reply."""
    first_replies_s: list[Amount] = []
    longest_gap_s: Amount = 0.0
    """The longest that any connection waited between two replies, or to the end of the run."""
    latencies_s: list[Amount] = []
    """Of every complete reply but each connection's first; kept for a single connection only."""
    outcomes: dict[Outcome, Count] = {}
    statuses: dict[str, Count] = {}
    """Error replies by code."""
    silent_closes: Count = 0
    """Complete replies after which the server closed without having said so: wrk counts each as a read error."""
    in_flight: Count = 0
    """Requests without a reply when the time was up."""

    @property
    def asked(self) -> int:
        """How many requests ended, well or not."""
        return sum(self.outcomes.values())

    @property
    def failed(self) -> int:
        return self.asked - self.outcomes.get(Outcome.OK, 0)

    @property
    def complete(self) -> int:
        """How many requests had a complete reply of any kind."""
        return sum(self.outcomes.get(outcome, 0) for outcome in _COMPLETE)

    @property
    def served(self) -> tuple[int, float, int]:
        """Least, median and most replies of a connection after the ramp."""
        return min(self.replies), median(self.replies), max(self.replies)


class Usage(Record):
    """What a group of processes used during wrk's run."""

    user_s: Amount
    system_s: Amount
    pss_bytes: list[Count]
    """Proportional set size of all its processes, shared pages counted once, at each sample."""
    processes: Count
    threads: Count
    voluntary_switches: Count
    involuntary_switches: Count
    """Of threads that were alive at both ends or seen between."""
    cpu_s_by_process: list[Amount]
    """Busiest first."""

    @property
    def cpu_s(self) -> float:
        return self.user_s + self.system_s


class MachineTimes(Record):
    """Where the CPU time of the server's machine went during wrk's run, in seconds over all its cores."""

    total_s: Amount
    idle_s: Amount
    steal_s: Amount
    mhz: Amount | None
    """Mean clock of the cores at the end."""


class WarmUp(Record):
    """The load before the measurement."""

    took_s: Amount
    stable: bool
    """Whether the rate had stopped rising within the bound."""
    rates_per_s: list[Amount]
    """In each half second."""


class Counts(Record):
    """Everything that was counted for a cell."""

    warm_up: WarmUp
    alone: Observation
    """One connection, before the load."""
    wrk: WrkCounts
    observed: Observation | None
    """All connections with an observer on each, after the load; None where the plan leaves it out and wrk lost none."""
    finds: Count | None
    """By mongod's own counter during wrk's run; None where it may not be asked or nothing is to be found."""
    wall_s: Amount
    """Of wrk's run, by this program's clock: what seconds of CPU are divided by."""
    server: Usage
    database: Usage | None
    """None where mongod runs on another machine."""
    load: Usage
    bench_s: Amount
    """CPU seconds of this program."""
    machine: MachineTimes
