"""Every option of a connection string is obeyed or refused at the start, as the table in docs/contract.md has it."""

import re
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.common import URI_OPTIONS_ALIAS_MAP, URI_OPTIONS_VALIDATOR_MAP

from loadtests.measure.observer import ask_once, observe
from loadtests.results.counts import Outcome
from loadtests.settings import ROOT
from loadtests.stacks.catalogue import Stack
from loadtests.stacks.server import Server
from shared.documents import Document
from shared.mongod import Mongod, free_port
from shared.seed import seed
from tests.conftest import StartServer, log_of
from tests.contract.secured_mongod import CERTIFIED, DATABASE, PASSWORD, SET, SOURCE, TAGS, USER, Secured, started
from tests.contract.test_lifecycle import SECRET, _start
from tests.harness.exchange import ask, wait_until, wait_until_healthy

OBEYED, REFUSED = "obeyed", "refused"
# The columns of the table: what has settings and a driver of its own.
COLUMNS = {"flask_app": "flask", "tornado_app": "tornado", "node_app": "node"}
# One stack for each; the others share its code, and have the tests that all have.
FIRST_OF_ITS_COLUMN = ("gunicorn-gthread", "tornado", "node", "play", "play-blocking")
DOWN_WITHIN_S = 2.5 + 1
_LOOKS = 3


def column(stack: Stack) -> str:
    return COLUMNS.get(stack.app.name, stack.name)


def is_jvm(stack: Stack) -> bool:
    return "java" in stack.app.tools


@cache
def table() -> dict[str, dict[str, str]]:
    """Return what each column does with each option, as docs/contract.md has it."""
    text = (ROOT / "docs" / "contract.md").read_text()
    (head, _, *rows) = re.findall(r"^\|.*\|$", text.partition("### Options of the connection string")[2], re.M)
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in (head, *rows)]
    columns = cells[0][1:]
    return {
        option: dict(zip(columns, of_columns, strict=True))
        for names, *of_columns in cells[1:]
        for option in re.findall("`(.*?)`", names)
    }


# How each is written. A name in capitals stands for a file that a fixture makes.
EXAMPLES = {
    "replicaSet": SET,
    "directConnection": "true",
    "loadBalanced": "true",
    "srvMaxHosts": "1",
    "srvServiceName": "x",
    "appName": "x",
    "maxPoolSize": "2",
    "minPoolSize": "1",
    "maxIdleTimeMS": "60000",
    "maxConnecting": "2",
    "waitQueueTimeoutMS": "3000",
    "waitQueueMultiple": "5",
    "connectTimeoutMS": "4000",
    "socketTimeoutMS": "5000",
    "serverSelectionTimeoutMS": "1200",
    "timeoutMS": "5000",
    "localThresholdMS": "10",
    "heartbeatFrequencyMS": "2500",
    "serverMonitoringMode": "poll",
    "tls": "true",
    "ssl": "true",
    "tlsCAFile": "CERTIFICATE",
    "tlsCertificateKeyFile": "CLIENT",
    "tlsCertificateKeyFilePassword": "x",
    "tlsCRLFile": "/nowhere.pem",
    "tlsInsecure": "true",
    "tlsAllowInvalidCertificates": "true",
    "tlsAllowInvalidHostnames": "true",
    "tlsDisableOCSPEndpointCheck": "true",
    "tlsDisableCertificateRevocationCheck": "true",
    "authSource": SOURCE,
    "authMechanism=SCRAM-SHA-1": "",
    "authMechanism=SCRAM-SHA-256": "",
    "authMechanism=MONGODB-X509": "",
    "authMechanism=PLAIN": "",
    "authMechanism=GSSAPI": "",
    "authMechanism=MONGODB-AWS": "",
    "authMechanism=MONGODB-OIDC": "",
    "authMechanismProperties": "SERVICE_NAME:x",
    "readPreference": "secondaryPreferred",
    "readPreferenceTags": ",".join(f"{name}:{value}" for name, value in TAGS.items()),
    "maxStalenessSeconds": "120",
    "readConcernLevel": "majority",
    "retryReads": "false",
    "retryWrites": "false",
    "w": "majority",
    "journal": "true",
    "wTimeoutMS": "500",
    "compressors=zlib": "",
    "compressors=snappy": "",
    "compressors=zstd": "",
    "zlibCompressionLevel": "5",
    "uuidRepresentation": "standard",
    "proxyHost": "127.0.0.1",
    "tz_aware": "true",
    "nonsense": "1",
}
# What an option needs beside it.
WITH = {
    **dict.fromkeys(("tlsCAFile", "tlsCertificateKeyFile", "tlsCRLFile", "tlsInsecure"), "tls=true"),
    **dict.fromkeys(("tlsAllowInvalidCertificates", "tlsAllowInvalidHostnames"), "tls=true"),
    **dict.fromkeys(("tlsDisableOCSPEndpointCheck", "tlsDisableCertificateRevocationCheck"), "tls=true"),
    "readPreferenceTags": "readPreference=secondary",
    "maxStalenessSeconds": "readPreference=secondary",
    "zlibCompressionLevel": "compressors=zlib",
    "tlsCertificateKeyFilePassword": "tls=true&tlsCertificateKeyFile=CLIENT",
}
# No driver can use these. With each the word, or the words of which one, that the refusal has to hold.
WRONG = {
    "tls=true&tlsCAFile=/nowhere.pem": "nowhere.pem",
    "tls=true&tlsCAFile=GARBAGE": "tlsCAFile|garbage.pem",
    "tls=true&tlsCAFile=/": "tlsCAFile",
    "tls=true&tlsCAFile=not/there.pem": "tlsCAFile",
    "tls=true&tlsCertificateKeyFile=/nowhere.pem": "nowhere.pem",
    "tls=true&tlsCertificateKeyFile=GARBAGE": "tlsCertificateKeyFile|garbage.pem",
    "tls=true&ssl=false": "tls",
    "tls=false&tlsInsecure=true": "tls",
    "maxPoolSize=many": "maxPoolSize",
    "maxPoolSize=-1": "maxPoolSize",
    "minPoolSize=3&maxPoolSize=2": "minPoolSize",
    "connectTimeoutMS=-1": "connectTimeoutMS",
    "socketTimeoutMS=soon": "socketTimeoutMS",
    "serverSelectionTimeoutMS=": "serverSelectionTimeoutMS",
    "retryReads=perhaps": "retryReads",
    "readPreference=nearby": "readPreference|nearby|read preference",
    "readPreference=secondary&maxStalenessSeconds=5": "maxStalenessSeconds",
    "readConcernLevel=x": "readConcernLevel",
    "authMechanism=NONE": "authMechanism",
    "compressors=lzma": "compressor|lzma",
    "compressors=zlib&zlibCompressionLevel=10": "zlibCompressionLevel",
    "loadBalanced=true&replicaSet=x": "loadBalanced",
    "directConnection=true&loadBalanced=true": "directConnection|loadBalanced",
    "srvMaxHosts=1": "srvMaxHosts|srv",
    "replicaSet=": "replicaSet",
}
# A start takes 0.4 to 2 s of a processor, also one that ends at once. So here are some, and in the apps' suites all.
OF_A_JVM = ("tlsCAFile", "minPoolSize=3&maxPoolSize=2")
REFUSED_BY = {"play": {"maxPoolSize=0": "pool"}}
SHARES = {"flask": 0, "tornado": 1, "node": 2}


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with started(tmp_path_factory.mktemp("secured")) as running:
        yield running


@pytest.fixture(scope="session")
def trusting_jvm(secured: Secured) -> dict[str, str]:
    """Return the variable with which a JVM trusts the server's certificate, as play_app/README.md has it."""
    store = secured.certificate.with_suffix(".p12")
    words = ["keytool", "-importcert", "-noprompt", "-file", str(secured.certificate), "-keystore", str(store)]
    subprocess.run([*words, "-storepass", "changeit"], check=True, capture_output=True)
    return {"JAVA_OPTS": f"-Djavax.net.ssl.trustStore={store} -Djavax.net.ssl.trustStorePassword=changeit"}


def query(option: str, secured: Secured) -> str:
    """Return ``option`` as a URI has it, with what it needs."""
    written = option if "=" in option else f"{option}={EXAMPLES[option]}"
    return with_files("&".join(filter(None, (WITH.get(option), written))), secured)


def with_files(text: str, secured: Secured) -> str:
    files = {"CERTIFICATE": secured.certificate, "CLIENT": secured.of_client, "GARBAGE": secured.garbage}
    return re.sub("=(CERTIFICATE|CLIENT|GARBAGE)", lambda found: f"={files[found[1]]}", text)


def test_the_table_has_every_option() -> None:
    assert set(table()) == set(EXAMPLES)
    assert {cell for row in table().values() for cell in row.values()} <= {OBEYED, REFUSED}
    names = {option.partition("=")[0].lower() for option in EXAMPLES}
    known = {name.lower() for name in (*URI_OPTIONS_VALIDATOR_MAP, *URI_OPTIONS_ALIAS_MAP) if "_" not in name}
    # Names of PyMongo alone, and old names of others.
    own = {"connect", "driver", "srvallowedhostssuffix", "enableoverloadretargeting", "maxadaptiveretries"}
    own |= {"wtimeout", "fsync", "j", "authoidcallowedhosts"}
    assert known - names - own == set()


@pytest.mark.stacks_that(applies=lambda stack: stack.name in FIRST_OF_ITS_COLUMN)
def test_what_cannot_be_obeyed_stops_the_start(stack: Stack, secured: Secured) -> None:
    refused = {query(name, secured): name for name, row in table().items() if row[column(stack)] == REFUSED}
    wrong = {with_files(options, secured): word for options, word in WRONG.items()}
    if is_jvm(stack):
        refused = {options: word for options, word in (refused | wrong).items() if {options, word} & {*OF_A_JVM}}
        refused |= REFUSED_BY.get(stack.name, {})
    else:
        refused |= dict(list(wrong.items())[SHARES[column(stack)] :: len(SHARES)])

    def problem(item: tuple[str, str]) -> str | None:
        options, word = item
        without_password = "MONGODB-X509" in options or "MONGODB-OIDC" in options or "MONGODB-AWS" in options
        who = "" if without_password else f"me:{SECRET}@"
        settings = {"PORT": str(free_port()), "MONGODB_URI": f"mongodb://{who}127.0.0.1:1/?{options}"}
        status, lines = _start(stack, settings, within_s=60)
        said = " ".join(lines)
        if status != 2 or len(lines) != 1 or "MONGODB_URI" not in said or SECRET in said:
            return f"{options}: status {status}, {lines[:3]}"
        named = any(each.lower() in said.lower() for each in re.split("[|=]", word))
        return None if named else f"{options}: not named in {said}"

    with ThreadPoolExecutor(3) as starts:
        problems = [found for found in starts.map(problem, refused.items()) if found]
    assert problems == []


def together(stack: Stack, secured: Secured, app_name: str) -> str:
    """Return a URI with all that this stack obeys and that goes together."""
    apart = {"loadBalanced", "directConnection", "ssl", "timeoutMS", "authMechanism", "compressors=snappy"}
    apart |= {"compressors=zstd", "srvMaxHosts", "srvServiceName", "proxyHost", "authMechanismProperties"}
    apart |= {"tlsCRLFile", "tlsCertificateKeyFile", "tlsCertificateKeyFilePassword", "tlsInsecure"}
    apart |= {"tlsAllowInvalidCertificates", "tlsAllowInvalidHostnames", "tlsDisableOCSPEndpointCheck"}
    obeyed = [
        option
        for option, row in table().items()
        if row[column(stack)] == OBEYED and option not in apart and option.partition("=")[0] not in apart
    ]
    values = EXAMPLES | {"appName": app_name}
    pairs = [option if "=" in option else f"{option}={values[option]}" for option in obeyed]
    options = with_files("&".join(pairs), secured)
    return f"mongodb://{secured.credentials}@localhost:{secured.port}/{DATABASE}?{options}"


def test_what_is_obeyed_is_obeyed_together(
    stack: Stack, start_server: StartServer, secured: Secured, trusting_jvm: dict[str, str]
) -> None:
    name = f"together-{stack.name}"
    settings = {"MONGODB_DATABASE": "", "WEB_CONCURRENCY": "1", "DB_TIMEOUT_MS": "6000"}
    settings |= trusting_jvm if is_jvm(stack) else {}
    compressed = secured.bytes_decompressed()
    with start_server(stack, uri=together(stack, secured, name), **settings) as server:
        # The database is that of the path, and the user has one mechanism, which the drivers have to find out.
        wait_until_healthy(server, 10)
        find = secured.last_find()
        of_column = {option: row[column(stack)] == OBEYED for option, row in table().items()}
        assert find["user"] == f"{USER}@{SOURCE}"
        assert find.get("appName") == (name if of_column["appName"] else None)
        command = find["command"]
        assert command.get("readConcern", {}).get("level") == ("majority" if of_column["readConcernLevel"] else None)
        preference = command.get("$readPreference", {})
        assert preference.get("mode") == "secondaryPreferred"
        assert preference.get("tags") == ([TAGS] if of_column["readPreferenceTags"] else None)
        assert preference.get("maxStalenessSeconds") == (120 if of_column["maxStalenessSeconds"] else None)
        assert (secured.bytes_decompressed() > compressed) == of_column["compressors=zlib"]
        _is_even_with_a_small_pool(server)
        _has_at_most(2, server, secured.admin)

        # Without a primary another member will do, and has all of the time.
        with secured.without_primary():
            wait_until_healthy(server, 5)
            secured.serve_finds_slowly(2500)
            assert ask(server, "/mongo").status == 200
            secured.serve_finds_slowly(0)

        secured.admin[SOURCE].command("updateUser", USER, pwd="another")
        try:
            secured.drop_connections_at_find(20)
            # The first of them may be told of the dropped connection alone.
            wait_until(lambda: "uthenticat" in _log_after_503(server), 6, "the driver's words of a wrong password")
            assert "Traceback" not in log_of(server)
        finally:
            secured.drop_connections_at_find(0)
            secured.admin[SOURCE].command("updateUser", USER, pwd=PASSWORD, mechanisms=["SCRAM-SHA-256"])
        wait_until_healthy(server, 6)
        log = log_of(server)
        assert [secret for secret in (PASSWORD, secured.credentials) if secret in log] == []
        assert [said for said in (DATABASE, f"localhost:{secured.port}") if said not in log] == []


def _log_after_503(server: Server) -> str:
    return log_of(server) if ask(server, "/mongo").status == 503 else ""


def _is_even_with_a_small_pool(server: Server) -> None:
    if not server.stack.keep_alive:
        return
    for _ in range(_LOOKS):
        seen = observe(server.host, server.port, "/mongo", 12, 1.5)
        least, middle, _ = seen.served
        # The machine may have had nothing to spare. Who is unfair is unfair again.
        if seen.failed == 0 and least >= 0.4 * middle:
            return
    pytest.fail(f"with a pool of 2: {seen.served}, {seen.failed} failed")


def _has_at_most(most: int, server: Server, admin: MongoClient[Document]) -> None:
    """Require that it has as many finds at once as its pool allows, and never more."""
    most = 1 if server.stack.model == "processes" else most
    for _ in range(_LOOKS):
        # A machine that has nothing to spare may be too slow to have them all at once.
        reached = _finds_at_once(server, admin, clients=most + 4, ms=250 + 12 * most)
        assert reached <= most
        if reached == most:
            return
    pytest.fail(f"never {most} finds at once: {reached}")


def _finds_at_once(server: Server, admin: MongoClient[Document], clients: int, ms: int) -> int:
    """Ask once with each of so many clients while finds take ``ms``, and return the most finds that mongod had."""
    data = {"failCommands": ["find"], "blockConnection": True, "blockTimeMS": ms}
    admin.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=data)
    at_once = [0]
    over = threading.Event()

    def count() -> None:
        under_way: list[dict[str, Any]] = [{"$currentOp": {"allUsers": True}}]
        under_way += [{"$match": {"command.find": "articles"}}]
        while not over.wait(0.05):
            at_once.append(len(list(admin.admin.aggregate(under_way))))

    counting = threading.Thread(target=count)
    counting.start()
    try:
        seen = ask_once(server.host, server.port, "/mongo", clients, timeout_s=30)
    finally:
        over.set()
        counting.join()
        admin.admin.command("configureFailPoint", "failCommand", mode="off")
    assert seen.outcomes == {Outcome.OK: clients}
    return max(at_once)


@pytest.mark.stacks_that(
    applies=lambda stack: stack.name in (*FIRST_OF_ITS_COLUMN, "gunicorn-gevent", "tornado-pymongo")
)
@pytest.mark.stacks_that(applies=lambda stack: not is_jvm(stack))
def test_a_pool_may_be_larger_than_ours(stack: Stack, start_server: StartServer, database_server: Mongod) -> None:
    """The path names another database, and MONGODB_DATABASE wins."""
    name = f"wide-{stack.name}"
    uri = f"{database_server.uri}/of_nobody?maxPoolSize=130&maxConnecting=20&appName={name}"
    settings = {"MONGODB_DATABASE": "articles", "WEB_CONCURRENCY": "1", "THREADS": "140", "DB_TIMEOUT_MS": "20000"}
    with MongoClient[Document](database_server.uri) as admin, start_server(stack, uri=uri, **settings) as server:
        seed(database_server.uri, "articles")
        assert ask(server, "/mongo").status == 200
        _has_at_most(130, server, admin)


TLS = {
    "not-trusted": ("tls=true", 503),
    "insecure": ("tls=true&tlsInsecure=true&directConnection=true&maxPoolSize=0", 200),
    "certified": (
        "tls=true&tlsCAFile=CERTIFICATE&tlsAllowInvalidHostnames=true&directConnection=true"
        "&tlsCertificateKeyFile=CLIENT&authMechanism=MONGODB-X509&authSource=$external",
        200,
    ),
}


@pytest.mark.stacks_that(applies=lambda stack: stack.name in FIRST_OF_ITS_COLUMN and not is_jvm(stack))
@pytest.mark.parametrize("kind", TLS)
def test_tls_is_as_asked_for(stack: Stack, start_server: StartServer, secured: Secured, kind: str) -> None:
    """The server's certificate is for another name than the address that is asked."""
    options, status = TLS[kind]
    name = f"{kind}-{stack.name}"
    who = "" if kind == "certified" else f"{secured.credentials}@"
    options = options if kind == "certified" else f"{options}&authSource={SOURCE}"
    uri = f"mongodb://{who}127.0.0.1:{secured.port}/{DATABASE}?{with_files(options, secured)}&appName={name}"
    with start_server(stack, uri=uri, MONGODB_DATABASE="", WEB_CONCURRENCY="1") as server:
        reply = ask(server, "/mongo")
        assert (reply.status, reply.took_s < DOWN_WITHIN_S) == (status, True)
        if status == 503:
            wait_until(
                lambda: re.search("certificate|altname", log_of(server), re.I), 5, "the driver's words in the log"
            )
        elif kind == "certified":
            assert secured.last_find()["user"] == f"{CERTIFIED}@$external"


@pytest.mark.stacks_that(applies=lambda stack: stack.name in FIRST_OF_ITS_COLUMN and not is_jvm(stack))
def test_a_secondary_is_waited_for_as_any_server(stack: Stack, start_server: StartServer, secured: Secured) -> None:
    options = f"replicaSet={SET}&tls=true&tlsCAFile={secured.certificate}&authSource={SOURCE}&readPreference=secondary"
    uri = f"mongodb://{secured.credentials}@localhost:{secured.port}/{DATABASE}?{options}"
    with start_server(stack, uri=uri, MONGODB_DATABASE="", WEB_CONCURRENCY="1") as server:
        for _ in range(2):
            reply = ask(server, "/mongo")
            assert (reply.status, reply.took_s < DOWN_WITHIN_S) == (503, True)
        with secured.without_primary():
            wait_until_healthy(server, 5)
