"""GeoTIFF in and out, with coordinates written into the pixels."""

from pathlib import Path

import numpy as np
import pytest
from pyproj import Transformer

from terraloom.errors import InputError, PairError, TilesDisagree, UnreadableFile
from terraloom.raster import geotiff
from terraloom.raster.grid import Grid, Window

STEP = 1 / 12_000
# A mosaic of 2 × 2 files with unequal sizes: edges at row 40 and column 70.
WHOLE = Grid("EPSG:4326", (STEP, 0.0, 33 - 70 * STEP, 0.0, -STEP, 39 + 40 * STEP), 100, 150)
PARTS = (
    Window(0, 0, 40, 70),
    Window(0, 70, 40, 80),
    Window(40, 0, 60, 70),
    Window(40, 70, 60, 80),
)


def coordinates(window: Window) -> np.ndarray:
    """Row and column of the whole as two bands, int32 "band height width"."""
    rows, columns = np.mgrid[
        window.row : window.row + window.height, window.column : window.column + window.width
    ]
    return np.stack([rows, columns]).astype(np.int32)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("tiles")
    paths = []
    for index, window in enumerate(PARTS):
        path = folder / f"tile{index}.tif"
        geotiff.write_geotiff(path, coordinates(window), WHOLE.part(window))
        paths.append(path)
    return paths


@pytest.mark.parametrize(
    "window",
    [
        Window(0, 0, 100, 150),
        Window(30, 60, 20, 25),  # across both edges
        Window(39, 69, 2, 2),  # the four pixels around the corner
        Window(50, 10, 7, 9),  # within one file
    ],
)
def test_an_aligned_window_equals_the_stored_values_across_tile_edges(
    tiles: list[Path], window: Window
) -> None:
    for paths in (tiles, tiles[::-1]):
        pixels = geotiff.read_onto(paths, WHOLE.part(window), bands=(1, 2), fill=-9)
        assert pixels.dtype == np.int32
        assert (pixels == coordinates(window)).all()


def test_bands_come_in_the_order_asked_for(tiles: list[Path]) -> None:
    window = Window(35, 65, 10, 12)
    pixels = geotiff.read_onto(tiles, WHOLE.part(window), bands=(2, 1), fill=-9)
    assert (pixels == coordinates(window)[::-1]).all()


def test_what_no_file_covers_is_filled(tiles: list[Path]) -> None:
    window = Window(-3, 140, 10, 20)
    pixels = geotiff.read_onto(tiles, WHOLE.part(window), bands=(1, 2), fill=-9)
    inside = (slice(None), slice(3, None), slice(None, 10))
    assert (pixels[inside] == coordinates(Window(0, 140, 7, 10))).all()
    pixels[inside] = -9
    assert (pixels == -9).all()
    far = geotiff.read_onto(tiles, WHOLE.part(Window(500, 500, 4, 4)), bands=(1,), fill=-9)
    assert (far == -9).all()


def test_a_missing_tile_leaves_its_part_empty(tiles: list[Path]) -> None:
    pixels = geotiff.read_onto([tiles[0], tiles[3]], WHOLE, bands=(1,), fill=-9)[0]
    rows = coordinates(Window(0, 0, 100, 150))[0]
    for window, there in zip(PARTS, (True, False, False, True), strict=True):
        part = np.s_[
            window.row : window.row + window.height, window.column : window.column + window.width
        ]
        assert (pixels[part] == (rows[part] if there else -9)).all()


def _nearest_pixels(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Fractional rows and columns of the whole mosaic under each pixel centre of `grid`."""
    a, _, c, _, e, f = grid.transform
    columns, rows = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
    lon, lat = Transformer.from_crs(grid.crs, 4326, always_xy=True).transform(
        c + a * columns, f + e * rows
    )
    return (WHOLE.transform[5] - lat) / STEP, (lon - WHOLE.transform[2]) / STEP


def test_a_reprojected_read_takes_the_nearest_stored_value(tiles: list[Path]) -> None:
    easting, northing = Transformer.from_crs(4326, 32636, always_xy=True).transform(33.0, 39.0)
    grid = Grid("EPSG:32636", (10.0, 0.0, easting - 300, 0.0, -10.0, northing + 200), 45, 55)
    pixels = geotiff.read_onto(tiles, grid, bands=(1, 2), fill=-9)
    rows, columns = _nearest_pixels(grid)
    # A centre within a hundredth of a pixel of an edge may fall either way.
    clear = (np.abs(rows - np.rint(rows)) > 0.01) & (np.abs(columns - np.rint(columns)) > 0.01)
    assert clear.mean() > 0.9
    assert (pixels[0] == np.floor(rows))[clear].all()
    assert (pixels[1] == np.floor(columns))[clear].all()
    assert (np.abs(pixels[0] + 0.5 - rows) <= 0.51).all()
    assert (pixels != -9).all()  # no seam where the tiles meet


def test_a_reprojected_read_of_labels_makes_no_new_label(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).choice([10, 40, 80], size=(1, 60, 80)).astype(np.uint8)
    geotiff.write_geotiff(tmp_path / "m.tif", codes, WHOLE.part(Window(0, 0, 60, 80)), nodata=0)
    easting, northing = Transformer.from_crs(4326, 32636, always_xy=True).transform(33.0, 39.0)
    grid = Grid("EPSG:32636", (7.0, 0.0, easting - 100, 0.0, -7.0, northing + 80), 30, 20)
    labels = geotiff.read_onto([tmp_path / "m.tif"], grid, bands=(1,), fill=0)
    assert set(np.unique(labels)) == {10, 40, 80}


def test_a_grid_off_by_half_a_pixel_is_not_taken_for_aligned(tiles: list[Path]) -> None:
    a, b, c, d, e, f = WHOLE.transform
    for share, first in ((0.4, 0), (0.5, 1), (0.6, 1)):
        shifted = Grid(WHOLE.crs, (a, b, c + share * a, d, e, f), 20, 30)
        columns = geotiff.read_onto(tiles[:1], shifted, bands=(2,), fill=-9)[0]
        assert (columns == np.arange(30) + first).all()  # on the very line: the right one


def test_longitudes_a_turn_apart_are_one_place(tmp_path: Path) -> None:
    east = Grid("EPSG:4326", (0.01, 0.0, 179.9, 0.0, -0.01, -16.0), 8, 10)
    west = Grid("EPSG:4326", (0.01, 0.0, -180.0, 0.0, -0.01, -16.0), 8, 10)
    for name, grid, value in (("e", east, 1), ("w", west, 2)):
        pixels = np.full((1, 8, 10), value, dtype=np.uint8)
        geotiff.write_geotiff(tmp_path / f"{name}.tif", pixels, grid)
    paths = [tmp_path / "e.tif", tmp_path / "w.tif"]
    across = Grid("EPSG:4326", (0.01, 0.0, 179.95, 0.0, -0.01, -16.0), 8, 10)
    for turn in (0.0, -360.0):
        a, b, c, d, e, f = across.transform
        grid = Grid("EPSG:4326", (a, b, c + turn, d, e, f), 8, 10)
        pixels = geotiff.read_onto(paths, grid, bands=(1,), fill=0)[0]
        assert (pixels[:, :5] == 1).all()
        assert (pixels[:, 5:] == 2).all()
        finer = Grid("EPSG:4326", (0.005, b, c + turn, d, -0.005, f), 16, 20)
        pixels = geotiff.read_onto(paths, finer, bands=(1,), fill=0)[0]
        assert (pixels[:, :10] == 1).all()
        assert (pixels[:, 10:] == 2).all()


def test_two_files_that_disagree_are_told_by_name(tmp_path: Path) -> None:
    grid = WHOLE.part(Window(0, 0, 20, 30))
    first = np.full((1, 20, 30), 10, dtype=np.uint8)
    second = first.copy()
    second[0, 3, 4:6] = 40
    for name, pixels in (("first.tif", first), ("same.tif", first), ("second.tif", second)):
        geotiff.write_geotiff(tmp_path / name, pixels, grid, nodata=0)
    paths = [tmp_path / "first.tif", tmp_path / "same.tif"]
    assert (geotiff.read_onto(paths, grid, bands=(1,), fill=0) == first).all()
    paths = [tmp_path / "first.tif", tmp_path / "second.tif"]
    with pytest.raises(TilesDisagree, match=r"second.tif and first.tif.*\(2 pixels\)"):
        geotiff.read_onto(paths, grid, bands=(1,), fill=0)
    # Away from those two pixels they agree.
    apart = grid.part(Window(5, 0, 10, 30))
    assert (geotiff.read_onto(paths, apart, bands=(1,), fill=0) == 10).all()


def test_no_data_of_one_file_is_filled_by_the_next_and_else_stays(tmp_path: Path) -> None:
    grid = WHOLE.part(Window(0, 0, 10, 12))
    holes = np.full((1, 10, 12), 7, dtype=np.int16)
    holes[0, :, 5:] = -1
    rest = np.full((1, 10, 12), 7, dtype=np.int16)
    rest[0, :5] = -1
    for name, pixels in (("holes.tif", holes), ("rest.tif", rest)):
        geotiff.write_geotiff(tmp_path / name, pixels, grid, nodata=-1)
    paths = [tmp_path / "holes.tif", tmp_path / "rest.tif"]
    expected = np.full((10, 12), 7)
    expected[:5, 5:] = -1
    for order in (paths, paths[::-1]):
        assert (geotiff.read_onto(order, grid, bands=(1,), fill=3)[0] == expected).all()


def test_damaged_files_are_told_by_name(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (1, 600, 600)).astype(np.uint8)
    grid = Grid("EPSG:32636", (10.0, 0.0, 500_000.0, 0.0, -10.0, 4e6), 600, 600)
    path = tmp_path / "whole.tif"
    geotiff.write_geotiff(path, pixels, grid)
    data = path.read_bytes()
    (tmp_path / "short.tif").write_bytes(data[: len(data) // 2])
    middle = bytearray(data)
    for offset in range(len(data) // 3, len(data) // 3 + 64):
        middle[offset] ^= 0xFF
    (tmp_path / "flipped.tif").write_bytes(bytes(middle))
    assert (geotiff.read_onto([path], grid, bands=(1,), fill=0) == pixels).all()
    for name in ("short.tif", "flipped.tif"):
        with pytest.raises(UnreadableFile, match=name):
            geotiff.read_onto([tmp_path / name], grid, bands=(1,), fill=0)


def test_a_file_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    grid = WHOLE.part(Window(0, 0, 4, 5))
    for value in (3, 4):
        pixels = np.full((1, 4, 5), value, dtype=np.uint8)
        geotiff.write_geotiff(tmp_path / "a.tif", pixels, grid)
        assert (geotiff.read_onto([tmp_path / "a.tif"], grid, bands=(1,), fill=0) == value).all()


def test_pixels_of_any_kind_survive_a_tiff_in_bytes() -> None:
    random = np.random.default_rng(3)
    for dtype, bands in ((np.uint16, 4), (np.int16, 3), (np.uint8, 4), (np.float32, 1)):
        pixels = (random.normal(size=(33, 21, bands)) * 500 + 900).astype(dtype)
        data = geotiff.encode_tiff(pixels, {"view_low": "0.0"})
        again, tags = geotiff.decode_tiff(data)
        assert again.dtype == dtype
        assert (again == pixels).all()
        assert tags["view_low"] == "0.0"
        assert geotiff.encode_tiff(pixels, {"view_low": "0.0"}) == data


def test_the_covered_part_is_where_the_file_lies(tiles: list[Path]) -> None:
    covered = geotiff.covered_part(tiles[3], WHOLE)
    expected = np.zeros((100, 150), dtype=bool)
    expected[40:, 70:] = True
    assert (covered == expected).all()
    assert not geotiff.covered_part(tiles[0], WHOLE.part(PARTS[3])).any()
    assert not geotiff.covered_part(tiles[3], WHOLE.part(Window(-90, 0, 30, 30))).any()
    assert geotiff.covered_part(tiles[1], WHOLE.part(Window(5, 75, 8, 9))).all()


def test_the_covered_part_follows_a_reprojection(tiles: list[Path]) -> None:
    easting, northing = Transformer.from_crs(4326, 32636, always_xy=True).transform(33.0, 39.0)
    grid = Grid("EPSG:32636", (10.0, 0.0, easting - 200, 0.0, -10.0, northing + 200), 40, 40)
    rows, columns = _nearest_pixels(grid)
    covered = geotiff.covered_part(tiles[3], grid)
    inside, outside = (rows > 40.2) & (columns > 70.2), (rows < 39.8) | (columns < 69.8)
    assert inside.any()
    assert covered[inside].all()
    assert outside.any()
    assert not covered[outside].any()


def test_what_is_written_is_what_a_file_says_of_itself(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.tif"
    pixels = np.arange(2 * 5 * 7, dtype=np.uint16).reshape(2, 5, 7)
    grid = WHOLE.part(Window(0, 0, 5, 7))
    geotiff.write_geotiff(path, pixels, grid, nodata=0, tags={"seed": "7"}, band_names=("a", "b"))
    info = geotiff.read_info(path)
    assert info.grid == grid
    assert (info.height, info.width, info.bands, info.dtype) == (5, 7, 2, "uint16")
    assert info.nodata == 0
    assert info.tags["seed"] == "7"
    assert (geotiff.read_window(path, Window(1, 2, 3, 4), (2,))[0] == pixels[1, 1:4, 2:6]).all()
    assert [p.name for p in path.parent.iterdir()] == ["a.tif"]


def test_equal_pixels_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.tif", "b.tif"):
        geotiff.write_geotiff(tmp_path / name, coordinates(PARTS[0]), WHOLE.part(PARTS[0]))
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_a_file_that_is_no_raster_is_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.tif").write_text("not a raster")
    with pytest.raises(InputError, match=r"text\.tif cannot be read"):
        geotiff.read_info(tmp_path / "text.tif")
    with pytest.raises(InputError, match=r"gone\.tif"):
        geotiff.read_info(tmp_path / "gone.tif")
    with pytest.raises(InputError, match=r"text\.tif cannot be read: .*Fetch or write it again"):
        geotiff.read_onto([tmp_path / "text.tif"], WHOLE, bands=(1,), fill=0)
    with pytest.raises(InputError, match="no raster file was given"):
        geotiff.read_onto([], WHOLE, bands=(1,), fill=0)


def test_a_truncated_file_is_told_by_name_when_its_pixels_are_read(tmp_path: Path) -> None:
    path = tmp_path / "torn.tif"
    noise = np.random.default_rng(0).integers(0, 255, (1, 600, 600), dtype=np.uint8)
    grid = Grid("EPSG:4326", WHOLE.transform, 600, 600)
    geotiff.write_geotiff(path, noise, grid)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"torn\.tif"):
        geotiff.read_onto([path], grid, bands=(1,), fill=0)
    with pytest.raises(InputError, match=r"torn\.tif"):
        geotiff.read_window(path, Window(0, 0, 600, 600), (1,))


def test_a_band_that_is_not_there_is_told(tiles: list[Path]) -> None:
    with pytest.raises(PairError, match=r"tile0\.tif has 2 bands; band 3 was asked for"):
        geotiff.read_onto(tiles[:1], WHOLE.part(PARTS[0]), bands=(1, 2, 3), fill=0)
    with pytest.raises(PairError, match=r"tile0\.tif has 2 bands; band 3 was asked for"):
        geotiff.read_window(tiles[0], Window(0, 0, 4, 4), (3,))
