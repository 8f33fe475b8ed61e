"""The settings, read once from environment variables. README.md lists them with their defaults."""

import os
import re
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri, split_options

_DATABASE_NAME = re.compile(r"""[^\0/\\. "$*<>:|?]{1,63}""")
# What the driver takes beside those of code, which have a "_" in them, and this service, with its own clock, ignores.
_NOT_OBEYED = {"waitqueuetimeoutms", "waitqueuemultiple"}
_FILES = {"tlscafile", "tlscertificatekeyfile", "tlscrlfile"}
_NEEDS = {"zlibcompressionlevel": "compressors", "tlscertificatekeyfilepassword": "tlscertificatekeyfile"}
# What the driver would miss only when it logs in.
_LIBRARIES = {"GSSAPI": "kerberos", "MONGODB-AWS": "pymongo_auth_aws"}
_READ_CONCERNS = ("local", "available", "majority", "linearizable", "snapshot")


class BadSetting(Exception):
    """A variable has a value that cannot be used. The message is one line that names it."""


@dataclass(frozen=True)
class Config:
    """Times in seconds. None is left to the launch file. A ``max_pool_size`` of 0, of the URI, is no limit."""

    hosts: tuple[str, ...]
    port: int
    mongodb_uri: str
    mongodb_hosts: str
    mongodb_options: Mapping[str, Any]
    database: str
    max_pool_size: int
    workers: int | None
    threads: int | None
    worker_connections: int
    db_timeout_s: float
    access_log: bool

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return the settings. Raises BadSetting for the first that cannot be used."""
        read = _Reader(environment)
        threads = read.optional_integer("THREADS", most=10_000)
        # A ceiling, not a cost: connections are opened as they are needed. 20 limit a process to 20 / latency finds a
        # second; 400 brought nothing more (TUNING.md). A thread that finds none would wait for another thread's.
        pool_size = read.integer("MONGODB_MAX_POOL_SIZE", max(100, threads or 0), most=100_000)
        timeout_s = read.integer("DB_TIMEOUT_MS", 10_000, most=600_000) / 1000
        uri = read.text("MONGODB_URI", "mongodb://127.0.0.1:27017")
        mongodb_hosts, options, client = _read_uri(uri, pool_size)
        pool = client.options.pool_options
        database = read.text("MONGODB_DATABASE", client.get_default_database("articles").name)
        if not _DATABASE_NAME.fullmatch(database):
            raise BadSetting(f"MONGODB_DATABASE (or MONGODB_URI) must have a valid database name, not {database!r}")
        return cls(
            hosts=tuple(read.text("HOST", "127.0.0.1").split(",")),
            port=read.integer("PORT", 5000, most=65_535),
            mongodb_uri=uri,
            mongodb_hosts=mongodb_hosts,
            mongodb_options=options,
            database=database,
            max_pool_size=int(pool.max_pool_size or 0),
            workers=read.optional_integer("WEB_CONCURRENCY", most=1000),
            threads=threads,
            worker_connections=read.integer("WORKER_CONNECTIONS", 5000, most=100_000),
            # The driver would forget its own two when each find has a clock.
            db_timeout_s=min(filter(None, (timeout_s, client.options.timeout, pool.socket_timeout))),
            access_log=read.integer("ACCESS_LOG", 0, least=0, most=1) == 1,
        )

    @property
    def addresses(self) -> list[str]:
        """``HOST:PORT`` as servers read it, an IPv6 address in brackets."""
        return [f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}" for host in self.hosts]


def load() -> Config:
    """Return the settings of this process's environment; end it with one line and status 2 where one cannot be used."""
    try:
        return Config.from_environment()
    except BadSetting as reason:
        print(reason, file=sys.stderr)
        raise SystemExit(2) from None


@dataclass(frozen=True)
class _Reader:
    """An empty variable counts as one that is not set."""

    _environment: Mapping[str, str]

    def text(self, name: str, default: str) -> str:
        return self._environment.get(name) or default

    def integer(self, name: str, default: int, least: int = 1, most: int = 1) -> int:
        text = self.text(name, str(default))
        if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise BadSetting(f"{name} must be an integer from {least} to {most}, not {text!r}")
        return int(text)

    def optional_integer(self, name: str, most: int) -> int | None:
        return self.integer(name, 1, most=most) if self._environment.get(name) else None


def _read_uri(uri: str, pool_size: int) -> tuple[str, dict[str, Any], MongoClient[Any]]:
    """Return the hosts, the options that ``uri`` leaves to this service, and an idle client. Raises BadSetting."""
    options: dict[str, Any] = {
        "maxPoolSize": pool_size,
        # The return of a database that was gone is noticed within 5 s.
        "heartbeatFrequencyMS": 2000,
        # A request that finds the database gone is told so within 2.5 s: the driver looks at this limit every 0.5 s.
        "serverSelectionTimeoutMS": 1500,
        # With mongodb+srv it limits DNS too, where a name server that is silent costs 2 s.
        "connectTimeoutMS": 5000 if uri.startswith("mongodb+srv:") else 1000,
        # With a clock for each find the driver would retry until it is over.
        "retryReads": False,
        # Without one for its key, the driver would ask for it at the terminal.
        "tlsCertificateKeyFilePassword": "",
    }
    if uri.startswith("mongodb+srv:"):
        options["tls"] = True  # the driver's own default, which it takes only when it has asked DNS
    scheme, _, rest = uri.partition("://")
    hosts, *others = re.split("[/?]", rest, maxsplit=1)
    try:
        # The hosts and the password alone: what the driver says of them may hold a part of the password.
        if scheme not in ("mongodb", "mongodb+srv") or "@" in "".join(others):
            raise ValueError
        parse_uri(f"mongodb://{hosts}")
    except (PyMongoError, ValueError):
        raise BadSetting("MONGODB_URI must be mongodb://... or mongodb+srv://..., user and password escaped") from None
    _, _, query = uri.partition("?")
    try:
        # The driver warns of what it then ignores: an option that it does not know, a bad value, a missing library.
        with warnings.catch_warnings(action="error", category=UserWarning):
            written = split_options(query, validate=False) if query else {}
            given = {name.lower(): value for name, value in written.items()}
            if unused := [name for name in given if name in _NOT_OBEYED or "_" in name]:
                raise ValueError(f"{unused[0]} is not obeyed by this service")
            own = {name: value for name, value in options.items() if name.lower() not in given}
            # With connect=False it reads the URI, and asks neither the network nor a database that may come up later.
            client = MongoClient[Any](uri, connect=False, **own)
            _require_obeyed(given, client)
    except (PyMongoError, OSError, ValueError, TypeError, UserWarning) as error:
        # What OpenSSL says of a file does not name it.
        files = re.findall("tls[a-z]+File=[^&;]*", query, re.IGNORECASE)
        raise BadSetting(" ".join(["MONGODB_URI cannot be used:", *str(error).split(), *files])) from None
    return hosts.rpartition("@")[2], own, client


def _require_obeyed(given: Mapping[str, Any], client: MongoClient[Any]) -> None:
    """Raise ValueError for what the driver would ignore, or find out only when a request waits."""
    mechanism = given.get("authmechanism", "SCRAM")
    if (library := _LIBRARIES.get(mechanism)) and not find_spec(library):
        raise ValueError(f"authMechanism={mechanism} needs the Python package {library}")
    if "authmechanismproperties" in given and mechanism.startswith("SCRAM"):
        raise ValueError("authMechanismProperties needs an authMechanism that has some")
    for name, value in given.items():
        if value == "":
            raise ValueError(f"{name} has no value")
        if name in _FILES and not Path(value).is_absolute():  # servers change their folder
            raise ValueError(f"{name} must be the whole path of a file, not {value}")
        if (other := _NEEDS.get(name)) and other not in given:
            raise ValueError(f"{name} needs {other}")
        if name.startswith("tls") and name != "tls" and not client.options.pool_options._ssl_context:
            raise ValueError(f"{name} needs tls=true")
    least_s = max(90, client.options.heartbeat_frequency + 10)
    if 0 < client.read_preference.max_staleness < least_s:
        raise ValueError(f"maxStalenessSeconds must be {least_s:g} or more")
    if client.read_concern.level not in (None, *_READ_CONCERNS):
        raise ValueError(f"readConcernLevel must be one of {', '.join(_READ_CONCERNS)}")
