"""The database side: one client for each process, and the one question that the service asks."""

import atexit
from collections.abc import Callable
from threading import Lock
from typing import Any

import pymongo
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, NetworkTimeout, ServerSelectionTimeoutError, WaitQueueTimeoutError

from config import Config, options_of

Document = dict[str, Any]
Find = Callable[[float], Document | None]
Ask = Callable[[Find, float], Document | None]

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
    survive a fork, and some servers load the application before they fork. ``ask`` calls a find, within the given
    seconds, when this request may use a connection.
    """

    def __init__(self, config: Config, ask: Ask | None = None) -> None:
        self._config = config
        self._ask = ask or _at_once
        self._opening = Lock()
        self._client: MongoClient[Document] | None = None

    def first(self, collection: str) -> Document | None:
        """Return a document of ``collection``, None when it is empty: one ``find`` on the wire.

        Raises PyMongoError when the database cannot be reached, refuses, or takes longer than DB_TIMEOUT_MS.
        """
        return self._ask(lambda timeout_s: self._find(collection, timeout_s), self._config.db_timeout_s)

    def _find(self, collection: str, timeout_s: float) -> Document | None:
        client = self._open()
        stored = client.get_database(self._config.database, codec_options=CODEC)[collection]
        # One clock for all that the driver does. It takes the place of the selection timeout too, so a request that
        # finds no server gets that one.
        known = client.topology_description.has_readable_server()
        with pymongo.timeout(timeout_s if known else min(timeout_s, client.options.server_selection_timeout)):
            try:
                return stored.find_one()
            except (NetworkTimeout, ServerSelectionTimeoutError, WaitQueueTimeoutError):
                raise
            except AutoReconnect:
                # A connection that was closed while it lay in the pool says nothing about the database now.
                return stored.find_one()

    def _open(self) -> MongoClient[Document]:
        if self._client is None:
            with self._opening:
                if self._client is None:
                    self._client = connect(self._config)
                    atexit.register(self._client.close)
        return self._client


def _at_once(find: Find, timeout_s: float) -> Document | None:
    return find(timeout_s)


def connect(config: Config) -> MongoClient[Document]:
    """Return a client for the server that ``config`` names: its options first, then those of this service."""
    options: dict[str, Any] = {
        "maxPoolSize": config.max_pool_size,
        "heartbeatFrequencyMS": _HEARTBEAT_MS,
        "serverSelectionTimeoutMS": _SELECTION_TIMEOUT_MS,
        "connectTimeoutMS": _CONNECT_TIMEOUT_MS,
        # With a clock for each find the driver would retry until it is over.
        "retryReads": False,
    }
    given = options_of(config.mongodb_uri)
    return MongoClient(
        config.mongodb_uri, **{name: value for name, value in options.items() if name.lower() not in given}
    )
