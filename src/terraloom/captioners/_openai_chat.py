"""The chat route: one request per caption, several under way, each tried again by itself."""

import random
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from terraloom.captioners._model_writer import Reply, Request, Trouble
from terraloom.captioners._openai_client import OpenAIClient, Unreachable
from terraloom.captioners._openai_replies import read_reply, redacted
from terraloom.errors import RunError
from terraloom.retrying import RetrySettings, Stopped, Transient, Unavailable


class Gate:
    """Lets requests through one by one: evenly at the rate asked for, none while a server rests.

    Args:
        per_minute: most requests that pass in a minute, or None.
        stop: ends every wait.
    """

    def __init__(self, per_minute: float | None, stop: threading.Event) -> None:
        self._gap = 0.0 if per_minute is None else 60.0 / per_minute
        self._stop = stop
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self) -> None:
        """Return when the next request may be made, or the run stops."""
        with self._lock:
            now = time.monotonic()
            begin = max(self._next, now)
            self._next = begin + self._gap
        if begin > now:
            self._stop.wait(begin - now)

    def rest(self, seconds: float) -> None:
        """Let nothing pass for so long; requests that wait already are not called back."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


class ChatBackend:
    """Asks a server for one completion per request, at most `concurrency` at a time."""

    def __init__(
        self,
        client: OpenAIClient,
        retry: RetrySettings,
        *,
        concurrency: int,
        per_minute: float | None,
    ) -> None:
        self.client = client
        self.retry = retry
        self.concurrency = concurrency
        self._per_minute = per_minute

    @property
    def secret(self) -> str | None:
        """See Backend."""
        return self.client.secret

    def complete(
        self, requests: Sequence[Request]
    ) -> Generator[tuple[Request, Reply | Trouble], None, None]:
        """See Backend."""
        stop = threading.Event()
        gate = Gate(self._per_minute, stop)
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="ask")
        try:
            futures = {pool.submit(self._ask, request, gate, stop): request for request in requests}
            for future in as_completed(futures):
                if isinstance(future.exception(), Stopped):
                    continue  # what stopped it is another's error, which comes in its turn
                yield futures.pop(future), future.result()
        finally:
            # Ctrl-C, a full disk, a wrong key: what waits is dropped, what is on its way ends.
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _ask(self, request: Request, gate: Gate, stop: threading.Event) -> Reply | Trouble:
        jitter = random.Random(request.key)
        attempt = 0
        while True:
            gate.wait()
            if stop.is_set():
                raise Stopped
            attempt += 1
            try:
                reply = read_reply(self.client.chat(request))
                return Reply(reply.text, reply.finish, attempt)
            except Unavailable as error:
                return Trouble(self._told(error), transient=False, attempts=attempt)
            except Transient as error:
                asked = error.retry_after or 0.0
                if self.retry.gives_up(attempt, asked):
                    if isinstance(error, Unreachable):
                        stop.set()
                        raise RunError(
                            f"{self._told(error)}. Captions that are there stay; start the server "
                            "(or correct base_url) and run the same command again."
                        ) from error
                    told = self._told(error)
                    if asked > self.retry.longest_wait_s:
                        told += f" (the server asks to wait {asked:.0f} s)"
                    return Trouble(told, transient=True, attempts=attempt)
                if error.retry_after is not None:
                    gate.rest(asked)  # it asks for rest from all, not from this request alone
                stop.wait(self.retry.wait_s(attempt, asked, jitter))
            except BaseException:
                # A wrong key is wrong for all: the others must not ask before this is noticed.
                stop.set()
                raise

    def _told(self, error: Exception) -> str:
        return redacted(str(error), self.client.secret)
