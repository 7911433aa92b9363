"""One loop for every training, counted in images, that resumes exactly.

The trainee owns networks, optimisers and one `step`; the loop owns the count, the seeds, checks,
checkpoints and progress. Randomness is addressed by (seed, images seen), so no random state needs
to be stored: the step after 4,096 images is the same in any process.
"""

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.optim import Optimizer

from terraloom.files import append_line
from terraloom.learning.checkpoint import (
    discard_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from terraloom.progress import meter
from terraloom.seeds import derive_seed, generator_at

_CHECKPOINT_EVERY_S: Final = 30.0


class Trainee(Protocol):
    """What the loop trains."""

    def modules(self) -> Mapping[str, nn.Module]:
        """Every network whose state must survive a restart, averages included."""

    def optimizers(self) -> Mapping[str, Optimizer]:
        """Every optimiser."""

    def numbers(self) -> dict[str, Any]:
        """JSON-like state beside the tensors: controller strengths, best score, history."""

    def restore_numbers(self, numbers: Mapping[str, Any]) -> None:
        """Take `numbers` of a checkpoint back."""

    def step(self, random: np.random.Generator, progress: float) -> dict[str, float]:
        """One update on one batch.

        Args:
            random: stands at the start of this step's stream; torch's global state is seeded too.
            progress: share of the images seen so far, 0 … 1.

        Returns:
            Losses and other figures, for the log.
        """

    def check(self, images: int) -> bool:
        """Evaluate (on val at most); return True to stop early.

        Of several processes the first alone is asked; the others take its `numbers`.
        """


@dataclass(frozen=True)
class LoopPlan:
    """How long and how often."""

    images: int
    batch_size: int
    checks: int
    """Evaluations, evenly spaced, the last at the end."""
    seed: int
    description: str


def run_loop(trainee: Trainee, plan: LoopPlan, folder: Path, fabric: Fabric | None = None) -> int:
    """Train until `plan.images`, from the latest checkpoint in `folder` if there is one.

    Args:
        trainee: what is trained.
        plan: how long and how often.
        folder: of checkpoints and log.
        fabric: where several processes train together; each then calls this, the first alone
            checks, writes and shows progress, and all stop together.

    Returns:
        Images seen, less than planned after an early stop.
    """
    rank = 0 if fabric is None else fabric.global_rank
    seen = 0
    restored = load_checkpoint(folder, trainee.modules(), trainee.optimizers())
    stopped = False
    if restored is not None:
        seen, numbers = restored
        stopped = bool(numbers.pop("stopped", False))
        trainee.restore_numbers(numbers)
    steps = -(-plan.images // plan.batch_size)
    checks_at = {-(-steps * (i + 1) // plan.checks) * plan.batch_size for i in range(plan.checks)}
    total = steps * plan.batch_size
    last_saved = time.monotonic()
    # What the network draws (dropout) must differ between the processes' parts of a batch.
    address = ("torch",) if rank == 0 else ("torch", rank)
    shown = meter(plan.description, total, "img", seen) if rank == 0 else nullcontext()
    with shown as progress:
        while seen < total and not stopped:
            torch.manual_seed(derive_seed(plan.seed, *address, seen))
            figures = trainee.step(generator_at(plan.seed, "step", seen), seen / total)
            seen += plan.batch_size
            if progress is not None:
                progress.advance(plan.batch_size)
            if seen in checks_at:
                if rank == 0:
                    append_line(folder / "log.jsonl", {"images": seen, **figures})
                    stopped = trainee.check(seen)
                if fabric is not None and fabric.world_size > 1:
                    stopped = _agreed(trainee, stopped, fabric)
            due = time.monotonic() - last_saved > _CHECKPOINT_EVERY_S
            if rank == 0 and (due or stopped or seen in checks_at):
                numbers = {**trainee.numbers(), "stopped": stopped}
                save_checkpoint(folder, trainee.modules(), trainee.optimizers(), numbers, seen)
                last_saved = time.monotonic()
    return seen


def _agreed(trainee: Trainee, stopped: bool, fabric: Fabric) -> bool:
    """What the first process found at its check, in every process."""
    found, numbers = fabric.broadcast((stopped, trainee.numbers()))
    if fabric.global_rank > 0:
        trainee.restore_numbers(numbers)
    return bool(found)


def finish_loop(folder: Path) -> None:
    """Drop the training state once what is worth keeping has been written elsewhere."""
    discard_checkpoints(folder)
