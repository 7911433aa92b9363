"""A pixel grid on Earth: CRS, affine transform and shape, and what follows from them."""

from dataclasses import dataclass

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
        import numpy as np

        a, b, c, d, e, f = self.transform
        points = [(0, 0), (self.width, 0), (self.width, self.height), (0, self.height)]
        return np.array([(a * x + b * y + c, d * x + e * y + f) for x, y in points])

    def lonlat_corners(self) -> Float64Array:
        """`corners` as (longitude, latitude) in degrees, EPSG:4326."""
        import numpy as np

        corners = self.corners()
        if CRS.from_user_input(self.crs) == CRS.from_epsg(4326):
            return corners
        to_lonlat = Transformer.from_crs(self.crs, 4326, always_xy=True)
        lon, lat = to_lonlat.transform(corners[:, 0], corners[:, 1])
        return np.stack([lon, lat], axis=1)

    def footprint(self) -> bytes:
        """WKB polygon of the corners in EPSG:4326, longitude first."""
        data: bytes = shapely.to_wkb(shapely.Polygon(self.lonlat_corners()))
        return data


def metres_between(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Geodesic distance in metres of two (longitude, latitude) points on WGS 84."""
    _, _, distance = pyproj.Geod(ellps="WGS84").inv(*first, *second)
    return float(distance)
