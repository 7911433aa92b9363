"""Pieces shared by generators: label planes and seeded noise."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from terraloom.classes import UNKNOWN
from terraloom.seeds import derive_seed


def label_planes(labels: Tensor, num_classes: int) -> Tensor:
    """Labels as float planes "batch class+1 height width"; the last plane marks unknown pixels."""
    known = torch.where(labels == UNKNOWN, num_classes, labels)
    return F.one_hot(known, num_classes + 1).movedim(-1, 1).float()


def seeded_normal(seeds: Sequence[int], shape: tuple[int, ...], name: str) -> Tensor:
    """Standard normal noise, one addressed stream per sample: "batch …", on the CPU.

    Args:
        seeds: one per sample.
        shape: of one sample's noise.
        name: of the stream, so that several draws of one sample differ.
    """
    drawn = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(derive_seed(seed, name))
        drawn.append(torch.randn(shape, generator=generator))
    return torch.stack(drawn)


def class_shares(labels: Tensor, num_classes: int) -> Tensor:
    """Share of each class among the known pixels: labels "batch height width" to "batch class".

    Rows sum to 1; a mask without a known pixel gives a row of zeros.
    """
    counts = label_planes(labels, num_classes)[:, :num_classes].sum(dim=(2, 3))
    return counts / counts.sum(dim=1, keepdim=True).clamp_min(1.0)
