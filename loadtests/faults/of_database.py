"""What the database can do to a server: be away, die, freeze, be slow, drop connections, fail, step down."""

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from pymongo import MongoClient

from loadtests.faults.arena import (
    CLIENTS,
    GRACE_S,
    HANGS_AFTER_S,
    HEALTHY_WITHIN_S,
    Arena,
    Finding,
    judge,
    require_clean_log,
    require_healthy,
    seconds_until,
    status_of,
)
from loadtests.measure.observer import ask_once
from loadtests.results.counts import Outcome
from loadtests.stacks.server import LOOPBACK
from shared import mongod
from shared.seed import seed

_FAULT_BEGINS_S = 1.0
_AFTERWARDS_S = HEALTHY_WITHIN_S + 0.5
# Enough for several heartbeats and every pooled connection.
_SHORT_FAULT_S = 3.0
_LARGE = "articles_large"


def not_there_at_start(arena: Arena) -> Finding:
    arena.stop_database()
    # With a long one, so that what ends the wait is that nobody is there.
    with arena.server(database=False, DB_TIMEOUT_MS="10000") as server:
        answers = [status_of(server, path) for path in ("/mongo", "/mongo_big")]
        arena.start_database()
        finding = Finding(seen="")
        healthy_s = finding.normal_after_s = require_healthy(server, finding, "the database came")
        longest_s = max(took_s for _, took_s in answers)
        finding.require(all(status == 503 for status, _ in answers), f"answered {[status for status, _ in answers]}")
        finding.require(longest_s <= GRACE_S, f"503 only after {longest_s:.1f} s")
        finding.longest_s = round(longest_s, 2)
        finding.seen = f"starts, 503 within {longest_s:.1f} s" + (
            f", normal after {healthy_s:.1f} s" if healthy_s is not None else ""
        )
        require_clean_log(arena, finding)
    return finding


def killed(arena: Arena) -> Finding:
    @contextmanager
    def fault() -> Iterator[None]:
        arena.signal_database(signal.SIGKILL)
        seconds_until(lambda: mongod.running(arena.home) is None, 5)
        yield
        arena.start_database()

    return _served_while(arena, fault(), lasts_s=5)


def frozen(arena: Arena) -> Finding:
    @contextmanager
    def fault() -> Iterator[None]:
        arena.signal_database(signal.SIGSTOP)
        try:
            yield
        finally:
            arena.signal_database(signal.SIGCONT)

    return _served_while(arena, fault(), lasts_s=10)


def slow(arena: Arena) -> Finding:
    """3 s on one find in ten, and no request may take more than 2."""
    fault = arena.failing_finds({"activationProbability": 0.1}, blockConnection=True, blockTimeMS=3000)
    return _served_while(arena, fault)


def drops_connections(arena: Arena) -> Finding:
    return _served_while(arena, arena.failing_finds(closeConnection=True))


def answers_with_errors(arena: Arena) -> Finding:
    # 50, MaxTimeMSExpired: an error of the operation and not of the server's state.
    return _served_while(arena, arena.failing_finds(errorCode=50))


def primary_steps_down(arena: Arena) -> Finding:
    """A replica set of one steps down for 3 s and elects itself again."""
    arena.stop_database()
    alone = Arena(arena.stack, arena.folder / "replica-set")
    address = f"{LOOPBACK}:{alone.port}"
    alone.start_database(("--replSet", "faults"))
    try:
        with MongoClient[dict[str, Any]](alone.uri, directConnection=True) as client:
            client.admin.command("replSetInitiate", {"_id": "faults", "members": [{"_id": 0, "host": address}]})
            primary = seconds_until(lambda: bool(client.admin.command("hello")["isWritablePrimary"]), 20)
            if primary is None:
                raise RuntimeError("the replica set elected no primary")
            seed(alone.uri, "articles")

            @contextmanager
            def fault() -> Iterator[None]:
                client.admin.command({"replSetStepDown": 3, "force": True})
                yield
                seconds_until(lambda: bool(client.admin.command("hello")["isWritablePrimary"]), 20)

            uri = f"mongodb://{address}/?replicaSet=faults"
            return _served_while(arena, fault(), lasts_s=0, uri=uri, database=False)
    finally:
        alone.stop_database()


def pool_exhausted(arena: Arena) -> Finding:
    """20 clients, a pool of 2 for each process, finds of 0.8 s, and 1 s to wait for a connection."""
    timeout_ms = 1000
    fault = arena.failing_finds(blockConnection=True, blockTimeMS=800)
    settings: dict[str, Any] = {"MONGODB_MAX_POOL_SIZE": "2", "DB_TIMEOUT_MS": str(timeout_ms)}
    return _served_while(arena, fault, clients=20, hangs_after_s=timeout_ms / 1000 + GRACE_S, **settings)


def large_documents(arena: Arena) -> Finding:
    """0.7 MB to 200 clients at once, then 14 MB to 50: they wait or get 503, and nobody dies."""
    arena.start_database()
    many = {"rows": [{"n": n, "name": f"row {n}", "half": n / 2 + 0.25} for n in range(14_000)]}
    large = {"texts": [f"{n} " + "x" * 1000 for n in range(14_000)]}
    with MongoClient[dict[str, Any]](arena.uri) as client:
        for collection, document in (("articles", many), ("articles_big", large)):
            client[_LARGE][collection].replace_one({"_id": 1}, document, upsert=True)
        try:
            with arena.watched(1, MONGODB_DATABASE=_LARGE, DB_TIMEOUT_MS="6000") as (server, watched):
                finding = Finding(seen="")
                parts = []
                for path, clients in (("/mongo", 200), ("/mongo_big", 50)):
                    seen = ask_once(server.host, server.port, path, clients, timeout_s=60)
                    lost = seen.failed - seen.outcomes.get(Outcome.STATUS_5XX, 0)
                    finding.require(lost == 0, f"{lost} of {clients} had no reply at {path}")
                    parts.append(
                        f"{path}: {clients - seen.failed} of {clients} answered, {seen.failed - lost} with 503"
                    )
                finding.seen = "; ".join(parts)
                watched.require_normal(finding)
                finding.require("OutOfMemory" not in arena.log, "out of memory")
                return finding
        finally:
            client.drop_database(_LARGE)


def _served_while(
    arena: Arena,
    fault: AbstractContextManager[None],
    lasts_s: float = _SHORT_FAULT_S,
    clients: int = CLIENTS,
    hangs_after_s: float = HANGS_AFTER_S,
    **options: Any,
) -> Finding:
    """Load a stack before, while and after the block of ``fault`` lasts, and judge what its clients saw."""
    with arena.watched(**options) as (server, watched):
        with arena.load(server, clients=clients) as load:
            load.wait_until(_FAULT_BEGINS_S)
            with fault:
                load.wait_until(_FAULT_BEGINS_S + lasts_s)
            over_s = load.now_s
            load.wait_until(over_s + _AFTERWARDS_S)
        alive, _ = status_of(server, "/sleep?ms=0")
        finding = judge(load.requests, over_s, hangs_after_s=hangs_after_s)
        finding.require(alive == 200, "/sleep?ms=0 not answered")
        watched.require_unharmed(finding)
        return finding
