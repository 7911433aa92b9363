"""Losses of a segmentation: unknown pixels never count, trust weighs every one of them.

A batch may be computed in parts, one after the other or in several processes. Cross-entropy and
focal loss of the parts then add up to those of the whole batch, since every part divides by the
weights of all; Dice is taken of each part by itself, so its sum is only near the batch's.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from terraloom.classes import UNKNOWN

Loss = Literal["dice", "ce", "dice+ce", "focal"]
_FOCUS = 2.0
"""γ of the focal loss: the value that Lin et al. found best."""


@dataclass(frozen=True)
class Part:
    """How a part of a batch stands to the whole batch."""

    weight: Tensor
    """Sum of `pixel_weights` over the whole batch, "" (no axis)."""
    share: float
    """Of the batch's images, 0 … 1."""


def segmentation_loss(
    loss: Loss,
    logits: Tensor,
    labels: Tensor,
    trust: Tensor,
    class_weights: Tensor | None = None,
    part: Part | None = None,
) -> Tensor:
    """Mean loss of a batch, or what a part of a batch adds to it.

    Args:
        loss: "dice" (soft Dice over present classes), "ce", the sum of both, or "focal".
        logits: "batch class height width".
        labels: int64 "batch height width", 255 unknown.
        trust: float "batch height width", 0 … 1.
        class_weights: float "class", of cross-entropy and focal loss; None weighs all alike. Dice
            counts every class once as it is.
        part: where these are not all images of the batch; the results of all parts add up to the
            batch's loss (exactly but for Dice, which is weighted by the part's share of images).
    """
    whole = None if part is None else part.weight
    total = logits.new_zeros(())
    if loss in ("ce", "dice+ce"):
        total = total + weighted_cross_entropy(logits, labels, trust, class_weights, whole)
    if loss == "focal":
        total = total + focal_loss(logits, labels, trust, class_weights, whole)
    if loss in ("dice", "dice+ce"):
        dice = dice_loss(logits, labels, trust)
        total = total + (dice if part is None else dice * part.share)
    return total


def weighted_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    trust: Tensor,
    class_weights: Tensor | None = None,
    whole: Tensor | None = None,
) -> Tensor:
    """Cross-entropy averaged over known pixels, weighted by trust and class; 0 if none is known.

    `whole` is the sum of weights that is divided by; left out, that of these pixels.
    """
    each = F.cross_entropy(logits, labels, ignore_index=UNKNOWN, reduction="none")
    return _weighted_mean(each, pixel_weights(labels, trust, class_weights), whole)


def focal_loss(
    logits: Tensor,
    labels: Tensor,
    trust: Tensor,
    class_weights: Tensor | None = None,
    whole: Tensor | None = None,
) -> Tensor:
    """Focal loss (Lin et al. 2017, eq. 4 and 5): cross-entropy times (1 − p)^γ with γ = 2.

    Averaged as `weighted_cross_entropy`; p is the probability of the true class.
    """
    each = F.cross_entropy(logits, labels, ignore_index=UNKNOWN, reduction="none")
    # exp(−cross-entropy) is the probability of the true class.
    each = each * (1 - torch.exp(-each)) ** _FOCUS
    return _weighted_mean(each, pixel_weights(labels, trust, class_weights), whole)


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


def pixel_weights(labels: Tensor, trust: Tensor, class_weights: Tensor | None) -> Tensor:
    """Weight per pixel of cross-entropy and focal loss, "batch height width"; 0 where unknown."""
    known = labels != UNKNOWN
    weight = trust * known
    if class_weights is not None:
        weight = weight * class_weights[torch.where(known, labels, torch.zeros_like(labels))]
    return weight


def _weighted_mean(each: Tensor, weight: Tensor, whole: Tensor | None) -> Tensor:
    total = weight.sum() if whole is None else whole
    return (each * weight).sum() / total.clamp_min(1.0)
