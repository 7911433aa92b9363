"""The window being grown, its coordinates in metres, and scattered sites and lines within it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from terraloom.landscape.noise import (
    Floats,
    Hashes,
    Integers,
    Metres,
    grid_fractal,
    grid_noise,
    hash_pair,
    key_for,
    rehash,
    uniform,
)


@dataclass(frozen=True)
class Frame:
    """A window of the world: global pixels, coordinates in metres, and keyed noise over it.

    `y_m` grows downwards with the row, `x_m` to the right with the column; pixel (0, 0) of the
    plane has its centre at half a pixel.
    """

    row: int
    column: int
    height: int
    width: int
    seed: int
    pixel_size_m: float

    @cached_property
    def y_m(self) -> Metres:
        """Centres of the rows in metres, "height"."""
        rows = np.arange(self.row, self.row + self.height, dtype=np.float64)
        return (rows + 0.5) * self.pixel_size_m

    @cached_property
    def x_m(self) -> Metres:
        """Centres of the columns in metres, "width"."""
        columns = np.arange(self.column, self.column + self.width, dtype=np.float64)
        return (columns + 0.5) * self.pixel_size_m

    def key(self, purpose: str) -> int:
        """The key of this world for one use of randomness."""
        return key_for(self.seed, purpose)

    def noise(self, purpose: str, spacing_m: float) -> Floats:
        """`grid_noise` over the window, "height width"."""
        return grid_noise(self.y_m, self.x_m, spacing_m, self.key(purpose))

    def fractal(
        self,
        purpose: str,
        spacing_m: float,
        octaves: int,
        gain: float = 0.5,
        *,
        ridged: bool = False,
    ) -> Floats:
        """`grid_fractal` over the window, "height width"."""
        key = self.key(purpose)
        return grid_fractal(
            self.y_m, self.x_m, spacing_m, key, octaves=octaves, gain=gain, ridged=ridged
        )

    def pixel_hash(self, purpose: str) -> Hashes:
        """One hash per pixel, "height width"."""
        rows = np.arange(self.row, self.row + self.height)
        columns = np.arange(self.column, self.column + self.width)
        return hash_pair(rows[:, None], columns[None, :], self.key(purpose))

    def bend(self, purpose: str, waves: tuple[tuple[float, float], ...]) -> tuple[Metres, Metres]:
        """Coordinates of every pixel, displaced by noise, so that straight things wind.

        Args:
            purpose: names the randomness.
            waves: pairs of (spacing, amplitude), both in metres; the amplitude is one standard
                deviation of the displacement, which stays below 3.7 amplitudes.

        Returns:
            y and x in metres, each float64 "height width".
        """
        y_m = np.repeat(self.y_m[:, None], self.width, axis=1)
        x_m = np.repeat(self.x_m[None, :], self.height, axis=0)
        for spacing_m, amplitude_m in waves:
            y_m += amplitude_m * self.noise(f"{purpose}/y/{spacing_m}", spacing_m)
            x_m += amplitude_m * self.noise(f"{purpose}/x/{spacing_m}", spacing_m)
        return y_m, x_m

    def box(
        self, low_y: float, low_x: float, high_y: float, high_x: float
    ) -> tuple[slice, slice] | None:
        """Rows and columns of the window inside a box in metres; None if there are none."""
        size = self.pixel_size_m
        top = max(int(low_y // size) - self.row, 0)
        left = max(int(low_x // size) - self.column, 0)
        bottom = min(int(high_y // size) + 1 - self.row, self.height)
        right = min(int(high_x // size) + 1 - self.column, self.width)
        if top >= bottom or left >= right:
            return None
        return slice(top, bottom), slice(left, right)


@dataclass(frozen=True)
class Sites:
    """One point per cell of a square lattice, moved within its cell; arrays "rows columns".

    The lattice covers a window and a margin of cells around it.
    """

    row: Integers
    column: Integers
    y_m: Metres
    x_m: Metres
    hashes: Hashes
    spacing_m: float

    def chance(self, salt: int) -> Floats:
        """A uniform number in [0, 1) per site, independent for each `salt`."""
        return uniform(rehash(self.hashes, salt))


def scatter_sites(
    frame: Frame, purpose: str, spacing_m: float, margin_cells: int, jitter: float = 0.9
) -> Sites:
    """Jittered lattice points in and around a window.

    Args:
        frame: the window.
        purpose: names the randomness.
        spacing_m: side of a lattice cell.
        margin_cells: whole cells added on every side.
        jitter: 0 leaves points at cell centres, 1 lets them reach the cell's border.
    """
    row_low = int(frame.y_m[0] // spacing_m) - margin_cells
    row_high = int(frame.y_m[-1] // spacing_m) + margin_cells
    column_low = int(frame.x_m[0] // spacing_m) - margin_cells
    column_high = int(frame.x_m[-1] // spacing_m) + margin_cells
    row, column = np.meshgrid(
        np.arange(row_low, row_high + 1), np.arange(column_low, column_high + 1), indexing="ij"
    )
    hashes = hash_pair(row, column, frame.key(purpose))
    down = uniform(rehash(hashes, 101)).astype(np.float64)
    right = uniform(rehash(hashes, 102)).astype(np.float64)
    y_m = (row + 0.5 + jitter * (down - 0.5)) * spacing_m
    x_m = (column + 0.5 + jitter * (right - 0.5)) * spacing_m
    return Sites(row, column, y_m, x_m, hashes, spacing_m)


@dataclass(frozen=True)
class Lines:
    """Straight segments with a half width at each end, all float64 vectors in metres."""

    y0_m: Metres
    x0_m: Metres
    y1_m: Metres
    x1_m: Metres
    half0_m: Metres
    half1_m: Metres


def distance_to_lines(
    frame: Frame,
    lines: Lines,
    bent: tuple[Metres, Metres],
    *,
    reach_m: float,
    bend_m: float,
) -> Floats:
    """Distance of each pixel to the nearest line's edge in metres; negative inside a line.

    Args:
        frame: the window.
        lines: any number of segments; those far from the window cost little.
        bent: the pixel coordinates to measure from, as made by `Frame.bend`.
        reach_m: distances are cut off here.
        bend_m: the largest displacement in `bent`.

    Returns:
        float32, "height width", at most `reach_m`.
    """
    nearest = np.full((frame.height, frame.width), reach_m, np.float32)
    bent_y, bent_x = bent
    columns = (lines.y0_m, lines.x0_m, lines.y1_m, lines.x1_m, lines.half0_m, lines.half1_m)
    table: NDArray[np.float64] = np.stack(columns, axis=1)
    for y0, x0, y1, x1, half0, half1 in table.tolist():
        pad = reach_m + bend_m + max(half0, half1)
        box = frame.box(min(y0, y1) - pad, min(x0, x1) - pad, max(y0, y1) + pad, max(x0, x1) + pad)
        if box is None:
            continue
        down, right = y1 - y0, x1 - x0
        # Differences of large coordinates in float64, everything after in float32.
        y = (bent_y[box] - y0).astype(np.float32)
        x = (bent_x[box] - x0).astype(np.float32)
        along = (y * down + x * right) * (1.0 / max(down * down + right * right, 1e-6))
        np.clip(along, 0.0, 1.0, out=along)
        y -= along * down
        x -= along * right
        y *= y
        x *= x
        y += x
        np.sqrt(y, out=y)
        y -= half0 + along * (half1 - half0)
        np.minimum(nearest[box], y, out=nearest[box])
    return nearest
