"""``application`` for servers whose workers run gevent."""

# Before anything else is imported: a module that has taken the blocking `socket` or `threading` keeps it.
from gevent import monkey

monkey.patch_all()

import time  # noqa: E402

from gevent.lock import BoundedSemaphore  # noqa: E402
from pymongo.errors import WaitQueueTimeoutError  # noqa: E402

from app import create_app  # noqa: E402
from config import load  # noqa: E402
from database import Articles, Find  # noqa: E402

_config = load()
# The driver's pool is not fair under gevent: the greenlet that returns a connection takes it again before one that
# waits wakes up. This queue is first come, first served.
_connections = BoundedSemaphore(_config.max_pool_size or _config.worker_connections)


def _ask(find: Find, timeout_s: float) -> bytes | None:
    """Call ``find`` when a connection is free. Raises PyMongoError when both take longer than ``timeout_s``.

    By the driver's clock: a gevent.Timeout that strikes in the lock of the pool breaks it for good (PyMongo 4.20).
    """
    deadline = time.monotonic() + timeout_s
    if not _connections.acquire(timeout=timeout_s):
        raise WaitQueueTimeoutError(f"no connection within {timeout_s} s")
    try:
        return find(deadline - time.monotonic())
    finally:
        _connections.release()


application = create_app(Articles(_config, _ask))
