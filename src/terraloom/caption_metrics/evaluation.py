"""Captions against references: all metrics at once, per caption and for the corpus."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from terraloom.caption_metrics.bleu import VARIANT as BLEU_VARIANT
from terraloom.caption_metrics.bleu import BleuCounts, bleu_counts, clipped
from terraloom.caption_metrics.cider import VARIANT as CIDER_VARIANT
from terraloom.caption_metrics.cider import cider_d, rarity, similarity_sum
from terraloom.caption_metrics.meteor import Lexicon, MeteorCounts, meteor_counts, meteor_variant
from terraloom.caption_metrics.ngrams import ORDERS, number_grams, number_tokens
from terraloom.caption_metrics.rouge import VARIANT as ROUGE_VARIANT
from terraloom.caption_metrics.rouge import rouge_l
from terraloom.caption_metrics.tokens import tokenise
from terraloom.classes import ClassTable
from terraloom.errors import InputError
from terraloom.types import Float64Array, Int64Array

BLEU: Final = tuple(f"bleu{order}" for order in range(1, ORDERS + 1))
METRICS: Final = (*BLEU, "meteor", "rouge_l", "cider_d")
"""In the order in which tables show them; higher is better, CIDEr-D 0 … 10, the others 0 … 1."""


@dataclass(frozen=True, eq=False)
class CaptionScores:
    """Scores of one set of captions; made by `evaluate_captions`."""

    ids: tuple[str, ...]
    """Of the images, sorted; the order of all values."""
    captions: Mapping[str, Float64Array]
    """Per metric the value of each caption, "image"."""
    corpus: Mapping[str, float]
    """Per metric the value of the corpus: of summed counts for BLEU and METEOR (not the mean of
    the captions' values), the mean for ROUGE-L and CIDEr-D."""
    variants: Mapping[str, str]
    """Per metric what exactly was computed, to be told beside the figure."""
    bleu: BleuCounts
    """Counts behind BLEU, which add up."""
    meteor: MeteorCounts
    """Counts behind METEOR, which add up."""

    def corpus_of(self, rows: Int64Array) -> dict[str, float]:
        """Corpus values of some captions, as a draw of a bootstrap needs them.

        Document frequencies of CIDEr-D stay those of all references, so that draws compare.

        Args:
            rows: places in `ids`, at least one, repeats count as often as they stand there.

        Raises:
            ValueError: no row.
        """
        if not len(rows):
            raise ValueError("a corpus needs at least one caption, got no rows")
        return _corpus(self.captions, self.bleu, self.meteor, rows)

    def to_json(self) -> dict[str, Any]:
        """Corpus values, variants and count, as plain values."""
        return {
            "captions": len(self.ids),
            "corpus": dict(self.corpus),
            "variants": dict(self.variants),
        }


def evaluate_captions(
    candidates: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    *,
    synonyms: ClassTable | Iterable[Iterable[str]] = (),
) -> CaptionScores:
    """Score one caption per image against its references.

    The result depends on the texts alone: not on the order of images or references. A candidate
    without words (empty, or punctuation only) scores 0 in every metric.

    Args:
        candidates: caption by image id; the ids of `references`, no more and no fewer.
        references: captions that count as right, by image id; at least one each.
        synonyms: groups of single words that METEOR may match; of a class table, the one-word
            names and synonyms of each class. None: exact and stem matches only.

    Returns:
        Values of all metrics.

    Raises:
        InputError: no image; an image lacks candidate or references; a caption that is no string;
            a reference without a word.
    """
    ids = _checked_ids(candidates, references)
    rows = number_tokens(
        (tokenise(_text(candidates[key], key, "candidate")) for key in ids),
        (_reference_tokens(references[key], key) for key in ids),
    )
    groups = _groups(synonyms)

    in_common: list[Int64Array] = []
    similar: list[Float64Array] = []
    for grams in number_grams(rows):
        weights = rarity(grams)
        in_common.append(np.zeros(len(ids), dtype=np.int64))
        similar.append(np.zeros(len(ids)))
        for counts in grams.counts():
            in_common[-1][counts.images] = clipped(counts)
            similar[-1][counts.images] = similarity_sum(counts, weights)
    bleu = bleu_counts(rows, in_common)
    meteor = meteor_counts(rows.by_image(), len(ids), Lexicon(rows.vocabulary, groups))
    captions = {
        **dict(zip(BLEU, bleu.captions().T, strict=True)),
        "meteor": meteor.captions(),
        "rouge_l": np.array([rouge_l(c, group) for c, group in rows.by_image()]),
        "cider_d": cider_d(similar, rows),
    }
    return CaptionScores(
        ids=ids,
        captions=captions,
        corpus=_corpus(captions, bleu, meteor, None),
        variants={
            **{name: f"BLEU-{name[-1]}: {BLEU_VARIANT}" for name in BLEU},
            "meteor": meteor_variant(len(groups)),
            "rouge_l": f"ROUGE-L: {ROUGE_VARIANT}",
            "cider_d": f"CIDEr-D: {CIDER_VARIANT}",
        },
        bleu=bleu,
        meteor=meteor,
    )


def _corpus(
    captions: Mapping[str, Float64Array],
    bleu: BleuCounts,
    meteor: MeteorCounts,
    rows: Int64Array | None,
) -> dict[str, float]:
    chosen = slice(None) if rows is None else rows
    return {
        **{n: float(v) for n, v in zip(BLEU, bleu.corpus(rows), strict=True)},
        "meteor": meteor.corpus(rows),
        "rouge_l": float(captions["rouge_l"][chosen].mean()),
        "cider_d": float(captions["cider_d"][chosen].mean()),
    }


def _checked_ids(
    candidates: Mapping[str, str], references: Mapping[str, Sequence[str]]
) -> tuple[str, ...]:
    if not candidates and not references:
        raise InputError("there is no caption to score; give candidates and their references.")
    unheard = sorted(map(str, references.keys() - candidates.keys()))
    if unheard:
        raise InputError(
            f"{len(unheard)} of {len(references)} images have no candidate caption, such as "
            f"{unheard[0]!r}. Give one for each (an empty one scores 0), or leave them out of the "
            "references as well."
        )
    unknown = sorted(map(str, candidates.keys() - references.keys()))
    if unknown:
        raise InputError(
            f"{len(unknown)} of {len(candidates)} candidate captions have no references, such as "
            f"that of {unknown[0]!r}. Give both files the same image ids."
        )
    return tuple(sorted(candidates))


def _text(value: object, key: str, role: str) -> str:
    if not isinstance(value, str):
        raise InputError(
            f"the {role} caption of image {key!r} is {type(value).__name__}, not a string."
        )
    return value


def _reference_tokens(references: Sequence[str], key: str) -> list[list[str]]:
    if isinstance(references, str) or not isinstance(references, Sequence):
        raise InputError(
            f"the references of image {key!r} are {type(references).__name__}, not a list of "
            "strings. Put them into a list, even a single one."
        )
    if not references:
        raise InputError(f"image {key!r} has an empty list of references; give at least one.")
    found = [tokenise(_text(reference, key, "reference")) for reference in references]
    if not all(found):
        raise InputError(
            f"reference {found.index([]) + 1} of image {key!r} holds no word. Correct it or leave "
            "it out."
        )
    return found


def _groups(synonyms: ClassTable | Iterable[Iterable[str]]) -> list[list[str]]:
    if isinstance(synonyms, ClassTable):
        synonyms = [(c.name, *c.synonyms) for c in synonyms.classes]
    groups = [sorted({w.lower() for w in group if len(tokenise(w)) == 1}) for group in synonyms]
    return [group for group in groups if len(group) > 1]
