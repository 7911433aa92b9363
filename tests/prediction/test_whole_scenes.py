"""Whole scenes: nothing is shifted, no seams, what tiles and batches may not change."""

import math

import numpy as np
import pytest
from tests.prediction.drawn_scenes import predicted, smooth_scene

from terraloom import predicting
from terraloom.testing import toy_classes


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
