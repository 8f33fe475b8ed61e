"""Odd targets, queries and headers, sent byte by byte: they mean the same on every stack.

A client library would put most of them right before it sends them. What servers do differently stands in
docs/contract.md, under "The same bytes", and here as a set of allowed answers.
"""

import json
import random
import re
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import parse_qsl

import pytest

from loadtests.stacks.server import Server
from tests.harness.exchange import ask

# As docs/contract.md has it: a connection that is to be closed is closed this soon after the reply.
CLOSED_WITHIN_S = 1
_UNRESERVED = b"-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_AT_ONCE = 4
# The connection was closed without a reply, which is one way to refuse what is no HTTP.
CLOSED = 0
REFUSED = {CLOSED, 400, 403, 404, 405, 414, 431, 501}


@dataclass(frozen=True)
class Answer:
    """``status`` is 0 where the connection was closed without a reply."""

    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """One connection. Raises TimeoutError where nothing comes within 10 s."""

    def __init__(self, server: Server) -> None:
        self._socket = socket.create_connection((server.host, server.port), timeout=10)
        self._unread = b""

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, request: bytes) -> None:
        try:
            self._socket.sendall(request)
        except OSError:
            return  # refused before all of it was sent: what has come is the answer

    def answer(self, has_body: bool = True) -> Answer:
        while b"\r\n\r\n" not in self._unread:
            if not self._receive():
                return Answer(CLOSED, {}, b"")
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split(" ", 2)[1])
        if status == 100:
            return self.answer(has_body)
        length = int(headers.get("content-length", "0")) if has_body else 0
        while len(self._unread) < length and self._receive():
            pass
        body, self._unread = self._unread[:length], self._unread[length:]
        return Answer(status, headers, body)

    def is_closed(self, within_s: float) -> bool:
        self._socket.settimeout(within_s)
        try:
            return not self._receive()
        except TimeoutError:
            return False

    def _receive(self) -> bool:
        try:
            more = self._socket.recv(65536)
        except ConnectionError:
            return False
        self._unread += more
        return bool(more)


def head(target: bytes, *lines: bytes, method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> bytes:
    return b"\r\n".join([method + b" " + target + b" " + version, b"Host: x", *lines, b"", b""])


def answer_to(server: Server, request: bytes) -> Answer:
    with Wire(server) as wire:
        wire.send(request)
        return wire.answer(not request.startswith(b"HEAD"))


def answers_to(server: Server, requests: dict[str, bytes]) -> dict[str, Answer]:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(requests, pool.map(lambda request: answer_to(server, request), requests.values()), strict=True))


def spelled(path: bytes, source: random.Random) -> bytes:
    """Return ``path`` with some of its letters as %XX, which means the same (RFC 3986, 6.2.2.2)."""
    return b"".join(
        (b"%%%02X" if source.random() < 0.5 else b"%%%02x") % byte
        if byte in _UNRESERVED and source.random() < 0.4
        else bytes([byte])
        for byte in path
    )


def same_paths() -> list[bytes]:
    source = random.Random(2014)
    generated = [spelled(path, source) for path in (b"/mongo", b"/mongo_big", b"/sleep?ms=0") for _ in range(6)]
    return [
        *generated,
        *(b"/%6Dongo", b"/%6dongo", b"/mongo%5Fbig", b"/%6D%6F%6E%67%6F", b"/mongo?", b"/mongo??", b"/mongo?/../x"),
        *(
            b"/mongo?x=/mongo/",
            b"/mongo?http://other/",
            b"/mongo?%",
            b"/mongo?%zz=%",
            b"/mongo?%ff=%00",
            b"/mongo?a[b]=c",
        ),
        *(
            b"/mongo?a=b=c&d",
            b"/mongo?&&&",
            b"/mongo?=",
            b"/mongo?a;b",
            b"/mongo?__proto__=1",
            b"/mongo?" + b"x" * 3000,
        ),
        *(b"http://host/mongo", b"HTTP://HOST:80/mongo?x=1", b"http://host/%6Dongo", b"http://[::1]:5000/mongo_big"),
        *(b"http://host/sleep?ms=0", b"https://host/mongo", b"http://user@host/mongo"),
    ]


OTHER_PATHS = [
    *b"""
    / // //mongo ///mongo /mongo/ /mongo// /mongo/. /./mongo /x/../mongo /mongo/.. /%2E/mongo /mongo%2F /%2Fmongo
    /mongo%2e%2e /mongo%20 /mongo+ /mongo%3F /mongo%3Fx=1 /mongo%23 /mongo%25 /%256Dongo /mongo; /mongo;x=1 /mongo%3B
    /mongo&x=1 /mongo= /mongo, /MONGO /Mongo /mongo_ /mongo_bi /mongo_big/ /mongo/big /sleep/ /sleep/0 /mong%C3%B8
    /mongo.json /mongo: /mongo@x /mongo! /mongo' /(mongo) /mongo* /$mongo /mongo~ /__proto__ /constructor
    /static/app.py /favicon.ico /..%2f..%2fetc/passwd http://host http://host/ http://host?x=/mongo
    http://host//mongo http://host/mongo/ http://mongo/x http://host/x?y=http://host/mongo /http://host/mongo
    """.split(),
    b"/" + b"x" * 3000,
]
# No path of this service on any stack; whether it is no path at all is for the server to say.
NO_PATHS = [
    *b"""
    * mongo ?x host:80 /mongo%00 /mongo%0d%0a /mongo% /mongo%6 /mongo%zz /%m6ongo /mongo%FF /mongo%C0%AF /mongo^
    /<mongo> ftp://host/mongo mailto:mongo ://host/mongo http:/mongo
    """.split(),
    *(b"/mongo\xff", b"/m\xc3\xb6ngo", b"/mongo\x7f", b"/mongo\\", b'/mongo"'),
]
# docs/contract.md, "The same bytes": by the beginning of the stack's name, what its server takes for /mongo.
ALSO_FOUND = {"uwsgi": {b"/./mongo", b"/x/../mongo", b"/mongo%", b"/mongo%6"}, "gunicorn": {b"ftp://host/mongo"}}


def named(targets: Iterable[bytes]) -> dict[str, bytes]:
    """Return a request for each target, by a name that a failed test may show."""
    return {ascii(target.decode("latin-1"))[:90]: head(target) for target in targets}


def not_its_own(server: Server, targets: Iterable[bytes]) -> list[bytes]:
    own = set().union(*(found for name, found in ALSO_FOUND.items() if server.stack.name.startswith(name)))
    return [target for target in targets if target not in own]


def test_a_path_is_compared_after_its_letters_are_decoded(server: Server) -> None:
    bodies = {path: ask(server, path).body for path in ("/mongo", "/mongo_big")}
    answers = answers_to(server, named(same_paths()))
    assert {name: answer.status for name, answer in answers.items() if answer.status != 200} == {}
    assert {answer.body for answer in answers.values()} == {*bodies.values(), b'{"slept_ms":0}'}


def test_what_is_not_the_path_is_another(server: Server) -> None:
    answers = answers_to(server, named(not_its_own(server, OTHER_PATHS)))
    assert {name: answer.status for name, answer in answers.items() if answer.status != 404} == {}
    assert {answer.body for answer in answers.values()} == {b'{"error":"not found"}'}


def test_what_is_no_path_reaches_no_handler(server: Server) -> None:
    answers = answers_to(server, named(not_its_own(server, NO_PATHS)))
    assert {name: answer.status for name, answer in answers.items() if answer.status not in REFUSED} == {}


def queries() -> list[str]:
    source = random.Random(2014)
    pieces = [
        "ms=0",
        "ms=5",
        "%6Ds=7",
        "ms=%33",
        "ms",
        "ms=",
        "ms=x",
        "MS=9",
        "x",
        "x=ms",
        "",
        "=",
        "m s=1",
        "ms[]=1",
        "x;ms=1",
    ]
    pieces += [
        "ms=1;x",
        "x=%",
        "%zz=1",
        "%=ms",
        "ms=%zz",
        "ms=2+",
        "ms=%30%30",
        "ms=0&",
        "x=&amp;ms=1",
        "%26ms=1",
        "ms%3D1",
        "a.ms=1",
    ]
    generated = ["&".join(source.choice(pieces) for _ in range(source.randrange(1, 4))) for _ in range(60)]
    many = ["a&" * 1800 + "ms=3", "ms=4" + "&b=" * 1200, "&" * 3000 + "ms=6", "c=1&" * 900 + "ms=0&ms=0"]
    # What names no ms at all takes its second.
    return [query for query in dict.fromkeys([*pieces, *generated, *many]) if values_of("ms", query)]


def values_of(name: str, query: str) -> list[str]:
    """Return the values of a parameter by the rules of HTML forms: parted at ``&`` alone."""
    return [value for key, value in parse_qsl(query, keep_blank_values=True, errors="replace") if key == name]


def test_a_query_is_parted_at_ampersands_and_has_exactly_one_ms(server: Server) -> None:
    expected = {}
    for query in queries():
        (one, *more) = values_of("ms", query)
        right = not more and re.fullmatch("[0-9]{1,5}", one) and int(one) <= 10_000
        expected[query[:60], len(query)] = json.dumps({"slept_ms": int(one)} if right else ERROR, separators=(",", ":"))
    requests = [head(f"/sleep?{query}".replace(" ", "+").encode()) for query in queries()]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = pool.map(lambda request: answer_to(server, request), requests)
    found = {name: answer.body.decode("latin-1") for name, answer in zip(expected, answers, strict=True)}
    assert {name: body for name, body in found.items() if body != expected[name]} == {}


ERROR = {"error": "ms must be an integer from 0 to 10000"}

CLOSES = [
    *((b"Connection: close",), (b"Connection: Close",), (b"connection: CLOSE",), (b"CONNECTION:close",)),
    *((b"Connection: close ",), (b"Connection:  close\t",), (b"Connection: close,",), (b"Connection: ,close",)),
    *(
        (b"Connection: keep-alive, close",),
        (b"Connection: close, keep-alive",),
        (b"Connection: TE, close", b"TE: trailers"),
    ),
    *((b"Connection: TE,close",), (b"Connection: x ,\tclose ,y",), (b"Connection: close, TE",)),
    *((b"Connection: TE", b"Connection: close"), (b"Connection: close", b"Connection: TE")),
    *((b"Connection: keep-alive", b"X-Between: 1", b"connection: close"), (b"Connection: close", b"Connection: close")),
]
STAYS = [
    *(
        (b"Connection: keep-alive",),
        (b"Connection: Keep-Alive",),
        (b"Connection: closed",),
        (b"Connection: not-close",),
    ),
    *(
        (b"Connection: TE", b"TE: trailers"),
        (b"Connection: x-close, keep-alive",),
        (b"Connection:",),
        (b"Connection: ,",),
    ),
    *((b"X-Connection: close",), (b"Connection: close-not",), (b"Keep-Alive: close",)),
]


def test_close_is_one_of_a_list(server: Server) -> None:
    def is_closed(lines: tuple[bytes, ...]) -> bool:
        with Wire(server) as wire:
            wire.send(head(b"/sleep?ms=0", *lines))
            assert wire.answer().body == b'{"slept_ms":0}', lines
            return wire.is_closed(CLOSED_WITHIN_S)

    with ThreadPoolExecutor(len(CLOSES)) as pool:
        kept = [lines for lines, closed in zip(CLOSES, pool.map(is_closed, CLOSES), strict=True) if not closed]
    assert kept == []


def test_close_after_an_error_and_after_head(server: Server) -> None:
    for path, method in ((b"/nothing", b"GET"), (b"/sleep?ms=x", b"GET"), (b"/mongo", b"HEAD"), (b"/mongo", b"DELETE")):
        with Wire(server) as wire:
            wire.send(head(path, b"Connection: TE, close", method=method))
            assert wire.answer(method != b"HEAD").status in (200, 400, 404, 405)
            assert wire.is_closed(CLOSED_WITHIN_S), (path, method)


@pytest.mark.stacks_that(applies=lambda stack: stack.keep_alive)
def test_what_does_not_say_close_keeps_the_connection(server: Server) -> None:
    closed = []
    for lines in STAYS:
        with Wire(server) as wire:
            for _ in range(2):
                wire.send(head(b"/sleep?ms=0", *lines))
                if wire.answer().body != b'{"slept_ms":0}':
                    closed.append(lines)
    assert closed == []


# None of them means anything to this service.
IGNORED = [
    *(
        line.strip()
        for line in b"""
    X-HTTP-Method-Override: DELETE | X-Method-Override: POST | X-Original-URL: /nothing | X-Rewrite-URL: /nothing |
    X-Forwarded-Prefix: /x | X-Forwarded-Host: other | X-Forwarded-Proto: https | X-Forwarded-Port: x |
    X-Forwarded-For: nonsense | Forwarded: nonsense | X-Script-Name: /mongo | SCRIPT_NAME: /mongo |
    PATH_INFO: /nothing | Path-Info: /nothing | REQUEST_METHOD: POST | Request-Method: POST | Query-String: ms=9 |
    Accept: text/html | Accept: nonsense | Accept-Encoding: gzip, br | Accept-Charset: x | Accept-Language: ;; |
    Range: bytes=0-3 | If-Range: x | If-None-Match: * | If-None-Match: "x" | If-Match: x |
    If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT | If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT |
    Cookie: ;;=; | Cookie: PLAY_SESSION=x | Authorization: nonsense | Authorization: Basic ! | Origin: null |
    Content-Type: nonsense | Content-Type: multipart/form-data | Content-Type: application/json |
    Content-Encoding: gzip | Upgrade: h2c | Upgrade: websocket | HTTP2-Settings: x | TE: trailers | Trailer: x |
    Max-Forwards: 0 | Content-Length: 0 | Date: x | Cache-Control: only-if-cached | Pragma: x | X: | x:y |
    HTTP_HOST: other | Proxy: http://other | __proto__: 1 | constructor: 1 | Raw-Request-URI: /x | Remote-Address: x
    """.split(b"|")
    ),
    *(b"X-\xc3\xb6: x", b"X: \xff\xfe"),
]
# The name is no token, so a server may refuse it.
IGNORED_OR_REFUSED = {b"X-\xc3\xb6: x"}


def test_headers_that_mean_nothing_change_nothing(server: Server) -> None:
    right = ask(server, "/mongo").body
    answers = answers_to(server, {ascii(line.decode("latin-1")): head(b"/mongo", line) for line in IGNORED})
    refusable = {ascii(line.decode("latin-1")) for line in IGNORED_OR_REFUSED}
    wrong = {
        name: (answer.status, answer.body[:60])
        for name, answer in answers.items()
        if (answer.status, answer.body) != (200, right) and not (name in refusable and answer.status in REFUSED)
    }
    assert wrong == {}
    assert {answer.headers.get("content-encoding") for answer in answers.values()} == {None}


def test_a_body_that_nobody_asked_for_is_not_the_next_request(server: Server) -> None:
    hidden = head(b"/nothing")
    for method in (b"GET", b"HEAD"):
        with Wire(server) as wire:
            wire.send(head(b"/sleep?ms=0", b"Content-Length: %d" % len(hidden), method=method) + hidden)
            assert wire.answer(method == b"GET").status in {200, *REFUSED}
            wire.send(head(b"/sleep?ms=1"))
            assert wire.answer().body in (b'{"slept_ms":1}', b""), method


@pytest.mark.parametrize("lines", [(), (b"Connection: keep-alive",)], ids=["", "keep-alive"])
def test_http_1_0_is_answered(server: Server, lines: tuple[bytes, ...]) -> None:
    right = ask(server, "/mongo").body
    with Wire(server) as wire:
        wire.send(head(b"/mongo", *lines, version=b"HTTP/1.0"))
        assert (wire.answer().body, right) == (right, right)
        assert lines or wire.is_closed(CLOSED_WITHIN_S)
