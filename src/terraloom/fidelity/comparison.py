"""All figures of a generated set beside a floor and a ceiling of equal size, with their spread.

Figures depend on the number of samples (Fréchet distance falls with it, coverage changes): what is
shown beside one another here is drawn to one size from each set, several times.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from threadpoolctl import threadpool_limits

from terraloom.errors import InputError
from terraloom.fidelity.blocks import Features, checked_pair
from terraloom.fidelity.diversity import vendi_score
from terraloom.fidelity.kernel import squared_discrepancy
from terraloom.fidelity.moments import Moments, frechet_of
from terraloom.fidelity.neighbours import NEIGHBOURS, manifold_figures
from terraloom.seeds import generator_at
from terraloom.types import Float64Array

FIGURES: Final = ("frechet", "kernel", "precision", "recall", "density", "coverage", "vendi")
MAX_SAMPLES: Final = 5000
"""Most samples of one draw: time of the neighbours grows with the square."""
DRAWS: Final = 5
FLOOR: Final = "floor"
_ONE_THREAD: Final = 1000


@dataclass(frozen=True)
class Spread:
    """A figure over draws."""

    mean: float
    low: float
    high: float
    """Smallest and largest of the draws; of few draws, so no interval."""


@dataclass(frozen=True)
class Comparison:
    """One generated set: its figures, and those of floor and ceilings at the same size."""

    samples: int
    """Of each set in each draw."""
    draws: int
    neighbours: int
    rows: Mapping[str, Mapping[str, Spread]]
    """By set: the candidate's name, "floor", and each ceiling; in each, by figure."""


def compare(
    train: Features,
    val: Features,
    candidates: Mapping[str, Features],
    ceilings: Mapping[str, Features],
    *,
    seed: int,
    max_samples: int = MAX_SAMPLES,
    draws: int = DRAWS,
    neighbours: int = NEIGHBOURS,
) -> dict[str, Comparison | None]:
    """Compare generated sets with real train samples, as a held-back real set compares.

    Args:
        train: real train features, the reference, "sample feature".
        val: real features of other places: the floor.
        candidates: generated sets by name.
        ceilings: sets that are known to be bad, by name, such as images with shuffled pixels, or
            another region.
        seed: of the draws.
        max_samples: of one draw of one set.
        draws: of a comparison; where a set is drawn whole, only the others vary.
        neighbours: k of precision, recall, density and coverage.

    Returns:
        By candidate. None where a set that takes part holds no more than k samples.

    Raises:
        InputError: the sets do not fit.
    """
    if reserved := {FLOOR, "train"} & (candidates.keys() | ceilings.keys()):
        raise InputError(f"a set cannot be called {', '.join(sorted(reserved))}.")
    sets = {"train": train, FLOOR: val, **ceilings, **candidates}
    for features in sets.values():
        checked_pair(train, features, least=0)
    centre = Moments.of(train).mean

    @cache
    def row(name: str, size: int) -> dict[str, Spread]:
        values = [
            figures_of(
                _drawn(train, size, seed, "train", draw),
                _drawn(sets[name], size, seed, name, draw),
                centre=centre,
                neighbours=neighbours,
            )
            for draw in range(draws)
        ]
        return {
            figure: Spread(
                float(np.mean([v[figure] for v in values])),
                min(v[figure] for v in values),
                max(v[figure] for v in values),
            )
            for figure in FIGURES
        }

    found: dict[str, Comparison | None] = {}
    for name, candidate in candidates.items():
        parts = (train, val, candidate, *ceilings.values())
        size = min(max_samples, *(len(part) for part in parts))
        if size <= neighbours:
            found[name] = None
            continue
        shown = (name, FLOOR, *ceilings)
        # Shared between threads, tasks this small wait for one another longer than they take.
        with threadpool_limits(1) if size <= _ONE_THREAD else nullcontext():
            rows = {key: row(key, size) for key in shown}
        found[name] = Comparison(size, draws, neighbours, rows)
    return found


def figures_of(
    reference: Features,
    candidate: Features,
    *,
    centre: Float64Array,
    neighbours: int = NEIGHBOURS,
) -> dict[str, float]:
    """Every figure of one pair of sets by name (`FIGURES`); compare sets of equal size.

    Args:
        reference: real, "sample feature".
        candidate: generated, as `reference`.
        centre: of the cosines of the Vendi score, which looks at the candidate alone.
        neighbours: k.

    Raises:
        InputError: the sets do not fit, or hold no more than k samples.
    """
    manifolds = manifold_figures(reference, candidate, neighbours=neighbours)
    return {
        "frechet": frechet_of(reference, candidate).value,
        "kernel": squared_discrepancy(reference, candidate),
        "precision": manifolds.precision,
        "recall": manifolds.recall,
        "density": manifolds.density,
        "coverage": manifolds.coverage,
        "vendi": vendi_score(candidate, centre=centre).value,
    }


def _drawn(features: Features, size: int, seed: int, name: str, draw: int) -> Features:
    """`size` samples without replacement, in order."""
    rows = generator_at(seed, "fidelity", name, size, draw).permutation(len(features))[:size]
    return features[np.sort(rows)]
