"""PAN (Li et al. 2018): pyramid attention; needs crops of at least 128 pixels."""

from typing import Final

from terraloom.segmenters._face import EncoderSettings, Preset, Segmenter
from terraloom.segmenters._pytorch import build_segmenter
from terraloom.types import Channels

TRAINING_RATE: Final = 110.0
"""Crops of 64 pixels per second on two CPU cores with the small preset, for estimates of time."""

MIN_CROP_SIZE: Final = 128
"""Smallest crop in pixels that it can be trained on."""


class Settings(EncoderSettings):
    """Options of `[segmenters.pan]`."""


def build(
    settings: Settings, preset: Preset, num_classes: int, mean: Channels, std: Channels
) -> Segmenter:
    """The network; see `build_segmenter`."""
    return build_segmenter(
        "PAN", settings, preset, num_classes, mean, std, min_crop_size=MIN_CROP_SIZE
    )
