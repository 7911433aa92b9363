"""The gate that no split passes with one place or one image in two roles."""

from typing import Any

import numpy as np
import pytest

from terraloom.dataset.leaks import check_leaks
from terraloom.dataset.split import Candidates, Split
from terraloom.errors import LeakFound
from terraloom.settings import SplitSettings

ROLES = ("train", "train", "val", "test", None)


def case(lonlat: np.ndarray | None = None) -> tuple[Candidates, Split, np.ndarray]:
    """Five patches of five places; thumbnails of random directions."""
    count = len(ROLES)
    if lonlat is None:
        lonlat = np.full((count, 2), np.nan)
    names = tuple("abcde")
    those = Candidates(
        names, names, (None,) * count, np.ones((count, 1)), lonlat, np.zeros(count)
    )  # fmt: skip
    drawn = np.random.default_rng(0).normal(size=(count, 192)).astype(np.float32)
    return those, Split(ROLES, names), drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def test_a_clean_split_passes_and_tells_what_was_measured() -> None:
    those, split, thumbnails = case()
    report = check_leaks(those, split, thumbnails, SplitSettings())
    assert report.rows == {"train": 2, "val": 1, "test": 1}
    assert report.straddling_places == 0
    assert report.nearest_m == {"train-val": None, "train-test": None, "val-test": None}
    expected = max(float(thumbnails[i] @ thumbnails[3]) for i in (0, 1))
    assert report.largest_correlation["train-test"] == pytest.approx(expected, abs=1e-6)
    assert report.to_json()["rows"] == report.rows


@pytest.mark.parametrize(("copy", "of"), [(3, 1), (2, 0), (3, 2)])
def test_a_planted_duplicate_fails_in_any_two_roles(copy: int, of: int) -> None:
    those, split, thumbnails = case()
    thumbnails[copy] = thumbnails[of]
    with pytest.raises(
        LeakFound,
        match=rf"{those.ids[of]} \({ROLES[of]}\) and {those.ids[copy]} \({ROLES[copy]}\) show "
        r"nearly the same image \(correlation 1\.0000 ≥ split\.duplicate_limit 0\.995\)",
    ):
        check_leaks(those, split, thumbnails, SplitSettings())


def test_a_duplicate_within_a_role_or_in_no_role_passes() -> None:
    those, split, thumbnails = case()
    thumbnails[1] = thumbnails[0]
    thumbnails[4] = thumbnails[0]
    check_leaks(those, split, thumbnails, SplitSettings())


def test_the_limit_decides_what_counts_as_the_same() -> None:
    those, split, thumbnails = case()
    mixed = 0.97 * thumbnails[0] + np.sqrt(1 - 0.97**2) * thumbnails[4]
    thumbnails[3] = mixed / np.linalg.norm(mixed)
    check_leaks(those, split, thumbnails, SplitSettings(duplicate_limit=0.99))
    with pytest.raises(LeakFound, match=r"duplicate_limit 0\.95"):
        check_leaks(those, split, thumbnails, SplitSettings(duplicate_limit=0.95))


def test_images_without_contrast_are_no_duplicates() -> None:
    those, split, thumbnails = case()
    thumbnails[[0, 3]] = 0
    check_leaks(those, split, thumbnails, SplitSettings())


def test_a_place_in_two_roles_fails() -> None:
    those, _, thumbnails = case()
    split = Split(ROLES, ("mill", "b", "c", "mill", "e"))
    with pytest.raises(LeakFound, match=r"place 'mill' is in \['test', 'train'\]"):
        check_leaks(those, split, thumbnails, SplitSettings())


def test_a_place_whose_other_patches_the_buffer_took_passes() -> None:
    those, _, thumbnails = case()
    check_leaks(those, Split(ROLES, ("a", "b", "c", "d", "d")), thumbnails, SplitSettings())


@pytest.mark.parametrize(("buffer_m", "passes"), [(0, True), (1000, True), (1200, False)])
def test_patches_nearer_than_the_buffer_fail(buffer_m: float, passes: bool) -> None:
    # 0.01° on the equator are 1113 m.
    lonlat = np.array([[0.0, 0], [0.1, 0], [0.2, 0], [0.11, 0], [0.105, 0]])
    those, split, thumbnails = case(lonlat)
    options: dict[str, Any] = {"buffer_m": buffer_m}
    if passes:
        report = check_leaks(those, split, thumbnails, SplitSettings(**options))
        assert report.nearest_m["train-test"] == pytest.approx(1113.19, abs=0.1)
        assert report.nearest_m["train-val"] == pytest.approx(11131.9, abs=1)
        return
    with pytest.raises(LeakFound, match=r"train and test patches lie 1113 m apart.*buffer_m is 12"):
        check_leaks(those, split, thumbnails, SplitSettings(**options))


def test_a_copy_too_plain_for_a_thumbnail_fails_by_its_pixels() -> None:
    those, split, thumbnails = case()
    plain = np.zeros_like(thumbnails)
    digests = ["p", "q", "r", "s", "p"]  # the last patch has no role: its copy leaks nothing
    check_leaks(those, split, plain, SplitSettings(), digests)
    digests[3] = "p"
    with pytest.raises(LeakFound, match=r"a \(train\) and d \(test\) are the same image"):
        check_leaks(those, split, plain, SplitSettings(), digests)
