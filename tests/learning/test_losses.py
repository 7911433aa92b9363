"""Losses in closed form; 255 never counts; trust is a weight."""

import math

import pytest
import torch

from terraloom.learning.losses import (
    Part,
    dice_loss,
    focal_loss,
    pixel_weights,
    segmentation_loss,
    weighted_cross_entropy,
)

LOSSES = ("dice", "ce", "dice+ce", "focal")


def uniform(classes=4, height=3, width=5, batch=2):
    logits = torch.zeros(batch, classes, height, width)
    labels = torch.arange(batch * height * width).reshape(batch, height, width) % classes
    return logits, labels, torch.ones(batch, height, width)


def drawn(seed=0):
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 4, 6, generator=random)
    labels = torch.randint(3, (2, 4, 6), generator=random)
    trust = torch.rand(2, 4, 6, generator=random)
    return logits, labels, trust


def test_cross_entropy_of_even_odds_is_the_logarithm_of_the_classes():
    assert float(weighted_cross_entropy(*uniform())) == pytest.approx(math.log(4))


def test_dice_of_even_odds_has_a_closed_form():
    # Two classes, 8 pixels each of 16, every chance 1/2: dice = 2 · 4 / (8 + 8).
    logits = torch.zeros(1, 2, 4, 4)
    labels = (torch.arange(16) % 2).reshape(1, 4, 4)
    assert float(dice_loss(logits, labels, torch.ones(1, 4, 4))) == pytest.approx(0.5)


def test_dice_averages_over_present_classes_alone():
    # Class 0 everywhere, chances 1/4: dice of class 0 = 2 · n/4 / (n/4 + n) = 0.4.
    logits, _, trust = uniform()
    assert float(dice_loss(logits, torch.zeros(2, 3, 5).long(), trust)) == pytest.approx(0.6)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_perfect_answer_costs_nothing(loss):
    _, labels, trust = uniform()
    logits = 50 * torch.nn.functional.one_hot(labels, 4).movedim(-1, 1).float()
    assert float(segmentation_loss(loss, logits, labels, trust)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_said_of_unknown_pixels_never_counts(loss):
    logits, labels, trust = drawn()
    labels[:, 1:3, 2:5] = 255
    other = logits.clone()
    other[:, :, 1:3, 2:5] = 37.0 * torch.randn(2, 3, 2, 3)
    first = segmentation_loss(loss, logits, labels, trust)
    assert float(first) == pytest.approx(float(segmentation_loss(loss, other, labels, trust)))


@pytest.mark.parametrize("loss", LOSSES)
def test_unknown_pixels_do_not_thin_the_mean(loss):
    logits, labels, trust = drawn()
    alone = segmentation_loss(loss, logits[:, :, :2], labels[:, :2], trust[:, :2])
    labels[:, 2:] = 255
    joined = segmentation_loss(loss, logits, labels, trust)
    assert float(joined) == pytest.approx(float(alone), rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_unknown_pixels_send_no_gradient(loss):
    logits, labels, trust = drawn()
    labels[0] = 255
    logits.requires_grad_()
    segmentation_loss(loss, logits, labels, trust).backward()
    assert float(logits.grad[0].abs().max()) == 0
    assert float(logits.grad[1].abs().max()) > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_a_batch_without_known_pixels_costs_nothing_and_still_has_a_gradient(loss):
    logits, labels, trust = drawn()
    logits.requires_grad_()
    value = segmentation_loss(loss, logits, torch.full_like(labels, 255), trust)
    value.backward()
    assert float(value.detach()) == 0
    assert float(logits.grad.abs().max()) == 0


def test_trust_weighs_cross_entropy_by_pixel():
    logits, labels, trust = drawn()
    each = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    expected = float((each * trust).sum() / trust.sum())
    assert float(weighted_cross_entropy(logits, labels, trust)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("loss", ["dice", "ce"])
def test_a_pixel_without_trust_counts_as_little_as_an_unknown_one(loss):
    logits, labels, trust = drawn()
    trust[1, 2] = 0
    unknown = labels.clone()
    unknown[1, 2] = 255
    assert float(segmentation_loss(loss, logits, labels, trust)) == pytest.approx(
        float(segmentation_loss(loss, logits, unknown, trust))
    )


def test_the_sum_of_both_losses_is_their_sum():
    parts = drawn()
    both = float(segmentation_loss("dice+ce", *parts))
    assert both == pytest.approx(float(dice_loss(*parts)) + float(weighted_cross_entropy(*parts)))


def test_focal_loss_of_even_odds_has_a_closed_form():
    # Lin et al. 2017, eq. 4: (1 - 1/4)² · log 4.
    assert float(focal_loss(*uniform())) == pytest.approx((3 / 4) ** 2 * math.log(4))


def test_focal_loss_looks_at_hard_pixels():
    logits, labels, trust = uniform()
    easy = 3 * torch.nn.functional.one_hot(labels, 4).movedim(-1, 1).float()
    ratio = float(focal_loss(easy, labels, trust) / weighted_cross_entropy(easy, labels, trust))
    hard = float(focal_loss(logits, labels, trust) / weighted_cross_entropy(logits, labels, trust))
    assert ratio < 0.05 < hard


@pytest.mark.parametrize("loss", ["ce", "focal"])
def test_class_weights_weigh_pixels_by_their_true_class(loss):
    logits, labels, trust = drawn()
    weights = torch.tensor([1.0, 0.0, 3.0])
    found = segmentation_loss(loss, logits, labels, trust, weights)
    expected = segmentation_loss(loss, logits, labels, trust * weights[labels])
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("loss", ["ce", "focal"])
def test_parts_add_up_to_the_whole_batch_however_few_pixels_one_knows(loss):
    logits, labels, trust = drawn()
    logits.requires_grad_()
    labels[0, :, 1:] = 255
    weights = torch.tensor([0.5, 1.0, 3.0])
    whole = segmentation_loss(loss, logits, labels, trust, weights)
    (gradient,) = torch.autograd.grad(whole, logits)
    total = pixel_weights(labels, trust, weights).sum()
    parts = sum(
        segmentation_loss(loss, logits[i], labels[i], trust[i], weights, Part(total, 0.5))
        for i in (slice(0, 1), slice(1, 2))
    )
    (of_parts,) = torch.autograd.grad(parts, logits)
    assert float(parts) == pytest.approx(float(whole), rel=1e-6)
    torch.testing.assert_close(of_parts, gradient, rtol=1e-5, atol=1e-8)
    # The mean of the parts' means, which is what averaging alone would give, is another number.
    means = [
        float(segmentation_loss(loss, logits[i], labels[i], trust[i], weights))
        for i in (slice(0, 1), slice(1, 2))
    ]
    assert abs(sum(means) / 2 - float(whole)) > 1e-3


def test_dice_of_parts_is_weighted_by_their_images():
    logits, labels, trust = drawn()
    part = Part(torch.tensor(1.0), 0.25)
    assert float(segmentation_loss("dice", logits, labels, trust, None, part)) == pytest.approx(
        0.25 * float(dice_loss(logits, labels, trust))
    )
