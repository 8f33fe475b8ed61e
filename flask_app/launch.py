"""``python launch.py STACK``: check the settings, then become the server (for uWSGI: run it, and see that it stops)."""

import ctypes
import errno
import os
import re
import resource
import shlex
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType

from config import BadSetting, Config
from machine import usable_cpus

COMMANDS = {
    "uwsgi-threads": "uwsgi --ini servers/uwsgi_threads.ini",
    "uwsgi-gevent": "uwsgi --ini servers/uwsgi_gevent.ini",
    "gunicorn-sync": "gunicorn --config servers/gunicorn_sync.conf.py servers.wsgi:application",
    "gunicorn-gthread": "gunicorn --config servers/gunicorn_gthread.conf.py servers.wsgi:application",
    "gunicorn-gevent": "gunicorn --config servers/gunicorn_gevent.conf.py servers.wsgi_gevent:application",
}
# Longer than uWSGI's worker-reload-mercy, which is longer than the longest request.
_STOP_S = 13
# Servers read these by themselves, and would listen, log or answer otherwise. Kubernetes sets UWSGI_PORT, for one.
_NOT_HANDED_ON = re.compile(r"(UWSGI|GUNICORN|LISTEN|UPSTART)_.*|FLASK_DEBUG|FORWARDED_ALLOW_IPS|SCRIPT_NAME|SENDFILE")


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        print(f"usage: python launch.py {' | '.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        config = Config.from_environment()
        config = replace(config, hosts=_free_hosts(config))
        workers = config.workers or usable_cpus()
        # uWSGI with threads holds a thread for each open connection: 256 in all, spread over the processes.
        threads = config.threads or -(-256 // workers)
        _set_open_files(config, threads if arguments[0] == "uwsgi-threads" else 0)
    except BadSetting as reason:
        print(reason, file=sys.stderr)
        return 2
    command = shlex.split(COMMANDS[arguments[0]])
    lines = [f"database {config.database} of MongoDB at {config.mongodb_hosts}"]
    if dropped := sorted(filter(_NOT_HANDED_ON.fullmatch, os.environ)):
        lines.append(f"not handed on to the server: {', '.join(dropped)}")
    # glibc keeps what large documents took in each of its arenas, and makes one for each thread.
    environment = {"MALLOC_ARENA_MAX": "2"}
    # gunicorn would fail over an empty WEB_CONCURRENCY, which here counts as one that is not set.
    environment |= {name: value for name, value in os.environ.items() if value and name not in dropped}
    environment["HOST"] = ",".join(config.hosts)
    if command[0] == "uwsgi":
        # What the .ini files read, for uWSGI has no expressions.
        environment |= {"WEB_CONCURRENCY": str(workers), "THREADS": str(threads)}
        environment["WORKER_CONNECTIONS"] = str(config.worker_connections)
        environment["ROUTER_TIMEOUT"] = str(int(config.db_timeout_s) + 50)
        environment["DISABLE_LOGGING"] = "false" if config.access_log else "true"
        # uWSGI reads this option before the variables of an .ini file, and refuses more than the kernel allows.
        somaxconn = Path("/proc/sys/net/core/somaxconn")
        command += ["--listen", str(min(4096, int(somaxconn.read_text()) if somaxconn.exists() else 128))]
        option = "--http11-socket" if arguments[0] == "uwsgi-threads" else "--http"
        command += [word for address in config.addresses for word in (option, address)]
    # A disk that is full where the log goes is no reason not to serve.
    with suppress(OSError):
        print(*lines, f"$ {shlex.join(command)}", sep="\n", file=sys.stderr, flush=True)
    os.chdir(Path(__file__).parent)
    try:
        if command[0] == "uwsgi":
            return _run_uwsgi(command, environment)
        os.execvpe(command[0], command, environment)
    except FileNotFoundError:
        problem = f"{command[0]} is not on PATH: activate the environment that requirements.lock was installed in"
        print(problem, file=sys.stderr)
        return 2


def _run_uwsgi(command: list[str], environment: dict[str, str]) -> int:
    """Run uWSGI below this process, and return its exit status, 0 when it was asked to stop.

    uWSGI (2.0.31) misses a stop in a worker's first moments and waits for ever, so somebody with a clock stops it.
    """
    server = subprocess.Popen(command, env=environment, process_group=0, preexec_fn=_stop_with_parent)

    def stop(number: int, frame: FrameType | None) -> None:
        left_s, _ = signal.getitimer(signal.ITIMER_REAL)
        if not left_s:
            server.terminate()
            signal.alarm(_STOP_S)
        # Supervisors tell it twice: the process group, and this process. A person who types Ctrl-C again means now.
        elif number == signal.SIGINT and left_s < _STOP_S - 1:
            os.killpg(server.pid, signal.SIGKILL)

    # SIGHUP: the terminal has closed, and uWSGI, in a process group of its own, would not be told.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(server.pid, signal.SIGKILL))
    status = server.wait()
    return 0 if signal.getitimer(signal.ITIMER_REAL)[0] or status == -signal.SIGKILL else status


def _stop_with_parent() -> None:
    if sys.platform == "linux":  # PR_SET_PDEATHSIG of linux/prctl.h: SIGTERM when the parent is gone, however it went
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _set_open_files(config: Config, threads: int) -> None:
    """Set the limit of open files to what the settings need, within reason. Raises BadSetting when it is too low."""
    # A thread of uWSGI has an epoll beside its connection, and its router two for each. 40 are libraries and pipes.
    of_threads = 2 * threads + 40
    needed = max(2 * config.worker_connections + config.max_pool_size + 40, of_threads)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = (sys.maxsize if limit == resource.RLIM_INFINITY else limit for limit in limits)
    # uWSGI takes 8 bytes for each open file that is allowed, and containers may allow a billion.
    allowed = min(hard, max(needed, min(soft, 65_536)))
    if allowed < of_threads:  # a thread of uWSGI that gets no epoll writes thousands of lines a second
        raise BadSetting(f"THREADS={threads} needs ulimit -n {of_threads} (open files), and the limit is {allowed}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, limits[1]))


def _free_hosts(config: Config) -> tuple[str, ...]:
    """Return each address that HOST means and this machine has; ``localhost`` mostly has two. Raises BadSetting."""
    found, problem = [], f"HOST must be an address of this machine, not {config.hosts[0]!r}"
    with suppress(OSError, UnicodeError):  # no such name
        for family, _, _, _, (host, *_) in socket.getaddrinfo(config.hosts[0], None, type=socket.SOCK_STREAM):
            try:
                with socket.socket(family) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind((host, config.port))
                found.append(str(host))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    problem = f"PORT {config.port} is in use on {host}: stop what listens there, or set another PORT"
                    raise BadSetting(problem) from None
                # A machine without IPv6 may have a name for it.
                problem = f"HOST {host}, PORT {config.port} cannot be listened on: {error.strerror}"
    if not found:
        raise BadSetting(problem)
    return tuple(dict.fromkeys(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
