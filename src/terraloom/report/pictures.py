"""Pictures of samples as the page carries them, and contact sheets as files."""

import io
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from terraloom.classes import UNKNOWN, ClassTable
from terraloom.report.views import GalleryView, Picture
from terraloom.report.wording import listed
from terraloom.types import ImageU8, LabelMask

PHOTO_BYTES: Final = 32 * 1024
"""Largest PNG of one photograph in the page; a larger one becomes a JPEG."""
GRID_BYTES: Final = 512 * 1024
"""The same of a whole grid or map."""
_PHOTO_EDGE, _GRID_EDGE = 512, 1600
"""Pixels of the longer edge above which a picture is made smaller for the page."""
_QUALITY: Final = 90
_GAP: Final = 4
_WHITE: Final = 255
JPEG_NOTE: Final = (
    f"Pictures of samples above {PHOTO_BYTES // 1024} kB as PNG (grids: {GRID_BYTES // 1024} kB) "
    f"stand here as JPEG of quality {_QUALITY}, of at most {_PHOTO_EDGE} ({_GRID_EDGE}) pixels; "
    "the tables hold the pixels themselves."
)


def encode_compact(pixels: ImageU8) -> bytes:
    """PNG of an RGB image, as small as it gets: it travels in the page."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def encode_photo(pixels: ImageU8, most: int = PHOTO_BYTES, edge: int = _PHOTO_EDGE) -> bytes:
    """An RGB image without loss where that takes at most `most` bytes, else as JPEG.

    Args:
        pixels: "height width 3".
        most: bytes of the PNG.
        edge: pixels of the longer edge above which the JPEG is made smaller.
    """
    exact = encode_compact(pixels)
    if len(exact) <= most:
        return exact
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((edge, edge), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    # Colour at full resolution: what generators do wrong often shows in it.
    # Not "optimize": Pillow then fails on pure noise, which needs more bytes than it sets aside.
    image.save(buffer, format="JPEG", quality=_QUALITY, subsampling=0)
    return buffer.getvalue()


def photo(pixels: ImageU8, heading: str, told: str) -> Picture:
    """A picture of a sample.

    Args:
        pixels: "height width 3".
        heading: stands above it.
        told: what it shows, for those who cannot see it.
    """
    return Picture(heading, told, encode_photo(pixels))


def mask_picture(mask: LabelMask, classes: ClassTable, heading: str) -> Picture:
    """A label mask in its class colours, with the classes named for those who cannot see it."""
    present = [label for label in np.unique(mask).tolist() if label < len(classes)]
    told = listed([classes.names[label] for label in present]) or "nothing known"
    if (mask == UNKNOWN).any():
        told += ", and unknown pixels"
    image = Image.fromarray(np.ascontiguousarray(mask))
    image.putpalette(classes.palette.tobytes())
    if max(image.size) > _PHOTO_EDGE:
        image.thumbnail((_PHOTO_EDGE, _PHOTO_EDGE), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return Picture(heading, f"mask: {told}", buffer.getvalue())


def read_grid(path: Path) -> bytes:
    """A generator's picture grid or a map; an enlargement by two is undone without loss."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    small = pixels[::2, ::2]
    enlarged = small.repeat(2, axis=0).repeat(2, axis=1)
    if np.array_equal(enlarged[: pixels.shape[0], : pixels.shape[1]], pixels):
        pixels = small
    return encode_photo(pixels, GRID_BYTES, _GRID_EDGE)


def contact_sheet(gallery: GalleryView) -> bytes:
    """All pictures of a gallery in one PNG, a card per row."""
    rows = []
    for card in gallery.cards:
        pictures = []
        for picture in card.pictures:
            with Image.open(io.BytesIO(picture.data)) as image:
                pictures.append(np.asarray(image.convert("RGB")))
        rows.append(pictures)
    width = max(sum(p.shape[1] + _GAP for p in row) for row in rows)
    height = sum(max(p.shape[0] for p in row) + _GAP for row in rows)
    sheet = np.full((height + _GAP, width + _GAP, 3), _WHITE, dtype=np.uint8)
    top = _GAP
    for row in rows:
        left = _GAP
        for pixels in row:
            sheet[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
            left += pixels.shape[1] + _GAP
        top += max(p.shape[0] for p in row) + _GAP
    return encode_compact(sheet)
