"""A document on the wire: the same bytes on every stack where the contract says so, the same meaning elsewhere."""

import json
import math
import re
import struct
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import (
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
from bson.raw_bson import RawBSONDocument
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo import MongoClient
from pymongo.database import Database

from loadtests.stacks.server import Server
from shared.documents import Document, extended_json
from tests.conftest import StartServer, chosen_stacks, prepared
from tests.harness.exchange import ask

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = int((datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC) - _EPOCH) / timedelta(milliseconds=1))

# Node reorders keys that look like integers, and says so in its README.
_KEYS = st.text(st.characters(codec="utf-8", exclude_characters="\0$."), min_size=1, max_size=12).filter(
    lambda key: not key.isdecimal() and key not in ("_id", "__proto__")
)
_DOUBLES = st.floats(min_value=1e-3, max_value=1e7, exclude_max=True).filter(lambda x: not x.is_integer())
_VALUES = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**53), 2**53).map(Int64),
    st.one_of(_DOUBLES, _DOUBLES.map(lambda x: -x)),
    st.booleans(),
    st.none(),
    st.binary(min_size=12, max_size=12).map(ObjectId),
    st.integers(0, _LAST_MS).map(lambda ms: _EPOCH + timedelta(milliseconds=ms)),
)
_DOCUMENTS = st.dictionaries(
    _KEYS,
    st.recursive(
        _VALUES,
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_KEYS, inner, max_size=4)),
        max_leaves=12,
    ),
    max_size=8,
)


def generated(examples: int) -> settings:
    # The same documents in every run: a red run must be one that can be repeated.
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def test_generated_documents_are_in_the_drivers_own_form(server: Server, database: Database[Document]) -> None:
    @generated(60)
    @given(_DOCUMENTS)
    def identical(document: Document) -> None:
        stored = _store(database, document)
        assert ask(server, "/mongo").body == extended_json(stored)

    identical()


def test_all_stacks_answer_generated_documents_with_the_same_bytes(
    start_server: StartServer, mongo: MongoClient[Document]
) -> None:
    with ExitStack() as started:
        servers = _start_all(started, start_server)
        database = mongo["articles_on_all_stacks"]

        @generated(40)
        @given(_DOCUMENTS)
        def identical(document: Document) -> None:
            expected = extended_json(_store(database, document))
            bodies = {name: ask(server, "/mongo").body for name, server in servers.items()}
            assert bodies == dict.fromkeys(servers, expected)

        identical()


def _start_all(started: ExitStack, start_server: StartServer) -> dict[str, Server]:
    servers = {}
    for stack in chosen_stacks():
        try:
            prepared(stack.app)
        except pytest.skip.Exception:
            # The tests of that stack say why it is missing here.
            continue
        of_one = {"MONGODB_DATABASE": "articles_on_all_stacks", "WEB_CONCURRENCY": "1"}
        servers[stack.name] = started.enter_context(start_server(stack, **of_one))
    return servers


BY_MEANING: dict[str, Any] = {
    "NaN": math.nan,
    "Infinity": math.inf,
    "minus Infinity": -math.inf,
    "minus zero": -0.0,
    "whole double": 5.0,
    "large double": 1.7976931348623157e308,
    "small double": 5e-324,
    "double above the identical part": 12345678.5,
    "double below the identical part": 0.00012345,
    "int64 past 2^53": Int64(2**53 + 1),
    "least int64": Int64(-(2**63)),
    "greatest int64": Int64(2**63 - 1),
    "Decimal128": Decimal128("1.10"),
    "Decimal128 NaN": Decimal128("NaN"),
    "Decimal128 large": Decimal128("9.999999999999999999999999999999999E+6144"),
    "Binary": Binary(b"\x00\xff\x10", 0),
    "Binary of a user's subtype": Binary(b"abc", 0x80),
    "UUID": Binary(bytes(range(16)), 4),
    "Regex": Regex('^a/b"\\d', re.IGNORECASE | re.MULTILINE),
    "Timestamp": Timestamp(4294967295, 7),
    "MinKey": MinKey(),
    "MaxKey": MaxKey(),
    "DBRef": DBRef("articles", ObjectId("53909ff6e4b0f0a1c2d3e401"), "other"),
    "Code": Code("function() { return 1 }"),
    "Code with scope": Code("function() { return x }", {"x": 1}),
    "date before 1970": DatetimeMS(-1),
    "date before the year 1": DatetimeMS(-(10**15)),
    "date after 9999": DatetimeMS(10**15),
    # What a JavaScript Date holds.
    "least date": DatetimeMS(-8_640_000_000_000_000),
}


@pytest.mark.parametrize("name", BY_MEANING)
def test_other_values_mean_what_the_specification_says(server: Server, database: Database[Document], name: str) -> None:
    value = BY_MEANING[name]
    _store(database, {"top": value, "inside": {"a": [value, "text", None]}})
    reply = ask(server, "/mongo")
    assert reply.status == 200, reply.body
    found = json.loads(reply.body)
    expected = json.loads(json_util.dumps(value, json_options=json_util.RELAXED_JSON_OPTIONS))
    assert _comparable(found["top"]) == _comparable(expected)
    assert [_comparable(item) for item in found["inside"]["a"]] == [_comparable(expected), "text", None]


# What no driver of today makes any more, but old data holds. Each driver reads them as it can: never a 500.
DEPRECATED = {
    "undefined": b"\x06v\x00",
    "symbol": b"\x0ev\x00\x04\x00\x00\x00abc\x00",
    "DBPointer": b"\x0cv\x00\x02\x00\x00\x00a\x00" + bytes(12),
}


@pytest.mark.parametrize("name", DEPRECATED)
def test_deprecated_types_are_no_error(server: Server, database: Database[Document], name: str) -> None:
    element = b"\x07_id\x00" + bytes(12) + DEPRECATED[name]
    data = struct.pack("<i", len(element) + 5) + element + b"\x00"
    database["articles"].delete_many({})
    database["articles"].insert_one(RawBSONDocument(data))
    reply = ask(server, "/mongo")
    assert reply.status == 200, reply.body
    assert "v" in json.loads(reply.body)


def test_keys_that_other_languages_treat_specially(server: Server, database: Database[Document]) -> None:
    document = {
        "constructor": 1,
        "toString": {"hasOwnProperty": 2},
        "": 3,
        "with space": 4,
        "é\u2028": "\u2029\x7f\x1f",
    }
    stored = _store(database, document)
    assert ask(server, "/mongo").body == extended_json(stored)


@pytest.mark.parametrize("megabytes", [3, 15])
def test_a_large_document(server: Server, database: Database[Document], megabytes: int) -> None:
    stored = _store(database, {"values": [{"text": "größe " * 100, "n": n} for n in range(1250 * megabytes)]})
    assert ask(server, "/mongo").body == extended_json(stored)


def _store(database: Database[Document], document: Document) -> Document:
    stored = {"_id": ObjectId("53909ff6e4b0f0a1c2d3e4ff"), **document}
    database["articles"].delete_many({})
    database["articles"].insert_one(stored)
    return stored


def _comparable(value: Any) -> Any:
    """Return ``value`` such that equal means equal in JSON: -0.0 differs from 0, but 5 and 5.0 are one number."""
    if isinstance(value, dict):
        return {key: _comparable(inner) for key, inner in value.items()}
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return ("number", float(value) if abs(value) < 2**53 else value, math.copysign(1, value))
    return value
