"""The flow in closed form: preconditioning, straight paths, guidance."""

import numpy as np
import pytest
import torch
from torch import nn

from terraloom.generators._face import DataShape
from terraloom.generators._flow_network import VelocityUNet
from terraloom.generators._flow_spectrum import ToneSpectrum
from terraloom.generators._layers import label_planes, seeded_normal
from terraloom.generators.flow import FlowGenerator, Settings
from terraloom.learning.batches import Batch
from terraloom.learning.device import make_fabric

MEAN, STD = (0.4, 0.5, 0.3), (0.2, 0.15, 0.25)


def network(patch=2):
    torch.manual_seed(0)
    return VelocityUNet((8, 16), patch, 4)


def planes(count, size=16):
    labels = torch.arange(count * size * size).reshape(count, size, size) % 3
    return label_planes(labels, 3)


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_a_network_of_zeros_gives_the_best_linear_estimate(patch):
    # Data and noise of unit variance, uncorrelated: E[data − noise | x] = (2t−1)/(t²+(1−t)²) · x.
    x = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    times = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0])
    with torch.no_grad():
        net = network(patch)
        net.leave.weight.zero_()
        net.leave.bias.zero_()
        velocity = net(x, times, planes(5))
    for index, t in enumerate(times.tolist()):
        factor = (2 * t - 1) / (t**2 + (1 - t) ** 2)
        torch.testing.assert_close(velocity[index], factor * x[index])
    torch.testing.assert_close(velocity[0], -x[0])
    torch.testing.assert_close(velocity[4], x[4])


def test_the_linear_estimate_is_the_regression_on_gaussian_data():
    random = np.random.default_rng(0)
    data, noise = random.standard_normal((2, 200_000))
    for t in (0.1, 0.4, 0.8):
        x = t * data + (1 - t) * noise
        slope = (x * (data - noise)).mean() / (x * x).mean()
        assert slope == pytest.approx((2 * t - 1) / (t**2 + (1 - t) ** 2), abs=0.02)


def test_the_network_adds_to_the_estimate_at_the_scale_of_what_is_left():
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    times = torch.tensor([0.5, 1.0])
    net = network()
    pattern = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(8, 8).expand(3, 16, 16)
    with torch.no_grad():
        net.leave.weight.zero_()
        net.leave.bias.copy_(torch.tensor([1.0, -1.0, -1.0, 1.0]).repeat(3))
        velocity = net(x, times, planes(2))
        # At t = 1/2 the skip is 0 and the rest has variance 1/(1/4 + 1/4) = 2.
        torch.testing.assert_close(velocity[0], pattern * 2**0.5)
        torch.testing.assert_close(velocity[1], x[1] + pattern)
        # The mean of what convolutions say is left out; a tone has its own way.
        net.leave.bias.add_(5.0)
        torch.testing.assert_close(net(x, times, planes(2)), velocity)
        net.leave_tone[-1].bias.fill_(1.0)
        toned = net(x, times, planes(2))
    torch.testing.assert_close(toned[0], velocity[0] + 2**0.5)
    torch.testing.assert_close(toned[1], velocity[1] + 1)


class Scripted(nn.Module):
    """A velocity known in advance; counts its calls."""

    def __init__(self, velocity):
        super().__init__()
        self.velocity, self.calls = velocity, []
        self.tone = ToneSpectrum(3)

    def forward(self, x, time, planes, shares=None):
        self.calls.append(float(time[0]))
        return self.velocity(x, time, planes)


def scripted(velocity, **options):
    settings = Settings(widths=(8, 16), **options)
    generator = FlowGenerator(settings, DataShape(3, 8, MEAN, STD), make_fabric(1))
    generator.average = Scripted(velocity)
    return generator


def starts(seeds, size=8):
    return ToneSpectrum(3).given_to(seeded_normal(seeds, (3, size, size), "start"))


def shown(x):
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (MEAN, STD))
    return (x * std + mean).clamp(0, 1)


@pytest.mark.parametrize("sampler", ["euler", "heun"])
@pytest.mark.parametrize("steps", [1, 3, 8])
def test_a_constant_velocity_is_integrated_exactly(sampler, steps):
    generator = scripted(
        lambda x, t, p: torch.full_like(x, 0.3), sampler=sampler, steps=steps, guidance=1
    )
    free = torch.full((2, 8, 8), 255)
    torch.testing.assert_close(generator.sample(free, [4, 5]), shown(starts([4, 5]) + 0.3))


def test_heun_is_exact_where_velocity_grows_with_time_but_for_its_last_step():
    # v = t: the trapezium is exact; the last step is Euler's, which misses h²/2.
    steps = 4
    generator = scripted(
        lambda x, t, p: t[:, None, None, None].expand_as(x), sampler="heun", steps=steps, guidance=1
    )
    free = torch.full((1, 8, 8), 255)
    expected = shown(starts([4]) + 0.5 - 0.5 / steps**2)
    torch.testing.assert_close(generator.sample(free, [4]), expected)
    assert generator.average.calls == pytest.approx([0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75])


def test_guidance_goes_beyond_the_mask_and_costs_a_second_evaluation():
    shape = torch.linspace(-1, 1, 8).expand(3, 8, 8)

    def velocity(x, t, p):
        # A tone and a shape where the mask is known, nothing where it is not.
        return (1 - p[:, -1:]) * (0.2 + shape)

    generator = scripted(velocity, sampler="euler", steps=2, guidance=1.5)
    known = torch.zeros(1, 8, 8).long()
    # The shape is exaggerated, the tone is not.
    torch.testing.assert_close(generator.sample(known, [4]), shown(starts([4]) + 0.2 + 1.5 * shape))
    assert len(generator.average.calls) == 4
    plain = scripted(velocity, sampler="euler", steps=2, guidance=1)
    torch.testing.assert_close(plain.sample(known, [4]), shown(starts([4]) + 0.2 + shape))
    assert len(plain.average.calls) == 2


def test_guidance_by_shares_exaggerates_the_tone_which_is_what_they_say():
    class OfShares(Scripted):
        def forward(self, x, time, planes, shares=None):
            return shares[:, -1:, None, None].expand_as(x) * 0.2

    generator = scripted(None, sampler="euler", steps=2, guidance=1.5, shares=True)
    generator.average = OfShares(None)
    made = generator.sample_shares(torch.tensor([[0.2, 0.3, 0.5]]), [4])
    torch.testing.assert_close(made, shown(starts([4]) + 1.5 * 0.2))


def test_the_loss_of_a_fresh_network_is_what_the_linear_estimate_leaves():
    # The last layer starts at (almost) zero: the loss is near E[1/(t²+(1−t)²)] for logit-normal t.
    torch.manual_seed(0)
    generator = FlowGenerator(
        Settings(widths=(8, 16)), DataShape(3, 32, (0.5,) * 3, (0.1,) * 3), make_fabric(1)
    )
    with torch.no_grad():
        generator.network.leave.bias.zero_()
    random = np.random.default_rng(0)
    images = torch.from_numpy(random.normal(0.5, 0.1, (64, 3, 32, 32))).float()
    batch = Batch(images, torch.zeros(64, 32, 32).long(), torch.ones(64, 32, 32))
    loss = generator.step(batch, random, 0.5)["loss"]
    t = 1 / (1 + np.exp(-np.random.default_rng(1).standard_normal(100_000)))
    assert loss == pytest.approx(float((1 / (t**2 + (1 - t) ** 2)).mean()), rel=0.05)
