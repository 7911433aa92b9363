"""Cutting: where patches lie in a scene, and how source values become 8-bit pixels."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from terraloom.raster.grid import Window
from terraloom.types import Float32Array, ImageU8

THUMBNAIL_SIDE = 8
THUMBNAIL_VALUES = THUMBNAIL_SIDE * THUMBNAIL_SIDE * 3
PREVIEW_SIDE = 32
_MIN_CONTRAST = 3.0
"""Grey levels (root mean square over the blocks) below which a thumbnail tells nothing."""


def window_grid(
    height: int, width: int, size: int, stride: int, edge: Literal["drop", "shift"]
) -> list[Window]:
    """Windows of `size` over a scene, row by row.

    Args:
        height: of the scene in pixels.
        width: of the scene in pixels.
        size: side of a window in pixels.
        stride: pixels between neighbours.
        edge: "drop" leaves out the rest that holds no whole window; "shift" adds a last window
            that ends at the scene's edge and overlaps its neighbour.

    Returns:
        Empty where the scene is smaller than a window.
    """

    def starts(length: int) -> list[int]:
        positions = list(range(0, length - size + 1, stride))
        if edge == "shift" and positions and positions[-1] + size < length:
            positions.append(length - size)
        return positions

    return [Window(row, column, size, size) for row in starts(height) for column in starts(width)]


def stretch_by_maximum(image: NDArray[np.generic]) -> ImageU8:
    """The published stretch: each patch divided by its own maximum, cut off to whole numbers.

    One bright roof darkens its whole patch, and brightness no longer compares between patches: it
    is here for comparison with data made that way (ARAS400k), and never the default.
    """
    highest = int(image.max())
    if highest <= 0:
        return np.zeros(image.shape, dtype=np.uint8)
    if image.dtype in (np.uint8, np.uint16):
        table = (np.arange(highest + 1) / highest * 255).astype(np.uint8)
        looked_up: ImageU8 = table[image]
        return looked_up
    stretched: ImageU8 = (np.maximum(image, 0) / highest * 255).astype(np.uint8)
    return stretched


def thumbnail(image: ImageU8) -> Float32Array:
    """Block means of an image, flattened and standardised: for finding near-duplicates.

    Each channel's mean is taken out: what two images share must be their pattern, since the colour
    of a desert or a forest alone does not make two places one.

    Args:
        image: "height width 3".

    Returns:
        float32, 8 · 8 · 3 values of mean 0 and length 1, so that a dot product is a correlation;
        all 0 for an image without contrast, which then matches nothing.
    """
    height, width = (n // THUMBNAIL_SIDE * THUMBNAIL_SIDE for n in image.shape[:2])
    cells = image[:height, :width]
    # Whole numbers first along memory, then across: exact, and the same in any order.
    rows = cells.reshape(THUMBNAIL_SIDE, height // THUMBNAIL_SIDE, -1).sum(axis=1, dtype=np.uint32)
    sums = rows.reshape(THUMBNAIL_SIDE, THUMBNAIL_SIDE, width // THUMBNAIL_SIDE, 3).sum(axis=2)
    means = (sums * (THUMBNAIL_SIDE**2 / (height * width))).astype(np.float32)
    flat = (means - means.mean(axis=(0, 1))).ravel()
    length = float(np.linalg.norm(flat))
    # Open water under one sun all looks alike: without contrast, nothing tells two places apart.
    if length < _MIN_CONTRAST * np.sqrt(flat.size):
        return np.zeros_like(flat)
    unit_length: Float32Array = flat / np.float32(length)
    return unit_length


def preview(image: ImageU8) -> ImageU8:
    """An image's grey values in 32 × 32 means: for finding the same ground in another image.

    Args:
        image: "height width 3", of any size.

    Returns:
        "32 32".
    """
    grey = Image.fromarray(image).convert("L")
    return np.asarray(grey.resize((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.BOX))
