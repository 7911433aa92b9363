"""Checksums of deflated GeoTIFF blocks, which GDAL stores and does not look at when it reads.

A zlib stream ends with the Adler-32 of what it holds. Where libtiff inflates with zlib, it stops
once a block is full, before that end: a flipped bit gives other pixels, and no error.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from terraloom.errors import UnreadableFile

_COMPRESSION: Final = "deflate"
_Layout = Literal["plain", "differences"]
_LAYOUTS: Final[tuple[_Layout, ...]] = ("plain", "differences")
"""TIFF predictors 1 and 2: values as they are, or less those one pixel to the left."""
_CHECKSUM_BYTES: Final = 4
_NO_LAYOUT: Final[tuple[_Layout, ...]] = ()
_Box = tuple[tuple[int, int], tuple[int, int]]


class _OpenFile(Protocol):
    """What is asked of a rasterio dataset."""

    @property
    def driver(self) -> str: ...

    @property
    def profile(self) -> Mapping[str, Any]: ...

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def block_shapes(self) -> Sequence[tuple[int, int]]: ...

    def get_tag_item(self, ns: str, dm: str, bidx: int) -> str | None: ...

    def read(self, indexes: Sequence[int], *, window: _Box) -> NDArray[np.generic]: ...


class BlockChecks:
    """Checks the stored blocks of one local file, each once; other compressions hold no checksum.

    The pixels that GDAL hands out are compared with the stored checksum, which costs a tenth of
    inflating: GDAL has inflated the block anyway, and keeps it. Only where they do not fit (a
    block that the raster's edge cuts, a layout that is none of the common ones, damage) is the
    block inflated a second time, which decides.

    Args:
        file: open for reading.
        path: of the file.
    """

    def __init__(self, file: _OpenFile, path: Path) -> None:
        self._file = file
        self._path = path
        profile = file.profile
        self._stored = file.driver in ("GTiff", "COG") and profile.get("compress") == _COMPRESSION
        self._apart = profile.get("interleave") == "band"
        self._sound: set[tuple[int, int, int]] = set()
        self._layouts = _LAYOUTS
        """Those that the file may have; the one that it has, once a block has told."""

    def check(self, bands: Sequence[int], box: _Box) -> None:
        """Check the blocks that hold some bands in a box of rows and columns.

        Raises:
            UnreadableFile: the bytes of a block are not those that were written.
        """
        if not self._stored:
            return
        height, width = self._file.block_shapes[0]
        (top, bottom), (left, right) = box
        wanted = {
            (band, row, column)
            for band in (bands if self._apart else (1,))
            for row in range(top // height, -(-bottom // height))
            for column in range(left // width, -(-right // width))
        }
        for block in sorted(wanted - self._sound):
            self._check(*block)
            self._sound.add(block)

    def _check(self, band: int, row: int, column: int) -> None:
        start, size = (
            int(self._file.get_tag_item(f"{name}_{column}_{row}", "TIFF", bidx=band) or 0)
            for name in ("BLOCK_OFFSET", "BLOCK_SIZE")
        )
        if not start or not size:  # never written: no data, in no bytes
            return
        try:
            with open(self._path, "rb") as handle:
                handle.seek(start + size - _CHECKSUM_BYTES)
                if self._pixels_fit(band, row, column, handle.read(_CHECKSUM_BYTES)):
                    return
                handle.seek(start)
                isal_zlib.decompress(handle.read(size))
        except (isal_zlib.error, OSError, OverflowError) as error:  # type: ignore[misc]  # stubs
            height, width = self._file.block_shapes[0]
            raise UnreadableFile(
                f"{self._path.name} cannot be read: its block at row {row * height}, column "
                f"{column * width} is damaged. Fetch or write it again."
            ) from error

    def _pixels_fit(self, band: int, row: int, column: int, stored: bytes) -> bool:
        """Whether the block, as GDAL reads it, has the stored checksum in a layout known here."""
        height, width = self._file.block_shapes[0]
        bottom, right = (row + 1) * height, (column + 1) * width
        if not self._layouts or bottom > self._file.shape[0] or right > self._file.shape[1]:
            return False
        bands = [band] if self._apart else range(1, len(self._file.block_shapes) + 1)
        try:
            pixels = self._file.read(
                list(bands), window=((bottom - height, bottom), (right - width, right))
            )
        except RasterioError:  # told by the inflating that follows, with the block's place
            return False
        together = np.ascontiguousarray(np.moveaxis(pixels, 0, -1))
        for layout in self._layouts:
            if _checksum(together, layout) == int.from_bytes(stored, "big"):
                self._layouts = (layout,)
                return True
        if len(self._layouts) == len(_LAYOUTS):
            self._layouts = _NO_LAYOUT
        return False


def _checksum(pixels: NDArray[np.generic], layout: _Layout) -> int:
    """Adler-32 of a block's values "height width band" as a little-endian file stores them."""
    if layout == "differences":
        if pixels.dtype.kind == "f":
            return -1
        whole = pixels.view(pixels.dtype.str.replace("i", "u"))
        pixels = whole.copy()
        np.subtract(whole[:, 1:], whole[:, :-1], out=pixels[:, 1:])
    return isal_zlib.adler32(pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).data)
