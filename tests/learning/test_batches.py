"""One stream, one batch; labels and trust go wherever their pixels go."""

import numpy as np
import pytest
import torch

from terraloom.dataset.rows import Row, TrainRows
from terraloom.learning.batches import draw_batch, image_tensor
from terraloom.seeds import generator_at
from terraloom.testing import coordinate_labels, coordinate_row, toy_rows

AUGMENTS = ("none", "geometry", "paper", "strong")
ROWS = TrainRows((coordinate_row(41, 53), coordinate_row(64, 35)))


def drawn(augment, step=0, rows=ROWS, batch=16, crop=32):
    return draw_batch(rows, batch, crop, augment, generator_at(7, "step", step))


@pytest.mark.parametrize("augment", AUGMENTS)
def test_the_same_stream_draws_the_same_batch(augment):
    first, second, other = drawn(augment), drawn(augment), drawn(augment, step=1)
    for name in ("images", "labels", "trust"):
        assert torch.equal(getattr(first, name), getattr(second, name))
        assert not torch.equal(getattr(first, name), getattr(other, name))


@pytest.mark.parametrize("augment", AUGMENTS)
def test_a_batch_has_the_promised_shapes_and_ranges(augment):
    batch = drawn(augment)
    assert batch.images.shape == (16, 3, 32, 32)
    assert batch.images.dtype == torch.float32
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert 0 <= float(batch.images.min()) <= float(batch.images.max()) <= 1
    assert batch.labels.shape == batch.trust.shape == (16, 32, 32)
    assert batch.labels.dtype == torch.int64
    assert 0 <= float(batch.trust.min()) <= float(batch.trust.max()) <= 1


@pytest.mark.parametrize("augment", ["none", "geometry"])
def test_labels_and_trust_follow_their_pixels(augment):
    batch = drawn(augment, batch=40)
    coordinates = (batch.images * 255).round().long().numpy()
    expected = coordinate_labels(coordinates[:, 0], coordinates[:, 1])
    np.testing.assert_array_equal(batch.labels.numpy(), expected)
    trust = (batch.trust * 255).round().long()
    np.testing.assert_array_equal(trust.numpy(), 255 - expected.astype(int))


def test_turned_crops_come_in_all_eight_attitudes():
    batch = drawn("geometry", batch=120)
    pixels = (batch.images * 255).round().long().numpy()
    # What row and column do along each axis tells the attitude.
    steps = {
        tuple(int(p[band, *along] - p[band, 0, 0]) for band in (0, 1) for along in ((1, 0), (0, 1)))
        for p in pixels
    }
    assert len(steps) == 8
    straight = (drawn("none").images * 255).round().long().numpy()
    assert {int(p[0, 1, 0] - p[0, 0, 0]) for p in straight} == {1}


@pytest.mark.parametrize("augment", ["paper", "strong"])
def test_labels_follow_their_pixels_when_colours_change_too(augment):
    # Left half dark of label 0, right half bright of label 1: order of brightness must survive.
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    image[:, :] = 60
    image[:, 40:] = 190
    mask = (np.arange(64)[None] >= 40).astype(np.uint8).repeat(64, axis=0)
    batch = drawn(augment, rows=TrainRows((Row("edge", None, image, mask, None),)), batch=30)
    bright = batch.images.mean(dim=1)
    checked = 0
    for pixels, labels in zip(bright, batch.labels, strict=True):
        if labels.min() == labels.max():
            continue
        middle = (pixels[labels == 0].mean() + pixels[labels == 1].mean()) / 2
        assert pixels[labels == 0].mean() < pixels[labels == 1].mean()
        # Only the resampled edge may stray to the other side.
        assert float(((pixels > middle) == (labels == 1)).float().mean()) > 0.97
        checked += 1
    assert checked > 10


@pytest.mark.parametrize("augment", AUGMENTS)
def test_unknown_stays_unknown_and_no_label_is_invented(augment):
    train, _ = toy_rows(3)
    batch = drawn(augment, rows=train, batch=60)
    assert set(batch.labels.unique().tolist()) == {0, 1, 2, 3, 255}


def test_strong_crops_differ_in_scale():
    batch = drawn("strong", batch=60, crop=32)
    # Red rises by 1/255 a row (or column) at scale 1; crops of 23 … 45 pixels are brought to 32.
    red = batch.images[:, 0]
    slopes = torch.maximum(
        (red[:, -1] - red[:, 0]).abs().mean(dim=1), (red[:, :, -1] - red[:, :, 0]).abs().mean(dim=1)
    )
    assert float(slopes.max() / slopes.min()) > 1.4


def test_rows_without_trust_are_trusted_fully():
    train, _ = toy_rows(2)
    assert float(drawn("geometry", rows=train).trust.min()) == 1


def test_rows_are_drawn_evenly():
    rows = TrainRows(
        tuple(
            Row(str(i), None, np.full((32, 32, 3), i, np.uint8), np.zeros((32, 32), np.uint8), None)
            for i in range(4)
        )
    )
    batch = drawn("none", rows=rows, batch=4000)
    counts = torch.bincount((batch.images[:, 0, 0, 0] * 255).round().long(), minlength=4)
    # Binomial with p = 1/4: 5 deviations are 137.
    assert float((counts - 1000).abs().max()) < 137


def test_an_image_tensor_keeps_values_and_order():
    images = [np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) + 7 * i for i in range(2)]
    tensor = image_tensor(images)
    assert tensor.shape == (2, 3, 2, 3)
    assert float(tensor[1, 2, 0, 1] * 255) == pytest.approx(images[1][0, 1, 2])


@pytest.mark.parametrize("augment", AUGMENTS)
def test_part_of_a_batch_is_that_part_of_it(augment):
    whole = drawn(augment)
    part = draw_batch(ROWS, 16, 32, augment, generator_at(7, "step", 0), slice(4, 8))
    assert part.ids == whole.ids[4:8]
    for name in ("images", "labels", "trust"):
        torch.testing.assert_close(getattr(part, name), getattr(whole, name)[4:8], rtol=0, atol=0)
