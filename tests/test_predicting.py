"""Whole scenes: nothing shifted, no seams, any place and type, bounded memory, honest counts."""

import json
import math
import signal
import subprocess
import sys

import numpy as np
import pytest
import rasterio
import torch
from pyproj import Geod
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine
from scipy.ndimage import gaussian_filter
from torch import nn

from terraloom import predicting
from terraloom.classes import ClassTable, LandClass, preset
from terraloom.errors import (
    InputError,
    OutputError,
    RunError,
    SettingsError,
    UnequalSizes,
    UnreadableFile,
)
from terraloom.learning.device import make_fabric
from terraloom.predicting import map_values, predict_scene
from terraloom.prediction.areas import CELL, cell_areas, counts_by_cell
from terraloom.prediction.scenes import open_scene, scene_paths
from terraloom.prediction.tiling import Axis, default_overlap
from terraloom.raster import geotiff
from terraloom.raster.grid import Grid, Window
from terraloom.segmenters._face import Segmenter
from terraloom.segmenting import Recipe, TrainedSegmenter, train_segmenter
from terraloom.testing import colour_labeller, tiny_training, toy_classes, toy_rows

UTM = (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_300_000.0)
DRAWN = {"low": 0, "high": 255}


@pytest.fixture(scope="module")
def fabric():
    return make_fabric(1)


@pytest.fixture(scope="module")
def colours(fabric):
    """A segmenter that looks at single pixels."""
    return colour_labeller(fabric)


@pytest.fixture(scope="module")
def unet(tmp_path_factory, fabric):
    """A small U-Net that has learnt the toy colours for a few seconds."""
    training = tiny_training(images=400, batch_size=8, learning_rate=5e-3, ema=0.9)
    return train_segmenter(
        *toy_rows(8, 4),
        Recipe("unet", {}, "small", 4, training),
        tmp_path_factory.mktemp("unet"),
        seed=0,
        fabric=fabric,
        description="a test",
    )


class NearNetwork(Segmenter):
    """Random convolutions over two scales, stride 4: sees 22 pixels far, and no farther."""

    def __init__(self):
        torch.manual_seed(3)
        super().__init__(nn.Identity(), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 32)

        def block(inputs, outputs, stride=1):
            layer = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
            nn.init.kaiming_normal_(layer.weight)
            return nn.Sequential(layer, nn.ReLU())

        self.fine = block(3, 8)
        self.coarse = nn.Sequential(block(8, 8, 2), block(8, 8, 2), block(8, 8))
        self.up = nn.Upsample(scale_factor=4, mode="nearest")
        self.head = nn.Conv2d(16, 4, 3, padding=1)

    def forward(self, images):
        fine = self.fine((images - self.mean) / self.std)
        return self.head(torch.cat([fine, self.up(self.coarse(fine))], dim=1))


@pytest.fixture(scope="module")
def near(fabric):
    return TrainedSegmenter(NearNetwork().eval(), fabric, 4, {})


def smooth_scene(height, width, seed=0, sigma=12.0):
    """Land that changes gradually between the toy colours, uint8 "height width 3"."""
    random = np.random.default_rng(seed)
    fields = np.stack(
        [gaussian_filter(random.normal(size=(height, width)), sigma) for _ in range(4)]
    )
    shares = np.exp(3 * fields / fields.std())
    shares /= shares.sum(axis=0)
    mixed = np.moveaxis(shares, 0, -1) @ np.array(toy_classes().colours, dtype=float)
    grain = random.normal(0, 4, size=mixed.shape)
    return np.clip(mixed + grain, 1, 255).round().astype(np.uint8)


def write(path, image, *, crs="EPSG:32636", transform=UTM, nodata=None, **options):
    """A GeoTIFF of an image "height width band"."""
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=image.shape[2],
        height=image.shape[0],
        width=image.shape[1],
        dtype=image.dtype,
        crs=crs,
        transform=None if transform is None else Affine(*transform),
        nodata=nodata,
        **options,
    ) as file:
        file.write(np.moveaxis(image, -1, 0))
    return path


def read(path):
    with rasterio.open(path) as file:
        return file.read(1)


def predicted(segmenter, image, folder, name="scene", **options):
    """The map of an image, as an array."""
    scene = write(folder / f"{name}.tif", image)
    out = folder / f"{name}-map.tif"
    predict_scene(segmenter, toy_classes(), [scene], out, overwrite=True, **DRAWN, **options)
    return read(out)


# Tiles and weights


@pytest.mark.parametrize("length", [1, 31, 32, 100, 128, 129, 191, 192, 193, 1000])
@pytest.mark.parametrize("overlap", [0, 32, 64])
def test_weights_of_all_tiles_sum_to_one_on_every_pixel(length, overlap):
    axis = Axis.of(length, 128, overlap)
    total = np.zeros(axis.count * axis.step + axis.tile)
    for index in range(axis.count):
        start = index * axis.step
        total[start : start + axis.tile] += axis.weights(index)
        assert start % 32 == 0
    np.testing.assert_allclose(total[:length], 1.0, rtol=1e-6)


def test_the_ends_of_tiles_weigh_nothing_but_at_the_borders_of_the_scene():
    axis = Axis.of(300, 128, 64)
    assert axis.count == 4
    first, middle = axis.weights(0), axis.weights(1)
    assert (first[:64] == 1).all()
    assert (middle[:16] == 0).all()
    assert (np.diff(middle[16:48]) > 0).all()
    assert (middle[-16:] == 0).all()
    assert (axis.weights(3)[-64:] == 1).all()


@pytest.mark.parametrize("length", [20, 128, 500, 1000])
@pytest.mark.parametrize("most", [2, 3, 100])
def test_blocks_of_columns_decide_every_pixel_once_and_hold_every_tile_over_it(length, most):
    axis = Axis.of(length, 128, 64)
    decided = 0
    for block in axis.blocks(most):
        assert block.start == decided
        assert block.count <= most
        for index in range(axis.count):
            start = index * axis.step
            reaches = start < block.stop and start + axis.tile > block.start
            assert not reaches or block.first <= index < block.after
        decided = block.stop
    assert decided == length


@pytest.mark.parametrize(
    ("tile", "overlap", "least", "told"),
    [
        (100, 32, 32, "must be multiples of 32"),
        (128, 20, 32, "must be multiples of 32"),
        (0, 0, 32, "must be multiples of 32"),
        (128, 96, 32, "it must be 0 … 64"),
        (128, -32, 32, "it must be 0 … 64"),
        (64, 32, 128, "takes 128 or more"),
    ],
)
def test_tiles_that_cannot_be_are_told(tile, overlap, least, told):
    with pytest.raises(InputError, match=told):
        Axis.of(500, tile, overlap, least)


@pytest.mark.parametrize(
    ("tile", "overlap"), [(32, 0), (64, 32), (96, 32), (128, 32), (256, 64), (512, 128), (576, 128)]
)
def test_an_overlap_that_is_left_out_is_a_quarter_of_a_tile(tile, overlap):
    assert default_overlap(tile) == overlap
    Axis.of(1000, tile, overlap)


# Nothing is shifted


@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (5, 300), (33, 47), (128, 128), (129, 127), (301, 523)]
)
def test_every_pixel_of_a_scene_of_any_size_is_in_its_place(height, width, colours, tmp_path):
    truth = np.random.default_rng(0).integers(0, 4, (height, width))
    image = np.array(toy_classes().colours, dtype=np.uint8)[truth]
    assert (predicted(colours, image, tmp_path, tile=128, overlap=64) == truth).all()


def test_a_scene_of_one_tile_is_what_the_network_sees_in_it(unet, tmp_path):
    image = smooth_scene(96, 128)
    plain = unet.probabilities([image])[0].argmax(axis=0)
    assert len(np.unique(plain)) > 1
    assert (predicted(unet, image, tmp_path) == plain).all()


def test_blocks_of_columns_and_batches_change_nothing(near, tmp_path, monkeypatch):
    image = smooth_scene(300, 700)
    whole = predicted(near, image, tmp_path, tile=128, overlap=64)
    monkeypatch.setattr(predicting, "_BLOCK_WIDTH", 1)
    pieces = predicted(near, image, tmp_path, name="again", tile=128, overlap=64, batch=1)
    assert (whole == pieces).all()


def test_batches_are_of_few_sizes_so_that_memory_stays_flat(colours, tmp_path, monkeypatch):
    sizes = []
    plain = predicting._Work.probabilities

    def noted(work, images):
        sizes.append(len(images))
        return plain(work, images)

    monkeypatch.setattr(predicting._Work, "probabilities", noted)
    image = smooth_scene(700, 700)
    image[:, 500:] = np.where((np.arange(700) < 350)[:, None, None], 0, image[:, 500:])
    predicted(colours, image, tmp_path, tile=64, overlap=32, batch=16)
    # Sixteen tiles see the upper half, twenty-one the lower: 16 + 4 + 1.
    assert set(sizes) == {16, 4, 1}


def test_flips_average_four_views_of_each_tile(near, tmp_path):
    image = smooth_scene(96, 128)
    views = [
        np.flip(near.probabilities([np.ascontiguousarray(np.flip(image, axes))])[0],
                tuple(axis + 1 for axis in axes))
        for axes in ((), (0,), (1,), (0, 1))
    ]  # fmt: skip
    expected = np.mean(views, axis=0).argmax(axis=0)
    assert (expected != views[0].argmax(axis=0)).any()
    assert (predicted(near, image, tmp_path, flips=True) == expected).mean() > 0.999


# Shifts and seams


def agreement(segmenter, folder, shift, border=128, **options):
    """Share of equal labels of a scene and of the same scene without its first rows and columns."""
    image = smooth_scene(640, 640, seed=4)
    down, right = shift
    whole = predicted(segmenter, image, folder, **options)
    shifted = predicted(segmenter, image[down:, right:], folder, name="shifted", **options)
    inside = slice(border, -border)
    first = whole[down:, right:][inside, inside]
    assert len(np.unique(first)) > 1
    return float((first == shifted[inside, inside]).mean())


@pytest.mark.parametrize("shift", [(64, 64), (128, 64), (0, 192)])
def test_a_shift_by_steps_shifts_the_prediction_and_changes_nothing_else(shift, unet, tmp_path):
    assert agreement(unet, tmp_path, shift, tile=128, overlap=64) == 1.0


@pytest.mark.parametrize("shift", [(32, 32), (96, 32), (160, 224)])
def test_a_shift_by_strides_changes_nothing_for_a_network_that_sees_less_than_the_overlap(
    shift, near, tmp_path
):
    assert agreement(near, tmp_path, shift, tile=256, overlap=96) == 1.0
    # Without overlap the same network shows where its tiles end.
    assert agreement(near, tmp_path, shift, tile=256, overlap=0) < 1.0


@pytest.mark.parametrize("shift", [(32, 32), (96, 160)])
def test_a_shift_by_strides_changes_few_labels_of_a_network_that_sees_its_whole_tile(
    shift, unet, tmp_path
):
    # Squeeze-and-excitation averages over the tile, so labels that are nearly even may turn.
    assert agreement(unet, tmp_path, shift, tile=256, overlap=64) > 0.97


def test_an_odd_shift_changes_few_labels(unet, tmp_path):
    assert agreement(unet, tmp_path, (7, 13), tile=256, overlap=64) > 0.93


def seam_excess(labels, step):
    """Standard errors by which labels change more often at multiples of `step` than elsewhere."""
    changes = (labels[:, 1:] != labels[:, :-1]).mean(axis=0)
    columns = np.arange(1, labels.shape[1])
    away = (columns > 32) & (columns < labels.shape[1] - 32)
    at = away & (columns % step == 0)
    elsewhere = away & ~at
    spread = changes[elsewhere].std(ddof=1) / math.sqrt(at.sum())
    return float((changes[at].mean() - changes[elsewhere].mean()) / spread)


def test_labels_change_no_more_often_where_tiles_begin_and_end(unet, tmp_path):
    image = smooth_scene(512, 1056, seed=9)
    blended = predicted(unet, image, tmp_path, tile=128, overlap=64)
    assert len(np.unique(blended)) > 1
    for labels in (blended, blended.T):
        assert seam_excess(labels, 64) < 3.0
    # The same measure sees the seams of tiles that only touch.
    hard = predicted(unet, image, tmp_path, name="hard", tile=64, overlap=0)
    assert seam_excess(hard, 64) > 6.0


# What is read


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


def virtual(path, *bands):
    """A virtual raster of bands, each a GDAL type and a file of one band."""
    told = "".join(
        f'<VRTRasterBand dataType="{kind}" band="{number}"><SimpleSource><SourceFilename '
        f'relativeToVRT="1">{name}</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand>"
        for number, (kind, name) in enumerate(bands, start=1)
    )
    path.write_text(f'<VRTDataset rasterXSize="50" rasterYSize="40">{told}</VRTDataset>')
    return path


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


# What is written


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


# Counts and ground


def test_shares_are_counted_on_the_map(colours, tmp_path):
    image = smooth_scene(150, 170)
    image[:30] = 0
    scene = write(tmp_path / "scene.tif", image)
    made = predict_scene(
        colours, toy_classes(), [scene], tmp_path / "map.tif", tile=64, overlap=32, **DRAWN
    ).to_json()
    labels = read(tmp_path / "map.tif")
    assert made["unknown_pixels"] == (labels == 255).sum() == 30 * 170
    for label, row in enumerate(made["classes"]):
        assert row["pixels"] == (labels == label).sum()
        assert row["share"] == pytest.approx(row["pixels"] / (120 * 170))
        # A UTM zone's middle is drawn at 0.9996 of its size.
        assert row["km2"] == pytest.approx(row["pixels"] * 1e-4 / 0.9996**2, rel=1e-3)
    assert sum(row["area_share"] for row in made["classes"]) == pytest.approx(1)
    json.dumps(made, allow_nan=False)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:4326", (0.25, 0, -180, 0, -0.25, 90)),
        ("EPSG:4326", (1e-3, 0, 179.99, 0, -1e-3, 70)),
        ("EPSG:3857", (1000, 0, 1e6, 0, -1000, 9e6)),
        ("EPSG:3413", (1000, 0, -32_000, 0, -1000, 32_000)),  # around the pole
        ("EPSG:32636", (8.0, 6.0, 500_000.0, 6.0, -8.0, 4_300_000.0)),
    ],
)
def test_the_ground_under_pixels_is_that_of_the_ellipsoid(crs, transform):
    grid = Grid(crs, transform, 64, 64)
    areas = cell_areas(grid, Window(0, 0, 64, 64))
    assert areas.shape == (64 // CELL, 64 // CELL)
    geod = Geod(ellps="WGS84")
    for cell in np.ndindex(areas.shape):
        total = 0.0
        for row in range(cell[0] * CELL, (cell[0] + 1) * CELL):
            # The outline in steps of a pixel, as a geodesic is not a parallel.
            part = grid.part(Window(row, cell[1] * CELL, 1, CELL))
            for column in range(CELL):
                corners = part.part(Window(0, column, 1, 1)).lonlat_corners()
                total += abs(geod.polygon_area_perimeter(corners[:, 0], corners[:, 1])[0]) / 1e6
        assert areas[cell] * CELL**2 == pytest.approx(total, rel=2e-3)


def test_a_whole_earth_has_the_area_of_the_earth():
    areas = cell_areas(
        Grid("EPSG:4326", (0.25, 0, -180, 0, -0.25, 90), 720, 1440), Window(0, 0, 720, 1440)
    )
    assert areas.sum() * CELL**2 == pytest.approx(510_065_622, rel=1e-3)


def test_cells_at_the_edge_are_smaller_and_counted_whole():
    labels = np.random.default_rng(0).integers(0, 5, (37, 21)).astype(np.uint8)
    labels[labels == 4] = 255
    cells = counts_by_cell(labels, 4)
    assert cells.shape == (3, 2, 4)
    assert (cells[2, 1] == [(labels[32:, 16:] == k).sum() for k in range(4)]).all()
    assert cells.sum() == (labels != 255).sum()


def test_a_place_that_is_none_on_earth_has_no_area(colours, tmp_path):
    local = 'LOCAL_CS["site",UNIT["metre",1]]'
    scene = write(tmp_path / "scene.tif", smooth_scene(40, 50), crs=local)
    made = predict_scene(colours, toy_classes(), [scene], tmp_path / "map.tif", **DRAWN)
    assert made.km2 is None


def test_a_coordinate_system_without_a_transform_places_nothing(colours, tmp_path, recwarn):
    scene = write(tmp_path / "scene.tif", smooth_scene(40, 50), transform=None)
    made = predict_scene(colours, toy_classes(), [scene], tmp_path / "map.tif", **DRAWN)
    assert (made.crs, made.km2) == (None, None)


def test_pixels_off_the_earth_need_no_area_where_nothing_is_known(colours, tmp_path):
    # A whole disk as a geostationary satellite sees it: the corners look past the Earth.
    image = smooth_scene(480, 480)
    rows, columns = np.mgrid[:480, :480] - 239.5
    image[np.hypot(rows, columns) > 160] = 0
    disk = "+proj=geos +h=35785831 +lon_0=0 +sweep=y +ellps=WGS84 +units=m"
    scene = write(
        tmp_path / "scene.tif", image, crs=disk,
        transform=(23_210, 0, -5_570_400, 0, -23_210, 5_570_400),
    )  # fmt: skip
    made = predict_scene(colours, toy_classes(), [scene], tmp_path / "map.tif", **DRAWN)
    known = np.hypot(rows, columns) <= 160
    # Seen from straight above at the middle, ever more aslant towards the rim.
    assert 1.1 < made.km2.sum() / (known.sum() * 23.21**2) < 1.6
    image[:40, :40] = 90
    write(scene, image, crs=disk, transform=(23_210, 0, -5_570_400, 0, -23_210, 5_570_400))
    again = predict_scene(
        colours, toy_classes(), [scene], tmp_path / "map.tif", overwrite=True, **DRAWN
    )
    assert again.km2 is None


def test_tiles_without_data_cost_no_forward_pass(colours, tmp_path):
    image = np.zeros((512, 512, 3), dtype=np.uint8)
    image[:32, :32] = (20, 110, 40)
    scene = write(tmp_path / "scene.tif", image)
    made = predict_scene(
        colours, toy_classes(), [scene], tmp_path / "map.tif", tile=64, overlap=32, **DRAWN
    )
    assert made.tiles == 1
    assert made.to_json()["known_pixels"] == 32 * 32


def test_a_scene_without_any_data_is_unknown_everywhere(colours, tmp_path):
    scene = write(tmp_path / "scene.tif", np.zeros((80, 90, 3), dtype=np.uint8))
    made = predict_scene(colours, toy_classes(), [scene], tmp_path / "map.tif", **DRAWN).to_json()
    assert (read(tmp_path / "map.tif") == 255).all()
    assert (made["known_pixels"], made["mean_confidence"], made["km2"]) == (0, None, 0.0)


# Wrong input, and what is left behind


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
    lose = geotiff.MapWriter.write

    def lossy(self, window, values):
        lose(self, window, values)
        self.counts[0] += 1
        self.counts[1] -= 1

    monkeypatch.setattr(geotiff.MapWriter, "write", lossy)
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
from terraloom.raster import geotiff
from terraloom.raster.grid import Window

where, scene, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
die = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
if where == "checked":
    geotiff._counts = die
if where == "renamed":
    os.replace = die
with geotiff.map_writer(out, scene, nodata=255, tags={}, band_name="x") as map_file:
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


# A real scene


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
