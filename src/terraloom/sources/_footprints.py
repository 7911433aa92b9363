"""Which rasters lie on the same ground: footprints in degrees, safe across the antimeridian."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import shapely
import shapely.affinity
from pyproj import Transformer

from terraloom.errors import PairError
from terraloom.raster.grid import Grid

_POINTS_PER_EDGE: Final = 16
"""A straight edge in one projection is a curve in another; this many chords stand for it."""
_SLIVER: Final = 1e-6
"""Shared area, as a part of the smaller footprint, up to which two only touch at their edges."""


def outline(grid: Grid, name: str = "raster") -> shapely.Polygon:
    """The ground of a raster in EPSG:4326, longitude first.

    Longitudes run on across the antimeridian, so they may leave −180 … 180 by up to half a turn;
    the middle of the polygon lies within. A raster that holds a pole becomes the cap around it.

    Raises:
        PairError: the raster lies where its projection has no longitude and latitude.
    """
    steps = np.arange(_POINTS_PER_EDGE) / _POINTS_PER_EDGE
    corners = grid.corners()
    edges = [
        start + steps[:, None] * (end - start)
        for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True)
    ]
    points = np.concatenate([*edges, corners[:1]])
    lon, lat = _to_lonlat(grid.crs).transform(points[:, 0], points[:, 1])
    lon, lat = np.asarray(lon), np.asarray(lat)
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        raise PairError(
            f"{name}: its corners have no longitude and latitude in {grid.crs}. Write its "
            "coordinate system and transform again."
        )
    lon = np.unwrap(lon, period=360.0)
    if abs(lon[-1] - lon[0]) > 180.0:
        south, north = (float(lat.min()), 90.0) if lat.mean() > 0 else (-90.0, float(lat.max()))
        return shapely.box(-180.0, south, 180.0, north)
    middle = (lon.min() + lon.max()) / 2
    lon = lon - 360.0 * np.floor((middle + 180.0) / 360.0)
    # Unwrapping rounds, so the last point misses the first by a hair: a ring that crosses itself.
    return shapely.Polygon(np.stack([lon[:-1], lat[:-1]], axis=1))


class FootprintIndex:
    """Finds the rasters that share ground with another, fast also among many thousands.

    Args:
        grids: of the rasters, in a fixed order.
        names: of the same rasters, for errors.
    """

    def __init__(self, grids: Sequence[Grid], names: Sequence[str]) -> None:
        self._outlines = [outline(g, name) for g, name in zip(grids, names, strict=True)]
        self._tree = shapely.STRtree(self._outlines)

    def sharing_ground(self, grid: Grid, name: str = "raster") -> list[int]:
        """Positions of the rasters that overlap a grid, in order; mere neighbours are left out."""
        wanted = outline(grid, name)
        found: set[int] = set()
        for turn in (-360.0, 0.0, 360.0):
            shape = shapely.affinity.translate(wanted, xoff=turn)
            for position in self._tree.query(shape, predicate="intersects"):
                other = self._outlines[position]
                shared = shapely.intersection(shape, other).area
                if shared > _SLIVER * min(shape.area, other.area):
                    found.add(int(position))
        return sorted(found)


@lru_cache(maxsize=64)
def _to_lonlat(crs: str) -> Transformer:
    return Transformer.from_crs(crs, 4326, always_xy=True)
