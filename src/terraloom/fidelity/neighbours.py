"""Nearest neighbours of feature vectors, and the figures that are made of them.

Precision and recall: Kynkäänniemi et al. 2019, eqs. 1–3; density and coverage: Naeem et al. 2020,
eqs. 3 and 4. Distances are Euclidean and computed tile by tile: a matrix of all pairs, 40 GB for
100,000 against 100,000 samples, never exists.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from terraloom.errors import InputError
from terraloom.fidelity.blocks import Features, blocks_of, checked_pair, checked_shape
from terraloom.types import Float64Array, Int64Array

NEIGHBOURS: Final = 5
"""k, as Naeem et al. choose it."""
_ROWS: Final = 1024
_COLUMNS: Final = 4096
_DOUBLE_PAIRS: Final = 250_000_000
"""Up to this many pairs distances are taken in float64, above in float32."""
_ULPS: Final = 16
"""Rounding of a squared distance in units of the last place of the squared lengths."""


@dataclass(frozen=True)
class Neighbours:
    """Nearest neighbours of each query, the nearest first."""

    distances: Float64Array
    """Euclidean, "query neighbour"."""
    indices: Int64Array
    """Rows of the reference, "query neighbour"."""


@dataclass(frozen=True)
class Manifolds:
    """Precision, recall, density, coverage of `candidate` against `reference`."""

    precision: float
    """Share of candidates within the ball of a reference, 0 … 1: is what was made plausible?"""
    recall: float
    """Share of references within the ball of a candidate, 0 … 1: could all have been made?"""
    density: float
    """Balls of references around a candidate over k: about 1 for one source; above where
    candidates crowd in the middle."""
    coverage: float
    """Share of references whose ball holds a candidate, 0 … 1: was everything made?"""
    counts: tuple[int, int]
    """Samples of reference and candidate."""
    neighbours: int
    """k: a ball reaches to the k-th nearest of its own set."""
    arithmetic: str
    """"float64" or "float32": of the distances."""


def nearest_neighbours(
    queries: Features, reference: Features, count: int = 1, *, same: bool = False
) -> Neighbours:
    """The `count` nearest vectors of a reference to each query.

    Args:
        queries: "sample feature".
        reference: as `queries`.
        count: neighbours of each.
        same: the queries are the reference, and none is a neighbour of itself.

    Raises:
        InputError: the sets do not fit, or the reference holds too few vectors.
    """
    checked_pair(queries, reference, least=1)
    if same and len(queries) != len(reference):
        raise InputError("same = True asks for the same vectors on both sides.")
    if len(reference) < count + same:
        raise InputError(
            f"{count} neighbours need {count + same} vectors or more, found {len(reference)}."
        )
    tiles = _Tiles(queries, reference)
    distances = np.empty((len(queries), count))
    indices = np.empty((len(queries), count), dtype=np.int64)
    for start, rows in tiles.rows():
        best = torch.full((len(rows), count), torch.inf, dtype=tiles.dtype)
        found = torch.full((len(rows), count), -1, dtype=torch.int64)
        for first, squares in tiles.squares(rows):
            if same:
                _forget_self(squares, start, first)
            near, where = squares.topk(min(count, squares.shape[1]), largest=False)
            best, order = torch.cat([best, near], dim=1).sort(dim=1, stable=True)
            found = torch.cat([found, where + first], dim=1).gather(1, order)[:, :count]
            best = best[:, :count]
        distances[start : start + len(rows)] = best.clamp(min=0).sqrt().numpy()
        indices[start : start + len(rows)] = found.numpy()
    return Neighbours(distances, indices)


def manifold_figures(
    reference: Features, candidate: Features, *, neighbours: int = NEIGHBOURS
) -> Manifolds:
    """Precision, recall, density and coverage, without a matrix of all pairs.

    A vector on the surface of a ball (closer to it than rounding can tell) lies outside, so that
    copies, which lie on many surfaces at once, give the same figures however sums are ordered.

    Args:
        reference: real, "sample feature".
        candidate: generated, as `reference`; compare sets of equal size.
        neighbours: k.

    Raises:
        InputError: the sets do not fit, or hold no more than k vectors.
    """
    checked_pair(reference, candidate, least=neighbours + 1)
    reach_reference = nearest_neighbours(reference, reference, neighbours, same=True)
    reach_candidate = nearest_neighbours(candidate, candidate, neighbours, same=True)
    tiles = _Tiles(candidate, reference, rounded_up=True)
    balls = torch.from_numpy(reach_reference.distances[:, -1] ** 2).to(tiles.dtype)
    own_balls = torch.from_numpy(reach_candidate.distances[:, -1] ** 2).to(tiles.dtype)
    plausible, inside = 0, 0
    reached = torch.zeros(len(reference), dtype=torch.bool)
    covered = torch.zeros(len(reference), dtype=torch.bool)
    for start, rows in tiles.rows():
        hit = torch.zeros(len(rows), dtype=torch.bool)
        own = own_balls[start : start + len(rows), None]
        for first, squares in tiles.squares(rows):
            last = first + squares.shape[1]
            within = squares < balls[None, first:last]
            hit |= within.any(dim=1)
            inside += int(torch.count_nonzero(within))
            covered[first:last] |= within.any(dim=0)
            reached[first:last] |= (squares < own).any(dim=0)
        plausible += int(hit.sum())
    return Manifolds(
        precision=plausible / len(candidate),
        recall=int(reached.sum()) / len(reference),
        density=inside / (neighbours * len(candidate)),
        coverage=int(covered.sum()) / len(reference),
        counts=(len(reference), len(candidate)),
        neighbours=neighbours,
        arithmetic=tiles.arithmetic,
    )


class _Tiles:
    """Squared distances between two sets, tile by tile.

    |x − y|² = |x|² + |y|² − 2 x·y, about the reference's mean, since digits are lost in proportion
    to the lengths. With `rounded_up` distances are raised by what rounding may have taken.
    """

    def __init__(self, queries: Features, reference: Features, *, rounded_up: bool = False) -> None:
        double = len(queries) * len(reference) <= _DOUBLE_PAIRS
        self.dtype = torch.float64 if double else torch.float32
        self.arithmetic = "float64" if double else "float32"
        self._raised = 1 + (_ULPS * torch.finfo(self.dtype).eps if rounded_up else 0.0)
        self._centre = _mean(reference)
        self._queries = queries
        self._columns = reference

    def rows(self) -> Iterator[tuple[int, torch.Tensor]]:
        """First row and centred vectors of each block of queries."""
        start = 0
        for block in blocks_of(self._queries, _ROWS):
            yield start, self._centred(block)
            start += len(block)

    def squares(self, rows: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        """First column and squared distances "query reference" of each block of the reference."""
        lengths = rows.square().sum(dim=1, keepdim=True) * self._raised
        for start in range(0, len(self._columns), _COLUMNS):
            columns = self._centred(self._columns[start : start + _COLUMNS])
            across = columns.square().sum(dim=1) * self._raised
            yield start, torch.addmm(across[None, :], rows, columns.T, alpha=-2).add_(lengths)

    def _centred(self, block: Features) -> torch.Tensor:
        if self.dtype is torch.float32 and block.dtype == np.float32:
            # Any centre serves, as long as it is the same for both sets: no need of float64.
            return torch.from_numpy(block - self._centre.astype(np.float32))
        return torch.from_numpy(block.astype(np.float64) - self._centre).to(self.dtype)


def _mean(features: Features) -> Float64Array:
    total = np.zeros(features.shape[1])
    for block in blocks_of(features):
        total += block.sum(axis=0, dtype=np.float64)
    return total / len(features)


def _forget_self(squares: torch.Tensor, start: int, first: int) -> None:
    """Make each query infinitely far from itself, where the tile holds it."""
    low, high = max(start, first), min(start + squares.shape[0], first + squares.shape[1])
    if low < high:
        own = torch.arange(low, high)
        squares[own - start, own - first] = torch.inf


def own_nearest(features: Features) -> Float64Array:
    """Distance of each vector to its nearest other, "sample".

    Raises:
        InputError: fewer than two vectors.
    """
    checked_shape(features)
    return nearest_neighbours(features, features, 1, same=True).distances[:, 0]
