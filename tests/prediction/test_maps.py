"""The map that is written: its place, its form, confidence and codes."""

import json

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from tests.prediction.drawn_scenes import DRAWN, UTM, read, smooth_scene, write

from terraloom.classes import ClassTable, LandClass, preset
from terraloom.errors import SettingsError
from terraloom.predicting import map_values, predict_scene
from terraloom.testing import toy_classes


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32636", UTM),
        ("EPSG:4326", (1e-4, 0, 33, 0, -1e-4, 39)),
        ("EPSG:3413", (20, 0, -1e6, 0, -20, 1e6)),
        ("EPSG:32636", (8.0, 6.0, 500_000.0, 6.0, -8.0, 4_300_000.0)),  # rotated
        ("EPSG:4326", (1e-4, 0, 179.999, 0, 1e-4, -39)),  # south up, across the antimeridian
        ("+proj=laea +lat_0=10 +lon_0=20 +datum=WGS84 +units=m", UTM),
        (None, None),
        (None, UTM),
    ],
)
def test_the_map_lies_where_the_scene_lies(crs, transform, colours, tmp_path, recwarn):
    scene = write(tmp_path / "scene.tif", smooth_scene(90, 70), crs=crs, transform=transform)
    made = predict_scene(
        colours, toy_classes(), [scene], tmp_path / "map.tif", confidence=tmp_path / "sure.tif",
        **DRAWN,
    )  # fmt: skip
    with rasterio.open(scene) as asked:
        for name in ("map.tif", "sure.tif"):
            with rasterio.open(tmp_path / name) as file:
                assert file.crs == asked.crs
                assert file.transform == asked.transform
                assert file.shape == asked.shape
    assert (made.km2 is None) == (crs is None)


def test_control_points_are_taken_over(colours, tmp_path):
    scene = write(tmp_path / "scene.tif", smooth_scene(90, 70), crs=None, transform=None)
    points = [
        GroundControlPoint(r, c, 30 + c / 100, 40 - r / 100) for r in (0, 90) for c in (0, 70)
    ]
    with rasterio.open(scene, "r+") as file:
        file.gcps = (points, rasterio.CRS.from_epsg(4326))
    predict_scene(colours, toy_classes(), [scene], tmp_path / "map.tif", **DRAWN)
    with rasterio.open(tmp_path / "map.tif") as file:
        found, crs = file.gcps
    assert crs.to_epsg() == 4326
    assert [(p.row, p.col, p.x, p.y) for p in found] == [(p.row, p.col, p.x, p.y) for p in points]


def test_the_map_is_a_cog_with_palette_names_and_overviews(colours, tmp_path):
    scene = write(tmp_path / "scene.tif", smooth_scene(1100, 700))
    predict_scene(
        colours, toy_classes(), [scene], tmp_path / "map.tif", confidence=tmp_path / "sure.tif",
        tags={"model_sha256": "abc"}, **DRAWN,
    )  # fmt: skip
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.overviews(1) == [2, 4]
        assert (file.count, file.dtypes, file.nodata) == (1, ("uint8",), 255)
        assert file.descriptions == ("land cover label",)
        palette = file.colormap(1)
        assert [palette[i][:3] for i in range(4)] == list(toy_classes().colours)
        assert file.tags()["model_sha256"] == "abc"
        assert json.loads(file.tags()["classes"]) == {
            "0": "water", "1": "crop", "2": "tree", "3": "built-up",
        }  # fmt: skip
    with rasterio.open(tmp_path / "sure.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (file.dtypes, file.nodata) == (("uint8",), 255)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.tif", "scene.tif", "sure.tif"]


def test_confidence_is_the_chosen_probability_in_percent(near, tmp_path):
    image = smooth_scene(96, 128)
    image[:5] = 0
    scene = write(tmp_path / "scene.tif", image)
    made = predict_scene(
        near, toy_classes(), [scene], tmp_path / "map.tif", confidence=tmp_path / "sure.tif",
        **DRAWN,
    )  # fmt: skip
    chosen = near.probabilities([image])[0].max(axis=0)
    sure = read(tmp_path / "sure.tif")
    assert (sure[:5] == 255).all()
    assert np.abs(sure[5:] - 100 * chosen[5:]).max() <= 0.51
    assert made.mean_confidence == pytest.approx(chosen[5:].mean(), abs=1e-5)


def test_source_codes_can_be_written_and_read_back_with_the_same_table(colours, tmp_path):
    truth = np.random.default_rng(5).integers(0, 4, (70, 90))
    image = np.array(toy_classes().colours, dtype=np.uint8)[truth]
    image[:9] = 0
    scene = write(tmp_path / "scene.tif", image)
    predict_scene(colours, toy_classes(), [scene], tmp_path / "map.tif", codes=True, **DRAWN)
    codes = read(tmp_path / "map.tif")
    labels = toy_classes().labels_of_codes(codes)
    assert (labels[:9] == 255).all()
    assert (labels[9:] == truth[9:]).all()
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.nodata == 0
        assert file.colormap(1)[1][:3] == toy_classes().colours[0]


def test_codes_of_the_presets_and_codes_that_cannot_be_written():
    assert map_values(preset("worldcover7"), True) == ((10, 20, 30, 40, 50, 60, 80), 0)
    assert map_values(preset("worldcover7"), False) == (tuple(range(7)), 255)

    def table(*codes):
        return ClassTable(
            classes=tuple(
                LandClass(name=f"c{i}", colour=(i, 0, 0), codes=c) for i, c in enumerate(codes)
            )
        )

    assert map_values(table((1,), (2,)), True) == ((1, 2), 255)
    for wrong, told in (
        (table((1,), ()), "c1 has no codes"),
        (table((1,), (300,)), "code 300"),
        (table((1,), (255,)), "no free value"),
    ):
        with pytest.raises(SettingsError, match=told):
            map_values(wrong, True)
