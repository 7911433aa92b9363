"""A real Sentinel-2 cell in UTM, one file per band: reflectance, place and distances."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from pyproj import Geod, Transformer
from rasterio.transform import Affine

from terraloom.classes import ClassTable, LandClass
from terraloom.dataset.build import Dataset, build_dataset
from terraloom.samples import decode, decode_view
from terraloom.settings import CutSettings, SplitSettings
from terraloom.sources import folder
from terraloom.tables import Table

BANDS = ("B04", "B03", "B02", "B08")
SIDE = 1068
SIZE, STRIDE = 64, 65
"""Patches with one column or row of pixels between them."""
STARTS = range(0, SIDE - SIZE + 1, STRIDE)
TABLE = ClassTable(
    classes=(
        LandClass(name="dark", colour=(0, 0, 90), codes=(1,)),
        LandClass(name="bright", colour=(230, 230, 90), codes=(2,)),
    )
)


@pytest.fixture(scope="module")
def cell(shared_data: Path) -> Path:
    path = shared_data / "tiles" / "sentinel2_199U_1099R"
    if not path.is_dir():
        pytest.skip(f"needs {path}")
    return path


def numbers(cell: Path) -> tuple[np.ndarray, Affine]:
    """Stored numbers, "height width band" in the order of `BANDS`, and the files' transform."""
    bands = []
    for name in BANDS:
        with rasterio.open(cell / f"{name}.tif") as file:
            bands.append(file.read(1))
            transform = file.transform
    return np.stack(bands, axis=-1), transform


def build(
    bands_folder: Path, cell: Path, work: Path, *, value_range: tuple[float, float],
    offset: float, **cut: Any,
) -> Dataset:  # fmt: skip
    """Cut the cell with labels by brightness on its own grid, since the real cell has none."""
    for name in ("images", "masks"):
        (work / name).mkdir(parents=True)
    (work / "images" / "cell").symlink_to(bands_folder)
    pixels, transform = numbers(cell)
    labels = np.where(pixels[..., 0] > np.median(pixels[..., 0]), 2, 1).astype(np.uint8)
    with rasterio.open(
        work / "masks" / "cell.tif", "w", driver="GTiff", count=1, height=SIDE, width=SIDE,
        dtype="uint8", crs="EPSG:32648", transform=transform,
    ) as file:  # fmt: skip
        file.write(labels, 1)
    settings = folder.Settings(
        folder=work, bands=BANDS[:3], nir_band=BANDS[3], cloud_mask="cloud_mask.tif",
        value_range=value_range, reflectance_scale=1e-4, reflectance_offset=offset,
    )  # fmt: skip
    return build_dataset(
        folder.build(settings, TABLE, 0), TABLE, work / "out",
        cut=CutSettings(patch_size=SIZE, stride=STRIDE, check_shift=False, **cut),
        split=SplitSettings(by="block", block_size_m=2_000, attempts=8), seed=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(cell: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    work = tmp_path_factory.mktemp("cell")
    return build(cell, cell, work, value_range=(0, 3000), offset=0.0, depth=16, nir=True)


def corner(row: dict[str, Any]) -> tuple[int, int]:
    _, top, left = row["id"].rsplit("-", 2)
    return int(top[1:]), int(left[1:])


def test_every_stored_number_gives_its_reflectance(made: Dataset, cell: Path) -> None:
    pixels, _ = numbers(cell)
    rows = made.samples.read().to_pylist()
    assert [corner(row) for row in rows] == [(r, c) for r in STARTS for c in STARTS]
    for row in rows:
        top, left = corner(row)
        stored = decode(row["image"])
        assert (row["dtype"], stored.dtype) == ("uint16", np.uint16)
        assert row["bands"] == ["red", "green", "blue", "nir"]
        assert (stored == pixels[top : top + SIZE, left : left + SIZE]).all()
        reflectance = row["scale"] * stored + row["offset"]
        assert (reflectance == 1e-4 * stored.astype(float)).all()


def test_the_offset_of_processing_baseline_04_is_taken_off_exactly_once(
    made: Dataset, cell: Path, tmp_path: Path
) -> None:
    # The cell's numbers have no offset any more (most of blue lies below 1000). As the agency
    # delivers them since 04.00, each is 1000 higher; the reflectance is the same.
    delivered = tmp_path / "delivered"
    delivered.mkdir()
    for name in (*BANDS, "cloud_mask"):
        with rasterio.open(cell / f"{name}.tif") as file:
            pixels, profile = file.read(), file.profile
        with rasterio.open(delivered / f"{name}.tif", "w", **profile) as file:
            file.write(pixels if name == "cloud_mask" else pixels + np.uint16(1000))
    shifted = build(
        delivered, cell, tmp_path / "sixteen", value_range=(1000, 4000), offset=-0.1,
        depth=16, nir=True,
    )  # fmt: skip
    eight = build(delivered, cell, tmp_path / "eight", value_range=(1000, 4000), offset=-0.1)
    columns = ["id", "image", "scale", "offset", "split"]
    tables = (made.samples, shifted.samples, eight.samples)
    for plain, high, low in zip(*(t.read(columns).to_pylist() for t in tables), strict=True):
        assert plain["id"] == high["id"] == low["id"]
        assert plain["split"] == high["split"] == low["split"]
        reflectance = plain["scale"] * decode(plain["image"]) + plain["offset"]
        again = high["scale"] * decode(high["image"]) + high["offset"]
        np.testing.assert_allclose(again, reflectance, rtol=0, atol=1e-12)
        # Drawn alike, and the drawn values give reflectance back to half a step.
        drawn = decode_view(low["image"])
        assert (decode_view(plain["image"]) == decode_view(high["image"])).all()
        assert (decode_view(plain["image"]) == drawn).all()
        back = low["scale"] * drawn.astype(float) + low["offset"]
        inside = (reflectance[..., :3] >= 0) & (reflectance[..., :3] <= 0.3)
        assert np.abs(back - reflectance[..., :3])[inside].max() <= 0.3 / 255 / 2 + 1e-9
        assert inside.mean() > 0.5


def test_place_and_footprint_are_those_of_the_ground(made: Dataset, cell: Path) -> None:
    _, transform = numbers(cell)
    to_lonlat = Transformer.from_crs(32648, 4326, always_xy=True)
    for row in made.samples.read(["id", "crs", "transform", "footprint"]).to_pylist():
        top, left = corner(row)
        assert row["crs"] == "EPSG:32648"
        own = transform * Affine.translation(left, top)
        assert row["transform"] == pytest.approx(tuple(own)[:6], abs=1e-6)
        ends = [own * end for end in ((0, 0), (SIZE, 0), (SIZE, SIZE), (0, SIZE))]
        lonlat = np.stack(to_lonlat.transform(*np.transpose(ends)), axis=-1)
        stored = shapely.get_coordinates(shapely.from_wkb(row["footprint"]))
        gaps = np.abs(stored[:, None] - lonlat).max(axis=2)
        assert gaps.min(axis=0).max() < 1e-9
        assert gaps.min(axis=1).max() < 1e-9


def test_neighbouring_pixels_and_patches_are_ten_metres_apart(made: Dataset) -> None:
    geod = Geod(ellps="WGS84")
    to_lonlat = Transformer.from_crs(32648, 4326, always_xy=True)
    rows = made.samples.read(["id", "transform", "footprint"]).to_pylist()
    for row in rows[::7]:
        own = Affine(*row["transform"])
        here, right, below = (own * at for at in ((5.5, 5.5), (6.5, 5.5), (5.5, 6.5)))
        for other in (right, below):
            ends = np.stack(to_lonlat.transform(*np.transpose([here, other])), axis=-1)
            # A metre of the projection is a metre on the ground to 4 parts in 10,000.
            assert geod.inv(*ends[0], *ends[1])[2] == pytest.approx(10, rel=5e-4)
    grounds = {corner(row): shapely.from_wkb(row["footprint"]) for row in rows}
    gap = grounds[0, 0].distance(grounds[0, STRIDE])
    assert gap * 111_320 * np.cos(np.deg2rad(17.96)) == pytest.approx(10, rel=5e-3)
    # Blocks touch, so the nearest patches of two roles have one pixel between them.
    assert set(made.leaks.nearest_m) == {"train-val", "train-test", "val-test"}
    nearest = [gap for gap in made.leaks.nearest_m.values() if gap is not None]
    assert min(nearest) == pytest.approx(10, rel=5e-3)


def test_the_cells_own_cloud_mask_is_counted(made: Dataset) -> None:
    clouds = Table.open(made.samples.folder.parent / "candidates").read(["cloud_share"])
    assert set(clouds.column("cloud_share").to_pylist()) == {0.0}  # measured, and clear
