"""One cell of a STAC source: labels, composite and the record of what they are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from terraloom.files import write_json
from terraloom.raster import geotiff
from terraloom.retrying import Unavailable
from terraloom.sources._cells import Cell, CellGroup
from terraloom.sources._stac_composite import NO_DATA, Composite, Compositor
from terraloom.sources._stac_items import BANDS, ImageItem, LabelItem, items_of_grids
from terraloom.sources._stac_load import AssetLoader, AssetUnavailable


@dataclass(frozen=True)
class CellRecipe:
    """What the labels of all cells have in common."""

    labels: str
    """The label collection and year, in words."""
    label_year: int
    label_nodata: int
    """Code of pixels without a label."""


class CellJob:
    """What the ledger fetches: one cell at a time."""

    def __init__(
        self, recipe: CellRecipe, compositor: Compositor, loader: AssetLoader, folder: Path
    ) -> None:
        self.recipe = recipe
        self.folder = folder
        self.plans: dict[str, tuple[Cell, list[ImageItem], list[LabelItem]]] = {}
        self._compositor = compositor
        self._loader = loader

    def add(
        self, group: CellGroup, images: Sequence[ImageItem], labels: Sequence[LabelItem]
    ) -> None:
        """Plan the cells of one CRS."""
        grids = [cell.grid for cell in group.cells]
        images_at = items_of_grids([item.document for item in images], grids)
        labels_at = items_of_grids([item.document for item in labels], grids)
        for cell, of_images, of_labels in zip(group.cells, images_at, labels_at, strict=True):
            self.plans[cell.name] = (
                cell,
                [images[i] for i in of_images],
                [labels[i] for i in of_labels],
            )

    def images(self) -> list[ImageItem]:
        """Items that touch any cell, in the order of their ids."""
        found = {item.id: item for _, images, _ in self.plans.values() for item in images}
        return [found[name] for name in sorted(found)]

    def record_path(self, name: str) -> Path:
        """What is written last: its existence means that the cell is whole."""
        return self.folder / f"{name}.json"

    def is_there(self, name: str) -> bool:
        """Whether all files of a cell are there."""
        paths = (*cell_paths(self.folder, name), self.record_path(name))
        return all(path.exists() for path in paths)

    def fetch(self, name: str) -> dict[str, object]:
        """Write a cell's labels, image and record.

        Raises:
            Transient: worth another try.
            Unavailable: no label covers it, or all of its items are gone.
        """
        cell, images, labels = self.plans[name]
        self.record_path(name).unlink(missing_ok=True)
        image_path, label_path = cell_paths(self.folder, name)
        nodata = self.recipe.label_nodata
        codes = np.full((cell.grid.height, cell.grid.width), nodata, dtype=np.int16)
        for item in labels:
            self._compositor.check()
            empty = codes == nodata
            codes[empty] = self._loader.label_codes(item, cell.grid, nodata)[empty]
        if (codes == nodata).all():
            raise Unavailable(f"no label of {self.recipe.labels} covers it")
        composite, gone = self._compose(cell, images)
        record = self._record(images, labels, composite, gone)
        tags = {"composite": self._compositor.rule, "date": record["date"] or ""}
        geotiff.write_geotiff(label_path, codes[None], cell.grid, nodata=nodata)
        geotiff.write_geotiff(
            image_path,
            composite.image,
            cell.grid,
            nodata=NO_DATA,
            tags=tags,
            band_names=BANDS,
        )
        write_json(self.record_path(name), record)
        return {"items": len(images) - len(gone), "date": record["date"]}

    def _compose(self, cell: Cell, images: Sequence[ImageItem]) -> tuple[Composite, dict[str, str]]:
        """The composite of the items that are there; those that are gone, with the reason."""
        lon, _ = cell.grid.lonlat_centre()
        gone: dict[str, str] = {}
        while True:
            usable = [item for item in images if item.id not in gone]
            if images and not usable:
                first, reason = next(iter(gone.items()))
                raise Unavailable(f"all {len(images)} items are gone, such as {first}: {reason}")
            try:
                return self._compositor.compose(usable, cell.grid, lon), gone
            except AssetUnavailable as error:
                gone[error.item] = error.reason

    def _record(
        self,
        images: Sequence[ImageItem],
        labels: Sequence[LabelItem],
        composite: Composite,
        gone: Mapping[str, str],
    ) -> dict[str, Any]:
        """What the cell was made of; the same for the same items."""
        return {
            "date": None if composite.date is None else composite.date.isoformat(),
            "label_year": self.recipe.label_year,
            "label_items": [item.id for item in labels],
            "masked_classes": list(self._compositor.masked),
            "composite": self._compositor.rule,
            "clear_pixels_of_day": {
                day.isoformat(): count for day, count in composite.pixels_of_day.items()
            },
            "items": [
                {
                    "id": item.id,
                    "datetime": item.time.isoformat(),
                    "cloud": item.cloud,
                    "baseline": item.offset.baseline_text,
                    "declared_offset": item.offset.declared,
                    "applied_offset": item.offset.applied,
                    "why": item.offset.reason,
                    "clear_pixels": composite.pixels_of_item.get(item.id, 0),
                }
                for item in images
                if item.id not in gone
            ],
            "gone": dict(gone),
        }


def cell_paths(folder: Path, name: str) -> tuple[Path, Path]:
    """Image and labels of a cell."""
    return folder / f"{name}_S2.tif", folder / f"{name}_labels.tif"
