"""Equality with the implementations that papers report; see benchmarks/caption_reference.py."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from terraloom.caption_metrics import METRICS, evaluate_captions, tokenise

EXPECTED = json.loads((Path(__file__).parent / "expected.json").read_text(encoding="utf-8"))
DATA = Path(os.environ.get("TERRALOOM_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.fixture(scope="module")
def scores():
    return evaluate_captions(EXPECTED["candidates"], EXPECTED["references"])


@pytest.mark.parametrize("key", EXPECTED["ids"])
def test_tokens_are_those_of_the_penn_treebank_tokeniser(key):
    texts = [EXPECTED["candidates"][key], *EXPECTED["references"][key]]
    assert [tokenise(text) for text in texts] == EXPECTED["tokens"][key]


@pytest.mark.parametrize("metric", METRICS)
def test_values_are_those_of_the_reference_implementation(scores, metric):
    wanted = EXPECTED["values"][metric]
    assert scores.ids == tuple(EXPECTED["ids"])
    np.testing.assert_allclose(scores.captions[metric], wanted["captions"], rtol=0, atol=1e-6)
    assert scores.corpus[metric] == pytest.approx(wanted["corpus"], abs=1e-6)
    # The cases can tell an implementation from another: values spread over the range.
    assert np.ptp(wanted["captions"]) > 0.5


def test_a_narrow_search_as_meteor_has_it_changes_little(scores):
    narrow = np.array(EXPECTED["values"]["meteor_beam_40"]["captions"])
    differ = np.abs(scores.captions["meteor"] - narrow) > 1e-6
    assert differ.sum() <= 1
    assert np.abs(scores.captions["meteor"] - narrow).max() < 0.005


def test_a_published_corpus_has_the_values_of_the_reference_implementation():
    # First caption of each image against its other four; by pycocoevalcap, as above.
    path = DATA / "captions" / "sydney.json"
    if not path.exists():
        pytest.skip(f"the Sydney captions are not at {path} (set TERRALOOM_SHARED_DATA)")
    groups = {row["filename"]: row["captions"] for row in json.loads(path.read_text("utf-8"))}
    found = evaluate_captions(
        {key: group[0] for key, group in groups.items()},
        {key: group[1:] for key, group in groups.items()},
    )
    wanted = {
        "bleu1": 0.8423307925820934,
        "bleu2": 0.775521942998,
        "bleu3": 0.7185803201795329,
        "bleu4": 0.6683624238917962,
        "rouge_l": 0.7163257727084466,
        "cider_d": 3.260755579223829,
    }
    assert {name: found.corpus[name] for name in wanted} == pytest.approx(wanted, abs=1e-9)
