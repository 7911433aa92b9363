"""Which parts of which official WorldCover tiles an area needs, in whole pixels."""

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely

from terraloom.errors import SettingsError
from terraloom.raster.grid import Window
from terraloom.raster.remote import RemoteRaster
from terraloom.raster.remote_file import RemoteUnusable
from terraloom.raster.worldcover_tiles import (
    COMPOSITE_DEGREES,
    MAP_DEGREES,
    PIXELS_PER_DEGREE,
    TileName,
    parse_name,
)
from terraloom.sources._area import Area

BANDS_OF_PRODUCT: Final = {"S2RGBNIR": 4, "Map": 1, "InputQuality": 3}
QUALITY_PIXELS: Final = 6
"""Pixels of 10 m on the side of one of InputQuality."""
_SLACK: Final = 1e-6
"""Pixels; far above rounding of degrees, far below any pixel that was meant."""
_TURN: Final = 360 * PIXELS_PER_DEGREE


@dataclass(frozen=True)
class TileWindow:
    """The part of an official tile that an area needs."""

    name: TileName
    window: Window
    """In pixels of the whole official tile, InputQuality in pixels of 60 m."""


@dataclass(frozen=True)
class _Rectangle:
    """Pixels of 10 m on the globe: `left` ≤ x < `right` eastwards, `bottom` ≤ y < `top` north."""

    left: int
    bottom: int
    right: int
    top: int

    def union(self, other: "_Rectangle") -> "_Rectangle":
        return _Rectangle(
            min(self.left, other.left),
            min(self.bottom, other.bottom),
            max(self.right, other.right),
            max(self.top, other.top),
        )


def area_of_tiles(names: Iterable[str], year: int) -> Area:
    """The area of composite tiles of 1° named for their south-west corners, such as N39E033.

    Raises:
        SettingsError: a name is none.
    """
    boxes = []
    for place in names:
        tile = _named(place, year)
        boxes.append(shapely.box(tile.lon, tile.lat, tile.lon + 1, tile.lat + 1))
    return Area(shapely.union_all(boxes))


def tile_windows(area: Area, year: int, *, margin: int = 0) -> list[TileWindow]:
    """Composites that an area touches and the maps that lie under them, each with its window.

    A window is the smallest that holds what of the area lies in the tile, snapped outwards to whole
    pixels. A map's window holds those of all composites on it.

    Args:
        area: of interest.
        year: 2020 or 2021.
        margin: pixels added on each side of what lies in one composite; they may reach into
            neighbouring tiles.

    Returns:
        Composites by latitude and longitude, then maps.
    """
    cells: dict[tuple[int, int], _Rectangle] = {}
    for rectangle in _rectangles(area):
        for cell, part in _spread(rectangle, margin):
            cells[cell] = cells[cell].union(part) if cell in cells else part
    maps: dict[tuple[int, int], _Rectangle] = {}
    for (lat, lon), rectangle in cells.items():
        corner = (lat // MAP_DEGREES * MAP_DEGREES, lon // MAP_DEGREES * MAP_DEGREES)
        maps[corner] = maps[corner].union(rectangle) if corner in maps else rectangle
    return [
        TileWindow(TileName(year, *corner, product), _window(rectangle, corner, degrees))
        for product, degrees, found in (
            ("S2RGBNIR", COMPOSITE_DEGREES, cells),
            ("Map", MAP_DEGREES, maps),
        )
        for corner, rectangle in sorted(found.items())
    ]


def quality_window(tile: TileWindow) -> TileWindow:
    """The InputQuality tile under a map's window, in whole pixels of 60 m."""
    w = tile.window
    top, left = w.row // QUALITY_PIXELS, w.column // QUALITY_PIXELS
    bottom = -(-(w.row + w.height) // QUALITY_PIXELS)
    right = -(-(w.column + w.width) // QUALITY_PIXELS)
    name = TileName(tile.name.year, tile.name.lat, tile.name.lon, "InputQuality")
    return TileWindow(name, Window(top, left, bottom - top, right - left))


def map_under(composite: TileName) -> TileName:
    """The 3° map tile that holds a composite."""
    lat = composite.lat // MAP_DEGREES * MAP_DEGREES
    lon = composite.lon // MAP_DEGREES * MAP_DEGREES
    return TileName(composite.year, lat, lon, "Map")


def window_in_file(tile: TileWindow, raster: RemoteRaster) -> Window:
    """The wanted window in the file's own pixels; a mirror's file may hold a part of its tile.

    Raises:
        RemoteUnusable: the file is not what its name says, or holds nothing of the window.
    """
    name, info = tile.name, raster.info
    degrees, per_degree = MAP_DEGREES, PIXELS_PER_DEGREE
    if name.product == "S2RGBNIR":
        degrees = COMPOSITE_DEGREES
    elif name.product == "InputQuality":
        per_degree //= QUALITY_PIXELS
    if info.grid is None or info.grid.crs != "EPSG:4326":
        raise RemoteUnusable("it is not in EPSG:4326, as official tiles are")
    if info.bands != BANDS_OF_PRODUCT[name.product] or np.dtype(info.dtype).kind not in "iu":
        raise RemoteUnusable(
            f"it has {info.bands} bands of {info.dtype}; {BANDS_OF_PRODUCT[name.product]} of whole "
            "numbers were expected"
        )
    a, b, west, d, e, north = info.grid.transform
    column, row = (west - name.lon) * per_degree, (name.lat + degrees - north) * per_degree
    steps = np.array([a, -e, b, d]) * per_degree
    # Over the 36,000 pixels of a map, 1e-7 adds up to less than a hundredth of one.
    steps_fit = np.allclose(steps, (1, 1, 0, 0), rtol=0, atol=1e-7)
    if not steps_fit or max(abs(column - round(column)), abs(row - round(row))) > 0.01:
        raise RemoteUnusable(
            f"its pixels do not lie on the official grid of {per_degree} per degree"
        )
    top, left = round(row), round(column)
    w = tile.window
    first_row, first_column = max(w.row, top), max(w.column, left)
    last_row = min(w.row + w.height, top + info.height)
    last_column = min(w.column + w.width, left + info.width)
    if last_row <= first_row or last_column <= first_column:
        raise RemoteUnusable("it holds nothing of the area")
    return Window(
        first_row - top, first_column - left, last_row - first_row, last_column - first_column
    )


def _named(place: str, year: int) -> TileName:
    example = TileName(year, 0, 0, "S2RGBNIR")
    tile = parse_name(example.filename.replace(example.place, place))
    if tile is None or not (-90 <= tile.lat < 90 and -180 <= tile.lon < 180):
        raise SettingsError(
            f"tiles names {place!r}; a composite tile of 1° is named for its south-west corner, "
            "such as N39E033 or S01W051."
        )
    return tile


def _rectangles(area: Area) -> Iterator[_Rectangle]:
    """Per 1° cell, the bounds of what of the area lies in it."""
    for west, south, east, north in area.boxes():
        rows = range(math.floor(south), math.ceil(north))
        columns = range(math.floor(west), math.ceil(east))
        for lat, lon in itertools.product(rows, columns):
            part = area.part_in_box(lon, lat, lon + 1, lat + 1)
            if part is None:
                continue
            left, bottom, right, top = (
                degrees * PIXELS_PER_DEGREE for degrees in part.geometry.bounds
            )
            yield _Rectangle(
                math.floor(left + _SLACK),
                math.floor(bottom + _SLACK),
                math.ceil(right - _SLACK),
                math.ceil(top - _SLACK),
            )


def _spread(rectangle: _Rectangle, margin: int) -> Iterator[tuple[tuple[int, int], _Rectangle]]:
    """The 1° cells (south, west) that a rectangle with its margin touches, and its part in each."""
    side = PIXELS_PER_DEGREE
    pole = 90 * side
    bottom, top = max(rectangle.bottom - margin, -pole), min(rectangle.top + margin, pole)
    left, right = rectangle.left - margin, rectangle.right + margin
    for lat in range(bottom // side, -(-top // side)):
        for lon in range(left // side, -(-right // side)):
            turn = (lon + 180) // 360 * _TURN  # a margin may reach across the antimeridian
            yield (
                (lat, (lon + 180) % 360 - 180),
                _Rectangle(
                    max(left, lon * side) - turn,
                    max(bottom, lat * side),
                    min(right, (lon + 1) * side) - turn,
                    min(top, (lat + 1) * side),
                ),
            )


def _window(rectangle: _Rectangle, corner: tuple[int, int], degrees: int) -> Window:
    """A rectangle in pixels of the tile whose south-west corner is given; rows run southwards."""
    lat, lon = corner
    return Window(
        (lat + degrees) * PIXELS_PER_DEGREE - rectangle.top,
        rectangle.left - lon * PIXELS_PER_DEGREE,
        rectangle.top - rectangle.bottom,
        rectangle.right - rectangle.left,
    )
