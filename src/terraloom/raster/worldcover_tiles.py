"""Names and geometry of the official ESA WorldCover tiles.

Composites (`…_S2RGBNIR.tif`) cover 1° × 1°, maps (`…_Map.tif`) 3° × 3°, both EPSG:4326 at 1/12000°,
both named for their south-west corner. So nine composites lie under one map.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from terraloom.errors import InputError

PIXELS_PER_DEGREE: Final = 12_000
COMPOSITE_DEGREES: Final = 1
MAP_DEGREES: Final = 3
LICENCE: Final = "CC-BY-4.0"
VERSION_OF_YEAR: Final = {2020: "v100", 2021: "v200"}

Product = Literal["S2RGBNIR", "Map", "InputQuality"]

_NAME: Final = re.compile(
    r"ESA_WorldCover_10m_(?P<year>\d{4})_(?P<version>v\d+)_"
    r"(?P<lat>[NS]\d{2})(?P<lon>[EW]\d{3})_(?P<product>S2RGBNIR|Map|InputQuality)\.tif"
)


@dataclass(frozen=True)
class TileName:
    """What an official file name says."""

    year: int
    lat: int
    """Southern edge, whole degrees."""
    lon: int
    """Western edge, whole degrees."""
    product: str

    @property
    def filename(self) -> str:
        """The official file name."""
        version = VERSION_OF_YEAR[self.year]
        place = f"{'N' if self.lat >= 0 else 'S'}{abs(self.lat):02d}"
        place += f"{'E' if self.lon >= 0 else 'W'}{abs(self.lon):03d}"
        return f"ESA_WorldCover_10m_{self.year}_{version}_{place}_{self.product}.tif"


def parse_name(name: str) -> TileName | None:
    """The parts of an official file name, or None for any other name."""
    match = _NAME.fullmatch(name)
    if match is None or int(match["year"]) not in VERSION_OF_YEAR:
        return None
    lat = int(match["lat"][1:]) * (1 if match["lat"][0] == "N" else -1)
    lon = int(match["lon"][1:]) * (1 if match["lon"][0] == "E" else -1)
    return TileName(int(match["year"]), lat, lon, match["product"])


@dataclass(frozen=True)
class TileSet:
    """The composites and maps found in a folder."""

    composites: dict[TileName, Path]
    maps: dict[TileName, Path]

    def maps_under(self, composite: TileName) -> list[Path]:
        """Map files of the composite's year whose 3° tile holds the composite's 1° tile."""
        lat = composite.lat // MAP_DEGREES * MAP_DEGREES
        lon = composite.lon // MAP_DEGREES * MAP_DEGREES
        name = TileName(composite.year, lat, lon, "Map")
        return [self.maps[name]] if name in self.maps else []


def find_tiles(folder: Path) -> TileSet:
    """All officially named tiles in `folder` and below.

    Raises:
        InputError: there is no composite, or no map.
    """
    found = {
        name: path for path in sorted(folder.rglob("*.tif")) if (name := parse_name(path.name))
    }
    composites = {n: p for n, p in found.items() if n.product == "S2RGBNIR"}
    maps = {n: p for n, p in found.items() if n.product == "Map"}
    if not composites or not maps:
        missing = "composite (…_S2RGBNIR.tif)" if not composites else "map (…_Map.tif)"
        raise InputError(
            f"{folder} holds no WorldCover {missing} under its official name. "
            "Expected names such as ESA_WorldCover_10m_2021_v200_N39E033_Map.tif."
        )
    return TileSet(composites, maps)
