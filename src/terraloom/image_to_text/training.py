"""Training of a captioner, counted in images, resumed exactly; the weights of least val loss stay.

Targets are captions drawn from those of the image; the loss is the mean negative log likelihood of
their words (teacher forcing). Whole images enter: a caption tells of all of an image and of places
in it, so nothing is cropped, flipped or turned.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from terraloom.errors import BadCheckpoint, DivergedTraining, NewerFormat, RoleError, StageMissing
from terraloom.files import append_line, make_folder, read_json, write_json
from terraloom.image_to_text.captioned import CaptionedTrain, CaptionedVal
from terraloom.image_to_text.network import CaptionModel, new_model, stored_model
from terraloom.learning.batches import change_radiometry
from terraloom.learning.checkpoint import load_weights, save_weights
from terraloom.learning.curves import Curves
from terraloom.learning.loader import Loader
from terraloom.learning.loop import LoopPlan, finish_loop, run_loop
from terraloom.learning.schedule import rate_factor
from terraloom.seeds import generator_at
from terraloom.settings.caption_benchmark import CaptionBenchmarkSettings
from terraloom.types import ImageU8

STATE: Final = "state.json"
WEIGHTS: Final = "weights.safetensors"
_VERSION: Final = 1
_CURVE_EVERY: Final = 10
_MOST_VAL: Final = 2000
"""Val rows that a check looks at, evenly spaced: its time must not grow with the data."""
_VAL_BATCH: Final = 32


@dataclass(frozen=True)
class TrainedCaptioner:
    """A captioner ready to write."""

    model: CaptionModel
    fabric: Fabric
    summary: Mapping[str, Any]
    """Validation history, images seen, loss of the kept weights on val (nats per word)."""

    def captions(self, images: Sequence[ImageU8], beams: int = 1) -> list[str]:
        """One caption of each image, 8-bit RGB of any size; the same whenever asked."""
        pixels = self.model.standardised(self.fabric.to_device(self.model.pixels(images)))
        with self.fabric.autocast():
            return self.model.write(pixels, beams)


def train_captioner(
    train: CaptionedTrain,
    val: CaptionedVal,
    settings: CaptionBenchmarkSettings,
    folder: Path,
    *,
    seed: int,
    fabric: Fabric,
    description: str,
) -> TrainedCaptioner:
    """Train, resuming what `folder` holds, and keep the weights of the least val loss.

    Args:
        train: rows and captions fitted on, words included.
        val: rows and captions that choose the checkpoint.
        settings: network and budget.
        folder: of this training.
        seed: of initial weights, order, drawn captions and augmentation.
        fabric: device.
        description: what the progress bar says.

    Raises:
        RoleError: rows of another role.
        DivergedTraining: the loss is no number.
    """
    if not isinstance(train, CaptionedTrain) or not isinstance(val, CaptionedVal):
        raise RoleError("a captioner is fitted on CaptionedTrain and steered by CaptionedVal only.")
    if (folder / STATE).exists():
        finish_loop(folder)  # a kill may have come between the record and this
        return load_captioner(folder, fabric)
    make_folder(folder)
    model = new_model(settings, train, seed)
    model.save_words(folder)
    training = settings.training
    maker = _BatchMaker(train, model, settings, seed)
    with Loader(maker, training.batch_size) as loader, Curves(folder) as curves:
        trainee = _CaptionTrainee(model, loader, val, settings, fabric, folder, curves)
        plan = LoopPlan(training.images, training.batch_size, training.checks, seed, description)
        seen = run_loop(trainee, plan, folder)
    write_json(
        folder / STATE,
        {
            "version": _VERSION,
            "settings": settings.model_dump(mode="json", exclude={"arms", "seeds", "draws"}),
            "seed": seed,
            "model": model.to_json(),
            "parameters": sum(p.numel() for p in model.network.parameters()),
            "rows": {"train": len(train), "val": len(val)},
            "captions": {"train": sum(map(len, train.texts)), "val": sum(map(len, val.texts))},
            "summary": {
                "images": seen,
                "best_val_loss": trainee.best,
                "best_images": trainee.best_images,
                "history": trainee.history,
            },
        },
    )
    finish_loop(folder)
    return load_captioner(folder, fabric)


def load_captioner(folder: Path, fabric: Fabric) -> TrainedCaptioner:
    """A finished captioner from its folder.

    Raises:
        StageMissing: there is none.
        BadCheckpoint: record, words or weights are damaged or do not belong together.
        NewerFormat: a newer version wrote it.
    """
    path = folder / STATE
    if not path.exists():
        raise StageMissing(f"{folder} holds no finished captioner; run the stage that trains it.")
    try:
        state = read_json(path)
        if state["version"] > _VERSION:
            raise NewerFormat(f"{path} was written by a newer version. Upgrade terraloom.")
        stored, summary = state["model"], dict(state["summary"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadCheckpoint(
            f"{path} does not describe a trained captioner ({type(error).__name__}). Delete the "
            "folder of this training and run the stage again."
        ) from error
    model = stored_model(folder, stored)
    load_weights(folder / WEIGHTS, {"captioner": model.network})
    fabric.to_device(model.network.eval())
    return TrainedCaptioner(model, fabric, summary)


@dataclass(frozen=True)
class _Batch:
    """Tensors of one update."""

    pixels: Tensor
    labels: Tensor
    ids: tuple[str, ...]


@dataclass(frozen=True)
class _BatchMaker:
    """The batch that begins after so many images; depends on nothing else."""

    train: CaptionedTrain
    model: CaptionModel
    settings: CaptionBenchmarkSettings
    seed: int

    def __call__(self, images: int) -> _Batch:
        training = self.settings.training
        random = generator_at(self.seed, "batch", images)
        # Every image has a stream of its own, so that it depends on no batch-mate.
        seeds = random.integers(1 << 63, size=training.batch_size)
        streams = [np.random.default_rng(int(seed)) for seed in seeds]
        rows, texts = [], []
        for stream in streams:
            index = int(stream.integers(len(self.train)))
            own = self.train.texts[index]
            rows.append(self.train.row(index))
            texts.append(own[int(stream.integers(len(own)))])
        pixels = self.model.pixels([row.image for row in rows])
        if training.augment != "none":
            pixels = change_radiometry(pixels, training.augment, streams)
        return _Batch(
            self.model.standardised(pixels),
            self.model.labels(texts),
            tuple(row.id for row in rows),
        )


class _CaptionTrainee:
    """Network and optimiser of one training."""

    def __init__(
        self,
        model: CaptionModel,
        loader: Loader[_Batch],
        val: CaptionedVal,
        settings: CaptionBenchmarkSettings,
        fabric: Fabric,
        folder: Path,
        curves: Curves,
    ) -> None:
        self.model = model
        self.loader = loader
        self.val = val
        self.training = settings.training
        self.fabric = fabric
        self.folder = folder
        self.curves = curves
        optimizer = AdamW(
            model.network.parameters(),
            lr=self.training.learning_rate,
            weight_decay=self.training.weight_decay,
        )
        self.forward, self.optimizer = fabric.setup(model.network, optimizer)
        self.updates = 0
        self.best = math.inf
        self.best_images = 0
        self.history: list[dict[str, float]] = []

    def modules(self) -> Mapping[str, nn.Module]:
        return {"network": self.model.network}

    def optimizers(self) -> Mapping[str, Optimizer]:
        return {"adamw": self.optimizer}

    def numbers(self) -> dict[str, Any]:
        return {
            "updates": self.updates,
            "best": self.best if math.isfinite(self.best) else None,
            "best_images": self.best_images,
            "history": self.history,
        }

    def restore_numbers(self, numbers: Mapping[str, Any]) -> None:
        self.updates = int(numbers["updates"])
        self.best = math.inf if numbers["best"] is None else float(numbers["best"])
        self.best_images = int(numbers["best_images"])
        self.history = list(numbers["history"])

    def step(self, random: np.random.Generator, progress: float) -> dict[str, float]:
        training = self.training
        images = self.updates * training.batch_size
        batch = self.loader.batch(images, training.images)
        rate = training.learning_rate * rate_factor("cosine", progress, training.warm_up)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.forward.train()
        self.optimizer.zero_grad()
        pixels, labels = self.fabric.to_device(batch.pixels), self.fabric.to_device(batch.labels)
        loss = self.model.loss(self.forward, pixels, labels) / (labels != -100).sum()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DivergedTraining(
                f"the loss became {value} at image {images} (samples {', '.join(batch.ids[:4])}, "
                f"…) in {self.folder.name}. Lower caption_benchmark.training.learning_rate; the "
                "last checkpoint is kept, and the same command goes on from it."
            )
        self.fabric.backward(loss)
        nn.utils.clip_grad_norm_(self.model.network.parameters(), training.clip_norm)
        self.optimizer.step()
        self.updates += 1
        figures = {"loss": round(value, 6), "rate": rate}
        if self.updates % _CURVE_EVERY == 0:
            self.curves.note(images + training.batch_size, figures)
        return figures

    @torch.inference_mode()
    def check(self, images: int) -> bool:
        """Mean loss per word over all captions of the val rows."""
        self.forward.eval()
        every = -(-len(self.val) // _MOST_VAL)
        total, words = 0.0, 0
        chosen = range(0, len(self.val), every)
        pairs = [(index, text) for index in chosen for text in self.val.texts[index]]
        for start in range(0, len(pairs), _VAL_BATCH):
            some = pairs[start : start + _VAL_BATCH]
            pixels = self.model.pixels([self.val.row(index).image for index, _ in some])
            labels = self.fabric.to_device(self.model.labels([text for _, text in some]))
            shown = self.fabric.to_device(self.model.standardised(pixels))
            total += float(self.model.loss(self.forward, shown, labels))
            words += int((labels != -100).sum())
        loss = round(total / words, 6)
        if not math.isfinite(loss):
            raise DivergedTraining(
                f"the loss on val became {loss} at image {images} in {self.folder.name}. Lower "
                "caption_benchmark.training.learning_rate."
            )
        entry = {"images": images, "val_loss": loss}
        self.history.append(entry)
        append_line(self.folder / "log.jsonl", entry)
        self.curves.note(images, {"val_loss": loss})
        if loss < self.best:
            self.best, self.best_images = loss, images
            save_weights(self.folder / WEIGHTS, {"captioner": self.model.network})
        return False
