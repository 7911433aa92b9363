"""Folds over the places of train, and what each may be fitted on.

A scope is a set of real rows that a whole chain (labeller, generators, plan, samples) is fitted on.
The scope of a fold holds none of its places and no test row, so nothing that is judged on the fold
has seen it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from terraloom.dataset.cache import RowCache
from terraloom.dataset.rows import TrainRows, ValRows, train_rows, val_rows
from terraloom.dataset.train_folds import deal_train_places
from terraloom.files import sha256_of_value
from terraloom.seeds import generator_at
from terraloom.tables import Shard, Table, shards_of, write_table


@dataclass(frozen=True)
class Scope:
    """What one chain is fitted on."""

    name: str
    """"whole" or "fold-N"."""
    folder: Path
    real: Table
    """Real samples that the chain may look at."""
    train: TrainRows
    val: ValRows
    """Steers, as ever."""


@dataclass(frozen=True)
class Fold:
    """One fold of the places of train."""

    name: str
    places: frozenset[str]
    """Held back."""
    others: TrainRows
    """Train rows of all other places."""
    held: TrainRows
    """Rows that the fold is judged on."""


def train_folds(real: Table, folds: int, seed: int, cache: RowCache | None) -> list[Fold]:
    """Deal the places of train into folds, with their rows.

    Args:
        real: real samples.
        folds: 2 or more.
        seed: of the dealing.
        cache: how rows are held.

    Raises:
        NothingLeft: train has fewer places than folds.
    """
    dealt = deal_train_places(real, folds, generator_at(seed, "demand folds"), f"--folds {folds}")
    return [
        Fold(
            f"fold-{number}",
            fold.places,
            train_rows(real, only=fold.others, cache=cache),
            train_rows(real, only=fold.held, cache=cache),
        )
        for number, fold in enumerate(dealt)
    ]


def whole_scope(real: Table, folder: Path, cache: RowCache | None) -> Scope:
    """All train rows, for what is made in the end."""
    return Scope(
        "whole", folder / "whole", real, train_rows(real, cache=cache), val_rows(real, cache=cache)
    )


def fold_scope(real: Table, fold: Fold, folder: Path, cache: RowCache | None) -> Scope:
    """The rows of all other train places and of val, as a table of their own in `folder`."""
    own = folder / fold.name
    table = _without(real, fold.places, own / "samples")
    return Scope(fold.name, own, table, fold.others, val_rows(table, cache=cache))


def _without(real: Table, places: frozenset[str], folder: Path) -> Table:
    """Train rows of other places and val rows; shard by shard as in `real`."""

    def take(shard: Shard) -> pa.Table:
        rows = pq.read_table(real.folder / shard.filename)
        kept = [
            row["split"] == "val"
            or (row["split"] == "train" and (row["place"] or row["id"]) not in places)
            for row in rows.select(["id", "split", "place"]).to_pylist()
        ]
        return rows.filter(pa.array(kept, pa.bool_()))

    return write_table(
        folder,
        shards_of(real),
        take,
        settings_sha256=sha256_of_value(sorted(places)),
        inputs={"samples": real.sha256},
        description="writing the rows of a fold",
        unit="samples",
    )


def outside(ids: Sequence[str], samples: Table, real: Table, fold: Fold) -> list[str]:
    """Those of some synthetic samples whose parent lies in no place of the fold."""
    place = {r["id"]: r["place"] or r["id"] for r in real.read(["id", "place"]).to_pylist()}
    parents = {r["id"]: r["parent"] for r in samples.read(["id", "parent"]).to_pylist()}
    return [
        name for name in ids if parents[name] is None or place[parents[name]] not in fold.places
    ]
