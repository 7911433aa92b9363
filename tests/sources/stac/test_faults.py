"""Missing and damaged assets, resume, signatures, and scenes read across cells."""

import datetime
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.sources.stac.stac_world import (
    NORTH,
    SIZE,
    WEST,
    World,
    composed,
    ground,
    image_of,
    random_days,
    record_cells,
    source,
)
from tests.sources.stac_server import Archive

from terraloom.errors import OutputError, RunError, SettingsError
from terraloom.files import read_json, sha256_of
from terraloom.raster.grid import Window


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
