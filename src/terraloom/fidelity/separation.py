"""Silhouettes (Rousseeuw 1987): do groups of samples lie apart or mix?"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from sklearn.metrics import silhouette_score

from terraloom.errors import InputError
from terraloom.fidelity.blocks import Features, checked_pair
from terraloom.seeds import generator_at

MAX_SAMPLES: Final = 2000
"""Most samples of one group: time grows with the square."""


@dataclass(frozen=True)
class Silhouettes:
    """Mean silhouettes, −1 … 1: near 0 groups mix, near 1 they lie apart."""

    overall: float
    pairwise: Mapping[tuple[str, str], float]
    counts: Mapping[str, int]
    """Samples of each group that were looked at."""
    sampled: bool
    """Whether a group was thinned."""


def silhouettes(
    groups: Mapping[str, Features], *, seed: int, max_samples: int = MAX_SAMPLES
) -> Silhouettes:
    """Silhouettes of groups of features in Euclidean distance, overall and by pair.

    Args:
        groups: by name, "sample feature", two samples or more each.
        seed: of the samples that are drawn where a group is larger than `max_samples`.
        max_samples: of one group.

    Raises:
        InputError: fewer than two groups, or groups that do not fit.
    """
    if len(groups) < 2:
        raise InputError(f"silhouettes need two groups or more, found {len(groups)}.")
    first = next(iter(groups.values()))
    for features in groups.values():
        checked_pair(first, features, least=2)
    kept = {name: _thinned(features, max_samples, seed, name) for name, features in groups.items()}
    pairwise = {
        pair: _silhouette({name: kept[name] for name in pair}) for pair in combinations(kept, 2)
    }
    overall = _silhouette(kept) if len(kept) > 2 else next(iter(pairwise.values()))
    counts = {name: len(features) for name, features in kept.items()}
    thinned = any(counts[name] < len(features) for name, features in groups.items())
    return Silhouettes(overall, pairwise, counts, thinned)


def _thinned(features: Features, most: int, seed: int, name: str) -> Features:
    if len(features) <= most:
        return features
    rows = generator_at(seed, "silhouettes", name).permutation(len(features))[:most]
    return features[np.sort(rows)]


def _silhouette(groups: Mapping[str, Features]) -> float:
    labels = [name for name, features in groups.items() for _ in range(len(features))]
    return float(silhouette_score(np.concatenate(list(groups.values())), labels))
