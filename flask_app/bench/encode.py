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
from timeit import timeit
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
    ours_us: list[float] = []
    theirs_us: list[float] = []
    deadline = time.monotonic() + (3 if os.environ.get("BENCH_QUICK") == "1" else 10)
    while time.monotonic() < deadline:
        for encoder, times in ((encode, ours_us), (by_driver, theirs_us)):
            times.append(timeit(lambda: encoder(decode(data)), number=_CALLS) / _CALLS * 1e6)  # noqa: B023
    ours, theirs = _spread("extended_json.encode", ours_us), _spread("json_util.dumps", theirs_us)
    ratio = ours["median"] / theirs["median"]
    print(f"ratio {ratio:.2f}: {len(data):,} bytes of BSON, {len(ours_us)} rounds of {_CALLS} documents")
    names = {"encoder": "extended_json.encode", "baseline": "json_util.dumps"}
    print(json.dumps({**names, "encoder_us": ours, "baseline_us": theirs, "ratio": round(ratio, 3)}))
    return 0


def _spread(name: str, times_us: list[float]) -> dict[str, float]:
    print(f"{name:<22} median {median(times_us):7.1f} us, {min(times_us):.1f} to {max(times_us):.1f}")
    return {"median": round(median(times_us), 1), "least": round(min(times_us), 1), "most": round(max(times_us), 1)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
