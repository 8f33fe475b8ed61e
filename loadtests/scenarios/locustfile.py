"""People and programs that read articles, as a locust file.

    locust -f locustfile.py --host http://127.0.0.1:5000                                  # web page on port 8089
    locust -f locustfile.py --host http://127.0.0.1:5000 --headless -u 200 -r 50 -t 1m    # in the terminal
    locust -f locustfile.py --host http://127.0.0.1:5000 --headless -u 500 -t 1m Feed     # one kind of client only
    locust -f locustfile.py --host http://127.0.0.1:5000 --headless -u 20 -t 2m --burst 10 --tags small

It needs locust and nothing else of this repository. Every option is also a line of a file given with ``--config``
(``think-time = 0.5-2``) and an environment variable (``LOCUST_THINK_TIME=0.5-2``).

The mix is locust's own: how many of each kind by their weights (``--config-users '{"user_class_name": "Sleeper",
"weight": 5}'``), which kinds by naming them, which requests by ``--tags small big sleep``.

Each reply is checked by its status, its type and its whole body. A document must be the one whose SHA-256 is given,
else the one that the first reply of the run held. Failures are counted under a few fixed names, which begin with
``wrong body``, ``status``, ``connect``, ``reset`` or ``timeout``.
"""

import argparse
import json
import re
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import geventhttpclient.client
from gevent.timeout import Timeout
from geventhttpclient._parser import HTTPParseError
from locust import FastHttpUser, LoadTestShape, User, between, constant_throughput, events, tag, task
from locust.contrib.fasthttp import ResponseContextManager
from locust.env import Environment

_OK = 200
_BURST_FACTOR_IN_WEB_UI = 5
# A timer may fire a little before its time: Node's counts whole milliseconds.
_TIMER_SLACK_MS = 2

# The client would send a GET again when the connection is closed without a reply, and the failures that we are here to
# count would never be seen. (A connection that was closed while it was idle is noticed before it is used again.)
geventhttpclient.client.IDEMPOTENT_METHODS = frozenset()


class Client(FastHttpUser):
    """Anybody who asks the server for something, over one connection that is kept alive."""

    abstract = True
    # The contract's slowest reply: 10 s for the database and 2.5 s to find another server of it.
    network_timeout = 15.0
    connection_timeout = 5.0
    # One connection each, as the one thing that this client does needs.
    concurrency = 1

    def fetch(self, path: str, name: str, wrong: Callable[[ResponseContextManager], str | None]) -> None:
        """Ask for ``path`` and count the reply under ``name``; ``wrong`` says what is wrong with its body, or None."""
        with self.client.get(path, name=name, catch_response=True) as reply:
            failure = _failure(reply) or wrong(reply)
            if failure:
                reply.failure(failure)


class Reader(Client):
    """A person: opens an article, reads for a while, opens the next. Most articles are small."""

    weight = 8
    wait_time = between(1, 5)

    @tag("small")
    @task(80)
    def small(self) -> None:
        self.fetch("/mongo", "/mongo", _documents["small"].wrong)

    @tag("big")
    @task(20)
    def big(self) -> None:
        self.fetch("/mongo_big", "/mongo_big", _documents["big"].wrong)


class Feed(Client):
    """A program that asks at a fixed rate, whether the last reply was fast or slow."""

    weight = 1
    wait_time = constant_throughput(1)

    @tag("small")
    @task
    def small(self) -> None:
        self.fetch("/mongo", "/mongo", _documents["small"].wrong)


class Sleeper(Client):
    """Somebody whose reply takes long for reasons that are not the server's: it holds a connection and no CPU."""

    weight = 1
    wait_time = between(1, 5)

    @tag("sleep")
    @task
    def sleep(self) -> None:
        ms = self.environment.parsed_options.sleep_ms

        def wrong(reply: ResponseContextManager) -> str | None:
            if reply.content != b'{"slept_ms":%d}' % ms:
                return "wrong body: not the time that was asked for"
            if reply.request_meta["response_time"] < ms - _TIMER_SLACK_MS:
                return "wrong body: answered before the time was over"
            return None

        self.fetch(f"/sleep?ms={ms}", "/sleep", wrong)


class Burst(LoadTestShape):
    """Quiet, then for the last third of each period ``--burst`` times as many, all within a second."""

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        options: Any = self.runner.environment.parsed_options  # type: ignore[union-attr]
        now_s = self.get_run_time()
        if options.run_time and now_s >= options.run_time:
            return None
        quiet = options.num_users or 1
        many = quiet * (options.burst or _BURST_FACTOR_IN_WEB_UI)
        bursting = now_s % options.burst_period >= options.burst_period * 2 / 3
        return (many if bursting else quiet), many


class Document:
    """The body that a document's replies must have: known by its digest, or learned from the first reply."""

    def __init__(self) -> None:
        self.digest = ""
        self._body: bytes | None = None

    def expect(self, digest: str) -> None:
        """Expect the body with this SHA-256, or, where it is empty, whatever comes first."""
        self.digest = digest
        self._body = None

    def wrong(self, reply: ResponseContextManager) -> str | None:
        body = reply.content
        # Bytes are compared at once; a digest of each would cost the load generator more than the request.
        if self._body is None and self._is_right(body):
            self._body = body
        return None if body == self._body else "wrong body: not the document"

    def _is_right(self, body: bytes) -> bool:
        if self.digest:
            return sha256(body).hexdigest() == self.digest
        try:
            return isinstance(json.loads(body), dict)
        except ValueError:
            return False


_documents = {"small": Document(), "big": Document()}


def _failure(reply: ResponseContextManager) -> str | None:
    error = reply.request_meta["exception"]
    if reply.status_code == 0 or (error and reply.status_code == _OK):
        return _lost(error)
    if reply.status_code != _OK:
        return f"status {reply.status_code}"
    content_type = reply.headers.get("content-type")  # type: ignore[union-attr]
    if content_type != "application/json":
        return f"wrong body: type {content_type}, not application/json"
    return None


def _lost(error: BaseException | None) -> str:
    match error:
        case TimeoutError() | Timeout():
            return "timeout"
        case ConnectionRefusedError():
            return "connect: refused"
        case HTTPParseError() | ConnectionError():
            return "reset before a complete reply"
        case OSError():
            return f"connect: {error.strerror or error}"
    return f"reset: {type(error).__name__}"


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    mix = parser.add_argument_group("Articles", "What these clients do. See also --tags and --config-users")
    mix.add_argument("--think-time", type=_think_time, default="1-5", env_var="LOCUST_THINK_TIME", metavar="<s or s-s>",
                     help="Seconds that a Reader or Sleeper waits between two requests. Default: 1-5")  # fmt: skip
    mix.add_argument("--big-share", type=_whole(1, 99), default=20, env_var="LOCUST_BIG_SHARE", metavar="<percent>",
                     help="How many of 100 articles that a Reader opens are big. Default: 20")  # fmt: skip
    mix.add_argument("--feed-rate", type=_rate, default=1.0, env_var="LOCUST_FEED_RATE", metavar="<per s>",
                     help="Requests a second of each Feed. Default: 1")  # fmt: skip
    mix.add_argument("--sleep-ms", type=_whole(0, 10_000), default=1000, env_var="LOCUST_SLEEP_MS", metavar="<ms>",
                     help="What a Sleeper asks the server to wait. Default: 1000")  # fmt: skip
    mix.add_argument("--burst", type=_whole(0, 1000), default=0, env_var="LOCUST_BURST", metavar="<factor>",
                     help="Come in bursts of so many times --users. Default: 0, no bursts")  # fmt: skip
    mix.add_argument("--burst-period", type=_whole(3, 3600), default=30, env_var="LOCUST_BURST_PERIOD", metavar="<s>",
                     help="Seconds from one burst to the next; it lasts a third of them. Default: 30")  # fmt: skip
    mix.add_argument("--small-sha256", type=_digest, default="", env_var="LOCUST_SMALL_SHA256", metavar="<hex>",
                     help="SHA-256 of the body of /mongo. Default: that of the first reply")  # fmt: skip
    mix.add_argument("--big-sha256", type=_digest, default="", env_var="LOCUST_BIG_SHA256", metavar="<hex>",
                     help="SHA-256 of the body of /mongo_big. Default: that of the first reply")  # fmt: skip


@events.init.add_listener
def choose(environment: Environment, **_: Any) -> None:
    """Leave out the kinds of clients for which the tags leave nothing to do, and the bursts unless asked for."""
    options: Any = environment.parsed_options
    if not options.burst:
        environment.shape_class = None
    wanted, unwanted = set(options.tags or ()), set(options.exclude_tags or ())

    def has_a_task(user_class: type[User]) -> bool:
        tags_of_tasks: list[set[str]] = [getattr(each, "locust_tag_set", set()) for each in user_class.tasks]
        return any((not wanted or tags & wanted) and not tags & unwanted for tags in tags_of_tasks)

    environment.user_classes[:] = [each for each in environment.user_classes if has_a_task(each)]


@events.test_start.add_listener
def apply(environment: Environment, **_: Any) -> None:
    """Take the options as they are now: the web page may change them between two runs, and a master sends its own."""
    options: Any = environment.parsed_options
    _documents["small"].expect(options.small_sha256)
    _documents["big"].expect(options.big_sha256)
    Reader.wait_time = Sleeper.wait_time = between(*_seconds(options.think_time))
    Feed.wait_time = constant_throughput(float(options.feed_rate))
    shares: dict[Any, int] = {Reader.small: 100 - int(options.big_share), Reader.big: int(options.big_share)}
    # Tags may have left one of the two.
    Reader.tasks = [each for each in dict.fromkeys(Reader.tasks) for _ in range(shares[each])]


def _seconds(think_time: str) -> tuple[float, float]:
    least, _, most = think_time.partition("-")
    return float(least), float(most or least)


def _checked(pattern: str, what: str, holds: Callable[[str], bool] = bool, of: type = str) -> Callable[[str], Any]:
    """Return what reads an option whose text has this pattern, for which ``holds`` too."""

    def read(text: str) -> Any:
        if not re.fullmatch(pattern, text) or not holds(text):
            raise argparse.ArgumentTypeError(f"must be {what}, not '{text}'")
        return of(text)

    return read


_think_time = _checked(
    r"\d+(\.\d+)?(-\d+(\.\d+)?)?", "seconds such as 2 or 1-5", lambda text: _seconds(text)[0] <= _seconds(text)[1]
)
_rate = _checked(r"\d+(\.\d+)?", "requests a second, more than 0", lambda text: float(text) > 0, of=float)
_digest = _checked("([0-9a-f]{64})?", "64 hexadecimal digits", lambda _: True)


def _whole(least: int, most: int) -> Callable[[str], Any]:
    what = f"an integer from {least} to {most}"
    return _checked("[0-9]{1,9}", what, lambda text: least <= int(text) <= most, of=int)
