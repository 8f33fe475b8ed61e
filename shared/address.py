"""Which database the environment asks for, how it is reached, and what may be shown of its address."""

import os
import re
import warnings
from dataclasses import dataclass
from typing import Any, Self

from dns.exception import Timeout
from dns.resolver import NoNameservers
from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri, split_options

from shared import mongod

# As long as the usual time in which a dead database is noticed, also where it is a name server that is dead.
_ANSWER_TIMEOUT_MS = 5000


class BadAddress(Exception):
    """MONGODB_URI cannot be used. The message is one line and quotes nothing of it."""


@dataclass(frozen=True)
class Address:
    """What may be known of a connection string: no login, and of its options the size of a pool."""

    scheme: str
    hosts: str
    names: list[str]
    """The hosts without their ports."""
    database: str | None
    max_pool_size: int | None

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Return what ``uri`` says, without asking a name server. Raises BadAddress."""
        scheme, _, rest = uri.partition("://")
        before, _, options = rest.partition("?")
        hosts, _, path = before.partition("/")
        try:
            # Such an @ ends a password that has an unescaped / or ? in it: what stands before is no host.
            if scheme not in ("mongodb", "mongodb+srv") or "@" in path + options or not uri.isprintable():
                raise ValueError
            with warnings.catch_warnings(action="ignore"):
                parsed = parse_uri(f"mongodb://{before}")
                known = split_options(options, validate=False) if options else {}
        except (PyMongoError, ValueError):
            raise BadAddress(
                "MONGODB_URI must be a MongoDB connection string that the driver can parse, "
                "in which / ? # @ : % of user, password and options are escaped (%40 is @)"
            ) from None
        names = [host for host, _ in parsed["nodelist"]]
        pool = str(known.get("maxPoolSize"))
        return cls(scheme, hosts.rpartition("@")[2], names, parsed["database"], int(pool) if pool.isdecimal() else None)


def brought_by_user() -> Address | None:
    """Return the address of the database that MONGODB_URI names, None where it is not set. Raises BadAddress."""
    uri = os.environ.get("MONGODB_URI")
    return Address.parse(uri) if uri else None


def database_uri() -> str:
    """Return MONGODB_URI as given, else the address of the project's own mongod, started if it does not run."""
    return os.environ.get("MONGODB_URI") or mongod.ensure_running().uri


def database_name() -> str:
    """Return MONGODB_DATABASE, else the database in the path of MONGODB_URI, else ``articles``. Raises BadAddress."""
    brought = brought_by_user()
    return os.environ.get("MONGODB_DATABASE") or (brought and brought.database) or "articles"


def shown(uri: str, name: str) -> str:
    """Return what may be shown of database ``name`` at ``uri``. Raises BadAddress."""
    address = Address.parse(uri)
    return f"{address.scheme}://{address.hosts}/{name}"


def client(uri: str) -> MongoClient[dict[str, Any]]:
    """Return a client that connects at its first command, and waits 5 s for an answer.

    Raises BadAddress. A name server that does not answer is an error of the first command.
    """
    Address.parse(uri)
    try:
        # A warning about an option quotes it.
        with warnings.catch_warnings(action="ignore"):
            return MongoClient(
                uri, connect=False, serverSelectionTimeoutMS=_ANSWER_TIMEOUT_MS, connectTimeoutMS=_ANSWER_TIMEOUT_MS
            )
    except OSError as error:
        raise BadAddress(f"MONGODB_URI names a file of which the driver says: {error.strerror}") from None
    except (PyMongoError, ValueError) as error:
        raise BadAddress(f"MONGODB_URI has options that PyMongo refuses ({type(error).__name__})") from None


def told(error: Exception) -> str:
    """Return in one line what the driver says of a command that failed: it names hosts, and never a login."""
    if isinstance(error.__cause__, Timeout | NoNameservers):
        return "the name server does not answer: the hosts of a mongodb+srv:// address cannot be looked up"
    return re.split(r", Timeout|, full error| \(configured|\n", str(error))[0]
