"""More than red, green and blue: near infrared, one file per band, clouds, units, years."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from terraloom.classes import ClassTable, LandClass
from terraloom.errors import InputError, PairError, SettingsError, UnequalSizes
from terraloom.raster import geotiff
from terraloom.raster.grid import Grid, Window
from terraloom.sources import folder as folder_source
from terraloom.sources.folder import FolderSource

TABLE = ClassTable(
    classes=(
        LandClass(name="land", colour=(9, 200, 9), codes=(0,)),
        LandClass(name="water", colour=(0, 0, 200), codes=(1,)),
    ),
    ignore_codes=(-1,),
)
UTM = Grid("EPSG:32648", (10.0, 0.0, 362_610.0, 0.0, -10.0, 1_987_080.0), 40, 60)
WINDOW = Window(3, 5, 30, 40)
PART = np.s_[3:33, 5:45]


def build(folder: Path, **options: Any) -> FolderSource:
    settings = folder_source.Settings(folder=folder, **options)
    return folder_source.build(settings, TABLE, 0)  # type: ignore[return-value]


def bands(count: int) -> np.ndarray:
    """Bands that differ everywhere, uint16 "band height width"."""
    rows, columns = np.mgrid[: UTM.height, : UTM.width]
    return np.stack([1000 * (b + 1) + 13 * rows + columns for b in range(count)]).astype(np.uint16)


def write_mask(folder: Path, name: str = "cell") -> np.ndarray:
    codes = (bands(1)[0] % 2).astype(np.int16)
    codes[0] = -1
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    geotiff.write_geotiff(folder / "masks" / f"{name}.tif", codes[None], UTM)
    return codes


def write_band_files(folder: Path, name: str = "cell") -> dict[str, np.ndarray]:
    written = dict(zip(("B02", "B03", "B04", "B08"), bands(4), strict=True))
    (folder / "images" / name).mkdir(parents=True)
    for band, pixels in written.items():
        geotiff.write_geotiff(folder / "images" / name / f"{band}.tif", pixels[None], UTM)
    return written


def test_near_infrared_comes_fourth_from_one_file(tmp_path: Path) -> None:
    write_mask(tmp_path)
    (tmp_path / "images").mkdir()
    pixels = bands(5)
    geotiff.write_geotiff(tmp_path / "images" / "cell.tif", pixels, UTM)
    (scene,) = build(tmp_path, bands=(3, 2, 1), nir_band=5).scenes(tmp_path)
    assert scene.bands == ("red", "green", "blue", "nir")
    image = scene.read(WINDOW).image
    assert image.dtype == np.uint16
    assert (image == np.moveaxis(pixels[[2, 1, 0, 4]], 0, -1)[PART]).all()
    with pytest.raises(PairError, match=r"cell\.tif: band 6 is asked for, but it has 5 bands"):
        build(tmp_path, nir_band=6).scenes(tmp_path)


def test_a_plain_image_has_no_fourth_band(tmp_path: Path) -> None:
    write_mask(tmp_path)
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "images" / "cell.png")
    with pytest.raises(PairError, match=r"cell\.png: band 4 is asked for, but it has 3 bands"):
        build(tmp_path, nir_band=4).scenes(tmp_path)


def test_each_band_may_have_its_own_file(tmp_path: Path) -> None:
    written = write_band_files(tmp_path)
    codes = write_mask(tmp_path)
    source = build(tmp_path, bands=("B04", "B03", "B02"), nir_band="B08")
    (scene,) = source.scenes(tmp_path)
    assert (scene.name, scene.grid, scene.bands[3]) == ("cell", UTM, "nir")
    pixels = scene.read(WINDOW)
    expected = np.stack([written[band] for band in ("B04", "B03", "B02", "B08")], axis=-1)
    assert (pixels.image == expected[PART]).all()
    assert (pixels.labels == np.where(codes < 0, 255, codes)[PART]).all()
    uris = [f"images/cell/{band}.tif" for band in ("B04", "B03", "B02", "B08")]
    assert [file.uri for file in pixels.files] == [*uris, "masks/cell.tif"]
    assert sorted(source.given()) == sorted([*uris, "masks/cell.tif"])
    assert source.extents() == [(40, 60)]


def test_band_files_that_lack_or_lie_elsewhere_are_told(tmp_path: Path) -> None:
    write_band_files(tmp_path)
    write_mask(tmp_path)
    names = ("B04", "B03", "B02")
    with pytest.raises(PairError, match=r"cell: no band file B8A\.tif in .*cell"):
        build(tmp_path, bands=names, nir_band="B8A").scenes(tmp_path)
    coarse = Grid(UTM.crs, (20.0, 0.0, UTM.transform[2], 0.0, -20.0, UTM.transform[5]), 20, 30)
    path = tmp_path / "images" / "cell" / "B11.tif"
    geotiff.write_geotiff(path, np.zeros((1, 20, 30), np.uint16), coarse)
    with pytest.raises(PairError, match=r"different grids \(B04\.tif 60×40, .* B11\.tif 30×20\)"):
        build(tmp_path, bands=names, nir_band="B11").scenes(tmp_path)
    with pytest.raises(InputError, match=r"holds no images \(sub-folders with B04, B03, B02\)"):
        build(tmp_path, images="masks", bands=names).scenes(tmp_path)


def test_clouds_are_told_from_a_file_beside_the_bands(tmp_path: Path) -> None:
    write_band_files(tmp_path)
    write_mask(tmp_path)
    cloud = np.zeros((40, 60), np.uint8)
    cloud[10:20, 30:50] = 3
    path = tmp_path / "images" / "cell" / "cloud_mask.tif"
    geotiff.write_geotiff(path, cloud[None], UTM)
    options: dict[str, Any] = {"bands": ("B04", "B03", "B02"), "cloud_mask": "cloud_mask.tif"}
    (scene,) = build(tmp_path, **options).scenes(tmp_path)
    pixels = scene.read(WINDOW)
    assert pixels.cloud is not None
    assert (pixels.cloud == (cloud > 0)[PART]).all()
    assert "images/cell/cloud_mask.tif" in [file.uri for file in pixels.files]
    # Ground beyond the cloud mask is not known to be clear.
    geotiff.write_geotiff(path, cloud[None, :, :30], UTM.part(Window(0, 0, 40, 30)))
    (scene,) = build(tmp_path, **options).scenes(tmp_path)
    seen = scene.read(Window(0, 0, 40, 60)).cloud
    assert seen is not None
    assert not seen[:, :30].any()
    assert seen[:, 30:].all()
    path.unlink()
    with pytest.raises(PairError, match="cell: image without cloud mask; looked for cloud_mask"):
        build(tmp_path, **options).scenes(tmp_path)


def test_clouds_are_told_from_a_folder_of_the_images_names(tmp_path: Path) -> None:
    for kind in ("images", "masks", "clouds"):
        (tmp_path / kind).mkdir()
    cloud = np.zeros((20, 30), np.uint8)
    cloud[5] = 255
    Image.fromarray(np.full((20, 30, 3), 7, np.uint8)).save(tmp_path / "images" / "a.png")
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / "masks" / "a.png")
    Image.fromarray(cloud).save(tmp_path / "clouds" / "a.png")
    (scene,) = build(tmp_path, cloud_mask="clouds").scenes(tmp_path)
    seen = scene.read(Window(2, 4, 10, 10)).cloud
    assert seen is not None
    assert (seen == (cloud > 0)[2:12, 4:14]).all()
    Image.fromarray(cloud[1:]).save(tmp_path / "clouds" / "a.png")
    with pytest.raises(UnequalSizes):
        build(tmp_path, cloud_mask="clouds").scenes(tmp_path)
    with pytest.raises(SettingsError, match=r"folder of cloud masks .*sky does not exist"):
        build(tmp_path, cloud_mask="sky").scenes(tmp_path)


def test_units_and_years_are_carried(tmp_path: Path) -> None:
    write_band_files(tmp_path, "a")
    write_band_files(tmp_path, "b")
    for name in ("a", "b"):
        write_mask(tmp_path, name)
    (tmp_path / "index.csv").write_text("id,label_year,date\na,,2021-06-01\nb,2019,\n")
    source = build(
        tmp_path,
        bands=("B04", "B03", "B02"),
        index="index.csv",
        label_year=2020,
        value_range=(1000, 4000),
        reflectance_scale=1e-4,
        reflectance_offset=-0.1,
    )
    # DN = 10,000 · reflectance + 1000: value 1000 is reflectance 0, 4000 is 0.3.
    low, high = (v * source.unit_scale + source.unit_offset for v in source.value_range)  # type: ignore[operator]
    assert (low, high) == pytest.approx((0.0, 0.3))
    assert [scene.label_year for scene in source.scenes(tmp_path)] == [2020, 2019]
    assert build(tmp_path, bands=("B04", "B03", "B02")).unit_scale is None


def test_scenes_can_be_sent_to_other_processes(tmp_path: Path) -> None:
    write_band_files(tmp_path)
    write_mask(tmp_path)
    (scene,) = build(tmp_path, bands=("B04", "B03", "B02")).scenes(tmp_path)
    sent = pickle.loads(pickle.dumps(scene))
    assert (sent.read(WINDOW).image == scene.read(WINDOW).image).all()
    assert sent.parts() == [sent]
    assert sent.holds(WINDOW)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bands": (1, 2, 3), "nir_band": "B08"}, "both be numbers, or both names"),
        ({"bands": (0, 1, 2)}, "counted from 1"),
        ({"reflectance_offset": -0.1}, "needs reflectance_scale"),
    ],
)
def test_settings_that_contradict_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        folder_source.Settings(folder=Path("x"), **options)


def test_a_mask_with_too_many_bands_is_told(tmp_path: Path) -> None:
    write_band_files(tmp_path)
    write_mask(tmp_path)
    geotiff.write_geotiff(tmp_path / "masks" / "cell.tif", np.zeros((3, 40, 60), np.int16), UTM)
    with pytest.raises(PairError, match=r"cell\.tif: mask_style is codes, which takes 1 band,"):
        build(tmp_path, bands=("B04", "B03", "B02")).scenes(tmp_path)


def test_a_real_cell_of_band_files_is_read(shared_data: Path, tmp_path: Path) -> None:
    cell = shared_data / "tiles" / "sentinel2_199U_1099R"
    if not cell.is_dir():
        pytest.skip(f"needs {cell}")
    info = geotiff.read_info(cell / "B04.tif")
    assert info.grid is not None
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "cell").symlink_to(cell)
    (tmp_path / "masks").mkdir()
    codes = np.indices((info.height, info.width)).sum(axis=0) % 2
    geotiff.write_geotiff(tmp_path / "masks" / "any.tif", codes[None].astype(np.uint8), info.grid)
    source = build(
        tmp_path,
        pair_by="footprint",
        bands=("B04", "B03", "B02"),
        nir_band="B08",
        cloud_mask="cloud_mask.tif",
        value_range=(0, 3000),
        reflectance_scale=1e-4,
    )
    source.acquire(tmp_path)
    (scene,) = source.scenes(tmp_path)
    assert (scene.height, scene.width) == (1068, 1068)
    assert scene.grid is not None
    assert scene.grid.crs == "EPSG:32648"
    whole = Window(0, 0, 1068, 1068)
    pixels = scene.read(Window(300, 400, 256, 256))
    assert pixels.image.shape == (256, 256, 4)
    assert (pixels.labels == codes[300:556, 400:656]).all()
    assert pixels.cloud is not None
    assert not pixels.cloud.any()
    # These numbers carry no offset of 1000: most of them lie below it, and as they are they are
    # what clear ground under vegetation reflects.
    image = scene.read(whole).image
    assert (image[..., 2] < 1000).mean() > 0.9
    reflectance = image * source.unit_scale + source.unit_offset  # type: ignore[operator]
    red, _, blue, nir = np.median(reflectance, axis=(0, 1))
    assert 0.03 < blue < red < 0.1 < 0.2 < nir < 0.35


def test_a_real_label_with_no_data_below_zero_is_read(shared_data: Path, tmp_path: Path) -> None:
    pair = shared_data / "tiles" / "water_pair"
    if not pair.is_dir():
        pytest.skip(f"needs {pair}")
    for kind, name in (("images", "S2Hand"), ("masks", "LabelHand")):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / f"{name}.tif").symlink_to(pair / f"Spain_7370579_{name}.tif")
    source = build(tmp_path, pair_by="footprint", bands=(4, 3, 2), nir_band=8)
    (scene,) = source.scenes(tmp_path)
    pixels = scene.read(Window(0, 0, 512, 512))
    codes = geotiff.read_window(pair / "Spain_7370579_LabelHand.tif", Window(0, 0, 512, 512), (1,))
    assert (pixels.labels == np.where(codes[0] < 0, 255, codes[0])).all()
    assert (pixels.image.dtype, pixels.image.shape) == (np.int16, (512, 512, 4))
    assert source.left_out() == {}
