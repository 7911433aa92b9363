"""How far is a synthetic image from the nearest real train image? Noise is far, a copy is near."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from terraloom.classes import ClassTable
from terraloom.samples import decode_view
from terraloom.scorers._face import Column, Corpus, Part, Scorer
from terraloom.scorers._features import features_of, ids_of_split
from terraloom.types import Float32Array


class Settings(BaseModel):
    """This scorer has no options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class NearestScorer:
    """Distance in the labeller's standardised features, in units of what real val images show."""

    columns = (
        Column(
            "nearest_train",
            "ratio",
            "feature distance to the nearest train image over the median of real val images: "
            "about 1 for real images, near 0 for copies, large for images unlike any seen",
        ),
    )

    def __init__(self) -> None:
        self._fitted: tuple[StandardScaler, NearestNeighbors, float] | None = None
        self._size = 0

    def score(self, part: Part) -> Mapping[str, Sequence[float | None]]:
        """The ratio for synthetic samples; None for real ones."""
        if part.labels_path is None or not part.rows:
            return {"nearest_train": [None] * len(part.rows)}
        packed = pq.read_table(part.samples_path, columns=["image"]).column("image").to_pylist()
        images = [decode_view(value) for value in packed]
        scaler, neighbours, unit = self._fit(part, images[0].shape[0])
        features: Float32Array = np.concatenate(
            [part.segmenter().features(images[i : i + 32]) for i in range(0, len(images), 32)]
        )
        distances, _ = neighbours.kneighbors(scaler.transform(features))
        return {"nearest_train": [float(value) / unit for value in distances[:, 0]]}

    def summarise(self, corpus: Corpus) -> dict[str, Any]:
        """Quartiles per origin."""
        origins = np.array(corpus.synthetic.read(["origin"]).column("origin").to_pylist())
        column = corpus.scores["synthetic"].read(["nearest_train"]).column("nearest_train")
        values = np.array(column.to_pylist(), dtype=np.float64)
        return {
            str(origin): {
                "samples": int((origins == origin).sum()),
                "quartiles": [
                    round(float(v), 3)
                    for v in np.percentile(values[origins == origin], (25, 50, 75))
                ],
            }
            for origin in sorted(set(origins))
        }

    def _fit(self, part: Part, size: int) -> tuple[StandardScaler, NearestNeighbors, float]:
        """Scaler and index of train features, and the median distance of val images to them."""
        if self._fitted is None or self._size != size:
            segmenter = part.segmenter()
            train = features_of(segmenter, part.real, ids_of_split(part.real, "train"), size)
            val = features_of(segmenter, part.real, ids_of_split(part.real, "val"), size)
            scaler = StandardScaler().fit(train)
            neighbours = NearestNeighbors(n_neighbors=1).fit(scaler.transform(train))
            distances, _ = neighbours.kneighbors(scaler.transform(val))
            self._fitted = (scaler, neighbours, max(float(np.median(distances)), 1e-6))
            self._size = size
        return self._fitted


def build(settings: Settings, classes: ClassTable, seed: int) -> Scorer:
    """The scorer; neither `classes` nor `seed` plays a part."""
    return NearestScorer()
