"""Examples nobody chose, and crops found again."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from terraloom.report.reading import ProjectFiles, evenly, find_crop, tally
from terraloom.tables import plan_shards, write_table


def test_examples_are_evenly_spaced_over_sorted_names() -> None:
    names = [f"{i:02d}" for i in range(11)]
    assert evenly(names[::-1], 3) == ["00", "05", "10"]
    assert evenly(["b", "a"], 5) == ["a", "b"]
    assert evenly([], 5) == []


def test_a_crop_is_found_where_it_was_cut() -> None:
    mask = np.random.default_rng(0).integers(0, 7, (40, 52)).astype(np.uint8)
    assert find_crop(mask, mask[7:27, 13:33]) == (7, 13)
    assert find_crop(mask, mask) == (0, 0)


def test_a_crop_of_another_mask_is_not_found() -> None:
    mask = np.zeros((20, 20), dtype=np.uint8)
    other = mask[:8, :8].copy()
    other[3, 3] = 1
    assert find_crop(mask, other) is None
    assert find_crop(mask[:4], mask) is None


def test_uniform_masks_take_the_first_place() -> None:
    mask = np.full((20, 20), 3, dtype=np.uint8)
    assert find_crop(mask, mask[:8, :8]) == (0, 0)


def test_an_absent_project_reads_as_nothing(tmp_path) -> None:
    files = ProjectFiles(tmp_path / "none")
    assert files.results is None
    assert files.scores == {}
    assert files.looks == []
    assert files.generators == []
    assert files.rows_of("build/samples", ["a"]) == {}


def table_of(folder: Path, ids: list[str], rows_per_shard: int = 300) -> None:
    rows = pa.table({"id": ids, "value": [f"value of {name}" for name in ids]})
    write_table(
        folder, plan_shards(len(ids), rows_per_shard),
        lambda shard: rows.slice(shard.start, shard.stop - shard.start),
        settings_sha256="0", inputs={}, description="fixture",
    )  # fmt: skip


def test_rows_of_a_few_ids_read_only_the_row_groups_that_hold_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"s{i:05d}" for i in range(3000)]
    table_of(tmp_path / "table", names)
    read = []
    whole = pq.ParquetFile.read_row_group

    def counted(self: pq.ParquetFile, group: int, *args: object, **options: object) -> pa.Table:
        read.append(group)
        return whole(self, group, *args, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    found = ProjectFiles(tmp_path).rows_of("table", ["s00007", "s02999", "nobody"])
    assert {name: rows[0]["value"] for name, rows in found.items()} == {
        "s00007": "value of s00007",
        "s02999": "value of s02999",
    }
    # 3,000 rows make 30 groups.
    assert len(read) == 2


def test_rows_are_found_in_tables_that_keep_no_order(tmp_path: Path) -> None:
    names = [f"s{i:03d}" for i in range(50)]
    np.random.default_rng(0).shuffle(names)
    table_of(tmp_path / "table", names, rows_per_shard=10)
    found = ProjectFiles(tmp_path).rows_of("table", names)
    assert sorted(found) == sorted(names)
    assert all(len(rows) == 1 for rows in found.values())


def test_rows_are_tallied_over_pieces_and_empty_values() -> None:
    pieces = [
        pa.table({"a": ["x", "y", None], "b": [1, 1, 1]}),
        pa.table({"a": ["x", None], "b": [1, 2]}),
    ]
    assert tally(iter(pieces), ("a", "b")) == {
        ("x", 1): 2, ("y", 1): 1, (None, 1): 1, (None, 2): 1,
    }  # fmt: skip


def test_source_files_are_told_once(project: Path) -> None:
    files = ProjectFiles(project)
    assert [file["name"] for file in files.source_files] == ["tile.tif"]
    assert files.source_files[0]["attribution"] == "ESA WorldCover"
