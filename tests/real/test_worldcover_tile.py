"""A real tile of open sea and one island: what is no data is left out, what is known is kept."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from tests.real.worldcover_tile import (
    COAST,
    ISLAND,
    Counted,
    Part,
    count_patches,
    pixels_at,
    tile_file,
    write_composites,
)

from terraloom.classes import preset
from terraloom.dataset.build import Dataset, build_dataset
from terraloom.dataset.rows import train_rows
from terraloom.samples import decode
from terraloom.settings import CutSettings, SplitSettings
from terraloom.sources import tiles
from terraloom.tables import Table

SIZE = 256
TABLE = preset("worldcover11")


def lay_out(folder: Path, shared_data: Path, part: Part) -> Path:
    """A part's composites beside links to the real map and its quality."""
    folder.mkdir(exist_ok=True)
    for product in ("Map", "InputQuality"):
        path = tile_file(shared_data, product)
        (folder / path.name).symlink_to(path)
    write_composites(folder, tile_file(shared_data, "Map"), part)
    return folder


@pytest.fixture(scope="module")
def inputs(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("island"), shared_data, ISLAND)


def cut(inputs: Path, out: Path, size: int = SIZE, **options: Any) -> Dataset:
    source = tiles.build(tiles.Settings(folder=inputs), TABLE, 0)
    settings = CutSettings(patch_size=size, check_shift=False, **options)
    split = SplitSettings(by="block", block_size_m=4_000, attempts=8)
    return build_dataset(source, TABLE, out, cut=settings, split=split, seed=2)


@pytest.fixture(scope="module")
def made(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Path]:
    """Patches without a single unknown pixel, and their folder."""
    out = tmp_path_factory.mktemp("built")
    return cut(inputs, out), out


@pytest.fixture(scope="module")
def counted(shared_data: Path) -> Counted:
    return count_patches(tile_file(shared_data, "Map"), ISLAND, SIZE)


def rows_of(made: tuple[Dataset, Path], *columns: str) -> list[dict[str, Any]]:
    return made[0].samples.read(["id", *columns]).to_pylist()


def corner(sample_id: str) -> tuple[int, int]:
    """Row and column of a patch's upper left pixel in the scene."""
    match = re.fullmatch(r"2020-N00E006-r(\d{6})-c(\d{6})", sample_id)
    assert match
    return int(match[1]), int(match[2])


def test_no_data_is_left_out_and_every_patch_of_known_ground_is_kept(
    made: tuple[Dataset, Path], counted: Counted
) -> None:
    dataset, _ = made
    whole = counted.known == SIZE * SIZE
    empty = counted.imaged == 0
    assert 0 < empty.sum() < whole.size - whole.sum()  # all three kinds are there
    assert dataset.candidates == whole.size == 11 * 48
    assert dataset.funnel == {
        "kept": whole.sum(),
        "unknown pixels": (~whole & ~empty).sum(),
        "blank image": empty.sum(),
    }
    kept = {corner(row["id"]) for row in rows_of(made)}
    assert kept == {(line * SIZE, post * SIZE) for line, post in np.argwhere(whole)}
    assert dataset.left_out == {}


@pytest.mark.parametrize("limit", [0.0, 0.5])
def test_a_limit_on_unknown_pixels_is_the_share_counted_on_the_map(
    limit: float, shared_data: Path, tmp_path: Path
) -> None:
    inputs = lay_out(tmp_path / "tiles", shared_data, COAST)
    counted = count_patches(tile_file(shared_data, "Map"), COAST, 96)
    unknown = 1 - counted.known / 96**2
    assert ((unknown > 0) & (unknown < 0.5)).sum() > 5
    dataset = cut(inputs, tmp_path / "out", 96, max_unknown_share=limit)
    assert dataset.funnel["kept"] == (unknown <= limit).sum()
    rows = Table.open(tmp_path / "out" / "candidates").read(["id", "unknown_share"]).to_pylist()
    for row in rows:
        line, post = np.array(corner(row["id"])) // 96
        assert row["unknown_share"] == pytest.approx(unknown[line, post], abs=1e-6)


def test_class_shares_are_those_of_the_map(made: tuple[Dataset, Path], counted: Counted) -> None:
    seen = np.zeros(len(TABLE), np.int64)
    for row in rows_of(made, "shares"):
        line, post = np.array(corner(row["id"])) // SIZE
        for label, land in enumerate(TABLE.classes):
            pixels = sum(int(counted.codes[code, line, post]) for code in land.codes)
            assert row["shares"][label] == pytest.approx(pixels / SIZE**2, abs=1e-6)
            seen[label] += pixels
    assert np.count_nonzero(seen) >= 5  # the island has trees, grass, houses, sand, water


def test_pixels_and_labels_are_those_of_the_files(
    made: tuple[Dataset, Path], shared_data: Path
) -> None:
    with rasterio.open(tile_file(shared_data, "Map")) as land:
        for row in rows_of(made, "image", "mask", "transform", "crs")[::9]:
            assert row["crs"] == "EPSG:4326"
            top, left = (
                a + b for a, b in zip(corner(row["id"]), (ISLAND.top, ISLAND.left), strict=True)
            )
            step = 1 / 12_000
            place = [step, 0.0, 6 + left * step, 0.0, -step, 3 - top * step]
            assert row["transform"] == pytest.approx(place, abs=1e-9)
            codes = land.read(1, window=((top, top + SIZE), (left, left + SIZE)))
            assert (TABLE.labels_of_codes(codes) == decode(row["mask"])).all()
            red, green, blue, _ = pixels_at(top, left, SIZE, SIZE)
            drawn = np.stack([red, green, blue], axis=-1) * (255 / 3000)
            assert np.abs(decode(row["image"]) - drawn).max() <= 0.5 + 1e-9


def trust_by_formula(quality: np.ndarray) -> np.ndarray:
    """As documented, in double precision: two witnesses who take doubt away."""
    radar, optical, invalid = quality.astype(float)
    clear = optical * (1 - invalid / 100)
    doubt = np.exp(-clear / 8) * (1 - (1 - np.exp(-radar / 20)) / 3)
    trust = 255 * (1 - doubt)
    trust[(quality[1:] == -1).any(axis=0)] = 128
    return trust


def test_input_quality_becomes_the_trust_of_every_pixel(
    made: tuple[Dataset, Path], shared_data: Path
) -> None:
    with rasterio.open(tile_file(shared_data, "InputQuality")) as file:
        quality = file.read()
    levels = set()
    candidates = Table.open(made[1] / "candidates").read(["id", "mean_trust"]).to_pylist()
    means = {row["id"]: row["mean_trust"] for row in candidates}
    for row in rows_of(made, "trust")[::5]:
        top, left = (
            a + b for a, b in zip(corner(row["id"]), (ISLAND.top, ISLAND.left), strict=True)
        )
        # 60 m: each cell of the layer lies on 6 × 6 pixels of the map.
        rows, columns = np.ogrid[top : top + SIZE, left : left + SIZE]
        expected = trust_by_formula(quality[:, rows // 6, columns // 6])
        stored = decode(row["trust"])
        assert np.abs(stored - expected).max() <= 0.5 + 1e-4
        assert means[row["id"]] == pytest.approx(stored.mean() / 255, abs=1e-6)
        levels |= set(np.unique(stored).tolist())
    assert len(levels) > 50
    assert 128 in levels  # water off the coast, whose observations were not recorded
    assert {file["name"].rsplit("_", 1)[1] for file in rows_of(made, "source")[0]["source"]} == {
        "S2RGBNIR.tif", "Map.tif", "InputQuality.tif",
    }  # fmt: skip


def test_training_rows_carry_the_trust_of_their_samples(made: tuple[Dataset, Path]) -> None:
    stored = {row["id"]: decode(row["trust"]) for row in rows_of(made, "trust")}
    rows = train_rows(made[0].samples)
    assert 0 < len(rows) < len(stored)
    for row in rows.rows:
        assert row.trust is not None
        assert (row.trust == stored[row.id]).all()
