"""How like real, how varied? Fréchet and kernel distance, precision, recall, coverage, Vendi."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from terraloom.classes import ClassTable
from terraloom.errors import SettingsError, StageMissing
from terraloom.fidelity.comparison import FIGURES, Comparison, compare
from terraloom.fidelity.diversity import vendi_score
from terraloom.fidelity.encoders import PRETRAINED, Encoder, LabellerEncoder, timm_encoder
from terraloom.fidelity.features import drawn_features, feature_blocks, group_counts
from terraloom.fidelity.kernel import kernel_distance
from terraloom.fidelity.moments import Moments, frechet_distance
from terraloom.fidelity.separation import silhouettes
from terraloom.files import write_json
from terraloom.progress import meter
from terraloom.scorers._face import Column, Corpus, Part, Scorer
from terraloom.scorers._features import (
    side_of,
    stored_other,
    stored_real,
    stored_shuffled,
    stored_synthetic,
)
from terraloom.tables import Table
from terraloom.types import Float32Array

SHUFFLED: Final = "shuffled pixels"
OTHER: Final = "other region"
_DIGITS: Final = 6


class EncoderChoice(BaseModel):
    """A network of timm that features are measured in."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    model: str
    """Name that timm knows, such as vit_small_patch14_dinov2 or inception_v3; or the path of a
    folder that holds config.json and model.safetensors."""
    weights: str = PRETRAINED
    """"pretrained" (from the hub or its cache; of a folder, the file in it), or the path of a
    safetensors file."""


class Settings(BaseModel):
    """Options of `[scorers.fidelity]`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    labeller: bool = True
    """Measure in the labeller's encoder."""
    encoders: tuple[EncoderChoice, ...] = ()
    """Further networks, each measured in apart."""
    max_samples: int = Field(default=5000, ge=20)
    """Most samples of each set in one draw; time of the neighbours grows with the square."""
    draws: int = Field(default=5, ge=1)
    """Draws of each comparison."""
    neighbours: int = Field(default=5, ge=1)
    """k of precision, recall, density and coverage."""
    other_region: Path | None = None
    """Folder of a sample table of another region (build/samples of its project), as a second
    ceiling."""


class FidelityScorer:
    """Every figure beside a floor (real val) and ceilings, drawn to equal size, by network."""

    columns: tuple[Column, ...] = ()

    def __init__(self, settings: Settings, seed: int) -> None:
        self.settings = settings
        self.seed = seed
        if not settings.labeller and not settings.encoders:
            raise SettingsError(
                "scorers.fidelity has no network to measure in: set labeller = true, or name one "
                "in encoders."
            )

    def score(self, part: Part) -> Mapping[str, Sequence[float | None]]:
        """No column: the scorer looks at the corpus alone."""
        return {}

    def summarise(self, corpus: Corpus) -> dict[str, Any]:
        """Figures per network and origin; the same in fidelity.json.

        Real train rows are the reference, val rows the floor; ceilings are val images with their
        pixels shuffled and, if one is given, another region. Images are cropped to the synthetic
        size. "equal": figures at one size for all sets, over several draws. "whole": of all
        samples, to be compared with figures of the same counts only. Memory is bounded by
        `max_samples` and the square of the number of features.
        """
        if not corpus.synthetic.num_rows:
            return {"networks": []}
        summary = {"networks": [self._in(encoder, corpus) for encoder in self._encoders(corpus)]}
        write_json(corpus.folder / "fidelity.json", summary)
        return summary

    def _encoders(self, corpus: Corpus) -> list[Encoder]:
        segmenter = corpus.segmenter()
        found: list[Encoder] = [LabellerEncoder(segmenter)] if self.settings.labeller else []
        device = segmenter.fabric.device
        for choice in self.settings.encoders:
            found.append(timm_encoder(choice.model, choice.weights, device))
        return found

    def _in(self, encoder: Encoder, corpus: Corpus) -> dict[str, Any]:
        """All figures in one network's features."""
        size = side_of(corpus.synthetic)
        real = stored_real(corpus.real, encoder, corpus.folder, size)
        made = stored_synthetic(corpus.synthetic, encoder, corpus.folder, size)
        shuffled = stored_shuffled(corpus.real, encoder, corpus.folder, size, self.seed)
        ceilings = {SHUFFLED: self._drawn(shuffled, "val")}
        other = self._other(encoder, corpus.folder, size)
        if other is not None:
            ceilings[OTHER] = self._drawn(other, None)
        train, val = self._drawn(real, "train"), self._drawn(real, "val")
        origins = group_counts(made)
        candidates = {origin: self._drawn(made, origin) for origin in origins}
        with meter("comparing features", len(origins), "origins") as progress:
            comparisons: dict[str, Comparison | None] = {}
            for origin, candidate in candidates.items():
                comparisons |= compare(
                    train,
                    val,
                    {origin: candidate},
                    ceilings,
                    seed=self.seed,
                    max_samples=self.settings.max_samples,
                    draws=self.settings.draws,
                    neighbours=self.settings.neighbours,
                )
                progress.advance()
        whole = {"train": Moments.of(feature_blocks(real, "train"))}
        whole |= {origin: Moments.of(feature_blocks(made, origin)) for origin in origins}
        groups = {"train": train, **{o: c for o, c in candidates.items() if len(c) > 1}}
        return {
            "features": encoder.name,
            "num_features": whole["train"].num_features,
            "train": whole["train"].count,
            "val": group_counts(real).get("val", 0),
            "image_size": size,
            "origins": {
                origin: {
                    "samples": origins[origin],
                    "equal": _equal(comparisons[origin], whole["train"].num_features),
                    "whole": self._whole(whole, made, origin, train, candidates[origin]),
                }
                for origin in origins
            },
            "silhouettes": self._apart(groups, train, val),
        }

    def _other(self, encoder: Encoder, folder: Path, size: int) -> Table | None:
        where = self.settings.other_region
        if where is None:
            return None
        try:
            return stored_other(Table.open(where), encoder, folder, size)
        except StageMissing as error:
            raise SettingsError(
                f"scorers.fidelity.other_region = {str(where)!r} holds no finished sample table. "
                "Name the folder build/samples of a project that was built."
            ) from error

    def _drawn(self, table: Table, group: str | None) -> Float32Array:
        """Samples for figures that look at pairs; the draws of one comparison are made from them.

        Twice the size of a draw, so that draws differ.
        """
        return drawn_features(table, group, 2 * self.settings.max_samples, seed=self.seed)[1]

    def _whole(
        self,
        moments: Mapping[str, Moments],
        made: Table,
        origin: str,
        train: Float32Array,
        candidate: Float32Array,
    ) -> dict[str, Any]:
        """Figures of all samples of one origin; None where it has too few."""
        own, real = moments[origin], moments["train"]
        found: dict[str, Any] = {"frechet": None, "kernel": None}
        if own.count > 1:
            distance = frechet_distance(real, own)
            found["frechet"] = _rounded(distance.value)
            found["frechet_mean_term"] = _rounded(distance.mean_term)
            found["singular"] = distance.singular
            found["counts"] = list(distance.counts)
        if min(len(train), len(candidate)) >= 4:
            kernel = kernel_distance(train, candidate, seed=self.seed)
            found["kernel"] = _rounded(kernel.value)
            found["kernel_interval"] = [_rounded(kernel.low), _rounded(kernel.high)]
            found["kernel_counts"] = list(kernel.counts)
            found["kernel_block"] = kernel.block
        blocks = feature_blocks(made, origin)
        found["vendi"] = _rounded(vendi_score(blocks, centre=real.mean).value)
        return found

    def _apart(
        self, groups: Mapping[str, Float32Array], train: Float32Array, val: Float32Array
    ) -> dict[str, Any] | None:
        """Silhouettes of train and every origin, all and by pair, beside train against val."""
        if len(groups) < 2 or len(val) < 2:
            return None
        found = silhouettes(groups, seed=self.seed)
        size = min(len(train), len(val))
        floor = silhouettes(
            {"train": train, "val": val}, seed=self.seed, max_samples=min(size, 2000)
        )
        return {
            "overall": _rounded(found.overall),
            "pairwise": {", ".join(pair): _rounded(v) for pair, v in found.pairwise.items()},
            "counts": dict(found.counts),
            "sampled": found.sampled,
            "floor": _rounded(floor.overall),
            "floor_counts": dict(floor.counts),
        }


def build(settings: Settings, classes: ClassTable, seed: int) -> Scorer:
    """The scorer; `classes` plays no part.

    Raises:
        SettingsError: there is no network to measure in.
    """
    return FidelityScorer(settings, seed)


def _equal(comparison: Comparison | None, num_features: int) -> dict[str, Any] | None:
    """A comparison as plain values; None where sets were too small."""
    if comparison is None:
        return None
    return {
        "samples": comparison.samples,
        "draws": comparison.draws,
        "neighbours": comparison.neighbours,
        "singular": comparison.samples <= num_features,
        "rows": {
            name: {
                figure: {
                    "mean": _rounded(row[figure].mean),
                    "low": _rounded(row[figure].low),
                    "high": _rounded(row[figure].high),
                }
                for figure in FIGURES
            }
            for name, row in comparison.rows.items()
        },
    }


def _rounded(value: float) -> float:
    return float(np.format_float_positional(value, precision=_DIGITS, fractional=False))
