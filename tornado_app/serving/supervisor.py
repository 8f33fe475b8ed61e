"""Worker processes: forked, replaced when they die, stopped together. TUNING.md says why it is not tornado's own."""

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from types import FrameType
from typing import NoReturn

# A worker that dies is replaced at once unless it lived less than this: a crash at each start must not fill a CPU.
_SHORTEST_LIFE_S = 1.0
# When so many in a row have ended before they were ready, the next would too.
_MOST_FAILED_STARTS = 3
STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}


class Lifeline:
    """What a worker and its supervisor know of each other: that the one is ready, and that the other is still there."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def ready(self) -> None:
        """Take signals from here on, and tell the supervisor that this worker serves."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        self._channel.send(b".")

    def fileno(self) -> int:
        """Return the file descriptor that becomes readable when the supervisor has gone, even if killed."""
        return self._channel.fileno()


@dataclass(frozen=True)
class _Worker:
    place: int
    channel: socket.socket
    started_s: float = field(default_factory=time.monotonic)


class Supervisor:
    """Keeps worker processes running until SIGTERM or SIGINT, which it passes on to them.

    There is one for each group of ``listeners``, the sockets that it accepts from; its successor takes them over, and
    with them the connections that wait there. ``work`` runs in each worker: it sets its own handlers for both
    signals, calls ``Lifeline.ready``, and returns when it has stopped. One that takes longer than ``stop_limit_s`` to
    stop is killed.
    """

    def __init__(
        self,
        work: Callable[[Sequence[socket.socket], Lifeline], None],
        listeners: Sequence[Sequence[socket.socket]],
        stop_limit_s: float,
    ) -> None:
        self._work = work
        self._listeners = listeners
        self._stop_limit_s = stop_limit_s
        self._workers: dict[int, _Worker] = {}
        self._stopping = False

    def run(self) -> int:
        """Return the exit status when all workers have ended: 0 when they have stopped as they were told to."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._stop)
        signal.signal(signal.SIGALRM, lambda *_: self._send(signal.SIGKILL))
        for place in range(len(self._listeners)):
            self._start(place)
        status = 0
        failed_starts = 0
        while self._workers:
            pid, wait_status = os.wait()
            worker = self._workers.pop(pid, None)
            if worker is None:
                continue
            with worker.channel:
                was_ready = worker.channel.recv(1) == b"."
            if self._stopping:
                if wait_status:
                    report(f"worker {pid} {_ending(wait_status)}")
                    status = 1
                continue
            report(f"worker {pid} {_ending(wait_status)}, and is replaced")
            failed_starts = 0 if was_ready else failed_starts + 1
            if failed_starts == _MOST_FAILED_STARTS:
                report(f"{failed_starts} workers in a row could not start: stopping")
                status = 1
                self._stop()
                continue
            time.sleep(max(0.0, worker.started_s + _SHORTEST_LIFE_S - time.monotonic()))
            self._start(worker.place)
        # A signal that comes while the interpreter ends would change the exit status.
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        return status

    def _start(self, place: int) -> None:
        # A signal that comes in here waits: for this process until it knows the worker, for the worker until it has
        # its own handlers.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        if not self._stopping:
            ours, theirs = socket.socketpair()
            pid = os.fork()
            if pid == 0:
                ours.close()
                self._become_worker(place, theirs)
            theirs.close()
            self._workers[pid] = _Worker(place, ours)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def _become_worker(self, place: int, channel: socket.socket) -> NoReturn:
        # Another's listener would go on taking connections here, and the supervisor's death would go unnoticed.
        for other in self._workers.values():
            other.channel.close()
        _close((*self._listeners[:place], *self._listeners[place + 1 :]))
        status = 1
        try:
            self._work(self._listeners[place], Lifeline(channel))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(OSError):
                sys.stderr.flush()
            # Not sys.exit: what the supervisor has registered to happen at its exit is not this process's to do.
            os._exit(status)

    def _stop(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        if self._stopping:
            return
        self._stopping = True
        _close(self._listeners)
        signal.setitimer(signal.ITIMER_REAL, self._stop_limit_s)
        self._send(signal.SIGTERM)

    def _send(self, number: signal.Signals) -> None:
        for pid in self._workers:
            # One that has just ended may still be listed.
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def _close(listeners: Sequence[Sequence[socket.socket]]) -> None:
    for listener in chain.from_iterable(listeners):
        listener.close()


def _ending(wait_status: int) -> str:
    code = os.waitstatus_to_exitcode(wait_status)
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"


def report(text: str) -> None:
    """Write a line to the log. A disk that is full where it goes is no reason not to serve."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)
