"""The downloader against a server on loopback: checksums, caching, and nothing left half written."""

from __future__ import annotations

import gzip
import hashlib
import io
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from easrec_jax.data import catalog
from easrec_jax.data.read import read_interactions

pytest.importorskip("pooch")
RATINGS = b"u::a::3::30\nu::b::3::10\nu::c::3::20\n"


class Server:
    """Serves `files` by path and lists the paths asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                body = outer.files.get(self.path)
                self.send_response(200 if body is not None else 404)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    threading.Thread(target=server.http.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.http.shutdown()
    server.http.server_close()


def zipped(member: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, data)
    return buffer.getvalue()


def entry(server: Server, file: str, data: bytes, **changes) -> catalog.Entry:
    """A data set of the server, with its right checksum unless another is given."""
    server.files[f"/{file}"] = data
    values: dict[str, Any] = {"member": "", "sha256": hashlib.sha256(data).hexdigest()} | changes
    return catalog.Entry("planted", f"{server.address}/{file}", "A paper", "free", **values)


def test_a_zip_is_fetched_once_verified_and_readable(server, tmp_path, capsys):
    dataset = entry(server, "a.zip", zipped("a/ratings.dat", RATINGS), member="a/ratings.dat")
    path = catalog.fetch_entry(dataset, tmp_path)
    assert path == tmp_path / "planted" / "ratings.dat" and path.read_bytes() == RATINGS
    assert sorted(file.name for file in path.parent.iterdir()) == ["a.zip", "ratings.dat"]
    said = capsys.readouterr().err
    assert f"sha256 {dataset.sha256} (verified)" in said and "cite: A paper" in said and "terms: free" in said
    assert catalog.fetch_entry(dataset, tmp_path) == path and server.asked == ["/a.zip"]
    assert read_interactions(path, format="movielens").histories_of(["u"]) == [["b", "c", "a"]]


def test_gzip_and_plain_files_without_known_checksum(server, tmp_path, capsys):
    packed = gzip.compress(RATINGS)
    path = catalog.fetch_entry(entry(server, "c.txt.gz", packed, sha256=None), tmp_path)
    assert path.name == "c.txt" and path.read_bytes() == RATINGS
    assert f"sha256 {hashlib.sha256(packed).hexdigest()} (UNVERIFIED" in capsys.readouterr().err
    assert catalog.fetch_entry(entry(server, "d.dat", RATINGS), tmp_path).read_bytes() == RATINGS


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    dataset = entry(server, "a.zip", zipped("a/r.dat", RATINGS), member="a/r.dat", sha256="0" * 64)
    with pytest.raises(ValueError, match=r"planted: http://127.0.0.1:\d+/a.zip is not the expected file"):
        catalog.fetch_entry(dataset, tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("file", "data", "member"),
    [
        ("a.zip", b"<html>log in</html>", "r.dat"),
        ("a.zip", zipped("other.dat", RATINGS), "r.dat"),
        ("a.txt.gz", b"<html>log in</html>", ""),
        ("a.txt.gz", gzip.compress(RATINGS * 1000)[:-20], ""),
    ],
)
def test_what_is_no_archive_is_not_kept(server, tmp_path, file, data, member):
    with pytest.raises(ValueError, match="is no archive with"):
        catalog.fetch_entry(entry(server, file, data, member=member, sha256=None), tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_missing_address_is_an_os_error(server, tmp_path):
    dataset = replace(entry(server, "a.txt", b""), url=server.address + "/gone.txt")
    with pytest.raises(OSError, match="404"):
        catalog.fetch_entry(dataset, tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_mirror_is_held_to_the_same_checksum(server, tmp_path):
    server.files["/mirror"] = b"something else"
    with pytest.raises(ValueError, match="/mirror is not the expected file"):
        catalog.fetch("ml-1m", tmp_path, url=server.address + "/mirror")


def test_load_reads_with_the_options_of_the_entry(server, tmp_path, monkeypatch):
    checkins = b"u\t2010-10-19T23:55:27Z\t30.2\t-97.7\ta\nu\t2010-10-18T22:17:43Z\t30.2\t-97.7\tb\n"
    mirror = replace(catalog.CATALOG["gowalla"], url=entry(server, "g.txt.gz", gzip.compress(checkins)).url)
    monkeypatch.setitem(catalog.CATALOG, "gowalla", mirror)
    assert catalog.load("gowalla", tmp_path, min_history=2).histories_of(["u"]) == [["b", "a"]]


def test_the_catalogue_is_complete():
    with pytest.raises(ValueError, match="unknown data set 'netflix', expected one of ml-100k, ml-1m"):
        catalog.fetch("netflix")
    for name, dataset in catalog.CATALOG.items():
        assert dataset.name == name and dataset.url.startswith("https://") and dataset.citation and dataset.terms
        assert dataset.sha256 is None or len(dataset.sha256) == 64
