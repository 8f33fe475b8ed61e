"""The database side: one client for each process, and the one question that the service asks."""

import atexit
import re
import time
from collections.abc import Callable
from functools import cache, partial
from threading import Lock, Thread
from typing import Any

import bson
import pymongo
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import InvalidBSON
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, NetworkTimeout, PyMongoError, ServerSelectionTimeoutError

from config import Config
from machine import Memory, usable_cpus, usable_memory

Document = dict[str, Any]
Find = Callable[[float], bytes | None]
Ask = Callable[[Find, float], bytes | None]
WhenDone = Callable[[Callable[[], None], Callable[[], None]], object]

# Bytes of BSON: documents up to the first do not wait, and MongoDB stores none beyond the second.
_SMALL, _LARGEST = 64 * 1024, 16 * 1024 * 1024
# A document takes so many times its BSON until it is encoded, and then its reply. Of tiny values it can be twice that.
_COST, _COST_OF_REPLY = 16, 2
# A binary of the old subtype 2 begins with its length once more.
_OLD_BINARY = re.compile(rb"\x05[^\0]*\0(?=(.{4})\x02(.{4}))", re.DOTALL)

CODEC: CodecOptions[Document] = CodecOptions(
    # A date before the year 1 or after 9999 is no datetime; it comes as a DatetimeMS instead of an exception.
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    # Another program may have stored bytes that are no UTF-8; the rest of the document is still good.
    unicode_decode_error_handler="replace",
)
_RAW = CODEC.with_options(document_class=RawBSONDocument)


class Articles:
    """The collections that the service reads. ``ask`` calls a find, within the given seconds, when it may.

    The client is made at the first question: its threads and sockets do not survive the fork of some servers.
    """

    def __init__(self, config: Config, ask: Ask | None = None) -> None:
        self._config = config
        self._ask = ask or (lambda find, timeout_s: find(timeout_s))
        self._opening = Lock()
        self._opener: Thread | None = None
        self._client: MongoClient[Document] | None = None
        self._problem = "it may be slow"
        self._memory = Memory(min(640 * 2**20, usable_memory() // 2 // (config.workers or usable_cpus())))
        self._sizes: dict[str, int] = {}  # in bytes, of the last document of each collection
        self._collection: Any = None
        self._readable: Any = None

    def first(self, collection: str, when_done: WhenDone) -> Document | None:
        """Return a document of ``collection``, None when it is empty: one ``find`` on the wire.

        ``when_done`` takes what to call when the document is encoded, and when the reply is sent, or cannot be.
        Raises PyMongoError when the database cannot be reached, refuses, or takes longer than DB_TIMEOUT_MS.
        """
        stored = self._ask(lambda limit_s: self._find(collection, when_done, limit_s), self._config.db_timeout_s)
        return decode(stored) if stored else None

    def _find(self, collection: str, when_done: WhenDone, timeout_s: float) -> bytes | None:
        deadline = time.monotonic() + timeout_s
        # The last document of a collection says how large the next will be.
        if waits := self._needs(collection) and self._is_known(self._open()):
            self._hold(collection, when_done, deadline)
        try:
            found = self._ask_once(collection, deadline)
        except (NetworkTimeout, ServerSelectionTimeoutError):
            raise
        except AutoReconnect:
            # A connection that was closed while it lay in the pool says nothing about the database now.
            found = self._ask_once(collection, deadline)
        self._sizes[collection] = len(found or b"")
        if self._needs(collection) and not waits:
            self._hold(collection, when_done, deadline)
        return found

    def _ask_once(self, collection: str, deadline: float) -> bytes | None:
        client, left_s = self._open(), deadline - time.monotonic()
        if not self._is_known(client):
            left_s = min(left_s, client.options.server_selection_timeout)
        # One clock for all that the driver does. It takes the place of the selection timeout too, so a find that meets
        # no server gets that one. It takes 0 for no limit.
        with pymongo.timeout(max(0.001, left_s)):
            found = self._collection(collection).find_one()
        return None if found is None else found.raw

    def _is_known(self, client: MongoClient[Document]) -> bool:
        topology = client.topology_description
        if topology is not self._readable and topology.has_readable_server(client.read_preference):
            self._readable = topology  # until the driver learns something new
        return topology is self._readable

    def _needs(self, collection: str) -> int:
        size = self._sizes.get(collection, _LARGEST)
        return min(size * _COST, self._memory.limit) if size > _SMALL else 0

    def _hold(self, collection: str, when_done: WhenDone, deadline: float) -> None:
        held = self._memory.take(lambda: self._needs(collection), deadline - time.monotonic())
        of_reply = held * _COST_OF_REPLY // _COST
        when_done(*(partial(self._memory.give_back, size) for size in (held - of_reply, of_reply)))

    def _open(self) -> MongoClient[Document]:
        if self._client is None:
            with self._opening:
                if self._opener is None or not self._opener.is_alive():
                    self._opener = Thread(target=self._connect, daemon=True)
                    self._opener.start()
            # With mongodb+srv the client asks DNS first: one look-up for all, which goes on without them.
            self._opener.join(1.5)
        if self._client is None:
            raise ServerSelectionTimeoutError(f"no answer from DNS yet: {self._problem}")
        return self._client

    def _connect(self) -> None:
        try:
            # The options of the URI first, then those of this service.
            client = MongoClient[Document](self._config.mongodb_uri, **self._config.mongodb_options)
            atexit.register(client.close)
            # The driver would check its name and options anew for each find.
            self._collection = cache(client.get_database(self._config.database, codec_options=_RAW).get_collection)
            self._client = client
        except PyMongoError as problem:
            self._problem = str(problem)


def decode(stored: bytes) -> Document:
    """Return the document that ``stored`` holds in BSON, its names and values in their order."""
    try:
        # The driver would make a DBRef of an inner document with these two names, and move its others behind them.
        if b"$ref\0" in stored and b"$id\0" in stored:
            return {name: _plain(value) for name, value in RawBSONDocument(stored, _RAW).items()}
        return bson.decode(stored, CODEC)
    except InvalidBSON:
        mended = _without_wrong_lengths(stored)
        if mended == stored:
            raise
        return decode(mended)


def _plain(value: Any) -> Any:
    if isinstance(value, RawBSONDocument):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _without_wrong_lengths(stored: bytes) -> bytes:
    """Return it with plain binaries in place of old ones whose second length is wrong, which the driver refuses."""
    mended = bytearray(stored)
    for found in _OLD_BINARY.finditer(stored):
        length, inner_length = (int.from_bytes(number, "little") for number in found.groups())
        if length < len(stored) and inner_length != length - 4:
            mended[found.end(1)] = 0
    return bytes(mended)
