"""The encoder against the specification's own texts, and against the driver's writer on generated documents."""

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import bson
import pytest
from bson import (
    SON,
    Binary,
    Code,
    DatetimeMS,
    DBRef,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
    json_util,
)
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument
from hypothesis import given
from hypothesis import strategies as st

from database import CODEC
from extended_json import encode

OID = ObjectId("53909ff6e4b0f0a1c2d3e401")


def stored(document: dict[str, Any], options: Any = CODEC) -> Any:
    """Return ``document`` as a query finds it."""
    return bson.decode(bson.encode(document), options)


def by_the_driver(document: Any) -> bytes:
    options = json_util.RELAXED_JSON_OPTIONS
    text = json_util.dumps(document, json_options=options, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def parsed(body: bytes) -> Any:
    """Return what ``body`` says, with the order of keys, -0.0, and the difference between 4 and 4.0."""
    return json.loads(
        body,
        object_pairs_hook=lambda pairs: ("object", pairs),
        parse_float=lambda text: ("double", float(text).hex()),
        parse_int=lambda text: ("integer", int(text)),
        parse_constant=lambda text: pytest.fail(f"{text} is no JSON"),
    )


# What the specification's relaxed form says of each BSON type.
SPECIFIED = {
    "double": (1.5, "1.5"),
    "integral double": (4.0, "4.0"),
    "negative zero": (-0.0, "-0.0"),
    "NaN": (math.nan, '{"$numberDouble":"NaN"}'),
    "Infinity": (math.inf, '{"$numberDouble":"Infinity"}'),
    "-Infinity": (-math.inf, '{"$numberDouble":"-Infinity"}'),
    "string": ('é"\\/\n\u2028🚀', '"é\\"\\\\/\\n\u2028🚀"'),
    "document": ({"b": 1, "a": {}}, '{"b":1,"a":{}}'),
    "array": ([1, [], ["x"]], '[1,[],["x"]]'),
    "binary": (b"\x00\xff", '{"$binary":{"base64":"AP8=","subType":"00"}}'),
    "binary of a user's type": (Binary(b"\x00\xff", 128), '{"$binary":{"base64":"AP8=","subType":"80"}}'),
    "UUID": (Binary(b"\0" * 16, 4), '{"$binary":{"base64":"AAAAAAAAAAAAAAAAAAAAAA==","subType":"04"}}'),
    "ObjectId": (OID, '{"$oid":"53909ff6e4b0f0a1c2d3e401"}'),
    "boolean": (True, "true"),
    "null": (None, "null"),
    "date": (datetime(2014, 6, 1, 12, 0, 0, 123_000), '{"$date":"2014-06-01T12:00:00.123Z"}'),
    "date of a whole second": (datetime(2014, 6, 1, 12), '{"$date":"2014-06-01T12:00:00Z"}'),
    "date of 10 ms": (datetime(2014, 6, 1, 12, 0, 0, 10_000), '{"$date":"2014-06-01T12:00:00.010Z"}'),
    "first date": (datetime(1970, 1, 1), '{"$date":"1970-01-01T00:00:00Z"}'),
    "last date": (datetime(9999, 12, 31, 23, 59, 59, 999_000), '{"$date":"9999-12-31T23:59:59.999Z"}'),
    "date before 1970": (datetime(1969, 12, 31, 23, 59, 59, 999_000), '{"$date":{"$numberLong":"-1"}}'),
    "date after 9999": (DatetimeMS(253_402_300_800_000), '{"$date":{"$numberLong":"253402300800000"}}'),
    "least date": (DatetimeMS(-(2**63)), '{"$date":{"$numberLong":"-9223372036854775808"}}'),
    "regex": (Regex("a/b", "im"), '{"$regularExpression":{"pattern":"a/b","options":"im"}}'),
    "code": (Code("f()"), '{"$code":"f()"}'),
    "code with scope": (Code("f()", {"n": 1}), '{"$code":"f()","$scope":{"n":1}}'),
    "DBRef": (DBRef("c", OID, "d"), '{"$ref":"c","$id":{"$oid":"53909ff6e4b0f0a1c2d3e401"},"$db":"d"}'),
    "int32": (-(2**31), "-2147483648"),
    "int64": (Int64(5), "5"),
    "int64 past 2^53": (Int64(2**63 - 1), "9223372036854775807"),
    "least int64": (Int64(-(2**63)), "-9223372036854775808"),
    "timestamp": (Timestamp(4_294_967_295, 1), '{"$timestamp":{"t":4294967295,"i":1}}'),
    "decimal": (Decimal128("-1.20E+7"), '{"$numberDecimal":"-1.20E+7"}'),
    "decimal NaN": (Decimal128("NaN"), '{"$numberDecimal":"NaN"}'),
    "MinKey": (MinKey(), '{"$minKey":1}'),
    "MaxKey": (MaxKey(), '{"$maxKey":1}'),
}


@pytest.mark.parametrize(("value", "text"), SPECIFIED.values(), ids=SPECIFIED)
def test_each_type_as_the_specification_says(value: Any, text: str) -> None:
    document = stored({"v": value, "nested": {"v": [value]}})
    assert encode(document).decode() == f'{{"v":{text},"nested":{{"v":[{text}]}}}}'


NON_FINITE_PLACES = {
    "in a document in a list": [{"deep": math.nan}],
    "in a list in a document": {"deep": [1.5, None, math.inf]},
    "beside a null": {"a": None, "b": -math.inf},
    "beside a text that says null": {"a": "null", "b": math.nan},
    "in a DBRef": DBRef("c", math.nan, extra=[math.inf]),
    "in a scope": Code("f()", {"n": math.nan}),
    "in a SON": SON([("n", math.nan)]),
    "in a SON in a list": [SON([("n", [math.inf])])],
}


@pytest.mark.parametrize("value", NON_FINITE_PLACES.values(), ids=NON_FINITE_PLACES)
def test_no_number_becomes_null(value: Any) -> None:
    assert parsed(encode({"v": value})) == parsed(by_the_driver({"v": value}))


def test_aware_dates_are_written_in_utc() -> None:
    east = timezone(timedelta(hours=2))
    assert encode({"v": datetime(2014, 6, 1, 14, 0, tzinfo=east)}) == b'{"v":{"$date":"2014-06-01T12:00:00Z"}}'
    # Which side of 1970 a date is on is a matter of UTC too.
    assert encode({"v": datetime(1970, 1, 1, 1, 0, tzinfo=east)}) == b'{"v":{"$date":{"$numberLong":"-3600000"}}}'
    assert encode({"v": datetime(9999, 12, 31, tzinfo=UTC)}) == b'{"v":{"$date":"9999-12-31T00:00:00Z"}}'


def test_microseconds_are_cut_off() -> None:
    assert encode({"v": datetime(2014, 6, 1, 12, 0, 0, 999)}) == b'{"v":{"$date":"2014-06-01T12:00:00Z"}}'
    assert encode({"v": datetime(2014, 6, 1, 12, 0, 0, 1999)}) == b'{"v":{"$date":"2014-06-01T12:00:00.001Z"}}'


def test_bytes_that_are_no_utf_8() -> None:
    raw = bson.encode({"v": "??"}).replace(b"??", b"\xff\xfe")
    document: dict[str, Any] = bson.decode(raw, CODEC)
    assert encode(document).decode() == '{"v":"\ufffd\ufffd"}'


def test_a_lone_surrogate() -> None:
    assert encode({"v": "a\ud800", "\udfff": 1}) == b'{"v":"a?","?":1}'


def test_an_integer_that_orjson_refuses() -> None:
    assert encode({"v": 2**64}) == b'{"v":18446744073709551616}'


def test_a_raw_document() -> None:
    assert encode(RawBSONDocument(bson.encode({"v": Int64(1)}))) == b'{"v":1}'


@pytest.mark.parametrize("depth", [99, 300])
def test_nesting(depth: int) -> None:
    """MongoDB stores 100 levels; orjson goes down 254."""
    document: dict[str, Any] = {"v": 1}
    for level in range(depth):
        document = {"v": [document]} if level % 2 else {"v": document}
    assert encode(document) == by_the_driver(document)


def test_keys_that_look_like_numbers_keep_their_order() -> None:
    assert encode({"10": 1, "9": 2, "": 3, "$x.y": 4}) == b'{"10":1,"9":2,"":3,"$x.y":4}'


def test_what_is_no_bson_type_is_refused() -> None:
    with pytest.raises(TypeError):
        encode({"v": object()})


any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
keys = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
int64 = st.integers(-(2**63), 2**63 - 1)
# The types and values whose bodies are the same bytes in every implementation.
exact = st.one_of(
    st.none(),
    st.booleans(),
    any_text,
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**53), 2**53).map(Int64),
    st.floats(1e-3, 1e7, exclude_max=True).filter(lambda number: number != int(number)),
    st.binary(min_size=12, max_size=12).map(ObjectId),
    st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31)),
)
scalars = st.one_of(
    exact,
    int64.map(Int64),
    st.floats(),
    st.sampled_from([0.0, -0.0, 1e16, 1e22, 5e-324, math.nan, math.inf, "null", "\x00", "\x7f", "\u2028"]),
    st.binary(max_size=9),
    st.builds(Binary, st.binary(max_size=9), st.sampled_from([5, 6, 7, 8, 128, 255])),
    st.binary(min_size=16, max_size=16).map(lambda data: Binary(data, 4)),
    st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)),
    int64.map(DatetimeMS),
    st.builds(Regex, st.text('ab/\\"é', max_size=4), st.sampled_from(["", "i", "imsx", "lux"])),
    st.builds(Timestamp, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
    st.binary(min_size=16, max_size=16).map(Decimal128.from_bid),
    st.just(MinKey()),
    st.just(MaxKey()),
    st.builds(Code, st.text("f() é", max_size=5)),
)


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
    )


values = st.recursive(
    nested(scalars),
    lambda inner: (
        st.builds(DBRef, any_text, inner, st.none() | any_text)
        | st.builds(Code, any_text, st.dictionaries(keys, inner, max_size=3))
    ),
    max_leaves=6,
)
DECODED = [
    CODEC,
    CODEC.with_options(tz_aware=True),
    CODEC.with_options(datetime_conversion=DatetimeConversion.DATETIME_MS),
    CodecOptions(document_class=SON, datetime_conversion=DatetimeConversion.DATETIME_AUTO),
]


@given(st.dictionaries(keys, values, max_size=6))
def test_generated_documents_parse_to_what_the_driver_writes(document: dict[str, Any]) -> None:
    for options in DECODED:
        decoded = stored(document, options)
        assert parsed(encode(decoded)) == parsed(by_the_driver(decoded))


@given(st.dictionaries(keys, nested(exact), max_size=6))
def test_generated_documents_of_the_exact_types_are_the_same_bytes(document: dict[str, Any]) -> None:
    decoded = stored(document)
    assert encode(decoded) == by_the_driver(decoded)
