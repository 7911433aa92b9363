"""The scene to be predicted: one raster of several bands, or several rasters on one grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from terraloom.errors import InputError, UnequalSizes
from terraloom.raster.geotiff import RasterInfo, band_types, read_info, read_known
from terraloom.raster.grid import Grid, Window
from terraloom.samples import scale_to_u8
from terraloom.types import ImageU8

_TOLERANCE_PX: Final = 0.01
_NO_TRANSFORM: Final = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True)
class InputScene:
    """Bands of rasters of one size and place; read window by window."""

    paths: tuple[Path, ...]
    picks: tuple[tuple[int, int], ...]
    """File and 1-based band in it of red, green, blue."""
    height: int
    width: int
    dtypes: tuple[str, ...]
    """Type of each file that a band is taken from."""
    grid: Grid | None
    """Place on Earth, or None."""

    def read(
        self, window: Window, low: float, high: float
    ) -> tuple[ImageU8, NDArray[np.bool_], int]:
        """One window, cut where it reaches beyond the lower and right edge.

        Args:
            window: begins within the scene.
            low: value drawn as 0.
            high: value drawn as 255.

        Returns:
            8-bit RGB "height width 3", black where unknown; which pixels are known, "height width";
            and how many of the known pixels are drawn as all 0 or all 255.

        Raises:
            UnreadableFile: a file is damaged.
        """
        inside = Window(
            window.row,
            window.column,
            min(window.height, self.height - window.row),
            min(window.width, self.width - window.column),
        )
        image = np.zeros((inside.height, inside.width, len(self.picks)), dtype=np.uint8)
        known = np.zeros((inside.height, inside.width), dtype=bool)
        barred = np.zeros_like(known)
        stored = []
        for index in sorted({file for file, _ in self.picks}):
            channels = [c for c, (file, _) in enumerate(self.picks) if file == index]
            bands = [self.picks[channel][1] for channel in channels]
            pixels, data, off = read_known(self.paths[index], inside, bands)
            known |= data.any(axis=0)
            barred |= off
            stored.append((channels, pixels, off))
        # One band at its no-data value is a dark pixel, as when patches are cut; all are none.
        known &= ~barred
        if not known.any():
            return image, known, 0
        for channels, pixels, off in stored:
            if pixels.dtype.kind == "f":
                pixels = np.where(off, np.asarray(low, dtype=pixels.dtype), pixels)
            image[..., channels] = np.moveaxis(scale_to_u8(pixels, low, high), 0, -1)
        image[~known] = 0
        bright, dark = (image == 255).all(axis=-1), (image == 0).all(axis=-1)
        return image, known, int((known & (bright | dark)).sum())


def scene_paths(text: str) -> list[Path]:
    """The files of a scene as given on the command line: one, or several between commas."""
    if Path(text).exists() or "," not in text:
        return [Path(text)]
    return [Path(part.strip()) for part in text.split(",") if part.strip()]


def open_scene(paths: Sequence[Path], bands: Sequence[int]) -> InputScene:
    """A scene by its files; bands are counted from 1 through all files in turn.

    Raises:
        InputError: a file is missing, a band is not there, or has a type that cannot be drawn.
        UnreadableFile: a file is damaged or no raster.
        UnequalSizes: the files differ in size or place.
    """
    infos = []
    for path in paths:
        if path.is_dir():
            raise InputError(f"the scene {path} is a folder; give the raster file in it.")
        if not path.is_file():
            raise InputError(f"the scene {path} is not there; correct its path.")
        infos.append(read_info(path))
    for path, info in zip(paths[1:], infos[1:], strict=True):
        _check_alike(paths[0], infos[0], path, info)
    there = [(file, band) for file, info in enumerate(infos) for band in range(1, info.bands + 1)]
    missing = [band for band in bands if not 1 <= band <= len(there)]
    if missing:
        named = ", ".join(path.name for path in paths)
        raise InputError(
            f"band {missing[0]} was asked for; {named} "
            f"{'has' if len(paths) == 1 else 'have'} {len(there)} "
            f"band{'' if len(there) == 1 else 's'}. Choose others with --bands, or give one file "
            "per band: RED.tif,GREEN.tif,BLUE.tif"
        )
    picks = tuple(there[band - 1] for band in bands)
    first = infos[0]
    return InputScene(
        tuple(paths),
        picks,
        first.height,
        first.width,
        _types_of(paths, picks),
        # A CRS alone, without a transform, places nothing.
        None if first.grid is None or first.grid.transform == _NO_TRANSFORM else first.grid,
    )


def _types_of(paths: Sequence[Path], picks: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    """Type of each band, refused where no scale can be meant by it."""
    types = []
    for file, path in enumerate(paths):
        bands = [band for picked, band in picks if picked == file]
        found = sorted({band_types(path)[band - 1] for band in bands})
        if len(found) > 1:
            raise InputError(
                f"{path.name} holds bands of different types ({', '.join(found)}), which no one "
                "scale fits. Give one type to all (gdal_translate -ot), or other --bands."
            )
        types += found * bool(bands)
    for name in types:
        if name.startswith("complex"):
            raise InputError(
                f"{', '.join(path.name for path in paths)}: bands hold complex numbers ({name}). "
                "Write their amplitudes to a raster first."
            )
    return tuple(types)


def _check_alike(first: Path, one: RasterInfo, second: Path, other: RasterInfo) -> None:
    remedy = "Bring them on to one grid first (gdalbuildvrt -separate -resolution highest)."
    if (one.height, one.width) != (other.height, other.width):
        raise UnequalSizes(
            f"{first.name} is {one.width}×{one.height} pixels, {second.name} "
            f"{other.width}×{other.height}. {remedy}"
        )
    if one.grid is None or other.grid is None:
        same = one.grid is other.grid
    else:
        apart = np.abs(one.grid.corners() - other.grid.corners()).max()
        size = max(abs(value) for value in (one.grid.transform[i] for i in (0, 1, 3, 4)))
        same = one.grid.crs == other.grid.crs and bool(apart <= _TOLERANCE_PX * size)
    if not same:
        raise UnequalSizes(f"{first.name} and {second.name} lie in different places. {remedy}")
