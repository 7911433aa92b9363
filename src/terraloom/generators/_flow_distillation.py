"""Distillation of a flow into few steps: a student learns where the teacher's paths end.

Pairs of noise and of what the guided teacher makes of it are joined by straight lines, along which
the student's velocity is constant (reflow and its k-step distillation: Liu et al. 2023, arXiv
2209.03003, section 2.2 and eq. 8). The pairs are one to one, so that least squares does not average
over images; guidance is part of what is learned and costs nothing afterwards.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import torch
from lightning_fabric import Fabric
from safetensors.numpy import load_file, save_file
from torch import Tensor

from terraloom.classes import UNKNOWN
from terraloom.dataset.rows import TrainRows
from terraloom.files import atomic_path, make_folder
from terraloom.generators._face import DataShape
from terraloom.generators._flow_core import MASK_SHARE, Flow, Settings, velocity_error
from terraloom.generators._layers import class_shares
from terraloom.learning.batches import Batch, batch_of
from terraloom.progress import meter
from terraloom.seeds import derive_seed, generator_at

_SHARD: Final = 64
"""Pairs per file: the unit of resume."""


class FlowStudent(Flow):
    """A flow of few Euler steps without guidance, trained on a teacher's pairs."""

    def __init__(self, settings: Settings, shape: DataShape, fabric: Fabric) -> None:
        few = {"steps": settings.distil_steps, "sampler": "euler", "guidance": 1.0}
        super().__init__(settings.model_copy(update=few | {"distil_steps": 0}), shape, fabric)
        self._pairs: _Pairs | None = None

    def learn_from(self, teacher: Flow, train: TrainRows, folder: Path, seed: int) -> None:
        """Start from the teacher's weights; make the pairs that `folder` lacks."""
        for network in (self.network, self.average):
            network.load_state_dict(teacher.average.state_dict())
        self.memory.load_state_dict(teacher.memory.state_dict())
        self._pairs = _Pairs.made(teacher, train, folder, seed)

    def step(self, batch: Batch, random: np.random.Generator, progress: float) -> dict[str, float]:
        """One update on as many pairs as the batch has images; its images are not looked at."""
        assert self._pairs is not None
        picks = random.integers(len(self._pairs.seeds), size=len(batch.images))
        data, labels, shares, masks = self._pairs.take(picks)
        seeds = [int(seed) for seed in self._pairs.seeds[picks]]
        data = self.fabric.to_device(data)
        noise = self.start(seeds, *data.shape[2:])
        # Only the times at which the sampler will ask.
        starts = random.integers(self.settings.steps, size=len(picks)) / self.settings.steps
        time = self.fabric.to_device(torch.from_numpy(starts.astype(np.float32)))
        condition = self._condition(labels, shares, masks)
        velocity = self._velocity_at(data, noise, time, condition)
        return self._update(velocity_error(velocity, data - noise, condition.made), progress)


class _Pairs:
    """What a teacher made of known noise, in files of `_SHARD` pairs."""

    def __init__(self, parts: list[dict[str, np.ndarray]]) -> None:
        self._data = np.concatenate([part["data"] for part in parts])
        self._labels = np.concatenate([part["labels"] for part in parts])
        self._shares = np.concatenate([part["shares"] for part in parts])
        self._masks = np.concatenate([part["masks"] for part in parts])
        self.seeds = np.concatenate([part["seeds"] for part in parts])

    @classmethod
    def made(cls, teacher: Flow, train: TrainRows, folder: Path, seed: int) -> "_Pairs":
        """Make what is missing; every pair depends on the seed and its number alone."""
        make_folder(folder)
        count = teacher.settings.distil_pairs
        starts = list(range(0, count, _SHARD))
        paths = [folder / f"pairs-{start:07d}.safetensors" for start in starts]
        left = [(s, p) for s, p in zip(starts, paths, strict=True) if not p.exists()]
        done = sum(min(_SHARD, count - s) for s, p in zip(starts, paths, strict=True) if p.exists())
        with meter("making pairs to distil from", count, "pairs", done) as progress:
            for start, path in left:
                size = min(_SHARD, count - start)
                part = _merged(list(_made(teacher, train, range(start, start + size), seed)))
                with atomic_path(path) as temporary:
                    save_file(part, temporary)
                progress.advance(size)
        return cls([load_file(path) for path in paths])

    def take(self, picks: np.ndarray) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Data, labels and shares of the pairs with these numbers, and which make a mask."""
        return (
            torch.from_numpy(self._data[picks].astype(np.float32)),
            torch.from_numpy(self._labels[picks]).long(),
            torch.from_numpy(self._shares[picks]),
            torch.from_numpy(self._masks[picks]),
        )


def _made(
    teacher: Flow, train: TrainRows, numbers: range, seed: int, batch: int = 16
) -> Iterator[dict[str, np.ndarray]]:
    for first in range(numbers.start, numbers.stop, batch):
        part = range(first, min(first + batch, numbers.stop))
        crops = batch_of(
            train,
            [derive_seed(seed, "pair crop", i) for i in part],
            teacher.shape.size,
            "geometry",
        )
        shares = class_shares(crops.labels, teacher.num_classes)
        draws = torch.from_numpy(
            np.stack([generator_at(seed, "pair condition", i).random(3) for i in part])
        )
        masks = (draws[:, 2] < MASK_SHARE) & teacher.settings.joint
        free = (draws[:, 0] < teacher.settings.free_share) | masks
        labels = crops.labels.clone()
        labels[free] = UNKNOWN
        bare = draws[:, 1] < torch.where(masks, teacher.settings.free_share, 0.5)
        shares[~free | bare] = 0.0
        seeds = [derive_seed(seed, "pair noise", i) for i in part]
        condition = teacher._condition(labels, shares, masks)
        made = teacher.integrate(condition, seeds)
        yield {
            "data": made.cpu().numpy().astype(np.float16),
            "labels": labels.numpy().astype(np.uint8),
            "shares": shares.numpy().astype(np.float32),
            "masks": masks.numpy(),
            "seeds": np.array(seeds, dtype=np.int64),
        }


def _merged(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    # Contiguous: safetensors writes memory as it lies, whatever order the strides tell.
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {name: np.ascontiguousarray(values) for name, values in joined.items()}
