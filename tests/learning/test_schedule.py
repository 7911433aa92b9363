"""Learning-rate curves at the points where they are known."""

import numpy as np
import pytest
import torch

from terraloom.learning.schedule import Plateau, rate_factor


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


def test_without_warm_up_the_peak_comes_at_once():
    assert rate_factor("plateau", 0.0, warm_up=0.0) == 1.0


@pytest.mark.parametrize("seed", range(20))
def test_a_plateau_lowers_the_rate_when_torch_does(seed):
    random = np.random.default_rng(seed)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.1, patience=3, eps=0.0
    )
    ours = Plateau()
    for score in np.cumsum(random.normal(0.002, 0.05, 60)) + 0.5:
        reference.step(float(score))
        ours.step(float(score))
        assert ours.rate == pytest.approx(optimizer.param_groups[0]["lr"])
