"""Nearest neighbour between two grids, to a hundredth of a pixel: where labels lie on images.

GDAL's warper may be off by an eighth of a pixel by default; a label that is chosen by its pixel's
centre must not be. So centres are transformed exactly on a lattice and in between interpolated
bilinearly, and the lattice is made denser until its own midpoints agree with the exact transform.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from terraloom.raster.grid import Grid, is_geographic
from terraloom.types import Float64Array

_TOLERANCE_PX: Final = 0.01
_TIE_PX: Final = 1e-6
"""A centre on the line between two pixels belongs to the right and lower one, rounding or not."""


def nearest_axes(grid: Grid, source: Grid) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
    """Row of `source` per row of `grid` and column per column, where both have the same axes.

    None where CRS or rotation differ, so that row and column of a pixel depend on one another, or
    where columns do not run on because the grid lies across the place opposite to the source.
    """
    if grid.crs != source.crs or any(g.transform[i] for g in (grid, source) for i in (1, 3)):
        return None
    columns, rows = np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5
    a, _, c, _, e, f = grid.transform
    x: Float64Array = np.asarray(a * columns + c, dtype=np.float64)
    y = e * rows + f
    if is_geographic(source.crs):
        turns = full_turns(source, x)
        if (turns != turns[0]).any():
            return None  # columns jump back where the source begins anew
        x += 360.0 * turns
    a, _, c, _, e, f = source.transform
    return (
        np.floor((y - f) / e + _TIE_PX).astype(np.intp),
        np.floor((x - c) / a + _TIE_PX).astype(np.intp),
    )


def nearest_pixels(grid: Grid, source: Grid) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row and column of `source` under the centre of every pixel of `grid`.

    Args:
        grid: where values are wanted.
        source: where they lie; in any CRS.

    Returns:
        Two arrays "height width"; values outside `source` mean that it does not reach there.
    """
    columns, rows = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
    if grid.crs == source.crs:
        x, y = _points(grid, columns, rows)
        row, column = _pixels(source, x, y)
    else:
        row, column = _interpolated(grid, source)
    return (
        np.floor(row + _TIE_PX).astype(np.intp),
        np.floor(column + _TIE_PX).astype(np.intp),
    )


def full_turns(source: Grid, longitudes: Float64Array) -> Float64Array:
    """Whole turns of 360° that bring each longitude nearest to the middle of `source`.

    So every point of the globe is found in one place, and the jump between two turns lies opposite
    to the source: on no pixel of it, or at its own two ends where it goes round the globe.
    """
    turns: Float64Array = np.round((source.corners()[:, 0].mean() - longitudes) / 360.0)
    return turns


def _interpolated(grid: Grid, source: Grid) -> tuple[Float64Array, Float64Array]:
    """Exact on a lattice, bilinear in between; denser until the midpoints agree."""
    transformer = Transformer.from_crs(grid.crs, source.crs, always_xy=True)

    def exact(columns: Float64Array, rows: Float64Array) -> Float64Array:
        x, y = _points(grid, columns, rows)
        x, y = transformer.transform(x, y)
        return np.stack(_pixels(source, np.asarray(x), np.asarray(y)))

    columns = np.arange(grid.width, dtype=np.float64) + 0.5
    rows = np.arange(grid.height, dtype=np.float64) + 0.5
    knots = 9
    while knots < max(grid.width, grid.height):
        u: Float64Array = np.linspace(columns[0], columns[-1], min(knots, grid.width))
        v: Float64Array = np.linspace(rows[0], rows[-1], min(knots, grid.height))
        lattice = exact(*np.meshgrid(u, v))
        middle_u: Float64Array = (u[1:] + u[:-1]) / 2
        middle_v: Float64Array = (v[1:] + v[:-1]) / 2
        if len(middle_u) and len(middle_v):
            guess = _bilinear(lattice, u, v, middle_u, middle_v)
            error = np.abs(guess - exact(*np.meshgrid(middle_u, middle_v))).max()
            if error <= _TOLERANCE_PX:  # never true for the infinities outside a projection
                found = _bilinear(lattice, u, v, columns, rows)
                return found[0], found[1]
        knots = 2 * knots - 1
    found = exact(*np.meshgrid(columns, rows))
    # Points that the projection cannot reach lie on no pixel.
    found[~np.isfinite(found)] = -1e9
    return found[0], found[1]


def _bilinear(
    lattice: Float64Array,
    u: Float64Array,
    v: Float64Array,
    columns: Float64Array,
    rows: Float64Array,
) -> Float64Array:
    """Values of "2 v u" knots at all pairs of the given rows and columns, "2 rows columns"."""
    across = _weights(u, columns)
    down = _weights(v, rows)
    values: Float64Array = down @ lattice @ across.T
    return values


def _weights(knots: Float64Array, at: Float64Array) -> Float64Array:
    """Matrix "at knots" of linear interpolation; two entries a row."""
    right = np.clip(np.searchsorted(knots, at), 1, len(knots) - 1)
    share = (at - knots[right - 1]) / (knots[right] - knots[right - 1])
    matrix = np.zeros((len(at), len(knots)))
    line = np.arange(len(at))
    matrix[line, right - 1] = 1.0 - share
    matrix[line, right] = share
    return matrix


def _points(
    grid: Grid, columns: Float64Array, rows: Float64Array
) -> tuple[Float64Array, Float64Array]:
    a, b, c, d, e, f = grid.transform
    return a * columns + b * rows + c, d * columns + e * rows + f


def _pixels(source: Grid, x: Float64Array, y: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Fractional row and column of points in the source's CRS; longitudes repeat after 360°."""
    if is_geographic(source.crs):
        # Each point by itself: a projection hands back both 179.9 and -179.9 for one image.
        x = x + 360.0 * full_turns(source, x)
    a, b, c, d, e, f = source.transform
    determinant = a * e - b * d
    dx, dy = x - c, y - f
    column = (e * dx - b * dy) / determinant
    row = (a * dy - d * dx) / determinant
    return row, column
