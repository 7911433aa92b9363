"""The face of a source: scenes that can be read window by window."""

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from terraloom.raster.grid import Grid, Window
from terraloom.samples import SourceFile
from terraloom.types import LabelMask, TrustMap


@dataclass(frozen=True)
class Pixels:
    """What a scene holds in one window."""

    image: NDArray[np.generic]
    """Red, green, blue in the source's own units, "height width 3"."""
    labels: LabelMask
    """Labels 0 … N−1, 255 where unknown or outside."""
    files: tuple[SourceFile, ...]
    """The inputs that these pixels were read from."""
    trust: TrustMap | None = None


class Scene(Protocol):
    """One image with its label mask, of any size."""

    @property
    def name(self) -> str:
        """Unique in its source; the first part of sample ids."""

    @property
    def place(self) -> str | None:
        """Spatial group; None where coordinates decide."""

    @property
    def split(self) -> str | None:
        """The split that the source's index names, in the index's own words."""

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""

    @property
    def width(self) -> int:
        """Pixels from left to right."""

    @property
    def grid(self) -> Grid | None:
        """Place on Earth, or None."""

    @property
    def date(self) -> datetime.date | None:
        """Day of the image, or None."""

    def read(self, window: Window) -> Pixels:
        """Pixels of one window that lies within the scene.

        Raises:
            UnknownCode: the mask holds a value that is neither a class nor ignored.
        """


class Source(Protocol):
    """Finds or makes scenes."""

    @property
    def value_range(self) -> tuple[float, float]:
        """Source values drawn as 0 and 255 unless the settings say otherwise."""

    @property
    def unit_scale(self) -> float | None:
        """Reflectance per source unit, or None where the unit is not known."""

    def acquire(self, folder: Path) -> None:
        """Bring inputs into `folder` (or check those that lie elsewhere); may be repeated.

        Raises:
            InputError: the inputs are wrong; nothing half-written is left.
        """

    def scenes(self, folder: Path) -> list[Scene]:
        """All scenes in a fixed order."""

    def inputs(self, folder: Path) -> dict[str, str]:
        """SHA-256 of every input by name."""

    def given(self) -> dict[str, str]:
        """SHA-256 of the inputs that lie there before anything is acquired; may be empty.

        Raises:
            InputError: they are wrong in a way that shows without reading pixels.
        """

    def left_out(self) -> dict[str, str]:
        """Inputs that `scenes` left out, with the reason; known once `scenes` was called."""

    def extents(self) -> list[tuple[int, int]]:
        """Height and width in pixels of the scenes, as far as known before acquiring."""
