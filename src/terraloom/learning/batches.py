"""Batches drawn and augmented from addressed streams: same step, same batch, in any process.

Every image of a batch has a stream of its own, drawn from the step's, so an image does not depend
on its batch-mates, on the order in which they are made, or on who makes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from terraloom.dataset.rows import TrainRows
from terraloom.types import ImageU8, LabelMask, TrustMap

Augment = Literal["none", "geometry", "paper", "strong"]


@dataclass(frozen=True)
class Batch:
    """Tensors of one update."""

    images: Tensor
    """float32 "batch 3 height width", 0 … 1."""
    labels: Tensor
    """int64 "batch height width", 255 unknown."""
    trust: Tensor
    """float32 "batch height width", 0 … 1."""
    ids: tuple[str, ...] = ()
    """Samples that the images were cropped from."""


def draw_batch(
    rows: TrainRows,
    batch_size: int,
    crop_size: int,
    augment: Augment,
    random: np.random.Generator,
    part: slice = slice(None),
) -> Batch:
    """Random crops of random rows, turned and flipped, then changed in brightness.

    Args:
        rows: drawn evenly, with replacement.
        batch_size: crops.
        crop_size: side in pixels; every row is at least as large.
        augment: "none" crops only; "geometry" adds flips and quarter turns; "paper" adds brightness
            and contrast by up to 20 % in 3 of 10 images; "strong" changes brightness, contrast,
            colour and scale (0.7 … 1.4) of every image and adds noise.
        random: the step's stream.
        part: of the batch that is made; its images are those that the whole batch holds there.
    """
    seeds = random.integers(1 << 63, size=batch_size)[part]
    return batch_of(rows, [int(seed) for seed in seeds], crop_size, augment)


def batch_of(rows: TrainRows, seeds: Sequence[int], crop_size: int, augment: Augment) -> Batch:
    """One image per seed; see `draw_batch`. Part of the seeds gives that part of the batch."""
    images, labels, trusts, ids = [], [], [], []
    streams = [np.random.default_rng(seed) for seed in seeds]
    for random in streams:
        row = rows[int(random.integers(len(rows)))]
        trust = row.trust if row.trust is not None else np.full_like(row.mask, 255)
        image, mask, weight = _crop(row.image, row.mask, trust, crop_size, augment, random)
        if augment != "none":
            image, mask, weight = _turn(image, mask, weight, random)
        images.append(image)
        labels.append(mask)
        trusts.append(weight)
        ids.append(row.id)
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().div_(255.0)
    if augment in ("paper", "strong"):
        pixels = change_radiometry(pixels, augment, streams)
    return Batch(
        pixels.contiguous(memory_format=torch.channels_last),
        torch.from_numpy(np.stack(labels)).long(),
        torch.from_numpy(np.stack(trusts)).float().div_(255.0),
        tuple(ids),
    )


def image_tensor(images: list[ImageU8]) -> Tensor:
    """Images of one size as float32 "batch 3 height width", 0 … 1, channels last in memory."""
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().div_(255.0)
    return pixels.contiguous(memory_format=torch.channels_last)


def _crop(
    image: ImageU8,
    mask: LabelMask,
    trust: TrustMap,
    size: int,
    augment: Augment,
    random: np.random.Generator,
) -> tuple[ImageU8, LabelMask, TrustMap]:
    height, width = mask.shape
    side = size
    if augment == "strong":
        # A crop of another size, brought to `size`: scale 0.7 … 1.4, bounded by the row.
        side = round(size / random.uniform(0.7, 1.4))
        side = max(16, min(side, height, width))
    top = int(random.integers(height - side + 1))
    left = int(random.integers(width - side + 1))
    rows, columns = slice(top, top + side), slice(left, left + side)
    image, mask, trust = image[rows, columns], mask[rows, columns], trust[rows, columns]
    if side == size:
        return image, mask, trust
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    resized = F.interpolate(pixels, (size, size), mode="bilinear", align_corners=False)
    pick = (np.arange(size) + 0.5) * side / size
    nearest = np.minimum(pick.astype(np.intp), side - 1)
    return (
        resized[0].permute(1, 2, 0).round().to(torch.uint8).numpy(),
        mask[np.ix_(nearest, nearest)],
        trust[np.ix_(nearest, nearest)],
    )


def _turn(
    image: ImageU8, mask: LabelMask, trust: TrustMap, random: np.random.Generator
) -> tuple[ImageU8, LabelMask, TrustMap]:
    turns, flip = int(random.integers(4)), bool(random.integers(2))
    turned = [np.rot90(a, turns) for a in (image, mask, trust)]
    if flip:
        turned = [a[:, ::-1] for a in turned]
    first, second, third = (np.ascontiguousarray(a) for a in turned)
    return first, second, third


def change_radiometry(
    pixels: Tensor, augment: Augment, streams: Sequence[np.random.Generator]
) -> Tensor:
    """Images changed in brightness and contrast ("strong": colour and noise too), see `draw_batch`.

    Args:
        pixels: float32 "batch 3 height width", 0 … 1.
        augment: "paper" or "strong".
        streams: one per image.
    """
    strength = 0.2 if augment == "paper" else 0.3
    # Per image: whether it is changed, contrast, brightness, and the gain of three channels.
    drawn = np.array([random.random(6) for random in streams], dtype=np.float32)
    apply = drawn[:, 0] < (0.3 if augment == "paper" else 1.0)

    def factors(columns: slice, low: float, high: float, neutral: float) -> Tensor:
        values = low + (high - low) * drawn[:, columns]
        values[~apply] = neutral
        return torch.from_numpy(values)[:, :, None, None]

    contrast = factors(slice(1, 2), 1 - strength, 1 + strength, 1.0)
    brightness = factors(slice(2, 3), -strength / 2, strength / 2, 0.0)
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    pixels = (pixels - mean) * contrast + mean + brightness
    if augment == "strong":
        pixels = pixels * factors(slice(3, 6), 0.9, 1.1, 1.0)
        shape = pixels.shape[1:]
        noise = np.stack(
            [
                random.uniform(0.0, 0.03) * random.standard_normal(shape, dtype=np.float32)
                for random in streams
            ]
        )
        pixels = pixels + torch.from_numpy(noise.astype(np.float32))
    return pixels.clamp_(0.0, 1.0)
