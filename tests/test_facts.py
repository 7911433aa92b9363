"""Facts measured on masks whose answers are known by construction."""

import numpy as np
import pytest

from terraloom.classes import preset
from terraloom.facts import AMOUNTS, PRESENCE, amount_words, measure_facts

TABLE = preset("worldcover7")
TREE, SHRUB, GRASS, CROP, BUILT, BARREN, WATER = range(7)


def field(height: int = 80, width: int = 120, label: int = CROP) -> np.ndarray:
    return np.full((height, width), label, dtype=np.uint8)


def test_shares_ranks_and_dominance_follow_the_known_pixels() -> None:
    labels = field(10, 10)
    labels[:5, :6] = TREE  # 30 pixels
    labels[9, :] = 255  # 10 pixels
    facts = measure_facts(labels, TABLE)
    assert facts.known == 0.9
    assert facts.classes[CROP].share == pytest.approx(60 / 90)
    assert facts.classes[TREE].share == pytest.approx(30 / 90)
    assert facts.ranked == (CROP, TREE)
    assert facts.classes[TREE].rank == 2
    assert facts.dominant == CROP
    assert facts.lead == pytest.approx(30 / 90)
    assert facts.absent == ()  # a tenth is unknown, anything could be there


@pytest.mark.parametrize(
    ("crop_rows", "expected"), [(50, None), (52, None), (53, CROP), (60, CROP), (40, TREE)]
)
def test_dominance_needs_a_lead_of_five_points(crop_rows: int, expected: int | None) -> None:
    labels = field(100, 20, TREE)
    labels[:crop_rows] = CROP
    assert measure_facts(labels, TABLE).dominant == expected


def test_dominance_needs_a_third_of_the_mask() -> None:
    labels = np.repeat(np.arange(5, dtype=np.uint8), 20)[:, None].repeat(30, axis=1)
    labels[:34] = 0  # 34 %, the others at most 20 %
    assert measure_facts(labels, TABLE).dominant is None
    labels[:36] = 0
    assert measure_facts(labels, TABLE).dominant == 0


@pytest.mark.parametrize(
    ("rows", "columns", "words", "plain"),
    [
        (slice(0, 30), slice(0, 40), "in the north-west", "in the top left"),
        (slice(50, 80), slice(70, 110), "in the south-east", "in the bottom right"),
        (slice(0, 30), slice(80, 120), "in the north-east", "in the top right"),
        (slice(60, 80), slice(5, 30), "in the south-west", "in the bottom left"),
        (slice(30, 50), slice(50, 70), "in the centre", "in the centre"),
        (slice(0, 8), slice(0, 120), "along the northern edge", "along the top edge"),
        (slice(74, 80), slice(0, 120), "along the southern edge", "along the bottom edge"),
        (slice(0, 80), slice(0, 9), "along the western edge", "along the left edge"),
        (slice(0, 80), slice(108, 120), "along the eastern edge", "along the right edge"),
        (slice(5, 38), slice(20, 100), "in the north", "at the top"),
        (slice(45, 80), slice(20, 100), "in the south", "at the bottom"),
        (slice(10, 70), slice(10, 55), "in the west", "on the left"),
        (slice(10, 70), slice(65, 110), "in the east", "on the right"),
    ],
)
def test_places_are_told_by_compass_or_by_picture(
    rows: slice, columns: slice, words: str, plain: str
) -> None:
    labels = field()
    labels[rows, columns] = WATER
    for compass, expected in ((True, words), (False, plain)):
        place = measure_facts(labels, TABLE, compass=compass).classes[WATER].place
        assert place is not None
        assert place.words == expected
        assert place.is_firm


def test_a_place_that_is_not_clear_is_not_told() -> None:
    labels = field()
    labels[25:55, 10:60] = WATER  # astride the middle, west of it
    labels[25:55, 60:80] = WATER
    assert measure_facts(labels, TABLE).classes[WATER].place is None


def test_a_regular_sprinkle_is_spread_throughout_and_fragmented() -> None:
    labels = field()
    for row in range(4, 80, 10):
        for column in range(4, 120, 10):
            labels[row : row + 2, column : column + 3] = TREE
    tree = measure_facts(labels, TABLE).classes[TREE]
    assert tree.place is not None
    assert tree.place.words == "throughout"
    assert (tree.patches, tree.largest_patch) == (96, pytest.approx(1 / 96))
    assert tree.is_fragmented
    assert not tree.is_block


def test_specks_are_not_patches_and_diagonal_pixels_touch() -> None:
    labels = field()
    labels[0, 0] = TREE  # a speck
    for i in range(60):
        labels[i + 5, i + 5] = TREE
    tree = measure_facts(labels, TABLE).classes[TREE]
    assert tree.patches == 1
    assert tree.largest_patch == pytest.approx(60 / 61)


@pytest.mark.parametrize(
    ("turn", "course", "plain"),
    [
        (0, "from west to east", "from left to right"),
        (1, "from north to south", "from top to bottom"),
    ],
)
def test_a_winding_river_is_a_corridor_with_a_course(turn: int, course: str, plain: str) -> None:
    labels = field(100, 100)
    rows = np.arange(100)[:, None]
    middle = 50 + 8 * np.sin(np.arange(100) / 9)
    labels[abs(rows - middle) < 2.5] = WATER
    labels = np.rot90(labels, turn).copy()
    water = measure_facts(labels, TABLE).classes[WATER]
    assert water.corridor is not None
    assert water.corridor.words == course
    assert water.corridor.span == 1
    assert water.corridor.width == pytest.approx(0.05, abs=0.01)
    assert water.elongation > 4
    assert measure_facts(labels, TABLE, compass=False).classes[WATER].corridor.words == plain  # type: ignore[union-attr]


def test_a_slanting_river_names_its_corners_and_a_lake_is_no_corridor() -> None:
    rows, columns = np.mgrid[:90, :90]
    labels = field(90, 90)
    labels[abs(rows - columns) < 4] = WATER
    falling = measure_facts(labels, TABLE).classes[WATER].corridor
    rising = measure_facts(labels[::-1].copy(), TABLE).classes[WATER].corridor
    assert falling is not None
    assert rising is not None
    assert falling.words == "from the north-west to the south-east"
    assert rising.words == "from the south-west to the north-east"
    labels = field(90, 90)
    labels[(rows - 45) ** 2 + (columns - 45) ** 2 < 900] = WATER
    lake = measure_facts(labels, TABLE).classes[WATER]
    assert lake.corridor is None
    assert lake.elongation == pytest.approx(1, abs=0.05)


def test_elongation_of_a_rectangle_is_the_ratio_of_its_sides() -> None:
    labels = field()
    labels[10:15, 10:60] = WATER
    assert measure_facts(labels, TABLE).classes[WATER].elongation == pytest.approx(10, rel=1e-6)


def test_borders_count_pixel_sides_and_leave_out_the_unknown() -> None:
    labels = field(20, 20)
    labels[5:10, 5:10] = TREE  # 20 sides around
    labels[5:10, 10] = WATER  # takes over the 5 eastern ones
    labels[4, 5:10] = 255  # and the 5 northern ones are unknown
    facts = measure_facts(labels, TABLE)
    found = {border.labels: border for border in facts.borders}
    assert found[TREE, CROP].length == 10
    assert found[TREE, WATER].length == 5
    assert found[TREE, WATER].shares[0] == pytest.approx(5 / 15)
    # 10 of 15 sides is main by share, but too short a border to tell
    assert facts.classes[TREE].main_neighbour is None
    large = np.kron(labels, np.ones((3, 3), dtype=np.uint8))
    assert measure_facts(large, TABLE).classes[TREE].main_neighbour == CROP


def test_halves_tell_their_main_class() -> None:
    labels = field()
    labels[:40] = TREE
    labels[:10, :40] = GRASS
    facts = measure_facts(labels, TABLE)
    found = {half.region: (half.label, half.words) for half in facts.halves}
    assert found == {
        "north": (TREE, "the northern half"),
        "south": (CROP, "the southern half"),
    }
    labels[40:60] = 255
    assert {half.region for half in measure_facts(labels, TABLE).halves} == {"north"}


def test_tiny_classes_are_neither_present_nor_absent() -> None:
    labels = field(100, 100)
    labels[:7, :7] = BUILT  # 49 of 10,000
    facts = measure_facts(labels, TABLE)
    assert facts.ranked == (CROP,)
    assert not facts.classes[BUILT].is_present
    assert facts.absent == (TREE, SHRUB, GRASS, BARREN, WATER)
    labels[7, 0] = BUILT
    assert measure_facts(labels, TABLE).ranked == (CROP, BUILT)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (5, 3)])
def test_small_and_uniform_masks_are_measured(shape: tuple[int, int]) -> None:
    unknown = measure_facts(np.full(shape, 255, dtype=np.uint8), TABLE)
    assert (unknown.known, unknown.ranked, unknown.dominant, unknown.absent) == (0, (), None, ())
    assert (unknown.borders, unknown.halves) == ((), ())
    one = measure_facts(np.full(shape, WATER, dtype=np.uint8), TABLE)
    assert (one.known, one.ranked, one.dominant, one.lead) == (1, (WATER,), WATER, 1)
    assert len(one.absent) == 6
    assert one.classes[WATER].is_block


def test_wrong_masks_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="mask holds label 40, the class table ends at 6"):
        measure_facts(field(label=40), TABLE)
    with pytest.raises(ValueError, match="height width"):
        measure_facts(np.zeros((2, 2, 3), dtype=np.uint8), TABLE)
    with pytest.raises(ValueError, match="not empty"):
        measure_facts(np.zeros((0, 4), dtype=np.uint8), TABLE)


def test_turning_the_mask_turns_places_and_keeps_everything_else() -> None:
    rng = np.random.default_rng(5)
    labels = np.kron(rng.integers(0, 7, (8, 12)), np.ones((8, 8), dtype=int)).astype(np.uint8)
    labels[:30, :40] = WATER
    one, other = measure_facts(labels, TABLE), measure_facts(labels[::-1, ::-1].copy(), TABLE)
    assert one.borders == other.borders
    assert one.ranked == other.ranked
    for a, b in zip(one.classes, other.classes, strict=True):
        assert (a.share, a.patches, a.largest_patch) == (b.share, b.patches, b.largest_patch)


def test_every_share_from_presence_on_has_words_and_they_are_used_inside_their_truth() -> None:
    for amount in AMOUNTS:
        assert amount.true[0] <= amount.safe[0] < amount.safe[1] <= amount.true[1]
        assert not any(sign.isdigit() for words in amount.words for sign in words)
    for share in np.linspace(PRESENCE, 1, 2001):
        assert amount_words(float(share)), share
    assert amount_words(0.001) == ()
    assert "most" not in amount_words(0.5)
    assert "about half" in amount_words(0.5)


def test_a_river_winds_a_road_does_not_and_a_village_on_it_makes_no_bend() -> None:
    rows = np.arange(96)[:, None]
    bends = field(96, 96)
    bends[abs(rows - 48 - 12 * np.sin(np.arange(96) / 10)) < 2.5] = WATER
    road = field(96, 96)
    road[46:51] = WATER
    road[5:7, 5:7] = WATER  # a pond beside it changes nothing
    village = road.copy()
    village[20:50, 40:50] = WATER
    grid = field(96, 96)
    grid[40:56:5] = WATER
    grid[40:56, ::8] = WATER
    assert measure_facts(grid, TABLE).classes[WATER].corridor is None
    found = [measure_facts(m, TABLE).classes[WATER].corridor for m in (bends, road, village)]
    assert [c is not None and c.is_winding for c in found] == [True, False, False]
    assert [c is not None and c.is_straight for c in found] == [False, True, False]
    assert found[1] is not None
    assert (found[1].sinuosity, found[1].away) == (pytest.approx(1), pytest.approx(0, abs=1e-9))


def test_discs_are_compact_and_bars_elongated() -> None:
    rows, columns = np.mgrid[:96, :96]
    disc = field(96, 96)
    disc[(rows - 40) ** 2 + (columns - 50) ** 2 < 400] = WATER
    bar = field(96, 96)
    bar[40:50, 20:70] = WATER
    ring = disc.copy()
    ring[(rows - 40) ** 2 + (columns - 50) ** 2 < 250] = CROP
    facts = [measure_facts(m, TABLE).classes[WATER] for m in (disc, bar, ring)]
    assert [f.is_compact for f in facts] == [True, False, False]
    assert [f.is_elongated for f in facts] == [False, True, False]
    assert facts[0].compactness == pytest.approx(1, abs=0.01)
    assert facts[0].mean_patch == facts[0].share


def test_mixtures_are_fine_or_apart() -> None:
    assert measure_facts(field(), TABLE).mixture is None
    halves = field(64, 64)
    halves[:32] = TREE
    rows, columns = np.mgrid[:64, :64]
    fine = np.where((rows // 2 + columns // 2) % 2, TREE, CROP).astype(np.uint8)
    apart, mixed = measure_facts(halves, TABLE).mixture, measure_facts(fine, TABLE).mixture
    assert apart is not None
    assert mixed is not None
    assert (apart.is_apart, apart.is_fine, mixed.is_apart, mixed.is_fine) == (
        True, False, False, True,
    )  # fmt: skip
    assert (apart.mixing, mixed.mixing) == (0.0, pytest.approx(1))
    assert mixed.grain == pytest.approx(2 / 64, rel=0.05)
