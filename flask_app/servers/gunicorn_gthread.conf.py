"""gunicorn with threads: ``gunicorn --config servers/gunicorn_gthread.conf.py servers.wsgi:application``"""

from machine import usable_cpus
from servers.gunicorn_options import *  # noqa: F403
from servers.gunicorn_options import settings

worker_class = "gthread"
# Python runs one thread at a time in each process, so one process for each processor.
workers = settings.workers or usable_cpus()
# The requests that may wait for the database at the same time; idle connections hold no thread. 64 were slower, and 16
# are a limit of 16 / latency requests a second (measured, see TUNING.md).
threads = settings.threads or 32
# Open connections for each worker, idle ones included.
worker_connections = settings.worker_connections
# Seconds until an idle connection is closed. A proxy in front needs a shorter one.
keepalive = 10
# A listening socket for each worker: see gunicorn_gevent.conf.py.
reuse_port = True
