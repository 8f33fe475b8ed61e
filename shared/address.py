"""Which database the environment asks for."""

import os
from urllib.parse import urlsplit

from shared import mongod


def database_uri() -> str:
    """Return MONGODB_URI as given, else the address of the project's own mongod, started if it does not run."""
    return os.environ.get("MONGODB_URI") or mongod.ensure_running().uri


def database_name() -> str:
    """Return MONGODB_DATABASE, by default ``articles``."""
    return os.environ.get("MONGODB_DATABASE") or "articles"


def without_password(uri: str) -> str:
    """Return ``uri`` as it may be shown."""
    try:
        password = urlsplit(uri).password
    except ValueError:
        return "(an address that cannot be parsed)"
    return uri.replace(f":{password}@", ":***@") if password else uri
