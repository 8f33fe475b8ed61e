"""The database side: one client for each process, and the one question that the service asks."""

import atexit
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from time import monotonic
from typing import Any

import pymongo
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import MongoClient
from pymongo.uri_parser import parse_uri

from config import Config

Document = dict[str, Any]

# Within 2.5 s of the database's end a request must be told so, and its return noticed within 5 s.
_DEFAULTS_MS = {"serverSelectionTimeoutMS": 2000, "connectTimeoutMS": 1000, "heartbeatFrequencyMS": 2000}

CODEC: CodecOptions[Document] = CodecOptions(
    # A date before the year 1 or after 9999 is no datetime; it comes as a DatetimeMS instead of an exception.
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    # Another program may have stored bytes that are no UTF-8; the rest of the document is still good.
    unicode_decode_error_handler="replace",
)


class Articles:
    """The collections that the service reads.

    The client is made at the first question, so in the process that asks it: a client's threads and sockets do not
    survive a fork, and some servers load the application before they fork. ``turn`` makes a context manager that
    waits, at most the given seconds, until this request may use a connection.
    """

    def __init__(
        self,
        config: Config,
        turn: Callable[[float], AbstractContextManager[None]] = nullcontext,  # type: ignore[assignment]
    ) -> None:
        self._config = config
        self._turn = turn
        self._opening = Lock()
        self._client: MongoClient[Document] | None = None

    def first(self, collection: str) -> Document | None:
        """Return a document of ``collection``, None when it is empty: one ``find`` on the wire.

        Raises PyMongoError when the database cannot be reached, refuses, or takes longer than DB_TIMEOUT_MS.
        """
        database = self._open().get_database(self._config.database, codec_options=CODEC)
        deadline = monotonic() + self._config.db_timeout_s
        with self._turn(self._config.db_timeout_s), pymongo.timeout(max(0.001, deadline - monotonic())):
            return database[collection].find_one()

    def _open(self) -> MongoClient[Document]:
        if self._client is None:
            with self._opening:
                if self._client is None:
                    self._client = _connect(self._config)
                    atexit.register(self._client.close)
        return self._client


def _connect(config: Config) -> MongoClient[Document]:
    # Options of the MONGODB_URI win over the defaults here.
    given = {name.lower() for name in parse_uri(config.mongodb_uri, warn=False)["options"]}
    defaults = {name: value for name, value in _DEFAULTS_MS.items() if name.lower() not in given}
    return MongoClient(config.mongodb_uri, maxPoolSize=config.max_pool_size, **defaults)
