"""Labels under pixels, from one map or several, and areas over two zones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyproj import Transformer
from tests.sources.stac.stac_world import (
    NORTH,
    SIZE,
    STEP,
    WEST,
    World,
    composed,
    ground,
    part_of_item,
    source,
    whole,
)
from tests.sources.stac_server import Archive

from terraloom.raster.grid import Window


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
