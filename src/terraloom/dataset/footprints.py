"""Footprints on the ground: squares of a size in metres, overlaps, gaps edge to edge."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from terraloom.types import Float64Array, Int64Array

_GEOD: Final = pyproj.Geod(ellps="WGS84")
_QUARTER_M: Final = float(_GEOD.inv(0.0, 0.0, 0.0, 90.0)[2])
"""From the equator to a pole along a meridian."""
_CELL_M: Final = 100_000.0
"""Gaps are measured on planes no wider than this: 1 part in 10,000 at their rims."""
_TOLERANCE: Final = 1e-3
"""Share of a side by which neighbours may overlap: edges that are one on a map bend on another."""
_SLACK: Final = 1.01
"""The earth is no sphere: a search on one looks a little further."""
_EARTH_M: Final = 6_371_008.8

_Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Squares:
    """Squares on the ground, the same for any data: rows of latitude, columns of longitude.

    Rows are `size_m` high along the meridian, counted from the south pole so that their lines meet
    the equator. Each row is cut into a whole number of equal columns from 180° west, as near to
    `size_m` wide at the row's middle as a whole number allows: no square is cut off at the
    antimeridian. Only rows that touch a pole are not square.
    """

    size_m: float

    def of(self, lonlat: Float64Array) -> Int64Array:
        """Row and column of each point, "point 2".

        Args:
            lonlat: "point 2", degrees.
        """
        lon, lat = lonlat.T
        zero = np.zeros(len(lat))
        arc = np.sign(lat) * np.asarray(_GEOD.inv(zero, zero, zero, lat)[2])
        rows = np.floor(arc / self.size_m).astype(np.int64) + self._to_pole
        numbers, place = np.unique(rows, return_inverse=True)
        columns = np.array([self.columns_of(int(row)) for row in numbers], dtype=np.int64)[place]
        turns = ((lon + 180.0) / 360.0) % 1.0
        found = np.minimum((turns * columns).astype(np.int64), columns - 1)
        return np.stack([rows, found], axis=1)

    def columns_of(self, row: int) -> int:
        """Number of squares around the globe in a row."""
        lat = self._latitude((row - self._to_pole + 0.5) * self.size_m)
        flattening = _GEOD.es * np.sin(np.deg2rad(lat)) ** 2
        around = 2 * np.pi * _GEOD.a * np.cos(np.deg2rad(lat)) / np.sqrt(1.0 - flattening)
        return max(1, round(float(around) / self.size_m))

    def outline(self, row: int, column: int) -> Float64Array:
        """Corners of a square as (longitude, latitude) in degrees, "4 2", from the south-west."""
        south = self._latitude((row - self._to_pole) * self.size_m)
        north = self._latitude((row - self._to_pole + 1) * self.size_m)
        width = 360.0 / self.columns_of(row)
        west = -180.0 + column * width
        east = west + width
        return np.array([(west, south), (east, south), (east, north), (west, north)])

    @property
    def _to_pole(self) -> int:
        return int(np.ceil(_QUARTER_M / self.size_m))

    def _latitude(self, arc: float) -> float:
        """Latitude of a point `arc` metres north of the equator, at most a pole."""
        arc = float(np.clip(arc, -_QUARTER_M, _QUARTER_M))
        return float(_GEOD.fwd(0.0, 0.0, 0.0, arc)[1])


@dataclass(frozen=True)
class Plane:
    """Metres around a point: directions and distances from it are true (azimuthal equidistant)."""

    lon: float
    lat: float

    @classmethod
    def around(cls, lonlat: Float64Array) -> "Plane":
        """The plane around the middle of points, "point 2", wherever on the globe they lie."""
        x, y, z = unit_vectors(lonlat).mean(axis=0)
        return cls(
            float(np.rad2deg(np.arctan2(y, x))), float(np.rad2deg(np.arctan2(z, np.hypot(x, y))))
        )

    def metres(self, lonlat: Float64Array) -> Float64Array:
        """Easting and northing of points, "… 2" in degrees, in metres."""
        lon, lat = lonlat[..., 0].ravel(), lonlat[..., 1].ravel()
        azimuth, _, distance = _GEOD.inv(
            np.full(lon.shape, self.lon), np.full(lon.shape, self.lat), lon, lat
        )
        angle = np.deg2rad(azimuth)
        flat = np.stack([distance * np.sin(angle), distance * np.cos(angle)], axis=-1)
        return flat.reshape(lonlat.shape)

    def degrees(self, metres: Float64Array) -> Float64Array:
        """Longitude and latitude of points on the plane, "point 2"."""
        azimuth = np.rad2deg(np.arctan2(metres[:, 0], metres[:, 1]))
        start = (np.full(len(metres), self.lon), np.full(len(metres), self.lat))
        lon, lat, _ = _GEOD.fwd(*start, azimuth, np.hypot(*metres.T))
        return np.stack([lon, lat], axis=1)


class Footprints:
    """The ground that patches cover, for gaps and overlaps between groups of them.

    A circle around each patch only chooses whom to compare; gaps are those between the outlines,
    on planes of 100 km (right to 1 part in 10,000), whatever the sizes and wherever on the globe.
    Patches without coordinates are left out of every answer.
    """

    def __init__(
        self, lonlat: Float64Array, radius_m: Float64Array, corners: Float64Array | None
    ) -> None:
        """Take the patches.

        Args:
            lonlat: centres, "patch 2", degrees; NaN where there are no coordinates.
            radius_m: half the diagonal of each, for those whose corners are not known.
            corners: "patch 4 2", degrees; left out, squares with a side to the north.
        """
        self.known: NDArray[np.bool_] = ~np.isnan(lonlat[:, 0])
        self.lonlat = lonlat
        self.corners = _squares(lonlat, radius_m) if corners is None else corners
        self._points = unit_vectors(lonlat)
        self._radius = _radii(lonlat, self.corners)

    def overlapping(self, one: _Rows, two: _Rows) -> list[tuple[int, int]]:
        """Patches of `one` that share ground with one of `two`, each with one of those.

        Neighbours that touch, or overlap by a thousandth of a side, share none.
        """
        pairs: dict[int, int] = {}
        for cell in self._cells(one, two, 0.0, shrunk=True):
            mine, other = cell.tree.query(cell.mine, predicate="intersects")
            order = np.lexsort((other, mine))
            for i, j in zip(cell.one[mine[order]], cell.two[other[order]], strict=True):
                pairs.setdefault(int(i), int(j))
        return sorted(pairs.items())

    def closer(self, one: _Rows, two: _Rows, distance_m: float) -> list[tuple[int, int, float]]:
        """Patches of `one` within a distance of any of `two`: (patch, its nearest, gap in metres).

        Args:
            one: rows.
            two: rows.
            distance_m: above 0; a gap of just as much counts.
        """
        found: list[tuple[int, int, float]] = []
        for cell in self._cells(one, two, distance_m):
            (mine, other), gaps = cell.tree.query_nearest(
                cell.mine, max_distance=distance_m, return_distance=True, all_matches=False
            )
            near = gaps <= distance_m
            found += zip(
                cell.one[mine[near]].tolist(), cell.two[other[near]].tolist(),
                gaps[near].tolist(), strict=True,
            )  # fmt: skip
        return sorted(found)

    def nearest(self, one: _Rows, two: _Rows) -> tuple[float, int, int] | None:
        """Smallest gap between two groups: metres along the geodesic, and the two patches.

        None where a group is empty or has no coordinates.
        """
        one, two = one[self.known[one]], two[self.known[two]]
        if not len(one) or not len(two):
            return None
        chords, places = cKDTree(self._points[two]).query(self._points[one])
        first = int(chords.argmin())
        # The nearest centres bound the gap; no patch whose circle is further off can beat them.
        best = self._gap(int(one[first]), int(two[places[first]]))
        if best[0] == 0.0:
            return best
        bound = best[0] * _SLACK + 1.0
        for cell in self._cells(one, two, bound):
            (mine, other), gaps = cell.tree.query_nearest(
                cell.mine, max_distance=bound, return_distance=True, all_matches=False
            )
            if len(gaps):
                least = int(gaps.argmin())
                best = min(best, self._gap(int(cell.one[mine[least]]), int(cell.two[other[least]])))
        return best

    def _gap(self, i: int, j: int) -> tuple[float, int, int]:
        """Gap of two patches, on a plane between them."""
        plane = Plane.around(self.lonlat[[i, j]])
        outlines = _outlines(plane.metres(self.corners[[i, j]]))
        line = shapely.shortest_line(outlines[0], outlines[1])
        ends = plane.degrees(shapely.get_coordinates(line))
        return float(_GEOD.inv(*ends[0], *ends[1])[2]), i, j

    def _cells(
        self, one: _Rows, two: _Rows, reach_m: float, *, shrunk: bool = False
    ) -> Iterator["_Cell"]:
        """Parts of `one` on planes of their own, with all of `two` that could lie in reach."""
        one, two = one[self.known[one]], two[self.known[two]]
        if not len(one) or not len(two):
            return
        tree = cKDTree(self._points[two])
        widest = float(self._radius[two].max())
        chords, _ = tree.query(self._points[one])
        one = one[chords <= _chord(reach_m + widest + self._radius[one])]
        if not len(one):
            return
        places = Squares(_CELL_M).of(self.lonlat[one])
        _, cells = np.unique(places, axis=0, return_inverse=True)
        for rows in _groups(cells.ravel()):
            mine = one[rows]
            plane = Plane.around(self.lonlat[mine])
            own = plane.metres(self.lonlat[mine])
            rim = float((np.hypot(*own.T) + self._radius[mine]).max())
            middle = unit_vectors(np.array([[plane.lon, plane.lat]]))[0]
            reach = float(_chord(np.array(rim + reach_m + widest)))
            others = two[np.sort(np.array(tree.query_ball_point(middle, reach), dtype=np.intp))]
            if not len(others):
                continue
            drawn = plane.metres(self.corners[mine]), plane.metres(self.corners[others])
            if shrunk:
                drawn = _shrunk(drawn[0]), _shrunk(drawn[1])
            yield _Cell(
                mine, _outlines(drawn[0]), others, shapely.STRtree(_outlines(drawn[1]))
            )  # fmt: skip


@dataclass(frozen=True)
class _Cell:
    """Patches on one plane."""

    one: _Rows
    mine: NDArray[np.object_]
    """Outlines of `one`."""
    two: _Rows
    tree: shapely.STRtree
    """Of the outlines of `two`."""


def unit_vectors(lonlat: Float64Array) -> Float64Array:
    """Points in degrees, "point 2", on the unit sphere, "point 3"."""
    lon, lat = np.deg2rad(lonlat).T
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


def _chord(metres: Float64Array) -> Float64Array:
    """Straight distance on the unit sphere that certainly holds an arc of so many metres."""
    angle = np.minimum(metres * _SLACK / _EARTH_M, np.pi)
    chord: Float64Array = 2 * np.sin(angle / 2) + 1e-9
    return chord


def _groups(numbers: Int64Array) -> list[_Rows]:
    """Rows of each number, in order of the numbers."""
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)


def _outlines(corners: Float64Array) -> NDArray[np.object_]:
    """Polygons of "patch 4 2"; what has no extent becomes a point."""
    outlines: NDArray[np.object_] = shapely.convex_hull(shapely.linearrings(corners))
    return outlines


def _shrunk(corners: Float64Array) -> Float64Array:
    middle: Float64Array = corners.mean(axis=1, keepdims=True)
    return middle + (1.0 - _TOLERANCE) * (corners - middle)


def _squares(lonlat: Float64Array, radius_m: Float64Array) -> Float64Array:
    """Corners of squares with a side to the north around centres, "patch 4 2"."""
    corners = np.full((len(lonlat), 4, 2), np.nan)
    known = np.flatnonzero(~np.isnan(lonlat[:, 0]))
    for corner, azimuth in enumerate((315.0, 45.0, 135.0, 225.0)):
        west, south = lonlat[known].T
        lon, lat, _ = _GEOD.fwd(west, south, np.full(len(known), azimuth), radius_m[known])
        corners[known, corner] = np.stack([lon, lat], axis=1)
    return corners


def _radii(lonlat: Float64Array, corners: Float64Array) -> Float64Array:
    """From each centre to its furthest corner, in metres; NaN without coordinates."""
    radii = np.full(len(lonlat), np.nan)
    known = np.flatnonzero(~np.isnan(lonlat[:, 0]))
    if len(known):
        lon, lat = np.repeat(lonlat[known], 4, axis=0).T
        far = corners[known].reshape(-1, 2)
        distance = np.asarray(_GEOD.inv(lon, lat, far[:, 0], far[:, 1])[2])
        radii[known] = distance.reshape(-1, 4).max(axis=1)
    return radii
