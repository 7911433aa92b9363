"""How far is a synthetic image from the nearest real train image? Noise is far, a copy is near."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from terraloom.classes import ClassTable
from terraloom.fidelity.encoders import LabellerEncoder
from terraloom.fidelity.features import (
    drawn_features,
    feature_blocks,
    group_counts,
    shard_features,
)
from terraloom.fidelity.memorisation import Known, nearest_others
from terraloom.fidelity.moments import Moments
from terraloom.files import sha256_of_value
from terraloom.scorers._face import Column, Corpus, Part, Scorer
from terraloom.scorers._features import side_of, stored_real, stored_synthetic
from terraloom.segmenting import TrainedSegmenter
from terraloom.tables import Shard, Table, shards_of, write_table
from terraloom.types import Float64Array

_SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        ("train_id", pa.string()),
        ("nearest_train", pa.float32()),
        ("copy_of_train", pa.float32()),
        ("synthetic_id", pa.string()),
        ("nearest_synthetic", pa.float32()),
        ("duplicate", pa.float32()),
    ]
)


class Settings(BaseModel):
    """Options of `[scorers.nearest]`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    quantile: float = Field(default=0.01, gt=0, le=0.5)
    """A synthetic image is flagged where it lies nearer to a train image than this share of the
    train images lie to their nearest other one."""
    max_reference: int = Field(default=50_000, ge=100)
    """Most train images, and most synthetic ones, that distances are taken to; above that they are
    drawn evenly with the run's seed, and a copy of one left out is not seen."""


@dataclass(frozen=True)
class _Compared:
    """Everything that one synthetic table is compared with."""

    known: Known
    table: Table
    """Features of the synthetic samples."""
    train_ids: Sequence[str]
    synthetic_ids: Sequence[str]
    synthetic: Float64Array
    """Scaled features of `synthetic_ids`."""
    totals: tuple[int, int]
    """Train and synthetic images that there are."""


class NearestScorer:
    """Distance in the labeller's standardised features, in units of what real val images show."""

    columns = (
        Column(
            "nearest_train",
            "ratio",
            "feature distance to the nearest train image over the median of real val images: "
            "about 1 for real images, near 0 for copies, large for images unlike any seen",
        ),
        Column(
            "nearest_synthetic",
            "ratio",
            "feature distance to the nearest other synthetic image, in the same unit",
        ),
        Column(
            "copy_of_train",
            "flag",
            "1 where the nearest train image is nearer than train images are to one another",
        ),
        Column(
            "duplicate",
            "flag",
            "1 where another synthetic image is nearer than train images are to one another",
        ),
    )

    def __init__(self, settings: Settings, seed: int) -> None:
        self.settings = settings
        self.seed = seed
        self._compared: tuple[str, _Compared] | None = None

    def score(self, part: Part) -> Mapping[str, Sequence[float | None]]:
        """Ratios and flags of synthetic samples; None for real ones."""
        names = [column.name for column in self.columns]
        if part.labels_path is None or not part.rows:
            return {name: [None] * len(part.rows) for name in names}
        samples = Table.open(part.samples_path.parent)
        table = self._neighbours(part.real, samples, part.segmenter(), part.folder)
        rows = pq.read_table(table.folder / part.samples_path.name, columns=names)
        return {name: rows.column(name).to_pylist() for name in names}

    def summarise(self, corpus: Corpus) -> dict[str, Any]:
        """Quartiles and flags per origin, beside those of real val images.

        Which images are nearest stands in the table that "table" names, below the score folder.
        """
        if not corpus.synthetic.num_rows:
            return {"origins": {}}
        segmenter = corpus.segmenter()
        table = self._neighbours(corpus.real, corpus.synthetic, segmenter, corpus.folder)
        compared = self._with(corpus.real, corpus.synthetic, segmenter, corpus.folder)
        origins = np.array(corpus.synthetic.read(["origin"]).column("origin").to_pylist())
        values = {
            name: np.array(table.read([name]).column(name).to_pylist(), dtype=np.float64)
            for name in ("nearest_train", "nearest_synthetic", "copy_of_train", "duplicate")
        }
        known = compared.known
        return {
            "features": f"{LabellerEncoder.name}, standardised on train",
            "quantile": known.quantile,
            "threshold": round(known.threshold, 4),
            "reference": {
                "train": len(compared.train_ids),
                "train_total": compared.totals[0],
                "synthetic": len(compared.synthetic_ids),
                "synthetic_total": compared.totals[1],
            },
            "floor": {
                "samples": len(known.val_ratios),
                "quartiles": _quartiles(known.val_ratios),
                "copies": int(known.copies(known.val_ratios).sum()),
            },
            "origins": {
                str(origin): {
                    "samples": int((origins == origin).sum()),
                    "quartiles": _quartiles(values["nearest_train"][origins == origin]),
                    "copies": int(values["copy_of_train"][origins == origin].sum()),
                    "between": _quartiles(values["nearest_synthetic"][origins == origin]),
                    "duplicates": int(np.nansum(values["duplicate"][origins == origin])),
                }
                for origin in sorted(set(origins))
            },
            "table": str(table.folder.relative_to(corpus.folder)),
        }

    def _neighbours(
        self, real: Table, synthetic: Table, segmenter: TrainedSegmenter, folder: Path
    ) -> Table:
        """Nearest images of every synthetic sample, shard by shard."""
        compared = self._with(real, synthetic, segmenter, folder)

        def make(shard: Shard) -> pa.Table:
            return self._rows(compared, shard)

        decides = {
            "options": self.settings.model_dump(mode="json"),
            "seed": self.seed,
            "real": real.sha256,
            "features": compared.table.manifest["settings_sha256"],
        }
        digest = sha256_of_value(decides)
        return write_table(
            folder / "nearest" / digest[:16],
            shards_of(compared.table),
            make,
            settings_sha256=digest,
            inputs={"features": compared.table.sha256},
            description="looking for copies",
            unit="images",
        )

    def _rows(self, compared: _Compared, shard: Shard) -> pa.Table:
        path = compared.table.folder / shard.filename
        ids = pq.read_table(path, columns=["id"]).column("id").to_pylist()
        if not ids:
            return _SCHEMA.empty_table()
        features = shard_features(compared.table, shard.filename)
        known = compared.known
        ratios, where = known.nearest(features)
        columns: dict[str, Any] = {
            "id": ids,
            "train_id": [compared.train_ids[i] for i in where],
            "nearest_train": ratios,
            "copy_of_train": known.copies(ratios),
            "synthetic_id": [None] * len(ids),
            "nearest_synthetic": [None] * len(ids),
            "duplicate": [None] * len(ids),
        }
        if len(compared.synthetic_ids) > 1:
            places = {name: i for i, name in enumerate(compared.synthetic_ids)}
            own = np.array([places.get(name, -1) for name in ids])
            apart, near = nearest_others(known.scaler(features), compared.synthetic, own)
            columns["synthetic_id"] = [compared.synthetic_ids[i] for i in near]
            columns["nearest_synthetic"] = apart / known.unit
            columns["duplicate"] = known.copies(apart / known.unit)
        return pa.table(columns, schema=_SCHEMA)

    def _with(
        self, real: Table, synthetic: Table, segmenter: TrainedSegmenter, folder: Path
    ) -> _Compared:
        """What the samples of a table are compared with; made once."""
        key = f"{real.sha256} {synthetic.sha256}"
        if self._compared is None or self._compared[0] != key:
            encoder, size = LabellerEncoder(segmenter), side_of(synthetic)
            observed = stored_real(real, encoder, folder, size)
            made = stored_synthetic(synthetic, encoder, folder, size)
            most = self.settings.max_reference
            train_ids, train = drawn_features(observed, "train", most, seed=self.seed)
            _, val = drawn_features(observed, "val", most, seed=self.seed)
            ids, features = drawn_features(made, None, most, seed=self.seed)
            moments = Moments.of(feature_blocks(observed, "train"))
            known = Known.of(moments, train, val, quantile=self.settings.quantile)
            totals = (group_counts(observed)["train"], made.num_rows)
            scaled = known.scaler(features)
            self._compared = (key, _Compared(known, made, train_ids, ids, scaled, totals))
        return self._compared[1]


def build(settings: Settings, classes: ClassTable, seed: int) -> Scorer:
    """The scorer; `classes` plays no part."""
    return NearestScorer(settings, seed)


def _quartiles(values: Float64Array) -> list[float]:
    known = values[~np.isnan(values)]
    if not len(known):
        return []
    return [round(float(v), 3) for v in np.percentile(known, (25, 50, 75))]
