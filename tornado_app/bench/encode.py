"""Time the encoder against the driver's own: ``python -m bench.encode FILE``, FILE holding one BSON document.

Each figure is decoding the BSON and encoding it as JSON, in microseconds for a document. The two take turns, so that
a change in the machine's speed falls on both. The last line is the result as JSON.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import bson
from bson import json_util

from database import CODEC
from extended_json import encode

_CALLS = 50


def by_driver(document: dict[str, Any]) -> bytes:
    options = json_util.RELAXED_JSON_OPTIONS
    return json_util.dumps(document, json_options=options, separators=(",", ":"), ensure_ascii=False).encode()


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or not Path(arguments[0]).is_file():
        print("usage: python -m bench.encode FILE, FILE holding one BSON document", file=sys.stderr)
        return 2
    data = Path(arguments[0]).read_bytes()
    encoders = {"extended_json.encode": encode, "json_util.dumps": by_driver}
    seconds = 3 if os.environ.get("BENCH_QUICK") == "1" else 10
    taken_us: dict[str, list[float]] = {name: [] for name in encoders}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for name, encoder in encoders.items():
            taken_us[name].append(_time_us(encoder, data))
    spread = {name: _spread(times) for name, times in taken_us.items()}
    for name, figures in spread.items():
        print(f"{name:<22} median {figures['median']:7.1f} us, {figures['least']:.1f} to {figures['most']:.1f}")
    ours, theirs = spread.values()
    ratio = ours["median"] / theirs["median"]
    names = list(encoders)
    print(f"ratio {ratio:.2f}: {len(data):,} bytes of BSON, {len(taken_us[names[0]])} rounds of {_CALLS} documents")
    result = {
        "encoder": names[0],
        "encoder_us": ours,
        "baseline": names[1],
        "baseline_us": theirs,
        "ratio": round(ratio, 3),
    }
    print(json.dumps(result))
    return 0


def _time_us(encoder: Callable[[dict[str, Any]], bytes], data: bytes) -> float:
    started = time.perf_counter()
    for _ in range(_CALLS):
        encoder(bson.decode(data, CODEC))
    return (time.perf_counter() - started) / _CALLS * 1e6


def _spread(times: list[float]) -> dict[str, float]:
    return {"median": round(median(times), 1), "least": round(min(times), 1), "most": round(max(times), 1)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
