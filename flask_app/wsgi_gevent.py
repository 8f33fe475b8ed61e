"""``application`` for servers whose workers run gevent."""

# Before anything else is imported: a module that has taken the blocking `socket` or `threading` keeps it.
from gevent import monkey

monkey.patch_all()

from collections.abc import Iterator  # noqa: E402
from contextlib import contextmanager  # noqa: E402

from gevent.lock import BoundedSemaphore  # noqa: E402
from pymongo.errors import WaitQueueTimeoutError  # noqa: E402

from app import create_app  # noqa: E402
from config import load  # noqa: E402
from database import Articles  # noqa: E402

_config = load()
# The driver's pool is not fair under gevent: the greenlet that returns a connection takes it again before one that
# waits wakes up. This queue is first come, first served.
_connections = BoundedSemaphore(_config.max_pool_size)


@contextmanager
def _turn(timeout_s: float) -> Iterator[None]:
    if not _connections.acquire(timeout=timeout_s):
        raise WaitQueueTimeoutError("no connection became free in time")
    try:
        yield
    finally:
        _connections.release()


application = create_app(Articles(_config, _turn))
