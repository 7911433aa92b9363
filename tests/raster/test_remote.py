"""Windows of rasters on a server or in a mirror: what is transferred, written, and how it fails."""

import errno
import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from tests.sources.tile_server import Mood, TileServer, serving
from tests.sources.worldcover_mirror import STEP, write_cog

from terraloom.errors import RunError
from terraloom.files import sha256_of
from terraloom.raster.grid import Window
from terraloom.raster.remote import open_remote
from terraloom.raster.remote_file import (
    RemoteFile,
    RemoteMissing,
    RemoteTrouble,
    RemoteUnusable,
    http_failure,
    probe,
    without_address,
)

SIDE = 640
WINDOW = Window(130, 250, 150, 190)
TIMEOUT_S = 1.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bucket")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[TileServer]:
    with serving(folder) as running:
        yield running


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(100, 3000, (4, SIDE, SIDE)).astype(np.uint16)


@pytest.fixture
def tile(folder: Path, server: TileServer, pixels: np.ndarray) -> Path:
    server.behave()
    return write_cog(folder / "tile.tif", pixels, 33.0, 40.0)


@pytest.fixture
def remote(server: TileServer, tile: Path) -> RemoteFile:
    return RemoteFile(server.address(), "tile.tif")


def copy(file: RemoteFile, path: Path, window: Window = WINDOW, **options) -> None:
    with open_remote(file, TIMEOUT_S) as raster:
        raster.copy(window, path, tags={"a": "b"}, **options)


def part(pixels: np.ndarray, window: Window = WINDOW) -> np.ndarray:
    return pixels[
        :, window.row : window.row + window.height, window.column : window.column + window.width
    ]


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


# What is transferred and written


def test_only_the_blocks_under_a_window_are_transferred(
    server: TileServer, remote: RemoteFile, tile: Path, pixels: np.ndarray, tmp_path: Path
) -> None:
    copy(remote, tmp_path / "out.tif")
    assert (read(tmp_path / "out.tif") == part(pixels)).all()
    # Rows 130 … 280 and columns 250 … 440 touch 2 × 3 of 5 × 5 blocks; the header comes on top.
    with open_remote(remote, TIMEOUT_S) as raster:
        cost = raster.cost(WINDOW)
    assert cost.download_bytes == pytest.approx(tile.stat().st_size * 6 / 25, rel=0.02)
    assert cost.disk_bytes == pytest.approx(cost.download_bytes * 150 * 190 / (6 * 128**2), rel=0.1)
    assert cost.download_bytes <= server.sent() < cost.download_bytes + 150_000
    assert {r.path for r in server.requests()} == {"/tile.tif"}  # no listing, no side-car file


def test_telling_the_cost_transfers_no_pixels(server: TileServer, remote: RemoteFile) -> None:
    with open_remote(remote, TIMEOUT_S) as raster:
        raster.cost(Window(0, 0, SIDE, SIDE))
    assert server.sent() < 50_000


@pytest.mark.parametrize("block", [128, 256, 512])
@pytest.mark.parametrize(
    "window",
    [
        Window(0, 0, SIDE, SIDE),
        Window(639, 639, 1, 1),
        Window(5, 300, 600, 7),
        Window(250, 3, 9, 637),
    ],
)
def test_any_window_on_blocks_of_any_size_comes_out_as_stored(
    window: Window, block: int, pixels: np.ndarray, tmp_path: Path
) -> None:
    write_cog(tmp_path / "in.tif", pixels, 33.0, 40.0, block=block)
    copy(RemoteFile(str(tmp_path), "in.tif"), tmp_path / "out.tif", window)
    assert (read(tmp_path / "out.tif") == part(pixels, window)).all()


def test_a_window_keeps_place_names_colours_and_tags(tmp_path: Path) -> None:
    codes = np.full((1, 300, 300), 10, dtype=np.uint8)
    with rasterio.open(
        tmp_path / "in.tif", "w", driver="GTiff", count=1, height=300, width=300, dtype="uint8",
        crs="EPSG:4326", transform=Affine(STEP, 0, 33, 0, -STEP, 40), nodata=0,
        tiled=True, blockxsize=128, blockysize=128,
    ) as file:  # fmt: skip
        file.write(codes)
        file.update_tags(license="CC-BY 4.0")
        file.set_band_description(1, "land cover")
        file.write_colormap(1, {10: (0, 100, 0, 255)})
    copy(RemoteFile(tmp_path.as_uri(), "in.tif"), tmp_path / "out.tif", Window(20, 30, 40, 50))
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.transform.almost_equals(
            Affine(STEP, 0, 33 + 30 * STEP, 0, -STEP, 40 - 20 * STEP)
        )
        assert (file.nodata, file.descriptions) == (0, ("land cover",))
        assert file.colormap(1)[10] == (0, 100, 0, 255)
        assert file.tags()["license"] == "CC-BY 4.0"
        assert file.tags()["a"] == "b"


def test_equal_pixels_make_equal_bytes_from_server_and_mirror(
    remote: RemoteFile, folder: Path, tile: Path, tmp_path: Path
) -> None:
    copy(remote, tmp_path / "one.tif")
    copy(RemoteFile(str(folder), "tile.tif"), tmp_path / "two.tif")
    assert sha256_of(tmp_path / "one.tif") == sha256_of(tmp_path / "two.tif")


def test_blocks_that_are_not_stored_are_empty(tmp_path: Path) -> None:
    with rasterio.open(
        tmp_path / "in.tif", "w", driver="GTiff", count=1, height=512, width=512, dtype="uint8",
        crs="EPSG:4326", transform=Affine(STEP, 0, 33, 0, -STEP, 40), nodata=0, sparse_ok=True,
        tiled=True, blockxsize=128, blockysize=128,
    ) as file:  # fmt: skip
        file.write(np.full((1, 128, 128), 7, np.uint8), window=((0, 128), (0, 128)))
    file = RemoteFile(str(tmp_path), "in.tif")
    with open_remote(file, TIMEOUT_S) as raster:
        assert raster.cost(Window(200, 200, 100, 100)).download_bytes == 0
    copy(file, tmp_path / "out.tif", Window(100, 100, 100, 100))
    out = read(tmp_path / "out.tif")[0]
    assert (out[:28, :28] == 7).all()
    assert out.sum() == 7 * 28 * 28


def test_a_real_map_of_36_000_pixels_gives_a_window_for_little(
    shared_data: Path, tmp_path: Path
) -> None:
    name = "ESA_WorldCover_10m_2020_v100_N00E006_Map.tif"
    if not (shared_data / "tiles" / name).exists():
        pytest.skip(f"no {name} here")
    with serving(shared_data / "tiles") as server:
        file = RemoteFile(server.address(), name)
        with open_remote(file, 10.0) as raster:
            raster.copy(Window(35_000, 34_000, 300, 500), tmp_path / "out.tif", tags={})
        assert server.sent() < 200_000
    with rasterio.open(shared_data / "tiles" / name) as whole:
        expected = whole.read(window=((35_000, 35_300), (34_000, 34_500)))
    assert (read(tmp_path / "out.tif") == expected).all()


# How it fails


def no_file_is_left(folder: Path) -> bool:
    return list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, RemoteMissing), (410, RemoteMissing), (403, RemoteUnusable), (400, RemoteUnusable),
     (429, RemoteTrouble), (408, RemoteTrouble), (500, RemoteTrouble), (503, RemoteTrouble)],
)  # fmt: skip
def test_a_status_tells_whether_another_try_is_worth_it(
    status: int, kind: type[Exception], server: TileServer, remote: RemoteFile, tmp_path: Path
) -> None:
    server.misbehave("tile.tif", Mood("status", status=status))
    with pytest.raises(kind, match=f"HTTP {status} [A-Z]"):
        copy(remote, tmp_path / "out.tif")
    assert no_file_is_left(tmp_path)


@pytest.mark.parametrize("status", [404, 429, 503])
def test_a_server_that_begins_to_fail_while_blocks_are_read_is_trouble(
    status: int, server: TileServer, remote: RemoteFile, tmp_path: Path
) -> None:
    server.misbehave("tile.tif", Mood("status", status=status, body_only=True))
    with pytest.raises(RemoteTrouble, match=r"a read failed|HTTP"):
        copy(remote, tmp_path / "out.tif")
    assert no_file_is_left(tmp_path)


def test_a_file_that_goes_away_while_it_is_read_is_missing(
    remote: RemoteFile, tile: Path, tmp_path: Path
) -> None:
    with pytest.raises(RemoteMissing, match="HTTP 404"):
        copy(remote, tmp_path / "out.tif", check=lambda: tile.unlink(missing_ok=True))
    assert no_file_is_left(tmp_path)


@pytest.mark.parametrize(
    ("told", "seconds"),
    [("7", 7), (" 12 ", 12), ("soon", None), (None, None), ("²", None),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 0)],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(told: str | None, seconds: float | None) -> None:
    trouble = http_failure(429, told)
    assert isinstance(trouble, RemoteTrouble)
    assert trouble.retry_after == seconds


@pytest.mark.parametrize("body_only", [False, True])
def test_a_server_that_stalls_is_given_up_in_time(
    body_only: bool, server: TileServer, remote: RemoteFile, tmp_path: Path
) -> None:
    server.misbehave("tile.tif", Mood("stall", stall_s=20, body_only=body_only))
    start = time.monotonic()
    with pytest.raises(RemoteTrouble):
        copy(remote, tmp_path / "out.tif")
    assert time.monotonic() - start < 6
    assert no_file_is_left(tmp_path)


@pytest.mark.parametrize("kind", ["cut", "reset"])
@pytest.mark.parametrize("body_only", [False, True])
def test_a_body_that_is_cut_off_is_trouble_and_no_verdict_on_the_file(
    kind: str, body_only: bool, server: TileServer, remote: RemoteFile, tmp_path: Path
) -> None:
    server.misbehave("tile.tif", Mood(kind, body_only=body_only))
    with pytest.raises(RemoteTrouble):
        copy(remote, tmp_path / "out.tif")
    assert no_file_is_left(tmp_path)
    server.behave()
    copy(remote, tmp_path / "out.tif")  # nothing that GDAL kept spoils the next try


@pytest.mark.parametrize("kind", ["cut", "reset"])
def test_one_cut_off_body_never_becomes_wrong_pixels(
    kind: str, server: TileServer, remote: RemoteFile, pixels: np.ndarray, tmp_path: Path
) -> None:
    for times in (1, 2, 3):
        server.behave()
        server.misbehave("tile.tif", Mood(kind, times=times, body_only=True))
        try:
            copy(remote, tmp_path / "out.tif")
        except RemoteTrouble:
            assert no_file_is_left(tmp_path)
        else:
            assert (read(tmp_path / "out.tif") == part(pixels)).all()
            (tmp_path / "out.tif").unlink()


def test_a_dead_server_is_trouble() -> None:
    with pytest.raises(RemoteTrouble, match="refused"):
        probe(RemoteFile("http://127.0.0.1:9", "tile.tif"), TIMEOUT_S)


def test_a_file_that_is_no_tiff_is_named_so(server: TileServer, folder: Path) -> None:
    server.behave()
    (folder / "page.tif").write_text("<html>please log in</html>")
    (folder / "empty.tif").write_bytes(b"")
    file = RemoteFile(server.address(), "page.tif")
    with pytest.raises(RemoteUnusable, match="it is no TIFF file"):
        probe(file, TIMEOUT_S)
    for base in (server.address(), str(folder)):
        with pytest.raises(RemoteUnusable):
            probe(RemoteFile(base, "empty.tif"), TIMEOUT_S)


@pytest.mark.parametrize("over_http", [True, False])
@pytest.mark.parametrize("damage", ["flipped", "header", "truncated"])
def test_a_damaged_file_is_final(
    damage: str, over_http: bool, server: TileServer, remote: RemoteFile, tile: Path, tmp_path: Path
) -> None:
    data = bytearray(tile.read_bytes())
    if damage == "flipped":
        for place in range(len(data) // 5, len(data), 997):
            data[place] ^= 0x55
    elif damage == "header":
        data[8:400] = bytes(392)
    else:
        del data[len(data) // 8 :]
    tile.write_bytes(data)
    file = remote if over_http else RemoteFile(str(tile.parent), "tile.tif")
    expected = "it ends early" if damage == "truncated" else "it cannot be decoded"
    with pytest.raises(RemoteUnusable, match=expected) as told:
        copy(file, tmp_path / "out.tif")
    assert "http" not in str(told.value)
    assert str(tile.parent) not in str(told.value)
    assert no_file_is_left(tmp_path)


def test_a_file_replaced_in_the_midst_is_not_mixed_with_the_old_one(
    remote: RemoteFile, tile: Path, pixels: np.ndarray, tmp_path: Path
) -> None:
    def replace() -> None:
        shutil.copy(write_cog(tmp_path / "other.tif", pixels[:, ::-1], 33.0, 40.0), tile)

    with pytest.raises((RemoteTrouble, RemoteUnusable)) as told:
        copy(remote, tmp_path / "out.tif", check=replace)
    assert isinstance(told.value, RemoteTrouble)
    assert not (tmp_path / "out.tif").exists()


def test_blocks_that_memory_could_not_hold_are_refused(tmp_path: Path) -> None:
    with rasterio.open(
        tmp_path / "in.tif", "w", driver="GTiff", count=1, height=9008, width=9008, dtype="uint8",
        crs="EPSG:4326", transform=Affine(STEP, 0, 33, 0, -STEP, 40), sparse_ok=True,
        tiled=True, blockxsize=9008, blockysize=9008,
    ):  # fmt: skip
        pass
    with pytest.raises(RemoteUnusable, match="not tiled: one block has 9008 × 9008"):
        copy(RemoteFile(str(tmp_path), "in.tif"), tmp_path / "out.tif", Window(0, 0, 10, 10))


def test_a_full_disk_is_told_with_what_to_do(
    remote: RemoteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A limit on file size fails GDAL's own writes, as a full disk does.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(RunError, match=r"cannot write .*out\.tif.*Free some space.*goes on"):
            copy(remote, tmp_path / "out.tif")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert no_file_is_left(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("terraloom.files.os.fsync", full)
    with pytest.raises(RunError, match="No space left"):
        copy(remote, tmp_path / "out.tif")
    assert no_file_is_left(tmp_path)


# Addresses


def test_a_query_goes_to_the_server_and_is_never_shown(
    server: TileServer, tile: Path, tmp_path: Path
) -> None:
    file = RemoteFile(f"{server.address()}?sig=SECRET%2B1", "tile.tif")
    assert file.public_name == f"{server.address()}/tile.tif"
    server.ask_for("sig=SECRET%2B1")
    try:
        copy(file, tmp_path / "out.tif")
        messages = []
        for mood in (
            Mood("status", status=500),
            Mood("status", status=500, body_only=True),
            Mood("cut", body_only=True),
            Mood("reset"),
        ):
            server.misbehave("tile.tif", mood)
            with pytest.raises(RemoteTrouble) as told:
                copy(file, tmp_path / "other.tif")
            messages.append(str(told.value))
        server.behave()
        tile.write_bytes(tile.read_bytes()[:8] + bytes(3000))
        with pytest.raises(RemoteUnusable) as final:
            copy(file, tmp_path / "other.tif")
        messages.append(str(final.value))
        assert not [text for text in messages if "SECRET" in text or "127.0.0.1" in text]
    finally:
        server.ask_for("")
    assert b"SECRET" not in (tmp_path / "out.tif").read_bytes()


def test_a_message_loses_every_form_of_an_address() -> None:
    file = RemoteFile("https://user.example/base?token=abc", "x/tile.tif")
    text = f"/vsicurl/{file.address}: {file.address} failed; {file.base} token=abc"
    assert without_address(text, file) == "tile.tif: tile.tif failed; tile.tif tile.tif"
