"""Face of the audit: a caption file in, every figure out as plain values.

One pass fills the index of redundancy and counts what is quoted; where class shares or masks are
known, an even part of the images is read again for the leak probe, the dominant class and claims.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from terraloom.auditing.checked import claims_of, told
from terraloom.auditing.reading import CaptionFile
from terraloom.auditing.truth import Truth, evenly
from terraloom.caption_index import CURVE, CaptionIndex, CorpusRedundancy
from terraloom.classes import ClassTable
from terraloom.errors import CaptionFileError
from terraloom.leak_probe import probe_shares, quotes_in, why_not_probed
from terraloom.near_duplicates import THRESHOLD
from terraloom.progress import meter

MAX_IMAGES: Final = 4000
"""Images that claims, probe and dominant class are measured on, unless told otherwise."""
LONG: Final = 2000
"""Signs from which on a caption is counted as overlong."""
_EXAMPLES: Final = 5
_MARKUP: Final = re.compile(r"<\s*[/!]?\s*[A-Za-z][^<]{0,200}>")
_INVISIBLE: Final = re.compile(
    "[\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\x00-\x08\x0b-\x1f\x7f]"
)

TruthOf = Callable[[list[str]], Truth]


@dataclass
class _Counts:
    """What is counted while captions are read, per writer."""

    captions: int = 0
    digits: int = 0
    percentages: int = 0
    overlong: int = 0
    markup: int = 0
    invisible: int = 0
    at: dict[str, list[str]] = field(default_factory=dict)
    """Images of the first few captions of each odd kind."""

    def odd(self, kind: str, image: str) -> None:
        places = self.at.setdefault(kind, [])
        if len(places) < _EXAMPLES:
            places.append(image)


def audit_captions(
    captions: CaptionFile,
    *,
    classes: ClassTable,
    truth_of: TruthOf | None = None,
    max_images: int = MAX_IMAGES,
    compass: bool = True,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure a caption file.

    Args:
        captions: from `open_captions`.
        classes: class table, for what is compared with shares and masks.
        truth_of: finds shares (and masks) of images; left out, only text is judged.
        max_images: most images that are compared with the truth, spread evenly over the file.
        compass: whether masks lie with north up; only the evidence of claims is worded by it.
        seed: of the probe's control.

    Returns:
        JSON-like: file, layout, captions, images, left_out, writers, redundancy ("all" and by
        writer), text, leak, and where truth is known truth, stating_shares, claims, probe.

    Raises:
        CaptionFileError: the file ends badly on the way, or holds no caption.
    """
    index = CaptionIndex()
    counts: dict[str, _Counts] = {}
    with meter("auditing captions", 3, "steps") as progress:
        index.add(_counted(captions, counts))
        progress.advance(note="read")
        if not len(index):
            left_out = _and_counts(captions.left_out)
            raise CaptionFileError(
                f"{captions.path} ({captions.layout}) holds no caption"
                + (f": {left_out}." if left_out else ".")
            )
        # A count that every writer reaches, so that all can be compared at it.
        sizes = (*CURVE, min(own.captions for own in counts.values()))
        measured = {"all": index.measure(curve=sizes)}
        if len(counts) > 1:
            measured |= {told(w): index.measure(writer=w, curve=sizes) for w in counts}
        progress.advance(note="redundancy")
        result: dict[str, Any] = {
            "file": captions.path.name,
            "layout": captions.layout,
            "captions": len(index),
            "images": index.images,
            "left_out": {
                reason: {"entries": number, "first_images": captions.left_out_at[reason]}
                for reason, number in sorted(captions.left_out.items())
            },
            "writers": [writer for writer in index.writers if writer],
            "redundancy": {name: _redundancy(m) for name, m in measured.items()},
            "text": {
                "vocabulary": index.vocabulary,
                "mean_words": round(index.mean_words, 2),
                "distinct_1": round(index.distinct(1), 6),
                "distinct_2": round(index.distinct(2), 6),
                **_odd_texts(counts),
            },
            "leak": _quoted(counts),
        }
        if truth_of is not None:
            result |= _against_truth(captions, truth_of, classes, max_images, compass, seed)
        progress.advance(note="compared")
    return result


def _counted(captions: CaptionFile, counts: dict[str, _Counts]) -> Iterator[tuple[str, str, str]]:
    for image, writer, text in captions.rows():
        own = counts.get(writer)
        if own is None:
            own = counts[writer] = _Counts()
        own.captions += 1
        quotes = quotes_in(text)
        own.digits += quotes.digits
        own.percentages += quotes.percentages
        if len(text) > LONG:
            own.overlong += 1
            own.odd("overlong", image)
        if "<" in text and _MARKUP.search(text):
            own.markup += 1
            own.odd("markup", image)
        if not text.isprintable() and _INVISIBLE.search(text):
            own.invisible += 1
            own.odd("invisible", image)
        yield image, writer, text


def _redundancy(found: CorpusRedundancy) -> dict[str, Any]:
    def plain(value: float | None) -> float | None:
        return None if value is None else round(value, 6)

    return {
        "captions": found.exact.captions,
        "unique": found.exact.unique,
        "images": found.images,
        "exact": plain(found.exact.redundancy),
        "within_image": plain(found.within),
        "across_images": plain(found.across),
        "normalised": plain(found.normalised.redundancy),
        "near": None if found.near is None else plain(found.near.redundancy),
        "near_within_image": plain(found.near_within),
        "near_across_images": plain(found.near_across),
        "near_threshold": THRESHOLD,
        "identical_images": plain(found.identical_images),
        "curve": [[count, plain(value)] for count, value in found.curve],
    }


def _odd_texts(counts: dict[str, _Counts]) -> dict[str, Any]:
    odd: dict[str, Any] = {}
    for kind in ("overlong", "markup", "invisible"):
        places = [image for own in counts.values() for image in own.at.get(kind, ())]
        odd[kind] = {
            "captions": sum(getattr(own, kind) for own in counts.values()),
            "first_images": places[:_EXAMPLES],
        }
    return odd


def _quoted(counts: dict[str, _Counts]) -> dict[str, Any]:
    def figures(own: list[_Counts]) -> dict[str, Any]:
        total = sum(c.captions for c in own)
        return {
            "captions": total,
            "with_digits": round(sum(c.digits for c in own) / total, 6),
            "with_percentages": round(sum(c.percentages for c in own) / total, 6),
        }

    found = {"all": figures(list(counts.values()))}
    if len(counts) > 1:
        found |= {told(writer): figures([own]) for writer, own in counts.items()}
    return found


def _against_truth(
    captions: CaptionFile,
    truth_of: TruthOf,
    classes: ClassTable,
    max_images: int,
    compass: bool,
    seed: int,
) -> dict[str, Any]:
    """Whatever needs shares or masks, on an even part of the images."""
    chosen = evenly(dict.fromkeys(row.image for row in captions.rows()), max_images)
    truth = truth_of(chosen)
    wanted = {image for image in chosen if image in truth.shares}
    by_writer: dict[str, list[tuple[str, str]]] = {}
    for image, writer, text in captions.rows():
        if image in wanted:
            by_writer.setdefault(writer, []).append((image, text))
    groups = {"all": [row for rows in by_writer.values() for row in rows]} if wanted else {}
    if len(by_writer) > 1:
        groups |= {told(writer): rows for writer, rows in by_writer.items()}
    compared = {
        "truth": {
            "source": truth.source,
            "images": len(wanted),
            "problems": dict(sorted((+truth.problems).items())),
            "grouped_by": truth.grouped_by,
        },
        "stating_shares": {
            name: round(
                sum(quotes_in(text).state(truth.shares[image].tolist()) for image, text in rows)
                / len(rows),
                6,
            )
            for name, rows in groups.items()
        },
        "claims": claims_of(by_writer, truth, classes, compass=compass),
        "probe": {name: _probed(rows, truth, classes, seed) for name, rows in groups.items()},
    }
    return compared


def _probed(
    rows: list[tuple[str, str]], truth: Truth, classes: ClassTable, seed: int
) -> dict[str, Any]:
    groups = [truth.group(image) for image, _ in rows]
    reason = why_not_probed(len(rows), len(set(groups)))
    if reason is not None:
        return {"why_not": reason}
    shares = np.array([truth.shares[image] for image, _ in rows])
    texts = [text for _, text in rows]
    return probe_shares(texts, shares, groups, classes.names, seed=seed).to_json()


def _and_counts(found: Counter[str]) -> str:
    return ", ".join(f"{number:,} {reason}" for reason, number in sorted(found.items()))
