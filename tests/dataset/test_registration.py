"""Registration: shifts that were put in come out, and what cannot be known raises no flag."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from terraloom.dataset.registration import (
    MIN_CONFIDENCE,
    SHIFT_LIMIT,
    correlation_surface,
    measure_shift,
    pooled_shift,
    shift_of,
)
from terraloom.landscape import grow_landscape
from terraloom.seeds import generator_at

FINE = 5
"""Pixels of the fine landscape along one pixel of the image."""


def to_u8(reflectance: np.ndarray) -> np.ndarray:
    """Reflectance "band height width" as the default scale draws it, "height width 3"."""
    return np.rint(255 * np.clip(np.moveaxis(reflectance[:3], 0, -1) / 0.3, 0, 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, np.ndarray]:
    """Image and codes of 300 × 320 pixels."""
    land = grow_landscape(4000, -900, 300, 320, seed=5)
    return to_u8(land.reflectance), land.codes


@pytest.fixture(scope="module")
def fine_world() -> tuple[np.ndarray, np.ndarray]:
    """Image of 148 × 148 pixels of 10 m, and codes of 2 m."""
    side = 148
    land = grow_landscape(-3000, 700, side * FINE, side * FINE, seed=11, pixel_size_m=10 / FINE)
    means = land.reflectance.reshape(4, side, FINE, side, FINE).mean(axis=(2, 4))
    return to_u8(means), land.codes


def cut(
    world: tuple[np.ndarray, np.ndarray],
    rows: int,
    columns: int,
    height: int = 128,
    width: int = 128,
    at: tuple[int, int] = (20, 20),
) -> tuple[np.ndarray, np.ndarray]:
    """A patch whose labels lie so many pixels below and right of its image."""
    image, codes = world
    top, left = at
    return (
        image[top : top + height, left : left + width],
        codes[top - rows : top - rows + height, left - columns : left - columns + width],
    )


def test_labels_below_and_right_of_the_image_count_as_positive() -> None:
    # One bright rectangle each, drawn by hand: no convention of an array library is trusted.
    image, labels = np.full((64, 64, 3), 60, dtype=np.uint8), np.zeros((64, 64), dtype=np.uint8)
    image[20:40, 24:40] = 200
    labels[23:43, 22:38] = 1  # 3 rows down, 2 columns left
    shift = measure_shift(image, labels)
    assert shift.rows == pytest.approx(3, abs=0.1)
    assert shift.columns == pytest.approx(-2, abs=0.1)
    assert shift.distance == pytest.approx(13**0.5, abs=0.2)
    assert shift.is_flagged()


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(-7, 7), columns=st.integers(-7, 7))
def test_whole_shifts_come_out(
    world: tuple[np.ndarray, np.ndarray], rows: int, columns: int
) -> None:
    shift = measure_shift(*cut(world, rows, columns))
    # Near the rim of the shifts looked at, half of the patch's edges have left its taper.
    error = 0.25 if np.hypot(rows, columns) <= 5 else 0.6
    assert (shift.rows, shift.columns) == pytest.approx((rows, columns), abs=error)
    length = float(np.hypot(rows, columns))
    if abs(length - SHIFT_LIMIT) > error:  # a diagonal step of one lies within the error
        assert shift.is_flagged() == (length > SHIFT_LIMIT)


@pytest.mark.parametrize("size", [(64, 64), (117, 143), (191, 192), (224, 224), (256, 225)])
def test_patches_of_any_size_are_measured(
    world: tuple[np.ndarray, np.ndarray], size: tuple[int, int]
) -> None:
    shift = measure_shift(*cut(world, 2, -3, *size))
    assert (shift.rows, shift.columns) == pytest.approx((2, -3), abs=0.2)
    assert shift.is_flagged()


def test_fractions_of_a_pixel_come_out_without_bias(
    fine_world: tuple[np.ndarray, np.ndarray],
) -> None:
    image, codes = fine_world
    errors = []
    for down in range(-7, 8, 2):
        for right in range(-6, 7, 3):
            # The pixel's centre is fine pixel 2 of 5; labels lie down/5 and right/5 pixels beside.
            labels = codes[10 * FINE + 2 - down :: FINE, 10 * FINE + 2 - right :: FINE][:128, :128]
            shift = measure_shift(image[10:138, 10:138], labels)
            errors.append((shift.rows - down / FINE, shift.columns - right / FINE))
    assert np.abs(np.mean(errors, axis=0)).max() < 0.05
    assert np.sqrt(np.square(errors).mean()) < 0.1


def test_turning_the_patch_turns_the_shift(world: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = cut(world, 3, -2)
    shift = measure_shift(image, labels)
    turned = measure_shift(image.transpose(1, 0, 2), labels.T)
    assert (turned.columns, turned.rows) == pytest.approx((shift.rows, shift.columns), abs=0.03)
    upside_down = measure_shift(image[::-1], labels[::-1])
    assert upside_down.rows == pytest.approx(-shift.rows, abs=0.03)
    assert upside_down.columns == pytest.approx(shift.columns, abs=0.03)


def test_names_of_labels_and_the_sign_of_brightness_do_not_matter(
    world: tuple[np.ndarray, np.ndarray],
) -> None:
    image, labels = cut(world, 1, 4)
    renamed = generator_at(0, "names").permutation(255).astype(np.uint8)[labels]
    shift = measure_shift(image, labels)
    for other in (measure_shift(image, renamed), measure_shift(255 - image, labels)):
        assert vars(other) == pytest.approx(vars(shift), abs=0.02)


def test_the_band_that_the_classes_explain_is_found(world: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = cut(world, -2, 2)
    noise = generator_at(1, "noise").integers(0, 256, image.shape[:2]).astype(np.uint8)
    flat = np.full_like(noise, 90)
    shift = measure_shift(np.stack([noise, flat, image[:, :, 0], noise.T], axis=-1), labels)
    assert vars(shift) == pytest.approx(vars(measure_shift(image[:, :, :1], labels)), abs=0.01)


def test_borders_of_unknown_pixels_are_no_edges(world: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = cut(world, 0, 0)
    # Unknown wherever the image, moved by three rows, is bright: its edges would tell 3.
    bright = np.roll(image.mean(axis=-1) > np.median(image), 3, axis=0)
    one_class = np.where(bright, 255, 7).astype(np.uint8)
    assert not correlation_surface(image, one_class).any()
    rows, columns = np.mgrid[:128, :128]
    holes = labels.copy()
    holes[(rows % 40 < 12) & (columns % 36 < 12)] = 255
    shift = measure_shift(image, holes)
    assert (shift.rows, shift.columns) == pytest.approx((0, 0), abs=0.1)


@pytest.mark.parametrize("case", ["one class", "unknown", "tiny blob", "no contrast", "small"])
def test_nothing_to_compare_is_no_shift_without_confidence(
    world: tuple[np.ndarray, np.ndarray], case: str
) -> None:
    image, labels = cut(world, 3, 3)
    labels = labels.copy()
    if case == "one class":
        labels[:] = 40
    elif case == "unknown":
        labels[:] = 255
    elif case == "tiny blob":
        labels[:] = 40
        labels[60:66, 50:56] = 80
    elif case == "no contrast":
        image = np.full_like(image, 128)
    else:
        image, labels = image[:31], labels[:31]
    assert not correlation_surface(image, labels).any()
    shift = measure_shift(image, labels)
    assert (shift.rows, shift.columns, shift.confidence) == (0.0, 0.0, 0.0)
    assert not shift.is_flagged()


def test_labels_of_another_place_are_not_believed(world: tuple[np.ndarray, np.ndarray]) -> None:
    image, codes = world
    other = grow_landscape(90_000, 5_000, 300, 320, seed=6).codes
    shifts = [
        measure_shift(image[y : y + 100, x : x + 100], other[y : y + 100, x : x + 100])
        for y in range(0, 201, 40)
        for x in range(0, 201, 40)
    ]
    assert max(s.confidence for s in shifts) < MIN_CONFIDENCE
    assert codes.shape == other.shape


def test_a_straight_border_does_not_tell_where_along_it_the_labels_lie(
    world: tuple[np.ndarray, np.ndarray],
) -> None:
    image, labels = cut(world, 0, 0)
    halves = np.zeros_like(labels)
    halves[:, 70:] = 1
    assert not measure_shift(image, halves).is_flagged()


def test_pooling_finds_what_single_noisy_patches_cannot(
    world: tuple[np.ndarray, np.ndarray],
) -> None:
    # The landscape drowns in noise: 32 px patches, of which hardly one is believed.
    dice = generator_at(2, "noise")
    surfaces = []
    for y in range(10, 250, 40):
        for x in range(10, 250, 40):
            image, labels = cut(world, 2, 1, 40, 40, (y, x))
            noisy = image + dice.normal(0, 50, image.shape)
            surfaces.append(
                correlation_surface(np.clip(np.rint(noisy), 0, 255).astype(np.uint8), labels)
            )
    believed = [shift_of(s).is_flagged() for s in surfaces]
    assert np.mean(believed) < 0.5
    pooled = pooled_shift(iter(surfaces))
    assert (pooled.rows, pooled.columns) == pytest.approx((2, 1), abs=0.2)
    assert pooled.is_flagged()


def test_patches_without_edges_add_nothing_to_a_pool(world: tuple[np.ndarray, np.ndarray]) -> None:
    surface = correlation_surface(*cut(world, 2, 1))
    assert pooled_shift([np.zeros_like(surface), surface]) == shift_of(surface)


def test_the_top_of_a_surface_is_found_between_pixels() -> None:
    rows, columns = np.mgrid[-8:9, -8:9]
    hill = 10.0 - (rows - 2.3) ** 2 - 0.5 * (columns + 3.4) ** 2
    shift = shift_of(np.where(hill > 5, hill, 0.0) + 1e-3 * (rows % 2))
    assert (shift.rows, shift.columns) == pytest.approx((2.3, -3.4), abs=0.011)


def test_confidence_is_the_peak_in_deviations_of_the_sidelobes() -> None:
    surface = np.zeros((9, 9))
    surface[4, 4] = 5.0
    surface[0] = 1.0  # 9 of the 81 − 25 sidelobes
    mean = 9 / 56
    deviation = (mean * (1 - mean)) ** 0.5
    assert shift_of(surface).confidence == pytest.approx((5 - mean) / deviation, abs=0.005)


def test_a_peak_on_the_rim_is_not_believed() -> None:
    surface = np.zeros((17, 17))
    surface[16, 5] = 1.0
    surface[3, 3] = 0.2
    shift = shift_of(surface)
    assert (shift.rows, shift.columns, shift.confidence) == (8.0, -3.0, 0.0)


def test_the_surface_is_the_same_each_time_and_agreement_is_bounded(
    world: tuple[np.ndarray, np.ndarray],
) -> None:
    image, labels = cut(world, 0, 0)
    surface = correlation_surface(image, labels, reach=5)
    assert surface.dtype == np.float32
    assert surface.shape == (11, 11)
    assert surface.tobytes() == correlation_surface(image, labels, reach=5).tobytes()
    assert 0 < surface.max() <= 1
    # An image that shows its labels and nothing else agrees in every frequency.
    drawn = np.repeat((labels * 2)[:, :, None], 3, axis=-1)
    assert correlation_surface(drawn, labels).max() > 0.9


def test_wrong_input_is_refused(world: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = cut(world, 0, 0)
    with pytest.raises(ValueError, match="differ in size"):
        measure_shift(image, labels[1:])
    with pytest.raises(ValueError, match="use 4 or more"):
        measure_shift(image, labels, reach=3)
    with pytest.raises(ValueError, match="no surfaces"):
        pooled_shift([])


def test_on_real_pairs_two_pixels_are_found_and_nothing_else_is_flagged(shared_data: Path) -> None:
    folder = shared_data / "worldcover_pairs"
    with (folder / "index.csv").open(encoding="utf-8", newline="") as file:
        ids = [row["id"] for row in csv.DictReader(file)][::3]
    flagged_as_is, flagged_moved, differences = [], [], []
    for name in ids:
        image = np.asarray(Image.open(folder / "images" / f"{name}.png").convert("RGB"))
        labels = np.asarray(Image.open(folder / "masks" / f"{name}.png"))
        as_is = measure_shift(image[4:-4, 4:-4], labels[4:-4, 4:-4])
        moved = measure_shift(image[4:-4, 4:-4], labels[4:-4, 2:-6])
        flagged_as_is.append(as_is.is_flagged())
        flagged_moved.append(moved.is_flagged())
        if min(as_is.confidence, moved.confidence) >= MIN_CONFIDENCE:
            differences.append((moved.rows - as_is.rows, moved.columns - as_is.columns - 2))
    assert np.mean(flagged_as_is) <= 0.01
    assert np.mean(flagged_moved) >= 0.85
    assert np.median(np.abs(differences)) < 0.05
