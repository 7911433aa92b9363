"""CIDEr-D (Vedantam, Zitnick and Parikh 2015): agreement of TF-IDF n-grams, hard to game.

An n-gram's weight is its count times log(images / images whose references hold it) (equation 1; the
count is not divided by the caption's length, which the cosine would cancel and the clipping needs).
Per order n the candidate's weights, clipped to the reference's, are multiplied with the reference's
and divided by both norms, and damped by exp(−(l_c − l_r)² / (2 σ²)), σ = 6 (equation 6); the mean
over references and over n = 1 … 4, times 10, is the score (equations 3 and 6). Document frequencies
come from the references given; an n-gram in none counts as one in a single image.

With one image every weight is log 1 = 0, and so is every score: the figure is of corpora. It
depends on the set of references, so figures of different test sets do not compare.
"""

from typing import Final

import numpy as np

from terraloom.caption_metrics.ngrams import ORDERS, GramCounts, OrderGrams, TokenRows
from terraloom.types import Float64Array

VARIANT: Final = "document frequencies of the references, sigma 6, times 10"
SIGMA: Final = 6.0
_SCALE: Final = 10.0


def rarity(grams: OrderGrams) -> Float64Array:
    """Inverse document frequency of each n-gram: "gram"."""
    images = float(grams.rows.image_count)
    weights: Float64Array = np.log(images) - np.log(np.maximum(grams.documents(), 1))
    return weights


def similarity_sum(counts: GramCounts, weights: Float64Array) -> Float64Array:
    """Sum over an image's references of the damped, clipped cosine of one order: "image"."""
    images, references = counts.image_count, len(counts.owner)
    candidate = counts.candidate_times * weights[counts.candidate_gram]
    reference = counts.reference_times * weights[counts.reference_gram]
    candidate_norm = np.sqrt(
        np.bincount(counts.candidate_image, weights=candidate**2, minlength=images)
    )
    reference_norm = np.sqrt(
        np.bincount(counts.reference_row, weights=reference**2, minlength=references)
    )
    met = counts.met >= 0
    product = np.minimum(candidate[counts.met[met]], reference[met]) * reference[met]
    common = np.bincount(counts.reference_row[met], weights=product, minlength=references)
    norms = candidate_norm[counts.owner] * reference_norm
    cosine = np.divide(common, norms, out=np.zeros(references), where=norms > 0)
    damped = cosine * np.exp(-(counts.gap.astype(np.float64) ** 2) / (2 * SIGMA**2))
    return np.bincount(counts.owner, weights=damped, minlength=images).astype(np.float64)


def cider_d(sums: list[Float64Array], rows: TokenRows) -> Float64Array:
    """CIDEr-D of each caption from the sums of order 1 … 4: "image", 0 … 10."""
    scores: Float64Array = _SCALE * sum(sums) / (ORDERS * rows.reference_counts)
    return scores
