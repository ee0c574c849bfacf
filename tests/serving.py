"""A small HTTP server for downloads, with the faults that real ones have."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Site:
    """What is served and how. Requests are kept as (path, Range, If-Range).

    `answers` are statuses given first, `cuts` the numbers of bytes after which the next bodies break off, `hold` stops
    a cut body there instead until it is set.
    """

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.etag: str | None = '"one"'
        self.ranges = self.conditions = self.lengths = True
        self.answers: list[int] = []
        self.cuts: list[int] = []
        self.hold: threading.Event | None = None
        self.asked: list[tuple[str, str | None, str | None]] = []
        self.base = ""

    def url(self, name):
        return f"{self.base}/{name}"


@contextmanager
def served() -> Iterator[Site]:
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": site}))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    site.base = f"http://127.0.0.1:{server.server_port}"
    yield site
    if site.hold:
        site.hold.set()
    server.shutdown()
    server.server_close()


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self):
        site, wanted = self.site, self.headers.get("Range")
        site.asked.append((self.path, wanted, self.headers.get("If-Range")))
        if site.answers:
            return self.send_error(site.answers.pop(0))
        body = site.files.get(urlsplit(self.path).path.rpartition("/")[2])
        if body is None:
            return self.send_error(404)
        condition = self.headers.get("If-Range")
        fresh = not site.conditions or condition in (None, site.etag)
        begin = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and site.ranges and fresh else None
        if begin is not None and begin >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            return self.end_headers()
        self.send_response(200 if begin is None else 206)
        if begin is not None:
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        if site.lengths:
            self.send_header("Content-Length", str(len(body) - (begin or 0)))
        if site.etag:
            self.send_header("ETag", site.etag)
        self.end_headers()
        self.give(body[begin or 0 :])
        return None

    def give(self, body):
        cut = self.site.cuts.pop(0) if self.site.cuts else len(body)
        self.wfile.write(body[:cut])
        self.wfile.flush()
        if self.site.hold and cut < len(body):
            self.site.hold.wait(30)

    def log_message(self, *_):
        pass
