"""Registration: how far labels lie beside their image, to a fraction of a pixel.

Label edges are compared with image edges by phase correlation (Kuglin & Hines 1975). An edge is a
step with a direction and a sign, so that dark-to-bright does not fit bright-to-dark (gradient
correlation, Argyriou & Vlachos 2003), which leaves fewer wrong peaks than edge strength alone.
The steps of the labels are those of a picture in which every class has its own mean brightness, so
that a border between two classes that look alike counts little. Amplitudes are whitened by half: a
phase transform to the power 1/2, between the plain and the phase-only member of the family of Knapp
& Carter (1976). Only shifts of a few pixels are looked at, by a small inverse DFT as a product of
matrices (Guizar-Sicairos, Thurman & Fienup 2008).
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from terraloom.classes import UNKNOWN
from terraloom.types import Float32Array, ImageU8, LabelMask

REACH: Final = 8
"""Pixels: larger shifts are not looked for."""
SHIFT_LIMIT: Final = 1.5
"""Pixels: a shift beyond it is flagged, where it is believed."""
MIN_CONFIDENCE: Final = 6.0
"""Confidence from which a shift is believed."""
MIN_SIDE: Final = 32
"""Pixels: smaller patches hold too few edges and are not measured."""
MIN_BORDER: Final = 32
"""Pixels of class border: a single small blob would fit any speck of its size, so patches with
less are not measured."""

_BLUR: Final = 1.0
"""Pixels: standard deviation of the blur of the surface; what is finer is mostly noise."""
_TAPER: Final = 1 / 8
"""Share of a side over which steps fade out, since the DFT takes opposite sides for neighbours."""
_LOBE: Final = 2
"""Pixels around the peak that belong to it; the rest are sidelobes."""
_SPARSE_SIDE: Final = 64
"""Pixels per side that are enough to choose a band."""
_LARGE_SIDE: Final = 192
"""Pixels per side from which 2 × 2 pixels are averaged first: there are edges to spare, and it
takes half the time."""

_Complex = NDArray[np.complex64]
_Value = TypeVar("_Value", bound=np.generic)


@dataclass(frozen=True)
class Shift:
    """Where the labels lie against the image. Figures are rounded to 1/100.

    All 0 where there is nothing to compare: one class only, no contrast, all unknown.
    """

    rows: float
    """Pixels; positive where the labels lie below (south of) what the image shows."""
    columns: float
    """Pixels; positive where the labels lie right (east) of what the image shows."""
    confidence: float
    """Peak-to-sidelobe ratio, 0 or more: by how many standard deviations of the other shifts the
    best shift beats their mean. With labels of another place it is mostly 2 to 4 and hardly ever 6;
    it grows with the number of edges. 0 for a peak on the rim of the shifts looked at, which may be
    the slope of one beyond."""

    @property
    def distance(self) -> float:
        """Length of the shift in pixels."""
        return float(np.hypot(self.rows, self.columns))

    def is_flagged(self, limit: float = SHIFT_LIMIT, confidence: float = MIN_CONFIDENCE) -> bool:
        """Whether the shift is longer than `limit` pixels and believed."""
        return self.confidence >= confidence and self.distance > limit


def measure_shift(image: ImageU8, labels: LabelMask, *, reach: int = REACH) -> Shift:
    """How far the labels of one patch lie beside its image.

    Args:
        image: "height width band", any number of bands.
        labels: "height width"; borders of unknown pixels (255) count as no edge. Where the image
            shows nothing, the labels should be unknown: its border would be an edge.
        reach: largest shift looked for, in pixels along each axis, at least 4.

    Raises:
        ValueError: image and labels differ in size, or `reach` is below 4.
    """
    return shift_of(correlation_surface(image, labels, reach=reach))


def pooled_shift(surfaces: Iterable[Float32Array]) -> Shift:
    """One shift for all patches of a scene, from the sum of their surfaces.

    A scene is shifted as a whole or not at all; noise falls with the number of patches, so that
    shifts show that no single patch can tell. Patches without edges add nothing.

    Args:
        surfaces: of `correlation_surface`, all of one reach; may be an iterator.

    Raises:
        ValueError: there is no surface, or their shapes differ.
    """
    total = None
    for surface in surfaces:
        # Doubles, so that the order in which many patches are summed hardly shows.
        total = surface.astype(np.float64) if total is None else total + surface
    if total is None:
        raise ValueError("no surfaces to pool; measure at least one patch")
    return shift_of(total)


def correlation_surface(image: ImageU8, labels: LabelMask, *, reach: int = REACH) -> Float32Array:
    """Agreement of label edges and image edges for every whole shift within reach.

    Args:
        image: "height width band", any number of bands. The one is used whose brightness the
            classes explain best (largest correlation ratio).
        labels: "height width"; borders of unknown pixels (255) count as no edge.
        reach: largest shift, in pixels along each axis, at least 4.

    Returns:
        float32, "2·reach+1 2·reach+1", −1 … 1, row and column `reach` being no shift; 1 would be
        agreement in every frequency. All 0 where there is nothing to compare: fewer than two
        classes, less border than `MIN_BORDER`, no contrast, or a side below `MIN_SIDE`.

    Raises:
        ValueError: image and labels differ in size, or `reach` is below 4.
    """
    if image.shape[:2] != labels.shape:
        raise ValueError(f"image {image.shape[:2]} and labels {labels.shape} differ in size")
    if reach < 4:
        raise ValueError(f"reach {reach} leaves no sidelobes to compare a peak with; use 4 or more")
    side = 2 * reach + 1
    nothing = np.zeros((side, side), dtype=np.float32)
    if min(labels.shape) < MIN_SIDE:
        return nothing
    chosen = _class_brightness(image, labels)
    if chosen is None:
        return nothing
    band, means = chosen
    known = labels != UNKNOWN
    brightness = image[:, :, band].astype(np.float32)
    of_class = means.take(labels)
    pixel = 1
    if min(labels.shape) >= _LARGE_SIDE:
        pixel = 2
        known = functools.reduce(np.logical_and, _quarters(known))
        brightness = functools.reduce(np.add, _quarters(brightness))
        of_class = functools.reduce(np.add, _quarters(of_class))
    # Steps lie between pixels, and only between four that are all known.
    weight = known[1:, 1:] & known[:-1, :-1] & known[1:, :-1] & known[:-1, 1:]
    height, width = weight.shape
    weight = weight * _taper(height)[:, None] * _taper(width)
    borders = _steps(of_class, weight)
    if np.count_nonzero(borders[0]) < MIN_BORDER:
        return nothing
    frame = (
        scipy.fft.next_fast_len(height, real=True),
        scipy.fft.next_fast_len(width, real=True),
    )
    told: _Complex = scipy.fft.rfft2(borders, frame)
    seen: _Complex = scipy.fft.rfft2(_steps(brightness, weight), frame)
    np.conj(seen, out=seen)
    seen *= told
    cross: _Complex = seen[0] + seen[1]
    half_amplitude = np.sqrt(np.abs(cross))
    row_wave, row_blur = _waves(frame[0], reach, pixel)
    column_wave, column_blur = _half_waves(frame[1], reach, pixel)
    full = row_blur @ half_amplitude @ column_blur
    if full == 0.0:  # the image has no step where the labels are known
        return nothing
    # The tiniest number instead of 0 keeps a frequency that nothing has at 0.
    cross *= np.reciprocal(half_amplitude + np.finfo(np.float32).tiny)
    surface: Float32Array = (row_wave @ cross @ column_wave.T).real / full
    return surface


def shift_of(surface: NDArray[np.floating]) -> Shift:
    """The peak of a surface to a fraction of a pixel, and how far it stands out.

    The fraction is the top of the paraboloid that fits the peak and its eight neighbours best.

    Args:
        surface: of `correlation_surface`, or a sum of such.
    """
    reach = surface.shape[0] // 2
    row, column = (int(i) for i in np.unravel_index(int(surface.argmax()), surface.shape))
    offsets = np.arange(surface.shape[0])
    beside = np.maximum(np.abs(offsets - row)[:, None], np.abs(offsets - column)) > _LOBE
    sidelobes = surface[beside].astype(np.float64)
    spread = float(sidelobes.std())
    if spread == 0.0:
        return Shift(0.0, 0.0, 0.0)
    if not (0 < row < 2 * reach and 0 < column < 2 * reach):
        return Shift(float(row - reach), float(column - reach), 0.0)
    down, right = _top(surface[row - 1 : row + 2, column - 1 : column + 2].astype(np.float64))
    confidence = (float(surface[row, column]) - float(sidelobes.mean())) / spread
    return Shift(
        round(row - reach + down, 2), round(column - reach + right, 2), round(confidence, 2)
    )


def _class_brightness(image: ImageU8, labels: LabelMask) -> tuple[int, Float32Array] | None:
    """The band with the largest share of variance between classes, and its mean for every label.

    Measured on a sparse sample of pixels; labels that it misses get the overall mean, so that
    their borders count little. None where no band tells two classes apart.
    """
    step = max(1, min(labels.shape) // _SPARSE_SIDE)
    sparse = labels[::step, ::step]
    known = sparse != UNKNOWN
    codes = sparse[known].astype(np.intp)
    counts = np.bincount(codes, minlength=UNKNOWN + 1)
    if np.count_nonzero(counts) < 2:
        return None
    best, told = 0.0, None
    for band in range(image.shape[2]):
        values = image[::step, ::step, band][known].astype(np.float64)
        # About the mean, so that a band without contrast has a variance of exactly 0.
        mean = float(values.mean())
        values -= mean
        sums = np.bincount(codes, weights=values, minlength=UNKNOWN + 1)
        means = sums / np.maximum(counts, 1)
        total = float(values @ values)
        share = float(sums @ means) / total if total > 0.0 else 0.0
        if share > best:
            best, told = share, (band, means.astype(np.float32))
    return told


def _quarters(values: NDArray[_Value]) -> list[NDArray[_Value]]:
    """The upper left, upper right, lower left and lower right of every 2 × 2 pixels."""
    height, width = (n // 2 * 2 for n in values.shape)
    return [values[row:height:2, column:width:2] for row in (0, 1) for column in (0, 1)]


def _steps(values: Float32Array, weight: Float32Array) -> Float32Array:
    """Weighted differences along both diagonals of every 2 × 2 pixels, "2 height−1 width−1"."""
    steps = np.empty((2, *weight.shape), dtype=np.float32)
    np.subtract(values[1:, 1:], values[:-1, :-1], out=steps[0])
    np.subtract(values[1:, :-1], values[:-1, 1:], out=steps[1])
    steps *= weight
    return steps


@functools.lru_cache(maxsize=32)
def _taper(length: int) -> Float32Array:
    """1 in the middle, falling to 0 as a squared sine at both ends."""
    fade = max(1, round(length * _TAPER))
    ramp = np.sin((np.arange(fade) + 0.5) / fade * (np.pi / 2)) ** 2
    taper = np.ones(length, dtype=np.float32)
    taper[:fade] = ramp
    taper[length - fade :] = ramp[::-1]
    return taper


@functools.lru_cache(maxsize=32)
def _waves(length: int, reach: int, pixel: int) -> tuple[_Complex, Float32Array]:
    """Rows of the inverse DFT for shifts −reach … reach, blurred; and the blur by itself.

    Shifts and blur are in pixels of the patch, of which the transform's are `pixel` wide.
    """
    frequency = np.fft.fftfreq(length, pixel)
    blur = np.exp(-2.0 * (np.pi * _BLUR * frequency) ** 2)
    shifts = np.arange(-reach, reach + 1)
    waves: _Complex = (np.exp(2j * np.pi * np.outer(shifts, frequency)) * blur).astype(np.complex64)
    return waves, blur.astype(np.float32)


@functools.lru_cache(maxsize=32)
def _half_waves(length: int, reach: int, pixel: int) -> tuple[_Complex, Float32Array]:
    """As `_waves`, for the half of the frequencies that a real DFT keeps: the others count too."""
    waves, blur = _waves(length, reach, pixel)
    half = length // 2 + 1
    twice = np.full(half, 2.0, dtype=np.float32)
    twice[0] = 1.0
    if length % 2 == 0:
        twice[-1] = 1.0
    return waves[:, :half] * twice, blur[:half] * twice


def _top(around: NDArray[np.float64]) -> tuple[float, float]:
    """Top of the least-squares paraboloid through 3 × 3 values, half a pixel away at most."""
    slope_down = float(around[2].sum() - around[0].sum()) / 6
    slope_right = float(around[:, 2].sum() - around[:, 0].sum()) / 6
    bend_down = float(around[0].sum() + around[2].sum() - 2 * around[1].sum()) / 3
    bend_right = float(around[:, 0].sum() + around[:, 2].sum() - 2 * around[:, 1].sum()) / 3
    twist = float(around[2, 2] + around[0, 0] - around[0, 2] - around[2, 0]) / 4
    determinant = bend_down * bend_right - twist**2
    if bend_down >= 0.0 or determinant <= 0.0:  # a ridge has no top
        return 0.0, 0.0
    down = -(bend_right * slope_down - twist * slope_right) / determinant
    right = -(bend_down * slope_right - twist * slope_down) / determinant
    return float(np.clip(down, -0.5, 0.5)), float(np.clip(right, -0.5, 0.5))
