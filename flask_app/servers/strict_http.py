"""Which requests to refuse that uWSGI's parser lets through (watched with 2.0.31).

Two servers in a row that read a request differently can be made to mix up two clients' requests (request smuggling).
gunicorn refuses these by itself.
"""

import re
from typing import Any

_LENGTH = re.compile("[0-9]+")
_NOT_IN_A_HEADER = re.compile("[\r\n\0]")


def is_malformed(environ: dict[str, Any]) -> bool:
    """Return whether RFC 9112 has a request refused, or no handler here could read its body."""
    if environ.get("SERVER_PROTOCOL") not in ("HTTP/1.0", "HTTP/1.1"):
        return True  # a TLS greeting, HTTP/0.9, a version that is none
    length = environ.get("CONTENT_LENGTH", "")
    # uWSGI does not read a chunked body before the next request, and what is left of it would be taken for one.
    if "HTTP_TRANSFER_ENCODING" in environ or (length and not _LENGTH.fullmatch(length)):
        return True
    headers = [(name, value) for name, value in environ.items() if name.startswith("HTTP_")]
    return any(" " in name or "\t" in name or _NOT_IN_A_HEADER.search(str(value)) for name, value in headers)
