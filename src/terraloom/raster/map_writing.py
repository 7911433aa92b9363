"""Maps of one band, written window by window as cloud-optimised GeoTIFF."""

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Final, Literal

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetWriter

from terraloom.errors import RunError
from terraloom.files import atomic_path, make_folder
from terraloom.raster.geotiff import first_line, reading
from terraloom.raster.grid import Window

_SIDECARS: Final = (".aux.xml", ".ovr", ".msk")


class MapWriter:
    """A map of one 8-bit band, filled window by window; what is never written is no data."""

    def __init__(self, file: DatasetWriter, path: Path, nodata: int) -> None:
        self._file = file
        self._path = path
        self._nodata = nodata
        self.counts = np.zeros(256, dtype=np.int64)
        """Pixels per value, of what was written."""

    def write(self, window: Window, values: NDArray[np.uint8]) -> None:
        """Write the values "height width" of one window; windows must not overlap.

        Raises:
            RunError: they cannot be written, as on a full disk.
        """
        self.counts += np.bincount(values.ravel(), minlength=256)
        if (values == self._nodata).all():
            return  # a block that is never written takes no room and reads as no data
        box = (
            (window.row, window.row + window.height),
            (window.column, window.column + window.width),
        )
        with _writing(self._path):
            self._file.write(values, 1, window=box)


@contextmanager
def map_writer(
    path: Path,
    like: Path,
    *,
    nodata: int,
    tags: Mapping[str, str],
    band_name: str,
    palette: Mapping[int, tuple[int, int, int]] | None = None,
    overviews: Literal["nearest", "average"] = "nearest",
) -> Iterator[MapWriter]:
    """Write a cloud-optimised GeoTIFF of one 8-bit band in memory that does not grow with its size.

    Windows go to a temporary file beside `path`; at the end it is copied into the layout of a COG,
    counted against what was written, and renamed into place. On an exception or a kill nothing
    stands under `path` that did not before.

    Args:
        path: of the map; replaced if it is there.
        like: raster whose size, CRS, transform and control points the map takes over as they are.
        nodata: value of pixels without data.
        tags: of the file.
        band_name: description of the band.
        palette: colour by value.
        overviews: how smaller versions are made.

    Raises:
        OutputError: the folder cannot be written.
        RunError: the disk is full.
    """
    make_folder(path.parent)
    _remove_torn(path)
    raw = path.with_name(f".{path.name}.{os.getpid()}.windows.part")
    try:
        with reading(like) as place, _writing(path), _placeless():
            file = rasterio.open(
                raw,
                "w",
                driver="GTiff",
                count=1,
                height=place.height,
                width=place.width,
                dtype="uint8",
                crs=place.crs,
                transform=place.transform,
                nodata=nodata,
                compress="deflate",
                zlevel=1,
                tiled=True,
                blockxsize=256,
                blockysize=256,
                sparse_ok=True,
                bigtiff="if_safer",
            )
            points, points_crs = place.gcps
        with file:
            with _writing(path):
                if points:
                    file.gcps = (points, points_crs)
                file.update_tags(**tags)
                file.set_band_description(1, band_name)
                if palette:
                    file.write_colormap(1, dict(palette))
            writer = MapWriter(file, path, nodata)
            yield writer
            expected = writer.counts.copy()
            expected[nodata] += file.height * file.width - expected.sum()
            with _writing(path):
                file.close()
        with atomic_path(path) as temporary, _writing(path), _placeless():
            rasterio.shutil.copy(
                raw,
                temporary,
                driver="COG",
                compress="deflate",
                overview_resampling=overviews,
                bigtiff="if_safer",
            )
            # GDAL tells of a full disk in its log only, and a lost block reads as no data.
            if (_counts(temporary) != expected).any():
                raise RunError(
                    f"{path} did not reach the disk whole. Free some space and run the same "
                    "command again."
                )
            # Statistics, overviews and masks beside an old map would be taken for the new one's.
            for ending in _SIDECARS:
                path.with_name(path.name + ending).unlink(missing_ok=True)
    finally:
        _remove_parts(path, os.getpid())


@contextmanager
def _placeless() -> Iterator[None]:
    """Rasters without coordinates are as good as others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Whatever GDAL says while it writes becomes one message that names the file."""
    try:
        yield
    except RasterioError as error:
        raise RunError(
            f"cannot write {path}: {first_line(error)}. Free some space, or choose another "
            "folder, and run the same command again."
        ) from error


def _counts(path: Path) -> NDArray[np.int64]:
    """Pixels per value of a raster of one 8-bit band, read block by block."""
    counts = np.zeros(256, dtype=np.int64)
    with rasterio.open(path) as file:
        for _, window in file.block_windows(1):
            counts += np.bincount(file.read(1, window=window).ravel(), minlength=256)
    return counts


def _remove_parts(path: Path, process: int) -> None:
    """Delete the temporary files of one process beside an output."""
    for part in path.parent.glob(f".{escape(path.name)}.{process}.*"):
        part.unlink(missing_ok=True)


def _remove_torn(path: Path) -> None:
    """Delete temporary files beside an output whose process was killed."""
    for part in path.parent.glob(f".{escape(path.name)}.*part*"):
        process = part.name.removeprefix(f".{path.name}.").split(".")[0]
        if process.isdigit() and not _runs(int(process)):
            part.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
