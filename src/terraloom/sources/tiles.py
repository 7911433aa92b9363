"""Sentinel-2 composites and WorldCover maps that you already have, under their official names."""

from pathlib import Path
from typing import Final

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
    input_quality: bool = True
    """Whether …_InputQuality.tif files become trust maps."""


_ATTRIBUTION: Final = "© ESA WorldCover project / Contains modified Copernicus Sentinel data"


class TilesSource:
    """Reads officially named tiles in place."""

    value_range = _tiles.DEFAULT_RANGE
    unit_scale = _tiles.REFLECTANCE_PER_DN
    unit_offset = 0.0

    def __init__(self, settings: Settings, classes: ClassTable) -> None:
        self.settings = settings
        self.classes = classes

    def acquire(self, folder: Path) -> None:
        """Check that the folder is there; nothing is copied."""
        if not self.settings.folder.is_dir():
            raise InputError(f"[sources.tiles] folder {self.settings.folder} is not a folder.")

    def scenes(self, folder: Path) -> list[Scene]:
        """One scene per group of touching composites."""
        return [*self._found().scenes]

    def inputs(self, folder: Path) -> dict[str, str]:
        """SHA-256 of every tile in use."""
        return self._found().checksums

    def given(self) -> dict[str, str]:
        """SHA-256 of every tile in use, all of which lie there before the run."""
        self.acquire(self.settings.folder)
        return self._found().checksums

    def left_out(self) -> dict[str, str]:
        """Tiles that cannot be used."""
        return self._found().left_out

    def _found(self) -> _tiles.TileScenes:
        return _tiles.mosaic_scenes(
            self.settings.folder,
            self.classes,
            licence=LICENCE,
            attribution=_ATTRIBUTION,
            quality=self.settings.input_quality,
        )

    def extents(self) -> list[tuple[int, int]]:
        """Sizes of the groups of touching composites."""
        return [(scene.height, scene.width) for scene in self.scenes(self.settings.folder)]


def build(settings: Settings, classes: ClassTable, seed: int) -> Source:
    """The source; `seed` plays no part."""
    return TilesSource(settings, classes)
