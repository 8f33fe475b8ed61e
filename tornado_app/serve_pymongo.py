"""Tornado with PyMongo's AsyncMongoClient: ``python serve_pymongo.py``."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pymongo import AsyncMongoClient

from config import Config
from serving.server import run


@asynccontextmanager
async def connect(config: Config) -> AsyncIterator[AsyncMongoClient[Any]]:
    client: AsyncMongoClient[Any] = AsyncMongoClient(config.mongodb_uri, **config.mongodb_options)
    try:
        yield client
    finally:
        # It says goodbye to a server that may be frozen.
        await asyncio.wait([asyncio.ensure_future(client.close())], timeout=1)


if __name__ == "__main__":
    sys.exit(run(connect))
