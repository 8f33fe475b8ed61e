"""``application`` for servers whose workers run gevent."""

# Before anything else is imported: a module that has taken the blocking `socket` or `threading` keeps it.
from gevent import monkey

monkey.patch_all()

from collections.abc import Iterator  # noqa: E402
from contextlib import contextmanager  # noqa: E402

from gevent import Timeout  # noqa: E402
from gevent.lock import BoundedSemaphore  # noqa: E402
from pymongo.errors import NetworkTimeout  # noqa: E402

from app import create_app  # noqa: E402
from config import load  # noqa: E402
from database import Articles  # noqa: E402

_config = load()
# The driver's pool is not fair under gevent: the greenlet that returns a connection takes it again before one that
# waits wakes up. This queue is first come, first served.
_connections = BoundedSemaphore(_config.max_pool_size or _config.worker_connections)


@contextmanager
def _turn(timeout_s: float) -> Iterator[None]:
    with Timeout(timeout_s, NetworkTimeout(f"no answer within {timeout_s} s")), _connections:
        yield


application = create_app(Articles(_config, _turn))
