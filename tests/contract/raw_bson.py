"""BSON by hand, element for element: what MongoDB stores and no driver of today would write. And what it means."""

import base64
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bson import Decimal128

# In the place of a meaning: that it is there, and nothing more. Each driver reads such bytes as it can.
ANYTHING = object()


@dataclass(frozen=True)
class Value:
    """One value as it is stored, and what relaxed Extended JSON says of it; an object is a tuple of its pairs."""

    kind: int
    stored: bytes
    means: Any


Fields = Sequence[tuple[str | bytes, Value]]


def document(fields: Fields) -> Value:
    # A name that is stored twice is one name in every language: in its first place, with its last value.
    means: dict[Any, Any] = {name: value.means for name, value in fields}
    return Value(3, _framed(fields), tuple(means.items()))


def array(values: Sequence[Value], names: Sequence[str] | None = None) -> Value:
    """Return an array; ``names`` are those of its elements, by default 0, 1, 2 ... Nobody reads them."""
    named = list(zip(names or map(str, range(len(values))), values, strict=True))
    return Value(4, _framed(named), [value.means for value in values])


def _framed(fields: Fields) -> bytes:
    named = ((name.encode() if isinstance(name, str) else name, value) for name, value in fields)
    elements = b"".join(bytes([value.kind]) + name + b"\0" + value.stored for name, value in named)
    return struct.pack("<i", len(elements) + 5) + elements + b"\0"


def double(value: float, means: Any = None) -> Value:
    return Value(1, struct.pack("<d", value), value if means is None else means)


def double_of(bits: int, text: str) -> Value:
    return Value(1, struct.pack("<Q", bits), (("$numberDouble", text),))


def text(value: str | bytes, kind: int = 2) -> Value:
    stored = value.encode() if isinstance(value, str) else value
    means = value if isinstance(value, str) else ANYTHING
    return Value(kind, struct.pack("<i", len(stored) + 1) + stored + b"\0", means)


def binary(stored: bytes, subtype: int) -> Value:
    of_it = (("base64", base64.b64encode(stored).decode()), ("subType", f"{subtype:02x}"))
    return Value(5, struct.pack("<iB", len(stored), subtype) + stored, (("$binary", of_it),))


def old_binary(stored: bytes, inner_length: int | None = None) -> Value:
    """Return one of subtype 2, which holds its length once more; of a wrong one nobody knows what it means."""
    length = len(stored) if inner_length is None else inner_length
    framed = struct.pack("<iBi", len(stored) + 4, 2, length) + stored
    return Value(5, framed, binary(stored, 2).means if inner_length is None else ANYTHING)


def object_id(stored: bytes) -> Value:
    return Value(7, stored, (("$oid", stored.hex()),))


def date(milliseconds: int, means: Any = None) -> Value:
    """Return a date; ``means`` is its text where it is from 1970 to 9999."""
    outside = (("$numberLong", str(milliseconds)),)
    return Value(9, struct.pack("<q", milliseconds), (("$date", outside if means is None else means),))


def regex(pattern: str, options: str, means: Any = None) -> Value:
    of_it = (("pattern", pattern), ("options", "".join(sorted(options))))
    stored = f"{pattern}\0{options}\0".encode()
    return Value(11, stored, (("$regularExpression", of_it),) if means is None else means)


def db_pointer(collection: str, oid: bytes) -> Value:
    return Value(12, text(collection).stored + oid, ANYTHING)


def code(source: str, scope: Value | None = None) -> Value:
    if scope is None:
        return Value(13, text(source).stored, (("$code", source),))
    stored = text(source).stored + scope.stored
    return Value(15, struct.pack("<i", len(stored) + 4) + stored, (("$code", source), ("$scope", scope.means)))


def int32(value: int) -> Value:
    return Value(16, struct.pack("<i", value), value)


def timestamp(seconds: int, number: int) -> Value:
    return Value(17, struct.pack("<II", number, seconds), (("$timestamp", (("t", seconds), ("i", number))),))


def int64(value: int) -> Value:
    return Value(18, struct.pack("<q", value), value)


def decimal(high: int, low: int) -> Value:
    stored = struct.pack("<QQ", low, high)
    return Value(19, stored, (("$numberDecimal", str(Decimal128.from_bid(stored))),))


TRUE, FALSE, NULL = Value(8, b"\1", True), Value(8, b"\0", False), Value(10, b"", None)
UNDEFINED = Value(6, b"", ANYTHING)
MIN_KEY, MAX_KEY = Value(255, b"", (("$minKey", 1),)), Value(127, b"", (("$maxKey", 1),))


def read(body: bytes) -> Any:
    """Return JSON with each object as the tuple of its pairs, so that equal means equal in order and number too."""
    return json.loads(body, object_pairs_hook=tuple)


def differences(found: Any, expected: Any, where: str = "") -> list[str]:
    """Return where ``found`` is not what ``expected`` means, a line each."""
    if expected is ANYTHING:
        return []
    if isinstance(expected, tuple) and isinstance(found, tuple):
        # An invalid name has no one spelling.
        names = [name if isinstance(name, str) else ANYTHING for name, _ in expected]
        if len(found) != len(names) or any(
            b is not ANYTHING and a != b for (a, _), b in zip(found, names, strict=True)
        ):
            return [f"{where}: names {[name for name, _ in found]} instead of {names}"]
        pairs = [(f"{where}.{name}", a, b) for (name, a), (_, b) in zip(found, expected, strict=True)]
    elif isinstance(expected, list) and isinstance(found, list) and len(found) == len(expected):
        pairs = [(f"{where}[{place}]", a, b) for place, (a, b) in enumerate(zip(found, expected, strict=True))]
    else:
        return [] if _same(found, expected) else [f"{where}: {found!r:.80} instead of {expected!r:.80}"]
    return [line for deeper, a, b in pairs for line in differences(a, b, deeper)]


def _same(found: Any, expected: Any) -> bool:
    """Return whether both are one value: 5 and 5.0 are, 0.0 and -0.0 or 1 and true are not."""
    if isinstance(expected, bool) or isinstance(found, bool) or not isinstance(expected, (int, float)):
        return type(found) is type(expected) and bool(found == expected)
    if not isinstance(found, (int, float)):
        return False
    return bool(found == expected) and (str(found)[0] == "-") == (str(expected)[0] == "-")
