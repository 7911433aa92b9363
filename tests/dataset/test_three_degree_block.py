"""Nine composites of 1° lie under one map of 3°: every one of them is cut, in any quarter."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from terraloom.classes import preset
from terraloom.dataset.build import build_dataset
from terraloom.raster import geotiff
from terraloom.raster.grid import Grid
from terraloom.raster.worldcover_tiles import TileName, map_name
from terraloom.samples import decode
from terraloom.seeds import generator_at
from terraloom.settings import CutSettings, SplitSettings
from terraloom.sources import tiles
from terraloom.tables import Table

TABLE = preset("worldcover11")
SIDE = 1280
"""Pixels of a composite of 1°, so a block has 3840: coarser than official tiles, same names."""
CODES = np.array([code for land in TABLE.classes for code in land.codes], dtype=np.uint8)
MAPS = [(39, 33), (-33, -72)]


def codes_at(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Fields of 16 pixels, four classes in each patch or more."""
    return CODES[(rows // 16 * 3 + columns // 16 * 5) % len(CODES)]


@pytest.fixture(scope="module", params=MAPS, ids=["north-east", "south-west"])
def block(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole block: nine composites and their map."""
    folder = tmp_path_factory.mktemp("block")
    lat, lon = request.param
    step = 1 / SIDE
    grains = generator_at(0, "block").integers(1, 3000, (3 * SIDE // 8, 3 * SIDE // 8))
    for row in range(3):
        for column in range(3):
            name = TileName(2021, lat + 2 - row, lon + column, "S2RGBNIR")
            assert map_name(name) == TileName(2021, lat, lon, "Map")
            top, left = row * SIDE, column * SIDE
            rows, columns = np.ogrid[top : top + SIDE, left : left + SIDE]
            base = grains[rows // 8, columns // 8].astype(np.uint16)
            grid = Grid(
                "EPSG:4326", (step, 0.0, float(name.lon), 0.0, -step, name.lat + 1.0), SIDE, SIDE
            )
            geotiff.write_geotiff(
                folder / name.filename, np.stack([base, base // 2 + 7, base // 3 + 9, base]), grid
            )
    rows, columns = np.ogrid[: 3 * SIDE, : 3 * SIDE]
    grid = Grid("EPSG:4326", (step, 0.0, float(lon), 0.0, -step, lat + 3.0), 3 * SIDE, 3 * SIDE)
    geotiff.write_geotiff(
        folder / TileName(2021, lat, lon, "Map").filename, codes_at(rows, columns)[None], grid
    )
    return folder


def build(block: Path, out: Path, size: int, grid: str) -> tuple[int, Table]:
    source = tiles.build(tiles.Settings(folder=block), TABLE, 0)
    made = build_dataset(
        source, TABLE, out,
        cut=CutSettings(patch_size=size, grid=grid, check_shift=False),
        split=SplitSettings(by="block", block_size_m=60_000, attempts=4), seed=1,
    )  # fmt: skip
    assert made.left_out == {}
    assert made.funnel == {"kept": made.candidates}
    return made.candidates, made.samples


def test_cut_tile_by_tile_all_nine_composites_give_their_patches(
    block: Path, tmp_path: Path
) -> None:
    # Where maps are looked up for the four corners only, 100 of these 225 are found.
    candidates, samples = build(block, tmp_path, 256, "per-tile")
    assert candidates == samples.num_rows == 225
    per_composite: Counter[str] = Counter()
    for row in samples.read(["id", "mask", "source"]).to_pylist():
        match = re.fullmatch(r"(2021-(.+))-r(\d{6})-c(\d{6})", row["id"])
        assert match
        per_composite[match[2]] += 1
        image, land = (file["name"] for file in row["source"])
        assert match[2] in image
        assert land.endswith("_Map.tif")
        # The patch's place in the block follows from the composite's.
        tile = next(iter(block.glob(f"*_{match[2]}_S2RGBNIR.tif")))
        grid, whole = geotiff.read_info(tile).grid, geotiff.read_info(block / land).grid
        assert grid is not None
        assert whole is not None
        top = round((whole.transform[5] - grid.transform[5]) * SIDE) + int(match[3])
        left = round((grid.transform[2] - whole.transform[2]) * SIDE) + int(match[4])
        rows, columns = np.ogrid[top : top + 256, left : left + 256]
        expected = TABLE.labels_of_codes(codes_at(rows, columns))
        assert (decode(row["mask"]) == expected).all()
    assert len(per_composite) == 9
    assert set(per_composite.values()) == {25}


def test_cut_as_a_mosaic_patches_straddle_the_inner_edges(block: Path, tmp_path: Path) -> None:
    # 3840 = 8 · 448 + 256: eight patches a side, where each composite alone holds two.
    candidates, samples = build(block, tmp_path, 448, "mosaic")
    assert candidates == samples.num_rows == 8 * 8 > 9 * 2 * 2
    images = [
        sum(file["name"].endswith("S2RGBNIR.tif") for file in files)
        for files in samples.read(["source"]).column("source").to_pylist()
    ]
    # Patches three and six of eight cross an inner edge: 448 · 2 < 1280 < 448 · 3, and so on.
    assert Counter(images) == {1: 6 * 6, 2: 2 * 6 * 2, 4: 2 * 2}
