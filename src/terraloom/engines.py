"""Where shards are computed: in this process, or in a pool of processes.

A task is a function of one argument that can be pickled; its results come in any order, and what it
writes must not depend on who computes it.
"""

import multiprocessing
import os
import pickle
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from terraloom.errors import RunError

Work = TypeVar("Work")


class Engine(Protocol):
    """Computes a task for many pieces of work; a context, at whose end its workers end."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class ProcessPool:
    """On several cores of this machine; use it as a context, whose end ends the workers.

    Starting a worker takes about a second, so they are started once, and stay between tasks.

    Args:
        workers: processes.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None
        self._tasks: tempfile.TemporaryDirectory[str] | None = None
        self._sent = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers; work that has not begun is dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
        if self._tasks is not None:
            self._tasks.cleanup()
            self._tasks = None

    def each(self, task: Callable[[Work], None], works: Sequence[Work]) -> Iterator[Work]:
        """See Engine."""
        if self.workers < 2 or len(works) < 2 * self.workers:  # done before a worker has started
            yield from InProcess().each(task, works)
            return
        pool, path = self._started(), self._send(task)
        try:
            futures = {pool.submit(_run_task, path, work): work for work in works}
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BrokenProcessPool as error:
            self.close()
            raise RunError(
                "a worker process was killed, most likely for want of memory. Run the same "
                "command again with fewer workers ([project] workers = 1); it goes on where "
                "it stopped."
            ) from error
        except BaseException:
            self.close()
            raise

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._tasks = tempfile.TemporaryDirectory(prefix="terraloom-")
            # Forked children would inherit locks of threads that do not exist in them.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(
                self.workers, context, _prepare_worker, (self._tasks.name,)
            )
        return self._pool

    def _send(self, task: Callable[[Any], None]) -> str:
        """Leave the task in a file: each worker reads it once, not with each piece of work."""
        assert self._tasks is not None
        self._sent += 1
        path = Path(self._tasks.name) / f"task-{self._sent}"
        path.write_bytes(pickle.dumps(task))
        return str(path)


def local_engine(workers: int) -> Engine:
    """The engine for this machine; 0 takes one worker per core that this process may use."""
    count = workers or len(os.sched_getaffinity(0))
    return ProcessPool(count) if count > 1 else InProcess()


@lru_cache(maxsize=1)
def _task_in(path: str) -> Callable[[Any], None]:
    """In a worker: what its parent sent."""
    task: Callable[[Any], None] = pickle.loads(Path(path).read_bytes())  # noqa: S301 - our own
    return task


def _run_task(path: str, work: Any) -> None:  # noqa: ANN401 - whatever the task takes
    _task_in(path)(work)


def _prepare_worker(tasks: str) -> None:
    """A worker leaves Ctrl-C to its parent, and tidies up and ends when the parent was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        shutil.rmtree(tasks, ignore_errors=True)
        os._exit(1)  # nobody is left to report to; atomic writes leave nothing half-written

    threading.Thread(target=end_with_parent, daemon=True).start()
