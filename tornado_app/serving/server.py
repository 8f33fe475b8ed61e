"""From the settings to worker processes that serve."""

import asyncio
import errno
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import chain
from typing import Any

import uvloop
from tornado.netutil import bind_sockets

from app import LONGEST_SLEEP_S, make_app
from config import BadSetting, Config
from database import Articles
from serving.draining import DrainingServer
from serving.supervisor import STOP_SIGNALS, Lifeline, Supervisor, report

# A driver's client, open inside the block.
Connect = Callable[[Config], AbstractAsyncContextManager[Any]]

# Clients that wait to be accepted; the kernel's own limit (net.core.somaxconn) is often this. Beyond it connection
# attempts are dropped and tried again after a second or more: tornado's 128 is too few for thousands at once.
_BACKLOG = 4096
_HTTP_LIMITS = {
    # Seconds until a connection without a request, or with half a head, is closed. Longer than the 60 s after which
    # common proxies give up an idle connection of theirs, so that they never meet a closing one. tornado's is an hour.
    "idle_connection_timeout": 75,
    # Nothing here reads a body, so what a client may send is small (bytes) and has to come soon (seconds).
    "max_body_size": 65_536,
    "body_timeout": 10,
    # Bytes of a request's head: twice what common proxies pass on. tornado's is 65,536.
    "max_header_size": 16_384,
    # Bytes that a connection may have unread. tornado's 100 MB is for uploads.
    "max_buffer_size": 1_048_576,
}
# Beyond the longest request, for what surrounds it.
_STOP_SPARE_S = 2


def run(connect: Connect) -> int:
    """Serve with worker processes until SIGTERM or SIGINT and return the exit status, 2 for a setting that is bad."""
    try:
        config = Config.from_environment()
        listeners = _listen(config.host, config.port, config.workers)
    except BadSetting as reason:
        print(reason, file=sys.stderr)
        return 2
    logging.basicConfig(format="%(asctime)s %(process)d %(levelname)s %(message)s", level=logging.WARNING)
    if config.access_log:
        logging.getLogger("tornado.access").setLevel(logging.INFO)
    drain_limit_s = max(LONGEST_SLEEP_S, config.db_timeout_s) + _STOP_SPARE_S

    def work(own_listeners: Sequence[socket.socket], lifeline: Lifeline) -> None:
        # Not asyncio.run: at its end it cancels what still waits for a dead database and waits for that, without a
        # limit. The process ends here, and everything with it.
        loop = uvloop.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(_serve(config, connect, own_listeners, lifeline, drain_limit_s))

    report(f"Serving on {config.host}, port {config.port}, processes: {config.workers}")
    report(f"Database: {config.database} on {config.mongodb_hosts}")
    return Supervisor(work, listeners, drain_limit_s + _STOP_SPARE_S).run()


async def _serve(
    config: Config, connect: Connect, listeners: Sequence[socket.socket], lifeline: Lifeline, drain_limit_s: float
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def supervisor_gone() -> None:
        loop.remove_reader(lifeline)
        stop.set()

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    loop.add_reader(lifeline, supervisor_gone)
    async with connect(config) as client:
        articles = Articles(client, config)
        application = make_app(articles, config.access_log)
        server = DrainingServer(application, most_connections=_connections_allowed(config), **_HTTP_LIMITS)
        server.add_sockets(listeners)
        lifeline.ready()
        await stop.wait()
        await server.drain(drain_limit_s)
        await articles.settle(limit_s=1)
    # The loop's handlers end with it, and a second signal may come.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def _listen(host: str, port: int, workers: int) -> list[list[socket.socket]]:
    """Return listening sockets for each worker. Raises BadSetting.

    With SO_REUSEPORT the kernel spreads new connections evenly over the workers (TUNING.md has the figures).
    """
    try:
        # SO_REUSEPORT would also let a second server start on a port that is taken.
        for probe in bind_sockets(port, host):
            probe.close()
        listeners = [bind_sockets(port, host, backlog=_BACKLOG, reuse_port=True) for _ in range(workers)]
    except (socket.gaierror, UnicodeError):
        raise BadSetting(f"HOST must be an address of this machine, not {host!r}") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise BadSetting(f"PORT {port} is in use on {host}: stop what listens there, or set another PORT") from None
        raise BadSetting(f"HOST {host}, PORT {port} cannot be listened on: {error.strerror}") from None
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        for listener in chain.from_iterable(listeners):
            # Connections inherit it. A client that takes nothing of its reply for 60 s holds memory that others need.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)
    return listeners


def _connections_allowed(config: Config) -> int:
    """Raise the limit of open files to what the settings need; return how many connections each process may have.

    That is WORKER_CONNECTIONS, or less where the hard limit is lower. The usual soft limit is 1024.
    """
    beside_clients = config.max_pool_size + 64  # the loop's, the libraries', the log's
    files = config.worker_connections + beside_clients
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        files = min(files, hard)
    if soft != resource.RLIM_INFINITY and soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return min(config.worker_connections, max(files // 2, files - beside_clients))
