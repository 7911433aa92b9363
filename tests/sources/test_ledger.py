"""The ledger of many items: what is tried again, after which waits, and what a next run finds."""

import errno
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from terraloom.errors import OutputError, RunError
from terraloom.retrying import RetrySettings, Stopped, Transient, Unavailable
from terraloom.sources import _ledger
from terraloom.sources._ledger import ItemLedger, LedgerSummary

RETRY = RetrySettings(attempts=4, first_wait_s=2.0, longest_wait_s=60.0)


class Items:
    """Items that fail as told before they are brought, and who was asked for how often."""

    def __init__(self, **troubles: list[Exception]) -> None:
        self.troubles = troubles
        self.asked: list[str] = []

    def __call__(self, item: str) -> Mapping[str, object]:
        self.asked.append(item)
        if self.troubles.get(item):
            raise self.troubles[item].pop(0)
        return {"bytes": len(item)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "ledger.jsonl"


def run(
    path: Path,
    fetch: Callable[[str], Mapping[str, object]],
    items: list[str],
    *,
    retry: RetrySettings = RETRY,
    waits: list[float] | None = None,
    seed: int = 0,
    workers: int = 1,
) -> LedgerSummary:
    sleep = (lambda _: None) if waits is None else waits.append
    ledger = ItemLedger(path, retry, seed=seed, sleep=sleep)
    return ledger.run(items, fetch, description="fetching", unit="files", workers=workers)


def busy(times: int, retry_after: float | None = None) -> list[Exception]:
    return [Transient("HTTP 503 Service Unavailable", retry_after) for _ in range(times)]


def test_every_item_is_brought_and_noted_with_its_facts(path: Path) -> None:
    summary = run(path, Items(), ["a", "bb"])
    assert (summary.asked, summary.fetched, summary.done_before) == (2, 2, 0)
    assert str(summary) == "2 fetched, 0 there before, 0 failed"
    entries = ItemLedger(path, RETRY, seed=0).entries()
    assert {name: entry["facts"] for name, entry in entries.items()} == {
        "a": {"bytes": 1},
        "bb": {"bytes": 2},
    }
    assert {entry["state"] for entry in entries.values()} == {"done"}


def test_a_second_run_asks_for_nothing(path: Path) -> None:
    run(path, Items(), ["a", "b"])
    again = Items()
    summary = run(path, again, ["a", "b"])
    assert again.asked == []
    assert (summary.done_before, summary.fetched, summary.tries) == (2, 0, 0)


def test_trouble_that_passes_is_tried_again_and_then_done(path: Path) -> None:
    items = Items(a=busy(3))
    summary = run(path, items, ["a", "b"])
    assert items.asked == ["a", "a", "a", "a", "b"]
    assert summary.failed == {}
    assert str(summary) == "2 fetched, 0 there before, 0 failed; 3 tries had to be made again"


def test_one_failed_item_never_stops_the_others(path: Path) -> None:
    items = Items(a=busy(9), b=[Unavailable("HTTP 404 Not Found")])
    summary = run(path, items, ["a", "b", "c"])
    assert summary.fetched == 1
    assert summary.failed == {"a": "HTTP 503 Service Unavailable", "b": "HTTP 404 Not Found"}
    assert items.asked.count("a") == RETRY.attempts
    assert items.asked.count("b") == 1


def test_a_next_run_tries_again_what_may_have_passed_and_nothing_else(path: Path) -> None:
    run(path, Items(a=busy(9), b=[Unavailable("gone")]), ["a", "b"])
    items = Items()
    summary = run(path, items, ["a", "b"])
    assert items.asked == ["a"]
    assert summary.failed == {"b": "gone"}
    assert str(summary) == "1 fetched, 0 there before, 1 failed"


def test_what_failed_for_good_is_tried_again_once_it_is_forgotten(path: Path) -> None:
    run(path, Items(b=[Unavailable("gone")]), ["a", "b"])
    assert ItemLedger(path, RETRY, seed=0).forget_failed() == 1
    items = Items()
    assert run(path, items, ["a", "b"]).failed == {}
    assert items.asked == ["b"]
    assert ItemLedger(path, RETRY, seed=0).forget_failed() == 0


def test_the_longest_wait_doubles_and_every_wait_is_drawn_below_it(path: Path) -> None:
    retry = RetrySettings(attempts=12, first_wait_s=2.0, longest_wait_s=60.0)
    names = [f"item {number}" for number in range(60)]
    waits: list[float] = []
    run(path, Items(**{name: busy(99) for name in names}), names, retry=retry, waits=waits)
    assert len(waits) == 60 * 11
    for index, longest in enumerate([2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]):
        drawn = waits[index::11]
        assert 0 <= min(drawn) < longest * 0.15
        assert longest * 0.85 < max(drawn) <= longest
        assert sum(drawn) / len(drawn) == pytest.approx(longest / 2, rel=0.25)


def test_waits_follow_seed_and_item_and_nothing_else(tmp_path: Path) -> None:
    def drawn(name: str, seed: int, number: int) -> list[float]:
        waits: list[float] = []
        run(tmp_path / f"{number}", Items(**{name: busy(9)}), [name], waits=waits, seed=seed)
        return waits

    assert drawn("a", 0, 1) == drawn("a", 0, 2)
    assert drawn("a", 0, 3) != drawn("b", 0, 4)
    assert drawn("a", 0, 5) != drawn("a", 1, 6)


def test_a_thousand_tries_do_not_overflow(path: Path) -> None:
    retry = RetrySettings(attempts=1200, first_wait_s=1.0, longest_wait_s=0.5)
    waits: list[float] = []
    run(path, Items(a=busy(1199)), ["a"], retry=retry, waits=waits)
    assert max(waits) <= 0.5


def test_a_wait_that_the_server_asks_for_is_kept_with_jitter_on_top(path: Path) -> None:
    waits: list[float] = []
    run(path, Items(a=busy(3, 20.0)), ["a"], waits=waits)
    assert all(20 <= wait <= 20 + longest for wait, longest in zip(waits, (2, 4, 8), strict=True))
    assert len(set(waits)) == 3


def test_a_wait_too_long_puts_the_item_off_to_the_next_run(path: Path) -> None:
    items, waits = Items(a=busy(9, 3600.0)), []
    summary = run(path, items, ["a", "b"], waits=waits)
    assert items.asked == ["a", "b"]
    assert waits == []
    assert summary.failed == {"a": "HTTP 503 Service Unavailable (the server asks to wait 3600 s)"}
    assert run(path, Items(), ["a", "b"]).fetched == 1


def test_several_items_are_under_way_at_one_time_and_all_are_noted(path: Path) -> None:
    together = threading.Barrier(4, timeout=10)

    def fetch(item: str) -> Mapping[str, object]:
        together.wait()
        return {}

    names = [f"{number}" for number in range(12)]
    assert run(path, fetch, names, workers=4).fetched == 12
    assert len(path.read_text().splitlines()) == 12


def test_half_a_line_of_a_killed_run_swallows_no_other(path: Path) -> None:
    run(path, Items(), ["a", "b"])
    text = path.read_text()
    path.write_text(text[:-30])  # b's line was not whole
    items = Items()
    run(path, items, ["a", "b", "c"])
    assert items.asked == ["b", "c"]
    assert set(ItemLedger(path, RETRY, seed=0).states()) == {"a", "b", "c"}
    again = Items()
    run(path, again, ["a", "b", "c"])
    assert again.asked == []


def test_a_bug_or_a_full_disk_stops_the_run_and_keeps_what_was_done(path: Path) -> None:
    items = Items(b=[RunError("cannot write b: No space left. Free some space")])
    with pytest.raises(RunError, match="Free some space"):
        run(path, items, ["a", "b", "c", "d"])
    assert "d" not in items.asked
    later = Items()
    run(path, later, ["a", "b", "c", "d"])
    assert "a" not in later.asked
    assert "b" in later.asked


def test_long_items_end_early_when_another_stops_the_run(path: Path) -> None:
    ledger = ItemLedger(path, RETRY, seed=0)
    begun, ended = threading.Event(), []

    def fetch(item: str) -> Mapping[str, object]:
        if item == "bad":
            assert begun.wait(10)
            raise RuntimeError("a bug")
        begun.set()
        try:
            while True:
                ledger.check()
        except Stopped:
            ended.append(item)
            raise

    with pytest.raises(RuntimeError, match="a bug"):
        ledger.run(["long", "bad"], fetch, description="fetching", unit="files", workers=2)
    assert ended == ["long"]
    assert ledger.states() == {}  # pending, as if it had never begun


def test_waits_end_when_the_run_is_stopped(path: Path) -> None:
    retry = RetrySettings(attempts=3, first_wait_s=1000.0, longest_wait_s=1000.0)
    ledger = ItemLedger(path, retry, seed=0)
    waiting = threading.Event()

    def fetch(item: str) -> Mapping[str, object]:
        if item == "bad":
            assert waiting.wait(10)
            raise RuntimeError("a bug")
        waiting.set()
        raise Transient("busy", 900.0)

    with pytest.raises(RuntimeError, match="a bug"):
        ledger.run(["slow", "bad"], fetch, description="fetching", unit="files", workers=2)


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), RunError, "Free some space and run"),
        (PermissionError(errno.EACCES, "Permission denied"), OutputError, "Choose a folder"),
    ],
)
def test_a_ledger_that_cannot_be_written_says_what_to_do(
    error: OSError, kind: type[Exception], told: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(_ledger, "append_line", fail)
        with pytest.raises(kind, match=rf"cannot write .*ledger\.jsonl.*{told}"):
            run(path, Items(), ["a", "b"])
    assert run(path, Items(), ["a", "b"]).fetched == 2


def test_an_item_named_twice_is_a_mistake(path: Path) -> None:
    with pytest.raises(ValueError, match="item a is named twice"):
        run(path, Items(), ["a", "b", "a"])
