"""Cells of one CRS that touch one another, read as one scene across their edges."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from terraloom.classes import UNKNOWN, ClassTable
from terraloom.files import sha256_of
from terraloom.raster import geotiff
from terraloom.raster.grid import Grid, Window
from terraloom.samples import SourceFile
from terraloom.sources._area import Area
from terraloom.sources._cells import Cell
from terraloom.sources._face import Pixels, Scene
from terraloom.sources._stac_cell import cell_paths
from terraloom.sources._stac_composite import NO_DATA
from terraloom.sources._stac_items import BANDS
from terraloom.types import LabelMask


@dataclass(frozen=True)
class CellFiles:
    """One fetched cell."""

    name: str
    grid: Grid
    image: Path
    labels: Path
    image_sha256: str
    labels_sha256: str
    date: datetime.date | None
    """Of its composite; None where no day was clear."""

    @classmethod
    def of(cls, folder: Path, cell: Cell, record: Mapping[str, Any]) -> "CellFiles":
        """A cell's files in a folder, and what its record says."""
        image, labels = cell_paths(folder, cell.name)
        day = record["date"]
        return cls(
            cell.name,
            cell.grid,
            image,
            labels,
            sha256_of(image),
            sha256_of(labels),
            None if day is None else datetime.date.fromisoformat(day),
        )


@dataclass(frozen=True)
class CellScene:
    """A mosaic of cells on one pixel grid."""

    name: str
    grid: Grid
    cells: tuple[CellFiles, ...]
    area: Area
    """Windows whose centre lies outside are not asked for."""
    classes: ClassTable
    label_year: int
    label_nodata: int
    licences: tuple[str | None, str | None]
    """Of images and labels."""
    attributions: tuple[str | None, str | None]
    """Of images and labels."""
    bands: tuple[str, ...] = BANDS
    place: str | None = None
    split: str | None = None
    height: int = field(init=False)
    width: int = field(init=False)
    date: datetime.date | None = field(init=False)
    """The median of the cells' days (the earlier of two)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "height", self.grid.height)
        object.__setattr__(self, "width", self.grid.width)
        days = sorted(cell.date for cell in self.cells if cell.date is not None)
        object.__setattr__(self, "date", days[(len(days) - 1) // 2] if days else None)

    def parts(self) -> Sequence[Scene]:
        """One scene per cell, on its own grid."""
        return [
            replace(self, name=f"{self.label_year}-{cell.name}", grid=cell.grid, cells=(cell,))
            for cell in self.cells
        ]

    def holds(self, window: Window) -> bool:
        """Whether a cell touches the window and its centre lies in this CRS's share of the area."""
        part = self.grid.part(window)
        if not self._under(part):
            return False
        lon, lat = part.lonlat_centre()
        return bool(self.area.contains(np.array([lon]), np.array([lat]))[0])

    def read(self, window: Window) -> Pixels:
        """Image and labels of a window, as they lie in the cells.

        Where no day was clear the image is 0, `cloud` is true and the label unknown.

        Raises:
            UnknownCode: a label is neither a class nor ignored.
            UnreadableFile: a cell's file is damaged.
        """
        grid = self.grid.part(window)
        cells = self._under(grid)
        shape = (window.height, window.width)
        image = np.zeros((len(BANDS), *shape), dtype=np.uint16)
        labels: LabelMask = np.full(shape, UNKNOWN, dtype=np.uint8)
        cloud = np.zeros(shape, dtype=bool)
        if cells:
            bands = range(1, len(BANDS) + 1)
            image = geotiff.read_onto(
                [cell.image for cell in cells], grid, bands=bands, fill=NO_DATA
            ).astype(np.uint16)
            codes = geotiff.read_onto(
                [cell.labels for cell in cells], grid, bands=(1,), fill=self.label_nodata
            )[0].astype(np.int16)
            known = codes != self.label_nodata
            named = ", ".join(cell.labels.name for cell in cells)
            labels[known] = self.classes.labels_of_codes(codes[known][None], source=named)[0]
            hidden = (image == NO_DATA).all(axis=0)
            labels[hidden] = UNKNOWN
            for cell in cells:
                rows, columns = _slices(grid, cell.grid)
                cloud[rows, columns] = hidden[rows, columns]
        files = tuple(file for cell in cells for file in self._files(cell))
        return Pixels(np.moveaxis(image, 0, -1), labels, files, cloud=cloud)

    def _under(self, grid: Grid) -> list[CellFiles]:
        """Cells that share pixels with a grid."""
        found = []
        for cell in self.cells:
            rows, columns = _slices(grid, cell.grid)
            if rows.stop > rows.start and columns.stop > columns.start:
                found.append(cell)
        return found

    def _files(self, cell: CellFiles) -> tuple[SourceFile, SourceFile]:
        (image, labels), (of_image, of_labels) = self.licences, self.attributions
        return (
            SourceFile(cell.image.name, cell.image.name, cell.image_sha256, image, of_image),
            SourceFile(cell.labels.name, cell.labels.name, cell.labels_sha256, labels, of_labels),
        )


def _slices(grid: Grid, other: Grid) -> tuple[slice, slice]:
    """Rows and columns of `grid` that lie on `other`; both are of one pixel grid."""
    step = grid.transform[0]
    top = round((grid.transform[5] - other.transform[5]) / step)
    left = round((other.transform[2] - grid.transform[2]) / step)
    return (
        slice(min(max(top, 0), grid.height), min(max(top + other.height, 0), grid.height)),
        slice(min(max(left, 0), grid.width), min(max(left + other.width, 0), grid.width)),
    )
