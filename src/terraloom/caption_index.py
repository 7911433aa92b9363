"""A caption corpus as numbers, filled in one pass: what every figure of redundancy is counted on.

Of each caption the index keeps two 64-bit digests, who wrote it for which image, and its words as
numbers: about 120 bytes for twenty words, so that two million captions need a few hundred
megabytes, and nothing of the text.
"""

import hashlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from terraloom.near_duplicates import THRESHOLD, NearDuplicates, WordLists, pieces_of
from terraloom.redundancy import Redundancy, norm_caption
from terraloom.types import Int64Array

CURVE: Final = (100, 1_000, 10_000, 50_000, 100_000, 500_000, 1_000_000)
"""Counts that corpora are rarefied to, as far as they reach, and their own size."""
_PARTS: Final = 8
_PENDING: Final = 1 << 20
"""Words kept as Python numbers before they are packed."""


@dataclass(frozen=True, slots=True)
class CorpusRedundancy:
    """How often captions repeat; ratios are parts of all captions, 0 … 1, lower is better."""

    exact: Redundancy
    normalised: Redundancy
    """After `norm_caption`."""
    near: Redundancy | None
    """Captions without a near-duplicate before them count as unique; None where not asked for."""
    images: int
    within: float
    """Captions equal to an earlier one of their image; with `across` this is `exact`."""
    across: float
    """Captions new to their image but not to the corpus."""
    near_within: float | None
    """Captions near an earlier one of their image; every pair is compared."""
    identical_images: float
    """Part of the images with two captions or more whose captions are all equal."""
    curve: tuple[tuple[int, float], ...]
    """(count, exact redundancy expected of that many captions drawn at random)."""

    @property
    def near_across(self) -> float | None:
        """Captions near an earlier one of another image and none of their own."""
        if self.near is None or self.near_within is None:
            return None
        return max(self.near.redundancy - self.near_within, 0.0)


class _Numbers(dict[str, int]):
    """Numbers for words or names, in order of first appearance."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self._first = first

    def __missing__(self, key: str) -> int:
        number = self[key] = len(self) + self._first
        return number


class CaptionIndex:
    """Fingerprints of captions in the order they were added."""

    def __init__(self) -> None:
        """An empty index."""
        self._vocabulary = _Numbers(1)  # 0 stands for the start of a caption
        self._images = _Numbers(0)
        self._writers = _Numbers(0)
        self._exact = bytearray()
        self._normalised = bytearray()
        self._image = array("I")
        self._writer = array("H")
        self._words = array("I")
        self._lengths = array("I")

    def __len__(self) -> int:
        return len(self._image)

    def add(self, captions: Iterable[tuple[str, str, str]]) -> None:
        """Take (image, writer, text) of captions; read once, in bounded memory."""
        # Arrays that look into the buffers must go, or these cannot grow.
        for cached in ("_state", "_near"):
            self.__dict__.pop(cached, None)
        number_of = self._vocabulary.__getitem__
        pending: list[int] = []
        for image, writer, text in captions:
            folded = norm_caption(text)
            self._exact += _digest(text)
            self._normalised += _digest(folded)
            self._image.append(self._images[image])
            self._writer.append(self._writers[writer])
            words = folded.split()
            pending.extend(map(number_of, words))
            self._lengths.append(len(words))
            if len(pending) > _PENDING:
                self._words.frombytes(np.array(pending, dtype=np.uint32).tobytes())
                pending.clear()
        self._words.frombytes(np.array(pending, dtype=np.uint32).tobytes())

    @property
    def writers(self) -> tuple[str, ...]:
        """Writers in order of first appearance."""
        return tuple(self._writers)

    @property
    def images(self) -> int:
        """Number of different images."""
        return len(self._images)

    @property
    def vocabulary(self) -> int:
        """Number of different words after folding case and signs."""
        return len(self._vocabulary)

    @property
    def mean_words(self) -> float:
        """Mean number of words of a caption; 0 for an empty corpus."""
        return len(self._words) / len(self) if len(self) else 0.0

    def distinct(self, size: int) -> float:
        """Different runs of `size` words over all such runs, 0 … 1 (Li et al. 2016, distinct-n)."""
        words, starts = self._state.texts.words, self._state.texts.starts
        if size == 1:
            return self.vocabulary / len(words) if len(words) else 0.0
        number = different = 0
        for part in range(_PARTS):  # a part of the runs at a time: all of them would fill memory
            pieces = []
            for first, last in pieces_of(starts, _PENDING):
                runs = _runs(words[starts[first] : starts[last]], starts[first : last + 1], size)
                pieces.append(runs[runs % _PARTS == part])
            # Sorted and compared: np.unique would hash, which takes ten times as long.
            runs = np.sort(np.concatenate(pieces)) if pieces else np.zeros(0, dtype=np.uint64)
            number += len(runs)
            different += int((runs[1:] != runs[:-1]).sum()) + (len(runs) > 0)
        return different / number if number else 0.0

    def measure(
        self, *, writer: str | None = None, near: bool = True, curve: tuple[int, ...] = CURVE
    ) -> CorpusRedundancy:
        """Redundancy of all captions, or of one writer's.

        Args:
            writer: one of `writers`; left out, all captions.
            near: whether near-duplicates are looked for, which takes most of the time.
            curve: counts to rarefy to; those that the corpus does not reach are left out.

        Raises:
            KeyError: there is no such writer.
        """
        state = self._state
        rows = np.arange(len(self))
        if writer is not None:
            if writer not in self._writers:
                raise KeyError(writer)
            rows = np.flatnonzero(state.writers == self._writers[writer])
        exact, images = state.exact[rows], state.images[rows]
        count = len(rows)
        ordered = np.sort(exact)
        edges = np.flatnonzero(np.diff(ordered, prepend=~ordered[:1]))
        copies = np.diff(edges, append=count)
        first_of_image = _firsts(images.astype(np.uint64), exact)
        sizes = np.bincount(images, minlength=1)
        different = np.bincount(images[first_of_image], minlength=1)
        texts = state.text_of[rows]
        order = np.sort(np.unique(texts, return_index=True)[1])  # first of each, in order
        near_figure, near_within = None, None
        if near:
            near_texts = int(self._near.repeats(texts[order]).sum())
            near_figure = Redundancy(count, len(order) - near_texts)
            of_image = self._near.within_groups(texts, images.astype(np.int64))
            near_within = float(of_image.mean()) if count else 0.0
        return CorpusRedundancy(
            exact=Redundancy(count, len(copies)),
            normalised=Redundancy(count, len(order)),
            near=near_figure,
            images=int((sizes > 0).sum()),
            within=(count - len(first_of_image)) / count if count else 0.0,
            across=(len(first_of_image) - len(copies)) / count if count else 0.0,
            near_within=near_within,
            identical_images=float((different[sizes > 1] == 1).mean())
            if (sizes > 1).any()
            else 0.0,
            curve=tuple(
                (size, rarefied(copies, size))
                for size in sorted({*curve, count})
                if 0 < size <= count
            ),
        )

    @cached_property
    def _near(self) -> NearDuplicates:
        state = self._state
        return NearDuplicates(state.texts.take(state.first_of_text), threshold=THRESHOLD)

    @cached_property
    def _state(self) -> "_State":
        """The columns as arrays; made anew after captions were added."""
        lengths = np.array(self._lengths, dtype=np.int64)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        normalised = np.frombuffer(bytes(self._normalised), dtype=np.uint64)
        _, first, text_of = np.unique(normalised, return_index=True, return_inverse=True)
        return _State(
            exact=np.frombuffer(bytes(self._exact), dtype=np.uint64),
            images=np.array(self._image, dtype=np.int64),
            writers=np.array(self._writer, dtype=np.int64),
            texts=WordLists(np.frombuffer(self._words, dtype=np.uint32), starts),
            text_of=text_of.astype(np.int64),
            first_of_text=first.astype(np.int64),
        )


@dataclass(frozen=True)
class _State:
    exact: NDArray[np.uint64]
    images: Int64Array
    writers: Int64Array
    texts: WordLists
    text_of: Int64Array
    """Number of each caption's normalised text."""
    first_of_text: Int64Array
    """Where each normalised text stands first."""


def rarefied(copies: Int64Array, count: int) -> float:
    """Exact redundancy expected of `count` captions drawn without replacement.

    Hurlbert (1971): a text with k copies among N is missed with probability
    C(N − k, count) / C(N, count).

    Args:
        copies: how often each different text stands in the corpus.
        count: 1 … the sum of `copies`.

    Raises:
        ValueError: `count` is out of range.
    """
    total = int(copies.sum())
    if not 1 <= count <= total:
        raise ValueError(
            f"cannot draw {count} of {total} captions; rarefy at a count that the corpus reaches"
        )
    kinds, times = np.unique(copies, return_counts=True)
    left = total - kinds - count
    # log of C(N − k, n) / C(N, n); where fewer than n others remain, the text cannot be missed.
    logs = (
        gammaln(total - kinds + 1)
        - gammaln(np.maximum(left, 0) + 1)
        - gammaln(total + 1)
        + gammaln(total - count + 1)
    )
    missed = np.where(left < 0, 0.0, np.exp(np.minimum(logs, 0.0)))
    unique = float((times * (1.0 - missed)).sum())
    return max(1.0 - unique / count, 0.0)


def _runs(words: NDArray[np.uint32], starts: Int64Array, size: int) -> NDArray[np.uint64]:
    """Hashes of all runs of `size` words that lie inside one caption."""
    runs = np.zeros(max(len(words) - size + 1, 0), dtype=np.uint64)
    for offset in range(size):
        runs = runs * np.uint64(0x9E3779B97F4A7C15) + words[offset : offset + len(runs)]
    inside = np.ones(len(runs), dtype=bool)
    for back in range(1, size):
        crossing = starts[1:-1] - starts[0] - back
        inside[crossing[(crossing >= 0) & (crossing < len(runs))]] = False
    return runs[inside]


def _digest(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    # 64 bits: that any two of two million captions collide by chance has odds of 1 in 10 million.
    return hashlib.blake2b(data, digest_size=8).digest()


def _firsts(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> Int64Array:
    """Places of the first of each pair of values."""
    if not len(one):
        return np.zeros(0, dtype=np.int64)
    order = np.lexsort((other, one))
    fresh = np.concatenate([[True], (np.diff(one[order]) != 0) | (np.diff(other[order]) != 0)])
    places: Int64Array = order[fresh]
    return places
