"""Near-duplicate texts by MinHash: sketches of word pairs, banded buckets, every find verified.

Two texts are near when the Jaccard similarity of their sets of word pairs reaches a threshold; the
first word counts as a pair with the start. Candidates come from locality-sensitive hashing (Broder
1997; Leskovec, Rajaraman and Ullman, *Mining of Massive Datasets*, section 3.4): `BANDS` bands of
`ROWS` minima each, so that a pair of similarity s meets with probability 1 − (1 − s^ROWS)^BANDS.
Each candidate's similarity is then computed exactly: no false find, and few that are missed.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from terraloom.seeds import generator_at
from terraloom.types import Int64Array

THRESHOLD: Final = 0.8
"""Jaccard similarity of word pairs from which on two texts are near-duplicates.

In a caption of 18 words one replaced word inside leaves 0.80, a replaced last word 0.89.
"""
BANDS: Final = 24
ROWS: Final = 6
"""Minima per band; 24 bands of 6 let a pair of similarity 0.8 meet with probability 0.999."""
_LAGS: Final = 16
"""Members of one bucket before a text that it is compared with."""
_WHOLE_GROUP: Final = 128
"""Largest group of which every pair is compared: their number grows with its square."""
_CHUNK: Final = 1 << 20
"""Word pairs hashed at a time: fits the processor's cache a few times over."""
_PAIRS: Final = 1 << 16
"""Candidates verified at a time."""
_WORDS_OF_BITS: Final = -(-BANDS * ROWS // 64)
# 32-bit mixer with few visible patterns (multiply, shift, exclusive or); any odd numbers do.
_MIX: Final = (np.uint32(0x7FEB352D), np.uint32(0x846CA68B))

UInt32Array = NDArray[np.uint32]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class WordLists:
    """Texts as numbered words, one after the other."""

    words: UInt32Array
    """Numbers of the words of all texts, from 1; 0 stands for the start of a text."""
    starts: Int64Array
    """Where each text starts in `words`, and at the end the total: one longer than the texts."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    def take(self, texts: Int64Array) -> "WordLists":
        """The texts of these places, in this order."""
        counts = self.starts[texts + 1] - self.starts[texts]
        starts = np.concatenate([[0], np.cumsum(counts)])
        words = np.empty(int(starts[-1]), dtype=np.uint32)
        for first, last in pieces_of(starts, _CHUNK):  # places take twice the words' memory
            places = _ranges(self.starts[texts[first:last]], counts[first:last])
            words[starts[first] : starts[last]] = self.words[places]
        return WordLists(words, starts)


class NearDuplicates:
    """Sketches of distinct texts, from which near-duplicates among any subset are found.

    Memory: about 4 bytes a word and 120 a text beside the words given.
    """

    def __init__(self, texts: WordLists, *, threshold: float = THRESHOLD) -> None:
        """Sketches every text.

        Args:
            texts: normalised texts; equal ones are near like any others.
            threshold: Jaccard similarity of word pairs, above 0 and at most 1.

        Raises:
            ValueError: the threshold is out of range.
        """
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold must lie in (0, 1], got {threshold}")
        self.threshold = threshold
        self._pairs = _pair_sets(texts)
        self._bands, self._bits = _sketch(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def repeats(self, texts: Int64Array) -> BoolArray:
        """Which of the texts named have a near-duplicate before them.

        Args:
            texts: places of different texts, in the order that "before" is judged in.

        Returns:
            One flag per text; texts without a word are never near.
        """
        found = np.zeros(len(texts), dtype=bool)
        worded = np.flatnonzero(self._pairs.starts[texts + 1] > self._pairs.starts[texts])
        for band in self._bands:
            order = worded[np.argsort(band[texts[worded]], kind="stable")]
            hashes = band[texts[order]]
            for lag in range(1, min(_LAGS, len(order) - 1) + 1):
                same = np.flatnonzero(hashes[lag:] == hashes[:-lag])
                if not len(same):
                    break
                later, earlier = order[same + lag], order[same]
                keep = ~found[later]
                later, earlier = later[keep], earlier[keep]
                later, earlier = self._alike_in_bits(texts, later, earlier)
                for start in range(0, len(later), _PAIRS):
                    some = slice(start, start + _PAIRS)
                    near = self.similarity(texts[later[some]], texts[earlier[some]])
                    found[later[some][near >= self.threshold]] = True
        return found

    def within_groups(self, texts: Int64Array, groups: Int64Array) -> BoolArray:
        """Which texts have a near-duplicate before them in their group.

        Every pair is looked at, but in groups of more than `_WHOLE_GROUP` members, where buckets
        bring the candidates as in `repeats`.

        Args:
            texts: places, equal ones allowed.
            groups: a number from 0 per text, in any order; "before" is the order given.
        """
        found = np.zeros(len(texts), dtype=bool)
        order = np.argsort(groups, kind="stable")
        edges = np.flatnonzero(np.diff(groups[order], prepend=-1))
        sizes = np.diff(edges, append=len(order))
        large = sizes > _WHOLE_GROUP
        for start, size in zip(edges[large].tolist(), sizes[large].tolist(), strict=True):
            own = order[start : start + size]
            first = np.sort(np.unique(texts[own], return_index=True)[1])
            repeated = np.ones(size, dtype=bool)
            repeated[first] = self.repeats(texts[own[first]])
            found[own] = repeated
        order = order[np.repeat(~large, sizes)]
        sorted_groups = groups[order]
        for lag in range(1, len(order)):
            same = np.flatnonzero(sorted_groups[lag:] == sorted_groups[:-lag])
            if not len(same):
                break
            later, earlier = order[same + lag], order[same]
            keep = ~found[later]
            later, earlier = later[keep], earlier[keep]
            found[later[texts[later] == texts[earlier]]] = True
            keep = ~found[later]
            later, earlier = self._alike_in_bits(texts, later[keep], earlier[keep])
            for start in range(0, len(later), _PAIRS):
                some = slice(start, start + _PAIRS)
                near = self.similarity(texts[later[some]], texts[earlier[some]])
                found[later[some][near >= self.threshold]] = True
        return found

    def similarity(self, one: Int64Array, other: Int64Array) -> NDArray[np.float64]:
        """Exact Jaccard similarity of the word pairs of each two texts, 0 … 1; 0 without a word."""
        starts = self._pairs.starts
        first, second = starts[one + 1] - starts[one], starts[other + 1] - starts[other]
        pieces = []
        for texts, counts in ((one, first), (other, second)):
            owner = np.repeat(np.arange(len(texts), dtype=np.uint64), counts) << np.uint64(32)
            pieces.append(owner | self._pairs.words[_ranges(starts[texts], counts)])
        keys = np.sort(np.concatenate(pieces))
        # Each text is a set, so a key that stands twice stands in both.
        shared = keys[1:][keys[1:] == keys[:-1]] >> np.uint64(32)
        common = np.bincount(shared.astype(np.int64), minlength=len(one)).astype(np.float64)
        return common / np.maximum(first + second - common, 1)

    def _alike_in_bits(
        self, texts: Int64Array, one: Int64Array, other: Int64Array
    ) -> tuple[Int64Array, Int64Array]:
        """Candidates whose sketches agree in as many bits as near texts practically always do."""
        # One bit of each minimum: equal for equal minima, by chance in half of the others.
        number = BANDS * ROWS
        expected = number * (1 + self.threshold) / 2
        least = expected - 3.5 * np.sqrt(expected * (1 - expected / number))
        differ = np.zeros(len(one), dtype=np.int64)
        for bits in self._bits:
            differ += np.bitwise_count(bits[texts[one]] ^ bits[texts[other]])
        alike = number - differ >= least
        return one[alike], other[alike]


def _ranges(starts: Int64Array, counts: Int64Array) -> Int64Array:
    """start, start + 1, … for each start, as many as its count, one after the other."""
    total = int(counts.sum())
    places = np.ones(total, dtype=np.int64)
    filled = np.flatnonzero(counts)
    if not len(filled):
        return places[:0]
    heads = np.concatenate([[0], np.cumsum(counts[filled])[:-1]])
    places[heads] = starts[filled]
    places[heads[1:]] -= starts[filled[:-1]] + counts[filled[:-1]] - 1
    return np.cumsum(places)


def _mixed(values: UInt32Array) -> UInt32Array:
    values = values ^ (values >> np.uint32(16))
    values *= _MIX[0]
    values ^= values >> np.uint32(15)
    values *= _MIX[1]
    values ^= values >> np.uint32(16)
    return values


def _pair_sets(texts: WordLists) -> WordLists:
    """The set of hashed word pairs of each text, ascending."""
    sets, counts = [], []
    for first, last in pieces_of(texts.starts, _CHUNK):
        start, stop = int(texts.starts[first]), int(texts.starts[last])
        words = texts.words[start:stop]
        before = np.empty_like(words)
        before[1:] = words[:-1]
        lengths = np.diff(texts.starts[first : last + 1])
        heads = texts.starts[first:last][lengths > 0] - start
        before[heads] = 0
        # The two words must not be exchangeable: "trees north of crops" is not "crops north of …".
        pairs = _mixed(_mixed(before + np.uint32(1)) + words)
        keys = np.repeat(np.arange(last - first, dtype=np.uint64), lengths) << np.uint64(32)
        keys = np.sort(keys | pairs)
        if len(keys):
            keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
        owners = (keys >> np.uint64(32)).astype(np.int64)
        counts.append(np.bincount(owners, minlength=last - first))
        sets.append((keys & np.uint64(0xFFFFFFFF)).astype(np.uint32))
    if not sets:
        return WordLists(np.zeros(0, dtype=np.uint32), np.zeros(1, dtype=np.int64))
    starts = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    return WordLists(np.concatenate(sets), starts)


def _sketch(pairs: WordLists) -> tuple[UInt32Array, NDArray[np.uint64]]:
    """Band hashes, uint32 "band text", and one bit of each minimum, uint64 "word text"."""
    random = generator_at(0, "near duplicates")  # one fixed family of hashes: figures must agree
    factors = random.integers(0, 1 << 31, size=BANDS * ROWS, dtype=np.uint32) * 2 + 1
    offsets = random.integers(0, 1 << 32, size=BANDS * ROWS, dtype=np.uint32)
    bands = np.zeros((BANDS, len(pairs)), dtype=np.uint32)
    bits = np.zeros((_WORDS_OF_BITS, len(pairs)), dtype=np.uint64)
    lengths = np.diff(pairs.starts)
    # Texts of one length form a matrix, whose minima vectorise; lengths are few.
    order = np.argsort(lengths, kind="stable")
    edges = np.flatnonzero(np.diff(lengths[order], prepend=0)).tolist()
    for edge, stop in zip(edges, [*edges[1:], len(order)][: len(edges)], strict=True):
        length = int(lengths[order[edge]])
        step = max(_CHUNK // 8 // length, 1)
        for start in range(edge, stop, step):
            texts = order[start : min(start + step, stop)]
            places = pairs.starts[texts] + np.arange(length)[:, None]
            matrix = pairs.words[places]
            hashed = np.empty_like(matrix)
            for number in range(BANDS * ROWS):
                np.multiply(matrix, factors[number], out=hashed)
                np.add(hashed, offsets[number], out=hashed)
                least = hashed.min(axis=0)
                band = number // ROWS
                bands[band, texts] = _mixed(bands[band, texts] * np.uint32(31) + least)
                shift = np.uint64(number % 64)
                low = (_mixed(least) & np.uint32(1)).astype(np.uint64)
                bits[number // 64, texts] |= low << shift
    return bands, bits


def pieces_of(starts: Int64Array, size: int) -> list[tuple[int, int]]:
    """Consecutive ranges of texts of about `size` words, at least one text each."""
    pieces, first, number = [], 0, len(starts) - 1
    while first < number:
        last = int(np.searchsorted(starts, starts[first] + size, side="right")) - 1
        last = min(max(last, first + 1), number)
        pieces.append((first, last))
        first = last
    return pieces
