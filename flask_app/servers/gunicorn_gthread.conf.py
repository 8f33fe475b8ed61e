"""gunicorn with a thread pool in each process.

``gunicorn --config servers/gunicorn_gthread.conf.py servers.wsgi:application``
"""

from config import load, usable_cpus

_config = load()

bind = _config.address
worker_class = "gthread"
# Python runs one thread at a time in each process, so one process for each processor.
workers = _config.workers or usable_cpus()
# The requests that may wait for the database at the same time; idle connections hold no thread. 64 were slower, and 16
# are a limit of 16 / latency requests a second (measured, see TUNING.md).
threads = _config.threads or 32
# Open connections for each worker, idle ones included.
worker_connections = _config.worker_connections
# Seconds until an idle connection is closed. A proxy in front needs a shorter one, or it meets a closing connection.
keepalive = 10
# Clients that wait to be accepted. Beyond it the kernel drops connection attempts, which then take a second or more.
backlog = 4096
# A listening socket for each worker: the kernel spreads the connections evenly. On one socket for all, a worker got 163
# of 200 (measured, see TUNING.md). Two servers could then share the port unnoticed, so launch.py looks first.
reuse_port = True
# A worker that is silent for longer is stuck and is replaced.
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
