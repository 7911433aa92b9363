"""ESA WorldCover maps and Sentinel-2 composites: of the open buckets, only the area."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from rich.markup import escape

from terraloom.classes import ClassTable
from terraloom.errors import NothingLeft, RunError, SettingsError
from terraloom.files import (
    check_writable,
    read_json,
    remove_leftovers,
    sha256_of,
    sha256_of_value,
    write_json,
)
from terraloom.progress import console
from terraloom.raster.grid import Window
from terraloom.raster.remote import RemoteRaster, WindowCost, open_remote
from terraloom.raster.remote_file import RemoteFile, RemoteMissing, RemoteTrouble, RemoteUnusable
from terraloom.raster.worldcover_tiles import (
    COMPOSITE_DEGREES,
    LICENCE,
    PIXELS_PER_DEGREE,
    VERSION_OF_YEAR,
)
from terraloom.retrying import RetrySettings, Transient, Unavailable
from terraloom.sources import _tiles
from terraloom.sources._area import Area, AreaSettings
from terraloom.sources._face import DownloadPlan, Scene, Source
from terraloom.sources._ledger import ItemLedger, LedgerSummary
from terraloom.sources._tile_windows import (
    TileWindow,
    area_of_tiles,
    map_under,
    quality_window,
    tile_windows,
    window_in_file,
)

ASSUMED_BYTES_PER_S: Final = 5e6
"""Rate behind a plan's time: 40 Mbit/s."""
ASSUMED_DENSITY: Final = {"S2RGBNIR": 3.2, "Map": 0.1, "InputQuality": 0.35}
"""Stored bytes per pixel where no header can be read: a composite has about 455 MB, a map about
130 MB, an InputQuality tile some 10 MB."""
_LEDGER: Final = "ledger.jsonl"
_REQUEST: Final = "request.json"


class Settings(AreaSettings):
    """Options of `[sources.worldcover]`: exactly one of box, polygons and tiles."""

    tiles: tuple[str, ...] = ()
    """Composite tiles of 1° by their south-west corners, such as "N39E033"."""
    year: Literal[2020, 2021] = 2021
    """Of map and composite."""
    margin: int = Field(default=128, ge=0)
    """Pixels of 10 m fetched around what polygons cover, so that patches centred at their edge are
    whole: half a patch. A box and tiles are taken exactly."""
    input_quality: bool = True
    """Fetch the InputQuality layer, from which trust maps are made."""
    maps_url: str = "https://esa-worldcover.s3.eu-central-1.amazonaws.com"
    """Holds v100/2020/map/ and v200/2021/map/: an address, or the absolute path of a mirror."""
    composites_url: str = "https://esa-worldcover-s2.s3.eu-central-1.amazonaws.com"
    """Holds rgbnir/2020/ and rgbnir/2021/: an address, or the absolute path of a mirror."""
    workers: int = Field(default=4, ge=1, le=32)
    """Files fetched at one time; each takes up to 250 MB of memory."""
    retry: RetrySettings = RetrySettings()
    """Tries and waits."""

    @field_validator("maps_url", "composites_url")
    @classmethod
    def _reachable(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https", "file", ""):
            raise ValueError(
                f"{parts.scheme}:// is not supported; give the bucket's https:// address or a "
                "folder"
            )
        if not parts.scheme and not Path(value).is_absolute():
            raise ValueError("a mirror's folder must be an absolute path")
        if parts.username or parts.password:
            raise ValueError("addresses with a user or password are not supported")
        return value

    def area(self) -> Area:
        """The area that these settings describe.

        Raises:
            SettingsError: not exactly one of box, polygons and tiles is given, or it is wrong.
            InputError: the file of polygons is wrong.
        """
        if not self.tiles:
            return super().area()
        if self.box is not None or self.polygons is not None:
            raise SettingsError("tiles is given beside box or polygons; keep the one you mean.")
        return area_of_tiles(self.tiles, self.year)


class WorldCoverSource:
    """Fetches windows of official tiles, and hands them on as tiles."""

    value_range = _tiles.DEFAULT_RANGE
    unit_scale = _tiles.REFLECTANCE_PER_DN
    unit_offset = 0.0

    def __init__(self, settings: Settings, classes: ClassTable, seed: int) -> None:
        self.settings = settings
        self.classes = classes
        self.seed = seed
        self._left_out: dict[str, str] = {}

    def acquire(self, folder: Path) -> None:
        """Fetch what is not there yet into `folder`/tiles, under the official names.

        Maps come first; a composite whose map does not exist (open sea) is not asked for. Failed
        files are named and left out, the rest is fetched; files whose failure was transient are
        tried again by every call.

        Raises:
            SettingsError, InputError: the area is wrong.
            NothingLeft: no composite with its map is there.
            RunError: none could be fetched for now, or the disk is full.
        """
        wanted = self._wanted
        tiles = folder / "tiles"
        check_writable(tiles)
        remove_leftovers(tiles)
        ledger = self._ledger(folder)
        self._begin(folder, ledger)
        maps = [tile for tile in wanted if tile.name.product == "Map"]
        told = [self._run(ledger, maps, tiles, "fetching maps")]
        done = self._done(folder)
        others = [
            tile
            for tile in wanted
            if tile.name.product != "Map" and map_under(tile.name).filename in done
        ]
        told.append(self._run(ledger, others, tiles, "fetching composites"))
        done = self._done(folder)
        for path in tiles.glob("*.tif"):
            if path.name not in done:  # of another area, or of a fetch that was never recorded
                path.unlink()
        failed = self._failures(folder)
        parts = [name for name, facts in done.items() if not facts["whole"]]
        console.print(_summary(told, failed, parts), soft_wrap=True)
        if not any(
            tile.name.product == "S2RGBNIR"
            and tile.name.filename in done
            and map_under(tile.name).filename in done
            for tile in wanted
        ):
            reasons = "; ".join(f"{name}: {reason}" for name, reason in list(failed.items())[:3])
            # What is not there, or not to be had, is asked for in vain; a server may come back.
            passing = any(entry.get("transient") for entry in ledger.entries().values())
            kind = RunError if passing else NothingLeft
            raise kind(
                f"[sources.worldcover] none of the {len(wanted)} tiles of the area could be "
                f"fetched with its map. {reasons}. Check the area, the year and the addresses, "
                "and run the same command again."
            )

    def scenes(self, folder: Path) -> list[Scene]:
        """One scene per group of touching composites; windows lie in the area."""
        found = self._found(folder)
        self._left_out = self._failures(folder) | found.left_out
        return [*found.scenes]

    def inputs(self, folder: Path) -> dict[str, str]:
        """SHA-256 of every tile in use."""
        return self._found(folder).checksums

    def given(self) -> dict[str, str]:
        """SHA-256 of the file of polygons, where there is one."""
        polygons = self.settings.polygons
        if polygons is None or not polygons.is_file():
            return {}
        return {polygons.name: sha256_of(polygons)}

    def left_out(self) -> dict[str, str]:
        """Tiles that could not be fetched or used, with the reason."""
        return dict(self._left_out)

    def extents(self) -> list[tuple[int, int]]:
        """Sizes of the groups of touching composites, open sea included; nothing is asked for."""
        windows = {
            tile.name: tile.window for tile in self._wanted if tile.name.product == "S2RGBNIR"
        }
        sizes = []
        for group in _tiles._touching(windows):
            shifts = _tiles._longitude_shifts(group)
            edges = []
            for name in group:
                window = windows[name]
                top = (name.lat + COMPOSITE_DEGREES) * PIXELS_PER_DEGREE - window.row
                left = round(name.lon + shifts[name]) * PIXELS_PER_DEGREE + window.column
                edges.append((top, left, top - window.height, left + window.width))
            tops, lefts, bottoms, rights = zip(*edges, strict=True)
            sizes.append((max(tops) - min(bottoms), max(rights) - min(lefts)))
        return sizes

    def plan(self, folder: Path) -> DownloadPlan:
        """What `acquire` would still fetch; reads headers and block indexes, writes nothing.

        Files that do not exist count as nothing. Where the server does not answer, sizes are
        estimated from `ASSUMED_DENSITY`.
        """
        wanted = self._wanted
        done = self._done(folder) if self._same_request(folder) else {}
        left = [tile for tile in wanted if tile.name.filename not in done]
        estimated = False
        download = disk = 0
        with ThreadPoolExecutor(self.settings.workers) as pool:
            # The first tells whether anybody answers at all, before all others wait in vain.
            costs = [self._cost(left[0])] if left else []
            ask = not costs or costs[0][1]
            costs += pool.map(self._cost if ask else _assumed, left[1:])
        for cost, known in costs:
            download += cost.download_bytes
            disk += cost.disk_bytes
            estimated |= not known
        disk += sum(int(str(facts["bytes"])) for facts in done.values())
        seconds = download / ASSUMED_BYTES_PER_S
        return DownloadPlan(
            len(wanted), len(wanted) - len(left), download, disk, estimated, seconds
        )

    def forget_failed(self, folder: Path) -> int:
        """Make the next `acquire` try again what failed for good; the number of such files."""
        return self._ledger(folder).forget_failed()

    @cached_property
    def _area(self) -> Area:
        return self.settings.area()

    @cached_property
    def _wanted(self) -> list[TileWindow]:
        """Composites, maps and qualities with their windows in whole official tiles."""
        settings = self.settings
        margin = settings.margin if settings.polygons is not None else 0
        found = tile_windows(self._area, settings.year, margin=margin)
        if not found:
            raise SettingsError(
                "[sources.worldcover] the area is smaller than a pixel of 10 m; give a larger one."
            )
        if settings.input_quality:
            found += [quality_window(tile) for tile in found if tile.name.product == "Map"]
        return found

    def _ledger(self, folder: Path) -> ItemLedger:
        return ItemLedger(folder / _LEDGER, self.settings.retry, seed=self.seed)

    def _request(self) -> dict[str, object]:
        """What decides what is fetched; bases as checksums, for they may hold a machine's paths."""
        settings = self.settings
        return {
            "bases_sha256": sha256_of_value([settings.maps_url, settings.composites_url]),
            "tiles": {t.name.filename: _numbers(t.window) for t in self._wanted},
        }

    def _same_request(self, folder: Path) -> bool:
        path = folder / _REQUEST
        return path.exists() and read_json(path) == self._request()

    def _begin(self, folder: Path, ledger: ItemLedger) -> None:
        """Forget what another request fetched, and files that are gone."""
        if not self._same_request(folder):
            ledger.forget(ledger.entries(), "another area, year or address is asked for")
            write_json(folder / _REQUEST, self._request())
        there = self._done(folder)
        recorded = [item for item, state in ledger.states().items() if state == "done"]
        ledger.forget([item for item in recorded if item not in there], "the file is gone")

    def _done(self, folder: Path) -> dict[str, Mapping[str, object]]:
        """Facts of the wanted files that were fetched whole and still lie there."""
        entries = self._ledger(folder).entries()
        names = [tile.name.filename for tile in self._wanted]
        found = {}
        for name in names:
            entry = entries.get(name, {})
            path = folder / "tiles" / name
            if (
                entry.get("state") == "done"
                and path.is_file()
                and path.stat().st_size == entry["facts"]["bytes"]
            ):
                found[name] = entry["facts"]
        return found

    def _failures(self, folder: Path) -> dict[str, str]:
        """Wanted files that are not there, with the reason."""
        done, failed = self._done(folder), self._ledger(folder).failed()
        reasons = {}
        for tile in self._wanted:
            name, under = tile.name.filename, map_under(tile.name).filename
            if name in done:
                continue
            reason = failed.get(name, "not fetched")
            if name != under and under not in done:
                reason = f"its map {under} is not there: {failed.get(under, 'not fetched')}"
            reasons[name] = reason
        return reasons

    def _run(
        self, ledger: ItemLedger, tiles: Sequence[TileWindow], folder: Path, description: str
    ) -> LedgerSummary:
        by_name = {tile.name.filename: tile for tile in tiles}
        return ledger.run(
            list(by_name),
            lambda item: self._fetch(by_name[item], folder, ledger),
            description=description,
            unit="files",
            workers=self.settings.workers,
        )

    def _fetch(self, tile: TileWindow, folder: Path, ledger: ItemLedger) -> dict[str, object]:
        path = folder / tile.name.filename
        try:
            with open_remote(self._address(tile), self.settings.retry.timeout_s) as raster:
                window = window_in_file(tile, raster)
                raster.copy(window, path, tags=_tags(raster, window), check=ledger.check)
        except RemoteTrouble as error:
            raise Transient(str(error), error.retry_after) from error
        except (RemoteMissing, RemoteUnusable) as error:
            raise Unavailable(str(error)) from error
        return {
            "window": _numbers(window),
            "whole": window.height * window.width == tile.window.height * tile.window.width,
            "bytes": path.stat().st_size,
            "sha256": sha256_of(path),
        }

    def _cost(self, tile: TileWindow) -> tuple[WindowCost, bool]:
        """What one file takes, and whether that is known."""
        try:
            with open_remote(self._address(tile), self.settings.retry.timeout_s) as raster:
                return raster.cost(window_in_file(tile, raster)), True
        except (RemoteMissing, RemoteUnusable):
            return WindowCost(0, 0), True
        except RemoteTrouble:
            return _assumed(tile)

    def _address(self, tile: TileWindow) -> RemoteFile:
        """The official layout."""
        name, year = tile.name, self.settings.year
        if name.product == "S2RGBNIR":
            path = f"rgbnir/{year}/{name.place[:3]}/{name.filename}"
            return RemoteFile(self.settings.composites_url, path)
        path = f"{VERSION_OF_YEAR[year]}/{year}/map/{name.filename}"
        return RemoteFile(self.settings.maps_url, path)

    def _found(self, folder: Path) -> _tiles.TileScenes:
        year = self.settings.year
        return _tiles.mosaic_scenes(
            folder / "tiles",
            self.classes,
            licence=LICENCE,
            attribution=(
                f"© ESA WorldCover project {year} / Contains modified Copernicus Sentinel data "
                f"({year}) processed by ESA WorldCover consortium"
            ),
            area=self._area,
            quality=self.settings.input_quality,
        )


def build(settings: Settings, classes: ClassTable, seed: int) -> Source:
    """The source; `seed` decides on the waits between tries, never on what is fetched."""
    return WorldCoverSource(settings, classes, seed)


def _assumed(tile: TileWindow) -> tuple[WindowCost, bool]:
    pixels = tile.window.height * tile.window.width
    size = round(pixels * ASSUMED_DENSITY[tile.name.product])
    return WindowCost(size, size), False


def _tags(raster: RemoteRaster, window: Window) -> dict[str, str]:
    tags = {
        "source_file": raster.file.public_name,
        "source_window": "row {} column {} height {} width {}".format(*_numbers(window)),
        "source_bytes": str(raster.version.size),
        "source_etag": raster.version.etag or "",
        "source_modified": raster.version.modified or "",
    }
    return {key: value for key, value in tags.items() if value}


def _numbers(window: Window) -> list[int]:
    return [window.row, window.column, window.height, window.width]


def _summary(told: Sequence[LedgerSummary], failed: Mapping[str, str], parts: Sequence[str]) -> str:
    fetched, before = sum(t.fetched for t in told), sum(t.done_before for t in told)
    lines = [f"WorldCover: {fetched} files fetched, {before} there before, {len(failed)} left out"]
    if parts:
        lines.append(f"{len(parts)} files of the mirror hold only a part of what the area needs")
    lines += [f"[yellow]left out[/] {name}: {escape(reason)}" for name, reason in failed.items()]
    if failed:
        lines.append("terraloom build --retry-failed tries again what was left out")
    return "\n".join(lines)
