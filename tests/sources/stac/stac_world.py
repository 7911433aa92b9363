"""An archive of Sentinel-2 items and label maps, written for a test."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
from pyproj import Transformer
from tests.sources.stac_server import Archive, footprint, write_raster

from terraloom.classes import ClassTable, LandClass
from terraloom.files import read_json
from terraloom.raster.grid import Grid, Window
from terraloom.retrying import RetrySettings
from terraloom.sources import stac
from terraloom.sources.stac import StacSource

BANDS = {"red": "B04", "green": "B03", "blue": "B02", "nir": "B08"}
CODES = tuple(range(10, 80, 10))
TABLE = ClassTable(
    classes=tuple(
        LandClass(name=f"class {code}", colour=(code, 0, 0), codes=(code,)) for code in CODES
    )
)
SIZE = 256
WEST, NORTH = 500_480.0, 4_318_000.0
INNER = (500_800.0, 4_315_800.0, 502_600.0, 4_317_600.0)
STEP = 1 / 12_000
FAST = RetrySettings(attempts=3, first_wait_s=0.0, longest_wait_s=0.1, timeout_s=10.0)
CLEAR, CLOUD, SNOW = 4, 9, 11


def reflectance(columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Reflectance x 10,000, "band height width", that differs from pixel to pixel."""
    bands = np.arange(4)[:, None, None]
    return (100 + (columns * 37 + rows * 101 + bands * 13) % 2900).astype(np.int64)


def ground(grid: Grid) -> np.ndarray:
    """What a perfect composite holds on a grid; columns and rows count 10 m from the origin."""
    left, top = round(grid.transform[2] / 10), round(grid.transform[5] / 10)
    columns, rows = np.meshgrid(left + np.arange(grid.width), -top + np.arange(grid.height))
    return reflectance(columns, rows)


def whole(scene: Any) -> Window:
    return Window(0, 0, scene.height, scene.width)


def box_of(bounds: tuple[float, float, float, float], epsg: int = 32636) -> tuple[float, ...]:
    to_lonlat = Transformer.from_crs(epsg, 4326, always_xy=True)
    west, south = to_lonlat.transform(bounds[0], bounds[1])
    east, north = to_lonlat.transform(bounds[2], bounds[3])
    return (west, south, east, north)


class World:
    """Writes items into an archive."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        archive.items |= {"sentinel-2-l2a": [], "map": []}

    def image(
        self,
        name: str,
        day: str = "2021-07-01",
        *,
        stored: np.ndarray | None = None,
        plus: int = 0,
        scl: np.ndarray | int = CLEAR,
        cloud: float | None = 5.0,
        epsg: int = 32636,
        corner: tuple[float, float] = (WEST, NORTH),
        names: dict[str, str] | None = None,
        asset: dict[str, Any] | None = None,
        **properties: Any,
    ) -> dict[str, Any]:
        """Add an item; its numbers are the ground's reflectance (or `stored`) + `plus`."""
        west, north = corner
        transform = (10.0, 0.0, west, 0.0, -10.0, north)
        grid = Grid(f"EPSG:{epsg}", transform, SIZE, SIZE)
        numbers = ground(grid) if stored is None else stored
        numbers = np.where(numbers > 0, numbers + plus, 0).astype(np.uint16)
        names = names or {**BANDS, "scl": "SCL"}
        assets = {}
        for index, band in enumerate(BANDS):
            path = f"{name}/{band}.tif"
            write_raster(self.archive.folder / path, numbers[index], epsg, transform, nodata=0)
            assets[names[band]] = {"href": path, "type": "image/tiff", **(asset or {})}
        coarse = np.broadcast_to(np.asarray(scl, dtype=np.uint8), (SIZE // 2, SIZE // 2))
        write_raster(
            self.archive.folder / name / "scl.tif",
            np.ascontiguousarray(coarse),
            epsg,
            (20.0, 0.0, west, 0.0, -20.0, north),
        )
        assets[names["scl"]] = {"href": f"{name}/scl.tif", "type": "image/tiff"}
        told = {"datetime": f"{day}T08:30:00Z", "proj:epsg": epsg} | properties
        if cloud is not None:
            told["eo:cloud_cover"] = cloud
        told.setdefault("s2:processing_baseline", "02.14")
        bounds = (west, north - 10 * SIZE, west + 10 * SIZE, north)
        return self._add("sentinel-2-l2a", name, told, assets, footprint(epsg, bounds))

    def labels(
        self,
        name: str = "label",
        *,
        epsg: int = 4326,
        corner: tuple[float, float] | None = None,
        step: float = STEP,
        size: int = 400,
        year: int = 2021,
        placed: bool = True,
        codes: np.ndarray | None = None,
    ) -> np.ndarray:
        """Add a label item; neighbouring codes always differ."""
        if corner is None:
            west, _, _, north = box_of((WEST, NORTH - 2560, WEST + 2560, NORTH))
            corner = (np.floor(west / STEP - 20) * STEP, np.ceil(north / STEP + 20) * STEP)
        if codes is None:
            columns, rows = np.meshgrid(np.arange(size), np.arange(size))
            codes = (10 * (1 + (3 * columns + 5 * rows) % 7)).astype(np.uint8)
        transform = (step, 0.0, corner[0], 0.0, -step, corner[1])
        write_raster(self.archive.folder / f"{name}.tif", codes, epsg, transform)
        told: dict[str, Any] = {
            "datetime": None,
            "start_datetime": f"{year}-01-01T00:00:00Z",
            "end_datetime": f"{year + 1}-01-01T00:00:00Z",
        }
        if placed:
            told |= {
                "proj:code": f"EPSG:{epsg}",
                "proj:transform": [*transform, 0, 0, 1],
                "proj:shape": [size, size],
            }
        height, width = codes.shape
        bounds = (corner[0], corner[1] - step * height, corner[0] + step * width, corner[1])
        asset = {"map": {"href": f"{name}.tif", "type": "image/tiff"}}
        self._add("map", name, told, asset, footprint(epsg, bounds))
        return codes

    def _add(
        self,
        collection: str,
        name: str,
        properties: dict[str, Any],
        assets: dict[str, Any],
        place: dict[str, Any],
    ) -> dict[str, Any]:
        item = {
            "type": "Feature",
            "stac_version": "1.0.0",
            "stac_extensions": [],
            "id": name,
            "collection": collection,
            "properties": properties,
            "assets": assets,
            "links": [],
            **place,
        }
        self.archive.items[collection].append(item)
        return item


def source(archive: Archive, **options: Any) -> StacSource:
    settings = stac.Settings(
        **{
            "url": archive.base,
            "box": box_of(INNER),
            "start": datetime.date(2021, 5, 1),
            "end": datetime.date(2021, 9, 30),
            "label_collection": "map",
            "label_asset": "map",
            "cell": 128,
            "retry": FAST,
            **options,
        }
    )
    made = stac.build(settings, TABLE, 0)
    assert isinstance(made, StacSource)
    return made


def composed(made: StacSource, folder: Path) -> Any:
    """The one scene of a source."""
    made.acquire(folder)
    (scene,) = made.scenes(folder)
    return scene


def image_of(scene: Any) -> np.ndarray:
    return np.moveaxis(scene.read(whole(scene)).image, -1, 0)


def random_days(world: World, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Items of so many days; their reflectance "day band row column" and what is clear."""
    rng = np.random.default_rng(5)
    values = rng.integers(1, 9000, (count, 4, SIZE, SIZE))
    scl = rng.choice([CLEAR, 5, 6, CLOUD, 3, 10], (count, SIZE // 2, SIZE // 2))
    for number in range(count):
        world.image(f"S2A_{number}", f"2021-06-{number + 1:02d}", stored=values[number],
                    scl=scl[number])  # fmt: skip
    clear = np.isin(scl, (CLEAR, 5, 6)).repeat(2, axis=1).repeat(2, axis=2)
    return values, clear


def part_of_item(scene: Any) -> tuple[slice, slice]:
    top = round((NORTH - scene.grid.transform[5]) / 10)
    left = round((scene.grid.transform[2] - WEST) / 10)
    return slice(top, top + scene.height), slice(left, left + scene.width)


def record_cells(folder: Path) -> list[dict[str, Any]]:
    return list(read_json(folder / "stac.json")["cells"].values())
