"""Official names, and which map lies under which composite."""

from pathlib import Path

import pytest

from terraloom.errors import InputError
from terraloom.raster.worldcover_tiles import TileName, TileSet, find_tiles, parse_name


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("ESA_WorldCover_10m_2021_v200_N39E033_Map.tif", (2021, 39, 33, "Map")),
        ("ESA_WorldCover_10m_2020_v100_N00E006_S2RGBNIR.tif", (2020, 0, 6, "S2RGBNIR")),
        ("ESA_WorldCover_10m_2020_v100_S36W072_InputQuality.tif", (2020, -36, -72, "InputQuality")),
        ("ESA_WorldCover_10m_2021_v200_S01W001_S2RGBNIR.tif", (2021, -1, -1, "S2RGBNIR")),
    ],
)
def test_names_are_read_and_written_alike(name: str, parts: tuple[int, int, int, str]) -> None:
    tile = parse_name(name)
    assert tile == TileName(*parts)
    assert tile.filename == name


@pytest.mark.parametrize(
    "name",
    [
        "ESA_WorldCover_10m_2021_v200_N39E033_Map.tiff",
        "ESA_WorldCover_10m_2021_v200_N39E33_Map.tif",
        "ESA_WorldCover_10m_2021_v200_N39E033_NDVI.tif",
        "ESA_WorldCover_10m_2019_v050_N39E033_Map.tif",  # a year without an official map
        "copy of ESA_WorldCover_10m_2021_v200_N39E033_Map.tif",
        "scene.tif",
    ],
)
def test_other_names_are_no_tiles(name: str) -> None:
    assert parse_name(name) is None


@pytest.mark.parametrize(("south", "west"), [(39, 33), (0, 6), (-36, -72), (-3, -3), (0, -180)])
def test_all_nine_composites_under_a_map_find_it_and_their_neighbours_do_not(
    south: int, west: int
) -> None:
    name = TileName(2021, south, west, "Map")
    path = Path(name.filename)
    tiles = TileSet({}, {name: (path,)}, {})
    found = {
        (lat, lon)
        for lat in range(south - 2, south + 5)
        for lon in range(west - 2, west + 5)
        if tiles.maps_under(TileName(2021, lat, lon, "S2RGBNIR")) == (path,)
    }
    assert found == {(south + i, west + j) for i in range(3) for j in range(3)}


def test_a_map_of_another_year_does_not_count() -> None:
    name = TileName(2020, 39, 33, "Map")
    tiles = TileSet({}, {name: (Path(name.filename),)}, {})
    assert tiles.maps_under(TileName(2021, 39, 33, "S2RGBNIR")) == ()


def test_tiles_are_found_deep_in_a_folder_and_sorted_by_product(tmp_path: Path) -> None:
    names = [TileName(2021, 39, 33, p) for p in ("Map", "S2RGBNIR", "InputQuality")]
    for index, name in enumerate(names):
        path = tmp_path / f"sub{index}" / name.filename
        path.parent.mkdir()
        path.write_text("")
    (tmp_path / "other.tif").write_text("")
    tiles = find_tiles(tmp_path)
    assert tiles.maps == {names[0]: (tmp_path / "sub0" / names[0].filename,)}
    assert tiles.composites == {names[1]: (tmp_path / "sub1" / names[1].filename,)}
    assert tiles.qualities_under(names[1]) == (tmp_path / "sub2" / names[2].filename,)
    assert tiles.maps_without_composite() == []


def test_a_folder_without_maps_or_composites_says_which(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no WorldCover composite \(…_S2RGBNIR\.tif\)"):
        find_tiles(tmp_path)
    (tmp_path / TileName(2021, 39, 33, "S2RGBNIR").filename).write_text("")
    with pytest.raises(InputError, match=r"no WorldCover map \(…_Map\.tif\).*N39E033_Map\.tif"):
        find_tiles(tmp_path)
