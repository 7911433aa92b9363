"""The one door for tiles under the official WorldCover names, real or procedural."""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from terraloom.classes import ClassTable
from terraloom.errors import PairError
from terraloom.files import sha256_of
from terraloom.raster import geotiff
from terraloom.raster.grid import Grid, Window
from terraloom.raster.worldcover_tiles import TileName, TileSet, find_tiles
from terraloom.samples import SourceFile
from terraloom.sources._face import Pixels

REFLECTANCE_PER_DN: Final = 1e-4
"""Composites and procedural tiles hold surface reflectance times 10,000."""
DEFAULT_RANGE: Final = (0.0, 3000.0)
"""Reflectance 0 … 0.3: land is bright enough to see, few roofs saturate."""
_RGB_BANDS: Final = (1, 2, 3)


@dataclass(frozen=True)
class MosaicScene:
    """Touching composites of one year with the maps under them, read across tile edges."""

    name: str
    grid: Grid
    composites: tuple[tuple[Path, Grid], ...]
    maps: tuple[tuple[Path, Grid], ...]
    classes: ClassTable
    year: int
    licence: str
    attribution: str
    place: str | None = None
    split: str | None = None
    height: int = field(init=False)
    width: int = field(init=False)
    date: datetime.date | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "height", self.grid.height)
        object.__setattr__(self, "width", self.grid.width)
        # An annual composite has no day of its own; the middle of its year stands for it.
        object.__setattr__(self, "date", datetime.date(self.year, 7, 1))

    def read(self, window: Window) -> Pixels:
        """Image and labels of a window; labels by nearest neighbour on to the image's grid."""
        grid = self.grid.part(window)
        images = [path for path, other in self.composites if _overlap(grid, other)]
        maps = [path for path, other in self.maps if _overlap(grid, other)]
        shape = (window.height, window.width)
        if images:
            image = geotiff.read_onto(images, grid, bands=_RGB_BANDS, fill=0, nearest=False)
        else:
            image = np.zeros((3, *shape), dtype=np.uint16)
        codes = np.zeros(shape, dtype=np.uint8)
        if maps:
            codes = geotiff.read_onto(maps, grid, bands=(1,), fill=0)[0].astype(np.uint8)
        labels = self.classes.labels_of_codes(codes, source=maps[0].name if maps else self.name)
        files = tuple(
            SourceFile(path.name, path.name, _checksum(path), self.licence, self.attribution)
            for path in [*images, *maps]
        )
        return Pixels(np.moveaxis(image, 0, -1), labels, files)


def mosaic_scenes(
    folder: Path, classes: ClassTable, *, licence: str, attribution: str
) -> list[MosaicScene]:
    """Scenes of all officially named tiles in a folder; touching composites share one.

    Raises:
        PairError: a composite has no map.
    """
    tiles = find_tiles(folder)
    scenes = []
    for group in _touching(tiles.composites):
        lonely = [name.filename for name in group if not tiles.maps_under(name)]
        if lonely:
            raise PairError(
                f"{folder}: no map for composite {', '.join(lonely)}. "
                "Fetch the 3° map tile of the same year whose area holds it."
            )
        composites = [(tiles.composites[name], _grid(tiles.composites[name])) for name in group]
        maps = {path: _grid(path) for name in group for path in tiles.maps_under(name)}
        first = group[0]
        scenes.append(
            MosaicScene(
                name=f"{first.year}-{first.filename.split('_')[5]}",
                grid=_union([grid for _, grid in composites]),
                composites=tuple(composites),
                maps=tuple(maps.items()),
                classes=classes,
                year=first.year,
                licence=licence,
                attribution=attribution,
            )
        )
    return scenes


def tile_checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every composite and map in a folder, by file name."""
    tiles: TileSet = find_tiles(folder)
    paths: Iterable[Path] = [*tiles.composites.values(), *tiles.maps.values()]
    return {path.name: _checksum(path) for path in paths}


@cache
def _checksum(path: Path) -> str:
    return sha256_of(path)


def _grid(path: Path) -> Grid:
    info = geotiff.read_info(path)
    if info.grid is None:
        raise PairError(f"{path.name} has no coordinate system; fetch or write it again.")
    return info.grid


def _touching(names: Iterable[TileName]) -> list[list[TileName]]:
    """Groups of composites of one year whose 1° tiles share an edge or corner."""
    left = sorted(names, key=lambda n: (n.year, n.lat, n.lon))
    groups = []
    while left:
        group = [left.pop(0)]
        for current in group:  # grows while it is walked
            near = [
                other
                for other in left
                if other.year == current.year
                and abs(other.lat - current.lat) <= 1
                and abs(other.lon - current.lon) <= 1
            ]
            group.extend(near)
            left = [name for name in left if name not in near]
        groups.append(sorted(group, key=lambda n: (n.lat, n.lon)))
    return groups


def _union(grids: list[Grid]) -> Grid:
    """The smallest grid that holds all given ones; they share CRS, pixel size and alignment."""
    first = grids[0]
    a, b, _, d, e, _ = first.transform
    corners = np.concatenate([grid.corners() for grid in grids])
    west, north = corners[:, 0].min(), corners[:, 1].max()
    width = round((corners[:, 0].max() - west) / a)
    height = round((corners[:, 1].min() - north) / e)
    return Grid(first.crs, (a, b, float(west), d, e, float(north)), height, width)


def _overlap(one: Grid, other: Grid) -> bool:
    first, second = one.corners(), other.corners()
    return bool(
        (first.min(axis=0) < second.max(axis=0)).all()
        and (second.min(axis=0) < first.max(axis=0)).all()
    )
