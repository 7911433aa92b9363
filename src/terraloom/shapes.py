"""Shapes of a class on a label mask: patches, their form, corridors, and how finely classes mix.

Everything is measured on pixels and told relative to the mask's sides, so that the same landscape
at another size has the same shapes. Patches hang together over corners (8 neighbours).
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SPECK: Final = 4
"""Patches of fewer pixels are noise and not counted."""
CORRIDOR_SPAN: Final = 0.75
"""Part of the mask's length that a corridor crosses without a gap."""
CORRIDOR_WIDTH: Final = 0.10
"""Mean width of a corridor, as a part of the mask's side across it."""
WINDING: Final = 1.10
"""From this path over chord on a corridor winds, as rivers do."""
WINDING_AWAY: Final = 0.06
"""Least that the middle of a winding corridor leaves its chord, as a part of the chord: a ragged
edge is no bend."""
WINDING_WIDEST: Final = 2.5
"""Largest widest place over mean width of what winds: a road through a village only seems to."""
CORRIDOR_STRANDS: Final = 1.5
"""Most strands side by side, on average: a grid of hedges is no strip."""
ONE_STRAND: Final = 1.2
"""Up to this many strands it may be told to wind or to be straight."""
STRAIGHT: Final = 1.015
"""Up to this path over chord it may be called straight, as roads and canals are."""
STRAIGHT_AWAY: Final = 0.03
"""Farthest that a straight corridor's middle leaves its chord, as a part of the chord."""
FINE_GRAIN: Final = 0.07
"""Up to this mean run, as a part of the mask's side, a mixture is fine."""
FINE_MIXING: Final = 0.65
"""Least mixing of a fine mixture."""
COARSE_GRAIN: Final = 0.15
"""From this mean run on the parts of a mixture are large."""
APART_MIXING: Final = 0.30
"""Up to this mixing classes keep apart, each in a part of its own."""
_EIGHT: Final = np.ones((3, 3), dtype=np.int8)
_COURSES: Final[dict[str, tuple[str, str]]] = {
    "column": ("from west to east", "from left to right"),
    "row": ("from north to south", "from top to bottom"),
    "falling": ("from the north-west to the south-east", "from the top left to the bottom right"),
    "rising": ("from the south-west to the north-east", "from the bottom left to the top right"),
}


@dataclass(frozen=True, slots=True)
class Corridor:
    """A long narrow patch such as a river, a road or a hedge."""

    span: float
    """Part of the mask's length that it crosses, `CORRIDOR_SPAN` … 1."""
    width: float
    """Mean width as a part of the mask's side across it, 0 … `CORRIDOR_WIDTH`."""
    words: str
    """Its course, for instance "from west to east"."""
    sinuosity: float
    """Length of its middle line over the chord between its ends, at least 1; rivers in plains
    reach 1.5, roads stay near 1."""
    away: float
    """Farthest that its middle leaves the chord, as a part of the chord, at least 0."""
    widest: float
    """Its widest place over its mean width, at least 1."""
    strands: float
    """How many of its strands lie side by side, on average over its length, at least 1; forks and
    loops have more than one."""

    @property
    def is_single(self) -> bool:
        """Whether it is one line, without forks and loops to speak of."""
        return self.strands <= ONE_STRAND

    @property
    def is_winding(self) -> bool:
        """Whether it winds, as rivers do."""
        is_even = self.widest <= WINDING_WIDEST
        return (
            self.is_single and is_even and self.sinuosity >= WINDING and self.away >= WINDING_AWAY
        )

    @property
    def is_straight(self) -> bool:
        """Whether it is straight, as roads and canals are."""
        return self.is_single and self.sinuosity <= STRAIGHT and self.away <= STRAIGHT_AWAY


@dataclass(frozen=True, slots=True)
class Mixture:
    """Texture of the whole mask: how finely its classes lie among one another."""

    grain: float
    """Mean run of one class along rows and columns, as a part of the mask's side, 0 … 1."""
    mixing: float
    """1 where each sixteenth of the mask has the composition of the whole, 0 where each holds one
    class alone."""

    @property
    def is_fine(self) -> bool:
        """Whether classes alternate over short distances, everywhere."""
        return self.grain <= FINE_GRAIN and self.mixing >= FINE_MIXING

    @property
    def is_apart(self) -> bool:
        """Whether classes keep to large parts of their own."""
        return self.grain >= COARSE_GRAIN and self.mixing <= APART_MIXING


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """The patches of one class."""

    count: int
    """Of at least `SPECK` pixels; at least 1, however small the mask."""
    largest: float
    """Part of the class's pixels in the largest, 0 … 1."""
    cut: NDArray[np.bool_]
    """The largest patch inside its bounding box."""


def find_patches(mask: NDArray[np.bool_]) -> Patches:
    """Patches of a mask with at least one pixel set, bool "height width"."""
    box = _boxed(mask)
    numbered, _ = ndimage.label(box, structure=_EIGHT)
    sizes = np.bincount(numbered.ravel())
    sizes[0] = 0
    largest = int(sizes.argmax())
    count = max(int((sizes >= SPECK).sum()), 1)
    return Patches(count, float(sizes[largest] / sizes.sum()), _boxed(numbered == largest))


def _boxed(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The bounding box of what is set."""
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    return mask[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]


def elongation_and_compactness(patch: NDArray[np.bool_]) -> tuple[float, float]:
    """Form of a patch from its second moments.

    Returns:
        Root of the ratio of the principal moments, 1 for a square or a disc; and its area over
        that of the ellipse of the same moments, 1 for an ellipse, 0.95 for a rectangle, little
        for what is bent, branched or full of holes.
    """
    # Column and row sums carry all moments but the mixed one; far cheaper than coordinates.
    by_row = patch.sum(axis=1).astype(np.float64)
    by_column = patch.sum(axis=0).astype(np.float64)
    area = float(by_row.sum())
    y = np.arange(patch.shape[0]) - by_row @ np.arange(patch.shape[0]) / area
    x = np.arange(patch.shape[1]) - by_column @ np.arange(patch.shape[1]) / area
    # A pixel is a unit square, whose own second moment is 1/12.
    yy = float(by_row @ y**2 / area + 1 / 12)
    xx = float(by_column @ x**2 / area + 1 / 12)
    xy = float(y @ (patch @ x)) / area
    spread = float(np.hypot(xx - yy, 2 * xy))
    elongation = float(np.sqrt((xx + yy + spread) / max(xx + yy - spread, 1e-9)))
    ellipse = 4 * np.pi * np.sqrt(max(xx * yy - xy**2, 1e-9))
    return elongation, min(float(area / ellipse), 1.0)


def find_corridor(
    patch: NDArray[np.bool_], shape: tuple[int, ...], *, compass: bool
) -> Corridor | None:
    """The corridor that a patch is, if it is one.

    Args:
        patch: the patch inside its bounding box, bool "height width".
        shape: height and width of the mask that it lies in.
        compass: False tells courses as left and right instead of west and east.
    """
    height, width = shape
    by_column = patch.sum(axis=0)
    by_row = patch.sum(axis=1)
    spans = float((by_column > 0).sum() / width), float((by_row > 0).sum() / height)
    widths = (
        float(by_column[by_column > 0].mean() / height),
        float(by_row[by_row > 0].mean() / width),
    )
    axis = 0 if spans[0] >= spans[1] else 1
    if spans[axis] < CORRIDOR_SPAN or widths[axis] > CORRIDOR_WIDTH:
        return None
    across = spans[1 - axis]
    if across <= 0.5:
        course = ("column", "row")[axis]
    elif across >= CORRIDOR_SPAN and abs(slope := _slope(patch)) >= 0.85:
        course = "falling" if slope > 0 else "rising"
    else:
        return None  # it bends: no honest name for its course
    upright = patch if axis == 0 else patch.T
    strands = float((upright[0].sum() + (upright[1:] & ~upright[:-1]).sum()) / upright.shape[1])
    if strands > CORRIDOR_STRANDS:
        return None
    sinuosity, away = _bends(upright)
    across_it = (by_column, by_row)[axis]
    return Corridor(
        span=spans[axis],
        width=widths[axis],
        words=_COURSES[course][not compass],
        sinuosity=sinuosity,
        away=away,
        strands=strands,
        widest=float(across_it.max() / across_it[across_it > 0].mean()),
    )


def _bends(patch: NDArray[np.bool_]) -> tuple[float, float]:
    """Path over chord of the middle line from the first column to the last, and its deviation.

    The middle is smoothed over a 24th of the columns and at least five, so that the steps of
    pixels do not count as bends.
    """
    by_column = patch.sum(axis=0)
    middle = (np.arange(patch.shape[0]) @ patch) / np.maximum(by_column, 1)
    if len(middle) < 3:
        return 1.0, 0.0
    reach = max(5, len(middle) // 24) | 1
    padded = np.pad(middle, reach // 2, mode="reflect", reflect_type="odd")
    smooth = np.convolve(padded, np.full(reach, 1 / reach), mode="valid")
    steps = np.diff(smooth)
    chord = float(np.hypot(len(steps), smooth[-1] - smooth[0]))
    path = float(np.hypot(1.0, steps).sum())
    line = np.linspace(smooth[0], smooth[-1], len(smooth))
    # Distance from a slanted chord is shorter than the distance along the column.
    away = float(abs(smooth - line).max()) * len(steps) / chord
    return max(path / chord, 1.0), away / chord


def _slope(patch: NDArray[np.bool_]) -> float:
    """Correlation of row and column over the patch, −1 … 1; positive runs down to the right."""
    rows, columns = np.nonzero(patch)
    result: Any = np.corrcoef(rows, columns)[0, 1]
    return float(result)


def measure_mixture(
    blocks: NDArray[np.int64], num_changes: int, num_pairs: int, side: float
) -> Mixture:
    """Texture of a mask.

    Args:
        blocks: pixels by class and sixteenth of the mask, "class 4 4", unknown left out.
        num_changes: pairs of neighbouring known pixels (4 neighbours) of different classes.
        num_pairs: pairs of neighbouring known pixels.
        side: root of the number of known pixels, above 0.
    """
    grain = min(num_pairs / max(num_changes, 1) / side, 1.0)
    counts = blocks.reshape(len(blocks), -1).astype(np.float64)
    whole = counts.sum(axis=1) / max(counts.sum(), 1.0)
    apart = 1.0 - float(whole @ whole)  # the mean distance if each sixteenth held one class
    if apart < 1e-9:
        return Mixture(grain, 0.0)
    # Half the sum over classes of |share in the sixteenth − share in the whole|.
    distance = abs(counts - whole[:, None] * counts.sum(axis=0)).sum() / 2 / counts.sum()
    return Mixture(grain, float(np.clip(1.0 - distance / apart, 0.0, 1.0)))
