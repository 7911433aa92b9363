"""Face of the segmentation stage: train, load, predict, evaluate."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from terraloom import families
from terraloom.dataset.rows import Row, TrainRows, ValRows, channel_statistics
from terraloom.errors import RoleError, SettingsError, StageMissing
from terraloom.files import append_line, make_folder, read_json, write_json
from terraloom.learning.batches import draw_batch, image_tensor
from terraloom.learning.checkpoint import load_weights, save_weights
from terraloom.learning.confusion import confusion_of, figures_of
from terraloom.learning.device import placed
from terraloom.learning.ema import averaged_copy, update_average
from terraloom.learning.loop import LoopPlan, finish_loop, run_loop
from terraloom.learning.losses import segmentation_loss
from terraloom.learning.schedule import rate_factor
from terraloom.seeds import derive_seed
from terraloom.segmenters._face import Preset, Segmenter
from terraloom.settings import TrainingSettings
from terraloom.types import Channels, Float32Array, ImageU8, Int64Array

_PREDICT_BATCH: Final = 32
_PLATEAU_PATIENCE: Final = 3
_PLATEAU_FACTOR: Final = 0.1


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
    if recipe.training.crop_size < network.min_crop_size:
        raise SettingsError(
            f"{recipe.architecture} needs crops of at least {network.min_crop_size} pixels; "
            f"training.crop_size is {recipe.training.crop_size}."
        )
    trainee = _SegmenterTrainee(network, train, val, recipe, fabric, folder)
    plan = LoopPlan(
        recipe.training.images,
        recipe.training.batch_size,
        recipe.training.checks,
        seed,
        description,
    )
    seen = run_loop(trainee, plan, folder)
    write_json(
        folder / "state.json",
        {
            "version": 1,
            "recipe": recipe.to_json(),
            "seed": seed,
            "mean": list(mean),
            "std": list(std),
            "rows": {"train": len(train), "val": len(val)},
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


def evaluate(segmenter: TrainedSegmenter, batches: Iterable[list[Row]]) -> dict[str, Int64Array]:
    """Confusion matrix "truth predicted" per place, over all known pixels; memory is bounded."""
    found: dict[str, Int64Array] = {}
    for rows in batches:
        by_size: dict[tuple[int, int], list[Row]] = {}
        for row in rows:
            by_size.setdefault((row.mask.shape[0], row.mask.shape[1]), []).append(row)
        for group in by_size.values():
            predicted = segmenter.probabilities([row.image for row in group]).argmax(axis=1)
            for row, labels in zip(group, predicted, strict=True):
                matrix = confusion_of(row.mask, labels.astype(np.uint8), segmenter.num_classes)
                place = row.place or row.id
                found[place] = found.get(place, np.zeros_like(matrix)) + matrix
    return found


class _SegmenterTrainee:
    """Network, optimiser and averaged weights of one training."""

    def __init__(
        self,
        network: Segmenter,
        train: TrainRows,
        val: ValRows,
        recipe: Recipe,
        fabric: Fabric,
        folder: Path,
    ) -> None:
        settings = recipe.training
        self.settings = settings
        self.recipe = recipe
        self.train = train
        self.val = val
        self.fabric = fabric
        self.folder = folder
        self.network = placed(network, fabric)
        self.average = averaged_copy(self.network)
        optimizer = AdamW(
            self.network.parameters(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
        )
        self.forward, self.optimizer = fabric.setup(self.network, optimizer)
        self.updates = 0
        self.best = -1.0
        self.best_images = 0
        self.plateau = 1.0
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
            "plateau": self.plateau,
            "history": self.history,
        }

    def restore_numbers(self, numbers: Mapping[str, Any]) -> None:
        self.updates = int(numbers["updates"])
        self.best = float(numbers["best"])
        self.best_images = int(numbers["best_images"])
        self.plateau = float(numbers["plateau"])
        self.history = list(numbers["history"])

    def step(self, random: np.random.Generator, progress: float) -> dict[str, float]:
        settings = self.settings
        batch = draw_batch(
            self.train, settings.batch_size, settings.crop_size, settings.augment, random
        )
        rate = settings.learning_rate * self.plateau * rate_factor(settings.schedule, progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.forward.train()
        logits = self.forward(self.fabric.to_device(batch.images))
        loss = segmentation_loss(
            settings.loss,
            logits,
            self.fabric.to_device(batch.labels),
            self.fabric.to_device(batch.trust),
        )
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        nn.utils.clip_grad_norm_(self.network.parameters(), settings.clip_norm)
        self.optimizer.step()
        self.updates += 1
        if settings.ema > 0:
            update_average(self.average, self.network, settings.ema, self.updates)
        return {"loss": round(float(loss.detach()), 6), "rate": rate}

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
        since = sum(1 for e in self.history if e["images"] > self.best_images)
        if self.settings.schedule == "plateau" and since and since % _PLATEAU_PATIENCE == 0:
            self.plateau *= _PLATEAU_FACTOR
        patience = self.settings.patience
        return patience is not None and since >= patience


def _build(recipe: Recipe, mean: Channels, std: Channels, seed: int) -> Segmenter:
    module = families.member("segmenters", recipe.architecture)
    settings = module.Settings.model_validate(dict(recipe.options))
    torch.manual_seed(derive_seed(seed, "initial weights"))
    network: Segmenter = module.build(settings, recipe.preset, recipe.num_classes, mean, std)
    return network
