"""Class shares of two sets of samples: distances of their mean and of their distributions.

Intervals resample groups of samples (places, parents), not samples: neighbours are alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.spatial.distance import jensenshannon

from terraloom.errors import InputError
from terraloom.seeds import generator_at
from terraloom.types import Float64Array, Int64Array

DRAWS: Final = 500
_MAX_SAMPLES: Final = 20_000


@dataclass(frozen=True)
class Estimate:
    """A figure with a 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ShareComparison:
    """Class shares of a generated set against real ones."""

    jensen_shannon: Estimate
    """Distance of the mean shares, base 2, 0 … 1 (Lin 1991, eq. 4.1, its root)."""
    wasserstein: tuple[Estimate, ...]
    """By class: how far shares must be moved to turn one distribution over images into the other,
    0 … 1; sees what equal means hide, such as shrub in every image instead of in few."""
    difference: tuple[Estimate, ...]
    """By class: mean share, generated minus real."""
    samples: tuple[int, int]
    """Real and generated samples that were looked at."""
    groups: tuple[int, int]
    """Groups that were resampled."""


def compare_shares(
    real: Float64Array,
    made: Float64Array,
    real_groups: Sequence[str],
    made_groups: Sequence[str],
    *,
    seed: int,
    draws: int = DRAWS,
) -> ShareComparison:
    """Compare class shares, with basic bootstrap intervals.

    A distance cannot be negative, so that resampling only ever adds to one near 0; the basic
    interval [2 v − q₉₇.₅, 2 v − q₂.₅] takes that bias away again. It is cut off at 0, and drawn up
    to the value where it would end before it.

    Args:
        real: shares "sample class" of real samples, each row of sum 1.
        made: as `real`, of generated samples.
        real_groups: what each real sample is resampled with, such as its place.
        made_groups: as `real_groups`, such as the sample's parent.
        seed: of the draws; above 20,000 samples of a set also of those that are looked at.
        draws: of the bootstrap.

    Raises:
        InputError: a set is empty, or the classes differ.
    """
    if not len(real) or not len(made) or real.shape[1] != made.shape[1]:
        raise InputError(
            f"shares of {real.shape} and {made.shape} samples and classes cannot be compared."
        )
    real, real_groups = _thinned(real, real_groups, seed, "real")
    made, made_groups = _thinned(made, made_groups, seed, "made")
    first, second = _Resampled(real, real_groups), _Resampled(made, made_groups)
    pairs = [_Pooled(real[:, label], made[:, label]) for label in range(real.shape[1])]
    random = generator_at(seed, "compare shares")
    even = (np.ones(len(real)), np.ones(len(made)))
    found = [_figures(real, made, pairs, *even)]
    for _ in range(draws):
        found.append(_figures(real, made, pairs, first.weights(random), second.weights(random)))
    table = np.array(found)
    classes = real.shape[1]
    bounds = [(0.0, 1.0)] * (1 + classes) + [(-1.0, 1.0)] * classes
    estimates = [_basic(table[:, i], *bounds[i]) for i in range(table.shape[1])]
    return ShareComparison(
        estimates[0],
        tuple(estimates[1 : 1 + classes]),
        tuple(estimates[1 + classes :]),
        (len(real), len(made)),
        (first.groups, second.groups),
    )


def share_distance(first: Float64Array, second: Float64Array) -> float:
    """Jensen-Shannon distance of two mean compositions "class", base 2, 0 … 1."""
    return float(jensenshannon(first, second, base=2))


class _Pooled:
    """Two samples of one class's shares in one order, for Wasserstein distances under weights."""

    def __init__(self, first: Float64Array, second: Float64Array) -> None:
        values = np.concatenate([first, second])
        self._order = np.argsort(values, kind="stable")
        self._steps = np.diff(values[self._order])

    def distance(self, weights: Float64Array) -> float:
        """∫ |F − G| for weights whose first part sums to 1 and second part to −1."""
        return float(np.abs(weights[self._order].cumsum()[:-1]) @ self._steps)


class _Resampled:
    """Draws groups with replacement; a sample's weight is how often its group was drawn."""

    def __init__(self, shares: Float64Array, groups: Sequence[str]) -> None:
        if len(groups) != len(shares):
            raise InputError(f"{len(shares)} samples have {len(groups)} groups.")
        names, index = np.unique(np.array(groups), return_inverse=True)
        self.groups = len(names)
        self._index: Int64Array = index

    def weights(self, random: np.random.Generator) -> Float64Array:
        """Of each sample."""
        drawn = random.integers(self.groups, size=self.groups)
        return np.bincount(drawn, minlength=self.groups).astype(np.float64)[self._index]


def _figures(
    real: Float64Array,
    made: Float64Array,
    pairs: Sequence[_Pooled],
    real_weights: Float64Array,
    made_weights: Float64Array,
) -> list[float]:
    first, second = real_weights / real_weights.sum(), made_weights / made_weights.sum()
    means = first @ real, second @ made
    weights = np.concatenate([first, -second])
    moved = [pair.distance(weights) for pair in pairs]
    return [share_distance(*means), *moved, *(means[1] - means[0])]


def _basic(values: Float64Array, least: float, most: float) -> Estimate:
    """Basic bootstrap interval; the first value is the estimate, the rest are draws."""
    value = float(values[0])
    if len(values) == 1:
        return Estimate(value, value, value)
    low, high = np.percentile(values[1:], (2.5, 97.5))
    bounds = [float(np.clip(2 * value - edge, least, most)) for edge in (high, low)]
    # Near the edge of what is possible the interval may end before the value: it is drawn up to it.
    return Estimate(value, min(bounds[0], value), max(bounds[1], value))


def _thinned(
    shares: Float64Array, groups: Sequence[str], seed: int, name: str
) -> tuple[Float64Array, Sequence[str]]:
    if len(shares) <= _MAX_SAMPLES:
        return shares, groups
    order = generator_at(seed, "shares", name).permutation(len(shares))[:_MAX_SAMPLES]
    rows = np.sort(order)
    return shares[rows], [groups[i] for i in rows]
