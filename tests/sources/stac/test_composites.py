"""Masks of clouds, medians and best clear days."""

import datetime
from pathlib import Path

import numpy as np
from tests.sources.stac.stac_world import (
    CLEAR,
    CLOUD,
    NORTH,
    SIZE,
    SNOW,
    WEST,
    World,
    box_of,
    composed,
    ground,
    image_of,
    part_of_item,
    random_days,
    record_cells,
    source,
)
from tests.sources.stac_server import Archive

from terraloom.files import read_json


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
