"""A local HTTP server with range requests that serves a folder, and misbehaves when told to."""

import multiprocessing
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit


@dataclass
class Mood:
    """How requests whose path ends in a given text are answered, `times` times (None: always)."""

    kind: Literal["status", "stall", "cut", "reset"]
    times: int | None = None
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    stall_s: float = 0.0
    body_only: bool = False
    """Leave requests alone that ask for the file's first bytes, or for no body."""


@dataclass(frozen=True)
class Request:
    """What was asked, and what was sent."""

    method: str
    path: str
    start: int | None
    status: int
    sent: int


class TileServer:
    """Serves `folder`; a log of all requests, and moods by the end of a path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.moods: dict[str, list[Mood]] = {}
        self.log: list[Request] = []
        self.statuses: dict[str, list[int]] = {}
        self.query = ""
        self.lock = threading.Lock()
        self.closing = threading.Event()
        outer = self

        class Handler(_Handler):
            tiles = outer

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()

    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.http.server_address[1]}"

    def misbehave(self, ending: str, *moods: Mood) -> None:
        """Answer requests for paths that end so in these moods, one after the other."""
        self.moods[ending] = list(moods)

    def refuse(self, path: str, statuses: list[int]) -> None:
        """Answer the next requests for a path with these statuses, one each."""
        self.statuses[path] = list(statuses)

    def refusals_left(self, path: str) -> list[int]:
        """Statuses that no request has had yet."""
        return self.statuses.get(path, [])

    def ask_for(self, query: str) -> None:
        """Refuse requests without this query string."""
        self.query = query

    def behave(self) -> None:
        """Forget moods and log."""
        self.moods.clear()
        self.log.clear()

    def sent(self, ending: str = "") -> int:
        """Bytes of bodies sent for paths that end so."""
        with self.lock:
            return sum(r.sent for r in self.log if r.path.endswith(ending))

    def requests(self, ending: str = "", status: int | None = None) -> list[Request]:
        """Requests so far for paths that end so."""
        with self.lock:
            return [
                r
                for r in self.log
                if r.path.endswith(ending) and (status is None or r.status == status)
            ]

    def mood_for(self, path: str, body: bool) -> Mood | None:
        with self.lock:
            for ending, moods in self.moods.items():
                if not path.endswith(ending) or not moods:
                    continue
                mood = moods[0]
                if mood.body_only and not body:
                    return None
                if mood.times is not None:
                    mood.times -= 1
                    if mood.times <= 0:
                        moods.pop(0)
                return mood
        return None

    def refusal_of(self, path: str, query: str) -> int | None:
        with self.lock:
            if self.statuses.get(path):
                return self.statuses[path].pop(0)
        return 403 if self.query and query != self.query else None


class _Elsewhere(BaseManager):
    """A process for the server: GDAL holds this interpreter's lock while it waits for an answer, so
    a server in this process could not give one."""


_Elsewhere.register("TileServer", TileServer)


@contextmanager
def serving(folder: Path) -> Iterator[TileServer]:
    """A running server for `folder`, in a process of its own; its methods may be called."""
    with _Elsewhere(ctx=multiprocessing.get_context("spawn")) as manager:
        yield manager.TileServer(folder)  # type: ignore[attr-defined]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    tiles: TileServer

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_GET(self) -> None:
        self._answer("GET")

    def _answer(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        refused = self.tiles.refusal_of(path, urlsplit(self.path).query)
        if refused is not None:
            wait = {"Retry-After": "0"} if refused == 429 else {}
            self._empty(method, path, None, refused, wait)
            return
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(span[1]) if span else None
        mood = self.tiles.mood_for(path, method == "GET" and bool(start))
        if mood and mood.kind == "status":
            self._empty(method, path, start, mood.status, mood.headers)
            return
        if mood and mood.kind == "stall":
            self.tiles.closing.wait(mood.stall_s)
            self.close_connection = True
            self._note(method, path, start, 0, 0)
            return
        file = self.tiles.folder / path.lstrip("/")
        if not file.is_file():
            self._empty(method, path, start, 404, {})
            return
        data = file.read_bytes()
        status, headers = 200, {"Accept-Ranges": "bytes"}
        if span:
            end = min(int(span[2]) if span[2] else len(data) - 1, len(data) - 1)
            if int(span[1]) >= len(data):
                self._empty(method, path, start, 416, {"Content-Range": f"bytes */{len(data)}"})
                return
            headers["Content-Range"] = f"bytes {span[1]}-{end}/{len(data)}"
            status, data = 206, data[int(span[1]) : end + 1]
        stat = file.stat()
        headers["Last-Modified"] = formatdate(stat.st_mtime, usegmt=True)
        headers["ETag"] = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if method == "HEAD":
            self._note(method, path, start, status, 0)
            return
        if mood:  # cut or reset: half of the body, then the line goes dead
            data = data[: len(data) // 2]
            self.close_connection = True
        # Before the last byte leaves, or a test may look at the log too early.
        self._note(method, path, start, status, len(data))
        try:
            self.wfile.write(data)
        except OSError:
            self.close_connection = True  # the client went away

    def _empty(
        self, method: str, path: str, start: int | None, status: int, headers: dict[str, str]
    ) -> None:
        self._note(method, path, start, status, 0)
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _note(self, method: str, path: str, start: int | None, status: int, sent: int) -> None:
        with self.tiles.lock:
            self.tiles.log.append(Request(method, path, start, status, sent))
