"""U-Net (Ronneberger et al. 2015): encoder, decoder, skip connections."""

from typing import Final

from terraloom.segmenters._face import DecoderSettings, Preset, Segmenter
from terraloom.segmenters._pytorch import SMALL_DECODER, build_segmenter
from terraloom.types import Channels

TRAINING_RATE: Final = 130.0
"""Crops of 64 pixels per second on two CPU cores with the small preset, for estimates of time."""


class Settings(DecoderSettings):
    """Options of `[segmenters.unet]`."""


def build(
    settings: Settings, preset: Preset, num_classes: int, mean: Channels, std: Channels
) -> Segmenter:
    """The network; see `build_segmenter`."""
    channels = settings.decoder_channels or (SMALL_DECODER if preset == "small" else None)
    options = {"decoder_channels": channels} if channels else {}
    return build_segmenter("Unet", settings, preset, num_classes, mean, std, options=options)
