"""The frozen parts of a latent diffusion model, loaded by diffusers from a folder or id.

Autoencoder and UNet of the Stable Diffusion class (Rombach et al. 2022, arXiv 2112.10752), the
schedule that they were trained with, and what the text encoder makes of one prompt, if there is a
text encoder. Weights are read from safetensors alone, and no code of a publisher is run.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final
from weakref import WeakValueDictionary

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from terraloom.errors import BadCheckpoint, SettingsError, WeightsUnavailable
from terraloom.fidelity.encoders import weights_sha256
from terraloom.learning._torchvision_repair import repair_torchvision
from terraloom.learning.published_weights import check_safetensors

_EMBEDDED: Final = (16, 32, 96, 256, 512, 512)
"""Channels of the layers that bring a mask to the latents' size, one level per halving; the first
four are those of the ControlNet paper's code."""
_INSTALL: Final = (
    'generators.controlnet needs a package that is not installed; run: pip install "'
    'terraloom[diffusers]", or name other generators.'
)
_SHARED: "WeakValueDictionary[tuple[str, ...], FrozenParts]" = WeakValueDictionary()


@dataclass(frozen=True, eq=False)
class FrozenParts:
    """What is trained on nothing here; one copy per process, as long as anybody uses it."""

    vae: Any
    unet: Any
    schedule: dict[str, Any]
    """The stored scheduler's configuration."""
    prompt: Tensor
    """Embedding of the prompt, "1 token feature"."""
    empty: Tensor
    """Embedding of the empty prompt; zeros where there is no text encoder."""
    sha256: str
    """Of all weights, schedule and embeddings."""

    @property
    def halvings(self) -> int:
        """How often the autoencoder halves an image's sides."""
        return len(self.vae.config.block_out_channels) - 1

    @property
    def side_multiple(self) -> int:
        """Sides of images must be multiples of this many pixels."""
        return int(2 ** (self.halvings + len(self.unet.config.block_out_channels) - 1))

    def encode(self, images: Tensor, noise: Tensor) -> Tensor:
        """Latents of images "batch 3 height width", 0 … 1, drawn by `noise` of their shape."""
        found = self.vae.encode(2 * images - 1).latent_dist
        config = self.vae.config
        drawn: Tensor = found.mean + found.std * noise
        latents: Tensor = (drawn - (config.shift_factor or 0.0)) * config.scaling_factor
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Images "batch 3 height width", 0 … 1, of latents."""
        config = self.vae.config
        shown: Tensor = self.vae.decode(
            latents / config.scaling_factor + (config.shift_factor or 0.0)
        ).sample
        return (shown.float() / 2 + 0.5).clamp(0, 1)


def library() -> ModuleType:
    """The library diffusers.

    Raises:
        SettingsError: it is not installed.
    """
    repair_torchvision()  # image processors import it
    try:
        import diffusers
    except ImportError as error:
        raise SettingsError(_INSTALL) from error
    diffusers.utils.logging.disable_progress_bar()
    return diffusers  # type: ignore[no-any-return]


def load_frozen(model: str, revision: str | None, prompt: str, device: torch.device) -> FrozenParts:
    """Load the parts, or hand out those that are in use already.

    Args:
        model: folder in diffusers' layout (vae, unet, scheduler; tokenizer and text_encoder if
            there are prompts), or id of one on the Hugging Face hub.
        revision: of an id.
        prompt: shown with every mask; "" is the empty one.
        device: of the networks.

    Raises:
        SettingsError: the library is not installed, the model is of another class, or a prompt was
            given and there is no text encoder.
        WeightsUnavailable: it is neither there nor to be had, or has no safetensors.
        BadCheckpoint: its weights are damaged or not whole.
    """
    key = (model, str(revision), prompt, str(device))
    found = _SHARED.get(key)
    if found is None:
        found = _load(model, revision, prompt, device)
        _SHARED[key] = found
    return found


def new_controlnet(parts: FrozenParts, planes: int) -> Any:  # noqa: ANN401 - untyped library
    """A ControlNet that copies the UNet's encoder; it changes nothing until it is trained."""
    return library().ControlNetModel.from_unet(
        parts.unet,
        conditioning_channels=planes,
        conditioning_embedding_out_channels=_EMBEDDED[: parts.halvings + 1],
    )


def load_controlnet(
    name: str,
    parts: FrozenParts,
    planes: int,
) -> tuple[Any, bool]:
    """A ControlNet to start from.

    Args:
        name: folder or id.
        parts: that it is to stand beside.
        planes: of label masks.

    Returns:
        The network, and whether its first layer is new since it read other planes.

    Raises:
        SettingsError: it fits another UNet or autoencoder.
    """
    _check_place(name, "generators.controlnet.controlnet")
    with _told_clearly(name):
        network = _loaded(library().ControlNetModel, name, None, None)
    ours, theirs = parts.unet.config, network.config
    for key in ("in_channels", "block_out_channels", "layers_per_block", "cross_attention_dim"):
        if _plain(ours[key]) != _plain(theirs[key]):
            raise SettingsError(
                f"the ControlNet {name} does not fit the model: its {key} is {theirs[key]}, the "
                f"UNet's {ours[key]}. Give one of the same base model, or leave it out."
            )
    halvings = len(theirs.conditioning_embedding_out_channels) - 1
    if halvings != parts.halvings:
        raise SettingsError(
            f"the ControlNet {name} makes masks {2**halvings} times smaller, the autoencoder "
            f"images {2**parts.halvings} times. Give one of the same base model, or leave it out."
        )
    if theirs.conditioning_channels == planes:
        return network, False
    first = network.controlnet_cond_embedding.conv_in
    network.controlnet_cond_embedding.conv_in = nn.Conv2d(
        planes, first.out_channels, first.kernel_size, padding=first.padding
    )
    network.register_to_config(conditioning_channels=planes)
    return network, True


def _load(model: str, revision: str | None, prompt: str, device: torch.device) -> FrozenParts:
    diffusers = library()
    _check_place(model, "generators.controlnet.model")
    with _told_clearly(model):
        vae = _loaded(diffusers.AutoencoderKL, model, revision, "vae")
        unet = _loaded(diffusers.UNet2DConditionModel, model, revision, "unet")
        schedule = diffusers.DDPMScheduler.load_config(
            model, subfolder="scheduler", local_files_only=Path(model).is_dir(), revision=revision
        )
    _check_class(model, vae, unet, schedule)
    with torch.no_grad():
        shown, empty = _prompts(model, revision, prompt, unet.config.cross_attention_dim)
    digest = hashlib.sha256(f"{weights_sha256(vae)} {weights_sha256(unet)}".encode())
    digest.update(json.dumps(schedule, sort_keys=True, default=str).encode())
    for text in (shown, empty):
        digest.update(text.numpy().tobytes())
    for network in (vae, unet):
        network.requires_grad_(False).eval().to(device)
    return FrozenParts(
        vae, unet, dict(schedule), shown.to(device), empty.to(device), digest.hexdigest()
    )


def _loaded(kind: Any, model: str, revision: str | None, subfolder: str | None) -> Any:  # noqa: ANN401
    """One network in float32, of which no tensor may be missing."""
    network, loading = kind.from_pretrained(
        model,
        subfolder=subfolder,
        revision=revision,
        local_files_only=Path(model).is_dir(),
        use_safetensors=True,
        low_cpu_mem_usage=False,
        torch_dtype=torch.float32,
        output_loading_info=True,
    )
    if loading["missing_keys"]:
        # The library would leave them as they lay in memory and go on.
        missing = sorted(loading["missing_keys"])
        raise BadCheckpoint(
            f"the weights of {subfolder or 'the ControlNet'} of {model} lack {len(missing)} "
            f"tensors, such as {missing[0]}. Copy the whole folder again."
        )
    return network


def _prompts(model: str, revision: str | None, prompt: str, features: int) -> tuple[Tensor, Tensor]:
    """Embeddings of the prompt and of the empty one, "1 token feature", on the CPU."""
    local = Path(model).is_dir()
    if local:
        reads = (Path(model) / "text_encoder").is_dir()
    else:
        with _told_clearly(model):
            index = library().DiffusionPipeline.load_config(model, revision=revision)
        reads = (index.get("text_encoder") or [None])[0] is not None
    if not reads:
        if prompt:
            raise SettingsError(
                f"generators.controlnet.prompt is {prompt!r}, but {model} has no text encoder. "
                'Set prompt = "", or give a model with the folders tokenizer and text_encoder.'
            )
        nothing = torch.zeros(1, 1, features)
        return nothing, nothing
    try:
        from transformers import CLIPTextModel, CLIPTokenizer
    except ImportError as error:
        raise SettingsError(_INSTALL) from error
    with _told_clearly(model):
        common = {"local_files_only": local, "revision": revision or "main"}
        tokenizer = CLIPTokenizer.from_pretrained(model, subfolder="tokenizer", **common)
        encoder, loading = CLIPTextModel.from_pretrained(
            model,
            subfolder="text_encoder",
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **common,
        )
    if loading["missing_keys"]:
        raise BadCheckpoint(
            f"the weights of text_encoder of {model} lack {len(loading['missing_keys'])} tensors. "
            "Copy the whole folder again."
        )
    encoder.eval()
    given = tokenizer(
        [prompt, ""],
        padding="max_length",
        max_length=encoder.config.max_position_embeddings,
        truncation=True,
        return_tensors="pt",
    )
    made: Tensor = encoder(given.input_ids)[0]
    if made.shape[-1] != features:
        raise SettingsError(
            f"the text encoder of {model} makes {made.shape[-1]} features per token, its UNet "
            f"reads {features}. Give a folder whose parts belong together."
        )
    return made[:1], made[1:]


def _check_class(model: str, vae: Any, unet: Any, schedule: dict[str, Any]) -> None:  # noqa: ANN401
    """Refuse models that this adapter would drive wrongly."""
    config = unet.config
    why = None
    extra = [
        key
        for key in (
            "addition_embed_type",
            "class_embed_type",
            "num_class_embeds",
            "encoder_hid_dim",
        )
        if config.get(key) is not None
    ]
    if extra:
        why = f"its UNet wants more than a prompt ({extra[0]} = {config[extra[0]]}), as SDXL does"
    elif config.in_channels != vae.config.latent_channels:
        why = (
            f"its UNet reads {config.in_channels} planes, its autoencoder makes "
            f"{vae.config.latent_channels}, as inpainting models do"
        )
    elif not isinstance(config.cross_attention_dim, int):
        why = f"its levels read prompts of several widths ({config.cross_attention_dim})"
    elif schedule.get("prediction_type", "epsilon") not in ("epsilon", "v_prediction", "sample"):
        why = f"its schedule predicts {schedule['prediction_type']!r}"
    elif "beta_start" not in schedule and "trained_betas" not in schedule:
        why = f"its schedule ({schedule.get('_class_name')}) is none of noise levels beta"
    if why:
        raise SettingsError(
            f"{model} is no model of the class of Stable Diffusion 1 or 2: {why}. Give one that is."
        )


def _check_place(name: str, option: str) -> None:
    """Tell of a folder that is not one before the library looks."""
    path = Path(name)
    if path.is_file():
        raise WeightsUnavailable(
            f"{option} is the file {name}; a folder in diffusers' layout is wanted (vae, unet, "
            "scheduler). Load the file once with diffusers' from_single_file and save it with "
            "save_pretrained, on a machine where you trust it."
        )
    if not path.is_dir():
        if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
            raise WeightsUnavailable(
                f"{option} names the folder {name}, which is not there. Give a folder with vae, "
                "unet and scheduler, or an id of the Hugging Face hub (owner/name)."
            )
        return
    for part in [path / "vae", path / "unet"] if option.endswith("model") else [path]:
        check_safetensors(part)


def _plain(value: Any) -> Any:  # noqa: ANN401 - a value of a configuration
    return tuple(value) if isinstance(value, list | tuple) else value


@contextmanager
def _told_clearly(name: str) -> Iterator[None]:
    """Errors of the libraries while a model is loaded, told as ours."""
    try:
        yield
    except BadCheckpoint:
        raise
    except SafetensorError as error:
        raise BadCheckpoint(
            f"weights of {name} are damaged or cut short ({error}). Copy the whole folder again."
        ) from error
    except RuntimeError as error:
        told = " ".join(str(error).split())[:240]
        raise BadCheckpoint(
            f"weights of {name} do not fit their own configuration ({told}). Copy the whole folder "
            "again."
        ) from error
    except (OSError, ValueError, KeyError) as error:
        told = " ".join(str(error).split())[:240] or type(error).__name__
        if "Unable to load weights from checkpoint" in told:
            raise BadCheckpoint(
                f"weights of {name} are damaged or cut short ({told}). Copy the whole folder again."
            ) from error
        ways = (
            "save the whole pipeline again with save_pretrained"
            if Path(name).is_dir()
            else f"fetch it where there is a network (hf download {name} --local-dir DIR) and name "
            "that folder; set HF_HOME to a cache that holds it"
        )
        raise WeightsUnavailable(
            f"the diffusion model {name} could not be loaded ({type(error).__name__}: {told}). "
            f"Ways out: {ways}; or train spade or flow, which need no weights."
        ) from error


def latent_side(parts: FrozenParts, size: int) -> int:
    """Side of the latents of images of `size` pixels.

    Raises:
        SettingsError: the networks cannot halve that size often enough.
    """
    if size % parts.side_multiple:
        nearest = math.ceil(size / parts.side_multiple) * parts.side_multiple
        raise SettingsError(
            f"generate.size is {size} pixels, but this model halves sides down to a "
            f"{parts.side_multiple}th. Use a multiple of {parts.side_multiple}, such as {nearest}."
        )
    return size >> parts.halvings
