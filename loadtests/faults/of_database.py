"""What the database can do to a server: be away, die, freeze, be slow, drop connections, fail, step down."""

import signal
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from loadtests.faults.arena import (
    GRACE_S,
    HEALTHY_WITHIN_S,
    Arena,
    Finding,
    Watched,
    judge,
    require_clean_log,
    seconds_until,
    status_of,
    told,
)
from loadtests.server import LOOPBACK
from shared.seed import seed

_FAULT_BEGINS_S = 1.0
_AFTERWARDS_S = HEALTHY_WITHIN_S + 0.5
# Enough for several heartbeats and every pooled connection.
_SHORT_FAULT_S = 3.0


def not_there_at_start(arena: Arena) -> Finding:
    arena.stop_database()
    # With a long one, so that what ends the wait is that nobody is there.
    with arena.server(DB_TIMEOUT_MS="10000") as server:
        answers = [status_of(server, path) for path in ("/mongo", "/mongo_big")]
        arena.start_database()
        healthy_s = seconds_until(lambda: status_of(server, "/mongo")[0] == 200, HEALTHY_WITHIN_S)
        finding = Finding(seen="")
        longest_s = max(took_s for _, took_s in answers)
        finding.require(all(status == 503 for status, _ in answers), f"answered {[status for status, _ in answers]}")
        finding.require(longest_s <= GRACE_S, f"503 only after {longest_s:.1f} s")
        finding.require(healthy_s is not None, f"not healthy {HEALTHY_WITHIN_S:.0f} s after the database came")
        finding.longest_s = round(longest_s, 2)
        finding.normal_after_s = None if healthy_s is None else round(healthy_s, 2)
        finding.seen = f"starts, 503 within {longest_s:.1f} s" + (
            f", normal after {healthy_s:.1f} s" if healthy_s is not None else ""
        )
        require_clean_log(arena, finding)
    return finding


def killed(arena: Arena) -> Finding:
    def fault() -> None:
        arena.signal_database(signal.SIGKILL)
        seconds_until(lambda: not _answers(arena), 5)

    return _while_loaded(arena, fault, arena.start_database, lasts_s=5)


def frozen(arena: Arena) -> Finding:
    return _while_loaded(
        arena,
        lambda: arena.signal_database(signal.SIGSTOP),
        lambda: arena.signal_database(signal.SIGCONT),
        lasts_s=10,
    )


def slow(arena: Arena) -> Finding:
    """3 s on one find in ten, and no request may take more than 2."""
    return _with_failing_finds(arena, {"activationProbability": 0.1}, blockConnection=True, blockTimeMS=3000)


def drops_connections(arena: Arena) -> Finding:
    return _with_failing_finds(arena, closeConnection=True)


def answers_with_errors(arena: Arena) -> Finding:
    # 50, MaxTimeMSExpired: an error of the operation and not of the server's state.
    return _with_failing_finds(arena, errorCode=50)


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
            with arena.server(uri=f"mongodb://{address}/?replicaSet=faults") as server:
                watched = Watched(arena, server)
                with arena.load(server) as load:
                    load.wait_until(_FAULT_BEGINS_S)
                    client.admin.command({"replSetStepDown": 3, "force": True})
                    seconds_until(lambda: bool(client.admin.command("hello")["isWritablePrimary"]), 20)
                    over_s = load.now_s
                    load.wait_until(over_s + _AFTERWARDS_S)
                finding = judge(load.requests, over_s)
                watched.require_unharmed(finding)
                return finding
    finally:
        alone.stop_database()


def pool_exhausted(arena: Arena) -> Finding:
    """20 clients, a pool of 2 for each process, finds of 0.8 s, and 1 s to wait for a connection."""
    timeout_ms = 1000
    arena.start_database()
    with arena.server(MONGODB_MAX_POOL_SIZE="2", DB_TIMEOUT_MS=str(timeout_ms)) as server:
        watched = Watched(arena, server)
        with arena.load(server, clients=20) as load:
            load.wait_until(_FAULT_BEGINS_S)
            with arena.failing_finds(blockConnection=True, blockTimeMS=800):
                load.wait_until(_FAULT_BEGINS_S + _SHORT_FAULT_S)
            over_s = load.now_s
            load.wait_until(over_s + _AFTERWARDS_S)
        finding = judge(load.requests, over_s, hangs_after_s=timeout_ms / 1000 + GRACE_S)
        watched.require_unharmed(finding)
        return finding


def _with_failing_finds(arena: Arena, mode: Any = "alwaysOn", **data: Any) -> Finding:
    arena.start_database()
    with arena.server() as server:
        watched = Watched(arena, server)
        with arena.load(server) as load:
            load.wait_until(_FAULT_BEGINS_S)
            with arena.failing_finds(mode, **data):
                load.wait_until(_FAULT_BEGINS_S + _SHORT_FAULT_S)
            over_s = load.now_s
            load.wait_until(over_s + _AFTERWARDS_S)
        finding = judge(load.requests, over_s)
        watched.require_unharmed(finding)
        return finding


def _while_loaded(arena: Arena, begin: Any, end: Any, lasts_s: float) -> Finding:
    arena.start_database()
    with arena.server() as server:
        watched = Watched(arena, server)
        with arena.load(server) as load:
            load.wait_until(_FAULT_BEGINS_S)
            begin()
            try:
                load.wait_until(_FAULT_BEGINS_S + lasts_s)
            finally:
                end()
            over_s = load.now_s
            load.wait_until(over_s + _AFTERWARDS_S)
        alive, _ = status_of(server, "/sleep?ms=0")
        finding = judge(load.requests, over_s)
        finding.require(alive == 200, "/sleep?ms=0 not answered")
        watched.require_unharmed(finding)
        finding.seen = told(finding)
        return finding


def _answers(arena: Arena) -> bool:
    try:
        with MongoClient[dict[str, Any]](arena.uri, serverSelectionTimeoutMS=100) as client:
            client.admin.command("ping")
    except PyMongoError:
        return False
    return True
