"""Sentinel-2 over a real local STAC API: search, offsets, masks, composites, labels, faults."""

import datetime
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyproj import Transformer
from tests.sources.stac_server import (
    CONFORMANCE,
    FILTER,
    Archive,
    footprint,
    serving,
    write_raster,
)

from terraloom.classes import ClassTable, LandClass
from terraloom.errors import InputError, OutputError, RunError, SettingsError
from terraloom.files import read_json, sha256_of
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


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    (tmp_path / "files").mkdir()
    made = Archive(tmp_path / "files")
    with serving(made):
        yield made


@pytest.fixture
def world(archive: Archive) -> World:
    return World(archive)


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


# The offset of baseline 04.00


def test_one_scene_before_and_after_baseline_04_comes_out_equal(
    archive: Archive, world: World, tmp_path: Path
) -> None:
    world.labels()
    world.image("S2A_old", "2021-07-01", **{"s2:processing_baseline": "03.01"})
    world.image("S2A_new", "2021-08-01", plus=1000, **{"s2:processing_baseline": "04.00"})
    days = {
        "old": {"end": datetime.date(2021, 7, 15)},
        "new": {"start": datetime.date(2021, 7, 15)},
    }
    images = {}
    for name, options in days.items():
        scene = composed(source(archive, **options), tmp_path / name)
        images[name] = image_of(scene)
        assert (images[name] == ground(scene.grid)).all()
    assert (images["old"] == images["new"]).all()
    ((record, *_),) = (
        [cell["items"][0] for cell in read_json(tmp_path / "new" / "stac.json")["cells"].values()],
    )
    assert record["baseline"] == "04.00"
    assert (record["declared_offset"], record["applied_offset"]) == (None, -1000)
    assert record["why"] == "baseline 04.00 or later"


def test_dark_numbers_become_1_and_missing_ones_stay_0(
    archive: Archive, world: World, tmp_path: Path
) -> None:
    world.labels()
    stored = np.full((4, SIZE, SIZE), 1500)
    stored[:, 100:140] = 990  # reflectance -0.001
    stored[:, 140:180] = 1000  # reflectance 0
    stored[:, 180:] = 0
    world.image("S2A_dark", stored=stored, **{"s2:processing_baseline": "05.10"})
    scene = composed(source(archive), tmp_path / "out")
    image = image_of(scene)
    top = round((NORTH - scene.grid.transform[5]) / 10)  # rows of the item above the scene
    expected = np.repeat([500, 1, 0], [100 - top, 80, scene.height - 180 + top])
    assert (image == expected[None, :, None]).all()
    pixels = scene.read(whole(scene))
    assert (pixels.cloud == (expected == 0)[:, None]).all()
    assert (pixels.labels[expected == 0] == 255).all()
    assert (pixels.labels[expected > 0] < 7).all()


@pytest.mark.parametrize(
    ("plus", "names", "asset", "properties"),
    [
        pytest.param(
            0,
            {"red": "red", "green": "green", "blue": "blue", "nir": "nir", "scl": "scl"},
            {"raster:bands": [{"scale": 0.0001, "offset": 0}]},
            {"s2:processing_baseline": "05.11", "earthsearch:boa_offset_applied": True},
            id="removed by Earth Search",
        ),
        pytest.param(
            1000,
            {"red": "red", "green": "green", "blue": "blue", "nir": "nir", "scl": "scl"},
            {"raster:bands": [{"scale": 0.0001, "offset": -0.1}]},
            {"s2:processing_baseline": "05.11", "earthsearch:boa_offset_applied": False},
            id="left in by Earth Search",
        ),
        pytest.param(
            1000,
            {f"{k}": f"{v}_10m" for k, v in BANDS.items()} | {"scl": "SCL_20m"},
            {"raster:scale": 0.0001, "raster:offset": -0.1},
            {"s2:processing_baseline": None, "processing:version": "05.10", "proj:epsg": None,
             "proj:code": "EPSG:32636"},
            id="Copernicus Data Space",
        ),
        pytest.param(
            1000,
            None,
            {},
            {"s2:processing_baseline": None,
             "s2:product_uri": "S2A_MSIL2A_20220701T083601_N0400_R064_T36SWJ_20220701T1.SAFE"},
            id="by product name",
        ),
    ],
)  # fmt: skip
def test_providers_are_understood_and_the_offset_is_taken_off_once(
    archive: Archive,
    world: World,
    tmp_path: Path,
    plus: int,
    names: dict[str, str],
    asset: dict[str, Any],
    properties: dict[str, Any],
) -> None:
    world.labels()
    world.image("S2A_item", plus=plus, names=names, asset=asset, **properties)
    scene = composed(source(archive), tmp_path / "out")
    assert (image_of(scene) == ground(scene.grid)).all()


def test_a_contradiction_is_refused_by_name_and_decided_by_the_setting(
    archive: Archive, world: World, tmp_path: Path
) -> None:
    world.labels()
    world.image(
        "S2B_odd",
        asset={"raster:bands": [{"scale": 0.0001, "offset": -0.1}]},
        **{"s2:processing_baseline": "04.00", "earthsearch:boa_offset_applied": True},
    )
    with pytest.raises(InputError, match=r"S2B_odd.*baseline_offset = \"apply\""):
        source(archive).acquire(tmp_path / "auto")
    scene = composed(source(archive, baseline_offset="none"), tmp_path / "none")
    assert (image_of(scene) == ground(scene.grid)).all()
    scene = composed(source(archive, baseline_offset="apply"), tmp_path / "apply")
    assert (image_of(scene) == np.maximum(ground(scene.grid) - 1000, 1)).all()
    with pytest.raises(InputError, match=r"no usable item.*S2B_odd"):
        source(archive, without=("S2B_odd",)).acquire(tmp_path / "without")


def test_both_sides_of_baseline_04_are_refused_unless_harmonised(
    archive: Archive, world: World, tmp_path: Path
) -> None:
    world.labels()
    world.image("S2A_old", "2021-07-01", **{"s2:processing_baseline": "03.01"})
    world.image("S2A_new", "2021-08-01", plus=1000, **{"s2:processing_baseline": "05.00"})
    with pytest.raises(InputError, match=r"S2A_old, 03\.01.*S2A_new, 05\.00.*harmonise"):
        source(archive).acquire(tmp_path / "mixed")
    assert not (tmp_path / "mixed" / "cells").exists()
    scene = composed(source(archive, harmonise=True), tmp_path / "out")
    assert (image_of(scene) == ground(scene.grid)).all()


# Masks and composites


def halves(left: int, right: int) -> np.ndarray:
    scl = np.full((SIZE // 2, SIZE // 2), left)
    scl[:, SIZE // 4 :] = right
    return scl


def test_masked_classes_are_no_data_and_snow_is_kept(
    archive: Archive, world: World, tmp_path: Path
) -> None:
    world.labels()
    world.image("S2A_item", scl=halves(SNOW, CLOUD))
    scene = composed(source(archive), tmp_path / "out")
    middle = round((WEST + 10 * SIZE / 2 - scene.grid.transform[2]) / 10)
    expected = ground(scene.grid)
    expected[:, :, middle:] = 0
    assert (image_of(scene) == expected).all()
    scene = composed(source(archive, masked_classes=(0, SNOW)), tmp_path / "other")
    expected = ground(scene.grid)
    expected[:, :, :middle] = 0
    assert (image_of(scene) == expected).all()


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


def test_the_median_is_the_median_of_the_clear_days(
    archive: Archive, world: World, tmp_path: Path
) -> None:
    world.labels()
    values, clear = random_days(world, 5)
    # So little memory that a cell is worked on in several strips.
    scene = composed(source(archive, memory_mb=16, cell=256), tmp_path / "out")
    masked = np.ma.array(values, mask=~np.broadcast_to(clear[:, None], values.shape))
    expected = np.rint(np.ma.median(masked, axis=0).filled(0)).astype(np.uint16)
    rows, columns = part_of_item(scene)
    assert (image_of(scene) == expected[:, rows, columns]).all()
    counts: dict[str, int] = {}
    for cell in read_json(tmp_path / "out" / "stac.json")["cells"].values():
        for item in cell["items"]:
            counts[item["id"]] = counts.get(item["id"], 0) + item["clear_pixels"]
    assert counts == {f"S2A_{i}": int(clear[i, rows, columns].sum()) for i in range(5)}
    assert sorted({cell["date"] for cell in record_cells(tmp_path / "out")}) == ["2021-06-03"]


def record_cells(folder: Path) -> list[dict[str, Any]]:
    return list(read_json(folder / "stac.json")["cells"].values())


def test_best_clear_takes_the_clearest_day_and_fills_its_holes_from_the_next(
    archive: Archive, world: World, tmp_path: Path
) -> None:
    world.labels()
    scl = np.full((SIZE // 2, SIZE // 2), CLEAR)
    for number, (rows, day) in enumerate(
        # Clear rows of the 20 m mask; days 2 and 3 are equally clear, so the earlier comes first.
        [((0, 40), "2021-06-01"), ((30, 110), "2021-06-02"), ((20, 100), "2021-06-03")]
    ):
        masked = scl * 0 + CLOUD
        masked[slice(*rows)] = CLEAR
        stored = np.full((4, SIZE, SIZE), 1000 * (number + 1))
        world.image(f"S2A_{number}", day, stored=stored, scl=masked)
    inner = (500_800.0, NORTH - 2550, 502_600.0, NORTH - 10)
    made = source(archive, composite="best-clear", box=box_of(inner), cell=4096)
    scene = composed(made, tmp_path / "out")
    rows, _ = part_of_item(scene)
    expected = np.zeros(SIZE, dtype=int)
    expected[0:80] = 1000
    expected[40:200] = 3000
    expected[60:220] = 2000
    assert (image_of(scene) == expected[rows][None, :, None]).all()
    assert scene.date == datetime.date(2021, 6, 2)


def test_items_of_one_overpass_are_one_day_and_the_newer_processing_wins(
    archive: Archive, world: World, tmp_path: Path
) -> None:
    world.labels()
    plain = np.full((4, SIZE, SIZE), 1000)
    world.image("S2A_a", stored=plain, **{"s2:processing_baseline": "02.00"})
    world.image("S2A_b", stored=2 * plain, **{"s2:processing_baseline": "03.00"})
    world.image("S2A_c", "2021-07-11", stored=5 * plain)
    scene = composed(source(archive), tmp_path / "out")
    assert (image_of(scene) == 3500).all()  # of 2000 and 5000, not of 1000, 2000 and 5000


# Search


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_page_is_asked_for(
    archive: Archive, world: World, tmp_path: Path, method: str
) -> None:
    archive.page_size = 2
    archive.methods = (method,)
    world.labels()
    for number in range(5):
        stored = np.full((4, SIZE, SIZE), 1000 * (number + 1))
        world.image(f"S2A_{number}", f"2021-06-{number + 1:02d}", stored=stored)
    scene = composed(source(archive), tmp_path / "out")
    assert (image_of(scene) == 3000).all()
    searched = [s for s in archive.searches if s["collections"] == ["sentinel-2-l2a"]]
    assert [int(s.get("token") or 0) for s in searched] == [0, 2, 4]


@pytest.mark.parametrize("how", ["query", "filter", "neither"])
def test_cloudy_items_are_passed_over_whatever_the_api_understands(
    archive: Archive, world: World, tmp_path: Path, how: str
) -> None:
    archive.conformance = {
        "query": archive.conformance,
        "filter": [*CONFORMANCE, FILTER],
        "neither": CONFORMANCE,
    }[how]
    world.labels()
    world.image("S2A_clear", "2021-07-01", stored=np.full((4, SIZE, SIZE), 700), cloud=30.0)
    world.image("S2A_cloudy", "2021-07-02", stored=np.full((4, SIZE, SIZE), 900), cloud=30.1)
    scene = composed(source(archive, max_cloud=30.0), tmp_path / "out")
    assert (image_of(scene) == 700).all()
    (asked,) = (s for s in archive.searches if s["collections"] == ["sentinel-2-l2a"])
    assert [key for key in ("query", "filter") if key in asked] == (
        [] if how == "neither" else [how]
    )


def test_an_item_of_unknown_cloud_is_refused_by_name_unless_all_are_taken(
    archive: Archive, world: World, tmp_path: Path
) -> None:
    archive.conformance = CONFORMANCE
    world.labels()
    world.image("S2A_silent", cloud=None)
    with pytest.raises(InputError, match="S2A_silent does not tell its eo:cloud_cover"):
        source(archive).acquire(tmp_path / "limited")
    scene = composed(source(archive, max_cloud=100.0), tmp_path / "all")
    assert (image_of(scene) == ground(scene.grid)).all()


def test_an_api_that_fails_now_and_then_is_asked_again(
    archive: Archive, world: World, tmp_path: Path
) -> None:
    world.labels()
    world.image("S2A_item")
    archive.faults = {"/search": [500, 429], "/collections/map": [503]}
    scene = composed(source(archive), tmp_path / "out")
    assert (image_of(scene) == ground(scene.grid)).all()


def test_an_api_that_stays_away_fails_the_run_and_the_same_call_goes_on(
    archive: Archive, world: World, tmp_path: Path
) -> None:
    world.labels()
    world.image("S2A_item")
    archive.faults = {"/search": [500] * 6}
    with pytest.raises(RunError, match=r"search failed.*HTTP 500.*same command again"):
        source(archive).acquire(tmp_path / "out")
    scene = composed(source(archive), tmp_path / "out")
    assert (image_of(scene) == ground(scene.grid)).all()


def test_wrong_questions_are_told(archive: Archive, world: World, tmp_path: Path) -> None:
    world.labels(year=2020)
    world.image("S2A_item")
    with pytest.raises(InputError, match="no collection 'maps'; there are sentinel-2-l2a, map"):
        source(archive, label_collection="maps").acquire(tmp_path / "a")
    with pytest.raises(InputError, match=r"map has no item of 2021 with asset 'map'.*has 2020"):
        source(archive).acquire(tmp_path / "b")
    with pytest.raises(InputError, match="HTTP 404"):
        source(archive, url=f"{archive.base}/nowhere").acquire(tmp_path / "c")
    with pytest.raises(InputError, match="no usable item in the area from 2019"):
        source(
            archive, start=datetime.date(2019, 1, 1), end=datetime.date(2019, 2, 1), label_year=2020
        ).acquire(tmp_path / "d")
    archive.items["sentinel-2-l2a"][0]["properties"]["proj:epsg"] = 3035
    with pytest.raises(InputError, match=r"S2A_item.*Set crs|no usable item"):
        source(archive, label_year=2020).acquire(tmp_path / "e")


def test_a_code_that_is_a_class_cannot_mean_no_label(archive: Archive) -> None:
    with pytest.raises(SettingsError, match="label_nodata = 70 is the code of class 'class 70'"):
        source(archive, label_nodata=70)


# Labels


def expected_labels(
    scene: Any, codes: np.ndarray, epsg: int, corner: tuple[float, float], step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Label under each pixel's centre, and where the centre is far from the edge of two."""
    a, _, c, _, e, f = scene.grid.transform
    columns, rows = np.meshgrid(np.arange(scene.width) + 0.5, np.arange(scene.height) + 0.5)
    x, y = Transformer.from_crs(32636, epsg, always_xy=True).transform(
        c + a * columns, f + e * rows
    )
    column, row = (np.asarray(x) - corner[0]) / step, (corner[1] - np.asarray(y)) / step
    sure = (np.abs(column - np.rint(column)) > 0.011) & (np.abs(row - np.rint(row)) > 0.011)
    labels = codes[np.floor(row).astype(int), np.floor(column).astype(int)] // 10 - 1
    return labels, sure


@pytest.mark.parametrize(
    ("epsg", "step", "shift", "size"),
    [
        pytest.param(4326, STEP, 0.0, 400, id="degrees"),
        pytest.param(32636, 10.0, 4.0, 300, id="0.4 pixels off"),
        pytest.param(32636, 10.0, 6.0, 300, id="0.6 pixels off"),
        pytest.param(32636, 10.0, 0.0, 300, id="aligned"),
        pytest.param(32637, 10.0, 0.0, 400, id="next zone"),
    ],
)
@pytest.mark.parametrize("placed", [True, False], ids=["placed", "unplaced"])
def test_labels_are_those_under_the_centres_of_the_pixels(
    archive: Archive,
    world: World,
    tmp_path: Path,
    epsg: int,
    step: float,
    shift: float,
    size: int,
    placed: bool,
) -> None:
    corner = None
    if epsg == 32636:
        corner = (WEST - 200 + shift, NORTH + 200 - shift)
    elif epsg == 32637:
        x, y = Transformer.from_crs(32636, 32637, always_xy=True).transform(WEST, NORTH)
        corner = (round(x, -1) - 500.0, round(y, -1) + 500.0)
    codes = world.labels(epsg=epsg, corner=corner, step=step, size=size, placed=placed)
    world.image("S2A_item")
    scene = composed(source(archive), tmp_path / "out")
    (item,) = archive.items["map"]
    if corner is None:
        box = item["bbox"]
        corner = (box[0], box[3])
    labels, sure = expected_labels(scene, codes, epsg, corner, step)
    got = scene.read(whole(scene)).labels
    assert sure.mean() > 0.9
    if placed:
        assert (got[sure] == labels[sure]).all()
    else:  # GDAL's warper may be off by an eighth of a pixel, so by two eighths of the pixels
        assert (got[sure] == labels[sure]).mean() > (0.75 if epsg != 32636 else 0.999)


def test_labels_of_another_year_are_not_taken(
    archive: Archive, world: World, tmp_path: Path
) -> None:
    world.labels("this", codes=np.full((400, 400), 20, dtype=np.uint8))
    # Its time ends at the very second in which the year that is asked for begins.
    world.labels("last", year=2020, codes=np.full((400, 400), 30, dtype=np.uint8))
    world.image("S2A_item")
    scene = composed(source(archive), tmp_path / "out")
    assert (scene.read(whole(scene)).labels == 1).all()
    assert scene.label_year == 2021
    scene = composed(source(archive, label_year=2020), tmp_path / "other")
    assert (scene.read(whole(scene)).labels == 2).all()
    assert scene.label_year == 2020


def test_open_pixels_of_one_map_are_filled_from_the_next_and_else_unknown(
    archive: Archive, world: World, tmp_path: Path
) -> None:
    first = np.full((300, 300), 10, dtype=np.uint8)
    first[100:] = 0
    second = np.full((300, 300), 20, dtype=np.uint8)
    second[200:] = 0
    corner = (WEST - 200, NORTH + 200)
    world.labels("a", epsg=32636, corner=corner, step=10.0, size=300, codes=first)
    world.labels("b", epsg=32636, corner=corner, step=10.0, size=300, codes=second)
    world.image("S2A_item")
    scene = composed(source(archive), tmp_path / "out")
    rows, columns = part_of_item(scene)
    expected = np.repeat([0, 1, 255], [80, 100, 76]).astype(np.uint8)[rows]
    assert (scene.read(whole(scene)).labels == expected[:, None]).all()
    del columns


# Zones


def test_an_area_over_two_zones_makes_one_scene_each_and_no_ground_twice(
    archive: Archive, world: World, tmp_path: Path
) -> None:
    lon, lat = 36.0, 39.0
    box = (lon - 0.006, lat - 0.006, lon + 0.006, lat + 0.006)
    for epsg in (32636, 32637):
        x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(lon, lat)
        corner = (round(x / 20) * 20.0 - 1280, round(y / 20) * 20.0 + 1280)
        world.image(f"S2A_{epsg}", epsg=epsg, corner=corner)
    world.labels(corner=(round((lon - 0.016) / STEP) * STEP, round((lat + 0.016) / STEP) * STEP))
    made = source(archive, box=box)
    made.acquire(tmp_path / "out")
    scenes = made.scenes(tmp_path / "out")
    assert [scene.grid.crs for scene in scenes if scene.grid] == ["EPSG:32636", "EPSG:32637"]
    assert made.extents() == [(scene.height, scene.width) for scene in scenes]
    held = []
    for scene in scenes:
        assert scene.grid is not None
        for row in range(0, scene.height - 7, 8):
            for column in range(0, scene.width - 7, 8):
                window = Window(row, column, 8, 8)
                if not scene.holds(window):
                    continue
                part = scene.grid.part(window)
                held.append(part.lonlat_centre())
                assert (part.crs == "EPSG:32636") == (held[-1][0] <= 36.0)
                image = np.moveaxis(scene.read(window).image, -1, 0)
                inside = (image > 0).all(axis=0)
                assert (image[:, inside] == ground(part)[:, inside]).all()
    # 0.012 degrees are 1038 m by 1332 m: 8-pixel windows tile it once, but for a ragged border.
    assert 0.85 < len(held) * 80 * 80 / (1038 * 1332) < 1.1


def test_another_crs_is_one_scene(archive: Archive, world: World, tmp_path: Path) -> None:
    world.labels()
    world.image("S2A_item", stored=np.full((4, SIZE, SIZE), 777))
    scene = composed(source(archive, crs="EPSG:3035", cell=256), tmp_path / "out")
    assert scene.grid.crs == "EPSG:3035"
    assert scene.grid.transform[2] % 10 == 0
    held = [
        scene.read(Window(row, column, 8, 8)).image
        for row in range(0, scene.height - 7, 8)
        for column in range(0, scene.width - 7, 8)
        if scene.holds(Window(row, column, 8, 8))
    ]
    assert len(held) > 300
    full = [image for image in held if (image > 0).all()]
    assert len(full) > 0.9 * len(held)
    assert all((image == 777).all() for image in full)


# Faults


def test_a_missing_asset_is_named_and_the_composite_is_made_of_the_rest(
    archive: Archive, world: World, tmp_path: Path
) -> None:
    world.labels()
    world.image("S2A_whole", "2021-07-01")
    world.image("S2A_torn", "2021-07-02", stored=np.full((4, SIZE, SIZE), 1))
    (archive.folder / "S2A_torn" / "nir.tif").unlink()
    made = source(archive)
    scene = composed(made, tmp_path / "out")
    assert (image_of(scene) == ground(scene.grid)).all()
    assert "asset B08: HTTP 404" in made.left_out()["S2A_torn"]
    assert all(list(cell["gone"]) == ["S2A_torn"] for cell in record_cells(tmp_path / "out"))


def test_a_damaged_asset_fails_its_cells_by_name_until_it_is_left_out(
    archive: Archive, world: World, tmp_path: Path
) -> None:
    world.labels()
    world.image("S2A_whole", "2021-07-01")
    world.image("S2A_torn", "2021-07-02")
    path = archive.folder / "S2A_torn" / "red.tif"
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4000] = bytes(4000)
    path.write_bytes(data)
    made = source(archive)
    try:
        made.acquire(tmp_path / "out")
        made.scenes(tmp_path / "out")
        told = made.left_out()
    except RunError as error:
        told = {"cell": str(error)}
    assert told
    assert all("S2A_torn" in reason and "without" in reason for reason in told.values())
    scene = composed(source(archive, without=("S2A_torn",)), tmp_path / "other")
    assert (image_of(scene) == ground(scene.grid)).all()


def test_a_cell_without_labels_is_left_out_by_name_and_the_others_are_made(
    archive: Archive, world: World, tmp_path: Path
) -> None:
    half = np.full((300, 300), 10, dtype=np.uint8)
    half[:, :100] = 0
    world.labels(epsg=32636, corner=(WEST - 200, NORTH + 200), step=10.0, size=300, codes=half)
    world.image("S2A_item")
    made = source(archive, cell=64)
    made.acquire(tmp_path / "out")
    made.scenes(tmp_path / "out")
    lacking = made.left_out()
    assert lacking
    assert set(lacking.values()) == {"no label of map 2021 covers it"}
    made_cells = read_json(tmp_path / "out" / "stac.json")["cells"]
    assert made_cells
    assert not set(lacking) & set(made_cells)
    assert len(lacking) + len(made_cells) == len(made.groups[0].cells)


def test_an_asset_that_fails_now_and_then_is_read_in_the_end(
    archive: Archive, world: World, tmp_path: Path
) -> None:
    world.labels()
    world.image("S2A_item")
    assert archive.files is not None
    archive.files.refuse("/S2A_item/green.tif", [500, 503, 429, 500, 500])
    scene = composed(source(archive), tmp_path / "out")
    assert (image_of(scene) == ground(scene.grid)).all()
    assert archive.files.refusals_left("/S2A_item/green.tif") == []


# Resume


def files_of(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): sha256_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "ledger.jsonl"
    }


def test_a_second_call_asks_nothing_and_a_lost_cell_is_made_again_with_the_same_bytes(
    archive: Archive, world: World, tmp_path: Path
) -> None:
    world.labels()
    random_days(world, 3)
    source(archive).acquire(tmp_path / "one")
    first = files_of(tmp_path / "one")
    assert len(first) > 8
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert archive.files is not None
    archive.requests.clear()
    archive.files.behave()
    source(archive).acquire(tmp_path / "one")
    assert archive.requests == []
    assert archive.files.requests() == []
    # The archive has moved on; what was found stays what is composed.
    world.image("S2A_later", "2021-06-20", stored=np.full((4, SIZE, SIZE), 1))
    lost = sorted((tmp_path / "two" / "cells").glob("*_S2.tif"))[1]
    lost.unlink()
    (tmp_path / "two" / "stac.json").unlink()
    source(archive).acquire(tmp_path / "two")
    assert files_of(tmp_path / "two") == first
    assert archive.files.requests()  # one cell's worth
    assert "/search" not in archive.requests


def test_two_runs_write_the_same_bytes_whatever_workers_and_memory(
    archive: Archive, world: World, tmp_path: Path
) -> None:
    world.labels()
    random_days(world, 3)
    source(archive, workers=1).acquire(tmp_path / "one")
    source(archive, workers=4, memory_mb=16).acquire(tmp_path / "two")
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_a_folder_of_other_settings_is_not_mixed(
    archive: Archive, world: World, tmp_path: Path
) -> None:
    world.labels()
    world.image("S2A_item")
    source(archive).acquire(tmp_path / "out")
    with pytest.raises(OutputError, match="cells of other settings"):
        source(archive, composite="best-clear").acquire(tmp_path / "out")


def test_signatures_are_used_and_never_written(
    archive: Archive, world: World, tmp_path: Path
) -> None:
    assert archive.files is not None
    archive.signature = "sig=very-secret"
    archive.files.ask_for(archive.signature)
    world.labels()
    world.image("S2A_item")
    scene = composed(source(archive), tmp_path / "out")
    assert (image_of(scene) == ground(scene.grid)).all()
    next((tmp_path / "out" / "cells").glob("*_S2.tif")).unlink()
    archive.signature = "sig=renewed-secret"
    archive.files.ask_for(archive.signature)
    scene = composed(source(archive), tmp_path / "out")
    assert (image_of(scene) == ground(scene.grid)).all()
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or b"secret" not in path.read_bytes(), path


def test_signing_needs_its_package(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="pip install planetary-computer"):
        source(archive, sign="planetary-computer").acquire(tmp_path / "out")


# Scenes


def test_scenes_are_read_across_cells_after_pickling_and_name_their_files(
    archive: Archive, world: World, tmp_path: Path
) -> None:
    world.labels()
    world.image("S2A_item")
    made = source(archive)
    scene = pickle.loads(pickle.dumps(composed(made, tmp_path / "out")))
    assert scene.bands == ("red", "green", "blue", "nir")
    assert scene.date == datetime.date(2021, 7, 1)
    assert len(scene.cells) > 3
    first = scene.cells[0].grid
    row = round((first.transform[5] - scene.grid.transform[5]) / -10)
    column = first.width - 5 + round((first.transform[2] - scene.grid.transform[2]) / 10)
    window = Window(row - 5, column, 10, 10)  # across the corner of four cells
    pixels = scene.read(window)
    assert pixels.image.shape == (10, 10, 4)
    assert (np.moveaxis(pixels.image, -1, 0) == ground(scene.grid.part(window))).all()
    assert len(pixels.files) == 8
    inputs = made.inputs(tmp_path / "out")
    assert {file.name: file.sha256 for file in pixels.files}.items() <= inputs.items()
    assert {file.licence for file in pixels.files} == {"CC-BY-4.0"}
    assert {file.attribution for file in pixels.files} == {
        "contains modified Copernicus Sentinel data",
        "makers of map",
    }
    parts = scene.parts()
    assert sum(part.height * part.width for part in parts) == scene.height * scene.width
    for part in parts:
        assert (image_of(part) == ground(part.grid)).all()
