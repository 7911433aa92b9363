"""A pixel grid on Earth: CRS, affine transform and shape, and what follows from them."""

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import pyproj
import shapely
from pyproj import CRS, Transformer

from terraloom.types import Float64Array

Transform = tuple[float, float, float, float, float, float]
"""Affine a, b, c, d, e, f: x = a·column + b·row + c, y = d·column + e·row + f."""


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels: rows `row` to `row + height`, columns `column` to `column + width`."""

    row: int
    column: int
    height: int
    width: int


@dataclass(frozen=True)
class Grid:
    """A raster's place: pixel (0, 0) is the upper left, its corner is at (c, f)."""

    crs: str
    """Authority code such as EPSG:4326, or WKT where there is none."""
    transform: Transform
    height: int
    width: int

    def part(self, window: Window) -> "Grid":
        """The grid of a window; the window may reach beyond this grid."""
        a, b, c, d, e, f = self.transform
        return Grid(
            self.crs,
            (
                a,
                b,
                c + a * window.column + b * window.row,
                d,
                e,
                f + d * window.column + e * window.row,
            ),
            window.height,
            window.width,
        )

    def corners(self) -> Float64Array:
        """Upper left, upper right, lower right, lower left as (x, y), "4 2", in the grid's CRS."""
        a, b, c, d, e, f = self.transform
        points = [(0, 0), (self.width, 0), (self.width, self.height), (0, self.height)]
        return np.array([(a * x + b * y + c, d * x + e * y + f) for x, y in points])

    def lonlat_corners(self) -> Float64Array:
        """`corners` as (longitude, latitude) in degrees, EPSG:4326.

        Longitudes are continuous along the outline: a grid across the antimeridian has corners
        beyond ±180.
        """
        corners = self.corners()
        transformer = lonlat_transformer(self.crs)
        if transformer is not None:
            lon, lat = transformer.transform(corners[:, 0], corners[:, 1])
            corners = np.stack([lon, lat], axis=1)
        first = corners[0, 0]
        corners[:, 0] += 360.0 * np.round((first - corners[:, 0]) / 360.0)
        # The corner that is first decides, so that a grid just west of the line stays below 180.
        corners[:, 0] -= 360.0 * np.floor((corners[:, 0].min() + 180.0) / 360.0)
        return corners

    def lonlat_centre(self) -> tuple[float, float]:
        """Longitude −180 … 180 and latitude of the middle of the corners, in degrees."""
        lon, lat = self.lonlat_corners().mean(axis=0)
        return float((lon + 180.0) % 360.0 - 180.0), float(lat)

    def footprint(self) -> bytes:
        """WKB of the corners in EPSG:4326, longitude first: a polygon, or two at the antimeridian.

        RFC 7946, 3.1.9: what crosses the antimeridian is cut there.
        """
        outline = shapely.Polygon(self.lonlat_corners())
        data: bytes = shapely.to_wkb(cut_at_antimeridian(outline))
        return data


def cut_at_antimeridian(outline: shapely.Geometry) -> shapely.Geometry:
    """A polygon with longitudes up to 540° brought into −180 … 180, in two parts if need be."""
    if outline.bounds[2] <= 180.0:
        return outline
    west = outline.intersection(shapely.box(-180.0, -90.0, 180.0, 90.0))
    east = outline.intersection(shapely.box(180.0, -90.0, 540.0, 90.0))
    east = shapely.transform(east, lambda points: points - np.array([360.0, 0.0]))
    if west.area == 0.0:
        return east
    return shapely.MultiPolygon([west, east])


@cache
def lonlat_transformer(crs: str) -> Transformer | None:
    """From a CRS to longitude and latitude; None where it is EPSG:4326 already."""
    # Comparing two CRS takes a millisecond, which every patch would pay without the cache.
    if CRS.from_user_input(crs) == CRS.from_epsg(4326):
        return None
    return Transformer.from_crs(crs, 4326, always_xy=True)


@cache
def is_geographic(crs: str) -> bool:
    """Whether the first coordinate is a longitude in degrees, which repeats after 360."""
    return bool(CRS.from_user_input(crs).is_geographic)


_WGS84: Final = pyproj.Geod(ellps="WGS84")


def metres_between(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Geodesic distance in metres of two (longitude, latitude) points on WGS 84."""
    _, _, distance = _WGS84.inv(*first, *second)
    return float(distance)
