"""CLIP-like models from weights that the user has: transformers or open_clip, by path or id.

Texts longer than the model's context (77 tokens for CLIP) are cut before their end mark, which
stays: dropping it ruins the text's embedding. How many were cut is counted. Weights are read as
safetensors; pickles and code from outside are not loaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
import torch
from PIL import Image

from terraloom.errors import InputError, WeightsUnavailable
from terraloom.learning._torchvision_repair import repair_torchvision
from terraloom.types import Float32Array, ImageU8

Library = Literal["auto", "transformers", "open_clip"]
_OPEN_CLIP_CONFIG: Final = "open_clip_config.json"
_BATCH: Final = 64
_INSTALL: Final = 'Install it with: pip install "terraloom[clip]"'


@dataclass(frozen=True)
class EmbeddedTexts:
    """Unit vectors of texts, and which texts did not fit."""

    vectors: Float32Array
    """float32 "text feature"."""
    cut: tuple[bool, ...]
    """Texts of more tokens than the model's context."""


class Clip(Protocol):
    """Embeds images and texts in one space."""

    @property
    def name(self) -> str:
        """Library and weights, for the record."""

    @property
    def context(self) -> int:
        """Most tokens of a text, start and end marks included."""

    def images(self, images: Sequence[ImageU8]) -> Float32Array:
        """Unit vectors of 8-bit RGB images, float32 "image feature"; resized as the model wants."""

    def texts(self, texts: Sequence[str]) -> EmbeddedTexts:
        """Unit vectors of texts."""


def load_clip(weights: str, library: Library = "auto", device: str = "cpu") -> Clip:
    """Load a CLIP model.

    Args:
        weights: a folder with config, tokenizer and safetensors; or an id: of transformers
            ("openai/clip-vit-base-patch32"), or of open_clip as "model/tag"
            ("ViT-B-32/laion2b_s34b_b79k") or "hf-hub:owner/name".
        library: "auto" takes open_clip for a folder with its config and for "hf-hub:", else
            transformers.
        device: of torch.

    Raises:
        WeightsUnavailable: they are neither there nor downloadable, or hold no safetensors.
        InputError: the library is not installed.
    """
    repair_torchvision()
    folder = Path(weights)
    if library == "auto":
        theirs = (folder / _OPEN_CLIP_CONFIG).exists() or weights.startswith("hf-hub:")
        library = "open_clip" if theirs else "transformers"
    if folder.is_dir() and not any(folder.glob("*.safetensors")):
        raise WeightsUnavailable(
            f"{weights} holds no *.safetensors. Pickled weights (.bin, .pt) are not loaded, since "
            "they can run any code; convert them to safetensors."
        )
    if not folder.is_dir() and (folder.is_absolute() or weights.startswith((".", "~"))):
        raise WeightsUnavailable(
            f"there is no folder {weights} with CLIP weights. Give one with config, tokenizer and "
            "safetensors, or an id such as openai/clip-vit-base-patch32."
        )
    if library == "open_clip":
        return _OpenClip(weights, device)
    return _TransformersClip(weights, device)


def _unavailable(weights: str, error: Exception) -> WeightsUnavailable:
    return WeightsUnavailable(
        f"the CLIP weights {weights} are neither here nor could be downloaded "
        f"({str(error).splitlines()[0][:200]}). Give [scorers.clipscore] weights the folder of a "
        "model that you have, or run once with network access."
    )


class _TransformersClip:
    """CLIP, SigLIP and their kin of transformers."""

    def __init__(self, weights: str, device: str) -> None:
        try:
            from transformers import AutoModel, AutoProcessor
        except ImportError as error:
            raise InputError(f"transformers is not installed. {_INSTALL}") from error
        local = Path(weights).is_dir()
        try:
            model = AutoModel.from_pretrained(
                weights, use_safetensors=True, local_files_only=local, trust_remote_code=False
            )
            self._processor: Any = AutoProcessor.from_pretrained(  # type: ignore[no-untyped-call]
                weights, local_files_only=local, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise _unavailable(weights, error) from error
        if not hasattr(model, "get_text_features"):
            raise WeightsUnavailable(
                f"{weights} is a {type(model).__name__}, which does not embed images and texts. "
                "Give a CLIP-like model."
            )
        self._model = model.eval().to(device)
        self._device = device
        self.name = f"transformers {weights}"
        self.context = int(model.config.text_config.max_position_embeddings)

    @torch.inference_mode()
    def images(self, images: Sequence[ImageU8]) -> Float32Array:
        found = []
        for start in range(0, len(images), _BATCH):
            pictures = [Image.fromarray(image) for image in images[start : start + _BATCH]]
            given = self._processor(images=pictures, return_tensors="pt").to(self._device)
            found.append(_unit(self._model.get_image_features(pixel_values=given["pixel_values"])))
        return np.concatenate(found)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> EmbeddedTexts:
        found, cut = [], []
        tokenizer = self._processor.tokenizer
        for start in range(0, len(texts), _BATCH):
            batch = list(texts[start : start + _BATCH])
            whole = tokenizer(batch, truncation=False, verbose=False)["input_ids"]
            cut += [len(ids) > self.context for ids in whole]
            given = tokenizer(
                batch,
                padding="max_length",
                truncation=True,
                max_length=self.context,
                return_tensors="pt",
            ).to(self._device)
            known = {k: given[k] for k in ("input_ids", "attention_mask") if k in given}
            found.append(_unit(self._model.get_text_features(**known)))
        return EmbeddedTexts(np.concatenate(found), tuple(cut))


class _OpenClip:
    """Models of open_clip."""

    def __init__(self, weights: str, device: str) -> None:
        try:
            import open_clip
        except ImportError as error:
            raise InputError(f"open_clip is not installed. {_INSTALL}") from error
        local = Path(weights).is_dir()
        name, pretrained = f"local-dir:{weights}" if local else weights, None
        if not local and not weights.startswith("hf-hub:"):
            name, _, tag = weights.partition("/")
            pretrained = tag or None
            if pretrained is None:
                raise WeightsUnavailable(
                    f"open_clip weights {weights!r} name no training; write model/tag, such as "
                    "ViT-B-32/laion2b_s34b_b79k."
                )
        try:
            model, self._prepare = open_clip.create_model_from_pretrained(
                name, pretrained=pretrained, device=device
            )
            self._tokenizer = open_clip.get_tokenizer(name)
        except (OSError, RuntimeError, ValueError) as error:
            raise _unavailable(weights, error) from error
        self._model = model.eval()
        self._device = device
        self.name = f"open_clip {weights}"
        self.context = int(model.context_length)

    @torch.inference_mode()
    def images(self, images: Sequence[ImageU8]) -> Float32Array:
        found = []
        for start in range(0, len(images), _BATCH):
            pictures = images[start : start + _BATCH]
            pixels = torch.stack([self._prepare(Image.fromarray(image)) for image in pictures])
            found.append(_unit(self._model.encode_image(pixels.to(self._device))))
        return np.concatenate(found)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> EmbeddedTexts:
        found = []
        for start in range(0, len(texts), _BATCH):
            tokens = self._tokenizer(list(texts[start : start + _BATCH]), self.context)
            found.append(_unit(self._model.encode_text(tokens.to(self._device))))
        return EmbeddedTexts(
            np.concatenate(found), tuple(self._tokens(text) > self.context for text in texts)
        )

    def _tokens(self, text: str) -> int:
        inner = getattr(self._tokenizer, "tokenizer", None)
        if inner is not None:  # a tokenizer of Hugging Face inside
            return len(inner(text, truncation=False, verbose=False)["input_ids"])
        return len(self._tokenizer.encode(text)) + 2  # start and end marks


def _unit(features: Any) -> Float32Array:  # noqa: ANN401 - a tensor, or an output that holds one
    tensor = features if isinstance(features, torch.Tensor) else features.pooler_output
    vectors: Float32Array = torch.nn.functional.normalize(tensor.float(), dim=-1).cpu().numpy()
    return vectors
