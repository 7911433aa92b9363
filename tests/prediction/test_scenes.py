"""What is read of a scene: no data, values of any type, bands through files, virtual rasters."""

import numpy as np
import pytest
import rasterio
from tests.prediction.drawn_scenes import DRAWN, predicted, read, smooth_scene, virtual, write

from terraloom.errors import InputError, OutputError, UnequalSizes, UnreadableFile
from terraloom.predicting import predict_scene
from terraloom.prediction.scenes import open_scene, scene_paths
from terraloom.testing import toy_classes


def test_two_hundred_and_fifty_five_marks_what_has_no_data_and_nothing_else(colours, tmp_path):
    truth = np.random.default_rng(1).integers(0, 4, (200, 310))
    image = np.array(toy_classes().colours, dtype=np.uint8)[truth]
    hole = np.zeros(truth.shape, dtype=bool)
    hole[60:150, 100:300] = True
    hole[3, 3] = True
    image[hole] = 0
    image[5, 5], truth[5, 5] = (0, 60, 200), 0  # one band of three is 0: still data
    found = predicted(colours, image, tmp_path, tile=64, overlap=32)
    assert ((found == 255) == hole).all()
    assert (found[~hole] == truth[~hole]).all()


def test_a_declared_no_data_value_goes_before_zero(colours, tmp_path):
    image = np.full((40, 50, 3), 255, dtype=np.uint8)
    image[:20] = (20, 110, 40)
    image[30, 30] = 0
    scene = write(tmp_path / "scene.tif", image, nodata=255)
    predict_scene(colours, toy_classes(), [scene], tmp_path / "map.tif", **DRAWN)
    labels = read(tmp_path / "map.tif")
    assert (labels[:20] == 2).all()
    assert labels[30, 30] != 255
    assert (labels == 255).sum() == 20 * 50 - 1


def test_an_alpha_band_tells_what_has_no_data(colours, tmp_path):
    image = np.zeros((40, 50, 4), dtype=np.uint8)
    image[..., 3] = 255
    image[:10, :, 3] = 0
    scene = write(tmp_path / "scene.tif", image, photometric="rgb", alpha="yes")
    predict_scene(colours, toy_classes(), [scene], tmp_path / "map.tif", **DRAWN)
    assert (
        (read(tmp_path / "map.tif") == 255).sum(axis=1) == np.where(np.arange(40) < 10, 50, 0)
    ).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
def test_values_of_any_type_are_drawn_on_the_scale_that_is_given(dtype, colours, tmp_path):
    truth = np.random.default_rng(2).integers(0, 4, (70, 90))
    drawn = np.array(toy_classes().colours)[truth]
    image = (1000 + drawn * 3000 / 255).astype(dtype)
    if dtype == np.float32:
        image[4, 4] = np.nan
        image[5, 5, 0] = np.nan
    scene = write(tmp_path / "scene.tif", image)
    made = predict_scene(colours, toy_classes(), [scene], tmp_path / "map.tif", low=1000, high=4000)
    labels = read(tmp_path / "map.tif")
    known = np.ones(truth.shape, dtype=bool)
    if dtype == np.float32:
        assert labels[4, 4] == 255
        known[4, 4] = known[5, 5] = False
    assert (labels[known] == truth[known]).all()
    assert made.clipped_share == 0.0
    blind = predict_scene(
        colours, toy_classes(), [scene], tmp_path / "dark.tif", low=5000, high=9000
    )
    assert blind.clipped_share == 1.0


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_pixel_that_is_no_number_in_one_band_is_unknown(wrong, colours, tmp_path):
    image = np.full((40, 50, 3), 100, dtype=np.float32)
    image[4, 4] = wrong
    image[5, 5, 2] = wrong
    image[6, 6, 0] = 0
    scene = write(tmp_path / "scene.tif", image)
    predict_scene(colours, toy_classes(), [scene], tmp_path / "map.tif", **DRAWN)
    unknown = read(tmp_path / "map.tif") == 255
    assert sorted(zip(*np.nonzero(unknown), strict=True)) == [(4, 4), (5, 5)]


def test_a_no_data_value_that_floats_cannot_hold_is_found(colours, tmp_path):
    image = np.full((40, 50, 3), 100, dtype=np.float32)
    image[:10] = -9999.9
    image[20, 20] = 0
    scene = write(tmp_path / "scene.tif", image, nodata=-9999.9)
    predict_scene(colours, toy_classes(), [scene], tmp_path / "map.tif", **DRAWN)
    assert ((read(tmp_path / "map.tif") == 255).sum(axis=1) == [50] * 10 + [0] * 30).all()


def test_what_one_file_of_several_masks_out_is_unknown(colours, tmp_path):
    band = np.full((40, 50, 1), 100, dtype=np.uint8)
    red, green, blue = (write(tmp_path / f"{n}.tif", band) for n in ("red", "green", "blue"))
    mask = np.full((40, 50), 255, dtype=np.uint8)
    mask[:7] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(green, "r+") as file:
        file.write_mask(mask)
    predict_scene(colours, toy_classes(), [red, green, blue], tmp_path / "map.tif", **DRAWN)
    assert ((read(tmp_path / "map.tif") == 255) == (mask == 0)).all()


def test_bands_are_counted_through_all_files_in_turn(colours, tmp_path):
    truth = np.random.default_rng(3).integers(0, 4, (70, 90))
    drawn = np.array(toy_classes().colours, dtype=np.uint8)[truth]
    nir = np.full((70, 90, 1), 9, dtype=np.uint8)
    blue, green, red = (
        write(tmp_path / f"B0{n}.tif", drawn[..., band : band + 1])
        for n, band in ((2, 2), (3, 1), (4, 0))
    )
    rest = write(tmp_path / "rest.tif", np.concatenate([nir, drawn], axis=2))
    for paths, bands in (
        ([red, green, blue], (1, 2, 3)),
        ([blue, green, red], (3, 2, 1)),
        ([rest], (2, 3, 4)),
        ([rest, green], (2, 5, 4)),
    ):
        out = tmp_path / "map.tif"
        predict_scene(colours, toy_classes(), paths, out, bands=bands, overwrite=True, **DRAWN)
        assert (read(out) == truth).all()


def test_a_virtual_raster_is_a_scene_as_any_other(colours, tmp_path):
    truth = np.random.default_rng(3).integers(0, 4, (70, 90))
    write(tmp_path / "scene.tif", np.array(toy_classes().colours, dtype=np.uint8)[truth])
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{b}"><SimpleSource><SourceFilename '
        f'relativeToVRT="1">scene.tif</SourceFilename><SourceBand>{b}</SourceBand>'
        "</SimpleSource></VRTRasterBand>"
        for b in (1, 2, 3)
    )
    (tmp_path / "scene.vrt").write_text(
        f'<VRTDataset rasterXSize="90" rasterYSize="70">{bands}</VRTDataset>'
    )
    out = tmp_path / "map.tif"
    predict_scene(colours, toy_classes(), [tmp_path / "scene.vrt"], out, **DRAWN)
    assert (read(out) == truth).all()


def test_virtual_rasters_that_cannot_be_drawn_or_read_are_told(colours, tmp_path):
    write(tmp_path / "byte.tif", np.ones((40, 50, 1), np.uint8))
    write(tmp_path / "word.tif", np.ones((40, 50, 1), np.uint16))
    byte, word = ("Byte", "byte.tif"), ("UInt16", "word.tif")
    mixed = virtual(tmp_path / "mixed.vrt", byte, word, byte, byte)
    with pytest.raises(InputError, match=r"mixed\.vrt holds bands of different types \(uint16, ui"):
        open_scene([mixed], (1, 2, 3))
    assert open_scene([mixed], (1, 3, 4)).dtypes == ("uint8",)
    torn = virtual(tmp_path / "torn.vrt", byte, byte, ("Byte", "gone.tif"))
    with pytest.raises(UnreadableFile, match=r"torn\.vrt cannot be read"):
        predict_scene(colours, toy_classes(), [torn], tmp_path / "map.tif", **DRAWN)
    assert not (tmp_path / "map.tif").exists()


def test_a_map_never_replaces_a_file_that_a_virtual_scene_is_read_from(colours, tmp_path):
    source = write(tmp_path / "source.tif", np.ones((40, 50, 1), np.uint8))
    scene = virtual(tmp_path / "scene.vrt", *[("Byte", "source.tif")] * 3)
    before = source.read_bytes()
    with pytest.raises(OutputError, match="is the scene itself, or a part of it"):
        predict_scene(colours, toy_classes(), [scene], source, overwrite=True, **DRAWN)
    assert source.read_bytes() == before


def test_names_between_commas_are_files_and_a_name_with_a_comma_is_one(tmp_path):
    assert scene_paths("a.tif, b.tif") == [scene_paths("a.tif")[0], scene_paths("b.tif")[0]]
    (tmp_path / "x,y.tif").touch()
    assert scene_paths(str(tmp_path / "x,y.tif")) == [tmp_path / "x,y.tif"]


def test_bands_that_are_not_there_and_files_that_do_not_match_are_told(tmp_path):
    image = smooth_scene(40, 50)
    one = write(tmp_path / "one.tif", image)
    small = write(tmp_path / "small.tif", image[:20])
    moved = write(tmp_path / "moved.tif", image, transform=(10, 0, 500_010, 0, -10, 4_300_000))
    bare = write(tmp_path / "bare.tif", image, crs=None)
    with pytest.raises(InputError, match=r"band 4 was asked for; one\.tif has 3 bands"):
        open_scene([one], (1, 2, 4))
    with pytest.raises(InputError, match="band 0 was asked for"):
        open_scene([one], (0, 1, 2))
    with pytest.raises(UnequalSizes, match=r"50×40 pixels, small\.tif 50×20"):
        open_scene([one, small], (1, 2, 3))
    for other in (moved, bare):
        with pytest.raises(UnequalSizes, match="lie in different places"):
            open_scene([one, other], (1, 2, 3))
    with pytest.raises(InputError, match=r"nowhere\.tif is not there"):
        open_scene([tmp_path / "nowhere.tif"], (1,))


def test_a_real_cell_of_one_file_per_band_is_predicted(unet, shared_data, tmp_path):
    cell = shared_data / "tiles" / "sentinel2_199U_1099R"
    if not cell.is_dir():
        pytest.skip(f"needs {cell}")
    bands = [cell / f"{name}.tif" for name in ("B04", "B03", "B02")]
    made = predict_scene(
        unet, toy_classes(), bands, tmp_path / "map.tif", low=0, high=3000
    ).to_json()
    assert (made["height"], made["width"], made["crs"]) == (1068, 1068, "EPSG:32648")
    assert made["unknown_pixels"] == 0
    # 1068 × 1068 pixels of 10 m, a degree from the middle of the zone.
    assert made["km2"] == pytest.approx(114.06, rel=2e-3)
    with rasterio.open(tmp_path / "map.tif") as file, rasterio.open(bands[0]) as scene:
        assert (file.crs, file.transform) == (scene.crs, scene.transform)
        assert (file.read(1) < 4).all()
    # The middle of one tile is what the network sees in that tile alone.
    image = np.stack([read(path)[192:448, 384:640] for path in bands], axis=-1)
    drawn = np.rint(255 * np.clip(image / 3000, 0, 1)).astype(np.uint8)
    alone = unet.probabilities([drawn])[0].argmax(axis=0)
    found = read(tmp_path / "map.tif")[192:448, 384:640]
    assert (alone[64:-64, 64:-64] == found[64:-64, 64:-64]).mean() > 0.9999
