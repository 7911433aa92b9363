"""Tiles that lie there already."""

import datetime
from pathlib import Path

import numpy as np
import pytest

from terraloom.classes import preset
from terraloom.errors import InputError, PairError, UnknownCode
from terraloom.files import sha256_of
from terraloom.raster import geotiff
from terraloom.raster.grid import Grid, Window
from terraloom.raster.worldcover_tiles import TileName
from terraloom.sources import tiles
from terraloom.sources._face import Source

TABLE = preset("worldcover7")
STEP = 1 / 12_000
CODES = np.array([10, 20, 30, 40, 50, 60, 80], dtype=np.uint8)


def place(
    folder: Path, product: str, lat: int, lon: int, *, year: int = 2021, side: int = 40
) -> Path:
    """A small file in the north-west corner of an official tile; pixels tell row and column."""
    name = TileName(year, lat, lon, product)
    top = lat + (3 if product == "Map" else 1)
    grid = Grid("EPSG:4326", (STEP, 0.0, float(lon), 0.0, -STEP, float(top)), side, side + 10)
    rows, columns = np.mgrid[:side, : side + 10]
    pixels = np.stack([rows, columns, rows + columns, rows * 0]).astype(np.uint16) + 1
    if product == "Map":
        pixels = CODES[(rows // 4 + columns // 4) % 7][None]
    geotiff.write_geotiff(folder / name.filename, pixels, grid)
    return folder / name.filename


def source(folder: Path) -> Source:
    return tiles.build(tiles.Settings(folder=folder), TABLE, 0)


def test_pixels_and_labels_are_the_stored_ones(tmp_path: Path) -> None:
    # The composite's north-west corner is the map's: rows and columns agree.
    place(tmp_path, "S2RGBNIR", 41, 33)
    place(tmp_path, "Map", 39, 33)
    (scene,) = source(tmp_path).scenes(tmp_path)
    window = Window(5, 9, 12, 21)
    pixels = scene.read(window)
    rows, columns = np.mgrid[5:17, 9:30]
    assert (pixels.image[..., 0] == rows + 1).all()
    assert (pixels.image[..., 1] == columns + 1).all()
    assert (pixels.image[..., 2] == rows + columns + 1).all()
    assert (pixels.labels == (rows // 4 + columns // 4) % 7).all()
    assert scene.date == datetime.date(2021, 7, 1)
    assert scene.place is None
    assert pixels.files[0].licence == "CC-BY-4.0"


def test_composites_apart_are_scenes_of_their_own_and_years_never_mix(tmp_path: Path) -> None:
    for lat, lon, year in ((41, 33, 2021), (41, 34, 2021), (-36, -72, 2021), (41, 33, 2020)):
        place(tmp_path, "S2RGBNIR", lat, lon, year=year)
        place(tmp_path, "Map", lat // 3 * 3, lon // 3 * 3, year=year)
    scenes = source(tmp_path).scenes(tmp_path)
    assert sorted(scene.name for scene in scenes) == [
        "2020-N41E033",
        "2021-N41E033",
        "2021-S36W072",
    ]
    joined = next(scene for scene in scenes if scene.name == "2021-N41E033")
    assert (joined.height, joined.width) == (40, 12_000 + 50)


def test_pixels_under_no_map_are_unknown(tmp_path: Path) -> None:
    place(tmp_path, "S2RGBNIR", 41, 33, side=60)
    place(tmp_path, "Map", 39, 33, side=40)
    (scene,) = source(tmp_path).scenes(tmp_path)
    labels = scene.read(Window(0, 0, 60, 70)).labels
    assert (labels[40:] == 255).all()
    assert (labels[:, 50:] == 255).all()
    assert (labels[:40, :50] != 255).all()


def test_a_composite_without_a_map_is_named(tmp_path: Path) -> None:
    place(tmp_path, "S2RGBNIR", 41, 33)
    place(tmp_path, "Map", 36, 33)
    with pytest.raises(PairError, match=r"no composite is left.*N41E033_S2RGBNIR\.tif: no map"):
        source(tmp_path).scenes(tmp_path)


def test_a_code_that_the_table_does_not_know_is_told_with_the_map(tmp_path: Path) -> None:
    place(tmp_path, "S2RGBNIR", 41, 33)
    path = place(tmp_path, "Map", 39, 33)
    grid = geotiff.read_info(path).grid
    assert grid is not None
    geotiff.write_geotiff(path, np.full((1, 40, 50), 33, np.uint8), grid)
    (scene,) = source(tmp_path).scenes(tmp_path)
    with pytest.raises(UnknownCode, match=r"N39E033_Map\.tif: code 33 \(100 pixels\) in no class"):
        scene.read(Window(0, 0, 10, 10))


def test_a_broken_tile_is_told_by_name(tmp_path: Path) -> None:
    place(tmp_path, "Map", 39, 33)
    path = place(tmp_path, "S2RGBNIR", 41, 33)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"N41E033_S2RGBNIR\.tif"):
        source(tmp_path).scenes(tmp_path)


def test_a_missing_folder_is_told_before_anything_is_written(tmp_path: Path) -> None:
    absent = source(tmp_path / "nowhere")
    for act in (lambda: absent.acquire(tmp_path / "out"), absent.given):
        with pytest.raises(InputError, match=r"folder .*nowhere is not a folder"):
            act()
    assert list(tmp_path.iterdir()) == []


def test_inputs_are_the_checksums_of_every_tile(tmp_path: Path) -> None:
    paths = [place(tmp_path, "S2RGBNIR", 41, 33), place(tmp_path, "Map", 39, 33)]
    expected = {path.name: sha256_of(path) for path in paths}
    assert source(tmp_path).inputs(tmp_path) == expected
    assert source(tmp_path).given() == expected
