"""Redundancy figures of caption corpora."""

import json
import os
from pathlib import Path

import pytest

from terraloom.redundancy import (
    exact_redundancy,
    norm_caption,
    normalised_redundancy,
    rarefied_redundancy,
    split_redundancy,
)

DATA = Path(os.environ.get("TERRALOOM_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))


def test_redundancy_is_one_less_unique_over_captions() -> None:
    found = exact_redundancy(iter(["a", "a", "b", "A"]))
    assert (found.captions, found.unique, found.redundancy) == (4, 3, 0.25)
    assert exact_redundancy([]).redundancy == 0


def test_normalised_form_folds_case_punctuation_and_space_but_keeps_words() -> None:
    assert norm_caption(" Trees,\n in the NORTH-west . ") == "trees in the north west"
    assert norm_caption("Über Ｗater") == "über water"
    assert normalised_redundancy(["A lake.", "a  lake", "a lakes"]).unique == 2


def test_repeats_within_an_image_and_across_images_add_up_to_the_whole() -> None:
    pairs = [("1", "a"), ("2", "a"), ("1", "a"), ("1", "b"), ("3", "c"), ("3", "c")]
    found = split_redundancy(pairs)
    assert found.exact.redundancy == pytest.approx(0.5)
    assert found.within == pytest.approx(2 / 6)
    assert found.across == pytest.approx(1 / 6)
    assert found.identical_images == 0.5  # image 3 of images 1 and 3; image 2 has one caption
    assert found.images == 3
    assert split_redundancy([]).within == 0


def test_rarefied_redundancy_is_seeded_and_grows_with_the_count() -> None:
    corpus = [f"caption {i % 100}" for i in range(1000)]
    small, large = (rarefied_redundancy(corpus, n, seed=1) for n in (50, 800))
    assert small == rarefied_redundancy(corpus, 50, seed=1)
    # Drawing n of 1000 with 10 copies each: 1 - E[unique]/n, about 0.20 at 50 and 0.875 at 800.
    assert small == pytest.approx(0.20, abs=0.06)
    assert large == pytest.approx(0.875, abs=0.01)
    assert rarefied_redundancy(corpus, 1000, seed=1) == exact_redundancy(corpus).redundancy


@pytest.mark.parametrize("count", [0, 4])
def test_an_impossible_count_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"cannot draw {count} of 3 captions"):
        rarefied_redundancy(["a", "b", "c"], count, seed=0)


def test_the_published_corpus_has_its_published_figure() -> None:
    path = DATA / "captions" / "rsicd.json"
    if not path.exists():
        pytest.skip(f"needs {path}")
    rows = json.loads(path.read_text())
    found = split_redundancy((row["filename"], c) for row in rows for c in row["captions"])
    assert found.exact.captions == 54605
    assert 100 * found.exact.redundancy == pytest.approx(66.69, abs=0.005)
    assert 100 * found.identical_images == pytest.approx(44, abs=0.5)
    assert found.within + found.across == pytest.approx(found.exact.redundancy)
    assert found.normalised.redundancy >= found.exact.redundancy
