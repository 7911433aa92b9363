"""Pixels of STAC assets on a grid, by odc-stac; errors told apart for the ledger."""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import unquote, urlsplit

import numpy as np
import odc.stac
import pystac
import requests
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from terraloom.raster.grid import Grid, Window
from terraloom.raster.remote_file import RemoteTrouble, http_failure
from terraloom.raster.warp import nearest_pixels
from terraloom.retrying import RetrySettings, Transient, Unavailable
from terraloom.sources._stac_api import without_query
from terraloom.sources._stac_items import LabelItem

Sign = Callable[[str], str]
"""Turns the address of an asset into one that the server answers."""

_NOTHING_OF_CATALOGUE: Final = {"*": {"warnings": "ignore"}}
_FIRST_FAILURE: Final = 400
_MARGIN_PX: Final = 2
_EDGE_POINTS: Final = 33
_configuring: Final = threading.Lock()


class AssetUnavailable(Unavailable):
    """An asset that the server says is not there; the item can be left out."""

    def __init__(self, item: str, reason: str) -> None:
        super().__init__(f"{item}: {reason}")
        self.item = item
        self.reason = reason


class AssetLoader:
    """Reads assets of items on to grids; safe to share between threads.

    Args:
        sign: makes an address readable.
        retry: time-outs; a lost request is made again twice at once, before the ledger hears.
    """

    def __init__(self, sign: Sign, retry: RetrySettings) -> None:
        self._sign = sign
        self._timeout_s = retry.timeout_s
        seconds = str(max(1, math.ceil(retry.timeout_s)))
        with _configuring:
            odc.stac.configure_rio(
                GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR",  # no listing of the remote folder
                GDAL_INGESTED_BYTES_AT_OPEN="32768",  # the header of a COG in one request
                GDAL_HTTP_MERGE_CONSECUTIVE_RANGES="YES",
                GDAL_HTTP_CONNECTTIMEOUT=seconds,
                GDAL_HTTP_LOW_SPEED_TIME=seconds,
                GDAL_HTTP_LOW_SPEED_LIMIT="1",
                GDAL_HTTP_MAX_RETRY="2",
                GDAL_HTTP_RETRY_DELAY=str(min(retry.first_wait_s, 1.0)),
                # A failed try must not be remembered: the next one asks the server again.
                CPL_VSIL_CURL_NON_CACHED="/vsicurl/",
            )

    def image(
        self, document: Mapping[str, Any], assets: Sequence[str], grid: Grid
    ) -> NDArray[np.uint16]:
        """Digital numbers "band height width"; 0 where the item has none.

        On the item's own pixel grid the stored numbers are returned; on another they are bilinear.
        """
        numbers = self._load(document, assets, grid, "uint16", 0, "bilinear")
        return numbers.astype(np.uint16, copy=False)

    def scene_classes(
        self, document: Mapping[str, Any], asset: str, grid: Grid
    ) -> NDArray[np.uint8]:
        """Scene classes "height width" by nearest neighbour; 0 where the item has none."""
        classes = self._load(document, [asset], grid, "uint8", 0, "nearest")
        found: NDArray[np.uint8] = classes[0].astype(np.uint8, copy=False)
        return found

    def label_codes(self, item: LabelItem, grid: Grid, nodata: int) -> NDArray[np.int16]:
        """Codes "height width" under the centres of the grid's pixels; `nodata` where none are.

        Where the item tells its own grid, its pixels are read as stored and picked to a hundredth
        of a pixel; else GDAL picks them, to an eighth.
        """
        if item.grid is None:
            codes = self._load(item.document, [item.asset], grid, "int16", nodata, "nearest")
            found: NDArray[np.int16] = codes[0].astype(np.int16, copy=False)
            return found
        out = np.full((grid.height, grid.width), nodata, dtype=np.int16)
        window = _window_under(grid, item.grid)
        if window is None:
            return out
        part = item.grid.part(window)
        stored = self._load(item.document, [item.asset], part, "int16", nodata, "nearest")[0]
        row, column = nearest_pixels(grid, part)
        inside = (row >= 0) & (row < part.height) & (column >= 0) & (column < part.width)
        out[inside] = stored[row[inside], column[inside]]
        return out

    def _load(
        self,
        document: Mapping[str, Any],
        assets: Sequence[str],
        grid: Grid,
        dtype: str,
        nodata: int,
        resampling: Literal["nearest", "bilinear"],
    ) -> NDArray[np.generic]:
        """Pixels of one item, "asset height width"."""
        try:
            item = pystac.Item.from_dict(dict(document), migrate=False)
            cube = odc.stac.load(
                [item],
                bands=list(assets),
                geobox=GeoBox((grid.height, grid.width), Affine(*grid.transform), grid.crs),
                groupby="id",
                dtype=dtype,
                nodata=nodata,
                resampling=resampling,
                # Overviews of classes may be averages, and those of images may lag behind.
                use_overviews=False,
                stac_cfg=_NOTHING_OF_CATALOGUE,
                patch_url=self._sign,
            )
            return np.stack([cube[name].values[0] for name in assets])
        except Exception as error:
            # GDAL's errors have no base class that may be named outside raster/; any other error
            # is a bug and goes on.
            if not type(error).__module__.startswith("rasterio."):
                raise
            told = without_query(str(error.__cause__ or error)).splitlines()[0]
            raise self._diagnosed(document, assets, told) from error

    def _diagnosed(
        self, document: Mapping[str, Any], assets: Sequence[str], told: str
    ) -> Transient | Unavailable:
        """Why a read failed: asks the server for one byte of each asset."""
        name = str(document["id"])
        for key in assets:
            href = str(document["assets"][key]["href"])
            parts = urlsplit(href)
            if parts.scheme not in ("http", "https"):
                local = Path(unquote(parts.path))
                if parts.scheme in ("", "file") and not local.exists():
                    return AssetUnavailable(name, f"asset {key}: {local.name} is not there")
                continue
            try:
                with requests.get(
                    self._sign(href),
                    headers={"Range": "bytes=0-0"},
                    timeout=self._timeout_s,
                    stream=True,
                ) as response:
                    status, wait = response.status_code, response.headers.get("Retry-After")
            except requests.RequestException as error:
                return Transient(f"{name}: asset {key}: {type(error).__name__}")
            if status >= _FIRST_FAILURE:
                failure = http_failure(status, wait)
                if isinstance(failure, RemoteTrouble):
                    return Transient(f"{name}: asset {key}: {failure}", failure.retry_after)
                return AssetUnavailable(name, f"asset {key}: {failure}")
        # The server has it, but what came was cut off or is damaged: another try may tell.
        return Transient(
            f"{name}: {told}. If it stays so, leave the item out by naming it in without."
        )


def _window_under(grid: Grid, source: Grid) -> Window | None:
    """The pixels of `source` that a grid needs, with a margin; None where they do not meet."""
    along = np.linspace(0.0, 1.0, _EDGE_POINTS)
    across, down = (axis.ravel() for axis in np.meshgrid(along * grid.width, along * grid.height))
    a, b, c, d, e, f = grid.transform
    x, y = a * across + b * down + c, d * across + e * down + f
    x, y = Transformer.from_crs(grid.crs, source.crs, always_xy=True).transform(x, y)
    column, row = ~Affine(*source.transform) @ (np.asarray(x), np.asarray(y))
    left, right = math.floor(column.min()) - _MARGIN_PX, math.ceil(column.max()) + _MARGIN_PX
    top, bottom = math.floor(row.min()) - _MARGIN_PX, math.ceil(row.max()) + _MARGIN_PX
    left, top = max(left, 0), max(top, 0)
    right, bottom = min(right, source.width), min(bottom, source.height)
    if right <= left or bottom <= top:
        return None
    return Window(top, left, bottom - top, right - left)


def signer(name: str | None, queries: Mapping[str, str]) -> Sign:
    """How addresses are made readable.

    Args:
        name: "planetary-computer" asks that service for a signature; None signs nothing.
        queries: query strings by address, as an API handed them out.

    Raises:
        ImportError: the package that signs is not installed.
    """
    if name is None:
        return lambda href: href + queries.get(href, "")
    import planetary_computer

    return lambda href: str(planetary_computer.sign_url(href))
