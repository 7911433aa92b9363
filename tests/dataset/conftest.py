"""A source whose pixels tell where they came from."""

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from terraloom.classes import ClassTable, LandClass
from terraloom.errors import UnreadableFile
from terraloom.raster.grid import Grid, Window
from terraloom.samples import SourceFile
from terraloom.seeds import generator_at
from terraloom.sources._face import Pixels

CHECKSUM = "c" * 64


@dataclass(frozen=True)
class CoordinateScene:
    """Red is the row, green the column, blue a pattern of the scene's own; labels follow."""

    name: str
    place: str | None = None
    split: str | None = None
    grid: Grid | None = None
    height: int = 70
    width: int = 101
    date: datetime.date | None = None
    label_year: int | None = None
    bands: tuple[str, ...] = ("red", "green", "blue")
    pattern: str = ""
    """Scenes of one pattern show the same image; left out, the name decides."""
    unknown_below: int | None = None
    """From this row on nothing is known."""

    unreadable_below: int | None = None
    """Windows that reach this row raise, as a damaged file does."""

    def parts(self) -> list["CoordinateScene"]:
        return [self]

    def holds(self, window: Window) -> bool:
        return True

    def read(self, window: Window) -> Pixels:
        bottom = window.row + window.height
        if self.unreadable_below is not None and bottom > self.unreadable_below:
            raise UnreadableFile(f"{self.name}.tif cannot be read: torn.")
        rows, columns = np.mgrid[
            window.row : window.row + window.height, window.column : window.column + window.width
        ]
        grains = generator_at(0, "pattern", self.pattern or self.name).integers(
            0, 256, (self.height // 4 + 1, self.width // 4 + 1)
        )
        image = np.stack([rows, columns, grains[rows // 4, columns // 4]], axis=-1).astype(np.uint8)
        labels = scene_labels(rows, columns)
        if self.unknown_below is not None:
            labels[rows >= self.unknown_below] = 255
        files = (SourceFile(self.name, f"{self.name}.tif", CHECKSUM, "CC-BY-4.0", "nobody"),)
        return Pixels(image, labels, files)


def scene_labels(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Labels 0 … 2 in oblique stripes."""
    return ((rows // 8 + columns // 16) % 3).astype(np.uint8)


@dataclass(frozen=True)
class CoordinateSource:
    """Hands on the scenes it is given."""

    given_scenes: tuple[CoordinateScene, ...]
    value_range: tuple[float, float] = (0.0, 255.0)
    unit_scale: float | None = None
    unit_offset: float = 0.0
    acquired: list[Path] = field(default_factory=list)

    def acquire(self, folder: Path) -> None:
        self.acquired.append(folder)

    def scenes(self, folder: Path) -> list[CoordinateScene]:
        return list(self.given_scenes)

    def inputs(self, folder: Path) -> dict[str, str]:
        return {f"{scene.name}.tif": CHECKSUM for scene in self.given_scenes}

    def given(self) -> dict[str, str]:
        return {}

    def left_out(self) -> dict[str, str]:
        return {}

    def extents(self) -> list[tuple[int, int]]:
        return [(scene.height, scene.width) for scene in self.given_scenes]


@pytest.fixture
def make_source() -> Callable[..., CoordinateSource]:
    """Scenes by name, all with the same further fields; each a place of its own if unplaced."""

    def make(
        *names: str,
        value_range: tuple[float, float] = (0.0, 255.0),
        unit_scale: float | None = None,
        **fields: object,
    ) -> CoordinateSource:
        scenes = []
        for name in names:
            own = dict(fields)
            if own.get("grid") is None and "place" not in own:
                own["place"] = f"place-{name}"
            scenes.append(CoordinateScene(name, **own))  # type: ignore[arg-type]
        return CoordinateSource(tuple(scenes), value_range, unit_scale)

    return make


@pytest.fixture
def three_classes() -> ClassTable:
    return ClassTable(
        classes=(
            LandClass(name="a", colour=(200, 0, 0), codes=(1,)),
            LandClass(name="b", colour=(0, 200, 0), codes=(2,)),
            LandClass(name="c", colour=(0, 0, 200), codes=(3,)),
        ),
        ignore_codes=(0,),
    )


@pytest.fixture
def labels_at() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The labels of a coordinate scene at rows and columns."""
    return scene_labels
