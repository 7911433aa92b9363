"""Tiles to measure on: a procedural landscape, repeated to fill official tiles of any size.

Each repetition is rolled by another amount, so that no two patches are equal, and is farther away
than deflate looks back, so that files compress like those of a landscape that never repeats.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from terraloom.landscape import grow_landscape
from terraloom.raster.geotiff import write_geotiff
from terraloom.raster.grid import Grid
from terraloom.raster.worldcover_tiles import TileName, map_name

PIECE = 2048
SEED = 11


def write_tiles(
    folder: Path, *, side: int, per_degree: int, south: int, west: int, block: int = 1
) -> None:
    """Composites of `side` pixels and the map under them.

    Args:
        folder: receives the tiles.
        side: pixels per side of a composite, from its north-west corner.
        per_degree: pixels per degree.
        south: southern edge of the block of composites.
        west: western edge of the block.
        block: composites per side of the block.
    """
    piece = min(PIECE, side)
    land = grow_landscape(0, 0, piece, piece, seed=SEED, season=0.55)
    digital = np.clip(np.rint(land.reflectance * 1e4), 1, 65535).astype(np.uint16)
    times = -(-side // piece)
    step = 1.0 / per_degree
    rolls = itertools.count(1)
    maps: dict[TileName, np.ndarray] = {}
    for lat in range(south, south + block):
        for lon in range(west, west + block):
            image, codes = _fill(digital, land.codes, times, side, rolls)
            name = TileName(2021, lat, lon, "S2RGBNIR")
            grid = Grid("EPSG:4326", (step, 0.0, lon, 0.0, -step, lat + 1), side, side)
            write_geotiff(folder / name.filename, image, grid, nodata=0)
            over = map_name(name)
            whole = maps.setdefault(
                over, np.zeros((3 * per_degree, 3 * per_degree), dtype=np.uint8)
            )
            top, left = (over.lat + 2 - lat) * per_degree, (lon - over.lon) * per_degree
            whole[top : top + side, left : left + side] = codes
    for name, whole in maps.items():
        grid = Grid(
            "EPSG:4326",
            (step, 0.0, name.lon, 0.0, -step, name.lat + 3),
            3 * per_degree,
            3 * per_degree,
        )
        write_geotiff(folder / name.filename, whole[None], grid, nodata=0)


def _fill(
    image: np.ndarray, codes: np.ndarray, times: int, side: int, rolls: Iterator[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Image and codes repeated, each time rolled by another amount, cut to `side` pixels."""
    shifts = [[_shift(next(rolls)) for _ in range(times)] for _ in range(times)]
    rows = [np.concatenate([np.roll(image, s, (1, 2)) for s in line], axis=2) for line in shifts]
    under = [np.concatenate([np.roll(codes, s, (0, 1)) for s in line], axis=1) for line in shifts]
    return np.concatenate(rows, axis=1)[:, :side, :side], np.concatenate(under)[:side, :side]


def _shift(number: int) -> tuple[int, int]:
    """Far from one another and from multiples of a patch."""
    return number * 389 % 2039, number * 683 % 2029
