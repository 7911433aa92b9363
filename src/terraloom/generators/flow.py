"""Rectified flow on a U-Net, for a mask or freely, with classifier-free guidance.

Straight paths between noise and data after Liu et al. 2023 (arXiv 2209.03003, eqs. 1-2), times
drawn from a logit-normal (Esser et al. 2024, arXiv 2403.03206, eq. 19), guidance after Ho and
Salimans 2022 (arXiv 2207.12598, eq. 6). The network is preconditioned as Karras et al. 2022 (EDM,
arXiv 2206.00364, eq. 7 and appendix B.6) reason for denoisers, restated for velocities: what a
linear estimate knows of the velocity is added in closed form, so the network learns the rest.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from terraloom.classes import UNKNOWN
from terraloom.generators._face import DataShape, GeneratorSettings, Making
from terraloom.generators._layers import label_planes, seeded_normal
from terraloom.learning.batches import Batch
from terraloom.learning.device import placed
from terraloom.learning.ema import averaged_copy, update_average
from terraloom.learning.schedule import rate_factor

TRAINING_RATE: Final = 65.0
"""Images of 64 pixels per second on two CPU cores at default width, for estimates of time."""
SAMPLES_FREELY: Final = True
"""Whether unconditional samples are made as well."""
SAMPLING_RATE: Final = 15.0
"""As `TRAINING_RATE`, for sampling."""


class Settings(GeneratorSettings):
    """Options of `[generators.flow]`."""

    patch: Literal[1, 2, 4] = 2
    """Pixels per side that are folded into channels: 2 works at half resolution, about four times
    as fast, for a little fine detail."""
    widths: tuple[int, ...] = Field(default=(32, 64, 128), min_length=2)
    """Channels per level, finest first; multiples of 8."""
    batch_size: int = Field(default=8, ge=2)
    """Images per update; small, since many updates matter more here than smooth gradients."""
    rate: float = Field(default=1e-3, gt=0)
    """AdamW's peak rate."""
    free_share: float = Field(default=0.2, ge=0, lt=1)
    """Share of training images shown without their mask: makes unconditional samples and
    guidance possible."""
    sampler: Literal["euler", "heun"] = "heun"
    """heun takes two evaluations per step and is of second order."""
    steps: int = Field(default=8, ge=1)
    """Steps from noise to image."""
    guidance: float = Field(default=1.5, ge=1)
    """Strength of the mask: 1 none, above 1 exaggerates; costs a second evaluation."""


class FlowGenerator:
    """Network, optimiser and loss of the method."""

    makes: frozenset[Making] = frozenset({"conditional", "unconditional"})

    def __init__(self, settings: Settings, shape: DataShape, fabric: Fabric) -> None:
        self.settings = settings
        self.num_classes = shape.num_classes
        self.fabric = fabric
        # Images are standardised, so that the preconditioning may take unit variance for granted.
        self.mean = fabric.to_device(torch.tensor(shape.mean).reshape(1, 3, 1, 1))
        self.std = fabric.to_device(torch.tensor(shape.std).reshape(1, 3, 1, 1))
        self.network = placed(
            _VelocityUNet(settings.widths, settings.patch, shape.num_classes), fabric
        )
        self.average = averaged_copy(self.network)
        self._network, self.optimizer = fabric.setup(
            self.network, AdamW(self.network.parameters(), settings.rate, weight_decay=0.01)
        )
        self.updates = 0

    def modules(self) -> Mapping[str, nn.Module]:
        """The network and its average."""
        return {"network": self.network, "average": self.average}

    def sampling_modules(self) -> Mapping[str, nn.Module]:
        """The average."""
        return {"average": self.average}

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
        """One update: the network learns the velocity data − noise on the straight path."""
        data = (self.fabric.to_device(batch.images) - self.mean) / self.std
        count = len(data)
        labels = batch.labels.clone()
        labels[torch.from_numpy(random.random(count) < self.settings.free_share)] = UNKNOWN
        planes = label_planes(self.fabric.to_device(labels), self.num_classes)
        time = torch.from_numpy(random.standard_normal(count, dtype=np.float32)).sigmoid()
        noise = torch.from_numpy(random.standard_normal(tuple(data.shape), dtype=np.float32))
        time, noise = self.fabric.to_device(time), self.fabric.to_device(noise)
        t = time[:, None, None, None]
        velocity = self._network(t * data + (1 - t) * noise, time, planes)
        loss = F.mse_loss(velocity.float(), data - noise)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate * rate_factor("cosine", progress)
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.updates += 1
        update_average(self.average, self.network, self.settings.ema, self.updates)
        return {"loss": round(float(loss.detach()), 5)}

    @torch.inference_mode()
    def sample(self, labels: Tensor, seeds: Sequence[int]) -> Tensor:
        """Integrate from noise (t = 0) to image (t = 1); see the face."""
        labels = self.fabric.to_device(labels)
        planes = label_planes(labels, self.num_classes)
        free = label_planes(torch.full_like(labels, UNKNOWN), self.num_classes)
        guided = self.settings.guidance > 1 and bool((labels != UNKNOWN).any())
        height, width = labels.shape[-2:]
        x = self.fabric.to_device(seeded_normal(seeds, (3, height, width), "start"))
        x = x.contiguous(memory_format=torch.channels_last)

        def velocity(x: Tensor, t: float) -> Tensor:
            time = torch.full((len(x),), t, device=x.device)
            with_mask: Tensor = self.average(x, time, planes)
            if not guided:
                return with_mask.float()
            without: Tensor = self.average(x, time, free)
            return (without + self.settings.guidance * (with_mask - without)).float()

        times = np.linspace(0.0, 1.0, self.settings.steps + 1)
        for start, stop in itertools.pairwise(times):
            step = float(stop - start)
            first = velocity(x, float(start))
            moved = x + step * first
            if self.settings.sampler == "heun" and stop < 1.0:
                moved = x + step * 0.5 * (first + velocity(moved, float(stop)))
            x = moved
        return (x * self.std + self.mean).clamp(0, 1).cpu()


def build(settings: Settings, shape: DataShape, fabric: Fabric) -> FlowGenerator:
    """The generator with fresh weights, seeded by torch's state."""
    return FlowGenerator(settings, shape, fabric)


class _TimedBlock(nn.Module):
    """Residual block whose channels are scaled and shifted by the time's embedding."""

    def __init__(self, channels_in: int, channels_out: int, embedding: int) -> None:
        super().__init__()
        self.first = nn.GroupNorm(8, channels_in)
        self.conv_first = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.modulate = nn.Linear(embedding, 2 * channels_out)
        self.second = nn.GroupNorm(8, channels_out)
        self.conv_second = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        nn.init.zeros_(self.conv_second.weight)
        self.skip = (
            nn.Identity()
            if channels_in == channels_out
            else nn.Conv2d(channels_in, channels_out, 1)
        )

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        y = self.conv_first(F.silu(self.first(x)))
        scale, shift = self.modulate(embedding)[:, :, None, None].chunk(2, dim=1)
        y = self.conv_second(F.silu(self.second(y) * (1 + scale) + shift))
        out: Tensor = self.skip(x) + y
        return out


class _VelocityUNet(nn.Module):
    """Velocity at (x, t) for a mask; the mask enters at every level."""

    def __init__(self, widths: Sequence[int], patch: int, num_classes: int) -> None:
        super().__init__()
        embedding = 4 * widths[0]
        planes = (num_classes + 1) * patch**2
        self.patch = patch
        self.frequencies = widths[0]
        self.embed = nn.Sequential(
            nn.Linear(widths[0], embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )
        self.enter = nn.Conv2d(3 * patch**2 + planes, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        self.mask_down = nn.ModuleList()
        previous = widths[0]
        for width in widths:
            self.down.append(_TimedBlock(previous, width, embedding))
            self.mask_down.append(nn.Conv2d(planes, width, 1))
            previous = width
        self.middle = _TimedBlock(previous, previous, embedding)
        self.up = nn.ModuleList()
        for width in reversed(widths):
            self.up.append(_TimedBlock(previous + width, width, embedding))
            previous = width
        self.normal = nn.GroupNorm(8, previous)
        self.leave = nn.Conv2d(previous, 3 * patch**2, 3, padding=1)
        nn.init.zeros_(self.leave.weight)

    def forward(self, x: Tensor, time: Tensor, planes: Tensor) -> Tensor:
        half = self.frequencies // 2
        rates = torch.exp(-math.log(1000.0) * torch.arange(half, device=x.device) / half)
        angles = 1000.0 * time[:, None] * rates
        embedding = self.embed(torch.cat([angles.cos(), angles.sin()], dim=1))
        # With x = t·data + s·noise, s = 1 − t, both of unit variance and uncorrelated, the best
        # linear estimate of data − noise is (t − s) / (t² + s²) · x, and what it leaves has
        # variance 1 / (t² + s²): skip, and scale of input and output.
        t = time[:, None, None, None]
        variance = t**2 + (1 - t) ** 2
        skip, start = (2 * t - 1) / variance * x, x / variance.sqrt()
        start = F.pixel_unshuffle(start, self.patch)
        planes = F.pixel_unshuffle(planes, self.patch)
        x = self.enter(torch.cat([start, planes], dim=1))
        passed = []
        for level, (block, mask) in enumerate(zip(self.down, self.mask_down, strict=True)):
            if level:
                x = F.avg_pool2d(x, 2)
                planes = F.avg_pool2d(planes, 2)
            x = block(x, embedding) + mask(planes)
            passed.append(x)
        x = self.middle(x, embedding)
        for level, block in enumerate(self.up):
            if level:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = block(torch.cat([x, passed.pop()], dim=1), embedding)
        rest = F.pixel_shuffle(self.leave(F.silu(self.normal(x))), self.patch)
        velocity: Tensor = skip + rest / variance.sqrt()
        return velocity
