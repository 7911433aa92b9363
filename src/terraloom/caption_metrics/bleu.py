"""BLEU-1 … 4 of a corpus (Papineni et al. 2002), smoothed as the COCO caption evaluation does.

Modified n-gram precision p_n counts each n-gram of a candidate at most as often as in the reference
that has it most often (section 2.1.1); the brevity penalty compares the candidates' total length
with the total of the reference lengths closest to each (section 2.2.2, the shorter of two equally
close); BLEU-N = BP · (p_1 · … · p_N)^(1/N) with uniform weights (section 2.3).

Smoothing: 10⁻¹⁵ is added to the n-grams met and 10⁻⁹ to those there are, so that a corpus without
one 4-gram in common scores a little above 0 instead of having no score. This is the rule of the
COCO evaluation (Chen et al. 2015), not one of the smoothings of Chen and Cherry (2014).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from terraloom.caption_metrics.ngrams import ORDERS, GramCounts, TokenRows
from terraloom.types import Float64Array, Int64Array

VARIANT: Final = "closest reference length, 1e-15 over 1e-9 smoothing"
_MET: Final = 1e-15
_THERE: Final = 1e-9


@dataclass(frozen=True)
class BleuCounts:
    """All that BLEU needs to know of each caption; counts of several add up."""

    met: Int64Array
    """"image order", clipped n-grams in common with a reference."""
    there: Int64Array
    """"image order", n-grams of the candidate."""
    length: Int64Array
    """"image", tokens of the candidate."""
    closest: Int64Array
    """"image", tokens of the reference whose length is closest."""

    def captions(self) -> Float64Array:
        """BLEU-1 … 4 of each caption by itself: "image order", 0 … 1."""
        return _bleu(self.met, self.there, self.length, self.closest)

    def corpus(self, rows: Int64Array | None = None) -> Float64Array:
        """BLEU-1 … 4 of all captions, or of those named (with repeats), as one corpus: "order"."""
        chosen = slice(None) if rows is None else rows
        sums = [
            values[chosen].sum(axis=0, keepdims=True)
            for values in (self.met, self.there, self.length, self.closest)
        ]
        corpus: Float64Array = _bleu(*sums)[0]
        return corpus


def closest_lengths(rows: TokenRows) -> Int64Array:
    """Per image the reference length closest to the candidate's; of two, the shorter: "image"."""
    images = rows.image_count
    lengths, owners = rows.lengths[images:], rows.images[images:]
    distance = np.abs(lengths - rows.lengths[owners])
    order = np.lexsort((lengths, distance, owners))
    first = np.searchsorted(owners[order], np.arange(images))
    closest: Int64Array = lengths[order][first]
    return closest


def clipped(counts: GramCounts) -> Int64Array:
    """N-grams of each candidate that a reference has, each as often as there at most: "image"."""
    most = np.zeros(len(counts.candidate_image), dtype=np.int64)
    met = counts.met >= 0
    np.maximum.at(most, counts.met[met], counts.reference_times[met])
    common = np.minimum(most, counts.candidate_times)
    summed = np.bincount(counts.candidate_image, weights=common, minlength=counts.image_count)
    return summed.astype(np.int64)


def bleu_counts(rows: TokenRows, clipped_by_order: list[Int64Array]) -> BleuCounts:
    """Counts of every caption from its clipped n-grams of order 1 … 4."""
    length = rows.lengths[: rows.image_count]
    there = np.maximum(length[:, None] - np.arange(ORDERS), 0)
    return BleuCounts(np.stack(clipped_by_order, axis=1), there, length, closest_lengths(rows))


def _bleu(
    met: Int64Array, there: Int64Array, length: Int64Array, closest: Int64Array
) -> Float64Array:
    """From counts, "image order" and "image"; exactly 0 where no word is met."""
    precision = (met + _MET) / (there + _THERE)
    means = np.cumprod(precision, axis=1) ** (1 / np.arange(1, ORDERS + 1))
    ratio = (length + _MET) / (closest + _THERE)
    penalty = np.where(ratio < 1, np.exp(1 - 1 / np.minimum(ratio, 1)), 1.0)
    scores: Float64Array = means * penalty[:, None]
    scores[length == 0] = 0.0
    return scores
