"""Valleys, heights and light: the ground everything else stands on."""

from dataclasses import dataclass

import numpy as np

from terraloom.landscape.frame import Frame
from terraloom.landscape.noise import Floats, Metres, key_for, point_noise, smoothstep

# The trunk rivers are the zero lines of one slow field. Bending its coordinates makes meanders.
_VALLEY_SPACING_M = 3800.0
_MEANDERS = ((1700.0, 310.0), (680.0, 125.0), (290.0, 30.0))


@dataclass(frozen=True)
class Valleys:
    """Where the trunk rivers run.

    `field` is signed and 0 on a river; `distance_m` is the distance to the river's centre line,
    to first order, so only its near values are exact. Both float32, "height width".
    """

    field: Floats
    distance_m: Floats


def valleys_at(y_m: Metres, x_m: Metres, seed: int) -> Floats:
    """The valley field at any points; standard deviation about 1, 0 on trunk rivers."""
    y, x = y_m, x_m
    for spacing_m, amplitude_m in _MEANDERS:
        key_y = key_for(seed, f"terrain/meander/y/{spacing_m}")
        key_x = key_for(seed, f"terrain/meander/x/{spacing_m}")
        y = y + amplitude_m * point_noise(y_m, x_m, spacing_m, key_y)
        x = x + amplitude_m * point_noise(y_m, x_m, spacing_m, key_x)
    return _valley_field(y, x, seed)


def river_offset_at(y_m: Metres, x_m: Metres, seed: int) -> tuple[Floats, Metres, Metres]:
    """The valley field at any points, and the step in metres, down and right, to the river.

    The step is first order: near the truth beside a river, only a hint far from it.
    """
    step_m = 20.0
    field = valleys_at(y_m, x_m, seed)
    down = (valleys_at(y_m + step_m, x_m, seed) - field) * (1.0 / step_m)
    right = (valleys_at(y_m, x_m + step_m, seed) - field) * (1.0 / step_m)
    scale = -field / np.maximum(down * down + right * right, 1e-9).astype(np.float64)
    return field, scale * down, scale * right


def lay_valleys(frame: Frame) -> Valleys:
    """The valley field over a window and the distance to its rivers.

    The outermost pixels of the window have one-sided slopes: give it a margin of one pixel.
    """
    y, x = frame.bend("terrain/meander", _MEANDERS)
    field = _valley_field(y, x, frame.seed)
    steep = np.sqrt(_squared_slope(field, frame.pixel_size_m))
    # A floor on the slope: where the field turns back, its zero line would draw a ring, and the
    # floor fills small rings to make them lakes.
    distance_m = np.asarray(np.abs(field) / np.maximum(steep, 2.0e-4), np.float32)
    return Valleys(field, distance_m)


def ruggedness(field: Floats) -> Floats:
    """0 on the plains beside rivers, 1 in the hills far from them, from the valley field."""
    return smoothstep(np.abs(field), 0.58, 1.72)


def height_at(y_m: Metres, x_m: Metres, field: Floats, seed: int) -> Floats:
    """Coarse height in metres at any points, for deciding where water flows."""
    swell = point_noise(y_m, x_m, 2300.0, key_for(seed, "terrain/swell"))
    detail = point_noise(y_m, x_m, 1100.0, key_for(seed, "terrain/flow"))
    return np.asarray(130.0 * np.abs(field) + 38.0 * swell + 22.0 * detail, np.float32)


@dataclass(frozen=True)
class Terrain:
    """Ground over a window, each float32 "height width".

    `height_m` is above the rivers, `slope` is rise over run, `shade` is the light on the slope
    relative to flat ground (1), `rugged` is 0 on plains to 1 in hills.
    """

    height_m: Floats
    slope: Floats
    shade: Floats
    rugged: Floats


def raise_terrain(frame: Frame, valleys: Valleys, stream_distance_m: Floats) -> Terrain:
    """Heights that fall towards every stream, with fractal detail, and their light.

    Args:
        frame: the window; its outermost pixels have one-sided slopes.
        valleys: of the same window.
        stream_distance_m: distance to the nearest stream or river, cut off at 700 m.
    """
    rugged = ruggedness(valleys.field)
    away = np.clip(stream_distance_m * (1.0 / 700.0), 0.0, 1.0)
    away = away * (2.0 - away)
    swell = frame.noise("terrain/swell", 2300.0)
    rough = frame.fractal("terrain/rough", 800.0, 6, 0.52)
    crest = frame.fractal("terrain/crest", 1300.0, 5, 0.5, ridged=True)
    height_m = 60.0 * np.abs(valleys.field) + 14.0 * swell * rugged
    height_m += (14.0 + 210.0 * rugged) * away
    height_m += (2.5 + 44.0 * rugged) * rough + 60.0 * rugged * away * crest
    down, right = _slopes(height_m, frame.pixel_size_m)
    slope = np.sqrt(down * down + right * right)
    # Sentinel-2 passes at about 10:30, when the sun of the north stands in the south-east:
    # slopes falling to the south-east (down and right) are lit.
    light = 1.0 - 0.85 * (0.75 * down + 0.66 * right)
    shade = np.asarray(np.clip(light / np.sqrt(1.0 + slope * slope), 0.42, 1.36), np.float32)
    return Terrain(height_m, slope, shade, rugged)


def _valley_field(y_m: Metres, x_m: Metres, seed: int) -> Floats:
    wide = point_noise(y_m, x_m, _VALLEY_SPACING_M, key_for(seed, "terrain/valley/wide"))
    near = point_noise(y_m, x_m, 2100.0, key_for(seed, "terrain/valley/near"))
    return 0.9 * wide + 0.28 * near


def _slopes(values: Floats, pixel_size_m: float) -> tuple[Floats, Floats]:
    # Central differences written out: np.gradient would do the same, but promotes and copies.
    down, right = np.empty_like(values), np.empty_like(values)
    scale = 0.5 / pixel_size_m
    down[1:-1] = (values[2:] - values[:-2]) * scale
    right[:, 1:-1] = (values[:, 2:] - values[:, :-2]) * scale
    down[0], down[-1] = down[1], down[-2]
    right[:, 0], right[:, -1] = right[:, 1], right[:, -2]
    return down, right


def _squared_slope(values: Floats, pixel_size_m: float) -> Floats:
    down, right = _slopes(values, pixel_size_m)
    return down * down + right * right
