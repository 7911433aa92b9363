"""Learning-rate curves at the points where they are known."""

import pytest

from terraloom.learning.schedule import rate_factor


@pytest.mark.parametrize("schedule", ["cosine", "plateau", "constant"])
def test_every_schedule_warms_up_in_a_straight_line(schedule):
    assert rate_factor(schedule, 0.0) == 0.01
    assert rate_factor(schedule, 0.015) == pytest.approx(0.5)
    assert rate_factor(schedule, 0.03) == pytest.approx(1.0)


def test_cosine_falls_to_its_floor_and_never_rises_again():
    values = [rate_factor("cosine", 0.03 + 0.97 * i / 50) for i in range(51)]
    assert values[25] == pytest.approx((1 + 0.02) / 2)
    assert values[-1] == pytest.approx(0.02)
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("schedule", ["plateau", "constant"])
def test_the_others_stay_at_their_peak(schedule):
    assert {rate_factor(schedule, p) for p in (0.03, 0.5, 0.99, 1.0)} == {1.0}
