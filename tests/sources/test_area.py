"""Areas: boxes and polygons in any CRS, round the globe, and what is wrong with them."""

import json
import pickle
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
from pyproj import Transformer

from terraloom.errors import InputError, SettingsError, UnreadableFile
from terraloom.sources._area import Area, AreaSettings, area_of_box, area_of_file

SQUARE = shapely.box(33.0, 39.0, 33.2, 39.1)
DRIVERS = {".geojson": "GeoJSON", ".gpkg": "GPKG", ".shp": "ESRI Shapefile"}


def in_crs(geometry: Any, epsg: int) -> Any:
    """Straight edges in EPSG:4326, followed closely in another CRS."""
    to_crs = Transformer.from_crs(4326, epsg, always_xy=True)
    return shapely.transform(
        shapely.segmentize(geometry, 0.001),
        lambda points: np.stack(to_crs.transform(points[:, 0], points[:, 1]), axis=1),
    )


def write(path: Path, geometries: list[Any], epsg: int | None = 4326, layer: str = "area") -> Path:
    pyogrio.raw.write(
        path,
        geometry=np.array([None if g is None else shapely.to_wkb(g) for g in geometries]),
        field_data=[np.arange(len(geometries))],
        fields=["number"],
        geometry_type="Unknown" if path.suffix != ".shp" else "Polygon",
        crs=None if epsg is None else f"EPSG:{epsg}",
        driver=DRIVERS[path.suffix],
        layer=layer,
        append=path.exists(),
    )
    return path


def geojson(path: Path, *geometries: dict[str, Any]) -> Path:
    features = [{"type": "Feature", "properties": {}, "geometry": g} for g in geometries]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def same(one: Any, other: Any, tolerance: float = 1e-6) -> bool:
    """Whether two areas differ by next to nothing."""
    return bool(one.symmetric_difference(other).area < tolerance * other.area)


# Boxes


def test_a_box_is_its_own_bounds_and_holds_its_edge() -> None:
    area = area_of_box((33, 39, 34, 40))
    assert area.boxes() == [(33, 39, 34, 40)]
    assert area.contains([33, 33.5, 34, 34.01, 393.5], [39, 39.5, 40, 39.5, 39.5]).tolist() == [
        True, True, True, False, True,
    ]  # fmt: skip


def test_a_box_across_the_antimeridian_becomes_two() -> None:
    area = area_of_box((179, -18, -179, -16))
    assert area.boxes() == [(179, -18, 180, -16), (-180, -18, -179, -16)]
    assert area.geometry.area == pytest.approx(4)
    lon = [179.5, -179.5, 180, -180, 180.5, 178.9, 0]
    assert area.contains(lon, [-17] * 7).tolist() == [True] * 5 + [False] * 2
    assert area.intersects_box(-180, -17, -179.9, -16.9)
    assert area.intersects_box(179.9, -17, 181, -16.9)
    assert not area.intersects_box(-179, -17, 179, -16)


def test_places_far_apart_are_bounded_by_one_box_or_the_shorter_way_round() -> None:
    near = Area(shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(100, 0, 101, 1)]))
    assert near.boxes() == [(0, 0, 101, 1)]
    far = Area(shapely.MultiPolygon([shapely.box(-170, 0, -169, 1), shapely.box(170, 2, 171, 3)]))
    assert far.boxes() == [(170, 2, 171, 3), (-170, 0, -169, 1)]


def test_the_part_in_a_box_leaves_out_mere_edges() -> None:
    area = area_of_box((33, 39, 34, 40))
    part = area.part_in_box(33.5, 39.5, 35, 41)
    assert part is not None
    assert part.boxes() == [(33.5, 39.5, 34, 40)]
    assert area.part_in_box(34, 39, 35, 40) is None
    assert area.part_in_box(34, 40, 35, 41) is None


def test_the_whole_globe_is_one_box() -> None:
    assert area_of_box((-180, -90, 180, 90)).boxes() == [(-180, -90, 180, 90)]


@pytest.mark.parametrize(
    ("box", "told"),
    [
        ((33, 40, 34, 39), "is empty: north must exceed south"),
        ((33, 39, 33, 40), "is empty"),
        ((180, 0, -180, 1), "is empty"),
        ((39, 33, 40, 134), "latitudes lie between"),
        ((33, 39, float("nan"), 40), "latitudes lie between"),
        ((179, 0, 181, 1), "across the antimeridian has west > east"),
    ],
)
def test_a_wrong_box_is_told_with_the_order_of_its_numbers(
    box: tuple[float, float, float, float], told: str
) -> None:
    with pytest.raises(SettingsError, match=told):
        area_of_box(box)


def test_exactly_one_of_box_and_polygons_is_given(tmp_path: Path) -> None:
    path = write(tmp_path / "a.geojson", [SQUARE])
    with pytest.raises(SettingsError, match="no area is given; set box"):
        AreaSettings().area()
    with pytest.raises(SettingsError, match="both given"):
        AreaSettings(box=(33, 39, 34, 40), polygons=path).area()
    assert same(AreaSettings(polygons=path).area().geometry, SQUARE)


def test_an_area_travels_to_other_processes() -> None:
    area = area_of_box((179, -18, -179, -16))
    assert pickle.loads(pickle.dumps(area)).boxes() == area.boxes()


# Files of polygons


@pytest.mark.parametrize("epsg", [4326, 3857, 32636, 3035])
@pytest.mark.parametrize("suffix", [".gpkg", ".shp"])
def test_polygons_come_out_in_degrees_from_any_crs(suffix: str, epsg: int, tmp_path: Path) -> None:
    shape = SQUARE if epsg == 4326 else in_crs(SQUARE, epsg)
    area = area_of_file(write(tmp_path / f"a{suffix}", [shape], epsg))
    assert same(area.geometry, SQUARE, 1e-4)


def test_a_geojson_in_another_crs_is_reprojected(tmp_path: Path) -> None:
    path = write(tmp_path / "a.geojson", [in_crs(SQUARE, 32636)], 32636)
    assert same(area_of_file(path).geometry, SQUARE, 1e-4)


def test_long_straight_edges_of_a_projected_crs_bow_on_the_globe(tmp_path: Path) -> None:
    # A square of 200 km in UTM: its northern edge follows no parallel.
    path = write(tmp_path / "a.gpkg", [shapely.box(300_000, 6_500_000, 700_000, 6_600_000)], 32636)
    to_utm = Transformer.from_crs(4326, 32636, always_xy=True)
    points = shapely.get_coordinates(area_of_file(path).geometry)
    x, y = to_utm.transform(points[:, 0], points[:, 1])
    off = np.minimum.reduce([abs(x - 3e5), abs(x - 7e5), abs(y - 6.5e6), abs(y - 6.6e6)])
    assert off.max() < 0.01
    assert len(points) > 900


def test_polygons_holes_and_heights_are_united(tmp_path: Path) -> None:
    holed = SQUARE.difference(shapely.box(33.05, 39.02, 33.1, 39.05))
    high = shapely.force_3d(shapely.box(33.2, 39.0, 33.3, 39.1), 870.0)
    area = area_of_file(write(tmp_path / "a.gpkg", [holed, high, None]))
    assert same(area.geometry, holed.union(shapely.force_2d(high)))
    assert not area.contains(33.07, 39.03)


def test_a_bow_tie_is_repaired(tmp_path: Path) -> None:
    tie = shapely.Polygon([(33, 39), (34, 40), (34, 39), (33, 40)])
    assert area_of_file(write(tmp_path / "a.geojson", [tie])).geometry.area == pytest.approx(0.5)


@pytest.mark.parametrize("epsg", [4326, 32601, 32660])
def test_polygons_across_the_antimeridian_are_cut_there(epsg: int, tmp_path: Path) -> None:
    beyond = shapely.box(179.5, -17, 180.5, -16)
    if epsg != 4326:
        to_crs = Transformer.from_crs(4326, epsg, always_xy=True)
        dense = shapely.segmentize(beyond, 0.01)
        beyond = shapely.transform(
            dense, lambda p: np.stack(to_crs.transform((p[:, 0] + 180) % 360 - 180, p[:, 1]), 1)
        )
    area = area_of_file(write(tmp_path / "a.gpkg", [beyond], epsg))
    expected = shapely.union_all(
        [shapely.box(179.5, -17, 180, -16), shapely.box(-180, -17, -179.5, -16)]
    )
    assert same(area.geometry, expected, 1e-4)


def test_a_polygon_whose_way_round_is_open_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.geojson", [shapely.box(-179.5, -17, 179.5, -16)])
    with pytest.raises(InputError, match="spans more than 180° of longitude"):
        area_of_file(path)


def test_a_polygon_round_a_pole_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", [shapely.box(-1e5, -1e5, 1e5, 1e5)], 3995)
    with pytest.raises(InputError, match="holds a pole"):
        area_of_file(path)


@pytest.mark.parametrize(
    ("shape", "epsg", "told"),
    [
        (shapely.box(500_000, 4_300_000, 510_000, 4_310_000), 4326, "outside the globe|no degrees"),
        (shapely.box(1e9, 1e9, 1e13, 1e13), 32636, "outside the globe"),
        (shapely.box(33, 95, 34, 96), 4326, "outside the globe"),
    ],
)
def test_numbers_that_do_not_fit_their_crs_are_told(
    shape: Any, epsg: int, told: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=told):
        area_of_file(write(tmp_path / "a.gpkg", [shape], epsg))


def test_an_empty_area_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.geojson holds no polygon; the area would be empty"):
        area_of_file(geojson(tmp_path / "a.geojson"))
    flat = {"type": "Polygon", "coordinates": [[[33, 39], [34, 39], [33, 39]]]}
    with pytest.raises(InputError, match=r"no area|no polygon"):
        area_of_file(geojson(tmp_path / "b.geojson", flat))
    nothing = write(tmp_path / "c.gpkg", [None])
    with pytest.raises(InputError, match="holds no polygon"):
        area_of_file(nothing)


def test_points_and_lines_are_no_area(tmp_path: Path) -> None:
    line = {"type": "LineString", "coordinates": [[33, 39], [34, 40]]}
    with pytest.raises(InputError, match="holds LineString; an area needs polygons"):
        area_of_file(geojson(tmp_path / "a.geojson", shapely.geometry.mapping(SQUARE), line))


def test_a_layer_is_named_where_there_are_several(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", [SQUARE], layer="inner")
    write(path, [shapely.box(10, 10, 11, 11)], layer="outer")
    with pytest.raises(InputError, match="several layers; set layer to one of inner, outer"):
        area_of_file(path)
    with pytest.raises(InputError, match="has no layer middle; found inner, outer"):
        area_of_file(path, "middle")
    assert same(area_of_file(path, "inner").geometry, SQUARE)


def test_a_file_that_is_missing_damaged_or_no_map_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.gpkg does not exist; correct polygons"):
        area_of_file(tmp_path / "none.gpkg")
    (tmp_path / "a.geojson").write_text('{"type": "FeatureCollection", "features": [{"ty')
    with pytest.raises(UnreadableFile, match=r"a\.geojson cannot be read as polygons"):
        area_of_file(tmp_path / "a.geojson")
    sqlite3.connect(tmp_path / "b.gpkg").close()
    with pytest.raises(InputError, match=r"b\.gpkg"):
        area_of_file(tmp_path / "b.gpkg")
    (tmp_path / "c.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"c\.csv"):
        area_of_file(tmp_path / "c.csv")


def test_a_shapefile_without_its_crs_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.shp", [SQUARE], None)
    with pytest.raises(InputError, match=r"names no coordinate system.*\.prj"):
        area_of_file(path)
