"""Rows held in memory, in a mapped file or packed are the same rows."""

import numpy as np
import pytest

from terraloom.dataset import cache
from terraloom.dataset.cache import JoinedRows, MappedRows, RowCache
from terraloom.dataset.rows import TrainRows, train_rows, val_rows
from terraloom.samples import Sample
from terraloom.testing import toy_pair, write_real, write_samples

HOLDINGS = ("memory", "mapped", "packed")


def same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert (one.id, one.place) == (other.id, other.place)
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.mask, other.mask)
        assert (one.trust is None) == (other.trust is None)
        if one.trust is not None:
            np.testing.assert_array_equal(one.trust, other.trust)


@pytest.fixture
def table(tmp_path):
    """Rows of unequal size, some with trust."""
    samples = []
    for index in range(7):
        image, mask = toy_pair(index, 40 + index, 64 - index)
        trust = np.full(mask.shape, 30 * index, np.uint8) if index % 2 else None
        samples.append(
            Sample(f"s{index}", image, mask, "real", split="train", place="a", trust=trust)
        )
    return write_samples(tmp_path / "build" / "samples", samples)


@pytest.mark.parametrize("holding", HOLDINGS)
def test_every_way_of_holding_gives_the_same_rows(holding, table, tmp_path):
    expected = train_rows(table)
    rows = train_rows(table, cache=RowCache(tmp_path / "cache", holding))
    same(rows, expected)
    same(rows.rows[2:5], expected.rows[2:5])
    assert rows[-1].id == expected[-1].id
    again = train_rows(table, cache=RowCache(tmp_path / "cache", holding))
    same(again, expected)
    assert (tmp_path / "cache").exists() == (holding != "memory")


def test_a_mapped_row_is_a_view_of_the_file_and_cannot_be_written(table, tmp_path):
    rows = train_rows(table, cache=RowCache(tmp_path / "cache", "mapped"))
    assert isinstance(rows.rows, MappedRows)
    with pytest.raises(ValueError, match="read-only"):
        rows[0].image[0, 0, 0] = 1


def test_size_decides_and_is_told_before_the_file_is_made(table, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cache, "IN_MEMORY_BYTES", 10)
    train_rows(table, cache=RowCache(tmp_path / "large", limit_gb=1.0))
    assert "decoded once into" in capsys.readouterr().err
    rows = train_rows(table, cache=RowCache(tmp_path / "small", limit_gb=1e-6))
    assert "would pass cache_gb" in capsys.readouterr().err
    assert isinstance(rows.rows, MappedRows)
    assert rows.rows.packed


def test_a_file_of_another_table_is_made_anew_and_the_old_one_removed(tmp_path):
    held = RowCache(tmp_path / "cache", "mapped")
    first = write_real(tmp_path / "one" / "build" / "samples", train=3)
    train_rows(first, cache=held)
    val_rows(first, cache=held)
    assert len(list((tmp_path / "cache").iterdir())) == 2
    second = write_real(tmp_path / "two" / "build" / "samples", train=5)
    same(train_rows(second, cache=held), train_rows(second))
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_file_that_a_kill_left_half_written_is_never_read(table, tmp_path, monkeypatch):
    held = RowCache(tmp_path / "cache", "mapped")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "write_json", full)
    with pytest.raises(OSError, match="No space"):
        train_rows(table, cache=held)
    monkeypatch.undo()
    same(train_rows(table, cache=held), train_rows(table))
    assert not list((tmp_path / "cache").glob("*.part"))


def test_joined_rows_are_those_of_their_parts(table):
    rows = train_rows(table).rows
    joined = JoinedRows((rows[:3], (), rows[3:]))
    same(joined, rows)
    assert joined[-1].id == rows[-1].id
    with pytest.raises(IndexError):
        joined[7]
    same(TrainRows(rows[:2]) + TrainRows(rows[2:]), rows)
