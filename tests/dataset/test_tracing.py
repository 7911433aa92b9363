"""Every stored pixel and label is traced back to the cell that it came from.

Images and label maps hold their own coordinates as values, so a label that is shifted by half a
pixel is a wrong number. What is expected is computed with PROJ alone, point by point, from what the
sample table says of a patch: its transform and CRS.
"""

import functools
import itertools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, Phase, assume, example, given, reject, settings
from hypothesis import strategies as st
from pyproj import Transformer

from terraloom.classes import ClassTable, LandClass
from terraloom.dataset.build import Dataset, build_dataset
from terraloom.errors import NothingLeft
from terraloom.raster import geotiff
from terraloom.raster.grid import Grid, Window
from terraloom.raster.worldcover_tiles import TileName, map_name
from terraloom.samples import decode
from terraloom.settings import CutSettings, SplitSettings
from terraloom.sources import folder as folder_source
from terraloom.sources import tiles

SIDE = 14
"""Codes repeat after so many rows and columns: a shift by anything less shows."""
TABLE = ClassTable(
    classes=tuple(
        LandClass(name=f"cell {code}", colour=(code, 0, 0), codes=(code,))
        for code in range(1, SIDE * SIDE + 1)
    ),
    ignore_codes=(0,),
)
UNKNOWN = 255
TIE = 0.0101
"""Label pixels beside a border within which either side is right."""
STEP = 1 / 12_000
QUIET = settings(
    max_examples=20,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),  # cases are small; to shrink one takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

# CRS, longitude, latitude: both hemispheres, west of Greenwich, the antimeridian, the far north.
PLACES = [
    ("EPSG:32636", 33.2, 39.1),
    ("EPSG:32737", 38.5, -3.4),
    ("EPSG:32619", -70.3, 0.002),
    ("EPSG:32719", -70.3, -52.8),
    ("EPSG:32660", 179.9995, 16.5),
    ("EPSG:32701", -179.9995, -16.5),
    ("EPSG:3035", 24.0, 67.5),
    ("EPSG:3857", -70.3, -52.8),
    ("EPSG:3857", 10.4, 63.2),
    ("EPSG:4326", 6.7, 0.4),
    ("EPSG:4326", -58.4, -34.6),
]


@functools.cache
def between(source: str, target: str) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


def code_at(row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Of the label cell in a row and column."""
    return (1 + row % SIDE * SIDE + column % SIDE).astype(np.uint8)


def grain_at(row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Speckle that no two patches share, or the leak test would take them for copies."""
    mixed = (row // 4 * 73_856_093) ^ (column // 4 * 19_349_663)
    return (mixed * 2_654_435_761 >> 7) % 50_000 + 1


def points_of(transform: Sequence[float], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of the pixel centres."""
    a, b, c, d, e, f = transform
    columns, rows = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    return a * columns + b * rows + c, d * columns + e * rows + f


def pixels_under(grid: Grid, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fractional row and column of points in a grid's own CRS, whatever turn their longitudes."""
    a, b, c, d, e, f = grid.transform
    if grid.crs == "EPSG:4326":
        middle = c + a * grid.width / 2 + b * grid.height / 2
        x = middle + (x - middle + 180.0) % 360.0 - 180.0
    inverse = np.linalg.inv(np.array([[a, b], [d, e]]))
    column, row = np.tensordot(inverse, np.stack([x - c, y - f]), axes=1)
    return row, column


def assert_footprint(row: dict[str, Any], size: int) -> None:
    """The stored polygon has the patch's corners, also in two parts at the antimeridian."""
    a, b, c, d, e, f = row["transform"]
    ends = np.array([(0, 0), (size, 0), (size, size), (0, size)])
    x, y = ends @ [a, b] + c, ends @ [d, e] + f
    lon, lat = between(row["crs"], "EPSG:4326").transform(x, y)
    told = shapely.from_wkb(row["footprint"])
    assert told.is_valid
    assert -180.0 <= told.bounds[0] < told.bounds[2] <= 180.0
    stored = shapely.get_coordinates(told)
    for corner in zip(lon, lat, strict=True):
        apart = np.abs(stored - corner)
        apart[:, 0] = np.abs((apart[:, 0] + 180.0) % 360.0 - 180.0)
        assert apart.max(axis=1).min() < 1e-9
    turned = np.unwrap(lon, period=360.0)
    assert told.area == pytest.approx(shapely.Polygon(np.stack([turned, lat], axis=1)).area)


def assert_traced(
    row: dict[str, Any],
    size: int,
    image: Grid,
    labels: Grid,
    value_at: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """A patch holds the image's own pixels under its transform, and the labels that lie there.

    Returns the patch's rows and columns on the image.
    """
    assert row["crs"] == image.crs
    x, y = points_of(row["transform"], size)
    down, right = pixels_under(image, x, y)
    # Not a part of a pixel between what the transform says and the lattice of the image.
    assert np.abs(down - np.floor(down) - 0.5).max() < 1e-3
    assert np.abs(right - np.floor(right) - 0.5).max() < 1e-3
    rows, columns = np.floor(down).astype(int), np.floor(right).astype(int)
    stored = decode(row["image"])
    assert (stored == value_at(rows, columns)).all()
    if image.crs != labels.crs:
        x, y = between(image.crs, labels.crs).transform(x, y)
    down, right = pixels_under(labels, np.asarray(x), np.asarray(y))
    clear = np.abs(down - np.rint(down)) > TIE
    clear &= np.abs(right - np.rint(right)) > TIE
    inside = (down > 0) & (down < labels.height) & (right > 0) & (right < labels.width)
    expected = code_at(np.floor(down).astype(int), np.floor(right).astype(int)).astype(int) - 1
    expected[~inside] = UNKNOWN
    expected[(stored == 0).all(axis=-1)] = UNKNOWN
    assert clear.mean() > 0.5 or image.crs == labels.crs  # else nothing would be tested
    assert (decode(row["mask"]) == expected)[clear].all()
    assert_footprint(row, size)
    return rows, columns


# Any image and any map, paired by the ground they show


@dataclass(frozen=True)
class Case:
    """Three images around one place, a label map under them in four files, and how it is cut."""

    images: tuple[Grid, ...]
    labels: Grid
    seam: tuple[int, int]
    """Row and column at which the map is cut into files."""
    cut: CutSettings


@st.composite
def cases(draw: st.DrawFn) -> Case:
    crs, lon, lat = draw(st.sampled_from(PLACES))
    # Web maps end at the antimeridian: what lies beyond is unknown to them, rightly.
    others = ["EPSG:4326"] if abs(lon) > 179 else ["EPSG:4326", "EPSG:3857"]
    label_crs = draw(st.sampled_from([crs, *others]))

    def step_of(crs: str, metres: float) -> float:
        if crs == "EPSG:4326":
            return metres / 111_320
        return metres / np.cos(np.deg2rad(lat)) if crs == "EPSG:3857" else metres

    def place(
        crs: str, metres: float, height: int, width: int, off: tuple[float, float], turn: float
    ) -> Grid:
        """A grid whose middle lies `off` metres from the place, turned by some degrees."""
        x, y = between("EPSG:4326", crs).transform(lon, lat)
        step = step_of(crs, metres)
        one = step / metres
        cos, sin = step * np.cos(np.deg2rad(turn)), step * np.sin(np.deg2rad(turn))
        x += off[0] * one - (cos * width + sin * height) / 2
        y += off[1] * one - (sin * width - cos * height) / 2
        return Grid(crs, (cos, sin, x, sin, -cos, y), height, width)

    size = draw(st.sampled_from([32, 64]))
    turn = draw(st.sampled_from([0.0, 0.0, 0.0, 17.0, -41.0]))
    metres = draw(st.sampled_from([10.0, 7.3, 30.0]))
    small = st.floats(-9.0, 9.0)
    sides = st.integers(size, size + 45)
    reach = 120 * metres
    images = tuple(
        place(
            crs,
            metres,
            draw(sides),
            draw(sides),
            (right * reach + draw(small), up * reach + draw(small)),
            turn,
        )
        for right, up in ((-1, -1), (1, -1), (0, 1))
    )
    label_metres = draw(st.sampled_from([10.0, 9.2, 20.0, 60.0]))
    # Not all of the ground is mapped: some patches reach beyond.
    length = int(draw(st.floats(2.2, 4.5)) * reach / label_metres)
    label_turn = draw(st.sampled_from([0.0, 0.0, 30.0]))
    labels = place(
        label_crs, label_metres, length, length + 3, (draw(small), draw(small)), label_turn
    )
    # Away from the equator a map in degrees is narrow: an image beyond it would be no pair. And
    # grids that happen to have their pixels on one another's borders would test nothing.
    assume(all(lies_on(image, labels) for image in images))
    seam = st.integers(length // 3, 2 * length // 3)
    cut = CutSettings(
        patch_size=size,
        stride=draw(st.sampled_from([None, 16, 24, size // 2 + 8])),
        edge=draw(st.sampled_from(["drop", "shift"])),
        depth=16,
        max_unknown_share=1.0,
        check_shift=False,
    )
    return Case(images, labels, (draw(seam), draw(seam)), cut)


def lies_on(image: Grid, labels: Grid) -> bool:
    """Whether a label lies under some pixel, and few centres of pixels lie on borders of labels."""
    a, b, c, d, e, f = image.transform
    rows, columns = np.mgrid[: image.height, : image.width] + 0.5
    x, y = a * columns + b * rows + c, d * columns + e * rows + f
    if image.crs != labels.crs:
        x, y = between(image.crs, labels.crs).transform(x, y)
    down, right = pixels_under(labels, np.asarray(x), np.asarray(y))
    inside = (down > 0) & (down < labels.height) & (right > 0) & (right < labels.width)
    tied = (np.abs(down - np.rint(down)) < 2 * TIE) | (np.abs(right - np.rint(right)) < 2 * TIE)
    return bool(inside.any()) and (image.crs == labels.crs or tied.mean() < 0.25)


def image_values(number: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def values(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        grain = grain_at(rows + 1000 * number, columns)
        return np.stack([rows + 1, columns + 1000, grain], axis=-1)

    return values


def write_case(folder: Path, case: Case) -> None:
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    roles = ("train", "val", "test")
    lines = ["id,place,split"]
    for number, grid in enumerate(case.images):
        values = image_values(number)(*np.mgrid[: grid.height, : grid.width])
        pixels = np.moveaxis(values.astype(np.uint16), -1, 0)
        geotiff.write_geotiff(folder / "images" / f"{roles[number]}.tif", pixels, grid)
        lines.append(f"{roles[number]},{roles[number]},{roles[number]}")
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    labels = case.labels
    row, column = case.seam
    for name, (top, bottom), (left, right) in (
        ("nw", (0, row), (0, column)),
        ("ne", (0, row), (column, labels.width)),
        ("sw", (row, labels.height), (0, column)),
        ("se", (row, labels.height), (column, labels.width)),
    ):
        part = Window(top, left, bottom - top, right - left)
        codes = code_at(*np.mgrid[top:bottom, left:right])
        geotiff.write_geotiff(folder / "masks" / f"{name}.tif", codes[None], labels.part(part))


def cut_starts(length: int, cut: CutSettings) -> list[int]:
    stride = cut.stride or cut.patch_size
    starts = list(range(0, length - cut.patch_size + 1, stride))
    if cut.edge == "shift" and starts[-1] + cut.patch_size < length:
        starts.append(length - cut.patch_size)
    return starts


@QUIET
@given(cases())
def test_no_label_is_shifted_on_any_grid_in_any_crs(case: Case) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_case(folder, case)
        source = folder_source.build(
            folder_source.Settings(
                folder=folder, pair_by="footprint", index="index.csv", value_range=(0, 50_000)
            ),
            TABLE,
            0,
        )
        split = SplitSettings(by="place", duplicate_limit=1.0, shared_ground_limit=1.0)
        try:
            made = build_dataset(source, TABLE, folder / "out", cut=case.cut, split=split, seed=1)
        except NothingLeft:  # the only patch of a role may lie where no map shows anything
            reject()
        assert source.left_out() == {}
        seen: dict[str, set[tuple[int, int]]] = {"train": set(), "val": set(), "test": set()}
        for row in made.samples.read().to_pylist():
            number = list(seen).index(row["split"])
            grid = case.images[number]
            rows, columns = assert_traced(
                row, case.cut.patch_size, grid, case.labels, image_values(number)
            )
            assert row["dtype"] == "uint16"
            seen[row["split"]].add((int(rows[0, 0]), int(columns[0, 0])))
    expected = {
        role: set(
            itertools.product(cut_starts(grid.height, case.cut), cut_starts(grid.width, case.cut))
        )
        for role, grid in zip(seen, case.images, strict=True)
    }
    lost = made.funnel.get("unknown pixels", 0)  # those that no map shows at all
    assert made.candidates == sum(map(len, expected.values()))
    assert all(seen[role] <= expected[role] for role in seen)
    assert sum(map(len, seen.values())) == made.candidates - lost == made.funnel["kept"]


# Official tiles: seams of 1° composites and 3° maps


@dataclass(frozen=True)
class Corner:
    """Where four composites meet, and how far each of them is filled from there."""

    lat: int
    lon: int
    up: int
    down: int
    left: int
    right: int
    missing: int | None
    """Which of the four composites is not there."""


def tile_values(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Of composites: their place on the globe, in rows from the north pole; never 0."""
    columns = columns % (360 * 12_000)
    near_infrared = (3 * rows + 5 * columns) % 60_000 + 1
    return np.stack(
        [rows % 60_000 + 1, columns % 60_000 + 1, grain_at(rows, columns), near_infrared], axis=-1
    )


def write_corner(folder: Path, corner: Corner) -> list[Grid]:
    """Composites with maps and InputQuality under them; returns the grids of the composites."""
    composites = []
    lat, lon = corner.lat, corner.lon
    for number, (north, east) in enumerate(itertools.product((False, True), repeat=2)):
        if number == corner.missing:
            continue
        height = corner.up if north else corner.down
        width = corner.right if east else corner.left
        top = (90 - lat) * 12_000 - (height if north else 0)
        left = lon * 12_000 - (0 if east else width)
        south, west = lat - (not north), (lon - (not east) + 180) % 360 - 180
        turn = west - (lon - (not east))  # beyond the antimeridian, files begin at -180
        name = TileName(2021, south, west, "S2RGBNIR")
        rows, columns = np.mgrid[top : top + height, left : left + width]
        grid = Grid(
            "EPSG:4326",
            (STEP, 0.0, left / 12_000 + turn, 0.0, -STEP, 90 - top / 12_000),
            height,
            width,
        )
        pixels = np.moveaxis(tile_values(rows, columns).astype(np.uint16), -1, 0)
        geotiff.write_geotiff(folder / name.filename, pixels, grid)
        composites.append(grid)
    # Maps reach as far as the composites that they lie under, rounded to whole pixels of 60 m.
    boxes: dict[TileName, tuple[int, int, int, int]] = {}
    for number, (north, east) in enumerate(itertools.product((False, True), repeat=2)):
        south, west = lat - (not north), (lon - (not east) + 180) % 360 - 180
        turn = (lon - (not east) - west) * 12_000
        top = (90 - lat) * 12_000 - (corner.up if north else 0)
        bottom = (90 - lat) * 12_000 + (0 if north else corner.down)
        left = lon * 12_000 - (0 if east else corner.left) - turn
        right = lon * 12_000 + (corner.right if east else 0) - turn
        box = (top // 6 * 6, left // 6 * 6, -(-bottom // 6) * 6, -(-right // 6) * 6)
        name = map_name(TileName(2021, south, west, "S2RGBNIR"))
        if number == corner.missing:
            continue
        old = boxes.get(name, box)
        boxes[name] = (*np.minimum(old[:2], box[:2]), *np.maximum(old[2:], box[2:]))
    for name, (top, left, bottom, right) in boxes.items():
        turn = 360 * 12_000 if left < 0 else 0  # codes go round the globe without a jump
        for product, pixel in (("Map", 1), ("InputQuality", 6)):
            rows, columns = np.mgrid[
                top // pixel : bottom // pixel, (left + turn) // pixel : (right + turn) // pixel
            ]
            step = STEP * pixel
            grid = Grid(
                "EPSG:4326",
                (step, 0.0, left / 12_000, 0.0, -step, 90 - top / 12_000),
                *rows.shape,
            )
            pixels = code_at(rows, columns)[None]
            if product == "InputQuality":
                nothing = np.zeros(rows.shape, np.int16)
                pixels = np.stack([nothing, observations_at(rows, columns), nothing])
            tile = TileName(name.year, name.lat, name.lon, product)
            geotiff.write_geotiff(folder / tile.filename, pixels, grid)
    return composites


def observations_at(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return (rows % 5 * 5 + columns % 5).astype(np.int16)


def build_corner(folder: Path, cut: CutSettings) -> Dataset:
    source = tiles.build(tiles.Settings(folder=folder / "tiles"), TABLE, 0)
    return build_dataset(
        source, TABLE, folder / "out", cut=cut,
        split=SplitSettings(
            by="block", block_size_m=250, attempts=2, duplicate_limit=1.0, shared_ground_limit=1.0
        ),
        seed=1,
    )  # fmt: skip


GLOBE = Grid("EPSG:4326", (STEP, 0.0, 0.0, 0.0, -STEP, 90.0), 180 * 12_000, 360 * 12_000)


def assert_on_globe(row: dict[str, Any], size: int, holes: Sequence[Grid]) -> None:
    """A patch of official tiles holds its place on the globe; `holes` are the composites."""
    x, y = points_of(row["transform"], size)
    rows, columns = (np.floor(v).astype(int) for v in pixels_under(GLOBE, x, y))
    assert np.abs(np.subtract(pixels_under(GLOBE, x, y), (rows, columns)) - 0.5).max() < 1e-3
    covered = np.zeros(rows.shape, dtype=bool)
    for grid in holes:
        down, right = pixels_under(grid, x, y)
        covered |= (down > 0) & (down < grid.height) & (right > 0) & (right < grid.width)
    expected = tile_values(rows, columns)
    expected[~covered] = 0
    stored = decode(row["image"])
    assert row["bands"] == ["red", "green", "blue", "nir"]
    assert (stored == expected).all()
    labels = code_at(rows, columns).astype(int) - 1
    labels[~covered] = UNKNOWN
    assert (decode(row["mask"]) == labels).all()
    seen = observations_at(rows // 6, columns // 6)
    trust = np.rint(255 * (1 - np.exp(-seen / 8))).astype(int)
    assert (np.abs(decode(row["trust"]) - trust) <= 1)[covered].all()
    assert_footprint(row, size)


def corners() -> st.SearchStrategy[Corner]:
    """Edges of 3° maps and of 1° composites within one map, in all four quarters of the globe."""
    places = [
        (39, 33), (0, 0), (-33, -72), (40, 34), (-34, 20), (1, -71), (18, 180), (-16, 180),
        (-18, 180), (-3, -180), (36, -3),
    ]  # fmt: skip
    reach = st.integers(50, 80)
    return st.builds(
        lambda place, up, down, left, right, missing: Corner(
            *place, up, down, left, right, missing
        ),
        st.sampled_from(places),
        reach,
        reach,
        reach,
        reach,
        st.sampled_from([None, None, 0, 1, 2, 3]),
    )


@QUIET
@given(
    corners(),
    st.sampled_from([None, None, 8, 24, 40]),
    st.sampled_from(["drop", "shift"]),
    st.sampled_from(["mosaic", "per-tile"]),
)
# Patches that end where an image begins: the rounding of degrees must not lay them on it.
@example(Corner(-33, -72, 78, 78, 80, 72, 2), 24, "drop", "mosaic")
def test_patches_across_tile_edges_are_traced_to_their_tiles(
    corner: Corner, stride: int | None, edge: str, grid: str
) -> None:
    cut = CutSettings(
        patch_size=32, stride=stride, edge=edge, grid=grid, depth=16, nir=True, high=60_000,
        max_unknown_share=1.0, check_shift=False,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tiles").mkdir()
        composites = write_corner(folder / "tiles", corner)
        try:
            made = build_corner(folder, cut)
        except NothingLeft:  # so small an area, overlapping patches left out, may lack a role
            reject()
        assert made.left_out == {}
        rows = made.samples.read().to_pylist()
    for row in rows:
        assert_on_globe(row, 32, composites)
    if grid == "per-tile":
        expected = sum(
            len(cut_starts(g.height, cut)) * len(cut_starts(g.width, cut)) for g in composites
        )
    else:
        # A patch is a candidate where it touches an image: not inside the missing quarter.
        lines = cut_starts(corner.up + corner.down, cut)
        posts = cut_starts(corner.left + corner.right, cut)
        expected = sum(
            not _inside_quarter(corner, top, left) for top, left in itertools.product(lines, posts)
        )
    assert made.candidates == expected
    assert (
        len(rows) == made.funnel["kept"] == expected - made.funnel.get("too near another role", 0)
    )


def _inside_quarter(corner: Corner, top: int, left: int) -> bool:
    if corner.missing is None:
        return False
    north, east = divmod(corner.missing, 2)
    beyond = top + 32 <= corner.up if north else top >= corner.up
    return beyond and (left >= corner.left if east else left + 32 <= corner.left)


def test_an_image_across_the_antimeridian_finds_both_ends_of_a_global_map(tmp_path: Path) -> None:
    # One map round the whole globe, in pixels that are no part of the images': columns jump.
    case = Case(
        tuple(
            Grid("EPSG:4326", (0.05, 0.0, west, 0.0, -0.05, north), 64, 96)
            for west, north in ((177.5, 7.0), (-182.31, 2.0), (20.0, 2.0))
        ),
        Grid("EPSG:4326", (0.08, 0.0, -180.0, 0.0, -0.08, 8.0), 200, 4500),
        (100, 2250),
        CutSettings(patch_size=32, depth=16, max_unknown_share=1.0, check_shift=False),
    )
    write_case(tmp_path, case)
    source = folder_source.build(
        folder_source.Settings(
            folder=tmp_path, pair_by="footprint", index="index.csv", value_range=(0, 50_000)
        ),
        TABLE,
        0,
    )
    # The map as one file, as global maps are.
    for path in (tmp_path / "masks").iterdir():
        path.unlink()
    codes = code_at(*np.mgrid[:200, :4500])
    geotiff.write_geotiff(tmp_path / "masks" / "globe.tif", codes[None], case.labels)
    made = build_dataset(
        source, TABLE, tmp_path / "out", cut=case.cut,
        split=SplitSettings(by="place", duplicate_limit=1.0, shared_ground_limit=1.0), seed=1,
    )  # fmt: skip
    rows = made.samples.read().to_pylist()
    assert len(rows) == 3 * 2 * 3
    for row in rows:
        number = ("train", "val", "test").index(row["split"])
        assert_traced(row, 32, case.images[number], case.labels, image_values(number))
        assert (decode(row["mask"]) != UNKNOWN).all()
