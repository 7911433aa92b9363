"""GeoTIFF in and out, pixels by the window."""

import math
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Final

# Megabytes of decoded blocks per process; GDAL reads this once. A block row of a 1° composite takes
# 100 of them, and GDAL's own default, a share of all memory, would grow with the machine.
os.environ.setdefault("GDAL_CACHEMAX", "256")

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile
from rasterio.transform import Affine

from terraloom.errors import InputError, PairError, TilesDisagree, UnreadableFile
from terraloom.files import atomic_path
from terraloom.raster.block_checksums import BlockChecks
from terraloom.raster.grid import Grid, Window, is_geographic
from terraloom.raster.warp import full_turns, nearest_axes, nearest_pixels

_MAX_HANDLES: Final = 24
_local: Final = threading.local()


@dataclass(frozen=True)
class _Handle:
    """An open file, and what is asked of it for every patch."""

    version: tuple[int, int, int]
    """Time, size, inode."""
    file: rasterio.DatasetReader
    checks: BlockChecks

    @cached_property
    def grid(self) -> Grid:
        """Place of the pixels."""
        if self.file.crs is None:
            name = Path(self.file.name).name
            raise PairError(
                f"{name} has no coordinate system; write one into it (gdal_edit -a_srs)."
            )
        place = tuple(self.file.transform)[:6]
        return Grid(crs_name(self.file.crs), place, self.file.height, self.file.width)


@dataclass(frozen=True)
class RasterInfo:
    """What a raster file says of itself."""

    grid: Grid | None
    """None where the file has no CRS."""
    height: int
    width: int
    bands: int
    dtype: str
    nodata: float | None
    tags: dict[str, str]


def read_info(path: Path) -> RasterInfo:
    """Shape, type and place of a raster file.

    Raises:
        UnreadableFile: the file is missing, truncated or no raster.
    """
    with reading(path) as file:
        return RasterInfo(
            None if file.crs is None else _grid_of(file),
            file.height,
            file.width,
            file.count,
            file.dtypes[0],
            file.nodata,
            dict(file.tags()),
        )


def crs_name(crs: rasterio.crs.CRS) -> str:
    """Authority code where there is one, else WKT."""
    return _crs_name_of_wkt(str(crs.to_wkt()))


@cache
def _crs_name_of_wkt(wkt: str) -> str:
    # The search for an authority takes milliseconds, which every patch would pay.
    authority = rasterio.crs.CRS.from_wkt(wkt).to_authority()
    return ":".join(authority) if authority else wkt


def read_onto(
    paths: Sequence[Path],
    grid: Grid,
    *,
    bands: Sequence[int],
    fill: float,
) -> NDArray[np.generic]:
    """Pixels of several files on one grid, by nearest neighbour.

    On an equal, aligned pixel grid the stored values are copied. Longitudes that differ by 360°
    are one place. No data of one file (its own no-data value) is filled by the next that knows
    better, and stays as stored where none does.

    Args:
        paths: rasters with a CRS.
        grid: where the pixels are wanted.
        bands: 1-based indexes.
        fill: value of pixels that no file covers.

    Returns:
        "band height width" in the type of the first file.

    Raises:
        UnreadableFile: a file is truncated, damaged, or no raster.
        TilesDisagree: two files hold different data for the same pixels.
        PairError: a file has fewer bands than asked for, or no CRS.
    """
    if not paths:
        raise InputError("no raster file was given to read from")
    out: NDArray[np.generic] | None = None
    covered = np.zeros((grid.height, grid.width), dtype=bool)
    settled: NDArray[np.bool_] | None = None
    for path in paths:
        with reading(path) as file:
            _check_bands(file, path, bands)
            if out is None:
                out = np.full((len(bands), grid.height, grid.width), fill, file.dtypes[0])
                settled = np.zeros_like(covered)
            assert settled is not None
            for rows, columns, piece, inside in _pieces(file, grid, bands):
                if len(paths) == 1 and piece.shape == out.shape and inside.all():
                    return piece  # nothing to fill, nothing to compare with
                known = inside if file.nodata is None else inside & _has_data(piece, file.nodata)
                _merge(out, covered, settled, rows, columns, piece, inside, known, paths, path)
    assert out is not None
    return out


def _merge(
    out: NDArray[np.generic],
    covered: NDArray[np.bool_],
    settled: NDArray[np.bool_],
    rows: slice,
    columns: slice,
    piece: NDArray[np.generic],
    inside: NDArray[np.bool_],
    known: NDArray[np.bool_],
    paths: Sequence[Path],
    path: Path,
) -> None:
    """Lay one file's pixels on what earlier ones left; both hold data only where they agree."""
    part, was_covered, was_settled = (
        out[:, rows, columns],
        covered[rows, columns],
        settled[rows, columns],
    )
    both = known & was_settled
    if both.any():
        differ = both & (part != piece).any(axis=0)
        if differ.any():
            others = ", ".join(_told(other, paths) for other in paths if other != path)
            raise TilesDisagree(
                f"{_told(path, paths)} and {others} cover the same ground with different values "
                f"({int(differ.sum())} pixels). Keep the newer one only."
            )
    take = (inside & ~was_covered) | (known & ~was_settled)
    if take.all():
        part[...] = piece
    else:
        part[:, take] = piece[:, take]
    was_covered |= inside
    was_settled |= known


def _told(path: Path, paths: Sequence[Path]) -> str:
    """A file's name; with its folder's where another file bears the same."""
    alike = sum(other.name == path.name for other in paths)
    return path.name if alike < 2 else f"{path.parent.name}/{path.name}"


def _pieces(
    file: rasterio.DatasetReader, grid: Grid, bands: Sequence[int]
) -> Iterator[tuple[slice, slice, NDArray[np.generic], NDArray[np.bool_]]]:
    """The part of the grid that a file may cover: rows, columns, pixels, and which it covers."""
    window = _aligned_window(file, grid)
    if window is not None:
        top, left = max(window.row, 0), max(window.column, 0)
        bottom = min(window.row + window.height, file.height)
        right = min(window.column + window.width, file.width)
        if bottom <= top or right <= left:
            return
        piece = _stored(file, bands, ((top, bottom), (left, right)))
        yield (
            slice(top - window.row, bottom - window.row),
            slice(left - window.column, right - window.column),
            piece,
            np.ones(piece.shape[1:], dtype=bool),
        )
        return
    axes = nearest_axes(grid, _grid_of(file))
    if axes is not None:
        (row, rows), (column, columns) = (
            _run_inside(axis, length)
            for axis, length in zip(axes, (file.height, file.width), strict=True)
        )
        if len(row) and len(column):
            box = ((int(row.min()), int(row.max()) + 1), (int(column.min()), int(column.max()) + 1))
            stored = _stored(file, bands, box)
            piece = stored[:, (row - box[0][0])[:, None], column - box[1][0]]
            yield rows, columns, piece, np.ones(piece.shape[1:], dtype=bool)
        return
    row, column = nearest_pixels(grid, _grid_of(file))
    inside = (row >= 0) & (row < file.height) & (column >= 0) & (column < file.width)
    if not inside.any():
        return
    # Only the box that the grid touches is read, whatever the file's size.
    top, bottom = int(row[inside].min()), int(row[inside].max()) + 1
    left, right = int(column[inside].min()), int(column[inside].max()) + 1
    stored = _stored(file, bands, ((top, bottom), (left, right)))
    piece = np.zeros((len(bands), grid.height, grid.width), dtype=stored.dtype)
    piece[:, inside] = stored[:, row[inside] - top, column[inside] - left]
    yield slice(0, grid.height), slice(0, grid.width), piece, inside


def _run_inside(axis: NDArray[np.intp], length: int) -> tuple[NDArray[np.intp], slice]:
    """The part of a monotonic axis that lies within 0 … length, and where it stands."""
    inside = np.flatnonzero((axis >= 0) & (axis < length))
    if not len(inside):
        return axis[:0], slice(0, 0)
    run = slice(int(inside[0]), int(inside[-1]) + 1)
    return axis[run], run


def _stored(
    file: rasterio.DatasetReader,
    bands: Sequence[int],
    box: tuple[tuple[int, int], tuple[int, int]],
) -> NDArray[np.generic]:
    """Stored pixels "band height width" of a box of rows and columns, as they were written."""
    _handle_of(file).checks.check(bands, box)
    pixels: NDArray[np.generic] = file.read(list(bands), window=box)
    return pixels


def _has_data(piece: NDArray[np.generic], nodata: float) -> NDArray[np.bool_]:
    """Where at least one band differs from the no-data value."""
    empty = np.isnan(piece) if np.isnan(nodata) else piece == nodata
    known: NDArray[np.bool_] = ~empty.all(axis=0)
    return known


def covered_part(path: Path, grid: Grid) -> NDArray[np.bool_]:
    """Which pixels of a grid lie on a file, "height width"; the others `read_onto` fills."""
    covered = np.zeros((grid.height, grid.width), dtype=bool)
    with reading(path) as file:
        window = _aligned_window(file, grid)
        if window is None:
            row, column = nearest_pixels(grid, _grid_of(file))
            covered |= (row >= 0) & (row < file.height) & (column >= 0) & (column < file.width)
            return covered
        top, left = max(-window.row, 0), max(-window.column, 0)
        bottom, right = file.height - window.row, file.width - window.column
        covered[top : max(bottom, 0), left : max(right, 0)] = True
    return covered


def read_window(path: Path, window: Window, bands: Sequence[int]) -> NDArray[np.generic]:
    """Stored pixels of one window that lies within the file, "band height width"."""
    rows = (window.row, window.row + window.height)
    columns = (window.column, window.column + window.width)
    with reading(path) as file:
        _check_bands(file, path, bands)
        return _stored(file, bands, (rows, columns))


def files_of(path: Path) -> list[Path]:
    """The files that a raster is read from: itself, its sidecars, the sources of a virtual one."""
    with reading(path) as file:
        return [Path(name) for name in file.files]


def band_types(path: Path) -> tuple[str, ...]:
    """The type of each band; those of a virtual raster may differ."""
    with reading(path) as file:
        return tuple(file.dtypes)


@contextmanager
def block_cache(size: int) -> Iterator[None]:
    """Let GDAL hold at most `size` bytes of decoded blocks; afterwards as much as before."""
    with rasterio.Env(GDAL_CACHEMAX=size):
        yield


def read_known(
    path: Path, window: Window, bands: Sequence[int]
) -> tuple[NDArray[np.generic], NDArray[np.bool_], NDArray[np.bool_]]:
    """Stored pixels of one window that lies within the file, and which of them are data.

    Returns:
        Pixels, "band height width".
        Which of them differ from the no-data value that the file declares (else from 0), "band
        height width"; all of them where a mask or alpha band of the file decides.
        Which pixels cannot be data whatever the other bands and files hold, "height width": masked
        out, or not a finite number in one of the bands.
    """
    box = (
        (window.row, window.row + window.height),
        (window.column, window.column + window.width),
    )
    with reading(path) as file:
        _check_bands(file, path, bands)
        pixels = _stored(file, bands, box)
        if MaskFlags.per_dataset in file.mask_flag_enums[0]:
            barred = file.dataset_mask(window=box) == 0
            data = np.ones(pixels.shape, dtype=bool)
        else:
            barred = np.zeros(pixels.shape[1:], dtype=bool)
            declared = [file.nodatavals[band - 1] for band in bands]
            empty = np.array([0.0 if value is None else value for value in declared])
            if pixels.dtype.kind == "f":
                with np.errstate(over="ignore"):
                    empty = empty.astype(pixels.dtype)  # −9999.9 is stored as its nearest float32
            data = pixels != empty[:, None, None]
    if pixels.dtype.kind == "f":
        barred |= ~np.isfinite(pixels).all(axis=0)
    return pixels, data, barred


def encode_tiff(pixels: NDArray[np.generic], tags: dict[str, str]) -> bytes:
    """Pixels "height width band" of any type as bytes of a deflated TIFF, without a place."""
    with warnings.catch_warnings(), MemoryFile() as memory:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with memory.open(
            driver="GTiff",
            count=pixels.shape[2],
            height=pixels.shape[0],
            width=pixels.shape[1],
            dtype=pixels.dtype,
            compress="deflate",
            predictor=2,
            zlevel=1,
        ) as file:
            file.write(np.moveaxis(pixels, -1, 0))
            file.update_tags(**tags)
        data: bytes = memory.read()
        return data


def decode_tiff(data: bytes) -> tuple[NDArray[np.generic], dict[str, str]]:
    """Pixels "height width band" and tags of a TIFF that `encode_tiff` wrote."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with MemoryFile(data) as memory, memory.open() as file:
            return np.moveaxis(file.read(), 0, -1), dict(file.tags())


@contextmanager
def reading(path: Path) -> Iterator[rasterio.DatasetReader]:
    """An open file; whatever GDAL says of its bytes becomes one message that names it."""
    try:
        yield _opened(path)
    except RasterioError as error:
        _handles().pop(path, None)  # a broken handle must not outlive a file that is put right
        raise UnreadableFile(
            f"{path.name} cannot be read: {first_line(error)}. Fetch or write it again."
        ) from error


def _opened(path: Path) -> rasterio.DatasetReader:
    """The file's handle, kept open: GDAL's block cache lives with it, and patches share blocks."""
    handles = _handles()
    try:
        stat = path.stat()
    except OSError as error:
        raise UnreadableFile(f"{path.name} cannot be read: {error.strerror}.") from error
    version = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    held = handles.pop(path, None)
    if held is not None and held.version != version:
        held.file.close()
        held = None
    if held is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            file = rasterio.open(path)
            held = _Handle(version, file, BlockChecks(file, path))
    handles[path] = held  # most recently used last
    while len(handles) > _MAX_HANDLES:
        handles.pop(next(iter(handles))).file.close()
    return held.file


def _handles() -> dict[Path, _Handle]:
    """This thread's open files: GDAL handles must not be shared between threads."""
    if not hasattr(_local, "handles"):
        _local.handles = {}
    found: dict[Path, _Handle] = _local.handles
    return found


def _handle_of(file: rasterio.DatasetReader) -> _Handle:
    """What is kept of an open file; the one read last is the likeliest."""
    return next(held for held in reversed(_handles().values()) if held.file is file)


def _check_bands(file: rasterio.DatasetReader, path: Path, bands: Sequence[int]) -> None:
    if max(bands) > file.count:
        raise PairError(
            f"{path.name} has {file.count} band{'s' if file.count > 1 else ''}; band {max(bands)} "
            "was asked for. Correct the bands in the settings, or the file."
        )


def first_line(error: Exception) -> str:
    """What GDAL says first of an error, without its full stop."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _grid_of(file: rasterio.DatasetReader) -> Grid:
    return _handle_of(file).grid


def _aligned_window(file: rasterio.DatasetReader, grid: Grid) -> Window | None:
    """The grid as a window of the file where both share pixel size, CRS and alignment."""
    own = _grid_of(file)
    if own.crs != grid.crs:
        return None
    a, b, c, d, e, f = own.transform
    ga, gb, gc, gd, ge, gf = grid.transform
    if b or d or not all(map(_same_step, (a, b, d, e), (ga, gb, gd, ge))):
        return None
    if is_geographic(own.crs):
        ends = np.array([gc + ga / 2, gc + ga * (grid.width - 0.5)])
        turn, other = full_turns(own, ends)
        if turn != other:
            return None
        gc += 360.0 * float(turn)
    column, row = (gc - c) / a, (gf - f) / e
    # A hundredth of a pixel over a 3° tile is far above rounding and far below any real shift.
    if abs(column - round(column)) > 0.01 or abs(row - round(row)) > 0.01:
        return None
    return Window(round(row), round(column), grid.height, grid.width)


def _same_step(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-15)


def write_geotiff(
    path: Path,
    pixels: NDArray[np.generic],
    grid: Grid,
    *,
    nodata: float | None = None,
    tags: dict[str, str] | None = None,
    band_names: Sequence[str] = (),
    palette: dict[int, tuple[int, int, int]] | None = None,
) -> None:
    """Write "band height width" as a tiled, deflated GeoTIFF, atomically.

    Raises:
        OutputError: the folder cannot be written.
        RunError: the disk is full.
    """
    # By way of memory: where a disk is full, GDAL may close a file that lacks its end and say
    # nothing, and that file would be renamed into place.
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            count=pixels.shape[0],
            height=pixels.shape[1],
            width=pixels.shape[2],
            dtype=pixels.dtype,
            crs=grid.crs,
            transform=Affine(*grid.transform),
            nodata=nodata,
            compress="deflate",
            tiled=True,
            blockxsize=256,
            blockysize=256,
        ) as file:
            file.write(pixels)
            file.update_tags(**(tags or {}))
            for index, name in enumerate(band_names, start=1):
                file.set_band_description(index, name)
            if palette:
                file.write_colormap(1, palette)
        with atomic_path(path) as temporary:
            temporary.write_bytes(memory.getbuffer())
