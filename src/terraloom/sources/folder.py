"""Your own image–mask pairs: two folders, with or without an index of places and splits."""

import csv
import datetime
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict

from terraloom.classes import UNKNOWN, ClassTable
from terraloom.errors import InputError, PairError, SettingsError, UnequalSizes
from terraloom.files import sha256_of
from terraloom.progress import meter
from terraloom.raster import geotiff
from terraloom.raster.grid import Grid, Window
from terraloom.samples import SourceFile
from terraloom.sources._face import Pixels, Scene, Source
from terraloom.types import LabelMask

_IMAGE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
_RASTER_SUFFIXES: Final = (".tif", ".tiff")
_DEEP_MODES: Final = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_INDEX_COLUMNS: Final = ("id", "place", "split", "date", "image", "mask")


class Settings(BaseModel):
    """Options of `[sources.folder]`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    folder: Path
    """Holds the two folders and the index."""
    images: str = "images"
    """Sub-folder of the images: PNG, JPEG or GeoTIFF."""
    masks: str = "masks"
    """Sub-folder of the masks; a mask bears its image's name, whatever the suffix."""
    index: str | None = None
    """CSV with id and, where known, place, split, date, image, mask (paths within folder or the
    sub-folders); left out, all pairs are taken and each image is a place of its own."""
    mask_style: Literal["codes", "palette", "colours"] = "codes"
    """codes: pixel values are the table's codes (palette indexes too); palette: a palette image
    whose colours are the classes'; colours: RGB in the classes' colours."""
    bands: tuple[int, int, int] = (1, 2, 3)
    """GeoTIFF bands taken as red, green, blue, counted from 1."""
    unequal_pairs: Literal["error", "skip"] = "error"
    """A pair whose image and mask differ in size: end the run, or leave the pair out and say so."""
    value_range: tuple[float, float] = (0.0, 255.0)
    """Values drawn as 0 and 255; one scale for all images."""
    licence: str | None = None
    """SPDX name of the pairs' licence, carried along with every sample."""
    attribution: str | None = None
    """Whom to credit, carried along with every sample."""


@dataclass(frozen=True)
class PairScene:
    """One image file and its mask file."""

    name: str
    image_path: Path
    mask_path: Path
    classes: ClassTable
    settings: Settings
    height: int
    width: int
    place: str | None
    split: str | None
    date: datetime.date | None
    grid: Grid | None = None
    """Of the image."""
    mask_is_placed: bool = False
    """Whether the mask has coordinates of its own; else it lies on the image pixel by pixel."""

    @property
    def files(self) -> tuple[SourceFile, ...]:
        """Image and mask with their checksums."""
        return tuple(
            SourceFile(
                path.name,
                _relative(path, self.settings.folder),
                _checksum(path),
                self.settings.licence,
                self.settings.attribution,
            )
            for path in (self.image_path, self.mask_path)
        )

    def read(self, window: Window) -> Pixels:
        """Pixels of one window; a georeferenced mask is brought on to the image's grid."""
        return Pixels(self._image(window), self._labels(window), self.files)

    def _image(self, window: Window) -> NDArray[np.generic]:
        if self.image_path.suffix.lower() in _RASTER_SUFFIXES:
            return _read_raster(self.image_path, self.grid, window, self.settings.bands, fill=0)
        return _decoded(self.image_path, "RGB")[_slices(window)]

    def _labels(self, window: Window) -> LabelMask:
        labels = self._known_labels(window)
        if self.mask_is_placed and self.grid is not None:
            covered = geotiff.covered_part(self.mask_path, self.grid.part(window))
            labels[~covered] = UNKNOWN
        return labels

    def _known_labels(self, window: Window) -> LabelMask:
        stored = self._stored_mask(window)
        if self.settings.mask_style == "codes":
            if stored.ndim != 2:
                raise PairError(
                    f"{self.mask_path.name}: mask_style is codes, but the mask has "
                    f'{stored.shape[-1]} bands. Set mask_style = "colours", or save one band.'
                )
            if stored.dtype.kind == "f":
                stored = _whole_numbers(stored, self.mask_path.name)
            return self.classes.labels_of_codes(stored, source=self.mask_path.name)
        return self.classes.labels_of_colours(stored.astype(np.uint8), source=self.mask_path.name)

    def _stored_mask(self, window: Window) -> NDArray[Any]:
        style = self.settings.mask_style
        if self.mask_path.suffix.lower() in _RASTER_SUFFIXES:
            bands = (1,) if style == "codes" else (1, 2, 3)
            # Any value that the table knows will do where the mask ends: those pixels become 255.
            fill = 0
            if style == "codes":
                codes = [code for c in self.classes.classes for code in c.codes]
                fill = min((code for code in codes if code >= 0), default=0)
            grid = self.grid if self.mask_is_placed else None
            pixels = _read_raster(self.mask_path, grid, window, bands, fill=fill)
            return pixels[..., 0] if style == "codes" else pixels
        if style == "palette":
            with _open_image(self.mask_path) as image:
                mode = image.mode
            if mode != "P":
                raise PairError(
                    f"{self.mask_path.name}: mask_style is palette, but the image has mode "
                    f'{mode}. Set mask_style = "codes" or "colours".'
                )
        stored = _decoded(self.mask_path, None if style == "codes" else "RGB")
        return stored[_slices(window)]


class FolderSource:
    """Pairs images and masks by name."""

    unit_scale = None

    def __init__(self, settings: Settings, classes: ClassTable) -> None:
        self.settings = settings
        self.classes = classes
        self.value_range = settings.value_range
        self._left_out: dict[str, str] = {}

    def acquire(self, folder: Path) -> None:
        """Open every pair once, so that wrong masks are named before anything is written."""
        scenes = self.scenes(folder)
        with meter("checking pairs", len(scenes), "pairs") as progress:
            for scene in scenes:
                scene.read(Window(0, 0, scene.height, scene.width))
                progress.advance()

    def scenes(self, folder: Path) -> list[Scene]:
        """One scene per pair, in the order of their names.

        Raises:
            PairError: an image has no mask, a mask no image, or their sizes differ.
        """
        settings = self.settings
        listed = settings.index is not None
        images = _files_by_stem(settings.folder / settings.images, "images", listed)
        masks = _files_by_stem(settings.folder / settings.masks, "masks", listed)
        entries = self._index_entries(images, masks)
        scenes: list[Scene] = []
        for entry in entries:
            image = self._find(entry["image"], entry["id"], settings.images, images)
            mask = self._find(entry["mask"], entry["id"], settings.masks, masks)
            if image is None or mask is None:
                kind, other = ("image", "mask") if image is None else ("mask", "image")
                where = settings.folder / (settings.images if image is None else settings.masks)
                raise PairError(
                    f"{entry['id']}: {other} without {kind}; looked for "
                    f"{entry[kind] or entry['id'] + '.*'} in {where}. Add the file, or leave the "
                    "id out of the index."
                )
            try:
                scenes.append(self._scene(entry, image, mask))
            except UnequalSizes as error:
                if settings.unequal_pairs == "error":
                    raise
                self._left_out[entry["id"]] = str(error)
        return scenes

    def left_out(self) -> dict[str, str]:
        """Pairs of unequal size, where the settings say to leave them out."""
        return dict(self._left_out)

    def _find(self, named: str, stem: str, sub_folder: str, found: dict[str, Path]) -> Path | None:
        """The file that the index names, by path or by name with any suffix; else by its id."""
        if not named:
            return found.get(stem) or found.get(Path(stem).stem)
        relative = Path(named)
        if not relative.is_absolute() and ".." not in relative.parts:  # an index leads nowhere else
            for base in (self.settings.folder, self.settings.folder / sub_folder):
                if (base / relative).is_file():
                    return base / relative
        return found.get(named) or found.get(Path(named).stem)

    def inputs(self, folder: Path) -> dict[str, str]:
        """SHA-256 of every image and mask."""
        return self.given()

    def extents(self) -> list[tuple[int, int]]:
        """Sizes of the images."""
        return [(scene.height, scene.width) for scene in self.scenes(self.settings.folder)]

    def given(self) -> dict[str, str]:
        """SHA-256 of every image and mask, all of which lie there before the run."""
        found: dict[str, str] = {}
        for scene in self.scenes(self.settings.folder):
            assert isinstance(scene, PairScene)
            found |= {file.uri: file.sha256 for file in scene.files}
        return found

    def _index_entries(
        self, images: dict[str, Path], masks: dict[str, Path]
    ) -> list[dict[str, str]]:
        if self.settings.index is None:
            lonely = sorted(images.keys() ^ masks.keys())
            if lonely:
                has = "image" if lonely[0] in images else "mask"
                lacks = "mask" if has == "image" else "image"
                path = (images if has == "image" else masks)[lonely[0]]
                raise PairError(
                    f"{path.name}: {has} without {lacks} ({len(lonely)} such files in "
                    f"{self.settings.folder}). Add the missing files, or list the wanted pairs in "
                    "an index."
                )
            return [dict.fromkeys(_INDEX_COLUMNS, "") | {"id": stem} for stem in sorted(images)]
        return _read_index(self.settings.folder / self.settings.index)

    def _scene(self, entry: dict[str, str], image: Path, mask: Path) -> PairScene:
        height, width, grid = _shape_of(image)
        mask_height, mask_width, mask_grid = _shape_of(mask)
        if (height, width) != (mask_height, mask_width) and (grid is None or mask_grid is None):
            raise UnequalSizes(
                f"{image.name} is {width}×{height} pixels, its mask {mask.name} "
                f"{mask_width}×{mask_height}. Make their sizes equal, or set "
                'unequal_pairs = "skip" to leave such pairs out.'
            )
        day = None
        if entry["date"]:
            try:
                day = datetime.date.fromisoformat(entry["date"])
            except ValueError as error:
                raise SettingsError(
                    f"index, id {entry['id']}: date {entry['date']!r} is not YYYY-MM-DD."
                ) from error
        return PairScene(
            name=entry["id"],
            image_path=image,
            mask_path=mask,
            classes=self.classes,
            settings=self.settings,
            height=height,
            width=width,
            place=entry["place"] or (None if grid is not None else entry["id"]),
            split=entry["split"] or None,
            date=day,
            grid=grid,
            mask_is_placed=grid is not None and mask_grid is not None,
        )


def build(settings: Settings, classes: ClassTable, seed: int) -> Source:
    """The source; `seed` plays no part."""
    return FolderSource(settings, classes)


def _files_by_stem(folder: Path, what: str, listed: bool) -> dict[str, Path]:
    """Files directly in a folder; none is an error unless an index may list deeper ones."""
    if not folder.is_dir():
        raise InputError(
            f"[sources.folder] the folder of {what} {folder} does not exist. "
            "Correct folder, images or masks in the settings."
        )
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in _IMAGE_SUFFIXES:
            continue
        if path.stem in found:
            raise PairError(
                f"{path.name} and {found[path.stem].name} in {folder} share one name; keep one."
            )
        found[path.stem] = path
    if not found and not listed:
        raise InputError(f"{folder} holds no {what} ({', '.join(_IMAGE_SUFFIXES)}).")
    return found


def _read_index(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise InputError(f"[sources.folder] index {path} does not exist.")
    try:
        with open(path, newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            columns: Sequence[str] = reader.fieldnames or ()
            rows = [{key: (row.get(key) or "").strip() for key in _INDEX_COLUMNS} for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path.name} is not a CSV file in UTF-8: {error}.") from error
    if "id" not in columns:
        raise InputError(
            f"{path.name} has columns {', '.join(columns) or 'none'}; a column 'id' is needed."
        )
    counts = Counter(row["id"] for row in rows)
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise InputError(f"{path.name} lists id {twice[0]!r} more than once.")
    # Ids name files of exports: one that climbs out of its folder must not get so far.
    strange = [name for name in counts if name in ("", ".", "..") or set(name) & set("/\\\0")]
    if strange:
        raise InputError(
            f"{path.name} lists id {strange[0]!r}; an id is a plain name without slashes. Write "
            "paths in the columns image and mask."
        )
    return sorted(rows, key=lambda row: row["id"])


def _shape_of(path: Path) -> tuple[int, int, Grid | None]:
    if path.suffix.lower() in _RASTER_SUFFIXES:
        info = geotiff.read_info(path)
        return info.height, info.width, info.grid
    with _open_image(path) as image:
        return image.height, image.width, None


def _relative(path: Path, folder: Path) -> str:
    """A file's path below the settings' folder, as written to tables."""
    inside = path.is_relative_to(folder)
    return path.relative_to(folder).as_posix() if inside else f"{path.parent.name}/{path.name}"


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


def _read_raster(
    path: Path, grid: Grid | None, window: Window, bands: Sequence[int], *, fill: float
) -> NDArray[np.generic]:
    """A window as "height width band"; on the image's grid where both files have a place."""
    if grid is None:
        pixels = geotiff.read_window(path, window, bands)
    else:
        # Labels and images on one grid are read without resampling; others by nearest.
        pixels = geotiff.read_onto([path], grid.part(window), bands=bands, fill=fill)
    return np.moveaxis(pixels, 0, -1)


@lru_cache(maxsize=8)
def _decoded(path: Path, mode: str | None) -> NDArray[np.uint8]:
    """Pixels of a whole image file; a few stay in memory, as windows of one file follow in turn."""
    with _open_image(path) as image:
        if mode == "RGB" and image.mode in _DEEP_MODES:
            raise PairError(
                f"{path.name} has more than 8 bits per pixel, which would be cut off at 255. "
                "Save it as GeoTIFF and set value_range, or as 8-bit RGB."
            )
        try:
            return np.asarray(image.convert(mode) if mode else image)
        except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises on torn files
            raise PairError(
                f"{path.name} cannot be read to its end: {error}. Fetch or write it again."
            ) from error


@cache
def _checksum(path: Path) -> str:
    return sha256_of(path)


def _open_image(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except (UnidentifiedImageError, OSError) as error:
        raise PairError(f"{path.name} cannot be read as an image: {error}.") from error
