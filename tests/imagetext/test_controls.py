"""Hard negatives differ in content alone."""

import pytest

from terraloom.classes import preset
from terraloom.imagetext.controls import dealt_to_others, hard_negative
from terraloom.naming import named_classes

SEVEN = preset("worldcover7")


def test_every_class_is_exchanged_and_every_other_word_stays():
    text = "Trees cover most of the scene, with open water in the north and no cropland."
    for seed in range(20):
        wrong = hard_negative(text, SEVEN, seed=seed)
        assert wrong == hard_negative(text, SEVEN, seed=seed)
        before, after = named_classes(text, SEVEN), named_classes(wrong, SEVEN)
        assert before == {0, 6}
        assert len(after) == 2
        assert after != before
        assert " cover most of the scene, with " in wrong
        assert wrong[0].isupper()
        assert " in the north and no " in wrong


def test_without_a_class_places_are_turned():
    assert hard_negative("A river in the North-west, houses left.", SEVEN, seed=0) == (
        "A river in the South-east, houses right."
    )


@pytest.mark.parametrize("text", ["", "A view.", "Two airplanes"])
def test_where_nothing_can_be_exchanged_there_is_none(text):
    assert hard_negative(text, SEVEN, seed=0) is None


def test_nobody_keeps_their_own_captions():
    texts = [[f"{i}-{k}" for k in range(i % 3)] for i in range(30)]
    dealt = dealt_to_others(texts, seed=4)
    assert sorted(map(tuple, dealt)) == sorted(map(tuple, texts))
    assert all(a != b for a, b in zip(texts, dealt, strict=True) if a)
    assert dealt_to_others([["only"]], seed=0) == [[]]
