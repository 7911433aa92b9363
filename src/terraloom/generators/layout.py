"""New label masks with asked-for class shares: categorical diffusion, then exact assignment.

One-hot masks are noised as Karras et al. 2022 noise images (EDM, arXiv 2206.00364, eqs. 1-5), and a
U-Net names the class of every pixel, trained by cross-entropy: its probabilities are the expected
one-hot mask, which is the denoiser (score interpolation, Dieleman et al. 2022, arXiv 2211.15089,
section 3.1). Class shares condition the network; at the end the pixels that hesitate most are
assigned so that the shares are met to the pixel.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from pydantic import Field
from scipy import ndimage
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from terraloom.classes import UNKNOWN
from terraloom.errors import SettingsError
from terraloom.generators._class_shares import (
    SharesMemory,
    assign_exactly,
    completed,
    pixel_counts,
)
from terraloom.generators._face import DataShape, GeneratorSettings, Making
from terraloom.generators._layers import class_shares, label_planes, seeded_normal
from terraloom.generators._layout_network import LayoutUNet
from terraloom.learning.batches import Batch
from terraloom.learning.device import placed
from terraloom.learning.ema import averaged_copy, update_average
from terraloom.learning.schedule import rate_factor
from terraloom.seeds import generator_at
from terraloom.types import Float64Array, LabelMask

SAMPLES_MASKS: Final = False
"""Whether images are made for masks."""
MAKES_LAYOUTS: Final = True
"""It makes masks, no images."""
TRAINING_RATE: Final = 70.0
"""Masks of 64 pixels per second on two CPU cores at default width, for estimates of time."""
SAMPLING_RATE: Final = 10.0
"""As `TRAINING_RATE`, for sampling."""
_REMEMBERED: Final = 4096
"""Class shares of training crops that targets are completed from."""
_LEAST_KNOWN: Final = 0.5
"""Part of a crop's pixels that must be known for it to be learned from."""
_BATCH: Final = 32
_ROUNDS: Final = 3
"""Of fitting the means of expected planes to the shares."""
_TRACE: Final = 1e-6
"""Share of a class that is not there, for logarithms."""
_SHARPNESS: Final = 7.0
"""ρ of EDM's eq. 5: more steps at little noise."""


class Settings(GeneratorSettings):
    """Options of `[generators.layout]`."""

    images: int = Field(default=30_000, ge=1)
    """Masks seen in training: updates times batch."""
    batch_size: int = Field(default=8, ge=2)
    """Masks per update; small, since at short budgets many updates matter more."""
    patch: Literal[1, 2, 4] = 2
    """Pixels per side that are folded into channels: 2 works at half resolution."""
    widths: tuple[int, ...] = Field(default=(32, 64, 96), min_length=2)
    """Channels per level, finest first; multiples of 8."""
    rate: float = Field(default=1e-3, gt=0)
    """AdamW's peak rate."""
    noise_mean: float = 1.0
    """Mean of the logarithm of the noise that is trained on: patches are decided where the noise is
    several times as strong as the planes."""
    noise_deviation: float = Field(default=1.3, gt=0)
    """Deviation of that logarithm."""
    noise_range: tuple[float, float] = (0.2, 30.0)
    """Noise that sampling ends and starts with, in units of the one-hot planes."""
    steps: int = Field(default=24, ge=2)
    """Steps from noise to mask."""
    blur: float = Field(default=0.7, ge=0)
    """Pixels by which log-probabilities are smoothed before the shares are met; keeps pixels that
    are moved from lying about singly."""


class LayoutMaker:
    """Network, optimiser, loss and sampler of the method."""

    makes: frozenset[Making] = frozenset()

    def __init__(self, settings: Settings, shape: DataShape, fabric: Fabric) -> None:
        step = settings.patch * 2 ** (len(settings.widths) - 1)
        if shape.size % step:
            raise SettingsError(
                f"generators.layout halves masks down to {step} pixels at a time, which does not "
                f"divide {shape.size}. Set generate.size to a multiple of {step}, or use fewer "
                "widths or a smaller patch under [generators.layout]."
            )
        self.settings = settings
        self.size = shape.size
        self.num_classes = shape.num_classes
        self.fabric = fabric
        self.network = placed(
            LayoutUNet(settings.widths, settings.patch, shape.num_classes), fabric
        )
        self.average = averaged_copy(self.network)
        self.memory = placed(SharesMemory(shape.num_classes, _REMEMBERED), fabric)
        self._network, self.optimizer = fabric.setup(
            self.network, AdamW(self.network.parameters(), settings.rate, weight_decay=0.01)
        )
        self.updates = 0

    def modules(self) -> Mapping[str, nn.Module]:
        """The network, its average, and the shares of training crops."""
        return {"network": self.network, "average": self.average, "memory": self.memory}

    def sampling_modules(self) -> Mapping[str, nn.Module]:
        """The average, and the shares of training crops."""
        return {"average": self.average, "memory": self.memory}

    def optimizers(self) -> Mapping[str, Optimizer]:
        """The one AdamW."""
        return {"network": self.optimizer}

    def numbers(self) -> dict[str, Any]:
        """Updates so far."""
        return {"updates": self.updates}

    def restore_numbers(self, numbers: Mapping[str, Any]) -> None:
        """Take the number of updates back."""
        self.updates = int(numbers["updates"])

    def step(self, batch: Batch, random: np.random.Generator, progress: float) -> dict[str, float]:
        """One update: the network learns to name the classes under the noise."""
        known = batch.labels != UNKNOWN
        usable = known.flatten(1).float().mean(dim=1) >= _LEAST_KNOWN
        shares = class_shares(batch.labels, self.num_classes)
        self.memory.remember(self.fabric.to_device(shares[usable]))
        labels = self.fabric.to_device(batch.labels)
        filled = self.fabric.to_device(_filled(batch.labels))
        planes = label_planes(filled, self.num_classes)[:, : self.num_classes]
        level = random.standard_normal(len(labels), dtype=np.float32)
        level = self.settings.noise_mean + self.settings.noise_deviation * level
        sigma = self.fabric.to_device(torch.from_numpy(level)).exp()
        noise = torch.from_numpy(random.standard_normal(tuple(planes.shape), dtype=np.float32))
        noisy = planes + sigma[:, None, None, None] * self.fabric.to_device(noise)
        noisy = noisy.contiguous(memory_format=torch.channels_last)
        logits = self._network(noisy, sigma, self.fabric.to_device(shares))
        each = F.cross_entropy(logits.float(), labels, ignore_index=UNKNOWN, reduction="none")
        counted = (labels != UNKNOWN) & self.fabric.to_device(usable)[:, None, None]
        loss = (each * counted).sum() / counted.sum().clamp_min(1)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate * rate_factor("cosine", progress)
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.updates += 1
        update_average(self.average, self.network, self.settings.ema, self.updates)
        return {"loss": round(float(loss.detach()), 5)}

    def completed_targets(
        self,
        targets: Sequence[Float64Array],
        seeds: Sequence[int],
        names: tuple[str, ...] | None = None,
    ) -> Float64Array:
        """Full targets "mask class" of sparse ones; see `masks`."""
        memory = self.memory.known().cpu().double().numpy()
        return np.stack(
            [
                completed(target, memory, generator_at(seed, "completed"), names)
                for target, seed in zip(targets, seeds, strict=True)
            ]
        )

    @torch.inference_mode()
    def masks(
        self,
        targets: Sequence[Float64Array],
        seeds: Sequence[int],
        names: tuple[str, ...] | None = None,
        *,
        exact: bool = True,
    ) -> list[LabelMask]:
        """One mask per target; see the face.

        Args:
            targets: shares, "class", NaN where the rest may be as training masks have it.
            seeds: one per mask.
            names: of the classes, for messages.
            exact: steer toward the target and meet it to the pixel; off, masks are what the network
                says.

        Raises:
            SettingsError: a target is impossible, or asks for a class that no training mask shows.
        """
        full = self.completed_targets(targets, seeds, names)
        made: list[LabelMask] = []
        for start in range(0, len(seeds), _BATCH):
            part = full[start : start + _BATCH]
            scores = self._scores(part, seeds[start : start + _BATCH], exact)
            for shares, each in zip(part, scores, strict=True):
                if exact:
                    made.append(assign_exactly(each, pixel_counts(shares, self.size**2)))
                else:
                    made.append(each.argmax(axis=-1).astype(np.uint8))
        return made

    def _scores(self, shares: Float64Array, seeds: Sequence[int], balanced: bool) -> Float64Array:
        """Logarithms of probabilities, "mask height width class"."""
        wish = self.fabric.to_device(torch.from_numpy(shares).float())
        last, first = self.settings.noise_range
        ramp = np.linspace(first ** (1 / _SHARPNESS), last ** (1 / _SHARPNESS), self.settings.steps)
        levels = [float(level) for level in ramp**_SHARPNESS]
        start = seeded_normal(seeds, (self.num_classes, self.size, self.size), "layout")
        x = self.fabric.to_device(start * levels[0])
        x = x.contiguous(memory_format=torch.channels_last)
        for level, following in itertools.pairwise(levels):
            # EDM, eq. 3 with σ(t) = t: dx/dσ = (x − D(x; σ)) / σ, by Euler's method.
            x = x + (following - level) / level * (
                x - self._logits(x, level, wish, balanced).softmax(dim=1)
            )
        logits = self._logits(x, levels[-1], wish, balanced)
        # Logarithms are smoothed, not chances: these would be 0 in many places, and pixels that
        # are all alike would be moved by their place in memory.
        chances = logits.log_softmax(dim=1).movedim(1, -1).cpu().double().numpy()
        blur = (0.0, self.settings.blur, self.settings.blur, 0.0)
        result: Float64Array = ndimage.gaussian_filter(chances, blur, mode="nearest")
        return result

    def _logits(self, x: Tensor, level: float, shares: Tensor, balanced: bool) -> Tensor:
        """Logits whose probabilities are the expected one-hot planes behind x.

        The expected planes of a mask with known shares have these shares as their means. Balanced,
        logits are shifted per class until they do (iterative proportional fitting), all the way
        from noise to mask: few pixels are then left to be moved at the end.
        """
        sigma = torch.full((len(x),), level, device=x.device)
        logits = cast(Tensor, self.average(x, sigma, shares)).float()
        wanted = shares.clamp_min(_TRACE).log()
        for _ in range(_ROUNDS if balanced else 0):
            found = logits.softmax(dim=1).mean(dim=(2, 3)).clamp_min(_TRACE).log()
            logits = logits + (wanted - found)[:, :, None, None]
        return logits


def build(settings: Settings, shape: DataShape, fabric: Fabric) -> LayoutMaker:
    """The maker of masks with fresh weights, seeded by torch's state.

    Raises:
        SettingsError: the size cannot be halved as often as there are levels.
    """
    return LayoutMaker(settings, shape, fabric)


def _filled(labels: Tensor) -> Tensor:
    """Unknown pixels take the label of the nearest known one; masks without any become class 0."""
    if not bool((labels == UNKNOWN).any()):
        return labels
    result = []
    for mask in labels.numpy():
        unknown = mask == UNKNOWN
        if unknown.all():
            result.append(np.zeros_like(mask))
            continue
        nearest = ndimage.distance_transform_edt(
            unknown, return_distances=False, return_indices=True
        )
        result.append(mask[tuple(nearest)])
    return torch.from_numpy(np.stack(result))
