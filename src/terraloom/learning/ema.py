"""Averaged weights."""

import copy
from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def averaged_copy(network: Network) -> Network:
    """A copy of the network that is never trained itself."""
    twin = copy.deepcopy(network)
    return twin.requires_grad_(False).eval()


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, updates: int) -> None:
    """Move the average toward the network; buffers (such as batch statistics) are copied.

    Args:
        average: made with `averaged_copy`.
        network: just updated.
        decay: weight of the past per update; ramped up over the first updates, so that the random
            start is forgotten: decay' = min(decay, (1 + n) / (10 + n)) after n updates.
        updates: number of updates so far (n).
    """
    effective = min(decay, (1 + updates) / (10 + updates))
    for target, source in zip(average.parameters(), network.parameters(), strict=True):
        target.lerp_(source, 1 - effective)
    for kept, fresh in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(fresh)
