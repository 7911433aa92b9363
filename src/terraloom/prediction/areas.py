"""How much ground pixels cover, in any CRS: from their corners on the ellipsoid."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from pyproj.exceptions import CRSError, ProjError

from terraloom.raster.grid import Grid, Window, lonlat_transformer
from terraloom.types import Float64Array

CELL: Final = 16
"""Pixels of one area per side; within them the area changes next to linearly."""
_AXIS_M: Final = 6_378_137.0
_ECCENTRICITY_2: Final = 0.006_694_379_990_141


def cell_areas(grid: Grid, window: Window) -> Float64Array | None:
    """Square kilometres of one pixel in each cell of `CELL` × `CELL` pixels of a window.

    A cell is measured as the cross product of its middle lines between points on the WGS 84
    ellipsoid in space, so that poles, the antimeridian and rotated grids need no care.

    Returns:
        "cell-row cell-column", not finite where a cell reaches off the Earth; None where the CRS
        tells no place on Earth at all.
    """
    rows = _edges(window.row, window.height)
    columns = _edges(window.column, window.width)
    middle_row, middle_column = (rows[1:] + rows[:-1]) / 2, (columns[1:] + columns[:-1]) / 2
    try:
        with np.errstate(invalid="ignore"):  # points off the Earth are infinite
            down = np.diff(_in_space(grid, rows, middle_column), axis=0)
            across = np.diff(_in_space(grid, middle_row, columns), axis=1)
    except (CRSError, ProjError):
        return None
    with np.errstate(invalid="ignore", over="ignore"):
        cells: Float64Array = np.linalg.norm(np.cross(down, across), axis=-1)
    return cells / (np.diff(rows)[:, None] * np.diff(columns)[None]) / 1e6


def counts_by_cell(labels: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Pixels of each label 0 … classes−1 in each cell, "cell-row cell-column class"."""
    height, width = labels.shape
    shape = (-(-height // CELL), -(-width // CELL))
    cell = (np.arange(height) // CELL)[:, None] * shape[1] + np.arange(width) // CELL
    counted = labels < classes
    flat = np.bincount(
        cell[counted] * classes + labels[counted], minlength=shape[0] * shape[1] * classes
    )
    return flat.reshape(*shape, classes)


def _edges(start: int, length: int) -> Float64Array:
    edges = np.arange(start, start + length, CELL, dtype=np.float64)
    return np.append(edges, float(start + length))


def _in_space(grid: Grid, rows: Float64Array, columns: Float64Array) -> Float64Array:
    """Points of the grid as x, y, z in metres from the Earth's centre, "row column 3"."""
    column, row = np.meshgrid(columns, rows)
    a, b, c, d, e, f = grid.transform
    lon, lat = a * column + b * row + c, d * column + e * row + f
    transformer = lonlat_transformer(grid.crs)
    if transformer is not None:
        lon, lat = transformer.transform(lon, lat)
    lon, lat = np.radians(lon), np.radians(lat)
    normal = _AXIS_M / np.sqrt(1 - _ECCENTRICITY_2 * np.sin(lat) ** 2)
    return np.stack(
        [
            normal * np.cos(lat) * np.cos(lon),
            normal * np.cos(lat) * np.sin(lon),
            normal * (1 - _ECCENTRICITY_2) * np.sin(lat),
        ],
        axis=-1,
    )
