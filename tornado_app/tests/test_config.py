"""Settings from the environment, without a server and without a database."""

from pathlib import Path

import pytest
from pymongo import MongoClient

from config import BadSetting, Config, usable_cpus

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
    config = Config.from_environment({"MONGODB_URI": "mongodb://db/?maxpoolsize=7&serverSelectionTimeoutMS=50"})
    assert not {"maxPoolSize", "serverSelectionTimeoutMS"} & set(config.mongodb_options)
    assert config.mongodb_options["connectTimeoutMS"] == 1000
    assert config.max_pool_size == 7


@pytest.mark.parametrize(("uri", "size"), [("", 9), ("?maxPoolSize=250", 250), ("?maxPoolSize=0", 30)])
def test_the_pool_is_the_one_of_the_uri_or_of_its_setting(uri: str, size: int) -> None:
    environment = {"MONGODB_URI": f"mongodb://db/{uri}", "MONGODB_MAX_POOL_SIZE": "9", "WORKER_CONNECTIONS": "30"}
    assert Config.from_environment(environment).max_pool_size == size


@pytest.mark.parametrize(
    ("uri", "setting", "name"),
    [
        ("mongodb://db", "", "articles"),
        ("mongodb://db/?appName=x", "", "articles"),
        ("mongodb://db/theirs", "", "theirs"),
        ("mongodb://db/theirs.collection?tls=true", "", "theirs"),
        ("mongodb+srv://user:word@db.example.com/theirs", "", "theirs"),
        ("mongodb://db/theirs", "mine", "mine"),
    ],
)
def test_the_database(uri: str, setting: str, name: str) -> None:
    assert Config.from_environment({"MONGODB_URI": uri, "MONGODB_DATABASE": setting}).database == name


# What the driver would leave out with a warning, or find out when a request waits; and what it cannot have at all.
REFUSED = {
    "an unknown option": "maxPoolSise=5",
    "an option without a value": "tls",
    "an option twice": "appName=a&appName=b",
    "a bad number": "maxPoolSize=many",
    "a bad time": "connectTimeoutMS=-1",
    "a bad switch": "retryReads=yes",
    "a bad mode": "readPreference=nearby",
    "a bad tag": "readPreference=nearest&readPreferenceTags=x",
    "tags of the primary": "readPreferenceTags=a:b",
    "a library that is missing": "compressors=snappy",
    "another one": "compressors=zstd,zlib",
    "a compressor that there is not": "compressors=lzma",
    "a level that there is not": "readConcernLevel=most",
    "a mechanism that there is not": "authMechanism=SCRAM-SHA-512",
    "a mechanism without its library": "authMechanism=GSSAPI",
    "properties without a mechanism": "authMechanismProperties=SERVICE_NAME:x",
    "an age that is too small": "readPreference=nearest&maxStalenessSeconds=5",
    "a heartbeat that is too fast": "heartbeatFrequencyMS=10",
    "two that contradict": "tls=false&tlsCAFile=/etc/hosts",
    "a switch of TLS without TLS": "tlsInsecure=true",
    "another one, and TLS is off": "tls=false&tlsAllowInvalidHostnames=true",
    "one for a key that is not there": "tlsCertificateKeyFilePassword=x",
    "a proxy": "proxyHost=proxy",
    "how documents are decoded": "tz_aware=true",
    "what the driver ignores": "waitQueueMultiple=5",
    "a file that is not there": "tlsCAFile=/nowhere/ca.pem",
    "a folder": "tlsCertificateKeyFile=/etc",
    "a file that is no certificate": "tlsCAFile=/etc/hosts",
    "more connections than there may be": "minPoolSize=101",
    "hosts of srv": "srvMaxHosts=2",
    "a load balancer of a replica set": "loadBalanced=true&replicaSet=rs",
}


@pytest.mark.parametrize("query", REFUSED.values(), ids=REFUSED)
def test_an_option_that_cannot_be_obeyed_is_refused(query: str) -> None:
    with pytest.raises(BadSetting) as reason:
        Config.from_environment({"MONGODB_URI": f"mongodb://user:{SECRET}@db/?{query}"})
    assert str(reason.value).startswith("MONGODB_URI cannot be used: ")
    assert "\n" not in str(reason.value)
    assert "None" not in str(reason.value)
    assert SECRET not in str(reason.value)


OBEYED = [
    *("appName=x", "authSource=y", "authMechanism=SCRAM-SHA-256", "compressors=zlib&zlibCompressionLevel=9"),
    *("connectTimeoutMS=20", "connectTimeoutMS=0", "directConnection=true", "heartbeatFrequencyMS=500", "journal=true"),
    *("loadBalanced=true", "localThresholdMS=0", "maxConnecting=1", "maxIdleTimeMS=5", "minPoolSize=100"),
    *("readConcernLevel=majority", "readPreference=secondaryPreferred&readPreferenceTags=a:b&readPreferenceTags="),
    *("readPreference=nearest&maxStalenessSeconds=90", "replicaSet=rs", "retryReads=false", "retryWrites=false"),
    *("serverMonitoringMode=poll", "serverSelectionTimeoutMS=0", "socketTimeoutMS=0", "timeoutMS=50", "ssl=true"),
    *(
        "tls=true&tlsInsecure=true",
        "ssl=true&tlsAllowInvalidCertificates=true",
        "uuidRepresentation=standard",
        "w=majority&wTimeoutMS=5",
    ),
    *("waitQueueTimeoutMS=5", "tls=true&tlsDisableOCSPEndpointCheck=true"),
]


@pytest.mark.parametrize("query", OBEYED)
def test_an_option_that_the_driver_obeys_is_left_to_it(query: str) -> None:
    uri = f"mongodb://user:{SECRET}@db/?{query}"
    config = Config.from_environment({"MONGODB_URI": uri})
    names = {pair.partition("=")[0] for pair in query.split("&")}
    assert not names & set(config.mongodb_options)
    MongoClient(uri, connect=False, **config.mongodb_options).close()


@pytest.mark.parametrize(
    "uri",
    [
        f"mongodb://user:{SECRET}/x@db",
        f"mongodb://user:1?{SECRET}=x@db",
        f"mongodb://user:1/{SECRET}@db",
        f"mongodb://user:{SECRET}%@db",
        f"mongodb://user:x:{SECRET}@db",
        f"mongodb://user:{SECRET}@[::1",
        f"mongodb://user:{SECRET}@a,,b",
    ],
)
def test_a_password_that_is_not_escaped_is_not_shown(uri: str) -> None:
    with pytest.raises(BadSetting) as reason:
        Config.from_environment({"MONGODB_URI": uri})
    assert SECRET not in str(reason.value)


def test_a_key_that_does_not_fit_is_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for option in ("tlsCAFile", "tlsCertificateKeyFile", "tlsCRLFile"):
        with pytest.raises(BadSetting, match=rf"^MONGODB_URI cannot be used: .+ {option}=.+empty\.pem$"):
            Config.from_environment({"MONGODB_URI": f"mongodb://db/?tls=true&{option}={empty}"})


# The lines of /proc/self/cgroup, the files below /sys/fs/cgroup, and the CPUs.
CGROUPS: dict[str, tuple[str, dict[str, str], int]] = {
    "none": ("0::/", {}, 99),
    "version 2": ("0::/", {"cpu.max": "150000 100000"}, 2),
    "no quota": ("0::/", {"cpu.max": "max 100000"}, 99),
    "less than one": ("0::/", {"cpu.max": "50000 100000"}, 1),
    "nested": ("0::/a.slice/b", {"a.slice/b/cpu.max": "200000 100000", "cpu.max": "max 100000"}, 2),
    "a parent has less": ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "100000 100000"}, 1),
    "the one of another": ("0::/a/b", {"a/c/cpu.max": "100000 100000"}, 99),
    "version 1": (
        "5:memory:/x\n4:cpu,cpuacct:/a",
        {"cpu/a/cpu.cfs_quota_us": "300000", "cpu/a/cpu.cfs_period_us": "100000"},
        3,
    ),
    "version 1 in a container, which sees its own as the root": (
        "4:cpuacct:/d\n3:cpu:/docker/id\n0::/",
        {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"},
        1,
    ),
    "version 1 without a quota": ("3:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 99),
}


@pytest.mark.parametrize(("lines", "files", "cpus"), CGROUPS.values(), ids=CGROUPS)
def test_a_cpu_quota_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, files: dict[str, str], cpus: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(99))
    written = {"proc/self/cgroup": lines} | {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in written.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert usable_cpus(tmp_path) == cpus


def test_without_cgroups_the_affinity_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(3))
    assert usable_cpus(tmp_path) == 3
