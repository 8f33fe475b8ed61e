"""The cases of ``make faults``, and the promises that a model cannot keep, each with its remedy."""

from collections.abc import Callable
from dataclasses import dataclass

from loadtests.faults import of_clients, of_database, of_processes
from loadtests.faults.arena import Arena, Finding
from loadtests.stacks.catalogue import Stack


@dataclass(frozen=True)
class Case:
    """``title`` is what happens, in words. ``in_tests`` says that ``make test`` has it too."""

    name: str
    title: str
    run: Callable[[Arena], Finding]
    in_tests: bool = False


CASES = {
    case.name: case
    for case in (
        Case("database-not-there", "database not there at the start", of_database.not_there_at_start),
        Case("database-killed", "database killed, back after 5 s", of_database.killed),
        Case("database-frozen", "database frozen for 10 s", of_database.frozen),
        Case("database-slow", "one find in ten takes 3 s", of_database.slow),
        Case("database-drops", "database drops every connection for 3 s", of_database.drops_connections),
        Case("database-errors", "database answers with errors for 3 s", of_database.answers_with_errors),
        Case("primary-steps-down", "primary steps down", of_database.primary_steps_down),
        Case("pool-exhausted", "pool exhausted: 20 clients, 2 connections", of_database.pool_exhausted),
        Case("large-documents", "documents of 0.7 MB to 200 clients, 14 MB to 50", of_database.large_documents),
        Case("worker-killed", "worker killed (SIGKILL)", of_processes.worker_killed, in_tests=True),
        Case("sigterm", "SIGTERM under load", of_processes.sigterm, in_tests=True),
        Case("told-twice", "SIGTERM to all its processes, and again", of_processes.told_twice),
        Case("sigint", "SIGINT under load", of_processes.sigint, in_tests=True),
        Case("sighup", "SIGHUP under load", of_processes.sighup, in_tests=True),
        Case("terminal-dies", "the terminal of make run dies", of_processes.terminal_dies),
        Case("little-cpu", "started on half a CPU, three times", of_processes.little_cpu),
        Case("few-descriptors", "64 open files, 200 clients", of_processes.few_descriptors),
        Case("log-disk-full", "disk full where it logs", of_processes.log_disk_full, in_tests=True),
        Case("all-at-once", "5,000 connections at once", of_clients.all_at_once),
        Case("idle-connections", "10,000 idle connections", of_clients.idle_connections),
        Case("slow-heads", "300 clients send a head slowly", of_clients.slow_heads, in_tests=True),
        Case("slow-readers", "30 clients do not read", of_clients.slow_readers),
        Case("pipelined", "20 requests in one piece", of_clients.pipelined, in_tests=True),
        Case("long-heads", "heads of 100 KB to 1 MB", of_clients.long_heads, in_tests=True),
        Case("malformed", "malformed and smuggled requests", of_clients.malformed, in_tests=True),
        Case("ambiguous", "bare line ends and folded lines", of_clients.ambiguous, in_tests=True),
        Case("fuzzed", "3,000 random requests", of_clients.fuzzed),
    )
}

HOLDS, BROKEN, PROPERTY, NOT_APPLICABLE = "holds", "broken", "property", "does not apply"


def _on(case: str, *stacks: str) -> list[tuple[str, str]]:
    return [(case, stack) for stack in stacks]


# What a model cannot hold: documented, shown with its figures, and not called passed. By case and stack.
EXCEPTIONS: dict[tuple[str, str], str] = {
    **dict.fromkeys(
        [
            *_on("slow-heads", "gunicorn-sync", "gunicorn-gthread", "uwsgi-threads"),
            *_on("slow-readers", "gunicorn-sync"),
            *_on("idle-connections", "uwsgi-threads"),
        ],
        "A worker or thread belongs to a client until its request is read and its reply is sent (with uWSGI until its "
        "connection closes), so slow clients hold them all. Remedy: a proxy that buffers requests and replies (nginx "
        "does), which these need in any case.",
    ),
    **dict.fromkeys(
        _on("pipelined", "uwsgi-threads", "uwsgi-gevent"),
        "uWSGI answers the first of several requests that come in one piece, and no more. Browsers, proxies and the "
        "usual clients do not send them. Remedy: none but a proxy.",
    ),
    **dict.fromkeys(
        _on("sigint", "gunicorn-sync", "gunicorn-gthread", "gunicorn-gevent"),
        "SIGINT is gunicorn's quick stop: what is under way is lost. Remedy: stop it with SIGTERM, as `make run-NAME` "
        "does at Ctrl-C.",
    ),
    **dict.fromkeys(
        _on("sighup", "gunicorn-gthread", "gunicorn-gevent"),
        "Each worker has a listening socket of its own (reuse_port, for even connections), and what waits in the one "
        "of a worker that is renewed is reset: some requests, once. Remedy: clients or a proxy that try again.",
    ),
    **dict.fromkeys(
        _on("few-descriptors", "gunicorn-gevent", "gunicorn-gthread", "uwsgi-gevent"),
        "Out of descriptors, the server's own accept loop fails: gevent logs a stack trace each time, a gthread worker "
        "ends and is replaced. Remedy: `ulimit -n` above WORKER_CONNECTIONS.",
    ),
    **dict.fromkeys(
        _on("ambiguous", "tornado", "tornado-pymongo", "uwsgi-gevent", "play", "play-blocking"),
        "Read as RFC 9112 (2.2, 5.2) lets a server: a bare LF or CR as the end of a line, a folded line as one. "
        "Remedy: a strict proxy in front.",
    ),
}


def exception(case: Case, stack: Stack) -> str | None:
    """Return why ``stack`` cannot keep the promises of ``case``, None where it must."""
    return EXCEPTIONS.get((case.name, stack.name))
