"""The real patches of ARAS400k as published: split folders of PNG pairs, placed by their names."""

import datetime
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from terraloom.classes import ClassTable
from terraloom.errors import NothingLeft, PairError, UnreadableFile
from terraloom.files import sha256_of_value
from terraloom.progress import meter
from terraloom.raster.grid import Grid, Window
from terraloom.samples import SourceFile
from terraloom.sources import _aras
from terraloom.sources._face import Pixels, Scene, Source
from terraloom.sources._images import checksum, read_header

_PROBED: Final = 32
"""Pairs whose pixels are looked at before anything is cut, to find a wrong class table."""
# A patch of two roles stays in the one that must not be trained on.
_SPLITS_BY_RANK: Final = ("test", "val", "train")


class Settings(BaseModel):
    """Options of `[sources.aras]`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    folder: Path
    """Holds train, val and test, as the archives unpack; synth is left to `terraloom import`."""
    split: Literal["published", "blocks"] = "published"
    """published: roles as the folders say, although neighbours of one tile stand in different
    roles; blocks: roles anew by [split], from the places that the names tell."""
    licence: str = _aras.LICENCE
    """SPDX name, carried along with every sample."""
    attribution: str = _aras.ATTRIBUTION
    """Whom to credit, carried along with every sample."""


@dataclass(frozen=True, slots=True)
class ArasScene:
    """One published patch."""

    name: str
    folder: Path
    folder_split: str
    """The split folder that it lies in."""
    keeps_split: bool
    classes: ClassTable
    height: int
    width: int
    licence: str
    attribution: str

    @property
    def grid(self) -> Grid | None:
        """Place by the name, where it tells one and the patch has the published size."""
        patch = _aras.parse_patch(self.name)
        if patch is None or (self.height, self.width) != (_aras.PATCH_SIZE, _aras.PATCH_SIZE):
            return None
        return patch.grid

    @property
    def split(self) -> str | None:
        """The split folder, where the published split is kept."""
        return self.folder_split if self.keeps_split else None

    @property
    def place(self) -> str | None:
        """The patch itself under the published split, which knows no other groups."""
        return self.name if self.keeps_split or self.grid is None else None

    @property
    def date(self) -> datetime.date | None:
        """An annual composite has no day of its own; the middle of its year stands for it."""
        return datetime.date(_aras.YEAR, 7, 1)

    @property
    def label_year(self) -> int | None:
        """Year of the map."""
        return _aras.YEAR

    @property
    def bands(self) -> tuple[str, ...]:
        """Red, green, blue."""
        return ("red", "green", "blue")

    def parts(self) -> Sequence[Scene]:
        """The patch itself."""
        return [self]

    def holds(self, window: Window) -> bool:
        """Every window belongs to the patch."""
        return True

    @property
    def paths(self) -> tuple[Path, Path]:
        """Image and mask."""
        where = (self.folder, self.folder_split, self.name)
        return _aras.image_path(*where), _aras.mask_path(*where)

    def read(self, window: Window) -> Pixels:
        """Pixels of one window."""
        image_path, mask_path = self.paths
        image = _aras.read_image(image_path)
        labels = _aras.read_mask(mask_path, self.classes)
        _aras.check_same_size(image_path, image.shape, labels.shape)
        rows = slice(window.row, window.row + window.height)
        columns = slice(window.column, window.column + window.width)
        files = tuple(
            SourceFile(
                path.name,
                path.relative_to(self.folder).as_posix(),
                checksum(path),
                self.licence,
                self.attribution,
            )
            for path in (image_path, mask_path)
        )
        return Pixels(image[rows, columns], labels[rows, columns], files)


class ArasSource:
    """Real patches of the split folders."""

    value_range = (0.0, 255.0)
    unit_scale = None
    """Unknown: each published image was stretched by its own maximum."""
    unit_offset = 0.0

    def __init__(self, settings: Settings, classes: ClassTable) -> None:
        self.settings = settings
        self.classes = classes
        self._found: list[ArasScene] | None = None
        self._digests: dict[str, str] | None = None
        self._left_out: dict[str, str] = {}

    def acquire(self, folder: Path) -> None:
        """Look at the pixels of some pairs, so that wrong colours are told before cutting."""
        scenes = self._patches()
        step = max(1, len(scenes) // _PROBED)
        for scene in scenes[::step]:
            try:
                scene.read(Window(0, 0, scene.height, scene.width))
            except UnreadableFile:
                continue  # left to the cutter, which leaves the patch out and names it

    def scenes(self, folder: Path) -> list[Scene]:
        """One scene per published pair, in the order of their names.

        Raises:
            InputError: the folder is not laid out as ARAS400k.
            NothingLeft: no pair can be used.
        """
        return list(self._patches())

    def inputs(self, folder: Path) -> dict[str, str]:
        """SHA-256 per split folder, over the checksums of all its files that are used."""
        return self.given()

    def given(self) -> dict[str, str]:
        """SHA-256 per split folder, over the checksums of all its files that are used."""
        if self._digests is None:
            self._digests = self._split_digests()
        return dict(self._digests)

    def _split_digests(self) -> dict[str, str]:
        paths = [path for scene in self._patches() for path in scene.paths]
        of_split: dict[str, dict[str, str]] = {}
        with meter("checksums", len(paths), "files") as progress, ThreadPoolExecutor(4) as pool:
            for path, digest in zip(paths, pool.map(checksum, paths), strict=True):
                told = path.relative_to(self.settings.folder).as_posix()
                of_split.setdefault(told.split("/")[0], {})[told] = digest
                progress.advance()
        return {split: sha256_of_value(files) for split, files in sorted(of_split.items())}

    def left_out(self) -> dict[str, str]:
        """Files without partner, unreadable ones, and copies of a patch in a second split."""
        return dict(self._left_out)

    def extents(self) -> list[tuple[int, int]]:
        """Sizes of the patches."""
        return [(scene.height, scene.width) for scene in self._patches()]

    def _patches(self) -> list[ArasScene]:
        if self._found is None:
            self._left_out = {}
            self._found = self._find_patches()
        return self._found

    def _find_patches(self) -> list[ArasScene]:
        folder = self.settings.folder
        listings = _aras.list_splits(folder, _aras.REAL_SPLITS)
        seen: dict[str, str] = {}
        for split in _SPLITS_BY_RANK:
            if split not in listings:
                continue
            listing = listings[split]
            for stem in sorted(listing.images ^ listing.masks):
                kind, other = ("image", "mask") if stem in listing.images else ("mask", "image")
                self._left_out[f"{split}/{stem}"] = (
                    f"{stem}.png: {kind} without {other} in {split}. Unpack {split}.zip again."
                )
            for stem in listing.pairs:
                if stem in seen:
                    self._left_out[f"{split}/{stem}"] = (
                        f"{stem}.png stands in {seen[stem]} and in {split}; it stays in "
                        f"{seen[stem]}. Remove one of the two."
                    )
                    continue
                seen[stem] = split
        scenes = []
        make = partial(
            ArasScene,
            folder=folder,
            keeps_split=self.settings.split == "published",
            classes=self.classes,
            licence=self.settings.licence,
            attribution=self.settings.attribution,
        )
        with meter("finding patches", len(seen), "patches") as progress:
            for stem in sorted(seen):
                split = seen[stem]
                try:
                    image = read_header(_aras.image_path(folder, split, stem))
                    mask = read_header(_aras.mask_path(folder, split, stem))
                    _aras.check_same_size(
                        _aras.image_path(folder, split, stem),
                        (image.height, image.width),
                        (mask.height, mask.width),
                    )
                    scenes.append(
                        make(name=stem, folder_split=split, height=image.height, width=image.width)
                    )
                except (PairError, UnreadableFile) as error:
                    self._left_out[f"{split}/{stem}"] = str(error)
                progress.advance()
        if not scenes:
            reason = next(iter(self._left_out.values()), "the folders hold no pair")
            raise NothingLeft(f"[sources.aras] no patch in {folder} can be used: {reason}")
        return scenes


def build(settings: Settings, classes: ClassTable, seed: int) -> Source:
    """The source; `seed` plays no part."""
    return ArasSource(settings, classes)
