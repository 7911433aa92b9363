"""The one door for tiles under the official WorldCover names: local, fetched or procedural."""

import datetime
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from terraloom.classes import UNKNOWN, ClassTable
from terraloom.errors import InputError, PairError
from terraloom.files import sha256_of
from terraloom.raster import geotiff
from terraloom.raster.grid import Grid, Window
from terraloom.raster.input_quality import trust_of
from terraloom.raster.worldcover_tiles import TileName, TileSet, find_tiles
from terraloom.samples import SourceFile
from terraloom.sources._area import Area
from terraloom.sources._face import Pixels, Scene
from terraloom.types import TrustMap

REFLECTANCE_PER_DN: Final = 1e-4
"""Composites and procedural tiles hold surface reflectance times 10,000."""
DEFAULT_RANGE: Final = (0.0, 3000.0)
"""Reflectance 0 … 0.3: land is bright enough to see, few roofs saturate."""
BANDS: Final = ("red", "green", "blue", "nir")
_NO_IMAGE: Final = 0
_NO_QUALITY: Final = -1
_FULL_TURN: Final = 360.0


@dataclass(frozen=True)
class Layer:
    """One file of a mosaic, with what every worker else would have to find out again."""

    path: Path
    grid: Grid
    """In the mosaic's longitudes, which run on beyond 180 across the antimeridian."""
    sha256: str


@dataclass(frozen=True)
class MosaicScene:
    """Touching images on one pixel grid with the maps under them, read across their edges."""

    name: str
    grid: Grid
    images: tuple[Layer, ...]
    maps: tuple[Layer, ...]
    qualities: tuple[Layer, ...]
    classes: ClassTable
    label_year: int
    licence: str
    attribution: str
    area: Area | None = None
    """Windows whose centre lies outside are not asked for; None takes all."""
    bands: tuple[str, ...] = BANDS
    image_names: tuple[str, ...] = ()
    """What each image is called when it is a scene of its own."""
    place: str | None = None
    split: str | None = None
    date: datetime.date | None = None
    height: int = field(init=False)
    width: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "height", self.grid.height)
        object.__setattr__(self, "width", self.grid.width)

    def parts(self) -> Sequence[Scene]:
        """One scene per image, each on its own file's grid."""
        return [
            replace(
                self, name=name, grid=layer.grid, images=(layer,), image_names=(name,), place=None
            )
            for name, layer in zip(self.image_names, self.images, strict=True)
        ]

    def holds(self, window: Window) -> bool:
        """Whether an image touches the window and its centre lies in the area."""
        part = self.grid.part(window)
        if not any(_overlap(part, layer.grid) for layer in self.images):
            return False
        if self.area is None:
            return True
        lon, lat = part.lonlat_centre()
        return bool(self.area.contains(np.array([lon]), np.array([lat]))[0])

    def read(self, window: Window) -> Pixels:
        """Image and labels of a window; labels by nearest neighbour on to the image's grid.

        Where no image has data, nothing can be learned from a label: it becomes unknown.
        """
        grid = self.grid.part(window)
        images = [layer for layer in self.images if _overlap(grid, layer.grid)]
        maps = [layer for layer in self.maps if _overlap(grid, layer.grid)]
        shape = (window.height, window.width)
        bands = range(1, len(self.bands) + 1)
        if images:
            image = geotiff.read_onto(_paths(images), grid, bands=bands, fill=_NO_IMAGE)
        else:
            image = np.zeros((len(self.bands), *shape), dtype=np.uint16)
        if maps:
            codes = geotiff.read_onto(_paths(maps), grid, bands=(1,), fill=0)[0]
            labels = self.classes.labels_of_codes(codes, source=maps[0].path.name)
        else:
            labels = np.full(shape, UNKNOWN, dtype=np.uint8)
        labels[(image == _NO_IMAGE).all(axis=0)] = UNKNOWN
        qualities = [layer for layer in self.qualities if _overlap(grid, layer.grid)]
        files = tuple(
            SourceFile(
                layer.path.name, layer.path.name, layer.sha256, self.licence, self.attribution
            )
            for layer in [*images, *maps, *qualities]
        )
        return Pixels(np.moveaxis(image, 0, -1), labels, files, _trust(qualities, grid))


def _trust(qualities: Sequence[Layer], grid: Grid) -> TrustMap | None:
    if not qualities:
        return None
    observations = geotiff.read_onto(_paths(qualities), grid, bands=(1, 2, 3), fill=_NO_QUALITY)
    trust: TrustMap = trust_of(observations.astype(np.int16))
    return trust


def _paths(layers: Sequence[Layer]) -> list[Path]:
    return [layer.path for layer in layers]


@dataclass(frozen=True)
class TileScenes:
    """The scenes of a folder of tiles, and what had to be left out of them."""

    scenes: tuple[MosaicScene, ...]
    left_out: dict[str, str]
    """Reason by file name."""
    checksums: dict[str, str]
    """Of the files in use, by name."""


def mosaic_scenes(
    folder: Path,
    classes: ClassTable,
    *,
    licence: str,
    attribution: str,
    area: Area | None = None,
    quality: bool = True,
) -> TileScenes:
    """Scenes of all officially named tiles in a folder; touching composites share one.

    A tile that cannot be used (damaged, off its pixel grid, composite without map, map without
    composite) is left out with the reason; the others make their scenes.

    Args:
        folder: searched deeply.
        classes: class table.
        licence: of the tiles.
        attribution: of the tiles.
        area: windows with their centre outside are not asked for.
        quality: whether InputQuality tiles become trust maps.

    Raises:
        InputError: no tile is there at all.
        PairError: no composite is left that has a map.
    """
    tiles = find_tiles(folder)
    left_out: dict[str, str] = {}
    sound: dict[Path, Grid] = {}
    for path in _files(tiles):
        reason = _usable(path, sound)
        if reason is not None:
            left_out[path.name] = reason
    for name in tiles.maps_without_composite():
        left_out[name.filename] = "no composite of its year lies on it"
    composites: dict[TileName, tuple[Path, ...]] = {}
    for name, paths in tiles.composites.items():
        usable = _distinct([path for path in paths if path in sound])
        if not any(path in sound for path in tiles.maps_under(name)):
            left_out.setdefault(
                name.filename, "no map: fetch the 3° map tile of the same year that holds it"
            )
        elif usable:
            composites[name] = usable
    if not composites:
        told = "; ".join(f"{name}: {reason}" for name, reason in list(left_out.items())[:3])
        raise PairError(f"{folder}: no composite is left that has a map. {told}.")
    scenes = []
    for group in _touching(composites):
        shift = _longitude_shifts(group)
        images: list[Layer] = []
        names: list[str] = []
        for name in group:
            for number, path in enumerate(composites[name]):
                layer = _layer(path, sound[path], shift[name])
                if images and not _one_lattice(images[0].grid, layer.grid):
                    left_out[path.name] = (
                        f"its pixels do not lie on the grid of {images[0].path.name}, which it "
                        "touches; resample it, or build it in a project of its own"
                    )
                    continue
                images.append(layer)
                names.append(f"{name.year}-{name.place}" + (f"-{number}" if number else ""))
        first = group[0]
        union = _union([layer.grid for layer in images])
        scenes.append(
            MosaicScene(
                name=f"{first.year}-{first.place}",
                grid=union,
                images=tuple(images),
                maps=_below(union, group, tiles.maps_under, sound),
                qualities=_below(union, group, tiles.qualities_under, sound) if quality else (),
                classes=classes,
                label_year=first.year,
                licence=licence,
                attribution=attribution,
                area=area,
                image_names=tuple(names),
                # An annual composite has no day of its own; the middle of its year stands for it.
                date=datetime.date(first.year, 7, 1),
            )
        )
    used = {
        layer.path.name: layer.sha256
        for scene in scenes
        for layer in (*scene.images, *scene.maps, *scene.qualities)
    }
    return TileScenes(tuple(scenes), left_out, used)


def _files(tiles: TileSet) -> Iterable[Path]:
    for found in (tiles.composites, tiles.maps, tiles.qualities):
        for paths in found.values():
            yield from paths


_BAND_COUNTS: Final = {"S2RGBNIR": 4, "Map": 1, "InputQuality": 3}


def _usable(path: Path, sound: dict[Path, Grid]) -> str | None:
    """Why a tile's header rules it out, or None; its grid is noted in `sound`."""
    try:
        info = geotiff.read_info(path)
    except InputError as error:
        return str(error)
    product = path.stem.rsplit("_", 1)[-1]
    if info.grid is None:
        return "it has no coordinate system; fetch or write it again"
    if info.grid.crs != "EPSG:4326":
        return f"its CRS is {info.grid.crs}; official tiles are in EPSG:4326"
    if info.bands < _BAND_COUNTS[product]:
        return f"it has {info.bands} bands; a {product} tile has {_BAND_COUNTS[product]}"
    if product == "InputQuality" and not np.issubdtype(info.dtype, np.signedinteger):
        return f"its pixels are {info.dtype}, which has no -1 for no data; fetch it again"
    sound[path] = info.grid
    return None


def _distinct(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Files of one name without equal copies; the first of equals stays."""
    if len(paths) < 2:
        return tuple(paths)
    return tuple({_checksum(path): path for path in reversed(paths)}.values())[::-1]


def _layer(path: Path, grid: Grid, shift: float) -> Layer:
    a, b, c, d, e, f = grid.transform
    return Layer(path, replace(grid, transform=(a, b, c + shift, d, e, f)), _checksum(path))


def _below(
    union: Grid,
    group: Sequence[TileName],
    under: Callable[[TileName], tuple[Path, ...]],
    sound: dict[Path, Grid],
) -> tuple[Layer, ...]:
    """The 3° tiles under a group of composites, in the mosaic's longitudes."""
    found: dict[Path, Layer] = {}
    for name in group:
        for path in _distinct([path for path in under(name) if path in sound]):
            if path in found:
                continue
            for shift in (0.0, _FULL_TURN):
                layer = _layer(path, sound[path], shift)
                if _overlap(union, layer.grid):
                    found[path] = layer
                    break
    return tuple(found.values())


@cache
def _checksum(path: Path) -> str:
    return sha256_of(path)


def _touching(names: Iterable[TileName]) -> list[list[TileName]]:
    """Groups of composites of one year whose 1° tiles share an edge or corner, round the globe."""
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
                and (other.lon - current.lon + 1) % 360 <= 2
            ]
            group.extend(near)
            left = [name for name in left if name not in near]
        groups.append(sorted(group, key=lambda n: (n.lat, n.lon)))
    return groups


def _longitude_shifts(group: Sequence[TileName]) -> dict[TileName, float]:
    """360 for tiles that come after the antimeridian in a group that crosses it, else 0."""
    longitudes = sorted({name.lon for name in group})
    gaps = [right - left for left, right in itertools.pairwise(longitudes)]
    crosses = longitudes[0] == -180 and longitudes[-1] == 179
    if not crosses or not gaps or max(gaps) <= 1:  # a belt around the globe has no better start
        return dict.fromkeys(group, 0.0)
    last_after = longitudes[gaps.index(max(gaps))]
    return {name: _FULL_TURN if name.lon <= last_after else 0.0 for name in group}


def _union(grids: Sequence[Grid]) -> Grid:
    """The smallest grid that holds all given ones; they share CRS, pixel size and alignment."""
    first = grids[0]
    a, b, _, d, e, _ = first.transform
    corners = np.concatenate([grid.corners() for grid in grids])
    west, north = corners[:, 0].min(), corners[:, 1].max()
    width = round((corners[:, 0].max() - west) / a)
    height = round((corners[:, 1].min() - north) / e)
    return Grid(first.crs, (a, b, float(west), d, e, float(north)), height, width)


def _one_lattice(one: Grid, other: Grid) -> bool:
    """Whether two grids have pixels of one size that lie on one another's lines."""
    a, b, c, d, e, f = one.transform
    oa, ob, oc, od, oe, of = other.transform
    if not np.allclose((a, b, d, e), (oa, ob, od, oe), rtol=1e-9, atol=1e-15):
        return False
    column, row = (oc - c) / a, (of - f) / e
    return abs(column - round(column)) < 0.01 and abs(row - round(row)) < 0.01


def _overlap(one: Grid, other: Grid) -> bool:
    """Whether two north-up grids of one CRS share more than an edge."""
    a1, _, west, _, e1, north = one.transform
    a2, _, other_west, _, e2, other_north = other.transform
    # Edges are sums of degrees: where two touch, rounding may lay one beyond the other.
    hair = 0.01 * min(a1, a2)
    return (
        west + hair < other_west + a2 * other.width
        and other_west + hair < west + a1 * one.width
        and north - hair > other_north + e2 * other.height
        and other_north - hair > north + e1 * one.height
    )
