"""An area cut into cells: pieces of a fixed pixel grid per CRS, each fetched on its own.

Cells lie on multiples of their side, counted from the CRS's origin, so that the same ground always
falls into the same cell, and cells of one CRS share one pixel grid.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from terraloom.errors import SettingsError
from terraloom.raster.grid import Grid
from terraloom.sources._area import Area

_EDGE_DEG: Final = 0.05
"""Longest edge that is reprojected by its ends alone; its bow is below a metre."""
_ON_LINE_PX: Final = 1e-6
_NORTH, _SOUTH = 32600, 32700
_NORTH_END, _SOUTH_END = 84.0, -80.0
# UTM zones that are wider or narrower than 6°: (south, north, {zone: (west, east) or None}).
_UNEVEN_ZONES: Final = (
    (56.0, 64.0, {31: (0.0, 3.0), 32: (3.0, 12.0)}),
    (
        72.0,
        84.0,
        {
            31: (0.0, 9.0),
            32: None,
            33: (9.0, 21.0),
            34: None,
            35: (21.0, 33.0),
            36: None,
            37: (33.0, 42.0),
        },
    ),
)


@dataclass(frozen=True)
class Cell:
    """One piece of the grid, trimmed to whole pixels that hold its share of the area."""

    name: str
    column: int
    """Cells from the CRS's origin to the east."""
    row: int
    """Cells from the CRS's origin to the north."""
    grid: Grid


@dataclass(frozen=True)
class CellGroup:
    """The cells of one CRS."""

    crs: str
    area: Area
    """What of the area belongs to this CRS: each place to one only."""
    cells: tuple[Cell, ...]


def plan_cells(area: Area, *, crs: str, resolution: float, size: int) -> list[CellGroup]:
    """Cut an area into cells.

    Args:
        area: what is wanted.
        crs: authority code such as EPSG:3035, or "auto" for the UTM zones that the area lies in,
            where each place belongs to its own zone.
        resolution: side of a pixel in the CRS's units.
        size: side of a cell in pixels.

    Returns:
        One group per CRS, in the order of their codes; its cells from south to north, each row
        from west to east.

    Raises:
        SettingsError: the CRS is not known, or no UTM zone reaches the area.
    """
    if crs != "auto":
        parts = [(_authority_code(crs), area)]
    else:
        parts = [(f"EPSG:{code}", part) for code in _utm_codes(area) for part in _in(area, code)]
        if not parts:
            raise SettingsError(
                "[sources.stac] the area lies beyond all UTM zones (80° south … 84° north); set "
                "crs to a polar system, such as EPSG:3995 or EPSG:3031."
            )
    return [_group(name, part, resolution, size) for name, part in parts]


def _authority_code(crs: str) -> str:
    try:
        authority = CRS.from_user_input(crs).to_authority()
    except CRSError as error:
        raise SettingsError(
            f'[sources.stac] crs = {crs!r} is not known: {error}. Set "auto" or a code such as '
            "EPSG:3035."
        ) from error
    if authority is None:
        raise SettingsError(
            f'[sources.stac] crs = {crs!r} has no authority code; set "auto" or a code such as '
            "EPSG:3035."
        )
    return ":".join(authority)


def is_utm(crs: str) -> bool:
    """Whether a CRS code is a UTM zone on WGS 84, as Sentinel-2 uses them."""
    authority, _, code = crs.partition(":")
    return (
        authority == "EPSG"
        and code.isdecimal()
        and 1 <= int(code) % 100 <= 60
        and (int(code) // 100 * 100 in (_NORTH, _SOUTH))
    )


def _utm_codes(area: Area) -> list[int]:
    return [
        half + zone for half in (_NORTH, _SOUTH) for zone in range(1, 61) if _in(area, half + zone)
    ]


def _in(area: Area, code: int) -> list[Area]:
    """What of the area lies in one UTM zone, as a list of one or none."""
    part = area.geometry.intersection(_utm_region(code))
    polygons = [g for g in shapely.get_parts(part) if g.geom_type == "Polygon" and g.area > 0]
    return [Area(shapely.MultiPolygon(polygons))] if polygons else []


def _utm_region(code: int) -> shapely.Geometry:
    """Where a zone is the one to use, in degrees; the zones share edges and nothing more."""
    half, zone = code // 100 * 100, code % 100
    west, east = 6.0 * zone - 186.0, 6.0 * zone - 180.0
    if half == _SOUTH:
        return shapely.box(west, _SOUTH_END, east, 0.0)
    region = shapely.box(west, 0.0, east, _NORTH_END)
    for south, north, zones in _UNEVEN_ZONES:
        if zone not in zones:
            continue
        region = region.difference(shapely.box(west, south, east, north))
        own = zones[zone]
        if own is not None:
            region = region.union(shapely.box(own[0], south, own[1], north))
    return region


def outline_in(crs: str, geometry: shapely.Geometry) -> shapely.Geometry:
    """A geometry in degrees, densified and brought into a CRS; parts beyond it are dropped."""
    transformer = Transformer.from_crs(4326, crs, always_xy=True)

    def project(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack(transformer.transform(points[:, 0], points[:, 1]), axis=1)

    projected = shapely.transform(shapely.segmentize(geometry, _EDGE_DEG), project)
    return shapely.make_valid(projected)


def _group(crs: str, area: Area, resolution: float, size: int) -> CellGroup:
    outline = outline_in(crs, area.geometry)
    shapely.prepare(outline)
    side = resolution * size
    west, south, east, north = outline.bounds
    cells = []
    for row in range(math.floor(south / side), math.floor(north / side) + 1):
        for column in range(math.floor(west / side), math.floor(east / side) + 1):
            box = shapely.box(column * side, row * side, (column + 1) * side, (row + 1) * side)
            part = outline.intersection(box) if outline.intersects(box) else None
            if part is not None and part.area > 0:
                grid = _trimmed(crs, part.bounds, resolution)
                cells.append(Cell(_cell_name(crs, column, row), column, row, grid))
    return CellGroup(crs, area, tuple(cells))


def _trimmed(crs: str, bounds: Sequence[float], resolution: float) -> Grid:
    """The whole pixels that hold given bounds, on the grid through the CRS's origin."""
    left = math.floor(bounds[0] / resolution + _ON_LINE_PX)
    bottom = math.floor(bounds[1] / resolution + _ON_LINE_PX)
    right = math.ceil(bounds[2] / resolution - _ON_LINE_PX)
    top = math.ceil(bounds[3] / resolution - _ON_LINE_PX)
    return Grid(
        crs,
        (resolution, 0.0, left * resolution, 0.0, -resolution, top * resolution),
        max(top - bottom, 1),
        max(right - left, 1),
    )


def _cell_name(crs: str, column: int, row: int) -> str:
    east = f"{'E' if column >= 0 else 'W'}{abs(column):04d}"
    north = f"{'N' if row >= 0 else 'S'}{abs(row):04d}"
    return f"{crs.replace(':', '')}_{north}_{east}"


def touching_cells(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Cells of one CRS in groups that share an edge or corner, in the order given."""
    left = {(cell.column, cell.row): cell for cell in cells}
    groups = []
    while left:
        group = [left.pop(next(iter(left)))]
        for cell in group:  # grows while it is walked
            for down in (-1, 0, 1):
                for across in (-1, 0, 1):
                    near = left.pop((cell.column + across, cell.row + down), None)
                    if near is not None:
                        group.append(near)
        groups.append(sorted(group, key=lambda cell: (cell.row, cell.column)))
    return groups


def union_grid(grids: Sequence[Grid]) -> Grid:
    """The smallest grid that holds all given ones; they lie on one pixel grid."""
    step = grids[0].transform[0]
    left = min(round(grid.transform[2] / step) for grid in grids)
    top = max(round(grid.transform[5] / step) for grid in grids)
    right = max(round(grid.transform[2] / step) + grid.width for grid in grids)
    bottom = min(round(grid.transform[5] / step) - grid.height for grid in grids)
    return Grid(
        grids[0].crs,
        (step, 0.0, left * step, 0.0, -step, top * step),
        top - bottom,
        right - left,
    )
