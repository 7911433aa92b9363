"""The network: a vision transformer that a GPT-2 decoder looks at, built small, or pretrained.

Both are the library's VisionEncoderDecoderModel (Li et al. 2023, TrOCR, section 3, is its plainest
description): patches of the image become vectors, and the decoder, which predicts the next word
from those before, attends to them in every layer. The small one starts from nothing, so that an arm
knows nothing but its rows; a pretrained one brings what others saw, the same for every arm.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from terraloom.dataset.rows import channel_statistics
from terraloom.errors import BadCheckpoint, InputError, SettingsError
from terraloom.image_to_text.captioned import CaptionedTrain
from terraloom.image_to_text.words import WordTokenizer
from terraloom.learning._torchvision_repair import repair_torchvision
from terraloom.learning.published_weights import check_safetensors, told_clearly
from terraloom.seeds import derive_seed
from terraloom.settings.caption_benchmark import (
    SMALL,
    CaptionBenchmarkSettings,
    CaptionNetworkSettings,
)
from terraloom.types import Channels, ImageU8

_OTHERWISE: Final = f'or train the small network with model = "{SMALL}"'
_TYPE: Final = "vision-encoder-decoder"
WORDS: Final = "words.json"
TOKENIZER: Final = "tokenizer"


class Words(Protocol):
    """Captions as numbers and back."""

    @property
    def start(self) -> int:
        """Number that every caption begins with."""

    @property
    def end(self) -> int:
        """Number that ends a caption."""

    @property
    def pad(self) -> int:
        """Number that fills rows up."""

    @property
    def never_written(self) -> tuple[int, ...]:
        """Numbers that must not be written."""

    def encode(self, text: str, most: int) -> list[int]:
        """Numbers of a caption, at most `most` and the end."""

    def decode(self, numbers: Sequence[int]) -> str:
        """Text up to the first end."""


@dataclass(frozen=True)
class CaptionModel:
    """A network with its words and the images that it takes."""

    network: Any
    """A VisionEncoderDecoderModel of the library."""
    words: Words
    sides: tuple[int, int]
    """Height and width that images are brought to."""
    mean: Channels
    std: Channels
    max_words: int

    def pixels(self, images: Sequence[ImageU8]) -> Tensor:
        """Whole images of any sizes, brought to `sides`: float32 "batch 3 height width", 0 … 1."""
        return torch.cat([_resized(image, self.sides) for image in images])

    def standardised(self, pixels: Tensor) -> Tensor:
        """Values 0 … 1 in units of deviation about the mean, per channel."""
        mean = torch.tensor(self.mean, device=pixels.device).reshape(1, 3, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).reshape(1, 3, 1, 1)
        return (pixels - mean) / std

    def labels(self, texts: Sequence[str]) -> Tensor:
        """Numbers of captions, int64 "batch word", −100 behind their ends (it never counts)."""
        rows = [self.words.encode(text, self.max_words) for text in texts]
        filled = np.full((len(rows), max(map(len, rows))), -100, dtype=np.int64)
        for target, row in zip(filled, rows, strict=True):
            target[: len(row)] = row
        return torch.from_numpy(filled)

    def loss(self, forward: Any, pixels: Tensor, labels: Tensor) -> Tensor:  # noqa: ANN401
        """Sum of the negative log likelihoods of all words and ends, in nats.

        Args:
            forward: the network, or what wraps it.
            pixels: standardised.
            labels: as `labels` gives them, on the same device.
        """
        # A decoder sees nothing behind a word, so what stands behind the end does not matter.
        before = labels.new_full(labels.shape, self.words.start)
        before[:, 1:] = labels[:, :-1].masked_fill(labels[:, :-1] == -100, self.words.end)
        logits = forward(pixel_values=pixels, decoder_input_ids=before).logits.float()
        loss: Tensor = F.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum"
        )
        return loss

    @torch.inference_mode()
    def write(self, pixels: Tensor, beams: int) -> list[str]:
        """The likeliest caption of each image that a search of so many beams finds.

        Args:
            pixels: standardised, on the network's device.
            beams: 1 takes the likeliest next word each time.
        """
        from transformers import GenerationConfig

        how = GenerationConfig(
            max_new_tokens=self.max_words + 1,
            num_beams=beams,
            do_sample=False,
            bos_token_id=self.words.start,
            decoder_start_token_id=self.words.start,
            eos_token_id=self.words.end,
            pad_token_id=self.words.pad,
            suppress_tokens=list(self.words.never_written) or None,
        )
        # What a publisher ships (penalties, longest lengths) would be mixed in otherwise.
        self.network.generation_config = how
        with _quiet():
            written = self.network.generate(pixel_values=pixels, generation_config=how)
        return [self.words.decode(row[1:].tolist()) for row in written]

    def to_json(self) -> dict[str, Any]:
        """What `stored_model` needs beside weights and words."""
        return {
            # The library's own JSON, which knows how to write its types.
            "config": json.loads(self.network.config.to_json_string(use_diff=False)),
            "sides": list(self.sides),
            "mean": list(self.mean),
            "std": list(self.std),
            "max_words": self.max_words,
        }

    def save_words(self, folder: Path) -> None:
        """Write the words into the folder of a training."""
        if isinstance(self.words, WordTokenizer):
            self.words.save(folder / WORDS)
        elif isinstance(self.words, PretrainedWords):
            self.words.save(folder / TOKENIZER)


class PretrainedWords:
    """The tokenizer that a pretrained model came with."""

    def __init__(self, tokenizer: Any, start: int, end: int, pad: int) -> None:  # noqa: ANN401
        self._tokenizer = tokenizer
        self.start, self.end, self.pad = start, end, pad

    @property
    def never_written(self) -> tuple[int, ...]:
        """The model is trusted with its own numbers."""
        return ()

    def encode(self, text: str, most: int) -> list[int]:
        """See Words; what looks like a special token is text."""
        found = self._tokenizer(
            text, add_special_tokens=False, truncation=True, max_length=most,
            split_special_tokens=True,
        )  # fmt: skip
        return [*map(int, found["input_ids"]), self.end]

    def decode(self, numbers: Sequence[int]) -> str:
        """See Words."""
        own = list(numbers)
        if self.end in own:
            own = own[: own.index(self.end)]
        return " ".join(str(self._tokenizer.decode(own, skip_special_tokens=True)).split())

    def save(self, folder: Path) -> None:
        """Write the tokenizer's own files, which are JSON and text."""
        self._tokenizer.save_pretrained(folder)


def new_model(settings: CaptionBenchmarkSettings, train: CaptionedTrain, seed: int) -> CaptionModel:
    """The model that a training starts from.

    Args:
        settings: which model, and its size.
        train: rows whose words and colours the small network is fitted to.
        seed: of the initial weights (of a pretrained model: of what it lacks).

    Raises:
        SettingsError: the library is not installed.
        WeightsUnavailable: a pretrained model is neither there nor to be had, or has no
            safetensors.
        BadCheckpoint: its weights are damaged or not whole.
        InputError: it is of another kind.
    """
    torch.manual_seed(derive_seed(seed, "initial weights"))
    if settings.model != SMALL:
        return _pretrained(settings.model, settings.revision, settings.network.max_words)
    library = _library()
    words = WordTokenizer.fit(train, settings.network.vocabulary)
    mean, std = channel_statistics(train.rows)
    side = settings.training.image_size
    config = _small_config(library, settings.network, side, words)
    return CaptionModel(
        library.VisionEncoderDecoderModel(config),
        words,
        (side, side),
        mean,
        std,
        settings.network.max_words,
    )


def stored_model(folder: Path, stored: dict[str, Any]) -> CaptionModel:
    """The network of a finished training without its weights, from `to_json` and the words.

    Raises:
        BadCheckpoint: they do not describe one.
    """
    library = _library()
    from huggingface_hub.errors import StrictDataclassError

    try:
        config = library.VisionEncoderDecoderConfig.from_dict(stored["config"])
        network = library.VisionEncoderDecoderModel(config)
        words: Words
        if (folder / TOKENIZER).is_dir():
            tokenizer = library.AutoTokenizer.from_pretrained(str(folder / TOKENIZER))
            words = _pretrained_words(tokenizer, config)
        else:
            words = WordTokenizer.load(folder / WORDS)
        height, width = stored["sides"]
        red, green, blue = stored["mean"]
        mean: Channels = (float(red), float(green), float(blue))
        red, green, blue = stored["std"]
        std: Channels = (float(red), float(green), float(blue))
        return CaptionModel(
            network, words, (int(height), int(width)), mean, std, int(stored["max_words"])
        )
    except (KeyError, ValueError, TypeError, OSError, StrictDataclassError) as error:
        raise BadCheckpoint(
            f"{folder} does not describe a trained captioner ({type(error).__name__}). Delete it "
            "and run the stage again."
        ) from error


def _library() -> Any:  # noqa: ANN401 - a module
    repair_torchvision()  # image processors import it
    try:
        import transformers
    except ImportError as error:
        raise SettingsError(
            "caption_benchmark needs a package that is not installed; run: "
            'pip install "terraloom[transformers]".'
        ) from error
    transformers.utils.logging.disable_progress_bar()
    return transformers


def _small_config(
    library: Any,  # noqa: ANN401
    network: CaptionNetworkSettings,
    side: int,
    words: WordTokenizer,
) -> Any:  # noqa: ANN401
    encoder = library.ViTConfig(
        hidden_size=network.width,
        num_hidden_layers=network.encoder_layers,
        num_attention_heads=network.heads,
        intermediate_size=4 * network.width,
        hidden_dropout_prob=network.dropout,
        attention_probs_dropout_prob=network.dropout,
        image_size=side,
        patch_size=network.patch,
    )
    numbers = {
        "bos_token_id": words.start,
        "eos_token_id": words.end,
        "pad_token_id": words.pad,
    }
    decoder = library.GPT2Config(
        vocab_size=len(words),
        # The start and the end stand beside the words.
        n_positions=network.max_words + 2,
        n_embd=network.width,
        n_layer=network.decoder_layers,
        n_head=network.heads,
        resid_pdrop=network.dropout,
        embd_pdrop=network.dropout,
        attn_pdrop=network.dropout,
        **numbers,
    )
    return library.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        encoder, decoder, decoder_start_token_id=words.start, **numbers
    )


def _pretrained(name: str, revision: str | None, max_words: int) -> CaptionModel:
    """A model by id or folder, from safetensors alone and without foreign code."""
    library = _library()
    if Path(name).is_dir():
        check_safetensors(Path(name), _OTHERWISE)
    common: dict[str, Any] = {"trust_remote_code": False}
    if not Path(name).is_dir():
        common["revision"] = revision or "main"
    with told_clearly(name, f"caption_benchmark.model = {name!r}", _OTHERWISE):
        config = library.AutoConfig.from_pretrained(name, **common)
        if config.model_type != _TYPE:
            raise InputError(
                f"caption_benchmark.model = {name!r} is of type {config.model_type!r}; it takes a "
                f"VisionEncoderDecoderModel (type {_TYPE!r}), or {SMALL!r}."
            )
        network, loading = library.VisionEncoderDecoderModel.from_pretrained(
            name, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **common
        )
        tokenizer = library.AutoTokenizer.from_pretrained(name, **common)
        shown = library.AutoImageProcessor.from_pretrained(name, **common)
    lacking = sorted(str(k) for k in (*loading["missing_keys"], *loading["mismatched_keys"]))
    if lacking:
        # The library would fill them with random numbers and go on.
        raise BadCheckpoint(
            f"the weights of {name} lack {len(lacking)} tensors or have them in other shapes: "
            f"{', '.join(lacking[:4])}. Copy the whole folder again."
        )
    words = _pretrained_words(tokenizer, network.config)
    network.config.pad_token_id, network.config.decoder_start_token_id = words.pad, words.start
    side = network.config.encoder.image_size
    height, width = (side, side) if isinstance(side, int) else side
    red, green, blue = (float(v) for v in shown.image_mean)
    mean: Channels = (red, green, blue)
    red, green, blue = (float(v) for v in shown.image_std)
    std: Channels = (red, green, blue)
    positions = getattr(network.config.decoder, "max_position_embeddings", max_words + 2)
    return CaptionModel(
        network, words, (height, width), mean, std, min(max_words, int(positions) - 2)
    )


def _pretrained_words(tokenizer: Any, config: Any) -> PretrainedWords:  # noqa: ANN401
    end = next(
        value
        for value in (tokenizer.eos_token_id, tokenizer.sep_token_id, config.decoder.eos_token_id)
        if value is not None
    )
    start = next(
        value
        for value in (
            config.decoder_start_token_id,
            tokenizer.bos_token_id,
            tokenizer.cls_token_id,
            end,
        )
        if value is not None
    )
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
    return PretrainedWords(tokenizer, int(start), int(end), int(pad))


def _resized(image: ImageU8, sides: tuple[int, int]) -> Tensor:
    """One image as float32 "1 3 height width", 0 … 1; shrunk without aliases."""
    pixels = torch.from_numpy(np.array(image[..., :3])).permute(2, 0, 1)[None]
    values = pixels.float().div_(255.0)
    if tuple(values.shape[-2:]) == sides:
        return values
    return F.interpolate(values, sides, mode="bilinear", align_corners=False, antialias=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """The library warns of pads without a mask, though they stand behind the end alone."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
