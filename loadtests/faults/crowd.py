"""Clients that hold a server's connections and give little in return: idle, slow to ask, or slow to read."""

import asyncio
import socket
import threading
import time
from typing import Self

# Connections opened before the loop looks at the others: thousands at once would find a full backlog.
_AT_ONCE = 200
_OPEN_TIMEOUT_S = 15
# The least that Linux grants: the rest of a reply waits in the server.
_SMALL_BUFFER_BYTES = 4096


class Crowd:
    """``clients`` connections that send ``first``, then ``drip`` each second, while in the block.

    With ``reads`` False nobody reads what is answered.
    """

    def __init__(self, host: str, port: int, clients: int, first: bytes, drip: bytes = b"", reads: bool = True) -> None:
        self._address = host, port
        self._clients = clients
        self._first = first
        self._drip = drip
        self.reads = reads
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._hold()), daemon=True)
        self._arrived = threading.Event()
        self.open = 0
        self.answered = 0
        self.refused = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._arrived.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    async def _hold(self) -> None:
        members = [_Member(self) for _ in range(self._clients)]
        try:
            for start in range(0, len(members), _AT_ONCE):
                await asyncio.gather(*(self._connect(member) for member in members[start : start + _AT_ONCE]))
            self._arrived.set()
            dripped = time.monotonic()
            while not self._over.is_set():
                await asyncio.sleep(0.05)
                if self._drip and time.monotonic() - dripped >= 1:
                    dripped = time.monotonic()
                    for member in members:
                        member.send(self._drip)
        finally:
            self._arrived.set()
            for member in members:
                member.abort()

    async def _connect(self, member: "_Member") -> None:
        loop = asyncio.get_running_loop()
        connection = socket.socket()
        connection.setblocking(False)
        if not self.reads:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER_BYTES)
        try:
            async with asyncio.timeout(_OPEN_TIMEOUT_S):
                await loop.sock_connect(connection, self._address)
            await loop.create_connection(lambda: member, sock=connection)
        except (OSError, TimeoutError):
            connection.close()
            self.refused += 1
            return
        member.send(self._first)


class _Member(asyncio.Protocol):
    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._transport: asyncio.Transport | None = None
        self._heard = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._crowd.open += 1
        if not self._crowd.reads:
            self._transport.pause_reading()  # type: ignore[union-attr]

    def data_received(self, data: bytes) -> None:
        if not self._heard:
            self._heard = True
            self._crowd.answered += 1

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._crowd.open -= 1

    def send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
