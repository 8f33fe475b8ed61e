"""The two fixture documents, the same on every machine and on every day.

``small()`` is the document of the 2014 article. ``big()`` is an article record as a content management system keeps
it: hundreds of fields, 6 to 10 KB of BSON. Both hold only types and values whose relaxed Extended JSON is
byte-identical on every stack (docs/contract.md).
"""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from bson import ObjectId, json_util
from bson.int64 import Int64

Document = dict[str, Any]

SMALL_COLLECTION = "articles"
BIG_COLLECTION = "articles_big"

_SMALL_ID = ObjectId("53909ff6e4b0f0a1c2d3e401")
_BIG_ID = ObjectId("53909ff6e4b0f0a1c2d3e402")
_PUBLISHED = datetime(2014, 6, 1, 12, 0, 0, 123_000, tzinfo=UTC)

_WORDS = (
    *("server", "socket", "thread", "événement", "boucle", "größe", "Übung", "naïve", "café", "東京", "данные", "βήτα"),
    *("latency", "driver", "cursor", "request", "worker", "queue", "article", "reader", "editor", "press", "série"),
    *("jalapeño", "Łódź", "İstanbul", "smörgåsbord", "🚀"),
)
_CHANNELS = ("web", "mobile", "print", "feed", "search", "social", "partner", "archive", "mail", "tv", "radio", "kiosk")
_LANGUAGES = ("en", "de", "fr", "es", "it", "pl", "cs", "el", "ru", "ja", "zh", "ko", "pt", "nl", "sv", "tr")
_COUNTRIES = ("us", "gb", "de", "fr", "es", "it", "pl", "jp", "br", "in", "se", "tr")


def small() -> Document:
    """Return the small document: an ``_id`` and one string."""
    return {"_id": _SMALL_ID, "canonicalUrl": "http://foo.com"}


def big() -> Document:
    """Return the big document: over 200 top-level fields, nested documents and arrays among them."""
    # Only Random.random() is promised to give the same sequence on every version of Python.
    rng = Random(2014)
    document: Document = {
        "_id": _BIG_ID,
        "canonicalUrl": "http://foo.com/2014/06/battle-of-the-server-stacks?ref=front&lang=en",
        "title": 'Battle: "events" against threads — čtení, écriture & 東京',
        "slug": "battle-of-the-server-stacks",
        "summary": _sentence(rng, 24),
        "lead": _sentence(rng, 40) + '\n\tEnd of lead \\ with a backslash / a slash and a quote ".',
        "published": True,
        "archived": False,
        "embargoUntil": None,
        "deletedAt": None,
        "revision": 17,
        "viewsTotal": Int64(5_812_345_678_901),
        "checksum": Int64(-(2**53) + 1),
        "score": 4.375,
        "createdAt": _PUBLISHED - timedelta(days=12),
        "updatedAt": _PUBLISHED + timedelta(days=3, milliseconds=877),
        "firstEditionAt": datetime(1970, 1, 1, tzinfo=UTC),
        "rightsExpireAt": datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC),
        "author": {
            "id": _object_id(1),
            "name": "Zoë Łukasiewicz",
            "mail": "zoe@example.com",
            "joined": datetime(2009, 2, 28, 8, 30, tzinfo=UTC),
            "address": {"city": "Kraków", "zip": "31-042", "geo": {"lat": 50.0614, "lon": 19.9366}},
            "roles": ["writer", "éditrice"],
        },
        "tags": ["mongodb", "gevent", "tornado", "node", "play", "größe", "東京", ""],
        "related": [{"id": _object_id(10 + i), "title": _sentence(rng, 4), "weight": _fraction(rng)} for i in range(4)],
        "matrix": [[1, 2, 3], [4.5, None, True], []],
        "settings": {},
    }
    for language in _LANGUAGES:
        document[f"title_{language}"] = _sentence(rng, 7)
        document[f"words_{language}"] = int(rng.random() * 4000)
    for channel in _CHANNELS:
        document[f"{channel}Enabled"] = rng.random() < 0.7
        document[f"{channel}Since"] = _PUBLISHED + timedelta(seconds=int(rng.random() * 1e8))
        document[f"{channel}Clicks"] = Int64(2**33 + int(rng.random() * 1e9))
        document[f"{channel}Rate"] = _fraction(rng)
        document[f"{channel}Note"] = None if rng.random() < 0.5 else _sentence(rng, 6)
        document[f"{channel}Meta"] = {"v": int(rng.random() * 99), "ok": rng.random() < 0.5}
    for country in _COUNTRIES:
        document[f"price_{country}"] = round(1 + rng.random() * 900, 2) + 0.003
        document[f"stock_{country}"] = int(rng.random() * 10_000) - 5_000
        document[f"legal_{country}"] = rng.random() < 0.5
        document[f"agency_{country}"] = _object_id(100 + len(document))
        document[f"label_{country}"] = _sentence(rng, 5)
    for number in range(1, 31):
        document[f"metric{number:02}"] = _fraction(rng)
    return document


def extended_json(document: Document) -> bytes:
    """Return the contract's body for ``document``, compact relaxed Extended JSON v2, by the driver's own writer."""
    options = json_util.RELAXED_JSON_OPTIONS
    return json_util.dumps(document, json_options=options, separators=(",", ":"), ensure_ascii=False).encode()


def _object_id(number: int) -> ObjectId:
    return ObjectId(f"{0x53909FF6:08x}{number:016x}")


def _sentence(rng: Random, words: int) -> str:
    return " ".join(_WORDS[int(rng.random() * len(_WORDS))] for _ in range(words))


def _fraction(rng: Random) -> float:
    # Half a thousandth more than a whole number of thousandths is never a whole number.
    return int(rng.random() * 1e6) / 1000 + 0.0005
