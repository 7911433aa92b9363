"""The batch route: requests as a file, worked off by the server within a day, then fetched.

A batch is known by a digest of its requests, which it carries as metadata: a process that was
killed at any moment finds it again, and nothing is asked for twice.
"""

import hashlib
import io
import json
import random
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Final, TypeVar

from terraloom.captioners._answers import AnswerStore
from terraloom.captioners._model_writer import Reply, Request, Trouble
from terraloom.captioners._openai_client import OpenAIClient
from terraloom.captioners._openai_replies import failure_of, redacted, reply_of
from terraloom.errors import RunError
from terraloom.progress import console
from terraloom.retrying import RetrySettings, Transient, Unavailable

ENDPOINT: Final = "/v1/chat/completions"
_METADATA: Final = "terraloom_requests"
_ENDED: Final = ("completed", "expired", "cancelled", "failed")
_LOST: Final = ("failed", "cancelled", "cancelling")
_MAX_REQUESTS: Final = 50_000
_MAX_BYTES: Final = 90_000_000
_LISTED: Final = 200
"""Batches of the account that are looked through for one that a killed process made."""

T = TypeVar("T")


class BatchBackend:
    """Sends requests as batches, waits, and fetches what came.

    Args:
        client: the server.
        store: where batches under way are remembered.
        retry: of uploads, looks and fetches.
        poll_s: seconds between two looks at a batch.
    """

    def __init__(
        self,
        client: OpenAIClient,
        store: Callable[[], AnswerStore],
        retry: RetrySettings,
        *,
        poll_s: float,
    ) -> None:
        self.client = client
        self.retry = retry
        self._store = store
        self._poll_s = poll_s
        self._stop = threading.Event()

    @property
    def secret(self) -> str | None:
        """See Backend."""
        return self.client.secret

    def complete(
        self, requests: Sequence[Request]
    ) -> Generator[tuple[Request, Reply | Trouble], None, None]:
        """See Backend."""
        waiting = {request.key: request for request in requests}
        store = self._store()
        for batch, keys in store.open_batches().items():
            if waiting.keys() & set(keys):
                yield from self._fetched(batch, keys, waiting)
        made = []
        for keys, lines in self._files(list(waiting.values())):
            batch = self._found(keys) or self._created(keys, lines)
            store.note_batch(batch, keys, "open")
            made.append((batch, keys))
        for batch, keys in made:
            yield from self._fetched(batch, keys, waiting)

    def _files(self, requests: Sequence[Request]) -> Iterator[tuple[list[str], bytes]]:
        """Input files within the limits of the API, with the requests that they hold."""
        keys: list[str] = []
        lines = io.BytesIO()
        for request in requests:
            line = {
                "custom_id": request.key,
                "method": "POST",
                "url": ENDPOINT,
                "body": self.client.body(request),
            }
            data = json.dumps(line).encode() + b"\n"
            if keys and (len(keys) >= _MAX_REQUESTS or lines.tell() + len(data) > _MAX_BYTES):
                yield keys, lines.getvalue()
                keys, lines = [], io.BytesIO()
            keys.append(request.key)
            lines.write(data)
        if keys:
            yield keys, lines.getvalue()

    def _found(self, keys: Sequence[str]) -> str | None:
        """A batch of these requests that a killed process made and could not note down."""
        digest = _digest(keys)

        def look() -> str | None:
            for number, batch in enumerate(self.client.raw.batches.list(limit=100)):
                if number >= _LISTED:
                    break
                if (batch.metadata or {}).get(_METADATA) == digest and batch.status not in _LOST:
                    return str(batch.id)
            return None

        return self._patiently(look)

    def _created(self, keys: Sequence[str], lines: bytes) -> str:
        raw = self.client.raw
        digest = _digest(keys)
        name = f"terraloom-{digest[:16]}.jsonl"
        # Uploading twice costs nothing; making a batch twice would, so that is looked up first.
        file = self._patiently(lambda: raw.files.create(file=(name, lines), purpose="batch"))

        def make() -> str:
            batch = raw.batches.create(
                input_file_id=file.id,
                endpoint=ENDPOINT,
                completion_window="24h",
                metadata={_METADATA: digest},
            )
            return str(batch.id)

        try:
            return self.client.called(make)
        except Transient:
            # It may have been made although no answer came.
            return self._found(keys) or self._patiently(make)

    def _fetched(
        self, batch: str, keys: Sequence[str], waiting: dict[str, Request]
    ) -> Iterator[tuple[Request, Reply | Trouble]]:
        """What came of a batch, for those requests of it that are still waited for."""
        ended = self._waited_for(batch)
        if ended.status == "failed":
            self._store().note_batch(batch, keys, "closed")
            told = "; ".join(str(e.message) for e in (ended.errors.data or [])[:3]) if (
                ended.errors is not None
            ) else "no reason given"  # fmt: skip
            raise RunError(
                f"the server refused batch {batch}: {redacted(told, self.secret)}. Correct the "
                "settings and run the same command again."
            )
        for name in (ended.output_file_id, ended.error_file_id):
            if name is None:
                continue
            content = self._patiently(lambda name=name: self.client.raw.files.content(name).content)  # type: ignore[misc]
            for line in bytes(content).splitlines():
                found = self._read(line)
                if found is not None and found[0] in waiting and found[0] in keys:
                    yield waiting.pop(found[0]), found[1]
        for key in keys:
            if key in waiting:
                told = f"batch {batch} ended ({ended.status}) without an answer to it"
                yield waiting.pop(key), Trouble(told, transient=True)
        self._store().note_batch(batch, keys, "closed")

    def _waited_for(self, batch: str) -> Any:  # noqa: ANN401 - the package's type
        told = None
        while True:
            seen = self._patiently(lambda: self.client.raw.batches.retrieve(batch))
            if seen.status in _ENDED:
                return seen
            counts = seen.request_counts
            now = (seen.status, counts.completed if counts else 0)
            if now != told:
                told = now
                done = f", {counts.completed:,} of {counts.total:,}" if counts else ""
                console.print(f"  batch {batch}: {seen.status}{done}", soft_wrap=True)
            self._stop.wait(self._poll_s)

    def _read(self, line: bytes) -> tuple[str, Reply | Trouble] | None:
        """Request and outcome of one line of an output or error file; None for a torn one."""
        try:
            entry = json.loads(line.decode("utf-8"))
            key = str(entry["custom_id"])
        except (ValueError, TypeError, KeyError):
            return None  # whose line it was is found out by what is missing in the end
        response, error = entry.get("response"), entry.get("error")
        if isinstance(response, dict) and response.get("status_code") == 200:
            try:
                return key, reply_of(response.get("body"))
            except Transient as failure:
                return key, Trouble(str(failure), transient=True)
        if isinstance(response, dict):
            status = int(response.get("status_code") or 500)
            failed = failure_of(
                status, {}, response.get("body"), model="", key_variable="", secret=self.secret
            )
            told = redacted(str(failed), self.secret)
            return key, Trouble(told, transient=isinstance(failed, Transient))
        reason = error.get("message") if isinstance(error, dict) else "no reason given"
        return key, Trouble(redacted(str(reason), self.secret), transient=True)

    def _patiently(self, call: Callable[[], T]) -> T:
        """A call that is tried again while its failures are passing ones."""
        jitter = random.Random(0)
        attempt = 0
        while True:
            attempt += 1
            try:
                return self.client.called(call)
            except Unavailable as error:
                raise RunError(f"the server refuses the batch: {error}.") from error
            except Transient as error:
                asked = error.retry_after or 0.0
                if self.retry.gives_up(attempt, asked):
                    raise RunError(
                        f"{redacted(str(error), self.secret)}. Batches go on at the server; run "
                        "the same command again to fetch them."
                    ) from error
                self._stop.wait(self.retry.wait_s(attempt, asked, jitter))


def _digest(keys: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()
