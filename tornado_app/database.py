"""The database side: the one question that the service asks, and the bounds on its time and memory."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from functools import cache
from math import ceil
from typing import Any

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import InvalidBSON
from bson.raw_bson import RawBSONDocument

from config import Config

Document = dict[str, Any]

# A document is in memory as BSON, as JSON, and as what a client has not taken yet.
_COPIES = 3
# MongoDB's limit for a document, in bytes. Those below the other number are not counted: thousands of them fit.
_LARGEST, _LARGE = 16_777_216, 65_536

CODEC: CodecOptions[Document] = CodecOptions(
    # A date before the year 1 or after 9999 is no datetime; it comes as a DatetimeMS instead of an exception.
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    # Another program may have stored bytes that are no UTF-8; the rest of the document is still good.
    unicode_decode_error_handler="replace",
)
_RAW: CodecOptions[Any] = CODEC.with_options(document_class=RawBSONDocument)
# Bytes of a value by its BSON type, beside those that its own length counts: of text, binary, code.
_BYTES = {1: 8, 2: 4, 3: 4, 4: 4, 5: 5, 7: 12, 8: 1, 9: 8, 12: 16, 13: 4, 14: 4, 15: 12, 16: 4, 17: 8, 18: 8, 19: 16}


def decode(stored: bytes) -> Document:
    """Return the document that ``stored`` holds in BSON, its names and values in their order."""
    try:
        # The driver would make a DBRef of an inner document with these two names, and move its others behind them.
        if b"$ref\0" in stored and b"$id\0" in stored:
            return {name: _plain(value) for name, value in RawBSONDocument(stored, _RAW).items()}
        return bson.decode(stored, CODEC)
    except InvalidBSON:
        if (whole := _mended(stored)) == stored:
            raise
        return decode(whole)


class Articles:
    """The collections that the service reads, by a client of either driver: both have the same methods."""

    def __init__(self, client: Any, config: Config) -> None:
        self._client = client
        self._preference = client.read_preference
        # The driver would check its name and options anew for each find.
        self._collection = cache(client.get_database(config.database, codec_options=_RAW).get_collection)
        self._timeout_s = config.db_timeout_s
        # The driver looks at its limit every 0.5 s. A little later its own words are there.
        self._selection_limit_s = min(config.db_timeout_s, client.options.server_selection_timeout + 0.6)
        self._queue_limit_s = client.options.pool_options.wait_queue_timeout or config.db_timeout_s
        self._connections = asyncio.Semaphore(config.max_pool_size)
        self._memory = self._free = config.document_bytes
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()
        # Bytes to hold for a document of each collection: as for its last one; before that, as for the largest.
        self._weights: dict[str, int] = defaultdict(lambda: self._weight(_LARGEST))
        self._usable: Any = None
        self._look: asyncio.Future[Any] | None = None
        self._questions: set[asyncio.Future[Any]] = set()

    async def first(self, collection: str, reply: Callable[[Document | None], Awaitable[None]]) -> None:
        """Call ``reply`` with a document of ``collection``, or None: one ``find``. Its memory counts until that ends.

        Raises PyMongoError when the database cannot be reached or refuses, TimeoutError after DB_TIMEOUT_MS.
        """
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        if self._client.topology_description is not self._usable:
            await self._server_known()
        held = await self._take(collection, deadline) if self._weights[collection] else 0
        try:
            raw = await self._find(collection, deadline)
            self._weights[collection] = self._weight(len(raw))
            if self._weights[collection] > held:
                # Not only what is missing: two that hold a part would wait for each other.
                self._give_back(held)
                held = 0
                held = await self._take(collection, deadline)
            await reply(decode(raw) if raw else None)
        finally:
            if held:
                self._give_back(held)

    async def settle(self, limit_s: float) -> None:
        """Wait, at most ``limit_s``, for the answers to what clients have asked that have gone meanwhile."""
        if self._questions:
            await asyncio.wait(self._questions, timeout=limit_s)

    async def _server_known(self) -> None:
        """Wait until the driver knows a server that may answer. All who wait share one look, one thread, one error."""
        topology = self._client.topology_description
        if topology.has_readable_server(self._preference):
            self._usable = topology  # until the driver learns something new
            return
        if self._look is None or self._look.done():
            self._look = asyncio.ensure_future(self._client.admin.command("ping", read_preference=self._preference))
            self._look.add_done_callback(_forget)
        if not (await asyncio.wait([self._look], timeout=self._selection_limit_s))[0]:
            raise TimeoutError("the hosts of MONGODB_URI are still being looked up")
        self._look.result()

    def _weight(self, size: int) -> int:
        return 0 if size < _LARGE else min(_COPIES * size, self._memory)

    async def _take(self, collection: str, deadline: float) -> int:
        """Return the bytes to give back, when they are free: who asks first gets them first."""
        async with asyncio.timeout_at(deadline), self._turn:
            # An answer to another may have shown meanwhile what the document weighs.
            while self._free < (wanted := self._weights[collection]):
                self._freed.clear()
                await self._freed.wait()
            self._free -= wanted
        return wanted

    def _give_back(self, taken: int) -> None:
        self._free += taken
        self._freed.set()

    async def _find(self, collection: str, deadline: float) -> bytes:
        """Return a document as BSON, nothing when the collection is empty."""
        loop = asyncio.get_running_loop()
        # The queue for a connection is ours, first come, first served: whom it keeps waiting for too long leaves it.
        if self._connections.locked():
            async with asyncio.timeout_at(min(deadline, loop.time() + self._queue_limit_s)):
                await self._connections.acquire()
        else:
            await self._connections.acquire()
        left_ms = max(1, ceil((deadline - loop.time()) * 1000))
        question = asyncio.ensure_future(self._collection(collection).find_one(max_time_ms=left_ms))
        self._questions.add(question)
        question.add_done_callback(self._answered)
        # A question is never cancelled, but ends by the driver's limits: thousands of cancellations inside PyMongo
        # 4.20 left its locks and its pool broken for good.
        if not (await asyncio.wait([question], timeout=max(0.0, deadline - loop.time())))[0]:
            raise TimeoutError
        found = question.result()
        return b"" if found is None else bytes(found.raw)

    def _answered(self, question: asyncio.Future[Any]) -> None:
        self._questions.discard(question)
        self._connections.release()
        _forget(question)


def _plain(value: Any) -> Any:
    if isinstance(value, RawBSONDocument):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _mended(stored: bytes) -> bytes:
    """Return BSON in which binaries of subtype 2, which hold their length twice, do so without a contradiction.

    MongoDB stores others, and the driver refuses them.
    """
    whole, at = bytearray(stored), 4
    while at < len(whole):
        kind, at = whole[at], at + 1
        for _ in range(3 if kind == 11 else min(kind, 1)):  # the name, and both texts of a regular expression
            at = whole.index(0, at) + 1
        counts_at = at + 4 if kind == 15 else at
        length = int.from_bytes(whole[counts_at : counts_at + 4], "little") if kind in (2, 5, 12, 13, 14, 15) else 0
        if kind == 5 and whole[at + 4] == 2:
            if length < 4:  # no room for the second
                whole[at + 4] = 0
            else:
                whole[at + 5 : at + 9] = (length - 4).to_bytes(4, "little")
        at += _BYTES.get(kind, 0) + length
    return bytes(whole)


def _forget(question: asyncio.Future[Any]) -> None:
    # asyncio would report the failure of a task that nobody has asked for its result.
    if not question.cancelled():
        question.exception()
