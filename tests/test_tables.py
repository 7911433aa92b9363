"""Shards and manifests."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from terraloom.errors import DamagedTable, NewerFormat, StageMissing
from terraloom.tables import (
    MANIFEST,
    SCHEMA_VERSION,
    Shard,
    Table,
    plan_shards,
    shards_of,
    write_shard,
    write_table,
)

SCHEMA = pa.schema([("id", pa.string()), ("square", pa.int64())])


def numbers(start: int, stop: int) -> pa.Table:
    values = range(start, stop)
    columns = {"id": [f"row{i:05d}" for i in values], "square": [i * i for i in values]}
    return pa.table(columns, schema=SCHEMA)


def make(shard: Shard) -> pa.Table:
    return numbers(shard.start, shard.stop)


def write(folder: Path, rows: int = 25, make: Callable[[Shard], pa.Table] = make) -> Table:
    return write_table(
        folder, plan_shards(rows, 10), make,
        settings_sha256="a" * 64, inputs={"x.tif": "b" * 64}, description="counting",
    )  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_shards_reassemble_to_the_whole() -> None:
    shards = plan_shards(25, 10)
    assert [(s.start, s.stop) for s in shards] == [(0, 10), (10, 20), (20, 25)]
    assert [s.filename for s in shards][2] == "part-00002.parquet"
    assert plan_shards(20, 10)[-1] == Shard(1, 10, 20)


def test_the_manifest_tells_rows_ids_and_checksum_of_every_shard(tmp_path: Path) -> None:
    write(tmp_path / "t")
    manifest = json.loads((tmp_path / "t" / MANIFEST).read_text())
    assert manifest["schema_version"] == SCHEMA_VERSION
    assert manifest["settings_sha256"] == "a" * 64
    assert manifest["inputs"] == {"x.tif": "b" * 64}
    last = manifest["shards"][2]
    data = (tmp_path / "t" / "part-00002.parquet").read_bytes()
    assert last == {
        "file": "part-00002.parquet",
        "rows": 5,
        "first_id": "row00020",
        "last_id": "row00024",
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def test_rows_come_back_in_order_whole_or_streamed(tmp_path: Path) -> None:
    table = write(tmp_path / "t")
    assert table.num_rows == 25
    assert table.read().equals(numbers(0, 25))
    assert table.read(["square"]).column("square").to_pylist() == [i * i for i in range(25)]
    batches = [len(batch) for batch in table.batches(["id"], rows=4)]
    assert batches == [4, 4, 2, 4, 4, 2, 4, 1]  # no batch crosses a shard
    assert shards_of(table) == plan_shards(25, 10)


def test_an_empty_table_keeps_its_columns(tmp_path: Path) -> None:
    assert plan_shards(0, 10) == [Shard(0, 0, 0)]
    table = write(tmp_path / "t", rows=0)
    assert table.num_rows == 0
    assert table.read().schema.equals(SCHEMA)
    assert table.manifest["shards"][0]["first_id"] is None


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    write(tmp_path / "one")
    write(tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("lost", [(0,), (1, 2), (0, 1, 2)])
def test_an_interrupted_table_is_finished_to_the_same_bytes(
    tmp_path: Path, lost: tuple[int, ...]
) -> None:
    write(tmp_path / "t")
    whole = contents(tmp_path / "t")
    (tmp_path / "t" / MANIFEST).unlink()
    for index in lost:
        (tmp_path / "t" / f"part-{index:05d}.parquet").unlink()
    (tmp_path / "t" / ".part-00001.parquet.99999.part").write_bytes(b"torn")
    made: list[int] = []

    def count(shard: Shard) -> pa.Table:
        made.append(shard.index)
        return make(shard)

    write(tmp_path / "t", make=count)
    assert made == list(lost)
    assert contents(tmp_path / "t") == whole


def test_a_finished_table_is_not_made_again(tmp_path: Path) -> None:
    write(tmp_path / "t")

    def never(shard: Shard) -> pa.Table:
        raise AssertionError("made again")

    assert write(tmp_path / "t", make=never).num_rows == 25


def test_a_failing_shard_leaves_the_finished_ones_and_no_manifest(tmp_path: Path) -> None:
    def fail(shard: Shard) -> pa.Table:
        if shard.index == 1:
            raise RuntimeError("power cut")
        return make(shard)

    with pytest.raises(RuntimeError, match="power cut"):
        write(tmp_path / "t", make=fail)
    assert [p.name for p in (tmp_path / "t").iterdir()] == ["part-00000.parquet"]
    with pytest.raises(StageMissing, match=r"holds no finished table \(no manifest\.json\)"):
        Table.open(tmp_path / "t")


def test_a_row_group_holds_128_rows(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.parquet", numbers(0, 300))
    metadata = pq.ParquetFile(tmp_path / "a.parquet").metadata
    assert [metadata.row_group(i).num_rows for i in range(3)] == [128, 128, 44]


def test_a_newer_major_version_is_refused_by_name_and_a_newer_minor_is_read(
    tmp_path: Path,
) -> None:
    write(tmp_path / "t")
    path = tmp_path / "t" / MANIFEST
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"schema_version": "1.9"}))
    assert Table.open(tmp_path / "t").num_rows == 25
    path.write_text(json.dumps(manifest | {"schema_version": "2.0"}))
    with pytest.raises(NewerFormat, match=r"schema version 2\.0; this terraloom reads up to 1\.1"):
        Table.open(tmp_path / "t")


def test_a_lost_shard_and_a_flipped_bit_are_told_by_file(tmp_path: Path) -> None:
    table = write(tmp_path / "t")
    table.verify()
    path = tmp_path / "t" / "part-00001.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedTable, match=r"part-00001\.parquet differs from its checksum"):
        table.verify()
    path.unlink()
    with pytest.raises(DamagedTable, match=r"part-00001\.parquet is named in the manifest but mis"):
        Table.open(tmp_path / "t")


def test_a_tables_checksum_follows_every_byte_of_its_shards(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one"), write(tmp_path / "two")
    other = write(tmp_path / "three", make=lambda s: numbers(s.start + (s.index == 2), s.stop + 1))
    assert one.sha256 == two.sha256 != other.sha256
