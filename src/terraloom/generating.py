"""Face of the generation stage: train generators, plan what to make, and make it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import torch
from lightning_fabric import Fabric
from PIL import Image
from torch import nn
from torch.optim import Optimizer

from terraloom import families
from terraloom.classes import UNKNOWN, ClassTable
from terraloom.dataset.rows import TrainRows, ValRows, channel_statistics
from terraloom.errors import RoleError
from terraloom.files import (
    append_line,
    atomic_path,
    make_folder,
    read_json,
    sha256_of,
    sha256_of_value,
    write_json,
)
from terraloom.generators._face import DataShape, Generator, GeneratorSettings, Making
from terraloom.learning.batches import draw_batch
from terraloom.learning.checkpoint import load_weights, save_weights
from terraloom.learning.loop import LoopPlan, finish_loop, run_loop
from terraloom.samples import Sample, samples_to_table
from terraloom.seeds import derive_seed, generator_at
from terraloom.segmenting import TrainedSegmenter
from terraloom.settings import GenerateSettings
from terraloom.tables import Shard, Table, plan_shards, write_table
from terraloom.types import ImageU8, LabelMask

_SAMPLE_BATCH: Final = 32
_GRID_MASKS: Final = 6
_GRID_SEEDS: Final = 4
_MONITOR_MASKS: Final = 32


@dataclass(frozen=True)
class TrainedGenerator:
    """A generator ready to sample."""

    name: str
    generator: Generator
    weights_sha256: str

    def images(self, labels: Sequence[LabelMask], seeds: Sequence[int]) -> list[ImageU8]:
        """One 8-bit image "height width 3" per mask; masks of one size, 255 where it may choose."""
        stacked = torch.from_numpy(np.stack(labels)).long()
        pixels = self.generator.sample(stacked, seeds)
        shown = (pixels.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
        return list(shown)


def train_generator(
    name: str,
    options: Mapping[str, Any],
    train: TrainRows,
    val: ValRows,
    folder: Path,
    *,
    classes: ClassTable,
    size: int,
    labeller: TrainedSegmenter,
    seed: int,
    fabric: Fabric,
) -> TrainedGenerator:
    """Train one generator on real train rows, resuming what `folder` holds.

    At every check a picture grid (asked-for mask, real image, several seeds) is written to
    `folder`, and `log.jsonl` gains the labeller's agreement with val masks and the diversity across
    seeds for one mask (mean absolute difference, 0 … 1).

    Args:
        name: member of generators.
        options: of the member, as in the settings file.
        train: real rows fitted on.
        val: rows whose masks the running figures are measured on.
        folder: of this generator.
        classes: class table.
        size: side of samples in pixels.
        labeller: segmenter that the agreement is measured with.
        seed: of weights, order and noise.
        fabric: device.

    Raises:
        RoleError: `train` is not of the type that may be fitted on.
    """
    if not isinstance(train, TrainRows):
        raise RoleError("a generator is fitted on TrainRows only.")
    if (folder / "state.json").exists():
        finish_loop(folder)  # a kill may have come between the record and this
        return load_generator(folder, fabric)
    make_folder(folder)
    mean, std = channel_statistics(train)
    shape = DataShape(len(classes), size, mean, std)
    settings, generator = _build(name, options, shape, seed, fabric)
    monitor = _Monitor(train, val, classes, size, labeller, seed)
    trainee = _GeneratorTrainee(generator, settings, train, size, monitor, name, folder)
    plan = LoopPlan(settings.images, settings.batch_size, settings.checks, seed, f"training {name}")
    seen = run_loop(trainee, plan, folder)
    save_weights(folder / "weights.safetensors", generator.sampling_modules())
    write_json(
        folder / "state.json",
        {
            "version": 1,
            "generator": name,
            "options": dict(options),
            "shape": asdict(shape),
            "seed": seed,
            "images": seen,
            "train_rows": len(train),
            "history": trainee.history,
        },
    )
    finish_loop(folder)
    return load_generator(folder, fabric)


def load_generator(folder: Path, fabric: Fabric) -> TrainedGenerator:
    """A finished generator from its folder."""
    state = read_json(folder / "state.json")
    shape = DataShape(**state["shape"])
    _, generator = _build(state["generator"], state["options"], shape, 0, fabric)
    load_weights(folder / "weights.safetensors", generator.sampling_modules())
    return TrainedGenerator(
        state["generator"], generator, sha256_of(folder / "weights.safetensors")
    )


@dataclass(frozen=True)
class Order:
    """One sample to make."""

    id: str
    generator: str
    making: Making
    seed: int
    parent: int | None
    """Index of the train row whose mask is asked for."""
    top: int
    left: int
    """Upper-left pixel of the crop of that mask."""


def plan_samples(
    makings: Mapping[str, frozenset[Making]],
    train: TrainRows,
    settings: GenerateSettings,
    seed: int,
) -> list[Order]:
    """What to make, in id order: every train mask about equally often.

    Args:
        makings: what each generator can make.
        train: rows that lend their masks.
        settings: numbers per real row, size.
        seed: of the draw.
    """
    orders = []
    per_row: dict[Making, float] = {
        "conditional": settings.conditional_per_row,
        "unconditional": settings.unconditional_per_row,
    }
    for name, makes in sorted(makings.items()):
        for making in sorted(makes):
            count = round(per_row[making] * len(train))
            random = generator_at(seed, "plan", name, making)
            # Whole shuffles of the rows, one after another: each mask comes about equally often.
            rounds = [random.permutation(len(train)) for _ in range(-(-count // len(train)))]
            picks = [int(pick) for order in rounds for pick in order][:count]
            for index, pick in enumerate(picks):
                height, width = train[pick].mask.shape
                orders.append(
                    Order(
                        id=f"{name}-{making}-{index:06d}",
                        generator=name,
                        making=making,
                        seed=derive_seed(seed, name, making, index),
                        parent=pick if making == "conditional" else None,
                        top=int(random.integers(height - settings.size + 1)),
                        left=int(random.integers(width - settings.size + 1)),
                    )
                )
    return sorted(orders, key=lambda order: order.id)


def synthesize(
    generators: Mapping[str, TrainedGenerator],
    train: TrainRows,
    folder: Path,
    *,
    classes: ClassTable,
    settings: GenerateSettings,
    seed: int,
) -> Table:
    """Make the planned samples, shard by shard, into `folder`.

    Conditional samples carry the mask that was asked for; unconditional ones a mask that is 255
    everywhere, until they are labelled.
    """
    orders = plan_samples(
        {n: g.generator.makes for n, g in generators.items()}, train, settings, seed
    )

    def make(shard: Shard) -> pa.Table:
        wanted = orders[shard.start : shard.stop]
        made: dict[str, Sample] = {}
        for name, generator in generators.items():
            for making in ("conditional", "unconditional"):
                group = [o for o in wanted if o.generator == name and o.making == making]
                for start in range(0, len(group), _SAMPLE_BATCH):
                    batch = group[start : start + _SAMPLE_BATCH]
                    masks = [_asked_mask(order, train, settings.size) for order in batch]
                    images = generator.images(masks, [order.seed for order in batch])
                    for order, mask, image in zip(batch, masks, images, strict=True):
                        made[order.id] = _sample(order, mask, image, train, settings)
        return samples_to_table([made[order.id] for order in wanted], classes)

    return write_table(
        folder,
        plan_shards(len(orders), settings.shard_rows),
        make,
        settings_sha256=_digest(settings, seed),
        inputs={name: g.weights_sha256 for name, g in generators.items()},
        description="making samples",
        unit="samples",
    )


def _asked_mask(order: Order, train: TrainRows, size: int) -> LabelMask:
    if order.parent is None:
        return np.full((size, size), UNKNOWN, dtype=np.uint8)
    mask = train[order.parent].mask
    return mask[order.top : order.top + size, order.left : order.left + size]


def _sample(
    order: Order, mask: LabelMask, image: ImageU8, train: TrainRows, settings: GenerateSettings
) -> Sample:
    return Sample(
        id=order.id,
        image=image,
        mask=mask,
        origin=order.making,
        parent=None if order.parent is None else train[order.parent].id,
        seed=order.seed,
        plan=settings.plan,
    )


def _digest(settings: GenerateSettings, seed: int) -> str:
    return sha256_of_value({"generate": settings.model_dump(mode="json"), "seed": seed})


def _build(
    name: str, options: Mapping[str, Any], shape: DataShape, seed: int, fabric: Fabric
) -> tuple[GeneratorSettings, Generator]:
    module = families.member("generators", name)
    settings: GeneratorSettings = module.Settings.model_validate(dict(options))
    torch.manual_seed(derive_seed(seed, "initial weights", name))
    generator: Generator = module.build(settings, shape, fabric)
    return settings, generator


class _GeneratorTrainee:
    """Feeds a generator with batches; everything else is the generator's own."""

    def __init__(
        self,
        generator: Generator,
        settings: GeneratorSettings,
        train: TrainRows,
        size: int,
        monitor: "_Monitor",
        name: str,
        folder: Path,
    ) -> None:
        self.generator = generator
        self.settings = settings
        self.train = train
        self.size = size
        self.monitor = monitor
        self.name = name
        self.folder = folder
        self.history: list[dict[str, float]] = []

    def modules(self) -> Mapping[str, nn.Module]:
        return self.generator.modules()

    def optimizers(self) -> Mapping[str, Optimizer]:
        return self.generator.optimizers()

    def numbers(self) -> dict[str, Any]:
        return {"generator": self.generator.numbers(), "history": self.history}

    def restore_numbers(self, numbers: Mapping[str, Any]) -> None:
        self.generator.restore_numbers(numbers["generator"])
        self.history = list(numbers["history"])

    def step(self, random: np.random.Generator, progress: float) -> dict[str, float]:
        batch = draw_batch(self.train, self.settings.batch_size, self.size, "geometry", random)
        return self.generator.step(batch, random, progress)

    def check(self, images: int) -> bool:
        trained = TrainedGenerator(self.name, self.generator, "")
        figures = self.monitor.figures(trained)
        self.history.append({"images": images, **figures})
        append_line(self.folder / "log.jsonl", {"images": images, **figures})
        self.monitor.write_grid(trained, self.folder / f"grid-{images:09d}.png")
        return False


class _Monitor:
    """Fixed masks and seeds that a generator is looked at with while it trains."""

    def __init__(
        self,
        train: TrainRows,
        val: ValRows,
        classes: ClassTable,
        size: int,
        labeller: TrainedSegmenter,
        seed: int,
    ) -> None:
        random = generator_at(seed, "monitor")
        self.classes = classes
        self.labeller = labeller
        self.shown = [self._crop(train, random, size) for _ in range(_GRID_MASKS)]
        self.judged = [self._crop(val, random, size)[1] for _ in range(_MONITOR_MASKS)]
        self.seeds = [derive_seed(seed, "monitor", i) for i in range(_MONITOR_MASKS)]
        self.free = np.full((size, size), UNKNOWN, dtype=np.uint8)

    @staticmethod
    def _crop(
        rows: TrainRows | ValRows, random: np.random.Generator, size: int
    ) -> tuple[ImageU8, LabelMask]:
        row = rows[int(random.integers(len(rows)))]
        top = int(random.integers(row.mask.shape[0] - size + 1))
        left = int(random.integers(row.mask.shape[1] - size + 1))
        window = (slice(top, top + size), slice(left, left + size))
        return row.image[window], row.mask[window]

    def figures(self, generator: TrainedGenerator) -> dict[str, float]:
        if "conditional" not in generator.generator.makes:
            return {}
        first = generator.images(self.judged, self.seeds)
        other = generator.images(self.judged[:8], [s ^ 1 for s in self.seeds[:8]])
        predicted = self.labeller.probabilities(first).argmax(axis=1)
        asked = np.stack(self.judged)
        known = asked != UNKNOWN
        agreement = float((predicted[known] == asked[known]).mean()) if known.any() else 0.0
        apart = np.abs(np.stack(first[:8]).astype(float) - np.stack(other)).mean() / 255
        return {"agreement": round(agreement, 4), "diversity": round(float(apart), 4)}

    def write_grid(self, generator: TrainedGenerator, path: Path) -> None:
        """Rows: mask, real image, seeds for that mask; a last row of unconditional samples."""
        rows = []
        for image, mask in self.shown:
            pictures = [self.classes.colour_image(mask), image]
            if "conditional" in generator.generator.makes:
                pictures += generator.images([mask] * _GRID_SEEDS, self.seeds[:_GRID_SEEDS])
            rows.append(np.concatenate(pictures, axis=1))
        if "unconditional" in generator.generator.makes:
            count = 2 + _GRID_SEEDS
            free = generator.images([self.free] * count, self.seeds[:count])
            rows.append(np.concatenate(free, axis=1)[:, : rows[0].shape[1]])
        picture = Image.fromarray(np.concatenate(rows, axis=0))
        picture = picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.NEAREST)
        with atomic_path(path) as temporary:
            picture.save(temporary, format="PNG")
