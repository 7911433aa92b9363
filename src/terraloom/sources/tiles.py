"""Sentinel-2 composites and WorldCover maps that you already have, under their official names."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from terraloom.classes import ClassTable
from terraloom.errors import InputError
from terraloom.raster.worldcover_tiles import LICENCE
from terraloom.sources import _tiles
from terraloom.sources._face import Scene, Source


class Settings(BaseModel):
    """Options of `[sources.tiles]`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    folder: Path
    """Folder with ESA_WorldCover_10m_…_S2RGBNIR.tif and …_Map.tif files, searched deeply."""


class TilesSource:
    """Reads officially named tiles in place."""

    value_range = _tiles.DEFAULT_RANGE
    unit_scale = _tiles.REFLECTANCE_PER_DN

    def __init__(self, settings: Settings, classes: ClassTable) -> None:
        self.settings = settings
        self.classes = classes

    def acquire(self, folder: Path) -> None:
        """Check that the folder is there; nothing is copied."""
        if not self.settings.folder.is_dir():
            raise InputError(f"[sources.tiles] folder {self.settings.folder} is not a folder.")

    def scenes(self, folder: Path) -> list[Scene]:
        """One scene per group of touching composites."""
        attribution = "© ESA WorldCover project / Contains modified Copernicus Sentinel data"
        return [
            *_tiles.mosaic_scenes(
                self.settings.folder, self.classes, licence=LICENCE, attribution=attribution
            )
        ]

    def inputs(self, folder: Path) -> dict[str, str]:
        """SHA-256 of every tile."""
        return self.given()

    def given(self) -> dict[str, str]:
        """SHA-256 of every tile, all of which lie there before the run."""
        self.acquire(self.settings.folder)
        return _tiles.tile_checksums(self.settings.folder)

    def left_out(self) -> dict[str, str]:
        """Nothing is ever left out."""
        return {}

    def extents(self) -> list[tuple[int, int]]:
        """Sizes of the groups of touching composites."""
        return [(scene.height, scene.width) for scene in self.scenes(self.settings.folder)]


def build(settings: Settings, classes: ClassTable, seed: int) -> Source:
    """The source; `seed` plays no part."""
    return TilesSource(settings, classes)
