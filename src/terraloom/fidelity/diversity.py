"""Vendi score (Friedman & Dieng 2023): the effective number of unlike samples in a set.

The exponential of the entropy of the eigenvalues of K / n, K the matrix of cosines between samples
(definition 3.1). K / n of n samples and the matrix of second moments of d features share their
eigenvalues, so d × d numbers are enough, however many samples come.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from terraloom.errors import InputError
from terraloom.fidelity.blocks import Features, blocks_of
from terraloom.types import Float64Array


@dataclass(frozen=True)
class Diversity:
    """Effective number of unlike samples, 1 (all alike) … the smaller of samples and features."""

    value: float
    count: int
    num_features: int


def vendi_score(
    features: Features | Iterable[Features], *, centre: Float64Array | None = None
) -> Diversity:
    """Vendi score of an array or of blocks as they come, in cosines.

    Features that cannot be negative point into one quarter of space, where all cosines are near 1
    and the score near 1: give the real samples' mean as centre, the same for all sets compared.

    Args:
        features: "sample feature".
        centre: subtracted first, "feature"; left out, nothing is.

    Raises:
        InputError: no samples, or one that equals the centre and so has no direction.
    """
    moments: Float64Array | None = None
    count = 0
    for block in blocks_of(features):
        values = block.astype(np.float64)
        if centre is not None:
            values -= centre
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
        if not lengths.all():
            raise InputError(
                "a feature vector has length 0, and no cosine with others; the network says "
                "nothing of that sample."
            )
        values /= lengths
        product = values.T @ values
        moments = product if moments is None else moments + product
        count += len(block)
    if moments is None or not count:
        raise InputError("no features were given.")
    shares = np.linalg.eigvalsh(moments / count)
    shares = shares[shares > 0]
    return Diversity(float(np.exp(-(shares * np.log(shares)).sum())), count, len(moments))
