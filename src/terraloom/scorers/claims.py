"""Are captions true, and do they name what matters? Every claim is checked against the mask."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from terraloom.claims import KINDS, VERDICTS
from terraloom.claims.checking import MAIN_SHARE
from terraloom.classes import ClassTable
from terraloom.facts import DOMINANT_LEAD, DOMINANT_SHARE
from terraloom.scorers._face import Column, Corpus, Part, Scorer

_MEANS: Final = ("claim_precision", "main_recall", "names_dominant")


class Settings(BaseModel):
    """This scorer has no options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ClaimsScorer:
    """Reads the table of claims; measures nothing itself."""

    columns = (
        Column(
            "claim_precision", "share", "supported among the sample's claims that could be decided"
        ),
        Column("main_recall", "share", "main classes (10 % or more) that a caption names, mean"),
        Column("contradictions", "count", "claims of the captions that the mask contradicts"),
        Column("names_dominant", "share", "captions that name the class with the largest share"),
        Column("clear_dominant", "0 or 1", "largest share ≥ 0.35 and 0.05 ahead of the next"),
    )

    def __init__(self, classes: ClassTable) -> None:
        self.classes = classes

    def score(self, part: Part) -> Mapping[str, Sequence[float | None]]:
        """Figures of each sample's captions; None without captions or without known pixels."""
        values: dict[str, list[float | None]] = {column.name: [] for column in self.columns}
        for row, texts, claims in zip(part.rows, part.captions, part.claims, strict=True):
            shares = np.array(row["shares"])
            found = self._figures(shares, len(texts), claims) if shares.sum() and texts else {}
            for name, column in values.items():
                column.append(found.get(name))
        return values

    def _figures(
        self, shares: np.ndarray, num_captions: int, claims: Sequence[Mapping[str, Any]]
    ) -> dict[str, float]:
        verdicts = Counter(claim["verdict"] for claim in claims)
        named: dict[int, set[str]] = {}
        for claim in claims:
            if claim["kind"] == "presence" and not claim["hedged"]:
                named.setdefault(claim["caption"], set()).update(claim["classes"])
        main = {n for n, s in zip(self.classes.names, shares, strict=True) if s >= MAIN_SHARE}
        first, second = np.sort(shares)[::-1][:2]
        largest = {n for n, s in zip(self.classes.names, shares, strict=True) if s >= first}
        found = {
            "contradictions": float(verdicts["contradicted"]),
            "names_dominant": sum(bool(own & largest) for own in named.values()) / num_captions,
            "clear_dominant": float(first >= DOMINANT_SHARE and first - second >= DOMINANT_LEAD),
        }
        if main:
            hits = sum(len(own & main) for own in named.values())
            found["main_recall"] = hits / len(main) / num_captions
        if decided := verdicts["supported"] + verdicts["contradicted"]:
            found["claim_precision"] = verdicts["supported"] / decided
        return found

    def summarise(self, corpus: Corpus) -> dict[str, Any]:
        """Means over samples, and claims by kind, verdict and writer, of each kind of samples."""
        return {kind: {**_means(corpus, kind), **_counts(corpus, kind)} for kind in corpus.scores}


def _means(corpus: Corpus, kind: str) -> dict[str, Any]:
    table = corpus.scores[kind].read([*_MEANS, "clear_dominant"])
    columns = {
        name: np.array(table.column(name).to_pylist(), dtype=np.float64)
        for name in table.column_names
    }
    named, clear = columns["names_dominant"], columns["clear_dominant"] == 1
    return {
        "samples": int((~np.isnan(named)).sum()),
        "named": _mean(named),
        "clear_samples": int(clear.sum()),
        "clear_named": _mean(named[clear]),
        "claim_precision": _mean(columns["claim_precision"]),
        "main_recall": _mean(columns["main_recall"]),
    }


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return round(float(known.mean()), 4) if len(known) else None


def _counts(corpus: Corpus, kind: str) -> dict[str, Any]:
    """Claims by kind and by writer, shard by shard."""
    kinds: Counter[tuple[str, str]] = Counter()
    claims: Counter[tuple[str, str]] = Counter()
    captions: Counter[str] = Counter()
    contradicted: Counter[str] = Counter()
    told = corpus.captions[kind]
    for told_path, claims_path in zip(told.paths, corpus.claims[kind].paths, strict=True):
        rows = pq.read_table(told_path, columns=["id", "index", "writer"]).to_pylist()
        writer_of = {(row["id"], row["index"]): row["writer"] for row in rows}
        captions.update(writer_of.values())
        false: set[tuple[str, int]] = set()
        columns = ["id", "caption", "kind", "verdict"]
        for row in pq.read_table(claims_path, columns=columns).to_pylist():
            if row["kind"] not in KINDS:
                continue
            key = row["id"], row["caption"]
            kinds[row["kind"], row["verdict"]] += 1
            claims[writer_of[key], row["verdict"]] += 1
            if row["verdict"] == "contradicted":
                false.add(key)
        contradicted.update(writer_of[key] for key in false)
    return {
        "captions": captions.total(),
        "contradicted_captions": contradicted.total(),
        "claims": {k: {v: kinds[k, v] for v in VERDICTS} for k in KINDS},
        "writers": {
            writer: {
                "captions": number,
                "contradicted_captions": contradicted[writer],
                **{v: claims[writer, v] for v in VERDICTS},
            }
            for writer, number in sorted(captions.items())
        },
    }


def build(settings: Settings, classes: ClassTable, seed: int) -> Scorer:
    """The scorer; `seed` plays no part."""
    return ClaimsScorer(classes)
