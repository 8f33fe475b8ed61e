"""Tornado with Motor: ``python serve_motor.py``."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Thread
from typing import Any

from config import Config
from serving.server import run
from serving.supervisor import report


@asynccontextmanager
async def connect(config: Config) -> AsyncIterator[Any]:
    # Motor runs PyMongo in a thread pool of its own, whose size it reads from here when it is imported.
    os.environ["MOTOR_MAX_WORKERS"] = str(config.threads)
    from motor.motor_tornado import MotorClient

    client = MotorClient(config.mongodb_uri, **config.mongodb_options)
    try:
        yield client
    finally:
        # Motor's close is the one call that blocks: it says goodbye to a server that may be frozen.
        closing = Thread(target=client.close, daemon=True)
        closing.start()
        closing.join(timeout=1)


if __name__ == "__main__":
    if "MOTOR_MAX_WORKERS" in os.environ:
        report("MOTOR_MAX_WORKERS is not used: set THREADS")
    sys.exit(run(connect))
