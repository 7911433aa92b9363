"""Pairs found by the ground that they show: any CRS, several masks per image, the antimeridian."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pyproj import Transformer

from terraloom.classes import ClassTable, LandClass, preset
from terraloom.errors import NothingLeft, PairError, TilesDisagree, UnreadableFile
from terraloom.raster import geotiff
from terraloom.raster.grid import Grid, Window
from terraloom.sources import folder as folder_source
from terraloom.sources._footprints import FootprintIndex, outline
from terraloom.sources.folder import FolderSource

STEP = 1 / 12000
TABLE = ClassTable(
    classes=tuple(
        LandClass(name=f"class {code}", colour=(code, 0, 0), codes=(code,)) for code in range(1, 8)
    ),
    ignore_codes=(0,),
)


def degrees(west: float, north: float, height: int, width: int, step: float = STEP) -> Grid:
    return Grid("EPSG:4326", (step, 0.0, west, 0.0, -step, north), height, width)


def metres(zone: int, west: float, north: float, height: int, width: int) -> Grid:
    return Grid(f"EPSG:{zone}", (10.0, 0.0, west, 0.0, -10.0, north), height, width)


def code_at(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """The class of the ground: decided by the 1/12000° cell that a point lies in."""
    column = np.floor(lon * 12000 + 1e-6).astype(int)
    row = np.floor(-lat * 12000 + 1e-6).astype(int)
    return ((row + 3 * column) % 7 + 1).astype(np.uint8)


def centres(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Longitude and latitude of pixel centres, straight from the transform."""
    a, b, c, d, e, f = grid.transform
    column, row = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
    x, y = a * column + b * row + c, d * column + e * row + f
    if grid.crs == "EPSG:4326":
        return x, y
    return Transformer.from_crs(grid.crs, 4326, always_xy=True).transform(x, y)


def assert_labels(labels: np.ndarray, grid: Grid) -> None:
    """Every label is the class of the cell that the pixel's centre lies in.

    Centres within two hundredths of a cell of its edge may go either way.
    """
    lon, lat = centres(grid)
    clear = np.ones(labels.shape, dtype=bool)
    for axis in (lon, lat):
        clear &= np.abs(axis * 12000 - np.rint(axis * 12000)) > 0.02
    assert clear.mean() > 0.9
    assert (labels == code_at(lon, lat) - 1)[clear].all()


def write_image(folder: Path, name: str, grid: Grid, count: int = 3) -> Path:
    path = folder / "images" / f"{name}.tif"
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.arange(count * grid.height * grid.width) % 1000
    shape = (count, grid.height, grid.width)
    geotiff.write_geotiff(path, pixels.reshape(shape).astype(np.uint16), grid)
    return path


def write_mask(folder: Path, name: str, grid: Grid) -> Path:
    """A mask in degrees that holds the true class of each of its cells."""
    path = folder / "masks" / f"{name}.tif"
    path.parent.mkdir(parents=True, exist_ok=True)
    geotiff.write_geotiff(path, code_at(*centres(grid))[None], grid)
    return path


def build(folder: Path, **options: Any) -> FolderSource:
    settings = folder_source.Settings(folder=folder, **({"pair_by": "footprint"} | options))
    return folder_source.build(settings, TABLE, 0)  # type: ignore[return-value]


def whole(scene: Any) -> Window:
    return Window(0, 0, scene.height, scene.width)


# What is read


def test_one_image_takes_its_labels_from_several_masks(tmp_path: Path) -> None:
    # UTM zone 36; four masks meet in the middle of the image, a fifth lies far away.
    image = metres(32636, 499_600.0, 4_428_200.0, 80, 90)
    write_image(tmp_path, "scene", image)
    corner = [round(float(np.median(axis)) * 12000) / 12000 for axis in centres(image)]
    for name, west, north in (
        ("nw", corner[0] - 200 * STEP, corner[1] + 200 * STEP),
        ("ne", corner[0], corner[1] + 200 * STEP),
        ("sw", corner[0] - 200 * STEP, corner[1]),
        ("se", corner[0], corner[1]),
        ("far", corner[0] + 1, corner[1]),
    ):
        write_mask(tmp_path, name, degrees(west, north, 200, 200))
    source = build(tmp_path)
    (scene,) = source.scenes(tmp_path)
    pixels = scene.read(whole(scene))
    assert_labels(pixels.labels, image)
    assert [f.uri for f in pixels.files] == [
        "images/scene.tif",
        *(f"masks/{name}.tif" for name in ("ne", "nw", "se", "sw")),
    ]
    # A window in one corner names only the masks that it was read from.
    assert [f.uri for f in scene.read(Window(0, 0, 8, 8)).files] == [
        "images/scene.tif",
        "masks/nw.tif",
    ]
    assert list(source.left_out()) == ["masks/far.tif"]
    assert "mask without image" in source.left_out()["masks/far.tif"]
    assert "masks/far.tif" not in source.given()


def test_one_mask_serves_images_of_several_zones(tmp_path: Path) -> None:
    # 36° E is the edge of zones 36 and 37; near it both are in use.
    place = (35.999, 40.0)
    for zone, name in ((32636, "west"), (32637, "east")):
        x, y = Transformer.from_crs(4326, zone, always_xy=True).transform(*place)
        write_image(tmp_path, name, metres(zone, round(x, -1), round(y, -1), 40, 50))
    write_mask(tmp_path, "map", degrees(35.95, 40.05, 1200, 1200))
    source = build(tmp_path)
    scenes = source.scenes(tmp_path)
    assert [(s.name, s.grid.crs) for s in scenes if s.grid] == [
        ("east", "EPSG:32637"),
        ("west", "EPSG:32636"),
    ]
    for scene in scenes:
        assert scene.grid is not None
        assert_labels(scene.read(whole(scene)).labels, scene.grid)
    assert source.left_out() == {}


def test_ground_that_no_mask_shows_is_unknown(tmp_path: Path) -> None:
    write_image(tmp_path, "scene", degrees(10.0, 50.0, 60, 60))
    write_mask(tmp_path, "part", degrees(10.0 + 20 * STEP, 50.0, 60, 60))
    (scene,) = build(tmp_path).scenes(tmp_path)
    labels = scene.read(whole(scene)).labels
    assert (labels[:, :20] == 255).all()
    assert (labels[:, 20:] != 255).all()
    outside = scene.read(Window(0, 0, 60, 20))
    assert (outside.labels == 255).all()
    assert [file.name for file in outside.files] == ["scene.tif"]


def test_an_image_across_the_antimeridian_takes_masks_from_both_sides(tmp_path: Path) -> None:
    # UTM zone 60 ends at 180°; near the equator its central meridian 177° E is 333 km away.
    x, y = Transformer.from_crs(4326, 32660, always_xy=True).transform(179.999, -16.5 + 20)
    image = metres(32660, round(x, -1), round(y, -1), 40, 60)
    lon, _ = centres(image)
    assert lon.min() < -179.9 < 179.9 < lon.max()
    write_image(tmp_path, "fiji", image)
    write_mask(tmp_path, "west", degrees(180.0 - 600 * STEP, 3.51, 600, 600))
    write_mask(tmp_path, "east", degrees(-180.0, 3.51, 600, 600))
    write_mask(tmp_path, "greenwich", degrees(-0.01, 3.51, 600, 600))
    source = build(tmp_path)
    (scene,) = source.scenes(tmp_path)
    assert_labels(scene.read(whole(scene)).labels, image)
    assert list(source.left_out()) == ["masks/greenwich.tif"]


def test_an_index_gives_places_and_may_name_a_mask(tmp_path: Path) -> None:
    write_image(tmp_path, "a", degrees(10.0, 50.0, 40, 40))
    write_image(tmp_path, "b", degrees(11.0, 50.0, 40, 40))
    write_mask(tmp_path, "one", degrees(9.99, 50.01, 300, 300))
    write_mask(tmp_path, "two", degrees(10.99, 50.01, 300, 300))
    write_mask(tmp_path, "again", degrees(10.99, 50.01, 300, 300))
    (tmp_path / "index.csv").write_text("id,place,mask\na,here,\nb,,two.tif\n")
    source = build(tmp_path, index="index.csv")
    a, b = source.scenes(tmp_path)
    assert (a.place, b.place) == ("here", None)
    assert [f.name for f in b.read(whole(b)).files] == ["b.tif", "two.tif"]
    assert source.left_out() == {}


def test_masks_that_disagree_are_told(tmp_path: Path) -> None:
    write_image(tmp_path, "scene", degrees(10.0, 50.0, 40, 40))
    path = write_mask(tmp_path, "one", degrees(10.0, 50.0, 40, 40))
    codes = geotiff.read_window(path, Window(0, 0, 40, 40), (1,))
    codes[0, 5, 6] = codes[0, 5, 6] % 7 + 1
    geotiff.write_geotiff(tmp_path / "masks" / "two.tif", codes, degrees(10.0, 50.0, 40, 40))
    source = build(tmp_path)
    source.acquire(tmp_path)
    (scene,) = source.scenes(tmp_path)
    with pytest.raises(TilesDisagree, match=r"two\.tif.*different values"):
        scene.read(whole(scene))
    with pytest.raises(TilesDisagree):
        build(tmp_path, unreadable="error").acquire(tmp_path)


# What is left out


def test_what_does_not_fit_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    write_image(tmp_path, "good", degrees(10.0, 50.0, 40, 40))
    write_mask(tmp_path, "map", degrees(9.99, 50.01, 300, 300))
    write_image(tmp_path, "lonely", degrees(40.0, 50.0, 40, 40))
    write_image(tmp_path, "thin", degrees(10.0, 50.0, 40, 40), count=2)
    torn = write_image(tmp_path, "torn", degrees(10.0, 50.0, 40, 40))
    torn.write_bytes(torn.read_bytes()[:100])
    shutil.copyfile(torn, tmp_path / "masks" / "torn.tif")
    write_mask(tmp_path, "unused", degrees(80.0, 50.01, 300, 300))
    path = tmp_path / "masks" / "thick.tif"
    geotiff.write_geotiff(path, np.ones((3, 9, 9), np.uint8), degrees(10.0, 50.0, 9, 9))
    # A plain TIFF, which knows nothing of coordinates.
    Image.fromarray(np.ones((9, 9, 3), np.uint8)).save(tmp_path / "images" / "nowhere.tif")
    Image.fromarray(np.ones((9, 9), np.uint8)).save(tmp_path / "masks" / "nowhere.tif")
    source = build(tmp_path)
    source.acquire(tmp_path)
    assert [scene.name for scene in source.scenes(tmp_path)] == ["good"]
    reasons = {
        "lonely": "image without mask; none of 2 masks shares its ground",
        "nowhere": "nowhere.tif has no coordinate system",
        "thin": "band 3 is asked for, but it has 2 bands",
        "torn": "torn.tif cannot be read",
        "masks/nowhere.tif": "nowhere.tif has no coordinate system",
        "masks/thick.tif": "takes 1 band, but the mask has 3 bands",
        "masks/torn.tif": "torn.tif",
        "masks/unused.tif": "mask without image",
    }
    told = source.left_out()
    assert sorted(told) == sorted(reasons)
    for name, reason in reasons.items():
        assert reason in told[name], name
    assert sorted(source.inputs(tmp_path)) == ["images/good.tif", "masks/map.tif"]
    with pytest.raises(PairError):
        build(tmp_path, unpaired="error").scenes(tmp_path)
    with pytest.raises(UnreadableFile, match=r"torn\.tif"):
        build(tmp_path, unreadable="error").scenes(tmp_path)


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    write_image(tmp_path, "lonely", degrees(40.0, 50.0, 40, 40))
    write_mask(tmp_path, "far", degrees(80.0, 50.01, 30, 30))
    with pytest.raises(NothingLeft, match=r"none of the 1 images .* lonely: .*image without mask"):
        build(tmp_path).scenes(tmp_path)


# Footprints


def test_touching_is_not_sharing() -> None:
    index = FootprintIndex([degrees(10.0, 50.0, 100, 100)], ["one"])
    assert index.sharing_ground(degrees(10.0 + 100 * STEP, 50.0, 100, 100)) == []
    assert index.sharing_ground(degrees(10.0, 50.0 - 100 * STEP, 100, 100)) == []
    assert index.sharing_ground(degrees(10.0 + 99 * STEP, 50.0, 100, 100)) == [0]


def test_no_masks_share_no_ground() -> None:
    assert FootprintIndex([], []).sharing_ground(degrees(10.0, 50.0, 9, 9)) == []


@given(
    st.lists(
        st.tuples(st.integers(-180, 540), st.integers(-80, 80), st.integers(1, 40)),
        min_size=1,
        max_size=8,
    ),
    st.tuples(st.integers(-540, 180), st.integers(-80, 80), st.integers(1, 40)),
)
def test_rectangles_are_found_on_the_circle(
    masks: list[tuple[int, int, int]], image: tuple[int, int, int]
) -> None:
    """Against interval arithmetic on the circle of longitudes; whole degrees."""

    def grid(west: int, north: int, width: int) -> Grid:
        return degrees(float(west), float(north), 5, width, step=1.0)

    def meet(one: tuple[int, int, int], other: tuple[int, int, int]) -> bool:
        cells = {(one[0] + i) % 360 for i in range(one[2])}
        others = {(other[0] + i) % 360 for i in range(other[2])}
        return bool(cells & others) and abs(one[1] - other[1]) < 5

    index = FootprintIndex([grid(*mask) for mask in masks], [str(m) for m in masks])
    expected = [i for i, mask in enumerate(masks) if meet(mask, image)]
    assert index.sharing_ground(grid(*image)) == expected


def test_a_raster_around_the_pole_is_the_cap_that_holds_it() -> None:
    # EPSG:3413, 200 km around the North Pole: one degree of latitude is 111 km.
    grid = Grid("EPSG:3413", (1000.0, 0.0, -1e5, 0.0, -1000.0, 1e5), 200, 200)
    cap = outline(grid)
    west, south, east, north = cap.bounds
    assert (west, east, north) == (-180, 180, 90)
    assert 88.6 < south < 88.9
    index = FootprintIndex([grid], ["pole"])
    assert index.sharing_ground(degrees(100.0, 89.5, 100, 100, step=0.001)) == [0]
    assert index.sharing_ground(degrees(100.0, 80.0, 100, 100, step=0.001)) == []


def test_a_straight_edge_of_another_projection_is_followed() -> None:
    # A UTM square of 110 km at 60° N: its southern edge bows by some hundred metres in degrees.
    grid = metres(32636, 650_000.0, 6_700_000.0, 11_000, 11_000)
    lon, lat = centres(grid.part(Window(10_999, 5_500, 1, 1)))
    assert outline(grid).contains(shapely.Point(float(lon[0, 0]), float(lat[0, 0])))


def test_coordinates_beyond_the_projection_are_told() -> None:
    with pytest.raises(PairError, match=r"map\.tif: its corners have no longitude and latitude"):
        FootprintIndex([metres(32636, 1e12, 1e12, 10, 10)], ["map.tif"])


# Real files


def test_real_pairs_in_two_zones_are_found_by_footprint(shared_data: Path, tmp_path: Path) -> None:
    pairs = shared_data / "tiles" / "landuse_pairs"
    if not pairs.is_dir():
        pytest.skip(f"needs {pairs}")
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    stems = sorted(path.stem for path in (pairs / "l2a").glob("*.tif"))
    for number, stem in enumerate(stems):
        (tmp_path / "images" / f"{stem}.tif").symlink_to(pairs / "l2a" / f"{stem}.tif")
        (tmp_path / "masks" / f"{number}.tif").symlink_to(pairs / "lulc" / f"{stem}.tif")
    table = ClassTable(
        classes=tuple(
            LandClass(name=f"c{code}", colour=(code, 0, 0), codes=(code,)) for code in range(1, 12)
        ),
        ignore_codes=(0,),
    )
    settings = folder_source.Settings(
        folder=tmp_path, pair_by="footprint", bands=(4, 3, 2), nir_band=8
    )
    source = folder_source.build(settings, table, 0)
    scenes = source.scenes(tmp_path)
    assert [scene.name for scene in scenes] == stems
    for scene in scenes:
        codes = geotiff.read_window(pairs / "lulc" / f"{scene.name}.tif", whole(scene), (1,))[0]
        pixels = scene.read(whole(scene))
        assert (pixels.labels == np.where(codes == 0, 255, codes.astype(int) - 1)).all()
        assert pixels.image.shape == (224, 224, 4)
    assert source.left_out() == {}


def test_a_real_map_tile_serves_a_procedural_image(shared_data: Path, tmp_path: Path) -> None:
    tile = shared_data / "tiles" / "ESA_WorldCover_10m_2020_v100_N00E006_Map.tif"
    if not tile.is_file():
        pytest.skip(f"needs {tile}")
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / tile.name).symlink_to(tile)
    # São Tomé: rows 30,500 … 36,000 and columns 5,200 … 10,700 of the tile, UTM zone 32.
    x, y = Transformer.from_crs(4326, 32632, always_xy=True).transform(6.6, 0.2)
    image = metres(32632, round(x, -1), round(y, -1), 300, 300)
    write_image(tmp_path, "island", image)
    settings = folder_source.Settings(folder=tmp_path, pair_by="footprint")
    table = preset("worldcover11")
    (scene,) = folder_source.build(settings, table, 0).scenes(tmp_path)
    lon, lat = centres(image)
    row = np.floor((3.0 - lat) * 12000).astype(int)
    column = np.floor((lon - 6.0) * 12000).astype(int)
    box = Window(int(row.min()), int(column.min()), int(np.ptp(row)) + 1, int(np.ptp(column)) + 1)
    stored = geotiff.read_window(tile, box, (1,))[0]
    expected = table.labels_of_codes(stored[row - box.row, column - box.column])
    labels = scene.read(whole(scene)).labels
    assert (labels == expected).all()
    assert len(np.unique(labels)) >= 3
