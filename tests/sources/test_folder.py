"""A user's own pairs: two folders, any classes, any sizes, and everything that can be wrong."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from terraloom.classes import ClassTable, LandClass
from terraloom.errors import (
    InputError,
    NothingLeft,
    PairError,
    SettingsError,
    UnequalSizes,
    UnknownCode,
    UnreadableFile,
)
from terraloom.files import sha256_of
from terraloom.raster import geotiff
from terraloom.raster.grid import Grid, Window
from terraloom.sources import folder as folder_source
from terraloom.sources.folder import FolderSource

TABLE = ClassTable(
    classes=(
        LandClass(name="water", colour=(0, 0, 200), codes=(1,)),
        LandClass(name="field", colour=(200, 200, 0), codes=(4, 40)),
        LandClass(name="roof", colour=(200, 0, 0), codes=(7,)),
    ),
    ignore_codes=(0,),
)
CODES = np.array([1, 4, 7, 0, 40], dtype=np.uint8)
LABELS = np.array([0, 1, 2, 255, 1], dtype=np.uint8)
UTM = Grid("EPSG:32636", (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_000_000.0), 33, 47)


def kinds(height: int, width: int) -> np.ndarray:
    """Which of `CODES` each pixel has, from its row and column."""
    rows, columns = np.mgrid[:height, :width]
    return (rows // 3 + 2 * (columns // 5)) % 5


def coordinates(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, rows ^ columns], axis=-1).astype(np.uint8)


def write_pair(folder: Path, name: str, height: int = 33, width: int = 47, sub: str = "") -> None:
    for kind in ("images", "masks"):
        (folder / kind / sub).mkdir(parents=True, exist_ok=True)
    Image.fromarray(coordinates(height, width)).save(folder / "images" / sub / f"{name}.png")
    Image.fromarray(CODES[kinds(height, width)]).save(folder / "masks" / sub / f"{name}.png")


def write_index(folder: Path, text: str) -> None:
    (folder / "index.csv").write_text(text, encoding="utf-8")


def build(folder: Path, **options: Any) -> FolderSource:
    settings = folder_source.Settings(folder=folder, **options)
    return folder_source.build(settings, TABLE, 0)  # type: ignore[return-value]


def whole(scene: Any) -> Window:
    return Window(0, 0, scene.height, scene.width)


# What is read


def test_pairs_of_unequal_sizes_are_read_where_asked(tmp_path: Path) -> None:
    write_pair(tmp_path, "b", 33, 47)
    write_pair(tmp_path, "a", 64, 20)
    scenes = build(tmp_path).scenes(tmp_path)
    assert [(s.name, s.height, s.width) for s in scenes] == [("a", 64, 20), ("b", 33, 47)]
    pixels = scenes[1].read(Window(10, 6, 8, 13))
    assert (pixels.image == coordinates(33, 47)[10:18, 6:19]).all()
    assert (pixels.labels == LABELS[kinds(33, 47)][10:18, 6:19]).all()
    assert build(tmp_path).extents() == [(64, 20), (33, 47)]


def test_without_an_index_each_image_is_a_place_of_its_own(tmp_path: Path) -> None:
    write_pair(tmp_path, "a")
    (scene,) = build(tmp_path).scenes(tmp_path)
    assert (scene.place, scene.split, scene.date, scene.grid) == ("a", None, None, None)


def test_an_index_gives_place_split_and_date_in_the_order_of_ids(tmp_path: Path) -> None:
    for name in ("a", "b", "unlisted"):
        write_pair(tmp_path, name)
    write_index(tmp_path, "\ufeffid,place,split,date,note\nb,mill,dev,2021-05-06,x\na,,,,\n")
    one, two = build(tmp_path, index="index.csv").scenes(tmp_path)
    assert (one.name, one.place, one.split, one.date) == ("a", "a", None, None)
    assert (two.name, two.place, two.split) == ("b", "mill", "dev")
    assert two.date == datetime.date(2021, 5, 6)


@pytest.mark.parametrize(
    "column", ["images/007/x.png", "007/x.png"], ids=["from the folder", "from the sub-folder"]
)
def test_an_index_may_name_files_in_deeper_folders(tmp_path: Path, column: str) -> None:
    write_pair(tmp_path, "x", 40, 50, sub="007")
    mask = column.replace("images", "masks")
    write_index(tmp_path, f"id,image,mask\nscene,{column},{mask}\n")
    source = build(tmp_path, index="index.csv")
    (scene,) = source.scenes(tmp_path)
    assert (scene.name, scene.height, scene.width) == ("scene", 40, 50)
    assert (scene.read(whole(scene)).labels == LABELS[kinds(40, 50)]).all()
    assert set(source.given()) == {"images/007/x.png", "masks/007/x.png"}


def test_an_index_may_name_files_by_name_with_any_suffix(tmp_path: Path) -> None:
    write_pair(tmp_path, "x")
    write_pair(tmp_path, "y.v2")
    write_index(tmp_path, "id,image,mask\none,x.jpg,x\ny.v2,,\n")
    source = build(tmp_path, index="index.csv")
    assert [file.uri for scene in source.scenes(tmp_path) for file in scene.files] == [
        "images/x.png",
        "masks/x.png",
        "images/y.v2.png",
        "masks/y.v2.png",
    ]


def test_an_index_leads_nowhere_out_of_its_folder(tmp_path: Path) -> None:
    write_pair(tmp_path / "mine", "x")
    write_pair(tmp_path / "theirs", "secret")
    for path in ("../theirs/images/secret.png", str(tmp_path / "theirs/images/secret.png")):
        write_index(tmp_path / "mine", f"id,image,mask\nx,{path},x\n")
        with pytest.raises(PairError, match="x: mask without image"):
            build(tmp_path / "mine", index="index.csv").scenes(tmp_path)


def test_palette_masks_are_told_by_colour_whatever_their_indexes(tmp_path: Path) -> None:
    write_pair(tmp_path, "a")
    indexes = np.array([9, 3, 5, 200, 3], dtype=np.uint8)[kinds(33, 47)]
    image = Image.fromarray(indexes, mode="P")
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[[9, 3, 5]] = TABLE.colours
    image.putpalette(palette.tobytes())
    image.save(tmp_path / "masks" / "a.png")
    (scene,) = build(tmp_path, mask_style="palette").scenes(tmp_path)
    assert (scene.read(whole(scene)).labels == LABELS[kinds(33, 47)]).all()


def test_a_palette_masks_indexes_are_codes_where_codes_are_asked_for(tmp_path: Path) -> None:
    write_pair(tmp_path, "a")
    image = Image.fromarray(CODES[kinds(33, 47)], mode="P")
    image.putpalette(bytes(range(256)) * 3)
    image.save(tmp_path / "masks" / "a.png")
    (scene,) = build(tmp_path).scenes(tmp_path)
    assert (scene.read(whole(scene)).labels == LABELS[kinds(33, 47)]).all()


def test_coloured_masks_are_read_and_black_is_unknown(tmp_path: Path) -> None:
    write_pair(tmp_path, "a")
    colours = TABLE.colour_image(LABELS[kinds(33, 47)])
    Image.fromarray(colours).save(tmp_path / "masks" / "a.png")
    (scene,) = build(tmp_path, mask_style="colours").scenes(tmp_path)
    assert (scene.read(whole(scene)).labels == LABELS[kinds(33, 47)]).all()


def test_sixteen_bit_masks_keep_codes_above_255(tmp_path: Path) -> None:
    write_pair(tmp_path, "a")
    table = TABLE.model_copy(
        update={"classes": (*TABLE.classes, LandClass(name="ice", colour=(9, 9, 9), codes=(900,)))}
    )
    codes = np.where(kinds(33, 47) == 0, 900, 1).astype(np.uint16)
    Image.fromarray(codes).save(tmp_path / "masks" / "a.png")
    (scene,) = folder_source.build(folder_source.Settings(folder=tmp_path), table, 0).scenes(
        tmp_path
    )
    assert (scene.read(whole(scene)).labels == np.where(kinds(33, 47) == 0, 3, 0)).all()


def test_grey_images_become_red_green_and_blue_alike(tmp_path: Path) -> None:
    write_pair(tmp_path, "a")
    grey = coordinates(33, 47)[..., 2]
    Image.fromarray(grey).save(tmp_path / "images" / "a.png")
    (scene,) = build(tmp_path).scenes(tmp_path)
    assert (scene.read(whole(scene)).image == grey[..., None]).all()


def test_sources_name_file_checksum_licence_and_no_path_of_this_machine(tmp_path: Path) -> None:
    write_pair(tmp_path, "a")
    source = build(tmp_path, licence="MIT", attribution="who drew them")
    (scene,) = source.scenes(tmp_path)
    image, mask = scene.read(Window(0, 0, 4, 4)).files
    assert (image.uri, mask.uri) == ("images/a.png", "masks/a.png")
    assert mask.sha256 == sha256_of(tmp_path / "masks" / "a.png")
    assert (image.licence, image.attribution) == ("MIT", "who drew them")
    assert source.given() == source.inputs(tmp_path)
    assert source.given() == {file.uri: file.sha256 for file in (image, mask)}


# GeoTIFF


def write_placed_image(folder: Path, grid: Grid = UTM) -> np.ndarray:
    for kind in ("images", "masks"):
        (folder / kind).mkdir(exist_ok=True)
    pixels = np.moveaxis(coordinates(grid.height, grid.width).astype(np.int16) * 10, -1, 0)
    geotiff.write_geotiff(folder / "images" / "a.tif", pixels, grid)
    return pixels


def write_placed_mask(folder: Path, codes: np.ndarray, grid: Grid) -> None:
    geotiff.write_geotiff(folder / "masks" / "a.tif", codes[None], grid)


def test_geotiff_bands_are_taken_as_asked_and_keep_their_units(tmp_path: Path) -> None:
    pixels = write_placed_image(tmp_path)
    write_placed_mask(tmp_path, CODES[kinds(33, 47)], UTM)
    source = build(tmp_path, bands=(3, 2, 1), value_range=(0, 3000))
    (scene,) = source.scenes(tmp_path)
    image = scene.read(Window(2, 3, 20, 30)).image
    assert image.dtype == np.int16
    assert (image == np.moveaxis(pixels[::-1], 0, -1)[2:22, 3:33]).all()
    assert source.value_range == (0, 3000)
    assert (scene.grid, scene.place) == (UTM, None)


def test_a_mask_on_a_shifted_grid_is_brought_on_to_the_images(tmp_path: Path) -> None:
    write_placed_image(tmp_path)
    mask_grid = UTM.part(Window(-4, -6, 50, 60))
    codes = CODES[kinds(50, 60)]
    write_placed_mask(tmp_path, codes, mask_grid)
    (scene,) = build(tmp_path).scenes(tmp_path)
    expected = LABELS[kinds(50, 60)][4:37, 6:53]
    assert (scene.read(whole(scene)).labels == expected).all()


@pytest.mark.parametrize("ignore_codes", [(0,), (), (-1, 300)])
def test_pixels_beyond_the_mask_are_unknown_and_never_a_class(
    tmp_path: Path, ignore_codes: tuple[int, ...]
) -> None:
    table = ClassTable(
        classes=(
            LandClass(name="land", colour=(9, 9, 9), codes=(0,) if ignore_codes != (0,) else (2,)),
            LandClass(name="water", colour=(0, 0, 9), codes=(1,)),
        ),
        ignore_codes=ignore_codes,
    )
    write_placed_image(tmp_path)
    write_placed_mask(tmp_path, np.ones((20, 47), np.uint8), UTM.part(Window(0, 0, 20, 47)))
    settings = folder_source.Settings(folder=tmp_path)
    (scene,) = folder_source.build(settings, table, 0).scenes(tmp_path)
    labels = scene.read(whole(scene)).labels
    assert (labels[:20] == 1).all()
    assert (labels[20:] == 255).all()


def test_a_mask_without_a_place_lies_on_its_image_which_keeps_its_own(tmp_path: Path) -> None:
    write_placed_image(tmp_path)
    Image.fromarray(CODES[kinds(33, 47)]).save(tmp_path / "masks" / "a.png")
    (scene,) = build(tmp_path).scenes(tmp_path)
    assert scene.grid == UTM
    window = Window(5, 6, 20, 30)
    assert (scene.read(window).labels == LABELS[kinds(33, 47)][5:25, 6:36]).all()


def test_whole_numbers_stored_as_floats_are_codes_and_fractions_are_not(tmp_path: Path) -> None:
    write_placed_image(tmp_path)
    codes = CODES[kinds(33, 47)].astype(np.float32)
    write_placed_mask(tmp_path, codes, UTM)
    (scene,) = build(tmp_path).scenes(tmp_path)
    assert (scene.read(whole(scene)).labels == LABELS[kinds(33, 47)]).all()
    for value in (1.5, np.nan):
        codes[3, 4] = value
        write_placed_mask(tmp_path, codes, UTM)
        with pytest.raises(PairError, match=r"a\.tif: the mask holds numbers that are not whole"):
            scene.read(whole(scene))


def test_bands_that_a_geotiff_lacks_are_told(tmp_path: Path) -> None:
    write_placed_image(tmp_path)
    write_placed_mask(tmp_path, CODES[kinds(33, 47)], UTM)
    with pytest.raises(InputError, match=r"a\.tif: .*band"):
        build(tmp_path, bands=(4, 3, 2)).acquire(tmp_path)
    with pytest.raises(InputError, match=r"a\.tif: .*band"):
        build(tmp_path, mask_style="colours").acquire(tmp_path)


def test_real_pairs_of_another_map_in_two_utm_zones_are_read_as_they_are(
    shared_data: Path, tmp_path: Path
) -> None:
    pairs = shared_data / "tiles" / "landuse_pairs"
    if not pairs.is_dir():
        pytest.skip(f"needs {pairs}")
    names = ("water", "tree", "flooded", "crop", "built-up", "bare", "snow", "cloud", "range")
    table = ClassTable(
        classes=tuple(
            LandClass(name=name, colour=(code, 0, 0), codes=(code,))
            for code, name in enumerate(names, start=1)
        ),
        ignore_codes=(0,),
    )
    settings = folder_source.Settings(
        folder=pairs, images="l2a", masks="lulc", bands=(4, 3, 2), value_range=(0, 3000)
    )
    source = folder_source.build(settings, table, 0)
    scenes = source.scenes(tmp_path)
    assert [s.grid.crs for s in scenes if s.grid] == ["EPSG:32736", "EPSG:32616"]
    for scene in scenes:
        assert (scene.height, scene.width) == (224, 224)
        window = Window(13, 29, 100, 150)
        pixels = scene.read(window)
        stem = scene.name
        codes = geotiff.read_window(pairs / "lulc" / f"{stem}.tif", window, (1,))[0]
        image = geotiff.read_window(pairs / "l2a" / f"{stem}.tif", window, (4, 3, 2))
        assert (pixels.image == np.moveaxis(image, 0, -1)).all()
        expected = np.where(codes == 0, 255, codes.astype(int) - 1)
        assert (pixels.labels == expected).all()
        assert pixels.image.dtype == np.int16


# What is refused


def test_an_unknown_code_is_told_with_file_and_code(tmp_path: Path) -> None:
    write_pair(tmp_path, "a")
    write_pair(tmp_path, "bad")
    codes = CODES[kinds(33, 47)]
    codes[5, 6] = 99
    Image.fromarray(codes).save(tmp_path / "masks" / "bad.png")
    with pytest.raises(UnknownCode, match=r"bad\.png: code 99 \(1 pixels\) in no class.*\[0, 1, 4"):
        build(tmp_path).acquire(tmp_path)


def test_an_unknown_colour_is_told_with_file_and_colour(tmp_path: Path) -> None:
    write_pair(tmp_path, "a")
    colours = TABLE.colour_image(LABELS[kinds(33, 47)])
    colours[0, 0] = (1, 2, 3)
    Image.fromarray(colours).save(tmp_path / "masks" / "a.png")
    with pytest.raises(UnknownCode, match=r"a\.png: colour \(1, 2, 3\) in no class"):
        build(tmp_path, mask_style="colours").acquire(tmp_path)


@pytest.mark.parametrize(
    ("lost", "told"), [("masks", "image without mask"), ("images", "mask without image")]
)
def test_an_image_or_mask_alone_is_told_by_name(tmp_path: Path, lost: str, told: str) -> None:
    for name in ("a", "b"):
        write_pair(tmp_path, name)
    (tmp_path / lost / "b.png").unlink()
    with pytest.raises(PairError, match=rf"b\.png: {told} \(1 such files"):
        build(tmp_path).scenes(tmp_path)
    write_index(tmp_path, "id\na\n")
    assert len(build(tmp_path, index="index.csv").scenes(tmp_path)) == 1
    write_index(tmp_path, "id\na\nb\n")
    with pytest.raises(PairError, match=rf"b: {told}; looked for b\.\* in .*{lost}"):
        build(tmp_path, index="index.csv").scenes(tmp_path)


def test_sizes_that_differ_are_told_with_both(tmp_path: Path) -> None:
    write_pair(tmp_path, "a")
    Image.fromarray(np.ones((33, 46), np.uint8)).save(tmp_path / "masks" / "a.png")
    with pytest.raises(PairError, match=r"a\.png is 47×33 pixels, its mask a\.png 46×33"):
        build(tmp_path).scenes(tmp_path)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("id\na\na\n", r"index\.csv lists id 'a' more than once"),
        ("name,place\na,b\n", r"index\.csv has columns name, place; a column 'id' is needed"),
        ("", "has columns none"),
        ("id,date\na,May 2021\n", r"id a: date 'May 2021' is not YYYY-MM-DD"),
        ("id,label_year\na,21\n", r"id a: label_year '21' is not a year such as 2021"),
        ("id,image,mask\n../../a,a,a\n", r"lists id '\.\./\.\./a'; an id is a plain name"),
        ("id,image,mask\n,a,a\n", r"lists id ''; an id is a plain name"),
    ],
)
def test_a_wrong_index_is_told(tmp_path: Path, index: str, message: str) -> None:
    write_pair(tmp_path, "a")
    write_index(tmp_path, index)
    with pytest.raises(InputError, match=message):
        build(tmp_path, index="index.csv").scenes(tmp_path)


def test_an_index_in_another_encoding_is_told(tmp_path: Path) -> None:
    write_pair(tmp_path, "a")
    (tmp_path / "index.csv").write_bytes("id,place\na,Köln\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"index\.csv is not a CSV file in UTF-8"):
        build(tmp_path, index="index.csv").scenes(tmp_path)


def test_two_files_of_one_name_are_told(tmp_path: Path) -> None:
    write_pair(tmp_path, "a")
    Image.fromarray(coordinates(33, 47)).save(tmp_path / "images" / "a.jpg")
    with pytest.raises(PairError, match=r"a\.png and a\.jpg in .* share one name"):
        build(tmp_path).scenes(tmp_path)


def test_missing_or_empty_folders_are_told(tmp_path: Path) -> None:
    write_pair(tmp_path, "a")
    with pytest.raises(InputError, match=r"the folder of images .*photos does not exist"):
        build(tmp_path, images="photos").scenes(tmp_path)
    with pytest.raises(InputError, match=r"index .*list\.csv does not exist"):
        build(tmp_path, index="list.csv").scenes(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty holds no masks \(\.png, "):
        build(tmp_path, masks="empty").scenes(tmp_path)


def test_files_that_are_no_images_are_left_out_by_name(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_pair(tmp_path, name)
    (tmp_path / "images" / "a.png").write_text("hello")
    (tmp_path / "masks" / "c.png").write_bytes(b"")
    source = build(tmp_path)
    assert [scene.name for scene in source.scenes(tmp_path)] == ["b"]
    assert sorted(source.given()) == ["images/b.png", "masks/b.png"]
    told = source.left_out()
    assert sorted(told) == ["a", "c"]
    assert "a.png cannot be read as an image" in told["a"]
    with pytest.raises(UnreadableFile, match=r"a\.png cannot be read as an image"):
        build(tmp_path, unreadable="error").scenes(tmp_path)
    (tmp_path / "images" / "b.png").write_text("hello")
    with pytest.raises(NothingLeft, match=r"none of the 3 images in .* the first, a: a\.png"):
        build(tmp_path).scenes(tmp_path)


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_a_truncated_file_ends_the_run_or_the_patches_that_need_it(
    tmp_path: Path, kind: str
) -> None:
    write_pair(tmp_path, "a", 200, 300)
    path = tmp_path / kind / "a.png"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UnreadableFile, match=r"a\.png cannot be read to its end: "):
        build(tmp_path, unreadable="error").acquire(tmp_path)
    source = build(tmp_path)
    source.acquire(tmp_path)
    (scene,) = source.scenes(tmp_path)
    with pytest.raises(UnreadableFile, match=r"a\.png cannot be read to its end: "):
        scene.read(Window(0, 0, 64, 64))


def test_files_alone_are_left_out_where_asked(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_pair(tmp_path, name)
    (tmp_path / "masks" / "a.png").unlink()
    (tmp_path / "images" / "c.png").unlink()
    source = build(tmp_path, unpaired="skip")
    assert [scene.name for scene in source.scenes(tmp_path)] == ["b"]
    told = source.left_out()
    assert sorted(told) == ["a", "masks/c.png"]
    assert "a: image without mask; looked for a.* in" in told["a"]
    assert "c.png: mask without image" in told["masks/c.png"]


def test_an_image_deeper_than_8_bits_is_not_cut_off_silently(tmp_path: Path) -> None:
    write_pair(tmp_path, "a")
    deep = (coordinates(33, 47)[..., 0].astype(np.uint16) + 1) * 100
    Image.fromarray(deep).save(tmp_path / "images" / "a.png")
    with pytest.raises(PairError, match=r"a\.png has more than 8 bits.*Save it as GeoTIFF"):
        build(tmp_path).acquire(tmp_path)


def test_masks_of_the_wrong_style_are_told_with_the_right_one(tmp_path: Path) -> None:
    write_pair(tmp_path, "a")
    with pytest.raises(
        PairError, match=r'mask_style is palette, but the image has mode L.*"codes"'
    ):
        build(tmp_path, mask_style="palette").acquire(tmp_path)
    Image.fromarray(TABLE.colour_image(LABELS[kinds(33, 47)])).save(tmp_path / "masks" / "a.png")
    with pytest.raises(PairError, match=r'mask has 3 bands\. Set mask_style = "colours"'):
        build(tmp_path).acquire(tmp_path)


def test_unicode_and_hostile_names_are_names_like_others(tmp_path: Path) -> None:
    names = ["Ünïcode 雪", "<b>&amp;", "a'; DROP TABLE", "$(touch x)", "..hidden"]
    for name in names:
        write_pair(tmp_path, name)
    scenes = build(tmp_path).scenes(tmp_path)
    assert [scene.name for scene in scenes] == sorted(names)
    assert all(scene.read(Window(0, 0, 5, 5)).labels.shape == (5, 5) for scene in scenes)


def test_the_settings_error_names_the_dates_id(tmp_path: Path) -> None:
    write_pair(tmp_path, "a")
    write_index(tmp_path, "id,date\na,2021-13-01\n")
    with pytest.raises(SettingsError, match="index, id a"):
        build(tmp_path, index="index.csv").scenes(tmp_path)


def test_a_pair_of_unequal_size_ends_the_run_unless_it_may_be_left_out(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_pair(tmp_path, name)
    mask = tmp_path / "masks" / "b.png"
    with Image.open(mask) as image:
        image.crop((0, 0, image.width - 1, image.height)).save(mask)
    with pytest.raises(UnequalSizes, match=r"b\.png is 47×33 pixels, its mask b\.png 46×33"):
        build(tmp_path).scenes(tmp_path)
    lenient = build(tmp_path, unequal_pairs="skip")
    assert [scene.name for scene in lenient.scenes(tmp_path)] == ["a", "c"]
    assert list(lenient.left_out()) == ["b"]
    assert "Make their sizes equal" in lenient.left_out()["b"]
