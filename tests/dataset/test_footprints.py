"""Ground that patches cover: overlaps and gaps edge to edge, anywhere on the globe."""

from typing import Any

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from terraloom.dataset.footprints import Footprints, Squares

GEOD = pyproj.Geod(ellps="WGS84")
PLACES = [(33.0, 39.0), (-179.995, -17.0), (180.0, 0.0), (10.0, 69.9), (0.0, -89.0), (-0.001, 0.0)]


STRAIGHT = [place for place in PLACES if abs(place[1]) < 80]
"""Places where squares with a side to the north lie next to parallel to one another."""


def squares(centres: np.ndarray, side_m: float) -> np.ndarray:
    """Corners "patch 4 2" of squares whose sides run north, by steps along geodesics."""
    corners = np.empty((len(centres), 4, 2))
    for corner, azimuth in enumerate((315.0, 45.0, 135.0, 225.0)):
        count = len(centres)
        lon, lat, _ = GEOD.fwd(
            *centres.T, np.full(count, azimuth), np.full(count, side_m / np.sqrt(2))
        )
        corners[:, corner] = np.stack([lon, lat], axis=1)
    return corners


def around(place: tuple[float, float], metres: np.ndarray) -> np.ndarray:
    """Points at (east, north) metres from a place, by geodesics."""
    azimuth = np.rad2deg(np.arctan2(metres[:, 0], metres[:, 1]))
    start = (np.full(len(metres), place[0]), np.full(len(metres), place[1]))
    lon, lat, _ = GEOD.fwd(*start, azimuth, np.hypot(*metres.T))
    return np.stack([lon, lat], axis=1)


def footprints(place: tuple[float, float], metres: np.ndarray, side_m: float) -> Footprints:
    centres = around(place, metres)
    radius = np.full(len(centres), side_m / np.sqrt(2))
    return Footprints(centres, radius, squares(centres, side_m))


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.intp)


@pytest.mark.parametrize("place", STRAIGHT)
def test_a_gap_is_measured_from_edge_to_edge(place: tuple[float, float]) -> None:
    there = footprints(place, np.array([[0, 0], [2000.0, 0], [0, 5000.0], [3000.0, 3000.0]]), 1000)
    gap, one, two = there.nearest(rows(0), rows(1)) or (np.nan, -1, -1)
    assert (one, two) == (0, 1)
    assert gap == pytest.approx(1000, abs=0.5)
    assert (there.nearest(rows(0), rows(2)) or (np.nan,))[0] == pytest.approx(4000, abs=2)
    # Corner to corner, along the diagonal.
    assert (there.nearest(rows(0), rows(3)) or (np.nan,))[0] == pytest.approx(
        2000 * np.sqrt(2), abs=2
    )
    assert (there.nearest(rows(0), rows(1, 2, 3)) or (0, 0, -1))[2] == 1


@pytest.mark.parametrize("place", STRAIGHT)
def test_neighbours_that_touch_share_no_ground_and_those_that_overlap_do(
    place: tuple[float, float],
) -> None:
    there = footprints(place, np.array([[0, 0], [1000.0, 0], [0, 980.0], [995.0, 995.0]]), 1000)
    assert there.overlapping(rows(0), rows(1)) == []
    assert there.overlapping(rows(0), rows(2)) == [(0, 2)]
    assert there.overlapping(rows(3), rows(0)) == [(3, 0)]
    assert (there.nearest(rows(0), rows(2)) or (1.0,))[0] == 0.0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), place=st.sampled_from(PLACES), buffer_m=st.floats(50, 4000))
def test_neighbours_are_those_that_every_pair_measured_alone_gives(
    seed: int, place: tuple[float, float], buffer_m: float
) -> None:
    random = np.random.default_rng(seed)
    there = footprints(place, random.uniform(-8000, 8000, (40, 2)), 800)
    one, two = np.arange(20, dtype=np.intp), np.arange(20, 40, dtype=np.intp)
    # Gaps of squares by an azimuthal projection around each pair, built by pyproj alone.
    gaps = np.empty((20, 20))
    for i in range(20):
        for j in range(20):
            gaps[i, j] = pair_gap(there, i, 20 + j)
    near = {i: g.min() for i, g in enumerate(gaps) if g.min() < buffer_m * (1 - 2e-4)}
    doubtful = {i for i, g in enumerate(gaps) if abs(g.min() - buffer_m) <= 2e-4 * buffer_m}
    found = there.closer(one, two, buffer_m)
    assert {i for i, _, _ in found} - doubtful == set(near) - doubtful
    for i, j, gap in found:
        assert gap == pytest.approx(gaps[i, j - 20], abs=0.5 + 2e-4 * buffer_m)
    least = there.nearest(one, two)
    assert least is not None
    assert least[0] == pytest.approx(gaps.min(), abs=0.5)


def pair_gap(there: Footprints, i: int, j: int) -> float:
    (lon, lat), (lon_2, lat_2) = there.lonlat[[i, j]]
    azimuth, _, distance = GEOD.inv(lon, lat, lon_2, lat_2)
    lon, lat, _ = GEOD.fwd(lon, lat, azimuth, distance / 2)
    plane = pyproj.Proj(proj="aeqd", lat_0=lat, lon_0=lon, ellps="WGS84")
    shapes: list[Any] = [
        shapely.Polygon(np.stack(plane(*c.T), axis=1)) for c in there.corners[[i, j]]
    ]
    return float(shapes[0].distance(shapes[1]))


def test_patches_without_coordinates_are_left_out_of_every_answer() -> None:
    lonlat = np.array([[10.0, 0.0], [np.nan, np.nan], [10.001, 0.0]])
    there = Footprints(lonlat, np.array([50.0, np.nan, 50.0]), None)
    assert there.known.tolist() == [True, False, True]
    assert there.nearest(rows(1), rows(0, 2)) is None
    assert [pair[:2] for pair in there.closer(rows(0, 1), rows(2), 1000)] == [(0, 2)]


@settings(max_examples=60, deadline=None)
@given(
    lon=st.floats(-180, 180),
    lat=st.floats(-89.5, 89.5),
    size_m=st.sampled_from([640.0, 2560.0, 25_000.0]),
)
def test_a_point_lies_in_the_square_it_is_given_and_squares_are_square(
    lon: float, lat: float, size_m: float
) -> None:
    grid = Squares(size_m)
    ((row, column),) = grid.of(np.array([[lon, lat]])).tolist()
    (west, south), _, (east, north), _ = grid.outline(row, column).tolist()
    assert south - 1e-9 <= lat <= north + 1e-9
    turned = lon if lon >= west - 1e-9 else lon + 360.0
    turned -= 360.0 if turned > east + 1e-9 else 0.0
    assert west - 1e-9 <= turned <= east + 1e-9
    height = GEOD.inv(west, south, west, north)[2]
    if abs(lat) < 89:
        middle = (south + north) / 2
        width = GEOD.inv(west, middle, east, middle)[2]
        assert height == pytest.approx(size_m, rel=1e-6)
        assert width == pytest.approx(size_m, rel=0.5 / grid.columns_of(row) + 1e-3)


def test_squares_tile_the_antimeridian_without_a_sliver() -> None:
    grid = Squares(2560)
    east, west = grid.of(np.array([[179.9999, -17.0], [-179.9999, -17.0]])).tolist()
    assert east == [west[0], grid.columns_of(west[0]) - 1]
    assert west[1] == 0
    assert grid.outline(*east)[1, 0] == pytest.approx(180.0)
    assert grid.outline(*west)[0, 0] == pytest.approx(-180.0)
