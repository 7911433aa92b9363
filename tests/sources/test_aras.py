"""ARAS400k as a source: names tell the ground, the published split is kept or drawn anew."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from PIL import Image
from tests.sources import aras_layout
from tests.sources.aras_layout import CLASSES, ROLES, name_of

from terraloom.dataset.build import build_dataset
from terraloom.errors import InputError, NothingLeft, UnknownCode, UnreadableFile
from terraloom.files import read_json, sha256_of
from terraloom.raster.grid import Window
from terraloom.settings import CutSettings, SplitSettings
from terraloom.sources import _aras, aras
from terraloom.sources._aras import PatchName, neighbour_counts, parse_patch
from terraloom.sources.aras import ArasSource


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in; copy it before you change it."""
    folder = tmp_path_factory.mktemp("aras") / "data"
    aras_layout.write_layout(folder)
    return folder


@pytest.fixture
def data(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "data"))


def build(folder: Path, **options: Any) -> ArasSource:
    return aras.build(aras.Settings(folder=folder, **options), CLASSES, 0)  # type: ignore[return-value]


# Names


def test_a_name_tells_the_ground() -> None:
    # By hand: tile N40E033 spans 33…34° E, 40…41° N; row 41 starts 41·256 pixels of 1/12000° below
    # its northern edge, column 23 starts 23·256 pixels east of its western edge.
    patch = parse_patch("N40E033_041_023")
    assert patch == PatchName(40, 33, 41, 23)
    assert patch is not None
    west, north = 33 + 23 * 256 / 12000, 41 - 41 * 256 / 12000
    west_south_east_north = shapely.from_wkb(patch.grid.footprint()).bounds
    expected = (west, north - 256 / 12000, west + 256 / 12000, north)
    np.testing.assert_allclose(west_south_east_north, expected, atol=1e-12)
    assert patch.grid.crs == "EPSG:4326"


def test_southern_and_western_names_count_from_their_corner() -> None:
    patch = parse_patch("S01W001_000_000")
    assert patch is not None
    # Tile S01W001 reaches from 1° S to the equator and from 1° W to Greenwich.
    np.testing.assert_allclose(patch.grid.corners()[0], (-1.0, 0.0))


@pytest.mark.parametrize(
    "name",
    [
        *("N40E033_046_000", "N40E033_000_046", "N40E033_41_23", "N90E000_000_000"),
        *("N40E180_000_000", "seed0001", "N40E033_041_023_2", "n40E033_041_023", ""),
    ],
)
def test_other_names_tell_nothing(name: str) -> None:
    assert parse_patch(name) is None


def test_touching_patches_are_counted_by_edge_and_corner() -> None:
    names = {
        "train": ["N40E033_010_010", "N40E033_030_030", "strange"],
        "test": [
            "N40E033_010_011",  # edge
            "N40E033_011_011",  # corner
            "N40E033_010_012",  # two away
            "N40E034_010_010",  # the same place in another tile
            "N40E033_031_030",  # edge
            "seed3",  # no place
        ],
    }
    counts = {"patches": 5, "touch_train_by_edge": 2, "touch_train_by_edge_or_corner": 3}
    assert neighbour_counts(names) == {"test": counts}


# Scenes


def test_scenes_carry_split_place_and_pixels(pristine: Path) -> None:
    scenes = build(pristine).scenes(pristine)
    assert [s.name for s in scenes] == sorted(
        name_of(*place) for places in ROLES.values() for place in places
    )
    by_name = {scene.name: scene for scene in scenes}
    test = by_name[name_of(2, 3)]
    assert (test.split, test.place, test.label_year) == ("test", name_of(2, 3), 2021)
    assert test.grid == PatchName(40, 33, 12, 23).grid
    pixels = test.read(Window(16, 32, 64, 96))
    files = [pristine / "test" / kind / f"{test.name}.png" for kind in ("images", "masks")]
    image, mask = (np.asarray(Image.open(path))[16:80, 32:128] for path in files)
    assert (pixels.image == image).all()
    assert (CLASSES.colour_image(pixels.labels) == mask).all()
    assert [(f.uri, f.sha256, f.licence) for f in pixels.files] == [
        (path.relative_to(pristine).as_posix(), sha256_of(path), "CC-BY-4.0") for path in files
    ]


def test_blocks_draw_the_split_anew(pristine: Path) -> None:
    scenes = build(pristine, split="blocks").scenes(pristine)
    assert {(scene.split, scene.place) for scene in scenes} == {(None, None)}


def test_a_patch_of_another_size_has_no_place_on_earth(data: Path) -> None:
    for kind in ("images", "masks"):
        path = data / "train" / kind / f"{name_of(0, 1)}.png"
        Image.open(path).crop((0, 0, 128, 128)).save(path)
    scenes = {s.name: s for s in build(data, split="blocks").scenes(data)}
    cropped = scenes[name_of(0, 1)]
    assert (cropped.grid, cropped.place) == (None, cropped.name)
    assert scenes[name_of(0, 2)].grid is not None


def test_checksums_follow_the_content(data: Path) -> None:
    before = build(data).given()
    assert sorted(before) == ["test", "train", "val"]
    moved = shutil.copytree(data, data.parent / "elsewhere")
    assert build(moved).given() == before
    path = moved / "val" / "masks" / f"{name_of(2, 0)}.png"
    Image.fromarray(np.asarray(Image.open(path))[::-1]).save(path)
    elsewhere = shutil.copytree(moved, data.parent / "third")  # checksums are read once per path
    after = build(elsewhere).given()
    assert {split for split in before if before[split] != after[split]} == {"val"}


@pytest.mark.parametrize("split", ["published", "blocks"])
def test_a_data_set_is_built_from_it(pristine: Path, tmp_path: Path, split: str) -> None:
    made = build_dataset(
        build(pristine, split=split),
        CLASSES,
        tmp_path,
        cut=CutSettings(patch_size=256),
        split=SplitSettings(buffer_m=0.0, block_size_m=1000.0),
        seed=1,
    )
    rows = made.samples.read(["id", "split", "footprint", "crs"]).to_pylist()
    assert len(rows) == 12
    assert {row["crs"] for row in rows} == {"EPSG:4326"}
    if split == "published":
        roles = {name_of(*place): role for role, places in ROLES.items() for place in places}
        assert {row["id"][:15]: row["split"] for row in rows} == roles
        assert read_json(tmp_path / "leaks.json")["nearest_m"]["train-test"] < 1.0


# What does not fit


def test_files_without_partner_damaged_ones_and_copies_are_named(data: Path) -> None:
    (data / "train" / "masks" / f"{name_of(1, 1)}.png").unlink()
    (data / "val" / "images" / f"{name_of(2, 0)}.png").unlink()
    (data / "train" / "images" / f"{name_of(1, 2)}.png").write_text("hello")
    for kind in ("images", "masks"):
        copied = data / "test" / kind / f"{name_of(0, 0)}.png"
        shutil.copyfile(copied, data / "train" / kind / copied.name)
        path = data / "train" / kind / f"{name_of(0, 3)}.png"
        if kind == "masks":
            Image.open(path).crop((0, 0, 255, 256)).save(path)
    source = build(data)
    scenes = {scene.name: scene.split for scene in source.scenes(data)}
    told = source.left_out()
    assert sorted(told) == sorted(
        [
            f"train/{name_of(1, 1)}",
            f"val/{name_of(2, 0)}",
            f"train/{name_of(1, 2)}",
            f"train/{name_of(0, 0)}",
            f"train/{name_of(0, 3)}",
        ]
    )
    assert "image without mask in train" in told[f"train/{name_of(1, 1)}"]
    assert "mask without image in val" in told[f"val/{name_of(2, 0)}"]
    assert "cannot be read as an image" in told[f"train/{name_of(1, 2)}"]
    assert "stands in test and in train; it stays in test" in told[f"train/{name_of(0, 0)}"]
    assert "is 256×256 pixels, its mask 255×256" in told[f"train/{name_of(0, 3)}"]
    assert scenes[name_of(0, 0)] == "test"
    assert len(scenes) == 8


def test_damaged_pixels_are_left_to_the_cutter(data: Path) -> None:
    path = data / "test" / "images" / f"{name_of(0, 0)}.png"
    path.write_bytes(path.read_bytes()[:5000])
    source = build(data)
    source.acquire(data)
    (scene,) = [s for s in source.scenes(data) if s.name == name_of(0, 0)]
    with pytest.raises(UnreadableFile, match="cannot be read to its end"):
        scene.read(Window(0, 0, 256, 256))


def test_colours_of_another_class_table_are_told_before_cutting(data: Path) -> None:
    path = data / "test" / "masks" / f"{name_of(0, 0)}.png"
    pixels = np.array(Image.open(path))
    pixels[3, 4] = (1, 2, 3)
    Image.fromarray(pixels).save(path)
    with pytest.raises(UnknownCode, match=r"colour \(1, 2, 3\) in no class"):
        build(data).acquire(data)


def test_other_folders_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not laid out as ARAS400k: none of train/images"):
        build(tmp_path).scenes(tmp_path)
    (tmp_path / "train" / "images").mkdir(parents=True)
    (tmp_path / "train" / "images" / "a.png").write_bytes(b"")
    with pytest.raises(NothingLeft, match=r"no patch in .* can be used: a\.png: image without"):
        build(tmp_path).scenes(tmp_path)


def test_part_of_the_archives_is_enough(data: Path) -> None:
    shutil.rmtree(data / "train")
    assert {scene.split for scene in build(data).scenes(data)} == {"val", "test"}
    assert set(_aras.list_splits(data, _aras.SPLITS)) == {"val", "test", "synth"}
