"""Copies: samples that lie nearer to a known image than known images lie to one another.

The threshold is calibrated on real images alone: a low quantile of the distances between each train
image and its nearest other train image. Held-back real images show how often it is wrong.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from terraloom.errors import InputError
from terraloom.fidelity.blocks import Features, checked_pair
from terraloom.fidelity.moments import Moments
from terraloom.fidelity.neighbours import nearest_neighbours, own_nearest
from terraloom.types import Float64Array, Int64Array

QUANTILE: Final = 0.01
_LEAST_RATIO: Final = 1e-3
"""A distance below this share of the unit is a copy whatever the quantile: rounding."""


@dataclass(frozen=True)
class Scaler:
    """Brings each feature to mean 0 and deviation 1 on the train rows it was fitted on."""

    mean: Float64Array
    deviation: Float64Array

    @classmethod
    def of(cls, moments: Moments) -> "Scaler":
        """Fitted on what was streamed; a feature that never varies keeps its scale."""
        spread = np.sqrt(np.diag(moments.covariance) * (moments.count - 1) / moments.count)
        return cls(moments.mean, np.where(spread > 0, spread, 1.0))

    def __call__(self, features: Features) -> Float64Array:
        """Scaled features "sample feature"."""
        scaled: Float64Array = (features - self.mean) / self.deviation
        return scaled


@dataclass(frozen=True)
class Known:
    """Real train images that others are compared with, and what distances mean."""

    scaler: Scaler
    train: Float64Array
    """Scaled features, "sample feature"."""
    unit: float
    """Median distance of val images to their nearest train image: ratios of 1 are ordinary."""
    threshold: float
    """Ratio below which an image counts as a copy."""
    quantile: float
    val_ratios: Float64Array
    """Of the val images: the floor of whatever is said of others."""

    @classmethod
    def of(
        cls, moments: Moments, train: Features, val: Features, *, quantile: float = QUANTILE
    ) -> "Known":
        """Calibrate on real images.

        Args:
            moments: of all train features, for the scale.
            train: train features that distances are taken to, "sample feature".
            val: features of other real images.
            quantile: of the train images' own nearest distances that makes the threshold.

        Raises:
            InputError: fewer than two train images or no val image.
        """
        checked_pair(train, val, least=1)
        if len(train) < 2:
            raise InputError(f"copies need 2 train images or more, found {len(train)}.")
        scaler = Scaler.of(moments)
        scaled = scaler(train)
        apart = nearest_neighbours(scaler(val), scaled).distances[:, 0]
        # A thousandth of a millionth guards against train and val of one single colour.
        unit = max(float(np.median(apart)), 1e-6)
        own = float(np.quantile(own_nearest(scaled), quantile)) / unit
        return cls(scaler, scaled, unit, max(own, _LEAST_RATIO), quantile, apart / unit)

    def nearest(self, features: Features) -> tuple[Float64Array, Int64Array]:
        """Ratio of the distance to the nearest train image over the unit, and that image's row."""
        found = nearest_neighbours(self.scaler(features), self.train)
        return found.distances[:, 0] / self.unit, found.indices[:, 0]

    def ratios(self, scaled: Float64Array) -> Float64Array:
        """As the first of `nearest`, of features that are scaled already."""
        return nearest_neighbours(scaled, self.train).distances[:, 0] / self.unit

    def copies(self, ratios: Float64Array) -> Float64Array:
        """1.0 where a ratio lies below the threshold, else 0.0."""
        return (ratios < self.threshold).astype(np.float64)


def nearest_others(
    queries: Features, reference: Features, own: Int64Array
) -> tuple[Float64Array, Int64Array]:
    """Distance and row of the nearest vector of a reference that is not the query itself.

    Args:
        queries: "sample feature".
        reference: as `queries`; two vectors or more.
        own: the row of each query in the reference, −1 where it is not there.
    """
    found = nearest_neighbours(queries, reference, 2)
    # Of several equal vectors any may come first; the query itself is left out where it comes.
    column = (found.indices[:, 0] == own).astype(np.int64)
    rows = np.arange(len(column))
    return found.distances[rows, column], found.indices[rows, column]
