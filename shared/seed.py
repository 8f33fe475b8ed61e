"""Put the two fixture documents into a database, and never anything else, nor over anything else."""

from typing import Any

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from shared.documents import BIG_COLLECTION, SMALL_COLLECTION, Document, big, small


class NotSeeded(Exception):
    """The database cannot be reached, or holds documents that are not ours. The message is one line."""


def seed(uri: str, database_name: str) -> int:
    """Make collections ``articles`` and ``articles_big`` hold the fixtures; return how many were written.

    Both collections are looked at before either is written: if one holds anything but its fixture, nothing is
    written and NotSeeded is raised.
    """
    try:
        client: MongoClient[Document] = MongoClient(uri, serverSelectionTimeoutMS=5000, tz_aware=True)
    except (PyMongoError, ValueError):
        # The driver's own message may quote a part of the password.
        raise NotSeeded("MONGODB_URI must be a MongoDB connection string that the driver can parse") from None
    with client:
        try:
            return _seed(client[database_name])
        except PyMongoError as error:
            raise NotSeeded(f"MongoDB cannot be seeded: {str(error).split(', Timeout')[0]}") from None


def _seed(database: Database[Document]) -> int:
    fixtures: dict[str, dict[str, Any]] = {SMALL_COLLECTION: small(), BIG_COLLECTION: big()}
    missing = []
    for name, fixture in fixtures.items():
        found = list(database[name].find(limit=2))
        if found == []:
            missing.append(name)
        elif found != [fixture]:
            raise NotSeeded(
                f"{database.name}.{name} holds documents that are not the fixtures; nothing was written. "
                "Name another database with MONGODB_DATABASE, or drop that collection."
            )
    for name in missing:
        database[name].insert_one(fixtures[name])
    return len(missing)
