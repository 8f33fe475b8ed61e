"""Each stack really started, from outside. No database is needed, and none is there."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import Server, Start, until

from launch import COMMANDS

GET = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"
EVENTS = [stack for stack in COMMANDS if stack.endswith("gevent")]
THREADS = [stack for stack in COMMANDS if "thread" in stack]

every_stack = pytest.mark.parametrize("stack", COMMANDS)


@pytest.fixture(scope="module", params=COMMANDS)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server of each stack, for the tests that leave it as it is."""
    server = Server(request.param, tmp_path_factory.mktemp("running") / "log")
    try:
        until(server.answers, 20)
        yield server
    finally:
        server.kill()


def seconds_for(server: Server, requests: int, path: str) -> float:
    """Return how long ``requests`` at the same time take."""
    started = time.monotonic()
    with ThreadPoolExecutor(requests) as clients:
        assert all(reply.status == 200 for reply in clients.map(server.ask, [path] * requests))
    return time.monotonic() - started


@every_stack
def test_without_a_database_it_starts_and_answers_503_in_time(stack: str, start: Start) -> None:
    server = start(stack, MONGODB_URI="mongodb://reader:a-password@127.0.0.1:1", ACCESS_LOG="1")
    reply = server.ask("/mongo")
    assert (reply.status, reply.body) == (503, b'{"error":"database unavailable"}')
    assert reply.headers["Retry-After"] == "1"
    # 2.5 s, and a second for a machine that is busy with other tests.
    assert reply.took_s < 3.5
    assert server.stop() == 0
    assert server.running() == []
    log = server.log.read_text()
    assert "/mongo: database unavailable (ServerSelectionTimeoutError: " in log
    assert "GET /sleep?ms=0" in log
    assert "Traceback" not in log
    assert "a-password" not in log
    assert "database articles of MongoDB at 127.0.0.1:1\n" in log


def test_a_request_leaves_no_line_and_its_reply_names_no_version(running: Server) -> None:
    reply = running.ask("/sleep?ms=0")
    assert not any(character.isdigit() for character in reply.headers.get("Server", ""))
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Content-Length"] == "14"
    assert running.ask("/nothing").status == 404
    assert "/sleep" not in running.log.read_text()
    assert "/nothing" not in running.log.read_text()


@every_stack
def test_sigterm_answers_what_was_accepted_also_when_each_process_is_told(stack: str, start: Start) -> None:
    server = start(stack, WEB_CONCURRENCY="2")
    with server.connect() as client:
        client.sendall(b"GET /sleep?ms=1500 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        time.sleep(0.3)  # that the request has been read cannot be seen from here
        for pid in server.running():
            os.kill(pid, signal.SIGTERM)
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        reply = b"".join(iter(lambda: client.recv(4096), b""))
    assert reply.endswith(b'{"slept_ms":1500}')
    assert server.process.wait(15) == 0
    assert server.running() == []
    assert "Traceback" not in server.log.read_text()


def test_connections_are_kept_until_the_client_asks_for_the_close(running: Server) -> None:
    if running.stack == "gunicorn-sync":
        assert running.ask("/sleep?ms=0").headers["Connection"] == "close"
        return
    with running.connect() as client:
        for path in (b"/sleep?ms=0", b"/sleep?ms=1", b"/nothing"):
            client.sendall(GET % path)
            reply = b""
            while not reply.endswith(b"}"):
                received = client.recv(4096)
                assert received, reply
                reply += received
        client.sendall(b"GET /sleep?ms=2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        last = b"".join(iter(lambda: client.recv(4096), b""))
    assert last.endswith(b'{"slept_ms":2}')


def test_what_is_no_request_is_neither_answered_as_one_nor_traced(running: Server) -> None:
    body = GET % b"/sleep?ms=0"
    unread = b"POST /mongo HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert b'{"slept_ms":0}' not in everything_after(running, unread + body)
    assert b'{"slept_ms":0}' not in everything_after(running, unread, body)
    chunked = b"GET /sleep?ms=0 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n"
    for nonsense in (b"nonsense\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", chunked):
        reply = everything_after(running, nonsense)
        assert reply == b"" or b" 400 " in reply.splitlines()[0]
    assert running.answers()
    assert "Traceback" not in running.log.read_text()


def everything_after(server: Server, *pieces: bytes) -> bytes:
    """Send ``pieces`` one after the other, and nothing more; return what came until the server closed."""
    with server.connect() as client:
        try:
            for piece in pieces:
                client.sendall(piece)
                time.sleep(0.1)  # a segment of its own
            client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(4096), b""))
        except OSError:  # closed before it was all sent
            return b""


@pytest.mark.parametrize("stack", EVENTS)
def test_waiting_costs_no_process_and_no_thread(stack: str, start: Start) -> None:
    assert seconds_for(start(stack), 40, "/sleep?ms=500") < 5


@pytest.mark.parametrize("stack", THREADS)
def test_threads_are_what_waits_at_the_same_time(stack: str, start: Start) -> None:
    few = seconds_for(start(stack, THREADS="2"), 8, "/sleep?ms=300")
    many = seconds_for(start(stack, THREADS="8"), 8, "/sleep?ms=300")
    assert few >= 4 * 0.3
    assert many < few
