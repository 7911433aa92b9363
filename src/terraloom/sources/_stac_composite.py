"""One clear image out of many dates: offsets, cloud masks, median or best-clear.

Memory of a median is held down by working on strips of rows: with T days, W columns and budget M
bytes, a strip has M / (T * W * `BYTES_PER_PIXEL`) rows, at least `_LEAST_ROWS`. Best-clear holds
two days at most.
"""

import datetime
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from terraloom.raster.grid import Grid, Window
from terraloom.sources._stac_items import BANDS, SCENE_CLASSES, ImageItem
from terraloom.sources._stac_load import AssetLoader

Rule = Literal["median", "best-clear"]
Key = TypeVar("Key", datetime.date, str)

NO_DATA: Final = 0
DARKEST: Final = 1
"""Smallest valid value: 0 marks pixels without data, so reflectance 0 and below becomes 0.0001."""
_BRIGHTEST: Final = 65535
BYTES_PER_PIXEL: Final = 2 * len(BANDS) + 1 + 2 * 2
"""Per pixel and day: four bands, a mask, and a band's sorted copy with its scratch space."""
_LEAST_ROWS: Final = 16


@dataclass(frozen=True)
class Composite:
    """A composite image and where it came from."""

    image: NDArray[np.uint16]
    """Reflectance x 10,000, "band height width"; 0 where no day was clear."""
    pixels_of_day: dict[datetime.date, int]
    """Clear pixels that each day brought into the composite; days without any are left out."""
    pixels_of_item: dict[str, int]
    """Likewise by item."""

    @property
    def date(self) -> datetime.date | None:
        """The day of the median clear pixel (the earlier of two), or None without any."""
        total = sum(self.pixels_of_day.values())
        seen = 0
        for day, count in sorted(self.pixels_of_day.items()):
            seen += count
            if 2 * seen >= total:
                return day
        return None


@dataclass(frozen=True)
class Compositor:
    """Makes composites.

    Args:
        loader: reads pixels.
        masked: scene classes (SCL) that are no clear view of the ground.
        rule: "median" takes each band's median of the clear days; "best-clear" takes the day with
            most clear pixels and fills its holes from the next best.
        memory_mb: budget of one composite in MiB.
        check: called between reads; raises to stop.
    """

    loader: AssetLoader
    masked: tuple[int, ...]
    rule: Rule
    memory_mb: int
    check: Callable[[], None] = field(default=lambda: None)

    def compose(self, items: Sequence[ImageItem], grid: Grid, lon: float) -> Composite:
        """Make the composite of a grid.

        Args:
            items: in any order; those of one solar day are one observation.
            grid: where it is wanted.
            lon: longitude of its middle, which decides what a day is.
        """
        days: dict[datetime.date, list[ImageItem]] = {}
        for item in sorted(items, key=lambda item: item.newest_first):
            days.setdefault(item.solar_day(lon), []).append(item)
        ordered = dict(sorted(days.items()))
        if self.rule == "median":
            return self._median(ordered, grid)
        return self._best_clear(ordered, grid)

    def _median(self, days: dict[datetime.date, list[ImageItem]], grid: Grid) -> Composite:
        image = np.zeros((len(BANDS), grid.height, grid.width), dtype=np.uint16)
        per_day: Counter[datetime.date] = Counter()
        per_item: Counter[str] = Counter()
        if not days:
            return Composite(image, {}, {})
        for window in strips(grid, len(days), self.memory_mb):
            part = grid.part(window)
            stack = np.zeros((len(days), len(BANDS), part.height, part.width), dtype=np.uint16)
            clear = np.zeros((len(days), part.height, part.width), dtype=bool)
            for number, (day, items) in enumerate(days.items()):
                counts = self._observe(items, part, stack[number], clear[number])
                per_day[day] += sum(counts.values())
                per_item.update(counts)
            rows = slice(window.row, window.row + window.height)
            for band in range(len(BANDS)):
                image[band, rows] = masked_median(stack[:, band], clear)
        return Composite(image, _positive(per_day), _positive(per_item))

    def _best_clear(self, days: dict[datetime.date, list[ImageItem]], grid: Grid) -> Composite:
        image = np.zeros((len(BANDS), grid.height, grid.width), dtype=np.uint16)
        filled = np.zeros((grid.height, grid.width), dtype=bool)
        per_day: Counter[datetime.date] = Counter()
        per_item: Counter[str] = Counter()
        clearness = {day: self._clear_pixels(items, grid) for day, items in days.items()}
        for day in clearest_first(clearness):
            if filled.all():
                break
            counts = self._observe(days[day], grid, image, filled)
            per_day[day] += sum(counts.values())
            per_item.update(counts)
        return Composite(image, _positive(per_day), _positive(per_item))

    def _clear_pixels(self, items: Iterable[ImageItem], grid: Grid) -> int:
        """Pixels of a day that its scene classes call clear."""
        clear = np.zeros((grid.height, grid.width), dtype=bool)
        for item in items:
            clear |= self._unmasked(item, grid)
        return int(clear.sum())

    def _unmasked(self, item: ImageItem, grid: Grid) -> NDArray[np.bool_]:
        self.check()
        classes = self.loader.scene_classes(item.document, item.assets[SCENE_CLASSES], grid)
        return ~np.isin(classes, self.masked)

    def _observe(
        self,
        items: Iterable[ImageItem],
        grid: Grid,
        image: NDArray[np.uint16],
        filled: NDArray[np.bool_],
    ) -> dict[str, int]:
        """Fill the holes of an image from the items of one day; clear pixels taken from each."""
        counts = {}
        for item in items:
            take = self._unmasked(item, grid) & ~filled
            if take.any():  # image bands are read only where they can show something
                self.check()
                assets = [item.assets[band] for band in BANDS]
                numbers = self.loader.image(item.document, assets, grid)
                take &= (numbers != NO_DATA).all(axis=0)
                reflectance = without_offset(numbers, item.offset.applied)
                image[:, take] = reflectance[:, take]
                filled |= take
            counts[item.id] = int(take.sum())
        return counts


def without_offset(numbers: NDArray[np.uint16], applied: int) -> NDArray[np.uint16]:
    """Digital numbers to reflectance x 10,000.

    Args:
        numbers: as stored; 0 means no data and stays 0.
        applied: added to the others, -1000 or 0; what falls below 1 becomes 1, the darkest valid
            value.
    """
    moved = np.clip(numbers.astype(np.int32) + applied, DARKEST, _BRIGHTEST)
    return np.where(numbers == NO_DATA, NO_DATA, moved).astype(np.uint16)


def masked_median(values: NDArray[np.uint16], clear: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Median over days of the clear values, "day height width" to "height width".

    The mean of the middle two for an even count, half a number rounded to the even one; 0 where no
    day is clear.
    """
    ordered = np.sort(np.where(clear, values, np.uint16(_BRIGHTEST)), axis=0)
    count = clear.sum(axis=0)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0)[None] // 2, axis=0)[0]
    high = np.take_along_axis(ordered, np.minimum(count // 2, len(values) - 1)[None], axis=0)[0]
    middle = np.rint((low.astype(np.float64) + high) / 2)
    return np.where(count > 0, middle, NO_DATA).astype(np.uint16)


def clearest_first(clearness: dict[datetime.date, int]) -> list[datetime.date]:
    """Days with any clear pixel, most clear pixels first; of equals the earlier."""
    return sorted(
        (day for day, count in clearness.items() if count),
        key=lambda day: (
            -clearness[day],
            day,
        ),
    )


def strips(grid: Grid, days: int, memory_mb: int) -> list[Window]:
    """Strips of rows so high that a median of so many days stays within its budget."""
    row_bytes = days * grid.width * BYTES_PER_PIXEL
    rows = min(max((memory_mb << 20) // row_bytes, _LEAST_ROWS), grid.height)
    return [
        Window(top, 0, min(rows, grid.height - top), grid.width)
        for top in range(0, grid.height, rows)
    ]


def _positive(counts: Counter[Key]) -> dict[Key, int]:
    return {key: count for key, count in counts.items() if count > 0}
