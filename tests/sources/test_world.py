"""The procedural world as tiles: they enter by the same door as real ones."""

from pathlib import Path

import numpy as np
import pytest

from terraloom.classes import preset
from terraloom.errors import OutputError, SettingsError
from terraloom.landscape import grow_landscape
from terraloom.raster import geotiff
from terraloom.raster.grid import Window
from terraloom.raster.worldcover_tiles import PIXELS_PER_DEGREE, parse_name
from terraloom.sources import tiles as tiles_source
from terraloom.sources import world

TABLE = preset("worldcover11")
HEIGHT, WIDTH, SEED = 82, 107, 5
SETTINGS = world.Settings(height=HEIGHT, width=WIDTH, lat=39, lon=33, season=0.4)
TOP = 39 * PIXELS_PER_DEGREE + HEIGHT // 2
LEFT = 33 * PIXELS_PER_DEGREE - WIDTH // 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    world.build(SETTINGS.model_copy(update={"seed": SEED}), TABLE, 0).acquire(folder)
    return folder


def grown(window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Digital numbers "height width 3" and labels, straight from the landscape."""
    land = grow_landscape(
        window.row - TOP, LEFT + window.column, window.height, window.width, seed=SEED, season=0.4
    )
    digital = np.clip(np.rint(land.reflectance[:3] / 1e-4), 1, 65535).astype(np.uint16)
    return np.moveaxis(digital, 0, -1), TABLE.labels_of_codes(land.codes)


def test_the_landscape_straddles_tiles_under_official_names(folder: Path) -> None:
    names = {parse_name(path.name) for path in (folder / "tiles").glob("*.tif")}
    assert None not in names
    found = {(n.product, n.lat, n.lon) for n in names if n}
    corners = [(38, 32), (38, 33), (39, 32), (39, 33)]
    maps = [(36, 30), (36, 33), (39, 30), (39, 33)]
    assert found == {("S2RGBNIR", *c) for c in corners} | {("Map", *m) for m in maps}


def test_each_file_lies_within_the_tile_that_it_is_named_for(folder: Path) -> None:
    for path in (folder / "tiles").glob("*.tif"):
        name, info = parse_name(path.name), geotiff.read_info(path)
        assert name is not None
        assert info.grid is not None
        degrees = 3 if name.product == "Map" else 1
        (west, south), (east, north) = info.grid.corners().min(0), info.grid.corners().max(0)
        slack = 1e-9
        assert name.lon - slack <= west < east <= name.lon + degrees + slack
        assert name.lat - slack <= south < north <= name.lat + degrees + slack
        assert (info.dtype, info.bands) == (("uint8", 1) if degrees == 3 else ("uint16", 4))


@pytest.mark.parametrize(
    "window",
    [
        Window(0, 0, HEIGHT, WIDTH),
        Window(HEIGHT // 2 - 5, WIDTH // 2 - 7, 10, 14),  # around the corner of four tiles
        Window(3, WIDTH // 2 - 1, 20, 2),
    ],
)
def test_a_window_equals_the_landscape_exactly_across_tile_edges(
    folder: Path, window: Window
) -> None:
    (scene,) = world.build(SETTINGS, TABLE, 0).scenes(folder)
    assert (scene.height, scene.width) == (HEIGHT, WIDTH)
    pixels = scene.read(window)
    image, labels = grown(window)
    assert (pixels.image[..., :3] == image).all()
    assert pixels.image.shape[-1] == len(scene.bands) == 4
    assert (pixels.labels == labels).all()
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 20  # or equality would say little


def test_a_window_names_the_tiles_that_it_touches_and_no_others(folder: Path) -> None:
    (scene,) = world.build(SETTINGS, TABLE, 0).scenes(folder)
    files = {file.name: file for file in scene.read(Window(0, 0, 8, 8)).files}
    assert set(files) == {
        "ESA_WorldCover_10m_2021_v200_N39E032_S2RGBNIR.tif",
        "ESA_WorldCover_10m_2021_v200_N39E030_Map.tif",
    }
    inputs = world.build(SETTINGS, TABLE, 0).inputs(folder)
    assert len(inputs) == 8
    for name, file in files.items():
        assert file.sha256 == inputs[name]
        assert file.uri == name  # no path of this machine
        assert (file.licence, file.attribution) == (world.LICENCE, world.ATTRIBUTION)
    assert len(scene.read(Window(0, 0, HEIGHT, WIDTH)).files) == 8


def test_real_tiles_enter_by_the_same_door(folder: Path) -> None:
    settings = tiles_source.Settings(folder=folder / "tiles")
    (real,) = tiles_source.build(settings, TABLE, 0).scenes(folder)
    (made,) = world.build(SETTINGS, TABLE, 0).scenes(folder)
    window = Window(30, 40, 25, 30)
    assert (real.read(window).image == made.read(window).image).all()
    assert (real.read(window).labels == made.read(window).labels).all()
    assert (real.grid, real.date, real.name) == (made.grid, made.date, made.name)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(
    folder: Path, tmp_path: Path
) -> None:
    again = world.write_world(tmp_path / "again", SETTINGS, SEED)
    assert len(again) == 8
    for path in again:
        assert path.read_bytes() == (folder / "tiles" / path.name).read_bytes(), path.name
    other = world.write_world(tmp_path / "other", SETTINGS, SEED + 1)
    assert other[0].read_bytes() != again[0].read_bytes()


def test_an_interrupted_world_is_finished_to_the_same_bytes(tmp_path: Path) -> None:
    settings = world.Settings(height=64, width=70)
    paths = world.write_world(tmp_path, settings, SEED)
    before = {path.name: path.read_bytes() for path in paths}
    paths[1].unlink()
    paths[-1].unlink()
    world.write_world(tmp_path, settings, SEED)
    assert {path.name: path.read_bytes() for path in paths} == before


def test_two_landscapes_are_never_mixed_in_one_folder(tmp_path: Path) -> None:
    settings = world.Settings(height=64, width=64)
    world.write_world(tmp_path, settings, SEED)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for changed, seed in ((settings, SEED + 1), (world.Settings(height=64, width=96), SEED)):
        with pytest.raises(OutputError, match=r"holds another landscape.*choose a new folder"):
            world.write_world(tmp_path, changed, seed)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_south_and_west_of_zero_tiles_are_named_for_their_south_west_corner(
    tmp_path: Path,
) -> None:
    settings = world.Settings(height=64, width=64, lat=0, lon=0, year=2020)
    names = [path.name for path in world.write_world(tmp_path / "tiles", settings, 0)]
    corners = [name.split("_")[5] for name in names if "S2RGBNIR" in name]
    assert sorted(corners) == ["N00E000", "N00W001", "S01E000", "S01W001"]
    maps = [name.split("_")[5] for name in names if "Map" in name]
    assert sorted(maps) == ["N00E000", "N00W003", "S03E000", "S03W003"]
    (scene,) = world.build(settings, TABLE, 0).scenes(tmp_path)
    window = Window(20, 20, 24, 24)
    land = grow_landscape(-32 + 20, -32 + 20, 24, 24, seed=0, season=0.55)
    assert (scene.read(window).labels == TABLE.labels_of_codes(land.codes)).all()


def test_a_year_without_an_official_map_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"year = 2019 has no official map; use one of 2020, 2"):
        world.write_world(tmp_path, world.Settings(year=2019), 0)
    assert list(tmp_path.iterdir()) == []


def test_the_season_changes_how_land_looks_and_never_what_it_is(tmp_path: Path) -> None:
    small = {"height": 64, "width": 64}
    for name, season in (("winter", 0.0), ("summer", 0.5)):
        world.write_world(tmp_path / name / "tiles", world.Settings(season=season, **small), 3)
    (winter,), (summer,) = (
        world.build(world.Settings(**small), TABLE, 0).scenes(tmp_path / name)
        for name in ("winter", "summer")
    )
    whole = Window(0, 0, 64, 64)
    assert (winter.read(whole).labels == summer.read(whole).labels).all()
    assert (winter.read(whole).image != summer.read(whole).image).any()
