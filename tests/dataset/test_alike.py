"""The same ground found again, however its second image was framed or changed."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from terraloom.dataset.alike import Previews, SharedGround
from terraloom.dataset.patches import preview

SIDE = 128
LIMIT = 0.75
Change = Callable[[np.ndarray], np.ndarray]


def landscape(seed: int, side: int = 320) -> np.ndarray:
    """Fields, roads and trees without any order, 8-bit RGB."""
    random = np.random.default_rng(seed)
    height = sum(
        ndimage.gaussian_filter(random.normal(size=(side, side)), sigma) * sigma
        for sigma in (2, 5, 12, 30)
    )
    fields = np.floor(ndimage.gaussian_filter(random.normal(size=(side, side)), 8) * 60) % 5
    grey = 90 + 30 * height / np.std(height) + 12 * fields
    return np.clip(np.stack([grey, 0.9 * grey, 0.7 * grey], axis=-1), 0, 255).astype(np.uint8)


def of(images: list[np.ndarray]) -> Previews:
    return Previews([np.stack([preview(np.ascontiguousarray(image)) for image in images])])


def pairs_found(images: list[np.ndarray], limit: float = LIMIT) -> list[SharedGround]:
    """What is found where every even image is train and every odd one test."""
    roles = ["train", "test"] * (len(images) // 2)
    return of(images).shared_ground(roles, limit)  # type: ignore[arg-type]


def jpeg(image: np.ndarray) -> np.ndarray:
    target = io.BytesIO()
    Image.fromarray(image).save(target, "JPEG", quality=50)
    return np.asarray(Image.open(target))


def noisy(image: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 6, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("down", "right"), [(0, 0), (9, 0), (0, 31), (-21, 40), (64, 0), (0, -59), (37, -37)]
)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda image: image, id="as it is"),
        pytest.param(lambda image: np.clip(image * 1.2 + 9, 0, 255).astype(np.uint8), id="bright"),
        pytest.param(jpeg, id="jpeg"),
        pytest.param(noisy, id="noise"),
    ],
)
def test_shifted_ground_is_found_with_its_share(down: int, right: int, change: Change) -> None:
    images = []
    for seed in range(6):
        land = landscape(seed)
        images.append(land[90 : 90 + SIDE, 90 : 90 + SIDE])
        shifted = land[90 + down : 90 + down + SIDE, 90 + right : 90 + right + SIDE]
        images.append(change(np.ascontiguousarray(shifted)))
    found = pairs_found(images)
    assert [(pair.first, pair.second) for pair in found] == [(2 * i, 2 * i + 1) for i in range(6)]
    share = (SIDE - abs(down)) * (SIDE - abs(right)) / SIDE**2
    for pair in found:
        assert pair.share == pytest.approx(share, abs=0.06)
        assert not pair.turned
        assert pair.correlation <= 1.0001


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_mirrored_and_turned_ground_is_found(turns: int, mirrored: bool) -> None:
    images = []
    for seed in range(4):
        land = landscape(seed)
        images.append(land[100 : 100 + SIDE, 100 : 100 + SIDE])
        other = np.rot90(land[110 : 110 + SIDE, 92 : 92 + SIDE], turns)
        images.append(other[:, ::-1] if mirrored else other)
    found = pairs_found(images)
    assert [(pair.first, pair.second) for pair in found] == [(2 * i, 2 * i + 1) for i in range(4)]
    assert all(pair.turned == (mirrored or turns > 0) for pair in found)


def test_other_ground_is_not_found_among_many() -> None:
    images = [landscape(seed, SIDE) for seed in range(200)]
    assert pairs_found(images) == []


def test_straight_coasts_of_different_places_are_not_the_same() -> None:
    def coast(seed: int) -> np.ndarray:
        land = landscape(seed, SIDE).astype(np.float64)
        row, column = np.mgrid[:SIDE, :SIDE]
        sea = column + 0.2 * row < 50 + 3 * (seed % 7)
        sand = ~sea & (column + 0.2 * row < 58 + 3 * (seed % 7))
        water = 35 + np.random.default_rng(seed).normal(0, 2, (SIDE, SIDE, 3))
        return np.where(sea[..., None], water, np.where(sand[..., None], 235, land)).astype(
            np.uint8
        )

    assert pairs_found([coast(seed) for seed in range(40)]) == []


def test_images_without_detail_are_told_and_never_found() -> None:
    plain = [np.full((SIDE, SIDE, 3), 80, np.uint8), np.full((SIDE, SIDE, 3), 80, np.uint8)]
    assert not of(plain).detailed.any()
    assert pairs_found(plain) == []
    assert not of(plain).contradict(0, 1)
    assert not of(plain).agree(0, 1)


def test_images_laid_over_each_other_agree_or_contradict() -> None:
    images = [landscape(0, SIDE), noisy(landscape(0, SIDE)), landscape(1, SIDE)]
    there = of(images)
    assert there.agree(0, 1)
    assert not there.contradict(0, 1)
    assert there.contradict(0, 2)
    assert not there.agree(0, 2)


def test_images_in_one_role_or_in_none_are_not_compared() -> None:
    land = landscape(3)
    images = [land[:SIDE, :SIDE], land[16 : 16 + SIDE, :SIDE]]
    assert of(images).shared_ground(["train", "train"], LIMIT) == []
    assert of(images).shared_ground(["train", None], LIMIT) == []
    assert len(of(images).shared_ground(["val", "test"], LIMIT)) == 1


def test_real_places_of_a_published_split_that_show_the_same_ground_are_found(
    shared_data: Path,
) -> None:
    folder = shared_data / "worldcover_pairs"
    if not folder.exists():
        pytest.skip("the 229 real pairs are not there")
    with (folder / "index.csv").open() as file:
        index = list(csv.DictReader(file))
    images = [
        np.asarray(Image.open(folder / "images" / f"{row['id']}.png").convert("RGB"))
        for row in index
    ]
    roles = [{"train": "train", "dev": "test"}[row["split"]] for row in index]
    found = of(images).shared_ground(roles, 0.0)  # type: ignore[arg-type]
    known = sorted((pair.correlation for pair in found), reverse=True)
    # Looked at one by one: eight pairs do show the same ground, and no other does.
    assert known[7] > 0.8
    assert known[8] < 0.65
