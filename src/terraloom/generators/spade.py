"""SPADE generator with noise against a segmenting discriminator: one pass, many images a mask.

Spatially-adaptive normalisation after Park et al. 2019 (arXiv 1903.07291, eq. 1); noise planes
beside the labels and the discriminator that names a class per pixel or "fake" after Sushko et al.
2021 (OASIS, arXiv 2012.04781, eqs. 1-4), written from the papers. A style per class is a code laid
over the class's pixels, as in SEAN (Zhu et al. 2020, arXiv 1911.12861, section 3), but drawn from
the sample's seed for each class, as in INADE (Tan et al. 2021, arXiv 2103.06878), rather than
encoded from another image: no encoder is trained, and there are as many styles as seeds.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import cached
from torch.optim import Adam, Optimizer

from terraloom.classes import UNKNOWN
from terraloom.errors import SettingsError
from terraloom.fidelity.encoders import PRETRAINED
from terraloom.generators._face import DataShape, FeatureMaps, GeneratorSettings, Making
from terraloom.generators._layers import label_planes, seeded_normal
from terraloom.generators._perceptual import perceptual_distance, timm_maps
from terraloom.learning.batches import Batch
from terraloom.learning.device import placed
from terraloom.learning.ema import averaged_copy, update_average

LABELLER: Final = "labeller"
"""Stands for the project's segmenter where an encoder is named."""
TRAINING_RATE: Final = 18.0
"""Images of 64 pixels per second on two CPU cores at default width, for estimates of time."""
SAMPLING_RATE: Final = 200.0
"""As `TRAINING_RATE`, for sampling."""


class Settings(GeneratorSettings):
    """Options of `[generators.spade]`."""

    batch_size: int = Field(default=8, ge=2)
    """Images per update."""
    width: int = Field(default=32, ge=8, multiple_of=8)
    """Channels at full resolution; deeper levels have more."""
    noise_size: int = Field(default=8, ge=1)
    """Length of the noise vectors that are laid over pixels."""
    style: Literal["image", "class"] = "image"
    """image: one noise vector per sample, over every pixel; class: one per class, over its pixels,
    so that the looks of two classes vary apart from one another."""
    generator_rate: float = Field(default=4e-4, gt=0)
    """Adam's rate for the generator."""
    discriminator_rate: float = Field(default=8e-4, gt=0)
    """Adam's rate for the discriminator."""
    mix_weight: float = Field(default=5.0, ge=0)
    """Weight of the LabelMix consistency term."""
    match_weight: float = Field(default=0.0, ge=0)
    """Weight of a perceptual loss to the real image of the mask; 0 is off. It pulls every seed of a
    mask to that image, so it costs variety."""
    match_network: str = LABELLER
    """Whose features that loss compares: labeller, the project's segmenter (its agreement with
    samples must then be judged by another one); or an image network of timm, by name or folder."""
    match_weights: str = PRETRAINED
    """Of a network of timm: pretrained, or the path of a safetensors file."""


class SpadeGenerator:
    """Networks, optimisers and losses of the method."""

    makes: frozenset[Making] = frozenset({"conditional"})

    def __init__(self, settings: Settings, shape: DataShape, fabric: Fabric) -> None:
        self.settings = settings
        self.num_classes = shape.num_classes
        self.fabric = fabric
        # Standardised images: a dark scene would else leave most of tanh's range unused.
        self.mean = fabric.to_device(torch.tensor(shape.mean).reshape(1, 3, 1, 1))
        self.std = fabric.to_device(torch.tensor(shape.std).reshape(1, 3, 1, 1))
        self.generator = placed(_Painter(settings, shape.num_classes), fabric)
        self.discriminator = placed(_SegmentingJudge(settings.width, shape.num_classes), fabric)
        self.average = averaged_copy(self.generator)
        self._generator, self.generator_optimizer = fabric.setup(
            self.generator,
            Adam(self.generator.parameters(), settings.generator_rate, betas=(0.0, 0.999)),
        )
        self._discriminator, self.discriminator_optimizer = fabric.setup(
            self.discriminator,
            Adam(self.discriminator.parameters(), settings.discriminator_rate, betas=(0.0, 0.999)),
        )
        self.updates = 0
        self._maps: FeatureMaps | None = None

    def match_by(self, maps: FeatureMaps) -> None:
        """Take the labeller's encoder, where the settings match by it."""
        if self.settings.match_network == LABELLER:
            self._maps = maps

    def modules(self) -> Mapping[str, nn.Module]:
        """Generator, discriminator and averaged generator."""
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "average": self.average,
        }

    def sampling_modules(self) -> Mapping[str, nn.Module]:
        """The averaged generator."""
        return {"average": self.average}

    def optimizers(self) -> Mapping[str, Optimizer]:
        """Both Adams."""
        return {
            "generator": self.generator_optimizer,
            "discriminator": self.discriminator_optimizer,
        }

    def numbers(self) -> dict[str, Any]:
        """Updates so far."""
        return {"updates": self.updates}

    def restore_numbers(self, numbers: Mapping[str, Any]) -> None:
        """Take the number of updates back."""
        self.updates = int(numbers["updates"])

    def step(self, batch: Batch, random: np.random.Generator, progress: float) -> dict[str, float]:
        """One update of the discriminator, then one of the generator."""
        real = (self.fabric.to_device(batch.images) - self.mean) / self.std
        labels = self.fabric.to_device(batch.labels)
        planes = label_planes(labels, self.num_classes)
        balance = _class_balance(labels, self.num_classes)
        self._generator.train()
        # Cached: spectral norms are estimated once per update, not once per forward pass.
        with cached():
            fake = self._generator(planes, self._noise(tuple(labels.shape), random))

        self.discriminator_optimizer.zero_grad()
        take = _label_mix(labels, random)
        shown = [real, fake.detach()]
        if self.settings.mix_weight > 0:
            shown.append(torch.where(take, *shown))
        with cached():
            verdicts = self._discriminator(torch.cat(shown)).chunk(len(shown))
        # OASIS eq. 2: real pixels to their classes, fake ones to the last channel.
        loss_real = _balanced_cross_entropy(verdicts[0], labels, balance)
        fake_target = torch.full_like(labels, self.num_classes)
        loss_fake = F.cross_entropy(verdicts[1], fake_target)
        loss_discriminator = loss_real + loss_fake
        if self.settings.mix_weight > 0:
            target = torch.where(take, verdicts[0], verdicts[1])
            loss_discriminator = loss_discriminator + self.settings.mix_weight * F.mse_loss(
                verdicts[2], target
            )
        self.fabric.backward(loss_discriminator)
        self.discriminator_optimizer.step()

        self.generator_optimizer.zero_grad()
        # OASIS eq. 3: the generator wants its pixels named as the classes asked for.
        with cached():
            verdict = self._discriminator(fake)
        loss_generator = _balanced_cross_entropy(verdict, labels, balance)
        told = {
            "real": round(float(loss_real.detach()), 5),
            "fake": round(float(loss_fake.detach()), 5),
            "generator": round(float(loss_generator.detach()), 5),
        }
        if self.settings.match_weight > 0:
            apart = self._apart(fake, real)
            told["match"] = round(float(apart.detach()), 5)
            loss_generator = loss_generator + self.settings.match_weight * apart
        self.fabric.backward(loss_generator)
        self.generator_optimizer.step()
        self.updates += 1
        update_average(self.average, self.generator, self.settings.ema, self.updates)
        return told

    @torch.inference_mode()
    def sample(self, labels: Tensor, seeds: Sequence[int]) -> Tensor:
        """One image per mask in one pass; see the face."""
        planes = label_planes(self.fabric.to_device(labels), self.num_classes)
        height, width = labels.shape[-2:]
        style = seeded_normal(seeds, self._style_shape, "style")
        grain = seeded_normal(seeds, (1, height, width), "grain")
        noise = (self.fabric.to_device(style), self.fabric.to_device(grain))
        pixels: Tensor = self.average(planes, noise)
        return (pixels.float() * self.std + self.mean).clamp(0, 1).cpu()

    @property
    def _style_shape(self) -> tuple[int, ...]:
        """Of one sample: unknown pixels have a style of their own."""
        size = self.settings.noise_size
        return (size,) if self.settings.style == "image" else (self.num_classes + 1, size)

    def _apart(self, fake: Tensor, real: Tensor) -> Tensor:
        """Perceptual distance of standardised images."""
        if self._maps is None:
            if self.settings.match_network == LABELLER:
                raise SettingsError(
                    "generators.spade.match_weight needs a labeller, and none was given. Train the "
                    "stage segment first, name a network of timm in match_network, or set "
                    "match_weight = 0."
                )
            self._maps = timm_maps(
                self.settings.match_network, self.settings.match_weights, self.fabric.device
            )
        shown = [(image * self.std + self.mean).clamp(0, 1) for image in (fake, real)]
        with self.fabric.autocast():
            return perceptual_distance(*(self._maps(image) for image in shown))

    def _noise(self, shape: tuple[int, ...], random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Style "batch (class+1) noise" and grain "batch 1 height width" of a training batch."""
        count, height, width = shape
        style = random.standard_normal((count, *self._style_shape), dtype=np.float32)
        grain = random.standard_normal((count, 1, height, width), dtype=np.float32)
        return (
            self.fabric.to_device(torch.from_numpy(style)),
            self.fabric.to_device(torch.from_numpy(grain)),
        )


def build(settings: Settings, shape: DataShape, fabric: Fabric) -> SpadeGenerator:
    """The generator with fresh weights, seeded by torch's state."""
    return SpadeGenerator(settings, shape, fabric)


def _conv(channels_in: int, channels_out: int) -> nn.Conv2d:
    """3 × 3; edges are repeated, since zeros would paint a frame around each image."""
    return nn.Conv2d(channels_in, channels_out, 3, padding=1, padding_mode="replicate")


class _SpatiallyAdaptive(nn.Module):
    """Normalisation whose scale and shift are read from labels and noise at each pixel."""

    def __init__(self, channels: int, condition: int, hidden: int) -> None:
        super().__init__()
        self.normal = nn.InstanceNorm2d(channels, affine=False)
        self.shared = _conv(condition, hidden)
        self.scale = _conv(hidden, channels)
        self.shift = _conv(hidden, channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        hidden = F.relu(self.shared(condition))
        result: Tensor = self.normal(x) * (1 + self.scale(hidden)) + self.shift(hidden)
        return result


class _SpadeBlock(nn.Module):
    """Residual block of two normalised convolutions."""

    def __init__(self, channels_in: int, channels_out: int, condition: int, hidden: int) -> None:
        super().__init__()
        middle = min(channels_in, channels_out)
        self.first = _SpatiallyAdaptive(channels_in, condition, hidden)
        self.conv_first = spectral_norm(_conv(channels_in, middle))
        self.second = _SpatiallyAdaptive(middle, condition, hidden)
        self.conv_second = spectral_norm(_conv(middle, channels_out))
        self.skip = (
            nn.Identity()
            if channels_in == channels_out
            else spectral_norm(nn.Conv2d(channels_in, channels_out, 1, bias=False))
        )

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        y = self.conv_first(F.leaky_relu(self.first(x, condition), 0.2))
        y = self.conv_second(F.leaky_relu(self.second(y, condition), 0.2))
        out: Tensor = self.skip(x) + y
        return out


class _Painter(nn.Module):
    """Grows an image from a sixteenth of its size; labels and noise steer every block."""

    def __init__(self, settings: Settings, num_classes: int) -> None:
        super().__init__()
        w = settings.width
        widths = (4 * w, 4 * w, 2 * w, 2 * w, w)
        condition = num_classes + 1 + settings.noise_size + 1
        self.start = _conv(condition, widths[0])
        self.blocks = nn.ModuleList(
            _SpadeBlock(a, b, condition, 2 * w) for a, b in itertools.pairwise(widths)
        )
        self.last = _SpadeBlock(widths[-1], widths[-1], condition, w)
        self.to_image = _conv(widths[-1], 3)

    def forward(self, planes: Tensor, noise: tuple[Tensor, Tensor]) -> Tensor:
        style, grain = noise
        height, width = planes.shape[-2:]
        if style.dim() == 2:
            spread = style[:, :, None, None].expand(-1, -1, height, width)
        else:
            spread = torch.einsum("bchw,bcn->bnhw", planes, style)
        condition = torch.cat([planes, spread, grain], dim=1)

        def at(scale: int) -> Tensor:
            if scale == 1:
                return condition
            # Means, not picks: thin classes stay visible; the grain keeps its strength.
            small = F.avg_pool2d(condition, scale)
            return torch.cat([small[:, :-1], small[:, -1:] * scale], dim=1)

        x = self.start(at(16))
        for level, block in enumerate(self.blocks):
            x = F.interpolate(block(x, at(16 >> level)), scale_factor=2, mode="nearest")
        x = self.last(x, condition)
        # Soft limit at four standard deviations: bright roofs stay within reach.
        image: Tensor = 4 * torch.tanh(self.to_image(F.leaky_relu(x, 0.2)) / 4)
        return image


class _SegmentingJudge(nn.Module):
    """U-Net that says for each pixel: one of N classes if real, class N if fake."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        w = width
        # Half of the generator's width where pixels are many: four passes a step go through here.
        widths = (w // 2, w, 2 * w, 4 * w, 4 * w)
        self.enter = spectral_norm(nn.Conv2d(3, widths[0], 3, padding=1))
        self.down = nn.ModuleList(
            spectral_norm(nn.Conv2d(a, b, 4, stride=2, padding=1))
            for a, b in itertools.pairwise(widths)
        )
        self.up = nn.ModuleList(
            spectral_norm(nn.Conv2d(a + b, b, 3, padding=1))
            for a, b in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.leave = nn.Conv2d(widths[0], num_classes + 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = F.leaky_relu(self.enter(images), 0.2)
        passed = []
        for layer in self.down:
            passed.append(x)
            x = F.leaky_relu(layer(x), 0.2)
        for layer, skip in zip(self.up, reversed(passed), strict=True):
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = F.leaky_relu(layer(torch.cat([x, skip], dim=1)), 0.2)
        verdict: Tensor = self.leave(x)
        return verdict


def _class_balance(labels: Tensor, num_classes: int) -> Tensor:
    """Weight per class, the inverse of its pixel share in the batch (OASIS eq. 1); 0 if absent."""
    counts = torch.bincount(labels[labels != UNKNOWN].flatten(), minlength=num_classes).float()
    total = counts.sum().clamp_min(1.0)
    present = (counts > 0).sum().clamp_min(1)
    weights = torch.where(counts > 0, total / (counts * present).clamp_min(1.0), counts)
    # A handful of pixels must not outweigh the rest of the batch.
    return weights.clamp_max(20.0)


def _balanced_cross_entropy(verdict: Tensor, labels: Tensor, balance: Tensor) -> Tensor:
    known = labels != UNKNOWN
    weight = torch.where(known, balance[torch.where(known, labels, 0)], 0.0)
    each = F.cross_entropy(verdict, torch.where(known, labels, 0), reduction="none")
    return (each * weight).sum() / known.sum().clamp_min(1)


def _label_mix(labels: Tensor, random: np.random.Generator) -> Tensor:
    """Per class of each mask, all its pixels real or all fake (OASIS eq. 4): bool "b 1 h w"."""
    coin = torch.from_numpy(random.random((len(labels), 256)) < 0.5).to(labels.device)
    taken = torch.gather(coin, 1, labels.flatten(1)).reshape(labels.shape)
    return taken.unsqueeze(1)
