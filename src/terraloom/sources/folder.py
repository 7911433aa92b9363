"""Your own image–mask pairs: two folders, paired by name or by the ground that they show."""

from pathlib import Path
from typing import Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from terraloom.classes import ClassTable
from terraloom.errors import (
    InputError,
    NothingLeft,
    PairError,
    TilesDisagree,
    UnequalSizes,
    UnreadableFile,
)
from terraloom.progress import meter
from terraloom.raster.grid import Window
from terraloom.sources._face import Scene, Source
from terraloom.sources._images import IMAGE_SUFFIXES
from terraloom.sources._pair_index import IndexEntry, read_pair_index
from terraloom.sources._pairing import (
    Ground,
    files_by_stem,
    find_cloud_mask,
    image_files,
    lies_on,
)
from terraloom.sources._pairs import PairScene, Reading, Style

_PROBED: Final = 32
"""Pairs whose pixels are looked at before anything is written: enough to find a wrong class
table, few enough to cost nothing. What else is wrong in pixels shows when they are cut."""
_PROBE_SIDE: Final = 512


class Settings(BaseModel):
    """Options of `[sources.folder]`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    folder: Path
    """Holds the two folders and the index."""
    images: str = "images"
    """Sub-folder of the images: PNG, JPEG or GeoTIFF; or one folder per image with a GeoTIFF per
    band, where `bands` gives names."""
    masks: str = "masks"
    """Sub-folder of the masks."""
    index: str | None = None
    """CSV with id and, where known, place, split, date, label_year, image, mask (paths within
    folder or the sub-folders); left out, all pairs are taken and each image without coordinates is
    a place of its own."""
    pair_by: Literal["name", "footprint"] = "name"
    """name: a mask bears its image's name, whatever the suffix; footprint: all masks that share
    ground with an image are brought on to its grid, in any CRS, under any name."""
    mask_style: Style = "codes"
    """codes: pixel values are the table's codes (palette indexes too); palette: a palette image
    whose colours are the classes'; colours: RGB in the classes' colours."""
    bands: tuple[int, int, int] | tuple[str, str, str] = (1, 2, 3)
    """GeoTIFF bands taken as red, green, blue, counted from 1; or the names of the band files in
    each image's own folder, such as ["B04", "B03", "B02"]."""
    nir_band: int | str | None = None
    """A fourth band, near infrared, told as in `bands`; left out, images have three."""
    cloud_mask: str | None = None
    """Where cloud hides the ground: masks that are 0 where it is clear. The name of a file in each
    image's own folder where bands have files; else a sub-folder with files of the images' names."""
    label_year: int | None = None
    """Year that the masks describe; the index's column label_year goes before it."""
    unpaired: Literal["error", "skip"] | None = None
    """Image without mask, mask without image, no coordinates where they are needed, too few bands:
    end the run, or leave the file out and say so. Left out: error by name, skip by footprint."""
    unequal_pairs: Literal["error", "skip"] = "error"
    """A pair whose image and mask differ in size: end the run, or leave the pair out and say so."""
    unreadable: Literal["error", "skip"] = "skip"
    """A file that cannot be opened: end the run, or leave its pair out and say so."""
    value_range: tuple[float, float] = (0.0, 255.0)
    """Source values drawn as 0 and 255; one scale for all images."""
    reflectance_scale: float | None = None
    """Reflectance per source unit, such as 0.0001; left out, the unit is not known."""
    reflectance_offset: float = 0.0
    """Reflectance at source value 0: −0.1 for Sentinel-2 since processing baseline 04.00."""
    licence: str | None = None
    """SPDX name of the pairs' licence, carried along with every sample."""
    attribution: str | None = None
    """Whom to credit, carried along with every sample."""

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        bands = [*self.bands, *([] if self.nir_band is None else [self.nir_band])]
        if len({type(band) for band in bands}) > 1:
            raise ValueError("bands and nir_band must both be numbers, or both names of files")
        if any(isinstance(band, int) and band < 1 for band in bands):
            raise ValueError(f"bands are counted from 1, got {bands}")
        if self.reflectance_scale is None and self.reflectance_offset:
            raise ValueError("reflectance_offset needs reflectance_scale")
        return self

    @property
    def band_files(self) -> tuple[str, ...]:
        """Names of the band files in each image's folder; empty where an image is one file."""
        bands = (*self.bands, self.nir_band)
        return tuple(band for band in bands if isinstance(band, str))

    @property
    def band_numbers(self) -> tuple[int, ...]:
        """1-based bands of an image of one file; empty where each band has a file."""
        bands = (*self.bands, self.nir_band)
        return tuple(band for band in bands if isinstance(band, int))


class FolderSource:
    """Pairs images and masks by name or by footprint."""

    def __init__(self, settings: Settings, classes: ClassTable) -> None:
        self.settings = settings
        self.value_range = settings.value_range
        self.unit_scale = settings.reflectance_scale
        self.unit_offset = settings.reflectance_offset
        """Reflectance at source value 0."""
        self._reading = Reading(
            folder=settings.folder,
            classes=classes,
            mask_style=settings.mask_style,
            bands=settings.band_numbers,
            band_names=("red", "green", "blue", *(() if settings.nir_band is None else ("nir",))),
            licence=settings.licence,
            attribution=settings.attribution,
        )
        self._found: list[PairScene] | None = None
        self._left_out: dict[str, str] = {}

    def acquire(self, folder: Path) -> None:
        """Look at the pixels of some pairs, so that wrong codes are told before anything is cut."""
        scenes = self._pairs()
        probed = sorted({round(i) for i in np.linspace(0, len(scenes) - 1, _PROBED)})
        with meter("checking pairs", len(probed), "pairs") as progress:
            for position in probed:
                scene = scenes[position]
                height, width = min(scene.height, _PROBE_SIDE), min(scene.width, _PROBE_SIDE)
                row, column = (scene.height - height) // 2, (scene.width - width) // 2
                try:
                    scene.read(Window(row, column, height, width))
                except (UnreadableFile, TilesDisagree):
                    if self.settings.unreadable == "error":
                        raise
                    # Left to the cutter, which leaves out the patches concerned and names them.
                progress.advance()

    def scenes(self, folder: Path) -> list[Scene]:
        """One scene per image that has a mask, in the order of their names.

        Raises:
            PairError: an image has no mask, a mask no image, their sizes differ, a file has too few
                bands or no coordinates; each unless the settings say to leave it out.
            UnreadableFile: a file cannot be opened, unless it may be left out.
            NothingLeft: everything was left out.
        """
        return list(self._pairs())

    def left_out(self) -> dict[str, str]:
        """Images and masks that the settings said to leave out, by id or path, with the reason."""
        return dict(self._left_out)

    def inputs(self, folder: Path) -> dict[str, str]:
        """SHA-256 of every image and mask that is used."""
        return self.given()

    def given(self) -> dict[str, str]:
        """SHA-256 of every image and mask, all of which lie there before the run."""
        pairs = self._pairs()
        return {file.uri: file.sha256 for pair in pairs for file in pair.files}

    def extents(self) -> list[tuple[int, int]]:
        """Sizes of the images."""
        return [(pair.height, pair.width) for pair in self._pairs()]

    def _pairs(self) -> list[PairScene]:
        if self._found is None:
            self._left_out = {}
            self._found = self._find_pairs()
        return self._found

    def _find_pairs(self) -> list[PairScene]:
        settings = self.settings
        images = self._listed(settings.images, "images")
        masks = self._listed(settings.masks, "masks", files=True)
        if settings.index is None:
            entries = [IndexEntry(stem) for stem in sorted(images)]
            if settings.pair_by == "name":
                self._check_all_paired(images, masks)
        else:
            entries = read_pair_index(settings.folder / settings.index)
        ground = (
            Ground(masks, self._reading, self._leave_out)
            if settings.pair_by == "footprint"
            else None
        )
        pairs: list[PairScene] = []
        with meter("finding pairs", len(entries), "images") as progress:
            for entry in entries:
                try:
                    pairs.append(self._pair(entry, images, masks, ground))
                except (PairError, UnreadableFile) as error:
                    self._leave_out(entry.id, error)
                progress.advance()
        if ground is not None and settings.index is None:
            ground.leave_out_unused(pairs)
        if entries and not pairs:
            first, reason = next(iter(self._left_out.items()))
            raise NothingLeft(
                f"[sources.folder] none of the {len(entries)} images in {settings.folder} can be "
                f"used; the first, {first}: {reason}"
            )
        return pairs

    def _leave_out(self, name: str, error: InputError) -> None:
        """Note that an input is left out, or end the run where the settings say so."""
        settings = self.settings
        if isinstance(error, UnreadableFile):
            choice: str = settings.unreadable
        elif isinstance(error, UnequalSizes):
            choice = settings.unequal_pairs
        else:
            choice = settings.unpaired or ("error" if settings.pair_by == "name" else "skip")
        if choice == "error":
            raise error
        self._left_out[name] = str(error)

    def _listed(self, sub_folder: str, what: str, *, files: bool = False) -> dict[str, Path]:
        """Images or masks by name; none is an error unless an index may list deeper ones."""
        folder = self.settings.folder / sub_folder
        if not folder.is_dir():
            raise InputError(
                f"[sources.folder] the folder of {what} {folder} does not exist. "
                "Correct folder, images or masks in the settings."
            )
        if self.settings.band_files and not files:
            found = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()}
            kinds = f"sub-folders with {', '.join(self.settings.band_files)}"
        else:
            found = files_by_stem(folder)
            kinds = ", ".join(IMAGE_SUFFIXES)
        if not found and self.settings.index is None:
            raise InputError(f"{folder} holds no {what} ({kinds}).")
        return found

    def _check_all_paired(self, images: dict[str, Path], masks: dict[str, Path]) -> None:
        """Masks without an image; where that ends the run, images without a mask as well."""
        lonely = sorted(images.keys() ^ masks.keys())
        for stem in lonely:
            has, lacks = ("image", "mask") if stem in images else ("mask", "image")
            path = images.get(stem) or masks[stem]
            error = PairError(
                f"{path.name}: {has} without {lacks} ({len(lonely)} such files in "
                f"{self.settings.folder}). Add the missing files, list the wanted pairs in "
                'an index, or set unpaired = "skip" to leave such files out.'
            )
            if self.settings.unpaired == "skip" and has == "image":
                continue  # told with its own id when its pair is looked for
            self._leave_out(self._reading.told(path), error)

    def _pair(
        self,
        entry: IndexEntry,
        images: dict[str, Path],
        masks: dict[str, Path],
        ground: Ground | None,
    ) -> PairScene:
        settings = self.settings
        image = self._find(entry.image, entry.id, settings.images, images)
        if image is None:
            raise self._missing(entry.id, entry.image, "image", self.settings.images)
        files, header = image_files(image, settings.band_files, settings.band_numbers)
        mask = None
        if ground is None or entry.mask is not None:
            mask = self._find(entry.mask, entry.id, self.settings.masks, masks)
            if mask is None:
                raise self._missing(entry.id, entry.mask, "mask", self.settings.masks)
        if mask is not None:
            on_image: tuple[Path, ...] = (mask,)
            placed = lies_on(mask, image, header, self._reading)
        else:
            assert ground is not None
            on_image, placed = ground.masks_of(image, header), True
        cloud = None
        if settings.cloud_mask is not None:
            cloud = find_cloud_mask(
                image, settings.folder, settings.cloud_mask, beside=bool(settings.band_files)
            )
        return PairScene(
            name=entry.id,
            images=files,
            masks=on_image,
            reading=self._reading,
            height=header.height,
            width=header.width,
            place=entry.place or (None if header.grid is not None else entry.id),
            split=entry.split,
            date=entry.date,
            label_year=entry.label_year or self.settings.label_year,
            grid=header.grid,
            masks_are_placed=placed,
            cloud_mask=cloud,
            cloud_is_placed=cloud is not None and lies_on(cloud, image, header, None),
        )

    def _find(
        self, named: str | None, stem: str, sub_folder: str, found: dict[str, Path]
    ) -> Path | None:
        """What the index names, by path or by name with any suffix; else what bears the id."""
        if not named:
            return found.get(stem) or found.get(Path(stem).stem)
        relative = Path(named)
        if not relative.is_absolute() and ".." not in relative.parts:  # an index leads nowhere else
            for base in (self.settings.folder, self.settings.folder / sub_folder):
                if (base / relative).exists():
                    return base / relative
        return found.get(named) or found.get(Path(named).stem)

    def _missing(self, name: str, named: str | None, kind: str, sub_folder: str) -> PairError:
        other = "mask" if kind == "image" else "image"
        return PairError(
            f"{name}: {other} without {kind}; looked for {named or name + '.*'} in "
            f"{self.settings.folder / sub_folder}. Add the file, or leave the id out of the index."
        )


def build(settings: Settings, classes: ClassTable, seed: int) -> Source:
    """The source; `seed` plays no part."""
    return FolderSource(settings, classes)
