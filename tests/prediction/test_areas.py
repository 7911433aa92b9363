"""Counts and the ground they cover, on any grid on Earth."""

import json

import numpy as np
import pytest
from pyproj import Geod
from tests.prediction.drawn_scenes import DRAWN, read, smooth_scene, write

from terraloom.predicting import predict_scene
from terraloom.prediction.areas import CELL, cell_areas, counts_by_cell
from terraloom.raster.grid import Grid, Window
from terraloom.testing import toy_classes


def test_shares_are_counted_on_the_map(colours, tmp_path):
    image = smooth_scene(150, 170)
    image[:30] = 0
    scene = write(tmp_path / "scene.tif", image)
    made = predict_scene(
        colours, toy_classes(), [scene], tmp_path / "map.tif", tile=64, overlap=32, **DRAWN
    ).to_json()
    labels = read(tmp_path / "map.tif")
    assert made["unknown_pixels"] == (labels == 255).sum() == 30 * 170
    for label, row in enumerate(made["classes"]):
        assert row["pixels"] == (labels == label).sum()
        assert row["share"] == pytest.approx(row["pixels"] / (120 * 170))
        # A UTM zone's middle is drawn at 0.9996 of its size.
        assert row["km2"] == pytest.approx(row["pixels"] * 1e-4 / 0.9996**2, rel=1e-3)
    assert sum(row["area_share"] for row in made["classes"]) == pytest.approx(1)
    json.dumps(made, allow_nan=False)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:4326", (0.25, 0, -180, 0, -0.25, 90)),
        ("EPSG:4326", (1e-3, 0, 179.99, 0, -1e-3, 70)),
        ("EPSG:3857", (1000, 0, 1e6, 0, -1000, 9e6)),
        ("EPSG:3413", (1000, 0, -32_000, 0, -1000, 32_000)),  # around the pole
        ("EPSG:32636", (8.0, 6.0, 500_000.0, 6.0, -8.0, 4_300_000.0)),
    ],
)
def test_the_ground_under_pixels_is_that_of_the_ellipsoid(crs, transform):
    grid = Grid(crs, transform, 64, 64)
    areas = cell_areas(grid, Window(0, 0, 64, 64))
    assert areas.shape == (64 // CELL, 64 // CELL)
    geod = Geod(ellps="WGS84")
    for cell in np.ndindex(areas.shape):
        total = 0.0
        for row in range(cell[0] * CELL, (cell[0] + 1) * CELL):
            # The outline in steps of a pixel, as a geodesic is not a parallel.
            part = grid.part(Window(row, cell[1] * CELL, 1, CELL))
            for column in range(CELL):
                corners = part.part(Window(0, column, 1, 1)).lonlat_corners()
                total += abs(geod.polygon_area_perimeter(corners[:, 0], corners[:, 1])[0]) / 1e6
        assert areas[cell] * CELL**2 == pytest.approx(total, rel=2e-3)


def test_a_whole_earth_has_the_area_of_the_earth():
    areas = cell_areas(
        Grid("EPSG:4326", (0.25, 0, -180, 0, -0.25, 90), 720, 1440), Window(0, 0, 720, 1440)
    )
    assert areas.sum() * CELL**2 == pytest.approx(510_065_622, rel=1e-3)


def test_cells_at_the_edge_are_smaller_and_counted_whole():
    labels = np.random.default_rng(0).integers(0, 5, (37, 21)).astype(np.uint8)
    labels[labels == 4] = 255
    cells = counts_by_cell(labels, 4)
    assert cells.shape == (3, 2, 4)
    assert (cells[2, 1] == [(labels[32:, 16:] == k).sum() for k in range(4)]).all()
    assert cells.sum() == (labels != 255).sum()


def test_a_place_that_is_none_on_earth_has_no_area(colours, tmp_path):
    local = 'LOCAL_CS["site",UNIT["metre",1]]'
    scene = write(tmp_path / "scene.tif", smooth_scene(40, 50), crs=local)
    made = predict_scene(colours, toy_classes(), [scene], tmp_path / "map.tif", **DRAWN)
    assert made.km2 is None


def test_a_coordinate_system_without_a_transform_places_nothing(colours, tmp_path, recwarn):
    scene = write(tmp_path / "scene.tif", smooth_scene(40, 50), transform=None)
    made = predict_scene(colours, toy_classes(), [scene], tmp_path / "map.tif", **DRAWN)
    assert (made.crs, made.km2) == (None, None)


def test_pixels_off_the_earth_need_no_area_where_nothing_is_known(colours, tmp_path):
    # A whole disk as a geostationary satellite sees it: the corners look past the Earth.
    image = smooth_scene(480, 480)
    rows, columns = np.mgrid[:480, :480] - 239.5
    image[np.hypot(rows, columns) > 160] = 0
    disk = "+proj=geos +h=35785831 +lon_0=0 +sweep=y +ellps=WGS84 +units=m"
    scene = write(
        tmp_path / "scene.tif", image, crs=disk,
        transform=(23_210, 0, -5_570_400, 0, -23_210, 5_570_400),
    )  # fmt: skip
    made = predict_scene(colours, toy_classes(), [scene], tmp_path / "map.tif", **DRAWN)
    known = np.hypot(rows, columns) <= 160
    # Seen from straight above at the middle, ever more aslant towards the rim.
    assert 1.1 < made.km2.sum() / (known.sum() * 23.21**2) < 1.6
    image[:40, :40] = 90
    write(scene, image, crs=disk, transform=(23_210, 0, -5_570_400, 0, -23_210, 5_570_400))
    again = predict_scene(
        colours, toy_classes(), [scene], tmp_path / "map.tif", overwrite=True, **DRAWN
    )
    assert again.km2 is None


def test_tiles_without_data_cost_no_forward_pass(colours, tmp_path):
    image = np.zeros((512, 512, 3), dtype=np.uint8)
    image[:32, :32] = (20, 110, 40)
    scene = write(tmp_path / "scene.tif", image)
    made = predict_scene(
        colours, toy_classes(), [scene], tmp_path / "map.tif", tile=64, overlap=32, **DRAWN
    )
    assert made.tiles == 1
    assert made.to_json()["known_pixels"] == 32 * 32


def test_a_scene_without_any_data_is_unknown_everywhere(colours, tmp_path):
    scene = write(tmp_path / "scene.tif", np.zeros((80, 90, 3), dtype=np.uint8))
    made = predict_scene(colours, toy_classes(), [scene], tmp_path / "map.tif", **DRAWN).to_json()
    assert (read(tmp_path / "map.tif") == 255).all()
    assert (made["known_pixels"], made["mean_confidence"], made["km2"]) == (0, None, 0.0)
