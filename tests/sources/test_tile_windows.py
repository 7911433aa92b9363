"""Which official tiles an area needs, and which of their pixels."""

from pathlib import Path

import numpy as np
import pytest
import shapely
from tests.sources.worldcover_mirror import STEP, Mirror, write_cog

from terraloom.errors import SettingsError
from terraloom.raster.grid import Window
from terraloom.raster.remote import open_remote
from terraloom.raster.remote_file import RemoteFile, RemoteUnusable
from terraloom.raster.worldcover_tiles import TileName
from terraloom.sources._area import Area, area_of_box
from terraloom.sources._tile_windows import (
    TileWindow,
    area_of_tiles,
    map_under,
    quality_window,
    tile_windows,
    window_in_file,
)


def windows(area: Area, *, margin: int = 0, product: str = "S2RGBNIR") -> dict[str, Window]:
    found = tile_windows(area, 2021, margin=margin)
    return {tile.name.place: tile.window for tile in found if tile.name.product == product}


def pixels(west: int, north: int, width: int, height: int) -> Area:
    """The area of pixels of 10 m counted east and north from 0° 0°."""
    box = (west * STEP, (north - height) * STEP, (west + width) * STEP, north * STEP)
    return area_of_box(box)


def test_a_box_within_one_tile_is_taken_in_whole_pixels() -> None:
    area = pixels(33 * 12_000 + 100, 40 * 12_000 - 50, 300, 200)
    assert windows(area) == {"N39E033": Window(50, 100, 200, 300)}
    assert windows(area, product="Map") == {"N39E033": Window(2 * 12_000 + 50, 100, 200, 300)}


def test_parts_of_pixels_are_snapped_outwards() -> None:
    west, north = 33 + 100.4 * STEP, 40 - 50.6 * STEP
    area = area_of_box((west, north - 2 * STEP, west + 3 * STEP, north))
    assert windows(area) == {"N39E033": Window(50, 100, 3, 4)}


def test_a_box_on_tile_corners_gets_its_share_of_every_tile() -> None:
    area = pixels(34 * 12_000 - 10, 40 * 12_000 + 20, 30, 50)
    assert windows(area) == {
        "N39E033": Window(0, 11_990, 30, 10),
        "N39E034": Window(0, 0, 30, 20),
        "N40E033": Window(11_980, 11_990, 20, 10),
        "N40E034": Window(11_980, 0, 20, 20),
    }
    assert windows(area, product="Map") == {"N39E033": Window(2 * 12_000 - 20, 11_990, 50, 30)}


def test_edges_on_whole_degrees_touch_no_neighbour() -> None:
    assert windows(area_of_box((33, 39, 34, 40))) == {"N39E033": Window(0, 0, 12_000, 12_000)}
    # Nor do edges that reprojecting moved by less than a thousandth of a pixel.
    assert set(windows(area_of_box((33, 39, 34 + 1e-11, 40 + 1e-11)))) == {"N39E033"}


@pytest.mark.parametrize(
    ("west", "south", "composite", "under"),
    [
        (0, 0, "N00E000", "N00E000"),
        (-1, -1, "S01W001", "S03W003"),
        (-51, -1, "S01W051", "S03W051"),
        (-52, -3, "S03W052", "S03W054"),
        (-180, -60, "S60W180", "S60W180"),
        (179, 71, "N71E179", "N69E177"),
        (33, 41, "N41E033", "N39E033"),
        (35, 38, "N38E035", "N36E033"),
    ],
)
def test_tiles_are_named_for_their_south_west_corner_on_every_side_of_the_globe(
    west: int, south: int, composite: str, under: str
) -> None:
    area = area_of_box((west + 0.4, south + 0.4, west + 0.5, south + 0.5))
    assert list(windows(area)) == [composite]
    assert list(windows(area, product="Map")) == [under]
    (by_name,) = windows(area_of_tiles([composite], 2021)).items()
    assert by_name == (composite, Window(0, 0, 12_000, 12_000))


def test_a_map_is_read_where_its_composites_lie() -> None:
    area = area_of_tiles(["S01W051", "S03W049"], 2021)
    assert windows(area, product="Map") == {"S03W051": Window(0, 0, 36_000, 36_000)}
    assert map_under(TileName(2020, -1, -51, "S2RGBNIR")) == TileName(2020, -3, -51, "Map")


def test_a_box_across_the_antimeridian_takes_tiles_of_both_sides() -> None:
    area = area_of_box((180 - 10 * STEP, -17.5, -180 + 20 * STEP, -17.5 + 5 * STEP))
    assert windows(area) == {
        "S18W180": Window(5995, 0, 5, 20),
        "S18E179": Window(5995, 11_990, 5, 10),
    }
    assert set(windows(area, product="Map")) == {"S18W180", "S18E177"}


def test_a_margin_reaches_into_neighbours_across_the_antimeridian_and_ends_at_the_pole() -> None:
    area = Area(shapely.box(180 - 10 * STEP, -17.5, 180, -17.4))
    assert windows(area, margin=8)["S18W180"] == Window(4792, 0, 1216, 8)
    assert windows(area, margin=8)["S18E179"] == Window(4792, 11_982, 1216, 18)
    top = Area(shapely.box(10.5, 90 - 4 * STEP, 10.5 + 4 * STEP, 90))
    assert windows(top, margin=6) == {"N89E010": Window(0, 5994, 10, 16)}


def test_polygons_take_their_own_bounds_in_each_tile() -> None:
    triangle = Area(shapely.Polygon([(33.5, 39.5), (34.5, 39.5), (34.5, 39.9)]))
    found = windows(triangle)
    assert found["N39E033"] == Window(12_000 - 8400, 6000, 2400, 6000)
    assert found["N39E034"] == Window(12_000 - 10_800, 0, 4800, 6000)


def test_an_area_far_below_a_pixel_needs_nothing() -> None:
    assert tile_windows(area_of_box((33, 39, 33 + 1e-12, 39 + 1e-12)), 2021) == []


def test_quality_is_taken_in_whole_pixels_of_60_m_around_the_map() -> None:
    name = TileName(2021, 39, 33, "Map")
    tile = quality_window(TileWindow(name, Window(11, 12, 8, 6)))
    assert tile.name == TileName(2021, 39, 33, "InputQuality")
    assert tile.window == Window(1, 2, 3, 1)
    whole = quality_window(TileWindow(name, Window(0, 0, 36_000, 36_000)))
    assert whole.window == Window(0, 0, 6000, 6000)


@pytest.mark.parametrize("place", ["N39", "n39e033", "N39E033_Map", "N90E000", "N00E180", ""])
def test_a_name_that_is_none_is_told_with_an_example(place: str) -> None:
    with pytest.raises(SettingsError, match="such as N39E033 or S01W051"):
        area_of_tiles([place], 2021)


# Windows in files that hold a part of their tile


def found_in(path: Path, tile: TileWindow) -> Window:
    with open_remote(RemoteFile(str(path.parent), path.name), 1.0) as raster:
        return window_in_file(tile, raster)


@pytest.fixture
def composite(tmp_path: Path) -> tuple[Path, TileName]:
    """A file of 128 pixels from row 600 and column 1200 of its tile on."""
    place = Mirror(tmp_path).place(
        -1, -51, row=600, column=1200, side=128, products=("S2RGBNIR", "Map", "InputQuality")
    )
    return place.files["S2RGBNIR"], TileName(2021, -1, -51, "S2RGBNIR")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Window(600, 1200, 128, 128), Window(0, 0, 128, 128)),
        (Window(610, 1230, 20, 30), Window(10, 30, 20, 30)),
        (Window(0, 0, 620, 1210), Window(0, 0, 20, 10)),
        (Window(700, 1300, 5000, 5000), Window(100, 100, 28, 28)),
    ],
)
def test_a_part_of_a_tile_gives_what_it_holds(
    wanted: Window, found: Window, composite: tuple[Path, TileName]
) -> None:
    path, name = composite
    assert found_in(path, TileWindow(name, wanted)) == found


def test_a_map_and_its_quality_are_placed_in_their_own_tiles(
    composite: tuple[Path, TileName], tmp_path: Path
) -> None:
    under = map_under(composite[1])  # S03W051: the composite lies in its northern row
    folder = tmp_path / "v200" / "2021" / "map"
    tile = TileWindow(under, Window(606, 1212, 12, 18))
    assert found_in(folder / under.filename, tile) == Window(6, 12, 12, 18)
    quality = quality_window(tile)
    assert found_in(folder / quality.name.filename, quality) == Window(1, 2, 2, 3)


def test_a_part_that_holds_nothing_of_the_area_is_unusable(
    composite: tuple[Path, TileName],
) -> None:
    path, name = composite
    with pytest.raises(RemoteUnusable, match="it holds nothing of the area"):
        found_in(path, TileWindow(name, Window(0, 0, 600, 12_000)))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"crs": "EPSG:3857"}, "not in EPSG:4326"),
        ({"bands": 3}, "it has 3 bands of uint16; 4 of whole numbers"),
        ({"dtype": np.float32}, "it has 4 bands of float32"),
        ({"step": 2 * STEP}, "official grid of 12000 per degree"),
        ({"step": STEP * (1 + 1e-6)}, "official grid"),
        ({"west": 33 + 0.3 * STEP}, "official grid"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_unusable(
    change: dict[str, object], told: str, tmp_path: Path
) -> None:
    settings = {"crs": "EPSG:4326", "bands": 4, "dtype": np.uint16, "step": STEP, "west": 33.0}
    settings |= change
    path = write_cog(
        tmp_path / "tile.tif",
        np.ones((settings["bands"], 128, 128), dtype=settings["dtype"]),
        settings["west"],
        40.0,
        settings["step"],
        crs=settings["crs"],
    )
    with pytest.raises(RemoteUnusable, match=told):
        found_in(path, TileWindow(TileName(2021, 39, 33, "S2RGBNIR"), Window(0, 0, 10, 10)))
