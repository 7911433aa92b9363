"""Several looks at one image: labellers of other seeds, mirror images, and what they agree on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import softmax

from terraloom.segmenting import TrainedSegmenter
from terraloom.types import Float32Array, ImageU8

_FLIPS: Final[tuple[tuple[int, ...], ...]] = ((), (1,), (2,), (1, 2))
"""Axes of "class height width" that each view mirrors."""


@dataclass(frozen=True)
class Ensemble:
    """Labellers that look together; a single one without flips says what it says alone."""

    members: tuple[TrainedSegmenter, ...]
    flips: bool = False
    """Whether each looks at four mirror images."""
    temperature: float = 1.0
    """Of the mean (`calibration`): its logarithms are divided by it; changes no label."""

    @property
    def num_classes(self) -> int:
        """Of every member."""
        return self.members[0].num_classes

    @property
    def looks(self) -> int:
        """Times that an image is looked at."""
        return len(self.members) * len(self._views)

    def look(self, images: Sequence[ImageU8]) -> tuple[Float32Array, Float32Array]:
        """What the members see in images of one size.

        Returns:
            Mean probabilities over members and views at the temperature, "image class height
            width"; and the share of members and views whose label is the one of that mean, "image
            height width", 0 … 1.
        """
        mean, agreed = self._mean(images)
        if self.temperature == 1.0:
            return mean, agreed
        warmed: Float32Array = softmax(_logarithms(mean) / np.float32(self.temperature), axis=1)
        return warmed, agreed

    def logits(self, images: Sequence[ImageU8]) -> Float32Array:
        """Logarithms of the mean probabilities, before the temperature; shaped as these."""
        return _logarithms(self._mean(images)[0])

    def _mean(self, images: Sequence[ImageU8]) -> tuple[Float32Array, Float32Array]:
        views = [(member, flip) for member in self.members for flip in self._views]
        total: Float32Array | None = None
        labels = []
        for member, flip in views:
            over = tuple(axis - 1 for axis in flip)
            turned = [np.ascontiguousarray(np.flip(image, over)) for image in images]
            chances = np.flip(member.probabilities(turned), tuple(axis + 1 for axis in flip))
            labels.append(chances.argmax(axis=1).astype(np.uint8))
            total = chances if total is None else total + chances
        if total is None:
            raise ValueError("an ensemble needs a member.")
        mean: Float32Array = total / np.float32(len(views)) if len(views) > 1 else total
        chosen = mean.argmax(axis=1)
        agreed = np.stack([label == chosen for label in labels]).mean(axis=0)
        return mean, agreed.astype(np.float32)

    @property
    def _views(self) -> tuple[tuple[int, ...], ...]:
        return _FLIPS if self.flips else _FLIPS[:1]


def _logarithms(chances: Float32Array) -> Float32Array:
    """Finite ones: what a softmax rounded down to 0 counts as the smallest number there is."""
    found: Float32Array = np.log(np.maximum(chances, np.finfo(np.float32).tiny))
    return found
