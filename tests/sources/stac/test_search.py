"""Every page, clouds, failures of the API, wrong questions."""

import datetime
from pathlib import Path

import numpy as np
import pytest
from tests.sources.stac.stac_world import SIZE, World, composed, ground, image_of, source
from tests.sources.stac_server import CONFORMANCE, FILTER, Archive

from terraloom.errors import InputError, RunError, SettingsError


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
