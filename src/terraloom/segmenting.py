"""Face of the segmentation stage: train, load, predict, evaluate."""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from lightning_fabric import Fabric
from pydantic import ValidationError
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from terraloom import families
from terraloom.classes import UNKNOWN
from terraloom.dataset.rows import Row, TrainRows, ValRows, channel_statistics
from terraloom.errors import (
    BadCheckpoint,
    DivergedTraining,
    NewerFormat,
    RoleError,
    SettingsError,
    StageMissing,
)
from terraloom.files import append_line, make_folder, read_json, write_json
from terraloom.learning.batches import Batch, draw_batch, image_tensor
from terraloom.learning.checkpoint import load_weights, save_weights
from terraloom.learning.confusion import ConfusionCounter, figures_of
from terraloom.learning.curves import Curves
from terraloom.learning.device import placed
from terraloom.learning.ema import averaged_copy, update_average
from terraloom.learning.loader import Loader
from terraloom.learning.loop import LoopPlan, finish_loop, run_loop
from terraloom.learning.losses import Part, pixel_weights, segmentation_loss
from terraloom.learning.schedule import Plateau, rate_factor
from terraloom.learning.together import run_together
from terraloom.progress import console
from terraloom.seeds import derive_seed, generator_at
from terraloom.segmenters._face import Preset, Segmenter
from terraloom.settings import LEAST_PART, TrainingSettings
from terraloom.types import Channels, Float32Array, ImageU8, Int64Array

_PREDICT_BATCH: Final = 32
_CURVE_EVERY: Final = 10
"""Updates between two points of the loss curve."""
CALIBRATION: Final = "calibration.json"
"""Beside the weights of a calibrated segmenter."""
STATE_VERSION: Final = 1
"""Of state.json: a newer one is refused."""
_IMAGENET: Final[tuple[Channels, Channels]] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation per channel of the images that published encoder weights were trained on."""


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
    temperature: float = 1.0
    """Divides the logits where probabilities are asked for (`calibration`); changes no label."""

    @torch.inference_mode()
    def probabilities(self, images: Sequence[ImageU8]) -> Float32Array:
        """Class probabilities, float32 "batch class height width"; images of one size.

        Sides that are no multiple of 32 are padded by reflection and cropped back.
        """
        logits = self._forward(image_tensor(list(images)))
        return (logits.float() / self.temperature).softmax(dim=1).cpu().numpy()

    @torch.inference_mode()
    def logits(self, images: Sequence[ImageU8]) -> Float32Array:
        """What the network says, before temperature and softmax; otherwise as `probabilities`."""
        return self._forward(image_tensor(list(images))).float().cpu().numpy()

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
    devices: int = 1,
) -> TrainedSegmenter:
    """Train from scratch (or from pretrained weights), resuming what `folder` holds.

    The weights with the best macro F1 on val, among `training.checks` looks, are kept in
    `folder`/weights.safetensors; `folder`/state.json records recipe, seed and history.

    Args:
        train: rows fitted on.
        val: rows that choose the checkpoint.
        recipe: architecture and budget. Crops below 64 pixels of larger rows are warned of.
        folder: of this training.
        seed: of initial weights, order, crops and augmentation.
        fabric: device, of the trained segmenter; with one device, of the training too.
        description: what the progress bar says.
        devices: processes that share each batch, each with its own GPU or share of the CPU. Batch
            norm and Dice then look at a process's part, so the weights differ a little.

    Raises:
        RoleError: `train` or `val` are not what their types say.
        SettingsError: the crop is too small for the architecture, the batch cannot be shared out,
            or there are fewer GPUs than devices.
        WeightsUnavailable: pretrained weights were asked for and cannot be had.
    """
    if not isinstance(train, TrainRows) or not isinstance(val, ValRows):
        raise RoleError("a segmenter is fitted on TrainRows and steered by ValRows only.")
    if (folder / "state.json").exists():
        finish_loop(folder)  # a kill may have come between the record and this
        return load_segmenter(folder, fabric)
    make_folder(folder)
    size = recipe.training.batch_size
    if size % devices or (devices > 1 and size < 2 * devices):
        raise SettingsError(
            f"training.batch_size = {size} cannot be shared by project.devices = {devices} in "
            f"equal parts of two images or more; use a multiple of {devices}, such as "
            f"{max(2, -(-size // devices)) * devices}."
        )
    crop = recipe.training.crop_size
    if crop < LEAST_PART and len(val) and crop < min(val[0].mask.shape):
        console.print(
            f"[yellow]crops of {crop} pixels teach nothing about whole patches of "
            f"{min(val[0].mask.shape)}[/]: the encoder's deepest layer sees them as one pixel. "
            f"Take {LEAST_PART} or more.",
            soft_wrap=True,
        )
    if devices > 1:
        run_together(_train, devices, train, val, recipe, folder, seed, description)
    else:
        _train(fabric, train, val, recipe, folder, seed, description)
    return load_segmenter(folder, fabric)


def _train(
    fabric: Fabric,
    train: TrainRows,
    val: ValRows,
    recipe: Recipe,
    folder: Path,
    seed: int,
    description: str,
) -> None:
    """Train in this process, or as one of several; the first of them alone writes."""
    first = fabric.global_rank == 0
    published = recipe.training.normalise == "imagenet"
    mean, std = _IMAGENET if published else channel_statistics(train)
    network = _build(recipe, mean, std, seed)
    counts = label_counts(train, recipe.num_classes)
    absent = [label for label, count in enumerate(counts) if count == 0]
    if absent and first:
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
    maker = _BatchMaker(train, recipe.training, seed, fabric.global_rank, fabric.world_size)
    with ExitStack() as open_until_done:
        loader = open_until_done.enter_context(Loader(maker, size))
        curves = open_until_done.enter_context(Curves(folder)) if first else None
        trainee = _SegmenterTrainee(
            network, loader, val, recipe, fabric, folder, curves, class_weights_of(counts, recipe)
        )
        plan = LoopPlan(budget, size, recipe.training.checks, seed, description)
        seen = run_loop(trainee, plan, folder, fabric)
        waiting = round(loader.waiting_share, 4)
    if not first:
        return
    append_line(folder / "log.jsonl", {"waiting_share": waiting})
    write_json(
        folder / "state.json",
        {
            "version": STATE_VERSION,
            "recipe": recipe.to_json(),
            "seed": seed,
            "mean": list(mean),
            "std": list(std),
            "rows": {"train": len(train), "val": len(val)},
            "devices": fabric.world_size,
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


def load_segmenter(folder: Path, fabric: Fabric) -> TrainedSegmenter:
    """A finished segmenter from its folder, with the normalisation that it was trained with.

    Raises:
        StageMissing: there is none.
        BadCheckpoint: record or weights are damaged, do not belong together, or hold no numbers.
        NewerFormat: a newer version wrote it.
    """
    path = folder / "state.json"
    if not path.exists():
        raise StageMissing(f"{folder} holds no finished segmenter; run: terraloom segment")
    try:
        state = read_json(path)
        if state["version"] > STATE_VERSION:
            raise NewerFormat(f"{path} was written by a newer version. Upgrade terraloom.")
        raw = state["recipe"]
        recipe = Recipe(
            raw["architecture"],
            # Encoder weights are in the checkpoint already; none need to be fetched again.
            {**raw["options"], "weights": "none"},
            raw["preset"],
            raw["num_classes"],
            TrainingSettings.model_validate(raw["training"]),
        )
        mean, std = _three(state["mean"]), _three(state["std"])
        summary = dict(state["summary"])
        network = _build(recipe, mean, std, 0)
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        told = " ".join(str(error).split())[:160]
        raise BadCheckpoint(
            f"{path} does not describe a trained segmenter ({type(error).__name__}: {told}). Copy "
            "the whole folder of the training again, or delete it and run: terraloom segment"
        ) from error
    load_weights(folder / "weights.safetensors", {"segmenter": network})
    network = placed(network, fabric).eval()
    return TrainedSegmenter(network, fabric, recipe.num_classes, summary, _temperature(folder))


def _temperature(folder: Path) -> float:
    """Of a calibrated segmenter; 1 where none was fitted."""
    path = folder / CALIBRATION
    if not path.exists():
        return 1.0
    try:
        temperature = float(read_json(path)["temperature"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadCheckpoint(f"{path} holds no temperature; run: terraloom segment") from error
    if not 0 < temperature < math.inf:
        raise BadCheckpoint(f"{path} holds the temperature {temperature}; run: terraloom segment")
    return temperature


def _three(values: Sequence[float]) -> Channels:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


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
    """A process's part of the batch that begins after so many images; depends on nothing else."""

    train: TrainRows
    settings: TrainingSettings
    seed: int
    rank: int = 0
    processes: int = 1

    def __call__(self, images: int) -> Batch:
        settings = self.settings
        random = generator_at(self.seed, "batch", images)
        each = settings.batch_size // self.processes
        return draw_batch(
            self.train,
            settings.batch_size,
            settings.crop_size,
            settings.augment,
            random,
            slice(self.rank * each, (self.rank + 1) * each),
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
        curves: Curves | None,
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
        if self.curves is not None and self.updates % _CURVE_EVERY == 0:
            self.curves.note(images + settings.batch_size, figures)
        return figures

    def _accumulated(self, batch: Batch) -> float:
        """Backward passes over the pieces of this process's part of a batch; the batch's loss."""
        settings, fabric = self.settings, self.fabric
        labels, trust = fabric.to_device(batch.labels), fabric.to_device(batch.trust)
        own, processes = len(labels), fabric.world_size
        size = -(-own // settings.accumulate)
        whole = None
        if size < own or processes > 1:
            # A mean of means would weigh pixels by how many known ones share their piece.
            whole = pixel_weights(labels, trust, self.class_weights).sum()
            whole = self._summed(whole)
        total = 0.0
        for start in range(0, own, size):
            piece = slice(start, start + size)
            part = None
            if whole is not None:
                part = Part(whole, len(labels[piece]) / settings.batch_size)
            # Gradients need to meet once, after the last piece.
            alone = processes > 1 and start + size < own
            with fabric.no_backward_sync(self.forward, enabled=alone) if alone else nullcontext():
                logits = self.forward(fabric.to_device(batch.images[piece]))
                loss = segmentation_loss(
                    settings.loss,
                    logits.float(),
                    labels[piece],
                    trust[piece],
                    self.class_weights,
                    part,
                )
                # The processes' gradients are averaged, and the loss is a sum over them.
                fabric.backward(loss * processes)
            total += float(loss.detach())
        if processes == 1:
            return total
        return float(self._summed(torch.tensor(total, device=fabric.device)))

    def _summed(self, value: Tensor) -> Tensor:
        """Over all processes."""
        summed = self.fabric.all_reduce(value, reduce_op="sum")
        assert isinstance(summed, Tensor)
        return summed

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
        if self.curves is not None:
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
