"""Scenes in, a split and leak-tested table of samples out."""

import datetime
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from terraloom import tables
from terraloom.classes import ClassTable, preset
from terraloom.dataset import cutting
from terraloom.dataset.build import Dataset, build_dataset
from terraloom.engines import InProcess, ProcessPool
from terraloom.errors import LeakFound, NothingLeft, SettingsError
from terraloom.raster.grid import Grid
from terraloom.samples import decode, decode_view
from terraloom.settings import CutSettings, SplitSettings
from terraloom.sources import tiles
from terraloom.sources.world import Settings as WorldSettings
from terraloom.sources.world import write_world
from terraloom.tables import Table

NAMES = ("a", "a-b", "b", "c", "d", "e")
UTM = Grid("EPSG:32636", (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_300_000.0), 70, 101)
MakeSource = Callable[..., Any]


@pytest.fixture
def build(three_classes: ClassTable) -> Callable[..., Dataset]:
    """Build with small patches; `cut_…` and `split_…` options go to their sections."""

    def run(source: Any, folder: Path, seed: int = 1, **options: Any) -> Dataset:
        cut: dict[str, Any] = {"patch_size": 32}
        split: dict[str, Any] = {"attempts": 8}
        for key, value in options.items():
            section, _, name = key.partition("_")
            (cut if section == "cut" else split)[name] = value
        return build_dataset(
            source, three_classes, folder,
            cut=CutSettings(**cut), split=SplitSettings(**split), seed=seed,
        )  # fmt: skip

    return run


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "_MIN_SHARD_ROWS", 1)
    monkeypatch.setattr(cutting, "_MAX_SHARD_ROWS", 7)


def where(sample_id: str) -> tuple[str, int, int]:
    match = re.fullmatch(r"(.+)-r(\d{6})-c(\d{6})", sample_id)
    assert match
    return match[1], int(match[2]), int(match[3])


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_patch_holds_the_pixels_and_labels_of_its_window(
    build: Callable[..., Dataset],
    make_source: MakeSource,
    labels_at: Callable[..., np.ndarray],
    tmp_path: Path,
) -> None:
    rows = build(make_source(*NAMES), tmp_path).samples.read().to_pylist()
    assert len(rows) == 6 * 2 * 3
    for row in rows:
        _, top, left = where(row["id"])
        down, right = np.mgrid[top : top + 32, left : left + 32]
        image = decode(row["image"])
        assert (image[..., 0] == down).all()
        assert (image[..., 1] == right).all()
        labels = labels_at(down, right)
        assert (decode(row["mask"]) == labels).all()
        assert row["shares"] == pytest.approx([(labels == i).mean() for i in range(3)])


def test_ids_are_unique_and_sorted_whatever_the_scenes_are_called(
    build: Callable[..., Dataset], make_source: MakeSource, small_shards: None, tmp_path: Path
) -> None:
    made = build(make_source(*NAMES), tmp_path)
    ids = made.samples.read(["id"]).column("id").to_pylist()
    assert ids == sorted(set(ids))
    assert {where(i)[0] for i in ids} == set(NAMES)
    shards = made.samples.manifest["shards"]
    assert len(shards) == 6
    assert (shards[0]["first_id"], shards[0]["last_id"]) == (ids[0], ids[6])


def test_the_funnel_adds_up_to_the_candidates(
    build: Callable[..., Dataset], make_source: MakeSource, tmp_path: Path
) -> None:
    made = build(make_source(*NAMES, unknown_below=40), tmp_path, cut_max_class_share={"c": 0.37})
    assert made.candidates == 36
    assert sum(made.funnel.values()) == 36
    assert made.funnel["unknown pixels"] == 18  # the lower of two rows of patches
    assert made.funnel["too much c"] > 0
    assert made.funnel["kept"] == made.samples.num_rows > 0
    stored = json.loads((tmp_path / "filters.json").read_text())
    assert stored == {
        "candidates": 36, "funnel": made.funnel, "left_out": {}, "unreadable": {}, "shifted": 0,
    }  # fmt: skip


def test_roles_come_from_the_split_and_no_place_straddles_them(
    build: Callable[..., Dataset], make_source: MakeSource, tmp_path: Path
) -> None:
    made = build(make_source(*NAMES), tmp_path, split_by="place")
    rows = made.samples.read(["id", "split", "place", "origin"]).to_pylist()
    held: dict[str, set[str]] = {}
    for row in rows:
        held.setdefault(row["place"], set()).add(row["split"])
        assert row["place"] == f"place-{where(row['id'])[0]}"
        assert row["origin"] == "real"
    assert all(len(roles) == 1 for roles in held.values())
    assert Counter(row["split"] for row in rows) == made.leaks.rows
    assert json.loads((tmp_path / "leaks.json").read_text()) == made.leaks.to_json()


def test_georeferenced_patches_keep_place_date_sources_and_units(
    build: Callable[..., Dataset], make_source: MakeSource, tmp_path: Path
) -> None:
    source = make_source(
        "a", grid=UTM, place=None, height=256, width=256, date=datetime.date(2021, 7, 1),
        value_range=(10.0, 265.0), unit_scale=0.5,
    )  # fmt: skip
    made = build(source, tmp_path, split_by="block", split_block_size_m=320)
    for row in made.samples.read().to_pylist():
        _, top, left = where(row["id"])
        assert row["crs"] == "EPSG:32636"
        assert row["transform"] == [
            10.0, 0.0, 500_000.0 + 10 * left, 0.0, -10.0, 4_300_000.0 - 10 * top,
        ]  # fmt: skip
        polygon = shapely.from_wkb(row["footprint"])
        assert 33.0 <= polygon.bounds[0] < polygon.bounds[2] < 33.1
        assert row["date"] == datetime.date(2021, 7, 1)
        assert row["source"][0]["uri"] == "a.tif"
        assert row["source"][0]["licence"] == "CC-BY-4.0"
        # Drawn from 10 to 265 source units of half a unit each: back by scale and offset.
        assert (row["scale"], row["offset"]) == (0.5, 5.0)
        image = decode(row["image"])[..., 0]
        assert image[-1, 0] == max(top + 31 - 10, 0)


def test_the_buffer_is_a_step_of_the_funnel(
    build: Callable[..., Dataset], make_source: MakeSource, tmp_path: Path
) -> None:
    source = make_source("a", grid=UTM, height=512, width=512)
    made = build(source, tmp_path, split_by="block", split_block_size_m=1280, split_buffer_m=100)
    assert made.funnel["too near another role"] > 0
    assert sum(made.funnel.values()) == made.candidates == 256
    assert made.funnel["kept"] == made.samples.num_rows
    gaps = [gap for gap in made.leaks.nearest_m.values() if gap is not None]
    assert len(gaps) == 3
    assert min(gaps) >= 100


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("shards", range(1, 19))
def test_a_build_killed_after_any_shard_goes_on_to_equal_bytes(
    build: Callable[..., Dataset],
    make_source: MakeSource,
    small_shards: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shards: int,
) -> None:
    build(make_source(*NAMES), tmp_path / "whole")
    whole = files_of(tmp_path / "whole")
    assert {"samples/part-00005.parquet", "candidates/part-00003.parquet"} <= whole.keys()
    assert not any(name.startswith("cut/") for name in whole)
    written = []
    write = tables.write_shard

    def write_some(path: Path, rows: Any) -> None:
        if len(written) == shards:
            (path.parent / f".{path.name}.4711.part").write_bytes(b"torn")
            raise Killed
        written.append(path)
        write(path, rows)

    monkeypatch.setattr(tables, "write_shard", write_some)
    if shards < 18:  # six of cutting, six of samples, six of candidates
        with pytest.raises(Killed):
            build(make_source(*NAMES), tmp_path / "killed")
        assert len(written) == shards
    monkeypatch.setattr(tables, "write_shard", write)
    made = build(make_source(*NAMES), tmp_path / "killed")
    assert files_of(tmp_path / "killed") == whole
    made.samples.verify()


def test_a_pool_of_processes_makes_the_same_bytes(
    three_classes: ClassTable, tmp_path: Path
) -> None:
    write_world(tmp_path / "tiles", WorldSettings(height=512, width=576), 5)
    source = tiles.build(tiles.Settings(folder=tmp_path / "tiles"), preset("worldcover7"), 0)
    for name, engine in (("one", InProcess()), ("pool", ProcessPool(2))):
        with engine:
            build_dataset(
                source,
                preset("worldcover7"),
                tmp_path / name,
                cut=CutSettings(patch_size=32, stride=16),
                split=SplitSettings(by="block", block_size_m=640),
                seed=3,
                engine=engine,
            )
    shards = Table.open(tmp_path / "pool" / "candidates").manifest["shards"]
    assert len(shards) >= 4  # or the pool would not have been used
    assert files_of(tmp_path / "one") == files_of(tmp_path / "pool")


def test_what_cannot_be_read_is_named_and_counted_and_the_rest_goes_on(
    build: Callable[..., Dataset], make_source: MakeSource, tmp_path: Path
) -> None:
    made = build(make_source(*NAMES, unreadable_below=40), tmp_path)
    assert made.funnel["unreadable"] == 18
    assert made.funnel["kept"] == made.samples.num_rows == 18
    stored = json.loads((tmp_path / "filters.json").read_text())
    assert stored["unreadable"] == {f"{name}.tif cannot be read: torn.": 3 for name in NAMES}
    errors = Table.open(tmp_path / "errors").read().to_pylist()
    assert {row["message"] for row in errors} == set(stored["unreadable"])
    assert {where(row["id"])[1] for row in errors} == {32}
    with pytest.raises(NothingLeft, match="'unreadable' took 36"):
        build(make_source(*NAMES, unreadable_below=1), tmp_path / "none")


def test_every_candidate_says_what_became_of_it(
    build: Callable[..., Dataset], make_source: MakeSource, tmp_path: Path
) -> None:
    made = build(make_source(*NAMES, unknown_below=40), tmp_path)
    rows = Table.open(tmp_path / "candidates").read().to_pylist()
    assert Counter(row["reason"] for row in rows) == made.funnel
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    for row in rows:
        below = where(row["id"])[1] == 32
        assert row["unknown_share"] == pytest.approx(24 / 32 if below else 0.0)
        assert row["reason"] == ("unknown pixels" if below else "kept")
        assert row["mean_trust"] is None
        assert row["lon"] is None


def test_images_too_far_from_their_labels_in_time_are_left_out(
    build: Callable[..., Dataset], make_source: MakeSource, tmp_path: Path
) -> None:
    source = make_source(*NAMES, date=datetime.date(2017, 5, 1), label_year=2020)
    with pytest.raises(NothingLeft, match="'image and labels years apart' took 36"):
        build(source, tmp_path / "strict")
    made = build(source, tmp_path / "loose", cut_max_year_gap=3)
    (row, *_) = made.samples.read(["date", "label_year"]).to_pylist()
    assert row == {"date": datetime.date(2017, 5, 1), "label_year": 2020}
    gaps = Table.open(tmp_path / "loose" / "candidates").read(["year_gap"])
    assert set(gaps.column("year_gap").to_pylist()) == {3}


def test_sixteen_bits_keep_the_sources_own_values(
    build: Callable[..., Dataset], make_source: MakeSource, tmp_path: Path
) -> None:
    source = make_source(*NAMES, value_range=(10.0, 61.0), unit_scale=1e-4)
    made = build(source, tmp_path, cut_depth=16)
    for row in made.samples.read().to_pylist():
        _, top, left = where(row["id"])
        stored = decode(row["image"])
        assert stored.dtype == np.uint8  # what this source has
        assert (stored[..., 1] == np.arange(left, left + 32)).all()
        assert row["scale"] == 1e-4
        assert row["offset"] == 0.0
        assert row["dtype"] == "uint8"
        view = decode_view(row["image"])
        expected = np.clip(np.arange(top, top + 32) - 10, 0, 51) * 5
        assert row["image"]["path"].endswith(".tif")
        assert (view[:, 0, 0] == expected).all()


def test_the_same_seed_gives_the_same_bytes_and_another_another_split(
    build: Callable[..., Dataset], make_source: MakeSource, tmp_path: Path
) -> None:
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        build(make_source(*NAMES), tmp_path / name, seed=seed)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    splits = [
        Table.open(tmp_path / name / "samples").read(["split"]).column("split").to_pylist()
        for name in ("one", "three")
    ]
    assert splits[0] != splits[1]


def test_one_image_under_two_names_is_a_leak(
    build: Callable[..., Dataset], make_source: MakeSource, tmp_path: Path
) -> None:
    source = make_source(*NAMES, pattern="one photograph")
    with pytest.raises(LeakFound, match="are the same image to the last pixel"):
        build(source, tmp_path, split_by="place")
    assert not (tmp_path / "samples").exists()


def test_nothing_left_names_the_filter(
    build: Callable[..., Dataset], make_source: MakeSource, tmp_path: Path
) -> None:
    with pytest.raises(NothingLeft, match=r"no patch left of 36: 'unknown pixels' took 36"):
        build(make_source(*NAMES, unknown_below=0), tmp_path / "unknown")
    with pytest.raises(NothingLeft, match=r"'too few classes' took 36\. Loosen"):
        build(make_source(*NAMES), tmp_path / "few", cut_min_classes=4)
    with pytest.raises(NothingLeft, match=r"no scene is as large as cut\.patch_size = 96"):
        build(make_source(*NAMES), tmp_path / "small", cut_patch_size=96)


def test_settings_that_do_not_fit_the_data_are_told(
    build: Callable[..., Dataset], make_source: MakeSource, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=r"max_class_share names 'watre'; the classes are a, b"):
        build(make_source("a"), tmp_path, cut_max_class_share={"watre": 0.9})
    with pytest.raises(SettingsError, match=r"cut\.high \(5\.0\) must be above cut\.low \(9\.0\)"):
        build(make_source("a"), tmp_path, cut_low=9.0, cut_high=5.0)


@pytest.fixture
def sharded(
    build: Callable[..., Dataset], make_source: MakeSource, small_shards: None, tmp_path: Path
) -> Table:
    return build(make_source(*NAMES), tmp_path).samples


def test_pandas_reads_the_shards_as_they_are(sharded: Table) -> None:
    import pandas as pd

    frame = pd.concat(pd.read_parquet(path) for path in sharded.paths)
    assert len(frame) == 36
    assert frame["id"].is_monotonic_increasing
    first = decode(frame.iloc[0]["image"]["bytes"])
    assert first[5, 7].tolist()[:2] == [5, 7]


def test_duckdb_reads_all_shards_by_a_glob(sharded: Table) -> None:
    import duckdb

    glob = sharded.folder / "part-*.parquet"
    ((count, longest, share),) = duckdb.sql(
        "select count(*), max(octet_length(image.bytes)), sum(list_sum(shares)) "
        f"from '{glob}' where origin = 'real'"
    ).fetchall()
    assert count == 36
    assert longest == max(len(row["image"]["bytes"]) for row in sharded.read(["image"]).to_pylist())
    assert share == pytest.approx(36, abs=1e-4)


def test_hugging_face_datasets_decodes_images_and_masks(
    sharded: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(
        "parquet",
        data_files=str(sharded.folder / "part-*.parquet"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    assert len(loaded) == 36
    row = loaded[0]
    assert row["image"].size == (32, 32)
    assert row["image"].mode == "RGB"
    assert np.asarray(row["image"])[5, 7, :2].tolist() == [5, 7]
    assert row["mask"].mode == "P"
    assert np.asarray(row["mask"]).max() <= 2
    assert row["trust"] is None
