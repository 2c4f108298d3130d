"""A stand-in for object stores: files of a folder over HTTP, by ranges, and the listing of S3; it knows nothing else."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlparse
from xml.sax.saxutils import escape

SINCE = "Thu, 01 Jan 2026 00:00:00 GMT"


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD of /bucket/key, and the listing of a bucket."""

    protocol_version = "HTTP/1.1"
    folder: Path

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def do_GET(self, body: bool = True) -> None:
        address = urlparse(self.path)
        query, path = parse_qs(address.query), self.folder / unquote(address.path).lstrip("/")
        if "list-type" in query:
            return self._answer(200, self._listing(path, query.get("prefix", [""])[0]), {}, body)
        if not path.is_file():
            return self._answer(404, b"", {}, body)
        data = path.read_bytes()
        headers = {"ETag": f'"{len(data)}"', "Last-Modified": SINCE, "Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            return self._answer(200, data, headers, body)
        first = int(asked[1]) if asked[1] else max(0, len(data) - int(asked[2]))
        last = min(int(asked[2]), len(data) - 1) if asked[1] and asked[2] else len(data) - 1
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return self._answer(206, data[first : last + 1], headers, body)

    def _listing(self, bucket: Path, prefix: str) -> bytes:
        found = ""
        for path in sorted(bucket.rglob("*")):
            key = path.relative_to(bucket).as_posix()
            if path.is_file() and key.startswith(prefix):
                size = f"<ETag>&quot;{path.stat().st_size}&quot;</ETag><Size>{path.stat().st_size}</Size>"
                time = "<LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                found += f"<Contents><Key>{escape(key)}</Key>{time}{size}</Contents>"
        inside = f"<Name>{bucket.name}</Name><IsTruncated>false</IsTruncated>{found}"
        return f'<?xml version="1.0"?><ListBucketResult>{inside}</ListBucketResult>'.encode()

    def _answer(self, status: int, data: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)


@contextmanager
def object_store(folder: Path) -> Iterator[str]:
    """Within: the folder's buckets are served at the address that is yielded."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (Handler,), {"folder": folder}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
