"""Losses of a segmentation: unknown pixels never count, trust weighs every one of them."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from terraloom.classes import UNKNOWN

Loss = Literal["dice", "ce", "dice+ce", "focal"]
_FOCUS = 2.0
"""γ of the focal loss: the value that Lin et al. found best."""


def segmentation_loss(
    loss: Loss,
    logits: Tensor,
    labels: Tensor,
    trust: Tensor,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Mean loss of a batch.

    Args:
        loss: "dice" (soft Dice over present classes), "ce", the sum of both, or "focal".
        logits: "batch class height width".
        labels: int64 "batch height width", 255 unknown.
        trust: float "batch height width", 0 … 1.
        class_weights: float "class", of cross-entropy and focal loss; None weighs all alike. Dice
            counts every class once as it is.
    """
    total = logits.new_zeros(())
    if loss in ("ce", "dice+ce"):
        total = total + weighted_cross_entropy(logits, labels, trust, class_weights)
    if loss == "focal":
        total = total + focal_loss(logits, labels, trust, class_weights)
    if loss in ("dice", "dice+ce"):
        total = total + dice_loss(logits, labels, trust)
    return total


def weighted_cross_entropy(
    logits: Tensor, labels: Tensor, trust: Tensor, class_weights: Tensor | None = None
) -> Tensor:
    """Cross-entropy averaged over known pixels, weighted by trust and class; 0 if none is known."""
    each = F.cross_entropy(logits, labels, ignore_index=UNKNOWN, reduction="none")
    return _weighted_mean(each, _weights(labels, trust, class_weights))


def focal_loss(
    logits: Tensor, labels: Tensor, trust: Tensor, class_weights: Tensor | None = None
) -> Tensor:
    """Focal loss (Lin et al. 2017, eq. 4 and 5): cross-entropy times (1 − p)^γ with γ = 2.

    Averaged as `weighted_cross_entropy`; p is the probability of the true class.
    """
    each = F.cross_entropy(logits, labels, ignore_index=UNKNOWN, reduction="none")
    # exp(−cross-entropy) is the probability of the true class.
    each = each * (1 - torch.exp(-each)) ** _FOCUS
    return _weighted_mean(each, _weights(labels, trust, class_weights))


def dice_loss(logits: Tensor, labels: Tensor, trust: Tensor) -> Tensor:
    """1 − soft Dice, averaged over the classes present in the batch (Milletari et al. 2016, eq. 2).

    Sums run over batch and pixels; pixels weigh by `trust`, unknown ones not at all.
    """
    num_classes = logits.shape[1]
    weight = (trust * (labels != UNKNOWN)).unsqueeze(1)
    probability = logits.softmax(dim=1) * weight
    known = torch.where(labels == UNKNOWN, torch.zeros_like(labels), labels)
    truth = F.one_hot(known, num_classes).movedim(-1, 1).to(logits.dtype) * weight
    overlap = (probability * truth).sum(dim=(0, 2, 3))
    sizes = (probability + truth).sum(dim=(0, 2, 3))
    present = truth.sum(dim=(0, 2, 3)) > 0
    dice = (2 * overlap + 1e-6) / (sizes + 1e-6)
    return (1 - dice[present]).mean() if present.any() else logits.sum() * 0


def _weights(labels: Tensor, trust: Tensor, class_weights: Tensor | None) -> Tensor:
    """Weight per pixel, 0 where unknown."""
    known = labels != UNKNOWN
    weight = trust * known
    if class_weights is not None:
        weight = weight * class_weights[torch.where(known, labels, torch.zeros_like(labels))]
    return weight


def _weighted_mean(each: Tensor, weight: Tensor) -> Tensor:
    return (each * weight).sum() / weight.sum().clamp_min(1.0)
