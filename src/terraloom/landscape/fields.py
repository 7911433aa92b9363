"""The parcel pattern of farmland: estates cut into strips, strips cut into fields."""

from dataclasses import dataclass

import numpy as np

from terraloom.landscape.frame import Frame
from terraloom.landscape.noise import (
    Floats,
    Hashes,
    Metres,
    directions,
    grid_noise,
    hash_pair,
    rehash,
    smoothstep,
    uniform,
)

_ESTATE_SPACING_M = 780.0


@dataclass(frozen=True)
class Parcels:
    """The parcels over a window, whether farmed or not; all "height width".

    Attributes:
        estate: hash of the group of parallel parcels around a pixel.
        parcel: hash of the parcel.
        border_m: distance to the nearest edge of the parcel.
        furrow_m: position across the direction of ploughing; only its changes mean anything.
    """

    estate: Hashes
    parcel: Hashes
    border_m: Floats
    furrow_m: Floats


def divide_land(frame: Frame) -> Parcels:
    """Cuts the plane into estates (cells around jittered sites) and these into parcels."""
    y_m, x_m = frame.bend("fields/bend", ((900.0, 48.0), (240.0, 7.0)))
    size = _ESTATE_SPACING_M
    cell_y = np.floor(y_m * (1 / size)).astype(np.int64)
    cell_x = np.floor(x_m * (1 / size)).astype(np.int64)
    low_y, low_x = int(cell_y.min()) - 1, int(cell_x.min()) - 1
    rows, columns = np.meshgrid(
        np.arange(low_y, int(cell_y.max()) + 2), np.arange(low_x, int(cell_x.max()) + 2),
        indexing="ij",
    )  # fmt: skip
    hashes = hash_pair(rows, columns, frame.key("fields/estate"))
    # Sites as offsets from their own cell's corner, so that float32 keeps centimetres.
    site_y = 0.05 + 0.9 * uniform(rehash(hashes, 1))
    site_x = 0.05 + 0.9 * uniform(rehash(hashes, 2))
    # Neighbouring estates tend to lie the same way, as along one valley or old road.
    lattice_y = rows[:, 0].astype(np.float64) * size
    lattice_x = columns[0].astype(np.float64) * size
    grain = grid_noise(lattice_y, lattice_x, 5200.0, frame.key("fields/grain")).astype(np.float64)
    turn = 0.16 * grain + 0.06 * uniform(rehash(hashes, 3))
    turn += np.where(uniform(rehash(hashes, 4)) < 0.5, 0.25, 0.0)
    cosine, sine = (values.astype(np.float32).ravel() for values in directions(turn))
    breadth, length = _parcel_sides(frame, lattice_y, lattice_x, hashes)

    part_y = (y_m * (1 / size) - cell_y).astype(np.float32)
    part_x = (x_m * (1 / size) - cell_x).astype(np.float32)
    corner = (cell_y - low_y) * rows.shape[1] + (cell_x - low_x)
    flat_y, flat_x = site_y.ravel(), site_x.ravel()
    first = np.full(y_m.shape, 9.0, np.float32)
    second = first.copy()
    owner = corner.copy()
    near_y, near_x = first.copy(), first.copy()
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            index = corner + (i * rows.shape[1] + j)
            y = part_y - (flat_y[index] + i)
            x = part_x - (flat_x[index] + j)
            squared = y * y + x * x
            nearer = squared < first
            second = np.minimum(second, np.maximum(first, squared))
            np.copyto(owner, index, where=nearer)
            np.copyto(near_y, y, where=nearer)
            np.copyto(near_x, x, where=nearer)
            first = np.minimum(first, squared)
    outer_m = (np.sqrt(second) - np.sqrt(first)) * (0.5 * size)

    cosines, sines = cosine[owner], sine[owner]
    across = (near_y * cosines + near_x * sines) * size
    along = (near_x * cosines - near_y * sines) * size
    breadths, lengths = breadth.ravel()[owner], length.ravel()[owner]
    strips = across / breadths
    strip = np.floor(strips)
    estate = hashes.ravel()[owner]
    strip_hash = _hash_part(estate, strip)
    # Each strip is cut at its own places, so that cross lines do not run through.
    cuts = along / lengths + uniform(strip_hash)
    cut = np.floor(cuts)
    parcel = _hash_part(rehash(strip_hash, 5), cut)
    across_m = (0.5 - np.abs(strips - strip - 0.5)) * breadths
    along_m = (0.5 - np.abs(cuts - cut - 0.5)) * lengths
    border_m = np.minimum(np.minimum(across_m, along_m), outer_m)
    return Parcels(estate, parcel, border_m, across)


def _hash_part(hashes: Hashes, number: Floats) -> Hashes:
    """Hash of the numbered part of a hashed thing."""
    signed = number.astype(np.int64).astype(np.uint64)
    return rehash(hashes + signed * np.uint64(0x9E3779B97F4A7C15), 6)


def _centred(hashes: Hashes) -> Floats:
    return np.asarray(uniform(hashes) - 0.5, np.float32)


def _parcel_sides(frame: Frame, y_m: Metres, x_m: Metres, hashes: Hashes) -> tuple[Floats, Floats]:
    # Small strips in some regions, wide open fields in others, with exceptions.
    region = grid_noise(y_m, x_m, 4100.0, frame.key("fields/region"))
    openness = smoothstep(region + 1.6 * _centred(rehash(hashes, 7)), -1.0, 1.4)
    breadth = (55.0 + 190.0 * openness) * (0.75 + 0.6 * uniform(rehash(hashes, 8)))
    length = breadth * (1.2 + 2.2 * uniform(rehash(hashes, 9)))
    return breadth, length
