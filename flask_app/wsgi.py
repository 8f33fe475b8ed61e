"""``application`` for servers with processes or threads. Loaded in each worker, so the client is made after the fork."""

import atexit

from app import create_app
from config import load
from database import Articles, connect

_config = load()
_client = connect(_config)
atexit.register(_client.close)

application = create_app(Articles(_client, _config.database, _config.db_timeout_s))
