"""An OpenAI-compatible server of the tests' own, which behaves as a script tells it to.

It counts what it is asked, by prompt and seed, and how many requests are under way at once. Batches
are worked off when they are looked at.
"""

import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORDS = (
    "trees", "fields", "meadows", "water", "roads", "houses", "hedges", "dunes", "orchards",
    "marshes", "slopes", "valleys", "shores", "gardens", "rocks", "plains",
)  # fmt: skip


@dataclass
class Answer:
    """What the server sends; the defaults make a chat completion."""

    text: str | None = None
    finish: str = "stop"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Sent as it is instead of a completion."""
    stall: float = 0.0
    """Seconds before anything is sent."""
    cut: bool = False
    """Promise more bytes than are sent."""
    refusal: str | None = None

    def encoded(self) -> bytes:
        if self.body is not None:
            return self.body
        if self.status != 200:
            return json.dumps({"error": {"message": f"status {self.status}"}}).encode()
        return json.dumps(self.completion()).encode()

    def completion(self) -> dict[str, Any]:
        message = {"role": "assistant", "content": self.text, "refusal": self.refusal}
        return {
            "id": "c", "object": "chat.completion", "created": 0, "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": self.finish}],
        }  # fmt: skip


def sentence(body: dict[str, Any]) -> str:
    """A caption that follows from the request, and from nothing else."""
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()
    words = [WORDS[byte % len(WORDS)] for byte in digest[:10]]
    return f"Mostly {' and '.join(words[:5])}, beside {' with '.join(words[5:])}."


Script = Callable[[dict[str, Any], int], Answer]
"""Body of a request and how often it came before, to what is sent."""


def well_behaved(body: dict[str, Any], before: int) -> Answer:
    return Answer(sentence(body))


class ModelServer:
    """A server with a script; see the module."""

    def __init__(self) -> None:
        self.script: Script = well_behaved
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.asked: Counter[str] = Counter()
        self.under_way = 0
        self.most_under_way = 0
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.looks_until_done = 1
        self.fail_paths: dict[str, list[Answer]] = {}
        """What the next requests to a path of the batch API get instead, one each."""
        self.lost: set[str] = set()
        """custom_ids that a batch drops."""
        self.batch_end = "completed"
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None: ...

            def _data(self) -> bytes:
                return self.rfile.read(int(self.headers.get("content-length", 0)))

            def _send(self, answer: Answer) -> None:
                data = answer.encoded()
                time.sleep(answer.stall)
                try:
                    self.send_response(answer.status)
                    for name, value in answer.headers.items():
                        self.send_header(name, value)
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(data) + (50 if answer.cut else 0)))
                    self.end_headers()
                    self.wfile.write(data)
                    if answer.cut:
                        self.close_connection = True
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the client gave up, as it should

            def do_POST(self) -> None:
                data = self._data()
                server.headers.append({k.lower(): v for k, v in self.headers.items()})
                if self.path == "/v1/chat/completions":
                    self._send_chat(json.loads(data))
                else:
                    self._send(server.batch_api("POST", self.path, data))

            def do_GET(self) -> None:
                self._send(server.batch_api("GET", self.path, b""))

            def _send_chat(self, body: dict[str, Any]) -> None:
                with server._lock:
                    server.under_way += 1
                    server.most_under_way = max(server.most_under_way, server.under_way)
                try:
                    self._send(server.answer(body))
                finally:
                    with server._lock:
                        server.under_way -= 1

        class Server(ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

        self.http = Server(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    def answer(self, body: dict[str, Any]) -> Answer:
        """Count one question and answer it."""
        key = json.dumps([body["messages"], body.get("seed")], sort_keys=True)
        with self._lock:
            before = self.asked[key]
            self.asked[key] += 1
            self.bodies.append(body)
            self.times.append(time.monotonic())
        return self.script(body, before)

    def batch_api(self, method: str, path: str, data: bytes) -> Answer:
        path = path.removeprefix("/v1").partition("?")[0]
        if self.fail_paths.get(path):
            return self.fail_paths[path].pop(0)
        if path == "/files" and method == "POST":
            name = f"file-{len(self.files)}"
            found = re.search(rb'name="file".*?\r\n\r\n(.*)\r\n--', data, re.DOTALL)
            assert found is not None
            self.files[name] = found[1]
            return _json({"id": name, "object": "file", "bytes": 1, "created_at": 0,
                          "filename": "x", "purpose": "batch", "status": "processed"})  # fmt: skip
        if path == "/batches" and method == "POST":
            asked = json.loads(data)
            name = f"batch-{len(self.batches)}"
            self.batches[name] = {
                "id": name, "object": "batch", "endpoint": asked["endpoint"],
                "input_file_id": asked["input_file_id"], "completion_window": "24h",
                "created_at": 0, "status": "in_progress", "metadata": asked.get("metadata"),
                "looks": 0, "output_file_id": None, "error_file_id": None,
            }  # fmt: skip
            return _json(self._batch(name))
        if path == "/batches":
            data_of = [self._batch(name) for name in self.batches]
            return _json({"object": "list", "data": data_of, "has_more": False})
        if path.startswith("/batches/"):
            name = path.removeprefix("/batches/")
            self._work_off(name)
            return _json(self._batch(name))
        if path.startswith("/files/"):
            return Answer(body=self.files[path.split("/")[2]])
        return Answer(status=404)

    def _batch(self, name: str) -> dict[str, Any]:
        return {k: v for k, v in self.batches[name].items() if k != "looks"}

    def _work_off(self, name: str) -> None:
        batch = self.batches[name]
        batch["looks"] += 1
        if batch["looks"] < self.looks_until_done or batch["status"] != "in_progress":
            return
        good, bad = [], []
        for line in self.files[batch["input_file_id"]].splitlines():
            entry = json.loads(line)
            if entry["custom_id"] in self.lost:
                continue
            answer = self.answer(entry["body"])
            response = {"status_code": answer.status, "body": json.loads(answer.encoded())}
            told = {"id": "r", "custom_id": entry["custom_id"], "response": response, "error": None}
            (good if answer.status == 200 else bad).append(json.dumps(told))
        for lines, kind in ((good, "output_file_id"), (bad, "error_file_id")):
            if lines:
                batch[kind] = f"{kind}-{name}"
                self.files[batch[kind]] = "\n".join(lines).encode()
        batch["status"] = self.batch_end


def _json(value: object) -> Answer:
    return Answer(body=json.dumps(value).encode())


@contextmanager
def serving() -> Iterator[ModelServer]:
    """A running server."""
    server = ModelServer()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()
