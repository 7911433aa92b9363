"""The face of a source: scenes that can be read window by window."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from terraloom.raster.grid import Grid, Window
from terraloom.samples import SourceFile
from terraloom.types import LabelMask, TrustMap


@dataclass(frozen=True)
class Pixels:
    """What a scene holds in one window."""

    image: NDArray[np.generic]
    """The scene's bands in the source's own units, "height width band"; red, green, blue first."""
    labels: LabelMask
    """Labels 0 … N−1, 255 where unknown or outside."""
    files: tuple[SourceFile, ...]
    """The inputs that these pixels were read from."""
    trust: TrustMap | None = None
    """How far each label can be believed, 0 … 255; None where nothing is known of it."""
    cloud: NDArray[np.bool_] | None = None
    """Where cloud or its shadow hides the ground, "height width"; None where nobody looked."""


@dataclass(frozen=True)
class DownloadPlan:
    """What acquiring would take, told before anything is fetched."""

    items: int
    """Files that the area needs."""
    done: int
    """Of these, files that are there."""
    download_bytes: int
    """Still to be transferred."""
    disk_bytes: int
    """Of all items when done; an estimate, since they are packed anew."""
    estimated: bool
    """Whether `download_bytes` rests on assumed densities because headers could not be read."""
    seconds: float
    """At the rate that the source assumes."""


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

    @property
    def label_year(self) -> int | None:
        """Year that the labels describe, or None."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the image's bands; the first three are red, green, blue."""

    def parts(self) -> Sequence["Scene"]:
        """One scene per input image; the scene itself where it is of one image."""

    def holds(self, window: Window) -> bool:
        """Whether a window belongs to the area asked for."""

    def read(self, window: Window) -> Pixels:
        """Pixels of one window that lies within the scene; scenes can be pickled.

        Raises:
            UnknownCode: the mask holds a value that is neither a class nor ignored.
            UnreadableFile: an input's bytes are damaged or end early.
            TilesDisagree: two inputs hold different values for the same pixels.
        """


class Source(Protocol):
    """Finds or makes scenes."""

    @property
    def value_range(self) -> tuple[float, float]:
        """Source values drawn as 0 and 255 unless the settings say otherwise."""

    @property
    def unit_scale(self) -> float | None:
        """Reflectance per source unit, or None where the unit is not known."""

    @property
    def unit_offset(self) -> float:
        """Reflectance of the source value 0; 0 unless an offset is carried along."""

    def acquire(self, folder: Path) -> None:
        """Bring inputs into `folder` (or check those that lie elsewhere); may be repeated.

        Raises:
            InputError: the inputs are wrong; nothing half-written is left.
        """

    def scenes(self, folder: Path) -> list[Scene]:
        """All scenes in a fixed order."""

    def inputs(self, folder: Path) -> dict[str, str]:
        """SHA-256 of every input by name; what `scenes` left out is not among them."""

    def given(self) -> dict[str, str]:
        """SHA-256 of the inputs that lie there before anything is acquired; may be empty.

        Raises:
            InputError: they are wrong in a way that shows without reading pixels.
        """

    def left_out(self) -> dict[str, str]:
        """Inputs that `scenes` left out, with the reason; known once `scenes` was called."""

    def extents(self) -> list[tuple[int, int]]:
        """Height and width in pixels of the scenes, as far as known before acquiring."""


@runtime_checkable
class PlanningSource(Protocol):
    """A source that can tell what acquiring would take."""

    def plan(self, folder: Path) -> DownloadPlan:
        """What `acquire` would still fetch into `folder`; writes nothing."""


@runtime_checkable
class ForgettingSource(Protocol):
    """A source that remembers what could not be fetched, and can be told to try again."""

    def forget_failed(self, folder: Path) -> int:
        """Make the next `acquire` try again what failed for good; the number of such items."""
