"""The arms of a benchmark and what is refused."""

import pytest

from terraloom.arms import ARMS, check_arms
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
