"""Do synthetic images mix with real ones? t-SNE, UMAP and silhouettes of encoder features."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from terraloom.classes import ClassTable
from terraloom.dataset.rows import stream_rows
from terraloom.files import write_json
from terraloom.learning.device import threads_kept
from terraloom.scorers._face import Column, Corpus, Part, Scorer
from terraloom.scorers._features import features_of, ids_of_split
from terraloom.seeds import generator_at
from terraloom.segmenting import TrainedSegmenter
from terraloom.tables import Table, write_shard
from terraloom.types import Float32Array

Method = Literal["tsne", "umap"]
_COMPONENTS: Final = 50


class Settings(BaseModel):
    """Options of `[scorers.embedding]`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    methods: tuple[Method, ...] = ("tsne", "umap")
    """Maps to draw. UMAP compiles itself on first use, most of a minute."""
    max_samples: int = Field(default=400, ge=20)
    """Most images per origin, drawn evenly with the run's seed."""


class EmbeddingScorer:
    """Pictures and silhouettes; near 0 means that origins mix, near 1 that they lie apart."""

    columns: tuple[Column, ...] = ()

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def score(self, part: Part) -> Mapping[str, Sequence[float | None]]:
        """No column: the scorer looks at the corpus alone."""
        return {}

    def summarise(self, corpus: Corpus) -> dict[str, Any]:
        """Silhouettes between origins, and the maps' points in embedding.parquet.

        Features: the labeller's encoder, last stage, pooled; images are cropped to the synthetic
        size (upper left), since pooled features depend on the field of view. Silhouettes are taken
        in the standardised features (Euclidean), not on the maps. The floor is the silhouette of
        real train against real val, both drawn to equal counts.
        """
        if not corpus.synthetic.num_rows:
            return {}  # nothing to compare with
        segmenter = corpus.segmenter()
        size = next(stream_rows(corpus.synthetic, batch=1))[0].mask.shape[0]
        groups: dict[str, Float32Array] = {"real": self._real(corpus, segmenter, "train", size)}
        totals = {"real": len(ids_of_split(corpus.real, "train"))}
        val = self._real(corpus, segmenter, "val", size)
        origins = corpus.synthetic.read(["id", "origin"]).to_pylist()
        for origin in sorted({row["origin"] for row in origins}):
            ids = [row["id"] for row in origins if row["origin"] == origin]
            totals[origin] = len(ids)
            groups[origin] = self._features(corpus, segmenter, corpus.synthetic, ids, size)
        names = [name for name, group in groups.items() for _ in range(len(group))]
        features = np.concatenate(list(groups.values()))
        scaled = StandardScaler().fit_transform(features)
        summary: dict[str, Any] = {
            "features": "labeller's encoder, last stage, pooled",
            "counts": {name: len(group) for name, group in groups.items()},
            "totals": totals,
            "silhouette": _silhouette(scaled, names),
            "pairwise": {},
            "floor": self._floor(groups["real"], val, corpus.seed),
            "floor_samples": 2 * min(len(groups["real"]), len(val)),
            "methods": list(self.settings.methods),
        }
        labels = np.array(names)
        for first, second in combinations(groups, 2):
            rows = (labels == first) | (labels == second)
            summary["pairwise"][f"{first}, {second}"] = _silhouette(
                scaled[rows], labels[rows].tolist()
            )
        points = _maps(scaled, self.settings.methods, corpus.seed)
        table: dict[str, Any] = {"origin": names}
        for method, xy in points.items():
            table[f"{method}_x"], table[f"{method}_y"] = xy[:, 0], xy[:, 1]
        write_shard(corpus.folder / "embedding.parquet", pa.table(table))
        write_json(corpus.folder / "embedding.json", summary)
        return summary

    def _real(
        self, corpus: Corpus, segmenter: TrainedSegmenter, split: str, size: int
    ) -> Float32Array:
        ids = ids_of_split(corpus.real, split)
        return self._features(corpus, segmenter, corpus.real, ids, size)

    def _features(
        self, corpus: Corpus, segmenter: TrainedSegmenter, table: Table, ids: list[str], size: int
    ) -> Float32Array:
        """Features of at most `max_samples` of the named samples, drawn evenly."""
        if len(ids) > self.settings.max_samples:
            random = generator_at(corpus.seed, "embedding", len(ids))
            picks = sorted(random.permutation(len(ids))[: self.settings.max_samples])
            ids = [ids[i] for i in picks]
        return features_of(segmenter, table, ids, size)

    @staticmethod
    def _floor(real: Float32Array, val: Float32Array, seed: int) -> float | None:
        count = min(len(real), len(val))
        random = generator_at(seed, "embedding floor")
        pair = [group[np.sort(random.permutation(len(group))[:count])] for group in (real, val)]
        scaled = StandardScaler().fit_transform(np.concatenate(pair))
        return _silhouette(scaled, ["train"] * count + ["val"] * count)


def build(settings: Settings, classes: ClassTable, seed: int) -> Scorer:
    """The scorer; `classes` plays no part, draws follow the corpus's seed."""
    return EmbeddingScorer(settings)


def _silhouette(features: Float32Array, names: list[str]) -> float | None:
    """Mean silhouette, −1 … 1; None where fewer than two groups or three points."""
    if len(set(names)) < 2 or len(names) < 4:
        return None
    return round(float(silhouette_score(features, names)), 4)


def _maps(features: Float32Array, methods: Sequence[Method], seed: int) -> dict[str, Float32Array]:
    """Two-dimensional maps of the features, "point 2"."""
    components = min(_COMPONENTS, *features.shape)
    reduced = PCA(components, random_state=seed % 2**32).fit_transform(features)
    points: dict[str, Float32Array] = {}
    if "tsne" in methods:
        perplexity = min(30.0, (len(reduced) - 1) / 3)
        tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=seed % 2**32)
        # One thread: sums of several come in any order, and t-SNE magnifies the last digit.
        with threadpool_limits(1):
            points["tsne"] = tsne.fit_transform(reduced).astype(np.float32)
    if "umap" in methods:
        import warnings

        # Imported here: it compiles for most of a minute.
        # numba, which umap computes with, sets the threads of the whole process to one per core.
        with warnings.catch_warnings(), threads_kept():
            # A fixed seed means one thread, which is wanted; umap warns about it at every call.
            warnings.filterwarnings("ignore", message="n_jobs value")
            import umap

            mapper = umap.UMAP(n_components=2, random_state=seed % 2**32, n_jobs=1)
            points["umap"] = mapper.fit_transform(reduced).astype(np.float32)
    return points
