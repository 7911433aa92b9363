"""Grows a window of the world: land cover codes and the reflectance a satellite would see."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from terraloom.landscape.fields import divide_land
from terraloom.landscape.frame import Frame
from terraloom.landscape.reflectance import light_scene
from terraloom.landscape.settlements import settle
from terraloom.landscape.terrain import lay_valleys, raise_terrain
from terraloom.landscape.vegetation import clothe_land
from terraloom.landscape.water import spread_water

# One pixel for one-sided slopes, which reach the river's distance and then the light, and one
# for the blur of the sensor.
_MARGIN = 4


@dataclass(frozen=True)
class Landscape:
    """A window of the procedural world.

    Attributes:
        codes: "height width", ESA WorldCover codes (10 tree, 20 shrub, 30 grass, 40 crop,
            50 built-up, 60 bare, 80 water, a little 90 herbaceous wetland); every pixel valid.
        reflectance: "band height width", bands red, green, blue, near infrared; surface
            reflectance in 0..1.
    """

    codes: NDArray[np.uint8]
    reflectance: NDArray[np.float32]


def grow_landscape(
    row: int,
    column: int,
    height: int,
    width: int,
    *,
    seed: int,
    season: float = 0.55,
    pixel_size_m: float = 10.0,
) -> Landscape:
    """Grows one window of an unbounded world, as Sentinel-2 and ESA WorldCover would show it.

    A pixel depends only on its place, the seed, the season and the pixel size. A window grown
    alone equals the same crop of a larger one bit for bit, so a world of any size can be grown
    tile by tile. Memory is about 300 bytes per pixel of the window.

    Args:
        row: upper edge of the window in global pixels; may be negative.
        column: left edge of the window in global pixels; may be negative.
        height: rows, at least 1.
        width: columns, at least 1.
        seed: chooses the world; any integer.
        season: fraction of the northern year, 0 (January) to 1; changes how plants look, never
            the codes.
        pixel_size_m: metres per pixel, 10 as in Sentinel-2; features keep their size in metres.

    Raises:
        ValueError: an empty window, a season outside 0..1, or a pixel size not above 0.
    """
    if height < 1 or width < 1:
        raise ValueError(f"a window of {height} x {width} pixels is empty; use at least 1 x 1")
    if not 0.0 <= season <= 1.0:
        raise ValueError(f"season {season} is not a fraction of the year; use 0 to 1")
    if not pixel_size_m > 0.0:
        raise ValueError(f"pixel size {pixel_size_m} m is not above 0")
    frame = Frame(
        row - _MARGIN, column - _MARGIN, height + 2 * _MARGIN, width + 2 * _MARGIN,
        seed, float(pixel_size_m),
    )  # fmt: skip
    valleys = lay_valleys(frame)
    water = spread_water(frame, valleys)
    terrain = raise_terrain(frame, valleys, water.stream_m)
    parcels = divide_land(frame)
    settlements = settle(frame)
    cover = clothe_land(frame, terrain, water, parcels, settlements)
    scene = light_scene(frame, terrain, water, parcels, settlements, cover, float(season))
    inner = (slice(_MARGIN, -_MARGIN), slice(_MARGIN, -_MARGIN))
    codes = np.ascontiguousarray(cover.codes[inner])
    return Landscape(codes, np.ascontiguousarray(scene[:, inner[0], inner[1]]))
