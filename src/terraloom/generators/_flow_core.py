"""The method of `flow`: loss on straight paths, and integration for whatever is asked for."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from terraloom.classes import UNKNOWN
from terraloom.errors import SettingsError
from terraloom.generators._class_shares import SharesMemory
from terraloom.generators._face import DataShape, GeneratorSettings, Guide, Making
from terraloom.generators._flow_network import VelocityUNet
from terraloom.generators._flow_spectrum import tone_of
from terraloom.generators._layers import class_shares, label_planes, seeded_normal
from terraloom.learning.batches import Batch
from terraloom.learning.device import placed
from terraloom.learning.ema import averaged_copy, update_average
from terraloom.learning.schedule import rate_factor
from terraloom.seeds import derive_seed

_REMEMBERED: Final = 4096
"""Training crops whose shares are remembered."""
_TONE_WEIGHT: Final = 0.05
"""Of the error of an image's tone, its mean per channel, beside 1 for what is left of it."""
MASK_SHARE: Final = 1 / 3
"""Share of the training images of a `joint` flow that teach it masks; the others teach images."""


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
    shares: bool = False
    """Whether class shares can be asked for where no mask is given."""
    joint: bool = False
    """Pairs are made as well: the mask first, then its image, by one network; with `shares`, class
    shares can be asked for. A third of the training images then teach masks."""
    feedback: float = Field(default=0.0, ge=0)
    """Strength of the labeller's gradient while sampling for a mask; 0 is off. It makes samples
    agree with the labeller that steers, so their agreement must be judged by another one. Takes
    the labeller forth and back in every step."""
    distil_steps: int = Field(default=0, ge=0, le=8)
    """Steps of a student that is distilled after training and then makes the samples; 0 is off."""
    distil_pairs: int = Field(default=2000, ge=8)
    """Pairs of noise and image that the trained network makes for its student."""
    distil_images: int = Field(default=20_000, ge=1)
    """Pairs that the student sees in training, each several times."""


@dataclass(frozen=True)
class Condition:
    """What a sample is made for."""

    planes: Tensor
    """Label planes "batch class+1 height width", the last 1 where the label is free."""
    shares: Tensor | None
    """"batch class+1", the last 1 where shares are given; None where none can be."""
    made: Tensor | None = None
    """"batch channel 1 1", 1 for the channels that are made: those of the mask or those of the
    image; the others are 0 throughout. None where there are no others."""


def _codes(num_classes: int) -> Tensor:
    """Analog bits "class bit", −1 or 1: the label's binary digits (Chen et al. 2023, section 2).

    Three planes for seven classes, where one for each would outnumber those of the image.
    """
    bits = max(1, math.ceil(math.log2(num_classes)))
    digits = torch.arange(num_classes)[:, None] >> torch.arange(bits)
    return (2 * (digits & 1) - 1).float()


def velocity_error(made: Tensor, target: Tensor, *weights: Tensor | None) -> Tensor:
    """Mean square, in which errors of an image's tone count `_TONE_WEIGHT`.

    The tone is one of thousands of directions, yet has the larger part of the variance.

    Args:
        made: velocities "batch channel height width".
        target: what they should be.
        weights: their product, 0 or 1 and of a shape that fits, says where errors count; None is 1
            everywhere.
    """
    errors = made - target
    errors = errors - (1 - math.sqrt(_TONE_WEIGHT)) * tone_of(errors)
    given = [weight for weight in weights if weight is not None]
    if not given:
        return errors.square().mean()
    weight = torch.ones_like(errors)
    for one in given:
        weight = weight * one
    return (errors.square() * weight).sum() / weight.sum()


class Flow:
    """Network, optimiser and loss of the method."""

    def __init__(self, settings: Settings, shape: DataShape, fabric: Fabric) -> None:
        self.settings = settings
        self.shape = shape
        self.num_classes = shape.num_classes
        self.fabric = fabric
        self.makes: frozenset[Making] = frozenset({"conditional", "unconditional"})
        if settings.joint:
            self.makes |= {"joint"}
        self.takes_shares = settings.shares
        # Images are standardised, so that no channel outweighs another among the directions.
        self.mean = fabric.to_device(torch.tensor(shape.mean).reshape(1, 3, 1, 1))
        self.std = fabric.to_device(torch.tensor(shape.std).reshape(1, 3, 1, 1))
        self.codes = fabric.to_device(_codes(shape.num_classes))
        self.channels = 3 + (self.codes.shape[1] if settings.joint else 0)
        self.network = placed(
            VelocityUNet(
                settings.widths,
                settings.patch,
                shape.num_classes + 1,
                self.channels,
                shape.num_classes + 1 if settings.shares else 0,
                apart=3 if settings.joint else None,
            ),
            fabric,
        )
        self.average = averaged_copy(self.network)
        self._network, self.optimizer = fabric.setup(
            self.network, AdamW(self.network.parameters(), settings.rate, weight_decay=0.01)
        )
        self.memory = SharesMemory(shape.num_classes, _REMEMBERED)
        self.updates = 0
        self._guide: Guide | None = None

    def modules(self) -> Mapping[str, nn.Module]:
        """The network, its average, and the shares that free samples draw from."""
        remembered = {"memory": self.memory} if self.settings.shares else {}
        return {"network": self.network, "average": self.average, **remembered}

    def sampling_modules(self) -> Mapping[str, nn.Module]:
        """The average, and the shares that free samples draw from."""
        remembered = {"memory": self.memory} if self.settings.shares else {}
        return {"average": self.average, **remembered}

    def optimizers(self) -> Mapping[str, Optimizer]:
        """The one AdamW."""
        return {"network": self.optimizer}

    def numbers(self) -> dict[str, Any]:
        """Updates so far."""
        return {"updates": self.updates}

    def restore_numbers(self, numbers: Mapping[str, Any]) -> None:
        """Take the number of updates back."""
        self.updates = int(numbers["updates"])

    def guide_by(self, guide: Guide) -> None:
        """Take the network whose gradient `feedback` follows."""
        self._guide = guide

    def step(self, batch: Batch, random: np.random.Generator, progress: float) -> dict[str, float]:
        """One update: the network learns the velocity data − noise on the straight path."""
        data, known = self._data(batch)
        self.network.tone.learn(data)
        self.network.spectrum.learn(data - tone_of(data))
        count = len(data)
        labels = batch.labels.clone()
        labels[torch.from_numpy(random.random(count) < self.settings.free_share)] = UNKNOWN
        time = torch.from_numpy(random.standard_normal(count, dtype=np.float32)).sigmoid()
        noise = torch.from_numpy(random.standard_normal(tuple(data.shape), dtype=np.float32))
        draws = random.random(count) if self.settings.shares else None
        masks = torch.zeros(count, dtype=torch.bool)
        if self.settings.joint:
            masks = torch.from_numpy(random.random(count) < MASK_SHARE)
            labels[masks] = UNKNOWN
        shares = None
        if draws is not None:
            shares = class_shares(batch.labels, self.num_classes)
            self.memory.remember(shares)
            # A mask says more than its shares; half of what is shown without one has neither, and
            # a mask in the making has them but for guidance.
            hidden = torch.from_numpy(draws) < torch.where(masks, self.settings.free_share, 0.5)
            hidden |= (labels != UNKNOWN).flatten(1).any(dim=1)
            shares[hidden] = 0.0
        condition = self._condition(labels, shares, masks)
        time = self.fabric.to_device(time)
        noise = self.network.tone.given_to(self.fabric.to_device(noise))
        velocity = self._velocity_at(data, noise, time, condition)
        loss = velocity_error(velocity, data - noise, condition.made, known)
        return self._update(loss, progress)

    def _velocity_at(
        self, data: Tensor, noise: Tensor, time: Tensor, condition: Condition
    ) -> Tensor:
        """The network's velocity at `time` between noise and data, float32."""
        t = time[:, None, None, None]
        x = t * data + (1 - t) * noise
        if condition.made is not None:
            x = x * condition.made
        velocity: Tensor = self._network(x, time, condition.planes, condition.shares)
        return velocity.float()

    def _update(self, loss: Tensor, progress: float) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate * rate_factor("cosine", progress)
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.updates += 1
        update_average(self.average, self.network, self.settings.ema, self.updates)
        return {"loss": round(float(loss.detach()), 5)}

    def sample(self, labels: Tensor, seeds: Sequence[int]) -> Tensor:
        """Integrate from noise (t = 0) to image (t = 1); see the face."""
        return self._images(self.integrate(self._condition(labels, None), seeds, labels))

    def sample_shares(self, shares: Tensor, seeds: Sequence[int]) -> Tensor:
        """One image per vector of class shares, "batch class", each row 0 … 1 with the sum 1.

        Raises:
            SettingsError: it was trained without `shares`.
        """
        self._check_takes_shares()
        labels = torch.full((len(seeds), self.shape.size, self.shape.size), UNKNOWN)
        return self._images(self.integrate(self._condition(labels, shares), seeds))

    def sample_pairs(
        self, seeds: Sequence[int], shares: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Images "batch 3 height width", 0 … 1, and the labels made for them (`joint`).

        p(mask, image) = p(mask) p(image | mask): one network for both, which makes one while the
        other is unknown (here: 0) or known, after UniDiffuser (Bao et al. 2023, arXiv 2303.06555),
        where the unknown part is noise.

        Args:
            seeds: one per pair.
            shares: "batch class" asked for; left out, as training crops have them.

        Raises:
            SettingsError: shares are asked for and it was trained without `shares`.
        """
        if shares is not None:
            self._check_takes_shares()
        elif self.settings.shares:
            known = self.memory.known().cpu()
            shares = known[[derive_seed(seed, "shares") % len(known) for seed in seeds]]
        free = torch.full((len(seeds), self.shape.size, self.shape.size), UNKNOWN)
        masks = torch.ones(len(seeds), dtype=torch.bool)
        made = self.integrate(self._condition(free, shares, masks), seeds)
        labels = torch.einsum("bphw,cp->bchw", made[:, 3:], self.codes).argmax(dim=1).cpu()
        return self.sample(labels, seeds), labels

    @torch.no_grad()
    def integrate(
        self, condition: Condition, seeds: Sequence[int], labels: Tensor | None = None
    ) -> Tensor:
        """From noise to standardised data, "batch channel height width", on the device.

        Args:
            condition: what is asked for.
            seeds: one per sample.
            labels: that `feedback` steers toward; left out, it is off.
        """
        height, width = condition.planes.shape[-2:]
        x = self.start(seeds, height, width)
        x = x if condition.made is None else x * condition.made
        x = x.contiguous(memory_format=torch.channels_last)
        velocity = self._velocity(condition, labels)
        times = np.linspace(0.0, 1.0, self.settings.steps + 1)
        for start, stop in itertools.pairwise(times):
            step = float(stop - start)
            first = velocity(x, float(start))
            moved = x + step * first
            if self.settings.sampler == "heun" and stop < 1.0:
                moved = x + step * 0.5 * (first + velocity(moved, float(stop)))
            x = moved
        return x

    def start(self, seeds: Sequence[int], height: int, width: int) -> Tensor:
        """Noise at t = 0, "batch channel height width", on the device."""
        shape = (self.channels, height, width)
        return self.average.tone.given_to(
            self.fabric.to_device(seeded_normal(seeds, shape, "start"))
        )

    def _velocity(
        self, condition: Condition, labels: Tensor | None
    ) -> Callable[[Tensor, float], Tensor]:
        """The velocity field with all that steers it."""
        free = self._condition_of_nothing(condition)
        asked = bool((condition.planes[:, -1] == 0).any())
        asked |= condition.shares is not None and bool((condition.shares[:, -1] > 0).any())
        guided = self.settings.guidance > 1 and asked
        strength = self.settings.feedback if labels is not None else 0.0
        # What a mask says of an image's tone is not exaggerated: that would cast colours.
        masked = (condition.planes[:, -1] == 0).flatten(1).any(dim=1)[:, None, None, None]

        def velocity(x: Tensor, t: float) -> Tensor:
            time = torch.full((len(x),), t, device=x.device)
            found: Tensor = self.average(x, time, condition.planes, condition.shares).float()
            if guided:
                without: Tensor = self.average(x, time, free.planes, free.shares)
                beyond = found - without.float()
                beyond[:, :3] -= masked * tone_of(beyond[:, :3])
                found = found + (self.settings.guidance - 1) * beyond
            if strength and labels is not None:
                slope = self._slope((x + (1 - t) * found)[:, :3], labels)
                found[:, :3] -= strength * slope
            return found if condition.made is None else found * condition.made

        return velocity

    def _slope(self, data: Tensor, labels: Tensor) -> Tensor:
        """Where the labeller's loss at a predicted image rises, of root mean square 1 a sample.

        Samples whose mask asks for nothing have none.
        """
        if self._guide is None:
            raise SettingsError(
                "generators.flow.feedback needs a labeller, and none was given. Train the stage "
                "segment first, or set feedback = 0."
            )
        labels = labels.to(data.device)
        with torch.enable_grad():
            data = data.detach().requires_grad_(True)
            logits = self._guide((data * self.std + self.mean).clamp(0, 1))
            target = torch.where(labels == UNKNOWN, -100, labels)
            loss = F.cross_entropy(logits, target, ignore_index=-100, reduction="sum")
            (slope,) = torch.autograd.grad(loss, data)
        size = slope.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        return torch.where(size > 0, slope / size.clamp_min(1e-12), 0.0)

    def _data(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Standardised data of a batch, and where its loss counts (None: everywhere)."""
        images = (self.fabric.to_device(batch.images) - self.mean) / self.std
        if not self.settings.joint:
            return images, None
        labels = self.fabric.to_device(batch.labels)
        bits = self.codes[torch.where(labels == UNKNOWN, 0, labels).long()].movedim(-1, 1)
        known = (labels != UNKNOWN)[:, None].expand_as(bits).float()
        data = torch.cat([images, bits * known], dim=1)
        return data, torch.cat([torch.ones_like(images), known], dim=1)

    def _condition(
        self, labels: Tensor, shares: Tensor | None, masks: Tensor | None = None
    ) -> Condition:
        """For masks (255 where free) and shares (rows of zeros where free).

        `masks`, "batch", says which samples are masks in the making, not images (`joint`).
        """
        planes = label_planes(self.fabric.to_device(labels), self.num_classes)
        given = made = None
        if self.settings.shares:
            asked = torch.zeros(len(labels), self.num_classes) if shares is None else shares.cpu()
            flag = (asked.sum(dim=1, keepdim=True) > 0).float()
            given = self.fabric.to_device(torch.cat([asked.float(), flag], dim=1))
        if self.settings.joint:
            chosen = torch.zeros(len(labels), dtype=torch.bool) if masks is None else masks
            of_mask = torch.arange(self.channels) >= 3
            made = self.fabric.to_device((chosen[:, None] == of_mask).float()[:, :, None, None])
        return Condition(planes, given, made)

    def _condition_of_nothing(self, condition: Condition) -> Condition:
        planes = torch.zeros_like(condition.planes)
        planes[:, -1] = 1.0
        shares = None if condition.shares is None else torch.zeros_like(condition.shares)
        return Condition(planes, shares, condition.made)

    def _images(self, data: Tensor) -> Tensor:
        return (data[:, :3] * self.std + self.mean).clamp(0, 1).cpu()

    def _check_takes_shares(self) -> None:
        if not self.settings.shares:
            raise SettingsError(
                "this flow was trained without class shares, so none can be asked for. "
                "Set shares = true under [generators.flow] and train again."
            )
