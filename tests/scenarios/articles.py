"""A server of articles with known faults."""

import asyncio
import threading
import time
from collections import Counter

from shared.documents import big, extended_json, small

BODIES = {"/mongo": extended_json(small()), "/mongo_big": extended_json(big())}


class ArticleServer:
    """Answers as a stack does, without a database, except that every tenth request to /mongo meets a ``fault``."""

    def __init__(self) -> None:
        self.fault = ""
        self.asked: Counter[str] = Counter()
        self.faults = 0
        self.when: list[float] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(5)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1000))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if not await self._answer(head.split(b" ", 2)[1].decode(), writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def _answer(self, target: str, writer: asyncio.StreamWriter) -> bool:
        path, _, query = target.partition("?")
        self.asked[path] += 1
        self.when.append(time.monotonic())
        status, body, kept = "200 OK", BODIES.get(path, b'{"error":"not found"}'), True
        if path == "/sleep":
            ms = int(query.removeprefix("ms="))
            await asyncio.sleep(ms / 1000)
            body = b'{"slept_ms":%d}' % ms
        if self.fault and path == "/mongo" and self.asked[path] % 10 == 0:
            self.faults += 1
            match self.fault:
                case "503":
                    status, body = "503 Service Unavailable", b'{"error":"database unavailable"}'
                case "404":
                    status, body = "404 Not Found", b'{"error":"no document"}'
                case "body":
                    body = body.replace(b"foo", b"bar")
                case "no reply":
                    return False
                case "half a reply":
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n{")
                    await writer.drain()
                    return False
                case "close":
                    kept = False
                case "never":
                    await asyncio.sleep(60)
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        await writer.drain()
        return kept
