"""Features of samples that scorers share: those of the labeller, stored once for all of them."""

from collections.abc import Collection
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from terraloom.fidelity.encoders import Encoder
from terraloom.fidelity.features import feature_table
from terraloom.samples import decode_view
from terraloom.segmenting import TrainedSegmenter
from terraloom.tables import Table
from terraloom.types import Float32Array, ImageU8

_BATCH: Final = 32
_FOLDER: Final = "features"


def features_of(
    segmenter: TrainedSegmenter, table: Table, ids: Collection[str], size: int
) -> Float32Array:
    """Pooled encoder features of the named samples, "sample feature", in the table's order.

    Images are cropped to `size` (upper left): pooled features depend on the field of view, so real
    patches must show as much ground as synthetic ones before the two are compared.
    """
    wanted = pa.array(sorted(ids))
    found: list[Float32Array] = []
    pending: list[ImageU8] = []
    for batch in table.batches(["id", "image"], rows=_BATCH):
        rows = pa.Table.from_batches([batch])
        rows = rows.filter(pc.is_in(rows.column("id"), value_set=wanted))
        pending += [decode_view(v)[:size, :size] for v in rows.column("image").to_pylist()]
        if len(pending) >= _BATCH:
            found.append(segmenter.features(pending))
            pending = []
    if pending:
        found.append(segmenter.features(pending))
    return np.concatenate(found)


def ids_of_split(real: Table, split: str) -> list[str]:
    """Ids of one role's real samples, in the table's order."""
    rows = real.read(["id", "split"]).to_pylist()
    return [row["id"] for row in rows if row["split"] == split]


def side_of(synthetic: Table) -> int:
    """Side of the synthetic images in pixels; the table holds a row."""
    for batch in synthetic.batches(["image"], rows=1):
        if batch.num_rows:
            side: int = decode_view(batch.column("image").to_pylist()[0]).shape[0]
            return side
    raise AssertionError("asked for the size of no sample")


def stored_real(real: Table, encoder: Encoder, folder: Path, size: int) -> Table:
    """Features of real train and val rows; test rows are not looked at."""
    return feature_table(real, encoder, folder / _FOLDER, size=size, roles=("train", "val"))


def stored_synthetic(synthetic: Table, encoder: Encoder, folder: Path, size: int) -> Table:
    """Features of all synthetic samples."""
    return feature_table(synthetic, encoder, folder / _FOLDER, size=size)


def stored_shuffled(real: Table, encoder: Encoder, folder: Path, size: int, seed: int) -> Table:
    """Features of real val rows whose pixels are shuffled: colours without anything else."""
    where = folder / _FOLDER
    return feature_table(real, encoder, where, size=size, roles=("val",), shuffled=seed)


def stored_other(samples: Table, encoder: Encoder, folder: Path, size: int) -> Table:
    """Features of another region's real samples of every role; they are fitted on nowhere."""
    return feature_table(samples, encoder, folder / _FOLDER, size=size)
