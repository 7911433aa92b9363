"""Networks whose features are compared: the labeller's encoder, or any image network of timm.

DINOv2, CLIP's image tower, Inception and what else timm knows, from its hub, a safetensors file or
a folder. A figure says little without the network's name, so each encoder carries its own.
"""

import hashlib
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from terraloom.errors import SettingsError, WeightsUnavailable
from terraloom.files import read_json
from terraloom.learning._torchvision_repair import repair_torchvision
from terraloom.types import Float32Array, ImageU8

PRETRAINED: Final = "pretrained"
_WAYS_OUT: Final = (
    'Ways out: weights = "/path/to/model.safetensors"; model = a folder that holds config.json and '
    "model.safetensors, as timm saves them; or measure in the labeller's features alone."
)
_WEIGHTS: Final = "model.safetensors"


class Encoder(Protocol):
    """Turns images into feature vectors."""

    @property
    def name(self) -> str:
        """Network, layer and pooling, as reports print it."""

    @property
    def sha256(self) -> str:
        """Of everything that decides the features."""

    def features(self, images: Sequence[ImageU8]) -> Float32Array:
        """Features "image feature" of images of one size."""


class _HasFeatures(Protocol):
    @property
    def network(self) -> nn.Module: ...

    def features(self, images: Sequence[ImageU8]) -> Float32Array: ...


class LabellerEncoder:
    """The encoder of a trained segmenter, last stage, averaged over the image.

    It was trained on the classes at hand, so it sees what matters for them; it was also trained on
    the real train rows, and is blind to what no class needs.
    """

    name = "labeller's encoder, last stage, pooled"

    def __init__(self, segmenter: _HasFeatures) -> None:
        self._segmenter = segmenter
        self.sha256 = weights_sha256(segmenter.network)

    def features(self, images: Sequence[ImageU8]) -> Float32Array:
        """Features "image feature" of images of one size."""
        return self._segmenter.features(images)


class TimmEncoder:
    """An image network of timm without its classifier.

    Images are resized to the network's own size (bicubic, antialiased, in float: no rounding to
    eight bits in between) and normalised as it was trained.
    """

    def __init__(self, network: nn.Module, label: str, device: torch.device) -> None:
        from timm import data

        config: dict[str, Any] = data.resolve_model_data_config(network)  # type: ignore[attr-defined, no-untyped-call]
        self._network = network.eval().requires_grad_(False).to(device)
        self._size: tuple[int, int] = tuple(config["input_size"][-2:])
        self._mean = torch.tensor(config["mean"], device=device).reshape(1, 3, 1, 1)
        self._std = torch.tensor(config["std"], device=device).reshape(1, 3, 1, 1)
        self._device = device
        self.name = f"{label}, pooled, images resized to {self._size[0]} × {self._size[1]}"
        recipe = (
            f"{self.name} {list(config['mean'])} {list(config['std'])} {weights_sha256(network)}"
        )
        self.sha256 = hashlib.sha256(recipe.encode()).hexdigest()

    def stages(self, images: Tensor) -> list[Tensor]:
        """Feature maps "batch channel height width" of the network's stages; differentiable.

        Args:
            images: "batch 3 height width", 0 … 1; resized only where the network takes one size
                alone, as vision transformers do.

        Raises:
            SettingsError: the network has no stages that timm could hand out.
        """
        config: dict[str, Any] = getattr(self._network, "pretrained_cfg", {})
        if config.get("fixed_input_size") and tuple(images.shape[-2:]) != self._size:
            images = F.interpolate(images, self._size, mode="bicubic", antialias=True)
        inner: Any = self._network
        if not hasattr(inner, "forward_intermediates"):
            raise SettingsError(
                f"the network {self.name} tells nothing of its inner stages; name another one."
            )
        maps: list[Tensor] = inner.forward_intermediates(
            (images - self._mean) / self._std, intermediates_only=True
        )
        return maps

    @torch.inference_mode()
    def features(self, images: Sequence[ImageU8]) -> Float32Array:
        """Features "image feature" of images of one size."""
        stacked = torch.from_numpy(np.stack(images)).to(self._device)
        pixels = stacked.permute(0, 3, 1, 2).float() / 255
        if tuple(pixels.shape[-2:]) != self._size:
            pixels = F.interpolate(pixels, self._size, mode="bicubic", antialias=True)
            pixels = pixels.clamp(0, 1)
        found: Tensor = self._network((pixels - self._mean) / self._std)
        return found.float().cpu().numpy()


def timm_encoder(model: str, weights: str, device: torch.device) -> TimmEncoder:
    """Load an image network of timm.

    Args:
        model: a name that timm knows (`vit_small_patch14_dinov2`, `vit_base_patch16_clip_224`,
            `inception_v3`), with its hub prefix if need be; or a folder that holds config.json and
            model.safetensors, as timm saves a model.
        weights: "pretrained" (downloaded, or from the hub's cache; of a folder, the file in it), or
            the path of a safetensors file.
        device: that it runs on.

    Raises:
        SettingsError: timm knows no such model.
        WeightsUnavailable: the weights can be neither loaded nor downloaded, or do not fit.
    """
    repair_torchvision()
    import timm

    folder = Path(model)
    local = folder.is_dir()
    if local and not (folder / "config.json").is_file():
        raise SettingsError(
            f"the folder {folder} holds no config.json of timm, so nothing says which network it "
            f"is. {_WAYS_OUT}"
        )
    download = weights == PRETRAINED and not local
    name = f"local-dir:{folder}" if local else model
    if not (local or ":" in model) and not timm.is_model(model.split(".")[0]):
        near = get_close_matches(model, timm.list_models(), n=3, cutoff=0.5)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise SettingsError(f"timm has no image network {model!r}.{hint} {_WAYS_OUT}")
    try:
        network: nn.Module = timm.create_model(name, pretrained=download, num_classes=0)
    except Exception as error:
        # Every hub client raises its own kinds where it finds no network, timm plain RuntimeErrors.
        told = " ".join(str(error).split())[:200]
        if download:
            raise WeightsUnavailable(
                f"the pretrained weights of {model} could not be had ({type(error).__name__}: "
                f"{told}). {_WAYS_OUT}"
            ) from error
        raise SettingsError(f"timm cannot build {model}: {told}. {_WAYS_OUT}") from error
    label = f"{read_json(folder / 'config.json')['architecture']}" if local else model
    if not download:
        path = folder / _WEIGHTS if weights == PRETRAINED else Path(weights)
        _load(network, path)
        label = f"{label} with {path.name}"
    return TimmEncoder(network, label, device)


def weights_sha256(network: nn.Module) -> str:
    """Hexadecimal SHA-256 of all parameters and buffers with their names."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _load(network: nn.Module, path: Path) -> None:
    """Load a safetensors file; what it holds beyond the features must be a classifier."""
    if path.suffix != ".safetensors" or not path.is_file():
        named = path.suffix == ".safetensors"
        problem = "does not exist" if named else "is no safetensors file, and may hold pickled code"
        raise WeightsUnavailable(f"the weights {path}: it {problem}. {_WAYS_OUT}")
    try:
        tensors: dict[str, Any] = load_file(path)
        found = network.load_state_dict(tensors, strict=False)
    except (RuntimeError, SafetensorError) as error:
        told = " ".join(str(error).split())[:240]
        raise WeightsUnavailable(f"{path} does not fit the network: {told} {_WAYS_OUT}") from error
    heads = getattr(network, "pretrained_cfg", {}).get("classifier") or ()
    allowed = (*((heads,) if isinstance(heads, str) else heads), "AuxLogits")
    strange = [key for key in found.unexpected_keys if not key.startswith(allowed)]
    if found.missing_keys or strange:
        raise WeightsUnavailable(
            f"{path} does not fit the network: it lacks {len(found.missing_keys)} tensors "
            f"({', '.join(found.missing_keys[:3])}) and holds {len(strange)} others "
            f"({', '.join(strange[:3])}). {_WAYS_OUT}"
        )
    if not all(torch.isfinite(value).all() for value in tensors.values()):
        raise WeightsUnavailable(f"{path} holds weights that are no numbers. {_WAYS_OUT}")
