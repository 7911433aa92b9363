"""A procedural landscape, written as tiles under the official WorldCover names; no network."""

import itertools
import math
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from terraloom.classes import PRESETS, ClassTable
from terraloom.errors import OutputError, SettingsError
from terraloom.files import read_json, write_json
from terraloom.landscape import grow_landscape
from terraloom.progress import meter
from terraloom.raster import geotiff
from terraloom.raster.grid import Grid
from terraloom.raster.worldcover_tiles import (
    COMPOSITE_DEGREES,
    MAP_DEGREES,
    PIXELS_PER_DEGREE,
    VERSION_OF_YEAR,
    TileName,
)
from terraloom.sources import _tiles
from terraloom.sources._face import Scene, Source

_BANDS: Final = ("red", "green", "blue", "nir")
_MAX_DN: Final = 65535
_RECORD: Final = "world.json"
LICENCE: Final = "CC0-1.0"
"""Of the procedural tiles: they are nobody's observation."""
ATTRIBUTION: Final = "procedural landscape by terraloom, no observation of the Earth"


class Settings(BaseModel):
    """Options of `[sources.world]`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    height: int = Field(default=2048, ge=64)
    """Pixels of 10 m from north to south."""
    width: int = Field(default=2048, ge=64)
    """Pixels of 10 m from west to east."""
    year: int = 2021
    """2020 or 2021: decides the official names."""
    lat: int = Field(default=39, ge=-80, le=80)
    """The landscape is centred on this whole degree, so that it straddles tile edges."""
    lon: int = Field(default=33, ge=-170, le=170)
    """As `lat`, for the longitude."""
    season: float = Field(default=0.55, ge=0, le=1)
    """Time of year, 0 January … 1 December: how green fields and grass are."""
    seed: int | None = Field(default=None, ge=0)
    """Of the landscape; left out, derived from project.seed."""


class WorldSource:
    """Grows a landscape and hands it on as tiles."""

    value_range = _tiles.DEFAULT_RANGE
    unit_scale = _tiles.REFLECTANCE_PER_DN
    unit_offset = 0.0

    def __init__(self, settings: Settings, classes: ClassTable, seed: int) -> None:
        self.settings = settings
        self.classes = classes
        self.seed = settings.seed if settings.seed is not None else seed

    def acquire(self, folder: Path) -> None:
        """Write the tiles that are not there yet into `folder`/tiles."""
        write_world(folder / "tiles", self.settings, self.seed)

    def scenes(self, folder: Path) -> list[Scene]:
        """The whole landscape as one scene across all tiles."""
        return [*self._found(folder).scenes]

    def inputs(self, folder: Path) -> dict[str, str]:
        """SHA-256 of every tile."""
        return self._found(folder).checksums

    def _found(self, folder: Path) -> _tiles.TileScenes:
        return _tiles.mosaic_scenes(
            folder / "tiles", self.classes, licence=LICENCE, attribution=ATTRIBUTION
        )

    def given(self) -> dict[str, str]:
        """Nothing: the landscape follows from settings and seed."""
        return {}

    def left_out(self) -> dict[str, str]:
        """Nothing is ever left out."""
        return {}

    def extents(self) -> list[tuple[int, int]]:
        """The landscape's own size."""
        return [(self.settings.height, self.settings.width)]


def build(settings: Settings, classes: ClassTable, seed: int) -> Source:
    """The source; the landscape follows from its own seed, or from `seed`."""
    return WorldSource(settings, classes, seed)


def write_world(folder: Path, settings: Settings, seed: int) -> list[Path]:
    """Write a procedural landscape as composites (uint16 R G B NIR) and maps (uint8 codes).

    Each file covers the part of its official tile that the landscape fills. Files that stand there
    are kept, so an interrupted call goes on where it stopped.

    Args:
        folder: receives the GeoTIFF tiles and `world.json`.
        settings: size, place, year and season.
        seed: of the landscape.

    Returns:
        The tiles in a fixed order.

    Raises:
        SettingsError: no official map has that year.
        OutputError: the folder holds a landscape of other settings or another seed.
    """
    if settings.year not in VERSION_OF_YEAR:
        raise SettingsError(
            f"[sources.world] year = {settings.year} has no official map; "
            f"use one of {', '.join(map(str, VERSION_OF_YEAR))}."
        )
    north = settings.lat * PIXELS_PER_DEGREE + settings.height // 2
    west = settings.lon * PIXELS_PER_DEGREE - settings.width // 2
    jobs = []
    for product, degrees in (("S2RGBNIR", COMPOSITE_DEGREES), ("Map", MAP_DEGREES)):
        side = degrees * PIXELS_PER_DEGREE
        rows = _pieces(north - settings.height, north, side)
        columns = _pieces(west, west + settings.width, side)
        for south, top in rows:
            for left, right in columns:
                name = TileName(
                    settings.year,
                    math.floor(south / side) * degrees,
                    math.floor(left / side) * degrees,
                    product,
                )
                jobs.append((name, top, left, top - south, right - left))
    record = {"seed": seed, **settings.model_dump(mode="json", exclude={"seed"})}
    if (folder / _RECORD).exists() and read_json(folder / _RECORD) != record:
        raise OutputError(
            f"{folder} holds another landscape (see its {_RECORD}); choose a new folder, or give "
            "the seed, size, place, year and season that it was made with."
        )
    write_json(folder / _RECORD, record)
    paths = []
    with meter("growing the landscape", len(jobs), "tiles") as progress:
        for name, top, left, height, width in jobs:
            path = folder / name.filename
            paths.append(path)
            if not path.exists():
                _write_tile(path, name.product, top, left, height, width, settings, seed)
            progress.advance()
    return paths


def _pieces(start: int, stop: int, side: int) -> list[tuple[int, int]]:
    """Cut a range of global pixels at multiples of `side`."""
    edges = [start, *range((start // side + 1) * side, stop, side), stop]
    return list(itertools.pairwise(edges))


def _write_tile(
    path: Path,
    product: str,
    top: int,
    left: int,
    height: int,
    width: int,
    settings: Settings,
    seed: int,
) -> None:
    # Landscape rows run southwards, latitudes northwards: global row = −latitude in pixels.
    land = grow_landscape(-top, left, height, width, seed=seed, season=settings.season)
    step = 1.0 / PIXELS_PER_DEGREE
    grid = Grid("EPSG:4326", (step, 0.0, left * step, 0.0, -step, top * step), height, width)
    tags = {"origin": ATTRIBUTION, "seed": str(seed)}
    if product == "Map":
        palette = {code: c.colour for c in PRESETS["worldcover11"].classes for code in c.codes}
        geotiff.write_geotiff(path, land.codes[None], grid, nodata=0, tags=tags, palette=palette)
        return
    # 0 marks no data in composites, so the darkest valid value is 1.
    digital = np.clip(np.rint(land.reflectance / _tiles.REFLECTANCE_PER_DN), 1, _MAX_DN)
    geotiff.write_geotiff(
        path, digital.astype(np.uint16), grid, nodata=0, tags=tags, band_names=_BANDS
    )
