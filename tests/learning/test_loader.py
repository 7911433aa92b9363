"""The loader: batches made ahead are those that would have been made when asked for."""

import threading
import time

import pytest

from terraloom.learning.loader import Loader


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_batches_come_in_the_order_asked_for_whatever_is_made_ahead(ahead):
    with Loader(lambda images: f"batch at {images}", 4, ahead) as loader:
        assert [loader.batch(i) for i in (0, 4, 8, 40, 44)] == [
            f"batch at {i}" for i in (0, 4, 8, 40, 44)
        ]


def test_the_next_batch_is_made_while_this_one_is_worked_on():
    made = threading.Event()

    def make(images):
        if images == 2:
            made.set()
        return images

    with Loader(make, 2) as loader:
        loader.batch(0)
        assert made.wait(5)


def test_nothing_is_made_beyond_the_end():
    asked = []
    with Loader(lambda images: asked.append(images), 2, ahead=2) as loader:
        loader.batch(0, last=4)
        loader.batch(2, last=4)
    assert sorted(asked) == [0, 2]


def test_what_fails_ahead_is_raised_where_the_batch_is_asked_for():
    def make(images):
        if images == 2:
            raise ValueError("no such row")
        return images

    with Loader(make, 2) as loader:
        assert loader.batch(0) == 0
        with pytest.raises(ValueError, match="no such row"):
            loader.batch(2)


def test_time_spent_waiting_is_told_as_a_share():
    with Loader(lambda images: time.sleep(0.02), 1, ahead=0) as slow:
        for i in range(5):
            slow.batch(i)
        assert slow.waiting_share > 0.8
    with Loader(lambda images: None, 1) as quick:
        for i in range(5):
            quick.batch(i)
            time.sleep(0.01)
        assert quick.waiting_share < 0.2
