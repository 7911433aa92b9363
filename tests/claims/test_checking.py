"""Verdicts on claims, by masks whose figures are plain to see."""

import re

import numpy as np
import pytest

from terraloom.claims import Claim, check_caption, check_claim, feedback
from terraloom.claims.amounts import supported_band
from terraloom.classes import ClassTable, LandClass, preset
from terraloom.facts import AMOUNTS, measure_facts

SEVEN = preset("worldcover7")
TREE, SHRUB, GRASS, CROP, BUILT, BARREN, WATER = range(7)


def quadrants(nw: int, ne: int, sw: int, se: int, half: int = 32) -> np.ndarray:
    return np.array([[nw, ne], [sw, se]], dtype=np.uint8).repeat(half, 0).repeat(half, 1)


# Trees in the north, grass in the south-west, water in the south-east.
MASK = quadrants(TREE, TREE, GRASS, WATER)
FACTS = measure_facts(MASK, SEVEN)


def verdicts(text: str, mask: np.ndarray = MASK) -> dict[str, str]:
    checked = check_caption(text, measure_facts(mask, SEVEN), SEVEN)
    return {f"{c.claim.kind} {c.claim.value}": c.verdict for c in checked.claims}


def verdict(text: str, kind: str, mask: np.ndarray = MASK) -> str:
    (found,) = [v for k, v in verdicts(text, mask).items() if k.split()[0] == kind]
    return found


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("Trees.", "presence", "supported"),
        ("Crops.", "presence", "contradicted"),
        ("No crops.", "absence", "supported"),
        ("No trees.", "absence", "contradicted"),
        ("Trees dominate.", "dominant", "supported"),
        ("Dominated by water.", "dominant", "contradicted"),
        ("The scene is mostly trees.", "dominant", "supported"),
        ("The scene is not dominated by water.", "dominant", "supported"),
        ("The scene is not dominated by trees.", "dominant", "contradicted"),
        ("Trees cover about half of it.", "quantity", "supported"),
        ("Trees cover 50 % of it.", "quantity", "supported"),
        ("Trees cover 86 % of it.", "quantity", "contradicted"),
        ("Trees cover a third of it.", "quantity", "contradicted"),
        ("Trees cover 53 % of it.", "quantity", "not checkable"),
        ("Grass covers a quarter of it.", "quantity", "supported"),
        ("Grass and water together cover half of it.", "quantity", "supported"),
        ("Water in the south-east.", "place", "supported"),
        ("Water in the south.", "place", "supported"),
        ("Water in the north.", "place", "contradicted"),
        ("Water in the centre.", "place", "contradicted"),
        ("Water throughout.", "place", "contradicted"),
        ("The northern half is mainly forest.", "place", "supported"),
        ("The southern half is mainly forest.", "place", "contradicted"),
        ("Grass next to water.", "adjacency", "supported"),
        ("Crops next to water.", "adjacency", "contradicted"),
        ("Trees cover more of it than water.", "comparison", "supported"),
        ("Water covers more of it than trees.", "comparison", "contradicted"),
        ("Grass covers more of it than water.", "comparison", "not checkable"),
        ("Grass and water are about equally extensive.", "comparison", "supported"),
        ("Grass and trees are about equally extensive.", "comparison", "contradicted"),
    ],
)
def test_verdicts(text: str, kind: str, expected: str) -> None:
    assert verdict(text, kind) == expected


def river(bends: float) -> np.ndarray:
    """Water through trees from west to east, beside grass in patches and one round shrub."""
    mask = np.zeros((96, 96), dtype=np.uint8)
    rows = np.arange(96)[:, None]
    mask[abs(rows - 30 - bends * np.sin(np.arange(96) / 10)) < 2.5] = WATER
    for row in (64, 74, 84):
        for column in range(4, 90, 10):
            mask[row : row + 3, column : column + 3] = GRASS
    mask[(rows - 55) ** 2 + (np.arange(96) - 48) ** 2 < 36] = SHRUB
    return mask


@pytest.mark.parametrize(
    ("text", "bends", "expected"),
    [
        ("A winding river.", 12, "supported"),
        ("A winding river.", 0, "contradicted"),
        ("A straight canal.", 12, "not checkable"),  # it may be narrower than a pixel
        ("Straight water.", 12, "contradicted"),
        ("Straight water.", 0, "supported"),
        ("A narrow strip of water.", 12, "supported"),
        ("A narrow strip of shrubs.", 0, "contradicted"),
        ("A winding band of shrubs.", 0, "contradicted"),
        ("Scattered grass.", 0, "supported"),
        ("Scattered shrubs.", 0, "contradicted"),
        ("Grass in one continuous block.", 0, "contradicted"),
        ("Shrubs form one continuous patch.", 0, "supported"),
        ("Patches of grass.", 0, "supported"),
        ("Patches of shrubs.", 0, "contradicted"),
        ("The shrubs are not scattered.", 0, "supported"),
        ("Scattered crops.", 0, "contradicted"),
    ],
)
def test_verdicts_on_shapes(text: str, bends: float, expected: str) -> None:
    mask = river(bends)
    found = check_caption(text, measure_facts(mask, SEVEN), SEVEN).claims
    assert {c.verdict for c in found if c.claim.kind == "shape"} == {expected}
    shares = [float((mask == label).mean()) for label in range(7)]
    told = check_caption(text, shares, SEVEN).claims
    assert {c.verdict for c in told if c.claim.kind == "shape"} == {"not checkable"}


def test_evidence_tells_the_figure_and_the_threshold() -> None:
    (quantity,) = [
        c for c in check_caption("Trees cover 86 % of it.", FACTS, SEVEN).claims
        if c.claim.kind == "quantity"
    ]  # fmt: skip
    assert quantity.evidence == "tree covers 50.0 %; “86 %” needs 84.0 % to 88.0 %"


def test_what_is_only_held_possible_is_never_contradicted() -> None:
    assert verdict("There may be crops.", "presence") == "not checkable"
    assert verdict("There may be trees.", "presence") == "supported"


def test_a_path_that_the_mask_does_not_show_may_be_too_narrow() -> None:
    assert verdict("A path.", "presence") == "not checkable"
    assert verdict("A town.", "presence") == "contradicted"


def test_classes_that_lie_far_apart_are_not_adjacent() -> None:
    mask = np.full((64, 64), GRASS, dtype=np.uint8)
    mask[:8, :8], mask[-8:, -8:] = WATER, TREE
    assert verdict("Trees near water.", "adjacency", mask) == "contradicted"
    mask[:8, 10:14] = TREE
    mask[-8:, -8:] = GRASS
    assert verdict("Trees near water.", "adjacency", mask) == "supported"


def test_a_band_from_west_to_east() -> None:
    mask = np.full((64, 64), GRASS, dtype=np.uint8)
    mask[30:33] = WATER
    assert verdict("A river runs from west to east.", "place", mask) == "supported"
    assert verdict("A river runs from right to left.", "place", mask) == "supported"
    assert verdict("A river runs from north to south.", "place", mask) == "contradicted"


@pytest.mark.parametrize("mask", [np.full((8, 8), 255, dtype=np.uint8)])
def test_of_an_unknown_mask_nothing_can_be_checked(mask: np.ndarray) -> None:
    text = "Trees cover half of it, no water, grass in the north near crops, more crops than grass."
    checked = check_caption(text, measure_facts(mask, SEVEN), SEVEN)
    assert {c.verdict for c in checked.claims} == {"not checkable"}
    assert len({c.claim.kind for c in checked.claims}) >= 5
    assert (checked.precision, checked.recall, checked.names_dominant) == (None, None, None)
    assert not checked.is_contradicted
    assert check_caption(text, [0.0] * 7, SEVEN).precision is None


def test_absence_needs_a_mask_that_is_known() -> None:
    mask = MASK.copy()
    mask[:4] = 255
    assert verdict("No crops.", "absence", mask) == "not checkable"
    assert verdict("Crops.", "presence", mask) == "not checkable"
    assert verdict("No trees.", "absence", mask) == "contradicted"


def test_shares_alone_tell_no_places_and_no_neighbours() -> None:
    shares = [0.5, 0, 0.25, 0, 0, 0, 0.25]
    checked = check_caption("Trees in the north near water, dominated by grass.", shares, SEVEN)
    found = {c.claim.kind: c.verdict for c in checked.claims if c.claim.kind != "presence"}
    assert found == {
        "place": "not checkable", "adjacency": "not checkable", "dominant": "contradicted",
    }  # fmt: skip


def test_rounded_shares_decide_nothing_that_rounding_could() -> None:
    shares = [1.0, 0, 0, 0, 0, 0, 0]
    text = "No water. Trees cover all of the scene. Crops cover half of it."
    exact = [c.verdict for c in check_caption(text, shares, SEVEN).claims]
    rounded = {
        (c.claim.kind, c.claim.value): c.verdict
        for c in check_caption(text, shares, SEVEN, step=0.01).claims
    }
    assert "not checkable" not in exact
    assert rounded["absence", None] == "not checkable"
    assert rounded["quantity", "all"] == "supported"
    assert rounded["quantity", "about 50"] == "contradicted"


@pytest.mark.parametrize(
    ("shares", "told"),
    [
        ([50, 0, 25, 0, 0, 0, 25], "0 … 1"),
        ([0.5, 0.5], "7 numbers"),
        ([0.5, 0, 0.1, 0, 0, 0, 0], "sum to 1"),
        ([float("nan")] * 7, "0 … 1"),
    ],
)
def test_shares_that_do_not_fit_are_refused(shares: list[float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check_caption("Trees.", shares, SEVEN)


def test_figures_of_a_caption() -> None:
    checked = check_caption("Trees and grass, no water, and crops in the north.", FACTS, SEVEN)
    # Of tree, grass, no water, crop, crop in the north, two hold.
    assert checked.precision == pytest.approx(2 / 5)
    assert checked.recall == pytest.approx(2 / 3)
    assert checked.names_dominant is True
    assert len(checked.contradictions) == 3
    assert check_caption("Water.", FACTS, SEVEN).names_dominant is False
    assert check_caption("Perhaps trees.", FACTS, SEVEN).names_dominant is False


def test_a_long_caption_says_how_much_of_it_was_not_read() -> None:
    assert check_caption("Trees. " * 10_000, FACTS, SEVEN).unread == 50_000
    assert check_caption("Trees.", FACTS, SEVEN).unread == 0


def test_every_amount_of_the_facts_has_its_band() -> None:
    for amount in AMOUNTS:
        for words in amount.words:
            text = f"Trees cover {words} of the scene."
            middle = sum(amount.safe) / 2
            shares = [middle, 0, 1 - middle, 0, 0, 0, 0]
            (found,) = [
                c for c in check_caption(text, shares, SEVEN).claims if c.claim.kind == "quantity"
            ]
            assert found.verdict == "supported", words


def test_a_band_is_refused_for_what_is_no_amount() -> None:
    with pytest.raises(ValueError, match="no amount"):
        supported_band("plenty")


def test_one_claim_can_be_checked_alone() -> None:
    claim = Claim("presence", (CROP,), None, (0, 5))
    assert check_claim(claim, FACTS, SEVEN).verdict == "contradicted"


def test_feedback_tells_each_contradiction_without_a_digit() -> None:
    checked = check_caption(
        "Crops cover 86 % of the scene, more than trees. Water lies in the north. No trees.",
        FACTS,
        SEVEN,
    )
    text = feedback(checked)
    assert not re.search(r"\d", text)
    assert "There is no crop in the scene." in text
    assert "Water does not lie in the north." in text
    assert "There is tree in the scene." in text
    assert feedback(check_caption("Trees in the north.", FACTS, SEVEN)) == ""


def test_feedback_holds_no_digit_of_a_class_name() -> None:
    table = ClassTable(
        classes=(LandClass(name="band_4", colour=(1, 0, 0)), LandClass(name="b", colour=(2, 0, 0)))
    )
    text = feedback(check_caption("Band 4.", [0.0, 1.0], table))
    assert "band four" in text
    assert not re.search(r"\d", text)


def test_each_kind_of_contradiction_has_words() -> None:
    text = (
        "Dominated by water. Trees cover a tenth of it. The southern half is mainly forest. "
        "Water runs from the north-west to the north-east. Crops lie along the northern edge. "
        "Crops border water. Grass and trees are equally extensive. Not dominated by trees."
    )
    checked = check_caption(text, FACTS, SEVEN)
    kinds = {c.claim.kind for c in checked.contradictions}
    assert kinds >= {"dominant", "quantity", "place", "adjacency", "comparison", "presence"}
    for claim in checked.contradictions:
        alone = feedback(type(checked)((claim,), None, None, None, 0, checked.names))
        assert alone.endswith(".")
        assert alone[0].isupper()
