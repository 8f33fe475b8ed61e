"""``python launch.py STACK``: check the settings, then become the server (for uWSGI: run it, and see that it stops).

The commands can be typed without it; what it adds is one clear line and exit status 2 for a setting that cannot be
used or a port that is taken, and the figures that depend on the machine.
"""

import ctypes
import errno
import os
import resource
import shlex
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType

from config import BadSetting, Config, load, usable_cpus

COMMANDS = {
    "uwsgi-threads": "uwsgi --ini servers/uwsgi_threads.ini",
    "uwsgi-gevent": "uwsgi --ini servers/uwsgi_gevent.ini",
    "gunicorn-sync": "gunicorn --config servers/gunicorn_sync.conf.py servers.wsgi:application",
    "gunicorn-gthread": "gunicorn --config servers/gunicorn_gthread.conf.py servers.wsgi:application",
    "gunicorn-gevent": "gunicorn --config servers/gunicorn_gevent.conf.py servers.wsgi_gevent:application",
}
# uWSGI with threads holds a thread for each open connection: so many in all, spread over the processes.
_UWSGI_THREADS = 256
_WANTED_BACKLOG = 4096
# Longer than uWSGI's worker-reload-mercy, which is longer than the longest request.
_STOP_S = 13
# Open files of a process besides: the database, libraries, pipes.
_OTHER_FILES = 40
# From linux/prctl.h.
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        print(f"usage: python launch.py {' | '.join(COMMANDS)}", file=sys.stderr)
        return 2
    config = load()
    try:
        _require_free_port(config.host, config.port)
        allowed = _allow_open_files(config)
        if arguments[0] == "uwsgi-threads":
            _require_open_files(_threads(config), allowed)
    except BadSetting as reason:
        print(reason, file=sys.stderr)
        return 2
    command = shlex.split(COMMANDS[arguments[0]])
    # gunicorn would fail over an empty WEB_CONCURRENCY, which here counts as one that is not set.
    environment = {name: value for name, value in os.environ.items() if value or name != "WEB_CONCURRENCY"}
    if command[0] == "uwsgi":
        environment |= _uwsgi_environment(config)
        # uWSGI reads this option before the variables of an .ini file, and refuses more than the kernel allows.
        command += ["--listen", str(min(_WANTED_BACKLOG, _kernel_backlog()))]
    # A disk that is full where the log goes is no reason not to serve.
    with suppress(OSError):
        print(f"$ {shlex.join(command)}", file=sys.stderr, flush=True)
    os.chdir(Path(__file__).parent)
    try:
        if command[0] == "uwsgi":
            return _run_uwsgi(command, environment)
        os.execvpe(command[0], command, environment)
    except FileNotFoundError:
        print(
            f"{command[0]} is not on PATH: activate the environment that requirements.lock was installed in",
            file=sys.stderr,
        )
        return 2


def _run_uwsgi(command: list[str], environment: dict[str, str]) -> int:
    """Run uWSGI below this process and return its exit status, 0 when it was asked to stop.

    uWSGI misses a stop that reaches a worker in its first moments and then waits for that worker for ever
    (watched with 2.0.31), so its stop needs somebody with a clock.
    """
    server = subprocess.Popen(command, env=environment, process_group=0, preexec_fn=_stop_with_parent)

    def stop(number: int, frame: FrameType | None) -> None:
        server.terminate()
        signal.alarm(_STOP_S)

    def give_up(number: int, frame: FrameType | None) -> None:
        os.killpg(server.pid, signal.SIGKILL)

    # SIGHUP: the terminal has closed, and uWSGI, in a process group of its own, would not be told.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    signal.signal(signal.SIGALRM, give_up)
    status = server.wait()
    return 0 if signal.getitimer(signal.ITIMER_REAL)[0] or status == -signal.SIGKILL else status


def _stop_with_parent() -> None:
    """Have the kernel send SIGTERM when this process's parent is gone, however it went. Linux alone can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _uwsgi_environment(config: Config) -> dict[str, str]:
    """Return what the .ini files read, for uWSGI has no expressions."""
    workers = config.workers or usable_cpus()
    return {
        "ADDRESS": config.address,
        "WEB_CONCURRENCY": str(workers),
        "THREADS": str(_threads(config)),
        "WORKER_CONNECTIONS": str(config.worker_connections),
        "DISABLE_LOGGING": "false" if config.access_log else "true",
    }


def _threads(config: Config) -> int:
    """Return how many threads each process of uwsgi-threads has."""
    return config.threads or -(-_UWSGI_THREADS // (config.workers or usable_cpus()))


def _allow_open_files(config: Config) -> int:
    """Raise the limit of open files, mostly 1024, to what the settings need; return as many of those as it allows."""
    needed = max(config.worker_connections + config.max_pool_size, _files_of(_threads(config))) + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return needed
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed


def _files_of(threads: int) -> int:
    # Each thread waits in an epoll of its own beside the connection that it serves.
    return 2 * threads


def _require_open_files(threads: int, allowed: int) -> None:
    # A thread of uWSGI that gets no epoll writes thousands of lines a second.
    needed = _files_of(threads) + _OTHER_FILES
    if allowed < needed:
        raise BadSetting(
            f"THREADS={threads} needs {needed} open files for each process, and the limit is {allowed}: "
            f"raise it (ulimit -n {needed}), or set THREADS to {max(1, (allowed - _OTHER_FILES) // 2)}"
        )


def _kernel_backlog() -> int:
    try:
        return int(Path("/proc/sys/net/core/somaxconn").read_text())
    except (OSError, ValueError):
        return 128


def _require_free_port(host: str, port: int) -> None:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror:
        raise BadSetting(f"HOST must be an address of this machine, not {host!r}") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise BadSetting(f"PORT {port} is in use on {host}: stop what listens there, or set another PORT") from None
        raise BadSetting(f"HOST {host}, PORT {port} cannot be listened on: {error.strerror}") from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
