"""A first connection that is slow, and a name server that is silent: a stack says so in time, and heals."""

import asyncio
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset
import pytest

from loadtests.stacks.catalogue import Stack
from loadtests.stacks.server import Server
from shared.mongod import Mongod, free_port
from shared.seed import seed
from shared.system_packages import Unavailable
from tests.conftest import StartServer, log_of, skipped_without_its_tools
from tests.contract.test_database import DOWN_WITHIN_S, is_unavailable
from tests.harness.exchange import ask, wait_until_healthy

DATABASE = "articles_first_failures"
# Most of it is the machine's: a driver's next attempt may come after a heartbeat of 2 s, and one that fails once more.
HEALED_WITHIN_S = 12
# A pair of its own for each worker of pytest-xdist. The first is dead for ever, the second is silent at first.
_PAIR = 2 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
NAME_SERVERS = (f"127.0.53.{_PAIR + 1}", f"127.0.53.{_PAIR + 2}")
# A driver may refuse a name of two parts.
ZONE = "db.battle.example"


class HeldProxy:
    """Accepts connections to ``port`` of mongod at once, and passes nothing on until ``released``."""

    def __init__(self, port: int) -> None:
        self.port = free_port()
        self.released = threading.Event()
        self.accepted = 0
        self._target = port
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)

    def __enter__(self) -> "HeldProxy":
        self._thread.start()
        self._listening.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", self.port)
        self._listening.set()
        await self._over.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        # asyncio would log that it was cancelled.
        with suppress(asyncio.CancelledError, OSError), closing(writer):
            while not self.released.is_set():
                await asyncio.sleep(0.05)
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._target)
            with closing(to_writer):
                pumps = [asyncio.create_task(_pump(reader, to_writer)), asyncio.create_task(_pump(to_reader, writer))]
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):  # one of the two sides has closed
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()


@pytest.fixture(scope="session")
def seeded(database_server: Mongod) -> Mongod:
    seed(database_server.uri, DATABASE)
    return database_server


def test_a_slow_first_connection_heals(stack: Stack, start_server: StartServer, seeded: Mongod) -> None:
    with HeldProxy(seeded.port) as proxy:
        uri = f"mongodb://127.0.0.1:{proxy.port}/?connectTimeoutMS=20"
        with start_server(stack, uri=uri, MONGODB_DATABASE=DATABASE, WEB_CONCURRENCY="1") as server:
            for _ in range(2):
                _is_told_in_time(server)
            assert proxy.accepted
            proxy.released.set()
            wait_until_healthy(server, HEALED_WITHIN_S)
            assert "Traceback" not in log_of(server)


def _is_told_in_time(server: Server) -> None:
    reply = ask(server, "/mongo")
    assert is_unavailable(reply)
    assert reply.took_s < DOWN_WITHIN_S
    assert ask(server, "/sleep?ms=0").status == 200


@contextmanager
def _name_server(mongod_port: int) -> Iterator[threading.Event]:
    """Serve ZONE at the second of NAME_SERVERS, from when the event that it gives is set; nothing listens to the first.

    ``host`` in ZONE is 127.0.0.1, and ZONE itself has the records that mongodb+srv asks for.
    """
    speaks, over = threading.Event(), threading.Event()
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    speaking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    records = {
        (f"_mongodb._tcp.{ZONE}.", dns.rdatatype.SRV): f"0 0 {mongod_port} host.{ZONE}.",
        (f"host.{ZONE}.", dns.rdatatype.A): "127.0.0.1",
    }

    def serve() -> None:
        while not over.is_set():
            try:
                wire, asker = speaking.recvfrom(4096)
            except TimeoutError:
                continue
            if not speaks.is_set():
                continue
            asked = dns.message.from_wire(wire)
            question = asked.question[0]
            answer = dns.message.make_response(asked, recursion_available=True)
            answer.flags |= dns.flags.AA
            found = records.get((question.name.to_text().lower(), question.rdtype))
            if found:
                answer.answer.append(dns.rrset.from_text(question.name, 1, "IN", question.rdtype, found))
            speaking.sendto(answer.to_wire(), asker)

    with silent, speaking:
        silent.bind((NAME_SERVERS[0], 53))
        speaking.bind((NAME_SERVERS[1], 53))
        speaking.settimeout(0.1)
        serving = threading.Thread(target=serve)
        serving.start()
        try:
            yield speaks
        finally:
            over.set()
            serving.join()


@pytest.fixture(scope="session")
def own_resolver(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return words before a command that run it where the name servers are NAME_SERVERS."""
    file = tmp_path_factory.mktemp("resolver") / "resolv.conf"
    file.write_text("".join(f"nameserver {each}\n" for each in NAME_SERVERS) + "options timeout:2 attempts:2\n")
    words = ["unshare", "--mount", "sh", "-c", f'mount --bind {file} /etc/resolv.conf && exec "$0" "$@"']
    with skipped_without_its_tools():
        if shutil.which("unshare") is None or subprocess.run([*words, "true"], capture_output=True).returncode:
            raise Unavailable("a resolv.conf of its own needs root and unshare")
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind((NAME_SERVERS[0], 53))
        except OSError as problem:
            raise Unavailable(f"a name server of its own needs port 53 of {NAME_SERVERS[0]}: {problem}") from None
    return words


def test_a_silent_name_server_is_said_in_time_and_heals(
    stack: Stack, own_resolver: list[str], seeded: Mongod, tmp_path: Path
) -> None:
    settings = {"MONGODB_DATABASE": DATABASE, "WEB_CONCURRENCY": "1"}
    uri = f"mongodb+srv://{ZONE}/?tls=false"
    server = Server(stack, uri, free_port(), settings, log=tmp_path / "log", within=own_resolver)
    with _name_server(seeded.port) as speaks, server:
        for _ in range(2):
            _is_told_in_time(server)
        speaks.set()
        # Each look-up asks the dead one first.
        wait_until_healthy(server, 2 * HEALED_WITHIN_S)
        assert "Traceback" not in log_of(server)
