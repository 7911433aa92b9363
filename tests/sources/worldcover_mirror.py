"""Small official tiles in the open buckets' layout: each file holds a part of its tile."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import Affine

from terraloom.raster.worldcover_tiles import VERSION_OF_YEAR, TileName, map_name

STEP = 1 / 12_000
"""Degrees per pixel of 10 m."""
SIDE = 512
CODES = np.array([10, 20, 30, 40, 50, 60, 80], dtype=np.uint8)


def write_cog(
    path: Path,
    pixels: np.ndarray,
    west: float,
    north: float,
    step: float = STEP,
    *,
    nodata: float | None = 0,
    block: int = 128,
    **options: object,
) -> Path:
    """A cloud-optimised GeoTIFF of "band height width" in EPSG:4326."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # GDAL looks into a file that it replaces
    settings = {"crs": "EPSG:4326", "compress": "deflate", "blocksize": block} | options
    with rasterio.open(
        path,
        "w",
        driver="COG",
        count=pixels.shape[0],
        height=pixels.shape[1],
        width=pixels.shape[2],
        dtype=pixels.dtype,
        transform=Affine(step, 0, west, 0, -step, north),
        nodata=nodata,
        overviews="none",
        **settings,
    ) as file:
        file.write(pixels)
    return path


@dataclass
class Place:
    """One composite with the map and the InputQuality under it, and what they hold."""

    lat: int
    lon: int
    year: int
    row: int
    column: int
    image: np.ndarray
    codes: np.ndarray
    quality: np.ndarray
    files: dict[str, Path]
    """By product."""

    @property
    def west(self) -> float:
        return self.lon + self.column * STEP

    @property
    def north(self) -> float:
        return self.lat + 1 - self.row * STEP

    def box(
        self, top: float = 0, left: float = 0, height: float = SIDE, width: float = SIDE
    ) -> tuple[float, float, float, float]:
        """West, south, east, north of pixels counted from the upper left of what the file holds."""
        return (
            self.west + left * STEP,
            self.north - (top + height) * STEP,
            self.west + (left + width) * STEP,
            self.north - top * STEP,
        )

    def name(self, product: str = "S2RGBNIR") -> str:
        return self.files[product].name


@dataclass
class Mirror:
    """A folder in the buckets' layout."""

    folder: Path

    def place(
        self,
        lat: int,
        lon: int,
        *,
        year: int = 2021,
        row: int = 0,
        column: int = 0,
        side: int = SIDE,
        products: tuple[str, ...] = ("S2RGBNIR", "Map", "InputQuality"),
        block: int = 128,
    ) -> Place:
        """Files for pixels from `row` and `column` of a composite on; both multiples of 6."""
        composite = TileName(year, lat, lon, "S2RGBNIR")
        random = np.random.default_rng([lat + 90, lon + 180, year, row, column])
        image = random.integers(100, 3000, (4, side, side)).astype(np.uint16)
        codes = CODES[random.integers(0, 7, (side // 4 + 1, side // 4 + 1))]
        codes = np.kron(codes, np.ones((4, 4), dtype=np.uint8))[None, :side, :side]
        coarse = -(-side // 6)
        quality = random.integers(0, 60, (3, coarse, coarse)).astype(np.int16)
        west, north = lon + column * STEP, lat + 1 - row * STEP
        contents = {"S2RGBNIR": image, "Map": codes, "InputQuality": quality}
        files = {}
        for product in products:
            path = self.path(composite if product == "S2RGBNIR" else map_name(composite, product))
            low = product == "InputQuality"
            files[product] = write_cog(
                path,
                contents[product],
                west,
                north,
                6 * STEP if low else STEP,
                nodata=-1 if low else 0,
                block=block,
            )
        return Place(lat, lon, year, row, column, image, codes[0], quality, files)

    def path(self, name: TileName) -> Path:
        """Where the open buckets keep a tile."""
        if name.product == "S2RGBNIR":
            return self.folder / "rgbnir" / str(name.year) / name.place[:3] / name.filename
        version = VERSION_OF_YEAR[name.year]
        return self.folder / version / str(name.year) / "map" / name.filename
