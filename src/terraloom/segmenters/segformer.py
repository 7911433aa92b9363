"""SegFormer head (Xie et al. 2021): all stages mixed by a light decoder."""

from typing import Final

from terraloom.segmenters._face import EncoderSettings, Preset, Segmenter
from terraloom.segmenters._pytorch import build_segmenter
from terraloom.types import Channels

TRAINING_RATE: Final = 93.0
"""Crops of 64 pixels per second on two CPU cores with the small preset, for estimates of time."""


class Settings(EncoderSettings):
    """Options of `[segmenters.segformer]`."""


def build(
    settings: Settings, preset: Preset, num_classes: int, mean: Channels, std: Channels
) -> Segmenter:
    """The network; see `build_segmenter`."""
    return build_segmenter("Segformer", settings, preset, num_classes, mean, std)
