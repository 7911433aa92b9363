"""Names and geometry of the official ESA WorldCover tiles.

Composites (`…_S2RGBNIR.tif`) cover 1° × 1°, maps (`…_Map.tif`) 3° × 3°, both EPSG:4326 at 1/12000°,
both named for their south-west corner. So nine composites lie under one map.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

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


@dataclass(frozen=True, order=True)
class TileName:
    """What an official file name says."""

    year: int
    lat: int
    """Southern edge, whole degrees."""
    lon: int
    """Western edge, whole degrees."""
    product: str

    @property
    def place(self) -> str:
        """The corner as in the name, such as N39E033."""
        return (
            f"{'N' if self.lat >= 0 else 'S'}{abs(self.lat):02d}"
            f"{'E' if self.lon >= 0 else 'W'}{abs(self.lon):03d}"
        )

    @property
    def filename(self) -> str:
        """The official file name."""
        version = VERSION_OF_YEAR[self.year]
        return f"ESA_WorldCover_10m_{self.year}_{version}_{self.place}_{self.product}.tif"


def parse_name(name: str) -> TileName | None:
    """The parts of an official file name, or None for any other name."""
    match = _NAME.fullmatch(name)
    if match is None or int(match["year"]) not in VERSION_OF_YEAR:
        return None
    lat = int(match["lat"][1:]) * (1 if match["lat"][0] == "N" else -1)
    lon = int(match["lon"][1:]) * (1 if match["lon"][0] == "E" else -1)
    return TileName(int(match["year"]), lat, lon, match["product"])


def map_name(composite: TileName, product: str = "Map") -> TileName:
    """The 3° tile of a composite's year that holds its 1° tile.

    Floor division, so that it holds south of the equator and west of Greenwich too: a map spans
    three composites in each direction, and each of the nine finds it.
    """
    return TileName(
        composite.year,
        composite.lat // MAP_DEGREES * MAP_DEGREES,
        composite.lon // MAP_DEGREES * MAP_DEGREES,
        product,
    )


@dataclass(frozen=True)
class TileSet:
    """The official tiles found in a folder; a name may stand in several sub-folders."""

    composites: dict[TileName, tuple[Path, ...]]
    maps: dict[TileName, tuple[Path, ...]]
    qualities: dict[TileName, tuple[Path, ...]]

    def maps_under(self, composite: TileName) -> tuple[Path, ...]:
        """Map files of the composite's year whose 3° tile holds the composite's 1° tile."""
        return self.maps.get(map_name(composite), ())

    def qualities_under(self, composite: TileName) -> tuple[Path, ...]:
        """InputQuality files of the same 3° tile."""
        return self.qualities.get(map_name(composite, "InputQuality"), ())

    def maps_without_composite(self) -> list[TileName]:
        """Maps under which no composite of their year lies."""
        used = {map_name(name) for name in self.composites}
        return [name for name in self.maps if name not in used]


def find_tiles(folder: Path) -> TileSet:
    """All officially named tiles in `folder` and below, in a fixed order.

    Raises:
        InputError: there is no composite, or no map.
    """
    found: dict[str, dict[TileName, tuple[Path, ...]]] = {p: {} for p in get_args(Product)}
    for path in sorted(folder.rglob("*.tif")):
        name = parse_name(path.name)
        if name is not None:
            found[name.product][name] = (*found[name.product].get(name, ()), path)
    tiles = TileSet(*(dict(sorted(found[p].items())) for p in ("S2RGBNIR", "Map", "InputQuality")))
    if not tiles.composites or not tiles.maps:
        missing = "map (…_Map.tif)" if tiles.composites else "composite (…_S2RGBNIR.tif)"
        raise InputError(
            f"{folder} holds no WorldCover {missing} under its official name. "
            "Expected names such as ESA_WorldCover_10m_2021_v200_N39E033_Map.tif."
        )
    return tiles
