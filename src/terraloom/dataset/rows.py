"""Rows by role: the type that a function asks for says what it may be fitted on.

`TrainRows` holds nothing but train rows and synthetic samples made from them; building it from
others raises. Whatever is fitted takes `TrainRows`; early stopping takes `ValRows`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from terraloom.dataset.cache import JoinedRows, PackedRow, Row, RowCache
from terraloom.errors import NothingLeft, RoleError
from terraloom.files import sha256_of_value
from terraloom.tables import Table
from terraloom.types import Channels, ImageU8, LabelMask, Role

__all__ = [
    "Row",
    "TrainRows",
    "ValRows",
    "channel_statistics",
    "stream_rows",
    "train_rows",
    "val_rows",
]

_COLUMNS: Final = ("id", "split", "origin", "place", "image", "mask", "trust", "parent")


@dataclass(frozen=True)
class _DecodedRows:
    """Decoded samples, 8-bit; in memory 10,000 patches of 128 pixels take 0.8 GB."""

    rows: Sequence[Row] = field(repr=False)
    """In memory, or views of a mapped file (`dataset.cache`)."""

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]


@dataclass(frozen=True)
class TrainRows(_DecodedRows):
    """Rows that may be fitted on. Make them with `train_rows` or by joining others."""

    def __add__(self, other: "TrainRows") -> "TrainRows":
        if not isinstance(other, TrainRows):
            raise RoleError(f"train rows can be joined with train rows only, not {type(other)}.")
        return TrainRows(JoinedRows((self.rows, other.rows)))


@dataclass(frozen=True)
class ValRows(_DecodedRows):
    """Rows that may steer (early stop, choice of recipe), never fit."""


def train_rows(
    table: Table,
    *,
    real: Table | None = None,
    only: Sequence[str] | None = None,
    cache: RowCache | None = None,
) -> TrainRows:
    """Decoded train rows of a sample table.

    Args:
        table: real samples, of which the train rows are taken; or synthetic samples.
        real: for synthetic samples, the real table that their parents must be train rows of.
        only: ids to take; left out, all train (or synthetic) rows.
        cache: how they are held; left out, in memory.

    Raises:
        RoleError: an id in `only` is of another role, or a synthetic sample's parent is.
        NothingLeft: there is no such row.
    """
    ids = None if only is None else set(only)
    light = table.read(["id", "split", "origin", "parent"])
    allowed = _train_ids(real) if real is not None else set()
    take = set()
    for row in light.to_pylist():
        if ids is not None and row["id"] not in ids:
            continue
        if row["origin"] == "real":
            if row["split"] != "train":
                if ids is None:
                    continue
                raise RoleError(
                    f"{row['id']} is a {row['split']} row; only train rows may be fitted on."
                )
        elif row["parent"] is not None and row["parent"] not in allowed:
            raise RoleError(
                f"{row['id']} was made from {row['parent']}, which is no train row; "
                "samples made from val or test must not be fitted on."
            )
        take.add(row["id"])
    rows = TrainRows(_held(table, take, cache))
    if not rows:
        raise NothingLeft(f"{table.folder} holds no row to train on.")
    return rows


def val_rows(table: Table, *, cache: RowCache | None = None) -> ValRows:
    """Decoded val rows of the real table, held as `cache` says (left out: in memory).

    Raises:
        NothingLeft: there is none.
    """
    light = table.read(["id", "split"])
    wanted = light.filter(pc.equal(light.column("split"), "val")).column("id").to_pylist()
    rows = ValRows(_held(table, set(wanted), cache))
    if not rows:
        raise NothingLeft(f"{table.folder} holds no val row.")
    return rows


def stream_rows(table: Table, role: Role | None = None, *, batch: int = 32) -> Iterator[list[Row]]:
    """Decoded rows of one role (or all), a few at a time, in bounded memory."""
    for records in table.batches(_COLUMNS, rows=batch):
        part = pa.Table.from_batches([records])
        if role is not None:
            part = part.filter(pc.equal(part.column("split"), role))
        rows = [_row(values).decoded() for values in part.to_pylist()]
        if rows:
            yield rows


def channel_statistics(train: TrainRows) -> tuple[Channels, Channels]:
    """Mean and standard deviation per channel of the training images, in units of 0 … 1."""
    count, total, squares = 0, np.zeros(3), np.zeros(3)
    for row in train.rows:
        pixels = row.image.reshape(-1, 3).astype(np.float64) / 255.0
        count += len(pixels)
        total += pixels.sum(axis=0)
        squares += (pixels**2).sum(axis=0)
    mean = total / count
    # A thousandth keeps a channel without contrast from dividing by zero.
    std = np.sqrt(np.maximum(squares / count - mean**2, 1e-6))
    red, green, blue = (float(v) for v in mean)
    return (red, green, blue), (float(std[0]), float(std[1]), float(std[2]))


def _train_ids(real: Table) -> set[str]:
    light = real.read(["id", "split"])
    train: list[str] = light.filter(pc.equal(light.column("split"), "train"))["id"].to_pylist()
    return set(train)


def _held(table: Table, ids: set[str], cache: RowCache | None) -> Sequence[Row]:
    packed = _packed(table, ids)
    if cache is None:
        return tuple(row.decoded() for row in packed)
    selection = sha256_of_value(sorted(ids))
    # Tables of one stage lie side by side, and each keeps files of its own.
    name = f"{table.folder.parent.name}-{table.folder.name}"
    return cache.hold(name, table.sha256, selection, len(ids), packed)


def _packed(table: Table, ids: set[str]) -> Iterator[PackedRow]:
    for records in table.batches(_COLUMNS):
        for values in records.to_pylist():
            if values["id"] in ids:
                yield _row(values)


def _row(values: dict[str, Any]) -> PackedRow:
    trust = values["trust"]
    return PackedRow(
        id=str(values["id"]),
        place=None if values["place"] is None else str(values["place"]),
        image=values["image"]["bytes"],
        mask=values["mask"]["bytes"],
        trust=None if trust is None else trust["bytes"],
    )


def random_crop(
    rows: TrainRows | ValRows, random: np.random.Generator, size: int
) -> tuple[ImageU8, LabelMask]:
    """Image "height width 3" and mask "height width" of a square window of a row, both drawn.

    Args:
        rows: each as large as the window, or larger.
        random: draws the row, then the window's corner.
        size: side of the window in pixels.
    """
    row = rows[int(random.integers(len(rows)))]
    top, left = (int(random.integers(side - size + 1)) for side in row.mask.shape)
    window = (slice(top, top + size), slice(left, left + size))
    return row.image[window], row.mask[window]
