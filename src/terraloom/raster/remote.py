"""Rasters on a server or in a mirror folder: windows of them, fetched block by block."""

import math
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.transform import Affine

from terraloom.errors import RunError
from terraloom.files import atomic_path
from terraloom.raster.geotiff import RasterInfo, crs_name
from terraloom.raster.grid import Grid, Window
from terraloom.raster.remote_file import (
    RemoteFile,
    RemoteMissing,
    RemoteTrouble,
    RemoteUnusable,
    Version,
    http_failure,
    probe,
    without_address,
)

_BLOCK: Final = 256
_PIECE_BYTES: Final = 32 << 20
"""Pixels decoded by one request to GDAL; bounds memory together with one row of blocks."""
_LARGEST_BLOCK_BYTES: Final = 64 << 20
_HEADER_BYTES: Final = 32 << 10
"""Holds the header and block index of a tile of 36,000 × 36,000 in blocks of 1024."""
_NETWORK_WORDS: Final = ("Read error", "CURL", "curl", "timed out", "HTTP", "resolve host")


@dataclass(frozen=True)
class WindowCost:
    """What a window takes."""

    download_bytes: int
    """Stored bytes of the blocks that it touches."""
    disk_bytes: int
    """Estimate: of these, the share that the window's pixels take."""


@contextmanager
def open_remote(file: RemoteFile, timeout_s: float) -> Iterator["RemoteRaster"]:
    """Open a raster; only its header and block index are transferred.

    Nothing that GDAL learned is kept after closing, so a failed try does not spoil the next.

    Args:
        file: where it lies.
        timeout_s: a request that brings nothing for so long is cut off.

    Raises:
        RemoteMissing, RemoteTrouble, RemoteUnusable: as `probe`, here or while pixels are read.
    """
    version = probe(file, timeout_s)
    path = file.address if file.folder is not None else f"/vsicurl/{file.address}"
    with rasterio.Env(**_gdal_options(file, timeout_s)):
        try:
            dataset = rasterio.open(path, driver="GTiff")
        except RasterioError as error:
            raise _failure(error, file, version, timeout_s) from error
        with dataset:
            yield RemoteRaster(file, version, timeout_s, dataset)


class RemoteRaster:
    """An open raster; not to be shared between threads."""

    def __init__(
        self,
        file: RemoteFile,
        version: Version,
        timeout_s: float,
        dataset: rasterio.DatasetReader,
    ) -> None:
        self.file = file
        self.version = version
        self._timeout_s = timeout_s
        self._dataset = dataset
        self._block = tuple(int(side) for side in dataset.block_shapes[0])
        grid = None
        if dataset.crs is not None:
            grid = Grid(
                crs_name(dataset.crs),
                tuple(dataset.transform)[:6],
                dataset.height,
                dataset.width,
            )
        self.info = RasterInfo(
            grid,
            dataset.height,
            dataset.width,
            dataset.count,
            dataset.dtypes[0],
            dataset.nodata,
            dict(dataset.tags()),
        )
        """Shape, type and place, as the header has them."""

    def cost(self, window: Window) -> WindowCost:
        """What a window takes, from the block index; no pixel is transferred."""
        stored = sum(size for _, size in self._blocks(window))
        height, width = self._block
        touched = _snapped(window, height, width)
        share = window.height * window.width / (touched.height * touched.width)
        return WindowCost(stored, math.ceil(stored * share))

    def copy(
        self,
        window: Window,
        path: Path,
        *,
        tags: dict[str, str],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Write a window as a GeoTIFF of its own, atomically; equal pixels and tags, equal bytes.

        Rows of blocks are fetched one by one, so memory is bounded by one of them (about 250 MB for
        12,000 columns of 4 bands of 16 bits in blocks of 1024). What was written is read back
        and compared before the file gets its name.

        Args:
            window: within the raster.
            path: receives bands, type, CRS, no-data value, colours, band names and tags.
            tags: added to the raster's own.
            check: called between rows of blocks; may raise to stop.

        Raises:
            RemoteTrouble: the server or the line failed, or the file was replaced meanwhile.
            RemoteUnusable: a block is damaged or lies beyond the file's end.
            RunError: the disk is full.
        """
        if max(self._block_bytes(), 1) > _LARGEST_BLOCK_BYTES:
            raise RemoteUnusable(
                f"it is not tiled: one block has {self._block[0]} × {self._block[1]} pixels"
            )
        for offset, size in self._blocks(window):
            if offset + size > self.version.size:
                raise RemoteUnusable(
                    f"it ends early: {offset + size} bytes are needed, {self.version.size} there"
                )
        with atomic_path(path) as temporary:
            try:
                self._create(temporary, window, tags)
                sums: list[int] = []
                for top, rows in self._strips(window, check):
                    sums += _write_rows(temporary, top, rows)
                sound = _holds(temporary, sums)
            except RasterioError as error:
                raise _not_written(path, str(error)) from error
            if not sound:
                raise _not_written(path, "what was written does not read back")
            self._check_unchanged()

    def _check_unchanged(self) -> None:
        if probe(self.file, self._timeout_s) != self.version:
            raise RemoteTrouble("the file was replaced while it was being read")

    def _blocks(self, window: Window) -> Iterator[tuple[int, int]]:
        """Offset and size in bytes of the stored blocks that a window touches."""
        height, width = self._block
        separate = self._dataset.profile.get("interleave") == "band"
        bands = range(1, self.info.bands + 1 if separate else 2)
        for row in range(window.row // height, -(-(window.row + window.height) // height)):
            for column in range(
                window.column // width, -(-(window.column + window.width) // width)
            ):
                for band in bands:
                    place = f"{column}_{row}"
                    offset = self._dataset.get_tag_item(f"BLOCK_OFFSET_{place}", "TIFF", bidx=band)
                    size = self._dataset.get_tag_item(f"BLOCK_SIZE_{place}", "TIFF", bidx=band)
                    if offset is not None and size is not None:  # else empty, and not stored
                        yield int(offset), int(size)

    def _block_bytes(self) -> int:
        height, width = self._block
        return int(height * width * self.info.bands * np.dtype(self.info.dtype).itemsize)

    def _strips(
        self, window: Window, check: Callable[[], None]
    ) -> Iterator[tuple[int, NDArray[np.generic]]]:
        """Rows of the window from top to bottom in multiples of `_BLOCK`, as (first, pixels).

        So each block of the output is written once, wherever the window lies on the stored blocks.
        The pixels are overwritten by the next step.
        """
        step = self._block[0] * math.ceil(_BLOCK / self._block[0])
        buffer = np.empty(
            (self.info.bands, step + _BLOCK, window.width), dtype=np.dtype(self.info.dtype)
        )
        end = window.row + window.height
        done, held, row = 0, 0, window.row
        while row < end:
            stop = min((row // step + 1) * step, end)
            check()
            self._read(row, stop, window, buffer[:, held : held + stop - row])
            held += stop - row
            row = stop
            whole = held if row == end else held - held % _BLOCK
            if whole:
                yield done, buffer[:, :whole]
                done += whole
                buffer[:, : held - whole] = buffer[:, whole:held].copy()
                held -= whole

    def _read(self, top: int, bottom: int, window: Window, out: NDArray[np.generic]) -> None:
        """Rows of the window, a few blocks at a time."""
        columns = self._block[1] * max(1, _PIECE_BYTES // self._block_bytes())
        left, end = window.column, window.column + window.width
        while left < end:
            right = min((left // columns + 1) * columns, end)
            try:
                piece = self._dataset.read(window=((top, bottom), (left, right)))
            except RasterioError as error:
                raise _failure(error, self.file, self.version, self._timeout_s) from error
            out[:, :, left - window.column : right - window.column] = piece
            left = right

    def _create(self, path: Path, window: Window, tags: dict[str, str]) -> None:
        """An empty file with everything but pixels."""
        assert self.info.grid is not None
        integer = np.issubdtype(np.dtype(self.info.dtype), np.integer)
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            count=self.info.bands,
            height=window.height,
            width=window.width,
            dtype=self.info.dtype,
            crs=self._dataset.crs,
            transform=Affine(*self.info.grid.part(window).transform),
            nodata=self.info.nodata,
            compress="deflate",
            predictor=2 if integer else 1,
            interleave="band",
            tiled=True,
            blockxsize=_BLOCK,
            blockysize=_BLOCK,
            sparse_ok=True,
        ) as file:
            own = {k: v for k, v in self.info.tags.items() if k != "AREA_OR_POINT"}
            file.update_tags(**(own | tags))
            for band, name in enumerate(self._dataset.descriptions, start=1):
                if name:
                    file.set_band_description(band, name)
            if self.info.bands == 1 and self._dataset.colorinterp[0].name == "palette":
                file.write_colormap(1, self._dataset.colormap(1))


def _write_rows(path: Path, first: int, rows: NDArray[np.generic]) -> list[int]:
    """Write rows from `first` on; the CRC-32 of each row of blocks."""
    sums = []
    # Opened anew for each strip: closing is what makes GDAL write its cache out, in one order.
    with rasterio.open(path, "r+") as file:
        for top in range(0, rows.shape[1], _BLOCK):
            strip = np.ascontiguousarray(rows[:, top : top + _BLOCK])
            end = first + top + strip.shape[1]
            file.write(strip, window=((first + top, end), (0, file.width)))
            sums.append(_checksum(strip))
    return sums


def _holds(path: Path, sums: list[int]) -> bool:
    """Whether the rows of blocks of a file have the given checksums."""
    with rasterio.open(path) as file:
        for index, expected in enumerate(sums):
            top = index * _BLOCK
            rows = file.read(window=((top, min(top + _BLOCK, file.height)), (0, file.width)))
            if _checksum(rows) != expected:
                return False
    return True


def _checksum(pixels: NDArray[np.generic]) -> int:
    return zlib.crc32(pixels.data)


def _not_written(path: Path, reason: str) -> RunError:
    return RunError(
        f"cannot write {path}: {reason}. Free some space and run the same command again; it goes "
        "on where it stopped."
    )


def _snapped(window: Window, height: int, width: int) -> Window:
    """The blocks that a window touches, as a window (which may reach beyond the raster)."""
    top, left = window.row // height * height, window.column // width * width
    bottom = -(-(window.row + window.height) // height) * height
    right = -(-(window.column + window.width) // width) * width
    return Window(top, left, bottom - top, right - left)


def _gdal_options(file: RemoteFile, timeout_s: float) -> dict[str, str]:
    if file.folder is not None:
        return {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
    seconds = str(max(1, math.ceil(timeout_s)))
    return {
        # Buckets are not to be listed, and no side-car file is to be looked for.
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "GDAL_INGESTED_BYTES_AT_OPEN": str(_HEADER_BYTES),
        "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
        # Not the whole request's time: a slow line that moves is no failure.
        "GDAL_HTTP_CONNECTTIMEOUT": seconds,
        "GDAL_HTTP_LOW_SPEED_TIME": seconds,
        "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
        # Whoever calls decides on retries, and must see each failure.
        "GDAL_HTTP_MAX_RETRY": "0",
        "VSI_CACHE": "FALSE",
        "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/" + _origin(file.address),
        "GDAL_HTTP_USERAGENT": "terraloom",
    }


def _origin(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}/"


def _failure(
    error: RasterioError, file: RemoteFile, version: Version, timeout_s: float
) -> Exception:
    """What a failed read means: the server's own word where it has one, else GDAL's."""
    told = _deepest(error)
    if file.folder is not None:
        return RemoteUnusable(f"it cannot be decoded: {without_address(told, file)}")
    try:
        now = probe(file, timeout_s)
    except (RemoteMissing, RemoteTrouble, RemoteUnusable) as worse:
        return worse
    if now != version:
        return RemoteTrouble("the file was replaced while it was being read")
    status = re.search(r"HTTP response code: (\d{3})", told)
    if status:
        return http_failure(int(status[1]), None)
    if any(word in told for word in _NETWORK_WORDS):
        return RemoteTrouble(f"a read failed: {without_address(told, file)}")
    return RemoteUnusable(f"it cannot be decoded: {without_address(told, file)}")


def _deepest(error: BaseException) -> str:
    """The message of the first cause: GDAL's own words come last in rasterio's chain."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return str(error)
