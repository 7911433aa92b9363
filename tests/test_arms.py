"""The arms of a benchmark and what is refused."""

import pytest

from terraloom.arms import (
    ARMS,
    COMPARED,
    arm_named,
    check_arms,
    controls_of,
    is_control,
    is_reference,
)
from terraloom.errors import SettingsError
from terraloom.settings import BenchmarkSettings


def test_the_published_arms_are_there():
    assert {"real", "synthetic", "real+conditional", "real+unconditional", "real+both"} <= set(ARMS)


def test_controls_see_real_rows_only():
    assert {name for name, arm in ARMS.items() if arm.is_control} == {"real", "real-strong"}
    assert "real" not in ARMS["synthetic"].rows
    assert set(ARMS["real+both"].rows) == {"real", "conditional", "unconditional"}


def test_only_the_strong_control_is_augmented_strongly():
    assert [name for name, arm in ARMS.items() if arm.strong] == ["real-strong"]


def test_the_default_arms_are_sound():
    check_arms(BenchmarkSettings().arms)
    check_arms(("real-strong", "synthetic"))


def test_an_unknown_arm_is_named_with_those_there_are():
    with pytest.raises(SettingsError, match=r"no arm 'real\+all'; there are: real, real-strong"):
        check_arms(("real", "real+all"))


def test_a_benchmark_without_a_control_is_refused():
    with pytest.raises(SettingsError, match=r"needs a control .* add 'real' or 'real-strong'"):
        check_arms(("synthetic", "real+both"))


def test_amounts_are_read_from_the_name():
    half = arm_named("real+both@0.5x")
    assert (half.ratio, half.share, half.rows) == (0.5, 1.0, ARMS["real+both"].rows)
    quarter = arm_named("real-strong@25%")
    assert (quarter.share, quarter.strong) == (0.25, True)
    both = arm_named("real+both@25%@2x")
    assert (both.share, both.ratio) == (0.25, 2.0)


@pytest.mark.parametrize(
    "name",
    ["real@2x", "synthetic@1x", "real+both@0x", "synthetic@50%", "real@0%", "real@120%",
     "more-real@50%", "unfiltered@2x"],
)  # fmt: skip
def test_impossible_amounts_are_refused(name):
    with pytest.raises(SettingsError, match=r"benchmark\.arms"):
        arm_named(name)


def test_an_arm_of_a_share_must_beat_a_control_of_that_share():
    arms = ("real", "real-strong", "real@25%", "real+both", "real+both@25%", "recorded:real")
    check_arms(arms[:-1])
    assert controls_of("real+both@25%", arms) == ["real@25%"]
    assert controls_of("real+both", arms) == ["real", "real-strong", "recorded:real"]
    assert not is_control("real@25%")
    assert is_reference("real@25%")
    with pytest.raises(SettingsError, match=r"needs a control .*'real@10%'"):
        check_arms(("real", "real+both@10%"))


def test_curves_become_arms():
    settings = BenchmarkSettings(arms=("real",), ratios=(0.5, 2), sizes=(0.25,))
    assert settings.every_arm == (
        "real", "real+both@0.5x", "real+both@2x", "real@25%", "real+both@25%",
    )  # fmt: skip
    check_arms(settings.every_arm)


def test_arms_that_ask_a_question_say_which():
    assert all(ARMS[name].asks and not is_control(name) for name in COMPARED)
