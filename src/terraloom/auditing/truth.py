"""What is known of the images that captions tell of: class shares, masks, and groups.

Shares stand as one column per class in the caption file itself (ARAS400k's CSV), or are measured on
masks: a folder of files named like the images, or a samples table of terraloom.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from terraloom.auditing.reading import CaptionFile
from terraloom.classes import UNKNOWN, ClassTable
from terraloom.errors import CaptionFileError, InputError, StageMissing, UnreadableFile
from terraloom.raster import geotiff
from terraloom.raster.grid import Window
from terraloom.samples import decode
from terraloom.tables import MANIFEST, Table
from terraloom.types import Float64Array, LabelMask

MaskStyle = Literal["auto", "labels", "codes", "colours"]
"""Label ids 0 … N−1, source codes such as WorldCover's 10 … 100, or class colours."""
_SUFFIXES: Final = (".png", ".tif", ".tiff", ".bmp", ".webp")
_RASTERS: Final = (".tif", ".tiff")
_LOOKED_AT: Final = 64
"""Masks that decide the style together: one alone may hold a single, ambiguous value."""
_SUM_TOLERANCE: Final = 0.035
"""Seven whole percentages may each be half a percent off."""
# Neighbouring patches of one WorldCover tile show the same land: they form one group.
_TILE: Final = re.compile(r"^([NS]\d{2}[EW]\d{3})_")


@dataclass
class Truth:
    """Shares and masks by image."""

    source: str
    """In words: where the shares come from."""
    shares: dict[str, Float64Array]
    """By image as the caption file names it, float64 "class", sum 1."""
    groups: dict[str, str] = field(default_factory=dict)
    """Place of an image; an image without one stands for itself."""
    mask_of: Callable[[str], LabelMask] | None = field(default=None, repr=False)
    """Reads the mask of an image that has shares; None where no masks are given."""
    step: float = 0.0
    """What shares are rounded to: 0.01 where the file gives whole percents."""
    problems: Counter[str] = field(default_factory=Counter)
    """Images without usable truth, by reason."""

    def group(self, image: str) -> str:
        """The group that an image belongs to in cross-validation."""
        tile = _TILE.match(image)
        return self.groups.get(image) or (tile[1] if tile else image)

    @property
    def grouped_by(self) -> str:
        """What `group` groups by, in words."""
        if self.groups:
            return "place"
        tiled = bool(self.shares) and all(_TILE.match(image) for image in self.shares)
        return "tile" if tiled else "image"


def holds_shares(captions: CaptionFile, classes: ClassTable) -> bool:
    """Whether a CSV file has a column of shares for every class."""
    return bool(_share_columns(captions, classes))


def shares_in_file(captions: CaptionFile, images: Iterable[str], classes: ClassTable) -> Truth:
    """Shares of these images that stand in a CSV file, one column per class (`holds_shares`).

    Percentages or parts of one; rows that do not add up to the whole are left out and counted.
    """
    columns = _share_columns(captions, classes)
    wanted = set(images)
    truth = Truth(f"columns {', '.join(columns)} of the file", {})
    rounded = True
    for image, cells in captions.cells(columns):
        if image not in wanted:
            continue
        try:
            values = np.array([float(cell) for cell in cells])
        except ValueError:
            truth.problems["shares that are no numbers"] += 1
            continue
        total = float(values.sum())
        whole = next((w for w in (1.0, 100.0) if abs(total - w) <= _SUM_TOLERANCE * w), None)
        if whole is None or not np.isfinite(values).all() or values.min() < 0:
            truth.problems["shares that do not add up to 1 or 100"] += 1
            continue
        rounded &= whole == 100.0 and bool((values == np.rint(values)).all())
        truth.shares[image] = values / total
    truth.step = 0.01 if rounded else 0.0
    return truth


def _share_columns(captions: CaptionFile, classes: ClassTable) -> list[str]:
    """In label order; empty where a class has none."""
    by_name = {_plain(name): name for name in captions.columns}
    columns = [by_name.get(_plain(name)) for name in classes.names]
    return [c for c in columns if c is not None] if None not in columns else []


def truth_of_masks(
    folder: Path, images: Iterable[str], classes: ClassTable, style: MaskStyle = "auto"
) -> Truth:
    """Shares measured on masks.

    Args:
        folder: of mask files named like the images (suffix and sub-folder do not matter), or a
            samples table.
        images: those to measure.
        classes: class table that the masks follow.
        style: of mask files; "auto" looks at some and tells what it took them for.

    Raises:
        CaptionFileError: the folder is missing, or no image has a mask in it.
        UnknownCode: a mask holds a value that the class table lacks.
        UnreadableFile: a mask is damaged.
    """
    if not folder.is_dir():
        raise CaptionFileError(f"--masks {folder} is no folder. Give the folder of the masks.")
    if (folder / MANIFEST).exists():
        return _truth_of_table(folder, set(images), classes)
    by_stem = {path.stem: path for path in sorted(folder.rglob("*")) if _is_mask(path)}
    wanted = dict.fromkeys(images)
    found = {image: by_stem[_stem(image)] for image in wanted if _stem(image) in by_stem}
    if not found:
        first = next(iter(wanted), "none")
        has = next(iter(by_stem.values()), None)
        raise CaptionFileError(
            f"no mask in {folder} is named like an image of the captions: the first image is "
            f"{first[:80]!r}, the first mask {has.name if has else 'missing'!r}. Names must agree "
            "but for their suffix."
        )
    if style == "auto":
        style = _style_of(list(found.values())[:: max(len(found) // _LOOKED_AT, 1)], classes)
    chosen = style

    def mask_of(image: str) -> LabelMask:
        return _labels(found[image], chosen, classes)

    truth = Truth(f"masks in {folder.name}, read as {style}", {}, mask_of=mask_of)
    truth.problems["no mask"] = len(wanted) - len(found)
    for image in found:
        _measure(truth, image, mask_of(image), classes)
    return truth


def _truth_of_table(folder: Path, images: set[str], classes: ClassTable) -> Truth:
    try:
        table = Table.open(folder)
    except StageMissing as error:
        raise CaptionFileError(str(error)) from error
    places: dict[str, tuple[Path, int]] = {}
    truth = Truth(f"masks of the samples table {folder.name}", {})
    for image, row in _rows_of(table, images):
        if row["place"]:
            truth.groups[image] = row["place"]
        places[image] = row["at"]
        _measure(truth, image, decode(row["mask"]), classes)

    def mask_of(image: str) -> LabelMask:
        path, number = places[image]
        rows = next(
            batch.slice(number - start, 1)
            for start, batch in _numbered(path)
            if start <= number < start + batch.num_rows
        )
        return decode(rows.column("mask").to_pylist()[0])

    truth.mask_of = mask_of
    truth.problems["no mask"] = len(images) - len(places)
    if not places:
        raise CaptionFileError(
            f"the samples table {folder} holds none of the captions' images. Give the table that "
            "the captions were written for, such as PROJECT/build/samples."
        )
    return truth


def _rows_of(table: Table, images: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in table.paths:
        for start, batch in _numbered(path):
            for number, row in enumerate(batch.to_pylist()):
                if row["id"] in images:
                    yield row["id"], row | {"at": (path, start + number)}


def _numbered(path: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow.parquet as pq

    start = 0
    with pq.ParquetFile(path) as shard:
        for batch in shard.iter_batches(batch_size=64, columns=["id", "place", "mask"]):
            yield start, batch
            start += batch.num_rows


def _measure(truth: Truth, image: str, labels: LabelMask, classes: ClassTable) -> None:
    shares = classes.shares(labels).astype(np.float64)
    if not shares.sum():
        truth.problems["mask without a known pixel"] += 1
        return
    truth.shares[image] = shares / shares.sum()


def _is_mask(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES and path.is_file()


def _stem(image: str) -> str:
    name = PurePosixPath(image.replace("\\", "/")).name
    suffix = PurePosixPath(name).suffix
    known = suffix.lower() in (*_SUFFIXES, ".jpg", ".jpeg", ".npy")
    return name.removesuffix(suffix) if known else name


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+|percent(?:age)?|share", "", name.casefold())


def _style_of(paths: list[Path], classes: ClassTable) -> MaskStyle:
    """What the values of some masks can be, all taken together."""
    values: set[int] = set()
    for path in paths:
        pixels, coloured = _pixels(path)
        if coloured:
            return "colours"
        values |= set(np.unique(pixels).tolist())
    codes = {code for land in classes.classes for code in land.codes} | set(classes.ignore_codes)
    labels = set(range(len(classes))) | {UNKNOWN}
    # Zero alone says nothing; what else is there decides.
    if values <= labels and not values - {0, UNKNOWN} <= codes:
        return "labels"
    if values <= codes and not values - {0, UNKNOWN} <= labels:
        return "codes"
    strange = sorted(values - codes - labels)
    if strange:
        raise CaptionFileError(
            f"the masks hold values that are neither labels nor codes of the class table: "
            f"{strange[:8]}. Name the table with --classes, or the style with --mask-style."
        )
    raise CaptionFileError(
        f"the masks' values {sorted(values)[:8]} may be labels or codes of the class table. Say "
        "which with --mask-style labels or --mask-style codes."
    )


def _pixels(path: Path) -> tuple[NDArray[Any], bool]:
    """Stored values and whether they are colours, "height width" or "height width 3"."""
    if path.suffix.lower() in _RASTERS:
        try:
            info = geotiff.read_info(path)
            bands = (1, 2, 3) if info.bands >= 3 else (1,)
            window = Window(0, 0, info.height, info.width)
            whole = geotiff.read_window(path, window, bands)
        except InputError as error:
            raise UnreadableFile(str(error)) from error
        return (np.moveaxis(whole, 0, -1), True) if len(bands) == 3 else (whole[0], False)
    try:
        with Image.open(path) as image:
            if image.mode in ("RGB", "RGBA"):
                return np.asarray(image.convert("RGB")), True
            return np.asarray(image if image.mode != "1" else image.convert("L")), False
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise UnreadableFile(
            f"{path.name} cannot be read as a mask: {error}. Fetch or write it again."
        ) from error


def _labels(path: Path, style: MaskStyle, classes: ClassTable) -> LabelMask:
    pixels, coloured = _pixels(path)
    if style == "colours":
        if not coloured:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
        return classes.labels_of_colours(pixels.astype(np.uint8), source=path.name)
    if coloured:
        raise CaptionFileError(
            f"{path.name} holds colours, where --mask-style {style} expects one band. Use "
            "--mask-style colours."
        )
    if style == "codes":
        return classes.labels_of_codes(pixels, source=path.name)
    strange = sorted(set(np.unique(pixels).tolist()) - {*range(len(classes)), UNKNOWN})
    if strange:
        raise CaptionFileError(
            f"{path.name} holds the values {strange[:8]}, and labels of the class table end at "
            f"{len(classes) - 1}. Use --mask-style codes, or another table with --classes."
        )
    return pixels.astype(np.uint8)


def evenly(images: Mapping[str, Any] | Iterable[str], most: int) -> list[str]:
    """At most `most` of the images, spread evenly over their order."""
    names = list(images)
    return names[:: max(-(-len(names) // most), 1)]
