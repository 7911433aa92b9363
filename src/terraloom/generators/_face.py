"""The face of a generator, and the settings that all members share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.optim import Optimizer

from terraloom.dataset.rows import TrainRows
from terraloom.learning.batches import Batch
from terraloom.types import Float64Array, LabelMask

Making = Literal["conditional", "unconditional", "joint"]
"""For a mask; freely, to be labelled afterwards; image and mask together."""

Guide = Callable[[Tensor], Tensor]
"""Images "batch 3 height width", 0 … 1, to logits "batch class height width", differentiable."""

FeatureMaps = Callable[[Tensor], Sequence[Tensor]]
"""Images "batch 3 height width", 0 … 1, to maps "batch channel height width" of several stages of a
fixed encoder; differentiable."""


class GeneratorSettings(BaseModel):
    """Options that every generator has."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    images: int = Field(default=20_000, ge=1)
    """Images seen in training: updates times batch."""
    batch_size: int = Field(default=16, ge=2)
    """Images per update."""
    checks: int = Field(default=4, ge=1)
    """Picture grids, agreement and diversity figures taken while training."""
    ema: float = Field(default=0.998, ge=0, lt=1)
    """Decay of the averaged weights that samples are made with."""
    patience: int | None = Field(default=None, ge=1)
    """Checks in a row without a smaller kernel distance to val, after which training stops; the
    weights of the best check are then kept. Left out, it trains to the end and keeps the last."""


@dataclass(frozen=True)
class DataShape:
    """What a generator is built for."""

    num_classes: int
    size: int
    """Height and width of samples in pixels."""
    mean: tuple[float, float, float]
    """Of the training images per channel, 0 … 1."""
    std: tuple[float, float, float]


class Generator(Protocol):
    """Makes images from label masks or freely.

    The same labels and seed give the same image, to float tolerance, whatever else is in the batch.
    """

    makes: frozenset[Making]

    def modules(self) -> Mapping[str, nn.Module]:
        """Every network, averages included."""

    def sampling_modules(self) -> Mapping[str, nn.Module]:
        """The networks that sampling needs."""

    def optimizers(self) -> Mapping[str, Optimizer]:
        """Every optimiser."""

    def numbers(self) -> dict[str, Any]:
        """JSON-like state beside the tensors."""

    def restore_numbers(self, numbers: Mapping[str, Any]) -> None:
        """Take `numbers` of a checkpoint back."""

    def step(self, batch: Batch, random: np.random.Generator, progress: float) -> dict[str, float]:
        """One update of all networks; returns losses for the log."""

    def sample(self, labels: Tensor, seeds: Sequence[int]) -> Tensor:
        """One image per label mask.

        Args:
            labels: int64 "batch height width", 255 unknown: there the model chooses. A mask that
                is unknown everywhere asks for an unconditional sample.
            seeds: one per mask; neither the global random state nor batch mates matter.

        Returns:
            float32 "batch 3 height width", 0 … 1.
        """


@runtime_checkable
class SharesGenerator(Protocol):
    """A generator that may be asked for class shares where no mask is given."""

    takes_shares: bool
    """Whether it was built to."""

    def sample_shares(self, shares: Tensor, seeds: Sequence[int]) -> Tensor:
        """Images "batch 3 height width", 0 … 1, one per row of shares "batch class", sum 1."""


@runtime_checkable
class PairGenerator(Protocol):
    """A generator that may make image and mask together."""

    def sample_pairs(
        self, seeds: Sequence[int], shares: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Images "batch 3 height width", 0 … 1, and int64 labels "batch height width"."""


@runtime_checkable
class Guidable(Protocol):
    """A generator that a segmenter's gradient may steer while it samples."""

    def guide_by(self, guide: Guide) -> None:
        """Take the segmenter."""


@runtime_checkable
class FeatureMatcher(Protocol):
    """A generator that may learn to match real images in the features of the project's labeller."""

    def match_by(self, maps: FeatureMaps) -> None:
        """Take the labeller's encoder."""


@runtime_checkable
class Teacher(Protocol):
    """A generator that a faster one may learn from once it is trained."""

    def student(self) -> "Generator | None":
        """The untrained student; None where the settings ask for none."""

    def teach(self, student: Any, train: TrainRows, folder: Path, seed: int) -> None:  # noqa: ANN401
        """Hand the student weights and examples, which are made in `folder` and survive a kill."""


@runtime_checkable
class LayoutGenerator(Protocol):
    """Makes label masks with asked-for class shares; trained as a `Generator` is.

    The same target and seed give the same mask, but for a few pixels that rounding may move between
    batches of other sizes.
    """

    makes: frozenset[Making]
    """Empty: no images."""

    def modules(self) -> Mapping[str, nn.Module]:
        """Every network, averages included."""

    def sampling_modules(self) -> Mapping[str, nn.Module]:
        """The networks that sampling needs."""

    def optimizers(self) -> Mapping[str, Optimizer]:
        """Every optimiser."""

    def numbers(self) -> dict[str, Any]:
        """JSON-like state beside the tensors."""

    def restore_numbers(self, numbers: Mapping[str, Any]) -> None:
        """Take `numbers` of a checkpoint back."""

    def step(self, batch: Batch, random: np.random.Generator, progress: float) -> dict[str, float]:
        """One update of all networks on the batch's labels; returns losses for the log."""

    def completed_targets(
        self,
        targets: Sequence[Float64Array],
        seeds: Sequence[int],
        names: tuple[str, ...] | None = None,
    ) -> Float64Array:
        """Full targets "mask class" of sparse ones, as training masks with such shares have it."""

    def masks(
        self,
        targets: Sequence[Float64Array],
        seeds: Sequence[int],
        names: tuple[str, ...] | None = None,
        *,
        exact: bool = True,
    ) -> list[LabelMask]:
        """One mask per target.

        Args:
            targets: shares per class, "class", 0 … 1; NaN leaves a class free.
            seeds: one per mask; neither the global random state nor batch mates matter.
            names: of the classes, for messages.
            exact: meet the completed target to the pixel.

        Returns:
            Labels "height width" without unknown pixels.
        """
