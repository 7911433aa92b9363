"""Wrong input is told before anything is written; kills and full disks leave the old map."""

import math
import signal
import subprocess
import sys

import pytest
from tests.prediction.drawn_scenes import DRAWN, read, smooth_scene, write

from terraloom.classes import preset
from terraloom.errors import InputError, OutputError, RunError, UnreadableFile
from terraloom.predicting import predict_scene
from terraloom.raster import map_writing
from terraloom.testing import toy_classes


def test_what_cannot_be_is_told_before_anything_is_written(colours, tmp_path):
    scene = write(tmp_path / "scene.tif", smooth_scene(40, 50))
    out = tmp_path / "map.tif"

    def refused(kind, told, *, classes=None, where=out, **options):
        with pytest.raises(kind, match=told):
            predict_scene(colours, classes or toy_classes(), [scene], where, **{**DRAWN, **options})

    refused(
        InputError, "tells 4 classes apart, the class table has 7", classes=preset("worldcover7")
    )
    refused(InputError, "takes 3 bands .* 4 were asked for: 1,2,3,1", bands=(1, 2, 3, 1))
    refused(InputError, r"--high \(0\) must be above --low \(0\)", high=0)
    refused(InputError, "--batch 0", batch=0)
    refused(InputError, r"--high \(inf\) must be above .* must be numbers", high=math.inf)
    refused(InputError, r"above --low \(nan\)", low=math.nan)
    refused(OutputError, "is the scene itself", where=scene, overwrite=True)
    refused(OutputError, r"name that says so, as in .*map\.tif", where=tmp_path / "map.png")
    refused(OutputError, "give two names", confidence=out)
    refused(OutputError, "is a folder", where=tmp_path)
    refused(OutputError, "cannot create the folder", where=scene / "map.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


def test_a_map_that_is_there_is_kept_unless_told_otherwise(colours, tmp_path):
    scene = write(tmp_path / "scene.tif", smooth_scene(40, 50))
    out = tmp_path / "map.tif"
    out.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        predict_scene(colours, toy_classes(), [scene], out, **DRAWN)
    assert out.read_text() == "mine"
    predict_scene(colours, toy_classes(), [scene], out, overwrite=True, **DRAWN)
    assert read(out).shape == (40, 50)


def test_a_scene_that_ends_early_leaves_the_old_map_and_no_new_file(colours, tmp_path):
    scene = write(tmp_path / "scene.tif", smooth_scene(400, 500), tiled=True, compress="deflate")
    data = scene.read_bytes()
    scene.write_bytes(data[: len(data) // 2])
    out = tmp_path / "map.tif"
    out.write_text("mine")
    with pytest.raises(UnreadableFile, match=r"scene\.tif cannot be read"):
        predict_scene(colours, toy_classes(), [scene], out, overwrite=True, **DRAWN)
    assert out.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.tif", "scene.tif"]


def test_a_block_that_did_not_reach_the_disk_is_noticed(colours, tmp_path, monkeypatch):
    scene = write(tmp_path / "scene.tif", smooth_scene(400, 500))
    lose = map_writing.MapWriter.write

    def lossy(self, window, values):
        lose(self, window, values)
        self.counts[0] += 1
        self.counts[1] -= 1

    monkeypatch.setattr(map_writing.MapWriter, "write", lossy)
    with pytest.raises(RunError, match="did not reach the disk whole"):
        predict_scene(colours, toy_classes(), [scene], tmp_path / "map.tif", **DRAWN)
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


def test_what_lay_beside_an_old_map_does_not_outlive_it(colours, tmp_path):
    scene = write(tmp_path / "scene.tif", smooth_scene(40, 50))
    out = tmp_path / "map.tif"
    for ending in ("", ".aux.xml", ".ovr", ".msk"):
        (tmp_path / f"map.tif{ending}").write_text("old")
    predict_scene(colours, toy_classes(), [scene], out, overwrite=True, **DRAWN)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.tif", "scene.tif"]


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from terraloom.raster import map_writing
from terraloom.raster.grid import Window

where, scene, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
die = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
if where == "checked":
    map_writing._counts = die
if where == "renamed":
    os.replace = die
with map_writing.map_writer(out, scene, nodata=255, tags={}, band_name="x") as map_file:
    map_file.write(Window(0, 0, 40, 50), np.zeros((40, 50), np.uint8))
    if where == "written":
        die()
"""


@pytest.mark.parametrize("where", ["written", "checked", "renamed"])
def test_a_kill_leaves_the_old_map_and_what_it_left_is_swept_up(where, colours, tmp_path):
    scene = write(tmp_path / "scene.tif", smooth_scene(40, 50))
    out = tmp_path / "map.tif"
    out.write_text("mine")
    command = [sys.executable, "-c", KILLED, where, str(scene), str(out)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert out.read_text() == "mine"
    assert len(list(tmp_path.iterdir())) > 2
    predict_scene(colours, toy_classes(), [scene], out, overwrite=True, **DRAWN)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.tif", "scene.tif"]
