"""The loader: the next batch is made while the device works on this one.

A batch is addressed by (seed, images seen), so it is the same whether it was made ahead or not, by
one thread or several; nothing of the loader needs to be stored for a restart.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

Made = TypeVar("Made")


class Loader(Generic[Made]):
    """Makes batches ahead in threads; decoding, cropping and stacking release the interpreter.

    Args:
        make: the batch that begins after so many images; must depend on nothing else.
        batch_size: images per batch.
        ahead: batches made ahead; 0 makes each when it is asked for.
    """

    def __init__(self, make: Callable[[int], Made], batch_size: int, ahead: int = 1) -> None:
        self._make = make
        self._batch_size = batch_size
        self._ahead = ahead
        self._pool = ThreadPoolExecutor(max(ahead, 1), thread_name_prefix="batch")
        self._waiting: dict[int, Future[Made]] = {}
        self._started = time.perf_counter()
        self._waited = 0.0

    def __enter__(self) -> "Loader[Made]":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def batch(self, images: int, last: int | None = None) -> Made:
        """The batch that begins after `images` images.

        Args:
            images: seen so far.
            last: images of the whole training; nothing beyond is made ahead.
        """
        before = time.perf_counter()
        ready = self._waiting.pop(images, None)
        made = self._make(images) if ready is None else ready.result()
        self._waited += time.perf_counter() - before
        for number in range(1, self._ahead + 1):
            following = images + number * self._batch_size
            if following not in self._waiting and (last is None or following < last):
                self._waiting[following] = self._pool.submit(self._make, following)
        return made

    @property
    def waiting_share(self) -> float:
        """Share of the time since the start that was spent waiting for data, 0 … 1."""
        return self._waited / max(time.perf_counter() - self._started, 1e-9)
