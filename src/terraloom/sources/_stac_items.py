"""Items of a STAC answer as the composite needs them: assets by band, day, cloud, CRS, offset."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pystac.utils
import shapely
import shapely.geometry

from terraloom.errors import InputError
from terraloom.raster.grid import Grid, is_geographic
from terraloom.sources._cells import outline_in
from terraloom.sources._sentinel2_offset import OffsetDecision, Rule, decide_offset
from terraloom.sources._stac_api import CLOUD_COVER

BANDS: Final = ("red", "green", "blue", "nir")
SCENE_CLASSES: Final = "scl"
ALIASES: Final[dict[str, tuple[str, ...]]] = {
    "red": ("red", "B04", "B04_10m"),
    "green": ("green", "B03", "B03_10m"),
    "blue": ("blue", "B02", "B02_10m"),
    "nir": ("nir", "B08", "B08_10m"),
    "scl": ("scl", "SCL", "SCL_20m"),
}
"""Asset names of Earth Search, Planetary Computer and Copernicus Data Space, in this order."""
_NEAR_M: Final = 1000.0
"""Footprints in degrees have straight edges and rounded corners; within this they may touch."""
_NEAR_DEG: Final = 0.01
_DEGREES_LON: Final = 15.0


@dataclass(frozen=True)
class ImageItem:
    """One Sentinel-2 L2A item."""

    id: str
    time: datetime.datetime
    """UTC."""
    cloud: float | None
    """Per cent, as the item states it."""
    crs: str | None
    """Authority code of its pixels, or None where the item does not tell."""
    assets: Mapping[str, str]
    """Asset key by band."""
    offset: OffsetDecision
    document: Mapping[str, Any]

    def solar_day(self, lon: float) -> datetime.date:
        """The day by the sun at a longitude: one overpass never straddles it."""
        return (self.time + datetime.timedelta(hours=lon / _DEGREES_LON)).date()

    @property
    def newest_first(self) -> tuple[int, int, datetime.datetime, str]:
        """Sorts items of one day: a newer processing of the same ground comes first."""
        major, minor = self.offset.baseline or (0, 0)
        return (-major, -minor, self.time, self.id)


@dataclass(frozen=True)
class LabelItem:
    """One item of a label collection."""

    id: str
    year: int
    """That holds the middle of the item's time."""
    asset: str
    grid: Grid | None
    """Of the whole asset, or None where the item does not tell."""
    document: Mapping[str, Any]


def image_items(
    documents: Sequence[Mapping[str, Any]],
    *,
    named: Mapping[str, str],
    max_cloud: float,
    rule: Rule,
    without: Sequence[str],
) -> tuple[list[ImageItem], dict[str, str]]:
    """Items that may enter a composite, and the reason for each that may not.

    Args:
        documents: as the API gave them.
        named: asset keys by band that the settings name; the others follow `ALIASES`.
        max_cloud: limit in per cent; items above it are passed over without a word.
        rule: how offsets are decided.
        without: ids that the settings leave out.

    Raises:
        InputError: an item's cloud cover or offset cannot be told.
    """
    items, left_out = [], {}
    for document in documents:
        name = str(document["id"])
        if name in without:
            left_out[name] = "left out by the setting without"
            continue
        properties = document["properties"]
        cloud = properties.get(CLOUD_COVER)
        if cloud is None and max_cloud < 100:
            raise InputError(
                f"[sources.stac] item {name} does not tell its {CLOUD_COVER}, so max_cloud = "
                f"{max_cloud:g} cannot be checked. Set max_cloud = 100, or name it in without."
            )
        if cloud is not None and float(cloud) > max_cloud:
            continue
        assets = _assets_by_band(document["assets"], named)
        lacking = [band for band in (*BANDS, SCENE_CLASSES) if band not in assets]
        if lacking:
            left_out[name] = (
                f"no asset for {', '.join(lacking)}; it has "
                f"{', '.join(sorted(document['assets'])) or 'none of the known names'}"
            )
            continue
        images = [document["assets"][assets[band]] for band in BANDS]
        items.append(
            ImageItem(
                id=name,
                time=_time(properties),
                cloud=None if cloud is None else float(cloud),
                crs=_crs(properties, images[0]),
                assets=assets,
                offset=decide_offset(name, properties, images, rule),
                document=document,
            )
        )
    return items, left_out


def label_items(documents: Sequence[Mapping[str, Any]], asset: str) -> list[LabelItem]:
    """Items of a label collection that have the asset."""
    return [
        LabelItem(
            id=str(document["id"]),
            year=_time(document["properties"]).year,
            asset=asset,
            grid=_asset_grid(document["properties"], document["assets"][asset]),
            document=document,
        )
        for document in documents
        if asset in document["assets"]
    ]


def items_of_grids(
    documents: Sequence[Mapping[str, Any]], grids: Sequence[Grid]
) -> list[list[int]]:
    """Which items' footprints may touch each grid, as positions in `documents`, ascending.

    Footprints are compared in the grids' one CRS, where those that are wrapped or cut at the
    antimeridian are whole.
    """
    if not grids:
        return []
    crs = grids[0].crs
    margin = _NEAR_DEG if is_geographic(crs) else _NEAR_M
    tree = shapely.STRtree([outline_in(crs, _footprint(document)) for document in documents])
    return [
        sorted(int(i) for i in tree.query(shapely.Polygon(grid.corners()).buffer(margin)))
        for grid in grids
    ]


def _footprint(document: Mapping[str, Any]) -> shapely.Geometry:
    geometry = document["geometry"]
    return shapely.geometry.shape(geometry) if geometry else shapely.box(*document["bbox"])


def _assets_by_band(assets: Mapping[str, Any], named: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for band, aliases in ALIASES.items():
        names = (named[band],) if band in named else aliases
        key = next((name for name in names if name in assets), None)
        if key is not None:
            found[band] = key
    return found


def _time(properties: Mapping[str, Any]) -> datetime.datetime:
    """The middle of an item's time, UTC."""
    start, end = properties.get("start_datetime"), properties.get("end_datetime")
    if start and end:
        first, last = pystac.utils.str_to_datetime(start), pystac.utils.str_to_datetime(end)
        return (first + (last - first) / 2).astimezone(datetime.UTC)
    return pystac.utils.str_to_datetime(str(properties["datetime"])).astimezone(datetime.UTC)


def _crs(properties: Mapping[str, Any], asset: Mapping[str, Any]) -> str | None:
    for holder in (asset, properties):
        if holder.get("proj:code"):
            return str(holder["proj:code"])
        if holder.get("proj:epsg"):
            return f"EPSG:{holder['proj:epsg']}"
    return None


def _asset_grid(properties: Mapping[str, Any], asset: Mapping[str, Any]) -> Grid | None:
    crs = _crs(properties, asset)
    transform = asset.get("proj:transform") or properties.get("proj:transform")
    shape = asset.get("proj:shape") or properties.get("proj:shape")
    if crs is None or transform is None or shape is None:
        return None
    a, b, c, d, e, f = (float(value) for value in transform[:6])
    return Grid(crs, (a, b, c, d, e, f), int(shape[0]), int(shape[1]))
