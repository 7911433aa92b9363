"""The reader against claims annotated by hand before it was written."""

from pathlib import Path

import pytest
from tests.claims.gold import compare, gold_captions, gold_shapes

from terraloom.claims import read_claims
from terraloom.classes import preset

SEVEN = preset("worldcover7")


@pytest.mark.parametrize("corpus", ["rsicd", "sydney", "aras", "own"])
def test_claims_of_the_development_part_are_read(corpus: str, shared_data: Path) -> None:
    captions = [c for c in gold_captions(corpus, shared_data) if not c.held_back]
    counts = compare(captions, [read_claims(c.text, SEVEN) for c in captions], SEVEN)
    assert counts["right"] >= 0.97 * (counts["right"] + counts["wrong"])
    assert counts["right"] >= 0.95 * (counts["right"] + counts["missed"])


def test_the_held_back_part_meets_its_goals(shared_data: Path) -> None:
    captions = [
        c
        for corpus in ("rsicd", "sydney", "aras", "own")
        for c in gold_captions(corpus, shared_data)
        if c.held_back
    ]
    assert 90 <= len(captions) <= 110
    counts = compare(captions, [read_claims(c.text, SEVEN) for c in captions], SEVEN)
    assert counts["right"] >= 0.95 * (counts["right"] + counts["wrong"])
    assert counts["right"] >= 0.90 * (counts["right"] + counts["missed"])


@pytest.mark.parametrize("held_back", [False, True])
def test_shapes_of_further_captions_are_read(held_back: bool, shared_data: Path) -> None:
    right = wrong = missed = 0
    for text, shapes in gold_shapes(shared_data, held_back=held_back):
        read = {(SEVEN.names[c.classes[0]], c.value) for c in read_claims(text, SEVEN)
                if c.kind == "shape"}  # fmt: skip
        right += len(read & shapes)
        wrong += len(read - shapes)
        missed += len(shapes - read)
    assert right >= 10
    assert right >= 0.95 * (right + wrong)
    assert right >= 0.90 * (right + missed)
