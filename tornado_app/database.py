"""The database side: the options of the client, and the one question that the service asks."""

import asyncio
from typing import Any, cast

import pymongo
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo.errors import AutoReconnect, NetworkTimeout, ServerSelectionTimeoutError, WaitQueueTimeoutError
from pymongo.uri_parser import split_options

from config import Config

Document = dict[str, Any]

# A request that finds the database down is told so within 2.5 s: the driver looks at this limit every 0.5 s.
_SELECTION_TIMEOUT_MS = 1500
# The driver takes 0 for no limit.
_SHORTEST_S = 0.001

CODEC: CodecOptions[Document] = CodecOptions(
    # A date before the year 1 or after 9999 is no datetime; it comes as a DatetimeMS instead of an exception.
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    # Another program may have stored bytes that are no UTF-8; the rest of the document is still good.
    unicode_decode_error_handler="replace",
)


def client_options(config: Config) -> dict[str, Any]:
    """Return the keyword arguments for a client of either driver: the app's own options where MONGODB_URI has none."""
    options = {
        "maxPoolSize": config.max_pool_size,
        "serverSelectionTimeoutMS": _SELECTION_TIMEOUT_MS,
        "connectTimeoutMS": 1000,
        # The return of the database is noticed within 5 s.
        "heartbeatFrequencyMS": 2000,
        # With a clock for each find the driver would retry until it is over.
        "retryReads": False,
    }
    given = _options_of(config.mongodb_uri)
    return {name: value for name, value in options.items() if name.lower() not in given}


class Articles:
    """The collections that the service reads, by a client of either driver: both have the same methods."""

    def __init__(self, client: Any, name: str, timeout_s: float, connections: int) -> None:
        self._client = client
        self._database = client.get_database(name, codec_options=CODEC)
        self._timeout_s = timeout_s
        self._connections = asyncio.Semaphore(connections)
        self._questions: set[asyncio.Future[Document | None]] = set()

    async def first(self, collection: str) -> Document | None:
        """Return a document of ``collection``, None when it is empty: one ``find`` on the wire.

        Raises PyMongoError when the database cannot be reached or refuses, TimeoutError after ``timeout_s``.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_s
        # The queue for a connection is ours, first come, first served: whom it keeps waiting for too long leaves it.
        async with asyncio.timeout_at(deadline):
            await self._connections.acquire()
        # The driver's clock takes the place of its selection timeout too, so where no server is known it gets that one.
        known = self._client.topology_description.has_readable_server()
        left_s = max(_SHORTEST_S, deadline - loop.time())
        with pymongo.timeout(left_s if known else min(left_s, self._client.options.server_selection_timeout)):
            question = asyncio.ensure_future(self._find(collection))
        self._questions.add(question)
        question.add_done_callback(self._answered)
        # A question is never cancelled, but ends by the driver's clock: thousands of cancellations inside PyMongo 4.20
        # left its locks and its pool broken for good.
        answered, _ = await asyncio.wait([question], timeout=max(0.0, deadline - loop.time()))
        if not answered:
            question.add_done_callback(_forget)
            raise TimeoutError
        return question.result()

    async def settle(self, limit_s: float) -> None:
        """Wait, at most ``limit_s``, for the answers to what clients have asked that have gone meanwhile."""
        if self._questions:
            await asyncio.wait(self._questions, timeout=limit_s)

    async def _find(self, collection: str) -> Document | None:
        stored = self._database[collection]
        try:
            return cast(Document | None, await stored.find_one())
        except (NetworkTimeout, ServerSelectionTimeoutError, WaitQueueTimeoutError):
            raise
        except AutoReconnect:
            # A connection that was closed while it lay in the pool says nothing about the database now.
            return cast(Document | None, await stored.find_one())

    def _answered(self, question: "asyncio.Future[Document | None]") -> None:
        self._questions.discard(question)
        self._connections.release()


def _forget(question: "asyncio.Future[Any]") -> None:
    # asyncio would report the failure of a task that nobody has asked for its result.
    if not question.cancelled():
        question.exception()


def _options_of(uri: str) -> set[str]:
    _, _, query = uri.partition("?")
    return {name.lower() for name in split_options(query, validate=False)} if query else set()
