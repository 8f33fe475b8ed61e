"""Tornado with PyMongo's AsyncMongoClient: ``python serve_pymongo.py``."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pymongo import AsyncMongoClient

from config import Config
from serving.server import run

# The goodbye to the server, which may be frozen.
_CLOSE_LIMIT_S = 1


@asynccontextmanager
async def connect(config: Config) -> AsyncIterator[AsyncMongoClient[Any]]:
    client: AsyncMongoClient[Any] = AsyncMongoClient(config.mongodb_uri, **config.mongodb_options)
    try:
        yield client
    finally:
        await asyncio.wait([asyncio.ensure_future(client.close())], timeout=_CLOSE_LIMIT_S)


if __name__ == "__main__":
    sys.exit(run(connect))
