"""The database side: one client for each process, and the one question that the service asks."""

import atexit
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import Any

from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, NetworkTimeout, ServerSelectionTimeoutError, WaitQueueTimeoutError

from config import Config, options_of

Document = dict[str, Any]

# The return of a database that was gone is noticed within 5 s.
_HEARTBEAT_MS = 2000
# A request that finds the database gone is told so within 2.5 s: the driver looks at this limit every 0.5 s.
_SELECTION_TIMEOUT_MS = 1500
_CONNECT_TIMEOUT_MS = 1000

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
        with self._turn(self._config.db_timeout_s):
            try:
                return self._find(collection)
            except (NetworkTimeout, ServerSelectionTimeoutError, WaitQueueTimeoutError):
                raise
            except AutoReconnect:
                # A connection that was closed while it lay in the pool says nothing about the database now.
                return self._find(collection)

    def _find(self, collection: str) -> Document | None:
        return self._open().get_database(self._config.database, codec_options=CODEC)[collection].find_one()

    def _open(self) -> MongoClient[Document]:
        if self._client is None:
            with self._opening:
                if self._client is None:
                    self._client = connect(self._config)
                    atexit.register(self._client.close)
        return self._client


def connect(config: Config) -> MongoClient[Document]:
    """Return a client for the server that ``config`` names: its options first, then those of this service."""
    timeout_ms = round(config.db_timeout_s * 1000)
    options: dict[str, Any] = {
        "maxPoolSize": config.max_pool_size,
        "heartbeatFrequencyMS": _HEARTBEAT_MS,
        "serverSelectionTimeoutMS": _SELECTION_TIMEOUT_MS,
        "connectTimeoutMS": _CONNECT_TIMEOUT_MS,
        # Not the driver's timeoutMS, which replaces the selection timeout above and retries until it is over.
        "socketTimeoutMS": timeout_ms,
        "waitQueueTimeoutMS": timeout_ms,
        # The driver would also retry after a timeout, and a request would wait for twice DB_TIMEOUT_MS.
        "retryReads": False,
    }
    given = options_of(config.mongodb_uri)
    return MongoClient(
        config.mongodb_uri, **{name: value for name, value in options.items() if name.lower() not in given}
    )
