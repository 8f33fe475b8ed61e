"""Settings from the environment, without a server and without a database."""

from pathlib import Path

import pytest

from config import BadSetting, Config, usable_cpus
from database import client_options

SECRET = "a-password"


def test_defaults() -> None:
    config = Config.from_environment({})
    assert (config.host, config.port, config.database) == ("127.0.0.1", 5000, "articles")
    assert config.mongodb_uri == "mongodb://127.0.0.1:27017"
    assert config.workers == usable_cpus()
    assert config.db_timeout_s == 10
    assert not config.access_log


def test_an_empty_value_is_one_that_is_not_set() -> None:
    names = ("HOST", "PORT", "MONGODB_URI", "MONGODB_DATABASE", "WEB_CONCURRENCY", "DB_TIMEOUT_MS", "ACCESS_LOG")
    assert Config.from_environment(dict.fromkeys(names, "")) == Config.from_environment({})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("PORT", value) for value in ("abc", "0", "65536", "-1", "1.0", " 80", "٣", "9" * 30)),
        ("WEB_CONCURRENCY", "0"),
        ("THREADS", "0"),
        ("WORKER_CONNECTIONS", "-5"),
        ("MONGODB_MAX_POOL_SIZE", "many"),
        ("DB_TIMEOUT_MS", "0"),
        ("DB_TIMEOUT_MS", "600001"),
        ("ACCESS_LOG", "2"),
        *(("MONGODB_DATABASE", value) for value in ("a/b", "a.b", "a b", "$a", "x" * 64)),
        ("MONGODB_URI", f"http://user:{SECRET}@db"),
        ("MONGODB_URI", f"mongodb://user:{SECRET}@db:port"),
        ("MONGODB_URI", f"mongodb://us@er:{SECRET}@db"),
        ("MONGODB_URI", "db:27017"),
        ("MONGODB_URI", "mongodb://"),
        ("MONGODB_URI", "mongodb://db/?tls=true&tlsCAFile=/nowhere"),
    ],
)
def test_a_bad_value_is_named_in_one_line_without_the_password(name: str, value: str) -> None:
    with pytest.raises(BadSetting) as reason:
        Config.from_environment({name: value})
    assert name in str(reason.value)
    assert "\n" not in str(reason.value)
    assert SECRET not in str(reason.value)


def test_a_name_that_needs_dns_is_not_looked_up() -> None:
    assert Config.from_environment({"MONGODB_URI": "mongodb+srv://nowhere.invalid"}).workers >= 1


def test_options_of_the_uri_win() -> None:
    uri = "mongodb://db/?maxpoolsize=7&serverSelectionTimeoutMS=50"
    options = client_options(Config.from_environment({"MONGODB_URI": uri, "MONGODB_MAX_POOL_SIZE": "9"}))
    assert "maxPoolSize" not in options
    assert "serverSelectionTimeoutMS" not in options
    assert options["connectTimeoutMS"] == 1000


def test_the_pool_and_the_timeout_come_from_their_settings() -> None:
    options = client_options(Config.from_environment({"MONGODB_MAX_POOL_SIZE": "9"}))
    assert options["maxPoolSize"] == 9
    # The clock of each find bounds the rest.
    assert not {"socketTimeoutMS", "waitQueueTimeoutMS", "timeoutMS"} & set(options)


def test_a_cpu_quota_is_kept(tmp_path: Path) -> None:
    unlimited = usable_cpus(tmp_path)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert usable_cpus(tmp_path) == unlimited
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert usable_cpus(tmp_path) == 1
    (tmp_path / "cpu.max").write_text("110000 100000\n")
    assert usable_cpus(tmp_path) == min(2, unlimited)


def test_a_cpu_quota_of_the_first_cgroups_is_kept(tmp_path: Path) -> None:
    unlimited = usable_cpus(tmp_path)
    folder = tmp_path / "cpu"
    folder.mkdir()
    (folder / "cpu.cfs_period_us").write_text("100000")
    (folder / "cpu.cfs_quota_us").write_text("-1")
    assert usable_cpus(tmp_path) == unlimited
    (folder / "cpu.cfs_quota_us").write_text("100000")
    assert usable_cpus(tmp_path) == 1
