"""A server whose behaviour is known to the last reply: what the bench says of it can be checked.

``python known_server.py BEHAVIOUR``, with HOST and PORT, RIGHT_BODY, and MONGODB_URI where it asks the database. It
counts what it does; ``GET /counts`` tells, and starts counting anew.
"""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from statistics import quantiles

from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

RIGHT_BODY = os.environ["RIGHT_BODY"].encode()
READY = b'{"slept_ms":0}'
TOO_LATE_S = 1.5
MANY_REQUESTS = 1000
_LOAD_IS_THERE = 50


@dataclass(frozen=True)
class Reply:
    """What a request gets, after ``delay_s``; ``ending`` is what happens to the connection.

    It is kept, closed after the reply, reset in the middle of it, or closed without one (``unanswered``).
    """

    counted_as: str = "ok"
    delay_s: float = 0.005
    status: str = "200 OK"
    body: bytes = RIGHT_BODY
    ending: str = "keep"


def each(period: int, special: Reply, ordinary: Reply = Reply()) -> Callable[[int], Reply]:
    return lambda number: special if number % period == 0 else ordinary


CLOSES = Reply("closed", ending="close")
RESETS = Reply("reset", ending="reset")
BEHAVIOURS: dict[str, Callable[[int], Reply]] = {
    "fixed": lambda number: Reply(delay_s=0.02),
    "two-speeds": each(10, Reply(delay_s=0.05), Reply(delay_s=0.01)),
    "each-hundredth-503": each(100, Reply("503", status="503 Service Unavailable", body=b"{}")),
    "each-fiftieth-404": each(50, Reply("404", status="404 Not Found", body=b"{}")),
    "only-503": each(1, Reply("503", status="503 Service Unavailable", body=b"{}")),
    "each-twentieth-wrong": each(20, Reply("wrong", body=b'{"wrong":true}')),
    "always-wrong": lambda number: Reply("wrong", body=b'{"wrong":true}'),
    "closes": lambda number: CLOSES,
    "each-fiftieth-reset": each(50, RESETS),
    "each-fifth-unanswered": each(5, Reply("unanswered", delay_s=0.3, ending="unanswered")),
    "closes-and-resets": each(4, RESETS, CLOSES),
    "each-hundredth-too-late": each(100, Reply("late", delay_s=TOO_LATE_S)),
    "each-hundredth-never": each(100, Reply("never")),
    "slow-accept": lambda number: Reply(delay_s=0.01),
    "one-favoured": lambda number: Reply(),
    "refuses": lambda number: CLOSES,
    "burns": lambda number: Reply(delay_s=0),
    "idle-worker": lambda number: Reply(delay_s=0),
    "dies": lambda number: Reply(),
    "finds": lambda number: Reply(delay_s=0),
    "aggregates": lambda number: Reply(delay_s=0),
}


class Server:
    def __init__(self, behaviour: str) -> None:
        self.behaviour = behaviour
        self.reply = BEHAVIOURS[behaviour]
        self.number = 0
        self.open = 0
        self.counts: Counter[str] = Counter()
        self.served_s: list[float] = []
        self.favoured: Client | None = None
        if behaviour in ("finds", "aggregates"):
            self.at_once = asyncio.Semaphore(int(os.environ.get("AT_ONCE", "100")))
            client: AsyncMongoClient = AsyncMongoClient(
                os.environ["MONGODB_URI"], maxPoolSize=100, serverSelectionTimeoutMS=1000
            )
            self.collection = client[os.environ["MONGODB_DATABASE"]]["articles"]

    def said(self) -> bytes:
        tenths = quantiles(self.served_s, n=100) if len(self.served_s) > 1 else [0.0] * 99
        said = {"counts": self.counts, "p50_ms": tenths[49] * 1000, "p99_ms": tenths[98] * 1000}
        self.counts, self.served_s = Counter(), []
        return json.dumps(said).encode()

    async def ask_database(self) -> None:
        async with self.at_once:
            if self.behaviour == "aggregates":
                # Work for mongod alone: one number comes back.
                sum_of_many = {"$sum": {"$range": [0, 200_000]}}
                await (await self.collection.aggregate([{"$project": {"_id": 0, "sum": sum_of_many}}])).to_list()
                return
            for _ in range(int(os.environ.get("FINDS", "1"))):
                await self.collection.find_one()


class Client(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self.server = server
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.server.open += 1

    def connection_lost(self, error: Exception | None) -> None:
        self.server.open -= 1
        if self.server.favoured is self:
            self.server.favoured = None

    def data_received(self, data: bytes) -> None:
        received = time.perf_counter()
        if data.startswith(b"GET /counts"):
            self.write("200 OK", self.server.said())
        elif data.startswith(b"GET /sleep"):
            self.write("200 OK", READY)
        else:
            task = asyncio.ensure_future(self.answer(received))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def answer(self, received: float) -> None:
        server = self.server
        server.number += 1
        # A client alone is a check, which must not meet what is kept for the load.
        reply = server.reply(server.number) if server.open > 1 or server.behaviour == "always-wrong" else Reply()
        if server.behaviour == "dies" and server.number > MANY_REQUESTS:
            print("known server: dying as it was told to", file=sys.stderr, flush=True)
            os._exit(3)
        if server.behaviour in ("finds", "aggregates"):
            try:
                await server.ask_database()
            except PyMongoError:
                self.transport.close()
                return
        elif server.behaviour in ("burns", "idle-worker"):
            burn(0.002)
        else:
            await asyncio.sleep(self.delay_s(reply))
        if reply.counted_as == "never":
            server.counts["never"] += 1
            return
        if self.transport.is_closing():
            return
        server.counts[reply.counted_as] += 1
        if reply.ending == "unanswered":
            self.transport.close()
            return
        if reply.ending == "reset":
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf of")
            # The bytes go out before the reset does.
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.transport.close()
            return
        self.write(reply.status, reply.body)
        server.served_s.append(time.perf_counter() - received)
        if reply.ending == "close":
            self.transport.close()

    def delay_s(self, reply: Reply) -> float:
        if self.server.behaviour != "one-favoured":
            return reply.delay_s
        if self.server.favoured is None:
            self.server.favoured = self
        return 0.002 if self.server.favoured is self else 0.2

    def write(self, status: str, body: bytes) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)


def burn(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


async def serve(behaviour: str) -> None:
    loop = asyncio.get_running_loop()
    server = Server(behaviour)
    address = os.environ["HOST"], int(os.environ["PORT"])
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if behaviour == "slow-accept":
        accepting = asyncio.ensure_future(accept_slowly(server, address))
    elif behaviour == "refuses":
        accepting = asyncio.ensure_future(listen_now_and_then(server, address))
    else:
        await loop.create_server(lambda: Client(server), *address, backlog=1000)
        accepting = None
    await stopped.wait()
    if accepting:
        accepting.cancel()


async def accept_slowly(server: Server, address: tuple[str, int]) -> None:
    """Accept a connection each 10 ms."""
    loop = asyncio.get_running_loop()
    listening = socket.create_server(address, backlog=1000)
    listening.setblocking(False)
    due = loop.time()
    while True:
        connection, _ = await loop.sock_accept(listening)
        await loop.connect_accepted_socket(lambda: Client(server), connection)
        # A sleep ends late: what one loses the next makes up, or fifty would take a third longer on a busy machine.
        due = max(due, loop.time() - 0.05) + 0.01
        await asyncio.sleep(due - loop.time())


async def listen_now_and_then(server: Server, address: tuple[str, int]) -> None:
    """Once the load is there, listen for 0.4 s and not for 0.1 s, by turns: who connects meanwhile is refused."""
    loop = asyncio.get_running_loop()
    while True:
        listening = await loop.create_server(lambda: Client(server), *address, backlog=1000)
        await asyncio.sleep(0.4)
        while server.number < _LOAD_IS_THERE:
            await asyncio.sleep(0.05)
        listening.close()
        await asyncio.sleep(0.1)


def idle_until_orphaned(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.1)
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[1] == "idle-worker":
        own = os.getpid()
        if os.fork() == 0:
            idle_until_orphaned(own)
    asyncio.run(serve(sys.argv[1]))
