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
BLOCK: Final = 4096
"""Images that are counted at once."""


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
    """How often each n-gram stands in each caption of a block of images.

    One entry per pair of caption and n-gram that occurs. Images and references are numbered from 0
    within the block, references in order of their images.
    """

    images: slice
    """The block's place among all images."""
    candidate_image: Int64Array
    candidate_gram: Int64Array
    candidate_times: Int64Array
    reference_row: Int64Array
    reference_gram: Int64Array
    reference_times: Int64Array
    met: Int64Array
    """Per reference entry, the candidate entry of the same image and n-gram, or −1."""
    owner: Int64Array
    """"reference", its image."""
    gap: Int64Array
    """"reference", tokens of the candidate less those of the reference."""

    @property
    def image_count(self) -> int:
        """Images of the block."""
        return int(self.images.stop - self.images.start)


@dataclass(frozen=True)
class OrderGrams:
    """All n-grams of one order, as numbers; counted block by block, so memory stays small."""

    rows: TokenRows
    row: Int64Array
    """"place", caption that the n-gram stands in, ascending."""
    gram: Int64Array
    """"place", number of the n-gram."""
    gram_count: int

    def documents(self) -> Int64Array:
        """Images whose references hold each n-gram, "gram"."""
        found = np.zeros(self.gram_count, dtype=np.int64)
        for _, _, reference in self._blocks():
            images, grams = self.rows.images[self.row[reference]], self.gram[reference]
            found += np.bincount(
                np.unique(images * self.gram_count + grams) % max(self.gram_count, 1),
                minlength=self.gram_count,
            )
        return found

    def counts(self) -> Iterator[GramCounts]:
        """Counts of all images, block by block."""
        for images, candidate, reference in self._blocks():
            yield self._count(images, candidate, reference)

    def _blocks(self) -> Iterator[tuple[slice, slice, slice]]:
        """Images, places of their candidates, places of their references."""
        count = self.rows.image_count
        first_reference = count + np.cumsum(self.rows.reference_counts)
        for start in range(0, count, BLOCK):
            stop = min(start + BLOCK, count)
            before = count if start == 0 else int(first_reference[start - 1])
            ends = np.searchsorted(self.row, [start, stop, before, first_reference[stop - 1]])
            yield slice(start, stop), slice(*ends[:2].tolist()), slice(*ends[2:].tolist())

    def _count(self, images: slice, candidate: slice, reference: slice) -> GramCounts:
        total = max(self.gram_count, 1)
        spoken, spoken_times = np.unique(
            (self.row[candidate] - images.start) * total + self.gram[candidate], return_counts=True
        )
        all_owners = self.rows.images[self.rows.image_count :]
        begin, end = np.searchsorted(all_owners, [images.start, images.stop])
        owner = all_owners[begin:end] - images.start
        first = self.rows.image_count + int(begin)
        known, known_times = np.unique(
            (self.row[reference] - first) * total + self.gram[reference], return_counts=True
        )
        reference_row, reference_gram = np.divmod(known, total)
        wanted = owner[reference_row] * total + reference_gram
        at = np.searchsorted(spoken, wanted)
        found = at < len(spoken)
        found[found] = spoken[at[found]] == wanted[found]
        candidate_image, candidate_gram = np.divmod(spoken, total)
        return GramCounts(
            images=images,
            candidate_image=candidate_image,
            candidate_gram=candidate_gram,
            candidate_times=spoken_times,
            reference_row=reference_row,
            reference_gram=reference_gram,
            reference_times=known_times,
            met=np.where(found, at, -1),
            owner=owner,
            gap=self.rows.lengths[images][owner] - self.rows.lengths[first : first + len(owner)],
        )


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


def number_grams(rows: TokenRows) -> Iterator[OrderGrams]:
    """N-grams of order 1 … `ORDERS`, one order at a time, so one is held at once."""
    row = np.repeat(np.arange(len(rows.lengths)), rows.lengths)
    left = np.repeat(rows.starts + rows.lengths, rows.lengths) - np.arange(len(rows.tokens))
    places = np.arange(len(rows.tokens))
    grams, count = rows.tokens, len(rows.vocabulary)
    yield OrderGrams(rows, row, grams, count)
    for order in range(2, ORDERS + 1):
        kept = left[places] >= order
        places = places[kept]
        pairs = grams[kept] * len(rows.vocabulary) + rows.tokens[places + order - 1]
        known, grams = np.unique(pairs, return_inverse=True)
        yield OrderGrams(rows, row[places], grams, len(known))
