"""A verdict must beat the strongest real-only arm that the project ever recorded."""

import pytest

from terraloom.controls import record_controls, strongest_recorded

SETTING = {"real": "abc", "images": 100, "crop_size": 32}


def cells(arm, right, seeds=2, architecture="unet"):
    return [
        {
            "arm": arm, "architecture": architecture, "seed": seed,
            "confusion": {"p": [[right, 100 - right], [100 - right, right]]},
        }
        for seed in range(seeds)
    ]  # fmt: skip


def strongest(folder, own, setting=SETTING, recipe="new"):
    return strongest_recorded(folder, own, setting, recipe)


@pytest.fixture
def folder(tmp_path):
    record_controls(
        tmp_path, cells("real", 80) + cells("real-strong", 90) + cells("real+both", 99),
        SETTING, "old",
    )  # fmt: skip
    return tmp_path


def test_a_stronger_control_of_an_earlier_recipe_comes_back_under_its_own_name(folder):
    found = strongest(folder, cells("real", 70))
    assert {cell["arm"] for cell in found} == {"recorded:real-strong"}
    assert [cell["confusion"]["p"][0][0] for cell in found] == [90, 90]


def test_the_strongest_of_several_recipes_counts(folder):
    record_controls(folder, cells("real", 95), SETTING, "older")
    assert {cell["arm"] for cell in strongest(folder, cells("real", 70))} == {"recorded:real"}


def test_arms_with_synthetic_rows_are_never_recorded(folder):
    assert max(c["confusion"]["p"][0][0] for c in strongest(folder, cells("real", 70))) == 90


def test_a_weaker_record_does_not_matter(folder):
    assert strongest(folder, cells("real", 91)) == []


def test_a_recipe_is_not_compared_with_itself(folder):
    assert strongest(folder, cells("real", 70), recipe="old") == []


@pytest.mark.parametrize("change", [{"real": "other"}, {"images": 99}, {"crop_size": 64}])
def test_other_data_or_budgets_are_no_comparison(folder, change):
    assert strongest(folder, cells("real", 70), SETTING | change) == []


def test_another_number_of_seeds_or_architecture_is_no_comparison(folder):
    assert strongest(folder, cells("real", 70, seeds=3)) == []
    assert strongest(folder, cells("real", 70, architecture="fpn")) == []


def test_without_records_there_is_nothing_to_beat(tmp_path):
    assert strongest(tmp_path / "none", cells("real", 70)) == []
