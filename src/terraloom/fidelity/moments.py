"""Fréchet distance of Gaussians fitted to two sets of features (Heusel et al. 2017, eq. 6).

Mean and covariance are streamed in float64 and merged (Chan, Golub & LeVeque 1983, eq. 2.1), so
that memory does not grow with the samples and parts may be measured apart.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from terraloom.errors import InputError
from terraloom.fidelity.blocks import Features, blocks_of, checked_pair
from terraloom.types import Float64Array


class Moments:
    """Count, mean and scatter of feature vectors; memory features² × 8 bytes."""

    def __init__(self, num_features: int) -> None:
        self.count = 0
        self.mean: Float64Array = np.zeros(num_features)
        self._scatter: Float64Array = np.zeros((num_features, num_features))

    @classmethod
    def of(cls, features: Features | Iterable[Features]) -> "Moments":
        """Moments of an array, or of blocks as they come.

        Raises:
            InputError: there is no block, or one does not hold finite features.
        """
        moments: Moments | None = None
        for block in blocks_of(features):
            moments = moments or cls(block.shape[1])
            moments.update(block)
        if moments is None:
            raise InputError("no features were given.")
        return moments

    @property
    def num_features(self) -> int:
        """Length of a feature vector."""
        return len(self.mean)

    @property
    def covariance(self) -> Float64Array:
        """Sample covariance "feature feature", divided by count − 1.

        Raises:
            InputError: fewer than two vectors.
        """
        if self.count < 2:
            raise InputError(f"a covariance needs 2 samples or more, found {self.count}.")
        return self._scatter / (self.count - 1)

    def update(self, block: Features) -> None:
        """Add vectors "sample feature"."""
        if block.ndim != 2 or block.shape[1] != self.num_features:
            raise InputError(
                f"features of shape {block.shape} do not fit moments of {self.num_features}."
            )
        if not len(block):
            return
        values = block.astype(np.float64)
        part = Moments(self.num_features)
        part.count = len(values)
        part.mean = values.mean(axis=0)
        # Centred before it is squared: features with a large common offset lose no digits.
        values -= part.mean
        part._scatter = values.T @ values
        self.merge(part)

    def merge(self, other: "Moments") -> None:
        """Add what another stream has seen."""
        if other.num_features != self.num_features:
            raise InputError(
                f"moments of {other.num_features} features do not fit those of "
                f"{self.num_features}; compare features of one network."
            )
        count = self.count + other.count
        if not count:
            return
        apart = other.mean - self.mean
        self._scatter += other._scatter
        self._scatter += np.outer(apart, apart) * (self.count * other.count / count)
        self.mean = self.mean + apart * (other.count / count)
        self.count = count


@dataclass(frozen=True)
class FrechetDistance:
    """The squared distance and what it is made of."""

    value: float
    """‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½), ≥ 0; in squared units of the features."""
    mean_term: float
    """‖μ₁ − μ₂‖²."""
    covariance_term: float
    """The rest."""
    counts: tuple[int, int]
    """Samples in each set."""
    ranks: tuple[int, int]
    """Of the covariances, to double precision."""
    num_features: int

    @property
    def singular(self) -> bool:
        """Whether a covariance lacks full rank, as with no more samples than features.

        The value is then still the distance of the two (degenerate) Gaussians, but far above that
        of the sets which the samples were drawn from.
        """
        return min(self.ranks) < self.num_features


def frechet_distance(first: Moments, second: Moments) -> FrechetDistance:
    """Fréchet distance of two sets of features, from their moments.

    tr (Σ₁ Σ₂)^½ is the sum of the singular values of Σ₁^½ Σ₂^½: symmetric roots from eigenvalues,
    no root of a product that is not symmetric, nothing added to a diagonal, so that singular
    covariances need no special case and no digits are lost to a complex part.

    Raises:
        InputError: the numbers of features differ, or a set holds fewer than two samples.
    """
    if first.num_features != second.num_features:
        raise InputError(
            f"the sets have {first.num_features} and {second.num_features} features; compare "
            "features of one network."
        )
    (root1, rank1), (root2, rank2) = _root(first.covariance), _root(second.covariance)
    cross = float(np.linalg.svd(root1 @ root2, compute_uv=False).sum())
    apart = first.mean - second.mean
    mean_term = float(apart @ apart)
    traces = float(np.trace(first.covariance) + np.trace(second.covariance))
    # Rounding may leave a hair below nought where the sets are equal.
    covariance_term = max(traces - 2 * cross, 0.0)
    return FrechetDistance(
        mean_term + covariance_term,
        mean_term,
        covariance_term,
        (first.count, second.count),
        (rank1, rank2),
        first.num_features,
    )


def frechet_of(first: Features, second: Features) -> FrechetDistance:
    """Fréchet distance of two sets in memory; quick where samples are fewer than features.

    With centred samples X (n × d) and Y (m × d), tr (Σ₁ Σ₂)^½ is the sum of the singular values of
    X Yᵀ / √((n − 1)(m − 1)): a root of d × d numbers is taken only where that is the smaller task.

    Args:
        first: "sample feature", two samples or more.
        second: as `first`.

    Raises:
        InputError: the sets do not fit, or are too small.
    """
    checked_pair(first, second, least=2)
    num_features = first.shape[1]
    if len(first) * len(second) >= num_features**2:
        return frechet_distance(Moments.of(first), Moments.of(second))
    centred = [np.concatenate(list(blocks_of(f))).astype(np.float64) for f in (first, second)]
    means = [values.mean(axis=0) for values in centred]
    for values, mean in zip(centred, means, strict=True):
        values -= mean
    one, two = (values / np.sqrt(len(values) - 1) for values in centred)
    cross = float(np.linalg.svd(one @ two.T, compute_uv=False).sum())
    mean_term = float(np.square(means[0] - means[1]).sum())
    traces = float(np.square(one).sum() + np.square(two).sum())
    covariance_term = max(traces - 2 * cross, 0.0)
    return FrechetDistance(
        mean_term + covariance_term,
        mean_term,
        covariance_term,
        (len(one), len(two)),
        (_rank(one), _rank(two)),
        num_features,
    )


def _rank(centred: Float64Array) -> int:
    """Rank of the covariance of centred samples."""
    small = centred @ centred.T if len(centred) < centred.shape[1] else centred.T @ centred
    values = np.linalg.eigvalsh(small)
    return int((values > values.max() * max(centred.shape) * np.finfo(np.float64).eps).sum())


def _root(covariance: Float64Array) -> tuple[Float64Array, int]:
    """The symmetric root of a covariance, and its rank."""
    values, vectors = np.linalg.eigh(covariance)
    # What rounding left of a nought would have a root of half its digits.
    least = values.max(initial=0.0) * len(values) * np.finfo(np.float64).eps
    roots = np.sqrt(np.where(values > least, values, 0.0))
    return (vectors * roots) @ vectors.T, int((values > least).sum())
