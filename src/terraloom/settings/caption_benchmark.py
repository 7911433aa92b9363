"""[caption_benchmark]: which captioners are trained, how long, and how they are compared."""

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from terraloom.arms import ARMS
from terraloom.settings._section import Section

SMALL: Final = "small"
"""The network that is built from `[caption_benchmark.network]` and starts from nothing."""
TRAINING_RATE: Final = 240.0
"""Images of 64 pixels that the small network trains on per second of one core, for `--dry-run`."""
CAPTIONED: Final = frozenset({"real", "conditional", "unconditional", "unfiltered", "candidates"})
"""Kinds of rows that carry captions of their own."""


class CaptionTrainingSettings(Section):
    """One training of a captioner, counted in images."""

    images: int = Field(default=16_000, ge=1)
    """Images seen in all: updates times batch; each with one of its captions, drawn."""
    batch_size: int = Field(default=16, ge=1)
    """Images per update."""
    image_size: int = Field(default=64, ge=16)
    """Side in pixels that whole images are brought to: a caption tells of all of it, so nothing is
    cropped. A pretrained model has its own."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """Peak rate of AdamW; a pretrained model wants about 5e-5."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Of AdamW."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    warm_up: float = Field(default=0.05, ge=0, lt=1)
    """Share of the training over which the rate rises to its peak; it falls by a cosine then."""
    augment: Literal["none", "paper", "strong"] = "paper"
    """Brightness and contrast alone: a caption tells places, so no image is flipped or turned. The
    arm real-strong takes strong (colour and noise as well) in any case."""
    checks: int = Field(default=8, ge=1)
    """Evaluations on val; the weights with the smallest loss are kept."""


class CaptionNetworkSettings(Section):
    """The small network: a vision transformer and a GPT-2 decoder that looks at it."""

    width: int = Field(default=64, ge=8)
    """Of both parts; a multiple of heads."""
    heads: int = Field(default=4, ge=1)
    """Of attention."""
    encoder_layers: int = Field(default=2, ge=1)
    """Of the vision transformer."""
    decoder_layers: int = Field(default=2, ge=1)
    """Of the decoder."""
    patch: int = Field(default=8, ge=2)
    """Side in pixels of a patch that the encoder takes as one; image_size is a multiple of it."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """In both parts."""
    vocabulary: int = Field(default=4000, ge=8)
    """Most words that are learned, the commonest of the arm's training captions."""
    max_words: int = Field(default=60, ge=4)
    """Longest caption in words and signs, learned and written."""


class CaptionBenchmarkSettings(Section):
    """Does the synthetic data help a captioner? Off unless arms are named."""

    arms: tuple[str, ...] = ()
    """Of real, real-strong, synthetic, real+conditional, real+unconditional, real+both, unfiltered,
    random-curated-size; at least one control. None: the stage does nothing."""
    seeds: Annotated[int, Field(ge=2)] = 3
    """Trainings per arm; at least 3 for a figure that is shown, 5 for a claim."""
    model: str = SMALL
    """small, or folder or id of a pretrained VisionEncoderDecoderModel with safetensors."""
    revision: str | None = None
    """Branch, tag or commit of an id."""
    training: CaptionTrainingSettings = CaptionTrainingSettings()
    """The same for every arm: only the rows differ."""
    network: CaptionNetworkSettings = CaptionNetworkSettings()
    """The small network."""
    beams: int = Field(default=1, ge=1, le=16)
    """1 writes greedily; more search for the likeliest caption."""
    draws: int = Field(default=10_000, ge=100)
    """Bootstrap draws over places and seeds."""

    @model_validator(mode="after")
    def _trainable(self) -> "CaptionBenchmarkSettings":
        able = [name for name, arm in ARMS.items() if set(arm.rows) <= CAPTIONED]
        for name in self.arms:
            if name not in able:
                raise ValueError(f"there is no arm {name!r}; there are: {', '.join(able)}")
        if len(set(self.arms)) < len(self.arms):
            raise ValueError(f"arms names one twice: {', '.join(self.arms)}")
        if self.arms and not any(ARMS[name].is_control for name in self.arms):
            raise ValueError("arms needs a control to compare with: add 'real' or 'real-strong'")
        if self.network.width % self.network.heads:
            raise ValueError(
                f"network.width = {self.network.width} is no multiple of network.heads = "
                f"{self.network.heads}"
            )
        if self.model == SMALL and self.training.image_size % self.network.patch:
            raise ValueError(
                f"training.image_size = {self.training.image_size} is no multiple of "
                f"network.patch = {self.network.patch}"
            )
        return self

    @property
    def is_on(self) -> bool:
        """Whether any arm is named."""
        return bool(self.arms)
