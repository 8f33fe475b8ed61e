"""gunicorn with a process for each request.

``gunicorn --config servers/gunicorn_sync.conf.py servers.wsgi:application``
"""

from config import load, usable_cpus

_config = load()

bind = _config.address
worker_class = "sync"
# A worker that waits for the database serves nobody: twice the processors and one keep them busy while some wait.
workers = _config.workers or 2 * usable_cpus() + 1
# Clients that wait for a worker. Beyond it the kernel drops connection attempts, which then take a second or more.
backlog = 4096
# The longest request is /sleep?ms=10000; a worker that is silent for longer is stuck and is replaced.
timeout = 30
# How long SIGTERM waits for what was accepted. Longer than the longest request.
graceful_timeout = 12
# The heartbeat file of each worker: on a disk its writes can stall a worker.
worker_tmp_dir = "/dev/shm"
# No control socket: nothing here uses it, and it would leave a file.
control_socket_disable = True
# Errors go to stderr, and requests are logged only when asked for.
accesslog = "-" if _config.access_log else None
loglevel = "warning"
