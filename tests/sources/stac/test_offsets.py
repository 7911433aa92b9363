"""The offset of baseline 04.00 is taken off once, whatever a provider tells of it."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.sources.stac.stac_world import (
    BANDS,
    NORTH,
    SIZE,
    World,
    composed,
    ground,
    image_of,
    source,
    whole,
)
from tests.sources.stac_server import Archive

from terraloom.errors import InputError
from terraloom.files import read_json


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
