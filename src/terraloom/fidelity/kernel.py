"""Kernel distance: squared maximum mean discrepancy with the cubic kernel (Bińkowski et al. 2018).

k(x, y) = (x·y / d + 1)³ with d features (section 4); unbiased, so around 0 (below it half of the
time) where both sets come from one source, whatever the number of samples.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from terraloom.fidelity.blocks import Features, blocks_of, checked_pair
from terraloom.seeds import generator_at
from terraloom.types import Float64Array

BLOCK_SAMPLES: Final = 1000
"""Largest block, as in the published figure."""
_LEAST_BLOCKS: Final = 10
_ALL_PAIRS: Final = 4000
"""Up to this many samples in each set, all pairs give the value."""
_TILE: Final = 2048


@dataclass(frozen=True)
class KernelDistance:
    """An unbiased estimate and its interval."""

    value: float
    """Squared distance; can be negative. Over all pairs of samples up to 4,000 in each set, beyond
    that the mean over blocks."""
    low: float
    high: float
    """95 % by Student's t over blocks that share no sample; with all pairs the value varies less
    than the mean over blocks does, so that the interval is wide rather than narrow."""
    counts: tuple[int, int]
    """Samples in each set."""
    block: int
    """Samples of each set in one block."""
    blocks: int


def kernel_distance(
    first: Features, second: Features, *, seed: int, block: int = BLOCK_SAMPLES
) -> KernelDistance:
    """Unbiased kernel distance of two sets of features.

    Block estimator (Zaremba, Gretton & Blaschko 2013, eq. 4): both sets are put in a random order
    and cut into blocks without overlap, at least ten where there are samples for it.

    Args:
        first: "sample feature".
        second: as `first`; four samples or more in each.
        seed: of the order.
        block: most samples of each set in one block; memory block² × 8 bytes.

    Raises:
        InputError: the sets do not fit, or are too small.
    """
    checked_pair(first, second, least=4)
    smaller = min(len(first), len(second))
    size = max(2, min(block, smaller // _LEAST_BLOCKS))
    count = smaller // size
    values = np.empty(count)
    orders = [
        generator_at(seed, "kernel distance", which).permutation(len(features))[: count * size]
        for which, features in enumerate((first, second))
    ]
    for index in range(count):
        # Sorted: a mapped file is read in order.
        rows = [np.sort(order[index * size : (index + 1) * size]) for order in orders]
        values[index] = squared_discrepancy(first[rows[0]], second[rows[1]])
    value = float(values.mean())
    if max(len(first), len(second)) <= _ALL_PAIRS:
        value = squared_discrepancy(first, second)
    spread = float(values.std(ddof=1)) / np.sqrt(count)
    reach = float(stats.t.ppf(0.975, count - 1)) * spread
    return KernelDistance(
        value, value - reach, value + reach, (len(first), len(second)), size, count
    )


def squared_discrepancy(first: Features, second: Features) -> float:
    """Unbiased squared discrepancy over all pairs (Gretton et al. 2012, eq. 3), tile by tile.

    Args:
        first: "sample feature".
        second: as `first`; two samples or more in each.

    Raises:
        InputError: the sets do not fit, or are too small.
    """
    checked_pair(first, second, least=2)
    n, m = len(first), len(second)
    own = _kernel_sum(first, first) - _diagonal_sum(first)
    other = _kernel_sum(second, second) - _diagonal_sum(second)
    cross = _kernel_sum(first, second)
    return own / (n * (n - 1)) + other / (m * (m - 1)) - 2 * cross / (n * m)


def _kernel_sum(first: Features, second: Features) -> float:
    """Sum of the kernel over all pairs."""
    total = 0.0
    for rows in blocks_of(first, _TILE):
        left = rows.astype(np.float64)
        for columns in blocks_of(second, _TILE):
            total += float(_kernel(left @ columns.astype(np.float64).T, left.shape[1]).sum())
    return total


def _diagonal_sum(features: Features) -> float:
    total = 0.0
    for rows in blocks_of(features, _TILE):
        squares = np.square(rows.astype(np.float64)).sum(axis=1)
        total += float(_kernel(squares, rows.shape[1]).sum())
    return total


def _kernel(products: Float64Array, num_features: int) -> Float64Array:
    base = products / num_features + 1
    cubed: Float64Array = base * base * base
    return cubed
