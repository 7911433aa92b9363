"""METEOR of captions (Denkowski and Lavie 2014), with exact, stem and given synonym matches.

P = Σ_i w_i (δ m_i(h_c) + (1 − δ) m_i(h_f)) / (δ |h_c| + (1 − δ) |h_f|), R likewise of the
reference, F = P R / (α P + (1 − α) R), Pen = γ (chunks / matches)^β, score = (1 − Pen) F
(section 2.2), where h_c are content and h_f function words. Parameters and weights are those
published for English in the ranking task: α 0.85, β 0.2, γ 0.6, δ 0.75; exact 1, stem 0.6, synonym
0.8. A match of both sentences whole, in one chunk, counts no chunk, so it has no penalty. Of
several references the best score counts; a corpus has the score of the summed counts of those best
references.

What METEOR 1.5 has besides, WordNet's synonyms and a table of paraphrases, is left out, so figures
are lower than those published with them; the variant's name says so. The stemmer is Snowball's
English one (Porter's second), as in METEOR 1.5. Function words are a list of our own: METEOR's is
made of the words that are more frequent than one in a thousand in a corpus.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import snowballstemmer

from terraloom.caption_metrics.alignment import align
from terraloom.types import Float64Array, Int64Array

ALPHA: Final = 0.85
BETA: Final = 0.2
GAMMA: Final = 0.6
DELTA: Final = 0.75
EXACT: Final = 1.0
STEM: Final = 0.6
SYNONYM: Final = 0.8
_CLOSED_CLASSES: Final = """
    a an the this that these those some any no and or but nor if than as of in on at by for from
    to into with within about over under between through during after before up out off down
    i you he she it we they him her them his its our their who which what there here not n't 's
    is are was were be been being am has have had do does did will would can could may might
    shall should must so also both each all more most such other
"""
FUNCTION_WORDS: Final = frozenset(_CLOSED_CLASSES.split())
"""Words of closed classes, which count a third of a content word ((1 − δ) / δ)."""

_COUNTS: Final = 6


class Lexicon:
    """What METEOR knows of the words of a corpus: keys, stems, which are function words.

    Args:
        vocabulary: words by number.
        synonyms: groups of words that may stand for one another; a word counts with all that share
            its stem. A word of two groups belongs to neither.
    """

    def __init__(self, vocabulary: Sequence[str], synonyms: Iterable[Iterable[str]] = ()) -> None:
        stemmer = snowballstemmer.stemmer("english")
        stems = [str(stem) for stem in stemmer.stemWords(list(vocabulary))]
        groups: dict[str, set[int]] = {}
        for number, words in enumerate(synonyms):
            for stem in stemmer.stemWords(list(words)):
                groups.setdefault(str(stem), set()).add(number)
        names = [
            f"group {next(iter(found))}"
            if len(found := groups.get(stem, set())) == 1
            else f"stem {stem}"
            for stem in stems
        ]
        self.keys = _numbered(names)
        self.stems = _numbered(stems)
        self.weights = [1 - DELTA if word in FUNCTION_WORDS else DELTA for word in vocabulary]


@dataclass(frozen=True)
class MeteorCounts:
    """Per caption the counts against its best reference; counts of several add up."""

    counts: Float64Array
    """"image count": weighted matches of both sides, weighted words of both, chunks, matches."""

    def captions(self) -> Float64Array:
        """METEOR of each caption: "image", 0 … 1."""
        return _score(self.counts)

    def corpus(self, rows: Int64Array | None = None) -> float:
        """METEOR of all captions, or of those named (with repeats), from their summed counts."""
        chosen = slice(None) if rows is None else rows
        counts = self.counts[chosen].sum(axis=0, keepdims=True)
        return float(_score(counts)[0])


def meteor_counts(
    captions: Iterable[tuple[Sequence[int], Sequence[Sequence[int]]]], images: int, lexicon: Lexicon
) -> MeteorCounts:
    """Counts of every candidate against the reference with which it scores best.

    Args:
        captions: per image the word numbers of candidate (may be empty) and references; of equally
            good references the shortest counts.
        images: how many.
        lexicon: of the words.
    """
    counts = np.zeros((images, _COUNTS))
    for image, (candidate, group) in enumerate(captions):
        found = np.array([_pair(candidate, reference, lexicon) for reference in group])
        # METEOR 1.5 takes the first of equally good references; the one with the least words here,
        # so that the corpus's value does not depend on their order.
        scores = np.round(_score(found), 12)
        counts[image] = found[np.lexsort((*found.T[[4, 1, 0, 3]], -scores))[0]]
    return MeteorCounts(counts)


def meteor_variant(groups: int) -> str:
    """What was computed, in words."""
    told = "exact and stem matches"
    if groups:
        told += f", {groups} groups of synonyms"
    return f"METEOR: as 1.5, {told}, own function words, no WordNet, no paraphrases"


def _numbered(names: Sequence[str]) -> list[int]:
    numbers: dict[str, int] = {}
    return [numbers.setdefault(name, len(numbers)) for name in names]


def _pair(
    candidate: Sequence[int], reference: Sequence[int], lexicon: Lexicon
) -> tuple[float, ...]:
    keys, stems, weights = lexicon.keys, lexicon.stems, lexicon.weights
    matches, chunks = align(
        [keys[word] for word in candidate], [keys[word] for word in reference], candidate, reference
    )
    met_candidate = met_reference = 0.0
    for i, j in matches:
        one, other = candidate[i], reference[j]
        module = EXACT if one == other else STEM if stems[one] == stems[other] else SYNONYM
        met_candidate += module * weights[one]
        met_reference += module * weights[other]
    if chunks == 1 and len(matches) == len(candidate) == len(reference):
        chunks = 0
    return (
        met_candidate,
        met_reference,
        sum([weights[word] for word in candidate]),
        sum([weights[word] for word in reference]),
        float(chunks),
        float(len(matches)),
    )


def _score(counts: Float64Array) -> Float64Array:
    """From "image count"; 0 where nothing is met."""
    scores = np.zeros(len(counts))
    some = counts[:, 5] > 0
    met_candidate, met_reference, all_candidate, all_reference, chunks, matches = counts[some].T
    precision, recall = met_candidate / all_candidate, met_reference / all_reference
    mean = precision * recall / (ALPHA * precision + (1 - ALPHA) * recall)
    penalty = GAMMA * (chunks / matches) ** BETA
    scores[some] = (1 - penalty) * mean
    return scores
