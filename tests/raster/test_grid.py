"""Grids: closed forms of windows, corners and distances."""

import numpy as np
import pytest
import shapely

from terraloom.raster.grid import Grid, Window, metres_between

UTM = Grid("EPSG:32636", (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_000_000.0), 30, 50)
DEGREES = Grid("EPSG:4326", (0.5, 0.0, 33.0, 0.0, -0.25, 39.0), 4, 6)


def test_corners_run_clockwise_from_the_upper_left() -> None:
    assert DEGREES.corners().tolist() == [[33, 39], [36, 39], [36, 38], [33, 38]]


def test_a_window_is_placed_by_its_own_upper_left_corner() -> None:
    part = UTM.part(Window(7, 3, 11, 13))
    assert part.transform == (10.0, 0.0, 500_030.0, 0.0, -10.0, 3_999_930.0)
    assert (part.height, part.width, part.crs) == (11, 13, "EPSG:32636")


def test_a_rotated_grid_moves_its_window_along_both_axes() -> None:
    turned = Grid("EPSG:32636", (0.0, 10.0, 100.0, 10.0, 0.0, 200.0), 9, 9)
    assert turned.part(Window(2, 5, 1, 1)).transform == (0.0, 10.0, 120.0, 10.0, 0.0, 250.0)


def test_windows_may_reach_beyond_and_nest() -> None:
    outside = UTM.part(Window(-4, -2, 40, 60))
    assert outside.corners()[0].tolist() == [499_980.0, 4_000_040.0]
    assert outside.part(Window(4, 2, 30, 50)) == UTM


def test_longitude_comes_first_whatever_the_system_says() -> None:
    assert (DEGREES.lonlat_corners() == DEGREES.corners()).all()
    lon, lat = UTM.lonlat_corners().T
    # The central meridian of zone 36 is 33° east; 4,000 km north of the equator is 36.1° north.
    assert lon[0] == pytest.approx(33.0, abs=1e-9)
    assert lat[0] == pytest.approx(36.144, abs=0.01)
    assert lon[1] > lon[0]
    assert lat[2] < lat[1]


def test_a_footprint_is_a_polygon_of_the_corners() -> None:
    polygon = shapely.from_wkb(DEGREES.footprint())
    assert polygon.bounds == (33.0, 38.0, 36.0, 39.0)
    assert polygon.area == pytest.approx(3.0)
    projected = shapely.from_wkb(UTM.footprint())
    assert projected.equals(shapely.Polygon(UTM.lonlat_corners()))


def test_distances_follow_the_ellipsoid() -> None:
    assert metres_between((33.0, 39.0), (33.0, 39.0)) == 0
    # One degree of longitude on the equator of WGS 84: 2π · 6378137 m / 360.
    assert metres_between((0.0, 0.0), (1.0, 0.0)) == pytest.approx(111_319.49, abs=0.01)
    # It shrinks with latitude, and crosses the date line the short way.
    assert metres_between((0.0, 60.0), (1.0, 60.0)) == pytest.approx(55_800.0, abs=5)
    assert metres_between((179.5, 0.0), (-179.5, 0.0)) == pytest.approx(111_319.49, abs=0.01)


def test_a_diagonal_of_ten_metre_pixels_is_told_in_metres() -> None:
    upper_left, _, lower_right, _ = UTM.lonlat_corners()
    # The scale of UTM on its central meridian is 0.9996.
    expected = np.hypot(300, 500) / 0.9996
    assert metres_between(tuple(upper_left), tuple(lower_right)) == pytest.approx(
        expected, rel=1e-4
    )
