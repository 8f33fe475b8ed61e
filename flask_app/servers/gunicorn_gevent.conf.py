"""gunicorn with gevent workers.

``gunicorn --config servers/gunicorn_gevent.conf.py servers.wsgi_gevent:application``
"""

# Before gunicorn loads its worker: what has taken the blocking `socket` or `threading` keeps it.
from gevent import monkey

monkey.patch_all()

from typing import Any  # noqa: E402

import gevent  # noqa: E402

from config import load, usable_cpus  # noqa: E402

_config = load()

bind = _config.address
worker_class = "gevent"
# Waiting costs no worker here, so more processes than processors bring nothing (measured, see TUNING.md).
workers = _config.workers or usable_cpus()
# Open connections for each worker, each a greenlet.
worker_connections = _config.worker_connections
# Seconds until an idle connection is closed. SIGTERM waits for it too. A proxy in front must have a shorter one, or it
# meets a closing connection.
keepalive = 5
# Clients that wait to be accepted. Beyond it the kernel drops connection attempts, which then take a second or more.
backlog = 4096
# A listening socket for each worker: the kernel spreads the connections evenly. On one socket for all, a worker got 163
# of 200 (measured, see TUNING.md). Two servers could then share the port unnoticed, so launch.py looks first.
reuse_port = True
# A worker whose loop stands still for longer is stuck and is replaced.
timeout = 30
# How long SIGTERM waits for what was accepted. Longer than the longest request, /sleep?ms=10000.
graceful_timeout = 12
# The heartbeat file of each worker: on a disk its writes can stall a worker.
worker_tmp_dir = "/dev/shm"
# No control socket: nothing here uses it, and it would leave a file.
control_socket_disable = True
# Errors go to stderr, and requests are logged only when asked for.
accesslog = "-" if _config.access_log else None
loglevel = "warning"


def post_request(worker: Any, req: Any, environ: Any, resp: Any) -> None:
    """Let the other greenlets run: one whose client answers at once finds its next request there and never yields.

    Without this line some of 200 connections got 51 replies in 5 s while others got 119 (measured, see TUNING.md).
    """
    gevent.sleep(0)
