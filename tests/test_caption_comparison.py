"""The caption table: claims first, paired by fold and seed, intervals over places and seeds."""

import numpy as np
import pytest

from terraloom.caption_comparison import CLAIMS, COLUMNS, caption_table, score_run
from terraloom.caption_metrics import METRICS
from terraloom.classes import preset
from terraloom.errors import InputError

CLASSES = preset("worldcover7")
NAMES = CLASSES.names
WATER = NAMES.index("water")
TRUE = "Open water covers most of the scene."
FALSE = "Cropland covers most of the scene."
VAGUE = "A picture taken from above."


def shares_of(label, share=0.9):
    shares = np.full(len(CLASSES), (1 - share) / (len(CLASSES) - 1))
    shares[label] = share
    return tuple(shares)


def run_of(captions, references=None):
    ids = [f"image{n:02}" for n in range(len(captions))]
    return score_run(
        dict(zip(ids, captions, strict=True)),
        references or {key: [TRUE, "Water fills the picture."] for key in ids},
        dict.fromkeys(ids, shares_of(WATER)),
        CLASSES,
    )


def test_claims_are_pooled_over_captions_and_silence_shows():
    run = run_of([TRUE, FALSE, VAGUE, ""])
    values = run.values()
    # Both claim presence and an amount; a little cropland is there, so one of four claims is false.
    assert (run.supported.tolist(), run.contradicted.tolist()) == ([2, 1, 0, 0], [0, 1, 0, 0])
    assert values["claim_precision"] == 0.75
    assert values["claims"] == 1
    assert values["names_dominant"] == 0.25
    assert values["contradicted"] == 0.25
    silent = run_of([VAGUE, VAGUE]).values()
    assert np.isnan(silent["claim_precision"])
    assert silent["claims"] == 0
    assert silent["contradicted"] == 0
    assert silent["redundancy"] == 0.5
    wordy = run_of([TRUE, TRUE]).values()
    assert wordy["claim_precision"] == 1
    assert wordy["claims"] > 0


def test_columns_stand_in_the_order_in_which_they_are_to_be_read():
    assert COLUMNS[: len(CLAIMS)] == CLAIMS
    assert COLUMNS[-1] == "redundancy"
    table = caption_table(
        {"real": {(0, 0): run_of([TRUE, FALSE])}}, control="real", draws=5, seed=0
    )
    assert tuple(table[0].values) == COLUMNS
    assert set(METRICS) < set(COLUMNS)
    assert table[0].differences == {}
    assert table[0].spread["bleu1"] is None  # of a single run


def test_a_fluent_falsehood_gains_overlap_and_loses_where_it_counts():
    # References that share the falsehood's wording: BLEU cannot see that the class is wrong.
    ids = [f"image{n:02}" for n in range(4)]
    references = {
        key: ["Open water covers most of the scene here.", "Water covers most of the scene."]
        for key in ids
    }
    false, plain = run_of([FALSE] * 4, references), run_of(["Water dominates."] * 4, references)
    rows = caption_table(
        {"plain": {(0, 0): plain}, "false": {(0, 0): false}}, control="plain", draws=50, seed=1
    )
    assert rows[1].differences["bleu4"].mean > 0.3
    assert rows[1].differences["claim_precision"].mean == -0.5
    assert rows[1].differences["contradicted"].mean == 1


def test_differences_are_paired_by_fold_and_seed():
    good, mixed, bad = run_of([TRUE] * 4), run_of([TRUE, TRUE, FALSE, FALSE]), run_of([FALSE] * 4)
    # Cell (1, 0) is the arm's alone: it counts in its mean, and in no difference.
    control = {(0, 0): mixed, (0, 1): bad}
    arm = {(0, 0): good, (0, 1): mixed, (1, 0): good}
    rows = caption_table({"real": control, "more": arm}, control="real", draws=400, seed=3)
    assert rows[1].runs == 3
    assert rows[1].captions == 12
    assert rows[1].values["contradicted"] == pytest.approx(0.5 / 3)
    found = rows[1].differences["contradicted"]
    assert found.mean == pytest.approx(-0.5)
    assert found.low <= -0.9 < found.mean < found.high <= 0
    assert "redundancy" not in rows[1].differences
    again = caption_table({"real": control, "more": arm}, control="real", draws=400, seed=3)
    assert again[1].differences == rows[1].differences
    assert rows[1].to_json()["differences"]["contradicted"]["mean"] == -0.5


def test_images_of_one_place_are_drawn_together():
    control, arm = run_of([FALSE] * 12), run_of([TRUE] * 6 + [FALSE] * 6)
    ids = control.scores.ids
    runs = {"real": {(0, 0): control}, "more": {(0, 0): arm}}

    def width(places):
        rows = caption_table(runs, control="real", draws=400, seed=5, places=places)
        estimate = rows[1].differences["contradicted"]
        return estimate.high - estimate.low

    single = width(None)
    # Two places that agree within: a draw takes one of them twice in half of the cases.
    assert width({key: "north" if n < 6 else "south" for n, key in enumerate(ids)}) == 1
    assert 0.3 < single < 0.75


def test_an_arm_against_itself_differs_in_nothing():
    run = run_of([TRUE, FALSE, VAGUE])
    rows = caption_table(
        {"real": {(0, 0): run}, "same": {(0, 0): run}}, control="real", draws=20, seed=0
    )
    for estimate in rows[1].differences.values():
        assert (estimate.mean, estimate.low, estimate.high) == (0, 0, 0)


def test_what_cannot_be_compared_is_told():
    run = run_of([TRUE, FALSE])
    other = run_of([TRUE, FALSE, TRUE])
    options = {"control": "real", "draws": 5, "seed": 0}
    with pytest.raises(InputError, match="control arm 'real' has no captions; there are more"):
        caption_table({"more": {(0, 0): run}}, **options)
    with pytest.raises(InputError, match="'more' has no run"):
        caption_table({"real": {(0, 0): run}, "more": {}}, **options)
    with pytest.raises(InputError, match="shares no fold and seed"):
        caption_table({"real": {(0, 0): run}, "more": {(1, 0): run}}, **options)
    with pytest.raises(InputError, match="different images in fold 0, seed 0"):
        caption_table({"real": {(0, 0): run}, "more": {(0, 0): other}}, **options)
    with pytest.raises(ValueError, match="draws must be at least 1"):
        caption_table({"real": {(0, 0): run}}, control="real", draws=0, seed=0)
    with pytest.raises(InputError, match=r"images without facts.*'a'"):
        score_run({"a": TRUE}, {"a": [TRUE]}, {}, CLASSES)
