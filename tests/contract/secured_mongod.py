"""A mongod with TLS, users and a replica set of one, for what a connection string may ask for."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from loadtests.stacks.processes import die_with_parent
from shared import mongod
from shared.documents import Document, small
from shared.mongod import free_port
from tests.harness.exchange import wait_until

DATABASE = "articles_of_the_uri"
# Not `admin`, which is what drivers take by themselves, and with characters that a URI has to escape.
SOURCE, USER, PASSWORD = "people", "reader@home", "p@ss/w:rd%?&"
# As MongoDB reads the subject of the client's certificate.
CERTIFIED = "CN=reader"
SET = "of_one"
TAGS = {"dc": "ny"}
_STEPS_DOWN_S = 60


@dataclass(frozen=True)
class Secured:
    """``admin`` may do everything. ``certificate`` is the server's, for ``localhost``, and signs itself."""

    port: int
    certificate: Path
    of_client: Path
    garbage: Path
    admin: MongoClient[Document]

    @property
    def credentials(self) -> str:
        return f"{quote_plus(USER)}:{quote_plus(PASSWORD)}"

    def serve_finds_slowly(self, ms: int) -> None:
        """Delay all finds; 0 ends it."""
        data = {"failCommands": ["find"], "blockConnection": True, "blockTimeMS": ms or 1}
        self.admin.admin.command("configureFailPoint", "failCommand", mode="alwaysOn" if ms else "off", data=data)

    def drop_connections_at_find(self, times: int) -> None:
        data = {"failCommands": ["find"], "closeConnection": True}
        self.admin.admin.command("configureFailPoint", "failCommand", mode={"times": times}, data=data)

    @contextmanager
    def without_primary(self) -> Iterator[None]:
        """The one member is a secondary inside the block."""
        self.admin.admin.command({"replSetStepDown": _STEPS_DOWN_S, "force": True})
        try:
            yield
        finally:
            self.admin.admin.command("replSetFreeze", 0)
            wait_until(self.has_primary, 20, "a primary")

    def has_primary(self) -> bool:
        return bool(self.admin.admin.command("hello")["isWritablePrimary"])

    def bytes_decompressed(self) -> int:
        """Return how many bytes clients have sent compressed by zlib so far."""
        compression: Any = self.admin.admin.command("serverStatus")["network"]["compression"]
        return int(compression["zlib"]["decompressor"]["bytesIn"])

    def last_find(self) -> Document:
        """Return what mongod has noted of the last find of an article."""
        found = self.admin[DATABASE]["system.profile"].find_one({"command.find": "articles"}, sort=[("ts", -1)])
        assert found is not None
        return found


@contextmanager
def started(home: Path) -> Iterator[Secured]:
    """Give a running one, with the small document in DATABASE; it is stopped at the end of the block."""
    server, client = home / "server.pem", home / "client.pem"
    _certify(server, "/O=tests/CN=localhost", "subjectAltName=DNS:localhost")
    _certify(client, "/CN=reader", "extendedKeyUsage=clientAuth")
    (home / "trusted.pem").write_text(server.read_text() + client.read_text())
    (home / "garbage.pem").write_text("no certificate\n")
    key = home / "key"
    key.write_text("a secret of the members")
    key.chmod(0o600)
    (home / "data").mkdir()
    port = free_port()
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *die_with_parent("KILL"),
                *(str(mongod.binary()), "--dbpath", str(home / "data"), "--bind_ip", "127.0.0.1", "--port", str(port)),
                *("--nounixsocket", "--quiet", "--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "16"),
                *("--setParameter", "diagnosticDataCollectionEnabled=false", "--setParameter", "enableTestCommands=1"),
                *("--replSet", SET, "--keyFile", str(key), "--networkMessageCompressors", "zlib,snappy,zstd"),
                *("--tlsMode", "requireTLS", "--tlsCertificateKeyFile", str(server)),
                *("--tlsCAFile", str(home / "trusted.pem"), "--tlsAllowConnectionsWithoutCertificates"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        _make_its_users(port, server)
        address = f"mongodb://root:root@localhost:{port}/?directConnection=true&tls=true&tlsCAFile={server}"
        with MongoClient[Document](address, tz_aware=True) as admin:
            yield Secured(port, server, client, home / "garbage.pem", admin)
    finally:
        process.terminate()
        process.wait()


def _certify(file: Path, subject: str, extension: str) -> None:
    """Write a key and a certificate that it has signed itself, good for a day, into one file."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    key = file.with_suffix(".key")
    command += ["-keyout", str(key), "-out", str(file), "-subj", subject, "-addext", extension]
    subprocess.run(command, check=True, capture_output=True)
    file.write_text(file.read_text() + key.read_text())


def _make_its_users(port: int, certificate: Path) -> None:
    # Whoever comes from this machine may do so, until there is the first user.
    uri = f"mongodb://localhost:{port}/?directConnection=true&tls=true&tlsCAFile={certificate}"
    with MongoClient[Document](uri, serverSelectionTimeoutMS=500) as first:
        member = {"_id": 0, "host": f"localhost:{port}", "tags": TAGS}
        wait_until(lambda: _is_initiated(first, member), 30, "the replica set")
        wait_until(lambda: first.admin.command("hello")["isWritablePrimary"], 30, "its primary")
        first.admin.command("createUser", "root", pwd="root", roles=["root"])
    with MongoClient[Document](uri, username="root", password="root") as root:
        roles = [{"role": "read", "db": DATABASE}]
        root[SOURCE].command("createUser", USER, pwd=PASSWORD, roles=roles, mechanisms=["SCRAM-SHA-256"])
        root["$external"].command("createUser", CERTIFIED, roles=roles)
        root[DATABASE]["articles"].insert_one(small())
        root[DATABASE].command("profile", 2)


def _is_initiated(client: MongoClient[Document], member: dict[str, Any]) -> bool:
    try:
        client.admin.command("replSetInitiate", {"_id": SET, "members": [member]})
    except OperationFailure as failure:
        return failure.code == 23  # it is already
    except PyMongoError:
        time.sleep(0.1)
        return False
    return True
