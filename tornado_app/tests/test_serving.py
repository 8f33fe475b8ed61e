"""Started servers, from outside: stopping, dying workers, odd requests. No database is needed, and none is there."""

import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import NO_DATABASE, Start, until

GET = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_answers_what_was_accepted_and_closes_what_is_idle(start: Start, number: signal.Signals) -> None:
    server = start()
    untouched, kept = server.connect(), server.connect()
    kept.sendall(GET % b"/sleep?ms=0")
    assert kept.recv(4096).endswith(b'{"slept_ms":0}')
    with ThreadPoolExecutor(20) as clients:
        sleepers = [clients.submit(server.ask, "/sleep?ms=1500") for _ in range(20)]
        until(lambda: server.accepted() == 22)
        time.sleep(0.2)  # a request follows its connection; that it has been read cannot be seen from here
        started = time.monotonic()
        server.process.send_signal(number)
        assert untouched.recv(1) == kept.recv(1) == b""
        assert time.monotonic() - started < 1
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        assert [sleeper.result() for sleeper in sleepers] == [(200, b'{"slept_ms":1500}')] * 20
    assert server.process.wait(5) == 0
    assert time.monotonic() - started < 4
    assert server.is_gone()
    assert "Traceback" not in server.log.read_text()


def test_a_reply_while_it_stops_says_that_the_connection_closes(start: Start) -> None:
    server = start(WEB_CONCURRENCY="1")
    with server.connect() as client:
        client.sendall(GET % b"/sleep?ms=600")
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        reply = b"".join(iter(lambda: client.recv(4096), b""))
    assert b"\r\nConnection: close\r\n" in reply
    assert reply.endswith(b'{"slept_ms":600}')


def test_signals_while_it_stops_change_nothing(start: Start) -> None:
    server = start()
    with server.connect() as client:
        client.sendall(GET % b"/sleep?ms=500")
        time.sleep(0.2)
        while server.process.poll() is None:
            os.killpg(server.process.pid, signal.SIGINT)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.01)
        assert client.recv(4096).endswith(b'{"slept_ms":500}')
    assert server.process.returncode == 0
    assert server.is_gone()


def test_a_stop_that_the_whole_group_hears_and_is_told_again_is_one_stop(start: Start) -> None:
    server = start()
    clients = [server.connect() for _ in range(8)]
    for client in clients:
        client.sendall(GET % b"/sleep?ms=1500")
    until(lambda: server.accepted() == 8)
    time.sleep(0.2)
    os.killpg(server.process.pid, signal.SIGTERM)
    time.sleep(0.5)
    os.killpg(server.process.pid, signal.SIGTERM)
    for client in clients:
        assert client.recv(4096).endswith(b'{"slept_ms":1500}')
    assert server.process.wait(5) == 0
    assert "is replaced" not in server.log.read_text()


TWO_ADDRESSES = """
import socket
_getaddrinfo = socket.getaddrinfo
def getaddrinfo(host, *arguments, **options):
    found = _getaddrinfo(host, *arguments, **options)
    if host == "localhost":
        found += [(socket.AF_INET6, *found[0][1:4], ("::1", found[0][4][1], 0, 0))]
    return found
socket.getaddrinfo = getaddrinfo
"""


def test_each_address_of_a_host_is_served_and_drained(start: Start, tmp_path: Path) -> None:
    """Debian has two addresses for localhost."""
    (tmp_path / "sitecustomize.py").write_text(TWO_ADDRESSES)
    server = start(HOST="localhost", PYTHONPATH=str(tmp_path), WORKER_CONNECTIONS="4", WEB_CONCURRENCY="1")
    until(lambda: server.accepted() == 0)
    clients = [socket.create_connection((host, server.port), timeout=20) for host in ("::1", "127.0.0.1", "::1")]
    untouched = socket.create_connection(("::1", server.port), timeout=20)
    for client in clients:
        client.sendall(GET % b"/sleep?ms=1000")
    until(lambda: server.accepted() == 4)
    for host in ("::1", "127.0.0.1"):
        with socket.create_connection((host, server.port), timeout=20) as one_more:
            assert one_more.recv(1) == b""
    assert server.stop() == 0
    assert untouched.recv(1) == b""
    for client in clients:
        reply = client.recv(4096)
        assert b"\r\nConnection: close\r\n" in reply
        assert reply.endswith(b'{"slept_ms":1000}')


def test_clients_that_have_gone_leave_no_trace_in_the_log(start: Start) -> None:
    server = start()
    clients = [server.connect() for _ in range(50)]
    for client in clients:
        client.sendall(GET % b"/mongo")
    until(lambda: server.accepted() == 50)
    time.sleep(0.2)
    for client in clients:
        client.close()
    assert server.stop() == 0
    log = server.log.read_text()
    assert "Traceback" not in log
    assert "exception" not in log


def test_a_client_that_reads_and_sends_nothing_more_does_not_hold_the_stop_up(start: Start) -> None:
    server = start()
    with server.connect() as half:
        half.sendall(b"GET /sleep?ms=0 HTTP/1.1\r\nHost:")
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 3


def test_a_killed_worker_is_replaced_and_the_other_serves_on(start: Start) -> None:
    server = start()
    victim, other = server.workers()
    victim.kill()
    assert until(lambda: len(server.workers()) == 2 and victim not in server.workers()) < 3
    assert other in server.workers()
    until(server.answers)
    assert "was killed by SIGKILL" in server.log.read_text()
    assert server.stop() == 0


def test_a_worker_that_is_told_to_stop_drains_and_is_replaced(start: Start) -> None:
    server = start(WEB_CONCURRENCY="1")
    (worker,) = server.workers()
    with server.connect() as client:
        client.sendall(GET % b"/sleep?ms=500")
        time.sleep(0.2)
        worker.terminate()
        assert client.recv(4096).endswith(b'{"slept_ms":500}')
    until(lambda: [pid for pid in server.workers() if pid != worker])
    until(server.answers)
    assert server.stop() == 0


def test_no_worker_outlives_its_supervisor(start: Start) -> None:
    server = start()
    server.process.kill()
    server.process.wait()
    until(lambda: server.is_gone(), 5)


def test_workers_that_cannot_start_end_the_service(start: Start, tmp_path: Path) -> None:
    # The driver is there for the supervisor, which parses the URI with it; its async client is broken.
    (tmp_path / "sitecustomize.py").write_text("import uvloop\nuvloop.new_event_loop = lambda: 1 / 0\n")
    server = start(ready=False, PYTHONPATH=str(tmp_path))
    assert server.process.wait(20) == 1
    assert server.is_gone()
    assert "could not start: stopping" in server.log.read_text()


def test_the_start_names_the_database(start: Start) -> None:
    server = start(MONGODB_URI="mongodb://user:a-password@127.0.0.1:1/theirs")
    assert "Database: theirs on 127.0.0.1:1" in server.log.read_text().splitlines()


def test_a_used_port_is_one_line(start: Start) -> None:
    server = start()
    second = start(ready=False, PORT=str(server.port))
    assert second.process.wait(10) == 2
    assert second.log.read_text().splitlines() == [
        f"PORT {server.port} is in use on 127.0.0.1: stop what listens there, or set another PORT"
    ]
    assert server.answers()


@pytest.mark.parametrize(("name", "value"), [("PORT", "abc"), ("THREADS", "0"), ("HOST", "nowhere.invalid")])
def test_a_bad_setting_is_one_line(start: Start, name: str, value: str) -> None:
    server = start(ready=False, **{name: value})
    assert server.process.wait(10) == 2
    (line,) = server.log.read_text().splitlines()
    assert name in line
    assert server.is_gone()


def test_503_within_two_and_a_half_seconds_when_the_database_is_down(start: Start) -> None:
    """Also for far more requests than there are threads or connections that could wait for it."""
    server = start(THREADS="2", MONGODB_URI=f"{NO_DATABASE}/?maxPoolSize=2")
    with ThreadPoolExecutor(40) as clients:
        started = time.monotonic()
        replies = list(clients.map(server.ask, ["/mongo"] * 40))
        # 2.5 s, and a second for a machine that is busy with other tests.
        assert time.monotonic() - started < 3.5
    assert replies == [(503, b'{"error":"database unavailable"}')] * 40
    assert "ServerSelectionTimeoutError: " in server.log.read_text()


SILENT_DNS = """
import socket
import dns.resolver
silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
silent.bind(("127.0.0.1", 0))
resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers = ["127.0.0.1"]
resolver.port = silent.getsockname()[1]
dns.resolver.default_resolver = resolver
"""


def test_dns_that_is_silent_stops_neither_the_start_nor_an_answer(start: Start, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SILENT_DNS)
    server = start(MONGODB_URI="mongodb+srv://a.database.example", PYTHONPATH=str(tmp_path), THREADS="2")
    with ThreadPoolExecutor(20) as clients:
        started = time.monotonic()
        replies = list(clients.map(server.ask, ["/mongo"] * 20))
        assert time.monotonic() - started < 3.5
    assert {reply.status for reply in replies} == {503}
    assert server.answers()
    assert server.stop() == 0


def test_more_connections_than_allowed_are_closed(start: Start) -> None:
    server = start(WEB_CONCURRENCY="1", WORKER_CONNECTIONS="3")
    until(lambda: server.accepted() == 0)
    kept = [server.connect() for _ in range(3)]
    for client in kept:
        client.sendall(GET % b"/sleep?ms=0")
        assert client.recv(4096)
    with server.connect() as one_more:
        assert one_more.recv(1) == b""
    kept.pop().close()
    until(server.answers)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET /mongo HTTP/1.1\r\n\r\n",
        b"GET /mongo HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /mongo HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /mongo HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n",
        b"POST /mongo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /mongo HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 16_384 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n",
    ],
)
def test_a_malformed_request_is_refused_and_its_connection_closed(start: Start, request_bytes: bytes) -> None:
    server = start(WEB_CONCURRENCY="1")
    with server.connect() as client:
        client.sendall(request_bytes)
        reply = b"".join(iter(lambda: client.recv(4096), b""))
    assert reply == b"" or reply.startswith(b"HTTP/1.1 400 ")
    assert server.answers()
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize(
    "lines",
    [
        b"Connection: close",
        b"Connection: TE, close",
        b"connection: keep-alive,CLOSE ",
        b"Connection: keep-alive\r\nConnection:\tclose",
        b"Connection: x\r\nX: y\r\nConnection: , close ,,",
    ],
)
def test_a_client_that_asks_for_a_close_among_others_gets_it(start: Start, lines: bytes) -> None:
    server = start(WEB_CONCURRENCY="1")
    with server.connect() as client:
        client.sendall(b"GET /sleep?ms=0 HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n\r\n")
        reply = b"".join(iter(lambda: client.recv(4096), b""))
    assert b"\r\nConnection: close\r\n" in reply
    assert reply.endswith(b'{"slept_ms":0}')


@pytest.mark.parametrize("lines", [b"Connection: TE, closed", b"Connection: keep-alive", b"Connection:", b"X: close"])
def test_who_does_not_ask_for_a_close_is_kept(start: Start, lines: bytes) -> None:
    server = start(WEB_CONCURRENCY="1")
    with server.connect() as client:
        for _ in range(2):
            client.sendall(b"GET /sleep?ms=0 HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n\r\n")
            assert client.recv(4096).endswith(b'{"slept_ms":0}')


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"http://localhost/sleep?ms=0", 200),
        (b"HTTPS://a.b:5000/%73leep?ms=0", 200),
        (b"http://localhost", 404),
        (b"http://localhost?ms=0", 404),
        (b"ftp://localhost/sleep?ms=0", 404),
        (b"/http://localhost/sleep?ms=0", 404),
        (b"sleep?ms=0", 404),
        (b"*", 404),
    ],
)
def test_a_target_with_the_address_of_the_server(start: Start, target: bytes, status: int) -> None:
    server = start(WEB_CONCURRENCY="1")
    with server.connect() as client:
        client.sendall(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 %d " % status)


def test_requests_in_one_piece_are_answered_in_order(start: Start) -> None:
    server = start()
    with server.connect() as client:
        client.sendall(GET % b"/sleep?ms=100" + GET % b"/nothing" + b"GET /sleep?ms=2 HTTP/1.0\r\n\r\n")
        replies = b"".join(iter(lambda: client.recv(4096), b""))
    bodies = [replies.index(body) for body in (b'{"slept_ms":100}', b'{"error":"not found"}', b'{"slept_ms":2}')]
    assert bodies == sorted(bodies)
