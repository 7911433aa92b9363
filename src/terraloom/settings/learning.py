"""Tables about learning: one training, the labeller, and the benchmark."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from terraloom.settings._section import Section

LEAST_PART: Final = 64
"""Smallest crop in pixels of larger patches: two pixels for encoders that halve five times."""


class TrainingSettings(Section):
    """One training of a segmenter, counted in images."""

    images: int = Field(default=16_000, ge=1)
    """Images seen in all: updates times batch."""
    epochs: float | None = Field(default=None, gt=0)
    """Passes over the real training rows, which then decide `images`; left out, `images` does."""
    batch_size: int = Field(default=32, ge=2)
    """Images per update."""
    crop_size: int = Field(default=64, ge=32, multiple_of=32)
    """Side of the random crops in pixels; at most the patch size, and below 64 equal to it."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Peak rate of AdamW."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Of AdamW."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    loss: Literal["dice", "ce", "dice+ce", "focal"] = "dice+ce"
    """Dice is the paper's; all are weighted by the trust map."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: in cross-entropy and focal loss a class weighs by one over the root of its share of
    the training pixels."""
    warm_up: float = Field(default=0.03, ge=0, lt=1)
    """Share of the training over which the rate rises to its peak."""
    accumulate: int = Field(default=1, ge=1)
    """Pieces that a batch is computed in, for devices of little memory. Batch norm and Dice then
    look at a piece, so the result is not quite that of the whole batch."""
    compile: bool = False
    """Let torch compile the network: pays on GPUs, hardly on CPUs."""
    schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    """Cosine after a short warm-up; plateau lowers the rate where val stops improving."""
    normalise: Literal["data", "imagenet"] = "data"
    """What images are standardised by: mean and deviation of the training rows, or those of
    ImageNet, as published. Kept with the model, so that all that use it do the same."""
    augment: Literal["none", "paper", "strong"] = "paper"
    """paper: flips, quarter turns, brightness and contrast; strong adds scale, colour, noise."""
    checks: int = Field(default=8, ge=1)
    """Evaluations on val; the best one's weights are kept."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after so many checks without gain; left out, train to the end."""
    ema: float = Field(default=0.995, ge=0, lt=1)
    """Decay of the averaged weights that are evaluated and kept; 0 turns averaging off."""

    def budget(self, rows: int) -> int:
        """Images seen in all, where there are so many real training rows."""
        return self.images if self.epochs is None else max(1, round(self.epochs * rows))

    def decided(self, rows: int) -> "TrainingSettings":
        """The same training with its images counted, where there are so many real training rows."""
        return self.model_copy(update={"images": self.budget(rows), "epochs": None})


PAPER_TRAINING: Final[Mapping[str, Any]] = {
    "epochs": 20,
    "batch_size": 24,
    "crop_size": 256,
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
    "clip_norm": 1.0,
    "loss": "dice",
    "warm_up": 0.0,
    "schedule": "plateau",
    "normalise": "imagenet",
    "augment": "paper",
    "checks": 20,
    "patience": 5,
    "ema": 0.0,
}
"""The published recipe: 20 epochs of batch 24, AdamW 1e-3, clipped at 1, Dice, plateau (patience 3,
factor 0.1) on macro F1, early stop after 5, ImageNet normalisation, flips, quarter turns,
brightness and contrast."""


def _with_preset(raw: Any) -> Any:  # noqa: ANN401 - whatever the file holds
    """`preset = "paper"` sets the published recipe; keys that are given win."""
    if not isinstance(raw, Mapping) or raw.get("preset") != "paper":
        return raw
    given = raw.get("training", {})
    if isinstance(given, TrainingSettings):
        given = given.model_dump(exclude_unset=True)
    if not isinstance(given, Mapping):
        return raw
    published = dict(PAPER_TRAINING)
    if "images" in given:
        published.pop("epochs")
    return {**raw, "training": {**published, **given}}


class SegmentSettings(Section):
    """The segmenter that labels and measures."""

    architecture: str = "unet"
    """A member of segmenters; its options stand under [segmenters.<name>]."""
    preset: Literal["small", "paper"] = "small"
    """small: MobileNetV3 encoder from scratch, for CPUs; paper: EfficientNet-B7 with ImageNet
    weights and the published recipe of training, where its keys are not given."""
    training: TrainingSettings = TrainingSettings()
    """Budget and recipe."""
    members: int = Field(default=1, ge=1, le=16)
    """Labellers of other seeds that label together; each costs a training."""
    noise_folds: int = Field(default=0, ge=0, le=20)
    """Folds of train places on which the labeller's label noise is estimated, each with a training
    of its own; 0 leaves the estimate out."""

    _published = model_validator(mode="before")(_with_preset)

    @field_validator("noise_folds")
    @classmethod
    def _two_or_none(cls, value: int) -> int:
        if value == 1:
            raise ValueError("one fold leaves nothing to train on; use 0 or at least 2")
        return value


class BenchmarkSettings(Section):
    """Does the synthetic data help? Arms by architectures by seeds."""

    architectures: tuple[str, ...] = ("unet",)
    """Members of segmenters."""
    preset: Literal["small", "paper"] = "small"
    """As in [segment]."""
    arms: tuple[str, ...] = ("real", "real-strong", "synthetic", "real+both")
    """Of real, real-strong, synthetic, real+conditional, real+unconditional, real+both, unfiltered,
    random-curated-size, relabel, more-real; with an amount such as real+both@0.5x or real@25%."""
    ratios: tuple[Annotated[float, Field(gt=0, le=100)], ...] = ()
    """Synthetic rows per real row, such as [0.25, 0.5, 1, 2, 3]: one arm real+both@…x for each."""
    sizes: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    """Shares of the real places, such as [0.1, 0.25, 0.5]: the arms real@…% and real+both@…% for
    each. Generators and labeller have seen all places, unless split.held_back_share hides some."""
    seeds: int = Field(default=3, ge=1)
    """Segmenter seeds per arm; at least 3 for a figure that is shown, 5 for a claim. With 1 there
    is no spread, but that of the seeds of `terraloom cross-validate`."""
    training: TrainingSettings = TrainingSettings()
    """The same for every arm: only the rows differ."""
    draws: int = Field(default=10_000, ge=100)
    """Bootstrap draws over places and seeds."""

    _published = model_validator(mode="before")(_with_preset)

    @property
    def every_arm(self) -> tuple[str, ...]:
        """Arms by name, those of ratios and sizes included."""
        curve = [f"real+both@{ratio:g}x" for ratio in self.ratios]
        for size in self.sizes:
            curve += [f"real@{100 * size:g}%", f"real+both@{100 * size:g}%"]
        return tuple(dict.fromkeys([*self.arms, *curve]))
