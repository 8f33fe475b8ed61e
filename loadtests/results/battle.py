"""A whole battle: what results.json holds."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from loadtests.results.cell import Cell, Column
from loadtests.results.record import Amount, Count, Positive, Record

SCHEMA: Literal[3] = 3
Model = Literal["processes", "threads", "events"]
Fault = Literal["stack", "bench"]
PlanName = Literal["battle", "battle-quick", "battle-2014"]


class Doubt(Record):
    """What a reader must know before believing the figures."""

    about: str
    text: str
    """One sentence that stands alone."""
    remedy: str | None
    """What to type or to do against it, given the settings that were in use; None where nothing helps."""

    def __str__(self) -> str:
        return f"{self.text} {self.remedy}" if self.remedy else self.text


class Git(Record):
    commit: str
    uncommitted_changes: bool


class Environment(Record):
    """The machine that the server runs on, and the versions of everything."""

    cpu_model: str
    cpus_usable: Positive
    cpus_online: Positive
    governor: str | None
    memory_bytes: Count
    kernel: str
    machine: str
    virtual: bool
    """The CPU says that a hypervisor is below."""
    limits: dict[str, int | None]
    """How many files may be open, how long a queue of connections may be, how many ports connections can come from."""
    git: Git | None
    locks: dict[str, str]
    """SHA-256 of each lock file, by path."""
    versions: dict[str, str]
    """Servers, drivers, runtimes and tools; an app's as app/name."""


class Entrant(Record):
    """A stack with the settings it is started with."""

    label: str
    """Unique: the stack's name, with its variant in brackets."""
    stack: str
    app: str
    title: str
    model: Model
    keep_alive: bool
    choose_when: str
    command: str
    settings: dict[str, str]
    """Environment variables."""
    repeats: str | None
    """A/A: the label of the entrant that this one is, once more."""


class Placement(Record):
    """CPU numbers for each part, or None where it runs on any."""

    server: list[int] | None = None
    database: list[int] | None = None
    load: list[int] | None = None

    @property
    def pinned(self) -> bool:
        return None not in (self.server, self.database, self.load)


class Planned(Record):
    """What was to be measured: every entrant in every column, `rounds` times."""

    name: PlanName
    rounds: Positive
    entrants: list[Entrant]
    columns: list[Column]
    measure_s: Positive
    warm_up_least_s: Count
    warm_up_most_s: Count
    fairness_s: Amount
    delayed_from_round: Positive
    """The first round with the columns of a slow database: a first ranking need not wait for them."""
    timeout_s: Positive
    threads_wrk: Positive
    placement: Placement
    estimated_s: Amount
    """Once everything is set up."""

    @property
    def contestants(self) -> list[Entrant]:
        """The second run of an A/A pair is there to show the noise, and is left out."""
        return [entrant for entrant in self.entrants if not entrant.repeats]

    @property
    def cells(self) -> int:
        return len(self.entrants) * sum(len(self.columns_in(number)) for number in range(1, self.rounds + 1))

    def columns_in(self, round_number: int) -> list[Column]:
        return [each for each in self.columns if not each.db_latency_ms or round_number >= self.delayed_from_round]


class Start(Record):
    """One start of a server."""

    entrant: str
    round: Positive
    settings: dict[str, str]
    ready_s: Amount
    """To its first answer."""


class Skipped(Record):
    """An entrant that cannot be run here, such as one whose toolchain cannot be had."""

    entrant: str
    reason: str


class Failure(Record):
    """A crash, a wrong body, a server that does not stop."""

    entrant: str
    round: Positive
    column: Column | None
    """None where it failed at its start or stop."""
    fault: Fault
    """`stack` is a result; `bench` (wrk, mongod, disk) is measured again by `RESUME=`."""
    reason: str
    log_tail: list[str]


class Estimate(Record):
    """A median with its 95 % interval over the repeats."""

    median: Amount
    low: Amount | None
    """None with a single repeat: there is no interval then."""
    high: Amount | None
    values: list[Amount] = []


class Group(Record):
    """The cells of one entrant and column, over the rounds."""

    entrant: str
    column: Column
    repeats: Positive
    ok_per_s: Estimate
    p50_ms: Estimate | None
    p99_ms: Estimate | None
    alone_ms: Estimate | None
    alone_p10_ms: Estimate | None
    """The fastest tenth: what other programs disturb least."""
    cpu_ms_per_request: Estimate | None
    """Of the server's processes."""
    pss_peak_bytes: Estimate | None
    failed_fraction: Amount
    lower_bound: bool
    """In one repeat at least."""
    bottlenecks: list[str]
    """The verdicts of the repeats, each once."""


class Noise(Record):
    """What two runs of the same entrant differed by."""

    entrant: str
    column: Column
    difference: Amount
    """The largest of the rounds, as a fraction of the mean of the two."""


class Row(Record):
    """An entrant's place. Equal ranks are a tie; unequal ranks need not be a proof for each pair: read `ties_with`."""

    rank: Positive
    """1 more than the number of entrants that are faster beyond doubt: interval above, medians apart by the noise."""
    entrant: str
    ties_with: list[str]


class Ranked(Record):
    """The ranking of a column."""

    column: Column
    noise: Amount
    """What a difference must be above: the largest of that column's A/A pair, or 0.15 assumed."""
    noise_by: Literal["a/a", "assumed"]
    rows: list[Row]


class Summary(Record):
    """Computed from cells alone; it can be computed again."""

    statistics: str
    """How the intervals were made."""
    noise: list[Noise]
    groups: list[Group]
    ranking: list[Ranked]


class DatabaseMachine(Record):
    """What mongod says of its machine."""

    name: str | None
    cpu_model: str | None
    cpus_online: int | None
    memory_bytes: int | None
    system: str


class RoundTrip(Record):
    """Of 21 connections opened one after another, in milliseconds."""

    median: Amount
    least: Amount
    most: Amount


class RoundTrips(Record):
    client_server: RoundTrip
    client_database: RoundTrip
    server_database: RoundTrip


class Machines(Record):
    """Who did what, and how far apart they are."""

    client_name: str
    client: Environment
    server_name: str
    """`environment` tells what it is."""
    listens_at: str
    """The address that the stacks were reached at."""
    database: DatabaseMachine | None
    """None: it does not say."""
    round_trip_ms: RoundTrips


class Results(Record):
    """The whole file. A field is added without a new schema; one that changes its meaning, or goes, makes a new one."""

    model_config = ConfigDict(frozen=False, validate_by_name=True)

    number: Annotated[Literal[3], Field(alias="schema")] = SCHEMA
    id: str
    """The folder's name."""
    state: Literal["running", "stopped", "complete"]
    """`stopped`: by hand, and `RESUME=` goes on."""
    started: str
    """Wall-clock labels, UTC; every duration in the file comes from the monotonic clock."""
    updated: str
    command: str
    """Plans the same again."""
    doubts: list[Doubt] = []
    """To be shown at the top."""
    environment: Environment
    plan: Planned
    machines: Machines | None = None
    """Only with `SERVER=`: `environment` and each cell's `machine` are then those of the server's machine."""
    starts: list[Start] = []
    cells: list[Cell] = []
    """One that is not here was not measured: `failed` and `skipped` say why, else it was never reached."""
    skipped: list[Skipped] = []
    failed: list[Failure] = []
    summary: Summary
