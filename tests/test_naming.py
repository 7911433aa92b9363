"""Which classes a caption names."""

import pytest

from terraloom.classes import ClassTable, LandClass, preset
from terraloom.naming import named_classes, names_class

TABLE = preset("worldcover7")
ELEVEN = preset("worldcover11")


def names(text: str, table: ClassTable = TABLE) -> set[str]:
    return {table.names[label] for label in named_classes(text, table)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Trees cover most of the scene, with Cropland in the north.", {"tree", "crop"}),
        ("A FOREST beside water bodies.", {"tree", "water"}),
        ("A predominantly grass-covered landscape.", {"grass"}),
        ("Built up areas and barren hillsides.", {"built-up", "barren"}),
        ("A treeless, waterlogged plain of grasses.", {"grass"}),
        ("Meadows, forests and pastures.", {"grass", "tree"}),
        ("A non-forest area.", set()),
        ("Nothing here.", set()),
        ("", set()),
    ],
)
def test_names_synonyms_and_plurals_count(text: str, expected: set[str]) -> None:
    assert names(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No water is visible and trees cover the area.", {"tree"}),
        ("Grassland without trees or water.", {"grass"}),
        ("No water, shrubs or bare soil are to be seen; crops dominate.", {"crop"}),
        ("With no water, trees cover the area.", {"tree"}),
        ("The scene is free of buildings.", set()),
        ("The scene is free of buildings, but pasture lies in the north.", {"grass"}),
        ("Neither trees nor water occur.", set()),
        ("Water and trees are absent. Crops dominate.", {"crop"}),
        ("Water is not visible, while crops dominate.", {"crop"}),
        ("A water-free expanse of bare soil.", {"barren"}),
        ("No class takes up more of the area than trees.", {"tree"}),
        ("No other class than water is found beside trees.", {"water", "tree"}),
        ("Not only trees but also crops.", {"tree", "crop"}),
        ("The landscape lacks water.", set()),
        ("No single class dominates the image, which combines trees and crops.", {"tree", "crop"}),
    ],
)
def test_denied_mentions_do_not_count(text: str, expected: set[str]) -> None:
    assert names(text) == expected


def test_the_longest_phrase_wins() -> None:
    assert names("A mangrove forest.", ELEVEN) == {"mangrove"}
    assert names("A mangrove forest beside a forest.", ELEVEN) == {"mangrove", "tree"}


def test_user_tables_are_read_by_their_own_names() -> None:
    table = ClassTable(
        classes=(
            LandClass(name="Built-up", colour=(1, 1, 1)),
            LandClass(name="rice_paddy", colour=(2, 2, 2)),
            LandClass(name="C++ (odd)", colour=(3, 3, 3)),
        )
    )
    assert names("Rice paddies around built-up land", table) == {"Built-up", "rice_paddy"}


def test_asking_for_one_class_agrees_and_a_foreign_class_is_refused() -> None:
    text = "Trees cover the scene."
    assert names_class(text, TABLE.classes[0], TABLE)
    assert not names_class(text, TABLE.classes[6], TABLE)
    with pytest.raises(ValueError, match="'lava' is not in the class table"):
        names_class(text, LandClass(name="lava", colour=(9, 9, 9)), TABLE)
