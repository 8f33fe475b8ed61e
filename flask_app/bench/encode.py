"""Time decoding and encoding, in us a document, beside the driver's encoder: ``python -m bench.encode FILE`` (BSON)."""

import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median
from timeit import timeit

from bson.json_util import RELAXED_JSON_OPTIONS, dumps

from database import decode
from extended_json import encode

_CALLS = 50
_BY_DRIVER = partial(dumps, json_options=RELAXED_JSON_OPTIONS, separators=(",", ":"), ensure_ascii=False)


def main(file: str) -> None:
    data = Path(file).read_bytes()
    rounds: list[list[float]] = []
    deadline = time.monotonic() + (3 if os.environ.get("BENCH_QUICK") == "1" else 10)
    while time.monotonic() < deadline:
        timed = (lambda: encode(decode(data)), lambda: _BY_DRIVER(decode(data)).encode())
        rounds.append([timeit(call, number=_CALLS) / _CALLS * 1e6 for call in timed])
    result: dict[str, object] = {"encoder": "extended_json.encode", "baseline": "json_util.dumps"}
    for name, times in zip(("encoder", "baseline"), zip(*rounds, strict=True), strict=True):
        least, middle, most = (round(figure, 1) for figure in (min(times), median(times), max(times)))
        result[f"{name}_us"] = {"median": middle, "least": least, "most": most}
        print(f"{result[name]:<22} median {middle:7.1f} us, {least} to {most}")
    ratio = median(ours for ours, _ in rounds) / median(theirs for _, theirs in rounds)
    print(f"ratio {ratio:.2f}: {len(data):,} bytes of BSON, {len(rounds)} rounds of {_CALLS} documents")
    print(json.dumps({**result, "ratio": round(ratio, 3)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
