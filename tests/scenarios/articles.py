"""A server of articles with known faults."""

import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from shared.documents import big, extended_json, small

BODIES = {"/mongo": extended_json(small()), "/mongo_big": extended_json(big())}


class ArticleServer(ThreadingHTTPServer):
    """Answers as a stack does, without a database, except that every tenth request to /mongo meets a ``fault``."""

    daemon_threads = True
    request_queue_size = 1000

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.fault = ""
        self.asked: Counter[str] = Counter()
        self.faults = 0
        self.when: list[float] = []
        self._lock = threading.Lock()

    def fault_of(self, path: str) -> str:
        """Count a request, and return the fault that it meets: usually none."""
        with self._lock:
            self.asked[path] += 1
            self.when.append(time.monotonic())
            fault = self.fault if path == "/mongo" and self.asked[path] % 10 == 0 else ""
            self.faults += bool(fault)
        return fault


class _Handler(BaseHTTPRequestHandler):
    server: ArticleServer
    protocol_version = "HTTP/1.1"
    # Head and body are two pieces, and the second would wait for the client.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        status, body = 200, BODIES.get(path, b'{"error":"not found"}')
        fault = self.server.fault_of(path)
        if path == "/sleep":
            ms = int(query.removeprefix("ms="))
            time.sleep(ms / 1000)
            body = b'{"slept_ms":%d}' % ms
        self.close_connection = fault in ("no reply", "half a reply", "close")
        match fault:
            case "503":
                status, body = 503, b'{"error":"database unavailable"}'
            case "404":
                status, body = 404, b'{"error":"no document"}'
            case "body":
                body = body.replace(b"foo", b"bar")
            case "no reply":
                return
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:1] if fault == "half a reply" else body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
