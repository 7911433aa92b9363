"""Image files of a user's own: headers without pixels, pixels whole, checksums once."""

from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from terraloom.errors import InputError, PairError, UnreadableFile
from terraloom.files import sha256_of
from terraloom.raster import geotiff
from terraloom.raster.grid import Grid

IMAGE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
RASTER_SUFFIXES: Final = (".tif", ".tiff")
_DEEP_MODES: Final = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


@dataclass(frozen=True)
class Header:
    """What a file says of itself before its pixels are read."""

    height: int
    width: int
    bands: int
    """As read: plain images always give red, green, blue."""
    grid: Grid | None = None


def is_raster(path: Path) -> bool:
    """Whether a file is a GeoTIFF by its suffix; all others are plain images."""
    return path.suffix.lower() in RASTER_SUFFIXES


def read_header(path: Path) -> Header:
    """Size, bands and place of an image or mask file.

    Raises:
        UnreadableFile: it cannot be opened.
    """
    if not is_raster(path):
        with open_image(path) as image:
            return Header(image.height, image.width, 3)
    try:
        info = geotiff.read_info(path)
    except UnreadableFile:
        raise
    except InputError as error:
        raise UnreadableFile(str(error)) from error
    return Header(info.height, info.width, info.bands, info.grid)


def open_image(path: Path) -> Image.Image:
    """A plain image whose header is read and whose pixels are not.

    Raises:
        UnreadableFile: the file is no image, or its header is damaged.
        PairError: it is so large that Pillow refuses it.
    """
    try:
        return Image.open(path)
    except Image.DecompressionBombError as error:
        raise PairError(
            f"{path.name} is too large for an image file: {error}. Save it as GeoTIFF, which is "
            "read in windows."
        ) from error
    except (OSError, SyntaxError, ValueError) as error:  # UnidentifiedImageError is an OSError
        raise UnreadableFile(
            f"{path.name} cannot be read as an image: {error}. Fetch or write it again."
        ) from error


def decode(path: Path, mode: str | None) -> NDArray[np.uint8]:
    """Pixels of a whole plain image, "height width" or "height width band".

    Args:
        path: of the file.
        mode: Pillow's mode to convert to, such as RGB; None keeps what is stored.

    Raises:
        UnreadableFile: the file ends early or is damaged.
        PairError: RGB is asked for and the file has more than 8 bits per pixel.
    """
    with open_image(path) as image:
        if mode == "RGB" and image.mode in _DEEP_MODES:
            raise PairError(
                f"{path.name} has more than 8 bits per pixel, which would be cut off at 255. "
                "Save it as GeoTIFF and set value_range, or as 8-bit RGB."
            )
        try:
            return np.asarray(image.convert(mode) if mode else image)
        except (OSError, SyntaxError, ValueError, EOFError) as error:  # what torn files raise
            raise UnreadableFile(
                f"{path.name} cannot be read to its end: {error}. Fetch or write it again."
            ) from error


@lru_cache(maxsize=8)
def decoded(path: Path, mode: str | None) -> NDArray[np.uint8]:
    """`decode`, with a few images kept in memory, as windows of one file follow in turn."""
    pixels = decode(path, mode)
    pixels.flags.writeable = False
    return pixels


@cache
def checksum(path: Path) -> str:
    """SHA-256 of a file, read once per process."""
    return sha256_of(path)
