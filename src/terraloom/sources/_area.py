"""The area of interest: a box or polygons on the globe, cut at the antimeridian."""

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyogrio
import shapely
import shapely.affinity
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError
from shapely.geometry.base import BaseGeometry

from terraloom.errors import InputError, SettingsError, UnreadableFile

Box = tuple[float, float, float, float]
"""West, south, east, north in degrees, EPSG:4326."""

_EDGE_M: Final = 1000.0
"""Longest edge that is reprojected by its ends alone; its bow is below 0.1 m up to 80° latitude."""
_FAR_M: Final = 1e8
"""No projected coordinate lies so far from its origin; edges without end could not be densified."""
_POLYGONS: Final = ("Polygon", "MultiPolygon")


@dataclass(frozen=True)
class Area:
    """Polygons on the globe; can be pickled."""

    geometry: BaseGeometry
    """Polygon or MultiPolygon in EPSG:4326, longitudes −180 … 180, cut at the antimeridian."""

    @classmethod
    def from_box(cls, west: float, south: float, east: float, north: float) -> "Area":
        """The area of a box in degrees; west > east crosses the antimeridian.

        Longitudes may reach beyond ±180 and come back wrapped.
        """
        return cls(_box(west, south, east, north))

    def boxes(self) -> list[Box]:
        """Bounds as (west, south, east, north): one box, or two where they cross the antimeridian.

        The largest stretch of longitude without area is left outside, so an area on both sides of
        the antimeridian is bounded by a box that ends at 180 and one that begins at −180, or by
        less where it does not reach there.
        """
        parts = sorted(shapely.bounds(shapely.get_parts(self.geometry)).tolist())
        gaps = []
        reach = parts[0][2]
        for index, (before, after) in enumerate(itertools.pairwise(parts), start=1):
            reach = max(reach, before[2])
            gaps.append((after[0] - reach, index))
        reach = max(reach, parts[-1][2])
        widest, index = max(gaps, default=(0.0, 0))
        around = parts[0][0] + 360 - reach
        if widest <= around:
            return [_bounds(parts)]
        return [_bounds(parts[index:]), _bounds(parts[:index])]

    def contains(self, lon: ArrayLike, lat: ArrayLike) -> NDArray[np.bool_]:
        """Whether points in degrees lie in the area or on its edge; arrays are taken together."""
        shapely.prepare(self.geometry)
        x = np.asarray(lon, dtype=np.float64)
        wrapped = (x + 180) % 360 - 180
        inside = np.asarray(shapely.intersects_xy(self.geometry, wrapped, lat))
        at_edge = wrapped == -180  # is 180 as well
        if at_edge.any():
            inside |= at_edge & shapely.intersects_xy(
                self.geometry, np.where(at_edge, 180.0, wrapped), lat
            )
        return inside

    def intersects_box(self, west: float, south: float, east: float, north: float) -> bool:
        """Whether a box in degrees shares more than its edge with the area.

        West > east crosses the antimeridian; longitudes may reach beyond ±180.
        """
        return self.part_in_box(west, south, east, north) is not None

    def part_in_box(self, west: float, south: float, east: float, north: float) -> "Area | None":
        """What of the area lies in a box (as for `intersects_box`), or None."""
        part = _only_polygons(self.geometry.intersection(_box(west, south, east, north)))
        return None if part.is_empty or part.area == 0 else Area(part)


class AreaSettings(BaseModel):
    """Options of sources that fetch an area: exactly one of `box` and `polygons`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    box: Box | None = None
    """West, south, east, north in degrees; west > east crosses the antimeridian."""
    polygons: Path | None = None
    """GeoJSON, GeoPackage or another vector file with the polygons of the area, in any CRS."""
    layer: str | None = None
    """Layer of `polygons`; needed where the file has several."""

    def area(self) -> Area:
        """The area that these settings describe.

        Raises:
            SettingsError: neither or both of box and polygons are given, or the box is empty or
                reaches beyond the globe.
            InputError: the file is missing, has no CRS, no polygon, or impossible coordinates.
            UnreadableFile: the file is damaged or of no known format.
        """
        if self.box is not None and self.polygons is not None:
            raise SettingsError("box and polygons are both given; keep the one that you mean.")
        if self.box is not None:
            return area_of_box(self.box)
        if self.polygons is None:
            raise SettingsError(
                "no area is given; set box = [west, south, east, north] in degrees, or polygons "
                "to a GeoJSON or GeoPackage file."
            )
        return area_of_file(self.polygons, self.layer)


def area_of_box(box: Box) -> Area:
    """The area of a box given by a user.

    Raises:
        SettingsError: it is empty or reaches beyond the globe.
    """
    west, south, east, north = box
    shown = f"box = [{west:g}, {south:g}, {east:g}, {north:g}]"
    if not all(map(math.isfinite, box)) or max(abs(south), abs(north)) > 90:
        raise SettingsError(
            f"{shown}: latitudes lie between −90 and 90. The order is west, south, east, north."
        )
    if max(abs(west), abs(east)) > 180:
        raise SettingsError(
            f"{shown}: longitudes lie between −180 and 180. A box across the antimeridian has "
            "west > east, such as [179, -18, -179, -16]."
        )
    if north <= south or east == west or (west, east) == (180, -180):
        raise SettingsError(
            f"{shown} is empty: north must exceed south, and east differ from west. "
            "The order is west, south, east, north."
        )
    return Area.from_box(*box)


def area_of_file(path: Path, layer: str | None = None) -> Area:
    """The union of all polygons in a vector file, reprojected to EPSG:4326 with edges densified.

    Edges of projected CRSs stay straight in their own CRS. Coordinates in degrees are taken as they
    stand: cut at the antimeridian, as GeoJSON wants it, or with longitudes beyond ±180.
    Self-crossing polygons are repaired as `shapely.make_valid` does.

    Raises:
        InputError: the file is missing, has no CRS, no polygon, or impossible coordinates.
        UnreadableFile: the file is damaged or of no known format.
    """
    if not path.exists():
        raise InputError(f"the file of polygons {path} does not exist; correct polygons.")
    meta, wkb = _read(path, layer)
    geometries = [g for g in shapely.from_wkb(wkb) if g is not None and not g.is_empty]
    if not geometries:
        raise InputError(f"{path.name} holds no polygon; the area would be empty.")
    others = sorted({g.geom_type for g in geometries if g.geom_type not in _POLYGONS})
    if others:
        raise InputError(
            f"{path.name} holds {', '.join(others)}; an area needs polygons alone. "
            "Leave the others out, or buffer them to polygons."
        )
    if not meta["crs"]:
        raise InputError(
            f"{path.name} names no coordinate system; write it with one (a shapefile needs its "
            ".prj file)."
        )
    try:
        crs = CRS.from_user_input(meta["crs"])
    except CRSError as error:
        raise InputError(f"{path.name}: its coordinate system is not known: {error}.") from error
    parts = shapely.get_parts(shapely.force_2d(geometries))
    polygons = [_to_globe(polygon, crs, path.name) for polygon in parts]
    whole = _only_polygons(shapely.union_all(polygons))
    if whole.is_empty or whole.area == 0:
        raise InputError(f"{path.name}: its polygons have no area.")
    return Area(whole)


def _read(path: Path, layer: str | None) -> tuple[dict[str, object], NDArray[np.object_]]:
    try:
        layers = [str(name) for name, _ in pyogrio.list_layers(path)]
        if layer is None and len(layers) > 1:
            raise InputError(
                f"{path.name} has several layers; set layer to one of {', '.join(layers)}."
            )
        if not layers or (layer is not None and layer not in layers):
            raise InputError(
                f"{path.name} has no layer {layer or ''}; found {', '.join(layers) or 'none'}."
            )
        meta, _, wkb, _ = pyogrio.raw.read(path, layer=layer, columns=[], force_2d=True)
    except (DataSourceError, DataLayerError) as error:
        raise UnreadableFile(
            f"{path.name} cannot be read as polygons: {error}. Give a GeoJSON or GeoPackage file, "
            "or write it again."
        ) from error
    if wkb is None:
        raise InputError(f"{path.name} is a table without geometry; the area would be empty.")
    return meta, wkb


def _to_globe(polygon: BaseGeometry, crs: CRS, name: str) -> BaseGeometry:
    """One polygon in EPSG:4326, cut at the antimeridian."""
    if crs.is_geographic and crs.axis_info[0].unit_name == "degree":
        for ring in (polygon.exterior, *polygon.interiors):
            steps = np.abs(np.diff(shapely.get_coordinates(ring)[:, 0]))
            if ((steps > 180) & (steps < 360)).any():
                raise InputError(
                    f"{name}: an edge spans more than 180° of longitude, so its way round the "
                    "globe is open. Cut the polygon at the antimeridian, or write longitudes "
                    "beyond 180."
                )
        on_globe = _transformed(polygon, crs, keep_turns=True)
    else:
        unit_m = crs.axis_info[0].unit_conversion_factor or 1.0
        if not np.isfinite(polygon.bounds).all() or np.abs(polygon.bounds).max() * unit_m > _FAR_M:
            raise _outside(polygon.bounds, crs, name)
        dense = shapely.segmentize(polygon, _EDGE_M / unit_m)
        on_globe = _unrolled(_transformed(dense, crs, keep_turns=False), name)
    bounds = on_globe.bounds
    if not np.isfinite(bounds).all() or max(abs(bounds[1]), abs(bounds[3])) > 90 + 1e-9:
        raise _outside(bounds, crs, name)
    if bounds[0] < -540 or bounds[2] > 540:
        raise InputError(f"{name}: longitudes {bounds[0]:g} … {bounds[2]:g} are no degrees.")
    return _cut(shapely.make_valid(on_globe))


def _outside(bounds: tuple[float, ...], crs: CRS, name: str) -> InputError:
    return InputError(
        f"{name}: coordinates {', '.join(f'{b:g}' for b in bounds)} lie outside the globe; "
        f"does the file's coordinate system ({crs.name}) fit its numbers?"
    )


def _transformed(geometry: BaseGeometry, crs: CRS, *, keep_turns: bool) -> BaseGeometry:
    """A geometry in EPSG:4326; `keep_turns` keeps longitudes beyond ±180 as they are written."""
    transformer = Transformer.from_crs(crs, 4326, always_xy=True)

    def to_lonlat(points: NDArray[np.float64]) -> NDArray[np.float64]:
        lon, lat = transformer.transform(points[:, 0], points[:, 1])
        if keep_turns:
            lon = points[:, 0] + (lon - points[:, 0] + 180) % 360 - 180
        return np.stack([lon, lat], axis=1)

    return shapely.transform(geometry, to_lonlat)


def _unrolled(polygon: BaseGeometry, name: str) -> BaseGeometry:
    """A polygon whose longitudes run on beyond ±180 where its rings cross the antimeridian."""
    rings: list[NDArray[np.float64]] = []
    for ring in (polygon.exterior, *polygon.interiors):
        points = shapely.get_coordinates(ring)
        points[:, 0] = np.unwrap(points[:, 0], period=360)
        if abs(points[0, 0] - points[-1, 0]) > 1e-6:
            raise InputError(
                f"{name}: a polygon holds a pole. Cut it along a meridian, or give it in degrees."
            )
        if rings:  # a hole lies east of its polygon's western end
            turns = np.floor((points[:, 0].min() - rings[0][:, 0].min() + 1e-6) / 360)
            points[:, 0] -= 360 * turns
        rings.append(points)
    return shapely.Polygon(rings[0], rings[1:])


def _box(west: float, south: float, east: float, north: float) -> BaseGeometry:
    if west > east:
        east += 360
    return _cut(shapely.box(west, south, east, north))


def _cut(geometry: BaseGeometry) -> BaseGeometry:
    """A geometry with any longitudes in −540 … 540, cut and shifted into −180 … 180."""
    west, _, east, _ = geometry.bounds
    if west >= -180 and east <= 180:
        return _only_polygons(geometry)
    pieces = []
    for turn in (-1, 0, 1):
        strip = shapely.box(-180 + 360 * turn, -90, 180 + 360 * turn, 90)
        piece = _only_polygons(geometry.intersection(strip))
        if not piece.is_empty:
            pieces.append(shapely.affinity.translate(piece, -360.0 * turn))
    return _only_polygons(shapely.union_all(pieces))


def _only_polygons(geometry: BaseGeometry) -> BaseGeometry:
    """The polygons of a geometry; lines and points where parts merely touch are dropped."""
    if geometry.geom_type in _POLYGONS:
        return geometry
    parts = [g for g in shapely.get_parts(geometry) if g.geom_type in _POLYGONS]
    return shapely.union_all(parts) if parts else shapely.Polygon()


def _bounds(parts: list[list[float]]) -> Box:
    west, south, east, north = zip(*parts, strict=True)
    return min(west), min(south), max(east), max(north)
