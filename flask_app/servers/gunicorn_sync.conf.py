"""gunicorn with processes: ``gunicorn --config servers/gunicorn_sync.conf.py servers.wsgi:application``"""

from machine import usable_cpus
from servers.gunicorn_options import *  # noqa: F403
from servers.gunicorn_options import settings

worker_class = "sync"
# A worker that waits for the database serves nobody: twice the processors and one keep them busy while some wait.
workers = settings.workers or 2 * usable_cpus() + 1
