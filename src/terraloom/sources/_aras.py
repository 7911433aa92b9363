"""The layout of ARAS400k: split folders of PNG pairs, and patch names that tell their place.

`{train,val,test,synth}/images/*.png` and `…/masks/*.png`, masks in the classes' colours. Real
patches are named `N40E033_041_023`: the south-west corner of a 1° WorldCover composite of 2021, the
patch's row from the northern edge and its column from the western one, both in steps of 256 pixels
of 1/12000° (published script `dataset_creator.py` of caglarmert/ARAS400k; Zenodo record 18890661).
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from terraloom.classes import ClassTable
from terraloom.errors import InputError, PairError
from terraloom.raster.grid import Grid
from terraloom.raster.worldcover_tiles import PIXELS_PER_DEGREE
from terraloom.sources._images import decode
from terraloom.types import ImageU8, LabelMask

REAL_SPLITS: Final = ("train", "val", "test")
SYNTHETIC_SPLIT: Final = "synth"
SPLITS: Final = (*REAL_SPLITS, SYNTHETIC_SPLIT)
PATCH_SIZE: Final = 256
YEAR: Final = 2021
LICENCE: Final = "CC-BY-4.0"
ATTRIBUTION: Final = (
    "ARAS400k, U. M. Çağlar and A. Temizel; ESA WorldCover project 2021, contains modified "
    "Copernicus Sentinel data (2021)"
)
_NAME: Final = re.compile(r"([NS])(\d{2})([EW])(\d{3})_(\d{3})_(\d{3})")
_PATCHES_PER_TILE: Final = PIXELS_PER_DEGREE // PATCH_SIZE


@dataclass(frozen=True, slots=True)
class PatchName:
    """What the name of a real patch says."""

    lat: int
    """Southern edge of its tile, whole degrees."""
    lon: int
    """Western edge of its tile, whole degrees."""
    row: int
    """Patches from the tile's northern edge, 0 … 45."""
    column: int
    """Patches from the tile's western edge, 0 … 45."""

    @property
    def grid(self) -> Grid:
        """Place of the patch, EPSG:4326."""
        north = (self.lat + 1) * PIXELS_PER_DEGREE - self.row * PATCH_SIZE
        west = self.lon * PIXELS_PER_DEGREE + self.column * PATCH_SIZE
        pixel = 1.0 / PIXELS_PER_DEGREE
        return Grid(
            "EPSG:4326",
            (pixel, 0.0, west / PIXELS_PER_DEGREE, 0.0, -pixel, north / PIXELS_PER_DEGREE),
            PATCH_SIZE,
            PATCH_SIZE,
        )


def parse_patch(stem: str) -> PatchName | None:
    """The parts of a real patch's name without suffix, or None for any other name."""
    match = _NAME.fullmatch(stem)
    if match is None:
        return None
    lat = int(match[2]) * (1 if match[1] == "N" else -1)
    lon = int(match[4]) * (1 if match[3] == "E" else -1)
    row, column = int(match[5]), int(match[6])
    if not (-90 <= lat < 90 and -180 <= lon < 180 and max(row, column) < _PATCHES_PER_TILE):
        return None
    return PatchName(lat, lon, row, column)


@dataclass(frozen=True)
class Listing:
    """The files of one split folder, by their names without suffix."""

    split: str
    images: frozenset[str]
    masks: frozenset[str]

    @property
    def pairs(self) -> list[str]:
        """Names that have an image and a mask, in order."""
        return sorted(self.images & self.masks)


def list_splits(folder: Path, splits: Iterable[str]) -> dict[str, Listing]:
    """The split folders that are there.

    Raises:
        InputError: there is none.
    """
    splits = tuple(splits)
    found = {
        split: Listing(split, _names(folder / split / "images"), _names(folder / split / "masks"))
        for split in splits
        if (folder / split).is_dir()
    }
    if not any(listing.images for listing in found.values()):
        raise InputError(
            f"{folder} is not laid out as ARAS400k: none of "
            f"{', '.join(f'{split}/images/*.png' for split in splits)} is there. Name the folder "
            "that the archives were unpacked into."
        )
    return found


def image_path(folder: Path, split: str, stem: str) -> Path:
    """Where an image lies."""
    return folder / split / "images" / f"{stem}.png"


def mask_path(folder: Path, split: str, stem: str) -> Path:
    """Where a mask lies."""
    return folder / split / "masks" / f"{stem}.png"


def read_image(path: Path) -> ImageU8:
    """Pixels of an image, "height width 3".

    Raises:
        UnreadableFile: the file is damaged.
    """
    return decode(path, "RGB")


def read_mask(path: Path, classes: ClassTable) -> LabelMask:
    """Labels of a mask in the classes' colours, "height width"; black is unknown.

    Raises:
        UnreadableFile: the file is damaged.
        UnknownCode: it holds a colour of no class.
    """
    return classes.labels_of_colours(decode(path, "RGB"), source=path.name)


def check_same_size(path: Path, image: tuple[int, ...], mask: tuple[int, ...]) -> None:
    """Image and mask have the same height and width.

    Raises:
        PairError: they have not.
    """
    if image[:2] != mask[:2]:
        raise PairError(
            f"{path.name} is {image[1]}×{image[0]} pixels, its mask {mask[1]}×{mask[0]}. Unpack "
            "the archive again."
        )


def touching(test: Iterable[PatchName], train: Iterable[PatchName]) -> tuple[int, int]:
    """How many patches share an edge with one of another role, and how many an edge or corner.

    Patches of different tiles never touch: 224 pixels at the eastern and southern edges of a tile
    hold no whole patch.
    """
    others = {(p.lat, p.lon, p.row, p.column) for p in train}
    by_edge = by_corner = 0
    for patch in test:
        near = {
            (down, right)
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
            if (patch.lat, patch.lon, patch.row + down, patch.column + right) in others
        }
        by_edge += any(0 in step for step in near)
        by_corner += bool(near)
    return by_edge, by_corner


def neighbour_counts(names: Mapping[str, Iterable[str]]) -> dict[str, dict[str, int]]:
    """Per role val and test: patches placed by their names, and those that touch a train patch.

    Args:
        names: of the patches in each split folder, without suffix.
    """
    placed = {
        split: [patch for stem in stems if (patch := parse_patch(stem)) is not None]
        for split, stems in names.items()
    }
    train = placed.get("train", [])
    counts: dict[str, dict[str, int]] = {}
    for role in ("val", "test"):
        if role in placed:
            by_edge, by_corner = touching(placed[role], train)
            counts[role] = {
                "patches": len(placed[role]),
                "touch_train_by_edge": by_edge,
                "touch_train_by_edge_or_corner": by_corner,
            }
    return counts


def _names(folder: Path) -> frozenset[str]:
    if not folder.is_dir():
        return frozenset()
    with os.scandir(folder) as entries:
        return frozenset(
            entry.name.removesuffix(".png") for entry in entries if entry.name.endswith(".png")
        )
