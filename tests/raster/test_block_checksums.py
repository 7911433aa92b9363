"""A flipped bit in a deflated block is told, though GDAL reads other pixels without a word."""

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from terraloom.errors import UnreadableFile
from terraloom.raster import geotiff
from terraloom.raster.grid import Grid, Window

SIDE, BLOCK = 128, 64
GRID = Grid("EPSG:32636", (10.0, 0.0, 5e5, 0.0, -10.0, 4.3e6), SIDE, SIDE)


def write(path: Path, **options: object) -> np.ndarray:
    """Three bands in four blocks; returns the pixels."""
    pixels = np.random.default_rng(0).integers(1, 3000, (3, SIDE, SIDE)).astype(np.uint16)
    kinds = {"compress": "deflate", "interleave": "pixel"} | options
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=SIDE, width=SIDE, dtype="uint16",
        crs=GRID.crs, transform=Affine(*GRID.transform), tiled=True, blockxsize=BLOCK,
        blockysize=BLOCK, **kinds,
    ) as file:  # fmt: skip
        file.write(pixels)
    return pixels


def flip(path: Path, row: int, column: int, band: int = 1) -> None:
    """One bit in the middle of a block."""
    with rasterio.open(path) as file:
        start, size = (
            int(file.get_tag_item(f"{name}_{column}_{row}", "TIFF", bidx=band))
            for name in ("BLOCK_OFFSET", "BLOCK_SIZE")
        )
    data = bytearray(path.read_bytes())
    data[start + size // 2] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("predictor", [1, 2])
def test_the_block_is_named_and_the_others_are_read(
    interleave: str, predictor: int, tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    pixels = write(path, interleave=interleave, predictor=predictor)
    flip(path, 1, 0)
    message = r"a\.tif cannot be read: its block at row 64, column 0 is damaged\. Fetch or write"
    for read in (
        lambda: geotiff.read_window(path, Window(60, 60, 8, 8), (1, 2)),
        lambda: geotiff.read_known(path, Window(60, 60, 8, 8), (1,)),
        lambda: geotiff.read_onto([path], GRID.part(Window(60, 60, 8, 8)), bands=(1,), fill=0),
    ):
        with pytest.raises(UnreadableFile, match=message):
            read()
    above = Window(0, 0, BLOCK, SIDE)
    assert (geotiff.read_window(path, above, (1, 2, 3)) == pixels[:, :BLOCK]).all()
    if interleave == "band":  # the other bands have blocks of their own
        whole = Window(0, 0, SIDE, SIDE)
        assert (geotiff.read_window(path, whole, (2, 3)) == pixels[1:]).all()


def test_labels_on_another_grid_are_checked_as_well(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write(path)
    flip(path, 0, 1)
    turned = Grid(GRID.crs, (7.0, 2.0, 500_700.0, 2.0, -7.0, 4_299_900.0), 40, 40)
    with pytest.raises(UnreadableFile, match="row 0, column 64 is damaged"):
        geotiff.read_onto([path], turned, bands=(1,), fill=0)


def test_a_file_that_is_put_right_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    pixels = write(path)
    sound = path.read_bytes()
    flip(path, 0, 0)
    with pytest.raises(UnreadableFile):
        geotiff.read_window(path, Window(0, 0, 9, 9), (1,))
    path.write_bytes(sound)
    os.utime(path, ns=(1, 1))
    assert (geotiff.read_window(path, Window(0, 0, 9, 9), (1,)) == pixels[:1, :9, :9]).all()


def test_blocks_that_were_never_written_are_no_data(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=SIDE, width=SIDE, dtype="uint8", nodata=7,
        crs=GRID.crs, transform=Affine(*GRID.transform), tiled=True, blockxsize=BLOCK,
        blockysize=BLOCK, compress="deflate", sparse_ok=True,
    ) as file:  # fmt: skip
        file.write(np.ones((1, 9, 9), np.uint8), window=((0, 9), (0, 9)))
    stored = geotiff.read_window(path, Window(0, 0, SIDE, SIDE), (1,))
    assert (stored[0, BLOCK:] == 7).all()
    assert (stored[0, :9, :9] == 1).all()


@pytest.mark.parametrize("compress", ["none", "lzw", "zstd"])
def test_other_compressions_hold_no_checksum_and_are_read_as_before(
    compress: str, tmp_path: Path
) -> None:
    pixels = write(tmp_path / "a.tif", compress=compress)
    found = geotiff.read_window(tmp_path / "a.tif", Window(3, 5, 90, 80), (3, 1))
    assert (found == pixels[[2, 0], 3:93, 5:85]).all()
