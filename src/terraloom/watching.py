"""What is looked at while a generator trains: its running figures, and a grid of pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from PIL import Image

from terraloom.classes import UNKNOWN, ClassTable
from terraloom.dataset.rows import TrainRows, ValRows, random_crop
from terraloom.files import atomic_path
from terraloom.generators._face import LayoutGenerator
from terraloom.layouts import layout_figures, layout_log, write_layout_figures, write_layout_grid
from terraloom.monitoring import GeneratorMonitor
from terraloom.sample_plan import Makes
from terraloom.seeds import derive_seed, generator_at
from terraloom.segmenting import TrainedSegmenter
from terraloom.types import ImageU8, LabelMask

_GRID_MASKS: Final = 6
_GRID_SEEDS: Final = 4


class Drawing(Protocol):
    """A generator of images, as far as it is looked at."""

    @property
    def makes(self) -> Makes:
        """What may be asked of it."""

    def images(self, labels: Sequence[LabelMask], seeds: Sequence[int]) -> list[ImageU8]:
        """One image per mask."""

    def pairs(self, seeds: Sequence[int]) -> tuple[list[ImageU8], list[LabelMask]]:
        """Images with their masks."""


class ImageWatch:
    """Figures and grids of a generator of images; see `monitoring`."""

    yardstick: Final = "kernel"
    """Figure that `patience` waits for to fall."""

    def __init__(
        self,
        train: TrainRows,
        val: ValRows,
        classes: ClassTable,
        size: int,
        labeller: TrainedSegmenter,
        seed: int,
    ) -> None:
        self.classes = classes
        self.monitor = GeneratorMonitor(train, val, classes, size, labeller, seed)
        random = generator_at(seed, "grid")
        self.shown = [random_crop(train, random, size) for _ in range(_GRID_MASKS)]
        self.seeds = [derive_seed(seed, "grid", i) for i in range(_GRID_MASKS)]
        self.free = np.full((size, size), UNKNOWN, dtype=np.uint8)

    def figures(self, generator: Drawing) -> dict[str, Any]:
        """Running figures, for log and history."""
        makings = generator.makes.makings
        if "joint" in makings:
            return self.monitor.figures_of_pairs(generator.pairs).log()
        return self.monitor.figures(generator.images, conditional="conditional" in makings).log()

    def write_grid(self, generator: Drawing, path: Path) -> None:
        """Rows: mask, real image, seeds for that mask; a last row of free samples or pairs."""
        makings, count = generator.makes.makings, 2 + _GRID_SEEDS
        rows = []
        for image, mask in self.shown if "conditional" in makings else ():
            pictures = [self.classes.colour_image(mask), image]
            pictures += generator.images([mask] * _GRID_SEEDS, self.seeds[:_GRID_SEEDS])
            rows.append(np.concatenate(pictures, axis=1))
        if "joint" in makings:
            images, masks = generator.pairs(self.seeds[:count])
            rows.append(np.concatenate([image for image, _ in self.shown[:count]], axis=1))
            rows.append(np.concatenate(images, axis=1))
            rows.append(np.concatenate([self.classes.colour_image(m) for m in masks], axis=1))
        if "unconditional" in makings:
            if not rows:
                rows.append(np.concatenate([image for image, _ in self.shown[:count]], axis=1))
            rows.append(
                np.concatenate(generator.images([self.free] * count, self.seeds[:count]), axis=1)
            )
        picture = Image.fromarray(np.concatenate(rows, axis=0))
        picture = picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.NEAREST)
        with atomic_path(path) as temporary:
            picture.save(temporary, format="PNG")


class LayoutWatch:
    """Figures and grids of a generator of masks; see `layouts`."""

    yardstick: Final = "adjacency_distance"
    """Figure that `patience` waits for to fall."""

    def __init__(
        self,
        generator: LayoutGenerator,
        train: TrainRows,
        val: ValRows,
        classes: ClassTable,
        size: int,
        seed: int,
    ) -> None:
        self.generator = generator
        self.train, self.val, self.classes = train, val, classes
        self.size, self.seed = size, seed

    def figures(self, generator: object) -> dict[str, Any]:
        """Running figures, for log and history."""
        found = layout_figures(
            self.generator, self.train, self.val, self.classes, self.size, self.seed
        )
        self.latest = found
        return layout_log(found)

    def write_grid(self, generator: object, path: Path) -> None:
        """Real masks, free ones, and 30 % of each class; beside it all figures as JSON."""
        write_layout_grid(self.generator, self.train, self.classes, self.size, self.seed, path)
        write_layout_figures(self.latest, path.with_name("layout-figures.json"))
