"""Settings from the environment, without a server and without a database."""

import os
import re
import subprocess
import sys
from typing import Any

import pytest
from pymongo import MongoClient

from config import BadSetting, Config

SECRET = "a-password"
# What the driver would ignore, with or without a warning, or learn only from the first reply.
REFUSED = [
    *("maxPolSize=5", "maxPoolSize=many", "connectTimeoutMS=-1", "heartbeatFrequencyMS=1", "readPreference=best"),
    *("w=1&w=2", "minPoolSize=101", "replicaSet=r&loadBalanced=true", "directConnection=true&loadBalanced=true"),
    *("compressors=snappy", "compressors=lzma", "zlibCompressionLevel=11", "srvServiceName=x", "driver=x"),
    *(
        "waitQueueTimeoutMS=5",
        "waitQueueMultiple=5",
        "tz_aware=true",
        "datetime_conversion=datetime",
    ),
    *("unicode_decode_error_handler=strict", "readPreferenceTags=dc:a&readPreference=primary", "timeoutMS=x"),
    *("tls=true&tlsCAFile=/nowhere", "tls=true&tlsCAFile=ca.pem", "tls=true&tlsCRLFile=/nowhere", "tls=maybe"),
    *(f"tls=true&{name}={__file__}" for name in ("tlsCAFile", "tlsCertificateKeyFile", "tlsCRLFile")),
    *(
        "readPreference=nearest&maxStalenessSeconds=5",
        "readConcernLevel=best",
        "authMechanismProperties=SERVICE_NAME:x",
    ),
    *("tls=false&tlsInsecure=false", "tlsInsecure=true&tlsAllowInvalidHostnames=true"),
    *("authMechanism=GSSAPI", "authMechanism=MONGODB-CR", "authMechanism=NONE", "tls=true&ssl=false", "srvMaxHosts=1"),
    *(
        "replicaSet=",
        "appName=",
        "tls=true&tlsCAFile=",
        "authSource=",
        "connectTimeoutMS=",
        "readPreference=primary&maxStalenessSeconds=100",
    ),
    *(
        "tls=false&tlsInsecure=true",
        "ssl=false&tlsInsecure=true",
        "tlsInsecure=true",
        "tlsDisableOCSPEndpointCheck=true",
    ),
    *("zlibCompressionLevel=5", "tls=true&tlsCertificateKeyFilePassword=x"),
]
OURS = {
    "heartbeatFrequencyMS": 2000,
    "serverSelectionTimeoutMS": 1500,
    "connectTimeoutMS": 1000,
    "retryReads": False,
    "tlsCertificateKeyFilePassword": "",
}


def test_defaults() -> None:
    assert Config.from_environment({}) == Config(
        hosts=("127.0.0.1",),
        port=5000,
        mongodb_uri="mongodb://127.0.0.1:27017",
        mongodb_hosts="127.0.0.1:27017",
        mongodb_options={**OURS, "maxPoolSize": 100},
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
        hosts=("::1",),
        port=8080,
        mongodb_uri=environment["MONGODB_URI"],
        mongodb_hosts="a,b",
        mongodb_options={**OURS, "maxPoolSize": 9},
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
        ("MONGODB_URI", f"mongodb://user:?{SECRET}=x@db"),
        ("MONGODB_URI", f"mongodb://user:/{SECRET}@db"),
        ("MONGODB_URI", f"mongodb://db/{'x' * 64}"),
        *(("MONGODB_URI", f"mongodb://db/?{options}") for options in REFUSED),
    ],
)
def test_a_bad_value_is_named_in_one_line_without_the_password(name: str, value: str) -> None:
    with pytest.raises(BadSetting) as reason:
        Config.from_environment({name: value})
    assert name in str(reason.value)
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


@pytest.mark.parametrize("options", [*REFUSED, "authMechanism=MONGODB-AWS", "authMechanism=MONGODB-X509"])
def test_a_bad_option_is_named_whoever_the_user_is(options: str) -> None:
    with pytest.raises(BadSetting) as reason:
        Config.from_environment({"MONGODB_URI": f"mongodb://user:{SECRET}@db/?{options}"})
    line = str(reason.value)
    assert line.startswith("MONGODB_URI cannot be used: ")
    assert [word for word in re.split("[=&]", options) if word and word.lower() in line.lower()], line
    assert SECRET not in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("uri", "given", "database"),
    [
        ("mongodb://db", "", "articles"),
        ("mongodb://db/?w=1", "", "articles"),
        ("mongodb://db/shop", "", "shop"),
        ("mongodb://a,b/gr%C3%B6%C3%9Fe?w=1", "", "größe"),
        ("mongodb+srv://nowhere.invalid/shop", "", "shop"),
        ("mongodb://db/shop", "stock", "stock"),
    ],
)
def test_database_of_the_variable_then_of_the_path(uri: str, given: str, database: str) -> None:
    assert Config.from_environment({"MONGODB_URI": uri, "MONGODB_DATABASE": given}).database == database


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
    with MongoClient[Any](config.mongodb_uri, **config.mongodb_options) as client:
        assert (client.options.pool_options.max_pool_size or 0) == size


def test_options_of_the_uri_win() -> None:
    assert client_timeouts({}) == {"selection": 1.5, "connect": 1.0}
    uri = "mongodb://127.0.0.1:1/?serverselectiontimeoutms=50&connectTimeoutMS=60"
    assert client_timeouts({"MONGODB_URI": uri}) == {"selection": 0.05, "connect": 0.06}


@pytest.mark.parametrize(
    ("options", "seconds"),
    [("socketTimeoutMS=70", 0.07), ("timeoutMS=80", 0.08), ("socketTimeoutMS=0&timeoutMS=0", 2), ("timeoutMS=9000", 2)],
)
def test_the_shortest_limit_is_the_clock_of_a_find(options: str, seconds: float) -> None:
    config = Config.from_environment({"MONGODB_URI": f"mongodb://db/?{options}", "DB_TIMEOUT_MS": "2000"})
    assert config.db_timeout_s == seconds


def client_timeouts(environment: dict[str, str]) -> dict[str, Any]:
    """Return the limits of the client that ``environment`` leads to, in seconds."""
    config = Config.from_environment({"MONGODB_URI": "mongodb://127.0.0.1:1", **environment})
    with MongoClient[Any](config.mongodb_uri, **config.mongodb_options) as client:
        pool = client.options.pool_options
        return {
            "selection": client.options.server_selection_timeout,
            "connect": pool.connect_timeout,
        }


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("127.0.0.1", ["127.0.0.1:80"]),
        ("::1", ["[::1]:80"]),
        ("0.0.0.0", ["0.0.0.0:80"]),
        ("::1,127.0.0.1", ["[::1]:80", "127.0.0.1:80"]),
    ],
)
def test_addresses(host: str, addresses: list[str]) -> None:
    assert Config.from_environment({"HOST": host, "PORT": "80"}).addresses == addresses
