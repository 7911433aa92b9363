"""Tiles: weights sum to one, blocks of columns hold every tile over them."""

import numpy as np
import pytest

from terraloom.errors import InputError
from terraloom.prediction.tiling import Axis, default_overlap


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
