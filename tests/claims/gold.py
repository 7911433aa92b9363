"""Gold claims with their texts, and the figures of a reader against them."""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from terraloom.claims import Claim
from terraloom.classes import ClassTable

GOLD = Path(__file__).parents[1] / "gold" / "claims.json"
SHAPES = GOLD.with_name("shapes.json")
WRITERS = ("hybrid_", "text_", "vision_")


@dataclass(frozen=True)
class GoldCaption:
    """One caption read by hand."""

    corpus: str
    image: str
    index: int
    held_back: bool
    text: str
    claims: list[dict[str, Any]]


@cache
def _texts(corpus: str, folder: Path) -> dict[tuple[str, int], str]:
    if corpus == "aras":
        with (folder / "aras400k_rows.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        writers = [name for name in rows[0] if name.startswith(WRITERS)]
        return {(r["filename"], i): r[name] for r in rows for i, name in enumerate(writers)}
    images = json.loads((folder / f"{corpus}.json").read_text(encoding="utf-8"))
    return {(im["filename"], i): text for im in images for i, text in enumerate(im["captions"])}


def gold_captions(corpus: str, shared_data: Path) -> Iterator[GoldCaption]:
    """Gold captions of one corpus, whose texts lie in the shared data."""
    for item in json.loads(GOLD.read_text(encoding="utf-8")):
        if item["corpus"] == corpus:
            text = (
                item.get("text")
                or _texts(corpus, shared_data / "captions")[item["image"], item["index"]]
            )
            yield GoldCaption(
                corpus, item["image"], item["index"], item["held_back"], text, item["claims"]
            )


def key_of_gold(claim: dict[str, Any]) -> tuple[Any, ...]:
    """What must agree: kind, classes, value and negation; words of dominance do not matter."""
    value = None if claim["kind"] == "dominant" else claim["value"]
    return claim["kind"], tuple(claim["classes"]), value, claim["negated"]


def key_of_read(claim: Claim, classes: ClassTable) -> tuple[Any, ...]:
    """As `key_of_gold`, of a claim that was read."""
    value = None if claim.kind == "dominant" else claim.value
    return claim.kind, tuple(classes.names[x] for x in claim.classes), value, claim.negated


def compare(
    captions: list[GoldCaption], read: list[list[Claim]], classes: ClassTable
) -> Counter[str]:
    """Counts of claims: "right", "wrong" (read, not gold), "missed" (gold, not read)."""
    counts: Counter[str] = Counter()
    for caption, claims in zip(captions, read, strict=True):
        gold = {key_of_gold(c) for c in caption.claims}
        got = {key_of_read(c, classes) for c in claims}
        counts["right"] += len(gold & got)
        counts["wrong"] += len(got - gold)
        counts["missed"] += len(gold - got)
    return counts


def gold_shapes(
    shared_data: Path, *, held_back: bool
) -> Iterator[tuple[str, set[tuple[str, str]]]]:
    """Further captions, and the class and value of each claim of shape that they make."""
    for item in json.loads(SHAPES.read_text(encoding="utf-8")):
        if item["held_back"] == held_back:
            text = _texts(item["corpus"], shared_data / "captions")[item["image"], item["index"]]
            yield text, {(name, value) for name, value in item["shapes"]}
