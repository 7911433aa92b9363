"""What a satellite sees: spectra per cover, texture, season, light and the sensor's blur.

Spectra are typical Sentinel-2 surface reflectances in red, green, blue and near infrared,
chosen to overlap as they do in nature: dry pasture beside ripe grain, bare fields beside rock,
gravel beside roofs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from terraloom.landscape.fields import Parcels
from terraloom.landscape.frame import Frame
from terraloom.landscape.noise import Floats, rehash, smoothstep, uniform
from terraloom.landscape.settlements import Settlements
from terraloom.landscape.terrain import Terrain
from terraloom.landscape.vegetation import (
    BARE,
    BUILT,
    CROP,
    GRASS,
    SHRUB,
    TREE,
    WATER,
    WETLAND,
    Cover,
)
from terraloom.landscape.water import Water

Spectrum = tuple[float, float, float, float]
Pixels = NDArray[np.bool_]

_BROADLEAF: Spectrum = (0.024, 0.043, 0.022, 0.345)
_CONIFER: Spectrum = (0.017, 0.028, 0.018, 0.205)
_LEAFLESS: Spectrum = (0.078, 0.068, 0.050, 0.175)
_SCRUB: Spectrum = (0.068, 0.070, 0.043, 0.235)
_SCRUB_DRY: Spectrum = (0.104, 0.092, 0.060, 0.215)
_MEADOW: Spectrum = (0.046, 0.080, 0.034, 0.375)
_MEADOW_DRY: Spectrum = (0.138, 0.122, 0.075, 0.270)
_REED: Spectrum = (0.052, 0.062, 0.038, 0.190)
_LEAFY: Spectrum = (0.034, 0.068, 0.027, 0.440)
_RIPE: Spectrum = (0.190, 0.155, 0.092, 0.300)
_STUBBLE: Spectrum = (0.168, 0.138, 0.098, 0.245)
_RAPE_BLOOM: Spectrum = (0.130, 0.150, 0.045, 0.420)
_SOIL: Spectrum = (0.150, 0.112, 0.080, 0.205)
_SOIL_DARK: Spectrum = (0.082, 0.064, 0.048, 0.118)
_ROCK: Spectrum = (0.172, 0.155, 0.132, 0.215)
_ROCK_WARM: Spectrum = (0.215, 0.165, 0.120, 0.265)
_SAND: Spectrum = (0.268, 0.225, 0.165, 0.320)
_ASPHALT: Spectrum = (0.100, 0.098, 0.094, 0.130)
_TILES: Spectrum = (0.168, 0.124, 0.103, 0.215)
_SLATE: Spectrum = (0.118, 0.117, 0.116, 0.150)
_SHEET: Spectrum = (0.350, 0.350, 0.345, 0.380)
_CLEAR: Spectrum = (0.017, 0.030, 0.036, 0.013)
_TURBID: Spectrum = (0.082, 0.083, 0.054, 0.032)


@dataclass(frozen=True)
class _Texture:
    # Shared noises, each "height width", mean 0 and standard deviation about 1.
    broad: Floats
    patchy: Floats
    fine: Floats
    grain: Floats


def light_scene(
    frame: Frame,
    terrain: Terrain,
    water: Water,
    parcels: Parcels,
    settlements: Settlements,
    cover: Cover,
    season: float,
) -> NDArray[np.float32]:
    """Surface reflectance of a window, "band height width", red, green, blue, near infrared.

    The outermost pixels of the window lack neighbours for the blur.

    Args:
        frame: the window.
        terrain: gives the light on the ground.
        water: tells deep water from shallow, rivers from lakes.
        parcels: tell one field and one forest stand from the next.
        settlements: give streets, blocks and plots.
        cover: the codes to paint.
        season: fraction of the northern year, 0 to 1.
    """
    texture = _Texture(
        frame.fractal("reflectance/broad", 1900.0, 3, 0.6),
        frame.fractal("reflectance/patchy", 230.0, 3, 0.7),
        frame.fractal("reflectance/fine", 42.0, 2, 0.8),
        _centred(uniform(frame.pixel_hash("reflectance/grain"))),
    )
    scene = np.zeros((4, frame.height, frame.width), np.float32)
    codes = cover.codes
    for code, paint in ((TREE, _trees), (SHRUB, _shrubs), (GRASS, _grass)):
        here = codes == code
        scene[:, here] = paint(here, texture, cover, parcels, terrain, season)
    here = codes == CROP
    scene[:, here] = _crops(here, texture, cover, parcels, season)
    here = codes == BARE
    scene[:, here] = _bare(here, texture, cover)
    here = codes == BUILT
    scene[:, here] = _built(here, texture, cover, settlements, season)
    here = codes == WATER
    scene[:, here] = _water(here, texture, water)
    here = codes == WETLAND
    scene[:, here] = _blend(_SOIL_DARK, _REED, 0.75 + 0.2 * texture.patchy[here])

    # Water lies level; on land the sky still lights what the sun does not.
    shade = np.where(codes == WATER, np.float32(1.0), 0.18 + 0.82 * terrain.shade)
    scene *= shade
    # Haze and uneven correction drift over some kilometres, a little differently in each band.
    common = 0.05 * frame.noise("reflectance/drift", 2900.0)
    for band in range(4):
        scene[band] *= 1.0 + common + 0.016 * frame.noise(f"reflectance/drift/{band}", 2900.0)
        scene[band] += 0.001 * (3 - band) * (1.0 + 0.5 * texture.broad)
    scene = _blurred(scene)
    _add_noise(scene, frame)
    np.clip(scene, 0.0, 1.0, out=scene)
    return scene


def greenness(season: float) -> float:
    """Leaf cover of wild plants, 0 in midwinter to 1 in early summer, falling in autumn."""
    return _ramp(season, 0.20, 0.40) * (1.0 - _ramp(season, 0.74, 0.90))


def _ramp(value: float, low: float, high: float) -> float:
    part = min(max((value - low) / (high - low), 0.0), 1.0)
    return part * part * (3.0 - 2.0 * part)


def _centred(chance: Floats) -> Floats:
    # Uniform numbers to mean 0 and standard deviation 1.
    return np.asarray((chance - 0.5) * float(12.0**0.5), np.float32)


def _blend(first: Spectrum, second: Spectrum, part: Floats) -> Floats:
    # "band pixel": `first` where part is 0, `second` where it is 1.
    part = np.clip(part, 0.0, 1.0)
    return np.stack([a + (b - a) * part for a, b in zip(first, second, strict=True)])


def _toward(spectra: Floats, target: Spectrum, part: Floats | float) -> Floats:
    goal = np.array(target, np.float32)[:, None]
    part = np.clip(part, 0.0, 1.0)
    return np.asarray(spectra + (goal - spectra) * part)


def _trees(
    here: Pixels,
    texture: _Texture,
    cover: Cover,
    parcels: Parcels,
    terrain: Terrain,
    season: float,
) -> Floats:
    # Stands of conifers, more of them in the hills, inside broadleaf forest.
    stand = uniform(rehash(parcels.parcel[here], 41))
    conifer = smoothstep(
        0.8 * texture.broad[here]
        + 0.5 * texture.patchy[here]
        + 1.1 * terrain.rugged[here]
        + 0.9 * (stand - 0.5),
        0.35,
        1.25,
    )
    spectra = _blend(_BROADLEAF, _CONIFER, conifer)
    spectra = _toward(spectra, _LEAFLESS, 0.9 * (1.0 - greenness(season)) * (1.0 - conifer))
    # Gaps and young growth let ground through; crowns shade each other.
    spectra = _toward(
        spectra, _SCRUB, 0.15 + 0.17 * texture.patchy[here] + 0.08 * texture.broad[here]
    )
    crowns = 1.0 + 0.12 * texture.fine[here] + 0.11 * texture.grain[here]
    spectra *= (crowns + 0.10 * texture.broad[here]) * (0.92 + 0.16 * stand)
    return spectra


def _shrubs(
    here: Pixels,
    texture: _Texture,
    cover: Cover,
    parcels: Parcels,
    terrain: Terrain,
    season: float,
) -> Floats:
    dry = 0.50 - 0.28 * cover.moisture[here] + 0.22 * texture.patchy[here]
    dry += 0.55 * (1.0 - greenness(season)) - 0.15
    spectra = _blend(_SCRUB, _SCRUB_DRY, dry)
    spectra = _toward(spectra, _ROCK_WARM, 0.10 * texture.fine[here] + 0.06 * texture.grain[here])
    spectra = _toward(
        spectra, _BROADLEAF, 0.22 - 0.22 * texture.fine[here] + 0.2 * texture.broad[here]
    )
    spectra = _toward(spectra, _MEADOW_DRY, 0.22 - 0.3 * texture.patchy[here])
    spectra *= 1.0 + 0.07 * texture.grain[here] + 0.08 * texture.broad[here]
    return spectra


def _grass(
    here: Pixels,
    texture: _Texture,
    cover: Cover,
    parcels: Parcels,
    terrain: Terrain,
    season: float,
) -> Floats:
    # Pastures differ from field to field, wild grass from place to place.
    meadow = _centred(uniform(rehash(parcels.parcel[here], 42))) * cover.farmed[here]
    dry = 0.36 - 0.22 * cover.moisture[here] + 0.16 * texture.patchy[here] + 0.20 * meadow
    dry += 0.20 * texture.broad[here] + 0.22 * ~cover.farmed[here]
    dry += 0.40 * _ramp(season, 0.45, 0.66) * (1.0 - _ramp(season, 0.72, 0.85)) - 0.24
    dry += 0.45 * (1.0 - greenness(season))
    spectra = _blend(_MEADOW, _MEADOW_DRY, dry)
    spectra = _toward(
        spectra, _SCRUB, 0.22 + 0.18 * texture.fine[here] + 0.16 * texture.patchy[here]
    )
    # Leys and hay meadows stand as lush as any crop, grazed turf much thinner.
    lush = 0.20 + 0.27 * meadow + 0.16 * texture.broad[here]
    spectra = _toward(spectra, _LEAFY, np.asarray(lush * greenness(season), np.float32))
    spectra *= 1.0 + 0.05 * texture.grain[here] + 0.06 * texture.fine[here] + 0.05 * meadow
    return spectra


# Calendar of each crop: when it turns green, is half green, ripens and is cut, as fractions of
# the year; a crop sown in autumn starts green at the turn of the year.
_CALENDARS = np.array(
    [
        # sprout, full, ripen, cut, share
        (-0.10, 0.30, 0.50, 0.58, 0.36),  # winter grain
        (0.40, 0.53, 0.72, 0.82, 0.26),  # maize
        (-0.10, 0.22, 0.45, 0.55, 0.08),  # rape
        (0.36, 0.50, 0.78, 0.86, 0.10),  # beet, potatoes
        (-0.20, 0.10, 1.10, 1.30, 0.14),  # clover and other fodder
        (1.50, 1.60, 1.70, 1.80, 0.06),  # fallow: bare all year
    ]
)
_SHARES = np.cumsum(_CALENDARS[:, 4])
_RAPE, _FODDER = 2, 4


def _crops(
    here: Pixels, texture: _Texture, cover: Cover, parcels: Parcels, season: float
) -> Floats:
    parcel = parcels.parcel[here]
    # A draw partly shared by the estate makes neighbouring fields alike more often than not.
    own, shared = uniform(rehash(parcel, 43)), uniform(rehash(parcels.estate[here], 43))
    draw = np.where(uniform(rehash(parcel, 44)) < 0.3, shared, own)
    kind = np.minimum(np.searchsorted(_SHARES, draw), len(_SHARES) - 1)
    calendar = _CALENDARS.astype(np.float32)[kind]
    date = season + 0.11 * (uniform(rehash(parcel, 45)) - 0.5)
    date += 0.012 * texture.patchy[here]
    green = _between(date, calendar[:, 0], calendar[:, 1])
    ripe = _between(date, calendar[:, 2] - 0.03, calendar[:, 2] + 0.04)
    cut = _between(date, calendar[:, 3], calendar[:, 3] + 0.015)
    ploughed = _between(date, calendar[:, 3] + 0.05, calendar[:, 3] + 0.09)

    vigour = 0.62 + 0.46 * uniform(rehash(parcel, 46)) + 0.10 * texture.patchy[here]
    vigour += 0.05 * texture.fine[here]
    tint = uniform(rehash(parcel, 47))
    # Wet and peaty soils are dark, dry ones pale; each field has its own state of tillage.
    soil = 0.5 + 0.24 * cover.moisture[here] + 0.9 * (tint - 0.5) + 0.12 * texture.patchy[here]
    spectra = _blend(_SOIL, _SOIL_DARK, soil)
    bare = spectra.copy()
    spectra = _toward(spectra, _LEAFY, green * vigour)
    # Fodder and weedy fields are meadows in all but name.
    weeds = (kind >= _FODDER) * (0.35 + 0.6 * uniform(rehash(parcel, 50)))
    meadow = _blend(_MEADOW, _MEADOW_DRY, tint + 0.1 * texture.patchy[here])
    spectra += (meadow - spectra) * (weeds * (0.4 + 0.6 * greenness(season)))
    ripeness = ripe * (0.75 + 0.3 * uniform(rehash(parcel, 48)))
    spectra = _toward(spectra, _RIPE, ripeness)
    spectra = _toward(spectra, _STUBBLE, cut * 0.9)
    spectra += (bare - spectra) * (ploughed * (uniform(rehash(parcel, 49)) < 0.7))
    bloom = _ramp(season, 0.29, 0.33) * (1.0 - _ramp(season, 0.38, 0.42))
    spectra = _toward(spectra, _RAPE_BLOOM, 0.85 * bloom * (kind == _RAPE))
    # Rows and tramlines: stripes along the direction of work, faint at 10 m.
    stripe = parcels.furrow_m[here] * (1.0 / 31.0)
    stripe = np.abs(stripe - np.floor(stripe) - 0.5) * 4.0 - 1.0
    spectra *= 1.0 + 0.035 * stripe + 0.035 * texture.grain[here] + 0.04 * texture.fine[here]
    spectra *= 0.86 + 0.28 * tint
    # Balks between fields are grassy where no hedge stands.
    balk = smoothstep(parcels.border_m[here], 9.0, 2.0)
    return _toward(spectra, _SCRUB, 0.55 * balk)


def _between(date: Floats, low: Floats, high: Floats) -> Floats:
    ramp = np.clip((date - low) / (high - low), 0.0, 1.0)
    return np.asarray(ramp * ramp * (3.0 - 2.0 * ramp))


def _bare(here: Pixels, texture: _Texture, cover: Cover) -> Floats:
    warm = 0.5 + 0.35 * texture.broad[here] + 0.2 * texture.patchy[here]
    spectra = _blend(_ROCK, _ROCK_WARM, warm)
    spectra = _toward(spectra, _SAND, 0.85 * cover.sandy[here] + 0.1 * texture.patchy[here])
    spectra = _toward(
        spectra, _SCRUB_DRY, 0.26 - 0.24 * texture.fine[here] - 0.12 * texture.patchy[here]
    )
    wet = cover.sandy[here] * (0.25 + 0.25 * texture.patchy[here])
    spectra = _toward(spectra, _SOIL_DARK, wet)
    spectra *= 1.0 + 0.10 * texture.grain[here] + 0.10 * texture.fine[here]
    return spectra


def _built(
    here: Pixels,
    texture: _Texture,
    cover: Cover,
    settlements: Settlements,
    season: float,
) -> Floats:
    plot = settlements.plot[here]
    block = settlements.block[here]
    roof = uniform(rehash(plot, 51))
    spectra = _blend(_TILES, _SLATE, smoothstep(roof + 0.5 * (block - 0.5), 0.1, 0.9))
    # Works and warehouses: whole blocks of sheet metal, more of them towards the edge of town.
    edge = smoothstep(settlements.core[here], 0.75, 0.1)
    works = (block > 0.955 - 0.07 * edge) & (settlements.radius_m[here] > 200.0)
    sheet = np.where(works, 0.10 + 0.55 * (roof < 0.4), 0.55 * (roof > 0.97))
    spectra = _toward(spectra, _SHEET, sheet.astype(np.float32))
    spectra *= 0.84 + 0.34 * uniform(rehash(plot, 52))
    # Gardens and street trees, fewer in the core.
    garden = uniform(rehash(plot, 53)) * (0.45 + 0.55 * edge)
    garden = np.where(works, 0.25 * garden, garden)
    lawn = _blend(_MEADOW, _MEADOW_DRY, np.full(block.shape, 0.75 - 0.5 * greenness(season)))
    lawn += (np.array(_BROADLEAF, np.float32)[:, None] - lawn) * (roof > 0.4) * 0.7
    spectra += (lawn - spectra) * (0.85 * garden)
    street = smoothstep(settlements.street_m[here], 13.0, 4.0)
    spectra = _toward(spectra, _ASPHALT, 0.9 * street * ~cover.road[here])
    road = 0.85 * cover.road[here].astype(np.float32)
    spectra = _toward(spectra, _ASPHALT, road)
    spectra *= 1.0 + 0.10 * texture.grain[here] + 0.05 * texture.broad[here]
    return spectra


def _water(here: Pixels, texture: _Texture, water: Water) -> Floats:
    lake = smoothstep(water.lake_m[here], 30.0, -10.0)
    river = 1.0 - lake
    edge_m = water.edge_m[here]
    murk = 0.16 + 0.42 * river + 0.22 * texture.broad[here] + 0.05 * texture.patchy[here]
    # Shallows show their bed.
    murk += 0.22 * smoothstep(edge_m, -45.0, 0.0)
    spectra = _blend(_CLEAR, _TURBID, murk)
    spectra *= 1.0 + 0.03 * texture.grain[here] + 0.03 * texture.fine[here]
    return spectra


def _blurred(scene: Floats) -> Floats:
    # The optics spread a pixel over its neighbours: weights 1 4 1 in both directions, / 36.
    blurred = scene.copy()
    down = scene[:, 1:-1] * (4.0 / 6.0) + (scene[:, :-2] + scene[:, 2:]) * (1.0 / 6.0)
    right = down[:, :, 1:-1] * (4.0 / 6.0)
    right += (down[:, :, :-2] + down[:, :, 2:]) * (1.0 / 6.0)
    blurred[:, 1:-1, 1:-1] = right
    return blurred


def _add_noise(scene: Floats, frame: Frame) -> None:
    # Two uniform draws add to a triangular error; the sensor's grows a little with signal.
    hashes = frame.pixel_hash("reflectance/sensor")
    for band in range(scene.shape[0]):
        draw = rehash(hashes, 61 + band)
        error = uniform(draw) + uniform(draw << np.uint64(24)) - 1.0
        scene[band] += error * (0.0028 + 0.012 * scene[band])
