"""summary.json of a locust run: what the recorder saw, in the words of docs/results.md."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from loadtests.measure.wrk import OWN_TROUBLE
from loadtests.results.battle import Doubt, Environment
from loadtests.results.cell import Latency
from loadtests.results.record import Amount, Count, Record

# In the words of the locust file.
_OWN_TROUBLE = {f"connect: {os.strerror(number)}": what for number, what in OWN_TROUBLE.items()}


class Outcomes(Record):
    """Each request once."""

    ok: Count
    wrong_body: Count
    status_4xx: Count
    status_5xx: Count
    connect: Count
    reset: Count
    timeout: Count

    @property
    def failed(self) -> dict[str, int]:
        return {name: count for name, count in self if count and name != "ok"}


class Requests(Record):
    name: str
    requests: Count
    failed: Count
    bytes: Count
    latency_ms: Latency
    ok_each_s: list[int]


class Failures(Record):
    name: str
    what: str
    count: Count


class Exceptions(Record):
    """In the locust file itself."""

    what: str
    count: Count


class Finds(Record):
    counted: int | None
    replies: Count
    verdict: Literal["equal", "less", "more", "not counted"]


class Generator(Record):
    """How busy one process of locust was, second by second, in cores."""

    cores_mean: Amount
    cores_most: Amount
    waiting_mean: Amount
    waiting_most: Amount
    limit: str | None
    """Why this process, and not the server, limited the run."""


class Workers(Record):
    joined: Count
    lost: Count


class Summary(Record):
    """The whole file."""

    model_config = ConfigDict(validate_by_name=True)

    number: Annotated[Literal[2], Field(alias="schema")] = 2
    kind: Literal["locust"] = "locust"
    id: str
    state: Literal["complete", "stopped"]
    started: str
    command: str
    environment: Environment
    stack: str | None
    """None: a server that ran already."""
    target: str
    doubts: list[Doubt]
    took_s: Amount
    users: Count
    """The most at once."""
    ok_per_s: Amount
    latency_ms: Latency
    outcomes: Outcomes
    requests: list[Requests]
    failures: list[Failures]
    exceptions: list[Exceptions]
    finds: Finds
    load_generators: dict[str, Generator]
    """By process of locust."""
    workers: Workers
    passed: bool


def summarise(record: dict[str, Any], finds: int | None, **about: Any) -> Summary:
    """Return the summary of a run from its ``record`` (loadtests/scenarios/recorder.py).

    ``finds`` is what mongod counted meanwhile, None where it was not asked. ``about`` says which run it was.
    """
    total = record["total"]
    ended = Counter(dict.fromkeys(Outcomes.model_fields, 0))
    ended["ok"] = total["requests"] - total["failed"]
    for failure in record["failures"]:
        ended[_class_of(failure["what"])] += failure["count"]
    # A request that found no connection was never sent, so it asks for no find.
    unsent = Counter({each["name"]: each["count"] for each in record["failures"] if each["what"].startswith("connect")})
    of_documents = [entry for entry in record["requests"] if entry["name"].startswith("/mongo")]
    replies = sum(entry["requests"] - unsent[entry["name"]] for entry in of_documents)
    seen = {
        **{name: record[name] for name in ("took_s", "users", "requests", "failures", "exceptions")},
        **{name: record[name] for name in ("load_generators", "workers")},
        "ok_per_s": round(ended["ok"] / record["took_s"], 2) if record["took_s"] else 0.0,
        "latency_ms": total["latency_ms"],
        "outcomes": ended,
        "finds": {"counted": finds, "replies": replies, "verdict": _verdict(finds, replies)},
    }
    summary = Summary.model_validate({**about, **seen, "doubts": [], "passed": False})
    return summary.model_copy(update={"doubts": list(_doubts(summary)), "passed": _passed(summary)})


def tell(summary: Summary) -> None:
    """Print what a person wants to know first."""
    latency, outcomes = summary.latency_ms, summary.outcomes
    failed = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in outcomes.failed.items())
    print(
        f"{summary.stack or summary.target}: {outcomes.ok:,} right replies in {summary.took_s:.1f} s "
        f"({summary.ok_per_s:,.1f} a second) to {summary.users:,} users; "
        f"p50 {latency.p50:,.0f} ms, p99 {latency.p99:,.0f} ms; {failed or '0 failed'}; finds {summary.finds.verdict}"
    )
    for failure in summary.failures:
        print(f"  {failure.count:,} x {failure.name}: {failure.what}")
    for exception in summary.exceptions:
        print(f"  {exception.count:,} x in the locust file itself: {exception.what}")
    for doubt in summary.doubts:
        print(f"  {doubt.about}: {doubt}")


def _passed(summary: Summary) -> bool:
    outcomes, workers = summary.outcomes, summary.workers
    # With its last worker the run itself has died.
    alive = not workers.lost or workers.lost < workers.joined
    right = outcomes.ok > 0 and not outcomes.failed and not summary.exceptions
    return right and alive and summary.finds.verdict != "less"


def _class_of(failure: str) -> str:
    if match := re.match(r"status ([45])", failure):
        return f"status_{match[1]}xx"
    known = {"wrong body": "wrong_body", "connect": "connect", "timeout": "timeout", "status": "wrong_body"}
    return next((outcome for words, outcome in known.items() if failure.startswith(words)), "reset")


def _verdict(finds: int | None, replies: int) -> str:
    if finds is None:
        return "not counted"
    return "equal" if finds == replies else "less" if finds < replies else "more"


def _doubts(summary: Summary) -> Iterator[Doubt]:
    more = "Run it with more processes (LOCUST_PROCESSES=), or on machines of their own (make locust-master)."
    for name, generator in summary.load_generators.items():
        if generator.limit:
            text = f"locust was near its limit ({name}): {generator.limit}."
            yield Doubt(about="load generator", text=text, remedy=more)
    for what in {each.what for each in summary.failures} & _OWN_TROUBLE.keys():
        text = f"This machine ran out of {_OWN_TROUBLE[what]}: its own trouble, and no figure of the server."
        yield Doubt(about="load generator", text=text, remedy="Take fewer users (LOCUST_USERS=), or several machines.")
    failed, asked = sum(summary.outcomes.failed.values()), summary.outcomes.ok
    if failed:
        text = f"{failed} of {failed + asked} requests failed."
        yield Doubt(about="failures", text=text, remedy="Read failures, and the server's log beside the summary.")
    if lost := summary.workers.lost:
        text = f"{lost} worker{'s' * (lost > 1)} died: what they counted in their last second is lost."
        yield Doubt(about="load generator", text=text, remedy="Look on its machine for the reason, then run it again.")
    finds = summary.finds
    if finds.verdict in ("less", "more"):
        text = f"mongod counted {finds.counted} finds for {finds.replies} replies with a document."
        yield Doubt(about="finds", text=text, remedy="Let nobody else use this MongoDB, then run it again.")
