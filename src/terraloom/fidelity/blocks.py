"""Feature vectors in blocks: what every figure of this package is computed from."""

from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from terraloom.errors import InputError

Features: TypeAlias = NDArray[np.floating[Any]]
"""Feature vectors, "sample feature"; may be a mapped file, of which blocks are read."""
BLOCK_ROWS: Final = 8192
"""Rows of one block of an array: 16 MB of 512 float32 features."""


def blocks_of(
    features: Features | Iterable[Features], rows: int = BLOCK_ROWS
) -> Iterator[Features]:
    """Blocks of an array, or the blocks given, each checked.

    Raises:
        InputError: a block is no "sample feature" array, or holds values that are no numbers.
    """
    for block in _cut(features, rows) if isinstance(features, np.ndarray) else features:
        checked_shape(block)
        if not np.isfinite(block).all():
            raise InputError(
                "features hold values that are infinite or no numbers; check the weights of the "
                "network that they come from."
            )
        yield block


def _cut(features: Features, rows: int) -> Iterator[Features]:
    checked_shape(features)
    for start in range(0, len(features), rows):
        yield features[start : start + rows]


def checked_shape(features: Features) -> None:
    """Refuse what is no two-dimensional array with at least one feature.

    Raises:
        InputError: it is not.
    """
    if features.ndim != 2 or not features.shape[1]:
        raise InputError(
            f"features must be an array of samples by features, found the shape {features.shape}."
        )


def checked_pair(first: Features, second: Features, least: int) -> None:
    """Refuse sets that cannot be compared.

    Raises:
        InputError: the numbers of features differ, or a set holds fewer than `least` samples.
    """
    checked_shape(first)
    checked_shape(second)
    if first.shape[1] != second.shape[1]:
        raise InputError(
            f"the sets have {first.shape[1]} and {second.shape[1]} features; compare features of "
            "one network."
        )
    if min(len(first), len(second)) < least:
        raise InputError(
            f"{least} samples or more are needed in each set, found {len(first)} and {len(second)}."
        )
