"""Filters and their funnel."""

import numpy as np
import pytest

from terraloom.classes import ClassTable
from terraloom.dataset.filters import KEPT, check_something_left, funnel, reason_to_drop
from terraloom.errors import NothingLeft
from terraloom.settings import CutSettings

IMAGE = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)


def labels(**shares: int) -> np.ndarray:
    """100 pixels: so many of classes a, b, c; the rest unknown."""
    flat = np.full(100, 255, dtype=np.uint8)
    start = 0
    for name, count in shares.items():
        flat[start : start + count] = "abc".index(name)
        start += count
    return flat.reshape(10, 10)


@pytest.mark.parametrize(
    ("mask", "settings", "reason"),
    [
        (labels(a=50, b=50), {}, KEPT),
        (labels(a=99, b=0), {}, "unknown pixels"),
        (labels(a=90), {"max_unknown_share": 0.1}, KEPT),
        (labels(a=89), {"max_unknown_share": 0.1}, "unknown pixels"),
        (labels(), {"max_unknown_share": 1.0}, "unknown pixels"),
        (labels(a=90, b=10), {"max_class_share": {"a": 0.9}}, KEPT),
        (labels(a=91, b=9), {"max_class_share": {"a": 0.9}}, "too much a"),
        (labels(a=91, b=9), {"max_class_share": {"c": 0.5, "b": 0.05}}, "too much b"),
        # The share counts known pixels: 46 of 50.
        (
            labels(a=46, b=4),
            {"max_unknown_share": 0.5, "max_class_share": {"a": 0.9}},
            "too much a",
        ),
        (labels(a=100), {"min_classes": 2}, "too few classes"),
        (labels(a=99, c=1), {"min_classes": 2}, KEPT),
    ],
)
def test_a_patch_is_kept_up_to_the_limit_and_left_out_beyond(
    mask: np.ndarray, settings: dict[str, object], reason: str, three_classes: ClassTable
) -> None:
    assert reason_to_drop(IMAGE, mask, three_classes, CutSettings(**settings)) == reason


def test_the_first_filter_that_fails_names_the_reason(three_classes: ClassTable) -> None:
    blank = np.full((10, 10, 3), 7, dtype=np.uint8)
    settings = CutSettings(max_class_share={"a": 0.5}, min_classes=2)
    assert reason_to_drop(blank, labels(), three_classes, settings) == "blank image"
    assert reason_to_drop(IMAGE, labels(a=99), three_classes, settings) == "unknown pixels"
    assert reason_to_drop(IMAGE, labels(a=100), three_classes, settings) == "too much a"


def test_blank_images_may_be_kept(three_classes: ClassTable) -> None:
    blank = np.zeros((10, 10, 3), dtype=np.uint8)
    settings = CutSettings(drop_blank=False)
    assert reason_to_drop(blank, labels(a=100), three_classes, settings) == KEPT


def test_the_funnel_counts_every_candidate_most_frequent_first() -> None:
    counts = funnel(["kept", "blank image", "kept", "too much a", "kept", "blank image"])
    assert list(counts.items()) == [("kept", 3), ("blank image", 2), ("too much a", 1)]


def test_nothing_left_names_the_filters_their_counts_and_the_keys() -> None:
    with pytest.raises(
        NothingLeft,
        match=r"no patch left of 7: 'unknown pixels' took 4, 'blank image' took 3\. Loosen "
        r"cut\.max_unknown_share \(now 0\.25\)",
    ):
        check_something_left(
            {"unknown pixels": 4, "blank image": 3}, CutSettings(max_unknown_share=0.25)
        )
    check_something_left({KEPT: 1, "blank image": 3}, CutSettings())


def test_scenes_too_small_for_a_patch_are_told_as_such() -> None:
    with pytest.raises(NothingLeft, match=r"no scene is as large as cut\.patch_size = 96"):
        check_something_left({}, CutSettings(patch_size=96))
