"""Small data for tests: scenes that can be told from their pixels, tables, an untrained labeller.

Scenes are seeded, not square, lie askew, and have a corner without data. Each class has a colour
far from the others, so that a labeller needs no training and a small training soon learns.

    toy_classes          four classes, codes 1 … 4, code 0 ignored
    toy_pair             image and mask of one scene
    toy_rows             TrainRows and ValRows in memory
    coordinate_row       a row whose pixels tell where they came from
    write_real           sample table with three roles
    write_synthetic      sample table of conditional and unconditional samples
    write_samples        sample table of given samples
    colour_labeller      a segmenter that knows the toy colours
    tiny_training        budget of a training that takes a blink
    tiny_project         text of a terraloom.toml whose whole pipeline takes seconds
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from terraloom.classes import UNKNOWN, ClassTable, LandClass
from terraloom.dataset.rows import Row, TrainRows, ValRows
from terraloom.samples import Sample, samples_to_table
from terraloom.segmenters._face import Segmenter
from terraloom.segmenting import TrainedSegmenter
from terraloom.settings import TrainingSettings
from terraloom.tables import Table, plan_shards, write_table
from terraloom.types import ImageU8, LabelMask

_COLOURS: Final = ((30, 60, 200), (210, 190, 60), (20, 110, 40), (200, 80, 90))
_NAMES: Final = ("water", "crop", "tree", "built-up")
_NOISE: Final = 10.0


def toy_classes() -> ClassTable:
    """Water, crop, tree and built-up land in colours far apart."""
    return ClassTable(
        classes=tuple(
            LandClass(name=name, colour=colour, codes=(code,), synonyms=(name,))
            for code, (name, colour) in enumerate(zip(_NAMES, _COLOURS, strict=True), start=1)
        ),
        ignore_codes=(0,),
    )


def toy_pair(seed: int, height: int = 48, width: int = 64) -> tuple[ImageU8, LabelMask]:
    """One scene: cells around random centres, each of one class, and an unknown corner.

    Returns:
        Image "height width 3" in the classes' colours with noise, black where there is no data;
        mask "height width" with 255 there.
    """
    random = np.random.default_rng(seed)
    centres = random.uniform((0, 0), (height, width), size=(6, 2))
    kinds = random.permutation([0, 1, 2, 3, *random.integers(4, size=2)])
    rows, columns = np.mgrid[:height, :width]
    apart = (rows[..., None] - centres[:, 0]) ** 2 + (columns[..., None] - centres[:, 1]) ** 2
    mask = kinds[apart.argmin(axis=-1)].astype(np.uint8)
    grain = random.normal(0, _NOISE, size=(height, width, 3))
    image = np.clip(np.array(_COLOURS)[mask] + grain, 1, 255).round().astype(np.uint8)
    # A slanted corner without data, as at the edge of a swath.
    outside = (height - rows) + 2 * (width - columns) < min(height, width) // 3
    image[outside], mask[outside] = 0, UNKNOWN
    return image, mask


def toy_rows(
    train: int = 8, val: int = 4, height: int = 48, width: int = 64
) -> tuple[TrainRows, ValRows]:
    """Rows in memory; two neighbours share a place."""

    def row(seed: int) -> Row:
        image, mask = toy_pair(seed, height, width)
        return Row(f"toy-{seed:03d}", f"place-{seed // 2}", image, mask, None)

    return (
        TrainRows(tuple(row(seed) for seed in range(train))),
        ValRows(tuple(row(1000 + seed) for seed in range(val))),
    )


def coordinate_row(height: int = 41, width: int = 53) -> Row:
    """A row whose red is the pixel's row and green its column; label and trust follow from both.

    label = (3 · row + 5 · column) mod 7, 255 where row + column is a multiple of 11;
    trust = 255 − label.
    """
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows, columns, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    mask = coordinate_labels(rows, columns)
    return Row("coordinates", "here", image, mask, (255 - mask).astype(np.uint8))


def coordinate_labels(rows: Any, columns: Any) -> LabelMask:  # noqa: ANN401 - integer arrays
    """The labels of `coordinate_row` at the given pixels."""
    labels = (3 * np.asarray(rows) + 5 * np.asarray(columns)) % 7
    return np.where((np.asarray(rows) + columns) % 11 == 0, UNKNOWN, labels).astype(np.uint8)


def write_real(
    folder: Path, train: int = 8, val: int = 4, test: int = 6, height: int = 48, width: int = 64
) -> Table:
    """Real samples `real-000 …`, first train, then val, then test; two neighbours share a place."""
    roles = ["train"] * train + ["val"] * val + ["test"] * test
    samples = []
    for index, role in enumerate(roles):
        image, mask = toy_pair(index, height, width)
        samples.append(
            Sample(
                f"real-{index:03d}", image, mask, "real",
                split=role, place=f"{role}-{index // 2}",
            )
        )  # fmt: skip
    return write_samples(folder, samples)


def write_synthetic(
    folder: Path, parents: list[str], conditional: int = 6, unconditional: int = 4, size: int = 32
) -> Table:
    """Samples `toy-conditional-…` of the given parents in turn, then `toy-unconditional-…`."""
    samples = []
    for index in range(conditional):
        image, mask = toy_pair(2000 + index, size, size)
        parent = parents[index % len(parents)]
        samples.append(
            Sample(
                f"toy-conditional-{index:03d}", image, mask, "conditional",
                parent=parent, seed=index, plan="as-real",
            )
        )  # fmt: skip
    for index in range(unconditional):
        image, _ = toy_pair(3000 + index, size, size)
        free = np.full((size, size), UNKNOWN, dtype=np.uint8)
        samples.append(
            Sample(
                f"toy-unconditional-{index:03d}", image, free, "unconditional",
                seed=index, plan="as-real",
            )
        )  # fmt: skip
    return write_samples(folder, samples)


def write_samples(folder: Path, samples: list[Sample], rows_per_shard: int = 5) -> Table:
    """A sample table of the toy classes, in several shards."""
    rows = samples_to_table(samples, toy_classes())
    return write_table(
        folder,
        plan_shards(len(samples), rows_per_shard),
        lambda shard: rows.slice(shard.start, shard.stop - shard.start),
        settings_sha256="0" * 64,
        inputs={},
        description="writing toy samples",
    )


class ColourNetwork(Segmenter):
    """Labels each pixel by the nearest class colour; features are colour statistics."""

    colours: Tensor

    def __init__(self, classes: ClassTable) -> None:
        super().__init__(nn.Identity(), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 32)
        colours = torch.tensor(classes.colours).float() / 255
        self.register_buffer("colours", colours.reshape(1, len(classes), 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Minus the squared distance to each colour, sharpened."""
        logits: Tensor = -60.0 * ((images[:, None] - self.colours) ** 2).sum(dim=2)
        return logits

    def features(self, images: Tensor) -> Tensor:
        """Mean and deviation of each channel, "batch 6"."""
        return torch.cat([images.mean(dim=(2, 3)), images.std(dim=(2, 3))], dim=1)

    def stages(self, images: Tensor) -> list[Tensor]:
        """The images, and their likeness to each class colour."""
        return [images, self.forward(images)]


def colour_labeller(fabric: Fabric) -> TrainedSegmenter:
    """A labeller of the toy classes that is right but for noise."""
    classes = toy_classes()
    return TrainedSegmenter(ColourNetwork(classes).eval(), fabric, len(classes), {})


def tiny_training(**changes: Any) -> TrainingSettings:  # noqa: ANN401 - any setting
    """A training of a few updates on crops of 32 pixels."""
    budget = {"images": 16, "batch_size": 4, "crop_size": 32, "checks": 2, "augment": "none"}
    return TrainingSettings.model_validate(budget | changes)


def tiny_project(seed: int = 0, **images: int) -> str:
    """A terraloom.toml on a world of 256 × 256 pixels with budgets of a few updates.

    Args:
        seed: of the project.
        images: other budgets by stage: `segment`, `spade`, `flow`, `benchmark`.
    """
    budget = {"segment": 32, "spade": 8, "flow": 16, "benchmark": 16} | images
    return f"""\
[project]
name = "tiny"
seed = {seed}
threads = 1

[sources.world]
height = 256
width = 256

[cut]
patch_size = 64

[split]
by = "block"
block_size_m = 640

[segment.training]
images = {budget["segment"]}
batch_size = 8
crop_size = 64
checks = 2

[generate]
size = 64
conditional_per_row = 1.0
unconditional_per_row = 1.0
shard_rows = 8

[generators.spade]
images = {budget["spade"]}
batch_size = 4
width = 8
checks = 1

[generators.flow]
images = {budget["flow"]}
batch_size = 4
widths = [8, 16]
checks = 1
steps = 2

[scorers.embedding]
methods = ["tsne"]

[curate]
rules = [{{ column = "confidence", min = 0.01 }}]

[benchmark]
seeds = 2
draws = 200

[benchmark.training]
images = {budget["benchmark"]}
batch_size = 8
crop_size = 64
checks = 1
"""
