"""A database that the user has brought is written by ``make seed`` alone, whatever it holds."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import bson
import dns.resolver
import pytest
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from loadtests.measure.database import Database, DatabaseGone
from loadtests.settings import ROOT
from shared.documents import Document
from shared.mongod import Mongod
from shared.seed import NotSeeded, require_fixtures

# What Python has no type for: a date after 9999, text that is no UTF-8, a name that is none.
_ODD = {
    "late": bson.encode({"_id": 1, "at": bson.DatetimeMS(300_000_000_000_000)}),
    "latin": bson.encode({"_id": 1, "name": "caf?"}).replace(b"caf?", b"caf\xe9"),
    "name": bson.encode({"_id": 1, "caf?": 1}).replace(b"caf?", b"caf\xe9"),
}


@pytest.fixture
def shop(mongo: MongoClient[Document], monkeypatch: pytest.MonkeyPatch, database_server: Mongod) -> Iterator[str]:
    """The URI of a database that a user has brought, which is empty."""
    mongo.drop_database("shop")
    monkeypatch.setenv("MONGODB_URI", f"{database_server.uri}/shop?appName=hush")
    monkeypatch.delenv("MONGODB_DATABASE", raising=False)
    yield os.environ["MONGODB_URI"]
    mongo.drop_database("shop")


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("odd", _ODD)
def test_documents_that_python_has_no_type_for_break_nothing(odd: str, shop: str, mongo: MongoClient[Document]) -> None:
    mongo["shop"]["articles"].insert_one(RawBSONDocument(_ODD[odd]))
    said = _run("-m", "shared", "seed")
    assert (said.returncode, said.stdout, said.stderr.count("\n")) == (2, "", 1), said
    assert "shop.articles holds documents that are not the fixtures; nothing was written" in said.stderr
    with pytest.raises(NotSeeded, match="are not the fixtures"):
        require_fixtures(shop)
    assert mongo["shop"].list_collection_names() == ["articles"]


@pytest.mark.xdist_group("battles of this clone")
def test_a_battle_writes_nothing_and_says_what_to_type(shop: str, mongo: MongoClient[Document]) -> None:
    said = _run("-m", "loadtests", "battle")
    assert (said.returncode, said.stdout, said.stderr.count("\n")) == (2, "", 1), said
    assert "`make seed`" in said.stderr and f"{shop.partition('?')[0]}:" in said.stderr
    assert "shop" not in mongo.list_database_names() and "hush" not in said.stderr


def test_make_seed_writes_and_says_where(shop: str, mongo: MongoClient[Document]) -> None:
    there = shop.partition("?")[0]
    assert _run("-m", "shared", "seed").stdout == f"2 of 2 fixture documents written: {there}\n"
    assert _run("-m", "shared", "seed").stdout == f"both fixture documents are there already: {there}\n"
    assert sorted(mongo["shop"].list_collection_names()) == ["articles", "articles_big"]
    require_fixtures(shop)


def test_the_database_is_the_variable_else_the_path_else_articles(
    shop: str, database_server: Mongod, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"{database_server.uri}/shop" in _run("-m", "shared", "status").stdout
    monkeypatch.setenv("MONGODB_DATABASE", "other")
    assert f"{database_server.uri}/other" in _run("-m", "shared", "status").stdout
    monkeypatch.delenv("MONGODB_DATABASE")
    monkeypatch.setenv("MONGODB_URI", database_server.uri)
    assert f"{database_server.uri}/articles" in _run("-m", "shared", "status").stdout


# A resolver that asks a name server which says nothing.
_SILENT = """
import sys, dns.resolver
dns.resolver.default_resolver = silent = dns.resolver.Resolver(configure=False)
silent.nameservers, silent.port = ["127.0.0.1"], {port}
from shared.__main__ import main
sys.exit(main(["seed"]))
"""


def test_a_silent_name_server_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as name_server:
        name_server.bind(("127.0.0.1", 0))
        port = name_server.getsockname()[1]
        monkeypatch.setenv("MONGODB_URI", "mongodb+srv://user:hush@cluster.example/shop")
        begun = time.monotonic()
        said = _run("-c", _SILENT.format(port=port))
        # As for a MongoDB that does not answer, and the start of Python; the resolver by itself takes 20 s.
        assert time.monotonic() - begun < 5 + 10
        assert (said.returncode, said.stdout, said.stderr.count("\n")) == (2, "", 1), said
        assert "name server does not answer" in said.stderr and "hush" not in said.stderr

        silent = dns.resolver.Resolver(configure=False)
        silent.nameservers, silent.port = ["127.0.0.1"], port
        monkeypatch.setattr("dns.resolver.default_resolver", silent)
        with Database(os.environ["MONGODB_URI"]) as database, pytest.raises(DatabaseGone, match="name server"):
            database.version()
