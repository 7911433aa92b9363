"""Where shards are computed: in this process, or in a pool of processes.

A task is a function of one argument that can be pickled; its results come in any order, and what it
writes must not depend on who computes it.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from terraloom.errors import RunError

Work = TypeVar("Work")


class Engine(Protocol):
    """Computes a task for many pieces of work."""

    def each(self, task: Callable[[Work], None], works: Sequence[Work]) -> Iterator[Work]:
        """Run the task for each piece; yields a piece when it is done, in any order.

        Raises:
            Exception: the first that a task raised; pieces that were done stay done.
        """


@dataclass(frozen=True)
class InProcess:
    """One after the other, here."""

    def each(self, task: Callable[[Work], None], works: Sequence[Work]) -> Iterator[Work]:
        """See Engine."""
        for work in works:
            task(work)
            yield work


@dataclass(frozen=True)
class ProcessPool:
    """On several cores of this machine. Starting a worker takes about a second."""

    workers: int

    def each(self, task: Callable[[Work], None], works: Sequence[Work]) -> Iterator[Work]:
        """See Engine."""
        if self.workers < 2 or len(works) < 2 * self.workers:  # done before a worker has started
            yield from InProcess().each(task, works)
            return
        # Forked children would inherit locks of threads that do not exist in them.
        context = multiprocessing.get_context("spawn")
        workers = min(self.workers, len(works))
        # The task goes to each worker once, not along with each piece of work.
        with ProcessPoolExecutor(workers, context, _prepare_worker, (task,)) as pool:
            futures = {pool.submit(_run_task, work): work for work in works}
            try:
                for future in as_completed(futures):
                    future.result()
                    yield futures[future]
            except BrokenProcessPool as error:
                raise RunError(
                    "a worker process was killed, most likely for want of memory. Run the same "
                    "command again with fewer workers ([project] workers = 1); it goes on where "
                    "it stopped."
                ) from error
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def local_engine(workers: int) -> Engine:
    """The engine for this machine; 0 takes one worker per core that this process may use."""
    count = workers or len(os.sched_getaffinity(0))
    return ProcessPool(count) if count > 1 else InProcess()


_task: Callable[[Any], None] | None = None
"""In a worker: what it computes."""


def _run_task(work: Any) -> None:  # noqa: ANN401 - whatever the task takes
    assert _task is not None
    _task(work)


def _prepare_worker(task: Callable[[Any], None]) -> None:
    """A worker leaves Ctrl-C to its parent, and ends when the parent was killed."""
    global _task
    _task = task
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)  # nobody is left to report to; atomic writes leave nothing half-written

    threading.Thread(target=end_with_parent, daemon=True).start()
