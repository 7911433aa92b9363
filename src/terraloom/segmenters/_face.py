"""The face of a segmenter, and the settings that all members share."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from terraloom.types import Channels


class EncoderSettings(BaseModel):
    """Options that every architecture has."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    encoder: str | None = None
    """Any encoder of segmentation_models_pytorch or, as tu-NAME, of timm; left out, the preset's
    (small: tu-mobilenetv3_small_100, paper: efficientnet-b7)."""
    weights: str | None = None
    """"none", "imagenet", or the path of a safetensors file of encoder weights; left out, the
    preset's (small: none, paper: imagenet)."""
    norm: Literal["batch", "group"] = "batch"
    """batch: as published; group (Wu & He 2018): looks at one image at a time, so that neither the
    batch's size nor the number of devices plays a part. Needs weights = "none"."""


class DecoderSettings(EncoderSettings):
    """Options of architectures with a U-shaped decoder."""

    decoder_channels: tuple[int, ...] | None = Field(default=None, min_length=5, max_length=5)
    """Channels per decoder stage, deepest first; left out, the preset's
    (small: 96, 64, 48, 32, 16)."""


Preset = Literal["small", "paper"]


class Segmenter(nn.Module):
    """A network with its own normalisation; abstract: members fill `network`."""

    network: nn.Module
    mean: Tensor
    std: Tensor
    min_crop_size: int
    """Smallest crop that the architecture can be trained on."""

    def __init__(
        self, network: nn.Module, mean: Channels, std: Channels, min_crop_size: int
    ) -> None:
        super().__init__()
        import torch

        self.network = network
        self.min_crop_size = min_crop_size
        self.register_buffer("mean", torch.tensor(mean).float().reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).float().reshape(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits "batch class height width" of images "batch 3 height width" in 0 … 1."""
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits

    def features(self, images: Tensor) -> Tensor:
        """Pooled features of the encoder's last stage, "batch feature"."""
        pooled: Tensor = self.stages(images)[-1].mean(dim=(2, 3))
        return pooled

    def stages(self, images: Tensor) -> list[Tensor]:
        """Feature maps "batch channel height width" of the encoder's stages, finest first."""
        maps: list[Tensor] = self.network.encoder(  # type: ignore[operator]
            (images - self.mean) / self.std
        )
        return maps
