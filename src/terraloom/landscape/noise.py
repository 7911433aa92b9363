"""Random numbers addressed by place: hashed lattices and the smooth noise between their points.

Nothing here has a state. A value depends on a key and on a position in metres, and is computed
by the same float operations whatever window asks for it, so windows agree bit for bit. That is
why the module keeps to +, -, *, / and square roots: numpy may evaluate exp or sin by different
code at the end of an array than in its middle.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Metres = NDArray[np.float64]
Integers = NDArray[np.int64]
Hashes = NDArray[np.uint64]

_ROW_PRIME = np.uint64(0x9E3779B97F4A7C15)
_COLUMN_PRIME = np.uint64(0xC2B2AE3D27D4EB4F)
_MASK = (1 << 64) - 1
# Standard deviation of a cubic B-spline surface through uniform [-1, 1] values, by its formula
# averaged over the cell: sqrt(1/3) * 151/315.
_SPLINE_STD = (1 / 3) ** 0.5 * 151 / 315
_NUM_DIRECTIONS = 1024
# One table, made once, so that no window computes a sine of its own.
_ANGLES = np.arange(_NUM_DIRECTIONS) * (2 * np.pi / _NUM_DIRECTIONS)
_SINES, _COSINES = np.sin(_ANGLES), np.cos(_ANGLES)


def key_for(seed: int, purpose: str) -> int:
    """A 64-bit key for one use of randomness; different purposes are independent.

    Args:
        seed: any integer, also negative; taken modulo 2**64.
        purpose: a readable path such as "water/lake", unique within the package.
    """
    value = (seed ^ (zlib.crc32(purpose.encode()) * 0x9E3779B97F4A7C15)) & _MASK
    for multiplier in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB):
        value = ((value ^ (value >> 30)) * multiplier) & _MASK
    return value ^ (value >> 31)


def mix(value: Hashes) -> Hashes:
    """Scrambles 64-bit integers so that neighbours become unrelated (splitmix64 finaliser)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def hash_pair(row: Integers, column: Integers, key: int) -> Hashes:
    """Hash of an integer pair under `key`; the two arrays broadcast."""
    first = mix(row.astype(np.uint64) * _ROW_PRIME + np.uint64(key))
    return mix(first + column.astype(np.uint64) * _COLUMN_PRIME)


def rehash(value: Hashes, salt: int) -> Hashes:
    """A second, independent hash of the same thing."""
    return mix(value + np.uint64((salt * 0xD6E8FEB86659FD93) & _MASK))


def uniform(value: Hashes) -> Floats:
    """Maps hashes to [0, 1), in steps of 2**-24 so that float32 is exact."""
    return (value >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def direction(turn: float) -> tuple[float, float]:
    """Cosine and sine of one `turn`, as `directions` gives them."""
    cosine, sine = directions(np.array([turn]))
    return float(cosine[0]), float(sine[0])


def directions(turn: Metres) -> tuple[Metres, Metres]:
    """Cosine and sine of `turn`, in turns (1 is a full circle), to the nearest 1/1024 turn."""
    index = np.floor(turn * _NUM_DIRECTIONS).astype(np.int64) % _NUM_DIRECTIONS
    return _COSINES[index], _SINES[index]


def smoothstep(value: Floats, low: float, high: float) -> Floats:
    """0 below `low`, 1 above `high`, a smooth ramp between; `low` may exceed `high`."""
    ramp = np.clip((value - low) * (1.0 / (high - low)), 0.0, 1.0)
    return np.asarray(ramp * ramp * (3.0 - 2.0 * ramp))


def grid_noise(y_m: Metres, x_m: Metres, spacing_m: float, key: int) -> Floats:
    """Smooth noise on the grid of all pairs of two coordinate vectors.

    A cubic B-spline through hashed values `spacing_m` apart: nearly isotropic, twice
    differentiable, mean 0, standard deviation 1, bounded by about 3.7.

    Returns:
        float32, "height width" for vectors of those lengths.
    """
    row, row_weights = _spline_weights(y_m, spacing_m, key, 1)
    column, column_weights = _spline_weights(x_m, spacing_m, key, 2)
    row_low, column_low = int(row.min()), int(column.min())
    lattice = _lattice(row_low, int(row.max()) + 4, column_low, int(column.max()) + 4, key)
    row -= row_low
    column -= column_low
    strips = row_weights[0][:, None] * lattice[row]
    for step in (1, 2, 3):
        strips += row_weights[step][:, None] * lattice[row + step]
    noise = column_weights[0] * strips.take(column, axis=1)
    for step in (1, 2, 3):
        noise += column_weights[step] * strips.take(column + step, axis=1)
    return noise


def point_noise(y_m: Metres, x_m: Metres, spacing_m: float, key: int) -> Floats:
    """The surface of `grid_noise` at any points: same shape in and out, equal up to rounding."""
    row, row_weights = _spline_weights(y_m, spacing_m, key, 1)
    column, column_weights = _spline_weights(x_m, spacing_m, key, 2)
    row_low, column_low = int(row.min()), int(column.min())
    lattice = _lattice(row_low, int(row.max()) + 4, column_low, int(column.max()) + 4, key)
    flat = lattice.ravel()
    corner = (row - row_low) * lattice.shape[1] + (column - column_low)
    noise = np.zeros(y_m.shape, np.float32)
    for down in range(4):
        line = column_weights[0] * flat[corner]
        for right in (1, 2, 3):
            line += column_weights[right] * flat[corner + right]
        line *= row_weights[down]
        noise += line
        corner += lattice.shape[1]
    return noise


def grid_fractal(
    y_m: Metres,
    x_m: Metres,
    spacing_m: float,
    key: int,
    *,
    octaves: int,
    gain: float = 0.5,
    ridged: bool = False,
) -> Floats:
    """Sum of `grid_noise` at falling spacing and strength; standard deviation about 1.

    The spacing falls by 1.93, not 2, so that lattice lines of the octaves do not coincide.

    Args:
        y_m: rows of the grid.
        x_m: columns of the grid.
        spacing_m: of the first octave.
        key: of the first octave; the others count up from it.
        octaves: how many noises are added.
        gain: strength of each octave relative to the one before.
        ridged: turns each octave into 1.6 - 2 |noise|, which makes crests along its zero lines.
    """
    total = np.zeros((y_m.size, x_m.size), np.float32)
    strength, variance = 1.0, 0.0
    for octave in range(octaves):
        layer = grid_noise(y_m, x_m, spacing_m / 1.93**octave, key + octave)
        if ridged:
            layer = np.asarray(1.6 - 2.0 * np.abs(layer), np.float32)
        total += strength * layer
        variance += strength * strength
        strength *= gain
    return np.asarray(total * float(1.0 / variance**0.5), np.float32)


def _spline_weights(
    position_m: Metres, spacing_m: float, key: int, axis: int
) -> tuple[Integers, tuple[Floats, Floats, Floats, Floats]]:
    # A shift per key and axis keeps the lattices of different noises from lining up.
    shift = ((key >> (axis * 16)) & 0xFFFF) / 65536.0
    scaled = position_m / spacing_m + shift
    cell = np.floor(scaled)
    part = (scaled - cell).astype(np.float32)
    rest = 1.0 - part
    square, cube = part * part, part * part * part
    scale = 1.0 / 6.0
    weights = (
        np.asarray(rest * rest * rest * scale, np.float32),
        np.asarray((3.0 * cube - 6.0 * square + 4.0) * scale, np.float32),
        np.asarray((-3.0 * cube + 3.0 * square + 3.0 * part + 1.0) * scale, np.float32),
        np.asarray(cube * scale, np.float32),
    )
    return cell.astype(np.int64), weights


def _lattice(row: int, row_end: int, column: int, column_end: int, key: int) -> Floats:
    rows, columns = np.arange(row, row_end), np.arange(column, column_end)
    signed = 2.0 * uniform(hash_pair(rows[:, None], columns[None, :], key)) - 1.0
    return signed * np.float32(1.0 / _SPLINE_STD)
