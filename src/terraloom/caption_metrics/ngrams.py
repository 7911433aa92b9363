"""N-grams of candidates and references as numbers, counted once for BLEU and CIDEr-D.

A caption is a *row*: candidates are rows 0 … images − 1 in order of the images, references follow.
An n-gram is the pair of its first n − 1 tokens and its last one, so orders are numbered one from
the other, without strings and without hashing: counts are exact.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from terraloom.types import Int64Array

ORDERS: Final = 4
"""BLEU and CIDEr-D count n-grams of 1 to 4 tokens."""


@dataclass(frozen=True)
class TokenRows:
    """All captions as token numbers, one after the other."""

    tokens: Int64Array
    """"token", numbers of the vocabulary below."""
    lengths: Int64Array
    """"row", tokens of each caption."""
    images: Int64Array
    """"row", image of each caption."""
    vocabulary: tuple[str, ...]

    @property
    def image_count(self) -> int:
        """Images, each with one candidate."""
        return int(self.images.max(initial=-1)) + 1

    @property
    def starts(self) -> Int64Array:
        """Where each caption begins in `tokens`, "row"."""
        starts: Int64Array = np.cumsum(self.lengths) - self.lengths
        return starts

    @property
    def reference_counts(self) -> Int64Array:
        """References of each image, "image"."""
        return np.bincount(self.images[self.image_count :], minlength=self.image_count)

    def by_image(self) -> Iterator[tuple[list[int], list[list[int]]]]:
        """Per image the token numbers of its candidate and of each reference, as lists."""
        starts = self.starts
        ends = (starts + self.lengths).tolist()
        begins = starts.tolist()
        row = self.image_count
        for image, count in enumerate(self.reference_counts.tolist()):
            group = range(row, row + count)
            row += count
            yield (
                self.tokens[begins[image] : ends[image]].tolist(),
                [self.tokens[begins[n] : ends[n]].tolist() for n in group],
            )


@dataclass(frozen=True)
class GramCounts:
    """How often each n-gram of one order stands in each caption; one entry per pair that occurs."""

    order: int
    gram_count: int
    candidate_image: Int64Array
    candidate_gram: Int64Array
    candidate_times: Int64Array
    reference_row: Int64Array
    """Number of the reference, from 0, images in order."""
    reference_image: Int64Array
    reference_gram: Int64Array
    reference_times: Int64Array
    met: Int64Array
    """Per reference entry, the candidate entry of the same image and n-gram, or −1."""


def number_tokens(
    candidates: Iterable[Sequence[str]], references: Iterable[Sequence[Sequence[str]]]
) -> TokenRows:
    """Tokens to numbers, in the order in which they first occur.

    Args:
        candidates: tokens of the candidate of each image.
        references: tokens of each reference of each image; read after the candidates.
    """
    numbers: dict[str, int] = {}
    tokens, lengths, images = array("q"), array("q"), array("q")

    def add(image: int, row: Sequence[str]) -> None:
        tokens.extend([numbers.setdefault(token, len(numbers)) for token in row])
        lengths.append(len(row))
        images.append(image)

    for image, row in enumerate(candidates):
        add(image, row)
    for image, group in enumerate(references):
        for row in group:
            add(image, row)
    return TokenRows(
        tokens=np.array(tokens, dtype=np.int64),
        lengths=np.array(lengths, dtype=np.int64),
        images=np.array(images, dtype=np.int64),
        vocabulary=tuple(numbers),
    )


def count_grams(rows: TokenRows) -> Iterator[GramCounts]:
    """Counts of n-grams of order 1 … `ORDERS`, one order at a time, so one is held at once."""
    row_of = np.repeat(np.arange(len(rows.lengths)), rows.lengths)
    left = np.repeat(rows.starts + rows.lengths, rows.lengths) - np.arange(len(rows.tokens))
    places = np.arange(len(rows.tokens))
    grams = rows.tokens
    for order in range(1, ORDERS + 1):
        if order > 1:
            kept = left[places] >= order
            places = places[kept]
            pairs = grams[kept] * len(rows.vocabulary) + rows.tokens[places + order - 1]
            grams = np.unique(pairs, return_inverse=True)[1].astype(np.int64)
        yield _counts(order, row_of[places], grams, rows)


def _counts(order: int, row: Int64Array, gram: Int64Array, rows: TokenRows) -> GramCounts:
    images, total = rows.image_count, int(gram.max(initial=-1)) + 1
    keys, times = np.unique(row * total + gram, return_counts=True)
    rows_of, grams = np.divmod(keys, max(total, 1))
    is_reference = rows_of >= images
    candidate_keys = keys[~is_reference]
    reference_image = rows.images[rows_of[is_reference]]
    wanted = reference_image * total + grams[is_reference]
    at = np.searchsorted(candidate_keys, wanted)
    found = at < len(candidate_keys)
    found[found] = candidate_keys[at[found]] == wanted[found]
    return GramCounts(
        order=order,
        gram_count=total,
        candidate_image=rows_of[~is_reference],
        candidate_gram=grams[~is_reference],
        candidate_times=times[~is_reference],
        reference_row=rows_of[is_reference] - images,
        reference_image=reference_image,
        reference_gram=grams[is_reference],
        reference_times=times[is_reference],
        met=np.where(found, at, -1),
    )
