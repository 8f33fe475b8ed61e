"""What clients can do to a server: come all at once, stay and say nothing, be slow, ask for rubbish."""

import random
import re
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from loadtests.faults.arena import GRACE_S, Arena, Finding, judge, seconds_until, status_of, told
from loadtests.faults.crowd import Crowd
from loadtests.measure.database import Database
from loadtests.measure.observer import ask_once
from loadtests.stacks.bodies import EXPECTED
from loadtests.stacks.room import require_room
from loadtests.stacks.server import Server

_REQUEST = b"GET /mongo HTTP/1.1\r\nHost: x\r\n\r\n"
# Beginnings of requests. That the handler of a GET was reached shows in the database; a POST can only hide another.
_HEAD = b"GET /mongo HTTP/1.1\r\nHost: x\r\n"
_POST_HEAD = b"POST /mongo HTTP/1.1\r\nHost: x\r\n"
_BIG_REQUEST = b"GET /mongo_big HTTP/1.1\r\nHost: x\r\n\r\n"
_CHEAP_REQUEST = b"GET /sleep?ms=0 HTTP/1.1\r\nHost: x\r\n\r\n"
_AT_ONCE = 5000
_IDLE = 10_000
_ALL_ANSWERED_WITHIN_S = 15
_BESIDE_IDLE_S = 3.0
_SLOW = 300
# Their replies are more than the kernel keeps for a connection (4 MB).
_UNREAD_REPLIES = 700
_SLOW_READERS = 30
_SLOW_FOR_S = 5.0
_SEED = 2014
_FUZZED = 3000
# Requests before, after which every worker has its connection to the database.
_WARM = 20
_LATE_FIND_S = 0.1


def all_at_once(arena: Arena) -> Finding:
    """5,000 connections at once, each asking once."""
    require_room(_AT_ONCE, [])
    # The last of them waits for all before it.
    with arena.watched(_WARM, DB_TIMEOUT_MS="10000") as (server, watched):
        begun = time.monotonic()
        seen = ask_once(server.host, server.port, "/mongo", _AT_ONCE, timeout_s=20)
        took_s = time.monotonic() - begun
        finding = Finding(seen="", outcomes={name.value: count for name, count in Counter(seen.outcomes).most_common()})
        finding.longest_s = round(took_s, 2)
        finding.require(seen.failed == 0, f"{seen.failed:,} of {_AT_ONCE:,} failed")
        watched.require_normal(finding)
        finding.seen = f"{seen.asked - seen.failed:,} of {_AT_ONCE:,} answered within {took_s:.1f} s"
        return finding


def idle_connections(arena: Arena) -> Finding:
    """10,000 connections that have had one reply and stay."""
    require_room(_IDLE, [])
    # Where a worker's connections are bounded, the kernel does not spread them so evenly that each has half.
    with arena.watched(_WARM, WORKER_CONNECTIONS=str(_IDLE)) as (server, watched):
        with Crowd(server.host, server.port, _IDLE, _CHEAP_REQUEST) as crowd:
            seconds_until(lambda: crowd.answered >= _IDLE - crowd.refused, _ALL_ANSWERED_WITHIN_S)
            held, answered = crowd.open, crowd.answered
            newcomer, newcomer_s = status_of(server, "/mongo")
            with arena.load(server, fresh=True) as load:
                load.wait_until(_BESIDE_IDLE_S)
        finding = judge(load.requests, 0.0, allowed=("200",), hangs_after_s=GRACE_S)
        finding.normal_after_s = None
        finding.require(newcomer == 200 and newcomer_s <= GRACE_S, f"a newcomer waited {newcomer_s:.1f} s")
        watched.require_normal(finding)
        finding.seen = (
            f"{answered:,} answered, {held:,} held, a newcomer waits {newcomer_s:.1f} s; others: {told(finding)}"
        )
        return finding


def slow_heads(arena: Arena) -> Finding:
    """300 clients send the head of their request a byte a second."""
    return _beside(arena, _SLOW, b"GET /mongo HTTP/1.1\r\nHost: x\r\nX-Slow: ", drip=b"a")


def slow_readers(arena: Arena) -> Finding:
    """30 clients ask for the big document 700 times and read nothing."""
    return _beside(arena, _SLOW_READERS, _BIG_REQUEST * _UNREAD_REPLIES, reads=False)


def _beside(arena: Arena, clients: int, first: bytes, drip: bytes = b"", reads: bool = True) -> Finding:
    with arena.watched(_WARM) as (server, watched):
        with Crowd(server.host, server.port, clients, first, drip, reads) as slow:
            with arena.load(server, fresh=True) as load:
                load.wait_until(_SLOW_FOR_S)
            held = slow.open
        finding = judge(load.requests, 0.0, allowed=("200",), hangs_after_s=GRACE_S)
        # Here the fault lasts as long as the load: nothing is to be healthy after it but the next request.
        finding.normal_after_s = None
        watched.require_normal(finding)
        finding.seen = f"others: {told(finding)}; {held} of {clients} still held"
        return finding


def pipelined(arena: Arena) -> Finding:
    """20 requests in one piece: 20 replies in order, or fewer and a close."""
    with arena.watched() as (server, watched):
        finding = Finding(seen="")
        asked = [_REQUEST, _BIG_REQUEST] * 10
        wanted = [EXPECTED["mongo"], EXPECTED["mongo_big"]] * 10
        answered = _exchange(server, b"".join(asked), wait_s=5, enough=len(asked))
        bodies = [body for _, body in _replies(answered)]
        finding.require(bodies == wanted[: len(bodies)] and bool(bodies), "replies out of order")
        finding.require(len(bodies) == 20 or not arena.stack.keep_alive, f"{len(bodies)} of 20 answered")
        watched.require_normal(finding)
        finding.seen = f"{len(bodies)} of 20 answered in order"
        return finding


def long_heads(arena: Arena) -> Finding:
    """A request line of 100 KB, a header of 1 MB, 10,000 headers."""
    heads = {
        "request line": b"GET /mongo?" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        "header": b"GET /mongo HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 1_000_000 + b"\r\n\r\n",
        "many headers": b"GET /mongo HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 10_000 + b"\r\n",
    }
    return _refused(arena, heads)


# RFC 9112: what a server must refuse, because two servers in a row could read it differently.
MALFORMED = {
    "both lengths": _HEAD + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
    # What is a body by its length is a request of its own by its chunks, and the other way round.
    "request after the chunks": (
        _POST_HEAD + b"Content-Length: 37\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _REQUEST
    ),
    "request in the chunks": (
        _POST_HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n" + _REQUEST + b"\r\n0\r\n\r\n"
    ),
    "two lengths": _HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "negative length": _HEAD + b"Content-Length: -1\r\n\r\n",
    "signed length": _HEAD + b"Content-Length: +2\r\n\r\nab",
    "bad chunk size": _HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n",
    "bad chunk end": _HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabXX0\r\n\r\n",
    "request after a bad chunk": _POST_HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n" + _REQUEST,
    "unknown coding": _HEAD + b"Transfer-Encoding: cow\r\n\r\nab",
    "NUL in a header": b"GET /mongo HTTP/1.1\r\nHost: x\r\nX-A: b\0c\r\n\r\n",
    "space before colon": b"GET /mongo HTTP/1.1\r\nHost : x\r\nX-A: b\r\n\r\n",
    "header without colon": b"GET /mongo HTTP/1.1\r\nHost: x\r\nrubbish\r\n\r\n",
    "no version": b"GET /mongo\r\n\r\n",
    "version of nothing": b"GET /mongo HTTP/9.9\r\nHost: x\r\n\r\n",
    "no host": b"GET /mongo HTTP/1.1\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + b"\0" * 60,
    "NULs": b"\0" * 200,
}
# RFC 9112, 2.2 and 5.2: a server may read these, the one as a line's end, the other as a space.
AMBIGUOUS = {
    "bare LF": b"GET /mongo HTTP/1.1\nHost: x\n\n",
    "bare CR": b"GET /mongo HTTP/1.1\r\nHost: x\r\nX-A: b\rX-C: d\r\n\r\n",
    "obsolete folding": b"GET /mongo HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n\r\n",
}


def malformed(arena: Arena) -> Finding:
    return _refused(arena, MALFORMED)


def ambiguous(arena: Arena) -> Finding:
    return _refused(arena, AMBIGUOUS)


def _refused(arena: Arena, requests: dict[str, bytes]) -> Finding:
    """Send each alone: it must be refused or its connection closed, and must not reach a handler."""
    with arena.watched(1) as (server, watched), Database(arena.uri) as database:
        finding = Finding(seen="")
        answers: dict[str, str] = {}
        for name, request in requests.items():
            before = database.finds()
            begun = time.monotonic()
            if _REQUEST in request:
                # A second request hides in it: stay for its reply.
                answered = _exchange(server, request, wait_s=1, enough=2)
            else:
                answered = _exchange(server, request, wait_s=3, enough=1, half_close=True)
            statuses = [status for status, _ in _replies(answered)]
            answers[name] = "/".join(map(str, statuses)) or "closed"
            finding.require(bool(statuses) or time.monotonic() - begun < 2.9, f"{name}: neither answered nor closed")
            # A server that answers to a client that has said goodbye does so a moment later.
            time.sleep(_LATE_FIND_S)
            finding.require(database.finds() == before, f"{name}: reached the handler ({answers[name]})")
            finding.require(not any(status in (500, 502, 503) for status in statuses), f"{name}: {answers[name]}")
        watched.require_normal(finding)
        finding.outcomes = dict(Counter(answers.values()).most_common())
        finding.seen = ", ".join(f"{answer} x{count}" for answer, count in finding.outcomes.items())
        return finding


def fuzzed(arena: Arena) -> Finding:
    """Random and mutated requests from a seeded generator."""
    requests = _mutations(random.Random(_SEED), _FUZZED)
    with arena.watched(1) as (server, watched):

        def send(request: bytes) -> str:
            answered = _exchange(server, request, wait_s=1, enough=1, half_close=True)
            return next((str(status) for status, _ in _replies(answered)), "closed")

        with ThreadPoolExecutor(8) as pool:
            answers = Counter(pool.map(send, requests))
        finding = Finding(seen="", outcomes=dict(answers.most_common()))
        errors = {status: number for status, number in answers.items() if status in ("500", "502", "503")}
        finding.require(not errors, f"5xx for rubbish: {errors}")
        watched.require_normal(finding)
        finding.seen = ", ".join(f"{name} x{number:,}" for name, number in finding.outcomes.items())
        return finding


def _mutations(source: random.Random, count: int) -> list[bytes]:
    seeds = [
        *MALFORMED.values(),
        *AMBIGUOUS.values(),
        _REQUEST,
        _BIG_REQUEST,
        b"GET /sleep?ms=0 HTTP/1.1\r\nHost: x\r\n\r\n",
    ]
    made = []
    for _ in range(count):
        if source.random() < 0.2:
            made.append(source.randbytes(source.randrange(1, 300)))
            continue
        request = bytearray(source.choice(seeds))
        for _ in range(source.randrange(1, 6)):
            place = source.randrange(len(request) + 1)
            match source.randrange(3):
                case 0:
                    request[place:place] = source.randbytes(source.randrange(1, 5))
                case 1:
                    del request[place : place + source.randrange(1, 5)]
                case _:
                    request[place : place + 1] = source.choice([b"\r\n", b"\0", b":", b" ", b"%", b"\xff", b"?ms=1"])
        # A request to /sleep that a mutation made long is no rubbish: it would be waited for.
        made.append(bytes(request).replace(b"ms=", b"mz="))
    return made


def _exchange(server: Server, request: bytes, wait_s: float, enough: int, half_close: bool = False) -> bytes:
    """Send ``request`` on a connection of its own and return what comes back, until ``enough`` replies or a close.

    With ``half_close`` the server is told that nothing more will come.
    """
    deadline = time.monotonic() + wait_s
    received = b""
    with socket.create_connection((server.host, server.port), timeout=wait_s) as connection:
        try:
            connection.sendall(request)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            while (left := deadline - time.monotonic()) > 0 and len(_replies(received)) < enough:
                connection.settimeout(left)
                more = connection.recv(65536)
                if not more:
                    break
                received += more
        except OSError:
            pass  # refused by a reset: what has come so far is the answer
    return received


def _replies(received: bytes) -> list[tuple[int, bytes]]:
    """Return status and body of each complete reply in what was received."""
    found = []
    while status := re.match(rb"HTTP/[^ ]* ([1-5][0-9]{2})", received):
        head, ended, rest = received.partition(b"\r\n\r\n")
        if not ended:
            break
        lines = head.split(b"\r\n")
        lengths = [line.split(b":", 1)[1] for line in lines if line.lower().startswith(b"content-length:")]
        # Without a length the body ends with the connection.
        length = int(lengths[0]) if lengths else len(rest)
        if len(rest) < length:
            break
        found.append((int(status[1]), rest[:length]))
        received = rest[length:]
    return found
