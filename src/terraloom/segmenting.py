"""Face of the segmentation stage: train, load, predict, evaluate."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from terraloom import families
from terraloom.classes import UNKNOWN
from terraloom.dataset.rows import Row, TrainRows, ValRows, channel_statistics
from terraloom.errors import DivergedTraining, RoleError, SettingsError, StageMissing
from terraloom.files import append_line, make_folder, read_json, write_json
from terraloom.learning.batches import Batch, draw_batch, image_tensor
from terraloom.learning.checkpoint import load_weights, save_weights
from terraloom.learning.confusion import ConfusionCounter, figures_of
from terraloom.learning.curves import Curves
from terraloom.learning.device import placed
from terraloom.learning.ema import averaged_copy, update_average
from terraloom.learning.loader import Loader
from terraloom.learning.loop import LoopPlan, finish_loop, run_loop
from terraloom.learning.losses import segmentation_loss
from terraloom.learning.schedule import Plateau, rate_factor
from terraloom.progress import console
from terraloom.seeds import derive_seed, generator_at
from terraloom.segmenters._face import Preset, Segmenter
from terraloom.settings import TrainingSettings
from terraloom.types import Channels, Float32Array, ImageU8, Int64Array

_PREDICT_BATCH: Final = 32
_CURVE_EVERY: Final = 10
"""Updates between two points of the loss curve."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a segmenter but its rows and seed."""

    architecture: str
    options: Mapping[str, Any]
    """Options of the member, as in the settings file."""
    preset: Preset
    num_classes: int
    training: TrainingSettings

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "architecture": self.architecture,
            "options": dict(self.options),
            "preset": self.preset,
            "num_classes": self.num_classes,
            "training": self.training.model_dump(mode="json"),
        }


@dataclass(frozen=True)
class TrainedSegmenter:
    """A segmenter ready to predict."""

    network: Segmenter
    fabric: Fabric
    num_classes: int
    summary: Mapping[str, Any]
    """Validation history, images seen, macro F1 of the kept weights."""

    @torch.inference_mode()
    def probabilities(self, images: Sequence[ImageU8]) -> Float32Array:
        """Class probabilities, float32 "batch class height width"; images of one size.

        Sides that are no multiple of 32 are padded by reflection and cropped back.
        """
        logits = self._forward(image_tensor(list(images)))
        return logits.softmax(dim=1).float().cpu().numpy()

    @torch.inference_mode()
    def labels(self, images: Sequence[ImageU8]) -> Tensor:
        """Most likely labels, int64 "batch height width", on the device; images of one size."""
        return self._forward(image_tensor(list(images))).argmax(dim=1)

    @torch.inference_mode()
    def features(self, images: Sequence[ImageU8]) -> Float32Array:
        """Pooled features of the encoder's last stage, float32 "batch feature"."""
        pixels = self.fabric.to_device(image_tensor(list(images)))
        return self.network.features(pixels).float().cpu().numpy()

    def _forward(self, pixels: Tensor) -> Tensor:
        height, width = pixels.shape[-2:]
        extra = (-height % 32, -width % 32)
        pixels = self.fabric.to_device(pixels)
        if any(extra):
            pixels = nn.functional.pad(pixels, (0, extra[1], 0, extra[0]), mode="reflect")
        with self.fabric.autocast():
            logits: Tensor = self.network(pixels)
        return logits[..., :height, :width]


def train_segmenter(
    train: TrainRows,
    val: ValRows,
    recipe: Recipe,
    folder: Path,
    *,
    seed: int,
    fabric: Fabric,
    description: str,
) -> TrainedSegmenter:
    """Train from scratch (or from pretrained weights), resuming what `folder` holds.

    The weights with the best macro F1 on val, among `training.checks` looks, are kept in
    `folder`/weights.safetensors; `folder`/state.json records recipe, seed and history.

    Args:
        train: rows fitted on.
        val: rows that choose the checkpoint.
        recipe: architecture and budget.
        folder: of this training.
        seed: of initial weights, order, crops and augmentation.
        fabric: device.
        description: what the progress bar says.

    Raises:
        RoleError: `train` or `val` are not what their types say.
        SettingsError: the crop is too small for the architecture.
    """
    if not isinstance(train, TrainRows) or not isinstance(val, ValRows):
        raise RoleError("a segmenter is fitted on TrainRows and steered by ValRows only.")
    if (folder / "state.json").exists():
        finish_loop(folder)  # a kill may have come between the record and this
        return load_segmenter(folder, fabric)
    make_folder(folder)
    mean, std = channel_statistics(train)
    network = _build(recipe, mean, std, seed)
    counts = label_counts(train, recipe.num_classes)
    absent = [label for label, count in enumerate(counts) if count == 0]
    if absent:
        console.print(
            f"[yellow]no training pixel of {'classes' if len(absent) > 1 else 'class'} "
            f"{', '.join(map(str, absent))}[/]: the network cannot learn what it is never shown"
        )
    if recipe.training.crop_size < network.min_crop_size:
        raise SettingsError(
            f"{recipe.architecture} needs crops of at least {network.min_crop_size} pixels; "
            f"training.crop_size is {recipe.training.crop_size}."
        )
    budget = recipe.training.budget(len(train))
    size = recipe.training.batch_size
    maker = _BatchMaker(train, recipe.training, seed)
    with Loader(maker, size) as loader, Curves(folder) as curves:
        trainee = _SegmenterTrainee(
            network, loader, val, recipe, fabric, folder, curves, class_weights_of(counts, recipe)
        )
        plan = LoopPlan(budget, size, recipe.training.checks, seed, description)
        seen = run_loop(trainee, plan, folder)
        append_line(folder / "log.jsonl", {"waiting_share": round(loader.waiting_share, 4)})
    write_json(
        folder / "state.json",
        {
            "version": 1,
            "recipe": recipe.to_json(),
            "seed": seed,
            "mean": list(mean),
            "std": list(std),
            "rows": {"train": len(train), "val": len(val)},
            "absent_classes": absent,
            "summary": {
                "images": seen,
                "best_val_f1": trainee.best,
                "best_images": trainee.best_images,
                "history": trainee.history,
            },
        },
    )
    finish_loop(folder)
    return load_segmenter(folder, fabric)


def load_segmenter(folder: Path, fabric: Fabric) -> TrainedSegmenter:
    """A finished segmenter from its folder.

    Raises:
        StageMissing: there is none.
    """
    if not (folder / "state.json").exists():
        raise StageMissing(f"{folder} holds no finished segmenter; run: terraloom segment")
    state = read_json(folder / "state.json")
    raw = state["recipe"]
    recipe = Recipe(
        raw["architecture"],
        # Encoder weights are in the checkpoint already; none need to be fetched again.
        {**raw["options"], "weights": "none"},
        raw["preset"],
        raw["num_classes"],
        TrainingSettings.model_validate(raw["training"]),
    )
    network = _build(recipe, tuple(state["mean"]), tuple(state["std"]), 0)
    load_weights(folder / "weights.safetensors", {"segmenter": network})
    network = placed(network, fabric).eval()
    return TrainedSegmenter(network, fabric, recipe.num_classes, state["summary"])


@torch.inference_mode()
def evaluate(segmenter: TrainedSegmenter, batches: Iterable[list[Row]]) -> dict[str, Int64Array]:
    """Confusion matrix "truth predicted" per place, over all known pixels; memory is bounded.

    Pixels are counted on the device that predicts them: only the matrices come back.
    """
    counter = ConfusionCounter(segmenter.num_classes, segmenter.fabric.device)
    for rows in batches:
        by_size: dict[tuple[int, int], list[Row]] = {}
        for row in rows:
            by_size.setdefault((row.mask.shape[0], row.mask.shape[1]), []).append(row)
        for group in by_size.values():
            predicted = segmenter.labels([row.image for row in group])
            truth = torch.from_numpy(np.stack([row.mask for row in group]))
            counter.update([row.place or row.id for row in group], truth, predicted)
    return counter.matrices()


def label_counts(train: TrainRows, num_classes: int) -> Int64Array:
    """Known training pixels per class, int64 "class"."""
    counts = np.zeros(UNKNOWN + 1, dtype=np.int64)
    for row in train.rows:
        counts += np.bincount(row.mask.ravel(), minlength=UNKNOWN + 1)
    return counts[:num_classes]


def class_weights_of(counts: Int64Array, recipe: Recipe) -> Tensor | None:
    """Weight per class, of mean 1 over training pixels; None where all weigh alike.

    "balanced" takes one over the root of the share: the full inverse would let a class of a few
    hundred pixels outweigh all others.
    """
    if recipe.training.class_weights == "none":
        return None
    share = counts / max(counts.sum(), 1)
    weights = np.where(share > 0, 1.0 / np.sqrt(np.maximum(share, 1e-12)), 0.0)
    weights /= (weights * share).sum()
    return torch.from_numpy(weights).float()


@dataclass(frozen=True)
class _BatchMaker:
    """The batch that begins after so many images; the same in any process."""

    train: TrainRows
    settings: TrainingSettings
    seed: int

    def __call__(self, images: int) -> Batch:
        settings = self.settings
        random = generator_at(self.seed, "batch", images)
        return draw_batch(
            self.train, settings.batch_size, settings.crop_size, settings.augment, random
        )


class _SegmenterTrainee:
    """Network, optimiser and averaged weights of one training."""

    def __init__(
        self,
        network: Segmenter,
        loader: Loader[Batch],
        val: ValRows,
        recipe: Recipe,
        fabric: Fabric,
        folder: Path,
        curves: Curves,
        class_weights: Tensor | None,
    ) -> None:
        settings = recipe.training
        self.settings = settings
        self.recipe = recipe
        self.loader = loader
        self.val = val
        self.fabric = fabric
        self.folder = folder
        self.curves = curves
        self.class_weights = None if class_weights is None else fabric.to_device(class_weights)
        self.network = placed(network, fabric)
        self.average = averaged_copy(self.network)
        optimizer = AdamW(
            self.network.parameters(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
        )
        self.forward, self.optimizer = fabric.setup(self.network, optimizer)
        if settings.compile:
            self.forward = torch.compile(self.forward)
        self.updates = 0
        self.best = -1.0
        self.best_images = 0
        self.plateau = Plateau()
        self.history: list[dict[str, float]] = []

    def modules(self) -> Mapping[str, nn.Module]:
        return {"network": self.network, "average": self.average}

    def optimizers(self) -> Mapping[str, Optimizer]:
        return {"adamw": self.optimizer}

    def numbers(self) -> dict[str, Any]:
        return {
            "updates": self.updates,
            "best": self.best,
            "best_images": self.best_images,
            "plateau": {k: v for k, v in asdict(self.plateau).items() if np.isfinite(v)},
            "history": self.history,
        }

    def restore_numbers(self, numbers: Mapping[str, Any]) -> None:
        self.updates = int(numbers["updates"])
        self.best = float(numbers["best"])
        self.best_images = int(numbers["best_images"])
        self.plateau = Plateau(**numbers["plateau"])
        self.history = list(numbers["history"])

    def step(self, random: np.random.Generator, progress: float) -> dict[str, float]:
        settings = self.settings
        images = self.updates * settings.batch_size
        batch = self.loader.batch(images)
        factor = rate_factor(settings.schedule, progress, settings.warm_up)
        if settings.schedule == "plateau":
            factor *= self.plateau.rate
        rate = settings.learning_rate * factor
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.forward.train()
        self.optimizer.zero_grad()
        loss = self._accumulated(batch)
        if not np.isfinite(loss):
            raise DivergedTraining(
                f"the loss became {loss} at image {images} (samples {', '.join(batch.ids[:4])}, "
                f"…) in {self.folder.name}. Lower learning_rate, or look at those samples; the "
                "last checkpoint is kept, and the same command goes on from it."
            )
        nn.utils.clip_grad_norm_(self.network.parameters(), settings.clip_norm)
        self.optimizer.step()
        self.updates += 1
        if settings.ema > 0:
            update_average(self.average, self.network, settings.ema, self.updates)
        figures = {"loss": round(loss, 6), "rate": rate}
        if self.updates % _CURVE_EVERY == 0:
            self.curves.note(images + settings.batch_size, figures)
        return figures

    def _accumulated(self, batch: Batch) -> float:
        """Backward passes over the pieces of a batch; their mean loss, weighted by their size."""
        settings = self.settings
        size = -(-settings.batch_size // settings.accumulate)
        total = 0.0
        for start in range(0, settings.batch_size, size):
            piece = slice(start, start + size)
            share = len(batch.labels[piece]) / settings.batch_size
            logits = self.forward(self.fabric.to_device(batch.images[piece]))
            loss = segmentation_loss(
                settings.loss,
                logits.float(),
                self.fabric.to_device(batch.labels[piece]),
                self.fabric.to_device(batch.trust[piece]),
                self.class_weights,
            )
            self.fabric.backward(loss * share)
            total += float(loss.detach()) * share
        return total

    def check(self, images: int) -> bool:
        kept = self.average if self.settings.ema > 0 else self.network
        assert isinstance(kept, Segmenter)
        kept.eval()
        judged = TrainedSegmenter(kept, self.fabric, self.recipe.num_classes, {})
        rows = list(self.val.rows)
        batches = (
            rows[start : start + _PREDICT_BATCH] for start in range(0, len(rows), _PREDICT_BATCH)
        )
        total = sum(evaluate(judged, batches).values())
        figures = figures_of(np.asarray(total))
        score = round(float(figures.macro("f1")), 6)
        entry = {
            "images": images,
            "val_f1": score,
            "val_accuracy": round(float(figures.accuracy), 6),
        }
        self.history.append(entry)
        append_line(self.folder / "log.jsonl", entry)
        if score > self.best:
            self.best, self.best_images = score, images
            save_weights(self.folder / "weights.safetensors", {"segmenter": kept})
        self.curves.note(images, {k: v for k, v in entry.items() if k != "images"})
        since = sum(1 for e in self.history if e["images"] > self.best_images)
        self.plateau.step(score)
        patience = self.settings.patience
        return patience is not None and since >= patience


def _build(recipe: Recipe, mean: Channels, std: Channels, seed: int) -> Segmenter:
    module = families.member("segmenters", recipe.architecture)
    settings = module.Settings.model_validate(dict(recipe.options))
    torch.manual_seed(derive_seed(seed, "initial weights"))
    network: Segmenter = module.build(settings, recipe.preset, recipe.num_classes, mean, std)
    return network
