"""How long a packet takes to another machine and back, by what every machine allows: to open a connection."""

import socket
import time
from statistics import median

from loadtests.results.battle import RoundTrip
from loadtests.settings import BadSetting, authority

_TIMES = 21
_TIMEOUT_S = 3.0


def round_trip(host: str, port: int) -> RoundTrip:
    """Return the milliseconds that it takes to connect: the kernels answer each other, no program has to wake up.

    Raises BadSetting when there is no connection.
    """
    took_ms = []
    for _ in range(_TIMES):
        begun = time.perf_counter()
        try:
            socket.create_connection((host, port), timeout=_TIMEOUT_S).close()
        except OSError as error:
            here = socket.gethostname()
            where = authority(host, port)
            raise BadSetting(f"{where} cannot be reached from {here}: {error.strerror or error}") from None
        took_ms.append((time.perf_counter() - begun) * 1000)
    return RoundTrip(median=round(median(took_ms), 3), least=round(min(took_ms), 3), most=round(max(took_ms), 3))
