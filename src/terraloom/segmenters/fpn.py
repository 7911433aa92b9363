"""FPN (Kirillov et al. 2019): a feature pyramid, summed."""

from typing import Final

from terraloom.segmenters._face import EncoderSettings, Preset, Segmenter
from terraloom.segmenters._pytorch import build_segmenter
from terraloom.types import Channels

TRAINING_RATE: Final = 100.0
"""Crops of 64 pixels per second on two CPU cores with the small preset, for estimates of time."""


class Settings(EncoderSettings):
    """Options of `[segmenters.fpn]`."""


def build(
    settings: Settings, preset: Preset, num_classes: int, mean: Channels, std: Channels
) -> Segmenter:
    """The network; see `build_segmenter`."""
    return build_segmenter("FPN", settings, preset, num_classes, mean, std)
