"""Losses of a segmentation: unknown pixels never count, trust weighs cross-entropy."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from terraloom.classes import UNKNOWN

Loss = Literal["dice", "ce", "dice+ce"]


def segmentation_loss(loss: Loss, logits: Tensor, labels: Tensor, trust: Tensor) -> Tensor:
    """Mean loss of a batch.

    Args:
        loss: "dice" (soft Dice over present classes), "ce", or the sum of both.
        logits: "batch class height width".
        labels: int64 "batch height width", 255 unknown.
        trust: float "batch height width", 0 … 1.
    """
    total = logits.new_zeros(())
    if loss in ("ce", "dice+ce"):
        total = total + weighted_cross_entropy(logits, labels, trust)
    if loss in ("dice", "dice+ce"):
        total = total + dice_loss(logits, labels, trust)
    return total


def weighted_cross_entropy(logits: Tensor, labels: Tensor, trust: Tensor) -> Tensor:
    """Cross-entropy averaged over known pixels with `trust` as weight; 0 where none is known."""
    each = F.cross_entropy(logits, labels, ignore_index=UNKNOWN, reduction="none")
    weight = trust * (labels != UNKNOWN)
    return (each * weight).sum() / weight.sum().clamp_min(1.0)


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
