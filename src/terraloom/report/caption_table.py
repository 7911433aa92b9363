"""This run's captions beside the published corpora, in the columns that those publish."""

from collections.abc import Mapping
from typing import Any, Final

from terraloom.report import published
from terraloom.report.tables import SUMMARY, name, number
from terraloom.report.views import Cell, TableView
from terraloom.report.wording import ABSENT, count, percent

_HEADERS: Final = (
    "corpus", "images", "captions", "redundancy, %", "CLIPScore", "contradicted captions, %",
)  # fmt: skip


def corpora_table(scores: Mapping[str, Any]) -> TableView:
    """Images, captions, redundancy and CLIPScore, this run first; what one side lacks is a dash.

    Args:
        scores: summaries by scorer; "redundancy" must be among them.
    """
    claims = scores.get("claims") or {}
    clip = (scores.get("clipscore") or {}).get("kinds", {})
    rows: list[tuple[Cell, ...]] = []
    for kind in sorted(scores["redundancy"], key=lambda k: (k == "all", k)):
        entry = scores["redundancy"][kind]
        kinds = list(claims) if kind == "all" else [k for k in (kind,) if k in claims]
        images = sum(claims[k]["samples"] for k in kinds)
        written = [writer for k in kinds for writer in claims[k]["writers"].values()]
        captions = sum(writer["captions"] for writer in written)
        wrong = sum(writer["contradicted_captions"] for writer in written)
        score = clip.get(kind, {}).get("score")
        rows.append(
            (
                name(f"this run, {kind}"),
                number(count(images) if images else ABSENT),
                number(count(entry["captions"])),
                number(percent(entry["exact"], 2)),
                number(ABSENT if score is None else f"{score:.2f}"),
                number(percent(wrong / captions, 2) if captions else ABSENT),
            )
        )
    rows += [
        (
            name(corpus.name, "published"),
            number(count(corpus.images)),
            number(count(corpus.captions)),
            number(f"{corpus.redundancy:.2f}"),
            number(f"{corpus.clipscore:.2f}"),
            number(ABSENT),
        )
        for corpus in published.CORPORA
    ]
    model = (scores.get("clipscore") or {}).get("model")
    by = f" here by {model}," if model else " not measured here:"
    return TableView(
        "Captions beside the published corpora",
        _HEADERS,
        tuple(rows),
        (f"{SUMMARY}, redundancy, claims, clipscore", published.PAPER),
        (
            "Redundancy is 1 − unique captions / captions over the whole corpus and grows with it: "
            "rows compare only at equal counts, and a small corpus looks better than it is.",
            f"CLIPScore: 100 × cosine,{by} there by another network and preparation. It tells "
            "hardly right captions from wrong ones, so the last column counts what the masks "
            "contradict; nobody published that figure.",
        ),
    )


def writers_table() -> TableView:
    """The paper's five caption columns: what vision and language models repeat and give away."""
    rows = tuple(
        (
            name(writer.column),
            number(f"{writer.redundancy:.2f}"),
            number(f"{writer.clipscore:.2f}"),
            number(f"{writer.percentages:.2f}"),
        )
        for writer in published.WRITERS
    )
    return TableView(
        "The published writers",
        ("caption column", "redundancy, %", "CLIPScore", "quote percentages, %"),
        rows,
        (published.PAPER,),
        (
            f"Each over {count(published.CAPTIONS_OF_A_WRITER)} captions, the last column over "
            "10,000.",
        ),
        folded=True,
    )
