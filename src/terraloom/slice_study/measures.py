"""Every score of a slice: means of the score cards, and figures of the slice as a whole."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from terraloom.fidelity.comparison import figures_of
from terraloom.fidelity.encoders import LabellerEncoder
from terraloom.fidelity.features import drawn_features, feature_table
from terraloom.fidelity.moments import Moments
from terraloom.fidelity.neighbours import NEIGHBOURS
from terraloom.fidelity.shares import share_distance
from terraloom.samples import decode_view
from terraloom.seeds import generator_at
from terraloom.segmenting import TrainedSegmenter
from terraloom.slice_study.slices import Pool, Slice
from terraloom.tables import Table
from terraloom.types import Float64Array
from terraloom.usefulness import Better, Score

COMPOSITION: Final = "composition distance"
_LOWER: Final = frozenset(
    {
        "composition_error",
        "nearest_train",
        "copy_of_train",
        "duplicate",
        "contradictions",
        "caption_rank",
        "repeated_captions",
        COMPOSITION,
        "frechet",
        "kernel",
    }
)
"""Scores whose low end counts as good; a copy is near too, which is why `copy_of_train` stands
beside `nearest_train`."""


def direction(name: str) -> Better:
    """Which end of a score counts as good."""
    return "lower" if name in _LOWER else "higher"


def measure_slices(
    slices: Sequence[Slice],
    pool: Pool,
    real: Table,
    synthetic: Table,
    segmenter: TrainedSegmenter,
    folder: Path,
    seed: int,
) -> list[Score]:
    """One value per slice and score.

    Means over the slice's samples of every column of the score cards (samples without a value are
    left out); Jensen-Shannon distance of its mean class shares from those of real train rows; and
    Fréchet and kernel distance, precision, recall, density, coverage and Vendi score in the
    labeller's features, against as many train images as the slice has samples. Val and test rows
    are not looked at.

    Args:
        slices: of `pool`, of one size.
        pool: of the project.
        real: real samples.
        synthetic: labelled samples.
        segmenter: the labeller.
        folder: receives the features that it computes.
        seed: of the draw of train images.
    """
    where = {name: index for index, name in enumerate(pool.ids)}
    rows = [np.array([where[name] for name in made.ids]) for made in slices]
    values: dict[str, list[float]] = {
        name: [_mean(column[picks]) for picks in rows] for name, column in pool.scores.items()
    }
    target = _train_shares(real)
    values[COMPOSITION] = [_distance(target, pool.shares[picks]) for picks in rows]
    for name, column in _figures(slices, real, synthetic, segmenter, folder, seed).items():
        values[name] = column
    return [Score(name, np.array(column), direction(name)) for name, column in values.items()]


def _figures(
    slices: Sequence[Slice],
    real: Table,
    synthetic: Table,
    segmenter: TrainedSegmenter,
    folder: Path,
    seed: int,
) -> Mapping[str, list[float]]:
    """Figures in the labeller's features; none where slices are no larger than k."""
    if len(slices[0].ids) <= NEIGHBOURS:
        return {}
    encoder = LabellerEncoder(segmenter)
    size = _side(synthetic)
    train = feature_table(real, encoder, folder, size=size, roles=("train",))
    made = feature_table(synthetic, encoder, folder, size=size)
    # Every figure depends on the number of samples: all slices have one, and train gives as many.
    _, reference = drawn_features(train, "train", len(slices[0].ids), seed=seed)
    count = len(reference)
    if count <= NEIGHBOURS:
        return {}
    ids, features = drawn_features(made, None, synthetic.num_rows, seed=seed)
    where = {name: index for index, name in enumerate(ids)}
    centre = Moments.of(reference).mean
    found: dict[str, list[float]] = {}
    for part in slices:
        own = [where[name] for name in part.ids]
        picks = generator_at(seed, "figures of a slice", part.name).permutation(own)[:count]
        for name, value in figures_of(reference, features[np.sort(picks)], centre=centre).items():
            found.setdefault(name, []).append(value)
    return found


def _side(synthetic: Table) -> int:
    batch = next(batch for batch in synthetic.batches(["image"], rows=1) if batch.num_rows)
    return int(decode_view(batch.column("image").to_pylist()[0]).shape[0])


def _train_shares(real: Table) -> Float64Array:
    rows = real.read(["split", "shares"]).to_pylist()
    shares = [row["shares"] for row in rows if row["split"] == "train" and sum(row["shares"]) > 0]
    mean: Float64Array = np.array(shares, dtype=np.float64).mean(axis=0)
    return mean


def _distance(target: Float64Array, shares: Float64Array) -> float:
    known = shares[shares.sum(axis=1) > 0]
    return share_distance(target, known.mean(axis=0)) if len(known) else float("nan")


def _mean(values: Float64Array) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
