"""Bad input: named by file, counted, and the rest goes on; or one message and exit code 2."""

import errno
import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from tests.sources import killed_build
from tests.sources.test_area import write
from tests.sources.worldcover_mirror import CODES, STEP, write_cog

from terraloom.classes import preset
from terraloom.cli import main
from terraloom.dataset.build import Dataset, build_dataset
from terraloom.errors import RunError
from terraloom.raster.worldcover_tiles import TileName
from terraloom.samples import decode
from terraloom.settings import CutSettings, SplitSettings
from terraloom.sources import folder as folder_source
from terraloom.sources import tiles
from terraloom.tables import Table

TABLE = preset("worldcover7")
SIDE, SIZE, BLOCK = 256, 32, 128
PATCHES = (SIDE // SIZE) ** 2
GOOD, BAD = (-36, -72), (41, 33)
"""South-west corners of two composites far apart, each in the upper left corner of its map."""


def name_of(place: tuple[int, int], product: str = "S2RGBNIR") -> str:
    lat, lon = place
    if product != "S2RGBNIR":
        lat, lon = lat // 3 * 3, lon // 3 * 3
    return TileName(2021, lat, lon, product).filename


def content(place: tuple[int, int], product: str = "S2RGBNIR") -> np.ndarray:
    random = np.random.default_rng([place[0] + 90, place[1] + 180, len(product)])
    if product == "Map":
        return CODES[random.integers(0, 7, (1, SIDE // 4, SIDE // 4))].repeat(4, 1).repeat(4, 2)
    return random.integers(100, 3000, (4, SIDE, SIDE)).astype(np.uint16)


def write_tile(
    folder: Path, place: tuple[int, int], product: str = "S2RGBNIR",
    pixels: np.ndarray | None = None, **options: Any,
) -> Path:  # fmt: skip
    return write_cog(
        folder / name_of(place, product),
        content(place, product) if pixels is None else pixels,
        place[1], place[0] + 1.0, block=BLOCK, **options,
    )  # fmt: skip


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Two composites with their maps."""
    folder = tmp_path / "tiles"
    for place in (GOOD, BAD):
        write_tile(folder, place)
        write_tile(folder, place, "Map")
    return folder


def build(inputs: Path, out: Path) -> Dataset:
    return build_dataset(
        tiles.build(tiles.Settings(folder=inputs), TABLE, 0), TABLE, out,
        cut=CutSettings(patch_size=SIZE, check_shift=False),
        split=SplitSettings(by="block", block_size_m=640, attempts=4), seed=1,
    )  # fmt: skip


def told(out: Path) -> Any:
    return json.loads((out / "filters.json").read_text())


def kept(out: Path, place: tuple[int, int]) -> set[tuple[int, int]]:
    """Patches of a composite among the samples, by row and column of patches."""
    scene = f"2021-{TileName(2021, *place, 'S2RGBNIR').place}"
    found = set()
    for row in Table.open(out / "samples").read(["id"]).to_pylist():
        name, top, left = row["id"].rsplit("-", 2)
        if name == scene:
            found.add((int(top[1:]) // SIZE, int(left[1:]) // SIZE))
    return found


ALL = {(row, column) for row in range(SIDE // SIZE) for column in range(SIDE // SIZE)}


def in_blocks(blocks: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """Patches that lie in some blocks of a file."""
    ratio = BLOCK // SIZE
    return {(row, column) for row, column in ALL if (row // ratio, column // ratio) in blocks}


def places_of_blocks(path: Path) -> dict[tuple[int, int], tuple[int, int]]:
    """First byte and number of bytes of each block, by row and column of blocks."""
    with rasterio.open(path) as file:
        return {
            (row, column): (
                int(file.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=1)),
                int(file.get_tag_item(f"BLOCK_SIZE_{column}_{row}", "TIFF", bidx=1)),
            )
            for row in range(SIDE // BLOCK)
            for column in range(SIDE // BLOCK)
        }


def assert_counted(out: Path, made: Dataset, reason: str, files: list[str], count: int) -> None:
    """So many patches are lost, each has a row among the errors that names a file."""
    assert made.candidates == 2 * PATCHES
    assert made.funnel == {"kept": 2 * PATCHES - count, reason: count}
    assert made.samples.num_rows == 2 * PATCHES - count
    assert kept(out, GOOD) == ALL
    assert told(out)["funnel"] == made.funnel
    assert sum(told(out)["unreadable"].values()) == count
    for message in told(out)["unreadable"]:
        assert any(name in message for name in files), message
    errors = Table.open(out / "errors").read().to_pylist()
    assert len(errors) == count
    assert {row["message"] for row in errors} == set(told(out)["unreadable"])
    lost = Table.open(out / "candidates").read(["id", "reason"]).to_pylist()
    assert {row["id"] for row in errors} == {r["id"] for r in lost if r["reason"] == reason}
    assert not {row["id"] for row in errors} & set(
        made.samples.read(["id"]).column("id").to_pylist()
    )


# Damaged bytes


@pytest.mark.parametrize("product", ["S2RGBNIR", "Map"])
def test_a_truncated_tile_costs_the_patches_whose_bytes_are_gone(
    product: str, inputs: Path, tmp_path: Path
) -> None:
    path = inputs / name_of(BAD, product)
    blocks = places_of_blocks(path)
    end = sorted(start for start, _ in blocks.values())[2] + 10
    os.truncate(path, end)
    gone = {block for block, (start, size) in blocks.items() if start + size > end}
    assert len(gone) == 2
    made = build(inputs, tmp_path / "out")
    assert_counted(tmp_path / "out", made, "unreadable", [path.name], PATCHES // 2)
    assert kept(tmp_path / "out", BAD) == ALL - in_blocks(gone)


@pytest.mark.parametrize("where", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("product", ["S2RGBNIR", "Map"])
def test_one_flipped_bit_costs_the_patches_of_its_block_and_changes_no_other(
    product: str, where: float, inputs: Path, tmp_path: Path
) -> None:
    path = inputs / name_of(BAD, product)
    data = bytearray(path.read_bytes())
    start, size = places_of_blocks(path)[1, 0]
    data[start + round(where * (size - 1))] ^= 0x04
    path.write_bytes(data)
    made = build(inputs, tmp_path / "out")
    assert_counted(tmp_path / "out", made, "unreadable", [path.name], PATCHES // 4)
    assert kept(tmp_path / "out", BAD) == ALL - in_blocks({(1, 0)})
    codes, image = content(BAD, "Map")[0], content(BAD)
    for row in made.samples.read(["id", "mask", "image"]).to_pylist():
        if "N41E033" in row["id"]:
            top, left = (int(part[1:]) for part in row["id"].rsplit("-", 2)[1:])
            box = (slice(top, top + SIZE), slice(left, left + SIZE))
            assert (decode(row["mask"]) == TABLE.labels_of_codes(codes[box])).all()
            drawn = image[:3, *box].transpose(1, 2, 0) * (255 / 3000)
            assert np.abs(decode(row["image"]) - drawn).max() <= 0.5 + 1e-9


def test_damaged_pairs_of_ones_own_cost_their_patches(tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        for number in range(6):
            pixels = content((number, number), "Map" if kind == "masks" else "S2RGBNIR")
            write_cog(tmp_path / kind / f"p{number}.tif", pixels, number, 1.0 + number, block=BLOCK)
    torn, flipped = tmp_path / "images" / "p1.tif", tmp_path / "masks" / "p4.tif"
    blocks = places_of_blocks(torn)
    last = max(start for start, _ in blocks.values())
    os.truncate(torn, last + 10)
    data = bytearray(flipped.read_bytes())
    start, size = places_of_blocks(flipped)[0, 1]
    data[start + size // 2] ^= 0x01
    flipped.write_bytes(data)
    source = folder_source.build(
        folder_source.Settings(folder=tmp_path, value_range=(0, 3000)), TABLE, 0
    )
    made = build_dataset(
        source, TABLE, tmp_path / "out",
        cut=CutSettings(patch_size=SIZE, check_shift=False), split=SplitSettings(by="block"),
        seed=1,
    )  # fmt: skip
    assert made.funnel == {"kept": 6 * PATCHES - PATCHES // 2, "unreadable": PATCHES // 2}
    messages = told(tmp_path / "out")["unreadable"]
    assert sorted(messages.values()) == [PATCHES // 4, PATCHES // 4]
    assert {"p1.tif", "p4.tif"} == {message.split(" ")[0] for message in messages}


# Files that cannot be used at all


def only_three_bands(folder: Path) -> None:
    write_tile(folder, BAD, pixels=content(BAD)[:3])


def in_another_crs(folder: Path) -> None:
    write_tile(folder, BAD, crs="EPSG:32636", step=10.0)


def no_crs(folder: Path) -> None:
    write_tile(folder, BAD, crs=None)


def cut_off_in_the_header(folder: Path) -> None:
    os.truncate(folder / name_of(BAD), 100)


def no_composite(folder: Path) -> None:
    (folder / name_of(BAD)).unlink()


def no_map(folder: Path) -> None:
    (folder / name_of(BAD, "Map")).unlink()


def map_without_crs(folder: Path) -> None:
    write_tile(folder, BAD, "Map", crs=None)


UNUSABLE = [
    (no_crs, "S2RGBNIR", "it has no coordinate system"),
    (in_another_crs, "S2RGBNIR", "its CRS is EPSG:32636; official tiles are in EPSG:4326"),
    (only_three_bands, "S2RGBNIR", "it has 3 bands; a S2RGBNIR tile has 4"),
    (cut_off_in_the_header, "S2RGBNIR", "cannot be read"),
    (no_composite, "Map", "no composite of its year lies on it"),
    (no_map, "S2RGBNIR", "no map: fetch the 3° map tile of the same year"),
    (map_without_crs, "Map", "it has no coordinate system"),
]


@pytest.mark.parametrize(
    ("spoil", "product", "reason"), UNUSABLE, ids=[case[0].__name__ for case in UNUSABLE]
)
def test_a_tile_that_cannot_be_used_is_named_and_the_others_are_cut(
    spoil: Callable[[Path], None], product: str, reason: str, inputs: Path, tmp_path: Path
) -> None:
    spoil(inputs)
    made = build(inputs, tmp_path / "out")
    assert reason in made.left_out[name_of(BAD, product)]
    assert told(tmp_path / "out")["left_out"] == made.left_out
    assert made.funnel == {"kept": PATCHES}
    assert kept(tmp_path / "out", GOOD) == ALL
    used = made.samples.read(["source"]).column("source").to_pylist()
    assert {file["name"] for files in used for file in files} == {
        name_of(GOOD), name_of(GOOD, "Map"),
    }  # fmt: skip


@pytest.mark.parametrize("dtype", ["uint16", "uint8"])
def test_a_quality_layer_of_another_type_is_named_and_gives_no_trust(
    dtype: str, inputs: Path, tmp_path: Path
) -> None:
    coarse = np.ones((3, 43, 43), dtype)
    name = name_of(BAD, "InputQuality")
    write_cog(inputs / name, coarse, BAD[1], BAD[0] + 1.0, 6 * STEP, nodata=None, block=BLOCK)
    made = build(inputs, tmp_path / "out")
    assert made.left_out == {name: f"its pixels are {dtype}, which has no -1 for no data; "
                             "fetch it again"}  # fmt: skip
    assert made.funnel == {"kept": 2 * PATCHES}
    assert set(made.samples.read(["trust"]).column("trust").to_pylist()) == {None}


# Tiles that contradict each other


@pytest.mark.parametrize("product", ["S2RGBNIR", "Map"])
def test_tiles_that_disagree_cost_the_patches_where_they_do(
    product: str, inputs: Path, tmp_path: Path
) -> None:
    other = content(BAD, product).copy()
    other[0, 40:70, 100:110] = np.where(other[0, 40:70, 100:110] == 10, 20, 10)
    path = write_tile(inputs / "older", BAD, product, pixels=other)
    made = build(inputs, tmp_path / "out")
    # Rows 40 … 69 and columns 100 … 109 lie in the patches of rows 1 and 2 and column 3.
    assert_counted(tmp_path / "out", made, "inputs disagree", [f"older/{path.name}"], 2)
    assert kept(tmp_path / "out", BAD) == ALL - {(1, 3), (2, 3)}
    for message in told(tmp_path / "out")["unreadable"]:
        assert f"tiles/{path.name}" in message
        assert "cover the same ground with different values" in message


# A full disk


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


class FullDisk:
    """Takes no more from a certain file on: what is written of it is cut in half, as disks do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._sync = os.fsync
        self.writes = 0
        self.room: int | None = None
        """Files that still fit; None for an empty disk."""
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, handle: int) -> None:
        facts = os.fstat(handle)
        if stat.S_ISREG(facts.st_mode):
            self.writes += 1
            if self.room is not None and self.writes > self.room:
                os.ftruncate(handle, facts.st_size // 2)
                raise OSError(errno.ENOSPC, "No space left on device")
        self._sync(handle)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    return FullDisk(monkeypatch)


def test_wherever_a_disk_fills_up_nothing_torn_is_left_and_the_next_build_ends_with_equal_bytes(
    inputs: Path, disk: FullDisk, tmp_path: Path
) -> None:
    for product in ("S2RGBNIR", "Map"):
        (inputs / name_of(BAD, product)).unlink()
    build(inputs, tmp_path / "whole")
    whole = files_of(tmp_path / "whole")
    files = disk.writes
    assert len(whole) <= files < 30
    for room in range(files):
        out = tmp_path / f"full-{room}"
        disk.room, disk.writes = room, 0
        with pytest.raises(RunError, match=r"No space left on device\. Free some space and"):
            build(inputs, out)
        for name, data in files_of(out).items():
            assert not name.endswith(".part")
            assert data == whole.get(name, data), name
        disk.room = None
        build(inputs, out)
        assert files_of(out) == whole


# From the command line


SETTINGS = """\
[project]
workers = 1

[sources.{source}]
{options}

[cut]
patch_size = 32
check_shift = false

[split]
by = "block"
block_size_m = 640

[segment.training]
crop_size = 32

[generate]
size = 32

[benchmark.training]
crop_size = 32
"""

Cli = Callable[[Path], tuple[int, str, str]]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run `terraloom build`; returns exit code, standard output and standard error."""

    def call(project: Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["terraloom", "build", str(project)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    return call


def project_of(project: Path, source: str, **options: object) -> Path:
    project.mkdir()
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in options.items())
    (project / "terraloom.toml").write_text(SETTINGS.format(source=source, options=lines))
    return project


def one_message(err: str) -> str:
    assert "Traceback" not in err
    (message,) = (line for line in err.splitlines() if line.startswith("terraloom: "))
    assert err.rstrip().endswith(message)
    return message


def test_what_is_left_out_is_told_and_the_command_ends_well(
    inputs: Path, cli: Cli, tmp_path: Path
) -> None:
    no_crs(inputs)
    project = project_of(tmp_path / "project", "tiles", folder=str(inputs))
    code, _, err = cli(project)
    assert code == 0, err
    assert f"left out {name_of(BAD)}: it has no coordinate system" in err
    assert told(project / "build")["funnel"] == {"kept": PATCHES}


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(spoil, reason) for spoil, _, reason in UNUSABLE if spoil not in (no_map, no_composite)]
    + [(no_map, "holds no WorldCover map"), (no_composite, "holds no WorldCover composite")],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_where_no_tile_can_be_used_the_command_says_why_and_ends_with_code_2(
    spoil: Callable[[Path], None], reason: str, inputs: Path, cli: Cli, tmp_path: Path
) -> None:
    for product in ("S2RGBNIR", "Map"):
        (inputs / name_of(GOOD, product)).unlink()
    spoil(inputs)
    project = project_of(tmp_path / "project", "tiles", folder=str(inputs))
    code, out, err = cli(project)
    assert (code, out) == (2, "")
    message = one_message(err)
    assert reason in message
    if spoil not in (no_map, no_composite):
        assert "no composite is left that has a map" in message
        assert name_of(BAD) in message or name_of(BAD, "Map") in message
    assert not (project / "build" / "samples").exists()


def test_an_area_of_nothing_but_no_data_ends_with_code_2(
    inputs: Path, cli: Cli, tmp_path: Path
) -> None:
    for place in (GOOD, BAD):
        write_tile(inputs, place, "Map", pixels=np.zeros((1, SIDE, SIDE), np.uint8))
    code, out, err = cli(project_of(tmp_path / "project", "tiles", folder=str(inputs)))
    assert (code, out) == (2, "")
    assert f"no patch left of {2 * PATCHES}: 'unknown pixels' took {2 * PATCHES}" in one_message(
        err
    )


@pytest.mark.parametrize(
    ("areas", "reason"),
    [
        ([shapely.box(-150.2, 0.1, -150.1, 0.2)], "is not in the folder"),
        ([], "the area would be empty"),
    ],
    ids=["outside all tiles", "no polygon"],
)
def test_polygons_that_hold_no_tile_end_with_code_2(
    areas: list[shapely.Polygon], reason: str, inputs: Path, cli: Cli, tmp_path: Path
) -> None:
    polygons = write(tmp_path / "area.geojson", areas)
    project = project_of(
        tmp_path / "project", "worldcover", polygons=str(polygons),
        maps_url=str(inputs), composites_url=str(inputs),
    )  # fmt: skip
    code, out, err = cli(project)
    assert (code, out) == (2, "")
    assert reason in one_message(err)
    assert not (project / "build" / "samples").exists()


def test_a_full_disk_ends_with_code_1_and_the_same_command_goes_on(
    inputs: Path, cli: Cli, disk: FullDisk, tmp_path: Path
) -> None:
    whole = project_of(tmp_path / "whole", "tiles", folder=str(inputs))
    assert cli(whole)[0] == 0
    for room in (0, disk.writes // 2, disk.writes - 1):
        project = project_of(tmp_path / f"full-{room}", "tiles", folder=str(inputs))
        disk.room, disk.writes = room, 0
        code, out, err = cli(project)
        assert (code, out) == (1, ""), room
        assert "No space left on device" in one_message(err)
        disk.room = None
        assert cli(project)[0] == 0
        assert killed_build.digests(project) == killed_build.digests(whole)
