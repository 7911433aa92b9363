"""Which cover holds each pixel: the decision from ground, water, people and chance to codes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from terraloom.landscape.fields import Parcels
from terraloom.landscape.frame import Frame, scatter_sites
from terraloom.landscape.noise import Floats, rehash, smoothstep, uniform
from terraloom.landscape.settlements import Settlements
from terraloom.landscape.terrain import Terrain
from terraloom.landscape.water import Water, sand_width

TREE, SHRUB, GRASS, CROP, BUILT, BARE, WATER, WETLAND = 10, 20, 30, 40, 50, 60, 80, 90


@dataclass(frozen=True)
class Cover:
    """Codes over a window and what the reflectance needs to know about them.

    Attributes:
        codes: ESA WorldCover codes, uint8 "height width".
        moisture: about -2 (dry) to 2 (wet), float32 "height width".
        sandy: bare ground that is river sand, not rock.
        road: built-up ground that is a road.
        farmed: ground divided into fields, whatever grows there.
    """

    codes: NDArray[np.uint8]
    moisture: Floats
    sandy: NDArray[np.bool_]
    road: NDArray[np.bool_]
    farmed: NDArray[np.bool_]


def clothe_land(
    frame: Frame, terrain: Terrain, water: Water, parcels: Parcels, settlements: Settlements
) -> Cover:
    """Decides the cover of every pixel of a window."""
    edge_m = water.edge_m
    moisture = frame.fractal("vegetation/moisture", 2500.0, 3, 0.55)
    moisture += 0.9 * smoothstep(edge_m, 260.0, 0.0) - 0.25
    ragged = frame.fractal("vegetation/ragged", 520.0, 6, 0.62)
    estate, parcel = uniform(rehash(parcels.estate, 21)), uniform(rehash(parcels.parcel, 22))

    codes = _wild_cover(frame, terrain, moisture, ragged, parcel)
    tillage = frame.noise("vegetation/tillage", 2700.0) * 0.32 + 0.93 - 1.75 * terrain.rugged
    tillage += 0.55 * (estate - 0.5) + 0.45 * (parcel - 0.5) - 0.10 * ragged
    farmed = tillage > 0.22
    _farm_cover(codes, farmed, frame, parcels, estate, moisture, ragged)

    _riverside_cover(codes, frame, edge_m, ragged)
    quarry_m = _quarry_distance(frame)
    codes[quarry_m < 0] = BARE
    fine = frame.noise("vegetation/fine", 45.0)
    sandy = (water.river_m < sand_width(frame) + 12.0 * fine) & (water.river_m >= 0)
    codes[sandy] = BARE
    shore = smoothstep(frame.noise("vegetation/reed", 900.0), 0.9, 1.9) * 90.0
    codes[(water.lake_m < shore + 15.0 * fine) & (terrain.slope < 0.12)] = WETLAND

    built = settlements.built & (terrain.slope < 0.5)
    codes[built] = BUILT
    # One block in sixteen is a park; gardens break up the rest.
    park = built & (settlements.block < 0.062) & (settlements.street_m > 8.0)
    green = uniform(rehash(settlements.plot, 31))
    loose = smoothstep(settlements.core, 0.7, -0.2)
    garden = built & (green < 0.02 + 0.12 * loose) & (settlements.radius_m > 60.0)
    codes[park | garden] = np.where(ragged + fine > 0.5, TREE, GRASS)[park | garden]
    # Roads cross rivers and brooks on bridges, but end at lakes.
    codes[(water.river_m < 0) | (water.brook_m < 0)] = WATER
    road = settlements.road_m < 0
    codes[road] = BUILT
    codes[water.lake_m < 0] = WATER
    return Cover(codes, moisture, sandy, road & (codes == BUILT), farmed)


def _wild_cover(
    frame: Frame, terrain: Terrain, moisture: Floats, ragged: Floats, parcel: Floats
) -> NDArray[np.uint8]:
    # Forest where wet or high, shrub on dry slopes, rock on crests, grass elsewhere.
    forest = 0.45 * moisture + 1.15 * terrain.rugged + 0.8 * ragged
    # Logging follows parcels: some are clear-cut, and regrow through grass and shrub.
    cut = parcel > 0.93
    dry = frame.fractal("vegetation/dry", 1100.0, 5, 0.58)
    shrub = 0.9 * dry - 0.35 * moisture + 1.1 * terrain.slope + 0.2 * ragged
    crag = frame.fractal("vegetation/crag", 420.0, 5, 0.62)
    rock = 0.75 * crag + 2.4 * terrain.slope + 0.5 * dry - 0.3 * moisture
    rock += 1.2 * smoothstep(terrain.height_m, 190.0, 420.0)
    codes = np.full(ragged.shape, GRASS, np.uint8)
    codes[shrub > 1.08] = SHRUB
    codes[(forest > 0.45) & ~cut & (shrub < 1.55)] = TREE
    codes[(forest > 0.45) & cut & (parcel > 0.97)] = SHRUB
    codes[rock > 2.8] = BARE
    return codes


def _farm_cover(
    codes: NDArray[np.uint8],
    farmed: NDArray[np.bool_],
    frame: Frame,
    parcels: Parcels,
    estate: Floats,
    moisture: Floats,
    ragged: Floats,
) -> None:
    # Writes crops, pastures, woodlots and hedges into `codes` where the land is farmed.
    use = uniform(rehash(parcels.parcel, 23))
    # Wet estates keep cattle, dry ones plough.
    pasture = 0.16 + 0.10 * np.clip(moisture, -1.5, 2.0) + 0.28 * (estate > 0.72)
    codes[farmed] = CROP
    codes[farmed & (use < pasture)] = GRASS
    codes[farmed & (use > 0.955) & (ragged > -0.9)] = TREE
    codes[farmed & (use > 0.92) & (use < 0.955)] = SHRUB
    # Copses stand wherever the ragged field peaks, across field borders.
    codes[farmed & (ragged + 0.35 * moisture > 1.75)] = TREE
    hedged = uniform(rehash(parcels.estate, 24)) < 0.42
    gaps = frame.noise("vegetation/hedge", 130.0) > -0.25
    hedge = farmed & (parcels.border_m < 5.5)
    codes[hedge & hedged & gaps] = TREE
    codes[hedge & ~(hedged & gaps) & (uniform(rehash(parcels.estate, 25)) < 0.3)] = GRASS


def _riverside_cover(
    codes: NDArray[np.uint8], frame: Frame, edge_m: Floats, ragged: Floats
) -> None:
    belt = 34.0 + 48.0 * frame.fractal("vegetation/belt", 600.0, 3, 0.6) + 22.0 * ragged
    near = edge_m < belt
    codes[near] = TREE
    meadow = (edge_m < belt + 45.0) & ~near & (edge_m < 120.0) & (ragged < 0.4)
    codes[meadow & (codes == CROP)] = GRASS


def _quarry_distance(frame: Frame) -> Floats:
    # Distance in metres to the edge of the nearest quarry or gravel pit, cut off at 100.
    bent_y, bent_x = frame.bend("vegetation/quarry", ((190.0, 42.0), (60.0, 12.0)))
    pits = scatter_sites(frame, "vegetation/pit", 1500.0, 2)
    keep = pits.chance(1) < 0.34
    radius = 30.0 + 130.0 * pits.chance(2) * pits.chance(3)
    rows = np.stack([pits.y_m, pits.x_m, radius], axis=2)[keep]
    edge = np.full(bent_y.shape, 100.0, np.float32)
    for y0, x0, radius_m in rows.tolist():
        pad = radius_m + 100.0 + 3.7 * 54.0
        box = frame.box(y0 - pad, x0 - pad, y0 + pad, x0 + pad)
        if box is None:
            continue
        y = (bent_y[box] - y0).astype(np.float32)
        x = (bent_x[box] - x0).astype(np.float32)
        np.minimum(edge[box], np.sqrt(y * y + x * x) - radius_m, out=edge[box])
    return edge
