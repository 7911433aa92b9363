"""Latent diffusion for masks: a ControlNet is trained beside a frozen model of yours (diffusers).

After Zhang et al. 2023 (arXiv 2302.05543): a copy of the UNet's encoder reads the latents and the
label planes, and adds to the frozen UNet through convolutions that start at zero (eqs. 2-4); the
loss is the diffusion model's own (eq. 5), on noise, or on v (Salimans and Ho 2022, arXiv
2202.00512, appendix D) where the model was trained so. Images are latents of the frozen
autoencoder (Rombach et al. 2022, arXiv 2112.10752). Guidance after Ho and Salimans 2022 (arXiv
2207.12598, eq. 6) goes from "no mask" to the mask. Networks, noise schedules and samplers are those
of the library diffusers. The prompt is one text for all masks, empty by default: what stands where,
and how much of it, the mask says.
"""

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
from terraloom.errors import BadCheckpoint
from terraloom.generators._diffusion_parts import (
    latent_side,
    library,
    load_controlnet,
    load_frozen,
    new_controlnet,
)
from terraloom.generators._face import DataShape, GeneratorSettings, Making
from terraloom.generators._layers import label_planes, seeded_normal
from terraloom.learning.batches import Batch
from terraloom.learning.device import placed
from terraloom.learning.ema import averaged_copy, update_average
from terraloom.learning.schedule import rate_factor
from terraloom.progress import console

TRAINING_RATE: Final = 0.5
"""Images of 64 pixels per second on two CPU cores with a model of Stable Diffusion's size: a guess,
not measured."""
SAMPLES_FREELY: Final = True
"""Whether unconditional samples are made as well."""
SAMPLING_RATE: Final = 0.05
"""As `TRAINING_RATE`, for sampling."""


class Settings(GeneratorSettings):
    """Options of `[generators.controlnet]`."""

    model: str = Field(min_length=1)
    """Folder in diffusers' layout (vae, unet, scheduler; tokenizer and text_encoder for prompts),
    or id of one on the Hugging Face hub: Stable Diffusion 1 or 2, or a latent diffusion model of
    your own. It stays as it is, must stay at hand, and its licence holds for the samples."""
    revision: str | None = None
    """Of an id on the hub: branch, tag or commit."""
    controlnet: str | None = None
    """Folder or id of a ControlNet to start from; left out, the UNet's encoder is copied. One that
    read other planes than masks of this class table gets a new first layer."""
    prompt: str = ""
    """Text shown with every mask; free samples get the empty one. Models without a text encoder
    take none."""
    batch_size: int = Field(default=4, ge=2)
    """Images per update."""
    rate: float = Field(default=1e-5, gt=0)
    """AdamW's rate; small models bear more."""
    free_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of training images shown without their mask: makes unconditional samples and guidance
    possible."""
    sampler: Literal["ddim", "dpm++"] = "ddim"
    """ddim (arXiv 2010.02502, without noise) or dpm++ (arXiv 2211.01095, of second order)."""
    steps: int = Field(default=20, ge=1)
    """Steps from noise to image."""
    guidance: float = Field(default=1.5, ge=1)
    """Strength of the mask: 1 none, above 1 exaggerates; costs a second evaluation."""


class ControlNetGenerator:
    """The trained copy, its average and optimiser; everything else is frozen."""

    makes: frozenset[Making] = frozenset({"conditional", "unconditional"})

    def __init__(self, settings: Settings, shape: DataShape, fabric: Fabric) -> None:
        self.settings = settings
        self.num_classes = shape.num_classes
        self.fabric = fabric
        self.parts = load_frozen(settings.model, settings.revision, settings.prompt, fabric.device)
        latent_side(self.parts, shape.size)
        planes = shape.num_classes + 1
        if settings.controlnet is None:
            network = new_controlnet(self.parts, planes)
        else:
            network, is_new = load_controlnet(settings.controlnet, self.parts, planes)
            if is_new:
                console.print(
                    f"  the first layer of {settings.controlnet} is new: it read other planes "
                    f"than {planes} of labels",
                    soft_wrap=True,
                    markup=False,
                )
        self.network = placed(_Control(network, self.parts.sha256), fabric)
        self.network.train()
        self.average = averaged_copy(self.network)
        self._network, self.optimizer = fabric.setup(
            self.network, AdamW(self.network.parameters(), settings.rate, weight_decay=0.01)
        )
        # Latents are not bounded, so nothing may clip them to the range of images.
        self._schedule = {
            **{k: v for k, v in self.parts.schedule.items() if not k.startswith("_")},
            "clip_sample": False,
            "thresholding": False,
        }
        self._noising = library().DDPMScheduler.from_config(self._schedule)
        self.updates = 0

    def modules(self) -> Mapping[str, nn.Module]:
        """The ControlNet and its average; the frozen parts stay where they were loaded from."""
        return {"network": self.network, "average": self.average}

    def sampling_modules(self) -> Mapping[str, nn.Module]:
        """The averaged ControlNet."""
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
        """One update of the ControlNet on the frozen model's own loss."""
        count, _, height, width = batch.images.shape
        labels = batch.labels.clone()
        labels[torch.from_numpy(random.random(count) < self.settings.free_share)] = UNKNOWN
        shape = self._latent_shape(height, width)

        def normal() -> Tensor:
            drawn = random.standard_normal((count, *shape), dtype=np.float32)
            return self.fabric.to_device(torch.from_numpy(drawn))

        with torch.no_grad(), self.fabric.autocast():
            latents = self.parts.encode(self.fabric.to_device(batch.images), normal()).float()
        noise = normal()
        levels = self._noising.config.num_train_timesteps
        time = self.fabric.to_device(torch.from_numpy(random.integers(levels, size=count)))
        noisy = self._noising.add_noise(latents, noise, time)
        found = self._predicted(self._network, noisy, time, labels)
        loss = F.mse_loss(found.float(), self._target(latents, noise, time))
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate * rate_factor("constant", progress)
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.updates += 1
        update_average(self.average, self.network, self.settings.ema, self.updates)
        return {"loss": round(float(loss.detach()), 5)}

    @torch.inference_mode()
    def sample(self, labels: Tensor, seeds: Sequence[int]) -> Tensor:
        """From noise to latents to image; see the face."""
        latents = self.fabric.to_device(
            seeded_normal(seeds, self._latent_shape(*labels.shape[-2:]), "start")
        )
        scheduler = self._sampler()
        scheduler.set_timesteps(self.settings.steps, device=latents.device)
        latents = latents * scheduler.init_noise_sigma
        free = torch.full_like(labels, UNKNOWN)
        guided = self.settings.guidance > 1 and bool((labels != UNKNOWN).any())
        for time in scheduler.timesteps:
            shown = scheduler.scale_model_input(latents, time)
            times = time.expand(len(shown))
            found = self._predicted(self.average, shown, times, labels).float()
            if guided:
                without = self._predicted(self.average, shown, times, free).float()
                found = without + self.settings.guidance * (found - without)
            latents = scheduler.step(found, time, latents).prev_sample
        with self.fabric.autocast():
            pixels = self.parts.decode(latents)
        return pixels.float().cpu()

    def _predicted(
        self, control: nn.Module, latents: Tensor, time: Tensor, labels: Tensor
    ) -> Tensor:
        """What the frozen UNet says of noisy latents, with the control added to its features."""
        planes = label_planes(self.fabric.to_device(labels), self.num_classes)
        asked = self.fabric.to_device((labels != UNKNOWN).flatten(1).any(dim=1))
        text = torch.where(asked[:, None, None], self.parts.prompt, self.parts.empty)
        down, middle = control(latents, time, text, planes)
        with self.fabric.autocast():
            found: Tensor = self.parts.unet(
                latents,
                time,
                text,
                down_block_additional_residuals=down,
                mid_block_additional_residual=middle,
                return_dict=False,
            )[0]
        return found

    def _target(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """What the model predicts, as its schedule says."""
        kind = self._noising.config.prediction_type
        if kind == "epsilon":
            return noise
        if kind == "sample":
            return latents
        velocity: Tensor = self._noising.get_velocity(latents, noise, time)
        return velocity

    def _sampler(self) -> Any:  # noqa: ANN401 - untyped library
        """A fresh one each time: some keep what they saw of the last steps."""
        diffusers = library()
        kind = (
            diffusers.DDIMScheduler
            if self.settings.sampler == "ddim"
            else diffusers.DPMSolverMultistepScheduler
        )
        return kind.from_config(self._schedule)

    def _latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        rows, columns = latent_side(self.parts, height), latent_side(self.parts, width)
        return int(self.parts.vae.config.latent_channels), rows, columns


def build(settings: Settings, shape: DataShape, fabric: Fabric) -> ControlNetGenerator:
    """The generator beside the frozen model, its new layers seeded by torch's state.

    Raises:
        SettingsError: the library is not installed, or the model is of another class.
        WeightsUnavailable: the model is neither there nor to be had.
    """
    return ControlNetGenerator(settings, shape, fabric)


class _Control(nn.Module):
    """A ControlNet that remembers which frozen model it was trained beside."""

    base: Tensor

    def __init__(self, network: nn.Module, sha256: str) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("base", torch.tensor(list(bytes.fromhex(sha256)), dtype=torch.uint8))

    def forward(
        self, latents: Tensor, time: Tensor, text: Tensor, planes: Tensor
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """What is added to the UNet's skips and to its middle."""
        down, middle = self.network(latents, time, text, planes, return_dict=False)
        return tuple(down), middle

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:  # noqa: ANN401 - as torch says
        """Take weights back that were trained beside the same frozen model.

        Raises:
            BadCheckpoint: they were trained beside another one.
        """
        if not torch.equal(state_dict["base"].cpu(), self.base.cpu()):
            raise BadCheckpoint(
                "these weights were trained beside another diffusion model (its weights, schedule "
                "or prompt differ), and a ControlNet speaks to one alone. Set model and prompt "
                "under [generators.controlnet] to what they were, or delete the folder of the "
                "training and train again."
            )
        return super().load_state_dict(state_dict, strict, assign)
