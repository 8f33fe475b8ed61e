"""The settings, read once from environment variables. README.md lists them with their defaults."""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Self

from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pymongo.uri_parser import split_options

# PyMongo opens connections only as they are needed, so this is a ceiling, not a cost. 20 connections limit a process
# to 20 / latency finds a second; 400 brought nothing more than 100 (measured under gevent, see TUNING.md).
_DEFAULT_POOL_SIZE = 100
_DEFAULT_URI = "mongodb://127.0.0.1:27017"
_DATABASE_NAME = re.compile(r"""[^\0/\\. "$*<>:|?]{1,63}""")


class BadSetting(Exception):
    """A variable has a value that cannot be used. The message is one line that names it."""


@dataclass(frozen=True)
class Config:
    """Times in seconds. ``workers`` and ``threads`` are None where the launch file decides.

    A ``max_pool_size`` of 0, which only the MONGODB_URI can ask for, is no limit.
    """

    host: str
    port: int
    mongodb_uri: str
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
        # A thread that finds no connection would wait for another thread's.
        pool_size = read.integer("MONGODB_MAX_POOL_SIZE", max(_DEFAULT_POOL_SIZE, threads or 0), most=100_000)
        mongodb_uri = read.text("MONGODB_URI", _DEFAULT_URI)
        return cls(
            host=read.text("HOST", "127.0.0.1"),
            port=read.integer("PORT", 5000, most=65_535),
            mongodb_uri=mongodb_uri,
            database=_valid_database(read.text("MONGODB_DATABASE", "articles")),
            max_pool_size=_pool_size_of(mongodb_uri, pool_size),
            workers=read.optional_integer("WEB_CONCURRENCY", most=1000),
            threads=threads,
            worker_connections=read.integer("WORKER_CONNECTIONS", 5000, most=100_000),
            db_timeout_s=read.integer("DB_TIMEOUT_MS", 10_000, most=600_000) / 1000,
            access_log=read.integer("ACCESS_LOG", 0, least=0, most=1) == 1,
        )

    @property
    def address(self) -> str:
        """``HOST:PORT`` as servers read it, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def load() -> Config:
    """Return the settings of this process's environment; end it with one line and status 2 where one cannot be used."""
    try:
        return Config.from_environment()
    except BadSetting as reason:
        print(reason, file=sys.stderr)
        raise SystemExit(2) from None


def options_of(uri: str) -> set[str]:
    """Return the names of the options in ``uri``, in lower case."""
    _, _, query = uri.partition("?")
    return {name.lower() for name in split_options(query, validate=False)} if query else set()


def usable_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many CPUs this process may use: its affinity, and its container's CPU quota rounded up."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota_v2(cgroup / "cpu.max") or _quota_v1(cgroup / "cpu")
    return max(1, min(cpus, ceil(quota))) if quota else cpus


class _Reader:
    """An empty variable counts as one that is not set."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str, default: str) -> str:
        return self._environment.get(name) or default

    def integer(self, name: str, default: int, least: int = 1, most: int = 1) -> int:
        text = self.text(name, str(default))
        if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise BadSetting(f"{name} must be an integer from {least} to {most}, not {text!r}")
        return int(text)

    def optional_integer(self, name: str, most: int) -> int | None:
        return self.integer(name, 1, most=most) if self._environment.get(name) else None


def _pool_size_of(uri: str, default: int) -> int:
    """Return the pool size of a client of ``uri``. Raises BadSetting when the driver cannot make one."""
    if not uri.startswith(("mongodb://", "mongodb+srv://")):  # the driver would take it for the name of a host
        raise BadSetting("MONGODB_URI must start with mongodb:// or mongodb+srv://")
    try:
        # With connect=False it reads the URI, and asks neither the network nor a database that may come up later.
        with MongoClient[dict[str, Any]](uri, connect=False) as client:
            return int(client.options.pool_options.max_pool_size or 0) if "maxpoolsize" in options_of(uri) else default
    except OSError as error:
        raise BadSetting(f"MONGODB_URI names a file that cannot be read: {error.filename}") from None
    except (PyMongoError, ValueError):
        # The driver's message may hold a part of the password.
        raise BadSetting("MONGODB_URI must be a MongoDB connection string that the driver can parse") from None


def _valid_database(name: str) -> str:
    if not _DATABASE_NAME.fullmatch(name):
        raise BadSetting(f"MONGODB_DATABASE must be a valid database name, not {name!r}")
    return name


def _quota_v2(path: Path) -> float | None:
    try:
        quota, period = path.read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError):  # no such file, or "max": no quota
        return None


def _quota_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        return quota / int((folder / "cpu.cfs_period_us").read_text()) if quota > 0 else None
    except (OSError, ValueError):
        return None
