"""The real São Tomé tile with a procedural composite over it, and what must come of it.

What is expected is counted on the map file by plain numpy and shares no code with the package but
official names.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from terraloom.raster.worldcover_tiles import TileName

SIDE = 12_000
"""Pixels of a composite of 1°; the map has three times as many."""
CELL = 500
"""Side of the pieces that a composite is written in; what lies far from land stays empty."""
GRAIN = 10
"""Side of the procedural image's grains."""


@dataclass(frozen=True)
class Part:
    """Rows and columns of the 3° tile, from its upper left corner."""

    top: int
    left: int
    height: int
    width: int


ISLAND = Part(33_000, 500, 3_000, 12_500)
"""The southern half of São Tomé from open sea to open sea, across the edge of two composites."""
COAST = Part(33_000, 500, 1_500, 4_000)
"""Where the map's data end west of it."""
WHOLE = Part(0, 0, 3 * SIDE, 3 * SIDE)


def tile_file(shared_data: Path, product: str) -> Path:
    """A file of the real tile; skips where it is absent."""
    path = shared_data / "tiles" / TileName(2020, 0, 6, product).filename
    if not path.is_file():
        pytest.skip(f"needs {path}")
    return path


def pixels_at(top: int, left: int, height: int, width: int) -> np.ndarray:
    """The procedural image, "4 height width", never 0: grains of random brightness and colour."""
    rows = np.arange(top // GRAIN, -(-(top + height) // GRAIN))
    columns = np.arange(left // GRAIN, -(-(left + width) // GRAIN))
    mixed = (rows[:, None] * 73_856_093) ^ (columns[None] * 19_349_663)
    mixed = (mixed * 2_654_435_761 >> 9) & 0xFFFF_FFFF
    grains = np.stack([(mixed >> shift) % 2_900 + 50 for shift in (0, 5, 10, 15)])
    fine = grains.astype(np.uint16).repeat(GRAIN, axis=1).repeat(GRAIN, axis=2)
    down, right = top - rows[0] * GRAIN, left - columns[0] * GRAIN
    return fine[:, down : down + height, right : right + width]


def write_composites(folder: Path, map_file: Path, part: Part) -> None:
    """Composites over a part of the tile, under official names, empty in cells without map data."""
    with rasterio.open(map_file) as land:
        for lat in range(3):
            for lon in range(3):
                own_top, own_left = (2 - lat) * SIDE, lon * SIDE
                top, left = max(part.top, own_top), max(part.left, own_left)
                bottom = min(part.top + part.height, own_top + SIDE)
                right = min(part.left + part.width, own_left + SIDE)
                if bottom > top and right > left:
                    path = folder / TileName(2020, lat, 6 + lon, "S2RGBNIR").filename
                    _write_composite(path, land, Part(top, left, bottom - top, right - left))


def _write_composite(path: Path, land: rasterio.DatasetReader, part: Part) -> None:
    with rasterio.open(
        path, "w", driver="GTiff", count=4, height=part.height, width=part.width, dtype="uint16",
        crs="EPSG:4326", nodata=0, tiled=True, blockxsize=256, blockysize=256,
        compress="deflate", zlevel=1, sparse_ok=True,
        transform=Affine(1 / SIDE, 0, 6 + part.left / SIDE, 0, -1 / SIDE, 3 - part.top / SIDE),
    ) as file:  # fmt: skip
        for top in range(0, part.height, CELL):
            height = min(CELL, part.height - top)
            down = part.top + top
            codes = land.read(
                1, window=((down, down + height), (part.left, part.left + part.width))
            )
            for left in range(0, part.width, CELL):
                width = min(CELL, part.width - left)
                if codes[:, left : left + width].any():
                    pixels = pixels_at(down, part.left + left, height, width)
                    file.write(pixels, window=((top, top + height), (left, left + width)))


def has_image(codes: np.ndarray) -> np.ndarray:
    """Which pixels of a strip of the map, at most `CELL` rows, have an image over them."""
    width = codes.shape[1]
    edges = np.arange(0, width, CELL)
    filled = np.add.reduceat((codes != 0).any(axis=0), edges) > 0
    return np.broadcast_to(filled.repeat(CELL)[:width], codes.shape)


@dataclass(frozen=True)
class Counted:
    """Sums per patch, "patch-row patch-column"."""

    known: np.ndarray
    """Pixels with a map code and an image."""
    imaged: np.ndarray
    """Pixels with an image."""
    codes: np.ndarray
    """Known pixels per code, "256 patch-row patch-column"."""


def count_patches(map_file: Path, part: Part, size: int) -> Counted:
    """What the patches of a part of the tile hold, counted strip by strip on the map."""
    lines, posts = part.height // size, part.width // size
    used = posts * size
    known = np.zeros((lines, posts), np.int64)
    imaged = np.zeros_like(known)
    codes = np.zeros((256, lines, posts), np.int64)
    with rasterio.open(map_file) as land:
        for top in range(0, part.height, CELL):
            down = part.top + top
            strip = land.read(
                1,
                window=((down, down + min(CELL, part.height - top)),
                        (part.left, part.left + part.width)),
            )  # fmt: skip
            image = has_image(strip)[:, :used]
            strip = np.where(image, strip[:, :used], 0)
            lines_of = (top + np.arange(len(strip))) // size
            for line in np.unique(lines_of[lines_of < lines]):
                rows = lines_of == line
                blocks = strip[rows].reshape(-1, posts, size)
                imaged[line] += image[rows].reshape(-1, posts, size).sum(axis=(0, 2))
                known[line] += (blocks != 0).sum(axis=(0, 2))
                for code in np.flatnonzero(np.bincount(blocks.ravel(), minlength=256)):
                    if code:
                        codes[code, line] += (blocks == code).sum(axis=(0, 2))
    return Counted(known, imaged, codes)
