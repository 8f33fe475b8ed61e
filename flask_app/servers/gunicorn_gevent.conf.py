"""gunicorn with gevent: ``gunicorn --config servers/gunicorn_gevent.conf.py servers.wsgi_gevent:application``"""

# Before gunicorn loads its worker: what has taken the blocking `socket` or `threading` keeps it.
from gevent import monkey

monkey.patch_all()

from typing import Any  # noqa: E402

import gevent  # noqa: E402

from machine import usable_cpus  # noqa: E402
from servers.gunicorn_options import *  # noqa: E402, F403
from servers.gunicorn_options import settings  # noqa: E402

worker_class = "gevent"
# Waiting costs no worker here, so more processes than processors bring nothing (measured, see TUNING.md).
workers = settings.workers or usable_cpus()
# Open connections for each worker, each a greenlet.
worker_connections = settings.worker_connections
# Seconds until an idle connection is closed. SIGTERM waits for it too. A proxy in front needs a shorter one.
keepalive = 5
# A listening socket for each worker: the kernel spreads the connections evenly (measured, see TUNING.md). Two servers
# could then share the port unnoticed, so launch.py looks first.
reuse_port = True


def post_request(worker: Any, req: Any, environ: Any, resp: Any) -> None:
    """Let the other greenlets run: one whose client answers at once never yields (measured, see TUNING.md)."""
    gevent.sleep(0)
