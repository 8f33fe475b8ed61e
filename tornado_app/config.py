"""The settings, read once from environment variables. README.md lists them with their defaults."""

import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import Any, Self

from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri, split_options

_DATABASE_NAME = re.compile(r"""[^\0/\\. "$*<>:|?]{1,63}""")
# What the driver takes, and neither it nor this service could obey.
_NOT_OBEYED = ("datetime_conversion", "tz_aware", "unicode_decode_error_handler", "waitqueuemultiple")
# What the driver would miss only when it logs in.
_LIBRARIES = {"GSSAPI": "kerberos", "MONGODB-AWS": "pymongo_auth_aws"}
_READ_CONCERNS = ("local", "available", "majority", "linearizable", "snapshot")


class BadSetting(Exception):
    """A variable has a value that cannot be used. The message is one line that names it."""


@dataclass(frozen=True)
class Config:
    """What the environment says. Times in seconds. ``mongodb_options`` are the app's own, where the URI has none."""

    host: str
    port: int
    mongodb_uri: str
    mongodb_hosts: str
    mongodb_options: Mapping[str, Any]
    database: str
    max_pool_size: int
    document_bytes: int
    workers: int
    threads: int
    worker_connections: int
    db_timeout_s: float
    access_log: bool

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return the settings. Raises BadSetting for the first that cannot be used."""
        read = _Reader(environment)
        cpus = usable_cpus()
        worker_connections = read.integer("WORKER_CONNECTIONS", 5000, most=100_000)
        db_timeout_ms = read.integer("DB_TIMEOUT_MS", 10_000, most=600_000)
        uri = read.text("MONGODB_URI", "mongodb://127.0.0.1:27017")
        options = {
            # A ceiling, not a cost: connections are opened as they are needed (TUNING.md has the arithmetic).
            "maxPoolSize": read.integer("MONGODB_MAX_POOL_SIZE", 100, most=100_000),
            # A request that finds the database down is told so within 2.5 s: the driver looks at this every 0.5 s.
            "serverSelectionTimeoutMS": 1500,
            # With mongodb+srv it bounds DNS too, where one name server that is silent costs 2 s.
            "connectTimeoutMS": 5000 if uri.startswith("mongodb+srv:") else 1000,
            # The return of the database is noticed within 5 s.
            "heartbeatFrequencyMS": 2000,
            # The request has been answered by then. This gives its connection back.
            "socketTimeoutMS": db_timeout_ms,
        }
        hosts, options, client = _read_uri(uri, options)
        database = read.text("MONGODB_DATABASE", client.get_default_database("articles").name)
        if not _DATABASE_NAME.fullmatch(database):
            raise BadSetting(f"MONGODB_DATABASE must be a valid database name, not {database!r}")
        workers = read.integer("WEB_CONCURRENCY", cpus, most=1000)
        return cls(
            host=read.text("HOST", "127.0.0.1"),
            port=read.integer("PORT", 5000, most=65_535),
            mongodb_uri=uri,
            mongodb_hosts=hosts,
            mongodb_options=options,
            database=database,
            # maxPoolSize=0 in the URI is no limit. Then the clients are the limit.
            max_pool_size=int(client.options.pool_options.max_pool_size or worker_connections),
            # Of each process, for documents that are on their way to clients (README.md, Limits).
            document_bytes=usable_memory() // 32 // workers,
            workers=workers,
            # Motor's own default. More are slower while the database is fast, and faster when it is slow (TUNING.md).
            threads=read.integer("THREADS", 5 * cpus, most=10_000),
            worker_connections=worker_connections,
            db_timeout_s=db_timeout_ms / 1000,
            access_log=read.integer("ACCESS_LOG", 0, least=0, most=1) == 1,
        )


def usable_cpus(root: Path = Path("/")) -> int:
    """Return how many CPUs this process may use: its affinity, and the CPU quotas of its cgroups rounded up."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [*_limits(root, "cpu", "cpu.max"), *_limits(root, "cpu", "cpu.cfs_quota_us", "cpu.cfs_period_us")]
    return max(1, min([cpus, *(ceil(quota / period) for quota, period in quotas if quota > 0)]))


def usable_memory(root: Path = Path("/")) -> int:
    """Return how many bytes this process and its siblings may use: the machine's, or the least of its cgroups."""
    limits = [*_limits(root, "memory", "memory.max"), *_limits(root, "memory", "memory.limit_in_bytes")]
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *(limit for (limit,) in limits)])


class _Reader:
    """An empty variable counts as one that is not set."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str, default: str) -> str:
        return self._environment.get(name) or default

    def integer(self, name: str, default: int, *, least: int = 1, most: int) -> int:
        text = self.text(name, str(default))
        if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise BadSetting(f"{name} must be an integer from {least} to {most}, not {text!r}")
        return int(text)


def _read_uri(uri: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any], MongoClient[Any]]:
    """Return the hosts, those of ``options`` that ``uri`` has not, and an idle client. Raises BadSetting."""
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
        with warnings.catch_warnings(action="error", category=UserWarning):
            # The driver warns of what it then leaves out: an unknown option, a bad value, a missing library.
            written = split_options(query, validate=False) if query else {}
            given = {name.lower(): value for name, value in written.items()}
            own = {name: value for name, value in options.items() if name.lower() not in given}
            client = MongoClient[Any](uri, connect=False, **own)
            _require_obeyed(given, client)
            # With mongodb+srv TLS is on when the hosts have been looked up, unless the URI says otherwise.
            srv_tls = scheme == "mongodb+srv" and "false" not in (given.get("tls"), given.get("ssl"))
            tls_options = [name for name in given if name.startswith("tls") and name != "tls"]
            if tls_options and not srv_tls and not client.options.pool_options._ssl_context:
                raise ValueError(f"{tls_options[0]} needs tls=true")
    except (PyMongoError, OSError, ValueError, TypeError, UserWarning) as error:
        # What OpenSSL says of a file does not name it.
        files = re.findall("tls[a-z]+File=[^&]*", query, re.IGNORECASE)
        raise BadSetting(" ".join(["MONGODB_URI cannot be used:", *str(error).split(), *files])) from None
    return hosts.rpartition("@")[2], own, client


def _require_obeyed(given: Mapping[str, Any], client: MongoClient[Any]) -> None:
    """Raise ValueError for what the driver would ignore, or find out only when a request waits."""
    for name in given.keys() & _NOT_OBEYED:
        raise ValueError(f"{name} is not obeyed by this service")
    library = _LIBRARIES.get(mechanism := given.get("authmechanism", "SCRAM"))
    if library and not find_spec(library):
        raise ValueError(f"authMechanism={mechanism} needs the Python package {library}")
    if "authmechanismproperties" in given and mechanism.startswith("SCRAM"):
        raise ValueError("authMechanismProperties needs an authMechanism that has some")
    if "tlscertificatekeyfilepassword" in given and "tlscertificatekeyfile" not in given:
        raise ValueError("tlsCertificateKeyFilePassword needs tlsCertificateKeyFile")
    least_s = max(90, client.options.heartbeat_frequency + 10)
    if 0 < client.read_preference.max_staleness < least_s:
        raise ValueError(f"maxStalenessSeconds must be {least_s:g} or more")
    if client.read_concern.level not in (None, *_READ_CONCERNS):
        raise ValueError(f"readConcernLevel must be one of {', '.join(_READ_CONCERNS)}")


def _limits(root: Path, controller: str, *files: str) -> Iterator[list[int]]:
    """Yield the numbers in ``files`` of each of this process's cgroups and of those above them."""
    with suppress(OSError):  # not Linux
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            # Version 2 has no controllers here, and is mounted without a name.
            if not controllers or controller in controllers.split(","):
                own = Path(path.lstrip("/"))
                for group in (own, *own.parents):
                    folder = root / "sys/fs/cgroup" / (controllers and controller) / group
                    with suppress(OSError, ValueError):  # no such file, or "max": no limit
                        yield [int(word) for file in files for word in (folder / file).read_text().split()]
