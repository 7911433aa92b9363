"""CLIPScore of each caption, always beside shuffled captions and hard negatives."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from terraloom.classes import ClassTable
from terraloom.imagetext.clip import Clip, Library, load_clip
from terraloom.imagetext.controls import dealt_to_others, hard_negative
from terraloom.samples import decode_view
from terraloom.scorers._face import Column, Corpus, Part, Scorer
from terraloom.tables import Table
from terraloom.types import Float32Array, Float64Array, ImageU8

_UNIT: Final = "100 × cosine"
_NAMES: Final = ("clip_score", "clip_shuffled", "clip_hard_negative", "clip_cut_texts")


class Settings(BaseModel):
    """Options of `[scorers.clipscore]`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    weights: str = "openai/clip-vit-base-patch32"
    """A folder with config, tokenizer and safetensors, or an id of transformers or open_clip."""
    library: Library = "auto"
    """transformers, open_clip, or auto: by what the weights are."""
    device: str = Field(default="cpu", pattern=r"^(cpu|cuda(:\d+)?|mps)$")
    """Where the model runs."""


class ClipScorer:
    """100 × cosine of image and caption (Hessel et al. 2021, eq. 1, without its factor 2.5)."""

    columns = (
        Column("clip_score", _UNIT, "mean over the sample's captions"),
        Column("clip_shuffled", _UNIT, "the same of the captions of another sample of its shard"),
        Column(
            "clip_hard_negative",
            _UNIT,
            "the same of its captions with classes (else places) exchanged; none where they name "
            "neither",
        ),
        Column("clip_cut_texts", "count", "captions longer than the model's context, cut"),
    )

    def __init__(self, settings: Settings, classes: ClassTable, seed: int) -> None:
        self.settings = settings
        self.classes = classes
        self.seed = seed
        self._loaded: Clip | None = None

    def score(self, part: Part) -> Mapping[str, Sequence[float | None]]:
        """Means per sample; None where a sample has no caption, or no negative."""
        columns: dict[str, list[float | None]] = {name: [] for name in _NAMES}
        if not part.rows:
            return columns
        clip = self._clip()
        packed = pq.read_table(part.samples_path, columns=["image"]).column("image").to_pylist()
        images = clip.images([as_rgb(decode_view(value)) for value in packed])
        own = part.captions
        hard = [
            [n for text in texts if (n := hard_negative(text, self.classes, seed=self.seed))]
            for texts in own
        ]
        scores, cut = _means(clip, images, own)
        columns["clip_score"] = scores
        columns["clip_cut_texts"] = cut
        columns["clip_shuffled"] = _means(clip, images, dealt_to_others(own, seed=self.seed))[0]
        columns["clip_hard_negative"] = _means(clip, images, hard)[0]
        return columns

    def summarise(self, corpus: Corpus) -> dict[str, Any]:
        """Means per kind, and how often a sample's own captions beat each control.

        A score that does not beat the hard negatives sees style, not content, whatever its height.
        """
        clip = self._clip()
        summary: dict[str, Any] = {"model": clip.name, "context_tokens": clip.context, "kinds": {}}
        for kind, table in corpus.scores.items():
            if table.num_rows:
                captions = corpus.captions[kind].num_rows
                summary["kinds"][kind] = _figures(table, captions)
        return summary

    def _clip(self) -> Clip:
        if self._loaded is None:
            settings = self.settings
            self._loaded = load_clip(settings.weights, settings.library, settings.device)
        return self._loaded


def as_rgb(image: ImageU8) -> ImageU8:
    """The first three bands."""
    return np.ascontiguousarray(image[..., :3])


def _means(
    clip: Clip, images: Float32Array, texts: Sequence[Sequence[str]]
) -> tuple[list[float | None], list[float | None]]:
    """Mean score per image, and number of its texts that were cut."""
    flat = [text for own in texts for text in own]
    if not flat:
        return [None] * len(texts), [0.0] * len(texts)
    embedded = clip.texts(flat)
    owner = np.repeat(np.arange(len(texts)), [len(own) for own in texts])
    cosines = 100.0 * (embedded.vectors * images[owner]).sum(axis=1, dtype=np.float64)
    counts = np.bincount(owner, minlength=len(texts))
    sums = np.bincount(owner, weights=cosines, minlength=len(texts))
    cut = np.bincount(owner, weights=np.array(embedded.cut, dtype=float), minlength=len(texts))
    means = [float(s / c) if c else None for s, c in zip(sums, counts, strict=True)]
    return means, [float(number) for number in cut]


def _figures(table: Table, captions: int) -> dict[str, Any]:
    columns = table.read(list(_NAMES))
    own, shuffled, hard, cut = (
        np.array(columns.column(name).to_pylist(), dtype=np.float64) for name in _NAMES
    )
    return {
        "samples": int((~np.isnan(own)).sum()),
        "score": _mean(own),
        "shuffled": _mean(shuffled),
        "hard_negative": _mean(hard),
        "beats_shuffled": _wins(own, shuffled),
        "beats_hard_negative": _wins(own, hard),
        "hard_negatives": int((~np.isnan(own) & ~np.isnan(hard)).sum()),
        "cut_texts": round(float(np.nansum(cut)) / captions, 6) if captions else None,
    }


def _mean(values: Float64Array) -> float | None:
    known = values[~np.isnan(values)]
    return round(float(known.mean()), 4) if len(known) else None


def _wins(own: Float64Array, control: Float64Array) -> float | None:
    """Part of samples whose own captions score higher, equal ones half; chance is 0.5."""
    both = ~np.isnan(own) & ~np.isnan(control)
    if not both.any():
        return None
    won = (own[both] > control[both]).mean() + (own[both] == control[both]).mean() / 2
    return round(float(won), 4)


def build(settings: Settings, classes: ClassTable, seed: int) -> Scorer:
    """The scorer; `seed` deals out the controls."""
    return ClipScorer(settings, classes, seed)
