"""Windows, scales and thumbnails."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from terraloom.dataset.patches import thumbnail, window_grid
from terraloom.samples import scale_to_u8


def positions(*arguments: object) -> list[tuple[int, int]]:
    return [(w.row, w.column) for w in window_grid(*arguments)]  # type: ignore[arg-type]


def test_whole_patches_lie_edge_to_edge_row_by_row() -> None:
    assert positions(70, 100, 32, 32, "drop") == [
        (0, 0), (0, 32), (0, 64), (32, 0), (32, 32), (32, 64),
    ]  # fmt: skip


def test_a_shifted_last_patch_ends_at_the_edge_and_only_where_something_is_left() -> None:
    assert positions(64, 70, 32, 32, "shift") == [
        (0, 0), (0, 32), (0, 38), (32, 0), (32, 32), (32, 38),
    ]  # fmt: skip
    assert positions(64, 64, 32, 32, "shift") == positions(64, 64, 32, 32, "drop")


def test_a_stride_may_overlap_patches_or_leave_gaps() -> None:
    assert [c for _, c in positions(32, 80, 32, 16, "drop")] == [0, 16, 32, 48]
    assert [c for _, c in positions(32, 150, 32, 50, "drop")] == [0, 50, 100]


@pytest.mark.parametrize("edge", ["drop", "shift"])
def test_a_scene_smaller_than_a_patch_holds_none(edge: str) -> None:
    assert positions(31, 500, 32, 32, edge) == []
    assert positions(32, 32, 32, 32, edge) == [(0, 0)]


def test_the_published_count_of_patches_under_nine_composites_is_found() -> None:
    # 9 composites of 1280 pixels give 5 × 5 patches of 256 each: 225.
    assert 9 * len(window_grid(1280, 1280, 256, 256, "drop")) == 225


@given(
    height=st.integers(32, 150), width=st.integers(32, 150), stride=st.integers(8, 32),
    edge=st.sampled_from(["drop", "shift"]),
)  # fmt: skip
def test_windows_lie_within_differ_and_with_shift_cover_all(
    height: int, width: int, stride: int, edge: str
) -> None:
    windows = window_grid(height, width, 32, stride, edge)  # type: ignore[arg-type]
    assert len(set(windows)) == len(windows)
    seen = np.zeros((height, width), dtype=bool)
    for w in windows:
        assert w.row >= 0
        assert w.column >= 0
        assert seen[w.row : w.row + 32, w.column : w.column + 32].shape == (32, 32)
        seen[w.row : w.row + 32, w.column : w.column + 32] = True
    if edge == "shift":
        assert seen.all()


def test_the_scale_is_the_one_of_the_real_pairs() -> None:
    # rint(255 · clip(reflectance · 10⁴, 0, 3000) / 3000)
    values = np.array([[-7, 0, 6, 1500, 2999, 3000, 9000]], dtype=np.int16)
    assert scale_to_u8(values, 0, 3000).tolist() == [[0, 0, 1, 128, 255, 255, 255]]


def test_values_below_low_are_black_and_8_bit_passes_unchanged() -> None:
    values = np.arange(256, dtype=np.uint8)
    assert (scale_to_u8(values, 0, 255) == values).all()
    assert scale_to_u8(np.array([100, 200, 300]), 200, 300).tolist() == [0, 0, 255]


def picture(seed: int, height: int = 32, width: int = 48) -> np.ndarray:
    grains = np.random.default_rng(seed).integers(0, 256, (8, 8, 3))
    return np.kron(grains, np.ones((height // 8, width // 8, 1), np.int64)).astype(np.uint8)


def test_a_thumbnail_is_a_unit_vector_so_that_products_are_correlations() -> None:
    one = thumbnail(picture(0))
    assert one.shape == (192,)
    assert float(one @ one) == pytest.approx(1, abs=1e-6)
    assert one.mean() == pytest.approx(0, abs=1e-6)
    assert abs(float(one @ thumbnail(picture(1)))) < 0.4


def test_brightness_contrast_and_noise_leave_a_thumbnail_alike_and_a_shift_does_not() -> None:
    image = picture(0)
    duller = (image * 0.5 + 40).astype(np.uint8)
    noise = np.random.default_rng(9).normal(0, 10, image.shape)
    noisy = np.clip(image + noise, 0, 255).astype(np.uint8)
    assert float(thumbnail(image) @ thumbnail(duller)) > 0.999
    assert float(thumbnail(image) @ thumbnail(noisy)) > 0.99
    assert float(thumbnail(image) @ thumbnail(np.roll(image, 6, axis=1))) < 0.5


def test_a_colour_shared_by_two_places_does_not_make_them_one() -> None:
    green = np.array([10, 120, 40])
    one, two = (np.clip(green + picture(s) * 0.1, 0, 255).astype(np.uint8) for s in (0, 1))
    assert abs(float(thumbnail(one) @ thumbnail(two))) < 0.4


def test_an_image_without_contrast_matches_nothing() -> None:
    flat = np.full((40, 40, 3), (30, 60, 90), dtype=np.uint8)
    assert not thumbnail(flat).any()
    rippled = flat + np.random.default_rng(0).integers(0, 2, flat.shape).astype(np.uint8)
    assert not thumbnail(rippled).any()


def test_pixels_that_fill_no_whole_cell_are_left_out() -> None:
    image = picture(0, 32, 48)
    wider = np.pad(image, ((0, 3), (0, 7), (0, 0)), constant_values=255)
    assert (thumbnail(wider) == thumbnail(image)).all()
