"""Building the paper's architectures through segmentation_models_pytorch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from terraloom.errors import SettingsError, WeightsUnavailable
from terraloom.learning._torchvision_repair import repair_torchvision
from terraloom.segmenters._face import EncoderSettings, Preset, Segmenter
from terraloom.segmenters._group_norm import use_group_norm
from terraloom.types import Channels

_PRESETS: Final[Mapping[Preset, tuple[str, str]]] = {
    "small": ("tu-mobilenetv3_small_100", "none"),
    "paper": ("efficientnet-b7", "imagenet"),
}
SMALL_DECODER: Final = (96, 64, 48, 32, 16)
_WAYS_OUT: Final = (
    'weights = "/path/to/encoder.safetensors"; train from scratch, weights = "none"; '
    'or use preset = "small".'
)


def build_segmenter(
    architecture: str,
    settings: EncoderSettings,
    preset: Preset,
    num_classes: int,
    mean: Channels,
    std: Channels,
    *,
    min_crop_size: int = 32,
    options: Mapping[str, Any] | None = None,
) -> Segmenter:
    """A segmenter with random (seeded by torch's state) or pretrained weights.

    Args:
        architecture: name of the class in segmentation_models_pytorch.
        settings: encoder and weights; what is left out comes from the preset.
        preset: "small" or "paper".
        num_classes: output channels.
        mean: of the training images per channel, 0 … 1.
        std: as `mean`.
        min_crop_size: smallest crop that the architecture takes.
        options: further arguments of the class.

    Raises:
        WeightsUnavailable: pretrained weights can be neither loaded nor downloaded.
        SettingsError: there is no such encoder.
    """
    repair_torchvision()
    import segmentation_models_pytorch as smp

    encoder = settings.encoder or _PRESETS[preset][0]
    weights = settings.weights or _PRESETS[preset][1]
    if settings.norm == "group" and weights != "none":
        raise SettingsError(
            f'norm = "group" and weights = {weights!r}: pretrained weights were trained with '
            'another norm. Use norm = "batch", or weights = "none".'
        )
    named = weights if weights not in ("none",) and not weights.endswith(".safetensors") else None
    try:
        network: nn.Module = getattr(smp, architecture)(
            encoder_name=encoder,
            encoder_weights=named,
            in_channels=3,
            classes=num_classes,
            **(options or {}),
        )
    except (KeyError, ValueError) as error:
        raise SettingsError(
            f"{architecture} cannot be built with encoder {encoder!r}, weights {weights!r}: {error}"
        ) from error
    except Exception as error:
        if named is None:
            raise
        # Every hub client raises its own kinds where it finds no network.
        raise WeightsUnavailable(
            f"the {weights!r} weights of {encoder} could not be downloaded "
            f"({type(error).__name__}). Ways out: give a local file, "
            f"{_WAYS_OUT}"
        ) from error
    if weights.endswith(".safetensors"):
        _load_encoder(network, Path(weights))
    if settings.norm == "group":
        use_group_norm(network)
    return Segmenter(network, mean, std, min_crop_size)


def _load_encoder(network: nn.Module, path: Path) -> None:
    if not path.is_file():
        raise WeightsUnavailable(
            f"the encoder weights {path} do not exist. Ways out: give another file, {_WAYS_OUT}"
        )
    try:
        network.encoder.load_state_dict(load_file(path))  # type: ignore[operator, union-attr]
    except (RuntimeError, SafetensorError) as error:
        # Torch lists every tensor on a line of its own; the first few tell enough.
        told = " ".join(str(error).split())[:240]
        raise WeightsUnavailable(
            f"{path} does not fit the encoder: {told} Ways out: give another file, {_WAYS_OUT}"
        ) from error
