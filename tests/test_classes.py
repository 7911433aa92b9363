"""Codes, labels and colours."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from terraloom.classes import PRESETS, UNKNOWN, ClassTable, LandClass, pack_colours, preset
from terraloom.errors import SettingsError, UnknownCode

WET_AND_DRY = ClassTable(
    classes=(
        LandClass(name="dry", colour=(200, 100, 0), codes=(0, 7)),
        LandClass(name="wet", colour=(0, 0, 0), codes=(1,)),
    ),
    ignore_codes=(-1,),
)


def test_worldcover7_merges_as_the_published_script_does() -> None:
    table = preset("worldcover7")
    codes = np.array([[10, 20, 30, 40, 50, 60], [70, 80, 90, 95, 100, 0]])
    assert table.labels_of_codes(codes).tolist() == [[0, 1, 2, 3, 4, 5], [5, 6, 2, 0, 2, 255]]
    assert table.names == ("tree", "shrub", "grass", "crop", "built-up", "barren", "water")


def test_worldcover11_keeps_every_code_apart_in_the_maps_own_order() -> None:
    codes = np.array([10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100])
    assert preset("worldcover11").labels_of_codes(codes).tolist() == list(range(11))


@pytest.mark.parametrize("name", PRESETS)
@given(labels=arrays.arrays(np.uint8, (3, 5), elements=st.sampled_from([0, 1, 2, 3, 4, 5, 6, 255])))
def test_labels_survive_the_way_through_codes_and_through_colours(
    name: str, labels: np.ndarray
) -> None:
    table = preset(name)
    first_code = np.array([c.codes[0] for c in table.classes] + [0] * (256 - len(table)))
    assert (table.labels_of_codes(first_code[labels]) == labels).all()
    assert (table.labels_of_colours(table.colour_image(labels)) == labels).all()


def test_negative_codes_are_codes_like_others() -> None:
    codes = np.array([[-1, 0], [1, 7]], dtype=np.int16)
    assert WET_AND_DRY.labels_of_codes(codes).tolist() == [[UNKNOWN, 0], [1, 0]]


def test_an_unknown_code_is_told_with_file_code_and_count() -> None:
    codes = np.array([[1, 3, 3], [9, 0, 0]], dtype=np.uint8)
    with pytest.raises(UnknownCode, match=r"north\.tif: codes 3, 9 \(3 pixels\) in no class.*"):
        WET_AND_DRY.labels_of_codes(codes, source="north.tif")
    with pytest.raises(UnknownCode, match=r"knows \[-1, 0, 1, 7\].*ignore_codes"):
        WET_AND_DRY.labels_of_codes(codes)


def test_an_unknown_colour_is_told_in_red_green_blue() -> None:
    pixels = np.array([[[200, 100, 0], [200, 100, 1]]], dtype=np.uint8)
    with pytest.raises(UnknownCode, match=r"a\.png: colour \(200, 100, 1\) in no class"):
        WET_AND_DRY.labels_of_colours(pixels, source="a.png")


def test_a_black_class_wins_over_black_as_unknown() -> None:
    black = np.zeros((1, 2, 3), dtype=np.uint8)
    assert WET_AND_DRY.labels_of_colours(black).tolist() == [[1, 1]]
    assert preset("worldcover7").labels_of_colours(black).tolist() == [[255, 255]]


def test_colours_pack_into_one_number_without_mixing_channels() -> None:
    pixels = np.array([[1, 2, 3], [255, 255, 255]], dtype=np.uint8)
    assert pack_colours(pixels).tolist() == [0x010203, 0xFFFFFF]


def test_the_palette_is_the_class_colours_and_black() -> None:
    palette = preset("worldcover7").palette
    assert palette.shape == (256, 3)
    assert palette[3].tolist() == [255, 215, 0]
    assert not palette[7:].any()


def test_shares_count_known_pixels_only() -> None:
    labels = np.array([[0, 0, 1, 255], [0, 255, 255, 255]], dtype=np.uint8)
    assert WET_AND_DRY.shares(labels).tolist() == [0.75, 0.25]
    assert WET_AND_DRY.shares(np.full((2, 2), 255, np.uint8)).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "dry"}, "class names must differ"),
        ({"colour": (200, 100, 0)}, "class colours must differ"),
        ({"codes": (7,)}, r"codes \[7\] are given to more than one class"),
        ({"codes": (-1,)}, r"codes \[-1\] are given to more than one class or ignore list"),
        ({"colour": (0, 0, 256)}, "less than or equal to 255"),
    ],
)
def test_an_ambiguous_table_is_refused(changed: dict[str, object], message: str) -> None:
    dry, wet = (c.model_dump() for c in WET_AND_DRY.classes)
    with pytest.raises(ValueError, match=message):
        ClassTable.model_validate({"classes": [dry, wet | changed], "ignore_codes": [-1]})


def test_an_unknown_preset_lists_those_there_are() -> None:
    with pytest.raises(SettingsError, match=r"'worldcover8' is unknown.*worldcover7, worldcover11"):
        preset("worldcover8")
