"""Two real pairs of another map in two UTM zones, with that map's own classes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from terraloom.classes import ClassTable, LandClass
from terraloom.dataset.build import Dataset, build_dataset
from terraloom.samples import decode
from terraloom.settings import CutSettings, SplitSettings
from terraloom.sources import folder

NAMES = (
    "water", "trees", "flooded vegetation", "crops", "built-up", "bare", "snow", "clouds",
    "rangeland",
)  # fmt: skip
TABLE = ClassTable(
    classes=tuple(
        LandClass(name=name, colour=(code * 20, 0, 0), codes=(code,))
        for code, name in enumerate(NAMES, start=1)
    ),
    ignore_codes=(0,),
)
ZONES = {"38D_378R_2_3": "EPSG:32736", "609U_541L_3_0": "EPSG:32616"}
SIDE, SIZE = 224, 32


@pytest.fixture(scope="module")
def pairs(shared_data: Path) -> Path:
    path = shared_data / "tiles" / "landuse_pairs"
    if not path.is_dir():
        pytest.skip(f"needs {path}")
    return path


def build(pairs: Path, out: Path, **options: Any) -> Dataset:
    settings = folder.Settings(folder=pairs, masks="lulc", **options)
    return build_dataset(
        folder.build(settings, TABLE, 0), TABLE, out,
        cut=CutSettings(patch_size=SIZE, check_shift=False),
        split=SplitSettings(by="block", block_size_m=640, attempts=8, near_duplicates="drop"),
        seed=1,
    )  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        # Snow reflects more than 0.3: on the usual scale it would be drawn as a blank white.
        {"images": "l2a", "bands": (4, 3, 2), "value_range": (0, 15_000)},
        {"images": "rgb"},
        {"images": "rgb", "pair_by": "footprint"},
    ],
    ids=["reflectance", "drawn", "by footprint"],
)
def test_percentages_are_those_counted_over_the_files(
    options: dict[str, Any], pairs: Path, tmp_path: Path
) -> None:
    made = build(pairs, tmp_path, **options)
    assert made.candidates == 2 * (SIDE // SIZE) ** 2
    assert made.funnel == {"kept": made.candidates}
    rows = made.samples.read(["id", "mask", "shares", "crs", "transform"]).to_pylist()
    counted = np.zeros(len(NAMES), np.int64)
    for stem, crs in ZONES.items():
        with rasterio.open(pairs / "lulc" / f"{stem}.tif") as file:
            codes, transform = file.read(1), file.transform
        own = [row for row in rows if row["id"].startswith(stem)]
        per_file = np.bincount(codes.ravel(), minlength=10)[1:]
        counted += per_file
        shares = np.mean([row["shares"] for row in own], axis=0)
        assert 100 * shares == pytest.approx(100 * per_file / codes.size, abs=1e-4)
        for row in own:
            top, left = (int(part[1:]) for part in row["id"].rsplit("-", 2)[1:])
            block = codes[top : top + SIZE, left : left + SIZE]
            assert (decode(row["mask"]) == block - 1).all()
            parts = np.bincount(block.ravel(), minlength=10)[1:] / SIZE**2
            assert row["shares"] == pytest.approx(parts, abs=1e-6)
            assert row["crs"] == crs
            x, y = transform * (left, top)
            assert row["transform"] == pytest.approx([10, 0, x, 0, -10, y], abs=1e-6)
    assert counted.sum() == 2 * SIDE**2
    everywhere = np.mean([row["shares"] for row in rows], axis=0)
    assert 100 * everywhere == pytest.approx(100 * counted / counted.sum(), abs=1e-4)
