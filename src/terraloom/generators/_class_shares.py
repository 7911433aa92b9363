"""Class shares as a wish: remembered from crops, completed where sparse, met to the pixel."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from terraloom.classes import ClassTable
from terraloom.errors import SettingsError
from terraloom.types import Float64Array, LabelMask

_NEAREST: Final = 16
"""Training crops that a sparse target is completed from, one of them per seed."""
_ROUND: Final = 1e-6
"""Sums of shares may be off by this much."""
_SWEEPS: Final = 60
"""Most rounds over the classes in which offsets are fitted."""


class SharesMemory(nn.Module):
    """Class shares of the training crops seen last, as buffers, so that checkpoints keep them."""

    shares: Tensor
    count: Tensor

    def __init__(self, num_classes: int, length: int) -> None:
        super().__init__()
        self.register_buffer("shares", torch.zeros(length, num_classes))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def remember(self, shares: Tensor) -> None:
        """Keep these shares, "batch class", in place of the oldest."""
        start = int(self.count)
        places = torch.arange(start, start + len(shares), device=shares.device) % len(self.shares)
        self.shares[places] = shares
        self.count += len(shares)

    def known(self) -> Tensor:
        """What is remembered, "crop class"; one row of even shares before any crop was seen."""
        kept = self.shares[: min(int(self.count), len(self.shares))]
        return kept if len(kept) else torch.full_like(self.shares[:1], 1 / self.shares.shape[1])


def shares_target(wanted: Mapping[str, float], classes: ClassTable) -> Float64Array:
    """A target by names as a vector: "class", NaN where nothing is asked for.

    Args:
        wanted: share per class name, 0 … 1; classes left out are free.
        classes: class table.

    Raises:
        SettingsError: a name is no class, a share is no number from 0 to 1, the shares sum beyond
            1, or every class is named and they sum to less.
    """
    target = np.full(len(classes), np.nan)
    for name, share in wanted.items():
        if name not in classes.names:
            near = get_close_matches(name, classes.names, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise SettingsError(
                f"a share of {name!r} was asked for, which is no class; there are: "
                f"{', '.join(classes.names)}.{hint}"
            )
        target[classes.names.index(name)] = float(share)
    check_target(target, classes.names)
    return target


def check_target(target: Float64Array, names: tuple[str, ...] | None = None) -> None:
    """Raise where no mask could have these shares; see `shares_target`."""
    known = ~np.isnan(target)
    told = ", ".join(
        f"{names[label] if names else f'class {label}'} = {target[label]:g}"
        for label in np.flatnonzero(known)
    )
    if (target[known] < 0).any() or (target[known] > 1).any():
        raise SettingsError(
            f"shares must lie between 0 and 1, asked for: {told}. Give each as a part of one."
        )
    total = float(target[known].sum())
    if total > 1 + _ROUND:
        raise SettingsError(
            f"the shares asked for sum to {total:g}: {told}. Lower some until they "
            "sum to 1 at most."
        )
    if known.all() and total < 1 - _ROUND:
        raise SettingsError(
            f"every class is given a share, and they sum to {total:g}, not to 1: {told}. "
            "Leave a class out, and it takes the rest."
        )


def completed(
    target: Float64Array,
    memory: Float64Array,
    random: np.random.Generator,
    names: tuple[str, ...] | None = None,
) -> Float64Array:
    """A full target: classes left free get what is left, divided as in a training crop like it.

    One of the 16 training crops that come nearest in the shares that were asked for is drawn; the
    rest is divided in its proportions. Nothing asked for draws a crop's shares as they are.

    Args:
        target: "class", NaN where free.
        memory: shares of training crops, "crop class".
        random: stream of the draw.
        names: of the classes, for the message.

    Returns:
        "class", with the sum 1; asked shares are kept as they are.

    Raises:
        SettingsError: the target is impossible, a class with a share is in no training crop, or
            only such classes are left for the rest.
    """
    check_target(target, names)
    asked = ~np.isnan(target)
    seen = memory.max(axis=0) > 0
    absent = asked & (np.nan_to_num(target) > 0) & ~seen
    if absent.any():
        label = int(np.flatnonzero(absent)[0])
        there = [names[i] if names else f"class {i}" for i in np.flatnonzero(seen)]
        name = names[label] if names else f"class {label}"
        raise SettingsError(
            f"{target[label]:g} of {name} was asked for, but no training mask shows it, so its "
            f"shapes are not known. There are: {', '.join(there)}."
        )
    rest = 1 - float(np.nansum(target))
    full = np.where(asked, target, 0.0)
    if rest <= _ROUND:
        whole: Float64Array = full / full.sum()
        return whole
    apart = np.abs(memory[:, asked] - target[asked]).max(axis=1, initial=0.0)
    # Without a wish every crop is as near as any other.
    near = np.argsort(apart, kind="stable")[: _NEAREST if asked.any() else len(memory)]
    proportions = np.where(asked, 0.0, memory[near[int(random.integers(len(near)))]])
    if proportions.sum() <= _ROUND:  # that crop shows nothing but what was asked for
        proportions = np.where(asked, 0.0, memory.mean(axis=0))
    if proportions.sum() <= 0:
        raise SettingsError(
            f"the shares asked for leave {rest:g} to other classes, but training masks show none. "
            "Raise the shares until they sum to 1."
        )
    result: Float64Array = full + rest * proportions / proportions.sum()
    return result


def pixel_counts(shares: Float64Array, pixels: int) -> list[int]:
    """Whole numbers of pixels per class with the sum `pixels`, by the largest remainders."""
    exact = shares / shares.sum() * pixels
    counts = np.floor(exact).astype(int)
    short = pixels - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:short]] += 1
    return [int(count) for count in counts]


def assign_exactly(scores: Float64Array, counts: list[int]) -> LabelMask:
    """The labels of highest total score among those with exactly so many pixels per class.

    An offset per class shifts its scores until the best class of each pixel gives these counts. The
    offsets are prices of an optimal transport between pixels and classes, found one class at a
    time: the quantile of the margins by which pixels prefer it. Pixels move where they hesitate
    most, so patches grow and shrink at their borders.

    Args:
        scores: "height width class", such as logarithms of probabilities.
        counts: pixels per class, with the sum height × width.

    Returns:
        Labels "height width"; the counts hold exactly. The sum of scores is the highest but for
        ties and the pixels that the last sweep left over, which move by the least loss.
    """
    height, width, num_classes = scores.shape
    flat = scores.reshape(-1, num_classes).astype(np.float64)
    used = [label for label in range(num_classes) if counts[label] > 0]
    offsets = np.full(num_classes, -np.inf)
    offsets[used] = 0.0
    labels = (flat + offsets).argmax(axis=1)
    for _ in range(_SWEEPS):
        if all((labels == label).sum() == counts[label] for label in used):
            break
        for label in used:
            if counts[label] == len(flat):
                continue
            others = flat + offsets
            others[:, label] = -np.inf
            margin = np.sort(flat[:, label] - others.max(axis=1))[::-1]
            cut = counts[label]
            offsets[label] = -(margin[cut - 1] + margin[cut]) / 2
        labels = (flat + offsets).argmax(axis=1)
    _settle(labels, flat + offsets, counts)
    mask: LabelMask = labels.reshape(height, width).astype(np.uint8)
    return mask


def _settle(labels: np.ndarray, scores: Float64Array, counts: list[int]) -> None:
    """Move pixels of classes that have too many to those that have too few, cheapest first."""
    spare = np.bincount(labels, minlength=len(counts)) - np.array(counts)
    for label in np.flatnonzero(spare < 0):
        places = np.flatnonzero(spare[labels] > 0)
        loss = scores[places, labels[places]] - scores[places, label]
        for place in places[np.argsort(loss, kind="stable")]:
            if spare[label] == 0:
                break
            if spare[labels[place]] > 0:
                spare[labels[place]] -= 1
                spare[label] += 1
                labels[place] = label
