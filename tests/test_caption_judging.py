"""Planted captioners come out right: a gain helps, a loss hurts, silence is told, A/A is quiet."""

import numpy as np
import pytest

from terraloom.caption_floors import constant_caption, one_against_the_others, random_captions
from terraloom.caption_judging import CaptionBootstrap, false_alarm_rates, judge_captions, stacked
from terraloom.caption_metrics import METRICS, evaluate_captions
from terraloom.caption_statistics import (
    SUMS,
    CheckedClaims,
    figures_of_sums,
    place_statistics,
)
from terraloom.errors import RoleError
from terraloom.image_to_text.captioned import captioned_train
from terraloom.testing import toy_rows
from tests.image_to_text.toy import toy_captioned

PLACES = [f"p{n:02}" for n in range(24)]


def cells(arm, kind, right, claims=4.0, overlap=0.3, runs=3):
    """Cells of a captioner whose claims are right at one rate, three images a place."""
    found = []
    for run in range(runs):
        random = np.random.default_rng([run, int(1000 * right), int(10 * claims)])
        places = {}
        for place in PLACES:
            sums = dict.fromkeys(SUMS, 0.0)
            decided = round(3 * claims)
            supported = random.binomial(decided, right) if decided else 0
            sums |= {
                "captions": 3.0, "supported": float(supported),
                "contradicted_claims": float(decided - supported),
                "cider_d": 3 * overlap + random.normal(0, 0.02), "rouge_l": 1.0,
            }  # fmt: skip
            places[place] = [sums[name] for name in SUMS]
        found.append(
            {"arm": arm, "kind": kind, "seed": run, "rows": 9, "captions": 72, "places": places,
             "redundancy": 0.1, "normalised": 0.2}
        )  # fmt: skip
    return found


def judged(*groups, draws=400):
    return judge_captions([cell for group in groups for cell in group], draws=draws, seed=1)


def words(results):
    return {(v["arm"], v["figure"]): v["verdict"] for v in results["verdicts"]}


def test_a_planted_gain_helps_and_a_planted_loss_hurts():
    results = judged(
        cells("real", "control", 0.6), cells("real-strong", "control", 0.65),
        cells("real+both", "arm", 0.9, overlap=0.5), cells("synthetic", "arm", 0.3, overlap=0.1),
        cells("random train caption", "floor", 0.5, overlap=0.2),
    )  # fmt: skip
    assert words(results) == {
        ("real+both", "claim_precision"): "helps", ("real+both", "cider_d"): "helps",
        ("synthetic", "claim_precision"): "hurts", ("synthetic", "cider_d"): "hurts",
    }  # fmt: skip
    assert results["sentence"].startswith("real+both helps claim accuracy: ")
    assert "against real (" in results["sentence"]
    assert "against real-strong (" in results["sentence"]
    unbeaten = {(e["arm"], e["figure"]) for e in results["unbeaten_floors"]}
    assert unbeaten == {("synthetic", "claim_precision"), ("synthetic", "cider_d")}
    # Floors are compared, and have no verdict.
    assert ("random train caption", "real") in {
        (d["arm"], d["control"]) for d in results["differences"]
    }


def test_more_words_in_common_do_not_make_claims_true():
    results = judged(cells("real", "control", 0.8), cells("real+both", "arm", 0.4, overlap=0.9))
    assert words(results) == {
        ("real+both", "claim_precision"): "hurts", ("real+both", "cider_d"): "helps",
    }  # fmt: skip
    assert results["sentence"].startswith("real+both hurts claim accuracy")


def test_an_arm_that_claims_less_is_told_to():
    results = judged(cells("real", "control", 0.7), cells("real+both", "arm", 0.95, claims=1))
    sentence = results["verdicts"][0]["sentence"]
    assert "helps claim accuracy" in sentence
    assert "It claims less, though: -3.00 decided claims per caption against real" in sentence


def test_an_arm_that_claims_nothing_gets_no_verdict():
    results = judged(cells("real", "control", 0.7), cells("real+both", "arm", 0.9, claims=0))
    assert words(results)["real+both", "claim_precision"] == "no evidence"
    assert "no claim could be decided" in results["verdicts"][0]["sentence"]
    row = next(row for row in results["table"] if row["arm"] == "real+both")
    assert row["claim_precision"] is None
    assert row["claims"]["mean"] == 0


def test_no_difference_is_no_evidence_with_the_smallest_effect_that_would_show():
    same = cells("real", "control", 0.7)
    # Run by run the same captions in another order of the runs.
    twin = [{**cell, "arm": "real+both", "kind": "arm", "seed": 2 - cell["seed"]} for cell in same]
    results = judged(same, twin)
    assert words(results)["real+both", "claim_precision"] == "no evidence"
    assert "This design would see an effect of about" in results["verdicts"][0]["sentence"]


def test_halves_of_one_arm_are_hardly_ever_told_apart():
    own = stacked(cells("real", "control", 0.7), "real", PLACES)
    rates = false_alarm_rates(own, seed=3, resamples=200, draws=200)
    assert max(rates.values()) <= 0.05


def test_draws_do_not_depend_on_who_else_is_compared():
    one, two = cells("real", "control", 0.6), cells("real+both", "arm", 0.7)
    alone = CaptionBootstrap({"real": stacked(one, "real", PLACES)}, draws=300, seed=5)
    both = CaptionBootstrap(
        {"real": stacked(one, "real", PLACES), "real+both": stacked(two, "real+both", PLACES)},
        draws=300, seed=5,
    )  # fmt: skip
    assert alone.estimate("real", "claim_precision") == both.estimate("real", "claim_precision")
    again = both.difference("real", "real", "cider_d")
    assert again is not None
    assert (again[0].mean, again[0].low, again[0].high) == (0, 0, 0)


def test_sums_over_places_give_the_corpus_figures():
    train, _ = toy_captioned(10)
    ids = [f"i{n}" for n in range(10)]
    said = {key: train.texts[n][0] for n, key in enumerate(ids)}
    references = {
        key: [train.texts[(n + 1) % 10][0], train.texts[n][1]] for n, key in enumerate(ids)
    }
    scores = evaluate_captions(said, references)
    checked = {key: CheckedClaims(n, 1, 0.5, n % 2 == 0) for n, key in enumerate(ids)}
    checked["i3"] = CheckedClaims(0, 0, None, None)  # a mask of which nothing is known
    places = {key: f"place {n // 3}" for n, key in enumerate(ids)}
    sums = np.sum(list(place_statistics(scores, checked, places).values()), axis=0)
    found = figures_of_sums(sums)
    for metric in METRICS:
        assert float(found[metric]) == pytest.approx(scores.corpus[metric], abs=1e-12)
    assert float(found["claim_precision"]) == pytest.approx(42 / 51)
    assert float(found["names_dominant"]) == pytest.approx(5 / 9)
    assert float(found["main_recall"]) == 0.5
    assert float(found["contradicted"]) == 0.9
    assert float(found["claims"]) == 5.1


def test_random_captions_are_of_train_images_and_addressed_by_id():
    train, held = toy_captioned(8)
    known = {text for own in train.texts for text in own}
    ids = [f"t{n}" for n in range(30)]
    said = random_captions(train, ids, 1)
    assert set(said) <= known
    assert len(set(said)) > 5
    assert random_captions(train, ids[::-1], 1) == said[::-1]
    assert random_captions(train, ids, 2) != said
    with pytest.raises(RoleError, match="train rows only"):
        constant_caption(held, 1)


def test_the_constant_caption_is_the_most_frequent_and_ties_go_to_the_commonest_words():
    rows, _ = toy_rows(4, 1)

    def constant(*texts):
        given = {row.id: (text,) for row, text in zip(rows.rows, texts, strict=True)}
        return constant_caption(captioned_train(rows, given), 0)

    assert constant("a lake", "crops", "crops", "a wood") == "crops"
    assert constant("a lake here", "a wood here", "crops", "a wood there") == "a wood here"


def test_one_reference_is_held_against_the_others():
    dealt = one_against_the_others({"i": ("a", "b", "c")})
    assert dealt == ({"i": "c"}, {"i": ["a", "b"]})
    assert one_against_the_others({"i": ("a", "b"), "j": ("a",)}) is None
