"""Features of samples in the labeller's encoder, streamed."""

from collections.abc import Collection
from typing import Final

import numpy as np

from terraloom.dataset.rows import stream_rows
from terraloom.segmenting import TrainedSegmenter
from terraloom.tables import Table
from terraloom.types import Float32Array, ImageU8

_BATCH: Final = 32


def features_of(
    segmenter: TrainedSegmenter, table: Table, ids: Collection[str], size: int
) -> Float32Array:
    """Pooled encoder features of the named samples, "sample feature", in the table's order.

    Images are cropped to `size` (upper left): pooled features depend on the field of view, so real
    patches must show as much ground as synthetic ones before the two are compared.
    """
    wanted = set(ids)
    found: list[Float32Array] = []
    pending: list[ImageU8] = []
    for rows in stream_rows(table, batch=_BATCH):
        pending += [row.image[:size, :size] for row in rows if row.id in wanted]
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
