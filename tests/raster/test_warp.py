"""No label is shifted by half a pixel: coordinates as pixel values, over random grids and CRSs."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from terraloom.raster import geotiff
from terraloom.raster.grid import Grid
from terraloom.raster.warp import nearest_axes, nearest_pixels

# Places with the CRS that surveyors there use: both hemispheres, a pole, the antimeridian.
PLACES = {
    "EPSG:32636": (33.2, 39.1),
    "EPSG:32737": (38.5, -3.4),
    "EPSG:3035": (24.0, 67.5),
    "EPSG:3857": (-70.3, -52.8),
    "EPSG:3413": (-42.0, 78.0),
    "EPSG:32760": (179.7, -17.3),
    "EPSG:4326": (6.7, 0.4),
}


def centres(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    a, b, c, d, e, f = grid.transform
    columns, rows = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
    return a * columns + b * rows + c, d * columns + e * rows + f


def exact(grid: Grid, source: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Fractional row and column of the source under each centre, point by point through PROJ."""
    x, y = centres(grid)
    if grid.crs != source.crs:
        x, y = Transformer.from_crs(grid.crs, source.crs, always_xy=True).transform(x, y)
    a, b, c, d, e, f = source.transform
    matrix = np.linalg.inv(np.array([[a, b], [d, e]]))
    column, row = np.tensordot(matrix, np.stack([x - c, y - f]), axes=1)
    return row, column


@st.composite
def pairs_of_grids(draw: st.DrawFn) -> tuple[Grid, Grid]:
    """An image's grid and a map's grid around one place, any size, offset and resolution."""
    image_crs = draw(st.sampled_from(sorted(PLACES)))
    lon, lat = PLACES[image_crs]
    map_crs = draw(st.sampled_from([image_crs, "EPSG:4326"]))

    def grid(crs: str, metres: float, height: int, width: int, off: tuple[float, float]) -> Grid:
        x, y = Transformer.from_crs(4326, crs, always_xy=True).transform(lon, lat)
        step = metres / 111_320 if crs == "EPSG:4326" else metres
        west, north = x - (width / 2 + off[0]) * step, y + (height / 2 + off[1]) * step
        return Grid(crs, (step, 0.0, west, 0.0, -step, north), height, width)

    offset = st.tuples(st.floats(-9, 9), st.floats(-9, 9))
    image = grid(
        image_crs,
        draw(st.sampled_from([10.0, 7.3, 30.0])),
        draw(st.integers(1, 90)),
        draw(st.integers(1, 120)),
        draw(offset),
    )
    labels = grid(map_crs, draw(st.sampled_from([10.0, 9.2, 60.0])), 300, 340, draw(offset))
    return image, labels


@settings(max_examples=60, deadline=None)
@given(pairs_of_grids())
def test_every_pixel_gets_the_value_under_its_centre(pair: tuple[Grid, Grid]) -> None:
    image, labels = pair
    row, column = nearest_pixels(image, labels)
    true_row, true_column = exact(image, labels)
    # The chosen pixel's middle is at most half a pixel off, plus the stated hundredth.
    assert np.abs(row + 0.5 - true_row).max() <= 0.511
    assert np.abs(column + 0.5 - true_column).max() <= 0.511
    axes = nearest_axes(image, labels)
    if image.crs == labels.crs:
        assert axes is not None
        assert (row == axes[0][:, None]).all()
        assert (column == axes[1]).all()
    else:
        assert axes is None


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(pair=pairs_of_grids())
def test_coordinates_in_pixels_arrive_where_they_belong(
    tmp_path: Path, pair: tuple[Grid, Grid]
) -> None:
    image, labels = pair
    rows, columns = np.mgrid[: labels.height, : labels.width]
    path = tmp_path / "map.tif"
    geotiff.write_geotiff(path, np.stack([rows, columns]).astype(np.int32), labels)
    pixels = geotiff.read_onto([path], image, bands=(1, 2), fill=-1)
    true_row, true_column = exact(image, labels)
    clear = (np.abs(true_row - np.rint(true_row)) > 0.011) & (
        np.abs(true_column - np.rint(true_column)) > 0.011
    )
    inside = (true_row > 0) & (true_row < labels.height)
    inside &= (true_column > 0) & (true_column < labels.width)
    expected = np.where(inside, np.floor([true_row, true_column]), -1)
    assert (pixels == expected)[:, clear].all()
    assert (geotiff.covered_part(path, image) == inside)[clear].all()


def test_a_rotated_map_is_followed() -> None:
    turn = np.deg2rad(30)
    a, d = 10 * np.cos(turn), 10 * np.sin(turn)
    labels = Grid("EPSG:32636", (a, d, 5e5, d, -a, 4e6), 80, 90)
    x, y = centres(labels)
    image = Grid("EPSG:32636", (10.0, 0.0, x.mean() - 150, 0.0, -10.0, y.mean() + 100), 20, 30)
    row, column = nearest_pixels(image, labels)
    true_row, true_column = exact(image, labels)
    assert (row == np.floor(true_row)).mean() > 0.99
    assert (column == np.floor(true_column)).mean() > 0.99
    assert nearest_axes(image, labels) is None


def test_what_a_projection_cannot_reach_lies_nowhere() -> None:
    image = Grid("EPSG:4326", (1.0, 0.0, -10.0, 0.0, -1.0, 90.0), 20, 20)
    labels = Grid("EPSG:3857", (1e4, 0.0, -1e6, 0.0, -1e4, 2e7), 1000, 1000)
    row, _ = nearest_pixels(image, labels)
    true_row, _ = exact(image, labels)
    assert np.isfinite(true_row[5:]).all()
    assert (np.abs(row[5:] + 0.5 - true_row[5:]) <= 0.511).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (64, 3)])
def test_thin_grids_are_exact(size: tuple[int, int]) -> None:
    image = Grid("EPSG:32636", (10.0, 0.0, 5e5, 0.0, -10.0, 4.3e6), *size)
    labels = Grid("EPSG:4326", (1e-4, 0.0, 32.9, 0.0, -1e-4, 39.0), 3000, 3000)
    row, column = nearest_pixels(image, labels)
    true_row, true_column = exact(image, labels)
    assert np.abs(row + 0.5 - true_row).max() <= 0.511
    assert np.abs(column + 0.5 - true_column).max() <= 0.511
