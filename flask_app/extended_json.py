"""MongoDB documents to relaxed Extended JSON v2 (the MongoDB specification "Extended JSON"), compact and in UTF-8.

orjson writes what it writes exactly; each other value goes through the driver's own ``json_util``.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import Any

import orjson
from bson import ObjectId, json_util
from bson.int64 import Int64

_RELAXED = json_util.RELAXED_JSON_OPTIONS
# orjson would write datetimes in its own format, and bson's Code (a str) and DBRef's SON (a dict) as plain values.
_ORJSON = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS


def encode(document: Mapping[str, Any]) -> bytes:
    """Return ``document``, as the driver decodes it by default (UUIDs as Binary). Raises TypeError for no BSON type."""
    try:
        body = orjson.dumps(document, default=_convert, option=_ORJSON)
    except orjson.JSONEncodeError:
        return _encode_by_driver(document)
    # orjson writes NaN and Infinity as null. Looking for them costs more than looking for a null.
    if b"null" in body and _holds_non_finite(document.values()):
        return _encode_by_driver(document)
    return body


def _encode_by_driver(document: Mapping[str, Any]) -> bytes:
    text = json_util.dumps(document, json_options=_RELAXED, separators=(",", ":"), ensure_ascii=False)
    # A lone surrogate, which BSON cannot hold but a Python string can, has no UTF-8.
    return text.encode(errors="replace")


def _convert(value: Any) -> Any:
    kind = type(value)
    if kind is Int64:
        return int(value)
    if kind is datetime:
        return _date(value)
    if kind is ObjectId:
        return {"$oid": value.binary.hex()}
    if isinstance(value, dict):
        if _holds_non_finite(value.values()):
            raise ValueError("left to the driver's writer")
        return dict(value)
    return json_util.default(value, _RELAXED)


def _date(moment: datetime) -> Any:
    # The driver decodes dates, which are UTC, as naive datetimes unless it is told otherwise.
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    if moment.year < 1970:
        return json_util.default(moment, _RELAXED)
    return {"$date": moment.isoformat(timespec="milliseconds" if moment.microsecond >= 1000 else "seconds") + "Z"}


def _holds_non_finite(values: Iterable[Any]) -> bool:
    for value in values:
        # Exact types, which cost half of isinstance here: subclasses go through _convert.
        kind = type(value)
        if kind is float and not isfinite(value):
            return True
        if (kind is dict and _holds_non_finite(value.values())) or (kind is list and _holds_non_finite(value)):
            return True
    return False
