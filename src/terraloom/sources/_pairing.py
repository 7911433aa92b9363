"""Which files make a pair: checked by their headers, found by name or by the ground they show."""

from collections.abc import Callable, Sequence
from pathlib import Path

from terraloom.errors import InputError, PairError, SettingsError, UnequalSizes, UnreadableFile
from terraloom.sources._footprints import FootprintIndex
from terraloom.sources._images import (
    IMAGE_SUFFIXES,
    RASTER_SUFFIXES,
    Header,
    is_raster,
    read_header,
)
from terraloom.sources._pairs import PairScene, Reading


def files_by_stem(folder: Path) -> dict[str, Path]:
    """Image files directly in a folder, by their names without suffix.

    Raises:
        PairError: two of them differ in nothing but the suffix.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        if path.stem in found:
            raise PairError(
                f"{path.name} and {found[path.stem].name} in {folder} share one name; keep one."
            )
        found[path.stem] = path
    return found


def image_files(
    image: Path, band_files: Sequence[str], band_numbers: Sequence[int]
) -> tuple[tuple[Path, ...], Header]:
    """The files of an image and the header that they share.

    Args:
        image: a file; or a folder, where each band has a file.
        band_files: names of the band files without suffix; empty where the image is one file.
        band_numbers: 1-based bands that the one file must have.

    Raises:
        PairError: a band is missing, or band files lie on different grids.
        UnreadableFile: a file cannot be opened.
    """
    if not band_files:
        header = read_header(image)
        if header.bands < max(band_numbers):
            raise PairError(
                f"{image.name}: band {max(band_numbers)} is asked for, but it has {header.bands} "
                "bands. Correct bands and nir_band, or leave the image out."
            )
        return (image,), header
    files = tuple(_band_file(image, name) for name in band_files)
    headers = [read_header(path) for path in files]
    if len({(header.height, header.width, header.grid) for header in headers}) > 1:
        sizes = ", ".join(
            f"{path.name} {header.width}×{header.height}"
            for path, header in zip(files, headers, strict=True)
        )
        raise PairError(
            f"{image.name}: its band files lie on different grids ({sizes}). Resample them to one "
            "grid, or choose bands of one resolution."
        )
    return files, headers[0]


def lies_on(mask: Path, image: Path, header: Header, reading: Reading | None) -> bool:
    """Whether a mask is placed on its image by coordinates; else pixel by pixel.

    Args:
        mask: label mask, or cloud mask.
        image: that it belongs to.
        header: of the image.
        reading: that a label mask's bands are checked against; None for a cloud mask.

    Raises:
        PairError: the mask has the wrong number of bands.
        UnequalSizes: nothing but the pixels tells how it lies, and the sizes differ.
        UnreadableFile: the mask cannot be opened.
    """
    other = read_header(mask)
    if reading is not None:
        _check_bands(mask, other, reading)
    if header.grid is not None and other.grid is not None:
        return True
    if (header.height, header.width) != (other.height, other.width):
        raise UnequalSizes(
            f"{image.name} is {header.width}×{header.height} pixels, its mask {mask.name} "
            f"{other.width}×{other.height}. Make their sizes equal, or set "
            'unequal_pairs = "skip" to leave such pairs out.'
        )
    return False


def find_cloud_mask(image: Path, folder: Path, name: str, *, beside: bool) -> Path:
    """The cloud mask of an image.

    Args:
        image: file or folder.
        folder: of the pairs.
        name: of the file in the image's folder, or of the sub-folder of cloud masks.
        beside: whether it lies in the image's own folder.

    Raises:
        PairError: it is not there.
        SettingsError: there is no such sub-folder.
    """
    where = image if beside else folder / name
    if not where.is_dir():
        raise SettingsError(f"[sources.folder] the folder of cloud masks {where} does not exist.")
    names = [name] if beside else [f"{image.stem}{suffix}" for suffix in IMAGE_SUFFIXES]
    for path in (where / candidate for candidate in names):
        if path.is_file():
            return path
    raise PairError(
        f"{image.name}: image without cloud mask; looked for {names[0]} in {where}. Add the file, "
        "or leave cloud_mask out of the settings."
    )


class Ground:
    """Masks found by the ground that they show.

    Args:
        masks: by name.
        reading: that their bands are checked against.
        leave_out: told of every mask that cannot be used; may end the run.
    """

    def __init__(
        self,
        masks: dict[str, Path],
        reading: Reading,
        leave_out: Callable[[str, InputError], None],
    ) -> None:
        self._reading = reading
        self._leave_out = leave_out
        self._paths: list[Path] = []
        grids = []
        for path in masks.values():
            try:
                header = read_header(path)
                _check_bands(path, header, reading)
                if header.grid is None:
                    raise PairError(
                        f"{path.name} has no coordinate system, so nobody knows which images it "
                        'belongs to. Write its CRS, or set pair_by = "name".'
                    )
            except (PairError, UnreadableFile) as error:
                leave_out(reading.told(path), error)
                continue
            self._paths.append(path)
            grids.append(header.grid)
        self._index = FootprintIndex(grids, [path.name for path in self._paths])

    def masks_of(self, image: Path, header: Header) -> tuple[Path, ...]:
        """The masks that share ground with an image, in the order of their names.

        Raises:
            PairError: there is none, or the image has no place.
        """
        if header.grid is None:
            raise PairError(
                f"{image.name} has no coordinate system, so nobody knows which masks belong to "
                'it. Write its CRS, or set pair_by = "name".'
            )
        found = self._index.sharing_ground(header.grid, image.name)
        if not found:
            raise PairError(
                f"{image.name}: image without mask; none of {len(self._paths)} masks shares its "
                "ground. Add the mask of that ground, or leave the image out."
            )
        return tuple(self._paths[position] for position in found)

    def leave_out_unused(self, pairs: Sequence[PairScene]) -> None:
        """Tell the masks that lie under no image."""
        used = {mask for pair in pairs for mask in pair.masks}
        for path in self._paths:
            if path not in used:
                self._leave_out(
                    self._reading.told(path),
                    PairError(
                        f"{path.name}: mask without image; no image that can be used shares its "
                        "ground. Add the image, or remove the mask."
                    ),
                )


def _check_bands(mask: Path, header: Header, reading: Reading) -> None:
    """A GeoTIFF mask has as many bands as its style takes."""
    needed = len(reading.mask_bands)
    if is_raster(mask) and header.bands != needed:
        raise PairError(
            f"{mask.name}: mask_style is {reading.mask_style}, which takes {needed} "
            f"band{'s' if needed > 1 else ''}, but the mask has {header.bands} bands. Save the "
            "bands that are meant, or correct mask_style."
        )


def _band_file(image: Path, name: str) -> Path:
    for suffix in RASTER_SUFFIXES:
        path = image / f"{name}{suffix}"
        if path.is_file():
            return path
    raise PairError(
        f"{image.name}: no band file {name}.tif in {image}. Add it, correct bands and nir_band, "
        "or leave the image out."
    )
