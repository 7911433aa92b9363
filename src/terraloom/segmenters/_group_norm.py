"""Group norm in place of batch norm, in any network."""

from typing import Final

from torch import nn

_PER_GROUP: Final = 8
"""Channels that share a mean, at least: with fewer, a map of one pixel would be normalised away."""
_MOST_GROUPS: Final = 32
"""As in Wu & He (2018)."""


def use_group_norm(network: nn.Module) -> None:
    """Exchange every batch norm of a network for a group norm, in place; activations stay."""
    for name, child in network.named_children():
        if not isinstance(child, nn.BatchNorm2d):
            use_group_norm(child)
            continue
        norm: nn.Module = nn.GroupNorm(
            _groups(child.num_features), child.num_features, eps=child.eps
        )
        # timm's batch norms hold dropout and activation as well.
        rest = [getattr(child, part) for part in ("drop", "act") if hasattr(child, part)]
        setattr(network, name, nn.Sequential(norm, *rest) if rest else norm)


def _groups(channels: int) -> int:
    """The largest number of equal groups, up to 32, of at least eight channels each."""
    fitting = (
        groups
        for groups in range(min(_MOST_GROUPS, channels // _PER_GROUP), 0, -1)
        if channels % groups == 0
    )
    return next(fitting, 1)
