"""Features of sample tables: computed once, shard by shard, and read in blocks.

A table of features follows its sample table shard by shard, so that a killed run repeats one shard,
and lies in a folder named after everything that decides it: other weights, samples or crops get a
folder of their own, and nothing stale is ever read.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from terraloom.errors import InputError
from terraloom.fidelity.blocks import BLOCK_ROWS, Features, blocks_of
from terraloom.fidelity.encoders import Encoder
from terraloom.files import sha256_of_value
from terraloom.samples import decode_view
from terraloom.seeds import generator_at
from terraloom.tables import Shard, Table, shards_of, write_table
from terraloom.types import Float32Array, ImageU8, Role

_BATCH: Final = 32
_SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        ("group", pa.string()),
        ("feature", pa.list_(pa.float32())),
    ]
)


def feature_table(
    samples: Table,
    encoder: Encoder,
    folder: Path,
    *,
    size: int,
    roles: Sequence[Role] | None = None,
    shuffled: int | None = None,
) -> Table:
    """The features of a sample table, made where they are missing.

    Args:
        samples: sample table.
        encoder: network that looks at the images.
        folder: receives one folder per table.
        size: images are cropped to it (upper left): pooled features depend on the field of view, so
            real patches must show as much ground as synthetic ones before the two are compared.
        roles: of real samples, which to take; left out, all samples.
        shuffled: a seed; each image's pixels are put in a random order, so that its colours stay
            and everything else is lost. Left out, images stay as they are.

    Returns:
        Columns id, group (the role of real samples, the origin of others), feature.
    """
    decides = {
        "encoder": encoder.sha256,
        "samples": samples.sha256,
        "size": size,
        "roles": list(roles) if roles is not None else None,
        "shuffled": shuffled,
    }
    digest = sha256_of_value(decides)

    def make(shard: Shard) -> pa.Table:
        path = samples.folder / shard.filename
        return _features_of(path, encoder, size, roles, shuffled)

    return write_table(
        folder / digest[:16],
        shards_of(samples),
        make,
        settings_sha256=digest,
        inputs={"samples": samples.sha256, "encoder": encoder.sha256},
        description="encoding shuffled images" if shuffled is not None else "encoding images",
        unit="images",
    )


def feature_blocks(table: Table, group: str | None = None) -> Iterator[Float32Array]:
    """Features "sample feature" of one group (or all) in the table's order, a block at a time."""
    for batch in table.batches(["group", "feature"], rows=BLOCK_ROWS):
        part = pa.Table.from_batches([batch])
        if group is not None:
            part = part.filter(pc.equal(part.column("group"), group))
        if part.num_rows:
            yield _array(part.column("feature"))


def group_counts(table: Table) -> dict[str, int]:
    """Samples of each group, by name in alphabetical order."""
    counts = table.read(["group"]).column("group").value_counts().to_pylist()
    return {entry["values"]: entry["counts"] for entry in sorted(counts, key=lambda e: e["values"])}


def drawn_features(
    table: Table, group: str | None, most: int, *, seed: int
) -> tuple[list[str], Float32Array]:
    """At most `most` samples of one group (or all), drawn evenly, in the table's order.

    Args:
        table: of features.
        group: role or origin; None takes all.
        most: samples.
        seed: of the draw.

    Returns:
        Ids, and features "sample feature" in memory.

    Raises:
        InputError: the group has no sample.
    """
    groups = table.read(["group"]).column("group").to_pylist()
    rows = np.array([i for i, name in enumerate(groups) if group is None or name == group])
    if not len(rows):
        raise InputError(f"no sample of {group!r} has features in {table.folder}.")
    if len(rows) > most:
        order = generator_at(seed, "features", group or "", most).permutation(len(rows))[:most]
        rows = rows[np.sort(order)]
    ids: list[str] = []
    blocks: list[Float32Array] = []
    start = 0
    for path, shard in zip(table.paths, shards_of(table), strict=True):
        wanted = rows[(rows >= start) & (rows < start + shard.stop - shard.start)] - start
        start += shard.stop - shard.start
        if len(wanted):
            part = pq.read_table(path, columns=["id", "feature"]).take(pa.array(wanted))
            ids += part.column("id").to_pylist()
            blocks.append(_array(part.column("feature")))
    return ids, np.concatenate(blocks)


def shard_features(table: Table, filename: str) -> Float32Array:
    """Features "sample feature" of one shard; of one without samples, an empty array."""
    return _array(pq.read_table(table.folder / filename, columns=["feature"]).column("feature"))


def _features_of(
    path: Path, encoder: Encoder, size: int, roles: Sequence[Role] | None, shuffled: int | None
) -> pa.Table:
    parts: list[pa.Table] = []
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH, columns=["id", "origin", "split", "image"]):
            rows = [row for row in batch.to_pylist() if roles is None or row["split"] in roles]
            if not rows:
                continue
            images = [_seen(row, size, shuffled) for row in rows]
            for features in blocks_of([encoder.features(images)]):
                parts.append(_rows(rows, features))
    return pa.concat_tables(parts) if parts else _SCHEMA.empty_table()


def _rows(rows: Sequence[dict[str, Any]], features: Features) -> pa.Table:
    groups = [row["split"] if row["origin"] == "real" else row["origin"] for row in rows]
    return pa.table(
        {"id": [row["id"] for row in rows], "group": groups, "feature": list(features)},
        schema=_SCHEMA,
    )


def _seen(row: dict[str, Any], size: int, shuffled: int | None) -> ImageU8:
    image: ImageU8 = decode_view(row["image"])[:size, :size]
    if shuffled is None:
        return image
    flat = image.reshape(-1, image.shape[-1])
    order = generator_at(shuffled, "shuffled pixels", row["id"]).permutation(len(flat))
    return np.ascontiguousarray(flat[order].reshape(image.shape))


def _array(column: Any) -> Float32Array:  # noqa: ANN401 - pyarrow ships no types
    values: Float32Array = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(column), -1) if len(column) else np.zeros((0, 1), np.float32)
