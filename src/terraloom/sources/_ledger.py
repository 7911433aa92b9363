"""Fetches many items and remembers each: what is done, what failed and why, what to try again."""

import datetime
import errno
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from terraloom.errors import OutputError, RunError
from terraloom.files import append_line, read_lines
from terraloom.progress import meter
from terraloom.retrying import RetrySettings, Stopped, Transient, Unavailable

State = Literal["pending", "done", "failed"]

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class LedgerSummary:
    """How a run over many items ended."""

    asked: int
    """Items asked for."""
    done_before: int
    """Of these, items that an earlier run had done."""
    fetched: int
    """Of these, items done by this run."""
    tries: int
    """Tries that this run made, over all items."""
    failed: dict[str, str] = field(default_factory=dict)
    """Of these, items that failed now or (finally) in an earlier run, with the reason."""
    failed_before: int = 0
    """Of these, items that failed in an earlier run and were not tried again."""

    def __str__(self) -> str:
        text = f"{self.fetched} fetched, {self.done_before} there before, {len(self.failed)} failed"
        again = self.tries - self.fetched - (len(self.failed) - self.failed_before)
        return text if again <= 0 else f"{text}; {again} tries had to be made again"


class ItemLedger:
    """Per item: pending, done, or failed with the reason; an append-only log, last entry wins.

    An item that the log does not name is pending. Entries bear the time of day, so the log lies
    outside the promise of equal bytes.

    Args:
        path: the log, JSON lines; created with its folder when first written.
        retry: tries and waits.
        seed: of the jitter; it changes when things happen, never what is fetched.
        sleep: waits so many seconds; left out, waits end early when the run is stopped.
    """

    def __init__(
        self,
        path: Path,
        retry: RetrySettings,
        *,
        seed: int,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self.path = path
        self.retry = retry
        self._seed = seed
        self._stop = threading.Event()
        self._sleep = sleep or self._stop.wait
        self._lock = threading.Lock()

    def run(
        self,
        items: Sequence[str],
        fetch: Callable[[str], Mapping[str, object]],
        *,
        description: str,
        unit: str,
        workers: int = 4,
    ) -> LedgerSummary:
        """Fetch what is not done, several items at once; a failed item never stops the others.

        Items that failed in an earlier run are not tried again unless they are forgotten, except
        those whose failure was transient.

        Args:
            items: unique names in the order in which they are begun.
            fetch: brings one item and returns facts for the log (JSON values); called from worker
                threads. It raises `Transient` or `Unavailable`; whatever else it raises (disk full,
                no permission, a bug) stops the run. Long ones call `check` now and then.
            description: what is being done, for the progress bar.
            unit: plural noun of the items.
            workers: items under way at one time.

        Raises:
            ValueError: an item is named twice.
            RunError: the disk is full; done items stay done, and the same call goes on.
        """
        twice = [item for item, count in Counter(items).items() if count > 1]
        if twice:
            raise ValueError(f"item {twice[0]} is named twice")
        last = self.entries()
        done = {item for item in items if last.get(item, {}).get("state") == "done"}
        final = {item for item in items if _failed_finally(last.get(item, {}))}
        todo = [item for item in items if item not in done and item not in final]
        failed = {item: str(last[item]["reason"]) for item in items if item in final}
        fetched = tries = 0
        self._stop.clear()
        with meter(description, len(items), unit, len(items) - len(todo)) as progress:
            pool = ThreadPoolExecutor(max(workers, 1), thread_name_prefix="fetch")
            try:
                futures = {pool.submit(self._settle, item, fetch): item for item in todo}
                for future in as_completed(futures):
                    reason, count = future.result()
                    tries += count
                    if reason is None:
                        fetched += 1
                    else:
                        failed[futures[future]] = reason
                    progress.advance()
            except BaseException:
                # Ctrl-C, a full disk, a bug: what waits is dropped, what runs ends its step.
                self._stop.set()
                raise
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        in_order = {item: failed[item] for item in items if item in failed}
        return LedgerSummary(len(items), len(done), fetched, tries, in_order, len(final))

    def check(self) -> None:
        """Called by a long `fetch` between its steps.

        Raises:
            Stopped: the run is being stopped.
        """
        if self._stop.is_set():
            raise Stopped

    def entries(self) -> dict[str, dict[str, Any]]:
        """The last entry of every item: item, state, attempt, reason, facts, transient, time."""
        return {str(entry["item"]): entry for entry in read_lines(self.path) if "item" in entry}

    def states(self) -> dict[str, State]:
        """The state of every item that the log names."""
        return {item: entry["state"] for item, entry in self.entries().items()}

    def failed(self) -> dict[str, str]:
        """Items that failed, with the reason."""
        return {
            item: str(entry["reason"])
            for item, entry in self.entries().items()
            if entry["state"] == "failed"
        }

    def forget(self, items: Iterable[str], reason: str) -> None:
        """Make items pending again."""
        for item in items:
            self._record(item, "pending", 0, reason)

    def forget_failed(self) -> int:
        """Make all failed items pending again; their number."""
        failed = self.failed()
        self.forget(failed, "to be tried again")
        return len(failed)

    def _settle(
        self, item: str, fetch: Callable[[str], Mapping[str, object]]
    ) -> tuple[str | None, int]:
        """Try one item until it is done or has failed; the reason or None, and the tries."""
        jitter = random.Random(f"{self._seed}/{item}")
        attempt = 0
        while True:
            self.check()
            attempt += 1
            try:
                facts = fetch(item)
            except Unavailable as error:
                self._record(item, "failed", attempt, str(error))
                return str(error), attempt
            except Transient as error:
                reason, asked = str(error), error.retry_after or 0.0
                if self.retry.gives_up(attempt, asked):
                    if asked > self.retry.longest_wait_s:
                        reason += f" (the server asks to wait {asked:.0f} s)"
                    self._record(item, "failed", attempt, reason, transient=True)
                    return reason, attempt
                self._record(item, "pending", attempt, reason)
                self._sleep(self.retry.wait_s(attempt, asked, jitter))
            else:
                self._record(item, "done", attempt, None, facts)
                return None, attempt

    def _record(
        self,
        item: str,
        state: State,
        attempt: int,
        reason: str | None,
        facts: Mapping[str, object] | None = None,
        transient: bool = False,
    ) -> None:
        entry = {
            "item": item,
            "state": state,
            "attempt": attempt,
            "reason": reason,
            "facts": dict(facts or {}),
            "transient": transient,
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        try:
            with self._lock:
                append_line(self.path, entry)
        except PermissionError as error:
            raise OutputError(
                f"cannot write {self.path}: {error.strerror}. Choose a folder that you may write "
                "to."
            ) from error
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise RunError(
                f"cannot write {self.path}: {error.strerror}. Free some space and run the same "
                "command again; it goes on where it stopped."
            ) from error


def _failed_finally(entry: Mapping[str, Any]) -> bool:
    return entry.get("state") == "failed" and not entry.get("transient")
