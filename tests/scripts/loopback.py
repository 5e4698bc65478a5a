"""A web server on 127.0.0.1 with configurable faults: a mirror, a file host, or the Hugging Face Hub."""

import contextlib
import hashlib
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Loopback:
    files: dict[str, bytes] = field(default_factory=dict)  # path -> content
    headers: dict[str, dict[str, str]] = field(default_factory=dict)  # path -> more headers
    refuse: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)  # path -> status, headers
    token: str | None = None  # what GET and HEAD must show
    ranges: bool = True
    if_range: bool = True  # heeded
    cut_after: int | None = None  # bytes of the body after which the connection ends
    cuts: int = 10**9  # how many times
    lie: int = 0  # added to the stated length
    pause: float = 0.0  # seconds before every 16 KiB
    stand_still_after: int | None = None  # bytes of the body after which nothing more comes, while the test runs
    requests: list[dict] = field(default_factory=list)
    address: str = ""
    over: threading.Event = field(default_factory=threading.Event)

    def sent(self, method: str = "GET") -> list[tuple[str | None, int]]:
        """Record the requested range and the number of bytes sent, per request."""
        return [(request["range"], request["sent"]) for request in self.requests if request["method"] == method]

    def hub_file(self, repo: str, revision: str, name: str, content: bytes, large: bool = True, kind: str = "") -> None:
        """Put a file where the hub has it; a large one is known by its SHA-256, a small one by git's id."""
        path = f"/{kind}{repo}/resolve/{revision}/{name}"
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        etag = hashlib.sha256(content).hexdigest() if large else blob
        self.files[path] = content
        self.headers[path] = {
            "X-Repo-Commit": revision,
            "X-Linked-Etag": f'"{etag}"',
            "X-Linked-Size": str(len(content)),
        }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        server: Loopback = self.server.loopback
        asked = self.headers.get("Range")
        entry = {"method": self.command, "path": self.path, "range": asked, "sent": 0, "headers": dict(self.headers)}
        server.requests.append(entry)
        status, extra = server.refuse.get(self.path, (0, {}))
        if not status and server.token and self.headers.get("Authorization") != f"Bearer {server.token}":
            status, extra = 401, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."}
        if not status and self.path not in server.files:
            status = 404
        if status:
            self.send_response(status)
            self.reply_headers({**extra, "Content-Length": "0"})
            return
        content = server.files[self.path]
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        start = 0
        same = not server.if_range or self.headers.get("If-Range", etag) == etag
        if server.ranges and asked and same:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= len(content):
                self.send_response(416)
                self.reply_headers({"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
                return
        headers = {"Content-Length": str(len(content) - start + server.lie), **server.headers.get(self.path, {})}
        headers.setdefault("ETag", etag)
        chunked = "Transfer-Encoding" in headers
        if chunked:
            del headers["Content-Length"]
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.send_response(206 if start else 200)
        self.reply_headers(headers)
        if not body:
            return
        part = content[start:]
        if server.cut_after is not None and server.cuts > 0 and len(part) > server.cut_after:
            server.cuts -= 1
            part = part[: server.cut_after]
            self.close_connection = True
        if server.lie:
            self.close_connection = True
        with contextlib.suppress(OSError):
            for at in range(0, len(part), 1 << 14):
                time.sleep(server.pause)
                if server.stand_still_after is not None and at >= server.stand_still_after:
                    server.over.wait()
                    return
                # Counted first: a client that has all of it may look before this thread runs again.
                piece = part[at : at + (1 << 14)]
                entry["sent"] = at + len(piece)
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            if chunked and not self.close_connection:
                self.wfile.write(b"0\r\n\r\n")

    def reply_headers(self, headers: dict[str, str]) -> None:
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@pytest.fixture
def loopback():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.loopback = Loopback(address=f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server.loopback
    server.loopback.over.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def hub_server(loopback, monkeypatch, tmp_path):
    """Provide a server that huggingface_hub takes for the Hub, on a machine without a token."""
    from huggingface_hub import constants

    monkeypatch.setenv("HF_ENDPOINT", loopback.address)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    return loopback
