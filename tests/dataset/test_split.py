"""Roles by place or block."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terraloom.dataset.split import Candidates, Split, nearest_distance_m, split_candidates
from terraloom.errors import InputError, NothingLeft
from terraloom.raster.grid import metres_between
from terraloom.settings import SplitSettings

METRES_PER_DEGREE = 111_320.0


def candidates(
    places: list[str | None],
    splits: list[str | None] | None = None,
    shares: np.ndarray | None = None,
    lonlat: np.ndarray | None = None,
    radius_m: float = 0.0,
) -> Candidates:
    count = len(places)
    if shares is None:
        shares = np.random.default_rng(0).dirichlet([1, 1, 1], count)
    if lonlat is None:
        lonlat = np.full((count, 2), np.nan)
    return Candidates(
        tuple(f"id{i:04d}" for i in range(count)),
        tuple(places),
        tuple(splits or [None] * count),
        shares,
        lonlat,
        np.full(count, radius_m),
    )


def square(side: int, step_m: float = 640.0, lat: float = 39.0) -> Candidates:
    """side × side patches on the ground, edge to edge, around 33° east."""
    rows, columns = (v.ravel() for v in np.mgrid[:side, :side])
    lats = lat + rows * step_m / METRES_PER_DEGREE
    lons = 33 + columns * step_m / (METRES_PER_DEGREE * np.cos(np.deg2rad(lat)))
    return candidates(
        [None] * side**2,
        lonlat=np.stack([lons, lats], axis=1),
        radius_m=step_m / np.sqrt(2),
    )


def by_place(**options: Any) -> SplitSettings:
    return SplitSettings(by="place", attempts=16, **options)


def roles_of(split: Split) -> dict[str, set[str | None]]:
    found: dict[str, set[str | None]] = {}
    for place, role in zip(split.places, split.roles, strict=True):
        found.setdefault(place, set()).add(role)
    return found


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=3, max_size=20), seed=st.integers(0, 2**40))
def test_no_place_straddles_roles_and_every_role_has_rows(sizes: list[int], seed: int) -> None:
    places: list[str | None] = [f"p{i}" for i, size in enumerate(sizes) for _ in range(size)]
    made = split_candidates(candidates(places), by_place(), seed)
    assert all(len(roles) == 1 for roles in roles_of(made).values())
    assert set(made.roles) == {"train", "val", "test"}
    assert made.places == tuple(places)


def test_the_shares_of_places_are_those_asked_for_and_val_comes_out_of_train() -> None:
    places: list[str | None] = [f"p{i // 2:02d}" for i in range(80)]
    made = split_candidates(candidates(places), by_place(test_share=0.25, val_share=0.2), 1)
    counts = Counter(role for (role,) in roles_of(made).values())
    # 40 places: a quarter is test, a fifth of the other 30 is val.
    assert counts == {"test": 10, "val": 6, "train": 24}


def test_a_seed_decides_the_split_and_nothing_else_does() -> None:
    those = candidates([f"p{i}" for i in range(30)])
    assert split_candidates(those, by_place(), 1) == split_candidates(those, by_place(), 1)
    drawn = {split_candidates(those, by_place(), seed).roles for seed in range(5)}
    assert len(drawn) == 5


def test_a_split_does_not_depend_on_the_order_of_rows() -> None:
    those = candidates([f"p{i}" for i in range(30)])
    turned = Candidates(
        those.ids[::-1], those.places[::-1], those.splits[::-1],
        those.shares[::-1], those.lonlat[::-1], those.radius_m[::-1],
    )  # fmt: skip
    made = split_candidates(those, by_place(), 1)
    assert split_candidates(turned, by_place(), 1).roles[::-1] == made.roles


def test_a_rare_class_is_shared_out_as_the_roles_are() -> None:
    shares = np.full((40, 2), (0.99, 0.01))
    shares[::8] = (0.1, 0.9)  # five places hold nearly all of the rare class
    those = candidates([f"p{i:02d}" for i in range(40)], shares=shares)
    for seed in range(8):
        made = split_candidates(those, SplitSettings(by="place", attempts=1), seed)
        test = np.array([role == "test" for role in made.roles])
        assert shares[test, 1].sum() / shares[:, 1].sum() == pytest.approx(0.2, abs=0.02)
        assert shares[test, 0].sum() / shares[:, 0].sum() == pytest.approx(0.2, abs=0.02)


def test_places_that_belong_together_get_one_role_unless_the_index_gives_two() -> None:
    places: list[str | None] = [f"p{i:02d}" for i in range(20)]
    chain = [("p03", "p01"), ("p01", "p17"), ("p05", "p06")]
    for seed in range(6):
        made = split_candidates(candidates(places), by_place(), seed, chain)
        role = dict(zip(made.places, made.roles, strict=True))
        assert role["p01"] == role["p03"] == role["p17"]
        assert role["p05"] == role["p06"]
        assert made.places == tuple(places)
    splits: list[str | None] = ["train"] * 6 + ["test"] * 14
    made = split_candidates(candidates(places, splits), by_place(), 0, chain)
    assert [role == "test" for role in made.roles] == [split == "test" for split in splits]


def test_index_roles_are_kept_and_val_is_carved_from_train_only() -> None:
    places: list[str | None] = [f"p{i:02d}" for i in range(20)]
    splits: list[str | None] = ["train"] * 15 + ["dev"] * 5
    made = split_candidates(candidates(places, splits), by_place(roles={"dev": "test"}), 3)
    assert made.roles[15:] == ("test",) * 5
    assert Counter(made.roles[:15]) == {"train": 13, "val": 2}  # 15 % of 15 places


def test_an_index_with_all_three_roles_is_taken_as_it_is() -> None:
    splits: list[str | None] = ["train", "val", "test", "test", "train"]
    made = split_candidates(candidates([*"abcde"], splits), by_place(), 0)
    assert list(made.roles) == splits


@pytest.mark.parametrize(
    ("places", "splits", "message"),
    [
        (
            ["a", "b"],
            ["train", "dev"],
            r"split 'dev', which split\.roles does not map; write for example roles = "
            r'\{dev = "test"\}',
        ),
        (
            ["a", "a", "b"],
            ["train", "test", "test"],
            r"place 'a' is in train and in test: a place must not straddle roles",
        ),
        (["a", "b", "c"], ["train", "test", None], "places c have no split in the index"),
        (["a", None], [None, None], 'by = "place", but the source names no places; use'),
    ],
)
def test_an_index_that_leaves_doubt_is_refused(
    places: list[str | None], splits: list[str | None], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        split_candidates(candidates(places, splits), by_place(), 0)


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_places_for_three_roles_are_told(count: int) -> None:
    with pytest.raises(NothingLeft, match=r"split: only 1 place to carve (test|val) from"):
        split_candidates(candidates([f"p{i}" for i in range(count)] * 4), by_place(), 0)


def test_blocks_are_squares_on_the_ground_at_any_latitude() -> None:
    for lat in (0.0, 60.0):
        those = square(16, 640, lat)
        made = split_candidates(those, SplitSettings(by="block", block_size_m=2560, attempts=8), 0)
        members: dict[str, list[int]] = {}
        for index, place in enumerate(made.places):
            members.setdefault(place, []).append(index)
        # 4 × 4 patches of 640 m fill a block of 2560 m; lines of the lattice cut off-centre.
        assert 16 <= len(members) <= 25
        for indexes in members.values():
            low, high = those.lonlat[indexes].min(0), those.lonlat[indexes].max(0)
            assert metres_between((low[0], low[1]), (high[0], low[1])) < 2600
            assert metres_between((low[0], low[1]), (low[0], high[1])) < 2600
        assert all(len(roles - {None}) == 1 for roles in roles_of(made).values())


def test_auto_takes_places_where_there_are_any_else_blocks() -> None:
    named = candidates([f"p{i}" for i in range(9)])
    assert split_candidates(named, SplitSettings(attempts=4), 0).places == named.places
    made = split_candidates(square(12), SplitSettings(attempts=4), 0)
    assert all(place.startswith("block") for place in made.places)


@pytest.mark.parametrize("buffer_m", [300.0, 1000.0])
@pytest.mark.parametrize("lat", [0.0, 65.0])
def test_the_buffer_keeps_its_metres_between_any_two_roles(buffer_m: float, lat: float) -> None:
    those = square(20, 640, lat)
    options = SplitSettings(by="block", block_size_m=2560, buffer_m=buffer_m, attempts=8)
    made = split_candidates(those, options, 4)
    assert None in made.roles
    smallest = np.inf
    for i in range(400):
        for j in range(i):
            one, two = made.roles[i], made.roles[j]
            if one is None or two is None or one == two:
                continue
            # By the closed form on a plane, apart from the code's own way of finding neighbours.
            east, north = (those.lonlat[i] - those.lonlat[j]) * METRES_PER_DEGREE
            apart = np.hypot(east * np.cos(np.deg2rad(lat + 0.05)), north)
            smallest = min(smallest, apart - 2 * 640 / np.sqrt(2))
    assert smallest > 0.98 * buffer_m
    without = split_candidates(those, options.model_copy(update={"buffer_m": 0.0}), 4)
    for kept, before in zip(made.roles, without.roles, strict=True):
        assert kept in (before, None)
    # Test comes first: it loses nothing to a buffer.
    assert made.roles.count("test") == without.roles.count("test")


def test_the_nearest_neighbour_is_found_on_the_globe_not_on_a_plane() -> None:
    # At 60° north a degree of longitude is half as long, which the mean latitude (0°) hides.
    lonlat = np.array([[10.0, 60.0], [11.5, 60.0], [10.0, 61.2], [10.0, -60.0], [10.0, -60.0]])
    those = candidates([*"abcde"], lonlat=lonlat)
    found = nearest_distance_m(those, ["train", "test", "test", None, None], "train", "test")
    assert found == pytest.approx(metres_between((10.0, 60.0), (11.5, 60.0)))


def test_neighbours_across_the_date_line_are_near() -> None:
    lonlat = np.array([[179.99, 0.0], [-179.99, 0.0], [170.0, 0.0]])
    those = candidates([*"abc"], lonlat=lonlat)
    found = nearest_distance_m(those, ["train", "test", "test"], "train", "test")
    assert found == pytest.approx(0.02 * 111_319.49, rel=1e-4)


def test_distances_are_edge_to_edge_and_unknown_without_coordinates() -> None:
    lonlat = np.array([[0.0, 0.0], [0.1, 0.0]])
    apart = metres_between((0.0, 0.0), (0.1, 0.0))
    # Squares with a side to the north, whose half diagonal is 1000 m.
    wide = candidates(["a", "b"], lonlat=lonlat, radius_m=1000)
    assert nearest_distance_m(wide, ["train", "test"], "train", "test") == pytest.approx(
        apart - 2000 / np.sqrt(2), rel=1e-6
    )
    over = candidates(["a", "b"], lonlat=lonlat, radius_m=1e6)
    assert nearest_distance_m(over, ["train", "test"], "train", "test") == 0
    assert nearest_distance_m(wide, ["train", "val"], "train", "test") is None
    nowhere = candidates(["a", "b"])
    assert nearest_distance_m(nowhere, ["train", "test"], "train", "test") is None


def test_blocks_and_buffers_without_coordinates_are_refused() -> None:
    those = candidates([f"p{i}" for i in range(9)])
    with pytest.raises(InputError, match=r'by = "block" needs coordinates.*use split.by = "place"'):
        split_candidates(those, SplitSettings(by="block"), 0)
    with pytest.raises(InputError, match=r"buffer_m needs coordinates.*set it to 0"):
        split_candidates(those, by_place(buffer_m=10), 0)


def test_a_buffer_that_takes_a_whole_role_is_told() -> None:
    with pytest.raises(NothingLeft, match=r"no patch is left for train among \d+ places.*smaller"):
        split_candidates(
            square(8), SplitSettings(by="block", block_size_m=1280, buffer_m=9e4, attempts=4), 0
        )
