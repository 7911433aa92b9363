"""Figures of a segmentation from one confusion matrix, streamed; memory does not grow with images.

Macro averages run over the classes present in truth or prediction; a class absent from both has no
figure (NaN) and is left out. A figure whose denominator is 0 for a present class is 0, as in
scikit-learn with `zero_division=0`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from terraloom.types import Float64Array, Int64Array, LabelMask


def confusion_of(truth: LabelMask, predicted: LabelMask, num_classes: int) -> Int64Array:
    """Pixel counts, int64 "truth predicted"; pixels whose truth is 255 are left out."""
    known = truth < num_classes
    pairs = truth[known].astype(np.int64) * num_classes + predicted[known]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


class ConfusionCounter:
    """Counts pixels on the device that predicts, one matrix per group (such as a test place).

    Memory is groups x classes² numbers, whatever the number of images. Counts are int64 and do not
    depend on the order of batches.
    """

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self._num_classes = num_classes
        self._device = device
        self._numbers: dict[str, int] = {}
        self._counts = torch.zeros(0, dtype=torch.int64, device=device)

    def update(self, groups: list[str], truth: Tensor, predicted: Tensor) -> None:
        """Add images.

        Args:
            groups: name of each image's group.
            truth: uint8 or int64 "batch height width"; labels outside 0 … classes − 1 (such as 255)
                are left out.
            predicted: int64 "batch height width", on the counter's device.
        """
        cells = self._num_classes**2
        for group in groups:
            self._numbers.setdefault(group, len(self._numbers))
        if len(self._counts) < len(self._numbers) * cells:
            grown = torch.zeros(
                2 * len(self._numbers) * cells, dtype=torch.int64, device=self._device
            )
            grown[: len(self._counts)] = self._counts
            self._counts = grown
        number = torch.tensor([self._numbers[g] for g in groups], device=self._device)
        truth = truth.to(self._device).long()
        index = number[:, None, None] * cells + truth * self._num_classes + predicted
        known = index[truth < self._num_classes]
        self._counts += torch.bincount(known, minlength=len(self._counts))

    def matrices(self) -> dict[str, Int64Array]:
        """Int64 "truth predicted" per group, in the order in which groups first came."""
        shape = (-1, self._num_classes, self._num_classes)
        counts = self._counts.cpu().numpy()
        counts = counts[: len(self._numbers) * self._num_classes**2].reshape(shape)
        return {group: counts[number] for group, number in self._numbers.items()}


@dataclass(frozen=True)
class Figures:
    """Scores of one or many confusion matrices; leading axes are kept."""

    f1: Float64Array
    """Per class, "… class"; NaN where the class is absent from truth and prediction."""
    iou: Float64Array
    precision: Float64Array
    recall: Float64Array
    accuracy: Float64Array
    """Share of known pixels labelled right, "…"."""

    def macro(self, name: str) -> Float64Array:
        """Mean of one figure over present classes, "…"."""
        values: Float64Array = getattr(self, name)
        present = ~np.isnan(values)
        count = present.sum(axis=-1)
        total = np.where(present, values, 0.0).sum(axis=-1)
        mean: Float64Array = np.divide(
            total, count, out=np.full(total.shape, np.nan), where=count > 0
        )
        return mean


def figures_of(confusion: Int64Array | Float64Array) -> Figures:
    """Per-class F1, IoU, precision, recall and accuracy of "… truth predicted" counts.

    Example:
        >>> figures = figures_of(np.array([[3, 1], [0, 4]]))
        >>> figures.iou.round(2).tolist(), float(figures.accuracy)
        ([0.75, 0.8], 0.875)
    """
    counts = np.asarray(confusion, dtype=np.float64)
    hit = np.diagonal(counts, axis1=-2, axis2=-1)
    truth = counts.sum(axis=-1)
    predicted = counts.sum(axis=-2)
    present = (truth + predicted) > 0
    total = truth.sum(axis=-1)

    def ratio(above: Float64Array, below: Float64Array) -> Float64Array:
        value = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
        return np.where(present, value, np.nan)

    return Figures(
        f1=ratio(2 * hit, truth + predicted),
        iou=ratio(hit, truth + predicted - hit),
        precision=ratio(hit, predicted),
        recall=ratio(hit, truth),
        accuracy=np.divide(
            hit.sum(axis=-1), total, out=np.full(np.shape(total), np.nan), where=total > 0
        ),
    )
