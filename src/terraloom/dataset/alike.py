"""The same ground in two images: found though shifted, mirrored, turned, brighter or compressed.

Each image is compared as a grey preview of 32 × 32 block means. Its landmarks, the points that
stand out most from what surrounds them, lie on the same ground wherever the image's edge runs. A
landmark's surroundings, brought into a standard orientation, find the few most similar landmarks
of the other role; then the two previews are laid over each other there, and what counts is the
correlation of their fine detail over all that they share.

Covered: any shift that leaves a quarter of the image or more in common (with certainty from about
a half on), mirror images and quarter turns, changes of brightness and contrast, noise, JPEG. Not
covered: other scales, other angles, images without any detail (open water), and ground that has
changed its look between two dates. EXPERIMENTS.md has the rates on real images.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.fft import dct
from scipy.spatial import cKDTree
from threadpoolctl import threadpool_limits

from terraloom.dataset.patches import PREVIEW_SIDE
from terraloom.types import Float32Array, Role

_SIDE: Final = PREVIEW_SIDE
_FINE, _COARSE = 0.8, 2.5
"""Widths of the two blurs whose difference is the detail, in blocks."""
_REACH: Final = 4
"""Blocks around a landmark that describe it."""
_MOST_LANDMARKS: Final = 12
_LEAST_DETAIL: Final = 1.0
"""Grey levels that a landmark stands out."""
_KEPT: Final = 32
"""Cosines, the slowest ones, of which descriptions consist."""
_DIMENSIONS: Final = 8
"""The first of these, by which neighbours are looked for."""
_TREE: Final = 250_000
"""Landmarks that are looked through at a time."""
_NEIGHBOURS: Final = 3
_SIMILAR: Final = 0.8
"""Correlation of two descriptions below which their images are not laid over each other."""
_PROMISING: Final = 0.35
"""Correlation of every fourth block from which all are compared."""
LEAST_SHARED: Final = 0.25
"""Share of an image that two must have in common."""
_CHUNK: Final = 2048
_INT8: Final = 24.0
"""Detail is kept in steps of a 24th of its own standard deviation."""
_STRONGEST: Final = 0.5
"""Standard deviations of detail above which more does not count: else any two straight coasts or
roads, laid over each other, would be the same."""
_TURNED: Final = 0.6
"""A mirror image may miss a perfect correlation by so much of what others may: seven turns are
seven times as many chances to agree by accident."""

_Rows = NDArray[np.intp]


def _turned(image: NDArray[np.generic], turn: int) -> NDArray[np.generic]:
    """An image "height width …" mirrored by rows (1), by columns (2), then transposed (4)."""
    if turn & 1:
        image = image[::-1]
    if turn & 2:
        image = image[:, ::-1]
    return image.swapaxes(0, 1) if turn & 4 else image


_TURNS: Final = np.stack(
    [_turned(np.arange(_SIDE**2).reshape(_SIDE, _SIDE), turn).ravel() for turn in range(8)]
)
"""Which pixel of an image stands at each place of the turned one, "turn pixel"."""


@dataclass(frozen=True)
class SharedGround:
    """Two images that show the same ground."""

    first: int
    second: int
    correlation: float
    """Of their fine detail where they are laid over each other."""
    share: float
    """Share of the image that both show, 0 … 1."""
    turned: bool
    """Whether one is a mirror image of the other, or turned."""


@dataclass(frozen=True)
class _Landmarks:
    """Landmarks of many images."""

    image: NDArray[np.int32]
    row: NDArray[np.int8]
    """In the turned image."""
    column: NDArray[np.int8]
    """In the turned image."""
    turn: NDArray[np.int8]
    """Brings the surroundings into the standard orientation."""
    description: NDArray[np.float16]
    """Surroundings in that orientation by their slowest cosines, "landmark value"; length 1 or
    little less."""

    @classmethod
    def none(cls) -> "_Landmarks":
        """No landmark yet."""
        row, column, turn = (np.empty(0, dtype=np.int8) for _ in range(3))
        image = np.empty(0, dtype=np.int32)
        return cls(image, row, column, turn, np.empty((0, _KEPT), dtype=np.float16))

    def extend(self, more: "_Landmarks") -> None:
        """Add others behind these."""
        for own, others in zip(vars(self).values(), vars(more).values(), strict=True):
            _extend(own, others)

    def of(self, chosen: NDArray[np.bool_]) -> "_Landmarks":
        """Those of the chosen images."""
        return self.take(np.flatnonzero(chosen[self.image]))

    def take(self, keep: _Rows | slice) -> "_Landmarks":
        """Some of them."""
        return _Landmarks(
            self.image[keep], self.row[keep], self.column[keep], self.turn[keep],
            self.description[keep],
        )  # fmt: skip


class Previews:
    """Previews of images, ready to be compared; less than 2 kB per image."""

    def __init__(self, previews: Iterable[NDArray[np.uint8]]) -> None:
        """Find landmarks and detail.

        Args:
            previews: by `patches.preview`, in blocks "image 32 32".
        """
        details = np.empty((0, _SIDE**2), dtype=np.int8)
        marks = _Landmarks.none()
        count = 0
        for block in previews:
            for start in range(0, len(block), _CHUNK):
                grey = block[start : start + _CHUNK].astype(np.float32)
                fine = ndimage.gaussian_filter(grey, (0, _FINE, _FINE))
                detail = fine - ndimage.gaussian_filter(grey, (0, _COARSE, _COARSE))
                own = _standardised(detail.reshape(len(grey), -1))
                steps = np.rint(_INT8 * _standardised(np.clip(own, -_STRONGEST, _STRONGEST)))
                _extend(details, np.clip(steps, -127, 127).astype(np.int8))
                marks.extend(_landmarks(fine, detail, count))
                count += len(grey)
        self._detail = details
        self._landmarks = marks
        self.detailed: NDArray[np.bool_] = np.zeros(count, dtype=np.bool_)
        """Images with a landmark or more."""
        self.detailed[self._landmarks.image] = True

    def contradict(self, first: int, second: int) -> bool:
        """Whether two images, laid over each other as they are, differ in all their detail."""
        return self._both_detailed(first, second) and not self.agree(first, second)

    def agree(self, first: int, second: int) -> bool:
        """Whether two images, laid over each other as they are, are alike in their detail."""
        entry = np.array([[first, second, 0, 0, 0, 0]], dtype=np.int64)
        return self._both_detailed(first, second) and bool(
            self._correlation(entry, 1)[0][0] >= _PROMISING
        )

    def _both_detailed(self, first: int, second: int) -> bool:
        return bool(self.detailed[first] and self.detailed[second])

    def shared_ground(self, roles: Sequence[Role | None], limit: float) -> list[SharedGround]:
        """Pairs of images of different roles that show the same ground, in order of rows.

        Args:
            roles: of the images; those without one are left out.
            limit: least correlation of the fine detail; of turned images more is asked.
        """
        role = np.array([r or "" for r in roles])
        best: dict[tuple[int, int], SharedGround] = {}
        with threadpool_limits(1, user_api="blas"):
            for one, other in (("train", ("val", "test")), ("val", ("test",))):
                mine = self._landmarks.of(role == one)
                others = self._landmarks.of(np.isin(role, other))
                for start in range(0, len(mine.image), _TREE):
                    part = mine.take(slice(start, start + _TREE))
                    for pair in self._pairs(part, others, limit):
                        key = (pair.first, pair.second)
                        if key not in best or pair.correlation > best[key].correlation:
                            best[key] = pair
        return [best[key] for key in sorted(best)]

    def _pairs(self, one: _Landmarks, two: _Landmarks, limit: float) -> Iterator[SharedGround]:
        tree = cKDTree(one.description[:, :_DIMENSIONS].astype(np.float32))
        for start in range(0, len(two.image), _CHUNK * 8):
            some = two.take(slice(start, start + _CHUNK * 8))
            told = some.description.astype(np.float32)
            reach = float(np.sqrt(2 - 2 * _SIMILAR))
            gaps, near = tree.query(
                told[:, :_DIMENSIONS], k=_NEIGHBOURS, distance_upper_bound=reach, workers=-1
            )
            query, place = np.nonzero(np.isfinite(gaps))
            a, b = near[query, place], query
            alike = np.einsum("nc,nc->n", one.description[a], told[b], dtype=np.float32)
            a, b = a[alike >= _SIMILAR], b[alike >= _SIMILAR]
            yield from self._laid_over(one.take(a), some.take(b), limit)

    def _laid_over(self, one: _Landmarks, two: _Landmarks, limit: float) -> Iterator[SharedGround]:
        """Pairs of landmarks whose images agree in detail over all that they share."""
        entries = np.stack(
            [
                one.image, two.image, one.turn, two.turn,
                one.row - two.row, one.column - two.column,
            ], axis=1,
        ).astype(np.int64)  # fmt: skip
        entries = np.unique(entries, axis=0)
        kept = []
        for start in range(0, len(entries), _CHUNK):
            part = entries[start : start + _CHUNK]
            value, _ = self._correlation(part, 2)
            kept.append(part[value >= _PROMISING])
        entries = np.concatenate(kept) if kept else entries
        for start in range(0, len(entries), _CHUNK):
            part = entries[start : start + _CHUNK]
            # A shift by half a block may be rounded either way.
            tried = [
                self._correlation(part + np.array([0, 0, 0, 0, down, right]), 1)
                for down in (-1, 0, 1)
                for right in (-1, 0, 1)
            ]
            values = np.stack([value for value, _ in tried])
            shares = np.stack([share for _, share in tried])
            chosen = values.argmax(axis=0)
            turned = part[:, 2] != part[:, 3]
            least = np.where(turned, 1.0 - _TURNED * (1.0 - limit), limit)
            for index in np.flatnonzero(values.max(axis=0) >= least):
                first, second, turn, other = (int(v) for v in part[index, :4])
                yield SharedGround(
                    first, second, round(float(values[chosen[index], index]), 4),
                    round(float(shares[chosen[index], index]), 4), turn != other,
                )  # fmt: skip

    def _correlation(
        self, entries: NDArray[np.int64], step: int
    ) -> tuple[Float32Array, Float32Array]:
        """Correlation of detail and share in common of pairs, each turned and shifted.

        Args:
            entries: "pair 6": image, image laid over it, turn of the first, turn of the second,
                blocks by which the second lies lower after turning, and further right.
            step: 1 compares every block, 2 every other one in both directions.

        Returns:
            Correlation, −1 where too little is shared; share of an image, 0 … 1.
        """
        first, second, turn, other, down, right = entries.T
        rows, columns = (v.ravel() for v in np.mgrid[0:_SIDE:step, 0:_SIDE:step])
        below, beyond = rows - down[:, None], columns - right[:, None]
        inside = (below >= 0) & (below < _SIDE) & (beyond >= 0) & (beyond < _SIDE)
        there = np.where(inside, below * _SIDE + beyond, 0)
        here = _TURNS[turn][:, rows * _SIDE + columns]
        there = np.take_along_axis(_TURNS[other], there, axis=1)
        weight = inside.astype(np.float32)
        one = self._detail[first[:, None], here] * weight
        two = self._detail[second[:, None], there] * weight
        number = np.maximum(weight.sum(axis=1), 1.0)
        mean_one, mean_two = one.sum(axis=1) / number, two.sum(axis=1) / number
        both = (one * two).sum(axis=1) / number - mean_one * mean_two
        spread = ((one**2).sum(axis=1) / number - mean_one**2) * (
            (two**2).sum(axis=1) / number - mean_two**2
        )
        share = number / len(rows)
        known = (share >= LEAST_SHARED) & (spread > 1e-6)
        value = np.where(known, both / np.sqrt(np.maximum(spread, 1e-6)), -1.0)
        return value.astype(np.float32), share.astype(np.float32)


def _cosines() -> Float32Array:
    """The slowest cosines over a landmark's surroundings, "pixel cosine"; orthonormal."""
    side = 2 * _REACH + 1
    waves = dct(np.eye(side), norm="ortho", axis=0)
    down, right = np.mgrid[:side, :side].reshape(2, -1)
    order = np.lexsort((down, down**2 + right**2))[1 : _KEPT + 1]
    both = np.einsum("kr,kc->rck", waves[down[order]], waves[right[order]])
    cosines: Float32Array = both.reshape(side * side, _KEPT).astype(np.float32)
    return cosines


_COSINES: Final = _cosines()


def _standardised(values: Float32Array) -> Float32Array:
    """Rows of mean 0 and standard deviation 1 (0 where they are flat)."""
    spread = np.maximum(values.std(axis=1, keepdims=True), 1e-6)
    standardised: Float32Array = (values - values.mean(axis=1, keepdims=True)) / spread
    return standardised


def _landmarks(fine: Float32Array, detail: Float32Array, start: int) -> _Landmarks:
    """The landmarks of some images, "image 32 32", numbered from `start`."""
    strength = np.abs(detail)
    standing = strength == ndimage.maximum_filter(strength, (1, 5, 5))
    standing &= strength >= _LEAST_DETAIL
    inner = np.zeros((_SIDE, _SIDE), dtype=np.bool_)
    inner[_REACH:-_REACH, _REACH:-_REACH] = True
    strength = np.where(standing & inner, strength, 0).reshape(len(fine), -1)
    order = np.argsort(-strength, axis=1, kind="stable")[:, :_MOST_LANDMARKS]
    image, place = np.nonzero(np.take_along_axis(strength, order, axis=1) > 0)
    row, column = np.divmod(order[image, place], _SIDE)
    around = np.arange(-_REACH, _REACH + 1)
    told = fine[
        image[:, None, None], (row[:, None] + around)[:, :, None],
        (column[:, None] + around)[:, None, :],
    ]  # fmt: skip
    told -= told.mean(axis=(1, 2), keepdims=True)
    told /= np.linalg.norm(told, axis=(1, 2), keepdims=True) + 1e-9
    # Brighter to the south and to the east, and more so to the east: one of eight turns.
    down = np.einsum("nrc,r->n", told, around.astype(np.float32))
    right = np.einsum("nrc,c->n", told, around.astype(np.float32))
    turn = (down < 0) * 1 + (right < 0) * 2 + (np.abs(down) > np.abs(right)) * 4
    for number in range(8):
        own = turn == number
        told[own] = _turned(told[own].transpose(1, 2, 0), number).transpose(2, 0, 1)
    flat = told.reshape(len(told), (2 * _REACH + 1) ** 2) @ _COSINES
    # Where they lie in the turned image.
    row = np.where(turn & 1, _SIDE - 1 - row, row)
    column = np.where(turn & 2, _SIDE - 1 - column, column)
    swap = (turn & 4) > 0
    row, column = np.where(swap, column, row), np.where(swap, row, column)
    return _Landmarks(
        (image + start).astype(np.int32), row.astype(np.int8), column.astype(np.int8),
        turn.astype(np.int8), flat.astype(np.float16),
    )  # fmt: skip


def _extend(array: NDArray[Any], more: NDArray[Any]) -> None:
    """Add rows behind an array that owns its memory, in place.

    A list of parts, concatenated at the end, would hold everything twice.
    """
    count = len(array)
    # Nothing else refers to the array while it grows.
    array.resize((count + len(more), *array.shape[1:]), refcheck=False)
    array[count:] = more
