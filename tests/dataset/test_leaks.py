"""The gate that no split passes with one place, ground or image in two roles."""

from typing import Any

import numpy as np
import pytest
from tests.dataset.test_alike import SIDE, landscape

from terraloom.classes import preset
from terraloom.dataset.leak_page import leak_page
from terraloom.dataset.leaks import KINDS, LeakReport, Looks, check_leaks, split_without_leaks
from terraloom.dataset.patches import preview, thumbnail
from terraloom.dataset.split import Candidates, Split
from terraloom.dataset.split_map import split_map
from terraloom.errors import LeakFound, NothingLeft
from terraloom.settings import SplitSettings
from terraloom.types import Role

ROLES: tuple[Role | None, ...] = ("train", "train", "val", "test", None)


def looks_of(images: list[np.ndarray]) -> Looks:
    return Looks(
        np.stack([thumbnail(image) for image in images]),
        [np.stack([preview(np.ascontiguousarray(image)) for image in images])],
        [np.ascontiguousarray(image).tobytes() for image in images],
    )


def images_of(count: int, first: int = 0) -> list[np.ndarray]:
    return [landscape(seed, SIDE) for seed in range(first, first + count)]


def case(
    lonlat: np.ndarray | None = None, places: tuple[str, ...] = ("a", "b", "c", "d", "e")
) -> tuple[Candidates, Split]:
    """Five patches of five places."""
    count = len(ROLES)
    if lonlat is None:
        lonlat = np.full((count, 2), np.nan)
    names = tuple("abcde")
    those = Candidates(
        names, names, (None,) * count, np.ones((count, 11)) / 11, lonlat, np.zeros(count)
    )  # fmt: skip
    return those, Split(ROLES, places)


def checked(
    images: list[np.ndarray], those: Candidates, split: Split, **options: Any
) -> tuple[Split, LeakReport]:
    return check_leaks(those, split, looks_of(images), SplitSettings(**options))


def test_a_clean_split_passes_and_tells_what_was_measured() -> None:
    images = images_of(5)
    split, report = checked(images, *case())
    assert split == case()[1]
    assert report.passed
    report.check()
    assert report.rows == {"train": 2, "val": 1, "test": 1}
    assert report.nearest_m == {"train-val": None, "train-test": None, "val-test": None}
    looks = looks_of(images)
    expected = max(float(looks.thumbnails[i] @ looks.thumbnails[3]) for i in (0, 1))
    assert report.largest_correlation["train-test"] == pytest.approx(expected, abs=1e-6)
    plain = report.to_json()
    assert plain["rows"] == report.rows
    assert plain["straddling_places"] == 0
    assert plain["findings"] == plain["left_out"] == []


@pytest.mark.parametrize(("copy", "of"), [(3, 1), (2, 0), (3, 2)])
def test_a_planted_copy_fails_in_any_two_roles(copy: int, of: int) -> None:
    images = images_of(5)
    images[copy] = images[of]
    those, split = case()
    _, report = checked(images, those, split)
    assert report.found["same pixels"] == 1
    with pytest.raises(
        LeakFound,
        match=rf"the very same image in two roles: 1\. First: {those.ids[of]} \({ROLES[of]}\) and "
        rf"{those.ids[copy]} \({ROLES[copy]}\) are the same image to the last pixel",
    ) as raised:
        report.check()
    assert raised.value.report is report


@pytest.mark.parametrize("shift", [0, 6])
def test_a_near_duplicate_fails_by_name(shift: int) -> None:
    images = images_of(5)
    land = landscape(1, SIDE + shift)
    images[1] = land[shift:, shift:]
    bright = np.clip(land[:SIDE, :SIDE] * 1.1 + 4, 0, 255).astype(np.uint8)
    images[3] = bright
    _, report = checked(images, *case())
    with pytest.raises(LeakFound, match=r"b \(train\) and d \(test\) show nearly the same image"):
        report.check()


def test_near_duplicates_can_be_dropped_from_the_lesser_role() -> None:
    images = images_of(5)
    images[3] = images[1]
    split, report = checked(images, *case(), near_duplicates="drop")
    assert split.roles == ("train", None, "val", "test", None)
    assert report.passed
    assert report.rows == {"train": 1, "val": 1, "test": 1}
    assert [finding.ids for finding in report.left_out] == [("b", "d")]


def test_ground_in_part_shared_is_left_out_of_the_lesser_role_and_told() -> None:
    images = images_of(5)
    land = landscape(7, 2 * SIDE)
    images[1], images[3] = land[:SIDE, :SIDE], land[60 : 60 + SIDE, :SIDE]
    split, report = checked(images, *case())
    assert split.roles == ("train", None, "val", "test", None)
    (finding,) = report.left_out
    assert finding.kind == "shared ground"
    assert finding.share == pytest.approx((SIDE - 60) / SIDE, abs=0.05)
    assert str(finding).startswith("b (train) and d (test) share 5")
    assert report.passed


def test_other_dates_of_the_frame_that_was_found_go_with_it() -> None:
    images = images_of(5)
    land = landscape(7, 2 * SIDE)
    images[1], images[3] = land[:SIDE, :SIDE], land[60 : 60 + SIDE, :SIDE]
    # Another date of the frame, too unlike the other role's ground to be found by itself.
    other = landscape(8, SIDE).astype(np.float64)
    images[0] = np.clip(0.5 * images[1] + 0.5 * other, 0, 255).astype(np.uint8)
    names = tuple("abcdef")
    those = Candidates(
        names, names, (None,) * 6, np.ones((6, 11)) / 11, np.full((6, 2), np.nan), np.zeros(6)
    )
    images.append(landscape(9, SIDE))
    split, report = check_leaks(
        those, Split((*ROLES, "train"), ("b", "b", "c", "d", "e", "b")), looks_of(images),
        SplitSettings(shared_ground_limit=0.95),
    )  # fmt: skip
    assert split.roles == (None, None, "val", "test", None, "train")
    assert [finding.value is None for finding in report.left_out] == [False, True]
    assert str(report.left_out[1]) == "a (train) shows the frame of one whose ground d (test) shows"


def test_a_role_that_shares_all_its_ground_is_told() -> None:
    images = images_of(5)
    land = landscape(7, 2 * SIDE)
    images[2], images[3] = land[:SIDE, :SIDE], land[60 : 60 + SIDE, :SIDE]
    with pytest.raises(
        NothingLeft,
        match=r"every val patch show ground of another role; the first: c \(val\) and d",
    ):
        checked(images, *case())


def test_a_duplicate_within_a_role_or_in_no_role_passes() -> None:
    images = images_of(5)
    images[1] = images[0]
    images[4] = images[0]
    assert checked(images, *case())[1].passed


def test_the_limit_decides_what_counts_as_the_same() -> None:
    # Plain images, which only their thumbnails tell apart.
    slope = np.linspace(20, 90, SIDE)[None, :, None] * np.ones((SIDE, 1, 3))
    bend = slope + 6 * np.sin(np.linspace(0, 3, SIDE))[:, None, None]
    images = [np.full((SIDE, SIDE, 3), 50, np.uint8) for _ in range(5)]
    images[0], images[3] = slope.astype(np.uint8), bend.astype(np.uint8)
    looks = looks_of(images)
    value = float(looks.thumbnails[0] @ looks.thumbnails[3])
    assert 0.9 < value < 0.999
    for limit, passes in ((value + 1e-4, True), (value - 1e-4, False)):
        digests = Looks(looks.thumbnails, looks.previews, [bytes([i]) for i in range(5)])
        _, report = check_leaks(*case(), digests, SplitSettings(duplicate_limit=limit))
        assert report.passed == passes


def test_images_without_contrast_are_no_duplicates() -> None:
    images = images_of(5)
    images[0] = np.full((SIDE, SIDE, 3), 50, np.uint8)
    images[3] = np.full((SIDE, SIDE, 3), 51, np.uint8)
    _, report = checked(images, *case())
    assert report.passed
    assert report.without_detail == 2


def test_a_place_in_two_roles_fails() -> None:
    those, _ = case()
    _, report = checked(images_of(5), those, Split(ROLES, ("mill", "b", "c", "mill", "e")))
    assert report.to_json()["straddling_places"] == 1
    with pytest.raises(LeakFound, match=r"one place in two roles: 1\. First: a \(train\) and d"):
        report.check()


def test_a_place_whose_other_patches_were_left_out_passes() -> None:
    those, _ = case()
    assert checked(images_of(5), those, Split(ROLES, ("a", "b", "c", "d", "d")))[1].passed


@pytest.mark.parametrize(("buffer_m", "passes"), [(0, True), (1000, True), (1200, False)])
def test_patches_nearer_than_the_buffer_fail(buffer_m: float, passes: bool) -> None:
    # 0.01° on the equator are 1113 m.
    lonlat = np.array([[0.0, 0], [0.1, 0], [0.2, 0], [0.11, 0], [0.105, 0]])
    _, report = checked(images_of(5), *case(lonlat), buffer_m=buffer_m)
    assert report.nearest_m["train-test"] == pytest.approx(1113.19, abs=0.1)
    assert report.nearest_m["train-val"] == pytest.approx(11131.9, abs=1)
    assert report.passed == passes
    if not passes:
        with pytest.raises(LeakFound, match=r"b \(train\) and d \(test\) lie 1113 m apart"):
            report.check()


def test_footprints_that_overlap_fail() -> None:
    lonlat = np.array([[0.0, 0], [0.1, 0], [0.2, 0], [0.101, 0], [0.105, 0]])
    those, split = case(lonlat)
    wide = Candidates(
        those.ids, those.places, those.splits, those.shares, those.lonlat, np.full(5, 300.0)
    )
    _, report = checked(images_of(5), wide, split)
    assert report.found["overlap"] == 1
    with pytest.raises(LeakFound, match=r"share ground: 1\. First: b \(train\) and d \(test\) cov"):
        report.check()


def test_all_kinds_are_counted_and_the_list_has_a_limit() -> None:
    image = landscape(0, SIDE)
    names = tuple(f"p{i:02d}" for i in range(12))
    roles: tuple[Role | None, ...] = (*("train",) * 9, "val", "test", "test")
    those = Candidates(
        names, names, (None,) * 12, np.ones((12, 11)) / 11, np.full((12, 2), np.nan), np.zeros(12)
    )
    _, report = checked([image] * 12, those, Split(roles, names), max_findings=4)
    assert report.found["same pixels"] == 10  # 9 of train and the one of val
    assert len([f for f in report.findings if f.kind == "same pixels"]) == 4
    assert set(report.found) == set(KINDS)


def test_named_places_that_share_ground_get_one_role() -> None:
    images = images_of(24, 100)
    land = landscape(7, 2 * SIDE)
    images[2], images[17] = land[:SIDE, :SIDE], land[50 : 50 + SIDE, :SIDE]
    names = tuple(f"p{i:02d}" for i in range(24))
    those = Candidates(
        names, names, (None,) * 24, np.ones((24, 11)) / 11, np.full((24, 2), np.nan), np.zeros(24)
    )
    seen = set()
    for seed in range(8):
        split, report = split_without_leaks(those, looks_of(images), SplitSettings(), seed)
        assert report.passed
        assert report.left_out == ()
        assert None not in split.roles
        assert split.roles[2] == split.roles[17]
        seen.add(report.together)
    assert seen == {(), (("p02", "p17"),)}


def test_the_page_shows_the_pairs_and_escapes_what_is_hostile() -> None:
    images = images_of(5)
    images[3] = images[1]
    lonlat = np.array([[0.0, 0], [0.1, 0], [0.2, 0], [0.3, 0], [0.4, 0]])
    those, split = case(lonlat)
    hostile = Candidates(
        ("a", "<script>b</script>", "c", "d", "e"), those.places, those.splits, those.shares,
        those.lonlat, np.full(5, 300.0),
    )  # fmt: skip
    split, report = checked(images, hostile, split)
    drawn = split_map(hostile, split.roles)
    assert drawn is not None
    assert drawn == split_map(hostile, split.roles)
    page = leak_page(
        report, hostile, split, preset("worldcover11"), lambda rows: {r: images[r] for r in rows},
        drawn,
    )  # fmt: skip
    assert "<script" not in page
    assert "&lt;script&gt;b&lt;/script&gt; (train) and d (test)" in page
    assert page.count("data:image/png") == 3
    assert "Failed." in page


def test_no_map_is_drawn_without_coordinates() -> None:
    those, split = case()
    assert split_map(those, split.roles) is None
