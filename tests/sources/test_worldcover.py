"""The open buckets' layout on a local server: fetched windows, faults, resuming, plans."""

import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from tests.sources import killed_build
from tests.sources.test_area import geojson, in_crs, write
from tests.sources.tile_server import Mood, TileServer, serving
from tests.sources.worldcover_mirror import STEP, Mirror, Place

from terraloom.classes import preset
from terraloom.errors import InputError, NothingLeft, RunError, SettingsError
from terraloom.estimates import estimate_build
from terraloom.files import sha256_of
from terraloom.pipeline import Pipeline
from terraloom.raster.grid import Window
from terraloom.raster.input_quality import trust_of
from terraloom.retrying import RetrySettings
from terraloom.settings import load_settings
from terraloom.sources import worldcover
from terraloom.sources._face import ForgettingSource, PlanningSource
from terraloom.sources.worldcover import WorldCoverSource

TABLE = preset("worldcover7")
FAST = RetrySettings(attempts=3, first_wait_s=0.0, longest_wait_s=0.0, timeout_s=1.0)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("buckets")


@pytest.fixture(scope="module")
def running(root: Path) -> Iterator[TileServer]:
    with serving(root) as server:
        yield server


@pytest.fixture
def server(running: TileServer) -> TileServer:
    running.behave()
    return running


@pytest.fixture
def mirror(root: Path, tmp_path: Path) -> Mirror:
    return Mirror(root / tmp_path.name)


@pytest.fixture
def base(server: TileServer, mirror: Mirror) -> str:
    return f"{server.address()}/{mirror.folder.name}"


def source(base: str, **options: Any) -> WorldCoverSource:
    settings = {"maps_url": base, "composites_url": base, "retry": FAST, "workers": 2} | options
    made = worldcover.build(worldcover.Settings(**settings), TABLE, 0)
    assert isinstance(made, WorldCoverSource)
    return made


def digests(folder: Path) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in (folder / "tiles").iterdir()}


def ledger(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]


def nothing_half_written(folder: Path) -> bool:
    return all(path.suffix == ".tif" for path in (folder / "tiles").iterdir())


# What is fetched


def test_only_the_area_of_a_box_is_fetched_pixel_by_pixel(
    server: TileServer, mirror: Mirror, base: str, tmp_path: Path
) -> None:
    place = mirror.place(39, 33, row=600, column=1200)
    made = source(base, box=place.box(100, 130, 90, 110))
    made.acquire(tmp_path)
    (scene,) = made.scenes(tmp_path)
    assert (scene.height, scene.width) == (90, 110)
    pixels = scene.read(Window(0, 0, 90, 110))
    assert (np.moveaxis(pixels.image, -1, 0) == place.image[:, 100:190, 130:240]).all()
    codes = place.codes[100:190, 130:240]
    assert (pixels.labels == TABLE.labels_of_codes(codes, source="map")).all()
    # Two of 16 blocks of the composite, and the headers.
    stored = place.files["S2RGBNIR"].stat().st_size
    assert server.sent("S2RGBNIR.tif") < stored * 2 / 16 + 60_000 < stored / 4


def test_trust_comes_from_the_quality_under_the_map(
    mirror: Mirror, base: str, tmp_path: Path
) -> None:
    place = mirror.place(39, 33, row=600, column=1200)
    made = source(base, box=place.box(100, 130, 90, 110))
    made.acquire(tmp_path)
    (scene,) = made.scenes(tmp_path)
    pixels = scene.read(Window(0, 0, 90, 110))
    fine = np.kron(place.quality, np.ones((1, 6, 6), dtype=np.int16))[:, 100:190, 130:240]
    assert pixels.trust is not None
    assert (pixels.trust == trust_of(fine)).all()
    assert [file.name.rsplit("_", 1)[1] for file in pixels.files] == [
        "S2RGBNIR.tif", "Map.tif", "InputQuality.tif",
    ]  # fmt: skip

    plain = source(base, box=place.box(100, 130, 90, 110), input_quality=False)
    plain.acquire(tmp_path / "plain")
    (scene,) = plain.scenes(tmp_path / "plain")
    assert scene.read(Window(0, 0, 90, 110)).trust is None
    assert not [name for name in digests(tmp_path / "plain") if "InputQuality" in name]


@pytest.mark.parametrize(("year", "version"), [(2020, "v100"), (2021, "v200")])
def test_both_years_come_from_their_own_version(
    year: int, version: str, server: TileServer, mirror: Mirror, base: str, tmp_path: Path
) -> None:
    for other in (2020, 2021):
        mirror.place(-1, -51, year=other, side=128)
    place = mirror.place(-1, -51, year=year, side=128)
    made = source(base, tiles=("S01W051",), year=year)
    made.acquire(tmp_path)
    (scene,) = made.scenes(tmp_path)
    assert (scene.name, scene.label_year) == (f"{year}-S01W051", year)
    image = scene.read(Window(0, 0, 128, 128)).image
    assert (np.moveaxis(image, -1, 0) == place.image).all()
    folder = f"/{mirror.folder.name}"
    assert {request.path for request in server.requests()} == {
        f"{folder}/rgbnir/{year}/S01/ESA_WorldCover_10m_{year}_{version}_S01W051_S2RGBNIR.tif",
        f"{folder}/{version}/{year}/map/ESA_WorldCover_10m_{year}_{version}_S03W051_Map.tif",
        f"{folder}/{version}/{year}/map/ESA_WorldCover_10m_{year}_{version}_S03W051_InputQuality.tif",
    }


@pytest.mark.parametrize("kind", ["geojson", "gpkg"])
def test_polygons_in_another_crs_take_their_tiles_with_a_margin(
    kind: str, mirror: Mirror, base: str, tmp_path: Path
) -> None:
    place = mirror.place(39, 33, row=600, column=1200)
    west, south, east, north = place.box(200, 210, 64, 80)
    shape = in_crs(shapely.box(west, south, east, north), 3857 if kind == "gpkg" else 32636)
    path = write(tmp_path / f"area.{kind}", [shape], 3857 if kind == "gpkg" else 32636)
    made = source(base, polygons=path, margin=32)
    made.acquire(tmp_path / "got")
    (scene,) = made.scenes(tmp_path / "got")
    # Reprojected edges may lie a hair outside, and take a row or column more.
    assert 64 + 64 <= scene.height <= 64 + 66
    assert 80 + 64 <= scene.width <= 80 + 66
    assert scene.holds(Window(0, 0, 128, 140))
    assert not scene.holds(Window(0, 0, 32, 32))  # its centre lies in the margin
    assert made.given() == {path.name: sha256_of(path)}


def test_an_area_across_the_antimeridian_is_one_scene(
    mirror: Mirror, base: str, tmp_path: Path
) -> None:
    west = mirror.place(-18, 179, column=12_000 - 126, side=126)
    east = mirror.place(-18, -180, side=126)
    box = (180 - 40 * STEP, -17 - 60 * STEP, -180 + 50 * STEP, -17 - 10 * STEP)
    made = source(base, box=box)
    made.acquire(tmp_path)
    (scene,) = made.scenes(tmp_path)
    assert made.extents() == [(scene.height, scene.width)] == [(50, 90)]
    image = np.moveaxis(scene.read(Window(0, 0, 50, 90)).image, -1, 0)
    assert (image[:, :, :40] == west.image[:, 10:60, 86:]).all()
    assert (image[:, :, 40:] == east.image[:, 10:60, :50]).all()


def test_a_folder_in_the_same_layout_gives_the_same_pixels(
    mirror: Mirror, base: str, tmp_path: Path
) -> None:
    place = mirror.place(39, 33)
    area = place.box(50, 60, 200, 220)
    for name, where in (
        ("http", base),
        ("folder", str(mirror.folder)),
        ("uri", mirror.folder.as_uri()),
    ):
        source(where, box=area).acquire(tmp_path / name)

    def scene_of(name: str, where: str) -> Any:
        (scene,) = source(where, box=area).scenes(tmp_path / name)
        return scene.read(Window(0, 0, 200, 220))

    assert digests(tmp_path / "folder") == digests(tmp_path / "uri")
    # Tags tell where a file came from, so bytes of server and folder differ; pixels do not.
    one, other = scene_of("http", base), scene_of("folder", str(mirror.folder))
    assert (one.image == other.image).all()
    assert (one.labels == other.labels).all()
    assert (one.trust == other.trust).all()


def test_a_second_run_asks_for_nothing_and_changes_no_byte(
    server: TileServer, mirror: Mirror, base: str, tmp_path: Path
) -> None:
    place = mirror.place(39, 33)
    area = place.box(50, 60, 200, 220)
    source(base, box=area).acquire(tmp_path / "one")
    before = digests(tmp_path / "one")
    server.behave()
    source(base, box=area).acquire(tmp_path / "one")
    assert server.requests() == []
    assert digests(tmp_path / "one") == before
    source(base, box=area).acquire(tmp_path / "two")
    assert digests(tmp_path / "two") == before


def test_another_area_in_the_same_folder_is_fetched_anew_and_leaves_nothing_behind(
    mirror: Mirror, base: str, tmp_path: Path
) -> None:
    place, other = mirror.place(39, 33), mirror.place(-1, -51)
    for options in (
        {"tiles": ("S01W051",)},
        {"box": place.box(0, 0, 80, 90)},
        {"box": place.box(200, 210, 80, 90)},  # the same names and shape, another window
    ):
        made = source(base, **options)
        made.acquire(tmp_path)
    assert set(digests(tmp_path)) == {place.name(p) for p in ("S2RGBNIR", "Map", "InputQuality")}
    assert other.name() not in made.left_out()
    (scene,) = made.scenes(tmp_path)
    image = np.moveaxis(scene.read(Window(0, 0, 80, 90)).image, -1, 0)
    assert (image == place.image[:, 200:280, 210:300]).all()


def test_files_that_are_gone_or_cut_short_are_fetched_again(
    mirror: Mirror, base: str, tmp_path: Path
) -> None:
    place = mirror.place(39, 33)
    made = source(base, box=place.box(0, 0, 100, 100))
    made.acquire(tmp_path)
    before = digests(tmp_path)
    (tmp_path / "tiles" / place.name()).unlink()
    half = tmp_path / "tiles" / place.name("Map")
    half.write_bytes(half.read_bytes()[:100])
    (tmp_path / "tiles" / f".{place.name()}.123.part").write_bytes(b"half")
    (tmp_path / "tiles" / "ESA_WorldCover_10m_2021_v200_N39E035_S2RGBNIR.tif").write_bytes(b"old")
    source(base, box=place.box(0, 0, 100, 100)).acquire(tmp_path)
    assert digests(tmp_path) == before


# Faults


@pytest.fixture
def two(mirror: Mirror) -> tuple[Place, Place]:
    """Composites under different maps."""
    return mirror.place(39, 33, side=252), mirror.place(-1, -51, side=252)


TILES = ("N39E033", "S01W051")


@pytest.mark.parametrize(
    "mood",
    [
        Mood("status", 2, 500),
        Mood("status", 2, 503, {"Retry-After": "0"}),
        Mood("status", 1, 429, {"Retry-After": "0"}),
        Mood("status", 2, 503, body_only=True),
        Mood("stall", 1, stall_s=20),
        Mood("cut", 2),
        Mood("cut", 1, body_only=True),
        Mood("reset", 2),
    ],
    ids=lambda mood: f"{mood.kind}-{mood.status}-{'body' if mood.body_only else 'any'}",
)
def test_trouble_that_passes_is_tried_again_and_the_bytes_are_the_same(
    mood: Mood, server: TileServer, two: tuple[Place, Place], base: str, tmp_path: Path
) -> None:
    source(base, tiles=TILES).acquire(tmp_path / "calm")
    server.misbehave(two[0].name(), mood)
    made = source(base, tiles=TILES)
    made.acquire(tmp_path / "rough")
    assert digests(tmp_path / "rough") == digests(tmp_path / "calm")
    assert nothing_half_written(tmp_path / "rough")
    assert len(made.scenes(tmp_path / "rough")) == 2


def test_a_wait_that_the_server_asks_for_is_kept(
    server: TileServer, two: tuple[Place, Place], base: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    server.misbehave(two[0].name(), Mood("status", 1, 429, {"Retry-After": "17"}))
    made = source(base, tiles=TILES[:1], retry=FAST.model_copy(update={"longest_wait_s": 20.0}))
    noting, waits = made._ledger(tmp_path), []
    monkeypatch.setattr(noting, "_sleep", waits.append)
    monkeypatch.setattr(made, "_ledger", lambda _: noting)
    made.acquire(tmp_path)
    assert waits == [17]


@pytest.mark.parametrize(
    ("mood", "reason"),
    [
        (Mood("status", status=500), "HTTP 500 Internal Server Error"),
        (Mood("status", status=404), "HTTP 404 Not Found"),
        (Mood("status", status=403), "HTTP 403 Forbidden"),
        (Mood("status", status=503, headers={"Retry-After": "900"}), "the server asks to wait 900"),
        (Mood("cut"), "cut off"),
        (Mood("cut", body_only=True), "a read failed"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_one_composite_that_cannot_be_had_is_named_and_the_rest_goes_on(
    mood: Mood, reason: str, server: TileServer, two: tuple[Place, Place], base: str,
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    server.misbehave(two[0].name(), mood)
    made = source(base, tiles=TILES)
    made.acquire(tmp_path)
    told = capsys.readouterr().err
    assert f"left out {two[0].name()}: " in told
    assert "1 left out" in told
    assert "--retry-failed" in told
    assert [scene.name for scene in made.scenes(tmp_path)] == ["2021-S01W051"]
    assert reason in made.left_out()[two[0].name()]
    assert made.left_out()[two[0].name("Map")] == "no composite of its year lies on it"
    assert nothing_half_written(tmp_path)
    assert two[0].name() not in digests(tmp_path)


@pytest.mark.parametrize("damage", ["no tiff", "flipped", "truncated"])
def test_a_corrupt_tile_is_named_and_left_out(
    damage: str, server: TileServer, two: tuple[Place, Place], base: str, tmp_path: Path
) -> None:
    path = two[0].files["S2RGBNIR"]
    data = bytearray(path.read_bytes())
    if damage == "no tiff":
        data = bytearray(b"<html>maintenance</html>" * 99)
    elif damage == "flipped":
        for place in range(len(data) // 4, len(data), 501):
            data[place] ^= 0x10
    else:
        del data[len(data) // 2 :]
    path.write_bytes(data)
    made = source(base, tiles=TILES)
    made.acquire(tmp_path)
    assert [scene.name for scene in made.scenes(tmp_path)] == ["2021-S01W051"]
    reason = {
        "no tiff": "it is no TIFF file",
        "flipped": "it cannot be decoded",
        "truncated": "it ends early",
    }[damage]
    assert reason in made.left_out()[two[0].name()]
    assert nothing_half_written(tmp_path)
    # It is damaged for good: one try, and none in the next run.
    tries = [e for e in ledger(tmp_path) if e["item"] == two[0].name()]
    assert [(e["state"], e["attempt"]) for e in tries] == [("failed", 1)]
    server.behave()
    source(base, tiles=TILES).acquire(tmp_path)
    assert server.requests() == []


def test_what_failed_for_good_is_tried_again_once_it_is_forgotten(
    server: TileServer, two: tuple[Place, Place], base: str, tmp_path: Path
) -> None:
    server.misbehave(two[0].name(), Mood("status", 1, 404))
    made = source(base, tiles=TILES)
    assert isinstance(made, ForgettingSource)
    made.acquire(tmp_path)
    assert made.forget_failed(tmp_path) == 1
    made.acquire(tmp_path)
    assert len(made.scenes(tmp_path)) == 2
    assert made.left_out() == {}
    assert made.forget_failed(tmp_path) == 0


def test_trouble_of_an_earlier_run_is_tried_again_by_the_next(
    server: TileServer, two: tuple[Place, Place], base: str, tmp_path: Path
) -> None:
    server.misbehave(two[0].name(), Mood("status", status=503))
    made = source(base, tiles=TILES)
    made.acquire(tmp_path)
    assert len(made.scenes(tmp_path)) == 1
    server.behave()
    made.acquire(tmp_path)
    assert len(made.scenes(tmp_path)) == 2
    assert {request.path.rsplit("/", 1)[1] for request in server.requests()} == {two[0].name()}


def test_a_composite_without_a_map_is_not_asked_for(
    server: TileServer, two: tuple[Place, Place], base: str, tmp_path: Path
) -> None:
    two[0].files["Map"].unlink()
    made = source(base, tiles=TILES)
    made.acquire(tmp_path)
    assert [scene.name for scene in made.scenes(tmp_path)] == ["2021-S01W051"]
    assert made.left_out()[two[0].name()] == (
        f"its map {two[0].name('Map')} is not there: HTTP 404 Not Found"
    )
    assert server.requests(two[0].name()) == []


def test_a_map_whose_quality_is_missing_is_used_without_trust(
    two: tuple[Place, Place], base: str, tmp_path: Path
) -> None:
    two[0].files["InputQuality"].unlink()
    made = source(base, tiles=TILES[:1])
    made.acquire(tmp_path)
    (scene,) = made.scenes(tmp_path)
    assert scene.read(Window(0, 0, 32, 32)).trust is None
    assert "HTTP 404" in made.left_out()[two[0].name("InputQuality")]


def test_a_mirror_that_holds_a_part_says_so(
    two: tuple[Place, Place], base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source(base, tiles=TILES[:1]).acquire(tmp_path)
    assert "3 files of the mirror hold only a part" in capsys.readouterr().err


def test_nothing_at_all_is_the_areas_fault_or_the_servers(
    server: TileServer, two: tuple[Place, Place], base: str, tmp_path: Path
) -> None:
    sea = source(base, box=(-150.2, 0.1, -150.1, 0.2))
    with pytest.raises(NothingLeft, match=r"none of the 3 tiles.*HTTP 404.*Check the area") as told:
        sea.acquire(tmp_path)
    assert told.value.exit_code == 2
    dead = source("http://127.0.0.1:9", tiles=TILES)
    with pytest.raises(RunError, match="refused") as failed:
        dead.acquire(tmp_path / "dead")
    assert failed.value.exit_code == 1
    # One that may come back is reason enough to run the same command again.
    server.misbehave(two[0].name("Map"), Mood("status", status=503))
    with pytest.raises(RunError, match="HTTP 503"):
        source(base, tiles=(*TILES[:1], "N00W151")).acquire(tmp_path / "busy")


def test_polygons_outside_all_tiles_are_named(base: str, tmp_path: Path) -> None:
    path = write(tmp_path / "sea.geojson", [shapely.box(-150.2, 0.1, -150.1, 0.2)])
    with pytest.raises(NothingLeft, match=r"none of the 3 tiles.*N00W151"):
        source(base, polygons=path).acquire(tmp_path / "got")
    empty = geojson(tmp_path / "empty.geojson")
    with pytest.raises(InputError, match="the area would be empty"):
        source(base, polygons=empty).acquire(tmp_path / "got")


def test_an_area_below_a_pixel_is_told(base: str, tmp_path: Path) -> None:
    speck = source(base, box=(33, 39, 33 + 1e-12, 39 + 1e-12))
    with pytest.raises(SettingsError, match="smaller than a pixel"):
        speck.acquire(tmp_path)


def test_a_full_disk_says_what_to_do_and_the_same_call_goes_on(
    server: TileServer, two: tuple[Place, Place], base: str, tmp_path: Path
) -> None:
    source(base, tiles=TILES).acquire(tmp_path / "calm")
    made = source(base, tiles=TILES, workers=1)
    # Maps and qualities fit, composites do not.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
    try:
        with pytest.raises(RunError, match="Free some space and run the same command again"):
            made.acquire(tmp_path / "full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert nothing_half_written(tmp_path / "full")
    server.behave()
    made.acquire(tmp_path / "full")
    assert server.requests(two[0].name("Map")) == []
    assert digests(tmp_path / "full") == digests(tmp_path / "calm")


def test_a_secret_in_an_address_is_shown_nowhere(
    server: TileServer, two: tuple[Place, Place], base: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    server.ask_for("token=S3CRET")
    try:
        made = source(f"{base}?token=S3CRET", tiles=TILES)
        server.misbehave(two[0].name(), Mood("status", status=500, body_only=True))
        server.misbehave(two[0].name("InputQuality"), Mood("cut", body_only=True))
        made.acquire(tmp_path)
        assert len(made.scenes(tmp_path)) == 1
        with pytest.raises(NothingLeft) as told:
            source(f"{base}?token=WR0NG", tiles=TILES).acquire(tmp_path / "wrong")
    finally:
        server.ask_for("")
    shown = "".join(capsys.readouterr()) + str(told.value) + str(made.left_out())
    for path in tmp_path.rglob("*"):
        if path.is_file():
            shown += path.read_bytes().decode("latin-1")
    assert "HTTP 403" in shown
    assert "S3CRET" not in shown
    assert "WR0NG" not in shown


# Building


def pipeline_of(folder: Path) -> Pipeline:
    return Pipeline(load_settings(folder), folder)


def test_a_build_killed_while_it_fetches_goes_on_to_the_same_bytes(
    two: tuple[Place, Place], base: str, tmp_path: Path
) -> None:
    whole = killed_build.write_project(tmp_path / "whole", base, TILES)
    pipeline_of(whole).run(only="build")
    folder = killed_build.write_project(tmp_path / "killed", base, TILES)
    assert killed_build.kill_when(
        folder, lambda: any(folder.glob(f"inputs/*/tiles/.{two[0].name()}.*.part"))
    )
    assert not (folder / "build" / "stage.json").exists()
    killed_build.finish(folder)
    assert killed_build.digests(folder) == killed_build.digests(whole)


def test_a_build_that_goes_on_with_one_tile_more_mixes_no_patches(
    server: TileServer, two: tuple[Place, Place], base: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    whole = killed_build.write_project(tmp_path / "whole", base, TILES)
    pipeline_of(whole).run(only="build")
    folder = killed_build.write_project(tmp_path / "killed", base, TILES)
    server.misbehave(two[0].name(), Mood("status", status=503))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr("terraloom.dataset.build._Writer.samples", killed)
        with pytest.raises(KeyboardInterrupt):
            pipeline_of(folder).run(only="build")
    assert list(folder.glob("build/cut/part-*.parquet"))  # patches of one tile
    server.behave()
    pipeline_of(folder).run(only="build")
    assert killed_build.digests(folder) == killed_build.digests(whole)


def test_a_finished_build_is_opened_to_try_again_what_failed(
    server: TileServer, two: tuple[Place, Place], base: str, tmp_path: Path
) -> None:
    whole = killed_build.write_project(tmp_path / "whole", base, TILES)
    pipeline_of(whole).run(only="build")
    folder = killed_build.write_project(tmp_path / "part", base, TILES)
    server.misbehave(two[0].name(), Mood("status", status=404))
    pipeline_of(folder).run(only="build")
    before = killed_build.digests(folder)
    server.behave()
    pipeline_of(folder).run(only="build")
    assert killed_build.digests(folder) == before  # done is done
    assert server.requests() == []

    server.misbehave(two[0].name(), Mood("status", status=404))
    assert pipeline_of(folder).retry_failed() == 1
    assert estimates_of(folder).download.done == 5
    pipeline_of(folder).run(only="build")
    assert killed_build.digests(folder) == before  # tried in vain

    server.behave()
    assert pipeline_of(folder).retry_failed() == 1
    pipeline_of(folder).run(only="build")
    assert killed_build.digests(folder) == killed_build.digests(whole)


def estimates_of(folder: Path) -> Any:
    return estimate_build(pipeline_of(folder))


# Settings


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"maps_url": "s3://esa-worldcover"}, "s3:// is not supported"),
        ({"maps_url": "mirror/maps"}, "must be an absolute path"),
        ({"composites_url": "https://me:secret@example.org"}, "user or password"),
        ({"year": 2019}, "2020 or 2021"),
        ({"margin": -1}, "greater than or equal to 0"),
    ],
)
def test_wrong_settings_are_told(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        worldcover.Settings(**{"tiles": TILES, **options})


def test_exactly_one_kind_of_area_is_given() -> None:
    with pytest.raises(SettingsError, match="tiles is given beside box"):
        worldcover.Settings(tiles=TILES, box=(33, 39, 34, 40)).area()
    with pytest.raises(SettingsError, match="no area is given"):
        worldcover.Settings().area()


# The plan


def test_the_plan_tells_what_will_be_transferred_and_writes_nothing(
    server: TileServer, mirror: Mirror, base: str, tmp_path: Path
) -> None:
    place = mirror.place(39, 33)
    made = source(base, box=place.box(100, 100, 300, 280))
    assert isinstance(made, PlanningSource)
    assert made.extents() == [(300, 280)]
    plan = made.plan(tmp_path / "got")
    assert not (tmp_path / "got").exists()
    assert (plan.items, plan.done, plan.estimated) == (3, 0, False)
    assert plan.seconds == pytest.approx(plan.download_bytes / worldcover.ASSUMED_BYTES_PER_S)
    server.behave()
    made.acquire(tmp_path / "got")
    assert plan.download_bytes < server.sent() < plan.download_bytes + 150_000
    stored = sum(path.stat().st_size for path in (tmp_path / "got" / "tiles").iterdir())
    assert plan.disk_bytes == pytest.approx(stored, rel=0.15)
    after = made.plan(tmp_path / "got")
    assert (after.done, after.download_bytes, after.disk_bytes) == (3, 0, stored)


def test_files_that_do_not_exist_count_as_nothing(
    two: tuple[Place, Place], base: str, tmp_path: Path
) -> None:
    known = source(base, tiles=TILES).plan(tmp_path)
    more = source(base, tiles=(*TILES, "N00W151")).plan(tmp_path)
    assert (known.items, more.items) == (6, 9)
    assert more.download_bytes == known.download_bytes
    assert not more.estimated


@pytest.mark.parametrize("mood", [Mood("status", status=503), Mood("stall", stall_s=20)])
def test_a_plan_without_an_answer_says_that_it_is_a_guess(
    mood: Mood, server: TileServer, two: tuple[Place, Place], base: str, tmp_path: Path
) -> None:
    server.misbehave(".tif", mood)
    plan = source(base, tiles=TILES).plan(tmp_path)
    assert plan.estimated
    # One composite of 144 million pixels has about 455 MB.
    assert 2 * 400e6 < plan.download_bytes < 2 * 600e6
    assert len(server.requests()) <= 1  # nobody waits six times for a server that is down
