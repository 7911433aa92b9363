"""A perceptual distance between images, in the feature maps of whatever encoder is at hand."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from terraloom.fidelity.encoders import timm_encoder
from terraloom.generators._face import FeatureMaps

_EPSILON: Final = 1e-6


def perceptual_distance(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Mean over stages of the squared distance between unit vectors of features at each place.

    LPIPS (Zhang et al. 2018, arXiv 1801.03924, eq. 1) without learned weights: directions alone
    count, so that stages of any scale weigh alike; from 0 to 4.

    Args:
        found: maps "batch channel height width" per stage, of made images.
        wanted: the same of real ones; no gradient reaches them.
    """
    apart = [
        (_unit(a) - _unit(b.detach())).square().sum(dim=1).mean()
        for a, b in zip(found, wanted, strict=True)
    ]
    return torch.stack(apart).mean()


def timm_maps(network: str, weights: str, device: torch.device) -> FeatureMaps:
    """Feature maps by a network of timm; see `fidelity.encoders.timm_encoder` for what it takes.

    Raises:
        SettingsError: timm knows no such network.
        WeightsUnavailable: its weights can be neither loaded nor downloaded.
    """
    return timm_encoder(network, weights, device).stages


def _unit(maps: Tensor) -> Tensor:
    maps = maps.float()
    return maps / (maps.square().sum(dim=1, keepdim=True) + _EPSILON).sqrt()
