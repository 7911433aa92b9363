"""A scene of image and mask files, read window by window on the image's own grid."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from terraloom.classes import UNKNOWN, ClassTable
from terraloom.errors import PairError
from terraloom.raster import geotiff
from terraloom.raster.grid import Grid, Window
from terraloom.samples import SourceFile
from terraloom.sources._face import Pixels, Scene
from terraloom.sources._images import checksum, decoded, is_raster, open_image
from terraloom.types import LabelMask

Style = Literal["codes", "palette", "colours"]
"""How a mask file tells classes: pixel values are codes, palette colours, or RGB colours."""


@dataclass(frozen=True)
class Reading:
    """How the files of one folder are read; the same for every pair."""

    folder: Path
    """That names in tables are relative to."""
    classes: ClassTable
    mask_style: Style
    bands: tuple[int, ...]
    """1-based bands of an image of one file; unused where each band has a file."""
    band_names: tuple[str, ...]
    licence: str | None = None
    attribution: str | None = None

    @property
    def mask_bands(self) -> tuple[int, ...]:
        """1-based bands of a mask in GeoTIFF."""
        return (1,) if self.mask_style == "codes" else (1, 2, 3)

    def told(self, path: Path) -> str:
        """A file's path below the folder, as written to tables."""
        inside = path.is_relative_to(self.folder)
        return (
            path.relative_to(self.folder).as_posix()
            if inside
            else f"{path.parent.name}/{path.name}"
        )


@dataclass(frozen=True)
class PairScene:
    """One image, in one file or one file per band, with the masks that lie on it."""

    name: str
    images: tuple[Path, ...]
    """One file with all bands, or one file per band in the order of `bands`."""
    masks: tuple[Path, ...]
    reading: Reading
    height: int
    width: int
    place: str | None
    split: str | None
    date: datetime.date | None
    label_year: int | None = None
    grid: Grid | None = None
    """Of the image."""
    masks_are_placed: bool = False
    """Whether masks have coordinates of their own; else the one mask lies on the image pixel by
    pixel."""
    cloud_mask: Path | None = None
    cloud_is_placed: bool = False

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the image's bands."""
        return self.reading.band_names

    @property
    def files(self) -> tuple[SourceFile, ...]:
        """Image, masks and cloud mask with their checksums."""
        return self._files([*self.images, *self.masks, *self._cloud_files()])

    def parts(self) -> Sequence[Scene]:
        """The scene itself: it is of one image."""
        return [self]

    def holds(self, window: Window) -> bool:
        """Every window belongs to the pair."""
        return True

    def read(self, window: Window) -> Pixels:
        """Pixels of one window; georeferenced masks are brought on to the image's grid."""
        labels, masks = self._labels(window)
        files = self._files([*self.images, *masks, *self._cloud_files()])
        return Pixels(self._image(window), labels, files, cloud=self._cloud(window))

    def _cloud_files(self) -> tuple[Path, ...]:
        return () if self.cloud_mask is None else (self.cloud_mask,)

    def _files(self, paths: Sequence[Path]) -> tuple[SourceFile, ...]:
        reading = self.reading
        return tuple(
            SourceFile(
                path.name,
                reading.told(path),
                checksum(path),
                reading.licence,
                reading.attribution,
            )
            for path in paths
        )

    def _image(self, window: Window) -> NDArray[np.generic]:
        if not is_raster(self.images[0]):
            return decoded(self.images[0], "RGB")[_slices(window)]
        if len(self.images) > 1:
            bands = [geotiff.read_window(path, window, (1,))[0] for path in self.images]
            return np.stack(bands, axis=-1)
        return np.moveaxis(geotiff.read_window(self.images[0], window, self.reading.bands), 0, -1)

    def _labels(self, window: Window) -> tuple[LabelMask, tuple[Path, ...]]:
        """Labels of a window, and the masks that they came from."""
        if not (self.masks_are_placed and self.grid is not None):
            stored = self._stored_mask(window)
            return self._labels_of(stored, self.masks[0].name), self.masks
        part = self.grid.part(window)
        covers = [geotiff.covered_part(path, part) for path in self.masks]
        used = tuple(path for path, cover in zip(self.masks, covers, strict=True) if cover.any())
        if not used:
            return np.full((window.height, window.width), UNKNOWN, np.uint8), ()
        pixels = geotiff.read_onto(used, part, bands=self.reading.mask_bands, fill=self._fill())
        labels = self._labels_of(self._bands_last(pixels), ", ".join(path.name for path in used))
        labels[~np.logical_or.reduce(covers)] = UNKNOWN
        return labels, used

    def _fill(self) -> int:
        """Any value that the table knows will do where the masks end: those pixels become 255."""
        if self.reading.mask_style != "codes":
            return 0
        codes = [code for land in self.reading.classes.classes for code in land.codes]
        return min((code for code in codes if code >= 0), default=0)

    def _bands_last(self, pixels: NDArray[Any]) -> NDArray[Any]:
        return pixels[0] if self.reading.mask_style == "codes" else np.moveaxis(pixels, 0, -1)

    def _stored_mask(self, window: Window) -> NDArray[Any]:
        style, path = self.reading.mask_style, self.masks[0]
        if is_raster(path):
            return self._bands_last(geotiff.read_window(path, window, self.reading.mask_bands))
        if style == "palette":
            with open_image(path) as image:
                mode = image.mode
            if mode != "P":
                raise PairError(
                    f"{path.name}: mask_style is palette, but the image has mode "
                    f'{mode}. Set mask_style = "codes" or "colours".'
                )
        return decoded(path, None if style == "codes" else "RGB")[_slices(window)]

    def _labels_of(self, stored: NDArray[Any], name: str) -> LabelMask:
        classes = self.reading.classes
        if self.reading.mask_style != "codes":
            return classes.labels_of_colours(stored.astype(np.uint8), source=name)
        if stored.ndim != 2:
            raise PairError(
                f"{name}: mask_style is codes, but the mask has {stored.shape[-1]} bands. "
                'Set mask_style = "colours", or save one band.'
            )
        if stored.dtype.kind == "f":
            stored = _whole_numbers(stored, name)
        return classes.labels_of_codes(stored, source=name)

    def _cloud(self, window: Window) -> NDArray[np.bool_] | None:
        path = self.cloud_mask
        if path is None:
            return None
        if not is_raster(path):
            return decoded(path, "L")[_slices(window)] > 0
        if self.cloud_is_placed and self.grid is not None:
            # Ground that the cloud mask does not show is not known to be clear.
            cloud = geotiff.read_onto([path], self.grid.part(window), bands=(1,), fill=1)[0]
        else:
            cloud = geotiff.read_window(path, window, (1,))[0]
        hidden: NDArray[np.bool_] = cloud != 0
        return hidden


def _whole_numbers(pixels: NDArray[Any], name: str) -> NDArray[np.int64]:
    """Codes stored as floating-point numbers, which some tools do."""
    if not np.isfinite(pixels).all() or (pixels != np.rint(pixels)).any():
        raise PairError(
            f"{name}: the mask holds numbers that are not whole, so they are no codes. Save the "
            "codes as integers, with a code of its own for no data."
        )
    return pixels.astype(np.int64)


def _slices(window: Window) -> tuple[slice, slice]:
    return (
        slice(window.row, window.row + window.height),
        slice(window.column, window.column + window.width),
    )
