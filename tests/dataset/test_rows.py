"""Who may be fitted on: enforced by type."""

from pathlib import Path

import numpy as np
import pytest

from terraloom.classes import ClassTable
from terraloom.dataset.rows import (
    TrainRows,
    ValRows,
    channel_statistics,
    stream_rows,
    train_rows,
    val_rows,
)
from terraloom.errors import NothingLeft, RoleError
from terraloom.samples import Sample, samples_to_table
from terraloom.tables import Table, plan_shards, write_table

ROLES = {"r0": "train", "r1": "train", "r2": "val", "r3": "test", "r4": "train"}


def image(number: int) -> np.ndarray:
    rows, columns = np.mgrid[:6, :9]
    return np.stack([rows, columns, np.full((6, 9), number)], axis=-1).astype(np.uint8)


def write(folder: Path, samples: list[Sample], classes: ClassTable) -> Table:
    return write_table(
        folder, plan_shards(len(samples), 2),
        lambda s: samples_to_table(samples[s.start : s.stop], classes),
        settings_sha256="0" * 64, inputs={}, description="rows",
    )  # fmt: skip


@pytest.fixture
def real(tmp_path: Path, three_classes: ClassTable) -> Table:
    samples = [
        Sample(
            name, image(i), np.full((6, 9), i % 3, np.uint8), "real",
            split=role, place=f"p{i}",
            trust=np.full((6, 9), 9, np.uint8) if i == 0 else None,
        )
        for i, (name, role) in enumerate(ROLES.items())
    ]  # fmt: skip
    return write(tmp_path / "real", samples, three_classes)


@pytest.fixture
def synthetic(tmp_path: Path, three_classes: ClassTable) -> Table:
    """Samples made from a train, a val and a test row, and one made freely."""
    parents = {"s0": "r0", "s1": "r2", "s2": "r3", "s3": None}
    samples = [
        Sample(
            name, image(100), np.zeros((6, 9), np.uint8),
            "conditional" if parent else "unconditional", parent=parent, seed=1,
        )
        for name, parent in parents.items()
    ]  # fmt: skip
    return write(tmp_path / "synthetic", samples, three_classes)


def test_train_rows_of_a_real_table_are_its_train_rows_decoded(real: Table) -> None:
    rows = train_rows(real)
    assert [row.id for row in rows.rows] == ["r0", "r1", "r4"]
    assert (len(rows), rows[2].place) == (3, "p4")
    assert (rows[2].image == image(4)).all()
    assert (rows[2].mask == 1).all()
    assert rows[1].trust is None
    assert rows[0].trust is not None
    assert (rows[0].trust == 9).all()


def test_val_rows_are_another_type(real: Table) -> None:
    rows = val_rows(real)
    assert [row.id for row in rows.rows] == ["r2"]
    assert isinstance(rows, ValRows)
    assert not isinstance(rows, TrainRows)


@pytest.mark.parametrize(("name", "role"), [("r2", "val"), ("r3", "test")])
def test_asking_for_rows_of_another_role_raises(real: Table, name: str, role: str) -> None:
    with pytest.raises(RoleError, match=rf"{name} is a {role} row; only train rows may be fitted"):
        train_rows(real, only=["r0", name])
    assert [row.id for row in train_rows(real, only=["r4"]).rows] == ["r4"]


@pytest.mark.parametrize(("name", "parent"), [("s1", "r2"), ("s2", "r3")])
def test_a_synthetic_sample_of_a_val_or_test_parent_raises(
    real: Table, synthetic: Table, name: str, parent: str
) -> None:
    with pytest.raises(RoleError, match=rf"{name} was made from {parent}, which is no train row"):
        train_rows(synthetic, real=real, only=["s0", name])
    with pytest.raises(RoleError, match="must not be fitted on"):
        train_rows(synthetic, real=real)


def test_samples_of_train_parents_and_free_ones_may_be_fitted_on(
    real: Table, synthetic: Table
) -> None:
    rows = train_rows(synthetic, real=real, only=["s0", "s3"])
    assert [row.id for row in rows.rows] == ["s0", "s3"]


def test_without_the_real_table_no_parent_can_be_vouched_for(synthetic: Table) -> None:
    with pytest.raises(RoleError, match="s0 was made from r0"):
        train_rows(synthetic, only=["s0"])


def test_train_rows_join_with_their_like_only(real: Table, synthetic: Table) -> None:
    joined = train_rows(real) + train_rows(synthetic, real=real, only=["s0"])
    assert [row.id for row in joined.rows] == ["r0", "r1", "r4", "s0"]
    with pytest.raises(RoleError, match="joined with train rows only"):
        train_rows(real) + val_rows(real)  # type: ignore[operator]


def test_no_row_of_a_role_is_told(real: Table, tmp_path: Path, three_classes: ClassTable) -> None:
    with pytest.raises(NothingLeft, match="holds no row to train on"):
        train_rows(real, only=[])
    only_train = Sample("x", image(0), np.zeros((6, 9), np.uint8), "real", split="train")
    with pytest.raises(NothingLeft, match="holds no val row"):
        val_rows(write(tmp_path / "t", [only_train], three_classes))


def test_streams_hold_each_row_of_a_role_once_in_order(real: Table) -> None:
    batches = list(stream_rows(real, batch=1))
    assert [[row.id for row in batch] for batch in batches] == [[name] for name in ROLES]
    assert [row.id for batch in stream_rows(real, "train") for row in batch] == ["r0", "r1", "r4"]
    assert [row.id for batch in stream_rows(real, "test", batch=5) for row in batch] == ["r3"]


def test_statistics_are_those_of_all_training_pixels(real: Table) -> None:
    rows = train_rows(real)
    pixels = np.concatenate([row.image.reshape(-1, 3) for row in rows.rows]) / 255
    mean, std = channel_statistics(rows)
    assert mean == pytest.approx(pixels.mean(axis=0))
    assert std == pytest.approx(np.maximum(pixels.std(axis=0), 1e-3))


def test_a_channel_without_contrast_does_not_divide_by_zero(real: Table) -> None:
    _, std = channel_statistics(train_rows(real, only=["r0"]))
    assert std[2] == pytest.approx(1e-3)
