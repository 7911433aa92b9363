"""Do captions find their images? Recall and ranks by an encoder trained on real train rows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from terraloom.classes import ClassTable
from terraloom.dataset.cache import RowCache
from terraloom.dataset.rows import stream_rows, train_rows, val_rows
from terraloom.imagetext.dual import DualPlan, TrainedDual, fit_dual
from terraloom.imagetext.retrieval import part_preferred, retrieve
from terraloom.samples import decode_view
from terraloom.scorers._face import Column, Corpus, Part, Scorer
from terraloom.seeds import generator_at
from terraloom.tables import Table
from terraloom.types import Float32Array

_FOLDER: Final = "dual-encoder"
_BATCH: Final = 64


class Settings(BaseModel):
    """Options of `[scorers.retrieval]`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    images: int = Field(default=40_000, ge=1)
    """Image-caption pairs that the encoder is trained on."""
    batch_size: int = Field(default=128, ge=2)
    """Pairs per update; each is a negative of all others."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak rate of AdamW."""
    weight_decay: float = Field(default=0.05, ge=0)
    """Of AdamW."""
    checks: int = Field(default=10, ge=1)
    """Evaluations on val; the best weights are kept."""
    gallery: int = Field(default=256, ge=2)
    """Captions of val images that a sample's own captions are ranked among."""
    max_samples: int = Field(default=1000, ge=2)
    """Most images of one group that recall is measured over, drawn evenly."""


class RetrievalScorer:
    """An in-domain measure of image and caption together, offline."""

    columns = (
        Column(
            "caption_rank",
            "share",
            "captions of val images that the encoder prefers to the sample's own; 0 best, 0.5 "
            "chance; low by training for train rows",
        ),
    )

    def __init__(self, settings: Settings, seed: int) -> None:
        self.settings = settings
        self.seed = seed
        self._encoder: TrainedDual | None = None
        self._gallery: tuple[list[str], Float32Array] | None = None

    def score(self, part: Part) -> Mapping[str, Sequence[float | None]]:
        """Mean rank of each sample's captions; None without a caption."""
        if not part.rows:
            return {"caption_rank": []}
        encoder = self._fitted(part.real, part.real_captions, part)
        ids, gallery = self._val_gallery(encoder, part.real, part.real_captions)
        packed = pq.read_table(part.samples_path, columns=["image"]).column("image").to_pylist()
        ranks: list[float | None] = []
        for start in range(0, len(packed), _BATCH):
            rows = range(start, min(start + _BATCH, len(packed)))
            images = encoder.images([decode_view(packed[row])[..., :3] for row in rows])
            for row, image in zip(rows, images, strict=True):
                texts = part.captions[row]
                others = np.array([owner != part.rows[row]["id"] for owner in ids])
                if not texts or not others.any():
                    ranks.append(None)
                    continue
                own = encoder.texts(texts) @ image
                ranks.append(float(part_preferred(own, gallery[others] @ image).mean()))
        return {"caption_rank": ranks}

    def summarise(self, corpus: Corpus) -> dict[str, Any]:
        """Recall in both directions per group, beside chance and captions dealt to others.

        Groups: real val (which chose among the checks), real test, and each origin of synthetic
        samples. Real train rows are left out: the encoder has seen them.
        """
        encoder = self._fitted(corpus.real, corpus.captions["real"], corpus)
        groups: dict[str, Any] = {}
        for name, table, kind, ids in self._groups(corpus):
            texts = _texts_of(corpus.captions[kind], set(ids))
            ids = [sample_id for sample_id in ids if sample_id in texts]
            if len(ids) < 2:
                continue
            images = _embedded(encoder, table, ids)
            flat = [text for sample_id in ids for text in texts[sample_id]]
            owner = np.repeat(np.arange(len(ids)), [len(texts[sample_id]) for sample_id in ids])
            found = retrieve(images, encoder.texts(flat), owner, seed=self.seed)
            groups[name] = found.to_json()
        return {"encoder": dict(encoder.summary), "groups": groups}

    def _groups(self, corpus: Corpus) -> Iterator[tuple[str, Table, str, list[str]]]:
        real = corpus.real.read(["id", "split"]).to_pylist()
        for role in ("val", "test"):
            ids = [row["id"] for row in real if row["split"] == role]
            yield f"real {role}", corpus.real, "real", self._drawn(ids, role)
        made = corpus.synthetic.read(["id", "origin"]).to_pylist()
        for origin in sorted({row["origin"] for row in made}):
            ids = [row["id"] for row in made if row["origin"] == origin]
            yield origin, corpus.synthetic, "synthetic", self._drawn(ids, origin)

    def _drawn(self, ids: list[str], name: str) -> list[str]:
        if len(ids) <= self.settings.max_samples:
            return ids
        picks = generator_at(self.seed, "retrieval", name).permutation(len(ids))
        return [ids[i] for i in sorted(picks[: self.settings.max_samples])]

    def _fitted(self, real: Table, captions: Table, where: Part | Corpus) -> TrainedDual:
        if self._encoder is None:
            # In memory, or as a mapped file where they are too many.
            cache = RowCache(where.folder / _FOLDER / "rows")
            train, val = train_rows(real, cache=cache), val_rows(real, cache=cache)
            wanted = {
                row["id"]
                for row in real.read(["id", "split"]).to_pylist()
                if row["split"] in ("train", "val")
            }
            options = self.settings
            plan = DualPlan(
                options.images,
                options.batch_size,
                options.learning_rate,
                options.weight_decay,
                options.checks,
                self.seed,
            )
            segmenter = where.segmenter()
            self._encoder = fit_dual(
                train,
                val,
                _texts_of(captions, wanted),
                segmenter,
                plan,
                where.folder / _FOLDER,
                segmenter.fabric,
            )
        return self._encoder

    def _val_gallery(
        self, encoder: TrainedDual, real: Table, captions: Table
    ) -> tuple[list[str], Float32Array]:
        """Owner and vector of the first caption of val images, the same for every sample."""
        if self._gallery is None:
            rows = real.read(["id", "split"]).to_pylist()
            val = [row["id"] for row in rows if row["split"] == "val"]
            picks = sorted(generator_at(self.seed, "gallery").permutation(len(val)))
            chosen = [val[i] for i in picks[:: -(-len(val) // self.settings.gallery)]]
            texts = _texts_of(captions, set(chosen))
            ids = [sample_id for sample_id in chosen if sample_id in texts]
            self._gallery = ids, encoder.texts([texts[sample_id][0] for sample_id in ids])
        return self._gallery


def _texts_of(captions: Table, ids: set[str]) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {}
    for batch in captions.batches(["id", "text"]):
        for sample_id, text in zip(
            batch.column("id").to_pylist(), batch.column("text").to_pylist(), strict=True
        ):
            if sample_id in ids:
                texts.setdefault(sample_id, []).append(text)
    return texts


def _embedded(encoder: TrainedDual, table: Table, ids: Sequence[str]) -> Float32Array:
    """Vectors of the named images in the order of `ids`, which is the table's."""
    wanted = set(ids)
    found = [
        encoder.images([row.image[..., :3] for row in rows if row.id in wanted])
        for rows in stream_rows(table)
        if any(row.id in wanted for row in rows)
    ]
    return np.concatenate(found)


def build(settings: Settings, classes: ClassTable, seed: int) -> Scorer:
    """The scorer; `seed` is the training's and the controls', `classes` plays no part."""
    return RetrievalScorer(settings, seed)
