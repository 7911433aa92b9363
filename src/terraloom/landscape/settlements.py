"""Towns, villages, farmsteads and the roads between them.

Places are a jittered lattice with heavy-tailed sizes on low ground. Two places share a road
when no third place is nearer to both (the relative neighbourhood graph), a rule that looks only
a few kilometres around and draws networks like those of real countryside.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from terraloom.landscape.frame import Frame, Lines, Sites, distance_to_lines, scatter_sites
from terraloom.landscape.noise import (
    Floats,
    Hashes,
    Metres,
    direction,
    hash_pair,
    smoothstep,
    uniform,
)
from terraloom.landscape.terrain import river_offset_at, ruggedness

_Number = TypeVar("_Number", bound=np.generic)

_PLACE_SPACING_M = 1250.0
_ROAD_WAVES = ((950.0, 62.0), (320.0, 15.0))
_BEND_M = 3.7 * 77.0
_BLOCKER_CELLS = 3


@dataclass(frozen=True)
class Settlements:
    """What people built over a window, all "height width".

    Attributes:
        built: True on built-up ground, roads left out.
        road_m: distance to the edge of the nearest road in metres, negative on it, at most 150.
        core: 1 in the middle of a place, 0 at its nominal border, down to -1 outside.
        street_m: distance to the nearest street inside a place.
        block: uniform number per block of houses, [0, 1).
        plot: hash per plot of about 25 m.
        radius_m: nominal radius of the nearest place; 0 far from all.
    """

    built: NDArray[np.bool_]
    road_m: Floats
    core: Floats
    street_m: Floats
    block: Floats
    plot: Hashes
    radius_m: Floats


def settle(frame: Frame) -> Settlements:
    """All places and roads over a window; water must be cut out by the caller."""
    places = scatter_sites(frame, "settlements/place", _PLACE_SPACING_M, 6)
    radius = _place_radius(frame, places)
    bent = frame.bend("settlements/road", _ROAD_WAVES)
    roads = _road_lines(places, radius)
    road_m = distance_to_lines(frame, roads, bent, reach_m=150.0, bend_m=_BEND_M)

    farms = scatter_sites(frame, "settlements/farm", 430.0, 3)
    farm_radius = _farm_radius(frame, farms)
    blobs = np.concatenate([_blobs(places, radius), _blobs(farms, farm_radius)])
    core, across, along, radius_m, block_m, town = _stamp(frame, blobs, bent)

    edge = core + 0.34 * frame.fractal("settlements/edge", 330.0, 2, 0.6)
    edge += 0.16 * frame.noise("settlements/fringe", 70.0)
    edge += 0.45 * smoothstep(road_m, 70.0, 0.0) * (core > -0.75)
    # Hedges and yards between houses: the smaller the place, the looser.
    edge -= 0.10 * smoothstep(radius_m, 400.0, 100.0)

    row = np.floor(across / block_m).astype(np.int64)
    column = np.floor(along / (1.5 * block_m)).astype(np.int64)
    block = uniform(hash_pair(row * 65537 + town, column, frame.key("settlements/block")))
    plot_row = np.floor(across * (1 / 23.0)).astype(np.int64)
    plot_column = np.floor(along * (1 / 27.0)).astype(np.int64)
    plot = hash_pair(plot_row * 65537 + town, plot_column, frame.key("settlements/plot"))
    street_m = np.minimum(
        np.abs(across - (row + 0.5) * block_m), np.abs(along - (column + 0.5) * 1.5 * block_m)
    ).astype(np.float32)
    return Settlements(edge > 0.12, road_m, core, street_m, block, plot, radius_m)


def _place_radius(frame: Frame, places: Sites) -> Metres:
    # Nominal radius in metres; 0 where nobody settled. Towns want low ground near a river.
    field, down, right = river_offset_at(places.y_m, places.x_m, frame.seed)
    river_m = np.sqrt(down * down + right * right)
    welcome = 1.0 - ruggedness(field)
    size = places.chance(1)
    radius = 75.0 + 120.0 * places.chance(2)
    town = size > 0.85 - 0.08 * (river_m < 1200.0)
    radius = radius + town * (120.0 + 430.0 * places.chance(3) * places.chance(3))
    radius = radius + (size > 0.965) * 380.0
    settled = (places.chance(4) < 0.25 + 0.65 * welcome) & (river_m > 130.0)
    return np.where(settled, radius * (0.45 + 0.55 * welcome), 0.0).astype(np.float64)


def _farm_radius(frame: Frame, farms: Sites) -> Metres:
    field, down, right = river_offset_at(farms.y_m, farms.x_m, frame.seed)
    low = ruggedness(field) < 0.6
    dry = np.sqrt(down * down + right * right) > 130.0
    settled = low & dry & (farms.chance(1) < 0.42)
    return np.where(settled, 15.0 + 30.0 * farms.chance(2) * farms.chance(3), 0.0)


def _blobs(sites: Sites, radius: Metres) -> Metres:
    # Rows of (y, x, radius, street turn, block side, town number) for the settled sites.
    keep = radius > 0
    columns = (
        sites.y_m[keep],
        sites.x_m[keep],
        radius[keep],
        sites.chance(11)[keep],
        62.0 + 60.0 * sites.chance(12)[keep],
        (sites.hashes[keep] >> np.uint64(48)),
    )
    return np.stack([np.asarray(column, np.float64) for column in columns], axis=1)


def _stamp(
    frame: Frame, blobs: Metres, bent: tuple[Metres, Metres]
) -> tuple[Floats, Floats, Floats, Floats, Floats, NDArray[np.int64]]:
    # Writes every place onto the window; where two overlap, the relatively nearer one wins.
    shape = (frame.height, frame.width)
    core = np.full(shape, -1.0, np.float32)
    across, along = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    radius_m, block_m = np.zeros(shape, np.float32), np.full(shape, 80.0, np.float32)
    town = np.zeros(shape, np.int64)
    for y0, x0, radius, turn, block, number in blobs.tolist():
        pad = 2.0 * radius + _BEND_M
        box = frame.box(y0 - pad, x0 - pad, y0 + pad, x0 + pad)
        if box is None:
            continue
        y = (bent[0][box] - y0).astype(np.float32)
        x = (bent[1][box] - x0).astype(np.float32)
        cosine, sine = direction(turn)
        u, v = y * cosine + x * sine, x * cosine - y * sine
        # Farmyards are squarish, towns round.
        far = np.maximum(np.abs(u), np.abs(v)) if radius < 60 else np.sqrt(y * y + x * x)
        inside = 1.0 - far * (1.0 / radius)
        nearer = inside > core[box]
        core[box][nearer] = inside[nearer]
        across[box][nearer] = u[nearer]
        along[box][nearer] = v[nearer]
        radius_m[box][nearer] = radius
        block_m[box][nearer] = block
        town[box][nearer] = int(number)
    return core, across, along, radius_m, block_m, town


def _road_lines(places: Sites, radius: Metres) -> Lines:
    margin = _BLOCKER_CELLS
    y, x, settled = places.y_m, places.x_m, radius > 0
    rows, columns = y.shape

    def at(values: NDArray[_Number], down: int, right: int) -> NDArray[_Number]:
        down, right = down + margin, right + margin
        return values[down : rows - 2 * margin + down, right : columns - 2 * margin + right]

    reach = range(-margin, margin + 1)
    around = [(at(y, i, j), at(x, i, j), at(settled, i, j)) for i in reach for j in reach]
    here_y, here_x, here_settled = at(y, 0, 0), at(x, 0, 0), at(settled, 0, 0)
    segments = []
    for i, j in [(i, j) for i in range(3) for j in range(-2, 3) if i > 0 or j > 0]:
        there_y, there_x = at(y, i, j), at(x, i, j)
        squared = (there_y - here_y) ** 2 + (there_x - here_x) ** 2
        joined = here_settled & at(settled, i, j) & (squared < 3300.0**2)
        for third_y, third_x, third_settled in around:
            to_here = (third_y - here_y) ** 2 + (third_x - here_x) ** 2
            to_there = (third_y - there_y) ** 2 + (third_x - there_x) ** 2
            joined &= ~(third_settled & (np.maximum(to_here, to_there) < squared))
        size = np.minimum(at(radius, 0, 0), at(radius, i, j))
        # 7.2 m is just over half the diagonal of a 10 m pixel: thinner roads would break up.
        half = np.where(size > 230.0, 10.5, 7.2)
        ends = (here_y, here_x, there_y, there_x, half, half)
        segments.append(np.stack([end[joined] for end in ends], axis=1))
    return Lines(*np.concatenate(segments).T)
