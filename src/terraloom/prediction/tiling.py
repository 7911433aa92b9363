"""Tiles along the sides of a scene, and the weights by which neighbours blend into one another."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from terraloom.errors import InputError
from terraloom.types import Float32Array

STRIDE: Final = 32
"""Pixels of one step of the deepest layer of every segmenter; tiles begin at its multiples."""
_DISCARDED: Final = 4
"""One part in so many of the overlap is left to the neighbour alone, at either end."""


@dataclass(frozen=True)
class Axis:
    """Tiles along one side: tile i covers the pixels from i · step to i · step + tile.

    The last tile may reach beyond the side; a side shorter than a tile has one smaller tile.
    """

    length: int
    tile: int
    overlap: int

    @classmethod
    def of(cls, length: int, tile: int, overlap: int, least: int = STRIDE) -> "Axis":
        """The tiles of a side of `length` pixels.

        Args:
            length: of the side.
            tile: side of a tile.
            overlap: pixels that neighbouring tiles share.
            least: smallest side that the network takes.

        Raises:
            InputError: tile or overlap cannot be used.
        """
        if tile < STRIDE or tile % STRIDE or overlap % STRIDE:
            raise InputError(
                f"tiles of {tile} pixels with {overlap} of overlap were asked for; both must be "
                f"multiples of {STRIDE}, as in --tile 256 --overlap 64."
            )
        if not 0 <= overlap <= tile // 2:
            raise InputError(
                f"an overlap of {overlap} pixels was asked for; it must be 0 … {tile // 2}, half "
                f"of the {tile} pixels of a tile."
            )
        least = -(-least // STRIDE) * STRIDE
        if tile < least:
            raise InputError(
                f"tiles of {tile} pixels were asked for; this model takes {least} or more. "
                f"Give --tile {least}."
            )
        if length <= tile:
            return cls(length, max(least, -(-length // STRIDE) * STRIDE), 0)
        return cls(length, tile, overlap)

    @property
    def step(self) -> int:
        """Pixels between the beginnings of neighbouring tiles."""
        return self.tile - self.overlap

    @property
    def count(self) -> int:
        """Tiles that cover the side."""
        return max(1, -(-(self.length - self.overlap) // self.step))

    def weights(self, index: int) -> Float32Array:
        """Weight of each pixel of a tile, float32 "tile"; of all tiles over a pixel they sum to 1.

        Where tiles overlap, the quarter nearest to a tile's end weighs nothing, since the network
        sees least around it; in between the weight rises as a squared sine. At the ends of the side
        it is 1.
        """
        weights = np.ones(self.tile, dtype=np.float32)
        if not self.overlap:
            return weights
        rise = _rise(self.overlap)
        if index > 0:
            weights[: self.overlap] = rise
        if index < self.count - 1:
            weights[-self.overlap :] = 1.0 - rise
        return weights

    def blocks(self, most: int) -> list["Block"]:
        """The side in blocks of at most `most` tiles, of which one may be worked on alone."""
        fresh = max(1, most - 1)
        blocks = []
        for first in range(0, self.count, fresh):
            after = min(first + fresh, self.count)
            # The tile before the block reaches into it.
            begin = max(first - 1, 0) if self.overlap else first
            stop = self.length if after == self.count else after * self.step
            blocks.append(Block(begin, after, first * self.step, stop))
        return blocks


@dataclass(frozen=True)
class Block:
    """Neighbouring tiles, and the pixels of the side that they decide."""

    first: int
    """First tile."""
    after: int
    """The tile after the last one."""
    start: int
    """First pixel decided."""
    stop: int
    """The pixel after the last one decided."""

    @property
    def count(self) -> int:
        """Tiles."""
        return self.after - self.first


def default_overlap(tile: int) -> int:
    """A quarter of a tile in whole strides, at least one stride; none where a tile is one stride.

    Args:
        tile: side of a tile in pixels.
    """
    return 0 if tile < 2 * STRIDE else max(1, tile // 4 // STRIDE) * STRIDE


def _rise(overlap: int) -> Float32Array:
    """0 … 1 over the overlap; with its mirror image it sums to 1."""
    flat = overlap // _DISCARDED
    middle = overlap - 2 * flat
    ramp = np.sin(np.pi / 2 * (np.arange(middle) + 0.5) / middle) ** 2
    return np.concatenate([np.zeros(flat), ramp, np.ones(flat)]).astype(np.float32)
