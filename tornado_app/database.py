"""The database side: the options of the client, and the one question that the service asks."""

import asyncio
from typing import Any

from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo.uri_parser import split_options

from config import Config

Document = dict[str, Any]

CODEC: CodecOptions[Document] = CodecOptions(
    # A date before the year 1 or after 9999 is no datetime; it comes as a DatetimeMS instead of an exception.
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    # Another program may have stored bytes that are no UTF-8; the rest of the document is still good.
    unicode_decode_error_handler="replace",
)


def client_options(config: Config) -> dict[str, Any]:
    """Return the keyword arguments for a client of either driver: the app's own options where MONGODB_URI has none."""
    db_timeout_ms = round(config.db_timeout_s * 1000)
    options = {
        "maxPoolSize": config.max_pool_size,
        # A request that finds the database down is told so within 2.5 s: the driver looks at this limit every 0.5 s.
        "serverSelectionTimeoutMS": 1500,
        "connectTimeoutMS": 1000,
        # The return of the database is noticed within 5 s.
        "heartbeatFrequencyMS": 2000,
        # The request itself is bounded below; these end what the driver would still be waiting for. Not timeoutMS:
        # it replaces the selection timeout above, and retries until it is over instead of once.
        "socketTimeoutMS": db_timeout_ms,
        "waitQueueTimeoutMS": db_timeout_ms,
    }
    given = _options_of(config.mongodb_uri)
    return {name: value for name, value in options.items() if name.lower() not in given}


class Articles:
    """The collections that the service reads, by a client of either driver: both have the same methods."""

    def __init__(self, client: Any, name: str, timeout_s: float) -> None:
        self._database = client.get_database(name, codec_options=CODEC)
        self._timeout_s = timeout_s
        self._questions: set[asyncio.Future[Document | None]] = set()

    async def first(self, collection: str) -> Document | None:
        """Return a document of ``collection``, None when it is empty: one ``find`` on the wire.

        Raises PyMongoError when the database cannot be reached or refuses, TimeoutError after ``timeout_s``.
        """
        question: asyncio.Future[Document | None] = asyncio.ensure_future(self._database[collection].find_one())
        self._questions.add(question)
        question.add_done_callback(self._questions.discard)
        # Not asyncio.timeout: a driver's own timeout at the same moment swallows its cancellation (seen with PyMongo
        # 4.20), and the driver tries again.
        answered, _ = await asyncio.wait([question], timeout=self._timeout_s)
        if not answered:
            question.add_done_callback(_forget)
            question.cancel()
            raise TimeoutError
        return question.result()

    async def settle(self, limit_s: float) -> None:
        """Wait, at most ``limit_s``, for the answers to what clients have asked that have gone meanwhile."""
        if self._questions:
            await asyncio.wait(self._questions, timeout=limit_s)


def _forget(question: "asyncio.Future[Any]") -> None:
    # asyncio would report the failure of a task that nobody has asked for its result.
    if not question.cancelled():
        question.exception()


def _options_of(uri: str) -> set[str]:
    _, _, query = uri.partition("?")
    return {name.lower() for name in split_options(query, validate=False)} if query else set()
