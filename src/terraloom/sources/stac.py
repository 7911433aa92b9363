"""Sentinel-2 L2A and a label collection from any STAC API, as cloud-free composites per cell."""

import datetime
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

import shapely
from pydantic import Field, model_validator

from terraloom.classes import ClassTable
from terraloom.errors import InputError, OutputError, RunError, SettingsError, StageMissing
from terraloom.files import read_json, sha256_of, sha256_of_value, write_json
from terraloom.progress import console
from terraloom.retrying import RetrySettings
from terraloom.sources._area import AreaSettings
from terraloom.sources._cells import CellGroup, is_utm, plan_cells, touching_cells, union_grid
from terraloom.sources._face import Scene, Source
from terraloom.sources._ledger import ItemLedger
from terraloom.sources._sentinel2_offset import SCALE, refuse_mixture
from terraloom.sources._stac_api import Answer, Question, ask, without_query
from terraloom.sources._stac_cell import CellJob, CellRecipe, cell_paths
from terraloom.sources._stac_composite import Compositor
from terraloom.sources._stac_items import (
    ALIASES,
    ImageItem,
    LabelItem,
    image_items,
    label_items,
)
from terraloom.sources._stac_load import AssetLoader, signer
from terraloom.sources._stac_scene import CellFiles, CellScene

_RECORD: Final = "stac.json"
_FOUND: Final = "found.json"
_CELLS: Final = "cells"
_IMAGES: Final = "images"
_LABELS: Final = "labels"
_SEARCH: Final = "search of "
_SIGNERS: Final = {"planetary-computer": "planetary_computer"}


class Settings(AreaSettings):
    """Options of `[sources.stac]`."""

    url: str
    """Landing page of the STAC API, such as https://earth-search.aws.element84.com/v1."""
    collection: str = "sentinel-2-l2a"
    """Collection of Sentinel-2 L2A items."""
    start: datetime.date
    """First day of the images (UTC)."""
    end: datetime.date
    """Last day of the images (UTC)."""
    max_cloud: float = Field(default=60.0, ge=0, le=100)
    """Items with more cloud (eo:cloud_cover, per cent) are passed over; 100 takes all."""
    without: tuple[str, ...] = ()
    """Ids of items to leave out: damaged, or of wrong metadata."""
    assets: dict[Literal["red", "green", "blue", "nir", "scl"], str] = Field(default={})
    """Asset names by band; left out, the names of Earth Search (red), Planetary Computer (B04) and
    Copernicus Data Space (B04_10m) are known."""
    masked_classes: tuple[int, ...] = (0, 1, 3, 8, 9, 10)
    """Scene classes that are no clear view: 0 no data, 1 saturated, 3 cloud shadow, 8 and 9 cloud,
    10 cirrus. 2 is dark ground, 6 water, 7 unclassified, 11 snow."""
    composite: Literal["median", "best-clear"] = "median"
    """median: of all clear days, band by band; best-clear: the clearest day (of equals the
    earlier), its holes filled from the next."""
    baseline_offset: Literal["auto", "apply", "none"] = "auto"
    """The +1000 of processing baseline 04.00: auto believes each item, and refuses where its
    statements contradict each other or are missing; apply says that every item still carries it;
    none says that none does."""
    harmonise: bool = False
    """Whether items of both sides of baseline 04.00 may meet; all become reflectance x 10,000
    without offset."""
    resolution: float = Field(default=10.0, gt=0)
    """Side of a pixel in units of the CRS."""
    crs: str = "auto"
    """auto: the UTM zones that the area lies in, one composite each; or a code such as
    EPSG:3035, for which images are resampled bilinearly."""
    cell: int = Field(default=1024, ge=64, le=8192)
    """Side in pixels of the pieces that are fetched one by one, on a grid fixed by the CRS."""
    label_collection: str
    """Collection of the label map."""
    label_asset: str
    """Its asset that holds codes, such as map or data."""
    label_url: str | None = None
    """API of the label collection; left out, the same."""
    label_year: int | None = None
    """Year that the labels describe; left out, the year of the middle of start and end."""
    label_nodata: int = Field(default=0, ge=-32768, le=32767)
    """Code of pixels that the map leaves open; they become unknown."""
    sign: Literal["planetary-computer"] | None = None
    """Who signs asset addresses (needs the package planetary-computer)."""
    licence: str | None = None
    """SPDX name of the images' licence; left out, what the collection states."""
    attribution: str = "contains modified Copernicus Sentinel data"
    """Whom to credit for the images, carried along with every sample."""
    workers: int = Field(default=2, ge=1)
    """Cells fetched at one time."""
    memory_mb: int = Field(default=512, ge=16)
    """Memory of a median per worker; many dates are worked on in strips that fit."""
    retry: RetrySettings = RetrySettings()
    """Time-outs and repeated tries."""

    @model_validator(mode="after")
    def _in_order(self) -> "Settings":
        if self.end < self.start:
            raise ValueError(f"end = {self.end} lies before start = {self.start}")
        return self

    @property
    def labelled_year(self) -> int:
        """The label year asked for."""
        if self.label_year is not None:
            return self.label_year
        return (self.start + (self.end - self.start) / 2).year


class StacSource:
    """Fetches composites cell by cell and remembers which items they are made of."""

    value_range = (0.0, 3000.0)
    """Reflectance 0 … 0.3."""
    unit_scale = SCALE
    unit_offset = 0.0
    """Offsets are removed, so 0 reflects nothing."""

    def __init__(self, settings: Settings, classes: ClassTable, seed: int) -> None:
        self.settings = settings
        self.classes = classes
        self._seed = seed
        self._left_out: dict[str, str] = {}

    @cached_property
    def groups(self) -> list[CellGroup]:
        """The area's cells by CRS."""
        settings = self.settings
        return plan_cells(
            settings.area(), crs=settings.crs, resolution=settings.resolution, size=settings.cell
        )

    def acquire(self, folder: Path) -> None:
        """Search, then fetch the cells that are not there yet; failed cells are named at the end.

        The search is made once: its answer is kept, so that a call that goes on later composes the
        same items.

        Raises:
            InputError: the settings or the items' metadata do not allow a composite.
            OutputError: `folder` holds cells of other settings.
            RunError: the API cannot be reached.
        """
        settings = self.settings
        sign_module = _SIGNERS.get(settings.sign or "")
        if sign_module is not None and find_spec(sign_module) is None:
            raise SettingsError(
                f'[sources.stac] sign = "{self.settings.sign}" needs a package that is not '
                f"installed; run: pip install {self.settings.sign}"
            )
        ledger = ItemLedger(folder / "ledger.jsonl", self.settings.retry, seed=self._seed)
        found, queries = self._search(folder, ledger)
        images, unusable = self._images(found)
        labels = self._labels(found)
        loader = AssetLoader(signer(self.settings.sign, queries), self.settings.retry)
        job = CellJob(
            self._recipe(),
            Compositor(
                loader,
                settings.masked_classes,
                settings.composite,
                settings.memory_mb,
                ledger.check,
            ),
            loader,
            folder / _CELLS,
        )
        for group in self.groups:
            job.add(group, self._of_crs(images, group.crs), labels)
        refuse_mixture(
            [(item.id, item.offset) for item in job.images()], harmonise=settings.harmonise
        )
        names = list(job.plans)
        states = ledger.states()
        ledger.forget(
            [name for name in names if states.get(name) == "done" and not job.is_there(name)],
            "its files are gone",
        )
        summary = ledger.run(
            names,
            job.fetch,
            description="fetching composites",
            unit="cells",
            workers=self.settings.workers,
        )
        console.print(f"cells: {summary}", soft_wrap=True)
        for name, reason in list(summary.failed.items()):
            console.print(f"  {name} failed: {reason}", soft_wrap=True, markup=False)
        if len(summary.failed) == len(names):
            first, reason = next(iter(summary.failed.items()))
            raise RunError(f"[sources.stac] no cell could be made; {first}: {reason}")
        done = {
            name: read_json(job.record_path(name)) for name in names if name not in summary.failed
        }
        write_json(
            folder / _RECORD,
            {
                "asked": self._asked(),
                "images": {key: found[_IMAGES][key] for key in ("licence", "providers")},
                "labels": {key: found[_LABELS][key] for key in ("licence", "providers")},
                "cells": done,
                "left_out": unusable | _unavailable(done) | summary.failed,
            },
        )

    def scenes(self, folder: Path) -> list[Scene]:
        """One scene per group of cells that touch one another."""
        record = _read_record(folder)
        self._left_out = dict(record["left_out"])
        year = self.settings.labelled_year
        licences = (
            self.settings.licence or record["images"]["licence"],
            record["labels"]["licence"],
        )
        credits = (self.settings.attribution, ", ".join(record["labels"]["providers"]) or None)
        scenes: list[Scene] = []
        for group in self.groups:
            there = [cell for cell in group.cells if cell.name in record["cells"]]
            for cells in touching_cells(there):
                files = tuple(
                    CellFiles.of(folder / _CELLS, cell, record["cells"][cell.name])
                    for cell in cells
                )
                scenes.append(
                    CellScene(
                        name=f"{year}-{cells[0].name}",
                        grid=union_grid([file.grid for file in files]),
                        cells=files,
                        area=group.area,
                        classes=self.classes,
                        label_year=year,
                        label_nodata=self.settings.label_nodata,
                        licences=licences,
                        attributions=credits,
                    )
                )
        return scenes

    def inputs(self, folder: Path) -> dict[str, str]:
        """SHA-256 of every cell's image and labels."""
        return {
            path.name: sha256_of(path)
            for name in sorted(_read_record(folder)["cells"])
            for path in cell_paths(folder / _CELLS, name)
        }

    def given(self) -> dict[str, str]:
        """SHA-256 of the polygons' file, if there is one."""
        polygons = self.settings.polygons
        return {} if polygons is None else {polygons.name: sha256_of(polygons)}

    def left_out(self) -> dict[str, str]:
        """Cells that failed or have no labels, and items that could not be used."""
        return dict(self._left_out)

    def extents(self) -> list[tuple[int, int]]:
        """Sizes of the scenes if every cell succeeds; needs no network."""
        grids = [
            union_grid([cell.grid for cell in cells])
            for group in self.groups
            for cells in touching_cells(group.cells)
        ]
        return [(grid.height, grid.width) for grid in grids]

    def forget_failed(self, folder: Path) -> int:
        """Make the next `acquire` try again the cells that failed for good; their number."""
        return ItemLedger(
            folder / "ledger.jsonl", self.settings.retry, seed=self._seed
        ).forget_failed()

    def _search(self, folder: Path, ledger: ItemLedger) -> tuple[dict[str, Any], dict[str, str]]:
        """The answers of both searches, as kept, and query strings that were not."""
        asked = self._asked()
        path = folder / _FOUND
        kept = read_json(path) if path.exists() else None
        if kept is not None and kept["asked"] != asked:
            raise OutputError(
                f"{folder} holds cells of other settings; choose a new folder, or give the "
                "settings that they were fetched with."
            )
        if kept is not None and not kept["signed"]:
            return kept, {}
        questions = {_IMAGES: self._question_of_images(), _LABELS: self._question_of_labels()}
        answers: dict[str, Answer] = {}

        def search(name: str) -> dict[str, object]:
            key = name.removeprefix(_SEARCH)
            answers[key] = ask(questions[key], timeout_s=self.settings.retry.timeout_s)
            return {"items": len(answers[key].items)}

        names = [f"{_SEARCH}{key}" for key in questions]
        ledger.forget([name for name in names if name in ledger.states()], "asked again")
        summary = ledger.run(names, search, description="searching", unit="collections")
        if summary.failed:
            raise RunError(
                f"[sources.stac] the search failed: {'; '.join(summary.failed.values())}. Check "
                "url and network, and run the same command again."
            )
        queries = answers[_IMAGES].queries | answers[_LABELS].queries
        if kept is None:
            kept = {"asked": asked, "signed": bool(queries)}
            for name, answer in answers.items():
                kept[name] = {
                    "licence": answer.licence,
                    "providers": list(answer.providers),
                    "items": list(answer.items),
                }
            write_json(path, kept)
            kept = read_json(path)  # what a later call will see
        return kept, queries

    def _question_of_images(self) -> Question:
        settings = self.settings
        names = {*settings.assets.values(), *(name for group in ALIASES.values() for name in group)}
        return Question(
            settings.url,
            settings.collection,
            tuple(settings.area().boxes()),
            settings.start,
            settings.end,
            frozenset(names),
            settings.max_cloud,
        )

    def _question_of_labels(self) -> Question:
        settings = self.settings
        year = settings.labelled_year
        return Question(
            settings.label_url or settings.url,
            settings.label_collection,
            tuple(settings.area().boxes()),
            datetime.date(year, 1, 1),
            datetime.date(year, 12, 31),
            frozenset({settings.label_asset}),
        )

    def _images(self, found: Mapping[str, Any]) -> tuple[list[ImageItem], dict[str, str]]:
        settings = self.settings
        items, unusable = image_items(
            found[_IMAGES]["items"],
            named={str(band): name for band, name in settings.assets.items()},
            max_cloud=settings.max_cloud,
            rule=settings.baseline_offset,
            without=settings.without,
        )
        if not items:
            told = "; ".join(f"{name}: {why}" for name, why in list(unusable.items())[:3])
            raise InputError(
                f"[sources.stac] {settings.collection} has no usable item in the area from "
                f"{settings.start} to {settings.end} with at most {settings.max_cloud:g} % cloud"
                f"{f' ({told})' if told else ''}. Widen the dates or max_cloud."
            )
        return items, unusable

    def _labels(self, found: Mapping[str, Any]) -> list[LabelItem]:
        settings = self.settings
        items = label_items(found[_LABELS]["items"], settings.label_asset)
        wanted = [item for item in items if item.year == settings.labelled_year]
        if not wanted:
            years = sorted({item.year for item in items})
            other = f"; it has {', '.join(map(str, years))}" if years else ""
            raise InputError(
                f"[sources.stac] {settings.label_collection} has no item of "
                f"{settings.labelled_year} with asset {settings.label_asset!r} in the area{other}. "
                "Correct label_collection, label_asset or label_year."
            )
        return wanted

    def _of_crs(self, images: Sequence[ImageItem], crs: str) -> list[ImageItem]:
        """Items that a composite in one CRS is made of."""
        if self.settings.crs != "auto":
            return list(images)
        for item in images:
            if item.crs is None or not is_utm(item.crs):
                raise InputError(
                    f"[sources.stac] item {item.id} "
                    f"{f'is in {item.crs}' if item.crs else 'does not tell its CRS'}, so its UTM "
                    "zone cannot be used. Set crs to the system that you want, such as EPSG:3035."
                )
        return [item for item in images if item.crs == crs]

    def _recipe(self) -> CellRecipe:
        settings = self.settings
        return CellRecipe(
            f"{settings.label_collection} {settings.labelled_year}",
            settings.labelled_year,
            settings.label_nodata,
        )

    def _asked(self) -> dict[str, Any]:
        """Everything that decides what the cells hold."""
        settings = self.settings
        area = shapely.to_wkb(settings.area().geometry, hex=True)
        how = {"box", "polygons", "layer", "workers", "memory_mb", "retry", "licence"}
        shown = settings.model_dump(mode="json", exclude={*how, "attribution"})
        urls = {"url": settings.url, "label_url": settings.label_url or settings.url}
        return {
            **shown,
            **{key: without_query(url) for key, url in urls.items()},
            "area": sha256_of_value(area),
        }


def build(settings: Settings, classes: ClassTable, seed: int) -> Source:
    """The source; `seed` decides the jitter of repeated tries and no pixel.

    Raises:
        SettingsError: a class has the code that means no label.
    """
    for land_class in classes.classes:
        if settings.label_nodata in land_class.codes:
            raise SettingsError(
                f"[sources.stac] label_nodata = {settings.label_nodata} is the code of class "
                f"{land_class.name!r}; set it to a code that the map does not use, such as -1."
            )
    return StacSource(settings, classes, seed)


def _read_record(folder: Path) -> dict[str, Any]:
    path = folder / _RECORD
    if not path.exists():
        raise StageMissing(f"{folder} holds no {_RECORD}; acquire the images first.")
    record: dict[str, Any] = read_json(path)
    return record


def _unavailable(cells: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Items that were gone, with the first cell that missed them."""
    found: dict[str, str] = {}
    for name, record in cells.items():
        for item, reason in record["gone"].items():
            found.setdefault(item, f"{reason}; composed without it, such as {name}")
    return found
