"""Tables on disk: Parquet shards and a manifest; missing shards are the work that is left.

A table is a folder of `part-00000.parquet …` and `manifest.json`. Each shard is written to a
temporary name, fsynced and renamed, then the manifest is written last: its existence means that
the table is complete. Writer settings are fixed, so equal rows give equal bytes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from terraloom.engines import Engine, InProcess
from terraloom.errors import DamagedTable, NewerFormat, StageMissing
from terraloom.files import (
    atomic_path,
    make_folder,
    read_json,
    remove_leftovers,
    sha256_of,
    write_json,
)
from terraloom.progress import meter

SCHEMA_VERSION: Final = "1.1"
"""Major.minor of the format: readers refuse a newer major and read every older one."""
SHARD_ROWS: Final = 2000
"""Most rows of one shard."""
ROW_GROUP_ROWS: Final = 128
MANIFEST: Final = "manifest.json"


@dataclass(frozen=True)
class Shard:
    """One range of work: rows `start` to `stop` (exclusive) of a plan."""

    index: int
    start: int
    stop: int

    @property
    def filename(self) -> str:
        """Name of the shard's file in the table's folder."""
        return f"part-{self.index:05d}.parquet"


def plan_shards(num_rows: int, rows_per_shard: int = SHARD_ROWS) -> list[Shard]:
    """Cut `num_rows` into consecutive shards of at most `rows_per_shard` rows.

    No rows make one empty shard, so that the table keeps its columns.
    """
    if num_rows == 0:
        return [Shard(0, 0, 0)]
    return [
        Shard(index, start, min(start + rows_per_shard, num_rows))
        for index, start in enumerate(range(0, num_rows, rows_per_shard))
    ]


def shards_of(table: "Table") -> list[Shard]:
    """The shards of a finished table, so that a derived table can follow it shard by shard."""
    shards, start = [], 0
    for index, entry in enumerate(table.manifest["shards"]):
        shards.append(Shard(index, start, start + int(entry["rows"])))
        start += int(entry["rows"])
    return shards


def write_shard(path: Path, rows: pa.Table) -> None:
    """Write one shard atomically with the fixed writer settings."""
    with atomic_path(path) as temporary:
        pq.write_table(
            rows,
            temporary,
            row_group_size=ROW_GROUP_ROWS,
            compression="zstd",
            compression_level=3,
            # Pictures are all different: looking for repeated ones takes longer than writing them.
            use_dictionary=_leaves(rows.schema, but=pa.types.is_binary),
            write_statistics=True,
            data_page_version="1.0",
            version="2.6",
        )


def _leaves(schema: pa.Schema, *, but: Callable[[pa.DataType], bool]) -> list[str]:
    """Paths of the columns as Parquet stores them, without those of some type."""

    def below(path: str, kind: pa.DataType) -> Iterator[str]:
        if pa.types.is_struct(kind):
            for child in kind:
                yield from below(f"{path}.{child.name}", child.type)
        elif pa.types.is_list(kind):
            yield from below(f"{path}.list.element", kind.value_type)
        elif not but(kind):
            yield path

    return [leaf for field in schema for leaf in below(field.name, field.type)]


def write_table(
    folder: Path,
    shards: Sequence[Shard],
    make: Callable[[Shard], pa.Table],
    *,
    settings_sha256: str,
    inputs: dict[str, str],
    description: str,
    unit: str = "rows",
    engine: Engine | None = None,
) -> "Table":
    """Make the missing shards of a table and, last, its manifest.

    Args:
        folder: of the table; shards that stand there already are kept.
        shards: the whole plan.
        make: computes a shard's rows, in id order, from nothing but the shard and fixed inputs;
            an engine of several processes needs it to be picklable.
        settings_sha256: of the settings that decide the content.
        inputs: checksum of every input, by name.
        description: what the progress bar says.
        unit: of the progress bar.
        engine: where shards are computed; left out, in this process.

    Returns:
        The complete table.
    """
    make_folder(folder)
    if (folder / MANIFEST).exists():
        return Table.open(folder)
    remove_leftovers(folder)
    total = sum(shard.stop - shard.start for shard in shards)
    done = [shard for shard in shards if (folder / shard.filename).exists()]
    left = [shard for shard in shards if shard not in done]
    # Checksums are taken while other shards are still being made.
    entries = {shard.index: _entry(folder, shard) for shard in done}
    with meter(description, total, unit, sum(s.stop - s.start for s in done)) as progress:
        for shard in (engine or InProcess()).each(_MakeShard(folder, make), left):
            entries[shard.index] = _entry(folder, shard)
            progress.advance(shard.stop - shard.start)
    write_json(
        folder / MANIFEST,
        {
            "schema_version": SCHEMA_VERSION,
            "settings_sha256": settings_sha256,
            "inputs": inputs,
            "shards": [entries[shard.index] for shard in shards],
        },
    )
    return Table.open(folder)


def _entry(folder: Path, shard: Shard) -> dict[str, Any]:
    """What the manifest says of a shard that is written."""
    path = folder / shard.filename
    ids = pq.read_table(path, columns=["id"]).column("id")
    return {
        "file": shard.filename,
        "rows": len(ids),
        "first_id": ids[0].as_py() if len(ids) else None,
        "last_id": ids[-1].as_py() if len(ids) else None,
        "sha256": sha256_of(path),
    }


@dataclass(frozen=True)
class _MakeShard:
    """Computes one shard and writes it; can be sent to another process."""

    folder: Path
    make: Callable[[Shard], pa.Table]

    def __call__(self, shard: Shard) -> None:
        write_shard(self.folder / shard.filename, self.make(shard))


@dataclass(frozen=True)
class Table:
    """A complete table: its folder and manifest."""

    folder: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> "Table":
        """Open a complete table.

        Raises:
            StageMissing: the folder has no manifest, so the table is absent or unfinished.
            NewerFormat: it was written with a newer major schema version.
            DamagedTable: the manifest names a shard that is not there.
        """
        path = folder / MANIFEST
        if not path.exists():
            raise StageMissing(
                f"{folder} holds no finished table (no {MANIFEST}). Run the stage that makes it."
            )
        manifest = read_json(path)
        major = int(str(manifest["schema_version"]).split(".")[0])
        if major > int(SCHEMA_VERSION.split(".")[0]):
            raise NewerFormat(
                f"{folder} has schema version {manifest['schema_version']}; this terraloom reads "
                f"up to {SCHEMA_VERSION}. Upgrade terraloom."
            )
        for entry in manifest["shards"]:
            if not (folder / entry["file"]).exists():
                raise DamagedTable(f"{folder / entry['file']} is named in the manifest but missing")
        return cls(folder, manifest)

    @property
    def num_rows(self) -> int:
        """Rows in all shards."""
        return sum(int(entry["rows"]) for entry in self.manifest["shards"])

    @property
    def sha256(self) -> str:
        """Checksum of the manifest, which holds the checksum of every shard."""
        return sha256_of(self.folder / MANIFEST)

    @property
    def paths(self) -> list[Path]:
        """Shard files in order."""
        return [self.folder / str(entry["file"]) for entry in self.manifest["shards"]]

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows of the columns asked for; ask for images only where they fit in memory."""
        if not self.paths:
            return pa.table({})
        parts = [pq.read_table(path, columns=columns) for path in self.paths]
        return pa.concat_tables(parts)

    def batches(
        self, columns: Sequence[str] | None = None, rows: int = ROW_GROUP_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """Stream rows in order, at most `rows` at a time, in bounded memory."""
        for path in self.paths:
            with pq.ParquetFile(path) as shard:
                yield from shard.iter_batches(batch_size=rows, columns=columns)

    def verify(self) -> None:
        """Compare every shard with its checksum.

        Raises:
            DamagedTable: a shard's bytes differ from what the manifest says.
        """
        for entry in self.manifest["shards"]:
            path = self.folder / str(entry["file"])
            if sha256_of(path) != entry["sha256"]:
                raise DamagedTable(
                    f"{path} differs from its checksum. Delete the stage's folder and run again."
                )
