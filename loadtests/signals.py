"""Ctrl-C, SIGTERM and a closed terminal as an exception, so that everything started is stopped on the way out."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ASKED_BY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN_AFTER_S = 0.01


class Stopped(BaseException):
    """A signal asked this command to end. Not an Exception: nothing but the command itself may catch it."""


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raise Stopped inside the block at SIGINT, SIGTERM or SIGHUP."""

    def stop(number: int, frame: FrameType | None) -> None:
        # A second Ctrl-C must not interrupt the stopping itself half-way.
        for each in _ASKED_BY:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    def stop_after_all(unraisable: "sys.UnraisableHookArgs") -> None:
        # The signal has met the finalizer of an object, out of which Python lets no exception.
        if isinstance(unraisable.exc_value, Stopped):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_AFTER_S)
        else:
            hook(unraisable)

    previous = {number: signal.getsignal(number) for number in (*_ASKED_BY, signal.SIGALRM)}
    hook = sys.unraisablehook
    sys.unraisablehook = stop_after_all
    for number in previous:
        signal.signal(number, stop)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, action in previous.items():
            signal.signal(number, action)
        sys.unraisablehook = hook
