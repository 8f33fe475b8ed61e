"""What MongoDB stores and a driver may take for something of its own: odd names, every type at its edges, old forms."""

from typing import Any

import pytest
from bson.raw_bson import RawBSONDocument
from hypothesis import assume, given
from hypothesis import strategies as st
from pymongo.database import Database
from pymongo.errors import OperationFailure

from loadtests.stacks.server import Server
from shared.documents import Document
from tests.contract import raw_bson as raw
from tests.contract.test_documents import generated
from tests.harness.exchange import ask

# Names that mean something to a driver, a language, or Extended JSON itself. Here they are the user's.
_SPECIAL_NAMES = (
    *(
        "$ref",
        "$id",
        "$db",
        "$ref",
        "$id",
        "$oid",
        "$date",
        "$numberLong",
        "$numberDouble",
        "$binary",
        "$uuid",
        "$type",
    ),
    *(
        "$code",
        "$scope",
        "$undefined",
        "$regularExpression",
        "$symbol",
        "$dbPointer",
        "$minKey",
        "$timestamp",
        "$",
        "$$",
    ),
    *("__proto__", "constructor", "prototype", "hasOwnProperty", "toString", "valueOf", "toJSON", "toBSON", "then"),
    *(
        "_bsontype",
        "length",
        "size",
        "keys",
        "items",
        "get",
        "class",
        "__class__",
        "self",
        "_id",
        "id",
        "raw",
        "buffer",
    ),
    *("", " ", ".", "a.b", "$a.b", ".a", "a.", "é", "\u2028", '"', "\\", "null", "NaN", "-1", "1.5", "1e3", "x", "x"),
)
_NUMERIC_NAMES = ("0", "1", "00", "10", "9", "4294967295")
_SMALL_VALUES = st.sampled_from(
    [
        *(raw.int32(1), raw.int64(2**60), raw.double(1.5), raw.TRUE, raw.NULL, raw.text("t"), raw.text("articles")),
        *(raw.object_id(bytes(range(12))), raw.date(0, "1970-01-01T00:00:00Z"), raw.double_of(0x7FF8 << 48, "NaN")),
        *(raw.binary(b"a", 0), raw.code("f", raw.document([("$ref", raw.text("c")), ("$id", raw.int32(1))]))),
    ]
)


def _trees(names: Any) -> Any:
    def grown(inner: Any) -> Any:
        fields = st.lists(st.tuples(names, inner), max_size=6)
        return fields.map(raw.document) | st.lists(inner, max_size=4).map(raw.array)

    return st.recursive(_SMALL_VALUES, grown, max_leaves=14)


def test_names_are_the_users_whatever_they_mean_elsewhere(server: Server, database: Database[Document]) -> None:
    """At the top, nested and in arrays, doubled and in any order."""
    # An object of JavaScript has these first, in rising order (docs/contract.md, known limits).
    numeric = () if server.stack.app.name == "node_app" else _NUMERIC_NAMES
    names = st.sampled_from([*_SPECIAL_NAMES, *numeric])
    top = names.filter(lambda name: name != "_id")

    @generated(120)
    @given(st.lists(st.tuples(top, _trees(names)), max_size=7))
    def identical(fields: list[tuple[str, raw.Value]]) -> None:
        stored = raw.document([("_id", raw.int32(1)), *fields])
        assume(_is_stored(database, stored))
        reply = ask(server, "/mongo")
        assert (reply.status, raw.differences(raw.read(reply.body), stored.means)) == (200, [])

    identical()


_YEAR_10000_MS = 253_402_300_800_000
# High and low half: zeros, ones, the ends of the exponent, the infinities, each kind of NaN, exponents that show.
_DECIMALS = [
    *((0x3040 << 48, 0), (0xB040 << 48, 0), (0x3040 << 48, 1), (0, 1), (0x5FFE << 48, 1), (0x5FFE << 48, 0), (0, 0)),
    *(
        (0x7800 << 48, 0),
        (0xF800 << 48, 0),
        (0x7C00 << 48, 0),
        (0x7C00 << 48, 12),
        (0xFC00 << 48, 0),
        (0x7E00 << 48, 0),
    ),
    *((0x5FFFED09BEAD87C0, 0x378D8E63FFFFFFFF), (0x302E << 48, 12345), (0x3032 << 48, 10), (0x3050 << 48, 7)),
]
EDGES: dict[str, raw.Value] = {
    **{
        f"double {value!r}": raw.double(value)
        for value in (0.0, -0.0, 5e-324, 1e21, 1e-7, -1e300, 2.0**53 + 2, 1e15, 0.1)
    },
    "NaN with a payload": raw.double_of(0x7FF4DEADBEEF0001, "NaN"),
    "NaN with a sign": raw.double_of(0xFFF8 << 48, "NaN"),
    "minus Infinity": raw.double_of(0xFFF0 << 48, "-Infinity"),
    **{
        f"text {value!a:.20}": raw.text(value)
        for value in ("", "a\0b", "\ufeff", "\uffff", "\u2028", "🚀", "\x7f", "</script>")
    },
    **{
        f"text {value!r}": raw.text(value)
        for value in (b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80")
    },
    **{f"binary {kind:#x}": raw.binary(b"\x00\xff", kind) for kind in (0, 1, 6, 8, 10, 0x7F, 0x80, 0x81, 0xFF)},
    **{f"binary {kind:#x} of 16": raw.binary(bytes(range(16)), kind) for kind in (0, 3, 4, 5, 7, 9)},
    **{f"short binary {kind:#x}": raw.binary(b"abc", kind) for kind in (3, 4, 5, 7, 9)},
    **{f"empty binary {kind:#x}": raw.binary(b"", kind) for kind in (0, 3, 4, 5, 9, 0x80)},
    "old binary": raw.old_binary(b"abc"),
    "old binary, empty": raw.old_binary(b""),
    **{f"object id {byte:#x}": raw.object_id(bytes([byte]) * 12) for byte in (0, 0x7F, 0xFF)},
    **{f"date {ms}": raw.date(ms) for ms in (-1, -62_135_596_800_001, _YEAR_10000_MS, 8_640_000_000_000_000)},
    "date 0": raw.date(0, "1970-01-01T00:00:00Z"),
    "date 1": raw.date(1, "1970-01-01T00:00:00.001Z"),
    "last date of 9999": raw.date(_YEAR_10000_MS - 1, "9999-12-31T23:59:59.999Z"),
    **{f"date {ms} for no Date of JavaScript": raw.date(ms) for ms in (-(2**63), 2**63 - 1, 8_640_000_000_000_001)},
    **{f"regex with {options!r}": raw.regex('^a/b"\\d', options) for options in ("", "i", "xsmi", "ilmsux")},
    "regex of nothing": raw.regex("", ""),
    "regex that no engine takes": raw.regex("(?<a", "i"),
    **{f"int32 {value}": raw.int32(value) for value in (0, -(2**31), 2**31 - 1)},
    **{f"int64 {value}": raw.int64(value) for value in (0, -1, 2**53, -(2**53) - 1, 2**53 + 1, -(2**63), 2**63 - 1)},
    **{f"timestamp {a} {b}": raw.timestamp(a, b) for a, b in ((0, 1), (2**32 - 1, 2**32 - 1), (2**31, 1), (1, 2**31))},
    **{f"decimal {high:x} {low:x}": raw.decimal(high, low) for high, low in _DECIMALS},
    "min key": raw.MIN_KEY,
    "max key": raw.MAX_KEY,
    "undefined": raw.UNDEFINED,
    "symbol": raw.Value(14, raw.text("s").stored, raw.ANYTHING),
    "DBPointer": raw.db_pointer("a", bytes(12)),
    "code": raw.code("a\0b\u2028"),
    "code with a scope of everything": raw.code(
        "", raw.document([("a", raw.int64(2**60)), ("", raw.MIN_KEY), ("x", raw.NULL)])
    ),
    "DBRef": raw.document(
        [("$ref", raw.text("fs.files")), ("$id", raw.object_id(bytes(12))), ("$db", raw.text("other"))]
    ),
    "DBRef without a database": raw.document([("$ref", raw.text("a")), ("$id", raw.NULL), ("$db", raw.NULL)]),
    "DBRef with more": raw.document(
        [("$ref", raw.text("a")), ("x", raw.int32(1)), ("$id", raw.int32(2)), ("y", raw.int64(2**60))]
    ),
    "DBRef the other way round": raw.document([("$id", raw.int32(1)), ("$ref", raw.text("a.b"))]),
    "DBRef of odd types": raw.document([("$ref", raw.int32(1)), ("$id", raw.array([])), ("$db", raw.document([]))]),
    "half a DBRef": raw.document([("$ref", raw.text("a"))]),
    "array with names": raw.array([raw.int32(1), raw.int32(2), raw.int32(3)], ["5", "x", "5"]),
    "array without names": raw.array([raw.int32(1), raw.NULL], ["", ""]),
    "long name": raw.document([("n" * 100_000, raw.int32(1))]),
    "empty document": raw.document([]),
    "empty array": raw.array([]),
}


# No driver of today writes these, but MongoDB stores them.
MALFORMED: dict[str, raw.Value] = {
    **{f"old binary of a wrong length {length}": raw.old_binary(b"abc", length) for length in (-1, 0, 2, 4, 2**31 - 1)},
    "binary 2 without its length": raw.Value(5, b"\2\0\0\0\2ab", raw.ANYTHING),
    "vector that breaks its rules": raw.binary(b"\x10\x07\xff", 9),
    **{f"regex with options {given!r}": raw.regex("a", given, raw.ANYTHING) for given in ("g", "zi", "ii", "é", "/")},
    # Digits that are more than 34, which no number of the standard has.
    "decimal of 35 digits": raw.Value(19, raw.decimal(0x3041ED09BEAD87C0, 0x378D8E6400000000).stored, raw.ANYTHING),
    "decimal of too many digits": raw.Value(19, raw.decimal(0x6C10 << 48, 5).stored, raw.ANYTHING),
    "symbol that is no UTF-8": raw.text(b"\xff", 14),
    "names that are no UTF-8": raw.document([(b"\xff", raw.int32(1)), (b"a\xc3", raw.int32(2))]),
}


@pytest.mark.parametrize("values", [EDGES, MALFORMED], ids=["edges", "malformed"])
def test_every_type_is_answered_with_what_is_stored(
    server: Server, database: Database[Document], values: dict[str, raw.Value]
) -> None:
    wrong = {}
    for name, value in values.items():
        if server.stack.app.name == "node_app" and "for no Date of JavaScript" in name:
            value = raw.Value(value.kind, value.stored, raw.ANYTHING)  # docs/contract.md, known limits
        inside = raw.document([("a", raw.array([value, raw.text("after")])), ("d", raw.document([("v", value)]))])
        stored = raw.document([("_id", raw.text("x")), ("v", value), ("inside", inside), ("last", raw.int32(7))])
        assert _is_stored(database, stored), name
        reply = ask(server, "/mongo")
        found = raw.differences(raw.read(reply.body), stored.means) if reply.status == 200 else [str(reply.body)]
        if found:
            wrong[name] = found
    assert wrong == {}


@pytest.mark.parametrize("name", ["int", "text", "null", "document", "NaN", "min key", "binary", "date", "false"])
def test_an_id_of_any_type(server: Server, database: Database[Document], name: str) -> None:
    own = raw.document([("b", raw.int32(1)), ("a", raw.NULL), ("", raw.TRUE)])
    ids = {"int": raw.int64(2**60), "text": raw.text(""), "null": raw.NULL, "document": own, "min key": raw.MIN_KEY}
    ids |= {
        "NaN": raw.double_of(0x7FF8 << 48, "NaN"),
        "binary": raw.binary(b"", 4),
        "false": raw.FALSE,
        "date": raw.date(-1),
    }
    stored = raw.document([("_id", ids[name]), ("a", raw.int32(1))])
    assert _is_stored(database, stored)
    assert raw.differences(raw.read(ask(server, "/mongo").body), stored.means) == []


def test_documents_as_deep_as_mongodb_stores_them(server: Server, database: Database[Document]) -> None:
    leaf = raw.document([("leaf", raw.int64(2**60))])

    def nested(levels: int, of_arrays: bool) -> raw.Value:
        value = leaf
        for _ in range(levels):
            value = raw.array([value]) if of_arrays else raw.document([("$ref", raw.text("c")), ("$id", value)])
        return raw.document([("_id", raw.int32(1)), ("v", value)])

    for of_arrays in (False, True):
        deepest = next(
            nested(levels, of_arrays)
            for levels in range(220, 90, -1)
            if _is_stored(database, nested(levels, of_arrays))
        )
        reply = ask(server, "/mongo")
        assert (reply.status, raw.differences(raw.read(reply.body), deepest.means)) == (200, [])


def _is_stored(database: Database[Document], document: raw.Value) -> bool:
    """Store ``document`` as the only one, unless MongoDB refuses it."""
    database["articles"].delete_many({})
    try:
        database["articles"].insert_one(RawBSONDocument(document.stored))
    except OperationFailure:
        return False
    return True
