"""The options that the three gunicorn files have in common."""

import os
from typing import Any

from config import load

settings = load()

bind = settings.addresses
# Clients that wait to be accepted. Beyond it the kernel drops connection attempts, which then take a second or more.
backlog = 4096
# Seconds: a worker that is silent for longer (sync: in a find) is stuck and is replaced; how long SIGTERM waits.
timeout, graceful_timeout = int(settings.db_timeout_s) + 20, 12
# The heartbeat file of each worker: on a disk its writes can stall a worker. Some containers have no /dev/shm.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
# No control socket: nothing here uses it, and it would leave a file.
control_socket_disable = True
# From these, by default 127.0.0.1, a header named SCRIPT_NAME would change what path is served.
forwarded_allow_ips = ""
# Errors go to stderr, and requests are logged only when asked for.
accesslog = "-" if settings.access_log else None
loglevel = "warning"


def pre_request(worker: Any, req: Any) -> None:
    """Close the connection after the reply when any token asks for it (RFC 9110, 7.6.1): gunicorn wants it alone."""
    for name, value in req.headers:
        if name == "CONNECTION" and "close" in value.lower().replace(" ", "").replace("\t", "").split(","):
            req.force_close()
