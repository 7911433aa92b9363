"""Checksums of deflated GeoTIFF blocks, which GDAL stores and does not look at when it reads.

A zlib stream ends with the Adler-32 of what it holds. Where libtiff inflates with zlib, it stops
once a block is full, before that end: a flipped bit gives other pixels, and no error.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from isal import isal_zlib

from terraloom.errors import UnreadableFile

_COMPRESSION: Final = "deflate"
_Box = tuple[tuple[int, int], tuple[int, int]]


class _OpenFile(Protocol):
    """What is asked of a rasterio dataset."""

    @property
    def driver(self) -> str: ...

    @property
    def profile(self) -> Mapping[str, Any]: ...

    @property
    def block_shapes(self) -> Sequence[tuple[int, int]]: ...

    def get_tag_item(self, ns: str, dm: str, bidx: int) -> str | None: ...


class BlockChecks:
    """Checks the stored blocks of one local file, each once; other compressions hold no checksum.

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
                handle.seek(start)
                isal_zlib.decompress(handle.read(size))
        except (isal_zlib.error, OSError, OverflowError) as error:  # type: ignore[misc]  # stubs
            height, width = self._file.block_shapes[0]
            raise UnreadableFile(
                f"{self._path.name} cannot be read: its block at row {row * height}, column "
                f"{column * width} is damaged. Fetch or write it again."
            ) from error
