"""Put the two fixture documents into a database, and never anything else, nor over anything else."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import bson
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from shared.address import client, database_name, shown, told
from shared.documents import BIG_COLLECTION, SMALL_COLLECTION, big, small

_FIXTURES = {SMALL_COLLECTION: bson.encode(small()), BIG_COLLECTION: bson.encode(big())}
# Documents of others may hold what Python has no type for, such as dates after 9999 and text that is no UTF-8.
_AS_BYTES: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)


class NotSeeded(Exception):
    """The database cannot be reached, or does not hold the fixtures. The message is one line."""


def seed(uri: str, name: str) -> int:
    """Make collections ``articles`` and ``articles_big`` hold the fixtures; return how many were written.

    Both collections are looked at before either is written: if one holds anything but its fixture, nothing is
    written and NotSeeded is raised. Raises BadAddress.
    """
    with _opened(uri) as connected:
        missing = _missing(connected, name)
        for collection in missing:
            connected[name][collection].insert_one(RawBSONDocument(_FIXTURES[collection]))
    return len(missing)


def require_fixtures(uri: str) -> None:
    """See to it that the database that the environment asks for holds the fixtures.

    The project's own mongod is seeded. What a user has brought is only looked at. Raises NotSeeded and BadAddress.
    """
    name = database_name()
    if not os.environ.get("MONGODB_URI"):
        seed(uri, name)
        return
    with _opened(uri) as connected:
        missing = _missing(connected, name)
    if missing:
        raise NotSeeded(
            f"no document in {' and '.join(missing)} of {shown(uri, name)}: to put the fixtures there, "
            "type `make seed` with the same MONGODB_URI and MONGODB_DATABASE"
        )


@contextmanager
def _opened(uri: str) -> Iterator[MongoClient]:
    with client(uri) as connected:
        try:
            yield connected
        except (PyMongoError, BSONError) as error:
            raise NotSeeded(f"MongoDB cannot be used: {told(error)}") from None


def _missing(connected: MongoClient, name: str) -> list[str]:
    """Return the collections that are empty. Raises NotSeeded where one holds anything but its fixture."""
    missing = []
    for collection, fixture in _FIXTURES.items():
        found = [each.raw for each in connected[name].get_collection(collection, _AS_BYTES).find(limit=2)]
        if not found:
            missing.append(collection)
        elif found != [fixture]:
            raise NotSeeded(
                f"{name}.{collection} holds documents that are not the fixtures; nothing was written. "
                "Name another database with MONGODB_DATABASE, or drop that collection."
            )
    return missing
