"""Face of the generation stage: train generators, and make what was planned."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from terraloom import families
from terraloom.classes import UNKNOWN, ClassTable
from terraloom.dataset.rows import TrainRows, ValRows, channel_statistics
from terraloom.errors import InputError, RoleError, RunError
from terraloom.files import (
    append_line,
    make_folder,
    read_json,
    remove_folder,
    sha256_of,
    sha256_of_value,
    write_json,
)
from terraloom.generators._face import (
    DataShape,
    FeatureMatcher,
    Generator,
    GeneratorSettings,
    Guidable,
    LayoutGenerator,
    PairGenerator,
    SharesGenerator,
    Teacher,
)
from terraloom.learning.batches import draw_batch
from terraloom.learning.checkpoint import load_weights, save_weights
from terraloom.learning.ema import averaged_copy
from terraloom.learning.loop import LoopPlan, finish_loop, run_loop
from terraloom.progress import console
from terraloom.sample_plan import Makes, Order, asked_shares, plan_samples, told_shares
from terraloom.samples import Sample, samples_to_table
from terraloom.seeds import derive_seed
from terraloom.segmenting import TrainedSegmenter
from terraloom.settings import GenerateSettings
from terraloom.tables import Shard, Table, plan_shards, write_table
from terraloom.types import Float64Array, ImageU8, LabelMask
from terraloom.watching import ImageWatch, LayoutWatch

_SAMPLE_BATCH: Final = 32
_FEW_IMAGES: Final = 16
_STATE: Final = "state.json"
_WEIGHTS: Final = "weights.safetensors"
_BEST: Final = "best.safetensors"
_STUDENT: Final = "student"
_PAIRS: Final = "pairs"
_STATE_VERSION: Final = 2
AnyGenerator = Generator | LayoutGenerator


@dataclass(frozen=True)
class TrainedGenerator:
    """A generator ready to sample."""

    name: str
    generator: AnyGenerator
    weights_sha256: str

    @property
    def makes(self) -> Makes:
        """What may be planned for it."""
        shares = isinstance(self.generator, SharesGenerator) and self.generator.takes_shares
        return Makes(self.generator.makes, shares)

    @property
    def is_layout(self) -> bool:
        """Whether it makes masks and no images."""
        return isinstance(self.generator, LayoutGenerator)

    def images(self, labels: Sequence[LabelMask], seeds: Sequence[int]) -> list[ImageU8]:
        """One 8-bit image "height width 3" per mask; masks of one size, 255 where it may choose."""
        assert not isinstance(self.generator, LayoutGenerator)
        stacked = torch.from_numpy(np.stack(labels)).long()
        return _shown(self.generator.sample(stacked, seeds))

    def images_of_shares(self, shares: Float64Array, seeds: Sequence[int]) -> list[ImageU8]:
        """One 8-bit image per row of class shares, "image class"."""
        assert isinstance(self.generator, SharesGenerator)
        return _shown(self.generator.sample_shares(torch.from_numpy(shares).float(), seeds))

    def pairs(
        self, seeds: Sequence[int], shares: Float64Array | None = None
    ) -> tuple[list[ImageU8], list[LabelMask]]:
        """8-bit images and the masks that were made with them."""
        assert isinstance(self.generator, PairGenerator)
        asked = None if shares is None else torch.from_numpy(shares).float()
        pixels, labels = self.generator.sample_pairs(seeds, asked)
        return _shown(pixels), list(labels.to(torch.uint8).numpy())

    def masks(
        self, targets: Sequence[Float64Array], seeds: Sequence[int], classes: ClassTable
    ) -> list[LabelMask]:
        """One made mask per target: shares per class, NaN where free."""
        assert isinstance(self.generator, LayoutGenerator)
        return self.generator.masks(targets, seeds, classes.names)


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

    At every check a picture grid is written to `folder`, and `log.jsonl` gains the figures of
    `monitoring` (of layouts: of `layouts`), with alarms told on the spot. A generator whose
    settings ask for a student is then distilled into it, and the student is what samples.

    Args:
        name: member of generators.
        options: of the member, as in the settings file.
        train: real rows fitted on.
        val: rows that the running figures, and `patience`, look at.
        folder: of this generator.
        classes: class table.
        size: side of samples in pixels.
        labeller: segmenter that the agreement is measured with.
        seed: of weights, order and noise.
        fabric: device.

    Raises:
        RoleError: `train` is not of the type that may be fitted on.
        InputError: there is nothing to learn from, rows are smaller than `size`, or `folder` holds
            a generator for other classes or another size.
        RunError: the loss is no number any more; the checkpoint before that is kept.
    """
    if not isinstance(train, TrainRows):
        raise RoleError("a generator is fitted on TrainRows only.")
    _check_rows(train, size)
    _check_rows(val, size)
    if (folder / _STATE).exists():
        _check_fits(read_json(folder / _STATE), folder, len(classes), size)
        return _finished(folder, fabric, labeller)
    if len(train) < _FEW_IMAGES:
        console.print(
            f"[yellow]  few train images to learn from[/] ({len(train)} for {name}): samples will "
            "be near copies of them, and say little that is new",
            soft_wrap=True,
        )
    make_folder(folder)
    mean, std = channel_statistics(train)
    shape = DataShape(len(classes), size, mean, std)
    settings, generator = _build(name, options, shape, seed, fabric)
    _guide(generator, labeller)
    watch: ImageWatch | LayoutWatch
    if isinstance(generator, LayoutGenerator):
        watch = LayoutWatch(generator, train, val, classes, size, seed)
    else:
        watch = ImageWatch(train, val, classes, size, labeller, seed)
    seen, history = _run(name, generator, settings, train, size, watch, folder, seed)
    distilled = None
    if isinstance(generator, Teacher) and (student := generator.student()) is not None:
        generator, distilled = _distil(
            name, generator, student, settings, train, size, watch, folder, seed
        )
    save_weights(folder / _WEIGHTS, generator.sampling_modules())
    write_json(
        folder / _STATE,
        {
            "version": _STATE_VERSION,
            "generator": name,
            "options": dict(options),
            "shape": asdict(shape),
            "seed": seed,
            "images": seen,
            "train_rows": len(train),
            "history": history,
            "distilled": distilled,
        },
    )
    return _finished(folder, fabric, labeller)


def _finished(folder: Path, fabric: Fabric, labeller: TrainedSegmenter) -> TrainedGenerator:
    """Drop what only training needed; a kill may have come between the record and this."""
    finish_loop(folder)
    remove_folder(folder / _STUDENT)
    (folder / _BEST).unlink(missing_ok=True)
    return load_generator(folder, fabric, labeller=labeller)


def load_generator(
    folder: Path, fabric: Fabric, *, labeller: TrainedSegmenter | None = None
) -> TrainedGenerator:
    """A finished generator from its folder.

    Args:
        folder: of the generator.
        fabric: device.
        labeller: whose gradient steers samples, where the generator's settings ask for it.
    """
    state = read_json(folder / _STATE)
    if int(state["version"]) > _STATE_VERSION:
        raise InputError(
            f"{folder} was written by a newer terraloom (version {state['version']} of "
            f"{_STATE}). Upgrade terraloom, or train again."
        )
    shape = DataShape(**state["shape"])
    _, generator = _build(state["generator"], state["options"], shape, 0, fabric)
    if state.get("distilled") is not None:
        assert isinstance(generator, Teacher)
        student = generator.student()
        assert student is not None
        generator = student
    _guide(generator, labeller)
    load_weights(folder / _WEIGHTS, generator.sampling_modules())
    return TrainedGenerator(state["generator"], generator, sha256_of(folder / _WEIGHTS))


def synthesize(
    generators: Mapping[str, TrainedGenerator],
    train: TrainRows,
    folder: Path,
    *,
    classes: ClassTable,
    settings: GenerateSettings,
    seed: int,
    orders: Sequence[Order] | None = None,
) -> Table:
    """Make the planned samples, shard by shard, into `folder`.

    Samples for a mask, given or made, carry the mask that was asked for, and pairs the mask that
    came with the image; free ones a mask that is 255 everywhere, until they are labelled.

    Args:
        generators: trained, by name.
        train: rows that lend their masks.
        folder: of the table.
        classes: class table.
        settings: numbers, size, plan.
        seed: of the plan and every sample.
        orders: what to make, in id order; left out, it is planned as the settings say.
    """
    layouts = [g for g in generators.values() if g.is_layout]
    painters = {name: g for name, g in generators.items() if not g.is_layout}
    digest = _digest(settings, seed)
    if orders is not None:
        # Free shares are no numbers, which JSON cannot hold.
        digest = sha256_of_value([digest, repr(list(orders))])
    else:
        orders = plan_samples(
            {name: generator.makes for name, generator in painters.items()},
            train,
            settings,
            seed,
            classes,
            layouts=bool(layouts),
        )
        _tell_plan(orders, train, settings, classes)

    def make(shard: Shard) -> pa.Table:
        wanted = orders[shard.start : shard.stop]
        made: dict[str, Sample] = {}
        for name, generator in painters.items():
            for origin in ("conditional", "unconditional", "joint", "layout"):
                group = [o for o in wanted if o.generator == name and o.origin == origin]
                for start in range(0, len(group), _SAMPLE_BATCH):
                    batch = group[start : start + _SAMPLE_BATCH]
                    images, masks = _made(batch, generator, layouts, train, settings.size, classes)
                    for order, mask, image in zip(batch, masks, images, strict=True):
                        made[order.id] = _sample(order, mask, image, train)
        return samples_to_table([made[order.id] for order in wanted], classes)

    return write_table(
        folder,
        plan_shards(len(orders), settings.shard_rows),
        make,
        settings_sha256=digest,
        inputs={name: g.weights_sha256 for name, g in generators.items()},
        description="making samples",
        unit="samples",
    )


def _made(
    batch: Sequence[Order],
    generator: TrainedGenerator,
    layouts: Sequence[TrainedGenerator],
    train: TrainRows,
    size: int,
    classes: ClassTable,
) -> tuple[list[ImageU8], list[LabelMask]]:
    """Images and masks of orders of one generator and origin."""
    seeds = [order.seed for order in batch]
    free = [np.full((size, size), UNKNOWN, dtype=np.uint8)] * len(batch)
    match batch[0].origin:
        case "conditional":
            masks = [_asked_mask(order, train, size) for order in batch]
            return generator.images(masks, seeds), masks
        case "layout":
            own = [order.seed if order.mask_seed is None else order.mask_seed for order in batch]
            targets = [np.array(order.target, dtype=np.float64) for order in batch]
            masks = layouts[0].masks(targets, own, classes)
            return generator.images(masks, seeds), masks
    shares: Float64Array | None = None
    if all(order.parent is not None for order in batch):
        asked = [classes.shares(_asked_mask(order, train, size)) for order in batch]
        shares = np.stack(asked).astype(np.float64)
    if batch[0].origin == "joint":
        return generator.pairs(seeds, shares)
    if shares is not None:
        return generator.images_of_shares(shares, seeds), free
    return generator.images(free, seeds), free


def _asked_mask(order: Order, train: TrainRows, size: int) -> LabelMask:
    assert order.parent is not None
    mask = train[order.parent].mask
    return mask[order.top : order.top + size, order.left : order.left + size]


def _sample(order: Order, mask: LabelMask, image: ImageU8, train: TrainRows) -> Sample:
    return Sample(
        id=order.id,
        image=image,
        mask=mask,
        origin=order.origin,
        parent=None if order.parent is None else train[order.parent].id,
        seed=order.seed,
        plan=order.plan,
    )


def _tell_plan(
    orders: Sequence[Order], train: TrainRows, settings: GenerateSettings, classes: ClassTable
) -> None:
    """What a steered plan will ask for, beside what train rows hold."""
    if settings.plan == "as-real":
        return
    asked = asked_shares(orders, train, settings.size, len(classes))
    if asked is None:
        return
    real = np.mean([classes.shares(train[i].mask) for i in range(len(train))], axis=0)
    lending = len({order.parent for order in orders if order.parent is not None})
    console.print(
        f"  plan {settings.plan}: asked for {told_shares(asked, classes)} "
        f"(train rows: {told_shares(real, classes)}); {lending} of {len(train)} rows lend masks",
        soft_wrap=True,
        markup=False,
    )


def _digest(settings: GenerateSettings, seed: int) -> str:
    return sha256_of_value({"generate": settings.model_dump(mode="json"), "seed": seed})


def _shown(pixels: Tensor) -> list[ImageU8]:
    return list((pixels.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy())


def _check_rows(rows: TrainRows | ValRows, size: int) -> None:
    if not len(rows):
        raise InputError(
            "there is no image to train a generator on. Look at what the stage build kept "
            "(filters.json) and give it more or larger scenes."
        )
    for i in range(len(rows)):
        height, width = rows[i].mask.shape
        if min(height, width) < size:
            raise InputError(
                f"generate.size is {size} pixels, but {rows[i].id} has {height} × {width}. "
                "Lower generate.size, or cut larger patches."
            )


def _check_fits(state: Mapping[str, Any], folder: Path, num_classes: int, size: int) -> None:
    shape = state["shape"]
    if (shape["num_classes"], shape["size"]) != (num_classes, size):
        raise InputError(
            f"{folder} holds a generator for {shape['num_classes']} classes at {shape['size']} "
            f"pixels; {num_classes} classes at {size} pixels are asked for. Delete the folder to "
            "train again, or take the class table and generate.size back."
        )


def _guide(generator: AnyGenerator, labeller: TrainedSegmenter | None) -> None:
    """Let a generator feel the labeller's gradient, whose weights stay as they are."""
    if labeller is None:
        return
    if isinstance(generator, FeatureMatcher):
        # A copy whose weights take no gradient: losses are propagated back through it.
        generator.match_by(averaged_copy(labeller.network).stages)
    if not isinstance(generator, Guidable):
        return
    network = labeller.network

    def read(pixels: Tensor) -> Tensor:
        logits: Tensor = network(pixels)
        return logits

    generator.guide_by(read)


def _build(
    name: str, options: Mapping[str, Any], shape: DataShape, seed: int, fabric: Fabric
) -> tuple[GeneratorSettings, AnyGenerator]:
    module = families.member("generators", name)
    settings: GeneratorSettings = module.Settings.model_validate(dict(options))
    torch.manual_seed(derive_seed(seed, "initial weights", name))
    generator: AnyGenerator = module.build(settings, shape, fabric)
    return settings, generator


def _run(
    name: str,
    generator: AnyGenerator,
    settings: GeneratorSettings,
    train: TrainRows,
    size: int,
    watch: ImageWatch | LayoutWatch,
    folder: Path,
    seed: int,
) -> tuple[int, list[dict[str, Any]]]:
    """Train one network to its end or to its best; images seen and the figures of its checks."""
    trainee = _GeneratorTrainee(generator, settings, train, size, watch, name, folder)
    plan = LoopPlan(settings.images, settings.batch_size, settings.checks, seed, f"training {name}")
    seen = run_loop(trainee, plan, folder)
    if settings.patience is not None and (folder / _BEST).exists():
        load_weights(folder / _BEST, generator.sampling_modules())
    return seen, trainee.history


def _distil(
    name: str,
    teacher: AnyGenerator,
    student: Generator,
    settings: GeneratorSettings,
    train: TrainRows,
    size: int,
    watch: ImageWatch | LayoutWatch,
    folder: Path,
    seed: int,
) -> tuple[Generator, dict[str, Any]]:
    """The student, and what the record says of it."""
    assert isinstance(teacher, Teacher)
    own = derive_seed(seed, "student")
    make_folder(folder / _STUDENT)
    teacher.teach(student, train, folder / _STUDENT / _PAIRS, own)
    lesson = settings.model_copy(
        update={"images": getattr(settings, "distil_images", settings.images), "patience": None}
    )
    seen, history = _run(
        f"{name}, few steps", student, lesson, train, size, watch, folder / _STUDENT, own
    )
    for grid in (folder / _STUDENT).glob("grid-*.png"):
        grid.replace(folder / f"student-{grid.name}")
    return student, {"images": seen, "history": history}


class _GeneratorTrainee:
    """Feeds a generator with batches; everything else is the generator's own."""

    def __init__(
        self,
        generator: AnyGenerator,
        settings: GeneratorSettings,
        train: TrainRows,
        size: int,
        watch: ImageWatch | LayoutWatch,
        name: str,
        folder: Path,
    ) -> None:
        self.generator = generator
        self.settings = settings
        self.train = train
        self.size = size
        self.watch = watch
        self.name = name
        self.folder = folder
        self.history: list[dict[str, Any]] = []
        self.best: float | None = None
        self.waited = 0

    def modules(self) -> Mapping[str, nn.Module]:
        return self.generator.modules()

    def optimizers(self) -> Mapping[str, Optimizer]:
        return self.generator.optimizers()

    def numbers(self) -> dict[str, Any]:
        return {
            "generator": self.generator.numbers(),
            "history": self.history,
            "best": self.best,
            "waited": self.waited,
        }

    def restore_numbers(self, numbers: Mapping[str, Any]) -> None:
        self.generator.restore_numbers(numbers["generator"])
        self.history = list(numbers["history"])
        self.best = numbers["best"]
        self.waited = int(numbers["waited"])

    def step(self, random: np.random.Generator, progress: float) -> dict[str, float]:
        batch = draw_batch(self.train, self.settings.batch_size, self.size, "geometry", random)
        losses = self.generator.step(batch, random, progress)
        lost = [f"{key} is {value}" for key, value in losses.items() if not math.isfinite(value)]
        if lost:
            seen = round(progress * self.settings.images)
            raise RunError(
                f"training {self.name} diverged after {seen:,} images: {', '.join(lost)}. The last "
                f"checkpoint before that is kept in {self.folder}. Lower the rate or enlarge the "
                "batch, delete that folder, and run again."
            )
        return losses

    def check(self, images: int) -> bool:
        trained = TrainedGenerator(self.name, self.generator, "")
        figures = self.watch.figures(trained)
        self.history.append({"images": images, **figures})
        append_line(self.folder / "log.jsonl", {"images": images, **figures})
        self.watch.write_grid(trained, self.folder / f"grid-{images:09d}.png")
        for alarm in figures.get("alarms", ()):
            console.print(f"[yellow]  {self.name}, {images:,} images[/]: {alarm}", soft_wrap=True)
        return self._has_stalled(figures)

    def _has_stalled(self, figures: Mapping[str, Any]) -> bool:
        """Keep the best weights; whether `patience` checks have brought no better ones."""
        if self.settings.patience is None:
            return False
        score = float(figures[self.watch.yardstick])
        if self.best is None or score < self.best:
            self.best, self.waited = score, 0
            save_weights(self.folder / _BEST, self.generator.sampling_modules())
            return False
        self.waited += 1
        return self.waited >= self.settings.patience
