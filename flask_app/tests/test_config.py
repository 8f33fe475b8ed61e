"""Settings from the environment, without a server and without a database."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

import database
from config import BadSetting, Config, usable_cpus

SECRET = "a-password"
CPUS = 4


def test_defaults() -> None:
    assert Config.from_environment({}) == Config(
        host="127.0.0.1",
        port=5000,
        mongodb_uri="mongodb://127.0.0.1:27017",
        database="articles",
        max_pool_size=100,
        workers=None,
        threads=None,
        worker_connections=5000,
        db_timeout_s=10,
        access_log=False,
    )


def test_every_variable_is_read() -> None:
    environment = {
        "HOST": "::1",
        "PORT": "08080",
        "MONGODB_URI": f"mongodb://user:{SECRET}@a,b/?replicaSet=r",
        "MONGODB_DATABASE": "größe-1",
        "MONGODB_MAX_POOL_SIZE": "9",
        "WEB_CONCURRENCY": "3",
        "THREADS": "7",
        "WORKER_CONNECTIONS": "1",
        "DB_TIMEOUT_MS": "1234",
        "ACCESS_LOG": "1",
    }
    assert Config.from_environment(environment) == Config(
        host="::1",
        port=8080,
        mongodb_uri=environment["MONGODB_URI"],
        database="größe-1",
        max_pool_size=9,
        workers=3,
        threads=7,
        worker_connections=1,
        db_timeout_s=1.234,
        access_log=True,
    )
    empty = dict.fromkeys(environment, "")
    assert Config.from_environment(empty) == Config.from_environment({})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("PORT", value) for value in ("abc", "0", "65536", "-1", "+1", "1.0", " 80", "80\n", "٣", "9" * 30)),
        ("WEB_CONCURRENCY", "0"),
        ("WEB_CONCURRENCY", "auto"),
        ("THREADS", "0"),
        ("WORKER_CONNECTIONS", "-5"),
        ("MONGODB_MAX_POOL_SIZE", "0"),
        ("MONGODB_MAX_POOL_SIZE", "many"),
        ("DB_TIMEOUT_MS", "0"),
        ("DB_TIMEOUT_MS", "600001"),
        ("ACCESS_LOG", "2"),
        *(("MONGODB_DATABASE", value) for value in ("a/b", "a.b", "a b", "$a", "x" * 64)),
        ("MONGODB_URI", f"http://user:{SECRET}@db"),
        ("MONGODB_URI", f"mongodb://user:{SECRET}@db:port"),
        ("MONGODB_URI", f"mongodb://us@er:{SECRET}@db"),
        ("MONGODB_URI", f"mongodb://{SECRET}@db"),
        ("MONGODB_URI", f"mongodb+srv://user:{SECRET}@a,b"),
        ("MONGODB_URI", "db:27017"),
        ("MONGODB_URI", "mongodb://"),
        ("MONGODB_URI", "mongodb://db/?authMechanism=GSSAPI"),
        ("MONGODB_URI", "mongodb://db/?tls=true&tlsCAFile=/nowhere"),
    ],
)
def test_a_bad_value_is_named_in_one_line_without_the_password(name: str, value: str) -> None:
    with pytest.raises(BadSetting) as reason:
        Config.from_environment({name: value})
    assert str(reason.value).startswith(name)
    assert "\n" not in str(reason.value)
    assert SECRET not in str(reason.value)


def test_the_line_says_what_is_allowed() -> None:
    with pytest.raises(BadSetting, match=r"^PORT must be an integer from 1 to 65535, not 'abc'$"):
        Config.from_environment({"PORT": "abc"})


def test_a_bad_value_ends_the_process_with_status_2() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "import config; config.load()"],
        env={**os.environ, "DB_TIMEOUT_MS": "1s"},
        capture_output=True,
        text=True,
        timeout=20,
    )
    expected = "DB_TIMEOUT_MS must be an integer from 1 to 600000, not '1s'\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", expected)


def test_a_name_that_needs_dns_is_not_looked_up() -> None:
    assert Config.from_environment({"MONGODB_URI": "mongodb+srv://nowhere.invalid"}).max_pool_size == 100


@pytest.mark.parametrize(
    ("environment", "size"),
    [
        ({"THREADS": "64"}, 100),
        ({"THREADS": "256"}, 256),
        ({"THREADS": "256", "MONGODB_MAX_POOL_SIZE": "20"}, 20),
        ({"MONGODB_URI": "mongodb://db/?maxPoolSize=7"}, 7),
        ({"MONGODB_URI": "mongodb://db/?w=1&maxpoolsize=7", "MONGODB_MAX_POOL_SIZE": "20"}, 7),
        ({"MONGODB_URI": "mongodb://db/?maxPoolSize=0"}, 0),
        ({"MONGODB_URI": "mongodb://db/?w=1", "MONGODB_MAX_POOL_SIZE": "20"}, 20),
    ],
)
def test_pool_size_of_the_uri_then_of_the_variable_then_of_the_threads(environment: dict[str, str], size: int) -> None:
    config = Config.from_environment(environment)
    assert config.max_pool_size == size
    with database.connect(config) as client:
        assert (client.options.pool_options.max_pool_size or 0) == size


def test_options_of_the_uri_win() -> None:
    # Those of the socket and the queue are the clock's that each find has.
    assert client_timeouts({}) == {"selection": 1.5, "connect": 1.0, "socket": None, "queue": None}
    uri = "mongodb://127.0.0.1:1/?serverselectiontimeoutms=50&connectTimeoutMS=60&socketTimeoutMS=70&waitQueueTimeoutMS=80"
    assert client_timeouts({"MONGODB_URI": uri}) == {
        "selection": 0.05,
        "connect": 0.06,
        "socket": 0.07,
        "queue": 0.08,
    }


def client_timeouts(environment: dict[str, str]) -> dict[str, Any]:
    """Return the limits of the client that ``environment`` leads to, in seconds."""
    with database.connect(Config.from_environment({"MONGODB_URI": "mongodb://127.0.0.1:1", **environment})) as client:
        assert isinstance(client, MongoClient)
        pool = client.options.pool_options
        return {
            "selection": client.options.server_selection_timeout,
            "connect": pool.connect_timeout,
            "socket": pool.socket_timeout,
            "queue": pool.wait_queue_timeout,
        }


@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", "127.0.0.1:80"), ("db", "db:80"), ("::1", "[::1]:80")])
def test_address(host: str, address: str) -> None:
    assert Config.from_environment({"HOST": host, "PORT": "80"}).address == address


@pytest.fixture
def four_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(CPUS)), raising=False)


@pytest.mark.usefixtures("four_cpus")
@pytest.mark.parametrize(
    ("quota", "cpus"),
    [("max 100000\n", CPUS), ("50000 100000\n", 1), ("110000 100000\n", 2), ("900000 100000\n", CPUS), ("odd", CPUS)],
)
def test_a_cpu_quota_is_kept(tmp_path: Path, quota: str, cpus: int) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    assert usable_cpus(tmp_path) == cpus


@pytest.mark.usefixtures("four_cpus")
@pytest.mark.parametrize(("quota", "cpus"), [("-1", CPUS), ("1000", 1), ("100000", 1), ("150000", 2)])
def test_a_cpu_quota_of_the_first_cgroups_is_kept(tmp_path: Path, quota: str, cpus: int) -> None:
    folder = tmp_path / "cpu"
    folder.mkdir()
    (folder / "cpu.cfs_period_us").write_text("100000")
    (folder / "cpu.cfs_quota_us").write_text(quota)
    assert usable_cpus(tmp_path) == cpus


@pytest.mark.usefixtures("four_cpus")
def test_without_cgroups_the_affinity_counts(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path) == CPUS
