"""A small encoder of images and captions, trained on the real train rows alone.

Images enter as the labeller's features of the whole and of its four quarters, so that places can be
told apart; texts as hashed words and word pairs. Both are mapped to one space and pulled together
by the symmetric contrastive loss (InfoNCE: van den Oord et al. 2018, eq. 4; both directions with a
learned temperature: Radford et al. 2021, figure 3). Equal captions of different images are no
negatives of one another. It takes seconds to minutes on a CPU and needs no download.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from terraloom.dataset.rows import TrainRows, ValRows
from terraloom.errors import NothingLeft
from terraloom.files import read_json, sha256_of_value, write_json
from terraloom.learning.checkpoint import load_weights, save_weights
from terraloom.learning.loop import LoopPlan, finish_loop, run_loop
from terraloom.learning.schedule import rate_factor
from terraloom.redundancy import norm_caption
from terraloom.seeds import derive_seed
from terraloom.segmenting import TrainedSegmenter
from terraloom.types import Float32Array, ImageU8, Int64Array

_BUCKETS: Final = 1 << 14
_WIDTH: Final = 128
_HIDDEN: Final = 256
_TEMPERATURE: Final = 0.07
_BATCH: Final = 32
_WEIGHTS: Final = "weights.safetensors"
_STATE: Final = "state.json"


@dataclass(frozen=True)
class DualPlan:
    """How the encoder is trained."""

    images: int
    """Image–caption pairs seen in all."""
    batch_size: int
    learning_rate: float
    weight_decay: float
    checks: int
    """Evaluations on val; the best weights are kept."""
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dict(vars(self))


class DualEncoder(nn.Module):
    """Two encoders into one space of unit vectors."""

    mean: Tensor
    std: Tensor

    def __init__(self, features: int) -> None:
        """Untrained; `features` per image, standardised by what `fit_scale` saw."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))
        self.image = nn.Sequential(
            nn.Linear(features, _HIDDEN), nn.GELU(), nn.Dropout(0.2), nn.Linear(_HIDDEN, _WIDTH)
        )
        self.words = nn.EmbeddingBag(_BUCKETS, _WIDTH, mode="mean", padding_idx=0)
        self.text = nn.Sequential(nn.LayerNorm(_WIDTH), nn.Dropout(0.2), nn.Linear(_WIDTH, _WIDTH))
        self.scale = nn.Parameter(torch.tensor(-np.log(_TEMPERATURE), dtype=torch.float32))

    def fit_scale(self, features: Float32Array) -> None:
        """Take mean and deviation of train features, "image feature"."""
        self.mean.copy_(torch.from_numpy(features.mean(axis=0)))
        self.std.copy_(torch.from_numpy(np.maximum(features.std(axis=0), 1e-4)))

    def embed_images(self, features: Tensor) -> Tensor:
        """Unit vectors "image width" of features "image feature"."""
        return nn.functional.normalize(self.image((features - self.mean) / self.std), dim=1)

    def embed_texts(self, buckets: Tensor) -> Tensor:
        """Unit vectors "text width" of bucket numbers "text word", padded with 0."""
        return nn.functional.normalize(self.text(self.words(buckets)), dim=1)


@dataclass(frozen=True)
class TrainedDual:
    """The encoder ready to use, on the CPU, with what it was fitted on."""

    network: DualEncoder
    segmenter: TrainedSegmenter
    summary: Mapping[str, Any]

    @torch.inference_mode()
    def images(self, images: Sequence[ImageU8]) -> Float32Array:
        """Unit vectors of 8-bit RGB images of any sizes, float32 "image width"."""
        features = torch.from_numpy(quarter_features(self.segmenter, images))
        return self.network.embed_images(features).numpy()

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Float32Array:
        """Unit vectors of texts, float32 "text width"."""
        found = [
            self.network.embed_texts(_padded([word_buckets(t) for t in texts[at : at + 1024]]))
            for at in range(0, len(texts), 1024)
        ]
        return torch.cat(found).numpy() if found else np.zeros((0, _WIDTH), dtype=np.float32)


def word_buckets(text: str) -> Int64Array:
    """Hashed words and word pairs of a text, 1 … 16,383; of a text without words none."""
    words = norm_caption(text).split()
    pairs = [f"{a} {b}" for a, b in pairwise(words)]
    return np.array(
        [
            1 + zlib.crc32(piece.encode("utf-8", "replace")) % (_BUCKETS - 1)
            for piece in words + pairs
        ],
        dtype=np.int64,
    )


def quarter_features(segmenter: TrainedSegmenter, images: Sequence[ImageU8]) -> Float32Array:
    """Labeller's pooled features of each image and its four quarters, "image 5·feature"."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for number, image in enumerate(images):
        by_shape.setdefault(image.shape, []).append(number)
    found: dict[int, Float32Array] = {}
    for numbers in by_shape.values():
        for start in range(0, len(numbers), _BATCH):
            some = numbers[start : start + _BATCH]
            views = [_views(images[number]) for number in some]
            joined = np.concatenate(
                [segmenter.features([view[i] for view in views]) for i in range(5)], axis=1
            )
            found |= dict(zip(some, joined, strict=True))
    return np.stack([found[number] for number in range(len(images))])


def _views(image: ImageU8) -> list[ImageU8]:
    """The whole and its quarters; a side of one pixel is not halved."""
    height, width = max(image.shape[0] // 2, 1), max(image.shape[1] // 2, 1)
    pixels = image[..., :3]
    corners = [
        pixels[:height, :width], pixels[:height, -width:],
        pixels[-height:, :width], pixels[-height:, -width:],
    ]  # fmt: skip
    return [np.ascontiguousarray(view) for view in (pixels, *corners)]


def fit_dual(
    train: TrainRows,
    val: ValRows,
    captions: Mapping[str, Sequence[str]],
    segmenter: TrainedSegmenter,
    plan: DualPlan,
    folder: Path,
    fabric: Fabric,
) -> TrainedDual:
    """Train the encoder, or load it where `folder` holds one of the same recipe and rows.

    Args:
        train: rows that it is fitted on.
        val: rows that choose among its checks.
        captions: by id, of train and val rows; rows without any are left out.
        segmenter: whose features images enter as; not trained here.
        plan: the recipe.
        folder: of checkpoints and result; a killed training goes on from there.
        fabric: where it runs.

    Raises:
        NothingLeft: fewer than two train rows, or no val row, have a caption.
    """
    pairs = _Pairs.of(train, captions, segmenter)
    held = _Pairs.of(val, captions, segmenter)
    if len(pairs.owner) < 2 or not len(held.owner):
        raise NothingLeft(
            "the encoder of images and captions needs captions of at least two train rows and of "
            "one val row. Caption the real samples first (terraloom caption)."
        )
    fitted_on = {
        "plan": plan.to_json(),
        "train_images": len(pairs.features),
        "train_captions": len(pairs.owner),
        "train_sha256": sha256_of_value([pairs.texts, pairs.features.sum(axis=1).tolist()]),
    }
    torch.manual_seed(derive_seed(plan.seed, "dual encoder"))
    network = DualEncoder(pairs.features.shape[1])
    state = folder / _STATE
    if state.exists() and read_json(state)["fitted_on"] == fitted_on:
        load_weights(folder / _WEIGHTS, {"network": network})
        finish_loop(folder)
        return TrainedDual(network.eval(), segmenter, read_json(state))
    network.fit_scale(pairs.features)
    trainee = _DualTrainee(network, pairs, held, plan, folder, fabric)
    loop = LoopPlan(plan.images, plan.batch_size, plan.checks, plan.seed, "training dual encoder")
    run_loop(trainee, loop, folder)
    trainee.take_best()
    network.cpu().eval()
    save_weights(folder / _WEIGHTS, {"network": network})
    summary = {"fitted_on": fitted_on, "val_mrr": trainee.best, "best_images": trainee.best_images}
    write_json(state, summary)
    finish_loop(folder)
    return TrainedDual(network, segmenter, summary)


@dataclass(frozen=True)
class _Pairs:
    """Features of images and buckets of their captions."""

    features: Float32Array
    owner: Int64Array
    """Image of each caption."""
    buckets: tuple[Int64Array, ...]
    texts: tuple[str, ...]
    """Normalised, to tell equal captions."""

    @classmethod
    def of(
        cls,
        rows: TrainRows | ValRows,
        captions: Mapping[str, Sequence[str]],
        segmenter: TrainedSegmenter,
    ) -> "_Pairs":
        features, owner, texts = [], [], []
        number = 0
        for start in range(0, len(rows), _BATCH):
            some = [rows[i] for i in range(start, min(start + _BATCH, len(rows)))]
            some = [row for row in some if captions.get(row.id)]
            if not some:
                continue
            features.append(quarter_features(segmenter, [row.image for row in some]))
            for row in some:
                owner += [number] * len(captions[row.id])
                texts += list(captions[row.id])
                number += 1
        return cls(
            np.concatenate(features) if features else np.zeros((0, 1), dtype=np.float32),
            np.array(owner, dtype=np.int64),
            tuple(word_buckets(text) for text in texts),
            tuple(norm_caption(text) for text in texts),
        )


class _DualTrainee:
    """Network, optimiser, and the best weights so far."""

    def __init__(
        self,
        network: DualEncoder,
        pairs: _Pairs,
        held: _Pairs,
        plan: DualPlan,
        folder: Path,
        fabric: Fabric,
    ) -> None:
        self.pairs = pairs
        self.held = held
        self.plan = plan
        self.folder = folder
        self.fabric = fabric
        self.network = network
        fabric.to_device(network)  # modules move in place
        self.kept = DualEncoder(network.mean.numel())
        self.kept.load_state_dict({k: v.cpu() for k, v in network.state_dict().items()})
        self.optimizer: Optimizer = AdamW(
            self.network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay
        )
        self.best = -1.0
        self.best_images = 0
        self._by_image = np.split(
            np.arange(len(pairs.owner)), np.flatnonzero(np.diff(pairs.owner)) + 1
        )

    def modules(self) -> Mapping[str, nn.Module]:
        return {"network": self.network, "kept": self.kept}

    def optimizers(self) -> Mapping[str, Optimizer]:
        return {"adamw": self.optimizer}

    def numbers(self) -> dict[str, Any]:
        return {"best": self.best, "best_images": self.best_images}

    def restore_numbers(self, numbers: Mapping[str, Any]) -> None:
        self.best = float(numbers["best"])
        self.best_images = int(numbers["best_images"])

    def step(self, random: np.random.Generator, progress: float) -> dict[str, float]:
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.learning_rate * rate_factor("cosine", progress)
        size = min(self.plan.batch_size, len(self._by_image))
        images = random.permutation(len(self._by_image))[:size]
        chosen = [int(random.choice(self._by_image[image])) for image in images]
        features = self.fabric.to_device(torch.from_numpy(self.pairs.features[images]))
        buckets = self.fabric.to_device(_padded([self.pairs.buckets[i] for i in chosen]))
        texts = np.array([self.pairs.texts[i] for i in chosen], dtype=object)
        equal = torch.from_numpy((texts[:, None] == texts[None]).astype(bool))
        equal.fill_diagonal_(False)
        loss = contrastive_loss(
            self.network.embed_images(features),
            self.network.embed_texts(buckets),
            self.network.scale,
            self.fabric.to_device(equal),
        )
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        return {"loss": float(loss.detach())}

    @torch.inference_mode()
    def check(self, images: int) -> bool:
        """Keep the weights whose val captions find their images best (mean reciprocal rank)."""
        self.network.eval()
        to_device = self.fabric.to_device
        seen = self.network.embed_images(to_device(torch.from_numpy(self.held.features)))
        read = self.network.embed_texts(to_device(_padded(self.held.buckets)))
        similarity = (seen @ read.T).cpu().numpy()
        own = similarity[self.held.owner, np.arange(len(self.held.owner))]
        ranks = (similarity > own).sum(axis=0) + ((similarity == own).sum(axis=0) + 1) / 2
        score = float((1 / ranks).mean())
        if score > self.best:
            self.best, self.best_images = score, images
            self.kept.load_state_dict({k: v.cpu() for k, v in self.network.state_dict().items()})
        return False

    def take_best(self) -> None:
        """Put the best weights into the network."""
        self.network.load_state_dict(self.kept.state_dict())


def contrastive_loss(images: Tensor, texts: Tensor, scale: Tensor, equal: Tensor) -> Tensor:
    """Symmetric InfoNCE of matching rows.

    Args:
        images: unit vectors "pair width".
        texts: unit vectors "pair width".
        scale: log of the inverse temperature; held at most at log 100, as published.
        equal: bool "pair pair", other pairs with the same caption, which are no negatives.

    Returns:
        Mean cross-entropy over both directions.
    """
    logits = images @ texts.T * scale.clamp(max=float(np.log(100.0))).exp()
    logits = logits.masked_fill(equal, float("-inf"))
    target = torch.arange(len(logits), device=logits.device)
    loss: Tensor = nn.functional.cross_entropy(logits, target)
    return (loss + nn.functional.cross_entropy(logits.T, target)) / 2


def _padded(buckets: Sequence[Int64Array]) -> Tensor:
    """Bucket numbers "text word", filled up with 0."""
    longest = max((len(own) for own in buckets), default=0)
    rows = np.zeros((len(buckets), max(longest, 1)), dtype=np.int64)
    for row, own in zip(rows, buckets, strict=True):
        row[: len(own)] = own
    return torch.from_numpy(rows)
