"""GeoTIFF in and out; the only importer of rasterio."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.warp import reproject, transform

from terraloom.errors import InputError
from terraloom.files import atomic_path
from terraloom.raster.grid import Grid, Window


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
        InputError: the file is missing, truncated or no raster.
    """
    try:
        with rasterio.open(path) as file:
            grid = None
            if file.crs is not None:
                grid = Grid(crs_name(file.crs), tuple(file.transform)[:6], file.height, file.width)
            return RasterInfo(
                grid,
                file.height,
                file.width,
                file.count,
                file.dtypes[0],
                file.nodata,
                dict(file.tags()),
            )
    except RasterioError as error:
        raise InputError(
            f"{path.name} cannot be read as a raster: {error}. Fetch or write it again."
        ) from error


def crs_name(crs: rasterio.crs.CRS) -> str:
    """Authority code where there is one, else WKT."""
    authority = crs.to_authority()
    return ":".join(authority) if authority else str(crs.to_wkt())


def read_onto(
    paths: Sequence[Path],
    grid: Grid,
    *,
    bands: Sequence[int],
    fill: float,
    nearest: bool = True,
) -> NDArray[np.generic]:
    """Pixels of several files on one grid; later files fill what earlier ones left empty.

    Args:
        paths: rasters with a CRS; those that do not touch the grid cost one file opening.
        grid: where the pixels are wanted.
        bands: 1-based indexes.
        fill: value of pixels that no file covers.
        nearest: nearest neighbour (labels), else bilinear (images). On an equal, aligned pixel
            grid both return the stored values.

    Returns:
        "band height width" in the type of the first file.
    """
    out: NDArray[np.generic] | None = None
    empty = np.ones((grid.height, grid.width), dtype=bool)
    for path in paths:
        try:
            with rasterio.open(path) as file:
                if out is None:
                    out = np.full((len(bands), grid.height, grid.width), fill, file.dtypes[0])
                target = np.full_like(out, fill)
                covered = np.zeros((grid.height, grid.width), dtype=np.uint8)
                window = _aligned_window(file, grid)
                if window is not None:
                    _copy_aligned(file, grid, window, bands, target, covered)
                else:
                    reproject(
                        rasterio.band(file, list(bands)),
                        target,
                        dst_transform=Affine(*grid.transform),
                        dst_crs=grid.crs,
                        resampling=Resampling.nearest if nearest else Resampling.bilinear,
                        init_dest_nodata=False,
                    )
                    _warp_cover(file, grid, covered)
        except (RasterioError, IndexError) as error:
            raise InputError(f"{path.name}: {error}. Fetch or write the file again.") from error
        take = empty & (covered > 0)
        out[:, take] = target[:, take]
        empty &= ~take
        if not empty.any():
            break
    if out is None:
        raise InputError("no raster file was given to read from")
    return out


def covered_part(path: Path, grid: Grid) -> NDArray[np.bool_]:
    """Which pixels of a grid lie on a file, "height width"; the others `read_onto` fills."""
    covered = np.zeros((grid.height, grid.width), dtype=np.uint8)
    try:
        with rasterio.open(path) as file:
            window = _aligned_window(file, grid)
            if window is None:
                _warp_cover(file, grid, covered)
            else:
                top, left = max(-window.row, 0), max(-window.column, 0)
                bottom, right = file.height - window.row, file.width - window.column
                covered[top : max(bottom, 0), left : max(right, 0)] = 1
    except RasterioError as error:
        raise InputError(f"{path.name}: {error}. Fetch or write the file again.") from error
    return covered > 0


def read_window(path: Path, window: Window, bands: Sequence[int]) -> NDArray[np.generic]:
    """Stored pixels of one window that lies within the file, "band height width"."""
    rows = (window.row, window.row + window.height)
    columns = (window.column, window.column + window.width)
    try:
        with rasterio.open(path) as file:
            pixels: NDArray[np.generic] = file.read(list(bands), window=(rows, columns))
            return pixels
    except (RasterioError, IndexError) as error:
        raise InputError(f"{path.name}: {error}. Fetch or write the file again.") from error


def _aligned_window(file: rasterio.DatasetReader, grid: Grid) -> Window | None:
    """The grid as a window of the file where both share pixel size, CRS and alignment."""
    if file.crs is None or crs_name(file.crs) != grid.crs:
        return None
    a, b, c, d, e, f = tuple(file.transform)[:6]
    ga, gb, gc, gd, ge, gf = grid.transform
    if not np.allclose((a, b, d, e), (ga, gb, gd, ge), rtol=1e-9, atol=1e-15) or b or d:
        return None
    column, row = (gc - c) / a, (gf - f) / e
    # A hundredth of a pixel over a 3° tile is far above rounding and far below any real shift.
    if abs(column - round(column)) > 0.01 or abs(row - round(row)) > 0.01:
        return None
    return Window(round(row), round(column), grid.height, grid.width)


def _warp_cover(file: rasterio.DatasetReader, grid: Grid, covered: NDArray[np.uint8]) -> None:
    """Set 1 where centres of the grid's pixels lie on the file; no pixel of the file is read."""
    a, b, c, d, e, f = grid.transform
    columns, rows = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
    xs, ys = transform(
        grid.crs,
        file.crs,
        (a * columns + b * rows + c).ravel(),
        (d * columns + e * rows + f).ravel(),
    )
    to_pixel = ~file.transform
    x, y = np.asarray(xs), np.asarray(ys)
    column = to_pixel.a * x + to_pixel.b * y + to_pixel.c
    row = to_pixel.d * x + to_pixel.e * y + to_pixel.f
    inside = (column >= 0) & (column < file.width) & (row >= 0) & (row < file.height)
    covered[inside.reshape(covered.shape)] = 1


def _copy_aligned(
    file: rasterio.DatasetReader,
    grid: Grid,
    window: Window,
    bands: Sequence[int],
    target: NDArray[np.generic],
    covered: NDArray[np.uint8],
) -> None:
    """Copy the overlap of file and window without resampling."""
    top, left = max(window.row, 0), max(window.column, 0)
    bottom = min(window.row + window.height, file.height)
    right = min(window.column + window.width, file.width)
    if bottom <= top or right <= left:
        return
    piece = file.read(list(bands), window=((top, bottom), (left, right)))
    rows = slice(top - window.row, bottom - window.row)
    columns = slice(left - window.column, right - window.column)
    target[:, rows, columns] = piece
    covered[rows, columns] = 1


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
    """Write "band height width" as a tiled, deflated GeoTIFF, atomically."""
    with (
        atomic_path(path) as temporary,
        rasterio.open(
            temporary,
            "w",
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
        ) as file,
    ):
        file.write(pixels)
        file.update_tags(**(tags or {}))
        for index, name in enumerate(band_names, start=1):
            file.set_band_description(index, name)
        if palette:
            file.write_colormap(1, palette)
