"""The settings, read once from environment variables. README.md lists them with their defaults."""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Self

from pymongo import MongoClient
from pymongo.errors import PyMongoError

_MONGODB_SCHEMES = ("mongodb://", "mongodb+srv://")
_DATABASE_NAME = re.compile(r"""[^\0/\\. "$*<>:|?]{1,63}""")


class BadSetting(Exception):
    """A variable has a value that cannot be used. The message is one line that names it."""


@dataclass(frozen=True)
class Config:
    """What the environment says. Times in seconds."""

    host: str
    port: int
    mongodb_uri: str
    database: str
    max_pool_size: int
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
        return cls(
            host=read.text("HOST", "127.0.0.1"),
            port=read.integer("PORT", 5000, most=65_535),
            mongodb_uri=_valid_uri(read.text("MONGODB_URI", "mongodb://127.0.0.1:27017")),
            database=_valid_database(read.text("MONGODB_DATABASE", "articles")),
            # A ceiling, not a cost: connections are opened as they are needed. A process does at most
            # pool size / latency finds a second, so 100 carry 5,000 a second to a database that takes 20 ms.
            max_pool_size=read.integer("MONGODB_MAX_POOL_SIZE", 100, most=100_000),
            workers=read.integer("WEB_CONCURRENCY", cpus, most=1000),
            # Motor's own default. More are slower while the database is fast, and faster when it is slow (TUNING.md).
            threads=read.integer("THREADS", 5 * cpus, most=10_000),
            worker_connections=read.integer("WORKER_CONNECTIONS", 5000, most=100_000),
            db_timeout_s=read.integer("DB_TIMEOUT_MS", 10_000, most=600_000) / 1000,
            access_log=read.integer("ACCESS_LOG", 0, least=0, most=1) == 1,
        )


def load() -> Config:
    """Return the settings of this process's environment; end it with one line and status 2 where one cannot be used."""
    try:
        return Config.from_environment()
    except BadSetting as reason:
        print(reason, file=sys.stderr)
        raise SystemExit(2) from None


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

    def integer(self, name: str, default: int, *, least: int = 1, most: int) -> int:
        text = self.text(name, str(default))
        if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise BadSetting(f"{name} must be an integer from {least} to {most}, not {text!r}")
        return int(text)


def _valid_uri(uri: str) -> str:
    # The driver takes a text without a scheme for the name of a host.
    if not uri.startswith(_MONGODB_SCHEMES):
        raise BadSetting("MONGODB_URI must start with mongodb:// or mongodb+srv://")
    try:
        # With connect=False it parses the text and touches neither DNS nor the database, which may come up later.
        MongoClient(uri, connect=False).close()
    except OSError as error:
        raise BadSetting(f"MONGODB_URI names a file that cannot be read: {error.filename}") from None
    except (PyMongoError, ValueError):
        # The driver's message may hold a part of the password.
        raise BadSetting("MONGODB_URI must be a MongoDB connection string that the driver can parse") from None
    return uri


def _valid_database(name: str) -> str:
    if not _DATABASE_NAME.fullmatch(name):
        raise BadSetting(f"MONGODB_DATABASE must be a valid database name, not {name!r}")
    return name


def _quota_v2(file: Path) -> float | None:
    try:
        quota, period = file.read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError):  # no such file, or "max": no quota
        return None


def _quota_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        return quota / int((folder / "cpu.cfs_period_us").read_text()) if quota > 0 else None
    except (OSError, ValueError):
        return None
