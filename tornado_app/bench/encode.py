"""Time the encoder against the driver's own: ``python -m bench.encode FILE``, FILE holding one BSON document.

Each figure is decoding the BSON and encoding it as JSON, in microseconds for a document. The two take turns, so that
a change in the machine's speed falls on both. The last line is the result as JSON.
"""

import json
import os
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from bson import json_util

from database import decode
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
    ours, theirs = "extended_json.encode", "json_util.dumps"
    taken_us: dict[str, list[float]] = {ours: [], theirs: []}
    deadline = time.monotonic() + (3 if os.environ.get("BENCH_QUICK") == "1" else 10)
    while time.monotonic() < deadline:
        for name, encoder in ((ours, encode), (theirs, by_driver)):
            started = time.perf_counter()
            for _ in range(_CALLS):
                encoder(decode(data))
            taken_us[name].append((time.perf_counter() - started) / _CALLS * 1e6)
    figures = {}
    for name, times in taken_us.items():
        least, middle, most = (round(figure, 1) for figure in (min(times), median(times), max(times)))
        figures[name] = {"median": middle, "least": least, "most": most}
        print(f"{name:<22} median {middle:7.1f} us, {least:.1f} to {most:.1f}")
    ratio = figures[ours]["median"] / figures[theirs]["median"]
    print(f"ratio {ratio:.2f}: {len(data):,} bytes of BSON, {len(taken_us[ours])} rounds of {_CALLS} documents")
    result = {"encoder": ours, "encoder_us": figures[ours], "baseline": theirs, "baseline_us": figures[theirs]}
    print(json.dumps(result | {"ratio": round(ratio, 3)}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
