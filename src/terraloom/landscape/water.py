"""Rivers, their tributaries, lakes and ponds.

Trunk rivers follow the valley field. Tributaries are a drainage tree: a jittered lattice of
springs, each running to its lowest neighbour until it meets a river or a hollow, and a hollow
holds a lake. Streams widen with the number of springs above them.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from terraloom.landscape.frame import Frame, Lines, Sites, distance_to_lines, scatter_sites
from terraloom.landscape.noise import Floats, Metres, direction, smoothstep
from terraloom.landscape.terrain import Valleys, height_at, river_offset_at

_Number = TypeVar("_Number", bound=np.generic)

_SPRING_SPACING_M = 640.0
# Springs further upstream than this many steps are not counted, which keeps the count local.
_UPSTREAM_STEPS = 6
_STREAM_WAVES = ((700.0, 60.0), (230.0, 22.0), (90.0, 7.0))
_STREAM_BEND_M = 3.7 * 89.0
_NEIGHBOURS = tuple((down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right)
_SHORE_WAVES = ((900.0, 130.0), (330.0, 75.0), (130.0, 24.0), (60.0, 8.0))
_SHORE_BEND_M = 3.7 * 237.0
STREAM_REACH_M = 700.0


@dataclass(frozen=True)
class Water:
    """Distances to the edge of water in metres, negative inside; float32 "height width".

    `stream_m` reaches to the centre line of any stream, wet or dry, for shaping the ground;
    `river_m`, `brook_m` and `lake_m` are to the edges of trunk rivers, tributaries and standing
    water. All but `river_m` are cut off at some hundred metres.
    """

    stream_m: Floats
    river_m: Floats
    brook_m: Floats
    lake_m: Floats

    @property
    def edge_m(self) -> Floats:
        """Distance to the nearest water of any kind."""
        return np.minimum(np.minimum(self.river_m, self.brook_m), self.lake_m)


def spread_water(frame: Frame, valleys: Valleys) -> Water:
    """All water over a window; depends on nothing but the place."""
    # The widest lakes matter five cells away, and so does what flows into them.
    sites = scatter_sites(frame, "water/spring", _SPRING_SPACING_M, _UPSTREAM_STEPS + 7)
    dry, wet, hollows = _drainage(frame, sites)
    bent = frame.bend("water/stream", _STREAM_WAVES)
    stream_m = distance_to_lines(frame, dry, bent, reach_m=STREAM_REACH_M, bend_m=_STREAM_BEND_M)
    brook_m = distance_to_lines(frame, wet, bent, reach_m=300.0, bend_m=_STREAM_BEND_M)
    half_m = 104.0 + 52.0 * frame.noise("water/breadth", 2600.0)
    half_m += 13.0 * frame.fractal("water/bank", 420.0, 3)
    river_m = valleys.distance_m - np.maximum(half_m, 16.0)
    lake_m = _standing_water(frame, hollows)
    return Water(np.minimum(stream_m, valleys.distance_m), river_m, brook_m, lake_m)


def _drainage(frame: Frame, sites: Sites) -> tuple[Lines, Lines, Metres]:
    # Returns all stream segments, those that carry water, and hollows as rows of
    # (y, x, radius, turn), all for springs whose every neighbour is on the lattice.
    seed = frame.seed
    y, x = sites.y_m, sites.x_m
    field, foot_down, foot_right = river_offset_at(y, x, seed)
    height = height_at(y, x, field, seed)
    foot_y, foot_x = y + foot_down, x + foot_right
    foot_m = np.sqrt(foot_down * foot_down + foot_right * foot_right)

    inner = (slice(1, -1), slice(1, -1))
    lowest, choice = height[inner].copy(), np.full(height[inner].shape, -1)
    for index, (i, j) in enumerate(_NEIGHBOURS):
        candidate = _shifted(height, i, j)
        lower = candidate < lowest
        lowest[lower], choice[lower] = candidate[lower], index
    y0, x0, m0 = y[inner], x[inner], field[inner]
    to_y, to_x, m1 = y0.copy(), x0.copy(), m0.copy()
    for index, (i, j) in enumerate(_NEIGHBOURS):
        here = choice == index
        to_y[here] = _shifted(y, i, j)[here]
        to_x[here] = _shifted(x, i, j)[here]
        m1[here] = _shifted(field, i, j)[here]

    joins = foot_m[inner] < 0.75 * sites.spacing_m
    to_y, to_x = np.where(joins, foot_y[inner], to_y), np.where(joins, foot_x[inner], to_x)
    crosses = ~joins & (m0 * m1 < 0)
    part = np.where(crosses, m0 / np.where(crosses, m0 - m1, 1.0), 1.0)
    to_y, to_x = y0 + part * (to_y - y0), x0 + part * (to_x - x0)
    runs_on = (choice >= 0) & ~joins & ~crosses

    springs = np.ones(choice.shape)
    for _ in range(_UPSTREAM_STEPS):
        padded = np.pad(np.where(runs_on, springs, 0.0), 1)
        source = np.pad(np.where(runs_on, choice, -1), 1, constant_values=-1)
        springs = np.ones(choice.shape)
        for index, (i, j) in enumerate(_NEIGHBOURS):
            # A neighbour at (-i, -j) that chose direction (i, j) runs into this spring.
            springs += np.where(_shifted(source, -i, -j) == index, _shifted(padded, -i, -j), 0.0)

    flows = (choice >= 0) | joins
    half = np.minimum(2.8 * np.sqrt(springs), 22.0)
    carries = flows & (springs + 2.5 * sites.chance(1)[inner] >= 4.4)
    # A brook with no wet one above it begins deep under its bank, so that it and its trees
    # fade in instead of starting with a blunt end.
    fed = np.zeros(choice.shape, bool)
    source = np.pad(np.where(runs_on & carries, choice, -1), 1, constant_values=-1)
    for index, (i, j) in enumerate(_NEIGHBOURS):
        fed |= _shifted(source, -i, -j) == index
    rise, still = np.where(fed, 0.85 * half, -70.0), np.zeros_like(half)
    lines = [
        Lines(y0[s], x0[s], to_y[s], to_x[s], start[s], end[s])
        for s, start, end in ((flows, still, still), (carries, rise, half))
    ]
    hollow = (choice < 0) & ~joins
    radius = 130.0 + 560.0 * sites.chance(2)[inner] * sites.chance(3)[inner]
    radius += 14.0 * np.minimum(springs, 14.0)
    wet = hollow & (sites.chance(4)[inner] < 0.9)
    hollows = np.stack([y0[wet], x0[wet], radius[wet], sites.chance(5)[inner][wet]], axis=1)
    return lines[0], lines[1], hollows


def _shifted(values: NDArray[_Number], down: int, right: int) -> NDArray[_Number]:
    # The neighbour at (down, right) of every inner element of a lattice.
    rows, columns = values.shape
    return values[1 + down : rows - 1 + down, 1 + right : columns - 1 + right]


def _standing_water(frame: Frame, hollows: Metres) -> Floats:
    bent_y, bent_x = frame.bend("water/shore", _SHORE_WAVES)
    ponds = scatter_sites(frame, "water/pond", 1150.0, 2)
    keep = ponds.chance(1) < 0.4
    radius = 14.0 + 46.0 * ponds.chance(2) * ponds.chance(3)
    # A few are reservoirs and gravel lakes, big enough for a map.
    radius = radius + (ponds.chance(5) < 0.14) * (90.0 + 260.0 * ponds.chance(6))
    small = np.stack([ponds.y_m, ponds.x_m, radius, ponds.chance(4)], axis=2)[keep]
    edge = np.full((frame.height, frame.width), 400.0, np.float32)
    for rows, strength in ((hollows, 1.0), (small, 0.0)):
        for y0, x0, radius_m, turn in rows.tolist():
            # Distances are measured in stretched coordinates, so reach further on the ground.
            pad = (radius_m + 400.0) * 1.62 + _SHORE_BEND_M
            box = frame.box(y0 - pad, x0 - pad, y0 + pad, x0 + pad)
            if box is None:
                continue
            cosine, sine = direction(turn)
            y = (bent_y[box] - y0).astype(np.float32)
            x = (bent_x[box] - x0).astype(np.float32)
            # Lakes are drawn out along one axis; ponds keep almost round.
            stretch = 0.62 if strength else 0.85
            u, v = (y * cosine + x * sine) * stretch, (x * cosine - y * sine) / stretch
            distance = np.sqrt(u * u + v * v) - radius_m
            np.minimum(edge[box], distance, out=edge[box])
    return edge


def sand_width(frame: Frame) -> Floats:
    """Width in metres of bare sand beside trunk rivers; 0 along most banks."""
    return 75.0 * smoothstep(frame.fractal("water/sand", 700.0, 3), 0.35, 1.7)
